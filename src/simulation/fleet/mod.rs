//! A model of servers: one, a cluster with replicas, or a primary behind sentinels. They run scripts, lose them,
//! hand slots over, fail over, load, are busy, change a user's rights, fall silent and die.

mod functions;
mod peer;
mod replication;
mod scripts;
mod server;
mod tokens;
mod witness;
mod words;

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use fastrand::Rng;

use super::trace;
use super::traits::{Kind, Traits};
use crate::net::address::Address;
use crate::request::script::Script;
use crate::request::slots::{self, SLOTS};
use functions::functions;
pub(super) use functions::{NAMED, ORDINARY};
pub(super) use peer::{Peer, item_of};
use replication::Data;
pub(super) use replication::WaitedFor;
use scripts::{CODES, SCRIPTS, ScriptCache, scripts};
pub(super) use tokens::Kind as OnceKind;
use tokens::{Tokens, happening_once};
pub(super) use witness::Witness;

/// Keys that calls use: few, so that they meet.
pub(super) const KEYS: [&str; 6] = ["a", "b", "c", "d", "{a}2", "{b}2"];

/// So many replicas are waited for at most.
pub(super) const MOST_REPLICAS: u32 = 3;

/// What is called, made once for all schedules.
struct Code {
    scripts: Vec<Script>,
    functions: Vec<Script>,
    once: Vec<Vec<Script>>,
}

static CODE: LazyLock<Code> = LazyLock::new(|| Code {
    scripts: scripts(),
    functions: functions(),
    once: (0..=MOST_REPLICAS).map(happening_once).collect(),
});

/// A server's process.
pub(super) struct Server {
    pub(super) address: Address,
    pub(super) is_up: bool,
    /// It takes bytes and answers nothing.
    pub(super) is_silent: bool,
    pub(super) is_loading: bool,
    /// A script of somebody else runs.
    pub(super) is_busy: bool,
    /// A replica that has lost its primary and does not serve old data.
    pub(super) is_stale: bool,
    /// It sees no majority.
    pub(super) is_cut_off: bool,
    /// It has no memory for scripts.
    pub(super) is_full: bool,
    /// The primary that it follows.
    pub(super) follows: Option<usize>,
    pub(super) is_sentinel: bool,
    pub(super) scripts: ScriptCache,
    /// How often it was told to let go of them.
    pub(super) flushes: u32,
    /// The slots and their owners as it knows them.
    view: Owners,
    /// What it has of what was written.
    data: Data,
    /// It was started so often: connections to what it was before are dead.
    pub(super) life: u32,
}

/// Who has which slot: by parts of equal size, and slots that were moved one by one.
#[derive(Clone, Debug)]
struct Owners {
    parts: Vec<usize>,
    moved: Vec<(u16, usize)>,
}

impl Owners {
    fn of(&self, slot: u16) -> usize {
        let moved = self.moved.iter().find(|(other, _)| *other == slot);
        moved.map_or_else(|| self.parts[self.part_of(slot)], |(_, owner)| *owner)
    }

    fn part_of(&self, slot: u16) -> usize {
        usize::from(slot) * self.parts.len() / usize::from(SLOTS)
    }

    fn give(&mut self, slot: u16, to: usize) {
        self.moved.retain(|(other, _)| *other != slot);
        if self.parts[self.part_of(slot)] != to {
            self.moved.push((slot, to));
            self.moved.sort_unstable();
        }
    }

    fn replace(&mut self, old: usize, new: usize) {
        let all = self.parts.iter_mut().chain(self.moved.iter_mut().map(|(_, owner)| owner));
        all.filter(|owner| **owner == old).for_each(|owner| *owner = new);
    }

    /// The first and the last slot of each range, and whose it is.
    fn ranges(&self) -> Vec<(u16, u16, usize)> {
        let mut ranges: Vec<(u16, u16, usize)> = Vec::new();
        let mut add = |first: u16, last: u16, owner: usize| match ranges.last_mut() {
            Some((_, end, of)) if *of == owner => *end = last,
            _ => ranges.push((first, last, owner)),
        };
        let count = self.parts.len();
        for (part, owner) in self.parts.iter().enumerate() {
            let start = |part: usize| (part * usize::from(SLOTS)).div_ceil(count);
            let cut = |slot: usize| u16::try_from(slot).expect("a slot");
            let (mut first, last) = (cut(start(part)), cut(start(part + 1) - 1));
            for &(slot, to) in self.moved.iter().filter(|(slot, _)| self.part_of(*slot) == part) {
                if slot > first {
                    add(first, slot - 1, *owner);
                }
                add(slot, slot, to);
                first = slot + 1;
            }
            if first <= last {
                add(first, last, *owner);
            }
        }
        ranges
    }
}

/// A slot on its way.
struct Moving {
    slot: u16,
    from: usize,
    to: usize,
    /// The keys that are there already.
    keys: HashSet<Vec<u8>>,
}

