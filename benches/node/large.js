// Large replies in Node: `large.js CLIENT PORT BYTES TIMES` makes so many GETs of so many bytes, as a Buffer, one
// after the other. Prints the median of their milliseconds, the milliseconds of this process's CPU time for each, and
// the longest time in which the event loop did nothing else.

"use strict";

const path = require("node:path");

const KEY = "large";

const clients = {
    async rs_script(port) {
        const { connect } = require(path.join(__dirname, "..", "..", "bindings", "node"));
        const client = await connect(`redis://127.0.0.1:${port}`);
        return {
            set: (value) => client.command("SET", KEY, value),
            get: () => client.command(["GET", KEY], { buffers: true }),
            close: () => client.close(),
        };
    },

    async ioredis(port) {
        const { default: Redis } = require("ioredis");
        const client = new Redis({ host: "127.0.0.1", port });
        return { set: (value) => client.set(KEY, value), get: () => client.getBuffer(KEY), close: () => client.disconnect() };
    },

    async "node-redis"(port) {
        const { createClient, RESP_TYPES } = require("redis");
        const client = createClient({ socket: { host: "127.0.0.1", port } });
        await client.connect();
        const buffers = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
        return { set: (value) => client.set(KEY, value), get: () => buffers.get(KEY), close: () => client.destroy() };
    },

    async "valkey-glide"(port) {
        const { Decoder, GlideClient } = require("@valkey/valkey-glide");
        const client = await GlideClient.createClient({ addresses: [{ host: "127.0.0.1", port }], requestTimeout: 60_000 });
        return { set: (value) => client.set(KEY, value), get: () => client.get(KEY, { decoder: Decoder.Bytes }), close: () => client.close() };
    },
};

/** Looks at the clock in each turn of the event loop that there is, every millisecond at least. */
function watchLoop() {
    let [last, longest] = [performance.now(), 0];
    const timer = setInterval(() => {
        const now = performance.now();
        longest = Math.max(longest, now - last);
        last = now;
    }, 1);
    return () => {
        clearInterval(timer);
        return Math.max(longest, performance.now() - last);
    };
}

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];

async function main([name, port, bytes, times]) {
    const client = await clients[name](Number(port));
    await client.set(Buffer.alloc(Number(bytes), "rs_script"));
    // What a first time costs is not what is measured.
    for (let i = 0; i < 2; i++) await client.get();
    const [took, gaps] = [[], []];
    const before = process.cpuUsage();
    for (let i = 0; i < Number(times); i++) {
        const longest = watchLoop();
        const start = performance.now();
        const value = await client.get();
        took.push(performance.now() - start);
        gaps.push(longest());
        if (!Buffer.isBuffer(value) || value.length !== Number(bytes) || value[value.length - 1] === 0) throw new Error("another value");
    }
    const { user, system } = process.cpuUsage(before);
    console.log(`${median(took).toFixed(2)} ${((user + system) / 1e3 / Number(times)).toFixed(2)} ${median(gaps).toFixed(2)}`);
    await client.close();
}

main(process.argv.slice(2)).catch((error) => {
    console.error(`${process.argv[2]}: ${error.message}`);
    process.exit(1);
});
