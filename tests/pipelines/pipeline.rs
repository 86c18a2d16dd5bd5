//! Pipelines: one round trip whatever the server lacks, replies in order, any size, and a fair share for other callers.

use crate::support;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rs_script::{Client, Kind, Options, Protocol, ReplyRef, Script, Status};
use support::calls::{COUNT, MULTIPLY, NONE, client, round_trips, shown};
use support::fake::Fake;
use support::proxy::{Proxy, Way};
use support::raw::{Raw, calls_of};
use support::server::{Binary, Server, all_versions};
use support::tls::{Certs, Identity};
use support::{OnDrop, wait_until};

const MILLION: usize = 1_000_000;
/// For what is large and not late: tests share their machine.
const LONG: Duration = Duration::from_secs(120);

/// How often the server was told to load a script.
fn loads_of(server: &Server) -> u64 {
    calls_of(server, if server.binary() == Binary::Redis62 { "script" } else { "script|load" })
}

#[test]
fn a_pipeline_takes_one_round_trip_cold_warm_and_after_a_known_flush_on_every_server() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = client(&server);
        let multiply = Script::new(MULTIPLY);
        let mut pipeline = client.pipeline();
        for round in ["cold", "warm", "flushed"] {
            if round == "flushed" {
                client.script_flush(rs_script::FlushMode::Default).unwrap();
            }
            pipeline.command(&["SET", "foo", "5"]).unwrap().script(&multiply, &["foo"], &["5"]).unwrap();
            assert_eq!(pipeline.len(), 2);
            let (replies, trips) = round_trips(&client, || pipeline.exec().unwrap());
            assert_eq!(shown(&replies), r#"Array[Status("OK"), 25]"#, "{binary:?}, {round}");
            assert_eq!(trips, 1, "{binary:?}, {round}");
            assert!(pipeline.is_empty() && pipeline.arrived().is_none());
        }
    }
}

#[test]
fn pipelines_and_transactions_work_in_resp2_as_well() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let mut options = Options::default();
        options.protocol(Protocol::Resp2);
        let client = Client::open(&server.url(), &options).unwrap();
        let table = Script::new("return {1, {KEYS[1], false}, {err = 'MINE'}}");
        for mut pipeline in [client.pipeline(), client.transaction()] {
            for _ in 0..2 {
                pipeline.script(&table, &["k"], &NONE).unwrap().command(&["GET", "none"]).unwrap();
                pipeline
                    .script(&table, &["l"], &NONE)
                    .unwrap()
                    .command(&["LRANGE", "none", "0", "1"])
                    .unwrap();
                let table = |key| format!(r#"Array[1, Array[String("{key}"), Nil], Error("MINE")]"#);
                let expected = format!("Array[{}, Nil, {}, Array[]]", table("k"), table("l"));
                assert_eq!(shown(&pipeline.exec().unwrap()), expected, "{binary:?}");
            }
        }
    }
}

#[test]
fn a_pipeline_leaves_in_one_write_with_one_load_per_distinct_script() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let proxy = Proxy::start(("127.0.0.1", server.port()));
        let client = Client::open(&proxy.url(), &Options::default()).unwrap();
        let (known, unknown) = (Script::new(COUNT), Script::new(MULTIPLY));
        client.call(&known, &["n"], &NONE).unwrap();
        let (reads, loads) = (proxy.reads(Way::Requests), loads_of(&server));

        let mut pipeline = client.pipeline();
        for _ in 0..3 {
            pipeline.script(&unknown, &["n"], &["10"]).unwrap().script(&known, &["n"], &NONE).unwrap();
            pipeline.script_read_only(&unknown, &["n"], &["100"]).unwrap().command(&["GET", "n"]).unwrap();
        }
        let replies = pipeline.exec().unwrap();
        let expected =
            (1..4).map(|n| format!(r#"{}, {}, {}, String("{}")"#, n * 10, n + 1, (n + 1) * 100, n + 1));
        assert_eq!(
            shown(&replies),
            format!("Array[{}]", expected.collect::<Vec<_>>().join(", ")),
            "{binary:?}"
        );
        assert_eq!(proxy.reads(Way::Requests) - reads, 1, "{binary:?}");
        assert_eq!(loads_of(&server) - loads, 1, "{binary:?}");
    }
}