/// What the clients' user may not do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rights {
    pub(super) no_load: bool,
    pub(super) no_multi: bool,
    pub(super) no_eval: bool,
    pub(super) no_evalsha: bool,
    pub(super) no_wait: bool,
    pub(super) no_role: bool,
}

pub(super) struct Fleet {
    pub(super) kind: Kind,
    pub(super) traits: Traits,
    pub(super) servers: Vec<Server>,
    pub(super) rng: Rng,
    pub(super) rights: Rights,
    /// Whether servers know HELLO.
    has_hello: bool,
    owner: Owners,
    moving: Vec<Moving>,
    /// The shards in which a replica has taken its primary's place, each time.
    pub(super) failovers: Vec<usize>,
    tokens: Tokens,
    /// How many replicas each primary has.
    pub(super) replicas: usize,
    /// The items that wait for replicas, and what tells one call's from another's.
    pub(super) waited_for: HashMap<u64, WaitedFor>,
    /// All is well again, so WAIT waits until it has what it wants.
    is_healed: bool,
    pub(super) witness: Witness,
    /// The scripts that there are, and their SHA1s.
    pub(super) scripts: &'static [Script],
    /// A function of each library.
    pub(super) functions: &'static [Script],
    /// What happens once per token, of each kind: without replicas that are waited for, and with so many.
    pub(super) once: &'static [Vec<Script>],
    /// Scripts are lost between any two commands, so often in 256.
    pub(super) flushes: u8,
    /// Whether commands that wait get what they wait for.
    pub(super) serves_waiting: bool,
    /// Items from this one on make no errors up.
    pub(super) forges_until: u64,
    /// SCRIPT LOAD may come from somebody who asks for it.
    pub(super) is_administered: bool,
}

