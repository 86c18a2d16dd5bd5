//! What servers have said of a call so far: where it goes next, and what each refusal proves.
//!
//! A call goes to another server only after one has proved that it did not run it. Proof is the server's own text,
//! for this call's slot. A script can make such a text up; so a redirection is followed only to servers that the
//! cluster knows, and a call returns to a server that sent it away only if that server, asked in its own right,
//! stands by it.

mod judgement;
mod last_error;

use std::time::Instant;

use smallvec::SmallVec;

use super::answers::Claim;
use super::evidence::{Evidence, Need};
use super::room::Room;
use super::servers::{Link, Place, Servers};
use crate::core::interface::{ConnId, NodeId};
use crate::error::{Error, Result, Status};
use crate::request::route::ReadFrom;
use crate::request::slots::NO_SLOT;
use crate::request::{Repeatable, Request};

use last_error::in_doubt;
pub(in crate::core) use last_error::{
    is_not_replicated_yet, is_settled_by_next, last_error, left_open, not_ready, was_let_go,
};

/// Times that a call which may run twice is sent again after the connection was lost.
pub(in crate::core) const REPEATS_MAX: u32 = 5;

/// What a judgement rests on.
pub(in crate::core) struct Context<'a> {
    pub(in crate::core) now: Instant,
    pub(in crate::core) deadline: Instant,
    pub(in crate::core) servers: &'a mut Servers,
    pub(in crate::core) evidence: &'a Evidence,
    /// Whether a deadline was missed on a connection and no byte came since.
    pub(in crate::core) is_suspect: &'a dyn Fn(ConnId) -> bool,
}

impl Context<'_> {
    /// Whether nothing speaks against a server: nobody waits on its connection in vain, or there was no attempt to
    /// connect yet that failed. Once there was time to ask whether a slot is on its way there, it may be on its way
    /// back.
    fn answers(&self, node: NodeId) -> bool {
        let node = self.servers.node(node);
        match node.link {
            Link::Up(conn) => !(self.is_suspect)(conn),
            Link::None | Link::Making(_) => node.failures == 0,
        }
    }
}

/// The server and the connection that a call was on.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) struct Whence {
    pub(in crate::core) node: NodeId,
    pub(in crate::core) conn: Option<ConnId>,
}

/// The history of one call, or of one item of a pipeline.
#[derive(Debug)]
pub(in crate::core) struct History {
    pub(in crate::core) place: Place,
    /// The caller has named that server.
    pub(in crate::core) is_named: bool,
    read_from: ReadFrom,
    /// It runs a script or a function.
    runs_code: bool,
    /// It finds out by itself that it was executed before.
    pub(in crate::core) is_once: bool,
    /// The server that it went to last did not own its slot yet.
    is_asking: bool,
    /// Where a server has sent it.
    redirected: Option<(NodeId, Claim)>,
    /// Whether what a server will not run is refused before it begins.
    is_checked_first: bool,
    /// It is a function's: a replica may lack its library, and sends one that may write away.
    pub(super) is_function: bool,
    /// The servers that sent it away.
    left: SmallVec<[Left; 1]>,
    /// A refusal that may be the call's own words, whose call goes on because it may run twice.
    doubtful: Option<Error>,
    /// Replicas that could not serve it.
    avoided: Vec<NodeId>,
    /// The last server lacked some of its keys, which are on their way to another.
    pub(in crate::core) waits_for_keys: bool,
    /// The last map had no server for it.
    missed: bool,
    redirects: u32,
    pub(in crate::core) attempts: u32,
    repeats: u32,
    /// How the last attempt ended whose outcome is not known: a call that may run twice goes on all the same.
    unknown: Option<Error>,
    /// The last refusal, in the words in which the caller would be told.
    refused: Option<Error>,
}

/// A server that sent the call away.
#[derive(Debug)]
struct Left {
    node: NodeId,
    claim: Claim,
    /// When it did.
    at: Instant,
    words: Error,
    /// It stands by that, or no script can have made it up.
    is_proved: bool,
}

impl Left {
    /// Whether the server stands by its words. `None`: nobody can tell.
    fn stands(&self, cx: &Context<'_>, slot: u16) -> std::result::Result<Option<bool>, Need> {
        if self.is_proved || cx.servers.was_sent_away(self.node, slot, self.claim, self.at) {
            return Ok(Some(true));
        }
        cx.evidence.stands_by(self.node, (slot, self.claim), cx.servers, cx.now)
    }
}

/// The server that is next, and whether it needs ASKING.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::core) struct Next {
    pub(in crate::core) node: NodeId,
    pub(in crate::core) asking: bool,
}

impl History {
    /// `runs_code`: it runs a script or a function. `is_checked_first`: see [`Request::is_checked_first`].
    pub(in crate::core) fn new(
        place: Place,
        read_from: ReadFrom,
        runs_code: bool,
        is_checked_first: bool,
    ) -> Self {
        History {
            is_named: matches!(place, Place::Node(_)),
            place,
            read_from,
            runs_code,
            is_once: false,
            is_asking: false,
            redirected: None,
            is_checked_first,
            is_function: false,
            left: SmallVec::new(),
            doubtful: None,
            avoided: Vec::new(),
            waits_for_keys: false,
            missed: false,
            redirects: 0,
            attempts: 0,
            repeats: 0,
            unknown: None,
            refused: None,
        }
    }

