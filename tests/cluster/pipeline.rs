//! Pipelines over all servers of a cluster, and transactions on one: in order and once, also while slots move.

use crate::support;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rs_script::{Client, Error, Options, Pipeline, Reply, Route, Script, Status};
use support::calls::{
    COUNT, LONG, MULTIPLY, NONE, WHERE, cluster_client, round_trips, shown, with_longer_deadlines,
};
use support::cluster::{Cluster, slot_of};
use support::raw::{Raw, Value};
use support::{OnDrop, SLACK, wait_until};

const PUSH: &str = "return redis.call('RPUSH', KEYS[1], ARGV[1])";
const SUM: &str = "return redis.call('INCR', KEYS[1]) + redis.call('INCR', KEYS[2])";

/// Three primaries whose scripts nobody flushes. Slots move: each test has its own.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(3, 0))
}

/// A tag on each primary.
fn tags(cluster: &Cluster, name: &str) -> Vec<String> {
    (0..3).map(|node| cluster.tag_on(node, name)).collect()
}

fn slot(tag: &str) -> u16 {
    slot_of(tag.as_bytes())
}

fn loads(cluster: &Cluster) -> Vec<u64> {
    cluster.nodes().iter().map(|node| support::raw::calls_of(node, "script|load")).collect()
}

/// A client that is connected to every primary.
fn connected(cluster: &Cluster) -> Client {
    let client = cluster_client(cluster);
    client.with_route(Route::AllPrimaries).unwrap().command(&["PING"]).unwrap();
    client
}

/// A counter and a text on each of these tags in turn, and something without keys in between.
fn fill(pipeline: &mut Pipeline, tags: &[String], scripts: &[Script; 2]) {
    for tag in tags {
        pipeline.command(&["SET", tag, "5"]).unwrap().script(&scripts[0], &[tag], &["5"]).unwrap();
    }
    pipeline.command(&["ECHO", "x"]).unwrap().script(&scripts[1], &NONE, &["7"]).unwrap();
    for tag in tags.iter().rev() {
        pipeline.script_read_only(&scripts[0], &[tag], &["6"]).unwrap().command(&["GET", tag]).unwrap();
    }
}

