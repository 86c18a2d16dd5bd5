//! Bad days: cut and late replies, dead and deaf servers, and what callers may rely on all the same.

use crate::support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rs_script::{Client, Error, Options, Reply, Script, Status};
use support::fake::{Conn, Fake};
use support::proxy::{Proxy, Way};
use support::raw::{Raw, blocked_clients};
use support::server::Server;
use support::{SLACK, wait_until};

const NONE: &[&[u8]] = &[];

/// Long enough for what is bound to come, on a busy machine.
const LONG: Duration = Duration::from_secs(120);

fn open(url: &str) -> Client {
    let mut options = Options::default();
    // Silence has tests of its own; here connections are to be as they were after a missed deadline.
    options.call_timeout(LONG).unwrap().silence_timeout(LONG).unwrap();
    options.reconnect_backoff(Duration::from_millis(1), Duration::from_millis(20)).unwrap();
    Client::open(url, &options).unwrap()
}

fn counter() -> Script {
    Script::new("return {redis.call('INCR', KEYS[1]), 'some text', {ARGV[1]}}")
}

fn count(server: &Server) -> i64 {
    Raw::connect(server).ok(&["INCRBY", "n", "0"]).integer()
}

#[track_caller]
fn assert_indeterminate(error: &Error) {
    assert_eq!(error.status(), Status::Indeterminate, "{error}");
    assert!(error.is_indeterminate() && !error.is_not_executed());
}

/// Answers scripts and commands as `answer` says, one after the other.
fn answering(answer: impl Fn(&mut Conn, &[Vec<u8>]) + Send + Sync + 'static) -> Fake {
    Fake::start(move |conn| {
        let mut next = conn.handshake();
        while let Some(command) = next {
            answer(conn, &command);
            next = conn.read_command();
        }
    })
}

#[test]
fn a_reply_cut_at_any_byte_is_indeterminate_and_the_script_ran_once() {
    let server = Server::start();
    let proxy = Proxy::start(("127.0.0.1", server.port()));
    let client = open(&proxy.url());
    let script = counter();
    let call = || client.call(&script, &["n"], &["x"]);
    call().unwrap();
    let before = proxy.bytes(Way::Replies);
    call().unwrap();
    let length = (proxy.bytes(Way::Replies) - before) as usize;
    let mut ran = 2;
    for cut in 0..length {
        proxy.cut_after(Way::Replies, cut);
        assert_indeterminate(&call().unwrap_err());
        let reply = call().unwrap();
        ran += 2;
        assert_eq!(reply.get(0).unwrap().as_i64(), Some(ran), "cut at {cut}");
    }
    assert_eq!(count(&server), ran);
}

#[test]
fn a_first_call_cut_at_any_byte_of_its_replies_runs_once() {
    let server = Server::start();
    let proxy = Proxy::start(("127.0.0.1", server.port()));
    let script = counter();
    let length = {
        let client = open(&proxy.url());
        let before = proxy.bytes(Way::Replies);
        client.call(&script, &["n"], &["x"]).unwrap();
        (proxy.bytes(Way::Replies) - before) as usize
    };
    let mut ran = 1;
    for cut in 0..length {
        let client = open(&proxy.url());
        proxy.cut_after(Way::Replies, cut);
        assert_indeterminate(&client.call(&script, &["n"], &["x"]).unwrap_err());
        let reply = client.call(&script, &["n"], &["x"]).unwrap();
        ran += 2;
        assert_eq!(reply.get(0).unwrap().as_i64(), Some(ran), "cut at {cut}");
    }
    assert_eq!(count(&server), ran);
}

#[test]
fn a_request_cut_at_any_byte_never_runs_and_never_claims_so() {
    let server = Server::start();
    let proxy = Proxy::start(("127.0.0.1", server.port()));
    let client = open(&proxy.url());
    let script = counter();
    let call = || client.call(&script, &["n"], &["x"]);
    call().unwrap();
    let before = proxy.bytes(Way::Requests);
    call().unwrap();
    let length = (proxy.bytes(Way::Requests) - before) as usize;
    let mut ran = 2;
    for cut in 0..length {
        proxy.cut_after(Way::Requests, cut);
        assert_indeterminate(&call().unwrap_err());
        ran += 1;
        assert_eq!(call().unwrap().get(0).unwrap().as_i64(), Some(ran), "cut at {cut}");
    }
}

