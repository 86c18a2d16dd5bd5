//! Bad days of Functions: eight processes roll two versions out and back while the cluster under them changes.

use crate::support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rs_script::{Client, Error, Library, ReadFrom, Status};
use support::calls::{LONG, NONE, options};
use support::cluster::{Cluster, slot_of};
use support::raw::Raw;
use support::server::{Binary, Builder};
use support::{OnDrop, wait_until};

/// Tells a process of these tests that it is a caller: its number, and the cluster.
const CALLER: &str = "RS_SCRIPT_TEST_CALLER";
const PROCESSES: usize = 8;

/// Says which code ran, of a version that lives side by side with the other.
fn library(version: i64) -> Library {
    let source = format!(
        "#!lua name=days
redis.register_function('count', function(keys) return {{redis.call('INCR', keys[1]), {version}}} end)
redis.register_function{{
    function_name='get',
    callback=function(keys) return {{redis.call('GET', keys[1]) or '0', {version}}} end,
    flags={{'no-writes'}},
}}"
    );
    Library::pinned(source).expect("a library")
}

fn key_of(process: usize) -> String {
    format!("{{days-{process}}}")
}

/// What a caller keeps of its calls.
#[derive(Default)]
struct Account {
    told: Vec<i64>,
    unknown: u64,
    reads: u64,
    not_executed: u64,
    repairs: u64,
}

impl Account {
    /// Takes the end of a call that counts.
    fn take(&mut self, version: i64, result: Result<(i64, i64), Error>) {
        match result {
            Ok((sum, ran)) => {
                assert_eq!(ran, version, "the wrong version");
                assert!(self.told.last().is_none_or(|last| *last < sum), "{sum} came twice, or late");
                self.told.push(sum);
            }
            Err(error) => {
                assert_ne!(error.status(), Status::NoFunction, "{error}");
                if error.is_indeterminate() {
                    self.unknown += 1;
                } else {
                    assert!(error.is_not_executed(), "{error}");
                    self.not_executed += 1;
                }
            }
        }
    }

    /// Takes the end of a call that reads, from a replica perhaps, which may be late.
    fn take_read(&mut self, version: i64, result: Result<(String, i64), Error>) {
        match result {
            Ok((_, ran)) => assert_eq!(ran, version, "the wrong version"),
            Err(error) => assert_ne!(error.status(), Status::NoFunction, "{error}"),
        }
        self.reads += 1;
    }
}

/// A caller's whole life: two versions in turn, each with a client of its own, until its standard input ends.
fn be_a_caller(told: &str) {
    let (number, url) = told.split_once(' ').expect("a number and a URL");
    let number: usize = number.parse().expect("a number");
    let is_over = Arc::new(AtomicBool::new(false));
    thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            let _ = std::io::stdin().read(&mut [0]);
            is_over.store(true, Ordering::SeqCst);
        }
    });
    let key = key_of(number);
    let mut account = Account::default();
    let mut round = 0;
    while !is_over.load(Ordering::SeqCst) {
        round += 1;
        let version = (number as i64 + round) % 2 + 1;
        let library = library(version);
        let client = Client::open(url, &options(LONG)).expect("a client");
        deploy(&client, &library, round);
        for _ in 0..20 {
            call_in_every_form(&client, &library, version, &key, &mut account);
        }
        account.repairs += client.stats().noscript_repairs;
        let mut out = std::io::stdout();
        if writeln!(out, "calls {}", account.told.len()).and_then(|()| out.flush()).is_err() {
            // The test has failed, and nobody reads any more.
            std::process::exit(1);
        }
    }
    let Account { told, unknown, reads, not_executed, repairs } = account;
    println!("over {} {unknown} {reads} {not_executed} {repairs}", told.len());
}

/// Nobody has to. Now and then somebody removes what others still call.
fn deploy(client: &Client, library: &Library, round: i64) {
    let done = match round % 3 {
        0 => client.library_prune(&[library]),
        1 => client.library_load(library),
        _ => return,
    };
    if let Err(error) = done {
        assert_ne!(error.status(), Status::Compile, "{error}");
    }
}

fn call_in_every_form(client: &Client, library: &Library, version: i64, key: &str, account: &mut Account) {
    let (count, get) = (library.function("count").unwrap(), library.function("get").unwrap());
    account.take(version, client.call(&count, key, NONE).and_then(|reply| reply.to()));
    for mut both in [client.pipeline(), client.transaction()] {
        both.script(&count, key, NONE).unwrap().command("PING").unwrap().script(&count, key, NONE).unwrap();
        match both.exec() {
            Ok(replies) => {
                for item in [0, 2] {
                    let reply = replies.get(item).expect("a reply");
                    let result = reply.as_error().map_or_else(|| reply.to(), Err);
                    account.take(version, result);
                }
            }
            // Of two runs as many as there were.
            Err(error) => {
                account.take(version, Err(error.clone()));
                account.take(version, Err(error));
            }
        }
    }
    account.take_read(version, client.call_read_only(&get, key, NONE).and_then(|reply| reply.to()));
    let near = client.with_read_from(ReadFrom::PreferReplica);
    account.take_read(version, near.call_read_only(&get, key, NONE).and_then(|reply| reply.to()));
}

/// A caller as its parent sees it.
struct Caller {
    child: Child,
    calls: Arc<AtomicU64>,
    said: thread::JoinHandle<String>,
}

