//! Takes a filled request to its end: on the only server, from server to server, on all primaries, or on a connection of its own.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::client::{Client, Way};
use crate::error::{Error, Result, Status};
use crate::ffi::cancel::Held;
use crate::journey::{Again, Journey, Next, REPEATS_MAX, Room, honest, wait};
use crate::leash::Leash;
use crate::link::End;
use crate::node::Node;
use crate::request::{Request, Shape};
use crate::resp::{Payload, Reply};
use crate::route::ReadFrom;
use crate::scatter::{Scatter, as_map, everywhere};
use crate::session::Finished;
use crate::session::handshake::Purpose;
use crate::session::verdict::{self, NotServed, Refused};
use crate::slots::NO_SLOT;
use crate::threads;
use crate::topology::{Place, Witness};

impl Client {
    /// Carries a request to its end on the shared connection.
    #[inline(always)]
    pub(crate) fn run(&self, request: Box<Request>) -> Result<Reply> {
        self.run_collecting(request, &mut None)
    }

    /// The same; of a pipeline that breaks, the replies that did arrive are put into `arrived`.
    #[inline(always)]
    pub(crate) fn run_collecting(&self, request: Box<Request>, arrived: &mut Option<Reply>) -> Result<Reply> {
        let now = Instant::now();
        self.run_until(request, (now, now + self.view().timeout), arrived)
    }

    /// Carries a submitted call to its end.
    pub(crate) fn carry(
        &self,
        request: Box<Request>,
        deadline: Instant,
        arrived: &mut Option<Reply>,
    ) -> Result<Reply> {
        self.run_until(request, (Instant::now(), deadline), arrived)
    }

    /// Carries a submitted call to its end that waits on the server.
    pub(crate) fn carry_apart(
        &self,
        request: Box<Request>,
        purpose: Purpose,
        deadline: Instant,
        leash: &Leash,
    ) -> Result<Reply> {
        self.run_apart_until(request, purpose, deadline, leash)
    }

    /// Goes on with a submitted call that ended with this error on this server.
    pub(crate) fn go_on(
        &self,
        request: Box<Request>,
        node: &Arc<Node>,
        error: Error,
        deadline: Instant,
        arrived: &mut Option<Reply>,
    ) -> Result<Reply> {
        if Instant::now() >= deadline {
            return Err(error);
        }
        if self.core().topology.only().is_none() {
            return self.travel_on(request, deadline, node, error);
        }
        let last_start = Room::new(Instant::now(), deadline).last_start();
        match error.status() {
            Status::Loading if node.pause(0, last_start).is_none() => return Err(error),
            _ => {}
        }
        if error.server_text().is_some_and(verdict::is_read_only)
            && !node.is_replica(Some(request.connection), deadline)
        {
            return Err(error);
        }
        let error = refused_by_replica(&request, error);
        let unknown = (!error.is_not_executed()).then_some(error);
        if unknown.is_some() {
            *arrived = None;
        }
        self.run_on(node, request, (Instant::now(), deadline), unknown, arrived)
    }

    #[inline(always)]
    fn run_until(
        &self,
        request: Box<Request>,
        times: (Instant, Instant),
        arrived: &mut Option<Reply>,
    ) -> Result<Reply> {
        match self.core().topology.only() {
            Some(node)
                if self.view().read_from == ReadFrom::Primary && self.view().way != Way::AllPrimaries =>
            {
                self.run_on(node, request, times, None, arrived)
            }
            _ => self.run_routed(request, times.1, arrived),
        }
    }

