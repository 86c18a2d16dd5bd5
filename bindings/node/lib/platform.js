// The package with the native parts for this machine, @rs-script/linux-x64-gnu and its like, where npm has installed
// it: the library, and ffi-napi with its addon compiled.

"use strict";

const builtin = require("./builtin");
const where = require("./where");

const fs = builtin("node:fs");
const { createRequire } = builtin("node:module");
const path = builtin("node:path");
const process = builtin("node:process");

/** The C library that Node itself runs on: a package manager that knows of none installs the packages for both. */
function libc() {
    try {
        return fs.readFileSync("/proc/self/maps", "latin1").includes("/ld-musl-") ? "musl" : "gnu";
    } catch {
        // Deno, which is made for the other one, lets nobody see that who may not do everything.
        return "gnu";
    }
}

function find() {
    if (process.platform !== "linux") return null;
    const name = `@rs-script/linux-${process.arch}-${libc()}`;
    try {
        const manifest = where.resolve(`${name}/package.json`);
        const library = path.join(path.dirname(manifest), "librs_script.so");
        return { name, library, require: createRequire(manifest) };
    } catch (error) {
        if (error.code !== "MODULE_NOT_FOUND") throw error;
        return null;
    }
}

module.exports = find();
