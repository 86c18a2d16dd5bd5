//! What a server refuses before it begins is said to be not executed, by its whole text and no other, on every server
//! that has script flags.

use crate::support;

use rs_script::{Client, Error, Queue, Script, Status};
use support::calls::{NONE, client, take};
use support::raw::Raw;
use support::server::{Binary, Builder, Server};

/// Refused as a whole where it may not write.
const FLAGGED: &str = "#!lua\nredis.call('INCR', KEYS[1]) redis.call('SET', KEYS[1] .. 'x', 'y') return 1";

/// Does what the server lets it do, and then meets the same refusal.
const HALF_WAY: &str = "redis.call('PUBLISH', KEYS[1], 'x') redis.call('SET', KEYS[1], 'x') return 1";

/// The same, and returns the refusal as its own error: the text is the server's to the letter.
const HALF_WAY_CAUGHT: &str = "redis.call('PUBLISH', KEYS[1], 'x') return redis.pcall('SET', KEYS[1], 'x')";

/// Has a text of its own.
const FORGE: &str = "#!lua\nredis.call('INCR', KEYS[1]) return redis.error_reply(ARGV[1])";

/// Every version that has script flags.
fn versions() -> [Binary; 4] {
    [Binary::Default, Binary::Redis82, Binary::Valkey81, Binary::Valkey91]
}

fn start(binary: Binary, with: impl Fn(Builder) -> Builder) -> Server {
    with(Server::builder().binary(binary)).start()
}

/// The error of each kind of call of a script.
fn errors(client: &Client, script: &Script, key: &str) -> Vec<(&'static str, Error)> {
    let mut errors = vec![("call", client.call(script, &[key], &NONE).unwrap_err())];

    let queue = Queue::new(1).unwrap();
    client.submit(&queue, 1, script, &[key], &NONE).unwrap();
    errors.push(("submit", take(&queue, 1).remove(0).result.unwrap_err()));

    let mut pipeline = client.pipeline();
    pipeline.script(script, &[key], &NONE).unwrap().command(&["ECHO", "x"]).unwrap();
    let replies = pipeline.exec().unwrap();
    let error = replies.get(0).unwrap().as_error().expect("an error");
    assert_eq!((error.index(), replies.get(1).unwrap().as_str()), (Some(0), Some("x")));
    errors.push(("pipeline", error));

    let mut transaction = client.transaction();
    transaction.script(script, &[key], &NONE).unwrap();
    errors.push((
        "transaction",
        match transaction.exec() {
            Err(error) => error,
            Ok(replies) => replies.get(0).unwrap().as_error().expect("an error"),
        },
    ));
    errors
}

#[track_caller]
fn all_refused(binary: Binary, client: &Client, word: &str) {
    // Refused with its script in the cache and without: the server finds out at other places.
    for source in [FLAGGED.to_owned(), format!("{FLAGGED} -- another")] {
        let script = Script::new(source);
        for (form, error) in errors(client, &script, "refused").into_iter().rev() {
            let is_word = error.server_code() == Some(word) || error.message().contains(word);
            assert!(is_word, "{binary:?} {form}: {error}");
            assert!(error.is_not_executed() && !error.is_indeterminate(), "{binary:?} {form}: {error}");
        }
    }
    let error = client.command(&["SET", "refused", "x"]).unwrap_err();
    assert!(error.is_not_executed() && error.server_code() == Some(word), "{binary:?}: {error}");
    for half in [HALF_WAY, HALF_WAY_CAUGHT] {
        for (form, error) in errors(client, &Script::new(half), "half") {
            // A transaction may be refused before any of it runs.
            let is_refused = error.status() == Status::TransactionAborted;
            assert_eq!(error.is_not_executed(), is_refused, "{binary:?} {form}: {error}");
        }
        // A script that is sent as a command may be any.
        let error = client.command(&["EVAL", half, "1", "half"]).unwrap_err();
        assert!(!error.is_not_executed(), "{binary:?}: {error}");
    }
}

/// What is refused has left nothing.
fn none_ran(server: &Server) {
    assert_eq!(Raw::connect(server).ok(&["EXISTS", "refused", "refusedx"]).integer(), 0);
}

#[test]
fn without_memory() {
    for binary in versions() {
        let server = start(binary, |server| server);
        let client = client(&server);
        client.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
        all_refused(binary, &client, "OOM");
        none_ran(&server);
    }
}

#[test]
fn without_replicas() {
    for binary in versions() {
        let server = start(binary, |server| server.arg("min-replicas-to-write", "1"));
        all_refused(binary, &client(&server), "NOREPLICAS");
        none_ran(&server);
    }
}

#[test]
fn on_a_replica() {
    for binary in versions() {
        let server = start(binary, |server| server);
        let client = client(&server);
        client.command(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();
        all_refused(binary, &client, "READONLY");
        none_ran(&server);
    }
}

#[test]
fn without_a_disk_to_persist_to() {
    for binary in versions() {
        let server = start(binary, |server| server.arg("dbfilename", "dump"));
        let mut raw = Raw::connect(&server);
        // A directory in its place cannot be replaced by a file.
        std::fs::create_dir(server.dir().join("dump")).unwrap();
        std::fs::write(server.dir().join("dump/file"), "").unwrap();
        raw.ok(&["CONFIG", "SET", "save", "3600 1000000"]);
        raw.ok(&["BGSAVE"]);
        support::wait_until("the server fails to save", || {
            raw.info("persistence", "rdb_last_bgsave_status").as_deref() == Some("err")
        });
        all_refused(binary, &client(&server), "MISCONF");
        none_ran(&server);
    }
}

#[test]
fn that_it_is_a_replica_is_taken_from_its_role_alone() {
    let server = Server::start();
    let client = client(&server);
    let forge = Script::new(FORGE);
    for text in [
        "READONLY You can't write against a read only replica.",
        "READONLY Can not run script with write flag on readonly replica",
        "OOM really",
        "NOREPLICAS Not enough good replicas to write. script: 1c, on @user_script:1.",
    ] {
        let error = client.call(&forge, &["n"], &[text]).unwrap_err();
        assert_eq!(error.server_text(), Some(text.as_bytes()));
        assert!(!error.is_not_executed() && !error.is_indeterminate(), "{error}");
        let mut pipeline = client.pipeline();
        pipeline.script(&forge, &["n"], &[text]).unwrap();
        let error = pipeline.exec().unwrap().get(0).unwrap().as_error().expect("an error");
        assert!(!error.is_not_executed() && !error.is_indeterminate(), "{error}");
    }
}

#[test]
fn the_first_call_of_a_client_cannot_make_up_that_the_server_is_loading() {
    let server = Server::start();
    for source in [FORGE, &FORGE["#!lua\n".len()..]] {
        let client = client(&server);
        Raw::connect(&server).ok(&["DEL", "n"]);
        let text = "LOADING Redis is loading the dataset in memory";
        let error = client.call(&Script::new(source), &["n"], &[text]).unwrap_err();
        assert!(!error.is_not_executed() && !error.is_indeterminate(), "{error}");
        assert_eq!(Raw::connect(&server).ok(&["GET", "n"]).text(), "1");
    }
}
