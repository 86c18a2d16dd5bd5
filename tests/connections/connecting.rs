//! Connections: how they are made, what they say first, and how they are made again.

use crate::support;

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rs_script::{Client, Error, LogLevel, Options, Protocol, Reason, Script, Status};
use support::calls::{LONG, options};
use support::cluster::Cluster;
use support::fake::Fake;
use support::proxy::{Proxy, Way};
use support::raw::{Raw, calls_of};
use support::server::{Server, all_versions};
use support::tls::{Certs, Identity};
use support::{SLACK, wait_until};

const NONE: &[&[u8]] = &[];

fn open(url: &str) -> Client {
    Client::open(url, &options(LONG)).unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn refused(url: &str, options: &Options) -> Error {
    let error = Client::open(url, options).expect_err(url);
    assert!(error.is_not_executed(), "{error}");
    error
}

fn works(client: &Client) {
    let script = Script::new("return ARGV[1] + ARGV[2]");
    assert_eq!(client.call(&script, NONE, &["3", "7"]).unwrap().as_i64(), Some(10));
}

#[test]
fn tcp_unix_sockets_names_and_ipv6_all_lead_to_the_server() {
    let server = Server::builder().ipv6().start();
    let port = server.port();
    for url in [
        format!("redis://127.0.0.1:{port}"),
        format!("valkey://127.0.0.1:{port}/"),
        format!("redis://localhost:{port}"),
        format!("redis://[::1]:{port}/0"),
        server.unix_url(),
    ] {
        works(&open(&url));
    }
}

#[test]
fn tls_trusts_the_given_authority_and_no_other() {
    let certs = Certs::generate();
    let server = Server::builder().tls(&certs, Identity::Valid).password("s3cret").start();
    let ca = server.dir().join("ca.crt");
    let client = Client::open(&server.url(), Options::default().tls_ca_file(&ca)).unwrap();
    works(&client);
    let large = vec![b'x'; 4 << 20];
    let echo = Script::new("return ARGV[1]");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let reply = client.call(&echo, NONE, &[&large]).unwrap();
                assert!(reply.as_bytes() == Some(&large[..]));
            });
        }
    });

    assert_eq!(refused(&server.url(), &Options::default()).status(), Status::Tls);
    let stranger = server.dir().join("stranger.crt");
    std::fs::write(&stranger, Certs::generate().ca).unwrap();
    let error = refused(&server.url(), Options::default().tls_ca_file(stranger));
    assert_eq!(error.status(), Status::Tls, "{error}");
    works(&Client::open(&server.url(), Options::default().tls_insecure_skip_verify(true)).unwrap());

    let plain = server.url().replace("rediss:", "redis:");
    refused(&plain, Options::default().connect_timeout(Duration::from_secs(2)).unwrap());
}

#[test]
fn tls_names_and_dates_are_checked() {
    let certs = Certs::generate();
    for (identity, word) in [(Identity::WrongHost, "name"), (Identity::Expired, "expired")] {
        let server = Server::builder().tls(&certs, identity).start();
        let ca = server.dir().join("ca.crt");
        let error = refused(&server.url(), Options::default().tls_ca_file(&ca));
        assert_eq!(error.status(), Status::Tls, "{error}");
        assert!(error.message().contains(word), "{error}");
        works(&Client::open(&server.url(), Options::default().tls_insecure_skip_verify(true)).unwrap());
        if identity == Identity::WrongHost {
            let mut options = Options::default();
            options.tls_ca_file(&ca).tls_server_name("elsewhere.example").unwrap();
            works(&Client::open(&server.url(), &options).unwrap());
        }
    }
}

#[test]
fn a_server_that_wants_a_client_certificate_gets_it() {
    let certs = Certs::generate();
    let server = Server::builder().tls(&certs, Identity::Valid).client_certs_required().start();
    let file = |name: &str| server.dir().join(name);
    let mut options = Options::default().tls_ca_file(file("ca.crt")).clone();
    let error = refused(&server.url(), &options);
    assert!(matches!(error.status(), Status::Tls | Status::Connect), "{error}");
    options.tls_client_cert_file(file("client.crt")).tls_client_key_file(file("client.key"));
    works(&Client::open(&server.url(), &options).unwrap());
}

