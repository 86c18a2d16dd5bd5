// The errors of calls: one base class, and one class for each thing that a caller may want to do about it.

"use strict";

const native = require("./native");

/** What went wrong with a call, and whether the call was executed. */
class ScriptError extends Error {
    /** @param {number} status one of the numbers of RS_ERR_ */
    constructor(status, { message, serverCode = "", indeterminate = false, notExecuted = false, reason, index = -1, node = "" }) {
        super(message);
        this.status = status;
        this.code = native.statusName(status);
        this.serverCode = serverCode;
        this.indeterminate = indeterminate;
        this.notExecuted = notExecuted;
        this.reason = native.reasonName(reason);
        this.index = index < 0 ? undefined : index;
        this.node = node === "" ? undefined : node;
    }

    get name() {
        return this.constructor.name;
    }
}

class ArgumentError extends ScriptError {}
class ClosedError extends ScriptError {}
class QueueFullError extends ScriptError {}
class ConnectError extends ScriptError {}
class TimeoutError extends ScriptError {
    /** Every error of a call whose time was over, also of one that may have been executed, which is an IndeterminateError too. */
    static [Symbol.hasInstance](error) {
        return error instanceof ScriptError && error.reason === DEADLINE;
    }
}
class CancelledError extends ScriptError {}
class IndeterminateError extends ScriptError {}
class ServerError extends ScriptError {}
class NoScriptError extends ServerError {}
class CompileError extends ServerError {}
class TransactionAbortedError extends ServerError {}

const DEADLINE = "RS_REASON_DEADLINE";
const INVALID_ARGUMENT = 100;
const CLOSED = 107;
const QUEUE_FULL = 109;
const CANCELLED = 204;

const CLASSES = new Map([
    [CLOSED, ClosedError],
    [QUEUE_FULL, QueueFullError],
    [203, TimeoutError],
    [CANCELLED, CancelledError],
    [300, IndeterminateError],
    [301, IndeterminateError],
    [401, NoScriptError],
    [402, CompileError],
    [405, TransactionAbortedError],
    [501, IndeterminateError],
]);

function classOf(status) {
    const exact = CLASSES.get(status);
    if (exact !== undefined) return exact;
    if (status < 200) return ArgumentError;
    if (status < 300) return ConnectError;
    return status >= 400 && status < 500 ? ServerError : ScriptError;
}

function errorOf(status, details) {
    return new (classOf(status))(status, details);
}

// Made on this side of the boundary, always before anything is sent.
const refuse = (status, reason) => (message) =>
    errorOf(status, { message: `${message}; nothing was sent`, notExecuted: true, reason });

module.exports = {
    classes: {
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
    },
    errorOf,
    invalid: refuse(INVALID_ARGUMENT, 9),
    closed: refuse(CLOSED, 5),
    queueFull: refuse(QUEUE_FULL, 8),
    cancelled: refuse(CANCELLED, 3),
};
