//! What a client tells of each call that has ended, and the figures that it keeps of each script.

use crate::support;

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rs_script::{CallKind, Client, FlushMode, Options, Queue, Reason, Script, ScriptStats, Status};
use support::calls::{COUNT, LONG, NONE, options, take};
use support::cluster::Cluster;
use support::fake::Fake;
use support::raw::Raw;
use support::server::Server;
use support::wait_until;

/// An event, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    kind: CallKind,
    name: String,
    is_script: bool,
    items: usize,
    node: Option<String>,
    attempts: u32,
    sent: u64,
    received: u64,
    duration: Duration,
    error: Option<(Status, Reason)>,
}

#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<Told>>>);

impl Events {
    fn options(&self) -> Options {
        let mut options = options(LONG);
        let events = self.clone();
        options.on_call(move |event| {
            events.0.lock().unwrap().push(Told {
                kind: event.kind,
                name: event.name.to_owned(),
                is_script: event.script.is_some(),
                items: event.items,
                node: event.node.map(str::to_owned),
                attempts: event.attempts,
                sent: event.bytes_sent,
                received: event.bytes_received,
                duration: event.duration,
                error: event.error.map(|error| (error.status(), error.reason())),
            });
        });
        options
    }

    fn take(&self) -> Vec<Told> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// The only one since the last time.
    #[track_caller]
    fn one(&self) -> Told {
        let mut all = self.take();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }
}

/// Runs a call and checks what it is said to have cost: the client makes no other meanwhile.
#[track_caller]
fn costs(client: &Client, events: &Events, call: impl FnOnce()) -> Told {
    let before = client.stats();
    call();
    let after = client.stats();
    let told = events.one();
    assert_eq!(told.sent, after.bytes_sent - before.bytes_sent, "{told:?}");
    // Answers that no caller sees, as that to SCRIPT LOAD, are not in it.
    assert!(told.received > 0 && told.received <= after.bytes_received - before.bytes_received, "{told:?}");
    told
}

#[test]
fn each_call_is_told_of_with_what_it_cost() {
    let server = Server::start();
    let node = Some(server.address().to_string());
    let events = Events::default();
    let client = Client::open(&server.url(), &events.options()).unwrap();
    assert_eq!(events.take(), [], "opening is no call");
    let (plain, named) = (Script::new(COUNT), Script::new("return {ARGV[1], 'x'}").named("echo").unwrap());

    let told = costs(&client, &events, || drop(client.command(&["SET", "k", "1"]).unwrap()));
    let of = (told.kind, told.name.as_str(), told.is_script, told.items, told.attempts, told.error);
    assert_eq!(of, (CallKind::Command, "SET", false, 1, 1, None));
    assert_eq!((&told.node, told.received), (&node, 5));
    assert!(told.duration > Duration::ZERO);

    // With SCRIPT LOAD in front, without, and again after a flush.
    for round in 0..4 {
        if round == 2 {
            Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);
        }
        let told = costs(&client, &events, || drop(client.call(&plain, &["k"], &NONE).unwrap()));
        let of = (told.kind, told.name.as_str(), told.is_script, told.attempts, told.error);
        assert_eq!(of, (CallKind::Script, plain.sha_hex(), true, 1, None), "round {round}");
        assert_eq!(told.node, node);
        let told =
            costs(&client, &events, || drop(client.call(&named, &NONE, &["long".repeat(1000)]).unwrap()));
        assert_eq!((told.name.as_str(), told.is_script), ("echo", true));
        assert!(told.received > 4000);
    }

    for atomic in [false, true] {
        let kind = if atomic { CallKind::Transaction } else { CallKind::Pipeline };
        for flush in [false, false, true] {
            if flush {
                Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);
            }
            let mut pipeline = if atomic { client.transaction() } else { client.pipeline() };
            for _ in 0..10 {
                pipeline.script(&plain, &["k"], &NONE).unwrap();
                pipeline.command(&["GET", "k"]).unwrap();
            }
            let told = costs(&client, &events, || drop(pipeline.exec().unwrap()));
            let of = (told.kind, told.name.as_str(), told.items, told.attempts, told.error);
            assert_eq!(of, (kind, "", 20, 1, None));
        }
    }

    client.script_flush(FlushMode::Sync).unwrap();
    let told = events.one();
    assert_eq!((told.kind, told.name.as_str()), (CallKind::Administration, "SCRIPT FLUSH"));

    // An error of the server, and one of the script's own.
    client.command(&["HGET", "k", "f"]).unwrap_err();
    let told = events.one();
    assert_eq!(told.error, Some((Status::Server, Reason::Server)));
    assert!(told.received > 10 && told.attempts == 1 && told.node == node, "{told:?}");
    client.call(&Script::new("return redis.error_reply('mine')"), &NONE, &NONE).unwrap_err();
    assert_eq!(events.one().error, Some((Status::Server, Reason::Server)));

    // On a connection of its own; what was refused before it began has no event.
    client.command(&["RPUSH", "list", "a"]).unwrap();
    client.command(&["BLPOP", "list", "1"]).unwrap();
    let told = events.take();
    assert_eq!((told[1].name.as_str(), told[1].attempts, told[1].error), ("BLPOP", 1, None));
    client.command(&["MULTI"]).unwrap_err();
    client.command(&[] as &[&str]).unwrap_err();
    assert_eq!(events.take(), []);
}

