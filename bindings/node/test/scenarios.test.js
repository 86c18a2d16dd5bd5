// The scenarios that every language runs: tests/scenarios.json, which also says what their fields mean.

"use strict";

const assert = require("node:assert/strict");
const path = require("node:path");
const { test } = require("node:test");
const { inspect } = require("node:util");

const rs = require("..");
const { Server, startCluster, until } = require("./support");

const { scripts, libraries, scenarios } = require(path.join(__dirname, "..", "..", "..", "tests", "scenarios.json"));

/** Replies are asked for with strings as Buffers, so that a string and a status are told apart. */
const BUFFERS = { buffers: true };

assert.ok(scenarios.length > 0, "there are no scenarios");

for (const scenario of scenarios) {
    test(scenario.name, { timeout: 300_000 }, async (t) => {
        const run = await Run.start(t, scenario.servers ?? 1);
        for (const [number, step] of scenario.steps.entries()) {
            await run.step(step, `step ${number + 1}: ${JSON.stringify(step)}`);
        }
    });
}

class Run {
    servers = [];
    clients = {};
    /** Calls that are not waited for yet, by their name. */
    started = new Map();

    static async start(t, servers) {
        const run = new Run();
        if (servers === "cluster") {
            const cluster = await startCluster();
            t.after(() => cluster.stop());
            run.servers = cluster.nodes;
            for (const node of cluster.nodes) node.bystander = await run.open(t, `redis://127.0.0.1:${node.port}`);
            run.clients.client = await run.open(t, cluster.url);
            return run;
        }
        assert.ok(servers === 1 || servers === 2, `servers of a kind that is not known: ${servers}`);
        for (const name of ["client", "other"].slice(0, servers)) {
            const server = await Server.start();
            t.after(() => server.stop());
            server.bystander = await run.open(t, server.url);
            run.servers.push(server);
            run.clients[name] = await run.open(t, server.url);
        }
        return run;
    }

    async open(t, url) {
        const client = await rs.connect(url);
        t.after(() => client.close());
        return client;
    }

    async step(step, what) {
        const { do: verb, on = "client", start, expect, timeoutMs, ...fields } = step;
        if (verb === "until") {
            await until(what, async () => matches(expect, await outcome(this.outside(fields))));
            return;
        }
        if (verb === "await") {
            check(expect, await this.started.get(fields.call).ended, what);
            return;
        }
        const abort = new AbortController();
        const options = { ...BUFFERS, timeout: timeoutMs, signal: abort.signal };
        const ended = outcome(this.does(verb, this.clients[on], fields, options));
        if (start !== undefined) this.started.set(start, { abort, ended });
        else check(expect, await ended, what);
    }

    async does(verb, client, fields, options) {
        const { keys, args, words, items, url, call, server = 0, event, repairUnordered, trustCache, token } = fields;
        switch (verb) {
            case "register":
                return Buffer.from(scriptOf(client, fields).sha);
            case "call":
                return scriptOf(client, fields)(all(keys), all(args), { ...options, token });
            case "command":
                return client.command(all(words), options);
            case "pipeline":
            case "transaction": {
                const pipeline =
                    verb === "pipeline" ? client.pipeline({ repairUnordered }) : client.transaction({ trustCache });
                for (const item of items) {
                    if (item.command) pipeline.command(all(item.command));
                    else pipeline.script(scriptOf(client, item), all(item.keys), all(item.args), { token: item.token });
                }
                return pipeline.exec({ ...options, token });
            }
            case "load":
                return client.scriptLoad(scriptOf(client, fields), options);
            case "libraryLoad":
            case "libraryCheck":
            case "libraryDeploy":
                return Array.from(
                    (await client[verb](libraryOf(client, fields), options)).values(),
                    (state) => Buffer.from(state),
                );
            case "libraryList":
                return Array.from((await client.libraryList(options)).values(), ({ length }) => length);
            case "libraryPrune": {
                const keep = fields.libraries.map((library) => libraryOf(client, { ...fields, library }));
                return Array.from((await client.libraryPrune(keep, options)).values(), ({ length }) => length);
            }
            case "exists":
                return client.scriptExists(
                    fields.scripts.map((name) => (name in scripts ? scriptOf(client, { script: name }) : name)),
                    options,
                );
            case "flush":
                return client.scriptFlush("default", options);
            case "kill":
                return client.scriptKill(options);
            case "stop":
                return (await client.kill(options)).map(({ kind, name, node }) =>
                    [kind, name, node].map((text) => text && Buffer.from(text)));
            case "close":
                return client.close();
            case "open":
                return (await rs.connect(url)).close();
            case "cancel":
                return this.started.get(call).abort.abort();
            case "outside":
                return this.outside(fields);
            case "server":
                return {
                    kill: () => this.servers[server].kill(),
                    pause: () => this.servers[server].pause(),
                    resume: () => this.servers[server].resume(),
                }[event]();
            default:
                throw new assert.AssertionError({ message: `a step of a kind that is not known: ${verb}` });
        }
    }

