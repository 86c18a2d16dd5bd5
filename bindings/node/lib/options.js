// The options of a client: their names here, what may be given, and how they are told to the native library.

"use strict";

const { invalid } = require("./errors");
const native = require("./native");
const { bytesOf, isBytes, shown } = require("./pack");

const READ_FROM = { primary: 1, preferReplica: 2, replica: 3 };
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
    tlsServerName: set("tls_server_name", "string"),
    tlsInsecureSkipVerify: set("tls_insecure_skip_verify", "bool"),
    keepalive: set("keepalive_ms", "size"),
    reconnectBackoff: set("reconnect_backoff_ms", "size", "size"),
    reconnectAttempts: set("reconnect_attempts", "size"),
    maxReplyBytes: set("max_reply_bytes", "size"),
    maxReplyDepth: set("max_reply_depth", "size"),
    maxWaiting: set("max_waiting", "size"),
    sharedConnections: set("shared_connections", "size"),
    lazyConnect: set("lazy_connect", "bool"),
    clientInfo: set("client_info", "bool"),
    probeTransactions: set("probe_transactions", "bool"),
    readFrom: set("read_from", "i32"),
    mapAddress: native.option("map_address", "string", "string"),
    sentinelUsername: set("sentinel_username", "string"),
    sentinelPassword: set("sentinel_password", "buffer", "size"),
};

/** What an option must be, said in the words of an error text. */
function check(name, value, isRight, what) {
    if (!isRight) throw invalid(`the option ${name} must be ${what}, not ${shown(value)}`);
}

/** The options as they are now: each is read once, as what it gives then may be another. */
function copy(what, value) {
    if (typeof value !== "object" || value === null) throw invalid(`the options of ${what} must be an object, not ${shown(value)}`);
    return { ...value };
}

/** The same, where the options are these. */
function known(what, value, names) {
    const options = copy(what, value);
    for (const name of Object.keys(options)) {
        if (!names.includes(name)) throw invalid(`${what} has no option ${name}`);
    }
    return options;
}

function text(name, value) {
    check(name, value, typeof value === "string" && !value.includes("\0"), "a string without NUL");
    return value;
}

function flag(name, value) {
    check(name, value, typeof value === "boolean", "a boolean");
    return value;
}

function count(name, value, most = Number.MAX_SAFE_INTEGER) {
    const isRight = Number.isInteger(value) && value >= 0 && value <= most;
    check(name, value, isRight, `an integer from 0 to ${most}`);
    return value;
}

function oneOf(name, value, numbers) {
    const isRight = (typeof value === "string" || typeof value === "number") && Object.hasOwn(numbers, value);
    check(name, value, isRight, `one of ${Object.keys(numbers).join(", ")}`);
    return numbers[value];
}

/** Milliseconds of a call; 0 stands for the client's own timeout. */
function timeoutOf(value) {
    if (value === undefined) return 0;
    const isRight = Number.isInteger(value) && value > 0 && value <= 0xffff_ffff;
    check("timeout", value, isRight, "an integer of milliseconds above 0");
    return value;
}

function signalOf(value) {
    check("signal", value, value === undefined || value instanceof AbortSignal, "an AbortSignal");
    return value;
}

function secret(value, name) {
    check(name, value, typeof value === "string" || isBytes(value), "a string or a Buffer");
    return bytesOf(value);
}

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

/** Those that concern this binding alone. */
const OWN = {
    lazyConnect: (value) => flag("lazyConnect", value),
    keepAlive: (value) => flag("keepAlive", value),
    buffers: (value) => flag("buffers", value),
    maxInFlight: (value) => check("maxInFlight", value, Number.isInteger(value) && value > 0 && value < 2 ** 31, "an integer above 0"),
    signal: signalOf,
};

/** Opens a native client that has not connected yet: opening never waits, and so never blocks the event loop. */
function open(url, options) {
    if (typeof url !== "string" || url.includes("\0")) throw invalid(`the URL must be a string without NUL`);
    const handle = native.optionsNew();
    try {
        for (const [name, value] of Object.entries(options)) {
            if (value === undefined) continue;
            if (Object.hasOwn(OWN, name)) OWN[name](value);
            else if (Object.hasOwn(given, name)) given[name]((...values) => nativeSet[name](handle, ...values), value);
            else throw invalid(`there is no option ${name}`);
        }
        nativeSet.lazyConnect(handle, true);
        const out = Buffer.alloc(8);
        native.clientOpen(url, handle, out);
        return out.readBigUInt64LE(0);
    } finally {
        native.optionsFree(handle);
    }
}

module.exports = { open, copy, known, oneOf, text, flag, timeoutOf, signalOf, READ_FROM };
