// The package, for require().

"use strict";

module.exports = require("./client");
