//! A real cluster of a test's own: forms in a few seconds, can lose nodes, fail over and move slots.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::proxy::Proxy;
use super::raw::{Raw, Value};
use super::replication::eager;
use super::server::{Binary, Builder, Server};
use super::tls::{Certs, Identity};
use super::{wait_for, wait_until};

const SLOTS: u16 = 16384;

/// What [`Cluster::start`] starts; see [`Cluster::builder`].
pub struct ClusterBuilder {
    primaries: usize,
    replicas: usize,
    spares: usize,
    node: Builder,
    behind_nat: bool,
}

impl ClusterBuilder {
    /// So many replicas for each primary.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// So many nodes more that run and are in no cluster; see [`Cluster::join`].
    pub fn spares(mut self, spares: usize) -> Self {
        self.spares = spares;
        self
    }

    pub fn binary(self, binary: Binary) -> Self {
        self.each(|node| node.binary(binary))
    }

    /// The default user's password on each node.
    pub fn password(self, password: &str) -> Self {
        self.each(|node| node.password(password))
    }

    /// TLS for clients and between the nodes.
    pub fn tls(self, certs: &Certs) -> Self {
        self.each(|node| node.tls(certs, Identity::Valid))
    }

    /// TLS for clients in front of nodes that have none.
    pub fn tls_in_front(self, certs: &Certs) -> Self {
        self.each(|node| node.tls_in_front(certs))
    }

    /// Nodes announce hosts 10.1.2.1, 10.1.2.2, ... and ports that aren't theirs, where no client can reach them; see
    /// [`Cluster::announced`]. Redis 7 or later.
    pub fn behind_nat(mut self) -> Self {
        self.behind_nat = true;
        self
    }

    /// Changes how each node is started.
    pub fn each(mut self, change: impl FnOnce(Builder) -> Builder) -> Self {
        self.node = change(self.node);
        self
    }

    /// Starts the nodes, and waits until all of them agree that the cluster is whole.
    ///
    /// Not by `redis-cli --cluster create`: that takes seconds longer, and refuses fewer than three primaries.
    pub fn start(self) -> Cluster {
        let count = self.primaries * (1 + self.replicas);
        let nodes: Vec<Server> = (0..count + self.spares).map(|_| self.node.clone().start()).collect();
        let ids = nodes.iter().map(|node| Raw::connect(node).ok(&["CLUSTER", "MYID"]).text()).collect();
        let forwarders = if self.behind_nat { hide(&nodes) } else { Vec::new() };
        let cluster = Cluster { nodes, joined: AtomicUsize::new(count), ids, forwarders };
        cluster.form(self.primaries);
        cluster
    }
}

/// Has the nodes announce what is not theirs.
///
/// The host is announced as a name, which clients alone are told: the nodes must reach each other by what they
/// announce as their IP. Of a port there is but one, so something has to forward from there for a replica to find its
/// primary.
fn hide(nodes: &[Server]) -> Vec<Proxy> {
    let hide = |(number, node): (usize, &Server)| {
        let forwarder = Proxy::start(node.address());
        for (setting, value) in [
            ("cluster-announce-port", forwarder.port().to_string()),
            ("cluster-announce-bus-port", (node.port() + 10_000).to_string()),
            ("cluster-announce-hostname", format!("10.1.2.{}", number + 1)),
            ("cluster-preferred-endpoint-type", "hostname".to_owned()),
        ] {
            Raw::connect(node).ok(&["CONFIG", "SET", setting, &value]);
        }
        forwarder
    };
    nodes.iter().enumerate().map(hide).collect()
}

/// A running cluster. Nodes are numbered: primaries first, then their replicas in turn.
pub struct Cluster {
    nodes: Vec<Server>,
    /// So many of them are in the cluster.
    joined: AtomicUsize,
    ids: Vec<String>,
    /// From the ports that are announced to those that are the nodes', for the nodes' own use.
    forwarders: Vec<Proxy>,
}

impl Cluster {
    pub fn builder(primaries: usize) -> ClusterBuilder {
        // The time-out is how long a dead primary goes unnoticed. Replicas are to follow eagerly, because they are
        // listed only once they have heard something of their primary: its ping, if nothing else.
        let node = eager(Server::builder().cluster().arg("cluster-node-timeout", "1500"));
        ClusterBuilder { primaries, replicas: 0, spares: 0, node, behind_nat: false }
    }

    /// So many primaries, each with so many replicas, of the default server.
    pub fn start(primaries: usize, replicas: usize) -> Cluster {
        Cluster::builder(primaries).replicas(replicas).start()
    }

