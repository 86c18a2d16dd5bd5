//! The servers of a client: how the connection to each stands, and which of them a call may go to.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::answers::Claim;
use super::repeats::Repeats;
use super::slot_map::SlotMap;
use crate::base::purpose::Purpose;
use crate::config::{self, Config};
use crate::core::interface::{AttemptId, ConnId, NodeId, Way};
use crate::error::Error;
use crate::net::address::Address;
use crate::request::route::ReadFrom;
use crate::request::{Repeatable, Request};
use crate::session::{Compiled, Facts};

/// A map older than this is made anew when a redirection shows that it is out of date.
const OUTDATED: Duration = Duration::from_secs(1);

/// The numbers of so many connections to replicas are kept, for the calls that were on them: as many as a server may
/// have, and those before.
const REMEMBERED: usize = 128;

/// Of so many slots it is kept that a server has sent their calls away.
const REMEMBERED_SLOTS: usize = 4096;

/// So many servers that no map has any more are kept, for there are calls that have met them.
const REMEMBERED_GONE: usize = if cfg!(test) { 0 } else { 256 };

/// How long after a cluster was down, or slots have changed hands, what its servers say then is no proof of how it was
/// a moment before.
const RECOVERY: Duration = Duration::from_secs(5);

/// Whether that was so short a time ago.
pub(super) fn is_recent(trouble: Option<Instant>, now: Instant) -> bool {
    trouble.is_some_and(|trouble| now.saturating_duration_since(trouble) < RECOVERY)
}

/// Where a call is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core) enum Place {
    Slot(u16),
    Anywhere,
    Node(Address),
}

impl Place {
    pub(in crate::core) fn of(way: &Way) -> Place {
        match way {
            Way::Random | Way::AllPrimaries => Place::Anywhere,
            Way::Slot(slot) => Place::Slot(*slot),
            Way::Node(address) => Place::Node(address.as_ref().clone()),
        }
    }
}

/// The connection that all calls to a server share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Link {
    None,
    Making(ConnId),
    Up(ConnId),
}

/// A server that was ever spoken to, by one of the connections to it that calls share. Where there are several, each
/// has a node of its own, and the first of them stands for the server.
pub(in crate::core) struct Node {
    pub(in crate::core) id: NodeId,
    /// The server's first: itself, or another.
    pub(in crate::core) first: NodeId,
    /// The others, if it is the first.
    others: Vec<NodeId>,
    pub(in crate::core) address: Address,
    /// The address, for errors.
    pub(in crate::core) name: Arc<str>,
    /// What its shared connection is for.
    pub(in crate::core) purpose: Purpose,
    pub(in crate::core) config: Arc<Config>,
    pub(in crate::core) link: Link,
    /// What was learnt on the current connection, or on the last one.
    pub(in crate::core) facts: Option<Arc<Facts>>,
    /// Attempts to connect that ever failed, so that those that a call lived through can be counted.
    pub(in crate::core) failed: u64,
    /// Of the server, so at its first alone: attempts to connect that failed since a connection was made last.
    pub(in crate::core) failures: u32,
    /// Likewise: how the last of them failed.
    pub(in crate::core) last_error: Option<Error>,
    /// Likewise: no attempt to connect before this time.
    pub(in crate::core) not_before: Option<Instant>,
    /// Likewise: whoever can turns to others before this time, because the server has let calls down.
    pub(in crate::core) rests_until: Option<Instant>,
    /// Connections made or tried so far: each has a number.
    opened: u64,
    pub(in crate::core) connections: u64,
    /// The connections whose server said that it is a replica.
    replicas: VecDeque<ConnId>,
    /// The attempts that wait for a connection, in their order.
    pub(in crate::core) line: VecDeque<AttemptId>,
    /// Connections that are kept for calls that wait for replicas, the one that was used last at the end.
    pub(in crate::core) kept: Vec<ConnId>,
    /// Of the server: it was asked whether it evicts keys.
    memory_asked: Arc<AtomicBool>,
    /// The map that it was part of last.
    pub(in crate::core) wanted: u64,
    /// No map has it any more: the last call or attempt that there had been when that was seen.
    gone_since: Option<u64>,
}

