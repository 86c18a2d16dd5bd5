//! Words that all layers use, and that know of none.

pub(crate) mod credentials;
pub(crate) mod defect;
pub(crate) mod index;
pub(crate) mod log;
pub(crate) mod purpose;
pub(crate) mod secret;
pub(crate) mod sha;
pub(crate) mod threads;
pub(crate) mod times;
