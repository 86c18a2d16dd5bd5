// The seam to the package that calls C: @2060.io/ffi-napi, or koffi. Nothing else in this binding knows which.
//
// A declared function takes and gives: `handle` the address of an object as BigInt; `buffer` a Buffer or null, its
// address; `string` text, given to C ending in a NUL; `size`, `i32`, `u32`, `u16`, `i64`, `bool`; `void` as a result.
// Its `elsewhere` runs on another thread, takes no text, and gives its result to a function; it keeps the Buffers
// that it is given until then. Small ones have to be those of an ArrayBuffer: others may be moved.

"use strict";

const builtin = require("./builtin");
const platform = require("./platform");
const where = require("./where");

const os = builtin("node:os");
const process = builtin("node:process");

const TYPES = {
    handle: { napi: "uint64", koffi: "uintptr" },
    buffer: { napi: "uint64", koffi: "void *" },
    string: { napi: "uint64", koffi: "str" },
    size: { napi: "uint64", koffi: "size_t" },
    i64: { napi: "int64", koffi: "int64" },
    i32: { napi: "int32", koffi: "int32" },
    u32: { napi: "uint32", koffi: "uint32" },
    u16: { napi: "uint16", koffi: "uint16" },
    bool: { napi: "uint8", koffi: "bool" },
    void: { napi: "void", koffi: "void" },
};

// The package's own call of a function prepares two Buffers and each argument anew: 4 to 40 microseconds. What is
// below it, the same `ffi_call` on memory that is kept from call to call, takes less than one.
function throughFfiNapi() {
    const from = platform?.require ?? where.require;
    const ffi = from("@2060.io/ffi-napi");
    const ref = from("@2060.io/ref-napi");
    const { ffi_call: call, ffi_call_async: callElsewhere } = from("@2060.io/ffi-napi/lib/bindings");

    const type = (name) => ref.coerceType(TYPES[name].napi);
    // Kept, for those that are passed again and again: asking aborts the process when it falls between the moment at
    // which this thread is terminated and the one at which it notices.
    const addresses = new WeakMap();
    const addressOf = (buffer) => {
        let address = addresses.get(buffer);
        if (address === undefined) addresses.set(buffer, (address = BigInt(ref.address(buffer))));
        return address;
    };
    const slot = {
        handle: (value) => value,
        buffer: (value) => (value === null ? 0n : addressOf(value)),
        bool: (value) => (value ? 1n : 0n),
        i64: (value) => BigInt.asUintN(64, BigInt(value)),
        i32: (value) => BigInt.asUintN(32, BigInt(value)),
    };
    const result = {
        void: () => undefined,
        handle: (out) => out.readBigUInt64LE(0),
        size: (out) => Number(out.readBigUInt64LE(0)),
        i32: (out) => out.readInt32LE(0),
        u32: (out) => out.readUInt32LE(0),
        i64: (out) => out.readBigInt64LE(0),
        bool: (out) => out[0] !== 0,
        string: (out) => ref.readCString(ref.readPointer(out, 0, 0), 0),
    };

    function declare(library, name, resultType, types) {
        const pointer = library.get(name);
        const cif = ffi.CIF(type(resultType), types.map(type));
        const values = new BigUint64Array(Math.max(types.length, 1));
        const places = Buffer.alloc(8 * Math.max(types.length, 1));
        const base = BigInt(ref.address(Buffer.from(values.buffer)));
        types.forEach((_, i) => places.writeBigUInt64LE(base + BigInt(8 * i), 8 * i));
        const out = Buffer.alloc(8);
        const converts = types.map((name) => slot[name] ?? BigInt);
        const read = result[resultType];
        const texts = types.map((name) => name === "string");
        const plain = (...args) => {
            for (let i = 0; i < converts.length; i++) values[i] = converts[i](args[i]);
            call(cif, pointer, out, places);
            return read(out);
        };
        plain.elsewhere = (...args) => {
            // Several may run at a time: each has memory of its own.
            const done = args.pop();
            const slots = BigUint64Array.from(converts, (convert, i) => convert(args[i]));
            const at = BigInt(ref.address(Buffer.from(slots.buffer)));
            const pointers = Buffer.from(BigUint64Array.from(converts, (_, i) => at + BigInt(8 * i)).buffer);
            const result = Buffer.alloc(8);
            const kept = [slots, pointers, result, args];
            callElsewhere(cif, pointer, result, pointers, (error) => done(error, read(kept[2])));
        };
        if (!texts.includes(true)) return plain;
        return (...args) => {
            const kept = args.map((arg, i) => (texts[i] ? Buffer.from(`${arg}\0`) : null));
            for (let i = 0; i < converts.length; i++) {
                values[i] = kept[i] ? BigInt(ref.address(kept[i])) : converts[i](args[i]);
            }
            call(cif, pointer, out, places);
            return read(out, kept);
        };
    }

    return (path) => {
        const library = ffi.DynamicLibrary(path, ffi.RTLD_NOW);
        return (name, resultType, types) => declare(library, name, resultType, types);
    };
}

