//! Read-only calls on replicas: which server runs them, what a replica is told, and what becomes of them when
//! replicas are lost.

use crate::support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rs_script::{Client, Kind, Options, ReadFrom, Script, Status};
use support::calls::*;
use support::cluster::{Cluster, slot_of};
use support::raw::{Raw, calls_of};
use support::replication::Replicated;
use support::server::{Binary, Server};
use support::{OnDrop, SLACK, wait_for, wait_until};

/// Tells the port of the server that it runs on.
const WHERE: &str = "return string.match(redis.call('INFO', 'server'), 'tcp_port:(%d+)')";

/// The same, and a key's value.
const READ: &str =
    "return {string.match(redis.call('INFO', 'server'), 'tcp_port:(%d+)'), redis.call('GET', KEYS[1])}";

const WRITE: &str = "return redis.call('SET', KEYS[1], 'written')";

/// Calls within this end long before a test gives up, and long after a busy machine has answered.
const DEADLINE: Duration = Duration::from_secs(5);

const REPLICAS: [ReadFrom; 2] = [ReadFrom::PreferReplica, ReadFrom::Replica];

fn open(url: &str, read_from: ReadFrom) -> Client {
    Client::open(url, Options::default().read_from(read_from).call_timeout(DEADLINE).unwrap()).unwrap()
}

/// The port of the server that runs a read-only call.
#[track_caller]
fn port(client: &Client) -> u16 {
    let reply = client.call_read_only(&Script::new(WHERE), &["a"], &NONE).unwrap();
    reply.as_str().and_then(|port| port.parse().ok()).expect("a port")
}

/// How many of so many read-only calls each server runs, by its port.
#[track_caller]
fn ports(client: &Client, calls: usize) -> BTreeMap<u16, usize> {
    let mut ports = BTreeMap::new();
    for _ in 0..calls {
        *ports.entry(port(client)).or_default() += 1;
    }
    ports
}

fn each<'a>(servers: impl IntoIterator<Item = &'a Server>, calls: usize) -> BTreeMap<u16, usize> {
    servers.into_iter().map(|server| (server.port(), calls)).collect()
}

/// So many keys of each shard, a primary's slots being those of its first, with the number of the node that owns them.
fn keys(cluster: &Cluster, count: usize) -> Vec<(String, usize)> {
    let key = |number| format!("key-{number}");
    (0..count).map(|number| (key(number), cluster.primary_of(slot_of(key(number).as_bytes())))).collect()
}

fn ports_of(cluster: &Cluster, nodes: &[usize]) -> Vec<u16> {
    nodes.iter().map(|node| cluster.node(*node).port()).collect()
}

#[test]
fn replicas_of_a_primary_take_turns() {
    let servers = Replicated::start(2);
    let replicas = [servers.replica(0), servers.replica(1)];
    let by_option = open(&servers.url(), ReadFrom::Primary);
    assert_eq!(ports(&by_option, 10), each([servers.primary()], 10));
    let (calls, loads) =
        (calls_of(servers.primary(), "evalsha_ro"), calls_of(servers.primary(), "script|load"));
    for read_from in REPLICAS {
        assert_eq!(ports(&by_option.with_read_from(read_from), 20), each(replicas, 10), "{read_from:?}");
        let client = open(&servers.url(), read_from);
        assert_eq!(ports(&client, 20), each(replicas, 10), "{read_from:?}");
        assert_eq!(ports(&client.with_read_from(ReadFrom::Primary), 2), each([servers.primary()], 2));
    }
    // Three clients, each with one connection to each replica, on which the script is loaded once.
    for replica in replicas {
        assert_eq!(calls_of(replica, "evalsha_ro"), 40);
        assert_eq!(calls_of(replica, "script|load"), 3);
        for never in ["evalsha", "eval", "eval_ro", "readonly"] {
            assert_eq!(calls_of(replica, never), 0, "{never}");
        }
    }
    assert_eq!(calls_of(servers.primary(), "evalsha_ro"), calls + 4);
    assert_eq!(calls_of(servers.primary(), "script|load"), loads + 2);
}