#[test]
fn a_thousand_distinct_scripts_are_each_loaded_once_in_one_round_trip() {
    let server = Server::start();
    let client = client(&server);
    let scripts: Vec<Script> = (0..1_000).map(|n| Script::new(format!("return {n} + ARGV[1]"))).collect();
    let mut pipeline = client.pipeline();
    for round in 0..3 {
        for script in scripts.iter().chain(&scripts) {
            pipeline.script(script, &NONE, &[round.to_string()]).unwrap();
        }
        let (replies, trips) = round_trips(&client, || pipeline.exec().unwrap());
        let numbers: Vec<i64> = replies.root().elements().filter_map(|reply| reply.as_i64()).collect();
        let expected: Vec<i64> = (0..1_000).chain(0..1_000).map(|n| n + round).collect();
        assert_eq!(numbers, expected);
        assert_eq!((trips, client.stats().script_loads, loads_of(&server)), (1, 1_000, 1_000));
    }
}

#[test]
fn a_flush_before_a_pipeline_is_repaired_where_no_order_is_lost_and_elsewhere_on_request() {
    let server = Server::start();
    let client = client(&server);
    let count = Script::new("return redis.call('INCR', KEYS[1])");
    client.call(&count, &["n"], &NONE).unwrap();
    Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);

    // Behind item 0, GET has run on its key; behind items 2 and 4 nothing has.
    let mut pipeline = client.pipeline();
    pipeline.script(&count, &["n"], &NONE).unwrap().command(&["GET", "n"]).unwrap();
    pipeline.script(&count, &["n"], &NONE).unwrap().command(&["SET", "a", "1"]).unwrap();
    pipeline.script(&count, &["n"], &NONE).unwrap();
    let replies = pipeline.exec().unwrap();
    let error = replies.get(0).unwrap().as_error().expect("NOSCRIPT");
    assert_eq!((error.status(), error.is_not_executed()), (Status::NoScript, true));
    assert!(error.message().starts_with("item 0 (EVALSHA): NOSCRIPT"), "{error}");
    assert_eq!(replies.get(1).unwrap().as_str(), Some("1"));
    assert_eq!(replies.get(2).unwrap().as_i64(), Some(2));
    assert_eq!(replies.get(3).unwrap().as_str(), Some("OK"));
    assert_eq!(replies.get(4).unwrap().as_i64(), Some(3));
    client.command(&["SET", "n", "1"]).unwrap();

    client.call(&count, &["n"], &NONE).unwrap();
    Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);
    let mut pipeline = client.pipeline();
    pipeline.repair_unordered(true);
    let nested = Script::new("return {1, {2, 'x'}}");
    pipeline.script(&count, &["n"], &NONE).unwrap().script(&nested, &NONE, &NONE).unwrap();
    pipeline.script(&count, &["n"], &NONE).unwrap().command(&["GET", "n"]).unwrap();
    pipeline.command(&["LPUSH", "n", "x"]).unwrap();
    let replies = pipeline.exec().unwrap();
    let shown = shown(&replies);
    assert!(
        shown.starts_with(r#"Array[3, Array[1, Array[2, String("x")]], 4, String("2"), Error("WRONGTYPE"#),
        "{shown}"
    );
    let wrong = replies.get(4).unwrap().as_error().expect("WRONGTYPE");
    assert!(wrong.message().starts_with("item 4 (LPUSH): WRONGTYPE") && !wrong.is_not_executed());
    assert_eq!(client.command(&["GET", "n"]).unwrap().as_str(), Some("4"));
}