#[test]
fn passwords_and_users_are_accepted_in_url_and_options() {
    let server = Server::builder().password("s3c/ret").start();
    let mut admin = Raw::connect(&server);
    admin.ok(&["ACL", "SETUSER", "ann", "on", ">pass@word", "~*", "+@all"]);
    admin.ok(&["ACL", "SETUSER", "free", "on", "nopass", "~*", "+@all"]);
    let host = format!("127.0.0.1:{}", server.port());
    let bare = format!("redis://{host}");
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let options = || {
            let mut options = Options::default();
            options.protocol(protocol);
            options
        };
        let who = |url: &str, options: &Options| {
            let client = Client::open(url, options).unwrap_or_else(|error| panic!("{url}: {error}"));
            client.command(&["ACL", "WHOAMI"]).unwrap().as_str().unwrap().to_owned()
        };
        assert_eq!(who(&format!("redis://:s3c%2Fret@{host}"), &options()), "default");
        assert_eq!(who(&format!("redis://ann:pass%40word@{host}"), &options()), "ann");
        assert_eq!(who(&format!("redis://free:@{host}"), &options()), "free");
        assert_eq!(who(&bare, options().password("s3c/ret")), "default");
        assert_eq!(who(&bare, options().username("ann").unwrap().password("pass@word")), "ann");
        assert_eq!(who(&format!("redis://ann:wrong@{host}"), options().password("pass@word")), "ann");

        for (url, secret) in [
            (format!("redis://:wr0ng@{host}"), "wr0ng"),
            (format!("redis://ann:s3c%2Fret@{host}"), "s3c/ret"),
            (format!("redis://nobody:s3c%2Fret@{host}"), "s3c/ret"),
            (bare.clone(), "s3c"),
        ] {
            let logged = Arc::new(Mutex::new(String::new()));
            let log = logged.clone();
            let mut options = options();
            options.log(move |event| log.lock().unwrap().push_str(event.message));
            let error = refused(&url, &options);
            assert_eq!(error.status(), Status::Auth, "{url}: {error}");
            let told = format!("{error} {error:?} {options:?} {}", logged.lock().unwrap());
            assert!(!told.contains(secret), "{told}");
        }
    }
}

#[test]
fn the_database_is_the_one_of_the_url_on_every_connection() {
    let server = Server::start();
    for url in [format!("{}/7", server.url()), format!("{}?db=7", server.unix_url())] {
        let client = open(&url);
        client.command(&["SET", "k", "seven"]).unwrap();
        Raw::connect(&server).ok(&["CLIENT", "KILL", "TYPE", "normal"]);
        let read = Script::idempotent("return redis.call('GET', KEYS[1])");
        assert_eq!(client.call(&read, &["k"], NONE).unwrap().as_str(), Some("seven"));
        assert_eq!(client.stats().reconnects, 1);
    }
    assert!(open(&server.url()).command(&["GET", "k"]).unwrap().root().is_nil());
    let error = refused(&format!("{}/16", server.url()), &Options::default());
    assert_eq!(error.status(), Status::Auth, "{error}");
    assert!(error.message().contains("database"), "{error}");
}

#[test]
fn the_client_is_known_by_its_name() {
    let server = Server::start();
    let client = Client::open(&server.url(), Options::default().client_name("billing-7").unwrap()).unwrap();
    works(&client);
    let list = Raw::connect(&server).ok(&["CLIENT", "LIST"]).text();
    assert_eq!(list.matches(" name=billing-7 ").count(), 1, "{list}");
    assert_eq!(client.command(&["CLIENT", "GETNAME"]).unwrap().as_str(), Some("billing-7"));
}

#[test]
fn the_handshake_is_one_write() {
    let server = Server::builder().password("p").start();
    let proxy = Proxy::start(("127.0.0.1", server.port()));
    let url = format!("redis://:p@{}/3", proxy.address());
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let before = proxy.reads(Way::Requests);
        let mut options = Options::default();
        options.protocol(protocol).client_name("x").unwrap();
        let client = Client::open(&url, &options).unwrap();
        assert_eq!(proxy.reads(Way::Requests) - before, 1);
        assert_eq!(client.stats().round_trips, 1);
        works(&client);
    }
}

