//! Script administration in a cluster: what all primaries say together.

use crate::support;

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rs_script::{Client, Error, FlushMode, Library, Queue, Reply, ReplyRef, Route, Script, Status};
use support::calls::{COUNT, LONG, NONE, client, cluster_client, options, take, with_longer_deadlines};
use support::cluster::Cluster;
use support::fake::Fake;
use support::nodes::converse;
use support::raw::{Raw, Value, calls_of};
use support::server::{Binary, Server, all_versions};
use support::wait_until;

const LOOP: &str = "while true do end";
const WRITE_AND_LOOP: &str = "redis.call('SET', KEYS[1], 1) while true do end";

/// Three primaries with a replica each, which answer while a script runs soon after it has started.
fn start() -> Cluster {
    Cluster::builder(3).replicas(1).each(quick_to_be_busy).start()
}

fn quick_to_be_busy(node: support::server::Builder) -> support::server::Builder {
    node.arg("lua-time-limit", "50").arg("cluster-require-full-coverage", "no")
}

/// For tests that flush no scripts, run none for long and stop no server.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(start)
}

fn has(server: &Server, script: &Script) -> bool {
    Raw::connect(server).ok(&["SCRIPT", "EXISTS", script.sha_hex()]) == Value::Array(vec![Value::Integer(1)])
}

fn is_busy(server: &Server) -> bool {
    matches!(Raw::connect(server).cmd(&["PING"]), Value::Error(text) if text.starts_with("BUSY"))
}

fn port_of(cluster: &Cluster, node: usize) -> String {
    cluster.node(node).port().to_string()
}

#[test]
fn load_reaches_every_primary_and_exists_asks_all() {
    let (cluster, client) = (cluster(), cluster_client(cluster()));
    let (one, other) = (Script::new("return 'load 1'"), Script::new("return 'load 2'"));
    let shas = [one.sha_hex(), other.sha_hex()];
    assert_eq!(client.script_exists(&shas).unwrap(), [false, false]);
    assert_eq!(client.script_exists::<&str>(&[]).unwrap(), [false; 0]);
    // All primaries but one have it.
    for node in 0..2 {
        Raw::connect(cluster.node(node)).ok(&["SCRIPT", "LOAD", "return 'load 1'"]);
        assert_eq!(client.script_exists(&shas).unwrap(), [false, false], "{node}");
    }
    client.script_load(&other).unwrap();
    assert!((0..3).all(|node| has(cluster.node(node), &other)));
    assert_eq!(client.script_exists(&shas).unwrap(), [false, true], "element by element");
    client.script_load(&one).unwrap();
    assert_eq!(client.script_exists(&shas).unwrap(), [true, true]);
    assert_eq!(client.script_exists(&[shas[1], &"0".repeat(40), shas[0]]).unwrap(), [true, false, true]);

    let error = client.script_load(&Script::new("return ((")).unwrap_err();
    assert_eq!((error.status(), error.is_not_executed()), (Status::Compile, true), "{error}");
}

#[test]
fn each_primarys_own_answer_can_be_read() {
    let (cluster, client) = (cluster(), cluster_client(cluster()));
    let script = Script::new("return 'each'");
    Raw::connect(cluster.node(1)).ok(&["SCRIPT", "LOAD", "return 'each'"]);
    let all = client.with_route(Route::AllPrimaries).unwrap();
    let map = all.command(&["SCRIPT", "EXISTS", script.sha_hex()]).unwrap();
    let parts: Vec<_> = map.root().elements().collect();
    assert_eq!(parts.len(), 6);
    for pair in parts.chunks(2) {
        let expected = i64::from(pair[0].as_str() == Some(&format!("127.0.0.1:{}", port_of(cluster, 1))));
        assert_eq!(pair[1].get(0).unwrap().as_i64(), Some(expected), "{map:?}");
    }
    // As it is sent, so it is answered.
    let loaded = all.command(&["SCRIPT", "LOAD", "return 'each'"]).unwrap();
    assert!(loaded.root().elements().skip(1).step_by(2).all(|sha| sha.as_str() == Some(script.sha_hex())));
    assert_eq!(client.script_exists(&[script.sha_hex()]).unwrap(), [true]);
}

