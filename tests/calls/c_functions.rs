//! The C functions in any order, with NULLs, on a server that says anything: what the fuzzer of them has kept.

#[path = "../../fuzz/src/capi.rs"]
mod capi;
#[path = "../../src/fuzzing/kept.rs"]
mod kept;
#[path = "../../fuzz/src/server.rs"]
mod server;

#[test]
fn inputs_for_capi() {
    kept::run("capi", 500, capi::run);
}
