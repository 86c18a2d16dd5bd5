//! What a client shows servers to be let in: certificates and keys from memory.

use std::ffi::c_char;

use super::error::rs_error;
use super::options::{rs_options, set};
use super::{bytes, rs_status};

/// The authorities to trust instead of the system's, in PEM form: `len` bytes; copied. In place of rs_options_set_tls_ca_file. TLS URLs
/// only; checked by rs_client_open.
///
/// # Safety
/// `options` is NULL or live options; `pem` is NULL or points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_tls_ca_pem(
    options: *mut rs_options,
    pem: *const c_char,
    len: usize,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            options.tls_ca_pem(bytes(pem, len, "pem")?);
            Ok(())
        })
    }
}

/// The client certificate, its chain included, and its key (PKCS#8, PKCS#1 or SEC1; not encrypted), in PEM form; copied. In place of
/// rs_options_set_tls_client_cert. TLS URLs only; checked by rs_client_open. The copies of the key are overwritten when the options and
/// clients that hold them are freed.
///
/// # Safety
/// `options` is NULL or live options; `cert` is NULL or points to `cert_len` bytes, and `key` to `key_len`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_tls_client_cert_pem(
    options: *mut rs_options,
    cert: *const c_char,
    cert_len: usize,
    key: *const c_char,
    key_len: usize,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            let (cert, key) = (bytes(cert, cert_len, "cert")?, bytes(key, key_len, "key")?);
            options.tls_client_cert_pem(cert).tls_client_key_pem(key);
            Ok(())
        })
    }
}