    /// Carries a request to its end on the only server. `unknown`: how the last try ended whose outcome is not known.
    fn run_on(
        &self,
        node: &Arc<Node>,
        mut request: Box<Request>,
        (mut now, deadline): (Instant, Instant),
        mut unknown: Option<Error>,
        arrived: &mut Option<Reply>,
    ) -> Result<Reply> {
        let start = now;
        let mut tries = 0;
        // With no certainty to lose, as late as the deadline.
        let mut last_start = deadline;
        // What proves that nothing was executed by the last try.
        let mut refused = None;
        let mut replicas = 0;
        let attempts = node.config().reconnect.attempts;
        loop {
            let link = match node.link(attempts, deadline) {
                Ok(link) => link,
                Err(error) => return Err(honest(error, unknown)),
            };
            // Connecting may have taken long.
            if let Some(error) = refused.take()
                && Instant::now() > last_start
            {
                return Err(honest(error, unknown));
            }
            let finished = match link.call(request, now, deadline) {
                End::Finished(finished) => finished,
                End::Unusable(unsent) => {
                    request = unsent;
                    continue;
                }
                End::Late(error, replies) => {
                    *arrived = replies.map(|replies| arrived_last(replies, unknown.as_ref()));
                    return Err(honest(error, unknown));
                }
            };
            let Finished { result, request: sent, .. } = finished;
            let error = match result {
                Ok(mut payload) => {
                    if unknown.is_some() {
                        payload.claim_nothing();
                    }
                    if has_read_only(&payload)
                        && node.is_replica(Some(sent.connection), deadline)
                        && unknown.is_none()
                    {
                        note_refused(&sent, &mut payload);
                    }
                    self.core().keep(sent);
                    return Ok(Reply::new(payload));
                }
                Err(error) => error,
            };
            let is_replicas = error.server_text().is_some_and(verdict::is_read_only)
                && node.is_replica(Some(sent.connection), deadline);
            let error = if is_replicas { refused_by_replica(&sent, error) } else { error };
            let mut room = Room::new(start, deadline);
            let again = if error.status() == Status::Loading { Again::AfterPause } else { Again::Now };
            room.learn(again, now.elapsed());
            last_start = if unknown.is_none() { room.last_start() } else { deadline };
            let again = match error.status() {
                // The address may have come to stand for another server: a new connection will show.
                Status::Server | Status::TransactionAborted if is_replicas => {
                    replicas += 1;
                    (attempts == 0 || replicas <= attempts)
                        && (replicas == 1 || node.pause(replicas - 2, last_start).is_some())
                }
                Status::Loading => node.pause(tries, last_start).is_some(),
                Status::Connect => Instant::now() <= last_start,
                Status::Indeterminate => node.may_repeat(&sent) && tries < REPEATS_MAX,
                _ => false,
            };
            now = Instant::now();
            if !again || now >= deadline {
                *arrived = finished.arrived.map(|replies| arrived_last(replies, unknown.as_ref()));
                self.core().keep(sent);
                return Err(honest(explained(error), unknown));
            }
            if error.is_not_executed() {
                refused = Some(error);
            } else {
                unknown = Some(error);
                last_start = deadline;
            }
            tries += 1;
            request = sent;
        }
    }

    /// Carries a request to its end on whichever of several servers it belongs to.
    fn run_routed(
        &self,
        request: Box<Request>,
        deadline: Instant,
        arrived: &mut Option<Reply>,
    ) -> Result<Reply> {
        let _held = Held::new();
        let topology = &self.core().topology;
        if self.view().way == Way::AllPrimaries && request.slot == NO_SLOT {
            return self.run_everywhere(&request, deadline);
        }
        let seen = topology.prepare(deadline)?;
        if request.shape == Shape::Pipeline {
            let place = self.view().way.place();
            let scatter = Scatter::new(self.core(), &request, place, self.view().read_from, deadline);
            let result = scatter.run(arrived);
            self.core().keep(request);
            return result;
        }
        let journey = self.journey_of(&request);
        self.travel(request, journey, seen, deadline, |node, request, times| {
            self.attempt(node, request, times)
        })
    }

