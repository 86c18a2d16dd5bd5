//! Events of clients, and what they ask for, for those who cannot be called back: kept until fetched. A binding whose
//! language runs on one thread, which may just be waiting for a thread of this library, has no other way to learn of
//! them.

use std::collections::VecDeque;
use std::ffi::c_char;
use std::sync::Arc;

use super::credentials::rs_credentials_request;
use super::options::rs_options;
use super::queue::{number, rs_queue};
use super::sys::cancel::Held;
use super::sys::lock::Mutex;
use super::sys::memory::Memory;
use super::{Out, free, guard, guard_held, handle, invalid, rs_status};
use crate::base::log;
use crate::ffi::error::rs_error;
use crate::queue::Queue;

/// Events that clients have had, and credentials that they wait for, which nobody has fetched yet. Caller frees with
/// rs_events_free.
pub struct rs_events(Arc<Kept>);

struct Kept {
    capacity: usize,
    queue: Queue,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    dropped: usize,
    requests: VecDeque<Box<rs_credentials_request>>,
}

struct Event {
    kind: i32,
    level: i32,
    status: rs_status,
    reason: i32,
    node: String,
    message: String,
}

impl Event {
    fn of(event: &log::Event<'_>) -> Self {
        Event {
            kind: event.kind as i32,
            level: event.level as i32,
            status: event.status.map_or(super::RS_OK, |status| status.code()),
            reason: event.reason.map_or(0, |reason| reason.code()),
            node: event.node.unwrap_or_default().to_owned(),
            message: event.message.to_owned(),
        }
    }

    fn size(&self) -> usize {
        4 * size_of::<i32>() + 2 * size_of::<u32>() + self.node.len() + self.message.len()
    }

    fn write(&self, mut at: usize, memory: &mut Memory<'_>) {
        let mut put = |bytes: &[u8]| {
            memory.write(at, bytes);
            at += bytes.len();
        };
        for number in [self.kind, self.level, self.status, self.reason] {
            put(&number.to_ne_bytes());
        }
        for text in [&self.node, &self.message] {
            put(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_ne_bytes());
            put(text.as_bytes());
        }
    }
}

impl Kept {
    fn keep(&self, event: &log::Event<'_>) {
        if self.queue.check_process().is_err() {
            return;
        }
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.events.len() >= self.capacity {
            state.events.pop_front();
            state.dropped += 1;
        }
        state.events.push_back(Event::of(event));
        drop(guard);
        self.queue.wake();
    }

    fn ask(&self, request: Box<rs_credentials_request>) {
        if self.queue.check_process().is_err() {
            return;
        }
        let mut state = self.state.lock();
        let oldest = if state.requests.len() >= self.capacity { state.requests.pop_front() } else { None };
        state.requests.push_back(request);
        drop(state);
        // Whom that ends may want this lock.
        if let Some(oldest) = oldest {
            oldest.refuse("nobody has taken the request out, and more have come");
        }
        self.queue.wake();
    }
}

/// Makes a place for events. Clients that are opened with options that name it (rs_options_set_events) put theirs
/// there and wake `queue`, as rs_queue_wake does: whoever waits for its descriptor fetches them with rs_events_take
/// after each poll.
///
/// `capacity`: above 0; of more events the oldest are dropped, and of more requests for credentials the oldest
/// refused. `queue`: not NULL; it may be freed before. `*events`: caller frees with rs_events_free; NULL on failure;
/// `events` not NULL. `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT, RS_ERR_FORKED. Threads: any.
///
/// cbindgen:postfix=RS_NOT_NULL(queue) RS_NOT_NULL(events)
///
/// # Safety
/// `queue` is NULL or a live queue; the other pointers are NULL or what they are declared as.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_events_new(
    capacity: usize,
    queue: *mut rs_queue,
    events: *mut *mut rs_events,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let out = unsafe { Out::new(events) };
    guard_held(err, || {
        out.required("events")?;
        // SAFETY: as documented.
        let queue = unsafe { handle(queue, "queue")? }.queue();
        queue.check_process()?;
        if capacity == 0 {
            return Err(invalid("capacity", "is 0"));
        }
        let kept = Kept { capacity, queue: queue.clone(), state: Mutex::new(State::default()) };
        out.set(Box::into_raw(Box::new(rs_events(Arc::new(kept)))));
        Ok(())
    })
}

/// Has clients that are opened with these options put what rs_options_set_log would tell of there, in its place:
/// either takes the other's place.
///
/// `events`: not NULL; it may be freed before the options and the clients, and then nobody is told. `err` may be NULL.
/// Errors: RS_ERR_INVALID_ARGUMENT. Threads: one at a time for the same options.
///
/// cbindgen:postfix=RS_NOT_NULL(options) RS_NOT_NULL(events)
///
/// # Safety
/// `options` is NULL or live options, `events` NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_events(
    options: *mut rs_options,
    events: *mut rs_events,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        super::options::set(options, err, |options| {
            let kept = Arc::downgrade(&handle(events, "events")?.0);
            options.log(move |event| {
                if let Some(kept) = kept.upgrade() {
                    kept.keep(event);
                }
            });
            Ok(())
        })
    }
}

