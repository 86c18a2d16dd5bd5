//! Panics in the middle of everything: each ends what it has to do with, every call has its one end, and the rest goes
//! on.

use std::collections::HashMap;
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::provoke;
use crate::{CallFuture, Client, Completion, Error, Options, Queue, Status};

const LONG: Duration = Duration::from_secs(60);

/// A server that answers PONG to nearly everything, and nothing while it is held.
struct Fake {
    address: SocketAddr,
    held: Arc<(Mutex<bool>, Condvar)>,
    /// What it says to CLUSTER SLOTS.
    slots: Arc<Mutex<String>>,
}

impl Fake {
    fn start() -> Fake {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (held, slots) = <(Arc<(Mutex<bool>, Condvar)>, Arc<Mutex<String>>)>::default();
        let (its_held, its_slots) = (Arc::clone(&held), Arc::clone(&slots));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (held, slots) = (Arc::clone(&its_held), Arc::clone(&its_slots));
                thread::spawn(move || serve(&stream, &held, &slots));
            }
        });
        Fake { address, held, slots }
    }

    fn name(&self) -> String {
        self.address.to_string()
    }

    fn client(&self) -> Client {
        self.client_of(&format!("redis://{}", self.address), false)
    }

    fn client_of(&self, url: &str, lazy: bool) -> Client {
        let mut options = Options::default();
        options.call_timeout(LONG).expect("an option").lazy_connect(lazy);
        Client::open(url, &options).expect("a client")
    }

    fn hold(&self) {
        *self.held.0.lock().expect("no panic while locked") = true;
    }

    fn release(&self) {
        *self.held.0.lock().expect("no panic while locked") = false;
        self.held.1.notify_all();
    }
}

fn serve(mut stream: &TcpStream, (held, released): &(Mutex<bool>, Condvar), slots: &Mutex<String>) {
    let mut reader = BufReader::new(stream);
    while let Some(command) = command(&mut reader) {
        let reply = match command[0].to_ascii_uppercase().as_str() {
            "HELLO" => "%1\r\n$5\r\nproto\r\n:3\r\n".into(),
            "CLIENT" | "MULTI" => "+OK\r\n".into(),
            "EXEC" => "*0\r\n".into(),
            "CLUSTER" => slots.lock().expect("no panic while locked").clone(),
            _ => {
                let held = held.lock().expect("no panic while locked");
                drop(released.wait_while(held, |held| *held));
                "+PONG\r\n".to_owned()
            }
        };
        if stream.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

fn command(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let number = |reader: &mut dyn BufRead| {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        line.get(1..)?.trim_end().parse::<usize>().ok()
    };
    (0..number(reader)?)
        .map(|_| {
            let mut bytes = vec![0; number(reader)? + 2];
            reader.read_exact(&mut bytes).ok()?;
            bytes.truncate(bytes.len() - 2);
            String::from_utf8(bytes).ok()
        })
        .collect()
}

fn wait_until(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LONG, "it never came to be");
        thread::sleep(Duration::from_millis(1));
    }
}

/// So many completions, each of another tag.
#[track_caller]
fn take(queue: &Queue, count: usize) -> HashMap<u64, Completion> {
    let by_tag = take_of(queue, count);
    assert!(by_tag.len() == count && queue.is_empty());
    by_tag
}

#[track_caller]
fn is_defect(error: &Error) {
    assert_eq!(error.status(), Status::Internal, "{error}");
    assert!(error.message().contains("defect of rs_script"), "{error}");
    assert!(error.is_indeterminate() != error.is_not_executed());
}

#[track_caller]
fn are_defects(completions: HashMap<u64, Completion>) {
    completions.into_values().for_each(|completion| is_defect(&completion.result.expect_err("a defect")));
}

#[track_caller]
fn submit(client: &Client, queue: &Queue, tags: std::ops::Range<u64>) {
    tags.for_each(|tag| client.submit_command(queue, tag, &["PING"]).expect("it is accepted"));
}

/// The client and its thread are as good as new.
#[track_caller]
fn goes_on(client: &Client, queue: &Queue) {
    submit(client, queue, 100..110);
    assert!(take(queue, 10).values().all(|completion| completion.result.is_ok()));
    client.command(&["PING"]).expect("it is answered");
    let hasty = client.with_timeout(Duration::from_millis(10));
    hasty.submit_command(queue, 1, &["PING"]).expect("it is accepted");
    take(queue, 1);
}

/// A client whose thread polls its connection, and `count` calls under way.
fn under_way(count: u64) -> (Fake, Client, Queue) {
    let server = Fake::start();
    let client = server.client();
    let queue = Queue::new(1_000).expect("descriptors");
    submit(&client, &queue, 0..1);
    take(&queue, 1);
    server.hold();
    submit(&client, &queue, 0..count);
    (server, client, queue)
}

#[test]
fn while_the_thread_in_the_background_reads() {
    let (server, client, queue) = under_way(50);
    provoke("read", &server.name());
    server.release();
    are_defects(take(&queue, 50));
    goes_on(&client, &queue);
}

