// What a client tells of its connections and calls: events, and diagnostics channels.

"use strict";

const assert = require("node:assert/strict");
const { AsyncLocalStorage } = require("node:async_hooks");
const dc = require("node:diagnostics_channel");
const { once } = require("node:events");
const net = require("node:net");
const { test } = require("node:test");

const rs = require("..");
const { Server, leftInFlight, program, until } = require("./support");

const NAMES = ["connect", "reconnect", "lost", "connectError", "primariesChanged"];

/** A client on a server of its own, and what it has told. */
async function listening(t, options) {
    const server = await Server.start();
    t.after(() => server.stop());
    const client = await rs.connect(server.url, { reconnectBackoff: { min: 1, max: 10 }, ...options });
    t.after(() => client.close());
    const told = [];
    for (const name of NAMES) client.on(name, (details) => told.push({ name, ...details }));
    return { server, client, told };
}

test("a first connection, a lost one and the next are told, each once, of the client and of its views", async (t) => {
    const { server, client, told } = await listening(t, { lazyConnect: true });
    const view = client.with({ timeout: 60_000 });
    let ofView = 0;
    view.on("connect", () => (ofView += 1));
    await view.command("PING");
    await until("it is told", () => told.length > 0 && ofView > 0);
    assert.deepEqual(told.map(({ name, node }) => [name, node]), [["connect", server.socket]]);
    await server.cli("client", "kill", "type", "normal");
    await until("there is another connection", () =>
        client.command("PING").then(() => told.at(-1).name === "reconnect", () => false));
    assert.deepEqual(told.map(({ name }) => name), ["connect", "lost", "reconnect"]);
    assert.equal(told[2].node, server.socket);
    assert.match(told[1].message, /./);
    assert.equal(ofView, 1);
});

test("a server that is gone is told of, and idle clients are told as well", async (t) => {
    const { server, client, told } = await listening(t, { reconnectAttempts: 1 });
    await server.kill();
    await until("a call fails", () => client.command("PING").then(() => false, () => true));
    await until("it is told", () => told.some(({ name }) => name === "connectError"));
    assert.ok(!told.some(({ name }) => name === "connect" || name === "reconnect"));
});

test("an event with more words of a server than there is room for is told, and what comes behind it too", async (t) => {
    const words = `ERR ${"x".repeat(70_000)}`;
    const server = net.createServer((socket) => socket.on("error", () => {}).write(`-${words}\r\n`.repeat(10)));
    await once(server.listen(0, "127.0.0.1"), "listening");
    const url = `redis://127.0.0.1:${server.address().port}`;
    const client = await rs.connect(url, { lazyConnect: true, reconnectAttempts: 1 });
    t.after(() => client.close());
    t.after(() => server.close());
    const told = [];
    client.on("connectError", ({ message }) => told.push(message));
    for (const count of [1, 2]) {
        await assert.rejects(client.command("PING"), { notExecuted: true });
        await until("it is told", () => told.length >= count);
    }
    // As much of them as an error keeps.
    for (const message of told) assert.ok(message.includes(words.slice(0, 65_536)), `${message.length}`);
});

test("what was before the first listener is not told, and off() ends it", async (t) => {
    const { server, client, told } = await listening(t);
    await client.command("PING");
    const never = () => assert.fail("it was taken away");
    client.on("reconnect", never).removeListener("reconnect", never);
    assert.equal(client.listenerCount("reconnect"), 1);
    const reconnected = once(client, "reconnect");
    await server.cli("client", "kill", "type", "normal");
    await until("a call goes through", () => client.command("PING").then(() => true, () => false));
    const [{ node }] = await reconnected;
    assert.equal(node, server.socket);
    assert.deepEqual(told.map(({ name }) => name).filter((name) => name === "connect"), []);
    assert.throws(() => client.on("lost", 7), TypeError);
});

test("an idle client is told of a lost connection at once", async (t) => {
    const { server, client, told } = await listening(t);
    await client.command("PING");
    await server.kill();
    // Nothing is called, and nothing connected.
    await until("it is told", () => told.length > 0);
    assert.deepEqual(
        told.map(({ name, node, code }) => [name, node, code]),
        [["lost", server.socket, "RS_ERR_CONNECT"]],
    );
});

test("a subscriber may close the client when it is told of its connection", async () => {
    const server = await Server.start();
    const closes = `
        const rs = require(".");
        let closed;
        require("node:diagnostics_channel").subscribe("rs_script:connection", ({ event }) => {
            if (event === "lost") closed(victim.close());
        });
        let victim;
        (async () => {
            const other = await rs.connect(process.argv[1], { keepAlive: true });
            for (let i = 0; i < 20; i++) {
                victim = await rs.connect(process.argv[1]);
                const gone = new Promise((resolve) => (closed = resolve));
                await other.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
                await gone;
            }
            await other.close();
            console.log("done");
        })();`;
    assert.deepEqual(await program(closes, { args: [server.url] }), { code: 0, stdout: "done\n", stderr: "" });
    await server.stop();
});

