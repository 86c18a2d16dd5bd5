//! An error that says "not executed" is never wrong, and one that could say so does: whatever refused a call, and
//! wherever it went after that.

use crate::support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rs_script::{Client, Error, Options, Queue, Reason, Route, Script, Status};
use support::calls::{COUNT, LONG, NONE, options, take, with_longer_deadlines};
use support::cluster::{Cluster, slot_of};
use support::fake::Fake;
use support::nodes::{Nodes, converse};
use support::raw::Raw;
use support::{OnDrop, wait_until};

/// Counts, and then fails in the words of its argument.
const FORGE: &str = "redis.call('INCR', KEYS[1]) return redis.error_reply(ARGV[1])";

fn open(cluster: &Cluster, timeout: Duration) -> Client {
    Client::open(&cluster.cluster_url(), &options(timeout)).unwrap()
}

fn address(cluster: &Cluster, node: usize) -> String {
    format!("127.0.0.1:{}", cluster.node(node).port())
}

/// The addresses of all that the client takes for primaries.
fn primaries(client: &Client) -> Vec<String> {
    let reply = client.with_route(Route::AllPrimaries).unwrap().command(&["DBSIZE"]).unwrap();
    let mut names: Vec<String> =
        reply.root().elements().step_by(2).map(|name| name.as_str().unwrap().to_owned()).collect();
    names.sort_unstable();
    names
}

#[track_caller]
fn ran_once(cluster: &Cluster, node: usize, key: &str, error: &Error) {
    assert!(!error.is_not_executed(), "it ran: {error}");
    assert_eq!(Raw::connect(cluster.node(node)).ok(&["GET", key]).text(), "1", "{error}");
}

#[test]
fn a_redirection_made_up_to_a_replica_makes_it_no_primary() {
    let cluster = Cluster::start(3, 1);
    let client = open(&cluster, Duration::from_secs(30));
    let before = primaries(&client);
    assert_eq!(before.len(), 3);
    let script = Script::new(FORGE);
    for (number, word) in ["MOVED", "ASK"].into_iter().enumerate() {
        let tag = cluster.tag_on(0, "replica");
        let slot = slot_of(tag.as_bytes());
        for replica in 3..6 {
            let (key, to) = (format!("{tag}{number}-{replica}"), address(&cluster, replica));
            let text = format!("{word} {slot} {to}");
            let error = client.call(&script, &[&key], &[&text]).unwrap_err();
            assert_eq!(
                (error.status(), error.server_text()),
                (Status::Server, Some(text.as_bytes())),
                "{error}"
            );
            assert!(!error.is_indeterminate(), "{error}");
            ran_once(&cluster, 0, &key, &error);
            assert_eq!(primaries(&client), before);
        }
    }
}

#[test]
fn a_redirection_made_up_to_a_server_that_hangs_or_is_gone() {
    let cluster = Cluster::start(3, 0);
    let script = Script::new(FORGE);
    let tag = cluster.tag_on(0, "silent");
    let slot = slot_of(tag.as_bytes());
    for (number, word) in ["MOVED", "ASK"].into_iter().enumerate() {
        for (target, is_known) in [(1, false), (1, true), (2, false), (2, true)] {
            let client = open(&cluster, Duration::from_secs(2));
            let key = format!("{tag}{number}-{target}-{is_known}");
            // Not the first script of its connection, and with or without a connection to where it is sent.
            client.call(&Script::new(COUNT), &[format!("{tag}other")], &NONE).unwrap();
            if is_known {
                let there = cluster.tag_on(target, "there");
                client.command(&["GET", &there]).unwrap();
            }
            match target {
                1 => cluster.node(1).pause(),
                _ => cluster.kill(2),
            }
            let text = format!("{word} {slot} {}", address(&cluster, target));
            let error = client.call(&script, &[&key], &[&text]).unwrap_err();
            match target {
                1 => cluster.node(1).resume(),
                _ => cluster.node(2).restart(),
            }
            // A cluster that has missed a server for long answers nothing at all.
            cluster.wait_until_whole();
            ran_once(&cluster, 0, &key, &error);
        }
    }
}