fn filled(count: usize) -> String {
    let (front, back) = (r#"Status("OK"), 25, "#.repeat(count), r#", 30, String("5")"#.repeat(count));
    format!(r#"Array[{front}String("x"), 7{back}]"#)
}

#[test]
fn each_server_gets_one_write_cold_warm_and_after_a_flush() {
    let cluster = Cluster::start(3, 0);
    let client = connected(&cluster);
    let tags = tags(&cluster, "write");
    let scripts = [Script::new(MULTIPLY), Script::new("return tonumber(ARGV[1])")];
    let mut pipeline = client.pipeline();
    for round in ["cold", "warm", "flushed"] {
        if round == "flushed" {
            client.script_flush(rs_script::FlushMode::Sync).unwrap();
        }
        let before = loads(&cluster);
        fill(&mut pipeline, &tags, &scripts);
        let (replies, trips) = round_trips(&client, || pipeline.exec().unwrap());
        assert_eq!((shown(&replies), trips), (filled(3), 3), "{round}");
        let loaded: u64 = loads(&cluster).iter().zip(before).map(|(now, before)| now - before).sum();
        // The script without keys runs on one server.
        assert_eq!(loaded, if round == "warm" { loaded.min(1) } else { 4 }, "{round}");
    }
    // Only those servers are written to that have something to do.
    for count in [1, 2] {
        for tag in &tags[..count] {
            pipeline.script(&scripts[0], &[tag], &["2"]).unwrap().command(&["GET", tag]).unwrap();
        }
        let (replies, trips) = round_trips(&client, || pipeline.exec().unwrap());
        assert_eq!((replies.root().len(), trips), (2 * count, count as u64));
    }

    // A flush behind the client's back, on one node.
    for repair in [false, true] {
        Raw::connect(cluster.node(1)).ok(&["SCRIPT", "FLUSH"]);
        let count = Script::new(format!("{COUNT} --{repair}"));
        for tag in &tags {
            client.call(&count, &[format!("{tag}{repair}")], &NONE).unwrap();
        }
        Raw::connect(cluster.node(1)).ok(&["SCRIPT", "FLUSH"]);
        pipeline.repair_unordered(repair);
        for tag in tags.iter().chain(&tags) {
            let key = format!("{tag}{repair}");
            pipeline.script(&count, &[&key], &NONE).unwrap().command(&["GET", &key]).unwrap();
        }
        let (replies, trips) = round_trips(&client, || pipeline.exec().unwrap());
        let of = |item: usize| replies.get(item).unwrap();
        for item in [0, 4, 6, 10] {
            let expected = if item < 6 { 2 } else { 3 };
            assert_eq!(of(item).as_i64(), Some(expected), "{replies:?}");
            assert_eq!(of(item + 1).as_str(), Some(expected.to_string().as_str()), "{replies:?}");
        }
        for (item, repaired) in [(2, 2), (8, 3)] {
            assert_eq!(of(item + 1).as_str(), Some("1"), "it ran at its place, without the script before");
            if repair {
                assert_eq!(of(item).as_i64(), Some(repaired), "{replies:?}");
                continue;
            }
            let error = of(item).as_error().expect("a script that is not there");
            assert_eq!((error.status(), error.is_not_executed()), (Status::NoScript, true), "{error}");
            assert!(error.message().contains(&format!("item {item} (EVALSHA)")), "{error}");
        }
        assert_eq!(trips, 3 + u64::from(repair));
    }
}

#[test]
fn errors_are_elements_that_name_their_item() {
    let client = connected(cluster());
    let tags = tags(cluster(), "errors");
    let (fails, broken) =
        (Script::new("return redis.error_reply('MINE ' .. ARGV[1])"), Script::new("return ("));
    let mut pipeline = client.pipeline();
    for (number, tag) in tags.iter().enumerate() {
        pipeline.command(&["SET", tag, "x"]).unwrap().command(&["INCR", tag]).unwrap();
        pipeline.script(&fails, &[tag], &[number.to_string()]).unwrap();
        pipeline.script(&broken, &[tag], &NONE).unwrap().command(&["GET", tag]).unwrap();
    }
    let replies = pipeline.exec().unwrap();
    assert!(pipeline.arrived().is_none(), "all have arrived");
    for number in 0..3 {
        let first = 5 * number;
        let of = |item: usize| replies.get(first + item).unwrap();
        assert_eq!((of(0).as_str(), of(4).as_str()), (Some("OK"), Some("x")));
        for (item, command, status, code) in [
            (1, "INCR", Status::Server, "ERR"),
            (2, "EVALSHA", Status::Server, "MINE"),
            (3, "EVALSHA", Status::Compile, "ERR"),
        ] {
            let error = of(item).as_error().expect("an error");
            assert_eq!((error.status(), error.server_code()), (status, Some(code)), "{error}");
            assert_eq!(error.is_not_executed(), status == Status::Compile, "{error}");
            let place = format!("item {} ({command})", first + item);
            assert!(error.message().starts_with(&place), "{error}");
        }
        assert_eq!(of(2).as_bytes(), Some(format!("MINE {number}").as_bytes()));
    }
}

#[test]
fn twenty_thousand_items_keep_their_order() {
    let client = cluster_client(cluster()).with_timeout(Duration::from_secs(60));
    let script = Script::new("return {KEYS[1], ARGV[1]}");
    let mut pipeline = client.pipeline();
    for number in 0..20_000 {
        let key = format!("many{}", number % 977);
        if number % 3 == 0 {
            pipeline.command(&["ECHO", &number.to_string()]).unwrap();
        } else {
            pipeline.script(&script, &[&key], &[number.to_string()]).unwrap();
        }
    }
    let replies = pipeline.exec().unwrap();
    assert_eq!(replies.root().len(), 20_000);
    for (number, reply) in replies.root().elements().enumerate() {
        let expected = if number % 3 == 0 {
            format!(r#"String("{number}")"#)
        } else {
            format!(r#"Array[String("many{}"), String("{number}")]"#, number % 977)
        };
        assert_eq!(format!("{reply:?}"), expected);
    }
    assert_eq!(client.stats().redirects, 0);
}

fn numbers(reply: &Reply) -> Vec<u64> {
    let number = |element: rs_script::ReplyRef<'_>| element.as_str().unwrap().parse().unwrap();
    reply.root().elements().map(number).collect()
}

#[test]
fn items_keep_their_order_while_their_slot_moves() {
    let cluster = cluster();
    let client = cluster_client(cluster).with_timeout(Duration::from_secs(30));
    let moving = cluster.tag_on(0, "moving");
    let still = cluster.tag_on(2, "moving");
    let keys: Vec<String> =
        (0..4).flat_map(|key| [format!("{moving}{key}"), format!("{still}{key}")]).collect();
    let push = Script::new(PUSH);
    let (done, mut pushed) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _end = OnDrop(|| done.store(true, Ordering::SeqCst));
            for (from, to) in [(0, 1), (1, 0), (0, 1)] {
                cluster.begin_migration(slot(&moving), from, to);
                // Key by key, so that pipelines meet each state in between.
                for key in 0..4 {
                    let key = format!("{moving}{key}");
                    cluster.migrate_keys(from, to, &[key.as_bytes()]);
                    std::thread::sleep(Duration::from_millis(20));
                }
                cluster.finish_migration(slot(&moving), from, to);
            }
        });
        while !done.load(Ordering::SeqCst) {
            let mut pipeline = client.pipeline();
            for _ in 0..20 {
                for key in &keys {
                    if pushed % 2 == 0 {
                        pipeline.script(&push, &[key], &[pushed.to_string()]).unwrap();
                    } else {
                        pipeline.command(&["RPUSH", key, &pushed.to_string()]).unwrap();
                    }
                }
                pushed += 1;
            }
            let replies = pipeline.exec().unwrap();
            for (index, reply) in replies.root().elements().enumerate() {
                let expected = pushed - 20 + index as i64 / keys.len() as i64 + 1;
                assert_eq!(reply.as_i64(), Some(expected), "item {index}: {reply:?}");
            }
        }
    });
    for key in &keys {
        let list = client.command(&["LRANGE", key, "0", "-1"]).unwrap();
        assert_eq!(numbers(&list), (0..pushed as u64).collect::<Vec<_>>(), "{key}");
    }
    assert!(client.stats().redirects > 0);
}

