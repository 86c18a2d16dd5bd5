// Plain fake timers, in place of all of Node's own functions of time: installed before the package is loaded, or
// afterwards.

const FakeTimers = require("@sinonjs/fake-timers");

const [url, when] = process.argv.slice(2);
const toFake = ["setTimeout", "setInterval", "setImmediate", "nextTick", "queueMicrotask", "Date", "performance"];
if (when === "before") FakeTimers.install({ toFake });
const { connect } = require("../../..");
if (when === "after") FakeTimers.install({ toFake });

async function main() {
    const client = await connect(url, { callTimeout: 120_000 });
    const echo = client.script("return ARGV[1]");
    const replies = await Promise.all(Array.from({ length: 5000 }, (_, i) => echo([], [i])));
    const nested = async (depth) => (depth === 0 ? echo([], ["deep"]) : nested(depth - 1));
    const deep = await Promise.all(Array.from({ length: 100 }, (_, i) => nested(i)));
    await client.close();
    console.log(replies.every((reply, i) => reply === String(i)), deep.length);
}

main();
