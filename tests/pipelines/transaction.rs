//! Transactions: everything or nothing, never NOSCRIPT, whatever the server or its administrator does in between.

use crate::support;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use rs_script::{Client, Error, Kind, Options, Pipeline, Reply, Script, Status};
use support::calls::{COUNT, MULTIPLY, NONE, client, round_trips, shown};
use support::fake::{Conn, Fake};
use support::raw::{Raw, calls_of};
use support::server::{Server, all_versions};
use support::{OnDrop, wait_until};

/// The error of a transaction of which nothing ran: `key` shows it.
#[track_caller]
fn refused(server: &Server, transaction: &mut Pipeline, key: &str) -> Error {
    let error = transaction.exec().expect_err("a refusal");
    assert!(error.is_not_executed() && !error.is_indeterminate(), "{error}");
    assert_eq!(Raw::connect(server).ok(&["EXISTS", key]).integer(), 0, "{error}");
    assert!(transaction.is_empty() && transaction.arrived().is_none());
    error
}

#[test]
fn a_transaction_takes_one_round_trip_but_for_its_scripts_first_use_on_every_server() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = client(&server);
        let multiply = Script::new(MULTIPLY);
        let mut transaction = client.transaction();
        for (round, expected) in [("first", 2), ("second", 1), ("flushed", 1)] {
            if round == "flushed" {
                Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);
            }
            transaction.command(&["SET", "foo", "5"]).unwrap().script(&multiply, &["foo"], &["5"]).unwrap();
            let (replies, trips) = round_trips(&client, || transaction.exec().unwrap());
            assert_eq!(shown(&replies), r#"Array[Status("OK"), 25]"#, "{binary:?}, {round}");
            assert_eq!(replies.get(1).unwrap().as_i64(), Some(25));
            assert_eq!(trips, expected, "{binary:?}, {round}");
        }
        // Having compiled in a plain call is as good.
        let other = Script::new("return 7");
        client.call(&other, &NONE, &NONE).unwrap();
        transaction.script(&other, &NONE, &NONE).unwrap().script(&multiply, &["foo"], &["2"]).unwrap();
        let (replies, trips) = round_trips(&client, || transaction.exec().unwrap());
        assert_eq!((shown(&replies).as_str(), trips), ("Array[7, 10]", 1), "{binary:?}");
    }
}

#[test]
fn each_distinct_script_is_loaded_once_a_transaction_and_no_load_shows_among_the_replies() {
    let server = Server::start();
    let client = client(&server);
    let scripts: Vec<Script> = (0..100).map(|n| Script::new(format!("return {{{n}, KEYS[1]}}"))).collect();
    let mut transaction = client.transaction();
    for loads in [200, 300] {
        for script in scripts.iter().chain(&scripts) {
            transaction.script(script, &["k"], &NONE).unwrap();
        }
        transaction.command(&["PING"]).unwrap();
        let replies = transaction.exec().unwrap();
        assert_eq!(replies.root().len(), 201);
        for item in 0..200 {
            let shown = format!("{:?}", replies.get(item).unwrap());
            assert_eq!(shown, format!(r#"Array[{}, String("k")]"#, item % 100));
        }
        assert_eq!(replies.get(200).unwrap().as_str(), Some("PONG"));
        assert_eq!(calls_of(&server, "script|load"), loads, "a hundred more for the first use");
    }
}

#[test]
fn a_script_that_does_not_compile_keeps_its_transaction_from_running_wherever_it_stands() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = client(&server);
        let (broken, count) = (Script::new("return ("), Script::new(COUNT));
        let mut transaction = client.transaction();
        for places in [&[0][..], &[1], &[2], &[0, 2]] {
            for item in 0..3 {
                let script = if places.contains(&item) { &broken } else { &count };
                transaction.script(script, &["n"], &NONE).unwrap();
            }
            let error = refused(&server, &mut transaction, "n");
            assert_eq!(error.status(), Status::Compile, "{error}");
            assert!(error.message().contains("ERR Error compiling script"), "{binary:?}: {error}");
        }
        assert_eq!(calls_of(&server, "multi"), 1, "only the handshake's");
        transaction.script(&count, &["n"], &NONE).unwrap();
        assert_eq!(shown(&transaction.exec().unwrap()), "Array[1]");
    }
}

