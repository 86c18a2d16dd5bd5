//! How long a call waits between its attempts, and how much time each of them needs.

use std::time::{Duration, Instant};

/// The longest pause before the next attempt.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The least time that an attempt is given, as a part of what the call has, and at most.
const ROOM_PART: u32 = 8;

const ROOM_MAX: Duration = Duration::from_millis(100);

/// How long before its deadline a call may still be sent again. A refusal proves that it was not executed; an attempt
/// that cannot be answered in time would only lose that.
#[derive(Debug)]
pub(in crate::core) struct Room {
    deadline: Instant,
    /// What may have been executed is not sent again after this.
    repeats_until: Instant,
    least: Duration,
    most: Duration,
    needed: Duration,
}

impl Room {
    pub(in crate::core) fn new(now: Instant, deadline: Instant) -> Room {
        let total = deadline.saturating_duration_since(now);
        let least = (total / ROOM_PART).min(ROOM_MAX);
        Room { deadline, repeats_until: deadline, least, most: total / 2, needed: least }
    }

    /// What may have been executed is not sent again after this: its token may be forgotten.
    pub(in crate::core) fn repeat_until(&mut self, until: Instant) {
        self.repeats_until = until;
    }

    /// The latest time for another attempt of what may have been executed.
    pub(in crate::core) fn last_repeat(&self) -> Instant {
        self.repeats_until
    }

    /// Learns how long the last attempt took to be refused: on the same server the next one may take as long, and a
    /// half.
    pub(in crate::core) fn learn(&mut self, again: Again, took: Duration) {
        let expected = if again == Again::Now { Duration::ZERO } else { took * 3 / 2 };
        self.needed = expected.min(self.most).max(self.least);
    }

    /// The latest time for another attempt.
    pub(in crate::core) fn last_start(&self) -> Instant {
        self.deadline.checked_sub(self.needed).unwrap_or(self.deadline)
    }
}

/// When the next attempt may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::core) enum Again {
    Now,
    AfterPause,
    /// With a new map of the servers.
    AfterRefresh,
}

/// How long to wait before the next attempt, after so many.
pub(in crate::core) fn pause(again: Again, attempts: u32) -> Duration {
    if again == Again::Now || attempts == 0 {
        return Duration::ZERO;
    }
    Duration::from_millis(10 << attempts.min(5)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_gets_as_much_time_as_the_one_before_took() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let deadline = now + ms(1000);
        let last_start = |again, took| {
            let mut room = Room::new(now, deadline);
            room.learn(again, took);
            deadline - room.last_start()
        };
        assert_eq!(deadline - Room::new(now, deadline).last_start(), ms(100));
        // In a hurry a part of what there is.
        assert_eq!(now + ms(80) - Room::new(now, now + ms(80)).last_start(), ms(10));
        assert_eq!(last_start(Again::AfterPause, ms(1)), ms(100));
        assert_eq!(last_start(Again::AfterPause, ms(200)), ms(300));
        // One that was held up once need not be the next time.
        assert_eq!(last_start(Again::AfterRefresh, ms(900)), ms(500));
        // Another server knows nothing of that.
        assert_eq!(last_start(Again::Now, ms(900)), ms(100));
    }
}
