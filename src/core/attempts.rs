//! One try of a request on one server: in line for its connection, on it, over.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use slab::Slab;

use super::interface::{Actions, AttemptId, ConnId, Ended, Left, NodeId, Owner};
use super::state::attempt::{Attempt, For, Patience, State, Tried, Via};
use super::state::engine::Engine;
use super::state::history::Whence;
use super::state::servers::Link;
use super::state::timers::{FEW, Timer};
use crate::base::purpose::Purpose;
use crate::error::{Error, Reason, Result, Status};
use crate::metrics::meter::Spent;
use crate::request::Request;
use crate::resp::Payload;

impl<T: Owner> Engine<T> {
    /// Sends a request to a server, or puts it in line for that. What comes of it is told to whoever it is for, when
    /// the event is settled.
    pub(super) fn start(&mut self, now: Instant, io: &mut dyn Actions<T>, attempt: Attempt) -> AttemptId {
        self.serial += 1;
        let serial = self.serial;
        let node = match (attempt.via, self.connection_of(attempt.whose)) {
            (_, 0) | (Via::Own(_) | Via::Kept(_) | Via::This(_), _) => attempt.node,
            (Via::Shared, connection) => self.servers.sharer(attempt.node, connection),
        };
        let failed_before = self.servers.node(node).failed;
        let place = self.attempts.insert(Attempt { serial, node, failed_before, ..attempt });
        let id = AttemptId { place, serial };
        self.run(now, io, id);
        if let Some(due) = self.attempt(id).and_then(Attempt::due) {
            self.timers.add(due, Timer::Attempt(id));
            self.sweep_timers();
        }
        id
    }

    pub(super) fn run(&mut self, now: Instant, io: &mut dyn Actions<T>, id: AttemptId) {
        let Some(attempt) = self.attempt(id) else { return };
        let (node, via) = (attempt.node, attempt.via);
        if self.is_closed {
            return self.fail(now, io, id, Error::closed());
        }
        match via {
            Via::This(conn) => self.put(now, io, id, conn),
            Via::Own(Purpose::Waiting) if self.put_on_kept(now, io, id) => {}
            Via::Own(Purpose::Waiting)
                if self.waiting_conns >= self.servers.config.max_waiting && !self.drop_oldest_kept(io) =>
            {
                line_up(&mut self.own_line, id, &self.attempts);
            }
            Via::Own(purpose) | Via::Kept(purpose) => {
                let conn = self.connect(now, io, node, purpose, Some(id));
                if let Some(attempt) = self.attempt_mut(id)
                    && attempt.state == State::InLine
                {
                    attempt.state = State::Connecting(conn);
                }
            }
            Via::Shared => self.run_shared(now, io, id),
        }
    }

    /// A command that waits on its server has ended: the next one may.
    pub(super) fn run_next_waiting(&mut self, now: Instant, io: &mut dyn Actions<T>) {
        if let Some(id) = self.own_line.pop_front() {
            self.run(now, io, id);
        }
    }

    fn run_shared(&mut self, now: Instant, io: &mut dyn Actions<T>, id: AttemptId) {
        let attempt = &self.attempts[id.place];
        let node = self.servers.node(attempt.node);
        match node.link {
            Link::Up(conn) => return self.put(now, io, id, conn),
            Link::None if attempt.patience == Patience::Once => {
                if let Some(error) = self.servers.node(node.first).down_since_just_now(now) {
                    let error = error.clone();
                    return self.fail(now, io, id, error);
                }
                // A primary that sentinels watch is connected to only when they have just named it: lost, it may be
                // another by now.
                let is_call = matches!(attempt.whose, For::Call(_) | For::Part(..));
                let is_known = self.servers.map.is_replica(node.first)
                    || node.first != node.id && matches!(self.servers.node(node.first).link, Link::Up(_));
                if is_call && self.servers.is_watched() && !is_known {
                    let text = format!("the connection to {} was lost; nothing was sent", node.address);
                    let error = Error::because(Status::Connect, Reason::ConnectionLost, text).on(&node.name);
                    return self.fail(now, io, id, error);
                }
            }
            _ => {}
        }
        let node = attempt.node;
        line_up(&mut self.servers.node_mut(node).line, id, &self.attempts);
        self.connect_if_wanted(now, io, node);
    }

