//! Pipelines and transactions: one round trip, no NOSCRIPT, nothing twice.

mod support;

use rs_script::{Client, Kind, Options, Reply, Script, Status};
use support::raw::{Raw, calls_of};
use support::server::Server;

const MULTIPLY: &str = "return redis.call('GET', KEYS[1]) * ARGV[1]";
const NONE: [&str; 0] = [];

fn client(server: &Server) -> Client {
    Client::open(&server.url(), &Options::default()).expect("a client")
}

fn shown(reply: &Reply) -> String {
    format!("{reply:?}")
}

/// Runs `body` and says how many round trips it took.
fn round_trips<T>(client: &Client, body: impl FnOnce() -> T) -> (T, u64) {
    let before = client.stats().round_trips;
    let result = body();
    (result, client.stats().round_trips - before)
}

#[test]
fn a_pipeline_of_an_unknown_script_takes_one_round_trip() {
    let server = Server::start();
    let client = client(&server);
    let multiply = Script::new(MULTIPLY);
    let mut pipeline = client.pipeline();
    for _ in 0..2 {
        pipeline.command(&["SET", "foo", "5"]).unwrap().script(&multiply, &["foo"], &["5"]).unwrap();
        let (replies, trips) = round_trips(&client, || pipeline.exec().unwrap());
        assert_eq!(shown(&replies), r#"Array[Status("OK"), 25]"#);
        assert_eq!(trips, 1);
        assert!(pipeline.is_empty());
        Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);
        client.script_flush(rs_script::FlushMode::Default).unwrap();
    }
}

#[test]
fn a_transaction_after_a_flush_takes_one_round_trip() {
    let server = Server::start();
    let client = client(&server);
    let multiply = Script::new(MULTIPLY);
    let mut transaction = client.transaction();
    let mut trips_of = |first: bool| {
        transaction.command(&["SET", "foo", "5"]).unwrap().script(&multiply, &["foo"], &["5"]).unwrap();
        let (replies, trips) = round_trips(&client, || transaction.exec().unwrap());
        assert_eq!(shown(&replies), r#"Array[Status("OK"), 25]"#);
        assert_eq!(replies.get(1).unwrap().as_i64(), Some(25));
        assert_eq!(trips, if first { 2 } else { 1 });
    };
    trips_of(true);
    trips_of(false);
    Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);
    trips_of(false);
}

#[test]
fn a_flush_before_a_pipeline_is_that_items_own_error_or_is_repaired_on_request() {
    let server = Server::start();
    let client = client(&server);
    let count = Script::new("return redis.call('INCR', KEYS[1])");
    client.call(&count, &["n"], &NONE).unwrap();
    Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);

    let mut pipeline = client.pipeline();
    pipeline.script(&count, &["n"], &NONE).unwrap().command(&["SET", "a", "1"]).unwrap();
    let replies = pipeline.exec().unwrap();
    let error = replies.get(0).unwrap().as_error().expect("NOSCRIPT");
    assert_eq!((error.status(), error.is_not_executed()), (Status::NoScript, true));
    assert!(error.message().starts_with("item 0 (EVALSHA): NOSCRIPT"), "{error}");
    assert_eq!(replies.get(1).unwrap().as_str(), Some("OK"));

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
fn a_script_that_does_not_compile_keeps_its_transaction_from_running() {
    let server = Server::start();
    let client = client(&server);
    let broken = Script::new("return (");
    let mut transaction = client.transaction();
    for _ in 0..2 {
        transaction.command(&["SET", "foo", "5"]).unwrap().script(&broken, &NONE, &NONE).unwrap();
        let error = transaction.exec().unwrap_err();
        assert_eq!((error.status(), error.is_not_executed()), (Status::Compile, true), "{error}");
    }
    assert_eq!(client.command(&["EXISTS", "foo"]).unwrap().as_i64(), Some(0));
    assert_eq!(calls_of(&server, "multi"), 1, "only the handshake's");

    let mut pipeline = client.pipeline();
    pipeline.script(&broken, &NONE, &NONE).unwrap().command(&["SET", "foo", "5"]).unwrap();
    let replies = pipeline.exec().unwrap();
    let error = replies.get(0).unwrap().as_error().expect("an error");
    assert_eq!((error.status(), error.is_not_executed()), (Status::Compile, true), "{error}");
    assert!(error.message().contains("compil"), "{error}");
    assert_eq!(replies.get(1).unwrap().as_str(), Some("OK"));
}

#[test]
fn a_transaction_refused_by_the_server_says_that_nothing_ran() {
    let server = Server::start();
    let client = client(&server);
    let mut transaction = client.transaction();
    transaction.command(&["SET", "foo", "5"]).unwrap().command(&["NO-SUCH-COMMAND"]).unwrap();
    let error = transaction.exec().unwrap_err();
    assert_eq!((error.status(), error.is_not_executed()), (Status::TransactionAborted, true), "{error}");
    assert!(error.message().contains("item 1 (NO-SUCH-COMMAND): ERR unknown command"), "{error}");
    assert_eq!(client.command(&["EXISTS", "foo"]).unwrap().as_i64(), Some(0));
}

#[test]
fn an_empty_pipeline_is_answered_without_the_server() {
    let server = Server::start();
    let client = client(&server);
    let (replies, trips) = round_trips(&client, || client.pipeline().exec().unwrap());
    assert_eq!((replies.kind(), replies.root().len(), trips), (Kind::Array, 0, 0));
    let (replies, trips) = round_trips(&client, || client.transaction().exec().unwrap());
    assert_eq!((replies.kind(), replies.root().len(), trips), (Kind::Array, 0, 0));
}