#[test]
fn a_transaction_with_a_script_that_does_not_compile_is_refused_in_every_thread() {
    let server = Server::start();
    let client = client(&server);
    let (broken, count) = (Script::new("return ("), Script::new(COUNT));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (client, broken, count) = (&client, &broken, &count);
            scope.spawn(move || {
                let (mut good, mut bad, mut pipeline) =
                    (client.transaction(), client.transaction(), client.pipeline());
                for round in 1..=50 {
                    bad.script(count, &["bad"], &NONE).unwrap().script(broken, &NONE, &NONE).unwrap();
                    let error = bad.exec().unwrap_err();
                    assert_eq!((error.status(), error.is_not_executed()), (Status::Compile, true), "{error}");
                    pipeline.script(broken, &NONE, &NONE).unwrap();
                    let replies = pipeline.exec().unwrap();
                    let error = replies.get(0).unwrap().as_error().expect("a compile error");
                    assert_eq!(error.status(), Status::Compile, "{error}");
                    let key = format!("good{thread}");
                    good.script(count, &[&key], &NONE).unwrap().command(&["GET", &key]).unwrap();
                    assert_eq!(shown(&good.exec().unwrap()), format!(r#"Array[{round}, String("{round}")]"#));
                }
            });
        }
    });
    assert_eq!(client.command(&["EXISTS", "bad"]).unwrap().as_i64(), Some(0));
}

#[test]
fn a_transaction_that_the_server_aborts_ran_nothing_and_says_which_item_was_at_fault() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = client(&server);
        let count = Script::new(COUNT);
        let mut transaction = client.transaction();
        // The first round's script is new, the second's is not.
        for _ in 0..2 {
            transaction.script(&count, &["n"], &NONE).unwrap().command(&["NO-SUCH-COMMAND", "x"]).unwrap();
            let error = refused(&server, &mut transaction, "n");
            assert_eq!((error.status(), error.server_code()), (Status::TransactionAborted, Some("ERR")));
            let part = "nothing ran: item 1 (NO-SUCH-COMMAND): ERR unknown command";
            assert!(error.message().contains(part), "{binary:?}: {error}");
        }
        transaction.command(&["GET"]).unwrap().script(&count, &["n"], &NONE).unwrap();
        let error = refused(&server, &mut transaction, "n");
        assert_eq!(error.status(), Status::TransactionAborted);
        let part = "nothing ran: item 0 (GET): ERR wrong number of arguments";
        assert!(error.message().contains(part), "{binary:?}: {error}");
        // An abort has cached nothing.
        Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);
        transaction.script(&count, &["n"], &NONE).unwrap().command(&["GET"]).unwrap();
        refused(&server, &mut transaction, "n");
        transaction.script(&count, &["n"], &NONE).unwrap();
        assert_eq!(shown(&transaction.exec().unwrap()), "Array[1]", "{binary:?}");
    }
}

#[test]
fn a_transaction_refused_for_lack_of_memory_ran_nothing_and_works_once_there_is_some() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = client(&server);
        let count = Script::new(COUNT);
        let mut raw = Raw::connect(&server);
        raw.ok(&["CONFIG", "SET", "maxmemory", "1"]);
        let mut transaction = client.transaction();
        for _ in 0..2 {
            transaction.script(&count, &["n"], &NONE).unwrap().command(&["SET", "a", "1"]).unwrap();
            let error = refused(&server, &mut transaction, "n");
            assert_eq!((error.status(), error.server_code()), (Status::TransactionAborted, Some("OOM")));
            assert!(error.message().contains("nothing ran: item "), "{binary:?}: {error}");
        }
        raw.ok(&["CONFIG", "SET", "maxmemory", "0"]);
        transaction.script(&count, &["n"], &NONE).unwrap().command(&["SET", "a", "1"]).unwrap();
        assert_eq!(shown(&transaction.exec().unwrap()), r#"Array[1, Status("OK")]"#, "{binary:?}");
    }
}

