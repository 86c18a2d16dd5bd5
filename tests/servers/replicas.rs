//! A primary with two replicas, without anybody who fails over.

use std::collections::BTreeSet;
use std::time::Duration;

use rs_script::{Client, Library, Once, ReadFrom, Script, Status};

use crate::report::Found::{self, No, Otherwise, Yes};
use crate::report::{Scenario, Setting, names, run};
use crate::single::{FALLS_BACK, NO_FUNCTIONS, assert_not_executed, source};
use crate::support::calls::{COUNT, LONG, NONE, WHERE, options};
use crate::support::raw::{Raw, calls_of};
use crate::support::replication::Replicated;
use crate::support::wait_until;
use crate::version::Version;

pub const SETTING: Setting = Setting {
    name: "A primary with replicas",
    features: || names(SCENARIOS),
    run: |version, found| run(|| Ground::start(version), SCENARIOS, found),
};

const SCENARIOS: &[Scenario<Ground>] = &[
    ("Read-only calls on replicas", read_only),
    ("Read-only Functions on replicas", functions),
    ("Once, done when a replica has it (WAIT)", once),
    ("Once, with too few replicas", too_few),
];

struct Ground {
    version: &'static Version,
    servers: Replicated,
}

impl Ground {
    fn start(version: &'static Version) -> Ground {
        Ground { version, servers: Replicated::builder(2).binary(version.binary).start() }
    }

    fn client(&self, read_from: ReadFrom) -> Client {
        let mut options = options(LONG);
        options.read_from(read_from);
        Client::open(&self.servers.url(), &options).expect("a client")
    }

    fn replica_ports(&self) -> BTreeSet<u16> {
        (0..2).map(|number| self.servers.replica(number).port()).collect()
    }
}

fn read_only(ground: &Ground) -> Found {
    let here = Script::new(WHERE);
    for read_from in [ReadFrom::Replica, ReadFrom::PreferReplica] {
        let client = ground.client(read_from);
        let mut ports = BTreeSet::new();
        for _ in 0..10 {
            let reply = client.call_read_only(&here, "k", NONE).unwrap();
            ports.insert(reply.as_str().unwrap().parse::<u16>().unwrap());
        }
        let primary = BTreeSet::from([ground.servers.primary().port()]);
        assert_eq!(ports, if ground.version.has_read_only { ground.replica_ports() } else { primary });
        // What may write stays on the primary.
        let reply = client.call(&here, "k", NONE).unwrap();
        assert_eq!(reply.as_str(), Some(&*ground.servers.primary().port().to_string()));
    }
    if ground.version.has_read_only { Yes } else { Otherwise(FALLS_BACK) }
}

fn functions(ground: &Ground) -> Found {
    let library = Library::pinned(source(1)).unwrap();
    let [count, get] = ["count", "get"].map(|name| library.function(name).unwrap());
    let client = ground.client(ReadFrom::Replica);
    if !ground.version.has_functions {
        assert_not_executed(&client.call(&count, "n", NONE).unwrap_err(), Status::NotSupported);
        assert_not_executed(&client.call_read_only(&get, "n", NONE).unwrap_err(), Status::NotSupported);
        return No(NO_FUNCTIONS);
    }
    assert_eq!(client.call(&count, "f", NONE).unwrap().as_i64(), Some(1));
    ground.servers.wait_until_in_sync();
    for _ in 0..10 {
        assert_eq!(client.call_read_only(&get, "f", NONE).unwrap().as_str(), Some("1"));
    }
    for number in 0..2 {
        assert!(calls_of(ground.servers.replica(number), "fcall_ro") > 0);
    }
    Yes
}

fn once(ground: &Ground) -> Found {
    ground.servers.wait_until_in_sync();
    let client = ground.client(ReadFrom::Primary);
    let script = Script::new(COUNT).once(&Once::default().wait(2, LONG)).unwrap();
    for expected in 1..=5 {
        assert_eq!(script.key("o").call::<u64>(&client), Ok(expected));
        for number in 0..2 {
            let value = Raw::connect(ground.servers.replica(number)).ok(&["GET", "o"]);
            assert_eq!(value.text(), expected.to_string());
        }
    }
    assert!(calls_of(ground.servers.primary(), "wait") >= 5);
    Yes
}

fn too_few(ground: &Ground) -> Found {
    ground.servers.detach(1);
    wait_until("the replica is gone", || {
        let count = Raw::connect(ground.servers.primary()).info("replication", "connected_slaves");
        count.as_deref() == Some("1")
    });
    let client = ground.client(ReadFrom::Primary).with_timeout(Duration::from_secs(2));
    let script = Script::new(COUNT).once(&Once::default().wait(2, Duration::from_millis(100))).unwrap();
    let error = script.key("few").token("few").call::<u64>(&client).unwrap_err();
    assert_eq!(error.status(), Status::NotReplicated, "{error}");
    assert!(error.is_indeterminate() && !error.is_not_executed());
    assert_eq!(Raw::connect(ground.servers.primary()).ok(&["GET", "few"]).text(), "1");
    ground.servers.attach(1);
    let patient = ground.client(ReadFrom::Primary);
    assert_eq!(script.key("few").token("few").call::<u64>(&patient), Ok(1));
    Yes
}
