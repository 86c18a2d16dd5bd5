// Bad input: each public function and option with what does not belong there. Always an error that says so, and
// nothing is lost.

"use strict";

const assert = require("node:assert/strict");
const { after, before, test } = require("node:test");

const rs = require("..");
const { Server } = require("./support");

let server, client, echo;
before(async () => {
    server = await Server.start();
    client = await rs.connect(server.url);
    echo = client.script("return ARGV[1]");
});
after(async () => {
    await client.close();
    await server.stop();
});

const proxy = (target) => new Proxy(target, {});
/** What is neither text, bytes nor a number. */
const NO_ARGUMENT = [
    null, undefined, true, {}, [], [1], () => {}, Symbol("x"), new Date(), new String("x"),
    proxy({}), proxy(Buffer.from("x")), { toString: () => "x" }, Object.create(Uint8Array.prototype),
    new Int8Array(2), new Uint8ClampedArray(2), new Uint16Array(2), new Float64Array(2), new BigUint64Array(2),
    new DataView(new ArrayBuffer(2)), new ArrayBuffer(2), new SharedArrayBuffer(2),
];
const NO_LIST = [
    null, "foo", 7, 7n, true, {}, { length: 1, 0: "x" }, new Set(["x"]), Buffer.from("x"), Symbol("x"), () => {},
];
const NO_OPTIONS = [null, 7, "x", true, Symbol("x"), () => {}];
const NO_TEXT = [null, 7, 7n, true, {}, [], Buffer.from("x"), "a\0b", new String("x"), Symbol("x")];
const NO_FLAG = [null, 0, 1, "true", {}, [], Symbol("x")];
const NO_COUNT = [null, -1, 0.5, NaN, Infinity, "1", 1n, {}, [], 2 ** 53, Symbol("x")];
const NO_TIMEOUT = [...NO_COUNT, 0, 2 ** 32];
const NO_BYTES = [null, 7, {}, [1], new Uint16Array(2), new ArrayBuffer(2), Symbol("x")];
const NO_SIGNAL = [null, {}, "x", new EventTarget(), Symbol("x")];

/** Each of these values is an ArgumentError, and another call of the same turn is not disturbed. */
async function refused(what, values, use) {
    const first = client.command("ECHO", "first");
    const made = values.map(async (value) => use(value));
    const last = client.command("ECHO", "last");
    for (const [i, { status, reason }] of (await Promise.allSettled(made)).entries()) {
        assert.equal(status, "rejected", `${what}, number ${i}`);
        assert.ok(reason instanceof rs.ArgumentError && reason.notExecuted, `${what}, number ${i}: ${reason}`);
    }
    assert.deepEqual(await Promise.all([first, last]), ["first", "last"]);
}

test("keys, arguments and commands", async () => {
    await refused("keys", NO_LIST, (value) => echo(value));
    await refused("args", NO_LIST, (value) => echo([], value));
    await refused("a key", NO_ARGUMENT, (value) => echo([value]));
    await refused("an argument", NO_ARGUMENT, (value) => echo([], ["x", value]));
    await refused("a read-only argument", NO_ARGUMENT, (value) => echo.ro([], [value]));
    await refused("a word", NO_ARGUMENT, (value) => client.command("ECHO", value));
    await refused("a word of a list", NO_ARGUMENT, (value) => client.command(["ECHO", value]));
    const none = [[], [[]], [["PING"], {}, "x"], [["PING"], undefined, undefined]];
    await refused("no command", none, (words) => client.command(...words));
    await refused("holes", [[, "x"], ["x", , "y"], Array(3)], (value) => echo([], value));
});

test("calls' options", async () => {
    await refused("options", NO_OPTIONS, (value) => echo([], [], value));
    await refused("options of a command", NO_OPTIONS, (value) => client.command(["PING"], value));
    await refused("options of a pipeline", NO_OPTIONS, (value) => client.pipeline().command("PING").exec(value));
    await refused("options of scriptShow", NO_OPTIONS, (value) => client.scriptShow(echo, value));
    await refused("timeout", NO_TIMEOUT, (timeout) => echo([], [], { timeout }));
    await refused("buffers", NO_FLAG, (buffers) => echo([], [], { buffers }));
    await refused("signal", NO_SIGNAL, (signal) => echo([], [], { signal }));
    await refused("another", ["timeOut", "route", "toString"], (name) => echo([], [], { [name]: 1 }));
});

