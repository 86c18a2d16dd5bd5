// What callers give: checked before anything is done with it, and an error text that says what was expected.

"use strict";

const { invalid } = require("./errors");
const { bytesOf, isBytes, shown } = require("./pack");
const { Signal } = require("./signal");

const CALL_OPTIONS = ["timeout", "buffers", "signal"];
/** Of calls of scripts, and of what consists of such. */
const CALL_OPTIONS_WITH_TOKEN = [...CALL_OPTIONS, "token"];
const ONCE = ["lifetime", "replyLimit", "prefix", "waitReplicas", "waitTimeout"];
const VIEW_OPTIONS = ["timeout", "buffers", "callerStack", "readFrom", "route"];
const READ_FROM = { primary: 1, preferReplica: 2, replica: 3 };

/** What an option must be, said in the words of an error text. */
function check(name, value, isRight, what) {
    if (!isRight) throw invalid(`the option ${name} must be ${what}, not ${shown(value)}`);
}

/** The options as they are now: each is read once, as what it gives then may be another. */
function copy(what, value) {
    if (typeof value !== "object" || value === null) {
        throw invalid(`the options of ${what} must be an object, not ${shown(value)}`);
    }
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

/** A copy, as its owner may change it while the call waits to be sent. */
function tokenOf(value) {
    check("token", value, value === undefined || typeof value === "string" || isBytes(value), "a string or a Buffer");
    return isBytes(value) ? bytesOf(value) : value;
}

/** What a script's calls happen once by, in the terms of an rs_script_options; null where they do not. */
function onceOf(value) {
    if (value === undefined || value === false) return null;
    const given = value === true ? {} : known("once", value, ONCE);
    const { lifetime = 0, replyLimit = 0, prefix = "", waitReplicas = 0, waitTimeout = 0 } = given;
    check("once.prefix", prefix, typeof prefix === "string" || isBytes(prefix), "a string or a Buffer");
    return {
        lifetime: count("once.lifetime", lifetime),
        replyLimit: count("once.replyLimit", replyLimit),
        prefix: bytesOf(prefix),
        waitReplicas: count("once.waitReplicas", waitReplicas, 0xffff_ffff),
        waitTimeout: count("once.waitTimeout", waitTimeout, 0xffff_ffff),
    };
}

/** The signal of a call as a Signal, if there is one. */
function signalOf(value) {
    if (value === undefined) return undefined;
    try {
        return new Signal(value);
    } catch {
        throw invalid(`the option signal must be an AbortSignal, not ${shown(value)}`);
    }
}

function secret(value, name) {
    check(name, value, typeof value === "string" || isBytes(value), "a string or a Buffer");
    return bytesOf(value);
}

/** Options of connect() that concern this binding alone. */
const OWN = {
    lazyConnect: (value) => flag("lazyConnect", value),
    keepAlive: (value) => flag("keepAlive", value),
    buffers: (value) => flag("buffers", value),
    callerStack: (value) => flag("callerStack", value),
    credentials: (value) => check("credentials", value, typeof value === "function", "a function"),
    callCosts: (value) => flag("callCosts", value),
    maxInFlight: (value) =>
        check("maxInFlight", value, Number.isInteger(value) && value > 0 && value < 2 ** 31, "an integer above 0"),
    signal: signalOf,
};

/** Looks at those of them that are given. */
function checkOwn(options) {
    for (const [name, value] of Object.entries(options)) {
        if (value !== undefined && Object.hasOwn(OWN, name)) OWN[name](value);
    }
}

module.exports = {
    check,
    copy,
    known,
    text,
    flag,
    count,
    oneOf,
    timeoutOf,
    tokenOf,
    onceOf,
    signalOf,
    secret,
    checkOwn,
    CALL_OPTIONS,
    CALL_OPTIONS_WITH_TOKEN,
    VIEW_OPTIONS,
    OWN,
    READ_FROM,
};
