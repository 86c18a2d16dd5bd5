//! A real primary with replicas that three real sentinels watch.

use std::collections::HashMap;

use super::raw::{Raw, Value};
use super::replication::{Replicated, ReplicatedBuilder};
use super::server::{Binary, Builder, Server};
use super::tls::{Certs, Identity};
use super::{wait_for, wait_until};

const SENTINELS: usize = 3;
const QUORUM: usize = 2;
const SERVICE: &str = "test-service";

/// What [`Sentinels::start`] starts; see [`Sentinels::builder`].
pub struct SentinelsBuilder {
    replicas: usize,
    servers: ReplicatedBuilder,
    sentinel: Builder,
}

impl SentinelsBuilder {
    /// The servers' and the sentinels' binary.
    pub fn binary(mut self, binary: Binary) -> Self {
        self.sentinel = self.sentinel.binary(binary);
        self.servers = self.servers.binary(binary);
        self
    }

    /// The default user's password on the servers.
    pub fn password(mut self, password: &str) -> Self {
        self.servers = self.servers.password(password);
        self
    }

    /// The default user's password on the sentinels.
    pub fn sentinel_password(mut self, password: &str) -> Self {
        self.sentinel = self.sentinel.password(password);
        self
    }

    /// TLS to servers and sentinels, and among them.
    pub fn tls(mut self, certs: &Certs) -> Self {
        self.sentinel = self.sentinel.tls(certs, Identity::Valid);
        self.servers = self.servers.tls(certs);
        self
    }

    /// TLS for clients in front of servers and sentinels that have none.
    pub fn tls_in_front(mut self, certs: &Certs) -> Self {
        self.sentinel = self.sentinel.tls_in_front(certs);
        self.servers = self.servers.tls_in_front(certs);
        self
    }

    /// Changes how each server is started; the sentinels remain as they are.
    pub fn each(mut self, change: impl FnOnce(Builder) -> Builder) -> Self {
        self.servers = self.servers.each(change);
        self
    }

    /// Starts all of them, and waits until each sentinel knows every other one and every replica.
    pub fn start(self) -> Sentinels {
        let servers = self.servers.start();
        let config = config(servers.primary(), self.replicas);
        let sentinels: Vec<Server> =
            (0..SENTINELS).map(|_| self.sentinel.clone().sentinel(&config).start()).collect();
        let sentinels = Sentinels { sentinels, servers };
        // When the primary is down a replica's last INFO, which comes once a second, must be younger than five ping
        // periods for it to be promoted.
        if sentinels.set_periods("PING-PERIOD 300 INFO-PERIOD 500 ASK-PERIOD 100 PUBLISH-PERIOD 100") {
            for sentinel in &sentinels.sentinels {
                Raw::connect(sentinel).ok(&["SENTINEL", "SET", SERVICE, "down-after-milliseconds", "800"]);
            }
        }
        sentinels.wait_until_whole();
        // Met, they need to speak less often. And have to: who has not been told of a promotion within four of these
        // periods takes it back, and the one who promotes may notice its success, and tell of it, only after a
        // second.
        sentinels.set_periods("PUBLISH-PERIOD 600");
        sentinels
    }
}

fn config(primary: &Server, replicas: usize) -> String {
    let address = primary.address();
    // Silence counts from the start of a connection, but by default the first ping goes out a second later: to be
    // down takes longer than that. A promotion is noticed within a second, so that a time-out of one would be too
    // short.
    let mut config = format!(
        "sentinel monitor {SERVICE} {} {} {QUORUM}\n\
         sentinel down-after-milliseconds {SERVICE} 2000\n\
         sentinel failover-timeout {SERVICE} 3000\n\
         sentinel parallel-syncs {SERVICE} {}\n",
        address.ip(),
        address.port(),
        replicas.max(1)
    );
    if let Some(password) = primary.password() {
        let quoted = password.replace('\\', "\\\\").replace('"', "\\\"");
        config += &format!("sentinel auth-pass {SERVICE} \"{quoted}\"\n");
    }
    config
}

/// Running sentinels and the servers that they watch.
pub struct Sentinels {
    sentinels: Vec<Server>,
    servers: Replicated,
}

impl Sentinels {
    pub fn builder(replicas: usize) -> SentinelsBuilder {
        SentinelsBuilder { replicas, servers: Replicated::builder(replicas), sentinel: Server::builder() }
    }

    /// A primary with so many replicas and three sentinels, of the default server.
    pub fn start(replicas: usize) -> Sentinels {
        Sentinels::builder(replicas).start()
    }

    /// All sentinels and the service. Carries the servers' password, not the sentinels'.
    pub fn url(&self) -> String {
        let first = &self.servers.servers()[0];
        let addresses: Vec<String> =
            self.sentinels.iter().map(|sentinel| sentinel.address().to_string()).collect();
        format!("{}+sentinel://{}{}/{SERVICE}", first.scheme(), first.userinfo(), addresses.join(","))
    }

