//! How many calls may be under way at a time, and what becomes of one more.

use crate::support;

use std::thread;
use std::time::Duration;

use rs_script::{Client, Queue, Status};
use support::calls::{LONG, options, take};
use support::raw::{Raw, blocked_clients};
use support::server::Server;
use support::wait_until;

#[test]
fn commands_that_wait_beyond_the_limit_stand_in_line_and_hold_nobody_up() {
    let server = Server::start();
    let mut options = options(LONG);
    options.max_waiting(2).unwrap();
    let client = Client::open(&server.url(), &options).unwrap();
    let queue = Queue::new(10).unwrap();
    for tag in 0..4 {
        client.submit_command(&queue, tag, &["BLPOP", &format!("list-{tag}"), "0"]).unwrap();
    }
    wait_until("two wait at the server", || blocked_clients(&server) == 2);
    assert_eq!(client.command(&["PING"]).unwrap().as_str(), Some("PONG"));
    // One in line is called off, one runs out of time.
    assert_eq!(client.cancel(&queue, 3), 1);
    let done = take(&queue, 1).remove(0);
    assert_eq!((done.tag, done.result.unwrap_err().status()), (3, Status::Cancelled));
    let impatient = client.with_timeout(Duration::from_millis(50));
    let error = impatient.command(&["BLPOP", "list-5", "0"]).unwrap_err();
    assert_eq!(error.status(), Status::Timeout, "{error}");
    assert!(error.is_not_executed() && error.message().contains("max_waiting"), "{error}");
    // The first to end makes room for the next in line.
    assert_eq!(blocked_clients(&server), 2);
    client.command(&["RPUSH", "list-0", "x"]).unwrap();
    assert_eq!(take(&queue, 1).remove(0).tag, 0);
    client.command(&["RPUSH", "list-2", "y"]).unwrap();
    let done = take(&queue, 1).remove(0);
    assert_eq!((done.tag, done.result.unwrap().get(1).unwrap().as_str()), (2, Some("y")));
    client.close();
    assert_eq!(take(&queue, 1).remove(0).tag, 1);
}

#[test]
fn one_blocking_call_too_many_ends_at_once() {
    let server = Server::start();
    let mut options = options(LONG);
    options.max_in_flight(2);
    let client = Client::open(&server.url(), &options).unwrap();
    thread::scope(|scope| {
        for list in ["a", "b"] {
            let client = &client;
            scope.spawn(move || client.command(&["BLPOP", list, "0"]).unwrap());
        }
        wait_until("both wait at the server", || blocked_clients(&server) == 2);
        let error = client.command(&["PING"]).unwrap_err();
        assert_eq!(error.status(), Status::QueueFull, "{error}");
        assert!(error.is_not_executed() && error.message().contains("max_in_flight"), "{error}");
        for list in ["a", "b"] {
            Raw::connect(&server).cmd(&["RPUSH", list, "x"]);
        }
    });
    assert_eq!(client.command(&["PING"]).unwrap().as_str(), Some("PONG"));
}
