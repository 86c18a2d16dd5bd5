//! Scripts and functions that are sent as commands (EVAL, FCALL) may answer in the server's words as any script may:
//! they run once, and are not said to have not.

use crate::support;

use rs_script::{Client, Error, Queue, Reply, Script, Status};
use support::calls::{LONG, NONE, client, cluster_client, options, take};
use support::cluster::{Cluster, slot_of};
use support::raw::Raw;
use support::server::{Binary, Server, all_versions};

/// Counts, and then fails in the words of its argument.
const FORGE: &str = "redis.call('INCR', KEYS[1]) return redis.error_reply(ARGV[1])";

const LIBRARY: &str = "#!lua name=forge\n\
                       redis.register_function('forge', function(KEYS, ARGV) \
                       redis.call('INCR', KEYS[1]) return redis.error_reply(ARGV[1]) end)";

/// What a server says that does not run a call just now, and would later, or would elsewhere.
const WORDS: [&str; 8] = [
    "LOADING Redis is loading the dataset in memory",
    "LOADING Valkey is loading the dataset in memory",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "READONLY You can't write against a read only replica.",
    "READONLY Can not run script with write flag on readonly replica",
    "NOSCRIPT No matching script. Please use EVAL.",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "CLUSTERDOWN The cluster is down",
];

/// The same call as a command in each of its forms.
fn commands<'a>(functions: bool, key: &'a str, text: &'a str) -> Vec<Vec<&'a str>> {
    let mut commands = vec![vec!["EVAL", FORGE, "1", key, text], vec!["eval", FORGE, "1", key, text]];
    if functions {
        commands.push(vec!["FCALL", "forge", "1", key, text]);
    }
    commands
}

/// That of the first item, or of a transaction that was refused as a whole.
fn first_error(replies: Result<Reply, Error>) -> Error {
    replies.map_or_else(|error| error, |replies| replies.get(0).unwrap().as_error().expect("an error"))
}

/// The error of a command in each kind of call.
fn errors(client: &Client, command: &[&str], mut each: impl FnMut(&str, Error)) {
    each("call", client.command(command).unwrap_err());
    let queue = Queue::new(1).unwrap();
    client.submit_command(&queue, 1, command).unwrap();
    each("submit", take(&queue, 1).remove(0).result.unwrap_err());
    for atomic in [false, true] {
        let mut several = if atomic { client.transaction() } else { client.pipeline() };
        several.command(command).unwrap();
        each("several", first_error(several.exec()));
    }
}

/// Whatever the text, the call has run once, and the error does not deny it.
fn runs_once(client: &Client, functions: bool, key: &str, text: &str) {
    for command in commands(functions, key, text) {
        client.command(&["SET", key, "0"]).unwrap();
        let mut runs = 0;
        errors(client, &command, |form, error| {
            runs += 1;
            assert!(!error.is_not_executed(), "{form} of {command:?}: {error}");
            let count = client.command(&["GET", key]).unwrap();
            assert_eq!(count.as_str(), Some(&*runs.to_string()), "{form} of {command:?}: {error}");
        });
    }
}

fn has_functions(server: &Server) -> bool {
    server.binary() != Binary::Redis62
}

#[test]
fn on_every_server() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        if has_functions(&server) {
            Raw::connect(&server).ok(&["FUNCTION", "LOAD", LIBRARY]);
        }
        let client = client(&server);
        for text in WORDS {
            runs_once(&client, has_functions(&server), "n", text);
        }
    }
}

#[test]
fn in_a_cluster() {
    let cluster = Cluster::start(3, 0);
    for node in cluster.nodes() {
        Raw::connect(node).ok(&["FUNCTION", "LOAD", LIBRARY]);
    }
    let client = cluster_client(&cluster);
    let slot = slot_of(b"n");
    let other = cluster.node((cluster.primary_of(slot) + 1) % 3).port();
    let redirections = ["MOVED", "ASK"].map(|word| format!("{word} {slot} 127.0.0.1:{other}"));
    for text in WORDS.into_iter().chain(redirections.iter().map(String::as_str)) {
        runs_once(&client, true, "n", text);
    }
}

