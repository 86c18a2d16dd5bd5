// A stand-in for servers, for the tests of programs that use this package: clients of it are Clients, and what each
// call gives the test decides. No server, no native library, no timers but the test's own.

"use strict";

const builtin = require("./builtin");
const { checkOwn, copy } = require("./checks");
const { Client } = require("./client");
const errors = require("./errors");
const { Events } = require("./events");
const { bytesOf, isBytes, shown, unfit } = require("./pack");
const { tell } = require("./settings");

const { createHash } = builtin("node:crypto");

const READ_ONLY = 1;
const ATOMIC = 1;
const SHA = /^[0-9a-f]{40}$/;
/** What timers can do: a longer time is over at once. */
const LONGEST_TIMER = 2 ** 31 - 1;
const { reasonOf } = errors;

const sha1 = (bytes) => createHash("sha1").update(bytes).digest("hex");

/** How errors were made here, to make them again: each call has one of its own. */
const recipes = new WeakMap();

function made(status, details, endsAll) {
    const error = errors.errorOf(status, details);
    recipes.set(error, { status, details, endsAll });
    return error;
}

const again = (reply) => {
    const recipe = typeof reply === "object" && reply !== null ? recipes.get(reply) : undefined;
    return recipe === undefined ? reply : made(recipe.status, recipe.details, recipe.endsAll);
};

/** What ends a whole pipeline, and is not one item's. */
const ending = (status, details) => made(status, details, true);

/** The error that a server or a script answers with: `WRONGTYPE Operation against ...`. */
function serverError(message) {
    return made(400, { message, serverCode: /^[A-Z]+(?= )/.exec(message)?.[0] ?? "", reason: reasonOf.SERVER });
}

/** An item of a pipeline that met NOSCRIPT, and was not sent again because its order would have been lost. */
function noScript() {
    const message =
        "NOSCRIPT No matching script. The script was not executed, and an item behind it that shares a key with it was";
    return made(401, { message, serverCode: "NOSCRIPT", notExecuted: true, reason: reasonOf.SERVER });
}

/** The connection broke after the call was sent: it may have been executed. */
function lostReply() {
    const message = "the connection was lost after the call was sent; the server may have executed it";
    return ending(300, { message, indeterminate: true, reason: reasonOf.CONNECTION_LOST });
}

/** The time was over: after the call was sent, and so it may have been executed, or with `sent: false` before. */
function deadline({ sent = true } = {}) {
    if (!sent) {
        const message = "no connection in time; nothing was sent";
        return ending(203, { message, notExecuted: true, reason: reasonOf.DEADLINE });
    }
    const message = "no reply in time; the call was sent, so the server may have executed it or may yet do so";
    return ending(300, { message, indeterminate: true, reason: reasonOf.DEADLINE });
}

/** There is no connection: nothing was executed. */
function noConnection() {
    const message = "connection refused; nothing was sent";
    return ending(200, { message, notExecuted: true, reason: reasonOf.CONNECT });
}

/** A transaction that was not executed, because a key that it watches has changed: as the reply to EXEC. */
function transactionAborted() {
    const message = "the transaction was aborted; none of it was executed";
    return ending(405, { message, notExecuted: true, reason: reasonOf.SERVER });
}

/** A reply that is a status, such as OK: it stays text where the option `buffers` makes Buffers of strings. */
class Status {
    constructor(text) {
        this.text = text;
    }
}

const status = (text) => new Status(text);

/** What stands for a script or a library of a FakeServer's client has this field; that of others has another. */
function checkOfFake(what, handle, field) {
    if (handle[field] === undefined) throw errors.invalid(`${what} of a server's client is of no FakeServer`);
}

/** What becomes of a call with a token, by whether it happens once, and whether it may be sent again. */
const REFUSED = 0;
const REPEATED = 1;
const ONCE = 2;

/** The token of a call as a server would receive it. */
function tokenOf(token) {
    const length = Buffer.byteLength(token);
    if (length === 0 || length > 256) throw errors.invalid(`a token has 1 to 256 bytes, this one has ${length}`);
    return isBytes(token) ? bytesOf(token) : token;
}

/** Collects what calls are, with the methods of the Writer of calls for the native library. */
class Recorder {
    list = [];
    /** What a token of all of them would be to each. */
    #repeats = [];
    references = [];

    get length() {
        return this.list.length;
    }

    set length(length) {
        this.list.length = length;
    }

