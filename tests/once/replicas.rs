//! Calls that happen exactly once and count as done only when replicas have them: WAIT, and primaries that die.

use crate::support;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rs_script::{Client, Library, Once, Options, Script, Status};
use support::cluster::{Cluster, slot_of};
use support::proxy::Proxy;
use support::raw::{Raw, blocked_clients, calls_of};
use support::replication::Replicated;
use support::sentinel::Sentinels;
use support::server::{Builder, Server};
use support::{OnDrop, SLACK, wait_for, wait_until};

const COUNT: &str = "return redis.call('INCR', KEYS[1])";

/// What no call here comes near to.
const LONG: Duration = Duration::from_secs(120);

/// For how long replicas are waited for at each attempt.
const WAIT: Duration = Duration::from_millis(100);

fn once(replicas: u32) -> Script {
    Script::new(COUNT).once(&Once::default().wait(replicas, WAIT)).expect("a script")
}

fn client(url: &str, timeout: Duration) -> Client {
    let mut options = Options::default();
    options.call_timeout(timeout).unwrap();
    Client::open(url, &options).expect("a client")
}

fn get(server: &Server, key: &str) -> String {
    Raw::connect(server).ok(&["GET", key]).text()
}

#[test]
fn a_call_is_over_when_its_replica_has_it() {
    let servers = Replicated::start(1);
    servers.wait_until_in_sync();
    let client = client(&servers.url(), LONG);
    let script = once(1);
    for expected in 1..=20 {
        assert_eq!(script.key("n").call::<u64>(&client), Ok(expected));
        // Not a moment later.
        assert_eq!(get(servers.replica(0), "n"), expected.to_string());
    }
    let tokens = Raw::connect(servers.replica(0)).ok(&["KEYS", "rs:once:*"]);
    assert_eq!(tokens.elements().len(), 20);
    // On a busy machine a replica may take longer than a call waits for it.
    assert!(calls_of(servers.primary(), "wait") >= 20);
}

#[test]
fn without_a_replica_the_call_has_run_and_says_so_and_is_done_once_there_is_one() {
    let servers = Replicated::start(1);
    servers.detach(0);
    wait_until("the replica is gone", || {
        Raw::connect(servers.primary()).info("replication", "connected_slaves").as_deref() == Some("0")
    });
    let hasty = client(&servers.url(), Duration::from_secs(2));
    let script = once(1);
    let call = script.key("n").token("t");
    let error = call.call::<u64>(&hasty).unwrap_err();
    assert_eq!(error.status(), Status::NotReplicated, "{error}");
    assert!(error.is_indeterminate() && !error.is_not_executed());
    assert_eq!(get(servers.primary(), "n"), "1");
    let patient = client(&servers.url(), LONG);
    std::thread::scope(|scope| {
        let waits = calls_of(servers.primary(), "wait");
        let caller = scope.spawn(|| call.call::<u64>(&patient));
        wait_until("it is sent again", || calls_of(servers.primary(), "wait") >= waits + 2);
        servers.attach(0);
        assert_eq!(caller.join().unwrap(), Ok(1));
    });
    assert_eq!(get(servers.replica(0), "n"), "1");
}

/// Between two attempts nothing of the call is under way: what it may have done is remembered all the same.
#[test]
fn closed_while_a_call_that_has_run_is_to_be_sent_again() {
    let server = Server::start();
    let script = Script::new(COUNT).once(&Once::default().wait(1, Duration::from_millis(1))).unwrap();
    for round in 0..8 {
        let client = client(&server.url(), LONG);
        let key = format!("n{round}");
        std::thread::scope(|scope| {
            let waits = calls_of(&server, "wait");
            let caller = scope.spawn(|| script.key(&key).call::<u64>(&client));
            // The pauses are longer than a WAIT by far.
            wait_until("it has been sent again", || calls_of(&server, "wait") > waits + 3);
            std::thread::sleep(Duration::from_millis(5 * round));
            client.close();
            let error = caller.join().unwrap().unwrap_err();
            assert!(error.is_indeterminate() && !error.is_not_executed(), "{error}");
        });
        assert_eq!(get(&server, &key), "1");
    }
}

