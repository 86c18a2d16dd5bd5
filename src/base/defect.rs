//! A panic is a defect of this library. It ends what it has to do with, and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `body`; `None` if it panics. Whoever asks sees to it that what `body` has left half done is of no further use
/// to anybody.
#[inline]
pub(crate) fn contain<T>(body: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(body)).ok()
}

#[cfg(test)]
mod simulated;

/// Where tests have this library panic.
#[cfg(test)]
static PROVOKED: std::sync::Mutex<Vec<(&str, String)>> = std::sync::Mutex::new(Vec::new());

/// Has the code that is named so panic, once, when it comes by with this.
#[cfg(test)]
pub(crate) fn provoke(place: &'static str, with: &impl ToString) {
    PROVOKED.lock().expect("no panic while locked").push((place, with.to_string()));
}

/// Panics if a test wants it to.
#[cfg(test)]
pub(crate) fn provoked(place: &str, with: &impl ToString) {
    let mut all = PROVOKED.lock().expect("no panic while locked");
    if let Some(index) = all.iter().position(|other| other.0 == place && other.1 == with.to_string()) {
        all.swap_remove(index);
        drop(all);
        panic!("provoked by a test: {place}");
    }
}
