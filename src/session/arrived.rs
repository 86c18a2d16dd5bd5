//! What has arrived of a pipeline is told at every cut of the stream, also while a reader has the inbox.

use std::sync::Arc;

use super::{Facts, Session};
use crate::error::Status;
use crate::request::{Request, Shape};
use crate::resp::{Limits, Pool, Reply};

const REPLIES: [&[u8]; 5] =
    [b"$5\r\nhello\r\n", b"*2\r\n$1\r\nx\r\n*1\r\n$2\r\nyz\r\n", b"-WRONGTYPE no\r\n", b":7\r\n", b"+OK\r\n"];

fn session() -> Session<()> {
    let limits = Limits { max_bytes: 1 << 20, max_depth: 8 };
    Session::new(limits, Arc::new(Facts::new(Arc::default(), 1, false)), Arc::new(Pool::default()))
}

fn receive(session: &mut Session<()>, bytes: &[u8]) {
    let mut inbox = session.lend_inbox();
    inbox.room().expect("memory")[..bytes.len()].copy_from_slice(bytes);
    inbox.fill(bytes.len());
    session.receive(inbox, bytes.len()).expect("well-formed replies");
}

/// A session with a pipeline of `count` commands, all of them sent; and the pipeline's key.
fn sent(count: usize) -> (Session<()>, usize) {
    let mut session = session();
    let mut request = Box::<Request>::default();
    request.reset(Shape::Pipeline);
    (0..count).for_each(|_| request.say(&[b"PING"]));
    let key = session.submit(request, ());
    while let Some(mut chunk) = session.take_output() {
        let sent = chunk.unsent().len();
        chunk.advance(sent);
        session.put_back(chunk, sent);
    }
    (session, key)
}

/// How many replies are whole in so many bytes.
fn whole(bytes: usize) -> usize {
    let mut end = 0;
    REPLIES.iter().take_while(|reply| (end += reply.len(), end <= bytes).1).count()
}

fn check(arrived: Option<Reply>, count: usize, cut: (usize, usize)) {
    let shown = arrived.map(|reply| format!("{reply:?}"));
    let all = [
        r#"String("hello")"#,
        r#"Array[String("x"), Array[String("yz")]]"#,
        r#"Error("WRONGTYPE no")"#,
        "7",
        r#"Status("OK")"#,
    ];
    let expected = (count > 0).then(|| format!("Array[{}]", all[..count].join(", ")));
    assert_eq!(shown, expected, "{cut:?}");
}

#[test]
fn at_every_cut_who_leaves_and_who_is_cut_off_get_what_was_whole() {
    let stream = REPLIES.concat();
    for second in 1..stream.len() {
        for first in 0..second {
            // The caller leaves while a reader has the inbox.
            let (mut session, key) = sent(REPLIES.len());
            receive(&mut session, &stream[..first]);
            receive(&mut session, &stream[first..second]);
            let inbox = session.lend_inbox();
            let (arrived, queued) = session.abandon(key);
            assert!(queued);
            check(arrived.map(Reply::new), whole(second), (first, second));
            drop(inbox);

            // The connection is closed while a reader has it.
            let (mut session, _) = sent(REPLIES.len());
            receive(&mut session, &stream[..first]);
            receive(&mut session, &stream[first..second]);
            let inbox = session.lend_inbox();
            session.fail(Status::Closed, "closed");
            let finished = session.next_finished().expect("the call is over");
            check(finished.arrived.map(Reply::new), whole(second), (first, second));
            session.receive(inbox, 0).expect("nothing more");

            // And when all has come it is whole as well.
            let (mut session, _) = sent(REPLIES.len());
            receive(&mut session, &stream[..first]);
            receive(&mut session, &stream[first..second]);
            receive(&mut session, &stream[second..]);
            let finished = session.next_finished().expect("the call is over");
            check(finished.result.ok().map(Reply::new), REPLIES.len(), (first, second));
        }
    }
}

/// What came whole in front of bytes that no server may send is not lost with them.
#[test]
fn replies_in_front_of_a_broken_one_have_arrived() {
    let (mut session, _) = sent(2);
    let mut inbox = session.lend_inbox();
    let bytes = b"$5\r\nhello\r\n!nonsense\r\n";
    inbox.room().expect("memory")[..bytes.len()].copy_from_slice(bytes);
    inbox.fill(bytes.len());
    session.receive(inbox, bytes.len()).expect_err("that is no reply");
    let inbox = session.lend_inbox();
    session.fail(Status::Connect, "nonsense");
    let finished = session.next_finished().expect("the call is over");
    check(finished.arrived.map(Reply::new), 1, (0, 0));
    drop(inbox);
}