impl Fleet {
    pub(super) fn new(traits: Traits, mut rng: Rng) -> Self {
        let Code { scripts, functions, once } = &*CODE;
        let kind = traits.kind;
        let primaries = if kind == Kind::Cluster { rng.usize(1..4) } else { 1 };
        let replicas = if kind == Kind::Sentinel { 2 } else { rng.usize(0..3) };
        let parts: Vec<usize> = (0..primaries).collect();
        let owner = Owners { parts, moved: Vec::new() };
        let mut servers = Vec::new();
        let mut add = |host: String, port: u16, follows: Option<usize>, is_sentinel: bool| {
            servers.push(Server {
                address: Address::Tcp { host, port },
                is_up: true,
                is_silent: false,
                is_loading: false,
                is_busy: false,
                is_stale: false,
                is_cut_off: false,
                is_full: false,
                follows,
                is_sentinel,
                scripts: ScriptCache::new(),
                flushes: 0,
                view: owner.clone(),
                data: Data::default(),
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
        let has_hello = !traits.old || rng.bool();
        let flushes = if traits.flushes && rng.bool() { rng.u8(..60) } else { 0 };
        let mut fleet = Fleet {
            kind,
            traits,
            servers,
            rng,
            rights: Rights::default(),
            has_hello,
            owner,
            moving: Vec::new(),
            failovers: Vec::new(),
            tokens: Tokens::default(),
            replicas,
            waited_for: HashMap::new(),
            is_healed: false,
            witness: Witness::default(),
            scripts,
            functions,
            once,
            flushes,
            serves_waiting: true,
            forges_until: u64::MAX,
            is_administered: false,
        };
        if traits.rights {
            fleet.change_rights();
        }
        fleet
    }

    /// What a client is opened with.
    pub(super) fn url(&self) -> String {
        match self.kind {
            Kind::One if self.traits.names => "redis://host.example:6379".into(),
            Kind::One => "redis://10.0.0.1:6379".into(),
            Kind::Cluster => {
                let named: Vec<String> =
                    self.servers.iter().take(2).map(|server| server.address.to_string()).collect();
                format!("redis+cluster://{}", named.join(","))
            }
            Kind::Sentinel => "redis+sentinel://10.0.2.1:26379,10.0.2.2:26379/main".into(),
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

    /// The servers that take each other's place.
    pub(super) fn shard_of(&self, place: usize) -> usize {
        place % self.owner.parts.len()
    }

    fn name(&self, place: usize) -> String {
        self.servers[place].address.to_string()
    }

    pub(super) fn change_rights(&mut self) {
        let rng = &mut self.rng;
        self.rights = Rights {
            no_load: rng.u8(..) < 90,
            no_multi: rng.u8(..) < 60,
            no_eval: rng.u8(..) < 60,
            no_evalsha: rng.u8(..) < 60,
            no_wait: self.traits.replicated && rng.u8(..) < 40,
            no_role: rng.u8(..) < 90,
        };
        let rights = self.rights;
        trace::note(|| format!("the user's rights: {rights:?}"));
    }

    pub(super) fn flush(&mut self, place: usize) {
        trace::note(|| format!("{} loses its scripts", self.name(place)));
        self.servers[place].scripts.flush();
    }

    /// It loses what is not on disk, and all connections.
    pub(super) fn kill(&mut self, place: usize) {
        trace::note(|| format!("{} dies", self.name(place)));
        let server = &mut self.servers[place];
        server.is_up = false;
        server.life += 1;
        server.is_busy = false;
        server.scripts.flush();
        server.scripts.flush_functions();
    }

    pub(super) fn restart(&mut self, place: usize) {
        self.servers[place].is_up = true;
        self.may_replicate(place);
        self.servers[place].is_loading = self.rng.bool();
        let is_loading = self.servers[place].is_loading;
        trace::note(|| format!("{} is back, loading: {is_loading}", self.name(place)));
    }

    /// A replica takes its primary's place.
    pub(super) fn fail_over(&mut self) {
        let replicas: Vec<usize> = (0..self.servers.len())
            .filter(|place| self.servers[*place].follows.is_some() && self.servers[*place].is_up)
            .collect();
        if !replicas.is_empty() {
            let new = replicas[self.rng.usize(..replicas.len())];
            self.promote(new);
        }
    }

    fn promote(&mut self, new: usize) {
        let Some(old) = self.servers[new].follows.take() else { return };
        trace::note(|| format!("{} takes the place of {}", self.name(new), self.name(old)));
        self.failovers.push(self.shard_of(new));
        self.lose_writes(old, new);
        for server in &mut self.servers {
            if server.follows == Some(old) {
                server.follows = Some(new);
            }
        }
        self.servers[old].follows = Some(new);
        self.owner.replace(old, new);
        self.moving.retain(|moving| moving.from != old && moving.to != old);
        self.gossip(new);
        self.gossip(old);
    }

    /// A slot begins to move, moves on, or has moved.
    pub(super) fn move_slot(&mut self) {
        let key = KEYS[self.rng.usize(..KEYS.len())];
        let slot = slots::slot_of(key.as_bytes());
        match self.moving.iter().position(|moving| moving.slot == slot) {
            None => {
                self.begin_to_move(slot);
            }
            Some(place) if self.rng.bool() => {
                trace::note(|| format!("the key {key} has moved"));
                self.moving[place].keys.insert(key.as_bytes().to_vec());
                self.take_along(self.moving[place].from, slot);
            }
            Some(place) => self.end_move(place),
        }
    }

    /// `None`: there is nowhere to go.
    fn begin_to_move(&mut self, slot: u16) -> Option<usize> {
        let primaries = self.primaries();
        let from = self.owner.of(slot);
        if self.kind != Kind::Cluster || primaries.len() < 2 || !primaries.contains(&from) {
            return None;
        }
        let to = primaries[self.rng.usize(..primaries.len())];
        if from == to {
            return None;
        }
        trace::note(|| format!("slot {slot} begins to move from {} to {}", self.name(from), self.name(to)));
        self.moving.push(Moving { slot, from, to, keys: HashSet::new() });
        Some(self.moving.len() - 1)
    }

    /// Slots begin to move whose keys are all there already, which hinders no call of one key.
    pub(super) fn begin_harmless_moves(&mut self) {
        for key in KEYS {
            let slot = slots::slot_of(key.as_bytes());
            let is_moving = self.moving.iter().any(|moving| moving.slot == slot);
            if self.rng.bool()
                && !is_moving
                && let Some(place) = self.begin_to_move(slot)
            {
                let of_slot = KEYS.iter().filter(|key| slots::slot_of(key.as_bytes()) == slot);
                self.moving[place].keys = of_slot.map(|key| key.as_bytes().to_vec()).collect();
            }
        }
    }

    /// A slot has moved, and nobody knows but the two.
    pub(super) fn end_move(&mut self, place: usize) {
        let Moving { slot, from, to, .. } = self.moving.swap_remove(place);
        trace::note(|| format!("slot {slot} has moved to {}", self.name(to)));
        self.owner.give(slot, to);
        self.take_along(from, slot);
        for place in [from, to] {
            self.servers[place].view.give(slot, to);
        }
    }

    pub(super) fn has_moves(&self) -> bool {
        !self.moving.is_empty()
    }

    pub(super) fn end_moves(&mut self) {
        while !self.moving.is_empty() {
            self.end_move(0);
        }
    }

    /// A server hears who has what.
    pub(super) fn gossip(&mut self, place: usize) {
        self.servers[place].view.clone_from(&self.owner);
    }

    /// All is well again.
    pub(super) fn heal(&mut self) {
        trace::note(|| "all is well from here on".into());
        self.end_moves();
        // Nothing is lost from here on.
        for place in 0..self.servers.len() {
            self.follow_up(place);
        }
        self.is_healed = true;
        if self.kind == Kind::One {
            // A single address stands for the primary again.
            self.promote(0);
        }
        self.flushes = 0;
        self.rights = Rights::default();
        self.serves_waiting = true;
        for place in 0..self.servers.len() {
            self.gossip(place);
            let server = &mut self.servers[place];
            server.is_up = true;
            (server.is_silent, server.is_loading, server.is_busy) = (false, false, false);
            (server.is_stale, server.is_cut_off, server.is_full) = (false, false, false);
            self.replicate(place);
        }
    }
}
