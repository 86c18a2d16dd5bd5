//! The settings over TLS: the server's own where the build has it, else something in front of each server.

use rs_script::{Client, Library, Options, Script, Status};

use crate::report::Found::{self, No, Otherwise, Yes};
use crate::report::{Scenario, Setting, names, run};
use crate::sentinel::follow;
use crate::single::{NO_FUNCTIONS, assert_not_executed, source};
use crate::support::calls::{COUNT, LONG, NONE, options, shown};
use crate::support::cluster::{Cluster, slot_of};
use crate::support::raw::calls_of;
use crate::support::sentinel::Sentinels;
use crate::support::server::Server;
use crate::support::tls::{Certs, Identity};
use crate::version::Version;

pub const SETTING: Setting = Setting {
    name: "TLS",
    features: || names(SCENARIOS),
    run: |version, found| run(|| Ground::start(version), SCENARIOS, found),
};

const SCENARIOS: &[Scenario<Ground>] = &[
    ("One server", single),
    ("Functions", functions),
    ("A server of another authority is refused", refused),
    ("A cluster: ASK, MOVED, failover", cluster),
    ("Sentinel: failover on demand", sentinel),
];

struct Ground {
    version: &'static Version,
    certs: Certs,
}

impl Ground {
    fn start(version: &'static Version) -> Ground {
        Ground { version, certs: Certs::generate() }
    }

    fn server(&self) -> Server {
        let server = Server::builder().binary(self.version.binary);
        if self.version.has_tls {
            server.tls(&self.certs, Identity::Valid).start()
        } else {
            server.tls_in_front(&self.certs).start()
        }
    }

    fn options(&self) -> Options {
        let mut options = options(LONG);
        options.tls_ca_pem(self.certs.ca.clone());
        options
    }

    fn client(&self, url: &str) -> Client {
        assert!(url.starts_with("rediss"), "{url}");
        Client::open(url, &self.options()).expect("a client")
    }

    fn found(&self) -> Found {
        if self.version.has_tls {
            Yes
        } else {
            Otherwise("This build has no TLS: it is behind a proxy that ends it, one in front of each server")
        }
    }
}

fn single(ground: &Ground) -> Found {
    let server = ground.server();
    let client = ground.client(&server.url());
    let count = Script::new(COUNT);
    for expected in 1..=2 {
        assert_eq!(client.call(&count, "n", NONE).unwrap().as_i64(), Some(expected));
    }
    for mut batch in [client.pipeline(), client.transaction()] {
        batch.script(&count, "n", NONE).unwrap().command(("DECR", "n")).unwrap();
        assert_eq!(shown(&batch.exec().unwrap()), "Array[3, 2]");
    }
    // More than a record and a socket's buffer, both ways.
    let large = "x".repeat(1 << 22);
    let echo = Script::new("return ARGV[1]");
    assert_eq!(client.call(&echo, NONE, &large).unwrap().as_str(), Some(&*large));
    ground.found()
}

fn functions(ground: &Ground) -> Found {
    let server = ground.server();
    let client = ground.client(&server.url());
    let count = Library::pinned(source(1)).unwrap().function("count").unwrap();
    if !ground.version.has_functions {
        assert_not_executed(&client.call(&count, "n", NONE).unwrap_err(), Status::NotSupported);
        return No(NO_FUNCTIONS);
    }
    assert_eq!(client.call(&count, "n", NONE).unwrap().as_i64(), Some(1));
    ground.found()
}

fn refused(ground: &Ground) -> Found {
    let server = ground.server();
    let mut options = ground.options();
    options.tls_ca_pem(Certs::generate().ca);
    let error = Client::open(&server.url(), &options).expect_err("another authority");
    assert_not_executed(&error, Status::Tls);
    ground.found()
}

fn cluster(ground: &Ground) -> Found {
    let cluster = Cluster::builder(3).replicas(1).binary(ground.version.binary);
    let cluster = if ground.version.has_tls {
        cluster.tls(&ground.certs).start()
    } else {
        cluster.tls_in_front(&ground.certs).start()
    };
    let client = ground.client(&cluster.cluster_url());
    let count = Script::new(COUNT);
    let call = |key: &str| client.call(&count, key, NONE).unwrap().as_i64();
    let tag = &cluster.tag_on(1, "tls");
    let slot = slot_of(tag.as_bytes());
    assert_eq!(call(tag), Some(1));
    cluster.begin_migration(slot, 1, 2);
    cluster.migrate_keys(1, 2, &[tag.as_bytes()]);
    assert_eq!(call(tag), Some(2), "by ASK");
    cluster.finish_migration(slot, 1, 2);
    assert_eq!(call(tag), Some(3), "by MOVED");
    assert_eq!(client.stats().redirects, 2);
    let new = cluster.failover(slot);
    assert_eq!(call(tag), Some(4));
    assert!(calls_of(cluster.node(new), "evalsha") >= 1);
    ground.found()
}

fn sentinel(ground: &Ground) -> Found {
    let service = Sentinels::builder(1).binary(ground.version.binary);
    let service = if ground.version.has_tls {
        service.tls(&ground.certs).start()
    } else {
        service.tls_in_front(&ground.certs).start()
    };
    service.trust_in_servers();
    let client = ground.client(&service.url());
    client.call(&Script::new(COUNT), "followed", NONE).unwrap();
    let new = service.failover();
    follow(&client, || calls_of(new, "evalsha"));
    ground.found()
}
