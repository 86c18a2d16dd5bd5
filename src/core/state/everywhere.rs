//! One command on every primary, as far as it has come.

use crate::base::purpose::Purpose;
use crate::core::interface::{AttemptId, NodeId, Task};
use crate::error::{Error, Result};
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
    /// The map by which it was sent, and who replicated whom in it: a replica, and its primary.
    pub(in crate::core) seen: u64,
    pub(in crate::core) replicas: Vec<(NodeId, NodeId)>,
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
            replicas: Vec::new(),
            stage: Stage::AwaitingMap,
        }
    }

    pub(in crate::core) fn is_dialogue(&self) -> bool {
        matches!(self.work, Work::Administer(Task::KillAny))
    }

    /// Whether the server that answers so has done it, or may have. One that refuses script administration has not.
    pub(in crate::core) fn may_have_done(&self, answer: &Result<Reply>) -> bool {
        match (&self.work, answer) {
            (Work::Send(_), answer) => may_have_run(answer),
            (Work::Administer(_), Err(error)) => error.is_indeterminate(),
            (Work::Administer(Task::Library(task)), Ok(reply)) => !task.left_alone(reply),
            (Work::Administer(_), Ok(_)) => true,
        }
    }

    /// Whether something may have been changed somewhere, be it on a server that is no primary any more.
    pub(in crate::core) fn may_have_changed(&self) -> bool {
        let changes = match &self.work {
            Work::Administer(Task::Load(_) | Task::Flush(_)) => true,
            Work::Administer(Task::Library(task)) => task.changes(),
            Work::Administer(_) | Work::Send(_) => false,
        };
        self.was_sent && changes
    }

    /// Whether another round could have a command run once more, by the server that has taken the place of one that
    /// has run it, or may have. A new primary is not that one where it was a replica of a primary that has not run it
    /// and is none any more; of others nobody can tell, for slots move, too. And who has handed over may still count
    /// as a primary, until all its slots are known to be another's.
    pub(in crate::core) fn may_reach_heirs(
        &self,
        primaries: &[NodeId],
        may_repeat: impl Fn(NodeId) -> bool,
    ) -> bool {
        let (mut is_at_stake, mut lost) = (false, Vec::new());
        for (node, answer) in &self.done {
            let is_gone = !primaries.contains(node);
            match may_have_run(answer) {
                false if is_gone => lost.push(*node),
                false => {}
                true if may_repeat(*node) => {}
                true if is_gone => return true,
                true => is_at_stake = true,
            }
        }
        let is_new = |node: &&NodeId| !self.done.iter().any(|(other, _)| other == *node);
        let new: Vec<NodeId> = primaries.iter().filter(is_new).copied().collect();
        let is_heir_of_lost = |node: &NodeId| {
            self.replicas.iter().any(|(replica, primary)| replica == node && lost.contains(primary))
        };
        is_at_stake && (new.len() > lost.len() || !new.iter().all(is_heir_of_lost))
    }
}

/// A server has run it, or may have.
pub(in crate::core) fn may_have_run(answer: &Result<Reply>) -> bool {
    answer.as_ref().err().is_none_or(|error| !error.is_not_executed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    #[test]
    fn a_command_goes_to_a_new_primary_only_where_that_is_known_not_to_have_taken_the_place_of_one_that_ran_it()
     {
        let nodes = |numbers: &[usize]| numbers.iter().map(|number| NodeId(*number)).collect::<Vec<_>>();
        let may_reach_heirs = |ran: &[usize], not_run: &[usize], primaries: &[usize]| {
            let work = Work::Send(Box::default());
            let mut everywhere = Everywhere::new(work, Purpose::Calls);
            everywhere.done.extend(nodes(ran).into_iter().map(|node| (node, Ok(Reply::nil(Box::default())))));
            let refused = || Err(Error::new(Status::Connect, "connection refused"));
            everywhere.done.extend(nodes(not_run).into_iter().map(|node| (node, refused())));
            // 11 and 21 replicate 1, and so on.
            let of = |primary| [10, 20].map(|tens| (NodeId(tens + primary), NodeId(primary)));
            everywhere.replicas = (1..=3).flat_map(of).collect();
            everywhere.may_reach_heirs(&nodes(primaries), |_| false)
        };
        assert!(!may_reach_heirs(&[1, 2], &[3], &[1, 2, 3]), "nobody is new");
        assert!(!may_reach_heirs(&[1, 2], &[3], &[1, 2, 13]), "3 has not run it");
        assert!(!may_reach_heirs(&[], &[1, 2, 3], &[11, 12, 13, 4]), "nobody has run it");
        assert!(may_reach_heirs(&[1, 2], &[3], &[1, 12, 3]), "2 has run it");
        assert!(may_reach_heirs(&[1, 2], &[3], &[1, 2, 12, 3]), "2 may have handed over");
        assert!(may_reach_heirs(&[1, 2], &[3], &[1, 2, 3, 13]), "3 is still there");
        assert!(may_reach_heirs(&[1, 2], &[3], &[1, 2, 13, 23]), "one of them is another's");
        assert!(may_reach_heirs(&[1, 2], &[3], &[1, 2, 4]), "4 is unknown");
        // The map named both 3 and who had taken its place: the one that is new is the heir of another.
        assert!(may_reach_heirs(&[1, 2, 13], &[3], &[1, 2, 13, 12]), "2 has handed over a slot");
    }
}
