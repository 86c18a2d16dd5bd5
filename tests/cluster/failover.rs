//! Failovers under load: primaries that die, hang or hand over, and replicas that have never seen the scripts.

use crate::support;

use std::thread;

use rs_script::{Client, Options, Script, Status};
use support::calls::shown;
use support::cluster::{Cluster, slot_of};
use support::load::{Load, Work, tags};
use support::raw::{Raw, blocked_clients};
use support::{wait_for, wait_until};

/// Eight threads: those that wait for a dead primary leave others to go on elsewhere.
const ALL: [Work; 8] = [
    Work::One,
    Work::Pair,
    Work::Pipeline,
    Work::Transaction,
    Work::One,
    Work::Pair,
    Work::Pipeline,
    Work::Transaction,
];

/// A primary that isn't the witness whom the tests ask first.
const VICTIM: usize = 1;

/// A slot of the victim's.
const SLOT: u16 = 8000;

fn knows(cluster: &Cluster, number: usize, scripts: [&Script; 2]) -> [bool; 2] {
    let mut raw = Raw::connect(cluster.node(number));
    scripts.map(|script| raw.ok(&["SCRIPT", "EXISTS", script.sha_hex()]).elements()[0].integer() == 1)
}

#[test]
fn a_primary_killed_under_load_is_followed_to_a_replica_that_never_saw_the_scripts() {
    let cluster = Cluster::start(3, 1);
    let load = Load::new(&cluster, tags(60));
    load.during(&ALL, || {
        load.take_down(VICTIM, || {
            assert_eq!(knows(&cluster, VICTIM, load.scripts()), [true; 2]);
            let replica = cluster.replicas_of(SLOT)[0];
            assert_eq!(knows(&cluster, replica, load.scripts()), [false; 2]);
            cluster.kill(VICTIM);
        });
        let new = cluster.wait_for_new_primary(SLOT, VICTIM);
        wait_until("the replica has the scripts", || knows(&cluster, new, load.scripts()) == [true; 2]);
    });
    load.assert_well();
    let summary = load.settle();
    for work in ALL {
        assert_eq!(summary.count(work, Status::NoScript), 0, "{summary:#?}");
    }
}

#[test]
fn a_manual_failover_under_load_lets_no_call_fail() {
    let cluster = Cluster::start(3, 1);
    let load = Load::new(&cluster, tags(60));
    load.during(&ALL, || {
        for slot in [SLOT, SLOT, 0] {
            cluster.failover(slot);
            load.wait_for_calls(&ALL);
        }
    });
    load.assert_well();
    load.settle().assert_no_call_failed();
}

/// Its server says that it lets go of it, for it has become a replica: it had no element yet.
#[test]
fn a_command_that_waits_goes_on_waiting_at_the_new_primary() {
    let cluster = Cluster::start(3, 1);
    let client = Client::open(&cluster.cluster_url(), &Options::default()).unwrap();
    let blocked = |node: usize| blocked_clients(cluster.node(node));
    let slot = slot_of(b"queue");
    let old = cluster.primary_of(slot);
    thread::scope(|scope| {
        let waits = scope.spawn(|| client.command(&["BLPOP", "queue", "0"]));
        wait_until("it waits at the old primary", || blocked(old) == 1);
        let new = cluster.failover(slot);
        let is_over = || waits.is_finished();
        wait_until("it waits at the new primary", || blocked(new) == 1 || is_over());
        if !is_over() {
            client.command(&["RPUSH", "queue", "x"]).unwrap();
        }
        assert_eq!(shown(&waits.join().unwrap().unwrap()), r#"Array[String("queue"), String("x")]"#);
    });
}

#[test]
fn a_primary_that_hangs_is_left_for_its_replica_and_does_no_harm_when_it_goes_on() {
    let cluster = Cluster::start(3, 1);
    let load = Load::new(&cluster, tags(60));
    load.during(&ALL, || {
        load.take_down(VICTIM, || cluster.node(VICTIM).pause());
        wait_for("its replica takes over", || Some(cluster.primary_of(SLOT)).filter(|&node| node != VICTIM));
        // Before it learns that it is no primary any more, it executes and acknowledges what it was sent while it
        // hung: writes that are lost, and the server's loss. So by then those calls have ended, as indeterminate.
        load.wait_for_calls(&ALL);
        cluster.node(VICTIM).resume();
        cluster.wait_until_whole();
    });
    load.assert_well();
    load.settle();
}

#[test]
fn scripts_flushed_everywhere_and_a_primary_killed_at_once() {
    let cluster = Cluster::start(3, 1);
    let load = Load::new(&cluster, tags(60));
    let works = [Work::Pipeline, Work::Pipeline, Work::One, Work::Transaction];
    load.during(&works, || {
        std::thread::scope(|scope| {
            let failover = scope.spawn(|| {
                load.take_down(VICTIM, || cluster.kill(VICTIM));
                cluster.wait_for_new_primary(SLOT, VICTIM);
            });
            while !failover.is_finished() {
                for node in cluster.nodes().iter().filter(|node| node.is_running()) {
                    // The one that is being killed may not answer.
                    if let Ok(mut raw) = Raw::unix(&node.unix_path()) {
                        let _ = raw.try_cmd(&["SCRIPT", "FLUSH"]);
                    }
                }
            }
        });
    });
    load.assert_well();
    let summary = load.settle();
    for work in [Work::One, Work::Transaction] {
        assert_eq!(summary.count(work, Status::NoScript), 0, "{summary:#?}");
    }
}
