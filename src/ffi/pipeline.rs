//! `rs_pipeline`: filling and executing.

use std::ffi::c_char;

use super::call_options::{CallOptions, flags_of_item, rs_call_options};
use super::client::{give, rs_client};
use super::error::rs_error;
use super::reply::rs_reply;
use super::script::rs_script;
use super::{Out, Strings, free, guard, guard_held, guard_value, handle, invalid, rs_status};
use crate::api::pipeline::Pipeline;
use crate::error::Result;
use crate::request::Flags;

/// A transaction: everything between MULTI and EXEC, without anything in between, or nothing at all.
pub const RS_PIPELINE_ATOMIC: u32 = 1;
/// Script calls that met NOSCRIPT, because someone flushed the scripts at the wrong moment, are sent again after all
/// other items even where that changes the order of what is done to a key. Without it, too, they are sent again, but
/// only where no order is lost; see rs_pipeline_exec. Not together with RS_PIPELINE_ATOMIC.
pub const RS_PIPELINE_REPAIR_UNORDERED: u32 = 2;
/// A transaction does not load scripts again that the server is known to have. It saves their bytes, and a flush by
/// someone else lets such a script fail with NOSCRIPT while the others run. Only together with RS_PIPELINE_ATOMIC.
pub const RS_PIPELINE_TRUST_CACHE: u32 = 4;

/// Commands and script calls to be sent together and answered in order. Caller frees with rs_pipeline_free.
///
/// Threads: one at a time. It keeps its client open, as a handle does: see rs_client_free.
pub struct rs_pipeline {
    pipeline: Pipeline,
}

/// Makes an empty pipeline. No input or output takes place.
///
/// `flags`: RS_PIPELINE_ flags or 0. `*pipeline`: caller frees with rs_pipeline_free; NULL on failure; `pipeline` not
/// NULL. `err` may be NULL.
///
/// Errors: RS_ERR_INVALID_ARGUMENT, RS_ERR_FORKED. Threads: any.
///
/// Redis: <https://redis.io/docs/latest/develop/using-commands/pipelining/>,
/// <https://redis.io/docs/latest/develop/using-commands/transactions/>
///
/// cbindgen:postfix=RS_NOT_NULL(client) RS_NOT_NULL(pipeline)
///
/// # Safety
/// The pointers are NULL or what they are declared as.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_pipeline_new(
    client: *mut rs_client,
    flags: u32,
    pipeline: *mut *mut rs_pipeline,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let out = unsafe { Out::new(pipeline) };
    guard_held(err, || {
        out.required("pipeline")?;
        // SAFETY: as documented.
        let client = &unsafe { handle(client, "client")? }.client;
        client.io().check_process()?;
        let pipeline = match flags {
            0 => client.pipeline(),
            RS_PIPELINE_REPAIR_UNORDERED => {
                let mut pipeline = client.pipeline();
                pipeline.repair_unordered(true);
                pipeline
            }
            RS_PIPELINE_ATOMIC => client.transaction(),
            _ if flags == RS_PIPELINE_ATOMIC | RS_PIPELINE_TRUST_CACHE => {
                let mut pipeline = client.transaction();
                pipeline.trust_cache(true);
                pipeline
            }
            _ => return Err(invalid("flags", "are no RS_PIPELINE_ flags, or do not go together")),
        };
        out.set(Box::into_raw(Box::new(rs_pipeline { pipeline })));
        Ok(())
    })
}

/// # Safety
/// `pipeline` is NULL or a live pipeline that no other thread uses.
#[inline]
pub(super) unsafe fn pipeline_of<'a>(pipeline: *mut rs_pipeline) -> Result<&'a mut Pipeline> {
    // SAFETY: as promised.
    let pipeline = unsafe { pipeline.as_mut() }.ok_or_else(|| invalid("pipeline", "is NULL"))?;
    Ok(&mut pipeline.pipeline)
}

