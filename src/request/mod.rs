//! What a caller asks for, in wire form: commands and script calls one behind the other.

mod append;
pub(crate) mod command;
mod form;
pub(crate) mod function;
mod item;
pub(crate) mod keys;
pub(crate) mod library;
pub(crate) mod once;
pub(crate) mod route;
pub(crate) mod script;
pub(crate) mod slots;
pub(crate) mod token;
mod tokens;
mod wire;

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::time::{Duration, Instant};

use crate::base::purpose::Purpose;
use crate::base::sha::{DigestHasher, Sha};
use crate::resp::NoMemory;
use crate::resp::encode::Buffer;
use script::{Script, Wait, Wrapped};
use slots::NO_SLOT;
use token::Made;

pub(crate) use form::Form;
pub(crate) use tokens::Unshared;
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

    /// Whether there was memory for all of it. What is not whole is never sent.
    #[inline]
    pub(crate) fn check(&self) -> std::result::Result<(), NoMemory> {
        self.wire.check()
    }

    /// What the connection is for that it wants, where nothing else is said.
    #[inline]
    pub(crate) fn purpose(&self) -> Purpose {
        if self.wait.is_some() { Purpose::Waiting } else { Purpose::Calls }
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

    /// Whether the caller says of all of it that it may be executed twice, beside what each item says.
    pub(crate) fn set_idempotent(&mut self, idempotent: bool) {
        self.idempotent = idempotent;
        let items = (0..self.items.len()).map(|index| self.repeatable_item(index));
        self.repeatable = items.min().unwrap_or(Repeatable::Always);
    }

    /// Gives the memory of the wire form back: it will not be sent again.
    pub(crate) fn give_back_wire(&mut self) {
        self.wire = Wire::Own(Buffer::default());
    }
}
