//! Ways to a cluster: IPv6, host names, addresses behind a NAT, TLS with a password, and nodes that do not name their
//! host.

use crate::support;

use std::time::{Duration, Instant};

use rs_script::{Client, Error, Options, ReadFrom, Route, Script, Status};
use support::calls::*;
use support::cluster::{Cluster, slot_of};
use support::raw::{Raw, Value, calls_of};
use support::server::Builder;
use support::tls::Certs;
use support::{SLACK, wait_until};

/// Tells the port of the server that it runs on.
const WHERE: &str = "return string.match(redis.call('INFO', 'server'), 'tcp_port:(%d+)')";

/// Needs encoding in a URL.
const PASSWORD: &str = "p@ss/w:rd%";

#[track_caller]
fn port(client: &Client, key: &str) -> u16 {
    let reply = client.call(&Script::new(WHERE), &[key], &NONE).unwrap();
    reply.as_str().and_then(|port| port.parse().ok()).expect("a port")
}

/// Calls, pipelines, redirections, a slot on the move and, where there are some, replicas. `name` is how a node is
/// called.
fn works(cluster: &Cluster, url: &str, options: &Options, name: impl Fn(usize) -> String) {
    let client = Client::open(url, options).unwrap();
    let primaries = 2;
    let mut pipeline = client.pipeline();
    let keys: Vec<String> = (0..20).map(|number| format!("key-{number}")).collect();
    let owner = |key: &str| cluster.node(cluster.primary_of(slot_of(key.as_bytes()))).port();
    for key in &keys {
        assert_eq!(port(&client, key), owner(key), "{key}");
        pipeline.script(&Script::new(COUNT), &[key], &NONE).unwrap();
    }
    assert!(pipeline.exec().unwrap().root().elements().all(|reply| reply.as_i64() == Some(1)));
    assert_eq!(client.stats().redirects, 0, "every node was found by name");

    let all = client.with_route(Route::AllPrimaries).unwrap().command(&["DBSIZE"]).unwrap();
    for number in 0..primaries {
        let name = name(number);
        assert!(shown(&all).contains(&format!("\"{name}\"")), "{name}: {all:?}");
        let route = client.with_route(Route::Node(&name)).unwrap();
        let reply = route.call(&Script::new(WHERE), &NONE, &NONE).unwrap();
        assert_eq!(reply.as_str(), Some(cluster.node(number).port().to_string().as_str()));
    }

    // By ASK, then by MOVED, to a node that is known by the same name.
    let slot = slot_of(keys[0].as_bytes());
    let (from, to) = (cluster.primary_of(slot), 1 - cluster.primary_of(slot));
    cluster.begin_migration(slot, from, to);
    cluster.migrate_keys(from, to, &[keys[0].as_bytes()]);
    assert_eq!(client.call(&Script::new(COUNT), &[&keys[0]], &NONE).unwrap().as_i64(), Some(2));
    assert_eq!(client.stats().redirects, 1);
    cluster.finish_migration(slot, from, to);
    assert_eq!(port(&client, &keys[0]), cluster.node(to).port());
    assert_eq!(client.stats().redirects, 2);
    assert_eq!(port(&client, &keys[0]), cluster.node(to).port());
    assert_eq!(client.stats().redirects, 2);

    let reads = client.with_read_from(ReadFrom::Replica);
    for key in &keys {
        let replicas = cluster.replicas_of(slot_of(key.as_bytes()));
        if !replicas.is_empty() {
            let reply = reads.call_read_only(&Script::new(WHERE), &[key], &NONE).unwrap();
            let port: u16 = reply.as_str().unwrap().parse().unwrap();
            assert!(replicas.iter().any(|replica| cluster.node(*replica).port() == port), "{key}");
        }
    }
    if !cluster.replicas_of(slot).is_empty() {
        let new = cluster.failover(slot);
        assert_eq!(port(&client, &keys[0]), cluster.node(new).port());
    }
}

#[test]
fn nodes_on_ipv6() {
    let cluster = Cluster::builder(2)
        .replicas(1)
        .each(|node| node.ipv6_only().arg("cluster-announce-ip", "::1"))
        .start();
    let name = |number: usize| format!("[::1]:{}", cluster.node(number).port());
    assert!(cluster.cluster_url().contains(&name(0)));
    works(&cluster, &cluster.cluster_url(), &Options::default(), name);
}

