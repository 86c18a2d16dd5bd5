//! Lua scripts on Redis and Valkey without the edge cases.
#![deny(unsafe_code)]
#![warn(missing_docs)]

#[allow(dead_code)] // until the client opens connections by it
mod config;
mod error;
#[allow(dead_code)] // until the client opens connections by it
mod net;

pub use config::{Address, Options, Protocol};
pub use error::{Error, Result, Status};
