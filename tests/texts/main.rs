//! What the repository says of itself is so: its pages, its versions, and its sources where one place must do.

#[path = "../support/mod.rs"]
mod support;

mod benchmarks;
mod docs;
mod mutants;
mod one_place;
mod readme;
mod reference;
mod version;
