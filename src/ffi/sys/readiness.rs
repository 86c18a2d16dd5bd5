//! Which of many descriptors are ready: epoll or kqueue, by the crate `polling` in level mode.
//!
//! `polling` wants each descriptor taken out before it is closed, and so makes putting one in `unsafe`. Here a
//! [`Watched`] owns what it has put in and takes it out when it is dropped, so that nobody can forget it.

#[cfg(any(target_os = "linux", target_os = "android"))]
use std::ffi::{c_int, c_long, c_void};
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use polling::{Event, PollMode};

use super::fork::Process;
use super::lock::Mutex;

/// What a descriptor is watched for; what it is ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Interest {
    pub(crate) const NONE: Interest = Interest { read: false, write: false };
    pub(crate) const READ: Interest = Interest { read: true, write: false };
    pub(crate) const WRITE: Interest = Interest { read: false, write: true };

    fn event(self, key: usize) -> Event {
        Event::new(key, self.read, self.write)
    }
}

/// A set of descriptors.
///
/// A child of fork shares it with its parent: what the child took out would be missing there. So in a child nothing
/// is done to it.
#[derive(Debug)]
pub(crate) struct Poller {
    set: ManuallyDrop<polling::Poller>,
    process: Process,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Poller> {
        Ok(Poller { set: ManuallyDrop::new(polling::Poller::new()?), process: Process::this() })
    }

    /// Waits until something is ready, no longer than `timeout`, and tells of each by its key. An interrupted wait is
    /// over.
    ///
    /// One thread at a time.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn wait(&self, ready: &mut Vec<usize>, timeout: Option<Duration>) -> io::Result<()> {
        // That of `polling` makes five system calls, to keep a timer and a wake-up of its own that nobody here needs;
        // and rustix leaves out the size of no set of signals, which the kernel does not read, but valgrind does. The C
        // library's own could be cancelled: see `cancel.rs`.
        const ROOM: usize = 64;
        const SIGNALS: usize = 8;
        let mut events = [const { std::mem::MaybeUninit::<libc::epoll_event>::uninit() }; ROOM];
        // Longer than it can say is for ever.
        let milliseconds =
            timeout.and_then(|timeout| c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).ok());
        // SAFETY: a live descriptor, room for so many events, and no set of signals.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait,
                c_long::from(self.as_fd().as_raw_fd()),
                events.as_mut_ptr(),
                ROOM,
                c_long::from(milliseconds.unwrap_or(-1)),
                std::ptr::null::<c_void>(),
                SIGNALS,
            )
        };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        };
        // SAFETY: so many events were written.
        let told = events[..count].iter().map(|event| unsafe { event.assume_init() }.u64);
        ready.extend(told.filter_map(|key| usize::try_from(key).ok()));
        Ok(())
    }

    /// The same by `polling` itself.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) fn wait(&self, ready: &mut Vec<usize>, timeout: Option<Duration>) -> io::Result<()> {
        let mut events = polling::Events::new();
        match self.set.wait(&mut events, timeout) {
            Ok(_) => {
                ready.extend(events.iter().map(|event| event.key));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        let _held = super::cancel::Held::new();
        if self.process.is_this() {
            // SAFETY: it is dropped here and nowhere else, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.set) }
        } else {
            // What it does at its end would reach the parent's set. Its own descriptors stay open, but for the set's.
            // SAFETY: nobody uses the set any more; what would close it again is not run.
            unsafe { libc::close(self.set.as_raw_fd()) };
        }
    }
}

/// A descriptor that is in a set while it is watched for something, and taken out before it closes.
#[derive(Debug)]
pub(crate) struct Watched<T: AsFd> {
    /// Absent at its end only.
    source: Option<T>,
    key: usize,
    poller: Arc<Poller>,
    interest: Mutex<Interest>,
}

impl<T: AsFd> Watched<T> {
    /// Takes a descriptor over; it is watched for nothing yet.
    pub(crate) fn new(poller: &Arc<Poller>, source: T, key: usize) -> Self {
        Watched { source: Some(source), key, poller: Arc::clone(poller), interest: Mutex::default() }
    }

    /// Gives the descriptor back, which is watched no more.
    pub(crate) fn into_source(mut self) -> Option<T> {
        let _ = self.watch(Interest::NONE);
        self.source.take()
    }

    /// What it is watched for.
    pub(crate) fn interest(&self) -> Interest {
        *self.interest.lock()
    }

