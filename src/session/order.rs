//! Which items of a pipeline may be sent again behind the others: those for which no order is lost.
//!
//! An item that did not run may be run later if nothing that ran, or may run meanwhile, could tell the difference: no
//! item behind it that was executed, and none in front of it that may yet be, has a key in common with it. Of two
//! items one of which names no keys it is taken that they have one in common, unless the other is known to touch no
//! data.
//!
//! An item that stays an error hinders no other: behind it items run as they would behind any error of a pipeline.

use std::collections::BTreeMap;

use crate::request::Request;
use crate::request::keys::Touched;

/// The items of a pipeline that were not executed, in lists in ascending order.
#[derive(Debug, Default)]
pub(crate) struct NotExecuted {
    /// Script calls that may be sent again, as far as order allows.
    pub(crate) missed: Vec<usize>,
    /// Others.
    pub(crate) ended: Vec<usize>,
    /// Items that somebody may yet send to another server, for all that is known. Whether they were executed, `ended`
    /// says.
    pub(crate) refused: Vec<usize>,
}

impl NotExecuted {
    fn contains(&self, item: usize) -> bool {
        [&self.missed, &self.ended].iter().any(|items| items.binary_search(&item).is_ok())
    }

    /// The missed items that may be sent again now, in the caller's order.
    pub(crate) fn repairable(&self, request: &Request) -> Vec<usize> {
        let Some(&first) = self.missed.first() else { return Vec::new() };
        let mut behind = Conflicts::with(request, &self.missed);
        let mut in_front = Conflicts::with(request, &self.missed);
        let mut repairable = Vec::new();
        let mut item = request.items.len();
        // Backwards: at each missed item all is known that was executed behind it.
        while item > first {
            item -= 1;
            if self.missed.binary_search(&item).is_ok() {
                if !behind.concern(request, item) {
                    repairable.push(item);
                }
            } else if !self.contains(item) {
                behind.add(request, item);
            }
        }
        repairable.reverse();
        let mut refused = self.refused.iter().peekable();
        repairable.retain(|&item| {
            while let Some(refused) = refused.next_if(|&&refused| refused < item) {
                in_front.add(request, *refused);
            }
            !in_front.concern(request, item)
        });
        repairable
    }
}

/// What a growing number of items touches, of the keys that matter.
struct Conflicts {
    /// The keys of the missed items, and whether one of the items touches each.
    keys: BTreeMap<Box<[u8]>, bool>,
    /// One of the items touches anything.
    everything: bool,
    /// One of the items touches something.
    something: bool,
}

impl Conflicts {
    fn with(request: &Request, missed: &[usize]) -> Self {
        let mut keys = BTreeMap::new();
        for &item in missed {
            request.touches(item, |key| {
                keys.insert(key.into(), false);
            });
        }
        Conflicts { keys, everything: false, something: false }
    }

    fn add(&mut self, request: &Request, item: usize) {
        let keys = &mut self.keys;
        let touched = request.touches(item, |key| {
            if let Some(is_touched) = keys.get_mut(key) {
                *is_touched = true;
            }
        });
        self.everything |= touched == Touched::Everything;
        self.something |= touched != Touched::Nothing;
    }

    /// Whether one of the items has a key in common with this one.
    fn concern(&self, request: &Request, item: usize) -> bool {
        let mut has_common = false;
        match request.touches(item, |key| has_common |= self.keys.get(key) == Some(&true)) {
            Touched::Nothing => false,
            Touched::Keys => has_common || self.everything,
            Touched::Everything => self.something,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::script::Script;
    use crate::request::{Flags, Shape};

    /// A pipeline of script calls with these keys, and of commands, which have a space in them.
    fn pipeline(items: &[&str]) -> Request {
        let script = Script::new("return 1");
        let mut request = Request::default();
        request.reset(Shape::Pipeline);
        for item in items {
            if item.contains(' ') {
                let words: Vec<&[u8]> = item.trim().split(' ').map(str::as_bytes).collect();
                request.say(&words);
            } else {
                let keys: Vec<&[u8]> =
                    item.split(',').filter(|key| !key.is_empty()).map(str::as_bytes).collect();
                request.script_call(&script, &keys[..], &[&b"x"[..]][..], Flags::NONE).expect("accepted");
            }
        }
        request
    }

    #[track_caller]
    fn check(items: &[&str], missed: &[usize], refused: &[usize], expected: &[usize]) {
        let (missed, refused) = (missed.to_vec(), refused.to_vec());
        let lost = NotExecuted { missed, ended: refused.clone(), refused };
        assert_eq!(lost.repairable(&pipeline(items)), expected, "{items:?} {lost:?}");
    }

    #[test]
    fn an_item_is_repaired_unless_one_behind_it_has_run_on_its_keys() {
        check(&["a", "b"], &[0], &[], &[0]);
        check(&["a", "a"], &[0], &[], &[]);
        check(&["a", "a"], &[1], &[], &[1]);
        check(&["a", "a"], &[0, 1], &[], &[0, 1]);
        check(&["a,b", "GET c", "GET b"], &[0], &[], &[]);
        check(&["a,b", "GET c", "MGET d e"], &[0], &[], &[0]);
        check(&["a", "PING ", "ECHO a"], &[0], &[], &[0]);
        check(&["a", "b", "a"], &[0, 1], &[], &[1]);
    }

    #[test]
    fn what_names_no_keys_may_touch_any() {
        check(&["", "b"], &[0], &[], &[]);
        check(&["a", ""], &[0], &[], &[]);
        check(&["a", "FLUSHALL "], &[0], &[], &[]);
        check(&["a", "MY.OWN b"], &[0], &[], &[]);
        check(&["", "PING "], &[0], &[], &[0]);
        check(&["", "", "a"], &[0, 1, 2], &[], &[0, 1, 2]);
        check(&["a", "b", "", "c"], &[0, 1, 3], &[], &[3]);
    }

    #[test]
    fn an_item_that_stays_an_error_hinders_no_other() {
        // 0 and 1 have b in common; 0 may not be sent again because of 2.
        check(&["a,b", "b", "a"], &[0, 1], &[], &[1]);
        // 1 may not; 0 touches nothing that 2 does.
        check(&["a", "a,b", "b"], &[0, 1], &[], &[0]);
    }

    #[test]
    fn what_may_run_later_elsewhere_is_not_overtaken() {
        check(&["a", "a", "b"], &[1, 2], &[0], &[2]);
        check(&["GET a", "b", "a"], &[1, 2], &[0], &[1]);
        check(&["a", "b"], &[0], &[1], &[0]);
        check(&["FLUSHALL ", "b"], &[1], &[0], &[]);
    }
}
