//! The packed forms, both ways.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::completions::{Output, Packed, append};
use super::*;
use crate::api::client::Client;
use crate::base::defect;
use crate::config::Options;
use crate::core::{LibraryTask, Task, Work};
use crate::error::{Error, Status};
use crate::ffi::sys::memory::Memory;
use crate::metrics::meter::{Metered, Spent};
use crate::queue::{Queue, Trial};
use crate::request::Repeatable;
use crate::request::library::Library;
use crate::request::once::Once;
use crate::request::script::Script;
use crate::resp::{Kind, Payload, Reply};

fn queue_of(tags: std::ops::Range<u64>) -> Queue {
    let queue = Queue::new(10_000).expect("descriptors");
    let mut tickets = Vec::new();
    queue.accept(1, tags.collect::<Vec<_>>().into_iter(), &mut tickets).expect("room");
    let reply = || {
        let mut payload = Box::<Payload>::default();
        payload.start();
        payload.append_text(Kind::Status, b"PONG").expect("memory");
        Ok(Reply::new(payload))
    };
    queue.complete(tickets.into_iter().map(|ticket| (ticket, reply(), None)));
    queue
}

fn is_readable(queue: &Queue) -> bool {
    let fd = queue.as_fd();
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&Timespec::default())).expect("a poll") > 0
}

/// Packs what fits, as the C function does.
fn take(queue: &Queue, capacity: usize, max: usize) -> (Packed, Vec<u8>) {
    let mut trial = queue.try_out();
    let (packed, bytes) = tried(&mut trial, capacity, max);
    trial.keep(packed.count);
    (packed, bytes)
}

/// What is packed into so many bytes, and these; nothing behind them is touched.
fn tried(trial: &mut Trial<'_>, capacity: usize, max: usize) -> (Packed, Vec<u8>) {
    let mut bytes = vec![0xee; capacity + 1];
    let packed = pack(trial, false, Memory::from(&mut bytes[..capacity]), max, Duration::ZERO);
    assert_eq!(bytes[capacity], 0xee);
    bytes.truncate(packed.used);
    (packed, bytes)
}

fn tags((packed, bytes): &(Packed, Vec<u8>)) -> Vec<u64> {
    let mut rest = &bytes[..];
    let mut tags = Vec::new();
    while let Some((size, behind)) = rest.split_first_chunk() {
        let (one, others) = behind.split_at(u32::from_ne_bytes(*size) as usize);
        tags.push(u64::from_ne_bytes(one[..8].try_into().expect("a tag")));
        rest = others;
    }
    assert_eq!(tags.len(), packed.count);
    tags
}

/// A call with this tag in front of an item, which is made of these parts.
fn packed_call(item: &[&[u8]]) -> Vec<u8> {
    [&7_u64.to_ne_bytes()[..], &0_u32.to_ne_bytes(), &item.concat()].concat()
}

#[test]
fn a_flag_that_is_not_known_is_refused_wherever_it_stands() {
    let client = Client::open("unix:///nowhere", Options::default().lazy_connect(true)).expect("it is lazy");
    let script = Script::new("return 1");
    let read = |bytes: &[u8]| read_calls(&client, &[&script], bytes).map(|mut calls| calls.remove(0).work);
    let (none, one, four) = (0_u32.to_ne_bytes(), 1_u32.to_ne_bytes(), 4_u32.to_ne_bytes());
    let ping = [&one[..], &four, b"PING"].concat();
    let piped = [&one[..], &[COMMAND, 0], &ping].concat();
    let known = READ_ONLY | IDEMPOTENT;
    for (kind, rest, known) in [
        (COMMAND, &ping, known),
        (SCRIPT, &[none, none, none].concat(), known | TOKEN),
        (PIPELINE, &piped, OF_PIPELINE),
        (SCRIPT_LOAD, &none.to_vec(), 0),
        (SCRIPT_EXISTS, &none.to_vec(), 0),
        (SCRIPT_KILL, &Vec::new(), 0),
        (SCRIPT_SHOW, &none.to_vec(), 0),
        (KILL, &Vec::new(), 0),
        (LIBRARY_LOAD, &none.to_vec(), NAMED | ONCE),
        (LIBRARY_CHECK, &none.to_vec(), NAMED | ONCE),
        (LIBRARY_DEPLOY, &none.to_vec(), NAMED | ONCE),
        (LIBRARY_LIST, &Vec::new(), 0),
        (LIBRARY_PRUNE, &none.to_vec(), 0),
    ] {
        for flags in (0..8).map(|bit| 1 << bit).chain([0]) {
            let has_token = matches!(kind, SCRIPT | PIPELINE) && flags & TOKEN != 0;
            let is_once = matches!(kind, LIBRARY_LOAD | LIBRARY_CHECK | LIBRARY_DEPLOY) && flags & ONCE != 0;
            let token = match (has_token, is_once) {
                (true, _) => [&one[..], b"t"].concat(),
                (_, true) => vec![0; 28],
                _ => Vec::new(),
            };
            let bytes = packed_call(&[&[kind, flags], &token, rest]);
            let in_pipeline = packed_call(&[&[PIPELINE, 0], &one, &[kind, flags], &token, rest]);
            // Read to its end all the same: a token that means nothing is the call's own error.
            assert!(!has_token || read(&bytes).is_ok_and(|work| work.is_err()));
            assert_eq!(read(&bytes).is_ok(), flags & !known == 0, "{flags:#x} of {kind}");
            let may_be_in = matches!(kind, COMMAND | SCRIPT) && flags & !known == 0;
            assert_eq!(read(&in_pipeline).is_ok(), may_be_in, "{flags:#x} of {kind} in a pipeline");
        }
    }
    for flags in 0..=known {
        let Ok(Ok(Work::Send(request, _))) = read(&packed_call(&[&[COMMAND, flags], &ping])) else {
            panic!("it is a command")
        };
        assert_eq!(request.items[0].reads, flags & READ_ONLY != 0);
        assert_eq!(request.repeatable == Repeatable::Yes, flags != 0);
    }
}

