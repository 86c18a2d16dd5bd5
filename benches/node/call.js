// Calls of the multiply script from Node, on a server at a loopback port: `call.js CLIENT PORT call CALLERS CALLS`
// keeps CALLERS of CALLS calls under way, `call.js CLIENT PORT pipeline SIZE CALLS` makes them in pipelines of SIZE.
// CLIENT is one of those below. Prints calls per second and microseconds of this process's CPU time per call.

"use strict";

const path = require("node:path");

const MULTIPLY = "return redis.call('GET', KEYS[1]) * ARGV[1]";
const SCRIPT = { lua: MULTIPLY, numberOfKeys: 1 };

/** For each client: `call` makes one call, `pipeline` so many together, `close` ends it. foo is 2. */
const clients = {
    async rs_script(port) {
        const client = await require(path.join(__dirname, "..", "..", "bindings", "node")).connect(`redis://127.0.0.1:${port}`);
        await client.command("SET", "foo", 2);
        const multiply = client.script(MULTIPLY);
        return {
            call: () => multiply(["foo"], ["5"]),
            pipeline(size) {
                const pipeline = client.pipeline();
                for (let i = 0; i < size; i++) pipeline.script(multiply, ["foo"], ["5"]);
                return pipeline.exec();
            },
            close: () => client.close(),
        };
    },

    ioredis: (port) => ofIoredis(port, {}),
    "ioredis-autopipelining": (port) => ofIoredis(port, { enableAutoPipelining: true }),

    async "node-redis"(port) {
        const { createClient, defineScript } = require("redis");
        const multiply = defineScript({
            SCRIPT: MULTIPLY,
            NUMBER_OF_KEYS: 1,
            parseCommand(parser, key, factor) {
                parser.pushKey(key);
                parser.push(factor);
            },
            transformReply: undefined,
        });
        const client = createClient({ socket: { host: "127.0.0.1", port }, scripts: { multiply } });
        await client.connect();
        await client.set("foo", "2");
        return {
            call: () => client.multiply("foo", "5"),
            pipeline(size) {
                const pipeline = client.multi();
                for (let i = 0; i < size; i++) pipeline.multiply("foo", "5");
                return pipeline.execAsPipeline();
            },
            close: () => client.destroy(),
        };
    },

    async "valkey-glide"(port) {
        const { Batch, GlideClient, Script } = require("@valkey/valkey-glide");
        const client = await GlideClient.createClient({
            addresses: [{ host: "127.0.0.1", port }],
            requestTimeout: 10_000,
            // Its own bound is 1,000, which that many callers reach.
            inflightRequestsLimit: 10_000,
        });
        await client.set("foo", "2");
        const script = new Script(MULTIPLY);
        const options = { keys: ["foo"], args: ["5"] };
        return {
            call: () => client.invokeScript(script, options),
            pipeline(size) {
                const batch = new Batch(false);
                for (let i = 0; i < size; i++) batch.customCommand(["EVALSHA", script.getHash(), "1", "foo", "5"]);
                return client.exec(batch, true);
            },
            close: () => client.close(),
        };
    },
};

async function ofIoredis(port, options) {
    const { default: Redis } = require("ioredis");
    const client = new Redis({ host: "127.0.0.1", port, scripts: { multiply: SCRIPT }, ...options });
    await client.set("foo", "2");
    return {
        call: () => client.multiply("foo", "5"),
        async pipeline(size) {
            const pipeline = client.pipeline();
            for (let i = 0; i < size; i++) pipeline.multiply("foo", "5");
            return (await pipeline.exec()).map(([error, product]) => error ?? product);
        },
        close: () => client.disconnect(),
    };
}

function check(product) {
    if (product !== 10) throw new Error(`${product}, not 10`);
}

const modes = {
    async call(client, callers, calls) {
        async function caller() {
            for (let i = 0; i < Math.floor(calls / callers); i++) check(await client.call());
        }
        await Promise.all(Array.from({ length: callers }, caller));
    },

    async pipeline(client, size, calls) {
        for (let i = 0; i < Math.floor(calls / size); i++) (await client.pipeline(size)).forEach(check);
    },
};

async function main([name, port, mode, ...numbers]) {
    const [count, calls] = numbers.map(Number);
    const client = await clients[name](Number(port));
    // A script that the server does not have yet is loaded by a call.
    check(await client.call());
    await modes[mode](client, count, Math.floor(calls / 5));
    const before = process.cpuUsage();
    const start = performance.now();
    await modes[mode](client, count, calls);
    const made = Math.floor(calls / count) * count;
    const rate = made / ((performance.now() - start) / 1e3);
    const cpu = process.cpuUsage(before);
    console.log(`${rate.toFixed(1)} ${((cpu.user + cpu.system) / made).toFixed(3)}`);
    await client.close();
}

main(process.argv.slice(2)).catch((error) => {
    console.error(`${process.argv[2]}: ${error.message}`);
    process.exit(1);
});