impl Node {
    fn new(
        id: NodeId,
        (address, name): (Address, Arc<str>),
        purpose: Purpose,
        config: Arc<Config>,
        wanted: u64,
    ) -> Self {
        Node {
            id,
            first: id,
            others: Vec::new(),
            name,
            address,
            purpose,
            config,
            link: Link::None,
            facts: None,
            failures: 0,
            failed: 0,
            last_error: None,
            not_before: None,
            rests_until: None,
            opened: 0,
            connections: 0,
            replicas: VecDeque::new(),
            line: VecDeque::new(),
            kept: Vec::new(),
            memory_asked: Arc::default(),
            wanted,
            gone_since: None,
        }
    }

    fn reconnects(&self) -> u64 {
        self.connections.saturating_sub(1)
    }

    /// Whether the last attempt to connect failed, and the next one is not due yet.
    pub(in crate::core) fn down_since_just_now(&self, now: Instant) -> Option<&Error> {
        let waits = self.not_before.is_some_and(|not_before| not_before > now);
        self.last_error.as_ref().filter(|_| waits && self.link == Link::None)
    }

    /// Has calls turn to others, where there are any, for as long as an attempt to connect may take: the server may
    /// hang.
    pub(in crate::core) fn rest(&mut self, now: Instant) {
        self.rests_until = Some(now + self.config.connect_timeout);
    }

    fn is_resting(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| until > now)
    }

    /// Whether the server stops a read-only call at its first write, by what its last connection has shown.
    pub(in crate::core) fn enforces_read_only(&self) -> bool {
        self.facts.as_ref().is_none_or(|facts| facts.enforces_read_only())
    }

    /// Whether executing a request twice does no harm on this server. `age`: since it was sent first.
    pub(in crate::core) fn may_repeat(&self, request: &Request, age: Duration) -> bool {
        match request.repeatable {
            _ if !request.may_repeat_after(age) => false,
            Repeatable::No => false,
            Repeatable::IfEnforced => self.enforces_read_only(),
            Repeatable::Yes | Repeatable::Always => true,
        }
    }

    /// Facts for another connection. What is learnt on one need not be true on the next.
    pub(in crate::core) fn new_facts(&mut self, compiled: &Arc<Compiled>, is_well: bool) -> Arc<Facts> {
        self.opened += 1;
        let had_hello = self.facts.as_ref().is_some_and(|facts| facts.has_hello());
        let facts = Facts::new(Arc::clone(compiled), self.opened, had_hello && is_well);
        Arc::new(facts.of_server(&self.memory_asked))
    }

    pub(in crate::core) fn is_known_replica(&self, conn: ConnId) -> bool {
        self.replicas.contains(&conn)
    }

    pub(in crate::core) fn note_replica(&mut self, conn: ConnId) {
        remember(&mut self.replicas, conn);
    }

    /// Doubles with every failure, with up to half taken off at random so that clients do not come back all at once.
    pub(in crate::core) fn backoff(&self, failures: u32) -> Duration {
        let reconnect = &self.config.reconnect;
        let full = reconnect.backoff_min.saturating_mul(1 << failures.min(16)).min(reconnect.backoff_max);
        shortened(full)
    }
}

/// A pause with up to half taken off at random, so that clients do not come back all at once.
pub(in crate::core) fn shortened(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - fastrand::f64() / 2.0)
}

