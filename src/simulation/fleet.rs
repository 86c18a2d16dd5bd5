//! A model of servers: one, a cluster with replicas, or a primary behind sentinels. They run scripts, lose them, hand slots over, fail over,
//! load, fall silent and die.

use std::collections::{HashMap, HashSet};

use fastrand::Rng;

use crate::net::address::Address;
use crate::script::Sha;
use crate::session::simulation::parse;
use crate::slots::{self, SLOTS};

/// Keys that calls use: few, so that they meet.
pub(super) const KEYS: [&str; 6] = ["a", "b", "c", "d", "{a}2", "{b}2"];

/// What a fleet is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    One,
    Cluster,
    Sentinel,
}

/// A server's process.
pub(super) struct Server {
    pub(super) address: Address,
    pub(super) is_up: bool,
    /// It takes bytes and answers nothing.
    pub(super) is_silent: bool,
    pub(super) is_loading: bool,
    /// The primary that it follows.
    pub(super) follows: Option<usize>,
    pub(super) is_sentinel: bool,
    /// The scripts that it has.
    scripts: HashSet<String>,
    /// The slots and their owners as it knows them.
    view: Vec<usize>,
    /// It was started so often: connections to what it was before are dead.
    pub(super) life: u32,
}

/// What a server knows of one connection to it.
#[derive(Default)]
pub(super) struct Peer {
    received: Vec<u8>,
    multi: Option<Vec<Vec<Vec<u8>>>>,
    is_aborted: bool,
    is_asking: bool,
    reads: bool,
    resp3: bool,
    /// It has carried a call, or one that waits on the server.
    has_carried: Option<Call>,
}

/// A command that clients do not send on their own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Waits,
    Other,
}

impl Call {
    /// `None`: the client's own.
    fn of(command: &[Vec<u8>]) -> Option<Call> {
        let name = command[0].to_ascii_uppercase();
        match name.as_slice() {
            b"BLPOP" => Some(Call::Waits),
            b"APPEND" => Some(Call::Other),
            _ => name.starts_with(b"EVAL").then_some(Call::Other),
        }
    }
}

pub(super) struct Fleet {
    pub(super) kind: Kind,
    pub(super) servers: Vec<Server>,
    pub(super) rng: Rng,
    owner: Vec<usize>,
    /// Slots on their way, with the keys that are there already.
    moving: HashMap<u16, (usize, usize, HashSet<Vec<u8>>)>,
    /// How often each item was executed, and when the last time was.
    pub(super) executed: HashMap<u64, u32>,
    pub(super) order: HashMap<u64, usize>,
    executions: usize,
    /// Items that were sent on by ASK, and where to.
    asked: HashSet<(u64, usize)>,
    /// Items that came there without ASKING.
    pub(super) unasked: Vec<u64>,
    /// Items whose connection is that of a command that waits, or that wait on one that others use.
    pub(super) held_up: Vec<u64>,
    /// Items whose script makes an error up after it has run.
    pub(super) forges: bool,
    /// Scripts are lost between any two commands, so often in 256.
    pub(super) flushes: u8,
}

const NOSCRIPT: &str = "-NOSCRIPT No matching script. Please use EVAL.\r\n";
const READONLY: &str = "-READONLY You can't write against a read only replica.\r\n";

fn tcp(host: String, port: u16) -> Address {
    Address::Tcp { host, port }
}

/// What a script makes up that runs with this number, if it does. Its slot and the fleet decide the words.
pub(super) fn forges(id: u64) -> bool {
    id % 8 == 3
}

