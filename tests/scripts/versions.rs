//! The core promises on every server that is supported, in both protocols.

use crate::support;

use rs_script::{Client, FlushMode, Kind, Options, Protocol, Script, Status};
use support::raw::{Raw, calls_of};
use support::server::{Binary, Server, all_versions};

const NONE: &[&[u8]] = &[];

/// Runs `test` on every version over RESP2 and RESP3; the first word of its panic is the version.
fn everywhere(test: fn(&Server, &Client, Protocol)) {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            println!("{binary:?} {protocol:?}");
            Raw::connect(&server).ok(&["FLUSHALL"]);
            Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);
            let client = Client::open(&server.url(), Options::default().protocol(protocol)).unwrap();
            test(&server, &client, protocol);
        }
    }
}

#[test]
fn a_script_is_loaded_once_and_called_by_its_sha() {
    everywhere(|server, client, _| {
        let evals = calls_of(server, "eval");
        let evalshas = calls_of(server, "evalsha");
        let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
        for expected in [7, 14, 21] {
            assert_eq!(client.call(&script, &["n"], &["7"]).unwrap().as_i64(), Some(expected));
        }
        assert_eq!(client.stats().script_loads, 1);
        assert_eq!((calls_of(server, "eval"), calls_of(server, "evalsha")), (evals, evalshas + 3));
    });
}

#[test]
fn a_flushed_script_is_loaded_again_and_runs_once() {
    everywhere(|server, client, _| {
        let script = Script::new("return redis.call('INCR', KEYS[1])");
        client.call(&script, &["n"], NONE).unwrap();
        Raw::connect(server).ok(&["SCRIPT", "FLUSH"]);
        assert_eq!(client.call(&script, &["n"], NONE).unwrap().as_i64(), Some(2));
        assert_eq!(client.stats().noscript_repairs, 1);
        client.script_flush(FlushMode::Sync).unwrap();
        assert_eq!(client.call(&script, &["n"], NONE).unwrap().as_i64(), Some(3));
        assert_eq!(client.stats().noscript_repairs, 1);
    });
}

#[test]
fn six_hundred_scripts_stay_loaded() {
    everywhere(|server, client, _| {
        let scripts: Vec<Script> = (0..600).map(|number| Script::new(format!("return {number}"))).collect();
        for _ in 0..2 {
            for (number, script) in (0..).zip(&scripts) {
                assert_eq!(client.call(script, NONE, NONE).unwrap().as_i64(), Some(number));
            }
        }
        // Were they loaded by EVAL, newer servers would have evicted a hundred.
        assert_eq!((client.stats().script_loads, client.stats().noscript_repairs), (600, 0));
        let shas: Vec<&str> = scripts.iter().map(Script::sha_hex).collect();
        assert_eq!(client.script_exists(&shas).unwrap(), [true; 600]);
        assert_eq!(calls_of(server, "eval"), 0);
    });
}

#[test]
fn nested_replies_and_errors_arrive_as_they_are() {
    everywhere(|_, client, _| {
        let script = Script::new(
            "return {1, 'two', {3, {redis.status_reply('FOUR')}}, redis.error_reply('FIVE six'), false, 7.9}",
        );
        let reply = client.call(&script, NONE, NONE).unwrap();
        assert_eq!(
            format!("{reply:?}"),
            r#"Array[1, String("two"), Array[3, Array[Status("FOUR")]], Error("FIVE six"), Nil, 7]"#
        );
    });
}

#[test]
fn broken_scripts_fail_with_the_servers_reason() {
    everywhere(|server, client, _| {
        let error = client.call(&Script::new("if"), NONE, NONE).unwrap_err();
        assert_eq!(error.status(), Status::Compile, "{error}");
        assert!(error.is_not_executed());
        let raises = Script::new("redis.call('INCR', 'n') error('no luck')");
        let error = client.call(&raises, NONE, NONE).unwrap_err();
        assert_eq!(error.status(), Status::Server, "{error}");
        assert!(error.message().contains("no luck") && !error.is_not_executed());
        assert_eq!(Raw::connect(server).ok(&["GET", "n"]).text(), "1");
    });
}

#[test]
fn read_only_calls_use_what_the_server_has_for_them() {
    everywhere(|server, client, _| {
        let [ro, plain] = ["evalsha_ro", "evalsha"].map(|command| calls_of(server, command));
        Raw::connect(server).ok(&["SET", "k", "v"]);
        let read = Script::new("return redis.call('GET', KEYS[1])");
        for _ in 0..2 {
            assert_eq!(client.call_read_only(&read, &["k"], NONE).unwrap().as_str(), Some("v"));
        }
        let old = server.binary() == Binary::Redis62;
        let calls = ["evalsha_ro", "evalsha"].map(|command| calls_of(server, command));
        assert_eq!(calls, if old { [ro, plain + 2] } else { [ro + 2, plain] });
        if !old {
            let write = Script::new("return redis.call('SET', KEYS[1], 'changed')");
            let error = client.call_read_only(&write, &["k"], NONE).unwrap_err();
            assert_eq!(error.status(), Status::Server, "{error}");
            assert_eq!(Raw::connect(server).ok(&["GET", "k"]).text(), "v");
        }
    });
}

#[test]
fn types_of_resp3_arrive_in_resp3_and_as_their_stand_ins_in_resp2() {
    everywhere(|_, client, protocol| {
        let script =
            Script::new("redis.setresp(3) return {{double=1.5}, {map={k='v'}}, {set={m=true}}, true}");
        let reply = client.call(&script, NONE, NONE).unwrap();
        let kinds: Vec<Kind> = reply.root().elements().map(|element| element.kind()).collect();
        let expected = match protocol {
            Protocol::Resp3 => [Kind::Double, Kind::Map, Kind::Set, Kind::Boolean],
            _ => [Kind::String, Kind::Array, Kind::Array, Kind::Integer],
        };
        assert_eq!(kinds, expected);
    });
}

#[test]
fn a_body_that_may_not_be_loaded_is_evaluated() {
    everywhere(|server, _, protocol| {
        // 6.2 knows no rules for subcommands.
        let rule = if server.binary() == Binary::Redis62 { "-script" } else { "-script|load" };
        Raw::connect(server).ok(&["ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", rule]);
        let url = format!("redis://u:p@127.0.0.1:{}", server.port());
        let client = Client::open(&url, Options::default().protocol(protocol)).unwrap();
        for script in [Script::new("return 1"), Script::new("return 1 -- another")] {
            for _ in 0..2 {
                assert_eq!(client.call(&script, NONE, NONE).unwrap().as_i64(), Some(1));
            }
        }
        assert_eq!(client.stats().script_loads, 1);
    });
}