#[test]
fn flush_empties_every_primary_and_calls_go_on() {
    let cluster = start();
    let client = cluster_client(&cluster);
    let count = Script::new(COUNT);
    for mode in [FlushMode::Default, FlushMode::Sync, FlushMode::Async] {
        client.script_load(&count).unwrap();
        client.script_flush(mode).unwrap();
        assert!((0..3).all(|node| !has(cluster.node(node), &count)), "{mode:?}");
        let mut pipeline = client.pipeline();
        for node in 0..3 {
            let tag = cluster.tag_on(node, "flush");
            pipeline.script(&count, &[&tag], &NONE).unwrap();
        }
        let replies = pipeline.exec().unwrap();
        assert!(replies.root().elements().all(|reply| reply.as_i64().is_some()), "{replies:?}");
    }
    assert_eq!(client.stats().noscript_repairs, 0, "the client knows what it has flushed");
}

/// A cluster of two primaries, of which the second cannot be reached; once the first has run a command, two others are
/// in their places.
struct Heirs {
    servers: Vec<Fake>,
    /// How often each has run what was sent.
    ran: [Arc<AtomicUsize>; 3],
}

impl Heirs {
    /// `answer`: of the first to what it runs; none: it closes the connection. `is_silent`: the others say nothing.
    fn start(answer: Option<&'static str>, is_silent: bool) -> Heirs {
        let ran: [Arc<AtomicUsize>; 3] = Default::default();
        let ports = Arc::new(Mutex::new(Vec::new()));
        let server = |me: usize, answer: Option<&'static str>, is_silent: bool| {
            let (ran, ports) = (ran.clone(), Arc::clone(&ports));
            Fake::start(move |conn| {
                if is_silent {
                    return conn.hang();
                }
                converse(conn, |conn, command| {
                    let word = |at: usize| command.get(at).map(|word| word.to_ascii_uppercase());
                    match (word(0).as_deref(), word(1).as_deref()) {
                        (Some(b"CLUSTER"), Some(b"SLOTS")) => {
                            let ports: &[u16] = &ports.lock().unwrap();
                            let first = 2 * ran[0].load(Ordering::SeqCst).min(1);
                            conn.write(slots([ports[first], ports[first + 1]]).as_bytes());
                        }
                        (Some(b"SCRIPT"), _) => {
                            let sha = Script::new(command[2].clone()).sha_hex().to_owned();
                            conn.write(format!("$40\r\n{sha}\r\n").as_bytes());
                        }
                        (Some(b"FLUSHALL" | b"EVALSHA"), _) => {
                            ran[me].fetch_add(1, Ordering::SeqCst);
                            let Some(answer) = answer else { return false };
                            conn.write(answer.as_bytes());
                        }
                        _ => conn.write(b"+OK\r\n"),
                    }
                    true
                });
            })
        };
        let servers = vec![
            server(0, answer, false),
            server(1, Some("+OK\r\n"), is_silent),
            server(2, Some("+OK\r\n"), is_silent),
        ];
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let [first, heir, other] = [0, 1, 2].map(|place: usize| servers[place].port());
        *ports.lock().unwrap() = vec![first, nobody, heir, other];
        Heirs { servers, ran }
    }

    fn open(&self) -> Client {
        let url = format!("redis+cluster://127.0.0.1:{}", self.servers[0].port());
        Client::open(&url, &options(LONG)).unwrap().with_route(Route::AllPrimaries).unwrap()
    }

    fn ran(&self) -> [usize; 3] {
        [0, 1, 2].map(|place: usize| self.ran[place].load(Ordering::SeqCst))
    }

    /// What a server has said, by its place: its reply, or its error.
    #[track_caller]
    fn said(&self, map: &Reply, place: usize) -> Result<(), Error> {
        let address = format!("127.0.0.1:{}", self.servers[place].port());
        let parts: Vec<_> = map.root().elements().collect();
        let pair = parts.chunks(2).find(|pair| pair[0].as_str() == Some(&address));
        let answer = pair.unwrap_or_else(|| panic!("nothing of {address}: {map:?}"))[1];
        answer.as_error().map_or(Ok(()), Err)
    }
}

/// CLUSTER SLOTS of two primaries without replicas.
fn slots([one, other]: [u16; 2]) -> String {
    let range = |first: u16, last: u16, port: u16| {
        format!("*3\r\n:{first}\r\n:{last}\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n")
    };
    format!("*2\r\n{}{}", range(0, 8191, one), range(8192, 16383, other))
}