test("scripts, views and routes", async () => {
    await refused("a source", NO_ARGUMENT.concat(7, 7n), (value) => client.script(value));
    await refused("options of a script", NO_OPTIONS, (value) => client.script("return 1", value));
    await refused("idempotent", NO_FLAG, (idempotent) => client.script("return 1", { idempotent }));
    await refused("name", NO_TEXT, (name) => client.script("return 1", { name }));
    await refused("another client", [null, undefined, {}, echo, proxy(client), rs.Client], (value) => echo.on(value));
    await refused("options of a view", [...NO_OPTIONS, undefined], (value) => client.with(value));
    await refused("timeout", NO_TIMEOUT, (timeout) => client.with({ timeout }));
    await refused("buffers", NO_FLAG, (buffers) => client.with({ buffers }));
    await refused("readFrom", [null, 0, "best", "toString", "__proto__", {}], (readFrom) => client.with({ readFrom }));
    const routes = [
        null, "some", 7, {}, [], { key: 7 }, { key: null },
        { slot: -1 }, { slot: 16384 }, { slot: "1" }, { slot: 1.5 }, { node: 7 }, { node: "a\0b" },
    ];
    await refused("route", routes, (route) => client.with({ route }));
    await refused("another", ["signal", "routes"], (name) => client.with({ [name]: 1 }));
});

test("pipelines", async () => {
    await refused("options of a pipeline", NO_OPTIONS, (value) => client.pipeline(value));
    await refused("options of a transaction", NO_OPTIONS, (value) => client.transaction(value));
    await refused("repairUnordered", NO_FLAG, (repairUnordered) => client.pipeline({ repairUnordered }));
    await refused("trustCache", NO_FLAG, (trustCache) => client.transaction({ trustCache }));
    const pipeline = client.pipeline().command("PING");
    await refused("a script", [...NO_ARGUMENT, "return 1", echo.sha, proxy(echo)], (value) => pipeline.script(value));
    await refused("keys", NO_LIST, (value) => pipeline.script(echo, value));
    await refused("an argument", NO_ARGUMENT, (value) => pipeline.script(echo, ["x"], ["y", value]));
    await refused("a word", NO_ARGUMENT, (value) => pipeline.command("ECHO", value));
    await refused("no command", [[], [[]], [["PING"], "x"]], (words) => pipeline.command(...words));
    assert.deepEqual(await pipeline.script(echo, [], ["x"]).exec(), ["PONG", "x"]);
});

test("script administration", async () => {
    await refused("scriptLoad", [...NO_ARGUMENT, "return 1", proxy(echo)], (value) => client.scriptLoad(value));
    await refused("scriptExists", NO_LIST, (value) => client.scriptExists(value));
    await refused("one of scriptExists", NO_ARGUMENT, (value) => client.scriptExists([echo, value]));
    await refused("scriptShow", NO_ARGUMENT, (value) => client.scriptShow(value));
    await refused("scriptFlush", [null, 7, "often", "toString", {}], (value) => client.scriptFlush(value));
    for (const name of ["kill", "scriptKill", "scriptFlush", "scriptLoad", "scriptExists"]) {
        const given = {
            kill: [],
            scriptKill: [],
            scriptFlush: ["sync"],
            scriptLoad: [echo],
            scriptExists: [[echo]],
        }[name];
        await refused(`options of ${name}`, NO_OPTIONS, (value) => client[name](...given, value));
    }
});

test("connecting", async () => {
    const none = "unix:///nonexistent";
    const urls = [
        ...NO_TEXT, undefined, new URL("redis://x"), "", "nonsense", "http://x", "redis://x:99999", "unix:///x\0y",
    ];
    await refused("a URL", urls, (value) => rs.connect(value));
    await refused("options", NO_OPTIONS, (value) => rs.connect(none, value));
    const others = ["noSuchOption", "toString", "__proto", "calltimeout"];
    await refused("another", others, (name) => rs.connect(none, { [name]: 1 }));
    const wrong = {
        connectTimeout: [...NO_COUNT, 0], callTimeout: [...NO_COUNT, 0], silenceTimeout: [...NO_COUNT, 0],
        keepalive: NO_COUNT, reconnectAttempts: [...NO_COUNT, 2 ** 32],
        maxReplyBytes: NO_COUNT, maxReplyDepth: NO_COUNT, maxWaiting: NO_COUNT,
        sharedConnections: [...NO_COUNT, 65], maxInFlight: [...NO_COUNT, 0, 2 ** 31],
        username: NO_TEXT, clientName: [...NO_TEXT, "two words", "ü"], tlsCaFile: NO_TEXT, tlsServerName: NO_TEXT,
        sentinelUsername: NO_TEXT,
        password: NO_BYTES, sentinelPassword: NO_BYTES,
        tlsInsecureSkipVerify: NO_FLAG, clientInfo: NO_FLAG, probeTransactions: NO_FLAG, lazyConnect: NO_FLAG,
        keepAlive: NO_FLAG, buffers: NO_FLAG,
        protocol: [null, 1, 4, "3.0", {}], readFrom: [null, 0, "best", {}], signal: NO_SIGNAL,
        tlsClientCert: [null, 7, "x", {}, { cert: "x" }, { cert: "x", key: 7 }],
        reconnectBackoff: [null, 7, {}, { min: 1 }, { min: 1, max: -1 }, { min: 5, max: 1 }],
        mapAddress: [null, 7, "x", { "a:1": 7 }, { "a:1": "b" }, { a: "b:1" }],
    };
    for (const [name, values] of Object.entries(wrong)) {
        await refused(name, values, (value) => rs.connect(none, { lazyConnect: true, [name]: value }));
    }
});