impl Fleet {
    pub(super) fn new(kind: Kind, mut rng: Rng) -> Self {
        let primaries = if kind == Kind::Cluster { rng.usize(1..4) } else { 1 };
        let replicas = if kind == Kind::Sentinel { 2 } else { rng.usize(0..3) };
        let mut servers = Vec::new();
        let mut add = |host: String, port: u16, follows: Option<usize>, is_sentinel: bool| {
            servers.push(Server {
                address: tcp(host, port),
                is_up: true,
                is_silent: false,
                is_loading: false,
                follows,
                is_sentinel,
                scripts: HashSet::new(),
                view: Vec::new(),
                life: 0,
            });
        };
        for place in 0..primaries {
            add(format!("10.0.0.{}", place + 1), 6379, None, false);
        }
        for place in 0..primaries * replicas {
            add(format!("10.0.1.{}", place + 1), 6379, Some(place % primaries), false);
        }
        if kind == Kind::Sentinel {
            for place in 0..2 {
                add(format!("10.0.2.{}", place + 1), 26379, None, true);
            }
        }
        let owner: Vec<usize> =
            (0..usize::from(SLOTS)).map(|slot| slot * primaries / usize::from(SLOTS)).collect();
        for server in &mut servers {
            server.view.clone_from(&owner);
        }
        let forges = rng.bool();
        let flushes = if rng.bool() { 0 } else { rng.u8(..60) };
        Fleet {
            kind,
            servers,
            rng,
            owner,
            moving: HashMap::new(),
            executed: HashMap::new(),
            order: HashMap::new(),
            executions: 0,
            asked: HashSet::new(),
            unasked: Vec::new(),
            held_up: Vec::new(),
            forges,
            flushes,
        }
    }

    /// What a client is opened with.
    pub(super) fn url(&self) -> String {
        match self.kind {
            Kind::One => "redis://10.0.0.1:6379?protocol=2".into(),
            Kind::Cluster => {
                let named: Vec<String> =
                    self.servers.iter().take(2).map(|server| server.address.to_string()).collect();
                format!("redis+cluster://{}?protocol=2", named.join(","))
            }
            Kind::Sentinel => "redis+sentinel://10.0.2.1:26379,10.0.2.2:26379/main?protocol=2".into(),
        }
    }

    fn primary(&self) -> usize {
        let is_primary = |server: &Server| server.follows.is_none() && !server.is_sentinel;
        self.servers.iter().position(is_primary).unwrap_or(0)
    }

    pub(super) fn primaries(&self) -> Vec<usize> {
        let is_primary =
            |place: &usize| self.servers[*place].follows.is_none() && !self.servers[*place].is_sentinel;
        (0..self.servers.len()).filter(is_primary).collect()
    }

    pub(super) fn flush(&mut self, place: usize) {
        self.servers[place].scripts.clear();
    }

    /// It loses what is not on disk, and all connections.
    pub(super) fn kill(&mut self, place: usize) {
        let server = &mut self.servers[place];
        server.is_up = false;
        server.life += 1;
        server.scripts.clear();
    }

    pub(super) fn restart(&mut self, place: usize) {
        self.servers[place].is_up = true;
        self.servers[place].is_loading = self.rng.bool();
    }

    /// A replica takes its primary's place.
    pub(super) fn fail_over(&mut self) {
        let replicas: Vec<usize> = (0..self.servers.len())
            .filter(|place| self.servers[*place].follows.is_some() && self.servers[*place].is_up)
            .collect();
        if replicas.is_empty() {
            return;
        }
        let new = replicas[self.rng.usize(..replicas.len())];
        let Some(old) = self.servers[new].follows.take() else { return };
        for server in &mut self.servers {
            if server.follows == Some(old) {
                server.follows = Some(new);
            }
        }
        self.servers[old].follows = Some(new);
        for owner in &mut self.owner {
            if *owner == old {
                *owner = new;
            }
        }
        self.moving.retain(|_, (from, to, _)| *from != old && *to != old);
        self.servers[new].view.clone_from(&self.owner);
        self.servers[old].view.clone_from(&self.owner);
    }

    /// A slot begins to move, moves on, or has moved.
    pub(super) fn move_slot(&mut self) {
        let primaries = self.primaries();
        if self.kind != Kind::Cluster || primaries.len() < 2 {
            return;
        }
        let key = KEYS[self.rng.usize(..KEYS.len())];
        let slot = slots::slot_of(key.as_bytes());
        match self.moving.get_mut(&slot) {
            None => {
                let from = self.owner[usize::from(slot)];
                let to = primaries[self.rng.usize(..primaries.len())];
                if from != to && primaries.contains(&from) {
                    self.moving.insert(slot, (from, to, HashSet::new()));
                }
            }
            Some((_, _, keys)) if self.rng.bool() => {
                keys.insert(key.as_bytes().to_vec());
            }
            Some(_) => {
                if let Some((from, to, _)) = self.moving.remove(&slot) {
                    self.owner[usize::from(slot)] = to;
                    for place in [from, to] {
                        self.servers[place].view[usize::from(slot)] = to;
                    }
                }
            }
        }
    }

