// What diagnostics_channel tells of calls and connections: tracing channels, as other clients have them, for whoever
// wants spans or logs. Never a key, an argument, a script's source or a password.

"use strict";

const builtin = require("./builtin");

const { channel, tracingChannel } = builtin("node:diagnostics_channel");

const call = tracingChannel("rs_script:call");
const connect = tracingChannel("rs_script:connect");
const connection = channel("rs_script:connection");

/** Node 20 has no `hasSubscribers` for all five channels of one. */
const isHeard = ({ start, end, asyncStart, asyncEnd, error }) =>
    start.hasSubscribers ||
    end.hasSubscribers ||
    asyncStart.hasSubscribers ||
    asyncEnd.hasSubscribers ||
    error.hasSubscribers;

/**
 * Where a URL leads to, and nothing of it that may be secret: of one that is refused because its password is not
 * encoded, or because it names no host behind its user and password, nothing.
 */
function addressOf(url) {
    if (typeof url !== "string") return {};
    const [, scheme, authority, rest] = /^([^:]*):\/\/([^/?#]*)(.*)$/s.exec(url) ?? [];
    if (scheme === undefined || (authority !== "" && rest.includes("@"))) return {};
    const [path] = rest.split("?");
    if (/^unix$/i.test(scheme)) return { serverAddress: path };
    const [first] = authority.slice(authority.lastIndexOf("@") + 1).split(",");
    const [, host, port] = /^(.*?)(?::(\d+))?$/s.exec(first);
    if (host.includes(":") && !host.startsWith("[")) return {};
    return { serverAddress: host.replace(/^\[|\]$/g, ""), ...(port !== undefined && { serverPort: Number(port) }) };
}

module.exports = { call, connect, connection, isHeard, addressOf };