/// All servers, and who has what.
pub(in crate::core) struct Servers {
    pub(in crate::core) config: Arc<Config>,
    /// For those that are no servers of calls but watch over them.
    sentinel_config: Option<Arc<Config>>,
    pub(in crate::core) compiled: Arc<Compiled>,
    /// By their numbers, of which none is given twice. Servers come and go: those that nothing refers to any more are
    /// taken out.
    nodes: Vec<Option<Box<Node>>>,
    /// What stands for those, at an address where nobody is.
    nowhere: Box<Node>,
    /// Connections that were made anew to those.
    past_reconnects: u64,
    by_address: HashMap<(Address, Purpose), NodeId>,
    /// The server for everything but read-only calls, where there is one and no other will ever be.
    pub(in crate::core) only: Option<NodeId>,
    pub(in crate::core) map: SlotMap,
    /// A call has met something that the map cannot explain.
    pub(in crate::core) is_doubted: bool,
    /// The server that let a call down: asked last.
    pub(in crate::core) suspect: Option<Address>,
    pub(in crate::core) redirects: u64,
    pub(in crate::core) repeats: Repeats,
    /// When a server has shown beyond doubt that a slot's calls are sent away by it, and how.
    sent_away: HashMap<(NodeId, u16), (Claim, Instant)>,
    /// Who had which slots, by the last map that the servers have given, and when another was seen to have one last.
    owners: Option<u64>,
    slots_moved: Option<Instant>,
    /// When the cluster was found down last.
    pub(in crate::core) down: Option<Instant>,
    /// When the last look at who is who ended.
    pub(in crate::core) looked: Option<Instant>,
    pub(in crate::core) is_looking: bool,
    /// Slots that redirections have given to others since the look began that is under way.
    given: Vec<(u16, NodeId)>,
    /// Plain calls are to be told where they go now.
    pub(in crate::core) are_routes_old: bool,
    /// Slots that redirections have given to others, for the log.
    pub(in crate::core) moved: Vec<(u16, NodeId)>,
}

impl Servers {
    pub(in crate::core) fn new(config: Arc<Config>, compiled: Arc<Compiled>) -> Self {
        let is_watched = matches!(config.servers, config::Servers::Sentinel { .. });
        let nowhere = (Address::Unix(PathBuf::new()), "a server that is gone".into());
        let nowhere = Node::new(NodeId(usize::MAX), nowhere, Purpose::Calls, Arc::clone(&config), 0);
        let mut servers = Servers {
            sentinel_config: is_watched.then(|| Arc::new(config.for_sentinels())),
            config,
            compiled,
            nodes: Vec::new(),
            nowhere: Box::new(nowhere),
            past_reconnects: 0,
            by_address: HashMap::new(),
            only: None,
            map: SlotMap::default(),
            is_doubted: false,
            suspect: None,
            redirects: 0,
            repeats: Repeats::default(),
            sent_away: HashMap::new(),
            owners: None,
            slots_moved: None,
            down: None,
            looked: None,
            is_looking: false,
            given: Vec::new(),
            are_routes_old: false,
            moved: Vec::new(),
        };
        if let config::Servers::One(address) = &servers.config.servers {
            let address = address.clone();
            servers.only = Some(servers.node_at(&address, Purpose::Calls));
        }
        servers
    }

    pub(in crate::core) fn is_cluster(&self) -> bool {
        matches!(self.config.servers, config::Servers::Cluster(_))
    }

    /// Whether sentinels say which server is the primary.
    pub(in crate::core) fn is_watched(&self) -> bool {
        matches!(self.config.servers, config::Servers::Sentinel { .. })
    }

