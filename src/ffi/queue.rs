//! `rs_queue`: calls that nobody waits for, and their completions.

use std::ffi::{c_char, c_int, c_void};
use std::mem::offset_of;
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use smallvec::SmallVec;

use super::call_options::{CallOptions, rs_call_options};
use super::client::rs_client;
use super::error::rs_error;
use super::pipeline::{pipeline_of, rs_pipeline};
use super::reply::{self, rs_reply};
use super::script::rs_script;
use super::{Out, Strings, free, guard, guard_held, guard_value, handle, invalid, rs_status};
use crate::base::times::LONGEST_WAIT;
use crate::error::Error;
use crate::queue::{Completion, Queue};

/// A time without an end, for the `timeout_ms` of rs_queue_poll, rs_queue_dispatch and rs_queue_poll_packed.
pub const RS_FOREVER: u64 = u64::MAX;

/// Up to so many completions are taken out without allocating.
const FEW: usize = 16;

/// A flag of rs_queue_new: no thread in the background looks after the calls; whoever polls the queue does.
pub const RS_QUEUE_NO_THREAD: u32 = 1;

/// Where submitted calls end. Any number of clients and threads may submit to it, and any number of threads take
/// completions out; it outlives the clients. Caller frees with rs_queue_free.
///
/// Every call that is accepted has exactly one completion, whatever becomes of it: reply, error, deadline,
/// cancellation, close. A client that has submitted a call has a thread in the background from then on, until it is
/// closed; it reads the replies (but see RS_QUEUE_NO_THREAD). A submitted call is written by the thread that submits
/// it. A child of fork() must make a queue of its own: its parent's is empty there, and all else is RS_ERR_FORKED.
pub struct rs_queue {
    queue: Queue,
    /// Whether packed errors have their details.
    pub(super) details: AtomicBool,
}

impl rs_queue {
    fn made(queue: Queue) -> *mut rs_queue {
        Box::into_raw(Box::new(rs_queue { queue, details: AtomicBool::new(false) }))
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }
}

/// What has become of a call. 16 bytes and two pointers; the layout is fixed.
#[repr(C)]
pub struct rs_completion {
    /// The number that the call was submitted with.
    pub tag: u64,
    /// The reply; caller frees with rs_reply_free. NULL on failure, unless a pipeline broke half-way: then what did
    /// arrive, as with rs_pipeline_exec.
    pub reply: *mut rs_reply,
    /// Why there is none; caller frees with rs_error_free. NULL on success.
    pub error: *mut rs_error,
    /// RS_OK or one of the RS_ERR_ numbers.
    pub status: rs_status,
    /// 0.
    pub reserved: u32,
}

// The header asserts the same.
const _: () = {
    assert!(size_of::<rs_completion>() == 16 + 2 * size_of::<usize>());
    assert!(offset_of!(rs_completion, tag) == 0);
    assert!(offset_of!(rs_completion, reply) == 8);
    assert!(offset_of!(rs_completion, error) == 8 + size_of::<usize>());
    assert!(offset_of!(rs_completion, status) == 8 + 2 * size_of::<usize>());
    assert!(offset_of!(rs_completion, reserved) == 12 + 2 * size_of::<usize>());
};

/// Receives a completion. What is in it is to be freed by the callback.
pub type rs_completion_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, completion: *const rs_completion)>;

