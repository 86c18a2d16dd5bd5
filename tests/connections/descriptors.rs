//! A process without descriptors, or without room for a thread: what needs one says so, nothing was sent, and all goes
//! on once there are some.

use crate::support;

use std::env;
use std::fs::{self, File};
use std::process::Command;
use std::time::Duration;

use rs_script::{Client, Credentials, Error, Queue, Reason, Script, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, getrlimit, setrlimit};
use support::SLACK;
use support::calls::{COUNT, LONG, NONE, options, take};
use support::server::Server;

/// Tells the child which server there is.
const URL: &str = "RS_SCRIPT_TEST_URL";

/// Runs `body`, with a server's URL, in a process of its own: the limits are the process's.
fn apart(name: &str, body: impl FnOnce(&str)) {
    if let Ok(url) = env::var(URL) {
        return body(&url);
    }
    let server = Server::start();
    let mut child = Command::new(env::current_exe().unwrap());
    let outcome = child.args(["--exact", name, "--nocapture"]).env(URL, server.url()).output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stdout) + String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.status.success() && said.contains("1 passed"), "{said}");
}

/// Takes all descriptors there are.
fn take_descriptors() -> Vec<File> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(64);
    setrlimit(Resource::Nofile, limit).unwrap();
    let taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(!taken.is_empty() && taken.len() < 64);
    taken
}

#[test]
fn without_descriptors_it_is_said_what_is_missing() {
    apart("descriptors::without_descriptors_it_is_said_what_is_missing", without_descriptors);
}

#[test]
fn what_had_no_descriptor_is_not_sent_once_there_is_one() {
    apart("descriptors::what_had_no_descriptor_is_not_sent_once_there_is_one", |url| {
        let mut lazy = options(LONG);
        let lazy = Client::open(url, lazy.lazy_connect(true)).unwrap();
        let count = Script::new(COUNT);
        let taken = take_descriptors();
        let error = lazy.call(&count, &["n"], &NONE).unwrap_err();
        assert!(error.is_not_executed(), "{error}");
        drop(taken);
        assert_eq!(lazy.call(&count, &["n"], &NONE).unwrap().as_i64(), Some(1));
    });
}

/// However many descriptors are missing for what a queue without a thread takes.
#[test]
fn a_deadline_comes_though_descriptors_were_missing_at_first() {
    apart("descriptors::a_deadline_comes_though_descriptors_were_missing_at_first", |url| {
        let queue = Queue::without_thread(10).unwrap();
        for left in 0..10 {
            let mut lazy = options(Duration::from_millis(20));
            let lazy = Client::open(url, lazy.lazy_connect(true)).unwrap();
            let mut taken = take_descriptors();
            taken.truncate(taken.len() - left);
            let first = lazy.submit_command(&queue, 1, "PING");
            drop(taken);
            match first {
                Ok(()) => drop(take(&queue, 1)),
                Err(error) => assert!(error.is_not_executed(), "{error}"),
            }
            lazy.submit_command(&queue, 2, ("BLPOP", "nothing", 0)).unwrap();
            let mut done = Vec::new();
            while queue.poll(&mut done, 1, Duration::ZERO) == 0 {
                let mut fds = [PollFd::from_borrowed_fd(queue.as_fd(), PollFlags::IN)];
                let longest = Timespec::try_from(SLACK).unwrap();
                assert_eq!(poll(&mut fds, Some(&longest)), Ok(1), "with {left} descriptors: nothing to do");
            }
            assert_eq!(done[0].result.as_ref().unwrap_err().reason(), Reason::Deadline);
        }
    });
}

#[test]
fn without_a_thread_to_ask_on_the_next_connection_asks_for_credentials() {
    apart("descriptors::without_a_thread_to_ask_on_the_next_connection_asks_for_credentials", |url| {
        let mut lazy = options(LONG);
        lazy.lazy_connect(true).connect_timeout(SLACK).unwrap();
        lazy.reconnect_attempts(0).credentials(|_| Ok::<_, Error>(Credentials::new("").username("default")));
        let client = Client::open(url, &lazy).unwrap();
        let before = getrlimit(Resource::As);
        let pages: u64 =
            fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
        // Less than a thread's stack.
        let mut limit = before;
        limit.current = Some((pages << 12) + (1 << 20));
        setrlimit(Resource::As, limit).unwrap();
        let error = client.with_timeout(Duration::from_millis(300)).command("PING").unwrap_err();
        setrlimit(Resource::As, before).unwrap();
        assert!(error.is_not_executed() && error.message().contains("no thread could be started"), "{error}");
        client.command("PING").unwrap();
    });
}

fn without_descriptors(url: &str) {
    let connected = Client::open(url, &options(LONG)).unwrap();
    let count = Script::new(COUNT);
    assert_eq!(connected.call(&count, &["n"], &NONE).unwrap().as_i64(), Some(1));
    let queue = Queue::new(10).unwrap();

    let taken = take_descriptors();
    let error = Queue::new(10).expect_err("no descriptor for it");
    assert_eq!(error.status(), Status::Resources, "{error}");
    let mut lazy = options(LONG);
    let lazy = Client::open(url, lazy.lazy_connect(true)).unwrap();
    let error = lazy.submit(&queue, 1, &count, &["n"], &NONE).unwrap_err();
    assert_eq!((error.status(), error.is_not_executed()), (Status::Resources, true), "{error}");
    assert_eq!(queue.len(), 0, "it was not accepted");
    // A client that is connected has what it takes.
    connected.submit(&queue, 2, &count, &["n"], &NONE).unwrap();
    assert_eq!(take(&queue, 1)[0].result.as_ref().unwrap().as_i64(), Some(2));
    let error = Client::open(url, &options(Duration::from_millis(300))).expect_err("no descriptor for it");
    assert_eq!((error.status(), error.is_not_executed()), (Status::Connect, true), "{error}");
    assert!(error.message().contains("Too many open files"), "{error}");
    assert_eq!(
        connected.call(&count, &["n"], &NONE).unwrap().as_i64(),
        Some(3),
        "one that has its descriptor"
    );

    drop(taken);
    let another = Client::open(url, &options(LONG)).unwrap();
    assert_eq!(another.call(&count, &["n"], &NONE).unwrap().as_i64(), Some(4));
    lazy.submit(&queue, 2, &count, &["n"], &NONE).unwrap();
    assert_eq!(take(&queue, 1)[0].result.as_ref().unwrap().as_i64(), Some(5));
    Queue::new(10).unwrap();
}