    /// The name under which the sentinels know the primary.
    pub fn service(&self) -> &'static str {
        SERVICE
    }

    /// The three sentinels.
    pub fn sentinels(&self) -> &[Server] {
        &self.sentinels
    }

    /// The servers that they watch, in a fixed order, the first primary first.
    pub fn servers(&self) -> &[Server] {
        self.servers.servers()
    }

    /// The primary by the word of all living sentinels, as soon as they agree.
    #[track_caller]
    pub fn primary(&self) -> &Server {
        wait_for("the sentinels agree on the primary", || self.agreed_primary())
    }

    /// Has the sentinels ask and tell each other more often, or less. Redis 6.2 cannot, and takes its time.
    fn set_periods(&self, periods: &str) -> bool {
        let command: Vec<&str> = ["SENTINEL", "DEBUG"].into_iter().chain(periods.split(' ')).collect();
        self.sentinels.iter().all(|sentinel| !Raw::connect(sentinel).cmd(&command).is_error())
    }

    fn agreed_primary(&self) -> Option<&Server> {
        let mut ports: Vec<String> = self.living_sentinels().map(primary_port).collect();
        ports.dedup();
        let [port] = ports.as_slice() else { return None };
        self.servers().iter().find(|server| server.address().port().to_string() == *port)
    }

    /// Has the sentinels make a replica the primary; returns it when they all name it and it says that it is.
    #[track_caller]
    pub fn failover(&self) -> &Server {
        let old = self.primary();
        let sentinel = self.living_sentinels().next().expect("a living sentinel");
        let old_port = old.port().to_string();
        // Asked again, because a failover may be refused, as while no replica has been heard of lately, or given up.
        wait_until("a sentinel fails over", || {
            let done = primary_port(sentinel) != old_port;
            if !done {
                Raw::connect(sentinel).cmd(&["SENTINEL", "FAILOVER", SERVICE]);
            }
            done
        });
        self.wait_for_new_primary(old)
    }

    /// From now on they fail over when they are told to, and not for a silence, which may be that of a busy machine.
    pub fn trust_in_servers(&self) {
        for sentinel in self.living_sentinels() {
            Raw::connect(sentinel).ok(&["SENTINEL", "SET", SERVICE, "down-after-milliseconds", "600000"]);
        }
    }

    /// Kills the primary (SIGKILL), without waiting for the sentinels to notice; returns it.
    #[track_caller]
    pub fn kill_primary(&self) -> &Server {
        let primary = self.primary();
        primary.kill();
        primary
    }

    /// Waits until all living sentinels name another primary than `old`, and that one says that it is.
    #[track_caller]
    pub fn wait_for_new_primary(&self, old: &Server) -> &Server {
        wait_for("the sentinels name another primary", || {
            self.agreed_primary()
                .filter(|new| !std::ptr::eq(*new, old))
                .filter(|new| says(new, "role").as_deref() == Some("master"))
        })
    }

    /// Waits until each living sentinel knows every other one, finds the primary well, and sees every other living
    /// server follow it, as those do themselves: from then on a failover can succeed.
    #[track_caller]
    pub fn wait_until_whole(&self) {
        let sentinels = self.living_sentinels().count();
        let living: Vec<&Server> = self.servers().iter().filter(|server| server.is_running()).collect();
        wait_until("the sentinels know each other and all replicas", || {
            let Some(primary) = self.agreed_primary() else { return false };
            // A sentinel's word alone may be of a replica as it was before its restart.
            let mut replicas = living.iter().filter(|server| !std::ptr::eq(**server, primary));
            replicas.all(|replica| {
                says(replica, "master_port") == Some(primary.port().to_string())
                    && says(replica, "master_link_status").as_deref() == Some("up")
            }) && self.living_sentinels().all(|sentinel| {
                let mut raw = Raw::connect(sentinel);
                let mut seen = |what: &str| -> Vec<HashMap<String, String>> {
                    raw.ok(&["SENTINEL", what, SERVICE]).elements().iter().map(fields).collect()
                };
                let others = seen("SENTINELS").into_iter().filter(|other| other["flags"] == "sentinel");
                let replicas = seen("REPLICAS")
                    .into_iter()
                    .filter(|replica| replica["flags"] == "slave" && replica["master-link-status"] == "ok");
                let counts = (others.count(), replicas.count());
                let primary = fields(&raw.ok(&["SENTINEL", "MASTER", SERVICE]));
                counts == (sentinels - 1, living.len() - 1) && primary["flags"] == "master"
            })
        });
    }

    fn living_sentinels(&self) -> impl Iterator<Item = &Server> {
        self.sentinels.iter().filter(|sentinel| sentinel.is_running())
    }
}

fn primary_port(sentinel: &Server) -> String {
    let address = Raw::connect(sentinel).ok(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]);
    address.elements()[1].text()
}

/// What a server says of its replication. Nothing when it hangs up, as a sentinel has it do on a change of role.
fn says(server: &Server, field: &str) -> Option<String> {
    Raw::try_connect(server).ok()?.try_info("replication", field).ok()?
}

/// A list of names and values in turn.
fn fields(reply: &Value) -> HashMap<String, String> {
    reply.elements().chunks_exact(2).map(|pair| (pair[0].text(), pair[1].text())).collect()
}
