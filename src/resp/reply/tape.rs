//! The tape of a reply: what its entries are.

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
    pub(super) fn is_aggregate(self) -> bool {
        matches!(self, Kind::Array | Kind::Map | Kind::Set)
    }

    /// Whether the entry says it all: it has no text and no elements.
    pub(crate) fn is_plain(self) -> bool {
        matches!(self, Kind::Nil | Kind::Integer | Kind::Boolean)
    }

    pub(super) fn is_text(self) -> bool {
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
    pub(super) fn is_flat(&self) -> bool {
        self.span == self.len + 1
    }
}

/// A place or number of entries as the tape has it. The decoder stops at 2^32 entries, and a pipeline's calls take
/// more memory than their replies' entries; the largest number stands for all that would be more.
#[inline]
pub(super) fn place(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
