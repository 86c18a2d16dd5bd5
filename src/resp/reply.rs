//! A reply: one flat tape over one buffer, and the views into it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::ffi::lock::Mutex;

use super::{NoMemory, Pool, make_room};
use crate::error::{Error, Reason, Status};

/// What a reply is. The numbers are those of the C API (`RS_REPLY_...`).
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// use rs_script::Kind;
///
/// let reply = client.call(&rs_script::Script::new("return {1, 'a', false}"), (), ())?;
/// assert_eq!(reply.kind(), Kind::Array);
/// let kinds: Vec<Kind> = reply.root().elements().map(|element| element.kind()).collect();
/// assert_eq!(kinds, [Kind::Integer, Kind::String, Kind::Nil]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Kind {
    /// No value: RESP2 null bulk string and null array, RESP3 null. Lua `false` and `nil`.
    Nil = 1,
    /// A status such as `OK`: `redis.status_reply` or a table with the field `ok`.
    Status = 2,
    /// An error inside an array or a pipeline: `redis.error_reply` or a table with the field `err`.
    Error = 3,
    /// A signed 64-bit integer. Lua numbers, truncated.
    Integer = 4,
    /// A string of bytes.
    String = 5,
    /// A sequence of replies.
    Array = 6,
    /// RESP3: keys and values in turn.
    Map = 7,
    /// RESP3: a sequence without order.
    Set = 8,
    /// RESP3: a floating-point number.
    Double = 9,
    /// RESP3: true or false.
    Boolean = 10,
    /// RESP3: an integer of any size, as decimal text.
    BigNumber = 11,
    /// RESP3: text with a three-letter format such as `txt` or `mkd`.
    Verbatim = 12,
    /// The tape's first entry. Never seen by a caller.
    #[doc(hidden)]
    Header = 255,
}

impl Kind {
    fn is_aggregate(self) -> bool {
        matches!(self, Kind::Array | Kind::Map | Kind::Set)
    }

    /// Whether the entry says it all: it has no text and no elements.
    pub(crate) fn is_plain(self) -> bool {
        matches!(self, Kind::Nil | Kind::Integer | Kind::Boolean)
    }

    fn is_text(self) -> bool {
        matches!(
            self,
            Kind::Status | Kind::Error | Kind::String | Kind::Double | Kind::BigNumber | Kind::Verbatim
        )
    }
}

/// One reply on the tape. An aggregate is followed by its elements, each with all that is inside it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Entry {
    /// Integer: the value. Boolean: 0 or 1. Text: where it starts in the buffer.
    pub(crate) value: u64,
    /// Text: bytes. Aggregate: elements.
    pub(crate) len: u32,
    /// Entries up to the next sibling, this one included.
    pub(crate) span: u32,
    /// This entry's own place on the tape; the C side finds the header from it.
    pub(crate) index: u32,
    pub(crate) kind: Kind,
}

impl Entry {
    /// Where a text starts in the buffer.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "it was an index into a buffer in memory")]
    pub(crate) fn start(&self) -> usize {
        self.value as usize
    }

    /// Whether no element of an aggregate has any itself: then they lie one behind the other.
    #[inline]
    fn is_flat(&self) -> bool {
        self.span == self.len + 1
    }
}

/// What is known of an error reply in a pipeline.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) at: usize,
    pub(crate) item: usize,
    pub(crate) command: String,
    pub(crate) status: Status,
    pub(crate) reason: Reason,
    pub(crate) not_executed: bool,
    /// The server that it is about.
    pub(crate) node: Option<Arc<str>>,
}

impl Note {
    /// What is known of an item by an error that it ended with.
    pub(crate) fn new(at: usize, item: usize, command: String, error: &Error) -> Note {
        Note {
            at,
            item,
            command,
            status: error.status(),
            reason: error.reason(),
            not_executed: error.is_not_executed(),
            node: error.shared_node().cloned(),
        }
    }

    /// The error of the item, whose text this is.
    pub(crate) fn error(&self, text: &[u8]) -> Error {
        let error = if self.status.is_answer() {
            Error::server(self.status, text, self.not_executed)
        } else {
            Error::because(self.status, self.reason, String::from_utf8_lossy(text))
        };
        let error = error.of_item(self.item);
        match &self.node {
            Some(node) => error.on(node),
            None => error,
        }
    }
}

