//! Submitted calls when everything goes wrong at once: each is completed once, and what its completion says is true.

#![allow(clippy::disallowed_types, reason = "no child of fork comes here")]

use crate::support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rs_script::{Client, Completion, Options, Queue, Script, Status};
use support::calls::{COUNT, LONG, MULTIPLY, NONE, client, options, shown, take};
use support::cluster::{Cluster, slot_of};
use support::raw::{Raw, Value};
use support::server::Server;
use support::{OnDrop, SLACK, wait_for, wait_until};

/// Notes that it ran, under an id of its own.
const NOTE: &str = "return redis.call('HINCRBY', KEYS[1], ARGV[1], 1)";

/// What was submitted and what came back.
#[derive(Default)]
struct Account {
    accepted: AtomicU64,
    completions: parking_lot::Mutex<HashMap<u64, Completion>>,
}

impl Account {
    fn drain(&self, queue: &Queue, timeout: Duration) -> usize {
        let mut taken = Vec::new();
        let count = queue.poll(&mut taken, 64, timeout);
        let mut completions = self.completions.lock();
        for completion in taken {
            let before = completions.insert(completion.tag, completion);
            assert!(before.is_none(), "completed twice: {before:?}");
        }
        count
    }

    /// Compares what the completions say with how often each id was executed.
    fn settle(&self, executed: &HashMap<u64, i64>) -> HashMap<Status, usize> {
        let completions = self.completions.lock();
        assert_eq!(completions.len() as u64, self.accepted.load(Ordering::Relaxed), "of the accepted calls");
        let mut errors = HashMap::new();
        for (tag, completion) in &*completions {
            let times = executed.get(tag).copied().unwrap_or(0);
            assert!(times <= 1, "{tag} was executed {times} times");
            match &completion.result {
                Ok(_) => assert_eq!(times, 1, "{tag} was reported as executed"),
                Err(error) => {
                    // A refusal that came too late to be looked into may have been made up by the script: nothing is
                    // claimed then.
                    let is_claimed = error.is_not_executed() != error.is_indeterminate();
                    assert!(is_claimed || error.status() == Status::Server, "{tag}: {error}");
                    assert!(times == 0 || !error.is_not_executed(), "{tag} was executed: {error}");
                    *errors.entry(error.status()).or_default() += 1;
                }
            }
        }
        assert!(executed.keys().all(|tag| completions.contains_key(tag)), "executed, but never accepted");
        errors
    }
}

/// What a server has executed, when nobody else is connected any more.
fn executed(server: &Server, keys: &[String]) -> HashMap<u64, i64> {
    let mut raw = Raw::connect(server);
    wait_until("the clients are gone", || {
        raw.ok(&["CLIENT", "LIST", "TYPE", "normal"]).text().lines().count() == 1
    });
    let mut all = HashMap::new();
    for key in keys {
        pairs(&raw.ok(&["HGETALL", key]), &mut all);
    }
    all
}

fn pairs(reply: &Value, all: &mut HashMap<u64, i64>) {
    for pair in reply.elements().chunks(2) {
        let times = all.entry(pair[0].text().parse().unwrap()).or_default();
        *times += pair[1].text().parse::<i64>().unwrap();
    }
}

