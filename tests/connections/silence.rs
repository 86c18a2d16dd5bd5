//! Connections that die without a word: new calls find another one, whoever reads on the old one, and deadlines
//! hold meanwhile.

use crate::support;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rs_script::{Client, Error, Queue, Script, Status};
use support::calls::{COUNT, LONG, NONE, options, take};
use support::cluster::Cluster;
use support::fake::{Conn, Fake};
use support::proxy::{Proxy, Way};
use support::raw::Raw;
use support::server::Server;
use support::{OnDrop, PATIENCE, wait_until};

/// Long enough for a busy machine, and yet short: each test waits for it.
const DEADLINE: Duration = Duration::from_millis(300);

fn hasty(url: &str) -> Client {
    let mut options = options(DEADLINE);
    options.silence_timeout(DEADLINE).unwrap();
    Client::open(url, &options).unwrap()
}

/// What is said of a call that did not get through must be true.
#[track_caller]
fn assert_claims(error: &Error) {
    assert!(error.is_indeterminate() != error.is_not_executed(), "{error}");
}

#[track_caller]
fn assert_indeterminate(error: &Error) {
    assert!(error.is_indeterminate() && error.status() == Status::Indeterminate, "{error}");
}

/// Calls that got through, and those of which it is not known.
#[derive(Default)]
struct Account {
    done: AtomicI64,
    unknown: AtomicI64,
}

impl Account {
    fn note(&self, result: &Result<(), Error>) {
        match result {
            Ok(()) => _ = self.done.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                assert_claims(error);
                self.unknown.fetch_add(error.is_indeterminate().into(), Ordering::Relaxed);
            }
        }
    }

    /// Compares with what the server has counted.
    fn settle(&self, server: &Server, key: &str) {
        let done = self.done.load(Ordering::Relaxed);
        let most = done + self.unknown.load(Ordering::Relaxed);
        let counted: i64 = Raw::connect(server).ok(&["GET", key]).text().parse().unwrap();
        assert!((done..=most).contains(&counted), "{done} to {most}: {counted}");
    }
}

/// Calls again and again until one gets through.
fn until_through(account: &Account, mut call: impl FnMut() -> Result<(), Error>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let result = call();
        account.note(&result);
        match result {
            Ok(()) => return,
            Err(error) => assert!(Instant::now() < deadline, "no call gets through any more: {error}"),
        }
    }
}

/// A connection dies on which a caller with much time waits, as the reader where there is one. `threads` call, and
/// `queues` submit.
fn recover(threads: usize, queues: usize, is_waited_on: bool) {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let client = hasty(&proxy.url());
    let script = Script::new(COUNT);
    let account = Account::default();
    until_through(&account, || client.call(&script, &["n"], &NONE).map(drop));
    let patient = client.with_timeout(LONG);
    proxy.swallow();
    let before = proxy.bytes(Way::Requests);
    thread::scope(|scope| {
        let waiting = is_waited_on.then(|| {
            let waiting = scope.spawn(|| patient.command(&["INCR", "others"]));
            wait_until("it waits", || proxy.bytes(Way::Requests) > before);
            waiting
        });
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| until_through(&account, || client.call(&script, &["n"], &NONE).map(drop)));
            }
            for _ in 0..queues {
                scope.spawn(|| {
                    let queue = Queue::new(10).unwrap();
                    until_through(&account, || {
                        client.submit(&queue, 1, &script, &["n"], &NONE).unwrap();
                        take(&queue, 1).remove(0).result.map(drop)
                    });
                });
            }
        });
        if let Some(waiting) = waiting {
            assert!(!waiting.is_finished(), "its time is not over");
            proxy.drop_connections();
            assert_indeterminate(&waiting.join().unwrap().unwrap_err());
        }
    });
    account.settle(&server, "n");
}

#[test]
fn one_thread_takes_a_new_connection() {
    recover(1, 0, false);
    recover(1, 0, true);
}

#[test]
fn two_threads_take_a_new_connection() {
    recover(2, 0, false);
    recover(2, 0, true);
}

#[test]
fn eight_threads_take_a_new_connection() {
    recover(8, 0, false);
    recover(8, 0, true);
}

#[test]
fn submitted_calls_take_a_new_connection() {
    recover(0, 1, false);
    recover(0, 2, true);
}

