// What every runtime has to do: calls, many calls, pipelines, large replies, errors, signals, deadlines, close.
// Prints what came of each.

const { connect } = require("../../..");

/** Waits until the server holds a call back, on a connection of its own. */
async function held(client) {
    while (!/blocked_clients:[1-9]/.test(await client.command("INFO", "clients"))) await new Promise((resolve) => setTimeout(resolve, 10));
}

const outcome = (promise) => promise.then((value) => value, (error) => `${error.name} ${error.code}`);

async function main(url) {
    const client = await connect(url, { callTimeout: 120_000 });
    const multiply = client.script("return redis.call('GET', KEYS[1]) * ARGV[1]");
    await client.command("SET", "foo", 2);
    const large = Buffer.alloc(5_000_000, "large");
    await client.command("SET", "large", large);
    const controller = new AbortController();
    const waits = outcome(client.command(["BLPOP", "none", 0], { signal: controller.signal }));
    const products = await Promise.all(Array.from({ length: 5000 }, (_, i) => multiply(["foo"], [i])));
    await held(client);
    controller.abort();
    const seen = [
        await multiply(["foo"], [5]),
        products.every((product, i) => product === 2 * i),
        await client.pipeline().command("GET", "foo").script(multiply, ["foo"], [7]).exec(),
        await client.transaction().command("SET", "foo", 3).script(multiply, ["foo"], [7]).exec(),
        large.equals(await client.command(["GET", "large"], { buffers: true })),
        (await client.command("GET", "large")).length,
        await outcome(client.command("NOSUCHCOMMAND")),
        await waits,
        (await outcome(client.command(["BLPOP", "none", 0], { timeout: 50 }))).split(" ")[0],
        await outcome(client.command(["PING"], { signal: AbortSignal.abort() })),
        await outcome(connect("unix:///nonexistent/socket", { reconnectAttempts: 1 })),
    ];
    const under = outcome(client.command("BLPOP", "none", 0));
    await client.close();
    // Sent or not, it ends.
    seen.push(/^(IndeterminateError|ClosedError) /.test(await under), await outcome(client.command("PING")));
    console.log(JSON.stringify(seen));
    // It must not keep the process alive.
    await connect(url);
}

main(process.argv[2]);