/// Tape and buffer of one call's replies. `tape[0]` is the header, `tape[root]` the reply.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    pub(crate) tape: Vec<Entry>,
    /// Every text is followed by a NUL that it does not count.
    pub(crate) bytes: Vec<u8>,
    /// The place of the root on the tape.
    pub(crate) root: usize,
    /// What is known of the errors among a pipeline's replies, in the order of the tape.
    pub(crate) notes: Vec<Note>,
    /// Bytes of whole replies in it, as they came.
    pub(crate) received: usize,
    /// Where the elements of each aggregate start: made when first asked for, so that any element is found at once.
    elements: OnceLock<ElementIndex>,
    /// Held by the thread that makes it. Nobody waits for that: in a child of fork it may be missing.
    indexing: Mutex<()>,
    pub(super) home: Option<Arc<Pool>>,
}

#[derive(Debug)]
struct ElementIndex {
    /// By tape index of an aggregate that is not flat: where its run in `places` starts.
    runs: Vec<u32>,
    places: Vec<u32>,
}

impl ElementIndex {
    #[inline]
    fn find(&self, aggregate: usize, index: usize) -> Option<usize> {
        let run = *self.runs.get(aggregate)? as usize;
        self.places.get(run + index).map(|&place| place as usize)
    }
}

/// Elements below this index are found by walking; it is cheaper than to index the whole reply.
const WALK_MAX: usize = 8;

impl Payload {
    /// Has no error among a pipeline's replies say that its item was not executed: an earlier try may have been.
    pub(crate) fn claim_nothing(&mut self) {
        self.notes.iter_mut().for_each(|note| note.not_executed = false);
    }

    /// Says of the errors among a pipeline's replies which server they are of.
    pub(crate) fn of_server(&mut self, name: &Arc<str>) {
        for note in &mut self.notes {
            note.node.get_or_insert_with(|| Arc::clone(name));
        }
    }

    /// Puts the header in place; the first reply decoded after it is the root.
    pub(crate) fn start(&mut self) {
        self.clear();
        self.received = 0;
        self.tape.push(Entry { value: 0, len: 0, span: 1, index: 0, kind: Kind::Header });
        self.root = 1;
    }

    /// Puts header and an array in place; the replies decoded after it become its elements.
    pub(crate) fn start_array(&mut self) {
        self.start();
        self.tape.push(Entry { value: 0, len: 0, span: 1, index: 1, kind: Kind::Array });
    }

    /// Completes the array of [`Payload::start_array`], in which `len` elements are now.
    pub(crate) fn end_array(&mut self, len: usize) {
        self.tape[self.root].span = place(self.tape.len() - self.root);
        self.tape[self.root].len = place(len);
    }

    /// Takes the first `entries` entries of another payload's tape, an array that is not complete, and its bytes.
    pub(crate) fn copy(&mut self, other: &Payload, entries: usize) -> Result<(), NoMemory> {
        self.clear();
        make_room(&mut self.tape, entries)?;
        make_room(&mut self.bytes, other.bytes.len())?;
        self.tape.extend_from_slice(&other.tape[..entries]);
        self.bytes.extend_from_slice(&other.bytes);
        self.notes.clone_from(&other.notes);
        self.root = other.root;
        self.received = other.received;
        Ok(())
    }

    /// Leaves the first `count` elements of the root, none of them an aggregate, out of it.
    pub(crate) fn skip_elements(&mut self, count: usize) {
        let root = self.tape[self.root];
        self.root += count;
        let index = place(self.root);
        self.tape[self.root] =
            Entry { len: root.len - place(count), span: root.span - place(count), index, ..root };
    }

    /// The bytes of the text at `at` on the tape.
    pub(crate) fn text(&self, at: usize) -> &[u8] {
        let entry = &self.tape[at];
        &self.bytes[entry.start()..][..entry.len as usize]
    }

