//! A real cluster of a test's own: forms in a few seconds, can lose nodes, fail over and move slots.

use std::collections::BTreeMap;

use super::raw::{Raw, Value};
use super::server::{Binary, Builder, Server};
use super::{wait_for, wait_until};

const SLOTS: u16 = 16384;

/// What [`Cluster::start`] starts; see [`Cluster::builder`].
pub struct ClusterBuilder {
    primaries: usize,
    replicas: usize,
    node: Box<dyn Fn(Builder) -> Builder>,
}

impl ClusterBuilder {
    /// So many replicas for each primary.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    pub fn binary(self, binary: Binary) -> Self {
        self.each(move |node| node.binary(binary))
    }

    /// Changes how each node is started.
    pub fn each(self, change: impl Fn(Builder) -> Builder + 'static) -> Self {
        let ClusterBuilder { primaries, replicas, node } = self;
        ClusterBuilder { primaries, replicas, node: Box::new(move |builder| change(node(builder))) }
    }

    /// Starts the nodes, and waits until all of them agree that the cluster is whole.
    ///
    /// Not by `redis-cli --cluster create`: that takes seconds longer, and refuses fewer than three primaries.
    pub fn start(self) -> Cluster {
        let count = self.primaries * (1 + self.replicas);
        let nodes: Vec<Server> = (0..count).map(|_| (self.node)(node_defaults()).start()).collect();
        let ids = nodes.iter().map(|node| Raw::connect(node).ok(&["CLUSTER", "MYID"]).text()).collect();
        let cluster = Cluster { nodes, ids };
        cluster.form(self.primaries);
        cluster
    }
}

fn node_defaults() -> Builder {
    // The time-out is how long a dead primary goes unnoticed. Replicas are to follow at once, and are listed only once
    // they have heard something of their primary: its ping, if nothing else.
    Server::builder()
        .cluster()
        .arg("cluster-node-timeout", "1500")
        .arg("repl-diskless-sync", "yes")
        .arg("repl-diskless-sync-delay", "0")
        .arg("repl-ping-replica-period", "1")
}

/// A running cluster. Nodes are numbered: primaries first, then their replicas in turn.
pub struct Cluster {
    nodes: Vec<Server>,
    ids: Vec<String>,
}

impl Cluster {
    pub fn builder(primaries: usize) -> ClusterBuilder {
        ClusterBuilder { primaries, replicas: 0, node: Box::new(|builder| builder) }
    }

    /// So many primaries, each with so many replicas, of the default server.
    pub fn start(primaries: usize, replicas: usize) -> Cluster {
        Cluster::builder(primaries).replicas(replicas).start()
    }

