//! The threads and the memory that submitted calls take, counted in this process: so the tests run one after the other.

#![allow(clippy::disallowed_types, reason = "no child of fork comes here")]

mod support;

use std::fs;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rs_script::{Client, Credentials, Error, Options, Queue, Script, Status};
use support::calls::{COUNT, NONE, client};
use support::server::Server;
use support::wait_until;

/// Of the process and so of all tests.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock()
}

/// How many threads of this name there are.
fn threads(name: &str) -> usize {
    count_threads(|comm| comm == name)
}

/// How many of the library's, whatever they do.
fn threads_in_all() -> usize {
    count_threads(|comm| comm.starts_with(DRIVER))
}

fn count_threads(is_one: impl Fn(&str) -> bool) -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    // A thread that goes meanwhile is gone.
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|comm| is_one(comm.trim_end())).count()
}

const DRIVER: &str = "rs_script";

fn resident_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn take(queue: &Queue, count: usize) {
    let mut taken = Vec::new();
    while taken.len() < count {
        assert!(queue.poll(&mut taken, count, Duration::from_secs(60)) > 0);
    }
}

#[test]
fn each_client_that_submits_has_one_thread_until_it_is_closed_or_dropped() {
    let _alone = alone();
    let server = Server::start();
    let queue = Queue::new(100).unwrap();
    let clients = [(); 3].map(|()| client(&server));
    for (number, client) in clients.iter().enumerate() {
        client.command(&["PING"]).unwrap();
        assert_eq!(threads(DRIVER), number, "a client without submitted calls has none");
        for tag in 0..10 {
            client.clone().submit_command(&queue, tag, &["PING"]).unwrap();
        }
        take(&queue, 10);
        assert_eq!(threads(DRIVER), number + 1);
    }
    let [closed, dropped, cloned] = clients;
    closed.close();
    wait_until("the thread of the closed one goes", || threads(DRIVER) == 2);
    drop(dropped);
    wait_until("the thread of the dropped one goes", || threads(DRIVER) == 1);
    let view = cloned.with_timeout(Duration::from_secs(1));
    drop(cloned);
    view.submit_command(&queue, 1, &["PING"]).unwrap();
    take(&queue, 1);
    drop(view);
    wait_until("the last one goes", || threads(DRIVER) == 0);
    let error = closed.submit_command(&queue, 1, &["PING"]).unwrap_err();
    assert_eq!((error.status(), threads(DRIVER)), (Status::Closed, 0));
}

#[test]
fn the_thread_goes_with_the_client_also_with_calls_under_way() {
    let _alone = alone();
    let server = Server::start();
    let queue = Queue::new(100).unwrap();
    for close in [true, false] {
        let mut options = Options::default();
        options.call_timeout(Duration::from_secs(600)).unwrap();
        let client = Client::open(&server.url(), &options).unwrap();
        for tag in 0..20 {
            client.submit_command(&queue, tag, &["BLPOP", "list", "0"]).unwrap();
        }
        wait_until("all of them wait", || client.stats().in_flight >= 20);
        assert_eq!((threads(DRIVER), threads_in_all()), (1, 1));
        if close {
            client.close();
        }
        drop(client);
        take(&queue, 20);
        wait_until("the threads go", || threads_in_all() == 0);
    }
    // With the connection still being made.
    server.pause();
    let mut options = Options::default();
    options.lazy_connect(true).call_timeout(Duration::from_secs(600)).unwrap();
    options.connect_timeout(Duration::from_secs(2)).unwrap();
    let client = Client::open(&server.url(), &options).unwrap();
    client.submit_command(&queue, 1, &["PING"]).unwrap();
    drop(client);
    take(&queue, 1);
    wait_until("the threads go", || threads_in_all() == 0);
}

#[test]
fn memory_does_not_grow_with_the_number_of_calls() {
    let _alone = alone();
    let server = Server::start();
    let client = client(&server);
    let queue = Queue::new(1_000).unwrap();
    let count = Script::new(COUNT);
    let calls = if cfg!(debug_assertions) { 300_000 } else { 1_000_000 };
    let mut before = 0;
    for tag in 0..calls {
        // A hundredth is called off: those leave nothing behind either.
        client.submit(&queue, tag, &count, &["n"], &NONE).unwrap();
        if tag % 100 == 0 {
            client.cancel(&queue, tag);
        }
        if tag % 500 == 499 {
            take(&queue, 500);
        }
        if tag == calls / 5 {
            before = resident_kib();
        }
    }
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 4 * 1024, "{grown} KiB more for {calls} calls");
}

/// One that asks for credentials has a thread while it asks, and one that renews them once there is something to
/// renew; none is left when it is dropped.
#[test]
fn logins_leave_no_thread_behind() {
    const LOGIN: &str = "rs_script-login";
    let _alone = alone();
    let server = Server::builder().password("p").start();
    let url = format!("redis://{}", server.address());
    for (lifetime, count) in [(None, 1), (Some(Duration::from_secs(600)), 1)] {
        let mut options = support::calls::options(Duration::from_secs(60));
        options.credentials(move |_| {
            let credentials = Credentials::new("p");
            Ok::<_, Error>(lifetime.map_or(credentials.clone(), |lifetime| credentials.lifetime(lifetime)))
        });
        let client = Client::open(&url, &options).unwrap();
        for _ in 0..5 {
            client.reauthenticate().unwrap();
        }
        wait_until("no more threads than it needs", || threads(LOGIN) == count);
        drop(client);
        assert_eq!(threads(LOGIN), 0);
    }
}