/// Makes a queue.
///
/// `capacity`: above 0; calls that may be under way or wait to be taken out. `*queue`: caller frees with
/// rs_queue_free; NULL on failure; `queue` not NULL. `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT,
/// RS_ERR_RESOURCES when the system has no descriptors left. Threads: any.
///
/// `flags`: 0; or RS_QUEUE_NO_THREAD, for programs with an event loop of their own:
///
/// - No thread is started for the calls of this queue. What such a thread would do (read replies, send what a socket
///   did not take, connect, mind deadlines, follow redirects) is done by rs_queue_poll, rs_queue_dispatch and
///   rs_queue_poll_packed, on the thread that calls them, for all clients that have submitted to the queue. With
///   `timeout_ms` 0 they never wait: they do what there is to do and take out what is complete. With another they
///   wait for the first completion and go on with the work meanwhile.
/// - rs_queue_fd is readable whenever there is something to do: bytes have come, a socket takes bytes again, a
///   deadline has passed, a connection is made, or completions wait. It is an epoll instance on Linux and Android,
///   and a kqueue on other systems, with the sockets and the next deadline in it; add it to a loop's poll, epoll or
///   kqueue like any descriptor, level-triggered, and do not read from it. When it is readable call one of the
///   functions above with `timeout_ms` 0, until fewer completions come than were asked for. There need not be any: a
///   turn may have only sent or received a part. libuv takes it with uv_poll_init, libevent with event_new and
///   EV_READ | EV_PERSIST; what takes sockets only, as Node's net.Socket, cannot use it.
/// - As long as nobody polls nothing goes on: no reply is read, and no deadline ends a call. rs_queue_len stays what
///   it was.
/// - Looking up a host name has a thread of its own, for as long as it lasts, because the system knows no other way.
/// - A blocking call that waits on a client of the queue may do this work in passing; so the descriptor may be found
///   readable for nothing.
/// - A client that has submitted to a queue of the other kind as well has its thread, and that does the work for both.
///
/// Everything else is as with other queues.
///
/// cbindgen:postfix=RS_NOT_NULL(queue)
///
/// # Safety
/// The pointers are NULL or what they are declared as.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_queue_new(
    capacity: usize,
    flags: u32,
    queue: *mut *mut rs_queue,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let out = unsafe { Out::new(queue) };
    guard_held(err, || {
        out.required("queue")?;
        out.set(rs_queue::made(match flags {
            0 => Queue::new(capacity)?,
            RS_QUEUE_NO_THREAD => Queue::without_thread(capacity)?,
            _ => return Err(invalid("flags", "holds a flag that is no RS_QUEUE_ flag")),
        }));
        Ok(())
    })
}

/// Frees a queue and the completions in it. Calls under way go on, and their completions are dropped. Those of a queue
/// with RS_QUEUE_NO_THREAD go on only when others do that work: one that was not sent yet may be sent much later, with
/// a blocking call of its client, or not at all.
///
/// NULL: does nothing. Errors: none. Threads: not while another thread uses it; rs_queue_close has those come back
/// that wait in it.
///
/// # Safety
/// `queue` is NULL or a live queue; it is not live afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_queue_free(queue: *mut rs_queue) {
    // SAFETY: as documented.
    unsafe { free(queue) }
}

/// A descriptor that is readable while the queue holds completions, for poll, epoll, kqueue and every event loop: one
/// end of a socket pair; that of a queue with RS_QUEUE_NO_THREAD is of another kind, and readable for more, see there.
/// Do not write to it and do not close it. Reading from it is harmless: an event loop that reads what is there may do
/// so. It turns readable when the queue stops being empty; so take out until fewer come than were asked for. Also
/// after rs_queue_wake, up to the next poll; and for good, at its end, after rs_queue_close: take it out of the loop
/// then.
///
/// Returns: borrowed until rs_queue_free. NULL: -1. Errors: none. Threads: any.
///
/// # Safety
/// `queue` is NULL or a live queue.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_queue_fd(queue: *const rs_queue) -> c_int {
    // SAFETY: as documented.
    guard_value(-1, || unsafe { queue.as_ref() }.map_or(-1, |queue| queue.queue.as_fd().as_raw_fd()))
}

