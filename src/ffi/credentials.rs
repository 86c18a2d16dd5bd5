//! What a client shows servers to be let in: certificates and keys from memory, and `rs_credentials_request`, user
//! and password by callback.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use super::client::rs_client;
use super::error::rs_error;
use super::options::{Context, LONGEST_MS, rs_free_fn, rs_options, set};
use super::sys::cancel::Held;
use super::{bytes, guard_held, guard_value, handle, invalid, rs_status, text};
use crate::base::credentials::{Credentials, CredentialsRequest};
use crate::error::Result;

/// The authorities to trust instead of the system's, in PEM form: `len` bytes; copied. In place of
/// rs_options_set_tls_ca_file. TLS URLs only; checked by rs_client_open.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
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

/// The client certificate, its chain included, and its key (PKCS#8, PKCS#1 or SEC1; not encrypted), in PEM form;
/// copied. In place of rs_options_set_tls_client_cert. TLS URLs only; checked by rs_client_open. The copies of the
/// key are overwritten when the options and clients that hold them are freed.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
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

/// A connection that waits for user and password. It belongs to whoever the callback hands it to:
/// rs_credentials_answer or rs_credentials_refuse, once, takes it back, now or later and on any thread; it may be
/// after the client was freed, which is no error.
pub struct rs_credentials_request {
    request: CredentialsRequest,
    /// The server's name and a NUL.
    node: Vec<u8>,
}

impl rs_credentials_request {
    pub(super) fn new(request: CredentialsRequest) -> Box<Self> {
        let mut node = request.node().replace('\0', " ").into_bytes();
        node.push(0);
        Box::new(rs_credentials_request { request, node })
    }

    /// Ends it without credentials.
    pub(super) fn refuse(self, why: &str) {
        self.request.refuse(why);
    }
}

/// Gives user and password for a connection to a server, by rs_credentials_answer or rs_credentials_refuse.
///
/// It runs on a thread started for it and may block, on an HTTP request for instance: no lock is held, and nothing
/// but the connection that it is called for waits, up to the connect timeout and the deadlines of its calls. It may
/// be called for several servers at once, but is not called again for a server while a call for it has neither
/// answered nor returned. It may return first and answer later. It may free the client; it must not let an exception
/// or longjmp out, or end its thread. rs_client_free waits for a call that has answered to return, and not for one
/// that has not: that goes on, its answer is nobody's, and the library stays loaded for it.
pub type rs_credentials_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, request: *mut rs_credentials_request)>;

/// Ask for user and password whenever a connection to a server is made, in place of a password that stays the same:
/// for tokens that expire, and passwords that are rotated. Sentinels keep their own. With a user or a password in the
/// URL or in these options besides, rs_client_open ends with RS_ERR_INVALID_OPTION. Default: nobody is asked.
///
/// Open connections log in again when their credentials are due (`lifetime_ms` of rs_credentials_answer), and
/// when rs_client_reauthenticate says so. AUTH goes between the calls of others then. Where it is refused, or there
/// is no answer, the connection stays in use, the log is told with RS_LOG_LEVEL_WARNING, and it is tried again: after a
/// second first, then more seldom, up to once a minute. An answer with another user has the connection replaced by a
/// new one. A command that waits on a connection of its own (BLPOP) is left as it is.
///
/// `credentials`: NULL for nobody. `context`: handed to it each time, on any thread. `context_free`: called with it,
/// once, when neither these options nor a client of theirs nor a call of `credentials` needs it any more; may be
/// NULL. On failure it is called before this returns.
///
/// Redis: <https://redis.io/docs/latest/commands/auth/>.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options; `credentials` and `context_free` may be called from any thread with `context`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_credentials(
    options: *mut rs_options,
    credentials: rs_credentials_fn,
    context: *mut c_void,
    context_free: rs_free_fn,
    err: *mut *mut rs_error,
) -> rs_status {
    let context = Context::new(context, context_free);
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            let Some(credentials) = credentials else {
                options.no_credentials();
                return Ok(());
            };
            options.credentials_later(move |request| {
                let request = Box::into_raw(rs_credentials_request::new(request));
                let _held = Held::new();
                // The function and its context were given for this; the request is the callee's from here on.
                credentials(context.pointer(), request);
            });
            Ok(())
        })
    }
}

/// The server that a connection is made to: `host:port` or a socket's path.
///
/// Returns: borrowed until the request is answered or refused. NULL: an empty text. Errors: none. Threads: any.
///
/// # Safety
/// `request` is NULL or a live request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_credentials_node(request: *const rs_credentials_request) -> *const c_char {
    // SAFETY: as documented.
    unsafe { request.as_ref() }.map_or(c"".as_ptr(), |request| request.node.as_ptr().cast())
}

