// The errors of calls: one base class, and one class for each thing that a caller may want to do about it.

"use strict";

/** What went wrong with a call, and whether the call was executed. */
class ScriptError extends Error {
    /** @param {number} status one of the numbers of RS_ERR_ */
    constructor(
        status,
        { message, serverCode = "", indeterminate = false, notExecuted = false, reason, index = -1, node = "" },
    ) {
        super(message);
        this.status = status;
        this.code = codeOf(status);
        this.serverCode = serverCode;
        this.indeterminate = indeterminate;
        this.notExecuted = notExecuted;
        this.reason = nameOfReason(reason);
        this.index = index < 0 ? undefined : index;
        this.node = node === "" ? undefined : node;
    }

    /** That of its class; of all whose time was over, that of the error of AbortSignal.timeout(). */
    get name() {
        return isTimeout(this) ? "TimeoutError" : this.constructor.name;
    }
}

class ArgumentError extends ScriptError {}
class ClosedError extends ScriptError {}
class QueueFullError extends ScriptError {}
class ConnectError extends ScriptError {}
class TimeoutError extends ScriptError {
    /**
     * Every error of a call whose time was over, also of one that may have been executed, which is an
     * IndeterminateError too.
     */
    static [Symbol.hasInstance](error) {
        return error instanceof ScriptError && isTimeout(error);
    }
}
class CancelledError extends ScriptError {}
class IndeterminateError extends ScriptError {}
class ServerError extends ScriptError {}
class NoScriptError extends ServerError {}
class CompileError extends ServerError {}
class TransactionAbortedError extends ServerError {}

/** By a deadline, or by a signal of AbortSignal.timeout(). */
function isTimeout({ reason, cause }) {
    return reason === "RS_REASON_DEADLINE" || cause?.name === "TimeoutError";
}

/** The numbers and names of the C header. */
const STATUSES = new Map(
    Object.entries({
        INVALID_ARGUMENT: 100,
        INVALID_URL: 101,
        INVALID_OPTION: 102,
        COMMAND_REFUSED: 103,
        CROSS_SLOT: 104,
        NOT_READ_ONLY: 105,
        FORKED: 106,
        CLOSED: 107,
        NO_ROUTE: 108,
        QUEUE_FULL: 109,
        CONNECT: 200,
        TLS: 201,
        AUTH: 202,
        TIMEOUT: 203,
        CANCELLED: 204,
        INDETERMINATE: 300,
        REPLY_LIMIT: 301,
        NOT_REPLICATED: 302,
        SERVER: 400,
        NOSCRIPT: 401,
        COMPILE: 402,
        LOADING: 403,
        BUSY: 404,
        TRANSACTION_ABORTED: 405,
        NOT_SUPPORTED: 406,
        NOT_SERVED: 407,
        NO_FUNCTION: 409,
        TOKEN_MISMATCH: 410,
        REPLY_NOT_KEPT: 411,
        INTERNAL: 500,
        NO_MEMORY: 501,
        RESOURCES: 502,
    }).map(([name, status]) => [status, `RS_ERR_${name}`]),
);
const WHY = [
    "DEADLINE",
    "CONNECTION_LOST",
    "CANCELLED",
    "PROTOCOL",
    "CLOSED",
    "SERVER",
    "CONNECT",
    "LIMIT",
    "ARGUMENT",
    "INTERNAL",
    "RESOURCES",
];
const REASONS = [undefined, ...WHY.map((name) => `RS_REASON_${name}`)];
const codeOf = (status) => STATUSES.get(status) ?? "RS_ERR_UNKNOWN";
const nameOfReason = (reason) => REASONS[reason] ?? "RS_REASON_UNKNOWN";
/** The same numbers, by their names. */
const reasonOf = Object.fromEntries(WHY.map((name, i) => [name, i + 1]));

const CLASSES = new Map([
    [107, ClosedError],
    [109, QueueFullError],
    [203, TimeoutError],
    [204, CancelledError],
    [300, IndeterminateError],
    [301, IndeterminateError],
    [302, IndeterminateError],
    [401, NoScriptError],
    [402, CompileError],
    [405, TransactionAbortedError],
]);
/** The numbers of the 500s say nothing of whether the call was executed. */
const FIRST_OF_LIBRARY = 500;

function classOf(status, indeterminate) {
    if (status >= FIRST_OF_LIBRARY) return indeterminate ? IndeterminateError : ScriptError;
    const exact = CLASSES.get(status);
    if (exact !== undefined) return exact;
    if (status < 200) return ArgumentError;
    if (status < 300) return ConnectError;
    return status >= 400 ? ServerError : ScriptError;
}

function errorOf(status, details) {
    return new (classOf(status, details.indeterminate))(status, details);
}

/** The same error for another call: what is done to one changes no other. */
function anotherOf({ status, message, serverCode, indeterminate, notExecuted, reason, index, node }) {
    const number = reasonOf[reason?.slice("RS_REASON_".length)];
    return errorOf(status, { message, serverCode, indeterminate, notExecuted, reason: number, index, node });
}

/** An error that comes with a completion: where it is made says nothing of its call, so it has no frames of its own. */
function arrivedError(status, details) {
    const { stackTraceLimit } = Error;
    // Where Error is frozen this changes nothing.
    Reflect.set(Error, "stackTraceLimit", 0);
    try {
        const error = errorOf(status, details);
        if (isTimeout(error)) error.stack = `${error.name}: ${error.message}`;
        return error;
    } finally {
        Reflect.set(Error, "stackTraceLimit", stackTraceLimit);
    }
}

/**
 * Where a call was made: `made`, the function of this package that its caller has called, and what is above it is
 * left out.
 */
function callerOf(made) {
    const caller = {};
    Error.captureStackTrace(caller, made);
    return caller;
}

/** Gives an error the frames of the call that it is about. They become text now, and not for calls that go well. */
function nameCaller(error, caller) {
    let frames;
    try {
        frames = String(caller.stack);
    } catch {
        // Error.prepareStackTrace is the program's own: where that throws there are none.
        return;
    }
    const end = frames.indexOf("\n");
    error.stack = `${error.name}: ${error.message}${end < 0 ? "" : frames.slice(end)}`;
}

// Made on this side of the boundary, always before anything is sent.
const refuse = (status, reason) => (message) =>
    errorOf(status, { message: `${message}; nothing was sent`, notExecuted: true, reason });

const classes = {
    ScriptError,
    ArgumentError,
    ClosedError,
    QueueFullError,
    ConnectError,
    TimeoutError,
    CancelledError,
    IndeterminateError,
    ServerError,
    NoScriptError,
    CompileError,
    TransactionAbortedError,
};
// A bundler that shortens names leaves these.
for (const [name, made] of Object.entries(classes)) Object.defineProperty(made, "name", { value: name });

module.exports = {
    classes,
    errorOf,
    anotherOf,
    arrivedError,
    callerOf,
    nameCaller,
    codeOf,
    nameOfReason,
    reasonOf,
    invalid: refuse(100, reasonOf.ARGUMENT),
    closed: refuse(107, reasonOf.CLOSED),
    queueFull: refuse(109, reasonOf.LIMIT),
    noMemory: refuse(501, reasonOf.RESOURCES),
    cancelled: refuse(204, reasonOf.CANCELLED),
};
