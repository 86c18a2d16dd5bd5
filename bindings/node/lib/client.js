// What users of the package see: clients, scripts, pipelines. What carries their calls is a Connection, or the
// stand-in of `./testing`.

"use strict";

const {
    CALL_OPTIONS,
    CALL_OPTIONS_WITH_TOKEN,
    READ_FROM,
    VIEW_OPTIONS,
    checkOwn,
    copy,
    flag,
    known,
    onceOf,
    oneOf,
    signalOf,
    text,
    timeoutOf,
    tokenOf,
} = require("./checks");
const { classes, invalid } = require("./errors");
const { bytesOf, isBytes, shown } = require("./pack");
const tracing = require("./tracing");

const READ_ONLY = 1;
const ATOMIC = 1;
const REPAIR_UNORDERED = 2;
const TRUST_CACHE = 4;
const FLUSH = { default: 0, sync: 1, async: 2 };

/** Until then the server must have answered for the first time, unless the options say otherwise. */
const CONNECT_TIMEOUT = 5000;
const MAX_IN_FLIGHT = 100_000;
/** The longest timeout that a call may have of its own. */
const LONGEST_TIMEOUT = 0xffff_ffff;

/** A client that nobody can reach is closed. */
const forgotten = new FinalizationRegistry((connection) => void connection.close());

/** What constructors take from this file alone. */
const SECRET = Symbol("rs_script");

/** How the calls through one view of a client are made. */
class Way {
    constructor(target, { timeout = 0, buffers = false, callerStack = false }) {
        this.target = target;
        this.timeout = timeout;
        this.buffers = buffers;
        this.callerStack = callerStack;
    }

    /** The same with the options of a single call, or of a view. */
    with({ timeout, buffers, callerStack, signal }) {
        return {
            target: this.target,
            timeout: timeout === undefined ? this.timeout : timeoutOf(timeout),
            buffers: buffers === undefined ? this.buffers : flag("buffers", buffers),
            callerStack: callerStack === undefined ? this.callerStack : flag("callerStack", callerStack),
            signal: signalOf(signal),
        };
    }
}

class Client {
    #connection;
    #way;
    /** The client of which this is a view: while it can be reached the connection stays open. */
    #root;

    constructor(secret, connection, way, root) {
        if (secret !== SECRET) throw invalid("clients come from connect()");
        this.#connection = connection;
        this.#way = way;
        this.#root = root ?? this;
        if (root === undefined) forgotten.register(this, connection);
    }

    /** A client whose calls a connection carries, to which `target` is its way without options. */
    static over(connection, target, connectOptions) {
        return new Client(SECRET, connection, new Way(target, connectOptions));
    }

    static is(value) {
        return typeof value === "object" && value !== null && #connection in value;
    }

