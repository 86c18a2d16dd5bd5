// The package with the native parts for this machine, @rs-script/linux-x64-gnu and its like, where npm has installed it: the library, and
// ffi-napi with its addon compiled.

"use strict";

const fs = require("node:fs");
const { createRequire } = require("node:module");

/** A package manager that does not know of C libraries installs the packages for both: so this looks at which one Node itself runs on. */
function libc() {
    return fs.readFileSync("/proc/self/maps", "latin1").includes("/ld-musl-") ? "musl" : "gnu";
}

function find() {
    if (process.platform !== "linux") return null;
    const name = `@rs-script/linux-${process.arch}-${libc()}`;
    try {
        const manifest = require.resolve(`${name}/package.json`);
        return { name, library: manifest.replace(/package\.json$/, "librs_script.so"), require: createRequire(manifest) };
    } catch (error) {
        if (error.code !== "MODULE_NOT_FOUND") throw error;
        return null;
    }
}

module.exports = find();