/// A server that knows no HELLO, and wants a password if one is given.
fn old_server(refusal: &'static str, password: Option<&'static str>) -> Fake {
    Fake::start(move |conn| {
        let mut welcome = password.is_none();
        while let Some(command) = conn.read_command() {
            match command[0].as_slice() {
                b"HELLO" => conn.write(format!("-{refusal}\r\n").as_bytes()),
                b"AUTH"
                    if command.len() == 2 && password.is_some_and(|word| command[1] == word.as_bytes()) =>
                {
                    welcome = true;
                    conn.write(b"+OK\r\n");
                }
                _ if !welcome => conn.write(b"-NOAUTH Authentication required.\r\n"),
                b"CLIENT" => conn.write(b"-ERR unknown subcommand\r\n"),
                b"SELECT" => conn.write(b"+OK\r\n"),
                b"GET" => conn.write(b"$1\r\nv\r\n"),
                b"MULTI" => conn.write(b"+OK\r\n"),
                b"EXEC" => conn.write(b"*0\r\n"),
                other => panic!("{}", other.escape_ascii()),
            }
        }
    })
}

#[test]
fn a_server_that_knows_no_hello_is_spoken_to_in_resp2() {
    for refusal in [
        "ERR unknown command 'HELLO'",
        "ERR unknown command `HELLO`, with args beginning with: `3`, ",
        "NOPROTO unsupported protocol version",
        "noproto sorry",
        "err Unknown Command hello",
        "ERR 'HELLO' is not supported by this proxy",
        "NOPERM this user has no permissions to run the 'hello' command",
        "E",
    ] {
        let fake = old_server(refusal, None);
        let client = open(&fake.url());
        assert_eq!(client.command(&["GET", "k"]).unwrap().as_str(), Some("v"));
        let error = refused(&fake.url(), Options::default().protocol(Protocol::Resp3));
        assert_eq!(error.status(), Status::NotSupported, "{error}");

        let fake = old_server(refusal, Some("word"));
        let client = open(&format!("redis://:word@{}/2", fake.address()));
        assert_eq!(client.command(&["GET", "k"]).unwrap().as_str(), Some("v"));
        assert_eq!(fake.connections(), 1);
    }
}

#[test]
fn a_server_that_takes_no_password_from_hello_gets_it_by_auth() {
    let fake = old_server("NOAUTH Authentication required.", Some("word"));
    let client = open(&format!("redis://:word@{}", fake.address()));
    assert_eq!(client.command(&["GET", "k"]).unwrap().as_str(), Some("v"));
    assert_eq!(refused(&fake.url(), &Options::default()).status(), Status::Auth, "none was given");
}

#[test]
fn a_login_that_hello_refuses_is_not_tried_again_by_auth() {
    for refusal in ["WRONGPASS invalid", "wrongpass Invalid", "ERR invalid password", "err INVALID PASSWORD"]
    {
        let auths = Arc::new(AtomicUsize::new(0));
        let fake = Fake::start({
            let auths = auths.clone();
            move |conn| {
                while let Some(command) = conn.read_command() {
                    auths.fetch_add(usize::from(command[0] == b"AUTH"), Ordering::SeqCst);
                    conn.write(format!("-{refusal}\r\n").as_bytes());
                }
            }
        });
        let error = refused(&format!("redis://:word@{}", fake.address()), &Options::default());
        assert_eq!(error.status(), Status::Auth, "{error}");
        assert_eq!((auths.load(Ordering::SeqCst), fake.connections()), (0, 1), "{refusal}");
    }
}

#[test]
fn a_server_that_closes_on_hello_is_tried_once_more_without_it() {
    let closing = |conn: &mut support::fake::Conn| {
        while let Some(command) = conn.read_command() {
            match command[0].as_slice() {
                b"HELLO" => return,
                b"EXEC" => conn.write(b"*0\r\n"),
                b"GET" => conn.write(b"$1\r\nv\r\n"),
                _ => conn.write(b"+OK\r\n"),
            }
        }
    };
    let fake = Fake::start(closing);
    for url in [fake.url(), format!("redis://ann:word@{}/2", fake.address())] {
        let before = fake.connections();
        let client = open(&url);
        assert_eq!(client.command(&["GET", "k"]).unwrap().as_str(), Some("v"));
        assert_eq!(fake.connections() - before, 2);
    }
    let before = fake.connections();
    let error = refused(&fake.url(), Options::default().protocol(Protocol::Resp3));
    assert_eq!((error.status(), fake.connections() - before), (Status::Connect, 1), "{error}");
}

