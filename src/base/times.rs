//! Bounds of the times that users give.

use std::time::Duration;

/// Keeps `Instant + Duration` far from overflow, yet is as good as for ever.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);