#[test]
fn what_may_write_stays_on_the_primary() {
    let servers = Replicated::start(1);
    for read_from in REPLICAS {
        let client = open(&servers.url(), read_from);
        let here = Script::new(WHERE);
        let primary = servers.primary().port().to_string();
        client.command(&["SET", "a", "5"]).unwrap();
        assert_eq!(client.command(&["GET", "a"]).unwrap().as_str(), Some("5"));
        assert_eq!(client.call(&here, &["a"], &NONE).unwrap().as_str(), Some(primary.as_str()));
        assert_eq!(client.call(&Script::new(WRITE), &["a"], &NONE).unwrap().as_str(), Some("OK"));

        let mut transaction = client.transaction();
        transaction.script(&Script::new(WRITE), &["a"], &NONE).unwrap();
        transaction.script_read_only(&here, &["a"], &NONE).unwrap();
        let replies = transaction.exec().unwrap();
        assert_eq!(replies.get(1).and_then(|reply| reply.as_str()), Some(primary.as_str()));
    }
    for never in ["evalsha", "evalsha_ro", "script|load", "set", "get", "multi"] {
        // The replica is sent the writes by its primary.
        let replicated = if never == "set" { 6 } else { 0 };
        assert_eq!(calls_of(servers.replica(0), never).saturating_sub(replicated), 0, "{never}");
    }
}

#[test]
fn read_only_items_of_a_pipeline_run_on_replicas() {
    let servers = Replicated::start(2);
    let (here, write) = (Script::new(WHERE), Script::new(WRITE));
    for read_from in REPLICAS {
        let client = open(&servers.url(), read_from);
        let mut pipeline = client.pipeline();
        for number in 0..20 {
            pipeline.script(&here, &["a"], &NONE).unwrap();
            pipeline.script_read_only(&here, &["a"], &NONE).unwrap();
            pipeline.script(&write, &[format!("{read_from:?}-{number}")], &NONE).unwrap();
        }
        let replies = pipeline.exec().unwrap();
        let replies: Vec<&str> = replies.root().elements().map(|reply| reply.as_str().unwrap()).collect();
        let mut on: BTreeMap<u16, usize> = BTreeMap::new();
        for item in replies.chunks_exact(3) {
            assert_eq!((item[0], item[2]), (servers.primary().port().to_string().as_str(), "OK"));
            *on.entry(item[1].parse().unwrap()).or_default() += 1;
        }
        assert_eq!(on, each([servers.replica(0), servers.replica(1)], 10), "{read_from:?}");
    }
}

