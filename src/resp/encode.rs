//! Commands into wire form: an array of bulk strings, written straight into the buffer that will be sent.

use std::ops::Range;

use super::NoMemory;
use crate::error::Result;

/// Bytes in wire form, and initialised room behind them for more.
///
/// How long an argument is the caller decides. Where there is no memory for one, it is left out, and so is all that
/// comes behind it, until [`Buffer::truncate`]; [`Buffer::check`] says so. So not every write has to be asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    /// Something is missing.
    is_short: bool,
}

/// The room that a buffer starts with.
const LEAST_ROOM: usize = 256;

/// A sign, twenty digits, CR and LF, and the CR and LF of an argument.
const AROUND_MAX: usize = 25;

impl Buffer {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing, and nothing missing.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0 && !self.is_short
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// A part of the bytes.
    #[inline]
    pub(crate) fn part(&self, part: Range<usize>) -> &[u8] {
        debug_assert!(part.end <= self.len, "what is behind the bytes is room");
        &self.bytes[part]
    }

    /// Writes over bytes that are there.
    pub(crate) fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        debug_assert!(at + bytes.len() <= self.len, "what is behind the bytes is room");
        self.bytes[at..][..bytes.len()].copy_from_slice(bytes);
    }

    /// Forgets what is behind the first `len` bytes, also that there was no memory for it, and keeps the memory.
    #[inline]
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.is_short = false;
    }

    /// Something else is missing that belongs to the bytes.
    #[cold]
    pub(crate) fn lack(&mut self) {
        self.bytes.truncate(self.len);
        self.is_short = true;
    }

    /// Whether all is there that was written.
    #[inline]
    pub(crate) fn check(&self) -> std::result::Result<(), NoMemory> {
        if self.is_short { Err(NoMemory) } else { Ok(()) }
    }

    /// The memory that it holds.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends the head of a command of `argc` arguments.
    #[inline]
    pub(crate) fn head(&mut self, argc: usize) {
        if argc < 10 {
            self.raw(&[b'*', digit(argc), b'\r', b'\n']);
        } else {
            self.long_length(b'*', argc);
        }
    }

    /// Appends the head of a command of `argc` arguments, the first of them, which are in wire form already, and
    /// behind those a number, which is below `argc`.
    #[inline(always)]
    pub(crate) fn head_with<const N: usize>(&mut self, argc: usize, first: &[u8; N], number: usize) {
        if argc < 10 {
            self.fill(4 + N + 7, |slot| {
                let (head, rest) = slot.split_at_mut(4);
                let (words, last) = rest.split_at_mut(N);
                head.copy_from_slice(&[b'*', digit(argc), b'\r', b'\n']);
                words.copy_from_slice(first);
                last.copy_from_slice(&[b'$', b'1', b'\r', b'\n', digit(number), b'\r', b'\n']);
            });
        } else {
            self.head(argc);
            self.raw(first);
            self.number(number);
        }
    }

    /// The same where the first ones are of any length.
    #[inline(always)]
    pub(crate) fn head_with_words(&mut self, argc: usize, first: &[u8], number: usize) {
        if argc < 10 {
            self.fill(4 + first.len() + 7, |slot| {
                let (head, rest) = slot.split_at_mut(4);
                let (words, last) = rest.split_at_mut(first.len());
                head.copy_from_slice(&[b'*', digit(argc), b'\r', b'\n']);
                words.copy_from_slice(first);
                last.copy_from_slice(&[b'$', b'1', b'\r', b'\n', digit(number), b'\r', b'\n']);
            });
        } else {
            self.head(argc);
            self.raw(first);
            self.number(number);
        }
    }

    /// Appends one argument.
    #[inline(always)]
    pub(crate) fn argument(&mut self, bytes: &[u8]) {
        if bytes.len() < 10 {
            self.fill(6 + bytes.len(), |slot| {
                let (head, rest) = slot.split_at_mut(4);
                let (argument, end) = rest.split_at_mut(bytes.len());
                head.copy_from_slice(&[b'$', digit(bytes.len()), b'\r', b'\n']);
                copy_few(bytes, argument);
                end.copy_from_slice(b"\r\n");
            });
        } else {
            self.long_argument(bytes);
        }
    }

    fn long_argument(&mut self, bytes: &[u8]) {
        self.long_length(b'$', bytes.len());
        self.raw(bytes);
        self.raw(b"\r\n");
    }

    /// Appends one argument that consists of these parts.
    pub(crate) fn argument_of(&mut self, parts: &[&[u8]]) {
        self.long_length(b'$', parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| self.raw(part));
        self.raw(b"\r\n");
    }

    /// Appends one argument, a number in decimal.
    #[inline]
    pub(crate) fn number(&mut self, number: usize) {
        if number < 10 {
            self.raw(&[b'$', b'1', b'\r', b'\n', digit(number), b'\r', b'\n']);
        } else {
            self.argument(itoa::Buffer::new().format(number).as_bytes());
        }
    }

    /// Appends bytes that are in wire form already.
    #[inline]
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.fill(bytes.len(), |slot| slot.copy_from_slice(bytes));
    }

    /// Appends the first `len` bytes of `head`, and behind these what `tail` writes, which is of one length. All of
    /// `head` is copied, for that takes less than to copy so many bytes.
    #[inline(always)]
    pub(crate) fn ends<const H: usize, const T: usize>(
        &mut self,
        head: &[u8; H],
        len: usize,
        tail: impl FnOnce(&mut [u8; T]),
    ) {
        let len = len.min(H);
        if let Some(room) = self.slot(H + T) {
            if let Some(start) = room.first_chunk_mut() {
                *start = *head;
            }
            if let Some(end) = room[len..].first_chunk_mut() {
                tail(end);
            }
            self.len -= H - len;
        }
    }

    fn long_length(&mut self, sign: u8, length: usize) {
        self.raw(&[sign]);
        self.raw(itoa::Buffer::new().format(length).as_bytes());
        self.raw(b"\r\n");
    }

    /// Has the next `size` bytes written, unless there is no memory for them.
    #[inline(always)]
    fn fill(&mut self, size: usize, write: impl FnOnce(&mut [u8])) {
        let start = self.len;
        let room = &mut self.bytes[start..];
        if room.len() < size {
            return self.fill_grown(size, write);
        }
        self.len += size;
        write(&mut room[..size]);
    }

    // Apart, so that the usual case asks nothing more.
    #[cold]
    fn fill_grown(&mut self, size: usize, write: impl FnOnce(&mut [u8])) {
        if let Some(slot) = self.grown(size) {
            // The length said here as well: then `write` need not check it.
            write(&mut slot[..size]);
        }
    }

    /// The next `size` bytes, to be written; `None` without memory.
    #[inline(always)]
    fn slot(&mut self, size: usize) -> Option<&mut [u8]> {
        let start = self.len;
        if self.bytes[start..].len() < size {
            // The length said here as well: then no caller needs to check it.
            return self.grown(size).map(|slot| &mut slot[..size]);
        }
        self.len += size;
        Some(&mut self.bytes[start..][..size])
    }

    /// The same, with room made for them: twice what there was, or only what is needed where there is not as much.
    #[cold]
    fn grown(&mut self, size: usize) -> Option<&mut [u8]> {
        let start = self.len;
        let least = start.saturating_add(size);
        let ample = least.saturating_add(AROUND_MAX).max(self.bytes.len().saturating_mul(2)).max(LEAST_ROOM);
        let wanted = [ample, least]
            .into_iter()
            .find(|wanted| !self.is_short && self.bytes.try_reserve_exact(wanted - self.bytes.len()).is_ok());
        let Some(wanted) = wanted else {
            // Nothing comes behind what is missing: there is no room left.
            self.lack();
            return None;
        };
        self.bytes.resize(wanted, 0);
        self.len += size;
        Some(&mut self.bytes[start..])
    }

    /// Appends a whole command.
    pub(crate) fn command(&mut self, arguments: &[&[u8]]) {
        self.head(arguments.len());
        for bytes in arguments {
            self.argument(bytes);
        }
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Buffer {
        Buffer { len: bytes.len(), bytes, is_short: false }
    }
}

