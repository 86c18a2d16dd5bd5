//! A primary behind sentinels: found through any of them, followed on failover, each call at most once.

use crate::support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rs_script::{
    Client, Error, FlushMode, Options, Protocol, Queue, ReadFrom, Reply, ReplyRef, Script, Status,
};
use support::calls::*;
use support::fake::Fake;
use support::raw::{Raw, calls_of};
use support::sentinel::Sentinels;
use support::server::Server;
use support::tls::Certs;
use support::{OnDrop, SLACK, wait_until};

/// Tells the port of the server that it runs on.
const WHERE: &str = "return string.match(redis.call('INFO', 'server'), 'tcp_port:(%d+)')";

/// Counts, and notes under which name: a call that ran twice would show as one that was noted before.
const NOTE: &str = "
    local times = redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
    redis.call('INCR', KEYS[2])
    return {times, string.match(redis.call('INFO', 'server'), 'tcp_port:(%d+)')}";

/// Needs encoding in a URL.
const PASSWORD: &str = "p@ss/w:rd%";

/// Long enough for a failover on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

fn options() -> Options {
    let mut options = Options::default();
    options.call_timeout(DEADLINE).unwrap().reconnect_attempts(0);
    options
}

/// A URL with these sentinels in place of the service's own.
fn url(addresses: &[String], service: &str) -> String {
    format!("redis+sentinel://{}/{service}", addresses.join(","))
}

fn addresses(service: &Sentinels) -> Vec<String> {
    service.sentinels().iter().map(|sentinel| sentinel.address().to_string()).collect()
}

#[track_caller]
fn port(client: &Client) -> u16 {
    let reply = client.call(&Script::new(WHERE), &["a"], &NONE).unwrap();
    reply.as_str().and_then(|port| port.parse().ok()).expect("a port")
}

/// What opening fails with, in time.
#[track_caller]
fn refused(url: &str, options: &Options) -> rs_script::Error {
    let start = Instant::now();
    let error = Client::open(url, options).expect_err("it opened");
    assert!(start.elapsed() < SLACK, "{:?}: {error}", start.elapsed());
    assert!(error.is_not_executed(), "{error}");
    error
}