#[test]
fn replicas_of_a_cluster_take_turns() {
    let cluster = Cluster::start(2, 2);
    let keys = keys(&cluster, 40);
    let script = Script::new(WHERE);
    for read_from in REPLICAS {
        let readonly: Vec<u64> = cluster.nodes().iter().map(|node| calls_of(node, "readonly")).collect();
        let loads: Vec<u64> = cluster.nodes().iter().map(|node| calls_of(node, "script|load")).collect();
        let client = open(&cluster.cluster_url(), read_from);
        let mut seen: BTreeMap<u16, usize> = BTreeMap::new();
        for (key, owner) in &keys {
            let replicas = ports_of(&cluster, &cluster.replicas_of(slot_of(key.as_bytes())));
            for _ in 0..2 {
                let reply = client.call_read_only(&script, &[key], &NONE).unwrap();
                let port: u16 = reply.as_str().unwrap().parse().unwrap();
                assert!(replicas.contains(&port), "{key} of node {owner} on {port}, not on {replicas:?}");
                *seen.entry(port).or_default() += 1;
            }
        }
        assert_eq!(seen.len(), 4, "{seen:?}");
        for shard in 0..2 {
            let (one, other) = (cluster.node(shard + 2).port(), cluster.node(shard + 4).port());
            assert!(seen[&one].abs_diff(seen[&other]) <= 1, "{seen:?}");
        }
        assert_eq!(client.stats().redirects, 0);

        let mut pipeline = client.pipeline();
        for (key, _) in &keys {
            pipeline.script_read_only(&script, &[key], &NONE).unwrap();
            pipeline.script(&script, &[key], &NONE).unwrap();
        }
        let replies = pipeline.exec().unwrap();
        let ports: Vec<u16> =
            replies.root().elements().map(|reply| reply.as_str().unwrap().parse().unwrap()).collect();
        for ((key, owner), ports) in keys.iter().zip(ports.chunks_exact(2)) {
            let replicas = ports_of(&cluster, &cluster.replicas_of(slot_of(key.as_bytes())));
            assert!(replicas.contains(&ports[0]), "{key}: {ports:?}");
            assert_eq!(ports[1], cluster.node(*owner).port());
        }
        assert_eq!(client.stats().redirects, 0);

        for (number, node) in cluster.nodes().iter().enumerate() {
            let is_replica = number >= 2;
            assert_eq!(calls_of(node, "readonly") - readonly[number], u64::from(is_replica), "node {number}");
            assert_eq!(calls_of(node, "script|load") - loads[number], 1, "node {number}");
        }
    }
}

#[test]
fn a_pipeline_of_one_slot_asks_its_replicas_side_by_side() {
    let cluster = Cluster::start(1, 2);
    let client = open(&cluster.cluster_url(), ReadFrom::Replica);
    let script = Script::new(WHERE);
    ports(&client, 4);
    let mut pipeline = client.pipeline();
    for _ in 0..100 {
        pipeline.script_read_only(&script, &["a"], &NONE).unwrap();
    }
    let (replies, round_trips) = round_trips(&client, || pipeline.exec().unwrap());
    let replicas = ports_of(&cluster, &[1, 2]);
    let is_replica = |port: &str| replicas.contains(&port.parse().unwrap());
    assert!(replies.root().elements().all(|reply| is_replica(reply.as_str().unwrap())));
    assert_eq!(round_trips, 2, "one for each replica");
    // One that hangs does not keep the other from answering, whichever of them comes first: that is chance.
    let clients: Vec<Client> = (0..6)
        .map(|_| open(&cluster.cluster_url(), ReadFrom::Replica))
        .inspect(|client| drop(ports(client, 2)))
        .collect();
    cluster.node(1).pause();
    for client in clients {
        with_longer_deadlines(&client, |client| {
            let mut pipeline = client.pipeline();
            for _ in 0..10 {
                pipeline.script_read_only(&script, &["a"], &NONE).unwrap();
            }
            // The one that has missed a deadline before may be passed over.
            if pipeline.exec().is_ok() {
                return Some(());
            }
            let arrived = pipeline.arrived()?;
            let answers = arrived.root().elements().filter(|reply| reply.kind() != Kind::Error).count();
            (answers == 5).then_some(())
        });
    }
}

#[test]
fn readonly_is_said_once_for_each_connection() {
    let cluster = Cluster::start(1, 1);
    let mut options = Options::default();
    options.read_from(ReadFrom::Replica).client_name("reader").unwrap();
    let client = Client::open(&cluster.cluster_url(), &options).unwrap();
    let replica = cluster.node(1);
    // Those of calls: one more may be there on which it was asked who has which slots.
    let connections = |server: &Server| {
        let list = Raw::connect(server).ok(&["CLIENT", "LIST"]).text();
        list.lines().filter(|line| line.contains("name=reader") && line.contains("flags=r")).count()
    };
    for made in 1..=3 {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(ports(&client, 25), each([replica], 25)));
            }
        });
        assert_eq!((connections(replica), calls_of(replica, "readonly")), (1, made));
        // It may have been lost in the middle of a call: a read-only call does not mind.
        Raw::connect(replica).ok(&["CLIENT", "KILL", "TYPE", "normal"]);
    }
    assert_eq!(calls_of(cluster.node(0), "readonly"), 0);
}