    /// Watches for this from now on; for nothing, it is not even in the set, or its end would be told again and again.
    pub(crate) fn watch(&self, wanted: Interest) -> io::Result<()> {
        if !self.poller.process.is_this() {
            return Ok(());
        }
        let mut interest = self.interest.lock();
        if *interest == wanted {
            return Ok(());
        }
        let set = &self.poller.set;
        if wanted == Interest::NONE {
            set.delete(&**self)?;
        } else if *interest == Interest::NONE {
            // SAFETY: the descriptor is open, and this takes it out before that ends.
            unsafe { set.add_with_mode(&self.as_fd(), wanted.event(self.key), PollMode::Level) }?;
        } else {
            set.modify_with_mode(&**self, wanted.event(self.key), PollMode::Level)?;
        }
        *interest = wanted;
        Ok(())
    }
}

impl<T: AsFd> Deref for Watched<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match &self.source {
            Some(source) => source,
            None => unreachable!("it is there up to its end"),
        }
    }
}

impl<T: AsFd> Drop for Watched<T> {
    fn drop(&mut self) {
        // In a child of fork the lock may be held by a thread that is missing.
        if self.source.is_some() && self.poller.process.is_this() {
            let _held = super::cancel::Held::new();
            // It fails only where the descriptor is not in the set.
            let _ = self.watch(Interest::NONE);
        }
    }
}

/// Makes a set's own descriptor readable when a time has come.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[derive(Debug)]
pub(crate) struct Timer(Watched<super::cancel::Descriptor>);

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Timer {
    pub(crate) fn new(poller: &Arc<Poller>, key: usize) -> io::Result<Timer> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};

        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let timer = Watched::new(poller, super::cancel::Descriptor::from(timer), key);
        timer.watch(Interest::READ)?;
        Ok(Timer(timer))
    }

    /// In so long; `None`: not any more.
    pub(crate) fn set(&self, after: Option<Duration>) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};

        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Nothing would mean never.
        let after = after.map(|after| after.max(Duration::from_nanos(1)));
        let value = after.map_or(Ok(never), Timespec::try_from).unwrap_or(never);
        timerfd_settime(
            self.0.as_fd(),
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: never, it_value: value },
        )?;
        Ok(())
    }
}

/// Makes a set's own descriptor readable when a time has come.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[derive(Debug)]
pub(crate) struct Timer {
    poller: Arc<Poller>,
    key: usize,
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Timer {
    pub(crate) fn new(poller: &Arc<Poller>, key: usize) -> io::Result<Timer> {
        Ok(Timer { poller: Arc::clone(poller), key })
    }

    /// In so long; `None`: not any more.
    pub(crate) fn set(&self, after: Option<Duration>) -> io::Result<()> {
        use polling::os::kqueue::{PollerKqueueExt, Timer};

        let timer = |timeout| Timer { id: self.key, timeout };
        match after {
            Some(after) => self.poller.set.add_filter(timer(after), self.key, PollMode::Oneshot),
            None => {
                // It fails where none is set.
                let _ = self.poller.set.delete_filter(timer(Duration::ZERO));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    const SOON: Option<Duration> = Some(Duration::from_secs(30));

    #[test]
    fn what_is_watched_is_told_until_it_is_taken() {
        let poller = Arc::new(Poller::new().unwrap());
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let watched = Watched::new(&poller, ours, 7);
        let ready = |timeout| {
            let mut ready = Vec::new();
            poller.wait(&mut ready, timeout).unwrap();
            ready
        };
        theirs.write_all(b"x").unwrap();
        assert!(ready(Some(Duration::ZERO)).is_empty(), "not watched yet");
        watched.watch(Interest::READ).unwrap();
        assert_eq!((ready(SOON), ready(SOON)), (vec![7], vec![7]), "level mode");
        (&*watched).read_exact(&mut [0]).unwrap();
        assert!(ready(Some(Duration::ZERO)).is_empty());
        watched.watch(Interest { read: true, write: true }).unwrap();
        assert_eq!(ready(SOON), [7]);
        watched.watch(Interest::NONE).unwrap();
        drop(theirs);
        assert!(ready(Some(Duration::ZERO)).is_empty(), "its end is not told either");
        watched.watch(Interest::READ).unwrap();
        assert_eq!(ready(SOON), [7]);
        drop(watched);
        assert!(ready(Some(Duration::ZERO)).is_empty());
    }

    #[test]
    fn a_set_in_a_set_turns_readable_when_its_time_has_come() {
        let (outer, inner) = (Arc::new(Poller::new().unwrap()), Arc::new(Poller::new().unwrap()));
        let timer = Timer::new(&inner, 1).unwrap();
        let nested = Watched::new(&outer, Arc::clone(&inner), 5);
        nested.watch(Interest::READ).unwrap();
        let mut ready = Vec::new();
        timer.set(Some(Duration::from_secs(300))).unwrap();
        outer.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        assert!(ready.is_empty());
        timer.set(Some(Duration::ZERO)).unwrap();
        outer.wait(&mut ready, SOON).unwrap();
        assert_eq!(ready, [5]);
        timer.set(None).unwrap();
        ready.clear();
        outer.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        assert!(ready.is_empty());
    }
}
