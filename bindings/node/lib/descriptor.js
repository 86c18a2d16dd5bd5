// Waits until the queue's descriptor can be read. Node (and Deno) do that with a net.Socket; that of Bun takes no
// descriptors, but Bun has a way of its own.

"use strict";

const builtin = require("./builtin");

const { Bun } = globalThis;
const net = builtin("node:net");

/**
 * Calls `readable` when something has come, which has been read then, and `closed` when the descriptor is, whoever
 * has closed it. It belongs to what is returned, which keeps the process alive only after ref().
 */
function watch(fd, readable, closed) {
    if (Bun !== undefined) return new BunSocket(fd, readable, closed);
    const onread = { buffer: Buffer.alloc(64), callback: () => (readable(), true) };
    const socket = new net.Socket({ fd, readable: true, writable: false, onread });
    return socket.on("error", () => {}).on("close", closed).unref();
}

class BunSocket {
    destroyed = false;
    #socket = null;
    #isHeld = false;

    constructor(fd, data, closed) {
        const open = (socket) => {
            this.#socket = socket;
            if (this.destroyed) socket.terminate();
            else this.#hold();
        };
        const close = () => {
            this.destroyed = true;
            closed();
        };
        Bun.connect({ fd, socket: { open, data, close, error() {} } }).catch(close);
    }

    #hold() {
        if (this.#isHeld) this.#socket?.ref();
        else this.#socket?.unref();
    }

    ref() {
        this.#isHeld = true;
        this.#hold();
    }

    unref() {
        this.#isHeld = false;
        this.#hold();
    }

    destroy() {
        this.destroyed = true;
        this.#socket?.terminate();
    }
}

module.exports = { watch };
