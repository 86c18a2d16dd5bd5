//! The tests' own ground, continued: each part of `support` that puts several servers together.

use crate::support;

use std::net::TcpStream;

use support::cluster::{Cluster, slot_of};
use support::raw::{Raw, Value};
use support::replication::Replicated;
use support::sentinel::Sentinels;
use support::server::{Builder, Server, all_versions};
use support::tls::{Certs, connect_tls};
use support::wait_until;

/// Needs encoding in a URL and quoting in a configuration file.
const PASSWORD: &str = "p@ss: \"w\\/rd%";
const ENCODED: &str = "p%40ss%3A%20%22w%5C%2Frd%25";

/// An error's first word, or the reply's text; for nil none.
#[track_caller]
fn word(reply: &Value) -> String {
    match reply {
        Value::Error(text) => text.split(' ').next().unwrap().to_owned(),
        Value::Nil => String::new(),
        other => other.text(),
    }
}

fn get(server: &Server, key: &str) -> String {
    word(&Raw::connect(server).cmd(&["GET", key]))
}

/// A key of the slot.
fn key_in(slot: u16) -> String {
    (0..).map(|number| format!("key-{number}")).find(|key| slot_of(key.as_bytes()) == slot).unwrap()
}

#[test]
fn a_cluster_of_each_version_forms() {
    for binary in all_versions() {
        let cluster = Cluster::builder(2).binary(binary).start();
        assert_eq!((cluster.primary_of(0), cluster.primary_of(16383)), (0, 1), "{binary:?}");
    }
}

#[test]
fn a_cluster_moves_a_slot_step_by_step() {
    let cluster = Cluster::start(3, 0);
    let slot = slot_of(b"{a}1");
    let (from, to) = (cluster.primary_of(slot), (cluster.primary_of(slot) + 1) % 3);
    let mut old = Raw::connect(cluster.node(from));
    for key in ["{a}1", "{a}2"] {
        old.ok(&["SET", key, "x"]);
    }
    cluster.begin_migration(slot, from, to);
    cluster.migrate_keys(from, to, &[b"{a}1"]);
    assert_eq!(word(&old.cmd(&["GET", "{a}1"])), "ASK");
    assert_eq!(word(&old.cmd(&["GET", "{a}2"])), "x");
    assert_eq!(word(&old.cmd(&["MGET", "{a}1", "{a}2"])), "TRYAGAIN");
    cluster.finish_migration(slot, from, to);
    assert_eq!(cluster.primary_of(slot), to);
    assert_eq!(word(&old.cmd(&["GET", "{a}2"])), "MOVED");
    assert_eq!(Raw::connect(cluster.node(to)).cmd(&["MGET", "{a}1", "{a}2"]).elements().len(), 2);
}

#[test]
fn a_cluster_moves_many_slots_under_load() {
    let cluster = Cluster::start(2, 0);
    let slots = 100..200;
    let keys: Vec<String> = slots.clone().map(key_in).collect();
    let mut old = Raw::connect(cluster.node(0));
    for key in &keys {
        old.ok(&["SET", key, "x"]);
    }
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| cluster.move_slots(slots.clone(), 0, 1));
        while !moving.is_finished() {
            for key in &keys {
                let reply = word(&old.cmd(&["GET", key]));
                assert!(["x", "ASK", "MOVED"].contains(&reply.as_str()), "{reply}");
            }
        }
    });
    for (slot, key) in slots.zip(&keys) {
        assert_eq!((cluster.primary_of(slot), get(cluster.node(1), key)), (1, "x".to_owned()));
    }
    assert_eq!((cluster.primary_of(99), cluster.primary_of(200)), (0, 0));
}

#[test]
fn a_cluster_fails_over() {
    let cluster = Cluster::start(3, 1);
    let owner = cluster.primary_of(0);
    assert_eq!(cluster.replicas_of(0), [owner + 3]);
    assert_eq!(cluster.failover(0), owner + 3);
    assert_eq!(cluster.replicas_of(0), [owner]);
    cluster.kill(owner + 3);
    assert_eq!(cluster.wait_for_new_primary(0, owner + 3), owner);
}

#[test]
fn a_cluster_can_leave_a_slot_uncovered() {
    let partial = |node: Builder| node.arg("cluster-require-full-coverage", "no");
    let cluster = Cluster::builder(2).each(partial).start();
    let (slot, other) = (slot_of(b"a"), slot_of(b"b"));
    let (owner, other_owner) = (cluster.primary_of(slot), cluster.primary_of(other));
    cluster.uncover(slot);
    for node in cluster.nodes() {
        assert_eq!(get(node, "a"), "CLUSTERDOWN");
    }
    assert_eq!(get(cluster.node(other_owner), "b"), "");
    cluster.cover(slot, 1 - owner);
    assert_eq!(get(cluster.node(owner), "a"), "MOVED");
    assert_eq!(get(cluster.node(1 - owner), "a"), "");
}