/// Replies of every type, each with what Debug makes of it.
const REPLIES: [(&str, &str); 4] = [
    ("*3\r\n:10\r\n$5\r\nab\r\nc\r\n*1\r\n+OK\r\n", r#"Array[10, String("ab\r\nc"), Array[Status("OK")]]"#),
    ("%1\r\n$1\r\nk\r\n~2\r\n,1.5\r\n#t\r\n", r#"Map[String("k"), Set[Double("1.5"), true]]"#),
    ("*4\r\n_\r\n$-1\r\n*-1\r\n-ERR x\r\n", r#"Array[Nil, Nil, Nil, Error("ERR x")]"#),
    (
        "*3\r\n(123\r\n=7\r\ntxt:abc\r\n!3\r\nE x\r\n",
        r#"Array[BigNumber("123"), Verbatim("abc"), Error("E x")]"#,
    ),
];

#[test]
fn a_reply_delayed_at_any_byte_is_whole() {
    for (bytes, shown) in REPLIES {
        let (send, cuts) = mpsc::channel::<usize>();
        let cuts = Mutex::new(cuts);
        let fake = answering(move |conn, _| {
            let cut = cuts.lock().unwrap().recv().unwrap();
            conn.write(&bytes.as_bytes()[..cut]);
            // Time for the client to have read the front and to wait for the rest; being too quick fails no promise.
            thread::sleep(Duration::from_millis(1));
            conn.write(&bytes.as_bytes()[cut..]);
        });
        let client = open(&fake.url());
        for cut in 0..=bytes.len() {
            send.send(cut).unwrap();
            assert_eq!(format!("{:?}", client.command(&["GET", "k"]).unwrap()), shown, "cut at {cut}");
        }
    }
}

#[test]
fn a_reply_byte_by_byte_is_whole() {
    let server = Server::start();
    let proxy = Proxy::start(("127.0.0.1", server.port()));
    proxy.max_write(Way::Replies, 1);
    proxy.max_write(Way::Requests, 1);
    let client = open(&proxy.url());
    let script = counter();
    for number in 1..=20 {
        let reply = client.call(&script, &["n"], &["x"]).unwrap();
        assert_eq!(
            format!("{reply:?}"),
            format!(r#"Array[{number}, String("some text"), Array[String("x")]]"#)
        );
    }
}

#[test]
fn a_server_killed_before_while_and_after_it_answers() {
    let server = Server::start();
    let client = open(&server.url());
    let script = counter();
    client.call(&script, &["n"], &["x"]).unwrap();

    // After the reply: the next call finds nobody. Whether its bytes left first is a matter of moments.
    server.kill();
    let error = client.call(&script, &["n"], &["x"]).unwrap_err();
    assert!(error.is_not_executed() != error.is_indeterminate(), "{error}");
    server.restart();
    client.call(&script, &["n"], &["x"]).unwrap();

    // Before the reply: it stands still when the call comes.
    server.pause();
    thread::scope(|scope| {
        let call = scope.spawn(|| client.call(&script, &["n"], &["x"]));
        wait_until("the call is in flight", || client.stats().in_flight == 1);
        server.kill();
        assert_indeterminate(&call.join().unwrap().unwrap_err());
    });
    server.restart();

    // In the middle of a reply: of 100 MB, the client has some, and the kernel has not room for the rest.
    thread::scope(|scope| {
        let huge = Script::new("return string.rep('x', 100000000)");
        let received = client.stats().bytes_received;
        let call = scope.spawn({
            let client = &client;
            move || client.call(&huge, NONE, NONE).map(drop)
        });
        wait_until("a part of the reply is there", || client.stats().bytes_received > received + 100_000);
        server.kill();
        // Had it come through in this moment, that would be no fault either.
        if let Err(error) = call.join().unwrap() {
            assert_indeterminate(&error);
        }
    });
    server.restart();
    assert_eq!(client.call(&script, &["n"], &["x"]).unwrap().get(0).unwrap().as_i64(), Some(1));
}

/// Keeps the server busy for ARGV[2] milliseconds, then returns ARGV[1].
const SLOW: &str = "local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end \
                    local stop = now() + ARGV[2] while now() < stop do end \
                    redis.call('INCR', 'n') return ARGV[1]";

#[test]
fn a_late_reply_never_surfaces() {
    let server = Server::start();
    let client = open(&server.url());
    let hasty = client.with_timeout(Duration::from_millis(5));
    let (slow, echo) = (Script::new(SLOW), Script::new("return ARGV[1]"));
    client.call(&slow, NONE, &["warm", "0"]).unwrap();
    let (mut missed, mut round) = (0, 0);
    while missed < 10 {
        round += 1;
        // On a busy machine this thread may look only when the reply is there.
        match hasty.call(&slow, NONE, &["late", "12"]) {
            Ok(reply) => assert_eq!(reply.as_str(), Some("late")),
            Err(error) => {
                assert_indeterminate(&error);
                missed += 1;
            }
        }
        let own = format!("own {round}");
        assert_eq!(client.call(&echo, NONE, &[&own]).unwrap().as_str(), Some(&*own));
    }
    assert_eq!((client.stats().reconnects, client.stats().in_flight), (0, 0));
    assert_eq!(count(&server), round + 1, "a call whose deadline has passed still runs once");
}

#[test]
fn late_replies_never_surface_among_many_callers() {
    let server = Server::start();
    let client = open(&server.url());
    let hasty = client.with_timeout(Duration::from_millis(3));
    let (slow, echo) = (Script::new(SLOW), Script::new("return ARGV[1]"));
    let missed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..8 {
            let (client, hasty, slow, echo, missed) = (&client, &hasty, &slow, &echo, &missed);
            scope.spawn(move || {
                for round in 0..60 {
                    let own = format!("{thread} {round}");
                    match hasty.call(slow, NONE, &[own.as_str(), "1"]) {
                        Ok(reply) => assert_eq!(reply.as_str(), Some(&*own)),
                        Err(error) => {
                            assert_indeterminate(&error);
                            missed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    assert_eq!(client.call(echo, NONE, &[&own]).unwrap().as_str(), Some(&*own));
                }
            });
        }
    });
    assert!(missed.into_inner() > 0, "deadlines were missed");
    assert_eq!((client.stats().reconnects, client.stats().in_flight), (0, 0));
    assert_eq!(count(&server), 8 * 60);
}

#[test]
fn eight_threads_run_at_most_once_under_client_kills_without_end() {
    let server = Server::start();
    let client = open(&server.url());
    let done = AtomicBool::new(false);
    let (ended, ok, unknown) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let kills = thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut raw = Raw::connect(&server);
            let mut kills = 0;
            while !done.load(Ordering::Relaxed) {
                let before = ended.load(Ordering::Relaxed);
                raw.ok(&["CLIENT", "KILL", "TYPE", "normal"]);
                kills += 1;
                // Time to get some calls through, or nothing but handshakes would be killed.
                while ended.load(Ordering::Relaxed) < before + 20 && !done.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
            }
            kills
        });
        let callers: Vec<_> = (0..8)
            .map(|thread| {
                let (client, ended, ok, unknown) = (&client, &ended, &ok, &unknown);
                scope.spawn(move || {
                    let script = counter();
                    for round in 0..500 {
                        let own = format!("{thread} {round}");
                        match client.call(&script, &["n"], &[&own]) {
                            Ok(reply) => {
                                let echoed = reply.get(2).and_then(|inner| inner.get(0));
                                assert_eq!(echoed.and_then(|text| text.as_str()), Some(&*own));
                                ok.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(error) if error.is_indeterminate() => {
                                assert_indeterminate(&error);
                                unknown.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(error) => assert!(error.is_not_executed(), "{error}"),
                        }
                        ended.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let callers: Vec<_> = callers.into_iter().map(ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        callers.into_iter().for_each(Result::unwrap);
        killer.join().unwrap()
    });
    let (ok, unknown) = (ok.into_inner() as i64, unknown.into_inner() as i64);
    let ran = count(&server);
    assert!((ok..=ok + unknown).contains(&ran), "{ran} ran, {ok} succeeded, of {unknown} nothing is known");
    assert!(kills > 0 && client.stats().reconnects > 0, "{kills} kills were felt");
    assert!(ok > 1000, "most calls get through: {ok}");
}

#[test]
fn close_ends_calls_in_flight_and_refuses_later_ones() {
    let server = Server::start();
    let client = open(&server.url());
    server.pause();
    let start = Instant::now();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| client.call(&counter(), &["n"], &["x"]))).collect();
        wait_until("all calls are in flight", || client.stats().in_flight == 8);
        client.close();
        for call in calls {
            let error = call.join().unwrap().unwrap_err();
            assert!(matches!(error.status(), Status::Closed | Status::Indeterminate), "{error}");
            assert!(error.is_not_executed() != error.is_indeterminate(), "{error}");
        }
    });
    for call in [client.call(&counter(), &["n"], &["x"]), client.clone().command(&["PING"])] {
        let error = call.unwrap_err();
        assert_eq!(error.status(), Status::Closed, "{error}");
        assert!(error.is_not_executed());
    }
    assert!(start.elapsed() < LONG / 2);
    client.close();
}

#[test]
fn close_ends_commands_that_wait_on_connections_of_their_own() {
    let server = Server::start();
    let client = open(&server.url());
    let start = Instant::now();
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| client.command(&["BLPOP", "q", "0"]))).collect();
        wait_until("they wait", || blocked_clients(&server) == 3);
        client.close();
        for call in waiting {
            assert_indeterminate(&call.join().unwrap().unwrap_err());
        }
    });
    assert_eq!(client.command(&["BLPOP", "q", "0"]).unwrap_err().status(), Status::Closed);
    assert_eq!(client.script_kill().unwrap_err().status(), Status::Closed);
    assert!(start.elapsed() < LONG / 2);
}

