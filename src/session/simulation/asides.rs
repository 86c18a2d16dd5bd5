//! What belongs to no call: push messages, wherever they come and however they are cut, and replies that nobody asked
//! for.

use super::*;
use crate::resp::LONG_ASIDE;

/// Whatever was sent for nobody before a call and between its replies, the call gets its own.
#[test]
fn a_push_is_cut_at_every_byte() {
    for (shape, push) in SHAPES.into_iter().flat_map(|shape| PUSHES.map(|push| (shape, push))) {
        for cut in 0..=push.len() {
            let mut world = World::new(cut as u64);
            world.server.rights = Rights::default();
            // That is another test's.
            world.server.oversized = Some(0);
            world.server.replies.extend_from_slice(&push[..cut]);
            world.receive(usize::MAX);
            world.submit_shaped(shape);
            // Its rest comes before anything that the call is answered with.
            world.server.replies.extend_from_slice(&push[cut..]);
            while !world.session.is_idle() {
                world.send(usize::MAX);
                let count = world.rng.usize(1..20);
                world.receive(count);
            }
            world.check_finished();
            assert!(world.expectations[0].is_none(), "{}, cut at {cut}", push.escape_ascii());
        }
    }
}

/// What comes while no call waits is not taken for the beginning of the next call's reply, not even half of it.
#[test]
fn what_nobody_asked_for_is_refused_at_its_first_byte() {
    for input in [&b"*2\r\n:1\r\n"[..], b"+", b"$5\r\nab", b">0\r\n|1\r\n+k\r\n:1\r\n*1\r\n"] {
        let mut world = World::new(0);
        let mut inbox = world.session.lend_inbox();
        inbox.room().expect("memory")[..input.len()].copy_from_slice(input);
        inbox.fill(input.len());
        let refusal = world.session.receive(inbox, input.len()).expect_err("refused");
        assert!(matches!(refusal, Refusal::Protocol(_)), "{}: {refusal:?}", input.escape_ascii());
    }
}

/// However many push messages come, and wherever they stand, they take no memory; and one that is over the limit is
/// nobody's fault.
#[test]
fn a_flood_of_pushes_is_let_go() {
    let flood = [b">2\r\n+x\r\n$4096\r\n".as_slice(), &[b'x'; 4096], b"\r\n>0\r\n"].concat();
    let replies: [&[u8]; 4] = [b"", b":1\r\n", b"$1\r\nx\r\n", b"*1\r\n+y\r\n"];
    let with_pings = |count: usize| {
        let mut world = World::new(0);
        let mut request = Box::<Request>::default();
        request.reset(Shape::Pipeline);
        (0..count).for_each(|_| request.say(&[b"PING"]));
        world.expectations.push(None);
        world.session.submit(request, 0);
        world.send(usize::MAX);
        world.server.replies.clear();
        world
    };
    let mut world = with_pings(3);
    for reply in replies {
        world.server.replies.extend_from_slice(reply);
        for _ in 0..200 {
            world.server.replies.extend_from_slice(&flood);
            world.receive(usize::MAX);
        }
        assert!(world.session.inbox.capacity() <= 32 * 1024, "{}", world.session.inbox.capacity());
    }
    world.receive(usize::MAX);
    let finished = world.session.next_finished().expect("finished");
    let reply = Reply::new(finished.result.expect("a reply"));
    assert_eq!(format!("{reply:?}"), "Array[1, String(\"x\"), Array[Status(\"y\")]]");

    let long = vec![b'x'; LIMITS.max_bytes - 10];
    let long = [b">3\r\n:1\r\n:2\r\n$65526\r\n", long.as_slice(), b"\r\n"].concat();
    for push in [&b">2\r\n+x\r\n$65537\r\n"[..], b">65536\r\n", b"|1\r\n+k\r\n$65537\r\n", &long] {
        for step in [1000, push.len()] {
            let mut world = with_pings(3);
            let input = [b":1\r\n", push].concat();
            let mut input = input.as_slice();
            let refusal = loop {
                assert!(!input.is_empty(), "{}", push[..10].escape_ascii());
                let mut inbox = world.session.lend_inbox();
                let room = inbox.room().expect("memory");
                let count = step.min(room.len()).min(input.len());
                room[..count].copy_from_slice(&input[..count]);
                inbox.fill(count);
                input = &input[count..];
                if let Err(refusal) = world.session.receive(inbox, count) {
                    break refusal;
                }
            };
            assert_eq!(refusal, LONG_ASIDE, "{}", push[..10].escape_ascii());
        }
    }
}
