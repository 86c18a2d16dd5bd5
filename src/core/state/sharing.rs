//! Which of a server's shared connections a call takes, where there are several.
//!
//! The one with the fewest calls under way: so what takes long holds up only the few that are behind it already. But
//! calls with a key in common keep their order, and an order is kept by one connection alone. So a call follows those
//! under way that have a key in common with it; where these are on several connections it is held until they are on
//! one, and what comes behind it with one of its keys is held as well. A call that may touch anything has a key in
//! common with every other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};

use smallvec::SmallVec;

use crate::core::interface::CallId;
use crate::request::Request;
use crate::request::keys::Touched;

/// What a call touches.
#[derive(Debug, Default)]
pub(in crate::core) struct Touches {
    /// The hashes of its keys. Two keys with one hash only wait for each other without need.
    pub(in crate::core) keys: SmallVec<[u64; 2]>,
    pub(in crate::core) anything: bool,
}

/// The calls with one key.
#[derive(Debug, Default)]
pub(in crate::core) struct Turn {
    pub(in crate::core) under_way: usize,
    /// The connection of those under way.
    pub(in crate::core) connection: usize,
    /// Those that are held, by their serial numbers.
    pub(in crate::core) held: BTreeSet<u64>,
}

/// The calls under way on the connections of one number.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::core) struct Load {
    pub(in crate::core) calls: usize,
    /// Those of them that touch something.
    pub(in crate::core) touching: usize,
}

/// A call's place among those that share connections.
#[derive(Debug)]
pub(in crate::core) struct Shares {
    pub(in crate::core) touches: Touches,
    /// The number of its connection.
    pub(in crate::core) connection: usize,
}

/// Calls that were held and go on now.
pub(in crate::core) type Admitted = SmallVec<[(CallId, Shares); 2]>;

/// Who has which connection, and who waits for one.
#[derive(Debug)]
pub(in crate::core) struct Sharing {
    pub(in crate::core) hasher: RandomState,
    /// What is under way on the connections of each number.
    pub(in crate::core) loads: Vec<Load>,
    /// Those of them that may touch anything; while there are any, all are on one connection.
    pub(in crate::core) anything: usize,
    pub(in crate::core) turns: HashMap<u64, Turn>,
    /// Calls that are held, by their serial numbers, which are in the order in which they came.
    pub(in crate::core) held: BTreeMap<u64, (CallId, Touches)>,
    /// Those of them that stand behind one that may touch anything, and that one.
    pub(in crate::core) line: BTreeSet<u64>,
}

impl Sharing {
    pub(in crate::core) fn new(connections: usize) -> Self {
        Sharing {
            hasher: RandomState::new(),
            loads: vec![Load::default(); connections],
            anything: 0,
            turns: HashMap::new(),
            held: BTreeMap::new(),
            line: BTreeSet::new(),
        }
    }

    /// Whether there is anything to choose.
    #[inline]
    pub(in crate::core) fn is_on(&self) -> bool {
        self.loads.len() > 1
    }

    pub(in crate::core) fn touches(&self, request: &Request) -> Touches {
        let mut touches = Touches::default();
        for index in 0..request.items.len() {
            let touched = request.touches(index, |key| touches.keys.push(self.hasher.hash_one(key)));
            touches.anything |= touched == Touched::Everything;
        }
        touches.keys.sort_unstable();
        touches.keys.dedup();
        touches
    }

    /// A new call. `None`: it is held.
    pub(in crate::core) fn enter(&mut self, id: CallId, touches: Touches) -> Option<Shares> {
        if (self.line.is_empty() || touches.is_nothing())
            && let Some(connection) = self.choose(id.serial, &touches)
        {
            return Some(self.take(touches, connection));
        }
        self.hold(id, touches);
        None
    }

    pub(in crate::core) fn hold(&mut self, id: CallId, touches: Touches) {
        if touches.anything || !self.line.is_empty() {
            self.line.insert(id.serial);
        } else {
            self.queue(id.serial, &touches);
        }
        self.held.insert(id.serial, (id, touches));
    }

