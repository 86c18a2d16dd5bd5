//! The C API: any functions in any order, with NULLs, on a server that answers as the input says.

use std::ffi::{CStr, CString, c_char};
use std::ptr::{null, null_mut};

use ::rs_script::ffi::admin::*;
use ::rs_script::ffi::call_options::*;
use ::rs_script::ffi::client::*;
use ::rs_script::ffi::error::*;
use ::rs_script::ffi::options::*;
use ::rs_script::ffi::packed::*;
use ::rs_script::ffi::pipeline::*;
use ::rs_script::ffi::queue::*;
use ::rs_script::ffi::reply::*;
use ::rs_script::ffi::script::*;
use ::rs_script::ffi::stats::*;

struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The place of a handle: the last is never filled, and so stays NULL.
    fn place(&mut self) -> usize {
        usize::from(self.byte()) % PLACES
    }
}

const PLACES: usize = 3;

struct Handles {
    clients: [*mut rs_client; PLACES],
    options: [*mut rs_options; PLACES],
    scripts: [*mut rs_script; PLACES],
    replies: [*mut rs_reply; PLACES],
    pipelines: [*mut rs_pipeline; PLACES],
    queues: [*mut rs_queue; PLACES],
    /// Calls that each queue has accepted, and completions taken out.
    accepted: [usize; PLACES],
    taken: [usize; PLACES],
}

/// A list as C has it, with lengths or with NULs.
struct List {
    texts: Vec<CString>,
    pointers: Vec<*const c_char>,
    lengths: Vec<usize>,
    has_lengths: bool,
}

impl List {
    fn new(source: &mut Source<'_>, first: Option<&str>) -> List {
        let choice = source.byte();
        let mut texts: Vec<CString> = first.map(|text| CString::new(text).unwrap()).into_iter().collect();
        for _ in 0..choice % 4 {
            let length = usize::from(source.byte() % 16);
            let text = source.bytes(length).iter().copied().filter(|byte| *byte != 0).collect::<Vec<_>>();
            texts.push(CString::new(text).unwrap());
        }
        let mut pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        let mut lengths: Vec<_> = texts.iter().map(|text| text.as_bytes().len()).collect();
        let has_lengths = choice & 16 != 0;
        // An empty string may be NULL; another may not, and that is found out.
        if choice & 0xe0 == 0xe0 && !pointers.is_empty() {
            let last = pointers.len() - 1;
            pointers[last] = null();
            if choice & 8 != 0 {
                lengths[last] = 0;
            }
        }
        List { texts, pointers, lengths, has_lengths }
    }

    fn count(&self) -> usize {
        self.texts.len()
    }

    fn pointers(&self) -> *const *const c_char {
        if self.pointers.is_empty() { null() } else { self.pointers.as_ptr() }
    }

    fn lengths(&self) -> *const usize {
        if self.has_lengths { self.lengths.as_ptr() } else { null() }
    }
}

/// What every function promises of its status, its error and its output.
fn check<T>(status: i32, err: *mut rs_error, output: *mut T) {
    // SAFETY: an error that was made just now, and is freed once.
    unsafe {
        assert_eq!(status != 0, !err.is_null(), "status {status} and its error");
        assert!(status == 0 || output.is_null(), "an output besides an error");
        if !err.is_null() {
            assert_eq!(rs_error_status(err), status);
            assert_ne!(rs_error_reason(err), 10, "a defect: {:?}", CStr::from_ptr(rs_error_message(err)));
            assert!(!(rs_error_is_indeterminate(err) && rs_error_is_not_executed(err)));
            let message = CStr::from_ptr(rs_error_message(err)).to_bytes();
            assert!(!message.is_empty() && !message.windows(6).any(|part| part == b"s3cret"));
        }
        rs_error_free(err);
    }
}

fn no_output() -> *mut u8 {
    null_mut()
}

