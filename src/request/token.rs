//! Tokens of calls that happen once, and the keys under which servers keep what was answered.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::time::SystemTime;

use super::script::Wrapped;
use super::slots::{CRC, NO_SLOT, SLOTS, checksum, slot_of};
use crate::error::{Error, Result, Status};
use crate::ffi::sys::cancel::Held;
use crate::ffi::sys::fork::Process;
use crate::resp::encode::{Arguments, Buffer};

/// A token of the caller's own is so long at most.
pub(crate) const LONGEST_TOKEN: usize = 256;

/// What token keys with this prefix begin with, up to their tag; and the same in wire form, for tokens that are made
/// here.
pub(crate) fn heads(prefix: &[u8]) -> [Vec<u8>; 2] {
    let head = [prefix, b"{"].concat();
    let mut made_head = format!("${}\r\n", head.len() + TAG + 2 + 32).into_bytes();
    made_head.extend_from_slice(&head);
    [head, made_head]
}

/// The keys of a call, and the key of its token behind them.
pub(crate) struct WithToken<'a, K: ?Sized> {
    keys: &'a K,
    wrapped: &'a Wrapped,
    token: Option<&'a [u8]>,
}

impl<'a, K: ?Sized> WithToken<'a, K> {
    pub(crate) fn new(wrapped: &'a Wrapped, keys: &'a K, token: Option<&'a [u8]>) -> Result<Self> {
        if let Some(token) = token {
            check_token(token)?;
        }
        Ok(WithToken { keys, wrapped, token })
    }
}

impl<K: Arguments + ?Sized> Arguments for WithToken<'_, K> {
    #[inline]
    fn count(&self) -> usize {
        self.keys.count() + 1
    }

    #[inline]
    fn write(&self, buffer: &mut Buffer) -> Result<()> {
        let start = buffer.len();
        self.keys.write(buffer)?;
        let slot = first_argument(buffer.part(start..buffer.len())).map(slot_of);
        match self.token {
            Some(token) => write_key(buffer, &self.wrapped.head, slot, OWN, token),
            None => {
                let token = made();
                let tag = tag_of(slot.unwrap_or_else(|| slot_of_token(&token)));
                buffer.raw(&self.wrapped.made_head);
                buffer.ends(&[], 0, |tail: &mut [u8; TAIL]| {
                    tail[..TAG].copy_from_slice(&tag);
                    tail[TAG..TAG + 2].copy_from_slice(&[b'}', MADE]);
                    tail[TAG + 2..TAIL - 2].copy_from_slice(&token);
                    tail[TAIL - 2..].copy_from_slice(b"\r\n");
                });
            }
        }
        Ok(())
    }
}

/// A token that was made for an item of a request, and what its key looks like in wire form. Those of the items behind
/// it count on from it: their last 32 bits are the next numbers, so they differ from each other; and the other 96 bits
/// are the first one's, so they differ from all others.
#[derive(Debug)]
pub(crate) struct Made {
    /// The place of the script that it was made for.
    pub(crate) script: u32,
    /// What stands in front of the tag, with the line of the key's length, and how long that is. One that is longer
    /// than there is room for is not kept.
    head: [u8; HEAD],
    head_len: usize,
    /// The tag and all behind it, as they are to be but for the slot and the count.
    tail: [u8; TAIL],
    /// The last 32 bits, each nibble in a byte of its own.
    count: u64,
}

/// So long is a head that is kept with a token: longer ones have prefixes of 26 bytes and more.
const HEAD: usize = 32;

/// The length of a key in wire form from its tag on, where its token was made here.
const TAIL: usize = TAG + 2 + 32 + 2;

/// The letters of 32 bits, and where they stand.
const HALF: usize = 8;
const LAST: usize = TAIL - 2 - HALF;

/// The part of each byte that is a nibble, and what makes a letter of it.
const NIBBLES: u64 = 0x0f0f_0f0f_0f0f_0f0f;
const LETTERS: u64 = 0x4040_4040_4040_4040;

impl Made {
    /// `key`: its key in wire form, up to its end; `None`: that is none which was made here.
    pub(crate) fn new(key: &[u8], script: u32, wrapped: &Wrapped) -> Option<Self> {
        let tail = *key.last_chunk::<TAIL>()?;
        let head_len = wrapped.made_head.len();
        let mut head = [0; HEAD];
        if let Some(room) = head.get_mut(..head_len) {
            room.copy_from_slice(&wrapped.made_head);
        }
        let last = *tail[LAST..].first_chunk()?;
        Some(Made { script, head, head_len, tail, count: u64::from_be_bytes(last) & NIBBLES })
    }

