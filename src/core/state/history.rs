//! What servers have said of a call so far: where it goes next, and what each refusal proves.
//!
//! A call goes to another server only after one has proved that it did not run it. Proof is the server's own text,
//! for this call's slot. A script can make such a text up; so a redirection is followed only to servers that the
//! cluster knows, and a call returns to a server that sent it away only if that server, asked in its own right,
//! stands by it.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::answers::{self, Claim};
use super::evidence::{Evidence, Need};
use super::servers::{Link, Place, Servers};
use crate::core::interface::{ConnId, NodeId};
use crate::error::{Error, Reason, Result, Status};
use crate::purpose::Purpose;
use crate::request::{Repeatable, Request};
use crate::route::ReadFrom;
use crate::session::verdict::{self, NotServed, Refused};
use crate::slots::NO_SLOT;

/// A call is redirected so often and no oftener.
const REDIRECTS_MAX: u32 = 16;

/// Redirections followed at once; from then on there is a pause before each, for the servers to agree.
const REDIRECTS_AT_ONCE: u32 = 4;

/// Times that a call which may run twice is sent again after the connection was lost.
pub(in crate::core) const REPEATS_MAX: u32 = 5;

/// The longest pause before the next attempt.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The least time that an attempt is given, as a part of what the call has, and at most.
const ROOM_PART: u32 = 8;
const ROOM_MAX: Duration = Duration::from_millis(100);

/// How long before its deadline a call may still be sent again. A refusal proves that it was not executed; an attempt
/// that cannot be answered in time would only lose that.
#[derive(Debug)]
pub(in crate::core) struct Room {
    deadline: Instant,
    /// What may have been executed is not sent again after this.
    repeats_until: Instant,
    least: Duration,
    most: Duration,
    needed: Duration,
}

impl Room {
    pub(in crate::core) fn new(now: Instant, deadline: Instant) -> Room {
        let total = deadline.saturating_duration_since(now);
        let least = (total / ROOM_PART).min(ROOM_MAX);
        Room { deadline, repeats_until: deadline, least, most: total / 2, needed: least }
    }

    /// What may have been executed is not sent again after this: its token may be forgotten.
    pub(in crate::core) fn repeat_until(&mut self, until: Instant) {
        self.repeats_until = until;
    }

    /// The latest time for another attempt of what may have been executed.
    pub(in crate::core) fn last_repeat(&self) -> Instant {
        self.repeats_until
    }

    /// Learns how long the last attempt took to be refused: on the same server the next one may take as long, and a
    /// half.
    pub(in crate::core) fn learn(&mut self, again: Again, took: Duration) {
        let expected = if again == Again::Now { Duration::ZERO } else { took * 3 / 2 };
        self.needed = expected.min(self.most).max(self.least);
    }

    /// The latest time for another attempt.
    pub(in crate::core) fn last_start(&self) -> Instant {
        self.deadline.checked_sub(self.needed).unwrap_or(self.deadline)
    }
}

/// When the next attempt may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::core) enum Again {
    Now,
    AfterPause,
    /// With a new map of the servers.
    AfterRefresh,
}

/// How long to wait before the next attempt, after so many.
pub(in crate::core) fn pause(again: Again, attempts: u32) -> Duration {
    if again == Again::Now || attempts == 0 {
        return Duration::ZERO;
    }
    Duration::from_millis(10 << attempts.min(5)).min(LONGEST_PAUSE)
}

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
    /// Whether an error reply may be a script's own, made up.
    may_be_forged: bool,
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
    /// Whether the server stands by its words. `None`: it cannot be asked.
    fn stands(&self, cx: &Context<'_>, slot: u16) -> std::result::Result<Option<bool>, Need> {
        if self.is_proved || cx.servers.was_sent_away(self.node, slot, self.claim, self.at) {
            return Ok(Some(true));
        }
        cx.evidence.stands_by(self.node, slot, self.claim)
    }
}

/// The server that is next, and whether it needs ASKING.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::core) struct Next {
    pub(in crate::core) node: NodeId,
    pub(in crate::core) asking: bool,
}

