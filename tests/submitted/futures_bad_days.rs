//! Futures that are dropped, called off, forgotten or woken badly: what is true of their calls, and that all
//! others go on.

#![allow(clippy::disallowed_types, reason = "no child of fork comes here")]

use crate::support;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rs_script::{CallFuture, Client, Reason, Script, Status};
use support::calls::{COUNT, LONG, client, cluster_client, options};
use support::cluster::Cluster;
use support::executor::{Counting, block_on, poll_once, waker};
use support::proxy::{Proxy, Way};
use support::raw::{Raw, blocked_clients};
use support::server::Server;
use support::{SLACK, wait_until};

const ECHO: &str = "return ARGV[1]";

/// A future whose call is on its way to a server that stands still.
fn under_way<T: for<'a> rs_script::FromReply<'a>>(mut future: CallFuture<T>) -> CallFuture<T> {
    assert!(poll_once(&mut future, &Arc::default()).is_pending());
    future
}

#[test]
fn a_call_that_is_dropped_gives_its_late_reply_to_nobody() {
    let server = Server::start();
    let client = client(&server);
    let (echo, count) = (Script::new(ECHO), Script::new(COUNT));
    block_on(echo.call_async::<Option<u8>>(&client)).unwrap();
    let connections = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        line.expect("in it").parse::<u64>().expect("a number")
    };
    let before = connections(&Raw::connect(&server).ok(&["INFO", "stats"]).text());
    server.pause();
    for round in 0..100 {
        drop(under_way(echo.arg(format!("dropped {round}")).call_async::<String>(&client)));
        drop(under_way(count.key("n").call_async::<i64>(&client)));
    }
    let last = under_way(echo.arg("mine").call_async::<String>(&client));
    server.resume();
    assert_eq!(block_on(last).unwrap(), "mine");
    assert_eq!(
        block_on(count.key("n").call_async::<i64>(&client)),
        Ok(101),
        "what was sent is executed, once"
    );
    let after = connections(&Raw::connect(&server).ok(&["INFO", "stats"]).text());
    assert_eq!(after - before, 1, "the connection goes on; this look at it is one more");
    wait_until("every reply has come", || client.stats().in_flight == 0);
}

/// The truth of `rs_client_cancel`.
#[test]
fn calling_off_says_whether_the_call_may_be_executed() {
    let server = Server::start();
    let client = client(&server);
    let count = Script::new(COUNT);

    let mut unpolled = count.key("n").call_async::<i64>(&client);
    assert!(unpolled.cancel() && !unpolled.cancel());
    let error = block_on(unpolled).unwrap_err();
    assert!(error.status() == Status::Cancelled && error.is_not_executed(), "{error:?}");

    block_on(client.command_async("PING")).unwrap();
    server.pause();
    let mut sent = under_way(count.key("n").call_async::<i64>(&client));
    assert!(sent.cancel() && !sent.cancel());
    let error = block_on(sent).unwrap_err();
    assert!(error.status() == Status::Indeterminate && error.is_indeterminate(), "{error:?}");
    assert_eq!(error.reason(), Reason::Cancelled);
    server.resume();
    assert_eq!(block_on(count.key("n").call_async::<i64>(&client)), Ok(2));

    let mut ended = client.command_async("PING");
    let counting = Arc::<Counting>::default();
    if poll_once(&mut ended, &counting).is_pending() {
        wait_until("it has ended", || counting.count() == 1);
        assert!(!ended.cancel());
        assert_eq!(block_on(ended).unwrap().as_str(), Some("PONG"));
    }

    // Without a connection nothing was sent.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let mut options = options(LONG);
    options.lazy_connect(true);
    let url = format!("redis://{}", silent.local_addr().expect("bound"));
    let unconnected = Client::open(&url, &options).unwrap();
    let mut in_line = under_way(unconnected.command_async(("INCR", "n")));
    assert!(in_line.cancel());
    let error = block_on(in_line).unwrap_err();
    assert!(error.status() == Status::Cancelled && error.is_not_executed(), "{error:?}");
}