#[test]
fn close_in_the_middle_of_a_reply_ends_its_call() {
    let fake = answering(|conn, _| {
        conn.write(b"*100000000\r\n");
        for _ in 0..200 {
            conn.write("*1\r\n*2\r\n:1\r\n:2\r\n".repeat(1000).as_bytes());
        }
        conn.hang();
    });
    for _ in 0..20 {
        let client = open(&fake.url());
        let received = client.stats().bytes_received;
        thread::scope(|scope| {
            let call = scope.spawn(|| client.command(&["GET", "k"]));
            wait_until("the reply has begun", || client.stats().bytes_received > received + 100_000);
            client.close();
            assert_indeterminate(&call.join().unwrap().unwrap_err());
        });
    }
}

#[test]
fn a_server_that_stands_still_costs_no_more_than_the_deadline() {
    let server = Server::start();
    let client = open(&server.url());
    let script = counter();
    client.call(&script, &["n"], &["x"]).unwrap();
    server.pause();
    thread::scope(|scope| {
        for thread in 1..=8 {
            let (client, script) = (&client, &script);
            scope.spawn(move || {
                let limit = Duration::from_millis(100 * thread);
                let start = Instant::now();
                let error = client.with_timeout(limit).call(script, &["n"], &["x"]).unwrap_err();
                assert_indeterminate(&error);
                let took = start.elapsed();
                assert!(took >= limit && took < limit + SLACK, "{limit:?}: {took:?}");
            });
        }
    });
    server.resume();
    // All of them were sent, and run before this one.
    assert_eq!(client.call(&script, &["n"], &["x"]).unwrap().get(0).unwrap().as_i64(), Some(10));
    assert_eq!(client.stats().reconnects, 0);
}

