// The types of the package.

/// <reference types="node" />

/**
 * What goes to the server: text as UTF-8, bytes as they are, numbers as decimal text. No booleans: Lua would take
 * either for true.
 */
export type Argument = string | Uint8Array | number | bigint;

/**
 * What comes back. Strings are Buffers where the option `buffers` says so; integers beyond 2^53 are BigInts; nil, and
 * so Lua's `false`, is null, and Lua's `true` is 1; a nested error is a value.
 */
export type Reply =
    null | string | Buffer | number | bigint | boolean | ScriptError | Reply[] | Map<Reply, Reply> | Set<Reply>;

export type ReadFrom = "primary" | "preferReplica" | "replica";

/** Where calls without keys go in a cluster. */
export type Route = "all" | { key: string | Uint8Array } | { slot: number } | { node: string };

export interface CallOptions {
    /** Milliseconds, above 0, for the whole call; instead of the client's. */
    timeout?: number | undefined;
    /** Strings in the reply as Buffers (true) or decoded as UTF-8 (false). */
    buffers?: boolean | undefined;
    /** Cancels the call: CancelledError where nothing was sent, IndeterminateError where it may have been executed. */
    signal?: AbortSignal | undefined;
}

/** Of calls of scripts, and of pipelines and transactions. */
export interface ScriptCallOptions extends CallOptions {
    /**
     * Of a script with `once`: a token of your own, 1 to 256 bytes: a job's id, a request's. Whoever makes the same
     * call with the same token, in whichever process, gets what the first one was answered. Without: the library
     * makes a new one for each call. Of a pipeline it is one for all items.
     */
    token?: string | Uint8Array | undefined;
}

export interface ViewOptions {
    /** Milliseconds, above 0, for each call. */
    timeout?: number | undefined;
    /** Strings in replies as Buffers (true) or decoded as UTF-8 (false). */
    buffers?: boolean | undefined;
    /**
     * Errors have the frames of the code that made the call; else none. Each call then costs some microseconds more,
     * be it right or wrong.
     */
    callerStack?: boolean | undefined;
    readFrom?: ReadFrom | undefined;
    route?: Route | undefined;
}

