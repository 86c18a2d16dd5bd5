// What options connect() takes besides those that concern this binding alone: what may be given, and what is told of
// it. Without the native library: the stand-in for servers checks them, too.

"use strict";

const { OWN, READ_FROM, copy, count, flag, oneOf, secret, text } = require("./checks");
const { invalid } = require("./errors");

const PROTOCOL = { auto: 0, 2: 2, 3: 3 };

const asText = (name) => (set, value) => set(text(name, value));
const asCount = (name, most) => (set, value) => set(count(name, value, most));
const asFlag = (name) => (set, value) => set(flag(name, value));
const asSecret = (name) => (set, value) => {
    const bytes = secret(value, name);
    set(bytes, bytes.length);
};

const given = {
    connectTimeout: asCount("connectTimeout"),
    callTimeout: asCount("callTimeout"),
    silenceTimeout: asCount("silenceTimeout"),
    username: asText("username"),
    password: asSecret("password"),
    clientName: asText("clientName"),
    protocol: (set, value) => set(oneOf("protocol", value, PROTOCOL)),
    tlsCaFile: asText("tlsCaFile"),
    tlsClientCert: (set, value) => {
        const { cert, key } = Object(value);
        set(text("tlsClientCert.cert", cert), text("tlsClientCert.key", key));
    },
    tlsCaPem: asSecret("tlsCaPem"),
    tlsClientCertPem: (set, value) => {
        const { cert, key } = Object(value);
        const [certBytes, keyBytes] = [secret(cert, "tlsClientCertPem.cert"), secret(key, "tlsClientCertPem.key")];
        set(certBytes, certBytes.length, keyBytes, keyBytes.length);
    },
    tlsServerName: asText("tlsServerName"),
    tlsInsecureSkipVerify: asFlag("tlsInsecureSkipVerify"),
    keepalive: (set, value) => set(count("keepalive", value) * 1000),
    reconnectBackoff: (set, value) => {
        const { min, max } = Object(value);
        set(count("reconnectBackoff.min", min), count("reconnectBackoff.max", max));
    },
    reconnectAttempts: asCount("reconnectAttempts", 0xffff_ffff),
    maxReplyBytes: asCount("maxReplyBytes"),
    maxReplyDepth: asCount("maxReplyDepth"),
    maxWaiting: asCount("maxWaiting"),
    sharedConnections: asCount("sharedConnections"),
    scriptStats: asCount("scriptStats"),
    clientInfo: asFlag("clientInfo"),
    probeTransactions: asFlag("probeTransactions"),
    readFrom: (set, value) => set(oneOf("readFrom", value, READ_FROM)),
    mapAddress: (set, value) => {
        for (const [announced, reachable] of Object.entries(copy("mapAddress", value))) {
            set(text("mapAddress", announced), text("mapAddress", reachable));
        }
    },
    sentinelUsername: asText("sentinelUsername"),
    sentinelPassword: asSecret("sentinelPassword"),
};

/** Checks options, and has `set` told of each that is given: its name, and the values of its setter. */
function tell(options, set) {
    for (const [name, value] of Object.entries(options)) {
        if (value === undefined || Object.hasOwn(OWN, name)) continue;
        if (!Object.hasOwn(given, name)) throw invalid(`there is no option ${name}`);
        given[name]((...values) => set(name, ...values), value);
    }
}

module.exports = { tell };
