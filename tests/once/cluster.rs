//! Calls that happen exactly once in a cluster: where their tokens live, slots on the move, primaries that hand over
//! and die.

use crate::support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rs_script::{Client, Library, Once, Options, Queue, Reply, Route, Script, Status};
use support::cluster::{Cluster, slot_of};
use support::load::{tags, tags_of};
use support::raw::{Raw, blocked_clients};
use support::server::Binary;
use support::{OnDrop, wait_until};

const COUNT: &str = "return redis.call('INCR', KEYS[1])";

/// What no call here comes near to.
const LONG: Duration = Duration::from_secs(120);

fn once() -> Script {
    Script::new(COUNT).once(&Once::default()).expect("a script")
}

fn client(cluster: &Cluster) -> Client {
    let mut options = Options::default();
    options.call_timeout(LONG).unwrap().connect_timeout(Duration::from_secs(1)).unwrap();
    Client::open(&cluster.cluster_url(), &options).expect("a client")
}

fn total(cluster: &Cluster, tags: &[String]) -> usize {
    let count = |tag: &String| {
        let mut raw = Raw::connect(cluster.node(cluster.primary_of(slot_of(tag.as_bytes()))));
        raw.ok(&["GET", &format!("{{{tag}}}n")]).text().parse::<usize>().expect("a number")
    };
    tags.iter().map(count).sum()
}

/// Its item has not run, whatever replicas have of the others.
#[test]
fn anothers_token_in_a_pipeline_that_is_on_too_few_replicas() {
    let cluster = Cluster::start(3, 0);
    let mut options = Options::default();
    options.call_timeout(Duration::from_secs(3)).unwrap();
    let client = Client::open(&cluster.cluster_url(), &options).unwrap();
    let add = "return redis.call('INCRBY', KEYS[1], ARGV[1])";
    let waits = Once::default().wait(1, Duration::from_millis(100));
    let [before, add] = [Once::default(), waits].map(|once| Script::new(add).once(&once).expect("a script"));
    let keys = ["{a}1", "{a}2", "b"];
    let run = |script: &Script, second: i64| {
        let mut pipeline = client.pipeline();
        for (key, number) in keys.iter().zip([1, second, 1]) {
            pipeline.script(script, *key, number).unwrap();
        }
        let result = pipeline.token("a token").unwrap().exec();
        (result, pipeline.arrived())
    };
    assert_eq!(run(&before, 1).0.unwrap().to::<[i64; 3]>().unwrap(), [1, 1, 1]);
    let (result, arrived) = run(&add, 2);
    let error = result.unwrap_err();
    assert_eq!(error.status(), Status::NotReplicated, "{error}");
    let refused = arrived.expect("the replies").get(1).and_then(|item| item.as_error()).expect("an error");
    assert_eq!((refused.status(), refused.is_not_executed()), (Status::TokenMismatch, true), "{refused}");
}

/// A node that is taken for a server of its own: what it sends away is its own word, for the script's are marked.
#[test]
fn what_a_node_sends_away_that_is_no_cluster_to_its_client_was_not_executed() {
    let cluster = Cluster::start(3, 0);
    let mut options = Options::default();
    options.call_timeout(LONG).unwrap();
    let client = Client::open(&cluster.node(0).url(), &options).unwrap();
    let script = once();
    let key = cluster.tag_on(1, "key");
    let error = script.key(&key).call::<u64>(&client).unwrap_err();
    assert_eq!((error.server_code(), error.is_not_executed()), (Some("MOVED"), true), "{error}");
    for is_whole in [false, true] {
        let mut several = if is_whole { client.transaction() } else { client.pipeline() };
        several.script(&script, &key, ()).unwrap();
        let result =
            several.exec().map(|reply| reply.get(0).and_then(|item| item.as_error()).expect("an error"));
        let error = result.unwrap_or_else(|error| error);
        assert!(error.is_not_executed(), "{error}");
    }
    // What a script says that has run is not that.
    let own = cluster.tag_on(0, "own");
    let made_up = Script::new("redis.call('INCR', KEYS[1]) return redis.error_reply('MOVED 5 127.0.0.1:1')");
    let error = made_up.once(&Once::default()).unwrap().key(&own).call::<u64>(&client).unwrap_err();
    assert_eq!((error.server_code(), error.is_not_executed()), (Some("MOVED"), false), "{error}");
}

