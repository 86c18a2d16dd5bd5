//! What was received and is not yet a whole reply.

use std::sync::Arc;

use super::{NoMemory, Pool, make_room};

/// Free room that every read finds.
const ROOM: usize = 8 * 1024;

/// What stands around a string, at most: its sign and length, and two line ends.
const HEAD: usize = 32;

/// An empty inbox gives its memory back above this.
const KEPT_BYTES: usize = 256 * 1024;

/// Replies longer than this are handed over with the buffer that they came in: it would not be kept anyway.
const COPY_MAX: usize = KEPT_BYTES;

/// Of replies that come in pieces so many times what has come is made room for, where the last were that many.
const AMPLE: usize = 4;

/// A buffer that is filled from the socket and emptied by the decoder.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    /// Where the replies that are being collected start.
    start: usize,
    /// Where the reply that is being decoded starts.
    reply: usize,
    /// Where the decoder goes on.
    at: usize,
    /// Where the received bytes end.
    filled: usize,
    /// How much was handed over to one call last: the next one may get as much.
    handed: usize,
    /// Where buffers of earlier replies that were long may be had.
    pool: Option<Arc<Pool>>,
}

impl Inbox {
    pub(crate) fn new(pool: &Arc<Pool>) -> Inbox {
        Inbox { pool: Some(Arc::clone(pool)), ..Inbox::default() }
    }

    /// The room for the next read. Grows with what has come, never with what was announced.
    #[inline]
    pub(crate) fn room(&mut self) -> Result<&mut [u8], NoMemory> {
        if self.start == self.filled {
            (self.start, self.reply, self.at, self.filled) = (0, 0, 0, 0);
            if self.bytes.len() > KEPT_BYTES {
                self.bytes = Vec::new();
            }
        }
        if self.bytes.len() - self.filled < ROOM {
            self.make_room()?;
        }
        Ok(&mut self.bytes[self.filled..])
    }

    #[cold]
    fn make_room(&mut self) -> Result<(), NoMemory> {
        self.bytes.copy_within(self.start..self.filled, 0);
        self.reply -= self.start;
        self.at -= self.start;
        self.filled -= self.start;
        self.start = 0;
        let wanted = (self.filled + ROOM).max(2 * ROOM).max(self.handed);
        if self.bytes.len() < wanted {
            let announced = self.announced().map(|size| size.max(wanted));
            if self.take_kept(announced.unwrap_or(wanted)) {
                return Ok(());
            }
            let ample = wanted.max(self.filled.saturating_mul(2)).min(announced.unwrap_or(usize::MAX));
            // Where twice as much is not to be had, somewhat more may be.
            let size = [ample, wanted.saturating_add(self.filled / 8)]
                .into_iter()
                .find(|size| self.bytes.try_reserve_exact(*size - self.bytes.len()).is_ok());
            self.bytes.resize(size.ok_or(NoMemory)?, 0);
        }
        Ok(())
    }

    /// What the inbox has to hold for the string that is coming, where its length is known: more would be for nothing.
    fn announced(&self) -> Option<usize> {
        let (sign, rest) = self.bytes[self.at..self.filled].split_first()?;
        let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let length: usize = match sign {
            b'$' | b'=' | b'!' => std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?,
            _ => return None,
        };
        Some(self.at.saturating_add(length).saturating_add(HEAD + ROOM))
    }

    /// Goes on in the buffer of an earlier reply, if there is one for so many bytes.
    fn take_kept(&mut self, wanted: usize) -> bool {
        let Some(mut kept) = self.pool.as_ref().and_then(|pool| pool.take_buffer(wanted)) else {
            return false;
        };
        kept[..self.filled].copy_from_slice(&self.bytes[..self.filled]);
        self.bytes = kept;
        true
    }

    /// Counts `count` bytes that were read into the room.
    #[inline]
    pub(crate) fn fill(&mut self, count: usize) {
        self.filled += count;
    }

    /// Whether everything received is decoded.
    #[inline]
    pub(crate) fn is_decoded(&self) -> bool {
        self.at == self.filled
    }

    /// The received bytes and the place to decode from.
    #[inline]
    pub(crate) fn decodable(&mut self) -> (&mut [u8], &mut usize) {
        (&mut self.bytes[..self.filled], &mut self.at)
    }

    /// The same and where the reply to be decoded starts.
    #[inline]
    pub(crate) fn decodable_replies(&mut self) -> (&mut [u8], &mut usize, &mut usize) {
        (&mut self.bytes[..self.filled], &mut self.at, &mut self.reply)
    }

    /// Where the collected replies start; texts are placed relative to it.
    #[inline]
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// The length of the reply just decoded; the next one starts behind it.
    #[inline]
    pub(crate) fn end_reply(&mut self) -> usize {
        let length = self.at - self.reply;
        self.reply = self.at;
        length
    }

    /// How many bytes are not decoded.
    #[inline]
    pub(crate) fn undecoded(&self) -> usize {
        self.filled - self.at
    }

    /// The length of an incomplete reply so far.
    #[inline]
    pub(crate) fn incomplete(&self) -> usize {
        self.filled - self.reply
    }

