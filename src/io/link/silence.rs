//! Whether a connection may take new calls: looked at where it was idle, given up where it has died in silence.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::ffi::sys::lock::MutexGuard;

use super::transfer::Wait;
use super::{Link, Shared};
use crate::resp::Payload;

/// A connection idle for longer than this is looked at before it is used: the server may have closed it.
const IDLE_TRUST: Duration = Duration::from_millis(1);

/// Reads of one look at most: a server that never stops sending must not keep the caller beyond its deadline.
const LOOK_READS: usize = 64;

/// What calls hold that were left alone on a connection and are not answered, in bytes; beyond this it is given up
/// before its time, and also where something comes now and then.
const DEAD_MAX: usize = 16 << 20;

/// A wait for bytes while calls are in flight. The first byte ends it.
pub(super) struct Silence {
    /// When there was a call in flight and no byte came any more, or later.
    since: Instant,
    /// A deadline has passed in vain.
    missed: bool,
}

impl Silence {
    fn new(since: Instant) -> Silence {
        Silence { since, missed: false }
    }
}

impl Link {
    /// Whether a call may be put on this connection. One that has been idle is looked at first; one that has died
    /// in silence is given up: who waits on it goes on waiting, and new calls take a new connection.
    #[inline]
    pub(super) fn is_alive(&self, shared: &mut MutexGuard<'_, Shared>, now: Instant) -> bool {
        if now >= shared.heard + IDLE_TRUST && !shared.reading {
            self.look(shared, now);
        }
        self.has_not_died_in_silence(shared, now);
        self.is_usable()
    }

    /// Whether it has not been silent for so long, nor does what is dead on it hold so much, that it is given up now.
    #[inline]
    pub(super) fn has_not_died_in_silence(&self, shared: &Shared, now: Instant) -> bool {
        let may_be_dead = shared.is_suspect() || shared.session.dead() > DEAD_MAX;
        let is_dead = may_be_dead && self.is_silent(shared, now);
        if is_dead {
            self.usable.store(false, Ordering::Release);
        }
        !is_dead
    }

    /// Looks at a connection that was idle and that nobody watches, before it is used.
    pub(crate) fn look_if_idle(&self, now: Instant) {
        let mut shared = self.shared.lock();
        if self.is_usable() && now >= shared.heard + IDLE_TRUST && !shared.reading {
            self.look(&mut shared, now);
        }
    }

    /// Whether it is idle, and nothing has come that was not read: neither its end nor anything else.
    pub(crate) fn is_quiet(&self, now: Instant) -> bool {
        let shared = self.shared.lock();
        let is_idle =
            self.is_usable() && shared.cause.is_none() && shared.session.is_idle() && !shared.reading;
        is_idle && self.socket.wait(true, false, now).is_ok_and(|ready| ready.is_timeout())
    }

    /// Reads what has come meanwhile, be it the end.
    fn look(&self, shared: &mut MutexGuard<'_, Shared>, now: Instant) {
        // As the reader, so that no other caller reads at the same time.
        shared.reading = true;
        // Behind late replies, that nobody waits for any more, there may be the end.
        for _ in 0..LOOK_READS {
            if !self.is_usable() || !self.receive(shared, now, Wait::Until(now)) {
                break;
            }
        }
        shared.reading = false;
        // It was there just now: who comes next need not look again.
        shared.heard = now;
        self.pass_on(shared);
        self.hand_out(shared);
    }

    #[cold]
    fn is_silent(&self, shared: &Shared, now: Instant) -> bool {
        let lasts = |since| now.saturating_duration_since(since) >= self.silence_timeout;
        let is_over = shared.session.dead() > DEAD_MAX
            || matches!(shared.silence, Some(Silence { since, missed: true }) if lasts(since));
        // A reader that has had no processor lately may not have seen yet what has come.
        is_over && !self.socket.wait(true, false, now).is_ok_and(|ready| ready.readable)
    }
}

impl Shared {
    /// A call is about to be sent at `now`, and bytes are to come.
    #[inline]
    pub(super) fn expect_bytes(&mut self, now: Instant) {
        if self.session.is_idle() {
            self.heard = now;
            self.silence = Some(Silence::new(now));
        } else if self.silence.is_none() {
            self.silence = Some(Silence::new(now));
        }
    }

    /// Bytes came; read at `now`, or not long after.
    #[inline]
    pub(super) fn hear(&mut self, now: Instant) {
        self.heard = now;
        self.silence = None;
    }

    /// Whether a deadline was missed and no byte came since.
    #[inline]
    pub(super) fn is_suspect(&self) -> bool {
        matches!(self.silence, Some(Silence { missed: true, .. }))
    }

    /// Leaves a call alone whose deadline has passed, or whose caller has called it off: see
    /// [`crate::session::Session::abandon`]. `patience`: how long nothing must have come for this to speak against
    /// the connection.
    pub(super) fn give_up(
        &mut self,
        key: usize,
        now: Instant,
        patience: Duration,
    ) -> (Option<Box<Payload>>, bool) {
        let silence = self.silence.get_or_insert(Silence::new(now));
        silence.missed |= now.saturating_duration_since(silence.since) >= patience;
        self.session.abandon(key)
    }
}