#[test]
fn items_that_meet_noscript_did_not_run_and_the_next_pipeline_has_its_script_on_every_server() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = client(&server);
        let count = Script::new(COUNT);
        let mut pipeline = client.pipeline();
        let mut raw = Raw::connect(&server);
        for round in 0..3 {
            client.call(&count, &["n"], &NONE).unwrap();
            let before = raw.ok(&["GET", "n"]).text();
            raw.ok(&["SCRIPT", "FLUSH"]);
            pipeline.script(&count, &["n"], &NONE).unwrap().command(&["PING"]).unwrap();
            pipeline.script(&count, &["n"], &NONE).unwrap().command(&["GET", "n"]).unwrap();
            let (replies, trips) = round_trips(&client, || pipeline.exec().unwrap());
            assert_eq!(trips, 1, "never sent again");
            for item in [0, 2] {
                let error = replies.get(item).unwrap().as_error().expect("NOSCRIPT");
                assert_eq!((error.status(), error.is_not_executed()), (Status::NoScript, true));
                assert_eq!((error.server_code(), error.is_indeterminate()), (Some("NOSCRIPT"), false));
                let start = format!("item {item} (EVALSHA): NOSCRIPT");
                assert!(error.message().starts_with(&start), "{binary:?}: {error}");
            }
            assert_eq!(replies.get(1).unwrap().as_str(), Some("PONG"));
            assert_eq!(replies.get(3).unwrap().as_str(), Some(&*before));
            assert_eq!(raw.ok(&["GET", "n"]).text(), before, "{binary:?}, round {round}");

            pipeline.script(&count, &["n"], &NONE).unwrap();
            let (replies, trips) = round_trips(&client, || pipeline.exec().unwrap());
            let after = before.parse::<i64>().unwrap() + 1;
            assert_eq!((replies.get(0).unwrap().as_i64(), trips), (Some(after), 1), "{binary:?}");
        }
    }
}

#[test]
fn a_repair_runs_each_missing_item_once_by_its_body_and_keeps_every_reply_in_its_place() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = client(&server);
        let (count, twice) = (Script::new(COUNT), Script::new("return {KEYS[1], {ARGV[1], false}}"));
        let mut pipeline = client.pipeline();
        client.call(&count, &["n"], &NONE).unwrap();
        client.call(&twice, &["k"], &["a"]).unwrap();
        Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);
        let loads = client.stats().script_loads;
        for item in 0..10 {
            pipeline.script(&count, &["n"], &NONE).unwrap().command(&["ECHO", &item.to_string()]).unwrap();
            pipeline.script(&twice, &["k"], &[item.to_string()]).unwrap();
        }
        let (replies, trips) = round_trips(&client, || pipeline.exec().unwrap());
        let expected = (0..10).map(|item| {
            format!(r#"{}, String("{item}"), Array[String("k"), Array[String("{item}"), Nil]]"#, item + 2)
        });
        assert_eq!(
            shown(&replies),
            format!("Array[{}]", expected.collect::<Vec<_>>().join(", ")),
            "{binary:?}"
        );
        assert_eq!((trips, client.stats().script_loads - loads), (2, 0), "{binary:?}");
        assert_eq!(calls_of(&server, "eval"), 20, "what carries its script cannot miss it");
        assert_eq!(Raw::connect(&server).ok(&["GET", "n"]).text(), "11");
    }
}

