//! How commands and script calls get into a request, in the order in which they are to run.

use smallvec::SmallVec;

use super::form::{EVALSHA_HEAD, EVALSHA_RO_HEAD};
use super::script::{Script, Wait};
use super::slots::{self, NO_SLOT};
use super::token;
use super::{Flags, Item, KEYS_START, Repeatable, Request, Routing, Shape};
use crate::error::{Error, Result, Status};
use crate::resp::encode::{Arguments, arguments};
use crate::resp::{NoMemory, push};

/// Up to so many scripts are looked through one by one.
const FEW_SCRIPTS: usize = 8;

/// An item that is being appended, and is taken back unless this is forgotten.
struct Half<'a> {
    request: &'a mut Request,
    /// What it was before.
    routing: Routing,
}

impl Drop for Half<'_> {
    fn drop(&mut self) {
        let end = self.request.start_of(self.request.items.len());
        let _ = self.request.take_back(end, Ok(()));
        self.request.routing = self.routing;
    }
}

impl Request {
    /// Appends a script call, unless it is one that no server would run.
    #[inline(always)]
    pub(crate) fn script_call(
        &mut self,
        script: &Script,
        keys: &(impl Arguments + ?Sized),
        args: &(impl Arguments + ?Sized),
        flags: Flags<'_>,
    ) -> Result<()> {
        if script.wrapped().is_some() || flags.token.is_some() {
            return self.once_call(script, keys, args, flags);
        }
        self.plain_call(script, keys, args, flags)
    }

    /// Appends an item whose keys and arguments write themselves by the host's code, to a request that is kept. A panic
    /// of theirs takes back what there is of it by then: the server would take the next item for the rest.
    pub(crate) fn appending<R>(&mut self, append: impl FnOnce(&mut Self) -> R) -> R {
        let half = Half { routing: self.routing, request: self };
        let appended = append(half.request);
        std::mem::forget(half);
        appended
    }

    #[inline(always)]
    pub(super) fn plain_call(
        &mut self,
        script: &Script,
        keys: &(impl Arguments + ?Sized),
        args: &(impl Arguments + ?Sized),
        flags: Flags<'_>,
    ) -> Result<()> {
        if flags.read_only && script.is_refused_read_only() {
            return Err(Error::new(
                Status::NotReadOnly,
                "the script's first line lacks the flag no-writes, so no server runs it read-only",
            ));
        }
        let idempotent = script.is_idempotent() || flags.idempotent;
        self.script(script, keys, args, Flags { idempotent, ..flags })?;
        self.repeatable = self.repeatable.min(match (idempotent, flags.read_only) {
            (true, _) => Repeatable::Yes,
            (false, true) => Repeatable::IfEnforced,
            (false, false) => Repeatable::No,
        });
        Ok(())
    }

    /// Appends a command, unless its way through a cluster is not known.
    pub(crate) fn command(&mut self, arguments: &[&[u8]], flags: Flags<'_>) -> Result<()> {
        if flags.token.is_some() {
            return Err(token::no_token());
        }
        let slot = match self.routing {
            Routing::None => NO_SLOT,
            routing => {
                let slot = slots::of_command(arguments, routing == Routing::BySlotOrRoute)?;
                self.join(slot, |_| slots::shown_key(arguments))?;
                slot
            }
        };
        let (start, items) = (self.wire.len(), self.items.len());
        self.append_command(arguments, slot, flags);
        self.complete(start, items)
    }

    /// The same for arguments that write themselves; `check` says of the command's words whether it may be sent.
    pub(crate) fn command_given<R>(
        &mut self,
        given: &impl Arguments,
        flags: Flags<'_>,
        check: impl FnOnce(&[&[u8]]) -> Result<R>,
    ) -> Result<R> {
        let start = self.wire.len();
        let appended = self.append_given(given, flags, check);
        if appended.is_err() {
            self.wire.own().truncate(start);
        }
        appended
    }

    fn append_given<R>(
        &mut self,
        given: &impl Arguments,
        flags: Flags<'_>,
        check: impl FnOnce(&[&[u8]]) -> Result<R>,
    ) -> Result<R> {
        let (wire, items) = (self.wire.own(), self.items.len());
        let start = wire.len();
        wire.head(given.count());
        given.write(wire)?;
        let end = wire.len();
        self.complete(start, items)?;
        let (checked, slot) = {
            let words = self.words(start, end)?;
            let checked = check(&words)?;
            let slot = match self.routing {
                Routing::None => NO_SLOT,
                routing => slots::of_command(&words, routing == Routing::BySlotOrRoute)?,
            };
            (checked, slot)
        };
        self.join(slot, |request| request.shown_key(start, end))?;
        self.push_command(end, slot, flags);
        self.complete(start, items)?;
        Ok(checked)
    }

