//! Scripts and functions: loaded, called, missed, administered and stopped, on every version and on bad days.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod code_as_command;
mod functions;
mod functions_bad_days;
mod kill;
mod life;
mod noscript;
mod versions;