/// Scripts that write, and then raise an error or give one back.
const ENDING_IN_AN_ERROR: [&str; 2] = [
    "redis.call('INCR', KEYS[1]) redis.call('LPUSH', KEYS[1], 'x')",
    "redis.call('INCR', KEYS[1]) return redis.error_reply('MINE it ends here')",
];

/// Writes, and then says that nothing was run.
const MADE_UP: &str = "redis.call('INCR', KEYS[1]) return redis.error_reply(ARGV[1])";

const REFUSALS: [&str; 9] = [
    "READONLY You can't write against a read only replica.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "NOREPLICAS Not enough good replicas to write.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "LOADING Redis is loading the dataset in memory",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "NOSCRIPT No matching script. Please use EVAL.",
    "NOPERM No permissions to access a key",
    "TRYAGAIN Multiple keys request during rehashing of slot",
];

#[test]
fn what_was_written_before_an_error_is_waited_for_too() {
    let server = Server::start();
    let hasty = client(&server.url(), Duration::from_secs(2));
    for (number, source) in ENDING_IN_AN_ERROR.into_iter().enumerate() {
        let script = Script::new(source).once(&Once::default().wait(1, WAIT)).unwrap();
        let key = format!("n{number}");
        let error = script.key(&key).call::<u64>(&hasty).unwrap_err();
        assert_eq!(error.status(), Status::NotReplicated, "{error}");
        assert_eq!(get(&server, &key), "1");
    }
}

/// A script may say what servers say that have run nothing.
#[test]
fn what_was_written_before_an_error_in_the_servers_words_is_waited_for_too() {
    let server = Server::start();
    let library =
        format!("#!lua name=made_up\nredis.register_function('made_up', function(KEYS, ARGV) {MADE_UP} end)");
    let once = Once::default().wait(1, WAIT);
    let library = Library::pinned(library).unwrap().once(&once).unwrap();
    let scripts = [Script::new(MADE_UP).once(&once).unwrap(), library.function("made_up").unwrap()];
    std::thread::scope(|scope| {
        let cases = REFUSALS.into_iter().flat_map(|text| scripts.iter().map(move |script| (text, script)));
        for (number, (text, script)) in cases.enumerate() {
            let server = &server;
            scope.spawn(move || {
                let hasty = client(&server.url(), Duration::from_secs(2));
                let key = format!("n{number}");
                let error = script.key(&key).arg(text).call::<u64>(&hasty).unwrap_err();
                assert_eq!(error.status(), Status::NotReplicated, "{text}: {error}");
                assert!(error.is_indeterminate() && !error.is_not_executed(), "{text}: {error}");
                assert_eq!(get(server, &key), "1", "{text}");
            });
        }
    });
}

/// What an earlier version of the wrapper has stored: the same words without a mark.
#[test]
fn a_reply_in_the_servers_words_that_was_stored_before_there_was_a_mark_is_the_scripts_own() {
    let server = Server::start();
    let mut raw = Raw::connect(&server);
    let client = client(&server.url(), LONG);
    let script = Script::new(MADE_UP).once(&Once::default()).unwrap();
    for text in REFUSALS {
        let call = script.key("n").arg(text).token(text);
        let error = call.call::<u64>(&client).unwrap_err();
        assert_eq!(error.server_text(), Some(format!("{text} script: once").as_bytes()));
        let key = raw.ok(&["KEYS", "rs:once:*"]).elements()[0].text();
        let record = raw.ok(&["GET", &key]).text();
        raw.ok(&["SET", &key, record.strip_suffix(" script: once").expect("a mark"), "PX", "100000"]);
        assert_eq!(call.call::<u64>(&client).unwrap_err(), error);
        assert!(!error.is_not_executed());
        assert_eq!(get(&server, "n"), "1");
        raw.ok(&["FLUSHALL"]);
    }
}

