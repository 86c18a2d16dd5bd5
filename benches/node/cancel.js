// Calls that are called off, in Node: `cancel.js rs_script PORT CALLS` has so many calls under way on a server that
// it has pause, each with a signal of its own, and aborts them all; `cancel.js plain - CALLS` does the same with
// promises that reject when their signal fires, and nothing else. Prints the milliseconds from the first abort()
// until every promise is settled, those of CPU time, and how many were rejected in one turn of the event loop at
// most.

"use strict";

const path = require("node:path");

/** For each: a call that a signal ends, and what ends it all. */
const clients = {
    async rs_script(port) {
        const { connect } = require(path.join(__dirname, "..", "..", "bindings", "node"));
        const client = await connect(`redis://127.0.0.1:${port}`, { callTimeout: 600_000, silenceTimeout: 600_000 });
        await client.command("CLIENT", "PAUSE", 600_000, "ALL");
        return { call: (signal) => client.command(["ECHO", "x"], { signal }), close: () => client.close() };
    },

    async plain() {
        return {
            call: (signal) =>
                new Promise((_, reject) => {
                    signal.addEventListener("abort", () => reject(new Error("aborted", { cause: signal.reason })), { once: true });
                }),
            close() {},
        };
    },
};

async function main([name, port, count]) {
    const client = await clients[name](port);
    const controllers = Array.from({ length: Number(count) }, () => new AbortController());
    let [rejected, thisTurn, most] = [0, 0, 0];
    const settled = controllers.map(({ signal }) =>
        client.call(signal).then(
            () => {
                throw new Error("it was answered");
            },
            () => {
                rejected += 1;
                thisTurn += 1;
                most = Math.max(most, thisTurn);
            },
        ),
    );
    let isOver = false;
    const turn = () => {
        thisTurn = 0;
        if (!isOver) setImmediate(turn);
    };
    // All of them have been sent.
    for (let i = 0; i < 100; i++) await new Promise(setImmediate);
    turn();
    const before = process.cpuUsage();
    const start = performance.now();
    for (const controller of controllers) controller.abort();
    await Promise.all(settled);
    const took = performance.now() - start;
    const { user, system } = process.cpuUsage(before);
    isOver = true;
    console.log(`${took.toFixed(1)} ${((user + system) / 1e3).toFixed(1)} ${most}`);
    await client.close();
}

main(process.argv.slice(2)).catch((error) => {
    console.error(`${process.argv[2]}: ${error.message}`);
    process.exit(1);
});
