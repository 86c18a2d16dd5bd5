//! `rs_call_event`, told of each call that has ended, and the figures of each script.

use std::ffi::{c_char, c_void};
use std::mem::offset_of;

use super::client::rs_client;
use super::error::rs_error;
use super::options::{Context, rs_free_fn, rs_options, set};
use super::reply::rs_reply;
use super::sys::cancel::Held;
use super::{Out, RS_OK, guard_held, handle, rs_status};
use crate::metrics::meter::CallEvent;
use crate::request::script::Script;

/// A command.
pub const RS_CALL_KIND_COMMAND: i32 = 1;
/// A script's call.
pub const RS_CALL_KIND_SCRIPT: i32 = 2;
/// A pipeline.
pub const RS_CALL_KIND_PIPELINE: i32 = 3;
/// A transaction.
pub const RS_CALL_KIND_TRANSACTION: i32 = 4;
/// Script administration, or what stops a busy server.
pub const RS_CALL_KIND_ADMINISTRATION: i32 = 5;

/// A call that has ended. The library makes it, and later versions append to it: what lies beyond its `size` is not
/// there. Texts are borrowed until the callback returns, and end where their lengths say.
#[repr(C)]
pub struct rs_call_event {
    /// The size of this structure, as the library knows it.
    size: u32,
    /// One of the RS_CALL_KIND_ numbers.
    kind: i32,
    /// RS_OK, or what the call ended with. An error that is an element of a pipeline's reply is none of the
    /// pipeline's.
    status: rs_status,
    /// One of the RS_REASON_ numbers; 0 with RS_OK.
    reason: i32,
    /// Bytes of it that were put on connections, scripts that were loaded for it among them.
    bytes_sent: u64,
    /// Bytes of the replies that came.
    bytes_received: u64,
    /// From its beginning to its end, in nanoseconds.
    duration_ns: u64,
    /// How often it was put on a connection, its parts on several servers counted each; 0: nothing of it was sent.
    /// What a connection sends again by itself because a script was lost is no attempt of its own.
    attempts: usize,
    /// How many items it had; 1 where it was no pipeline or transaction.
    items: usize,
    /// Of a script its name (rs_script_options), or its SHA1 where it has none; of a command its first word, as it was
    /// given; of administration the command. Empty for pipelines and transactions.
    name: *const c_char,
    name_len: usize,
    /// Of a script its SHA1: `sha_len` hexadecimal digits, which are 40, and a NUL. NULL and 0 otherwise.
    sha: *const c_char,
    sha_len: usize,
    /// The server that it was sent to last: `host:port` or a socket's path. NULL where it was sent to none.
    node: *const c_char,
    node_len: usize,
}

// The header asserts the same.
const _: () = {
    assert!(size_of::<rs_call_event>() == 40 + size_of::<[usize; 8]>());
    assert!(offset_of!(rs_call_event, bytes_sent) == 16);
    assert!(offset_of!(rs_call_event, duration_ns) == 32);
    assert!(offset_of!(rs_call_event, attempts) == 40);
    assert!(offset_of!(rs_call_event, name) == 40 + 2 * size_of::<usize>());
    assert!(offset_of!(rs_call_event, sha) == 40 + 4 * size_of::<usize>());
    assert!(offset_of!(rs_call_event, node_len) == 40 + 7 * size_of::<usize>());
};

impl rs_call_event {
    #[inline]
    fn new(event: &CallEvent<'_>) -> Self {
        let (status, reason) = match event.error {
            Some(error) => (error.status().code(), error.reason().code()),
            None => (RS_OK, 0),
        };
        let (node, sha) = (event.node.unwrap_or_default(), event.script.map(Script::sha_hex_nul));
        rs_call_event {
            size: size_of::<rs_call_event>() as u32,
            kind: event.kind as i32,
            status,
            reason,
            bytes_sent: event.bytes_sent,
            bytes_received: event.bytes_received,
            // No call takes 584 years.
            duration_ns: event
                .duration
                .as_secs()
                .wrapping_mul(1_000_000_000)
                .wrapping_add(event.duration.subsec_nanos().into()),
            attempts: event.attempts as usize,
            items: event.items,
            name: event.name.as_ptr().cast(),
            name_len: event.name.len(),
            sha: sha.map_or(std::ptr::null(), |sha| sha.as_ptr().cast()),
            sha_len: sha.map_or(0, |sha| sha.len() - 1),
            node: event.node.map_or(std::ptr::null(), |_| node.as_ptr().cast()),
            node_len: node.len(),
        }
    }
}

