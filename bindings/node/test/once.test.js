// Calls that happen exactly once, and the replies that are lost on their way.

"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const net = require("node:net");
const path = require("node:path");
const { after, before, beforeEach, test } = require("node:test");

const rs = require("..");
const { Server, folder } = require("./support");

const ADD = "return redis.call('INCRBY', KEYS[1], ARGV[1])";

/** Stands between clients and a server, and can lose what the server says next, and the connection with it. */
class LossyProxy {
    isArmed = false;

    static async start(server) {
        const proxy = new LossyProxy();
        proxy.listener = net.createServer((client) => {
            const upstream = net.connect(server.socket);
            const end = () => {
                client.destroy();
                upstream.destroy();
            };
            for (const socket of [client, upstream]) socket.on("error", end).on("close", end);
            client.on("data", (bytes) => upstream.write(bytes));
            upstream.on("data", (bytes) => {
                if (!proxy.isArmed) return client.write(bytes);
                proxy.isArmed = false;
                return end();
            });
        });
        proxy.folder = folder();
        proxy.socket = path.join(proxy.folder, "s");
        proxy.url = `unix://${proxy.socket}`;
        await new Promise((resolve) => proxy.listener.listen(proxy.socket, resolve));
        return proxy;
    }

    stop() {
        this.listener.close();
        fs.rmSync(this.folder, { recursive: true, force: true });
    }
}

let server, proxy, client, other;
before(async () => {
    server = await Server.start();
    proxy = await LossyProxy.start(server);
    client = await rs.connect(proxy.url);
    other = await rs.connect(server.url);
});
beforeEach(() => other.command("FLUSHALL"));
after(async () => {
    await client.close();
    await other.close();
    proxy.stop();
    await server.stop();
});

for (const asFunction of [false, true]) {
    test(`a call survives the loss of its reply, of a ${asFunction ? "function" : "script"}`, async () => {
        const plain = client.script(ADD, { asFunction });
        const once = client.script(ADD, { asFunction, once: true });
        // So that what is lost is the reply to the call, and it alone.
        assert.equal(await plain(["n"], [1]), 1);
        assert.equal(await once(["n"], [1]), 2);
        proxy.isArmed = true;
        await assert.rejects(plain(["n"], [1]), rs.IndeterminateError);
        for (let want = 4; want < 24; want++) {
            proxy.isArmed = true;
            assert.equal(await once(["n"], [1]), want);
            assert.ok(!proxy.isArmed, "no reply was lost");
        }
        for (const [make, want] of [["pipeline", 24], ["transaction", 26]]) {
            await client[make]().script(once, ["n"], [0]).exec();
            proxy.isArmed = true;
            assert.deepEqual(await client[make]().script(once, ["n"], [1]).script(once, ["n"], [1]).exec(), [want, want + 1]);
            assert.ok(!proxy.isArmed, "no reply was lost");
        }
    });
}

test("a token is answered alike wherever it comes from", async () => {
    const once = client.script(ADD, { once: { lifetime: 3_600_000, prefix: "jobs:" }, name: "add" });
    const elsewhere = other.script(ADD, { once: { prefix: Buffer.from("jobs:") } });
    for (const token of ["job 1", Buffer.from([0, 255])]) {
        const before = Number((await client.command("GET", "n")) ?? 0);
        for (let i = 0; i < 3; i++) {
            assert.equal(await once(["n"], [5], { token }), before + 5);
            assert.equal(await once.on(other)(["n"], [5], { token }), before + 5);
            assert.equal(await elsewhere(["n"], [5], { token }), before + 5);
        }
        await assert.rejects(once(["n"], [6], { token }), (error) => {
            assert.ok(error instanceof rs.ServerError && error.notExecuted);
            return error.code === "RS_ERR_TOKEN_MISMATCH" && error.serverCode === "RSTOKEN";
        });
    }
    assert.equal((await client.command("KEYS", "jobs:*")).length, 2);
    const left = await client.command("PTTL", (await client.command("KEYS", "jobs:*job 1"))[0]);
    assert.ok(left > 60_000);
});

