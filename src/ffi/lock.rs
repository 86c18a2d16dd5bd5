//! Locks that a child of fork can live with: nothing of them is shared by all of the process, and one that was held
//! at fork leaks what it guards.
//!
//! parking_lot keeps its sleepers in a table of the whole process. A thread that was at it when another one forked
//! has left its part of the table locked in the child for ever, and any lock of the child's own may fall into that
//! part. So on Linux the system's futexes do that work, under the same interface. Other systems keep parking_lot:
//! there a child that uses this library with several threads, and does not exec, has no such promise.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::time::{Duration, Instant};

use parking_lot::lock_api;

#[cfg(not(target_os = "linux"))]
use parking_lot::{RawMutex, RawRwLock};
#[cfg(target_os = "linux")]
use rustix_futex_sync::{RawMutex, RawRwLock};

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
#[derive(Debug)]
pub(crate) struct RwLock<T>(ManuallyDrop<lock_api::RwLock<RawRwLock, T>>);

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        RwLock(ManuallyDrop::new(lock_api::RwLock::default()))
    }
}

impl<T> Deref for RwLock<T> {
    type Target = lock_api::RwLock<RawRwLock, T>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> Drop for RwLock<T> {
    fn drop(&mut self) {
        // Readers that are missing have changed nothing.
        if !self.0.is_locked_exclusive() {
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
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use rustix::io::Errno;
    use rustix::thread::futex::{self, Flags, Timespec};

    use super::MutexGuard;

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