#[test]
fn a_script_that_a_replica_has_lost_is_loaded_there_again() {
    let cluster = Cluster::start(1, 1);
    let servers = Replicated::start(1);
    for (url, replica) in [(servers.url(), servers.replica(0)), (cluster.cluster_url(), cluster.node(1))] {
        let client = open(&url, ReadFrom::Replica);
        assert_eq!(port(&client), replica.port());
        for repairs in 1..=2 {
            Raw::connect(replica).ok(&["SCRIPT", "FLUSH"]);
            assert_eq!(port(&client), replica.port());
            assert_eq!(client.stats().noscript_repairs, repairs);
            assert_eq!(calls_of(replica, "script|load"), repairs + 1);
        }
        Raw::connect(replica).ok(&["SCRIPT", "FLUSH"]);
        let mut pipeline = client.pipeline();
        pipeline.script_read_only(&Script::new(WHERE), &["a"], &NONE).unwrap();
        let replies = pipeline.exec().unwrap();
        assert_eq!(
            replies.get(0).and_then(|reply| reply.as_str()),
            Some(replica.port().to_string().as_str())
        );
        assert_eq!(calls_of(replica, "eval_ro"), 1, "an item that is repaired carries its script");
        for never in ["eval", "evalsha"] {
            assert_eq!(calls_of(replica, never), 0, "{never}");
        }
    }
}

#[test]
fn a_script_that_writes_is_stopped() {
    let cluster = Cluster::start(1, 1);
    let servers = Replicated::start(1);
    for (url, primary) in [(servers.url(), servers.primary()), (cluster.cluster_url(), cluster.node(0))] {
        for read_from in [ReadFrom::Primary, ReadFrom::PreferReplica, ReadFrom::Replica] {
            let client = open(&url, read_from);
            let error = client.call_read_only(&Script::new(WRITE), &["a"], &NONE).unwrap_err();
            assert_eq!(error.status(), Status::Server, "{error}");
            assert!(error.message().contains("Write commands are not allowed"), "{error}");
            let mut pipeline = client.pipeline();
            pipeline.script_read_only(&Script::new(WRITE), &["a"], &NONE).unwrap();
            let replies = pipeline.exec().unwrap();
            assert!(shown(&replies).contains("Write commands are not allowed"), "{replies:?}");
            let error = client
                .call_read_only(&Script::new("#!lua\nreturn redis.call('SET', KEYS[1], '1')"), &["a"], &NONE)
                .unwrap_err();
            assert_eq!(error.status(), Status::NotReadOnly, "{error}");
        }
        assert_eq!(Raw::connect(primary).ok(&["EXISTS", "a"]).integer(), 0);
    }
}

#[test]
fn replicas_that_die_are_passed_over_and_come_back() {
    let servers = Replicated::start(2);
    let (one, other) = (servers.replica(0), servers.replica(1));
    let prefers = open(&servers.url(), ReadFrom::PreferReplica);
    let insists = open(&servers.url(), ReadFrom::Replica);
    for client in [&prefers, &insists] {
        assert_eq!(ports(client, 4), each([one, other], 2));
    }
    one.kill();
    for client in [&prefers, &insists] {
        assert_eq!(ports(client, 20), each([other], 20));
    }
    other.kill();
    assert_eq!(ports(&prefers, 20), each([servers.primary()], 20));
    let start = Instant::now();
    let error = insists.call_read_only(&Script::new(WHERE), &["a"], &NONE).unwrap_err();
    assert!(start.elapsed() < DEADLINE + SLACK, "{:?}", start.elapsed());
    assert_eq!(error.status(), Status::Connect, "{error}");
    assert!(error.is_not_executed() && error.message().contains("replica"), "{error}");
    let mut pipeline = insists.pipeline();
    pipeline.script(&Script::new(WHERE), &["a"], &NONE).unwrap();
    pipeline.script_read_only(&Script::new(WHERE), &["a"], &NONE).unwrap();
    let error = pipeline.exec().unwrap_err();
    assert!(error.message().contains("1 of 2 items") && error.message().contains("replica"), "{error}");

    one.restart();
    servers.attach(0);
    other.restart();
    servers.attach(1);
    wait_until("the replicas are found again", || {
        insists.call_read_only(&Script::new(WHERE), &["a"], &NONE).is_ok()
    });
    assert_eq!(ports(&insists, 20), each([one, other], 10));
}