#[test]
fn libraries_are_named_by_their_sources() {
    let client = Client::open("unix:///nowhere", Options::default().lazy_connect(true)).expect("it is lazy");
    let read = |bytes: &[u8]| read_calls(&client, &[], bytes).map(|mut calls| calls.remove(0).work);
    let source = b"#!lua name=a\nredis.register_function('f', function() return 1 end)";
    let length = u32::try_from(source.len()).expect("it is short").to_ne_bytes();
    let one = 1_u32.to_ne_bytes();
    for (flags, name) in [(0, "a_"), (NAMED, "a")] {
        let Ok(Ok(Work::Administer(Task::Library(LibraryTask::Deploy(library))))) =
            read(&packed_call(&[&[LIBRARY_DEPLOY, flags], &length, source]))
        else {
            panic!("a library is deployed")
        };
        assert!(library.name().starts_with(name) && library.is_pinned() == (flags == 0));
        let pruned = read(&packed_call(&[&[LIBRARY_PRUNE, 0], &one, &[flags], &length, source]));
        assert_eq!(pruned.expect("it is well-formed").is_ok(), flags == 0);
    }
    // Of another form, and what is wrong with a library that is of the right one.
    for bytes in
        [&[&[LIBRARY_LOAD, 0][..], &length, &source[1..]][..], &[&[LIBRARY_PRUNE, 0], &one, &[2], &[0; 4]]]
    {
        assert!(read(&packed_call(bytes)).is_err());
    }
    assert!(read(&packed_call(&[&[LIBRARY_PRUNE, 0], &[255; 4], &[0; 5]])).is_err());
    assert!(read(&packed_call(&[&[LIBRARY_LOAD, 0], &[0; 4]])).is_ok_and(|work| work.is_err()));
    assert!(read(&packed_call(&[&[LIBRARY_PRUNE, 0], &[0; 4]])).is_ok_and(|work| work.is_err()));
}

#[test]
fn libraries_whose_calls_happen_once_have_the_name_that_they_are_registered_with() {
    let client = Client::open("unix:///nowhere", Options::default().lazy_connect(true)).expect("it is lazy");
    let read = |bytes: &[u8]| read_calls(&client, &[], bytes).map(|mut calls| calls.remove(0).work);
    let source = b"#!lua name=a\nredis.register_function('f', function() return 1 end)";
    let text = |text: &[u8]| [&u32::try_from(text.len()).expect("it is short").to_ne_bytes(), text].concat();
    let once = |lifetime: u64, limit: u64, replicas: u32, wait: u32, prefix: &[u8]| {
        let sizes = [lifetime, limit].map(u64::to_ne_bytes).concat();
        [sizes, [replicas, wait].map(u32::to_ne_bytes).concat(), text(prefix)].concat()
    };
    let pinned = Library::pinned(&source[..]).expect("it is one");
    let of = |once: &Once| pinned.once(once).expect("it is in its ranges").name().to_owned();
    let an_hour = Once::default().lifetime(Duration::from_secs(3600)).reply_limit(100).prefix("p:");
    for (fields, name) in [
        (once(0, 0, 0, 0, b""), of(&Once::default())),
        (once(3_600_000, 100, 0, 0, b"p:"), of(&an_hour)),
        (once(0, 0, 2, 5, b""), of(&Once::default().wait(2, Duration::from_millis(5)))),
    ] {
        let Ok(Ok(Work::Administer(Task::Library(LibraryTask::Check(library))))) =
            read(&packed_call(&[&[LIBRARY_CHECK, ONCE], &fields, &text(source)]))
        else {
            panic!("a library is compared")
        };
        assert!(library.is_once() && library.name() == name && name != pinned.name());
        let one = 1_u32.to_ne_bytes();
        let pruned = read(&packed_call(&[&[LIBRARY_PRUNE, 0], &one, &[ONCE], &fields, &text(source)]));
        assert!(pruned.expect("it is well-formed").is_ok());
    }
    // What is wrong with it is its own error, and what is behind it is read.
    for (flags, fields) in [
        (ONCE, once(1, 0, 0, 0, b"")),
        (ONCE, once(0, 1, 0, 0, b"")),
        (ONCE, once(0, 0, 1001, 0, b"")),
        (ONCE, once(0, 0, 0, 1, b"")),
        (ONCE, once(0, 0, 0, 0, b"{")),
        (ONCE | NAMED, once(0, 0, 0, 0, b"")),
    ] {
        let one = packed_call(&[&[LIBRARY_LOAD, flags], &fields, &text(source)]);
        let calls = read_calls(&client, &[], &[&one[..], &one].concat()).expect("it is well-formed");
        assert_eq!(calls.len(), 2);
        for call in calls {
            assert_eq!(call.work.err().expect("it is refused").status(), Status::InvalidArgument);
        }
    }
    assert!(read(&packed_call(&[&[LIBRARY_LOAD, ONCE], &[0; 20]])).is_err());
}