#[test]
fn a_function_that_a_replica_refuses_has_not_run() {
    let server = Server::start();
    Raw::connect(&server).ok(&["FUNCTION", "LOAD", LIBRARY]);
    let client = client(&server);
    client.command(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();
    errors(&client, &["FCALL", "forge", "1", "n", "x"], |form, error| {
        assert!(error.message().contains("READONLY"), "{form}: {error}");
        assert!(error.is_not_executed() && !error.is_indeterminate(), "{form}: {error}");
    });
    assert_eq!(Raw::connect(&server).ok(&["EXISTS", "n"]).integer(), 0);
}

/// A transaction has loaded its scripts itself.
#[test]
fn a_script_in_a_transaction_that_makes_up_noscript_is_not_said_to_be_missing() {
    let server = Server::start();
    let client = client(&server);
    let script = Script::new(FORGE);
    let text = "NOSCRIPT No matching script. Please use EVAL.";
    let error_of = |with_flush: bool| {
        let mut transaction = client.transaction();
        transaction.script(&script, &["n"], &[text]).unwrap();
        if with_flush {
            transaction
                .command(&["SCRIPT", "FLUSH"])
                .unwrap()
                .script(&Script::new(MISSED), &NONE, &NONE)
                .unwrap();
        }
        let replies = transaction.exec().unwrap();
        replies.get(if with_flush { 2 } else { 0 }).unwrap().as_error().expect("an error")
    };
    const MISSED: &str = "return 'missed'";
    client.call(&Script::new(MISSED), &NONE, &NONE).unwrap();
    for runs in 1..3 {
        let error = error_of(false);
        assert_eq!((error.status(), error.server_text()), (Status::Server, Some(text.as_bytes())), "{error}");
        assert!(!error.is_not_executed() && !error.is_indeterminate(), "{error}");
        assert_eq!(client.command(&["GET", "n"]).unwrap().as_str(), Some(&*runs.to_string()));
    }
    // Where an item empties the cache the next ones do miss it.
    let error = error_of(true);
    assert!(error.status() == Status::NoScript && error.is_not_executed(), "{error}");
}

#[test]
fn in_a_transaction_whose_multi_is_refused_in_the_middle() {
    let server = Server::start();
    let mut admin = Raw::connect(&server);
    admin.ok(&["FUNCTION", "LOAD", LIBRARY]);
    for (name, text) in [
        ("EVAL", "NOPERM this user has no permissions to run the 'eval' command"),
        ("FCALL", "NOPERM No permissions to access a key"),
        ("FCALL", "CLUSTERDOWN The cluster is down"),
        ("EVAL", "NOSCRIPT No matching script. Please use EVAL."),
        ("EVAL", "LOADING Redis is loading the dataset in memory"),
        ("FCALL", "NOSCRIPT No matching script. Please use EVAL."),
        ("FCALL", "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
    ] {
        admin.ok(&["ACL", "SETUSER", "u", "reset", "on", ">p", "+@all", "~*", "&*"]);
        admin.ok(&["DEL", "n"]);
        let client = Client::open(&server.url().replace("//", "//u:p@"), &options(LONG)).unwrap();
        let mut transaction = client.transaction();
        transaction.command(&["PING"]).unwrap();
        transaction.exec().unwrap();
        client.command(&["GET", "n"]).unwrap();
        admin.ok(&["ACL", "SETUSER", "u", "-multi"]);
        let code = if name == "EVAL" { FORGE } else { "forge" };
        transaction.command(&[name, code, "1", "n", text]).unwrap();
        let error = transaction.exec().unwrap_err();
        assert!(error.is_indeterminate() && !error.is_not_executed(), "{error}");
        assert_eq!(admin.ok(&["GET", "n"]).text(), "1", "{error}");
    }
}
