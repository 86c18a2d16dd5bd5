// The way to the native client and back: calls of one turn of the event loop are submitted together, and their
// completions are taken out together when the queue's descriptor turns readable. Both cross the boundary once for
// many calls.

"use strict";

const builtin = require("./builtin");
const { Call } = require("./call");
const { Login } = require("./credentials");
const { watch } = require("./descriptor");
const errors = require("./errors");
const { Events } = require("./events");
const native = require("./native");
const { Writer, bytesOf, checkOfServer, libraryFlags } = require("./pack");
const { open } = require("./options");
const { atExit } = require("./thread");
const time = require("./time");
const { addressOf } = require("./tracing");
const { Reader, unreadable } = require("./unpack");

const process = builtin("node:process");

/** So many calls go without waiting for the end of the turn: the server works on them while the others are made. */
const ENOUGH = 32;
/**
 * Completions taken out, and calls called off, in one turn of the event loop: with more, others of its work would
 * wait too long.
 */
const BATCH = 1000;
/**
 * The Buffer that completions are put in: what does not fit comes next time, one that never does in a Buffer of its
 * own.
 */
const ROOM = 256 * 1024;
/** The one for events, each of which is short. */
const ROOM_OF_EVENTS = 64 * 1024;
/** A completion that takes more is copied by another thread, and the event loop goes on meanwhile. */
const LARGE = 1024 * 1024;
/** How long the library waits for credentials, unless the options say otherwise. */
const CONNECT_TIMEOUT = 5000;
/** What nobody has fetched of a connection's events. */
const KEPT_EVENTS = 1000;
/** Places for calls that are kept when none is under way. */
const KEPT_CALLS = 4096;
/** ioctl's number for "close this descriptor in child processes". */
const FIOCLEX = process.platform === "darwin" ? 0x20006601 : 0x5451;

function withResolvers() {
    const made = {};
    made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
    return made;
}

/** Native objects are freed when nothing in JavaScript can reach what stands for them. */
const forgotten = new FinalizationRegistry((free) => free());

/** A native object that lives as long as this one does. */
class Handle {
    constructor(address, free) {
        this.address = address;
        forgotten.register(this, () => free(address));
    }
}

function madeScript(address) {
    const handle = new Handle(address, native.scriptFree);
    return { handle, sha: native.scriptSha(address), functionName: native.scriptFunctionName(address) };
}

/** What the native library is told of a script. */
function scriptOptionsOf({ idempotent, asFunction, once, name }) {
    const flags = (idempotent ? IDEMPOTENT : 0) | (asFunction ? AS_FUNCTION : 0) | (once === null ? 0 : ONCE);
    return { flags, name: bytesOf(name), once };
}

class Connection {
    #queue;
    #socket;
    #handle;
    #writer = new Writer();
    #reader = new Reader();
    #room = Buffer.allocUnsafeSlow(ROOM);
    #used = Buffer.alloc(8);
    #count = Buffer.alloc(8);
    #handles = Buffer.allocUnsafeSlow(8 * ENOUGH);
    #needed = Buffer.alloc(8);

    /** Calls by their tag, and tags that are free. */
    #calls = [];
    #free = [];
    #inFlight = 0;
    #capacity;
    /** Calls of this turn, all through the same native handle. */
    #batch = [];
    #target = null;
    #isScheduled = false;

    /** What undoes the precautions for the end of this thread. */
    #kept;

    /** The calls under way that each AbortSignal ends, and what forgets the signal when there are none. */
    #signals = new Map();

    #events;
    /** Whom to ask for credentials, if anybody. */
    #login;

    #isHeld = false;
    #isWanted = false;
    #isShared = false;
    /** Calls that are to be called off, and how many of them have been. */
    #toCancel = [];
    #cancelled = 0;
    /** Another thread copies a completion. */
    #isFilling = false;
    #isClosing = false;
    #isFinished = false;
    /** Why there are no more calls. */
    #reason = "the client is closed";
    #closed = withResolvers();