#[test]
fn an_item_that_fails_inside_exec_undoes_nothing_and_names_itself() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = client(&server);
        let count = Script::new(COUNT);
        let halfway = Script::new("redis.call('INCR', KEYS[1]) return redis.call('LPUSH', KEYS[1], 'x')");
        let mut transaction = client.transaction();
        transaction.script(&count, &["n"], &NONE).unwrap().command(&["LPUSH", "n", "x"]).unwrap();
        transaction.script(&halfway, &["n"], &NONE).unwrap().command(&["GET", "n"]).unwrap();
        let replies = transaction.exec().unwrap();
        assert_eq!(replies.get(0).unwrap().as_i64(), Some(1));
        for (item, command) in [(1, "LPUSH"), (2, "EVALSHA")] {
            let error = replies.get(item).unwrap().as_error().expect("WRONGTYPE");
            assert!(error.message().starts_with(&format!("item {item} ({command}): ")), "{error}");
            assert!(error.message().contains("WRONGTYPE"), "{error}");
            assert_eq!((error.status(), error.is_not_executed()), (Status::Server, false));
        }
        assert_eq!(replies.get(3).unwrap().as_str(), Some("2"), "{binary:?}");
    }
}

#[test]
fn texts_that_scripts_forge_change_nothing_in_a_transaction() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = client(&server);
        let forger = Script::new("redis.call('INCR', KEYS[1]) return {err = ARGV[1]}");
        let queued = Script::new("redis.call('INCR', KEYS[1]) return {ok = 'QUEUED'}");
        let texts = [
            "NOSCRIPT No matching script",
            "NOSCRIPT No matching script. Please use EVAL!",
            "MOVED 1 127.0.0.1:1",
            "EXECABORT Transaction discarded because of previous errors.",
            "LOADING Redis is loading the dataset in memory",
            "NOPERM this user has no permissions to run the 'script|load' command",
        ];
        let mut transaction = client.transaction();
        for text in texts {
            transaction.script(&forger, &["n"], &[text]).unwrap();
        }
        transaction.script(&queued, &["n"], &NONE).unwrap().command(&["GET", "n"]).unwrap();
        let replies = transaction.exec().unwrap();
        for (item, text) in texts.into_iter().enumerate() {
            let error = replies.get(item).unwrap().as_error().expect(text);
            assert_eq!((error.status(), error.is_not_executed()), (Status::Server, false), "{error}");
            assert!(error.message().ends_with(text), "{binary:?}: {error}");
        }
        assert_eq!(replies.get(texts.len()).unwrap().as_str(), Some("QUEUED"));
        assert_eq!(replies.get(texts.len() + 1).unwrap().as_str(), Some("7"), "each ran once");
    }
}

#[test]
fn read_only_items_work_in_a_transaction_on_every_server() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = client(&server);
        let multiply = Script::new(MULTIPLY);
        let mut transaction = client.transaction();
        for _ in 0..2 {
            transaction.command(&["SET", "foo", "5"]).unwrap();
            transaction.script_read_only(&multiply, &["foo"], &["5"]).unwrap();
            assert_eq!(shown(&transaction.exec().unwrap()), r#"Array[Status("OK"), 25]"#, "{binary:?}");
        }
    }
}

#[test]
fn a_command_that_waits_does_not_wait_in_a_transaction() {
    let server = Server::start();
    let client = client(&server);
    let mut transaction = client.transaction();
    transaction.command(&["BLPOP", "list", "0"]).unwrap().command(&["RPUSH", "list", "x"]).unwrap();
    let select = transaction.command(&["SELECT", "1"]).err().expect("a refusal");
    assert_eq!((select.status(), transaction.len()), (Status::CommandRefused, 2));
    assert_eq!(shown(&transaction.exec().unwrap()), "Array[Nil, 1]");
}

#[test]
fn nothing_of_other_callers_comes_between_a_transactions_items() {
    let server = Server::start();
    let client = client(&server);
    let count = Script::new(COUNT);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut transaction = client.transaction();
                for _ in 0..100 {
                    client.call(&count, &["n"], &NONE).unwrap();
                    for _ in 0..5 {
                        transaction.script(&count, &["n"], &NONE).unwrap();
                    }
                    let replies = transaction.exec().unwrap();
                    let first = replies.get(0).unwrap().as_i64().unwrap();
                    let rest: Vec<_> = replies.root().elements().filter_map(|reply| reply.as_i64()).collect();
                    assert_eq!(rest, (first..first + 5).collect::<Vec<_>>());
                }
            });
        }
    });
    assert_eq!(client.command(&["GET", "n"]).unwrap().as_str(), Some("2400"));
}

