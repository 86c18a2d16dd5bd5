//! One command on every primary, as far as it has come.

use crate::core::interface::{AttemptId, NodeId, Task};
use crate::error::{Error, Result};
use crate::purpose::Purpose;
use crate::request::Request;
use crate::resp::Reply;

/// What every primary is to do, and what they have said.
pub(in crate::core) struct Everywhere {
    pub(in crate::core) work: Work,
    pub(in crate::core) purpose: Purpose,
    pub(in crate::core) done: Vec<(NodeId, Result<Reply>)>,
    pub(in crate::core) parts: Vec<Part>,
    pub(in crate::core) outstanding: usize,
    /// A server has run it, or may have.
    pub(in crate::core) was_sent: bool,
    pub(in crate::core) rounds: u32,
    pub(in crate::core) seen: u64,
    pub(in crate::core) stage: Stage,
}

pub(in crate::core) enum Work {
    /// The reply is a map from each one's address to what it said.
    Send(Box<Request>),
    Administer(Task),
}

pub(in crate::core) enum Stage {
    AwaitingMap,
    Sent,
    Pausing,
}

pub(in crate::core) struct Part {
    pub(in crate::core) node: NodeId,
    pub(in crate::core) attempt: Option<AttemptId>,
    pub(in crate::core) dialogue: Dialogue,
}

/// How far it has come to stop what a server runs, or to remove what it has.
pub(in crate::core) enum Dialogue {
    /// SCRIPT KILL, FUNCTION LIST, or a command that is no dialogue.
    First,
    /// SCRIPT KILL was refused so, since a function runs: FUNCTION STATS and FUNCTION KILL in one write, so that what
    /// has the name is what is stopped.
    Functions { refused: Error },
    /// These libraries were found there, and FUNCTION DELETE was sent for each.
    Removal { names: Vec<String> },
}

impl Everywhere {
    pub(in crate::core) fn new(work: Work, purpose: Purpose) -> Self {
        Everywhere {
            work,
            purpose,
            done: Vec::new(),
            parts: Vec::new(),
            outstanding: 0,
            was_sent: false,
            rounds: 0,
            seen: 0,
            stage: Stage::AwaitingMap,
        }
    }
}