    #[inline]
    pub(in crate::core) fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id.0).and_then(Option::as_ref).unwrap_or(&self.nowhere)
    }

    #[inline]
    pub(in crate::core) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(id.0).and_then(Option::as_mut).unwrap_or(&mut self.nowhere)
    }

    /// Whether nothing was made of a server that is forgotten.
    #[cfg(any(test, feature = "fuzz-internals"))]
    pub(in crate::core) fn is_nowhere_untouched(&self) -> bool {
        let Node { link, others, replicas, line, kept, failed, connections, rests_until, .. } =
            &*self.nowhere;
        *link == Link::None
            && others.is_empty()
            && replicas.is_empty()
            && line.is_empty()
            && kept.is_empty()
            && (*failed, *connections, *rests_until) == (0, 0, None)
    }

    pub(in crate::core) fn all(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten().map(|node| &**node)
    }

    /// Connections that were made anew.
    pub(in crate::core) fn reconnects(&self) -> u64 {
        self.past_reconnects + self.all().map(Node::reconnects).sum::<u64>()
    }

    /// The server at an address, connected or not.
    pub(in crate::core) fn node_at(&mut self, address: &Address, purpose: Purpose) -> NodeId {
        let config = Arc::clone(&self.config);
        self.node_with(address, purpose, config)
    }

    /// The sentinel at an address.
    pub(in crate::core) fn sentinel_at(&mut self, address: &Address) -> NodeId {
        let config = Arc::clone(self.sentinel_config.as_ref().unwrap_or(&self.config));
        self.node_with(address, Purpose::Bare, config)
    }

    fn node_with(&mut self, address: &Address, purpose: Purpose, config: Arc<Config>) -> NodeId {
        if let Some(&id) = self.by_address.get(&(address.clone(), purpose)) {
            self.want(id);
            return id;
        }
        let id = self.add(address, address.to_string().into(), purpose, config);
        self.by_address.insert((address.clone(), purpose), id);
        id
    }

    fn add(&mut self, address: &Address, name: Arc<str>, purpose: Purpose, config: Arc<Config>) -> NodeId {
        let id = NodeId(self.nodes.len());
        let node = Node::new(id, (address.clone(), name), purpose, config, self.map.generation);
        self.nodes.push(Some(Box::new(node)));
        id
    }

    /// Notes that a server is wanted as long as the map is.
    fn want(&mut self, id: NodeId) {
        let wanted = self.map.generation;
        let node = self.node_mut(id);
        (node.wanted, node.gone_since) = (wanted, None);
    }

    /// Notes which servers no map has any more; whether they are many. `serial`: of the last call or attempt.
    pub(in crate::core) fn note_gone(&mut self, serial: u64) -> bool {
        let Servers { nodes, map, only, .. } = self;
        let mut count = 0;
        for node in nodes.iter_mut().flatten() {
            // Sentinels are in no map.
            let is_gone = node.wanted + 1 < map.generation && node.purpose != Purpose::Bare;
            if is_gone && node.first == node.id && Some(node.id) != *only {
                node.gone_since.get_or_insert(serial);
                count += 1;
            }
        }
        count > REMEMBERED_GONE
    }

    /// Whether a server is not forgotten.
    pub(in crate::core) fn is_known(&self, id: NodeId) -> bool {
        self.nodes.get(id.0).is_some_and(Option::is_some)
    }

    /// Sees that a server is not forgotten before the call of this number is over, which met it before it had that.
    /// `false`: it is forgotten.
    pub(in crate::core) fn hold(&mut self, id: NodeId, serial: u64) -> bool {
        let node = self.nodes.get_mut(id.0).and_then(Option::as_mut);
        node.map(|node| node.gone_since = node.gone_since.map(|_| serial)).is_some()
    }

    /// Takes out those that were gone before the call of this number, and that nothing uses.
    pub(in crate::core) fn forget_gone(&mut self, before: u64, used: &HashSet<NodeId>) {
        let is_idle = |id: NodeId| {
            let node = self.node(id);
            node.link == Link::None && node.line.is_empty() && node.kept.is_empty() && !used.contains(&id)
        };
        let is_over = |node: &&Node| {
            let all = || std::iter::once(node.id).chain(node.others.iter().copied());
            node.gone_since.is_some_and(|since| since < before) && all().all(is_idle)
        };
        let gone: Vec<NodeId> = self.all().filter(is_over).map(|node| node.id).collect();
        for first in gone {
            let Some(node) = self.nodes.get_mut(first.0).and_then(Option::take) else { continue };
            self.by_address.remove(&(node.address.clone(), node.purpose));
            self.past_reconnects += node.reconnects();
            for other in node.others {
                let other = self.nodes.get_mut(other.0).and_then(Option::take);
                self.past_reconnects += other.map_or(0, |other| other.reconnects());
            }
        }
    }

    /// How many shared connections to a server have been wanted so far.
    pub(in crate::core) fn sharers(&self, first: NodeId) -> usize {
        1 + self.node(first).others.len()
    }

    /// The node of a server's shared connection that has this number; 0 is the first.
    pub(in crate::core) fn sharer(&mut self, first: NodeId, number: usize) -> NodeId {
        while self.node(first).others.len() < number {
            let Node { address, name, purpose, config, .. } = self.node(first);
            let (address, name, purpose, config) =
                (address.clone(), Arc::clone(name), *purpose, Arc::clone(config));
            let other = self.add(&address, name, purpose, config);
            let memory_asked = Arc::clone(&self.node(first).memory_asked);
            let node = self.node_mut(other);
            (node.first, node.memory_asked) = (first, memory_asked);
            self.node_mut(first).others.push(other);
        }
        number.checked_sub(1).map_or(first, |place| self.node(first).others[place])
    }

    /// What the client was opened on, for error texts.
    pub(in crate::core) fn name(&self) -> String {
        match &self.config.servers {
            config::Servers::One(address) => format!("the server {address}"),
            config::Servers::Cluster(seeds) => format!("the cluster of {}", seeds[0]),
            config::Servers::Sentinel { service, .. } => format!("the service {service}"),
        }
    }

    /// Every primary.
    pub(in crate::core) fn primaries(&self) -> Vec<NodeId> {
        match self.only {
            Some(only) => vec![only],
            None => self.map.primaries().collect(),
        }
    }

    /// The server for a call, none of those to `avoid` if there is a choice; `None` when the map has none.
    pub(in crate::core) fn pick(
        &mut self,
        now: Instant,
        place: &Place,
        read_from: ReadFrom,
        avoid: &[NodeId],
    ) -> Option<NodeId> {
        let shard = match place {
            Place::Slot(slot) => self.map.place_of(*slot)?,
            Place::Anywhere if self.map.shards.is_empty() => return None,
            Place::Anywhere => fastrand::usize(..self.map.shards.len()),
            Place::Node(address) => {
                let node = self.map.nodes().find(|node| self.node(*node).address == *address)?;
                if self.map.is_primary(node) {
                    return Some(node);
                }
                return Some(self.node_at(address, Purpose::Calls));
            }
        };
        let primary = self.map.shards[shard].primary;
        if read_from == ReadFrom::Primary {
            return Some(primary);
        }
        let mut replicas: SmallVec<[NodeId; 8]> = self.map.shards[shard].replicas_in_turn().collect();
        replicas.retain(|node| !avoid.contains(node));
        let is_well = |node: NodeId| {
            let node = self.node(node);
            node.down_since_just_now(now).is_none() && !node.is_resting(now)
        };
        let well = replicas.iter().copied().find(|node| is_well(*node));
        match read_from {
            ReadFrom::Replica => well.or(replicas.first().copied()),
            _ => Some(well.unwrap_or(primary)),
        }
    }

    /// The primary that has a slot.
    pub(in crate::core) fn primary_of(&self, slot: u16) -> Option<NodeId> {
        self.map.place_of(slot).map(|place| self.map.shards[place].primary)
    }

    pub(in crate::core) fn primary_at(&self, address: &Address) -> Option<NodeId> {
        self.map.primaries().find(|node| self.node(*node).address == *address)
    }

    /// Has the next call look who is who, and ask this server last.
    pub(in crate::core) fn doubt(&mut self, node: NodeId) {
        self.suspect = Some(self.node(node).address.clone());
        self.is_doubted = true;
    }

    /// Whether the map is old enough that a sign of change is worth a new one.
    pub(in crate::core) fn is_outdated(&self, now: Instant) -> bool {
        !self.is_looking && self.looked.is_none_or(|looked| now.saturating_duration_since(looked) > OUTDATED)
    }

    /// Sends a slot's calls to another primary from now on; by a redirection, which may be the first sign of more.
    pub(in crate::core) fn give(&mut self, slot: u16, primary: NodeId) {
        // Each call of a slot that has moved may be told so.
        if self.primary_of(slot) != Some(primary) {
            self.map.give(slot, primary);
            self.moved.push((slot, primary));
            self.are_routes_old = true;
        }
        self.want(primary);
        if self.is_looking {
            self.given.push((slot, primary));
        }
    }

    /// Notes that a server sends a slot's calls away, as it says itself where no script can have made that up.
    pub(in crate::core) fn note_sent_away(&mut self, node: NodeId, slot: u16, claim: Claim, now: Instant) {
        if self.sent_away.len() >= REMEMBERED_SLOTS {
            self.sent_away.clear();
        }
        self.sent_away.insert((node, slot), (claim, now));
    }

    /// Whether slots have changed hands a moment ago, by the maps that servers gave: what redirections say of that
    /// a script may have made up.
    pub(in crate::core) fn have_slots_moved(&self, now: Instant) -> bool {
        is_recent(self.slots_moved, now)
    }

    /// Whether that was noted since this time: what the server says when it is asked later may be of a time when it
    /// has the slot again.
    pub(in crate::core) fn was_sent_away(
        &self,
        node: NodeId,
        slot: u16,
        claim: Claim,
        since: Instant,
    ) -> bool {
        self.sent_away
            .get(&(node, slot))
            .is_some_and(|&(noted, at)| at >= since && (noted == Claim::Moved || noted == claim))
    }

    /// A look begins. What redirections have said before it is older than what it finds, also where the last one found
    /// nothing.
    pub(in crate::core) fn begin_look(&mut self) {
        self.is_looking = true;
        self.given.clear();
    }

    /// Puts a new map in force. What redirections have said since it was asked for is newer.
    pub(in crate::core) fn install(&mut self, now: Instant, map: SlotMap) {
        let owners = map.owners();
        if self.owners.replace(owners).is_some_and(|before| before != owners) {
            self.slots_moved = Some(now);
        }
        self.map = map;
        for (slot, primary) in std::mem::take(&mut self.given) {
            self.map.give(slot, primary);
            self.want(primary);
        }
        self.are_routes_old = true;
    }
}