    /// Whether there are collected replies that are whole.
    #[inline]
    pub(crate) fn has_whole(&self) -> bool {
        self.start != self.reply
    }

    /// Moves the collected replies that are whole behind `target`. The texts of one that is not keep their places.
    pub(crate) fn hand_over_whole(&mut self, target: &mut Vec<u8>) -> Result<(), NoMemory> {
        let whole = &self.bytes[self.start..self.reply];
        let come = target.len() + whole.len();
        // More is to come: as much as last time, if it goes on like this.
        let ample = self.handed.min(come.saturating_mul(AMPLE)).max(come);
        make_room(target, ample - target.len()).or_else(|NoMemory| make_room(target, whole.len()))?;
        target.extend_from_slice(whole);
        self.start = self.reply;
        self.handed = self.handed.max(come.min(KEPT_BYTES));
        Ok(())
    }

    /// A decoded text of the collected replies.
    pub(crate) fn text(&self, at: usize, len: usize) -> &[u8] {
        &self.bytes[at..at + len]
    }

    /// The byte that is decoded next.
    pub(crate) fn next(&self) -> Option<u8> {
        self.bytes[..self.filled].get(self.at).copied()
    }

    /// Forgets the aside that was decoded last; its length.
    pub(crate) fn discard_aside(&mut self) -> usize {
        let length = self.end_reply();
        self.discard();
        length
    }

    /// Forgets what is decoded.
    #[inline]
    pub(crate) fn discard(&mut self) {
        self.start = self.at;
    }

    /// Moves what is decoded behind `target`.
    #[inline]
    pub(crate) fn hand_over(&mut self, target: &mut Vec<u8>) -> Result<(), NoMemory> {
        if target.is_empty() && self.start == 0 && self.at > COPY_MAX {
            return self.hand_over_buffer(target);
        }
        let decoded = &self.bytes[self.start..self.at];
        make_room(target, decoded.len())?;
        target.extend_from_slice(decoded);
        self.start = self.at;
        self.handed = target.len().min(KEPT_BYTES);
        Ok(())
    }

    /// Hands over the buffer itself, and goes on with another.
    fn hand_over_buffer(&mut self, target: &mut Vec<u8>) -> Result<(), NoMemory> {
        let behind = &self.bytes[self.at..self.filled];
        let mut rest = Vec::new();
        make_room(&mut rest, behind.len())?;
        rest.extend_from_slice(behind);
        self.bytes.truncate(self.at);
        *target = std::mem::replace(&mut self.bytes, rest);
        self.handed = target.len().min(KEPT_BYTES);
        (self.start, self.reply, self.at, self.filled) = (0, 0, 0, self.bytes.len());
        Ok(())
    }

    /// The memory that it holds.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills the inbox with these bytes of a reply that is not whole, and gives the room that it has in all.
    fn size_with(inbox: &mut Inbox, bytes: &[u8]) -> usize {
        for piece in bytes.chunks(1000) {
            inbox.room().expect("memory")[..piece.len()].copy_from_slice(piece);
            inbox.fill(piece.len());
        }
        inbox.room().expect("memory");
        inbox.bytes.len()
    }

    #[test]
    fn room_grows_with_what_has_come_and_not_beyond_what_is_announced() {
        let coming =
            |length: &str, come: usize| [format!("${length}\r\n").as_bytes(), &vec![b'x'; come]].concat();
        for (length, come, most) in [
            ("100000", 99_999, 100_000 + HEAD + ROOM),
            ("100000", 60_000, 100_000 + HEAD + ROOM),
            ("4000000000", 60_000, 140_000),
            ("99999999999999999999999", 60_000, 140_000),
            ("-1", 60_000, 140_000),
            ("", 60_000, 140_000),
        ] {
            let size = size_with(&mut Inbox::default(), &coming(length, come));
            assert!(size >= come + ROOM && size <= most, "{length} {come}: {size}");
        }
        // What only looks as if it said how much is coming.
        assert!(size_with(&mut Inbox::default(), &coming("10", 60_000)) >= 60_000 + ROOM);
    }

    #[test]
    fn a_reply_goes_on_in_the_buffer_of_an_earlier_one() {
        const LENGTH: usize = 2 << 20;
        let pool = Arc::<Pool>::default();
        let mut text = format!("${LENGTH}\r\n").into_bytes();
        text.resize(text.len() + LENGTH, b'y');
        for is_kept in [false, false, true] {
            let mut inbox = Inbox::new(&pool);
            let size = size_with(&mut inbox, &text[..20_000]);
            assert_eq!(size >= LENGTH, is_kept, "{size}");
            size_with(&mut inbox, &text[20_000..]);
            assert_eq!(inbox.bytes[..inbox.filled], text);
            let mut payload = pool.take();
            payload.start();
            payload.append_text(crate::resp::Kind::Status, b"").expect("memory");
            inbox.at = inbox.filled;
            payload.bytes.clear();
            inbox.hand_over(&mut payload.bytes).expect("memory");
            drop(crate::resp::Reply::new(payload));
        }
    }
}
