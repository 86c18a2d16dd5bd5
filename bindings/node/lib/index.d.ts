// The types of the package.

/// <reference types="node" />

/** What goes to the server: text as UTF-8, bytes as they are, numbers as decimal text. */
export type Argument = string | Uint8Array | number | bigint;

/** What comes back. Strings are Buffers where the option `buffers` says so; integers beyond 2^53 are BigInts; a nested error is a value. */
export type Reply = null | string | Buffer | number | bigint | boolean | ScriptError | Reply[] | Map<Reply, Reply> | Set<Reply>;

export type ReadFrom = "primary" | "preferReplica" | "replica";

/** Where calls without keys go in a cluster. */
export type Route = "all" | { key: string | Uint8Array } | { slot: number } | { node: string };

export interface CallOptions {
    /** Milliseconds, above 0, for the whole call; instead of the client's. */
    timeout?: number;
    /** Strings in the reply as Buffers (true) or decoded as UTF-8 (false). */
    buffers?: boolean;
    /** Ends the call: CancelledError where nothing was sent, IndeterminateError where it may have been executed. */
    signal?: AbortSignal;
}

export interface ViewOptions {
    timeout?: number;
    buffers?: boolean;
    readFrom?: ReadFrom;
    route?: Route;
}

/** Times are in milliseconds, except `keepalive`, which is in seconds. */
export interface ConnectOptions {
    connectTimeout?: number;
    callTimeout?: number;
    /**
     * When a connection is taken for dead that nobody has ended: once a call has missed its deadline on it, and
     * calls were waiting on it for so long without a single byte coming. New calls take a new connection from then
     * on. Default 500.
     */
    silenceTimeout?: number;
    username?: string;
    password?: string | Uint8Array;
    clientName?: string;
    protocol?: "auto" | 2 | 3;
    tlsCaFile?: string;
    tlsClientCert?: { cert: string; key: string };
    tlsServerName?: string;
    tlsInsecureSkipVerify?: boolean;
    keepalive?: number;
    reconnectBackoff?: { min: number; max: number };
    reconnectAttempts?: number;
    maxReplyBytes?: number;
    maxReplyDepth?: number;
    /** Commands that wait on servers (BLPOP, ...) at a time, a connection each; more stand in line. Default 1000. */
    maxWaiting?: number;
    /** Connections to each server that calls share, 1 to 64: what takes long on one holds up no calls on the others. Default 1. */
    sharedConnections?: number;
    /** Tell the server which library this is (CLIENT SETINFO). Default true. */
    clientInfo?: boolean;
    /** Run an empty transaction on each new connection; without it the first transaction there costs a round trip more. Default true. */
    probeTransactions?: boolean;
    readFrom?: ReadFrom;
    /** Addresses that servers announce, and those to connect to instead. */
    mapAddress?: Record<string, string>;
    sentinelUsername?: string;
    sentinelPassword?: string | Uint8Array;
    /** Connect with the first call. */
    lazyConnect?: boolean;
    /** Keep the process alive while the client is open. */
    keepAlive?: boolean;
    buffers?: boolean;
    /** Calls under way at most; more are a QueueFullError. Default 100,000. */
    maxInFlight?: number;
    /** Ends the attempt to connect. */
    signal?: AbortSignal;
}

export interface Script {
    (keys?: readonly Argument[], args?: readonly Argument[], options?: CallOptions): Promise<Reply>;
    /** The same with the type of the reply that the script is known to give. */
    <T extends Reply>(keys?: readonly Argument[], args?: readonly Argument[], options?: CallOptions): Promise<T>;
    /** 40 hexadecimal digits. */
    readonly sha: string;
    /** The same script, read-only: the server stops it at its first write. */
    readonly ro: Script;
    /** The same script on another client. */
    on(client: Client): Script;
}

export interface Stats {
    calls: number;
    /** Bursts of writing to a socket. Calls that travel together share one; a call made when all before it have ended adds exactly one each time that something of it is sent. */
    roundTrips: number;
    bytesSent: number;
    bytesReceived: number;
    scriptLoads: number;
    noscriptRepairs: number;
    reconnects: number;
    redirects: number;
    inFlight: number;
}

