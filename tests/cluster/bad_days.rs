//! Bad days of whole clusters under load: slots that nobody serves, scripts flushed all the time, majorities and
//! clusters lost and found again, clients closed in the middle of it.

use crate::support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rs_script::{Client, Error, Script, Status};
use support::calls::NONE;
use support::cluster::{Cluster, slot_of};
use support::load::{Load, Work, options, tags};
use support::raw::Raw;
use support::server::Builder;
use support::{OnDrop, wait_until};

const ALL: [Work; 4] = [Work::One, Work::Pair, Work::Pipeline, Work::Transaction];

#[test]
fn a_slot_that_nobody_serves_fails_alone() {
    let partial = |node: Builder| node.arg("cluster-require-full-coverage", "no");
    let cluster = Cluster::builder(3).each(partial).start();
    let lost = slot_of(b"lost");
    let owner = cluster.primary_of(lost);
    let load = Load::new(&cluster, tags(60));
    let hasty = load.client.with_timeout(Duration::from_secs(2));
    let count = Script::new("return redis.call('INCR', KEYS[1])");
    load.during(&ALL, || {
        hasty.call(&count, &["lost"], &NONE).unwrap();
        cluster.uncover(lost);
        let refused = |error: Error| {
            assert_eq!(error.status(), Status::NotServed, "{error:?}");
            assert!(error.is_not_executed());
        };
        for _ in 0..2 {
            refused(hasty.call(&count, &["lost"], &NONE).unwrap_err());
        }
        let mut transaction = hasty.transaction();
        transaction.script(&count, &["lost"], &NONE).unwrap();
        refused(transaction.exec().unwrap_err());
        let mut pipeline = hasty.pipeline();
        pipeline.script(&count, &["lost"], &NONE).unwrap().script(&count, &["found"], &NONE).unwrap();
        let arrived = match pipeline.exec() {
            Ok(replies) => replies,
            Err(error) => {
                assert_eq!(error.status(), Status::Indeterminate, "one item has been executed: {error}");
                assert!(!error.is_not_executed(), "{error}");
                pipeline.arrived().expect("what the others said")
            }
        };
        refused(arrived.root().get(0).unwrap().as_error().expect("an error"));
        assert_eq!(arrived.root().get(1).unwrap().as_i64(), Some(1));
        cluster.cover(lost, owner);
        // Its keys stayed where they were.
        assert_eq!(hasty.call(&count, &["lost"], &NONE).unwrap().as_i64(), Some(2));
    });
    load.assert_well();
    load.settle().assert_no_call_failed();
}

#[test]
fn calls_wait_for_a_slot_that_is_served_again_within_their_deadline() {
    let cluster = Cluster::start(3, 0);
    let lost = slot_of(b"lost");
    let owner = cluster.primary_of(lost);
    let load = Load::new(&cluster, tags(60));
    // Without full coverage no node serves anything.
    let works = [Work::One, Work::Pair, Work::Pipeline, Work::Transaction];
    load.during(&works, || {
        cluster.uncover(lost);
        cluster.cover(lost, owner);
    });
    load.assert_well();
    load.settle().assert_no_call_failed();
}

#[test]
fn scripts_flushed_in_a_loop_are_never_missed_by_single_calls() {
    let cluster = Cluster::start(3, 0);
    let load = Load::new(&cluster, tags(60));
    let works = [Work::One, Work::Pair, Work::Pipeline, Work::Pipeline, Work::Transaction];
    let (flushing, flushes) = (AtomicBool::new(true), AtomicUsize::new(0));
    load.during(&works, || {
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut raw = Raw::connect(cluster.node(0));
                while flushing.load(Ordering::Relaxed) {
                    raw.ok(&["SCRIPT", "FLUSH"]);
                    flushes.fetch_add(1, Ordering::Relaxed);
                }
            });
            let end = OnDrop(|| flushing.store(false, Ordering::Relaxed));
            let repairs = load.client.stats().noscript_repairs;
            wait_until("flushes are met", || {
                load.client.stats().noscript_repairs > repairs + 100 && flushes.load(Ordering::Relaxed) > 100
            });
            drop(end);
        });
    });
    load.assert_well();
    let summary = load.settle();
    // What pipelines lacked was not executed: that is counted, and settled.
    let missed = summary.count(Work::Pipeline, Status::NoScript);
    assert_eq!(
        (summary.not_executed, summary.errors.len()),
        (missed, usize::from(missed > 0)),
        "{summary:#?}"
    );
}

