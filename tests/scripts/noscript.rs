//! NOSCRIPT reaches no caller: under flushes without end, behind proxies, in other servers' words. What order forbids
//! to repair is the exception.

use crate::support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rs_script::{Client, Error, Library, Options, Queue, ReplyRef, Script, Status};
use support::calls::{COUNT, LONG, NONE, options, round_trips, shown, take};
use support::fake::{Conn, Fake};
use support::raw::{Raw, Value, calls_of, encode};
use support::server::{Binary, Server, all_versions};

/// Counts a key and everything, and tells the key's count.
const COUNT_BOTH: &str = "redis.call('INCR', 'total') return redis.call('INCR', KEYS[1])";
const READ: &str = "return tonumber(redis.call('GET', KEYS[1]) or '0')";

fn open(url: &str) -> Client {
    Client::open(url, &options(LONG)).unwrap()
}

fn number(reply: Option<ReplyRef<'_>>) -> i64 {
    let reply = reply.expect("a reply");
    reply.as_i64().unwrap_or_else(|| panic!("{reply:?}"))
}

#[test]
fn a_million_calls_in_every_form_under_flushes_meet_no_noscript_that_could_be_helped() {
    // RS_SCRIPT_LONG=1: the whole million, over all servers.
    let is_long = std::env::var_os("RS_SCRIPT_LONG").is_some_and(|value| value == "1");
    let servers: Vec<Binary> =
        if is_long { all_versions().collect() } else { vec![Binary::Default, Binary::Valkey91] };
    let calls = if is_long { 1_000_000 / servers.len() } else { 20_000 };
    for binary in servers {
        let server = Server::builder().binary(binary).start();
        let client = open(&server.url());
        let done = AtomicBool::new(false);
        let counted: Vec<Tally> = thread::scope(|scope| {
            let flusher = scope.spawn(|| {
                let mut raw = Raw::connect(&server);
                while !done.load(Ordering::Relaxed) {
                    raw.ok(&["SCRIPT", "FLUSH"]);
                }
            });
            let callers: Vec<_> = (0..4)
                .map(|number| {
                    let client = &client;
                    scope.spawn(move || every_form(client, number, calls / 4))
                })
                .collect();
            let counted: Vec<_> = callers.into_iter().map(thread::ScopedJoinHandle::join).collect();
            done.store(true, Ordering::Relaxed);
            flusher.join().unwrap();
            counted.into_iter().map(|tally| tally.unwrap()).collect()
        });
        let sum = |of: fn(&Tally) -> i64| counted.iter().map(of).sum::<i64>();
        let total = Raw::connect(&server).ok(&["GET", "total"]).text();
        assert_eq!(total, sum(|tally| tally.executed).to_string(), "{binary:?}");
        println!(
            "{binary:?}: {} calls executed, {} kept from being overtaken, {} repairs",
            total,
            sum(|tally| tally.missed),
            client.stats().noscript_repairs
        );
        assert!(client.stats().noscript_repairs > 0, "the flushes were felt");
    }
}

/// What became of a thread's calls that count.
#[derive(Default)]
struct Tally {
    executed: i64,
    /// Items of pipelines that stayed NOSCRIPT, each with a reason.
    missed: i64,
    /// The counts of this thread's own keys.
    keys: BTreeMap<String, i64>,
}

impl Tally {
    /// A call of this key was executed and told this count: the next one, or order was lost or something ran twice.
    #[track_caller]
    fn count(&mut self, key: &str, told: i64) {
        let count = self.keys.entry(key.to_owned()).or_default();
        *count += 1;
        assert_eq!(told, *count, "{key}");
        self.executed += 1;
    }

    #[track_caller]
    fn read(&self, key: &str, told: i64) {
        assert_eq!(told, self.keys.get(key).copied().unwrap_or(0), "{key}");
    }

