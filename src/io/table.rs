//! Which connections there are, and which of them plain calls may take without asking the engine.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Instant;

use super::dial::Dialing;
use super::link::Link;
use super::stats::Stats;
use crate::base::index::hash_of;
use crate::core::{ConnId, NodeId, Routes};
use crate::ffi::sys::lock::RwLock;

/// A connection, how far it is made.
pub(crate) enum Conn {
    /// The addresses of its host are looked up.
    Resolving,
    /// It is being made, by the try of that number. Without the socket while a thread has that in its hands.
    Dialing(u64, Option<Box<Dialing>>),
    Open(Arc<Link>),
}

/// The numbers of connections are given one after the other.
#[derive(Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(self.0.rotate_left(8) ^ u64::from(byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = hash_of(number);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Default)]
pub(crate) struct Table {
    conns: HashMap<ConnId, Conn, BuildHasherDefault<Spread>>,
    /// Tries to connect, so far.
    dials: u64,
    /// The earliest time at which one goes on that no socket tells of.
    retry_at: Option<Instant>,
    /// What the connections did that are gone.
    pub(crate) past: Stats,
}

impl Table {
    pub(crate) fn resolve(&mut self, conn: ConnId) -> Option<Conn> {
        self.conns.insert(conn, Conn::Resolving)
    }

    pub(crate) fn has(&self, conn: ConnId) -> bool {
        self.conns.contains_key(&conn)
    }

    pub(crate) fn is_resolving(&self, conn: ConnId) -> bool {
        matches!(self.conns.get(&conn), Some(Conn::Resolving))
    }

    /// A new try for a connection: its number, and what there was of it before.
    pub(crate) fn dial(&mut self, conn: ConnId) -> (u64, Option<Conn>) {
        self.dials += 1;
        (self.dials, self.conns.insert(conn, Conn::Dialing(self.dials, None)))
    }

    pub(crate) fn is_dialing(&self, conn: ConnId, number: u64) -> bool {
        matches!(self.conns.get(&conn), Some(Conn::Dialing(of, _)) if *of == number)
    }

    /// Puts a try down until it can go on; gives it back if nobody wants it any more.
    pub(crate) fn put_down(
        &mut self,
        conn: ConnId,
        number: u64,
        dialing: Box<Dialing>,
    ) -> Option<Box<Dialing>> {
        match self.conns.get_mut(&conn) {
            Some(Conn::Dialing(of, place)) if *of == number => {
                if let Some(at) = dialing.retry_at() {
                    self.retry_at = Some(self.retry_at.map_or(at, |before| before.min(at)));
                }
                *place = Some(dialing);
                None
            }
            _ => Some(dialing),
        }
    }

    /// The socket of a connection is ready: takes up what is to be gone on with.
    pub(crate) fn take_up(&mut self, conn: ConnId) -> Option<Ready> {
        match self.conns.get_mut(&conn)? {
            Conn::Resolving => None,
            Conn::Dialing(number, place) => Some(Ready::Dialing(conn, *number, place.take()?)),
            Conn::Open(link) => Some(Ready::Link(Arc::clone(link))),
        }
    }