#[test]
fn read_only_items_are_stopped_at_their_first_write_and_shebangs_are_checked_before_sending() {
    let server = Server::start();
    let client = client(&server);
    let count = Script::new(COUNT);
    let mut pipeline = client.pipeline();
    pipeline.script(&count, &["n"], &NONE).unwrap().script_read_only(&count, &["n"], &NONE).unwrap();
    let refused = pipeline.script_read_only(&Script::new("#!lua\nreturn 1"), &NONE, &NONE).err().unwrap();
    assert_eq!((refused.status(), refused.is_not_executed()), (Status::NotReadOnly, true));
    pipeline.script_read_only(&Script::new("#!lua flags=no-writes\nreturn 2"), &NONE, &NONE).unwrap();
    let replies = pipeline.exec().unwrap();
    assert_eq!((replies.root().len(), replies.get(0).unwrap().as_i64()), (3, Some(1)));
    let error = replies.get(1).unwrap().as_error().expect("an error");
    assert!(error.message().starts_with("item 1 (EVALSHA_RO): ERR Write commands"), "{error}");
    assert_eq!((error.status(), error.is_not_executed()), (Status::Server, false));
    assert_eq!(replies.get(2).unwrap().as_i64(), Some(2));
    assert_eq!(client.command(&["GET", "n"]).unwrap().as_str(), Some("1"));
}

#[test]
fn an_items_error_names_its_index_and_command_and_hinders_no_other_item() {
    let server = Server::start();
    let client = client(&server);
    let failing = Script::new("redis.call('INCR', KEYS[1]) return redis.error_reply('MINE and mine alone')");
    let mut pipeline = client.pipeline();
    pipeline.command(&["SET", "text", "x"]).unwrap().command(&["incr", "text"]).unwrap();
    pipeline.script(&failing, &["n"], &NONE).unwrap().command(&["NO-SUCH-COMMAND"]).unwrap();
    pipeline.command(&["GET"]).unwrap().command(&["GET", "n"]).unwrap();
    let replies = pipeline.exec().unwrap();
    for (item, start, code) in [
        (1, "item 1 (incr): ERR value is not an integer", "ERR"),
        (2, "item 2 (EVALSHA): MINE and mine alone", "MINE"),
        (3, "item 3 (NO-SUCH-COMMAND): ERR unknown command", "ERR"),
        (4, "item 4 (GET): ERR wrong number of arguments", "ERR"),
    ] {
        let error = replies.get(item).unwrap().as_error().expect("an error");
        assert!(error.message().starts_with(start), "{error}");
        assert_eq!((error.status(), error.server_code()), (Status::Server, Some(code)));
        assert!(!error.is_not_executed() && !error.is_indeterminate());
    }
    assert_eq!(replies.get(5).unwrap().as_str(), Some("1"), "what failed half-way has done its first half");
}

#[test]
fn an_empty_pipeline_is_answered_without_the_server() {
    let server = Server::start();
    let client = client(&server);
    for mut empty in [client.pipeline(), client.transaction()] {
        let (replies, trips) = round_trips(&client, || empty.exec().unwrap());
        assert_eq!((replies.kind(), replies.root().len(), trips), (Kind::Array, 0, 0));
        assert!(replies.get(0).is_none() && empty.arrived().is_none());
    }
}

