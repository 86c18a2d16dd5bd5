// Calls, pipelines and transactions on one server: every method and every type of reply.

"use strict";

const assert = require("node:assert/strict");
const { getEventListeners } = require("node:events");
const { after, before, beforeEach, test } = require("node:test");

const rs = require("..");
const { Server } = require("./support");

const MULTIPLY = "return redis.call('GET', KEYS[1]) * ARGV[1]";
const ECHO = "return ARGV";

let server, client;
before(async () => {
    server = await Server.start();
    client = await rs.connect(server.url);
});
beforeEach(() => client.command("FLUSHALL"));
after(async () => {
    await client.close();
    await server.stop();
});

test("it goes through the package that was asked for", () => {
    const { ffi, path, version } = rs.nativeLibrary();
    assert.equal(ffi, process.env.RS_SCRIPT_FFI ?? "ffi-napi");
    assert.match(path, /librs_script\./);
    assert.match(version, /^\d+\.\d+\.\d+$/);
});

test("a script is called, on other clients too, and read-only", async () => {
    const multiply = client.script(MULTIPLY);
    assert.equal(multiply.sha, "62d38ddab5d72bf83d91cbab398b8bf73b2a1d16");
    await client.command("SET", "foo", 2);
    assert.equal(await multiply(["foo"], [5]), 10);
    assert.equal(await multiply(["foo"], ["5"]), 10);
    assert.equal(await multiply.ro(["foo"], ["7"]), 14);
    assert.equal(multiply.ro.sha, multiply.sha);
    assert.equal(multiply.ro.ro, multiply.ro);
    const other = await Server.start();
    const elsewhere = await rs.connect(other.url);
    await elsewhere.command("SET", "foo", 3);
    assert.equal(await multiply.on(elsewhere)(["foo"], [5]), 15);
    assert.equal(await multiply.ro.on(elsewhere)(["foo"], [5]), 15);
    await elsewhere.close();
    await other.stop();
});

test("a read-only call that writes is refused by the server", async () => {
    const write = client.script("return redis.call('SET', KEYS[1], 'x')");
    await assert.rejects(write.ro(["foo"]), rs.ServerError);
    const shebang = client.script("#!lua\nreturn redis.call('GET', KEYS[1])");
    await assert.rejects(shebang.ro(["foo"]), { code: "RS_ERR_NOT_READ_ONLY", notExecuted: true });
});

test("keys and arguments are strings, Buffers, numbers and BigInts", async () => {
    const echo = client.script(ECHO);
    const long = "long ".repeat(50);
    const args = [
        "text", "", "a\0b", "ü€😀", long, "ü" + long, Buffer.from("bytes"), new Uint8Array([65]), 1.5, -0, 12n,
    ];
    assert.deepEqual(await echo([], args), [
        "text", "", "a\0b", "ü€😀", long, "ü" + long, "bytes", "A", "1.5", "0", "12",
    ]);
    assert.deepEqual(await echo(), []);
});

test("binary data comes back as it was", async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    await client.command("SET", bytes, bytes);
    const get = client.script("return redis.call('GET', KEYS[1])");
    const buffers = client.with({ buffers: true });
    assert.deepEqual(await get.on(buffers)([bytes]), bytes);
    assert.deepEqual(await get([bytes], [], { buffers: true }), bytes);
    assert.deepEqual(await buffers.command("GET", bytes), bytes);
    assert.equal(await buffers.command(["PING"], { buffers: false }), "PONG");
    const large = Buffer.alloc(3_000_000, bytes);
    await client.command("SET", "large", large);
    assert.deepEqual(await buffers.command("GET", "large"), large);
    assert.deepEqual(await get(["large"], [], { buffers: true }), large);
    assert.equal(await client.command("STRLEN", "large"), 3_000_000);
});

