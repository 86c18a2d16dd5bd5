// The package in its process: how it is loaded, when the process ends, garbage.

"use strict";

const assert = require("node:assert/strict");
const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const { after, before, test } = require("node:test");

const rs = require("..");
const { Server, descriptors, folder, program, until } = require("./support");

const HERE = path.join(__dirname, "..");
const REQUIRE = `const rs = require(${JSON.stringify(HERE)}); const url = process.argv[1];`;

let server;
before(async () => {
    server = await Server.start();
});
after(() => server.stop());

const ends = (source, options) => server.ends(source, options);

test("import and require give the same", async () => {
    const imported = await import("rs_script");
    assert.equal(imported.connect, rs.connect);
    assert.equal(imported.default, rs);
    const names = Object.keys(imported).filter((name) => name !== "default" && name !== "module.exports");
    assert.deepEqual(names.sort(), Object.keys(rs).sort());
    const esm = `
        import { connect } from "rs_script";
        const client = await connect(process.argv[1]);
        console.log(await client.script("return ARGV[1]")([], ["hi"]));`;
    assert.equal(await ends(esm, { type: "module" }), "hi");
    const cjs = `
        require("rs_script").connect(process.argv[1])
            .then(async (client) => console.log(await client.command("PING")));`;
    assert.equal(await ends(cjs), "PONG");
});

test("an idle client does not keep the process alive, unless asked", async () => {
    assert.equal(await ends(`${REQUIRE} rs.connect(url).then(() => console.log("idle"));`), "idle");
    const asked = `${REQUIRE} rs.connect(url, { keepAlive: true }).then((client) => {
        setTimeout(() => client.unref(), 300).unref();
        console.log("kept");
        process.on("exit", () => console.log(process.uptime() > 0.3 ? "a while" : "not at all"));
    });`;
    assert.equal(await ends(asked), "kept\na while");
});

test("a call under way keeps the process alive; exit with work in flight is clean", async () => {
    const waits = `${REQUIRE} rs.connect(url)
        .then(async (client) => console.log(await client.command("BLPOP", "none", "0.2")));`;
    assert.equal(await ends(waits), "null");
    const exits = `${REQUIRE} rs.connect(url).then((client) => {
        const script = client.script("return 1");
        for (let i = 0; i < 10000; i++) script().catch(() => {});
        client.command("BLPOP", "none", 0);
        setImmediate(() => process.exit(7));
    });`;
    await ends(exits, { code: 7 });
    await server.allGone();
});

/** Ten thousand calls under way, and one that would wait for ever; then this happens. */
const inFlight = (end) => `${REQUIRE}
    rs.connect(url).then(async (client) => {
        const script = client.script("return 1");
        await script();
        const calls = Array.from({ length: 10000 }, () => script());
        const waits = client.command("BLPOP", "none", 0);
        await new Promise(setImmediate);
        ${end}
    });`;

test("an uncaught exception ends the process as it would without calls in flight", async () => {
    const thrown = await program(inFlight(`setImmediate(() => { throw new Error("mine"); });`), { args: [server.url] });
    assert.equal(thrown.code, 1);
    assert.match(thrown.stderr, /Error: mine/);
    const rejected = await program(inFlight(`client.command("NOSUCHCOMMAND");`), { args: [server.url] });
    assert.equal(rejected.code, 1);
    assert.match(rejected.stderr, /NOSUCHCOMMAND/);
    await server.allGone();
});

test("a signal ends the process, or closes the client where it is handled", async () => {
    for (const signal of ["SIGTERM", "SIGINT", "SIGKILL"]) {
        const { code } = await program(inFlight(`process.kill(process.pid, "${signal}");`), { args: [server.url] });
        assert.equal(code, signal);
    }
    const handles = inFlight(`
        process.once("SIGTERM", async () => {
            // Before any of them ends, which takes several turns.
            const [settled, waited] = [Promise.allSettled(calls), waits.catch((error) => error.code)];
            await client.close();
            console.log((await settled).length, await waited);
        });
        process.kill(process.pid, "SIGTERM");`);
    assert.match(await ends(handles), /^10000 RS_ERR_(INDETERMINATE|CLOSED)$/);
    await server.allGone();
});