/// The server refuses all writes, also that its token lives on: what has run has run all the same.
fn a_refusal_to_write_does_not_end_what_has_run(url: &str, server: &Server) {
    for source in [COUNT, "#!lua\nreturn redis.call('INCR', KEYS[1])"] {
        let mut raw = Raw::connect(server);
        let script = Script::new(source).once(&Once::default().wait(1, WAIT)).unwrap();
        let refuse = |raw: &mut Raw, replicas: &str| {
            raw.ok(&["CONFIG", "SET", "min-replicas-to-write", replicas]);
        };
        for is_closed in [false, true] {
            refuse(&mut raw, "0");
            raw.ok(&["DEL", "n"]);
            let patient = client(url, Duration::from_secs(if is_closed { 120 } else { 4 }));
            std::thread::scope(|scope| {
                let waits = calls_of(server, "wait");
                let caller = scope.spawn(|| script.key("n").call::<u64>(&patient));
                wait_until("it has been sent again", || calls_of(server, "wait") > waits + 2);
                refuse(&mut raw, "1");
                if is_closed {
                    let waits = calls_of(server, "wait");
                    wait_until("it is refused, and sent again", || calls_of(server, "wait") > waits + 2);
                    assert!(!caller.is_finished());
                    patient.close();
                }
                let error = caller.join().unwrap().unwrap_err();
                assert!(error.is_indeterminate() && !error.is_not_executed(), "{error}");
                assert_eq!(get(server, "n"), "1");
            });
        }
        // What has not run is refused, and nothing of it is there; nor is its token.
        raw.ok(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
        let patient = client(url, LONG);
        let fresh = Script::new(source).once(&Once::default()).unwrap();
        let call = fresh.key("n").token(source);
        let error = call.call::<u64>(&patient).unwrap_err();
        assert_eq!((error.server_code(), error.is_indeterminate()), (Some("NOREPLICAS"), false), "{error}");
        assert_eq!(get(server, "n"), "1");
        refuse(&mut raw, "0");
        assert_eq!(call.call::<u64>(&patient), Ok(2));
        refuse(&mut raw, "1");
        // Nor is a repeat told what it cannot be: that it lives on was refused.
        let error = call.call::<u64>(&patient).unwrap_err();
        assert_eq!((error.server_code(), error.is_indeterminate()), (Some("NOREPLICAS"), false), "{error}");
        refuse(&mut raw, "0");
        assert_eq!(call.call::<u64>(&patient), Ok(2));
    }
}

#[test]
fn a_refusal_to_write_does_not_end_what_has_run_on_a_single_server() {
    let server = Server::start();
    a_refusal_to_write_does_not_end_what_has_run(&server.url(), &server);
}

#[test]
fn a_refusal_to_write_does_not_end_what_has_run_in_a_cluster() {
    let cluster = Cluster::start(3, 0);
    a_refusal_to_write_does_not_end_what_has_run(
        &cluster.cluster_url(),
        cluster.node(cluster.primary_of(slot_of(b"n"))),
    );
}

#[test]
fn a_refusal_to_write_does_not_end_what_has_run_behind_sentinels() {
    let service = Sentinels::start(0);
    a_refusal_to_write_does_not_end_what_has_run(&service.url(), service.primary());
}

#[test]
fn an_error_whose_connection_is_lost_before_replicas_have_it_is_asked_for_again() {
    let server = Server::start();
    let waiting = || -> Option<String> {
        let clients = Raw::connect(&server).ok(&["CLIENT", "LIST"]).text();
        let line = clients.lines().find(|line| line.contains(" cmd=wait "))?;
        Some(line.split_once(' ').expect("an id").0.replace("id=", ""))
    };
    for (number, source) in ENDING_IN_AN_ERROR.into_iter().enumerate() {
        let script = Script::new(source).once(&Once::default().wait(1, LONG)).unwrap();
        let key = format!("n{number}");
        let patient = client(&server.url(), LONG);
        std::thread::scope(|scope| {
            let caller = scope.spawn(|| script.key(&key).call::<u64>(&patient));
            let mut last = None;
            for lost in 0..3 {
                let now = wait_for("it waits for replicas", || {
                    assert!(!caller.is_finished(), "after {lost} lost connections");
                    waiting().filter(|now| Some(now) != last.as_ref())
                });
                Raw::connect(&server).ok(&["CLIENT", "KILL", "ID", &now]);
                last = Some(now);
            }
            patient.close();
            assert!(caller.join().unwrap().unwrap_err().is_indeterminate());
        });
        assert_eq!(get(&server, &key), "1");
    }
}

#[test]
fn a_primary_that_is_a_replica_for_a_while_runs_the_call_when_it_is_one_again() {
    let servers = Replicated::start(1);
    servers.wait_until_in_sync();
    let primary = &servers.servers()[0];
    let patient = client(&servers.url(), LONG);
    let script = once(1);
    assert_eq!(script.key("n").call::<u64>(&patient), Ok(1));
    servers.promote(0);
    std::thread::scope(|scope| {
        let calls = calls_of(primary, "evalsha");
        let caller = scope.spawn(|| script.key("n").call::<u64>(&patient));
        wait_until("it is refused, and sent again", || calls_of(primary, "evalsha") >= calls + 2);
        servers.promote(0);
        assert_eq!(caller.join().unwrap(), Ok(2));
    });
}

/// The replica's refusal is about the next attempt; the one before has run.
#[test]
fn a_call_that_has_run_on_a_server_that_stays_a_replica_is_not_said_to_be_refused() {
    for attempts in [0, 1] {
        let server = Server::start();
        let mut options = Options::default();
        options.call_timeout(Duration::from_secs(3)).unwrap().reconnect_attempts(attempts);
        let client = Client::open(&server.url(), &options).unwrap();
        let script = once(1);
        std::thread::scope(|scope| {
            let caller = scope.spawn(|| script.key("n").call::<u64>(&client));
            wait_until("it has run", || calls_of(&server, "wait") > 1);
            Raw::connect(&server).ok(&["REPLICAOF", "127.0.0.1", "1"]);
            let error = caller.join().unwrap().unwrap_err();
            assert_eq!(error.status(), Status::NotReplicated, "{attempts}: {error}");
            assert!(error.is_indeterminate(), "{error}");
        });
    }
}

/// The words that end WAIT say nothing of the call in front of it, not even of a function whose own errors are marked.
#[test]
fn a_call_whose_first_waiting_a_demotion_ends_has_run_all_the_same() {
    let library =
        format!("#!lua name=counting\nredis.register_function('count', function(KEYS) {COUNT} end)");
    let once = Once::default().wait(1, LONG);
    let library = Library::pinned(library).unwrap().once(&once).unwrap();
    for script in [Script::new(COUNT).once(&once).unwrap(), library.function("count").unwrap()] {
        let server = Server::start();
        let hasty = client(&server.url(), Duration::from_secs(3));
        std::thread::scope(|scope| {
            let caller = scope.spawn(|| script.key("n").call::<u64>(&hasty));
            wait_until("it waits", || blocked_clients(&server) == 1);
            Raw::connect(&server).ok(&["REPLICAOF", "127.0.0.1", "1"]);
            let error = caller.join().unwrap().unwrap_err();
            assert_eq!(error.status(), Status::NotReplicated, "{error}");
            assert!(error.is_indeterminate() && !error.is_not_executed(), "{error}");
        });
    }
}

/// What only reads does no harm when it is sent again along with one that waits.
#[test]
fn a_pipeline_that_reads_as_well_is_sent_again_until_there_is_a_replica() {
    let servers = Replicated::start(1);
    servers.wait_until_in_sync();
    servers.detach(0);
    let client = client(&servers.url(), LONG);
    let script = once(1);
    let reads = Script::new("return redis.call('GET', KEYS[1])");
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let mut pipeline = client.pipeline();
            pipeline.script(&script, "n", ()).unwrap().script_read_only(&reads, "n", ()).unwrap();
            pipeline.exec().map(|replies| replies.to::<[u64; 2]>().unwrap())
        });
        wait_until("it is sent again", || calls_of(servers.primary(), "wait") >= 8 || caller.is_finished());
        servers.attach(0);
        assert_eq!(caller.join().unwrap(), Ok([1, 1]));
    });
}