test("every type of reply", async () => {
    const run = (lua, options) => client.script(lua)([], [], options);
    assert.equal(await run("return 'text'"), "text");
    assert.equal(await run("return ''"), "");
    assert.equal(await run("return redis.status_reply('FINE')"), "FINE");
    assert.equal(await run("return 42"), 42);
    assert.equal(await run("return -42"), -42);
    assert.equal(await run("return nil"), null);
    assert.equal(await run("return false"), null);
    assert.deepEqual(await run("return {}"), []);
    assert.deepEqual(
        await run("return {1, 'two', {3, {redis.error_reply('ERR four')}}}")
            .then(([a, b, [c, [d]]]) => [a, b, c, d.message]),
        [1, "two", 3, "ERR four"],
    );
    const resp3 = (lua, options) => run(`redis.setresp(3); ${lua}`, options);
    assert.equal(await resp3("return {double = 1.5}"), 1.5);
    assert.equal(await resp3("return {double = math.huge}"), Infinity);
    assert.equal(await resp3("return {double = -math.huge}"), -Infinity);
    assert.equal(await resp3("return true"), true);
    assert.equal(await resp3("return false"), false);
    assert.equal(
        await resp3("return {big_number = '123456789012345678901234567890'}"),
        123456789012345678901234567890n,
    );
    assert.equal(await resp3("return {verbatim_string = {format = 'txt', string = 'words'}}"), "words");
    assert.deepEqual(await resp3("return {map = {a = {map = {b = 1}}}}"), new Map([["a", new Map([["b", 1]])]]));
    assert.deepEqual(await resp3("return {set = {x = true}}"), new Set(["x"]));
    assert.deepEqual(await run("return {'a', 'b'}", { buffers: true }), [Buffer.from("a"), Buffer.from("b")]);
    await client.command("HSET", "hash", "field", "value");
    assert.deepEqual(await client.command("HGETALL", "hash"), new Map([["field", "value"]]));
});

test("integers that a number cannot hold are BigInts", async () => {
    const set = client.script("redis.call('SET', KEYS[1], ARGV[1]) return redis.call('INCRBY', KEYS[1], 0)");
    const cases = [
        ["9007199254740991", 9007199254740991],
        ["9007199254740992", 9007199254740992n],
        ["9007199254740993", 9007199254740993n],
        ["-9007199254740991", -9007199254740991],
        ["-9007199254740993", -9007199254740993n],
        ["9223372036854775807", 9223372036854775807n],
        ["-9223372036854775808", -9223372036854775808n],
        ["4294967296", 4294967296],
        ["-1", -1],
    ];
    for (const [given, expected] of cases) {
        // Lua would round it: the command answers itself.
        await client.command("SET", "n", given);
        assert.equal(await client.command("INCRBY", "n", 0), expected);
    }
    assert.equal(await set(["n"], [7]), 7);
});

test("errors of scripts and of the server", async () => {
    await assert.rejects(client.script("return redis.error_reply('MINE did it')")(), (error) => {
        assert.ok(error instanceof rs.ServerError && error instanceof rs.ScriptError && error instanceof Error);
        assert.deepEqual(
            [error.status, error.code, error.serverCode, error.indeterminate, error.notExecuted, error.name],
            [400, "RS_ERR_SERVER", "MINE", false, false, "ServerError"],
        );
        assert.match(error.message, /MINE did it/);
        return true;
    });
    await assert.rejects(client.script("this is no Lua")(), rs.CompileError);
    await client.command("LPUSH", "list", 1);
    await assert.rejects(client.command("GET", "list"), { serverCode: "WRONGTYPE" });
    await assert.rejects(client.command("SUBSCRIBE", "x"), { code: "RS_ERR_COMMAND_REFUSED", notExecuted: true });
});

test("a lost script is loaded again", async () => {
    const multiply = client.script(MULTIPLY);
    await client.command("SET", "foo", 2);
    assert.equal(await multiply(["foo"], [5]), 10);
    await server.cli("script", "flush");
    const { noscriptRepairs } = client.stats();
    assert.deepEqual(await Promise.all([multiply(["foo"], [5]), multiply(["foo"], [6])]), [10, 12]);
    assert.ok(client.stats().noscriptRepairs > noscriptRepairs);
});

test("pipelines", async () => {
    const multiply = client.script(MULTIPLY + " -- in a pipeline");
    const echo = client.script(ECHO + " -- in a pipeline");
    const pipeline = client.pipeline();
    pipeline.command("SET", "foo", 5).script(multiply, ["foo"], [5]).command(["INCR", "foo", "what"]);
    pipeline.script(echo.ro, [], ["a", Buffer.from([0])]);
    pipeline.script(multiply, ["nokey"], [1]).script(multiply, ["foo"], [6]);
    assert.equal(pipeline.length, 6);
    const { roundTrips } = client.stats();
    const [set, first, wrong, texts, failed, second] = await pipeline.exec();
    assert.equal(client.stats().roundTrips - roundTrips, 1);
    assert.deepEqual([set, first, texts, second], ["OK", 25, ["a", "\0"], 30]);
    assert.ok(wrong instanceof rs.ServerError && failed instanceof rs.ServerError);
    assert.match(wrong.message, /item 2 \(INCR\)/);
    assert.equal(pipeline.length, 0);
    assert.deepEqual(await pipeline.exec(), []);
    assert.deepEqual(await pipeline.command("GET", "foo").exec({ buffers: true }), [Buffer.from("5")]);
    assert.equal(pipeline.command("GET", "foo").clear().length, 0);
    await assert.rejects(pipeline.command("PING").command("SUBSCRIBE", "x").exec(), { code: "RS_ERR_COMMAND_REFUSED" });
});

