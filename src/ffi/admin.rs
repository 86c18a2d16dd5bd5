//! Script administration: LOAD, EXISTS, FLUSH, KILL and SHOW; and stopping whatever runs.

use std::ffi::c_char;

use super::client::{give, rs_client};
use super::error::rs_error;
use super::reply::{self, rs_reply};
use super::script::rs_script;
use super::{Out, Strings, bytes, guard_held, handle, invalid, rs_status};
use crate::core::FlushMode;

/// SCRIPT FLUSH as the server is configured.
pub const RS_FLUSH_DEFAULT: i32 = 0;
/// SCRIPT FLUSH SYNC: at once, before the reply.
pub const RS_FLUSH_SYNC: i32 = 1;
/// SCRIPT FLUSH ASYNC: in the background.
pub const RS_FLUSH_ASYNC: i32 = 2;

/// Loads a script into the server's cache; in a cluster, into every primary's. There is no need to: a call does it by
/// itself.
///
/// In a cluster the error says which primaries have done it; the same for rs_client_script_flush. What each primary
/// says by itself: the command with RS_ROUTE_ALL.
///
/// `err` may be NULL. Errors: RS_ERR_COMPILE, or any of RS_ERR_. Threads: any.
///
/// Redis: <https://redis.io/docs/latest/commands/script-load/>
///
/// cbindgen:postfix=RS_NOT_NULL(client) RS_NOT_NULL(script)
///
/// # Safety
/// The pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_script_load(
    client: *mut rs_client,
    script: *const rs_script,
    err: *mut *mut rs_error,
) -> rs_status {
    guard_held(err, || {
        // SAFETY: as documented.
        let (client, script) = unsafe { (handle(client, "client")?, handle(script, "script")?) };
        client.client.script_load(script.script())
    })
}

/// Asks which scripts the server has in its cache; in a cluster, which of them every primary has. A primary that
/// cannot be reached is an error: without it nobody knows.
///
/// `shas`: `count` SHA1s of 40 hexadecimal digits; `shalens`: their lengths, or NULL when each ends in a NUL; copied.
/// `exists`: `count` places, NULL where that is 0; each becomes true or false, all false on failure, unless `count` is
/// above 2147483647 and can be no array's. `err` may be NULL. Errors: any of RS_ERR_. Threads: any.
///
/// Redis: <https://redis.io/docs/latest/commands/script-exists/>
///
/// cbindgen:postfix=RS_NOT_NULL(client)
///
/// # Safety
/// `shas` and `exists` hold `count` elements each; the other pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_script_exists(
    client: *mut rs_client,
    count: usize,
    shas: *const *const c_char,
    shalens: *const usize,
    exists: *mut bool,
    err: *mut *mut rs_error,
) -> rs_status {
    let set = |index: usize, value: bool| {
        if !exists.is_null() {
            // SAFETY: not NULL, and the caller promises `count` places.
            unsafe { exists.add(index).write(value) };
        }
    };
    // Checked before anything is written: what is no list has no places.
    let is_list = count <= super::LONGEST_LIST;
    if is_list {
        (0..count).for_each(|index| set(index, false));
    }
    guard_held(err, || {
        if exists.is_null() && count > 0 || !is_list {
            return Err(super::no_list("exists"));
        }
        // SAFETY: as documented.
        let (client, sha_list) =
            unsafe { (handle(client, "client")?, Strings::new(count, shas, shalens, "shas")?) };
        for (index, found) in
            client.client.script_exists(&sha_list.slices()?)?.into_iter().enumerate().take(count)
        {
            set(index, found);
        }
        Ok(())
    })
}

/// Empties the server's script cache; in a cluster, every primary's. Calls go on working: they load what they need.
///
/// `mode`: one of the RS_FLUSH_ numbers. `err` may be NULL. Errors: any of RS_ERR_. Threads: any.
///
/// Redis: <https://redis.io/docs/latest/commands/script-flush/>
///
/// cbindgen:postfix=RS_NOT_NULL(client)
///
/// # Safety
/// The pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_script_flush(
    client: *mut rs_client,
    mode: i32,
    err: *mut *mut rs_error,
) -> rs_status {
    guard_held(err, || {
        // SAFETY: as documented.
        let client = unsafe { handle(client, "client")? };
        client.client.script_flush(match mode {
            RS_FLUSH_DEFAULT => FlushMode::Default,
            RS_FLUSH_SYNC => FlushMode::Sync,
            RS_FLUSH_ASYNC => FlushMode::Async,
            _ => return Err(invalid("mode", "is no RS_FLUSH_ number")),
        })
    })
}

