//! What a user may do differs, and changes while connections live.

use crate::support;

use std::thread;

use rs_script::{Client, Options, Queue, Script, Status};
use support::calls::{COUNT, LONG, NONE, options, shown, take};
use support::cluster::{Cluster, slot_of};
use support::raw::{Raw, calls_of};
use support::server::{Binary, Server, all_versions};
use support::wait_until;

/// Counts, and then fails in the words of its argument.
const FORGE: &str = "redis.call('INCR', KEYS[1]) return redis.error_reply(ARGV[1])";

/// A server with the user `u`, who may do everything but `rights`.
fn limited(binary: Binary, rights: &[&str]) -> (Server, String) {
    let server = Server::builder().binary(binary).start();
    allow(&server, &[&["on", ">p", "~*", "&*", "+@all"], rights].concat());
    let url = format!("redis://u:p@127.0.0.1:{}", server.port());
    (server, url)
}

fn allow(server: &Server, rights: &[&str]) {
    Raw::connect(server).ok(&[&["ACL", "SETUSER", "u"], rights].concat());
}

fn number(server: &Server, key: &str) -> i64 {
    let mut raw = Raw::connect(server);
    if raw.ok(&["EXISTS", key]).integer() == 0 { 0 } else { raw.ok(&["GET", key]).text().parse().unwrap() }
}

/// Two commands and a script in a transaction.
fn transact(client: &Client) -> rs_script::Result<rs_script::Reply> {
    let mut transaction = client.transaction();
    transaction.command(&["INCR", "n"]).unwrap().command(&["INCR", "n"]).unwrap();
    transaction.script(&Script::new(COUNT), &["n"], &NONE).unwrap();
    transaction.exec()
}

#[test]
fn multi_granted_later_is_used_on_the_same_connection_and_on_the_next() {
    for binary in all_versions() {
        for right in ["multi", "exec"] {
            let (server, url) = limited(binary, &[&format!("-{right}")]);
            let client = Client::open(&url, &Options::default()).unwrap();
            for _ in 0..2 {
                let error = transact(&client).unwrap_err();
                assert!(error.is_not_executed() && error.message().contains("NOPERM"), "{binary:?}: {error}");
            }
            assert_eq!(number(&server, "n"), 0);
            allow(&server, &[&format!("+{right}")]);
            assert_eq!(shown(&transact(&client).unwrap()), "Array[1, 2, 3]", "{binary:?}");
            Raw::connect(&server).ok(&["CLIENT", "KILL", "USER", "u"]);
            wait_until("a new connection", || client.command(&["PING"]).is_ok());
            assert_eq!(shown(&transact(&client).unwrap()), "Array[4, 5, 6]", "{binary:?}");
        }
    }
}

#[test]
fn a_transaction_without_multi_says_what_ran_and_is_the_last_of_its_kind() {
    for binary in all_versions() {
        let (server, url) = limited(binary, &[]);
        let client = Client::open(&url, &Options::default()).unwrap();
        assert_eq!(shown(&transact(&client).unwrap()), "Array[1, 2, 3]");
        allow(&server, &["-multi", "-strlen"]);
        let mut transaction = client.transaction();
        transaction.command(&["INCR", "n"]).unwrap().command(&["STRLEN", "n"]).unwrap();
        transaction
            .command(&["LPUSH", "n", "x"])
            .unwrap()
            .script(&Script::new(COUNT), &["n"], &NONE)
            .unwrap();
        let error = transaction.exec().unwrap_err();
        let text = format!("{binary:?}: {error}");
        assert_eq!((error.status(), error.server_code()), (Status::Indeterminate, Some("NOPERM")), "{text}");
        assert!(error.is_indeterminate() && !error.is_not_executed(), "{text}");
        for words in ["items 0, 3 ran", "item 1 did not run", "item 2 answered with an error"] {
            assert!(error.message().contains(words), "{words}: {text}");
        }
        assert_eq!(number(&server, "n"), 5, "{binary:?}");
        // Never again, on this connection or another, until MULTI is allowed.
        for round in 0..3 {
            let error = transact(&client).unwrap_err();
            assert!(error.is_not_executed(), "{binary:?}: {error}");
            if round == 1 {
                Raw::connect(&server).ok(&["CLIENT", "KILL", "USER", "u"]);
                wait_until("a new connection", || client.command(&["PING"]).is_ok());
            }
        }
        assert_eq!(number(&server, "n"), 5, "{binary:?}");
        allow(&server, &["+multi"]);
        assert_eq!(shown(&transact(&client).unwrap()), "Array[6, 7, 8]", "{binary:?}");
    }
}

#[test]
fn a_right_lost_together_with_all_others_runs_nothing_and_says_so() {
    for binary in all_versions() {
        let (server, url) = limited(binary, &[]);
        let client = Client::open(&url, &Options::default()).unwrap();
        assert_eq!(shown(&transact(&client).unwrap()), "Array[1, 2, 3]");
        allow(&server, &["-@all"]);
        let error = transact(&client).unwrap_err();
        assert_eq!(error.status(), Status::TransactionAborted, "{binary:?}: {error}");
        assert!(error.is_not_executed() && !error.is_indeterminate(), "{binary:?}: {error}");
        assert_eq!(number(&server, "n"), 3);
    }
}

