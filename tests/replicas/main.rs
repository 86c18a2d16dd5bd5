//! Primaries with replicas: reads on them, demotions, and sentinels.

#[path = "../support/mod.rs"]
mod support;

mod demoted;
mod demoted_not_ready;
mod reads;
mod sentinel;