test("exit while another thread copies a large reply is clean", async () => {
    const setting = await rs.connect(server.url);
    await setting.command("SET", "large", Buffer.alloc(20_000_000));
    await setting.close();
    for (const wait of ["", "for (const start = performance.now(); performance.now() < start + 3; );"]) {
        const exits = `${REQUIRE}
            const native = require(${JSON.stringify(path.join(HERE, "lib", "native"))});
            const { pollElsewhere } = native;
            native.pollElsewhere = (...args) => {
                pollElsewhere(...args);
                ${wait}
                process.exit(7);
            };
            rs.connect(url).then((client) => client.command(["GET", "large"], { buffers: true }));`;
        for (let i = 0; i < 3; i++) await ends(exits, { code: 7 });
    }
    await server.allGone();
});

test("child processes inherit nothing, and leave the parent's client alone", async () => {
    const inherits = `${REQUIRE}
        const { execFileSync, fork } = require("node:child_process");
        const inherited = () => execFileSync("ls", ["/dev/fd"], { encoding: "utf8" });
        const before = inherited();
        rs.connect(url).then(async (client) => {
            await client.command("SET", "n", 1);
            console.log(inherited() === before ? "none" : inherited());
            const calls = Array.from({ length: 1000 }, () => client.command("INCR", "n"));
            const child = fork("--eval", [${JSON.stringify(
                `const rs = require(${JSON.stringify(HERE)});
                 rs.connect(${"process.argv[1]"})
                     .then(async (client) => { await client.command("INCR", "n"); process.exit(5); });`,
            )}, url], { execArgv: [] });
            const code = await new Promise((resolve) => child.once("exit", resolve));
            await Promise.all(calls);
            console.log(code, await client.command("GET", "n"));
        });`;
    assert.equal(await ends(inherits), "none\n5 1002");
    await server.allGone();
});

test("a descriptor that somebody else closes is an error, not a hang", async () => {
    const closes = `${REQUIRE}
        const fs = require("node:fs");
        const isSocket = (fd) => { try { return fs.fstatSync(fd).isSocket(); } catch { return false; } };
        const sockets = () => fs.readdirSync("/dev/fd").map(Number).filter(isSocket);
        const before = new Set(sockets());
        rs.connect(url, { callTimeout: 3000, reconnectAttempts: 1 }).then(async (client) => {
            const mine = sockets().filter((fd) => !before.has(fd));
            const told = (promise) => promise.then(() => "OK", (error) => error.code);
            const under = told(client.command("BLPOP", "none", "0.2"));
            await new Promise(setImmediate);
            fs.closeSync(mine[Number(process.argv[2])]);
            const outcomes = [await under];
            for (let i = 0; i < 3; i++) outcomes.push(await told(client.command("PING")));
            await client.close();
            console.log(mine.length, outcomes.join());
        });`;
    let lost = 0;
    for (let which = 0, count = 1; which < count; which++) {
        const { code, stdout, stderr } = await program(closes, { args: [server.url, String(which)] });
        assert.equal(code, 0, stderr);
        const [found, outcomes] = stdout.trim().split(" ");
        count = Number(found);
        assert.match(outcomes, /^((OK|RS_ERR_INDETERMINATE|RS_ERR_CLOSED|RS_ERR_CONNECT),?){4}$/);
        if (outcomes.endsWith("RS_ERR_CLOSED")) lost += 1;
    }
    // Its own end of the pair, and the library's.
    assert.equal(lost, 2);
});

test("a client that nobody can reach any more is closed, and not before", async () => {
    const collect = `${REQUIRE}
        const turn = () => new Promise((resolve) => setTimeout(resolve, 10));
        (async () => {
            const { call, late } = await (async () => {
                const client = await rs.connect(url);
                const script = client.script("return ARGV[1]");
                return { call: script, late: client.command("BLPOP", "none", 0.3) };
            })();
            for (let i = 0; i < 10; i++) { global.gc(); await turn(); }
            console.log(await call([], ["reachable"]));
            console.log(await late);
        })().then(async () => {
            const watch = await rs.connect(url);
            const count = async () => (await watch.command("CLIENT", "LIST")).trim().split("\\n").length;
            while ((await count()) > 1) { global.gc(); await turn(); }
            console.log("closed");
            let scripts = Array.from({ length: 1000 }, (_, i) => watch.script("return " + i));
            const pending = scripts.map((script) => script());
            scripts = null;
            for (let i = 0; i < 10; i++) { global.gc(); await turn(); }
            console.log((await Promise.all(pending)).reduce((sum, n) => sum + n));
        });`;
    assert.equal(await ends(collect), "reachable\nnull\nclosed\n499500");
});

