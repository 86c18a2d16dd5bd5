//! What comes after the faults have stopped: everything ends, calls that can be answered are, and nothing is left
//! behind.

use std::time::Duration;

use super::World;
use super::calls::LONG_TIMEOUT;
use crate::error::{Error, Status};
use crate::request::Shape;
use crate::request::route::ReadFrom;

/// However long a call may wait, it is not left to its deadline: this is what a pause, a look and a connection
/// take, several times.
const SOON: Duration = Duration::from_secs(20);

/// The longest pause before the next attempt to connect, and more.
const BACK_OFF: Duration = Duration::from_millis(1_200);

/// Calls that are made when all is well again.
const CALLS: usize = 8;

impl World {
    /// After the faults have stopped everything ends.
    pub(super) fn wind_down(&mut self) {
        self.seed_step(1 << 32);
        self.fleet.heal();
        self.healed = Some(self.now);
        self.fleet.forges_until = self.next_item + 1;
        // Those that were there first: no new call helps them.
        self.end_all(0, "a call from before has no end, though all is well again");
        if !self.is_closed {
            // What was learnt from the faults is let go of.
            let until = self.now + BACK_OFF;
            while self.now < until {
                self.work();
                self.advance(until.min(self.now + Duration::from_millis(50)));
            }
            self.be_calm();
        }
        self.settle();
        self.check_all();
    }

    /// Calls when all is well, but that slots may move and scripts be lost.
    fn be_calm(&mut self) {
        if self.rng.bool() {
            self.fleet.begin_harmless_moves();
        }
        let loses = self.traits.flushes && self.rng.bool();
        let first = self.ops.len();
        for _ in 0..CALLS {
            self.submit(Some(LONG_TIMEOUT));
            if loses && self.rng.u8(..4) == 0 {
                let place = self.rng.usize(..self.fleet.servers.len());
                self.fleet.lose(place);
            }
            for _ in 0..self.rng.usize(..6) {
                self.work();
            }
        }
        self.end_all(first, "a call that nothing hinders is not answered");
        for number in first..self.ops.len() {
            self.check_success(number);
        }
        self.fleet.end_moves();
    }

    fn check_success(&self, number: usize) {
        let op = &self.ops[number];
        let Some(end) = &op.end else { return };
        // There may be no replica; and what has not run for its script was lost, or in a form that the server
        // lacks, stays an error where it was overtaken.
        let is_excused = |error: &Error| {
            op.view.read_from == ReadFrom::Replica && Self::is_unreached(op, error)
                || error.is_not_executed() && (error.status() == Status::NoScript || self.traits.old)
                || error.is_not_executed() && error.status() == Status::NoFunction && op.shape == Shape::Pipeline
                || Self::is_in_doubt(op, error)
                // That libraries are refused is remembered, and a transaction relies on what is known to be there.
                || self.traits.rights && op.shape == Shape::Transaction && error.message().contains("unction")
                // The first call has somebody asked who is the primary, others go by the old map meanwhile: in a
                // transaction nobody turns round, and in a pipeline not for what was overtaken.
                || op.shape != Shape::Single && error.message().contains("READONLY")
                // Without HELLO nothing tells beforehand that a replica has no EVALSHA_RO.
                || self.traits.old && op.items.iter().any(|item| item.has_choice)
        };
        let mut errors = end.items.iter().flatten().chain(&end.error);
        if let Some(error) = errors.rfind(|error| !is_excused(error)) {
            panic!("seed {}: call {number} fails, though all is well: {error}", self.seed);
        }
    }

    fn end_all(&mut self, first: usize, otherwise: &str) {
        let until = self.now + SOON;
        while let Some(left) = self.ops[first..].iter().position(|op| !op.is_over()) {
            assert!(self.now < until, "seed {}: {otherwise}: call {}", self.seed, first + left);
            for _ in 0..8 {
                self.work();
            }
            if self.rng.bool() {
                self.tell_all();
            }
            let is_still = self.clients.iter().all(|client| client.network.is_still());
            let to = self.now + if is_still { SOON } else { Duration::from_millis(2) };
            // Never beyond the time that this may take.
            self.advance(to.min(until));
        }
    }

    /// What is on its way arrives, and then nobody holds anything any more.
    fn settle(&mut self) {
        let is_still = |world: &World| world.clients.iter().all(|client| client.network.is_still());
        let mut rounds = 0;
        while !is_still(self) {
            rounds += 1;
            assert!(rounds < 10_000, "seed {}: something is on its way for ever", self.seed);
            for _ in 0..8 {
                self.work();
            }
            self.tell_all();
            if rounds % 64 == 0 {
                // A connection that is being made for nobody is, or its time is over.
                let to = self.now + Duration::from_millis(100);
                self.advance(to);
            }
        }
        let seed = self.seed;
        for client in &self.clients {
            let held = client.engine.held();
            assert_eq!((held.calls, held.attempts), (0, 0), "seed {seed}: left behind: {held:?}");
            assert_eq!(client.network.in_flight(), 0, "seed {seed}: connections hold calls");
            let open = client.network.conns.len();
            assert_eq!(held.conns, open, "seed {seed}: {open} connections, known to the engine: {held:?}");
        }
    }
}
