//! Fuzzes URLs and options.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rs_script_fuzz::bounded(
    data,
    4194304,
    1024,
    rs_script::fuzzing::url
));
