//! Who a client is: certificates and credentials, and what users may do.

#[path = "../support/mod.rs"]
mod support;

mod certificates;
mod credentials;
mod restricted;
mod rights;
