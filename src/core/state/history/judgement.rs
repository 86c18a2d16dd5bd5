//! What a refusal proves, and what follows from it: where MOVED and its like are judged.

use super::last_error::{
    given_up, in_doubt, is_not_replicated_yet, is_settled_by_next, says_read_only, was_let_go,
};
use super::{Context, History, Left, REPEATS_MAX, Whence};
use crate::base::purpose::Purpose;
use crate::core::interface::NodeId;
use crate::core::state::answers::{self, Claim};
use crate::core::state::evidence::Need;
use crate::core::state::room::Again;
use crate::core::state::servers::Place;
use crate::error::{Error, Reason, Result, Status};
use crate::request::route::ReadFrom;
use crate::session::verdict::{self, NotServed};

/// A call is redirected so often and no oftener.
const REDIRECTS_MAX: u32 = 16;

/// Redirections followed at once; from then on there is a pause before each, for the servers to agree.
const REDIRECTS_AT_ONCE: u32 = 4;

/// What becomes of a call that a server redirects.
enum Redirection {
    /// It goes there. `is_proved`: the server stands by it, or no script can have made it up.
    To { node: NodeId, is_proved: bool },
    /// Where the slot is now, a new map shows: the server does not have it, and has named none that does.
    Elsewhere,
    /// Nowhere: the server knows nothing of it.
    Refused,
    /// Nowhere, as far as is known: the server could not be asked, or its answer proves nothing.
    Unknown,
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

impl History {
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
            return Ok(Err(self.final_error(error)));
        }
        let ending = match (is_in_doubt, goes_on) {
            (true, _) => in_doubt(error, None),
            (_, true) => error.clone(),
            _ => self.proved(cx, whence, error.clone())?,
        };
        self.attempts += 1;
        if self.is_once && error.status().is_anothers_token() {
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
            None => Ok(Err(self.final_error(ending))),
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
            // Only what happens once waits for replicas; others with it do no harm.
            Status::NotReplicated if repeatable && is_not_replicated_yet(error) => Outcome::Repeats,
            Status::NotReplicated => Outcome::Over,
            Status::Indeterminate
                if repeatable
                    && (self.is_once
                        || self.repeats < REPEATS_MAX && cx.servers.repeats.is_there(cx.now)) =>
            {
                Outcome::Repeats
            }
            Status::Indeterminate => Outcome::Lost,
            Status::Loading => Outcome::GoesOn(Again::AfterPause),
            // Nobody loads a library on a replica: where it has not come, the primary runs the function, and loads
            // it. Also where this server is the primary by now, which it was not when it was asked.
            Status::NoFunction if self.may_turn() => Outcome::Turns,
            // Whether one that may write is to be run at all, the primary says as well.
            Status::Server
                if self.may_turn() && !cx.servers.map.is_primary(whence.node) && says_read_only(error) =>
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

    /// Whether it is a function that any of several servers may run.
    fn may_turn(&self) -> bool {
        self.is_function && !self.is_named && self.read_from != ReadFrom::Primary
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
                // A function may have made that up, once it had run.
                if self.may_be_forged() && error.status() == Status::Server {
                    self.doubtful.get_or_insert_with(|| error.clone());
                }
                self.turn();
                return Some(Again::Now);
            }
            Outcome::Repeats => {
                // What goes on without end, for it happens once or waits for replicas, leaves the others theirs.
                if error.status() == Status::Indeterminate && self.repeats < REPEATS_MAX {
                    cx.servers.repeats.take(cx.now);
                }
                self.repeats = self.repeats.saturating_add(1);
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
        let is_certain = !self.may_be_forged();
        let Some(text) = error.server_text() else { return Ok(None) };
        let node = whence.node;
        // By a server that had loaded its data: it does so again only as a replica.
        if verdict::is_not_ready(text) {
            let is_replica = cx.evidence.is_replica(node, whence.conn, cx.servers)?;
            return Ok(is_replica.then_some(Refusal::Certain(Again::AfterRefresh)));
        }
        if was_let_go(error) {
            return Ok(Some(Refusal::Certain(Again::AfterRefresh)));
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
                    true => cx.evidence.stands_by(node, (own, Claim::Ask), cx.servers, cx.now)?,
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
            _ if self.redirects >= REDIRECTS_MAX => self.may_be_forged().then_some(Refusal::InDoubt),
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
            && (!self.may_be_forged() || cx.answers(primary))
        {
            return Ok(Redirection::To { node: primary, is_proved: !self.may_be_forged() });
        }
        // It may not answer, or is no primary as far as is known: whether it is worth the way, the one who says so
        // must know.
        if self.may_be_forged() {
            match cx.evidence.stands_by(node, (slot, claim), cx.servers, cx.now)? {
                Some(true) => {}
                Some(false) => return Ok(Redirection::Refused),
                None => return Ok(Redirection::Unknown),
            }
        }
        // A replica owns no slot: that it does not, proves nothing.
        let is_proved = !self.may_be_forged() || cx.servers.map.is_primary(node);
        if let Some(node) = primary {
            return Ok(Redirection::To { node, is_proved });
        }
        Ok(match cx.evidence.names(node, (slot, claim), &address, cx.servers)? {
            Some(names) => {
                // By another name it may be known: the map must not have it twice.
                let known = names.iter().find_map(|name| cx.servers.primary_at(name));
                let node = known.unwrap_or_else(|| cx.servers.node_at(&address, Purpose::Calls));
                Redirection::To { node, is_proved }
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
            if self.may_be_forged() && !cx.servers.map.is_primary(node) {
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
            if self.may_be_forged() {
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
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config::{Config, Options};
    use crate::core::state::evidence::Evidence;
    use crate::core::state::servers::Servers;
    use crate::session::Compiled;

    /// Most calls that are sent again have so many repeats for all of them, and get one back every few milliseconds.
    const MANY: u32 = 20_000;

    #[test]
    fn calls_that_are_sent_again_without_end_leave_the_others_their_repeats() {
        let config = Config::new("redis+cluster://127.0.0.1", &Options::default()).expect("a URL");
        let mut servers = Servers::new(Arc::new(config), Arc::new(Compiled::new(None)));
        let node = servers.node_at(&servers.config.servers.addresses()[0].clone(), Purpose::Calls);
        let (evidence, now) = (Evidence::default(), Instant::now());
        let mut history = History::new(Place::Anywhere, ReadFrom::Primary, true, false);
        history.is_once = true;
        let too_few = Error::new(Status::NotReplicated, "too few replicas have it");
        let lost = Error::indeterminate(Reason::ConnectionLost, "it was lost");
        for error in [too_few, lost] {
            for _ in 0..MANY {
                let is_suspect = |_| false;
                let deadline = now + Duration::from_secs(3600);
                let mut cx = Context {
                    now,
                    deadline,
                    servers: &mut servers,
                    evidence: &evidence,
                    is_suspect: &is_suspect,
                };
                let again = history.failed(&mut cx, Whence { node, conn: None }, &error, true);
                assert_eq!(again, Ok(Ok(Again::AfterRefresh)));
            }
            assert!(servers.repeats.is_there(now), "{error}");
        }
    }
}
