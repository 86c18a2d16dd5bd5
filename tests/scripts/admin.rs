//! Script administration, and commands sent as they are.

use crate::support;

use std::thread;

use rs_script::{Client, FlushMode, Kind, Options, Script, Status};
use support::calls::{LONG, options, with_longer_deadlines};
use support::raw::{Raw, Value, blocked_clients, calls_of};
use support::server::{Binary, Server, all_versions};
use support::wait_until;

const NONE: &[&[u8]] = &[];

fn open(url: &str) -> Client {
    Client::open(url, &options(LONG)).unwrap()
}

#[test]
fn load_puts_a_script_into_the_cache_and_says_when_it_does_not_compile() {
    let server = Server::start();
    let client = open(&server.url());
    let script = Script::new("return 1");
    client.script_load(&script).unwrap();
    assert_eq!(Raw::connect(&server).cmd(&["EVALSHA", script.sha_hex(), "0"]), Value::Integer(1));
    let error = client.script_load(&Script::new("if")).unwrap_err();
    assert_eq!(error.status(), Status::Compile);
    assert!(error.is_not_executed());
}

#[test]
fn exists_answers_for_each_script_in_turn() {
    let server = Server::start();
    let client = open(&server.url());
    let [one, two, three] = ["return 1", "return 2", "return 3"].map(Script::new);
    let shas = [one.sha_hex(), two.sha_hex(), three.sha_hex(), one.sha_hex(), "no sha at all"];
    assert_eq!(client.script_exists(&shas).unwrap(), [false; 5]);
    client.script_load(&one).unwrap();
    client.call(&three, NONE, NONE).unwrap();
    assert_eq!(client.script_exists(&shas).unwrap(), [true, false, true, true, false]);
    assert_eq!(client.script_exists(NONE).unwrap(), []);
    let upper = one.sha_hex().to_ascii_uppercase();
    assert_eq!(
        client.script_exists(&[upper]).unwrap(),
        [true],
        "as the server has it: without regard to case"
    );
}

#[test]
fn every_flush_mode_empties_the_cache_of_every_version() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = open(&server.url());
        let script = Script::new("return 1");
        for mode in [FlushMode::Default, FlushMode::Sync, FlushMode::Async] {
            client.call(&script, NONE, NONE).unwrap();
            assert_eq!(client.script_exists(&[script.sha_hex()]).unwrap(), [true]);
            client.script_flush(mode).unwrap();
            assert_eq!(client.script_exists(&[script.sha_hex()]).unwrap(), [false], "{binary:?} {mode:?}");
        }
        assert_eq!(client.stats().noscript_repairs, 0);
    }
}

#[test]
fn show_returns_the_source_where_the_server_can() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = open(&server.url());
        let script = Script::new(*b"return '\xff' --\r\n");
        client.script_load(&script).unwrap();
        if matches!(binary, Binary::Valkey81 | Binary::Valkey91) {
            let source = client.script_show(script.sha_hex()).unwrap().expect("the source");
            assert_eq!(source.as_bytes(), Some(script.source()));
            assert!(client.script_show(Script::new("return 2").sha_hex()).unwrap().is_none());
        } else {
            let error = client.script_show(script.sha_hex()).unwrap_err();
            assert_eq!(error.status(), Status::NotSupported, "{binary:?} {error}");
        }
    }
}

/// Starts a server that says BUSY early.
fn impatient(binary: Binary) -> Server {
    Server::builder().binary(binary).password("s3cret").arg("lua-time-limit", "50").start()
}

fn wait_until_busy(server: &Server) {
    let mut raw = Raw::connect(server);
    wait_until(
        "the server says BUSY",
        || matches!(raw.cmd(&["PING"]), Value::Error(text) if text.starts_with("BUSY")),
    );
}