impl Caller {
    fn start(test: &str, number: usize, url: &str) -> Caller {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([test, "--exact", "--nocapture"])
            .env(CALLER, format!("{number} {url}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts once more");
        let calls = Arc::new(AtomicU64::new(0));
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let said = thread::spawn({
            let calls = Arc::clone(&calls);
            move || {
                let mut rest = String::new();
                for line in out.lines().map_while(Result::ok) {
                    match line.strip_prefix("calls ") {
                        Some(count) => calls.store(count.parse().expect("a number"), Ordering::SeqCst),
                        None => rest += &(line + "\n"),
                    }
                }
                rest
            }
        });
        Caller { child, calls, said }
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Ends the caller, and gives what it has counted: calls that were told, calls that nobody knows of, reads,
    /// calls that were refused, and libraries that were missed and loaded again.
    fn end(mut self) -> [u64; 5] {
        drop(self.child.stdin.take());
        let said = self.said.join().expect("what it said");
        let status = self.child.wait().expect("a child");
        assert!(status.success(), "{status}\n{said}");
        let counts = said.lines().find_map(|line| line.strip_prefix("over ")).expect("its account");
        let counts: Vec<u64> = counts.split(' ').map(|count| count.parse().expect("a number")).collect();
        counts.try_into().expect("five counts")
    }
}

fn a_bad_day(test: &str, binary: Binary, moves_itself: bool) {
    if let Ok(told) = std::env::var(CALLER) {
        return be_a_caller(&told);
    }
    // RS_SCRIPT_LONG=1: the whole minute.
    let is_long = std::env::var_os("RS_SCRIPT_LONG").is_some_and(|value| value == "1");
    let least = Duration::from_secs(if is_long { 60 } else { 2 });
    // A primary without slots stays one.
    let stays = |node: Builder| node.arg("cluster-allow-replica-migration", "no");
    let cluster = Cluster::builder(3).replicas(1).spares(1).binary(binary).each(stays).start();
    let callers: Vec<Caller> =
        (0..PROCESSES).map(|number| Caller::start(test, number, &cluster.cluster_url())).collect();
    let is_over = AtomicBool::new(false);
    let (flushes, moves, failovers) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let _end = OnDrop(|| is_over.store(true, Ordering::SeqCst));
        for node in cluster.nodes() {
            let (is_over, flushes) = (&is_over, &flushes);
            scope.spawn(move || {
                let mut raw = Raw::connect(node);
                while !is_over.load(Ordering::SeqCst) {
                    // A replica refuses it.
                    raw.cmd(&["FUNCTION", "FLUSH"]);
                    flushes.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let slots: Vec<u16> = (0..PROCESSES).map(|process| slot_of(key_of(process).as_bytes())).collect();
        let go_on = || {
            let seen: Vec<u64> = callers.iter().map(Caller::calls).collect();
            wait_until("each process goes on", || {
                callers.iter().zip(&seen).all(|(caller, seen)| caller.calls() > *seen)
            });
        };
        go_on();
        let began = Instant::now();
        let newcomer = cluster.join();
        let mut round = 0;
        while round == 0 || began.elapsed() < least {
            for (number, &slot) in slots.iter().enumerate() {
                let from = cluster.primary_of(slot);
                // All of them to the new node first, then from each to the next.
                let to = if round == 0 { newcomer } else { next_primary(&cluster, newcomer, from) };
                if to == from {
                    continue;
                }
                if moves_itself {
                    cluster.migrate_slots(&[slot], from, to);
                } else {
                    cluster.move_slots([slot], from, to);
                }
                moves.fetch_add(1, Ordering::SeqCst);
                if number % 4 == 3 {
                    go_on();
                }
            }
            // Of one that has a replica: the newcomer has none. A slot that nobody calls will do.
            let slot = (0..16384).step_by(97).find(|slot| !cluster.replicas_of(*slot).is_empty());
            cluster.failover(slot.expect("a primary with a replica"));
            failovers.fetch_add(1, Ordering::SeqCst);
            go_on();
            round += 1;
        }
    });
    let accounts: Vec<[u64; 5]> = callers.into_iter().map(Caller::end).collect();
    let client = Client::open(&cluster.cluster_url(), &options(LONG)).unwrap();
    for (process, [told, unknown, ..]) in accounts.iter().enumerate() {
        let value = client.command(("GET", key_of(process))).unwrap();
        let value: u64 = value.as_str().expect("a count").parse().unwrap();
        assert!(
            (*told..=told + unknown).contains(&value),
            "{process}: {value}, {told} told, {unknown} unknown"
        );
    }
    let [told, unknown, reads, refused, repairs] =
        accounts.iter().fold([0; 5], |sums, account| std::array::from_fn(|at| sums[at] + account[at]));
    assert!(repairs > 0, "the flushes were felt");
    println!(
        "{binary:?}: {told} calls told, {unknown} of which nobody knows, {refused} refused, {reads} reads; \
         {repairs} repairs, {flushes:?} flushes, {moves:?} slots moved, {failovers:?} failovers",
    );
}

/// Another primary than this one: in turn, so that slots come round.
fn next_primary(cluster: &Cluster, newcomer: usize, from: usize) -> usize {
    let mut primaries: Vec<usize> = (0..16384).step_by(97).map(|slot| cluster.primary_of(slot)).collect();
    primaries.push(newcomer);
    primaries.sort_unstable();
    primaries.dedup();
    let place = primaries.iter().position(|primary| *primary == from).expect("a primary");
    primaries[(place + 1) % primaries.len()]
}

#[test]
fn eight_processes_roll_two_versions_under_flushes_moves_a_new_node_and_failovers() {
    let test =
        "functions_bad_days::eight_processes_roll_two_versions_under_flushes_moves_a_new_node_and_failovers";
    a_bad_day(test, Binary::Default, false);
}

#[test]
fn eight_processes_go_on_where_the_server_moves_slots_by_itself() {
    let test = "functions_bad_days::eight_processes_go_on_where_the_server_moves_slots_by_itself";
    a_bad_day(test, Binary::Valkey91, true);
}
