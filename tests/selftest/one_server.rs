//! The tests' own ground: each part of `support` that is about one server does what other tests rely on.

use crate::support;

use std::io::{ErrorKind, Read};
use std::net::{Ipv6Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

use support::cluster::slot_of;
use support::fake::Fake;
use support::proxy::{Proxy, Way};
use support::raw::{Raw, Value, calls_of, encode};
use support::server::{Server, all_versions};
use support::tls::{Certs, Identity, Pair, connect_tls};
use support::wait_until;

fn pong() -> Value {
    Value::Status("PONG".into())
}

#[test]
fn every_version_answers_on_tcp_and_unix() {
    let mut seen = Vec::new();
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let mut raw = Raw::tcp(("127.0.0.1", server.port())).unwrap();
        assert_eq!(raw.info("server", "process_id"), Some(server.pid().to_string()), "{binary:?}");
        assert_eq!(Raw::connect(&server).cmd(&["PING"]), pong());
        let version = raw.info("server", "valkey_version").or_else(|| raw.info("server", "redis_version"));
        seen.push(version.unwrap());
    }
    assert_eq!(seen[1..], ["6.2.14", "7.4.1", "8.2.3", "8.1.8", "9.1.2"]);
}

#[test]
fn settings_reach_the_server() {
    let server = Server::builder().unix_only().password("s3cret").arg("maxmemory", "5mb").start();
    assert_eq!(server.url(), server.unix_url());
    assert!(server.url().starts_with("unix://:s3cret@/"));
    let reply = Raw::connect(&server).ok(&["CONFIG", "GET", "maxmemory"]);
    assert_eq!(reply.elements()[1].text(), (5 * 1024 * 1024).to_string());
    assert!(
        Raw::unix(&server.unix_path()).unwrap().cmd(&["GET", "a"]).is_error(),
        "the password is asked for"
    );
}

#[test]
fn ipv6_on_request() {
    let server = Server::builder().ipv6().start();
    assert_eq!(Raw::tcp((Ipv6Addr::LOCALHOST, server.port())).unwrap().cmd(&["PING"]), pong());
    assert_eq!(Raw::tcp(("127.0.0.1", server.port())).unwrap().cmd(&["PING"]), pong());

    let server = Server::builder().ipv6_only().start();
    assert_eq!(server.url(), format!("redis://[::1]:{}", server.port()));
    assert_eq!(Raw::tcp(server.address()).unwrap().cmd(&["PING"]), pong());
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
}

#[test]
fn a_restarted_server_is_a_new_one_at_the_same_address() {
    let server = Server::start();
    let (url, pid) = (server.url(), server.pid());
    let mut raw = Raw::connect(&server);
    raw.ok(&["SET", "a", "1"]);
    server.restart();
    assert!(raw.try_cmd(&["PING"]).is_err(), "the old connection is gone");
    assert_eq!(server.url(), url);
    assert_ne!(server.pid(), pid);
    assert_eq!(Raw::connect(&server).cmd(&["GET", "a"]), Value::Nil);
}

