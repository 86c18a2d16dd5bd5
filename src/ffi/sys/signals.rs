//! Which signals a thread takes: none of the host's, on the threads that this library starts.

use std::mem::MaybeUninit;

/// What a thread brings upon itself. Blocked, it would end the process all the same, past the host's handler.
const OWN_FAULTS: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// While it lasts this thread takes no signals but for faults of its own, and neither does a thread that it starts,
/// for good.
pub(crate) struct Blocked {
    before: libc::sigset_t,
}

impl Blocked {
    pub(crate) fn new() -> Blocked {
        let (mut set, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: both are places for a set; sigfillset initialises the one, pthread_sigmask the other, and with
        // these arguments neither can fail.
        unsafe {
            libc::sigfillset(set.as_mut_ptr());
            for fault in OWN_FAULTS {
                libc::sigdelset(set.as_mut_ptr(), fault);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr());
            Blocked { before: before.assume_init() }
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: a set that pthread_sigmask has given.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
}
