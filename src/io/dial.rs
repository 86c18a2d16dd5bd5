//! From an address to a connected socket, without ever waiting: a TCP or Unix connect that the reactor sees through.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, getpeername, getsockname};
use rustls::ClientConnection;

use crate::config::Config;
use crate::core::{ConnId, Peer};
use crate::error::{Error, Result, Status};
use crate::ffi::sys::readiness::{Interest, Poller, Watched};
use crate::net::address::Address;
use crate::net::reason;
use crate::net::tls::Tls;
use crate::session::Facts;

/// Linux says so while a Unix listener's backlog is full, and offers nothing to wait for.
const BACKLOG_PAUSE: Duration = Duration::from_millis(2);

/// A connected socket, ready for the first bytes; of TLS nothing has been said yet.
pub(crate) struct Dialed {
    pub(crate) socket: OwnedFd,
    pub(crate) tls: Option<Box<ClientConnection>>,
    pub(crate) address: Address,
    pub(crate) facts: Arc<Facts>,
}

/// A connection that is being made.
pub(crate) struct Dialing {
    pub(crate) peer: Peer,
    pub(crate) address: Address,
    pub(crate) facts: Arc<Facts>,
    state: State,
}

enum State {
    /// The system tells by the socket's readiness when it is connected, or cannot be.
    Waiting(Watched<OwnedFd>),
    /// Another try at this time.
    Retry(Instant),
}

/// What has come of a step.
pub(crate) enum Step {
    Done(Dialed),
    Failed(Error),
    Pending(Box<Dialing>),
}

impl Dialing {
    /// Begins to connect.
    pub(crate) fn begin(
        config: &Config,
        poller: &Arc<Poller>,
        conn: ConnId,
        (peer, address, facts): (Peer, Address, Arc<Facts>),
    ) -> Step {
        match begin(&peer) {
            Ok(Begun::Connected(fd)) => finish(config, &peer, (address, facts), fd),
            Ok(Begun::InProgress(fd)) => {
                let key = usize::try_from(conn.0).unwrap_or(usize::MAX - 1);
                let socket = Watched::new(poller, fd, key);
                match socket.watch(Interest::WRITE) {
                    Ok(()) => Step::Pending(Box::new(Dialing {
                        peer,
                        address,
                        facts,
                        state: State::Waiting(socket),
                    })),
                    Err(error) => failed(&error),
                }
            }
            Ok(Begun::Full) => {
                let state = State::Retry(Instant::now() + BACKLOG_PAUSE);
                Step::Pending(Box::new(Dialing { peer, address, facts, state }))
            }
            Err(error) => failed(&error),
        }
    }

    /// When to go on without the reactor's telling.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        match self.state {
            State::Waiting(_) => None,
            State::Retry(at) => Some(at),
        }
    }

    /// Goes on: the socket is ready, or the time has come.
    pub(crate) fn go_on(self, config: &Config, poller: &Arc<Poller>, conn: ConnId) -> Step {
        let Dialing { peer, address, facts, state } = self;
        match state {
            State::Retry(_) => Dialing::begin(config, poller, conn, (peer, address, facts)),
            State::Waiting(socket) => match sockopt::socket_error(&*socket) {
                Ok(Ok(())) if !getpeername(&*socket).is_ok_and(|peer| peer.is_some()) => {
                    // It was woken for nothing.
                    Step::Pending(Box::new(Dialing { peer, address, facts, state: State::Waiting(socket) }))
                }
                Ok(Ok(())) => match socket.into_source() {
                    Some(fd) => finish(config, &peer, (address, facts), fd),
                    None => failed(&Errno::BADF.into()),
                },
                Ok(Err(error)) | Err(error) => failed(&error.into()),
            },
        }
    }
}

enum Begun {
    Connected(OwnedFd),
    InProgress(OwnedFd),
    Full,
}

