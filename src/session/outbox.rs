//! What is still to be sent, in order: small requests run together, large ones as they lie in memory.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::request::Wire;
use crate::resp::encode::Buffer;

/// A wire form longer than this is sent from where it lies instead of being copied.
const COPY_MAX: usize = 2 * 1024;

/// Memory kept for the next small requests.
const KEPT_BYTES: usize = 64 * 1024;

/// Bytes on their way to the socket, out of the outbox while no lock is held.
#[derive(Debug)]
pub(crate) struct Chunk {
    bytes: Bytes,
    /// What of `bytes` is still to be sent.
    left: Range<usize>,
}

#[derive(Debug)]
enum Bytes {
    Own(Buffer),
    Shared(Arc<Buffer>),
}

impl Default for Chunk {
    fn default() -> Chunk {
        Chunk::own(Buffer::default())
    }
}

impl Chunk {
    /// All of `buffer`.
    #[inline]
    pub(crate) fn own(buffer: Buffer) -> Chunk {
        Chunk { left: 0..buffer.len(), bytes: Bytes::Own(buffer) }
    }

    #[inline]
    pub(crate) fn unsent(&self) -> &[u8] {
        let buffer = match &self.bytes {
            Bytes::Own(buffer) => buffer,
            Bytes::Shared(buffer) => buffer,
        };
        buffer.part(self.left.clone())
    }

    /// Whether some of it is missing.
    #[inline]
    fn is_short(&self) -> bool {
        matches!(&self.bytes, Bytes::Own(buffer) if buffer.check().is_err())
    }

    #[inline]
    pub(crate) fn is_sent(&self) -> bool {
        self.left.is_empty()
    }

    #[inline]
    pub(crate) fn advance(&mut self, sent: usize) {
        self.left.start += sent;
    }

    /// The memory of a chunk that nobody else refers to, to be used again.
    #[inline]
    pub(crate) fn into_buffer(self) -> Option<Buffer> {
        match self.bytes {
            Bytes::Own(buffer) => Some(buffer),
            Bytes::Shared(_) => None,
        }
    }
}

/// The bytes to send, and how far sending has come.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    chunks: VecDeque<Chunk>,
    /// Requests that run together, behind all chunks.
    tail: Buffer,
    /// An emptied buffer to become the next tail.
    spare: Buffer,
    /// Bytes ever put in.
    queued: u64,
    /// Bytes ever handed to the kernel.
    sent: u64,
    /// Bytes of the chunk that is out. Any of them may have left.
    out: u64,
    /// Where the burst ends that is being sent: all that waited when sending began. What is put in later belongs to
    /// the next one.
    burst_end: u64,
    /// Bursts so far.
    bursts: u64,
}

impl Outbox {
    /// The position in the stream of the next byte to be put in.
    pub(crate) fn position(&self) -> u64 {
        self.queued
    }

    /// Whether the byte at `position` has left, or may have.
    pub(crate) fn has_sent(&self, position: u64) -> bool {
        self.sent + self.out > position
    }

    /// How often sending began. What was queued once all before it had left makes a burst of its own, whoever sends it.
    pub(crate) fn bursts(&self) -> u64 {
        self.bursts
    }

    /// Appends what `write` writes.
    pub(crate) fn append(&mut self, write: impl FnOnce(&mut Buffer)) {
        let before = self.tail.len();
        write(&mut self.tail);
        self.queued += (self.tail.len() - before) as u64;
    }

    /// Appends a part of a request's wire form.
    #[inline(always)]
    pub(crate) fn append_wire(&mut self, wire: &mut Wire, part: Range<usize>) {
        self.queued += part.len() as u64;
        if part.len() <= COPY_MAX {
            self.tail.raw(&wire[part]);
        } else {
            self.append_shared(wire, part);
        }
    }

