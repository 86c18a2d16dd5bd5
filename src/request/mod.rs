//! What a caller asks for, in wire form: commands and script calls one behind the other.

mod form;
mod tokens;
mod wire;

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::error::{Error, Result, Status};
use crate::keys::{self, Touched};
use crate::purpose::Purpose;
use crate::resp::encode::{Arguments, Buffer, arguments};
use crate::resp::{NoMemory, push};
use crate::script::{Script, Wait, Wrapped};
use crate::sha::{DigestHasher, Sha};
use crate::slots::{self, NO_SLOT};
use crate::token::{self, Made};

use form::SHA_LINE;

pub(crate) use form::Form;
pub(crate) use wire::Wire;

/// How the replies of a request belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One item; its reply is the reply, its error the call's error.
    Single,
    /// Any number of items; the reply is an array, an error an element of it.
    Pipeline,
    /// The same between MULTI and EXEC.
    Transaction,
}

/// One command or script call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    /// Where its wire form ends.
    pub(crate) end: usize,
    /// The script it calls, as an index into [`Request::scripts`].
    pub(crate) script: Option<u32>,
    /// Whether the script is called read-only: as EVALSHA_RO, which the server enforces.
    pub(crate) read_only: bool,
    /// Whether a replica may run it: a read-only script call, or a command of which the caller says that it only reads.
    pub(crate) reads: bool,
    /// Whether it may be executed twice, whatever the server enforces.
    pub(crate) idempotent: bool,
    /// The slot of its keys; [`NO_SLOT`] without keys, or where nobody asks for slots.
    pub(crate) slot: u16,
}

/// What a caller says of a command or script call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags<'a> {
    /// It only reads. The server sees to that where it is a script; of a command the caller vouches for it.
    pub(crate) read_only: bool,
    /// It may be executed twice.
    pub(crate) idempotent: bool,
    /// The token of a call that happens once.
    pub(crate) token: Option<&'a [u8]>,
}

impl Flags<'_> {
    pub(crate) const NONE: Flags<'static> = Flags { read_only: false, idempotent: false, token: None };
    pub(crate) const READ_ONLY: Flags<'static> = Flags { read_only: true, idempotent: false, token: None };
}

/// Whether items are told apart by the slot of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routing {
    /// No: there is one server for all keys.
    None,
    /// Yes. A command whose keys are not known is refused.
    BySlot,
    /// Yes, and the caller has named a server for what has no keys that are known.
    BySlotOrRoute,
}

/// What makes it harmless to execute a request twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Repeatable {
    /// Nothing: it may write.
    No,
    /// The server, where it lets no read-only call write.
    IfEnforced,
    /// Its items are idempotent, or commands that only read.
    Yes,
    /// Its items find out by themselves that they were executed before.
    Always,
}

/// Encoded once, where it is made; sent as it is, or with its scripts in another form.
#[derive(Debug)]
pub(crate) struct Request {
    /// Script calls stand here as EVALSHA or EVALSHA_RO, those of functions as FCALL or FCALL_RO.
    pub(crate) wire: Wire,
    pub(crate) items: Vec<Item>,
    /// The distinct scripts of the items.
    pub(crate) scripts: Vec<Script>,
    pub(crate) shape: Shape,
    /// What makes every item harmless to execute twice.
    pub(crate) repeatable: Repeatable,
    /// Whether all of it may be executed twice, whatever its items are.
    idempotent: bool,
    /// Pipelines: items that met NOSCRIPT are sent again afterwards even where that changes the order.
    pub(crate) repair: bool,
    /// The server that it goes to does not own its slot yet: ASKING in front.
    pub(crate) asking: bool,
    /// The server that it goes to is a replica: no library is loaded there.
    pub(crate) on_replica: bool,
    /// Pipelines: items that the server refuses may go to another one.
    pub(crate) goes_on: bool,
    /// Transactions: scripts that the server is known to have are not loaded again inside MULTI.
    pub(crate) trust_cache: bool,
    pub(crate) routing: Routing,
    /// The slot of the items' keys, of those that have any; not for pipelines, whose items may lie in many.
    pub(crate) slot: u16,
    /// The replicas that are waited for behind it: most that any item wants, for as long as any.
    pub(crate) wait: Option<Wait>,
    /// The connection that it was put on last, by its number at its node.
    pub(crate) connection: u64,
    /// Bytes that were sent for it besides its wire form, in scripts that were loaded and items that were sent again
    /// or in another form.
    pub(crate) extra: i64,
    /// The token that was made here last, and where it stands.
    made: Option<Made>,
    /// Where a script stands in `scripts`, once they are too many to look through.
    places: HashMap<Sha, u32, BuildHasherDefault<DigestHasher>>,
}