#[test]
fn a_primary_can_lose_its_majority_and_find_it_again() {
    let cluster = Cluster::start(3, 0);
    let owner = cluster.primary_of(slot_of(b"a"));
    cluster.isolate(owner);
    assert_eq!(get(cluster.node(owner), "a"), "CLUSTERDOWN");
    cluster.reunite();
    assert_eq!(get(cluster.node(owner), "a"), "");
}

#[test]
fn a_cluster_has_a_password() {
    let cluster = Cluster::builder(1).replicas(1).password(PASSWORD).start();
    let ports: Vec<String> =
        cluster.nodes().iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
    assert_eq!(cluster.cluster_url(), format!("redis+cluster://:{ENCODED}@{}", ports.join(",")));
    assert_eq!(word(&Raw::tcp(cluster.node(0).address()).unwrap().cmd(&["GET", "a"])), "NOAUTH");
}

#[test]
fn a_cluster_speaks_tls() {
    let certs = Certs::generate();
    let cluster = Cluster::builder(2).replicas(1).tls(&certs).start();
    assert!(cluster.cluster_url().starts_with("rediss+cluster://127.0.0.1:"));
    let slot = slot_of(b"a");
    let owner = cluster.primary_of(slot);
    let mut raw = connect_tls(cluster.node(owner), &certs.ca, None).unwrap();
    raw.ok(&["SET", "a", "x"]);
    cluster.move_slots([slot], owner, 1 - owner);
    let port = cluster.node(1 - owner).port();
    assert_eq!(raw.cmd(&["GET", "a"]), Value::Error(format!("MOVED {slot} 127.0.0.1:{port}")));
    assert_eq!(get(cluster.node(1 - owner), "a"), "x");
}

#[test]
fn a_cluster_lives_on_ipv6() {
    let cluster = Cluster::builder(2).each(|node| node.ipv6_only().arg("cluster-announce-ip", "::1")).start();
    for (number, node) in cluster.nodes().iter().enumerate() {
        assert_eq!(cluster.announced(number), ("::1".to_owned(), node.port()));
        assert!(cluster.cluster_url().contains(&format!("[::1]:{}", node.port())));
    }
    let slot = slot_of(b"a");
    let owner = cluster.primary_of(slot);
    Raw::connect(cluster.node(owner)).ok(&["SET", "a", "x"]);
    cluster.move_slots([slot], owner, 1 - owner);
    assert_eq!(get(cluster.node(1 - owner), "a"), "x");
}

#[test]
fn a_cluster_announces_host_names() {
    let named = |node: Builder| {
        node.arg("cluster-announce-hostname", "localhost").arg("cluster-preferred-endpoint-type", "hostname")
    };
    let cluster = Cluster::builder(2).each(named).start();
    for (number, node) in cluster.nodes().iter().enumerate() {
        assert_eq!(cluster.announced(number), ("localhost".to_owned(), node.port()));
    }
    let (slot, other) = (slot_of(b"a"), 1 - cluster.primary_of(slot_of(b"a")));
    let port = cluster.node(1 - other).port();
    let moved = Raw::connect(cluster.node(other)).cmd(&["GET", "a"]);
    assert_eq!(moved, Value::Error(format!("MOVED {slot} localhost:{port}")));
}

#[test]
fn a_cluster_hides_behind_nat() {
    let cluster = Cluster::builder(2).replicas(1).behind_nat().start();
    for (number, node) in cluster.nodes().iter().enumerate() {
        let (host, port) = cluster.announced(number);
        assert_eq!(host, format!("10.1.2.{}", number + 1));
        assert_ne!(port, node.port());
    }
    assert!(cluster.cluster_url().contains(&format!("127.0.0.1:{}", cluster.node(0).port())));
    let slot = slot_of(b"a");
    let owner = cluster.primary_of(slot);
    let moved = |by: usize| destination(&Raw::connect(cluster.node(by)).cmd(&["GET", "a"]));
    assert_eq!(moved(1 - owner), cluster.announced(owner));
    let new = cluster.failover(slot);
    assert_eq!(moved(owner), cluster.announced(new));
}

/// Where a MOVED error leads.
#[track_caller]
fn destination(reply: &Value) -> (String, u16) {
    let Value::Error(text) = reply else { panic!("{reply:?}") };
    let (host, port) = text.rsplit_once(' ').unwrap().1.rsplit_once(':').unwrap();
    (host.to_owned(), port.parse().unwrap())
}

