//! Functions on several servers: loaded where the call goes, called on replicas, administered everywhere; and
//! bad days.

use crate::support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rs_script::{Client, Kind, Library, Options, ReadFrom, Reply, Script, Status};
use support::calls::{LONG, NONE, cluster_client, options};
use support::cluster::{Cluster, slot_of};
use support::raw::{Raw, calls_of};
use support::replication::Replicated;
use support::server::{Binary, Server};
use support::{OnDrop, wait_until};

fn source(version: u32) -> String {
    format!(
        "#!lua name=lib
redis.register_function('count', function(keys)
    local sum = 0
    for _, key in ipairs(keys) do sum = sum + redis.call('INCR', key) end
    return {{sum, {version}}}
end)
redis.register_function{{function_name='get', \
    callback=function(keys) return redis.call('GET', keys[1]) end, flags={{'no-writes'}}}}
redis.register_function('forge', \
    function(keys, args) redis.call('INCR', keys[1]) return redis.error_reply(args[1]) end)"
    )
}

fn pinned(version: u32) -> Library {
    Library::pinned(source(version)).unwrap()
}

fn function(library: &Library, name: &str) -> Script {
    library.function(name).unwrap()
}

#[track_caller]
fn count(client: &Client, script: &Script, keys: &[&str]) -> i64 {
    client.call(script, keys, &NONE).expect("a call").get(0).unwrap().as_i64().expect("a number")
}

fn loads(cluster: &Cluster) -> Vec<u64> {
    cluster.nodes().iter().map(|node| calls_of(node, "function|load")).collect()
}

#[test]
fn a_library_is_loaded_where_calls_go_and_nowhere_else() {
    let cluster = Cluster::start(3, 0);
    let client = cluster_client(&cluster);
    let counter = function(&pinned(1), "count");
    let tags: Vec<String> = (0..3).map(|node| cluster.tag_on(node, "a")).collect();
    assert_eq!(count(&client, &counter, &[&tags[0]]), 1);
    assert_eq!(loads(&cluster).iter().sum::<u64>(), 1);
    let before = client.stats().script_loads;
    let mut pipeline = client.pipeline();
    for tag in tags.iter().cycle().take(30) {
        pipeline.script(&counter, &[tag], &NONE).unwrap();
    }
    let replies = pipeline.exec().unwrap();
    assert!(replies.root().elements().all(|reply| reply.kind() == Kind::Array), "{replies:?}");
    assert_eq!(loads(&cluster), [1, 1, 1]);
    assert_eq!(client.stats().script_loads - before, 2);
    for tag in &tags {
        let mut transaction = client.transaction();
        transaction.script(&counter, &[tag], &NONE).unwrap().command(&["GET", tag]).unwrap();
        assert_eq!(transaction.exec().unwrap().root().len(), 2);
    }
}

#[test]
fn a_slot_half_migrated_is_served_from_both_sides() {
    for library in [pinned(1), Library::named(source(1)).unwrap()] {
        let cluster = Cluster::start(3, 0);
        let client = cluster_client(&cluster);
        let counter = function(&library, "count");
        let slot = slot_of(b"{s}a");
        let from = cluster.primary_of(slot);
        let to = (from + 1) % 3;
        assert_eq!(count(&client, &counter, &["{s}a", "{s}b"]), 2);
        cluster.begin_migration(slot, from, to);
        cluster.migrate_keys(from, to, &[b"{s}a"]);
        // FUNCTION LOAD, ASKING, FCALL: were the library not there, or ASKING in front, it would not run there.
        let redirects = client.stats().redirects;
        assert_eq!(calls_of(cluster.node(to), "function|load"), 0);
        assert_eq!(count(&client, &counter, &["{s}a"]), 2, "by ASK");
        assert_eq!(client.stats().redirects, redirects + 1);
        assert_eq!(calls_of(cluster.node(to), "function|load"), 1);
        assert_eq!(count(&client, &counter, &["{s}b"]), 2, "not moved yet");
        // Gone from where it goes to: missed behind ASKING, and brought again.
        Raw::connect(cluster.node(to)).ok(&["FUNCTION", "FLUSH"]);
        assert_eq!(count(&client, &counter, &["{s}a"]), 3, "by ASK");
        Raw::connect(cluster.node(to)).ok(&["FUNCTION", "FLUSH"]);
        let mut pipeline = client.pipeline();
        for key in ["{s}a", "{s}b", "{s}a"] {
            pipeline.script(&counter, &[key], &NONE).unwrap();
        }
        let replies = pipeline.exec().unwrap();
        let counts: Vec<_> =
            replies.root().elements().map(|reply| reply.get(0).and_then(|count| count.as_i64())).collect();
        // A named library's miss is proved first, so the item behind it has run by then.
        if library.is_pinned() {
            assert_eq!(counts, [Some(4), Some(3), Some(5)]);
        }
        let before = count(&client, &counter, &["{s}a"]);
        Raw::connect(cluster.node(to)).ok(&["FUNCTION", "FLUSH"]);
        let mut transaction = client.transaction();
        transaction.script(&counter, &["{s}a"], &NONE).unwrap().command(&["INCR", "{s}a"]).unwrap();
        assert_eq!(transaction.exec().unwrap().get(1).unwrap().as_i64(), Some(before + 2), "by ASK");
        cluster.migrate_keys(from, to, &[b"{s}b"]);
        cluster.finish_migration(slot, from, to);
        assert_eq!(count(&client, &counter, &["{s}a"]), before + 3);
    }
}