/// A request's memory above this is given back instead of being kept for another use.
pub(crate) const KEPT_BYTES: usize = 1024 * 1024;

/// Where the keys of a script call start among its arguments: behind EVALSHA, the SHA and the number of keys.
const KEYS_START: usize = 3;

/// Up to so many scripts are looked through one by one.
const FEW_SCRIPTS: usize = 8;

const SHA_FORM: &[u8] = crate::script::EVALSHA_HEAD;
const SHA_RO_FORM: &[u8] = b"$10\r\nEVALSHA_RO\r\n$40\r\n";

impl Default for Request {
    fn default() -> Self {
        Request {
            wire: Wire::Own(Buffer::default()),
            items: Vec::new(),
            scripts: Vec::new(),
            shape: Shape::Single,
            repeatable: Repeatable::Always,
            idempotent: false,
            repair: false,
            on_replica: false,
            goes_on: false,
            trust_cache: false,
            asking: false,
            routing: Routing::None,
            slot: NO_SLOT,
            wait: None,
            connection: 0,
            extra: 0,
            made: None,
            places: HashMap::default(),
        }
    }
}

impl Request {
    /// Empties the request for another use.
    pub(crate) fn reset(&mut self, shape: Shape) {
        self.wire.clear();
        self.items.clear();
        self.scripts.clear();
        self.places.clear();
        self.shape = shape;
        self.repeatable = Repeatable::Always;
        self.idempotent = false;
        self.repair = false;
        self.trust_cache = false;
        self.asking = false;
        self.on_replica = false;
        self.goes_on = false;
        self.routing = Routing::None;
        self.slot = NO_SLOT;
        self.wait = None;
        self.extra = 0;
        self.made = None;
    }

    /// What one try to have it executed sends, as far as that is not [`Request::extra`]: of a transaction all is.
    #[inline]
    pub(crate) fn size_sent(&self) -> usize {
        if self.shape == Shape::Transaction { 0 } else { self.wire.len() }
    }