#[test]
fn what_a_primary_has_run_or_may_have_is_not_sent_to_who_takes_its_place() {
    for answer in [None, Some("+OK\r\n"), Some("-ERR half-way\r\n")] {
        let heirs = Heirs::start(answer, false);
        let map = heirs.open().command(&["FLUSHALL"]).unwrap();
        assert_eq!((heirs.ran(), map.root().len()), ([1, 0, 0], 4), "{answer:?}: {map:?}");
        match (answer, heirs.said(&map, 0)) {
            (None, said) => assert!(said.unwrap_err().is_indeterminate(), "{map:?}"),
            (Some("+OK\r\n"), said) => said.unwrap(),
            (Some(_), said) => assert_eq!(said.unwrap_err().server_text(), Some(&b"ERR half-way"[..])),
        }
        let failed: Vec<Error> = map.root().elements().filter_map(ReplyRef::as_error).collect();
        let is_unreached = |error: &Error| error.status() == Status::Connect && error.is_not_executed();
        assert_eq!(failed.iter().filter(|error| is_unreached(error)).count(), 1, "{failed:?}");
    }
}

#[test]
fn what_may_run_twice_reaches_new_primaries_and_an_old_ones_outcome_stays_told() {
    let script = Script::idempotent("return 1");
    for answer in [None, Some(":1\r\n")] {
        let heirs = Heirs::start(answer, false);
        let map = heirs.open().call(&script, &NONE, &NONE).unwrap();
        assert_eq!((heirs.ran(), map.root().len()), ([1, 1, 1], 6), "{answer:?}: {map:?}");
        assert_eq!(heirs.said(&map, 0).is_err_and(|error| error.is_indeterminate()), answer.is_none());
        heirs.said(&map, 1).unwrap();
        heirs.said(&map, 2).unwrap();
    }
}

#[test]
fn what_has_run_on_a_primary_that_is_none_any_more_was_sent() {
    let script = Script::idempotent("return 1");
    let heirs = Heirs::start(Some(":1\r\n"), true);
    let (client, queue) = (heirs.open(), Queue::new(1).unwrap());
    client.submit(&queue, 1, &script, &NONE, &NONE).unwrap();
    wait_until("the new primaries are called", || {
        heirs.servers[1..].iter().all(|heir| heir.connections() > 0)
    });
    assert_eq!(client.cancel(&queue, 1), 1);
    let error = take(&queue, 1).remove(0).result.unwrap_err();
    assert!(error.is_indeterminate() && !error.is_not_executed(), "{error}");
    assert_eq!(heirs.ran(), [1, 0, 0]);
}

/// The primary that has done it is none by the time that the other is given up, and no other can be reached.
#[test]
fn what_was_changed_on_a_primary_that_is_none_any_more_is_not_said_to_be_undone() {
    let source = "#!lua name=a\nredis.register_function('f', function() return 1 end)";
    let library = Library::pinned(source).unwrap();
    type Ask<'a> = (&'static str, &'a dyn Fn(&Client) -> Option<Error>);
    let asks: [Ask; 4] = [
        ("FLUSH", &|client| client.script_flush(FlushMode::Sync).err()),
        ("LOAD", &|client| client.library_load(&library).err()),
        ("DEPLOY", &|client| client.library_deploy(&library).err()),
        ("PRUNE", &|client| client.library_prune(&[&library]).err()),
    ];
    for (what, ask) in asks {
        let nobody = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let ports = Arc::new(Mutex::new([0, nobody()]));
        let (its_ports, gone) = (Arc::clone(&ports), [nobody(), nobody()]);
        let name = library.name().to_owned();
        let server = Fake::start(move |conn| {
            let (ports, name) = (Arc::clone(&its_ports), name.clone());
            converse(conn, |conn, command| {
                let word = |at: usize| command.get(at).map(|word| word.to_ascii_uppercase());
                match (word(0).as_deref(), word(1).as_deref()) {
                    (Some(b"CLUSTER"), Some(b"SLOTS")) => {
                        conn.write(slots(*ports.lock().unwrap()).as_bytes());
                    }
                    (Some(b"FUNCTION"), Some(b"LIST")) => {
                        // The same, of another version.
                        let end = if name.ends_with('0') { "1" } else { "0" };
                        let other = format!("{}{end}", &name[..name.len() - 1]);
                        let code = "#!lua name=x\nlocal G=function() return redis end ";
                        let reply = format!(
                            "*1\r\n*4\r\n$12\r\nlibrary_name\r\n${}\r\n{other}\r\n\
                             $12\r\nlibrary_code\r\n${}\r\n{code}\r\n",
                            other.len(),
                            code.len()
                        );
                        conn.write(reply.as_bytes());
                    }
                    (Some(b"FUNCTION"), Some(b"LOAD")) => {
                        *ports.lock().unwrap() = gone;
                        conn.write(format!("${}\r\n{name}\r\n", name.len()).as_bytes());
                    }
                    (Some(b"SCRIPT"), Some(b"FLUSH")) | (Some(b"FUNCTION"), Some(b"DELETE")) => {
                        *ports.lock().unwrap() = gone;
                        conn.write(b"+OK\r\n");
                    }
                    _ => conn.write(b"+OK\r\n"),
                }
                true
            });
        });
        ports.lock().unwrap()[0] = server.port();
        let url = format!("redis+cluster://127.0.0.1:{}", server.port());
        let client = Client::open(&url, &options(LONG)).unwrap();
        let error = ask(&client).unwrap_or_else(|| panic!("{what}: all is well"));
        assert_ne!(ports.lock().unwrap()[0], server.port(), "{what}: the first has done it");
        assert!(!error.is_not_executed(), "{what}: {error}");
    }
}

