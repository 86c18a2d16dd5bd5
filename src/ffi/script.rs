//! `rs_script`: registering and calling.

use std::ffi::c_char;

use super::client::{give, rs_client};
use super::error::rs_error;
use super::reply::rs_reply;
use super::{Out, Strings, bytes, free, guard, guard_held, guard_value, handle, invalid, rs_status, text};
use crate::client::{Client, WeakClient};
use crate::error::{Error, Result, Status};
use crate::script::Script;

/// The script may safely run twice: a call whose reply was lost with the connection is sent again within its deadline.
pub const RS_SCRIPT_IDEMPOTENT: u32 = 1;

/// A Lua script, immutable, usable with any client, server and thread. Caller frees with rs_script_free, also while it is being
/// called: calls in flight keep what they need.
pub struct rs_script {
    script: Script,
    client: Option<WeakClient>,
}

/// Makes a script of exactly these bytes. No input or output takes place; whether it compiles shows at the first call.
///
/// `client`: the one that calls use which name none; may be NULL; it is not kept open by the script. `lua`: `len` bytes, any;
/// copied; may be NULL when `len` is 0. `*script`: caller frees with rs_script_free; NULL on failure.
///
/// Errors: RS_ERR_INVALID_ARGUMENT. Threads: any.
///
/// # Safety
/// `lua` points to `len` bytes; the other pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_script_register(
    client: *const rs_client,
    lua: *const c_char,
    len: usize,
    script: *mut *mut rs_script,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented, and the same.
    unsafe { rs_script_register_with(client, lua, len, 0, script, err) }
}

/// The same with flags: RS_SCRIPT_IDEMPOTENT or 0.
///
/// # Safety
/// `lua` points to `len` bytes; the other pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_script_register_with(
    client: *const rs_client,
    lua: *const c_char,
    len: usize,
    flags: u32,
    script: *mut *mut rs_script,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let out = unsafe { Out::new(script) };
    guard_held(err, || {
        out.required("script")?;
        // SAFETY: as documented.
        let (client, lua) = unsafe { (client.as_ref(), bytes(lua, len, "lua")?) };
        let script = match flags {
            0 => Script::new(lua),
            RS_SCRIPT_IDEMPOTENT => Script::idempotent(lua),
            _ => return Err(invalid("flags", "has bits that are no RS_SCRIPT_ flag")),
        };
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

/// Calls a script and waits for its reply. It is loaded if need be, in the same write.
///
/// `client`: NULL for the one that the script was registered with. `keys` (KEYS in Lua) and `args` (ARGV): `numkeys` and `numargs`
/// strings; `keylens`, `arglens`: their lengths, or NULL when each ends in a NUL; all copied. `*reply`: caller frees with
/// rs_reply_free; NULL on failure; `reply` may be NULL when it is of no interest.
///
/// Errors: any of RS_ERR_. A call is sent again only when the server provably did not run it; when its reply is lost the
/// status is RS_ERR_INDETERMINATE, unless the script is RS_SCRIPT_IDEMPOTENT. Threads: any.
///
/// Redis: <https://redis.io/docs/latest/commands/evalsha/>
///
/// # Safety
/// The lists hold as many elements as their numbers say; the other pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_script_call(
    script: *const rs_script,
    client: *const rs_client,
    numkeys: usize,
    keys: *const *const c_char,
    keylens: *const usize,
    numargs: usize,
    args: *const *const c_char,
    arglens: *const usize,
    reply: *mut *mut rs_reply,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let out = unsafe { Out::new(reply) };
    guard(err, || {
        // SAFETY: as documented.
        let (keys, args) = unsafe {
            (Strings::new(numkeys, keys, keylens, "keys")?, Strings::new(numargs, args, arglens, "args")?)
        };
        // SAFETY: as documented.
        unsafe { call(script, client, &keys, &args, false, &out) }
    })
}

/// The same, read-only: the server stops the script at its first write. A call whose reply was lost with the connection is sent again.
///
/// A script whose first line is `#!lua` without the flag `no-writes` is refused with RS_ERR_NOT_READ_ONLY before anything is
/// sent. A server older than 7.0 cannot enforce it and runs a plain EVALSHA.
///
/// Redis: <https://redis.io/docs/latest/commands/evalsha_ro/>
///
/// # Safety
/// The lists hold as many elements as their numbers say; the other pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_script_call_ro(
    script: *const rs_script,
    client: *const rs_client,
    numkeys: usize,
    keys: *const *const c_char,
    keylens: *const usize,
    numargs: usize,
    args: *const *const c_char,
    arglens: *const usize,
    reply: *mut *mut rs_reply,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let out = unsafe { Out::new(reply) };
    guard(err, || {
        // SAFETY: as documented.
        let (keys, args) = unsafe {
            (Strings::new(numkeys, keys, keylens, "keys")?, Strings::new(numargs, args, arglens, "args")?)
        };
        // SAFETY: as documented.
        unsafe { call(script, client, &keys, &args, true, &out) }
    })
}

/// # Safety
/// `script` and `client` are NULL or live handles.
#[inline(always)]
unsafe fn call(
    script: *const rs_script,
    client: *const rs_client,
    keys: &Strings<'_>,
    args: &Strings<'_>,
    read_only: bool,
    out: &Out<rs_reply>,
) -> Result<()> {
    // SAFETY: as promised.
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
    give(out, client.call_script(&script, keys, args, read_only)?);
    Ok(())
}

impl rs_script {
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

/// Gives a script a name, by which its figures (rs_client_script_stats) and the calls that rs_options_set_call_hook tells of are known. Servers do not see
/// it. It is given once: with the name that it has already this does nothing.
///
/// `name`: UTF-8, 1 to 255 bytes and a NUL; copied. Errors: RS_ERR_INVALID_ARGUMENT (NULL, empty, too long, or the script has another name). Threads: any.
///
/// # Safety
/// `script` is NULL or a live script; `name` is NULL or ends in a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_script_set_name(
    script: *const rs_script,
    name: *const c_char,
    err: *mut *mut rs_error,
) -> rs_status {
    guard_held(err, || {
        // SAFETY: as documented.
        let (script, name) = unsafe { (handle(script, "script")?, text(name, "name")?) };
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(invalid("name", "is empty, or longer than 255 bytes"));
        }
        if !script.script.set_name(name) {
            return Err(invalid("name", "cannot be given: the script has another"));
        }
        Ok(())
    })
}

const LONGEST_NAME: usize = 255;