    /**
     * Makes a call; errors of any kind come through the promise. `prepare` reads what the caller gave, and says how
     * to write it. `made` is the function that the caller has called, `operation` and `subject` are what is called,
     * for those who listen to channels; without them they are not told. `allowed`: the options that there may be.
     */
    #send(callOptions, made, operation, subject, prepare, allowed = CALL_OPTIONS) {
        let way = this.#way;
        let write;
        let context;
        try {
            let token;
            if (callOptions !== undefined) {
                const options = known("a call", callOptions, allowed);
                way = way.with(options);
                token = tokenOf(options.token);
            }
            write = prepare(token);
            const isTold = operation !== undefined && tracing.isHeard(tracing.call);
            if (!isTold) return this.#connection.send(this.#root, way, write, made);
            context = { operation, ...describe(operation, subject), ...this.#connection.address };
        } catch (error) {
            return Promise.reject(error);
        }
        return tracing.call.tracePromise(() => this.#connection.send(this.#root, way, write, made, context), context);
    }

    static call(client, script, what, keys, args, callOptions) {
        const prepare = (token) => {
            const [keyList, argList] = [plain(keys), plain(args)];
            return (writer) => writer.call(what.handle, what.flags, keyList, argList, token);
        };
        return client.#send(callOptions, script, "script", what, prepare, CALL_OPTIONS_WITH_TOKEN);
    }

    /** The empty Writer of a pipeline's items. */
    static items(client) {
        return client.#connection.items();
    }

    static exec(client, flags, count, items, callOptions) {
        const operation = (flags & ATOMIC) !== 0 ? "transaction" : "pipeline";
        const prepare = (token) => (writer) => writer.pipeline(flags, count, items, token);
        return client.#send(callOptions, Pipeline.prototype.exec, operation, count, prepare, CALL_OPTIONS_WITH_TOKEN);
    }

    /** A script of this source. No input or output takes place. */
    script(source, scriptOptions = {}) {
        const said = saidOfScript("a script", scriptOptions, ["asFunction"]);
        checkSource("a script", source);
        return callable({ ...this.#connection.script(bytesOf(source), said), name: said.name }, this, 0);
    }

    /** A library of functions of this source. No input or output takes place. */
    library(source, libraryOptions = {}) {
        const { named = false, once } = known("a library", libraryOptions, ["named", "once"]);
        checkSource("a library", source);
        const said = { isNamed: flag("named", named), once: onceOf(once) };
        return new Library(SECRET, this.#connection.library(bytesOf(source), said), this);
    }

    static function(client, library, name, said) {
        return callable({ ...client.#connection.function(library, name, said), name: said.name }, client, 0);
    }

    /** A command, sent as it is: an array, or its words one by one. */
    command(...words) {
        const isList = Array.isArray(words[0]);
        return this.#send(isList ? words[1] : undefined, Client.prototype.command, "command", words, () => {
            if (isList && words.length > 2) throw invalid("a command is an array and options, or its words one by one");
            const list = isList ? plain(words[0]) : words;
            return (writer) => writer.command(list);
        });
    }

    pipeline(pipelineOptions = {}) {
        const { repairUnordered = false } = known("a pipeline", pipelineOptions, ["repairUnordered"]);
        return new Pipeline(SECRET, this, flag("repairUnordered", repairUnordered) ? REPAIR_UNORDERED : 0);
    }

    transaction(transactionOptions = {}) {
        const { trustCache = false } = known("a transaction", transactionOptions, ["trustCache"]);
        return new Pipeline(SECRET, this, ATOMIC | (flag("trustCache", trustCache) ? TRUST_CACHE : 0));
    }

    /** The same client whose calls are made in another way. */
    with(viewOptions) {
        const { timeout, buffers, callerStack, readFrom, route } = known("a view", viewOptions, VIEW_OPTIONS);
        const way = this.#way.with({ timeout, buffers, callerStack });
        let { target } = way;
        if (readFrom !== undefined) {
            target = this.#connection.view(target, "readFrom", oneOf("readFrom", readFrom, READ_FROM));
        }
        if (route !== undefined) target = this.#connection.view(target, ...routeOf(route));
        return new Client(SECRET, this.#connection, new Way(target, way), this.#root);
    }

    #administer(name, callOptions, write) {
        return this.#send(callOptions, Client.prototype[name], name, undefined, () => write);
    }

    /** Loads a script; in a cluster, on all primaries. Resolves with its SHA1. */
    async scriptLoad(script, callOptions) {
        const { handle } = scriptOf(script);
        await this.#administer("scriptLoad", callOptions, (writer) => writer.load(handle));
        return script.sha;
    }

    /** Which of these scripts, or SHA1s, the server has; in a cluster, every primary. */
    async scriptExists(scripts, callOptions) {
        if (!Array.isArray(scripts)) {
            throw invalid(`scriptExists takes an array of scripts or SHA1s, not ${shown(scripts)}`);
        }
        const shas = plain(scripts).map(shaOf);
        return this.#administer("scriptExists", callOptions, (writer) => writer.exists(shas));
    }

    async scriptFlush(mode = "default", callOptions) {
        const number = oneOf("mode", mode, FLUSH);
        await this.#administer("scriptFlush", callOptions, (writer) => writer.flush(number));
    }

    async scriptKill(callOptions) {
        await this.#administer("scriptKill", callOptions, (writer) => writer.kill());
    }

    /**
     * Stops what the server is running, a script or a function; in a cluster, what the primaries are running. Tells
     * what that was.
     */
    async kill(callOptions) {
        const killed = await this.#administer("kill", callOptions, (writer) => writer.killAny());
        return killed.map(([kind, name, node]) => ({
            kind: String(kind),
            name: name === null ? null : String(name),
            node: String(node),
        }));
    }

    /**
     * The source of a script, or of a SHA1, as the server has it; null where it does not, in a cluster where no
     * primary does. Valkey 8 and newer.
     */
    async scriptShow(script, callOptions) {
        const sha = shaOf(script);
        return this.#administer("scriptShow", callOptions, (writer) => writer.show(sha));
    }

    /**
     * Loads a library, where none of its name is there; in a cluster, on all primaries. Resolves with what each has:
     * "loaded" or "there".
     */
    libraryLoad(library, callOptions) {
        return this.#administerLibrary("libraryLoad", "load", library, callOptions);
    }

    /** Compares a library with the one of its name on each primary: "same", "different" or "absent". */
    libraryCheck(library, callOptions) {
        return this.#administerLibrary("libraryCheck", "check", library, callOptions);
    }

    /** Puts a library in the place of the one of its name on each primary. */
    libraryDeploy(library, callOptions) {
        return this.#administerLibrary("libraryDeploy", "deploy", library, callOptions);
    }

    /** The libraries of each primary. */
    async libraryList(callOptions) {
        const told = await this.#administerNodes("libraryList", callOptions, (writer) => writer.libraryList());
        return eachNode(told, (libraries) => libraries.map(libraryOf));
    }

    /**
     * Removes the other versions of these pinned libraries. Resolves with the names of those that each primary has
     * removed.
     */
    async libraryPrune(libraries, callOptions) {
        if (!Array.isArray(libraries)) {
            throw invalid(`libraryPrune takes an array of libraries, not ${shown(libraries)}`);
        }
        const keep = plain(libraries).map(Library.of);
        return this.#administerNodes("libraryPrune", callOptions, (writer) => writer.prune(keep));
    }

    async #administerLibrary(name, what, library, callOptions) {
        const its = Library.of(library);
        return this.#administerNodes(name, callOptions, (writer) => writer.library(what, its));
    }

    /** What each primary says is about names, which are text. */
    async #administerNodes(name, callOptions, write) {
        const options = { ...known("a call", callOptions ?? {}, CALL_OPTIONS), buffers: false };
        return this.#administer(name, options, write);
    }

    /** Has the function `credentials` asked again, and all connections log in with what it gives. */
    async reauthenticate(callOptions) {
        this.#connection.renews();
        await this.#administer("reauthenticate", callOptions, (writer) => writer.reauthenticate());
    }

    /** What became of the calls of each script. */
    async scriptStats(callOptions) {
        const options = { ...known("a call", callOptions ?? {}, CALL_OPTIONS), buffers: false };
        const prepare = () => (writer) => writer.scriptStats();
        return (await this.#send(options, Client.prototype.scriptStats, undefined, undefined, prepare)).map(statsOf);
    }

    stats() {
        return this.#connection.stats();
    }

    /** Tells of connections: `connect`, `reconnect`, `lost`, `connectError`. */
    on(event, listener) {
        this.#connection.listeners("on", event, listener);
        return this;
    }

    once(event, listener) {
        this.#connection.listeners("once", event, listener);
        return this;
    }

    off(event, listener) {
        this.#connection.listeners("off", event, listener);
        return this;
    }

    addListener(event, listener) {
        return this.on(event, listener);
    }

    removeListener(event, listener) {
        return this.off(event, listener);
    }

    listenerCount(event) {
        return this.#connection.listeners("listenerCount", event);
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

    [Symbol.asyncDispose]() {
        return this.close();
    }
}

/** What each primary has told, an error of which stays what it is. */
function eachNode(told, read) {
    return new Map(
        Array.from(told, ([node, reply]) => [node, reply instanceof classes.ScriptError ? reply : read(reply)]),
    );
}

/** What stands for a map in RESP2: names and values in turn. */
function fieldsOf(reply) {
    if (reply instanceof Map) return Object.fromEntries(reply);
    const fields = {};
    for (let i = 0; i + 1 < reply.length; i += 2) fields[reply[i]] = reply[i + 1];
    return fields;
}

/** A library as a server tells of it. */
function libraryOf(reply) {
    const { library_name: name, engine, functions } = fieldsOf(reply);
    return { name, engine, functions: Array.from(functions, functionOf) };
}

function functionOf(reply) {
    const { name, description, flags } = fieldsOf(reply);
    return { name, description: description ?? null, flags: [...flags] };
}

/** The figures of a script, as the library has them, with times in milliseconds. */
function statsOf(map) {
    const { latency, ...counts } = Object.fromEntries(map);
    const { buckets, count, ...times } = Object.fromEntries(latency);
    const told = Object.entries(times).map(([name, us]) => [name.replace(/_us$/, ""), us / 1000]);
    const pairs = [];
    for (let i = 0; i < buckets.length; i += 2) pairs.push({ upTo: buckets[i] / 1000, count: buckets[i + 1] });
    return { ...counts, latency: { count, ...Object.fromEntries(told), buckets: pairs } };
}

/** What a view needs to know for a route: its kind, and where it leads. */
function routeOf(route) {
    if (route === "all") return ["all", null];
    const { key, slot, node } = Object(route);
    if (typeof key === "string" || isBytes(key)) return ["key", key];
    if (Number.isInteger(slot) && slot >= 0 && slot < 65536) return ["slot", slot];
    if (node !== undefined) return ["node", text("route.node", node)];
    throw invalid('a route is "all", or an object with a key, a slot or a node');
}

/** What listeners are told of a call, besides what it is. */
function describe(operation, subject) {
    if (operation === "script") {
        return { sha: subject.sha, name: subject.name, readOnly: (subject.flags & READ_ONLY) !== 0 };
    }
    if (operation === "pipeline" || operation === "transaction") return { items: subject };
    if (operation !== "command") return {};
    const [name] = Array.isArray(subject[0]) ? subject[0] : subject;
    return { command: typeof name === "string" ? name.toUpperCase() : undefined };
}

/** What is behind a script function: its native handle and the flags of its calls. */
const scripts = new WeakMap();

function checkSource(what, source) {
    if (typeof source !== "string" && !isBytes(source)) {
        throw invalid(`${what} must be a string or a Buffer, not ${shown(source)}`);
    }
}

/** What is said of a script, or of a function, beside its source: checked. */
function saidOfScript(what, scriptOptions, others = []) {
    const options = known(what, scriptOptions, ["idempotent", "name", "once", ...others]);
    const { idempotent = false, asFunction = false, name = "", once } = options;
    return {
        idempotent: flag("idempotent", idempotent),
        asFunction: flag("asFunction", asFunction),
        name: text("name", name),
        once: onceOf(once),
    };
}

function scriptOf(script) {
    const found = typeof script === "function" ? scripts.get(script) : undefined;
    if (found === undefined) throw invalid(`this is no script of client.script(), but ${shown(script)}`);
    return found;
}

function shaOf(script) {
    return typeof script === "function" ? scriptOf(script) && script.sha : script;
}

/**
 * A plain copy of a list: reading it may run code of its owner's, which must not happen while calls are being
 * written.
 */
function plain(values) {
    return Array.isArray(values) ? [...values] : values;
}

function callable(known, client, flags) {
    const { handle, sha, functionName } = known;
    const name = known.name === "" ? undefined : known.name;
    const what = { handle, sha, name, flags };
    const script = (keys = [], args = [], callOptions = undefined) =>
        Client.call(client, script, what, keys, args, callOptions);
    scripts.set(script, what);
    let readOnly = (flags & READ_ONLY) !== 0 ? script : undefined;
    return Object.defineProperties(script, {
        sha: { value: sha, enumerable: true },
        name: { value: name ?? "" },
        functionName: { value: functionName, enumerable: functionName !== "" },
        on: {
            value: (other) => {
                if (!Client.is(other)) throw invalid(`on() takes a client, not ${shown(other)}`);
                return callable(known, other, flags);
            },
        },
        ro: { get: () => (readOnly ??= callable(known, client, flags | READ_ONLY)) },
    });
}

/** A library of functions. It never changes, and its functions may be called on any client. */
class Library {
    #its;
    #client;

    constructor(secret, its, client) {
        if (secret !== SECRET) throw invalid("libraries come from a client's library()");
        this.#its = its;
        this.#client = client;
    }

    /** What is behind a library: its native handle, its source, and what was said of it. */
    static of(library) {
        if (typeof library !== "object" || library === null || !(#its in library)) {
            throw invalid(`this is no library of client.library(), but ${shown(library)}`);
        }
        return library.#its;
    }

    /** As servers know it. */
    get name() {
        return this.#its.name;
    }

    /** A function of it, as a script. No input or output takes place. */
    function(name, functionOptions = {}) {
        return Client.function(
            this.#client,
            this.#its,
            text("name", name),
            saidOfScript("a function", functionOptions),
        );
    }

    /** The same library, with functions of another client. */
    on(client) {
        if (!Client.is(client)) throw invalid(`on() takes a client, not ${shown(client)}`);
        return new Library(SECRET, this.#its, client);
    }
}

/** Commands and script calls that are sent together, in one write. */
class Pipeline {
    #client;
    #flags;
    #items;
    #count = 0;

    constructor(secret, client, flags) {
        if (secret !== SECRET) throw invalid("pipelines come from a client's pipeline() and transaction()");
        this.#client = client;
        this.#flags = flags;
        this.clear();
    }

    get length() {
        return this.#count;
    }

    clear() {
        this.#items = Client.items(this.#client);
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
        if (Array.isArray(words[0]) && words.length > 1) {
            throw invalid("a pipeline's command is one array, or its words one by one");
        }
        const list = Array.isArray(words[0]) ? plain(words[0]) : words;
        return this.#add((items) => items.command(list));
    }

    script(script, keys = [], args = [], itemOptions = {}) {
        const { handle, flags } = scriptOf(script);
        const token = tokenOf(known("an item", itemOptions, ["token"]).token);
        const [keyList, argList] = [plain(keys), plain(args)];
        return this.#add((items) => items.call(handle, flags, keyList, argList, token));
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

function connect(url, connectOptions = {}) {
    if (!tracing.isHeard(tracing.connect)) return open(url, connectOptions);
    return tracing.connect.tracePromise(() => open(url, connectOptions), tracing.addressOf(url));
}

async function open(url, connectOptions) {
    const given = copy("connect()", connectOptions);
    checkOwn(given);
    const { Connection } = require("./connection");
    const { maxInFlight = MAX_IN_FLIGHT, keepAlive = false, lazyConnect = false } = given;
    const { connection, target } = Connection.open(url, given, maxInFlight);
    const client = Client.over(connection, target, { buffers: given.buffers, callerStack: given.callerStack });
    if (keepAlive) client.ref();
    if (!lazyConnect) await prove(client, given);
    return client;
}

/** Connects: a server that answers, be it with an error, is there. */
async function prove(client, { connectTimeout = CONNECT_TIMEOUT, signal }) {
    try {
        await client.command(["PING"], { timeout: Math.min(connectTimeout, LONGEST_TIMEOUT), signal });
    } catch (error) {
        if (error instanceof classes.ServerError) return;
        await client.close();
        throw error;
    }
}

/** What calls C here, and what is called. Loads it, as the first connect() does. */
function nativeLibrary() {
    const native = require("./native");
    return { ffi: native.ffi, path: native.path, version: native.version() };
}

module.exports = { connect, Client, Library, Pipeline, nativeLibrary, ...classes };