/// A server that becomes a replica while a call waits for replicas there ends the waiting with an error; it may have
/// lost what the call did, or another server has it by now.
#[test]
fn a_call_whose_waiting_a_failover_ends_is_sent_again() {
    let servers = Replicated::start(2);
    servers.wait_until_in_sync();
    let primary = &servers.servers()[0];
    servers.detach(1);
    wait_until("one replica is gone", || {
        Raw::connect(primary).info("replication", "connected_slaves").as_deref() == Some("1")
    });
    let patient = client(&servers.url(), LONG);
    let script = Script::new(COUNT).once(&Once::default().wait(2, LONG)).expect("a script");
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| script.key("n").call::<u64>(&patient));
        wait_until("it waits for the other", || blocked_clients(primary) == 1);
        servers.promote(0);
        servers.promote(0);
        assert_eq!(caller.join().unwrap(), Ok(1));
    });
    assert!((0..2).all(|replica| get(servers.replica(replica), "n") == "1"));
}

#[test]
fn a_user_without_wait_is_told_at_once() {
    let servers = Replicated::start(1);
    Raw::connect(servers.primary()).ok(&["ACL", "SETUSER", "clerk", "on", ">secret", "~*", "+@all", "-wait"]);
    let client = client(&servers.url().replace("redis://", "redis://clerk:secret@"), LONG);
    let error = once(1).key("n").call::<u64>(&client).unwrap_err();
    assert_eq!((error.status(), error.server_code()), (Status::NotReplicated, Some("NOPERM")), "{error}");
    assert!(error.is_indeterminate());
    assert_eq!(get(servers.primary(), "n"), "1");
}

