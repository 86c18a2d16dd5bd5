//! Whatever a server runs can be stopped, and is named: scripts, functions, by calls and by commands sent as they are.

use crate::support;

use std::thread;

use rs_script::{Client, Kind, Options, Queue, Route, Script, Status};
use support::calls::{LONG, NONE, options, take};
use support::cluster::Cluster;
use support::raw::{Raw, Value};
use support::server::{Binary, Builder, Server, all_versions};
use support::wait_until;

const LIBRARY: &str = "#!lua name=lib\n\
    redis.register_function('spin', function() while true do end end)\n\
    redis.register_function('write_and_spin', function(keys) redis.call('SET', keys[1], '1') while true do end end)";

fn impatient(server: Builder) -> Builder {
    server.arg("lua-time-limit", "50")
}

fn start(binary: Binary) -> Server {
    let server = impatient(Server::builder().binary(binary)).start();
    if has_functions(binary) {
        Raw::connect(&server).ok(&["FUNCTION", "LOAD", LIBRARY]);
    }
    server
}

fn has_functions(binary: Binary) -> bool {
    binary != Binary::Redis62
}

fn wait_until_busy(server: &Server) {
    let mut raw = Raw::connect(server);
    wait_until(
        "the server says BUSY",
        || matches!(raw.cmd(&["PING"]), Value::Error(text) if text.starts_with("BUSY")),
    );
}

#[test]
fn kill_stops_a_script_or_a_function_and_says_which_on_every_version() {
    for binary in all_versions() {
        let server = start(binary);
        let url = format!("{}/3", server.url());
        let client = Client::open(&url, options(LONG).client_name("x").unwrap()).unwrap();
        let error = client.kill().unwrap_err();
        assert_eq!(error.server_code(), Some("NOTBUSY"), "{binary:?}: {error}");
        for function in [false, true] {
            if function && !has_functions(binary) {
                continue;
            }
            thread::scope(|scope| {
                let endless = scope.spawn(|| match function {
                    true => client.command(&["FCALL", "spin", "0"]),
                    false => client.call(&Script::new("while true do end"), &NONE, &NONE),
                });
                wait_until_busy(&server);
                if function {
                    // One that is asked to stop scripts leaves it alone.
                    let status = client.script_kill().map_err(|error| error.status());
                    assert_eq!(status, Err(Status::Busy), "{binary:?}");
                }
                let killed = client.kill().unwrap();
                assert_eq!(killed.len(), 1);
                assert_eq!(killed[0].is_function, function, "{binary:?}");
                assert_eq!(killed[0].name.as_deref(), function.then_some("spin"), "{binary:?}");
                assert_eq!(killed[0].node, server.address().to_string());
                let error = endless.join().unwrap().unwrap_err();
                assert!(error.message().to_lowercase().contains("killed"), "{binary:?}: {error}");
            });
        }
        assert_eq!(client.stats().reconnects, 0, "the shared connection took no harm");
    }
}

#[test]
fn a_function_that_has_written_is_unkillable() {
    for binary in all_versions().filter(|&binary| has_functions(binary)) {
        let server = start(binary);
        let client = Client::open(&server.url(), &options(LONG)).unwrap();
        thread::scope(|scope| {
            let endless = scope.spawn(|| client.command(&["FCALL", "write_and_spin", "1", "k"]));
            wait_until_busy(&server);
            let error = client.kill().unwrap_err();
            assert_eq!(error.server_code(), Some("UNKILLABLE"), "{binary:?}: {error}");
            server.kill();
            assert!(endless.join().unwrap().unwrap_err().is_indeterminate());
        });
    }
}

#[test]
fn a_user_who_may_not_ask_for_the_name_stops_the_function_all_the_same() {
    let server = start(Binary::Default);
    let rights = ["-@all", "+script|kill", "+function|kill"];
    Raw::connect(&server).ok(&[&["ACL", "SETUSER", "u", "on", ">p"][..], &rights].concat());
    let client = Client::open(&server.url(), &options(LONG)).unwrap();
    let killer = Client::open(&format!("redis://u:p@{}", server.address()), &options(LONG)).unwrap();
    thread::scope(|scope| {
        let endless = scope.spawn(|| client.command(&["FCALL", "spin", "0"]));
        wait_until_busy(&server);
        let killed = killer.kill().unwrap();
        assert_eq!((killed[0].is_function, killed[0].name.as_deref()), (true, None));
        endless.join().unwrap().unwrap_err();
    });
}

