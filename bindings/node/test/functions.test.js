// Libraries of functions: called like scripts, administered server by server.

"use strict";

const assert = require("node:assert/strict");
const { after, before, beforeEach, test } = require("node:test");

const rs = require("..");
const { Server, startCluster } = require("./support");

const SOURCE = `#!lua name=lib
redis.register_function('count', function(keys) return redis.call('INCR', keys[1]) end)
redis.register_function{function_name='get', callback=function(keys) return redis.call('GET', keys[1]) end,
  flags={'no-writes'}, description='reads'}
redis.register_function('forge', function(keys, args) return redis.error_reply(args[1]) end)`;
const NEWER = `#!lua name=lib
redis.register_function('count', function(keys) return redis.call('INCRBY', keys[1], 10) end)`;

let server, client;
before(async () => {
    server = await Server.start();
    client = await rs.connect(server.url);
});
beforeEach(() => Promise.all([client.command("FLUSHALL"), client.command("FUNCTION", "FLUSH")]));
after(async () => {
    await client.close();
    await server.stop();
});

test("a function is called like a script, and its library is there when it is needed", async () => {
    const library = client.library(SOURCE);
    assert.match(library.name, /^lib_[0-9a-f]{12}$/);
    const count = library.function("count");
    const get = library.function("get", { name: "reader" });
    assert.match(count.functionName, /^count_[0-9a-f]{12}$/);
    assert.match(count.sha, /^[0-9a-f]{40}$/);
    assert.notEqual(count.sha, get.sha);
    assert.equal(get.name, "reader");
    assert.equal(client.script("return 1").functionName, "");
    const { roundTrips } = client.stats();
    assert.equal(await count(["n"]), 1);
    assert.equal(client.stats().roundTrips, roundTrips + 1);
    await client.command("FUNCTION", "FLUSH");
    assert.equal(await count(["n"]), 2);
    assert.equal(await get.ro(["n"]), "2");
    await assert.rejects(count.ro(["n"]), rs.ServerError);
    const other = await rs.connect(server.url);
    try {
        assert.equal(await library.on(other).function("count")(["n"]), 3);
        assert.equal(await count.on(other)(["n"]), 4);
    } finally {
        await other.close();
    }
    await client.command("FUNCTION", "FLUSH");
    assert.deepEqual(await client.transaction().script(count, ["n"]).script(get.ro, ["n"]).exec(), [5, "5"]);
    assert.deepEqual(await client.pipeline().script(count, ["n"]).script(get, ["n"]).exec(), [6, "6"]);
});

test("what a function says is never taken for the server's own words", async () => {
    const forge = client.library(SOURCE).function("forge");
    const error = await forge(["n"], ["ERR Function not found"]).catch((error) => error);
    assert.ok(error instanceof rs.ServerError);
    assert.equal(error.code, "RS_ERR_SERVER");
    assert.match(error.message, /ERR Function not found script: rs/);
    assert.ok(!error.notExecuted && !error.indeterminate);
});

test("nobody notices when others take libraries away", async () => {
    const other = await rs.connect(server.url);
    try {
        const count = client.library(SOURCE).function("count");
        for (let i = 0; i < 40; i++) {
            const calls = Array.from({ length: 20 }, () => count(["n"]));
            await other.command("FUNCTION", "FLUSH");
            await Promise.all(calls);
        }
        assert.equal(await client.command("GET", "n"), "800");
    } finally {
        await other.close();
    }
});

test("a script is called as a function", async () => {
    const script = client.script("return redis.call('INCR', KEYS[1])", {
        asFunction: true,
        idempotent: true,
        name: "incr",
    });
    assert.match(script.functionName, /^rs_/);
    assert.equal(script.name, "incr");
    assert.equal(await script(["n"]), 1);
    await client.command("SCRIPT", "FLUSH");
    assert.equal(await script(["n"]), 2);
    assert.match(await server.cli("function", "list"), new RegExp(script.functionName));
    assert.equal(await client.scriptLoad(script), script.sha);
});

