//! `rs_script`: registering and calling.

use std::ffi::c_char;

use super::call_options::{CallOptions, rs_call_options, rs_script_options, script_of};
use super::client::{give, rs_client};
use super::error::rs_error;
use super::reply::rs_reply;
use super::{Out, Strings, bytes, free, guard, guard_held, guard_value, handle, invalid, rs_status};
use crate::api::client::{Client, WeakClient};
use crate::error::{Error, Result, Status};
use crate::request::Flags;
use crate::request::script::Script;

/// A Lua script, or a function of a library (rs_library_function), immutable, usable with any client, server and
/// thread. Caller frees with rs_script_free, also while it is being called: calls in flight keep what they need.
pub struct rs_script {
    script: Script,
    client: Option<WeakClient>,
}

/// Makes a script of exactly these bytes. No input or output takes place; whether it compiles shows at the first call.
///
/// `client`: the one that calls use which name none; may be NULL; it is not kept open by the script. `lua`: `len`
/// bytes, any; copied; may be NULL when `len` is 0. `options`: may be NULL; copied. `*script`: caller frees with
/// rs_script_free; NULL on failure; `script` not NULL. `err` may be NULL.
///
/// Errors: RS_ERR_INVALID_ARGUMENT, RS_ERR_NO_MEMORY. Threads: any.
///
/// cbindgen:postfix=RS_NOT_NULL(script)
///
/// # Safety
/// `lua` points to `len` bytes; the other pointers are NULL or what they are declared as.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_script_register(
    client: *mut rs_client,
    lua: *const c_char,
    len: usize,
    options: *const rs_script_options,
    script: *mut *mut rs_script,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let out = unsafe { Out::new(script) };
    guard_held(err, || {
        out.required("script")?;
        // SAFETY: as documented.
        let (client, lua) = unsafe { (client.as_ref(), bytes(lua, len, "lua")?) };
        // SAFETY: as documented.
        let script = unsafe { script_of(lua, options)? };
        let client = client.map(|client| client.client.downgrade());
        out.set(Box::into_raw(Box::new(rs_script { script, client })));
        Ok(())
    })
}

/// The SHA1 of the script: 40 lower-case hexadecimal digits and a NUL.
///
/// Returns: borrowed until rs_script_free. NULL: an empty string. Errors: none. Threads: any.
///
/// # Safety
/// `script` is NULL or a live script.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_script_sha(script: *const rs_script) -> *const c_char {
    guard_value(c"".as_ptr(), || {
        // SAFETY: as documented.
        unsafe { script.as_ref() }.map_or(c"".as_ptr(), |script| script.script.sha_hex_nul().as_ptr().cast())
    })
}

/// What the options called the script when it was registered, ending in a NUL.
///
/// Returns: borrowed until rs_script_free. NULL, and a script without a name: an empty string. Errors: none. Threads:
/// any.
///
/// # Safety
/// `script` is NULL or a live script.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_script_name(script: *const rs_script) -> *const c_char {
    guard_value(c"".as_ptr(), || {
        // SAFETY: as documented.
        unsafe { script.as_ref() }.and_then(|script| script.script.name_nul()).unwrap_or(c"").as_ptr()
    })
}

