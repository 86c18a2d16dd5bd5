// Bad days: deadlines, AbortSignals, close, servers that die, more calls than there may be.

"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");

const rs = require("..");
const { errorOf } = require("../lib/errors");
const native = require("../lib/native");
const { Server, until } = require("./support");

/** A server and a client for one test. */
async function withClient(t, options) {
    const server = await Server.start();
    t.after(() => server.stop());
    // None of these is about silence, and a new connection would be made in the middle of many on a busy machine.
    const client = await rs.connect(server.url, { silenceTimeout: 60_000, ...options });
    t.after(() => client.close());
    return { server, client };
}

const codeOf = (promise) => promise.then(() => "OK", (error) => error.code);

test("connecting to nobody fails and leaves nothing open", async () => {
    await assert.rejects(rs.connect("unix:///nonexistent/socket", { reconnectAttempts: 1 }), rs.ConnectError);
    const controller = new AbortController();
    const connecting = rs.connect("unix:///nonexistent/socket", { reconnectAttempts: 0, signal: controller.signal });
    controller.abort();
    await assert.rejects(connecting, rs.CancelledError);
    const lazy = await rs.connect("unix:///nonexistent/socket", { lazyConnect: true, reconnectAttempts: 1 });
    await assert.rejects(lazy.command("PING"), { code: "RS_ERR_CONNECT", notExecuted: true });
    await lazy.close();
});

test("a deadline ends a call, and its late reply is nobody else's", async (t) => {
    const { server, client } = await withClient(t);
    server.pause();
    const start = performance.now();
    await assert.rejects(
        client.command(["ECHO", "late"], { timeout: 100 }),
        { code: "RS_ERR_INDETERMINATE", indeterminate: true },
    );
    await assert.rejects(client.with({ timeout: 100 }).command("ECHO", "late"), rs.IndeterminateError);
    assert.ok(performance.now() - start >= 195);
    server.resume();
    assert.equal(await client.command("ECHO", "mine"), "mine");
});

test("a missed deadline is told from a lost connection", async (t) => {
    const { server, client } = await withClient(t);
    server.pause();
    const check = (isTimeout, reason) => (error) => {
        assert.ok(error instanceof rs.IndeterminateError && error.indeterminate, String(error));
        assert.equal(error instanceof rs.TimeoutError, isTimeout, String(error));
        assert.equal(error.reason, reason);
        assert.equal(typeof error.node, "string");
        return true;
    };
    await assert.rejects(client.command(["INCR", "n"], { timeout: 100 }), check(true, "RS_REASON_DEADLINE"));
    const pipeline = client.pipeline().command("INCR", "n").exec({ timeout: 100 });
    await assert.rejects(pipeline, (error) => check(true, "RS_REASON_DEADLINE")(error) && error.index === 0);
    const lost = client.command("INCR", "n");
    await new Promise(setImmediate);
    server.kill();
    await assert.rejects(lost, check(false, "RS_REASON_CONNECTION_LOST"));
    await assert.rejects(client.command(["INCR", "n"]), (error) =>
        !(error instanceof rs.TimeoutError) && error.index === undefined);
});

