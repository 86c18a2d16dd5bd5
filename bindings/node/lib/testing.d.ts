// The types of the stand-in for servers.

import {
    Client,
    ConnectionEvents,
    ConnectOptions,
    NoScriptError,
    Reply,
    Script,
    ScriptError,
    ServerError,
} from "./index.js";

/** A call, or an item of a pipeline, as a server would receive it. */
export interface Call {
    /** The command's name in capitals; undefined of a script's call. */
    command: string | undefined;
    /** The script's SHA1. */
    script: string | undefined;
    keys: (string | Buffer)[];
    /** Of a command, all behind its name. */
    args: (string | Buffer)[];
    readOnly: boolean;
    /** Its own, or that of all of its pipeline; not there where there is none. */
    token?: string | Buffer;
}

/**
 * A script or a function, its SHA1, a script's source, or the name of a command. What is done with libraries is
 * FUNCTION LOAD, FUNCTION LIST and FUNCTION DELETE, and answered with a Map from servers to what each says, such as
 * `new Map([["fake", "loaded"]])`.
 */
export type What = Script<any> | string;

/**
 * A value, an error of those below, or a function that gives one. A call waits for a promise, until its timeout by
 * the test's own clock.
 */
export type Answer = Given | ((call: Call) => Given | Promise<Given>);
export type Given = Reply | Status | undefined | readonly Given[];

/** A server in the test's own process. It keeps no data: the test says what each call is answered with. */
export class FakeServer {
    /** What has come, in order. */
    readonly calls: Call[];
    /** A client of it. Of the options `buffers`, `callTimeout` and `callerStack` matter; all are checked. */
    connect(options?: ConnectOptions): Promise<Client>;
    /** What is answered from now on. */
    reply(what: What, answer: Answer): this;
    /** What the next calls are answered with, one each; then it is as before. `EXEC` stands for transactions. */
    replyOnce(what: What, ...answers: Answer[]): this;
    /** Has all clients tell an event of their connections. */
    emit<E extends keyof ConnectionEvents>(event: E, details: ConnectionEvents[E]): this;
}

export interface Status {
    readonly text: string;
}
/** A status such as OK, which stays text where strings are Buffers. */
export function status(text: string): Status;
/** What a server or a script answers: `WRONGTYPE Operation against ...`. */
export function serverError(message: string): ServerError;
/** Of a pipeline's item that met NOSCRIPT and could not be sent again without changing the order. */
export function noScript(): NoScriptError;
/** The connection broke after the call was sent. */
export function lostReply(): ScriptError;
/** The time was over, after the call was sent or before. */
export function deadline(options?: { sent?: boolean | undefined }): ScriptError;
/** There is no server. */
export function noConnection(): ScriptError;
/** A key that was watched has changed: for `EXEC`. */
export function transactionAborted(): ScriptError;
