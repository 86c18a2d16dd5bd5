//! Fuzzes packed calls in, packed completions out.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rs_script_fuzz::bounded(
    data,
    65536,
    1024,
    rs_script::fuzzing::packed
));
