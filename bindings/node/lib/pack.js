// Writes calls as rs_client_submit_packed reads them: one growing Buffer, numbers in little-endian order, not aligned.

"use strict";

const builtin = require("./builtin");
const { invalid, noMemory } = require("./errors");

const { isUint8Array: isBytes } = builtin("node:util").types;

const COMMAND = 0;
const SCRIPT = 1;
const PIPELINE = 2;
const SCRIPT_LOAD = 3;
const SCRIPT_EXISTS = 4;
const SCRIPT_FLUSH = 5;
const SCRIPT_KILL = 6;
const SCRIPT_SHOW = 7;
const KILL = 8;
const SCRIPT_STATS = 9;
const REAUTHENTICATE = 10;
/** What is done with libraries, and the numbers of that. */
const LIBRARY = { load: 11, check: 12, deploy: 13, list: 14, prune: 15 };
/** Flags of libraries. */
const NAMED = 1;
const LIBRARY_ONCE = 2;

/** A flag of scripts and pipelines. */
const TOKEN = 8;

const INITIAL = 16 * 1024;
/** A larger Buffer is not kept for the next batch. */
const KEPT = 1024 * 1024;
/** The longest text that is copied character by character: below that it beats a call of Buffer.write. */
const SHORT = 40;
/** What C's 32-bit lengths can say, with room for what stands around a string. */
const LONGEST = 0xffff_0000;

/** The true length, whatever `length` says: were it too large, memory of others would be sent. */
const byteLengthOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), "byteLength").get;

class Writer {
    buffer = Buffer.allocUnsafeSlow(INITIAL);
    length = 0;
    /** Handles of the scripts that the calls name by their index. */
    scripts = [];
    /** Where those indices stand, in turn with the index: for another Writer that takes this one's bytes over. */
    references = null;

    clear() {
        this.length = 0;
        this.scripts = [];
        if (this.references !== null) this.references = [];
        if (this.buffer.length > KEPT) this.buffer = Buffer.allocUnsafeSlow(INITIAL);
    }

    reserve(count) {
        const needed = this.length + count;
        if (needed <= this.buffer.length) return;
        const larger = roomFor(needed, 2 * this.buffer.length);
        this.buffer.copy(larger, 0, 0, this.length);
        this.buffer = larger;
    }

    u32At(at, value) {
        const { buffer } = this;
        buffer[at] = value;
        buffer[at + 1] = value >>> 8;
        buffer[at + 2] = value >>> 16;
        buffer[at + 3] = value >>> 24;
    }

    u32(value) {
        this.u32At(this.length, value);
        this.length += 4;
    }

    /** Of a number that JavaScript can say exactly. */
    u64(value) {
        this.u32(value % 2 ** 32);
        this.u32(Math.floor(value / 2 ** 32));
    }

    kind(kind, flags) {
        this.buffer[this.length] = kind;
        this.buffer[this.length + 1] = flags;
        this.length += 2;
    }

    /** What stands before a call: its tag, and its timeout in milliseconds or 0. */
    head(tag, timeout) {
        this.reserve(64);
        this.u32(tag);
        this.u32(0);
        this.u32(timeout);
    }

    string(value, what) {
        if (typeof value === "string") return this.text(value);
        if (isBytes(value)) return this.bytes(value);
        if (typeof value === "number" || typeof value === "bigint") return this.text(String(value));
        throw unfit(value, what);
    }

    text(value) {
        const { length } = value;
        this.reserve(4 + 3 * length);
        const start = this.length + 4;
        let written = 0;
        if (length <= SHORT) {
            const { buffer } = this;
            for (; written < length; written++) {
                const code = value.charCodeAt(written);
                if (code > 127) break;
                buffer[start + written] = code;
            }
        }
        if (written < length) written = this.buffer.utf8Write(value, start);
        this.u32At(start - 4, written);
        this.length = start + written;
    }

    bytes(value) {
        const length = byteLengthOf.call(value);
        if (length > LONGEST) throw invalid(`a string of ${length} bytes is too long`);
        this.reserve(4 + length);
        this.u32(length);
        this.buffer.set(value, this.length);
        this.length += length;
    }

    strings(values, what) {
        for (let i = 0; i < values.length; i++) this.string(values[i], what);
    }

    command(args) {
        if (args.length === 0) throw invalid("a command needs its name");
        this.reserve(16);
        this.kind(COMMAND, 0);
        this.u32(args.length);
        this.strings(args, "a command's arguments");
    }

    reference(script) {
        // Found out now: the calls that travel with this one would be lost with it.
        checkOfServer("a script", script);
        let index = this.scripts.lastIndexOf(script);
        if (index < 0) index = this.scripts.push(script) - 1;
        if (this.references !== null) this.references.push(this.length, index);
        this.u32(index);
    }

