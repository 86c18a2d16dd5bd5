// What users of the package see: clients, scripts, pipelines.

"use strict";

const { Connection } = require("./connection");
const { classes, closed, invalid } = require("./errors");
const native = require("./native");
const options = require("./options");
const { Writer, bytesOf, isBytes, shown } = require("./pack");

const READ_ONLY = 1;
const ATOMIC = 1;
const REPAIR_UNORDERED = 2;
const TRUST_CACHE = 4;
const IDEMPOTENT = 1;
const CALL_OPTIONS = ["timeout", "buffers", "signal"];
const VIEW_OPTIONS = ["timeout", "buffers", "readFrom", "route"];
const FLUSH = { default: 0, sync: 1, async: 2 };

/** Until then the server must have answered for the first time, unless the options say otherwise. */
const CONNECT_TIMEOUT = 5000;
const MAX_IN_FLIGHT = 100_000;

/** Native objects are freed when nothing in JavaScript can reach what stands for them. */
const forgotten = new FinalizationRegistry((free) => free());

/** A native object that lives as long as this one does. */
class Handle {
    constructor(address, free) {
        this.address = address;
        forgotten.register(this, () => free(address));
    }
}

/** How the calls through one view of a client are made. */
class Way {
    constructor(target, timeout, buffers) {
        this.target = target;
        this.timeout = timeout;
        this.buffers = buffers;
    }

    /** The same with the options of a single call. */
    with({ timeout, buffers, signal }) {
        return {
            target: this.target,
            timeout: timeout === undefined ? this.timeout : options.timeoutOf(timeout),
            buffers: buffers === undefined ? this.buffers : options.flag("buffers", buffers),
            signal: options.signalOf(signal),
        };
    }
}

class Client {
    #connection;
    #way;
    /** The client of which this is a view: while it can be reached the connection stays open. */
    #root;

    constructor(connection, way, root) {
        if (!(connection instanceof Connection)) throw invalid("clients come from connect()");
        this.#connection = connection;
        this.#way = way;
        this.#root = root ?? this;
        if (root === undefined) forgotten.register(this, () => void connection.close());
    }

    static is(value) {
        return typeof value === "object" && value !== null && #connection in value;
    }