/// Receives the calls of a client, each when it has ended.
///
/// It is called on the thread that completes the call, without a lock held, perhaps on several at once: on that of
/// the caller, or of whoever drives submitted calls; before the call returns or its completion can be taken out. It
/// must be quick and must not block, call the client or free it, let an exception or longjmp out, or end its thread.
pub type rs_call_fn = Option<unsafe extern "C" fn(context: *mut c_void, event: *const rs_call_event)>;

/// Be told of each call that has ended, in clients opened with these options: what it was, where it went, what it
/// cost and what came of it. A pipeline or transaction is one call. Calls that are refused before they begin (their
/// arguments, a full queue) are not told of. On, it adds about an eighth to the library's instructions for a call, to
/// read the clock once more, hold pthread_cancel off and put the event together. Default: nobody is told, which costs
/// nothing.
///
/// `call`: NULL for nobody. `context`: handed to `call` each time, on any thread. `context_free`: called with it,
/// once, when neither these options nor a client of theirs needs it any more; may be NULL. On failure it is called
/// before this returns.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options; `call` and `context_free` may be called from any thread with `context`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_call_hook(
    options: *mut rs_options,
    call: rs_call_fn,
    context: *mut c_void,
    context_free: rs_free_fn,
    err: *mut *mut rs_error,
) -> rs_status {
    let context = Context::new(context, context_free);
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            match call {
                Some(call) => options.on_call(move |event| {
                    let event = rs_call_event::new(event);
                    let _held = Held::new();
                    // The function and its context were given for this; the event outlives the call.
                    call(context.pointer(), &raw const event);
                }),
                None => options.no_on_call(),
            };
            Ok(())
        })
    }
}

/// True: what rs_queue_poll_packed takes out tells what each call has cost (RS_PACKED_COST), once it has ended: for
/// bindings, whose languages cannot be called back on the thread that completes a call. Calls that never began (what
/// is wrong with one of a batch) have none. Default: false, which costs nothing.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_call_costs(
    options: *mut rs_options,
    tell: bool,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            options.call_costs(tell);
            Ok(())
        })
    }
}

/// Keep figures of so many scripts, and of all others together: see rs_client_script_stats. 0: none. A script takes
/// 21 KiB once it is called. Default: 0.
///
/// cbindgen:postfix=RS_NOT_NULL(options)
///
/// # Safety
/// `options` is NULL or live options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_script_stats(
    options: *mut rs_options,
    max_scripts: usize,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        set(options, err, |options| {
            options.script_stats(max_scripts);
            Ok(())
        })
    }
}

/// What became of the calls of each script since the client was opened, those called most first; see
/// rs_options_set_script_stats, without which there is nothing. Nothing is sent.
///
/// `*reply`: an array with a map for each script; caller frees with rs_reply_free; NULL on failure. Each map has, as
/// strings, `sha` and `name`, which is nil where the script has none; as integers `calls` (that have ended, items of
/// pipelines and transactions among them), `loads` (SCRIPT LOADs sent of it, or FUNCTION LOADs of its library),
/// `repairs` (how often it was sent again because a server had lost it), `errors` (calls that ended with an error of
/// any kind) and `indeterminate` (those of them of which nobody knows whether they were executed); and a map
/// `latency` of the calls by themselves: `count`, `sum_us`, `p50_us`, `p90_us`, `p99_us`, `p999_us`, `max_us`, in
/// microseconds and to 1 %, up to 100 seconds; and `buckets`, an array of pairs: the longest time in microseconds
/// that is counted in a bucket, and how many calls are. Later versions append to the maps. All scripts that were too
/// many to be counted by themselves stand last, with nil for `sha`.
///
/// Errors: RS_ERR_INVALID_ARGUMENT, RS_ERR_FORKED, RS_ERR_NO_MEMORY. Threads: any.
///
/// cbindgen:postfix=RS_NOT_NULL(client) RS_NOT_NULL(reply)
///
/// # Safety
/// The pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_script_stats(
    client: *const rs_client,
    reply: *mut *mut rs_reply,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let out = unsafe { Out::new(reply) };
    guard_held(err, || {
        out.required("reply")?;
        // SAFETY: as documented.
        let client = unsafe { handle(client, "client") }?;
        super::client::give(&out, client.client.script_stats_reply()?);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::meter::CallKind;

    #[test]
    fn the_numbers_are_those_of_the_safe_side() {
        for (number, kind) in [
            (RS_CALL_KIND_COMMAND, CallKind::Command),
            (RS_CALL_KIND_SCRIPT, CallKind::Script),
            (RS_CALL_KIND_PIPELINE, CallKind::Pipeline),
            (RS_CALL_KIND_TRANSACTION, CallKind::Transaction),
            (RS_CALL_KIND_ADMINISTRATION, CallKind::Administration),
        ] {
            assert_eq!(number, kind as i32);
        }
    }
}