export class Client {
    private constructor();
    script(source: string | Uint8Array, options?: { idempotent?: boolean }): Script;
    command<T extends Reply = Reply>(words: readonly Argument[], options?: CallOptions): Promise<T>;
    command<T extends Reply = Reply>(...words: Argument[]): Promise<T>;
    /** Not atomic; `repairUnordered` sends items that met NOSCRIPT again even where that changes the order of what is done to a key. */
    pipeline(options?: { repairUnordered?: boolean }): Pipeline;
    /** Between MULTI and EXEC; `trustCache` does not load scripts again that the server is known to have. */
    transaction(options?: { trustCache?: boolean }): Pipeline;
    /** Another view of the same client; it is closed with it. */
    with(options: ViewOptions): Client;
    scriptLoad(script: Script, options?: CallOptions): Promise<string>;
    scriptExists(scripts: readonly (Script | string)[], options?: CallOptions): Promise<boolean[]>;
    scriptFlush(mode?: "default" | "sync" | "async", options?: CallOptions): Promise<void>;
    scriptKill(options?: CallOptions): Promise<void>;
    /** Stops what the servers run, scripts and functions, and tells what that was. */
    kill(options?: CallOptions): Promise<Killed[]>;
    /** The source of a script, or of a SHA1; null where no server has it. Valkey 8 and newer; a ServerError elsewhere. */
    scriptShow<T extends string | Buffer = string | Buffer>(script: Script | string, options?: CallOptions): Promise<T | null>;
    stats(): Stats;
    ref(): this;
    unref(): this;
    /** Ends all calls under way; resolves when they have been told. */
    close(): Promise<void>;
}

export interface Killed {
    kind: "script" | "function";
    /** The function's name; null for a script, which the server does not name, and where this user may not run FUNCTION STATS. */
    name: string | null;
    /** The server, `host:port`, or the path of its socket. */
    node: string;
}

export class Pipeline {
    private constructor();
    readonly length: number;
    command(words: readonly Argument[]): this;
    command(...words: Argument[]): this;
    script(script: Script, keys?: readonly Argument[], args?: readonly Argument[]): this;
    clear(): this;
    /** One element an item, in order; an item's error is its element. The pipeline is empty afterwards. */
    exec(options?: CallOptions): Promise<Reply[]>;
}

/** Resolves when a server has answered. */
export function connect(url: string, options?: ConnectOptions): Promise<Client>;

/** The base class of all errors. */
export class ScriptError extends Error {
    /** Errors come from calls. */
    protected constructor();
    /** One of the numbers of RS_ERR_. */
    readonly status: number;
    /** Its name, such as `RS_ERR_INDETERMINATE`. */
    readonly code: string;
    /** The first word of the server's error, such as `WRONGTYPE`, or empty. */
    readonly serverCode: string;
    /** The call may have been executed, or may yet be. */
    readonly indeterminate: boolean;
    /** The call was not executed and will not be. */
    readonly notExecuted: boolean;
    /** What ended the call, such as `RS_REASON_DEADLINE` or `RS_REASON_CONNECTION_LOST`, whatever is known of its execution. */
    readonly reason: string;
    /** The item of a pipeline or transaction that it is about; of several without an answer, the first. */
    readonly index?: number;
    /** The server that it is about, as `host:port` or the path of a socket. */
    readonly node?: string;
    /** Of a pipeline that broke half-way: the replies that did arrive. */
    readonly arrived?: Reply[];
}
export class ArgumentError extends ScriptError {}
export class ClosedError extends ScriptError {}
export class QueueFullError extends ScriptError {}
export class ConnectError extends ScriptError {}
/** Of a call whose time was over. `instanceof` holds for each of these, also where it may have been executed: then it is an IndeterminateError too. */
export class TimeoutError extends ScriptError {}
export class CancelledError extends ScriptError {}
export class IndeterminateError extends ScriptError {}
export class ServerError extends ScriptError {}
export class NoScriptError extends ServerError {}
export class CompileError extends ServerError {}
export class TransactionAbortedError extends ServerError {}

/** The package that calls the native library: `ffi-napi` or `koffi`. */
export const ffi: string;
/** Where the native library was found. */
export const library: string;
/** Its version. */
export const version: string;
