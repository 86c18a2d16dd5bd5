// What an error says: its numbers and names, its name as an Error, and where the call was made.

"use strict";

const assert = require("node:assert/strict");
const { after, before, test } = require("node:test");
const { inspect } = require("node:util");

const rs = require("..");
const { errorOf, reasonOf } = require("../lib/errors");
const native = require("../lib/native");
const { Reader } = require("../lib/unpack");
const { Server, program } = require("./support");

let server, client;
before(async () => {
    server = await Server.start();
    client = await rs.connect(server.url, { silenceTimeout: 60_000 });
});
after(async () => {
    await client.close();
    await server.stop();
});

const failed = (promise) => promise.then(assert.fail, (error) => error);

test("numbers and names are those of the native library", () => {
    for (let status = 1; status < 1000; status++) {
        assert.equal(errorOf(status, { message: "" }).code, native.statusName(status));
    }
    for (let reason = 0; reason < 100; reason++) {
        assert.equal(errorOf(400, { message: "", reason }).reason, native.reasonName(reason));
    }
    for (const [name, reason] of Object.entries(reasonOf)) assert.equal(native.reasonName(reason), `RS_REASON_${name}`);
});

test("errors are called by their class, and TimeoutError where the time was over", async () => {
    const wrong = await failed(client.command("NOSUCHCOMMAND"));
    assert.deepEqual([wrong.name, wrong.stack.split(":")[0]], ["ServerError", "ServerError"]);
    // On a connection that there is, and so it is sent.
    server.pause();
    const late = await failed(client.command(["PING"], { timeout: 20 }));
    assert.deepEqual(
        [late.name, late.code, late instanceof rs.IndeterminateError],
        ["TimeoutError", "RS_ERR_INDETERMINATE", true],
    );
    assert.ok(late instanceof rs.TimeoutError && late.stack.startsWith("TimeoutError: "));
    assert.ok(inspect(late).includes("TimeoutError"));
    // As fetch() and other functions of Node with such a signal have it.
    const signalled = await failed(client.command(["PING"], { signal: AbortSignal.timeout(20) }));
    server.resume();
    assert.deepEqual(
        [signalled.name, signalled.cause.name, signalled.reason],
        ["TimeoutError", "TimeoutError", "RS_REASON_CANCELLED"],
    );
    assert.ok(signalled instanceof rs.TimeoutError);
    const aborted = await failed(client.command(["PING"], { signal: AbortSignal.abort() }));
    assert.deepEqual([aborted.name, aborted.cause.name], ["CancelledError", "AbortError"]);
    assert.ok(!(aborted instanceof rs.TimeoutError) && !(new Error("x") instanceof rs.TimeoutError));
});

test("a boolean is refused with a sentence that says why", async () => {
    const error = await failed(client.script("return ARGV[1]")([], [false]));
    assert.match(error.message, /^args must not be booleans: .*Lua takes any text for true.*nothing was sent$/);
});

/** Its frames, as functions and files. */
const frames = ({ stack }) => stack.split("\n").slice(1).map((line) => line.trim());

