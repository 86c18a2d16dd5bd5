// A call, from the moment it is made until its promise is settled.

"use strict";

const errors = require("./errors");

const CANCELLED = errors.nameOfReason(errors.reasonOf.CANCELLED);

class Call {
    constructor(owner, resolve, reject, buffers, caller) {
        /** Keeps what it needs from being collected. */
        this.owner = owner;
        this.settle = resolve;
        this.fail = reject;
        this.buffers = buffers;
        /** Where it was made, if that is to be told. */
        this.caller = caller;
        this.tag = 0;
        /** The native handle that it goes through. */
        this.target = null;
        /** Where it stands in the batch, while it has not been submitted. */
        this.start = 0;
        this.end = 0;
        this.signal = null;
        /** With the calls that its signal ends, while it is under way. */
        this.peers = null;
        /** Where what it has cost is told, if anywhere. */
        this.told = null;
    }

    resolve(reply) {
        if (this.signal !== null) this.forgetSignal();
        this.settle(reply);
    }

    reject(error) {
        if (this.signal !== null) {
            // One that came too late has ended nothing.
            if (this.signal.isAborted && error.reason === CANCELLED) error.cause = this.signal.reason;
            this.forgetSignal();
        }
        this.fail(error);
    }

    /** Ends it with an error that this side has made. */
    refuse(error) {
        if (this.caller !== null) errors.nameCaller(error, this.caller);
        this.reject(error);
    }

    forgetSignal() {
        const { calls, forget } = this.peers;
        calls.delete(this);
        if (calls.size === 0) forget();
    }
}

module.exports = { Call };
