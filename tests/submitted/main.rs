//! Calls that nobody waits for in the library: queues, completions and futures.

#[path = "../support/mod.rs"]
mod support;

mod completions;
mod futures;
mod futures_bad_days;
mod queue;
mod queue_bad_days;
mod queue_wake;
