//! A call's way from server to server: where it goes next, and what each refusal proves.
//!
//! A call goes to another server only after one has proved that it did not run it. Proof is the server's own text, for this
//! call's slot. A script can make such a text up; so a redirection is followed only to servers that the cluster knows, and a call returns
//! to a server that sent it away only if that server, asked in its own right, stands by it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::error::{Error, Result, Status};
use crate::node::Node;
use crate::request::{Item, Repeatable};
use crate::route::ReadFrom;
use crate::session::verdict::{self, NotServed};
use crate::slots::NO_SLOT;
use crate::topology::{Claim, Place, Topology, Witness};

/// A call is redirected so often and no oftener.
const REDIRECTS_MAX: u32 = 16;

/// Redirections followed at once; from then on there is a pause before each, for the servers to agree.
const REDIRECTS_AT_ONCE: u32 = 4;

/// Times that a call which may run twice is sent again after the connection was lost.
pub(crate) const REPEATS_MAX: u32 = 5;

/// The longest pause before the next try.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// When the next try may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Again {
    Now,
    AfterPause,
    /// With a new picture of the servers.
    AfterRenewal,
}

/// One call, or one item of a pipeline, on its way.
pub(crate) struct Journey {
    pub(crate) place: Place,
    read_from: ReadFrom,
    /// Whether an error reply may be a script's own, made up.
    may_be_forged: bool,
    /// The server that it went to last did not own its slot yet.
    is_asking: bool,
    /// Where a server has sent it.
    redirected: Option<(Arc<Node>, Claim)>,
    /// The servers that sent it away, and their words.
    left: SmallVec<[(Arc<Node>, Claim, Error); 1]>,
    /// Replicas that could not serve it.
    avoided: Vec<Arc<Node>>,
    /// The last picture had no server for it.
    missed: bool,
    redirects: u32,
    tries: u32,
    repeats: u32,
    /// How the last try ended whose outcome is not known: a call that may run twice goes on all the same.
    unknown: Option<Error>,
    /// The last refusal, in the words in which the caller would be told.
    refused: Option<Error>,
}

/// The server that is next, and whether it needs ASKING.
pub(crate) struct Next {
    pub(crate) node: Arc<Node>,
    pub(crate) asking: bool,
}

impl Journey {
    /// `may_be_forged`: an error reply may be the words of a script.
    pub(crate) fn new(place: Place, read_from: ReadFrom, may_be_forged: bool) -> Self {
        Journey {
            place,
            read_from,
            may_be_forged,
            is_asking: false,
            redirected: None,
            left: SmallVec::new(),
            avoided: Vec::new(),
            missed: false,
            redirects: 0,
            tries: 0,
            repeats: 0,
            unknown: None,
            refused: None,
        }
    }

    /// Of an item of a pipeline. `otherwise`: where it goes without keys.
    pub(crate) fn of_item(item: &Item, otherwise: &Place, read_from: ReadFrom) -> Self {
        let place = if item.slot == NO_SLOT { otherwise.clone() } else { Place::Slot(item.slot) };
        Journey::new(place, read_from, item.script.is_some())
    }

    /// The number of the try that comes next, from 0.
    pub(crate) fn tries(&self) -> u32 {
        self.tries
    }

    /// The server to go to, by redirection or by the picture in force; waits for a picture that has one. `harmless`: the call may run twice.
    pub(crate) fn next(
        &mut self,
        topology: &Topology,
        harmless: Repeatable,
        deadline: Instant,
    ) -> Result<Next> {
        loop {
            let generation = topology.generation();
            if let Some(next) = self.next_now(topology, harmless, deadline)? {
                return Ok(next);
            }
            topology.renew_patiently(generation, deadline).map_err(|error| self.ended_by(error, deadline))?;
        }
    }

    /// The same without waiting: `None` if only a new picture can have a server for the call.
    pub(crate) fn next_now(
        &mut self,
        topology: &Topology,
        harmless: Repeatable,
        deadline: Instant,
    ) -> Result<Option<Next>> {
        let (node, asking) = match self.redirected.take() {
            Some((node, claim)) => (node, claim == Claim::Ask),
            None => match self.picked(topology)? {
                Some(node) => (node, false),
                None => return Ok(None),
            },
        };
        if let Some(at) = self.left.iter().position(|(left, ..)| Arc::ptr_eq(left, &node)) {
            let (_, claim, words) = self.left.remove(at);
            if let Place::Slot(slot) = self.place
                && harmless != Repeatable::Yes
                && !topology.stands_by(&node, slot, claim, deadline)
            {
                return Err(self.honest(words));
            }
        }
        self.is_asking = asking;
        Ok(Some(Next { node, asking }))
    }