#[test]
fn a_refused_multi_stops_the_transactions_on_all_connections_of_the_client() {
    let cluster = Cluster::start(2, 0);
    for node in cluster.nodes() {
        allow(node, &["on", ">p", "~*", "&*", "+@all"]);
    }
    let client = Client::open(&cluster.cluster_url().replace("://", "://u:p@"), &options(LONG)).unwrap();
    let keys = [cluster.tag_on(0, "a"), cluster.tag_on(1, "a")];
    let transact = |key: &str| {
        let mut transaction = client.transaction();
        transaction.command(&["INCR", key]).unwrap().command(&["INCR", key]).unwrap();
        transaction.exec()
    };
    for key in &keys {
        assert_eq!(shown(&transact(key).unwrap()), "Array[1, 2]");
    }
    for node in cluster.nodes() {
        allow(node, &["-multi"]);
    }
    assert!(transact(&keys[0]).unwrap_err().is_indeterminate());
    for key in &keys {
        let error = transact(key).unwrap_err();
        assert!(error.is_not_executed(), "{error}");
    }
    assert_eq!((number(cluster.node(0), &keys[0]), number(cluster.node(1), &keys[1])), (4, 2));
}

#[test]
fn many_transactions_at_a_time_share_the_proof_that_the_first_of_them_needs() {
    let server = Server::start();
    let mut without = Options::default();
    without.probe_transactions(false);
    let client = Client::open(&server.url(), &without).unwrap();
    assert_eq!(calls_of(&server, "multi"), 0);
    let queue = Queue::new(1000).unwrap();
    for tag in 0..1000 {
        let mut transaction = client.transaction();
        transaction.command(&["INCR", "n"]).unwrap();
        transaction.submit(&queue, tag).unwrap();
    }
    assert!(take(&queue, 1000).iter().all(|completion| completion.result.is_ok()));
    assert_eq!(number(&server, "n"), 1000);
    assert_eq!(calls_of(&server, "multi"), 1001);
    transact(&client).unwrap();
    assert_eq!(calls_of(&server, "multi"), 1002);
}

#[test]
fn transactions_of_many_threads_run_whole_or_say_that_they_did_not_while_multi_comes_and_goes() {
    let (server, url) = limited(Binary::Default, &[]);
    let client = Client::open(&url, &options(LONG)).unwrap();
    let (mut whole, mut singly) = (0, 0);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let (mut whole, mut singly) = (0, 0);
                    for _ in 0..200 {
                        let mut transaction = client.transaction();
                        transaction.command(&["INCR", "n"]).unwrap().command(&["INCR", "n"]).unwrap();
                        match transaction.exec() {
                            Ok(_) => whole += 1,
                            Err(error) if error.is_not_executed() => {}
                            Err(error) => {
                                assert!(error.message().contains("items 0-1 ran"), "{error}");
                                singly += 1;
                            }
                        }
                    }
                    (whole, singly)
                })
            })
            .collect();
        for _ in 0..20 {
            allow(&server, &["-multi"]);
            allow(&server, &["+multi"]);
        }
        for thread in threads {
            let (more_whole, more_singly) = thread.join().unwrap();
            whole += more_whole;
            singly += more_singly;
        }
    });
    assert_eq!(number(&server, "n"), 2 * (whole + singly));
}

#[test]
fn script_load_granted_later_is_used_on_the_next_connection() {
    for binary in all_versions() {
        let (server, url) = limited(binary, &["-script"]);
        let client = Client::open(&url, &Options::default()).unwrap();
        assert_eq!(client.call(&Script::new("return 'a'"), &NONE, &NONE).unwrap().as_str(), Some("a"));
        allow(&server, &["+script"]);
        Raw::connect(&server).ok(&["CLIENT", "KILL", "USER", "u"]);
        wait_until("a new connection", || client.command(&["PING"]).is_ok());
        let evals = calls_of(&server, "eval");
        for text in ["return 'b'", "return 'c'"] {
            client.call(&Script::new(text), &NONE, &NONE).unwrap();
        }
        assert_eq!(calls_of(&server, "eval"), evals, "{binary:?}");
    }
}

#[test]
fn what_the_handshake_asks_for_can_be_switched_off() {
    for binary in all_versions() {
        let rights = ["-@all", "+evalsha", "+script|load", "+eval"];
        let rights =
            if binary == Binary::Redis62 { &["-@all", "+evalsha", "+script", "+eval"] } else { &rights };
        let (server, url) = limited(binary, rights);
        let mut raw = Raw::connect(&server);
        let script = Script::new("return 7");
        let mut options = Options::default();
        for (url, options) in [
            (format!("{url}?client_info=false&probe_transactions=false"), &Options::default()),
            (url.clone(), &*options.client_info(false).probe_transactions(false)),
        ] {
            let client = Client::open(&url, options).unwrap();
            assert_eq!(client.call(&script, &NONE, &NONE).unwrap().as_i64(), Some(7), "{binary:?}");
            assert_eq!(raw.ok(&["ACL", "LOG"]).elements().len(), 0, "{binary:?}");
        }
        let client = Client::open(&url, &Options::default()).unwrap();
        assert_eq!(client.call(&script, &NONE, &NONE).unwrap().as_i64(), Some(7), "{binary:?}");
        assert!(!raw.ok(&["ACL", "LOG"]).elements().is_empty(), "{binary:?}");
    }
}