    /// Appends the key of the next token, behind keys that start at `keys` and lie in this slot, as far as that is
    /// known.
    #[inline(always)]
    pub(crate) fn append_next(&mut self, wire: &mut Buffer, wrapped: &Wrapped, keys: usize, slot: u16) {
        let slot = match slot {
            NO_SLOT => match first_argument(wire.part(keys..wire.len())) {
                Some(key) => slot_of(key),
                None => 0,
            },
            known => known,
        };
        // What is no nibble carries over what a nibble has too much.
        self.count = (self.count | !NIBBLES).wrapping_add(1) & NIBBLES;
        let (start, count) = (&self.tail, self.count);
        let write = |tail: &mut [u8; TAIL]| {
            *tail = *start;
            tail[..TAG].copy_from_slice(&tag_of(slot));
            tail[LAST..LAST + HALF].copy_from_slice(&(count | LETTERS).to_be_bytes());
        };
        if self.head_len <= HEAD {
            wire.ends(&self.head, self.head_len, write);
        } else {
            wire.raw(&wrapped.made_head);
            wire.ends(&[], 0, write);
        }
    }
}

/// The first of the arguments that are in wire form.
#[inline(always)]
fn first_argument(wire: &[u8]) -> Option<&[u8]> {
    // One of less than ten bytes: its first line compared at once.
    const SIGN: u32 = u32::from_le_bytes(*b"$\0\r\n");
    if let Some((line, rest)) = wire.split_first_chunk() {
        let line = u32::from_le_bytes(*line);
        if line & 0xffff_00ff == SIGN {
            return rest.get(..(line >> 8 & 15) as usize);
        }
    }
    let (mut at, mut length) = (1, 0);
    while let Some(digit) = wire.get(at).filter(|byte| byte.is_ascii_digit()) {
        length = 10 * length + usize::from(digit - b'0');
        at += 1;
    }
    wire.get(at + 2..at + 2 + length)
}

/// What stands between tag and token: of the caller's own, of those made here, and of all of a pipeline, in
/// front of whose token stands an item's number.
const OWN: u8 = b':';
pub(crate) const MADE: u8 = b'.';
const SHARED: u8 = b'#';

pub(crate) fn check_token(token: &[u8]) -> Result<()> {
    if token.is_empty() || token.len() > LONGEST_TOKEN {
        let text = format!("a token has 1 to {LONGEST_TOKEN} bytes, this one has {}", token.len());
        return Err(Error::new(Status::InvalidArgument, text));
    }
    Ok(())
}

/// For calls that can have no token.
#[cold]
pub(crate) fn no_token() -> Error {
    let text = "a token is for calls of a script that runs once per token, and not for read-only ones; nothing was \
                sent";
    Error::new(Status::InvalidArgument, text)
}

/// `slot`: that of the other keys; `None`: there are none.
fn write_key(buffer: &mut Buffer, head: &[u8], slot: Option<u16>, separator: u8, token: &[u8]) {
    let slot = slot.unwrap_or_else(|| slot_of_token(token));
    buffer.argument_of(&[head, &tag_of(slot), &[b'}', separator], token]);
}

/// Appends the key of an item's token where all items have got one, instead of `made`, that of the token which was
/// made for it. `None`: it has one of its own, which stays.
pub(crate) fn write_shared(
    wrapped: &Wrapped,
    made: &[u8],
    (slot, token, index): (u16, &[u8], usize),
    buffer: &mut Buffer,
) -> Option<()> {
    let separator = *made.get(wrapped.head.len() + TAG + 1)?;
    if separator != MADE {
        return None;
    }
    let mut number = itoa::Buffer::new();
    let token = [number.format(index).as_bytes(), b":", token].concat();
    write_key(buffer, &wrapped.head, Some(slot), SHARED, &token);
    Some(())
}

/// A token key's place among the bytes of its item, and the place of its tag.
pub(crate) fn tag_in(wrapped: &Wrapped, key: Range<usize>) -> Range<usize> {
    let start = key.start + wrapped.head.len();
    start..start + TAG
}

/// The slot of a call without keys.
pub(crate) fn slot_of_token(token: &[u8]) -> u16 {
    checksum(token) % SLOTS
}

/// The length of a tag.
pub(crate) const TAG: usize = 4;

/// A tag of this slot, for each slot one: four bytes from `@` to `O`. CRC16 is linear, so each part of a slot has a
/// tag's bits of its own.
#[inline]
pub(crate) fn tag_of(slot: u16) -> [u8; TAG] {
    let [low, high] = &PARTS;
    (low[usize::from(slot % PART)] ^ high[usize::from(slot / PART % PART)]).to_ne_bytes()
}

/// Half of a slot's bits.
const PART: u16 = 1 << 7;

