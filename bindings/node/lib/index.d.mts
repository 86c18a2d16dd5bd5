// The types of the package, for import.

export * from "./index.js";
import * as rs_script from "./index.js";
export default rs_script;