    /// Gives an error on the tape another text.
    pub(crate) fn replace_text(&mut self, at: usize, text: &[u8]) -> Result<(), NoMemory> {
        self.tape[at].value = self.add_text(text)?;
        self.tape[at].len = place(text.len());
        Ok(())
    }

    /// Puts a text of this side's own behind the others, and a NUL behind it; its place.
    fn add_text(&mut self, text: &[u8]) -> Result<u64, NoMemory> {
        let at = self.bytes.len() as u64;
        make_room(&mut self.bytes, text.len() + 1)?;
        self.bytes.extend_from_slice(text);
        self.bytes.push(0);
        Ok(at)
    }

    /// Takes the texts of another payload; what to add to the places of the entries that refer to them.
    pub(crate) fn adopt_texts(&mut self, other: &Payload) -> Result<u64, NoMemory> {
        let shift = self.bytes.len() as u64;
        make_room(&mut self.bytes, other.bytes.len())?;
        self.bytes.extend_from_slice(&other.bytes);
        Ok(shift)
    }

    /// Appends replies, whose texts were adopted with this shift.
    pub(crate) fn append(&mut self, entries: &[Entry], shift: u64) -> Result<(), NoMemory> {
        make_room(&mut self.tape, entries.len())?;
        for entry in entries {
            let index = place(self.tape.len());
            let value = if entry.kind.is_text() { entry.value + shift } else { entry.value };
            self.tape.push(Entry { value, index, ..*entry });
        }
        Ok(())
    }

    /// Appends a text of this side's own.
    pub(crate) fn append_text(&mut self, kind: Kind, text: &[u8]) -> Result<(), NoMemory> {
        make_room(&mut self.tape, 1)?;
        let index = place(self.tape.len());
        let value = self.add_text(text)?;
        self.tape.push(Entry { value, len: place(text.len()), span: 1, index, kind });
        Ok(())
    }

    /// Appends an aggregate of this side's own: what is appended up to [`Payload::close`] is in it.
    pub(crate) fn open(&mut self, kind: Kind) -> Result<usize, NoMemory> {
        make_room(&mut self.tape, 1)?;
        let at = self.tape.len();
        self.tape.push(Entry { value: 0, len: 0, span: 1, index: place(at), kind });
        Ok(at)
    }

    /// Ends the aggregate at this place, of so many elements; of a map, keys and values.
    pub(crate) fn close(&mut self, at: usize, len: usize) {
        self.tape[at].span = place(self.tape.len() - at);
        self.tape[at].len = place(len);
    }

    /// Appends a number of this side's own; the largest there is, if it is larger.
    pub(crate) fn append_integer(&mut self, value: u64) -> Result<(), NoMemory> {
        make_room(&mut self.tape, 1)?;
        let index = place(self.tape.len());
        let value = value.min(i64::MAX.unsigned_abs());
        self.tape.push(Entry { value, len: 0, span: 1, index, kind: Kind::Integer });
        Ok(())
    }

    /// Appends a nil of this side's own.
    pub(crate) fn append_nil(&mut self) {
        let index = place(self.tape.len());
        self.tape.push(Entry { value: 0, len: 0, span: 1, index, kind: Kind::Nil });
    }

    /// Appends a boolean of this side's own.
    pub(crate) fn append_boolean(&mut self, value: bool) {
        let index = place(self.tape.len());
        self.tape.push(Entry { value: value.into(), len: 0, span: 1, index, kind: Kind::Boolean });
    }

    /// Makes the array of [`Payload::start_array`] a map.
    pub(crate) fn make_map(&mut self) {
        self.tape[self.root].kind = Kind::Map;
    }

    /// Where the elements of the root stand on the tape.
    pub(crate) fn elements_at(&self) -> impl Iterator<Item = usize> {
        let mut at = self.root + 1;
        (0..self.tape[self.root].len).map(move |_| {
            let here = at;
            at += self.tape[here].span as usize;
            here
        })
    }

