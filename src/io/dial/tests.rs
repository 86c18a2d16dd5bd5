//! Connections to real listeners, TCP and Unix, with and without TLS, made by hand: without an engine, as the reactor
//! sees them through.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::Weak;
use std::thread;

use rustix::net::SocketType;

use super::*;
use crate::config::Options;
use crate::core::{AttemptId, Ended};
use crate::error::Reason;
use crate::io::{Io, Link};

use crate::io::link::{News, Parts};
use crate::net::testing::{Authority, Server, TempDir};
use crate::request::{Request, Shape};
use crate::resp::Reply;

const SOON: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);

/// A connection by itself, and what waits for it.
struct Opened {
    link: Link,
    poller: Arc<Poller>,
}

fn peer_of(address: &Address) -> Peer {
    match address {
        Address::Unix(path) => Peer::Unix(path.clone()),
        Address::Tcp { host, port } => {
            let mut found =
                std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), *port)).expect("a host");
            Peer::Tcp(found.find(SocketAddr::is_ipv4).expect("an address"))
        }
    }
}

/// Connects, but for no longer than so.
fn dial(url: &str, options: &Options, patience: Duration) -> Result<Opened> {
    let config = Config::new(url, options)?;
    let address = config.servers.addresses()[0].clone();
    let poller = Arc::new(Poller::new().expect("descriptors"));
    let until = Instant::now() + patience;
    let target = (peer_of(&address), address, Arc::new(Facts::new(Arc::default(), 1, false)));
    let mut step = Dialing::begin(&config, &poller, ConnId(5), target);
    let dialed = loop {
        match step {
            Step::Done(dialed) => break dialed,
            Step::Failed(error) => return Err(error),
            Step::Pending(dialing) => {
                let now = Instant::now();
                let wake = dialing.retry_at().unwrap_or(until).min(until);
                let mut ready = Vec::new();
                poller.wait(&mut ready, Some(wake.saturating_duration_since(now))).expect("a wait");
                if Instant::now() >= until {
                    return Err(Error::because(Status::Connect, Reason::Deadline, "no answer"));
                }
                let goes_on = !ready.is_empty() || dialing.retry_at().is_some_and(|at| at <= Instant::now());
                step =
                    if goes_on { dialing.go_on(&config, &poller, ConnId(5)) } else { Step::Pending(dialing) };
            }
        }
    };
    let parts = Parts {
        config: &config,
        conn: ConnId(5),
        epoch: 0,
        address: &dialed.address,
        facts: Arc::clone(&dialed.facts),
        pool: Arc::default(),
        poller: &poller,
        owner: Weak::<Io>::new(),
    };
    let link = Link::new(parts, dialed.socket, dialed.tls, Instant::now()).expect("a socket");
    link.begin_to_watch();
    Ok(Opened { link, poller })
}

const ATTEMPT: AttemptId = AttemptId { place: 3, serial: 9 };

impl Opened {
    /// Sends PING as an attempt of the engine's and pumps until it is over.
    fn ping(&self) -> Ended {
        let mut request = Box::<Request>::default();
        request.reset(Shape::Single);
        request.say(&[b"PING"]);
        let now = Instant::now();
        assert!(self.link.send(ATTEMPT, request, now).is_ok());
        let mut news = Vec::new();
        self.link.push(&mut news);
        self.ended(&mut news)
    }

    fn ended(&self, news: &mut Vec<News>) -> Ended {
        let start = Instant::now();
        loop {
            if let Some(place) = news.iter().position(|news| matches!(news, News::Ended(ATTEMPT, _)))
                && let News::Ended(_, ended) = news.swap_remove(place)
            {
                return ended;
            }
            assert!(start.elapsed() < SOON, "it does not end");
            let mut ready = Vec::new();
            self.poller.wait(&mut ready, Some(SOON)).expect("a wait");
            assert_eq!(ready, [5]);
            self.link.pump(Instant::now(), news);
        }
    }

    fn pong(&self) {
        let reply = self.ping().result.map(Reply::new).expect("an answer");
        assert_eq!(reply.as_str(), Some("PONG"));
    }
}

#[track_caller]
fn fails(error: &Error, status: Status, words: &[&str]) {
    assert_eq!(error.status(), status, "{error}");
    assert!(error.is_not_executed(), "{error}");
    for word in words {
        assert!(error.message().contains(word), "`{word}` is missing: {error}");
    }
    assert!(!error.message().contains("os error"), "{error}");
}

#[track_caller]
fn refused(result: Result<Opened>, words: &[&str]) {
    fails(&result.err().expect("connected"), Status::Connect, words);
}

fn options() -> Options {
    let mut options = Options::default();
    options.connect_timeout(SOON).expect("an option");
    options
}

fn trusting(authority: &Authority) -> Options {
    let mut options = options();
    options.tls_ca_file(authority.file());
    options
}

#[test]
fn tcp_with_its_socket_options() {
    let server = Server::start(None);
    let url = format!("redis://127.0.0.1:{}", server.port);
    let opened = dial(&url, &options(), SOON).expect("connected");
    let fd = opened.link.as_fd();
    assert!(sockopt::tcp_nodelay(fd).expect("an option"));
    assert!(sockopt::socket_keepalive(fd).expect("an option"));
    assert_eq!(sockopt::tcp_keepidle(fd).expect("an option"), Duration::from_secs(60));
    assert_eq!(sockopt::tcp_keepintvl(fd).expect("an option"), Duration::from_secs(20));
    assert_eq!(sockopt::tcp_keepcnt(fd).expect("an option"), 3);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    assert_eq!(sockopt::tcp_user_timeout(fd).expect("an option"), 120_000);
    let flags = rustix::io::fcntl_getfd(fd).expect("flags");
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    opened.pong();

    let mut options = options();
    options.keepalive(None).expect("an option");
    let opened = dial(&url, &options, SOON).expect("connected");
    assert!(!sockopt::socket_keepalive(opened.link.as_fd()).expect("an option"));
    opened.pong();
}