#[test]
fn a_command_that_waits_is_given_up_on_the_server_too() {
    let server = Server::start();
    let client = client(&server);
    let mut raw = Raw::connect(&server);
    let mut blocked = || raw.ok(&["INFO", "clients"]).text().contains("blocked_clients:1");
    // Its deadline is beyond the patience of this test.
    let waiting = client.command_async(("BLPOP", "list", 0)).timeout(Duration::from_secs(24 * 60 * 60));
    let waiting = under_way(waiting);
    wait_until("it waits there", &mut blocked);
    drop(waiting);
    wait_until("it is given up there", || !blocked());
    client.command(("RPUSH", "list", "x")).unwrap();
    assert_eq!(client.command(("LLEN", "list")).unwrap().as_i64(), Some(1), "nobody has taken it");
}

/// As `select!` does: whichever comes first. Every call runs once or never, and what a future says of it is true.
#[test]
fn drops_that_race_with_replies() {
    const ROUNDS: u64 = 2_000;
    let server = Server::start();
    let client = client(&server);
    let script = Script::new("redis.call('HINCRBY', KEYS[1], ARGV[1], 1); return ARGV[1]");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let outcomes = Arc::new(Mutex::new(HashMap::new()));
    let tasks: Vec<_> = (0..ROUNDS)
        .map(|number| {
            let call = script.key("runs").arg(number).call_async::<u64>(&client);
            let outcomes = Arc::clone(&outcomes);
            runtime.spawn(async move {
                let mut call = call;
                let polls = fastrand::u32(..4);
                // Some are dropped at once, some after a turn of others, some by a timer, some called off.
                let outcome = match fastrand::u32(..4) {
                    0 => {
                        for _ in 0..polls {
                            let polled = std::future::poll_fn(|context| {
                                Poll::Ready(Pin::new(&mut call).poll(context))
                            });
                            if let Poll::Ready(result) = polled.await {
                                return drop(outcomes.lock().insert(number, Some(result)));
                            }
                            tokio::task::yield_now().await;
                        }
                        drop(call);
                        None
                    }
                    1 => tokio::time::timeout(Duration::from_micros(polls.into()), call).await.ok(),
                    2 => {
                        tokio::task::yield_now().await;
                        call.cancel();
                        Some(call.await)
                    }
                    _ => Some(call.await),
                };
                outcomes.lock().insert(number, outcome);
            })
        })
        .collect();
    runtime.block_on(async {
        for task in tasks {
            task.await.expect("no panic");
        }
    });
    wait_until("every reply has come", || client.stats().in_flight == 0);
    let runs: HashMap<u64, u64> = client.command(("HGETALL", "runs")).unwrap().to().unwrap();
    assert!(runs.values().all(|&times| times == 1), "{runs:?}");
    let outcomes = outcomes.lock();
    assert_eq!(outcomes.len() as u64, ROUNDS);
    for (number, outcome) in &*outcomes {
        match outcome {
            Some(Ok(reply)) => assert!(reply == number && runs.contains_key(number), "{number}"),
            Some(Err(error)) if error.is_not_executed() => assert!(!runs.contains_key(number), "{error}"),
            Some(Err(error)) => assert!(error.is_indeterminate(), "{error}"),
            None => {}
        }
    }
    assert!(outcomes.values().any(|outcome| matches!(outcome, Some(Ok(_)))));
    assert_eq!(block_on(client.command_async("PING")).unwrap().as_str(), Some("PONG"));
}

