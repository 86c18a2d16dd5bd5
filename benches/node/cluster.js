// Valkey GLIDE on a cluster: `cluster.js NODES KEYS call CALLERS CALLS` keeps CALLERS of CALLS calls of the multiply
// script in flight, `cluster.js NODES KEYS pipeline SIZE CALLS` makes them in batches of SIZE. Keys, all of them at
// 2, come from the file KEYS, a key a line. Prints calls per second and microseconds of this process's CPU time per
// call.
//
// Its client for Node makes half as many calls again as the one for Python.

"use strict";

const fs = require("node:fs");
const { ClusterBatch, GlideClusterClient, Script } = require("@valkey/valkey-glide");

const MULTIPLY = "return redis.call('GET', KEYS[1]) * ARGV[1]";

function check(products, count) {
    if (products.length !== count || !products.every((product) => product === 10)) {
        throw new Error("a wrong product");
    }
}

async function callFrom({ client, keys, script }, callers, calls) {
    async function call(caller) {
        const first = Math.floor((caller * keys.length) / callers);
        for (let i = 0; i < Math.floor(calls / callers); i++) {
            const key = keys[(first + i) % keys.length];
            check([await client.invokeScript(script, { keys: [key], args: ["5"] })], 1);
        }
    }
    await Promise.all(Array.from({ length: callers }, (_, caller) => call(caller)));
}

// Not atomic, so that it may hold keys of several slots. It does not load scripts.
async function callInBatches({ client, keys, script }, size, calls) {
    const sha = script.getHash();
    for (let next = 0; next < calls; ) {
        const batch = new ClusterBatch(false);
        for (let i = 0; i < size; i++) {
            batch.customCommand(["EVALSHA", sha, "1", keys[next++ % keys.length], "5"]);
        }
        check(await client.exec(batch, true), size);
    }
}

async function main([nodes, file, mode, ...numbers]) {
    const [count, calls] = numbers.map(Number);
    const keys = fs.readFileSync(file, "utf8").trim().split("\n");
    const addresses = nodes.split(",").map((node) => {
        const [host, port] = node.split(":");
        return { host, port: Number(port) };
    });
    const client = await GlideClusterClient.createClient({ addresses, requestTimeout: 10_000 });
    await client.customCommand(["SCRIPT", "LOAD", MULTIPLY], { route: "allPrimaries" });
    const shared = { client, keys, script: new Script(MULTIPLY) };
    const run = { call: callFrom, pipeline: callInBatches }[mode];
    // What only the first calls need is not measured.
    await run(shared, count, 1000);
    const start = performance.now();
    const before = process.cpuUsage();
    await run(shared, count, calls);
    const cpu = process.cpuUsage(before);
    const rate = calls / ((performance.now() - start) / 1e3);
    console.log(`${rate.toFixed(1)} ${((cpu.user + cpu.system) / calls).toFixed(3)}`);
    client.close();
}

main(process.argv.slice(2)).catch((error) => {
    console.error(`valkey-glide: ${error.message}`);
    process.exit(1);
});
