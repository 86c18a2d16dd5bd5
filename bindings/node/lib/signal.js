// An AbortSignal, asked in the ways of its class. What its owner has put before these is code that would run while
// calls are written, or given their replies: it may throw, make calls and close the client.

"use strict";

const builtin = require("./builtin");

const { isProxy } = builtin("node:util").types;

class Signal {
    #ways = AbortSignal.prototype;

    /** Throws where this is no AbortSignal, whatever its prototype says, or a Proxy, which Node takes for one. */
    constructor(given) {
        if (isProxy(given)) throw new TypeError("it is a Proxy");
        this.given = given;
        Reflect.get(this.#ways, "aborted", given);
    }

    get isAborted() {
        return Reflect.get(this.#ways, "aborted", this.given);
    }

    get reason() {
        return Reflect.get(this.#ways, "reason", this.given);
    }

    listen(listener) {
        this.#ways.addEventListener.call(this.given, "abort", listener, { once: true });
    }

    forget(listener) {
        this.#ways.removeEventListener.call(this.given, "abort", listener);
    }
}

module.exports = { Signal };