    /// A server hears who has what.
    pub(super) fn gossip(&mut self, place: usize) {
        self.servers[place].view.clone_from(&self.owner);
    }

    /// All is well again.
    pub(super) fn heal(&mut self) {
        for slot in self.moving.keys().copied().collect::<Vec<_>>() {
            if let Some((from, to, _)) = self.moving.remove(&slot) {
                self.owner[usize::from(slot)] = to;
                self.servers[from].view[usize::from(slot)] = to;
            }
        }
        self.flushes = 0;
        for place in 0..self.servers.len() {
            self.servers[place].is_up = true;
            self.servers[place].is_silent = false;
            self.servers[place].is_loading = false;
            self.gossip(place);
        }
    }

    /// Takes bytes from a connection, and gives the answers.
    pub(super) fn receive(&mut self, place: usize, peer: &mut Peer, bytes: &[u8]) -> Vec<u8> {
        peer.received.extend_from_slice(bytes);
        let mut replies = Vec::new();
        while let Some((command, length)) = parse(&peer.received) {
            peer.received.drain(..length);
            if self.rng.u8(..) < self.flushes {
                self.flush(place);
            }
            replies.extend_from_slice(self.answer(place, peer, command).as_bytes());
        }
        replies
    }

    fn answer(&mut self, place: usize, peer: &mut Peer, command: Vec<Vec<u8>>) -> String {
        if let Some(call) = Call::of(&command) {
            let before = peer.has_carried.replace(call);
            if before.is_some_and(|before| before == Call::Waits || call == Call::Waits) {
                self.held_up.push(number(&command));
            }
        }
        let name = command[0].to_ascii_uppercase();
        if name == b"ASKING" {
            peer.is_asking = true;
            return "+OK\r\n".into();
        }
        let reply = match (&mut peer.multi, name.as_slice()) {
            (None, b"MULTI") => {
                peer.multi = Some(Vec::new());
                "+OK\r\n".into()
            }
            (Some(_), b"EXEC") => {
                let queued = peer.multi.take().unwrap_or_default();
                if std::mem::take(&mut peer.is_aborted) {
                    "-EXECABORT Transaction discarded because of previous errors.\r\n".into()
                } else {
                    let replies: Vec<String> =
                        queued.into_iter().map(|command| self.run(place, peer, &command)).collect();
                    format!("*{}\r\n{}", replies.len(), replies.concat())
                }
            }
            (Some(_), _) => match self.refusal(place, peer, &command) {
                Some(refusal) => {
                    peer.is_aborted = true;
                    refusal
                }
                None => {
                    peer.multi.get_or_insert_default().push(command);
                    "+QUEUED\r\n".into()
                }
            },
            (None, _) => match self.refusal(place, peer, &command) {
                Some(refusal) => refusal,
                None => self.run(place, peer, &command),
            },
        };
        peer.is_asking &= peer.multi.is_some();
        reply
    }