/// Wakes the threads that wait in rs_queue_poll, rs_queue_dispatch or rs_queue_poll_packed: all of them return at once
/// with what there is, RS_OK and a count that may be 0. The next of these calls that begins, on whichever thread, does
/// not wait either, so that a thread that is just about to wait does not miss it; up to then the descriptor is
/// readable. Wake-ups that nobody has seen yet count as one.
///
/// So such a call may come back early with nothing: whoever is woken looks at what it was woken for, and polls again.
/// To stop threads use rs_queue_close, which all see, however many they are.
///
/// NULL, and a child of fork: does nothing. Errors: none. Threads: any; not from a signal handler.
///
/// # Safety
/// `queue` is NULL or a live queue.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_queue_wake(queue: *mut rs_queue) {
    // SAFETY: as documented.
    guard_value((), || unsafe { queue.as_ref() }.map_or((), |queue| queue.queue.wake()));
}

/// Ends a queue for good. From now on nothing is accepted: submitting to it fails with RS_ERR_CLOSED, and nothing is
/// sent. Every rs_queue_poll, rs_queue_dispatch and rs_queue_poll_packed returns at once with what there is, RS_OK and
/// a count that may be 0, those that wait now as well. The descriptor stays readable.
///
/// Calls under way go on, and their completions come as ever and can be taken out. To wait for them, poll until
/// rs_queue_len is 0 before the queue is closed. A thread learns from rs_queue_is_closed that it is to go; when
/// all have gone the queue can be freed.
///
/// NULL, a queue that is closed, and a child of fork: does nothing. Errors: none. Threads: any; not from a signal
/// handler.
///
/// # Safety
/// `queue` is NULL or a live queue.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_queue_close(queue: *mut rs_queue) {
    // SAFETY: as documented.
    guard_value((), || unsafe { queue.as_ref() }.map_or((), |queue| queue.queue.close()));
}

/// Whether rs_queue_close was called.
///
/// NULL, and a child of fork: false. Errors: none. Threads: any.
///
/// # Safety
/// `queue` is NULL or a live queue.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_queue_is_closed(queue: *const rs_queue) -> bool {
    // SAFETY: as documented.
    guard_value(false, || unsafe { queue.as_ref() }.is_some_and(|queue| queue.queue.is_closed()))
}

/// How many calls are under way or wait to be taken out.
///
/// NULL: 0. Errors: none. Threads: any.
///
/// # Safety
/// `queue` is NULL or a live queue.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_queue_len(queue: *const rs_queue) -> usize {
    // SAFETY: as documented.
    guard_value(0, || unsafe { queue.as_ref() }.map_or(0, |queue| queue.queue.len()))
}

/// Takes completions out of a queue, in the order in which they came, and waits for the first one.
///
/// `completions`: `max` places; what is in them is the caller's to free. `timeout_ms`: 0 does not wait, RS_FOREVER
/// waits as long as it takes, but not beyond rs_queue_wake and rs_queue_close. `*count`: how many were taken; 0 on
/// failure and when the time was over; `count` may be NULL. `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT,
/// RS_ERR_FORKED. Threads: any.
///
/// cbindgen:postfix=RS_NOT_NULL(queue)
///
/// # Safety
/// `completions` points to `max` places; the other pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_queue_poll(
    queue: *mut rs_queue,
    completions: *mut rs_completion,
    max: usize,
    timeout_ms: u64,
    count: *mut usize,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let set_count = unsafe { number(count) };
    guard(err, || {
        // SAFETY: as documented.
        let queue = unsafe { handle(queue, "queue")? };
        queue.queue.check_process()?;
        if completions.is_null() && max > 0 {
            return Err(invalid("completions", "is NULL and its number is not 0"));
        }
        let mut taken = SmallVec::<[_; FEW]>::new();
        queue.queue.poll_into(&mut taken, max, patience(timeout_ms));
        set_count(taken.len());
        for (index, completion) in taken.drain(..).enumerate() {
            // SAFETY: `max` places, and no more are taken.
            unsafe { completions.add(index).write(given(completion)) };
        }
        Ok(())
    })
}