    #[inline(never)]
    fn append_shared(&mut self, wire: &mut Wire, part: Range<usize>) {
        // For the tail as well.
        if self.chunks.try_reserve(2).is_err() {
            return self.tail.lack();
        }
        self.seal();
        self.chunks.push_back(Chunk { bytes: Bytes::Shared(wire.share()), left: part });
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let chunk = self.take_tail();
            self.chunks.push_back(chunk);
        }
    }

    #[inline]
    fn take_tail(&mut self) -> Chunk {
        Chunk::own(std::mem::replace(&mut self.tail, std::mem::take(&mut self.spare)))
    }

    /// Whether nothing waits to be sent.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.chunks.is_empty()
    }

    /// Whether there was no memory for what comes next, so that nothing more can be sent.
    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        match self.chunks.front() {
            Some(chunk) => chunk.is_short(),
            None => self.tail.check().is_err(),
        }
    }

    /// Takes the next bytes to send. They must come back through [`Outbox::put_back`]. `None` also where it
    /// [is short](Outbox::is_short).
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Chunk> {
        if self.is_short() {
            return None;
        }
        let chunk = match self.chunks.pop_front() {
            Some(chunk) => chunk,
            None if self.tail.is_empty() => return None,
            None => self.take_tail(),
        };
        if self.sent >= self.burst_end {
            self.burst_end = self.queued;
            self.bursts += 1;
        }
        self.out = chunk.left.len() as u64;
        Some(chunk)
    }

    /// Takes back a chunk of which `sent` bytes have left since it was taken.
    #[inline(always)]
    pub(crate) fn put_back(&mut self, chunk: Chunk, sent: usize) {
        self.sent += sent as u64;
        self.out = 0;
        if !chunk.is_sent() {
            self.chunks.push_front(chunk);
        } else if let Some(mut buffer) = chunk.into_buffer()
            && buffer.capacity() <= KEPT_BYTES
        {
            buffer.truncate(0);
            self.spare = buffer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends everything, at most `step` bytes at a time.
    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(mut chunk) = outbox.take() {
            let sent = chunk.unsent().len().min(step);
            all.extend_from_slice(&chunk.unsent()[..sent]);
            chunk.advance(sent);
            outbox.put_back(chunk, sent);
        }
        all
    }

    #[test]
    fn order_is_kept_between_small_and_large() {
        for step in [1, 7, 1 << 20] {
            let large = vec![b'L'; COPY_MAX + 1];
            let mut wire = Buffer::default();
            wire.raw(&large);
            let mut wire = Wire::Own(wire);
            let mut outbox = Outbox::default();
            outbox.append(|tail| tail.raw(b"one"));
            outbox.append_wire(&mut wire, 0..large.len());
            outbox.append_wire(&mut wire, 0..3);
            assert_eq!(outbox.position(), 3 + large.len() as u64 + 3);
            let all = drain(&mut outbox, step);
            assert_eq!(all, [b"one".as_slice(), &large, b"LLL"].concat());
            assert!(outbox.take().is_none() && outbox.has_sent(outbox.position() - 1));
        }
    }

    #[test]
    fn what_has_left_is_known_to_the_byte() {
        let mut outbox = Outbox::default();
        outbox.append(|tail| tail.raw(b"abc"));
        let second = outbox.position();
        outbox.append(|tail| tail.raw(b"def"));
        let mut chunk = outbox.take().expect("bytes to send");
        let behind = outbox.position();
        assert!(outbox.has_sent(behind - 1) && !outbox.has_sent(behind), "what is out may have left");
        chunk.advance(3);
        outbox.put_back(chunk, 3);
        assert!(outbox.has_sent(second - 1) && !outbox.has_sent(second));
        assert_eq!(drain(&mut outbox, 10), b"def");
    }

    #[test]
    fn a_burst_is_what_waits_when_sending_begins() {
        let mut large = Buffer::default();
        large.raw(&[b'L'; COPY_MAX + 1]);
        let mut large = Wire::Own(large);
        for step in [1, 7, 1 << 20] {
            let mut outbox = Outbox::default();
            outbox.append(|tail| tail.raw(b"before it "));
            outbox.append_wire(&mut large, 0..COPY_MAX + 1);
            outbox.append(|tail| tail.raw(b" and behind it"));
            drain(&mut outbox, step);
            assert_eq!(outbox.bursts(), 1, "several chunks, and what the socket took in steps");
            assert!(outbox.take().is_none());
            assert_eq!(outbox.bursts(), 1, "nothing to send");
        }
        let mut outbox = Outbox::default();
        outbox.append(|tail| tail.raw(b"one"));
        let mut chunk = outbox.take().expect("bytes to send");
        // Its writer has not come back to say that it was sent, and the reply is there already.
        outbox.append(|tail| tail.raw(b"two"));
        chunk.advance(3);
        outbox.put_back(chunk, 3);
        assert_eq!(drain(&mut outbox, 2), b"two");
        assert_eq!(outbox.bursts(), 2);
    }
}