#[test]
fn blocking_and_submitted_calls_together_take_a_new_connection() {
    recover(2, 2, false);
    recover(2, 2, true);
}

#[test]
fn the_url_says_when_a_connection_is_dead() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let account = Account::default();
    let url = format!("{}?silence_timeout_ms=", proxy.url());
    let open = |silence: &str| Client::open(&format!("{url}{silence}"), &options(DEADLINE)).unwrap();
    let (quick, never) = (open("1"), open("3600000"));
    proxy.swallow();
    until_through(&account, || quick.command(&["PING"]).map(drop));
    for _ in 0..3 {
        assert_indeterminate(&never.command(&["PING"]).unwrap_err());
    }
    assert_eq!(never.stats().reconnects, 0);
}

#[test]
fn pipelines_and_transactions_take_a_new_connection() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let client = hasty(&proxy.url());
    let script = Script::new(COUNT);
    let account = Account::default();
    for is_atomic in [false, true] {
        proxy.swallow();
        until_through(&account, || {
            let mut pipeline = if is_atomic { client.transaction() } else { client.pipeline() };
            pipeline.script(&script, &["n"], &NONE)?;
            pipeline.exec().map(drop)
        });
    }
    account.settle(&server, "n");
}

#[test]
fn callers_that_keep_the_time_themselves_take_a_new_connection() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let mut options = options(LONG);
    options.silence_timeout(DEADLINE).unwrap();
    let client = Client::open(&proxy.url(), &options).unwrap();
    let queue = Queue::new(10).unwrap();
    proxy.swallow();
    until_through(&Account::default(), || {
        client.submit_command(&queue, 1, &["PING"]).unwrap();
        let mut taken = Vec::new();
        if queue.poll(&mut taken, 1, DEADLINE / 2) == 0 {
            client.cancel(&queue, 1);
            taken = take(&queue, 1);
        }
        taken.remove(0).result.map(drop)
    });
}

#[test]
fn a_stopped_server_costs_its_callers_no_reply_and_new_calls_are_not_put_behind_them() {
    let server = Server::start();
    let client = hasty(&server.url());
    let patient = client.with_timeout(LONG);
    let queue = Queue::new(10).unwrap();
    let account = Account::default();
    let call = || client.command(&["INCR", "n"]).map(drop);
    until_through(&account, call);
    server.pause();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| patient.command(&["INCR", "others"]));
        patient.submit_command(&queue, 1, &["INCR", "others"]).unwrap();
        wait_until("new calls wait for a connection, and so are not executed", || {
            let result = call();
            account.note(&result);
            result.is_err_and(|error| error.is_not_executed())
        });
        assert!(!waiting.is_finished() && queue.len() == 1);
        server.resume();
        waiting.join().unwrap().unwrap();
        take(&queue, 1).remove(0).result.unwrap();
    });
    until_through(&account, call);
    account.settle(&server, "n");
    assert_eq!(Raw::connect(&server).ok(&["GET", "others"]).text(), "2");
}