#[test]
fn asked_and_moved_in_the_middle_of_a_pipeline() {
    let cluster = cluster();
    let client = connected(cluster);
    let tags = tags(cluster, "middle");
    let slot = slot(&tags[0]);
    let push = Script::new(PUSH);
    // Nowhere loaded yet: on the importing node it is loaded in front of ASKING.
    let fill = |pipeline: &mut Pipeline, round: i32| {
        for number in 0..10 {
            for key in [format!("{}a", tags[0]), format!("{}b", tags[0]), tags[1].clone(), tags[2].clone()] {
                let value = (10 * round + number).to_string();
                if number % 2 == 0 {
                    pipeline.script(&push, &[key], &[value]).unwrap();
                } else {
                    pipeline.command(&["RPUSH", &key, &value]).unwrap();
                }
            }
        }
    };
    let redirects = || client.stats().redirects;
    let mut pipeline = client.pipeline();
    client.command(&["RPUSH", &format!("{}a", tags[0]), "first"]).unwrap();
    client.command(&["RPUSH", &format!("{}b", tags[0]), "first"]).unwrap();
    cluster.begin_migration(slot, 0, 1);
    cluster.migrate_keys(0, 1, &[format!("{}b", tags[0]).as_bytes()]);
    for (round, redirected) in [(0, 10), (1, 10)] {
        let before = redirects();
        fill(&mut pipeline, round);
        let (replies, trips) = round_trips(&client, || pipeline.exec().unwrap());
        assert!(replies.root().elements().all(|reply| reply.as_i64().is_some()), "{replies:?}");
        assert_eq!(
            (redirects() - before, trips),
            (redirected, 4),
            "all that is asked elsewhere goes in one write"
        );
    }
    cluster.finish_migration(slot, 0, 1);
    fill(&mut pipeline, 2);
    let (replies, trips) = round_trips(&client, || pipeline.exec().unwrap());
    assert!(replies.root().elements().all(|reply| reply.as_i64().is_some()), "{replies:?}");
    // A new picture may be asked for once, on the first sign of a change.
    assert!((4..=5).contains(&trips), "{trips}");
    fill(&mut pipeline, 3);
    let before = redirects();
    let (_, trips) = round_trips(&client, || pipeline.exec().unwrap());
    assert_eq!((redirects() - before, trips), (0, 2), "the new owner is remembered");
    for key in ["a", "b"] {
        let list = client.command(&["LRANGE", &format!("{}{key}", tags[0]), "1", "-1"]).unwrap();
        assert_eq!(numbers(&list), (0..40).collect::<Vec<_>>(), "{key}");
    }
}

