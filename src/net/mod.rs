//! The socket of a connection, read and written by the thread whose call it is.

// What servers send is not to be cut short by a conversion.
#![deny(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

pub(crate) mod address;
pub(crate) mod cipher;
pub(crate) mod pem;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod tls;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{self, RecvFlags, SendFlags, Shutdown};

use crate::ffi::sys::cancel::Descriptor;

/// A connected TCP or Unix socket. It blocks in [`Socket::wait`] and [`Socket::recv_patiently`] only.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: Descriptor,
}

/// What a socket is ready for. Nothing: the deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

impl Readiness {
    pub(crate) const READABLE: Readiness = Readiness { readable: true, writable: false };

    #[inline]
    pub(crate) fn is_timeout(self) -> bool {
        !self.readable && !self.writable
    }
}

/// macOS has no such flag; a socket option, set where the socket is made, does the same.
#[cfg(target_vendor = "apple")]
pub(crate) const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT;
#[cfg(not(target_vendor = "apple"))]
pub(crate) const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// Where poll counts milliseconds in a C int, a longer wait would be refused.
const LONGEST_POLL: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a read waits at most when it is not preceded by a wait of its own.
pub(crate) const PATIENCE: Duration = Duration::from_millis(250);

impl Socket {
    /// Takes over a connected socket.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        #[cfg(target_vendor = "apple")]
        net::sockopt::set_socket_nosigpipe(&fd, true)?;
        rustix::io::ioctl_fionbio(&fd, false)?;
        net::sockopt::set_socket_timeout(&fd, net::sockopt::Timeout::Recv, Some(PATIENCE))?;
        Ok(Socket { fd: fd.into() })
    }

    /// Writes what fits, without waiting and never raising SIGPIPE.
    #[inline]
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let sent = retry_on_intr(|| net::send(&self.fd, bytes, SEND_FLAGS))?;
        #[cfg(rs_script_models)]
        crate::models::changed();
        Ok(sent)
    }

    /// Reads what is there, without waiting; 0 once the peer has closed.
    #[inline]
    pub(crate) fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (length, _) = retry_on_intr(|| net::recv(&self.fd, &mut *buffer, RecvFlags::DONTWAIT))?;
        Ok(length)
    }

    /// Waits for bytes and reads them, in one system call; an error of the kind `WouldBlock` after [`PATIENCE`].
    #[inline]
    pub(crate) fn recv_patiently(&self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(rs_script_models)]
        if !crate::models::sleep_at(self.as_fd(), true, false, PATIENCE) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match net::recv(&self.fd, buffer, RecvFlags::empty()) {
            Ok((length, _)) => Ok(length),
            // Begun again, it would wait anew: under a storm of signals, for ever.
            Err(Errno::INTR) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sleeps until the socket is ready for one of what is asked, or `deadline` has passed. A lost connection counts as
    /// ready: the next `recv` or `send` tells why.
    #[inline]
    pub(crate) fn wait(&self, read: bool, write: bool, deadline: Instant) -> io::Result<Readiness> {
        #[cfg(rs_script_models)]
        let deadline = {
            crate::models::sleep_at(self.as_fd(), read, write, crate::models::left(deadline));
            Instant::now()
        };
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, read);
        wanted.set(PollFlags::OUT, write);
        let lost = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        let mut fds = [PollFd::new(&self.fd, wanted)];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let sleep = left.min(LONGEST_POLL);
            // Below LONGEST_POLL the conversion cannot fail.
            let timeout = Timespec::try_from(sleep).unwrap_or_default();
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) if left > sleep => {}
                Err(Errno::INTR) => {}
                Ok(_) => {
                    let ready = fds[0].revents();
                    return Ok(Readiness {
                        readable: read && ready.intersects(PollFlags::IN | lost),
                        writable: write && ready.intersects(PollFlags::OUT | lost),
                    });
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Ends the connection in both directions; wakes whoever waits for it.
    pub(crate) fn shutdown(&self) {
        // It fails only where the connection is gone already.
        let _ = net::shutdown(&self.fd, Shutdown::Both);
        #[cfg(rs_script_models)]
        crate::models::changed();
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The system's words for an error, without its number.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn pair() -> (Socket, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Socket::new(ours.into()).unwrap(), theirs)
    }

    #[test]
    fn bytes_go_both_ways() {
        let (socket, mut peer) = pair();
        assert_eq!(socket.send(b"ping").unwrap(), 4);
        let mut got = [0; 4];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"ping");

        let mut buffer = [0; 16];
        assert_eq!(socket.recv(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        peer.write_all(b"pong").unwrap();
        let ready = socket.wait(true, false, Instant::now() + SOON).unwrap();
        assert_eq!(ready, Readiness { readable: true, writable: false });
        assert_eq!(socket.recv(&mut buffer).unwrap(), 4);
        assert_eq!(&buffer[..4], b"pong");
    }

    #[test]
    fn wait_ends_at_the_deadline_and_not_before() {
        let (socket, _peer) = pair();
        let start = Instant::now();
        let deadline = start + Duration::from_millis(30);
        assert!(socket.wait(true, false, deadline).unwrap().is_timeout());
        assert!(Instant::now() >= deadline);
        assert!(start.elapsed() < SOON);
        // A deadline in the past still sees what is ready.
        assert!(socket.wait(true, false, start).unwrap().is_timeout());
        assert!(socket.wait(true, true, start).unwrap().writable);
    }

    #[test]
    fn a_full_socket_is_writable_again_once_the_peer_reads() {
        let (socket, mut peer) = pair();
        let chunk = [7; 65536];
        let mut sent = 0;
        let error = loop {
            match socket.send(&chunk) {
                Ok(length) => sent += length,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(socket.wait(false, true, Instant::now()).unwrap().is_timeout());
        peer.read_exact(&mut vec![0; sent]).unwrap();
        assert!(socket.wait(false, true, Instant::now() + SOON).unwrap().writable);
    }

    #[test]
    fn sending_to_a_closed_peer_is_an_error_and_no_signal() {
        let (socket, peer) = pair();
        drop(peer);
        // That there is no signal shows in the tests in C: a Rust program ignores SIGPIPE from the start.
        assert_eq!(socket.send(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn shutdown_wakes_a_waiting_thread() {
        let (socket, _peer) = pair();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| socket.wait(true, false, Instant::now() + SOON).unwrap());
            socket.shutdown();
            assert!(waiter.join().unwrap().readable);
        });
        assert_eq!(socket.recv(&mut [0; 1]).unwrap(), 0);
    }
}
