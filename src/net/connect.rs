//! From an address to a connected socket: name look-up, TCP or Unix connect and TLS handshake, under one deadline.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::pin::pin;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use rustls::ClientConnection;
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Handle};
use tokio::time::{sleep, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::lookup::{Ended, look_up};
use super::tls::{self, Tls};
use super::{Socket, TICK, reason};
use crate::config::Config;
use crate::error::{Error, Reason, Result, Status};
use crate::net::address::Address;
use crate::threads;

/// A connection that is ready for the first bytes of the protocol; tokio has no part in it any more.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) socket: Socket,
    pub(crate) tls: Option<Box<ClientConnection>>,
}

/// Connects to `address` within `deadline` and the connect timeout of `config`, unless the client is closed before.
pub(crate) fn connect(config: &Config, address: &Address, deadline: Instant) -> Result<Established> {
    match Handle::try_current() {
        Err(error) if !error.is_thread_local_destroyed() => return connect_here(config, address, deadline),
        _ => {}
    }
    // On a thread of somebody's tokio runtime a second one may not run; on a thread at its end, which runs the
    // destructors of its keys, none.
    thread::scope(|scope| {
        threads::spawn_scoped(scope, "rs_script-conn", || connect_here(config, address, deadline))
            .map_err(|error| cannot_connect(address, no_thread(&error)))?
            .join()
            .unwrap_or_else(|_| Err(Error::new(Status::Internal, "the thread that connects panicked")))
    })
}

fn connect_here(config: &Config, address: &Address, deadline: Instant) -> Result<Established> {
    let start = Instant::now();
    if deadline <= start {
        return Err(Error::new(
            Status::Timeout,
            format!("the deadline passed before connecting to {address}"),
        ));
    }
    let deadline = deadline.min(start + config.connect_timeout);
    let too_late = |step: Step| {
        let waited = Duration::from_millis(u64::try_from((deadline - start).as_millis()).unwrap_or(u64::MAX));
        let why = format!("cannot connect to {address}: {} within {waited:?}", step.unfinished());
        Err(Error::because(Status::Connect, Reason::Deadline, why))
    };
    let is_over = || config.closing.is_set();
    let found = match address {
        Address::Unix(_) => Vec::new(),
        Address::Tcp { host, port } => match look_up(host, *port, deadline, is_over) {
            Ok(Ended::Found(found)) => found.map_err(|error| cannot_find(host, &error))?,
            Ok(Ended::Abandoned) if is_over() => return Err(Error::closed()),
            Ok(Ended::Abandoned) => return too_late(Step::LookUp),
            Err(error) => return Err(cannot_connect(address, no_thread(&error))),
        },
    };
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| cannot_connect(address, reason(&error)))?;
    let step = Cell::new(Step::Connect);
    runtime.block_on(async {
        let mut establishing = pin!(establish(config, address, &found, deadline, &step));
        loop {
            let tick = deadline.min(Instant::now() + TICK);
            match timeout_at(tick.into(), &mut establishing).await {
                Ok(result) => return result,
                Err(_) if is_over() => return Err(Error::closed()),
                Err(_) if Instant::now() >= deadline => return too_late(step.get()),
                Err(_) => {}
            }
        }
    })
}

/// What is being waited for, to be told when time runs out.
#[derive(Clone, Copy)]
enum Step {
    LookUp,
    Connect,
    Handshake,
}

impl Step {
    fn unfinished(self) -> &'static str {
        match self {
            Step::LookUp => "the look-up of the host name did not end",
            Step::Connect => "no answer",
            Step::Handshake => "no end of the TLS handshake (does the server speak TLS on this port?)",
        }
    }
}

