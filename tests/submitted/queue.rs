//! Submitted calls: each has one completion, whatever becomes of it, and none waits for another.

use crate::support;

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use rs_script::{Client, Completion, Options, Queue, Script, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::calls::{COUNT, LONG, MULTIPLY, NONE, client, options, round_trips, shown, take};
use support::cluster::Cluster;
use support::raw::{Raw, blocked_clients};
use support::server::Server;
use support::wait_until;

#[track_caller]
fn by_tag(completions: Vec<Completion>) -> HashMap<u64, Completion> {
    let count = completions.len();
    let map: HashMap<_, _> = completions.into_iter().map(|completion| (completion.tag, completion)).collect();
    assert_eq!(map.len(), count, "a tag was completed twice");
    map
}

fn is_readable(queue: &Queue) -> bool {
    let fd = queue.as_fd();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
}

#[test]
fn calls_commands_pipelines_and_transactions_are_completed_by_tag() {
    let server = Server::start();
    let client = client(&server);
    let queue = Queue::new(100).unwrap();
    let multiply = Script::new(MULTIPLY);
    client.submit_command(&queue, 1, &["SET", "foo", "2"]).unwrap();
    client.submit(&queue, 2, &multiply, &["foo"], &["5"]).unwrap();
    client.submit_read_only(&queue, 3, &multiply, &["foo"], &["6"]).unwrap();
    for (tag, mut pipeline) in [(4, client.pipeline()), (5, client.transaction())] {
        pipeline.command(&["SET", "foo", "5"]).unwrap().script(&multiply, &["foo"], &["5"]).unwrap();
        pipeline.submit(&queue, tag).unwrap();
        assert!(pipeline.is_empty());
    }
    client.submit(&queue, 6, &multiply, &["none"], &["5"]).unwrap();
    let done = by_tag(take(&queue, 6));
    for (tag, reply) in [
        (1, r#"Status("OK")"#),
        (2, "10"),
        (3, "12"),
        (4, r#"Array[Status("OK"), 25]"#),
        (5, r#"Array[Status("OK"), 25]"#),
    ] {
        assert_eq!(shown(done[&tag].result.as_ref().unwrap()), reply, "{tag}");
    }
    assert_eq!(done[&6].result.as_ref().unwrap_err().status(), Status::Server);
    assert!(queue.is_empty());
}

#[test]
fn calls_of_one_thread_keep_their_order_also_before_there_is_a_connection() {
    let server = Server::start();
    let mut options = Options::default();
    options.lazy_connect(true);
    let client = Client::open(&server.url(), &options).unwrap();
    let queue = Queue::new(20_000).unwrap();
    for number in 0..10_000 {
        client.submit_command(&queue, number, &["RPUSH", "list", &number.to_string()]).unwrap();
    }
    let done = by_tag(take(&queue, 10_000));
    for number in 0..10_000 {
        assert_eq!(done[&number].result.as_ref().unwrap().as_i64(), Some(number as i64 + 1));
    }
}

/// The thread that submits may still be writing, as far as it knows, when the reply is there and the next call is made.
#[test]
fn each_call_by_itself_takes_one_round_trip_whoever_sends_it() {
    let server = Server::start();
    let client = client(&server);
    let queue = Queue::new(10).unwrap();
    for number in 0..10_000 {
        let (_, trips) = round_trips(&client, || {
            client.submit_command(&queue, number, &["PING"]).unwrap();
            take(&queue, 1)
        });
        assert_eq!(trips, 1, "call {number}");
    }
    for number in 0..2_000 {
        let script = Script::new(format!("return {number}"));
        let mut transaction = client.transaction();
        transaction.script(&script, &NONE, &NONE).unwrap();
        let (done, trips) = round_trips(&client, || {
            transaction.submit(&queue, number).unwrap();
            take(&queue, 1)
        });
        assert_eq!(shown(done[0].result.as_ref().unwrap()), format!("Array[{number}]"));
        assert_eq!(trips, 2, "its script's first use, in transaction {number}");
    }
}

#[test]
fn a_full_queue_takes_no_more_and_loses_nothing() {
    let server = Server::start();
    let client = client(&server);
    let queue = Queue::new(3).unwrap();
    let count = Script::new(COUNT);
    for tag in 0..3 {
        client.submit(&queue, tag, &count, &["n"], &NONE).unwrap();
    }
    let error = client.submit(&queue, 3, &count, &["n"], &NONE).unwrap_err();
    assert_eq!(error.status(), Status::QueueFull);
    assert!(error.is_not_executed() && error.message().contains("3 of 3"), "{error}");
    let mut pipeline = client.transaction();
    pipeline.script(&count, &["n"], &NONE).unwrap().command(&["GET", "n"]).unwrap();
    assert_eq!(pipeline.submit(&queue, 3).unwrap_err().status(), Status::QueueFull);
    assert_eq!(pipeline.len(), 2);
    take(&queue, 1);
    pipeline.submit(&queue, 3).unwrap();
    assert!(pipeline.is_empty());
    take(&queue, 3);
    assert_eq!(Raw::connect(&server).ok(&["GET", "n"]).text(), "4");
    assert_eq!(Queue::new(0).unwrap_err().status(), Status::InvalidArgument);
}

#[test]
fn the_descriptor_is_readable_while_there_are_completions() {
    let server = Server::start();
    let client = client(&server);
    let queue = Queue::new(10).unwrap();
    for _ in 0..3 {
        assert!(!is_readable(&queue));
        for tag in 0..4 {
            client.submit_command(&queue, tag, &["PING"]).unwrap();
        }
        wait_until("all are done", || is_readable(&queue) && client.stats().in_flight == 0);
        take(&queue, 3);
        assert!(is_readable(&queue));
        take(&queue, 1);
    }
    assert!(!is_readable(&queue));
    let start = Instant::now();
    assert_eq!(queue.poll(&mut Vec::new(), 1, Duration::from_millis(20)), 0);
    assert!(start.elapsed() >= Duration::from_millis(20));
}

#[test]
fn blocking_and_submitted_calls_share_a_connection() {
    let server = Server::start();
    let client = client(&server);
    let queue = Queue::new(100_000).unwrap();
    let count = Script::new(COUNT);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..2_000).for_each(|_| drop(client.call(&count, &["n"], &NONE).unwrap())));
        }
        for thread in 0..2 {
            let (client, queue, count) = (&client, &queue, &count);
            scope.spawn(move || {
                for number in 0..10_000 {
                    client.submit(queue, thread * 10_000 + number, count, &["n"], &NONE).unwrap();
                }
            });
        }
        let done = by_tag(take(&queue, 20_000));
        assert!(done.values().all(|completion| completion.result.is_ok()));
    });
    assert_eq!(Raw::connect(&server).ok(&["GET", "n"]).text(), "28000");
}