#[test]
fn a_connection_that_has_died_in_silence_is_given_up_after_missed_deadlines() {
    let fake = Fake::start(|conn| {
        let mut next = conn.handshake();
        while let Some(command) = next {
            if conn.index() == 0 && command[0] == b"GET" {
                return conn.hang();
            }
            conn.write(b"+PONG\r\n");
            next = conn.read_command();
        }
    });
    let mut options = Options::default();
    options.silence_timeout(Duration::from_millis(200)).unwrap();
    let client = Client::open(&fake.url(), &options).unwrap();
    client.command(&["PING"]).unwrap();
    let hasty = client.with_timeout(Duration::from_millis(50));
    assert_indeterminate(&hasty.command(&["GET", "k"]).unwrap_err());
    // On a busy machine such a deadline may pass before there is a new connection.
    wait_until("calls get through again", || match hasty.command(&["PING"]) {
        Ok(_) => true,
        Err(error) => {
            assert!(error.is_indeterminate() || error.status() == Status::Timeout, "{error}");
            false
        }
    });
    // On a busy machine a later one may be given up as well.
    assert!(client.stats().reconnects >= 1, "the calls got through on the connection that is dead");
}

#[test]
fn thirty_two_threads_get_their_own_answers() {
    let server = Server::start();
    let client = open(&server.url());
    let scripts = [
        Script::new("return ARGV[1] * 3"),
        Script::new("return {ARGV[1], {ARGV[1] * 3}}"),
        Script::new("redis.call('INCR', 'n') return string.rep(ARGV[1], 100)"),
    ];
    let expect = |which: usize, own: i64, reply: &Reply| match which {
        0 => assert_eq!(reply.as_i64(), Some(own * 3)),
        1 => assert_eq!(format!("{reply:?}"), format!("Array[String(\"{own}\"), Array[{}]]", own * 3)),
        _ => assert_eq!(reply.as_str(), Some(&*own.to_string().repeat(100))),
    };
    thread::scope(|scope| {
        for thread in 0..32 {
            let (client, scripts, expect) = (&client, &scripts, &expect);
            scope.spawn(move || {
                for round in 0..1000 {
                    let own = thread * 1000 + round;
                    let which = (own % 3) as usize;
                    expect(which, own, &client.call(&scripts[which], NONE, &[own.to_string()]).unwrap());
                }
            });
        }
    });
    let stats = client.stats();
    assert_eq!((stats.in_flight, stats.reconnects, stats.noscript_repairs), (0, 0, 0));
    assert_eq!(stats.script_loads, 3);
    assert!(stats.round_trips < stats.calls, "calls travel together");
    assert_eq!(count(&server), (0..32_000).filter(|own| own % 3 == 2).count() as i64);
}

