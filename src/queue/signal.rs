//! Something that a thread can poll for: a socket pair, because every event loop takes one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{
    AddressFamily, RecvFlags, Shutdown, SocketFlags, SocketType, recv, send, shutdown, socketpair,
};

use crate::ffi::sys::cancel::Descriptor;
use crate::ffi::sys::fork::Process;
use crate::net::SEND_FLAGS;

/// A program that another thread starts meanwhile must not inherit it. Where that takes two steps it may.
#[cfg(any(target_os = "linux", target_os = "android"))]
const FLAGS: SocketFlags = SocketFlags::CLOEXEC;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const FLAGS: SocketFlags = SocketFlags::empty();

/// Readable from [`Signal::raise`] to [`Signal::lower`].
#[derive(Debug)]
pub(crate) struct Signal {
    receiver: Descriptor,
    sender: Descriptor,
    /// The process that made it: a child of fork shares the sockets, and must not take its parent's bytes.
    pub(crate) process: Process,
}

impl Signal {
    pub(crate) fn new() -> io::Result<Signal> {
        let (receiver, sender) = socketpair(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
        for fd in [&receiver, &sender] {
            #[cfg(not(any(target_os = "linux", target_os = "android")))]
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(fd, true)?;
            #[cfg(target_vendor = "apple")]
            rustix::net::sockopt::set_socket_nosigpipe(fd, true)?;
        }
        Ok(Signal { receiver: receiver.into(), sender: sender.into(), process: Process::this() })
    }

    /// Makes it readable.
    pub(crate) fn raise(&self) {
        if !self.process.is_this() {
            return;
        }
        // Full it cannot be, with a byte or two; and a user who has closed the descriptor hears nothing more from it.
        let _ = send(&self.sender, b"!", SEND_FLAGS);
    }

    /// Takes the byte out again, unless an event loop has.
    pub(crate) fn lower(&self) {
        if !self.process.is_this() {
            return;
        }
        let mut bytes = [0; 16];
        let _ = recv(&self.receiver, &mut bytes, RecvFlags::DONTWAIT);
    }

    /// Makes it readable for good: whoever reads finds its end.
    pub(crate) fn end(&self) {
        if self.process.is_this() {
            let _ = shutdown(&self.sender, Shutdown::Write);
        }
    }
}

impl AsFd for Signal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}