fn try_agains(cluster: &Cluster) -> u64 {
    let count = |node| {
        let stats = Raw::connect(node).info("errorstats", "errorstat_TRYAGAIN")?;
        stats.strip_prefix("count=")?.parse::<u64>().ok()
    };
    cluster.nodes().iter().filter_map(count).sum()
}

#[test]
fn calls_with_keys_on_two_servers_wait_for_the_migrations_end() {
    let cluster = cluster();
    let client = connected(cluster).with_timeout(LONG);
    let sum = Script::new(SUM);
    for kind in ["single", "pipeline", "transaction"] {
        let tag = cluster.tag_on(0, &format!("again{kind}"));
        let (here, there) = (format!("{tag}here"), format!("{tag}there"));
        client.command(&["MSET", &here, "10", &there, "20"]).unwrap();
        cluster.begin_migration(slot(&tag), 0, 1);
        cluster.migrate_keys(0, 1, &[there.as_bytes()]);
        let before = try_agains(cluster);
        let other = cluster.tag_on(2, "again");
        std::thread::scope(|scope| {
            let call = scope.spawn(|| match kind {
                "single" => shown(&client.call(&sum, &[&here, &there], &NONE).unwrap()),
                "pipeline" => {
                    let mut pipeline = client.pipeline();
                    pipeline.script(&sum, &[&here, &there], &NONE).unwrap();
                    pipeline.command(&["SET", &other, "1"]).unwrap();
                    shown(&pipeline.exec().unwrap())
                }
                _ => {
                    let mut transaction = client.transaction();
                    transaction.script(&sum, &[&here, &there], &NONE).unwrap();
                    transaction.command(&["GET", &here]).unwrap();
                    shown(&transaction.exec().unwrap())
                }
            });
            wait_until("it has been refused twice", || try_agains(cluster) >= before + 2);
            assert!(!call.is_finished(), "{:?}", call.join());
            cluster.finish_migration(slot(&tag), 0, 1);
            let expected = match kind {
                "single" => "32",
                "pipeline" => r#"Array[32, Status("OK")]"#,
                _ => r#"Array[32, String("11")]"#,
            };
            assert_eq!(call.join().unwrap(), expected, "{kind}");
        });
        assert_eq!(client.command(&["GET", &there]).unwrap().as_str(), Some("21"), "{kind}: once");
    }
    // It does not end: nobody can run it.
    let tag = cluster.tag_on(0, "neveragain");
    let (here, there) = (format!("{tag}here"), format!("{tag}there"));
    client.command(&["MSET", &here, "1", &there, "1"]).unwrap();
    cluster.begin_migration(slot(&tag), 0, 1);
    cluster.migrate_keys(0, 1, &[there.as_bytes()]);
    // A deadline that passes while a try is on its way leaves nothing to say of it.
    let is_refused = |error: Error| {
        assert!(error.is_not_executed() != error.is_indeterminate(), "{error}");
        let is_told = error.is_not_executed() && error.server_code() == Some("TRYAGAIN");
        is_told.then(|| assert_eq!(error.status(), Status::NotServed, "{error}"))
    };
    with_longer_deadlines(&client, |impatient| {
        let start = Instant::now();
        let error = impatient.call(&sum, &[&here, &there], &NONE).unwrap_err();
        assert!(start.elapsed() < LONG + SLACK, "{:?}", start.elapsed());
        is_refused(error)
    });
    with_longer_deadlines(&client, |impatient| {
        let mut pipeline = impatient.pipeline();
        pipeline.command(&["GET", &here]).unwrap().script(&sum, &[&here, &there], &NONE).unwrap();
        let replies = pipeline.exec().ok()?;
        assert_eq!(replies.get(0).unwrap().as_str(), Some("1"));
        is_refused(replies.get(1).unwrap().as_error().expect("nobody ran it"))
    });
    cluster.finish_migration(slot(&tag), 0, 1);
    assert_eq!(client.call(&sum, &[&here, &there], &NONE).unwrap().as_i64(), Some(4));
}

