//! What a client does, without doing it: events go in, actions come out.
//!
//! Everything that spans connections is decided here: where a call goes, what a refusal proves, when it is sent
//! again, which servers there are, when to connect, whose deadline has passed. No socket, no clock, no thread and no
//! lock: the time comes with each event, and what is to be done is told to [`Actions`]. So a simulator can drive it
//! as well as `io` does.

// What servers send is not to be cut short by a conversion.
#![deny(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod administration;
mod alone;
mod attempts;
mod call;
mod connecting;
mod events;
mod everywhere;
mod fan_out;
mod interface;
mod kept;
mod libraries;
mod login;
mod questions;
mod refresh;
mod sharing;
mod state;

pub use interface::FlushMode;
pub(crate) use interface::*;
pub(crate) use libraries::LibraryTask;
pub(crate) use state::engine::Engine;