/// The same with a callback in place of an array: it is called for each completion, on the thread that calls this
/// function and before it returns. It may submit, cancel, close and free whatever it likes, except the queue.
///
/// `completed`: not NULL. `context`: handed to it each time. The other parameters: as with rs_queue_poll.
///
/// cbindgen:postfix=RS_NOT_NULL(queue) RS_NOT_NULL(completed)
///
/// # Safety
/// The pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_queue_dispatch(
    queue: *mut rs_queue,
    max: usize,
    timeout_ms: u64,
    completed: rs_completion_fn,
    context: *mut c_void,
    count: *mut usize,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let set_count = unsafe { number(count) };
    guard_held(err, || {
        // SAFETY: as documented.
        let queue = unsafe { handle(queue, "queue")? };
        queue.queue.check_process()?;
        let completed = completed.ok_or_else(|| invalid("completed", "is NULL"))?;
        let mut taken = SmallVec::<[_; FEW]>::new();
        queue.queue.poll_into(&mut taken, max, patience(timeout_ms));
        set_count(taken.len());
        for completion in taken {
            let completion = given(completion);
            // SAFETY: given for this; the completion lives as long as the call.
            unsafe { completed(context, &completion) };
        }
        Ok(())
    })
}

/// Calls a script without waiting: the reply will be in `queue`, under `tag`. The lists, `client` and `options` are as
/// with rs_script_call; all copied.
///
/// Errors, and then the call was not accepted and has no completion: RS_ERR_QUEUE_FULL, RS_ERR_CLOSED where the client
/// or the queue is closed, RS_ERR_FORKED, RS_ERR_NO_MEMORY, RS_ERR_RESOURCES, and what is wrong with the arguments. The
/// completion's status is any of RS_ERR_. `err` may be NULL. Threads: any.
///
/// cbindgen:postfix=RS_NOT_NULL(script) RS_NOT_NULL(queue)
///
/// # Safety
/// The lists hold as many elements as their numbers say; the other pointers are NULL or what they are declared as.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_script_submit(
    script: *const rs_script,
    client: *mut rs_client,
    numkeys: usize,
    keys: *const *const c_char,
    keylens: *const usize,
    numargs: usize,
    args: *const *const c_char,
    arglens: *const usize,
    options: *const rs_call_options,
    queue: *mut rs_queue,
    tag: u64,
    err: *mut *mut rs_error,
) -> rs_status {
    guard(err, || {
        // SAFETY: as documented.
        let (keys, args) = unsafe {
            (Strings::new(numkeys, keys, keylens, "keys")?, Strings::new(numargs, args, arglens, "args")?)
        };
        // SAFETY: as documented.
        let (script, client, options, queue) = unsafe {
            (handle(script, "script")?, client.as_ref(), CallOptions::new(options)?, handle(queue, "queue")?)
        };
        let own;
        let client = match client {
            Some(client) => &client.client,
            None => {
                own = script.own_client()?;
                &own
            }
        };
        let client = options.client(client)?;
        client.submit_script(&queue.queue, tag, script.script(), &keys, &args, options.flags)
    })
}

/// Sends a command without waiting; see rs_client_command and rs_script_submit.
///
/// cbindgen:postfix=RS_NOT_NULL(client) RS_NOT_NULL(argv) RS_NOT_NULL(queue)
///
/// # Safety
/// `argv` and `argvlen` hold `argc` elements each; the other pointers are NULL or what they are declared as.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_submit(
    client: *mut rs_client,
    argc: usize,
    argv: *const *const c_char,
    argvlen: *const usize,
    options: *const rs_call_options,
    queue: *mut rs_queue,
    tag: u64,
    err: *mut *mut rs_error,
) -> rs_status {
    guard(err, || {
        // SAFETY: as documented.
        let (client, arguments) =
            unsafe { (handle(client, "client")?, Strings::new(argc, argv, argvlen, "argv")?) };
        // SAFETY: as documented.
        let (options, queue) = unsafe { (CallOptions::new(options)?, handle(queue, "queue")?) };
        let client = options.client(&client.client)?;
        client.submit_command_of(&queue.queue, tag, &arguments.slices()?, options.flags)
    })
}