/// Every call that a replica has refused may tell of it.
fn remember(replicas: &mut VecDeque<ConnId>, conn: ConnId) {
    if !replicas.contains(&conn) {
        replicas.truncate(REMEMBERED - 1);
        replicas.push_front(conn);
    }
}

#[cfg(test)]
mod tests {
    use super::super::slot_map::{Found, FoundShard};
    use super::*;
    use crate::config::Options;

    fn of_cluster() -> Servers {
        let config = Config::new("redis+cluster://127.0.0.1", &Options::default()).expect("a URL");
        Servers::new(Arc::new(config), Arc::new(Compiled::new(None)))
    }

    fn address(port: u64) -> Address {
        Address::parse(&format!("127.0.0.1:{port}")).expect("an address")
    }

    fn one_shard(port: u64, ranges: Vec<(u16, u16)>) -> Found {
        vec![FoundShard { primary: address(port), replicas: Vec::new(), ranges }]
    }

    #[test]
    fn what_a_redirection_said_while_a_look_found_nothing_does_not_outlive_the_next_map() {
        let mut servers = of_cluster();
        let now = Instant::now();
        let found = one_shard(1, vec![(0, 16383)]);
        let [first, gone] = [1, 2].map(|port| servers.node_at(&address(port), Purpose::Calls));
        let install = |servers: &mut Servers, generation| {
            let map = SlotMap::new(&found, generation, |_, _| first);
            servers.is_looking = false;
            servers.install(now, map);
        };
        servers.begin_look();
        servers.give(5, gone);
        install(&mut servers, 1);
        assert_eq!(servers.primary_of(5), Some(gone), "it is newer than the map");
        servers.begin_look();
        servers.give(5, gone);
        servers.is_looking = false;
        servers.begin_look();
        install(&mut servers, 2);
        assert_eq!((servers.primary_of(5), servers.primaries()), (Some(first), vec![first]));
    }

