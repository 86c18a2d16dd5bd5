//! A script's life: made without I/O, loaded by its first call, loaded again when the server has lost it.

use crate::support;

use std::thread;
use std::time::Duration;

use rs_script::{Client, Error, FlushMode, Script, Status};
use support::calls::{LONG, options};
use support::fake::Fake;
use support::flushes::count_under_flushes;
use support::proxy::{Proxy, Way};
use support::raw::{Raw, calls_of};
use support::server::{Binary, Server};
use support::wait_until;

const NONE: &[&[u8]] = &[];

const COUNT: &str = "return redis.call('INCR', KEYS[1])";
const ADD: &str = "return ARGV[1] + ARGV[2]";

fn open(url: &str) -> Client {
    Client::open(url, &options(LONG)).unwrap()
}

fn count(server: &Server, key: &str) -> i64 {
    let value = Raw::connect(server).ok(&["INCRBY", key, "0"]);
    value.integer()
}

#[test]
fn making_a_script_sends_nothing() {
    let server = Server::start();
    let proxy = Proxy::start(("127.0.0.1", server.port()));
    let client = open(&proxy.url());
    let before = (client.stats(), proxy.bytes(Way::Requests));
    let script = Script::new("return 1");
    assert_eq!(script.sha_hex(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    assert_eq!(before, (client.stats(), proxy.bytes(Way::Requests)));
}

#[test]
fn a_script_is_called_on_any_client_of_any_server() {
    let servers = [Server::start(), Server::start()];
    let script = Script::new("return {redis.call('INCR', KEYS[1]), ARGV[1]}");
    for (number, server) in servers.iter().enumerate() {
        let argument = number.to_string();
        for client in [open(&server.url()), open(&server.unix_url())] {
            let reply = client.call(&script, &["n"], &[&argument]).unwrap();
            assert_eq!(reply.get(1).and_then(|text| text.as_str()), Some(argument.as_str()));
        }
        assert_eq!(count(server, "n"), 2);
    }
}

#[test]
fn the_first_call_costs_one_write_and_later_calls_one_command() {
    let server = Server::start();
    let proxy = Proxy::start(("127.0.0.1", server.port()));
    let client = open(&proxy.url());
    let script = Script::new(ADD);
    let mut before = (client.stats(), proxy.reads(Way::Requests));
    for (loads, evalshas) in [(1, 1), (0, 2), (0, 3)] {
        assert_eq!(client.call(&script, NONE, &["3", "7"]).unwrap().as_i64(), Some(10));
        let after = (client.stats(), proxy.reads(Way::Requests));
        assert_eq!(after.0.round_trips - before.0.round_trips, 1);
        assert_eq!(after.1 - before.1, 1, "one piece reached the server's side");
        assert_eq!(after.0.script_loads - before.0.script_loads, loads);
        assert_eq!(calls_of(&server, "script|load"), 1);
        assert_eq!(calls_of(&server, "evalsha"), evalshas);
        before = after;
    }
    assert_eq!(calls_of(&server, "eval"), 0);
    assert_eq!(client.stats().noscript_repairs, 0);
}

#[test]
fn keys_and_arguments_are_bytes() {
    let server = Server::start();
    let client = open(&server.url());
    let echo = Script::new("return {KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]}");
    let every_byte: Vec<u8> = (0..=255).collect();
    let keys: [&[u8]; 2] = [b"", b"k\0\xff\r\n"];
    let args: [&[u8]; 3] = [b"", b"\0", &every_byte];
    let reply = client.call(&echo, &keys, &args).unwrap();
    let echoed: Vec<&[u8]> = reply.root().elements().map(|item| item.as_bytes().unwrap()).collect();
    assert_eq!(echoed, [keys.as_slice(), &args].concat());
}

#[test]
fn a_script_is_bytes() {
    let server = Server::start();
    let client = open(&server.url());
    for (source, expected) in [
        (&b"return 'a\xff\xfeb'"[..], Some(&b"a\xff\xfeb"[..])),
        (b"return 'caf\xc3\xa9\\0' -- \r\n", Some(b"caf\xc3\xa9\0")),
        (b"", None),
    ] {
        let script = Script::new(source);
        for _ in 0..2 {
            assert_eq!(client.call(&script, NONE, NONE).unwrap().as_bytes(), expected);
        }
        assert_eq!(client.script_exists(&[script.sha_hex()]).unwrap(), [true]);
    }
    // Servers differ in what they make of a NUL in a script. What the library owes: the whole script arrives.
    let with_nul = Script::new(*b"return 1 -- \0 return 2");
    client.script_load(&with_nul).unwrap();
    assert_eq!(client.script_exists(&[with_nul.sha_hex()]).unwrap(), [true]);
}

#[test]
fn a_call_may_have_no_keys_or_a_hundred_thousand_arguments() {
    let server = Server::start();
    let client = open(&server.url());
    let script = Script::new("return {#KEYS, #ARGV, ARGV[1], ARGV[#ARGV]}");
    let ends = |keys: &[String], args: &[String]| {
        let reply = client.call(&script, keys, args).unwrap();
        let number = |at| reply.get(at).unwrap().as_i64().unwrap();
        let text = |at| reply.get(at).and_then(|text| text.as_str()).map(str::to_owned);
        (number(0), number(1), text(2), text(3))
    };
    assert_eq!(ends(&[], &[]), (0, 0, None, None));
    let many: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
    assert_eq!(ends(&[], &many), (0, 100_000, Some("0".into()), Some("99999".into())));
    assert_eq!(ends(&many, &many[..1]), (100_000, 1, Some("0".into()), Some("0".into())));
}

#[test]
fn an_argument_may_be_64_mib_both_ways() {
    let server = Server::start();
    let client = open(&server.url());
    let mut argument = vec![b'x'; 64 << 20];
    for (place, byte) in argument.iter_mut().enumerate().step_by(4093) {
        *byte = place as u8;
    }
    let reply = client.call(&Script::new("return ARGV[1]"), NONE, &[&argument]).unwrap();
    assert!(reply.as_bytes() == Some(&argument[..]), "the argument came back changed");
}

#[test]
fn dropping_a_script_disturbs_neither_calls_in_flight_nor_its_twins() {
    let server = Server::start();
    // However long the second call is in coming, it is to be sent behind the first.
    let client = Client::open(&server.url(), options(LONG).silence_timeout(LONG).unwrap()).unwrap();
    let (script, twin) = (Script::new(COUNT), Script::new(COUNT));
    client.call(&script, &["n"], NONE).unwrap();
    // The server forgets the script and stands still: the calls in flight will need its source again.
    Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);
    server.pause();
    let hasty = client.with_timeout(Duration::from_millis(50));
    assert!(hasty.call(&script, &["n"], NONE).unwrap_err().is_indeterminate());
    drop(script);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| client.call(&Script::new(COUNT), &["n"], NONE));
        wait_until("both calls are in flight", || client.stats().in_flight == 2);
        server.resume();
        assert!(waiting.join().unwrap().unwrap().as_i64() >= Some(2));
    });
    let last = client.call(&twin, &["n"], NONE).unwrap().as_i64();
    assert!(
        last == Some(3) || last == Some(4),
        "the deserted call ran at most once, the others exactly once"
    );
}

