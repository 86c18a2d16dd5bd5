//! What another decoder makes of bytes, in our words.

use rs_script::fuzzing::Seen;

/// All replies in some bytes, without push messages and attributes.
#[derive(Debug)]
pub struct Theirs {
    pub replies: Vec<Seen>,
    /// Why what follows is no reply. Without it, what follows is none yet.
    pub refusal: Option<String>,
}
