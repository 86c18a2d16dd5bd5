// The native library: where it is looked for, which version it must have, and its functions.

"use strict";

const builtin = require("./builtin");
const { errorOf } = require("./errors");
const { worded } = require("./wording");
const ffi = require("./ffi");
const platform = require("./platform");
const where = require("./where");

const fs = builtin("node:fs");
const os = builtin("node:os");
const path = builtin("node:path");
const process = builtin("node:process");

const NAME = process.platform === "darwin" ? "librs_script.dylib" : "librs_script.so";
const HERE = where.folder();
const PACKAGE = path.join(HERE, "..");
const { version } = require("../package.json");
const [major, minor] = version.split(".");
const ABI = major === "0" ? `0.${minor}` : major;
const SONAME = process.platform === "darwin" ? `librs_script.${ABI}.dylib` : `librs_script.so.${ABI}`;

/** Where the library may be, in the order in which it is looked for. Each a path, or a name for the system's loader. */
function places() {
    if (process.env.RS_SCRIPT_LIBRARY) {
        return [{ what: "RS_SCRIPT_LIBRARY", path: process.env.RS_SCRIPT_LIBRARY }];
    }
    return [
        ...(platform ? [{ what: platform.name, path: platform.library }] : []),
        { what: "beside the package", path: path.join(PACKAGE, "native", `${process.platform}-${process.arch}`, NAME) },
        { what: "beside the package", path: path.join(PACKAGE, "native", NAME) },
        { what: "beside this code", path: path.join(HERE, NAME) },
        { what: "in the repository", path: path.join(PACKAGE, "..", "..", "target", "release", NAME) },
        { what: "in the system", path: SONAME },
        { what: "in the system", path: NAME },
    ];
}

function load() {
    if (os.endianness() !== "LE") throw new Error("rs_script for Node needs a little-endian machine");
    const seen = [];
    for (const place of places()) {
        if (path.isAbsolute(place.path) && !fs.existsSync(place.path)) {
            seen.push(`  ${place.path} (${place.what}): no such file`);
            continue;
        }
        let declare;
        try {
            declare = ffi.open(place.path);
        } catch (error) {
            seen.push(`  ${place.path} (${place.what}): ${error.message.split("\n")[0]}`);
            continue;
        }
        checkVersion(place, declare);
        return { declare, path: place.path };
    }
    const advice =
        "build it with `cargo build --release`, install it, or name it in the environment variable RS_SCRIPT_LIBRARY";
    throw new Error(`the native library of rs_script was not found; ${advice}. Looked at:\n${seen.join("\n")}`);
}

/** A library of the same major version that is not older; before 1.0.0, of the same minor version. */
function checkVersion(place, declare) {
    const wanted = version.split(".").map(Number);
    let found;
    try {
        found = declare("rs_version_number", "u32", [])();
    } catch {
        throw new Error(
            `${place.path} (${place.what}) is not the native library of rs_script: it has no rs_version_number`,
        );
    }
    const [major, minor, patch] = [Math.floor(found / 1e6), Math.floor(found / 1e3) % 1e3, found % 1e3];
    const isNewEnough = minor > wanted[1] || (minor === wanted[1] && patch >= wanted[2]);
    const fits = major === wanted[0] && (major === 0 ? minor === wanted[1] && patch >= wanted[2] : isNewEnough);
    if (!fits) {
        throw new Error(
            `${place.path} (${place.what}) is version ${major}.${minor}.${patch} of the native library; ` +
                `this package is version ${version} and needs that or a compatible newer one`,
        );
    }
}

const library = load();

// The library has threads of its own and must stay when the FFI package unloads what a worker thread has loaded. So
// must the FFI package.
const RTLD_NOW = 2;
const dlopen = library.declare("dlopen", "handle", ["string", "i32"]);
const pin = (file) => dlopen(file, RTLD_NOW | ffi.RTLD_NODELETE);
const pinned = pin(library.path);
ffi.addons().forEach(pin);
const dlsym = library.declare("dlsym", "handle", ["handle", "string"]);

/** A function that fails with a status and an error: it throws what takeError() makes of them. */
function checked(name, types) {
    const call = library.declare(name, "i32", [...types, "buffer"]);
    const err = Buffer.alloc(8);
    return (...args) => {
        const status = call(...args, err);
        if (status !== 0) throw takeError(status, err.readBigUInt64LE(0));
    };
}

/**
 * The same on another thread, where there may be one; its error, or null, is given to the function behind its
 * arguments.
 */
function checkedElsewhere(name, types) {
    if (!ffi.hasElsewhere) return null;
    const call = library.declare(name, "i32", [...types, "buffer"]);
    return (...args) => {
        const done = args.pop();
        const err = Buffer.from(new ArrayBuffer(8));
        call.elsewhere(...args, err, (error, status) => {
            done(error ?? (status === 0 ? null : takeError(status, err.readBigUInt64LE(0))));
        });
    };
}