#[test]
fn a_server_that_has_answered_hello_before_and_is_lost_in_it_is_not_taken_for_an_old_one() {
    let fake = Fake::start(|conn| {
        if conn.index() == 1 {
            // It dies just then.
            let _ = conn.read_command();
            return;
        }
        let mut next = conn.handshake();
        while let Some(command) = next {
            match command[0].as_slice() {
                b"QUIT-NOW" => return,
                _ => conn.write(b",1.5\r\n"),
            }
            next = conn.read_command();
        }
    });
    let client = open(&fake.url());
    assert!(client.command(&["QUIT-NOW"]).unwrap_err().is_indeterminate());
    // RESP3 as before.
    assert_eq!(client.command(&["GET", "k"]).unwrap().kind(), rs_script::Kind::Double);
    assert_eq!(fake.connections(), 3);
}

#[test]
fn protocol_2_sends_no_hello() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).password("p").start();
        Raw::connect(&server).ok(&["ACL", "SETUSER", "ann", "on", ">word", "~*", "+@all"]);
        let address = server.address();
        for url in [
            format!("redis://:p@{address}?protocol=2"),
            format!("redis://ann:word@{address}/3?protocol=2&client_info=false&probe_transactions=false"),
        ] {
            works(&open(&url));
        }
        assert_eq!((calls_of(&server, "hello"), calls_of(&server, "auth")), (0, 2 + 3), "{binary:?}");
        let bare = format!("redis://{address}?protocol=2&client_info=false&probe_transactions=false");
        assert_eq!(refused(&bare, &Options::default()).status(), Status::Auth, "{binary:?}");
        Raw::connect(&server).ok(&["CONFIG", "SET", "requirepass", ""]);
        works(&open(&bare));
    }
}

#[test]
fn where_nobody_listens_that_is_said_at_once() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let url = format!("redis://127.0.0.1:{port}");
    let start = Instant::now();
    let mut options = Options::default();
    options.call_timeout(LONG).unwrap();
    let error = refused(&url, &options);
    assert_eq!(error.status(), Status::Connect, "{error}");
    assert!(error.message().contains(&port.to_string()), "{error}");

    let lazy = Client::open(&url, options.lazy_connect(true)).unwrap();
    let error = lazy.call(&Script::new("return 1"), NONE, NONE).unwrap_err();
    assert_eq!(error.status(), Status::Connect, "{error}");
    assert!(error.is_not_executed());
    assert!(start.elapsed() < LONG / 2, "a few attempts, not the whole deadline");
    let missing = refused("unix:///no/such/socket", &Options::default());
    assert_eq!(missing.status(), Status::Connect, "{missing}");
}

/// Listens, and lets no connection through: its queue is full.
#[cfg(target_os = "linux")]
fn black_hole() -> (impl Sized, String) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    listen(&listener, 0).unwrap();
    let address = std::net::SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
    let queued = std::net::TcpStream::connect(address).unwrap();
    ((listener, queued), format!("redis://{address}"))
}

#[test]
#[cfg(target_os = "linux")]
fn a_host_that_swallows_packets_costs_no_more_than_the_deadline() {
    let (_hole, url) = black_hole();
    let quick = Duration::from_millis(300);
    for attempts in [0, 1, 5] {
        let mut options = Options::default();
        options.call_timeout(quick).unwrap().reconnect_attempts(attempts);
        for lazy in [false, true] {
            let start = Instant::now();
            let error = match Client::open(&url, options.lazy_connect(lazy)) {
                Ok(client) => client.call(&Script::new("return 1"), NONE, NONE).unwrap_err(),
                Err(error) => error,
            };
            assert!(matches!(error.status(), Status::Connect | Status::Timeout), "{error}");
            assert!(error.is_not_executed(), "{error}");
            assert!(start.elapsed() >= quick && start.elapsed() < quick + SLACK, "{:?}", start.elapsed());
        }
    }
    let start = Instant::now();
    let error = refused(&url, Options::default().connect_timeout(quick).unwrap());
    assert_eq!(error.status(), Status::Connect, "{error}");
    assert!(start.elapsed() < quick + SLACK);
}

#[test]
fn a_server_that_accepts_and_says_nothing_costs_no_more_than_the_deadline() {
    let fake = Fake::start(|conn| conn.hang());
    let quick = Duration::from_millis(300);
    let start = Instant::now();
    let error = refused(&fake.url(), Options::default().connect_timeout(quick).unwrap());
    assert_eq!(error.status(), Status::Connect, "{error}");
    let mut options = Options::default();
    options.lazy_connect(true).reconnect_attempts(0).call_timeout(quick).unwrap();
    let client = Client::open(&fake.url(), &options).unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let error = client.call(&Script::new("return 1"), NONE, NONE).unwrap_err();
                assert!(error.is_not_executed(), "{error}");
            });
        }
    });
    assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
}

