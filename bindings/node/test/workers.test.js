// The package in worker threads, which end when they like.

"use strict";

const assert = require("node:assert/strict");
const path = require("node:path");
const { after, before, test } = require("node:test");
const { Worker } = require("node:worker_threads");

const rs = require("..");
const { Server, descriptors, until } = require("./support");

const HERE = path.join(__dirname, "..");

let server;
before(async () => {
    server = await Server.start();
});
after(() => server.stop());

test("worker threads have clients of their own, and may end at any time", async () => {
    const code = (end) => `
        const { parentPort, workerData } = require("node:worker_threads");
        const rs = require(${JSON.stringify(HERE)});
        (async () => {
            const client = await rs.connect(workerData);
            const script = client.script("return redis.call('INCR', KEYS[1])");
            await Promise.all(Array.from({ length: 1000 }, () => script(["workers"])));
            const calls = Array.from({ length: 1000 }, () => script(["others"]).catch(() => {}));
            ${end}
        })();`;
    const run = (end) =>
        new Promise((resolve, reject) => {
            const worker = new Worker(code(end), { eval: true, workerData: server.url });
            worker.on("message", () => worker.terminate());
            worker.on("error", reject);
            worker.on("exit", resolve);
        });
    await Promise.all([
        run("await Promise.all(calls); await client.close();"),
        run("await Promise.all(calls);"),
        run("setImmediate(() => process.exit(3));"),
        run("client.scriptLoad(script); parentPort.postMessage('terminate me'); setInterval(() => {}, 1000);"),
    ]);
    const client = await rs.connect(server.url);
    assert.equal(await client.command("GET", "workers"), "4000");
    await client.close();
    await server.allGone();
});

test("worker threads that are terminated at any moment leave nothing", async () => {
    const before = descriptors();
    const source = `
        const { parentPort, workerData } = require("node:worker_threads");
        const rs = require(${JSON.stringify(HERE)});
        const run = async () => {
            const client = await rs.connect(workerData);
            const script = client.script("return redis.call('INCR', KEYS[1])");
            parentPort.postMessage("connected");
            for (;;) {
                const controller = new AbortController();
                const options = { signal: controller.signal, buffers: true };
                const calls = Array.from({ length: 200 }, () => script(["terminated"], [Buffer.alloc(1000)], options));
                calls.push(client.pipeline().script(script, ["terminated"]).exec(), client.scriptLoad(script));
                setImmediate(() => controller.abort());
                await Promise.allSettled(calls);
            }
        };
        run();`;
    const terminated = async (i) => {
        const worker = new Worker(source, { eval: true, workerData: server.url });
        await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
        // A little later each time: in another place of what the worker does.
        for (let turn = 0; turn < i; turn++) await new Promise(setImmediate);
        await worker.terminate();
    };
    for (let i = 0; i < 40; i += 2) await Promise.all([terminated(i), terminated(i + 1)]);
    await until("their descriptors are closed", () => descriptors() <= before);
    // While it connects.
    const connects = source.replace("const run =", "parentPort.postMessage('loaded'); const run =");
    for (let i = 0; i < 10; i++) {
        const worker = new Worker(connects, { eval: true, workerData: server.url });
        await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
        for (let turn = 0; turn < 10 * i; turn++) await new Promise(setImmediate);
        await worker.terminate();
    }
    await server.allGone();
});

test("worker threads that alone have loaded the package end without a trace", async () => {
    const worker = (before, end) => `
        const { parentPort, workerData } = require("node:worker_threads");
        ${before}
        const rs = require(${JSON.stringify(HERE)});
        rs.connect(workerData).then(async (client) => {
            if ((await client.script("return 7")()) !== 7) throw new Error("not 7");
            ${end}
        });`;
    const ffi = rs.nativeLibrary().ffi === "koffi" ? "koffi" : "@2060.io/ffi-napi";
    const calls = "for (let i = 0; i < 100; i++) client.command('PING').catch(() => {});";
    const sources = [
        worker("", "await client.close();"),
        worker("", ""),
        worker("", `${calls} process.exit(0);`),
        worker("", `${calls} parentPort.postMessage("terminate me"); setInterval(() => {}, 1000);`),
        worker(`require(${JSON.stringify(ffi)});`, "await client.close();"),
    ];
    // One after the other: none of them finds what the one before has loaded in use. Or together, in the last round.
    const main = `
        const { Worker } = require("node:worker_threads");
        const ended = (source) => new Promise((resolve, reject) => {
            const worker = new Worker(source, { eval: true, workerData: process.argv[1] });
            worker.on("message", () => worker.terminate()).on("error", reject).on("exit", resolve);
        });
        (async () => {
            const sources = ${JSON.stringify(sources)};
            for (let round = 0; round < 2; round++) for (const source of sources) await ended(source);
            await Promise.all(sources.map(ended));
            console.log("all ended");
        })();`;
    assert.equal(await server.ends(main), "all ended");
    for (const source of [sources[0], sources[1], sources[3]]) {
        const alone = `
            const { Worker } = require("node:worker_threads");
            const worker = new Worker(${JSON.stringify(source)}, { eval: true, workerData: process.argv[1] });
            worker.on("message", () => worker.terminate()).on("exit", (code) => console.log("ended"));`;
        for (let i = 0; i < 3; i++) assert.equal(await server.ends(alone), "ended");
    }
    await server.allGone();
});
