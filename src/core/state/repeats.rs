//! How many lost calls may be sent again: a server that has just come back is not to be drowned by calls that are
//! sent once more and lost once more.

use std::time::{Duration, Instant};

/// So many at once.
const MAX: u32 = 10_000;

/// One more after this time.
const PACE: Duration = Duration::from_millis(5);

/// What is left of it.
#[derive(Debug)]
pub(in crate::core) struct Repeats {
    left: u32,
    /// Up to when it has been given back.
    at: Option<Instant>,
}

impl Default for Repeats {
    fn default() -> Self {
        Repeats { left: MAX, at: None }
    }
}

impl Repeats {
    /// Whether one more call may be sent again.
    pub(in crate::core) fn is_there(&self, now: Instant) -> bool {
        self.left > 0 || self.at.is_none_or(|at| now.saturating_duration_since(at) >= PACE)
    }

    /// Takes one; `false`: there is none.
    pub(in crate::core) fn take(&mut self, now: Instant) -> bool {
        let at = *self.at.get_or_insert(now);
        let earned = now.saturating_duration_since(at).as_nanos() / PACE.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(MAX).min(MAX);
        self.at = Some(if earned == MAX { now } else { at + PACE * earned });
        self.left = (self.left + earned).min(MAX);
        let is_there = self.left > 0;
        self.left -= u32::from(is_there);
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_then_one_at_a_time() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        assert!((0..MAX).all(|_| repeats.take(now)));
        assert!(!repeats.is_there(now) && !repeats.take(now));
        assert!(!repeats.take(now + PACE / 2));
        assert!(repeats.is_there(now + PACE) && repeats.take(now + PACE) && !repeats.take(now + PACE));
        assert!(
            repeats.take(now + PACE * 3) && repeats.take(now + PACE * 3) && !repeats.take(now + PACE * 3)
        );
        let later = now + Duration::from_secs(3_600);
        assert!((0..MAX).all(|_| repeats.take(later)) && !repeats.take(later));
    }
}