    fn form(&self, primaries: usize) {
        for (number, node) in self.joined().iter().enumerate() {
            let mut raw = Raw::connect(node);
            // Equal epochs would have to be told apart by the nodes first, one by one.
            raw.ok(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            // Everyone meets everyone: quicker than waiting for gossip.
            for other in &self.nodes[..number] {
                let (host, port) = host_and_port(other);
                raw.ok(&["CLUSTER", "MEET", &host, &port, &other.bus_port().to_string()]);
            }
            if number < primaries {
                let bound = |n: usize| n * usize::from(SLOTS) / primaries;
                let slots = (bound(number)..bound(number + 1)).map(|slot| slot.to_string());
                let command: Vec<String> =
                    ["CLUSTER".into(), "ADDSLOTS".into()].into_iter().chain(slots).collect();
                raw.ok(&command);
            }
        }
        for (number, node) in self.joined().iter().enumerate().skip(primaries) {
            let primary = self.ids[number % primaries].as_str();
            wait_until("a replica meets its primary", || {
                !Raw::connect(node).cmd(&["CLUSTER", "REPLICATE", primary]).is_error()
            });
        }
        self.wait_until_whole();
    }

    /// Has the next spare node join, without slots; its number.
    #[track_caller]
    pub fn join(&self) -> usize {
        let number = self.joined.fetch_add(1, Ordering::AcqRel);
        let mut raw = Raw::connect(&self.nodes[number]);
        for other in &self.nodes[..number] {
            let (host, port) = host_and_port(other);
            raw.ok(&["CLUSTER", "MEET", &host, &port]);
        }
        self.wait_until_whole();
        number
    }

    fn joined(&self) -> &[Server] {
        &self.nodes[..self.joined.load(Ordering::Acquire)]
    }

    /// Waits until every living node reports `cluster_state:ok`, all have the same picture of slots and roles, and
    /// every living replica has its primary's data and is in that picture.
    pub fn wait_until_whole(&self) {
        wait_until("the cluster is whole", || {
            let mut pictures: Vec<Slots> = self.living().map(|node| self.slots(node)).collect();
            pictures.dedup();
            let [picture] = pictures.as_slice() else { return false };
            self.living_numbers().all(|number| {
                let mut raw = Raw::connect(&self.nodes[number]);
                let info = raw.ok(&["CLUSTER", "INFO"]).text();
                let serves = ["cluster_state:ok", "cluster_slots_assigned:16384", "cluster_slots_fail:0"]
                    .iter()
                    .all(|line| info.lines().any(|found| found == *line));
                let follows = match raw.info("replication", "master_link_status") {
                    None => true,
                    Some(link) => {
                        let listed = |range: &Range| range.nodes.iter().any(|(node, _)| *node == number);
                        link == "up" && picture.values().any(listed)
                    }
                };
                serves && follows
            })
        });
    }

    /// All nodes, dead ones included, at the addresses where they really are.
    pub fn cluster_url(&self) -> String {
        let first = &self.nodes[0];
        let addresses: Vec<String> = self.joined().iter().map(|node| node.address().to_string()).collect();
        format!("{}+cluster://{}{}", first.scheme(), first.userinfo(), addresses.join(","))
    }

    /// The host and port under which a node is announced to clients, by the word of a living node.
    #[track_caller]
    pub fn announced(&self, number: usize) -> (String, u16) {
        let map = self.slots(self.first_living());
        let mut nodes = map.into_values().flat_map(|range| range.nodes);
        nodes.find(|(node, _)| *node == number).expect("a node that is in the cluster").1
    }

    /// A hash tag, braces included, in a slot that this primary has now. It starts with `name`, so that tests share
    /// no slot.
    #[track_caller]
    pub fn tag_on(&self, node: usize, name: &str) -> String {
        let map = self.slots(&self.nodes[node]);
        let is_here = |slot| serving(&map, slot).is_some_and(|range| range.nodes[0].0 == node);
        let mut tags = (0..).map(|number| format!("{{{name}{number}}}"));
        tags.find(|tag| is_here(slot_of(tag.as_bytes()))).expect("a primary has slots")
    }

    /// All nodes, dead ones and spares included.
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
        self.joined().iter().filter(|node| node.is_running())
    }

    fn living_numbers(&self) -> impl Iterator<Item = usize> {
        (0..self.joined().len()).filter(|&number| self.nodes[number].is_running())
    }