#[test]
fn a_primary_that_cannot_be_reached_is_an_error_that_names_it() {
    let cluster = Cluster::builder(3).each(quick_to_be_busy).start();
    let client = cluster_client(&cluster).with_timeout(LONG);
    let script = Script::new("return 'unreachable'");
    client.script_load(&script).unwrap();
    for state in ["hangs", "dead"] {
        match state {
            "hangs" => cluster.node(1).pause(),
            _ => cluster.kill(1),
        }
        type Ask<'a> = (&'static str, &'a dyn Fn(&Client) -> Option<rs_script::Error>);
        let asks: [Ask; 4] = [
            ("EXISTS", &|client| client.script_exists(&[script.sha_hex()]).err()),
            ("EXISTS of what no other has", &|client| client.script_exists(&["0".repeat(40)]).err()),
            ("LOAD", &|client| client.script_load(&Script::new("return 'other'")).err()),
            ("FLUSH", &|client| client.script_flush(FlushMode::Sync).err()),
        ];
        for (what, ask) in asks {
            let error = with_longer_deadlines(&client, |client| {
                let error =
                    ask(client).unwrap_or_else(|| panic!("{what} has not heard of node 1, which {state}"));
                error.message().contains("2 of 3 primaries have done it").then_some(error)
            });
            for node in [0, 1] {
                assert!(error.message().contains(&port_of(&cluster, node)), "{what}: {error}");
            }
            let only_asks = what.starts_with("EXISTS");
            assert!(only_asks || error.is_indeterminate() && !error.is_not_executed(), "{what}: {error}");
        }
        assert!(!has(cluster.node(0), &script) && !has(cluster.node(2), &script), "FLUSH: the others have");
        with_longer_deadlines(&client, |client| {
            let map = client.with_route(Route::AllPrimaries).unwrap().command(&["PING"]).ok()?;
            let parts: Vec<_> = map.root().elements().collect();
            assert_eq!(parts.len(), 6);
            let is_right = |pair: &[ReplyRef<'_>]| {
                let is_lost = pair[0].as_str().unwrap().ends_with(&port_of(&cluster, 1));
                assert!(pair[1].as_error().is_some() || !is_lost, "{map:?}");
                pair[1].as_error().is_some() == is_lost
            };
            parts.chunks(2).all(is_right).then_some(())
        });
    }
}

#[test]
fn a_primary_that_refuses_the_login_is_an_error_in_the_map_in_the_librarys_words() {
    let cluster = Cluster::builder(3).each(quick_to_be_busy).start();
    let client =
        Client::open(&format!("redis+cluster://127.0.0.1:{}", cluster.node(0).port()), &options(LONG))
            .unwrap();
    Raw::connect(cluster.node(1)).ok(&["CONFIG", "SET", "requirepass", "right"]);
    let client = client.with_route(Route::AllPrimaries).unwrap();
    let map = client.command(&["PING"]).unwrap();
    let refused: Vec<Error> = map.root().elements().filter_map(ReplyRef::as_error).collect();
    assert_eq!(refused.len(), 1, "{map:?}");
    let error = &refused[0];
    assert_eq!((error.status(), error.is_not_executed()), (Status::Auth, true), "{error}");
    let words = ["item", &port_of(&cluster, 1), "the server refused the login: NOAUTH"];
    assert!(words.iter().all(|words| error.message().contains(words)), "{error}");
}