    /** Opens a native client; what its calls go through without options is `target`. */
    static open(url, given, capacity) {
        const out = Buffer.alloc(8);
        const made = (make) => (make(out), out.readBigUInt64LE(0));
        const undo = [];
        try {
            const queue = made((out) => native.queueNew(capacity, out));
            undo.push(() => native.queueFree(queue));
            const events = made((out) => native.eventsNew(KEPT_EVENTS, queue, out));
            undo.push(() => native.eventsFree(events));
            const address = open(url, given, events);
            undo.push(() => native.clientFree(address));
            const connection = new Connection(address, queue, events, capacity, addressOf(url));
            if (given.credentials !== undefined) connection.asks(given);
            return { connection, target: { address } };
        } catch (error) {
            for (const free of undo.reverse()) free();
            throw error;
        }
    }

    /**
     * The native handles are this object's from now on. `address`: where it leads to, for those who listen to
     * channels.
     */
    constructor(handle, queue, events, capacity, address) {
        this.address = address;
        this.#handle = handle;
        this.#queue = queue;
        const [used, needed] = [Buffer.alloc(8), Buffer.alloc(8)];
        this.#events = { handle: events, of: new Events(address), room: null, used, needed };
        this.#capacity = capacity;
        native.packDetails(queue, true);
        // The socket closes what it is given, and the queue needs its own.
        const fd = native.dup(native.queueFd(this.#queue));
        native.closeOnExec(fd, FIOCLEX);
        this.#socket = watch(fd, () => this.#drain(), () => this.#lost());
        // From here on nothing fails.
        this.#kept = [
            ["rs_client_free", handle],
            ["rs_events_free", events],
            ["rs_queue_free", queue],
        ].map((kept) => atExit(...kept));
    }

    /** Has a function asked for credentials. Nothing has connected yet. */
    asks({ credentials, connectTimeout = CONNECT_TIMEOUT }) {
        this.#login = new Login(credentials, connectTimeout, this.#events.handle);
    }

    /** Connections are about to log in again. */
    renews() {
        this.#login?.renew();
    }

    /** A script, whose calls may go through any connection. `said`: see scriptOptionsOf(). */
    script(source, said) {
        const out = Buffer.alloc(8);
        native.scriptRegister(source, scriptOptionsOf(said), out);
        return madeScript(out.readBigUInt64LE(0));
    }

    /** A library of functions, which may be called through any connection. */
    library(source, { isNamed, once }) {
        const out = Buffer.alloc(8);
        native.libraryRegister(source, libraryFlags({ isNamed, once }), once, out);
        const handle = new Handle(out.readBigUInt64LE(0), native.libraryFree);
        return { handle, source, isNamed, once, name: native.libraryName(handle.address) };
    }

    /** A function of a library, as a script. */
    function({ handle }, name, said) {
        checkOfServer("a library", handle);
        const out = Buffer.alloc(8);
        native.libraryFunction(handle.address, bytesOf(name), scriptOptionsOf(said), out);
        return madeScript(out.readBigUInt64LE(0));
    }

    /** What the items of a pipeline are collected in. */
    items() {
        const items = new Writer();
        items.references = [];
        return items;
    }

    /** Another native handle, of which `kind` and `value` say what its calls have. */
    view({ address }, kind, value) {
        if (this.#isClosing) throw errors.closed("the client is closed");
        const out = Buffer.alloc(8);
        this.#shares();
        native.clientWith(address, VIEWS[kind](value), out);
        return new Handle(out.readBigUInt64LE(0), native.clientFree);
    }

    /**
     * There are other handles of the client, from now on: freeing this one at the thread's end would not close it any
     * more.
     */
    #shares() {
        if (this.#isShared) return;
        this.#isShared = true;
        this.#kept[0]();
        this.#kept[0] = atExit("rs_client_close", this.#handle);
    }

    /** Whether an idle client keeps the process alive. */
    keepAlive(isWanted) {
        this.#isWanted = isWanted;
        this.#hold();
    }

    #hold() {
        const isHeld = !this.#socket.destroyed && (this.#inFlight > 0 || this.#isWanted);
        if (isHeld === this.#isHeld) return;
        this.#isHeld = isHeld;
        if (isHeld) this.#socket.ref();
        else this.#socket.unref();
    }

    /**
     * Makes a call: `write` puts what it is into a Writer. What it has cost is put into `told`, if the library says
     * it.
     */
    send(owner, { target, timeout, buffers, signal, callerStack }, write, made, told = null) {
        return new Promise((resolve, reject) => {
            if (this.#isClosing) return reject(errors.closed(this.#reason));
            if (signal?.isAborted) {
                const error = errors.cancelled("the call was cancelled");
                error.cause = signal.reason;
                return reject(error);
            }
            if (this.#inFlight >= this.#capacity) {
                return reject(errors.queueFull(`there are ${this.#capacity} calls under way, as many as there may be`));
            }
            if (this.#target !== target) {
                // In the order in which they were made.
                this.#flush();
                this.#target = target;
            }
            const call = new Call(owner, resolve, reject, buffers, callerStack ? errors.callerOf(made) : null);
            const writer = this.#writer;
            call.tag = this.#free.length > 0 ? this.#free[this.#free.length - 1] : this.#calls.length;
            call.start = writer.length;
            try {
                writer.head(call.tag, timeout);
                write(writer);
            } catch (error) {
                writer.length = call.start;
                return reject(error);
            }
            call.end = writer.length;
            call.target = target;
            call.told = told;
            if (this.#free.length > 0) this.#free.pop();
            this.#calls[call.tag] = call;
            this.#inFlight += 1;
            if (!this.#isHeld) this.#hold();
            this.#batch.push(call);
            if (signal) this.#listen(call, signal);
            if (this.#batch.length >= ENOUGH) {
                this.#flush();
            } else if (!this.#isScheduled) {
                this.#isScheduled = true;
                time.nextTick(this.#turnEnds);
            }
        });
    }

    #turnEnds = () => {
        this.#isScheduled = false;
        this.#flush();
    };

    #flush() {
        const batch = this.#batch;
        if (batch.length === 0) return;
        const writer = this.#writer;
        const { scripts } = writer;
        const handles = this.#handlesFor(scripts.length);
        for (let i = 0; i < scripts.length; i++) handles.writeBigUInt64LE(scripts[i].address, 8 * i);
        this.#batch = [];
        for (let i = 0; i < batch.length; i++) batch[i].end = 0;
        let refused = null;
        try {
            native.submit(this.#target.address, scripts.length, handles, writer.buffer, writer.length, this.#queue);
        } catch (error) {
            refused = error;
        }
        // Before anybody is told: a hook of the program's that makes calls then begins the next batch.
        writer.clear();
        if (refused === null) return;
        for (const call of batch) this.#take(call.tag).refuse(errors.anotherOf(refused));
        this.#rest();
    }

    /** Room for the handles of so many scripts. */
    #handlesFor(count) {
        if (this.#handles.length < 8 * count) this.#handles = Buffer.allocUnsafeSlow(16 * count);
        return this.#handles;
    }

    #listen(call, signal) {
        // One listener for all calls of a signal: more than a few would make Node warn of a leak. And none where there
        // are no calls: a signal that lasts as long as the process would keep every client that it was ever given to.
        let peers = this.#signals.get(signal.given);
        if (peers === undefined) {
            const callOff = () => this.#callOffAll([...peers.calls]);
            const forget = () => {
                signal.forget(callOff);
                this.#signals.delete(signal.given);
            };
            peers = { calls: new Set(), forget };
            this.#signals.set(signal.given, peers);
            signal.listen(callOff);
        }
        call.signal = signal;
        call.peers = peers;
        peers.calls.add(call);
    }

    /** Calls off what has not been submitted, which then never is, and the others some at a time. */
    #callOffAll(calls) {
        const sent = [];
        for (const call of calls) {
            if (call.end === 0) sent.push(call);
            else this.#takeBack(call);
        }
        if (sent.length === 0) return;
        const isIdle = this.#toCancel.length === 0;
        for (const call of sent) this.#toCancel.push(call);
        if (isIdle) this.#cancel();
    }

    #cancel() {
        const calls = this.#toCancel;
        const end = Math.min(this.#cancelled + BATCH, calls.length);
        for (let i = this.#cancelled; i < end; i++) {
            const { tag, target } = calls[i];
            if (this.#calls[tag] === calls[i]) native.cancel(target.address, this.#queue, BigInt(tag), this.#count);
        }
        this.#cancelled = end;
        if (end < calls.length) return this.#again();
        this.#toCancel = [];
        this.#cancelled = 0;
    }

    /** Goes on in the next turn of the event loop: the socket is read then. No timer, which a test may have stopped. */
    #again() {
        native.wake(this.#queue);
    }

    #takeBack(call) {
        // Still in the batch: those behind it move up.
        const length = call.end - call.start;
        const at = this.#batch.indexOf(call);
        this.#batch.splice(at, 1);
        this.#writer.remove(call.start, call.end);
        for (let i = at; i < this.#batch.length; i++) {
            this.#batch[i].start -= length;
            this.#batch[i].end -= length;
        }
        this.#take(call.tag).refuse(errors.cancelled("the call was cancelled"));
        this.#rest();
    }

    #take = (tag) => {
        const call = this.#calls[tag];
        this.#calls[tag] = undefined;
        this.#free.push(tag);
        this.#inFlight -= 1;
        return call;
    };

    #drain() {
        if (this.#isFinished || this.#isFilling) return;
        if (this.#toCancel.length > 0) this.#cancel();
        const room = this.#room;
        for (let taken = 0; ; ) {
            taken += this.#takeOut(room, BATCH - taken, false);
            const needed = Number(this.#needed.readBigUInt64LE(0));
            if (needed > room.length) {
                // What is too large for any Buffer that is kept gets one for itself, and strings may be parts of that.
                const own = this.#roomOf(needed);
                if (own !== null && needed > LARGE && native.pollElsewhere !== null) return this.#fill(own);
                taken += own === null ? 1 : this.#takeOut(own, 1, true);
            }
            // The queue was empty, and the descriptor, from which the socket has read, will be made readable again.
            else if (needed === 0 && taken < BATCH) break;
            // A hook of the program's has closed the client as the last call was told.
            if (this.#isFinished) return;
            if (taken >= BATCH) {
                this.#again();
                break;
            }
        }
        this.#rest();
    }

    /** A Buffer for the next completion; null where there is none so large, and its call has been told. */
    #roomOf(needed) {
        try {
            return Buffer.allocUnsafeSlow(needed);
        } catch (cause) {
            const { tag, error } = native.takeUnread(this.#queue);
            this.#take(Number(tag)).refuse(error ?? unreadable(cause));
            return null;
        }
    }

    /** Takes out completions, `max` at most, and settles their calls; how many. */
    #takeOut(room, max, isOwn) {
        native.poll(this.#queue, room, room.length, max, 0, this.#used, this.#count, this.#needed);
        // Behind the poll: what comes from now on has the descriptor made readable again.
        this.#login?.fetch();
        if (this.#events.of.isHeard) this.#fetch(false);
        this.#settle(room, Number(this.#used.readBigUInt64LE(0)), isOwn);
        return this.#count.readUInt32LE(0);
    }

    #settle(room, used, isOwn) {
        const reader = this.#reader;
        reader.begin(room, isOwn);
        while (reader.at < used) reader.completion(this.#take);
        reader.end();
    }

    /** Has another thread take out the next completion. Those behind it wait for that; the event loop does not. */
    #fill(room) {
        const [used, count, left] = Array.from({ length: 3 }, () => Buffer.from(new ArrayBuffer(8)));
        this.#isFilling = true;
        native.pollElsewhere(this.#queue, room, room.length, 1, 0, used, count, left, () => {
            this.#isFilling = false;
            // What could not be taken out is in the queue as before, and is tried again.
            if (count.readUInt32LE(0) > 0) this.#settle(room, Number(used.readBigUInt64LE(0)), true);
            this.#drain();
        });
        this.#rest();
    }

    /**
     * Takes out what the library tells of connections. What was before the first listener came is only taken note of.
     */
    #fetch(isOld) {
        const { handle, of, used, needed } = this.#events;
        let room = (this.#events.room ??= Buffer.allocUnsafeSlow(ROOM_OF_EVENTS));
        do {
            native.eventsTake(handle, room, room.length, used, needed, null);
            for (let at = 0; at < used.readUInt32LE(0); ) at = of.read(room, at, isOld);
            // A server's words may be longer.
            if (needed.readUInt32LE(0) > room.length) room = Buffer.allocUnsafeSlow(needed.readUInt32LE(0));
        } while (needed.readUInt32LE(0) > 0);
    }

    /** One of the methods of an EventEmitter. */
    listeners(method, ...args) {
        const { of } = this.#events;
        // What there is by now is not for who comes now.
        if (!of.isHeard && !this.#isFinished) this.#fetch(true);
        return of.listeners(method, ...args);
    }

    /** Looks whether there is anything left to wait for. */
    #rest() {
        if (this.#inFlight > 0) return;
        // A burst is over: what it took is not kept.
        if (this.#calls.length > KEPT_CALLS) {
            this.#calls = [];
            this.#free = [];
        }
        if (this.#isClosing) this.#finish();
        else this.#hold();
    }

    /** Ends what is under way; resolves when all of it has been told. */
    close() {
        if (!this.#isClosing) {
            this.#isClosing = true;
            native.clientClose(this.#handle);
            this.#flush();
            if (this.#inFlight === 0) this.#finish();
        }
        return this.#closed.promise;
    }

    /**
     * Somebody has closed the descriptor: it tells of no completion any more, so all calls end, and are looked for
     * until none is left.
     */
    #lost() {
        if (this.#isFinished) return;
        if (!this.#isClosing) this.#reason += ": somebody has closed the descriptor of its queue";
        this.close();
        if (this.#isFinished) return;
        this.#drain();
        if (!this.#isFinished) time.setTimeout(() => this.#lost(), 10);
    }

    #finish() {
        if (this.#isFinished) return;
        this.#isFinished = true;
        this.#socket.destroy();
        for (const undo of this.#kept) undo();
        this.#login?.close();
        native.clientFree(this.#handle);
        native.eventsFree(this.#events.handle);
        native.queueFree(this.#queue);
        this.#closed.resolve();
    }

    /** The figures of rs_client_stats. */
    stats() {
        const values = Buffer.alloc(8 * STATS.length);
        if (!this.#isClosing) native.clientStats(this.#handle, values, STATS.length);
        return Object.fromEntries(STATS.map((name, i) => [name, Number(values.readBigUInt64LE(8 * i))]));
    }
}

/** Flags of an rs_script_options. */
const IDEMPOTENT = 1;
const AS_FUNCTION = 2;
const ONCE = 4;

/** What the options of a native view say. */
const VIEWS = {
    readFrom: (readFrom) => ({ readFrom }),
    all: () => ({ route: native.ROUTE.all }),
    key: (key) => ({ route: native.ROUTE.key, to: bytesOf(key) }),
    slot: (slot) => ({ route: native.ROUTE.slot, slot }),
    node: (node) => ({ route: native.ROUTE.node, to: bytesOf(node) }),
};

const STATS = [
    "calls",
    "roundTrips",
    "bytesSent",
    "bytesReceived",
    "scriptLoads",
    "noscriptRepairs",
    "reconnects",
    "redirects",
    "inFlight",
];

module.exports = { Connection };
