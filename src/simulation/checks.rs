//! What must hold at every moment, and of every call that ends.

use std::time::Duration;

use super::World;
use super::calls::{End, Item, Op, Wave};
use super::traits;
use crate::core::Task;
use crate::error::{Error, Reason, Result, Status};
use crate::request::Shape;
use crate::resp::{Kind, Reply, ReplyRef};

/// A function of a pipeline that was missed so often stays missed; one by itself, where there are no transactions.
const FUNCTION_MISSES: u32 = 7;
const LONE_FUNCTION_MISSES: u32 = 11;

impl World {
    /// What nobody may have seen at any time.
    pub(super) fn check_now(&mut self) {
        let seed = self.seed;
        if let Some(fault) = self.fleet.witness.faults.pop() {
            panic!("seed {seed}: {fault}");
        }
        for client in &mut self.clients {
            if let Some(fault) = client.network.faults.pop() {
                panic!("seed {seed}: {fault}");
            }
        }
    }

    /// What must hold once everything is told that has happened by now.
    pub(super) fn check_time(&mut self) {
        let seed = self.seed;
        for (number, op) in self.ops.iter().enumerate().skip(self.first_open) {
            assert!(
                op.is_over() || self.now < op.deadline,
                "seed {seed}: call {number} outlives its deadline"
            );
        }
        for (place, client) in self.clients.iter_mut().enumerate() {
            let waiting = client.network.waiting();
            let most = client.max_waiting;
            assert!(waiting <= most, "seed {seed}: {waiting} commands wait at a time, {most} may");
            let calls =
                self.ops[self.first_open..].iter().filter(|op| op.client == place && !op.is_over()).count();
            let held = client.engine.held();
            // Of each call a part for each of up to six items, and a question about each; connections that shake
            // hands; one look.
            let attempts = 12 * calls + held.conns + 1;
            assert!(held.calls <= calls, "seed {seed}: {held:?} for {calls} calls");
            assert!(held.attempts <= attempts, "seed {seed}: {held:?} for {calls} calls");
            let live = held.calls + held.attempts + held.conns;
            // What is over stays in lists until something is added to them.
            client.most_held = client.most_held.max(live);
            let stale = 16 * client.most_held + 200;
            assert!(held.stale <= stale, "seed {seed}: {held:?}, at most {}", client.most_held);
        }
    }

    /// A call has ended.
    pub(super) fn complete(&mut self, number: usize, result: Result<Reply>, arrived: Option<Reply>) {
        let (seed, now) = (self.seed, self.now);
        super::trace::note(|| format!("call {number} ends: {result:?}, {arrived:?}"));
        let op = &self.ops[number];
        assert!(op.end.is_none(), "seed {seed}: call {number} ended twice");
        let was_held_up = self.held_up_since.is_some_and(|since| since < op.deadline);
        assert!(
            now <= op.deadline || was_held_up,
            "seed {seed}: call {number} ended {:?} late",
            now - op.deadline
        );
        let mut items: Vec<Option<Error>> = vec![None; op.items.len()];
        let mut error = None;
        let mut said = Vec::new();
        match &result {
            Ok(reply) if op.wave.is_some() => said = self.said_everywhere(reply.root()),
            Ok(_) if op.logs_in => self.check_login(number, op),
            Ok(reply) if op.items.is_empty() => self.check_task(number, op, reply.root()),
            Ok(reply) => self.check_reply(number, reply.root(), &mut items),
            Err(failure) => {
                self.check_error(number, op, failure);
                if op.shape != Shape::Pipeline {
                    items.fill(Some(failure.clone()));
                }
                if let Some(arrived) = &arrived {
                    self.check_reply(number, arrived.root(), &mut items);
                }
                error = Some(failure.clone());
            }
        }
        // What servers tell when it comes again is sent again for as long as there is time.
        let has_time = now < op.deadline - Duration::from_millis(500) && !self.is_closed && !op.is_called_off;
        // A transaction that a server has taken apart is what it is.
        let is_apart = self.traits.rights && op.shape == Shape::Transaction;
        let is_forged = op.items.iter().any(|item| self.fleet.forges(item.number));
        let settles =
            has_time && op.is_once && !is_apart && !is_forged && !self.clients[op.client].may_be_refused;
        for (index, failure) in items.iter().enumerate().filter(|_| settles) {
            let Some(failure) = failure.as_ref().or(error.as_ref().filter(|_| op.shape != Shape::Pipeline))
            else {
                continue;
            };
            // In a pipeline the order of a key comes first: what has been overtaken is not sent again.
            let has_run = |other: &Item| self.fleet.witness.seen(other.number).executed > 0;
            let is_overtaking = |other: &Item| op.items[index].is_tied(other, true) && has_run(other);
            let is_overtaken = op.shape == Shape::Pipeline && op.items[index + 1..].iter().any(is_overtaking);
            let may_not_wait =
                failure.status() == Status::NotReplicated && self.fleet.witness.has_refused_wait;
            assert!(
                !failure.is_indeterminate() || is_overtaken || may_not_wait,
                "seed {seed}: call {number} happens once, has {:?} left and ends with {failure}",
                op.deadline - now
            );
        }
        for (item, failure) in op.items.iter().zip(&items) {
            let seen = self.fleet.witness.seen(item.number);
            let times = if seen.askers > 1 { 0 } else { seen.executed };
            let is_not_executed = failure.as_ref().is_some_and(Error::is_not_executed);
            assert!(
                !is_not_executed || times == 0,
                "seed {seed}: call {number}, item {} ran {times} times and is said not to have run: {result:?}",
                item.number
            );
        }
        let network = &mut self.clients[op.client].network;
        // A call that got nowhere speaks against the map.
        network.had_trouble |= error
            .as_ref()
            .is_some_and(|error: &Error| matches!(error.status(), Status::Connect | Status::Timeout));
        // So does one of which nobody knows.
        network.had_trouble |= items.iter().flatten().chain(&error).any(Error::is_indeterminate);
        let had_trouble = network.had_trouble;
        let met_loss = network.last_loss.is_some_and(|loss| loss >= op.submitted);
        self.check_told(number, error.is_none(), &items);
        let op = &mut self.ops[number];
        op.is_untroubled &= !had_trouble;
        op.met_loss = met_loss;
        if let Some(wave) = &mut op.wave {
            wave.said = said;
        }
        op.end = Some(End { at: now, error, items });
    }