test("a token of an item's own, and one for all", async () => {
    const once = client.script(ADD, { once: true });
    for (const make of ["pipeline", "transaction"]) {
        await client.command("SET", "n", 0);
        for (let i = 0; i < 2; i++) {
            assert.deepEqual(await client[make]().script(once, ["n"], [1], { token: make }).exec(), [1]);
            const both = client[make]().script(once, ["n"], [10]).script(once, ["n"], [10]);
            assert.deepEqual(await both.exec({ token: Buffer.from(make) }), [11, 21]);
        }
    }
    await assert.rejects(client.pipeline().script(once, ["n"], [1]).command("GET", "n").exec({ token: "t" }), rs.ArgumentError);
});

const LIBRARY = `#!lua name=stock
redis.register_function('add', function(keys, args) return redis.call('INCRBY', keys[1], args[1]) end)
redis.register_function{function_name='get', callback=function(keys) return redis.call('GET', keys[1]) end,
  flags={'no-writes'}}`;

test("each call of a library's functions happens once, and the library is administered as any", async () => {
    const said = { lifetime: 3_600_000, replyLimit: 1000, prefix: "jobs:" };
    const plain = client.library(LIBRARY);
    const library = client.library(LIBRARY, { once: said });
    assert.notEqual(plain.name, library.name);
    const state = async (which) => [...(await other.libraryCheck(which)).values()][0];
    await other.command("FUNCTION", "FLUSH");
    assert.equal(await state(library), "absent");
    const [add, get] = [library.function("add"), library.function("get")];
    assert.equal(await add(["n"], [1]), 1);
    assert.equal(await state(library), "same");
    assert.equal(await state(plain), "absent");
    assert.equal(await state(client.library(LIBRARY, { once: true })), "absent");
    assert.equal(await state(client.library(LIBRARY, { once: { ...said, waitReplicas: 1, waitTimeout: 5 } })), "same");
    let want = 1;
    for (let i = 0; i < 20; i++) {
        proxy.isArmed = true;
        assert.equal(await add(["n"], [1]), ++want);
        assert.ok(!proxy.isArmed, "no reply was lost");
    }
    for (const make of ["pipeline", "transaction"]) {
        const both = () => client[make]().script(add, ["n"], [1]).script(add, ["n"], [1]).exec();
        await other.command("FUNCTION", "FLUSH");
        assert.deepEqual(await both(), [want + 1, want + 2]);
        proxy.isArmed = true;
        assert.deepEqual(await both(), [want + 3, want + 4]);
        want += 4;
    }
    want++;
    for (const by of [client, other, client]) assert.equal(await add.on(by)(["n"], [1], { token: "job" }), want);
    await assert.rejects(add(["n"], [2], { token: "job" }), { code: "RS_ERR_TOKEN_MISMATCH" });
    assert.ok((await other.command("KEYS", "jobs:*")).length > 0);
    // What only reads has no token.
    assert.equal(await get.ro(["n"]), String(want));
    assert.equal(await get(["n"]), String(want));
    await assert.rejects(get(["n"], [], { token: "t" }), (error) => error instanceof rs.ArgumentError && error.notExecuted);

    assert.deepEqual([...(await other.libraryLoad(plain)).values()], ["loaded"]);
    assert.deepEqual([...(await other.libraryDeploy(library)).values()], ["same"]);
    assert.deepEqual([...(await other.libraryPrune([library])).values()], [[plain.name]]);
    assert.equal(await state(library), "same");
});

test("tokens of a library have the prefix of all where none is said", async () => {
    const add = client.library(LIBRARY, { once: { lifetime: 2 ** 33 } }).function("add");
    assert.equal(await add(["n"], [1]), 1);
    assert.equal((await other.command("KEYS", "rs:once:*")).length, 1);
    assert.equal(await client.script(ADD, { once: {} })(["n"], [1]), 2);
    assert.equal((await other.command("KEYS", "rs:once:*")).length, 2);
    // The lifetime has more than 32 bits.
    assert.equal([...(await other.libraryCheck(client.library(LIBRARY, { once: { lifetime: 2 ** 33 } }))).values()][0], "same");
});

