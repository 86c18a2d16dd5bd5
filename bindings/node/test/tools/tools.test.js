// The package where it is not plain Node that runs it: in bundles, under fake timers, in Bun and Deno.

"use strict";

const assert = require("node:assert/strict");
const { execFile } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const { after, before, test } = require("node:test");
const { promisify } = require("node:util");

const esbuild = require("esbuild");

const { Server, folder } = require("../support");

const run = promisify(execFile);
const PACKAGE = path.join(__dirname, "..", "..");
const PROGRAMS = path.join(__dirname, "programs");
const TIMEOUT = 300_000;
const LIBRARY = process.env.RS_SCRIPT_LIBRARY ?? path.join(PACKAGE, "..", "..", "target", "release", "librs_script.so");

let server;
before(async () => {
    server = await Server.start();
});
after(() => server.stop());

const without = (...names) => Object.fromEntries(Object.entries(process.env).filter(([name]) => !names.includes(name)));

/** The last line that a program prints; it must end by itself. */
async function printed(command, args, options) {
    const { stdout } = await run(command, args, { timeout: TIMEOUT, ...options });
    return stdout.trim().split("\n").at(-1);
}

for (const [format, name] of [["esm", "bundle.mjs"], ["cjs", "bundle.cjs"]]) {
    for (const entry of ["import", "require"]) {
        const beside = "runs where the library and the addon are beside it";
        test(`a bundle in the form ${format}, of a program that uses ${entry}, ${beside}`, async () => {
            const dir = folder();
            const source = fs.readFileSync(path.join(PROGRAMS, "bundled.mjs"), "utf8");
            const required = source
                .replace(/^import (.*) from "rs_script";$/m, 'const $1 = require("rs_script");')
                .replace(/^const client/m, "(async () => {\n$&");
            const contents = entry === "import" && format === "esm" ? source
                : entry === "import" ? source.replace(/^const client/m, "(async () => {\n$&") + "})();"
                : `${required}})();`;
            const { warnings } = await esbuild.build({
                stdin: { contents, resolveDir: PACKAGE, loader: "js" },
                outfile: path.join(dir, name),
                bundle: true,
                minify: true,
                platform: "node",
                format,
                logLevel: "silent",
            });
            assert.deepEqual(warnings.filter(({ text }) => !/import\.meta/.test(text)), []);
            const bundle = fs.readFileSync(path.join(dir, name), "utf8");
            assert.doesNotMatch(bundle, /from"rs_script"|require\("rs_script"\)/);
            fs.symlinkSync(LIBRARY, path.join(dir, "librs_script.so"));
            fs.symlinkSync(path.join(PACKAGE, "node_modules"), path.join(dir, "node_modules"));
            // Not where the program stands: it finds what it needs by where it is.
            const env = without("RS_SCRIPT_LIBRARY");
            const line = await printed(process.execPath, [path.join(dir, name), server.url], { cwd: "/", env });
            const library = path.join(dir, "librs_script.so");
            assert.deepEqual(JSON.parse(line), [10, ["2", 14], "ArgumentError", "ServerError", false, library]);
            fs.rmSync(dir, { recursive: true });
        });
    }
}

const OUTCOMES = [
    10, true, ["2", 14], ["OK", 21], true, 5_000_000,
    "ServerError RS_ERR_SERVER", "IndeterminateError RS_ERR_INDETERMINATE",
    "TimeoutError", "CancelledError RS_ERR_CANCELLED", "ConnectError RS_ERR_CONNECT",
    true, "ClosedError RS_ERR_CLOSED",
];

const bin = (name) => path.join(__dirname, "node_modules", ".bin", name);
for (const [runtime, command] of [
    ["Node", [process.execPath]],
    ["Bun", [bin("bun")]],
    ["Deno", [bin("deno"), "run", "--allow-ffi", "--allow-read", "--allow-env"]],
]) {
    test(`${runtime} runs what there is`, async () => {
        // Only Node bears ffi-napi.
        const env = runtime === "Node" ? process.env : without("RS_SCRIPT_FFI");
        const [program, ...args] = command;
        const calls = [...args, path.join(PROGRAMS, "calls.cjs"), server.url];
        const line = await printed(program, calls, { env: { ...env, NO_COLOR: "1" } });
        assert.deepEqual(JSON.parse(line), OUTCOMES);
    });
}

for (const isFakeFromTheStart of [false, true]) {
    const since = isFakeFromTheStart ? "from before the package is loaded" : "from the first test on";
    test(`Jest's fake timers, ${since}, stop no call`, async () => {
        const dir = folder();
        fs.copyFileSync(path.join(PROGRAMS, "timers.test.js"), path.join(dir, "timers.test.js"));
        const config = {
            rootDir: dir,
            testEnvironment: "node",
            transform: {},
            fakeTimers: { enableGlobally: isFakeFromTheStart },
        };
        const jest = fs.realpathSync(bin("jest"));
        const env = { ...process.env, RS_SCRIPT_PACKAGE: PACKAGE, RS_SCRIPT_URL: server.url };
        const args = [jest, "--config", JSON.stringify(config), "--runInBand", "--ci", "--coverage=false"];
        const { stderr } = await run(process.execPath, args, { timeout: TIMEOUT, env, cwd: dir });
        assert.match(stderr, /Tests: +3 passed, 3 total/);
        fs.rmSync(dir, { recursive: true });
    });
}

for (const when of ["before", "after"]) {
    test(`sinon's fake timers, installed ${when} the package is loaded, stop no call`, async () => {
        assert.equal(await printed(process.execPath, [path.join(PROGRAMS, "sinon.cjs"), server.url, when]), "true 100");
    });
}