test("no password is in an error", async () => {
    const secret = "s3cr3t";
    for (const url of [`redis://u:${secret}@127.0.0.1:1`, `redis://:${secret}@[`]) {
        await assert.rejects(rs.connect(url, { password: secret, reconnectAttempts: 1 }), (error) => {
            assert.ok(!`${error.message}${JSON.stringify(error)}`.includes(secret));
            return true;
        });
    }
    for (const wrong of [[secret], { secret }, new Uint16Array([1])]) {
        await assert.rejects(rs.connect("redis://x", { password: wrong }), (error) => !error.message.includes(secret));
    }
});

test("classes are not for making", () => {
    assert.throws(() => new rs.Client(), rs.ArgumentError);
    assert.throws(() => new rs.Client({}), rs.ArgumentError);
    for (const first of [undefined, client, Object.create(rs.Client.prototype)]) {
        assert.throws(() => new rs.Pipeline(first, 255), rs.ArgumentError);
    }
    assert.throws(() => rs.Client.prototype.command.call({}, "PING"), TypeError);
});

test("an error thrown while options and lists are read is the caller's own", async () => {
    const mine = new Error("mine");
    const thrower = (name) => Object.defineProperty({}, name, { enumerable: true, get: () => { throw mine; } });
    const list = Object.defineProperty(["x"], 0, { get: () => { throw mine; } });
    const isMine = (error) => error === mine;
    for (const call of [
        () => echo(list), () => echo([], list), () => client.command(list), () => client.scriptExists(list),
        () => echo([], [], thrower("timeout")), () => client.command(["PING"], thrower("signal")),
        () => rs.connect(server.url, thrower("buffers")), () => rs.connect(server.url, { mapAddress: thrower("a:1") }),
    ]) await assert.rejects(call(), isMine);
    assert.throws(() => client.with(thrower("route")), isMine);
    assert.throws(() => client.script("return 1", thrower("idempotent")), isMine);
    const pipeline = client.pipeline().command("PING");
    assert.throws(() => pipeline.command(list), isMine);
    assert.throws(() => pipeline.script(echo, [], list), isMine);
    assert.deepEqual(await pipeline.exec(), ["PONG"]);
});

test("a list that makes calls, closes and calls off while it is read disturbs none of them", async () => {
    const reading = (act, ...rest) => Object.defineProperty(["ECHO", "x", ...rest], 1, { get: act });
    const made = [client.command("ECHO", "before")];
    made.push(client.command(reading(() => (made.push(echo([], ["inner"])), "outer"))));
    made.push(echo([], reading(() => (made.push(client.command("ECHO", "inner too")), "ignored"))));
    const controller = new AbortController();
    const off = assert.rejects(client.command(["ECHO", "off"], { signal: controller.signal }), rs.CancelledError);
    made.push(client.command(reading(() => (controller.abort(), "behind"))));
    const pipeline = client.pipeline();
    pipeline.command(reading(() => (pipeline.command("ECHO", "inner item"), "outer item")));
    made.push(pipeline.exec());
    await off;
    assert.deepEqual(await Promise.all(made),
        ["before", "inner", "outer", "inner too", "ECHO", "behind", ["inner item", "outer item"]]);
    const other = await rs.connect(server.url);
    const first = assert.rejects(other.command("ECHO", "first"), rs.ClosedError);
    await assert.rejects(other.command(reading(() => (other.close(), "x"))), rs.ClosedError);
    await first;
    await other.close();
});