#[test]
fn a_forged_refusal_is_the_functions_own_and_is_never_followed() {
    let cluster = Cluster::start(3, 0);
    let client = cluster_client(&cluster);
    let forge = function(&pinned(1), "forge");
    let slot = slot_of(b"f");
    let owner = cluster.primary_of(slot);
    let (host, port) = cluster.announced((owner + 1) % 3);
    let texts = [
        format!("MOVED {slot} {host}:{port}"),
        format!("ASK {slot} {host}:{port}"),
        "TRYAGAIN Multiple keys request during rehashing of slot".to_owned(),
        "CLUSTERDOWN The cluster is down".to_owned(),
    ];
    for (runs, text) in (1..).zip(&texts) {
        let redirects = client.stats().redirects;
        let error = client.call(&forge, &["f"], &[text]).unwrap_err();
        assert_eq!(error.status(), Status::Server, "{error}");
        assert!(!error.is_not_executed() && error.message().ends_with("script: rs"), "{error}");
        assert_eq!(client.command(("GET", "f")).unwrap().as_str(), Some(runs.to_string().as_str()));
        assert_eq!(client.stats().redirects, redirects);
    }
}

/// A server's address and what is on it: all that a replica must not have been asked.
fn loads_at(server: &Server) -> u64 {
    let stats = Raw::connect(server).info("commandstats", "cmdstat_function|load");
    let rejected =
        stats.and_then(|stats| stats.split("rejected_calls=").nth(1)?.split(',').next()?.parse().ok());
    rejected.unwrap_or(0)
}

fn read_from_replicas(client: &Client, replicas: &[&Server], primary: &Server, wait: &dyn Fn()) {
    let library = pinned(1);
    let get = function(&library, "get");
    let key = "k";
    client.command(("SET", key, "v")).unwrap();
    wait();
    // Nobody has the library: the primary gets it.
    assert_eq!(client.call_read_only(&get, &[key], &NONE).unwrap().as_str(), Some("v"));
    assert_eq!(calls_of(primary, "fcall_ro"), 1, "where it is missing the primary runs it");
    wait();
    // And replicas from there.
    let before: u64 = replicas.iter().map(|replica| calls_of(replica, "fcall_ro")).sum();
    for _ in 0..6 {
        assert_eq!(client.call_read_only(&get, &[key], &NONE).unwrap().as_str(), Some("v"));
    }
    let after: u64 = replicas.iter().map(|replica| calls_of(replica, "fcall_ro")).sum();
    assert_eq!((after - before, calls_of(primary, "fcall_ro")), (6, 1));
    for _ in 0..2 {
        let mut pipeline = client.pipeline();
        let get = function(&pinned(2), "get");
        pipeline.script_read_only(&get, &[key], &NONE).unwrap();
        pipeline.script_read_only(&get, &[key], &NONE).unwrap();
        let replies = pipeline.exec().unwrap();
        assert!(replies.root().elements().all(|reply| reply.as_str() == Some("v")), "{replies:?}");
        wait();
    }
    // One that may write: whether it is known there or not, the server that would run it refuses that.
    for library in [pinned(1), pinned(3), Library::named(source(1)).unwrap()] {
        let error = client.call_read_only(&function(&library, "count"), &["n"], &NONE).unwrap_err();
        assert!(error.is_not_executed(), "{error}");
        assert!(error.message().contains("*_ro"), "{error}");
    }
    for replica in replicas {
        assert_eq!(loads_at(replica), 0, "nobody loads a library on a replica");
    }
}

