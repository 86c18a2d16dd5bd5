// User and password by a function: given, refused, late, renewed on connections that stand, and never shown.

"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");

const rs = require("..");
const { Server, program, until } = require("./support");

const ALL = ["~*", "&*", "+@all"];

/** A server whose default user is off, with the users app and other; `setPassword` sets that of app. */
async function guarded(t) {
    const server = await Server.start();
    t.after(() => server.stop());
    await server.cli("acl", "setuser", "admin", "on", "nopass", ...ALL);
    await server.cli("acl", "setuser", "other", "on", ">o", ...ALL);
    await server.cli("acl", "setuser", "app", "on", ">none", ...ALL);
    await server.cli("acl", "setuser", "default", "off");
    server.access.push("--user", "admin", "--pass", "any", "--no-auth-warning");
    const setPassword = (password) => server.cli("acl", "setuser", "app", "resetpass", `>${password}`);
    return { server, setPassword };
}

/** A client that is closed after the test. */
async function opened(t, url, options) {
    const client = await rs.connect(url, options);
    t.after(() => client.close());
    return client;
}

test("credentials are asked for each connection, and again on those that stand", async (t) => {
    const { server, setPassword } = await guarded(t);
    await setPassword("first secret");
    const asked = [];
    let give = async () => ({ username: "app", password: "first secret", lifetime: 3600_000 });
    const client = await opened(t, server.url, {
        credentials: (node, { signal }) => {
            asked.push(node);
            assert.equal(signal.aborted, false);
            return give();
        },
    });
    const told = [];
    for (const name of ["authError", "reauthenticated", "userChanged", "lost"]) {
        client.on(name, (details) => told.push({ name, ...details }));
    }
    assert.equal(await client.command("ACL", "WHOAMI"), "app");
    assert.deepEqual(asked, [server.socket]);
    const before = await client.command("CLIENT", "ID");
    // Rotated: refused while the server has another, and the connection stands all the while.
    give = () => ({ username: "app", password: Buffer.from("second secret") });
    await assert.rejects(client.reauthenticate(), (error) =>
        error instanceof rs.ConnectError && error.code === "RS_ERR_AUTH" && error.serverCode === "WRONGPASS");
    await setPassword("second secret");
    await client.reauthenticate();
    assert.equal(await client.command("CLIENT", "ID"), before);
    give = async () => {
        throw new Error("the vault is sealed");
    };
    await assert.rejects(client.reauthenticate(), /the vault is sealed/);
    assert.equal(await client.command("PING"), "PONG");
    give = () => ({ username: "other", password: "o" });
    await client.reauthenticate();
    await until("it is the other user", () => client.command("ACL", "WHOAMI").then((who) => who === "other"));
    await until("all is told", () => told.some(({ name }) => name === "userChanged"));
    assert.deepEqual([...new Set(told.map(({ name }) => name))], ["authError", "reauthenticated", "userChanged"]);
    assert.doesNotMatch(JSON.stringify(told), /secret/);
});

test("tokens that expire are renewed in time, by an idle client too", async (t) => {
    const { server, setPassword } = await guarded(t);
    let number = 0;
    const client = await opened(t, server.url, {
        credentials: async () => {
            const password = `token ${(number += 1)}`;
            await setPassword(password);
            // Less than a second is taken for a second.
            return { username: "app", password, lifetime: -5 };
        },
    });
    const id = await client.command("CLIENT", "ID");
    await until("it is renewed by itself", () => number >= 3);
    await until("it is renewed between calls", async () => {
        assert.equal(await client.command("PING"), "PONG");
        return number >= 5;
    });
    assert.equal(await client.command("CLIENT", "ID"), id);
});

test("why there are none is the error of connecting", async (t) => {
    const { server, setPassword } = await guarded(t);
    await setPassword("secret");
    const hidden = new Error("mine");
    Object.defineProperty(hidden, "message", { get: () => assert.fail("secret") });
    for (const [credentials, says] of [
        [() => Promise.reject(new Error("the vault is sealed")), /the vault is sealed/],
        [() => { throw new Error("at once\0 and more"); }, /at once  and more/],
        [() => Promise.reject("secret"), /threw a value of type string/],
        [() => Promise.reject(hidden), /cannot be shown/],
        [() => Promise.reject(undefined), /threw undefined/],
        [() => undefined, /no object with a password, but undefined/],
        [() => "secret", /no object/],
        [() => ({}), /password must be a string or a Buffer/],
        [() => ({ password: 7 }), /password must be a string or a Buffer/],
        [() => ({ username: "", password: "secret" }), /username must be/],
        [() => ({ username: "a\0b", password: "secret" }), /username must be/],
        [() => ({ username: "app", password: "secret", lifetime: "15 minutes" }), /lifetime must be/],
        [() => ({ username: "app", password: "secret", lifetime: NaN }), /lifetime must be/],
        [() => ({ get password() { throw new Error("of a getter"); } }), /of a getter/],
        [() => ({ username: "app", password: "wrong secret" }), /WRONGPASS/],
        [() => ({ password: "" }), /WRONGPASS/],
    ]) {
        const error = await rs.connect(server.url, { credentials, reconnectAttempts: 1 })
            .then(() => assert.fail("it connected"), (error) => error);
        assert.ok(error instanceof rs.ConnectError && error.code === "RS_ERR_AUTH" && error.notExecuted, String(error));
        assert.match(error.message, says);
        assert.doesNotMatch(error.message, /secret/);
    }
    const works = await opened(t, server.url, {
        credentials: () => ({ username: "app", password: "secret", lifetime: Infinity }),
    });
    assert.equal(await works.command("PING"), "PONG");
    const wrong = [{ credentials: 7 }, { credentials: null }, { credentials: () => ({}), password: "secret" }];
    for (const options of wrong) {
        await assert.rejects(rs.connect(server.url, options), rs.ArgumentError);
    }
    const withPassword = server.url.replace("unix://", "unix://app:secret@");
    await assert.rejects(rs.connect(withPassword, { credentials: () => ({}) }), rs.ArgumentError);
    const plain = await Server.start();
    t.after(() => plain.stop());
    await assert.rejects((await opened(t, plain.url)).reauthenticate(), rs.ArgumentError);
});