#[test]
fn tokens_live_in_the_slot_of_their_call() {
    let cluster = Cluster::start(3, 0);
    let [client, other] = [client(&cluster), client(&cluster)];
    let script = once();
    for tag in tags(300) {
        let call = script.key(format!("{{{tag}}}n")).token("job");
        let first: u64 = call.call(&client).unwrap();
        let again: u64 = call.call(&other).unwrap();
        assert_eq!((first, again), (1, 1), "{tag}");
    }
    // Without keys a call goes where its token lives, whatever the route says.
    let nowhere = Script::new("return redis.call('TIME')").once(&Once::default()).unwrap();
    let somewhere = other.with_route(Route::AllPrimaries).unwrap();
    let mut kept = 0;
    for number in 0..60 {
        let call = nowhere.prepare().token(format!("job {number}"));
        let [first, again, third] =
            [&client, &other, &somewhere].map(|client| call.call::<(u64, u64)>(client).expect("a reply"));
        assert_eq!((first, first), (again, third));
    }
    for node in cluster.nodes() {
        let found = Raw::connect(node).ok(&["KEYS", "rs:once:*:job ?*"]).elements().len();
        assert!(found > 0, "spread over all");
        kept += found;
    }
    assert_eq!(kept, 60);
    let error = client.call(&script, ["a", "b"], ()).unwrap_err();
    assert_eq!(error.status(), Status::CrossSlot);
}

#[test]
fn pipelines_and_transactions_have_tokens_item_by_item_or_one_for_all() {
    let cluster = Cluster::start(3, 0);
    let client = client(&cluster);
    let script = once();
    let nowhere = Script::new("return redis.call('TIME')").once(&Once::default()).unwrap();
    let tags: Vec<String> = tags(50).collect();
    for (number, token) in [Some("all"), None].into_iter().enumerate() {
        let rounds = [(); 2].map(|()| {
            let mut pipeline = client.pipeline();
            for tag in &tags {
                pipeline.script(&script, format!("{{{tag}}}{number}"), ()).unwrap();
                let own = script.key(format!("{{{tag}}}own{number}")).token(format!("own {number}"));
                pipeline.add(&own).unwrap().script(&nowhere, (), ()).unwrap();
            }
            if let Some(token) = token {
                pipeline.token(token).unwrap();
            }
            pipeline.exec().expect("replies").to::<Vec<Reply>>().unwrap()
        });
        for (item, (first, again)) in rounds[0].iter().zip(&rounds[1]).enumerate() {
            let is_repeat = token.is_some() || item % 3 == 1;
            assert_eq!(format!("{first:?}") == format!("{again:?}"), is_repeat, "item {item}");
        }
    }
    // Of a transaction all tokens have its one slot, those of calls without keys too.
    let rounds = [(); 2].map(|()| {
        let mut transaction = client.transaction();
        transaction.script(&script, "{t}n", ()).unwrap();
        transaction.script(&script, "{t}n", ()).unwrap().token("transaction").unwrap();
        transaction.exec().expect("replies").to::<[u64; 2]>().unwrap()
    });
    assert_eq!(rounds, [[1, 2]; 2]);
    let rounds = [(); 2].map(|()| {
        let mut transaction = client.transaction();
        transaction.script(&nowhere, (), ()).unwrap().script(&nowhere, (), ()).unwrap();
        transaction.token("nowhere").unwrap();
        transaction.exec().expect("replies").to::<[(u64, u64); 2]>().unwrap()
    });
    assert_eq!(rounds[0], rounds[1]);
    let mut transaction = client.transaction();
    transaction.script(&nowhere, (), ()).unwrap().script(&nowhere, (), ()).unwrap();
    transaction.script(&script, "{t}n", ()).unwrap().script(&nowhere, (), ()).unwrap();
    assert_eq!(transaction.exec().expect("replies").root().len(), 4);
}

/// A call without keys goes where its token lives only once the transaction is on its way.
#[test]
fn a_transaction_that_was_not_accepted_keeps_no_slot() {
    let cluster = Cluster::start(3, 0);
    let client = client(&cluster);
    let nowhere = Script::new("return 'somewhere'").once(&Once::default()).unwrap();
    let queue = Queue::new(1).unwrap();
    queue.close();
    for node in 0..3 {
        let mut transaction = client.transaction();
        transaction.script(&nowhere, (), ()).unwrap();
        assert_eq!(transaction.submit(&queue, 1).unwrap_err().status(), Status::Closed);
        transaction.script(&once(), cluster.tag_on(node, "n"), ()).unwrap();
        assert_eq!(transaction.exec().unwrap().to::<(String, u64)>().unwrap(), ("somewhere".into(), 1));
    }
}