/// For each half of a slot what it makes of a tag: the lower one its letters, the upper one what changes in these.
static PARTS: [[u32; PART as usize]; 2] = parts();

const fn parts() -> [[u32; PART as usize]; 2] {
    let mut found = [[0; PART as usize]; 2];
    let mut number = 0;
    while number < PART {
        let letters = tag_bytes(tag_bits((number ^ ZERO) % PART));
        let change = tag_bits((number << 7 ^ ZERO) / PART * PART);
        let plain = u32::from_ne_bytes(tag_bytes(0));
        found[0][number as usize] = u32::from_ne_bytes(letters);
        found[1][number as usize] = u32::from_ne_bytes(tag_bytes(change)) ^ plain;
        number += 1;
    }
    found
}

/// The bits of a tag that change a slot by these.
const fn tag_bits(slot: u16) -> u16 {
    let (mut bits, mut bit) = (0, 0);
    while bit < 14 {
        if slot >> bit & 1 == 1 {
            bits ^= BASIS[bit];
        }
        bit += 1;
    }
    bits
}

/// The tag that has these bits.
const fn tag_bytes(bits: u16) -> [u8; TAG] {
    [
        nibble_byte((bits >> 12) as u8),
        nibble_byte((bits >> 8 & 15) as u8),
        nibble_byte((bits >> 4 & 15) as u8),
        nibble_byte((bits & 15) as u8),
    ]
}

const fn nibble_byte(nibble: u8) -> u8 {
    b'@' | nibble
}

/// The slot of the tag without bits.
const ZERO: u16 = CRC.checksum(&[nibble_byte(0); TAG]) % SLOTS;

/// What a tag's bits do to its slot, turned round: for each bit of a slot the tag's bits that change it, and no other.
const BASIS: [u16; 14] = basis();

const fn basis() -> [u16; 14] {
    // Gauss, over the field of two elements: rows of what a slot gets, and which of the tag's bits make that.
    let mut rows = [(0_u16, 0_u16); 16];
    let mut bit = 0;
    while bit < 16 {
        let nibbles = 1_u16 << bit;
        rows[bit] = ((CRC.checksum(&tag_bytes(nibbles)) % SLOTS) ^ ZERO, nibbles);
        bit += 1;
    }
    let mut basis = [0; 14];
    let mut done = 0;
    while done < 14 {
        let mut pivot = done;
        while rows[pivot].0 >> done & 1 == 0 {
            pivot += 1;
        }
        let row = rows[pivot];
        rows[pivot] = rows[done];
        rows[done] = row;
        let mut other = 0;
        while other < 16 {
            if other != done && rows[other].0 >> done & 1 == 1 {
                rows[other] = (rows[other].0 ^ row.0, rows[other].1 ^ row.1);
            }
            other += 1;
        }
        done += 1;
    }
    while done > 0 {
        done -= 1;
        basis[done] = rows[done].1;
    }
    basis
}

/// Where a thread's tokens come from: a secret and a count that starts at a random number. Each token is the SipHash-1-3
/// of the count, and the count with its halves exchanged. So a thread's tokens differ from each other in their first 96
/// bits as long as it has not made 2^32 of them, and from those of others as two random numbers do.
struct Source {
    /// Where the secret was made; `None`: there is none yet.
    process: Cell<Option<Process>>,
    secret: Cell<[u64; 2]>,
    count: Cell<u64>,
}

thread_local! {
    static SOURCE: Source =
        const { Source { process: Cell::new(None), secret: Cell::new([0; 2]), count: Cell::new(0) } };
}

impl Source {
    /// The system's randomness is that of a thread, and a child of fork has the same as its parent: what tells these
    /// apart goes in as well.
    #[cold]
    fn renew(&self) {
        // The system is asked for randomness.
        let _held = Held::new();
        let mine = (std::process::id(), SystemTime::now());
        let [first, second, count] = [(); 3].map(|()| RandomState::new().hash_one(mine));
        self.secret.set([first, second]);
        self.count.set(count);
        self.process.set(Some(Process::this()));
    }

    #[inline]
    fn next(&self) -> [u64; 2] {
        if !self.process.get().is_some_and(Process::is_this) {
            self.renew();
        }
        let count = self.count.get().wrapping_add(1);
        self.count.set(count);
        [siphash(self.secret.get(), count), count.rotate_left(32)]
    }
}

/// A token of 128 bits, as 32 letters, that nobody can guess.
#[inline]
fn made() -> [u8; 32] {
    // It needs no destructor, so it is there up to a thread's end.
    let number = SOURCE.with(Source::next);
    let mut token = [0; 32];
    for (digits, half) in token.chunks_exact_mut(16).zip(number) {
        digits.copy_from_slice(&letters(half));
    }
    token
}

