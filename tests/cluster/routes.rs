//! Scripts and commands on real clusters: where they go, what is refused before it is sent, and what it takes to open
//! one.

use crate::support;

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rs_script::{Client, Error, Kind, Options, Reply, Route, Script, Status};
use support::calls::{COUNT, LONG, NONE, WHERE, cluster_client, shown, with_longer_deadlines};
use support::cluster::{Cluster, slot_of};
use support::fake::Fake;
use support::raw::{Raw, Value, blocked_clients, calls_of};
use support::server::{Server, all_versions};
use support::{SLACK, wait_for, wait_until};

const SET_AND_GET: &str = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])";

/// Three primaries with a replica each, for all tests that leave it as it is.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(3, 1))
}

fn address(cluster: &Cluster, node: usize) -> String {
    format!("127.0.0.1:{}", cluster.node(node).port())
}

fn routed(client: &Client, route: Route<'_>) -> Client {
    client.with_route(route).expect("a route that makes sense")
}

/// The error of a call of which no byte was sent.
#[track_caller]
fn unsent<T>(client: &Client, status: Status, call: impl FnOnce() -> Result<T, Error>) -> String {
    let before = client.stats();
    let error = call().err().expect("an error");
    assert_eq!(error.status(), status, "{error}");
    assert!(error.is_not_executed() && !error.is_indeterminate(), "{error}");
    assert_eq!(client.stats(), before, "{error}");
    error.message().to_owned()
}

/// A port on which nothing listens.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound address").port()
}

#[test]
fn scripts_run_where_their_keys_are() {
    let (cluster, client) = (cluster(), cluster_client(cluster()));
    let script = Script::new(SET_AND_GET);
    let mut keys: Vec<Vec<u8>> = (0..60).map(|number| format!("where:{number}").into_bytes()).collect();
    for key in [
        &b""[..],
        b"{where}a",
        b"a{where}b",
        b"{where}{other}",
        b"{}where",
        b"{}{where}",
        b"where{",
        b"{where",
        b"}where{",
        b"{{where}}",
        b"\xff\0{\r\n\0}where",
        b"\xfe\r\n$3\r\n",
    ] {
        keys.push(key.to_vec());
    }
    let mut owners = HashSet::new();
    for (number, key) in keys.iter().enumerate() {
        let value = number.to_string();
        let reply = client.call(&script, &[key], &[&value]).unwrap();
        assert_eq!(reply.as_str(), Some(value.as_str()), "{}", key.escape_ascii());
        let owner = cluster.primary_of(slot_of(key));
        let there = Raw::connect(cluster.node(owner)).ok(&[b"GET", key.as_slice()]);
        assert_eq!(there, Value::Bulk(value.into_bytes()), "{}", key.escape_ascii());
        owners.insert(owner);
    }
    assert_eq!(owners.len(), 3);
    let together = client.call(&Script::new("return #KEYS"), &["{where}1", "{where}2", "where"], &NONE);
    assert_eq!(together.unwrap().as_i64(), Some(3));
    assert_eq!(client.stats().redirects, 0);
}

