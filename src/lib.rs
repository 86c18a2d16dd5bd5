//! Lua scripts on Redis and Valkey without the edge cases.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod config;
mod error;
mod request;
mod resp;
mod script;
mod session;

pub use error::{Error, Result, Status};
pub use resp::{Elements, Kind, Reply, ReplyRef};
pub use script::{Script, Sha};
