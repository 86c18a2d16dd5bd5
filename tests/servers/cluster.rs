//! A cluster of three primaries with a replica each.

use std::collections::BTreeSet;
use std::time::Duration;

use rs_script::{Client, Library, Once, ReadFrom, Route, Script, Status};

use crate::report::Found::{self, No, Otherwise, Yes};
use crate::report::{Scenario, Setting, names, run};
use crate::single::{FALLS_BACK, NO_FUNCTIONS, assert_not_executed, source};
use crate::support::calls::{COUNT, LONG, NONE, WHERE, cluster_client, options, shown};
use crate::support::cluster::{Cluster, slot_of};
use crate::support::raw::{Raw, calls_of};
use crate::support::{wait_for, wait_until};
use crate::version::Version;

pub const SETTING: Setting = Setting {
    name: "A cluster",
    features: || names(SCENARIOS),
    run: |version, found| run(|| Ground::start(version), SCENARIOS, found),
};

/// Those that end a node's life come last.
const SCENARIOS: &[Scenario<Ground>] = &[
    ("Calls go where their keys are", calls),
    ("Pipelines over all primaries", pipelines),
    ("Transactions of a slot", transactions),
    ("Read-only calls on the slot's replica", read_only),
    ("Libraries, loaded where calls go", functions),
    ("Scripts load, exists and flush on every primary", administration),
    ("A slot half migrated (ASK, TRYAGAIN), and moved (MOVED)", migration),
    ("The same with Functions", functions_migrate),
    ("The same with calls once per token", once_migrates),
    ("Slots that the server moves (MIGRATESLOTS)", moved_by_server),
    ("A failover on demand", failover),
    ("A primary that is killed", killed),
];

struct Ground {
    version: &'static Version,
    cluster: Cluster,
}

impl Ground {
    fn start(version: &'static Version) -> Ground {
        Ground { version, cluster: Cluster::builder(3).replicas(1).binary(version.binary).start() }
    }

    fn client(&self) -> Client {
        cluster_client(&self.cluster)
    }

    /// A key of each primary's.
    fn tags(&self, name: &str) -> Vec<String> {
        let primaries: BTreeSet<usize> =
            [0, 8000, 16000].map(|slot| self.cluster.primary_of(slot)).into_iter().collect();
        primaries.into_iter().map(|node| self.cluster.tag_on(node, name)).collect()
    }
}

/// Counts each of its keys, and gives the sum.
const SUM: &str = "local sum = 0
    for _, key in ipairs(KEYS) do sum = sum + redis.call('INCR', key) end
    return sum";

fn calls(ground: &Ground) -> Found {
    let client = ground.client();
    let count = Script::new(COUNT);
    let tags = ground.tags("calls");
    assert_eq!(tags.len(), 3);
    for expected in 1..=3 {
        for tag in &tags {
            assert_eq!(client.call(&count, tag, NONE).unwrap().as_i64(), Some(expected));
        }
    }
    assert_eq!((client.stats().redirects, client.stats().script_loads), (0, 3));
    let error = client.call(&count, ["{1}", "{2}"], NONE).unwrap_err();
    assert_not_executed(&error, Status::CrossSlot);
    let all = client.with_route(Route::AllPrimaries).unwrap();
    let all = all.call(&Script::new(WHERE), NONE, NONE).unwrap();
    assert_eq!(all.root().len(), 6, "{all:?}");
    Yes
}