#[test]
fn kill_stops_an_endless_script_on_every_version() {
    for binary in all_versions() {
        let server = impatient(binary);
        // Database and name are among the things that a busy server refuses to hear.
        let client =
            Client::open(&format!("{}/3", server.url()), Options::default().client_name("x").unwrap())
                .unwrap();
        thread::scope(|scope| {
            let endless = scope.spawn(|| client.call(&Script::new("while true do end"), NONE, NONE));
            // Raw logs in while nothing is wrong: AUTH is answered at any time.
            wait_until_busy(&server);
            client.script_kill().unwrap();
            let error = endless.join().unwrap().unwrap_err();
            assert_eq!(error.status(), Status::Server, "{binary:?} {error}");
            assert!(error.message().to_lowercase().contains("killed"), "{error}");
        });
        let error = client.script_kill().unwrap_err();
        assert_eq!((error.status(), error.server_code()), (Status::Server, Some("NOTBUSY")), "{error}");
        assert_eq!(client.call(&Script::new("return 1"), NONE, NONE).unwrap().as_i64(), Some(1));
        assert_eq!(client.stats().reconnects, 0, "the shared connection took no harm");
    }
}

#[test]
fn calls_of_others_are_told_that_the_server_is_busy_and_did_not_run() {
    let server = impatient(Binary::Default);
    let (client, other) = (open(&server.url()), open(&server.url()));
    let count = Script::new("return redis.call('INCR', 'n')");
    thread::scope(|scope| {
        let endless = scope.spawn(|| client.call(&Script::new("while true do end"), NONE, NONE));
        wait_until_busy(&server);
        for _ in 0..2 {
            let error = other.call(&count, NONE, NONE).unwrap_err();
            assert_eq!(error.status(), Status::Busy, "{error}");
            assert!(error.is_not_executed());
        }
        other.script_kill().unwrap();
        endless.join().unwrap().unwrap_err();
    });
    assert_eq!(other.call(&count, NONE, NONE).unwrap().as_i64(), Some(1));
}

#[test]
fn a_script_that_has_written_is_unkillable_and_its_caller_learns_of_the_servers_end() {
    let server = impatient(Binary::Default);
    let client = open(&server.url());
    thread::scope(|scope| {
        let script = Script::new("redis.call('INCR', 'n') while true do end");
        let endless = scope.spawn({
            let client = &client;
            move || client.call(&script, NONE, NONE)
        });
        wait_until_busy(&server);
        let error = client.script_kill().unwrap_err();
        assert_eq!((error.status(), error.server_code()), (Status::Server, Some("UNKILLABLE")), "{error}");
        server.kill();
        let error = endless.join().unwrap().unwrap_err();
        assert_eq!(error.status(), Status::Indeterminate, "{error}");
    });
}

#[test]
fn scripting_commands_are_sent_literally() {
    let server = Server::start();
    let client = open(&server.url());
    assert_eq!(client.command(&["EVAL", "return ARGV[1]", "0", "x"]).unwrap().as_str(), Some("x"));
    assert_eq!(client.command(&["EVAL_RO", "return KEYS[1]", "1", "k"]).unwrap().as_str(), Some("k"));
    let unknown = Script::new("return 'never loaded'");
    let error = client.command(&["EVALSHA", unknown.sha_hex(), "0"]).unwrap_err();
    assert_eq!(error.server_code(), Some("NOSCRIPT"), "{error}");
    let sha = client.command(&["SCRIPT", "LOAD", "return 'never loaded'"]).unwrap();
    assert_eq!(sha.as_str(), Some(unknown.sha_hex()));
    let reply = client.command(&["EVALSHA", unknown.sha_hex(), "0"]).unwrap();
    assert_eq!(reply.as_str(), Some("never loaded"));
    let library = "#!lua name=lib\nredis.register_function('f', function(keys, args) return args[1] end)";
    client.command(&["FUNCTION", "LOAD", library]).unwrap();
    assert_eq!(client.command(&["FCALL", "f", "0", "y"]).unwrap().as_str(), Some("y"));
    assert_eq!(client.stats().script_loads, 0);
}