    /// Goes on with a call that was refused, or lost and may run twice.
    fn travel_on(
        &self,
        mut request: Box<Request>,
        deadline: Instant,
        node: &Arc<Node>,
        error: Error,
    ) -> Result<Reply> {
        let topology = &self.core().topology;
        let mut journey = self.journey_of(&request);
        let seen = topology.generation();
        let witness = Witness::new(topology, node, deadline);
        let again = journey.failed(topology, &witness, error, node.may_repeat(&request))?;
        let last_start = journey.last_start(&Room::new(Instant::now(), deadline));
        wait(topology, again, 0, seen, last_start).map_err(|error| journey.ended_by(error, last_start))?;
        if Instant::now() > last_start {
            return Err(journey.out_of_time());
        }
        request.asking = false;
        self.travel(request, journey, topology.generation(), deadline, |node, request, times| {
            self.attempt(node, request, times)
        })
    }

    /// One try on the connection that all calls share.
    fn attempt(&self, node: &Arc<Node>, request: Box<Request>, times: Times) -> Tried {
        match self.core().topology.link(node, times.connect_until) {
            // Finding the server may have taken long.
            Ok(link) => Tried::of(link.call(request, Instant::now(), times.deadline)),
            Err(error) => Tried::Failed(error, Some(request)),
        }
    }

    fn journey_of(&self, request: &Request) -> Journey {
        let place = if request.slot == NO_SLOT { self.view().way.place() } else { Place::Slot(request.slot) };
        let reads = request.shape == Shape::Single && request.items[0].read_only;
        let read_from = if reads { self.view().read_from } else { ReadFrom::Primary };
        // A transaction is refused as a whole by the server alone.
        let may_be_forged = request.shape == Shape::Single && request.items[0].script.is_some();
        let is_checked_first = request.shape == Shape::Single && request.is_checked_first(0);
        Journey::new(place, read_from, may_be_forged, is_checked_first)
    }

    /// Takes a call or a transaction from server to server until one has run it.
    fn travel(
        &self,
        mut request: Box<Request>,
        mut journey: Journey,
        mut seen: u64,
        deadline: Instant,
        attempt: impl Fn(&Arc<Node>, Box<Request>, Times) -> Tried,
    ) -> Result<Reply> {
        let topology = &self.core().topology;
        let mut now = Instant::now();
        let mut room = Room::new(now, deadline);
        // A first try has no certainty to lose.
        let mut last_start = deadline;
        loop {
            let Next { node, asking } = journey.next(topology, request.repeatable, last_start)?;
            let may_turn = journey.may_turn_from(topology, &node);
            // Half of the time is for another server that the call may turn to.
            let half = now + deadline.saturating_duration_since(now) / 2;
            let connect_until = if may_turn { last_start.min(half) } else { last_start };
            // A replica that is too old for read-only scripts shows it when there is a connection.
            let linked = may_turn.then(|| topology.link(&node, connect_until)).and_then(Result::ok);
            if linked.is_some() && journey.turns_away_from(topology, &node) {
                continue;
            }
            request.asking = asking;
            // One that has let others wait in vain may do so again.
            let is_suspect = linked.is_some_and(|link| link.is_suspect());
            let spare = (is_suspect && node.may_repeat(&request)).then(|| self.core().copy(&request));
            let until = if spare.is_some() { half } else { deadline };
            let (error, sent) = match attempt(&node, request, Times { connect_until, deadline: until }) {
                Tried::Unusable(unsent) => {
                    journey.hold(Next { node, asking });
                    request = unsent;
                    continue;
                }
                Tried::Answered(reply, sent) => {
                    self.core().keep(sent);
                    return Ok(reply);
                }
                Tried::Failed(error, Some(sent)) => (error, sent),
                Tried::Failed(error, None) => {
                    node.rest();
                    topology.doubt(&node);
                    match spare {
                        Some(spare) => (error, spare),
                        None => return Err(journey.honest(error)),
                    }
                }
            };
            let took = now.elapsed();
            let tries = journey.tries();
            let repeatable = node.may_repeat(&sent);
            let next = journey
                .failed(topology, &Witness::new(topology, &node, deadline), error, repeatable)
                .and_then(|again| {
                    room.learn(again, took);
                    last_start = journey.last_start(&room);
                    wait(topology, again, tries, seen, last_start)
                });
            now = Instant::now();
            let error = match next {
                Ok(()) if now < last_start => {
                    seen = topology.generation();
                    request = sent;
                    continue;
                }
                Ok(()) => journey.out_of_time(),
                Err(error) => journey.ended_by(error, last_start),
            };
            self.core().keep(sent);
            return Err(error);
        }
    }