#[test]
fn a_server_that_dies_ends_ten_thousand_calls_at_once() {
    let server = Server::start();
    let client = Client::open(&server.url(), &options(LONG)).unwrap();
    let queue = Queue::new(10_000).unwrap();
    let count = Script::new(COUNT);
    client.call(&count, &["n"], &NONE).unwrap();
    server.pause();
    for tag in 0..10_000 {
        client.submit(&queue, tag, &count, &["n"], &NONE).unwrap();
    }
    server.kill();
    let start = Instant::now();
    for (tag, completion) in by_tag(take(&queue, 10_000)) {
        let error = completion.result.expect_err("the server was dead");
        let known = error.is_not_executed() != error.is_indeterminate();
        assert!(known, "{tag}: {error}");
    }
    assert!(start.elapsed() < LONG / 2, "before their deadline: {:?}", start.elapsed());
}

#[test]
fn calls_to_a_dead_server_fail_together_and_those_after_its_return_succeed() {
    let server = Server::start();
    let client = client(&server);
    let queue = Queue::new(10_000).unwrap();
    client.command(&["PING"]).unwrap();
    server.kill();
    for tag in 0..5_000 {
        client.submit_command(&queue, tag, &["PING"]).unwrap();
    }
    for (tag, completion) in by_tag(take(&queue, 5_000)) {
        let error = completion.result.expect_err("the server was dead");
        assert!(error.is_not_executed() || error.is_indeterminate(), "{tag}: {error}");
    }
    server.restart();
    client.submit_command(&queue, 1, &["PING"]).unwrap();
    assert!(take(&queue, 1)[0].result.is_ok());
}