test("an AbortSignal at every stage", async (t) => {
    const { server, client } = await withClient(t);
    const reason = new Error("enough");
    // Before the call.
    await assert.rejects(client.command(["INCR", "n"], { signal: AbortSignal.abort(reason) }), (error) => {
        assert.ok(error instanceof rs.CancelledError && error.notExecuted);
        assert.equal(error.cause, reason);
        return true;
    });
    // In the same turn, before anything is submitted: those around it are not harmed.
    const controller = new AbortController();
    const first = client.command("INCR", "n");
    const off = client.command(["INCR", "n"], { signal: controller.signal });
    const last = client.command("INCR", "n");
    const offToo = client.script("return redis.call('INCR', 'n')")([], [], { signal: controller.signal });
    controller.abort(reason);
    await assert.rejects(off, { code: "RS_ERR_CANCELLED", notExecuted: true, cause: reason });
    await assert.rejects(offToo, rs.CancelledError);
    assert.deepEqual(await Promise.all([first, last]), [1, 2]);
    // Under way.
    server.pause();
    const sent = new AbortController();
    const under = client.command(["INCR", "n"], { signal: sent.signal });
    const pipeline = client.pipeline().command("INCR", "n").exec({ signal: sent.signal });
    const stays = client.command("INCR", "n");
    await new Promise(setImmediate);
    sent.abort(reason);
    await assert.rejects(under, { code: "RS_ERR_INDETERMINATE", indeterminate: true, cause: reason });
    await assert.rejects(pipeline, rs.IndeterminateError);
    server.resume();
    await stays;
    // Afterwards.
    const late = new AbortController();
    assert.equal(await client.command(["ECHO", "x"], { signal: late.signal }), "x");
    late.abort();
    assert.equal(await client.command("ECHO", "y"), "y");
    // By the clock.
    server.pause();
    await assert.rejects(client.command(["PING"], { signal: AbortSignal.timeout(50) }), rs.IndeterminateError);
    server.resume();
    // The first of many have been sent when the last are made.
    for (const [count, aborted] of [
        [30, ["RS_ERR_CANCELLED"]],
        [1000, ["RS_ERR_CANCELLED", "RS_ERR_INDETERMINATE", "OK"]],
    ]) {
        const many = new AbortController();
        const made = Array.from({ length: count }, (_, i) =>
            client.command(["ECHO", i], { signal: i % 2 ? many.signal : undefined }),
        );
        many.abort();
        const codes = await Promise.all(made.map(codeOf));
        assert.ok(codes.every((code, i) => (i % 2 ? aborted.includes(code) : code === "OK")));
        assert.equal(codes[count - 1], "RS_ERR_CANCELLED");
    }
});

test("one signal of very many calls ends them all, a thousand in one turn of the event loop", async (t) => {
    // More than a function can be given arguments.
    const count = 130_000;
    const { server, client } = await withClient(t, {
        callTimeout: 600_000,
        silenceTimeout: 600_000,
        maxInFlight: count,
    });
    server.pause();
    const controller = new AbortController();
    let [thisTurn, most, isOver] = [0, 0, false];
    const made = Array.from({ length: count }, () =>
        client.command(["PING"], { signal: controller.signal })
            .then(assert.fail, () => (most = Math.max(most, (thisTurn += 1)))),
    );
    await new Promise(setImmediate);
    const turn = () => {
        thisTurn = 0;
        if (!isOver) setImmediate(turn);
    };
    turn();
    controller.abort();
    await Promise.all(made);
    isOver = true;
    assert.ok(most <= 1000, `${most} in one turn`);
    server.resume();
    assert.equal(await client.command("PING"), "PONG");
});

test("close tells all calls under way", async (t) => {
    const { server, client } = await withClient(t, { callTimeout: 300_000 });
    const script = client.script("return 1");
    await script();
    server.pause();
    const sent = Array.from({ length: 1000 }, () => codeOf(script()));
    await new Promise(setImmediate);
    const unsent = Array.from({ length: 30 }, () => codeOf(script()));
    const start = performance.now();
    const closing = client.close();
    assert.equal(client.close(), closing);
    await closing;
    assert.ok(performance.now() - start < 60_000);
    assert.deepEqual(new Set(await Promise.all(sent)), new Set(["RS_ERR_INDETERMINATE"]));
    assert.deepEqual(new Set(await Promise.all(unsent)), new Set(["RS_ERR_CLOSED"]));
    await assert.rejects(script(), { code: "RS_ERR_CLOSED", notExecuted: true });
    await assert.rejects(client.command("PING"), rs.ClosedError);
    await assert.rejects(client.pipeline().command("PING").exec(), rs.ClosedError);
    await assert.rejects(client.scriptLoad(script), rs.ClosedError);
    assert.throws(() => client.with({ route: "all" }), rs.ClosedError);
    assert.equal(client.stats().calls, 0);
    server.resume();
});

test("a server that dies under ten thousand calls ends them all", async (t) => {
    const { server, client } = await withClient(t, { reconnectAttempts: 1, callTimeout: 4000 });
    const count = client.script("return redis.call('INCR', KEYS[1])");
    await count(["n"]);
    server.pause();
    const made = Array.from({ length: 10_000 }, () => count(["n"]).then(() => null, (error) => error));
    await new Promise(setImmediate);
    await server.kill();
    for (const error of await Promise.all(made)) {
        assert.ok(error instanceof rs.ScriptError && error.notExecuted !== error.indeterminate, String(error));
    }
    await server.run(server.args);
    assert.equal(await count(["n"]), 1);
});