    /// Takes back what was appended behind `start`, and its item, unless there was memory for all of it. `items`: how
    /// many there were before.
    #[inline]
    fn complete(&mut self, start: usize, items: usize) -> Result<()> {
        if self.check().is_err() {
            self.items.truncate(items);
            return self.take_back(start, Ok(()));
        }
        Ok(())
    }

    /// Takes back what was written from `start` on, scripts that no item calls, and a slot that no item has. The error
    /// is that of the writing, or that there was no memory.
    #[cold]
    pub(super) fn take_back(&mut self, start: usize, written: Result<()>) -> Result<()> {
        self.wire.own().truncate(start);
        if !self.items.iter().any(|item| item.slot == self.slot) {
            self.slot = NO_SLOT;
        }
        let called = self.items.iter().filter_map(|item| item.script).max();
        self.scripts.truncate(called.map_or(0, |place| place as usize + 1));
        // They are found again when they are looked for.
        self.places.clear();
        written.and(Err(Error::no_memory_to_send()))
    }

    /// The arguments of the command between two places in the wire form.
    pub(super) fn words(&self, start: usize, end: usize) -> Result<SmallVec<[&[u8]; 16]>> {
        let mut words = SmallVec::new();
        for word in arguments(&self.wire[start..end]) {
            words.try_reserve(1).map_err(|_| Error::no_memory_to_send())?;
            words.push(word);
        }
        Ok(words)
    }

    fn push_item(&mut self, item: Item) {
        if push(&mut self.items, item).is_err() {
            self.wire.own().lack();
        }
    }

    /// Appends a command of the library's own, whose way is known.
    pub(crate) fn say(&mut self, arguments: &[&[u8]]) {
        self.append_command(arguments, NO_SLOT, Flags::NONE);
    }

    fn append_command(&mut self, arguments: &[&[u8]], slot: u16, flags: Flags<'_>) {
        let wire = self.wire.own();
        wire.command(arguments);
        let end = wire.len();
        self.push_command(end, slot, flags);
    }

    /// Notes that a command was appended to the wire form.
    fn push_command(&mut self, end: usize, slot: u16, flags: Flags<'_>) {
        let idempotent = flags.idempotent || flags.read_only;
        self.push_item(Item {
            end,
            script: None,
            read_only: false,
            reads: flags.read_only,
            idempotent,
            slot,
        });
        self.repeatable = self.repeatable.min(if idempotent { Repeatable::Yes } else { Repeatable::No });
    }

    /// Appends an item of another request.
    pub(crate) fn take(&mut self, other: &Request, index: usize) {
        let item = other.items[index];
        let wire = self.wire.own();
        wire.raw(&other.wire[other.start_of(index)..item.end]);
        let end = wire.len();
        let script = match item.script.map(|script| self.place_of(&other.scripts[script as usize])) {
            Some(Err(NoMemory)) => return self.wire.own().lack(),
            Some(Ok(place)) => Some(place),
            None => None,
        };
        if other.wait.is_some() {
            self.join_wait(other.wait_of(index));
        }
        self.push_item(Item { end, script, ..item });
        self.repeatable = self.repeatable.min(other.repeatable_item(index));
    }

    /// Makes it the same request as another, to be sent elsewhere as well.
    pub(crate) fn copy_from(&mut self, other: &Request) {
        self.reset(other.shape);
        for index in 0..other.items.len() {
            self.take(other, index);
        }
        self.slot = other.slot;
    }

    pub(super) fn join_wait(&mut self, wait: Option<Wait>) {
        self.wait = match (self.wait, wait) {
            (Some(one), Some(other)) => Some(one.join(other)),
            (one, other) => one.or(other),
        };
    }

