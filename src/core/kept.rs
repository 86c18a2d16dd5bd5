//! Connections of calls that wait for replicas, between two such calls: each is kept for the next one, for a while.
//!
//! WAIT counts what its own connection has written, so a call has a connection for itself. Making one for each call
//! would cost it a connect, a login and its scripts every time.

use std::time::{Duration, Instant};

use super::interface::{Actions, AttemptId, ConnId, NodeId, Owner};
use super::state::attempt::State;
use super::state::conn::Stage;
use super::state::engine::Engine;
use super::state::timers::Timer;
use crate::error::{Result, Status};
use crate::resp::Payload;
use crate::session::verdict;

/// So many are kept of one server's at most.
const PER_SERVER: usize = 8;

/// One that nobody has used for so long is closed.
const IDLE: Duration = Duration::from_secs(10);

impl<T: Owner> Engine<T> {
    /// Puts an attempt that waits for replicas on a connection that is kept for its server. `false`: there is none.
    pub(super) fn put_on_kept(&mut self, now: Instant, io: &mut dyn Actions<T>, id: AttemptId) -> bool {
        let Some(attempt) = self.attempt(id) else { return false };
        let waits = attempt.request.as_ref().is_some_and(|request| request.wait.is_some());
        let node = attempt.node;
        let Some(&kept) = self.servers.node(node).kept.last().filter(|_| waits) else { return false };
        let is_current = self.conns.get(&kept).is_some_and(|conn| conn.until.is_none_or(|until| now < until));
        if !is_current || !io.is_quiet(kept, now) {
            // Its server may be gone, and then the others are no better.
            self.drop_kept(io, node);
            return false;
        }
        self.servers.node_mut(node).kept.pop();
        self.idle_conns -= 1;
        if let Some(conn) = self.conns.get_mut(&kept) {
            (conn.own, conn.kept_since, conn.is_reused) = (Some(id), None, true);
        }
        self.put(now, io, id, kept);
        true
    }

    /// A connection has ended under the attempt that was put on it, which is unsent: it takes another.
    pub(super) fn put_on_another(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: AttemptId,
        conn: ConnId,
    ) {
        if let Some(attempt) = self.attempt_mut(id) {
            attempt.state = State::InLine;
        }
        self.drop_own(io, conn);
        self.run(now, io, id);
    }

    /// An attempt that waited for replicas is over: its connection is kept, or closed.
    pub(super) fn leave_waiting(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: ConnId,
        result: &Result<Box<Payload>>,
    ) {
        let node = self.conns.get(&id).map(|conn| conn.node);
        if !is_in_order(result) {
            self.drop_own(io, id);
            node.into_iter().for_each(|node| self.drop_kept(io, node));
        } else if !self.keep(now, id) {
            self.drop_own(io, id);
        }
    }

    /// Keeps a connection. `false`: it is not to be kept, or there are enough.
    fn keep(&mut self, now: Instant, id: ConnId) -> bool {
        let Some(conn) = self.conns.get_mut(&id) else { return false };
        let node = self.servers.node_mut(conn.node);
        let may_stay = conn.stays && conn.stage == Stage::Up && conn.until.is_none_or(|until| now < until);
        if self.is_closed || !may_stay || node.kept.len() >= PER_SERVER {
            return false;
        }
        node.kept.push(id);
        conn.kept_since = Some(now);
        self.idle_conns += 1;
        let due = conn.kept_until();
        self.mind_kept(due);
        true
    }

    fn mind_kept(&mut self, due: Option<Instant>) {
        if let Some(due) = due
            && self.kept_due.is_none_or(|before| due < before)
        {
            self.kept_due = Some(due);
            self.timers.add(due, Timer::Kept);
        }
    }

    /// Closes those that nobody has used for long, and those whose credentials are old.
    pub(super) fn kept_due(&mut self, now: Instant, io: &mut dyn Actions<T>) {
        self.kept_due = None;
        let all: Vec<ConnId> = self.servers.all().flat_map(|node| node.kept.iter().copied()).collect();
        for id in all {
            match self.conns.get(&id).and_then(|conn| conn.kept_until()) {
                Some(until) if until > now => self.mind_kept(Some(until)),
                _ => self.drop_own(io, id),
            }
        }
    }

    /// Closes those of one server.
    pub(super) fn drop_kept(&mut self, io: &mut dyn Actions<T>, node: NodeId) {
        for id in std::mem::take(&mut self.servers.node_mut(node).kept) {
            self.drop_own(io, id);
        }
    }

    /// Closes the one that was not used for longest, so that another may be made. `false`: there is none.
    pub(super) fn drop_oldest_kept(&mut self, io: &mut dyn Actions<T>) -> bool {
        if self.idle_conns == 0 {
            return false;
        }
        let all = self.servers.all().filter_map(|node| node.kept.first().copied());
        let oldest = all.min_by_key(|id| (self.conns.get(id).and_then(|conn| conn.kept_since), *id));
        oldest.into_iter().for_each(|id| self.drop_own(io, id));
        oldest.is_some()
    }

    /// What connections have logged in with is to be renewed: none is used again that stands by now.
    pub(super) fn drop_kept_logins(&mut self, io: &mut dyn Actions<T>) {
        for conn in self.conns.values_mut().filter(|conn| conn.is_of_waiting()) {
            conn.stays = false;
        }
        while self.drop_oldest_kept(io) {}
    }

    /// Closes those of servers that are no primaries any more.
    pub(super) fn drop_kept_of_others(&mut self, io: &mut dyn Actions<T>) {
        let servers = &self.servers;
        let others: Vec<NodeId> = servers
            .all()
            .filter(|node| !node.kept.is_empty() && Some(node.id) != servers.only)
            .map(|node| node.id)
            .filter(|node| !servers.map.is_primary(*node))
            .collect();
        others.into_iter().for_each(|node| self.drop_kept(io, node));
    }
}

impl super::state::conn::Conn {
    /// When it is closed, if nobody uses it.
    pub(in crate::core) fn kept_until(&self) -> Option<Instant> {
        let idle = self.kept_since? + IDLE;
        Some(self.until.map_or(idle, |until| until.min(idle)))
    }
}

/// Whether what has come of an attempt speaks for its connection and its server: all replies are there, and none is a
/// refusal that another server is to be asked for.
fn is_in_order(result: &Result<Box<Payload>>) -> bool {
    let is_own = |status: Status| {
        matches!(
            status,
            Status::Server
                | Status::TokenMismatch
                | Status::ReplyNotKept
                | Status::NotReplicated
                | Status::NotSupported
        )
    };
    let is_refusal = |text: &[u8]| verdict::may_be_replica(text) || verdict::not_served(text).is_some();
    match result {
        Ok(payload) => {
            payload.notes.iter().all(|note| is_own(note.status) && !is_refusal(payload.text(note.at)))
        }
        Err(error) => {
            let is_refusal = |text| is_refusal(text) || verdict::will_not_wait_now(text);
            is_own(error.status()) && !error.server_text().is_some_and(is_refusal)
        }
    }
}