    #put(call, repeats = REFUSED) {
        this.#repeats[this.list.length] = repeats;
        this.list.push({ command: undefined, script: undefined, keys: [], args: [], readOnly: false, ...call });
    }

    command(words) {
        if (words.length === 0) throw errors.invalid("a command needs its name");
        const [name, ...args] = strings(words, "a command's arguments");
        this.#put({ command: String(name).toUpperCase(), args });
    }

    call(script, flags, keys, args, token) {
        checkOfFake("a script", script, "sha");
        if (!Array.isArray(keys)) throw errors.invalid(`keys must be an array, not ${shown(keys)}`);
        if (!Array.isArray(args)) throw errors.invalid(`args must be an array, not ${shown(args)}`);
        const readOnly = (flags & READ_ONLY) !== 0;
        const call = { script: script.sha, keys: strings(keys, "keys"), args: strings(args, "args"), readOnly };
        const isOnce = script.isOnce && !readOnly;
        if (token !== undefined && !isOnce) {
            throw errors.invalid("a token is for calls of a script with once, and not for read-only ones");
        }
        const repeats = readOnly || script.isIdempotent ? REPEATED : REFUSED;
        this.#put(token === undefined ? call : { ...call, token: tokenOf(token) }, isOnce ? ONCE : repeats);
    }

    pipeline(flags, count, items, token) {
        const list = token === undefined ? items.list : items.#withToken(tokenOf(token));
        this.list.push({ items: list, isAtomic: (flags & ATOMIC) !== 0 });
    }

    /** The calls with a token for all that happen once and have none of their own. */
    #withToken(token) {
        const repeats = this.#repeats.slice(0, this.list.length);
        const refused = repeats.indexOf(REFUSED);
        if (refused >= 0) throw errors.invalid(`a token for all items: item ${refused} would happen again`);
        if (!repeats.includes(ONCE)) throw errors.invalid("a token for all items: none of them runs once per token");
        return this.list.map((item, i) => (repeats[i] === ONCE ? { token, ...item } : item));
    }

    library(what, { name, source }) {
        const words = { load: [], deploy: ["REPLACE"], check: ["LIBRARYNAME", name, "WITHCODE"] }[what];
        if (what === "check") this.#put({ command: "FUNCTION LIST", args: words });
        else this.#put({ command: "FUNCTION LOAD", args: [...words, source] });
    }

    libraryList() {
        this.#put({ command: "FUNCTION LIST" });
    }

    prune(libraries) {
        this.#put({ command: "FUNCTION DELETE", args: libraries.map(({ name }) => name) });
    }

    load(script) {
        checkOfFake("a script", script, "sha");
        this.#put({ command: "SCRIPT LOAD", script: script.sha });
    }

    exists(shas) {
        this.#put({ command: "SCRIPT EXISTS", args: strings(shas, "SHA1s") });
    }

    show(sha) {
        this.#put({ command: "SCRIPT SHOW", args: strings([sha], "a SHA1") });
    }

    flush() {
        this.#put({ command: "SCRIPT FLUSH" });
    }

    kill() {
        this.#put({ command: "SCRIPT KILL" });
    }

    killAny() {
        this.#put({ command: "KILL" });
    }

    /** What a client answers by itself. */
    scriptStats() {
        this.list.push({ ofTheClient: [] });
    }

    reauthenticate() {
        this.list.push({ ofTheClient: null });
    }
}

/** What a server would receive: text, or bytes that are the call's own. */
function strings(values, what) {
    return Array.from(values, (value) => {
        if (typeof value === "string") return value;
        if (isBytes(value)) return bytesOf(value);
        if (typeof value === "number" || typeof value === "bigint") return String(value);
        throw unfit(value, what);
    });
}

/** A reply with its strings as the call wants them. */
function converted(reply, buffers) {
    if (typeof reply === "string") return buffers ? Buffer.from(reply) : reply;
    if (isBytes(reply)) return buffers ? bytesOf(reply) : bytesOf(reply).toString();
    if (reply instanceof Status) return reply.text;
    if (Array.isArray(reply)) return reply.map((element) => converted(element, buffers));
    if (reply instanceof Set) return new Set(Array.from(reply, (element) => converted(element, buffers)));
    if (reply instanceof Map) return new Map(Array.from(reply, (pair) => converted(pair, buffers)));
    return reply === undefined ? null : reply;
}

/** An item's error is its element; what else a test throws ends all of the pipeline, as it ends a call. */
function valueOf(thrown) {
    if (thrown instanceof Error) return thrown;
    throw thrown;
}

/** A call that is not over yet. */
class Pending {
    isSent = false;
    isOver = false;

    constructor() {
        this.over = new Promise((_, reject) => {
            this.end = (error) => {
                this.isOver = true;
                reject(error);
            };
        });
        this.over.catch(() => {});
    }