#[test]
fn a_token_moves_with_its_slot() {
    let cluster = Cluster::start(3, 0);
    let [client, other] = [client(&cluster), client(&cluster)];
    let script = once();
    let slot = slot_of(b"s");
    let from = cluster.primary_of(slot);
    let to = (from + 1) % 3;
    let call = script.key("{s}n").token("job");
    assert_eq!(call.call::<u64>(&client), Ok(1));
    let token = Raw::connect(cluster.node(from)).ok(&["KEYS", "rs:once:*"]).elements()[0].text();
    assert_eq!(slot_of(token.as_bytes()), slot);
    cluster.begin_migration(slot, from, to);
    // All of it is still here, then on two servers, then there.
    assert_eq!(call.call::<u64>(&client), Ok(1));
    cluster.migrate_keys(from, to, &[token.as_bytes()]);
    thread::scope(|scope| {
        let errors = |word: &str| {
            let stats = Raw::connect(cluster.node(from)).info("errorstats", &format!("errorstat_{word}"));
            stats.map_or(0, |stats| stats.trim_start_matches("count=").parse::<u64>().expect("a count"))
        };
        let met = errors("TRYAGAIN");
        let caller = scope.spawn(|| call.call::<u64>(&client));
        // One with a new token cannot run before the slot has moved.
        let fresh = scope.spawn(|| script.key("{s}n").call::<u64>(&other));
        wait_until("both are told to try again", || errors("TRYAGAIN") >= met + 6);
        cluster.migrate_keys(from, to, &[b"{s}n"]);
        assert_eq!(caller.join().unwrap(), Ok(1), "by ASK");
        assert!(!fresh.is_finished());
        cluster.finish_migration(slot, from, to);
        assert_eq!(fresh.join().unwrap(), Ok(2));
    });
    assert_eq!(call.call::<u64>(&other), Ok(1), "by MOVED");
    // Without keys a call is one key, which ASK is enough for.
    let nowhere = Script::new("return redis.call('TIME')").once(&Once::default()).unwrap();
    let call = nowhere.prepare().token("s");
    let first: (u64, u64) = call.call(&client).unwrap();
    let token = Raw::connect(cluster.node(to)).ok(&["KEYS", "rs:once:*}:s"]).elements()[0].text();
    cluster.begin_migration(slot, to, from);
    cluster.migrate_keys(to, from, &[token.as_bytes()]);
    assert_eq!(call.call(&client), Ok(first));
    assert!(nowhere.prepare().call::<(u64, u64)>(&client).is_ok());
}

/// Four threads that count on keys of these tags while something happens; then every value of every counter must have
/// been given once.
fn load(cluster: &Cluster, script: &Script, tags: &[String], trouble: impl FnOnce(&dyn Fn())) {
    let client = client(cluster);
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let keys: Vec<String> = tags.iter().map(|tag| format!("{{{tag}}}n")).collect();
    let values: Vec<(usize, u64)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (client, keys, stop, done) = (&client, &keys, &stop, &done);
                scope.spawn(move || {
                    let mut values = Vec::new();
                    let mut rounds = 0;
                    while !stop.load(Ordering::SeqCst) || rounds == 0 {
                        rounds += 1;
                        if thread < 2 {
                            for (tag, key) in keys.iter().enumerate() {
                                let value = script.key(key).call(client);
                                values.push((tag, value.expect("a reply, and never a question")));
                            }
                        } else if thread == 2 {
                            let mut pipeline = client.pipeline();
                            for key in keys {
                                pipeline.script(script, key, ()).unwrap();
                            }
                            let replies = pipeline.exec().expect("replies, and never a question");
                            values.extend(replies.to::<Vec<u64>>().unwrap().into_iter().enumerate());
                        } else {
                            let tag = rounds % keys.len();
                            let mut transaction = client.transaction();
                            for _ in 0..3 {
                                transaction.script(script, &keys[tag], ()).unwrap();
                            }
                            let replies = transaction.exec().expect("replies, and never a question");
                            values.extend(replies.to::<[u64; 3]>().unwrap().map(|value| (tag, value)));
                        }
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                    values
                })
            })
            .collect();
        let end = OnDrop(|| stop.store(true, Ordering::SeqCst));
        trouble(&|| {
            let before = done.load(Ordering::SeqCst);
            wait_until("calls are done", || done.load(Ordering::SeqCst) >= before + 12);
        });
        drop(end);
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(total(cluster, tags), values.len());
    assert_eq!(values.iter().collect::<HashSet<_>>().len(), values.len(), "every value once");
    println!("{} calls", values.len());
}