/// Gives user and password, and takes the request back, whatever is returned: with an error the request is refused
/// with its text.
///
/// `username`: ends in a NUL; NULL for the user `default`; copied. `password`: `len` bytes, however many; copied, and
/// overwritten when the server has taken it. `lifetime_ms`: how long they are good for from now on: connections that
/// stand ask again when three quarters of it are over; 0: for as long as a connection lives; below 1000 it is taken
/// for 1000.
///
/// Errors: RS_ERR_INVALID_ARGUMENT. Threads: any.
///
/// cbindgen:postfix=RS_NOT_NULL(request)
///
/// # Safety
/// `request` is NULL or a live request, and not live afterwards; `username` is NULL or ends in a NUL; `password` is
/// NULL or points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_credentials_answer(
    request: *mut rs_credentials_request,
    username: *const c_char,
    password: *const c_char,
    len: usize,
    lifetime_ms: u64,
    err: *mut *mut rs_error,
) -> rs_status {
    guard_held(err, || {
        if request.is_null() {
            return Err(invalid("request", "is NULL"));
        }
        // SAFETY: not NULL, and the caller gives a live request back.
        let request = unsafe { Box::from_raw(request) }.request;
        // SAFETY: as documented.
        let credentials = unsafe { credentials_of(username, password, len, lifetime_ms) };
        match credentials {
            Ok(credentials) => request.answer(credentials),
            Err(error) => {
                request.refuse(error.message());
                return Err(error);
            }
        }
        Ok(())
    })
}

/// # Safety
/// As for [`rs_credentials_answer`].
unsafe fn credentials_of(
    username: *const c_char,
    password: *const c_char,
    len: usize,
    lifetime_ms: u64,
) -> Result<Credentials> {
    // SAFETY: as promised.
    let mut credentials = Credentials::new(unsafe { bytes(password, len, "password") }?);
    if !username.is_null() {
        // SAFETY: not NULL, and the caller promises a NUL at the end.
        let username = unsafe { text(username, "username") }?;
        if username.is_empty() {
            return Err(invalid("username", "is empty"));
        }
        credentials = credentials.username(username);
    }
    if lifetime_ms > LONGEST_MS {
        return Err(invalid("lifetime_ms", "is longer than a year"));
    }
    Ok(match lifetime_ms {
        0 => credentials,
        lifetime => credentials.lifetime(Duration::from_millis(lifetime)),
    })
}

/// Says that there are no credentials, and why, and takes the request back: the attempt to connect fails with
/// RS_ERR_AUTH and this text, and nothing was executed. An open connection stays in use.
///
/// `why`: ends in a NUL; copied; it must hold no secret. NULL: no text. NULL `request`: does nothing. Errors: none.
/// Threads: any.
///
/// # Safety
/// `request` is NULL or a live request, and not live afterwards; `why` is NULL or ends in a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_credentials_refuse(request: *mut rs_credentials_request, why: *const c_char) {
    let _held = Held::new();
    guard_value((), || {
        if request.is_null() {
            return;
        }
        // SAFETY: not NULL, and the caller gives a live request back.
        let request = unsafe { Box::from_raw(request) }.request;
        let why = match why.is_null() {
            true => c"no reason given",
            // SAFETY: not NULL, and the caller promises a NUL at the end.
            false => unsafe { std::ffi::CStr::from_ptr(why) },
        };
        request.refuse(why.to_string_lossy());
    });
}

/// Asks for credentials again (rs_options_set_credentials) and has every open connection log in with them,
/// between the calls of others: for when a password has been rotated, or is about to be. Returns when all have.
///
/// Connections that are made meanwhile count too, those of commands that wait (BLPOP) do not. That one is lost
/// meanwhile is no error: whatever takes its place asks anew. On failure the connections stay in use, and try again by
/// themselves.
///
/// Errors: RS_ERR_AUTH (a server has refused the login, or there was nothing to log in with; rs_error_node says for
/// which), RS_ERR_INDETERMINATE (the deadline passed; some may have logged in), RS_ERR_INVALID_ARGUMENT (NULL, or the
/// client has no callback to ask), RS_ERR_CLOSED, RS_ERR_FORKED. Threads: any.
///
/// cbindgen:postfix=RS_NOT_NULL(client)
///
/// # Safety
/// The pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_reauthenticate(
    client: *mut rs_client,
    err: *mut *mut rs_error,
) -> rs_status {
    guard_held(err, || {
        // SAFETY: as documented.
        unsafe { handle(client, "client") }?.client.reauthenticate()
    })
}