    fn picked(&mut self, topology: &Topology) -> Result<Option<Arc<Node>>> {
        while let Some(node) = topology.pick(&self.place, self.read_from, &self.avoided) {
            if self.turns_away_from(topology, &node) {
                continue;
            }
            self.missed = false;
            return Ok(Some(node));
        }
        let nobody = self.nobody(topology);
        // A slot may be given to somebody yet, a replica may come back.
        let may_change = self.read_from != ReadFrom::Replica && matches!(self.place, Place::Slot(_));
        if !may_change && self.missed && self.avoided.is_empty() {
            return Err(self.honest(nobody));
        }
        self.missed = self.avoided.is_empty();
        self.avoided.clear();
        self.refused = Some(nobody);
        Ok(None)
    }

    /// Why there is no server for the call.
    fn nobody(&self, topology: &Topology) -> Error {
        match (&self.place, self.read_from) {
            (Place::Node(address), _) => {
                let text =
                    format!("no server {address} is part of what {} is; nothing was sent", topology.name());
                Error::new(Status::NoRoute, text)
            }
            (Place::Slot(slot), ReadFrom::Primary | ReadFrom::PreferReplica) => {
                let text = format!("no server of the cluster has slot {slot}; nothing was sent");
                Error::new(Status::NotServed, text).sent(false)
            }
            _ => Error::new(Status::Connect, "no replica can be reached; nothing was sent"),
        }
    }

    /// What follows from an error of the server that `witness` is: another try, or the error that the caller gets. `repeatable`: the call
    /// may run twice.
    pub(crate) fn failed(
        &mut self,
        topology: &Topology,
        witness: &Witness<'_>,
        error: Error,
        repeatable: bool,
    ) -> Result<Again> {
        let again = self.judge(topology, witness, &error, repeatable);
        self.tries += 1;
        match again {
            Some(again) => {
                if error.is_indeterminate() {
                    self.unknown = Some(error.clone());
                }
                self.refused = Some(given_up(error));
                Ok(again)
            }
            None => Err(self.honest(error)),
        }
    }

    /// The error that the caller gets.
    pub(crate) fn honest(&self, error: Error) -> Error {
        honest(error, self.unknown.clone())
    }

    /// The error of a call whose deadline passed on the way.
    pub(crate) fn out_of_time(&mut self) -> Error {
        let error = self.refused.take().unwrap_or_else(|| {
            Error::new(Status::Timeout, "the deadline passed before the call could be sent; nothing was sent")
        });
        self.honest(error)
    }

    /// The error of a call whose wait for the next try ended with `error`. If that is so only because the deadline passed, what
    /// refused the call says more.
    pub(crate) fn ended_by(&mut self, error: Error, deadline: Instant) -> Error {
        match error.status() {
            Status::Timeout => self.out_of_time(),
            Status::Connect if Instant::now() >= deadline => self.out_of_time(),
            _ => self.honest(error),
        }
    }

    fn judge(
        &mut self,
        topology: &Topology,
        witness: &Witness<'_>,
        error: &Error,
        repeatable: bool,
    ) -> Option<Again> {
        let node = witness.node;
        match error.status() {
            Status::Connect if self.avoid(topology, node) => {
                topology.doubt(node);
                Some(Again::Now)
            }
            // A connection that had ended in silence is simply made anew.
            Status::Connect if !node.is_down() && !topology.is_watched() => Some(Again::Now),
            Status::Connect => Some(Again::AfterRenewal),
            // Not all the time that there is was spent on connecting.
            Status::Timeout if Instant::now() < witness.deadline => Some(Again::AfterRenewal),
            Status::Indeterminate if repeatable && self.repeats < REPEATS_MAX => {
                self.repeats += 1;
                Some(if self.avoid(topology, node) { Again::Now } else { Again::AfterRenewal })
            }
            Status::Indeterminate => {
                node.rest();
                topology.doubt(node);
                None
            }
            Status::Loading => Some(if self.avoid(topology, node) { Again::Now } else { Again::AfterPause }),
            Status::Server | Status::TransactionAborted => {
                self.not_served(topology, witness, error, repeatable)
            }
            _ => None,
        }
    }