#[test]
fn a_dead_node_fails_its_own_items_only() {
    let cluster = Cluster::builder(3).each(|node| node.arg("cluster-require-full-coverage", "no")).start();
    let client = connected(&cluster);
    let tags = tags(&cluster, "dead");
    let count = Script::new(COUNT);
    let fill = |pipeline: &mut Pipeline| {
        for number in 0..30 {
            let tag = &tags[number % 3];
            if number % 2 == 0 {
                pipeline.script(&count, &[tag], &NONE).unwrap();
            } else {
                pipeline.command(&["INCR", tag]).unwrap();
            }
        }
    };
    // Lost is the one that the pipeline begins with.
    let newcomer =
        Client::open(&format!("redis+cluster://127.0.0.1:{}", cluster.node(1).port()), &Options::default());
    let newcomer = newcomer.unwrap();
    for (round, state) in ["hangs", "hangs, not connected", "dead"].into_iter().enumerate() {
        let client = if state == "hangs, not connected" { &newcomer } else { &client };
        match state {
            "hangs" => cluster.node(0).pause(),
            "dead" => cluster.kill(0),
            _ => {}
        }
        let mut pipeline = client.with_timeout(Duration::from_secs(2)).pipeline();
        fill(&mut pipeline);
        let start = Instant::now();
        let error = pipeline.exec().unwrap_err();
        assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
        let was_sent = state == "hangs";
        let is_told = |error: &rs_script::Error| {
            assert_eq!((error.is_indeterminate(), error.is_not_executed()), (was_sent, !was_sent), "{error}");
            let statuses: &[Status] = match state {
                "hangs" => &[Status::Indeterminate],
                "hangs, not connected" => &[Status::Connect, Status::Timeout],
                _ => &[Status::Connect],
            };
            assert!(statuses.contains(&error.status()), "{state}: {error:?}");
            assert!(error.message().contains(&cluster.node(0).port().to_string()), "{state}: {error}");
        };
        // Of the whole, others have executed their part: who makes it again makes that again.
        assert!(error.is_indeterminate() && !error.is_not_executed(), "{state}: {error}");
        assert_eq!(error.status(), Status::Indeterminate, "{state}: {error}");
        assert!(error.message().contains("10 of 30 items have no answer"), "{state}: {error}");
        assert!(error.message().contains("item 0 (EVALSHA)"), "{state}: {error}");
        let arrived = pipeline.arrived().expect("what the others said");
        assert_eq!(arrived.root().len(), 30);
        for (item, reply) in arrived.root().elements().enumerate() {
            if item % 3 != 0 {
                assert_eq!(reply.as_i64(), Some((10 * round + item / 3 + 1) as i64), "{state}, item {item}");
                continue;
            }
            let error = reply.as_error().expect("no answer");
            is_told(&error);
            assert!(error.message().starts_with(&format!("item {item} (")), "{error}");
            assert_eq!(error.server_text(), None, "no server has said anything: {error}");
        }
    }
    // The others need no more time for that.
    let mut pipeline = client.pipeline();
    pipeline.script(&count, &[&tags[1]], &NONE).unwrap().script(&count, &[&tags[2]], &NONE).unwrap();
    assert_eq!(shown(&pipeline.exec().unwrap()), "Array[31, 31]");
}