#[test]
fn keys_of_two_slots_are_named_and_nothing_is_sent() {
    let client = cluster_client(cluster());
    let script = Script::new(COUNT);
    let keys = ["{cross}1", "{cross}2", "a\r\n"];
    let mut pipeline = client.pipeline();
    let mut transaction = client.transaction();
    transaction.script(&script, &["{cross}1"], &NONE).unwrap();
    for message in [
        unsent(&client, Status::CrossSlot, || client.call(&script, &keys, &NONE)),
        unsent(&client, Status::CrossSlot, || client.call_read_only(&script, &keys, &NONE)),
        unsent(&client, Status::CrossSlot, || client.command(&["MSET", keys[0], "1", keys[2], "2"])),
        unsent(&client, Status::CrossSlot, || pipeline.script(&script, &keys, &NONE).map(drop)),
        unsent(&client, Status::CrossSlot, || pipeline.command(&["DEL", keys[0], keys[2]]).map(drop)),
        unsent(&client, Status::CrossSlot, || transaction.script(&script, &keys[2..], &NONE).map(drop)),
    ] {
        assert!(message.contains(r#""{cross}1""#) && message.contains(r#""a\r\n""#), "{message}");
    }
    assert_eq!((pipeline.len(), transaction.len()), (0, 1), "what was refused is not in them");
    assert_eq!(shown(&transaction.exec().unwrap()), "Array[1]");
}

#[test]
fn what_has_no_keys_is_spread_over_all_primaries() {
    let (cluster, client) = (cluster(), cluster_client(cluster()));
    let script = Script::new(WHERE);
    let primaries: HashSet<String> = (0..3).map(|node| cluster.node(node).port().to_string()).collect();
    let mut seen = HashSet::new();
    for _ in 0..200 {
        seen.insert(client.call(&script, &NONE, &NONE).unwrap().as_str().unwrap().to_owned());
    }
    assert_eq!(seen, primaries);
}

#[test]
fn a_route_decides_where_keys_do_not() {
    let (cluster, client) = (cluster(), cluster_client(cluster()));
    let script = Script::new(WHERE);
    let port_by = |route: Route<'_>| {
        let reply = routed(&client, route).call(&script, &NONE, &NONE).unwrap();
        reply.as_str().unwrap().parse::<u16>().unwrap()
    };
    for node in 0..3 {
        let tag = cluster.tag_on(node, "route");
        for _ in 0..5 {
            assert_eq!(port_by(Route::Key(tag.as_bytes())), cluster.node(node).port());
            assert_eq!(port_by(Route::Slot(slot_of(tag.as_bytes()))), cluster.node(node).port());
        }
    }
    for node in 0..6 {
        let address = address(cluster, node);
        assert_eq!(port_by(Route::Node(&address)), cluster.node(node).port());
        let role = routed(&client, Route::Node(&address)).command(&["ROLE"]).unwrap();
        let expected = if node < 3 { "master" } else { "slave" };
        assert_eq!(role.get(0).unwrap().as_str(), Some(expected), "a replica's address is a route as well");
    }
    // Keys go before it.
    let key = cluster.tag_on(0, "routekey");
    for route in [Route::Node(&address(cluster, 1)), Route::Slot(16383), Route::AllPrimaries] {
        let client = routed(&client, route);
        let reply = client.call(&Script::new(SET_AND_GET), &[&key], &["5"]).unwrap();
        assert_eq!(shown(&reply), r#"String("5")"#);
        assert_eq!(shown(&client.command(&["GET", &key]).unwrap()), r#"String("5")"#);
        let mut transaction = client.transaction();
        transaction.command(&["GET", &key]).unwrap().script(&script, &NONE, &NONE).unwrap();
        let expected = format!(r#"Array[String("5"), String("{}")]"#, cluster.node(0).port());
        assert_eq!(shown(&transaction.exec().unwrap()), expected);
    }
    assert_eq!(client.stats().redirects, 0);
}

#[test]
fn pipelines_and_transactions_without_keys_go_by_their_route() {
    let (cluster, client) = (cluster(), cluster_client(cluster()));
    let script = Script::new(WHERE);
    for node in 0..6 {
        let client = routed(&client, Route::Node(&address(cluster, node)));
        let expected = format!(r#"Array[String("{0}"), String("{0}")]"#, cluster.node(node).port());
        for mut pipeline in [client.pipeline(), client.transaction()] {
            pipeline.script(&script, &NONE, &NONE).unwrap().script(&script, &NONE, &NONE).unwrap();
            assert_eq!(shown(&pipeline.exec().unwrap()), expected);
        }
    }
    // Without one, all items without keys of a pipeline go to the same server.
    for _ in 0..20 {
        let mut pipeline = client.pipeline();
        pipeline.script(&script, &NONE, &NONE).unwrap().command(&["PING"]).unwrap();
        pipeline.script(&script, &NONE, &NONE).unwrap();
        let replies = pipeline.exec().unwrap();
        assert_eq!(replies.get(0).unwrap().as_str(), replies.get(2).unwrap().as_str());
    }
    let all = routed(&client, Route::AllPrimaries);
    for mut pipeline in [all.pipeline(), all.transaction()] {
        pipeline.command(&["PING"]).unwrap();
        let error = pipeline.exec().err();
        // A pipeline's items without keys all go to one server, and that cannot be all of them.
        let error = error.expect("no room for several replies to an item");
        assert_eq!(error.status(), Status::NoRoute, "{error}");
        assert!(error.is_not_executed(), "{error}");
    }
}

/// What each server said, by its address.
fn by_address(reply: &Reply) -> Vec<(String, String)> {
    assert_eq!(reply.kind(), Kind::Map);
    let parts: Vec<_> = reply.root().elements().collect();
    let mut said: Vec<(String, String)> = parts
        .chunks(2)
        .map(|pair| (pair[0].as_str().unwrap().to_owned(), pair[1].as_str().unwrap_or_default().to_owned()))
        .collect();
    said.sort();
    said
}

#[test]
fn all_primaries_answer_in_a_map() {
    let (cluster, client) = (cluster(), cluster_client(cluster()));
    let all = routed(&client, Route::AllPrimaries);
    let mut expected: Vec<(String, String)> =
        (0..3).map(|node| (address(cluster, node), cluster.node(node).port().to_string())).collect();
    expected.sort();
    for _ in 0..2 {
        assert_eq!(by_address(&all.call(&Script::new(WHERE), &NONE, &NONE).unwrap()), expected);
    }
    let table = all.call(&Script::new("return {1, {'a', {err = 'MINE'}}, false}"), &NONE, &NONE).unwrap();
    for answer in table.root().elements().skip(1).step_by(2) {
        assert_eq!(format!("{answer:?}"), r#"Array[1, Array[String("a"), Error("MINE")], Nil]"#);
    }
    let pong = all.command(&["PING"]).unwrap();
    assert!(by_address(&pong).iter().all(|(_, said)| said == "PONG"), "{pong:?}");
    let sizes = all.command(&["DBSIZE"]).unwrap();
    assert!(sizes.root().elements().skip(1).step_by(2).all(|size| size.as_i64().is_some()), "{sizes:?}");
    // An error of one is its element; here all have one.
    let errors = all.command(&["NO.SUCH.COMMAND", "x"]).unwrap();
    for error in errors.root().elements().skip(1).step_by(2) {
        let error = error.as_error().expect("an error");
        assert_eq!((error.status(), error.server_code()), (Status::Server, Some("ERR")), "{error}");
    }
    // On the one that is asked alone it is the call's error.
    let script = Script::new("return redis.error_reply('MINE ' .. ARGV[1])");
    assert_eq!(client.call(&script, &NONE, &["x"]).unwrap_err().server_text(), Some(&b"MINE x"[..]));
}

#[test]
fn routes_that_lead_nowhere_are_refused() {
    let client = cluster_client(cluster());
    for route in [Route::Slot(16384), Route::Slot(u16::MAX), Route::Node("no-port"), Route::Node("")] {
        unsent(&client, Status::InvalidArgument, || client.with_route(route));
    }
    let nowhere = format!("127.0.0.1:{}", closed_port());
    let routed = routed(&client, Route::Node(&nowhere));
    for error in
        [routed.command(&["PING"]).unwrap_err(), routed.call(&Script::new(WHERE), &NONE, &NONE).unwrap_err()]
    {
        assert_eq!(error.status(), Status::NoRoute, "{error}");
        assert!(error.is_not_executed() && error.message().contains(&nowhere), "{error}");
    }
    assert_eq!(routed.call(&Script::new("return 1"), &["k"], &NONE).unwrap().as_i64(), Some(1));
}

#[test]
fn a_replica_that_is_named_refuses_writes_at_once() {
    let (cluster, client) = (cluster(), cluster_client(cluster()).with_timeout(LONG));
    let replica = routed(&client, Route::Node(&address(cluster, 3)));
    let write = Script::new("return redis.call('FLUSHDB')");
    let start = Instant::now();
    for error in [replica.command(&["FLUSHDB"]).unwrap_err(), replica.call(&write, &NONE, &NONE).unwrap_err()]
    {
        assert_eq!(error.status(), Status::Server, "{error}");
        assert!(error.message().contains("READONLY") || error.message().contains("read only"), "{error}");
    }
    assert!(start.elapsed() < LONG / 2, "{:?}", start.elapsed());
}

#[test]
fn commands_go_where_their_keys_are() {
    let (cluster, client) = (cluster(), cluster_client(cluster()));
    routed(&client, Route::AllPrimaries)
        .command(&[
            "FUNCTION",
            "LOAD",
            "REPLACE",
            "#!lua name=cluster_test\nredis.register_function('first', function(keys) \
             return redis.call('GET', keys[1]) end)",
        ])
        .unwrap();
    let get = "return redis.call('GET', KEYS[1])";
    let sha = Script::new(get).sha_hex().to_owned();
    for node in 0..3 {
        let tag = cluster.tag_on(node, "commands");
        let key = |name: &str| format!("{tag}{name}");
        let say = |command: &[&str]| {
            let words: Vec<String> =
                command.iter().map(|word| word.strip_prefix('@').map_or(word.to_string(), key)).collect();
            shown(&client.command(&words).unwrap_or_else(|error| panic!("{command:?}: {error}")))
        };
        assert_eq!(say(&["SET", "@a", "5"]), r#"Status("OK")"#);
        assert_eq!(say(&["get", "@a"]), r#"String("5")"#);
        assert_eq!(say(&["MSET", "@b", "6", "@c", "7"]), r#"Status("OK")"#);
        assert_eq!(say(&["MGET", "@a", "@b", "@c"]), r#"Array[String("5"), String("6"), String("7")]"#);
        assert_eq!(say(&["ZADD", "@z", "1", "x"]), "1");
        assert_eq!(say(&["ZUNIONSTORE", "@u", "2", "@z", "@y", "WEIGHTS", "2", "3"]), "1");
        say(&["XADD", "@x", "1-1", "f", "v"]);
        assert!(say(&["XREAD", "COUNT", "1", "STREAMS", "@x", "@w", "0", "0"]).contains("1-1"));
        assert_eq!(say(&["EVAL", get, "1", "@a"]), r#"String("5")"#);
        assert_eq!(say(&["EVALSHA", &sha, "1", "@b"]), r#"String("6")"#, "EVAL has cached it");
        assert_eq!(say(&["FCALL", "first", "1", "@c"]), r#"String("7")"#);
        assert_eq!(say(&["OBJECT", "ENCODING", "@a"]), r#"String("int")"#);
        let there = Raw::connect(cluster.node(node)).ok(&["EXISTS", &key("a"), &key("u"), &key("x")]);
        assert_eq!(there, Value::Integer(3));
        // Sent as it is: nothing is loaded for it.
        let loads = client.stats().script_loads;
        let absent = client.command(&["EVALSHA", &"0".repeat(40), "1", &key("a")]).unwrap_err();
        assert_eq!(absent.server_code(), Some("NOSCRIPT"), "{absent}");
        assert_eq!(client.stats().script_loads, loads);
    }
    assert_eq!(client.stats().redirects, 0);
    for command in [
        &["MSET", "{1}", "1", "{2}", "2"][..],
        &["ZUNIONSTORE", "{1}", "1", "{2}"],
        &["XREAD", "STREAMS", "{1}", "{2}", "0", "0"],
        &["EVAL", get, "2", "{1}", "{2}"],
    ] {
        let message = unsent(&client, Status::CrossSlot, || client.command(command));
        assert!(message.contains(r#""{1}" and "{2}""#), "{message}");
    }
}

#[test]
fn commands_without_keys_go_anywhere_or_need_a_route() {
    let (cluster, client) = (cluster(), cluster_client(cluster()));
    assert_eq!(client.command(&["PING"]).unwrap().as_str(), Some("PONG"));
    assert_eq!(client.command(&["EVAL", "return 7", "0"]).unwrap().as_i64(), Some(7));
    assert_eq!(client.command(&["TIME"]).unwrap().root().len(), 2);
    let on_one = routed(&client, Route::Node(&address(cluster, 2)));
    let mut pipeline = client.pipeline();
    for command in
        [&["DBSIZE"][..], &["FLUSHALL"], &["KEYS", "*"], &["SCAN", "0"], &["CONFIG", "GET", "port"]]
    {
        for message in [
            unsent(&client, Status::NoRoute, || client.command(command)),
            unsent(&client, Status::NoRoute, || pipeline.command(command).map(drop)),
        ] {
            assert!(message.contains(command[0]) && message.contains("name a route"), "{message}");
        }
    }
    let port = on_one.command(&["CONFIG", "GET", "port"]).unwrap();
    assert_eq!(port.get(1).unwrap().as_str(), Some(cluster.node(2).port().to_string().as_str()));
    let message = unsent(&client, Status::NoRoute, || client.command(&["NO.SUCH", "k"]));
    assert!(message.contains("NO.SUCH") && message.contains("name a route"), "{message}");
    let error = on_one.command(&["NO.SUCH", "k"]).unwrap_err();
    assert!(error.message().starts_with("ERR unknown command"), "{error}");
    for command in
        [&["GET"][..], &["EVAL", "return 1"], &["XREAD", "STREAMS", "a", "b", "0"], &["EVAL", "x", "2", "a"]]
    {
        for client in [&client, &on_one] {
            let message = unsent(client, Status::InvalidArgument, || client.command(command));
            assert!(message.starts_with(command[0]), "{message}");
        }
    }
}

#[test]
fn a_command_that_waits_does_so_on_the_right_node_and_keeps_nobody_waiting() {
    let (cluster, client) = (cluster(), cluster_client(cluster()));
    for node in 0..3 {
        let list = cluster.tag_on(node, "queue");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| client.command(&["BLPOP", &list, "0"]).unwrap());
            wait_until("BLPOP waits", || blocked_clients(cluster.node(node)) == 1);
            assert_eq!(client.command(&["RPUSH", &list, "x"]).unwrap().as_i64(), Some(1));
            let expected = format!(r#"Array[String("{list}"), String("x")]"#);
            assert_eq!(shown(&waiting.join().unwrap()), expected);
        });
    }
}

#[test]
fn a_deadline_of_ones_own_and_the_end_of_a_client() {
    let (cluster, client) = (cluster(), cluster_client(cluster()));
    let list = cluster.tag_on(1, "wait");
    // Its connection has to be made first, which may take long on a busy machine.
    let impatient = with_longer_deadlines(&client, |impatient| {
        let start = Instant::now();
        let error = impatient.command(&["BLPOP", &list, "0"]).unwrap_err();
        let took = start.elapsed();
        assert!(error.is_indeterminate() != error.is_not_executed(), "{error}");
        assert!(took >= Duration::from_secs(1) && took < LONG + SLACK, "{took:?}");
        error.is_indeterminate().then(|| impatient.clone())
    });
    assert_eq!(client.command(&["PING"]).unwrap().as_str(), Some("PONG"));
    wait_until("the server has seen that it was given up", || blocked_clients(cluster.node(1)) == 0);

    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.command(&["BLPOP", &list, "0"]).unwrap_err());
        wait_until("BLPOP waits", || blocked_clients(cluster.node(1)) == 1);
        impatient.close();
        let error = waiting.join().unwrap();
        assert_eq!(error.status(), Status::Indeterminate, "{error}");
    });
    let script = Script::new(COUNT);
    let (mut pipeline, mut transaction) = (client.pipeline(), client.transaction());
    for pipeline in [&mut pipeline, &mut transaction] {
        pipeline.script(&script, &["{wait}n"], &NONE).unwrap();
    }
    for error in [
        client.call(&script, &["{wait}n"], &NONE).unwrap_err(),
        client.command(&["PING"]).unwrap_err(),
        routed(&client, Route::AllPrimaries)
            .command(&["PING"])
            .and_then(|map| map.get(1).and_then(|answer| answer.as_error()).map_or(Ok(map), Err))
            .unwrap_err(),
        pipeline.exec().unwrap_err(),
        transaction.exec().unwrap_err(),
        client.script_exists(&[script.sha_hex()]).unwrap_err(),
    ] {
        assert_eq!(error.status(), Status::Closed, "{error}");
        assert!(error.is_not_executed(), "{error}");
    }
}

#[test]
fn one_right_seed_is_enough() {
    let cluster = cluster();
    let (closing, hanging) = (Fake::start(|_| {}), Fake::start(|conn| conn.hang()));
    let (closing, hanging, alone) = (closing.port(), hanging.port(), Server::start());
    for wrong in
        [vec![closed_port()], vec![closing, closed_port()], vec![hanging], vec![alone.port(), closing]]
    {
        let seeds: Vec<String> =
            wrong.iter().chain([&cluster.node(4).port()]).map(|port| format!("127.0.0.1:{port}")).collect();
        let client =
            Client::open(&format!("redis+cluster://{}", seeds.join(",")), &Options::default()).unwrap();
        let key = cluster.tag_on(2, "seed");
        assert_eq!(
            shown(&client.call(&Script::new(SET_AND_GET), &[&key], &["1"]).unwrap()),
            r#"String("1")"#
        );
    }
}

#[test]
fn without_a_right_seed_each_one_is_told_within_the_deadline() {
    let hanging = Fake::start(|conn| conn.hang());
    let ports = [closed_port(), closed_port(), hanging.port()];
    let seeds: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let url = format!("redis+cluster://:s3cret@{}", seeds.join(","));
    let mut options = Options::default();
    options.call_timeout(Duration::from_secs(2)).unwrap();
    let start = Instant::now();
    let error = Client::open(&url, &options).expect_err("nobody to ask");
    assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
    assert_eq!(error.status(), Status::Connect, "{error}");
    for seed in &seeds {
        assert!(error.message().contains(seed), "{error}");
    }
    assert!(!error.message().contains("s3cret"), "{error}");

    options.lazy_connect(true);
    let client = Client::open(&url, &options).unwrap();
    let start = Instant::now();
    let error = client.call(&Script::new(COUNT), &["k"], &NONE).unwrap_err();
    assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
    assert!(error.is_not_executed(), "{error}");
}

#[test]
fn a_seed_outside_of_any_cluster_is_told_so() {
    let server = Server::start();
    let url = format!("redis+cluster://127.0.0.1:{}", server.port());
    let error = Client::open(&url, &Options::default()).expect_err("no cluster");
    assert_eq!(error.status(), Status::NotSupported, "{error}");
    assert!(error.is_not_executed() && error.message().contains("redis://"), "{error}");
}

#[test]
fn a_lazy_client_connects_with_its_first_call() {
    let cluster = cluster();
    let mut options = Options::default();
    options.lazy_connect(true);
    let client = Client::open(&cluster.cluster_url(), &options).unwrap();
    assert_eq!(client.stats(), rs_script::Stats::default());
    let mut pipeline = client.pipeline();
    pipeline.script(&Script::new(SET_AND_GET), &["{lazy}"], &["1"]).unwrap();
    assert_eq!(shown(&pipeline.exec().unwrap()), r#"Array[String("1")]"#);
    assert!(client.stats().calls > 0);
}

#[test]
fn passwords_wrong_everywhere_and_on_one_node() {
    let cluster = Cluster::builder(3).each(|node| node.password("right-one")).start();
    let tags: Vec<String> = (0..3).map(|node| cluster.tag_on(node, "auth")).collect();
    let mut options = Options::default();
    options.password("wrong-one").call_timeout(LONG).unwrap();
    let error = Client::open(&cluster.cluster_url(), &options).expect_err("a wrong password");
    assert_eq!(error.status(), Status::Auth, "{error}");
    assert!(error.is_not_executed() && !error.message().contains("wrong-one"), "{error}");

    options.password("right-one");
    Raw::connect(cluster.node(2)).ok(&["CONFIG", "SET", "requirepass", "another-one"]);
    let client = Client::open(&cluster.cluster_url(), &options).unwrap();
    let script = Script::new(COUNT);
    for _ in 0..3 {
        for tag in &tags[..2] {
            client.call(&script, &[tag], &NONE).unwrap();
        }
        let start = Instant::now();
        let error = client.call(&script, &[&tags[2]], &NONE).unwrap_err();
        assert_eq!(error.status(), Status::Auth, "{error}");
        assert!(error.message().contains(&address(&cluster, 2)), "{error}");
        assert!(!error.message().contains("right-one") && !format!("{client:?}").contains("right-one"));
        assert!(start.elapsed() < LONG / 2, "no other attempt would help");
    }
    let mut pipeline = client.pipeline();
    for tag in &tags {
        pipeline.script(&script, &[tag], &NONE).unwrap();
    }
    let replies = pipeline.exec().unwrap();
    assert_eq!((replies.get(0).unwrap().as_i64(), replies.get(1).unwrap().as_i64()), (Some(4), Some(4)));
    let error = replies.get(2).unwrap().as_error().expect("an error");
    assert_eq!((error.status(), error.is_not_executed()), (Status::Auth, true), "{error}");
}

#[test]
fn slots_without_a_server_are_waited_for_and_then_told() {
    let cluster = Cluster::builder(2).each(|node| node.arg("cluster-require-full-coverage", "no")).start();
    let client = cluster_client(&cluster).with_timeout(LONG);
    let script = Script::new(COUNT);
    let (gone, there) = (cluster.tag_on(0, "unserved"), cluster.tag_on(1, "unserved"));
    let slot = slot_of(gone.as_bytes()).to_string();
    client.call(&script, &[&gone], &NONE).unwrap();
    let everywhere = |command: &[&str]| {
        for node in cluster.nodes() {
            Raw::connect(node).ok(command);
        }
    };
    everywhere(&["CLUSTER", "DELSLOTS", &slot]);
    // The nodes may be busy: each has its configuration to write to the disk.
    let impatient = client.with_timeout(Duration::from_secs(3));
    let start = Instant::now();
    let mut pipeline = impatient.pipeline();
    pipeline.script(&script, &[&gone], &NONE).unwrap().script(&script, &[&there], &NONE).unwrap();
    let single = impatient.call(&script, &[&gone], &NONE).unwrap_err();
    let (item, arrived) = match pipeline.exec() {
        Ok(replies) => (replies.get(0).unwrap().as_error().expect("nobody ran it"), replies),
        Err(error) => {
            // The other item has run.
            assert!(error.is_indeterminate() && !error.is_not_executed(), "{error}");
            let arrived = pipeline.arrived();
            let arrived =
                arrived.unwrap_or_else(|| panic!("the other has no reply either: {error}; {single}"));
            (arrived.get(0).unwrap().as_error().expect("nobody ran it"), arrived)
        }
    };
    assert_eq!(arrived.get(1).unwrap().as_i64(), Some(1));
    let mut transaction = impatient.transaction();
    transaction.script(&script, &[&gone], &NONE).unwrap();
    for error in [single, item, transaction.exec().unwrap_err()] {
        assert_eq!((error.status(), error.is_not_executed()), (Status::NotServed, true), "{error}");
        assert!(!error.is_indeterminate(), "{error}");
    }
    assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.call(&script, &[&gone], &NONE).unwrap());
        // It asks again and again who has the slot.
        let asked = |from: u64| calls_of(cluster.node(0), "cluster|slots") >= from;
        let before = calls_of(cluster.node(0), "cluster|slots");
        wait_until("it has asked for the slot's owner", || asked(before + 2) || waiting.is_finished());
        assert!(!waiting.is_finished());
        Raw::connect(cluster.node(0)).ok(&["CLUSTER", "ADDSLOTS", &slot]);
        assert!(waiting.join().unwrap().as_i64().is_some());
    });
}

#[test]
fn every_server_version_does() {
    for binary in all_versions() {
        let cluster = Cluster::builder(2).binary(binary).start();
        let client = cluster_client(&cluster);
        let (set, count) = (Script::new(SET_AND_GET), Script::new(COUNT));
        let tags = [cluster.tag_on(0, "v"), cluster.tag_on(1, "v")];
        let (mut pipeline, mut again) = (client.pipeline(), client.pipeline());
        for tag in &tags {
            assert_eq!(shown(&client.call(&set, &[tag], &["7"]).unwrap()), r#"String("7")"#, "{binary:?}");
            let get = Script::new("return redis.call('GET', KEYS[1])");
            assert_eq!(shown(&client.call_read_only(&get, &[tag], &NONE).unwrap()), r#"String("7")"#);
            pipeline.command(&["GET", tag]).unwrap().script(&count, &[tag], &NONE).unwrap();
            again.script_read_only(&get, &[tag], &NONE).unwrap();
            let mut transaction = client.transaction();
            transaction.script(&count, &[format!("{tag}n")], &NONE).unwrap();
            transaction.command(&["GET", &format!("{tag}n")]).unwrap();
            assert_eq!(shown(&transaction.exec().unwrap()), r#"Array[1, String("1")]"#, "{binary:?}");
        }
        assert_eq!(
            shown(&pipeline.exec().unwrap()),
            r#"Array[String("7"), 8, String("7"), 8]"#,
            "{binary:?}"
        );
        assert_eq!(shown(&again.exec().unwrap()), r#"Array[String("8"), String("8")]"#, "{binary:?}");
        let all = routed(&client, Route::AllPrimaries).call(&Script::new(WHERE), &NONE, &NONE).unwrap();
        assert_eq!(by_address(&all).len(), 2, "{binary:?}");
        let slot = slot_of(tags[0].as_bytes());
        cluster.begin_migration(slot, 0, 1);
        cluster.migrate_keys(0, 1, &[tags[0].as_bytes()]);
        assert_eq!(client.call(&count, &[&tags[0]], &NONE).unwrap().as_i64(), Some(9), "{binary:?}: ASK");
        cluster.finish_migration(slot, 0, 1);
        assert_eq!(client.call(&count, &[&tags[0]], &NONE).unwrap().as_i64(), Some(10), "{binary:?}: MOVED");
        let before = client.stats().redirects;
        assert_eq!(before, 2, "{binary:?}");
        assert_eq!(client.call(&count, &[&tags[0]], &NONE).unwrap().as_i64(), Some(11), "{binary:?}");
        assert_eq!(client.stats().redirects, before, "{binary:?}: the new owner is remembered");
        let error = client.call(&count, &["{1}", "{2}"], &NONE).unwrap_err();
        assert_eq!(error.status(), Status::CrossSlot);
    }
}

#[test]
fn a_pipeline_without_keys_finds_another_server_when_its_own_is_gone() {
    let cluster = Cluster::start(3, 1);
    let client = cluster_client(&cluster);
    let (tag, script) = (cluster.tag_on(0, "gone"), Script::new(WHERE));
    cluster.kill(0);
    cluster.wait_for_new_primary(slot_of(tag.as_bytes()), 0);
    // The client still has the old picture, by which each of three servers is as good.
    let ports: HashSet<String> = wait_for("a picture of living primaries only", || {
        let ports = (0..20).map(|_| {
            let mut pipeline = client.pipeline();
            pipeline.script(&script, &NONE, &NONE).unwrap().command(&["PING"]).unwrap();
            let replies = pipeline.exec().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(replies.get(1).unwrap().as_str(), Some("PONG"));
            replies.get(0).unwrap().as_str().unwrap().to_owned()
        });
        Some(ports.collect())
    });
    assert!(!ports.contains(&cluster.node(0).port().to_string()));
}

#[test]
fn a_node_opened_as_a_single_server_says_what_it_is() {
    let client = Client::open(&cluster().node(0).url(), &Options::default()).unwrap();
    let errors = ["a", "b", "c", "d", "e", "f"].map(|key| client.command(&["GET", key]).err());
    let error = errors.into_iter().flatten().next().expect("a key of another node");
    assert_eq!((error.status(), error.server_code()), (Status::Server, Some("MOVED")));
    assert!(error.message().contains("redis+cluster://"), "{error}");
}
