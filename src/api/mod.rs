//! What a user holds and calls. No decision about servers is taken here.

mod admin;
pub(crate) mod args;
pub(crate) mod client;
pub(crate) mod from_reply;
pub(crate) mod future;
pub(crate) mod kill;
mod library_admin;
pub(crate) mod packed;
pub(crate) mod pipeline;
pub(crate) mod script_call;
pub(crate) mod submit;
