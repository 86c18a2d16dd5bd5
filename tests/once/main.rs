//! Calls that happen exactly once: on one server, in a cluster, by functions, and counted as done only on replicas.

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod functions;
mod repeats;
mod replicas;