#[test]
fn a_refused_item_leaves_the_pipeline_as_it_was() {
    let server = Server::start();
    let client = client(&server);
    let mut pipeline = client.pipeline();
    pipeline.command(&["SET", "a", "1"]).unwrap();
    for words in [
        &["SELECT", "1"][..],
        &["BLPOP", "a", "0"],
        &["XREAD", "BLOCK", "0", "STREAMS", "s", "$"],
        &["multi"],
        &["EXEC"],
        &["WATCH", "a"],
        &["SUBSCRIBE", "c"],
        &["CLIENT", "REPLY", "OFF"],
        &["QUIT"],
    ] {
        let error = pipeline.command(words).err().expect("a refusal");
        assert_eq!((error.status(), error.is_not_executed()), (Status::CommandRefused, true), "{words:?}");
        assert_eq!(pipeline.len(), 1);
    }
    assert_eq!(pipeline.command(&NONE).err().unwrap().status(), Status::InvalidArgument);
    pipeline.command(&["GET", "a"]).unwrap();
    assert_eq!(shown(&pipeline.exec().unwrap()), r#"Array[Status("OK"), String("1")]"#);
}

#[test]
fn a_pipeline_can_be_filled_again_after_exec_and_after_clear() {
    let server = Server::start();
    let client = client(&server);
    let count = Script::new(COUNT);
    let mut pipeline = client.pipeline();
    for round in 1..100 {
        pipeline.command(&["INCR", "cleared"]).unwrap().clear();
        assert!(pipeline.is_empty());
        pipeline.script(&count, &["n"], &NONE).unwrap().command(&["GET", "n"]).unwrap();
        assert_eq!(shown(&pipeline.exec().unwrap()), format!(r#"Array[{round}, String("{round}")]"#));
    }
    assert_eq!(client.command(&["EXISTS", "cleared"]).unwrap().as_i64(), Some(0));
}

#[test]
fn texts_that_scripts_forge_change_nothing() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = client(&server);
        let forger = Script::new("redis.call('INCR', KEYS[1]) return {err = ARGV[1]}");
        let queued = Script::new("redis.call('INCR', KEYS[1]) return {ok = 'QUEUED'}");
        let texts = [
            "NOSCRIPT No matching script",
            "NOSCRIPT No matching script. ",
            "NOSCRIPT No matching script. Please use EVAL",
            "NOSCRIPT",
            "MOVED 1 127.0.0.1:1",
            "ASK 1 127.0.0.1:1",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "CLUSTERDOWN Hash slot not served",
            "EXECABORT Transaction discarded because of previous errors.",
            "LOADING not really",
            "BUSY Redis is busy",
            "READONLY You can't write against a read only replica.",
            "ERR unknown command 'EVALSHA_RO'",
        ];
        let mut asked = 0;
        for repair in [false, true] {
            let mut pipeline = client.pipeline();
            pipeline.repair_unordered(repair).command(&["DEL", "n"]).unwrap();
            for text in texts {
                pipeline.script(&forger, &["n"], &[text]).unwrap();
            }
            pipeline.script(&queued, &["n"], &NONE).unwrap().command(&["GET", "n"]).unwrap();
            let (replies, trips) = round_trips(&client, || pipeline.exec().unwrap());
            for (item, text) in (1..).zip(texts) {
                let error = replies.get(item).unwrap().as_error().expect(text);
                assert_eq!((error.status(), error.is_not_executed()), (Status::Server, false), "{error}");
                assert!(error.message().ends_with(text), "{binary:?}: {error}");
            }
            let last = texts.len() + 1;
            assert_eq!(replies.get(last).unwrap().as_str(), Some("QUEUED"));
            assert_eq!(replies.get(last + 1).unwrap().as_str(), Some(&*last.to_string()), "each ran once");
            // READONLY makes the client ask for the server's role, and it asks once how the server says NOSCRIPT.
            assert_eq!((trips, client.stats().noscript_repairs), (3 - asked, 0));
            asked = 1;
        }
    }
}

#[test]
fn a_script_that_does_not_compile_fails_alone_wherever_it_stands() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = client(&server);
        let (broken, count) = (Script::new("return ("), Script::new(COUNT));
        let mut pipeline = client.pipeline();
        for (round, places) in [&[0][..], &[2], &[1, 3], &[4]].into_iter().enumerate() {
            for item in 0..5 {
                let script = if places.contains(&item) { &broken } else { &count };
                pipeline.script(script, &["n"], &NONE).unwrap();
            }
            let (replies, trips) = round_trips(&client, || pipeline.exec().unwrap());
            for item in 0..5 {
                let reply = replies.get(item).unwrap();
                assert_eq!(
                    reply.kind() == Kind::Error,
                    places.contains(&item),
                    "{binary:?}, round {round}: {reply:?}"
                );
                if let Some(error) = reply.as_error() {
                    assert_eq!((error.status(), error.is_not_executed()), (Status::Compile, true), "{error}");
                    let start = format!("item {item} (EVALSHA): ERR Error compiling script");
                    assert!(error.message().starts_with(&start), "{binary:?}: {error}");
                }
            }
            assert_eq!(trips, 1);
        }
        assert_eq!(client.command(&["GET", "n"]).unwrap().as_str(), Some("15"), "20 items, 5 of them broken");
    }
}