/// Threads submit to clients of their own choice, cancel, and have short deadlines, until `storm` returns.
fn under_load(
    clients: &[Client],
    account: &Account,
    capacity: usize,
    key: impl Fn(u64) -> String + Sync,
    storm: impl FnOnce(),
) {
    let queue = Queue::new(capacity).unwrap();
    let note = Script::new(NOTE);
    let next = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let idle = AtomicBool::new(false);
    thread::scope(|scope| {
        let takers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    while account.drain(&queue, Duration::from_millis(20)) > 0
                        || !idle.load(Ordering::Acquire)
                        || !queue.is_empty()
                    {}
                })
            })
            .collect();
        let submitters: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    while !over.load(Ordering::Acquire) {
                        let tag = next.fetch_add(1, Ordering::Relaxed);
                        let client = &clients[fastrand::usize(..clients.len())];
                        let hasty = client.with_timeout(Duration::from_millis(fastrand::u64(1..50)));
                        let client = if tag.is_multiple_of(5) { &hasty } else { client };
                        let (key, id) = (key(tag), tag.to_string());
                        let submitted = match tag % 7 {
                            0 => {
                                let mut pipeline = client.pipeline();
                                pipeline.script(&note, &[&key], &[&id]).unwrap();
                                pipeline.submit(&queue, tag)
                            }
                            1 => client.submit_command(&queue, tag, &["HINCRBY", &key, &id, "1"]),
                            2 if tag.is_multiple_of(3) => {
                                // Blocking calls take the reader's role away, and give it back.
                                let _ = client.with_timeout(Duration::from_millis(3)).command(&["PING"]);
                                continue;
                            }
                            _ => client.submit(&queue, tag, &note, &[&key], &[&id]),
                        };
                        match submitted {
                            Ok(()) => drop(account.accepted.fetch_add(1, Ordering::Relaxed)),
                            Err(error) => match error.status() {
                                Status::QueueFull => thread::yield_now(),
                                Status::Closed => {}
                                _ => panic!("{error}"),
                            },
                        }
                        if tag.is_multiple_of(11) {
                            client.cancel(&queue, tag.saturating_sub(fastrand::u64(..20)));
                        }
                    }
                })
            })
            .collect();
        let last = OnDrop(|| idle.store(true, Ordering::Release));
        let end = OnDrop(|| over.store(true, Ordering::Release));
        storm();
        drop(end);
        submitters.into_iter().for_each(|thread| thread.join().unwrap());
        drop(last);
        takers.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert!(queue.is_empty());
}

/// A pipeline's one item may have failed for itself: then that is the call's end.
fn flatten(account: &Account) {
    for completion in account.completions.lock().values_mut() {
        if let Ok(reply) = &completion.result
            && let Some(error) = reply.get(0).and_then(|item| item.as_error())
        {
            completion.result = Err(error);
        }
    }
}

#[test]
fn the_account_is_exact_whatever_happens_to_connections_clients_and_the_server() {
    let server = Server::start();
    let clients: Vec<_> =
        (0..3).map(|_| Client::open(&server.url(), &options(Duration::from_secs(3))).unwrap()).collect();
    let account = Account::default();
    let mut raw = Raw::connect(&server);
    under_load(
        &clients,
        &account,
        3_000,
        |_| "ran".to_owned(),
        || {
            for round in 0..60 {
                let before = account.completions.lock().len();
                match round % 6 {
                    0..=2 => drop(raw.ok(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])),
                    3 => drop(raw.ok(&["SCRIPT", "FLUSH"])),
                    4 => {
                        server.pause();
                        wait_until("calls end by their deadlines", || {
                            account.completions.lock().len() > before
                        });
                        server.resume();
                    }
                    _ if round == 29 => clients[0].close(),
                    _ => {}
                }
                wait_until("calls end", || account.completions.lock().len() > before + 200);
            }
        },
    );
    drop((raw, clients));
    flatten(&account);
    let errors = account.settle(&executed(&server, &["ran".to_owned()]));
    let completed = account.completions.lock().len();
    assert!(errors.values().sum::<usize>() < completed, "{errors:?} of {completed}");
}

