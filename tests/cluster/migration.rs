//! Slots on the move: half migrated, and hundreds of them under load.

use crate::support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rs_script::{Client, Script};
use support::calls::{LONG, NONE};
use support::cluster::{Cluster, slot_of};
use support::load::{Load, Work, options, tags_of};
use support::raw::Raw;
use support::{OnDrop, wait_until};

const ALL: [Work; 4] = [Work::One, Work::Pair, Work::Pipeline, Work::Transaction];

/// How often a node has given this error.
fn errors(cluster: &Cluster, number: usize, word: &str) -> u64 {
    let stats = Raw::connect(cluster.node(number)).info("errorstats", &format!("errorstat_{word}"));
    stats.map_or(0, |stats| stats.strip_prefix("count=").expect("a count").parse().expect("a number"))
}

/// A key counted once by each of these calls; each gives the sum of its keys.
const COUNT: &str = "local sum = 0
    for _, key in ipairs(KEYS) do sum = sum + redis.call('INCR', key) end
    return sum";

fn count(client: &Client, script: &Script, keys: &[&str]) -> i64 {
    client.call(script, keys, &NONE).expect("a call").as_i64().expect("a number")
}

#[test]
fn a_slot_half_migrated_is_served_from_both_sides_there_and_back() {
    let cluster = Cluster::start(3, 0);
    let client = Client::open(&cluster.cluster_url(), &options()).unwrap();
    let script = Script::new(COUNT);
    let slot = slot_of(b"{s}a");
    let first = cluster.primary_of(slot);
    let second = (first + 1) % 3;
    assert_eq!(count(&client, &script, &["{s}a", "{s}b"]), 2);
    let mut expected = 1;
    for (from, to) in [(first, second), (second, first)] {
        cluster.begin_migration(slot, from, to);
        expected += 1;
        assert_eq!(count(&client, &script, &["{s}a", "{s}b"]), 2 * expected, "all keys still here");
        cluster.migrate_keys(from, to, &[b"{s}a"]);
        let redirects = client.stats().redirects;
        expected += 1;
        assert_eq!(count(&client, &script, &["{s}a"]), expected, "by ASK");
        assert_eq!(client.stats().redirects, redirects + 1);
        assert_eq!(count(&client, &script, &["{s}b"]), expected, "not moved yet");
        assert_eq!(
            count(&client, &script, &[&format!("{{s}}new{to}")]),
            1,
            "a new key is made where the slot goes"
        );
        let mut pipeline = client.pipeline();
        for keys in [["{s}a"], ["{s}b"], ["{s}a"], ["{s}b"]] {
            pipeline.script(&script, &keys, &NONE).unwrap();
        }
        let replies = pipeline.exec().unwrap();
        let found: Vec<_> = replies.root().elements().map(|reply| reply.as_i64()).collect();
        assert_eq!(found, [1, 1, 2, 2].map(|more| Some(expected + more)));
        expected += 2;
        let mut transaction = client.transaction();
        transaction.script(&script, &["{s}a"], &NONE).unwrap().command(&["INCR", "{s}a"]).unwrap();
        transaction.command(&["DECR", "{s}a"]).unwrap().command(&["DECR", "{s}a"]).unwrap();
        assert_eq!(transaction.exec().unwrap().root().len(), 4, "by ASK");

        // Both keys, which are on two servers: tried again until they are together, and run once.
        let met = errors(&cluster, from, "TRYAGAIN");
        thread::scope(|scope| {
            let call = scope.spawn(|| count(&client, &script, &["{s}a", "{s}b"]));
            let pipeline = scope.spawn(|| {
                let mut pipeline = client.pipeline();
                pipeline.script(&script, &["{s}a", "{s}b"], &NONE).unwrap();
                pipeline.exec().expect("a pipeline").root().get(0).and_then(|reply| reply.as_i64())
            });
            let transaction = scope.spawn(|| {
                let mut transaction = client.transaction();
                transaction.script(&script, &["{s}a", "{s}b"], &NONE).unwrap();
                transaction.exec().expect("a transaction").root().get(0).and_then(|reply| reply.as_i64())
            });
            wait_until("TRYAGAIN is met, and met again", || errors(&cluster, from, "TRYAGAIN") >= met + 6);
            cluster.migrate_keys(from, to, &[b"{s}b"]);
            let mut sums = [
                call.join().unwrap(),
                pipeline.join().unwrap().unwrap(),
                transaction.join().unwrap().unwrap(),
            ];
            sums.sort_unstable();
            assert_eq!(sums, [1, 2, 3].map(|more| 2 * (expected + more)));
        });
        expected += 3;
        cluster.finish_migration(slot, from, to);
        expected += 1;
        assert_eq!(count(&client, &script, &["{s}a", "{s}b"]), 2 * expected, "by MOVED");
        let redirects = client.stats().redirects;
        expected += 1;
        assert_eq!(count(&client, &script, &["{s}a", "{s}b"]), 2 * expected);
        assert_eq!(client.stats().redirects, redirects, "and then at once");
    }
}