#[test]
fn kill_commands_wait_for_no_other_call_of_the_client() {
    for binary in all_versions() {
        let server = start(binary);
        let client = Client::open(&format!("{}/3", server.url()), &options(LONG)).unwrap();
        let queue = Queue::new(100).unwrap();
        for submitted in [false, true] {
            for function in [false, true] {
                if function && !has_functions(binary) {
                    continue;
                }
                let words = if function { ["FUNCTION", "KILL"] } else { ["SCRIPT", "KILL"] };
                thread::scope(|scope| {
                    let endless = scope.spawn(|| match function {
                        true => client.command(&["FCALL", "spin", "0"]),
                        false => client.call(&Script::new("while true do end"), &NONE, &NONE),
                    });
                    wait_until_busy(&server);
                    if function {
                        let stats = client.command(&["FUNCTION", "STATS"]).unwrap();
                        assert!(format!("{stats:?}").contains("spin"), "{stats:?}");
                    }
                    let reply = if submitted {
                        client.submit_command(&queue, 1, &words).unwrap();
                        take(&queue, 1).remove(0).result
                    } else {
                        client.command(&words)
                    };
                    assert_eq!(reply.unwrap().as_str(), Some("OK"), "{binary:?}: {words:?}");
                    endless.join().unwrap().unwrap_err();
                });
            }
        }
    }
}

#[test]
fn a_submitted_kill_command_waits_for_no_commands_that_wait() {
    let server = start(Binary::Default);
    let client = Client::open(&server.url(), &options(LONG)).unwrap();
    let queue = Queue::new(100).unwrap();
    for tag in 0..40 {
        client.submit_command(&queue, tag, &["BLPOP", "list", "0"]).unwrap();
    }
    wait_until("they wait at the server", || {
        Raw::connect(&server).info("clients", "blocked_clients").is_some_and(|blocked| blocked != "0")
    });
    client.submit_command(&queue, 100, &["SCRIPT", "KILL"]).unwrap();
    let answer = take(&queue, 1).remove(0);
    assert_eq!(answer.tag, 100);
    assert_eq!(answer.result.unwrap_err().server_code(), Some("NOTBUSY"));
    client.close();
    assert_eq!(take(&queue, 40).len(), 40);
}

#[test]
fn in_a_cluster_what_all_primaries_run_is_stopped() {
    let cluster = Cluster::builder(3).each(impatient).start();
    let client = Client::open(&cluster.cluster_url(), &options(LONG)).unwrap();
    let keys = [0, 1].map(|node| cluster.tag_on(node, "k"));
    Raw::connect(cluster.node(0)).ok(&["FUNCTION", "LOAD", LIBRARY]);
    thread::scope(|scope| {
        let spin = scope.spawn(|| client.command(&["FCALL", "spin", "1", &keys[0]]));
        let endless = scope.spawn(|| client.call(&Script::new("while true do end"), &[&keys[1]], &NONE));
        wait_until_busy(cluster.node(0));
        wait_until_busy(cluster.node(1));
        let mut killed = client.kill().unwrap();
        killed.sort_by_key(|what| !what.is_function);
        let shown: Vec<_> = killed.iter().map(|what| (what.name.as_deref(), what.node.as_str())).collect();
        let nodes = [0, 1].map(|node| cluster.node(node).address().to_string());
        assert_eq!(shown, [(Some("spin"), nodes[0].as_str()), (None, nodes[1].as_str())]);
        spin.join().unwrap().unwrap_err();
        endless.join().unwrap().unwrap_err();
    });
    assert_eq!(client.kill().unwrap_err().server_code(), Some("NOTBUSY"));
    // The command by itself goes where it is sent.
    let everywhere = client.with_route(Route::AllPrimaries).unwrap();
    let answers = everywhere.command(&["SCRIPT", "KILL"]).unwrap();
    assert_eq!((answers.kind(), answers.root().len()), (Kind::Map, 6), "{answers:?}");
    let queue = Queue::new(1).unwrap();
    everywhere.submit_command(&queue, 1, &["FUNCTION", "STATS"]).unwrap();
    let answers = take(&queue, 1).remove(0).result.unwrap();
    assert_eq!((answers.kind(), answers.root().len()), (Kind::Map, 6), "{answers:?}");
}

#[test]
fn a_pipeline_takes_a_kill_command_as_any_other() {
    let server = start(Binary::Default);
    let client = Client::open(&server.url(), &Options::default()).unwrap();
    let mut pipeline = client.pipeline();
    pipeline.command(&["SCRIPT", "KILL"]).unwrap().command(&["PING"]).unwrap();
    let replies = pipeline.exec().unwrap();
    let kinds: Vec<Kind> = replies.root().elements().map(|reply| reply.kind()).collect();
    assert_eq!(kinds, [Kind::Error, Kind::Status]);
}
