//! A call's way from server to server: where it goes next, and what each refusal proves.
//!
//! A call goes to another server only after one has proved that it did not run it. Proof is the server's own text, for this
//! call's slot. A script can make such a text up; so a redirection is followed only to servers that the cluster knows, and a call returns
//! to a server that sent it away only if that server, asked in its own right, stands by it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::error::{Error, Reason, Result, Status};
use crate::node::Node;
use crate::request::{Repeatable, Request};
use crate::route::ReadFrom;
use crate::session::verdict::{self, NotServed, Refused};
use crate::slots::NO_SLOT;
use crate::topology::{Claim, Place, Redirection, Topology, Witness};

/// A call is redirected so often and no oftener.
const REDIRECTS_MAX: u32 = 16;

/// Redirections followed at once; from then on there is a pause before each, for the servers to agree.
const REDIRECTS_AT_ONCE: u32 = 4;

/// Times that a call which may run twice is sent again after the connection was lost.
pub(crate) const REPEATS_MAX: u32 = 5;

/// The longest pause before the next try.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The least time that a try is given, as a part of what the call has, and at most.
const ROOM_PART: u32 = 8;
const ROOM_MAX: Duration = Duration::from_millis(100);

/// How long before its deadline a call may still be sent again. A refusal proves that it was not executed; a try that cannot be answered in time
/// would only lose that.
pub(crate) struct Room {
    deadline: Instant,
    least: Duration,
    most: Duration,
    needed: Duration,
}

impl Room {
    pub(crate) fn new(now: Instant, deadline: Instant) -> Room {
        let total = deadline.saturating_duration_since(now);
        let least = (total / ROOM_PART).min(ROOM_MAX);
        Room { deadline, least, most: total / 2, needed: least }
    }

    /// Learns how long the last try took to be refused: on the same server the next one may take as long, and a half.
    pub(crate) fn learn(&mut self, again: Again, took: Duration) {
        let expected = if again == Again::Now { Duration::ZERO } else { took * 3 / 2 };
        self.needed = expected.min(self.most).max(self.least);
    }

    /// The latest time for another try.
    pub(crate) fn last_start(&self) -> Instant {
        self.deadline.checked_sub(self.needed).unwrap_or(self.deadline)
    }
}

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
    /// Whether what a server will not run is refused before it begins.
    is_checked_first: bool,
    /// The servers that sent it away.
    left: SmallVec<[Left; 1]>,
    /// A refusal that may be the call's own words, whose call goes on because it may run twice.
    doubtful: Option<Error>,
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

/// A server that sent the call away.
struct Left {
    node: Arc<Node>,
    claim: Claim,
    words: Error,
    /// It stands by that, or no script can have made it up.
    is_proved: bool,
}

/// The server that is next, and whether it needs ASKING.
pub(crate) struct Next {
    pub(crate) node: Arc<Node>,
    pub(crate) asking: bool,
}

