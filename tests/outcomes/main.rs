//! What an error says of a call: whether it ran, did not, or nobody knows.

#[path = "../support/mod.rs"]
mod support;

mod bad_days;
mod in_doubt;
mod not_executed;
mod not_executed_model;
mod refusals;