#[test]
fn a_redirection_that_its_server_stands_by_proves_that_the_call_was_not_executed() {
    let nodes = Nodes::new();
    nodes.owner.store(1, Ordering::SeqCst);
    let first = Fake::start({
        let nodes = Arc::clone(&nodes);
        move |conn| {
            converse(conn, |conn, words| {
                let answer = nodes.answer(0, 0, words);
                conn.write(
                    answer
                        .unwrap_or_else(|| format!("-MOVED 12182 127.0.0.1:{}\r\n", nodes.port(1)))
                        .as_bytes(),
                );
                true
            });
        }
    });
    let second = Fake::start(|conn| conn.hang());
    nodes.ports.lock().unwrap().extend([first.port(), second.port()]);
    let url = format!("redis+cluster://127.0.0.1:{}", first.port());
    let client = Client::open(&url, &options(LONG)).unwrap();
    // Without the time to ask for it there is no proof.
    with_longer_deadlines(&client, |client| {
        let error = client.call(&Script::new(COUNT), &["foo"], &NONE).unwrap_err();
        error.is_not_executed().then(|| assert!(!error.is_indeterminate(), "{error}"))
    });
}

/// How long answers take, each a third of a call's deadline: the last one that comes in time is known to be the last,
/// unless a machine is so busy that it takes three times as long as those before. Then it is tried again at a more
/// leisurely pace.
fn at_some_pace(attempt: impl Fn(Duration) -> Option<()>) {
    let mut paces = [1, 4, 16].into_iter().map(Duration::from_secs);
    paces.find_map(attempt).expect("what was refused in time is known not to have been executed");
}

/// Whether it says so; that it was refused, it does then.
fn is_known(error: &Error) -> Option<()> {
    assert!(error.is_not_executed() != error.is_indeterminate(), "{error}");
    error.is_not_executed().then_some(())
}

#[test]
fn no_try_is_started_that_cannot_be_answered_in_time() {
    for text in [
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    ] {
        at_some_pace(|pause| {
            let server = Fake::start(move |conn| {
                converse(conn, |conn, _| {
                    thread::sleep(pause);
                    conn.write(format!("-{text}\r\n").as_bytes());
                    true
                });
            });
            let client = Client::open(&server.url(), &options(3 * pause)).unwrap();
            let refused = |error: Error| {
                is_known(&error)?;
                assert_eq!(error.status(), Status::Loading, "{error}");
                let by = (error.reason(), error.node());
                assert_eq!(by, (Reason::Server, Some(&*server.address().to_string())));
                Some(())
            };
            refused(client.command(&["GET", "foo"]).unwrap_err())?;
            let queue = Queue::new(1).unwrap();
            client.submit_command(&queue, 1, &["GET", "foo"]).unwrap();
            refused(take(&queue, 1).remove(0).result.unwrap_err())
        });
    }
}

#[test]
fn no_try_is_started_in_a_cluster_that_cannot_be_answered_in_time() {
    for text in [
        "LOADING Redis is loading the dataset in memory",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "CLUSTERDOWN The cluster is down",
    ] {
        at_some_pace(|pause| {
            let nodes = Nodes::new();
            let server = Fake::start({
                let nodes = Arc::clone(&nodes);
                move |conn| {
                    converse(conn, |conn, words| {
                        let answer = nodes.answer(0, 0, words);
                        if answer.is_none() {
                            thread::sleep(pause);
                        }
                        conn.write(answer.unwrap_or_else(|| format!("-{text}\r\n")).as_bytes());
                        true
                    });
                }
            });
            nodes.ports.lock().unwrap().extend([server.port(), server.port()]);
            let url = format!("redis+cluster://127.0.0.1:{}", server.port());
            let client = Client::open(&url, &options(3 * pause)).unwrap();
            is_known(&client.command(&["GET", "foo"]).unwrap_err())?;
            let queue = Queue::new(1).unwrap();
            client.submit_command(&queue, 1, &["GET", "foo"]).unwrap();
            is_known(&take(&queue, 1).remove(0).result.unwrap_err())?;
            let mut pipeline = client.pipeline();
            pipeline.command(&["GET", "foo"]).unwrap();
            match pipeline.exec() {
                Ok(replies) => is_known(&replies.get(0).unwrap().as_error().expect("an error")),
                Err(error) => is_known(&error),
            }
        });
    }
}