/// Executes a pipeline without waiting; see rs_pipeline_exec, also for `options`, and rs_script_submit. Once it is
/// accepted the pipeline is empty and can be filled again; with an error it has its items still. An empty one is
/// RS_ERR_INVALID_ARGUMENT.
///
/// cbindgen:postfix=RS_NOT_NULL(pipeline) RS_NOT_NULL(queue)
///
/// # Safety
/// The pointers are NULL or what they are declared as.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_pipeline_submit(
    pipeline: *mut rs_pipeline,
    options: *const rs_call_options,
    queue: *mut rs_queue,
    tag: u64,
    err: *mut *mut rs_error,
) -> rs_status {
    guard(err, || {
        // SAFETY: as documented.
        let (pipeline, options, queue) =
            unsafe { (pipeline_of(pipeline)?, CallOptions::new(options)?, handle(queue, "queue")?) };
        let idempotent = options.idempotent_pipeline()?;
        let client = options.other_client(pipeline.client())?;
        let before = pipeline.token_of(options.flags.token, idempotent)?;
        let submitted = pipeline.submit_by(client.as_ref(), &queue.queue, tag, idempotent);
        if submitted.is_err() {
            pipeline.take_token_back(before);
        }
        submitted
    })
}

/// Ends the calls under way in a queue that this client has submitted with this tag. Each is completed at once: with
/// RS_ERR_CANCELLED where nothing was sent, with RS_ERR_INDETERMINATE where the server may have executed it or may
/// yet do so. What waits on the server, as BLPOP does, is given up there too: its connection is closed.
///
/// `*count`, which may be NULL: how many there were; 0 where all had ended already. `err` may be NULL. Errors:
/// RS_ERR_INVALID_ARGUMENT, RS_ERR_FORKED. Threads: any.
///
/// cbindgen:postfix=RS_NOT_NULL(client) RS_NOT_NULL(queue)
///
/// # Safety
/// The pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_cancel(
    client: *mut rs_client,
    queue: *mut rs_queue,
    tag: u64,
    count: *mut usize,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let set_count = unsafe { number(count) };
    guard_held(err, || {
        // SAFETY: as documented.
        let (client, queue) = unsafe { (handle(client, "client")?, handle(queue, "queue")?) };
        client.client.io().check_process()?;
        queue.queue.check_process()?;
        set_count(client.client.cancel(&queue.queue, tag));
        Ok(())
    })
}

/// What a `timeout_ms` asks for.
pub(super) fn patience(timeout_ms: u64) -> Duration {
    Duration::from_millis(timeout_ms).min(LONGEST_WAIT)
}

/// A number to be given back, 0 until it is set.
///
/// # Safety
/// `place` is NULL or a place for a number.
pub(super) unsafe fn number(place: *mut usize) -> impl Fn(usize) {
    let set = move |value| {
        if !place.is_null() {
            // SAFETY: not NULL, and the caller promises a place.
            unsafe { place.write(value) };
        }
    };
    set(0);
    set
}

fn given(completion: Completion) -> rs_completion {
    let Completion { tag, result, arrived, .. } = completion;
    let (status, reply, error) = match result {
        Ok(reply) => (super::RS_OK, Some(reply), None::<Error>),
        Err(error) => (error.status().code(), arrived, Some(error)),
    };
    rs_completion {
        tag,
        reply: reply.map_or(std::ptr::null_mut(), reply::into_raw),
        error: error.map_or(std::ptr::null_mut(), rs_error::new),
        status,
        reserved: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_outs_are_milliseconds_or_for_ever() {
        assert_eq!(patience(0), Duration::ZERO);
        assert_eq!(patience(1500), Duration::from_millis(1500));
        assert_eq!(patience(RS_FOREVER), LONGEST_WAIT);
        assert_eq!(patience(u64::MAX / 2), LONGEST_WAIT);
    }
}