#[test]
fn nodes_with_host_names() {
    let named = |node: Builder| {
        node.arg("cluster-announce-hostname", "localhost").arg("cluster-preferred-endpoint-type", "hostname")
    };
    let cluster = Cluster::builder(2).replicas(1).each(named).start();
    let name = |number: usize| format!("localhost:{}", cluster.node(number).port());
    works(&cluster, &cluster.cluster_url(), &Options::default(), name);
}

#[test]
fn nodes_that_do_not_name_their_host() {
    let unknown = |node: Builder| node.arg("cluster-preferred-endpoint-type", "unknown-endpoint");
    let cluster = Cluster::builder(2).replicas(1).each(unknown).start();
    let other = 1 - cluster.primary_of(slot_of(b"a"));
    let Value::Error(moved) = Raw::connect(cluster.node(other)).cmd(&["GET", "a"]) else {
        panic!("a redirection")
    };
    assert!(moved.contains(" :"), "{moved}");
    // The same host as asked, in the words in which it was asked.
    for host in ["127.0.0.1", "localhost"] {
        let name = |number: usize| format!("{host}:{}", cluster.node(number).port());
        let client = Client::open(&format!("redis+cluster://{}", name(0)), &Options::default()).unwrap();
        for number in 0..20 {
            let key = format!("key-{number}");
            assert_eq!(port(&client, &key), cluster.node(cluster.primary_of(slot_of(key.as_bytes()))).port());
        }
        let all = client.with_route(Route::AllPrimaries).unwrap().command(&["DBSIZE"]).unwrap();
        assert!(shown(&all).contains(&name(0)) && shown(&all).contains(&name(1)), "{all:?}");
    }
    let name = |number: usize| format!("127.0.0.1:{}", cluster.node(number).port());
    works(&cluster, &cluster.cluster_url(), &Options::default(), name);
}

#[test]
fn nodes_whose_host_name_is_not_known_yet() {
    // Announced as a name that nobody has configured: CLUSTER SLOTS has `?` for it.
    let nameless = |node: Builder| node.arg("cluster-preferred-endpoint-type", "hostname");
    let cluster = Cluster::builder(2).each(nameless).start();
    let client = Client::open(
        &cluster.cluster_url(),
        Options::default().call_timeout(Duration::from_secs(2)).unwrap(),
    );
    let start = Instant::now();
    let error =
        client.and_then(|client| client.call(&Script::new(WHERE), &["a"], &NONE)).expect_err("it is nowhere");
    assert!(start.elapsed() < Duration::from_secs(4) + SLACK, "{:?}", start.elapsed());
    assert!(error.is_not_executed(), "{error}");
    assert!(error.message().contains("of no host"), "{error}");
}

#[test]
fn nodes_that_call_each_other_by_different_names() {
    let named = |node: Builder| node.arg("cluster-announce-hostname", "localhost");
    let cluster = Cluster::builder(2).each(named).start();
    let (one, other) = (cluster.node(0), cluster.node(1));
    let key = cluster.tag_on(0, "moves");
    // By the word of the other node: all are known by their IP addresses.
    let url = format!("redis+cluster://{}", other.address());
    let client = Client::open(&url, &Options::default()).unwrap();
    cluster.begin_migration(slot_of(key.as_bytes()), 0, 1);
    cluster.finish_migration(slot_of(key.as_bytes()), 0, 1);
    let mut raw = Raw::connect(one);
    raw.ok(&["CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname"]);
    let moved = format!("localhost:{}", other.port());
    wait_until(
        "the name of the other",
        || matches!(raw.cmd(&["GET", &key]), Value::Error(text) if text.ends_with(&moved)),
    );
    assert_eq!(port(&client, &key), other.port());
    assert_eq!(client.stats().redirects, 1);
    let all = client.with_route(Route::AllPrimaries).unwrap().command(&["ECHO", "once"]).unwrap();
    for node in [one, other] {
        assert!(shown(&all).contains(&format!("\"{}\"", node.address())), "{all:?}");
        assert_eq!(calls_of(node, "echo"), 1, "{all:?}");
    }
}

