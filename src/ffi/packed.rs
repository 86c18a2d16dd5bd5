//! Many calls and many completions as bytes, for languages to which a call into C is dear.

use std::ffi::c_char;
use std::sync::atomic::Ordering;

use super::client::rs_client;
use super::error::rs_error;
use super::queue::{number, patience, rs_queue};
use super::script::rs_script;
use super::sys::memory::Memory;
use super::{bytes, guard, guard_value, handle, invalid, rs_status};
use crate::api::packed;
use crate::error::Result;

/// A packed call: a command.
pub const RS_PACKED_COMMAND: u8 = 0;
/// A packed call: a script call.
pub const RS_PACKED_SCRIPT: u8 = 1;
/// A packed call: a pipeline or transaction.
pub const RS_PACKED_PIPELINE: u8 = 2;
/// A packed call: rs_client_script_load.
pub const RS_PACKED_SCRIPT_LOAD: u8 = 3;
/// A packed call: rs_client_script_exists.
pub const RS_PACKED_SCRIPT_EXISTS: u8 = 4;
/// A packed call: rs_client_script_flush.
pub const RS_PACKED_SCRIPT_FLUSH: u8 = 5;
/// A packed call: rs_client_script_kill.
pub const RS_PACKED_SCRIPT_KILL: u8 = 6;
/// A packed call: rs_client_script_show.
pub const RS_PACKED_SCRIPT_SHOW: u8 = 7;
/// A packed call: rs_client_kill.
pub const RS_PACKED_KILL: u8 = 8;
/// A packed call: rs_client_script_stats.
pub const RS_PACKED_SCRIPT_STATS: u8 = 9;
/// A packed call: rs_client_reauthenticate.
pub const RS_PACKED_REAUTHENTICATE: u8 = 10;
/// A packed call: rs_client_library_load.
pub const RS_PACKED_LIBRARY_LOAD: u8 = 11;
/// A packed call: rs_client_library_check.
pub const RS_PACKED_LIBRARY_CHECK: u8 = 12;
/// A packed call: rs_client_library_deploy.
pub const RS_PACKED_LIBRARY_DEPLOY: u8 = 13;
/// A packed call: rs_client_library_list.
pub const RS_PACKED_LIBRARY_LIST: u8 = 14;
/// A packed call: rs_client_library_prune.
pub const RS_PACKED_LIBRARY_PRUNE: u8 = 15;
/// In front of a packed command, script call or pipeline: where it goes, as `read_from` and `route` of
/// rs_call_options.
pub const RS_PACKED_ROUTED: u8 = 16;
/// A flag of a packed script call: read-only.
pub const RS_PACKED_READ_ONLY: u8 = 1;
/// A flag of a packed command or script call: as RS_CALL_IDEMPOTENT.
pub const RS_PACKED_IDEMPOTENT: u8 = 2;
/// A flag of a packed pipeline: MULTI and EXEC around it, as RS_PIPELINE_ATOMIC.
pub const RS_PACKED_ATOMIC: u8 = 1;
/// A flag of a packed pipeline: as RS_PIPELINE_REPAIR_UNORDERED.
pub const RS_PACKED_REPAIR_UNORDERED: u8 = 2;
/// A flag of a packed pipeline: as RS_PIPELINE_TRUST_CACHE.
pub const RS_PACKED_TRUST_CACHE: u8 = 4;
/// Flag of a packed script or pipeline: it has a token, see `token` of rs_call_options.
pub const RS_PACKED_TOKEN: u8 = 8;
/// A flag of a packed error: the call may have been executed, or may yet be.
pub const RS_PACKED_INDETERMINATE: u8 = 1;
/// A flag of a packed error: the call was not executed and will not be.
pub const RS_PACKED_NOT_EXECUTED: u8 = 2;
/// A flag of a packed completion: the error is followed by the replies of a pipeline that did arrive.
pub const RS_PACKED_ARRIVED: u8 = 4;
/// A flag of a packed completion: it ends with what the call has cost; see rs_options_set_call_costs.
pub const RS_PACKED_COST: u8 = 8;

