//! All of one client: its calls, servers and connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::{Actions, AttemptId, Call, ConnId, Ended, NodeId, Owner, Resumed};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::resp::Pool;

/// What the engine counts; the rest of the figures are the connections' own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EngineStats {
    pub(crate) reconnects: u64,
    pub(crate) redirects: u64,
}

pub(crate) struct Engine<T> {
    _owner: std::marker::PhantomData<T>,
}

impl<T: Owner> Engine<T> {
    pub(crate) fn new(config: Arc<Config>, pool: Arc<Pool>) -> Self {
        let _ = (config, pool);
        todo!()
    }

    /// The server for plain calls where there is one and no other will ever be.
    pub(crate) fn only(&self) -> Option<NodeId> {
        todo!()
    }

    /// Takes a call on.
    pub(crate) fn submit(&mut self, now: Instant, io: &mut dyn Actions<T>, call: Call<T>) {
        let _ = (now, io, call);
        todo!()
    }

    /// Goes on with a plain blocking call.
    pub(crate) fn resume(&mut self, now: Instant, io: &mut dyn Actions<T>, resumed: Resumed<T>) {
        let _ = (now, io, resumed);
        todo!()
    }

    /// A plain blocking call to this server has missed its deadline: others look elsewhere first.
    pub(crate) fn missed(&mut self, now: Instant, node: NodeId) {
        let _ = (now, node);
        todo!()
    }

    /// The look-up for a connection has ended.
    pub(crate) fn resolved(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        conn: ConnId,
        found: Result<Vec<SocketAddr>>,
    ) {
        let _ = (now, io, conn, found);
        todo!()
    }

    /// The peer has taken the connection: it takes requests now.
    pub(crate) fn connected(&mut self, now: Instant, io: &mut dyn Actions<T>, conn: ConnId) {
        let _ = (now, io, conn);
        todo!()
    }

    /// The peer has not taken the connection. The text says why, without the address.
    pub(crate) fn refused(&mut self, now: Instant, io: &mut dyn Actions<T>, conn: ConnId, why: Error) {
        let _ = (now, io, conn, why);
        todo!()
    }

    /// An attempt has ended on its connection.
    pub(crate) fn ended(&mut self, now: Instant, io: &mut dyn Actions<T>, attempt: AttemptId, ended: Ended) {
        let _ = (now, io, attempt, ended);
        todo!()
    }

    /// A connection has ended by itself, or takes no new calls. All its attempts are told by [`Engine::ended`].
    pub(crate) fn lost(&mut self, now: Instant, io: &mut dyn Actions<T>, conn: ConnId) {
        let _ = (now, io, conn);
        todo!()
    }

    /// Does what is due at this time.
    pub(crate) fn tick(&mut self, now: Instant, io: &mut dyn Actions<T>) {
        let _ = (now, io);
        todo!()
    }

    /// When [`Engine::tick`] is due next.
    pub(crate) fn next_tick(&mut self) -> Option<Instant> {
        todo!()
    }

    /// Ends a call at once that its caller does not want any more. `false`: there is none with this key of which `is_it` is true.
    pub(crate) fn cancel(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        key: u64,
        is_it: &dyn Fn(&T) -> bool,
    ) -> bool {
        let _ = (now, io, key, is_it);
        todo!()
    }

    /// Ends every call and connection; what comes after is refused.
    pub(crate) fn close(&mut self, now: Instant, io: &mut dyn Actions<T>) {
        let _ = (now, io);
        todo!()
    }

    /// Calls under way.
    pub(crate) fn len(&self) -> usize {
        todo!()
    }

    pub(crate) fn stats(&self) -> EngineStats {
        todo!()
    }
}
