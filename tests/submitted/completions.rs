//! Each accepted call has exactly one completion, and what is in it is whole: whoever reads, closes, cancels or takes
//! out meanwhile.

use crate::support;

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rs_script::{Client, Completion, Queue, Reply, Status};
use support::calls::{LONG, client, options, take};
use support::raw::Raw;
use support::server::Server;
use support::wait_until;

/// Clients are closed while threads submit to them: what was accepted has a completion, and soon.
#[test]
fn no_accepted_call_is_lost_when_a_client_is_closed() {
    const THREADS: usize = 8;
    let server = Server::start();
    for round in 0..60 {
        let mut options = options(LONG);
        options.lazy_connect(round % 3 == 0);
        let client = Client::open(&server.url(), &options).unwrap();
        let queue = Queue::new(200_000).unwrap();
        let (accepted, start) = (AtomicU64::new(0), Barrier::new(THREADS + 1));
        thread::scope(|scope| {
            let submit = || {
                start.wait();
                loop {
                    match client.submit_command(&queue, 1, &["PING"]) {
                        Ok(()) => drop(accepted.fetch_add(1, Ordering::Relaxed)),
                        Err(error) if error.status() == Status::QueueFull => thread::yield_now(),
                        Err(error) => break assert_eq!(error.status(), Status::Closed, "{error}"),
                    }
                }
            };
            let submitters: Vec<_> = (0..THREADS).map(|_| scope.spawn(submit)).collect();
            start.wait();
            while accepted.load(Ordering::Relaxed) < round * 5 {
                assert!(submitters.iter().any(|thread| !thread.is_finished()), "all have failed");
                thread::yield_now();
            }
            client.close();
        });
        // Less than the calls' own deadline.
        let mut taken = Vec::new();
        let accepted = accepted.into_inner() as usize;
        while taken.len() < accepted {
            let count = queue.poll(&mut taken, accepted, LONG / 2);
            assert!(count > 0, "round {round}: {} of {accepted} calls have ended", taken.len());
        }
        assert!(queue.is_empty());
    }
}

/// A pipeline of which the first item was answered and the second is held back, on a connection on which a blocking
/// call of another thread reads.
struct HalfAnswered {
    server: Server,
    queue: Queue,
}

/// How such a pipeline ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Deadline,
    Cancel,
    Close,
}

impl HalfAnswered {
    fn new() -> Self {
        let server = Server::start();
        let mut raw = Raw::connect(&server);
        raw.ok(&["SET", "text", "hello"]);
        raw.ok(&["LPUSH", "list", "x"]);
        HalfAnswered { queue: Queue::new(4).unwrap(), server }
    }

    /// Runs `body` while replies to writes are held back and another thread waits for its own reply behind them.
    fn under_a_reader<T>(&self, client: &Client, body: impl FnOnce(&dyn Fn()) -> T) -> T {
        let mut raw = Raw::connect(&self.server);
        let received = client.stats().bytes_received;
        // What a failover on demand does: reads are answered, writes wait.
        raw.ok(&["CLIENT", "PAUSE", "60000", "WRITE"]);
        thread::scope(|scope| {
            let reads = || {
                wait_until("the first item is answered", || client.stats().bytes_received > received);
                scope.spawn(|| client.command(&["PING"]));
                wait_until("somebody waits behind", || client.stats().in_flight >= 2);
            };
            let result = body(&reads);
            raw.ok(&["CLIENT", "UNPAUSE"]);
            result
        })
    }
}

#[track_caller]
fn check_arrived(arrived: Option<Reply>, key: &str) {
    let arrived = arrived.expect("the first item was answered");
    assert_eq!(arrived.root().len(), 1);
    let first = arrived.get(0).unwrap();
    match key {
        "text" => assert_eq!(first.as_str(), Some("hello")),
        _ => {
            let error = first.as_error().expect("a list is no string");
            assert_eq!(error.server_code(), Some("WRONGTYPE"), "{error}");
        }
    }
}

/// The deadline is long enough for the first item to be answered; how long that takes is the machine's affair.
const PATIENCE: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(2), Duration::from_secs(20)];

/// Has a pipeline end that is half answered, until something of it has arrived.
fn arrived_of(ends: &[End], run: impl Fn(&str, End, Duration) -> Option<Reply>) {
    for key in ["text", "list"] {
        for &end in ends {
            let patience = if end == End::Deadline { &PATIENCE[..] } else { &[LONG] };
            let arrived = patience.iter().find_map(|&timeout| run(key, end, timeout));
            assert!(arrived.is_some(), "the first item was answered: {key}, {end:?}");
            check_arrived(arrived, key);
        }
    }
}

#[test]
fn what_arrived_of_a_submitted_pipeline_is_whole_whoever_reads() {
    let half = HalfAnswered::new();
    arrived_of(&[End::Deadline, End::Cancel, End::Close].repeat(3), |key, end, timeout| {
        let own = client(&half.server);
        own.command(&["PING"]).unwrap();
        let mut pipeline = own.with_timeout(timeout).pipeline();
        pipeline.command(&["GET", key]).unwrap().command(&["SET", "other", "1"]).unwrap();
        let Completion { result, arrived, .. } = half.under_a_reader(&own, |reads| {
            pipeline.submit(&half.queue, 7).unwrap();
            reads();
            match end {
                End::Deadline => {}
                End::Cancel => assert_eq!(own.cancel(&half.queue, 7), 1),
                End::Close => own.close(),
            }
            take(&half.queue, 1).remove(0)
        });
        assert_eq!(result.unwrap_err().status(), Status::Indeterminate, "{end:?}");
        arrived
    });
}