/// Reads a reply through every function.
fn look_at(reply: *const rs_reply, depth: usize) {
    // SAFETY: a reply that lives, or NULL.
    unsafe {
        let kind = rs_reply_type(reply);
        let mut length = usize::MAX;
        let text = rs_reply_string(reply, &mut length);
        if text.is_null() {
            assert_eq!(length, 0);
        } else {
            assert_eq!(length, rs_reply_len(reply));
            assert_eq!(*text.add(length), 0, "no NUL behind a text");
        }
        rs_reply_integer(reply);
        rs_reply_double(reply);
        rs_reply_verbatim_format(reply);
        let (mut strings, mut lengths) = ([std::ptr::null(); 4], [0; 4]);
        let there = rs_reply_strings(reply, 1, 4, strings.as_mut_ptr(), lengths.as_mut_ptr());
        for (index, string) in strings.iter().enumerate().take(there) {
            assert_eq!(*string, rs_reply_string(rs_reply_element(reply, index + 1), null_mut()));
        }
        let mut err = null_mut();
        let status = rs_reply_error(reply, &mut err);
        assert_eq!(status != 0, !err.is_null());
        assert!(kind != 3 || status != 0);
        rs_error_free(err);
        let count = if text.is_null() { rs_reply_len(reply) } else { 0 };
        assert!(rs_reply_element(reply, count).is_null());
        for index in 0..count {
            let element = rs_reply_element(reply, index);
            assert!(!element.is_null());
            if depth < 8 {
                look_at(element, depth + 1);
            }
        }
    }
}

impl Handles {
    /// Takes out what a queue has.
    fn poll(&mut self, place: usize, timeout: u64) {
        let queue = self.queues[place];
        // SAFETY: completions are written before they are counted; handles live or are NULL.
        unsafe {
            let mut completions: [rs_completion; 8] = std::mem::zeroed();
            let (mut count, mut err) = (usize::MAX, null_mut());
            let status = rs_queue_poll(queue, completions.as_mut_ptr(), 8, timeout, &mut count, &mut err);
            check(status, err, no_output());
            for completion in &completions[..count] {
                check(completion.status, completion.error, no_output());
                look_at(completion.reply, 0);
                rs_reply_free(completion.reply);
            }
            self.taken[place] += count;
        }
    }

    fn poll_packed(&mut self, place: usize, capacity: usize) {
        let mut buffer = vec![0_u8; capacity];
        let (mut used, mut count, mut needed, mut err) = (0, 0, 0, null_mut());
        // SAFETY: the buffer has that capacity.
        let status = unsafe {
            let buffer = buffer.as_mut_ptr().cast();
            rs_queue_poll_packed(
                self.queues[place],
                buffer,
                capacity,
                4,
                0,
                &mut used,
                &mut count,
                &mut needed,
                &mut err,
            )
        };
        check(status, err, no_output());
        assert!(used <= capacity && count <= 4);
        self.taken[place] += count;
    }
}

/// Panics where a promise does not hold.
pub fn run(data: &[u8]) {
    let mut source = Source(data);
    let length = usize::from(source.byte());
    let url = CString::new(super::server::url(source.bytes(length))).unwrap();
    let mut h = Handles {
        clients: [null_mut(); PLACES],
        options: [null_mut(); PLACES],
        scripts: [null_mut(); PLACES],
        replies: [null_mut(); PLACES],
        pipelines: [null_mut(); PLACES],
        queues: [null_mut(); PLACES],
        accepted: [0; PLACES],
        taken: [0; PLACES],
    };
    for _ in 0..40 {
        if source.0.is_empty() {
            break;
        }
        // SAFETY: every handle lives or is NULL, every list is as long as it says.
        unsafe { step(&mut h, &mut source, &url) };
    }
    // SAFETY: as above; each is freed once, in an order of the fuzzer's.
    unsafe {
        let order = source.byte();
        let free_clients = |h: &mut Handles| {
            h.pipelines.iter().for_each(|pipeline| rs_pipeline_free(*pipeline));
            h.clients.iter().for_each(|client| rs_client_free(*client));
        };
        if order & 1 == 0 {
            free_clients(&mut h);
        }
        h.scripts.iter().for_each(|script| rs_script_free(*script));
        h.options.iter().for_each(|options| rs_options_free(*options));
        h.replies.iter().for_each(|reply| {
            look_at(*reply, 0);
            rs_reply_free(*reply);
        });
        if order & 1 == 1 {
            free_clients(&mut h);
        }
        // Every call that was accepted has one completion, now that the clients are gone at the latest.
        for place in 0..PLACES {
            while h.taken[place] < h.accepted[place] {
                let before = h.taken[place];
                h.poll(place, 0);
                assert!(h.taken[place] > before, "accepted, and never completed");
            }
            h.poll(place, 0);
            assert_eq!(h.taken[place], h.accepted[place], "completed twice");
            rs_queue_free(h.queues[place]);
        }
    }
}

