// The stand-in for servers: what a user's tests can force, and that it needs neither a server nor the native library.

"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { test } = require("node:test");

const rs = require("..");
const {
    FakeServer,
    status,
    serverError,
    noScript,
    lostReply,
    deadline,
    noConnection,
    transactionAborted,
} = require("rs_script/testing");
const { Server, program } = require("./support");

const MULTIPLY = "return redis.call('GET', KEYS[1]) * ARGV[1]";

test("results, NOSCRIPT, a lost reply and a deadline in ten lines", async () => {
    const server = new FakeServer();
    const client = await server.connect();
    const multiply = client.script(MULTIPLY);
    server.reply(multiply, ({ args: [factor] }) => 2 * factor);
    server.replyOnce(multiply, lostReply(), deadline(), noScript());
    await assert.rejects(multiply(["foo"], [5]), { name: "IndeterminateError", code: "RS_ERR_INDETERMINATE" });
    await assert.rejects(multiply(["foo"], [5]), { name: "TimeoutError", indeterminate: true });
    assert.ok((await client.pipeline().script(multiply, ["foo"], [5]).exec())[0] instanceof rs.NoScriptError);
    assert.equal(await multiply(["foo"], [5]), 10);
    assert.deepEqual(server.calls[3].keys, ["foo"]);
});

test("it needs no native library, and neither has the package that is imported beside it", async () => {
    const source = `
        import { connect, TimeoutError } from "rs_script";
        import { FakeServer, deadline } from "rs_script/testing";
        const server = new FakeServer().reply("GET", deadline({ sent: false }));
        const client = await server.connect();
        const error = await client.command("GET", "x").catch((error) => error);
        const missing = await connect("redis://h").catch((error) => error.message.split(";")[0]);
        console.log(error instanceof TimeoutError, error.notExecuted, missing);`;
    const env = { RS_SCRIPT_LIBRARY: "/nonexistent" };
    const { code, stdout, stderr } = await program(source, { type: "module", env });
    assert.equal(code, 0, stderr);
    assert.equal(stdout.trim(), "true true the native library of rs_script was not found");
});

test("the README's lines do what they say", async () => {
    const readme = fs.readFileSync(path.join(__dirname, "..", "README.md"), "utf8");
    const [, lines] = /## Tests of your own[^]*?```js\n([^]*?)```/.exec(readme);
    const use = `
        const script = client.script(multiply);
        const ends = [];
        for (let i = 0; i < 4; i++) ends.push(await script(["foo"], [5]).catch(({ name }) => name));
        ends.push(await client.command("GET", "foo"));
        ends.push(await client.transaction().command("GET", "foo").exec().catch(({ name }) => name));
        console.log(ends.join());`;
    const { code, stdout, stderr } = await program(lines + use, { type: "module" });
    assert.equal(code, 0, stderr);
    assert.equal(stdout.trim(), "IndeterminateError,TimeoutError,NoScriptError,10,2,TransactionAbortedError");
    const [, traced] = /## Events, spans and logs[^]*?(import { tracingChannel }[^]*?)```/.exec(readme);
    const calls = `
        const spans = [];
        const tracer = {
            startSpan: (name, { attributes }) => ({
                recordException: ({ code }) => spans.push(code),
                end: () => spans.push(name, attributes),
            }),
        };
        const { FakeServer, lostReply } = await import("rs_script/testing");
        const client = await new FakeServer().reply("GET", lostReply()).connect();
        await client.command("GET", "x").catch(() => {});
        console.log(JSON.stringify(spans));`;
    const spans = await program(traced + calls, { type: "module" });
    assert.equal(spans.code, 0, spans.stderr);
    assert.equal(spans.stdout.trim(), '["RS_ERR_INDETERMINATE","GET",{}]');
});

test("a client of it is a client: its classes, views, options and checks", async () => {
    const server = new FakeServer();
    const client = await server.connect({ buffers: true });
    assert.ok(client instanceof rs.Client);
    server.reply("GET", "text").reply("SET", status("OK")).reply("HGETALL", new Map([["a", ["b", Buffer.from("c")]]]));
    assert.deepEqual(await client.command("get", "x"), Buffer.from("text"));
    assert.equal(await client.command("SET", "x", 1n), "OK");
    const strings = client.with({ buffers: false, timeout: 60_000, readFrom: "replica", route: { key: "x" } });
    assert.deepEqual(await strings.command("HGETALL", "x"), new Map([["a", ["b", "c"]]]));
    assert.deepEqual(
        server.calls.map(({ command, args }) => [command, args]),
        [["GET", ["x"]], ["SET", ["x", "1"]], ["HGETALL", ["x"]]],
    );
    for (const call of [
        client.command(),
        client.command("GET", true),
        client.command(["GET"], { timeOut: 1 }),
        client.script("return 1")("x"),
    ]) {
        await assert.rejects(call, rs.ArgumentError);
    }
    assert.throws(() => client.pipeline().command("GET", {}), rs.ArgumentError);
    await assert.rejects(server.connect({ buffers: 7 }), rs.ArgumentError);
    assert.throws(() => server.reply(7, 1), rs.ArgumentError);
    assert.equal(server.calls.length, 3);
    assert.equal(client.stats().calls, 3);
});

