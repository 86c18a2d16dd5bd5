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