#[test]
fn one_hung_node_of_three_costs_the_others_nothing() {
    // Nobody must be voted out meanwhile.
    let cluster = Cluster::builder(3).each(|node| node.arg("cluster-node-timeout", "60000")).start();
    let mut options = options(LONG);
    options.silence_timeout(DEADLINE).unwrap();
    let client = Client::open(&cluster.cluster_url(), &options).unwrap();
    let hasty = client.with_timeout(DEADLINE);
    let script = Script::new(COUNT);
    let keys: Vec<String> = (0..3).map(|node| cluster.tag_on(node, "n")).collect();
    let key = |node: usize| &*keys[node];
    for node in 0..3 {
        client.call(&script, &[key(node)], &NONE).unwrap();
    }
    let mut watchers: Vec<Raw> = (1..3).map(|node| Raw::connect(cluster.node(node))).collect();
    let mut connections = || -> Vec<Option<String>> {
        watchers.iter_mut().map(|raw| raw.info("stats", "total_connections_received")).collect()
    };
    let before = connections();
    let account = Account::default();
    account.note(&Ok(()));
    cluster.node(0).pause();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| client.call(&script, &[key(0)], &NONE).map(drop));
        let others: Vec<_> = (1..3)
            .map(|node| {
                let (client, script, is_over, key) = (&client, &script, &is_over, &key);
                scope.spawn(move || {
                    let mut calls = 1;
                    while !is_over.load(Ordering::Relaxed) {
                        client.call(script, &[key(node)], &NONE).unwrap();
                        calls += 1;
                    }
                    (node, calls)
                })
            })
            .collect();
        let end = OnDrop(|| is_over.store(true, Ordering::Relaxed));
        wait_until("calls to the hung node wait for a new connection", || {
            let result = hasty.call(&script, &[key(0)], &NONE).map(drop);
            account.note(&result);
            result.is_err_and(|error| error.is_not_executed())
        });
        assert!(!waiting.is_finished());
        cluster.node(0).resume();
        account.note(&waiting.join().unwrap());
        until_through(&account, || hasty.call(&script, &[key(0)], &NONE).map(drop));
        drop(end);
        for other in others {
            let (node, calls) = other.join().unwrap();
            let counted = Raw::connect(cluster.node(node)).ok(&["GET", key(node)]).text();
            assert_eq!(counted, i32::to_string(&calls));
        }
    });
    // The last two are this test's own.
    let own = |before: Option<String>| before.unwrap().parse::<u64>().unwrap() + 1;
    let after: Vec<u64> = connections().into_iter().map(|count| count.unwrap().parse().unwrap()).collect();
    assert_eq!(after, before.into_iter().map(own).collect::<Vec<_>>());
    account.settle(cluster.node(0), key(0));
}

#[test]
fn a_pipeline_sends_the_others_their_parts_before_it_connects_anew_to_a_silent_node() {
    let cluster = Cluster::builder(3).each(|node| node.arg("cluster-node-timeout", "60000")).start();
    // The others have much time, and a node that hangs takes half of it.
    let mut options = options(Duration::from_secs(5));
    options.silence_timeout(DEADLINE).unwrap();
    let client = Client::open(&cluster.cluster_url(), &options).unwrap();
    let keys: Vec<String> = (0..3).map(|node| cluster.tag_on(node, "n")).collect();
    for key in &keys {
        client.command(&["SET", key, "1"]).unwrap();
    }
    cluster.node(0).pause();
    for _ in 0..2 {
        let mut pipeline = client.pipeline();
        for key in &keys {
            pipeline.command(&["EXISTS", key]).unwrap();
        }
        assert_claims(&pipeline.exec().unwrap_err());
        let arrived = pipeline.arrived().expect("what the others have said");
        let answers: Vec<_> = arrived.root().elements().map(|reply| reply.as_i64()).collect();
        assert_eq!(answers, [None, Some(1), Some(1)]);
    }
    cluster.node(0).resume();
}

/// Answers PONG to everything, until the first connection is to be silent.
fn falling_silent() -> (Fake, Arc<AtomicBool>) {
    let is_silent = Arc::new(AtomicBool::new(false));
    let fake = Fake::start({
        let is_silent = is_silent.clone();
        move |conn: &mut Conn| {
            let mut next = conn.handshake();
            while next.is_some() {
                if conn.index() == 0 && is_silent.load(Ordering::Relaxed) {
                    return conn.hang();
                }
                conn.write(b"+PONG\r\n");
                next = conn.read_command();
            }
        }
    });
    (fake, is_silent)
}

#[test]
fn dead_calls_do_not_pile_up_until_the_silence_has_lasted_long_enough() {
    let (fake, is_silent) = falling_silent();
    let mut options = options(Duration::from_millis(20));
    options.silence_timeout(LONG).unwrap();
    let client = Client::open(&fake.url(), &options).unwrap();
    let patient = client.with_timeout(LONG);
    let queue = Queue::new(1).unwrap();
    let much = vec![b'x'; 1 << 20];
    is_silent.store(true, Ordering::Relaxed);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| patient.command(&["PING"]));
        let lost = AtomicUsize::new(0);
        wait_until("a new connection", || {
            client.submit_command(&queue, 1, &[&b"SET"[..], b"k", &much]).unwrap();
            let result = take(&queue, 1).remove(0).result;
            assert!(lost.fetch_add(1, Ordering::Relaxed) < 1000, "memory grows without bounds");
            // A late answer of the second connection does as well: it is there.
            result.is_ok() || fake.connections() > 1
        });
        assert!(!waiting.is_finished());
        client.close();
        assert_indeterminate(&waiting.join().unwrap().unwrap_err());
    });
}

