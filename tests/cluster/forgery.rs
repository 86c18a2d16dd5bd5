//! Scripts that have written and then answer in the server's words: no other server may be made to run them again.

use crate::support;

use std::sync::OnceLock;

use rs_script::{Client, Error, Route, Script, Status};
use support::calls::{NONE, cluster_client};
use support::cluster::{Cluster, slot_of};
use support::fake::Fake;
use support::raw::Raw;
use support::wait_until;

/// Counts, and then fails in the words of its argument.
const FORGE: &str = "redis.call('INCR', KEYS[1]) return redis.error_reply(ARGV[1])";

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(3, 0))
}

/// The sum of a counter over all nodes, wherever scripts have written it.
fn count_of(key: &str) -> i64 {
    let count = |node| {
        let mut raw = Raw::connect(node);
        // Behind ASKING also a node would tell that does not own the slot.
        let keys = raw.ok(&["KEYS", key]);
        if keys.elements().is_empty() { 0 } else { raw.ok(&["GET", key]).text().parse().unwrap() }
    };
    cluster().nodes().iter().map(count).sum()
}

#[track_caller]
fn is_its_own(error: &Error, text: &str, key: &str) {
    assert_eq!(error.server_text(), Some(text.as_bytes()), "{error}");
    assert_eq!(error.status(), Status::Server, "{error}");
    assert!(!error.is_not_executed() && !error.is_indeterminate(), "{error}");
    assert_eq!(count_of(key), 1, "{text}");
}

/// The same, but in words for which a cluster that is well now may have been down a moment ago: that cannot be told.
#[track_caller]
fn is_its_own_or_in_doubt(error: &Error, text: &str, key: &str) {
    if !text.starts_with("CLUSTERDOWN The cluster is") && text != "CLUSTERDOWN Hash slot not served" {
        return is_its_own(error, text, key);
    }
    assert!(error.message().contains(text), "{error}");
    assert!(error.is_indeterminate() && !error.is_not_executed(), "{error}");
    assert_eq!(count_of(key), 1, "{text}");
}

/// Has the text forged in each kind of call.
fn forge(client: &Client, name: &str, text: &dyn Fn(&str) -> String) {
    let script = Script::new(FORGE);
    for (number, node) in [0, 1, 2].into_iter().enumerate() {
        let tag = cluster().tag_on(node, name);
        let text = text(&tag);
        let key = |kind: &str| format!("{tag}{kind}{number}");

        let single = key("single");
        let error = client.call(&script, &[&single], &[&text]).unwrap_err();
        is_its_own_or_in_doubt(&error, &text, &single);

        let (forged, beside) = (key("pipeline"), key("beside"));
        let mut pipeline = client.pipeline();
        pipeline.command(&["RPUSH", &beside, "1"]).unwrap().script(&script, &[&forged], &[&text]).unwrap();
        pipeline.command(&["RPUSH", &beside, "2"]).unwrap();
        let replies = pipeline.exec().unwrap();
        let error = replies.get(1).unwrap().as_error().expect("its own error");
        is_its_own_or_in_doubt(&error, &text, &forged);
        assert_eq!((replies.get(0).unwrap().as_i64(), replies.get(2).unwrap().as_i64()), (Some(1), Some(2)));

        let forged = key("transaction");
        let mut transaction = client.transaction();
        transaction.script(&script, &[&forged], &[&text]).unwrap().command(&["GET", &forged]).unwrap();
        let replies = transaction.exec().unwrap();
        is_its_own(&replies.get(0).unwrap().as_error().expect("its own error"), &text, &forged);
        assert_eq!(replies.get(1).unwrap().as_str(), Some("1"));

        // The picture of who has the slot is right again.
        let before = client.stats().redirects;
        assert!(client.command(&["GET", &single]).unwrap().as_str() == Some("1"));
        assert!(client.stats().redirects <= before + 1);
    }
    assert_eq!(client.call(&Script::new("return 1"), &NONE, &NONE).unwrap().as_i64(), Some(1));
}

/// The address of the node that is `steps` behind the tag's owner.
fn other(tag: &str, steps: usize) -> String {
    let owner = cluster().primary_of(slot_of(tag.as_bytes()));
    format!("127.0.0.1:{}", cluster().node((owner + steps) % 3).port())
}

#[test]
fn redirections_to_another_node() {
    let client = cluster_client(cluster());
    for word in ["MOVED", "ASK"] {
        forge(&client, &format!("{word}to"), &|tag| {
            format!("{word} {} {}", slot_of(tag.as_bytes()), other(tag, 1))
        });
    }
}

