//! The servers of a client: which there are, which has what, and how that is found out anew.
//!
//! A single server, a cluster, or a primary behind sentinels; the first and the last with replicas where read-only calls
//! want them. Nothing happens in the background: whoever finds the picture out of date makes a new one, in its own time.

// What servers send is not to be cut short by a conversion.
#![deny(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod ask;
#[cfg(feature = "bench-internals")]
pub(crate) mod bench;
mod map;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::ffi::lock::{Condvar, Mutex, MutexGuard, RwLock};
use smallvec::SmallVec;

use crate::config::{Config, Servers};
use crate::defect::contain;
use crate::error::{Error, Reason, Result, Status};
use crate::link::Link;
use crate::log::LogLevel;
use crate::net::address::Address;
use crate::node::Node;
use crate::resp::{Payload, Pool};
use crate::route::ReadFrom;
use crate::session::Compiled;
use crate::session::handshake::Purpose;
use crate::stats::Stats;
use ask::{Picture, Role};
pub(crate) use map::Map;
use map::{Found, FoundShard};

/// Pictures are made no more often than this.
const PACE: Duration = Duration::from_millis(100);

/// A picture older than this is made anew when a redirection shows that it is out of date.
const OUTDATED: Duration = Duration::from_secs(1);

/// How long replicas of a server without a cluster are believed to be the same.
const REPLICAS_TRUST: Duration = Duration::from_secs(30);

/// How long the word of a sentinel is taken. On a failover on demand the old primary goes on answering for many seconds, and what it is
/// told then is lost.
const SENTINEL_TRUST: Duration = Duration::from_secs(1);

/// How long after a cluster was found down its servers' word for it is taken without asking back.
const RECOVERY: Duration = Duration::from_secs(5);

/// How long one server may take to say who is who while there are others to be asked.
const ASK_PATIENCE: Duration = Duration::from_millis(500);

/// Where a call is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Slot(u16),
    Anywhere,
    Node(Address),
}

/// Why a server would say that a slot is not its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Moved,
    Ask,
}

pub(crate) struct Topology {
    config: Arc<Config>,
    /// The only server that there is for anything but read-only calls.
    only: Option<Arc<Node>>,
    map: RwLock<Map>,
    nodes: Mutex<Nodes>,
    renewal: Mutex<Renewal>,
    renewed: Condvar,
    /// A call has met something that the map cannot explain.
    doubted: AtomicBool,
    redirects: AtomicU64,
    /// The sentinel that was right last, by its place in the URL: asked first.
    informant: AtomicUsize,
    compiled: Arc<Compiled>,
    pool: Arc<Pool>,
}

/// What becomes of a call that a server redirects.
pub(crate) enum Redirection {
    /// It goes there. `is_proved`: the server stands by it, or no script can have made it up.
    To { node: Arc<Node>, is_proved: bool },
    /// Where the slot is now, a new picture shows: the server does not have it, and has named none that does.
    Elsewhere,
    /// Nowhere: the server knows nothing of it.
    Refused,
}

/// A server that refused calls, to be asked whether it stands by that: once, however many calls it refused at a time.
pub(crate) struct Witness<'a> {
    pub(crate) node: &'a Arc<Node>,
    pub(crate) deadline: Instant,
    topology: &'a Topology,
    picture: OnceCell<Option<Picture>>,
    role: OnceCell<Option<Role>>,
    is_down: OnceCell<bool>,
}

impl<'a> Witness<'a> {
    pub(crate) fn new(topology: &'a Topology, node: &'a Arc<Node>, deadline: Instant) -> Self {
        let (picture, role, is_down) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Witness { node, deadline, topology, picture, role, is_down }
    }

    /// Whether it says of itself that it is no primary.
    pub(crate) fn is_replica(&self) -> bool {
        let role = || {
            // The only address that there is may stand for another server by now: its connection is made anew.
            if self.topology.only().is_some_and(|only| Arc::ptr_eq(only, self.node)) {
                return self.node.is_replica(None, self.deadline).then_some(Role::Replica);
            }
            ask::role(self.node, &self.topology.config, self.deadline).ok()
        };
        matches!(self.role.get_or_init(role), Some(Role::Replica))
    }