    /** Ends it for a reason of this side's: what a caller is told depends on whether it was sent. */
    stop(reason, unsent, cause) {
        const message = "the call was sent, so the server may have executed it";
        const error = this.isSent ? errors.errorOf(300, { message, indeterminate: true, reason }) : unsent;
        if (cause !== undefined) error.cause = cause;
        this.end(error);
    }
}

/** Carries the calls of one client to a FakeServer. */
class FakeConnection {
    address = { serverAddress: "fake" };
    events = new Events(this.address);
    #server;
    #pending = new Set();
    #isClosed = false;
    #calls = 0;

    constructor(server) {
        this.#server = server;
    }

    script(source, { asFunction, idempotent, once }) {
        const sha = sha1(source);
        this.#server.sources.set(sha, source);
        const handle = { sha, isOnce: once !== null, isIdempotent: idempotent };
        return { handle, sha, functionName: asFunction ? `rs_${sha.slice(0, 12)}` : "" };
    }

    /** Names have the form of those that servers know, with digests that are none of theirs. */
    library(source, { isNamed, once }) {
        const [, name] = /^#!lua name=(\w+)/.exec(source.toString()) ?? [];
        if (name === undefined) throw errors.invalid("the first line of a library is #!lua name=...");
        if (isNamed && once !== null) throw errors.invalid("a library is named, or has once, not both");
        const code = once === null ? source : Buffer.concat([source, Buffer.from(JSON.stringify(once))]);
        const suffix = isNamed ? "" : `_${sha1(code).slice(0, 12)}`;
        return { handle: { suffix }, source, isNamed, once, name: name + suffix };
    }

    function({ handle, source, once }, name, { idempotent }) {
        checkOfFake("a library", handle, "suffix");
        const sha = sha1(Buffer.concat([source, Buffer.from(`\0${name}`)]));
        const its = { sha, isOnce: once !== null, isIdempotent: idempotent };
        return { handle: its, sha, functionName: name + handle.suffix };
    }

    items() {
        return new Recorder();
    }

