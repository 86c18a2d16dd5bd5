//! `rs_options`: what a client is opened with, beyond its URL.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use super::error::rs_error;
use super::event::{rs_event, rs_log_fn};
use super::sys::cancel::Held;
use super::{bytes, free, guard_held, guard_value, invalid, rs_status, text};
use crate::config::{Options, Protocol};
use crate::error::{Error, Result, Status};
use crate::request::route::{self, ReadFrom};

/// RESP3, and RESP2 with a server that does not know it.
pub const RS_PROTOCOL_AUTO: i32 = 0;
/// RESP2.
pub const RS_PROTOCOL_RESP2: i32 = 2;
/// RESP3; a server that does not know it is an error.
pub const RS_PROTOCOL_RESP3: i32 = 3;

/// Of a call: where its client has read-only calls run. Of a client: RS_READ_FROM_PRIMARY.
pub const RS_READ_FROM_DEFAULT: i32 = 0;
/// Read-only calls run on the primary.
pub const RS_READ_FROM_PRIMARY: i32 = 1;
/// Read-only calls run on the replicas in turn; on the primary where none can be reached.
pub const RS_READ_FROM_PREFER_REPLICA: i32 = 2;
/// Read-only calls run on the replicas in turn, and never on the primary.
pub const RS_READ_FROM_REPLICA: i32 = 3;

/// An attempt to connect has failed; calls may have failed with it.
pub const RS_LOG_LEVEL_ERROR: i32 = 1;
/// The client goes on, but something is wrong: a connection was lost, a login could not be renewed, a server evicts
/// tokens.
pub const RS_LOG_LEVEL_WARNING: i32 = 2;
/// A connection was made, or something about the servers has changed.
pub const RS_LOG_LEVEL_INFO: i32 = 3;

/// A year. Longer is as good as for ever, and would overflow clocks.
pub(super) const LONGEST_MS: u64 = 365 * 24 * 60 * 60 * 1000;

/// Options to open clients with; they may be changed and used again afterwards. Caller frees with rs_options_free.
///
/// Every setter copies its value. A value that cannot be used is RS_ERR_INVALID_OPTION; a NULL, and a text that is not
/// UTF-8, are RS_ERR_INVALID_ARGUMENT. The options stay as they were then. What only makes sense together is checked by
/// rs_client_open. No time may be longer than 365 days. Threads: one at a time.
pub struct rs_options {
    pub(super) options: Options,
}

/// Frees the context of a callback, once, after its last call. It may run on any thread.
pub type rs_free_fn = Option<unsafe extern "C" fn(context: *mut c_void)>;

/// Makes options with every default.
///
/// Returns: caller frees with rs_options_free. Errors: none. Threads: any.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn rs_options_new() -> *mut rs_options {
    let _held = Held::new();
    guard_value(std::ptr::null_mut(), || Box::into_raw(Box::new(rs_options { options: Options::default() })))
}

/// Frees options. Clients opened with them are not touched.
///
/// NULL: does nothing. Errors: none.
///
/// # Safety
/// `options` is NULL or live options; they are not live afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_free(options: *mut rs_options) {
    // SAFETY: as documented.
    unsafe { free(options) }
}

/// Runs the body of a setter.
///
/// # Safety
/// `options` is NULL or live options that no other thread uses.
pub(super) unsafe fn set(
    options: *mut rs_options,
    err: *mut *mut rs_error,
    body: impl FnOnce(&mut Options) -> Result<()>,
) -> rs_status {
    guard_held(err, || {
        // SAFETY: as promised.
        let options = unsafe { options.as_mut() }.ok_or_else(|| invalid("options", "is NULL"))?;
        body(&mut options.options)
    })
}

/// How long one attempt to connect may take: name look-up, TCP, TLS and handshake together. Milliseconds above 0;
/// default 5000.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_connect_timeout_ms(
    options: *mut rs_options,
    timeout_ms: u64,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| options.connect_timeout(Duration::from_millis(timeout_ms)).map(drop))
    }
}

/// How long a call may take, all its attempts together. Milliseconds above 0; default 10000. See also rs_call_options.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_call_timeout_ms(
    options: *mut rs_options,
    timeout_ms: u64,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe { set(options, err, |options| options.call_timeout(Duration::from_millis(timeout_ms)).map(drop)) }
}