#[test]
fn submitted_calls_are_told_of_before_their_completion_is_there() {
    let server = Server::start();
    let script = Script::new(COUNT).named("count").unwrap();
    for queue in [Queue::new(100).unwrap(), Queue::without_thread(100).unwrap()] {
        let events = Events::default();
        let client = Client::open(&server.url(), &events.options()).unwrap();
        for round in 0..50 {
            client.submit(&queue, round, &script, &["k"], &NONE).unwrap();
            client.submit_command(&queue, round, &["GET", "k"]).unwrap();
            take(&queue, 2);
            let mut told = events.take();
            assert_eq!(told.len(), 2, "round {round}");
            told.sort_by_key(|told| told.kind as i32);
            assert_eq!((told[0].name.as_str(), told[1].name.as_str()), ("GET", "count"));
            assert!(told.iter().all(|told| told.attempts == 1 && told.sent > 0 && told.received > 0));
        }
        let mut pipeline = client.pipeline();
        pipeline.command(&["PING"]).unwrap().script(&script, &["k"], &NONE).unwrap();
        pipeline.submit(&queue, 1).unwrap();
        take(&queue, 1);
        let told = events.one();
        assert_eq!((told.kind, told.items, told.attempts), (CallKind::Pipeline, 2, 1));

        // Called off.
        client.submit_command(&queue, 7, &["BLPOP", "nothing", "0"]).unwrap();
        assert_eq!(client.cancel(&queue, 7), 1);
        take(&queue, 1);
        assert_eq!(events.one().error.map(|(_, reason)| reason), Some(Reason::Cancelled));
        // Ended by closing.
        client.submit_command(&queue, 8, &["BLPOP", "nothing", "0"]).unwrap();
        client.close();
        take(&queue, 1);
        assert_eq!(events.one().error.map(|(_, reason)| reason), Some(Reason::Closed));
        drop((client, pipeline));
        assert_eq!(Arc::strong_count(&events.0), 1, "the hook is not freed");
    }
}