#[test]
fn while_a_caller_reads_for_all() {
    let (server, client, queue) = under_way(50);
    thread::scope(|scope| {
        let mut callers = Vec::new();
        for in_flight in 52..55 {
            callers.push(scope.spawn(|| client.command(&["PING"])));
            wait_until(|| client.stats().in_flight + 1 >= in_flight);
        }
        provoke("read", &server.name());
        server.release();
        let ends: Vec<_> = callers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        // Unless it was the thread in the background: of a Rust program it is the reader's own panic; the C boundary
        // makes an error of it.
        assert!(ends.iter().filter(|end| end.is_err()).count() <= 1);
        ends.into_iter().flatten().for_each(|end| is_defect(&end.expect_err("a defect")));
    });
    are_defects(take(&queue, 50));
    goes_on(&client, &queue);
}

#[test]
fn while_a_call_is_submitted() {
    let (server, client, queue) = under_way(5);
    provoke("submit", &server.name());
    client.submit_command(&queue, 5, &["PING"]).expect("it was accepted before");
    are_defects(take(&queue, 6));
    server.release();
    goes_on(&client, &queue);
}

/// Futures are ended like completions, and whoever makes or drops one meets no panic.
#[test]
fn while_futures_are_made_and_polled() {
    let server = Fake::start();
    let client = server.client();
    let waker = Waker::noop();
    let poll = |future: &mut CallFuture| Pin::new(future).poll(&mut Context::from_waker(waker));
    let end = |future: &mut CallFuture| {
        let start = Instant::now();
        loop {
            if let Poll::Ready(result) = poll(future) {
                return result;
            }
            assert!(start.elapsed() < LONG, "it never ended");
            thread::sleep(Duration::from_millis(1));
        }
    };
    end(&mut client.command_async("PING")).expect("it is answered");
    server.hold();
    let mut futures: Vec<_> = (0..50).map(|_| client.command_async("PING")).collect();
    assert!(futures.iter_mut().all(|future| poll(future).is_pending()));
    provoke("read", &server.name());
    server.release();
    futures.iter_mut().for_each(|future| is_defect(&end(future).expect_err("a defect")));
    end(&mut client.command_async("PING")).expect("it goes on");

    provoke("submit", &server.name());
    is_defect(&end(&mut client.command_async("PING")).expect_err("a defect"));
    end(&mut client.command_async("PING")).expect("it goes on");

    let odd = Duration::from_millis(43_210);
    provoke("work", &odd.as_millis());
    is_defect(&end(&mut client.command_async("PING").timeout(odd)).expect_err("a defect"));
    end(&mut client.command_async("PING")).expect("it goes on");
}

#[test]
fn while_completions_are_handed_out() {
    let (server, client, queue) = under_way(50);
    provoke("complete", &server.name());
    server.release();
    let ended = take(&queue, 50);
    let defects = ended.values().filter_map(|completion| completion.result.as_ref().err());
    assert!(defects.inspect(|error| is_defect(error)).count() > 0);
    goes_on(&client, &queue);
}

#[test]
fn while_deadlines_are_looked_at() {
    let (server, client, queue) = under_way(5);
    provoke("expire", &server.name());
    client.with_timeout(Duration::from_millis(10)).submit_command(&queue, 5, &["PING"]).expect("accepted");
    are_defects(take(&queue, 6));
    server.release();
    goes_on(&client, &queue);
}

#[test]
fn while_it_is_found_out_what_to_poll_for() {
    let (server, client, queue) = under_way(5);
    provoke("watch", &server.name());
    // Sets the alarm, so that the thread looks; if it has not been woken before.
    client.with_timeout(Duration::from_millis(500)).submit_command(&queue, 5, &["PING"]).expect("accepted");
    are_defects(take(&queue, 6));
    server.release();
    goes_on(&client, &queue);
}

#[test]
fn while_who_polls_a_queue_without_a_thread_does_the_work() {
    let server = Fake::start();
    let client = server.client();
    let queue = Queue::without_thread(1_000).expect("descriptors");
    server.hold();
    submit(&client, &queue, 0..5);
    provoke("watch", &server.name());
    are_defects(take(&queue, 5));
    server.release();
    goes_on(&client, &queue);
}

#[test]
fn while_who_polls_a_queue_without_a_thread_hands_over_what_has_come() {
    let server = Fake::start();
    let client = server.client();
    let queue = Queue::without_thread(1_000).expect("descriptors");
    server.hold();
    submit(&client, &queue, 0..5);
    provoke("straight", &server.name());
    server.release();
    let ends = take(&queue, 5);
    ends.into_values().filter_map(|end| end.result.err()).for_each(|error| is_defect(&error));
    goes_on(&client, &queue);
}

