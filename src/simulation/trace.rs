//! The history of a run in words, where somebody wants to read it.

use std::cell::RefCell;

thread_local! {
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// From now on histories are kept.
pub(super) fn begin() {
    LINES.set(Some(Vec::new()));
}

/// The history since then.
pub(super) fn end() -> Vec<String> {
    LINES.take().unwrap_or_default()
}

/// Adds a line, if anybody wants it.
pub(super) fn note(line: impl FnOnce() -> String) {
    LINES.with_borrow_mut(|lines| {
        if let Some(lines) = lines {
            lines.push(line());
        }
    });
}

pub(super) fn is_on() -> bool {
    LINES.with_borrow(Option::is_some)
}