#[test]
fn callers_that_meet_on_an_idle_connection_do_not_get_in_each_others_way() {
    let server = Server::start();
    let client = open(&server.url());
    let script = Script::new("return ARGV[1]");
    // Threads of its own for each round: one that has failed never comes to the next meeting.
    for round in 0..400 {
        let meet = Barrier::new(8);
        thread::scope(|scope| {
            for thread in 0..8 {
                let (client, script, meet) = (&client, &script, &meet);
                scope.spawn(move || {
                    // Idle for long enough to be looked at before it is used.
                    thread::sleep(Duration::from_micros(1200));
                    meet.wait();
                    let own = format!("{thread} {round}");
                    let start = Instant::now();
                    assert_eq!(client.call(script, NONE, &[&own]).unwrap().as_str(), Some(&*own));
                    assert!(start.elapsed() < LONG / 2, "{:?}", start.elapsed());
                });
            }
        });
    }
    assert_eq!(client.stats().reconnects, 0);
}

#[test]
fn a_peer_that_does_not_read_costs_nobody_more_than_the_deadline() {
    let (end, ended) = mpsc::channel::<()>();
    let ended = Mutex::new(ended);
    let fake = Fake::start(move |conn| {
        // HELLO, the two names, MULTI and EXEC; then not a byte more is read.
        for _ in 0..5 {
            conn.read_command();
            conn.write(b"+OK\r\n");
        }
        let _ = ended.lock().unwrap().recv();
    });
    let client = open(&fake.url());
    let large = vec![b'x'; 64 << 20];
    let echo = Script::new("return ARGV[1]");
    thread::scope(|scope| {
        for (limit, argument) in [(800, &large[..]), (200, b"small"), (400, b"small"), (600, &large)] {
            let (client, echo) = (&client, &echo);
            scope.spawn(move || {
                let limit = Duration::from_millis(limit);
                let start = Instant::now();
                let error = client.with_timeout(limit).call(echo, NONE, &[argument]).unwrap_err();
                assert!(error.is_indeterminate() != error.is_not_executed(), "{error}");
                let took = start.elapsed();
                // Far below the test's own patience, and far above what a busy machine takes.
                assert!(took >= limit && took < limit + LONG / 2, "{limit:?}: {took:?}");
            });
        }
    });
    drop(end);
}