#[test]
fn commands_carry_bytes_and_bring_the_servers_errors() {
    let server = Server::start();
    let client = open(&server.url());
    let (key, value) = (b"k\0\xff".as_slice(), b"\r\n$-1\r\n\0".as_slice());
    assert_eq!(client.command(&[b"SET", key, value]).unwrap().kind(), Kind::Status);
    assert_eq!(client.command(&[b"GET", key]).unwrap().as_bytes(), Some(value));
    let error = client.command(&[b"INCR", key]).unwrap_err();
    assert_eq!(error.status(), Status::Server);
    assert_eq!(error.server_text(), Some(&b"ERR value is not an integer or out of range"[..]));
    let error = client.command(NONE).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument);
    assert!(client.command(&[""]).unwrap_err().server_text().is_some());
}

#[test]
fn commands_that_would_break_the_shared_connection_never_reach_the_server() {
    let server = Server::start();
    let client = open(&server.url());
    let before = client.stats();
    for command in [
        &["MULTI"][..],
        &["watch", "k"],
        &["SUBSCRIBE", "c"],
        &["MONITOR"],
        &["SELECT", "1"],
        &["AUTH", "x"],
        &["HELLO", "2"],
        &["QUIT"],
        &["RESET"],
        &["CLIENT", "REPLY", "OFF"],
        &["client", "tracking", "on"],
        &["SCRIPT", "DEBUG", "YES"],
    ] {
        let error = client.command(command).unwrap_err();
        assert_eq!(error.status(), Status::CommandRefused, "{error}");
        assert!(error.is_not_executed());
    }
    assert_eq!(client.stats(), before);
}

#[test]
fn a_command_that_waits_keeps_nobody_else_waiting() {
    let server = Server::start();
    let client = open(&format!("{}/2", server.url()));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| client.command(&["BLPOP", "queue", "0"]));
        wait_until("BLPOP waits", || blocked_clients(&server) == 1);
        for _ in 0..100 {
            client.command(&["PING"]).unwrap();
        }
        // In the same database, by the shared connection.
        client.command(&["RPUSH", "queue", "item"]).unwrap();
        let popped = waiting.join().unwrap().unwrap();
        assert_eq!(format!("{popped:?}"), r#"Array[String("queue"), String("item")]"#);
    });
    assert_eq!(calls_of(&server, "blpop"), 1);
}

#[test]
fn xreadgroup_waits_on_a_connection_of_its_own_wherever_block_stands() {
    let server = Server::start();
    let client = open(&server.url());
    client.command(&["XGROUP", "CREATE", "s", "g", "$", "MKSTREAM"]).unwrap();
    for command in [
        &["XREADGROUP", "BLOCK", "0", "GROUP", "g", "c", "STREAMS", "s", ">"][..],
        &["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">"],
    ] {
        thread::scope(|scope| {
            let waiting = scope.spawn(|| client.command(command));
            wait_until("it waits", || blocked_clients(&server) == 1);
            client.command(&["XADD", "s", "*", "name", "value"]).unwrap();
            assert_eq!(waiting.join().unwrap().unwrap().root().len(), 2);
        });
    }
}

#[test]
fn what_servers_take_for_an_attack_costs_nobody_the_connection() {
    let server = Server::start();
    let client = open(&server.url());
    for name in ["POST", "host:"] {
        assert_eq!(client.command(&[name]).unwrap_err().status(), Status::CommandRefused);
    }
    assert_eq!(client.command(&["PING"]).unwrap().as_str(), Some("PONG"));
    assert_eq!(client.stats().reconnects, 0);
}

#[test]
fn a_command_that_waits_for_longer_than_the_deadline_leaves_no_connection_behind() {
    let server = Server::start();
    let client = open(&server.url());
    // Its connection has to be made first, which may take long on a busy machine.
    with_longer_deadlines(&client, |hasty| {
        let error = hasty.command(&["BLPOP", "queue", "0"]).unwrap_err();
        assert!(error.is_indeterminate() != error.is_not_executed(), "{error}");
        error.is_indeterminate().then_some(())
    });
    wait_until("its connection is gone", || blocked_clients(&server) == 0);
    assert_eq!(client.command(&["RPUSH", "queue", "kept"]).unwrap().as_i64(), Some(1));
    assert_eq!(client.command(&["LLEN", "queue"]).unwrap().as_i64(), Some(1));
}