/// Starts a script on a node that ends only when it is killed.
fn occupy<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    cluster: &'scope Cluster,
    client: &'scope Client,
    node: usize,
    source: &'static str,
) -> std::thread::ScopedJoinHandle<'scope, rs_script::Error> {
    let tag = cluster.tag_on(node, "busy");
    let caller = scope.spawn(move || {
        client.with_timeout(Duration::from_secs(30)).call(&Script::new(source), &[tag], &NONE).unwrap_err()
    });
    wait_until("the script runs", || is_busy(cluster.node(node)));
    caller
}

#[test]
fn kill_succeeds_where_one_primary_was_busy_and_unkillable_outranks_notbusy() {
    let cluster = start();
    let client = cluster_client(&cluster);
    let error = client.script_kill().unwrap_err();
    assert_eq!(error.server_code(), Some("NOTBUSY"), "{error}");
    for node in 0..3 {
        std::thread::scope(|scope| {
            let caller = occupy(scope, &cluster, &client, node, LOOP);
            client.script_kill().unwrap();
            let error = caller.join().unwrap();
            assert_eq!(error.status(), Status::Server, "{error}");
            assert!(!error.is_not_executed(), "{error}");
        });
        wait_until("it has ended", || !is_busy(cluster.node(node)));
    }
    std::thread::scope(|scope| {
        let caller = occupy(scope, &cluster, &client, 1, WRITE_AND_LOOP);
        let error = client.script_kill().unwrap_err();
        assert_eq!(error.server_code(), Some("UNKILLABLE"), "{error}");
        // One that can be killed beside it is a success.
        let other = occupy(scope, &cluster, &client, 2, LOOP);
        client.script_kill().unwrap();
        assert_eq!(other.join().unwrap().status(), Status::Server);
        cluster.kill(1);
        let error = caller.join().unwrap();
        assert_eq!(error.status(), Status::Indeterminate, "{error}");
    });
}

#[test]
fn kill_does_not_say_notbusy_of_a_primary_that_it_cannot_ask() {
    let cluster = Cluster::builder(3).each(quick_to_be_busy).start();
    let client = cluster_client(&cluster);
    cluster.node(0).pause();
    with_longer_deadlines(&client, |client| {
        let error = client.script_kill().unwrap_err();
        assert_ne!(error.server_code(), Some("NOTBUSY"), "{error}");
        error.message().contains(&port_of(&cluster, 0)).then_some(())
    });
    // One success is a success, whatever became of the others.
    std::thread::scope(|scope| {
        let caller = occupy(scope, &cluster, &client, 2, LOOP);
        with_longer_deadlines(&client, |client| client.script_kill().ok());
        caller.join().unwrap();
    });
    cluster.node(0).resume();
}

#[test]
fn show_finds_a_script_wherever_it_is() {
    for binary in all_versions() {
        let cluster = Cluster::builder(2).binary(binary).start();
        let client = cluster_client(&cluster);
        let script = Script::new("return 'shown'");
        Raw::connect(cluster.node(1)).ok(&["SCRIPT", "LOAD", "return 'shown'"]);
        let shown = client.script_show(script.sha_hex());
        if !matches!(binary, Binary::Valkey81 | Binary::Valkey91) {
            let error = shown.unwrap_err();
            assert_eq!((error.status(), error.is_not_executed()), (Status::NotSupported, true), "{error}");
            continue;
        }
        let shown = shown.unwrap().expect("one primary has it");
        assert_eq!(shown.as_bytes(), Some(&b"return 'shown'"[..]), "{binary:?}");
        assert!(client.script_show("0".repeat(40)).unwrap().is_none());
        // Without that primary nobody knows.
        cluster.kill(1);
        let error = client.script_show(script.sha_hex()).unwrap_err();
        assert!(error.message().contains(&port_of(&cluster, 1)), "{error}");
    }
}

#[test]
fn administration_of_a_single_server_asks_nothing_else_of_it() {
    let server = Server::start();
    let client = client(&server);
    let script = Script::new("return 'single'");
    client.script_load(&script).unwrap();
    assert_eq!(client.script_exists(&[script.sha_hex()]).unwrap(), [true]);
    assert_eq!((calls_of(&server, "cluster|slots"), calls_of(&server, "role")), (0, 0));
}