    /// The replies to calls of these keys, in order; `true`: only read.
    #[track_caller]
    fn pipeline(&mut self, keys: &[(String, bool)], replies: ReplyRef<'_>) {
        assert_eq!(replies.len(), keys.len());
        let replies: Vec<ReplyRef<'_>> = replies.elements().collect();
        for (item, (key, reads)) in keys.iter().enumerate() {
            match replies[item].as_error() {
                None if *reads => self.read(key, number(Some(replies[item]))),
                None => self.count(key, number(Some(replies[item]))),
                Some(error) => {
                    assert!(error.status() == Status::NoScript && error.is_not_executed(), "{error}");
                    // Only where something behind it has run on its key.
                    let overtakes = |at: usize| keys[at].0 == *key && replies[at].as_error().is_none();
                    assert!((item + 1..keys.len()).any(overtakes), "item {item} of {keys:?}: {replies:?}");
                    self.missed += 1;
                }
            }
        }
    }
}

/// Makes calls in every form, as one of several threads, each of which has keys of its own.
fn every_form(client: &Client, thread: usize, calls: usize) -> Tally {
    let count = Script::new(format!("{COUNT_BOTH} --{thread}"));
    let read = Script::new(format!("{READ} --{thread}"));
    let queue = Queue::new(256).unwrap();
    let mut tally = Tally::default();
    let key = |number: usize| format!("{thread}:{}", number % 7);
    let mut made = 0;
    let mut round = 0;
    while made < calls {
        round += 1;
        // One by one.
        let own = key(round);
        let reply = client.call(&count, &[&own], &NONE).unwrap();
        tally.count(&own, reply.as_i64().unwrap());
        let reply = client.call_read_only(&read, &[&own], &NONE).unwrap();
        tally.read(&own, reply.as_i64().unwrap());

        // Submitted: each of another key, for calls are not ordered among each other.
        for tag in 0..7 {
            client.submit(&queue, tag, &count, &[key(tag as usize)], &NONE).unwrap();
            client.submit_read_only(&queue, 7 + tag, &read, &["none"], &NONE).unwrap();
        }
        for completion in take(&queue, 14) {
            let reply = completion.result.unwrap();
            match completion.tag {
                tag @ 0..7 => tally.count(&key(tag as usize), reply.as_i64().unwrap()),
                _ => assert_eq!(reply.as_i64(), Some(0)),
            }
        }

        // Pipelines: executed and submitted, with keys that occur once and twice, commands in between.
        for is_submitted in [false, true] {
            let items: Vec<(String, bool)> = (0..8).map(|item| (key(round * item), item % 3 == 2)).collect();
            let mut pipeline = client.pipeline();
            for (key, reads) in &items {
                if *reads {
                    pipeline.script_read_only(&read, &[key], &NONE).unwrap();
                } else {
                    pipeline.script(&count, &[key], &NONE).unwrap();
                }
            }
            if is_submitted {
                pipeline.submit(&queue, 1).unwrap();
                let replies = take(&queue, 1).remove(0).result.unwrap();
                tally.pipeline(&items, replies.root());
            } else {
                tally.pipeline(&items, pipeline.exec().unwrap().root());
            }
        }

        // Transactions: never anything amiss.
        for is_submitted in [false, true] {
            let mut transaction = client.transaction();
            transaction.script(&count, &[&own], &NONE).unwrap().command(&["GET", &own]).unwrap();
            transaction.script_read_only(&read, &[&own], &NONE).unwrap();
            let replies = if is_submitted {
                transaction.submit(&queue, 2).unwrap();
                take(&queue, 1).remove(0).result.unwrap()
            } else {
                transaction.exec().unwrap()
            };
            tally.count(&own, number(replies.get(0)));
            tally.read(&own, number(replies.get(2)));
        }
        made += 2 + 14 + 16 + 4;
    }
    tally
}

