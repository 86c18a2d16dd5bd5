//! SHA1 digests, by which servers know scripts, and this library all that it tells apart by its code.

use std::fmt;
use std::hash::{Hash, Hasher};

use sha1::{Digest, Sha1};

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The SHA1 of a script, by which the server knows it.
///
/// ```
/// use rs_script::{Script, Sha};
///
/// assert_eq!(Script::new("return 1").sha(), Sha::of(b"return 1"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sha([u8; 20]);

impl Hash for Sha {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Eight bytes of a digest tell any two scripts apart well enough for a table.
        state.write_u64(u64::from_le_bytes(*self.0.first_chunk().unwrap_or(&[0; 8])));
    }
}

impl Sha {
    /// The SHA1 of exactly these bytes.
    ///
    /// ```
    /// let sha = rs_script::Sha::of(b"return 1");
    /// assert_eq!(sha.to_string(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    /// ```
    pub fn of(source: &[u8]) -> Self {
        Sha::of_parts(&[source])
    }

    /// The same of bytes that lie in several places.
    pub(crate) fn of_parts(parts: &[&[u8]]) -> Self {
        let digest = parts.iter().fold(Sha1::new(), |digest, part| digest.chain_update(part));
        Sha(digest.finalize().into())
    }

    /// The raw digest.
    ///
    /// ```
    /// assert_eq!(rs_script::Sha::of(b"return 1").as_bytes()[..2], [0xe0, 0xe1]);
    /// ```
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    pub(crate) fn hex(&self) -> [u8; 40] {
        let mut hex = [0; 40];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEX_DIGITS[usize::from(byte >> 4)];
            pair[1] = HEX_DIGITS[usize::from(byte & 15)];
        }
        hex
    }
}

/// A SHA is as good as its own hash.
#[derive(Debug, Default)]
pub(crate) struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, first: u64) {
        self.0 = first;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl fmt::Display for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.hex()))
    }
}

impl fmt::Debug for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_servers_call_a_script_by() {
        assert_eq!(Sha::of(b"return 1").to_string(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        assert_eq!(Sha::of(b"return 1"), Sha::of_parts(&[b"return", b" 1"]));
    }
}