#[test]
fn after_a_flush_from_outside_a_call_repairs_itself_once() {
    let server = Server::start();
    let client = open(&server.url());
    let (script, other) = (Script::new(COUNT), Script::new(ADD));
    client.call(&other, NONE, &["1", "2"]).unwrap();
    for expected in 1..=3 {
        let before = client.stats();
        assert_eq!(client.call(&script, &["n"], NONE).unwrap().as_i64(), Some(expected));
        let after = client.stats();
        assert_eq!(after.noscript_repairs - before.noscript_repairs, u64::from(expected > 1));
        assert_eq!(after.script_loads - before.script_loads, 1);
        Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);
    }
    // One NOSCRIPT tells of all scripts: the other one is loaded in advance.
    client.call(&script, &["n"], NONE).unwrap();
    let before = client.stats();
    assert_eq!(client.call(&other, NONE, &["1", "2"]).unwrap().as_i64(), Some(3));
    let after = client.stats();
    assert_eq!(after.noscript_repairs, before.noscript_repairs);
    assert_eq!(after.round_trips - before.round_trips, 1);
}

#[test]
fn a_script_lost_again_right_after_it_was_loaded_travels_with_its_body() {
    let fake = Fake::start(|conn| {
        let mut next = conn.handshake();
        let (mut loads, mut evals) = (0, 0);
        while let Some(command) = next {
            match command[0].as_slice() {
                b"SCRIPT" => {
                    loads += 1;
                    conn.write(format!("+{}\r\n", Script::new(ADD).sha_hex()).as_bytes());
                }
                b"EVAL" | b"EVAL_RO" => {
                    evals += 1;
                    conn.write(format!("*2\r\n:{loads}\r\n:{evals}\r\n").as_bytes());
                }
                _ => conn.write(b"-NOSCRIPT No matching script. Please use EVAL.\r\n"),
            }
            next = conn.read_command();
        }
    });
    let client = open(&fake.url());
    let add = Script::new(ADD);
    for (loads, evals) in [(2, 1), (3, 2)] {
        let reply = client.call(&add, NONE, &["1", "2"]).unwrap();
        assert_eq!(format!("{reply:?}"), format!("Array[{loads}, {evals}]"));
    }
    let reply = client.call_read_only(&add, NONE, &["1", "2"]).unwrap();
    assert_eq!(format!("{reply:?}"), "Array[4, 3]");
}