/// When a connection is taken for dead that nobody has ended: once a call has missed its deadline on it, and calls
/// were waiting on it for so long without a single byte coming. New calls take a new connection from then on; those
/// that wait on the old one go on waiting until their own deadlines. Several calls that were lost on it, are not
/// answered, and hold more than 16 MiB together have the same effect at once, also where others are answered. Wins over
/// the URL's silence_timeout_ms. Milliseconds above 0; default 500.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_silence_timeout_ms(
    options: *mut rs_options,
    timeout_ms: u64,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| options.silence_timeout(Duration::from_millis(timeout_ms)).map(drop))
    }
}

/// The ACL user; wins over the URL's. Needs a password. Default: none, which is the user `default`.
///
/// cbindgen:postfix=RS_NOT_NULL(options) RS_NOT_NULL(username)
///
/// # Safety
/// `options` is NULL or live options; the text is NULL or ends in a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_username(
    options: *mut rs_options,
    username: *const c_char,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe { set(options, err, |options| options.username(text(username, "username")?).map(drop)) }
}

/// The password, `len` bytes; wins over the URL's. Default: none.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options; `password` points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_password(
    options: *mut rs_options,
    password: *const c_char,
    len: usize,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            options.password(bytes(password, len, "password")?);
            Ok(())
        })
    }
}

/// The name in CLIENT LIST; printable ASCII without spaces. Default: none.
///
/// cbindgen:postfix=RS_NOT_NULL(options) RS_NOT_NULL(name)
///
/// # Safety
/// `options` is NULL or live options; the text is NULL or ends in a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_client_name(
    options: *mut rs_options,
    name: *const c_char,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe { set(options, err, |options| options.client_name(text(name, "name")?).map(drop)) }
}

/// One of the RS_PROTOCOL_ numbers. Default: RS_PROTOCOL_AUTO.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_protocol(
    options: *mut rs_options,
    protocol: i32,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            options.protocol(match protocol {
                RS_PROTOCOL_AUTO => Protocol::Auto,
                RS_PROTOCOL_RESP2 => Protocol::Resp2,
                RS_PROTOCOL_RESP3 => Protocol::Resp3,
                _ => {
                    return Err(Error::new(
                        Status::InvalidOption,
                        "option protocol: must be one of the RS_PROTOCOL_ numbers",
                    ));
                }
            });
            Ok(())
        })
    }
}

/// A PEM file of the authorities to trust instead of the system's. TLS URLs only. From memory:
/// rs_options_set_tls_ca_pem.
///
/// Like the other files of TLS it is read by rs_client_open, and again for each connection: one that has been
/// replaced counts from the next connection on. One that cannot be read or used then is the error of that attempt to
/// connect; open connections go on.
///
/// cbindgen:postfix=RS_NOT_NULL(options) RS_NOT_NULL(path)
///
/// # Safety
/// `options` is NULL or live options; the text is NULL or ends in a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_tls_ca_file(
    options: *mut rs_options,
    path: *const c_char,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            options.tls_ca_file(text(path, "path")?);
            Ok(())
        })
    }
}

/// PEM files of the client certificate, its chain included, and of its key. TLS URLs only; read by rs_client_open,
/// and again for each connection. Where one has been replaced already and the other has not, they do not fit, and
/// that attempt to connect fails. From memory: rs_options_set_tls_client_cert_pem.
///
/// cbindgen:postfix=RS_NOT_NULL(options) RS_NOT_NULL(cert_path) RS_NOT_NULL(key_path)
///
/// # Safety
/// `options` is NULL or live options; the texts are NULL or end in a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_tls_client_cert(
    options: *mut rs_options,
    cert_path: *const c_char,
    key_path: *const c_char,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            let (cert, key) = (text(cert_path, "cert_path")?, text(key_path, "key_path")?);
            options.tls_client_cert_file(cert).tls_client_key_file(key);
            Ok(())
        })
    }
}

/// The host name or address that the server's certificate must hold, instead of the URL's host.
///
/// cbindgen:postfix=RS_NOT_NULL(options) RS_NOT_NULL(name)
///
/// # Safety
/// `options` is NULL or live options; the text is NULL or ends in a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_tls_server_name(
    options: *mut rs_options,
    name: *const c_char,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe { set(options, err, |options| options.tls_server_name(text(name, "name")?).map(drop)) }
}

/// True: accept any certificate. Anybody on the network path can read and change everything then. Default: false.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_tls_insecure_skip_verify(
    options: *mut rs_options,
    skip: bool,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            options.tls_insecure_skip_verify(skip);
            Ok(())
        })
    }
}