#[test]
fn a_server_that_comes_back_is_found_again() {
    let server = Server::start();
    let mut options = Options::default();
    options.reconnect_backoff(Duration::from_millis(1), Duration::from_millis(10)).unwrap();
    let client = Client::open(&server.url(), &options).unwrap();
    let patient = Client::open(&server.url(), options.reconnect_attempts(0)).unwrap();
    let script = Script::new("return redis.call('INCR', KEYS[1])");
    client.call(&script, &["n"], NONE).unwrap();
    patient.call(&script, &["n"], NONE).unwrap();
    server.kill();
    let error = client.call(&script, &["n"], NONE).unwrap_err();
    assert!(error.is_not_executed() || error.is_indeterminate(), "{error}");
    let error = client.call(&script, &["n"], NONE).unwrap_err();
    assert_eq!(error.status(), Status::Connect, "{error}");
    assert!(error.is_not_executed());
    let again = Script::idempotent("return redis.call('INCR', KEYS[1])");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| patient.call(&again, &["m"], NONE));
        server.restart();
        assert_eq!(waiting.join().unwrap().unwrap().as_i64(), Some(1));
    });
    assert_eq!(client.call(&script, &["n"], NONE).unwrap().as_i64(), Some(1));
    // The new connection knows that it knows nothing of the new server's scripts.
    assert_eq!(client.stats().noscript_repairs + patient.stats().noscript_repairs, 0);
    assert_eq!((client.stats().reconnects, patient.stats().reconnects), (1, 1));
}

#[test]
fn a_connection_closed_while_idle_is_replaced_before_the_next_call() {
    let server = Server::start();
    let client = open(&server.url());
    let script = Script::new("return redis.call('INCR', KEYS[1])");
    for round in 1..=20 {
        assert_eq!(client.call(&script, &["n"], NONE).unwrap().as_i64(), Some(round));
        let mut raw = Raw::connect(&server);
        raw.ok(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        wait_until("it is closed", || raw.info("clients", "connected_clients").as_deref() == Some("1"));
        // A connection used within the last millisecond passes for alive.
        thread::sleep(Duration::from_millis(3));
    }
    assert_eq!(client.stats().reconnects, 19);
}

#[test]
fn a_server_that_loads_its_data_is_waited_for_within_the_deadline() {
    let server = Server::builder()
        .arg("key-load-delay", "500")
        .arg("loading-process-events-interval-bytes", "1024")
        .start();
    let mut raw = Raw::connect(&server);
    raw.ok(&["EVAL", "for i = 1, 1500 do redis.call('SET', 'k' .. i, string.rep('x', 1000)) end", "0"]);
    raw.ok(&["SAVE"]);
    let mut options = Options::default();
    options.reconnect_backoff(Duration::from_millis(1), Duration::from_millis(10)).unwrap();
    let client = Client::open(&server.url(), options.reconnect_attempts(0).lazy_connect(true)).unwrap();
    server.kill();
    thread::scope(|scope| {
        // Returns when the server has loaded.
        scope.spawn(|| server.restart());
        wait_until("the server loads", || {
            let ping = Raw::unix(&server.unix_path()).and_then(|mut raw| raw.try_cmd(&["PING"]));
            ping.is_ok_and(|reply| reply.is_error())
        });
        let count = Script::new("return redis.call('INCR', 'n')");
        assert_eq!(client.call(&count, NONE, NONE).unwrap().as_i64(), Some(1));
        assert_eq!(client.command(&["DBSIZE"]).unwrap().as_i64(), Some(1501));
    });
}

#[test]
fn a_call_refused_while_loading_is_sent_again_until_the_deadline() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let fake = Fake::start(move |conn| {
        let mut next = conn.handshake();
        while let Some(command) = next {
            match command[0].as_slice() {
                b"GET" if count.fetch_add(1, Ordering::SeqCst) < 3 => {
                    conn.write(b"-LOADING Redis is loading the dataset in memory\r\n");
                }
                _ => conn.write(b"$1\r\nv\r\n"),
            }
            next = conn.read_command();
        }
    });
    let client = open(&fake.url());
    assert_eq!(client.command(&["GET", "k"]).unwrap().as_str(), Some("v"));
    assert_eq!(asked.load(Ordering::SeqCst), 4);

    let fake = Fake::start(|conn| {
        let mut next = conn.handshake();
        while next.is_some() {
            conn.write(b"-LOADING Valkey is loading the dataset in memory\r\n");
            next = conn.read_command();
        }
    });
    let client = open(&fake.url()).with_timeout(Duration::from_secs(2));
    let start = Instant::now();
    let error = client.command(&["GET", "k"]).unwrap_err();
    assert_eq!(error.status(), Status::Loading, "{error}");
    assert!(error.is_not_executed() && start.elapsed() < SLACK);
    assert!(client.stats().calls > 2, "asked more than once");
}