test("scripts by themselves, by SHA1 and by source, read-only and administered", async () => {
    const server = new FakeServer();
    const client = await server.connect();
    const [one, two, three] = ["return 1", "return 2", "return 3"].map((source) => client.script(source));
    assert.equal(one.sha, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    server.reply(one, 1).reply(two.sha, 2).reply("return 3", async ({ readOnly }) => (readOnly ? "read-only" : 3));
    assert.deepEqual(await Promise.all([one(), two(), three(), three.ro()]), [1, 2, 3, "read-only"]);
    assert.deepEqual(await client.scriptExists([one, "f".repeat(40)]), [true, false]);
    await client.scriptFlush();
    assert.deepEqual(await client.scriptExists([one]), [false]);
    assert.equal(await client.scriptLoad(one), one.sha);
    assert.equal(await client.scriptShow(one), "return 1");
    assert.equal(await client.scriptShow(two), null);
    await assert.rejects(client.scriptKill(), { serverCode: "NOTBUSY" });
    assert.equal(await client.command("PING"), "PONG");
    await assert.rejects(client.command("GET", "x"), /the test says nothing of GET: server\.reply\("GET"/);
});

test("pipelines and transactions break where they would", async () => {
    const server = new FakeServer();
    const client = await server.connect();
    server.reply("GET", ({ args: [key] }) => key).reply("INCR", serverError("WRONGTYPE Operation against a key"));
    const replies = await client.pipeline().command("GET", "a").command("INCR", "a").command("GET", "b").exec();
    assert.deepEqual([replies[0], replies[1].serverCode, replies[1].index, replies[2]], ["a", "WRONGTYPE", 1, "b"]);
    server.replyOnce("INCR", lostReply());
    const pipeline = client.pipeline().command("GET", "a").command("INCR", "a").command("GET", "b");
    const broken = await pipeline.exec().catch((error) => error);
    assert.ok(broken instanceof rs.IndeterminateError);
    assert.deepEqual([broken.index, broken.arrived], [1, ["a"]]);
    server.replyOnce("EXEC", transactionAborted(), noConnection());
    await assert.rejects(client.transaction().command("GET", "a").exec(), rs.TransactionAbortedError);
    await assert.rejects(client.transaction().command("GET", "a").exec(), rs.ConnectError);
    assert.deepEqual(await client.transaction().command("GET", "a").exec(), ["a"]);
    assert.deepEqual(await client.pipeline().exec(), []);
    assert.equal(server.calls.length, 6);
});

test("calls end by their signals, by close, and by the test's own clock", async (t) => {
    const server = new FakeServer();
    const client = await server.connect({ callTimeout: 1000 });
    const never = new Promise(() => {});
    server.reply("BLPOP", () => never);
    // Before it is sent, and afterwards.
    const controller = new AbortController();
    const reason = new Error("enough");
    const unsent = client.command(["BLPOP", "x"], { signal: controller.signal });
    controller.abort(reason);
    await assert.rejects(unsent, { name: "CancelledError", notExecuted: true, cause: reason });
    assert.equal(server.calls.length, 0);
    const late = new AbortController();
    const sent = client.command(["BLPOP", "x"], { signal: late.signal });
    await new Promise(setImmediate);
    late.abort();
    await assert.rejects(sent, { name: "IndeterminateError", reason: "RS_REASON_CANCELLED" });
    await assert.rejects(client.command(["BLPOP", "x"], { signal: late.signal }), rs.CancelledError);
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const slow = client.command("BLPOP", "x");
    const patient = client.command(["BLPOP", "x"], { timeout: 5000 });
    await new Promise(setImmediate);
    t.mock.timers.tick(1000);
    await assert.rejects(slow, { name: "TimeoutError", indeterminate: true });
    const closing = client.close();
    await assert.rejects(patient, { name: "IndeterminateError", reason: "RS_REASON_CLOSED" });
    await closing;
    await assert.rejects(client.command("PING"), rs.ClosedError);
    assert.throws(() => client.with({ route: "all" }), rs.ClosedError);
});

test("errors are each call's own, and have its caller's frames where that is asked for", async () => {
    const server = new FakeServer().reply("GET", serverError("ERR no"));
    const client = await server.connect({ callerStack: true });
    const settled = await Promise.allSettled([client.command("GET", "a"), client.command("GET", "b")]);
    const [first, second] = settled.map(({ reason }) => reason);
    assert.notEqual(first, second);
    assert.equal(first.message, second.message);
    assert.match(first.stack, /^ServerError: ERR no\n +at .*testing\.test\.js:/);
});

test("events of connections can be told", async () => {
    const server = new FakeServer();
    const client = await server.connect();
    const told = new Promise((resolve) => client.on("lost", resolve));
    server.emit("lost", { message: "it is gone" });
    assert.deepEqual(await told, { message: "it is gone" });
});

test("what a client answers by itself, it answers here too", async () => {
    const server = new FakeServer();
    const client = await server.connect({
        credentials: () => ({ password: "secret" }),
        scriptStats: 5,
        callCosts: true,
    });
    assert.equal(await client.reauthenticate(), undefined);
    assert.deepEqual(await client.scriptStats(), []);
    assert.deepEqual(server.calls, []);
    await client.close();
    await assert.rejects(client.reauthenticate(), rs.ClosedError);
    await assert.rejects(client.scriptStats(), rs.ClosedError);
    await assert.rejects(server.connect({ credentials: "secret" }), rs.ArgumentError);
});

test("functions are answered like scripts, tokens are told, and libraries as the test says", async () => {
    const server = new FakeServer();
    const client = await server.connect();
    const library = client.library("#!lua name=lib\n");
    assert.match(library.name, /^lib_[0-9a-f]{12}$/);
    assert.equal(client.library("#!lua name=lib\n", { named: true }).name, "lib");
    const exactly = client.library("#!lua name=lib\n", { once: true });
    assert.match(exactly.name, /^lib_[0-9a-f]{12}$/);
    assert.notEqual(exactly.name, library.name);
    assert.equal(exactly.name, client.library("#!lua name=lib\n", { once: {} }).name);
    assert.throws(() => client.library("#!lua name=lib\n", { once: true, named: true }), rs.ArgumentError);
    assert.throws(() => client.library("return 1"), rs.ArgumentError);
    const count = library.function("count");
    assert.match(count.functionName, /^count_[0-9a-f]{12}$/);
    assert.match(client.script("return 1", { asFunction: true }).functionName, /^rs_/);
    assert.notEqual(count.sha, library.function("get").sha);
    server.reply(count, 1);
    assert.equal(await count(["n"]), 1);
    const once = client.script(MULTIPLY, { once: true });
    server.reply(once, 2);
    await once(["n"], [1], { token: "own" });
    const pipeline = client.pipeline().script(once, ["n"], [1]).script(once, ["n"], [1], { token: Buffer.from("own") });
    assert.deepEqual(await pipeline.exec({ token: "all" }), [2, 2]);
    assert.deepEqual(server.calls.map(({ token }) => token && String(token)), [undefined, "own", "all", "own"]);
    server.reply("FUNCTION LOAD", ({ args }) => new Map([["fake", args[0] === "REPLACE" ? "same" : "loaded"]]));
    assert.deepEqual(await client.libraryLoad(library), new Map([["fake", "loaded"]]));
    assert.deepEqual(await client.libraryDeploy(library), new Map([["fake", "same"]]));
    const listed = [
        ["library_name", "lib", "engine", "LUA", "functions", [new Map([["name", "f"], ["flags", new Set()]])]],
    ];
    const refused = serverError("NOPERM no");
    server.replyOnce("FUNCTION LIST", new Map([["a", listed], ["b", refused]]), serverError("NOPERM no"));
    const told = await client.libraryList();
    assert.deepEqual(
        told.get("a"),
        [{ name: "lib", engine: "LUA", functions: [{ name: "f", description: null, flags: [] }] }],
    );
    assert.ok(told.get("b") instanceof rs.ServerError);
    await assert.rejects(client.libraryCheck(library), { serverCode: "NOPERM" });
    server.reply("FUNCTION DELETE", ({ args }) => new Map([["fake", args]]));
    assert.deepEqual(await client.libraryPrune([library]), new Map([["fake", [library.name]]]));
});

test("scripts and libraries of a server's clients are refused, and the other way round", async () => {
    const client = await rs.connect("unix:///nonexistent", { lazyConnect: true });
    const fake = await new FakeServer().connect();
    const source = "#!lua name=lib\n";
    const refused = { code: "RS_ERR_INVALID_ARGUMENT" };
    const script = client.script("return 1");
    await assert.rejects(script.on(fake)(), refused);
    await assert.rejects(fake.scriptLoad(script), refused);
    assert.throws(() => fake.pipeline().script(script), refused);
    assert.throws(() => client.library(source).on(fake).function("f"), refused);
    assert.throws(() => fake.library(source).on(client).function("f"), refused);
    await client.close();
});

test("what connect() and calls with tokens are given is checked as it is for a server", async () => {
    const server = new FakeServer();
    const refused = { code: "RS_ERR_INVALID_ARGUMENT" };
    for (const wrong of [{ callTimeuot: 1 }, { callTimeout: "1" }, { readFrom: "best" }, { mapAddress: { a: 1 } }]) {
        await assert.rejects(server.connect(wrong), refused);
    }
    const client = await server.connect({ callTimeout: 60_000, password: "secret", readFrom: "replica", keepalive: 5 });
    const plain = client.script("return 1");
    const once = client.script("return 2", { once: true });
    const again = client.script("return 3", { idempotent: true });
    const exactly = client.library("#!lua name=lib\n", { once: true }).function("f");
    for (const script of [plain, once, again, exactly]) server.reply(script, 1);
    for (const [script, token] of [[plain, "t"], [again, "t"], [once.ro, "t"], [once, ""], [once, "ü".repeat(129)]]) {
        await assert.rejects(script(["k"], [], { token }), refused);
        assert.throws(() => client.pipeline().script(script, ["k"], [], { token }), refused);
    }
    const token = "x".repeat(256);
    assert.equal(await exactly(["k"], [], { token }), 1);
    for (const pipeline of [
        client.pipeline().script(once).command("GET", "x"),
        client.pipeline().script(once).script(plain),
        client.pipeline().script(plain.ro),
    ]) {
        await assert.rejects(pipeline.exec({ token }), refused);
    }
    assert.equal(server.calls.length, 1);
    await client.pipeline().script(plain.ro).script(again).script(once).exec({ token });
    assert.deepEqual(server.calls.map((call) => call.token), [token, undefined, undefined, token]);
});

test("a pipeline of which something was executed does not end as not executed", async () => {
    const server = new FakeServer().reply("A", 1);
    const client = await server.connect();
    for (const error of [noConnection(), deadline({ sent: false })]) {
        server.replyOnce("B", error, error, error);
        const broken = await client.pipeline().command("A").command("B").exec().catch((error) => error);
        const { indeterminate, notExecuted, index, arrived } = broken;
        assert.ok(broken instanceof rs.IndeterminateError);
        assert.equal(broken instanceof rs.TimeoutError, error instanceof rs.TimeoutError);
        assert.deepEqual([indeterminate, notExecuted, index, arrived], [true, false, 1, [1]]);
        await assert.rejects(client.pipeline().command("B").command("A").exec(), { notExecuted: true, index: 0 });
        await assert.rejects(client.transaction().command("A").command("B").exec(), { notExecuted: true });
    }
    server.reply("C", () => {
        throw "the test's own";
    });
    for (const call of [client.command("C"), client.pipeline().command("A").command("C").exec()]) {
        await assert.rejects(call, (thrown) => thrown === "the test's own");
    }
    // What was executed of a transaction nobody knows.
    server.replyOnce("B", lostReply());
    const lost = await client.transaction().command("A").command("B").exec().catch((error) => error);
    assert.deepEqual([lost.indeterminate, lost.arrived], [true, undefined]);
});

test("a timeout that is longer than timers can be is waited for", async () => {
    const slow = () => new Promise((resolve) => setTimeout(resolve, 50, "late"));
    const server = new FakeServer().reply("GET", slow);
    const client = await server.connect({ callTimeout: 2 ** 31 });
    assert.equal(await client.command("GET", "x"), "late");
    assert.equal(await client.command(["GET", "x"], { timeout: 2 ** 32 - 1 }), "late");
});

test("a script of its clients is refused on a server, and the calls beside it have their replies", async () => {
    const server = await Server.start();
    const client = await rs.connect(server.url, { callTimeout: 120_000 });
    const script = (await new FakeServer().connect()).script("return 1").on(client);
    const calls = [client.command("PING"), script(), client.command("PING"), client.scriptLoad(script)];
    const ended = calls.map((call) => call.catch(({ code }) => code));
    const refused = "RS_ERR_INVALID_ARGUMENT";
    assert.deepEqual(await Promise.all(ended), ["PONG", refused, "PONG", refused]);
    assert.throws(() => client.pipeline().script(script), { code: refused });
    await client.close();
    await server.stop();
});