    /// Why a server does not even begin with a command.
    fn refusal(&mut self, place: usize, peer: &Peer, command: &[Vec<u8>]) -> Option<String> {
        let name = String::from_utf8_lossy(&command[0]).to_ascii_uppercase();
        let server = &self.servers[place];
        let is_call = Call::of(command).is_some();
        let is_script = name.starts_with("EVAL");
        if server.is_loading && (is_call || name == "SCRIPT") {
            return Some("-LOADING Redis is loading the dataset in memory\r\n".into());
        }
        let key = if is_script { command.get(3) } else { command.get(1) };
        if !is_call {
            return None;
        }
        let writes = !name.ends_with("_RO");
        let follows = server.follows;
        if self.kind != Kind::Cluster {
            return (follows.is_some() && writes && !is_script).then(|| READONLY.into());
        }
        let key = key.filter(|_| command.get(2).is_none_or(|count| !is_script || count != b"0"))?;
        let slot = slots::slot_of(key);
        let knows = self.servers[place].view[usize::from(slot)];
        let moved = |fleet: &Fleet, to: usize| format!("-MOVED {slot} {}\r\n", fleet.servers[to].address);
        if let Some(primary) = follows {
            let serves = peer.reads && !writes && knows == primary;
            return (!serves).then(|| moved(self, knows));
        }
        let id = number(command);
        match self.moving.get(&slot) {
            Some((from, to, keys)) if *from == place => {
                let is_there = keys.contains(key);
                if is_there {
                    self.asked.insert((id, *to));
                }
                is_there.then(|| format!("-ASK {slot} {}\r\n", self.servers[*to].address))
            }
            Some((_, to, keys)) if *to == place && peer.is_asking => (!keys.contains(key) && self.rng.bool())
                .then(|| "-TRYAGAIN Multiple keys request during rehashing of slot\r\n".into()),
            _ if knows == place => None,
            _ => {
                if self.asked.remove(&(id, place)) && !peer.is_asking {
                    self.unasked.push(id);
                }
                self.asked.retain(|(other, to)| *other != id || *to != knows);
                Some(moved(self, knows))
            }
        }
    }

    fn run(&mut self, place: usize, peer: &mut Peer, command: &[Vec<u8>]) -> String {
        let word = |at: usize| {
            String::from_utf8_lossy(command.get(at).map(Vec::as_slice).unwrap_or_default()).into_owned()
        };
        match (word(0).to_ascii_uppercase().as_str(), word(1).to_ascii_uppercase().as_str()) {
            ("HELLO", _) => {
                peer.resp3 = true;
                "%2\r\n+version\r\n+7.4.0\r\n+role\r\n+master\r\n".into()
            }
            ("SCRIPT", "LOAD") => {
                let sha = Sha::of(&command[2]).to_string();
                self.servers[place].scripts.insert(sha.clone());
                format!("$40\r\n{sha}\r\n")
            }
            ("SCRIPT", "FLUSH") => {
                self.flush(place);
                "+OK\r\n".into()
            }
            ("SCRIPT", "EXISTS") => {
                let has = |sha: &Vec<u8>| {
                    u8::from(self.servers[place].scripts.contains(&*String::from_utf8_lossy(sha)))
                };
                let found: Vec<String> =
                    command[2..].iter().map(|sha| format!(":{}\r\n", has(sha))).collect();
                format!("*{}\r\n{}", found.len(), found.concat())
            }
            ("CLUSTER", "SLOTS") => self.cluster_slots(place),
            ("CLUSTER", "NODES") => bulk(&self.cluster_nodes(place)),
            ("CLUSTER", "INFO") => bulk("cluster_state:ok\r\n"),
            ("ROLE", _) => self.role(place),
            ("SENTINEL", _) => {
                let Address::Tcp { host, port } = &self.servers[self.primary()].address else {
                    return "*-1\r\n".into();
                };
                format!("*2\r\n{}{}", bulk(host), bulk(&port.to_string()))
            }
            ("READONLY", _) => {
                peer.reads = true;
                "+OK\r\n".into()
            }
            ("EVALSHA" | "EVALSHA_RO", _) if !self.servers[place].scripts.contains(&word(1)) => {
                NOSCRIPT.into()
            }
            ("EVAL" | "EVAL_RO" | "EVALSHA" | "EVALSHA_RO", _) => self.execute(place, command),
            ("APPEND" | "BLPOP", _) => self.execute(place, command),
            _ => "+OK\r\n".into(),
        }
    }