/// Submits many calls at once, from one buffer without pointers. All of them are accepted, or with an error none;
/// what is wrong with a single call is its completion. Calls to the same server travel in one write.
///
/// `calls`: `len` bytes, one call behind the other; copied. Numbers are in the machine's byte order and not aligned;
/// a string is a u32 length and its bytes:
///
///   call     u64 tag, u32 timeout in milliseconds (0: the client's), then an item, or
///            u8 RS_PACKED_ROUTED, u8 0, i32 read_from, i32 route, u32 route_slot, route_to as a string, each as in
///            rs_call_options, and behind them a command, script or pipeline as item
///   item     with RS_PACKED_TOKEN in the flags of a script or pipeline, the token as a string stands behind them
///            u8 RS_PACKED_COMMAND, u8 flags, u32 count, strings
///            u8 RS_PACKED_SCRIPT, u8 flags, u32 index into scripts, u32 numkeys, u32 numargs,
///            keys and args as strings
///            u8 RS_PACKED_PIPELINE, u8 flags, u32 count, so many commands and scripts as items
///            u8 RS_PACKED_SCRIPT_LOAD, u8 0, u32 index into scripts; the reply is the status OK
///            u8 RS_PACKED_SCRIPT_EXISTS, u8 0, u32 count, SHA1s as strings; the reply is an array of booleans
///            u8 RS_PACKED_SCRIPT_FLUSH, u8 one of the RS_FLUSH_ numbers; the reply is the status OK
///            u8 RS_PACKED_SCRIPT_KILL, u8 0; the reply is the status OK
///            u8 RS_PACKED_SCRIPT_SHOW, u8 0, SHA1 as a string; the reply is the source, a string, or nil
///            u8 RS_PACKED_KILL, u8 0; the reply is that of rs_client_kill
///            u8 RS_PACKED_SCRIPT_STATS, u8 0; the reply is that of rs_client_script_stats
///            u8 RS_PACKED_REAUTHENTICATE, u8 0; the reply is nil
///            u8 RS_PACKED_LIBRARY_LOAD, _CHECK or _DEPLOY, library; the reply is that of
///            rs_client_library_load, _check or _deploy
///            u8 RS_PACKED_LIBRARY_LIST, u8 0; the reply is that of rs_client_library_list
///            u8 RS_PACKED_LIBRARY_PRUNE, u8 0, u32 count, so many libraries;
///            the reply is that of rs_client_library_prune
///   library  u8 flags of RS_LIBRARY_, with RS_LIBRARY_ONCE once, the source as a string
///   once     as in rs_library_options, the prefix empty for the default: u64 token_lifetime_ms, u64 reply_limit,
///            u32 wait_replicas, u32 wait_timeout_ms, token_prefix as a string
///
/// `scripts`: `numscripts` scripts; they may be freed afterwards. `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT
/// for a buffer of another form (also for flags that are not known, and for anything but 0 where 0 is demanded),
/// RS_ERR_QUEUE_FULL, RS_ERR_CLOSED, RS_ERR_FORKED, RS_ERR_NO_MEMORY, RS_ERR_RESOURCES. Threads: any.
///
/// cbindgen:postfix=RS_NOT_NULL(client) RS_NOT_NULL(queue)
///
/// # Safety
/// `calls` points to `len` bytes, `scripts` to `numscripts` live scripts; the other pointers are NULL or what they
/// are declared as.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_submit_packed(
    client: *mut rs_client,
    numscripts: usize,
    scripts: *const *const rs_script,
    calls: *const c_char,
    len: usize,
    queue: *mut rs_queue,
    err: *mut *mut rs_error,
) -> rs_status {
    guard(err, || {
        // SAFETY: as documented.
        let (client, calls, queue) =
            unsafe { (handle(client, "client")?, bytes(calls, len, "calls")?, handle(queue, "queue")?) };
        client.client.io().check_process()?;
        if scripts.is_null() && numscripts > 0 || numscripts > super::LONGEST_LIST {
            return Err(super::no_list("scripts"));
        }
        let script_at = |index| {
            // SAFETY: as documented, `numscripts` pointers, each a live script or NULL.
            unsafe { handle(*scripts.add(index), "scripts") }.map(rs_script::script)
        };
        let scripts = (0..numscripts).map(script_at).collect::<Result<Vec<_>>>()?;
        let mut calls = packed::read_calls(&client.client, &scripts, calls)?;
        client.client.submit_all(queue.queue(), &mut calls)
    })
}

/// Has rs_queue_poll_packed pack errors with what ended the call, the item and the server: see there. Off in a new
/// queue, so a program that does not ask for them reads what it always read.
///
/// `queue`: NULL does nothing. Errors: none. Threads: any; for what is taken out from then on.
///
/// # Safety
/// `queue` is NULL or a live queue.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_queue_set_packed_details(queue: *mut rs_queue, details: bool) {
    guard_value((), || {
        // SAFETY: as documented.
        if let Some(queue) = unsafe { queue.as_ref() } {
            queue.details.store(details, Ordering::Relaxed);
        }
    });
}