    #[test]
    fn a_slot_that_many_calls_are_told_of_has_moved_once() {
        let mut servers = of_cluster();
        let [from, to] = [1, 2].map(|port| servers.node_at(&address(port), Purpose::Calls));
        let map = SlotMap::new(&one_shard(1, vec![(0, 16383)]), 1, |_, _| from);
        servers.install(Instant::now(), map);
        servers.are_routes_old = false;
        servers.give(5, from);
        assert!(servers.moved.is_empty() && !servers.are_routes_old, "it was there before");
        (0..100).for_each(|_| servers.give(5, to));
        assert_eq!((&servers.moved[..], servers.are_routes_old), (&[(5, to)][..], true));
    }

    #[test]
    fn a_server_that_redirections_keep_in_the_map_is_not_forgotten() {
        let mut servers = of_cluster();
        let now = Instant::now();
        let found = one_shard(1, vec![(0, 16383)]);
        let named = servers.node_at(&address(2), Purpose::Calls);
        for generation in 1..10 {
            servers.begin_look();
            servers.give(5, named);
            let map = SlotMap::new(&found, generation, |address, _| servers.node_at(address, Purpose::Calls));
            servers.is_looking = false;
            servers.install(now, map);
            servers.note_gone(generation);
            servers.forget_gone(u64::MAX, &HashSet::new());
            assert_eq!(servers.primary_of(5), Some(named));
            assert_eq!(servers.node(named).address, address(2), "of generation {generation}");
        }
    }

