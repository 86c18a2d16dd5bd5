// A program that a bundler takes together with the package: calls, errors with their names, an option that loads more.

import { connect, IndeterminateError, nativeLibrary } from "rs_script";

const client = await connect(process.argv[2], { callTimeout: 60_000 });
const multiply = client.script("return redis.call('GET', KEYS[1]) * ARGV[1]");
await client.command("SET", "foo", 2);
const [product, replies] = await Promise.all([
    multiply(["foo"], [5]),
    client.pipeline().command("GET", "foo").script(multiply, ["foo"], [7]).exec(),
]);
const refused = await multiply(["foo"], [true]).catch((error) => error);
const failed = await client.command("NOSUCHCOMMAND").catch((error) => error);
const isUnknown = failed instanceof IndeterminateError;
console.log(JSON.stringify([product, replies, refused.name, failed.name, isUnknown, nativeLibrary().path]));
await client.close();
