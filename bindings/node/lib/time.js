// The end of a turn and the passing of time, whatever a test has put in place of Node's functions for them: with fake
// timers, Jest's or sinon's, nobody moves the clock on for this package.

"use strict";

const builtin = require("./builtin");

const fs = builtin("node:fs");
const process = builtin("node:process");
const timers = builtin("node:timers");

/** As far as can be seen: a fake of sinon's names its clock. */
const isGenuine = (f) => f.clock === undefined && f._isMockFunction !== true;

const settled = Promise.resolve();
// Promises cannot be faked. What is made in later jobs of the same turn then travels apart.
const soon = (f) => void settled.then(f);

/** In another turn of the event loop, by what no test fakes. */
const later = (f) => fs.stat("/", () => f());

/** Before this package there may have been a test that has faked them already. */
const nextTick = isGenuine(process.nextTick) ? process.nextTick : soon;
const setTimeout = isGenuine(timers.setTimeout) ? timers.setTimeout : later;

module.exports = { nextTick, setTimeout };