    /// Has every primary run a command or script without keys.
    fn run_everywhere(&self, request: &Request, deadline: Instant) -> Result<Reply> {
        if request.shape != Shape::Single {
            let text = "a pipeline or transaction has one reply an item, and cannot go to all primaries; nothing was sent";
            return Err(Error::new(Status::NoRoute, text));
        }
        self.core().topology.prepare_primaries(deadline)?;
        let answers = everywhere(self.core(), || Ok(self.core().copy(request)), deadline)?;
        as_map(&self.core().topology, &answers, &request.name_of(0))
    }

    /// What every primary says to a command.
    pub(crate) fn ask_everywhere(&self, arguments: &[&[u8]]) -> Result<Vec<(Arc<Node>, Result<Reply>)>> {
        let _held = Held::new();
        self.core().check_process()?;
        let deadline = Instant::now() + self.view().timeout;
        self.core().topology.prepare_primaries(deadline)?;
        let make = || {
            let mut request = self.core().take_request(Shape::Single);
            request.command(arguments).map(|()| request)
        };
        everywhere(self.core(), make, deadline)
    }

    /// What comes of asking every primary, side by side.
    pub(crate) fn ask_everywhere_apart<T: Send>(
        &self,
        ask: impl Fn(&Node, Instant) -> Result<T> + Sync,
    ) -> Result<Vec<(Arc<Node>, Result<T>)>> {
        let _held = Held::new();
        self.core().check_process()?;
        self.ask_everywhere_until(Instant::now() + self.view().timeout, ask)
    }

    fn ask_everywhere_until<T: Send>(
        &self,
        deadline: Instant,
        ask: impl Fn(&Node, Instant) -> Result<T> + Sync,
    ) -> Result<Vec<(Arc<Node>, Result<T>)>> {
        let topology = &self.core().topology;
        topology.prepare_primaries(deadline)?;
        let primaries = topology.primaries();
        // A server that does not answer must not use up the others' time.
        Ok(thread::scope(|scope| {
            let (first, rest) =
                primaries.split_first().map_or((None, &[][..]), |(node, rest)| (Some(node), rest));
            let ask = &ask;
            let handles: Vec<_> = rest
                .iter()
                .map(|node| threads::spawn_scoped(scope, "rs_script-ask", move || ask(node, deadline)))
                .collect();
            let first = first.map(|node| ask(node, deadline));
            let defect = || Err(Error::new(Status::Internal, "a thread that asks a server panicked"));
            let rest = handles.into_iter().map(|handle| match handle {
                Ok(handle) => handle.join().unwrap_or_else(|_| defect()),
                Err(error) => Err(threads::none_left(&error)),
            });
            primaries.iter().cloned().zip(first.into_iter().chain(rest)).collect()
        }))
    }

    /// Carries a request to its end on a connection of its own, made for it.
    pub(crate) fn run_apart(&self, request: Box<Request>, purpose: Purpose) -> Result<Reply> {
        self.run_apart_until(request, purpose, Instant::now() + self.view().timeout, &Leash::default())
    }

    fn run_apart_until(
        &self,
        request: Box<Request>,
        purpose: Purpose,
        deadline: Instant,
        leash: &Leash,
    ) -> Result<Reply> {
        let _held = Held::new();
        let topology = &self.core().topology;
        if self.view().way == Way::AllPrimaries && purpose == Purpose::Bare {
            let answers = self.ask_everywhere_until(deadline, |node, deadline| {
                let copy = self.core().copy(&request);
                call_apart(node, purpose, copy, Times::up_to(deadline), leash).into_result()
            })?;
            return as_map(topology, &answers, &request.name_of(0));
        }
        if let Some(node) = topology.only() {
            return call_apart(node, purpose, request, Times::up_to(deadline), leash).into_result();
        }
        let seen = topology.prepare(deadline)?;
        let journey = self.journey_of(&request);
        self.travel(request, journey, seen, deadline, |node, request, times| {
            call_apart(node, purpose, request, times, leash)
        })
    }
}

