// The options of a client: their names here, what may be given, and how they are told to the native library.

"use strict";

const { OWN, READ_FROM, copy, count, flag, oneOf, secret, text } = require("./checks");
const { invalid } = require("./errors");
const native = require("./native");
const tracing = require("./tracing");

const PROTOCOL = { auto: 0, 2: 2, 3: 3 };

const set = (name, ...types) => native.option(`set_${name}`, ...types);
const nativeSet = {
    connectTimeout: set("connect_timeout_ms", "size"),
    callTimeout: set("call_timeout_ms", "size"),
    silenceTimeout: set("silence_timeout_ms", "size"),
    username: set("username", "string"),
    password: set("password", "buffer", "size"),
    clientName: set("client_name", "string"),
    protocol: set("protocol", "i32"),
    tlsCaFile: set("tls_ca_file", "string"),
    tlsClientCert: set("tls_client_cert", "string", "string"),
    tlsCaPem: set("tls_ca_pem", "buffer", "size"),
    tlsClientCertPem: set("tls_client_cert_pem", "buffer", "size", "buffer", "size"),
    tlsServerName: set("tls_server_name", "string"),
    tlsInsecureSkipVerify: set("tls_insecure_skip_verify", "bool"),
    keepalive: set("keepalive_ms", "size"),
    reconnectBackoff: set("reconnect_backoff_ms", "size", "size"),
    reconnectAttempts: set("reconnect_attempts", "size"),
    maxReplyBytes: set("max_reply_bytes", "size"),
    maxReplyDepth: set("max_reply_depth", "size"),
    maxWaiting: set("max_waiting", "size"),
    sharedConnections: set("shared_connections", "size"),
    scriptStats: set("script_stats", "size"),
    callCosts: set("call_costs", "bool"),
    lazyConnect: set("lazy_connect", "bool"),
    clientInfo: set("client_info", "bool"),
    probeTransactions: set("probe_transactions", "bool"),
    readFrom: set("read_from", "i32"),
    mapAddress: native.option("map_address", "string", "string"),
    sentinelUsername: set("sentinel_username", "string"),
    sentinelPassword: set("sentinel_password", "buffer", "size"),
};

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

/**
 * Opens a native client that has not connected yet: opening never waits, and so never blocks the event loop. `events`
 * is the place for what it tells of its connections, and for what it asks.
 */
function open(url, options, events) {
    if (typeof url !== "string" || url.includes("\0")) throw invalid(`the URL must be a string without NUL`);
    const handle = native.optionsNew();
    try {
        for (const [name, value] of Object.entries(options)) {
            if (value === undefined) continue;
            if (Object.hasOwn(OWN, name)) continue;
            if (Object.hasOwn(given, name)) given[name]((...values) => nativeSet[name](handle, ...values), value);
            else throw invalid(`there is no option ${name}`);
        }
        nativeSet.lazyConnect(handle, true);
        native.setEvents(handle, events);
        if (options.credentials !== undefined) native.setCredentialsEvents(handle, events);
        // Who listens to the channel wants to know.
        if (options.callCosts ?? tracing.isHeard(tracing.call)) nativeSet.callCosts(handle, true);
        const out = Buffer.alloc(8);
        native.clientOpen(url, handle, out);
        return out.readBigUInt64LE(0);
    } finally {
        native.optionsFree(handle);
    }
}

module.exports = { open };