#[test]
fn the_account_is_exact_when_the_server_is_killed_and_comes_back() {
    // What it has answered it still knows after a kill: with `everysec` it may answer before it has written.
    let server = Server::builder().arg("appendonly", "yes").arg("appendfsync", "no").start();
    let clients: Vec<_> =
        (0..2).map(|_| Client::open(&server.url(), &options(Duration::from_secs(3))).unwrap()).collect();
    let account = Account::default();
    under_load(
        &clients,
        &account,
        1_000,
        |_| "ran".to_owned(),
        || {
            for _ in 0..5 {
                let before = account.completions.lock().len();
                wait_until("calls end", || account.completions.lock().len() > before + 500);
                server.kill();
                let before = account.completions.lock().len();
                wait_until("calls fail", || account.completions.lock().len() > before + 50);
                server.restart();
            }
        },
    );
    drop(clients);
    flatten(&account);
    account.settle(&executed(&server, &["ran".to_owned()]));
}

#[test]
fn the_account_is_exact_while_slots_move_and_primaries_hand_over() {
    let cluster = Cluster::start(3, 1);
    let clients: Vec<_> =
        (0..2).map(|_| Client::open(&cluster.cluster_url(), &Options::default()).unwrap()).collect();
    let account = Account::default();
    let key = |tag: u64| format!("key:{}", tag % 40);
    let slot = slot_of(b"key:7");
    under_load(&clients, &account, 500, key, || {
        for round in 0..4 {
            let before = account.completions.lock().len();
            if round % 2 == 0 {
                let from = cluster.primary_of(slot);
                let to = (0..3).map(|n| cluster.primary_of(n * 5461 + 100)).find(|&to| to != from).unwrap();
                cluster.begin_migration(slot, from, to);
                wait_until("calls end", || account.completions.lock().len() > before + 200);
                cluster.finish_migration(slot, from, to);
            } else {
                cluster.failover(slot);
            }
            wait_until("calls end", || account.completions.lock().len() > before + 400);
        }
    });
    drop(clients);
    flatten(&account);
    let mut all = HashMap::new();
    for number in 0..40 {
        let key = format!("key:{number}");
        let mut raw = Raw::connect(cluster.node(cluster.primary_of(slot_of(key.as_bytes()))));
        pairs(&raw.ok(&["HGETALL", &key]), &mut all);
    }
    account.settle(&all);
}

/// A reader whose deadline passes hands its role over, to the next caller or to the thread in the background; or the
/// reply would lie there until something else happens.
#[test]
fn no_wake_up_is_lost_when_a_blocking_reader_leaves() {
    let server = Server::start();
    let client = Client::open(&server.url(), &options(LONG)).unwrap();
    let queue = Queue::new(100).unwrap();
    client.command(&["PING"]).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for micros in [1_000, 1_500] {
            let (client, over) = (client.with_timeout(Duration::from_micros(micros)), &over);
            scope.spawn(move || {
                while !over.load(Ordering::Acquire) {
                    let _ = client.command(&["PING"]);
                    thread::yield_now();
                }
            });
        }
        let end = OnDrop(|| over.store(true, Ordering::Release));
        for round in 0..5_000 {
            for tag in 0..3 {
                client.submit_command(&queue, tag, &["ECHO", "x"]).unwrap();
            }
            let mut taken = Vec::new();
            while taken.len() < 3 {
                let count = queue.poll(&mut taken, 3, LONG);
                assert!(count > 0, "round {round}: a reply is read by nobody");
            }
        }
        drop(end);
    });
}

/// The connection takes no more bytes while a blocking caller is the last to have tried: the thread in the background
/// must go on with it.
#[test]
fn what_a_blocking_caller_could_not_send_is_sent_when_it_has_left() {
    let server = Server::start();
    let client = Client::open(&server.url(), options(LONG).silence_timeout(LONG).unwrap()).unwrap();
    let queue = Queue::new(100).unwrap();
    // So that the thread is there, and polls for replies only.
    client.submit_command(&queue, 0, &["PING"]).unwrap();
    take(&queue, 1);
    for tag in 0..5 {
        server.pause();
        let large = "x".repeat(8 << 20);
        let hasty = client.with_timeout(Duration::from_millis(50));
        thread::scope(|scope| {
            let blocked = scope.spawn(|| hasty.command(&["SET", "large", &large]).unwrap_err());
            wait_until("it is under way", || client.stats().in_flight > 0);
            client.submit_command(&queue, tag, &["PING"]).unwrap();
            assert_eq!(blocked.join().unwrap().status(), Status::Indeterminate);
        });
        server.resume();
        let start = Instant::now();
        assert!(take(&queue, 1)[0].result.is_ok());
        assert!(start.elapsed() < LONG / 2, "{:?}", start.elapsed());
    }
}

