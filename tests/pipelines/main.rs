//! Pipelines and transactions on one server, on good days and bad ones.

#[path = "../support/mod.rs"]
mod support;

mod bad_days;
mod pipeline;
mod transaction;