#[test]
fn redirections_to_the_node_itself() {
    let client = cluster_client(cluster());
    for word in ["MOVED", "ASK"] {
        forge(&client, &format!("{word}self"), &|tag| {
            format!("{word} {} {}", slot_of(tag.as_bytes()), other(tag, 0))
        });
    }
}

#[test]
fn redirections_of_another_slot() {
    let client = cluster_client(cluster());
    for word in ["MOVED", "ASK"] {
        forge(&client, &format!("{word}slot"), &|tag| {
            format!("{word} {} {}", slot_of(tag.as_bytes()) ^ 1, other(tag, 1))
        });
    }
    assert_eq!(client.stats().redirects, 0);
}

#[test]
fn redirections_to_a_server_outside_of_the_cluster() {
    let client = cluster_client(cluster());
    let outside = Fake::start(|conn| conn.hang());
    for word in ["MOVED", "ASK"] {
        forge(&client, &format!("{word}out"), &|tag| {
            format!("{word} {} 127.0.0.1:{}", slot_of(tag.as_bytes()), outside.port())
        });
    }
    assert_eq!(client.stats().redirects, 0);
    assert_eq!(outside.connections(), 0);
}

#[test]
fn redirections_with_something_behind_or_missing() {
    let client = cluster_client(cluster());
    for (number, tail) in [" script: 1c, on @user_script:1.", " ", ":1"].into_iter().enumerate() {
        forge(&client, &format!("tail{number}"), &|tag| {
            format!("MOVED {} {}{tail}", slot_of(tag.as_bytes()), other(tag, 1))
        });
    }
    for (number, text) in
        ["MOVED 1", "ASK x y", "TRYAGAIN later", "CLUSTERDOWN no", "READONLY no"].into_iter().enumerate()
    {
        forge(&client, &format!("short{number}"), &|_| text.to_owned());
    }
    assert_eq!(client.stats().redirects, 0);
}

#[test]
fn refusals_to_the_letter() {
    let client = cluster_client(cluster());
    // A server that has answered once has loaded its data.
    client.with_route(Route::AllPrimaries).unwrap().command(&["PING"]).unwrap();
    for (number, text) in [
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "CLUSTERDOWN The cluster is down",
        "CLUSTERDOWN Hash slot not served",
        "CLUSTERDOWN The cluster is down and only accepts read commands",
        "READONLY You can't write against a read only replica.",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    ]
    .into_iter()
    .enumerate()
    {
        forge(&client, &format!("letter{number}"), &|_| text.to_owned());
    }
}

/// A slot may be back at the server that has sent a call away when that is asked about it: while slots move, its answer
/// does not show that a script has made the words up.
#[test]
fn while_slots_move_nobody_can_tell() {
    let cluster = Cluster::start(3, 0);
    let client = cluster_client(&cluster);
    let [moved, beside] = [0, 1].map(|node| cluster.tag_on(node, "moves"));
    let forged = Script::new(FORGE);
    let slot = slot_of(beside.as_bytes());
    let texts = [
        format!("MOVED {slot} 127.0.0.1:{}", cluster.node(1).port()),
        format!("ASK {slot} 127.0.0.1:{}", cluster.node(1).port()),
        "TRYAGAIN Multiple keys request during rehashing of slot".to_owned(),
    ];
    for (number, text) in texts.iter().enumerate() {
        let key = format!("{beside}calm{number}");
        assert_eq!(client.call(&forged, &[key], &[text]).unwrap_err().status(), Status::Server, "{text}");
    }
    cluster.move_slots([slot_of(moved.as_bytes())], 0, 2);
    // A redirection has the client look who has what.
    wait_until("the client knows of the move", || {
        client.command(&["GET", &moved]).unwrap();
        let error = client.call(&forged, &[&format!("{beside}told")], &[&texts[0]]).unwrap_err();
        error.is_indeterminate()
    });
    for (number, text) in texts.iter().enumerate() {
        let key = format!("{beside}moves{number}");
        let error = client.call(&forged, &[&key], &[text]).unwrap_err();
        assert!(error.is_indeterminate() && !error.is_not_executed(), "{error}");
        assert!(error.message().contains(text), "{error}");
        assert_eq!(Raw::connect(cluster.node(1)).ok(&["GET", &key]).text(), "1", "{text}");
    }
}