#[test]
fn a_million_calls_go_through_a_small_queue() {
    let server = Server::start();
    let client = client(&server);
    let queue = Queue::new(64).unwrap();
    let count = Script::new(COUNT);
    let mut refused = 0_u64;
    let mut taken = Vec::new();
    let mut done = 0;
    let calls = 1_000_000 / if cfg!(debug_assertions) { 10 } else { 1 };
    for tag in 0..calls {
        loop {
            match client.submit(&queue, tag, &count, &["n"], &NONE) {
                Ok(()) => break,
                Err(error) => assert_eq!(error.status(), Status::QueueFull),
            }
            refused += 1;
            done += queue.poll(&mut taken, 64, LONG);
            assert!(taken.drain(..).all(|completion| completion.result.is_ok()));
        }
    }
    done += take(&queue, queue.len()).len();
    assert_eq!(done as u64, calls);
    assert!(refused > 0);
    assert_eq!(Raw::connect(&server).ok(&["GET", "n"]).text(), calls.to_string());
}

#[test]
fn cancelling_leaves_the_calls_of_other_clients_alone() {
    let server = Server::start();
    let [one, other] = [(); 2].map(|()| Client::open(&server.url(), &options(LONG)).unwrap());
    let queue = Queue::new(10).unwrap();
    server.pause();
    one.submit_command(&queue, 7, &["PING"]).unwrap();
    assert_eq!(other.cancel(&queue, 7), 0);
    other.submit_command(&queue, 7, &["ECHO", "x"]).unwrap();
    assert_eq!(one.cancel(&queue, 7), 1);
    assert_eq!(take(&queue, 1).remove(0).result.unwrap_err().status(), Status::Indeterminate);
    server.resume();
    assert_eq!(take(&queue, 1)[0].result.as_ref().unwrap().as_str(), Some("x"));
}

#[test]
fn commands_that_wait_do_not_keep_others_from_a_connection() {
    let server = Server::start();
    let client = Client::open(&server.url(), &options(LONG)).unwrap();
    let queue = Queue::new(1_000).unwrap();
    for tag in 0..40 {
        client.submit_command(&queue, tag, &["BLPOP", "list", "0"]).unwrap();
    }
    let mut raw = Raw::connect(&server);
    wait_until("some wait", || raw.info("clients", "blocked_clients").is_some_and(|count| count != "0"));
    // The shared connection is lost, and has to be made again.
    for id in clients_that_last_ran(&mut raw, "client|setinfo") {
        raw.cmd(&["CLIENT", "KILL", "ID", &id]);
    }
    for tag in 100..140 {
        client.submit_command(&queue, tag, &["RPUSH", "list", "x"]).unwrap();
    }
    let done = take(&queue, 80);
    assert!(done.iter().all(|completion| completion.result.is_ok()), "{done:?}");
}

/// The ids of connections whose last command was this one.
fn clients_that_last_ran(raw: &mut Raw, command: &str) -> Vec<String> {
    let list = raw.ok(&["CLIENT", "LIST"]).text();
    let lines = list.lines().filter(|line| line.contains(&format!("cmd={command}")));
    lines.filter_map(|line| Some(line.strip_prefix("id=")?.split(' ').next()?.to_owned())).collect()
}