    /// Puts an attempt on a connection.
    pub(super) fn put(&mut self, now: Instant, io: &mut dyn Actions<T>, id: AttemptId, conn: ConnId) {
        let Some(attempt) = self.attempts.get_mut(id.place).filter(|it| it.serial == id.serial) else {
            return;
        };
        if attempt.turns_if_old && !self.servers.node(attempt.node).enforces_read_only() {
            return self.turn(now, io, id);
        }
        // Whoever tells the time may have been held up, and what it was waiting for has come first.
        if now >= attempt.deadline && matches!(attempt.whose, For::Call(_) | For::Part(..)) {
            let text = format!(
                "the deadline of {} ms passed before the call could be sent; nothing was sent",
                attempt.timeout.as_millis()
            );
            let error = Error::new(Status::Timeout, text).on(&self.servers.node(attempt.node).name);
            if attempt.via != Via::Shared {
                // Whoever has made the connection for it ends that as well.
                attempt.state = State::Connecting(conn);
            }
            return self.fail(now, io, id, error);
        }
        let Some(request) = attempt.request.take() else {
            return self.over(now, io, id, None, Ok(Box::default()), None);
        };
        let size = request.size_sent();
        match io.send(conn, id, request, now) {
            Ok(key) => {
                attempt.size = Some(size);
                let was_due = attempt.due();
                attempt.state = State::On(conn, key);
                // One that was in line has an earlier time in the heap.
                if was_due != attempt.due()
                    && let Some(due) = attempt.due()
                {
                    self.timers.add(due, Timer::Attempt(id));
                }
            }
            Err(unsent) => {
                attempt.request = Some(unsent);
                let is_reused = self.conns.get(&conn).is_some_and(|conn| conn.is_reused);
                match attempt.via {
                    Via::Shared => {
                        attempt.state = State::InLine;
                        self.unlink(now, io, conn);
                        self.run_shared(now, io, id);
                    }
                    Via::Own(Purpose::Waiting) if is_reused => self.put_on_another(now, io, id, conn),
                    Via::Own(_) | Via::Kept(_) | Via::This(_) => {
                        let node = attempt.node;
                        let error = self.why_lost(io, conn, node);
                        self.fail(now, io, id, error);
                    }
                }
            }
        }
    }

    fn turn(&mut self, now: Instant, io: &mut dyn Actions<T>, id: AttemptId) {
        let error = Error::new(Status::Connect, "the server is too old for read-only scripts");
        self.fail(now, io, id, error);
        if let Some((_, tried)) = self.tried.back_mut() {
            tried.turned = true;
        }
    }

    /// Ends an attempt of which nothing was sent.
    pub(super) fn fail(&mut self, now: Instant, io: &mut dyn Actions<T>, id: AttemptId, error: Error) {
        let Some(attempt) = self.attempt_mut(id) else { return };
        let request = attempt.request.take();
        self.over(now, io, id, request, Err(error), None);
    }

    fn over(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: AttemptId,
        request: Option<Box<Request>>,
        result: Result<Box<Payload>>,
        arrived: Option<Box<Payload>>,
    ) {
        let attempt = self.attempts.remove(id.place);
        let conn = attempt.conn();
        if let (Via::Own(_), Some(conn)) = (attempt.via, conn) {
            match &request {
                Some(request) if request.wait.is_some() => self.leave_waiting(now, io, conn, &result),
                _ => self.drop_own(io, conn),
            }
        }
        let whence = Whence { node: self.servers.node(attempt.node).first, conn };
        let took = now.saturating_duration_since(attempt.started);
        let size = attempt.size.filter(|_| self.is_metered);
        let spent = size.map(|size| Spent::on(size, request.as_deref(), &result, arrived.as_deref()));
        let tried = Tried { whence, request, result, arrived, took, turned: false, spent };
        self.tried.push_back((attempt.whose, tried));
    }

    /// An attempt has ended on its connection.
    pub(super) fn attempt_ended(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: AttemptId,
        ended: Ended,
    ) {
        if self.attempt(id).is_none() {
            return io.keep(ended.request);
        }
        self.over(now, io, id, Some(ended.request), ended.result, ended.arrived);
    }

