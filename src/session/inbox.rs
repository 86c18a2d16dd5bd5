//! What was received and is not yet a whole reply.

use crate::resp::{NoMemory, make_room};

/// Free room that every read finds.
const ROOM: usize = 8 * 1024;

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
}

impl Inbox {
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
            let ample = wanted.max(self.filled.saturating_mul(2));
            // Where twice as much is not to be had, somewhat more may be.
            let size = [ample, wanted.saturating_add(self.filled / 8)]
                .into_iter()
                .find(|size| self.bytes.try_reserve_exact(*size - self.bytes.len()).is_ok());
            self.bytes.resize(size.ok_or(NoMemory)?, 0);
        }
        Ok(())
    }

    /// Counts `count` bytes that were read into the room.
    #[inline]
    pub(crate) fn fill(&mut self, count: usize) {
        self.filled += count;
    }

    /// Whether everything received is decoded.
    #[inline]
    pub(super) fn is_decoded(&self) -> bool {
        self.at == self.filled
    }

    /// The received bytes and the place to decode from.
    #[inline]
    pub(super) fn decodable(&mut self) -> (&mut [u8], &mut usize) {
        (&mut self.bytes[..self.filled], &mut self.at)
    }

    /// The same and where the reply to be decoded starts.
    #[inline]
    pub(super) fn decodable_replies(&mut self) -> (&mut [u8], &mut usize, &mut usize) {
        (&mut self.bytes[..self.filled], &mut self.at, &mut self.reply)
    }

    /// Where the collected replies start; texts are placed relative to it.
    #[inline]
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// The length of the reply just decoded; the next one starts behind it.
    #[inline]
    pub(super) fn end_reply(&mut self) -> usize {
        let length = self.at - self.reply;
        self.reply = self.at;
        length
    }

    /// How many bytes are not decoded.
    #[inline]
    pub(super) fn undecoded(&self) -> usize {
        self.filled - self.at
    }

    /// The length of an incomplete reply so far.
    #[inline]
    pub(super) fn incomplete(&self) -> usize {
        self.filled - self.reply
    }

    /// Whether there are collected replies that are whole.
    #[inline]
    pub(super) fn has_whole(&self) -> bool {
        self.start != self.reply
    }

    /// Moves the collected replies that are whole behind `target`. The texts of one that is not keep their places.
    pub(super) fn hand_over_whole(&mut self, target: &mut Vec<u8>) -> Result<(), NoMemory> {
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
    pub(super) fn text(&self, at: usize, len: usize) -> &[u8] {
        &self.bytes[at..at + len]
    }

    /// The byte that is decoded next.
    pub(super) fn next(&self) -> Option<u8> {
        self.bytes[..self.filled].get(self.at).copied()
    }

    /// Forgets the aside that was decoded last; its length.
    pub(super) fn discard_aside(&mut self) -> usize {
        let length = self.end_reply();
        self.discard();
        length
    }

    /// Forgets what is decoded.
    #[inline]
    pub(super) fn discard(&mut self) {
        self.start = self.at;
    }

    /// Moves what is decoded behind `target`.
    #[inline]
    pub(super) fn hand_over(&mut self, target: &mut Vec<u8>) -> Result<(), NoMemory> {
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
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}