#[test]
fn replicas_follow_are_cut_off_and_promoted() {
    let stale = |server: Builder| server.arg("replica-serve-stale-data", "no");
    let servers = Replicated::builder(2).each(stale).start();
    assert_eq!(servers.url(), servers.servers()[0].url());
    let first = servers.primary();
    Raw::connect(first).ok(&["SET", "a", "x"]);
    servers.wait_until_in_sync();
    assert_eq!((get(servers.replica(0), "a"), get(servers.replica(1), "a")), ("x".into(), "x".into()));
    assert_eq!(word(&Raw::connect(servers.replica(0)).cmd(&["SET", "a", "y"])), "READONLY");

    servers.detach(0);
    wait_until("the replica notices", || get(servers.replica(0), "a") == "MASTERDOWN");
    servers.attach(0);
    assert_eq!(get(servers.replica(0), "a"), "x");

    servers.promote(1);
    assert_eq!(servers.url(), servers.servers()[2].url());
    assert!(std::ptr::eq(servers.replica(0), first));
    Raw::connect(servers.primary()).ok(&["SET", "a", "z"]);
    servers.wait_until_in_sync();
    assert_eq!((get(servers.replica(0), "a"), get(servers.replica(1), "a")), ("z".into(), "z".into()));

    servers.primary().kill();
    servers.promote(0);
    assert!(std::ptr::eq(servers.primary(), first));
    assert_eq!(get(servers.replica(0), "a"), "z");
}

#[test]
fn replicas_follow_with_a_password_over_tls() {
    let certs = Certs::generate();
    let servers = Replicated::builder(1).password(PASSWORD).tls(&certs).start();
    assert!(servers.url().starts_with(&format!("rediss://:{ENCODED}@127.0.0.1:")));
    Raw::connect(servers.primary()).ok(&["SET", "a", "x"]);
    servers.wait_until_in_sync();
    let mut raw = connect_tls(servers.replica(0), &certs.ca, None).unwrap();
    raw.ok(&["AUTH", PASSWORD]);
    assert_eq!(word(&raw.cmd(&["GET", "a"])), "x");
}

#[test]
fn sentinels_fail_over_when_told_and_when_the_primary_dies() {
    let service = Sentinels::start(2);
    let ports: Vec<String> =
        service.sentinels().iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
    assert_eq!(service.url(), format!("redis+sentinel://{}/{}", ports.join(","), service.service()));

    let first = service.primary();
    assert!(std::ptr::eq(first, &service.servers()[0]));
    let second = service.failover();
    assert!(!std::ptr::eq(first, second));
    assert!(std::ptr::eq(service.primary(), second));
    // The old primary follows, and can be made primary again.
    service.wait_until_whole();
    Raw::connect(second).ok(&["SET", "a", "x"]);
    wait_until("it has the data", || get(first, "a") == "x");

    let dead = service.kill_primary();
    assert!(std::ptr::eq(dead, second));
    let third = service.wait_for_new_primary(dead);
    // One that comes back, empty, follows the one that took over.
    dead.restart();
    service.wait_until_whole();
    assert_eq!(get(dead, "a"), "x");

    service.sentinels()[0].kill();
    assert!(!std::ptr::eq(service.failover(), third));
}

#[test]
fn sentinels_ask_for_passwords_and_speak_tls() {
    let certs = Certs::generate();
    let service = Sentinels::builder(1)
        .password(PASSWORD)
        .sentinel_password("other")
        .tls(&certs)
        .each(|server| server.arg("databases", "3"))
        .start();
    assert!(service.url().starts_with(&format!("rediss+sentinel://:{ENCODED}@127.0.0.1:")));
    let sentinel = &service.sentinels()[0];
    assert!(TcpStream::connect(sentinel.address()).is_ok());
    let mut raw = connect_tls(sentinel, &certs.ca, None).unwrap();
    assert_eq!(word(&raw.cmd(&["SENTINEL", "MYID"])), "NOAUTH");
    raw.ok(&["AUTH", "other"]);
    raw.ok(&["SENTINEL", "MYID"]);
    let first = service.primary();
    let second = service.failover();
    assert!(!std::ptr::eq(second, first));
    assert_eq!(Raw::connect(second).ok(&["CONFIG", "GET", "databases"]).elements()[1].text(), "3");
}

#[test]
fn sentinels_and_replicas_of_each_version() {
    for binary in all_versions() {
        let service = Sentinels::builder(1).binary(binary).start();
        assert_eq!(service.sentinels()[0].binary(), binary);
        let first = service.primary();
        assert!(!std::ptr::eq(service.failover(), first), "{binary:?}");
    }
}