/** Times are in milliseconds, except `keepalive`, which is in seconds. */
export interface ConnectOptions {
    /** How long one attempt to connect may take: look-up, TCP, TLS and login together. Default 5000. */
    connectTimeout?: number | undefined;
    /** How long a call may take, all its attempts together. Default 10,000. */
    callTimeout?: number | undefined;
    /**
     * When a connection is taken for dead that nobody has ended: once a call has missed its deadline on it, and
     * calls were waiting on it for so long without a single byte coming. New calls take a new connection from then
     * on. Default: the URL's `silence_timeout_ms`, or 500.
     */
    silenceTimeout?: number | undefined;
    /** The ACL user; wins over the URL's, and needs a password. */
    username?: string | undefined;
    /** Wins over the URL's. */
    password?: string | Uint8Array | undefined;
    /**
     * Asked for user and password whenever a connection to a server is made, in place of a password that stays the
     * same: for tokens that expire, and passwords that are rotated. Open connections log in again when three
     * quarters of `lifetime` are over, and with `reauthenticate()`; where that fails they stay in use, `authError` is
     * told, and it is tried again.
     *
     * `node` is the server, `host:port` or a socket's path; for one server it is not asked again before it has
     * settled. `signal` ends with the connect timeout, up to which there is time, and with the client. What it throws
     * is why there are none: an attempt to connect fails with `RS_ERR_AUTH` and its message, which must hold no
     * secret. It may close the client, and must not wait for calls on it, which may wait for it. A client that it
     * refers to lives until it is closed.
     */
    credentials?: ((node: string, context: { signal: AbortSignal }) => Credentials | Promise<Credentials>) | undefined;
    /** The name in CLIENT LIST; printable ASCII without spaces. */
    clientName?: string | undefined;
    /**
     * The version of RESP. "auto" is 3, and 2 with a server that does not know that. Default: the URL's, or "auto".
     */
    protocol?: "auto" | 2 | 3 | undefined;
    /** A PEM file of the authorities to trust, in place of the system's. */
    tlsCaFile?: string | undefined;
    /** PEM files of the client certificate, its chain included, and of its key. */
    tlsClientCert?: { cert: string; key: string } | undefined;
    /** The same from memory, in PEM form, in place of the files. Those are read again for each connection. */
    tlsCaPem?: string | Uint8Array | undefined;
    tlsClientCertPem?: { cert: string | Uint8Array; key: string | Uint8Array } | undefined;
    /** The host name or address that the server's certificate must hold, in place of the URL's host. */
    tlsServerName?: string | undefined;
    /** Accept any certificate: for tests only. Default false. */
    tlsInsecureSkipVerify?: boolean | undefined;
    /** TCP keep-alive, in seconds: the silence before the first probe; 0: none. Default 60. */
    keepalive?: number | undefined;
    /** The pause before the second attempt to connect, and the longest pause. Default 20 and 1000. */
    reconnectBackoff?: { min: number; max: number } | undefined;
    /**
     * After how many failed attempts to connect a call gives up; 0: not before its deadline. connect() tries each
     * server once. Default 5.
     */
    reconnectAttempts?: number | undefined;
    /**
     * The longest reply, in bytes on the wire, at least 65536; over it the connection is closed, and the call ends
     * with `RS_ERR_REPLY_LIMIT`. Default 513 MiB.
     */
    maxReplyBytes?: number | undefined;
    /** How deep a reply may be nested, 8 to 1024; over it the same happens. Default 128. */
    maxReplyDepth?: number | undefined;
    /** Commands that wait on servers (BLPOP, ...) at a time, a connection each; more stand in line. Default 1000. */
    maxWaiting?: number | undefined;
    /**
     * Connections to each server that calls share, 1 to 64: what takes long on one holds up no calls on the others.
     * Default 1.
     */
    sharedConnections?: number | undefined;
    /**
     * Keep figures of so many scripts, and of all others together: `client.scriptStats()`. Each takes 21 KiB once it
     * is called. Default 0: none.
     */
    scriptStats?: number | undefined;
    /**
     * The channel `rs_script:call` tells of each call that has ended, besides what it was and its result: `node`, the
     * server that it was sent to last; `attempts`, how often it was put on a connection; `bytesSent`,
     * `bytesReceived`; and `duration` in the library, in milliseconds. Default: if somebody listens to it when
     * connect() is called.
     */
    callCosts?: boolean | undefined;
    /** Tell the server which library this is (CLIENT SETINFO). Default true. */
    clientInfo?: boolean | undefined;
    /**
     * Run an empty transaction on each new connection; without it the first transaction there costs a round trip
     * more. Default true.
     */
    probeTransactions?: boolean | undefined;
    /** Which servers run read-only calls. Default "primary". */
    readFrom?: ReadFrom | undefined;
    /** Addresses that servers announce, and those to connect to instead. */
    mapAddress?: Record<string, string> | undefined;
    /** User and password for the sentinels; those of the URL are for the servers alone. */
    sentinelUsername?: string | undefined;
    sentinelPassword?: string | Uint8Array | undefined;
    /** Connect with the first call. Default false. */
    lazyConnect?: boolean | undefined;
    /** Keep the process alive while the client is open. Default false. */
    keepAlive?: boolean | undefined;
    /** Strings in replies as Buffers (true) or decoded as UTF-8 (false). Default false. */
    buffers?: boolean | undefined;
    /** As in ViewOptions. Default false. */
    callerStack?: boolean | undefined;
    /** How many calls may be under way at a time; one more is a QueueFullError. Default 100,000. */
    maxInFlight?: number | undefined;
    /** Ends the attempt to connect. */
    signal?: AbortSignal | undefined;
}