#[test]
fn a_transaction_has_one_slot_and_may_hold_items_without_keys() {
    let client = cluster_client(cluster());
    let count = Script::new(COUNT);
    for node in 0..3 {
        let tag = cluster().tag_on(node, "slot");
        let mut transaction = client.transaction();
        // In front, too: where it goes is known when it is whole.
        transaction.script(&Script::new(WHERE), &NONE, &NONE).unwrap();
        transaction.script(&count, &[format!("{tag}a")], &NONE).unwrap().command(&["ECHO", "x"]).unwrap();
        for refused in [
            transaction.script(&count, &["elsewhere"], &NONE).err(),
            transaction.command(&["GET", "elsewhere"]).err(),
        ] {
            let error = refused.expect("another slot");
            assert_eq!((error.status(), error.is_not_executed()), (Status::CrossSlot, true), "{error}");
            let names_both = error.message().contains(r#""elsewhere""#) && error.message().contains(&tag);
            assert!(names_both && error.message().contains("item 1"), "{error}");
        }
        transaction.command(&["GET", &format!("{tag}a")]).unwrap();
        let replies = transaction.exec().unwrap();
        let port = cluster().node(node).port();
        assert_eq!(shown(&replies), format!(r#"Array[String("{port}"), 1, String("x"), String("1")]"#));
        // The next one may have another slot.
        transaction.script(&count, &["elsewhere"], &NONE).unwrap();
        transaction.exec().unwrap();
    }
    assert_eq!(client.stats().redirects, 0);
}

#[test]
fn a_transaction_follows_its_slot_and_brings_its_scripts_along() {
    let cluster = cluster();
    let client = connected(cluster);
    let tag = cluster.tag_on(0, "follow");
    let (a, b) = (format!("{tag}a"), format!("{tag}b"));
    // Compiled on its first node only.
    let script = Script::new(format!("{SUM} --follow"));
    let mut transaction = client.transaction();
    let mut run = |expected: &str| {
        transaction.script(&script, &[&a, &b], &NONE).unwrap().command(&["GET", &a]).unwrap();
        transaction.script(&script, &[&b, &a], &NONE).unwrap();
        let before = client.stats().redirects;
        assert_eq!(shown(&transaction.exec().unwrap()), expected);
        client.stats().redirects - before
    };
    let exists = |node: usize| Raw::connect(cluster.node(node)).ok(&["SCRIPT", "EXISTS", script.sha_hex()]);
    assert_eq!(run(r#"Array[2, String("1"), 4]"#), 0);
    assert_eq!(exists(1), Value::Array(vec![Value::Integer(0)]));
    cluster.begin_migration(slot(&tag), 0, 1);
    cluster.migrate_keys(0, 1, &[a.as_bytes(), b.as_bytes()]);
    assert_eq!(run(r#"Array[6, String("3"), 8]"#), 1, "ASK");
    assert_eq!(exists(1), Value::Array(vec![Value::Integer(1)]));
    assert_eq!(exists(2), Value::Array(vec![Value::Integer(0)]));
    cluster.finish_migration(slot(&tag), 0, 1);
    assert_eq!(run(r#"Array[10, String("5"), 12]"#), 1, "MOVED");
    assert_eq!(run(r#"Array[14, String("7"), 16]"#), 0, "remembered");
    // To one that has never seen the script.
    cluster.begin_migration(slot(&tag), 1, 2);
    cluster.finish_migration(slot(&tag), 1, 2);
    assert_eq!(run(r#"Array[18, String("9"), 20]"#), 1, "MOVED to a third");
    assert_eq!(exists(2), Value::Array(vec![Value::Integer(1)]));
}

#[test]
fn a_transaction_with_a_script_that_does_not_compile_runs_nothing() {
    let client = cluster_client(cluster());
    let (count, broken) = (Script::new(COUNT), Script::new("return (("));
    for tag in tags(cluster(), "broken") {
        let mut transaction = client.transaction();
        transaction.script(&count, &[&tag], &NONE).unwrap().script(&broken, &[&tag], &NONE).unwrap();
        let error = transaction.exec().unwrap_err();
        assert_eq!((error.status(), error.is_not_executed()), (Status::Compile, true), "{error}");
        assert_eq!(client.command(&["EXISTS", &tag]).unwrap().as_i64(), Some(0));
    }
}

#[test]
fn transactions_are_atomic() {
    let client = cluster_client(cluster());
    let tag = cluster().tag_on(1, "atomic");
    let (a, b) = (format!("{tag}a"), format!("{tag}b"));
    let count = Script::new(COUNT);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let mut transaction = client.transaction();
                    transaction.script(&count, &[&a], &NONE).unwrap().command(&["INCR", &b]).unwrap();
                    let replies = transaction.exec().unwrap();
                    assert_eq!(replies.get(0).unwrap().as_i64(), replies.get(1).unwrap().as_i64());
                }
            });
        }
    });
    assert_eq!(shown(&client.command(&["MGET", &a, &b]).unwrap()), r#"Array[String("400"), String("400")]"#);
}