#[test]
fn each_call_ends_by_its_deadline() {
    let server = Server::start();
    let client = Client::open(&server.url(), options(LONG).silence_timeout(LONG).unwrap()).unwrap();
    let hasty = client.with_timeout(Duration::from_millis(100));
    let queue = Queue::new(100).unwrap();
    client.command(&["PING"]).unwrap();
    server.pause();
    client.submit_command(&queue, 1, &["PING"]).unwrap();
    let start = Instant::now();
    for tag in 2..10 {
        hasty.submit_command(&queue, tag, &["PING"]).unwrap();
    }
    for completion in take(&queue, 8) {
        let error = completion.result.expect_err("the server hung");
        assert_eq!(error.status(), Status::Indeterminate);
        assert!(completion.tag > 1 && error.message().contains("within 100 ms"), "{error}");
    }
    assert!(start.elapsed() >= Duration::from_millis(100));
    server.resume();
    assert!(take(&queue, 1)[0].result.is_ok());
    // A late reply is nobody else's.
    client.submit_command(&queue, 11, &["ECHO", "mine"]).unwrap();
    assert_eq!(take(&queue, 1)[0].result.as_ref().unwrap().as_str(), Some("mine"));
}

/// More of them than there are threads to wait with.
#[test]
fn a_command_that_waits_is_given_up_by_the_server_too_when_it_is_called_off() {
    const CALLS: u64 = 20;
    let (server, cluster) = (Server::start(), Cluster::start(3, 0));
    let servers = std::slice::from_ref(&server);
    let hour = options(Duration::from_secs(3600));
    for (url, servers) in [(server.url(), servers), (cluster.cluster_url(), cluster.nodes())] {
        let client = Client::open(&url, &hour).unwrap();
        let blocked = || servers.iter().map(blocked_clients).sum::<u64>();
        let queue = Queue::new(100).unwrap();
        for tag in 0..CALLS {
            client.submit_command(&queue, tag, &["BLPOP", "list", "0"]).unwrap();
        }
        wait_until("all of them wait", || blocked() == CALLS);
        for tag in (0..CALLS).rev() {
            assert_eq!(client.cancel(&queue, tag), 1);
        }
        for completion in take(&queue, CALLS as usize) {
            let error = completion.result.unwrap_err();
            assert!(error.status() == Status::Indeterminate && error.is_indeterminate(), "{error}");
        }
        wait_until("nobody waits", || blocked() == 0);
        client.command(&["RPUSH", "list", "kept"]).unwrap();
        client.submit_command(&queue, 99, &["BLPOP", "list", "0"]).unwrap();
        let popped = take(&queue, 1).remove(0).result.unwrap();
        assert_eq!(shown(&popped), r#"Array[String("list"), String("kept")]"#);
    }
}

#[test]
fn a_call_that_is_called_off_has_a_completion_that_says_whether_it_may_run() {
    let server = Server::start();
    let client = Client::open(&server.url(), &options(LONG)).unwrap();
    let queue = Queue::new(100).unwrap();
    client.command(&["PING"]).unwrap();
    server.pause();
    for tag in [7, 7, 8] {
        client.submit_command(&queue, tag, &["INCR", "n"]).unwrap();
    }
    assert_eq!(client.cancel(&queue, 7), 2);
    assert_eq!(client.cancel(&queue, 7), 0);
    for completion in take(&queue, 2) {
        assert_eq!((completion.tag, completion.result.unwrap_err().status()), (7, Status::Indeterminate));
    }
    server.resume();
    assert!(take(&queue, 1)[0].result.is_ok());
    assert!(queue.is_empty());

    // Not sent yet: the connection is still being made.
    let mut lazy = options(LONG);
    lazy.lazy_connect(true).connect_timeout(LONG).unwrap();
    let client = Client::open(&server.url(), &lazy).unwrap();
    server.pause();
    client.submit_command(&queue, 1, &["INCR", "n"]).unwrap();
    assert_eq!(client.cancel(&queue, 1), 1);
    assert_eq!(take(&queue, 1).remove(0).result.unwrap_err().status(), Status::Cancelled);
    server.resume();
}

#[test]
fn closing_completes_everything_and_the_queue_goes_on() {
    let server = Server::start();
    let queue = Queue::new(10_000).unwrap();
    for close in [true, false] {
        let client = Client::open(&server.url(), &options(LONG)).unwrap();
        client.command(&["PING"]).unwrap();
        server.pause();
        for tag in 0..5_000 {
            client.submit_command(&queue, tag, &["PING"]).unwrap();
        }
        if close {
            client.close();
        }
        drop(client);
        let ended = by_tag(take(&queue, 5_000));
        assert!(ended.values().all(|completion| completion.result.is_err()));
        server.resume();
    }
    let client = client(&server);
    client.submit_command(&queue, 1, &["PING"]).unwrap();
    assert!(take(&queue, 1)[0].result.is_ok());
    client.close();
    let error = client.submit_command(&queue, 1, &["PING"]).unwrap_err();
    assert_eq!(error.status(), Status::Closed);
    assert!(queue.is_empty(), "what was not accepted has no completion");
}

#[test]
fn a_lost_script_is_repaired_and_a_command_that_waits_has_a_connection_of_its_own() {
    let server = Server::start();
    let client = client(&server);
    let queue = Queue::new(1_000).unwrap();
    let count = Script::new(COUNT);
    client.call(&count, &["n"], &NONE).unwrap();
    Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);
    client.submit_command(&queue, 0, &["BLPOP", "list", "0"]).unwrap();
    for tag in 1..=500 {
        client.submit(&queue, tag, &count, &["n"], &NONE).unwrap();
    }
    assert!(take(&queue, 500).iter().all(|completion| completion.result.is_ok()));
    client.submit_command(&queue, 1, &["RPUSH", "list", "x"]).unwrap();
    let done = by_tag(take(&queue, 2));
    assert_eq!(done[&0].result.as_ref().unwrap().get(1).unwrap().as_str(), Some("x"));
}