#[allow(clippy::too_many_lines, reason = "a list of functions")]
unsafe fn step(h: &mut Handles, source: &mut Source<'_>, url: &CStr) {
    let (operation, place, other) = (source.byte(), source.place(), source.place());
    let (client, script, queue, pipeline) =
        (h.clients[place], h.scripts[other], h.queues[other], h.pipelines[other]);
    let mut err = null_mut();
    let choice = source.byte();
    let mut call = rs_call_options {
        size: size_of::<rs_call_options>() as u32,
        flags: u32::from(choice & 3),
        timeout_ms: u64::from(choice >> 2 & 15),
        read_from: 0,
        route: 0,
        route_to: null(),
        route_len: 0,
        route_slot: 0,
        reserved: 0,
        token: null(),
        token_len: 0,
    };
    if choice & 0xc0 == 0xc0 {
        call.size = u32::from(source.byte());
        call.route = i32::from(source.byte() % 8);
        call.route_slot = u32::from(source.byte()) << 7;
        call.read_from = i32::from(source.byte() % 5);
        call.token = if choice & 1 == 0 { null() } else { c"token".as_ptr() };
        call.token_len = usize::from(source.byte() % 6);
    }
    let call: *const rs_call_options = if choice & 0x40 == 0 { null() } else { &call };
    // SAFETY: the caller's.
    unsafe {
        match operation % 30 {
            0 | 1 => {
                if place < PLACES - 1 && h.clients[place].is_null() {
                    // Never without short times: a server that is silent costs as much.
                    let own = rs_options_new();
                    rs_options_set_connect_timeout_ms(own, 200, null_mut());
                    rs_options_set_call_timeout_ms(own, 20, null_mut());
                    rs_options_set_probe_transactions(own, choice & 1 == 1, null_mut());
                    rs_options_set_reconnect_attempts(own, usize::from(choice >> 1 & 3), null_mut());
                    rs_options_set_shared_connections(own, 1 + usize::from(choice >> 3 & 1), null_mut());
                    rs_options_set_lazy_connect(own, choice & 16 != 0, null_mut());
                    rs_options_set_password(own, c"s3cret".as_ptr(), 6, null_mut());
                    let status = rs_client_open(url.as_ptr(), own, &mut h.clients[place], &mut err);
                    check(status, err, h.clients[place]);
                    rs_options_free(own);
                }
            }
            2 => {
                let mut out = std::ptr::dangling_mut::<rs_client>();
                let text = CString::new(
                    source.bytes(24).iter().copied().filter(|byte| *byte != 0).collect::<Vec<_>>(),
                )
                .unwrap();
                // A URL of the fuzzer's is only opened lazily, so that it leads nowhere.
                let lazy = rs_options_new();
                rs_options_set_lazy_connect(lazy, true, null_mut());
                let status = rs_client_open(
                    if choice & 1 == 0 { text.as_ptr() } else { null() },
                    lazy,
                    &mut out,
                    &mut err,
                );
                check(status, err, out);
                rs_client_free(out);
                rs_options_free(lazy);
            }
            3 => {
                rs_client_close(client);
            }
            4 => {
                rs_client_free(std::mem::replace(&mut h.clients[place], null_mut()));
            }
            5 => {
                if place < PLACES - 1 && h.options[place].is_null() {
                    h.options[place] = rs_options_new();
                }
            }
            6 => {
                let value = u64::from(source.byte()) << (choice % 57);
                let options = h.options[place];
                let status = match source.byte() % 8 {
                    0 => rs_options_set_connect_timeout_ms(options, value, &mut err),
                    1 => rs_options_set_call_timeout_ms(options, value, &mut err),
                    2 => rs_options_set_silence_timeout_ms(options, value, &mut err),
                    3 => rs_options_set_max_reply_bytes(options, value as usize, &mut err),
                    4 => rs_options_set_max_reply_depth(options, value as usize, &mut err),
                    5 => rs_options_set_protocol(options, value as i32, &mut err),
                    6 => rs_options_set_client_name(options, null(), &mut err),
                    _ => rs_options_set_shared_connections(options, value as usize, &mut err),
                };
                check(status, err, no_output());
            }
            7 | 8 => {
                let index = place.min(PLACES - 2);
                if h.scripts[index].is_null() {
                    let length = usize::from(choice % 32);
                    let text = source.bytes(length);
                    let status = rs_script_register(
                        client,
                        text.as_ptr().cast(),
                        text.len(),
                        null(),
                        &mut h.scripts[index],
                        &mut err,
                    );
                    check(status, err, h.scripts[index]);
                }
            }
            9 => rs_script_free(std::mem::replace(&mut h.scripts[place], null_mut())),
            10..=12 => {
                let (keys, args) = (List::new(source, None), List::new(source, None));
                let mut reply = null_mut();
                let status = rs_script_call(
                    script,
                    client,
                    keys.count(),
                    keys.pointers(),
                    keys.lengths(),
                    args.count(),
                    args.pointers(),
                    args.lengths(),
                    call,
                    &mut reply,
                    &mut err,
                );
                check(status, err, reply);
                look_at(reply, 0);
                rs_reply_free(std::mem::replace(&mut h.replies[place.min(PLACES - 2)], reply));
            }
            13 | 14 => {
                let list = List::new(
                    source,
                    [Some("GET"), Some("SET"), None, Some("BLPOP")][usize::from(choice % 4)],
                );
                let mut reply = null_mut();
                let wanted: *mut *mut rs_reply = if choice & 4 == 0 { &mut reply } else { null_mut() };
                let status = rs_client_command(
                    client,
                    list.count(),
                    list.pointers(),
                    list.lengths(),
                    call,
                    wanted,
                    &mut err,
                );
                check(status, err, reply);
                look_at(reply, 0);
                rs_reply_free(reply);
            }
            15 => {
                let index = place.min(PLACES - 2);
                if h.pipelines[index].is_null() {
                    let status =
                        rs_pipeline_new(client, u32::from(choice % 8), &mut h.pipelines[index], &mut err);
                    check(status, err, h.pipelines[index]);
                }
            }
            16 => {
                let list = List::new(source, Some("INCR"));
                check(
                    rs_pipeline_command(
                        pipeline,
                        list.count(),
                        list.pointers(),
                        list.lengths(),
                        call,
                        &mut err,
                    ),
                    err,
                    no_output(),
                );
            }
            17 => {
                let (keys, args) = (List::new(source, None), List::new(source, None));
                let script = h.scripts[place];
                let status = rs_pipeline_script(
                    pipeline,
                    script,
                    keys.count(),
                    keys.pointers(),
                    keys.lengths(),
                    args.count(),
                    args.pointers(),
                    args.lengths(),
                    call,
                    &mut err,
                );
                check(status, err, no_output());
            }
            18 => {
                let mut reply = null_mut();
                let status = rs_pipeline_exec(pipeline, call, &mut reply, &mut err);
                // A pipeline that is broken gives what has come.
                let is_broken = status == RS_ERR_INDETERMINATE || status == RS_ERR_REPLY_LIMIT;
                check(status, err, if is_broken { null_mut() } else { reply });
                look_at(reply, 0);
                rs_reply_free(reply);
                rs_pipeline_len(pipeline);
            }
            19 => {
                if choice & 1 == 0 {
                    rs_pipeline_clear(pipeline);
                } else {
                    rs_pipeline_free(std::mem::replace(&mut h.pipelines[other], null_mut()));
                }
            }
            20 => {
                if place < PLACES - 1 && h.queues[place].is_null() {
                    let status = rs_queue_new(
                        usize::from(choice >> 2),
                        u32::from(choice % 3),
                        &mut h.queues[place],
                        &mut err,
                    );
                    check(status, err, h.queues[place]);
                }
            }
            21 => {
                let list = List::new(source, Some("GET"));
                let status = rs_client_submit(
                    client,
                    list.count(),
                    list.pointers(),
                    list.lengths(),
                    call,
                    queue,
                    u64::from(choice),
                    &mut err,
                );
                check(status, err, no_output());
                h.accepted[other] += usize::from(status == 0);
            }
            22 => {
                let (keys, args) = (List::new(source, None), List::new(source, None));
                let status = rs_script_submit(
                    h.scripts[source.place()],
                    client,
                    keys.count(),
                    keys.pointers(),
                    keys.lengths(),
                    args.count(),
                    args.pointers(),
                    args.lengths(),
                    call,
                    queue,
                    u64::from(choice),
                    &mut err,
                );
                check(status, err, no_output());
                h.accepted[other] += usize::from(status == 0);
            }
            23 => {
                let index = source.place();
                let status = rs_pipeline_submit(h.pipelines[index], call, queue, u64::from(choice), &mut err);
                check(status, err, no_output());
                h.accepted[other] += usize::from(status == 0);
            }
            24 => {
                // One that is well-formed: how many were accepted is known.
                let mut bytes = 7_u64.to_ne_bytes().to_vec();
                bytes.extend(u32::from(choice).to_ne_bytes());
                bytes.extend([0, choice % 3]);
                bytes.extend(1_u32.to_ne_bytes());
                bytes.extend(4_u32.to_ne_bytes());
                bytes.extend(b"PING");
                if choice & 64 != 0 {
                    bytes.truncate(usize::from(choice & 31));
                }
                let status = rs_client_submit_packed(
                    client,
                    0,
                    null(),
                    bytes.as_ptr().cast(),
                    bytes.len(),
                    queue,
                    &mut err,
                );
                check(status, err, no_output());
                h.accepted[other] += usize::from(status == 0 && !bytes.is_empty());
            }
            25 => {
                let mut count = usize::MAX;
                check(
                    rs_client_cancel(client, queue, u64::from(choice), &mut count, &mut err),
                    err,
                    no_output(),
                );
                assert!(count <= h.accepted[other]);
            }
            26 => h.poll(other, u64::from(choice % 8)),
            27 => h.poll_packed(other, usize::from(choice) * 4),
            28 => match choice % 6 {
                0 => rs_queue_wake(queue),
                1 => {
                    rs_queue_close(queue);
                    assert!(queue.is_null() || rs_queue_is_closed(queue));
                }
                2 => assert_eq!(rs_queue_fd(queue) >= 0, !queue.is_null()),
                3 => rs_queue_set_packed_details(queue, choice & 8 != 0),
                4 => assert!(rs_queue_len(queue) <= h.accepted[other] - h.taken[other]),
                _ => {
                    let mut values = [0; 16];
                    rs_client_stats(client, values.as_mut_ptr(), usize::from(choice % 17));
                }
            },
            _ => match choice % 4 {
                0 => check(rs_client_script_load(client, script, &mut err), err, no_output()),
                1 => check(
                    rs_client_script_flush(client, i32::from(choice >> 2) - 1, &mut err),
                    err,
                    no_output(),
                ),
                2 => {
                    let list = List::new(source, None);
                    let mut exists = [true; 8];
                    let status = rs_client_script_exists(
                        client,
                        list.count(),
                        list.pointers(),
                        list.lengths(),
                        exists.as_mut_ptr(),
                        &mut err,
                    );
                    check(status, err, no_output());
                }
                _ => check(rs_client_script_kill(client, &mut err), err, no_output()),
            },
        }
    }
}
