//! What the fuzzers in `fuzz/` run: each function takes any bytes, and panics where a promise does not hold.
//! Not an API.

mod core;
mod decode;
mod packed;
mod resp;
mod url;

pub use self::core::core;
pub use self::decode::decode;
pub use self::packed::packed;
pub use self::url::url;

/// Bytes that decisions are taken from; when there are no more, zeros.
#[derive(Clone, Copy, Debug)]
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    fn number(&mut self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// So many bytes, or those that are left.
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
