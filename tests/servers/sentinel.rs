//! Three sentinels of the server's own kind, and what they watch.

use rs_script::{Client, Library, Script, Status};

use crate::report::Found::{self, No, Yes};
use crate::report::{Scenario, Setting, names, run};
use crate::single::{NO_FUNCTIONS, assert_not_executed, source};
use crate::support::calls::{COUNT, LONG, NONE, options, shown};
use crate::support::raw::{Raw, calls_of};
use crate::support::sentinel::Sentinels;
use crate::support::wait_until;
use crate::version::Version;

pub const SETTING: Setting = Setting {
    name: "Sentinel",
    features: || names(SCENARIOS),
    run: |version, found| run(|| Ground::start(version), SCENARIOS, found),
};

const SCENARIOS: &[Scenario<Ground>] = &[
    ("Scripts, pipelines and transactions", calls),
    ("Functions", functions),
    ("A failover on demand", failover),
    ("A primary that is killed", killed),
];

struct Ground {
    version: &'static Version,
    service: Sentinels,
}

impl Ground {
    fn start(version: &'static Version) -> Ground {
        Ground { version, service: Sentinels::builder(2).binary(version.binary).start() }
    }

    fn client(&self) -> Client {
        Client::open(&self.service.url(), &options(LONG)).expect("a client")
    }
}

fn calls(ground: &Ground) -> Found {
    let client = ground.client();
    let count = Script::new(COUNT);
    assert_eq!(client.call(&count, "n", NONE).unwrap().as_i64(), Some(1));
    for mut batch in [client.pipeline(), client.transaction()] {
        batch.script(&count, "n", NONE).unwrap().command(("DECR", "n")).unwrap();
        assert_eq!(shown(&batch.exec().unwrap()), "Array[2, 1]");
    }
    assert!(calls_of(ground.service.primary(), "evalsha") >= 3);
    Yes
}

fn functions(ground: &Ground) -> Found {
    let client = ground.client();
    let count = Library::pinned(source(1)).unwrap().function("count").unwrap();
    if !ground.version.has_functions {
        assert_not_executed(&client.call(&count, "f", NONE).unwrap_err(), Status::NotSupported);
        return No(NO_FUNCTIONS);
    }
    for expected in 1..=2 {
        assert_eq!(client.call(&count, "f", NONE).unwrap().as_i64(), Some(expected));
    }
    Yes
}

/// Calls until the new primary is the one that answers; a call that the change took along is told as such.
pub fn follow(client: &Client, run: impl Fn() -> u64) {
    let count = Script::new(COUNT);
    let before = run();
    wait_until("the new primary is called", || {
        if let Err(error) = client.call(&count, "followed", NONE) {
            assert!(error.is_indeterminate() || error.is_not_executed(), "{error}");
        }
        run() > before
    });
}

fn failover(ground: &Ground) -> Found {
    let client = ground.client();
    client.call(&Script::new(COUNT), "followed", NONE).unwrap();
    let new = ground.service.failover();
    follow(&client, || calls_of(new, "evalsha"));
    ground.service.wait_until_whole();
    Yes
}

fn killed(ground: &Ground) -> Found {
    let client = ground.client();
    client.call(&Script::new(COUNT), "followed", NONE).unwrap();
    let old = ground.service.kill_primary();
    let new = ground.service.wait_for_new_primary(old);
    follow(&client, || calls_of(new, "evalsha"));
    let shas = [Script::new(COUNT)];
    let known = Raw::connect(new).ok(&["SCRIPT", "EXISTS", shas[0].sha_hex()]);
    assert_eq!(known.elements()[0].integer(), 1, "loaded where it had never been");
    Yes
}