/// Calls a script and waits for its reply. It is loaded if need be, in the same write.
///
/// `client`: NULL for the one that the script was registered with. `keys` (KEYS in Lua) and `args` (ARGV): `numkeys`
/// and `numargs` strings; `keylens`, `arglens`: their lengths, or NULL when each ends in a NUL; all copied. `options`:
/// NULL for the client's; copied. `*reply`: caller frees with rs_reply_free; NULL on failure; `reply` may be NULL when
/// it is of no interest. `err` may be NULL.
///
/// Errors: any of RS_ERR_. A call is sent again only when the server provably did not run it; when its reply is lost
/// the status is RS_ERR_INDETERMINATE, unless the script is RS_SCRIPT_IDEMPOTENT or RS_SCRIPT_ONCE, or the flags allow
/// it. Threads: any.
///
/// Redis: <https://redis.io/docs/latest/commands/evalsha/>
///
/// cbindgen:postfix=RS_NOT_NULL(script)
///
/// # Safety
/// The lists hold as many elements as their numbers say; the other pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_script_call(
    script: *const rs_script,
    client: *mut rs_client,
    numkeys: usize,
    keys: *const *const c_char,
    keylens: *const usize,
    numargs: usize,
    args: *const *const c_char,
    arglens: *const usize,
    options: *const rs_call_options,
    reply: *mut *mut rs_reply,
    err: *mut *mut rs_error,
) -> rs_status {
    if !options.is_null() {
        // SAFETY: as documented.
        return unsafe {
            call_with(script, client, numkeys, keys, keylens, numargs, args, arglens, options, reply, err)
        };
    }
    // SAFETY: as documented.
    let out = unsafe { Out::new(reply) };
    guard(err, || {
        // SAFETY: as documented.
        let (keys, args) = unsafe {
            (Strings::new(numkeys, keys, keylens, "keys")?, Strings::new(numargs, args, arglens, "args")?)
        };
        // SAFETY: as documented.
        let (handle, client) = unsafe { (handle(script, "script")?, client.as_ref()) };
        // The handle may be freed while the call is in flight, so the call looks at a copy.
        let script = handle.script.clone();
        let own;
        let client = match client {
            Some(client) => &client.client,
            None => {
                own = handle.own_client()?;
                &own
            }
        };
        give(&out, client.call_script(&script, &keys, &args, Flags::NONE)?);
        Ok(())
    })
}

/// The rarer call, out of the plain one's way, which pays a branch for it and no more.
///
/// # Safety
/// As with `rs_script_call`; `options` is not NULL.
#[inline(never)]
#[expect(clippy::too_many_arguments, reason = "those of the C function")]
unsafe fn call_with(
    script: *const rs_script,
    client: *mut rs_client,
    numkeys: usize,
    keys: *const *const c_char,
    keylens: *const usize,
    numargs: usize,
    args: *const *const c_char,
    arglens: *const usize,
    options: *const rs_call_options,
    reply: *mut *mut rs_reply,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as promised.
    let out = unsafe { Out::new(reply) };
    guard(err, || {
        // SAFETY: as promised.
        let (keys, args) = unsafe {
            (Strings::new(numkeys, keys, keylens, "keys")?, Strings::new(numargs, args, arglens, "args")?)
        };
        // SAFETY: as promised.
        let (handle, client, options) =
            unsafe { (handle(script, "script")?, client.as_ref(), CallOptions::new(options)?) };
        // The handle may be freed while the call is in flight, so the call looks at a copy.
        let script = handle.script.clone();
        let own;
        let client = match client {
            Some(client) => &client.client,
            None => {
                own = handle.own_client()?;
                &own
            }
        };
        let client = options.client(client)?;
        give(&out, client.call_script(&script, &keys, &args, options.flags)?);
        Ok(())
    })
}

impl rs_script {
    pub(super) fn new(script: Script, client: Option<WeakClient>) -> Self {
        rs_script { script, client }
    }

    pub(super) fn own_client(&self) -> Result<Client> {
        let own = self
            .client
            .as_ref()
            .ok_or_else(|| invalid("client", "is NULL, and the script was registered with none"))?;
        own.upgrade().ok_or_else(|| {
            Error::new(Status::Closed, "the client that the script was registered with was freed")
        })
    }

    pub(super) fn script(&self) -> &Script {
        &self.script
    }
}

/// Frees a script. Calls in flight on other threads go on undisturbed, and so do other scripts of the same source.
///
/// NULL: does nothing. Errors: none. Threads: not while another thread enters a function with this handle.
///
/// # Safety
/// `script` is NULL or a live script; it is not live afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_script_free(script: *mut rs_script) {
    // SAFETY: as documented.
    unsafe { free(script) }
}