const error = {
    message: library.declare("rs_error_message", "string", ["handle"]),
    serverCode: library.declare("rs_error_server_code", "string", ["handle"]),
    isIndeterminate: library.declare("rs_error_is_indeterminate", "bool", ["handle"]),
    isNotExecuted: library.declare("rs_error_is_not_executed", "bool", ["handle"]),
    reason: library.declare("rs_error_reason", "i32", ["handle"]),
    index: library.declare("rs_error_index", "i64", ["handle"]),
    node: library.declare("rs_error_node", "string", ["handle"]),
    free: library.declare("rs_error_free", "void", ["handle"]),
};

function takeError(status, handle) {
    const serverCode = error.serverCode(handle);
    const made = errorOf(status, {
        message: worded(status, error.message(handle), serverCode),
        serverCode,
        indeterminate: error.isIndeterminate(handle),
        notExecuted: error.isNotExecuted(handle),
        reason: error.reason(handle),
        index: Number(error.index(handle)),
        node: error.node(handle),
    });
    error.free(handle);
    return made;
}

const POLL = ["handle", "buffer", "size", "size", "size", "buffer", "buffer", "buffer"];

const poll = checked("rs_queue_poll", ["handle", "buffer", "size", "size", "buffer"]);
const replyFree = library.declare("rs_reply_free", "void", ["handle"]);
const completion = Buffer.alloc(32);
const ignored = Buffer.alloc(8);

/** Takes out the completion that is next: its tag, and its error, or null. Its reply is lost. */
function takeUnread(queue) {
    poll(queue, completion, 1, 0, ignored);
    const [tag, reply, failed] = [0, 8, 16].map((at) => completion.readBigUInt64LE(at));
    replyFree(reply);
    return { tag, error: failed === 0n ? null : takeError(completion.readInt32LE(24), failed) };
}

const memmove = library.declare("memmove", "handle", ["buffer", "buffer", "size"]);

/** The address of a Buffer, which its owner keeps. Of the C library: it gives back where it was to move nothing to. */
const placeOf = (buffer) => (buffer.length === 0 ? 0n : memmove(buffer, buffer, 0));

const SIZE_OF_CALL_OPTIONS = 64;
const SIZE_OF_SCRIPT_OPTIONS = 72;
const SIZE_OF_LIBRARY_OPTIONS = 56;
const ROUTE = { key: 2, slot: 3, node: 4, all: 5 };

const clientWith = checked("rs_client_with", ["handle", "buffer", "buffer"]);

/** A view of a client, by what an rs_call_options says; `to`: a Buffer, what the route leads to. */
function withOptions(client, { readFrom = 0, route = 0, to = null, slot = 0 }, out) {
    const options = Buffer.alloc(SIZE_OF_CALL_OPTIONS);
    options.writeUInt32LE(SIZE_OF_CALL_OPTIONS, 0);
    options.writeInt32LE(readFrom, 16);
    options.writeInt32LE(route, 20);
    if (to !== null) {
        options.writeBigUInt64LE(placeOf(to), 24);
        options.writeBigUInt64LE(BigInt(to.length), 32);
    }
    options.writeUInt32LE(slot, 40);
    clientWith(client, options, out);
}

const register = checked("rs_script_register", ["handle", "buffer", "size", "buffer", "buffer"]);
const registerLibrary = checked("rs_library_register", ["handle", "buffer", "size", "buffer", "buffer"]);
const registerFunction = checked("rs_library_function", ["handle", "buffer", "size", "buffer", "buffer"]);

/**
 * An rs_script_options, which refers to the Buffers in what it says. `name`: a Buffer, empty for none; `once`: see
 * checks.onceOf().
 */
function scriptOptions({ flags, name, once }) {
    const options = Buffer.alloc(SIZE_OF_SCRIPT_OPTIONS);
    options.writeUInt32LE(SIZE_OF_SCRIPT_OPTIONS, 0);
    options.writeUInt32LE(flags, 4);
    options.writeBigUInt64LE(placeOf(name), 8);
    options.writeBigUInt64LE(BigInt(name.length), 16);
    if (once !== null) putOnce(options, once, 24);
    return options;
}

/** Writes what calls happen once by, which stands alike in the options of scripts and of libraries. */
function putOnce(options, { lifetime, replyLimit, prefix, waitReplicas, waitTimeout }, at) {
    options.writeBigUInt64LE(BigInt(lifetime), at);
    options.writeBigUInt64LE(BigInt(waitTimeout), at + 8);
    options.writeBigUInt64LE(BigInt(replyLimit), at + 16);
    if (prefix.length > 0) options.writeBigUInt64LE(placeOf(prefix), at + 24);
    options.writeBigUInt64LE(BigInt(prefix.length), at + 32);
    options.writeBigUInt64LE(BigInt(waitReplicas), at + 40);
}