test("a URL that is refused is told without what may be its password", async () => {
    const started = [];
    const channel = dc.tracingChannel("rs_script:connect");
    const handlers = { start: (message) => started.push({ ...message }) };
    channel.subscribe(handlers);
    for (const url of ["redis://user:s3cret", "redis://user:s3cret,host", "redis://user:s3cret:1"]) {
        await assert.rejects(rs.connect(url), { code: "RS_ERR_INVALID_URL" });
    }
    channel.unsubscribe(handlers);
    assert.equal(started.length, 3);
    assert.ok(!JSON.stringify(started).includes("s3cret"), JSON.stringify(started));
});

test("a listener that throws disturbs no call", async () => {
    const server = await Server.start();
    const throws = `
        const rs = require(${JSON.stringify(require.resolve(".."))});
        process.on("uncaughtException", (error) => console.log(error.message));
        rs.connect(process.argv[1], { lazyConnect: true }).then(async (client) => {
            client.on("connect", () => { throw new Error("mine"); });
            console.log((await Promise.all(Array.from({ length: 100 }, () => client.command("PING")))).length);
            await client.close();
        });`;
    const { code, stdout, stderr } = await program(throws, { args: [server.url] });
    assert.equal(code, 0, stderr);
    assert.deepEqual(stdout.trim().split("\n").sort(), ["100", "mine"]);
    await server.stop();
});

test("listeners do not keep the process alive", async () => {
    const server = await Server.start();
    const idle = `
        const rs = require(${JSON.stringify(require.resolve(".."))});
        rs.connect(process.argv[1]).then((client) => client.on("lost", () => console.log("lost")));`;
    assert.equal((await program(idle, { args: [server.url] })).code, 0);
    await server.stop();
});

/** What comes through the five channels of a tracing channel while `run` runs. */
async function traced(name, run) {
    const seen = [];
    const channel = dc.tracingChannel(name);
    const of = (event) => (context) => seen.push([event, context]);
    const names = ["start", "end", "asyncStart", "asyncEnd", "error"];
    const subscribers = Object.fromEntries(names.map((event) => [event, of(event)]));
    channel.subscribe(subscribers);
    try {
        await run();
    } finally {
        channel.unsubscribe(subscribers);
    }
    return seen;
}

test("calls are traced: what they are, how they end, and nothing that is secret", async (t) => {
    const { server, client } = await listening(t);
    const multiply = client.script("return redis.call('GET', KEYS[1]) * ARGV[1] -- secret", { name: "multiply" });
    assert.deepEqual(
        [multiply.name, multiply.ro.name, multiply.on(client).name, client.script("return 1").name],
        ["multiply", "multiply", "multiply", ""],
    );
    await client.command("SET", "secret", 2);
    const seen = await traced("rs_script:call", async () => {
        assert.equal(await multiply(["secret"], [5]), 10);
        await client.command("get", "secret");
        await client.pipeline().command("GET", "secret").script(multiply.ro, ["secret"], ["5"]).exec();
        await client.transaction().command("GET", "secret").exec();
        await client.scriptExists([multiply]);
        await assert.rejects(client.command(["NOSUCHCOMMAND", "secret"]), rs.ServerError);
        await assert.rejects(multiply(["secret"], [true]), rs.ArgumentError);
    });
    const ended = seen.filter(([event]) => event === "asyncEnd").map(([, context]) => context);
    const what = ended.map(({ operation, command, sha, readOnly, items, error }) =>
        [operation, command ?? sha ?? items, readOnly, error?.code]);
    assert.deepEqual(what, [
        ["script", multiply.sha, false, undefined],
        ["command", "GET", undefined, undefined],
        ["pipeline", 2, undefined, undefined],
        ["transaction", 1, undefined, undefined],
        ["scriptExists", undefined, undefined, undefined],
        ["command", "NOSUCHCOMMAND", undefined, "RS_ERR_SERVER"],
        ["script", multiply.sha, false, "RS_ERR_INVALID_ARGUMENT"],
    ]);
    assert.deepEqual([ended[0].result, ended[0].name], [10, "multiply"]);
    assert.equal(ended[0].serverAddress, server.socket);
    assert.equal(seen.filter(([event]) => event === "error").length, 2);
    for (const { result, error, ...told } of ended) assert.doesNotMatch(JSON.stringify(told), /secret/);
    assert.deepEqual(await traced("rs_script:call", async () => {}), []);
});

