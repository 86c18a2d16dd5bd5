//! A real primary with replicas: no cluster, and nobody who fails over by himself.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::raw::Raw;
use super::server::{Binary, Builder, Server};
use super::tls::{Certs, Identity};
use super::wait_until;

/// What [`Replicated::start`] starts; see [`Replicated::builder`].
pub struct ReplicatedBuilder {
    replicas: usize,
    server: Builder,
}

impl ReplicatedBuilder {
    pub fn binary(self, binary: Binary) -> Self {
        self.each(|server| server.binary(binary))
    }

    /// The default user's password on each server.
    pub fn password(self, password: &str) -> Self {
        self.each(|server| server.password(password))
    }

    /// TLS for clients and between the servers.
    pub fn tls(self, certs: &Certs) -> Self {
        self.each(|server| server.tls(certs, Identity::Valid))
    }

    /// TLS for clients in front of servers that have none.
    pub fn tls_in_front(self, certs: &Certs) -> Self {
        self.each(|server| server.tls_in_front(certs))
    }

    /// Changes how each server is started.
    pub fn each(mut self, change: impl FnOnce(Builder) -> Builder) -> Self {
        self.server = change(self.server);
        self
    }

    /// Starts the servers, and waits until the replicas are in sync.
    pub fn start(self) -> Replicated {
        let servers = (0..=self.replicas).map(|_| self.server.clone().start()).collect();
        let replicated = Replicated { servers, primary: AtomicUsize::new(0) };
        replicated.follow_primary();
        replicated
    }
}

/// Has replicas follow at once, and their primary speak to them often.
pub(super) fn eager(server: Builder) -> Builder {
    server
        .arg("repl-diskless-sync", "yes")
        .arg("repl-diskless-sync-delay", "0")
        .arg("repl-ping-replica-period", "1")
}

/// A running primary and its replicas.
pub struct Replicated {
    servers: Vec<Server>,
    primary: AtomicUsize,
}

impl Replicated {
    pub fn builder(replicas: usize) -> ReplicatedBuilder {
        ReplicatedBuilder { replicas, server: eager(Server::builder()) }
    }

    /// A primary with so many replicas, of the default server.
    pub fn start(replicas: usize) -> Replicated {
        Replicated::builder(replicas).start()
    }

    /// All servers in a fixed order, the first primary first.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    pub fn primary(&self) -> &Server {
        &self.servers[self.primary.load(Ordering::Acquire)]
    }

    /// The servers that are not the primary, numbered in the order of [`Replicated::servers`].
    #[track_caller]
    pub fn replica(&self, number: usize) -> &Server {
        let primary = self.primary.load(Ordering::Acquire);
        &self.servers[number + usize::from(number >= primary)]
    }

    /// The primary's URL.
    pub fn url(&self) -> String {
        self.primary().url()
    }

    /// Waits until each living replica has all that the primary had written when this was called.
    #[track_caller]
    pub fn wait_until_in_sync(&self) {
        let offset = |server: &Server, field: &str| -> u64 {
            let offset = Raw::connect(server).info("replication", field);
            offset.and_then(|offset| offset.parse().ok()).unwrap_or(0)
        };
        // Counted only while someone listens: links first.
        wait_until("the replicas have a link to their primary", || {
            let mut primary = Raw::connect(self.primary());
            let online = primary.ok(&["INFO", "replication"]).text().matches("state=online").count();
            online >= self.living_replicas().count()
                && self.living_replicas().all(|replica| {
                    let link = Raw::connect(replica).info("replication", "master_link_status");
                    link.as_deref() == Some("up")
                })
        });
        let written = offset(self.primary(), "master_repl_offset");
        wait_until("the replicas have caught up", || {
            self.living_replicas().all(|replica| offset(replica, "slave_repl_offset") >= written)
        });
    }

    /// Makes a replica the primary; the old one, if it lives, and the other replicas follow it.
    #[track_caller]
    pub fn promote(&self, number: usize) {
        let new = self.replica(number);
        Raw::connect(new).ok(&["REPLICAOF", "NO", "ONE"]);
        let index = self.servers.iter().position(|server| std::ptr::eq(server, new));
        self.primary.store(index.expect("one of these servers"), Ordering::Release);
        self.follow_primary();
    }

    /// Cuts a replica off from its primary. It remains a replica, with what data it has and a link that is down.
    #[track_caller]
    pub fn detach(&self, number: usize) {
        let replica = self.replica(number);
        // Of itself: an address where there surely is no primary.
        follow(replica, replica);
    }

    /// Has a replica that was detached, or restarted, follow the primary again, and waits until it is in sync.
    #[track_caller]
    pub fn attach(&self, number: usize) {
        follow(self.replica(number), self.primary());
        self.wait_until_in_sync();
    }

    fn follow_primary(&self) {
        for replica in self.living_replicas() {
            follow(replica, self.primary());
        }
        self.wait_until_in_sync();
    }

    fn living_replicas(&self) -> impl Iterator<Item = &Server> {
        let primary = self.primary();
        self.servers
            .iter()
            .filter(|server| server.is_running())
            .filter(|server| !std::ptr::eq(*server, primary))
    }
}

#[track_caller]
fn follow(replica: &Server, primary: &Server) {
    let address = primary.address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    Raw::connect(replica).ok(&["REPLICAOF", &host, &port]);
}
