// Calls in every form while somebody empties the script cache all the time: none meets NOSCRIPT, none runs twice,
// none overtakes another of its key.

"use strict";

const assert = require("node:assert/strict");
const net = require("node:net");
const { test } = require("node:test");

const rs = require("..");
const { Server } = require("./support");

/** With RS_SCRIPT_LONG=1 a million calls in each form. */
const CALLS = process.env.RS_SCRIPT_LONG === "1" ? 1_000_000 : 10_000;
const CALLERS = 10;
const KEYS = 10;

/** Has the script cache emptied in a tight loop, until what this gives is called. */
function flushAlways(server) {
    let isStopped = false;
    const socket = net.connect(server.socket);
    const ended = new Promise((resolve, reject) => {
        const next = () => (isStopped ? socket.end(resolve) : socket.write("SCRIPT FLUSH\r\n"));
        let answer = "";
        socket.on("error", reject);
        socket.on("connect", next);
        socket.on("data", (data) => {
            answer += data;
            if (!answer.endsWith("\r\n")) return;
            if (answer !== "+OK\r\n") reject(new Error(answer));
            answer = "";
            next();
        });
    });
    return () => {
        isStopped = true;
        return ended;
    };
}

/** It counts, and fails if it is not the next call of its key. */
const SOURCE = `if redis.call('INCR', KEYS[1]) ~= tonumber(ARGV[1]) then return redis.error_reply('MINE out of order or twice') end return 1`;

const together = (pipeline, script, keys, number) => {
    for (const key of keys) pipeline.script(script, [key], [number]);
    return pipeline.exec();
};
/** A call for each of these keys. */
const forms = {
    single: (client, script, keys, number) => Promise.all(keys.map((key) => script([key], [number]))),
    pipeline: (client, script, keys, number) => together(client.pipeline(), script, keys, number),
    transaction: (client, script, keys, number) => together(client.transaction(), script, keys, number),
};

for (const [form, round] of Object.entries(forms)) {
    test(`a million calls under flushes: ${form}`, async (t) => {
        const server = await Server.start();
        t.after(() => server.stop());
        const client = await rs.connect(server.url);
        const stop = flushAlways(server);
        const rounds = CALLS / CALLERS / KEYS;
        const caller = async (name) => {
            const script = client.script(`${SOURCE} -- ${name}`);
            const keys = Array.from({ length: KEYS }, (_, i) => `${name}:${i}`);
            const wanted = keys.map(() => 1);
            for (let number = 1; number <= rounds; number++) {
                assert.deepEqual(await round(client, script, keys, number), wanted);
            }
            const counts = await client.command(["MGET", ...keys]);
            assert.deepEqual(counts, keys.map(() => String(rounds)));
        };
        await Promise.all(Array.from({ length: CALLERS }, (_, i) => caller(`caller ${i}`)));
        await stop();
        await client.close();
    });
}
