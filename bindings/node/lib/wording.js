// What the native library calls by its names in C, errors here call by their names in JavaScript.

"use strict";

const INVALID_ARGUMENT = 100;
const INVALID_OPTION = 102;

const NAMES = new Map([
    ["RS_SCRIPT_IDEMPOTENT", "idempotent"],
    ["RS_SCRIPT_ONCE", "once"],
    ["RS_SCRIPT_AS_FUNCTION", "asFunction"],
    ["RS_LIBRARY_NAMED", "named"],
    ["RS_LIBRARY_ONCE", "once"],
    ["options.flags", "options"],
    ["options: once", "once"],
    ["options.name", "name"],
    ["options.wait_timeout_ms", "once.waitTimeout"],
    ["wait_replicas", "once.waitReplicas"],
    ["options.route_slot", "route.slot"],
]);
const KNOWN = new RegExp([...NAMES.keys()].map((name) => name.replace(".", "\\.")).join("|"), "g");

/** A certificate and its key are one option here. */
const optionOf = (name) =>
    name.replace(/^(tls_client)_(cert|key)/, "$1_cert").replace(/^(tls_client_cert)_file$/, "$1")
        .replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());

/** The message of an error that the library has made; what servers and scripts say stays as it is. */
function worded(status, message, serverCode) {
    if (serverCode !== "" || (status !== INVALID_ARGUMENT && status !== INVALID_OPTION)) return message;
    return message
        .replace(/^option ([a-z_]+):/, (_, name) => `option ${optionOf(name)}:`)
        .replace(KNOWN, (name) => NAMES.get(name));
}

module.exports = { worded };