    outside({ words, server = 0 }) {
        return this.servers[server].bystander.command(all(words), BUFFERS);
    }
}

/** What a promise ends with, a reply or an error of the package. */
const outcome = (promise) =>
    promise.catch((error) => {
        if (error instanceof rs.ScriptError) return error;
        throw error;
    });

function bytes(value) {
    if (typeof value === "string") return Buffer.from(value);
    if (value.hex !== undefined) return Buffer.from(value.hex, "hex");
    return Buffer.from(value.repeat.repeat(value.times));
}

const all = (values = []) => values.map(bytes);

const libraryOf = (client, { library, named }) => client.library(bytes(libraries[library]), { named });

function scriptOf(client, { script, library, named, function: name, readOnly, ...options }) {
    const { idempotent, once, asFunction } = options;
    const called =
        name === undefined
            ? client.script(bytes(scripts[script]), { idempotent, once, asFunction })
            : libraryOf(client, { library, named })
                  .function(name, { idempotent, once, ...(asFunction && { asFunction }) });
    return readOnly ? called.ro : called;
}

/** An expected reply in the words of JavaScript. */
function expected(value) {
    if (typeof value === "string" || value?.hex !== undefined || value?.repeat !== undefined) return bytes(value);
    if (value === null || typeof value !== "object") return value;
    if (Array.isArray(value)) return value.map(expected);
    if (value.status !== undefined) return value.status;
    if (value.integer !== undefined) return BigInt(value.integer);
    if (value.bigNumber !== undefined) return BigInt(value.bigNumber);
    if (value.double !== undefined) return Number(value.double.replace("inf", "Infinity"));
    if (value.verbatim !== undefined) return Buffer.from(value.verbatim);
    if (value.set !== undefined) return new Set(value.set.map(expected));
    if (value.map !== undefined) {
        const map = new Map();
        for (let i = 0; i < value.map.length; i += 2) map.set(expected(value.map[i]), expected(value.map[i + 1]));
        return map;
    }
    throw new Error(`an expected reply that is not known: ${JSON.stringify(value)}`);
}

/** Ends the test unless `got` is what was expected. */
function check(wanted, got, what) {
    if (wanted?.error !== undefined) {
        assert.ok(got instanceof rs.ScriptError, `${what}: ${inspect(got)}`);
        const { error: code, message = "", arrived, index, ...rest } = wanted;
        const executed = got.indeterminate ? "unknown" : got.notExecuted ? "no" : "yes";
        const { serverCode, reason } = got;
        assert.deepEqual(
            { code: got.code, executed, serverCode, reason },
            { code, executed, serverCode, reason, ...rest },
            what,
        );
        if (index !== undefined) assert.equal(got.index ?? -1, index, what);
        assert.equal(got instanceof rs.TimeoutError, reason === "RS_REASON_DEADLINE", what);
        assert.ok(got.message.includes(message), `${what}: ${got.message}`);
        if (arrived !== undefined) check(arrived, got.arrived, what);
        else assert.equal(got.arrived, undefined, what);
        return;
    }
    assert.ok(!(got instanceof Error), `${what}: ${got}`);
    if (wanted === undefined) return;
    if (wanted?.contains !== undefined) {
        assert.ok(got.includes(wanted.contains), `${what}: ${got}`);
    } else if (Array.isArray(wanted)) {
        assert.ok(Array.isArray(got), `${what}: ${inspect(got)}`);
        assert.equal(got.length, wanted.length, what);
        wanted.forEach((element, i) => check(element, got[i], what));
    } else {
        assert.deepEqual(got, expected(wanted), what);
    }
}

function matches(wanted, got) {
    try {
        check(wanted, got);
        return true;
    } catch {
        return false;
    }
}