    #[test]
    fn a_server_that_a_call_comes_back_from_is_not_forgotten_under_it() {
        let mut servers = of_cluster();
        let node = servers.node_at(&address(1), Purpose::Calls);
        let unused = HashSet::new();
        servers.map.generation = 2;
        servers.note_gone(5);
        assert!(servers.hold(node, 7), "of a call that has got its number only now");
        servers.forget_gone(7, &unused);
        assert_eq!(servers.node(node).address, address(1));
        servers.forget_gone(8, &unused);
        assert!(!servers.hold(node, 9) && !servers.is_known(node), "it is forgotten");
    }

    #[test]
    fn servers_that_come_and_go_leave_nothing_behind() {
        let mut servers = of_cluster();
        let now = Instant::now();
        let mut used = HashSet::new();
        for generation in 1..1000_u64 {
            let found = one_shard(generation, Vec::new());
            let map = SlotMap::new(&found, generation, |address, _| servers.node_at(address, Purpose::Calls));
            let node = map.primaries().next().expect("one");
            servers.node_mut(node).wanted = generation;
            servers.sharer(node, 1);
            if generation == 5 {
                used.insert(node);
            }
            servers.install(now, map);
            if servers.note_gone(generation) {
                // A call of ten maps ago is under way.
                servers.forget_gone(generation.saturating_sub(10), &used);
            }
            assert!(servers.all().count() <= 2 * (REMEMBERED_GONE + 20), "of generation {generation}");
            assert_eq!(servers.node(node).id, node);
        }
        let used = *used.iter().next().expect("one");
        assert_eq!(servers.node(used).id, used);
        // Whoever knows the number of another is at an address where nobody is.
        assert_eq!(servers.node(NodeId(0)).address, Address::Unix(PathBuf::new()));
        assert_eq!(servers.by_address.len(), servers.all().filter(|node| node.first == node.id).count());
    }

    #[test]
    fn a_connection_that_many_calls_tell_of_does_not_put_another_out_of_mind() {
        let mut replicas = VecDeque::new();
        for conn in (0..64).flat_map(|conn| std::iter::repeat_n(ConnId(conn), 1000)) {
            remember(&mut replicas, conn);
        }
        assert!((0..64).all(|conn| replicas.contains(&ConnId(conn))));
        (64..1000).for_each(|conn| remember(&mut replicas, ConnId(conn)));
        assert_eq!(replicas.len(), REMEMBERED);
    }
}
