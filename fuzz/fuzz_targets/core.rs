//! Fuzzes the whole client without sockets: events and bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rs_script_fuzz::bounded(
    data,
    16777216,
    4096,
    rs_script::fuzzing::core
));
