//! A server behind one address becomes a replica that serves nothing, for it has no primary or loads what that sends:
//! the address may lead to another server by then, and a connection that is well does not show it.

use crate::support;

use std::thread;

use rs_script::{Client, Error, Once, Queue, Reply, Script, Status};
use support::calls::{LONG, NONE, client, options, take};
use support::proxy::Proxy;
use support::raw::Raw;
use support::server::{Binary, Server, all_versions};
use support::wait_until;

const READ: &str = "return redis.call('GET', KEYS[1])";
const FLAGGED: &str = "#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])";

const STALE: &str = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";

/// Each kind of call, by name: a read, so that no READONLY tells more.
fn kinds(binary: Binary) -> impl Iterator<Item = &'static str> {
    ["command", "script", "flags", "submitted script", "transaction", "pipeline"]
        .into_iter()
        .filter(move |kind| *kind != "flags" || binary != Binary::Redis62)
}

fn read(client: &Client, kind: &str) -> Result<Reply, Error> {
    let queue = Queue::new(1).unwrap();
    let script = Script::new(if kind == "flags" { FLAGGED } else { READ });
    match kind {
        "command" => client.command(&["GET", "who"]),
        "submitted script" => {
            client.submit(&queue, 1, &script, &["who"], &NONE).unwrap();
            take(&queue, 1).remove(0).result
        }
        "transaction" | "pipeline" => {
            let mut several = if kind == "pipeline" { client.pipeline() } else { client.transaction() };
            several.script(&script, &["who"], &NONE).unwrap().command(&["GET", "who"]).unwrap();
            several.exec()
        }
        _ => client.call(&script, &["who"], &NONE),
    }
}

/// Who has answered: `old` or `new`.
fn answered(result: Result<Reply, Error>) -> Result<String, Error> {
    let reply = result?;
    let first = reply.get(0).unwrap_or(reply.root());
    first.as_error().map_or_else(|| Ok(first.as_str().unwrap().to_owned()), Err)
}

#[track_caller]
fn is_refused(error: &Error, text: &str) {
    assert!(error.status() == Status::Loading && error.is_not_executed(), "{error:?}");
    assert!(error.message().contains(text), "{error}");
}

/// A call of each kind to the old server, which `demote` has made a replica with `text` for all that it is asked,
/// goes on to the new one; but the items of a pipeline are left as they are.
fn are_led_on(binary: Binary, old: &Server, text: &str, demote: impl FnOnce()) {
    let new = Server::builder().binary(binary).start();
    let proxies: Vec<(Proxy, Client, &str)> = kinds(binary)
        .map(|kind| {
            let proxy = Proxy::start(old.address());
            let client = Client::open(&proxy.url(), &options(LONG)).unwrap();
            // Not the first call on its connection, which knows its scripts.
            assert_eq!(answered(read(&client, kind)).unwrap(), "old");
            (proxy, client, kind)
        })
        .collect();
    Raw::connect(&new).ok(&["SET", "who", "new"]);
    demote();
    for (proxy, client, kind) in &proxies {
        proxy.lead_to(new.address());
        if *kind == "pipeline" {
            is_refused(&answered(read(client, kind)).unwrap_err(), text);
        }
        assert_eq!(answered(read(client, kind)).unwrap(), "new", "{binary:?}: {kind}");
        assert_eq!(client.stats().reconnects, 1, "{binary:?}: {kind}");
    }
}

#[test]
fn without_a_primary() {
    for binary in all_versions() {
        let old = Server::builder().binary(binary).arg("replica-serve-stale-data", "no").start();
        Raw::connect(&old).ok(&["SET", "who", "old"]);
        are_led_on(binary, &old, "MASTERDOWN", || {
            Raw::connect(&old).ok(&["REPLICAOF", "127.0.0.1", "1"]);
        });
    }
}

/// A server that has much to load, and answers meanwhile.
fn slow_to_load() -> Server {
    let server = Server::builder()
        .arg("enable-debug-command", "yes")
        .arg("loading-process-events-interval-bytes", "1024")
        .start();
    let fill = "for i = 1, 60000 do redis.call('SET', i, string.rep('x', 100)) end";
    Raw::connect(&server).ok(&["EVAL", fill, "0"]);
    server
}