#[test]
fn what_goes_wrong_is_told_as_the_caller_is_told() {
    let events = Events::default();
    let mut options = events.options();
    options.lazy_connect(true).reconnect_attempts(1);
    // Nobody there.
    let client = Client::open("unix:///nowhere/at/all", &options).unwrap();
    client.command(&["PING"]).unwrap_err();
    let told = events.one();
    assert_eq!((told.attempts, told.sent, told.received), (0, 0, 0));
    assert_eq!(told.error, Some((Status::Connect, Reason::Connect)));
    assert_eq!(told.node.as_deref(), Some("/nowhere/at/all"));

    // No reply in time: on the plain way, and on the engine's.
    let fake = Fake::start(|conn| {
        conn.handshake();
        conn.hang();
    });
    let queue = Queue::new(10).unwrap();
    let client = Client::open(&fake.url(), &options).unwrap();
    let short = client.with_timeout(Duration::from_millis(50));
    for round in 0..3 {
        let script = Script::new("return 1").named("slow").unwrap();
        let error = short.call(&script, &NONE, &NONE).unwrap_err();
        let told = events.one();
        assert_eq!(told.error, Some((error.status(), Reason::Deadline)), "round {round}");
        assert_eq!(told.name, "slow");
        assert_eq!(told.attempts > 0, error.status() == Status::Indeterminate, "{told:?}");
        short.submit_command(&queue, 1, &["PING"]).unwrap();
        let done = take(&queue, 1);
        let told = events.one();
        assert_eq!(
            told.error.map(|(status, _)| status),
            done[0].result.as_ref().err().map(|error| error.status())
        );
    }

    // Lost half-way.
    let fake = Fake::start(|conn| {
        conn.handshake();
        conn.close();
    });
    let client = Client::open(&fake.url(), &options).unwrap();
    client.command(&["INCR", "k"]).unwrap_err();
    let told = events.one();
    assert_eq!(told.error, Some((Status::Indeterminate, Reason::ConnectionLost)));
    assert_eq!((told.attempts, told.node.as_deref()), (1, Some(fake.address().to_string().as_str())));
}

#[test]
fn attempts_on_several_servers_are_counted() {
    let cluster = Cluster::start(3, 0);
    let events = Events::default();
    let client = Client::open(&cluster.cluster_url(), &events.options()).unwrap();
    let script = Script::new(COUNT).named("count").unwrap();
    let keys: Vec<_> = (0..3).map(|node| cluster.tag_on(node, "k")).collect();
    for key in &keys {
        client.call(&script, &[key], &NONE).unwrap();
    }
    assert_eq!(events.take().iter().map(|told| told.attempts).collect::<Vec<_>>(), [1, 1, 1]);
    // One call, three parts.
    let mut pipeline = client.pipeline();
    for key in &keys {
        pipeline.script(&script, &[key], &NONE).unwrap();
    }
    pipeline.exec().unwrap();
    let told = events.one();
    assert_eq!((told.kind, told.items, told.attempts, told.error), (CallKind::Pipeline, 3, 3, None));

    // Sent away once, by MOVED.
    let slot = support::cluster::slot_of(keys[0].as_bytes());
    let (from, to) = (cluster.primary_of(slot), (cluster.primary_of(slot) + 1) % 3);
    cluster.move_slots([slot], from, to);
    client.call(&script, &[&keys[0]], &NONE).unwrap();
    let told = events.one();
    assert_eq!((told.attempts, told.error), (2, None));
    assert_eq!(told.node, Some(cluster.node(to).address().to_string()));
}

#[test]
fn a_hook_that_panics_changes_nothing() {
    let server = Server::start();
    let mut options = options(LONG);
    options.on_call(|_| panic!("a panic of the hook's, as the test wants it"));
    let client = Client::open(&server.url(), &options).unwrap();
    let queue = Queue::new(1).unwrap();
    assert_eq!(client.command(&["PING"]).unwrap().as_str(), Some("PONG"));
    client.submit_command(&queue, 1, &["PING"]).unwrap();
    assert_eq!(take(&queue, 1)[0].result.as_ref().unwrap().as_str(), Some("PONG"));
}

/// Two threads, and calls of every kind: none is lost or told twice.
#[test]
fn each_of_many_calls_is_told_of_once() {
    let server = Server::start();
    let events = Events::default();
    let client = Client::open(&server.url(), &events.options()).unwrap();
    let queue = Queue::new(10_000).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            let (client, queue) = (client.clone(), &queue);
            scope.spawn(move || {
                let script = Script::new(COUNT);
                for number in 0..500 {
                    client.call(&script, &["k"], &NONE).unwrap();
                    client.submit(queue, number, &script, &["k"], &NONE).unwrap();
                }
            });
        }
    });
    take(&queue, 2000);
    assert_eq!(events.take().len(), 4000);
}

fn stats_of(client: &Client, script: &Script) -> ScriptStats {
    let all = client.script_stats();
    all.into_iter().find(|stats| stats.sha == Some(script.sha())).expect("figures of the script")
}