#[test]
fn a_flush_with_a_thousand_calls_in_flight_costs_one_load() {
    const CALLS: usize = 1_000;
    const SIZE: usize = 20_000;
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = open(&server.url());
        let queue = Queue::new(CALLS).unwrap();
        let script = Script::new(format!("{COUNT} --{}", "x".repeat(SIZE)));
        client.call(&script, &["n"], &NONE).unwrap();
        let mut raw = Raw::connect(&server);
        let mut ran = 1;
        // Should the server ever read the calls before the flush, there is another round.
        for round in 0.. {
            assert!(round < 20, "{binary:?}: the flush is never felt");
            let before = client.stats();
            server.pause();
            raw.write(&encode(&["SCRIPT", "FLUSH"])).unwrap();
            for tag in 0..CALLS as u64 {
                client.submit(&queue, tag, &script, &["n"], &NONE).unwrap();
            }
            server.resume();
            assert_eq!(raw.read().unwrap().text(), "OK");
            let mut told: Vec<i64> =
                take(&queue, CALLS).into_iter().map(|done| done.result.unwrap().as_i64().unwrap()).collect();
            told.sort_unstable();
            assert!(told.into_iter().eq(ran + 1..=ran + CALLS as i64), "each ran once");
            ran += CALLS as i64;
            let after = client.stats();
            let loads = after.script_loads - before.script_loads;
            assert!(loads <= 1, "{binary:?}: {loads} loads");
            let bytes = after.bytes_sent - before.bytes_sent;
            assert!(bytes < (SIZE + 2 * CALLS * 100) as u64 * 2, "{binary:?}: {bytes} bytes sent");
            if after.noscript_repairs - before.noscript_repairs > 100 {
                break;
            }
        }
    }
}

