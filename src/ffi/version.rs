//! Which version of the library is running.

use std::ffi::{CStr, c_char};

/// The version of the library that is loaded, such as `1.2.3`. Compare with RS_VERSION of the header.
///
/// Returns: a string that lives as long as the library. Errors: none. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn rs_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
    VERSION.as_ptr()
}

/// The same as a number: major * 1000000 + minor * 1000 + patch. Compare with RS_VERSION_NUMBER of the header.
///
/// Errors: none. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn rs_version_number() -> u32 {
    const NUMBER: u32 = part(env!("CARGO_PKG_VERSION_MAJOR")) * 1_000_000
        + part(env!("CARGO_PKG_VERSION_MINOR")) * 1_000
        + part(env!("CARGO_PKG_VERSION_PATCH"));
    NUMBER
}

const fn part(digits: &str) -> u32 {
    let mut value = 0;
    let mut rest = digits.as_bytes();
    while let [digit, more @ ..] = rest {
        value = value * 10 + (*digit - b'0') as u32;
        rest = more;
    }
    value
}