fn pipelines(ground: &Ground) -> Found {
    let client = ground.client();
    let count = Script::new(COUNT);
    let tags = ground.tags("pipelines");
    for round in 0..2 {
        if round == 1 {
            for node in ground.cluster.nodes() {
                Raw::connect(node).ok(&["SCRIPT", "FLUSH"]);
            }
        }
        let mut pipeline = client.pipeline();
        for tag in &tags {
            pipeline.script(&count, tag, NONE).unwrap().command(("GET", tag)).unwrap();
        }
        let value = round + 1;
        let expected = vec![format!(r#"{value}, String("{value}")"#); 3].join(", ");
        // With the scripts gone, what was read behind them is what was there before.
        let replies = pipeline.exec().unwrap();
        if round == 0 {
            assert_eq!(shown(&replies), format!("Array[{expected}]"));
        }
        for item in [0, 2, 4] {
            let reply = replies.get(item).unwrap();
            let missed = reply.as_error().is_some_and(|error| error.is_not_executed());
            assert!(reply.as_i64() == Some(value) || (round == 1 && missed), "{replies:?}");
        }
    }
    Yes
}

fn transactions(ground: &Ground) -> Found {
    let client = ground.client();
    let count = Script::new(COUNT);
    for tag in ground.tags("transactions") {
        let mut transaction = client.transaction();
        transaction.script(&count, &tag, NONE).unwrap().command(("GET", &tag)).unwrap();
        assert_eq!(shown(&transaction.exec().unwrap()), r#"Array[1, String("1")]"#);
    }
    let mut transaction = client.transaction();
    let refused = transaction.script(&count, "{1}", NONE).unwrap().script(&count, "{2}", NONE).map(drop);
    assert_not_executed(&refused.unwrap_err(), Status::CrossSlot);
    Yes
}

fn read_only(ground: &Ground) -> Found {
    let mut options = options(LONG);
    options.read_from(ReadFrom::Replica);
    let client = Client::open(&ground.cluster.cluster_url(), &options).unwrap();
    for tag in ground.tags("replicas") {
        let slot = slot_of(tag.as_bytes());
        let primary = ground.cluster.primary_of(slot);
        let replica = ground.cluster.replicas_of(slot)[0];
        let expected = if ground.version.has_read_only { replica } else { primary };
        let reply = client.call_read_only(&Script::new(WHERE), &tag, NONE).unwrap();
        assert_eq!(reply.as_str(), Some(&*ground.cluster.node(expected).port().to_string()));
    }
    if ground.version.has_read_only { Yes } else { Otherwise(FALLS_BACK) }
}

fn functions(ground: &Ground) -> Found {
    let client = ground.client();
    let count = Library::pinned(source(1)).unwrap().function("count").unwrap();
    let tags = ground.tags("functions");
    if !ground.version.has_functions {
        assert_not_executed(&client.call(&count, &tags[0], NONE).unwrap_err(), Status::NotSupported);
        return No(NO_FUNCTIONS);
    }
    assert_eq!(client.call(&count, &tags[0], NONE).unwrap().as_i64(), Some(1));
    let loads = || -> u64 {
        let nodes = ground.cluster.nodes();
        nodes.iter().map(|node| calls_of(node, "function|load").min(1)).sum()
    };
    assert!(loads() < 3);
    let mut pipeline = client.pipeline();
    for tag in &tags {
        pipeline.script(&count, tag, NONE).unwrap();
    }
    assert_eq!(shown(&pipeline.exec().unwrap()), "Array[2, 1, 1]");
    Yes
}

fn administration(ground: &Ground) -> Found {
    let client = ground.client();
    let script = Script::new("return 'everywhere'");
    client.script_load(&script).unwrap();
    assert_eq!(client.script_exists(&[script.sha_hex()]).unwrap(), [true]);
    Raw::connect(ground.cluster.node(ground.cluster.primary_of(0))).ok(&["SCRIPT", "FLUSH"]);
    assert_eq!(client.script_exists(&[script.sha_hex()]).unwrap(), [false]);
    client.script_load(&script).unwrap();
    client.script_flush(rs_script::FlushMode::Sync).unwrap();
    assert_eq!(client.script_exists(&[script.sha_hex()]).unwrap(), [false]);
    Yes
}

/// A slot that is moving from one primary to another, and what is counted in it on the way.
fn migrate(ground: &Ground, name: &str, count: &Script, client: &Client) {
    let cluster = &ground.cluster;
    let tag = &ground.tags(name)[0];
    let keys = ["a", "b"].map(|key| format!("{tag}{key}"));
    let [a, b] = [&*keys[0], &*keys[1]];
    let slot = slot_of(tag.as_bytes());
    let from = cluster.primary_of(slot);
    let to = [0, 8000, 16000].map(|slot| cluster.primary_of(slot)).into_iter().find(|&node| node != from);
    let to = to.expect("another primary");
    let call = |key: &str| client.call(count, key, NONE).unwrap().as_i64().unwrap();
    assert_eq!((call(a), call(b)), (1, 1));
    cluster.begin_migration(slot, from, to);
    assert_eq!((call(a), call(b)), (2, 2));
    cluster.migrate_keys(from, to, &[a.as_bytes()]);
    let redirects = client.stats().redirects;
    assert_eq!((call(a), call(b)), (3, 3), "by ASK, and not moved yet");
    assert_eq!(client.stats().redirects, redirects + 1);
    let mut pipeline = client.pipeline();
    for key in [a, b, a] {
        pipeline.script(count, key, NONE).unwrap();
    }
    assert_eq!(shown(&pipeline.exec().unwrap()), "Array[4, 4, 5]");
    let mut transaction = client.transaction();
    transaction.script(count, a, NONE).unwrap().command(("DECR", a)).unwrap();
    assert_eq!(shown(&transaction.exec().unwrap()), "Array[6, 5]");
    // Both keys, which are on two servers: tried again until they are together.
    let sum = Script::new(SUM);
    let met = refused(cluster, from);
    std::thread::scope(|scope| {
        let both = scope.spawn(|| client.call(&sum, [a, b], NONE).unwrap().as_i64());
        wait_until("TRYAGAIN is met, and met again", || refused(cluster, from) >= met + 2);
        cluster.migrate_keys(from, to, &[b.as_bytes()]);
        assert_eq!(both.join().unwrap(), Some(6 + 5));
    });
    cluster.finish_migration(slot, from, to);
    assert_eq!((call(a), call(b)), (7, 6), "by MOVED");
    let redirects = client.stats().redirects;
    assert_eq!((call(a), call(b)), (8, 7));
    assert_eq!(client.stats().redirects, redirects, "and then at once");
    cluster.move_slots([slot], to, from);
    assert_eq!(call(a), 9, "and back");
}

/// How often a node has refused an EVALSHA. Redis 6.2 does not count the errors by name.
fn refused(cluster: &Cluster, node: usize) -> u64 {
    let stats = Raw::connect(cluster.node(node)).info("commandstats", "cmdstat_evalsha").expect("calls");
    let count = stats.split(',').find_map(|field| field.strip_prefix("rejected_calls="));
    count.and_then(|count| count.parse().ok()).expect("a number")
}

fn migration(ground: &Ground) -> Found {
    migrate(ground, "scripts", &Script::new(COUNT), &ground.client());
    Yes
}

fn functions_migrate(ground: &Ground) -> Found {
    let count = Library::pinned(source(2)).unwrap().function("count").unwrap();
    let client = ground.client();
    if !ground.version.has_functions {
        assert_not_executed(&client.call(&count, "n", NONE).unwrap_err(), Status::NotSupported);
        return No(NO_FUNCTIONS);
    }
    migrate(ground, "libraries", &count, &client);
    Yes
}

fn once_migrates(ground: &Ground) -> Found {
    let cluster = &ground.cluster;
    let [client, other] = [ground.client(), ground.client()];
    let tag = &ground.tags("once")[0];
    let slot = slot_of(tag.as_bytes());
    let from = cluster.primary_of(slot);
    let to = [0, 8000, 16000].map(|slot| cluster.primary_of(slot)).into_iter().find(|&node| node != from);
    let to = to.expect("another primary");
    let script = Script::new(COUNT).once(&Once::default()).unwrap();
    let call = script.key(tag).token("job");
    assert_eq!(call.call::<u64>(&client), Ok(1));
    let tokens = Raw::connect(cluster.node(from)).ok(&["KEYS", "rs:once:*"]);
    let token = tokens.elements()[0].text();
    cluster.begin_migration(slot, from, to);
    cluster.migrate_keys(from, to, &[token.as_bytes(), tag.as_bytes()]);
    assert_eq!((call.call::<u64>(&client), call.call::<u64>(&other)), (Ok(1), Ok(1)));
    cluster.finish_migration(slot, from, to);
    assert_eq!((call.call::<u64>(&client), call.call::<u64>(&other)), (Ok(1), Ok(1)));
    assert_eq!(script.key(tag).call::<u64>(&client), Ok(2));
    Yes
}

fn moved_by_server(ground: &Ground) -> Found {
    let cluster = &ground.cluster;
    let tag = &ground.tags("server")[0];
    let slot = slot_of(tag.as_bytes());
    let from = cluster.primary_of(slot);
    let to = [0, 8000, 16000].map(|slot| cluster.primary_of(slot)).into_iter().find(|&node| node != from);
    let to = to.expect("another primary");
    let number = slot.to_string();
    let words = ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", &number, &number, "NODE", cluster.id(to)];
    let mut raw = Raw::connect(cluster.node(from));
    if !ground.version.moves_slots {
        assert!(raw.cmd(&words).is_error());
        return No("There is no CLUSTER MIGRATESLOTS: slots are moved key by key");
    }
    let client = ground.client();
    let script = Script::new(COUNT);
    let function = Library::pinned(source(3)).unwrap().function("count").unwrap();
    let once = Script::new(COUNT).once(&Once::default()).unwrap();
    let job = once.key(tag).token("job");
    assert_eq!(client.call(&script, tag, NONE).unwrap().as_i64(), Some(1));
    assert_eq!(client.call(&function, tag, NONE).unwrap().as_i64(), Some(2));
    assert_eq!(job.call::<u64>(&client), Ok(3));
    raw.ok(&words);
    // Called all the while: what the server holds back for the hand-over is answered by the new owner.
    let mut expected = 3;
    wait_until("the slot has moved", || {
        expected += 1;
        assert_eq!(client.call(&script, tag, NONE).unwrap().as_i64(), Some(expected));
        cluster.primary_of(slot) == to
    });
    assert_eq!(client.call(&script, tag, NONE).unwrap().as_i64(), Some(expected + 1));
    assert_eq!(client.call(&function, tag, NONE).unwrap().as_i64(), Some(expected + 2));
    assert_eq!(job.call::<u64>(&client), Ok(3));
    Yes
}

/// A slot of the second primary: the first one is the witness whom the support asks.
const SLOT: u16 = 8000;

fn failover(ground: &Ground) -> Found {
    let cluster = &ground.cluster;
    let client = ground.client();
    let count = Script::new(COUNT);
    let owner = cluster.primary_of(SLOT);
    let tag = &cluster.tag_on(owner, "failover");
    assert_eq!(client.call(&count, tag, NONE).unwrap().as_i64(), Some(1));
    let new = cluster.failover(SLOT);
    assert_ne!(new, owner);
    assert_eq!(client.call(&count, tag, NONE).unwrap().as_i64(), Some(2));
    assert_eq!(calls_of(cluster.node(new), "evalsha"), 1);
    Yes
}

fn killed(ground: &Ground) -> Found {
    let cluster = &ground.cluster;
    let client = ground.client();
    let owner = cluster.primary_of(SLOT);
    let tag = &cluster.tag_on(owner, "killed");
    let script = Script::new(COUNT).once(&Once::default().wait(1, Duration::from_millis(100))).unwrap();
    let job = script.key(tag).token("job");
    assert_eq!(job.call::<u64>(&client), Ok(1));
    cluster.kill(owner);
    let new = cluster.wait_for_new_primary(SLOT, owner);
    // Until the killed one is back there is no replica that could have it.
    cluster.node(owner).restart();
    assert_eq!(job.call::<u64>(&client), Ok(1), "what the replica has is not done again");
    let next = wait_for("the next call is done", || script.key(tag).token("next").call::<u64>(&client).ok());
    assert_eq!(next, 2);
    assert_eq!(Raw::connect(cluster.node(new)).ok(&["GET", tag]).text(), "2");
    cluster.wait_until_whole();
    Yes
}
