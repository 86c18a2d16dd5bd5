// What a client tells of its connections: fetched from the native library when the queue's descriptor tells, since
// that cannot call into JavaScript from its threads; then given to listeners and to the diagnostics channel.

"use strict";

const builtin = require("./builtin");
const { codeOf, nameOfReason } = require("./errors");
const time = require("./time");
const tracing = require("./tracing");

const EventEmitter = builtin("node:events");

/** By the numbers of the C header. What is not among them a newer library tells. */
const NAMES = [
    undefined,
    "connect",
    "reconnect",
    "connectError",
    "lost",
    "authError",
    "reauthenticated",
    "userChanged",
    "primariesChanged",
    "failover",
    "slotMoved",
    "evictsTokens",
];

/** Listeners, and what they are told. */
class Events {
    #emitter = new EventEmitter();
    #address;

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

    /**
     * Tells what happened, when nothing else is being done: whoever hears of it may close the client, or throw, which
     * is its own affair and the process's, and stops nothing here.
     */
    tell(name, details) {
        if (!this.isHeard) return;
        time.nextTick(() => {
            if (tracing.connection.hasSubscribers) {
                tracing.connection.publish({ event: name, ...details, ...this.#address });
            }
            this.#emitter.emit(name, details);
        });
    }

    /**
     * Tells what the library says, from `at` of a Buffer on; where it ends. With `isOld` nobody is told: it was
     * before the first listener came.
     */
    read(buffer, at, isOld) {
        const text = (from) => buffer.utf8Slice(from + 4, from + 4 + buffer.readUInt32LE(from));
        const [kind, , status, reason] = [0, 4, 8, 12].map((place) => buffer.readInt32LE(at + place));
        const ofMessage = at + 20 + buffer.readUInt32LE(at + 16);
        if (!isOld && NAMES[kind] !== undefined) {
            const node = text(at + 16);
            this.tell(NAMES[kind], {
                ...(node !== "" && { node }),
                ...(status !== 0 && { code: codeOf(status), reason: nameOfReason(reason) }),
                message: text(ofMessage),
            });
        }
        return ofMessage + 4 + buffer.readUInt32LE(ofMessage);
    }
}

module.exports = { Events };