#[test]
fn a_flush_through_the_client_costs_no_repair() {
    let server = Server::start();
    let client = open(&server.url());
    let script = Script::new(COUNT);
    for expected in 1..=3 {
        let before = client.stats();
        assert_eq!(client.call(&script, &["n"], NONE).unwrap().as_i64(), Some(expected));
        assert_eq!(client.stats().round_trips - before.round_trips, 1);
        client.script_flush(FlushMode::Sync).unwrap();
    }
    assert_eq!(client.stats().noscript_repairs, 0);
    assert_eq!(calls_of(&server, "script|load"), 3);
}

#[test]
fn eight_threads_run_exactly_once_under_flushes_without_end() {
    let server = Server::start();
    let client = open(&server.url());
    count_under_flushes(&server, &client, (&["SCRIPT", "FLUSH"], 400), |thread| {
        let own = Script::new(format!("return {{redis.call('INCR', KEYS[1]), {thread}}}"));
        let client = &client;
        move || {
            let reply = client.call(&own, &["n"], NONE).unwrap();
            assert_eq!(reply.get(1).unwrap().as_i64(), Some(thread));
            reply.get(0).unwrap().as_i64().unwrap()
        }
    });
}

#[track_caller]
fn assert_compile_error(error: &Error) {
    assert_eq!(error.status(), Status::Compile, "{error}");
    assert!(error.is_not_executed() && !error.is_indeterminate());
    assert!(error.message().contains("compiling"), "{error}");
}