test("NOSCRIPT in a pipeline is repaired where no order is lost, and elsewhere on request", async () => {
    const multiply = client.script(MULTIPLY);
    await client.command("SET", "foo", 2);
    await multiply(["foo"], [1]);
    const items = (pipeline, key) => pipeline.script(multiply, ["foo"], [2]).command("STRLEN", key).exec();
    await server.cli("script", "flush");
    assert.deepEqual(await items(client.pipeline(), "another"), [4, 0]);
    await server.cli("script", "flush");
    const [lost, length] = await items(client.pipeline(), "foo");
    assert.ok(lost instanceof rs.NoScriptError && lost.notExecuted);
    assert.equal(length, 1);
    await multiply(["foo"], [1]);
    await server.cli("script", "flush");
    assert.deepEqual(await items(client.pipeline({ repairUnordered: true }), "foo"), [4, 1]);
    await server.cli("script", "flush");
    assert.deepEqual(await items(client.transaction(), "foo"), [4, 1]);
});

test("transactions", async () => {
    const multiply = client.script(MULTIPLY + " -- in a transaction");
    const items = () => client.transaction().command("SET", "foo", 5).script(multiply, ["foo"], [5]);
    assert.deepEqual(await items().exec(), ["OK", 25]);
    const [set, , nested] = await items().script(multiply, ["nokey"], [1]).exec();
    assert.equal(set, "OK");
    assert.ok(nested instanceof rs.ServerError);
    await assert.rejects(items().command("NOSUCHCOMMAND").exec(), rs.TransactionAbortedError);
    await assert.rejects(items().script(client.script("no Lua"), [], []).exec(), rs.CompileError);
    assert.deepEqual(await client.transaction({ trustCache: true }).script(multiply, ["foo"], [2]).exec(), [10]);
});

test("several pipelines and calls of one turn share scripts and go in one write", async () => {
    const multiply = client.script(MULTIPLY);
    const echo = client.script(ECHO);
    await client.command("SET", "foo", 2);
    await Promise.all([echo(), multiply(["foo"], [1])]);
    const before = client.stats();
    const made = [
        echo([], [1]),
        client.pipeline().script(multiply, ["foo"], [3]).script(echo, [], [2]).exec(),
        multiply(["foo"], [4]),
        client.pipeline().script(echo, [], [5]).script(multiply, ["foo"], [6]).exec(),
    ];
    assert.deepEqual(await Promise.all(made), [["1"], [6, ["2"]], 8, [["5"], 12]]);
    assert.equal(client.stats().roundTrips - before.roundTrips, 1);
});

test("calls run in the order in which they were made, through views too", async () => {
    const view = client.with({ readFrom: "primary" });
    const made = [];
    for (let i = 1; i <= 20; i++) made.push((i % 3 === 0 ? view : client).command("INCR", "n"));
    assert.deepEqual(await Promise.all(made), Array.from({ length: 20 }, (_, i) => i + 1));
});

test("script administration", async () => {
    const script = client.script("return 'administered'");
    const absent = "f".repeat(40);
    assert.deepEqual(await client.scriptExists([script, absent]), [false, false]);
    assert.equal(await client.scriptLoad(script), script.sha);
    assert.deepEqual(await client.scriptExists([script, absent, script.sha]), [true, false, true]);
    for (const mode of [undefined, "sync", "async"]) {
        await client.scriptLoad(script);
        assert.equal(await client.scriptFlush(mode), undefined);
        assert.deepEqual(await client.scriptExists([script]), [false]);
    }
    assert.deepEqual(await client.scriptExists([]), []);
    await assert.rejects(client.scriptLoad(client.script("no Lua")), rs.CompileError);
    await assert.rejects(client.scriptKill(), { serverCode: "NOTBUSY" });
    await assert.rejects(client.kill(), { serverCode: "NOTBUSY" });
    await assert.rejects(client.scriptFlush("often"), rs.ArgumentError);
});