/// Takes events out, in the order in which they came, as many as fit.
///
/// `buffer`: `capacity` bytes; each event is four i32 and two texts, in the machine's byte order and not aligned: its
/// RS_EVENT_ kind (others may come), its RS_LOG_LEVEL_ level, the RS_ERR_ status and the RS_REASON_ of the error
/// behind it or 0, the server, empty where none is known, and the message, each as a u32 length and its bytes.
/// `*used`: bytes written. `*needed`: what the next one takes that did not fit, else 0. `*dropped`: how many were
/// dropped since the last time. All three are 0 on failure, and each may be NULL. `err` may be NULL. Errors:
/// RS_ERR_INVALID_ARGUMENT, RS_ERR_FORKED. Threads: any.
///
/// cbindgen:postfix=RS_NOT_NULL(events)
///
/// # Safety
/// `buffer` points to `capacity` bytes; the other pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_events_take(
    events: *mut rs_events,
    buffer: *mut c_char,
    capacity: usize,
    used: *mut usize,
    needed: *mut usize,
    dropped: *mut usize,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let (set_used, set_needed, set_dropped) = unsafe { (number(used), number(needed), number(dropped)) };
    guard(err, || {
        // SAFETY: as documented.
        let kept = unsafe { handle(events, "events")? };
        kept.0.queue.check_process()?;
        super::check_length(capacity, "capacity")?;
        if buffer.is_null() && capacity > 0 {
            return Err(invalid("buffer", "is NULL and its capacity is not 0"));
        }
        // SAFETY: `capacity` bytes, checked above; they are the caller's, and of no use to anybody else meanwhile.
        let mut memory = unsafe { Memory::new(buffer.cast(), capacity) };
        let mut state = kept.0.state.lock();
        let (used, needed) = take(&mut state.events, &mut memory);
        set_used(used);
        set_needed(needed);
        set_dropped(std::mem::take(&mut state.dropped));
        Ok(())
    })
}

/// Has clients that are opened with these options ask for user and password there: rs_events_take_credentials, after
/// each poll as with events, takes the requests out. As rs_options_set_credentials in all else; either takes the
/// other's place. As long as a request has no answer another may come for the same server, from a further connection
/// or a further attempt.
///
/// `events`: not NULL; where it is freed before the options and the clients, no connection gets credentials any more.
/// `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT. Threads: one at a time for the same options.
///
/// cbindgen:postfix=RS_NOT_NULL(options) RS_NOT_NULL(events)
///
/// # Safety
/// `options` is NULL or live options, `events` NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_options_set_credentials_events(
    options: *mut rs_options,
    events: *mut rs_events,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe {
        super::options::set(options, err, |options| {
            let kept = Arc::downgrade(&handle(events, "events")?.0);
            options.credentials_later(move |request| {
                let _held = Held::new();
                match kept.upgrade() {
                    Some(kept) => kept.ask(rs_credentials_request::new(request)),
                    None => request.refuse("nobody takes requests out any more"),
                }
            });
            Ok(())
        })
    }
}

/// Takes a request for credentials out, in the order in which they came.
///
/// `*request`: to be given back, now or later, by rs_credentials_answer or rs_credentials_refuse; NULL where there is
/// none, and on failure. `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT, RS_ERR_FORKED. Threads: any.
///
/// cbindgen:postfix=RS_NOT_NULL(events) RS_NOT_NULL(request)
///
/// # Safety
/// The pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_events_take_credentials(
    events: *mut rs_events,
    request: *mut *mut rs_credentials_request,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let out = unsafe { Out::new(request) };
    guard(err, || {
        out.required("request")?;
        // SAFETY: as documented.
        let kept = unsafe { handle(events, "events")? };
        kept.0.queue.check_process()?;
        let next = kept.0.state.lock().requests.pop_front();
        if let Some(next) = next {
            out.set(Box::into_raw(next));
        }
        Ok(())
    })
}

/// What was written, and what the first event takes that did not fit.
fn take(events: &mut VecDeque<Event>, memory: &mut Memory<'_>) -> (usize, usize) {
    let mut used = 0;
    while let Some(event) = events.front() {
        let size = event.size();
        if size > memory.len() - used {
            return (used, size);
        }
        event.write(used, memory);
        used += size;
        events.pop_front();
    }
    (used, 0)
}

/// Frees a place for events and those in it; requests for credentials are refused. Clients that put theirs there go
/// on, tell nobody, and get no credentials.
///
/// NULL: does nothing. Errors: none. Threads: not while another thread uses it; clients do not count.
///
/// # Safety
/// `events` is NULL or live; it is not live afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_events_free(events: *mut rs_events) {
    // SAFETY: as documented.
    unsafe { free(events) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;

    #[test]
    fn of_more_events_than_there_is_room_for_the_oldest_are_dropped_and_the_rest_comes_in_parts() -> Result<()>
    {
        let state = Mutex::new(State::default());
        let kept = Kept { capacity: 2, queue: Queue::new(1)?, state };
        for message in ["one", "two", "three"] {
            let (kind, level) = (log::EventKind::PrimariesChanged, log::LogLevel::Info);
            kept.keep(&log::Event { kind, level, node: None, status: None, reason: None, message });
        }
        let mut state = kept.state.lock();
        assert_eq!((state.dropped, state.events.len()), (1, 2));
        let mut bytes = [0; 100];
        let size = 24 + "two".len();
        let first = take(&mut state.events, &mut Memory::from(&mut bytes[..size + 5]));
        assert_eq!(first, (size, size + 2));
        assert_eq!(&bytes[..size], b"\x08\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x03\0\0\0two");
        assert_eq!(take(&mut state.events, &mut Memory::from(&mut bytes[..])), (size + 2, 0));
        assert_eq!(&bytes[size - 3..size + 2], b"three");
        assert_eq!(take(&mut state.events, &mut Memory::from(&mut bytes[..])), (0, 0));
        Ok(())
    }
}