/// A node that joins a cluster, empty.
fn join(cluster: &Cluster, binary: Binary) -> Server {
    let server = Server::builder().binary(binary).arg("cluster-enabled", "yes").start();
    let port = server.port().to_string();
    Raw::connect(cluster.node(0)).ok(&["CLUSTER", "MEET", "127.0.0.1", &port]);
    wait_until("all nodes know the new one, and it knows them", || {
        cluster.nodes().iter().chain([&server]).all(|node| {
            let nodes = Raw::connect(node).ok(&["CLUSTER", "NODES"]).text();
            let info = Raw::connect(node).ok(&["CLUSTER", "INFO"]).text();
            nodes.lines().count() == cluster.nodes().len() + 1 && info.contains("cluster_state:ok")
        })
    });
    server
}

#[test]
fn a_user_with_cluster_slots_alone_follows_a_slot_to_a_node_that_joined_later() {
    for binary in all_versions() {
        let cluster = Cluster::builder(2).binary(binary).start();
        let rights = &["on", ">p", "~*", "&*", "+@all", "-cluster", "+cluster|slots"];
        cluster.nodes().iter().for_each(|node| allow(node, rights));
        let url = cluster.cluster_url().replace("://", "://u:p@");
        let client = Client::open(&url, &options(LONG)).unwrap();
        let tag = cluster.tag_on(0, "a");
        let count = Script::new(COUNT);
        assert_eq!(client.call(&count, &[&tag], &NONE).unwrap().as_i64(), Some(1), "{binary:?}");
        Raw::connect(cluster.node(0)).ok(&["DEL", &tag]);

        let new = join(&cluster, binary);
        allow(&new, rights);
        let slot = slot_of(tag.as_bytes()).to_string();
        let id = Raw::connect(&new).ok(&["CLUSTER", "MYID"]).text();
        for node in [&new, cluster.node(0), cluster.node(1)] {
            Raw::connect(node).ok(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        }
        for expected in 1..4 {
            let reply =
                client.call(&count, &[&tag], &NONE).unwrap_or_else(|error| panic!("{binary:?}: {error}"));
            assert_eq!(reply.as_i64(), Some(expected), "{binary:?}");
        }
        let mut pipeline = client.pipeline();
        pipeline.script(&count, &[&tag], &NONE).unwrap();
        assert_eq!(shown(&pipeline.exec().unwrap()), "Array[4]", "{binary:?}");
    }
}

#[test]
fn a_redirection_that_a_script_makes_up_runs_it_once_for_such_a_user_too() {
    let cluster = Cluster::start(2, 0);
    let rights = &["on", ">p", "~*", "&*", "+@all", "-cluster", "+cluster|slots"];
    cluster.nodes().iter().for_each(|node| allow(node, rights));
    let client = Client::open(&cluster.cluster_url().replace("://", "://u:p@"), &options(LONG)).unwrap();
    let forge = Script::new(FORGE);
    for (from, to) in [(0, 1), (1, 0)] {
        let tag = cluster.tag_on(from, "f");
        let text = format!("MOVED {} {}", slot_of(tag.as_bytes()), cluster.node(to).address());
        let error = client.call(&forge, &[&tag], &[&text]).unwrap_err();
        assert_eq!(error.server_text(), Some(text.as_bytes()), "{error}");
        assert!(!error.is_not_executed(), "{error}");
        assert_eq!(number(cluster.node(from), &tag), 1);
    }
}

#[test]
fn who_may_not_ask_for_the_slots_has_executed_nothing() {
    let cluster = Cluster::start(3, 0);
    for node in cluster.nodes() {
        allow(node, &["on", ">p", "~*", "&*", "+@all", "-cluster"]);
    }
    let mut options = options(LONG);
    options.username("u").unwrap().password("p").lazy_connect(true);
    let client = Client::open(&cluster.cluster_url(), &options).unwrap();
    let count = Script::new(COUNT);
    let mut pipeline = client.pipeline();
    pipeline.script(&count, &["n"], &NONE).unwrap();
    let mut transaction = client.transaction();
    transaction.script(&count, &["n"], &NONE).unwrap();
    let ends = [
        client.call(&count, &["n"], &NONE),
        pipeline.exec(),
        transaction.exec(),
        client.script_load(&count).map(|()| unreachable!("nobody was found")),
    ];
    for error in ends.map(Result::unwrap_err) {
        assert!(error.is_not_executed() && !error.is_indeterminate(), "{error}");
        assert_eq!((error.status(), error.server_code()), (Status::Server, Some("NOPERM")), "{error}");
        assert!(error.message().contains("refuses to say which servers there are: NOPERM"), "{error}");
    }
}