/// Sent again on the connection that all calls share, a command that waits would hold all of them up.
#[test]
fn a_command_that_waits_keeps_to_a_connection_of_its_own_when_it_is_sent_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (count, heard) = (asked.clone(), seen.clone());
    let fake = Fake::start(move |conn| {
        let mut next = conn.handshake();
        while let Some(command) = next {
            let name = String::from_utf8_lossy(&command[0]).into_owned();
            heard.lock().unwrap().push((name, conn.index()));
            match command[0].as_slice() {
                b"BLPOP" if count.fetch_add(1, Ordering::SeqCst) < 2 => {
                    conn.write(b"-LOADING Redis is loading the dataset in memory\r\n");
                }
                b"BLPOP" => conn.write(b"*2\r\n$1\r\nl\r\n$1\r\nv\r\n"),
                _ => conn.write(b"+PONG\r\n"),
            }
            next = conn.read_command();
        }
    });
    let client = open(&fake.url());
    client.command(&["PING"]).unwrap();
    let reply = client.command(&["BLPOP", "l", "0"]).unwrap();
    assert_eq!(reply.get(1).unwrap().as_str(), Some("v"));
    client.command(&["PING"]).unwrap();
    let seen = seen.lock().unwrap();
    let of = |name| seen.iter().filter(move |(other, _)| other == name).map(|(_, conn)| *conn);
    let shared: Vec<usize> = of("PING").collect();
    assert_eq!(shared, [shared[0]; 2], "{seen:?}");
    assert_eq!(of("BLPOP").count(), 3, "{seen:?}");
    assert!(of("BLPOP").all(|conn| conn != shared[0]), "{seen:?}");
}

const CHILD_URL: &str = "RS_SCRIPT_TEST_URL";

fn entries(directory: &str) -> usize {
    Path::new(directory).read_dir().unwrap().count()
}