    /** Makes a call; errors of any kind come through the promise. `prepare` reads what the caller gave, and says how to write it. */
    #send(callOptions, prepare) {
        let way = this.#way;
        let write;
        try {
            if (callOptions !== undefined) way = way.with(options.known("a call", callOptions, CALL_OPTIONS));
            write = prepare();
        } catch (error) {
            return Promise.reject(error);
        }
        return this.#connection.send(this.#root, way, write);
    }

    static call(client, script, flags, keys, args, callOptions) {
        return client.#send(callOptions, () => {
            const [keyList, argList] = [plain(keys), plain(args)];
            return (writer) => writer.call(script, flags, keyList, argList);
        });
    }

    static exec(client, flags, count, items, callOptions) {
        return client.#send(callOptions, () => (writer) => writer.pipeline(flags, count, items));
    }

    /** A script of this source. No input or output takes place. */
    script(source, scriptOptions = {}) {
        const { idempotent = false } = options.known("a script", scriptOptions, ["idempotent"]);
        if (typeof source !== "string" && !isBytes(source)) {
            throw invalid(`a script must be a string or a Buffer, not ${shown(source)}`);
        }
        const bytes = bytesOf(source);
        const out = Buffer.alloc(8);
        native.scriptRegister(0n, bytes, bytes.length, options.flag("idempotent", idempotent) ? IDEMPOTENT : 0, out);
        const handle = new Handle(out.readBigUInt64LE(0), native.scriptFree);
        return callable(handle, native.scriptSha(handle.address), this, 0);
    }

    /** A command, sent as it is: an array, or its words one by one. */
    command(...words) {
        const isList = Array.isArray(words[0]);
        return this.#send(isList ? words[1] : undefined, () => {
            const list = isList ? plain(words[0]) : words;
            return (writer) => writer.command(list);
        });
    }

    pipeline(pipelineOptions = {}) {
        const { repairUnordered = false } = options.known("a pipeline", pipelineOptions, ["repairUnordered"]);
        return new Pipeline(this, options.flag("repairUnordered", repairUnordered) ? REPAIR_UNORDERED : 0);
    }

    transaction(transactionOptions = {}) {
        const { trustCache = false } = options.known("a transaction", transactionOptions, ["trustCache"]);
        return new Pipeline(this, ATOMIC | (options.flag("trustCache", trustCache) ? TRUST_CACHE : 0));
    }

    /** The same client whose calls are made in another way. */
    with(viewOptions) {
        const { timeout, buffers, readFrom, route } = options.known("a view", viewOptions, VIEW_OPTIONS);
        const way = this.#way.with({ timeout, buffers });
        let { target } = way;
        if (readFrom !== undefined) {
            const number = options.oneOf("readFrom", readFrom, options.READ_FROM);
            target = this.#view((out) => native.withReadFrom(target.address, number, out));
        }
        if (route !== undefined) target = this.#routed(target, route);
        return new Client(this.#connection, new Way(target, way.timeout, way.buffers), this.#root);
    }

    #view(make) {
        if (this.#connection.isClosed) throw closed("the client is closed");
        const out = Buffer.alloc(8);
        this.#connection.shares();
        make(out);
        return new Handle(out.readBigUInt64LE(0), native.clientFree);
    }

    #routed({ address }, route) {
        if (route === "all") return this.#view((out) => native.withRouteAll(address, out));
        const { key, slot, node } = Object(route);
        if (typeof key === "string" || isBytes(key)) {
            const bytes = bytesOf(key);
            return this.#view((out) => native.withRouteKey(address, bytes, bytes.length, out));
        }
        if (Number.isInteger(slot) && slot >= 0 && slot < 65536) {
            return this.#view((out) => native.withRouteSlot(address, slot, out));
        }
        if (node !== undefined) {
            const name = options.text("route.node", node);
            return this.#view((out) => native.withRouteNode(address, name, out));
        }
        throw invalid('a route is "all", or an object with a key, a slot or a node');
    }

    /** Loads a script; in a cluster, on all primaries. Resolves with its SHA1. */
    async scriptLoad(script, callOptions) {
        const { handle } = scriptOf(script);
        await this.#send(callOptions, () => (writer) => writer.load(handle));
        return script.sha;
    }

    /** Which of these scripts, or SHA1s, the server has; in a cluster, every primary. */
    async scriptExists(scripts, callOptions) {
        if (!Array.isArray(scripts)) throw invalid(`scriptExists takes an array of scripts or SHA1s, not ${shown(scripts)}`);
        const shas = plain(scripts).map(shaOf);
        return this.#send(callOptions, () => (writer) => writer.exists(shas));
    }

    async scriptFlush(mode = "default", callOptions) {
        const number = options.oneOf("mode", mode, FLUSH);
        await this.#send(callOptions, () => (writer) => writer.flush(number));
    }

    async scriptKill(callOptions) {
        await this.#send(callOptions, () => (writer) => writer.kill());
    }

    /** Stops what the server is running, a script or a function; in a cluster, what the primaries are running. Tells what that was. */
    async kill(callOptions) {
        const killed = await this.#send(callOptions, () => (writer) => writer.killAny());
        return killed.map(([kind, name, node]) => ({ kind: String(kind), name: name === null ? null : String(name), node: String(node) }));
    }

    /** The source of a script, or of a SHA1, as the server has it; null where it does not, in a cluster where no primary does. Valkey 8 and newer. */
    async scriptShow(script, callOptions) {
        const sha = shaOf(script);
        return this.#send(callOptions, () => (writer) => writer.show(sha));
    }

    stats() {
        return this.#connection.stats();
    }

    /** Keeps the process alive while the client is open, also when it is idle. */
    ref() {
        this.#connection.keepAlive(true);
        return this;
    }

    unref() {
        this.#connection.keepAlive(false);
        return this;
    }

    /** Ends all calls under way; resolves when they have been told. */
    close() {
        return this.#connection.close();
    }

    [Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]() {
        return this.close();
    }
}