/// A server, or the way to it, that is slower than what it is given: something comes all the time.
#[test]
fn dead_calls_do_not_pile_up_where_some_are_answered() {
    const EACH: usize = 10;
    let fake = Fake::start(|conn| {
        let mut next = conn.handshake();
        for count in 1.. {
            if next.is_none() {
                return;
            }
            if conn.index() > 0 || count % EACH == 0 {
                conn.write(b"+PONG\r\n");
            }
            next = conn.read_command();
        }
    });
    let mut options = options(Duration::from_millis(20));
    options.silence_timeout(LONG).unwrap();
    let client = Client::open(&fake.url(), &options).unwrap();
    let queue = Queue::new(1).unwrap();
    let much = vec![b'x'; 1 << 20];
    let lost = AtomicUsize::new(0);
    wait_until("a new connection", || {
        client.submit_command(&queue, 1, &[&b"SET"[..], b"k", &much]).unwrap();
        let result = take(&queue, 1).remove(0).result;
        assert!(lost.fetch_add(1, Ordering::Relaxed) < 200, "memory grows without bounds");
        result.is_ok() || fake.connections() > 1
    });
}

#[test]
fn a_call_that_was_given_up_is_not_sent_again() {
    let (told, is_given_up) = mpsc::channel::<()>();
    let is_given_up = std::sync::Mutex::new(is_given_up);
    let script = Script::new("return 1");
    let sha = script.sha();
    let fake = Fake::start(move |conn| {
        let load = conn.handshake().unwrap();
        assert_eq!((&load[0][..], &load[1][..]), (&b"SCRIPT"[..], &b"LOAD"[..]));
        let call = conn.read_command().unwrap();
        assert_eq!(call[0], b"EVALSHA");
        is_given_up.lock().unwrap().recv().unwrap();
        let loaded = format!("$40\r\n{sha}\r\n");
        conn.write(loaded.as_bytes());
        conn.write(b"-NOSCRIPT No matching script. Please use EVAL.\r\n");
        assert_eq!(conn.read_command().unwrap()[0], b"PING", "nobody waits for the script any more");
        conn.write(b"+PONG\r\n");
        conn.hang();
    });
    let mut options = options(LONG);
    options.silence_timeout(LONG).unwrap();
    let client = Client::open(&fake.url(), &options).unwrap();
    let error = client.with_timeout(DEADLINE).call(&script, &NONE, &NONE).unwrap_err();
    assert_indeterminate(&error);
    told.send(()).unwrap();
    wait_until("its reply came", || client.stats().in_flight == 0 || client.command(&["PING"]).is_ok());
    assert_eq!(client.stats().noscript_repairs, 0);
}

/// What happens with a client on an idle connection on which push messages come without end: `body` must end.
fn under_a_flood(body: impl FnOnce(&Client) + Send + 'static) {
    let (floods, is_over) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
    let fake = Fake::start({
        let (floods, is_over) = (floods.clone(), is_over.clone());
        move |conn: &mut Conn| {
            conn.handshake();
            conn.write(b"+OK\r\n");
            let pushes = b">0\r\n".repeat(16 * 1024);
            while !is_over.load(Ordering::Relaxed) {
                conn.write(&pushes);
                floods.store(true, Ordering::Relaxed);
            }
        }
    });
    let client = Client::open(&fake.url(), &options(LONG)).unwrap();
    client.command(&["PING"]).unwrap();
    wait_until("the flood has begun", || floods.load(Ordering::Relaxed));
    let (done, is_done) = mpsc::channel();
    let caller = thread::spawn(move || {
        body(&client);
        done.send(()).unwrap();
    });
    is_done.recv_timeout(PATIENCE).expect("the look at an idle connection ends");
    is_over.store(true, Ordering::Relaxed);
    caller.join().unwrap();
}

#[test]
fn a_flood_at_idle_does_not_keep_a_call_beyond_its_deadline() {
    under_a_flood(|client| {
        assert_indeterminate(&client.with_timeout(DEADLINE).command(&["PING"]).unwrap_err());
    });
}