#[test]
fn replicas_of_a_cluster_that_die_are_passed_over_and_come_back() {
    let cluster = Cluster::start(1, 2);
    let [primary, one, other] = [0, 1, 2].map(|number| cluster.node(number));
    let prefers = open(&cluster.cluster_url(), ReadFrom::PreferReplica);
    let insists = open(&cluster.cluster_url(), ReadFrom::Replica);
    for client in [&prefers, &insists] {
        assert_eq!(ports(client, 4), each([one, other], 2));
    }
    one.kill();
    for client in [&prefers, &insists] {
        assert_eq!(ports(client, 20), each([other], 20));
    }
    other.kill();
    assert_eq!(ports(&prefers, 20), each([primary], 20));
    let start = Instant::now();
    let error = insists.call_read_only(&Script::new(WHERE), &["a"], &NONE).unwrap_err();
    assert!(start.elapsed() < DEADLINE + SLACK, "{:?}", start.elapsed());
    assert!(error.is_not_executed(), "{error}");
    let names = |port: u16| error.message().contains(&format!("127.0.0.1:{port}"));
    assert!(error.message().contains("replica") || names(one.port()) || names(other.port()), "{error}");

    one.restart();
    other.restart();
    for (number, node) in [(1, one), (2, other)] {
        // Without its nodes.conf it would be a stranger; with it, it comes back by itself.
        wait_until("the replica is back", || {
            Raw::connect(node).info("replication", "master_link_status").as_deref() == Some("up")
        });
        assert_eq!(cluster.primary_of(0), 0, "{number}");
    }
    cluster.wait_until_whole();
    wait_until("the replicas are found again", || {
        let found = insists.call_read_only(&Script::new(WHERE), &["a"], &NONE);
        found.is_ok() && ports(&insists, 4) == each([one, other], 2)
    });
}

#[test]
fn replicas_that_have_lost_their_primary_are_passed_over() {
    let servers = Replicated::builder(2).each(|server| server.arg("replica-serve-stale-data", "no")).start();
    let (one, other) = (servers.replica(0), servers.replica(1));
    let prefers = open(&servers.url(), ReadFrom::PreferReplica);
    let insists = open(&servers.url(), ReadFrom::Replica);
    for client in [&prefers, &insists] {
        assert_eq!(ports(client, 4), each([one, other], 2));
    }
    let cut_off = |number: usize| {
        servers.detach(number);
        wait_until("the replica notices", || {
            Raw::connect(servers.replica(number)).cmd(&["GET", "a"]).is_error()
        });
    };
    cut_off(0);
    for client in [&prefers, &insists] {
        assert_eq!(ports(client, 10), each([other], 10));
        let mut pipeline = client.pipeline();
        for _ in 0..10 {
            pipeline.script_read_only(&Script::new(WHERE), &["a"], &NONE).unwrap();
        }
        let replies = pipeline.exec().unwrap();
        let port = other.port().to_string();
        assert!(replies.root().elements().all(|reply| reply.as_str() == Some(&port)), "{replies:?}");
    }
    cut_off(1);
    assert_eq!(ports(&prefers, 10), each([servers.primary()], 10));
    let short = insists.with_timeout(Duration::from_secs(1));
    let start = Instant::now();
    let error = short.call_read_only(&Script::new(WHERE), &["a"], &NONE).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(1) + SLACK, "{:?}", start.elapsed());
    assert!(error.is_not_executed(), "{error}");
    assert!(error.message().contains("MASTERDOWN") || error.message().contains("replica"), "{error}");
}