#[test]
fn a_script_that_does_not_compile_spoils_no_pipeline_of_other_threads() {
    let server = Server::start();
    let client = client(&server);
    let (broken, count) = (Script::new("return ("), Script::new(COUNT));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut pipeline = client.pipeline();
                for round in 0..100 {
                    pipeline.repair_unordered(round % 2 == 0);
                    pipeline.script(&count, &["n"], &NONE).unwrap().script(&broken, &NONE, &NONE).unwrap();
                    pipeline.script(&count, &["n"], &NONE).unwrap();
                    let replies = pipeline.exec().unwrap();
                    assert!(replies.get(0).unwrap().as_i64().is_some(), "{replies:?}");
                    assert!(replies.get(2).unwrap().as_i64().is_some(), "{replies:?}");
                    let error = replies.get(1).unwrap().as_error().expect("a compile error");
                    assert_eq!((error.status(), error.is_not_executed()), (Status::Compile, true), "{error}");
                }
            });
        }
    });
    assert_eq!(client.command(&["GET", "n"]).unwrap().as_str(), Some("800"));
}

#[test]
fn larger_than_the_socket_buffers_both_ways_over_tcp_unix_and_tls() {
    let certs = Certs::generate();
    let plain = Server::start();
    let encrypted = Server::builder().tls(&certs, Identity::Valid).start();
    let mut trusting = Options::default();
    trusting.tls_ca_file(encrypted.dir().join("ca.crt"));
    let plainly = Options::default();
    let double = Script::new("return ARGV[1] .. ARGV[1]");
    let text = |item: usize| format!("{item:08}").repeat(32 * 1024);
    for (url, options) in
        [(plain.url(), &plainly), (plain.unix_url(), &plainly), (encrypted.url(), &trusting)]
    {
        let client = Client::open(&url, options).unwrap().with_timeout(LONG);
        let mut pipeline = client.pipeline();
        for item in 0..50 {
            pipeline.command(&["ECHO", &text(item)]).unwrap().script(&double, &NONE, &[text(item)]).unwrap();
        }
        let replies = pipeline.exec().unwrap();
        assert_eq!(replies.root().len(), 100);
        for item in 0..50 {
            let text = text(item);
            assert!(replies.get(2 * item).unwrap().as_str() == Some(&text), "item {item} on {url}");
            assert!(
                replies.get(2 * item + 1).unwrap().as_str() == Some(&text.repeat(2)),
                "item {item} on {url}"
            );
        }
    }
}

#[test]
fn a_flush_in_the_middle_of_a_long_pipeline_costs_only_what_was_under_way() {
    const ITEMS: usize = 200_000;
    let server = Server::start();
    let client = client(&server).with_timeout(LONG);
    let count = Script::new(COUNT);
    for repair in [false, true] {
        let key = format!("n{repair}");
        let mut pipeline = client.pipeline();
        pipeline.repair_unordered(repair);
        let before = client.stats();
        for _ in 0..ITEMS {
            pipeline.script(&count, &[&key], &NONE).unwrap();
        }
        let replies = std::thread::scope(|scope| {
            let exec = scope.spawn(|| pipeline.exec().unwrap());
            let mut raw = Raw::connect(&server);
            wait_until("the pipeline runs", || raw.ok(&["INCRBY", &key, "0"]).integer() > 1000);
            raw.ok(&["SCRIPT", "FLUSH"]);
            exec.join().unwrap()
        });
        let bytes_per_item = (client.stats().bytes_sent - before.bytes_sent) as usize / ITEMS;
        let is_missing = |reply: &ReplyRef| {
            reply.as_error().is_some_and(|e| e.status() == Status::NoScript && e.is_not_executed())
        };
        let missed = replies.root().elements().filter(is_missing).count();
        let mut numbers: Vec<i64> = replies.root().elements().filter_map(|reply| reply.as_i64()).collect();
        assert_eq!(numbers.len() + missed, ITEMS);
        if repair {
            assert_eq!(missed, 0);
            numbers.sort_unstable();
        }
        // In order, and none twice.
        assert!(numbers.iter().copied().eq(1..=numbers.len() as i64));
        assert!(client.command(&["GET", &key]).unwrap().as_str() == Some(&*numbers.len().to_string()));
        println!("{missed} of {ITEMS} items met NOSCRIPT");
        assert!(missed <= 3 * 128 * 1024 / bytes_per_item, "{missed} items met NOSCRIPT");
    }
}