#[test]
fn a_pipeline_that_is_dropped_in_the_middle_leaves_no_gap() {
    const ITEMS: i64 = 20_000;
    let server = Server::start();
    let client = client(&server);
    let push = Script::new("return redis.call('RPUSH', KEYS[1], ARGV[1])");
    for round in 0..10 {
        let list = format!("list:{round}");
        let mut pipeline = client.pipeline();
        for number in 0..ITEMS {
            pipeline.script(&push, &list, number).unwrap();
        }
        let mut executing = pipeline.exec_async();
        let _ = poll_once(&mut executing, &Arc::default());
        let mut raw = Raw::connect(&server);
        wait_until("it has begun", || raw.ok(&["LLEN", &list]).integer() > round * 1_000);
        drop(executing);
        // Others go on meanwhile, on the same connection.
        assert_eq!(block_on(client.command_async(("ECHO", &list)).to::<String>()), Ok(list.clone()));
        wait_until("every reply has come", || client.stats().in_flight == 0);
        let pushed: Vec<i64> = client.command(("LRANGE", &list, 0, -1)).unwrap().to().unwrap();
        assert!(pushed.iter().copied().eq(0..pushed.len() as i64), "{} items with a gap", pushed.len());
    }
}

#[test]
fn a_pipeline_over_a_cluster_may_be_dropped_too() {
    let cluster = Cluster::start(3, 0);
    let client = cluster_client(&cluster);
    let count = Script::new(COUNT);
    for round in 1..=5 {
        for node in 0..3 {
            cluster.node(node).pause();
        }
        let mut pipeline = client.pipeline();
        for number in 0..300 {
            pipeline.script(&count, format!("k{number}"), ()).unwrap();
        }
        let mut executing = under_way(pipeline.exec_async());
        if round % 2 == 0 {
            assert!(executing.cancel());
            let error = block_on(&mut executing).unwrap_err();
            assert!(error.is_indeterminate() || error.is_not_executed(), "{error}");
        }
        drop(executing);
        for node in 0..3 {
            cluster.node(node).resume();
        }
        wait_until("every reply has come", || client.stats().in_flight == 0);
    }
    let counts: Vec<i64> = {
        let mut pipeline = client.pipeline();
        for number in 0..300 {
            pipeline.script(&count, format!("k{number}"), ()).unwrap();
        }
        block_on(pipeline.exec_async().to()).unwrap()
    };
    assert!(counts.iter().all(|count| (1..=6).contains(count)), "{counts:?}");
}

/// What a broken pipeline has got up to there is told.
#[test]
fn a_pipeline_that_breaks_has_the_replies_that_did_arrive() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let client = Client::open(&proxy.url(), &options(LONG)).unwrap();
    let mut pipeline = client.pipeline();
    for number in 0..1000 {
        pipeline.command(("SET", "n", number)).unwrap();
    }
    proxy.cut_after(Way::Replies, 500);
    let mut executing = pipeline.exec_async();
    let error = block_on(&mut executing).unwrap_err();
    assert!(error.is_indeterminate(), "{error:?}");
    let arrived = executing.arrived().expect("some have");
    assert!((1..1000).contains(&arrived.root().len()), "{}", arrived.root().len());
}

#[test]
fn a_hundred_thousand_are_dropped_at_once() {
    const CALLS: usize = 100_000;
    let server = Server::start();
    let client = client(&server);
    let echo = Script::new(ECHO);
    block_on(echo.call_async::<Option<u8>>(&client)).unwrap();
    server.pause();
    let mut futures: Vec<_> =
        (0..CALLS).map(|number| echo.arg(number).call_async::<usize>(&client)).collect();
    let counting = Arc::<Counting>::default();
    for future in &mut futures {
        assert!(poll_once(future, &counting).is_pending());
    }
    let kept = futures.split_off(CALLS - 10);
    let start = Instant::now();
    // From the middle out, so that no order is a lucky one.
    fastrand::shuffle(&mut futures);
    drop(futures);
    // Were each to look at all others, it would be hours.
    assert!(start.elapsed() < 2 * SLACK, "{:?}", start.elapsed());
    server.resume();
    for (number, future) in (CALLS - 10..).zip(kept) {
        assert_eq!(block_on(future), Ok(number));
    }
    wait_until("every reply has come", || client.stats().in_flight == 0);
    assert!(counting.count() <= 10, "nobody is woken for a future that is no more: {}", counting.count());
}