#[test]
fn a_replica_that_loads_is_passed_over() {
    let slowly = |server: support::server::Builder| {
        server.arg("enable-debug-command", "yes").arg("loading-process-events-interval-bytes", "1024")
    };
    let servers = Replicated::builder(2).each(slowly).start();
    let (one, other) = (servers.replica(0), servers.replica(1));
    let fill = "for i = 1, 60000 do redis.call('SET', 'filler-' .. i, string.rep('x', 100)) end";
    Raw::connect(servers.primary()).ok(&["EVAL", fill, "0"]);
    servers.wait_until_in_sync();
    let prefers = open(&servers.url(), ReadFrom::PreferReplica);
    let insists = open(&servers.url(), ReadFrom::Replica);
    for client in [&prefers, &insists] {
        assert_eq!(ports(client, 4), each([one, other], 2));
    }
    // Microseconds for each key: it would load for minutes, and does so until it is told to be quick.
    Raw::connect(one).ok(&["CONFIG", "SET", "key-load-delay", "2000"]);
    thread::scope(|scope| {
        let reload = scope.spawn(|| Raw::connect(one).cmd(&["DEBUG", "RELOAD"]));
        let loads = || Raw::connect(one).info("persistence", "loading").as_deref() == Some("1");
        wait_until("the replica loads", loads);
        for client in [&prefers, &insists] {
            assert_eq!(ports(client, 10), each([other], 10));
            let mut pipeline = client.pipeline();
            for _ in 0..10 {
                pipeline.script_read_only(&Script::new(WHERE), &["a"], &NONE).unwrap();
            }
            let replies = pipeline.exec().unwrap();
            let port = other.port().to_string();
            assert!(replies.root().elements().all(|reply| reply.as_str() == Some(&port)), "{replies:?}");
        }
        assert!(loads(), "it was over too soon to show anything");
        Raw::connect(one).ok(&["CONFIG", "SET", "key-load-delay", "0"]);
        assert!(!reload.join().unwrap().is_error());
    });
    assert_eq!(ports(&insists, 10), each([one, other], 5));
}

#[test]
fn a_replica_that_hangs_costs_no_call_more_than_its_deadline() {
    let servers = Replicated::start(2);
    let (one, other) = (servers.replica(0), servers.replica(1));
    let mut options = Options::default();
    options.connect_timeout(Duration::from_secs(1)).unwrap().read_from(ReadFrom::PreferReplica);
    let client = Client::open(&servers.url(), &options).unwrap();
    assert_eq!(ports(&client, 4), each([one, other], 2));
    one.pause();
    // Half of it is a busy machine's, before a call turns to the primary.
    let limit = Duration::from_secs(4);
    let short = client.with_timeout(limit);
    let mut late = 0;
    for _ in 0..20 {
        let start = Instant::now();
        match short.call_read_only(&Script::new(WHERE), &["a"], &NONE) {
            Ok(reply) => assert_eq!(reply.as_str(), Some(other.port().to_string().as_str())),
            Err(error) => {
                assert!(matches!(error.status(), Status::Indeterminate | Status::Timeout), "{error}");
                late += 1;
            }
        }
        assert!(start.elapsed() < limit + SLACK, "{:?}", start.elapsed());
    }
    assert!(late < 5, "{late} of 20 calls went to the replica that hangs");
    one.resume();
    wait_until("the replica is used again", || ports(&client, 4) == each([one, other], 2));
}