    /// Appends a script call.
    #[inline(always)]
    fn script(
        &mut self,
        script: &Script,
        keys: &(impl Arguments + ?Sized),
        args: &(impl Arguments + ?Sized),
        Flags { read_only, idempotent, .. }: Flags<'_>,
    ) -> Result<()> {
        let wire = self.wire.own();
        let start = wire.len();
        let argc = 3 + keys.count() + args.count();
        if let Some(function) = script.function() {
            wire.head_with_words(argc, function.head(read_only), keys.count());
        } else if read_only {
            wire.head(argc);
            wire.raw(EVALSHA_RO_HEAD);
            wire.raw(&script.evalsha()[EVALSHA_HEAD.len()..]);
            wire.number(keys.count());
        } else {
            wire.head_with(argc, script.evalsha(), keys.count());
        }
        let (mut written, slot) = self.write_keys(keys);
        let wire = self.wire.own();
        if written.is_ok() {
            written = args.write(wire);
        }
        if written.is_err() || wire.check().is_err() {
            return self.take_back(start, written);
        }
        let end = wire.len();
        let Ok(index) = self.place_of(script) else { return self.take_back(start, Ok(())) };
        let item = Item { end, script: Some(index), read_only, reads: read_only, idempotent, slot };
        if push(&mut self.items, item).is_err() {
            return self.take_back(start, Ok(()));
        }
        Ok(())
    }

    /// Writes keys behind what is there; gives their slot, where that is of use.
    #[inline(always)]
    pub(super) fn write_keys(&mut self, keys: &(impl Arguments + ?Sized)) -> (Result<()>, u16) {
        let wire = self.wire.own();
        let start = wire.len();
        let written = keys.write(wire);
        if self.routing == Routing::None || written.is_err() {
            return (written, NO_SLOT);
        }
        match self.join_keys(start) {
            Ok(slot) => (Ok(()), slot),
            Err(error) => (Err(error), NO_SLOT),
        }
    }

    /// The slot of the keys that were just written.
    #[inline(never)]
    fn join_keys(&mut self, start: usize) -> Result<u16> {
        let slot = slots::of_keys(arguments(&self.wire[start..]))?;
        let key =
            |request: &Self| arguments(&request.wire[start..]).next().map(slots::shown).unwrap_or_default();
        self.join(slot, key)?;
        Ok(slot)
    }

    /// Notes the slot of an item's keys, unless the item cannot stand beside the others. `key`: one of those keys, to
    /// be shown.
    fn join(&mut self, slot: u16, key: impl FnOnce(&Self) -> String) -> Result<()> {
        if self.shape == Shape::Pipeline || slot == NO_SLOT {
            return Ok(());
        }
        if self.slot != NO_SLOT && self.slot != slot {
            let other = self.items.iter().position(|item| item.slot != NO_SLOT).unwrap_or_default();
            let text = format!(
                "a transaction runs on one server, but the key {} lies in slot {slot} and the key {} of item {other} \
                 in slot {}; a hash tag such as {{tag}} in both puts them together. Nothing was sent",
                key(self),
                self.first_key_of(other),
                self.slot
            );
            return Err(Error::new(Status::CrossSlot, text));
        }
        self.slot = slot;
        Ok(())
    }

    fn first_key_of(&self, index: usize) -> String {
        let wire = &self.wire[self.start_of(index)..self.items[index].end];
        match self.items[index].script {
            Some(_) => arguments(wire).nth(KEYS_START).map(slots::shown).unwrap_or_default(),
            None => self.shown_key(self.start_of(index), self.items[index].end),
        }
    }

    /// A key of the command between two places in the wire form, for error texts.
    fn shown_key(&self, start: usize, end: usize) -> String {
        self.words(start, end).map_or_else(|_| String::new(), |words| slots::shown_key(&words))
    }

    // Not inlined it costs each call 30 instructions.
    #[inline(always)]
    fn place_of(&mut self, script: &Script) -> std::result::Result<u32, NoMemory> {
        match self.items.last() {
            Some(Item { script: Some(place), .. }) if self.scripts[*place as usize].is(script) => Ok(*place),
            None if self.scripts.is_empty() => push(&mut self.scripts, script.clone()).map(|()| 0),
            _ => self.look_up(script),
        }
    }

