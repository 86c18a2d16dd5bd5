//! Locks that a child of fork can live with: nothing of them is shared by all of the process, and one that was held at
//! fork leaks what it guards.
//!
//! parking_lot keeps its sleepers in a table of the whole process. A thread that was at it when another one forked has
//! left its part of the table locked in the child for ever, and any lock of the child's own may fall into that part. So
//! on Linux the system's futexes do that work, under the same interface and as fair: those of std, or of crates made
//! after it, let a thread wait for ever for a lock that another takes again and again, as a reader does that receives a
//! long reply. Other systems keep parking_lot: there a child that uses this library with several threads, and does not
//! exec, has no such promise.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::{PoisonError, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::{Duration, Instant};

use parking_lot::lock_api;

#[cfg(target_os = "linux")]
use imp::RawMutex;
#[cfg(not(target_os = "linux"))]
use parking_lot::RawMutex;

pub(crate) type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;

/// A lock around a value.
///
/// Dropped while it is locked, as it may be in a child of fork whose parent's threads are missing, it leaks the
/// value, which may be half-changed.
#[derive(Debug)]
pub(crate) struct Mutex<T>(ManuallyDrop<lock_api::Mutex<RawMutex, T>>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(ManuallyDrop::new(lock_api::Mutex::new(value)))
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T> Deref for Mutex<T> {
    type Target = lock_api::Mutex<RawMutex, T>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> Drop for Mutex<T> {
    fn drop(&mut self) {
        if !self.0.is_locked() {
            // SAFETY: it is dropped here and nowhere else, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.0) }
        }
    }
}

/// The same for many readers or one writer.
#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(ManuallyDrop<std::sync::RwLock<T>>);

impl<T> RwLock<T> {
    #[inline]
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, unless somebody has it.
    pub(crate) fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        match self.0.try_write() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl<T> Drop for RwLock<T> {
    fn drop(&mut self) {
        // Readers that are missing have changed nothing.
        if !matches!(self.0.try_read(), Err(TryLockError::WouldBlock)) {
            // SAFETY: it is dropped here and nowhere else, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.0) }
        }
    }
}

/// Where threads sleep until what a [`Mutex`] guards has changed.
#[derive(Debug, Default)]
pub(crate) struct Condvar(imp::Condvar);

/// Whether the time was over when a thread woke.
pub(crate) struct Waited {
    timed_out: bool,
}

impl Waited {
    pub(crate) fn timed_out(&self) -> bool {
        self.timed_out
    }
}

impl Condvar {
    /// Sleeps without the lock until woken, now and then for no reason, or until the time has come.
    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, deadline: Instant) -> Waited {
        self.wait_for(guard, deadline.saturating_duration_since(Instant::now()))
    }

    /// The same for so long.
    pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, time: Duration) -> Waited {
        Waited { timed_out: self.0.wait_for(guard, time) }
    }

    /// Wakes a thread that sleeps here. What it waits for was changed with the lock.
    #[inline]
    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all threads that sleep here.
    #[inline]
    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::time::Duration;

    use super::MutexGuard;

    #[derive(Debug, Default)]
    pub(super) struct Condvar(parking_lot::Condvar);

    impl Condvar {
        pub(super) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, time: Duration) -> bool {
            self.0.wait_for(guard, time).timed_out()
        }

        pub(super) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(super) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}

#[cfg(target_os = "linux")]
mod imp {
    #[cfg(not(rs_script_models))]
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    use parking_lot::lock_api;
    use rustix::io::Errno;
    #[cfg(not(rs_script_models))]
    use rustix::thread::futex;
    use rustix::thread::futex::{Flags, Timespec};
    #[cfg(rs_script_models)]
    use shuttle::sync::atomic::{AtomicU32, Ordering};

    use super::MutexGuard;
    // Models of threads run this with what they can schedule.
    #[cfg(rs_script_models)]
    use crate::models as futex;

    const UNLOCKED: u32 = 0;
    const LOCKED: u32 = 1;
    /// Locked, and others may sleep.
    const CONTENDED: u32 = 2;
    /// The same, and one of them has waited for long: it is next.
    const STARVING: u32 = 3;
    /// Unlocked for one that has slept, and for nobody else.
    const HANDED: u32 = 4;

    /// Who has waited for longer is next, whoever else comes.
    const PATIENCE: Duration = Duration::from_millis(1);

    /// Looks at a lock that is taken before it sleeps.
    const SPINS: u32 = if cfg!(rs_script_models) { 1 } else { 100 };

    pub(crate) struct RawMutex(AtomicU32);

    // SAFETY: it is locked by the one thread whose exchange has succeeded, from UNLOCKED or HANDED, until that
    // unlocks it.
    unsafe impl lock_api::RawMutex for RawMutex {
        type GuardMarker = lock_api::GuardNoSend;

        const INIT: RawMutex = RawMutex(AtomicU32::new(UNLOCKED));

        #[inline]
        fn lock(&self) {
            if !self.exchange(UNLOCKED, LOCKED) {
                self.lock_contended();
            }
        }

        #[inline]
        fn try_lock(&self) -> bool {
            self.exchange(UNLOCKED, LOCKED)
        }

        #[inline]
        unsafe fn unlock(&self) {
            if self.0.compare_exchange(LOCKED, UNLOCKED, Ordering::Release, Ordering::Relaxed).is_err() {
                self.unlock_contended();
            }
        }
    }

    impl RawMutex {
        #[inline]
        fn exchange(&self, from: u32, to: u32) -> bool {
            self.0.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
        }

        #[cold]
        fn lock_contended(&self) {
            if self.spin() == UNLOCKED && self.exchange(UNLOCKED, LOCKED) {
                return;
            }
            let mut since = None;
            let mut contended = CONTENDED;
            loop {
                let state = self.0.load(Ordering::Relaxed);
                let has_slept = since.is_some();
                let asleep_at = match state {
                    // There may be others that sleep.
                    UNLOCKED if self.exchange(UNLOCKED, CONTENDED) => return,
                    HANDED if has_slept && self.exchange(HANDED, CONTENDED) => return,
                    LOCKED | CONTENDED if state != contended && !self.exchange(state, contended) => continue,
                    LOCKED | CONTENDED => contended,
                    STARVING => STARVING,
                    HANDED if !has_slept => HANDED,
                    _ => continue,
                };
                let since = *since.get_or_insert_with(Instant::now);
                // It ends when woken, for no reason, or at once when it is another state by now.
                let _ = futex::wait(&self.0, Flags::PRIVATE, asleep_at, None);
                #[cfg(rs_script_models)]
                let since = if crate::models::chance(2) { since } else { since - 2 * PATIENCE };
                if since.elapsed() > PATIENCE {
                    contended = STARVING;
                }
            }
        }

        fn spin(&self) -> u32 {
            for _ in 0..SPINS {
                match self.0.load(Ordering::Relaxed) {
                    LOCKED => std::hint::spin_loop(),
                    state => return state,
                }
            }
            LOCKED
        }

        #[cold]
        fn unlock_contended(&self) {
            loop {
                let state = self.0.load(Ordering::Relaxed);
                let to = if state == STARVING { HANDED } else { UNLOCKED };
                if self.0.compare_exchange(state, to, Ordering::Release, Ordering::Relaxed).is_err() {
                    continue;
                }
                let is_taken = self.wake_one();
                // Nobody slept, so nobody may take it. Whoever went to sleep since then is woken.
                if to == HANDED
                    && !is_taken
                    && self.0.compare_exchange(HANDED, UNLOCKED, Ordering::Release, Ordering::Relaxed).is_ok()
                {
                    self.wake_one();
                }
                return;
            }
        }

        fn wake_one(&self) -> bool {
            futex::wake(&self.0, Flags::PRIVATE, 1).is_ok_and(|count| count > 0)
        }
    }

    /// Counts the notifications; a sleeper gives the system the number that it has seen with the lock.
    #[derive(Debug, Default)]
    pub(super) struct Condvar {
        notified: AtomicU32,
        /// Threads that sleep or are about to; changed with the lock. Without any a notification costs no system
        /// call.
        sleepers: AtomicU32,
    }

    // The lock orders all of this: who sleeps has counted itself and read the number with the lock, and who notifies
    // has held it since what is waited for was changed.
    impl Condvar {
        pub(super) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, time: Duration) -> bool {
            self.sleepers.fetch_add(1, Ordering::Relaxed);
            let seen = self.notified.load(Ordering::Relaxed);
            // One that is too long for the system is for ever.
            let timeout = Timespec::try_from(time).ok();
            let outcome = MutexGuard::unlocked(guard, || {
                futex::wait(&self.notified, Flags::PRIVATE, seen, timeout.as_ref())
            });
            self.sleepers.fetch_sub(1, Ordering::Relaxed);
            outcome == Err(Errno::TIMEDOUT)
        }

        #[inline]
        pub(super) fn notify_one(&self) {
            self.notify(1);
        }

        #[inline]
        pub(super) fn notify_all(&self) {
            self.notify(i32::MAX as u32);
        }

        #[inline]
        fn notify(&self, count: u32) {
            if self.sleepers.load(Ordering::Relaxed) != 0 {
                self.notified.fetch_add(1, Ordering::Relaxed);
                // It fails for a bad address only.
                let _ = futex::wake(&self.notified, Flags::PRIVATE, count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn one_thread_at_a_time() {
        const THREADS: u32 = 8;
        const ROUNDS: u32 = if cfg!(miri) { 20 } else { 20_000 };
        let count = Mutex::new(0_u32);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        let mut count = count.lock();
                        let before = *count;
                        if before.is_multiple_of(64) {
                            thread::yield_now();
                        }
                        *count = before + 1;
                    }
                });
            }
        });
        assert_eq!(*count.lock(), THREADS * ROUNDS);
    }

    #[test]
    fn nobody_waits_for_ever_for_one_who_takes_it_again_and_again() {
        const TIMES: u32 = if cfg!(miri) { 2 } else { 20 };
        // Some seconds' worth: nothing that a machine is too slow for.
        const ROUNDS_MAX: u32 = 1_000_000;
        let lock = Mutex::new(());
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..TIMES {
                    drop(lock.lock());
                    thread::yield_now();
                }
                done.store(true, Ordering::Relaxed);
            });
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                rounds += 1;
                assert!(rounds < ROUNDS_MAX, "the other thread did not get it");
                let _held = lock.lock();
                let start = Instant::now();
                while start.elapsed() < Duration::from_micros(100) {
                    std::hint::spin_loop();
                }
            }
        });
    }

    #[test]
    fn who_sleeps_is_woken_or_told_that_the_time_is_over() {
        const ROUNDS: u32 = if cfg!(miri) { 20 } else { 2000 };
        let turn = Arc::new((Mutex::new(0), Condvar::default()));
        let play = |me: u32| {
            let (count, changed) = &*turn;
            let mut count = count.lock();
            while *count < ROUNDS {
                if *count % 2 == me {
                    *count += 1;
                    changed.notify_one();
                } else {
                    changed.wait_for(&mut count, Duration::from_secs(60));
                }
            }
            changed.notify_all();
        };
        thread::scope(|scope| {
            scope.spawn(|| play(0));
            play(1);
        });
        let (count, changed) = &*turn;
        let mut count = count.lock();
        assert!(changed.wait_for(&mut count, Duration::from_millis(1)).timed_out());
        assert!(changed.wait_until(&mut count, Instant::now()).timed_out());
    }

    #[test]
    fn what_was_locked_by_a_thread_that_is_missing_is_leaked() {
        let [freed, leaked] = [Arc::new(()), Arc::new(())];
        drop(Mutex::new(Arc::clone(&freed)));
        let lock = Mutex::new(Arc::clone(&leaked));
        std::mem::forget(lock.lock());
        drop(lock);
        assert_eq!((Arc::strong_count(&freed), Arc::strong_count(&leaked)), (1, 2));
    }
}