    /// Whether the slot is on its way from it to another server, or gone.
    pub(crate) fn is_without(&self, slot: u16) -> bool {
        self.stands_by(slot, Claim::Ask)
    }

    /// Whether the cluster is down, as it sees it, or nobody has the slot; or was a moment ago, for it may be well again by the time that it
    /// is asked.
    pub(crate) fn is_unserved(&self, slot: u16) -> bool {
        let is_down = *self.is_down.get_or_init(|| ask::is_down(self.node, self.deadline).unwrap_or(false))
            || self.picture().is_some_and(|picture| !picture.is_anybodys(slot));
        let mut renewal = self.topology.renewal.lock();
        if is_down {
            renewal.down = Some(Instant::now());
        }
        renewal.down.is_some_and(|down| down.elapsed() < RECOVERY)
    }

    /// Whether it stands by what it has said of a slot, asked in its own right; an answer that only a script made up it does not know of.
    pub(crate) fn stands_by(&self, slot: u16, claim: Claim) -> bool {
        self.picture().is_some_and(|picture| picture.bears_out(slot, claim))
    }

    /// Whether it names the server at this address as the one that has the slot, or takes it over.
    fn names(&self, slot: u16, claim: Claim, address: &Address) -> bool {
        let config = &self.topology.config;
        self.picture().is_some_and(|picture| match claim {
            Claim::Moved => picture.is_of(slot, address, config),
            Claim::Ask => picture.is_leaving_to(slot, address, config),
        })
    }

    fn picture(&self) -> Option<&Picture> {
        self.picture.get_or_init(|| Picture::ask(self.node, self.deadline).ok()).as_ref()
    }
}

/// The servers that were ever spoken to, as long as they are of use.
#[derive(Default)]
struct Nodes {
    known: HashMap<(Address, Purpose), Known>,
    /// Others on which a call may be in flight: those let go of, and sentinels.
    others: Vec<Weak<Node>>,
    /// What those did that are of no use any more.
    past: Stats,
    closed: bool,
}

impl Nodes {
    fn remember(&mut self, node: &Arc<Node>) {
        self.others.retain(|other| other.strong_count() > 0);
        self.others.push(Arc::downgrade(node));
    }
}

struct Known {
    node: Arc<Node>,
    /// The map that was in force when it was asked for last.
    wanted: u64,
}

#[derive(Default)]
struct Renewal {
    running: bool,
    last: Option<Instant>,
    error: Option<Error>,
    /// When the cluster was found down last.
    down: Option<Instant>,
    /// The server that let a call down: asked last.
    suspect: Option<Address>,
}