#[test]
fn replicas_run_what_has_come_to_them_and_are_given_nothing() {
    for read_from in [ReadFrom::PreferReplica, ReadFrom::Replica] {
        let servers = Replicated::start(2);
        let mut options = options(LONG);
        options.read_from(read_from);
        let client = Client::open(&servers.url(), &options).unwrap();
        read_from_replicas(&client, &[servers.replica(0), servers.replica(1)], servers.primary(), &|| {
            servers.wait_until_in_sync();
        });

        let cluster = Cluster::start(3, 1);
        let client = Client::open(&cluster.cluster_url(), &options).unwrap();
        let slot = slot_of(b"k");
        let primary = cluster.node(cluster.primary_of(slot));
        let replicas: Vec<&Server> =
            cluster.replicas_of(slot).into_iter().map(|node| cluster.node(node)).collect();
        read_from_replicas(&client, &replicas, primary, &|| {
            let written = |server: &Server, field: &str| Raw::connect(server).info("replication", field);
            wait_until("the replica has caught up", || {
                replicas.iter().all(|replica| {
                    written(replica, "slave_repl_offset") >= written(primary, "master_repl_offset")
                })
            });
        });
    }
}

#[test]
fn administration_tells_of_each_primary_and_names_a_dead_one() {
    let cluster = Cluster::builder(3).each(|node| node.arg("cluster-require-full-coverage", "no")).start();
    let mut options = Options::default();
    options.call_timeout(LONG).unwrap().connect_timeout(Duration::from_secs(5)).unwrap();
    let client = Client::open(&cluster.cluster_url(), &options).unwrap();
    let said =
        |reply: Reply| reply.to::<BTreeMap<String, String>>().unwrap().into_values().collect::<Vec<_>>();
    let (old, new) = (Library::named(source(1)).unwrap(), Library::named(source(2)).unwrap());
    assert_eq!(said(client.library_check(&old).unwrap()), ["absent"; 3]);
    // One of them has another already.
    Raw::connect(cluster.node(1)).ok(&["FUNCTION", "LOAD", &source(2)]);
    let mut done = said(client.library_load(&old).unwrap());
    done.sort();
    assert_eq!(done, ["loaded", "loaded", "there"]);
    let mut found = said(client.library_check(&old).unwrap());
    found.sort();
    assert_eq!(found, ["different", "same", "same"]);
    assert_eq!(said(client.library_deploy(&new).unwrap()), ["same"; 3]);
    assert_eq!(said(client.library_check(&old).unwrap()), ["different"; 3]);
    client.script_load(&function(&new, "get")).unwrap();
    let error = client.library_load(&Library::named("#!lua name=x\nreturn return").unwrap()).unwrap_err();
    assert_eq!(error.status(), Status::Compile, "{error}");

    let versions = [pinned(1), pinned(2), pinned(3)];
    for library in &versions {
        assert_eq!(said(client.library_load(library).unwrap()), ["loaded"; 3]);
    }
    let stranger = format!("lib_{}", "0".repeat(12));
    let own = format!("#!lua name={stranger}\nredis.register_function('own', function() return 1 end)");
    Raw::connect(cluster.node(0)).ok(&["FUNCTION", "LOAD", &own]);
    let removed = client.library_prune(&[&versions[1]]).unwrap();
    let removed: BTreeMap<String, Vec<String>> = removed.to().unwrap();
    assert_eq!(removed.len(), 3);
    for names in removed.into_values() {
        let mut expected = vec![versions[0].name().to_owned(), versions[2].name().to_owned()];
        expected.sort();
        let mut names = names;
        names.sort();
        assert_eq!(names, expected);
    }
    let libraries = Raw::connect(cluster.node(0)).ok(&["FUNCTION", "LIST"]).elements().len();
    assert_eq!(libraries, 3, "what is kept, the named one, and a stranger's that looks like a version");
    // Who calls what was removed has it loaded again.
    count(&client, &function(&versions[0], "count"), &["a"]);

    cluster.node(2).kill();
    let mut dead = Vec::new();
    for reply in [
        client.library_load(&pinned(4)).unwrap(),
        client.library_check(&new).unwrap(),
        client.library_deploy(&old).unwrap(),
        client.library_list().unwrap(),
        client.library_prune(&[&versions[1], &pinned(4)]).unwrap(),
    ] {
        let errors: Vec<_> = reply.root().elements().filter_map(|element| element.as_error()).collect();
        assert_eq!((errors.len(), reply.root().len()), (1, 6), "{reply:?}");
        let port = cluster.node(2).port().to_string();
        dead.push(errors[0].node().is_some_and(|node| node.ends_with(&port)));
    }
    assert_eq!(dead, [true; 5]);
}

/// The counts that a thread was told of its key, and of how many calls nobody knows.
struct Account {
    key: String,
    told: Vec<i64>,
    unknown: i64,
}

