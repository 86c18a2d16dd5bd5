// What a client tells of its connections: fetched from the native library when the queue's descriptor tells, since that cannot call into JavaScript from
// its threads; then given to listeners and to the diagnostics channel.

"use strict";

const builtin = require("./builtin");
const time = require("./time");
const tracing = require("./tracing");

const EventEmitter = builtin("node:events");

const ERROR = 1;
const WARNING = 2;

/** Listeners, and what they are told. */
class Events {
    #emitter = new EventEmitter();
    #address;
    /** Servers to which there was a connection: the next one is a new one. */
    #known = new Set();

    constructor(address) {
        this.#address = address;
    }

    /** Whether anybody would hear. */
    get isHeard() {
        return this.#emitter.eventNames().length > 0 || tracing.connection.hasSubscribers;
    }

    /** Calls one of EventEmitter's own methods. */
    listeners(method, ...args) {
        return this.#emitter[method](...args);
    }

    /** Tells what happened, each listener by itself: what it throws is its own affair and the process's, and stops nothing here. */
    tell(name, details) {
        if (tracing.connection.hasSubscribers) tracing.connection.publish({ event: name, ...details, ...this.#address });
        if (this.#emitter.listenerCount(name) > 0) time.nextTick(() => this.#emitter.emit(name, details));
    }

    /** Takes in what the library says. With `isOld` nobody is told: it was before the first listener came. */
    read(level, message, isOld) {
        const [, node] = /^connected to (.*)$/s.exec(message) ?? [];
        if (node !== undefined) {
            const name = this.#known.has(node) ? "reconnect" : "connect";
            this.#known.add(node);
            if (!isOld) this.tell(name, { node, message });
        } else if (!isOld && (level === ERROR || level === WARNING)) {
            this.tell(level === ERROR ? "connectError" : "lost", { message });
        }
    }
}

module.exports = { Events };