#[test]
fn closing_ends_every_future() {
    let server = Server::start();
    let client = client(&server);
    let count = Script::new(COUNT);
    block_on(client.command_async("PING")).unwrap();
    server.pause();
    let unpolled = count.key("n").call_async::<i64>(&client);
    let counting = Arc::<Counting>::default();
    let mut sent: Vec<_> = (0..1000).map(|_| count.key("n").call_async::<i64>(&client)).collect();
    for future in &mut sent {
        assert!(poll_once(future, &counting).is_pending());
    }
    client.close();
    wait_until("all are woken", || counting.count() == 1000);
    for future in sent {
        let error = block_on(future).unwrap_err();
        assert!(error.is_indeterminate() && error.reason() == Reason::Closed, "{error:?}");
    }
    let error = block_on(unpolled).unwrap_err();
    assert!(error.status() == Status::Closed && error.is_not_executed(), "{error:?}");
    server.resume();
}

/// The last one closes the client. It does not wait for the client's thread: that may be waking a task of the
/// executor which drops the future.
#[test]
fn a_future_keeps_its_client_open_and_closes_it_at_last() {
    let server = Server::start();
    let owned = client(&server);
    let call = Script::new(ECHO).arg(5).call_async::<u64>(&owned);
    drop(owned);
    assert_eq!(block_on(call), Ok(5));
    let mut raw = Raw::connect(&server);
    let mut connections = || raw.ok(&["CLIENT", "LIST"]).text().lines().count();
    wait_until("its connection is closed", || connections() == 1);

    // A waker that waits for whoever drops the future, as one does that takes an executor's lock.
    let lock = Arc::new(Mutex::new(()));
    let is_in_waker = Arc::new(AtomicBool::new(false));
    let owned = client(&server);
    server.pause();
    let (mut first, last) =
        (owned.command_async("PING"), under_way(owned.command_async(("BLPOP", "nothing", 0))));
    drop(owned);
    let (its_lock, its_flag) = (Arc::clone(&lock), Arc::clone(&is_in_waker));
    let blocking = waker(move || {
        its_flag.store(true, Ordering::SeqCst);
        drop(its_lock.lock());
    });
    assert!(Pin::new(&mut first).poll(&mut Context::from_waker(&blocking)).is_pending());
    let guard = lock.lock();
    server.resume();
    wait_until("its thread is in the waker", || is_in_waker.load(Ordering::SeqCst));
    // On a thread of its own: one that waits for the client's thread would wait for ever.
    let dropping = thread::spawn(move || drop((first, last)));
    wait_until("they are dropped", || dropping.is_finished());
    drop(guard);
    wait_until("its connections are closed", || connections() == 1);
}

#[test]
fn a_waker_that_panics_harms_nobody_else() {
    let server = Server::start();
    let client = client(&server);
    block_on(client.command_async("PING")).unwrap();
    server.pause();
    let panicking = waker(|| panic!("a panic that a test wants: it is shown, and ends nothing"));
    let counting = Arc::<Counting>::default();
    let mut futures: Vec<_> = (0..20).map(|number| client.command_async(("ECHO", number))).collect();
    for (number, future) in futures.iter_mut().enumerate() {
        let polled = match number % 2 {
            0 => poll_once(future, &counting),
            _ => Pin::new(future).poll(&mut Context::from_waker(&panicking)),
        };
        assert!(polled.is_pending());
    }
    server.resume();
    wait_until("the others are woken", || counting.count() == 10);
    for (number, future) in futures.into_iter().enumerate() {
        assert_eq!(block_on(future.to::<usize>()), Ok(number));
    }
}

