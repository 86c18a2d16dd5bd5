// Servers that tests start for themselves, in folders of their own, and end by their process id.

"use strict";

const assert = require("node:assert/strict");
const { execFile, spawn } = require("node:child_process");
const fs = require("node:fs");
const net = require("node:net");
const path = require("node:path");
const { promisify } = require("node:util");

const run = promisify(execFile);

/** Waits until something holds; `what` is for the error text. */
async function until(what, holds) {
    const deadline = Date.now() + 120_000;
    for (;;) {
        const value = await holds();
        if (value) return value;
        if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 10));
    }
}

/** What a call ends with that is called off when it is under way: `make` makes it, with a signal. */
async function leftInFlight(client, make) {
    const controller = new AbortController();
    const { inFlight } = client.stats();
    const ended = make(controller.signal).then(() => null, (error) => error);
    await until("it is under way", () => client.stats().inFlight > inFlight);
    controller.abort();
    return ended;
}

/** How many this process has open. */
function descriptors() {
    return fs.readdirSync("/dev/fd").length;
}

function folder() {
    // Not below TMPDIR, which may be too long for a socket's path.
    return fs.mkdtempSync("/tmp/rs_script-node.");
}

/** The other versions that scripts/servers fetches. */
const SERVERS = process.env.RS_SCRIPT_SERVERS ?? path.join(__dirname, "../../../target/servers");

class Server {
    /** On a Unix socket. `version`: such as `valkey-8.1`; the system's redis-server otherwise. */
    static async start({ version } = {}) {
        const server = new Server();
        server.binary = version ? path.join(SERVERS, version) : "redis-server";
        server.dir = folder();
        server.socket = path.join(server.dir, "s");
        server.url = `unix://${server.socket}`;
        server.access = ["-s", server.socket];
        await server.run(["--port", "0", "--unixsocket", server.socket]);
        return server;
    }

    /**
     * On a free port. `argsOf` makes arguments of the port and the server's folder; `access` is what redis-cli needs
     * besides the port.
     */
    static async onPort(argsOf, access = []) {
        for (;;) {
            const server = new Server();
            server.binary = "redis-server";
            server.dir = folder();
            server.port = await freePort();
            // A cluster's bus takes the port 10,000 above.
            if (server.port > 55_000) server.port -= 20_000;
            server.address = `127.0.0.1:${server.port}`;
            server.url = `redis://${server.address}`;
            server.access = ["-p", String(server.port), ...access];
            try {
                await server.run([...argsOf(server), "--bind", "127.0.0.1"]);
                return server;
            } catch (error) {
                fs.rmSync(server.dir, { recursive: true, force: true });
                if (!/in use/i.test(error.message)) throw error;
            }
        }
    }

    async run(args) {
        this.args = args;
        const log = fs.openSync(path.join(this.dir, "log"), "a");
        this.process = spawn(this.binary, [...args, "--save", "", "--dir", this.dir], { stdio: ["ignore", log, log] });
        fs.closeSync(log);
        this.ended = new Promise((resolve) => this.process.once("exit", resolve));
        await until("the server answers", async () => {
            if (this.process.exitCode !== null) throw new Error(fs.readFileSync(path.join(this.dir, "log"), "utf8"));
            return this.cli("ping").then((answer) => answer === "PONG", () => false);
        });
    }

    /** What redis-cli prints: a connection of somebody else. */
    async cli(...words) {
        return (await run("redis-cli", [...this.access, ...words])).stdout.trim();
    }

    /** What a program prints that is given the server's URL; it must end by itself. */
    async ends(source, { code = 0, type, env } = {}) {
        const result = await program(source, { args: [this.url], type, env });
        assert.equal(result.code, code, result.stderr);
        return result.stdout.trim();
    }

    /** Waits until nobody is connected but who asks. */
    allGone() {
        return until("all connections are closed", async () =>
            /^connected_clients:1\r?$/m.test(await this.cli("info", "clients")));
    }

    pause() {
        this.process.kill("SIGSTOP");
    }

    resume() {
        this.process.kill("SIGCONT");
    }

    async kill() {
        this.process.kill("SIGKILL");
        await this.ended;
    }

    async stop() {
        await this.kill();
        fs.rmSync(this.dir, { recursive: true, force: true });
    }
}

function freePort() {
    return new Promise((resolve, reject) => {
        const server = net.createServer().once("error", reject);
        server.listen(0, "127.0.0.1", () => {
            const { port } = server.address();
            server.close(() => resolve(port));
        });
    });
}

async function startCluster() {
    const start = () => Server.onPort(({ port }) => ["--port", String(port), "--cluster-enabled", "yes"]);
    const nodes = await Promise.all([start(), start(), start()]);
    const addresses = nodes.map(({ address }) => address);
    await run("redis-cli", ["--cluster", "create", ...addresses, "--cluster-yes"]);
    for (const node of nodes) {
        await until("the cluster is up", async () => (await node.cli("cluster", "info")).includes("cluster_state:ok"));
    }
    return {
        nodes,
        url: `redis+cluster://${addresses.join(",")}`,
        stop: () => Promise.all(nodes.map((node) => node.stop())),
    };
}

/** Runs a program of its own with Node; its exit code and what it printed. */
function program(source, { args = [], env = {}, type = "commonjs" } = {}) {
    return new Promise((resolve) => {
        const options = { env: { ...process.env, ...env }, cwd: path.join(__dirname, ".."), timeout: 120_000 };
        const flags = ["--expose-gc", `--input-type=${type}`, "--eval", source, "--", ...args];
        execFile(process.execPath, flags, options, (error, stdout, stderr) => {
            resolve({ code: error ? (error.code ?? error.signal) : 0, stdout, stderr });
        });
    });
}

module.exports = { Server, startCluster, until, leftInFlight, program, descriptors, folder };