    /// Puts the elements of `other`, an array, in place of this array's elements of the given indices, in ascending
    /// order. Without memory for it, this payload is of no use any more.
    pub(crate) fn replace_elements(&mut self, indices: &[usize], other: &Payload) -> Result<(), NoMemory> {
        let other_shift = self.adopt_texts(other)?;
        let mut tape = Vec::new();
        make_room(&mut tape, self.tape.len() + other.tape.len())?;
        let old = std::mem::replace(&mut self.tape, tape);
        self.tape.extend_from_slice(&old[..=self.root]);
        self.notes.retain(|note| indices.binary_search(&note.item).is_err());
        self.notes.extend(other.notes.iter().cloned());
        self.notes.sort_by_key(|note| note.item);
        let mut notes = std::mem::take(&mut self.notes);
        let mut due = notes.iter_mut().peekable();
        let (mut from_old, mut from_other) = (self.root + 1, other.root + 1);
        let count = old[self.root].len as usize;
        for index in 0..count {
            let old_span = old[from_old].span as usize;
            if let Some(note) = due.next_if(|note| note.item == index) {
                note.at = self.tape.len();
            }
            let (source, shift) = match indices.binary_search(&index) {
                Ok(_) => {
                    let source = &other.tape[from_other..][..other.tape[from_other].span as usize];
                    from_other += source.len();
                    (source, other_shift)
                }
                Err(_) => (&old[from_old..][..old_span], 0),
            };
            from_old += old_span;
            self.append(source, shift)?;
        }
        self.notes = notes;
        self.end_array(count);
        Ok(())
    }

    /// Forgets the content and keeps the memory.
    #[inline]
    pub(super) fn clear(&mut self) {
        if self.tape.is_empty() {
            return;
        }
        self.tape.clear();
        self.bytes.clear();
        self.notes.clear();
        self.elements.take();
    }

    /// An element of an entry of this tape.
    #[inline]
    fn element(&self, entry: &Entry, index: usize) -> Option<&Entry> {
        if index >= entry.len as usize || !entry.kind.is_aggregate() {
            return None;
        }
        let aggregate = entry.index as usize;
        let at = if entry.is_flat() {
            aggregate + 1 + index
        } else if let Some(elements) = self.elements.get() {
            elements.find(aggregate, index)?
        } else {
            self.nested_element(aggregate, index)?
        };
        self.tape.get(at)
    }

    /// The place of an element of an aggregate in which there are others, as long as there is no index.
    #[cold]
    fn nested_element(&self, aggregate: usize, index: usize) -> Option<usize> {
        if index >= WALK_MAX
            && let Some(_alone) = self.indexing.try_lock()
            && let Ok(elements) = self.index_elements()
        {
            return self.elements.get_or_init(|| elements).find(aggregate, index);
        }
        Some(self.walk(aggregate, index))
    }

    /// Goes from sibling to sibling.
    fn walk(&self, aggregate: usize, index: usize) -> usize {
        (0..index).fold(aggregate + 1, |at, _| at + self.tape[at].span as usize)
    }

    /// An index of the elements of all aggregates in which there are others, if there is memory for it.
    fn index_elements(&self) -> Result<ElementIndex, NoMemory> {
        let (mut runs, mut places) = (Vec::new(), Vec::new());
        make_room(&mut runs, self.tape.len())?;
        make_room(&mut places, self.tape.len())?;
        runs.resize(self.tape.len(), 0);
        // What lies before the root is no part of the reply.
        let mut at = self.root;
        while let Some(entry) = self.tape.get(at) {
            if !entry.kind.is_aggregate() || entry.is_flat() {
                at += entry.span as usize;
                continue;
            }
            runs[at] = place(places.len());
            at += 1;
            let mut element = at;
            for _ in 0..entry.len {
                places.push(place(element));
                element += self.tape[element].span as usize;
            }
        }
        Ok(ElementIndex { runs, places })
    }
}