impl Topology {
    pub(crate) fn new(config: Config) -> Topology {
        let mut topology = Topology {
            config: Arc::new(config),
            only: None,
            map: RwLock::default(),
            nodes: Mutex::default(),
            renewal: Mutex::default(),
            renewed: Condvar::default(),
            doubted: AtomicBool::new(false),
            redirects: AtomicU64::new(0),
            informant: AtomicUsize::new(0),
            compiled: Arc::default(),
            pool: Arc::default(),
        };
        if let Servers::One(address) = &topology.config.servers {
            topology.only = Some(topology.node(address, Purpose::Calls));
        }
        topology
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.config.servers, Servers::Cluster(_))
    }

    /// The server for everything but read-only calls, where there is one and no other will ever be.
    #[inline]
    pub(crate) fn only(&self) -> Option<&Arc<Node>> {
        self.only.as_ref()
    }

    /// Finds the servers, if that was not done yet.
    pub(crate) fn open(&self, deadline: Instant) -> Result<()> {
        match &self.only {
            Some(node) => node.link(1, deadline).map(drop),
            None => self.renew(0, deadline),
        }
    }

    /// The number of the picture in force; 0: there is none.
    pub(crate) fn generation(&self) -> u64 {
        self.map.read().generation
    }

    /// The server for a call, none of those to `avoid` if there is a choice; `None` when the picture has none.
    pub(crate) fn pick(&self, place: &Place, read_from: ReadFrom, avoid: &[Arc<Node>]) -> Option<Arc<Node>> {
        let map = self.map.read();
        let shard = match place {
            Place::Slot(slot) => map.shard_of(*slot)?,
            Place::Anywhere => map.shards.get(fastrand::usize(..map.shards.len().max(1)))?,
            Place::Node(address) => {
                let node = map.nodes().find(|node| node.address() == address)?;
                let is_primary = map.shards.iter().any(|shard| Arc::ptr_eq(&shard.primary, node));
                return Some(if is_primary {
                    Arc::clone(node)
                } else {
                    self.node_wanted(address, Purpose::Calls, map.generation)
                });
            }
        };
        if read_from == ReadFrom::Primary {
            return Some(Arc::clone(&shard.primary));
        }
        let mut replicas: SmallVec<[&Arc<Node>; 8]> = shard.replicas_in_turn().collect();
        replicas.retain(|node| !avoid.iter().any(|other| Arc::ptr_eq(node, other)));
        let up = replicas.iter().find(|node| !node.is_down() && !node.is_resting()).copied();
        match read_from {
            ReadFrom::Replica => up.or(replicas.first().copied()).cloned(),
            _ => Some(Arc::clone(up.unwrap_or(&shard.primary))),
        }
    }

    /// One look at the picture in force, for many questions. `body` must not turn to the network.
    pub(crate) fn look<T>(&self, body: impl FnOnce(&Map) -> T) -> T {
        body(&self.map.read())
    }

    pub(crate) fn is_primary(&self, node: &Arc<Node>) -> bool {
        self.map.read().shards.iter().any(|shard| Arc::ptr_eq(&shard.primary, node))
    }

    fn is_listed_as_replica(&self, node: &Arc<Node>) -> bool {
        let map = self.map.read();
        map.shards.iter().flat_map(|shard| &shard.replicas).any(|replica| Arc::ptr_eq(replica, node))
    }

    /// The connection to a server for a call.
    ///
    /// A primary that sentinels watch is connected to only when they have just named it: lost, it may be another by now.
    pub(crate) fn link(&self, node: &Arc<Node>, deadline: Instant) -> Result<Arc<Link>> {
        if self.is_watched() && !node.is_connected() && !self.is_listed_as_replica(node) {
            let text = format!("the connection to {} was lost; nothing was sent", node.address());
            return Err(Error::because(Status::Connect, Reason::ConnectionLost, text).on(node.name()));
        }
        node.link_now(deadline)
    }

    /// The same, with as many attempts as the options allow where there is no other server to turn to.
    pub(crate) fn link_patiently(&self, node: &Arc<Node>, deadline: Instant) -> Result<Arc<Link>> {
        match &self.only {
            Some(_) => node.link(self.config.reconnect.attempts, deadline),
            None => self.link(node, deadline),
        }
    }

    /// Every connection on which a call may be in flight.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.all().iter().flat_map(|node| node.links()).collect()
    }

    /// Whether there is a picture, and nothing that casts doubt on it.
    pub(crate) fn is_settled(&self) -> bool {
        self.generation() != 0 && !self.doubted.load(Ordering::Relaxed)
    }

    /// Whether sentinels say which server is the primary.
    pub(crate) fn is_watched(&self) -> bool {
        matches!(self.config.servers, Servers::Sentinel { .. })
    }

    /// Every primary.
    pub(crate) fn primaries(&self) -> Vec<Arc<Node>> {
        if let Some(only) = &self.only {
            return vec![Arc::clone(only)];
        }
        self.map.read().shards.iter().map(|shard| Arc::clone(&shard.primary)).collect()
    }

    /// The node at an address, connected or not.
    pub(crate) fn node(&self, address: &Address, purpose: Purpose) -> Arc<Node> {
        let wanted = self.generation();
        self.node_wanted(address, purpose, wanted)
    }

    fn node_wanted(&self, address: &Address, purpose: Purpose, wanted: u64) -> Arc<Node> {
        let mut nodes = self.nodes.lock();
        let is_closed = nodes.closed;
        let known = nodes.known.entry((address.clone(), purpose)).or_insert_with(|| {
            let node = self.make(Arc::clone(&self.config), address, purpose);
            if is_closed {
                node.close();
            }
            Known { node: Arc::new(node), wanted }
        });
        known.wanted = wanted;
        Arc::clone(&known.node)
    }

    /// A node to be asked something, and forgotten.
    fn passing(&self, config: Arc<Config>, address: &Address, purpose: Purpose) -> Arc<Node> {
        let node = Arc::new(self.make(config, address, purpose));
        let mut nodes = self.nodes.lock();
        if nodes.closed {
            node.close();
        }
        nodes.remember(&node);
        drop(nodes);
        node
    }

    fn make(&self, config: Arc<Config>, address: &Address, purpose: Purpose) -> Node {
        Node::new(config, address.clone(), purpose, Arc::clone(&self.compiled), Arc::clone(&self.pool))
    }

    /// Sends a slot's calls to another primary from now on; by a redirection, which may be the first sign of more.
    pub(crate) fn moved(&self, slot: u16, primary: &Arc<Node>) {
        self.map.write().give(slot, primary);
    }

    pub(crate) fn count_redirect(&self) {
        self.redirects.fetch_add(1, Ordering::Relaxed);
    }

    /// Sleeps for so long, unless the deadline or the end of the client comes first.
    pub(crate) fn pause(&self, pause: Duration, deadline: Instant) -> Result<()> {
        let until = deadline.min(Instant::now() + pause);
        let mut renewal = self.renewal.lock();
        while !self.nodes.lock().closed {
            if self.renewed.wait_until(&mut renewal, until).timed_out() {
                return Ok(());
            }
        }
        Err(Error::closed())
    }

    /// An empty payload for replies that are put together.
    pub(crate) fn payload(&self) -> Box<Payload> {
        self.pool.take()
    }

    /// What the client was opened on, for error texts.
    pub(crate) fn name(&self) -> String {
        match &self.config.servers {
            Servers::One(address) => format!("the server {address}"),
            Servers::Cluster(seeds) => format!("the cluster of {}", seeds[0]),
            Servers::Sentinel { service, .. } => format!("the service {service}"),
        }
    }

    /// Whether the picture is old enough that a sign of change is worth a new one.
    pub(crate) fn is_outdated(&self) -> bool {
        let renewal = self.renewal.lock();
        !renewal.running && renewal.last.is_none_or(|last| last.elapsed() > OUTDATED)
    }

    /// Has the next call make a new picture, and ask `suspect` last.
    pub(crate) fn doubt(&self, suspect: &Node) {
        self.renewal.lock().suspect = Some(suspect.address().clone());
        self.doubted.store(true, Ordering::Relaxed);
    }

    /// Makes a new picture where that is due before a call: none yet, one in doubt, or replicas that were found long ago. Gives its number.
    #[inline]
    pub(crate) fn prepare(&self, deadline: Instant) -> Result<u64> {
        let generation = self.generation();
        if generation == 0 {
            self.renew_patiently(0, deadline)?;
            return Ok(self.generation());
        }
        if self.doubted.load(Ordering::Relaxed) && self.doubted.swap(false, Ordering::Relaxed)
            || !self.is_cluster() && self.is_old()
        {
            // The old picture may do, and does for all other callers.
            let _ = self.renew(generation, deadline.min(Instant::now() + 2 * ASK_PATIENCE));
            return Ok(self.generation());
        }
        Ok(generation)
    }

    /// The same, for a call to every primary.
    pub(crate) fn prepare_primaries(&self, deadline: Instant) -> Result<()> {
        if self.only.is_some() { Ok(()) } else { self.prepare(deadline).map(drop) }
    }

    fn is_old(&self) -> bool {
        let renewal = self.renewal.lock();
        // Sentinels that are lost must not slow down a service that is well.
        let watched = self.is_watched() && renewal.error.is_none();
        let trust = if watched { SENTINEL_TRUST } else { REPLICAS_TRUST };
        !renewal.running && renewal.last.is_some_and(|last| last.elapsed() > trust)
    }

    /// The same as [`Topology::renew`], again and again as often as the options say.
    pub(crate) fn renew_patiently(&self, seen: u64, deadline: Instant) -> Result<()> {
        let attempts = self.config.reconnect.attempts;
        let mut failed = 0;
        loop {
            let error = match self.renew(seen, deadline) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // While there are sentinels to name another primary it is worth waiting for.
            let may_come = error.status() == Status::NotServed;
            failed += u32::from(!may_come);
            let may_change = may_come || error.status() == Status::Connect && failed != attempts;
            if !may_change || Instant::now() >= deadline {
                return Err(error);
            }
        }
    }

    /// Makes a new picture, unless there is a newer one than `seen` already. One caller does, the others wait for it.
    pub(crate) fn renew(&self, seen: u64, deadline: Instant) -> Result<()> {
        let mut renewal = self.renewal.lock();
        loop {
            if self.generation() != seen {
                return Ok(());
            }
            if self.nodes.lock().closed {
                return Err(Error::closed());
            }
            let now = Instant::now();
            let due = renewal.last.map_or(now, |last| last + PACE);
            if now >= deadline {
                return Err(renewal.error.clone().unwrap_or_else(|| no_picture(&self.config)));
            }
            if !renewal.running && due <= now {
                break;
            }
            let wake = if renewal.running { deadline } else { due.min(deadline) };
            self.renewed.wait_until(&mut renewal, wake);
        }
        renewal.running = true;
        let suspect = renewal.suspect.take();
        // The others would wait for ever for one that is lost.
        let result = MutexGuard::unlocked(&mut renewal, || {
            contain(|| self.find(suspect.as_ref(), deadline).map(|found| self.install(&found)))
        });
        let result = result.unwrap_or_else(|| Err(Error::defect().sent(false)));
        renewal.running = false;
        renewal.last = Some(Instant::now());
        renewal.error = result.as_ref().err().cloned();
        drop(renewal);
        self.renewed.notify_all();
        result
    }

    /// Asks until one server has said who is who.
    fn find(&self, suspect: Option<&Address>, deadline: Instant) -> Result<Found> {
        #[cfg(test)]
        crate::defect::provoked("find", &self.name());
        match &self.config.servers {
            Servers::One(address) => self.shard_of(address, deadline).map(|shard| vec![shard]),
            Servers::Cluster(seeds) => {
                self.first_to_say(&self.candidates(seeds, suspect), deadline, |address, until| {
                    ask::cluster_slots(&self.node(address, Purpose::Calls), &self.config, until)
                })
            }
            Servers::Sentinel { sentinels, service } => {
                let config = Arc::new(self.config.for_sentinels());
                let (before, from) = sentinels.split_at(self.informant.load(Ordering::Relaxed));
                self.first_to_say(&[from, before].concat(), deadline, |address, until| {
                    let sentinel = self.passing(Arc::clone(&config), address, Purpose::Bare);
                    let primary = ask::primary_of(&sentinel, service, &self.config, until)?;
                    let shard = self.shard_of(&primary, until).map_err(|error| absent(address, error))?;
                    let place = sentinels.iter().position(|other| other == address);
                    self.informant.store(place.unwrap_or_default(), Ordering::Relaxed);
                    Ok(vec![shard])
                })
            }
        }
    }

    /// The primary at an address, and its replicas.
    fn shard_of(&self, address: &Address, deadline: Instant) -> Result<FoundShard> {
        let node = self.node(address, Purpose::Calls);
        let replicas = match ask::role(&node, &self.config, deadline) {
            Ok(Role::Primary { replicas }) => replicas,
            // Named in the URL, it is what the user wants, with or without replicas that are known.
            Ok(Role::Replica) if self.only.is_some() => Vec::new(),
            Err(error) if self.only.is_some() && error.server_text().is_some() => Vec::new(),
            Err(error) => return Err(error),
            Ok(Role::Replica) => {
                let text = format!("{address} is a replica now, and there is no word of another primary yet");
                return Err(Error::new(Status::Connect, text));
            }
        };
        Ok(FoundShard { primary: address.clone(), replicas, ranges: Vec::new() })
    }

    /// Whom to ask about a cluster: the nodes that answer, then those that do not or are not connected, then those that the URL names. The
    /// suspect last.
    fn candidates(&self, seeds: &[Address], suspect: Option<&Address>) -> Vec<Address> {
        let mut nodes: Vec<Arc<Node>> = self.map.read().nodes().cloned().collect();
        fastrand::shuffle(&mut nodes);
        // Each asked once: what they say may change while they are sorted.
        nodes.sort_by_cached_key(|node| !node.answers());
        let mut candidates: Vec<Address> = Vec::new();
        for address in nodes.iter().map(|node| node.address()).chain(seeds) {
            if !candidates.contains(address) {
                candidates.push(address.clone());
            }
        }
        candidates.sort_by_key(|address| Some(address) == suspect);
        candidates
    }

    /// The first answer that one of them gives: asked in turn with little patience, then with all that there is.
    fn first_to_say(
        &self,
        candidates: &[Address],
        deadline: Instant,
        ask: impl Fn(&Address, Instant) -> Result<Found>,
    ) -> Result<Found> {
        let mut errors: Vec<Error> = Vec::new();
        for patience in [ASK_PATIENCE, self.config.connect_timeout] {
            let mut slow = false;
            errors.clear();
            for address in candidates {
                let start = Instant::now();
                let until = deadline.min(start + patience);
                match ask(address, until) {
                    Ok(found) => return Ok(found),
                    Err(error) if error.status() == Status::Closed => return Err(error),
                    Err(error) => errors.push(error),
                }
                slow |= start.elapsed() >= ASK_PATIENCE;
            }
            if !slow || Instant::now() >= deadline {
                break;
            }
        }
        Err(nobody_says(errors))
    }

    /// Puts a new picture in force, and lets go of the nodes that are not in it.
    fn install(&self, found: &Found) {
        let generation = self.generation() + 1;
        let replica = if self.is_cluster() { Purpose::Replica } else { Purpose::Calls };
        let map = Map::new(found, generation, |address, is_replica| {
            self.node_wanted(address, if is_replica { replica } else { Purpose::Calls }, generation)
        });
        let old: Vec<Address> = self.primaries().iter().map(|node| node.address().clone()).collect();
        if found.len() != old.len() || found.iter().any(|shard| !old.contains(&shard.primary)) {
            let primaries: Vec<String> = found.iter().map(|shard| shard.primary.to_string()).collect();
            self.config.log.event(LogLevel::Info, format_args!("the primaries are {}", primaries.join(", ")));
        }
        *self.map.write() = map;
        let mut nodes = self.nodes.lock();
        let Nodes { known, past, others, .. } = &mut *nodes;
        let only = self.only.as_ref();
        known.retain(|_, known| {
            let stays =
                known.wanted + 1 >= generation || only.is_some_and(|only| Arc::ptr_eq(only, &known.node));
            if !stays {
                past.merge(&known.node.stats());
                others.retain(|other| other.strong_count() > 0);
                others.push(Arc::downgrade(&known.node));
            }
            stays
        });
    }

    /// Whether a server stands by what it has said of a slot, asked in its own right; an answer that only a script made up it does not
    /// know of. `None`: it cannot be asked.
    pub(crate) fn stands_by(&self, node: &Node, slot: u16, claim: Claim, deadline: Instant) -> Option<bool> {
        Some(Picture::ask(node, deadline).ok()?.bears_out(slot, claim))
    }

    /// What is known of the server that another redirects a slot to. `may_be_forged`: a script may have made that up.
    pub(crate) fn redirected_to(
        &self,
        witness: &Witness<'_>,
        (slot, claim): (u16, Claim),
        to: &str,
        may_be_forged: bool,
    ) -> Redirection {
        let target = || {
            let (host, port) = to.rsplit_once(':')?;
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let address = ask::endpoint(host, port.parse().ok()?, witness.node.address())?;
            Some(self.config.reachable(address))
        };
        let Some(address) = target() else { return Redirection::Refused };
        let primary = self.primary_at(&address);
        if let Some(primary) = &primary
            && (!may_be_forged || primary.answers())
        {
            return Redirection::To { node: Arc::clone(primary), is_proved: !may_be_forged };
        }
        // It may not answer, or is no primary as far as is known: whether it is worth the way, the one who says so must know.
        if may_be_forged && !witness.stands_by(slot, claim) {
            return Redirection::Refused;
        }
        match primary {
            Some(node) => Redirection::To { node, is_proved: true },
            None if witness.names(slot, claim, &address) => {
                Redirection::To { node: self.node(&address, Purpose::Calls), is_proved: true }
            }
            None if claim == Claim::Moved => Redirection::Elsewhere,
            None => Redirection::Refused,
        }
    }

    fn primary_at(&self, address: &Address) -> Option<Arc<Node>> {
        let map = self.map.read();
        map.shards.iter().map(|shard| &shard.primary).find(|node| node.address() == address).cloned()
    }

    pub(crate) fn forget_scripts(&self) {
        for node in self.all() {
            node.forget_scripts();
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.nodes.lock().past;
        for node in self.all() {
            stats.merge(&node.stats());
        }
        stats.redirects = self.redirects.load(Ordering::Relaxed);
        stats
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.nodes.lock().closed
    }

    pub(crate) fn close(&self) {
        self.config.closing.set();
        let others: Vec<_> = {
            let mut nodes = self.nodes.lock();
            nodes.closed = true;
            nodes.others.iter().filter_map(Weak::upgrade).collect()
        };
        for node in self.all().iter().chain(&others) {
            node.close();
        }
        // With the lock: who has just found the client open would otherwise go to sleep after this.
        let _renewal = self.renewal.lock();
        self.renewed.notify_all();
    }

    fn all(&self) -> Vec<Arc<Node>> {
        self.nodes.lock().known.values().map(|known| Arc::clone(&known.node)).collect()
    }
}