/// Appends a command; see rs_client_command for the arguments, which are copied. No input or output takes place.
///
/// `options`: NULL or flags alone; copied. `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT; RS_ERR_COMMAND_REFUSED
/// for what would change the shared connection or keep the items behind it waiting; in a cluster RS_ERR_CROSS_SLOT,
/// also for an item of a transaction with keys in another slot, and RS_ERR_NO_ROUTE; RS_ERR_NO_MEMORY. The pipeline
/// stays as it was then.
///
/// cbindgen:postfix=RS_NOT_NULL(pipeline) RS_NOT_NULL(argv)
///
/// # Safety
/// `argv` and `argvlen` hold `argc` elements each; the other pointers are NULL or what they are declared as.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_pipeline_command(
    pipeline: *mut rs_pipeline,
    argc: usize,
    argv: *const *const c_char,
    argvlen: *const usize,
    options: *const rs_call_options,
    err: *mut *mut rs_error,
) -> rs_status {
    guard(err, || {
        // SAFETY: as documented.
        let (pipeline, arguments, flags) = unsafe {
            (pipeline_of(pipeline)?, Strings::new(argc, argv, argvlen, "argv")?, flags_of_item(options)?)
        };
        pipeline.command_of(&arguments.slices()?, flags).map(drop)
    })
}

/// Appends a call of a script; see rs_script_call for the arguments, which are copied. The script need not be loaded
/// and may be freed at once. No input or output takes place.
///
/// `options`: NULL, or flags and a token alone; copied. `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT,
/// RS_ERR_NOT_READ_ONLY, in a cluster RS_ERR_CROSS_SLOT as with rs_pipeline_command, RS_ERR_NO_MEMORY. The pipeline
/// stays as it was then.
///
/// cbindgen:postfix=RS_NOT_NULL(pipeline) RS_NOT_NULL(script)
///
/// # Safety
/// The lists hold as many elements as their numbers say; the other pointers are NULL or what they are declared as.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_pipeline_script(
    pipeline: *mut rs_pipeline,
    script: *const rs_script,
    numkeys: usize,
    keys: *const *const c_char,
    keylens: *const usize,
    numargs: usize,
    args: *const *const c_char,
    arglens: *const usize,
    options: *const rs_call_options,
    err: *mut *mut rs_error,
) -> rs_status {
    if !options.is_null() {
        // SAFETY: as documented.
        return unsafe {
            script_with(pipeline, script, numkeys, keys, keylens, numargs, args, arglens, options, err)
        };
    }
    guard(err, || {
        // SAFETY: as documented.
        let (keys, args) = unsafe {
            (Strings::new(numkeys, keys, keylens, "keys")?, Strings::new(numargs, args, arglens, "args")?)
        };
        // SAFETY: as documented.
        let (pipeline, script) = unsafe { (pipeline_of(pipeline)?, handle(script, "script")?) };
        pipeline.script_of(script.script(), &keys, &args, Flags::NONE).map(drop)
    })
}

/// The rarer item, out of the plain one's way, which pays a branch for it and no more.
///
/// # Safety
/// As with `rs_pipeline_script`; `options` is not NULL.
#[inline(never)]
#[expect(clippy::too_many_arguments, reason = "those of the C function")]
unsafe fn script_with(
    pipeline: *mut rs_pipeline,
    script: *const rs_script,
    numkeys: usize,
    keys: *const *const c_char,
    keylens: *const usize,
    numargs: usize,
    args: *const *const c_char,
    arglens: *const usize,
    options: *const rs_call_options,
    err: *mut *mut rs_error,
) -> rs_status {
    guard(err, || {
        // SAFETY: as promised.
        let (keys, args) = unsafe {
            (Strings::new(numkeys, keys, keylens, "keys")?, Strings::new(numargs, args, arglens, "args")?)
        };
        // SAFETY: as promised.
        let (pipeline, script, flags) =
            unsafe { (pipeline_of(pipeline)?, handle(script, "script")?, flags_of_item(options)?) };
        pipeline.script_of(script.script(), &keys, &args, flags).map(drop)
    })
}

/// The number of items in a pipeline.
///
/// NULL: 0. Errors: none.
///
/// # Safety
/// `pipeline` is NULL or a live pipeline.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_pipeline_len(pipeline: *const rs_pipeline) -> usize {
    // SAFETY: as documented.
    guard_value(0, || unsafe { pipeline.as_ref() }.map_or(0, |pipeline| pipeline.pipeline.len()))
}