#[test]
fn a_flood_at_idle_does_not_keep_those_who_submit() {
    under_a_flood(|client| {
        let queue = Queue::new(1).unwrap();
        client.with_timeout(DEADLINE).submit_command(&queue, 1, &["PING"]).unwrap();
        let error = take(&queue, 1).remove(0).result.unwrap_err();
        // A machine that is busy reads for longer than the deadline before it comes to send.
        let is_unsent = error.status() == Status::Timeout && error.is_not_executed();
        assert!(is_unsent || error.is_indeterminate(), "{error}");
    });
}

/// What of the deadline is left where nearly all of it went to something else.
const REST: Duration = Duration::from_millis(40);

/// A read that overlooks the deadline lasts for a quarter of a second.
const OVERLOOKED: Duration = Duration::from_millis(150);

/// Waits until a call that was sent ends at its deadline: the machine may be busy for a while, but not each time.
fn ends_in_time(mut call: impl FnMut() -> (Instant, Result<(), Error>)) {
    wait_until("a call ends at its deadline", || {
        let (deadline, result) = call();
        let late = deadline.elapsed();
        let error = result.unwrap_err();
        assert_claims(&error);
        error.is_indeterminate() && late < OVERLOOKED
    });
}

#[test]
fn a_deadline_holds_also_where_connecting_took_most_of_the_time() {
    let fake = Fake::start(|conn| {
        thread::sleep(DEADLINE - REST);
        while conn.handshake().is_some() {}
    });
    let mut options = options(DEADLINE);
    options.lazy_connect(true);
    ends_in_time(|| {
        let client = Client::open(&fake.url(), &options).unwrap();
        let deadline = Instant::now() + DEADLINE;
        (deadline, client.command(&["GET", "k"]).map(drop))
    });
}

#[test]
fn a_deadline_holds_also_where_finding_the_server_took_most_of_the_time() {
    let port = Arc::new(OnceLock::new());
    let fake = Fake::start({
        let port = port.clone();
        move |conn| {
            while let Some(command) = conn.handshake() {
                if command[0] == b"CLUSTER" {
                    let port = port.wait();
                    thread::sleep(DEADLINE - REST);
                    let slots = format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n");
                    conn.write(slots.as_bytes());
                }
            }
        }
    });
    port.set(fake.port()).unwrap();
    let mut options = options(DEADLINE);
    options.lazy_connect(true);
    ends_in_time(|| {
        let client = Client::open(&format!("redis+cluster://{}", fake.address()), &options).unwrap();
        let deadline = Instant::now() + DEADLINE;
        (deadline, client.command(&["GET", "k"]).map(drop))
    });
}

#[test]
fn a_deadline_holds_also_for_who_reads_after_a_sleep() {
    let fake = Fake::start(|conn| while conn.handshake().is_some() {});
    let mut options = options(LONG);
    options.silence_timeout(LONG).unwrap();
    let client = Client::open(&fake.url(), &options).unwrap();
    let short = client.with_timeout(DEADLINE - REST);
    let long = client.with_timeout(DEADLINE);
    ends_in_time(|| {
        thread::scope(|scope| {
            let in_flight = client.stats().in_flight;
            let reader = scope.spawn(|| short.command(&["GET", "k"]).map(drop));
            wait_until("somebody reads", || client.stats().in_flight > in_flight);
            let deadline = Instant::now() + DEADLINE;
            let result = long.command(&["GET", "k"]).map(drop);
            assert_claims(&reader.join().unwrap().unwrap_err());
            (deadline, result)
        })
    });
}

#[test]
fn a_pipeline_over_several_servers_keeps_its_deadline() {
    let cluster = Cluster::builder(3).each(|node| node.arg("cluster-node-timeout", "60000")).start();
    let mut options = options(LONG);
    options.silence_timeout(LONG).unwrap();
    let client = Client::open(&cluster.cluster_url(), &options).unwrap();
    let keys: Vec<String> = (0..3).map(|node| cluster.tag_on(node, "n")).collect();
    for key in &keys {
        client.command(&["GET", key]).unwrap();
    }
    cluster.node(0).pause();
    cluster.node(1).pause();
    let hasty = client.with_timeout(DEADLINE);
    ends_in_time(|| {
        let mut pipeline = hasty.pipeline();
        for key in &keys {
            pipeline.command(&["GET", key]).unwrap();
        }
        let deadline = Instant::now() + DEADLINE;
        (deadline, pipeline.exec().map(drop))
    });
    cluster.node(0).resume();
    cluster.node(1).resume();
}