/// TCP keep-alive: the first probe after so long a silence. Milliseconds, which the system has rounded up to whole
/// seconds, up to 32767000; 0: none. After as long again without an answer the connection is lost. On Linux one is
/// lost as well whose sent bytes were not acknowledged for that time (TCP_USER_TIMEOUT: twice this option). Default:
/// 60000.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_keepalive_ms(
    options: *mut rs_options,
    idle_ms: u64,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            options.keepalive((idle_ms != 0).then(|| Duration::from_secs(idle_ms.div_ceil(1000)))).map(drop)
        })
    }
}

/// The pause before the second attempt to connect, and the longest pause; it doubles in between and is shortened at
/// random by up to half. Milliseconds above 0; default 20 and 1000.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_reconnect_backoff_ms(
    options: *mut rs_options,
    min_ms: u64,
    max_ms: u64,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            options.reconnect_backoff(Duration::from_millis(min_ms), Duration::from_millis(max_ms)).map(drop)
        })
    }
}

/// After how many failed attempts to connect a call gives up; 0: not before its deadline. In a cluster, and behind
/// sentinels, only an attempt in which no server could be reached counts: as long as one answers, a call waits for a
/// primary until its deadline. rs_client_open tries once. Default: 5.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_reconnect_attempts(
    options: *mut rs_options,
    attempts: usize,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            options.reconnect_attempts(u32::try_from(attempts).unwrap_or(u32::MAX));
            Ok(())
        })
    }
}

/// The longest reply, in bytes on the wire; over it the connection is closed and the call ends with
/// RS_ERR_REPLY_LIMIT. At least 65536; default 513 MiB.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_max_reply_bytes(
    options: *mut rs_options,
    bytes: usize,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe { set(options, err, |options| options.max_reply_bytes(bytes as u64).map(drop)) }
}

/// How deep arrays, maps and sets of a reply may be nested; over it the same happens. 8 to 1024; default 128.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_max_reply_depth(
    options: *mut rs_options,
    depth: usize,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe { set(options, err, |options| options.max_reply_depth(depth).map(drop)) }
}

/// How many commands may wait on servers at a time (BLPOP, XREAD BLOCK, ...), 1 at least: each has a connection of
/// its own. More stand in line until one has ended, or their deadlines have passed; no other call stands behind them.
/// Default: 1000.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_max_waiting(
    options: *mut rs_options,
    count: usize,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe { set(options, err, |options| options.max_waiting(count).map(drop)) }
}

/// How many connections to each server calls may share, 1 to 64. Default: 1, on which a reply of 64 MiB, or a
/// pipeline of slow scripts, holds up all calls behind it.
///
/// With more, a call takes the connection with the fewest calls under way, and another is made where all have some.
/// Calls with a key in common keep their order: they take the same connection, and where such calls are under way on
/// several, a call waits for them before it is sent. So does one that may touch anything, such as FLUSHALL or a
/// script without keys, with all calls before and behind it. A blocking call costs a little more than on one
/// connection.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_shared_connections(
    options: *mut rs_options,
    count: usize,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe { set(options, err, |options| options.shared_connections(count).map(drop)) }
}

/// How many blocking calls may be in flight at a time, of all threads together; 0: any number. One more ends at once
/// with RS_ERR_QUEUE_FULL, and nothing of it is sent: so a server that is slow does not collect every thread of a
/// program. Submitted calls are bounded by their queues. Administration of scripts and libraries is not counted, nor is
/// what stops a script. Default: 0.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_max_in_flight(
    options: *mut rs_options,
    calls: usize,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            options.max_in_flight(calls);
            Ok(())
        })
    }
}

/// True: rs_client_open does not connect, the first call does. Default: false.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_lazy_connect(
    options: *mut rs_options,
    lazy: bool,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            options.lazy_connect(lazy);
            Ok(())
        })
    }
}

/// False: no connection tells the server by CLIENT SETINFO which library this is, in which version (CLIENT LIST shows
/// it). Where the user lacks the right, each connection leaves an entry in ACL LOG. In place of the URL's
/// `client_info`. Default: true.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_client_info(
    options: *mut rs_options,
    tell: bool,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            options.client_info(tell);
            Ok(())
        })
    }
}

/// False: no connection runs an empty transaction (MULTI, EXEC) with its login, to see whether this user may run any.
/// Where the user lacks the right, each connection leaves an entry in ACL LOG. Without it the first transaction on
/// each connection costs a round trip more. In place of the URL's `probe_transactions`. Default: true.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_probe_transactions(
    options: *mut rs_options,
    probe: bool,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            options.probe_transactions(probe);
            Ok(())
        })
    }
}

