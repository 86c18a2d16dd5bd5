//! Submitted calls that wait in line: taken out in their order, or by ticket, or because their time is over.

use std::collections::VecDeque;
use std::time::Instant;

use slab::Slab;

use crate::deadlines::Deadlines;
use crate::index::{Index, hash_of};
use crate::queue::{Queue, Ticket};
use crate::submit::Submitted;

/// So many places that were given up are not worth sweeping.
const FEW: usize = 64;

/// What may wait in line.
pub(crate) trait Waits {
    /// The call that it is for, if it is for one.
    fn call(&self) -> Option<&Submitted>;
}

/// A line. What is taken out of its middle costs no more than what is taken from its front.
pub(crate) struct Waiting<T> {
    /// With the number of its place in the line, for keys are used again.
    items: Slab<(u64, T)>,
    order: VecDeque<(usize, u64)>,
    places: u64,
    tickets: Index,
    deadlines: Deadlines,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Waiting {
            items: Slab::new(),
            order: VecDeque::new(),
            places: 0,
            tickets: Index::default(),
            deadlines: Deadlines::default(),
        }
    }
}

impl<T: Waits> Waiting<T> {
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn push_back(&mut self, item: T) {
        let place = self.enter(item);
        self.order.push_back(place);
    }

    pub(crate) fn push_front(&mut self, item: T) {
        let place = self.enter(item);
        self.order.push_front(place);
    }

    fn enter(&mut self, item: T) -> (usize, u64) {
        let entered = item.call().map(|call| (hash_of(call.serial()), call.deadline));
        self.places += 1;
        let place = self.places;
        let key = self.items.insert((place, item));
        if let Some((hash, deadline)) = entered {
            self.tickets.insert(key, hash);
            let is_live = |key, deadline| ends_at(&self.items, key, deadline);
            self.deadlines.add(deadline, key, self.items.len(), is_live);
        }
        if self.order.len() > 2 * self.items.len() + FEW {
            self.order.retain(|(key, place)| stands_at(&self.items, *key, *place));
        }
        (key, place)
    }

    /// The first in line.
    pub(crate) fn pop(&mut self) -> Option<T> {
        while let Some((key, place)) = self.order.pop_front() {
            if stands_at(&self.items, key, place) {
                return Some(self.remove(key));
            }
        }
        None
    }

    /// All of them, in their order.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        std::iter::from_fn(|| self.pop()).collect()
    }

    /// The call with this ticket.
    pub(crate) fn take(&mut self, ticket: Ticket, queue: &Queue) -> Option<T> {
        let is_it = |key: &usize| self.items[*key].1.call().is_some_and(|call| call.is(ticket, queue));
        let key = self.tickets.find(hash_of(ticket.serial())).find(is_it)?;
        Some(self.remove(key))
    }

    /// A call whose deadline has passed.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<T> {
        let key = self.deadlines.take_due(now, |key, deadline| ends_at(&self.items, key, deadline))?;
        Some(self.remove(key))
    }

    /// The earliest deadline.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        self.deadlines.next(|key, deadline| ends_at(&self.items, key, deadline))
    }

    /// The latest deadline. Looks at all of them.
    pub(crate) fn last_deadline(&self) -> Option<Instant> {
        self.items.iter().filter_map(|(_, (_, item))| item.call()).map(|call| call.deadline).max()
    }

    fn remove(&mut self, key: usize) -> T {
        let (_, item) = self.items.remove(key);
        if item.call().is_some() {
            self.tickets.remove(key);
        }
        item
    }
}

fn stands_at<T>(items: &Slab<(u64, T)>, key: usize, place: u64) -> bool {
    items.get(key).is_some_and(|item| item.0 == place)
}

fn ends_at<T: Waits>(items: &Slab<(u64, T)>, key: usize, deadline: Instant) -> bool {
    let call = items.get(key).and_then(|item| item.1.call());
    call.is_some_and(|call| call.deadline == deadline)
}
