// The package, for import: the same objects as those that require() gives.

import rs_script from "./index.js";
import where from "./where.js";

where.at(import.meta.url);

export const {
    connect,
    Client,
    Library,
    Pipeline,
    nativeLibrary,
    ScriptError,
    ArgumentError,
    ClosedError,
    QueueFullError,
    ConnectError,
    TimeoutError,
    CancelledError,
    IndeterminateError,
    ServerError,
    NoScriptError,
    CompileError,
    TransactionAbortedError,
} = rs_script;
export default rs_script;