/// What becomes of a call that a server redirects.
enum Redirection {
    /// It goes there. `is_proved`: the server stands by it, or no script can have made it up.
    To { node: NodeId, is_proved: bool },
    /// Where the slot is now, a new map shows: the server does not have it, and has named none that does.
    Elsewhere,
    /// Nowhere: the server knows nothing of it.
    Refused,
    /// Nowhere, as far as is known: the server could not be asked.
    Unknown,
}

impl History {
    /// `may_be_forged`: an error reply may be the words of a script or function. `is_checked_first`: see
    /// [`Request::is_checked_first`].
    pub(in crate::core) fn new(
        place: Place,
        read_from: ReadFrom,
        may_be_forged: bool,
        is_checked_first: bool,
    ) -> Self {
        History {
            is_named: matches!(place, Place::Node(_)),
            place,
            read_from,
            may_be_forged,
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
        let (may_be_forged, is_checked_first) = (request.runs_code(index), request.is_checked_first(index));
        let mut history = History::new(place, read_from, may_be_forged, is_checked_first);
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
                Some(false) if harmless < Repeatable::Yes => return Ok(Err(self.honest(words))),
                None if harmless < Repeatable::Yes => {
                    return Ok(Err(self.honest(in_doubt(&words, None))));
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
            return Err(self.honest(nobody));
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

    /// What follows from an error of a server: another attempt, or the error that the caller gets. `repeatable`: the
    /// call may run twice.
    pub(in crate::core) fn failed(
        &mut self,
        cx: &mut Context<'_>,
        whence: Whence,
        error: &Error,
        repeatable: bool,
    ) -> std::result::Result<Result<Again>, Need> {
        // Everything that may need an answer comes before anything is changed.
        let outcome = self.decide(cx, whence, error, repeatable)?;
        let is_in_doubt = matches!(outcome, Outcome::Refused(Refusal::InDoubt));
        let goes_on = !is_in_doubt && !matches!(outcome, Outcome::Over | Outcome::Lost);
        if (goes_on || error.is_not_executed())
            && let Some(error) = self.prove(cx, repeatable)?
        {
            self.attempts += 1;
            return Ok(Err(self.honest(error)));
        }
        let ending = match (is_in_doubt, goes_on) {
            (true, _) => in_doubt(error, None),
            (_, true) => error.clone(),
            _ => self.proved(cx, whence, error.clone())?,
        };
        self.attempts += 1;
        if self.is_once && is_anothers_token(error) {
            self.unknown = None;
        }
        let refusal = error.server_text().and_then(verdict::not_served);
        self.waits_for_keys = refusal == Some(NotServed::TryAgain);
        match self.follow(cx, whence.node, outcome, error) {
            Some(again) => {
                if error.is_indeterminate() {
                    self.unknown = Some(error.clone());
                }
                self.refused = Some(given_up(ending));
                Ok(Ok(again))
            }
            None => Ok(Err(self.honest(ending))),
        }
    }

    /// Whether the servers that sent the call away, asked whether they stand by it, do: it went on by their word and
    /// got nowhere. If one does not, the words were the call's own, and are the error.
    fn prove(&mut self, cx: &Context<'_>, repeatable: bool) -> std::result::Result<Option<Error>, Need> {
        let Place::Slot(slot) = self.place else { return Ok(None) };
        for at in 0..self.left.len() {
            let left = &self.left[at];
            let error = match left.stands(cx, slot)? {
                Some(true) => {
                    self.left[at].is_proved = true;
                    continue;
                }
                Some(false) => left.words.clone(),
                None => in_doubt(&left.words, None),
            };
            if !repeatable {
                return Ok(Some(error));
            }
        }
        Ok(None)
    }

    /// The error of a call that ends before its server was asked whether a script has made this refusal up.
    pub(in crate::core) fn unproved(&self, error: Error) -> Error {
        let is_refused = error.server_text().is_some_and(|text| verdict::not_served(text).is_some());
        match is_refused && self.may_be_forged && !error.is_not_executed() {
            true => in_doubt(&error, None),
            false => error,
        }
    }

    /// The error that the caller gets.
    pub(in crate::core) fn honest(&self, error: Error) -> Error {
        let error = honest(error, self.unknown.clone());
        match self.in_doubt() {
            Some(words) if error.is_not_executed() => in_doubt(words, Some(&error)),
            _ => error,
        }
    }

    /// Whether an attempt before the last one may have been executed.
    pub(in crate::core) fn may_have_run(&self) -> bool {
        self.unknown.is_some() || self.in_doubt().is_some()
    }

    /// Whether it may have been executed, and is sent again to find out.
    pub(in crate::core) fn is_left_open(&self) -> bool {
        self.is_once && self.may_have_run()
    }

    /// A refusal that may have been made up by a script which has run.
    fn in_doubt(&self) -> Option<&Error> {
        let left = || self.left.iter().find(|left| !left.is_proved).map(|left| &left.words);
        self.doubtful.as_ref().or_else(left)
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

    /// The error of a call whose deadline passed on the way.
    pub(in crate::core) fn out_of_time(&mut self) -> Error {
        let error = self.refused.take().unwrap_or_else(|| {
            Error::new(Status::Timeout, "the deadline passed before the call could be sent; nothing was sent")
        });
        self.honest(error)
    }

    /// The error of an item that is not sent again, because one behind it has been executed.
    pub(in crate::core) fn overtaken(&mut self) -> Error {
        let error = self.refused.take().unwrap_or_else(|| Error::new(Status::Connect, "it was not sent"));
        let why = "not sent again, for an item behind it with a key in common has been executed";
        self.honest(error.context(why))
    }

    /// The error of a call whose wait for the next attempt ended with `error`. If that is so only because the
    /// deadline passed, what refused the call says more.
    pub(in crate::core) fn ended_by(&mut self, error: Error, is_late: bool) -> Error {
        match error.status() {
            Status::Timeout => self.out_of_time(),
            Status::Connect if is_late => self.out_of_time(),
            _ => self.honest(error),
        }
    }

    /// What follows from how an attempt ended. Changes nothing, for an answer may be needed first.
    fn decide(
        &self,
        cx: &mut Context<'_>,
        whence: Whence,
        error: &Error,
        repeatable: bool,
    ) -> std::result::Result<Outcome, Need> {
        let node = cx.servers.node(whence.node);
        let outcome = match error.status() {
            // A connection that had ended in silence is simply made anew.
            Status::Connect
                if error.reason() != Reason::Deadline
                    && node.down_since_just_now(cx.now).is_none()
                    && !cx.servers.is_watched() =>
            {
                Outcome::GoesOn(Again::Now)
            }
            Status::Connect => Outcome::GoesOn(Again::AfterRefresh),
            // Not all the time that there is was spent on connecting.
            Status::Timeout if cx.now < cx.deadline || self.can_avoid(cx.servers, whence.node) => {
                Outcome::GoesOn(Again::AfterRefresh)
            }
            Status::Indeterminate | Status::NotReplicated
                if repeatable
                    && (self.is_once
                        || self.repeats < REPEATS_MAX && cx.servers.repeats.is_there(cx.now)) =>
            {
                Outcome::Repeats
            }
            Status::NotReplicated => Outcome::Over,
            Status::Indeterminate => Outcome::Lost,
            Status::Loading => Outcome::GoesOn(Again::AfterPause),
            // Nobody loads a library on a replica: where it has not come, the primary runs the function, and loads
            // it. Whether one that may write is to be run at all, that says as well.
            Status::NoFunction | Status::Server
                if self.is_function
                    && !self.is_named
                    && self.may_turn_from(cx.servers, whence.node)
                    && (error.status() == Status::NoFunction || says_read_only(error)) =>
            {
                Outcome::Turns
            }
            Status::Server | Status::TransactionAborted => {
                self.refusal(cx, whence, error, repeatable)?.map_or(Outcome::Over, Outcome::Refused)
            }
            _ => Outcome::Over,
        };
        let is_open = repeatable && self.is_left_open() && is_settled_by_next(error);
        Ok(match outcome {
            Outcome::Over if is_open => Outcome::GoesOn(Again::AfterPause),
            outcome => outcome,
        })
    }

    /// Does what was decided: when the next attempt comes, if one does.
    fn follow(
        &mut self,
        cx: &mut Context<'_>,
        node: NodeId,
        outcome: Outcome,
        error: &Error,
    ) -> Option<Again> {
        let otherwise = match outcome {
            Outcome::Over | Outcome::Refused(Refusal::InDoubt) => return None,
            Outcome::Lost => {
                cx.servers.node_mut(node).rest(cx.now);
                cx.servers.doubt(node);
                return None;
            }
            Outcome::Refused(Refusal::Redirected(to, claim)) => {
                return self.redirect(cx, node, to, claim, error);
            }
            Outcome::Refused(Refusal::Doubtful(again)) => {
                self.doubtful.get_or_insert_with(|| error.clone());
                return Some(again);
            }
            Outcome::Refused(Refusal::Certain(again)) => return Some(again),
            Outcome::Turns => {
                self.turn();
                return Some(Again::Now);
            }
            Outcome::Repeats => {
                cx.servers.repeats.take(cx.now);
                self.repeats += 1;
                Again::AfterRefresh
            }
            Outcome::GoesOn(again) => again,
        };
        if !self.avoid(cx.servers, node) {
            return Some(otherwise);
        }
        if matches!(error.status(), Status::Connect | Status::Timeout) {
            cx.servers.doubt(node);
        }
        Some(Again::Now)
    }

    /// What an error reply says about the server rather than the call, and whether that is to be believed.
    fn refusal(
        &self,
        cx: &mut Context<'_>,
        whence: Whence,
        error: &Error,
        repeatable: bool,
    ) -> std::result::Result<Option<Refusal>, Need> {
        let is_certain = !self.may_be_forged;
        let Some(text) = error.server_text() else { return Ok(None) };
        let node = whence.node;
        // By a server that had loaded its data: it does so again only as a replica.
        if verdict::is_not_ready(text) {
            let is_replica = cx.evidence.is_replica(node, whence.conn, cx.servers)?;
            return Ok(is_replica.then_some(Refusal::Certain(Again::AfterRefresh)));
        }
        let Some(refusal) = verdict::not_served(text) else { return Ok(None) };
        if refusal == NotServed::ReadOnly {
            // A script that is sent as read-only is stopped in other words.
            if self.read_from != ReadFrom::Primary {
                return Ok(None);
            }
            // A replica that the caller has named remains one.
            let may_change = !self.is_named || cx.servers.map.is_primary(node);
            let is_replica = may_change && cx.evidence.is_replica(node, whence.conn, cx.servers)?;
            return Ok(is_replica.then_some(Refusal::Certain(Again::AfterRefresh)));
        }
        let Place::Slot(own) = self.place else { return Ok(None) };
        Ok(match refusal {
            NotServed::Moved { slot, to } if slot == own => {
                self.redirection(cx, node, (slot, Claim::Moved), to, repeatable)?
            }
            NotServed::Ask { slot, to } if slot == own => {
                self.redirection(cx, node, (slot, Claim::Ask), to, repeatable)?
            }
            NotServed::TryAgain => {
                // A replica owns no slot, so it cannot bear that out.
                let can_tell = !is_certain && cx.servers.map.is_primary(node);
                let stands = match can_tell {
                    true => cx.evidence.stands_by(node, own, Claim::Ask)?,
                    false => Some(is_certain),
                };
                match stands {
                    Some(true) => Some(Refusal::Certain(Again::AfterPause)),
                    // The server that the slot is on its way to cannot be asked about it: it does not know whose it is.
                    _ if self.is_asking => Some(Refusal::Doubtful(Again::AfterPause)),
                    _ if repeatable => Some(Refusal::Doubtful(Again::AfterRefresh)),
                    Some(false) => None,
                    None => Some(Refusal::InDoubt),
                }
            }
            NotServed::ClusterDown => {
                if is_certain {
                    cx.servers.down = Some(cx.now);
                }
                Some(match is_certain || cx.evidence.is_unserved(node, own, cx.servers, cx.now)? {
                    true => Refusal::Certain(Again::AfterRefresh),
                    false if repeatable => Refusal::Doubtful(Again::AfterRefresh),
                    // It may have been so a moment ago.
                    false => Refusal::InDoubt,
                })
            }
            _ => None,
        })
    }

    fn redirection(
        &self,
        cx: &mut Context<'_>,
        node: NodeId,
        (slot, claim): (u16, Claim),
        to: &str,
        repeatable: bool,
    ) -> std::result::Result<Option<Refusal>, Need> {
        Ok(match self.redirected_to(cx, node, (slot, claim), to)? {
            Redirection::Refused => None,
            Redirection::Unknown if repeatable => Some(Refusal::Doubtful(Again::AfterRefresh)),
            Redirection::Unknown => Some(Refusal::InDoubt),
            _ if self.redirects >= REDIRECTS_MAX => self.may_be_forged.then_some(Refusal::InDoubt),
            redirection => Some(Refusal::Redirected(redirection, claim)),
        })
    }

    /// What is known of the server that another redirects the call's slot to.
    fn redirected_to(
        &self,
        cx: &mut Context<'_>,
        node: NodeId,
        (slot, claim): (u16, Claim),
        to: &str,
    ) -> std::result::Result<Redirection, Need> {
        let speaker = &cx.servers.node(node).address;
        let Some(address) = answers::redirected_to(to, speaker, &cx.servers.config) else {
            return Ok(Redirection::Refused);
        };
        let primary = cx.servers.primary_at(&address);
        if let Some(primary) = primary
            && (!self.may_be_forged || cx.answers(primary))
        {
            return Ok(Redirection::To { node: primary, is_proved: !self.may_be_forged });
        }
        // It may not answer, or is no primary as far as is known: whether it is worth the way, the one who says so
        // must know.
        if self.may_be_forged {
            match cx.evidence.stands_by(node, slot, claim)? {
                Some(true) => {}
                Some(false) => return Ok(Redirection::Refused),
                None => return Ok(Redirection::Unknown),
            }
        }
        // A replica owns no slot: that it does not, proves nothing.
        let is_proved = !self.may_be_forged || cx.servers.map.is_primary(node);
        Ok(match primary {
            Some(node) => Redirection::To { node, is_proved },
            None if cx.evidence.names(node, (slot, claim), &address, cx.servers)? => {
                Redirection::To { node: cx.servers.node_at(&address, Purpose::Calls), is_proved }
            }
            None if claim == Claim::Moved => Redirection::Elsewhere,
            None => Redirection::Refused,
        })
    }

    fn redirect(
        &mut self,
        cx: &mut Context<'_>,
        node: NodeId,
        redirection: Redirection,
        claim: Claim,
        error: &Error,
    ) -> Option<Again> {
        let Place::Slot(slot) = self.place else { return None };
        self.redirects += 1;
        cx.servers.redirects += 1;
        let Redirection::To { node: target, is_proved } = redirection else {
            if self.may_be_forged && !cx.servers.map.is_primary(node) {
                self.doubtful.get_or_insert_with(|| error.clone());
            }
            return Some(Again::AfterRefresh);
        };
        // A function that may write: its own primary says that to who called it read-only.
        let turns = self.is_function
            && cx.servers.map.place_of(slot).is_some_and(|place| {
                let shard = &cx.servers.map.shards[place];
                shard.primary == target && shard.replicas.contains(&node)
            });
        if turns && self.may_turn_from(cx.servers, node) {
            // True as it is, a function that the replica has run may have said so.
            if self.may_be_forged {
                self.doubtful.get_or_insert_with(|| error.clone());
            }
            self.turn();
            return Some(Again::Now);
        }
        if self.avoid(cx.servers, node) {
            // A replica that does not have the slot: the map is out of date, and the primary is no replica.
            if !is_proved {
                self.doubtful.get_or_insert_with(|| error.clone());
            }
            return Some(Again::AfterRefresh);
        }
        if is_proved {
            cx.servers.note_sent_away(node, slot, claim, cx.now);
        }
        self.left.push(Left { node, claim, at: cx.now, words: error.clone(), is_proved });
        if claim == Claim::Moved {
            // The first sign of more, if the map is old: the call need not wait for that.
            if cx.servers.is_outdated(cx.now) {
                cx.servers.is_doubted = true;
            }
            cx.servers.give(slot, target);
        }
        self.redirected = Some((target, claim));
        Some(if self.redirects > REDIRECTS_AT_ONCE { Again::AfterPause } else { Again::Now })
    }

    /// The error of a call that a server refused for being a replica: what it says of its role proves it.
    fn proved(&self, cx: &Context<'_>, whence: Whence, error: Error) -> std::result::Result<Error, Need> {
        let is_read_only = error.status() == Status::Server && says_read_only(&error);
        if is_read_only
            && self.is_checked_first
            && !error.is_not_executed()
            && cx.evidence.is_replica(whence.node, whence.conn, cx.servers)?
        {
            return Ok(error.certainly_not_executed());
        }
        Ok(error)
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

    /// Turns to the primary if this replica is too old to run a script read-only; known once there was a connection. A
    /// command that only reads it runs like any other.
    pub(in crate::core) fn turns_away_from(&mut self, servers: &Servers, node: NodeId) -> bool {
        let is_script = self.may_be_forged;
        let turns =
            is_script && self.may_turn_from(servers, node) && !servers.node(node).enforces_read_only();
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

/// What follows from how an attempt ended.
enum Outcome {
    /// Its error is the caller's.
    Over,
    /// The same, and its server may not answer others either.
    Lost,
    /// It goes on, on a primary.
    Turns,
    /// It goes on; at once, if it was on a replica that another server may stand in for.
    GoesOn(Again),
    /// The same, although it may have been executed.
    Repeats,
    Refused(Refusal),
}

/// A refusal that the call may go on after.
enum Refusal {
    Redirected(Redirection, Claim),
    Certain(Again),
    /// It may be the call's own words.
    Doubtful(Again),
    /// The same, of a call that must not run twice: it is over.
    InDoubt,
}

/// Of a call that happens once, and of which an earlier attempt may have been executed: whether it is left for the
/// next one to find out, after this refusal.
pub(in crate::core) fn is_settled_by_next(error: &Error) -> bool {
    error.is_not_executed() && !is_anothers_token(error)
}

/// Whether its token is another call's, or none that it can have: then no attempt has run.
pub(in crate::core) fn is_anothers_token(error: &Error) -> bool {
    matches!(error.status(), Status::TokenMismatch | Status::InvalidArgument)
}

/// The last error of a call, unless it says that the call was not executed although an earlier attempt may have been.
pub(in crate::core) fn honest(error: Error, unknown: Option<Error>) -> Error {
    match unknown {
        // That it has run says more than that it may have.
        Some(unknown) if unknown.status() == Status::NotReplicated && error.is_indeterminate() => unknown,
        Some(unknown) if error.is_not_executed() => unknown,
        _ => error,
    }
}

/// The error of a call that went on after a refusal of which nobody knows whether a script made it up, and then met
/// `error`.
fn in_doubt(words: &Error, error: Option<&Error>) -> Error {
    const DOUBT: &str = "the script may have said so itself, and may have been executed";
    let doubted = match (error, words.server_text()) {
        (Some(error), _) => Error::indeterminate(error.reason(), format!("{words}: {DOUBT}; then: {error}")),
        (None, Some(text)) => Error::server(Status::Indeterminate, text, false).context(DOUBT),
        (None, None) => Error::indeterminate(Reason::Server, format!("{words}: {DOUBT}")),
    };
    match error.unwrap_or(words).shared_node() {
        Some(node) => doubted.on(node),
        None => doubted,
    }
}

/// The error of a call that a server refused for it loads its data or misses its primary.
pub(in crate::core) fn not_ready(error: Error) -> Error {
    let Some(text) = error.server_text() else { return error };
    let refused = Error::server(Status::Loading, text, true);
    match error.shared_node() {
        Some(node) => refused.on(node),
        None => refused,
    }
}

/// Whether a server refuses for being a replica, by its own word.
fn says_read_only(error: &Error) -> bool {
    error.server_text().and_then(verdict::refused_before_it_began) == Some(Refused::ReadOnly)
}

/// A refusal in the words for a caller who cannot wait any longer.
fn given_up(error: Error) -> Error {
    match error.server_text() {
        Some(text) if verdict::is_not_ready(text) => not_ready(error),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_gets_as_much_time_as_the_one_before_took() {
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
        assert_eq!(last_start(Again::AfterRefresh, ms(900)), ms(500));
        // Another server knows nothing of that.
        assert_eq!(last_start(Again::Now, ms(900)), ms(100));
    }
}