/// A place or number of entries as the tape has it. The decoder stops at 2^32 entries, and a pipeline's calls take
/// more memory than their replies' entries; the largest number stands for all that would be more.
#[inline]
fn place(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The reply to a call, or the replies to a pipeline: one tape, one buffer, freed at once.
///
/// Look into it through [`Reply::root`]; the commonest questions are answered here as well.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// let reply = client.call(&rs_script::Script::new("return {1, {'a', 'b'}}"), (), ())?;
/// assert_eq!(reply.get(1).and_then(|inner| inner.get(0)?.as_str()), Some("a"));
/// assert_eq!(format!("{reply:?}"), r#"Array[1, Array[String("a"), String("b")]]"#);
/// let (number, texts): (u8, Vec<&str>) = reply.to()?;
/// assert_eq!((number, &*texts), (1, &["a", "b"][..]));
/// # Ok(())
/// # }
/// ```
pub struct Reply {
    /// Present until the reply is dropped.
    payload: Option<Box<Payload>>,
}

impl Reply {
    pub(crate) fn new(payload: Box<Payload>) -> Self {
        debug_assert!(payload.tape.len() > 1, "a reply has a root");
        Reply { payload: Some(payload) }
    }

    /// A nil of this side's own.
    pub(crate) fn nil(mut payload: Box<Payload>) -> Self {
        payload.start();
        payload.append_nil();
        Reply::new(payload)
    }

    /// The whole reply.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let reply = client.command(("MGET", "a", "b"))?;
    /// assert_eq!(reply.root().len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn root(&self) -> ReplyRef<'_> {
        let payload = self.payload();
        ReplyRef::at(payload, payload.root)
    }

    fn payload(&self) -> &Payload {
        self.payload.as_deref().unwrap_or_else(|| unreachable!("only drop takes the payload"))
    }

    /// The tape and its buffer, for the C side to hold; [`Reply::new`] takes them back.
    pub(crate) fn into_payload(mut self) -> Box<Payload> {
        self.payload.take().unwrap_or_else(|| unreachable!("only drop takes the payload"))
    }

    /// What the root is.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// assert_eq!(client.command("PING")?.kind(), rs_script::Kind::Status);
    /// # Ok(())
    /// # }
    /// ```
    pub fn kind(&self) -> Kind {
        self.root().kind()
    }

    /// See [`ReplyRef::as_i64`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// assert_eq!(client.command(("INCR", "n"))?.as_i64(), Some(1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn as_i64(&self) -> Option<i64> {
        self.root().as_i64()
    }

    /// See [`ReplyRef::as_bytes`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// client.command(("SET", "k", b"\xff\0"))?;
    /// assert_eq!(client.command(("GET", "k"))?.as_bytes(), Some(&b"\xff\0"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn as_bytes(&self) -> Option<&[u8]> {
        self.root().as_bytes()
    }

    /// See [`ReplyRef::as_str`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// assert_eq!(client.command("PING")?.as_str(), Some("PONG"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn as_str(&self) -> Option<&str> {
        self.root().as_str()
    }

    /// See [`ReplyRef::get`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let reply = client.command(("MGET", "a", "b"))?;
    /// assert!(reply.get(1).is_some_and(|value| value.is_nil()) && reply.get(2).is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn get(&self, index: usize) -> Option<ReplyRef<'_>> {
        self.root().get(index)
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(mut payload) = self.payload.take()
            && let Some(home) = payload.home.take()
        {
            home.give(payload);
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root().fmt(f)
    }
}

/// A view of one reply inside a [`Reply`]. Two words; copy it freely.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// use rs_script::ReplyRef;
///
/// fn sum(reply: ReplyRef<'_>) -> i64 {
///     reply.as_i64().unwrap_or(0) + reply.elements().map(sum).sum::<i64>()
/// }
/// let reply = client.call(&rs_script::Script::new("return {1, {2, {3}}}"), (), ())?;
/// assert_eq!(sum(reply.root()), 6);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct ReplyRef<'a> {
    payload: &'a Payload,
    /// On the tape of the payload; it knows its place there.
    entry: &'a Entry,
}

/// The bytes of a verbatim text's format and the colon behind it.
const FORMAT_LEN: usize = 4;

impl<'a> ReplyRef<'a> {
    /// The reply at place `at` of the tape.
    #[inline]
    pub(crate) fn at(payload: &'a Payload, at: usize) -> Self {
        ReplyRef::of(payload, &payload.tape[at])
    }

    /// The reply with this entry on the tape.
    #[inline]
    pub(crate) fn of(payload: &'a Payload, entry: &'a Entry) -> Self {
        ReplyRef { payload, entry }
    }

    #[inline]
    fn place(self) -> usize {
        self.entry.index as usize
    }