    /// The time of an attempt is over.
    pub(super) fn attempt_due(&mut self, now: Instant, io: &mut dyn Actions<T>, id: AttemptId) {
        let Some(attempt) = self.attempt(id) else { return };
        match attempt.state {
            State::InLine | State::Connecting(_) => {
                let error = self.not_connected_in_time(io, attempt);
                self.fail(now, io, id, error);
            }
            State::On(..) => {
                let waited = attempt.timeout;
                let node = attempt.node;
                if let Some(left) = self.give_up(now, io, id, Duration::ZERO) {
                    let error = self.late(node, waited, &left);
                    self.over(now, io, id, None, Err(error), left.arrived);
                }
            }
            State::Ending(_) => {}
        }
    }

    /// Leaves an attempt alone that is on a connection. `None`: it is over, and its end is on the way.
    pub(super) fn give_up(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: AttemptId,
        patience: Duration,
    ) -> Option<Left> {
        let State::On(conn, key) = self.attempts[id.place].state else { return None };
        let left = io.abandon(conn, id, key, now, patience);
        if left.is_none() {
            self.attempts[id.place].state = State::Ending(conn);
        }
        left
    }

    /// Calls an attempt off: its owner is not told. Gives the replies that arrived, and whether the server may
    /// execute it. `None`: it is over, and its end is on the way.
    pub(super) fn call_off(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: AttemptId,
    ) -> Option<(NodeId, Left)> {
        let attempt = self.attempt(id)?;
        let node = attempt.node;
        let left = match attempt.state {
            State::InLine | State::Connecting(_) => Left { arrived: None, queued: false, unanswered: None },
            // Callers that keep the time themselves call off what a deadline would have ended.
            State::On(..) => self.give_up(now, io, id, self.servers.config.silence_timeout)?,
            State::Ending(_) => return None,
        };
        let attempt = self.attempts.remove(id.place);
        if let (Via::Own(_), Some(conn)) = (attempt.via, attempt.conn()) {
            self.drop_own(io, conn);
        }
        if let Some(size) = attempt.size {
            let arrived = left.arrived.as_deref();
            let received = arrived.map_or(0, |arrived| arrived.received as u64);
            let spent = Spent { attempts: 1, sent: size as u64, received };
            self.note_spent(attempt.whose, node, &spent);
        }
        if let Some(request) = attempt.request {
            io.keep(request);
        }
        Some((node, left))
    }

    fn late(&self, node: NodeId, waited: Duration, left: &Left) -> Error {
        let node = self.servers.node(node);
        let missed = format!("no reply from {} within {} ms", node.address, waited.as_millis());
        let error = if left.queued {
            let text = "the call was sent, so the server may have executed it or may yet do so";
            Error::indeterminate(Reason::Deadline, format!("{missed}; {text}"))
        } else {
            Error::new(Status::Timeout, format!("{missed}; nothing was sent that it could execute"))
        };
        let error = error.on(&node.name);
        match left.unanswered {
            Some(index) => error.of_item(index),
            None => error,
        }
    }

    /// Ends those in line for a server's connection whose patience is over, after an attempt to make it has failed.
    pub(super) fn fail_in_line(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        node: NodeId,
        error: &Error,
        is_final: bool,
    ) {
        let failed = self.servers.node(node).failed;
        let line = std::mem::take(&mut self.servers.node_mut(node).line);
        for id in line {
            let Some(attempt) = self.attempt(id) else { continue };
            let lived_through = failed - attempt.failed_before;
            let is_over = match attempt.patience {
                Patience::Once => true,
                Patience::Times(0) => is_final,
                Patience::Times(times) => is_final || lived_through >= u64::from(times),
            };
            if is_over {
                self.fail(now, io, id, error.clone());
            } else {
                self.servers.node_mut(node).line.push_back(id);
            }
        }
    }
}

/// Puts an attempt at the end of a line. Those that are over stay behind in it, and are swept out when most of it must
/// be over.
fn line_up(line: &mut VecDeque<AttemptId>, id: AttemptId, attempts: &Slab<Attempt>) {
    if line.len() > FEW + 2 * attempts.len() {
        line.retain(|id| attempts.get(id.place).is_some_and(|attempt| attempt.serial == id.serial));
    }
    line.push_back(id);
}