async fn establish(
    config: &Config,
    address: &Address,
    found: &[SocketAddr],
    deadline: Instant,
    step: &Cell<Step>,
) -> Result<Established> {
    let failed = |error: io::Error| cannot_connect(address, reason(&error));
    match address {
        Address::Unix(path) => {
            let stream = connect_unix(path).await.map_err(failed)?;
            let fd = OwnedFd::from(stream.into_std().map_err(failed)?);
            Ok(Established { socket: Socket::new(fd).map_err(failed)?, tls: None })
        }
        Address::Tcp { host, .. } => {
            let stream = connect_tcp(found, address, deadline).await?;
            stream.set_nodelay(true).map_err(failed)?;
            if let Some(idle) = config.keepalive {
                set_keepalive(&stream, idle).map_err(failed)?;
            }
            let (stream, session) = match &config.tls {
                None => (stream, None),
                Some(tls) => {
                    step.set(Step::Handshake);
                    let (stream, session) = handshake(tls, host, address, stream).await?;
                    (stream, Some(Box::new(session)))
                }
            };
            let fd = OwnedFd::from(stream.into_std().map_err(failed)?);
            Ok(Established { socket: Socket::new(fd).map_err(failed)?, tls: session })
        }
    }
}

async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            // Linux says so while the server's backlog is full, and offers nothing to wait for.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(Duration::from_millis(2)).await,
            result => return result,
        }
    }
}

async fn connect_tcp(found: &[SocketAddr], address: &Address, deadline: Instant) -> Result<TcpStream> {
    let mut failures = Vec::new();
    for (index, candidate) in found.iter().enumerate() {
        // An address that never answers must leave time for the others.
        let remaining = deadline.saturating_duration_since(Instant::now());
        let attempt = match u32::try_from(found.len() - index).unwrap_or(u32::MAX) {
            1 => connect_to(*candidate).await,
            left => timeout(remaining / left, connect_to(*candidate))
                .await
                .unwrap_or_else(|_| Err(io::Error::other("no answer"))),
        };
        match attempt {
            Ok(stream) => return Ok(stream),
            Err(error) if found.len() == 1 => failures.push(reason(&error)),
            Err(error) => failures.push(format!("{} {}", candidate.ip(), reason(&error))),
        }
    }
    if failures.is_empty() {
        failures.push("the host name has no address".into());
    }
    Err(cannot_connect(address, failures.join(", ")))
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // TCP lets a socket connect to itself, when nobody listens on the port that it happened to get for its own end.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::Error::from_raw_os_error(rustix::io::Errno::CONNREFUSED.raw_os_error()));
    }
    Ok(stream)
}

/// Probes once nothing has come for `idle`, and gives up after as long again without an answer; and where the
/// system can, as long after it has sent what is never acknowledged, of which keep-alive takes no notice.
fn set_keepalive(stream: impl AsFd, idle: Duration) -> io::Result<()> {
    sockopt::set_socket_keepalive(&stream, true)?;
    // OpenBSD has these for the whole system only.
    #[cfg(not(target_os = "openbsd"))]
    {
        const PROBES: u32 = 3;
        sockopt::set_tcp_keepidle(&stream, idle)?;
        sockopt::set_tcp_keepintvl(&stream, (idle / PROBES).max(Duration::from_secs(1)))?;
        sockopt::set_tcp_keepcnt(&stream, PROBES)?;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // It also ends a connection whose peer's system answers and takes nothing, so it must not be short: a
        // script may run long.
        let unacknowledged = u32::try_from(2 * idle.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(&stream, unacknowledged)?;
    }
    Ok(())
}

async fn handshake(
    tls: &Tls,
    host: &str,
    address: &Address,
    stream: TcpStream,
) -> Result<(TcpStream, ClientConnection)> {
    let name = tls.server_name(host)?;
    match TlsConnector::from(tls.config.clone()).connect(name, stream).await {
        Ok(stream) => Ok(stream.into_inner()),
        Err(error) => Err(match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(cause) => tls::failure(address, Reason::Connect, cause),
            None => Error::new(
                Status::Tls,
                format!("TLS with {address} failed: {}; {}", reason(&error), tls::NOT_TLS),
            ),
        }),
    }
}

