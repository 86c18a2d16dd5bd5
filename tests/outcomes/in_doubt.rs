//! A refusal that a script may have made up, and of which nobody can say whether it did: the call may have been
//! executed, and its error says so. What no script can have said proves that nothing was.

use crate::support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rs_script::{Client, Error, Once, Queue, Reply, Script, Status};
use support::calls::{COUNT, LONG, NONE, options, take};
use support::fake::Fake;
use support::nodes::{Nodes, converse};
use support::wait_until;

/// A cluster of one that refuses script calls in these words, so often; and how many came.
fn refuses(words: &'static str, times: usize) -> (Fake, Arc<AtomicUsize>) {
    let (nodes, calls) = (Nodes::new(), Arc::new(AtomicUsize::new(0)));
    let server = Fake::start({
        let (nodes, calls) = (Arc::clone(&nodes), Arc::clone(&calls));
        move |conn| {
            converse(conn, |conn, command| {
                let answer = nodes.answer(0, 0, command).unwrap_or_else(|| {
                    match calls.fetch_add(1, Ordering::SeqCst) < times {
                        true => format!("-{words}\r\n"),
                        false => ":1\r\n".into(),
                    }
                });
                conn.write(answer.as_bytes());
                true
            });
        }
    });
    nodes.ports.lock().unwrap().extend([server.port(), server.port()]);
    (server, calls)
}

fn open(server: &Fake, timeout: Duration) -> Client {
    Client::open(&format!("redis+cluster://127.0.0.1:{}", server.port()), &options(timeout)).unwrap()
}

#[track_caller]
fn is_in_doubt(error: &Error) {
    assert!(error.is_indeterminate() && !error.is_not_executed(), "{error}");
}

/// The call's error, or that of a pipeline's item.
fn error_of(result: Result<Reply, Error>, is_pipeline: bool) -> Error {
    match result {
        Ok(replies) if is_pipeline => replies.get(0).unwrap().as_error().expect("an error"),
        result => result.unwrap_err(),
    }
}

/// The result of a script call in each form.
fn results(client: &Client, script: &Script) -> Vec<(&'static str, Result<Reply, Error>)> {
    let queue = Queue::new(1).unwrap();
    let single = client.call(script, &["foo"], &NONE);
    client.submit(&queue, 1, script, &["foo"], &NONE).unwrap();
    let submitted = take(&queue, 1).remove(0).result;
    let mut pipeline = client.pipeline();
    pipeline.script(script, &["foo"], &NONE).unwrap();
    vec![("call", single), ("submit", submitted), ("pipeline", pipeline.exec())]
}

#[test]
fn a_cluster_that_is_well_again_when_it_is_asked_may_have_been_down() {
    for words in ["CLUSTERDOWN The cluster is down", "CLUSTERDOWN Hash slot not served"] {
        let (server, calls) = refuses(words, 3);
        for (form, result) in results(&open(&server, LONG), &Script::new(COUNT)) {
            is_in_doubt(&error_of(result, form == "pipeline"));
        }
        assert_eq!(calls.load(Ordering::SeqCst), 3, "none is sent twice");
        let (server, _) = refuses(words, 1);
        for (form, result) in results(&open(&server, LONG), &Script::idempotent(COUNT)) {
            result.expect(form);
        }
    }
}

/// No script says that to a command, so the cluster was down, and then scripts are believed as well.
#[test]
fn a_cluster_that_has_refused_a_command_is_down_for_scripts_too() {
    let (server, calls) = refuses("CLUSTERDOWN The cluster is down", 2);
    let client = open(&server, LONG);
    client.command(&["GET", "foo"]).unwrap();
    let before = calls.load(Ordering::SeqCst);
    assert_eq!(before, 3, "it went again until it was answered");
    let (server, calls) = refuses("CLUSTERDOWN The cluster is down", 2);
    let client = open(&server, LONG);
    let mut pipeline = client.pipeline();
    pipeline.command(&["GET", "foo"]).unwrap().script(&Script::new(COUNT), &["foo"], &NONE).unwrap();
    pipeline.exec().unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 4, "both went again");
}

/// How a call ends that waits for an answer to whether it was redirected.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Deadline,
    Cancelled,
    Closed,
}