#[test]
fn a_server_that_reads_only_once_its_replies_are_read_does_not_deadlock() {
    const LEN: usize = 8 * 1024 * 1024;
    let server = Fake::start(|conn| {
        let mut command = conn.handshake();
        while let Some(words) = command {
            match words[0].as_slice() {
                b"MULTI" => conn.write(b"+OK\r\n"),
                b"EXEC" => conn.write(b"*0\r\n"),
                // Written as a whole before the next byte is read.
                _ => {
                    conn.write(format!("${}\r\n", words[1].len()).as_bytes());
                    conn.write(&words[1]);
                    conn.write(b"\r\n");
                }
            }
            command = conn.read_command();
        }
    });
    let client = Client::open(&server.url(), &Options::default()).unwrap().with_timeout(LONG);
    let mut pipeline = client.pipeline();
    for item in 0..8u8 {
        pipeline.command(&[b"ECHO".as_slice(), &vec![item; LEN]]).unwrap();
    }
    for item in 0..10_000 {
        pipeline.command(&["ECHO", &item.to_string()]).unwrap();
    }
    let replies = pipeline.exec().unwrap();
    for item in 0..8u8 {
        let bytes = replies.get(usize::from(item)).unwrap().as_bytes().unwrap();
        assert!(bytes.len() == LEN && bytes.iter().all(|byte| *byte == item));
    }
    for item in 0..10_000 {
        assert_eq!(replies.get(8 + item).unwrap().as_str(), Some(&*item.to_string()));
    }
}

#[test]
fn an_item_of_64_mib_travels_both_ways_between_small_ones() {
    let server = Server::start();
    let client = client(&server).with_timeout(LONG);
    let large = vec![b'x'; 64 * 1024 * 1024];
    let (back, length) = (Script::new("return ARGV[1]"), Script::new("return #ARGV[1]"));
    let mut pipeline = client.pipeline();
    pipeline.command(&["ECHO", "before"]).unwrap();
    pipeline.command(&[b"ECHO".as_slice(), &large]).unwrap();
    pipeline.script(&back, &NONE, &[&large]).unwrap().script(&length, &NONE, &[&large]).unwrap();
    pipeline.command(&["ECHO", "after"]).unwrap();
    let replies = pipeline.exec().unwrap();
    assert_eq!(replies.get(0).unwrap().as_str(), Some("before"));
    for item in [1, 2] {
        assert!(replies.get(item).unwrap().as_bytes() == Some(&large), "item {item}");
    }
    assert_eq!(replies.get(3).unwrap().as_i64(), Some(large.len() as i64));
    assert_eq!(replies.get(4).unwrap().as_str(), Some("after"));
}

#[test]
fn a_million_items_are_answered_in_order_within_the_memory_of_input_and_replies() {
    // The peak is a process's: the measurement runs in one of its own.
    const URL: &str = "RS_SCRIPT_TEST_MILLION_ITEMS_AT";
    const NAME: &str =
        "pipeline::a_million_items_are_answered_in_order_within_the_memory_of_input_and_replies";
    if let Ok(url) = std::env::var(URL) {
        return run_a_million_items(&url);
    }
    let server = Server::start();
    let program = std::env::current_exe().unwrap();
    let child = Command::new(program).args([NAME, "--exact", "--nocapture"]).env(URL, server.url()).output();
    let child = child.expect("the test program starts once more");
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{output}\n{}", String::from_utf8_lossy(&child.stderr));
    assert!(output.contains("a million items: "), "there is no test {NAME}: {output}");
    println!("{output}");
}

