//! Hash slots: which of a cluster's 16,384 parts a key, a script call or a command belongs to.

// What servers send is not to be cut short by a conversion.
#![deny(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

use crc::{CRC_16_XMODEM, Crc};

use super::keys::{Located, locate};
use crate::error::{Error, Result, Status};

/// The number of slots.
pub(crate) const SLOTS: u16 = 16384;

/// The slot of what has no keys.
pub(crate) const NO_SLOT: u16 = u16::MAX;

pub(crate) const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// In keys up to this length a hash tag is looked for while their checksum is made.
const SHORT: usize = 16;

/// Characters of a key shown in an error text.
const KEY_SHOWN: usize = 64;

/// The slot of a key: of what stands between its first `{` and the next `}`, if that is anything, else of all of it.
///
/// [Hash tags](https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags)
#[inline]
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    if key.len() > SHORT {
        return slot_of_long(key);
    }
    let mut crc = 0;
    for &byte in key {
        if byte == b'{' {
            return slot_of_long(key);
        }
        crc = add(crc, byte);
    }
    crc % SLOTS
}

#[inline(never)]
fn slot_of_long(key: &[u8]) -> u16 {
    checksum(tag(key).unwrap_or(key)) % SLOTS
}

/// The same as the crate's own for bytes, in half the instructions where they are few.
#[inline]
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| add(crc, byte))
}

#[inline(always)]
fn add(crc: u16, byte: u8) -> u16 {
    let [table] = CRC.table();
    crc << 8 ^ table[usize::from(crc.to_be_bytes()[0] ^ byte)]
}

fn tag(key: &[u8]) -> Option<&[u8]> {
    let behind = &key[memchr::memchr(b'{', key)? + 1..];
    let tag = &behind[..memchr::memchr(b'}', behind)?];
    (!tag.is_empty()).then_some(tag)
}

/// The one slot of all these keys, [`NO_SLOT`] without keys.
pub(crate) fn of_keys<'a>(keys: impl Iterator<Item = &'a [u8]>) -> Result<u16> {
    let mut first: Option<(&[u8], u16)> = None;
    for key in keys {
        let slot = slot_of(key);
        match first {
            None => first = Some((key, slot)),
            Some((other, others)) if others != slot => return Err(cross_slot((other, others), (key, slot))),
            Some(_) => {}
        }
    }
    Ok(first.map_or(NO_SLOT, |(_, slot)| slot))
}

#[cold]
fn cross_slot(one: (&[u8], u16), other: (&[u8], u16)) -> Error {
    let text = format!(
        "the keys {} and {} lie in different hash slots, {} and {}, which a cluster keeps apart; a hash tag such as \
         {{tag}} in both puts them together. Nothing was sent",
        shown(one.0),
        shown(other.0),
        one.1,
        other.1
    );
    Error::new(Status::CrossSlot, text)
}

/// The slot of a command's keys. Without keys it is [`NO_SLOT`], if any server will do or the caller `has_route`.
pub(crate) fn of_command(arguments: &[&[u8]], has_route: bool) -> Result<u16> {
    let why = match locate(arguments) {
        Located::Keys(keys) => return of_keys(keys),
        Located::Anywhere => return Ok(NO_SLOT),
        Located::Malformed(what) => {
            let text = format!(
                "{}: {what}; so its keys, and with them its server, cannot be found",
                name(arguments)
            );
            return Err(Error::new(Status::InvalidArgument, text));
        }
        Located::OneServer | Located::Unknown if has_route => return Ok(NO_SLOT),
        Located::OneServer => "concerns a single server of the cluster",
        Located::Unknown => "is not known to this library, nor where its keys stand",
    };
    let text = format!(
        "{} {why}: name a route: a key's, a slot's, a server's, or all primaries. Nothing was sent",
        name(arguments)
    );
    Err(Error::new(Status::NoRoute, text))
}

fn name(arguments: &[&[u8]]) -> String {
    let name = arguments.first().copied().unwrap_or_default();
    String::from_utf8_lossy(name).chars().take(KEY_SHOWN).collect()
}

/// The first key of a command, to be shown in an error text.
pub(crate) fn shown_key(arguments: &[&[u8]]) -> String {
    match locate(arguments) {
        Located::Keys(mut keys) => keys.next().map(shown).unwrap_or_default(),
        _ => String::new(),
    }
}

/// A key as it is shown in an error text.
pub(crate) fn shown(key: &[u8]) -> String {
    let text = key[..key.len().min(KEY_SHOWN)].escape_ascii();
    if key.len() > KEY_SHOWN { format!("\"{text}...\"") } else { format!("\"{text}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_as_the_specification_has_them() {
        for (key, slot) in [
            (&b"foo"[..], 12182),
            (b"bar", 5061),
            (b"hello", 866),
            (b"", 0),
            (b"123456789", 12739),
            (b"{foo}bar", 12182),
            (b"a{foo}{bar}", 12182),
            (b"{foo}}", 12182),
            (b"\xff\x00{foo}\x01", 12182),
        ] {
            assert_eq!(slot_of(key), slot, "{}", key.escape_ascii());
        }
        for whole in [&b"foo{}bar"[..], b"{}foo", b"foo{bar", b"foo}bar{"] {
            assert_eq!(slot_of(whole), CRC.checksum(whole) % SLOTS);
        }
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"), "up to the first brace that closes");
    }

    #[test]
    fn keys_of_two_slots_are_named() {
        let keys: [&[u8]; 3] = [b"{a}1", b"{a}2", b"b\n"];
        assert_eq!(of_keys(keys[..2].iter().copied()), Ok(slot_of(b"a")));
        assert_eq!(of_keys(std::iter::empty()), Ok(NO_SLOT));
        let error = of_keys(keys.into_iter()).expect_err("two slots");
        assert_eq!(error.status(), Status::CrossSlot);
        assert!(error.is_not_executed() && error.message().contains("\"{a}1\" and \"b\\n\""), "{error}");
    }
}