/// Some executors run a task where it is woken: on the client's thread, in the middle of telling of ends.
#[test]
fn a_waker_may_make_calls_and_drop_futures() {
    type Slot = Mutex<Option<CallFuture>>;
    fn step(client: &Client, slot: &Arc<Slot>, left: &Arc<AtomicU64>) {
        let again = {
            let (client, slot, left) = (client.clone(), Arc::clone(slot), Arc::clone(left));
            waker(move || step(&client, &slot, &left))
        };
        loop {
            let Some(mut future) = slot.lock().take() else { return };
            match Pin::new(&mut future).poll(&mut Context::from_waker(&again)) {
                Poll::Pending => {
                    *slot.lock() = Some(future);
                    return;
                }
                Poll::Ready(result) => {
                    result.unwrap();
                    // A blocking call, one that is dropped, and the next.
                    client.command(("INCR", "blocking")).unwrap();
                    let mut dropped = client.command_async(("INCR", "dropped"));
                    let _ = poll_once(&mut dropped, &Arc::default());
                    drop(dropped);
                    if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                        return;
                    }
                    *slot.lock() = Some(client.command_async("PING"));
                }
            }
        }
    }
    let server = Server::start();
    let client = client(&server);
    let (slot, left) = (Arc::new(Slot::default()), Arc::new(AtomicU64::new(200)));
    *slot.lock() = Some(client.command_async("PING"));
    step(&client, &slot, &left);
    // A wake-up that finds the slot empty comes while another thread polls: that one is asked to look again.
    wait_until("all steps are done", || {
        if left.load(Ordering::SeqCst) > 0 {
            step(&client, &slot, &left);
        }
        left.load(Ordering::SeqCst) == 0
    });
    assert_eq!(client.command(("GET", "blocking")).unwrap().to::<u64>(), Ok(200));
}

/// Whichever thread wakes a task that makes a call: one that reads for others at that moment is no exception.
#[test]
fn a_waker_may_make_calls_on_a_thread_that_reads_for_others() {
    let server = Server::start();
    let script = Script::new("return 1");
    type Within = fn(&Client, &Script) -> rs_script::Result<()>;
    let ways: [Within; 2] = [
        |client, _| client.command(("GET", "k")).map(drop),
        // One that goes through the engine.
        |client, script| client.script_exists(&[script.sha_hex()]).map(drop),
    ];
    for way in ways {
        let client = client(&server);
        block_on(client.command_async("PING")).unwrap();
        let mut was_here = false;
        for _ in 0..100 {
            // A write waits at the server, and what was read before it is answered.
            let mut raw = Raw::connect(&server);
            raw.ok(&["CLIENT", "PAUSE", "600000", "WRITE"]);
            server.pause();
            let mut first = client.command_async(("GET", "k"));
            let woken = Arc::new(Mutex::new(None));
            let waking = {
                let (client, script, woken) = (client.clone(), script.clone(), Arc::clone(&woken));
                waker(move || {
                    *woken.lock() = Some((thread::current().id(), None));
                    let result = way(&client, &script);
                    *woken.lock() = Some((thread::current().id(), Some(result)));
                })
            };
            assert!(Pin::new(&mut first).poll(&mut Context::from_waker(&waking)).is_pending());
            let caller = {
                let client = client.clone();
                thread::spawn(move || client.command(("INCR", "n")))
            };
            wait_until("both are sent", || client.stats().in_flight == 2);
            server.resume();
            wait_until("the task is woken", || woken.lock().is_some());
            raw.ok(&["CLIENT", "UNPAUSE"]);
            let me = caller.thread().id();
            caller.join().expect("no panic").expect("a reply");
            wait_until("the call from within has ended", || {
                woken.lock().as_ref().is_some_and(|(_, result)| result.is_some())
            });
            let (thread, result) = woken.lock().take().expect("seen");
            assert_eq!(result, Some(Ok(())));
            block_on(first).unwrap();
            was_here = thread == me;
            if was_here {
                break;
            }
        }
        assert!(was_here, "no caller has ever read for the future");
    }
}