    /// What happens once is told of as it has happened: whoever asks gets the reply of the execution whose effects are
    /// there, unless they have been lost since; and none is lost that enough replicas had.
    fn check_told(&mut self, number: usize, is_whole: bool, errors: &[Option<Error>]) {
        let seed = self.seed;
        let op = &mut self.ops[number];
        let waits = op.replicas > 0 && op.replicas as usize >= self.fleet.replicas && is_whole;
        let in_parts = op.shape == Shape::Pipeline;
        for (item, error) in op.items.iter_mut().zip(errors) {
            let seen = self.fleet.witness.seen(item.number);
            let is_safe = waits && error.is_none() && (item.is_once() || !in_parts && !item.has_choice);
            if let Some(order) = item.told.get() {
                let there = if is_safe { 0 } else { seen.lost };
                assert!(
                    order == seen.order || order < seen.order && there > 0,
                    "seed {seed}: call {number}, item {}: told of execution {order}, and {} is the last of {}, {} of \
                     them lost",
                    item.number,
                    seen.order,
                    seen.executed,
                    seen.lost
                );
                let is_there = order == seen.order && seen.executed > seen.lost;
                let before = match is_there {
                    true => self.answers.insert(item.number, (order, seen.lost)),
                    // What was answered has been lost on its way.
                    false => None,
                };
                assert!(
                    before.is_none_or(|(first, lost)| first == order || lost < seen.lost),
                    "seed {seed}: call {number}, item {}: another reply, {before:?} before, {order} now",
                    item.number
                );
            }
            if is_safe {
                item.safe_since = Some(seen.lost);
            }
        }
    }

    /// How often each primary was told to let go of its scripts.
    pub(super) fn flushes(&self) -> Vec<u32> {
        self.fleet.primaries().iter().map(|place| self.fleet.servers[*place].flushes).collect()
    }

    pub(super) fn flushes_anywhere(&self) -> u32 {
        self.fleet.servers.iter().map(|server| server.flushes).sum()
    }

    /// That no scripts are let go of is said where no server was told to, be it a primary or not.
    fn check_flush(&self, number: usize, op: &Op, error: &Error) {
        let is_flush = |op: &Op| matches!(op.task, Some(Task::Flush(_)));
        // Those that may still be on their way.
        let is_other = |other: &Op| {
            is_flush(other)
                && !std::ptr::eq(other, op)
                && other.end.as_ref().is_none_or(|end| {
                    let is_known = end.error.as_ref().is_none_or(Error::is_not_executed);
                    end.at >= op.submitted || !is_known
                })
        };
        if is_flush(op) && error.is_not_executed() && !self.ops.iter().any(is_other) {
            let since = self.flushes_anywhere() - op.flushes_anywhere;
            assert_eq!(since, 0, "seed {}: call {number} was executed: {error}", self.seed);
        }
    }