#[test]
fn while_a_call_that_waits_is_taken_on() {
    let (server, client, queue) = under_way(0);
    server.release();
    for round in 0..40 {
        // No other test has this deadline.
        let odd = Duration::from_millis(54_321 + round);
        provoke("work", &odd.as_millis());
        client.with_timeout(odd).submit_command(&queue, 1, &["BLPOP", "list", "0"]).expect("accepted");
        are_defects(take(&queue, 1));
        client.submit_command(&queue, 2, &["BLPOP", "list", "0"]).expect("accepted");
        assert!(take(&queue, 1)[&2].result.is_ok());
    }
    goes_on(&client, &queue);
}

#[test]
fn while_calls_are_in_line_for_a_connection() {
    let server = Fake::start();
    let client = server.client_of(&format!("redis://{}", server.address), true);
    let queue = Queue::new(1_000).expect("descriptors");
    provoke("line", &server.name());
    submit(&client, &queue, 0..20);
    let ended = take(&queue, 20);
    let (defects, answered): (Vec<_>, Vec<_>) = ended.into_values().partition(|end| end.result.is_err());
    assert!(!defects.is_empty());
    for completion in defects {
        let error = completion.result.expect_err("a defect");
        is_defect(&error);
    }
    // Those that were submitted when it was over.
    assert!(answered.into_iter().all(|completion| completion.result.is_ok()));
    goes_on(&client, &queue);
}

#[test]
fn while_a_connection_is_made() {
    let server = Fake::start();
    let client = server.client_of(&format!("redis://{}", server.address), true);
    let queue = Queue::new(1_000).expect("descriptors");
    provoke("connect", &server.name());
    // As after any other attempt that failed: another is made.
    submit(&client, &queue, 0..20);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| client.command(&["PING"]).expect("it is answered"));
        }
    });
    assert!(take(&queue, 20).values().all(|completion| completion.result.is_ok()));
    goes_on(&client, &queue);
}

/// Two servers of a cluster: a panic at one of them leaves the calls to the other alone.
#[test]
fn on_one_connection_of_several() {
    let servers = [Fake::start(), Fake::start()];
    let range = |from: u16, to: u16, fake: &Fake, id: &str| {
        let port = fake.address.port();
        format!("*3\r\n:{from}\r\n:{to}\r\n*3\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$40\r\n{}\r\n", id.repeat(40))
    };
    let slots = ["*2\r\n", &range(0, 8191, &servers[0], "a"), &range(8192, 16383, &servers[1], "b")].concat();
    servers.iter().for_each(|server| server.slots.lock().expect("no panic while locked").clone_from(&slots));
    // Slot 12182 and slot 5061.
    let keys = ["foo", "bar"];
    let client = servers[0].client_of(&format!("redis+cluster://{}", servers[0].address), false);
    let queue = Queue::new(1_000).expect("descriptors");
    let submit =
        |tag: u64| client.submit_command(&queue, tag, &["GET", keys[tag as usize % 2]]).expect("accepted");
    (0..2).for_each(submit);
    take(&queue, 2);
    servers.iter().for_each(Fake::hold);
    (0..40).for_each(submit);
    provoke("read", &servers[1].name());
    servers[1].release();
    let ended = take_of(&queue, 20);
    assert!(ended.keys().all(|tag| tag % 2 == 0));
    are_defects(ended);
    assert_eq!(queue.len(), 20);
    servers[0].release();
    let ended = take(&queue, 20);
    assert!(ended.values().all(|end| end.tag % 2 == 1 && end.result.is_ok()));
    (0..40).for_each(submit);
    assert!(take(&queue, 40).values().all(|end| end.result.is_ok()));

    // Finding the servers is a way to lose those who wait for that, too.
    let lost = AtomicBool::new(false);
    let name = format!("localhost:{}", servers[0].address.port());
    let fresh = servers[0].client_of(&format!("redis+cluster://{name}"), true);
    provoke("find", &name);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                if let Err(error) = fresh.command(&["GET", "foo"]) {
                    is_defect(&error);
                    lost.store(true, Ordering::Relaxed);
                }
            });
        }
    });
    fresh.command(&["GET", "foo"]).expect("it goes on");
    assert!(lost.into_inner());
}

/// The same as [`take`] while there are more to come.
#[track_caller]
fn take_of(queue: &Queue, count: usize) -> HashMap<u64, Completion> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let left = count - taken.len();
        assert!(queue.poll(&mut taken, left, LONG / 2) > 0, "{} of {count}", taken.len());
    }
    taken.into_iter().map(|completion| (completion.tag, completion)).collect()
}

/// The host's own panic is none of ours: calls that its destructors make go on as ever.
#[test]
fn a_panic_of_the_host_ends_no_connection() {
    struct CallsWhenDropped<'a>(&'a Client);
    impl Drop for CallsWhenDropped<'_> {
        fn drop(&mut self) {
            self.0.command(&["PING"]).expect("it is answered");
        }
    }
    let server = Fake::start();
    let client = server.client();
    let unwound = super::contain(|| {
        let _calls = CallsWhenDropped(&client);
        panic!("of the host");
    });
    assert!(unwound.is_none());
    client.command(&["PING"]).expect("it is answered");
    assert_eq!(client.stats().reconnects, 0);
}