#[test]
fn everything_works_behind_sentinels() {
    let service = Sentinels::start(1);
    let client = Client::open(&service.url(), &options()).unwrap();
    let primary = service.primary();
    assert_eq!(port(&client), primary.port());
    assert_eq!(client.command(&["SET", "n", "20"]).unwrap().as_str(), Some("OK"));
    assert_eq!(client.call(&Script::new(MULTIPLY), &["n"], &["3"]).unwrap().as_i64(), Some(60));
    assert_eq!(client.call_read_only(&Script::new(MULTIPLY), &["n"], &["2"]).unwrap().as_i64(), Some(40));
    for mut batch in [client.pipeline(), client.transaction()] {
        batch.script(&Script::new(COUNT), &["n"], &NONE).unwrap();
        batch.command(&["GET", "n"]).unwrap();
        batch.script_read_only(&Script::new(MULTIPLY), &["n"], &["2"]).unwrap();
        batch.command(&["DECR", "n"]).unwrap();
        let replies = batch.exec().unwrap();
        assert_eq!(shown(&replies), r#"Array[21, String("21"), 42, 20]"#);
    }
    let script = Script::new("return 'administered'");
    client.script_load(&script).unwrap();
    assert_eq!(client.script_exists(&[script.sha_hex(), &"0".repeat(40)]).unwrap(), [true, false]);
    client.script_flush(FlushMode::Sync).unwrap();
    assert_eq!(client.script_exists(&[script.sha_hex()]).unwrap(), [false]);
    assert_eq!(client.script_kill().unwrap_err().server_code(), Some("NOTBUSY"));
    assert_eq!(client.script_show(script.sha_hex()).unwrap_err().status(), Status::NotSupported);
    assert_eq!(client.call(&script, &NONE, &NONE).unwrap().as_str(), Some("administered"));
    assert_eq!(calls_of(&service.servers()[1], "evalsha"), 0);
}

#[test]
fn one_sentinel_that_is_right_will_do() {
    let service = Sentinels::start(1);
    let [right, second, third] = service.sentinels() else { panic!("three sentinels") };
    let right = right.address().to_string();
    second.pause();
    third.kill();
    let no_sentinel = Server::start();
    let nobody = Server::start();
    nobody.kill();
    for wrong in [second, third, &no_sentinel, &nobody] {
        let wrong = wrong.address().to_string();
        for order in [[wrong.clone(), right.clone()], [right.clone(), wrong]] {
            let client = Client::open(&url(&order, service.service()), &options()).unwrap();
            assert_eq!(port(&client), service.servers()[0].port());
        }
    }
    let all = [third, &no_sentinel, &nobody, second].map(|server| server.address().to_string());
    let all: Vec<String> = all.into_iter().chain([right]).collect();
    assert_eq!(
        port(&Client::open(&url(&all, service.service()), &options()).unwrap()),
        service.servers()[0].port()
    );
    second.resume();
}

#[test]
fn a_sentinel_with_old_news_is_not_believed() {
    let service = Sentinels::start(1);
    let old = service.servers()[0].port();
    let stale = service.sentinels()[0].address().to_string();
    // Cut off from the others: it still names the old primary when it comes back.
    service.sentinels()[0].pause();
    thread::scope(|scope| {
        scope.spawn(|| {
            let others = &service.sentinels()[1..];
            let name = |sentinel: &Server| {
                let mut raw = Raw::connect(sentinel);
                let reply = raw.ok(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", service.service()]);
                reply.elements()[1].text()
            };
            wait_until("the others fail over", || {
                if others.iter().any(|other| name(other) == old.to_string()) {
                    Raw::connect(&others[0]).cmd(&["SENTINEL", "FAILOVER", service.service()]);
                }
                others.iter().all(|other| name(other) != old.to_string())
            });
            wait_until("the old primary follows", || {
                let role = Raw::try_connect(&service.servers()[0])
                    .and_then(|mut raw| raw.try_info("replication", "role"));
                matches!(role, Ok(Some(role)) if role == "slave")
            });
        });
    });
    let all = [stale, service.sentinels()[1].address().to_string()];
    service.sentinels()[0].resume();
    let client = Client::open(&url(&all, service.service()), &options()).unwrap();
    assert_eq!(port(&client), service.servers()[1].port());
}

#[test]
fn without_a_sentinel_that_is_right_the_error_names_each() {
    let (server, dead) = (Server::start(), Server::start());
    dead.kill();
    let all = [&server, &dead].map(|server| server.address().to_string());
    for lazy in [false, true] {
        let mut options = Options::default();
        options.lazy_connect(lazy);
        let error = if lazy {
            let client = Client::open(&url(&all, "name"), &options).unwrap();
            client.command(&["SET", "a", "1"]).unwrap_err()
        } else {
            refused(&url(&all, "name"), &options)
        };
        for address in &all {
            assert!(error.message().contains(address.as_str()), "{address} is missing: {error}");
        }
        assert_eq!(error.status(), Status::Connect, "{error}");
        assert!(error.is_not_executed(), "{error}");
    }
    // A server that is no sentinel, alone.
    let error = refused(&url(&all[..1], "name"), &Options::default());
    assert!(error.message().contains(&all[0]) && error.message().contains("sentinel"), "{error}");
    // One that hangs: in time all the same.
    server.pause();
    let start = Instant::now();
    let error =
        Client::open(&url(&all, "name"), Options::default().call_timeout(Duration::from_secs(2)).unwrap());
    let error = error.expect_err("it opened");
    assert!(start.elapsed() < Duration::from_secs(2) + SLACK, "{:?}", start.elapsed());
    assert!(error.message().contains(&all[0]), "{error}");
    server.resume();
}

#[test]
fn a_service_that_no_sentinel_knows() {
    let service = Sentinels::start(1);
    let error = refused(&url(&addresses(&service), "another-name"), &Options::default());
    assert_eq!(error.status(), Status::Connect, "{error}");
    for address in addresses(&service) {
        assert!(error.message().contains(&address), "{address} is missing: {error}");
    }
    assert!(error.message().contains("another-name"), "{error}");
}

#[test]
fn passwords_of_sentinels_and_servers() {
    let service = Sentinels::builder(1).password(PASSWORD).sentinel_password("s3ntinel").start();
    let primary = service.primary().port();
    let bare = url(&addresses(&service), service.service());

    let mut right = options();
    right.sentinel_password("s3ntinel");
    assert_eq!(port(&Client::open(&service.url(), &right).unwrap()), primary);
    let mut both = right.clone();
    both.password(PASSWORD);
    assert_eq!(port(&Client::open(&bare, &both).unwrap()), primary);
    let mut user = right.clone();
    user.sentinel_username("default").unwrap();
    assert_eq!(port(&Client::open(&service.url(), &user).unwrap()), primary);
    let mut reads = right.clone();
    reads.read_from(ReadFrom::Replica);
    let client = Client::open(&service.url(), &reads).unwrap();
    let reply = client.call_read_only(&Script::new(WHERE), &["a"], &NONE).unwrap();
    assert_eq!(reply.as_str(), Some(service.servers()[1].port().to_string().as_str()));

    let mut wrong = options();
    wrong.sentinel_password("wr0ng");
    for (url, options, what) in [
        (&service.url(), &wrong, "sentinel"),
        (&service.url(), &options(), "sentinel"),
        (&bare, &right, "server"),
        (&bare.replace("://", "://:wr0ng@"), &right, "server"),
    ] {
        let error = refused(url, options);
        assert_eq!(error.status(), Status::Auth, "{what}: {error}");
        for secret in [PASSWORD, "s3ntinel", "wr0ng"] {
            assert!(!error.message().contains(secret), "{error}");
        }
        // Whose login it was.
        let of_sentinel = addresses(&service).iter().any(|address| error.message().contains(address));
        let of_server = error.message().contains(&format!("127.0.0.1:{primary}"));
        assert_eq!((of_sentinel, of_server), (what == "sentinel", what == "server"), "{error}");
    }
}

#[test]
fn sentinels_and_servers_over_tls() {
    let certs = Certs::generate();
    let service = Sentinels::builder(1).tls(&certs).start();
    let ca = service.servers()[0].dir().join("ca.crt");
    let mut options = options();
    options.tls_ca_file(&ca);
    assert!(service.url().starts_with("rediss+sentinel://"));
    let client = Client::open(&service.url(), &options).unwrap();
    assert_eq!(port(&client), service.primary().port());
    let reads = client.with_read_from(ReadFrom::Replica);
    let reply = reads.call_read_only(&Script::new(WHERE), &["a"], &NONE).unwrap();
    assert_eq!(reply.as_str(), Some(service.servers()[1].port().to_string().as_str()));
    let new = service.failover();
    wait_until("the new primary is found", || port(&client) == new.port());

    let stranger = Certs::generate();
    let path = service.servers()[0].dir().join("stranger.crt");
    std::fs::write(&path, &stranger.ca).unwrap();
    options.tls_ca_file(&path);
    assert_eq!(refused(&service.url(), &options).status(), Status::Tls);
}

#[test]
fn read_only_calls_run_on_replicas_and_go_on_without_a_primary() {
    let service = Sentinels::start(2);
    let ports = |servers: &[Server]| -> HashSet<u16> { servers.iter().map(Server::port).collect() };
    let mut options = options();
    options.read_from(ReadFrom::Replica).call_timeout(LONG).unwrap();
    let client = Client::open(&service.url(), &options).unwrap();
    let read = || -> u16 {
        let reply = client.call_read_only(&Script::new(WHERE), &["a"], &NONE).unwrap();
        reply.as_str().unwrap().parse().unwrap()
    };
    let seen = |calls: usize| -> HashSet<u16> { (0..calls).map(|_| read()).collect() };
    assert_eq!(seen(10), ports(&service.servers()[1..]));
    assert_eq!(port(&client), service.servers()[0].port());
    service.kill_primary();
    let start = Instant::now();
    assert_eq!(seen(10), ports(&service.servers()[1..]));
    assert!(start.elapsed() < LONG / 2, "{:?}", start.elapsed());
    let new = service.wait_for_new_primary(&service.servers()[0]);
    // The write finds the new primary, and with it the one replica that is left.
    client.command(&["SET", "a", "1"]).unwrap();
    service.wait_until_whole();
    wait_until("only the replica is asked", || {
        let last = &service.servers()[1..].iter().find(|server| server.port() != new.port()).unwrap().port();
        seen(4) == HashSet::from([*last])
    });
}

#[test]
fn a_call_that_waits_has_a_connection_to_the_new_primary() {
    let service = Sentinels::start(1);
    let client = Client::open(&service.url(), &options()).unwrap();
    let is_waited_at = |server: &Server| {
        let blocked = Raw::try_connect(server).and_then(|mut raw| raw.try_info("clients", "blocked_clients"));
        matches!(blocked, Ok(Some(blocked)) if blocked == "1")
    };
    let expected = r#"Array[String("list"), String("x")]"#;
    let new = thread::scope(|scope| {
        let waits = scope.spawn(|| client.command(&["BLPOP", "list", "0"]));
        wait_until("it waits at the old primary", || is_waited_at(&service.servers()[0]));
        let new = service.failover();
        // The old primary lets go of it when it becomes a replica, and says so; but it may be told to close all
        // connections at once, and then nobody knows whether an element was on its way.
        wait_until("it waits at the new primary, or is over", || is_waited_at(new) || waits.is_finished());
        if !waits.is_finished() {
            client.command(&["RPUSH", "list", "x"]).unwrap();
        }
        match waits.join().unwrap() {
            Ok(reply) => assert_eq!(shown(&reply), expected),
            Err(error) => assert!(error.is_indeterminate(), "{error}"),
        }
        new
    });
    wait_until("the new primary is called", || port(&client) == new.port());
    thread::scope(|scope| {
        let waits = scope.spawn(|| client.command(&["BLPOP", "list", "15"]));
        wait_until("it waits at the new primary", || is_waited_at(new));
        client.command(&["RPUSH", "list", "x"]).unwrap();
        assert_eq!(shown(&waits.join().unwrap().unwrap()), expected);
    });
    assert_eq!(port(&client), new.port());
}

/// What became of the calls made while something happened to the service.
struct Outcome {
    /// Each call that was reported done: its name, how often it was noted by then, and where.
    done: Vec<(String, i64, u16)>,
    /// With what they were told.
    indeterminate: Vec<(String, Error)>,
    failed: Vec<String>,
    refusals: Vec<String>,
}

/// Has threads call all the while that `body` runs.
fn calling_meanwhile(client: &Client, deadline: Duration, body: impl FnOnce(&AtomicU64)) -> Outcome {
    let (over, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let outcome = Mutex::new(Outcome {
        done: Vec::new(),
        indeterminate: Vec::new(),
        failed: Vec::new(),
        refusals: Vec::new(),
    });
    let script = Script::new(NOTE);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (over, calls, outcome, script) = (&over, &calls, &outcome, &script);
            scope.spawn(move || {
                for number in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let name = format!("{thread}-{number}");
                    let begun = Instant::now();
                    let result = if number % 3 == 2 {
                        let mut transaction = client.transaction();
                        transaction.script(script, &["noted", "count"], &[&name]).unwrap();
                        transaction.exec()
                    } else {
                        client.call(script, &["noted", "count"], &[&name])
                    };
                    assert!(begun.elapsed() < deadline + SLACK, "{:?}: {result:?}", begun.elapsed());
                    let mut outcome = outcome.lock().unwrap();
                    match result {
                        Ok(reply) => {
                            let reply = if number % 3 == 2 { reply.get(0).unwrap() } else { reply.root() };
                            let times = reply.get(0).and_then(|times| times.as_i64());
                            let port = reply.get(1).and_then(|port| port.as_str()?.parse().ok());
                            match (times, port) {
                                (Some(times), Some(port)) => outcome.done.push((name, times, port)),
                                _ => {
                                    outcome.failed.push(name);
                                    outcome.refusals.push(format!("{reply:?}"));
                                }
                            }
                        }
                        Err(error) if error.is_indeterminate() => {
                            outcome.indeterminate.push((name, error));
                        }
                        Err(error) => {
                            outcome.failed.push(name);
                            outcome.refusals.push(error.to_string());
                        }
                    }
                    drop(outcome);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let end = OnDrop(|| over.store(true, Ordering::Relaxed));
        body(&calls);
        drop(end);
    });
    outcome.into_inner().unwrap()
}

/// Holds what the calls were told against what the primary has.
fn check(outcome: &Outcome, primary: &Server) {
    let mut raw = Raw::connect(primary);
    let noted = raw.ok(&["HGETALL", "noted"]);
    let noted: Vec<(String, String)> =
        noted.elements().chunks_exact(2).map(|pair| (pair[0].text(), pair[1].text())).collect();
    for (name, times) in &noted {
        assert_eq!(times, "1", "{name} ran twice");
    }
    assert_eq!(raw.ok(&["GET", "count"]).text(), noted.len().to_string());
    let noted: HashSet<&str> = noted.iter().map(|(name, _)| name.as_str()).collect();
    for (name, times, _) in &outcome.done {
        assert_eq!(*times, 1, "{name} ran twice");
    }
    for name in &outcome.failed {
        assert!(
            !noted.contains(name.as_str()),
            "{name} was reported not done, and was: {:?}",
            outcome.refusals
        );
    }
    // What is missing was done by a server that was no longer, or not yet again, to be the primary: its own loss.
    let missing = outcome.done.iter().filter(|(name, ..)| !noted.contains(name.as_str()));
    for (name, _, port) in missing {
        assert_ne!(*port, primary.port(), "{name} was reported done by the primary, and is not there");
    }
    println!(
        "{} done, {} of them noted, {} indeterminate, {} refused: {:?}",
        outcome.done.len(),
        outcome.done.iter().filter(|(name, ..)| noted.contains(name.as_str())).count(),
        outcome.indeterminate.len(),
        outcome.failed.len(),
        outcome.refusals.first()
    );
}

#[test]
fn a_failover_on_demand_under_load() {
    let service = Sentinels::start(1);
    service.trust_in_servers();
    let client = Client::open(&service.url(), &options()).unwrap();
    let old = service.primary();
    let mut new = old;
    let outcome = calling_meanwhile(&client, DEADLINE, |calls| {
        wait_until("calls are made", || calls.load(Ordering::Relaxed) > 100);
        new = service.failover();
        service.wait_until_whole();
        wait_until("the new primary is called", || calls_of(new, "evalsha") > 100);
    });
    assert!(outcome.refusals.is_empty(), "{:?}", outcome.refusals);
    // At most one for each thread and connection that was lost.
    assert!(outcome.indeterminate.len() <= 12, "{:?}", outcome.indeterminate);
    assert_eq!(client.stats().noscript_repairs, 0);
    check(&outcome, new);
    // In the end it is all on the new one, the old one follows, and nothing goes there.
    let before = calls_of(old, "evalsha");
    for _ in 0..10 {
        assert_eq!(port(&client), new.port());
    }
    assert_eq!(calls_of(old, "evalsha"), before);
}

#[test]
fn an_old_primary_that_still_answers_is_left() {
    let service = Sentinels::start(1);
    let client = Client::open(&service.url(), &options()).unwrap();
    let old = service.primary();
    assert_eq!(port(&client), old.port());
    let new = service.failover();
    for sentinel in service.sentinels() {
        // They have an old primary follow after four of these, in milliseconds. Each of its answers until then is lost.
        Raw::connect(sentinel).ok(&["SENTINEL", "DEBUG", "PUBLISH-PERIOD", "60000"]);
    }
    let start = Instant::now();
    wait_until("the new primary is called", || port(&client) == new.port());
    assert!(start.elapsed() < Duration::from_secs(10) + SLACK, "{:?}", start.elapsed());
    assert_eq!(Raw::connect(old).info("replication", "role").as_deref(), Some("master"));
}

#[test]
fn calls_of_every_kind_go_on_when_their_connection_is_one_to_a_replica() {
    let service = Sentinels::start(1);
    service.trust_in_servers();
    let queue = Queue::new(1).unwrap();
    let push = |kind: &str, client: &Client| -> Result<Reply, Error> {
        let mut pipeline = client.pipeline();
        for key in ["one", "other"] {
            pipeline.command(&["RPUSH", key, kind]).unwrap();
        }
        match kind {
            "single" => client.command(&["RPUSH", "one", kind]),
            "submitted" => {
                pipeline.submit(&queue, 1).unwrap();
                take(&queue, 1).remove(0).result
            }
            _ => pipeline.exec(),
        }
    };
    for kind in ["blocking", "submitted", "single"] {
        let client = Client::open(&service.url(), &options()).unwrap();
        push("before", &client).unwrap();
        let (old, new) = (service.primary(), service.failover());
        for sentinel in service.sentinels() {
            // Until four of these are over they leave the old primary alone, and the connections to it.
            Raw::connect(sentinel).ok(&["SENTINEL", "DEBUG", "PUBLISH-PERIOD", "60000"]);
        }
        Raw::connect(old).ok(&["REPLICAOF", "127.0.0.1", &new.port().to_string()]);
        let replies = push(kind, &client).unwrap();
        let errors: Vec<Error> = replies.root().elements().filter_map(ReplyRef::as_error).collect();
        assert!(errors.is_empty(), "{kind}: {errors:?}");
        for key in ["one", "other"] {
            let ran = Raw::connect(new).ok(&["LRANGE", key, "0", "-1"]);
            let times = ran.elements().iter().filter(|item| item.text() == kind).count();
            assert_eq!(times, usize::from(kind != "single" || key == "one"), "{kind}: {ran:?}");
        }
        for sentinel in service.sentinels() {
            Raw::connect(sentinel).ok(&["SENTINEL", "DEBUG", "PUBLISH-PERIOD", "600"]);
        }
        service.wait_until_whole();
    }
}

#[test]
fn lost_sentinels_do_not_slow_down_a_service_that_is_well() {
    let service = Sentinels::start(0);
    // A call that waited for a sentinel would miss its deadline.
    let mut options = options();
    options.connect_timeout(LONG).unwrap();
    let client = Client::open(&service.url(), &options).unwrap();
    for sentinel in service.sentinels() {
        sentinel.pause();
    }
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        assert_eq!(port(&client), service.servers()[0].port());
    }
    for sentinel in service.sentinels() {
        sentinel.resume();
    }
}

#[test]
fn a_primary_killed_under_load_and_back() {
    let service = Sentinels::start(1);
    let client = Client::open(&service.url(), &options()).unwrap();
    let old = service.primary();
    let mut new = old;
    let outcome = calling_meanwhile(&client, DEADLINE, |calls| {
        wait_until("calls are made", || calls.load(Ordering::Relaxed) > 100);
        // Each thread has a call on its way when it dies.
        old.pause();
        wait_until("all wait for it", || client.stats().in_flight == 4);
        old.kill();
        new = service.wait_for_new_primary(old);
        service.trust_in_servers();
        wait_until("the new primary is called", || calls_of(new, "evalsha") > 100);
        old.restart();
        service.wait_until_whole();
        let seen = calls.load(Ordering::Relaxed);
        wait_until("calls go on", || calls.load(Ordering::Relaxed) > seen + 100);
        assert_eq!((calls_of(old, "evalsha"), calls_of(old, "script|load")), (0, 0));
    });
    assert!(outcome.refusals.is_empty(), "{:?}", outcome.refusals);
    // One for each thread: none was sent a second time.
    let (on_old, on_new): (Vec<_>, Vec<_>) = outcome
        .indeterminate
        .iter()
        .partition(|(_, error)| error.node() == Some(&format!("127.0.0.1:{}", old.port())));
    assert!((1..=4).contains(&on_old.len()), "{on_old:?}");
    // A sentinel that promotes a server disconnects its clients, by two commands. On a busy machine one that has heard
    // too late of the other's promotion does so again.
    let promotions = calls_of(new, "client|kill") / 2;
    assert!(on_new.len() as u64 <= 4 * (promotions - 1), "{on_new:?} after {promotions} promotions");
    assert_eq!(client.stats().noscript_repairs, 0);
    check(&outcome, new);
}

#[test]
fn without_patience_calls_are_refused_until_there_is_a_primary() {
    let service = Sentinels::start(1);
    let deadline = Duration::from_millis(500);
    let client = Client::open(&service.url(), options().call_timeout(deadline).unwrap()).unwrap();
    let old = service.primary();
    let mut new = old;
    let outcome = calling_meanwhile(&client, deadline, |calls| {
        wait_until("calls are made", || calls.load(Ordering::Relaxed) > 100);
        service.kill_primary();
        new = service.wait_for_new_primary(old);
        wait_until("the new primary is called", || calls_of(new, "evalsha") > 100);
    });
    check(&outcome, new);
    for refusal in &outcome.refusals {
        assert!(refusal.contains("127.0.0.1:"), "{refusal}");
    }
}

/// A sentinel that names the server on this port, and hangs up while there is none.
fn naming(port: &Arc<AtomicU16>) -> Fake {
    let port = Arc::clone(port);
    Fake::start(move |conn| {
        while let Some(command) = conn.handshake() {
            if command[0] == b"PING" {
                conn.write(b"+PONG\r\n");
                continue;
            }
            let port = match port.load(Ordering::SeqCst) {
                0 => return,
                port => port.to_string(),
            };
            assert_eq!(command[1].to_ascii_uppercase(), b"GET-MASTER-ADDR-BY-NAME");
            conn.write(format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len()).as_bytes());
        }
    })
}

#[test]
fn sentinels_that_were_lost_are_asked_again_soon() {
    let (before, after) = (Server::start(), Server::start());
    let named = Arc::new(AtomicU16::new(before.port()));
    let sentinel = naming(&named);
    let client = Client::open(&url(&[sentinel.address().to_string()], "name"), &options()).unwrap();
    assert_eq!(port(&client), before.port());
    named.store(0, Ordering::SeqCst);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        assert_eq!(port(&client), before.port());
        thread::sleep(Duration::from_millis(10));
    }
    assert!(sentinel.connections() > 1, "it was not asked");
    // The one before goes on answering, as it does after a failover on demand.
    named.store(after.port(), Ordering::SeqCst);
    let start = Instant::now();
    while port(&client) == before.port() {
        assert!(start.elapsed() < Duration::from_secs(15), "the sentinel is not asked");
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(port(&client), after.port());
}

#[test]
fn who_may_not_ask_for_the_role_finds_the_primary_all_the_same() {
    let service = Sentinels::start(1);
    for server in service.servers() {
        Raw::connect(server).ok(&["ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-role"]);
    }
    let named = Arc::new(AtomicU16::new(service.servers()[1].port()));
    let wrong = naming(&named);
    let mut options = options();
    options.username("app").unwrap().password("secret");
    for protocol in [Protocol::Auto, Protocol::Resp2, Protocol::Resp3] {
        options.protocol(protocol);
        let client = Client::open(&service.url(), &options).unwrap();
        assert_eq!(port(&client), service.primary().port());
        // What a sentinel names by mistake says itself that it is a replica.
        let error = refused(&url(&[wrong.address().to_string()], "name"), &options);
        assert_eq!(error.status(), Status::NotServed, "{error}");
        assert!(error.message().contains("is a replica now"), "{error}");
    }
}

/// Whoever calls a script gets no other command's error as if it were the script's.
#[test]
fn a_sentinel_that_refuses_to_name_the_primary_has_executed_nothing() {
    let service = Sentinels::start(1);
    for sentinel in service.sentinels() {
        Raw::connect(sentinel).ok(&["ACL", "SETUSER", "watch", "on", ">secret", "+@all", "-sentinel"]);
    }
    let mut options = options();
    options.sentinel_username("watch").unwrap().sentinel_password("secret").lazy_connect(true);
    let client = Client::open(&service.url(), &options).unwrap();
    let count = Script::new(COUNT);
    let mut pipeline = client.pipeline();
    pipeline.script(&count, &["n"], &NONE).unwrap();
    let ends = [client.call(&count, &["n"], &NONE), pipeline.exec(), client.command(&["GET", "n"])];
    for error in ends.map(Result::unwrap_err) {
        assert!(error.is_not_executed() && !error.is_indeterminate(), "{error}");
        assert_eq!((error.status(), error.server_code()), (Status::Server, Some("NOPERM")), "{error}");
        assert!(error.message().contains("refuses to say which servers there are: NOPERM"), "{error}");
    }
}
