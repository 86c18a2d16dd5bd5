//! pthread_cancel, held off: it must not unwind through this library in the middle of whatever it is doing.
//!
//! A thread with a cancellation pending ends at the next function that POSIX calls a cancellation point: close, poll,
//! read, getrandom, pthread_join and many more. On Linux the library waits, sends and receives by system calls of its
//! own that are none, so a call on a connection that is there passes none, and pays nothing. All else that may be on
//! the way of a call is done with a [`Held`]. On other systems one is around every call: see `guard`.

use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const PTHREAD_CANCEL_DISABLE: c_int = if cfg!(target_vendor = "apple") { 0 } else { 1 };

// libc has it for few systems; Android has no pthread_cancel, and Miri does not know it.
#[cfg(not(any(target_os = "android", miri)))]
unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}

#[cfg(any(target_os = "android", miri))]
unsafe fn pthread_setcancelstate(_: c_int, _: *mut c_int) -> c_int {
    0
}

/// While it lasts this thread is not cancelled. They may be nested.
pub(crate) struct Held {
    before: c_int,
    /// It is that of the thread which has made it.
    _here: std::marker::PhantomData<*const ()>,
}

impl Held {
    pub(crate) fn new() -> Held {
        let mut before = 0;
        // SAFETY: a state that it knows, and a place for the one before; with these it cannot fail.
        unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &mut before) };
        Held { before, _here: std::marker::PhantomData }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = 0;
        // SAFETY: as in `new`; the state is the one that it has told.
        unsafe { pthread_setcancelstate(self.before, &mut held) };
    }
}

/// A descriptor whose closing cancels nobody.
#[derive(Debug)]
pub(crate) struct Descriptor(ManuallyDrop<OwnedFd>);

impl From<OwnedFd> for Descriptor {
    fn from(fd: OwnedFd) -> Self {
        Descriptor(ManuallyDrop::new(fd))
    }
}

impl AsFd for Descriptor {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let _held = Held::new();
        // SAFETY: it is dropped here and nowhere else, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.0) }
    }
}
