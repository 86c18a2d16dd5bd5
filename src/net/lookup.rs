//! Host names: getaddrinfo knows no deadline and cannot be stopped, so a thread of its own calls it.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;

use super::TICK;
use crate::threads;

/// What ended the wait for a name's addresses.
pub(super) enum Ended {
    Found(io::Result<Vec<SocketAddr>>),
    /// The deadline came, or the client is being closed. The look-up goes on without anybody.
    Abandoned,
}

/// The addresses of a host. An error is that there was no thread to look them up.
pub(super) fn look_up(
    host: &str,
    port: u16,
    deadline: Instant,
    is_over: impl Fn() -> bool,
) -> io::Result<Ended> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(Ended::Found(Ok(vec![SocketAddr::new(address, port)])));
    }
    let (sender, receiver) = mpsc::channel();
    let host = host.to_owned();
    let thread = threads::spawn("rs_script-dns", move || {
        // Nobody listens any more where it has taken too long.
        let _ = sender.send((host.as_str(), port).to_socket_addrs().map(Iterator::collect));
    })?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left.min(TICK)) {
            Ok(found) => {
                threads::join(thread);
                return Ok(Ended::Found(found));
            }
            Err(RecvTimeoutError::Timeout) if left.is_zero() || is_over() => {
                threads::let_go(thread);
                return Ok(Ended::Abandoned);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                threads::join(thread);
                return Ok(Ended::Found(Err(io::Error::other("the look-up panicked"))));
            }
        }
    }
}