#[test]
fn scripts_have_figures() {
    let server = Server::start();
    let mut options = options(LONG);
    options.script_stats(2);
    let client = Client::open(&server.url(), &options).unwrap();
    assert!(client.script_stats().is_empty());
    let (count, fails) =
        (Script::new(COUNT).named("count").unwrap(), Script::new("return redis.error_reply('no')"));
    let queue = Queue::new(10).unwrap();
    for _ in 0..10 {
        client.call(&count, &["k"], &NONE).unwrap();
    }
    client.submit(&queue, 1, &count, &["k"], &NONE).unwrap();
    take(&queue, 1);
    let stats = stats_of(&client, &count);
    assert_eq!(stats.name.as_deref(), Some("count"));
    assert_eq!(
        (stats.calls, stats.loads, stats.repairs, stats.errors, stats.indeterminate),
        (11, 1, 0, 0, 0)
    );
    assert_eq!(stats.latency.count(), 11);
    assert!(stats.latency.percentile(0.5) > Duration::ZERO);
    assert!(stats.latency.percentile(0.5) <= stats.latency.percentile(1.0));
    assert!(stats.latency.sum() >= stats.latency.percentile(0.5) * 5);

    Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);
    client.call(&count, &["k"], &NONE).unwrap();
    client.call(&fails, &NONE, &NONE).unwrap_err();
    let stats = stats_of(&client, &count);
    assert_eq!((stats.calls, stats.loads, stats.repairs), (12, 2, 1));
    assert_eq!((stats_of(&client, &fails).calls, stats_of(&client, &fails).errors), (1, 1));

    // Items count, and have no time of their own.
    for atomic in [false, true] {
        let mut pipeline = if atomic { client.transaction() } else { client.pipeline() };
        pipeline.script(&count, &["k"], &NONE).unwrap().command(&["PING"]).unwrap();
        pipeline.script(&fails, &NONE, &NONE).unwrap().script(&count, &["k"], &NONE).unwrap();
        match atomic {
            true => pipeline.submit(&queue, 1).map(|()| drop(take(&queue, 1))).unwrap(),
            false => drop(pipeline.exec().unwrap()),
        }
    }
    let (of_count, of_fails) = (stats_of(&client, &count), stats_of(&client, &fails));
    assert_eq!((of_count.calls, of_count.errors, of_count.latency.count()), (16, 0, 12));
    assert_eq!((of_fails.calls, of_fails.errors, of_fails.latency.count()), (3, 3, 1));

    // The third and the fourth are counted together.
    for number in 0..2 {
        client.call(&Script::new(format!("return {number}")), &NONE, &NONE).unwrap();
    }
    let all = client.script_stats();
    assert_eq!(all.iter().map(|stats| stats.calls).collect::<Vec<_>>(), [16, 3, 2]);
    assert_eq!((all[2].sha, all[2].loads), (None, 2));
}

#[test]
fn calls_without_an_answer_are_counted_as_such() {
    let fake = Fake::start(|conn| {
        conn.handshake();
        conn.hang();
    });
    let mut options = options(LONG);
    options.script_stats(10);
    let client = Client::open(&fake.url(), &options).unwrap();
    let short = client.with_timeout(Duration::from_millis(30));
    let (script, queue) = (Script::new("return 1"), Queue::new(10).unwrap());
    assert!(short.call(&script, &NONE, &NONE).unwrap_err().is_indeterminate());
    short.submit(&queue, 1, &script, &NONE, &NONE).unwrap();
    assert!(take(&queue, 1)[0].result.is_err());
    let mut pipeline = short.pipeline();
    pipeline.script(&script, &NONE, &NONE).unwrap().script(&script, &NONE, &NONE).unwrap();
    pipeline.exec().unwrap_err();
    wait_until("all four", || stats_of(&client, &script).calls == 4);
    let stats = stats_of(&client, &script);
    assert_eq!((stats.errors, stats.latency.count()), (4, 2));
    assert!(stats.indeterminate >= 1, "{stats:?}");
}

#[test]
fn without_being_asked_for_there_are_none() {
    let server = Server::start();
    let client = Client::open(&server.url(), &options(LONG)).unwrap();
    client.call(&Script::new(COUNT), &["k"], &NONE).unwrap();
    assert!(client.script_stats().is_empty());
}