test("a channel that is listened to from the beginning tells what calls cost", async (t) => {
    const server = await Server.start();
    t.after(() => server.stop());
    const big = Buffer.alloc(2_000_000, "x");
    const seen = await traced("rs_script:call", async () => {
        const client = await rs.connect(server.url, { lazyConnect: true, reconnectAttempts: 1 });
        await client.command("PING");
        await client.command("INCR", "n");
        await client.pipeline().command("PING").command("GET", "none").exec();
        await assert.rejects(client.command("NOSUCH"), rs.ServerError);
        await client.command("SET", "big", big);
        await client.command(["GET", "big"], { buffers: true });
        await assert.rejects(client.command("SUBSCRIBE", "a"), rs.ArgumentError);
        server.pause();
        const left = await leftInFlight(client, (signal) => client.command(["PING"], { signal }));
        assert.ok(left instanceof rs.IndeterminateError);
        server.resume();
        await assert.rejects(client.scriptKill(), /NOTBUSY/);
        await client.close();
        await assert.rejects(client.command("PING"), rs.ClosedError);
    });
    const ended = seen.filter(([event]) => event === "asyncEnd").map(([, context]) => context);
    const node = server.socket;
    const costs = ended.map(({ node, attempts, bytesSent, bytesReceived }) =>
        [node, attempts, bytesSent, bytesReceived]);
    const [nosuch] = costs.splice(3, 1);
    assert.ok(nosuch[0] === node && nosuch[1] === 1 && nosuch[2] === 16 && nosuch[3] > 20, String(nosuch));
    const kill = costs.splice(-2, 1)[0];
    assert.ok(kill[0] === node && kill[1] >= 1, String(kill));
    assert.deepEqual(costs, [
        [node, 1, 14, 7],
        [node, 1, 21, 4],
        [node, 1, 37, 10],
        [node, 1, 32 + 2_000_000 + 2, 5],
        [node, 1, 22, 10 + 2_000_000 + 2],
        [undefined, undefined, undefined, undefined],
        [node, 1, 14, 0],
        [undefined, undefined, undefined, undefined],
    ]);
    for (const { attempts, duration } of ended) assert.equal(duration > 0, attempts > 0);
});

test("what calls cost is told where the option says so, and not where it does not", async (t) => {
    const { client } = await listening(t, { callCosts: true });
    const [[, asked]] = await traced("rs_script:call", () => client.command("PING"));
    assert.equal(asked.attempts, 1);
    const { client: other } = await listening(t);
    const [[, unasked]] = await traced("rs_script:call", () => other.command("PING"));
    assert.equal(unasked.attempts, undefined);
    const silent = traced("rs_script:call", async () => {
        const { client } = await listening(t, { callCosts: false });
        await client.command("PING");
    });
    for (const [, { attempts }] of await silent) assert.equal(attempts, undefined);
    await assert.rejects(rs.connect("unix:///nowhere", { callCosts: 1 }), rs.ArgumentError);
});

test("a tracer's store goes with each call", async (t) => {
    const { client } = await listening(t);
    const store = new AsyncLocalStorage();
    const { start, asyncEnd } = dc.tracingChannel("rs_script:call");
    let spans = 0;
    const ends = [];
    const told = () => ends.push(store.getStore());
    start.bindStore(store, () => (spans += 1));
    asyncEnd.subscribe(told);
    try {
        await Promise.all(Array.from({ length: 3 }, () => client.command("PING")));
    } finally {
        start.unbindStore(store);
        asyncEnd.unsubscribe(told);
    }
    assert.deepEqual(ends.sort(), [1, 2, 3]);
});

test("connecting is traced, without what is secret in the URL", async () => {
    const urls = [
        ["unix:///nonexistent/socket?db=1", "/nonexistent/socket", undefined],
        ["redis://secret:secret@127.0.0.1:1/0", "127.0.0.1", 1],
        ["redis://:secret@[::1]:1", "::1", 1],
        ["redis+cluster://:secret@127.0.0.1:1,127.0.0.1:2", "127.0.0.1", 1],
        ["redis://:sec/ret@127.0.0.1:1", undefined, undefined],
        ["redis://:sec?ret@127.0.0.1:1", undefined, undefined],
        ["redis://:sec#ret@127.0.0.1:1", undefined, undefined],
        ["secret", undefined, undefined],
        [7, undefined, undefined],
    ];
    const seen = await traced("rs_script:connect", async () => {
        for (const [url] of urls) await assert.rejects(rs.connect(url, { reconnectAttempts: 1 }), rs.ScriptError);
    });
    const ended = seen.filter(([event]) => event === "asyncEnd").map(([, context]) => context);
    assert.deepEqual(
        ended.map(({ serverAddress, serverPort }) => [serverAddress, serverPort]),
        urls.map(([, ...place]) => place),
    );
    for (const { error, ...told } of ended) assert.doesNotMatch(JSON.stringify(told), /sec/);
});

test("events go to a channel as well", async (t) => {
    const seen = [];
    const hear = (message) => seen.push(message);
    dc.subscribe("rs_script:connection", hear);
    t.after(() => dc.unsubscribe("rs_script:connection", hear));
    const server = await Server.start();
    t.after(() => server.stop());
    const client = await rs.connect(server.url);
    await until("it is told", () => seen.length > 0);
    assert.deepEqual(
        seen.map(({ event, node, serverAddress }) => [event, node, serverAddress]),
        [["connect", server.socket, server.socket]],
    );
    await client.close();
});