export interface Credentials {
    /** The ACL user; without one `default`. */
    username?: string | undefined;
    /** Or a token in its place. */
    password: string | Uint8Array;
    /**
     * Milliseconds from now on for which they are good, a second at the least, such as `expires - Date.now()`;
     * without: for as long as a connection lives.
     */
    lifetime?: number | undefined;
}

export interface ScriptOptions {
    /** It may be sent again where its reply was lost. */
    idempotent?: boolean | undefined;
    /**
     * Its calls happen exactly once each: they carry a token, under which their effects and their reply are stored
     * together. A call whose reply was lost is sent again, and answered with that reply. Not with `idempotent`. Of a
     * function of a library its library has this, as a whole; see LibraryOptions.
     */
    once?: boolean | OnceOptions | undefined;
    /**
     * It is called as a function: its body becomes the only one of a library that the client makes, which servers
     * replicate and persist. On servers before 7.0 it is called as the script that it is.
     */
    asFunction?: boolean | undefined;
    /** For spans and figures: `name` of the script, and of its calls in `rs_script:call`. */
    name?: string | undefined;
}

/** Of a function of a library. */
export type FunctionOptions = Omit<ScriptOptions, "asFunction" | "once">;

export interface LibraryOptions {
    /** The names stay as they are written: others may call and replace them. */
    named?: boolean | undefined;
    /**
     * Each call of its functions happens exactly once, as those of a script with `once`. On the server it is another
     * library than the one without. A function with the flag `no-writes` has nothing that could happen twice: it is
     * called without a token, and one of your own is refused. Not with `named`.
     */
    once?: boolean | OnceOptions | undefined;
}

/** Times are in milliseconds. */
export interface OnceOptions {
    /**
     * How long a server remembers a token, from the last call with it on: a second to a year. Default: 5 minutes. A
     * repeat that comes later runs the script again.
     */
    lifetime?: number | undefined;
    /**
     * The longest reply in bytes that is kept for repeats, 64 to 64 MiB. Default: 1 MiB. Of a longer one a repeat
     * gets `RS_ERR_REPLY_NOT_KEPT`.
     */
    replyLimit?: number | undefined;
    /**
     * What the keys begin with under which tokens are kept: up to 256 bytes, none of them a `{`. Default: `rs:once:`.
     */
    prefix?: string | Uint8Array | undefined;
    /**
     * How many replicas must have a call before it counts as done; else it ends with `RS_ERR_NOT_REPLICATED`.
     * Default: none.
     */
    waitReplicas?: number | undefined;
    /** How long they are waited for at each attempt. Default: a second. */
    waitTimeout?: number | undefined;
}

/** A script whose reply is a `T`: said by who writes it, and not checked. */
export interface Script<T extends Reply = Reply> {
    (keys?: readonly Argument[], args?: readonly Argument[], options?: ScriptCallOptions): Promise<T>;
    /** The same where this call's reply is of another type. */
    <U extends Reply>(keys?: readonly Argument[], args?: readonly Argument[], options?: ScriptCallOptions): Promise<U>;
    /** 40 hexadecimal digits. */
    readonly sha: string;
    /** As it was given to script(), or empty. */
    readonly name: string;
    /**
     * The server's name of a function, with the digest of a pinned library behind it; empty for what is called as a
     * script.
     */
    readonly functionName: string;
    /** The same script, read-only: the server stops it at its first write. */
    readonly ro: Script<T>;
    /** The same script on another client. */
    on(client: Client): Script<T>;
}

export interface Stats {
    /** Calls sent, those sent a second time counted again, the handshakes, and what the library asks for itself. */
    calls: number;
    /**
     * Bursts of writing to a socket. Calls that travel together share one; a call made when all before it have ended
     * adds exactly one each time that something of it is sent.
     */
    roundTrips: number;
    /** Before encryption. */
    bytesSent: number;
    /** After decryption. */
    bytesReceived: number;
    /** SCRIPT LOADs and FUNCTION LOADs sent of the library's own accord. */
    scriptLoads: number;
    /** Scripts and functions loaded and sent again because the server had lost them. */
    noscriptRepairs: number;
    /** Connections opened after the first one to each server, those of commands that wait not counted. */
    reconnects: number;
    /** MOVED and ASK redirections followed. */
    redirects: number;
    /** Calls in flight now, those included whose callers have left. */
    inFlight: number;
}

