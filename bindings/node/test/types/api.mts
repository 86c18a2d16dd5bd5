// What users write must compile, and what would go wrong must not.

import rs, { connect, Client, IndeterminateError, Library, nativeLibrary, OfEachNode, Reply, Script, ScriptError } from "rs_script";
import { deadline, FakeServer, lostReply, noConnection, noScript, serverError, status, transactionAborted } from "rs_script/testing";

const client: Client = await connect("redis://h", { callTimeout: 5, readFrom: "replica", protocol: 3, password: Buffer.from("x") });
const multiply: Script = client.script("return 1", { idempotent: true });
const reply: Reply = await multiply(["foo", Buffer.from("bar")], [5, 5n, "x"], { timeout: 5, signal: AbortSignal.timeout(5) });
const product = await multiply<number>(["foo"], [5]);
product.toFixed();
const sha: string = multiply.sha;
await multiply.on(client.with({ route: { slot: 5 }, buffers: true })).ro();
const replies: Reply[] = await client.pipeline({ repairUnordered: true }).command("SET", "foo", 5).script(multiply.ro, ["foo"]).exec();
await client.transaction({ trustCache: true }).command(["SET", "foo", 5]).exec({ timeout: 7 });
const text = await client.command<string>(["GET", "foo"], { buffers: false });
text.trim();
const exists: boolean[] = await client.scriptExists([multiply, sha]);
await client.scriptFlush("async");
await client.scriptLoad(multiply).then((loaded) => loaded.length);
await client.scriptKill({ timeout: 5 });
const source: string | Buffer | null = await client.scriptShow(multiply, { timeout: 5 });
const bytes: Buffer | null = await client.scriptShow<Buffer>(sha, { buffers: true });
client.ref().unref().stats().roundTrips.toFixed();
try {
    await rs.connect("redis://h", { mapAddress: { "a:1": "b:2" } });
} catch (error) {
    if (error instanceof ScriptError) console.log(error.status, error.code, error.serverCode, error.indeterminate, error.notExecuted);
    if (error instanceof IndeterminateError) console.log(error.arrived?.length);
}
{
    await using scoped: Client = await connect("redis://h", { callerStack: true });
    const counted = scoped.script<number>("return 1");
    const count: number = await counted();
    const readOnly: Script<number> = counted.ro.on(scoped);
    const asText: string = await counted<string>([], []);
    const [ok, sum] = await scoped.pipeline().command("SET", "foo", 5).script(readOnly).exec<["OK", number | ScriptError]>();
    ok satisfies "OK";
    console.log(count, asText, sum instanceof ScriptError ? sum.code : sum.toFixed(), nativeLibrary().ffi);
}
{
    const server = new FakeServer();
    const fake: Client = await server.connect({ buffers: true });
    server.reply(multiply, ({ keys, args }) => keys.length * args.length).reply("SET", status("OK")).reply(sha, async () => [1, "a"]);
    server.replyOnce(multiply, lostReply(), deadline({ sent: false }), noScript(), noConnection(), serverError("ERR x"), 7);
    server.replyOnce("EXEC", transactionAborted()).calls[0]?.args.map(String);
    await fake.close();
}
{
    const rotated: Client = await connect("redis://h", {
        credentials: async (node, { signal }) => ({ username: node, password: await fetch("http://h", { signal }).then((r) => r.text()), lifetime: 5 }),
        tlsCaPem: "pem", tlsClientCertPem: { cert: "pem", key: Buffer.from("pem") }, scriptStats: 5, callCosts: true,
    });
    await connect("redis://h", { credentials: () => ({ password: new Uint8Array(5) }) });
    await rotated.reauthenticate({ timeout: 5 });
    for (const { sha, name, latency } of await rotated.scriptStats()) console.log(sha?.length, name?.length, latency.p99.toFixed(), latency.buckets[0]?.upTo);
}
await client.close();
console.log(reply, replies, exists, source, bytes);

// @ts-expect-error: keys are a list
multiply("foo");
// @ts-expect-error: an object is no argument
multiply([], [{}]);
// @ts-expect-error: nor is a boolean
multiply([], [true]);
// @ts-expect-error: a script's reply is no object of one's own
client.script<{ a: number }>("return 1");
// @ts-expect-error: it has another type
client.script<number>("return 1")().then((text: string) => text);
// @ts-expect-error: no such option
connect("redis://h", { calltimeout: 5 });
// @ts-expect-error: a password is missing
connect("redis://h", { credentials: () => ({ username: "app" }) });
// @ts-expect-error: no such route
client.with({ route: "some" });
// @ts-expect-error: a SHA1 is a string
client.scriptShow(7);
// @ts-expect-error: no such option of a call
multiply([], [], { timeOut: 5 });
// @ts-expect-error: no such mode
client.scriptFlush("often");
// @ts-expect-error: clients come from connect
new Client();
// @ts-expect-error: a reply may be anything
(await multiply()).toFixed();

const library: Library = client.library("#!lua name=lib", { named: true });
const exactly: Library = client.library("#!lua name=lib", { once: { lifetime: 5000, prefix: "jobs:" } });
console.log(exactly, client.library("#!lua name=lib", { once: true }));
// @ts-expect-error: a library has it as a whole
library.function("count", { once: true });
const count: Script<number> = library.on(client).function<number>("count", { idempotent: true, name: "count" });
(await count.ro(["n"])).toFixed();
const names: string[] = [library.name, count.functionName];
const states: Map<string, "same" | "different" | "absent" | ScriptError> = await client.libraryDeploy(library, { timeout: 5 });
const loaded: OfEachNode<"loaded" | "there"> = await client.libraryLoad(library);
for (const infos of (await client.libraryList()).values()) {
    if (!(infos instanceof ScriptError)) names.push(...infos.flatMap(({ name, functions }) => [name, ...functions.flatMap(({ flags }) => flags)]));
}
for (const removed of (await client.libraryPrune([library])).values()) {
    if (Array.isArray(removed)) names.push(...removed);
}
const once = client.script<number>("return 1", { once: { lifetime: 60_000, prefix: Buffer.from("jobs:"), waitReplicas: 1 }, asFunction: true });
await once(["n"], [], { token: "job 1", timeout: 5 });
await client.pipeline().script(once, ["n"], [], { token: Buffer.from([0]) }).exec({ token: "all" });
client.on("evictsTokens", ({ node }) => node?.length);
new FakeServer().reply("FUNCTION LOAD", new Map([["fake", "loaded"]])).calls.map(({ token }) => token);
console.log(names, states, loaded, await client.libraryCheck(library));
// @ts-expect-error: libraries come from a client
new Library();
// @ts-expect-error: a command has no token
client.command(["GET", "n"], { token: "x" });
// @ts-expect-error: a library's function is none of a script
library.function("count", { asFunction: true });
// @ts-expect-error: a script is no library
client.libraryLoad(once);