/** What is behind a script function: its native handle and the flags of its calls. */
const scripts = new WeakMap();

function scriptOf(script) {
    const found = typeof script === "function" ? scripts.get(script) : undefined;
    if (found === undefined) throw invalid(`this is no script of client.script(), but ${shown(script)}`);
    return found;
}

function shaOf(script) {
    return typeof script === "function" ? scriptOf(script) && script.sha : script;
}

/** A plain copy of a list: reading it may run code of its owner's, which must not happen while calls are being written. */
function plain(values) {
    return Array.isArray(values) ? [...values] : values;
}

function callable(handle, sha, client, flags) {
    const script = (keys = [], args = [], callOptions = undefined) =>
        Client.call(client, handle, flags, keys, args, callOptions);
    scripts.set(script, { handle, flags });
    let readOnly = (flags & READ_ONLY) !== 0 ? script : undefined;
    return Object.defineProperties(script, {
        sha: { value: sha, enumerable: true },
        on: {
            value: (other) => {
                if (!Client.is(other)) throw invalid(`on() takes a client, not ${shown(other)}`);
                return callable(handle, sha, other, flags);
            },
        },
        ro: { get: () => (readOnly ??= callable(handle, sha, client, flags | READ_ONLY)) },
    });
}

/** Commands and script calls that are sent together, in one write. */
class Pipeline {
    #client;
    #flags;
    #items;
    #count = 0;

    constructor(client, flags) {
        if (!(client instanceof Client)) throw invalid("pipelines come from a client's pipeline() and transaction()");
        this.#client = client;
        this.#flags = flags;
        this.clear();
    }

    get length() {
        return this.#count;
    }

    clear() {
        this.#items = new Writer();
        this.#items.references = [];
        this.#count = 0;
        return this;
    }

    #add(write) {
        const items = this.#items;
        const { length } = items;
        const references = items.references.length;
        try {
            write(items);
        } catch (error) {
            items.length = length;
            items.references.length = references;
            throw error;
        }
        this.#count += 1;
        return this;
    }

    command(...words) {
        if (Array.isArray(words[0]) && words.length > 1) throw invalid("a pipeline's command is one array, or its words one by one");
        const list = Array.isArray(words[0]) ? plain(words[0]) : words;
        return this.#add((items) => items.command(list));
    }

    script(script, keys = [], args = []) {
        const { handle, flags } = scriptOf(script);
        const [keyList, argList] = [plain(keys), plain(args)];
        return this.#add((items) => items.call(handle, flags, keyList, argList));
    }

    /** Sends the items. The pipeline is empty afterwards. An item's error is its element of the array. */
    exec(callOptions) {
        const items = this.#items;
        const count = this.#count;
        this.clear();
        if (count === 0) return Promise.resolve([]);
        return Client.exec(this.#client, this.#flags, count, items, callOptions);
    }
}

async function connect(url, connectOptions = {}) {
    const given = options.copy("connect()", connectOptions);
    const address = options.open(url, given);
    const { buffers = false, keepAlive = false, maxInFlight = MAX_IN_FLIGHT, lazyConnect = false } = given;
    let connection;
    try {
        connection = new Connection(address, maxInFlight);
    } catch (error) {
        native.clientFree(address);
        throw error;
    }
    const client = new Client(connection, new Way({ address }, 0, buffers));
    if (keepAlive) client.ref();
    if (!lazyConnect) await prove(client, given);
    return client;
}

/** Connects: a server that answers, be it with an error, is there. */
async function prove(client, { connectTimeout: timeout = CONNECT_TIMEOUT, signal }) {
    try {
        await client.command(["PING"], { timeout, signal });
    } catch (error) {
        if (error instanceof classes.ServerError) return;
        await client.close();
        throw error;
    }
}

module.exports = { connect, Client, Pipeline, ffi: native.ffi, library: native.path, version: native.version(), ...classes };
