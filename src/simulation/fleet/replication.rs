//! What replicas have of their primary's writes, WAIT, and what a failover loses: all that the new primary had not got
//! yet, effects and tokens alike.

use std::collections::VecDeque;

use super::Fleet;
use super::peer::Peer;
use super::trace;
use crate::request::slots;

/// What a server has, as far as that may be lost.
#[derive(Debug, Default)]
pub(super) struct Data {
    /// How many of its shard's writes it has: those of its primary up to that one.
    offset: u64,
    /// Of a primary: what not all of its replicas have.
    writes: VecDeque<Write>,
    /// How often it was told to follow another: what connections have written before counts no more.
    pub(super) demotions: u32,
}

/// Of an item of a call that waits for replicas.
#[derive(Clone, Copy, Debug)]
pub(in crate::simulation) struct WaitedFor {
    /// What tells one call from another. Calls with the same tokens are one.
    pub(in crate::simulation) group: u64,
    /// It is on a connection of its own for certain.
    pub(in crate::simulation) is_reserved: bool,
}

/// What an execution was of.
pub(super) struct Ran<'a> {
    pub(super) item: u64,
    pub(super) key: &'a [u8],
    pub(super) token: Option<&'a [u8]>,
}

/// One execution that wrote something.
#[derive(Debug)]
struct Write {
    offset: u64,
    item: u64,
    token: Option<Vec<u8>>,
    slot: u16,
}

pub(super) const UNBLOCKED: &str =
    "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n";
const ON_REPLICA: &str = "-ERR WAIT cannot be used with replica instances.\r\n";

impl Fleet {
    /// A connection's command has written something: an item's effects, or that its token was asked for again.
    pub(super) fn write(&mut self, place: usize, peer: &mut Peer, ran: Option<Ran<'_>>) {
        let lags = self.traits.replicated && self.replicas > 0;
        let data = &mut self.servers[place].data;
        data.offset += 1;
        peer.wrote = Some((data.offset, data.demotions));
        if let Some(Ran { item, key, token }) = ran.filter(|_| lags) {
            let token = token.map(<[u8]>::to_vec);
            data.writes.push_back(Write { offset: data.offset, item, token, slot: slots::slot_of(key) });
        }
    }