/** What became of the calls of a script since its client was opened. Times in milliseconds. */
export interface ScriptStats {
    /** null: of all those together that were too many to be counted by themselves. */
    sha: string | null;
    name: string | null;
    /** That have ended, items of pipelines and transactions among them. */
    calls: number;
    /** SCRIPT LOADs of it that were sent, or FUNCTION LOADs of its library. */
    loads: number;
    /** How often it was sent again because a server had lost it. */
    repairs: number;
    /** Calls that ended with an error of any kind. */
    errors: number;
    /** Those of them of which nobody knows whether they were executed. */
    indeterminate: number;
    /** Of the calls that were no items: to 1 %, up to 100 seconds. */
    latency: {
        count: number;
        sum: number;
        p50: number;
        p90: number;
        p99: number;
        p999: number;
        max: number;
        /** Those that are not empty: the longest time that is counted in each. */
        buckets: { upTo: number; count: number }[];
    };
}

export class Client {
    private constructor();
    script<T extends Reply = Reply>(source: string | Uint8Array, options?: ScriptOptions): Script<T>;
    /**
     * A library of functions, whose first line is `#!lua name=...`. It is loaded in front of a call where it is
     * missing, in the same write. It is pinned: a digest of its source is put behind its name and behind those of its
     * functions, so that a name means one code and versions live side by side. With `named` the names stay as they
     * are written, others may call and replace them, and what is there is never replaced but by libraryDeploy().
     */
    library(source: string | Uint8Array, options?: LibraryOptions): Library;
    command<T extends Reply = Reply>(words: readonly Argument[], options?: CallOptions): Promise<T>;
    command<T extends Reply = Reply>(...words: Argument[]): Promise<T>;
    /**
     * Not atomic; `repairUnordered` sends items that met NOSCRIPT again even where that changes the order of what is
     * done to a key.
     */
    pipeline(options?: { repairUnordered?: boolean | undefined }): Pipeline;
    /** Between MULTI and EXEC; `trustCache` does not load scripts again that the server is known to have. */
    transaction(options?: { trustCache?: boolean | undefined }): Pipeline;
    /** Another view of the same client; it is closed with it. */
    with(options: ViewOptions): Client;
    scriptLoad(script: Script, options?: CallOptions): Promise<string>;
    scriptExists(scripts: readonly (Script | string)[], options?: CallOptions): Promise<boolean[]>;
    scriptFlush(mode?: "default" | "sync" | "async", options?: CallOptions): Promise<void>;
    scriptKill(options?: CallOptions): Promise<void>;
    /** Stops what the servers run, scripts and functions, and tells what that was. */
    kill(options?: CallOptions): Promise<Killed[]>;
    /**
     * The source of a script, or of a SHA1; null where no server has it. Valkey 8 and newer; a ServerError elsewhere.
     */
    scriptShow<T extends string | Buffer = string | Buffer>(
        script: Script | string,
        options?: CallOptions,
    ): Promise<T | null>;
    /**
     * Loads a library, where none of its name is there: there is no need to. Resolves with what each primary has,
     * `loaded` or `there`, or the error by which it has not got it; rejects with that where none has: CompileError of
     * a library that does not compile, registers nothing, or registers a function of another library.
     */
    libraryLoad(library: Library, options?: CallOptions): Promise<OfEachNode<"loaded" | "there">>;
    /** Compares a library with the one of its name on each primary. It changes nothing. */
    libraryCheck(library: Library, options?: CallOptions): Promise<OfEachNode<"same" | "different" | "absent">>;
    /**
     * Puts a library in the place of the one of its name, on the primaries one by one: the one place where a library
     * is replaced. Resolves with what each has, looked at behind the load: `same`, if nobody else was at it.
     */
    libraryDeploy(library: Library, options?: CallOptions): Promise<OfEachNode<"same" | "different" | "absent">>;
    /** The libraries of each primary, whoever has loaded them. */
    libraryList(options?: CallOptions): Promise<OfEachNode<LibraryInfo[]>>;
    /**
     * Removes the other versions of these pinned libraries from each primary, and resolves with their names. Nothing
     * is ever removed but by this: who still calls a version that is gone has it loaded again.
     */
    libraryPrune(libraries: readonly Library[], options?: CallOptions): Promise<OfEachNode<string[]>>;
    /**
     * Asks `credentials` again, and has every open connection log in with what it gives; resolves when all
     * have. A ConnectError (`RS_ERR_AUTH`) where one was refused.
     */
    reauthenticate(options?: CallOptions): Promise<void>;
    /**
     * What became of the calls of each script, those called most first; with the option `scriptStats`. Nothing is
     * sent.
     */
    scriptStats(options?: CallOptions): Promise<ScriptStats[]>;
    stats(): Stats;
    /**
     * Tells of connections, of all views' together. What was before the first listener came is not told: with the
     * option `lazyConnect` nothing is. A client whose listeners refer to it lives until it is closed.
     */
    on<E extends keyof ConnectionEvents>(event: E, listener: (details: ConnectionEvents[E]) => void): this;
    once<E extends keyof ConnectionEvents>(event: E, listener: (details: ConnectionEvents[E]) => void): this;
    off<E extends keyof ConnectionEvents>(event: E, listener: (details: ConnectionEvents[E]) => void): this;
    addListener<E extends keyof ConnectionEvents>(event: E, listener: (details: ConnectionEvents[E]) => void): this;
    removeListener<E extends keyof ConnectionEvents>(event: E, listener: (details: ConnectionEvents[E]) => void): this;
    listenerCount(event: keyof ConnectionEvents): number;
    ref(): this;
    unref(): this;
    /** Ends all calls under way; resolves when they have been told. */
    close(): Promise<void>;
    /** The same: `await using client = await connect(...)`. */
    [Symbol.asyncDispose](): Promise<void>;
}