test("a script's source is shown by Valkey 8 and newer", async (t) => {
    const shown = client.script("return 'shown'");
    await client.scriptLoad(shown);
    await assert.rejects(client.scriptShow(shown), { code: "RS_ERR_NOT_SUPPORTED", name: "ServerError" });
    const valkey = await Server.start({ version: "valkey-8.1" });
    t.after(() => valkey.stop());
    const other = await rs.connect(valkey.url);
    t.after(() => other.close());
    assert.equal(await other.scriptShow(shown.sha), null);
    await other.scriptLoad(shown);
    assert.equal(await other.scriptShow(shown), "return 'shown'");
    assert.equal(await other.scriptShow(shown.sha), "return 'shown'");
    const binary = client.script(Buffer.from("return '\xff'", "latin1"));
    await other.scriptLoad(binary);
    assert.deepEqual(await other.scriptShow(binary, { buffers: true }), Buffer.from("return '\xff'", "latin1"));
    assert.deepEqual(await other.with({ buffers: true }).scriptShow(shown.sha), Buffer.from("return 'shown'"));
    await assert.rejects(other.scriptShow(7, { signal: AbortSignal.abort() }), rs.CancelledError);
    await other.close();
    await assert.rejects(other.scriptShow(shown), rs.ClosedError);
});

test("a script that runs is killed", async () => {
    // From then on a server that runs a script answers others, so that it can be killed.
    await server.cli("config", "set", "lua-time-limit", "50");
    const killed = assert.rejects(client.script("while true do end")(), /killed/i);
    const other = await rs.connect(server.url, { lazyConnect: true });
    for (;;) {
        // Until it runs there is nothing to be killed.
        const error = await other.scriptKill().then(() => null, (error) => error);
        if (error === null) break;
        assert.equal(error.serverCode, "NOTBUSY");
    }
    await killed;
    await other.close();
});

test("views share the connection and have options of their own", async () => {
    const hasty = client.with({ timeout: 5000, buffers: true });
    assert.deepEqual(await hasty.command("ECHO", "x"), Buffer.from("x"));
    for (const route of [{ key: "foo" }, { slot: 7 }]) {
        assert.equal(await client.with({ route }).command("PING"), "PONG");
    }
    assert.throws(() => client.with({ route: "nowhere" }), rs.ArgumentError);
    assert.throws(() => client.with({ route: { slot: 70000 } }), rs.ArgumentError);
    assert.throws(() => client.with({ readFrom: "best" }), rs.ArgumentError);
    assert.throws(() => client.with({ timeout: 0 }), rs.ArgumentError);
});

test("many large replies at once, with small ones among them, and a loop that goes on", async () => {
    const value = Buffer.alloc(3_000_000, "large");
    await client.command("SET", "large", value);
    let turns = 0;
    const turn = () => {
        turns += 1;
        // What the other thread writes to is still needed.
        if (turns % 10 === 0) global.gc();
        if (turns > 0) setImmediate(turn);
    };
    turn();
    const replies = await Promise.all(
        Array.from({ length: 20 }, (_, i) =>
            i % 2 ? client.command("ECHO", i) : client.command(["GET", "large"], { buffers: true }),
        ),
    );
    assert.ok(replies.every((reply, i) => (i % 2 ? reply === String(i) : value.equals(reply))));
    assert.ok(turns > 10);
    turns = -Infinity;
    // Under way when it closes.
    const other = await rs.connect(server.url);
    const under = Array.from({ length: 10 }, () =>
        other.command(["GET", "large"], { buffers: true }).then((reply) => reply.length, (error) => error.code),
    );
    await new Promise(setImmediate);
    await other.close();
    for (const outcome of await Promise.all(under)) {
        assert.ok([3_000_000, "RS_ERR_INDETERMINATE", "RS_ERR_CLOSED"].includes(outcome), outcome);
    }
});

test("what `await using` calls closes the client, once for all views", async () => {
    const own = await rs.connect(server.url);
    const view = own.with({ timeout: 60_000 });
    // The syntax is newer than the oldest Node: this is what it stands for.
    await view[Symbol.asyncDispose]();
    for (const closed of [own, view]) await assert.rejects(closed.command("PING"), rs.ClosedError);
    await own[Symbol.asyncDispose]();
});

test("a signal that outlives its calls is left alone", async () => {
    const lasting = new AbortController();
    const listeners = () => getEventListeners(lasting.signal, "abort").length;
    for (let i = 0; i < 3; i++) {
        const client = await rs.connect(server.url);
        const calls = [1, 2].map(() => client.command(["PING"], { signal: lasting.signal }));
        assert.equal(listeners(), 1);
        await Promise.all(calls);
        assert.equal(listeners(), 0);
        const off = client.command(["BLPOP", "none", 0], { signal: lasting.signal, timeout: 1 });
        await assert.rejects(off, rs.TimeoutError);
        await client.close();
        assert.equal(listeners(), 0);
    }
});