/// A reply in wire form.
fn wire(value: &Value) -> Vec<u8> {
    match value {
        Value::Status(text) => format!("+{text}\r\n").into_bytes(),
        Value::Error(text) => format!("-{text}\r\n").into_bytes(),
        Value::Integer(number) => format!(":{number}\r\n").into_bytes(),
        Value::Bulk(bytes) => [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat(),
        Value::Array(elements) => {
            let head = format!("*{}\r\n", elements.len()).into_bytes();
            elements.iter().fold(head, |bytes, element| [bytes, wire(element)].concat())
        }
        Value::Nil => b"$-1\r\n".to_vec(),
    }
}

#[test]
fn a_proxy_that_sends_load_and_call_to_different_servers_is_no_obstacle() {
    for by_turns in [true, false] {
        let servers = Arc::new([Server::start(), Server::start()]);
        let behind = Arc::clone(&servers);
        let proxy = Fake::start(move |conn| {
            let mut backends = [Raw::connect(&behind[0]), Raw::connect(&behind[1])];
            let mut rng = fastrand::Rng::with_seed(7);
            let mut turn = 0;
            let mut next = conn.handshake();
            while let Some(command) = next {
                turn = if by_turns { turn + 1 } else { rng.usize(..2) };
                conn.write(&wire(&backends[turn % 2].cmd(&command)));
                next = conn.read_command();
            }
        });
        let client = open(&proxy.url());
        let queue = Queue::new(64).unwrap();
        let scripts: Vec<Script> = (0..5).map(|number| Script::new(format!("{COUNT} --{number}"))).collect();
        let mut calls = 0;
        for round in 0..20 {
            let script = &scripts[round % 5];
            client.call(script, &["n"], &NONE).unwrap();
            client.call_read_only(&Script::new("return 7"), &NONE, &NONE).unwrap();
            for tag in 0..10 {
                client.submit(&queue, tag, script, &["n"], &NONE).unwrap();
            }
            for done in take(&queue, 10) {
                assert!(done.result.unwrap().as_i64().is_some());
            }
            let mut pipeline = client.pipeline();
            for item in 0..6 {
                pipeline.script(&scripts[(round + item) % 5], &[format!("p{item}")], &NONE).unwrap();
            }
            let replies = pipeline.exec().unwrap();
            assert!(replies.root().elements().all(|reply| reply.as_i64().is_some()), "{replies:?}");
            calls += 17;
        }
        let count = |server: &Server| -> i64 {
            let keys = ["n", "p0", "p1", "p2", "p3", "p4", "p5"];
            keys.iter().map(|key| Raw::connect(server).ok(&["INCRBY", key, "0"]).integer()).sum()
        };
        assert_eq!(count(&servers[0]) + count(&servers[1]), calls, "each ran once");
    }
}

/// A server that knows scripts alone, says NOSCRIPT in words of its own, and loses its scripts before every `loses`th
/// call.
struct Other {
    noscript: &'static str,
    loses: usize,
    asked: Mutex<usize>,
    executed: Mutex<Vec<String>>,
}

impl Other {
    fn serve(&self, conn: &mut Conn) {
        let mut scripts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut calls = 0;
        let mut queued: Option<Vec<Vec<u8>>> = None;
        let mut next = conn.handshake();
        while let Some(command) = next {
            let words: Vec<String> =
                command.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            let reply = match words[0].as_str() {
                "MULTI" => {
                    queued = Some(Vec::new());
                    b"+OK\r\n".to_vec()
                }
                "EXEC" => {
                    let replies = queued.take().unwrap_or_default();
                    [format!("*{}\r\n", replies.len()).into_bytes(), replies.concat()].concat()
                }
                "SCRIPT" => {
                    let sha = Script::new(command[2].clone()).sha_hex().to_owned();
                    scripts.insert(sha.clone(), command[2].clone());
                    format!("$40\r\n{sha}\r\n").into_bytes()
                }
                "EVALSHA" | "EVALSHA_RO" => {
                    calls += 1;
                    *self.asked.lock().unwrap() += usize::from(words[1].starts_with("0000"));
                    if calls % self.loses == 0 {
                        scripts.clear();
                    }
                    match scripts.get(&words[1]) {
                        Some(_) => self.execute(&words),
                        None => format!("-{}\r\n", self.noscript).into_bytes(),
                    }
                }
                "EVAL" | "EVAL_RO" => self.execute(&words),
                other => format!("+{other}\r\n").into_bytes(),
            };
            match &mut queued {
                Some(queued) if words[0] != "MULTI" => {
                    queued.push(reply);
                    conn.write(b"+QUEUED\r\n");
                }
                _ => conn.write(&reply),
            }
            next = conn.read_command();
        }
    }

    /// Answers with the last argument: a text behind a minus sign is an error that the script makes up.
    fn execute(&self, words: &[String]) -> Vec<u8> {
        let last = words.last().unwrap();
        self.executed.lock().unwrap().push(last.clone());
        match last.strip_prefix('-') {
            Some(error) => format!("-{error}\r\n").into_bytes(),
            None => format!(":{last}\r\n").into_bytes(),
        }
    }
}

#[test]
fn noscript_in_other_servers_words_is_known_by_asking_once_and_cannot_be_made_up() {
    for noscript in [
        "NOSCRIPT No matching script. Please use EVAL",
        "NOSCRIPT there is no such thing here",
        "NOSCRIPT No matching script.",
    ] {
        let asks = usize::from(noscript != "NOSCRIPT No matching script.");
        let other =
            Arc::new(Other { noscript, loses: 3, asked: Mutex::default(), executed: Mutex::default() });
        let serving = Arc::clone(&other);
        let server = Fake::start(move |conn| serving.serve(conn));
        let client = open(&server.url());
        let script = Script::new("return ARGV[1]");
        let mut expected: Vec<String> = Vec::new();
        for round in 0..20 {
            let first = round * 10;
            let reply = client.call(&script, &["k"], &[first.to_string()]).unwrap();
            assert_eq!(reply.as_i64(), Some(first));
            let reply = client.call_read_only(&script, &["k"], &[(first + 1).to_string()]).unwrap();
            assert_eq!(reply.as_i64(), Some(first + 1));
            let mut pipeline = client.pipeline();
            for item in 2..6 {
                pipeline.script(&script, &[format!("k{item}")], &[(first + item).to_string()]).unwrap();
            }
            let replies = pipeline.exec().unwrap();
            let numbers: Vec<i64> = replies.root().elements().filter_map(|reply| reply.as_i64()).collect();
            assert_eq!(numbers, (first + 2..first + 6).collect::<Vec<_>>(), "{replies:?}");
            expected.extend((first..first + 6).map(|number| number.to_string()));
        }
        assert_eq!(*other.asked.lock().unwrap(), asks, "{noscript}");

        // What a script makes up is its own, alone and in a pipeline.
        let forged = ["-NOSCRIPT made up", "-NOSCRIPT No matching script. Please use EVAL!"];
        for text in forged {
            let error = client.call(&script, &["k"], &[text]).unwrap_err();
            assert_eq!((error.status(), error.is_not_executed()), (Status::Server, false), "{error}");
            let mut pipeline = client.pipeline();
            pipeline.script(&script, &["k"], &[text]).unwrap();
            let error = pipeline.exec().unwrap().get(0).unwrap().as_error().unwrap();
            assert_eq!((error.status(), error.is_not_executed()), (Status::Server, false), "{error}");
            expected.extend([text.to_owned(), text.to_owned()]);
        }
        assert!(*other.asked.lock().unwrap() <= 1, "{noscript}");
        let mut executed = other.executed.lock().unwrap().clone();
        executed.sort();
        expected.sort();
        assert_eq!(executed, expected, "each ran once");
    }
}

#[test]
fn a_transaction_that_trusts_the_cache_knows_noscript_in_other_servers_words() {
    let noscript = "NOSCRIPT there is no such thing here";
    let other = Arc::new(Other { noscript, loses: 2, asked: Mutex::default(), executed: Mutex::default() });
    let serving = Arc::clone(&other);
    let server = Fake::start(move |conn| serving.serve(conn));
    let client = open(&server.url());
    let script = Script::new("return ARGV[1]");
    let mut transaction = client.transaction();
    transaction.trust_cache(true);
    transaction.script(&script, &["k"], &["1"]).unwrap();
    assert_eq!(shown(&transaction.exec().unwrap()), "Array[1]");
    transaction
        .script(&script, &["k"], &["2"])
        .unwrap()
        .script(&script, &["k"], &["-NOSCRIPT mine"])
        .unwrap();
    let replies = transaction.exec().unwrap();
    let error: Error = replies.get(0).unwrap().as_error().expect("NOSCRIPT");
    assert_eq!((error.status(), error.is_not_executed()), (Status::NoScript, true), "{error}");
}

/// The LOAD of a moment ago met a server that ran another script; the calls that relied on it meet a server that is
/// well, and lacks the script.
#[test]
fn a_load_that_met_a_busy_server_fails_no_call() {
    let library = Library::pinned("#!lua name=numbers\nreturn").unwrap();
    for script in [Script::new("return 1"), library.function("one").unwrap()] {
        for words in [
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            "LOADING Redis is loading the dataset in memory",
        ] {
            let server = Fake::start(move |conn| {
                let Some(_) = conn.handshake() else { return };
                let answer = |load: &[Vec<u8>]| match load[0].as_slice() {
                    b"SCRIPT" => format!("$40\r\n{}\r\n", Script::new(load[2].clone()).sha_hex()),
                    _ => {
                        let line = String::from_utf8_lossy(&load[2]).into_owned();
                        let name = line.lines().next().unwrap().split("name=").nth(1).unwrap().to_owned();
                        format!("${}\r\n{name}\r\n", name.len())
                    }
                };
                let calls: Vec<_> = (0..3).map_while(|_| conn.read_command()).collect();
                conn.write(format!("-{words}\r\n").as_bytes());
                for call in calls {
                    conn.write(match call[0].as_slice() {
                        b"EVALSHA" => b"-NOSCRIPT No matching script. Please use EVAL.\r\n",
                        _ => b"-ERR Function not found\r\n",
                    });
                }
                while let Some(command) = conn.read_command() {
                    conn.write(
                        match command[0].as_slice() {
                            b"SCRIPT" | b"FUNCTION" => answer(&command),
                            _ => ":1\r\n".to_owned(),
                        }
                        .as_bytes(),
                    );
                }
            });
            let client = open(&server.url());
            let queue = Queue::new(8).unwrap();
            let mut pipeline = client.pipeline();
            pipeline.script(&script, &NONE, &NONE).unwrap();
            client.submit(&queue, 0, &script, &NONE, &NONE).unwrap();
            pipeline.submit(&queue, 1).unwrap();
            client.submit(&queue, 2, &script, &NONE, &NONE).unwrap();
            for done in take(&queue, 3) {
                let reply = done.result.unwrap();
                let answer = if done.tag == 1 { "Array[1]" } else { "1" };
                assert_eq!(shown(&reply), answer, "{words}");
            }
        }
    }
}

#[test]
fn a_server_of_version_7_without_read_only_commands_runs_the_others() {
    let server =
        Server::builder().arg("rename-command", "EVALSHA_RO ").arg("rename-command", "EVAL_RO ").start();
    let read = Script::new("return redis.call('GET', KEYS[1])");
    for form in ["single", "submitted", "pipeline", "transaction"] {
        let client = open(&server.url());
        let mut raw = Raw::connect(&server);
        raw.ok(&["SET", "k", "v"]);
        for _ in 0..3 {
            raw.ok(&["SCRIPT", "FLUSH"]);
            let told = match form {
                "single" => client.call_read_only(&read, &["k"], &NONE).unwrap().as_str().map(str::to_owned),
                "submitted" => {
                    let queue = Queue::new(8).unwrap();
                    client.submit_read_only(&queue, 1, &read, &["k"], &NONE).unwrap();
                    take(&queue, 1).remove(0).result.unwrap().as_str().map(str::to_owned)
                }
                _ => {
                    let mut pipeline =
                        if form == "pipeline" { client.pipeline() } else { client.transaction() };
                    pipeline.script_read_only(&read, &["k"], &NONE).unwrap();
                    let replies = pipeline.exec().unwrap();
                    replies.get(0).unwrap().as_str().map(str::to_owned)
                }
            };
            assert_eq!(told.as_deref(), Some("v"), "{form}");
        }
        // Learnt: it takes no round trip more than a plain call.
        client.call_read_only(&read, &["k"], &NONE).unwrap();
        let (_, trips) = round_trips(&client, || client.call_read_only(&read, &["k"], &NONE).unwrap());
        assert_eq!(trips, 1, "{form}");
    }
}

#[test]
fn a_script_that_speaks_of_an_unknown_command_is_not_believed() {
    let server = Server::start();
    let client = Client::open(&server.url(), &Options::default()).unwrap();
    let forge = Script::new("return redis.error_reply(ARGV[1])");
    let texts = [
        format!("ERR unknown command 'EVALSHA_RO', with args beginning with: '{}' '0' ", forge.sha_hex()),
        "NOPERM User default has no permissions to run the 'evalsha_ro' command".to_owned(),
    ];
    for text in texts {
        for _ in 0..2 {
            let error = client.call_read_only(&forge, &NONE, &[&text]).unwrap_err();
            assert_eq!((error.status(), error.is_not_executed()), (Status::Server, false), "{error}");
        }
        let mut pipeline = client.pipeline();
        pipeline.script_read_only(&forge, &NONE, &[&text]).unwrap();
        let error = pipeline.exec().unwrap().get(0).unwrap().as_error().unwrap();
        assert_eq!((error.status(), error.is_not_executed()), (Status::Server, false), "{error}");
    }
    // Read-only calls are still kept from writing.
    let error = client.call_read_only(&Script::new(COUNT), &["n"], &NONE).unwrap_err();
    assert_eq!(error.status(), Status::Server, "{error}");
    assert_eq!(calls_of(&server, "evalsha") + calls_of(&server, "eval"), 0);
    assert_eq!(client.command(&["EXISTS", "n"]).unwrap().as_i64(), Some(0));
}

#[test]
fn a_caller_that_leaves_while_its_script_is_being_repaired_is_sent_nothing_more() {
    let server = Fake::start(|conn| {
        let mut next = conn.handshake();
        while let Some(command) = next {
            match command[0].as_slice() {
                b"SCRIPT" => {
                    conn.write(
                        format!("$40\r\n{}\r\n", Script::new(command[2].clone()).sha_hex()).as_bytes(),
                    );
                }
                b"EVALSHA" if command[1].starts_with(b"0000") => panic!("asked for nobody"),
                // Too late for its caller.
                b"EVALSHA" => {
                    thread::sleep(Duration::from_millis(300));
                    conn.write(b"-NOSCRIPT in words of its own\r\n");
                }
                b"PING" => conn.write(b"+PONG\r\n"),
                other => panic!("{}", other.escape_ascii()),
            }
            next = conn.read_command();
        }
    });
    // One connection for all of it.
    let client = Client::open(&server.url(), options(LONG).silence_timeout(LONG).unwrap()).unwrap();
    let hasty = client.with_timeout(Duration::from_millis(50));
    let error = hasty.call(&Script::new(COUNT), &["n"], &NONE).unwrap_err();
    assert!(error.is_indeterminate(), "{error}");
    let mut pipeline = hasty.pipeline();
    pipeline.script(&Script::new(COUNT), &["n"], &NONE).unwrap();
    assert!(pipeline.exec().unwrap_err().is_indeterminate());
    assert_eq!(client.command(&["PING"]).unwrap().as_str(), Some("PONG"));
}