/// A server that loses the first script call and then accepts nobody.
fn loses_and_goes() -> (Fake, Arc<AtomicBool>) {
    let gone = Arc::new(AtomicBool::new(false));
    let server = Fake::start({
        let gone = Arc::clone(&gone);
        move |conn| {
            if gone.load(Ordering::SeqCst) {
                return;
            }
            converse(conn, |conn, words| {
                if words[0].eq_ignore_ascii_case(b"SCRIPT") {
                    conn.write(format!("$40\r\n{}\r\n", Script::new(words[2].clone()).sha_hex()).as_bytes());
                    return true;
                }
                gone.store(true, Ordering::SeqCst);
                conn.reset();
                false
            });
        }
    });
    (server, gone)
}

#[test]
fn what_was_sent_once_stays_unknown_when_no_server_is_found_afterwards() {
    for submitted in [false, true] {
        let (server, _gone) = loses_and_goes();
        let mut options = Options::default();
        options.reconnect_attempts(1).call_timeout(Duration::from_secs(20)).unwrap();
        let client = Client::open(&server.url(), &options).unwrap();
        let script = Script::idempotent("return redis.call('SET', KEYS[1], 'x')");
        let error = if submitted {
            let queue = Queue::new(1).unwrap();
            client.submit(&queue, 1, &script, &["foo"], &NONE).unwrap();
            take(&queue, 1).remove(0).result.unwrap_err()
        } else {
            client.call(&script, &["foo"], &NONE).unwrap_err()
        };
        assert!(error.is_indeterminate() && !error.is_not_executed(), "submitted {submitted}: {error}");
        assert_eq!(error.status(), Status::Indeterminate, "submitted {submitted}: {error}");
    }
}

#[test]
fn what_was_sent_once_stays_unknown_when_the_client_is_closed_afterwards() {
    for form in ["call", "submit", "pipeline", "submitted pipeline"] {
        let (server, gone) = loses_and_goes();
        let mut options = Options::default();
        options.reconnect_attempts(0).call_timeout(Duration::from_secs(60)).unwrap();
        let client = Client::open(&server.url(), &options).unwrap();
        let script = Script::idempotent("return redis.call('SET', KEYS[1], 'x')");
        let queue = Queue::new(1).unwrap();
        let error = thread::scope(|scope| {
            let call = scope.spawn(|| {
                let mut pipeline = client.pipeline();
                pipeline.script(&script, &["foo"], &NONE).unwrap();
                match form {
                    "call" => return client.call(&script, &["foo"], &NONE).unwrap_err(),
                    "pipeline" => return pipeline.exec().unwrap_err(),
                    "submit" => client.submit(&queue, 1, &script, &["foo"], &NONE).unwrap(),
                    _ => pipeline.submit(&queue, 1).unwrap(),
                }
                take(&queue, 1).remove(0).result.unwrap_err()
            });
            wait_until("the call is lost", || gone.load(Ordering::SeqCst));
            wait_until("a connection is tried again", || server.connections() > 2);
            client.close();
            call.join().unwrap()
        });
        assert!(error.is_indeterminate() && !error.is_not_executed(), "{form}: {error}");
    }
}

