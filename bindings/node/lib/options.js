// The options of a client, and how they are told to the native library.

"use strict";

const { invalid } = require("./errors");
const native = require("./native");
const { tell } = require("./settings");
const tracing = require("./tracing");

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

/**
 * Opens a native client that has not connected yet: opening never waits, and so never blocks the event loop. `events`
 * is the place for what it tells of its connections, and for what it asks.
 */
function open(url, options, events) {
    if (typeof url !== "string" || url.includes("\0")) throw invalid(`the URL must be a string without NUL`);
    const handle = native.optionsNew();
    try {
        tell(options, (name, ...values) => nativeSet[name](handle, ...values));
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
