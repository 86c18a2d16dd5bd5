// A primary behind sentinels: found through them, followed on a failover.

"use strict";

const assert = require("node:assert/strict");
const { after, before, test } = require("node:test");

const rs = require("..");
const { Sentinels, SENTINEL_PASSWORD: sentinelPassword } = require("./sentinels");
const { until } = require("./support");

/** Notes who was here; the second time would be told. And says on which server. */
const NOTE = `
    local times = redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
    return {times, tonumber(string.match(redis.call('INFO', 'server'), 'tcp_port:(%d+)'))}`;
const WHERE = "return tonumber(string.match(redis.call('INFO', 'server'), 'tcp_port:(%d+)'))";

let watched;
before(async () => {
    watched = await Sentinels.start();
});
after(() => watched.stop());

test("what the sentinels do not know, or do not let in, is an error", async () => {
    const hasty = { connectTimeout: 3000, reconnectAttempts: 1 };
    for (const [url, options] of [
        [watched.url("no-such-service"), { sentinelPassword, ...hasty }],
        [watched.url(), { sentinelPassword: "wrong", ...hasty }],
        [watched.url(undefined, "wrong"), { sentinelPassword, ...hasty }],
    ]) {
        const error = await rs.connect(url, options).then(() => assert.fail("it connected"), (error) => error);
        assert.ok(error instanceof rs.ScriptError && error.notExecuted, String(error));
        assert.ok(!error.message.includes("wrong") && !error.message.includes(sentinelPassword), error.message);
    }
});

test("calls go to the primary, and read-only ones to the replica where that is wanted", async () => {
    const client = await rs.connect(watched.url(), { sentinelPassword });
    const where = client.script(WHERE);
    const primary = await watched.primary();
    assert.equal(await where(), primary.port);
    const replica = watched.servers.find((server) => server !== primary);
    assert.equal(await where.ro.on(client.with({ readFrom: "replica" }))(), replica.port);
    await client.close();
});

test("a failover under calls: each at most once, and then on the new primary", async (t) => {
    const client = await rs.connect(watched.url(), { sentinelPassword, callTimeout: 20_000, reconnectAttempts: 0 });
    const note = client.script(NOTE);
    const old = await watched.primary();
    let made = 0;
    let isOver = false;
    t.after(() => {
        isOver = true;
        return client.close();
    });
    const seen = new Set();
    const caller = async () => {
        while (!isOver) {
            try {
                const [times, port] = await note(["notes"], [made++]);
                assert.equal(times, 1);
                seen.add(port);
            } catch (error) {
                // Sent to the old primary, and no answer. Everything else would be a reply or not have been executed.
                assert.ok(error instanceof rs.IndeterminateError || error.notExecuted, String(error));
            }
        }
    };
    const callers = Array.from({ length: 20 }, caller);
    await until("calls run", () => seen.has(old.port));
    const fresh = await watched.failover();
    await until("calls run on the new primary", () => seen.has(fresh.port));
    isOver = true;
    await Promise.all(callers);
    assert.deepEqual(seen, new Set([old.port, fresh.port]));
    assert.deepEqual(await note(["notes"], ["afterwards"]), [1, fresh.port]);
    const transaction = client.transaction().script(note, ["notes"], ["in a transaction"]);
    assert.deepEqual(await transaction.exec(), [[1, fresh.port]]);
});
