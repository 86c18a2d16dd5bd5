// Run by Jest, with fake timers from before the package is loaded, or from the first test on: no call waits for a
// clock that stands still.

const { connect } = require(process.env.RS_SCRIPT_PACKAGE);

const url = process.env.RS_SCRIPT_URL;

beforeEach(() => jest.useFakeTimers());
afterEach(() => jest.useRealTimers());

async function works() {
    const client = await connect(url, { callTimeout: 120_000 });
    const echo = client.script("return ARGV[1]");
    expect(await echo([], ["one"])).toBe("one");
    const replies = await Promise.all(Array.from({ length: 5000 }, (_, i) => echo([], [i])));
    expect(replies).toEqual(Array.from({ length: 5000 }, (_, i) => String(i)));
    expect(await client.pipeline().command("PING").script(echo, [], ["x"]).exec()).toEqual(["PONG", "x"]);
    await expect(client.command(["BLPOP", "none", 0], { timeout: 20 })).rejects.toMatchObject({ name: "TimeoutError" });
    const controller = new AbortController();
    const many = Array.from({ length: 3000 }, () => client.command(["BLPOP", "none", 0], { signal: controller.signal }));
    await client.command("PING");
    controller.abort();
    const codes = new Set((await Promise.allSettled(many)).map(({ reason }) => reason.code));
    expect([...codes].every((code) => ["RS_ERR_INDETERMINATE", "RS_ERR_CANCELLED"].includes(code))).toBe(true);
    await client.close();
}

test("all timers are fake", works, 120_000);

test("the old fake timers", async () => {
    jest.useFakeTimers({ legacyFakeTimers: true });
    await works();
}, 120_000);

test("the clock moves on meanwhile", async () => {
    const client = await connect(url, { callTimeout: 120_000 });
    const calls = Array.from({ length: 100 }, (_, i) => client.command("ECHO", i));
    jest.advanceTimersByTime(1_000_000);
    jest.runAllTicks();
    expect((await Promise.all(calls)).length).toBe(100);
    await client.close();
}, 120_000);