#[test]
fn one_wait_is_for_all_of_a_pipeline_or_transaction() {
    let servers = Replicated::start(1);
    servers.wait_until_in_sync();
    let client = client(&servers.url(), LONG);
    // With a plain script in it a pipeline is not sent again: the replica has all the time that it needs.
    let script = Script::new(COUNT).once(&Once::default().wait(1, LONG)).unwrap();
    let plain = Script::new(COUNT);
    for (number, mut pipeline) in [client.pipeline(), client.transaction()].into_iter().enumerate() {
        let key = format!("n{number}");
        for _ in 0..50 {
            pipeline.script(&script, &*key, ()).unwrap();
        }
        pipeline.script(&plain, &*key, ()).unwrap().command(("INCR", &key)).unwrap();
        let values: Vec<u64> = pipeline.exec().expect("replies").to().unwrap();
        assert!(values.into_iter().eq(1..=52));
        assert_eq!(get(servers.replica(0), &key), "52");
        assert_eq!(calls_of(servers.primary(), "wait"), number as u64 + 1);
    }
    // Flushed in between: what is sent again has a WAIT of its own.
    Raw::connect(servers.primary()).ok(&["SCRIPT", "FLUSH"]);
    let mut pipeline = client.pipeline();
    pipeline.script(&script, "m", ()).unwrap().script(&script, "m", ()).unwrap();
    assert_eq!(pipeline.exec().unwrap().to::<[u64; 2]>().unwrap(), [1, 2]);
    assert_eq!(get(servers.replica(0), "m"), "2");
}