/// All of its replies are there, and the answer to WAIT is not: it is not done.
#[test]
fn a_pipeline_is_not_done_when_its_connection_is_lost_in_the_middle_of_waiting() {
    let cluster = Cluster::start(3, 0);
    let mut options = Options::default();
    options.call_timeout(Duration::from_secs(3)).unwrap();
    let client = Client::open(&cluster.cluster_url(), &options).expect("a client");
    let once = Once::default().wait(1, LONG);
    let script = Script::new(COUNT).once(&once).expect("a script");
    let mut pipeline = client.pipeline();
    pipeline.script(&script, "{s}n", ()).unwrap().script(&script, "{s}n", ()).unwrap();
    thread::scope(|scope| {
        let caller = scope.spawn(|| pipeline.exec());
        let node = cluster.node(cluster.primary_of(slot_of(b"s")));
        wait_until("it waits", || blocked_clients(node) == 1);
        Raw::connect(node).ok(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        let replies = caller.join().unwrap();
        let error = replies.map_or_else(Some, |replies| replies.get(1).and_then(|reply| reply.as_error()));
        let error = error.expect("there is no replica that could have it");
        assert!(error.is_indeterminate() && !error.is_not_executed(), "{error}");
    });
    assert_eq!(total(&cluster, &["s".to_owned()]), 2);
}

#[test]
fn slots_move_under_load() {
    let cluster = Cluster::start(3, 0);
    load(&cluster, &once(), &tags_of(100..120), |wait_for_calls| {
        wait_for_calls();
        let [first, second] = [cluster.primary_of(100), (cluster.primary_of(100) + 1) % 3];
        for (from, to) in [(first, second), (second, first)] {
            cluster.move_slots(100..120, from, to);
            wait_for_calls();
        }
    });
}

#[test]
fn functions_run_once_each_while_slots_move_and_libraries_are_lost() {
    let library = Library::pinned(
        "#!lua name=lib\nredis.register_function('count', function(keys) return redis.call('INCR', keys[1]) end)",
    );
    let count = library.unwrap().once(&Once::default()).unwrap().function("count").unwrap();
    for binary in [Binary::Default, Binary::Redis82, Binary::Valkey91] {
        println!("{binary:?}");
        let cluster = Cluster::builder(3).binary(binary).start();
        let [client, other] = [client(&cluster), client(&cluster)];
        // By ASK and MOVED, to a node that has no library.
        let slot = slot_of(b"s");
        let from = cluster.primary_of(slot);
        let to = (from + 1) % 3;
        let call = count.key("{s}n").token("job");
        assert_eq!(call.call::<u64>(&client), Ok(1));
        let token = Raw::connect(cluster.node(from)).ok(&["KEYS", "rs:once:*"]).elements()[0].text();
        cluster.begin_migration(slot, from, to);
        cluster.migrate_keys(from, to, &[token.as_bytes(), b"{s}n"]);
        assert_eq!((call.call::<u64>(&client), call.call::<u64>(&other)), (Ok(1), Ok(1)));
        cluster.finish_migration(slot, from, to);
        assert_eq!((call.call::<u64>(&client), call.call::<u64>(&other)), (Ok(1), Ok(1)));
        assert_eq!(count.key("{s}n").call::<u64>(&client), Ok(2));
        load(&cluster, &count, &tags_of(100..110), |wait_for_calls| {
            wait_for_calls();
            let [first, second] = [cluster.primary_of(100), (cluster.primary_of(100) + 1) % 3];
            for (from, to) in [(first, second), (second, first)] {
                for node in cluster.nodes() {
                    Raw::connect(node).ok(&["FUNCTION", "FLUSH"]);
                }
                cluster.move_slots(100..110, from, to);
                wait_for_calls();
            }
        });
    }
}

#[test]
fn primaries_hand_over_under_load() {
    let cluster = Cluster::start(3, 1);
    let tags: Vec<String> = tags(12).collect();
    load(&cluster, &once(), &tags, |wait_for_calls| {
        wait_for_calls();
        for slot in [0, 8000, 8000] {
            cluster.failover(slot);
            wait_for_calls();
        }
    });
}

#[test]
fn a_primary_is_killed_under_load_and_loses_nothing_where_calls_wait_for_its_replica() {
    let cluster = Cluster::start(3, 1);
    let tags: Vec<String> = tags(12).collect();
    let script = Script::new(COUNT).once(&Once::default().wait(1, Duration::from_millis(100))).unwrap();
    // One that is not the witness whom the support asks first.
    let victim = 1;
    let slot = 8000;
    load(&cluster, &script, &tags, |wait_for_calls| {
        wait_for_calls();
        assert_eq!(cluster.primary_of(slot), victim);
        cluster.kill(victim);
        cluster.wait_for_new_primary(slot, victim);
        // Comes back as a replica, without which no call of these slots counts as done.
        cluster.node(victim).restart();
        wait_for_calls();
    });
}
