// Reads completions and replies as rs_queue_poll_packed writes them.

"use strict";

const { arrivedError, errorOf, nameCaller, reasonOf } = require("./errors");
const { worded } = require("./wording");

const NIL = 1;
const STATUS = 2;
const ERROR = 3;
const INTEGER = 4;
const STRING = 5;
const ARRAY = 6;
const MAP = 7;
const SET = 8;
const DOUBLE = 9;
const BOOLEAN = 10;
const BIG_NUMBER = 11;
const VERBATIM = 12;

const REPLY_LIMIT = 301;

const INDETERMINATE = 1;
const NOT_EXECUTED = 2;
const ARRIVED = 4;
const COST = 8;

const HEAD = 17;
/** The longest text that is looked at byte by byte. */
const SHORT = 24;
/**
 * Of a Buffer that is a reply's own, a string is a part where it keeps no more than so many times its length alive;
 * others are copied.
 */
const KEPT = 8;

const NOTHING = Buffer.alloc(0);

class Reader {
    buffer = NOTHING;
    at = 0;
    /** The shortest string that is a part of the buffer and no copy. */
    shared = Infinity;
    /** Whether strings become Buffers. */
    buffers = false;
    /** Where the call was made, if that is to be told. */
    caller = null;

    /** Completions in `buffer`, which nobody will write to any more where it is their own. */
    begin(buffer, isOwn) {
        this.buffer = buffer;
        this.at = 0;
        this.shared = isOwn ? buffer.length / KEPT : Infinity;
    }

    /** Keeps nothing alive. */
    end() {
        this.buffer = NOTHING;
        this.caller = null;
    }

    u32() {
        const { buffer, at } = this;
        this.at = at + 4;
        return (buffer[at] | (buffer[at + 1] << 8) | (buffer[at + 2] << 16) | (buffer[at + 3] << 24)) >>> 0;
    }

    text() {
        const length = this.u32();
        const start = this.at;
        this.at = start + length;
        if (length <= SHORT) return this.shortText(start, length);
        return this.buffer.utf8Slice(start, start + length);
    }

    shortText(start, length) {
        const { buffer } = this;
        let text = "";
        for (let at = start; at < start + length; at++) {
            const byte = buffer[at];
            if (byte > 127) return buffer.utf8Slice(start, start + length);
            text += String.fromCharCode(byte);
        }
        return text;
    }

    string() {
        if (!this.buffers) return this.text();
        const length = this.u32();
        const start = this.at;
        this.at = start + length;
        const bytes = this.buffer.subarray(start, this.at);
        return length >= this.shared ? bytes : Buffer.from(bytes);
    }

    integer() {
        const low = this.u32();
        const high = this.u32() | 0;
        const value = high * 0x1_0000_0000 + low;
        if (Number.isSafeInteger(value)) return value;
        return (BigInt(high) << 32n) | BigInt(low);
    }

    reply() {
        switch (this.buffer[this.at++]) {
            case NIL:
                return null;
            case STATUS:
                return this.text();
            case ERROR: {
                const status = this.u32() | 0;
                return this.error(status, this.buffer[this.at++]);
            }
            case INTEGER:
                return this.integer();
            case STRING:
                return this.string();
            case ARRAY:
                return this.elements();
            case MAP: {
                const map = new Map();
                for (let left = this.u32(); left > 0; left -= 2) {
                    const key = this.reply();
                    map.set(key, this.reply());
                }
                return map;
            }
            case SET:
                return new Set(this.elements());
            case DOUBLE:
                return double(this.text());
            case BOOLEAN:
                return this.buffer[this.at++] !== 0;
            case BIG_NUMBER:
                return BigInt(this.text());
            case VERBATIM:
                this.at += 3;
                return this.string();
            default:
                throw new Error(`a reply of a kind that this version does not know: ${this.buffer[this.at - 1]}`);
        }
    }

    elements() {
        const count = this.u32();
        const elements = [];
        for (let i = 0; i < count; i++) elements.push(this.reply());
        return elements;
    }

    error(status, flags) {
        const serverCode = this.text();
        const message = this.text();
        const reason = this.u32();
        const index = this.u32() | 0;
        const node = this.text();
        const made = arrivedError(status, {
            message: worded(status, message, serverCode),
            reason,
            index,
            node,
            serverCode,
            indeterminate: (flags & INDETERMINATE) !== 0,
            notExecuted: (flags & NOT_EXECUTED) !== 0,
        });
        if (this.caller !== null) nameCaller(made, this.caller);
        return made;
    }

    /** Below 2^53. */
    count() {
        const low = this.u32();
        return this.u32() * 0x1_0000_0000 + low;
    }

    /** What a call has cost, told to who wants to know. */
    cost({ told }) {
        if (told === null) return;
        told.attempts = this.u32();
        told.bytesSent = this.count();
        told.bytesReceived = this.count();
        told.duration = this.count() / 1e6;
        const node = this.text();
        if (node !== "") told.node = node;
    }

    /** Reads one completion, and gives it to the call that `take` finds by its tag. */
    completion(take) {
        const start = this.at;
        const end = start + 4 + this.u32();
        const call = take(this.u32());
        this.at = start + 12;
        const status = this.u32() | 0;
        this.buffers = call.buffers;
        this.caller = call.caller;
        this.at = start + HEAD;
        let error = null;
        try {
            const flags = this.buffer[start + HEAD - 1];
            if (status === 0) {
                const reply = this.reply();
                if ((flags & COST) !== 0) this.cost(call);
                call.resolve(reply);
                return;
            }
            error = this.error(status, flags);
            if ((flags & ARRIVED) !== 0) error.arrived = this.reply();
            if ((flags & COST) !== 0) this.cost(call);
            call.reject(error);
        } catch (cause) {
            // An error stays what it is, without the replies that did arrive.
            if (error === null) call.refuse(unreadable(cause));
            else call.reject(error);
        } finally {
            this.at = end;
        }
    }
}

/** Of a call whose reply Node cannot hold, as a string beyond half a GiB: it was executed. */
function unreadable(cause) {
    const hint = cause.code === "ERR_STRING_TOO_LONG" ? "; with the option `buffers` it is a Buffer" : "";
    const message = `the reply cannot be made into values of Node: ${cause.message}${hint}; the call was executed`;
    const error = errorOf(REPLY_LIMIT, { message, indeterminate: true, reason: reasonOf.LIMIT });
    error.cause = cause;
    return error;
}

function double(text) {
    const value = Number(text);
    if (!Number.isNaN(value)) return value;
    const lower = text.toLowerCase();
    if (lower.includes("inf")) return lower.startsWith("-") ? -Infinity : Infinity;
    return NaN;
}

module.exports = { Reader, unreadable };