#[test]
fn a_transaction_larger_than_the_socket_buffers_does_not_deadlock() {
    const ITEMS: usize = 200_000;
    let server = Server::start();
    let client = client(&server).with_timeout(Duration::from_secs(120));
    let echo = Script::new("return ARGV[1]");
    let large = "x".repeat(16 * 1024 * 1024);
    let mut transaction = client.transaction();
    transaction.script(&echo, &NONE, &[&large]).unwrap();
    for _ in 0..ITEMS {
        transaction.command(&["INCR", "n"]).unwrap();
    }
    transaction.script(&echo, &NONE, &[&large]).unwrap();
    let replies = transaction.exec().unwrap();
    assert_eq!(replies.root().len(), ITEMS + 2);
    assert!(replies.get(0).unwrap().as_str() == Some(&large));
    assert!(replies.get(ITEMS + 1).unwrap().as_str() == Some(&large));
    let numbers = replies.root().elements().skip(1).take(ITEMS).map(|reply| reply.as_i64());
    assert!(numbers.eq((1..=ITEMS as i64).map(Some)));
}

#[test]
fn a_trusted_cache_saves_the_loads_and_a_flush_is_then_that_items_error_while_the_others_run() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = client(&server);
        let count = Script::new(COUNT);
        let mut transaction = client.transaction();
        transaction.trust_cache(true);
        let mut exec = |flush: bool| {
            transaction.script(&count, &["n"], &NONE).unwrap().command(&["INCR", "m"]).unwrap();
            if flush {
                Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);
            }
            let before = client.stats().script_loads;
            let replies = transaction.exec().unwrap();
            (replies, client.stats().script_loads - before)
        };
        exec(false);
        let (replies, loads) = exec(false);
        assert_eq!((shown(&replies).as_str(), loads), ("Array[2, 2]", 0), "{binary:?}");
        let (replies, loads) = exec(true);
        let error = replies.get(0).unwrap().as_error().expect("NOSCRIPT");
        assert_eq!((error.status(), error.is_not_executed()), (Status::NoScript, true), "{error}");
        assert_eq!((replies.get(1).unwrap().as_i64(), loads), (Some(3), 0), "{binary:?}");
        let (replies, loads) = exec(false);
        assert_eq!((shown(&replies).as_str(), loads), ("Array[3, 4]", 1), "{binary:?}");
    }
}

/// Plays a server up to the first transaction of a test, whose commands it gives, MULTI to EXEC.
fn transaction_of(conn: &mut Conn) -> Option<Vec<Vec<Vec<u8>>>> {
    let mut command = conn.handshake()?;
    // The handshake's own transaction is an empty one.
    loop {
        let mut commands = Vec::new();
        loop {
            let is_exec = command[0] == b"EXEC";
            commands.push(command);
            if is_exec {
                break;
            }
            command = conn.read_command()?;
        }
        if commands.len() > 2 {
            return Some(commands);
        }
        conn.write(b"+OK\r\n*0\r\n");
        command = conn.read_command()?;
    }
}

#[test]
fn a_transaction_that_the_server_gives_up_as_after_watch_ran_nothing() {
    for nil in ["_\r\n", "*-1\r\n", "$-1\r\n"] {
        let server = Fake::start(move |conn| {
            if transaction_of(conn).is_some() {
                conn.write(b"+OK\r\n+QUEUED\r\n");
                conn.write(nil.as_bytes());
                conn.hang();
            }
        });
        let client = Client::open(&server.url(), &Options::default()).unwrap();
        let mut transaction = client.transaction();
        transaction.command(&["INCR", "n"]).unwrap();
        let error = transaction.exec().unwrap_err();
        assert_eq!((error.status(), error.is_not_executed()), (Status::TransactionAborted, true), "{error}");
        assert!(!error.is_indeterminate());
    }
}