function throughKoffi() {
    const koffi = where.require("koffi");
    return (path) => {
        const library = koffi.load(path);
        return (name, resultType, types) => {
            const call = library.func(name, TYPES[resultType].koffi, types.map((type) => TYPES[type].koffi));
            call.elsewhere = (...args) => {
                const done = args.pop();
                call.async(...args, (error, result) => done(error, result, args));
            };
            return resultType === "handle" ? (...args) => BigInt(call(...args)) : call;
        };
    };
}

const packages = { "ffi-napi": throughFfiNapi, koffi: throughKoffi };

const RTLD_NODELETE = process.platform === "darwin" ? 0x80 : 0x1000;

/**
 * Runs `load`, and has what addons it loads stay in the process. Node unloads an addon when the last thread that has
 * loaded it ends, and only then does that thread's event loop call what ffi-napi has left to it: code that is no
 * longer there.
 */
function loadForGood(load) {
    const { dlopen } = process;
    const forGood = (module, file, flags = os.constants.dlopen.RTLD_LAZY) => dlopen.call(process, module, file, flags | RTLD_NODELETE);
    if (!Reflect.set(process, "dlopen", forGood)) return load();
    try {
        return load();
    } finally {
        process.dlopen = dlopen;
    }
}

/** The addons of these packages. This thread may have loaded them before it loaded this package, so they have to be made to stay. */
function addons() {
    return Object.keys(where.loaded()).filter((file) => /(ffi-napi|ref-napi|koffi).*\.node$/.test(file));
}

/** Bun ends the process when ffi-napi is loaded, for which it lacks parts of libuv; Deno crashes when it ends with it loaded. */
const runtime = ["bun", "deno"].find((name) => process.versions[name] !== undefined);

/** The package to use, named by RS_SCRIPT_FFI: ffi-napi, or koffi where that does not load. */
function choose(wanted) {
    if (wanted) {
        if (!Object.hasOwn(packages, wanted)) {
            throw new Error(`RS_SCRIPT_FFI is "${wanted}"; it can be ${Object.keys(packages).join(" or ")}`);
        }
        return { name: wanted, open: loadForGood(packages[wanted]) };
    }
    const reasons = [];
    for (const [name, through] of Object.entries(packages)) {
        try {
            if (runtime !== undefined && name !== "koffi") throw new Error(`not used under ${runtime}, which it would crash`);
            return { name, open: loadForGood(through) };
        } catch (error) {
            reasons.push(`  ${name}: ${error.message.split("\n")[0]}`);
        }
    }
    throw new Error(`rs_script needs @2060.io/ffi-napi or koffi, and neither loads:\n${reasons.join("\n")}`);
}

/** Whether functions may run on other threads: those of a thread that may be terminated could be left alone with memory that is gone. */
const hasElsewhere = runtime === undefined && builtin("node:worker_threads").isMainThread;

module.exports = { hasElsewhere, ...choose(process.env.RS_SCRIPT_FFI), addons, RTLD_NODELETE };
