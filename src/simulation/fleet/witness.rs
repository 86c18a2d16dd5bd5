//! What an observer who sees all servers knows of each item: what ran, how often, in which order, and what was said
//! to it.

use std::collections::{HashMap, HashSet};

/// The history of one item.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::simulation) struct Seen {
    pub(in crate::simulation) executed: u32,
    /// When it was executed last, among all executions; 0: never.
    pub(in crate::simulation) order: u32,
    /// How often a server has received it.
    pub(in crate::simulation) arrived: u32,
    /// How often the server lacked its script.
    pub(in crate::simulation) missed: u32,
    /// The library of the function that was called.
    pub(in crate::simulation) library: Option<usize>,
    /// How often what it did was lost with its server.
    pub(in crate::simulation) lost: u32,
    /// So many calls have asked for it, with its token.
    pub(in crate::simulation) askers: u32,
    /// A server would not run it, or lost it.
    pub(in crate::simulation) is_refused: bool,
}

/// What no client may make a server see.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Witness {
    items: Vec<Seen>,
    executions: u32,
    /// Items that were sent on by ASK, and where to.
    pub(super) asked: HashSet<(u64, usize)>,
    /// Of what every primary is to run: how often each server has.
    pub(in crate::simulation) waves: HashMap<(u64, usize), u32>,
    pub(in crate::simulation) faults: Vec<String>,
    /// A server would not take a library.
    pub(in crate::simulation) has_refused_library: bool,
    /// A server would not let its user wait.
    pub(in crate::simulation) has_refused_wait: bool,
    pub(in crate::simulation) commands: u64,
}

impl Witness {
    pub(in crate::simulation) fn seen(&self, item: u64) -> Seen {
        usize::try_from(item).ok().and_then(|item| self.items.get(item)).copied().unwrap_or_default()
    }

    pub(in crate::simulation) fn note(&mut self, item: u64) -> &mut Seen {
        let item = usize::try_from(item).expect("a number of an item");
        if item >= self.items.len() {
            self.items.resize(item + 1, Seen::default());
        }
        &mut self.items[item]
    }

    /// It is executed: the place of that among all executions.
    pub(super) fn execute(&mut self, item: u64) -> u32 {
        self.executions += 1;
        let order = self.executions;
        let seen = self.note(item);
        seen.executed += 1;
        seen.order = order;
        order
    }

    pub(super) fn fault(&mut self, text: String) {
        self.faults.push(text);
    }
}
