//! Fuzzes the C API: functions and a server's answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rs_script_fuzz::capi::run(data));