    #[track_caller]
    fn first_living(&self) -> &Server {
        self.living().next().expect("a living node")
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

    #[track_caller]
    fn owners(&self, slot: u16) -> Vec<usize> {
        let map = self.slots(self.first_living());
        let range = serving(&map, slot).expect("a slot that is served");
        range.nodes.iter().map(|(node, _)| *node).collect()
    }

    /// A node's picture of the cluster.
    fn slots(&self, witness: &Server) -> Slots {
        let number = |value: &Value| u16::try_from(value.integer()).expect("a slot or port");
        let node = |node: &Value| {
            let [host, port, id, ..] = node.elements() else { panic!("a node: {node:?}") };
            let known = self.ids.iter().position(|known| *known == id.text());
            // A node that does not know its own address yet says nil.
            let host = if *host == Value::Nil { String::new() } else { host.text() };
            (known.expect("a node of this cluster"), (host, number(port)))
        };
        let range = |range: &Value| {
            let [first, last, nodes @ ..] = range.elements() else { panic!("a range of slots: {range:?}") };
            let mut nodes: Vec<_> = nodes.iter().map(node).collect();
            nodes[1..].sort_unstable();
            (number(first), Range { last: number(last), nodes })
        };
        Raw::connect(witness).ok(&["CLUSTER", "SLOTS"]).elements().iter().map(range).collect()
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

    /// Makes a replica of the slot's owner primary in its place, as `CLUSTER FAILOVER` does, without a loss; returns
    /// it.
    #[track_caller]
    pub fn failover(&self, slot: u16) -> usize {
        let old = self.primary_of(slot);
        let replica = *self.replicas_of(slot).first().expect("the slot's owner has a replica");
        let mut sent: Option<Instant> = None;
        // Sent again, because the servers give it up when it is not done within five seconds.
        wait_until("the replica becomes the primary", || {
            let mut raw = Raw::connect(&self.nodes[replica]);
            let done = raw.info("replication", "role").as_deref() == Some("master");
            if !done && sent.is_none_or(|sent| sent.elapsed() > Duration::from_secs(10)) {
                // Refused, when it has become the primary by now.
                raw.cmd(&["CLUSTER", "FAILOVER"]);
                sent = Some(Instant::now());
            }
            done
        });
        self.wait_for_new_primary(slot, old)
    }

    /// Begins to move a slot and moves no key: from now on `from` answers ASK for keys that it lacks, and TRYAGAIN
    /// where it has some of a call's keys. `to` answers only behind ASKING.
    #[track_caller]
    pub fn begin_migration(&self, slot: u16, from: usize, to: usize) {
        self.wait_for_epochs();
        let slot = slot.to_string();
        Raw::connect(&self.nodes[to]).ok(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.ids[from]]);
        Raw::connect(&self.nodes[from]).ok(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.ids[to]]);
    }

    /// Moves these keys of a slot that is migrating.
    #[track_caller]
    pub fn migrate_keys(&self, from: usize, to: usize, keys: &[&[u8]]) {
        let (host, port) = host_and_port(&self.nodes[to]);
        let mut command: Vec<&[u8]> = vec![b"MIGRATE", host.as_bytes(), port.as_bytes(), b"", b"0", b"5000"];
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
        self.hand_over(slot, from, to);
        self.wait_for_owner([slot], to);
    }

    /// Moves slots with their keys, one after the other, as `redis-cli --cluster reshard` does; waits only at the end
    /// until all nodes know. For a thread of its own, while there is load.
    #[track_caller]
    pub fn move_slots(&self, slots: impl IntoIterator<Item = u16>, from: usize, to: usize) {
        let slots: Vec<u16> = slots.into_iter().collect();
        for &slot in &slots {
            self.begin_migration(slot, from, to);
            self.hand_over(slot, from, to);
        }
        self.wait_for_owner(slots, to);
    }

    /// Has Valkey 9 move slots by itself, all of a slot at once, and waits until all nodes know.
    #[track_caller]
    pub fn migrate_slots(&self, slots: &[u16], from: usize, to: usize) {
        for slot in slots {
            let number = slot.to_string();
            let moving = ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", &number, &number, "NODE", self.id(to)];
            let begin = || Raw::connect(&self.nodes[from]).cmd(&moving);
            // One migration of a slot at a time is taken, and any may fail.
            begin();
            let mut last = Instant::now();
            wait_until("the slot has moved", || {
                if last.elapsed() > Duration::from_secs(5) {
                    begin();
                    last = Instant::now();
                }
                self.primary_of(*slot) == to
            });
        }
        self.wait_for_owner(slots.iter().copied(), to);
    }

    #[track_caller]
    fn hand_over(&self, slot: u16, from: usize, to: usize) {
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
    }