export interface ConnectionEvent {
    /** The server, as `host:port` or the path of a socket, where it is about one. */
    node?: string | undefined;
    /** Of the error behind it, if there is one: `RS_ERR_CONNECT` and its like, ... */
    code?: string | undefined;
    /** ... and `RS_REASON_CONNECTION_LOST` and its like. */
    reason?: string | undefined;
    /** The same in words. */
    message: string;
}

/**
 * What is told of connections. Each also goes to the diagnostics channel `rs_script:connection`, as `event` with
 * these fields and the address.
 */
export interface ConnectionEvents {
    /** There is a first connection to this server. */
    connect: ConnectionEvent;
    /** There is a connection again, in place of one before. */
    reconnect: ConnectionEvent;
    /** A connection was lost or given up. */
    lost: ConnectionEvent;
    /** A connection could not be made. */
    connectError: ConnectionEvent;
    /** A server did not accept user or password. */
    authError: ConnectionEvent;
    /** An open connection has logged in again. */
    reauthenticated: ConnectionEvent;
    /** A connection is replaced because the user has changed. */
    userChanged: ConnectionEvent;
    /** A cluster has other primaries than before, or is known for the first time. */
    primariesChanged: ConnectionEvent;
    /** Another server is the primary now, of one without a cluster. */
    failover: ConnectionEvent;
    /** A server of a cluster has said that a slot is another's now. */
    slotMoved: ConnectionEvent;
    /** A server evicts keys, so that calls of a script with `once` may happen twice. */
    evictsTokens: ConnectionEvent;
}