#[test]
fn connections_cut_again_and_again_let_nothing_run_twice() {
    let cluster = Cluster::start(3, 0);
    let load = Load::new(&cluster, tags(60));
    let cut = || {
        for node in cluster.nodes() {
            Raw::connect(node).ok(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        }
        load.wait_for_calls(&ALL);
    };
    load.during(&ALL, || {
        (0..30).for_each(|_| cut());
        // Whether a connection is cut between a run and its reply is a matter of chance.
        wait_until("a connection was cut behind what had run", || {
            cut();
            load.has_lost_a_reply()
        });
    });
    load.assert_well();
    let summary = load.settle();
    assert!(summary.indeterminate_but_done > 0, "{summary:#?}");
}

#[test]
fn a_majority_lost_and_found_again() {
    let cluster = Cluster::start(3, 0);
    let load = Load::new(&cluster, tags(60));
    let node = 0;
    let own: Vec<String> =
        tags(60).filter(|tag| cluster.primary_of(slot_of(tag.as_bytes())) == node).collect();
    load.during(&ALL, || {
        cluster.isolate(node);
        let hasty = load.client.with_timeout(Duration::from_secs(2));
        let error = hasty.call(load.scripts()[0], &[format!("{{{}}}1", own[0])], &["0"]).unwrap_err();
        assert_eq!(error.status(), Status::NotServed, "{error:?}");
        assert!(error.is_not_executed());
        cluster.reunite();
    });
    load.assert_well();
    load.settle();
}

#[test]
fn a_cluster_killed_as_a_whole_and_started_again() {
    // What is in the file is written before it is acknowledged, so nothing done is lost.
    let lasting = |node: Builder| node.arg("appendonly", "yes").arg("appendfsync", "no");
    let cluster = Cluster::builder(3).each(lasting).start();
    let load = Load::new(&cluster, tags(60));
    load.during(&ALL, || {
        for node in cluster.nodes() {
            node.kill();
        }
        // The first may still be sent into a connection of which nobody knows yet that it is lost.
        wait_until("it is noticed", || {
            let error = load.client.call(load.scripts()[0], &["{x}"], &["0"]).unwrap_err();
            assert!(error.is_not_executed() != error.is_indeterminate(), "{error:?}");
            error.is_not_executed()
        });
        for node in cluster.nodes() {
            node.restart();
        }
        cluster.wait_until_whole();
    });
    load.assert_well();
    load.settle();
}

#[test]
fn a_server_that_hangs_keeps_back_only_its_own_part_of_a_pipeline() {
    let partial = |node: Builder| node.arg("cluster-require-full-coverage", "no");
    let cluster = Cluster::builder(3).each(partial).start();
    let mut options = options();
    options.connect_timeout(Duration::from_secs(20)).unwrap();
    let seed = cluster.node(0).url().replace("redis://", "redis+cluster://");
    let long = Script::new("return string.rep('x', ARGV[1])");
    let tags: Vec<String> = tags(60).collect();
    let hanging = 1;
    for is_connected in [true, false] {
        let client = Client::open(&seed, &options).unwrap();
        for tag in &tags {
            if is_connected || cluster.primary_of(slot_of(tag.as_bytes())) != hanging {
                client.call(&long, &[tag], &["1"]).unwrap();
            }
        }
        cluster.node(hanging).pause();
        let mut pipeline = client.with_timeout(Duration::from_secs(5)).pipeline();
        for tag in &tags {
            // More than the sockets hold, unless somebody reads.
            pipeline.script(&long, &[tag], &["300000"]).unwrap();
        }
        let error = pipeline.exec().unwrap_err();
        cluster.node(hanging).resume();
        let arrived = pipeline.arrived().unwrap_or_else(|| panic!("nothing arrived: {error}"));
        for (tag, reply) in tags.iter().zip(arrived.root().elements()) {
            if cluster.primary_of(slot_of(tag.as_bytes())) == hanging {
                let error = reply.as_error().expect("no reply");
                assert!(error.is_indeterminate() != error.is_not_executed(), "{error:?}");
                assert!(is_connected || error.is_not_executed(), "{error:?}");
            } else {
                assert_eq!(
                    reply.as_bytes().map(<[u8]>::len),
                    Some(300_000),
                    "{is_connected} {:?}",
                    reply.as_error()
                );
            }
        }
    }
}

#[test]
fn callers_in_a_hurry_do_not_end_the_calls_of_patient_ones() {
    let cluster = Cluster::start(3, 0);
    let client = Client::open(&cluster.cluster_url(), &options()).unwrap();
    let patient = client.with_timeout(Duration::from_secs(120));
    let script = Script::new("return redis.call('INCR', KEYS[1])");
    let victim = cluster.primary_of(slot_of(b"a"));
    cluster.kill(victim);
    let (made, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for timeout in [1, 1, 1, 1, 2, 3, 110] {
            let hasty = client.with_timeout(Duration::from_millis(timeout));
            let (script, made, over) = (&script, &made, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let _ = hasty.call(script, &["a"], &NONE);
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let end = OnDrop(|| over.store(true, Ordering::Relaxed));
        let call = scope.spawn(|| patient.call(&script, &["{a}patient"], &NONE));
        wait_until("others give up", || made.load(Ordering::Relaxed) > 1000 || call.is_finished());
        cluster.node(victim).restart();
        let result = call.join().unwrap();
        drop(end);
        assert_eq!(result.unwrap().as_i64(), Some(1));
    });
}

#[test]
fn close_ends_every_call_whatever_it_waits_for() {
    let cluster =
        Cluster::builder(3).replicas(1).each(|node| node.arg("cluster-replica-no-failover", "yes")).start();
    let client = Client::open(&cluster.cluster_url(), &options()).unwrap();
    // Only close can end these calls in the time of a test.
    let patient = client.with_timeout(Duration::from_secs(600));
    let script = Script::new("return redis.call('INCR', KEYS[1])");
    let names: Vec<String> = tags(60).collect();
    let owners: BTreeMap<&String, usize> =
        names.iter().map(|name| (name, cluster.primary_of(slot_of(name.as_bytes())))).collect();
    for name in &names {
        client.call(&script, &[name], &NONE).unwrap();
    }
    let began = AtomicUsize::new(0);
    let call = |name: &str, kind: usize| -> Result<(), Error> {
        began.fetch_add(1, Ordering::Relaxed);
        if kind == 0 {
            return patient.call(&script, &[name], &NONE).map(drop);
        }
        let mut several = if kind == 1 { patient.pipeline() } else { patient.transaction() };
        several.script(&script, &[name], &NONE)?;
        // A pipeline's error is its item's.
        several.exec()?.root().elements().find_map(|item| item.as_error()).map_or(Ok(()), Err)
    };
    // One primary is dead, and none follows it; one hangs; so the third is without a majority, and serves nothing.
    cluster.kill(1);
    cluster.isolate(0);
    thread::scope(|scope| {
        let call = &call;
        let callers: Vec<_> = (0..3)
            .flat_map(|owner| {
                let name = names.iter().find(|name| owners[*name] == owner).expect("a name in its slots");
                (0..3).map(move |kind| (owner, kind, scope.spawn(move || call(name, kind))))
            })
            .collect();
        wait_until("all calls are made, and some wait for a reply", || {
            began.load(Ordering::Relaxed) == callers.len() && client.stats().in_flight >= 3
        });
        client.close();
        // Within the patience of `wait_until`, that is, and not of the calls.
        wait_until("all calls have ended", || callers.iter().all(|(.., caller)| caller.is_finished()));
        for (owner, kind, caller) in callers {
            let Err(error) = caller.join().unwrap() else { panic!("call {kind} was done by server {owner}") };
            // What a server has said last, if the end came while the client asked whether that was true; and what was
            // found out about a dead one at that moment.
            let is_told = error.server_code() == Some("CLUSTERDOWN");
            let ends = [Status::Closed, Status::Indeterminate, Status::Connect];
            assert!(is_told || ends.contains(&error.status()), "{error:?}");
        }
    });
    assert_eq!(client.call(&script, &["a"], &NONE).unwrap_err().status(), Status::Closed);
}