test("what cannot be of a library is refused before anything is sent", () => {
    const { calls } = client.stats();
    for (const options of [
        { once: true, named: true },
        { once: "yes" },
        { once: { life: 1 } },
        { once: { lifetime: 1 } },
        { once: { replyLimit: 1 } },
        { once: { prefix: "{x}" } },
        { once: { waitReplicas: 1001 } },
        { once: { waitTimeout: 5 } },
    ]) {
        assert.throws(() => client.library(LIBRARY, options), rs.ArgumentError, JSON.stringify(options));
    }
    const library = client.library(LIBRARY);
    assert.throws(() => library.function("add", { once: true }), rs.ArgumentError);
    assert.equal(client.stats().calls, calls);
});

test("what cannot be is refused before anything is sent", async () => {
    const { calls } = client.stats();
    for (const options of [
        { once: true, idempotent: true },
        { once: "yes" },
        { once: { life: 1 } },
        { once: { lifetime: 1 } },
        { once: { lifetime: -1 } },
        { once: { replyLimit: 1 } },
        { once: { prefix: "{x}" } },
        { once: { prefix: 1 } },
        { once: { waitReplicas: 2 ** 31 } },
        { once: { waitReplicas: 1, waitTimeout: 2 ** 32 } },
        { asFunction: 1 },
    ]) {
        assert.throws(() => client.script(ADD, options), rs.ArgumentError, JSON.stringify(options));
    }
    const once = client.script(ADD, { once: true });
    for (const refused of [
        () => once(["n"], [1], { token: "" }),
        () => once(["n"], [1], { token: "x".repeat(257) }),
        () => once(["n"], [1], { token: 1 }),
        () => once.ro(["n"], [1], { token: "t" }),
        () => client.script(ADD)(["n"], [1], { token: "t" }),
        () => client.pipeline().script(client.script(ADD), ["n"], [1], { token: "t" }).exec(),
        () => client.command(["GET", "n"], { token: "t" }),
    ]) {
        await assert.rejects(refused, (error) => error instanceof rs.ArgumentError && error.notExecuted, String(refused));
    }
    assert.throws(() => client.pipeline().script(once, ["n"], [1], { token: 1 }), rs.ArgumentError);
    assert.throws(() => client.pipeline().script(once, ["n"], [1], { timeout: 1 }), rs.ArgumentError);
    assert.equal(client.stats().calls, calls);
});

test("a reply that is too long to be kept, and replicas that are not there", async () => {
    const long = client.script("return string.rep('x', 100)", { once: { replyLimit: 64 } });
    assert.equal(await long(["k"], [], { token: "long" }), "x".repeat(100));
    await assert.rejects(long(["k"], [], { token: "long" }), { code: "RS_ERR_REPLY_NOT_KEPT", notExecuted: false, indeterminate: false });
    const waits = client.script(ADD, { once: { waitReplicas: 1, waitTimeout: 1 } });
    await assert.rejects(waits(["n"], [1], { timeout: 500 }), (error) => {
        assert.ok(error instanceof rs.IndeterminateError && error.indeterminate);
        return error.code === "RS_ERR_NOT_REPLICATED";
    });
});

test("a server that evicts keys is told of", { timeout: 300_000 }, async (t) => {
    const evicting = await Server.start();
    t.after(() => evicting.stop());
    await evicting.cli("config", "set", "maxmemory-policy", "allkeys-lru");
    await evicting.cli("config", "set", "maxmemory", "100mb");
    const own = await rs.connect(evicting.url, { lazyConnect: true });
    t.after(() => own.close());
    const told = new Promise((resolve) => own.once("evictsTokens", resolve));
    assert.equal(await own.script(ADD, { once: true })(["n"], [1]), 1);
    assert.equal(typeof (await told).message, "string");
});
