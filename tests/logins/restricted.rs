//! Users who may do little: scripts work as far as their rights allow, and what cannot work says why.

use crate::support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rs_script::{Client, Error, Queue, Script, Status};
use support::calls::{COUNT, LONG, NONE, options, take};
use support::raw::{Raw, calls_of};
use support::server::{Binary, Server, all_versions};

const READ: &str = "return redis.call('GET', KEYS[1])";

/// A server with a user who may do everything but this.
fn without(binary: Binary, rights: &[&str]) -> (Server, Raw, String) {
    let server = Server::builder().binary(binary).start();
    let mut admin = Raw::connect(&server);
    allow(&mut admin, binary, &["on", ">secret", "~*", "&*", "+@all"]);
    allow(&mut admin, binary, rights);
    let url = format!("redis://limited:secret@127.0.0.1:{}", server.port());
    (server, admin, url)
}

/// Changes the user's rights; 6.2 knows neither rules for a subcommand without the command nor the read-only commands.
fn allow(admin: &mut Raw, binary: Binary, rights: &[&str]) {
    let is_old = binary == Binary::Redis62;
    for right in rights {
        if is_old && right.ends_with("_ro") {
            continue;
        }
        let right = match *right {
            "-script|load" if is_old => "-script",
            "+script|load" if is_old => "+script",
            right => right,
        };
        admin.ok(&["ACL", "SETUSER", "limited", right]);
    }
}

fn open(url: &str) -> Client {
    Client::open(url, &options(LONG)).unwrap()
}

const NO_LOADER: &[&str] = &["-script|load", "-eval", "-eval_ro"];
const NO_SHA: &[&str] = &["-script|load", "-evalsha", "-evalsha_ro"];