/// Runs itself in a process of its own, where no other test has threads and descriptors.
#[test]
#[cfg(target_os = "linux")]
fn blocking_calls_leave_no_thread_and_no_descriptor_behind() {
    if let Ok(url) = std::env::var(CHILD_URL) {
        return count_threads_and_descriptors(&url);
    }
    let server = Server::start();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "connecting::blocking_calls_leave_no_thread_and_no_descriptor_behind",
            "--test-threads=1",
        ])
        .env(CHILD_URL, format!("redis://localhost:{}", server.port()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[cfg(target_os = "linux")]
fn count_threads_and_descriptors(url: &str) {
    let (threads, without) = (entries("/proc/self/task"), entries("/proc/self/fd"));
    let client = open(url);
    let script = Script::idempotent("return ARGV[1]");
    let call = || assert_eq!(client.call(&script, NONE, &["x"]).unwrap().as_str(), Some("x"));
    call();
    // The look-up of a host name has descriptors, and may still be at it for an address that came second.
    wait_until("the look-up is over", || entries("/proc/self/task") == threads);
    let descriptors = entries("/proc/self/fd");
    for round in 1..=200 {
        client.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no"]).unwrap();
        call();
        assert_eq!(client.stats().reconnects, round);
    }
    let hasty = client.with_timeout(Duration::from_millis(20));
    hasty.command(&["BLPOP", "q", "0"]).unwrap_err();
    wait_until("no descriptor is left", || entries("/proc/self/fd") == descriptors);
    // The look-up of a host name takes a thread, for as long as it lasts.
    wait_until("no thread is left", || entries("/proc/self/task") == threads);
    drop((client, hasty));
    assert_eq!(entries("/proc/self/fd"), without);
}

#[test]
fn the_log_tells_of_connections_made_lost_and_refused() {
    let server = Server::start();
    let logged = Arc::new(Mutex::new(Vec::new()));
    let log = logged.clone();
    let mut options = Options::default();
    options.reconnect_attempts(1);
    options.log(move |event| log.lock().unwrap().push((event.level, event.message.to_owned())));
    let client = Client::open(&server.url(), &options).unwrap();
    server.kill();
    wait_until("the loss is noticed", || {
        client.command(&["PING"]).is_err_and(|error| error.is_not_executed())
    });
    server.restart();
    wait_until("the server is back", || client.command(&["PING"]).is_ok());
    let logged = logged.lock().unwrap();
    let of = |level: LogLevel, word: &str| logged.iter().any(|(l, text)| *l == level && text.contains(word));
    assert_eq!(logged.first().map(|(level, _)| *level), Some(LogLevel::Info), "{logged:?}");
    assert!(of(LogLevel::Warning, "was lost") && of(LogLevel::Error, "cannot connect"), "{logged:?}");
    assert!(of(LogLevel::Info, "connected to"), "{logged:?}");
}

/// The callback runs on the thread that looks after the client's connections, and may make calls that need just that.
#[test]
fn the_log_callback_may_call_a_client_that_has_to_connect() {
    let server = Server::start();
    let called = Arc::new(Mutex::new(None::<Client>));
    let (its_client, answered) = (Arc::clone(&called), Arc::new(AtomicU64::new(0)));
    let its_count = Arc::clone(&answered);
    let mut options = Options::default();
    options.lazy_connect(true);
    options.log(move |_| {
        // Once, and a command that waits has a connection made for it.
        let client = its_client.lock().unwrap().take();
        if let Some(client) = client {
            client.command(&["BLPOP", "none", "0.01"]).unwrap();
            its_count.fetch_add(1, Ordering::Relaxed);
        }
    });
    for submitted in [false, true] {
        let client = Client::open(&server.url(), &options).unwrap();
        *called.lock().unwrap() = Some(client.with_timeout(Duration::from_secs(30)));
        if submitted {
            let queue = rs_script::Queue::new(1).unwrap();
            client.submit_command(&queue, 1, &["PING"]).unwrap();
            assert_eq!(queue.poll(&mut Vec::new(), 1, Duration::from_secs(60)), 1);
        } else {
            client.command(&["PING"]).unwrap();
        }
        wait_until("it was called", || answered.load(Ordering::Relaxed) == 1 + u64::from(submitted));
    }
}

/// A script that is longer than a server takes, and than what is on its way at a time: the server ends each connection
/// after a handshake that is well, before the call is sent. Returns how many connections a call of it makes.
fn connections_of_a_call_too_long(url: &str, servers: &[&Server]) -> u64 {
    let mut given = options(Duration::from_secs(3));
    given.reconnect_backoff(Duration::from_millis(50), Duration::from_millis(200)).unwrap();
    let client = Client::open(url, &given).unwrap();
    let long = Script::new(format!("return 1 --{}", "x".repeat(20_000_000)));
    let count = |server: &&Server| -> u64 {
        Raw::connect(server).info("stats", "total_connections_received").unwrap().parse().unwrap()
    };
    let before: u64 = servers.iter().map(count).sum();
    let error = client.call(&long, &["key"], NONE).unwrap_err();
    let made = servers.iter().map(count).sum::<u64>() - before;
    // The deadline may pass in the middle of an attempt.
    let is_late = error.reason() == Reason::Deadline;
    assert!(error.is_not_executed() || error.is_indeterminate() && is_late, "{error}");
    made
}

#[test]
fn a_server_that_ends_each_connection_is_not_drowned_in_them() {
    let server = Server::builder().arg("proto-max-bulk-len", "1mb").start();
    let made = connections_of_a_call_too_long(&server.url(), &[&server]);
    // Half of a pause may be taken off at random.
    assert!((2..=200).contains(&made), "{made} connections");
}

#[test]
fn a_node_of_a_cluster_that_ends_each_connection_is_not_drowned_in_them() {
    let cluster = Cluster::builder(3).each(|node| node.arg("proto-max-bulk-len", "1mb")).start();
    let made =
        connections_of_a_call_too_long(&cluster.cluster_url(), &cluster.nodes().iter().collect::<Vec<_>>());
    assert!((2..=200).contains(&made), "{made} connections");
}