/// Takes all items out of a pipeline.
///
/// NULL: does nothing. Errors: none.
///
/// # Safety
/// `pipeline` is NULL or a live pipeline.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_pipeline_clear(pipeline: *mut rs_pipeline) {
    // SAFETY: as documented.
    guard_value((), || {
        if let Some(pipeline) = unsafe { pipeline.as_mut() } {
            pipeline.pipeline.clear();
        }
    });
}

/// Sends the items in one write, with a SCRIPT LOAD for each script that the server lacks, and waits for their
/// replies; a pipeline above 256 KiB goes in parts, with room for other calls in between, a transaction never does.
/// The pipeline is empty afterwards, whatever came of it, and can be filled again. Only where the options are
/// RS_ERR_INVALID_ARGUMENT does it keep its items.
///
/// `options`: NULL for the client's; copied. `token` is one for all items: each gets a token that is made of it and
/// the item's number, unless it has one of its own. Each item then has to be read-only, idempotent or a call of an
/// RS_SCRIPT_ONCE, and at least one has to be of the last kind. RS_CALL_IDEMPOTENT holds for every item.
/// RS_CALL_READ_ONLY changes how a script is sent: it is refused here, and given to the items. `route` is for items
/// without keys. In a cluster, a command whose keys this library does not know can be appended only to a pipeline of
/// a client that has a route: rs_client_with.
///
/// `*replies`: an array with one element an item, in order; caller frees with rs_reply_free. An item's error is its
/// element: see rs_reply_error. Without items nothing is sent, and the array is empty. On RS_ERR_INDETERMINATE and
/// RS_ERR_REPLY_LIMIT it holds the replies of the first items, as far as they arrived, or is NULL; of a transaction,
/// and on any other failure, it is NULL. `replies` may be NULL when they are of no interest. `err` may be NULL.
///
/// Items that met NOSCRIPT, because someone flushed the scripts at the wrong moment, are sent again behind the
/// others, in their order and each with its script. One is left alone, with RS_ERR_NOSCRIPT and not executed, if an
/// item behind it that was executed has a key in common with it, or if one of the two names no keys and is not known
/// to touch none, as PING. What was executed is never sent again.
///
/// Errors: any of RS_ERR_. For a transaction RS_ERR_TRANSACTION_ABORTED and RS_ERR_COMPILE say that nothing of it ran.
/// Beyond what a server provably did not run, nothing is sent again once bytes of it were sent, unless every item may
/// run twice: RS_CALL_READ_ONLY, RS_CALL_IDEMPOTENT, RS_SCRIPT_IDEMPOTENT, RS_SCRIPT_ONCE.
///
/// cbindgen:postfix=RS_NOT_NULL(pipeline)
///
/// # Safety
/// The pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_pipeline_exec(
    pipeline: *mut rs_pipeline,
    options: *const rs_call_options,
    replies: *mut *mut rs_reply,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let out = unsafe { Out::new(replies) };
    guard(err, || {
        // SAFETY: as documented.
        let (pipeline, options) = unsafe { (pipeline_of(pipeline)?, CallOptions::new(options)?) };
        let idempotent = options.idempotent_pipeline()?;
        let client = options.other_client(pipeline.client())?;
        pipeline.token_of(options.flags.token, idempotent)?;
        match pipeline.exec_by(client.as_ref(), idempotent) {
            Ok(replies) => give(&out, replies),
            Err(error) => {
                if let Some(replies) = pipeline.arrived() {
                    give(&out, replies);
                }
                return Err(error);
            }
        }
        Ok(())
    })
}

/// Frees a pipeline. What is in it is not sent. If nothing else keeps its client open, that is closed, and waited for,
/// as by rs_client_free.
///
/// NULL: does nothing. Errors: none.
///
/// # Safety
/// `pipeline` is NULL or a live pipeline; it is not live afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_pipeline_free(pipeline: *mut rs_pipeline) {
    // SAFETY: as documented.
    unsafe { free(pipeline) }
}