    /// Runs a script whose argument is its number, which is what it answers, unless it makes an error up.
    fn execute(&mut self, place: usize, command: &[Vec<u8>]) -> String {
        let is_script = command[0].starts_with(b"EVAL");
        let reads = command[0].ends_with(b"_RO");
        // A script's first write is what a replica stops.
        if self.servers[place].follows.is_some() && !reads {
            return READONLY.into();
        }
        let id = number(command);
        *self.executed.entry(id).or_default() += 1;
        self.executions += 1;
        self.order.insert(id, self.executions);
        if !(is_script && self.forges && forges(id)) {
            return format!(":{id}\r\n");
        }
        let slot = command.get(3).map_or(0, |key| slots::slot_of(key));
        let other = self.servers[self.rng.usize(..self.servers.len())].address.clone();
        match id / 8 % 8 {
            0 => format!("-MOVED {slot} {other}\r\n"),
            1 => format!("-ASK {slot} {other}\r\n"),
            2 => "-TRYAGAIN Multiple keys request during rehashing of slot\r\n".into(),
            3 => "-CLUSTERDOWN The cluster is down\r\n".into(),
            4 => READONLY.into(),
            5 => format!("-MOVED {slot} 10.9.9.9:6379\r\n"),
            6 => "-NOPERM User u has no permissions to run the 'evalsha' command\r\n".into(),
            _ => "-NOSCRIPT of my own making\r\n".into(),
        }
    }

    fn cluster_slots(&self, place: usize) -> String {
        let view = &self.servers[place].view;
        let mut ranges = Vec::new();
        let mut first = 0;
        for slot in 1..=view.len() {
            if slot == view.len() || view[slot] != view[first] {
                let mut nodes = vec![view[first]];
                let follows = |other: &usize| self.servers[*other].follows == Some(view[first]);
                nodes.extend((0..self.servers.len()).filter(follows));
                let nodes: Vec<String> = nodes.iter().map(|node| self.endpoint(*node)).collect();
                ranges.push(format!(
                    "*{}\r\n:{first}\r\n:{}\r\n{}",
                    nodes.len() + 2,
                    slot - 1,
                    nodes.concat()
                ));
                first = slot;
            }
        }
        format!("*{}\r\n{}", ranges.len(), ranges.concat())
    }

    fn endpoint(&self, place: usize) -> String {
        match &self.servers[place].address {
            Address::Tcp { host, port } => format!("*2\r\n{}:{port}\r\n", bulk(host)),
            Address::Unix(_) => "*0\r\n".into(),
        }
    }

    fn cluster_nodes(&self, place: usize) -> String {
        let view = &self.servers[place].view;
        let line = |node: usize| {
            let server = &self.servers[node];
            let flags = match (node == place, server.follows.is_some()) {
                (true, false) => "myself,master",
                (true, true) => "myself,slave",
                (false, false) => "master",
                (false, true) => "slave",
            };
            let mut line = format!("id{node} {}@16379 {flags} - 0 0 1 connected", server.address);
            let mut first = None;
            for slot in 0..=view.len() {
                match (first, view.get(slot) == Some(&node)) {
                    (None, true) => first = Some(slot),
                    (Some(start), false) => {
                        line.push_str(&format!(" {start}-{}", slot - 1));
                        first = None;
                    }
                    _ => {}
                }
            }
            if node == place {
                for (slot, (from, to, _)) in &self.moving {
                    if *from == place {
                        line.push_str(&format!(" [{slot}->-id{to}]"));
                    } else if *to == place {
                        line.push_str(&format!(" [{slot}-<-id{from}]"));
                    }
                }
            }
            line + "\n"
        };
        (0..self.servers.len()).map(line).collect()
    }

    fn role(&self, place: usize) -> String {
        match self.servers[place].follows {
            Some(_) => "*5\r\n$5\r\nslave\r\n$1\r\nx\r\n:1\r\n$9\r\nconnected\r\n:0\r\n".into(),
            None => {
                let replicas: Vec<String> = self
                    .servers
                    .iter()
                    .filter(|server| server.follows == Some(place))
                    .map(|server| match &server.address {
                        Address::Tcp { host, port } => {
                            format!("*3\r\n{}{}$1\r\n0\r\n", bulk(host), bulk(&port.to_string()))
                        }
                        Address::Unix(_) => String::new(),
                    })
                    .collect();
                format!("*3\r\n$6\r\nmaster\r\n:0\r\n*{}\r\n{}", replicas.len(), replicas.concat())
            }
        }
    }
}

/// The number of an item, which is its command's last argument.
fn number(command: &[Vec<u8>]) -> u64 {
    String::from_utf8_lossy(&command[command.len() - 1]).parse().unwrap_or(0)
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}
