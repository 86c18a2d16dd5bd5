// Where packages with native parts, which no bundler can take along, are looked for: from this file, or from the
// bundle that it has become part of.

"use strict";

const builtin = require("./builtin");

const { createRequire } = builtin("node:module");
const path = builtin("node:path");
const { fileURLToPath } = builtin("node:url");

/** An ES module has no `__filename`: then the program's own file, until the entry of ES modules says better. */
let file = typeof __filename === "string" ? __filename : path.resolve(globalThis.process.argv[1] ?? "program");
const isKnown = typeof __filename === "string";
let made;

/** Made when it is needed: by then it is known where this is. */
const resolver = () => (made ??= createRequire(file));

/** Says where this code is, with the `import.meta.url` of a module that stands beside it; nothing where that is known already. */
function at(url) {
    if (!isKnown && url !== undefined) file = fileURLToPath(url);
}

module.exports = {
    at,
    folder: () => path.dirname(file),
    require: (name) => resolver()(name),
    resolve: (name) => resolver().resolve(name),
    loaded: () => resolver().cache,
};