test("more calls than there may be are refused, one by one", async (t) => {
    const { server, client } = await withClient(t, { maxInFlight: 10 });
    server.pause();
    const codes = Array.from({ length: 15 }, () => codeOf(client.command("PING")));
    server.resume();
    const [good, bad] = [(await Promise.all(codes)).slice(0, 10), (await Promise.all(codes)).slice(10)];
    assert.deepEqual(new Set(good), new Set(["OK"]));
    assert.deepEqual(new Set(bad), new Set(["RS_ERR_QUEUE_FULL"]));
    assert.equal(await client.command("PING"), "PONG");
});

test("replies that wait while the thread is busy are all there afterwards", async (t) => {
    const { client } = await withClient(t);
    const made = Array.from({ length: 20_000 }, (_, i) => client.command("ECHO", i));
    await new Promise(setImmediate);
    const end = performance.now() + 500;
    while (performance.now() < end);
    assert.deepEqual(await Promise.all(made), Array.from({ length: 20_000 }, (_, i) => String(i)));
});

test("replies larger than the room for them", async (t) => {
    const { client } = await withClient(t);
    await client.command("SET", "large", "x".repeat(1_000_000));
    const made = Array.from({ length: 20 }, (_, i) => client.command(i % 2 ? ["ECHO", "small"] : ["GET", "large"]));
    const lengths = (await Promise.all(made)).map(({ length }) => length);
    assert.deepEqual(lengths, Array.from({ length: 20 }, (_, i) => (i % 2 ? 5 : 1_000_000)));
});

test("a reply that no Buffer can hold is an error of its call, and those behind it have theirs", async (t) => {
    const { client } = await withClient(t);
    const { allocUnsafeSlow } = Buffer;
    const large = 1_000_000;
    await client.command("SET", "large", "x".repeat(large));
    const cause = new RangeError("Array buffer allocation failed");
    // As where the process has no memory for it, or Node no Buffers of that size.
    t.mock.method(Buffer, "allocUnsafeSlow", (size) => {
        if (size > large) throw cause;
        return allocUnsafeSlow.call(Buffer, size);
    });
    for (const length of [1, 3]) {
        const larger = client.pipeline();
        for (let i = 0; i < length; i++) larger.command("GET", "large");
        const [before, failed, after] = await Promise.allSettled([
            client.command("ECHO", "before"),
            length === 1 ? client.command("GET", "large") : larger.exec(),
            client.command("ECHO", "after"),
        ]);
        assert.deepEqual([before.value, after.value], ["before", "after"]);
        assert.ok(failed.reason instanceof rs.IndeterminateError, String(failed.reason));
        assert.equal(failed.reason.code, "RS_ERR_REPLY_LIMIT");
        assert.equal(failed.reason.cause, cause);
    }
    // An error stays what it is, without the replies that did arrive.
    await client.command("CONFIG", "SET", "lua-time-limit", 50);
    const forEver = client.script("while true do end");
    const broken = client.pipeline().command("GET", "large").command("ECHO", "x".repeat(300_000)).script(forEver);
    const error = await broken.exec({ timeout: 1000 }).catch((error) => error);
    const { code, reason, arrived } = error;
    assert.deepEqual([code, reason, arrived], ["RS_ERR_INDETERMINATE", "RS_REASON_DEADLINE", undefined]);
    await client.scriptKill({ timeout: 30_000 });
    assert.equal(await client.command(["ECHO", "after all"], { timeout: 30_000 }), "after all");
});

test("calls that are refused together have an error each", async (t) => {
    const { client } = await withClient(t);
    const traced = client.with({ callerStack: true });
    const refused = errorOf(501, { message: "there is no memory for the calls", notExecuted: true, reason: 11 });
    t.mock.method(native, "submit", () => {
        throw refused;
    }, { times: 1 });
    const here = () => traced.command("ECHO", "here");
    const there = () => traced.command("ECHO", "there");
    const [one, other] = (await Promise.allSettled([here(), there()])).map(({ reason }) => reason);
    assert.notEqual(one, other);
    for (const [error, name] of [[one, "here"], [other, "there"]]) {
        assert.ok(error.stack.includes(`at ${name} `), error.stack);
        const { code, message, notExecuted, indeterminate, reason } = error;
        assert.deepEqual(
            [code, message, notExecuted, indeterminate, reason],
            ["RS_ERR_NO_MEMORY", refused.message, true, false, "RS_REASON_RESOURCES"],
        );
    }
    assert.equal(await client.command("ECHO", "later"), "later");
});

