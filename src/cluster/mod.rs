//! Commands and scripts on a cluster: which keys they have, and so which server they go to.

#[cfg_attr(not(test), expect(dead_code, reason = "routing, which asks it, comes next"))]
pub(crate) mod keys;