/// A task's code may run when its waker is dropped.
#[test]
fn a_waker_that_panics_when_it_is_dropped_keeps_no_call_alive() {
    struct Panicking;
    impl std::task::Wake for Panicking {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Panicking {
        fn drop(&mut self) {
            panic!("a panic that a test wants: it is shown, and ends nothing");
        }
    }
    let server = Server::start();
    let client = client(&server);
    let mut waiting = client.command_async(("BLPOP", "list", 0));
    // The future's copy is the last.
    let waker = Waker::from(Arc::new(Panicking));
    assert!(Pin::new(&mut waiting).poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    wait_until("it waits there", || blocked_clients(&server) == 1);
    drop(waiting);
    wait_until("it is given up there", || blocked_clients(&server) == 0);
}

/// The call was executed: who is told otherwise makes it again.
#[test]
fn polled_again_a_future_does_not_say_that_nothing_was_executed() {
    let server = Server::start();
    let client = client(&server);
    let mut call = client.command_async(("INCR", "n"));
    block_on(&mut call).unwrap();
    let error = block_on(&mut call).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument);
    assert!(!error.is_not_executed() && error.is_indeterminate(), "{error}");
    let url = server.url();
    let mut opening = Client::open_async(&url, &options(LONG));
    block_on(&mut opening).unwrap();
    assert_eq!(block_on(&mut opening).unwrap_err().status(), Status::InvalidArgument);
}

#[test]
fn many_threads_poll_drop_and_close() {
    let server = Server::start();
    for _ in 0..20 {
        let client = client(&server);
        let ended = AtomicUsize::new(0);
        thread::scope(|scope| {
            let threads = [0, 1, 2, 3].map(|thread| {
                let (client, ended) = (&client, &ended);
                scope.spawn(move || {
                    for number in 0..200 {
                        let mut call = client.command_async(("ECHO", number));
                        if (number + thread) % 3 == 0 {
                            let _ = poll_once(&mut call, &Arc::default());
                            continue;
                        }
                        match block_on(call.to::<u64>()) {
                            Ok(reply) => assert_eq!(reply, number),
                            Err(error) => {
                                assert!(error.is_not_executed() || error.is_indeterminate(), "{error}");
                            }
                        }
                        ended.fetch_add(1, Ordering::Relaxed);
                    }
                })
            });
            while ended.load(Ordering::Relaxed) < 100 {
                let is_over = threads.iter().all(|thread| thread.is_finished());
                assert!(!is_over || ended.load(Ordering::Relaxed) >= 100, "they have failed");
                thread::yield_now();
            }
            client.close();
        });
    }
}

#[test]
fn a_lost_connection_ends_its_futures_and_the_next_are_made_anew() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let client = Client::open(&proxy.url(), &options(LONG)).unwrap();
    let count = Script::new(COUNT);
    block_on(client.command_async("PING")).unwrap();
    for round in 0..10 {
        proxy.pause(Way::Requests);
        let calls: Vec<_> = (0..50).map(|_| under_way(count.key("n").call_async::<i64>(&client))).collect();
        proxy.drop_connections();
        proxy.resume(Way::Requests);
        for call in calls {
            let error = block_on(call).unwrap_err();
            assert!(error.is_indeterminate() || error.is_not_executed(), "{round}: {error:?}");
        }
        block_on(client.command_async("PING")).unwrap();
    }
}

#[test]
fn an_unused_waker_is_let_go_of() {
    let server = Server::start();
    let client = client(&server);
    server.pause();
    let counting = Arc::<Counting>::default();
    let mut call = client.command_async("PING");
    assert!(poll_once(&mut call, &counting).is_pending());
    assert_eq!(Arc::strong_count(&counting), 2);
    drop(call);
    assert_eq!(Arc::strong_count(&counting), 1);
    let mut call = client.command_async("PING");
    assert!(poll_once(&mut call, &counting).is_pending());
    let other = Waker::noop();
    assert!(Pin::new(&mut call).poll(&mut Context::from_waker(other)).is_pending());
    assert_eq!(Arc::strong_count(&counting), 1);
    server.resume();
    assert_eq!(counting.count(), 0);
}