#[test]
fn a_redirection_whose_server_cannot_be_asked() {
    for end in [End::Deadline, End::Cancelled, End::Closed] {
        for is_pipeline in [false, true] {
            let (nodes, is_asked) = (Nodes::new(), Arc::new(AtomicBool::new(false)));
            let server = Fake::start({
                let (nodes, is_asked) = (Arc::clone(&nodes), Arc::clone(&is_asked));
                move |conn| {
                    converse(conn, |conn, words| {
                        if words[1].eq_ignore_ascii_case(b"NODES") {
                            is_asked.store(true, Ordering::SeqCst);
                            return true;
                        }
                        let moved = || format!("-MOVED 12182 127.0.0.1:{}\r\n", nodes.port(1));
                        conn.write(nodes.answer(0, 0, words).unwrap_or_else(moved).as_bytes());
                        true
                    });
                }
            });
            let second = Fake::start(|conn| conn.hang());
            nodes.ports.lock().unwrap().extend([server.port(), second.port()]);
            let short = Duration::from_secs(1);
            let client = open(&server, if end == End::Deadline { short } else { LONG });
            let queue = Queue::new(1).unwrap();
            let script = Script::new(COUNT);
            if is_pipeline {
                let mut pipeline = client.pipeline();
                pipeline.script(&script, &["foo"], &NONE).unwrap();
                pipeline.submit(&queue, 1).unwrap();
            } else {
                client.submit(&queue, 1, &script, &["foo"], &NONE).unwrap();
            }
            if end != End::Deadline {
                wait_until("it is asked", || is_asked.load(Ordering::SeqCst));
            }
            match end {
                End::Deadline => {}
                End::Cancelled => assert_eq!(client.cancel(&queue, 1), 1),
                End::Closed => client.close(),
            }
            let error = error_of(take(&queue, 1).remove(0).result, is_pipeline);
            is_in_doubt(&error);
            assert_eq!(second.connections(), 0, "{end:?}: {error}");
        }
    }
}

/// What was waited for with the thread that made the call.
#[test]
fn a_redirection_whose_server_cannot_be_asked_in_a_blocking_call() {
    let nodes = Nodes::new();
    let server = Fake::start({
        let nodes = Arc::clone(&nodes);
        move |conn| {
            converse(conn, |conn, words| {
                if words[1].eq_ignore_ascii_case(b"NODES") {
                    return true;
                }
                let asked = || format!("-ASK 12182 127.0.0.1:{}\r\n", nodes.port(1));
                conn.write(nodes.answer(0, 0, words).unwrap_or_else(asked).as_bytes());
                true
            });
        }
    });
    nodes.ports.lock().unwrap().extend([server.port(), server.port() ^ 1]);
    let client = open(&server, Duration::from_secs(1));
    thread::scope(|scope| {
        let call = scope.spawn(|| client.call(&Script::new(COUNT), &["foo"], &NONE).unwrap_err());
        is_in_doubt(&call.join().unwrap());
    });
}

#[test]
fn what_a_server_says_to_a_command_proves_that_it_was_not_executed() {
    for words in [
        "MOVED 12182 127.0.0.1:1",
        "ASK 12182 127.0.0.1:1",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "CLUSTERDOWN The cluster is down",
    ] {
        let (server, _) = refuses(words, usize::MAX);
        let client = Client::open(&server.url(), &options(LONG)).unwrap();
        let error = client.command(&["GET", "foo"]).unwrap_err();
        assert!(error.is_not_executed() && error.status() == Status::Server, "{error}");
        let mut pipeline = client.pipeline();
        pipeline.command(&["GET", "foo"]).unwrap().script(&Script::new(COUNT), &["foo"], &NONE).unwrap();
        let replies = pipeline.exec().unwrap();
        let item = |at: usize| replies.get(at).unwrap().as_error().expect("an error");
        assert!(item(0).is_not_executed() && !item(1).is_not_executed(), "{} {}", item(0), item(1));
    }
}

/// A server that runs what happens once, and whose reply is lost; then it says this so many times, and then the reply.
fn loses_a_reply_and_says(words: &'static str, times: usize) -> Fake {
    let sent = AtomicUsize::new(0);
    Fake::start(move |conn| {
        converse(conn, |conn, command| {
            let is_loading =
                words.starts_with("LOADING") && (1..=times).contains(&sent.load(Ordering::SeqCst));
            let answer = match command[0].to_ascii_uppercase().as_slice() {
                b"SCRIPT" if is_loading => format!("-{words}\r\n"),
                b"SCRIPT" => format!("$40\r\n{}\r\n", Script::new(command[2].clone()).sha_hex()),
                b"EVALSHA" => match sent.fetch_add(1, Ordering::SeqCst) {
                    0 => return false,
                    again if again <= times => format!("-{words}\r\n"),
                    _ => ":1\r\n".into(),
                },
                b"ROLE" => "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n".into(),
                _ => "$3\r\nx:y\r\n".into(),
            };
            conn.write(answer.as_bytes());
            true
        });
    })
}

#[test]
fn a_pipeline_that_happens_once_is_asked_about_again_when_its_server_is_busy() {
    const BUSY: &str =
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
    let script = Script::new(COUNT).once(&Once::default()).unwrap();
    for words in [BUSY, "LOADING Redis is loading the dataset in memory"] {
        for (times, timeout) in [(3, LONG), (usize::MAX, Duration::from_secs(1))] {
            let server = loses_a_reply_and_says(words, times);
            let client = Client::open(&server.url(), &options(timeout)).unwrap();
            let mut pipeline = client.pipeline();
            pipeline.script(&script, "n", ()).unwrap();
            match (times, pipeline.exec()) {
                (3, replies) => assert_eq!(replies.unwrap().to::<[u64; 1]>().unwrap(), [1]),
                (_, replies) => assert!(replies.unwrap_err().is_indeterminate()),
            }
        }
    }
}