/** A script that belongs to no client. */
function scriptRegister(source, options, out) {
    register(0n, source, source.length, scriptOptions(options), out);
}

/** A library that belongs to no client. `once`: see checks.onceOf(). */
function libraryRegister(source, flags, once, out) {
    const options = Buffer.alloc(SIZE_OF_LIBRARY_OPTIONS);
    options.writeUInt32LE(SIZE_OF_LIBRARY_OPTIONS, 0);
    options.writeUInt32LE(flags, 4);
    if (once !== null) putOnce(options, once, 8);
    registerLibrary(0n, source, source.length, options, out);
}

/** A library's function, as a script. */
function libraryFunction(library, name, options, out) {
    registerFunction(library, name, name.length, scriptOptions(options), out);
}

const nextRequest = checked("rs_events_take_credentials", ["handle", "buffer"]);
const request = Buffer.alloc(8);

/** The next request for credentials, or 0. */
function takeCredentials(events) {
    nextRequest(events, request);
    return request.readBigUInt64LE(0);
}

const newQueue = checked("rs_queue_new", ["size", "u32", "buffer"]);

module.exports = {
    ffi: ffi.name,
    path: library.path,
    version: library.declare("rs_version", "string", []),
    statusName: library.declare("rs_status_name", "string", ["i32"]),
    reasonName: library.declare("rs_reason_name", "string", ["i32"]),
    addressOf: (name) => dlsym(pinned, name),
    // Of the C library; found through this one, which needs it too.
    keyCreate: library.declare("pthread_key_create", "i32", ["buffer", "handle"]),
    keyDelete: library.declare("pthread_key_delete", "i32", ["size"]),
    setSpecific: library.declare("pthread_setspecific", "i32", ["size", "handle"]),
    dup: library.declare("dup", "i32", ["i32"]),
    closeOnExec: library.declare("ioctl", "i32", ["i32", "size"]),

    optionsNew: library.declare("rs_options_new", "handle", []),
    optionsFree: library.declare("rs_options_free", "void", ["handle"]),
    setEvents: checked("rs_options_set_events", ["handle", "handle"]),
    setCredentialsEvents: checked("rs_options_set_credentials_events", ["handle", "handle"]),
    option: (name, ...types) => checked(`rs_options_${name}`, ["handle", ...types]),

    clientOpen: checked("rs_client_open", ["string", "handle", "buffer"]),
    clientClose: library.declare("rs_client_close", "void", ["handle"]),
    clientFree: library.declare("rs_client_free", "void", ["handle"]),
    clientStats: library.declare("rs_client_stats", "size", ["handle", "buffer", "size"]),
    clientWith: withOptions,
    ROUTE,

    scriptRegister,
    scriptSha: library.declare("rs_script_sha", "string", ["handle"]),
    scriptFunctionName: library.declare("rs_script_function_name", "string", ["handle"]),
    scriptFree: library.declare("rs_script_free", "void", ["handle"]),

    libraryRegister,
    libraryFunction,
    libraryName: library.declare("rs_library_name", "string", ["handle"]),
    libraryFree: library.declare("rs_library_free", "void", ["handle"]),

    queueNew: (capacity, out) => newQueue(capacity, 0, out),
    queueFree: library.declare("rs_queue_free", "void", ["handle"]),
    queueFd: library.declare("rs_queue_fd", "i32", ["handle"]),
    submit: checked("rs_client_submit_packed", ["handle", "size", "buffer", "buffer", "size", "handle"]),
    packDetails: library.declare("rs_queue_set_packed_details", "void", ["handle", "bool"]),
    wake: library.declare("rs_queue_wake", "void", ["handle"]),
    takeUnread,
    poll: checked("rs_queue_poll_packed", POLL),
    pollElsewhere: checkedElsewhere("rs_queue_poll_packed", POLL),
    eventsNew: checked("rs_events_new", ["size", "handle", "buffer"]),
    eventsFree: library.declare("rs_events_free", "void", ["handle"]),
    eventsTake: checked("rs_events_take", ["handle", "buffer", "size", "buffer", "buffer", "buffer"]),
    takeCredentials,
    credentialsNode: library.declare("rs_credentials_node", "string", ["handle"]),
    credentialsAnswer: checked("rs_credentials_answer", ["handle", "buffer", "buffer", "size", "size"]),
    credentialsRefuse: library.declare("rs_credentials_refuse", "void", ["handle", "string"]),
    cancel: checked("rs_client_cancel", ["handle", "handle", "handle", "buffer"]),
};