    fn form(&self, primaries: usize) {
        for (number, node) in self.nodes.iter().enumerate() {
            let mut raw = Raw::connect(node);
            // Equal epochs would have to be told apart by the nodes first, one by one.
            raw.ok(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            // Everyone meets everyone: quicker than waiting for gossip.
            for other in &self.nodes[..number] {
                raw.ok(&["CLUSTER", "MEET", "127.0.0.1", &other.port().to_string()]);
            }
            if number < primaries {
                let bound = |n: usize| n * usize::from(SLOTS) / primaries;
                let slots = (bound(number)..bound(number + 1)).map(|slot| slot.to_string());
                let command: Vec<String> =
                    ["CLUSTER".into(), "ADDSLOTS".into()].into_iter().chain(slots).collect();
                raw.ok(&command);
            }
        }
        for (number, node) in self.nodes.iter().enumerate().skip(primaries) {
            let primary = self.ids[number % primaries].as_str();
            wait_until("a replica meets its primary", || {
                !Raw::connect(node).cmd(&["CLUSTER", "REPLICATE", primary]).is_error()
            });
        }
        self.wait_until_whole();
    }

    /// Waits until every living node reports `cluster_state:ok`, all have the same picture of slots and roles, and every
    /// living replica has its primary's data and is in that picture.
    pub fn wait_until_whole(&self) {
        wait_until("the cluster is whole", || {
            let mut pictures: Vec<Slots> = self.living().map(slots).collect();
            pictures.dedup();
            let [picture] = pictures.as_slice() else { return false };
            self.living().all(|node| {
                let mut raw = Raw::connect(node);
                let info = raw.ok(&["CLUSTER", "INFO"]).text();
                let serves = ["cluster_state:ok", "cluster_slots_assigned:16384", "cluster_slots_fail:0"]
                    .iter()
                    .all(|line| info.lines().any(|found| found == *line));
                let follows = match raw.info("replication", "master_link_status") {
                    None => true,
                    Some(link) => {
                        link == "up" && picture.values().any(|(_, ports)| ports.contains(&node.port()))
                    }
                };
                serves && follows
            })
        });
    }

    /// The first living node's URL.
    #[track_caller]
    pub fn url(&self) -> String {
        self.living().next().expect("a living node").url()
    }

    /// What a client is opened with that is to know every living node.
    pub fn cluster_url(&self) -> String {
        let seeds: Vec<String> = self.living().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+cluster://{}", seeds.join(","))
    }

    /// A hash tag, braces included, in a slot that this primary has now. It starts with `name`, so that tests share no slot.
    #[track_caller]
    pub fn tag_on(&self, node: usize, name: &str) -> String {
        let map = slots(&self.nodes[node]);
        let port = self.nodes[node].port();
        let is_here = |slot: u16| {
            map.range(..=slot).next_back().is_some_and(|(_, (last, on))| slot <= *last && on[0] == port)
        };
        let mut tags = (0..).map(|number| format!("{{{name}{number}}}"));
        tags.find(|tag| is_here(slot_of(tag.as_bytes()))).expect("a primary has slots")
    }

    /// All nodes, dead ones included.
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    #[track_caller]
    pub fn node(&self, number: usize) -> &Server {
        &self.nodes[number]
    }

    /// The cluster's own name for a node.
    #[track_caller]
    pub fn id(&self, number: usize) -> &str {
        &self.ids[number]
    }

    fn living(&self) -> impl Iterator<Item = &Server> {
        self.nodes.iter().filter(|node| node.is_running())
    }

    /// The number of the node that owns a slot, by the word of a living node.
    #[track_caller]
    pub fn primary_of(&self, slot: u16) -> usize {
        self.owners(slot)[0]
    }

    /// The replicas of the node that owns a slot.
    #[track_caller]
    pub fn replicas_of(&self, slot: u16) -> Vec<usize> {
        self.owners(slot)[1..].to_vec()
    }

    fn owners(&self, slot: u16) -> Vec<usize> {
        let map = slots(self.living().next().expect("a living node"));
        let (_, (_, ports)) = map.range(..=slot).next_back().expect("a slot that is served");
        let number = |port: &u16| self.nodes.iter().position(|node| node.port() == *port);
        ports.iter().map(|port| number(port).expect("a node of this cluster")).collect()
    }

    /// Kills the node (SIGKILL) without waiting for the others to notice.
    pub fn kill(&self, number: usize) {
        self.nodes[number].kill();
    }

    /// Waits until another node than `old` owns the slot and the cluster is whole again; returns the new owner.
    #[track_caller]
    pub fn wait_for_new_primary(&self, slot: u16, old: usize) -> usize {
        let new = wait_for("another primary takes over", || {
            Some(self.primary_of(slot)).filter(|&owner| owner != old)
        });
        self.wait_until_whole();
        new
    }

    /// Makes a replica of the slot's owner primary in its place, as `CLUSTER FAILOVER` does, without a loss; returns it.
    #[track_caller]
    pub fn failover(&self, slot: u16) -> usize {
        let old = self.primary_of(slot);
        let replica = *self.replicas_of(slot).first().expect("the slot's owner has a replica");
        Raw::connect(&self.nodes[replica]).ok(&["CLUSTER", "FAILOVER"]);
        self.wait_for_new_primary(slot, old)
    }

    /// Begins to move a slot and moves no key: from now on `from` answers ASK for keys that it lacks, and TRYAGAIN where it
    /// has some of a call's keys. `to` answers only behind ASKING.
    #[track_caller]
    pub fn begin_migration(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        Raw::connect(&self.nodes[to]).ok(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.ids[from]]);
        Raw::connect(&self.nodes[from]).ok(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.ids[to]]);
    }

    /// Moves these keys of a slot that is migrating.
    #[track_caller]
    pub fn migrate_keys(&self, from: usize, to: usize, keys: &[&[u8]]) {
        let port = self.nodes[to].port().to_string();
        let mut command: Vec<&[u8]> = vec![b"MIGRATE", b"127.0.0.1", port.as_bytes(), b"", b"0", b"5000"];
        if let Some(password) = self.nodes[to].password() {
            command.extend([b"AUTH".as_slice(), password.as_bytes()]);
        }
        command.push(b"KEYS");
        command.extend(keys);
        Raw::connect(&self.nodes[from]).ok(&command);
    }

    /// Moves the keys that are left, hands the slot over, and waits until all nodes know.
    #[track_caller]
    pub fn finish_migration(&self, slot: u16, from: usize, to: usize) {
        let number = slot.to_string();
        loop {
            let keys = Raw::connect(&self.nodes[from]).ok(&["CLUSTER", "GETKEYSINSLOT", &number, "1000"]);
            let keys: Vec<&[u8]> = keys
                .elements()
                .iter()
                .map(|key| match key {
                    Value::Bulk(key) => key.as_slice(),
                    other => panic!("a key was expected, not {other:?}"),
                })
                .collect();
            if keys.is_empty() {
                break;
            }
            self.migrate_keys(from, to, &keys);
        }
        // The new owner first: were it last, a node could learn of an owner that does not know itself to be one.
        for node in [to, from] {
            Raw::connect(&self.nodes[node]).ok(&["CLUSTER", "SETSLOT", &number, "NODE", &self.ids[to]]);
        }
        wait_until("all nodes know the slot's new owner", || {
            let port = self.nodes[to].port();
            self.living()
                .all(|node| slots(node).range(..=slot).next_back().is_some_and(|(_, (_, on))| on[0] == port))
        });
        self.wait_until_whole();
    }
}

/// A node's picture of the cluster: first slot of each range → last slot and ports, the primary's first.
type Slots = BTreeMap<u16, (u16, Vec<u16>)>;

fn slots(node: &Server) -> Slots {
    let number = |value: &Value| u16::try_from(value.integer()).expect("a slot or port");
    let reply = Raw::connect(node).ok(&["CLUSTER", "SLOTS"]);
    let range = |range: &Value| {
        let [first, last, nodes @ ..] = range.elements() else { panic!("a range of slots: {range:?}") };
        let mut ports: Vec<u16> = nodes.iter().map(|node| number(&node.elements()[1])).collect();
        ports[1..].sort_unstable();
        (number(first), (number(last), ports))
    };
    reply.elements().iter().map(range).collect()
}

/// A key's slot, computed bit by bit and so independently of the library.
pub fn slot_of(key: &[u8]) -> u16 {
    let tag = || {
        let open = key.iter().position(|&byte| byte == b'{')? + 1;
        let len = key[open..].iter().position(|&byte| byte == b'}')?;
        (len > 0).then(|| &key[open..open + len])
    };
    let crc = tag().unwrap_or(key).iter().fold(0u16, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            (crc << 1) ^ if crc & 0x8000 != 0 { 0x1021 } else { 0 }
        })
    });
    crc % SLOTS
}
