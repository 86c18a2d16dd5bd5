// What a worker thread leaves behind: one that is terminated runs no more JavaScript, so the system's own destructors
// of thread-specific data close its clients and free its queues.

"use strict";

const builtin = require("./builtin");
const native = require("./native");

const { isMainThread } = builtin("node:worker_threads");

/** Has `destructor`, a function of the native library, called with `address` when this thread ends; gives what undoes that. */
function atExit(destructor, address) {
    const out = Buffer.alloc(8);
    // A process has about a thousand keys. Without one the object stays until the process ends.
    if (isMainThread || native.keyCreate(out, native.addressOf(destructor)) !== 0) return () => {};
    const key = Number(out.readBigUInt64LE(0));
    native.setSpecific(key, address);
    return () => native.keyDelete(key);
}

module.exports = { atExit };
