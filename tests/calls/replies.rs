//! Replies keep their type, and stay within their limits.

use crate::support;

use std::thread;

use rs_script::{Client, Error, Kind, Options, Protocol, Reply, ReplyRef, Script, Status};
use support::calls::{LONG, options};
use support::fake::Fake;
use support::raw::{Raw, encode};
use support::server::{Server, all_versions};
use support::wait_until;

const NONE: &[&[u8]] = &[];

fn open(server: &Server, protocol: Protocol) -> Client {
    Client::open(&server.url(), options(LONG).protocol(protocol)).unwrap()
}

fn run(client: &Client, source: &str) -> Reply {
    client.call(&Script::new(source), NONE, NONE).unwrap()
}

/// The script's reply as Debug shows it, in RESP2 and in RESP3.
fn both(server: &Server, source: &str) -> [String; 2] {
    [Protocol::Resp2, Protocol::Resp3].map(|protocol| format!("{:?}", run(&open(server, protocol), source)))
}

#[test]
fn what_lua_returns_is_the_same_in_both_protocols() {
    let server = Server::start();
    for (source, shown) in [
        ("return 10", "10"),
        ("return -9007199254740991", "-9007199254740991"),
        ("return 'text'", "String(\"text\")"),
        ("return ''", "String(\"\")"),
        ("return 'a\\0b\\255'", r#"String("a\x00b\xff")"#),
        ("return redis.status_reply('FINE')", "Status(\"FINE\")"),
        ("return {ok='TABLE'}", "Status(\"TABLE\")"),
        ("return nil", "Nil"),
        ("return false", "Nil"),
        ("return true", "1"),
        ("return {}", "Array[]"),
        ("return {1, nil, 3}", "Array[1]"),
        ("return {1, false, 3}", "Array[1, Nil, 3]"),
        ("return {3.99, -3.99, 1e3}", "Array[3, -3, 1000]"),
        ("return '3.99'", "String(\"3.99\")"),
        ("return {{{}}, {1, {2, {3}}}}", "Array[Array[Array[]], Array[1, Array[2, Array[3]]]]"),
        ("return {1, {err='OWN fault'}, 3}", "Array[1, Error(\"OWN fault\"), 3]"),
        ("return {1, key='left out'}", "Array[1]"),
        ("", "Nil"),
    ] {
        assert_eq!(both(&server, source), [shown; 2], "{source}");
    }
}

#[test]
fn what_only_resp3_has_arrives_as_itself_or_as_resp2_spells_it() {
    let server = Server::start();
    for (value, resp2, resp3) in [
        ("{double=3.25}", r#"String("3.25")"#, r#"Double("3.25")"#),
        ("{double=1/0}", r#"String("inf")"#, r#"Double("inf")"#),
        ("{double=-1/0}", r#"String("-inf")"#, r#"Double("-inf")"#),
        ("true", "1", "true"),
        ("false", "0", "false"),
        ("nil", "Nil", "Nil"),
        ("{map={k=5}}", r#"Array[String("k"), 5]"#, r#"Map[String("k"), 5]"#),
        ("{map={}}", "Array[]", "Map[]"),
        ("{set={m=true}}", r#"Array[String("m")]"#, r#"Set[String("m")]"#),
        (
            "{big_number='1234567890123456789012345678901234567890'}",
            r#"String("1234567890123456789012345678901234567890")"#,
            r#"BigNumber("1234567890123456789012345678901234567890")"#,
        ),
        ("{verbatim_string={format='mkd', string='# A'}}", r##"String("# A")"##, r##"Verbatim("# A")"##),
        (
            "{map={k={set={m={double=0.5}}}}}",
            r#"Array[String("k"), Array[String("m")]]"#,
            r#"Map[String("k"), Set[String("m")]]"#,
        ),
    ] {
        let source = format!("redis.setresp(3) return {value}");
        assert_eq!(both(&server, &source), [resp2, resp3], "{value}");
    }
}

#[test]
fn views_answer_only_for_their_own_type() {
    let server = Server::start();
    let client = open(&server, Protocol::Resp3);
    let reply = run(
        &client,
        "redis.setresp(3) return {{double=2.5}, true, {map={k='v'}}, {verbatim_string={format='txt', string='x'}}, 3, \
         '4', {err='E x'}}",
    );
    let at = |index| reply.get(index).unwrap();
    assert_eq!((at(0).kind(), at(0).as_f64(), at(0).as_i64()), (Kind::Double, Some(2.5), None));
    assert_eq!((at(1).kind(), at(1).as_bool(), at(1).as_f64()), (Kind::Boolean, Some(true), None));
    assert_eq!((at(2).kind(), at(2).len(), at(2).as_bytes()), (Kind::Map, 2, None));
    assert_eq!(at(2).get(1).and_then(ReplyRef::as_str), Some("v"));
    assert_eq!((at(3).verbatim_format(), at(3).as_str()), (Some(&b"txt"[..]), Some("x")));
    assert_eq!((at(4).as_f64(), at(4).as_bool(), at(4).as_bytes()), (Some(3.0), None, None));
    assert_eq!((at(5).as_i64(), at(5).as_f64(), at(5).elements().len()), (None, None, 0));
    assert_eq!((at(6).kind(), at(6).as_str(), at(6).verbatim_format()), (Kind::Error, Some("E x"), None));
    assert!(reply.get(7).is_none());
}

#[test]
fn a_long_reply_is_whole_and_in_order() {
    let server = Server::start();
    let client = open(&server, Protocol::Auto);
    let reply = run(&client, "local t = {} for i = 1, 100000 do t[i] = {i, 'v' .. i} end return t");
    assert_eq!(reply.root().len(), 100_000);
    for (number, pair) in (1..).zip(reply.root().elements()) {
        assert_eq!(pair.get(0).and_then(ReplyRef::as_i64), Some(number));
        assert_eq!(pair.get(1).and_then(ReplyRef::as_str), Some(format!("v{number}").as_str()));
    }
    let last = reply.get(99_999).and_then(|pair| pair.get(0)).and_then(ReplyRef::as_i64);
    assert_eq!(last, Some(100_000));
}

fn nested(depth: usize) -> Script {
    Script::new(format!("local t = {{}} for _ = 2, {depth} do t = {{t}} end return t"))
}

#[track_caller]
fn assert_limit(error: &Error) {
    assert_eq!(error.status(), Status::ReplyLimit, "{error}");
    assert!(error.is_indeterminate() && !error.is_not_executed());
}

#[test]
fn nesting_is_taken_up_to_the_limit_and_not_beyond() {
    let server = Server::start();
    for limit in [8, 128, 1024] {
        let client = Client::open(&server.url(), Options::default().max_reply_depth(limit).unwrap()).unwrap();
        let reply = client.call(&nested(limit), NONE, NONE).unwrap();
        let mut depth = 1;
        let mut view = reply.root();
        while let Some(inner) = view.get(0) {
            (view, depth) = (inner, depth + 1);
        }
        assert_eq!(depth, limit);
        assert_limit(&client.call(&nested(limit + 1), NONE, NONE).unwrap_err());
        assert_eq!(run(&client, "return 1").as_i64(), Some(1));
        assert_eq!(client.stats().reconnects, 1);
    }
}

#[test]
fn a_reply_over_the_size_limit_ends_the_connection_and_the_client_goes_on() {
    let server = Server::start();
    let limited = Options::default().max_reply_bytes(65536).unwrap().clone();
    let client = Client::open(&server.url(), &limited).unwrap();
    let of = |len: usize| format!("redis.call('INCR', 'n') return string.rep('x', {len})");
    assert_eq!(run(&client, &of(65000)).root().len(), 65000);
    let many_small =
        "redis.call('INCR', 'n') local t = {} for i = 1, 20000 do t[i] = i end return t".to_owned();
    for (number, source) in [of(65536), of(10 << 20), many_small].iter().enumerate() {
        assert_limit(&client.call(&Script::new(source.as_str()), NONE, NONE).unwrap_err());
        assert_eq!(run(&client, "return redis.call('GET', 'n')").as_str(), Some(&*(number + 2).to_string()));
        assert_eq!(client.stats().reconnects, number as u64 + 1);
    }
}

/// The limit was passed by one reply. The other calls have lost their connection, and those that may run twice go
/// again.
#[test]
fn calls_behind_a_reply_over_the_limit_have_lost_the_connection_and_no_more() {
    let server = Server::start();
    let client = Client::open(&server.url(), Options::default().max_reply_bytes(65536).unwrap()).unwrap();
    let harmless = Script::new("return 'harmless'");
    client.call_read_only(&harmless, NONE, NONE).unwrap();
    let idempotent = Script::idempotent("return redis.call('SET', 'k', 'v')");
    client.call(&idempotent, NONE, NONE).unwrap();
    server.pause();
    let (large, small) = (["EVAL", "return string.rep('x', 100000)", "0"], ["INCR", "n"]);
    let mut sent = client.stats().bytes_sent + encode(&large).len() as u64;
    thread::scope(|scope| {
        let large = scope.spawn(|| client.command(&large));
        wait_until("the first call is sent", || client.stats().bytes_sent == sent);
        let behind: Vec<_> = (0..4).map(|_| scope.spawn(|| client.command(&small))).collect();
        sent += 4 * encode(&small).len() as u64;
        wait_until("the calls behind it are sent", || client.stats().bytes_sent == sent);
        let read_only = scope.spawn(|| client.call_read_only(&harmless, NONE, NONE));
        let repeatable = scope.spawn(|| client.call(&idempotent, NONE, NONE));
        wait_until("all calls are under way", || client.stats().in_flight == 7);
        server.resume();
        assert_limit(&large.join().unwrap().unwrap_err());
        for call in behind {
            let error = call.join().unwrap().unwrap_err();
            assert_eq!(error.status(), Status::Indeterminate, "{error}");
            assert!(error.message().contains("in reply to another call"), "{error}");
        }
        assert_eq!(read_only.join().unwrap().unwrap().as_str(), Some("harmless"));
        assert_eq!(repeatable.join().unwrap().unwrap().as_str(), Some("OK"));
    });
    assert_eq!(client.command(&["ECHO", "on"]).unwrap().as_str(), Some("on"));
    Raw::connect(&server).ok(&["PING"]);
}

#[test]
fn claims_cost_no_memory_and_no_time() {
    let claims: [&[u8]; 8] = [
        b"*4611686018427387904\r\n:1\r\n",
        b"%4611686018427387904\r\n",
        b"~4611686018427387904\r\n:1\r\n",
        b"$4611686018427387904\r\nx",
        b"$4000000000\r\nx",
        b"*9223372036854775807\r\n",
        b"*99999999999999999999\r\n",
        b"=4611686018427387904\r\ntxt:",
    ];
    for claim in claims {
        let fake = Fake::start(move |conn| {
            let mut next = conn.handshake();
            while let Some(command) = next {
                conn.write(if command[0] == b"PING" { b"+PONG\r\n" } else { claim });
                next = conn.read_command();
            }
        });
        let client = Client::open(&fake.url(), &Options::default()).unwrap();
        let error = client.with_timeout(LONG).command(&["GET", "k"]).unwrap_err();
        assert!(error.is_indeterminate(), "{error}");
        assert!(!error.message().contains("within"), "refused, not waited for: {error}");
        assert_eq!(client.command(&["PING"]).unwrap().as_str(), Some("PONG"));
    }
}

#[test]
fn nesting_of_a_hundred_thousand_is_refused_at_the_limit() {
    for sign in ["*1\r\n", "%1\r\n:1\r\n", "~1\r\n", "|1\r\n:1\r\n", ">1\r\n"] {
        let fake = Fake::start(move |conn| {
            let mut next = conn.handshake();
            while let Some(command) = next {
                match command[0].as_slice() {
                    b"PING" => conn.write(b"+PONG\r\n"),
                    _ => conn.write(sign.repeat(100_000).as_bytes()),
                }
                next = conn.read_command();
            }
        });
        let client = Client::open(&fake.url(), &Options::default()).unwrap();
        let error = client.with_timeout(LONG).command(&["GET", "k"]).unwrap_err();
        assert!(error.is_indeterminate() && !error.message().contains("within"), "{sign:?} {error}");
        assert_eq!(client.command(&["PING"]).unwrap().as_str(), Some("PONG"));
    }
}

/// What servers print for numbers that are none, and for text that no line may hold, comes as a reply, from each of
/// them.
#[test]
fn odd_numbers_and_line_ends_are_taken_as_servers_send_them() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = open(&server, Protocol::Resp3);
        let double = |value: &str| {
            run(&client, &format!("redis.setresp(3) return {{double={value}}}")).root().as_f64()
        };
        assert!(double("0/0").is_some_and(f64::is_nan), "{binary:?}");
        assert!(double("-(0/0)").is_some_and(f64::is_nan), "{binary:?}");
        assert_eq!(double("1/0"), Some(f64::INFINITY), "{binary:?}");
        assert_eq!(double("-1/0"), Some(f64::NEG_INFINITY), "{binary:?}");
        for value in ["1e300", "-1e-300", "0.1", "123456789012", "-0", "5e-324"] {
            assert_eq!(double(value), value.parse().ok(), "{binary:?}");
        }
        assert_eq!(
            run(&client, "return redis.status_reply('a\\nb\\rc')").as_str(),
            Some("a b c"),
            "{binary:?}"
        );
        let error = client.call(&Script::new("return redis.error_reply('E a\\nb')"), NONE, NONE).unwrap_err();
        assert!(error.message().starts_with("E a b"), "{binary:?}: {error}");
        assert_eq!(client.stats().reconnects, 0, "{binary:?}");
    }
}

/// A push message may stand between any two replies, and be cut anywhere.
#[test]
fn push_messages_between_replies_are_nobodys() {
    const PUSH: &[u8] = b">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n";
    for cut in 0..=PUSH.len() {
        let fake = Fake::start(move |conn| {
            let mut next = conn.handshake();
            while let Some(command) = next {
                // The rest of the message before, and a whole one; the reply; and the beginning of another message.
                conn.write(&[if command[0] == b"FIRST" { b"" } else { &PUSH[cut..] }, PUSH].concat());
                conn.write(&[b"*2\r\n+", command[0].as_slice(), b"\r\n:1\r\n", &PUSH[..cut]].concat());
                next = conn.read_command();
            }
        });
        let client = Client::open(&fake.url(), &Options::default()).unwrap();
        for name in ["FIRST", "SECOND", "THIRD"] {
            let shown = format!("{:?}", client.command(&[name]).unwrap());
            assert_eq!(shown, format!("Array[Status(\"{name}\"), 1]"), "cut at {cut}");
        }
        let mut pipeline = client.pipeline();
        for name in ["A", "B", "C"] {
            pipeline.command(&[name]).unwrap();
        }
        let shown = format!("{:?}", pipeline.exec().unwrap());
        let expected = ["A", "B", "C"].map(|name| format!("Array[Status(\"{name}\"), 1]")).join(", ");
        assert_eq!(shown, format!("Array[{expected}]"), "cut at {cut}");
        assert_eq!(client.stats().reconnects, 0);
    }
}

/// However many there are, they are let go as they come; and one that is too long ends the connection, for which no
/// call is to blame.
#[test]
fn a_flood_of_pushes_is_survived_and_one_over_the_limit_is_nobodys_fault() {
    let fake = Fake::start(|conn| {
        let mut next = conn.handshake();
        while let Some(command) = next {
            match command[0].as_slice() {
                b"FLOOD" => {
                    let flood =
                        [b">2\r\n+x\r\n$4096\r\n".as_slice(), &[b'x'; 4096], b"\r\n"].concat().repeat(64);
                    (0..64).for_each(|_| conn.write(&flood));
                    conn.write(b"+OK\r\n");
                }
                b"LONG" => conn.write(b">2\r\n+x\r\n$70000\r\nxxxx"),
                _ => conn.write(b"+PONG\r\n"),
            }
            next = conn.read_command();
        }
    });
    let client = Client::open(&fake.url(), Options::default().max_reply_bytes(65536).unwrap()).unwrap();
    assert_eq!(client.command(&["FLOOD"]).unwrap().as_str(), Some("OK"));
    assert_eq!(client.stats().reconnects, 0);
    let error = client.command(&["LONG"]).unwrap_err();
    assert_eq!(error.status(), Status::Indeterminate, "{error}");
    assert!(error.message().contains("push message"), "{error}");
    assert_eq!(client.command(&["PING"]).unwrap().as_str(), Some("PONG"));
}