#[test]
fn unix() {
    let server = Server::start(None);
    let url = format!("unix://{}", server.unix_path().display());
    dial(&url, &options(), SOON).expect("connected").pong();
}

#[test]
fn nobody_listens() {
    // Bound and not listening, so that no other test can get the port.
    let held = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    rustix::net::bind(&held, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = SocketAddr::try_from(getsockname(&held).expect("a name")).expect("an address").port();
    refused(dial(&format!("redis://127.0.0.1:{port}"), &options(), SOON), &["Connection refused"]);
    let missing = TempDir::new().path().join("missing.sock");
    refused(dial(&format!("unix://{}", missing.display()), &options(), SOON), &["No such file or directory"]);
    refused(dial(&format!("unix:///{}", "x".repeat(200)), &options(), SOON), &["SUN_LEN"]);
}

#[test]
fn a_silent_address_is_waited_for_without_a_step() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    rustix::net::listen(&listener, 0).expect("a listener");
    let address = listener.local_addr().expect("bound");
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, SHORT) {
        queued.push(stream);
    }
    refused(dial(&format!("redis://{address}"), &options(), SHORT), &["no answer"]);
}

#[test]
fn a_unix_listener_with_a_full_queue_is_waited_for() {
    let dir = TempDir::new();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).expect("a path");
    rustix::net::listen(&listener, 0).expect("a listener");
    let url = format!("unix://{}", path.display());
    let mut queued = Vec::new();
    while let Ok(opened) = dial(&url, &options(), SHORT) {
        queued.push(opened);
    }
    thread::scope(|scope| {
        let waiting = scope.spawn(|| dial(&url, &options(), SOON).map(drop));
        listener.accept().expect("a connection");
        waiting.join().expect("no panic").expect("connected");
    });
}

#[test]
fn tls_is_agreed_on_with_the_first_call() {
    let authority = Authority::new();
    let server = Server::start(Some(&authority.server(&["127.0.0.1", "localhost"])));
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("rediss://{host}:{}", server.tls_port);
        let opened = dial(&url, &trusting(&authority), SOON).expect("connected");
        assert!(opened.link.health().in_tls_handshake && opened.link.health().is_mute);
        opened.pong();
        assert!(!opened.link.health().in_tls_handshake && !opened.link.health().is_mute);
    }
}

/// Nothing of a call has left where the two sides do not agree.
#[track_caller]
fn no_tls(url: &str, options: &Options, words: &[&str]) {
    let ended = dial(url, options, SOON).expect("connected").ping();
    fails(&ended.result.expect_err("no TLS"), Status::Tls, words);
}

#[test]
fn tls_for_another_name() {
    let authority = Authority::new();
    let server = Server::start(Some(&authority.server(&["redis.example"])));
    let mut options = trusting(&authority);
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("rediss://{host}:{}", server.tls_port);
        no_tls(&url, &options, &[host, "redis.example", "tls_server_name"]);
    }
    options.tls_server_name("redis.example").expect("a name");
    dial(&format!("rediss://127.0.0.1:{}", server.tls_port), &options, SOON).expect("connected").pong();
}

#[test]
fn tls_not_to_be_trusted() {
    let authority = Authority::new();
    let server = Server::start(Some(&authority.expired_server(&["127.0.0.1"])));
    let url = format!("rediss://127.0.0.1:{}", server.tls_port);
    no_tls(&url, &trusting(&authority), &["expired", "renew"]);

    let server = Server::start(Some(&authority.server(&["127.0.0.1"])));
    let url = format!("rediss://127.0.0.1:{}", server.tls_port);
    let stranger = Authority::new();
    no_tls(&url, &trusting(&stranger), &["UnknownIssuer", "tls_ca_file"]);
    let namesake = Authority::named(&authority.name);
    no_tls(&url, &trusting(&namesake), &["BadSignature", "tls_ca_file"]);
    let mut options = trusting(&stranger);
    options.tls_insecure_skip_verify(true);
    dial(&url, &options, SOON).expect("connected").pong();

    let server = Server::start(Some(&authority.itself()));
    let url = format!("rediss://127.0.0.1:{}", server.tls_port);
    no_tls(&url, &trusting(&authority), &["certificate of an authority"]);
}

#[test]
fn tls_with_client_certificates() {
    let authority = Authority::new();
    let identity = authority.server(&["127.0.0.1"]);
    for versions in ["TLSv1.2", "TLSv1.3"] {
        let server =
            Server::start_with(Some(&identity), &["--tls-auth-clients", "yes", "--tls-protocols", versions]);
        let url = format!("rediss://127.0.0.1:{}", server.tls_port);
        let mut options = trusting(&authority);
        let error = dial(&url, &options, SOON).expect("connected").ping().result.expect_err("refused");
        assert!(error.message().contains("tls_client_cert_file"), "{versions}: {error}");

        let client = authority.client();
        options.tls_client_cert_file(&client.cert_file).tls_client_key_file(&client.key_file);
        dial(&url, &options, SOON).expect("connected").pong();
    }
}

#[test]
fn tls_with_a_server_that_does_not_speak_it() {
    let authority = Authority::new();
    for answer in [&b"-ERR unknown command\r\n"[..], b""] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("rediss://{}", listener.local_addr().expect("bound"));
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut peer, _) = listener.accept().expect("a connection");
                peer.read_exact(&mut [0; 16]).expect("a greeting");
                peer.write_all(answer).expect("room");
            });
            no_tls(&url, &trusting(&authority), &["speak TLS"]);
        });
    }
}
