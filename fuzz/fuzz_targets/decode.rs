//! Fuzzes the decoder: any bytes, any cuts.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rs_script_fuzz::bounded(
    data,
    65536,
    512,
    rs_script::fuzzing::decode
));