#[test]
fn what_waits_to_go_on_after_a_redirection_claims_nothing() {
    // The script's own redirection leads to a server that does not answer it.
    let nodes = Nodes::new();
    let start = |me: usize| {
        let nodes = Arc::clone(&nodes);
        Fake::start(move |conn| {
            converse(conn, |conn, words| {
                match nodes.answer(me, 0, words) {
                    Some(_) if words[1].eq_ignore_ascii_case(b"SLOTS") => {
                        let half = |range: &str, node: usize| {
                            format!("*3\r\n{range}*2\r\n$9\r\n127.0.0.1\r\n:{}\r\n", nodes.port(node))
                        };
                        let halves = [half(":0\r\n:8191\r\n", 1), half(":8192\r\n:16383\r\n", 0)];
                        conn.write(format!("*2\r\n{}", halves.concat()).as_bytes());
                    }
                    Some(answer) => conn.write(answer.as_bytes()),
                    None if me == 1 => {}
                    None => conn.write(format!("-MOVED 12182 127.0.0.1:{}\r\n", nodes.port(1)).as_bytes()),
                }
                true
            });
        })
    };
    let servers = [start(0), start(1)];
    nodes.ports.lock().unwrap().extend(servers.iter().map(Fake::port));
    let url = format!("redis+cluster://127.0.0.1:{}", servers[0].port());
    let client = Client::open(&url, &options(Duration::from_secs(90))).unwrap();
    let queue = Queue::new(64).unwrap();
    for cancelled in [false, true] {
        let hasty = client.with_timeout(Duration::from_millis(if cancelled { 60_000 } else { 300 }));
        hasty.submit(&queue, 99, &Script::new(COUNT), &["foo"], &NONE).unwrap();
        if cancelled {
            // Sent it is at once; what came of it, nobody tells but the completion.
            thread::sleep(Duration::from_millis(300));
            client.cancel(&queue, 99);
        }
        let completion = take(&queue, 1).remove(0);
        assert_eq!(completion.tag, 99, "{completion:?}");
        let error = completion.result.unwrap_err();
        assert!(!error.is_not_executed(), "cancelled {cancelled}: {error}");
    }
    client.close();
}

#[test]
fn impatient_callers_do_not_use_up_a_patient_callers_attempts() {
    let server = Fake::start(|conn| {
        thread::sleep(Duration::from_millis(300));
        converse(conn, |conn, _| {
            conn.write(b"+PONG\r\n");
            true
        });
    });
    for _ in 0..5 {
        let mut options = options(Duration::from_secs(60));
        options.lazy_connect(true).reconnect_attempts(1);
        let client = Client::open(&server.url(), &options).unwrap();
        let hurry = client.with_timeout(Duration::from_millis(50));
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let _ = hurry.command(&["PING"]);
                    }
                });
            }
            let end = OnDrop(|| over.store(true, Ordering::Relaxed));
            let answer = client.command(&["PING"]).map(|reply| reply.as_str() == Some("PONG"));
            drop(end);
            assert_eq!(answer, Ok(true));
        });
    }
}

