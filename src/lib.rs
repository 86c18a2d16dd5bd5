//! Lua scripts on Redis and Valkey without the edge cases.
//!
//! Make a [`Script`] once, open a [`Client`], and call one on the other:
//!
//! ```no_run
#![doc = include_str!("../examples/multiply.rs")]
//! ```
//!
//! - A script is loaded when the server does not have it, in the same write as the call. There is nothing to
//!   prepare, and nothing to do when the server loses its cache.
//! - A call is executed at most once. When its reply is lost, the [`Error`] says so
//!   ([`Error::is_indeterminate`]) and the call is not sent again, unless the script is
//!   [idempotent](Script::idempotent), the call [read-only](Client::call_read_only), or the script one whose calls
//!   [happen once](Script::once).
//! - Every call has a deadline, and ends by it.
//! - The same calls work on a single server, a cluster, replicas and behind Sentinel: the URL decides.
//!
//! # Calls
//!
//! | | what it takes | what it gives |
//! |---|---|---|
//! | [`Client::call`], [`Client::command`] | keys and arguments at once | a [`Reply`], as it came |
//! | [`Script::key`], [`arg`], then [`call`] | keys and arguments one by one | a value of the type that is asked for |
//! | [`Client::pipeline`], [`Client::transaction`] | any number of both | all replies |
//!
//! [`arg`]: Script::arg
//! [`call`]: ScriptCall::call
//!
//! Keys and arguments are whatever [`ToArgs`] says: strings, bytes, numbers, slices, and tuples of mixed types.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
//! # fn main() -> rs_script::Result<()> {
//! # let server = Server::start();
//! # let client = server.client();
//! use rs_script::Script;
//!
//! let take = Script::new("
//!     local stock = tonumber(redis.call('HGET', KEYS[1], 'stock') or 0)
//!     if stock < tonumber(ARGV[1]) then return {false, stock} end
//!     return {true, redis.call('HINCRBY', KEYS[1], 'stock', -ARGV[1])}
//! ");
//! client.command(("HSET", "book", "title", "Lua", "stock", 5))?;
//! let (is_taken, left): (bool, u32) = take.key("book").arg(3).call(&client)?;
//! assert_eq!((is_taken, left), (true, 2));
//! # Ok(())
//! # }
//! ```
//!
//! # Replies
//!
//! A [`Reply`] is one buffer, whatever is in it, and [`ReplyRef`] a view of a part. [`Reply::to`] makes values
//! of it: numbers, strings, options, lists, tuples, maps, everything that is [`FromReply`], and structs of your
//! own by [`from_reply!`]. What does not fit is an error that says what was expected, what came and where.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
//! # fn main() -> rs_script::Result<()> {
//! # let server = Server::start();
//! # let client = server.client();
//! rs_script::from_reply! {
//!     struct Book { title: String, stock: u32, shelf: Option<String> }
//! }
//! client.command(("HSET", "book", "title", "Lua", "stock", 5))?;
//! let book: Book = client.command(("HGETALL", "book"))?.to()?;
//! assert!(book.title == "Lua" && book.stock == 5 && book.shelf.is_none());
//! # Ok(())
//! # }
//! ```
//!
//! # Blocking, futures, queues
//!
//! - A blocking call does its input and output on the caller's thread. Any number of threads may share a client;
//!   their calls travel together.
//! - [`Client::call_async`] and all that end in `_async` give a [`CallFuture`] for any executor: there is no
//!   runtime behind it. Dropped, it cancels its call.
//! - [`Client::submit`] ends in a [`Queue`], for programs with an event loop of their own, and for other languages.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = Server::start();
//! # let url = server.url();
//! use rs_script::{Client, Options, Script};
//! use std::time::Duration;
//!
//! let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
//! runtime.block_on(async {
//!     let client = Client::open_async(&url, &Options::default()).await?;
//!     let add = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
//!     let tasks: Vec<_> = (1..=100)
//!         .map(|number| tokio::spawn(add.key("sum").arg(number).call_async::<u64>(&client)))
//!         .collect();
//!     for task in tasks {
//!         task.await??;
//!     }
//!     // Who needs it sooner drops it: the call is given up, on the server too where it waits there.
//!     let popped = client.command_async(("BLPOP", "nothing", 0));
//!     assert!(tokio::time::timeout(Duration::from_millis(20), popped).await.is_err());
//!     let sum: u64 = client.command_async(("GET", "sum")).to().await?;
//!     assert_eq!(sum, 5050);
//!     Ok(())
//! })
//! # }
//! ```
//!
//! # Errors
//!
//! An [`Error`] is one sentence, and answers what matters: [`Error::is_not_executed`] (it may be tried again),
//! [`Error::is_indeterminate`] (look first), [`Error::is_timeout`], its [`Status`] and [`Reason`], the server's
//! own words, the [server](Error::node) and the [item of a pipeline](Error::index) that it is about. It is a
//! [`std::error::Error`] and goes through `?`.
//!
//! # Where to go on
//!
//! URLs and settings are listed at [`Options`], the causes of errors at [`Status`], what a call cost is told by
//! [`Client::stats`]. C and C++ programs use the same library through `include/rs_script.h`.
#![deny(unsafe_code)]
#![deny(missing_docs)]

mod api;
mod base;
mod config;
mod core;
mod error;
#[doc(hidden)]
pub mod ffi;
#[cfg(any(test, feature = "fuzz-internals"))]
#[doc(hidden)]
pub mod fuzzing;
mod io;
mod metrics;
#[cfg(all(test, rs_script_models))]
mod models;
mod net;
mod queue;
mod request;
mod resp;
mod session;
#[cfg(any(test, feature = "fuzz-internals"))]
#[cfg_attr(not(test), allow(dead_code))]
mod simulation;

pub use api::args::{Args, ToArgs};
pub use api::client::Client;
#[doc(hidden)]
pub use api::from_reply::Fields;
pub use api::from_reply::FromReply;
pub use api::future::{CallFuture, OpenFuture};
pub use api::kill::Killed;
pub use api::pipeline::Pipeline;
pub use api::script_call::ScriptCall;
pub use base::credentials::{Credentials, CredentialsRequest};
pub use base::log::{Event, EventKind, LogLevel};
pub use base::sha::Sha;
pub use config::{Options, Protocol};
pub use core::FlushMode;
pub use error::{Error, Reason, Result, Status};
#[cfg(feature = "bench-internals")]
#[doc(hidden)]
pub use io::bench::Routes;
pub use io::stats::Stats;
pub use metrics::figures::{Histogram, ScriptStats};
pub use metrics::meter::{CallEvent, CallKind};
pub use net::address::Address;
pub use queue::{Completion, Queue};
pub use request::library::Library;
pub use request::once::Once;
pub use request::route::{ReadFrom, Route};
pub use request::script::Script;
pub use resp::{Elements, Kind, Reply, ReplyRef};
#[cfg(feature = "bench-internals")]
#[doc(hidden)]
pub use session::bench::Codec;
