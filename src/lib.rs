//! Lua scripts on Redis and Valkey without the edge cases.
//!
//! Make a [`Script`] once, open a [`Client`], and call one on the other:
//!
//! ```no_run
#![doc = include_str!("../examples/multiply.rs")]
//! ```
//!
//! - A script is loaded when the server does not have it, in the same write as the call. There is nothing to prepare, and nothing
//!   to do when the server loses its cache.
//! - A call is executed at most once. When its reply is lost, the [`Error`] says so ([`Error::is_indeterminate`]) and the call
//!   is not sent again, unless the script is [idempotent](Script::idempotent) or the call
//!   [read-only](Client::call_read_only).
//! - Calls block, and do their input and output on the caller's thread. Any number of threads may share a client; their calls
//!   travel together. What a call cost is told by [`Client::stats`].
//! - URLs and settings are listed at [`Options`], the causes of errors at [`Status`].
//!
//! C and C++ programs use the same library through `include/rs_script.h`.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod admin;
mod client;
mod command;
mod config;
mod core;
mod credentials;
mod defect;
mod error;
#[doc(hidden)]
pub mod ffi;
mod figures;
mod index;
mod io;
mod keys;
mod kill;
mod log;
mod meter;
mod net;
mod packed;
mod pipeline;
mod queue;
mod request;
mod resp;
mod route;
mod script;
mod secret;
mod session;
mod signal;
#[cfg(test)]
mod simulation;
mod slots;
mod stats;
mod submit;
mod threads;

pub use client::Client;
pub use config::{Options, Protocol};
pub use core::FlushMode;
pub use credentials::{Credentials, CredentialsRequest};
pub use error::{Error, Reason, Result, Status};
pub use figures::{Histogram, ScriptStats};
#[cfg(feature = "bench-internals")]
#[doc(hidden)]
pub use io::bench::Routes;
pub use kill::Killed;
pub use log::{Event, EventKind, LogLevel};
pub use meter::{CallEvent, CallKind};
pub use net::address::Address;
pub use pipeline::Pipeline;
pub use queue::{Completion, Queue};
pub use resp::{Elements, Kind, Reply, ReplyRef};
pub use route::{ReadFrom, Route};
pub use script::{Script, Sha};
#[cfg(feature = "bench-internals")]
#[doc(hidden)]
pub use session::bench::Codec;
pub use stats::Stats;