#[test]
fn an_item_whose_script_is_gone_follows_one_in_front_of_it_that_waits_for_its_keys() {
    let cluster = Cluster::start(3, 0);
    let client = Client::open(&cluster.cluster_url(), &support::calls::options(LONG)).unwrap();
    let script = Script::new(COUNT);
    let slot = slot_of(b"{s}a");
    let from = cluster.primary_of(slot);
    let to = (from + 1) % 3;
    assert_eq!(count(&client, &script, &["{s}a", "{s}b"]), 2);
    cluster.begin_migration(slot, from, to);
    cluster.migrate_keys(from, to, &[b"{s}b"]);
    Raw::connect(cluster.node(from)).ok(&["SCRIPT", "FLUSH"]);
    let met = errors(&cluster, from, "TRYAGAIN");
    thread::scope(|scope| {
        let pipeline = scope.spawn(|| {
            let mut pipeline = client.pipeline();
            pipeline.script(&script, &["{s}a", "{s}b"], &NONE).unwrap();
            pipeline.script(&script, &["{s}a"], &NONE).unwrap();
            pipeline.exec().unwrap()
        });
        wait_until("TRYAGAIN is met again", || errors(&cluster, from, "TRYAGAIN") >= met + 2);
        cluster.migrate_keys(from, to, &[b"{s}a"]);
        let replies = pipeline.join().unwrap();
        let told: Vec<_> = replies.root().elements().map(|reply| reply.as_i64()).collect();
        assert_eq!(told, [Some(2 + 2), Some(3)], "in order: {replies:?}");
    });
    cluster.finish_migration(slot, from, to);
    assert_eq!(count(&client, &script, &["{s}a", "{s}b"]), 4 + 3, "each ran once");
}

#[test]
fn a_slot_that_stays_half_migrated_lets_only_calls_with_keys_on_both_sides_fail() {
    let cluster = Cluster::start(3, 0);
    let slot = slot_of(b"s");
    let from = cluster.primary_of(slot);
    let to = (from + 1) % 3;
    let load = Load::new(&cluster, ["s".to_owned()]);
    load.assert_well();
    cluster.begin_migration(slot, from, to);
    cluster.migrate_keys(from, to, &[b"{s}2"]);
    load.during(&[Work::One, Work::One], || {
        let error = load.client.call(load.scripts()[1], &["{s}1", "{s}2"], &["0"]).unwrap_err();
        assert_eq!(error.status(), rs_script::Status::NotServed, "{error:?}");
        assert!(error.is_not_executed() && error.message().contains("TRYAGAIN"), "{error}");
    });
    cluster.migrate_keys(from, to, &[b"{s}1"]);
    load.during(&ALL, || cluster.finish_migration(slot, from, to));
    load.assert_well();
    load.settle().assert_no_call_failed();
}

#[test]
fn hundreds_of_slots_move_under_load_and_no_call_fails() {
    let cluster = Cluster::start(3, 0);
    let slots = 100..400;
    let mut tags = tags_of(slots.clone());
    tags.extend(support::load::tags(30));
    let load = Load::new(&cluster, tags);
    load.assert_well();
    load.during(&ALL, || {
        cluster.move_slots(slots.clone(), 0, 1);
        cluster.move_slots(slots, 1, 2);
    });
    load.assert_well();
    load.settle().assert_no_call_failed();
}

#[test]
fn pipelines_keep_their_order_in_each_slot_while_slots_move() {
    let cluster = Cluster::start(3, 0);
    let slots = 100..300;
    let tags = tags_of(slots.clone());
    let client = Client::open(&cluster.cluster_url(), &options()).unwrap();
    let push = Script::new("return redis.call('RPUSH', KEYS[1], ARGV[1])");
    let moved = AtomicBool::new(false);
    let pushed = thread::scope(|scope| {
        let pushers = [0, 1].map(|pusher| {
            let (client, tags, push, moved) = (&client, &tags, &push, &moved);
            scope.spawn(move || {
                let mut rounds = 0;
                while !moved.load(Ordering::Relaxed) {
                    let mut pipeline = client.pipeline();
                    for item in 0..3 {
                        for tag in tags {
                            let number = (3 * rounds + item).to_string();
                            let key = format!("{{{tag}}}{pusher}");
                            if item == 1 {
                                pipeline.command(&["RPUSH", &key, &number]).unwrap();
                            } else {
                                pipeline.script(push, &[key], &[number]).unwrap();
                            }
                        }
                    }
                    let replies = pipeline.exec().expect("a pipeline");
                    let first = replies.root().elements().find_map(|reply| reply.as_error());
                    assert!(first.is_none(), "{first:?}");
                    rounds += 1;
                }
                3 * rounds
            })
        });
        let end = OnDrop(|| moved.store(true, Ordering::Relaxed));
        cluster.move_slots(slots, 0, 1);
        drop(end);
        pushers.map(|pusher| pusher.join().unwrap())
    });
    let mut raw = Raw::connect(cluster.node(1));
    for tag in &tags {
        for (pusher, count) in pushed.iter().enumerate() {
            let list = raw.ok(&["LRANGE", &format!("{{{tag}}}{pusher}"), "0", "-1"]);
            let found: Vec<String> = list.elements().iter().map(|number| number.text()).collect();
            let expected: Vec<String> = (0..*count).map(|number| number.to_string()).collect();
            assert_eq!(found, expected, "{tag}");
        }
    }
}