#[test]
fn a_large_reply_that_comes_while_a_large_request_goes_stops_neither() {
    const LARGE: usize = 32 << 20;
    // Answers before it has read the request, and reads nothing meanwhile: who only writes would wait for ever.
    let fake = Fake::start(|conn| {
        let first = conn.handshake();
        assert!(first.is_some_and(|command| command[0] == b"PING"));
        conn.write(b"+PONG\r\n");
        conn.read_some();
        conn.write(format!("${LARGE}\r\n").as_bytes());
        conn.write(&vec![b'r'; LARGE]);
        conn.write(b"\r\n");
        conn.hang();
    });
    let client = open(&fake.url());
    client.command(&["PING"]).unwrap();
    let reply = client.command(&[&b"ECHO"[..], &vec![b'x'; LARGE]]).unwrap();
    assert!(reply.as_bytes().is_some_and(|bytes| bytes.len() == LARGE && bytes.iter().all(|&b| b == b'r')));
}

#[test]
fn large_arguments_and_replies_of_several_callers_cross() {
    let server = Server::start();
    let client = open(&server.url());
    let echo = Script::new("return {ARGV[1], ARGV[2]}");
    thread::scope(|scope| {
        for thread in 0..6u8 {
            let (client, echo) = (&client, &echo);
            scope.spawn(move || {
                for size in [8 << 20, 20_000, 3] {
                    let argument = vec![thread; size];
                    let reply = client.call(echo, NONE, &[&argument[..], b"end"]).unwrap();
                    assert!(reply.get(0).and_then(|bytes| bytes.as_bytes()) == Some(&argument[..]));
                    assert_eq!(reply.get(1).and_then(|bytes| bytes.as_str()), Some("end"));
                }
            });
        }
    });
}

#[test]
fn a_flood_of_what_nobody_asked_for_does_not_hold_up_the_deadline() {
    let (over, calm) = (Arc::new(AtomicBool::new(false)), Instant::now() + LONG);
    let stop = over.clone();
    let fake = answering(move |conn, _| {
        let pushes = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n".repeat(10_000);
        while Instant::now() < calm && !stop.load(Ordering::Relaxed) {
            conn.write(pushes.as_bytes());
        }
    });
    let client = open(&fake.url());
    let start = Instant::now();
    let error = client.with_timeout(Duration::from_millis(300)).command(&["GET", "k"]).unwrap_err();
    assert_indeterminate(&error);
    assert!(start.elapsed() < LONG / 2, "{:?}", start.elapsed());
    over.store(true, Ordering::Relaxed);
}

#[test]
fn a_reply_that_trickles_does_not_hold_up_the_deadline() {
    let fake = answering(|conn, _| {
        conn.write(b"$1000\r\n");
        conn.write_slowly(&[b'x'; 1000], Duration::from_millis(100));
        conn.write(b"\r\n");
    });
    let client = open(&fake.url());
    let start = Instant::now();
    let error = client.with_timeout(Duration::from_millis(100)).command(&["GET", "k"]).unwrap_err();
    assert_indeterminate(&error);
    assert!(start.elapsed() < LONG / 2, "{:?}", start.elapsed());
}