fn begin(peer: &Peer) -> io::Result<Begun> {
    let family = match peer {
        Peer::Tcp(SocketAddr::V4(_)) => AddressFamily::INET,
        Peer::Tcp(SocketAddr::V6(_)) => AddressFamily::INET6,
        Peer::Unix(_) => AddressFamily::UNIX,
    };
    let fd = open(family)?;
    rustix::io::ioctl_fionbio(&fd, true)?;
    let result = match peer {
        Peer::Tcp(address) => connect(&fd, address),
        Peer::Unix(path) => connect(&fd, &unix_address(path)?),
    };
    match result {
        Ok(()) => Ok(Begun::Connected(fd)),
        Err(Errno::AGAIN) if matches!(peer, Peer::Unix(_)) => Ok(Begun::Full),
        // Interrupted, it goes on all the same.
        Err(Errno::INPROGRESS | Errno::INTR) => Ok(Begun::InProgress(fd)),
        Err(error) => Err(error.into()),
    }
}

/// A socket that a program started meanwhile does not inherit.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn open(family: AddressFamily) -> rustix::io::Result<OwnedFd> {
    use rustix::net::{SocketFlags, socket_with};
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// The same where that takes two steps.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn open(family: AddressFamily) -> rustix::io::Result<OwnedFd> {
    let fd = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

fn unix_address(path: &Path) -> io::Result<SocketAddrUnix> {
    // The words of std for a path that is too long.
    std::os::unix::net::SocketAddr::from_pathname(path)?;
    Ok(SocketAddrUnix::new(path)?)
}

/// Makes a connected socket what calls need.
fn finish(config: &Config, peer: &Peer, (address, facts): (Address, Arc<Facts>), socket: OwnedFd) -> Step {
    if let Peer::Tcp(_) = peer
        && let Err(error) = prepare(config, &socket)
    {
        return failed(&error);
    }
    let tls = match (&config.tls, &address) {
        (Some(tls), Address::Tcp { host, .. }) => match begin_tls(tls, host) {
            Ok(connection) => Some(connection),
            Err(error) => return Step::Failed(error),
        },
        _ => None,
    };
    Step::Done(Dialed { socket, tls, address, facts })
}

fn prepare(config: &Config, socket: &OwnedFd) -> io::Result<()> {
    // TCP lets a socket connect to itself, when nobody listens on the port that it happened to get for its own end.
    if getpeername(socket)?.is_some_and(|peer| getsockname(socket).is_ok_and(|own| own == peer)) {
        return Err(Errno::CONNREFUSED.into());
    }
    sockopt::set_tcp_nodelay(socket, true)?;
    match config.keepalive {
        Some(idle) => set_keepalive(socket, idle),
        None => Ok(()),
    }
}

fn begin_tls(tls: &Tls, host: &str) -> Result<Box<ClientConnection>> {
    let connection = ClientConnection::new(tls.config()?, tls.server_name(host)?);
    let connection = connection
        .map_err(|error| Error::new(Status::Tls, format!("TLS cannot be set up for {host}: {error}")))?;
    Ok(Box::new(connection))
}

/// Probes once nothing has come for `idle`, and gives up after as long again without an answer; and where the
/// system can, as long after it has sent what is never acknowledged, of which keep-alive takes no notice.
fn set_keepalive(socket: impl AsFd, idle: Duration) -> io::Result<()> {
    sockopt::set_socket_keepalive(&socket, true)?;
    // OpenBSD has these for the whole system only.
    #[cfg(not(target_os = "openbsd"))]
    {
        const PROBES: u32 = 3;
        sockopt::set_tcp_keepidle(&socket, idle)?;
        sockopt::set_tcp_keepintvl(&socket, (idle / PROBES).max(Duration::from_secs(1)))?;
        sockopt::set_tcp_keepcnt(&socket, PROBES)?;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // It also ends a connection whose peer's system answers and takes nothing, so it must not be short: a
        // script may run long.
        let unacknowledged = u32::try_from(2 * idle.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(&socket, unacknowledged)?;
    }
    Ok(())
}

fn failed(error: &io::Error) -> Step {
    Step::Failed(Error::new(Status::Connect, reason(error)))
}

#[cfg(test)]
mod tests;