impl From<Buffer> for Vec<u8> {
    fn from(mut buffer: Buffer) -> Vec<u8> {
        buffer.bytes.truncate(buffer.len);
        buffer.bytes
    }
}

/// A number below ten.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it is below ten")]
fn digit(number: usize) -> u8 {
    b'0' + number as u8
}

/// Copies up to sixteen bytes, as two pieces that may overlap: for so few, calling memcpy costs more than copying.
#[inline(always)]
fn copy_few(from: &[u8], to: &mut [u8]) {
    #[inline(always)]
    fn ends<const N: usize>(from: &[u8], to: &mut [u8]) -> bool {
        let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else {
            return false;
        };
        to[..N].copy_from_slice(first);
        to[from.len() - N..].copy_from_slice(last);
        true
    }
    let _ = ends::<8>(from, to) || ends::<4>(from, to) || ends::<2>(from, to) || ends::<1>(from, to);
}

/// The arguments that are in wire form in `wire`, one behind the other; the head of a command in front of them is
/// skipped.
pub(crate) fn arguments(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = wire;
    if rest.first() == Some(&b'*') {
        take_line(&mut rest);
    }
    std::iter::from_fn(move || {
        let length = take_line(&mut rest)?;
        let argument = rest.get(..length)?;
        rest = rest.get(length + 2..).unwrap_or_default();
        Some(argument)
    })
}

