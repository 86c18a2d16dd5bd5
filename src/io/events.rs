//! What has happened at the sockets, on its way to the engine; and what the engine wants done, until its lock is let
//! go of.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::dial::Dialing;
use super::link::{Link, News};
use super::owner::Owner;
use super::table::Conn;
use crate::base::credentials::Credentials;
use crate::base::log::Record;
use crate::core::{AttemptId, ConnId, Engine, Peer};
use crate::error::{Error, Result};
use crate::net::address::Address;
use crate::resp::Reply;
use crate::session::Facts;

/// What the engine is to be told.
pub(crate) enum Event {
    OfLink(News),
    Resolved(ConnId, Result<Vec<SocketAddr>>),
    /// With the time at which they were asked for.
    Credentials(ConnId, Instant, Result<Arc<Credentials>>),
    /// With the number of the try.
    Connected(ConnId, u64, Arc<Link>),
    Refused(ConnId, u64, Error),
    /// A try goes on when its socket is ready.
    Pending(ConnId, u64, Box<Dialing>),
}

impl From<News> for Event {
    fn from(news: News) -> Self {
        Event::OfLink(news)
    }
}

/// What is done without the engine's lock.
#[derive(Default)]
pub(crate) struct Effects {
    /// Links to send what is queued on them, and to tell what has become of them.
    pub(crate) push: Vec<Arc<Link>>,
    pub(crate) close: Vec<(Arc<Link>, Error)>,
    pub(crate) dial: Vec<Dial>,
    pub(crate) resolve: Vec<(ConnId, String, u16)>,
    pub(crate) ask: Vec<(ConnId, Address)>,
    pub(crate) remind: Vec<Instant>,
    pub(crate) complete: Vec<(Owner, Result<Reply>, Option<Reply>)>,
    pub(crate) log: Vec<Record>,
    /// What is only to be dropped.
    pub(crate) drop: Vec<Conn>,
    pub(crate) engine: Option<Box<Engine<Owner>>>,
    /// What has come of it meanwhile: the engine is to be told.
    pub(crate) events: Vec<Event>,
    /// Links that have panicked when they were given an attempt, which is lost.
    pub(crate) defects: Vec<(Arc<Link>, AttemptId)>,
    /// Who turns the reactor must look at the time again.
    pub(crate) wake: bool,
    /// The queues without a thread must be readable at another time.
    pub(crate) set_timer: bool,
}

/// The longest list that is kept.
pub(crate) const KEPT_EFFECTS_MAX: usize = 4096;

/// A connection to be made.
pub(crate) struct Dial {
    pub(crate) conn: ConnId,
    /// Which try it is.
    pub(crate) number: u64,
    pub(crate) peer: Peer,
    pub(crate) address: Address,
    pub(crate) facts: Arc<Facts>,
}

impl Effects {
    /// Notes that a link has something to send. Those of one batch follow each other.
    pub(crate) fn push(&mut self, link: &Arc<Link>) {
        if !self.push.iter().rev().take(8).any(|other| Arc::ptr_eq(other, link)) {
            self.push.push(Arc::clone(link));
        }
    }

    /// Whether a connection is to be closed or made, or logs in.
    pub(crate) fn has_connecting(&self) -> bool {
        let has_logins = !(self.ask.is_empty() && self.remind.is_empty());
        has_logins || !(self.close.is_empty() && self.dial.is_empty() && self.resolve.is_empty())
    }

    /// Whether there is something that is done last.
    pub(crate) fn has_rest(&self) -> bool {
        !(self.log.is_empty() && self.drop.is_empty()) || self.engine.is_some()
    }

    /// Whether it may be kept for the next time: it holds no more memory than a burst of calls needs.
    pub(crate) fn is_small(&self) -> bool {
        self.push.capacity().max(self.complete.capacity()).max(self.close.capacity()) <= KEPT_EFFECTS_MAX
            && self.events.capacity() <= KEPT_EFFECTS_MAX
            && self.log.capacity().max(self.dial.capacity()).max(self.drop.capacity()) <= KEPT_EFFECTS_MAX
    }
}