#[test]
fn a_call_goes_where_what_stands_in_front_of_it_says() {
    let client = Client::open("redis+cluster://127.0.0.1:1", Options::default().lazy_connect(true))
        .expect("it is lazy");
    let read = |bytes: &[u8]| read_calls(&client, &[], bytes).map(|mut calls| calls.remove(0));
    let one = 1_u32.to_ne_bytes();
    let ping = [&[COMMAND, 0], &one[..], &4_u32.to_ne_bytes(), b"PING"].concat();
    let routed = |from: i32, route: i32, slot: u32, to: &[u8]| {
        let numbers = [[ROUTED, 0].to_vec(), from.to_ne_bytes().to_vec(), route.to_ne_bytes().to_vec()];
        let length = u32::try_from(to.len()).expect("it is short").to_ne_bytes();
        [&numbers.concat()[..], &slot.to_ne_bytes(), &length, to].concat()
    };
    let piped = [&[PIPELINE, 0], &one[..], &ping].concat();
    for item in [&ping, &piped] {
        for front in [
            routed(1, 0, 0, b""),
            routed(3, 1, 0, b""),
            routed(0, 2, 0, b"key"),
            routed(2, 3, 16383, b""),
            routed(0, 4, 0, b"127.0.0.1:1"),
            routed(0, 5, 0, b""),
        ] {
            let call = read(&packed_call(&[&front, item])).expect("it is well-formed");
            assert!(call.by.is_some() && call.work.is_ok());
        }
        for front in [
            routed(-1, 0, 0, b""),
            routed(4, 0, 0, b""),
            routed(0, 6, 0, b""),
            routed(0, -1, 0, b""),
            routed(0, 3, 16384, b""),
            routed(0, 2, 1, b"key"),
            routed(0, 1, 0, b"key"),
            routed(0, 4, 0, b"nowhere"),
            routed(0, 4, 0, b"\xff:1"),
        ] {
            let call = read(&packed_call(&[&front, item])).expect("it is well-formed");
            assert!(call.by.is_none());
            assert_eq!(call.work.err().expect("it is refused").status(), Status::InvalidArgument);
        }
    }
    assert!(read(&packed_call(&[&ping])).expect("it is well-formed").by.is_none());
    // Of nothing else, not of an item of a pipeline, nor twice.
    let front = routed(3, 1, 0, b"");
    for bytes in [
        packed_call(&[&front, &[SCRIPT_KILL, 0]]),
        packed_call(&[&[PIPELINE, 0], &one, &front, &ping]),
        packed_call(&[&front, &front, &ping]),
        packed_call(&[&[ROUTED, 1], &front[2..], &ping]),
        packed_call(&[&front]),
        packed_call(&[&front[..9]]),
    ] {
        assert!(read(&bytes).is_err());
    }
}