#[test]
fn a_replica_that_hangs_leaves_time_for_the_primary() {
    let servers = Replicated::start(1);
    let (primary, replica) = (servers.primary(), servers.replica(0));
    let here = primary.port().to_string();
    let mut options = Options::default();
    // An attempt to connect may take longer than a call. Half of a call's time is the primary's, on a busy machine as
    // well.
    options.connect_timeout(Duration::from_secs(5)).unwrap().read_from(ReadFrom::PreferReplica);
    options.call_timeout(Duration::from_secs(4)).unwrap();
    for is_connected in [false, true] {
        let client = Client::open(&servers.url(), &options).unwrap();
        if is_connected {
            assert_eq!(ports(&client, 2), each([replica], 2));
        }
        replica.pause();
        let script = Script::new(WHERE);
        let call = || client.call_read_only(&script, &["a"], &NONE);
        if is_connected {
            // It is on its way when nobody knows yet.
            assert!(call().is_err());
        }
        // Long enough for the replica to be tried again and again.
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(12) {
            assert_eq!(call().expect("the primary is well").as_str(), Some(here.as_str()));
            let mut pipeline = client.pipeline();
            pipeline.script_read_only(&script, &["a"], &NONE).unwrap();
            let replies = pipeline.exec().expect("the primary is well");
            assert_eq!(replies.get(0).and_then(|reply| reply.as_str()), Some(here.as_str()));
        }
        replica.resume();
        wait_until("the replica is used again", || ports(&client, 2) == each([replica], 2));
    }
}

#[test]
fn servers_that_cannot_stop_writes_read_from_the_primary() {
    let servers = Replicated::builder(1).binary(Binary::Redis62).start();
    let cluster = Cluster::builder(1).replicas(1).binary(Binary::Redis62).start();
    let hosts = [
        (servers.url(), servers.primary(), servers.replica(0)),
        (cluster.cluster_url(), cluster.node(0), cluster.node(1)),
    ];
    for (url, primary, replica) in hosts {
        for read_from in REPLICAS {
            let client = open(&url, read_from);
            assert_eq!(ports(&client, 4), each([primary], 4), "{read_from:?}");
            let client = open(&url, read_from);
            let mut pipeline = client.pipeline();
            for _ in 0..4 {
                pipeline.script_read_only(&Script::new(WHERE), &["a"], &NONE).unwrap();
            }
            let replies = pipeline.exec().unwrap();
            let port = primary.port().to_string();
            assert!(replies.root().elements().all(|reply| reply.as_str() == Some(&port)), "{replies:?}");
        }
        assert_eq!(calls_of(primary, "evalsha"), 16);
        assert_eq!((calls_of(replica, "evalsha"), calls_of(replica, "eval")), (0, 0));
    }
}

#[test]
fn a_primary_without_replicas() {
    let server = Server::start();
    let cluster = Cluster::start(1, 0);
    for (url, server) in [(server.url(), &server), (cluster.cluster_url(), cluster.node(0))] {
        assert_eq!(ports(&open(&url, ReadFrom::PreferReplica), 4), each([server], 4));
        let client = open(&url, ReadFrom::Replica);
        let start = Instant::now();
        let error = client.call_read_only(&Script::new(WHERE), &["a"], &NONE).unwrap_err();
        assert!(start.elapsed() < DEADLINE + SLACK, "{:?}", start.elapsed());
        assert_eq!(error.status(), Status::Connect, "{error}");
        assert!(error.is_not_executed() && error.message().contains("replica"), "{error}");
    }
}

#[test]
fn replicas_serve_on_without_their_primary() {
    let servers = Replicated::start(2);
    let replicas = [servers.replica(0), servers.replica(1)];
    for read_from in REPLICAS {
        let client = open(&servers.url(), read_from);
        assert_eq!(ports(&client, 4), each(replicas, 2));
        servers.primary().kill();
        assert_eq!(ports(&client, 20), each(replicas, 10), "{read_from:?}");
        let error = client.command(&["SET", "a", "1"]).unwrap_err();
        assert!(error.is_not_executed(), "{error}");
        // What a write has found out must not keep anyone from reading.
        assert_eq!(ports(&client, 20), each(replicas, 10), "{read_from:?}");
        servers.primary().restart();
        servers.wait_until_in_sync();
        assert_eq!(client.command(&["SET", "a", "1"]).unwrap().as_str(), Some("OK"));
    }
}

