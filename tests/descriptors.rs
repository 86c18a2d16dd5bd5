//! A process without descriptors: what needs one says so, nothing was sent, and all goes on once there are some.

mod support;

use std::env;
use std::fs::File;
use std::process::Command;
use std::time::Duration;

use rs_script::{Client, Queue, Script, Status};
use rustix::process::{Resource, getrlimit, setrlimit};
use support::calls::{COUNT, LONG, NONE, options, take};
use support::server::Server;

/// Tells the child which server there is.
const URL: &str = "RS_SCRIPT_TEST_URL";

/// The limit is the process's, so it is one of its own.
#[test]
fn without_descriptors_it_is_said_what_is_missing() {
    if let Ok(url) = env::var(URL) {
        return without_descriptors(&url);
    }
    let server = Server::start();
    let name = "without_descriptors_it_is_said_what_is_missing";
    let mut child = Command::new(env::current_exe().unwrap());
    let outcome = child.args(["--exact", name, "--nocapture"]).env(URL, server.url()).output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stdout) + String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.status.success() && said.contains("1 passed"), "{said}");
}

fn without_descriptors(url: &str) {
    let connected = Client::open(url, &options(LONG)).unwrap();
    let count = Script::new(COUNT);
    assert_eq!(connected.call(&count, &["n"], &NONE).unwrap().as_i64(), Some(1));
    let queue = Queue::new(10).unwrap();

    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(64);
    setrlimit(Resource::Nofile, limit).unwrap();
    let taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(!taken.is_empty() && taken.len() < 64);
    for e in std::fs::read_dir("/proc/self/task").into_iter() {
        eprintln!("{:?}", e.count());
    }
    eprintln!("{}", taken.len());

    let error = Queue::new(10).expect_err("no descriptor for it");
    assert_eq!(error.status(), Status::Resources, "{error}");
    let error = connected.submit(&queue, 1, &count, &["n"], &NONE).unwrap_err();
    assert_eq!((error.status(), error.is_not_executed()), (Status::Resources, true), "{error}");
    assert_eq!(queue.len(), 0, "it was not accepted");
    let error = Client::open(url, &options(Duration::from_millis(300))).expect_err("no descriptor for it");
    assert_eq!((error.status(), error.is_not_executed()), (Status::Connect, true), "{error}");
    assert!(error.message().contains("Too many open files"), "{error}");
    assert_eq!(
        connected.call(&count, &["n"], &NONE).unwrap().as_i64(),
        Some(2),
        "one that has its descriptor"
    );

    drop(taken);
    let another = Client::open(url, &options(LONG)).unwrap();
    assert_eq!(another.call(&count, &["n"], &NONE).unwrap().as_i64(), Some(3));
    connected.submit(&queue, 2, &count, &["n"], &NONE).unwrap();
    assert_eq!(take(&queue, 1)[0].result.as_ref().unwrap().as_i64(), Some(4));
    Queue::new(10).unwrap();
}
