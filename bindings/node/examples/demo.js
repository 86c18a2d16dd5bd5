// What scripts/demo --node shows: one script, two servers, a lost cache, a pipeline, a transaction, a function, two
// errors and a call that happens once, with the round trips that each step took.
//
//     node examples/demo.js URL URL
//
// It sets the keys foo, visits, count and orders on the first server and foo on the second, and empties the first
// one's script cache and its libraries.

"use strict";

const assert = require("node:assert/strict");

const { connect, nativeLibrary } = require("..");

const isPlain = !process.stdout.isTTY || process.env.NO_COLOR !== undefined;
const title = (text) => console.log(isPlain ? `\n${text}` : `\n\x1b[1m${text}\x1b[0m`);

/** A step: what is done, the value that the server gave, and what it cost. */
async function step(client, what, made, { note, value, trips } = {}) {
    process.stdout.write(`  ${what.padEnd(32)} `);
    const before = client.stats();
    const reply = await made();
    const now = client.stats();
    if (value !== undefined) assert.deepEqual(reply, value);
    const took = now.roundTrips - before.roundTrips;
    if (trips !== undefined) assert.equal(took, trips, "round trips");
    const loaded = now.scriptLoads > before.scriptLoads ? "SCRIPT LOAD and EVALSHA in one write" : "";
    const why = now.noscriptRepairs > before.noscriptRepairs ? `EVALSHA meets NOSCRIPT; ${loaded}` : loaded;
    const shown = Array.isArray(reply) ? `[${reply.join(", ")}]` : String(reply ?? "OK");
    console.log(`${shown.padEnd(8)}  ${took} round trip${took === 1 ? " " : "s"}   ${note ?? why}`.trimEnd());
}

async function showError(what, made) {
    process.stdout.write(`  ${what.padEnd(32)} `);
    const error = await made().then(assert.fail, (error) => error);
    const known = error.indeterminate
        ? "indeterminate: nobody on this side can know whether it was executed"
        : error.notExecuted ? "not executed" : "executed up to that point";
    console.log(`${error.code}\n    ${error.message}\n    ${known}`);
}

async function main([firstUrl, secondUrl]) {
    const [first, second, other] = await Promise.all([connect(firstUrl), connect(secondUrl), connect(firstUrl)]);
    const multiply = first.script("return redis.call('GET', KEYS[1]) * ARGV[1]");
    const neverLoaded = first.script("return ARGV[1] * redis.call('GET', KEYS[1])");
    const brandNew = first.script("local n = redis.call('GET', KEYS[1]) return n * ARGV[1]");
    await first.command("DEL", "visits", "orders");
    console.log("multiply is: return redis.call('GET', KEYS[1]) * ARGV[1]");
    console.log(`  its SHA1, known before any call: ${multiply.sha}`);
    console.log(`  the library is called through ${nativeLibrary().ffi}`);

    const setFoo = (client, value) => step(client, `SET foo ${value}`, () => client.command("SET", "foo", value));
    const multiplyFoo = (client, value) =>
        step(client, "multiply foo by 5", () => multiply.on(client)(["foo"], [5]), { value });
    const flush = () => step(other, "SCRIPT FLUSH, by somebody else", () => other.scriptFlush("sync"));
    const together = (pipeline, script, what, trips, note) => {
        pipeline.command("SET", "foo", 5).script(script, ["foo"], [5]);
        return step(first, what, () => pipeline.exec(), { value: ["OK", 25], trips, note });
    };

    title("One server");
    await setFoo(first, 2);
    await multiplyFoo(first, 10);
    await multiplyFoo(first, 10);

    title("A second server, the same script");
    await setFoo(second, 3);
    await multiplyFoo(second, 15);

    title("The first server loses its script cache");
    await flush();
    await multiplyFoo(first, 10);
    await multiplyFoo(first, 10);

    title("A pipeline: SET foo 5, and a script that was never loaded, sent together");
    const sent = "SCRIPT LOAD, SET and EVALSHA in one write";
    await together(first.pipeline(), neverLoaded, "SET foo 5, multiply foo by 5", 1, sent);
    await together(first.pipeline(), neverLoaded, "the same again", 1, "");

    title("A transaction: the same between MULTI and EXEC, and the scripts are lost again");
    const inside = "SCRIPT LOAD inside MULTI, all in one write";
    await flush();
    await together(first.transaction(), neverLoaded, "SET foo 5, multiply foo by 5", 1, inside);
    await together(first.transaction(), neverLoaded, "the same again", 1, inside);
    const compiled = "it has to compile before it may enter a MULTI";
    await together(first.transaction(), brandNew, "with a script's very first use", 2, compiled);
    await together(first.transaction(), brandNew, "the same again", 1, inside);

    title("A function of a library that nobody deploys");
    const source = `#!lua name=demo
        redis.register_function('visit', function(keys) return redis.call('INCR', keys[1]) end)`;
    const visit = first.library(source).function("visit");
    console.log(`  its name on servers: ${visit.functionName}`);
    const visits = (value, note) => step(first, "call its function visit", () => visit(["visits"]), { value, note });
    await visits(1, "FUNCTION LOAD and FCALL in one write");
    await visits(2, "");
    await step(other, "FUNCTION FLUSH, by somebody else", () => other.command("FUNCTION", "FLUSH"));
    await visits(3, "FCALL misses it; both in one write");

    title("Errors say what happened");
    await showError("multiply a key that is not there", () => multiply(["no such key"], [5]));
    const slow = first.script("redis.call('SET', KEYS[1], 1) for i = 1, 5e7 do end return 'done'");
    await showError("a slow script, a 50 ms deadline", () => slow(["count"], [], { timeout: 50 }));
    console.log("  Was it executed? Ask for what it writes; its late reply is given to no other call:");
    await step(first, "GET count, on the same client", () => first.command("GET", "count"), { value: "1" });
    await multiplyFoo(first, 25);

    title("A call that happens once survives the loss of its reply");
    const order = first.script("for i = 1, 5e7 do end return redis.call('INCR', KEYS[1])", { once: true });
    const token = `order ${Date.now()}`;
    await showError("a slow one, a 50 ms deadline", () => order(["orders"], [], { token, timeout: 50 }));
    const again = () => order.on(other)(["orders"], [], { token });
    await step(other, "again with its token, elsewhere", again, { value: 1 });
    await step(first, "GET orders", () => first.command("GET", "orders"), { value: "1", note: "it ran once" });

    await Promise.all([first.close(), second.close(), other.close()]);
}

if (process.argv.length !== 4) {
    console.error("usage: node demo.js URL URL");
    process.exitCode = 2;
} else {
    main(process.argv.slice(2)).catch((error) => {
        console.error(`demo: ${error.code ?? error.name}: ${error.message}`);
        process.exitCode = 1;
    });
}