    /// Takes up the tries whose time has come.
    pub(crate) fn take_due(&mut self, now: Instant, ready: &mut Vec<Ready>) {
        if self.retry_at.is_none_or(|at| at > now) {
            return;
        }
        self.retry_at = None;
        for (&conn, entry) in &mut self.conns {
            let Conn::Dialing(number, place) = entry else { continue };
            match place.as_ref().and_then(|dialing| dialing.retry_at()) {
                Some(at) if at <= now => {
                    ready.extend(place.take().map(|dialing| Ready::Dialing(conn, *number, dialing)));
                }
                Some(at) => self.retry_at = Some(self.retry_at.map_or(at, |before| before.min(at))),
                None => {}
            }
        }
    }

    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.retry_at
    }

    pub(crate) fn open(&mut self, link: &Arc<Link>) {
        self.conns.insert(link.conn(), Conn::Open(Arc::clone(link)));
    }

    #[inline]
    pub(crate) fn link(&self, conn: ConnId) -> Option<&Arc<Link>> {
        match self.conns.get(&conn)? {
            Conn::Open(link) => Some(link),
            _ => None,
        }
    }

    /// Lets go of a connection; what it did is kept.
    pub(crate) fn remove(&mut self, conn: ConnId) -> Option<Conn> {
        let removed = self.conns.remove(&conn);
        if let Some(Conn::Open(link)) = &removed {
            self.past.add(link.counters().0, 0);
        }
        removed
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.conns.values().filter_map(|conn| match conn {
            Conn::Open(link) => Some(link),
            _ => None,
        })
    }

    /// The same of all, in a child of fork, where nobody asks what they did.
    pub(crate) fn leave(&mut self) -> Vec<Conn> {
        self.conns.drain().map(|(_, conn)| conn).collect()
    }

    /// Lets go of all of them.
    pub(crate) fn take_all(&mut self) -> Vec<Conn> {
        let all: Vec<_> = self.conns.keys().copied().collect();
        all.into_iter().filter_map(|conn| self.remove(conn)).collect()
    }
}

/// What can go on.
pub(crate) enum Ready {
    Link(Arc<Link>),
    Dialing(ConnId, u64, Box<Dialing>),
}

/// The connections that plain calls take.
#[derive(Default)]
pub(crate) struct Served(RwLock<Inner>);

#[derive(Default)]
struct Inner {
    links: HashMap<NodeId, Arc<Link>>,
    routes: Option<Arc<Routes>>,
    /// By the place in `routes`.
    by_place: Vec<Option<Arc<Link>>>,
    /// That of a client with one server.
    only: Option<Arc<Link>>,
}

impl Served {
    /// The connection of a client with one server.
    #[inline]
    pub(crate) fn only(&self) -> Option<Arc<Link>> {
        self.0.read().only.clone()
    }

    /// The connection to the primary of a slot, or where there is one primary only to that.
    #[inline]
    pub(crate) fn of_slot(&self, slot: u16, is_whole: bool, now: Instant) -> Option<(NodeId, Arc<Link>)> {
        let inner = self.0.read();
        let routes = inner.routes.as_ref()?;
        if is_whole && !routes.slots.is_empty() {
            return None;
        }
        let place = routes.place_of(slot, now)?;
        let link = inner.by_place.get(place)?.as_ref()?;
        Some((*routes.nodes.get(place)?, Arc::clone(link)))
    }

    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        self.0.read().links.values().cloned().collect()
    }

    /// From now on a server has this connection, or none; gives back the one before.
    pub(crate) fn serve(&self, node: NodeId, is_only: bool, link: Option<Arc<Link>>) -> Option<Arc<Link>> {
        let mut inner = self.0.write();
        if is_only {
            inner.only = link.clone();
        }
        let before = match link {
            Some(link) => inner.links.insert(node, link),
            None => inner.links.remove(&node),
        };
        inner.arrange();
        before
    }

    pub(crate) fn route(&self, routes: Option<Arc<Routes>>) {
        let mut inner = self.0.write();
        inner.routes = routes;
        inner.arrange();
    }

    /// Lets go of all of them.
    pub(crate) fn clear(&self) {
        let before = std::mem::take(&mut *self.0.write());
        drop(before);
    }

    /// The same in a child of fork, where a thread that is missing may have them.
    pub(crate) fn leave(&self) {
        let before = self.0.try_write().map(|mut inner| std::mem::take(&mut *inner));
        drop(before);
    }
}

impl Inner {
    fn arrange(&mut self) {
        let nodes = self.routes.iter().flat_map(|routes| routes.nodes.iter());
        self.by_place = nodes.map(|node| self.links.get(node).cloned()).collect();
    }
}