#[test]
fn a_deadline_is_kept_also_when_the_connection_is_made_late() {
    let server = Server::start();
    let mut lazy = options(LONG);
    lazy.lazy_connect(true);
    let client = Client::open(&server.url(), &lazy).unwrap();
    let queue = Queue::new(100).unwrap();
    server.pause();
    for (tag, timeout) in [(1, 50), (2, 700)] {
        client.with_timeout(Duration::from_millis(timeout)).submit_command(&queue, tag, &["PING"]).unwrap();
    }
    let start = Instant::now();
    let first = take(&queue, 1).remove(0);
    assert_eq!((first.tag, first.result.unwrap_err().status()), (1, Status::Timeout));
    let second = take(&queue, 1).remove(0);
    assert!(second.tag == 2 && second.result.unwrap_err().is_not_executed());
    assert!((Duration::from_millis(700)..SLACK).contains(&start.elapsed()));
    server.resume();
    wait_for("a connection", || {
        client.submit_command(&queue, 3, &["PING"]).unwrap();
        take(&queue, 1).remove(0).result.ok()
    });
}

#[test]
fn many_threads_poll_one_queue() {
    let server = Server::start();
    let client = client(&server);
    let queue = Queue::new(1_000).unwrap();
    let multiply = Script::new(MULTIPLY);
    client.command(&["SET", "foo", "1"]).unwrap();
    let (taken, over) = (AtomicU64::new(0), AtomicBool::new(false));
    const CALLS: u64 = 20_000;
    thread::scope(|scope| {
        let poll = || {
            let mut into = Vec::new();
            while !over.load(Ordering::Acquire) {
                let count = queue.poll(&mut into, 3, Duration::from_millis(50));
                taken.fetch_add(count as u64, Ordering::AcqRel);
                for completion in into.drain(..) {
                    assert_eq!(shown(&completion.result.unwrap()), completion.tag.to_string());
                }
            }
        };
        let pollers: Vec<_> = (0..4).map(|_| scope.spawn(poll)).collect();
        let end = OnDrop(|| over.store(true, Ordering::Release));
        for tag in 0..CALLS {
            while let Err(error) = client.submit(&queue, tag, &multiply, &["foo"], &[tag.to_string()]) {
                assert_eq!(error.status(), Status::QueueFull);
                assert!(pollers.iter().any(|thread| !thread.is_finished()), "all have failed");
                thread::yield_now();
            }
        }
        wait_until("all are taken", || taken.load(Ordering::Acquire) == CALLS);
        drop(end);
    });
    assert!(queue.is_empty());
}

#[test]
fn calls_are_submitted_inside_a_runtime_of_tokio() {
    let server = Server::start();
    let client = client(&server);
    let queue = Queue::new(10).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        client.submit_command(&queue, 1, &["ECHO", "x"]).unwrap();
        client.submit_command(&queue, 2, &["BLPOP", "none", "0.01"]).unwrap();
        assert!(take(&queue, 2).iter().all(|completion| completion.result.is_ok()));
    });
}

#[test]
fn calls_that_were_not_sent_when_their_server_died_end_together() {
    let server = Server::start();
    let client = Client::open(&server.url(), &options(LONG)).unwrap();
    let queue = Queue::new(10_000).unwrap();
    client.command(&["PING"]).unwrap();
    server.pause();
    // More than the sockets take.
    let large = "x".repeat(4_000);
    for tag in 0..5_000 {
        client.submit_command(&queue, tag, &["SET", "k", &large]).unwrap();
    }
    server.kill();
    let mut taken = Vec::new();
    let start = Instant::now();
    while taken.len() < 5_000 {
        assert!(queue.poll(&mut taken, 5_000, LONG) > 0, "{} ended", taken.len());
    }
    assert!(taken.iter().any(|completion| completion.result.as_ref().unwrap_err().is_not_executed()));
    // Each by itself would have had to try the connection again for as long.
    assert!(start.elapsed() < LONG / 2, "{:?}", start.elapsed());
}