    /// A call is over that had a connection.
    pub(in crate::core) fn leave(&mut self, Shares { touches, connection }: Shares) -> Admitted {
        self.loads[connection].calls -= 1;
        self.loads[connection].touching -= usize::from(!touches.is_nothing());
        self.anything -= usize::from(touches.anything);
        let mut first = BTreeSet::new();
        for &key in &touches.keys {
            let Some(turn) = self.turns.get_mut(&key) else { continue };
            turn.under_way -= 1;
            if turn.under_way == 0 {
                first.extend(turn.held.first().copied());
                self.drop_if_idle(key);
            }
        }
        self.admit(first)
    }

    /// A call is over that was held.
    pub(in crate::core) fn withdraw(&mut self, id: CallId) -> Admitted {
        let Some((_, touches)) = self.held.remove(&id.serial) else { return Admitted::new() };
        let first =
            if self.line.remove(&id.serial) { BTreeSet::new() } else { self.unqueue(id.serial, &touches) };
        self.admit(first)
    }

    /// Admits what can be, in the order in which it came: of those that are first for one of their keys now, and of
    /// the line.
    pub(in crate::core) fn admit(&mut self, mut first: BTreeSet<u64>) -> Admitted {
        let mut admitted = Admitted::new();
        loop {
            while let Some(serial) = first.pop_first() {
                let Some((id, touches)) = self.held.get(&serial) else { continue };
                let (id, Some(connection)) = (*id, self.choose(serial, touches)) else { continue };
                if let Some((_, touches)) = self.held.remove(&serial) {
                    first.extend(self.unqueue(serial, &touches));
                    admitted.push((id, self.take(touches, connection)));
                }
            }
            let Some(&serial) = self.line.first() else { break };
            let Some((id, touches)) = self.held.get(&serial) else { break };
            let (id, chosen) = (*id, self.choose(serial, touches));
            if chosen.is_none() && touches.anything {
                break;
            }
            self.line.remove(&serial);
            let Some((_, touches)) = self.held.remove(&serial) else { break };
            match chosen {
                Some(connection) => admitted.push((id, self.take(touches, connection))),
                None => {
                    self.queue(serial, &touches);
                    self.held.insert(serial, (id, touches));
                }
            }
        }
        admitted
    }

    /// The connection for a call, if it need not be held.
    pub(in crate::core) fn choose(&self, serial: u64, touches: &Touches) -> Option<usize> {
        if touches.is_nothing() {
            return Some(self.least());
        }
        if touches.anything {
            // Those held for their keys came before it.
            let mut busy = (0..self.loads.len()).filter(|number| self.loads[*number].touching > 0);
            let connection = busy.next().unwrap_or(0);
            let is_free = busy.next().is_none() && self.held.len() == self.line.len();
            return is_free.then_some(connection);
        }
        let mut common = None;
        for turn in touches.keys.iter().filter_map(|key| self.turns.get(key)) {
            if turn.held.first().is_some_and(|first| *first < serial) {
                return None;
            }
            if turn.under_way > 0 && *common.get_or_insert(turn.connection) != turn.connection {
                return None;
            }
        }
        let all = if self.anything > 0 { self.loads.iter().position(|load| load.touching > 0) } else { None };
        Some(all.or(common).unwrap_or_else(|| self.least()))
    }

    /// The connection with the fewest calls under way.
    pub(in crate::core) fn least(&self) -> usize {
        (0..self.loads.len()).min_by_key(|number| self.loads[*number].calls).unwrap_or(0)
    }

    pub(in crate::core) fn take(&mut self, touches: Touches, connection: usize) -> Shares {
        self.loads[connection].calls += 1;
        self.loads[connection].touching += usize::from(!touches.is_nothing());
        self.anything += usize::from(touches.anything);
        for &key in &touches.keys {
            let turn = self.turns.entry(key).or_default();
            turn.under_way += 1;
            turn.connection = connection;
        }
        Shares { touches, connection }
    }

    pub(in crate::core) fn queue(&mut self, serial: u64, touches: &Touches) {
        for &key in &touches.keys {
            self.turns.entry(key).or_default().held.insert(serial);
        }
    }

    /// Takes a call out that was held for its keys; gives those that are first for one of them now.
    pub(in crate::core) fn unqueue(&mut self, serial: u64, touches: &Touches) -> BTreeSet<u64> {
        let mut first = BTreeSet::new();
        for &key in &touches.keys {
            let Some(turn) = self.turns.get_mut(&key) else { continue };
            turn.held.remove(&serial);
            first.extend(turn.held.first().copied());
            self.drop_if_idle(key);
        }
        first
    }