#[test]
fn what_does_not_fit_stays_in_order_and_the_descriptor_tells_of_it_alone() {
    for (capacity, max) in [(40, 2), (40, 1_000), (300, 7), (300, usize::MAX), (1 << 20, 130)] {
        let queue = queue_of(0..1_000);
        let mut next = 0;
        while next < 1_000 {
            assert!(is_readable(&queue));
            let taken = take(&queue, capacity, max);
            let Packed { used, count, needed } = taken.0;
            assert!(used <= capacity && count <= max && count > 0);
            assert_eq!(tags(&taken), (next..next + count as u64).collect::<Vec<_>>());
            next += count as u64;
            assert_eq!(queue.len() as u64, 1_000 - next);
            assert!(needed == 0 || needed > capacity - used);
        }
        assert!(!is_readable(&queue), "{capacity} bytes, {max} at a time");
        assert_eq!(take(&queue, capacity, max).0, Packed::default());
        assert!(!is_readable(&queue));
    }
}

#[test]
fn a_completion_that_cannot_be_written_is_an_error_and_in_nobodys_way() {
    let queue = queue_of(2_000_000..2_000_003);
    defect::provoke("pack", &2_000_001);
    let taken = take(&queue, 1 << 20, 10);
    assert_eq!(tags(&taken), [2_000_000, 2_000_001, 2_000_002]);
    assert!(taken.0.used > 3 * 25 && taken.1.windows(6).any(|text| text == b"defect"));
    assert!(queue.is_empty() && !is_readable(&queue));
}

#[test]
fn a_completion_that_is_too_long_to_be_told_is_an_error() {
    let queue = queue_of(0..1);
    let mut trial = queue.try_out();
    let completion = &mut trial.take(1, Duration::ZERO)[0];
    let mut bytes = vec![0; 1 << 10];
    let mut out = Output { memory: Memory::from(&mut bytes[..]), size: 0 };
    out.put(b"before");
    append(completion, false, &mut out, 20);
    let error = completion.result.as_ref().expect_err("it is too long");
    assert_eq!(error.status(), Status::ReplyLimit);
    assert!(bytes.starts_with(b"before") && bytes.windows(5).any(|text| text == b"4 GiB"));
}

#[test]
fn what_a_call_has_cost_stands_behind_its_reply_or_error() {
    for is_error in [false, true] {
        let queue = queue_of(0..1);
        let mut trial = queue.try_out();
        let completion = &mut trial.take(1, Duration::ZERO)[0];
        let mut metered = Metered::of_task("SCRIPT KILL", Instant::now());
        metered.spent = Spent { attempts: 3, sent: 1 << 33, received: 5 };
        if is_error {
            completion.result = Err(Error::new(Status::Server, "NO").on(&"an error's:1".into()));
        } else {
            metered.node = Some("a:1".into());
        }
        metered.end();
        let duration = u64::try_from(metered.took().as_nanos()).expect("a moment");
        completion.cost = Some(metered);
        let mut bytes = vec![0; 1 << 10];
        let mut out = Output { memory: Memory::from(&mut bytes[..]), size: 0 };
        append(completion, true, &mut out, u32::MAX as usize);
        let size = out.size;
        let node: &[u8] = if is_error { b"an error's:1" } else { b"a:1" };
        let mut cost = 3_u32.to_ne_bytes().to_vec();
        [1 << 33, 5, duration].iter().for_each(|number: &u64| cost.extend(number.to_ne_bytes()));
        cost.extend(u32::try_from(node.len()).expect("it is short").to_ne_bytes());
        cost.extend(node);
        assert!(bytes[..size].ends_with(&cost), "{:?}", &bytes[..size]);
        assert_eq!(bytes[16], COST);
        assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().expect("a size")) as usize, size - 4);
    }
}

#[test]
fn what_does_not_fit_is_counted() {
    let queue = queue_of(0..2);
    let size_of = |count| take(&queue_of(0..count), 100, 2).0.used;
    let (one, both) = (size_of(1), size_of(2));
    assert_eq!(both, 2 * one);
    for capacity in 0..one {
        assert_eq!(take(&queue, capacity, 2).0, Packed { used: 0, count: 0, needed: one }, "{capacity}");
    }
    for capacity in [one, both - 1] {
        let (packed, bytes) = tried(&mut queue.try_out(), capacity, 2);
        assert_eq!(packed, Packed { used: one, count: 1, needed: one }, "{capacity}");
        assert_eq!(tags(&(packed, bytes)), [0]);
    }
    assert_eq!(take(&queue, both, 2).0.count, 2);
}

#[test]
fn what_is_out_on_trial_comes_back_whatever_happens() {
    let queue = queue_of(0..200);
    let panicked = defect::contain(|| {
        let mut trial = queue.try_out();
        assert_eq!(trial.take(130, Duration::ZERO).len(), 130);
        assert_eq!((trial.take(60, Duration::ZERO).len(), queue.len()), (60, 200));
        panic!("in the middle of it");
    });
    assert!(panicked.is_none() && is_readable(&queue));
    assert_eq!(tags(&take(&queue, 1 << 20, 1_000)), (0..200).collect::<Vec<_>>());
    assert!(queue.is_empty() && !is_readable(&queue));
}
