//! What servers have said when they were asked about a call that they refused.
//!
//! A judgement that needs an answer which is not there yet ends with [`Need`]; it is made once more when the server
//! has been asked.

use std::time::Instant;

use super::answers::{Claim, NodeLines};
use super::servers::{Servers, is_recent};
use crate::core::interface::{ConnId, NodeId};
use crate::net::address::Address;

/// A question to a server in its own right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::core) enum Question {
    /// CLUSTER NODES; where this user may not ask that, what CLUSTER SLOTS says of it.
    Nodes,
    /// ROLE.
    Role,
    /// ROLE or HELLO, on this very connection.
    RoleOn(ConnId),
    /// CLUSTER INFO.
    Info,
}

/// The answer to this question, by this server, has to be there first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct Need {
    pub(in crate::core) node: NodeId,
    pub(in crate::core) question: Question,
}

#[derive(Debug)]
pub(in crate::core) enum Answer {
    /// `None`: it cannot be asked.
    Nodes(Option<NodeLines>),
    IsReplica(bool),
    IsDown(bool),
}

/// The answers so far: each server is asked once, however many calls it has refused at a time.
#[derive(Debug, Default)]
pub(in crate::core) struct Evidence(Vec<(Need, Answer)>);

impl Evidence {
    pub(in crate::core) fn add(&mut self, need: Need, answer: Answer) {
        self.0.push((need, answer));
    }

    pub(in crate::core) fn clear(&mut self) {
        self.0.clear();
    }

    fn get(&self, node: NodeId, question: Question) -> Result<&Answer, Need> {
        let need = Need { node, question };
        self.0.iter().find(|(known, _)| *known == need).map(|(_, answer)| answer).ok_or(need)
    }

    fn lines(&self, node: NodeId) -> Result<Option<&NodeLines>, Need> {
        match self.get(node, Question::Nodes)? {
            Answer::Nodes(lines) => Ok(lines.as_ref()),
            _ => Ok(None),
        }
    }

    /// Whether the server stands by what it has said of a slot; an answer that only a script made up it does not know
    /// of. `None`: nobody can tell. It cannot be asked; or it may have the slot again by now, where slots are moving.
    pub(in crate::core) fn stands_by(
        &self,
        node: NodeId,
        (slot, claim): (u16, Claim),
        servers: &Servers,
        now: Instant,
    ) -> Result<Option<bool>, Need> {
        let stands = self.lines(node)?.map(|lines| lines.bears_out(slot, claim));
        Ok(stands.filter(|stands| *stands || !servers.have_slots_moved(now)))
    }

    /// How it calls the server at this address, if it names that as the one that has the slot, or takes it over.
    pub(in crate::core) fn names(
        &self,
        node: NodeId,
        (slot, claim): (u16, Claim),
        address: &Address,
        servers: &Servers,
    ) -> Result<Option<[Address; 2]>, Need> {
        Ok(self.lines(node)?.and_then(|lines| lines.names(slot, claim, address, &servers.config)))
    }

    /// Whether the cluster is down, as the server sees it, or nobody has the slot; or was a moment ago, for it may be
    /// well again by the time that it is asked.
    pub(in crate::core) fn is_unserved(
        &self,
        node: NodeId,
        slot: u16,
        servers: &mut Servers,
        now: Instant,
    ) -> Result<bool, Need> {
        let says_down = matches!(self.get(node, Question::Info)?, Answer::IsDown(true));
        if says_down || self.lines(node)?.is_some_and(|lines| !lines.is_anybodys(slot)) {
            servers.down = Some(now);
        }
        Ok(is_recent(servers.down, now))
    }

    /// Whether the server says that it is a replica; of the only one there is, whether that is so on the connection
    /// that the call was on: its address may stand for another server by now.
    pub(in crate::core) fn is_replica(
        &self,
        node: NodeId,
        conn: Option<ConnId>,
        servers: &Servers,
    ) -> Result<bool, Need> {
        let question = match conn.filter(|_| servers.only == Some(node)) {
            Some(conn) if servers.node(node).is_known_replica(conn) => return Ok(true),
            Some(conn) => Question::RoleOn(conn),
            None => Question::Role,
        };
        Ok(matches!(self.get(node, question)?, Answer::IsReplica(true)))
    }
}