/// Calls a script that counts `key` in every form, and one that reads it; each twice. `transactions`: those as well.
fn count_in_every_form(client: &Client, key: &str, transactions: bool) {
    let (count, read) = (Script::new(COUNT), Script::new(READ));
    let queue = Queue::new(4).unwrap();
    let mut expected = 0;
    for _ in 0..2 {
        expected += 1;
        assert_eq!(client.call(&count, &[key], &NONE).unwrap().as_i64(), Some(expected));
        let reply = client.call_read_only(&read, &[key], &NONE).unwrap();
        assert_eq!(reply.as_str(), Some(&*expected.to_string()));
        expected += 1;
        client.submit(&queue, 1, &count, &[key], &NONE).unwrap();
        assert_eq!(take(&queue, 1).remove(0).result.unwrap().as_i64(), Some(expected));
        let transaction = transactions.then(|| client.transaction());
        for mut pipeline in [client.pipeline()].into_iter().chain(transaction) {
            for _ in 0..2 {
                pipeline
                    .script(&count, &[key], &NONE)
                    .unwrap()
                    .script_read_only(&read, &[key], &NONE)
                    .unwrap();
            }
            let shown = format!("{:?}", pipeline.exec().unwrap());
            let next = |by: i64| format!(r#"{}, String("{}")"#, expected + by, expected + by);
            assert_eq!(shown, format!("Array[{}, {}]", next(1), next(2)));
            expected += 2;
        }
    }
}

#[test]
fn who_may_only_call_by_sha_calls_what_others_have_loaded_in_every_form_and_for_ever() {
    for binary in all_versions() {
        println!("{binary:?}");
        let (server, mut admin, url) = without(binary, NO_LOADER);
        for source in [COUNT, READ] {
            admin.ok(&["SCRIPT", "LOAD", source]);
        }
        count_in_every_form(&open(&url), "n", true);
        // A pipeline first.
        let client = open(&url);
        let count = Script::new(COUNT);
        let mut pipeline = client.pipeline();
        for round in 0..3 {
            pipeline.script(&count, &["p"], &NONE).unwrap().command(&["INCR", "p"]).unwrap();
            let shown = format!("{:?}", pipeline.exec().unwrap());
            assert_eq!(shown, format!("Array[{}, {}]", 2 * round + 1, 2 * round + 2));
        }
        assert_eq!(calls_of(&server, "eval"), 0);
    }
}

#[track_caller]
fn assert_no_loader(error: &Error) {
    assert_eq!((error.status(), error.is_not_executed()), (Status::NoScript, true), "{error}");
    let sentence = "the script is not in the server's cache, and this user may neither load it (SCRIPT LOAD) nor send \
                    it along (EVAL)";
    assert!(error.message().contains(sentence), "{error}");
}

#[test]
fn a_script_that_nobody_has_loaded_for_such_a_user_says_so_until_somebody_does() {
    for binary in all_versions() {
        println!("{binary:?}");
        let (_server, mut admin, url) = without(binary, NO_LOADER);
        let client = open(&url);
        let (count, other) = (Script::new(COUNT), Script::new("return 7"));
        let mut expected = 0;
        for _ in 0..2 {
            for _ in 0..2 {
                assert_no_loader(&client.call(&count, &["n"], &NONE).unwrap_err());
                let mut pipeline = client.pipeline();
                pipeline.script(&count, &["n"], &NONE).unwrap().command(&["PING"]).unwrap();
                let replies = pipeline.exec().unwrap();
                assert_no_loader(&replies.get(0).unwrap().as_error().expect("NOSCRIPT"));
                assert_eq!(replies.get(1).unwrap().as_str(), Some("PONG"));
                let mut transaction = client.transaction();
                transaction.script(&other, &["n"], &NONE).unwrap().command(&["INCR", "n"]).unwrap();
                let error = transaction.exec().unwrap_err();
                assert!(error.is_not_executed() && error.message().contains("NOPERM"), "{error}");
            }
            admin.ok(&["SCRIPT", "LOAD", COUNT]);
            for _ in 0..2 {
                expected += 1;
                assert_eq!(
                    client.call(&count, &["n"], &NONE).unwrap().as_i64(),
                    Some(expected),
                    "{binary:?}"
                );
            }
            admin.ok(&["SCRIPT", "FLUSH"]);
        }
        assert_eq!(admin.ok(&["GET", "n"]).text(), expected.to_string());

        // Rights that are given are noticed.
        allow(&mut admin, binary, &["+eval"]);
        expected += 1;
        assert_eq!(client.call(&count, &["n"], &NONE).unwrap().as_i64(), Some(expected), "{binary:?}");
        allow(&mut admin, binary, &["-eval"]);
        admin.ok(&["SCRIPT", "FLUSH"]);
        assert_no_loader(&client.call(&count, &["n"], &NONE).unwrap_err());
        allow(&mut admin, binary, &["+script|load"]);
        expected += 1;
        assert_eq!(client.call(&count, &["n"], &NONE).unwrap().as_i64(), Some(expected), "{binary:?}");
    }
}

#[test]
fn who_may_only_evaluate_sends_every_script_along() {
    for binary in all_versions() {
        println!("{binary:?}");
        let (server, mut admin, url) = without(binary, NO_SHA);
        let client = open(&url);
        count_in_every_form(&client, "n", true);
        // A transaction first, a pipeline first.
        for is_transaction in [true, false] {
            let client = open(&url);
            let count = Script::new(COUNT);
            let key = format!("p{is_transaction}");
            let mut pipeline = if is_transaction { client.transaction() } else { client.pipeline() };
            for round in 0..3 {
                pipeline.script(&count, &[&key], &NONE).unwrap().script(&count, &[&key], &NONE).unwrap();
                let shown = format!("{:?}", pipeline.exec().unwrap());
                assert_eq!(shown, format!("Array[{}, {}]", 2 * round + 1, 2 * round + 2));
            }
        }
        // It costs one round trip, once that is known.
        let before = client.stats().round_trips;
        client.call(&Script::new("return 1"), &NONE, &NONE).unwrap();
        assert_eq!(client.stats().round_trips - before, 1);
        assert_eq!(calls_of(&server, "evalsha"), 0);

        // And back, when that is taken away and the other given.
        admin.ok(&["SCRIPT", "LOAD", COUNT]);
        allow(&mut admin, binary, &["-eval", "+evalsha"]);
        let count = Script::new(COUNT);
        let outcomes: Vec<_> = (0..3).map(|_| client.call(&count, &["m"], &NONE)).collect();
        assert!(outcomes[1..].iter().all(Result::is_ok), "{outcomes:?}");
        if let Err(error) = &outcomes[0] {
            assert!(error.is_not_executed(), "{error}");
        }
    }
}

#[test]
fn who_may_not_evaluate_meets_no_noscript_under_flushes() {
    const CALLS: i64 = 300;
    for binary in [Binary::Default, Binary::Valkey91] {
        let (server, mut admin, url) = without(binary, &["-eval", "-eval_ro"]);
        let client = open(&url);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let flusher = scope.spawn(|| {
                let mut raw = Raw::connect(&server);
                while !done.load(Ordering::Relaxed) {
                    raw.ok(&["SCRIPT", "FLUSH"]);
                }
            });
            let callers: Vec<_> = (0..4)
                .map(|number| {
                    let client = &client;
                    scope.spawn(move || {
                        let own = Script::new(format!("{COUNT} --{number}"));
                        (0..CALLS).all(|_| client.call(&own, &["n"], &NONE).unwrap().as_i64().is_some())
                    })
                })
                .collect();
            let outcomes: Vec<_> = callers.into_iter().map(thread::ScopedJoinHandle::join).collect();
            done.store(true, Ordering::Relaxed);
            flusher.join().unwrap();
            assert!(outcomes.into_iter().all(Result::unwrap));
        });
        assert_eq!(admin.ok(&["GET", "n"]).text(), (4 * CALLS).to_string(), "{binary:?}");
    }
}

#[test]
fn who_may_call_no_scripts_at_all_is_told_so() {
    for binary in all_versions() {
        let (_server, mut admin, url) =
            without(binary, &["-script|load", "-eval", "-eval_ro", "-evalsha", "-evalsha_ro"]);
        admin.ok(&["SCRIPT", "LOAD", COUNT]);
        let client = open(&url);
        let count = Script::new(COUNT);
        for _ in 0..2 {
            let error = client.call(&count, &["n"], &NONE).unwrap_err();
            assert_eq!((error.status(), error.server_code()), (Status::Server, Some("NOPERM")), "{error}");
            assert!(error.is_not_executed(), "{binary:?}: {error}");
            assert!(error.message().contains("this user may neither call scripts nor send them"), "{error}");
        }
        assert_eq!(admin.ok(&["EXISTS", "n"]).integer(), 0);
        allow(&mut admin, binary, &["+evalsha"]);
        assert_eq!(client.call(&count, &["n"], &NONE).unwrap().as_i64(), Some(1), "{binary:?}");
    }
}
