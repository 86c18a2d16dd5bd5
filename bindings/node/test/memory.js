// A million calls of every kind do not take more memory than a few.

"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");

const rs = require("..");
const { Server } = require("./support");

const many = (count, make) => Promise.allSettled(Array.from({ length: count }, (_, i) => make(i)));

/** Ends no call, and outlives them all. */
const lasting = new AbortController();

/** Ten thousand calls; which of them failed. */
async function round(client) {
    const script = client.script("return {ARGV[1], KEYS[1], 7}");
    const fails = client.script("return redis.error_reply('MINE no ' .. ARGV[1])");
    const bytes = Buffer.alloc(100, "bytes");
    const buffers = { buffers: true };
    const outcomes = [
        await many(2000, (i) => script(["key"], [i])),
        await many(1000, (i) => client.command(["ECHO", `number ${i}`], { signal: lasting.signal })),
        await many(2000, (i) => fails([], [i])),
        await many(2000, () => script([bytes], [bytes], buffers)),
    ];
    // Called off: half of them before they are sent, half of them under way.
    const called = [];
    for (let i = 0; i < 50; i++) {
        const controller = new AbortController();
        called.push(many(20, () => script(["key"], [i], { signal: controller.signal, timeout: 60_000 })));
        if (i % 2) await new Promise(process.nextTick);
        controller.abort();
    }
    outcomes.push((await Promise.all(called)).flat());
    // Twenty items each, through views and with scripts that nobody keeps.
    const pipelines = await many(100, (i) => {
        const view = client.with({ readFrom: "primary" });
        view.script("-- never run".repeat(2000));
        const pipeline = i % 2 ? view.pipeline() : view.transaction();
        for (let item = 0; item < 10; item++) {
            pipeline.command("ECHO", item).script(item % 5 ? script : fails, [bytes], [bytes]);
        }
        return pipeline.exec();
    });
    outcomes.push(pipelines);
    return outcomes.map((kind) => kind.filter(({ status }) => status === "rejected").length);
}

async function collected() {
    for (let i = 0; i < 5; i++) {
        global.gc();
        await new Promise(setImmediate);
    }
    return process.memoryUsage();
}

test("a million calls do not take more memory", async (t) => {
    const server = await Server.start();
    t.after(() => server.stop());
    const client = await rs.connect(server.url);
    const rounds = async (count) => {
        for (let i = 0; i < count; i++) {
            const [script, command, error, buffer, called, pipeline] = await round(client);
            assert.deepEqual([script, command, error, buffer, pipeline], [0, 0, 2000, 0, 0]);
            assert.ok(called >= 500, `${called} were called off`);
        }
        return collected();
    };
    await rounds(20);
    const before = await rounds(1);
    // What an allocator keeps comes and goes, tens of megabytes where threads wait for the processor; what leaks stays.
    await rounds(50);
    const later = [];
    for (let i = 0; i < 5; i++) later.push(await rounds(10));
    const least = (what) => Math.min(...later.map((usage) => usage[what])) - before[what];
    const { inFlight } = client.stats();
    assert.equal(inFlight, 0);
    const [rss, heap] = [least("rss"), least("heapUsed")];
    t.diagnostic(`${rss} bytes, ${heap} on the heap`);
    assert.ok(rss < 40e6, `${rss} bytes`);
    assert.ok(heap < 2e6, `${heap} bytes on the heap`);
    await client.close();
});