test("the frames of who made the call are there on request, for whatever ends it", async () => {
    const slow = client.script("return redis.error_reply('MINE no')");
    async function mine(view, options) {
        // Not in the turn in which it began.
        await null;
        return slow.on(view)([], [], options);
    }
    const without = await failed(mine(client));
    assert.deepEqual(frames(without), []);
    const view = client.with({ callerStack: true });
    const traced = await failed(mine(view));
    assert.match(traced.stack, /^ServerError: MINE no\n/);
    assert.match(frames(traced)[0], /^at (async )?mine \(.*errors\.test\.js:\d+:\d+\)$/);
    assert.match(frames(traced)[1], /errors\.test\.js/);
    async function ofCommand() {
        return view.command("NOSUCHCOMMAND");
    }
    async function ofPipeline() {
        return view.pipeline().command("PING").command("NOSUCHCOMMAND").exec();
    }
    async function ofAdministration() {
        return view.scriptKill();
    }
    async function ofDeadline() {
        return view.command(["BLPOP", "none", 0], { timeout: 20 });
    }
    async function ofSignal() {
        const controller = new AbortController();
        setImmediate(() => controller.abort());
        return view.command(["BLPOP", "none", 0], { signal: controller.signal });
    }
    async function ofSignalAtOnce() {
        const controller = new AbortController();
        const call = view.command(["PING"], { signal: controller.signal });
        controller.abort();
        return call;
    }
    for (const of of [ofCommand, ofAdministration, ofDeadline, ofSignal, ofSignalAtOnce]) {
        assert.match(frames(await failed(of()))[0], new RegExp(`^at (async )?${of.name} \\(.*errors\\.test\\.js`));
    }
    const [, item] = await ofPipeline();
    assert.match(frames(item)[0], /^at ofPipeline \(.*errors\.test\.js/);
    const other = await rs.connect(server.url, { callerStack: true });
    assert.match(frames(await failed(other.command("NOSUCHCOMMAND")))[0], /errors\.test\.js/);
    const closing = failed(other.command("BLPOP", "none", 0));
    await new Promise(setImmediate);
    await other.close();
    assert.match(frames(await closing)[0], /errors\.test\.js/);
});

test("it works where Error is frozen, or keeps no frames", async () => {
    const source = (first) => `
        ${first}
        const rs = require(${JSON.stringify(require.resolve(".."))});
        rs.connect(process.argv[1], { callerStack: true }).then(async (client) => {
            const error = await client.command("NOSUCHCOMMAND").catch((error) => error);
            console.log(error.message.split(" ")[1] + Error.stackTraceLimit);
            await client.close();
        });`;
    for (const [first, limit] of [
        ["Object.freeze(Error);", 10],
        ["Error.stackTraceLimit = 0;", 0],
        ["Error.stackTraceLimit = 3;", 3],
    ]) {
        const { code, stdout, stderr } = await program(source(first), { args: [server.url] });
        assert.deepEqual([code, stdout.trim()], [0, `unknown${limit}`], stderr);
    }
});

test("a reply that Node cannot hold ends its call, and those behind it have theirs", () => {
    const completion = (tag, text) => {
        const bytes = Buffer.alloc(4 + 8 + 4 + 1 + 1 + 4 + text.length);
        bytes.writeUInt32LE(bytes.length - 4, 0);
        bytes.writeUInt32LE(tag, 4);
        bytes[17] = 5;
        bytes.writeUInt32LE(text.length, 18);
        bytes.write(text, 22);
        return bytes;
    };
    const buffer = Buffer.concat([completion(0, "too long for Node, let us say"), completion(1, "short")]);
    buffer.utf8Slice = () => {
        const error = new Error("Cannot create a string longer than 0x1fffffe8 characters");
        throw Object.assign(error, { code: "ERR_STRING_TOO_LONG" });
    };
    const ended = [];
    const calls = [0, 1].map(() => ({
        buffers: false,
        caller: null,
        resolve: (reply) => ended.push(reply),
        refuse: (error) => ended.push(error),
    }));
    const reader = new Reader();
    reader.begin(buffer, true);
    while (reader.at < buffer.length) reader.completion((tag) => calls[tag]);
    const [error, reply] = ended;
    assert.ok(error instanceof rs.IndeterminateError);
    assert.deepEqual([error.code, error.indeterminate, reply], ["RS_ERR_REPLY_LIMIT", true, "short"]);
    assert.match(error.message, /with the option `buffers` it is a Buffer; the call was executed$/);
});

test("an error stays what it is where the replies that arrived with it cannot be read", () => {
    const text = (value) => {
        const length = Buffer.alloc(4);
        length.writeUInt32LE(value.length, 0);
        return [length, Buffer.from(value)];
    };
    // A pipeline whose connection was lost, indeterminate; and what is no reply.
    const error = Buffer.concat([...text(""), ...text("the connection was lost"), Buffer.alloc(8), ...text("")]);
    const head = Buffer.alloc(17);
    head.writeUInt32LE(head.length - 4 + error.length + 1, 0);
    head.writeInt32LE(300, 12);
    head[16] = 1 | 4;
    const ended = [];
    const call = { caller: null, reject: (error) => ended.push(error), refuse: (error) => ended.push(error) };
    const reader = new Reader();
    const buffer = Buffer.concat([head, error, Buffer.from([99])]);
    reader.begin(buffer, true);
    reader.completion(() => call);
    assert.equal(reader.at, buffer.length);
    const [{ code, message, indeterminate, arrived }] = ended;
    assert.deepEqual(
        [code, message, indeterminate, arrived],
        ["RS_ERR_INDETERMINATE", "the connection was lost", true, undefined],
    );
});

/** Node's own pool for small Buffers is no larger, in any version. */
const POOL = 128 * 1024;

test("of a large reply a Buffer keeps no more than eight times its length alive", async () => {
    const large = "x".repeat(2_000_000);
    const [whole, [half, small, short]] = await client.with({ buffers: true }).pipeline()
        .command("ECHO", large)
        .script(client.script("return {ARGV[1], string.sub(ARGV[1], 1, 100000), 'five!'}"), [], [large])
        .exec();
    for (const [buffer, length] of [[whole, 2_000_000], [half, 2_000_000], [small, 100_000], [short, 5]]) {
        assert.equal(buffer.length, length);
        assert.ok(buffer.buffer.byteLength <= Math.max(8 * length, POOL), `${length} of ${buffer.buffer.byteLength}`);
    }
    assert.equal(half.buffer, whole.buffer);
});

test("errors call options and fields by their names here, and leave words of scripts alone", async () => {
    const pem = "x";
    const lua = client.library("#!lua name=lib\nredis.register_function('f', function() return 1 end)");
    const opened = (options) => () => rs.connect(server.url, options);
    const script = (options) => async () => client.script("return 1", options)();
    for (const [said, call] of [
        ["option callTimeout: must", opened({ callTimeout: 2 ** 40 })],
        ["option maxReplyDepth: must", opened({ maxReplyDepth: 1 })],
        ["option maxReplyBytes: must", opened({ maxReplyBytes: 1 })],
        ["option maxWaiting: must", opened({ maxWaiting: 0 })],
        ["option sharedConnections: must", opened({ sharedConnections: 65 })],
        ["option clientName: must", opened({ clientName: "a b" })],
        ["option mapAddress: both", opened({ mapAddress: { nowhere: "" } })],
        ["option reconnectBackoff: the", opened({ reconnectBackoff: { min: 100, max: 1 } })],
        ["option tlsCaFile: needs", opened({ tlsCaFile: "a.pem" })],
        ["option tlsCaPem: needs", opened({ tlsCaPem: pem })],
        ["option tlsClientCert: needs", opened({ tlsClientCert: { cert: "a.pem", key: "b.pem" } })],
        ["option tlsClientCertPem: needs", opened({ tlsClientCertPem: { cert: pem, key: pem } })],
        ["option tlsServerName: must", opened({ tlsServerName: "a b" })],
        ["options are two of which a script has one: idempotent, once", script({ once: true, idempotent: true })],
        ["once: a token's lifetime", script({ once: { lifetime: 1 } })],
        ["once.waitTimeout is set, and once.waitReplicas is not", script({ once: { waitTimeout: 5 } })],
        ["name: a script's name", script({ name: "\n" })],
        ["options has once, which is for scripts", async () => lua.function("f", { once: true })],
        ["a library has one: named, once", async () => client.library("#!lua name=a\n", { once: true, named: true })],
        ["route.slot is 20000", async () => client.with({ route: { slot: 20_000 } })],
    ]) {
        const { message } = await failed(call());
        assert.ok(message.includes(said), `${message}, not ${said}`);
        assert.doesNotMatch(message, /[A-Za-z]_[A-Za-z]/);
    }
    const words = await failed(client.script("return redis.error_reply('MINE options.flags RS_SCRIPT_ONCE')")());
    assert.match(words.message, /MINE options\.flags RS_SCRIPT_ONCE/);
});

test("the class of an error of the library's own says whether the call may have been executed", () => {
    for (const status of [500, 501, 502]) {
        const unsent = errorOf(status, { message: "no memory; nothing was sent", notExecuted: true });
        assert.ok(!(unsent instanceof rs.IndeterminateError), unsent.code);
        const sent = errorOf(status, { message: "it was sent", indeterminate: true });
        assert.ok(sent instanceof rs.IndeterminateError, sent.code);
    }
});

test("connect() takes every connect timeout that the library takes", async () => {
    const server = await Server.start();
    const client = await rs.connect(server.url, { connectTimeout: 365 * 24 * 60 * 60 * 1000 });
    await client.close();
    await server.stop();
});

test("a hook for frames that throws, or makes calls, harms no call", async (t) => {
    const traced = await rs.connect(server.url, { callerStack: true });
    const fails = traced.script("return redis.error_reply('MINE no')");
    await failed(fails());
    const { prepareStackTrace } = Error;
    t.after(() => { Error.prepareStackTrace = prepareStackTrace; });
    Error.prepareStackTrace = () => {
        throw new Error("the hook's own");
    };
    const calls = [fails(), traced.command("ECHO", "beside"), traced.pipeline().script(fails).command("PING").exec()];
    const ended = await Promise.allSettled(calls);
    const controller = new AbortController();
    const off = failed(traced.command(["PING"], { signal: controller.signal }));
    controller.abort();
    assert.equal((await off).code, "RS_ERR_CANCELLED");
    const inner = [];
    Error.prepareStackTrace = () => {
        inner.push(traced.command("ECHO", "inner"));
        return "frames";
    };
    t.mock.method(native, "submit", () => {
        throw errorOf(501, { message: "there is no memory for the calls", notExecuted: true, reason: 11 });
    }, { times: 1 });
    const unsent = await failed(traced.command("PING"));
    Error.prepareStackTrace = prepareStackTrace;
    assert.deepEqual([ended[0].reason.serverCode, ended[1].value], ["MINE", "beside"]);
    assert.deepEqual([ended[2].value[0].serverCode, ended[2].value[1]], ["MINE", "PONG"]);
    assert.equal(unsent.code, "RS_ERR_NO_MEMORY");
    assert.ok(inner.length > 0);
    for (const call of inner) assert.equal(await call, "inner");
    await traced.close();
});

test("a hook for frames may close the client as the last of many calls is told", async (t) => {
    const traced = await rs.connect(server.url, { callerStack: true });
    // Its queue is freed then: nothing of it is used any more.
    const used = [];
    for (const name of ["queueFree", "wake", "poll"]) {
        const real = native[name];
        t.mock.method(native, name, (...args) => {
            used.push(name);
            return real(...args);
        });
    }
    const { prepareStackTrace } = Error;
    t.after(() => { Error.prepareStackTrace = prepareStackTrace; });
    const calls = Array.from({ length: 999 }, () => traced.command("PING"));
    const last = failed(traced.command("NOSUCHCOMMAND"));
    // All of them come in one turn: this one lasts until they are there.
    await new Promise(process.nextTick);
    const pause = new Int32Array(new SharedArrayBuffer(4));
    for (let i = 0; i < 6000 && traced.stats().inFlight > 0; i++) Atomics.wait(pause, 0, 0, 10);
    Error.prepareStackTrace = () => {
        traced.close();
        return "frames";
    };
    const error = await last;
    Error.prepareStackTrace = prepareStackTrace;
    assert.equal(error.code, "RS_ERR_SERVER");
    assert.equal((await Promise.all(calls)).length, 999);
    await traced.close();
    assert.equal(used.at(-1), "queueFree", used.slice(-5).join());
});

test("an error that a signal came too late for is not the signal's", async () => {
    const pause = new Int32Array(new SharedArrayBuffer(4));
    const controller = new AbortController();
    const call = failed(client.command(["NOSUCHCOMMAND"], { signal: controller.signal }));
    await new Promise(process.nextTick);
    // The reply is there, and nobody has looked.
    for (let i = 0; i < 6000 && client.stats().inFlight > 0; i++) Atomics.wait(pause, 0, 0, 10);
    controller.abort(new DOMException("too long", "TimeoutError"));
    const error = await call;
    assert.deepEqual([error.code, error.name, error.cause], ["RS_ERR_SERVER", "ServerError", undefined]);
    assert.ok(!(error instanceof rs.TimeoutError));
    const late = await failed(client.command(["BLPOP", "none", 0], { signal: AbortSignal.timeout(20) }));
    assert.deepEqual([late.reason, late.name, late.cause.name], ["RS_REASON_CANCELLED", "TimeoutError", "TimeoutError"]);
});