impl Journey {
    /// `may_be_forged`: an error reply may be the words of a script. `is_checked_first`: see [`Request::is_checked_first`].
    pub(crate) fn new(
        place: Place,
        read_from: ReadFrom,
        may_be_forged: bool,
        is_checked_first: bool,
    ) -> Self {
        Journey {
            place,
            read_from,
            may_be_forged,
            is_asking: false,
            redirected: None,
            is_checked_first,
            left: SmallVec::new(),
            doubtful: None,
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
    pub(crate) fn of_item(request: &Request, index: usize, otherwise: &Place, read_from: ReadFrom) -> Self {
        let item = &request.items[index];
        let place = if item.slot == NO_SLOT { otherwise.clone() } else { Place::Slot(item.slot) };
        Journey::new(place, read_from, item.script.is_some(), request.is_checked_first(index))
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
        if let Some(at) = self.left.iter().position(|left| Arc::ptr_eq(&left.node, &node)) {
            let Left { claim, words, is_proved, .. } = self.left.remove(at);
            if let Place::Slot(slot) = self.place {
                match topology.stands_by(&node, slot, claim, deadline) {
                    Some(true) => {}
                    Some(false) if harmless != Repeatable::Yes => return Err(self.honest(words)),
                    None if harmless != Repeatable::Yes => return Err(self.honest(doubted(&words, None))),
                    _ if is_proved => {}
                    _ => drop(self.doubtful.get_or_insert(words)),
                }
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
        let sent_away = self.left.len();
        let again = self.judge(topology, witness, &error, repeatable);
        self.tries += 1;
        if again.is_some() || error.is_not_executed() {
            self.prove(topology, sent_away, repeatable, witness.deadline)?;
        }
        match again {
            Some(again) => {
                if error.is_indeterminate() {
                    self.unknown = Some(error.clone());
                }
                self.refused = Some(given_up(error));
                Ok(again)
            }
            None => Err(self.honest(self.proved(witness, error))),
        }
    }

    /// Asks the servers that sent the call away, up to a place among them, whether they stand by it: it went on by their word and got nowhere. If
    /// one does not, the words were the call's own, and are the error.
    fn prove(
        &mut self,
        topology: &Topology,
        up_to: usize,
        repeatable: bool,
        deadline: Instant,
    ) -> Result<()> {
        let Place::Slot(slot) = self.place else { return Ok(()) };
        for at in 0..up_to.min(self.left.len()) {
            let Left { node, claim, words, is_proved } = &mut self.left[at];
            if *is_proved {
                continue;
            }
            let error = match topology.stands_by(node, slot, *claim, deadline) {
                Some(true) => {
                    *is_proved = true;
                    continue;
                }
                Some(false) => words.clone(),
                None => doubted(words, None),
            };
            if !repeatable {
                return Err(self.honest(error));
            }
        }
        Ok(())
    }

    /// The error that the caller gets.
    pub(crate) fn honest(&self, error: Error) -> Error {
        let error = honest(error, self.unknown.clone());
        match self.in_doubt() {
            Some(words) if error.is_not_executed() => doubted(words, Some(&error)),
            _ => error,
        }
    }

    /// A refusal that may have been made up by a script which has run.
    fn in_doubt(&self) -> Option<&Error> {
        let left = || self.left.iter().find(|left| !left.is_proved).map(|left| &left.words);
        self.doubtful.as_ref().or_else(left)
    }

    /// The latest time for the next try: with no certainty to lose, up to the deadline.
    pub(crate) fn last_start(&self, room: &Room) -> Instant {
        if self.unknown.is_none() && self.in_doubt().is_none() { room.last_start() } else { room.deadline }
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
            Status::Connect | Status::Timeout if self.avoid(topology, node) => {
                topology.doubt(node);
                Some(Again::Now)
            }
            Status::Connect if error.reason() == Reason::Deadline => Some(Again::AfterRenewal),
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
        let is_certain = !self.may_be_forged;
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
            NotServed::TryAgain if is_certain || witness.is_without(own) => Some(Again::AfterPause),
            NotServed::ClusterDown if is_certain || witness.is_unserved(own) => Some(Again::AfterRenewal),
            NotServed::TryAgain if self.is_asking => {
                // The server that the slot is on its way to cannot be asked about it: it does not know whose it is.
                self.doubtful.get_or_insert_with(|| error.clone());
                Some(Again::AfterPause)
            }
            NotServed::TryAgain | NotServed::ClusterDown if repeatable => {
                self.doubtful.get_or_insert_with(|| error.clone());
                Some(Again::AfterRenewal)
            }
            _ => None,
        }
    }

    /// The error of a call that a server refused for being a replica: what it says of its role proves it.
    fn proved(&self, witness: &Witness<'_>, error: Error) -> Error {
        let is_read_only = error.status() == Status::Server
            && error.server_text().and_then(verdict::refused_before_it_began) == Some(Refused::ReadOnly);
        if is_read_only && self.is_checked_first && !error.is_not_executed() && witness.is_replica() {
            return error.certainly_not_executed();
        }
        error
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
        let redirection = topology.redirected_to(witness, (slot, claim), to, self.may_be_forged);
        if let Redirection::Refused = redirection {
            return None;
        }
        self.redirects += 1;
        if self.redirects > REDIRECTS_MAX {
            return None;
        }
        topology.count_redirect();
        let Redirection::To { node: target, is_proved } = redirection else {
            return Some(Again::AfterRenewal);
        };
        if self.avoid(topology, node) {
            // A replica that does not have the slot: the picture is out of date, and the primary is no replica.
            return Some(Again::AfterRenewal);
        }
        self.left.push(Left { node: Arc::clone(node), claim, words: error.clone(), is_proved });
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

    /// Whether this is a replica, and another server may serve the call as well.
    pub(crate) fn may_turn_from(&self, topology: &Topology, node: &Arc<Node>) -> bool {
        self.read_from != ReadFrom::Primary && !topology.is_primary(node)
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

/// The error of a call that went on after a refusal of which nobody knows whether a script made it up, and then met `error`.
fn doubted(words: &Error, error: Option<&Error>) -> Error {
    let reason = error.map_or(Reason::Server, Error::reason);
    let then = error.map(|error| format!("; then: {error}")).unwrap_or_default();
    let doubted = Error::indeterminate(
        reason,
        format!("{words}: the script may have said so itself, and may have been executed{then}"),
    );
    match error.unwrap_or(words).shared_node() {
        Some(node) => doubted.on(node),
        None => doubted,
    }
}

/// A refusal in the words for a caller who cannot wait any longer.
fn given_up(error: Error) -> Error {
    match error.server_text() {
        Some(text) if verdict::not_served(text).is_some() => {
            let given_up = Error::server(Status::NotServed, text, true);
            let given_up = given_up.context("no server ran the call within its deadline");
            match error.shared_node() {
                Some(node) => given_up.on(node),
                None => given_up,
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_try_gets_as_much_time_as_the_one_before_took() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let deadline = now + ms(1000);
        let last_start = |again, took| {
            let mut room = Room::new(now, deadline);
            room.learn(again, took);
            deadline - room.last_start()
        };
        assert_eq!(deadline - Room::new(now, deadline).last_start(), ms(100));
        // In a hurry a part of what there is.
        assert_eq!(now + ms(80) - Room::new(now, now + ms(80)).last_start(), ms(10));
        assert_eq!(last_start(Again::AfterPause, ms(1)), ms(100));
        assert_eq!(last_start(Again::AfterPause, ms(200)), ms(300));
        // One that was held up once need not be the next time.
        assert_eq!(last_start(Again::AfterRenewal, ms(900)), ms(500));
        // Another server knows nothing of that.
        assert_eq!(last_start(Again::Now, ms(900)), ms(100));
    }
}