#[test]
fn after_a_failover_the_old_primary_serves_as_a_replica() {
    let cluster = Cluster::start(1, 1);
    let client = open(&cluster.cluster_url(), ReadFrom::Replica);
    assert_eq!(ports(&client, 2), each([cluster.node(1)], 2));
    client.command(&["SET", "a", "1"]).unwrap();
    for (primary, replica) in [(1, 0), (0, 1)] {
        assert_eq!(cluster.failover(0), primary);
        client.command(&["SET", "a", "1"]).unwrap();
        wait_until("the new replica is used", || port(&client) == cluster.node(replica).port());
        assert_eq!(ports(&client, 10), each([cluster.node(replica)], 10));
        let reply = client.call(&Script::new(WHERE), &["a"], &NONE).unwrap();
        assert_eq!(reply.as_str(), Some(cluster.node(primary).port().to_string().as_str()));
    }
}

/// Has threads read all the while that `body` runs; every answer must be right. Gives the number of reads.
fn reading_meanwhile(client: &Client, keys: &[String], body: impl FnOnce(&AtomicU64)) -> u64 {
    let (over, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let script = Script::new(READ);
    thread::scope(|scope| {
        for start in 0..3 {
            let (over, reads, script) = (&over, &reads, &script);
            scope.spawn(move || {
                for key in keys.iter().cycle().skip(start) {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let begun = Instant::now();
                    let reply = client.call_read_only(script, &[key], &NONE).unwrap();
                    assert!(begun.elapsed() < DEADLINE + SLACK, "{:?}", begun.elapsed());
                    assert_eq!(reply.get(1).and_then(|value| value.as_str()), Some(key.as_str()));
                    let mut pipeline = client.pipeline();
                    for key in keys {
                        pipeline.script_read_only(script, &[key], &NONE).unwrap();
                    }
                    let replies = pipeline.exec().unwrap();
                    for (key, reply) in keys.iter().zip(replies.root().elements()) {
                        let value = reply.get(1).and_then(|value| value.as_str());
                        assert_eq!(value, Some(key.as_str()), "{replies:?}");
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let end = OnDrop(|| over.store(true, Ordering::Relaxed));
        wait_until("reads are under way", || reads.load(Ordering::Relaxed) > 10);
        body(&reads);
        drop(end);
    });
    reads.into_inner()
}

#[test]
fn reads_go_on_through_failovers() {
    let cluster = Cluster::start(3, 1);
    let keys: Vec<String> = keys(&cluster, 10).into_iter().map(|(key, _)| key).collect();
    let client = open(&cluster.cluster_url(), ReadFrom::PreferReplica);
    for key in &keys {
        client.command(&["SET", key, key]).unwrap();
    }
    cluster.wait_until_whole();
    wait_for("the replicas have caught up", || {
        let size = |node| Raw::connect(cluster.node(node)).ok(&["DBSIZE"]).integer();
        (0..3).all(|primary| size(primary) == size(primary + 3)).then_some(())
    });
    let reads = reading_meanwhile(&client, &keys, |reads| {
        for _ in 0..2 {
            cluster.failover(0);
            let seen = reads.load(Ordering::Relaxed);
            wait_until("reads go on", || reads.load(Ordering::Relaxed) > seen + 10);
        }
        // Another shard's: a Redis that has won an election lately takes its votes for those of the next one, which
        // nobody else does.
        let last = 16383;
        let owner = cluster.primary_of(last);
        cluster.kill(owner);
        cluster.wait_for_new_primary(last, owner);
        let seen = reads.load(Ordering::Relaxed);
        wait_until("reads go on", || reads.load(Ordering::Relaxed) > seen + 10);
    });
    println!("{reads} reads");
}