    pub(in crate::core) fn drop_if_idle(&mut self, key: u64) {
        if self.turns.get(&key).is_some_and(|turn| turn.under_way == 0 && turn.held.is_empty()) {
            self.turns.remove(&key);
        }
    }

    /// Whether nothing is under way or held.
    #[cfg(test)]
    pub(in crate::core) fn is_idle(&self) -> bool {
        self.turns.is_empty()
            && self.held.is_empty()
            && self.line.is_empty()
            && self.loads.iter().all(|load| load.calls == 0)
    }
}

impl Touches {
    pub(in crate::core) fn is_nothing(&self) -> bool {
        self.keys.is_empty() && !self.anything
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECTIONS: usize = 3;

    /// A call of the test's, as far as it has come.
    struct Call {
        keys: Vec<u64>,
        anything: bool,
        connection: Option<usize>,
    }

    impl Call {
        fn touches(&self) -> Touches {
            Touches { keys: self.keys.iter().copied().collect(), anything: self.anything }
        }

        fn has_key_in_common(&self, other: &Call) -> bool {
            let is_nothing = |call: &Call| call.keys.is_empty() && !call.anything;
            let touches_all = self.anything && !is_nothing(other) || other.anything && !is_nothing(self);
            touches_all || self.keys.iter().any(|key| other.keys.contains(key))
        }
    }

    /// Notes that calls go on, which nothing that came before them may forbid.
    fn admit(calls: &mut BTreeMap<u64, Call>, admitted: impl IntoIterator<Item = (CallId, Shares)>) {
        for (id, Shares { connection, .. }) in admitted {
            let call = &calls[&id.serial];
            assert_eq!(call.connection, None, "admitted once");
            for (_, before) in calls.range(..id.serial).filter(|(_, before)| before.has_key_in_common(call)) {
                assert_eq!(before.connection, Some(connection), "behind those with a key in common");
            }
            calls.get_mut(&id.serial).expect("it is there").connection = Some(connection);
        }
    }

    fn run(seed: u64) -> usize {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut sharing = Sharing::new(CONNECTIONS);
        let mut calls = BTreeMap::<u64, Call>::new();
        let (mut serial, mut held) = (0, 0);
        for step in 0..400 {
            if step < 300 && rng.bool() {
                serial += 1;
                let mut keys: Vec<u64> = (0..rng.u64(..4)).map(|_| rng.u64(..8)).collect();
                keys.sort_unstable();
                keys.dedup();
                let call = Call { keys, anything: rng.u8(..20) == 0, connection: None };
                let (id, touches) = (CallId { place: 0, serial }, call.touches());
                calls.insert(serial, call);
                match sharing.enter(id, touches) {
                    Some(shares) => admit(&mut calls, [(id, shares)]),
                    None => held += 1,
                }
            } else if let Some(&serial) = rng.choice(calls.keys()) {
                // A connection answers in order; a call that is held may be cancelled at any time.
                let connection = calls[&serial].connection;
                let first =
                    calls.iter().find(|(_, call)| call.connection == connection).map(|(serial, _)| *serial);
                let over = if connection.is_some() { first.unwrap_or(serial) } else { serial };
                let call = calls.remove(&over).expect("it is there");
                let admitted = match call.connection {
                    Some(connection) => sharing.leave(Shares { touches: call.touches(), connection }),
                    None => sharing.withdraw(CallId { place: 0, serial: over }),
                };
                admit(&mut calls, admitted);
            }
        }
        while let Some((&serial, _)) = calls.iter().find(|(_, call)| call.connection.is_some()) {
            let call = calls.remove(&serial).expect("it is there");
            let shares = Shares { touches: call.touches(), connection: call.connection.expect("just seen") };
            admit(&mut calls, sharing.leave(shares));
        }
        assert!(calls.is_empty(), "nobody is held for ever");
        assert!(sharing.is_idle(), "{sharing:?}");
        held
    }

    #[test]
    fn calls_with_a_key_in_common_keep_their_order_and_nobody_is_held_for_ever() {
        let held: usize = (0..300).map(run).sum();
        assert!(held > 1000, "calls were held: {held}");
    }
}
