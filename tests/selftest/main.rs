//! The tests' own ground: what `support` starts and stands in for is as other tests rely on.

#[path = "../support/mod.rs"]
mod support;

mod one_server;
mod topology;
