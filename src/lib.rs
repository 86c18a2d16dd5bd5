//! Lua scripts on Redis and Valkey without the edge cases.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod admin;
mod client;
mod command;
mod config;
mod error;
#[doc(hidden)]
pub mod ffi;
mod link;
mod log;
mod net;
mod node;
mod request;
mod resp;
mod script;
mod session;
mod stats;

pub use admin::FlushMode;
pub use client::Client;
pub use config::{Address, Options, Protocol};
pub use error::{Error, Result, Status};
pub use log::LogLevel;
pub use resp::{Elements, Kind, Reply, ReplyRef};
pub use script::{Script, Sha};
#[cfg(feature = "bench-internals")]
#[doc(hidden)]
pub use session::bench::Codec;
pub use stats::Stats;