#[test]
fn while_it_loads() {
    let old = slow_to_load();
    let mut raw = Raw::connect(&old);
    raw.ok(&["SET", "who", "old"]);
    thread::scope(|scope| {
        are_led_on(Binary::Default, &old, "LOADING", || {
            raw.ok(&["REPLICAOF", "127.0.0.1", "1"]);
            // Microseconds for each key: it would load for minutes, and does so until it is told to be quick.
            raw.ok(&["CONFIG", "SET", "key-load-delay", "2000"]);
            scope.spawn(|| Raw::connect(&old).cmd(&["DEBUG", "RELOAD"]));
            let mut other = Raw::connect(&old);
            wait_until("it loads", || other.info("persistence", "loading").as_deref() == Some("1"));
        });
        raw.ok(&["CONFIG", "SET", "key-load-delay", "0"]);
    });
}

#[test]
fn many_calls_at_a_time_are_led_on_from_each_of_their_connections() {
    let old = Server::builder().arg("replica-serve-stale-data", "no").start();
    let new = Server::start();
    let proxy = Proxy::start(old.address());
    let mut several = options(LONG);
    several.shared_connections(32).unwrap();
    let client = Client::open(&proxy.url(), &several).unwrap();
    let (queue, script) = (Queue::new(20_000).unwrap(), Script::new(READ));
    let run = || {
        for tag in 0..20_000 {
            client.submit(&queue, tag, &script, &[tag.to_string()], &NONE).unwrap();
        }
        take(&queue, 20_000).into_iter().for_each(|completion| drop(completion.result.unwrap()));
    };
    run();
    Raw::connect(&old).ok(&["REPLICAOF", "127.0.0.1", "1"]);
    proxy.lead_to(new.address());
    run();
    assert!(client.stats().reconnects > 0);
}

/// It loads anew what it had loaded before, on connections that stand: no script that happens once can have said so.
#[test]
fn what_happens_once_waits_for_a_primary_that_loads_again() {
    let server = slow_to_load();
    let mut raw = Raw::connect(&server);
    let client = client(&server);
    let script = Script::new("return redis.call('INCR', KEYS[1])").once(&Once::default()).unwrap();
    assert_eq!(script.key("n").call(&client), Ok(1));
    raw.ok(&["CONFIG", "SET", "key-load-delay", "2000"]);
    thread::scope(|scope| {
        scope.spawn(|| Raw::connect(&server).cmd(&["DEBUG", "RELOAD"]));
        wait_until("it loads", || raw.info("persistence", "loading").as_deref() == Some("1"));
        let mut pipeline = client.pipeline();
        pipeline.script(&script, "n", ()).unwrap();
        let error =
            pipeline.exec().map(|reply| reply.get(0).and_then(|item| item.as_error()).expect("an error"));
        let refused = raw.info("errorstats", "errorstat_LOADING");
        let caller = scope.spawn(|| script.key("n").call(&client));
        wait_until("it is refused", || raw.info("errorstats", "errorstat_LOADING") != refused);
        raw.ok(&["CONFIG", "SET", "key-load-delay", "0"]);
        assert_eq!(caller.join().unwrap(), Ok(2));
        is_refused(&error.unwrap_or_else(|error| error), "LOADING");
    });
}

/// Scripts that make it up on a primary run once.
#[test]
fn made_up() {
    let server = Server::start();
    let client = client(&server);
    let forge = Script::new("redis.call('INCR', 'n') return redis.error_reply(ARGV[1])");
    client.command(&["SET", "n", "0"]).unwrap();
    let in_script = format!(
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'. script: {}, \
         on @user_script:1.",
        forge.sha_hex()
    );
    for text in ["LOADING Redis is loading the dataset in memory", STALE, &in_script] {
        let error = client.call(&forge, &NONE, &[text]).unwrap_err();
        assert!(error.status() == Status::Server && !error.is_not_executed(), "{error}");
        let mut pipeline = client.pipeline();
        pipeline.script(&forge, &NONE, &[text]).unwrap();
        let error = pipeline.exec().unwrap().get(0).unwrap().as_error().expect("an error");
        assert!(error.status() == Status::Server && !error.is_not_executed(), "{error}");
    }
    assert_eq!(client.command(&["GET", "n"]).unwrap().as_str(), Some("6"));
    assert_eq!(client.stats().reconnects, 0);
}