/// Stops the script that the server is running, if it has not written yet; in a cluster, the scripts that the
/// primaries are running. They need not be this client's. In a cluster one script stopped is a success, and
/// UNKILLABLE outranks NOTBUSY. A function is not stopped so, and the error is RS_ERR_BUSY: see rs_client_kill.
///
/// Opens a connection of its own for it, because a busy server answers nothing else. `err` may be NULL. Errors:
/// RS_ERR_SERVER with the server's word NOTBUSY (no script runs) or UNKILLABLE (it has written), or any of RS_ERR_.
/// Threads: any.
///
/// Redis: <https://redis.io/docs/latest/commands/script-kill/>
///
/// cbindgen:postfix=RS_NOT_NULL(client)
///
/// # Safety
/// The pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_script_kill(client: *mut rs_client, err: *mut *mut rs_error) -> rs_status {
    guard_held(err, || {
        // SAFETY: as documented.
        let client = unsafe { handle(client, "client")? };
        client.client.script_kill()
    })
}

/// Stops what the server is running, a script or a function, if it has not written yet; in a cluster, what the
/// primaries are running. It need not be this client's. In a cluster one success is a success, and UNKILLABLE
/// outranks NOTBUSY.
///
/// `*killed`: what was stopped, an array with an array of three for each: the string `script` or `function`; the
/// function's name, or nil for a script, which the server does not name, and where this user may not run FUNCTION
/// STATS; the server as `host:port` or the path of its socket. Caller frees with rs_reply_free; NULL on failure.
/// `killed` may be NULL.
///
/// Opens a connection of its own for it, because a busy server answers nothing else. `err` may be NULL. Errors:
/// RS_ERR_SERVER with the server's word NOTBUSY (nothing runs) or UNKILLABLE (it has written), or any of RS_ERR_.
/// Threads: any.
///
/// Redis: <https://redis.io/docs/latest/commands/script-kill/>, <https://redis.io/docs/latest/commands/function-kill/>
///
/// cbindgen:postfix=RS_NOT_NULL(client)
///
/// # Safety
/// The pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_kill(
    client: *mut rs_client,
    killed: *mut *mut rs_reply,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let out = unsafe { Out::new(killed) };
    guard_held(err, || {
        // SAFETY: as documented.
        let client = unsafe { handle(client, "client")? };
        give(&out, client.client.kill_to_reply()?);
        Ok(())
    })
}

/// Gives the source of a script by its SHA1.
///
/// `sha`: `len` bytes, 40 hexadecimal digits; copied. `*source`: a string, caller frees with rs_reply_free; NULL when
/// the server does not have the script, and on failure; `source` not NULL. `err` may be NULL. Errors:
/// RS_ERR_NOT_SUPPORTED before Valkey 8, or any of RS_ERR_. Threads: any.
///
/// Valkey: <https://valkey.io/commands/script-show/>
///
/// cbindgen:postfix=RS_NOT_NULL(client) RS_NOT_NULL(sha) RS_NOT_NULL(source)
///
/// # Safety
/// `sha` points to `len` bytes; the other pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_script_show(
    client: *mut rs_client,
    sha: *const c_char,
    len: usize,
    source: *mut *mut rs_reply,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let out = unsafe { Out::new(source) };
    guard_held(err, || {
        out.required("source")?;
        // SAFETY: as documented.
        let client = unsafe { handle(client, "client")? };
        if sha.is_null() {
            return Err(invalid("sha", "is NULL"));
        }
        // SAFETY: as documented.
        let sha = unsafe { bytes(sha, len, "sha")? };
        if let Some(source) = client.client.script_show(sha)? {
            out.set(reply::into_raw(source));
        }
        Ok(())
    })
}