#[test]
fn a_peer_that_speaks_out_of_turn_or_nonsense_is_left() {
    let nonsense: [&'static [u8]; 8] = [
        b"nonsense\r\n",
        b"\0\0\0\0",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$5\r\nabcdefg\r\n",
        b":12x\r\n",
        b"*-2\r\n",
        b"#maybe\r\n",
        b"$-5\r\n",
    ];
    for bytes in nonsense {
        let fake = answering(move |conn, command| match command[0].as_slice() {
            b"PING" => conn.write(b"+PONG\r\n"),
            _ => conn.write(bytes),
        });
        let client = open(&fake.url());
        assert_indeterminate(&client.command(&["GET", "k"]).unwrap_err());
        assert_eq!(client.command(&["PING"]).unwrap().as_str(), Some("PONG"));
    }
    // One reply too many: it must not become the next call's.
    let fake = answering(|conn, command| match command[0].as_slice() {
        b"PING" => conn.write(b"+PONG\r\n"),
        _ => conn.write(b"$1\r\na\r\n$5\r\nfalse\r\n"),
    });
    let client = open(&fake.url());
    for _ in 0..50 {
        match client.command(&["GET", "k"]) {
            Ok(reply) => assert_eq!(reply.as_str(), Some("a")),
            Err(error) => assert_indeterminate(&error),
        }
        match client.command(&["PING"]) {
            Ok(reply) => assert_eq!(reply.as_str(), Some("PONG")),
            Err(error) => assert!(error.is_indeterminate(), "{error}"),
        }
    }
}

#[test]
fn a_writer_that_is_left_alone_with_a_peer_that_wants_to_be_read_first_gets_through() {
    const LARGE: usize = 32 << 20;
    let flooded = Arc::new(AtomicBool::new(false));
    let go = flooded.clone();
    // Reads the two requests in turn, and answers the first one at length before it reads the second one.
    let fake = Fake::start(move |conn| {
        let first = conn.handshake();
        assert!(first.is_some_and(|command| command[0] == b"GET"));
        while !go.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
        conn.write(format!("${LARGE}\r\n").as_bytes());
        conn.write(&vec![b'r'; LARGE]);
        conn.write(b"\r\n");
        conn.read_command();
        conn.write(b"+PONG\r\n");
        conn.hang();
    });
    let client = open(&fake.url());
    thread::scope(|scope| {
        let reader = scope.spawn(|| client.with_timeout(Duration::from_millis(500)).command(&["GET", "k"]));
        wait_until("the first call is in flight", || client.stats().in_flight == 1);
        let large = vec![b'x'; LARGE];
        let client = &client;
        let writer = scope.spawn(move || {
            let start = Instant::now();
            let reply = client.command(&[&b"PING"[..], &large]);
            (reply, start.elapsed())
        });
        assert_indeterminate(&reader.join().unwrap().unwrap_err());
        flooded.store(true, Ordering::SeqCst);
        let (reply, took) = writer.join().unwrap();
        assert_eq!(reply.unwrap().as_str(), Some("PONG"));
        assert!(took < LONG / 2, "{took:?}");
    });
}

#[test]
fn a_connection_closed_behind_a_late_reply_is_replaced_before_the_next_call() {
    let server = Server::start();
    let client = open(&server.url());
    let script = counter();
    client.call(&script, &["n"], NONE).unwrap();
    server.pause();
    let error = client.with_timeout(Duration::from_millis(50)).call(&script, &["n"], NONE).unwrap_err();
    assert_indeterminate(&error);
    server.resume();
    let mut raw = Raw::connect(&server);
    wait_until("the late reply is sent", || raw.ok(&["INCRBY", "n", "0"]).integer() == 2);
    raw.ok(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    wait_until("the connection is closed", || {
        raw.info("clients", "connected_clients").as_deref() == Some("1")
    });
    let reply = client.call(&script, &["n"], NONE).expect("a call on a new connection");
    assert_eq!(reply.get(0).and_then(|count| count.as_i64()), Some(3));
}

#[test]
fn an_idempotent_call_that_may_have_run_is_never_said_not_to_have() {
    let server = Server::start();
    let client = Client::open(&server.url(), &Options::default()).unwrap();
    let script = Script::idempotent("return redis.call('SET', KEYS[1], 'x')");
    client.call(&script, &["k"], NONE).unwrap();
    server.pause();
    let error = thread::scope(|scope| {
        let call = scope.spawn(|| client.call(&script, &["k"], NONE).unwrap_err());
        wait_until("the call is sent", || client.stats().in_flight > 0);
        server.kill();
        call.join().unwrap()
    });
    assert!(error.is_indeterminate() && !error.is_not_executed(), "{error}");
}
