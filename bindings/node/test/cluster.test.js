// A cluster of three: calls, pipelines and script administration over all of it, and routes.

"use strict";

const assert = require("node:assert/strict");
const { after, before, test } = require("node:test");

const rs = require("..");
const { startCluster } = require("./support");

let cluster, client;
before(async () => {
    cluster = await startCluster();
    client = await rs.connect(cluster.url);
});
after(async () => {
    await client.close();
    await cluster.stop();
});

test("calls and pipelines go where their keys are", async () => {
    const count = client.script("return redis.call('INCR', KEYS[1])");
    const keys = Array.from({ length: 300 }, (_, i) => `key:${i}`);
    assert.deepEqual(new Set(await Promise.all(keys.map((key) => count([key])))), new Set([1]));
    const pipeline = client.pipeline();
    for (const key of keys) pipeline.script(count, [key]).command("GET", key);
    const replies = await pipeline.exec();
    assert.ok(replies.every((reply, i) => reply === (i % 2 ? "2" : 2)));
    await assert.rejects(count(["a", "b"]), { code: "RS_ERR_CROSS_SLOT", notExecuted: true });
    await assert.rejects(client.transaction().command("GET", "a").command("GET", "b").exec(), rs.ArgumentError);
    assert.deepEqual(await client.transaction().command("SET", "{t}a", 1).script(count, ["{t}b"]).exec(), ["OK", 1]);
});

test("routes decide where keys do not", async () => {
    await assert.rejects(client.command("DBSIZE"), { code: "RS_ERR_NO_ROUTE" });
    const sizes = await client.with({ route: "all" }).command("DBSIZE");
    assert.equal(sizes.size, 3);
    const [address] = sizes.keys();
    assert.equal(await client.with({ route: { node: address } }).command("DBSIZE"), sizes.get(address));
    assert.equal(typeof (await client.with({ route: { key: "foo" } }).command("DBSIZE")), "number");
    assert.equal(typeof (await client.with({ route: { slot: 0 } }).command("DBSIZE")), "number");
});

test("scripts are administered on all primaries", async () => {
    const script = client.script("return 'everywhere'");
    await client.scriptLoad(script);
    for (const node of cluster.nodes) assert.equal(await node.cli("script", "exists", script.sha), "1");
    assert.deepEqual(await client.scriptExists([script]), [true]);
    await cluster.nodes[0].cli("script", "flush");
    assert.deepEqual(await client.scriptExists([script]), [false]);
    await assert.rejects(client.scriptShow(script), { serverCode: "ERR" });
    await client.scriptFlush("sync");
    for (const node of cluster.nodes) assert.equal(await node.cli("script", "exists", script.sha), "0");
    await assert.rejects(client.scriptKill(), { serverCode: "NOTBUSY" });
});
