// What became of the calls of each script.

"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");

const rs = require("..");
const { Server, leftInFlight } = require("./support");

test("the figures of scripts, those called most first, and the rest together", async (t) => {
    const server = await Server.start();
    t.after(() => server.stop());
    const client = await rs.connect(server.url, { scriptStats: 2 });
    t.after(() => client.close());
    assert.deepEqual(await client.scriptStats(), []);
    const one = client.script("return 1", { name: "one" });
    const fails = client.script("return redis.error_reply('MINE')");
    for (let i = 0; i < 10; i++) await one();
    await server.cli("script", "flush");
    await one();
    await client.pipeline().script(one).script(one).exec();
    for (let i = 0; i < 2; i++) await assert.rejects(fails(), rs.ServerError);
    await client.script("return 3")();

    const stats = await client.with({ buffers: true }).scriptStats({ timeout: 60_000 });
    const { latency, ...counts } = stats[0];
    assert.deepEqual(
        counts,
        { sha: one.sha, name: "one", calls: 13, loads: 2, repairs: 1, errors: 0, indeterminate: 0 },
    );
    const { count, sum, buckets, ...shares } = latency;
    assert.equal(count, 11);
    assert.deepEqual(Object.keys(shares), ["p50", "p90", "p99", "p999", "max"]);
    const times = Object.values(shares);
    assert.deepEqual([...times].sort((a, b) => a - b), times);
    assert.ok(times[0] > 0 && sum >= shares.max * 0.99, `${sum} ${times}`);
    assert.equal(buckets.reduce((so, { count }) => so + count, 0), 11);
    assert.equal(buckets.at(-1).upTo, shares.max);
    assert.deepEqual([stats[1].sha, stats[1].name, stats[1].calls, stats[1].errors], [fails.sha, null, 2, 2]);
    assert.deepEqual([stats[2].sha, stats[2].calls, stats.length], [null, 1, 3]);

    server.pause();
    assert.ok((await leftInFlight(client, (signal) => one([], [], { signal }))) instanceof rs.IndeterminateError);
    const [first] = await client.scriptStats();
    server.resume();
    assert.deepEqual([first.errors, first.indeterminate], [1, 1]);
    const without = await rs.connect(server.url);
    assert.deepEqual(await without.scriptStats(), []);
    await without.close();
    await assert.rejects(without.scriptStats(), rs.ClosedError);
    await assert.rejects(client.scriptStats({ buffer: true }), rs.ArgumentError);
    await assert.rejects(rs.connect(server.url, { scriptStats: -1 }), rs.ArgumentError);
});