fn cannot_find(host: &str, error: &io::Error) -> Error {
    let reason = reason(error);
    let reason = reason.strip_prefix("failed to lookup address information: ").unwrap_or(&reason);
    Error::new(Status::Connect, format!("cannot find host {host}: {reason}"))
}

fn no_thread(error: &io::Error) -> String {
    format!("no thread could be started for it: {}", reason(error))
}

fn cannot_connect(address: &Address, why: impl std::fmt::Display) -> Error {
    Error::new(Status::Connect, format!("cannot connect to {address}: {why}"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
    use std::os::unix::net::UnixListener;

    use rustix::net::{AddressFamily, SocketType};

    use super::super::testing::{Authority, Server, TempDir};
    use super::*;
    use crate::config::Options;

    const SOON: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(200);

    fn open(url: &str, options: &Options) -> Result<Established> {
        let config = Config::new(url, options)?;
        connect(&config, &config.servers.addresses()[0], Instant::now() + SOON)
    }

    #[track_caller]
    fn fails(result: Result<Established>, status: Status, words: &[&str]) {
        let error = result.expect_err("connected");
        assert_eq!(error.status(), status, "{error}");
        assert!(error.is_not_executed());
        for word in words {
            assert!(error.message().contains(word), "`{word}` is missing: {error}");
        }
        assert!(!error.message().contains("os error"), "{error}");
    }

    fn timeout(timeout: Duration) -> Options {
        let mut options = Options::default();
        options.connect_timeout(timeout).unwrap();
        options
    }

    fn trusting(authority: &Authority) -> Options {
        let mut options = timeout(SOON);
        options.tls_ca_file(authority.file());
        options
    }

    struct Io<'a>(&'a Socket);

    impl Read for Io<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            assert!(!self.0.wait(true, false, Instant::now() + SOON)?.is_timeout(), "nothing to read");
            self.0.recv(buffer)
        }
    }

    impl Write for Io<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Sends PING and returns the first line that comes back.
    fn ping(connection: Established) -> io::Result<String> {
        let mut socket = Io(&connection.socket);
        let mut line = String::new();
        let mut talk = |stream: &mut dyn ReadWrite| {
            stream.write_all(b"PING\r\n")?;
            io::BufRead::read_line(&mut io::BufReader::new(stream), &mut line)
        };
        match connection.tls {
            None => talk(&mut socket)?,
            Some(mut session) => talk(&mut rustls::Stream::new(&mut *session, &mut socket))?,
        };
        Ok(line)
    }

    trait ReadWrite: Read + Write {}
    impl<T: Read + Write> ReadWrite for T {}

    #[test]
    fn tcp_with_its_socket_options() {
        let server = Server::start(None);
        let connection = open(&format!("redis://127.0.0.1:{}", server.port), &timeout(SOON)).unwrap();
        let fd = connection.socket.as_fd();
        assert!(sockopt::tcp_nodelay(fd).unwrap());
        assert!(sockopt::socket_keepalive(fd).unwrap());
        assert_eq!(sockopt::tcp_keepidle(fd).unwrap(), Duration::from_secs(60));
        assert_eq!(sockopt::tcp_keepintvl(fd).unwrap(), Duration::from_secs(20));
        assert_eq!(sockopt::tcp_keepcnt(fd).unwrap(), 3);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        assert_eq!(sockopt::tcp_user_timeout(fd).unwrap(), 120_000);
        let error = connection.socket.recv(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "the socket blocks");
        assert_eq!(ping(connection).unwrap(), "+PONG\r\n");

        let mut options = timeout(SOON);
        options.keepalive(None).unwrap();
        let connection = open(&format!("redis://localhost:{}", server.port), &options).unwrap();
        assert!(!sockopt::socket_keepalive(connection.socket.as_fd()).unwrap());
        assert_eq!(ping(connection).unwrap(), "+PONG\r\n");
    }

    #[test]
    fn unix() {
        let server = Server::start(None);
        let connection = open(&format!("unix://{}", server.unix_path().display()), &timeout(SOON)).unwrap();
        assert_eq!(ping(connection).unwrap(), "+PONG\r\n");
    }

    #[test]
    fn from_within_a_tokio_runtime() {
        let server = Server::start(None);
        let url = format!("redis://127.0.0.1:{}", server.port);
        let runtime = Builder::new_current_thread().build().unwrap();
        let connection = runtime.block_on(async { open(&url, &timeout(SOON)) }).unwrap();
        drop(runtime);
        assert_eq!(ping(connection).unwrap(), "+PONG\r\n");
    }

    #[test]
    fn nobody_listens() {
        // Bound and not listening, so that no other test can get the port.
        let held = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&held, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = SocketAddr::try_from(rustix::net::getsockname(&held).unwrap()).unwrap().port();
        fails(
            open(&format!("redis://127.0.0.1:{port}"), &timeout(SOON)),
            Status::Connect,
            &[&format!("cannot connect to 127.0.0.1:{port}: Connection refused")],
        );
        let dir = TempDir::new();
        let path = dir.path().join("missing.sock");
        fails(
            open(&format!("unix://{}", path.display()), &timeout(SOON)),
            Status::Connect,
            &[&format!("cannot connect to {}: No such file or directory", path.display())],
        );
        fails(open(&format!("unix:///{}", "x".repeat(200)), &timeout(SOON)), Status::Connect, &["SUN_LEN"]);
    }

    #[test]
    fn unknown_host() {
        // No name server can know it (RFC 6761).
        fails(open("redis://nowhere.invalid", &timeout(SOON)), Status::Connect, &["nowhere.invalid"]);
    }

    /// A listener whose queue is full, so that the system leaves further connects without an answer.
    fn full_listener() -> (TcpListener, Vec<std::net::TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, SHORT) {
            queued.push(stream);
        }
        (listener, queued)
    }

    #[test]
    fn a_silent_address_ends_at_the_connect_timeout_or_the_deadline() {
        let (listener, _queued) = full_listener();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let start = Instant::now();
        fails(open(&url, &timeout(SHORT)), Status::Connect, &[&url[8..], "no answer within 200ms"]);
        assert!(start.elapsed() >= SHORT && start.elapsed() < SOON);

        let config = Config::new(&url, &timeout(SOON)).unwrap();
        let start = Instant::now();
        fails(
            connect(&config, &config.servers.addresses()[0], start + SHORT),
            Status::Connect,
            &["no answer within"],
        );
        assert!(start.elapsed() >= SHORT && start.elapsed() < SOON);
        fails(
            connect(&config, &config.servers.addresses()[0], start),
            Status::Timeout,
            &["deadline passed", &url[8..]],
        );
    }

    #[test]
    fn a_unix_listener_with_a_full_queue_is_waited_for() {
        let dir = TempDir::new();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let url = format!("unix://{}", path.display());
        let mut queued = Vec::new();
        while let Ok(connection) = open(&url, &timeout(SHORT)) {
            queued.push(connection);
        }
        fails(open(&url, &timeout(SHORT)), Status::Connect, &["no answer within 200ms"]);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| open(&url, &timeout(SOON)));
            listener.accept().unwrap();
            waiting.join().unwrap().unwrap();
        });
    }

    #[test]
    fn tls_with_an_authority_of_ones_own() {
        let authority = Authority::new();
        let server = Server::start(Some(&authority.server(&["127.0.0.1", "localhost"])));
        for host in ["127.0.0.1", "localhost"] {
            let connection =
                open(&format!("rediss://{host}:{}", server.tls_port), &trusting(&authority)).unwrap();
            assert_eq!(ping(connection).unwrap(), "+PONG\r\n");
        }
    }

    #[test]
    fn tls_for_another_name() {
        let authority = Authority::new();
        let server = Server::start(Some(&authority.server(&["redis.example"])));
        let mut options = trusting(&authority);
        for host in ["127.0.0.1", "localhost"] {
            fails(
                open(&format!("rediss://{host}:{}", server.tls_port), &options),
                Status::Tls,
                &[host, "redis.example", "tls_server_name"],
            );
        }
        options.tls_server_name("redis.example").unwrap();
        let connection = open(&format!("rediss://127.0.0.1:{}", server.tls_port), &options).unwrap();
        assert_eq!(ping(connection).unwrap(), "+PONG\r\n");
    }

    #[test]
    fn tls_not_to_be_trusted() {
        let authority = Authority::new();
        let server = Server::start(Some(&authority.expired_server(&["127.0.0.1"])));
        let url = format!("rediss://127.0.0.1:{}", server.tls_port);
        fails(open(&url, &trusting(&authority)), Status::Tls, &["expired", "renew"]);

        let server = Server::start(Some(&authority.server(&["127.0.0.1"])));
        let url = format!("rediss://127.0.0.1:{}", server.tls_port);
        let stranger = Authority::new();
        fails(open(&url, &trusting(&stranger)), Status::Tls, &["UnknownIssuer", "tls_ca_file"]);
        let namesake = Authority::named(&authority.name);
        fails(open(&url, &trusting(&namesake)), Status::Tls, &["BadSignature", "tls_ca_file"]);
        let mut options = trusting(&stranger);
        options.tls_insecure_skip_verify(true);
        assert_eq!(ping(open(&url, &options).unwrap()).unwrap(), "+PONG\r\n");

        let server = Server::start(Some(&authority.itself()));
        let url = format!("rediss://127.0.0.1:{}", server.tls_port);
        fails(open(&url, &trusting(&authority)), Status::Tls, &["certificate of an authority"]);
    }

    #[test]
    fn tls_with_client_certificates() {
        let authority = Authority::new();
        let identity = authority.server(&["127.0.0.1"]);
        for versions in ["TLSv1.2", "TLSv1.3"] {
            let server = Server::start_with(
                Some(&identity),
                &["--tls-auth-clients", "yes", "--tls-protocols", versions],
            );
            let url = format!("rediss://127.0.0.1:{}", server.tls_port);
            let mut options = trusting(&authority);
            let without = open(&url, &options).and_then(|connection| {
                let address = Config::new(&url, &options)?.servers.addresses()[0].clone();
                ping(connection).map_err(|error| {
                    let error = error.get_ref().unwrap().downcast_ref().expect("no TLS error");
                    tls::failure(&address, Reason::Connect, error)
                })
            });
            let error = without.expect_err("no certificate needed");
            assert_eq!(error.status(), Status::Tls, "{error}");
            assert!(error.message().contains("tls_client_cert_file"), "{error}");

            let client = authority.client();
            options.tls_client_cert_file(&client.cert_file).tls_client_key_file(&client.key_file);
            assert_eq!(ping(open(&url, &options).unwrap()).unwrap(), "+PONG\r\n", "{versions}");
        }
    }

    #[test]
    fn tls_with_a_server_that_does_not_speak_it() {
        let authority = Authority::new();
        let mut options = trusting(&authority);

        // A real server takes the ClientHello for the start of a command and waits for the rest.
        let server = Server::start(None);
        options.connect_timeout(SHORT).unwrap();
        let url = format!("rediss://127.0.0.1:{}", server.port);
        fails(open(&url, &options), Status::Connect, &["TLS handshake", "speak TLS", "200ms"]);

        options.connect_timeout(SOON).unwrap();
        for answer in [&b"-ERR unknown command\r\n"[..], b""] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("rediss://{}", listener.local_addr().unwrap());
            thread::scope(|scope| {
                scope.spawn(|| {
                    let (mut peer, _) = listener.accept().unwrap();
                    peer.read_exact(&mut [0; 16]).unwrap();
                    peer.write_all(answer).unwrap();
                });
                fails(open(&url, &options), Status::Tls, &["speak TLS"]);
            });
        }
    }
}