    pub(crate) fn payload(self) -> &'a Payload {
        self.payload
    }

    /// This reply and all inside it.
    pub(crate) fn entries(self) -> &'a [Entry] {
        &self.payload.tape[self.place()..][..self.entry.span as usize]
    }

    #[inline]
    pub(crate) fn entry(self) -> &'a Entry {
        self.entry
    }

    /// The same in memory of its own, with what is known of the errors in it.
    pub(crate) fn to_reply(self) -> Result<Reply, NoMemory> {
        let mut payload = Box::<Payload>::default();
        payload.start();
        let (first, entries) = (self.place(), self.entries());
        make_room(&mut payload.tape, entries.len())?;
        for entry in entries {
            let mut copy = Entry { index: place(payload.tape.len()), ..*entry };
            if entry.kind.is_text() {
                // Its format stands in front of a verbatim text.
                let before = if entry.kind == Kind::Verbatim { FORMAT_LEN } else { 0 };
                let text = &self.payload.bytes[entry.start() - before..][..before + entry.len as usize];
                copy.value = payload.add_text(text)? + before as u64;
            }
            payload.tape.push(copy);
        }
        let within = first..first + entries.len();
        let notes = self.payload.notes.iter().filter(|note| within.contains(&note.at));
        payload.notes.extend(notes.map(|note| Note { at: note.at - first + payload.root, ..note.clone() }));
        Ok(Reply::new(payload))
    }

    /// What this reply is.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let reply = client.command(("MGET", "a"))?;
    /// assert_eq!(reply.root().elements().next().map(|value| value.kind()), Some(rs_script::Kind::Nil));
    /// # Ok(())
    /// # }
    /// ```
    pub fn kind(self) -> Kind {
        self.entry().kind
    }

    /// Whether there is no value.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// assert!(client.command(("GET", "nothing"))?.root().is_nil());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_nil(self) -> bool {
        self.kind() == Kind::Nil
    }

    /// The value of an integer or boolean (0 or 1); `None` for anything else.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// assert_eq!(client.command(("INCR", "n"))?.root().as_i64(), Some(1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn as_i64(self) -> Option<i64> {
        matches!(self.kind(), Kind::Integer | Kind::Boolean).then_some(self.entry().value.cast_signed())
    }

    /// The value of a double or an integer; `None` for anything else.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// client.command(("ZADD", "scores", 2.5, "Ada"))?;
    /// // RESP3 has doubles.
    /// assert_eq!(client.command(("ZSCORE", "scores", "Ada"))?.root().as_f64(), Some(2.5));
    /// # Ok(())
    /// # }
    /// ```
    pub fn as_f64(self) -> Option<f64> {
        match self.kind() {
            Kind::Double => self.as_str()?.parse().ok(),
            Kind::Integer => Some(self.entry().value.cast_signed() as f64),
            _ => None,
        }
    }

    /// The value of a boolean, or of the integers 0 and 1, which is how RESP2 spells it.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// assert_eq!(client.command(("EXISTS", "nothing"))?.root().as_bool(), Some(false));
    /// # Ok(())
    /// # }
    /// ```
    pub fn as_bool(self) -> Option<bool> {
        match self.as_i64()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// The bytes of a string, status, error, double, big number or verbatim text; `None` for anything else.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// assert_eq!(client.command(("ECHO", b"\xff"))?.root().as_bytes(), Some(&b"\xff"[..]));
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        if !self.kind().is_text() {
            return None;
        }
        // Without a panic in sight C's look at a string is a third shorter.
        self.payload.bytes.get(self.entry.start()..)?.get(..self.entry.len as usize)
    }

    /// An error reply as an [`Error`]; `None` for anything else. An error of a pipeline's item says which item it
    /// was, and whether it is certain that the item was not executed.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let reply = client.call(&rs_script::Script::new("return {1, redis.error_reply('MINE own')}"), (), ())?;
    /// let error = reply.get(1).and_then(|element| element.as_error()).unwrap();
    /// assert_eq!(error.server_code(), Some("MINE"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn as_error(self) -> Option<Error> {
        if self.kind() != Kind::Error {
            return None;
        }
        let text = self.as_bytes().unwrap_or_default();
        let notes = &self.payload.notes;
        Some(match notes.binary_search_by_key(&self.place(), |note| note.at).map(|place| &notes[place]) {
            Ok(note) => note.error(text).context(format_args!("item {} ({})", note.item, note.command)),
            Err(_) => Error::server(Status::Server, text, false),
        })
    }

    /// The same as text; `None` also when it is not UTF-8.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// assert_eq!(client.command(("ECHO", b"\xff"))?.root().as_str(), None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn as_str(self) -> Option<&'a str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// The format of a verbatim text, such as `txt`.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let info = client.command(("INFO", "server"))?;
    /// assert_eq!(info.root().verbatim_format(), Some(&b"txt"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn verbatim_format(self) -> Option<&'a [u8]> {
        (self.kind() == Kind::Verbatim).then(|| {
            let start = self.entry().start();
            &self.payload.bytes[start - FORMAT_LEN..start - 1]
        })
    }

    /// The number of elements of an array, set or map (keys and values both count), or of bytes of a text; else 0.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// assert_eq!(client.command(("ECHO", "four"))?.root().len(), 4);
    /// # Ok(())
    /// # }
    /// ```
    pub fn len(self) -> usize {
        self.entry().len as usize
    }

    /// Whether [`ReplyRef::len`] is 0.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// assert!(client.command(("KEYS", "*"))?.root().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// An element of an array, set or map (key, value, key, ...), in constant time; `None` beyond the end.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let reply = client.command(("ECHO", "a"))?;
    /// assert!(reply.root().get(0).is_none(), "a string has no elements");
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn get(self, index: usize) -> Option<ReplyRef<'a>> {
        let entry = self.payload.element(self.entry, index)?;
        Some(ReplyRef { payload: self.payload, entry })
    }

    /// The elements of an array, set or map in order; nothing for anything else.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// client.command(("RPUSH", "list", "a", "b"))?;
    /// let list = client.command(("LRANGE", "list", 0, -1))?;
    /// let texts: Vec<_> = list.root().elements().filter_map(|element| element.as_str()).collect();
    /// assert_eq!(texts, ["a", "b"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn elements(self) -> Elements<'a> {
        let left = if self.kind().is_aggregate() { self.len() } else { 0 };
        Elements { payload: self.payload, next: self.place() + 1, left }
    }

    /// The elements from that one on as they lie on the tape, where none of them has any itself.
    #[inline]
    pub(crate) fn flat_elements_from(self, first: usize) -> Option<&'a [Entry]> {
        let is_flat = self.kind().is_aggregate() && self.entry.is_flat();
        is_flat.then(|| self.entries().get(1..)?.get(first..)).flatten()
    }

    /// The elements from that one on.
    #[inline]
    pub(crate) fn elements_from(self, first: usize) -> Elements<'a> {
        let elements = self.elements();
        if first == 0 {
            return elements;
        }
        match self.get(first) {
            Some(element) => Elements { next: element.place(), left: elements.left - first, ..elements },
            None => Elements { left: 0, ..elements },
        }
    }
}

impl fmt::Debug for ReplyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            Kind::Nil => f.write_str("Nil"),
            Kind::Integer => write!(f, "{}", self.entry().value.cast_signed()),
            Kind::Boolean => write!(f, "{}", self.entry().value == 1),
            kind if kind.is_aggregate() => {
                write!(f, "{kind:?}")?;
                f.debug_list().entries(self.elements()).finish()
            }
            kind => write!(f, "{kind:?}(\"{}\")", self.as_bytes().unwrap_or_default().escape_ascii()),
        }
    }
}

/// The elements of an aggregate in order. Made by [`ReplyRef::elements`].
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// let reply = client.command(("MGET", "a", "b", "c"))?;
/// let elements = reply.root().elements();
/// assert_eq!(elements.len(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Elements<'a> {
    payload: &'a Payload,
    next: usize,
    left: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = ReplyRef<'a>;

    fn next(&mut self) -> Option<ReplyRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        let element = ReplyRef::at(self.payload, self.next);
        self.next += element.entry.span as usize;
        Some(element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Elements<'_> {}