/// Which servers run read-only calls: one of the RS_READ_FROM_ numbers. Everything else runs on primaries. A replica
/// is behind its primary by what is still on the way; one that is lost, loads its data or says that it has lost its
/// primary is passed over. A server older than 7.0 cannot run a script read-only: such calls go to its primary.
/// Default: RS_READ_FROM_PRIMARY. See also rs_call_options.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_read_from(
    options: *mut rs_options,
    read_from: i32,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            let read_from = read_from_of(read_from).ok_or_else(|| {
                Error::new(
                    Status::InvalidOption,
                    "option read_from: must be one of the RS_READ_FROM_ numbers",
                )
            })?;
            options.read_from(read_from);
            Ok(())
        })
    }
}

pub(super) fn read_from_of(number: i32) -> Option<ReadFrom> {
    match number {
        RS_READ_FROM_DEFAULT => Some(ReadFrom::Primary),
        _ => ReadFrom::numbered(number),
    }
}

const _: () = {
    assert!(RS_READ_FROM_PRIMARY == route::PRIMARY && RS_READ_FROM_REPLICA == route::REPLICA);
    assert!(RS_READ_FROM_PREFER_REPLICA == route::PREFER_REPLICA);
};

/// Connect to `reachable` wherever the servers themselves speak of `announced`: for servers behind a NAT, a tunnel or
/// a container's network. Each is `host:port`, an IPv6 address in brackets, ending in a NUL. It concerns the
/// addresses that a cluster, a primary or a sentinel announces, not those of the URL. Call it once for each address.
///
/// cbindgen:postfix=RS_NOT_NULL(options) RS_NOT_NULL(announced) RS_NOT_NULL(reachable)
///
/// # Safety
/// `options` is NULL or live options; `announced` and `reachable` are NULL or end in a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_map_address(
    options: *mut rs_options,
    announced: *const c_char,
    reachable: *const c_char,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            options.map_address(text(announced, "announced")?, text(reachable, "reachable")?).map(drop)
        })
    }
}

/// The user to authenticate as with the sentinels, UTF-8 ending in a NUL. Needs rs_options_set_sentinel_password.
/// Default: none.
///
/// cbindgen:postfix=RS_NOT_NULL(options) RS_NOT_NULL(username)
///
/// # Safety
/// `options` is NULL or live options; `username` is NULL or ends in a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_sentinel_username(
    options: *mut rs_options,
    username: *const c_char,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe { set(options, err, |options| options.sentinel_username(text(username, "username")?).map(drop)) }
}

/// The password to authenticate with at the sentinels: `len` bytes. The one in the URL is for the servers alone.
/// Default: none.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options; `password` points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_sentinel_password(
    options: *mut rs_options,
    password: *const c_char,
    len: usize,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            options.sentinel_password(bytes(password, len, "password")?);
            Ok(())
        })
    }
}

/// Be told of connections made, lost and refused, and of what changes about the servers (RS_EVENT_), in clients opened
/// with these options. Messages never hold a password, a key, an argument or a script. Default: nobody is told.
///
/// `log`: NULL for nobody. `context`: handed to `log` each time, on any thread. `context_free`: called with it, once,
/// when neither these options nor a client of theirs needs it any more; may be NULL. On failure it is called before
/// this returns.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options; `log` and `context_free` may be called from any thread with `context`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_log(
    options: *mut rs_options,
    log: rs_log_fn,
    context: *mut c_void,
    context_free: rs_free_fn,
    err: *mut *mut rs_error,
) -> rs_status {
    let context = Context::new(context, context_free);
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            options.log(move |event| {
                if let Some(log) = log {
                    rs_event::tell(event, |event| {
                        let _held = Held::new();
                        // The function and its context were given for this; the event outlives the call.
                        log(context.pointer(), event);
                    });
                }
            });
            Ok(())
        })
    }
}

/// What C wants to see again in its callback.
pub(super) struct Context {
    pointer: *mut c_void,
    free: rs_free_fn,
}

// SAFETY: rs_options_set_log, and whatever else takes a context, makes its caller promise that it can be used from
// any thread.
unsafe impl Send for Context {}
// SAFETY: the same.
unsafe impl Sync for Context {}

impl Context {
    pub(super) fn new(pointer: *mut c_void, free: rs_free_fn) -> Self {
        Context { pointer, free }
    }

    pub(super) fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            let _held = Held::new();
            // SAFETY: given for this, and this is the last use of the context.
            unsafe { free(self.pointer) };
        }
    }
}
