//! Views into a reply: one reply of those that it is made of, and the elements of one.

use std::fmt;

use super::payload::Payload;
use super::tape::{Entry, Kind};
use crate::error::{Error, Status};

/// A view of one reply inside a [`Reply`](super::Reply). Two words; copy it freely.
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
pub(super) const FORMAT_LEN: usize = 4;

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
    pub(super) fn place(self) -> usize {
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