#[test]
fn a_pipeline_that_is_on_too_few_replicas_has_its_replies_all_the_same() {
    let server = Server::start();
    let client = client(&server.url(), Duration::from_secs(2));
    let mut pipeline = client.pipeline();
    pipeline.script(&once(1), "n", ()).unwrap().command(("INCR", "n")).unwrap();
    let error = pipeline.exec().unwrap_err();
    // One of its items would happen again, so it is not sent again.
    assert_eq!(error.status(), Status::NotReplicated, "{error}");
    assert_eq!(pipeline.arrived().expect("the replies").to::<[u64; 2]>().unwrap(), [1, 2]);
    assert_eq!((get(&server, "n"), calls_of(&server, "wait")), ("2".into(), 1));
}

/// The server is asked whether it has said that, and has answered WAIT by then.
#[test]
fn an_error_that_the_server_is_asked_about_does_not_do_for_replicas() {
    let server = Server::start();
    let client = client(&server.url(), Duration::from_secs(2));
    let says = Script::new("return redis.error_reply('NOSCRIPT says the script')");
    for mut pipeline in [client.pipeline(), client.transaction()] {
        pipeline.script(&once(1), "n", ()).unwrap().script(&says, (), ()).unwrap();
        let error = pipeline.exec().unwrap_err();
        assert_eq!(error.status(), Status::NotReplicated, "{error}");
        // Of a transaction that does not count as done, no reply is given.
        let said = pipeline.arrived().map(|replies| replies.get(1).unwrap().as_error().unwrap().status());
        assert!(said.is_none_or(|said| said == Status::Server));
    }
    assert_eq!((get(&server, "n"), calls_of(&server, "wait")), ("2".into(), 2));
}

#[test]
fn others_do_not_wait_behind_one_that_waits() {
    let server = Server::start();
    let client = client(&server.url(), LONG);
    let script = Script::new(COUNT).once(&Once::default().wait(1, Duration::from_secs(3600))).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| script.key("n").timeout(SLACK / 3).call::<u64>(&client));
        wait_until("it waits", || blocked_clients(&server) == 1);
        client.command("PING").expect("an answer");
        assert!(!waiting.is_finished());
        let error = waiting.join().unwrap().unwrap_err();
        assert!(error.is_indeterminate() && error.is_timeout(), "{error}");
    });
}

/// How often a primary dies under load.
fn kills() -> usize {
    // RS_SCRIPT_LONG=1: what the README promises.
    if std::env::var_os("RS_SCRIPT_LONG").is_some_and(|value| value == "1") { 20 } else { 2 }
}

#[test]
fn a_primary_killed_again_and_again_under_a_million_calls_loses_none_and_runs_none_twice() {
    let servers = Replicated::start(1);
    servers.wait_until_in_sync();
    let proxy = Proxy::start(servers.primary().address());
    let client = client(&proxy.url(), LONG);
    let script = once(1);
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let values: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut values = Vec::new();
                    while !stop.load(Ordering::SeqCst) {
                        let value = script.key("n").call::<u64>(&client);
                        values.push(value.expect("a reply, and never a question"));
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                    assert!(values.is_sorted(), "in order");
                    values
                })
            })
            .collect();
        let end = OnDrop(|| stop.store(true, Ordering::SeqCst));
        for _ in 0..kills() {
            let before = done.load(Ordering::SeqCst);
            wait_until("calls are done", || done.load(Ordering::SeqCst) >= before + 40);
            let old = servers.primary();
            old.kill();
            servers.promote(0);
            proxy.lead_to(servers.primary().address());
            old.restart();
            servers.attach(0);
        }
        let before = done.load(Ordering::SeqCst);
        wait_until("calls are done", || done.load(Ordering::SeqCst) >= before + 40);
        drop(end);
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(get(servers.primary(), "n"), values.len().to_string());
    assert_eq!(values.iter().collect::<HashSet<_>>().len(), values.len(), "every value once");
    println!("{} calls, {} primaries killed", values.len(), kills());
}

fn connections_of(server: &Server) -> u64 {
    let counted = Raw::connect(server).info("stats", "total_connections_received");
    // But for this one.
    counted.and_then(|count| count.parse::<u64>().ok()).expect("a count") - 1
}

fn loads_of(server: &Server) -> u64 {
    calls_of(server, "script|load")
}