test("garbage collection during calls harms nothing", async () => {
    const client = await rs.connect(server.url);
    for (let round = 0; round < 30; round++) {
        const made = Array.from({ length: 200 }, (_, i) => client.script(`return ARGV[1] .. ${round}`)([], [i]));
        global.gc();
        const replies = await Promise.all(made);
        assert.deepEqual(replies, Array.from({ length: 200 }, (_, i) => `${i}${round}`));
    }
    await client.close();
});

test("many clients come and go", async () => {
    const before = descriptors();
    for (let i = 0; i < 100; i++) {
        const client = await rs.connect(server.url);
        await client.command("PING");
        await client.close();
    }
    await server.allGone();
    await until("their descriptors are closed", () => descriptors() <= before);
});

/** What loading the package says with this library. */
async function failure(library) {
    const env = { RS_SCRIPT_LIBRARY: library };
    const { code, stderr } = await program(`${REQUIRE} rs.connect("redis://h");`, { env });
    assert.notEqual(code, 0);
    return stderr;
}

/** A library with nothing but this. */
function stub(dir, source) {
    const library = path.join(dir, "librs_script.so");
    fs.writeFileSync(path.join(dir, "stub.c"), source);
    execFileSync("cc", ["-shared", "-fPIC", "-o", library, path.join(dir, "stub.c")]);
    return library;
}

test("a missing, older or strange library is an error that says so", async () => {
    const dir = folder();
    assert.match(
        await failure("/nonexistent/librs_script.so"),
        /was not found[^]*\/nonexistent\/librs_script.so \(RS_SCRIPT_LIBRARY\): no such file/,
    );
    fs.writeFileSync(path.join(dir, "text.so"), "text");
    assert.match(await failure(path.join(dir, "text.so")), /was not found[^]*text\.so \(RS_SCRIPT_LIBRARY\): /);
    const older = stub(dir, "unsigned rs_version_number(void) { return 99; }");
    assert.match(await failure(older), /is version 0\.0\.99 of the native library; this package is version 0\.1\.0/);
    const newer = (number) => stub(dir, `unsigned rs_version_number(void) { return ${number}; }`);
    assert.match(await failure(newer(2_000)), /is version 0\.2\.0 of the native library/);
    assert.match(await failure(newer(1_000_000)), /is version 1\.0\.0 of the native library/);
    const strange = stub(dir, "int nothing;");
    assert.match(await failure(strange), /is not the native library of rs_script/);
    fs.rmSync(dir, { recursive: true });
});

test("all places are named where none has the library", async () => {
    const dir = folder();
    const copy = path.join(dir, "rs_script");
    fs.mkdirSync(copy);
    for (const name of ["lib", "package.json"]) {
        fs.cpSync(path.join(HERE, name), path.join(copy, name), { recursive: true });
    }
    fs.symlinkSync(path.join(HERE, "node_modules"), path.join(copy, "node_modules"));
    const source = `require(${JSON.stringify(copy)}).connect("redis://h")`;
    const { stderr } = await program(source, { env: { RS_SCRIPT_LIBRARY: "" } });
    assert.match(stderr, /RS_SCRIPT_LIBRARY[^]*beside the package[^]*in the repository[^]*in the system/);
    fs.rmSync(dir, { recursive: true });
});

test("an FFI package that is not known is an error", async () => {
    const { stderr } = await program(`${REQUIRE} rs.nativeLibrary();`, { env: { RS_SCRIPT_FFI: "other" } });
    assert.match(stderr, /RS_SCRIPT_FFI is "other"; it can be ffi-napi or koffi/);
});
