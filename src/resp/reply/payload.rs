//! The memory of a reply: its tape and buffer, how they are filled, and where in them an element is.

use std::sync::{Arc, OnceLock};

use super::note::Note;
use super::tape::{Entry, Kind, place};
use crate::error::{Error, Status};
use crate::ffi::sys::lock::Mutex;
use crate::resp::{NoMemory, Pool, make_room};

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
    pub(in crate::resp) home: Option<Arc<Pool>>,
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
        for note in self.notes.iter_mut().filter(|note| note.may_be_of_earlier_try()) {
            (note.status, note.not_executed) = (Status::Indeterminate, false);
        }
    }

    /// The first error among a pipeline's replies by which its item was not executed now, and may have been earlier.
    pub(crate) fn first_left_open(&self) -> Option<Error> {
        let note = self.notes.iter().find(|note| note.may_be_of_earlier_try())?;
        Some(note.error(self.text(note.at)))
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
    pub(super) fn add_text(&mut self, text: &[u8]) -> Result<u64, NoMemory> {
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
    pub(in crate::resp) fn clear(&mut self) {
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
    pub(super) fn element(&self, entry: &Entry, index: usize) -> Option<&Entry> {
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