#[test]
fn servers_that_hang_do_not_add_up() {
    const SERVERS: usize = 100;
    let hang = Arc::new(AtomicBool::new(false));
    let ports = Arc::new(Mutex::new(Vec::<u16>::new()));
    let servers: Vec<Fake> = (0..SERVERS)
        .map(|_| {
            let (hang, ports) = (Arc::clone(&hang), Arc::clone(&ports));
            Fake::start(move |conn| {
                converse(conn, |conn, words| {
                    if words[0].eq_ignore_ascii_case(b"CLUSTER") {
                        let ports = ports.lock().unwrap();
                        let mut slots = format!("*{}\r\n", ports.len());
                        for (index, port) in ports.iter().enumerate() {
                            let bound = |index: usize| index * 16384 / ports.len();
                            let (first, last) = (bound(index), bound(index + 1) - 1);
                            slots +=
                                &format!("*3\r\n:{first}\r\n:{last}\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n");
                        }
                        conn.write(slots.as_bytes());
                    } else if !hang.load(Ordering::SeqCst) {
                        conn.write(b"+OK\r\n");
                    }
                    true
                });
            })
        })
        .collect();
    ports.lock().unwrap().extend(servers.iter().map(Fake::port));
    let url = format!("redis+cluster://127.0.0.1:{}", servers[0].port());
    let client = Client::open(&url, &options(Duration::from_secs(30))).unwrap();
    let everywhere = client.with_route(Route::AllPrimaries).unwrap();
    everywhere.command(&["DBSIZE"]).unwrap();
    hang.store(true, Ordering::SeqCst);
    let hasty = client.with_timeout(Duration::from_millis(500));
    let start = Instant::now();
    let mut pipeline = hasty.pipeline();
    for number in 0..SERVERS * 20 {
        pipeline.command(&["SET", &format!("key{number}"), "x"]).unwrap();
    }
    assert_eq!(pipeline.exec().unwrap_err().reason(), Reason::Deadline);
    // A quarter of a second each it would be otherwise.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let start = Instant::now();
    let everywhere = hasty.with_route(Route::AllPrimaries).unwrap();
    let _ = everywhere.command(&["DBSIZE"]);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn close_ends_callers_who_wait_for_what_says_nothing() {
    let silent = || Fake::start(|conn| conn.hang());
    let logged_in = || Fake::start(|conn| converse(conn, |_, _| true));
    for (what, server, scheme) in [
        ("a sentinel that says nothing", silent(), "redis+sentinel://127.0.0.1:{}/service"),
        (
            "a sentinel that says nothing after the login",
            logged_in(),
            "redis+sentinel://127.0.0.1:{}/service",
        ),
        ("a server that says nothing", silent(), "redis://127.0.0.1:{}"),
        ("a cluster that says nothing", logged_in(), "redis+cluster://127.0.0.1:{}"),
    ] {
        let mut options = options(Duration::from_secs(90));
        options.lazy_connect(true).connect_timeout(Duration::from_secs(80)).unwrap();
        let url = scheme.replace("{}", &server.port().to_string());
        let client = Client::open(&url, &options).unwrap();
        thread::scope(|scope| {
            let call = scope.spawn(|| client.command(&["GET", "foo"]).unwrap_err());
            wait_until("it is asked", || server.connections() > 0);
            client.close();
            wait_until(what, || call.is_finished());
            let error = call.join().unwrap();
            assert!(error.is_not_executed(), "{what}: {error}");
            assert_eq!(error.reason(), Reason::Closed, "{what}: {error}");
        });
    }
}

#[test]
fn close_ends_callers_on_a_server_that_is_no_longer_part_of_the_cluster() {
    let nodes = Nodes::new();
    let told = Arc::new(AtomicUsize::new(1));
    let is_waiting = Arc::new(AtomicBool::new(false));
    let start = |me: usize| {
        let (nodes, told, is_waiting) = (Arc::clone(&nodes), Arc::clone(&told), Arc::clone(&is_waiting));
        Fake::start(move |conn| {
            converse(conn, |conn, words| {
                match nodes.answer(me, told.load(Ordering::SeqCst), words) {
                    Some(answer) => conn.write(answer.as_bytes()),
                    None if me == 1 => is_waiting.store(true, Ordering::SeqCst),
                    None => conn.write(b"-CLUSTERDOWN The cluster is down\r\n"),
                }
                true
            });
        })
    };
    let servers = [start(0), start(1)];
    nodes.ports.lock().unwrap().extend(servers.iter().map(Fake::port));
    let url = format!("redis+cluster://127.0.0.1:{}", servers[0].port());
    let client = Client::open(&url, &options(Duration::from_secs(90))).unwrap();
    thread::scope(|scope| {
        let call = scope.spawn(|| client.command(&["SET", "foo", "x"]).unwrap_err());
        wait_until("it waits on the second server", || is_waiting.load(Ordering::SeqCst));
        told.store(0, Ordering::SeqCst);
        // In vain, so that the next call looks for others; refused there so often that the second server is forgotten.
        let _ = client.with_timeout(Duration::from_millis(200)).command(&["GET", "foo"]);
        let error = client.with_timeout(Duration::from_secs(3)).command(&["GET", "foo"]).unwrap_err();
        assert_eq!(error.status(), Status::NotServed, "{error}");
        client.close();
        wait_until("the caller comes back", || call.is_finished());
        let error = call.join().unwrap();
        assert!(error.is_indeterminate(), "{error}");
        assert_eq!(
            (error.reason(), error.node()),
            (Reason::Closed, Some(&*servers[1].address().to_string()))
        );
    });
}