test("a function that does not settle holds up no deadline and no close, and is not called twice", async (t) => {
    const { server, setPassword } = await guarded(t);
    await setPassword("secret");
    let asked = 0;
    let signal;
    const never = (node, context) => {
        asked += 1;
        signal = context.signal;
        return new Promise(() => {});
    };
    const options = { credentials: never, lazyConnect: true, connectTimeout: 60_000, callTimeout: 60_000 };
    const client = await opened(t, server.url, options);
    await assert.rejects(client.command(["PING"], { timeout: 20 }), rs.TimeoutError);
    const pending = client.command("PING");
    await until("it is asked", () => asked > 0);
    assert.deepEqual([asked, signal.aborted], [1, false]);
    await client.close();
    await assert.rejects(pending, (error) => error instanceof rs.ClosedError && error.notExecuted);
    assert.equal(signal.aborted, true);
    // The attempt ends at the connect timeout, and so does the signal; the next attempts wait for the same answer.
    asked = 0;
    const given = { username: "app", password: "secret" };
    let settle;
    const credentials = (node, context) => {
        never(node, context);
        return asked > 1 ? given : new Promise((resolve) => (settle = resolve));
    };
    const late = await opened(t, server.url, {
        ...options,
        connectTimeout: 50,
        reconnectAttempts: 0,
        reconnectBackoff: { min: 1, max: 5 },
        credentials,
    });
    let failed = 0;
    for (const name of ["connectError", "authError"]) late.on(name, () => (failed += 1));
    const call = late.command("PING");
    await until("the signal ends", () => signal?.aborted && signal.reason.name === "TimeoutError");
    await until("it has been tried again", () => failed >= 3);
    assert.equal(asked, 1);
    settle(given);
    assert.equal(await call, "PONG");
});

test("who logs in again is not given what the function was asked for before", async (t) => {
    const { server, setPassword } = await guarded(t);
    await setPassword("old");
    let password = "old";
    let go = Promise.resolve();
    let asked = 0;
    const credentials = async () => {
        const given = { username: "app", password };
        asked += 1;
        await go;
        return given;
    };
    const client = await opened(t, server.url, { credentials, connectTimeout: 60_000, callTimeout: 60_000 });
    await client.command("PING");
    let open;
    go = new Promise((resolve) => (open = resolve));
    const pop = client.command("BLPOP", "list", "0");
    await until("it is asked", () => asked === 2);
    password = "new";
    await setPassword("new");
    const again = client.reauthenticate();
    await client.command("PING");
    open();
    await again;
    await client.command("RPUSH", "list", "job");
    assert.deepEqual(await pop, ["list", "job"]);
    // Both may have waited for one answer, or each for its own.
    assert.ok(asked === 3 || asked === 4, `${asked} times`);
});

test("a function may close the client, and settle after it", async (t) => {
    const { server } = await guarded(t);
    let client;
    let settle;
    client = await rs.connect(server.url, {
        lazyConnect: true,
        credentials: () => {
            client.close();
            return new Promise((resolve) => (settle = resolve));
        },
    });
    await assert.rejects(client.command("PING"), rs.ClosedError);
    settle({ username: "app", password: "secret" });
    await new Promise(setImmediate);
});

test("logging in again between many calls disturbs none", async (t) => {
    const { server, setPassword } = await guarded(t);
    await setPassword("secret");
    const credentials = async () => ({ username: "app", password: "secret", lifetime: 1000 });
    const client = await opened(t, server.url, { credentials, sharedConnections: 3 });
    const add = client.script("return redis.call('INCR', KEYS[1])");
    let calls = 0;
    for (let round = 0; round < 20; round++) {
        const replies = Array.from({ length: 200 }, () => add(["n"]));
        await client.reauthenticate();
        calls += (await Promise.all(replies)).length;
    }
    assert.equal(await add(["n"]), calls + 1);
});

test("a client that waits for nothing does not keep the process alive, and one in a worker may end", async (t) => {
    const { server, setPassword } = await guarded(t);
    await setPassword("secret");
    const path = JSON.stringify(require.resolve(".."));
    const idle = `
        const rs = require(${path});
        const credentials = async () => ({ username: "app", password: "secret", lifetime: 1000 });
        rs.connect(process.argv[1], { credentials }).then((client) => client.command("PING")).then(console.log);`;
    assert.deepEqual(await program(idle, { args: [server.url] }), { code: 0, stdout: "PONG\n", stderr: "" });
    const worker = `
        const { Worker } = require("node:worker_threads");
        const inner = \`
            const rs = require(${path});
            const { parentPort } = require("node:worker_threads");
            const credentials = () => (parentPort.postMessage(0), new Promise(() => {}));
            rs.connect(\${JSON.stringify(process.argv[1])}, { lazyConnect: true, credentials })
                .then((client) => client.command("PING"));\`;
        const worker = new Worker(inner, { eval: true });
        worker.once("message", () => worker.terminate().then(() => console.log("ended")));`;
    assert.deepEqual(await program(worker, { args: [server.url] }), { code: 0, stdout: "ended\n", stderr: "" });
});