#[test]
fn an_exec_reply_of_the_wrong_length_is_never_handed_out() {
    for reply in ["*0\r\n", "*2\r\n:1\r\n:2\r\n"] {
        let server = Fake::start(move |conn| {
            if transaction_of(conn).is_some() {
                conn.write(b"+OK\r\n+QUEUED\r\n");
                conn.write(reply.as_bytes());
                conn.hang();
            }
        });
        let client = Client::open(&server.url(), &Options::default()).unwrap();
        let mut transaction = client.transaction();
        transaction.command(&["INCR", "n"]).unwrap();
        let error = transaction.exec().unwrap_err();
        assert_eq!((error.status(), error.is_indeterminate()), (Status::Indeterminate, true), "{error}");
    }
}

#[test]
fn a_flush_in_a_tight_loop_shows_no_transaction_noscript_and_every_count_is_exact() {
    const ROUNDS: i64 = 40;
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = client(&server).with_timeout(Duration::from_secs(60));
        let (count, add) = (Script::new(COUNT), Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])"));
        let flushing = AtomicBool::new(true);
        let flushes = AtomicI64::new(0);
        let missed: i64 = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut raw = Raw::connect(&server);
                while flushing.load(Ordering::SeqCst) {
                    raw.ok(&["SCRIPT", "FLUSH"]);
                    flushes.fetch_add(1, Ordering::SeqCst);
                }
            });
            let callers: Vec<_> = (0..8)
                .map(|thread| {
                    let (client, count, add, flushes) = (&client, &count, &add, &flushes);
                    scope.spawn(move || {
                        let flushed = |times| flushes.load(Ordering::SeqCst) >= times;
                        flushed_caller(client, thread, count, add, ROUNDS, flushed)
                    })
                })
                .collect();
            let _end = OnDrop(|| flushing.store(false, Ordering::SeqCst));
            callers.into_iter().map(|caller| caller.join().unwrap()).sum()
        });
        let mut raw = Raw::connect(&server);
        let total: i64 = raw.ok(&["GET", "total"]).text().parse().unwrap();
        println!("{binary:?}: {flushes:?} flushes, {missed} calls of the total not executed");
        assert_eq!(total, 8 * ROUNDS * 4 - missed, "{binary:?}: nothing twice, nothing missing");
    }
}

/// Calls each script in each way, four times a round, with a few flushes in each; gives how often adding to the total
/// was reported as not executed.
fn flushed_caller(
    client: &Client,
    thread: i64,
    count: &Script,
    add: &Script,
    rounds: i64,
    flushed: impl Fn(i64) -> bool,
) -> i64 {
    let key = format!("own{thread}");
    let (mut own, mut missed) = (0, 0);
    // The caller's own counter tells of every single reply whether it belongs there.
    let mut take = |reply: Result<i64, Error>| match reply {
        Ok(value) => {
            own += 1;
            assert_eq!(value, own);
        }
        Err(error) => assert_not_executed(&error),
    };
    let item = |replies: &Reply, index: usize| {
        let reply = replies.get(index).unwrap();
        reply.as_error().map_or_else(|| Ok(reply.as_i64().expect("a count")), Err)
    };
    let (mut pipeline, mut transaction) = (client.pipeline(), client.transaction());
    for round in 0..rounds {
        take(client.call(count, &[&key], &NONE).map(|reply| reply.as_i64().unwrap()));
        if let Err(error) = client.call(add, &["total"], &["1"]) {
            assert_not_executed(&error);
            missed += 1;
        }

        pipeline.repair_unordered(round % 2 == 1);
        for _ in 0..2 {
            pipeline.script(count, &[&key], &NONE).unwrap().script(add, &["total"], &["1"]).unwrap();
        }
        let replies = pipeline.exec().unwrap();
        for index in [0, 2] {
            take(item(&replies, index));
            if let Err(error) = item(&replies, index + 1) {
                assert_not_executed(&error);
                missed += 1;
            }
        }

        transaction.script(count, &[&key], &NONE).unwrap().script(add, &["total"], &["1"]).unwrap();
        let replies = transaction.exec().unwrap();
        assert!(replies.root().elements().all(|reply| reply.kind() == Kind::Integer), "{replies:?}");
        take(item(&replies, 0));
        wait_until("scripts are flushed", || flushed(3 * round));
    }
    let reply = client.command(&["GET", &key]).unwrap();
    assert_eq!(reply.as_str(), Some(&*own.to_string()));
    missed
}

#[track_caller]
fn assert_not_executed(error: &Error) {
    assert_eq!((error.status(), error.is_not_executed()), (Status::NoScript, true), "{error}");
}