test("lists that lie about themselves", async () => {
    const longer = new Proxy(["x"], { get: (list, name) => (name === "length" ? 3 : list[name]) });
    await refused("a longer list", [longer], (value) => echo([], value));
    assert.equal(await echo([], proxy(["through a proxy"])), "through a proxy");
    class Species extends Array {
        static get [Symbol.species]() {
            throw new Error("not to be used");
        }
    }
    assert.equal(await echo([], Species.from(["x"])), "x");
    for (const length of [1, 1e9]) {
        const bytes = Object.defineProperty(Buffer.from("bytes"), "length", { value: length });
        assert.equal(await echo([], [bytes]), "bytes");
        const source = Object.defineProperty(Buffer.from("return 12"), "length", { value: length });
        assert.equal(await client.script(source)(), 12);
    }
});

test("text that is no Unicode, NUL bytes, shared and resizable memory", async () => {
    const bytes = { buffers: true };
    assert.deepEqual(await echo([], ["a\ud800b"], bytes), Buffer.from("a\ufffdb"));
    assert.deepEqual(await echo([], ["\udc00".repeat(100)], bytes), Buffer.from("\ufffd".repeat(100)));
    assert.equal(await echo(["\0"], ["\0a\0"]), "\0a\0");
    assert.equal(await client.script("return '\0' .. #ARGV[1]")([], ["\0\0"]), "\0" + 2);
    const shared = Buffer.from(new SharedArrayBuffer(8)).fill("return 1");
    assert.equal(await echo([], [shared]), "return 1");
    assert.equal(await client.script(shared)(), 1);
    assert.equal(await client.with({ route: { key: shared } }).command("PING"), "PONG");
    assert.equal(await echo([], [new Uint8Array(new ArrayBuffer(4, { maxByteLength: 8 })).fill(65)]), "AAAA");
    const detached = new Uint8Array(4);
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    await assert.rejects(echo([], [detached]), TypeError);
    // Taken when the call is made: what becomes of it afterwards is the caller's.
    const mutable = Buffer.from("before");
    const call = echo([], [mutable]);
    mutable.fill("x");
    assert.equal(await call, "before");
});

test("huge strings and long lists", async () => {
    const wide = "ü".repeat(20_000_000);
    const [text, length] = await Promise.all([echo([], [wide]), client.command("ECHO", Buffer.alloc(40_000_000, "x"))]);
    assert.ok(text === wide && length.length === 40_000_000);
    const list = Array.from({ length: 300_000 }, (_, i) => i);
    assert.equal(await client.command(["RPUSH", "list", ...list]), list.length);
    assert.deepEqual(await client.command("LRANGE", "list", 0, -1), list.map(String));
    assert.equal(await client.script("return #ARGV")([], list), list.length);
});

test("an AbortSignal whose owner has put code in front of it runs none of it, and ends its call", async () => {
    const other = await rs.connect(server.url);
    const act = () => {
        other.close();
        throw new Error("mine");
    };
    const controllers = Array.from({ length: 2 }, () => new AbortController());
    for (const { signal } of controllers) {
        for (const name of ["aborted", "reason", "addEventListener", "removeEventListener"]) {
            Object.defineProperty(signal, name, { get: act });
        }
    }
    const [stays, goes] = controllers;
    const calls = [stays, goes].map(({ signal }) => other.command(["INCR", "signals"], { signal }));
    const beside = other.command("ECHO", "beside");
    goes.abort("enough");
    await assert.rejects(calls[1], { code: "RS_ERR_CANCELLED", cause: "enough" });
    assert.deepEqual(await Promise.all([calls[0], beside]), [1, "beside"]);
    const pretended = Object.setPrototypeOf(new EventTarget(), AbortSignal.prototype);
    await refused("no signal", [pretended, proxy(new AbortController().signal)], (signal) => echo([], [], { signal }));
    await refused("no signal of connect()", [pretended], (signal) => rs.connect(server.url, { signal }));
    await other.close();
});

test("a URL that cannot be shown is refused, with somebody who listens, too", async () => {
    const { tracingChannel } = require("node:diagnostics_channel");
    const listener = { start() {} };
    tracingChannel("rs_script:connect").subscribe(listener);
    const thrower = { toString: () => { throw new Error("mine"); } };
    // Not thrown at once: `refused` would take either.
    const promises = [Symbol("x"), thrower, null].map((url) => rs.connect(url));
    await refused("a URL", promises, (promise) => promise);
    tracingChannel("rs_script:connect").unsubscribe(listener);
});