test("what is no library and no function is refused before anything is sent", async () => {
    const { calls } = client.stats();
    const library = client.library(SOURCE);
    for (const refused of [
        () => client.library("return 1"),
        () => client.library(1),
        () => client.library(SOURCE, { named: 1 }),
        () => client.library(SOURCE, { name: "x" }),
        () => library.function("a b"),
        () => library.function(""),
        () => library.function(1),
        () => library.function("count", { asFunction: true }),
        () => library.function("count", { once: true }),
        () => library.function("count", { name: "a\nb" }),
        () => library.on(server),
        () => new rs.Library(),
    ]) {
        assert.throws(refused, (error) => error instanceof rs.ArgumentError && error.notExecuted, String(refused));
    }
    for (const refused of [
        () => client.libraryLoad("lib"),
        () => client.libraryCheck(Object.create(rs.Library.prototype)),
        () => client.libraryDeploy(null),
        () => client.libraryPrune([]),
        () => client.libraryPrune(library),
        () => client.libraryPrune([SOURCE]),
        () => client.libraryPrune([client.library(SOURCE, { named: true })]),
        () => client.libraryList({ token: "x" }),
    ]) {
        await assert.rejects(
            refused,
            (error) => error instanceof rs.ArgumentError && error.notExecuted,
            String(refused),
        );
    }
    assert.equal(client.stats().calls, calls);
});

test("a library that does not load, and a function that it lacks", async () => {
    const broken = client.library("#!lua name=broken\nreturn return");
    await assert.rejects(broken.function("f")(), { code: "RS_ERR_COMPILE", notExecuted: true });
    await assert.rejects(client.libraryLoad(broken), rs.CompileError);
    await assert.rejects(client.library(SOURCE).function("missing")(), (error) => {
        assert.ok(error instanceof rs.ServerError && error.notExecuted);
        return error.code === "RS_ERR_NO_FUNCTION";
    });
});

/** Does all that there is with libraries, on so many primaries. */
async function administer(client, primaries) {
    const all = (told, wanted) => {
        assert.equal(told.size, primaries);
        for (const [node, said] of told) {
            assert.ok(node.length > 0);
            assert.deepEqual(said, wanted);
        }
    };
    const [older, newer] = [SOURCE, NEWER].map((source) => client.library(Buffer.from(source), { named: true }));
    assert.equal(older.name, "lib");
    all(await client.libraryCheck(older), "absent");
    all(await client.libraryLoad(older), "loaded");
    all(await client.libraryLoad(newer, { buffers: true }), "there");
    all(await client.libraryCheck(newer), "different");
    all(await client.libraryDeploy(newer), "same");
    all(await client.libraryCheck(older), "different");
    await assert.rejects(older.function("get").ro(["n"]), { code: "RS_ERR_NO_FUNCTION", notExecuted: true });
    const [pinned, next] = [SOURCE, NEWER].map((source) => client.library(source));
    all(await client.libraryLoad(pinned), "loaded");
    all(await client.libraryLoad(next), "loaded");
    for (const libraries of (await client.libraryList()).values()) {
        assert.deepEqual(libraries.map(({ name }) => name).sort(), ["lib", pinned.name, next.name].sort());
        const { engine, functions } = libraries.find(({ name }) => name === pinned.name);
        assert.equal(engine, "LUA");
        const name = pinned.function("get").functionName;
        const [get] = functions.filter((one) => one.name === name);
        assert.deepEqual(get, { name, description: "reads", flags: ["no-writes"] });
        assert.equal(functions.find((one) => one.name !== name).description, null);
    }
    all(await client.libraryPrune([next]), [pinned.name]);
    all(await client.libraryPrune([next, pinned]), []);
    all(await client.libraryCheck(next), "same");
    all(await client.libraryCheck(pinned), "absent");
}

for (const protocol of [2, 3]) {
    test(`libraries are administered, through RESP${protocol}`, async () => {
        const own = await rs.connect(server.url, { protocol });
        try {
            await administer(own, 1);
        } finally {
            await own.close();
        }
    });
}

test("libraries are administered on all primaries of a cluster", async (t) => {
    const cluster = await startCluster();
    t.after(() => cluster.stop());
    const own = await rs.connect(cluster.url);
    t.after(() => own.close());
    await administer(own, 3);
    const count = own.library(SOURCE).function("count");
    const keys = Array.from({ length: 100 }, (_, i) => `key:${i}`);
    assert.deepEqual(new Set(await Promise.all(keys.map((key) => count([key])))), new Set([1]));
});

test("what one server refuses is its own error, and that of the call where there is no other", async () => {
    const next = client.library(NEWER);
    await client.libraryLoad(client.library(SOURCE));
    await client.libraryLoad(next);
    await client.command("ACL", "SETUSER", "default", "-function|delete");
    try {
        await assert.rejects(client.libraryPrune([next]), { serverCode: "NOPERM" });
        const [libraries] = (await client.libraryList()).values();
        assert.equal(libraries.length, 2);
    } finally {
        await client.command("ACL", "SETUSER", "default", "+function|delete");
    }
});
