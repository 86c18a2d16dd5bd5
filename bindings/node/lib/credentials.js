// User and password by a function of the program's: the library's requests are fetched when the queue's descriptor
// tells, since it cannot call into JavaScript from its threads, and are given back when the function has settled.

"use strict";

const { check, secret } = require("./checks");
const { shown } = require("./pack");
const native = require("./native");

/**
 * So many connections to a server wait for one answer; of more the first, which have long been given up, are refused.
 */
const MOST_WAITING = 64;
/** What timers can do. */
const LONGEST_TIMER = 2 ** 31 - 1;
/** A year: more is as good. */
const LONGEST = 365 * 24 * 60 * 60 * 1000;

/** Asks for the credentials of one client. */
class Login {
    #ask;
    #timeout;
    #events;
    /** By server: what is asked, the requests that wait for it, and those that are to have it asked once more. */
    #asked = new Map();
    /** Aborted with the client. */
    #life = new AbortController();

    /** `events`: where the library puts its requests; `timeout`: how long it waits. */
    constructor(ask, timeout, events) {
        this.#ask = ask;
        this.#timeout = Math.min(timeout, LONGEST_TIMER);
        this.#events = events;
    }

    /** Looks what is asked. */
    fetch() {
        for (let request; (request = native.takeCredentials(this.#events)) !== 0n; ) {
            const node = native.credentialsNode(request);
            const question = this.#asked.get(node);
            if (question === undefined) {
                this.#begin(node, [request]);
                continue;
            }
            const requests = question.isOld ? question.behind : question.requests;
            if (requests.push(request) > MOST_WAITING) {
                native.credentialsRefuse(requests.shift(), "the function has not settled, and others wait for it");
            }
        }
    }

    /** What the function is thinking of may be no good any more: who asks from now on has it asked once more. */
    renew() {
        for (const question of this.#asked.values()) question.isOld = true;
    }

    async #begin(node, requests) {
        const question = { requests, behind: [], isOld: false };
        this.#asked.set(node, question);
        let answer;
        try {
            // Not from within the event that tells of calls.
            await null;
            const signal = AbortSignal.any([this.#life.signal, AbortSignal.timeout(this.#timeout)]);
            if (question.requests.length > 0) answer = answerOf(await this.#ask.call(undefined, node, { signal }));
        } catch (error) {
            const why = reasonOf(error);
            answer = (request) => native.credentialsRefuse(request, why);
        }
        this.#asked.delete(node);
        if (question.behind.length > 0) this.#begin(node, question.behind);
        // Of a closed client there are none any more.
        for (const waiting of question.requests) answer(waiting);
    }

    /** Nothing is waited for any more, and whoever still thinks is told. */
    close() {
        for (const { requests, behind } of this.#asked.values()) {
            const waiting = [...requests.splice(0), ...behind.splice(0)];
            for (const request of waiting) native.credentialsRefuse(request, "the client is closed");
        }
        this.#life.abort();
    }
}

/** Gives what the function has given; throws what is wrong with it, and nothing of what it is. */
function answerOf(given) {
    if (typeof given !== "object" || given === null) {
        throw new TypeError(`it gave no object with a password, but ${shown(given)}`);
    }
    const { username, password, lifetime } = given;
    const isName = typeof username === "string" && username !== "" && !username.includes("\0");
    check("username", username, username === undefined || isName, "a string without NUL that is not empty");
    const isTime = typeof lifetime === "number" && !Number.isNaN(lifetime);
    check("lifetime", lifetime, lifetime === undefined || isTime, "a number of milliseconds");
    const bytes = secret(password, "password");
    const name = username === undefined ? null : Buffer.from(`${username}\0`);
    // To the library 0 is for ever, and what is over is over in a moment.
    const left = lifetime === undefined ? 0 : Math.max(1, Math.ceil(Math.min(lifetime, LONGEST)));
    return (request) => {
        try {
            native.credentialsAnswer(request, name, bytes, bytes.length, left);
        } catch {
            // It is the error of the connection by now.
        }
    };
}

/** Why there are none: the text of what was thrown, and of what is no error not even that. */
function reasonOf(error) {
    try {
        const text = error instanceof Error ? `it said: ${error.message}` : `it threw ${shown(error)}`;
        return text.replaceAll("\0", " ");
    } catch {
        return "it threw something that cannot be shown";
    }
}

module.exports = { Login };