#[test]
fn what_arrived_of_a_pipeline_that_is_waited_for_is_whole_whoever_reads() {
    let half = HalfAnswered::new();
    arrived_of(&[End::Deadline, End::Close].repeat(3), |key, end, timeout| {
        let own = client(&half.server);
        own.command(&["PING"]).unwrap();
        let mut pipeline = own.with_timeout(timeout).pipeline();
        pipeline.command(&["GET", key]).unwrap().command(&["SET", "other", "1"]).unwrap();
        half.under_a_reader(&own, |reads| {
            thread::scope(|scope| {
                let waiting = scope.spawn(|| {
                    let error = pipeline.exec().unwrap_err();
                    assert_eq!(error.status(), Status::Indeterminate, "{end:?}");
                    pipeline.arrived()
                });
                reads();
                if end == End::Close {
                    own.close();
                }
                waiting.join().unwrap()
            })
        })
    });
}

/// Replies that come in many pieces, each handed over as soon as it is whole.
#[test]
fn a_long_pipeline_in_small_pieces_is_put_together() {
    let server = Server::start();
    let proxy = support::proxy::Proxy::start(server.address());
    let client = Client::open(&proxy.url(), &options(LONG)).unwrap();
    let mut pipeline = client.pipeline();
    for number in 0..300 {
        pipeline.command(&["ECHO", &"x".repeat(number * 7 % 400)]).unwrap();
        pipeline.command(&["CONFIG", "GET", "maxmemory*"]).unwrap();
    }
    proxy.max_write(support::proxy::Way::Replies, 97);
    let replies = pipeline.exec().unwrap();
    for number in 0..300 {
        assert_eq!(replies.get(2 * number).unwrap().as_bytes().unwrap().len(), number * 7 % 400);
        let pairs = replies.get(2 * number + 1).unwrap();
        assert!(pairs.elements().any(|text| text.as_str() == Some("maxmemory-policy")), "{pairs:?}");
    }
}

/// Far above what it takes, and far below what it took when each looked at all the others: minutes.
const BOUND: Duration = Duration::from_secs(120);

/// What ends a call costs the same however many are under way: on a connection, and in line for one.
#[test]
fn a_hundred_thousand_calls_are_called_off_or_run_out_of_time_one_by_one() {
    const CALLS: u64 = 100_000;
    let server = Server::start();
    for lazy in [false, true] {
        let mut options = options(Duration::from_secs(3600));
        options.lazy_connect(lazy).connect_timeout(Duration::from_secs(3600)).unwrap();
        let client = Client::open(&server.url(), &options).unwrap();
        let queue = Queue::new(CALLS as usize).unwrap();
        server.pause();
        let start = Instant::now();
        for tag in 0..CALLS {
            client.submit_command(&queue, tag, &["PING"]).unwrap();
        }
        // From behind: those in front are looked at last.
        for tag in (0..CALLS).rev() {
            assert_eq!(client.cancel(&queue, tag), 1);
        }
        assert!(start.elapsed() < BOUND, "{:?} for those called off", start.elapsed());
        // A connection on which nothing comes may be given up meanwhile; the others are in line for the next one then.
        let ended = take(&queue, CALLS as usize);
        assert!(lazy || ended[0].result.as_ref().is_err_and(|error| error.status() == Status::Indeterminate));
        for completion in ended {
            let status = completion.result.unwrap_err().status();
            assert!(status == Status::Cancelled || !lazy && status == Status::Indeterminate, "{status:?}");
        }
        let start = Instant::now();
        let mut hasty = Vec::new();
        for tag in 0..CALLS {
            // Each at another time.
            hasty.push(client.with_timeout(Duration::from_micros(1_000_000 + 10 * tag)));
        }
        for (tag, hasty) in hasty.iter().enumerate() {
            hasty.submit_command(&queue, tag as u64, &["PING"]).unwrap();
        }
        for completion in take(&queue, CALLS as usize) {
            let error = completion.result.unwrap_err();
            assert!(error.is_indeterminate() != error.is_not_executed(), "{error}");
        }
        assert!(start.elapsed() < BOUND, "{:?} for those whose time was over", start.elapsed());
        server.resume();
    }
}

/// Calls leave a line from its front, its middle and its end; the others keep their order.
#[test]
fn a_line_keeps_its_order_when_some_leave_it() {
    let server = Server::start();
    let mut options = options(LONG);
    options.lazy_connect(true).connect_timeout(LONG).unwrap();
    let client = Client::open(&server.url(), &options).unwrap();
    let hasty = client.with_timeout(Duration::from_millis(20));
    let queue = Queue::new(10_000).unwrap();
    server.pause();
    for tag in 0..3_000 {
        let client = if tag % 3 == 2 { &hasty } else { &client };
        client.submit_command(&queue, tag, &["RPUSH", "list", &tag.to_string()]).unwrap();
    }
    assert_eq!(take(&queue, 1_000).iter().filter(|completion| completion.tag % 3 == 2).count(), 1_000);
    (0..3_000).filter(|tag| tag % 3 == 0).for_each(|tag| assert_eq!(client.cancel(&queue, tag), 1));
    assert!(take(&queue, 1_000).iter().all(|completion| completion.tag % 3 == 0));
    server.resume();
    let left: Vec<_> = (0..3_000).filter(|tag| tag % 3 == 1).collect();
    let ended = take(&queue, 1_000);
    assert!(ended.iter().all(|completion| completion.result.is_ok()));
    assert_eq!(ended.iter().map(|completion| completion.tag).collect::<Vec<_>>(), left);
    let list = Raw::connect(&server).ok(&["LRANGE", "list", "0", "-1"]);
    let numbers: Vec<u64> = list.elements().iter().map(|number| number.text().parse().unwrap()).collect();
    assert_eq!(numbers, left);
}