/// Of several refusals: the one that no other attempt would change, or all of them.
fn nobody_says(mut errors: Vec<Error>) -> Error {
    if let Some(absent) = errors.iter().position(|error| error.status() == Status::NotServed) {
        return errors.swap_remove(absent);
    }
    let all_final =
        errors.iter().all(|error| error.status() != Status::Connect && error.status() != Status::Timeout);
    match errors.len() {
        1 => errors.remove(0),
        0 => Error::new(Status::Connect, "there is no server to ask"),
        _ if all_final => errors.remove(0),
        count => {
            let words: Vec<&str> = errors.iter().map(Error::message).collect();
            Error::new(
                Status::Connect,
                format!("none of {count} servers could be asked: {}", words.join("; ")),
            )
        }
    }
}

/// The primary that a sentinel names is none, or not there: another may take its place.
fn absent(sentinel: &Address, error: Error) -> Error {
    match error.status() {
        Status::Connect | Status::Timeout => {
            let text = format!("the sentinel at {sentinel} names no other primary yet: {error}");
            Error::new(Status::NotServed, text).sent(false)
        }
        _ => error,
    }
}

fn no_picture(config: &Config) -> Error {
    let named: Vec<String> = config.servers.addresses().iter().map(ToString::to_string).collect();
    let text = format!(
        "the deadline passed before it was known which servers there are, by {}; nothing was sent",
        named.join(", ")
    );
    Error::new(Status::Timeout, text)
}