    /// Of an item of a pipeline. `otherwise`: where it goes without keys.
    pub(in crate::core) fn of_item(
        request: &Request,
        index: usize,
        otherwise: &Place,
        read_from: ReadFrom,
    ) -> Self {
        let item = &request.items[index];
        let place = if item.slot == NO_SLOT { otherwise.clone() } else { Place::Slot(item.slot) };
        let (runs_code, is_checked_first) = (request.runs_code(index), request.is_checked_first(index));
        let mut history = History::new(place, read_from, runs_code, is_checked_first);
        history.is_function = request.calls_function(index);
        history.is_once = request.is_once(index);
        history
    }

    /// The server to go to, by redirection or by the map in force; `None` if only a new map can have one. `harmless`:
    /// whether the call may run twice.
    pub(in crate::core) fn next(
        &mut self,
        cx: &mut Context<'_>,
        harmless: Repeatable,
    ) -> std::result::Result<Result<Option<Next>>, Need> {
        let (node, claim) = match self.redirected {
            Some(to) => to,
            None => match self.picked(cx) {
                Ok(Some(node)) => (node, Claim::Moved),
                Ok(None) => return Ok(Ok(None)),
                Err(error) => return Ok(Err(error)),
            },
        };
        // Kept, so that the same server is next when another has been asked about it.
        self.redirected = Some((node, claim));
        if let (Some(at), Place::Slot(slot)) =
            (self.left.iter().position(|left| left.node == node), &self.place)
        {
            let stands = self.left[at].stands(cx, *slot)?;
            let Left { words, .. } = self.left.remove(at);
            match stands {
                Some(true) => {}
                Some(false) if harmless < Repeatable::Yes => return Ok(Err(self.final_error(words))),
                None if harmless < Repeatable::Yes => {
                    return Ok(Err(self.final_error(in_doubt(&words, None))));
                }
                _ => drop(self.doubtful.get_or_insert(words)),
            }
        }
        self.redirected = None;
        self.is_asking = claim == Claim::Ask;
        Ok(Ok(Some(Next { node, asking: self.is_asking })))
    }

    fn picked(&mut self, cx: &mut Context<'_>) -> Result<Option<NodeId>> {
        while let Some(node) = cx.servers.pick(cx.now, &self.place, self.read_from, &self.avoided) {
            if self.turns_away_from(cx.servers, node) {
                continue;
            }
            self.missed = false;
            return Ok(Some(node));
        }
        let nobody = self.nobody(cx.servers);
        // A slot may be given to somebody yet, a replica may come back.
        let may_change = self.read_from != ReadFrom::Replica && matches!(self.place, Place::Slot(_));
        if !may_change && self.missed && self.avoided.is_empty() {
            return Err(self.final_error(nobody));
        }
        self.missed = self.avoided.is_empty();
        self.avoided.clear();
        self.refused = Some(nobody);
        Ok(None)
    }

    /// Why there is no server for the call.
    fn nobody(&self, servers: &Servers) -> Error {
        match (&self.place, self.read_from) {
            (Place::Node(address), _) => {
                let text =
                    format!("no server {address} is part of what {} is; nothing was sent", servers.name());
                Error::new(Status::NoRoute, text)
            }
            (Place::Slot(slot), ReadFrom::Primary | ReadFrom::PreferReplica) => {
                let text = format!("no server of the cluster has slot {slot}; nothing was sent");
                Error::new(Status::NotServed, text).sent(false)
            }
            _ => Error::new(Status::Connect, "no replica can be reached; nothing was sent"),
        }
    }

    /// The latest time for the next attempt: with no certainty to lose, up to the deadline, or as long as its token
    /// lives.
    pub(in crate::core) fn last_start(&self, room: &Room) -> Instant {
        if self.unknown.is_none() && self.in_doubt().is_none() {
            room.last_start()
        } else {
            room.last_repeat()
        }
    }

    fn can_avoid(&self, servers: &Servers, node: NodeId) -> bool {
        self.read_from != ReadFrom::Primary && !self.avoided.contains(&node) && !servers.map.is_primary(node)
    }

    /// Has a read-only call go to another server than this replica; `false` where that is no way out.
    fn avoid(&mut self, servers: &Servers, node: NodeId) -> bool {
        let can_avoid = self.can_avoid(servers, node);
        if can_avoid {
            self.avoided.push(node);
        }
        can_avoid
    }

    /// Whether this is a replica, and another server may serve the call as well.
    pub(in crate::core) fn may_turn_from(&self, servers: &Servers, node: NodeId) -> bool {
        self.read_from != ReadFrom::Primary && !servers.map.is_primary(node)
    }

    /// Whether an error reply may be a script's own, made up. What a call that happens once gives back in the server's
    /// words is marked.
    fn may_be_forged(&self) -> bool {
        self.runs_code && !self.is_once
    }

    /// Turns to the primary if this replica is too old to run a script read-only; known once there was a connection. A
    /// command that only reads it runs like any other.
    pub(in crate::core) fn turns_away_from(&mut self, servers: &Servers, node: NodeId) -> bool {
        let turns =
            self.runs_code && self.may_turn_from(servers, node) && !servers.node(node).enforces_read_only();
        if turns {
            self.turn();
        }
        turns
    }

    /// Turns to the primary: a connection has shown that the replica is too old.
    pub(in crate::core) fn turn(&mut self) {
        self.read_from = ReadFrom::Primary;
    }

    /// Comes back to a server later: others of the same slot go first.
    pub(in crate::core) fn hold(&mut self, next: Next) {
        self.redirected = Some((next.node, if next.asking { Claim::Ask } else { Claim::Moved }));
    }
}