#[test]
fn nodes_behind_a_nat() {
    let cluster = Cluster::builder(2).replicas(1).behind_nat().start();
    let mut options = Options::default();
    for (number, node) in cluster.nodes().iter().enumerate() {
        let (host, port) = cluster.announced(number);
        options.map_address(&format!("{host}:{port}"), &node.address().to_string()).unwrap();
    }
    let name = |number: usize| cluster.node(number).address().to_string();
    works(&cluster, &cluster.cluster_url(), &options, name);
}

#[test]
fn nodes_behind_a_nat_without_a_map() {
    let cluster = Cluster::builder(2).behind_nat().start();
    let client = Client::open(&cluster.cluster_url(), &Options::default()).unwrap();
    let announced = |key: &str| {
        let (host, port) = cluster.announced(cluster.primary_of(slot_of(key.as_bytes())));
        format!("{host}:{port}")
    };
    let call = |client: &Client| client.call(&Script::new(WHERE), &["a"], &NONE).unwrap_err();
    let exec = |client: &Client| {
        let mut pipeline = client.pipeline();
        pipeline.script(&Script::new(WHERE), &["a"], &NONE).unwrap();
        pipeline.exec().unwrap_err()
    };
    for ask in [&call as &dyn Fn(&Client) -> Error, &exec, &call, &exec] {
        with_longer_deadlines(&client, |client| {
            let start = Instant::now();
            let error = ask(client);
            assert!(start.elapsed() < LONG + SLACK, "{:?}", start.elapsed());
            assert!(matches!(error.status(), Status::Connect | Status::Timeout), "{error:?}");
            assert!(error.is_not_executed(), "{error}");
            error.message().contains(&announced("a")).then_some(())
        });
    }
}

#[test]
fn nodes_with_tls_and_a_password() {
    let certs = Certs::generate();
    let cluster = Cluster::builder(2).replicas(1).tls(&certs).password(PASSWORD).start();
    let mut options = Options::default();
    options.tls_ca_file(cluster.node(0).dir().join("ca.crt"));
    let name = |number: usize| cluster.node(number).address().to_string();
    assert!(cluster.cluster_url().starts_with("rediss+cluster://:p%40ss"));
    let bare = cluster.cluster_url().replace(":p%40ss%2Fw%3Ard%25@", "");
    let error = Client::open(&bare, &options).unwrap_err();
    assert_eq!(error.status(), Status::Auth, "{error}");
    let error = Client::open(&bare, options.clone().password("wr0ng")).unwrap_err();
    assert_eq!(error.status(), Status::Auth, "{error}");
    assert!(!error.message().contains("wr0ng"), "{error}");
    let error = Client::open(&cluster.cluster_url(), &Options::default()).unwrap_err();
    assert_eq!(error.status(), Status::Tls, "{error}");
    works(&cluster, &bare, options.clone().password(PASSWORD), name);
}

#[test]
fn one_node_with_another_password() {
    let cluster = Cluster::builder(2).password(PASSWORD).start();
    let client = Client::open(&cluster.cluster_url(), &Options::default()).unwrap();
    let keys = ["a", "b"];
    let owner = |key: &str| cluster.primary_of(slot_of(key.as_bytes()));
    assert_ne!(owner(keys[0]), owner(keys[1]));
    Raw::connect(cluster.node(owner("a"))).ok(&["CONFIG", "SET", "requirepass", "other"]);
    let fresh = Client::open(&cluster.cluster_url(), &Options::default()).unwrap().with_timeout(LONG);
    drop(client);
    assert_eq!(port(&fresh, "b"), cluster.node(owner("b")).port());
    let start = Instant::now();
    let error = fresh.call(&Script::new(WHERE), &["a"], &NONE).unwrap_err();
    assert!(start.elapsed() < LONG / 2, "{:?}", start.elapsed());
    assert_eq!(error.status(), Status::Auth, "{error}");
    let address = cluster.node(owner("a")).address().to_string();
    assert!(error.message().contains(&address) && !error.message().contains(PASSWORD), "{error}");
}
