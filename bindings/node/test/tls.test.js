// TLS: whom a client trusts, under which name, and what it shows of itself.

"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const { after, before, test } = require("node:test");

const rs = require("..");
const { Authority } = require("./certificates");
const { folder } = require("./support");

let dir, authority, valid, elsewhere, own;
before(async () => {
    dir = folder();
    authority = await Authority.create(dir);
    valid = await authority.sign("server", "IP:127.0.0.1,DNS:localhost");
    elsewhere = await authority.sign("elsewhere", "DNS:elsewhere.example");
    own = await authority.sign("client", "DNS:client");
});
after(() => fs.rmSync(dir, { recursive: true }));

/** A server for one test. */
async function serving(t, ...how) {
    const server = await authority.serve(...how);
    t.after(() => server.stop());
    return server;
}

/** Connects, calls and closes. */
async function works(url, options) {
    const client = await rs.connect(url, options);
    const echo = client.script("return {KEYS[1], ARGV[1]}");
    const large = "x".repeat(1_000_000);
    const replies = await Promise.all(Array.from({ length: 10 }, (_, i) => echo([`key${i}`], [large])));
    assert.deepEqual(replies, Array.from({ length: 10 }, (_, i) => [`key${i}`, large]));
    assert.deepEqual(await client.transaction().command("SET", "foo", 5).command("GET", "foo").exec(), ["OK", "5"]);
    await client.close();
}

/** What connecting fails with. */
async function refused(url, options, code) {
    const error = await rs.connect(url, options).then(() => assert.fail("it connected"), (error) => error);
    assert.ok(error instanceof rs.ConnectError && error.notExecuted, String(error));
    assert.equal(error.code, code, error.message);
    return error.message;
}

test("the given authority is trusted, and no other", async (t) => {
    const { url } = await serving(t, valid);
    await works(url, { tlsCaFile: authority.ca });
    await works(url.replace("127.0.0.1", "localhost"), { tlsCaFile: authority.ca });
    await works(url, { tlsInsecureSkipVerify: true });
    await refused(url, {}, "RS_ERR_TLS");
    const stranger = await Authority.create(dir, "stranger");
    await refused(url, { tlsCaFile: stranger.ca }, "RS_ERR_TLS");
});

test("the server's name is checked", async (t) => {
    const { url } = await serving(t, elsewhere);
    assert.match(await refused(url, { tlsCaFile: authority.ca }, "RS_ERR_TLS"), /name/);
    await works(url, { tlsCaFile: authority.ca, tlsServerName: "elsewhere.example" });
    await refused(url, { tlsCaFile: authority.ca, tlsServerName: "nowhere.example" }, "RS_ERR_TLS");
});

test("a server that wants a certificate of its clients gets it", async (t) => {
    const { url } = await serving(t, valid, "yes");
    await works(url, { tlsCaFile: authority.ca, tlsClientCert: own });
    const error = await rs.connect(url, { tlsCaFile: authority.ca })
        .then(() => assert.fail("it connected"), (error) => error);
    assert.ok(error instanceof rs.ConnectError, String(error));
});

test("certificates and keys from memory", async (t) => {
    const { url } = await serving(t, valid, "yes");
    const files = [authority.ca, own.cert, own.key, elsewhere.key];
    const [ca, cert, key, strange] = files.map((file) => fs.readFileSync(file));
    await works(url, { tlsCaPem: ca, tlsClientCertPem: { cert, key } });
    await works(url, {
        tlsCaPem: ca.toString(),
        tlsClientCertPem: { cert: cert.toString(), key: new Uint8Array(key) },
    });
    for (const options of [
        { tlsCaPem: "" },
        { tlsCaPem: key },
        { tlsCaPem: 7 },
        { tlsCaPem: ca, tlsClientCertPem: { cert, key: strange } },
        { tlsCaPem: ca, tlsClientCertPem: { cert, key: "" } },
        { tlsCaPem: ca, tlsClientCertPem: { cert } },
        { tlsCaPem: ca, tlsClientCertPem: null },
    ]) {
        const error = await rs.connect(url, options).then(() => assert.fail("it connected"), (error) => error);
        assert.ok(error instanceof rs.ArgumentError, String(error));
        assert.doesNotMatch(error.message, /BEGIN/);
    }
});

test("files that are not there, or are something else, are errors", async (t) => {
    const { url } = await serving(t, valid);
    const missing = `${dir}/missing.pem`;
    for (const options of [
        { tlsCaFile: missing },
        { tlsCaFile: own.key },
        { tlsCaFile: authority.ca, tlsClientCert: { cert: missing, key: own.key } },
        { tlsCaFile: authority.ca, tlsClientCert: { cert: own.cert, key: missing } },
        { tlsCaFile: authority.ca, tlsClientCert: { cert: own.cert, key: elsewhere.key } },
    ]) {
        await assert.rejects(
            rs.connect(url, options),
            (error) => error instanceof rs.ScriptError && error.notExecuted,
            JSON.stringify(options),
        );
    }
    for (const tlsClientCert of [null, 7, {}, { cert: own.cert }, { cert: own.cert, key: 7 }, "cert"]) {
        await assert.rejects(rs.connect(url, { tlsClientCert }), rs.ArgumentError);
    }
});

test("no TLS where it is wanted, and TLS where it is not", async (t) => {
    const { url, port } = await serving(t, valid);
    await assert.rejects(rs.connect(`redis://127.0.0.1:${port}`, { reconnectAttempts: 1 }), rs.ConnectError);
    await works(url, { tlsCaFile: authority.ca });
});