export interface Killed {
    kind: "script" | "function";
    /**
     * The function's name; null for a script, which the server does not name, and where this user may not run
     * FUNCTION STATS.
     */
    name: string | null;
    /** The server, `host:port`, or the path of its socket. */
    node: string;
}

/** By the server, `host:port` or the path of its socket: what it has told, or its error. */
export type OfEachNode<T> = Map<string, T | ScriptError>;

export interface LibraryInfo {
    name: string;
    engine: string;
    functions: { name: string; description: string | null; flags: string[] }[];
}

/** A library of functions. It never changes. */
export class Library {
    private constructor();
    /** As servers know it: of a pinned one with the digest behind it. */
    readonly name: string;
    /**
     * The function of this name, as it is registered in the library's source, to be called like a script. ServerError
     * (`RS_ERR_NO_FUNCTION`) where the library does not register it or may not be loaded; it was not executed then.
     */
    function<T extends Reply = Reply>(name: string, options?: FunctionOptions): Script<T>;
    /** The same library, with functions of another client. */
    on(client: Client): Library;
}

export class Pipeline {
    private constructor();
    readonly length: number;
    command(words: readonly Argument[]): this;
    command(...words: Argument[]): this;
    script(
        script: Script<Reply>,
        keys?: readonly Argument[],
        args?: readonly Argument[],
        options?: Pick<ScriptCallOptions, "token">,
    ): this;
    clear(): this;
    /**
     * One element an item, in order; an item's error is its element. The pipeline is empty afterwards. The type may
     * be said, and is not checked: `exec<["OK", number | ScriptError]>()`.
     */
    exec<T extends readonly Reply[] = Reply[]>(options?: ScriptCallOptions): Promise<T>;
}

/** Resolves when a server has answered, or with `lazyConnect` at once. */
export function connect(url: string, options?: ConnectOptions): Promise<Client>;

/**
 * The base class of all errors. The name is that of the class, but `TimeoutError` for each call whose time was over.
 */
export class ScriptError extends Error {
    /** Errors come from calls. */
    protected constructor();
    /** One of the RS_ERR_ numbers. */
    readonly status: number;
    /** Its name, such as `RS_ERR_INDETERMINATE`. */
    readonly code: string;
    /** The first word of the server's error, such as `WRONGTYPE`, or empty. */
    readonly serverCode: string;
    /** The call may have been executed, or may yet be. */
    readonly indeterminate: boolean;
    /** The call was not executed and will not be. */
    readonly notExecuted: boolean;
    /**
     * What ended the call, such as `RS_REASON_DEADLINE` or `RS_REASON_CONNECTION_LOST`, whatever is known of its
     * execution.
     */
    readonly reason: string;
    /** The item of a pipeline or transaction that it is about; of several without an answer, the first. */
    readonly index?: number | undefined;
    /** The server that it is about, as `host:port` or the path of a socket. */
    readonly node?: string | undefined;
    /** Of a pipeline that broke half-way: the replies that did arrive. */
    readonly arrived?: Reply[] | undefined;
}
export class ArgumentError extends ScriptError {}
export class ClosedError extends ScriptError {}
export class QueueFullError extends ScriptError {}
export class ConnectError extends ScriptError {}
/**
 * Of a call whose time was over, by its deadline or an AbortSignal.timeout(). `instanceof` holds for each of these,
 * and the name is `TimeoutError`, also where it may have been executed: then it is an IndeterminateError too.
 */
export class TimeoutError extends ScriptError {}
export class CancelledError extends ScriptError {}
export class IndeterminateError extends ScriptError {}
export class ServerError extends ScriptError {}
export class NoScriptError extends ServerError {}
export class CompileError extends ServerError {}
export class TransactionAbortedError extends ServerError {}

/** The native library, which is loaded by the first connect(), or by this. */
export function nativeLibrary(): {
    /** The package that calls it: `ffi-napi` or `koffi`. */
    ffi: string;
    /** Where it was found. */
    path: string;
    version: string;
};