    #[inline(never)]
    fn look_up(&mut self, script: &Script) -> std::result::Result<u32, NoMemory> {
        let sha = script.identity();
        let known = if self.scripts.len() <= FEW_SCRIPTS {
            self.scripts.iter().position(|known| known.identity() == sha).map(|place| place as u32)
        } else {
            if self.places.is_empty() {
                self.places.try_reserve(self.scripts.len() + 1).map_err(|_| NoMemory)?;
                self.places
                    .extend((0..).zip(&self.scripts).map(|(place, script)| (script.identity(), place)));
            }
            self.places.get(&sha).copied()
        };
        if let Some(place) = known {
            return Ok(place);
        }
        let place = self.scripts.len() as u32;
        self.places.try_reserve(1).map_err(|_| NoMemory)?;
        push(&mut self.scripts, script.clone())?;
        if !self.places.is_empty() {
            self.places.insert(sha, place);
        }
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::defect::contain;
    use crate::request::once::Once;
    use crate::resp::encode::Buffer;

    const NONE: [&str; 0] = [];

    #[test]
    fn many_scripts_are_each_listed_once() {
        let scripts: Vec<Script> = (0..50).map(|number| Script::new(format!("return {number}"))).collect();
        let mut request = Request::default();
        for script in scripts.iter().chain(&scripts) {
            request.script(script, &NONE[..], &NONE[..], Flags::NONE).unwrap();
        }
        assert_eq!(request.scripts.len(), 50);
        assert!((0..100).all(|item| request.items[item].script == Some(item as u32 % 50)));
        assert_eq!(request.name_of(7), "EVALSHA");
    }

    #[test]
    fn a_script_called_twice_is_listed_once() {
        let (one, same, other) = (Script::new("return 1"), Script::new("return 1"), Script::new("return 2"));
        let mut request = Request::default();
        for script in [&one, &same, &other, &one] {
            request.script(script, &NONE[..], &NONE[..], Flags::NONE).unwrap();
        }
        assert_eq!(request.scripts.len(), 2);
        assert_eq!(request.items.iter().map(|item| item.script).collect::<Vec<_>>(), [0, 0, 1, 0].map(Some));
    }

    #[test]
    fn an_item_that_is_refused_leaves_its_transaction_without_a_slot() {
        struct Broken;
        impl Arguments for Broken {
            fn count(&self) -> usize {
                1
            }

            fn write(&self, _: &mut Buffer) -> Result<()> {
                Err(Error::no_memory_to_send())
            }
        }
        let script = Script::new("return 1");
        let mut request = Request { routing: Routing::BySlot, ..Request::default() };
        request.shape = Shape::Transaction;
        assert!(request.script_call(&script, &["a"][..], &Broken, Flags::NONE).is_err());
        request.script_call(&script, &["b"][..], &NONE[..], Flags::NONE).unwrap();
        assert!(request.script_call(&script, &["b"][..], &Broken, Flags::NONE).is_err());
        assert_eq!(request.slot, slots::slot_of(b"b"));
    }

    #[test]
    fn a_panic_in_an_argument_takes_its_item_back() {
        struct Panicking;
        impl Arguments for Panicking {
            fn count(&self) -> usize {
                1
            }

            fn write(&self, _: &mut Buffer) -> Result<()> {
                panic!("a panic that a test wants: it is shown, and ends nothing")
            }
        }
        let plain = Script::new("return 1");
        let once = plain.once(&Once::default()).unwrap();
        for script in [&plain, &once] {
            let mut request = Request { routing: Routing::BySlot, ..Request::default() };
            request.shape = Shape::Transaction;
            let panics = |request: &mut Request, keys: &[&str]| {
                let append =
                    |request: &mut Request| request.script_call(script, keys, &Panicking, Flags::NONE);
                assert!(contain(|| request.appending(append)).is_none());
            };
            panics(&mut request, &["a"]);
            panics(&mut request, &[]);
            assert_eq!((request.wire.len(), request.slot, request.routing), (0, NO_SLOT, Routing::BySlot));
            request.script_call(script, &["b"][..], &NONE[..], Flags::NONE).unwrap();
            let len = request.wire.len();
            panics(&mut request, &["b"]);
            let append = |request: &mut Request| request.command_given(&Panicking, Flags::NONE, |_| Ok(()));
            assert!(contain(|| request.appending(append)).is_none());
            assert_eq!((request.wire.len(), request.items.len(), request.scripts.len()), (len, 1, 1));
            request.script_call(script, &["b"][..], &NONE[..], Flags::NONE).unwrap();
            assert_eq!((request.items.len(), request.slot), (2, slots::slot_of(b"b")));
        }
    }
}