#[test]
fn one_call_after_the_other_takes_one_connection_and_loads_its_script_once() {
    let servers = Replicated::start(1);
    servers.wait_until_in_sync();
    let client = client(&servers.url(), LONG);
    let script = once(1);
    assert_eq!(script.key("n").call::<u64>(&client), Ok(1));
    let before = connections_of(servers.primary());
    for expected in 2..=50 {
        assert_eq!(script.key("n").call::<u64>(&client), Ok(expected));
        assert_eq!(get(servers.replica(0), "n"), expected.to_string());
    }
    // One looked for the count before, and one now.
    assert_eq!(connections_of(servers.primary()), before + 1);
    assert_eq!(loads_of(servers.primary()), 1);
}

#[test]
fn two_threads_take_two_connections_and_never_the_same_at_once() {
    let servers = Replicated::start(1);
    servers.wait_until_in_sync();
    let client = client(&servers.url(), LONG);
    let before = connections_of(servers.primary());
    let script = once(1);
    let values: HashSet<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let call = |_| script.key("n").call::<u64>(&client).expect("a reply");
                    (0..200).map(call).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(values, (1..=400).collect());
    assert!(connections_of(servers.primary()) <= before + 1 + 2);
    assert!(loads_of(servers.primary()) <= 2);
}

