//! Queues without a thread: those who poll do the work, and the descriptor says when there is some.

mod support;

use std::time::{Duration, Instant};

use rs_script::{Client, Completion, Queue, Reason, Script, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::calls::{COUNT, LONG, NONE, options};
use support::cluster::Cluster;
use support::server::Server;

/// The threads of this process by name.
#[cfg(target_os = "linux")]
fn threads_of_the_library() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("rs_script")).collect()
}

fn is_readable(queue: &Queue, timeout: Duration) -> bool {
    let fd = queue.as_fd();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::try_from(timeout).unwrap())).unwrap() > 0
}

/// What an event loop does: waits for the descriptor, and never in the library.
fn take_by_loop(queue: &Queue, count: usize) -> Vec<Completion> {
    let (mut taken, start) = (Vec::new(), Instant::now());
    while taken.len() < count {
        assert!(is_readable(queue, LONG), "{} of {count}", taken.len());
        queue.poll(&mut taken, 100, Duration::ZERO);
        assert!(start.elapsed() < LONG, "{} of {count}", taken.len());
    }
    taken
}

#[test]
fn an_event_loop_does_all_the_work() {
    let (server, cluster) = (Server::start(), Cluster::start(3, 1));
    for url in [server.url(), cluster.cluster_url()] {
        let mut lazy = options(LONG);
        let client = Client::open(&url, lazy.lazy_connect(true)).unwrap();
        let queue = Queue::without_thread(10_000).unwrap();
        let count = Script::new(COUNT);
        let keys: Vec<String> = (0..1_000).map(|number| format!("key{number}")).collect();
        for (tag, key) in keys.iter().enumerate() {
            client.submit(&queue, tag as u64, &count, &[key], &NONE).unwrap();
        }
        let mut tags: Vec<_> = take_by_loop(&queue, keys.len())
            .into_iter()
            .map(|completion| {
                assert_eq!(completion.result.unwrap().as_i64(), Some(1));
                completion.tag
            })
            .collect();
        tags.sort_unstable();
        assert!(tags.into_iter().eq(0..1_000));
        // What waits has a connection of its own, and its deadline is minded.
        let hasty = client.with_timeout(Duration::from_millis(30));
        hasty.submit_command(&queue, 1, &["BLPOP", "none", "0"]).unwrap();
        client.submit_command(&queue, 2, &["PING"]).unwrap();
        for completion in take_by_loop(&queue, 2) {
            match completion.tag {
                1 => assert_eq!(completion.result.unwrap_err().reason(), Reason::Deadline),
                _ => assert!(completion.result.is_ok()),
            }
        }
        assert!(queue.is_empty());
        #[cfg(target_os = "linux")]
        assert_eq!(threads_of_the_library(), [""; 0]);
    }
}

#[test]
fn the_descriptor_rests_when_there_is_nothing_to_do() {
    let server = Server::start();
    let client = Client::open(&server.url(), &options(LONG)).unwrap();
    let queue = Queue::without_thread(10).unwrap();
    assert!(!is_readable(&queue, Duration::ZERO));
    for round in 0..3 {
        client.submit_command(&queue, round, &["PING"]).unwrap();
        assert_eq!(take_by_loop(&queue, 1).remove(0).tag, round);
    }
    // A turn may be left over; then it is at rest.
    let mut none = Vec::new();
    let start = Instant::now();
    while is_readable(&queue, Duration::from_millis(50)) {
        assert_eq!(queue.poll(&mut none, 10, Duration::ZERO), 0);
        assert!(start.elapsed() < LONG);
    }
    queue.wake();
    assert!(is_readable(&queue, LONG));
    assert_eq!(queue.poll(&mut none, 10, LONG), 0, "it was woken");
    queue.close();
    assert!(is_readable(&queue, LONG));
    assert_eq!(queue.poll(&mut none, 10, LONG), 0);
    let error = client.submit_command(&queue, 1, &["PING"]).unwrap_err();
    assert_eq!(error.status(), Status::Closed);
}

#[test]
fn who_polls_with_a_time_out_works_meanwhile() {
    let server = Server::start();
    let clients: Vec<_> = (0..3).map(|_| Client::open(&server.url(), &options(LONG)).unwrap()).collect();
    let queue = Queue::without_thread(1_000).unwrap();
    for tag in 0..300 {
        clients[tag as usize % 3].submit_command(&queue, tag, &["PING"]).unwrap();
    }
    let mut taken = Vec::new();
    while taken.len() < 300 {
        assert!(queue.poll(&mut taken, 300, LONG) > 0, "{}", taken.len());
    }
    assert!(taken.iter().all(|completion| completion.result.is_ok()));
    let start = Instant::now();
    assert_eq!(queue.poll(&mut taken, 1, Duration::from_millis(30)), 0);
    assert!(start.elapsed() >= Duration::from_millis(30));
}

/// Blocking calls, some of which turn the reactor themselves, and calls of the queue at the same time.
#[test]
fn blocking_calls_go_on_beside_it() {
    let cluster = Cluster::start(3, 0);
    let client = Client::open(&cluster.cluster_url(), &options(LONG)).unwrap();
    let queue = Queue::without_thread(10_000).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let client = &client;
            scope.spawn(move || {
                for round in 0..100 {
                    let mut pipeline = client.pipeline();
                    for item in 0..10 {
                        pipeline.command(&["INCR", &format!("{thread}:{round}:{item}")]).unwrap();
                    }
                    let replies = pipeline.exec().unwrap();
                    assert!(replies.root().elements().all(|reply| reply.as_i64() == Some(1)));
                    client.command(&["GET", "x"]).unwrap();
                }
            });
        }
        for round in 0..100 {
            for tag in 0..20 {
                client.submit_command(&queue, tag, &["INCR", &format!("q:{round}:{tag}")]).unwrap();
            }
            let taken = take_by_loop(&queue, 20);
            assert!(taken.into_iter().all(|completion| completion.result.unwrap().as_i64() == Some(1)));
        }
    });
}

#[test]
fn closing_ends_its_calls_and_another_client_goes_on() {
    let server = Server::start();
    let queue = Queue::without_thread(100).unwrap();
    let client = Client::open(&server.url(), &options(LONG)).unwrap();
    let other = Client::open(&server.url(), &options(LONG)).unwrap();
    for tag in 0..10 {
        client.submit_command(&queue, tag, &["BLPOP", "none", "0"]).unwrap();
    }
    other.submit_command(&queue, 99, &["PING"]).unwrap();
    drop(client);
    let taken = take_by_loop(&queue, 11);
    for completion in taken {
        assert_eq!(completion.result.is_ok(), completion.tag == 99);
    }
    // The other way round: the queue goes first.
    other.submit_command(&queue, 1, &["PING"]).unwrap();
    drop(queue);
    other.command(&["PING"]).unwrap();
}