/// Takes a sign and a number from the front.
fn take_line(wire: &mut &[u8]) -> Option<usize> {
    let end = memchr::memchr(b'\r', wire)?;
    let digits = wire.get(1..end)?;
    *wire = wire.get(end + 2..)?;
    Some(digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit.wrapping_sub(b'0'))))
}

/// A list of arguments that can be written: slices of anything made of bytes, or what C hands over.
pub(crate) trait Arguments {
    fn count(&self) -> usize;

    /// Appends every argument; an error when one of them cannot be, and some of them may be appended then.
    fn write(&self, buffer: &mut Buffer) -> Result<()>;
}

impl<T: AsRef<[u8]>> Arguments for [T] {
    fn count(&self) -> usize {
        self.len()
    }

    fn write(&self, buffer: &mut Buffer) -> Result<()> {
        for argument in self {
            buffer.argument(argument.as_ref());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut buffer = Buffer::default();
        buffer.raw(b"+");
        buffer.command(&[b"SET", b"", b"a\r\n\0b"]);
        assert_eq!(buffer.as_slice(), b"+*3\r\n$3\r\nSET\r\n$0\r\n\r\n$5\r\na\r\n\0b\r\n");
        buffer.truncate(1);
        assert_eq!(buffer.as_slice(), b"+");
    }

    #[test]
    fn a_part_of_a_head_and_a_tail_fill_any_room() {
        for filled in 0..2 * LEAST_ROOM {
            let mut buffer = Buffer::from(vec![b'x'; filled]);
            for len in [0, 3, 8, 9] {
                buffer.ends(b"headhead", len, |tail: &mut [u8; 4]| *tail = *b"tail");
            }
            let behind = "tailheatailheadheadtailheadheadtail";
            assert_eq!(buffer.as_slice(), format!("{}{behind}", "x".repeat(filled)).as_bytes());
        }
    }

    #[test]
    fn arguments_are_found_in_wire_form() {
        let words: [&[u8]; 4] = [b"SET", b"", b"a\r\n\0b", &[b'x'; 1000]];
        let mut buffer = Buffer::default();
        buffer.command(&words);
        assert_eq!(arguments(buffer.as_slice()).collect::<Vec<_>>(), words);
        assert_eq!(arguments(&buffer.as_slice()[4..]).collect::<Vec<_>>(), words);
        assert_eq!(arguments(b"").count(), 0);
    }

    #[test]
    fn lengths_of_every_width() {
        for number in [0, 9, 10, 99, 100, 12_345, 1 << 40] {
            let mut buffer = Buffer::default();
            buffer.head(number);
            buffer.number(number);
            let text = number.to_string();
            assert_eq!(buffer.as_slice(), format!("*{text}\r\n${}\r\n{text}\r\n", text.len()).into_bytes());
        }
        for length in [0, 9, 10, 100, 100_000] {
            let mut buffer = Buffer::default();
            buffer.argument(&vec![b'x'; length]);
            assert_eq!(buffer.as_slice(), format!("${length}\r\n{}\r\n", "x".repeat(length)).into_bytes());
        }
    }
}