#[test]
fn calls_find_their_way_in_a_cluster() {
    let cluster = Cluster::start(3, 0);
    let client = Client::open(&cluster.cluster_url(), &Options::default()).unwrap();
    let queue = Queue::new(10_000).unwrap();
    let count = Script::new(COUNT);
    let slot = support::cluster::slot_of(b"key:7");
    for round in 1..=2 {
        for tag in 0..1_000 {
            client.submit(&queue, tag, &count, &[format!("key:{tag}")], &NONE).unwrap();
        }
        let mut pipeline = client.pipeline();
        (0..50).for_each(|number| {
            pipeline.command(&["GET", &format!("key:{number}")]).unwrap();
        });
        pipeline.submit(&queue, 5_000).unwrap();
        let done = by_tag(take(&queue, 1_001));
        for tag in 0..1_000 {
            assert_eq!(done[&tag].result.as_ref().unwrap().as_i64(), Some(round), "{tag}");
        }
        assert_eq!(done[&5_000].result.as_ref().unwrap().root().len(), 50);
        // The slot of one key has moved, and half another's.
        let (from, to) = (cluster.primary_of(slot), (cluster.primary_of(slot) + 1) % 3);
        cluster.begin_migration(slot, from, to);
        cluster.finish_migration(slot, from, to);
    }
    assert!(client.stats().redirects > 0);
}