    /// Until all nodes know the newest epoch and no two primaries have the same: one that takes a slot with an epoch that
    /// is not above its old owner's loses it again to that one's older claim, and the keys with it.
    #[track_caller]
    fn wait_for_epochs(&self) {
        wait_until("all nodes know the epochs", || {
            let (mut current, mut own) = (BTreeSet::new(), BTreeSet::new());
            let mut primaries = 0;
            for node in self.living() {
                let mut raw = Raw::connect(node);
                if raw.info("replication", "role").as_deref() != Some("master") {
                    continue;
                }
                primaries += 1;
                let info = raw.ok(&["CLUSTER", "INFO"]).text();
                let epoch = |name| info.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
                current.extend(epoch("cluster_current_epoch:"));
                own.extend(epoch("cluster_my_epoch:"));
            }
            current.len() == 1 && own.len() == primaries
        });
    }

    #[track_caller]
    fn wait_for_owner(&self, slots: impl IntoIterator<Item = u16>, owner: usize) {
        let slots: Vec<u16> = slots.into_iter().collect();
        wait_until("all nodes know the slots' new owner", || {
            let know = self.living().all(|node| {
                let map = self.slots(node);
                let owns = |&slot: &u16| serving(&map, slot).is_some_and(|range| range.nodes[0].0 == owner);
                slots.iter().all(owns)
            });
            // Two nodes may have come to the same epoch: then the others go on believing whom they have heard first.
            if !know {
                Raw::connect(&self.nodes[owner]).cmd(&["CLUSTER", "BUMPEPOCH"]);
            }
            know
        });
        self.wait_until_whole();
    }

    /// Takes a slot, with its keys, from its owner and gives it to nobody. Then no node serves anything, unless they
    /// were started with `cluster-require-full-coverage no`.
    #[track_caller]
    pub fn uncover(&self, slot: u16) {
        let number = slot.to_string();
        let owner = self.primary_of(slot);
        wait_until("no node knows an owner of the slot", || {
            // The owner first: what it claims the others believe, and what it claimed may still be on its way to them.
            let others = self.living().filter(|node| !std::ptr::eq(*node, &self.nodes[owner]));
            for node in std::iter::once(&self.nodes[owner]).chain(others) {
                // An error says that it knows none.
                Raw::connect(node).cmd(&["CLUSTER", "DELSLOTS", &number]);
            }
            self.living().all(|node| serving(&self.slots(node), slot).is_none())
        });
    }

    /// Gives a slot without an owner to a node, and waits until all know and the cluster is whole.
    #[track_caller]
    pub fn cover(&self, slot: u16, owner: usize) {
        Raw::connect(&self.nodes[owner]).ok(&["CLUSTER", "ADDSLOTS", &slot.to_string()]);
        self.wait_for_owner([slot], owner);
    }

    /// Pauses (SIGSTOP) all other nodes, and waits until this one has noticed that it is without a majority: it answers
    /// CLUSTERDOWN. [`Cluster::reunite`] ends it.
    #[track_caller]
    pub fn isolate(&self, number: usize) {
        for other in self.living_numbers().filter(|&other| other != number) {
            self.nodes[other].pause();
        }
        let mut raw = Raw::connect(&self.nodes[number]);
        // On a busy machine it may have missed them before they were paused. Once it has read what they said until
        // then, it will not find them again.
        for _ in 0..3 {
            raw.ok(&["PING"]);
        }
        wait_until("the node has lost its majority", || {
            let nodes = raw.ok(&["CLUSTER", "NODES"]).text();
            let flags = nodes.lines().filter_map(|line| line.split(' ').nth(2));
            let mut others = flags.filter(|flags| flags.contains("master") && !flags.contains("myself"));
            let info = raw.ok(&["CLUSTER", "INFO"]).text();
            others.all(|flags| flags.contains("fail"))
                && info.lines().any(|line| line == "cluster_state:fail")
        });
    }

    /// Lets all paused nodes go on, and waits until the cluster is whole.
    #[track_caller]
    pub fn reunite(&self) {
        for node in self.living() {
            node.resume();
        }
        self.wait_until_whole();
    }
}

/// By the first slot of each range.
type Slots = BTreeMap<u16, Range>;

/// Slots that one primary serves.
#[derive(PartialEq)]
struct Range {
    last: u16,
    /// Numbers and announced addresses, the primary's first.
    nodes: Vec<(usize, (String, u16))>,
}

fn serving(map: &Slots, slot: u16) -> Option<&Range> {
    map.range(..=slot).next_back().map(|(_, range)| range).filter(|range| slot <= range.last)
}

fn host_and_port(node: &Server) -> (String, String) {
    let address = node.address();
    (address.ip().to_string(), address.port().to_string())
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
