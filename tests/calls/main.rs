//! What a call is given and gives: its options and keys, its reply, and what is told of it.

#[path = "../support/mod.rs"]
mod support;

mod c_functions;
mod call_options;
mod command_keys;
mod figures;
mod from_reply;
mod replies;
