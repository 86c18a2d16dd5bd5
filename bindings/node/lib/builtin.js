// Node's own modules, asked of Node itself. Bundlers leave that alone, also where they make an ES module, in which
// there is no `require`; and what a test framework has in their place (Jest's copy of `process`) is not what this
// package stands on.

"use strict";

module.exports = (name) => globalThis.process.getBuiltinModule(name);