    /// What each server has said of what every primary is to run.
    fn said_everywhere(&self, map: ReplyRef<'_>) -> Vec<(usize, Option<Error>)> {
        let place_of = |name: &str| {
            self.fleet.servers.iter().position(|server| server.address.to_string() == name).expect("a server")
        };
        let parts: Vec<_> = map.elements().collect();
        let said =
            |pair: &[ReplyRef<'_>]| (place_of(pair[0].as_str().expect("an address")), pair[1].as_error());
        parts.chunks(2).map(said).collect()
    }

    /// Each shard has run it at most once, and where it is said not to have run, or to have, that is so.
    fn check_wave(&self, number: usize, end: &End, wave: &Wave) {
        let seed = self.seed;
        let Wave { item, said } = wave;
        let waves = &self.fleet.witness.waves;
        let times = |place: usize| waves.get(&(*item, place)).copied().unwrap_or_default();
        let places = 0..self.fleet.servers.len();
        for shard in places.clone() {
            let of_shard = places.clone().filter(|place| self.fleet.shard_of(*place) == shard);
            let ran: Vec<usize> = of_shard.filter(|place| times(*place) > 0).collect();
            let total: u32 = ran.iter().map(|place| times(*place)).sum();
            // A map of before a failover may name both, and whoever was a primary may be one again.
            let failovers = self.fleet.failovers.iter().filter(|other| **other == shard).count();
            assert!(
                total <= 1 || failovers > 1,
                "seed {seed}: call {number} ran {total} times in a shard, on {ran:?}"
            );
            let is_told = |place: &usize| said.iter().any(|(other, _)| other == place);
            assert!(
                end.error.is_some() || ran.iter().all(is_told),
                "seed {seed}: call {number} ran on {ran:?}, of which nothing is said: {said:?}"
            );
            let is_not_executed = end.error.as_ref().is_some_and(Error::is_not_executed);
            assert!(!is_not_executed || total == 0, "seed {seed}: call {number} ran after all, on {ran:?}");
        }
        for (place, error) in said {
            let is_so = match error {
                None => times(*place) == 1,
                Some(error) => !error.is_not_executed() || times(*place) == 0,
            };
            assert!(is_so, "seed {seed}: call {number} ran {} times on {place}: {error:?}", times(*place));
        }
    }

    /// Every connection that calls take has logged in with what was asked for since.
    fn check_login(&self, number: usize, op: &Op) {
        let since = op.submitted.duration_since(self.start).as_nanos();
        // Nobody is asked for those of sentinels.
        for (conn, given) in self.clients[op.client].network.logins() {
            assert!(
                given.is_none_or(|given| u128::from(given) >= since),
                "seed {}: call {number} is over, and {conn:?} has logged in with {given:?} of before {since}",
                self.seed
            );
        }
    }

    fn check_task(&self, number: usize, op: &Op, reply: ReplyRef<'_>) {
        // Where the primaries remain the same.
        if self.traits.are_well() && !self.traits.forges {
            let primaries = self.fleet.primaries();
            let ever_had = |place: &usize| self.fleet.servers[*place].scripts.ever_had(0);
            let is_true = match &op.task {
                Some(Task::Exists(_)) => {
                    reply.get(0).and_then(ReplyRef::as_bool) != Some(true) || primaries.iter().all(ever_had)
                }
                Some(Task::Load(_)) => primaries.iter().all(ever_had),
                Some(Task::Flush(_)) => {
                    op.flushes.iter().zip(self.flushes()).all(|(before, now)| *before < now)
                }
                _ => true,
            };
            assert!(is_true, "seed {}: call {number}: {:?} is not so everywhere", self.seed, reply);
        }
        let is_right = match &op.task {
            Some(Task::Exists(shas)) => reply.kind() == Kind::Array && reply.len() == shas.len(),
            Some(Task::Load(_) | Task::Flush(_) | Task::Kill) => reply.as_str() == Some("OK"),
            _ => reply.kind() == Kind::Array,
        };
        assert!(is_right, "seed {}: call {number}: {reply:?}", self.seed);
    }

    /// The error of a whole call.
    fn check_error(&self, number: usize, op: &Op, error: &Error) {
        let seed = self.seed;
        let status = error.status();
        assert!(status != Status::Internal, "seed {seed}: call {number}: {error}");
        self.check_flush(number, op, error);
        assert!(status != Status::Closed || self.is_closed, "seed {seed}: call {number}: {error}");
        let is_called_off = status == Status::Cancelled || error.reason() == Reason::Cancelled;
        assert!(!is_called_off || op.is_called_off, "seed {seed}: call {number}: {error}");
        let is_forged = op.items.iter().any(|item| self.fleet.forges(item.number));
        let lacks_rights = self.traits.rights || self.traits.old;
        assert!(
            status != Status::NoScript || is_forged || lacks_rights || op.shape == Shape::Pipeline,
            "seed {seed}: call {number}: {error}"
        );
        if op.shape != Shape::Pipeline && !op.items.is_empty() {
            self.check_missing_function(number, op, error);
        }
        // Where nothing goes wrong there is only one thing to fail for: its time.
        let is_late = self.now >= op.deadline - Duration::from_millis(500)
            || self.is_closed
            || matches!(error.reason(), Reason::Deadline | Reason::Cancelled)
            || matches!(status, Status::Timeout | Status::Cancelled | Status::Closed)
            || Self::is_unreached(op, error);
        // What else is in a pipeline may keep an item from being sent again.
        let may_be_left = !op.is_once || op.is_called_off || op.shape == Shape::Pipeline;
        let is_left = status == Status::NotReplicated && may_be_left;
        let is_well = self.traits.are_well() && op.task.is_none() && !is_forged && !is_left;
        assert!(!is_well || is_late || Self::is_in_doubt(op, error), "seed {seed}: call {number}: {error}");
        // One that its server has let go of waits on at another, for as long as there is time.
        let is_let_go = op.waits && error.message().contains("UNBLOCKED");
        assert!(
            !is_let_go || is_late || op.is_called_off || self.traits.kind == traits::Kind::One,
            "seed {seed}: call {number} waits no more: {error}"
        );
        let error_of_item = op.shape != Shape::Pipeline && !op.items.is_empty();
        if error_of_item && error.server_text().is_some() && !self.traits.rights {
            op.items.iter().for_each(|item| self.check_error_of_item(number, op, item.number, error));
        }
    }

    /// Whether there was nobody to send it to; of a pipeline, a part of it.
    pub(super) fn is_unreached(op: &Op, error: &Error) -> bool {
        let is_of_a_part = op.shape == Shape::Pipeline && error.reason() == Reason::Connect;
        error.status() == Status::Connect || is_of_a_part
    }

    /// Whether it is of a named library that was lost, and that another call has brought back before the server was
    /// asked.
    pub(super) fn is_in_doubt(op: &Op, error: &Error) -> bool {
        error.is_indeterminate() && op.items.iter().any(Item::is_named)
    }

    /// That a function is not there reaches no caller, but where no library is taken, or nobody knows who says so.
    fn check_missing_function(&self, number: usize, op: &Op, error: &Error) {
        if error.status() != Status::NoFunction && !error.message().contains("Function not found") {
            return;
        }
        let is_forged = op.items.iter().any(|item| self.fleet.forges(item.number));
        let is_refused = self.fleet.witness.has_refused_library || self.traits.old;
        // A replica has said so, and no time is left to turn to another, or the client is closed.
        let is_late = self.now + Duration::from_millis(500) >= op.deadline || self.is_closed;
        let is_replicas = is_late && op.items.iter().any(|item| item.has_choice) && error.is_not_executed();
        assert!(
            is_replicas || is_forged || is_refused || Self::is_in_doubt(op, error) || self.is_flushed(op),
            "seed {}: call {number}: {error}",
            self.seed
        );
    }

    /// Whether a named library may have been lost once more while the server was asked about it.
    fn is_flushed(&self, op: &Op) -> bool {
        self.traits.flushes && op.items.iter().any(Item::is_named)
    }

    fn check_error_of_item(&self, number: usize, op: &Op, item: u64, error: &Error) {
        let seed = self.seed;
        let text = error.message();
        let is_lost = error.is_indeterminate() || error.is_not_executed();
        let is_own = self.fleet.forges(item) && self.fleet.witness.seen(item).executed > 0;
        // A server that has changed its mind when it is asked back does not bear out what it said before.
        let words = ["MOVED", "ASK", "TRYAGAIN", "READONLY", "CLUSTERDOWN", "MASTERDOWN"];
        let is_unproved =
            (self.traits.faults || self.traits.forges) && words.iter().any(|word| text.contains(word));
        // Rights that come back make what was said before unproved.
        let is_unproved = is_unproved || self.traits.rights || self.traits.old;
        // An attempt before may have been executed.
        let may_have_run = op.items.iter().any(|other| other.number == item && other.may_repeat);
        assert!(
            is_lost || is_own || is_unproved || may_have_run,
            "seed {seed}: call {number}, item {item}: {error}"
        );
    }

    fn check_reply(&self, number: usize, root: ReplyRef<'_>, items: &mut [Option<Error>]) {
        let (seed, op) = (self.seed, &self.ops[number]);
        if op.shape == Shape::Single {
            items[0] = self.check_item(number, 0, root);
            return;
        }
        assert!(root.len() <= items.len(), "seed {seed}: call {number}: {} replies", root.len());
        for (index, reply) in root.elements().enumerate() {
            items[index] = self.check_item(number, index, reply);
        }
    }

    /// Checks that a reply is the item's own, and gives its error.
    fn check_item(&self, number: usize, index: usize, reply: ReplyRef<'_>) -> Option<Error> {
        let (seed, op) = (self.seed, &self.ops[number]);
        let item = op.items[index].number;
        if let Some(error) = reply.as_error() {
            if !self.traits.rights || op.shape != Shape::Transaction {
                self.check_error_of_item(number, op, item, &error);
            }
            if op.shape == Shape::Transaction {
                self.check_missing_function(number, op, &error);
            }
            let may_miss = op.shape == Shape::Pipeline || self.traits.rights || self.traits.old;
            assert!(error.status() != Status::NoScript || may_miss, "seed {seed}: item {item}: {error}");
            return Some(error);
        }
        let told = match reply.kind() {
            Kind::Array if op.items[index].is_once() => {
                let order = reply.get(1).and_then(ReplyRef::as_i64);
                op.items[index].told.set(order.and_then(|order| u32::try_from(order).ok()));
                reply.get(0).and_then(ReplyRef::as_i64).map(i64::cast_unsigned)
            }
            Kind::Array => reply.get(0).and_then(ReplyRef::as_i64).map(i64::cast_unsigned),
            Kind::String => reply.as_str().and_then(|text| text.parse().ok()),
            _ => reply.as_i64().map(i64::cast_unsigned),
        };
        assert_eq!(told, Some(item), "seed {seed}: call {number}, item {index}: another's reply");
        let seen = self.fleet.witness.seen(item);
        assert!(seen.executed > 0, "seed {seed}: call {number}, item {index}: never ran");
        let library = op.items[index].library;
        assert_eq!(seen.library, library, "seed {seed}: call {number}, item {index}: another version ran");
        None
    }

    /// What must have come of all calls, once nothing is on its way any more.
    pub(super) fn check_all(&self) {
        for (number, op) in self.ops.iter().enumerate() {
            let Some(end) = &op.end else { continue };
            if let Some(wave) = &op.wave {
                self.check_wave(number, end, wave);
            }
            self.check_executions(number, op, end);
            self.check_missing(number, op, end);
            self.check_pipeline_order(number, op);
        }
        self.check_submitters();
    }

    fn check_executions(&self, number: usize, op: &Op, end: &End) {
        let seed = self.seed;
        let seen = |item: u64| self.fleet.witness.seen(item);
        // Said of the whole, it is said of each.
        let is_none_executed = end.error.as_ref().is_some_and(Error::is_not_executed);
        for (item, error) in op.items.iter().zip(&end.items) {
            let is_not_executed = is_none_executed || error.as_ref().is_some_and(Error::is_not_executed);
            let history = seen(item.number);
            let (times, number_of) = (history.executed, item.number);
            assert!(
                item.may_repeat && !item.is_once()
                    || times <= 1 + if item.is_once() { history.lost } else { 0 },
                "seed {seed}: call {number}, item {number_of} ran {times} times, and was lost {} times",
                history.lost
            );
            assert!(
                item.safe_since.is_none_or(|lost| lost == history.lost),
                "seed {seed}: call {number}, item {number_of} is lost, though replicas had it"
            );
            assert!(
                !is_not_executed || times == 0 || history.askers > 1,
                "seed {seed}: call {number}, item {number_of} ran after all"
            );
            // Attempts are paced by pauses, but for so many redirections, repeats and misses.
            let lived = end.at.saturating_duration_since(op.submitted).as_millis();
            let is_paced = op.replicas > 0 || self.traits.forges || history.askers > 1;
            let most = if self.traits.are_well() && !is_paced && number_of < self.fleet.forges_until {
                1 + u128::from(history.missed)
            } else {
                (40 + lived / 10) * u128::from(history.askers.max(1)) + u128::from(history.missed)
            };
            assert!(
                u128::from(history.arrived) <= most,
                "seed {seed}: call {number}, item {number_of} was sent {} times in {lived} ms, at most {most}",
                history.arrived
            );
        }
        // Loaded again once, and then it is sent along: by EVAL it cannot miss. In a pipeline at once.
        let misses = |item: &Item| match op.shape {
            // Each replica may lack the library, and then the primary as well.
            Shape::Single if item.library.is_some() && item.has_choice => 4,
            // Else it would go in a transaction with its library, if that is known to be allowed.
            Shape::Single if item.library.is_some() && !self.clients[op.client].probes_transactions => {
                LONE_FUNCTION_MISSES
            }
            Shape::Single => 2,
            // There is no form of a function that cannot miss.
            Shape::Pipeline if item.library.is_some() => FUNCTION_MISSES,
            Shape::Pipeline => 1,
            Shape::Transaction => 0,
        };
        let counts =
            self.traits.are_well() && !self.traits.forges && self.traits.kind != traits::Kind::Cluster;
        // What is sent again may miss each time.
        let counts = counts && op.replicas == 0;
        for item in op.items.iter().filter(|item| counts && seen(item.number).askers < 2) {
            let missed = seen(item.number).missed;
            assert!(
                missed <= misses(item),
                "seed {seed}: call {number}, item {} was missed {missed} times",
                item.number
            );
        }
        // Refused in the middle, MULTI leaves its commands to run singly. A replica that is no part of a cluster
        // refuses only what would write.
        let is_whole = op.shape == Shape::Transaction
            && !self.traits.rights
            // Without its library, which the server had no memory for, a function is not there.
            && !self.fleet.witness.has_refused_library
            && (self.fleet.kind == traits::Kind::Cluster || !self.traits.faults);
        if is_whole {
            let ran = op.items.iter().filter(|item| seen(item.number).executed > 0).count();
            assert!(ran == 0 || ran == op.items.len(), "seed {seed}: call {number}: {ran} items ran");
        }
    }

    /// What stays an error because its script was lost does so because something behind it has run.
    fn check_missing(&self, number: usize, op: &Op, end: &End) {
        if self.traits.rights
            || self.traits.old
            || op.is_called_off
            // In the middle of a question, for instance.
            || self.is_closed
            || op.met_loss
            || op.shape != Shape::Pipeline
            || end.at >= op.deadline
        {
            return;
        }
        let may_have_run = |index: usize| {
            let error = &end.items[index];
            self.fleet.witness.seen(op.items[index].number).executed > 0
                // What a script may have made up was proved when it was too late for those in front.
                || error
                    .as_ref()
                    .is_some_and(|error| !error.is_not_executed() || error.message().contains("READONLY"))
        };
        for (index, error) in end.items.iter().enumerate() {
            let is_missing = |error: &Error| {
                matches!(error.status(), Status::NoScript | Status::NoFunction) && error.is_not_executed()
            };
            if !error.as_ref().is_some_and(is_missing) {
                continue;
            }
            let item = &op.items[index];
            let has_given_up = self.fleet.witness.seen(item.number).missed >= FUNCTION_MISSES;
            // No time was left to turn from a replica.
            let is_late = item.has_choice && end.at + Duration::from_millis(500) >= op.deadline;
            let is_excused = is_late || self.fleet.witness.has_refused_library || has_given_up;
            if item.library.is_some() && is_excused || item.is_named() && self.traits.flushes {
                continue;
            }
            let is_tied = |later: &usize| {
                let later = &op.items[*later];
                item.keys.is_empty() || later.keys.is_empty() || item.is_tied(later, true)
            };
            let is_overtaken = (index + 1..op.items.len()).filter(is_tied).any(may_have_run);
            assert!(
                is_overtaken || end.error.is_some(),
                "seed {}: call {number}, item {} was missed and not repaired: {error:?}",
                self.seed,
                item.number
            );
        }
    }
}