/// The replies that arrived of the last try. After one whose outcome is `unknown` they prove nothing: what was not executed now may have been before.
fn arrived_last(mut replies: Box<Payload>, unknown: Option<&Error>) -> Reply {
    if unknown.is_some() {
        replies.claim_nothing();
    }
    Reply::new(replies)
}

/// Whether an item of a pipeline or transaction was refused by a server that calls itself a replica.
#[inline]
pub(crate) fn has_read_only(payload: &Payload) -> bool {
    let is_read_only =
        |payload: &Payload| payload.notes.iter().any(|note| verdict::is_read_only(payload.text(note.at)));
    !payload.notes.is_empty() && is_read_only(payload)
}

/// The error of a call that a server refused which is known to be a replica, if it is for that.
fn refused_by_replica(request: &Request, error: Error) -> Error {
    let refused = error.server_text().and_then(verdict::refused_before_it_began);
    if refused == Some(Refused::ReadOnly) && request.shape == Shape::Single && request.is_checked_first(0) {
        error.certainly_not_executed()
    } else {
        error
    }
}

/// Notes which items a server that is a replica has refused before they began.
fn note_refused(request: &Request, payload: &mut Payload) {
    for place in 0..payload.notes.len() {
        let (at, item) = (payload.notes[place].at, payload.notes[place].item);
        let refused = verdict::refused_before_it_began(payload.text(at));
        payload.notes[place].not_executed |=
            refused == Some(Refused::ReadOnly) && request.is_checked_first(item);
    }
}

/// A single server that redirects is more than that.
fn explained(error: Error) -> Error {
    match error.server_text().and_then(verdict::not_served) {
        Some(NotServed::Moved { .. } | NotServed::Ask { .. }) => {
            error.context("this server is a node of a cluster, to be opened with redis+cluster://")
        }
        _ => error,
    }
}

/// The times of one try.
#[derive(Clone, Copy)]
struct Times {
    /// No connection after this time.
    connect_until: Instant,
    /// No reply after this one.
    deadline: Instant,
}

impl Times {
    fn up_to(deadline: Instant) -> Times {
        Times { connect_until: deadline, deadline }
    }
}

/// What came of one try on one server.
enum Tried {
    Answered(Reply, Box<Request>),
    /// Without the request where its time is over.
    Failed(Error, Option<Box<Request>>),
    /// The connection had ended before: nothing was tried.
    Unusable(Box<Request>),
}

impl Tried {
    fn of(end: End) -> Tried {
        match end {
            End::Finished(Finished { result: Ok(payload), request, .. }) => {
                Tried::Answered(Reply::new(payload), request)
            }
            End::Finished(Finished { result: Err(error), request, .. }) => {
                Tried::Failed(error, Some(request))
            }
            End::Late(error, _) => Tried::Failed(error, None),
            End::Unusable(unsent) => Tried::Unusable(unsent),
        }
    }

    fn into_result(self) -> Result<Reply> {
        match self {
            Tried::Answered(reply, _) => Ok(reply),
            Tried::Failed(error, _) => Err(error),
            Tried::Unusable(_) => Err(Error::closed()),
        }
    }
}

fn call_apart(
    node: &Node,
    purpose: Purpose,
    request: Box<Request>,
    Times { connect_until, deadline, .. }: Times,
    leash: &Leash,
) -> Tried {
    let mut unsent = Some(request);
    let tried = node.apart(purpose, connect_until, |link| {
        leash.hold(link)?;
        match unsent.take() {
            Some(request) => match link.call(request, Instant::now(), deadline) {
                End::Unusable(request) => {
                    Ok(Tried::Failed(link.cause().unwrap_or_else(Error::closed), Some(request)))
                }
                end => Ok(Tried::of(end)),
            },
            None => Err(Error::closed()),
        }
    });
    tried.unwrap_or_else(|error| Tried::Failed(error, unsent))
}