#[test]
fn a_kept_connection_that_the_server_has_closed_is_not_used() {
    let servers = Replicated::start(1);
    servers.wait_until_in_sync();
    let client = client(&servers.url(), LONG);
    // One that is not sent again by itself: it would end as indeterminate.
    let patient = Once::default().wait(1, LONG);
    let (script, plain) = (Script::new(COUNT).once(&patient).expect("a script"), Script::new(COUNT));
    for expected in [[1, 2], [3, 4], [5, 6]] {
        let mut pipeline = client.pipeline();
        pipeline.script(&script, "n", ()).unwrap().script(&plain, "n", ()).unwrap();
        let values = pipeline.exec().expect("replies").to::<[u64; 2]>();
        assert_eq!(values, Ok(expected));
        Raw::connect(servers.primary()).ok(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    }
}

#[test]
fn kept_connections_make_room_for_commands_that_wait() {
    let servers = Replicated::start(1);
    servers.wait_until_in_sync();
    let mut options = Options::default();
    options.max_waiting(1).unwrap().call_timeout(LONG).unwrap();
    let client = Client::open(&servers.url(), &options).expect("a client");
    for expected in 1..=3 {
        assert_eq!(once(1).key("n").call::<u64>(&client), Ok(expected));
        client.command(("RPUSH", "list", "x")).unwrap();
        client.command(("BLPOP", "list", 0)).expect("an element");
    }
}

#[test]
fn a_kept_connection_is_closed_when_nobody_needs_it() {
    let servers = Replicated::start(1);
    servers.wait_until_in_sync();
    let client = client(&servers.url(), LONG);
    assert_eq!(once(1).key("n").call::<u64>(&client), Ok(1));
    let connected = || {
        let count = Raw::connect(servers.primary()).info("clients", "connected_clients");
        count.and_then(|count| count.parse::<u64>().ok()).expect("a count")
    };
    let all = connected();
    // What the client does next, the client does in time: a call that the engine is asked for.
    wait_until("it is closed", || {
        client.command(("BLPOP", "nothing", "0.01")).expect("nothing");
        connected() < all
    });
}

/// What ran on a server: how often each call did.
fn ran_on(server: &Server) -> HashMap<String, u64> {
    let pairs = Raw::connect(server).ok(&["HGETALL", "ran"]);
    let pairs = pairs.elements().chunks(2);
    pairs.map(|pair| (pair[0].text(), pair[1].text().parse().expect("a count"))).collect()
}

/// Waits until all that a server has is in its log, behind the sync that it came by: what is killed now comes back.
fn wait_until_logged(server: &Server) {
    let is =
        |field: &str, value: &str| Raw::connect(server).info("persistence", field).as_deref() == Some(value);
    wait_until("the log is written", || {
        is("aof_rewrite_in_progress", "0")
            && is("aof_rewrite_scheduled", "0")
            && is("aof_last_bgrewrite_status", "ok")
    });
}

/// Without WAIT a primary that dies takes with it what it has acknowledged and not replicated. That is told apart by
/// the dead primary's own log: an effect that was acknowledged and is missing is the server's loss if the old primary
/// had it and the new one, when it took over, had not. There is no other loss, and nothing runs twice.
#[test]
fn without_wait_what_is_lost_of_a_million_calls_is_what_a_dead_primary_had_to_itself() {
    let durable = |server: Builder| server.arg("appendonly", "yes").arg("appendfsync", "no");
    let servers = Replicated::builder(1).each(durable).start();
    servers.wait_until_in_sync();
    let proxy = Proxy::start(servers.primary().address());
    let client = client(&proxy.url(), LONG);
    let count = "return redis.call('HINCRBY', KEYS[1], ARGV[1], 1)";
    let script = Script::new(count).once(&Once::default()).expect("a script");
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    // What is logged and synchronised stays small: callers wait for more to be allowed, while servers do that.
    let allowed = AtomicU64::new(0);
    let calls_go_on = || {
        allowed.fetch_add(1000, Ordering::SeqCst);
        let before = done.load(Ordering::SeqCst);
        wait_until("calls are done", || done.load(Ordering::SeqCst) >= before + 40);
    };
    // Which calls only the dead primaries had.
    let mut only_there = HashSet::new();
    let acknowledged: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (client, script, stop, done) = (&client, &script, &stop, &done);
                let allowed = &allowed;
                scope.spawn(move || {
                    let mut acknowledged = Vec::new();
                    while !stop.load(Ordering::SeqCst) {
                        if done.load(Ordering::SeqCst) >= allowed.load(Ordering::SeqCst) {
                            std::thread::sleep(Duration::from_millis(1));
                            continue;
                        }
                        let call = format!("{thread}-{}", acknowledged.len());
                        let ran = script.key("ran").arg(&*call).token(&*call).call::<u64>(client);
                        assert_eq!(ran, Ok(1), "{call}");
                        acknowledged.push(call);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                    acknowledged
                })
            })
            .collect();
        let end = OnDrop(|| stop.store(true, Ordering::SeqCst));
        for kill in 0..kills() {
            calls_go_on();
            let old = servers.primary();
            wait_until_logged(old);
            if kill % 2 == 0 {
                // So that there is something to lose.
                servers.detach(0);
                calls_go_on();
            }
            old.kill();
            servers.promote(0);
            let new = ran_on(servers.primary());
            // Nobody calls it before this.
            proxy.lead_to(servers.primary().address());
            // Of the old one, what it had when it died; then it follows.
            old.restart();
            only_there.extend(ran_on(old).into_keys().filter(|call| !new.contains_key(call)));
            servers.attach(0);
        }
        calls_go_on();
        drop(end);
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let ran = ran_on(servers.primary());
    let twice: Vec<_> = ran.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let missing: HashSet<&String> = acknowledged.iter().filter(|call| !ran.contains_key(*call)).collect();
    let unexplained: Vec<_> = missing.iter().filter(|call| !only_there.contains(**call)).collect();
    assert!(
        unexplained.is_empty(),
        "acknowledged, and no primary that died had them to itself: {unexplained:?}"
    );
    assert!(missing.len() >= 40, "{} were acknowledged by a primary that was alone", missing.len());
    // The account: all that ran was acknowledged, and all that was acknowledged ran once or is a server's loss.
    assert_eq!(ran.len() + missing.len(), acknowledged.len());
    let again = only_there.iter().filter(|call| ran.contains_key(*call)).count();
    println!(
        "{} calls, {} primaries killed: {} lost by servers, {again} sent again and run on the next, none twice",
        acknowledged.len(),
        kills(),
        missing.len(),
    );
}