#[test]
fn a_killed_server_refuses_and_a_paused_one_is_silent() {
    let server = Server::start();
    let mut raw = Raw::unix_within(&server.unix_path(), Duration::from_millis(100)).unwrap();
    server.pause();
    assert_eq!(raw.try_cmd(&["PING"]).unwrap_err().kind(), ErrorKind::WouldBlock);
    server.resume();
    assert_eq!(Raw::connect(&server).cmd(&["PING"]), pong());
    server.kill();
    server.kill();
    assert!(!server.is_running());
    let refused = TcpStream::connect(("127.0.0.1", server.port())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_server_and_its_directory_go_with_the_test() {
    let dir = std::panic::catch_unwind(|| {
        let server = Server::start();
        std::panic::panic_any(server.dir().to_owned());
    })
    .unwrap_err()
    .downcast::<std::path::PathBuf>()
    .unwrap();
    assert!(!dir.exists());
}

/// The process to be killed is this very test, run once more in a process of its own.
#[test]
fn a_server_dies_with_a_killed_test_process() {
    const HOLD: &str = "RS_SCRIPT_HOLD_A_SERVER";
    if std::env::var_os(HOLD).is_some() {
        let server = Server::start();
        println!("server at {} {}", server.port(), server.dir().display());
        loop {
            std::thread::park();
        }
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "one_server::a_server_dies_with_a_killed_test_process", "--nocapture"])
        .env(HOLD, "yes")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut said = String::new();
    while !said.contains("server at ") || !said.ends_with('\n') {
        let mut bytes = [0; 256];
        let len = stdout.read(&mut bytes).unwrap();
        assert!(len > 0, "the child ended early: {said}");
        said.push_str(std::str::from_utf8(&bytes[..len]).unwrap());
    }
    let line = said.lines().find_map(|line| line.split_once("server at ")).unwrap().1;
    let (port, dir) = line.split_once(' ').unwrap();
    let (port, dir): (u16, _) = (port.parse().unwrap(), std::path::Path::new(dir));
    assert_eq!(Raw::tcp(("127.0.0.1", port)).unwrap().cmd(&["PING"]), pong());
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("the server is gone", || TcpStream::connect(("127.0.0.1", port)).is_err());
    wait_until("its directory is gone", || !dir.exists());
}

#[test]
fn calls_are_counted() {
    let server = Server::start();
    assert_eq!(calls_of(&server, "evalsha"), 0);
    let mut raw = Raw::connect(&server);
    let sha = raw.ok(&["SCRIPT", "LOAD", "return 1"]).text();
    for _ in 0..3 {
        assert_eq!(raw.cmd(&["EVALSHA", &sha, "0"]), Value::Integer(1));
    }
    assert_eq!(calls_of(&server, "evalsha"), 3);
    assert_eq!(calls_of(&server, "script|load"), 1);
}

fn tls_ping(server: &Server, ca: &str, client: Option<&Pair>) -> std::io::Result<Value> {
    connect_tls(server, ca, client)?.try_cmd(&["PING"])
}

#[test]
fn tls_is_trusted_only_where_it_should_be() {
    let certs = Certs::generate();
    let start = |identity| Server::builder().tls(&certs, identity).start();
    let valid = start(Identity::Valid);
    assert!(valid.url().starts_with("rediss://127.0.0.1:"));
    assert_eq!(tls_ping(&valid, &certs.ca, None).unwrap(), pong());
    let why = |outcome: std::io::Result<Value>| outcome.unwrap_err().to_string();
    assert!(why(tls_ping(&valid, &Certs::generate().ca, None)).contains("invalid peer certificate"));
    assert!(why(tls_ping(&start(Identity::WrongHost), &certs.ca, None)).contains("not valid for name"));
    assert!(why(tls_ping(&start(Identity::Expired), &certs.ca, None)).contains("expired"));

    let strict = Server::builder().tls(&certs, Identity::Valid).client_certs_required().start();
    assert_eq!(tls_ping(&strict, &certs.ca, Some(&certs.client)).unwrap(), pong());
    assert!(tls_ping(&strict, &certs.ca, None).is_err());
}

#[test]
fn a_fake_follows_its_script() {
    let fake = Fake::start(|conn| {
        let command = conn.handshake();
        assert!(command.is_none_or(|command| command == [b"GET".as_slice(), b"\0\r\n"]));
        match conn.index() {
            0 => conn.write_slowly(b"$2\r\nhi\r\n", Duration::from_millis(1)),
            1 => conn.write(b"$2\r\nh"),
            _ => conn.hang(),
        }
    });
    let get = [b"GET".as_slice(), b"\0\r\n"];
    let mut first = Raw::tcp(fake.address()).unwrap();
    assert_eq!(first.cmd(&["HELLO", "2"]).elements().len(), 14);
    assert_eq!(first.cmd(&["CLIENT", "SETINFO", "LIB-NAME", "x"]), Value::Status("OK".into()));
    assert_eq!(first.cmd(&get), Value::Bulk(b"hi".to_vec()));
    assert!(first.try_cmd(&get).is_err(), "the handler has returned");
    assert!(Raw::tcp(fake.address()).unwrap().try_cmd(&get).is_err(), "half a reply is no reply");
    let mut third = Raw::tcp(fake.address()).unwrap();
    third.write(&encode(&get)).unwrap();
    wait_until("the third connection is there", || fake.connections() == 3);
    drop(fake);
    assert!(third.read().is_err(), "a fake's end closes a hanging connection");
}

#[test]
fn a_fake_can_reset() {
    let fake = Fake::start(|conn| {
        conn.read_command();
        conn.reset();
    });
    let error = Raw::tcp(fake.address()).unwrap().try_cmd(&["PING"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
#[should_panic(expected = "the handler's complaint")]
fn a_fakes_panic_is_the_tests() {
    let fake = Fake::start(|conn| {
        conn.read_command();
        panic!("the handler's complaint");
    });
    let _ = Raw::tcp(fake.address()).unwrap().try_cmd(&["PING"]);
}

#[test]
fn a_proxy_cuts_a_reply_at_every_byte() {
    let server = Server::start();
    Raw::connect(&server).ok(&["SET", "a", "hello"]);
    let proxy = Proxy::start(("127.0.0.1", server.port()));
    let reply = b"$5\r\nhello\r\n";
    for cut in 0..=reply.len() {
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        proxy.cut_after(Way::Replies, cut);
        std::io::Write::write_all(&mut stream, &encode(&["GET", "a"])).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        assert_eq!(got, reply[..cut]);
        assert!(!proxy.cut_is_due(Way::Replies));
    }
    assert_eq!(proxy.connections(), reply.len() + 1);

    // The other way: half a command never runs.
    let before = calls_of(&server, "set");
    proxy.cut_after(Way::Requests, 20);
    assert!(Raw::tcp(proxy.address()).unwrap().try_cmd(&["SET", "a", "other"]).is_err());
    assert_eq!(calls_of(&server, "set"), before);
}

#[test]
fn a_proxy_counts_splits_pauses_and_drops() {
    let server = Server::start();
    let proxy = Proxy::start(("127.0.0.1", server.port()));
    let mut raw = Raw::tcp(proxy.address()).unwrap();
    assert_eq!(raw.cmd(&["PING"]), pong());
    assert_eq!((proxy.bytes(Way::Requests), proxy.reads(Way::Requests)), (14, 1));
    assert_eq!((proxy.bytes(Way::Replies), proxy.reads(Way::Replies)), (7, 1));

    proxy.max_write(Way::Replies, 1);
    assert_eq!(raw.cmd(&["ECHO", "byte by byte"]).text(), "byte by byte");

    proxy.pause(Way::Replies);
    raw.write(&encode(&["SET", "a", "1"])).unwrap();
    wait_until("the server has run it", || calls_of(&server, "set") == 1);
    wait_until("the reply is held", || proxy.reads(Way::Replies) == 3);
    proxy.resume(Way::Replies);
    assert_eq!(raw.read().unwrap(), Value::Status("OK".into()));

    proxy.drop_connections();
    assert!(raw.try_cmd(&["PING"]).is_err());
    assert_eq!(Raw::tcp(proxy.address()).unwrap().cmd(&["PING"]), pong());
}

#[test]
fn slots_are_computed_as_servers_do() {
    let server = Server::builder().arg("cluster-enabled", "yes").start();
    let mut raw = Raw::connect(&server);
    for key in ["", "a", "123456789", "{user}:1", "a{user}b{c}", "{}a", "{a", "a}b{c}"] {
        assert_eq!(
            i64::from(slot_of(key.as_bytes())),
            raw.cmd(&["CLUSTER", "KEYSLOT", key]).integer(),
            "{key}"
        );
    }
}
