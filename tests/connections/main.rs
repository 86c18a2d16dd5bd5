//! Connections: made, shared, limited, lost with and without a word, and what they take of the process.

#[path = "../support/mod.rs"]
mod support;

mod connecting;
mod descriptors;
mod limits;
mod shared;
mod silence;
