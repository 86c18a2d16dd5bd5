//! What the fuzzers in `fuzz/` run: each function takes any bytes, and panics where a promise does not hold.
//! Not an API.

mod core;
mod decode;
mod packed;
mod resp;
mod seen;
mod source;
mod url;

pub use self::core::core;
pub use self::decode::decode;
pub use self::packed::packed;
pub use self::seen::{Replies, Seen, replies};
pub use self::url::url;

#[cfg(test)]
mod kept;

#[cfg(test)]
mod tests {
    use super::kept;

    #[test]
    fn inputs_for_decode() {
        kept::run("decode", 20_000, super::decode);
    }

    #[test]
    fn inputs_for_url() {
        kept::run("url", 2000, super::url);
    }

    #[test]
    fn inputs_for_packed() {
        kept::run("packed", 2000, super::packed);
    }

    #[test]
    fn inputs_for_core() {
        kept::run("core", 200, super::core);
    }
}
