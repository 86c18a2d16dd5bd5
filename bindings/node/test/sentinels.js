// A real primary with a replica that three real sentinels watch.

"use strict";

const fs = require("node:fs");
const path = require("node:path");

const { Server, until } = require("./support");

const SERVICE = "test-service";
const PASSWORD = "p@ss/w:rd";
const SENTINEL_PASSWORD = "sentinel's own";

const withPassword = (password) => ["-a", password, "--no-auth-warning"];

const startServer = () =>
    Server.onPort(
        ({ port }) => ["--port", String(port), "--requirepass", PASSWORD, "--masterauth", PASSWORD,
            "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"],
        withPassword(PASSWORD),
    );

// Silence counts from the start of a connection, but by default the first ping goes out a second later: until the
// sentinels ping more often, to be down takes longer than that.
const startSentinel = (primary) =>
    Server.onPort(({ dir, port }) => {
        const config = path.join(dir, "sentinel.conf");
        fs.writeFileSync(config, `
            sentinel monitor ${SERVICE} 127.0.0.1 ${primary.port} 2
            sentinel auth-pass ${SERVICE} ${PASSWORD}
            sentinel down-after-milliseconds ${SERVICE} 2000
            sentinel failover-timeout ${SERVICE} 3000`);
        return [config, "--sentinel", "--port", String(port), "--requirepass", SENTINEL_PASSWORD];
    }, withPassword(SENTINEL_PASSWORD));

/** Names and values in turn, a line each. */
function fields(lines) {
    const words = lines.split("\n");
    return Object.fromEntries(words.flatMap((word, i) => (i % 2 ? [] : [[word, words[i + 1]]])));
}

class Sentinels {
    static async start() {
        const watched = new Sentinels();
        watched.servers = await Promise.all([startServer(), startServer()]);
        const [primary, replica] = watched.servers;
        await replica.cli("replicaof", "127.0.0.1", String(primary.port));
        await until("the replica is in sync", async () => (await replica.cli("info", "replication")).includes("master_link_status:up"));
        watched.sentinels = await Promise.all([1, 2, 3].map(() => startSentinel(primary)));
        await watched.tell("debug", "ping-period", "300", "info-period", "500", "ask-period", "100", "publish-period", "100");
        await watched.tell("set", SERVICE, "down-after-milliseconds", "800");
        await until("the sentinels know each other and the replica", () => watched.isWhole());
        // Who has not been told of a promotion within four of these periods takes it back.
        await watched.tell("debug", "publish-period", "600");
        return watched;
    }

    /** Has each sentinel do something. */
    tell(...words) {
        return Promise.all(this.sentinels.map((sentinel) => sentinel.cli("sentinel", ...words)));
    }

    async isWhole() {
        const primaries = (await this.tell("master", SERVICE)).map(fields);
        const replicas = (await this.tell("replicas", SERVICE)).map(fields);
        return (
            primaries.every((seen) => seen.flags === "master" && seen["num-other-sentinels"] === "2" && seen["num-slaves"] === "1") &&
            replicas.every((seen) => seen.flags === "slave" && seen["master-link-status"] === "ok")
        );
    }

    /** The server that all sentinels name, if they agree. */
    async primary() {
        const answers = await this.tell("get-master-addr-by-name", SERVICE);
        return this.servers.find(({ port }) => answers.every((answer) => answer === `127.0.0.1\n${port}`));
    }

    /** Kills the primary; gives the server that takes its place, when it says so itself. */
    async failover() {
        const old = await this.primary();
        await old.kill();
        return until("another server is the primary", async () => {
            const found = await this.primary();
            if (found === undefined || found === old) return false;
            // On a change of role it may hang up.
            const role = await found.cli("role").catch(() => "none");
            return role.startsWith("master") && found;
        });
    }

    url(service = SERVICE, password = PASSWORD) {
        const addresses = this.sentinels.map(({ address }) => address).join(",");
        return `redis+sentinel://:${encodeURIComponent(password)}@${addresses}/${service}`;
    }

    stop() {
        return Promise.all([...this.sentinels, ...this.servers].map((server) => server.stop()));
    }
}

module.exports = { Sentinels, SENTINEL_PASSWORD };