    fn replicas_of(&self, primary: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.servers.len()).filter(move |place| self.servers[*place].follows == Some(primary))
    }

    /// A replica gets some more of what its primary has written, or all.
    fn catch_up(&mut self, replica: usize, is_all: bool) {
        let Some(primary) = self.servers[replica].follows else { return };
        let all = self.servers[primary].data.offset;
        let has = self.servers[replica].data.offset;
        let more = if is_all { all } else { self.rng.u64(has..=all) };
        self.servers[replica].data.offset = more;
        let least = self.replicas_of(primary).map(|place| self.servers[place].data.offset).min();
        let writes = &mut self.servers[primary].data.writes;
        while writes.front().is_some_and(|write| Some(write.offset) <= least) {
            writes.pop_front();
        }
    }

    /// Now and then one of a primary's replicas that is there gets more.
    pub(super) fn may_catch_up(&mut self, primary: usize) {
        if !self.traits.replicated || self.replicas == 0 || self.rng.u8(..) >= 90 {
            return;
        }
        let place = self.rng.usize(..self.servers.len());
        let replica = &self.servers[place];
        if replica.follows == Some(primary) && self.servers[primary].is_up && self.hears(place) {
            let is_all = self.rng.bool();
            self.catch_up(place, is_all);
        }
    }

    /// Whether a replica takes what its primary sends.
    fn hears(&self, replica: usize) -> bool {
        let replica = &self.servers[replica];
        replica.is_up && !replica.is_silent && !replica.is_loading && !replica.is_stale
    }

    /// A server has all that its primary has.
    pub(super) fn follow_up(&mut self, place: usize) {
        self.catch_up(place, true);
    }

    /// How many replicas have what a connection has written. `None`: what the server has counted since is not what
    /// this connection has written to.
    fn replicated(&self, place: usize, peer: &Peer) -> Option<usize> {
        let (wrote, demotions) = peer.wrote.unwrap_or((0, self.servers[place].data.demotions));
        if demotions != self.servers[place].data.demotions {
            // A real server would count on, and nobody could know better: it is not a primary again so soon.
            return None;
        }
        let lags = self.traits.replicated;
        let has =
            |replica: &usize| self.hears(*replica) && (!lags || self.servers[*replica].data.offset >= wrote);
        Some(self.replicas_of(place).filter(has).count())
    }

    /// WAIT, while it has no answer. `None`: it goes on waiting.
    pub(super) fn answer_wait(&mut self, place: usize, peer: &Peer, command: &[Vec<u8>]) -> Option<String> {
        let wanted = number(&command[1]);
        self.may_catch_up(place);
        let replicated = self.replicated(place, peer);
        let has = replicated.unwrap_or(0);
        // Its time is over whenever that is, and never when all is well and it will get what it wants.
        let will_get_it = self.is_healed && replicated.is_some() && wanted <= self.replicas;
        let is_over = !will_get_it && self.rng.u8(..) < 60;
        (has >= wanted || is_over).then(|| format!(":{has}\r\n"))
    }

    /// WAIT begins to wait, or has its answer at once.
    pub(super) fn wait(&mut self, place: usize, peer: &mut Peer, command: &[Vec<u8>]) -> String {
        if self.servers[place].follows.is_some() {
            return ON_REPLICA.into();
        }
        match self.replicated(place, peer).filter(|has| *has >= number(&command[1])) {
            Some(has) => format!(":{has}\r\n"),
            None => self.begin_to_wait(place, peer, command),
        }
    }

    /// A command waits, and has no answer yet.
    pub(super) fn begin_to_wait(&self, place: usize, peer: &mut Peer, command: &[Vec<u8>]) -> String {
        peer.waiting = Some(command.to_vec());
        peer.waits_since = self.servers[place].data.demotions;
        String::new()
    }

    pub(super) fn was_demoted_since(&self, place: usize, peer: &Peer) -> bool {
        self.servers[place].data.demotions != peer.waits_since
    }

    /// A connection carries one call at a time that waits for replicas, or none ever; and WAIT comes behind such a
    /// call alone, where it waits.
    pub(super) fn reserve(&mut self, peer: &mut Peer, command: &[Vec<u8>], item: Option<u64>) {
        if command[0] == b"WAIT" {
            if peer.is_in_multi() {
                self.witness.fault("WAIT came inside MULTI, where it does not wait".into());
            }
            if peer.is_reserved != Some(true) {
                self.witness.fault("WAIT came on a connection that others write to".into());
            }
            peer.group = None;
            return;
        }
        let Some(item) = item else { return };
        let waited_for = self.waited_for.get(&item);
        let is_reserved = waited_for.is_some_and(|waited_for| waited_for.is_reserved);
        if waited_for.is_some() == is_reserved && *peer.is_reserved.get_or_insert(is_reserved) != is_reserved
        {
            self.witness.fault(format!("item {item} shares a connection with one that waits for replicas"));
        }
        if let Some(&WaitedFor { group, .. }) = waited_for.filter(|_| peer.is_reserved == Some(true))
            && peer.group.replace(group).is_some_and(|before| before != group)
        {
            self.witness.fault(format!("item {item} came in front of the WAIT of another call"));
        }
    }

    /// The new primary lacks what had not come to it: that is lost.
    pub(super) fn lose_writes(&mut self, old: usize, new: usize) {
        let has = self.servers[new].data.offset;
        let writes = std::mem::take(&mut self.servers[old].data.writes);
        let (kept, lost): (VecDeque<Write>, VecDeque<Write>) =
            writes.into_iter().partition(|write| write.offset <= has);
        for Write { item, token, .. } in lost {
            trace::note(|| format!("what item {item} has done is lost"));
            self.witness.note(item).lost += 1;
            if let Some(token) = token {
                self.tokens.remove(&token);
            }
        }
        self.servers[new].data.writes = kept;
        self.servers[old].data.demotions += 1;
        for server in self.servers.iter_mut().filter(|server| server.follows == Some(old)) {
            server.data.offset = server.data.offset.min(has);
        }
        let data = &mut self.servers[old].data;
        data.offset = data.offset.min(has);
    }

    /// What has gone to another server with its slot is not lost with the first. It arrives there with its replicas.
    pub(super) fn take_along(&mut self, from: usize, slot: u16) {
        self.servers[from].data.writes.retain(|write| write.slot != slot);
    }
}

fn number(word: &[u8]) -> usize {
    std::str::from_utf8(word).ok().and_then(|word| word.parse().ok()).expect("a number")
}