/// SipHash-1-3 of a message of eight bytes. It needs no buffer, as the standard library's does, which takes any message.
///
/// [SipHash](https://www.aumasson.jp/siphash/siphash.pdf)
#[inline]
fn siphash([k0, k1]: [u64; 2], message: u64) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    // The last block has nothing but the message's length.
    for block in [message, 8 << 56] {
        v[3] ^= block;
        round(&mut v);
        v[0] ^= block;
    }
    v[2] ^= 0xff;
    (0..3).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[inline(always)]
fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32).wrapping_add(v[3]);
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

/// A number as sixteen bytes from `@` to `O`, each of which has four of its bits: digits without a branch, as in tags.
#[inline(always)]
fn letters(number: u64) -> [u8; 16] {
    let mut letters = [0; 16];
    letters[..8].copy_from_slice(&half((number >> 32) as u32));
    letters[8..].copy_from_slice(&half(number as u32));
    letters
}

#[inline(always)]
fn half(number: u32) -> [u8; HALF] {
    // Each nibble into a byte of its own.
    let number = u64::from(number);
    let spread = (number << 16 | number) & 0x0000_ffff_0000_ffff;
    let spread = (spread << 8 | spread) & 0x00ff_00ff_00ff_00ff;
    let nibbles = (spread << 4 | spread) & NIBBLES;
    (nibbles | LETTERS).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_slot_has_a_tag() {
        for slot in 0..SLOTS {
            let tag = tag_of(slot);
            assert_eq!(slot_of(&tag), slot, "{}", tag.escape_ascii());
            assert!(tag.iter().all(|byte| (b'@'..=b'O').contains(byte)));
        }
    }

    #[test]
    fn the_first_argument_is_found_whatever_its_length() {
        for length in (0..120).chain([999, 1000, 100_000]) {
            let key = vec![b'k'; length];
            let mut wire = format!("${length}\r\n").into_bytes();
            wire.extend_from_slice(&key);
            wire.extend_from_slice(b"\r\n$1\r\nx\r\n");
            assert_eq!(first_argument(&wire), Some(&key[..]), "{length}");
            assert_eq!(first_argument(&wire[..3 + length.min(2)]), None, "{length}, cut");
        }
    }

    #[test]
    fn letters_are_those_of_the_number() {
        for number in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, 0x9a0a_90f0_0f09_a99a] {
            let letter = |digit: char| b'@' + u8::try_from(digit.to_digit(16).unwrap()).unwrap();
            let expected: Vec<u8> = format!("{number:016x}").chars().map(letter).collect();
            assert_eq!(letters(number)[..], expected[..]);
        }
    }

    #[test]
    fn the_hash_is_siphash() {
        // Of the key 00 01 02 ... 0f and the message 00 01 ... 07, computed by another implementation.
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(siphash(key, 0x0706_0504_0302_0100), 0x3690_9511_8d29_9a8e);
    }

    #[test]
    fn the_next_token_has_the_next_number_and_the_tag_of_its_keys() {
        for prefix in ["p:", &"long".repeat(20)] {
            let once = crate::request::once::Once::default().prefix(prefix);
            let script = crate::request::script::Script::new("return 1").once(&once).unwrap();
            let wrapped = script.wrapped().unwrap();
            for (last, next) in [("@@@@@@@@", "@@@@@@@A"), ("ABC@OOOO", "ABCA@@@@"), ("OOOOOOOO", "@@@@@@@@")]
            {
                let first = "ABCDEFGHIJKLMNOOONMLKJIH";
                let key = |tag: &str, last: &str| format!("{prefix}{{{tag}}}.{first}{last}");
                let old = format!("${}\r\n{}\r\n", key("@@@@", last).len(), key("@@@@", last));
                let mut made = Made::new(old.as_bytes(), 0, wrapped).unwrap();
                let mut wire = Buffer::default();
                wire.argument(b"k");
                made.append_next(&mut wire, wrapped, 0, NO_SLOT);
                let tag = tag_of(slot_of(b"k"));
                let expected = key(str::from_utf8(&tag).unwrap(), next);
                let expected = format!("$1\r\nk\r\n${}\r\n{expected}\r\n", expected.len());
                assert_eq!(wire.as_slice(), expected.as_bytes());
            }
        }
    }

    #[test]
    fn tokens_are_all_different_on_all_threads() {
        const COUNT: usize = if cfg!(miri) { 20 } else { 10_000 };
        let threads: Vec<_> =
            (0..8).map(|_| std::thread::spawn(|| (0..COUNT).map(|_| made()).collect::<Vec<_>>())).collect();
        let all: Vec<[u8; 32]> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        assert!(all.iter().flatten().all(|byte| (b'@'..=b'O').contains(byte)));
    }
}
