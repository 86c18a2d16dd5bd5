//! A connection, as far as it has been made.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::login::Login;
use crate::base::purpose::Purpose;
use crate::config::Config;
use crate::core::interface::{AttemptId, NodeId};
use crate::session::Facts;
use crate::session::handshake::Handshake;

/// A connection, or an attempt to make one.
pub(in crate::core) struct Conn {
    pub(in crate::core) node: NodeId,
    pub(in crate::core) purpose: Purpose,
    /// The attempt that it is made for alone.
    pub(in crate::core) own: Option<AttemptId>,
    /// It may be kept for another attempt once that is over; no longer than its credentials are good for.
    pub(in crate::core) stays: bool,
    pub(in crate::core) until: Option<Instant>,
    pub(in crate::core) is_reused: bool,
    /// Since when nobody uses it.
    pub(in crate::core) kept_since: Option<Instant>,
    pub(in crate::core) facts: Arc<Facts>,
    pub(in crate::core) config: Arc<Config>,
    pub(in crate::core) login: Login,
    pub(in crate::core) started: Instant,
    pub(in crate::core) deadline: Instant,
    pub(in crate::core) stage: Stage,
    /// What is left to be tried.
    pub(in crate::core) peers: VecDeque<SocketAddr>,
    /// The one that is being tried.
    pub(in crate::core) peer: Option<SocketAddr>,
    /// Addresses of the host.
    pub(in crate::core) count: usize,
    pub(in crate::core) refusals: Vec<String>,
    pub(in crate::core) handshake: Option<Handshake>,
    /// Its attempt that is under way.
    pub(in crate::core) said: Option<AttemptId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Stage {
    Resolving,
    Dialing {
        until: Instant,
    },
    /// The server waits for what it is told first, and this side for its credentials.
    Asking,
    Handshaking,
    Up,
}

impl Conn {
    /// Whether a round of the handshake is under way.
    pub(in crate::core) fn is_shaking(&self) -> bool {
        self.stage == Stage::Handshaking && self.said.is_some()
    }

    /// Whether it is the own one of a command that waits on its server.
    pub(in crate::core) fn is_of_waiting(&self) -> bool {
        self.own.is_some() && self.purpose == Purpose::Waiting
    }

    /// Whether it can be told to log in once more: what was given for it before may be no good any more.
    pub(in crate::core) fn logs_in_again(&self) -> bool {
        let was_asked = matches!(self.stage, Stage::Asking | Stage::Handshaking | Stage::Up);
        was_asked && self.own.is_none() && self.config.credentials.is_some()
    }

    pub(in crate::core) fn due(&self) -> Option<Instant> {
        match self.stage {
            Stage::Resolving | Stage::Asking | Stage::Handshaking => Some(self.deadline),
            Stage::Dialing { until } => Some(until),
            Stage::Up => None,
        }
    }
}
