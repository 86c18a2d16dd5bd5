// The package, for import: the same objects as those that require() gives.

import rs_script from "./index.js";

export const {
    connect,
    Client,
    Pipeline,
    ffi,
    library,
    version,
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