#[test]
fn a_script_that_does_not_compile_says_so_at_every_call() {
    let server = Server::start();
    let client = open(&server.url());
    let broken = Script::new("return return");
    for _ in 0..3 {
        assert_compile_error(&client.call(&broken, NONE, NONE).unwrap_err());
    }
    let good = Script::new(COUNT);
    thread::scope(|scope| {
        for thread in 0..8 {
            let (client, broken, good) = (&client, &broken, &good);
            scope.spawn(move || {
                for _ in 0..50 {
                    if thread < 6 {
                        assert_compile_error(&client.call(broken, NONE, NONE).unwrap_err());
                    } else {
                        client.call(good, &["n"], NONE).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(count(&server, "n"), 100);
}

#[test]
fn what_a_script_raises_is_its_error() {
    let server = Server::start();
    let client = open(&server.url());
    for (source, text) in [
        ("redis.call('INCR', 'n') error('no luck')", "no luck"),
        ("redis.call('INCR', 'n') return redis.call('NO-SUCH-COMMAND')", "Unknown Redis command"),
        ("redis.call('INCR', 'n') return {err='MINE own words'}", "MINE own words"),
    ] {
        let error = client.call(&Script::new(source), NONE, NONE).unwrap_err();
        assert_eq!(error.status(), Status::Server, "{error}");
        assert!(error.message().contains(text), "{error}");
        assert!(!error.is_not_executed() && !error.is_indeterminate(), "it did what it did before");
    }
    assert_eq!(count(&server, "n"), 3);
}

#[test]
fn a_forged_error_never_makes_a_script_run_twice() {
    let server = Server::start();
    let client = open(&server.url());
    let forge = Script::new("redis.call('INCR', KEYS[1]) return redis.error_reply(ARGV[1])");
    let forgeries = [
        "NOSCRIPT",
        "NOSCRIPT No matching script",
        "NOSCRIPT No matching script. Please use EVAL. Please.",
        "MOVED 1 1.2.3.4:1",
        "ASK 1 1.2.3.4:1",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "CLUSTERDOWN The cluster is down",
        "LOADING x",
        "MASTERDOWN x",
        "BUSY x",
        "READONLY x",
        "ERR unknown command",
    ];
    for (number, forgery) in forgeries.into_iter().enumerate() {
        let error = client.call(&forge, &["n"], &[forgery]).unwrap_err();
        assert_eq!(error.status(), Status::Server, "{error}");
        assert!(error.message().contains(forgery), "{error}");
        assert!(!error.is_not_executed() && !error.is_indeterminate(), "{error}");
        assert_eq!(count(&server, "n"), number as i64 + 1, "{forgery}");
    }
    assert_eq!(client.stats().noscript_repairs, 0);
}

#[test]
fn where_loading_is_forbidden_scripts_travel_with_their_body() {
    let server = Server::start();
    let mut admin = Raw::connect(&server);
    admin.ok(&["ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "-script|load"]);
    let client = open(&format!("redis://u:p@127.0.0.1:{}", server.port()));
    let script = Script::new(COUNT);
    assert_eq!(client.call(&script, &["n"], NONE).unwrap().as_i64(), Some(1));
    assert_eq!(client.stats().script_loads, 1);

    // Learnt for this connection: other scripts, after a flush.
    let other = Script::new(ADD);
    assert_eq!(client.call(&other, NONE, &["1", "2"]).unwrap().as_i64(), Some(3));
    admin.ok(&["SCRIPT", "FLUSH"]);
    assert_eq!(client.call(&script, &["n"], NONE).unwrap().as_i64(), Some(2));
    admin.ok(&["CLIENT", "KILL", "USER", "u"]);
    let again = Script::idempotent(COUNT);
    assert_eq!(client.call(&again, &["n"], NONE).unwrap().as_i64(), Some(3));
    assert_eq!(client.stats().reconnects, 1);
    assert_eq!(client.stats().script_loads, 2, "on another connection it may be allowed");

    // What EVAL has cached is called by its SHA.
    let evals = calls_of(&server, "eval");
    assert_eq!(client.call(&script, &["n"], NONE).unwrap().as_i64(), Some(4));
    assert_eq!(calls_of(&server, "eval"), evals);

    admin.ok(&["SCRIPT", "FLUSH"]);
    admin.ok(&["ACL", "SETUSER", "u", "-eval"]);
    let error = client.call(&script, &["n"], NONE).unwrap_err();
    assert_eq!((error.status(), error.server_code()), (Status::NoScript, Some("NOPERM")), "{error}");
    admin.ok(&["ACL", "SETUSER", "u", "-evalsha"]);
    let error = client.call(&script, &["n"], NONE).unwrap_err();
    assert_eq!((error.status(), error.server_code()), (Status::Server, Some("NOPERM")), "{error}");
    assert_eq!(count(&server, "n"), 4);
}

/// No server known refuses SCRIPT LOAD for lack of memory; Valkey means to.
#[test]
fn a_load_that_finds_no_memory_is_tried_again_by_the_next_call() {
    let fake = Fake::start(|conn| {
        let mut next = conn.handshake();
        let mut loads = 0;
        while let Some(command) = next {
            match command[0].as_slice() {
                b"SCRIPT" => {
                    loads += 1;
                    conn.write(b"-OOM command not allowed when used memory > 'maxmemory'.\r\n");
                }
                b"EVALSHA" => conn.write(b"-NOSCRIPT No matching script.\r\n"),
                b"EVAL" => conn.write(format!(":{loads}\r\n").as_bytes()),
                other => panic!("{}", other.escape_ascii()),
            }
            next = conn.read_command();
        }
    });
    let client = open(&fake.url());
    for loads in 1..=2 {
        let script = Script::new(format!("return {loads}"));
        assert_eq!(client.call(&script, NONE, NONE).unwrap().as_i64(), Some(loads));
    }
}

#[test]
fn read_only_calls_read_and_never_write() {
    let server = Server::start();
    Raw::connect(&server).ok(&["SET", "k", "v"]);
    let client = open(&server.url());
    let read = Script::new("return redis.call('GET', KEYS[1])");
    for _ in 0..2 {
        assert_eq!(client.call_read_only(&read, &["k"], NONE).unwrap().as_str(), Some("v"));
    }
    assert_eq!((calls_of(&server, "evalsha_ro"), calls_of(&server, "evalsha")), (2, 0));
    Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);
    assert_eq!(client.call_read_only(&read, &["k"], NONE).unwrap().as_str(), Some("v"));

    let error = client.call_read_only(&Script::new(COUNT), &["n"], NONE).unwrap_err();
    assert_eq!(error.status(), Status::Server, "{error}");
    assert!(error.message().contains("Write commands are not allowed"), "{error}");
    assert_eq!(count(&server, "n"), 0);
}

#[test]
fn a_first_line_without_no_writes_is_refused_before_anything_is_sent() {
    let server = Server::start();
    let client = open(&server.url());
    let before = client.stats();
    let error = client.call_read_only(&Script::new("#!lua\nreturn 1"), NONE, NONE).unwrap_err();
    assert_eq!(error.status(), Status::NotReadOnly);
    assert!(error.is_not_executed());
    assert_eq!(client.stats(), before);
    let declared = Script::new("#!lua flags=no-writes\nreturn 1");
    assert_eq!(client.call_read_only(&declared, NONE, NONE).unwrap().as_i64(), Some(1));
}

#[test]
fn a_server_without_read_only_scripts_is_asked_for_them_once() {
    let server = Server::builder().binary(Binary::Redis62).start();
    let client = open(&server.url());
    let script = Script::new("return 1");
    assert_eq!(client.call_read_only(&script, NONE, NONE).unwrap().as_i64(), Some(1));
    let before = client.stats();
    assert_eq!(client.call_read_only(&script, NONE, NONE).unwrap().as_i64(), Some(1));
    assert_eq!(client.stats().round_trips - before.round_trips, 1);
    assert_eq!(calls_of(&server, "evalsha"), 2);
}

#[test]
fn only_what_may_run_twice_is_sent_again_after_a_lost_reply() {
    let server = Server::start();
    let proxy = Proxy::start(("127.0.0.1", server.port()));
    let client = open(&proxy.url());
    let (once, often) = (Script::new(COUNT), Script::idempotent(format!("{COUNT} -- as often as you like")));
    let read = Script::new("return redis.call('GET', KEYS[1])");
    for script in [&once, &often] {
        client.call(script, &["warm"], NONE).unwrap();
    }

    proxy.cut_after(Way::Replies, 0);
    let error = client.call(&once, &["n"], NONE).unwrap_err();
    assert_eq!(error.status(), Status::Indeterminate, "{error}");
    assert!(error.is_indeterminate() && !error.is_not_executed());
    assert_eq!(count(&server, "n"), 1);

    // The cut waits until the connection is made again: the handshake's replies are to pass.
    client.call(&often, &["warm"], NONE).unwrap();
    proxy.cut_after(Way::Replies, 0);
    assert_eq!(client.call(&often, &["n"], NONE).unwrap().as_i64(), Some(3));
    client.call_read_only(&read, &["n"], NONE).unwrap();
    proxy.cut_after(Way::Replies, 0);
    assert_eq!(client.call_read_only(&read, &["n"], NONE).unwrap().as_str(), Some("3"));
    assert_eq!(client.stats().reconnects, 3);
}

#[test]
fn a_reply_to_load_that_cannot_be_one_breaks_the_connection_and_nothing_else() {
    for nonsense in
        [&b":99999999\r\n"[..], b":-1\r\n", b"*2\r\n:1\r\n:2\r\n", b"$3\r\nabc\r\n", b"_\r\n", b"#t\r\n"]
    {
        let fake = Fake::start(move |conn| {
            let first = conn.index() == 0;
            let mut next = conn.handshake();
            while let Some(command) = next {
                match command[0].as_slice() {
                    b"SCRIPT" if first => conn.write(nonsense),
                    b"SCRIPT" => conn.write(format!("+{}\r\n", Script::new("return 1").sha_hex()).as_bytes()),
                    _ => conn.write(b":1\r\n"),
                }
                next = conn.read_command();
            }
        });
        let client = open(&fake.url());
        let script = Script::new("return 1");
        assert!(client.call(&script, NONE, NONE).unwrap_err().is_indeterminate());
        assert_eq!(client.call(&script, NONE, NONE).unwrap().as_i64(), Some(1));
    }
}
