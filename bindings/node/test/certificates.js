// Certificates that tests make for themselves with openssl, and servers that show them.

"use strict";

const { execFile } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const { promisify } = require("node:util");

const { Server } = require("./support");

const openssl = promisify(execFile).bind(null, "openssl");
const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/** An authority and what it signs, as PEM files in a folder. */
class Authority {
    static async create(dir, name = "ca") {
        const authority = new Authority();
        authority.dir = dir;
        authority.name = name;
        authority.ca = path.join(dir, `${name}.crt`);
        await openssl(["req", "-x509", ...KEY, "-days", "2", "-subj", `/CN=rs_script test authority ${name}`,
            "-keyout", authority.key, "-out", authority.ca]);
        return authority;
    }

    get key() {
        return path.join(this.dir, `${this.name}.key`);
    }

    /** A certificate for these names, such as `IP:127.0.0.1`. */
    async sign(name, names) {
        const file = (ending) => path.join(this.dir, `${name}.${ending}`);
        fs.writeFileSync(file("ext"), `subjectAltName=${names}\n`);
        await openssl(["req", "-new", ...KEY, "-subj", `/CN=${name}`, "-keyout", file("key"), "-out", file("csr")]);
        await openssl(["x509", "-req", "-in", file("csr"), "-CA", this.ca, "-CAkey", this.key, "-CAcreateserial",
            "-days", "2", "-extfile", file("ext"), "-out", file("crt")]);
        return { cert: file("crt"), key: file("key") };
    }

    /** A server with TLS; `clients` says whether it wants certificates of its clients. */
    async serve({ cert, key }, clients = "no") {
        const settings = ({ port }) => [
            "--port", "0", "--tls-port", String(port), "--tls-cert-file", cert, "--tls-key-file", key,
            "--tls-ca-cert-file", this.ca, "--tls-auth-clients", clients,
        ];
        const server = await Server.onPort(settings, ["--tls", "--insecure", "--cert", cert, "--key", key]);
        server.url = `rediss://${server.address}`;
        return server;
    }
}

module.exports = { Authority };