/// Threads of two versions, while libraries are flushed all the time, slots move and a primary gives way.
#[test]
fn of_a_million_calls_of_two_versions_each_runs_once_under_flushes_moves_and_failovers() {
    let is_long = std::env::var_os("RS_SCRIPT_LONG").is_some_and(|value| value == "1");
    let least = Duration::from_secs(if is_long { 60 } else { 2 });
    let cluster = Cluster::start(3, 1);
    let client = cluster_client(&cluster);
    let done = AtomicBool::new(false);
    let calls = AtomicU64::new(0);
    let accounts: Vec<Account> = thread::scope(|scope| {
        let flushers: Vec<_> = (0..cluster.nodes().len())
            .map(|node| {
                let (cluster, done) = (&cluster, &done);
                scope.spawn(move || {
                    let mut raw = Raw::connect(cluster.node(node));
                    while !done.load(Ordering::Relaxed) {
                        // A replica refuses it.
                        raw.cmd(&["FUNCTION", "FLUSH"]);
                    }
                })
            })
            .collect();
        let callers: Vec<_> = (0..8)
            .map(|thread: u32| {
                let (client, done, calls) = (&client, &done, &calls);
                scope.spawn(move || call_always(client, thread, done, calls))
            })
            .collect();
        let began = Instant::now();
        let slots: Vec<u16> = (0..8).map(|thread| slot_of(format!("{{key-{thread}}}").as_bytes())).collect();
        let end = OnDrop(|| done.store(true, Ordering::Relaxed));
        loop {
            let owners: Vec<usize> = slots.iter().map(|slot| cluster.primary_of(*slot)).collect();
            for (&slot, &owner) in slots.iter().zip(&owners) {
                let to = slots.iter().map(|slot| cluster.primary_of(*slot)).find(|other| *other != owner);
                cluster.move_slots([slot], owner, to.unwrap_or((owner + 1) % 3));
            }
            cluster.failover(slots[0]);
            let seen = calls.load(Ordering::Relaxed);
            wait_until("calls go on", || calls.load(Ordering::Relaxed) > seen + 100);
            if began.elapsed() > least {
                break;
            }
        }
        drop(end);
        flushers.into_iter().for_each(|flusher| flusher.join().unwrap());
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    for Account { key, told, unknown } in accounts {
        let value = client.command(("GET", &key)).unwrap();
        let value: i64 = value.as_str().unwrap().parse().unwrap();
        let known = told.len() as i64;
        assert!(
            (known..=known + unknown).contains(&value),
            "{key}: {value} of {known} and perhaps {unknown}"
        );
        assert!(told.windows(2).all(|pair| pair[0] < pair[1]), "{key}: a call was told another's count");
    }
    assert!(client.stats().noscript_repairs > 0, "the flushes were felt");
}

fn call_always(client: &Client, thread: u32, done: &AtomicBool, calls: &AtomicU64) -> Account {
    let version = thread % 2;
    let counter = function(&pinned(version), "count");
    let key = format!("{{key-{thread}}}");
    let mut account = Account { key: key.clone(), told: Vec::new(), unknown: 0 };
    let mut take = |result: Result<(i64, i64), rs_script::Error>| match result {
        Ok((sum, told)) => {
            assert_eq!(told, i64::from(version), "the wrong version");
            account.told.push(sum);
        }
        Err(error) if error.is_indeterminate() => account.unknown += 1,
        Err(error) => {
            assert!(error.is_not_executed(), "{error}");
            assert_ne!(error.status(), Status::NoFunction, "{error}");
        }
    };
    let mut round = 0;
    while !done.load(Ordering::Relaxed) {
        round += 1;
        match round % 3 {
            0 => take(client.call(&counter, &[&key], &NONE).and_then(|reply| reply.to())),
            form => {
                let mut both = if form == 1 { client.pipeline() } else { client.transaction() };
                both.script(&counter, &[&key], &NONE).unwrap().command("PING").unwrap();
                match both.exec() {
                    Ok(replies) => {
                        let reply = replies.get(0).unwrap();
                        take(match reply.as_error() {
                            Some(error) => Err(error),
                            None => reply.to(),
                        });
                    }
                    Err(error) => take(Err(error)),
                }
            }
        }
        calls.fetch_add(1, Ordering::Relaxed);
    }
    account
}

/// Valkey 9 moves whole slots by itself, and libraries stay where they are.
#[test]
fn slots_that_the_server_moves_by_itself_find_their_library() {
    let cluster = Cluster::builder(2).binary(Binary::Valkey91).start();
    let client = cluster_client(&cluster);
    let counter = function(&pinned(1), "count");
    let slot = slot_of(b"{s}a");
    let from = cluster.primary_of(slot);
    let to = 1 - from;
    assert_eq!(count(&client, &counter, &["{s}a"]), 1);
    let number = slot.to_string();
    let moved = ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", &number, &number, "NODE", cluster.id(to)];
    Raw::connect(cluster.node(from)).ok(&moved);
    wait_until("the slot has moved", || cluster.primary_of(slot) == to);
    assert_eq!(calls_of(cluster.node(to), "function|load"), 0);
    assert_eq!(count(&client, &counter, &["{s}a"]), 2);
    assert_eq!(calls_of(cluster.node(to), "function|load"), 1);
}
