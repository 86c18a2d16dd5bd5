//! Clusters: where calls go, what becomes of them on bad days and on the move, functions, pipelines, administration.

#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod admin;
mod bad_days;
mod failover;
mod forgery;
mod functions;
mod migration;
mod pipeline;
mod routes;