/// Takes completions out of a queue as bytes, one behind the other, as many as fit; waits for the first one.
///
/// `buffer`: `capacity` bytes; each is written once, and what is behind `*used` bytes afterwards is undefined. `max`:
/// completions at most. `timeout_ms`: as with rs_queue_poll. `*used`: bytes written. `*count`: completions taken.
/// `*needed`: what the next completion takes where it is left because it did not fit, else 0; so with 0, and fewer
/// than `max`, the queue was empty. All three are 0 on failure, and each may be NULL. Numbers are in the machine's
/// byte order and not aligned; a string is a u32 length and its bytes:
///
///   completion  u32 size of what follows, u64 tag, i32 status, u8 flags; then with RS_OK a reply, else error;
///               behind that, with RS_PACKED_ARRIVED, a reply; behind all, with RS_PACKED_COST, cost
///   cost        what rs_options_set_call_costs has asked for, as in rs_call_event: u32 attempts, u64 bytes sent,
///               u64 bytes received, u64 nanoseconds, and as a string the server that the call was sent to last,
///               empty where it was sent to none
///   error       the server's first word and the message as strings; where rs_queue_set_packed_details has asked
///               for them, behind these an i32 of RS_REASON_, an i32 index of the item or -1, and the server as a
///               string, empty where none is known
///   reply       u8 kind, one of RS_REPLY_, and what it holds:
///               nil nothing, integer an i64, boolean a u8, status, string, double and big number a string,
///               verbatim three bytes of format and a string,
///               array, map and set a u32 number of elements and these as replies,
///               error an i32 status, u8 flags, error
///
/// For a long reply, call once with any buffer to learn its size from `*needed`, and again with a buffer of that
/// size: no other memory is needed for it.
///
/// `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT, RS_ERR_FORKED. Threads: any.
///
/// cbindgen:postfix=RS_NOT_NULL(queue)
///
/// # Safety
/// `buffer` points to `capacity` bytes; the other pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_queue_poll_packed(
    queue: *mut rs_queue,
    buffer: *mut c_char,
    capacity: usize,
    max: usize,
    timeout_ms: u64,
    used: *mut usize,
    count: *mut usize,
    needed: *mut usize,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let (set_used, set_count, set_needed) = unsafe { (number(used), number(count), number(needed)) };
    guard(err, || {
        // SAFETY: as documented.
        let queue = unsafe { handle(queue, "queue")? };
        queue.queue().check_process()?;
        super::check_length(capacity, "capacity")?;
        if buffer.is_null() && capacity > 0 {
            return Err(invalid("buffer", "is NULL and its capacity is not 0"));
        }
        let details = queue.details.load(Ordering::Relaxed);
        let mut trial = queue.queue().try_out();
        // SAFETY: `capacity` bytes, checked above; they are the caller's, and of no use to anybody else meanwhile.
        let memory = unsafe { Memory::new(buffer.cast(), capacity) };
        let packed = packed::pack(&mut trial, details, memory, max, patience(timeout_ms));
        set_used(packed.used);
        set_count(packed.count);
        set_needed(packed.needed);
        trial.keep(packed.count);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_c_are_those_of_rust() {
        for (number, same) in [
            (RS_PACKED_COMMAND, packed::COMMAND),
            (RS_PACKED_SCRIPT, packed::SCRIPT),
            (RS_PACKED_PIPELINE, packed::PIPELINE),
            (RS_PACKED_SCRIPT_LOAD, packed::SCRIPT_LOAD),
            (RS_PACKED_SCRIPT_EXISTS, packed::SCRIPT_EXISTS),
            (RS_PACKED_SCRIPT_FLUSH, packed::SCRIPT_FLUSH),
            (RS_PACKED_SCRIPT_KILL, packed::SCRIPT_KILL),
            (RS_PACKED_SCRIPT_SHOW, packed::SCRIPT_SHOW),
            (RS_PACKED_KILL, packed::KILL),
            (RS_PACKED_SCRIPT_STATS, packed::SCRIPT_STATS),
            (RS_PACKED_REAUTHENTICATE, packed::REAUTHENTICATE),
            (RS_PACKED_LIBRARY_LOAD, packed::LIBRARY_LOAD),
            (RS_PACKED_LIBRARY_CHECK, packed::LIBRARY_CHECK),
            (RS_PACKED_LIBRARY_DEPLOY, packed::LIBRARY_DEPLOY),
            (RS_PACKED_LIBRARY_LIST, packed::LIBRARY_LIST),
            (RS_PACKED_LIBRARY_PRUNE, packed::LIBRARY_PRUNE),
            (RS_PACKED_ROUTED, packed::ROUTED),
            (super::super::functions::RS_LIBRARY_NAMED as u8, packed::NAMED),
            (super::super::functions::RS_LIBRARY_ONCE as u8, packed::ONCE),
            (RS_PACKED_READ_ONLY, packed::READ_ONLY),
            (RS_PACKED_IDEMPOTENT, packed::IDEMPOTENT),
            (RS_PACKED_ATOMIC, packed::ATOMIC),
            (RS_PACKED_REPAIR_UNORDERED, packed::REPAIR_UNORDERED),
            (RS_PACKED_TRUST_CACHE, packed::TRUST_CACHE),
            (RS_PACKED_TOKEN, packed::TOKEN),
            (RS_PACKED_INDETERMINATE, packed::INDETERMINATE),
            (RS_PACKED_NOT_EXECUTED, packed::NOT_EXECUTED),
            (RS_PACKED_ARRIVED, packed::ARRIVED),
            (RS_PACKED_COST, packed::COST),
        ] {
            assert_eq!(number, same);
        }
    }
}