    /// The memory that it holds, be it filled or not.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.wire.capacity() + self.items.capacity() * size_of::<Item>()
    }

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

    #[inline(always)]
    fn plain_call(
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

    /// Takes back what was written from `start` on, and scripts that no item calls. The error is that of the writing,
    /// or that there was no memory.
    #[cold]
    fn take_back(&mut self, start: usize, written: Result<()>) -> Result<()> {
        self.wire.own().truncate(start);
        let called = self.items.iter().filter_map(|item| item.script).max();
        self.scripts.truncate(called.map_or(0, |place| place as usize + 1));
        // They are found again when they are looked for.
        self.places.clear();
        written.and(Err(Error::no_memory_to_send()))
    }

    /// Whether there was memory for all of it. What is not whole is never sent.
    #[inline]
    pub(crate) fn check(&self) -> std::result::Result<(), NoMemory> {
        self.wire.check()
    }

    /// The arguments of the command between two places in the wire form.
    fn words(&self, start: usize, end: usize) -> Result<SmallVec<[&[u8]; 16]>> {
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

    /// Whether the caller says of all of it that it may be executed twice, beside what each item says.
    pub(crate) fn set_idempotent(&mut self, idempotent: bool) {
        self.idempotent = idempotent;
        let items = (0..self.items.len()).map(|index| self.repeatable_item(index));
        self.repeatable = items.min().unwrap_or(Repeatable::Always);
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

    /// What makes it harmless to execute an item twice.
    pub(crate) fn repeatable_item(&self, index: usize) -> Repeatable {
        let item = self.items[index];
        match (self.idempotent || item.idempotent, item.read_only) {
            _ if self.is_once(index) => Repeatable::Always,
            (true, _) => Repeatable::Yes,
            (false, true) => Repeatable::IfEnforced,
            (false, false) => Repeatable::No,
        }
    }

    fn join_wait(&mut self, wait: Option<Wait>) {
        self.wait = match (self.wait, wait) {
            (Some(one), Some(other)) => Some(one.join(other)),
            (one, other) => one.or(other),
        };
    }

    /// The replicas that item `index` is to reach.
    pub(crate) fn wait_of(&self, index: usize) -> Option<Wait> {
        self.script_of(index)?.wrapped()?.wait
    }

    /// The script that item `index` calls, if it calls one.
    #[inline]
    pub(crate) fn script_of(&self, index: usize) -> Option<&Script> {
        self.items[index].script.map(|script| &self.scripts[script as usize])
    }

    /// What the connection is for that it wants, where nothing else is said.
    #[inline]
    pub(crate) fn purpose(&self) -> Purpose {
        if self.wait.is_some() { Purpose::Waiting } else { Purpose::Calls }
    }

    /// Whether item `index` finds out by itself that it was executed before.
    pub(crate) fn is_once(&self, index: usize) -> bool {
        self.script_of(index).is_some_and(|script| script.wrapped().is_some())
    }

    /// Whether it may be sent again so long after it was sent first: as long as servers keep its tokens, with room
    /// for what is on its way.
    pub(crate) fn may_repeat_after(&self, age: Duration) -> bool {
        self.scripts.iter().filter_map(Script::wrapped).all(|wrapped| age < wrapped.repeats_for())
    }

    /// When it may be sent again at the latest, if that is before this deadline. `submitted`: when it was sent first.
    pub(crate) fn repeats_until(&self, submitted: Instant, deadline: Instant) -> Instant {
        let tokens = self.scripts.iter().filter_map(Script::wrapped).map(Wrapped::repeats_for).min();
        tokens
            .and_then(|lifetime| submitted.checked_add(lifetime))
            .map_or(deadline, |until| until.min(deadline))
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
            wire.raw(SHA_RO_FORM);
            wire.raw(&script.evalsha()[SHA_FORM.len()..]);
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
    fn write_keys(&mut self, keys: &(impl Arguments + ?Sized)) -> (Result<()>, u16) {
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

    /// Gives the memory of the wire form back: it will not be sent again.
    pub(crate) fn give_back_wire(&mut self) {
        self.wire = Wire::Own(Buffer::default());
    }

    /// What an item reads or writes, as far as its declared keys say; `each` gets these.
    pub(crate) fn touches(&self, index: usize, mut each: impl FnMut(&[u8])) -> Touched {
        let wire = &self.wire[self.start_of(index)..self.items[index].end];
        if self.items[index].script.is_none() {
            let Ok(words) = self.words(self.start_of(index), self.items[index].end) else {
                return Touched::Everything;
            };
            return keys::touched(&words, each);
        }
        let mut behind = arguments(wire).skip(KEYS_START - 1);
        let count = behind.next().and_then(|count| str::from_utf8(count).ok()?.parse().ok());
        let mut touched = Touched::Everything;
        for key in behind.take(count.unwrap_or(0)) {
            touched = Touched::Keys;
            each(key);
        }
        touched
    }

    /// Item `index` is sent in a form in which no server keeps it from writing.
    pub(crate) fn note_unenforced(&mut self, index: usize) {
        if self.items[index].read_only && self.repeatable == Repeatable::IfEnforced {
            self.repeatable = Repeatable::No;
        }
    }

    /// The name of item `index`'s command, for error texts.
    pub(crate) fn name_of(&self, index: usize) -> String {
        let wire = &self.wire[self.start_of(index)..self.items[index].end];
        let name = arguments(wire).next().unwrap_or_default();
        String::from_utf8_lossy(name).chars().take(NAME_SHOWN).collect()
    }

    /// Whether a server that will not have item `index` says so before it begins, or lets it run to its end. A script
    /// without flags is stopped in the middle.
    pub(crate) fn is_checked_first(&self, index: usize) -> bool {
        match self.items[index].script {
            Some(script) => self.scripts[script as usize].has_flags(),
            None => !self.is_command(index, &EVALS),
        }
    }

    /// Whether item `index` runs a script or a function that may answer in any words, also one that is sent as a
    /// command. A pinned library's function cannot: its errors are marked.
    pub(crate) fn runs_code(&self, index: usize) -> bool {
        match self.items[index].script {
            Some(script) => self.scripts[script as usize].may_forge(),
            None => self.is_command(index, &EVALS) || self.is_command(index, &FCALLS),
        }
    }

    /// Whether item `index` calls a function as a script is called.
    pub(crate) fn calls_function(&self, index: usize) -> bool {
        self.script_of(index).is_some_and(|script| script.function().is_some())
    }

    /// Whether item `index` is a command of one of these names.
    pub(crate) fn is_command(&self, index: usize, names: &[&[u8]]) -> bool {
        // One that has given its wire form back is nobody's.
        let wire = self.wire.get(self.start_of(index)..self.items[index].end).unwrap_or_default();
        arguments(wire).next().is_some_and(|name| names.iter().any(|other| name.eq_ignore_ascii_case(other)))
    }

    /// Where the wire form of item `index` starts.
    pub(crate) fn start_of(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.items[before].end)
    }

    /// The form in which item `index`, a script call, is encoded.
    pub(crate) fn encoded_form(&self, index: usize) -> Form {
        let item = self.items[index];
        match item.script {
            Some(script) => Form::of(&self.scripts[script as usize], item.read_only),
            None => Form::new(false, item.read_only),
        }
    }

    /// Appends item `index`, a script call, to `out` in another form.
    pub(crate) fn rewrite(&self, index: usize, form: Form, out: &mut Buffer) {
        let item = self.items[index];
        let Some(script) = self.script_of(index) else { return };
        let wire = &self.wire[self.start_of(index)..item.end];
        let head = memchr::memchr(b'\n', wire).map_or(0, |at| at + 1);
        let encoded = match script.function() {
            Some(function) => function.head(item.read_only).len(),
            None if item.read_only => SHA_RO_FORM.len() + SHA_LINE,
            None => SHA_FORM.len() + SHA_LINE,
        };
        out.raw(&wire[..head]);
        out.argument(form.command());
        out.argument(form.named(script));
        out.raw(&wire[head + encoded..]);
    }
}

/// Commands that run a script, and those that run a function.
const EVALS: [&[u8]; 4] = [b"EVAL", b"EVALSHA", b"EVAL_RO", b"EVALSHA_RO"];
const FCALLS: [&[u8]; 4] = [b"FCALL", b"FCALL_RO", b"TFCALL", b"TFCALLASYNC"];

/// Characters of a command's name shown in an error text.
const NAME_SHOWN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [&str; 0] = [];

    #[test]
    fn a_script_call_in_each_form() {
        let script = Script::new("return 1");
        let mut request = Request::default();
        request.command(&[b"PING"], Flags::NONE).unwrap();
        request.script(&script, &[b"k"][..], &[&b"a\0"[..], b""][..], Flags::READ_ONLY).unwrap();
        let tail = "$1\r\n1\r\n$1\r\nk\r\n$2\r\na\0\r\n$0\r\n\r\n";
        let sha = script.sha_hex();
        let wire = format!("*1\r\n$4\r\nPING\r\n*6\r\n$10\r\nEVALSHA_RO\r\n$40\r\n{sha}\r\n{tail}");
        assert_eq!(*request.wire, *wire.as_bytes());
        for (form, expected) in [
            (Form::Sha, format!("*6\r\n$7\r\nEVALSHA\r\n$40\r\n{sha}\r\n{tail}")),
            (Form::Body, format!("*6\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n{tail}")),
            (Form::BodyReadOnly, format!("*6\r\n$7\r\nEVAL_RO\r\n$8\r\nreturn 1\r\n{tail}")),
        ] {
            let mut out = Buffer::default();
            request.rewrite(1, form, &mut out);
            assert_eq!(String::from_utf8_lossy(out.as_slice()), expected);
        }
    }

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
}