    /** What a script's call or a pipeline begins with. */
    kindWith(kind, flags, token) {
        if (token === undefined) return this.kind(kind, flags);
        this.kind(kind, flags | TOKEN);
        this.string(token, "a token");
        this.reserve(32);
    }

    call(script, flags, keys, args, token) {
        if (!Array.isArray(keys)) throw invalid(`keys must be an array, not ${shown(keys)}`);
        if (!Array.isArray(args)) throw invalid(`args must be an array, not ${shown(args)}`);
        this.reserve(32);
        this.kindWith(SCRIPT, flags, token);
        this.reference(script);
        this.u32(keys.length);
        this.u32(args.length);
        this.strings(keys, "keys");
        this.strings(args, "args");
    }

    /** A pipeline of `count` items, taken from the Writer in which they were collected. */
    pipeline(flags, count, items, token) {
        this.reserve(16);
        this.kindWith(PIPELINE, flags, token);
        this.reserve(16 + items.length);
        this.u32(count);
        const start = this.length;
        items.buffer.copy(this.buffer, start, 0, items.length);
        for (let i = 0; i < items.references.length; i += 2) {
            this.length = start + items.references[i];
            this.reference(items.scripts[items.references[i + 1]]);
        }
        this.length = start + items.length;
    }

    load(script) {
        this.kind(SCRIPT_LOAD, 0);
        this.reference(script);
    }

    exists(shas) {
        this.kind(SCRIPT_EXISTS, 0);
        this.u32(shas.length);
        this.strings(shas, "SHA1s");
    }

    show(sha) {
        this.kind(SCRIPT_SHOW, 0);
        this.string(sha, "a SHA1");
    }

    flush(mode) {
        this.kind(SCRIPT_FLUSH, mode);
    }

    kill() {
        this.kind(SCRIPT_KILL, 0);
    }

    killAny() {
        this.kind(KILL, 0);
    }

    scriptStats() {
        this.kind(SCRIPT_STATS, 0);
    }

    /** What `what` says of a library, by its source. */
    library(what, library) {
        this.kind(LIBRARY[what], libraryFlags(library));
        this.sourceOf(library);
    }

    /** What is behind a library's flags. */
    sourceOf({ source, once }) {
        if (once !== null) {
            this.reserve(32);
            this.u64(once.lifetime);
            this.u64(once.replyLimit);
            this.u32(once.waitReplicas);
            this.u32(once.waitTimeout);
            this.bytes(once.prefix);
        }
        this.bytes(source);
    }

    libraryList() {
        this.kind(LIBRARY.list, 0);
    }

    prune(libraries) {
        this.kind(LIBRARY.prune, 0);
        this.u32(libraries.length);
        for (const library of libraries) {
            this.reserve(1);
            this.buffer[this.length++] = libraryFlags(library);
            this.sourceOf(library);
        }
    }

    reauthenticate() {
        this.kind(REAUTHENTICATE, 0);
    }

    /** Takes a call out again. Those behind it move up; the scripts stay. */
    remove(start, end) {
        this.buffer.copyWithin(start, end, this.length);
        this.length -= end - start;
    }
}

/** A Buffer of as many bytes as are wanted, or where there is none of so many, as are needed. */
function roomFor(needed, wanted) {
    try {
        return Buffer.allocUnsafeSlow(Math.max(needed, wanted));
    } catch (cause) {
        if (wanted > needed) return roomFor(needed, needed);
        const error = noMemory(`there is no Buffer of ${needed} bytes for the call: ${cause.message}`);
        throw Object.assign(error, { cause });
    }
}

function libraryFlags({ isNamed, once }) {
    return (isNamed ? NAMED : 0) | (once === null ? 0 : LIBRARY_ONCE);
}

/** A script or a library of a FakeServer's client has no native handle. */
function checkOfServer(what, { address }) {
    if (address === undefined) throw invalid(`${what} of a FakeServer's client is of no server`);
}

/** What cannot be sent: an error that says what can. */
function unfit(value, what) {
    if (typeof value !== "boolean") {
        return invalid(`${what} must be strings, Buffers, numbers or BigInts, not ${shown(value)}`);
    }
    return invalid(
        `${what} must not be booleans: they would arrive as text, and Lua takes any text for true, "false" too; ` +
            'give 1 and 0, or "1" and ""',
    );
}

/** The bytes of a text, or a copy of those given, whatever these say of their length. */
function bytesOf(value) {
    return Buffer.from(typeof value === "string" ? value : new Uint8Array(value).buffer);
}

/** For an error text: what it is, not what is in it, which may be secret. */
function shown(value) {
    if (value === null || value === undefined) return String(value);
    return Array.isArray(value) ? "an array" : `a value of type ${typeof value}`;
}

module.exports = { Writer, libraryFlags, checkOfServer, bytesOf, isBytes, shown, unfit };