fn run_a_million_items(url: &str) {
    let client = Client::open(url, &Options::default()).unwrap().with_timeout(LONG);
    let append = Script::new("return ARGV[1] .. ':' .. KEYS[1]");
    let memory_before = memory_of_this_process("VmHWM:");
    let before = client.stats();
    let mut pipeline = client.pipeline();
    for item in 0..MILLION {
        if item % 10 == 0 {
            pipeline.script(&append, &["k"], &[item.to_string()]).unwrap();
        } else {
            pipeline.command(&["ECHO", &item.to_string()]).unwrap();
        }
    }
    assert_eq!(pipeline.len(), MILLION);
    let replies = pipeline.exec().unwrap();
    let memory = memory_of_this_process("VmHWM:") - memory_before;
    let after = client.stats();
    assert_eq!(replies.root().len(), MILLION);
    for (item, reply) in replies.root().elements().enumerate() {
        let expected = if item % 10 == 0 { format!("{item}:k") } else { item.to_string() };
        assert_eq!(reply.as_str(), Some(&*expected));
    }
    // An item takes 24 bytes besides its bytes, its reply 24 as well; what one read or one part brings is small
    // against the slack.
    let bytes = (after.bytes_sent - before.bytes_sent) + (after.bytes_received - before.bytes_received);
    let bound = bytes + 2 * 24 * MILLION as u64 + 8 * 1024 * 1024;
    println!("a million items: {bytes} bytes both ways, {memory} bytes of memory, bound {bound}");
    assert!(memory <= bound, "{memory} bytes, more than {bound}");

    drop(replies);
    let kept = memory_of_this_process("VmRSS:").saturating_sub(memory_before);
    println!("{kept} bytes of memory kept");
    assert!(kept <= 8 * 1024 * 1024, "{kept} bytes kept after the replies are gone");
}

/// The memory that this process holds (`VmRSS:`), or the most it has ever held (`VmHWM:`), in bytes; 0 where the
/// system does not say.
fn memory_of_this_process(which: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(which));
    line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024)
}

#[test]
fn single_calls_finish_while_another_thread_runs_a_million_items() {
    let server = Server::start();
    let client = client(&server).with_timeout(LONG);
    let mut pipeline = client.pipeline();
    for _ in 0..MILLION {
        pipeline.command(&["INCR", "items"]).unwrap();
    }
    let count = Script::new(COUNT);
    let running = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let callers = ["a", "b"].map(|key| {
            let (client, running, count) = (&client, &running, &count);
            scope.spawn(move || {
                let (mut calls, mut worst, mut seen) = (0u64, Duration::ZERO, 0);
                while running.load(Ordering::SeqCst) {
                    let start = Instant::now();
                    assert!(client.call(count, &[key], &NONE).unwrap().as_i64().is_some());
                    worst = worst.max(start.elapsed());
                    let items = client.command(&["GET", "items"]).unwrap();
                    let items = items.as_str().map_or(0, |items| items.parse().unwrap());
                    // Only what the server ran between the pipeline's first item and its last one counts.
                    calls += u64::from(items > 0 && items < MILLION);
                    assert!(items >= seen);
                    seen = items;
                }
                (calls, worst)
            })
        });
        let end = OnDrop(|| running.store(false, Ordering::SeqCst));
        let replies = pipeline.exec().unwrap();
        drop(end);
        assert!(replies.root().elements().map(|reply| reply.as_i64()).eq((1..=MILLION as i64).map(Some)));
        for caller in callers {
            let (calls, worst) = caller.join().unwrap();
            println!("{calls} calls got in between a million items; the slowest took {worst:?}");
            // 27 MB in parts of 128 KiB: a call may get in after each.
            assert!(calls >= 10, "{calls} calls got in between a million items");
        }
    });
}