    view(target) {
        if (this.#isClosed) throw errors.closed("the client is closed");
        return target;
    }

    async send(owner, { buffers, timeout, signal, callerStack }, write, made) {
        const caller = callerStack ? errors.callerOf(made) : null;
        const pending = new Pending();
        const abort = () =>
            pending.stop(reasonOf.CANCELLED, errors.cancelled("the call was cancelled"), signal.reason);
        try {
            if (this.#isClosed) throw errors.closed("the client is closed");
            if (signal?.isAborted) abort();
            const recorder = new Recorder();
            write(recorder);
            signal?.listen(abort);
            this.#pending.add(pending);
            return await Promise.race([pending.over, this.#answer(recorder.list[0], pending, buffers, timeout)]);
        } catch (error) {
            if (caller !== null && error instanceof Error) errors.nameCaller(error, caller);
            throw error;
        } finally {
            signal?.forget(abort);
            this.#pending.delete(pending);
        }
    }

    /** A call is sent when its turn is over, as with a server, and not if it has ended by then. */
    async #answer(call, pending, buffers, timeout) {
        await null;
        if (pending.isOver) return null;
        if (call.ofTheClient !== undefined) return call.ofTheClient;
        pending.isSent = true;
        this.#calls += 1;
        let timer;
        // The test's clock, be it a fake one.
        if (timeout > 0) {
            timer = globalThis.setTimeout(() => pending.end(deadline()), Math.min(timeout, LONGEST_TIMER));
            timer.unref?.();
        }
        try {
            if (call.items === undefined) return converted(await this.#server.answer(call), buffers);
            return await this.#answerAll(call, pending, buffers);
        } finally {
            if (timer !== undefined) globalThis.clearTimeout(timer);
        }
    }

    async #answerAll({ items, isAtomic }, pending, buffers) {
        const replies = [];
        if (isAtomic) await this.#server.execute();
        for (const item of items) {
            if (pending.isOver) return null;
            const reply = await this.#server.answer(item).catch(valueOf);
            if (recipes.get(reply)?.endsAll) {
                // Those before it were executed, if not all are or none.
                const isPart = !isAtomic && reply.notExecuted && replies.length > 0;
                const ended = isPart ? (reply.code === "RS_ERR_TIMEOUT" ? deadline() : lostReply()) : reply;
                if (ended.indeterminate && !isAtomic) ended.arrived = converted(replies, buffers);
                ended.index = replies.length;
                throw ended;
            }
            if (reply instanceof errors.classes.ScriptError) reply.index = replies.length;
            else if (reply instanceof Error) throw reply;
            replies.push(reply);
        }
        return converted(replies, buffers);
    }

    keepAlive() {}

    renews() {}

    listeners(method, ...args) {
        return this.events.listeners(method, ...args);
    }

    stats() {
        const counts = { calls: this.#calls, roundTrips: this.#calls, bytesSent: 0, bytesReceived: 0, scriptLoads: 0 };
        return { ...counts, noscriptRepairs: 0, reconnects: 0, redirects: 0, inFlight: this.#pending.size };
    }

    async close() {
        this.#isClosed = true;
        for (const pending of this.#pending) pending.stop(reasonOf.CLOSED, errors.closed("the client is closed"));
        await null;
    }
}

class FakeServer {
    /** What has come, in order. */
    calls = [];
    /** By SHA1: sources that clients have, and which of them the server has loaded. */
    sources = new Map();
    #loaded = new Set();
    #always = new Map();
    #next = new Map();
    #connections = new Set();

    /** A client of this server. */
    async connect(connectOptions = {}) {
        const given = copy("connect()", connectOptions);
        checkOwn(given);
        tell(given, () => {});
        const { buffers, callerStack } = given;
        const connection = new FakeConnection(this);
        this.#connections.add(connection);
        return Client.over(connection, {}, { timeout: given.callTimeout, buffers, callerStack });
    }

    /**
     * What a command, or a script, is answered with from now on: a value, an error, or a function that gives one or a
     * promise of one.
     */
    reply(what, reply) {
        this.#always.set(nameOf(what), reply);
        return this;
    }

    /** What its next calls are answered with, one each; then it is as before. */
    replyOnce(what, ...replies) {
        const name = nameOf(what);
        this.#next.set(name, [...(this.#next.get(name) ?? []), ...replies]);
        return this;
    }

    /** Has all its clients tell an event: `emit("lost", { message: "..." })`. */
    emit(event, details = {}) {
        for (const { events } of this.#connections) events.tell(event, details);
        return this;
    }

    /** Answers one call, or throws. For the connections of this file. */
    async answer(call) {
        this.calls.push(call);
        const name = call.command ?? call.script;
        const reply = this.#replyTo(name, call);
        if (reply === undefined) return this.#byItself(call);
        const given = await reply();
        if (given instanceof Error) throw given;
        if (call.script !== undefined) this.#loaded.add(call.script);
        return given;
    }

    /** Executes a transaction, unless the test says that it is not. */
    async execute() {
        const given = await this.#replyTo("EXEC", { command: "EXEC" })?.();
        if (given instanceof Error) throw given;
    }

    /** What gives the reply that the test has for a call, if it has one. */
    #replyTo(name, call) {
        const next = this.#next.get(name);
        const isNext = next !== undefined && next.length > 0;
        if (!isNext && !this.#always.has(name)) return undefined;
        const reply = isNext ? next.shift() : this.#always.get(name);
        return async () => again(typeof reply === "function" ? await reply(call) : reply);
    }

    /** What a server does that has no keys. */
    #byItself({ command, script, args }) {
        switch (command) {
            case "PING":
                return args.length > 0 ? args[0] : "PONG";
            case "SCRIPT LOAD":
                this.#loaded.add(script);
                return script;
            case "SCRIPT EXISTS":
                return args.map((sha) => this.#loaded.has(String(sha)));
            case "SCRIPT SHOW": {
                const sha = String(args[0]);
                return this.#loaded.has(sha) ? this.sources.get(sha) : null;
            }
            case "SCRIPT FLUSH":
                this.#loaded.clear();
                return "OK";
            case "SCRIPT KILL":
            case "KILL":
                throw serverError("NOTBUSY No scripts in execution right now.");
        }
        const what = command ?? `the script ${script}`;
        const argument = JSON.stringify(command ?? script);
        throw new Error(`the test says nothing of ${what}: server.reply(${argument}, ...) does`);
    }
}

/**
 * A script by itself, its SHA1 or its source; else it is the name of a command, which has no spaces, but for those of
 * SCRIPT and FUNCTION.
 */
function nameOf(what) {
    if (typeof what === "function" && typeof what.sha === "string") return what.sha;
    if (typeof what !== "string" || what === "") {
        throw errors.invalid(
            `a script, its source or SHA1, or the name of a command is what is answered, not ${shown(what)}`,
        );
    }
    if (SHA.test(what)) return what;
    if (/^((SCRIPT|FUNCTION) )?\S+$/i.test(what)) return what.toUpperCase();
    return sha1(what);
}

module.exports = { FakeServer, status, serverError, noScript, lostReply, deadline, noConnection, transactionAborted };