    fn not_served(
        &mut self,
        topology: &Topology,
        witness: &Witness<'_>,
        error: &Error,
        repeatable: bool,
    ) -> Option<Again> {
        let is_certain = !self.may_be_forged || repeatable;
        let refusal = verdict::not_served(error.server_text()?)?;
        if refusal == NotServed::ReadOnly {
            // A replica that the caller has named remains one.
            let may_change = !matches!(self.place, Place::Node(_)) || topology.is_primary(witness.node);
            return (may_change && witness.is_replica()).then_some(Again::AfterRenewal);
        }
        let Place::Slot(own) = self.place else { return None };
        match refusal {
            NotServed::Moved { slot, to } if slot == own => {
                self.redirect(topology, witness, to, Claim::Moved, error)
            }
            NotServed::Ask { slot, to } if slot == own => {
                self.redirect(topology, witness, to, Claim::Ask, error)
            }
            NotServed::TryAgain if is_certain || self.is_asking || witness.is_without(own) => {
                Some(Again::AfterPause)
            }
            NotServed::ClusterDown if is_certain || witness.is_unserved(own) => Some(Again::AfterRenewal),
            _ => None,
        }
    }

    fn redirect(
        &mut self,
        topology: &Topology,
        witness: &Witness<'_>,
        to: &str,
        claim: Claim,
        error: &Error,
    ) -> Option<Again> {
        let (node, deadline) = (witness.node, witness.deadline);
        let Place::Slot(slot) = self.place else { return None };
        let target = topology.redirected_to(to, node, deadline)?;
        self.redirects += 1;
        if self.redirects > REDIRECTS_MAX {
            return None;
        }
        topology.count_redirect();
        if self.avoid(topology, node) {
            // A replica that does not have the slot: the picture is out of date, and the primary is no replica.
            return Some(Again::AfterRenewal);
        }
        self.left.push((Arc::clone(node), claim, error.clone()));
        if claim == Claim::Moved {
            let outdated = topology.is_outdated();
            let generation = topology.generation();
            topology.moved(slot, &target);
            if outdated && topology.renew(generation, deadline).is_ok() {
                topology.moved(slot, &target);
            }
        }
        self.redirected = Some((target, claim));
        Some(if self.redirects > REDIRECTS_AT_ONCE { Again::AfterPause } else { Again::Now })
    }

    /// Has a read-only call go to another server than this replica; `false` where that is no way out.
    fn avoid(&mut self, topology: &Topology, node: &Arc<Node>) -> bool {
        let is_new = !self.avoided.iter().any(|avoided| Arc::ptr_eq(avoided, node));
        let can_avoid = self.read_from != ReadFrom::Primary && is_new && !topology.is_primary(node);
        if can_avoid {
            self.avoided.push(Arc::clone(node));
        }
        can_avoid
    }

    /// Whether it may go to a replica.
    pub(crate) fn has_choice(&self) -> bool {
        self.read_from != ReadFrom::Primary
    }

    /// Turns to the primary if this replica is too old to run a script read-only; known once there was a connection.
    pub(crate) fn turns_away_from(&mut self, topology: &Topology, node: &Arc<Node>) -> bool {
        let turns =
            self.read_from != ReadFrom::Primary && !node.enforces_read_only() && !topology.is_primary(node);
        if turns {
            self.read_from = ReadFrom::Primary;
        }
        turns
    }

    /// Comes back to a server later: others of the same slot go first.
    pub(crate) fn hold(&mut self, next: Next) {
        self.redirected = Some((next.node, if next.asking { Claim::Ask } else { Claim::Moved }));
    }
}

/// The last error of a call, unless it says that the call was not executed although an earlier try may have been.
pub(crate) fn honest(error: Error, unknown: Option<Error>) -> Error {
    if error.is_not_executed() { unknown.unwrap_or(error) } else { error }
}

/// A refusal in the words for a caller who cannot wait any longer.
fn given_up(error: Error) -> Error {
    match error.server_text() {
        Some(text) if verdict::not_served(text).is_some() => {
            Error::server(Status::NotServed, text, true).context("no server ran the call within its deadline")
        }
        _ => error,
    }
}

/// Waits as the worst of several tries needs it. An error when the client is closed meanwhile.
pub(crate) fn wait(
    topology: &Topology,
    again: Again,
    tries: u32,
    seen: u64,
    deadline: Instant,
) -> Result<()> {
    if again != Again::Now && tries > 0 {
        topology.pause(Duration::from_millis(10 << tries.min(5)).min(LONGEST_PAUSE), deadline)?;
    }
    if again == Again::AfterRenewal {
        topology.renew_patiently(seen, deadline)?;
    }
    Ok(())
}