test("the event loop is never blocked", async (t) => {
    const { server, client } = await withClient(t);
    server.pause();
    let longest = 0;
    let last = performance.now();
    const ticks = setInterval(() => {
        longest = Math.max(longest, performance.now() - last);
        last = performance.now();
    }, 5);
    // Whatever waited on this thread would keep it for all of that.
    const slow = { timeout: 6000 };
    const script = client.script("return 1");
    await Promise.allSettled([
        rs.connect(server.url, { connectTimeout: 6000 }),
        script([], [], slow),
        client.scriptLoad(script, slow),
        client.scriptExists([script], slow),
        client.scriptFlush("sync", slow),
        client.scriptKill(slow),
        client.pipeline().command("PING").exec(slow),
    ]);
    const pending = codeOf(client.command("PING"));
    await new Promise(setImmediate);
    await client.close();
    await pending;
    clearInterval(ticks);
    server.resume();
    assert.ok(longest < 3000, `${longest} ms`);
});

test("twenty thousand calls that end at once leave the event loop to others in between", async (t) => {
    const { server, client } = await withClient(t, { callTimeout: 600_000 });
    const script = client.script("return 1");
    await script();
    /** Ends twenty thousand calls under way at once; how many turns of the event loop that takes. */
    const turnsOf = async (signal, end) => {
        server.pause();
        const calls = Array.from({ length: 20_000 }, () => codeOf(script([], [], { signal })));
        await new Promise(setImmediate);
        let turns = 0;
        let isOver = false;
        const turn = () => {
            turns += 1;
            if (!isOver) setImmediate(turn);
        };
        turn();
        end();
        const codes = await Promise.all(calls);
        isOver = true;
        server.resume();
        const expected = ["RS_ERR_INDETERMINATE", "RS_ERR_CANCELLED", "RS_ERR_CLOSED"];
        assert.ok(codes.every((code) => expected.includes(code)), String(new Set(codes)));
        return turns;
    };
    // No more than a thousand in a turn are called off, or told of their end.
    const controller = new AbortController();
    const aborted = await turnsOf(controller.signal, () => controller.abort());
    assert.ok(aborted >= 15, `${aborted} turns`);
    const closed = await turnsOf(undefined, () => client.close());
    assert.ok(closed >= 15, `${closed} turns`);
});

test("a blocking command has a connection of its own", async (t) => {
    const { server, client } = await withClient(t);
    const waiting = client.command("BLPOP", "list", 0);
    assert.equal(await client.command("PING"), "PONG");
    await until("it waits", async () => (await server.cli("info", "clients")).includes("blocked_clients:1"));
    await client.command("RPUSH", "list", "x");
    assert.deepEqual(await waiting, ["list", "x"]);
});

test("a call that no Buffer can hold has an error that says so, and those around it are sent", async (t) => {
    const { client } = await withClient(t);
    const { allocUnsafeSlow } = Buffer;
    const cause = new RangeError("Array buffer allocation failed");
    t.mock.method(Buffer, "allocUnsafeSlow", (size) => {
        if (size > 1_500_000) throw cause;
        return allocUnsafeSlow.call(Buffer, size);
    });
    const large = Buffer.alloc(2_000_000);
    const script = client.script("return #ARGV[1]");
    const before = client.command("ECHO", "before");
    for (const call of [
        client.command("ECHO", large),
        script([], [large]),
        (async () => client.pipeline().command("ECHO", large))(),
    ]) {
        await assert.rejects(call, (error) => error instanceof rs.ScriptError && error.cause === cause &&
            error.code === "RS_ERR_NO_MEMORY" && error.notExecuted && !error.indeterminate);
    }
    // There is none for twice as much, and there is one that is just large enough.
    const [first, second] = [Buffer.alloc(800_000), Buffer.alloc(600_000)];
    assert.deepEqual(await Promise.all([script([], [first]), script([], [second])]), [800_000, 600_000]);
    assert.equal(await before, "before");
});
