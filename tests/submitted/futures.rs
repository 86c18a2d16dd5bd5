//! Calls as futures, on every kind of executor: each ends once, with its own reply.

use crate::support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use rs_script::{CallFuture, Client, Error, Kind, Options, Reason, Reply, Result, Script, Status};
use support::calls::{COUNT, LONG, MULTIPLY, client, cluster_client, options, shown};
use support::cluster::Cluster;
use support::executor::{Counting, Executor, block_on, poll_once};
use support::raw::{Raw, Value, calls_of};
use support::server::Server;
use support::{SLACK, wait_until};

/// A runtime of each kind: several threads, and the caller's.
fn runtimes() -> [tokio::runtime::Runtime; 2] {
    use tokio::runtime::Builder;
    let multi = Builder::new_multi_thread().worker_threads(4).enable_time().build();
    [multi, Builder::new_current_thread().enable_time().build()].map(|runtime| runtime.expect("a runtime"))
}

async fn everything(client: Client) -> Result<()> {
    let multiply = Script::new(MULTIPLY);
    let done: String = client.command_async(("SET", "foo", 2)).to().await?;
    assert_eq!(done, "OK");
    assert_eq!(client.call_async(&multiply, "foo", 5).await?.as_i64(), Some(10));
    assert_eq!(client.call_read_only_async(&multiply, ["foo"], [6]).await?.as_i64(), Some(12));
    let product: i64 = multiply.key("foo").arg(7).call_async(&client).await?;
    assert_eq!(product, 14);
    for mut pipeline in [client.pipeline(), client.transaction()] {
        pipeline.command(("SET", "foo", 5))?.add(&multiply.key("foo").arg(5))?;
        let future = pipeline.exec_async();
        assert!(pipeline.is_empty());
        assert_eq!(future.to::<(String, i64)>().await?, ("OK".to_owned(), 25));
        assert_eq!(pipeline.exec_async().to::<Vec<Reply>>().await?.len(), 0);
    }
    // A command that waits hinders no other.
    let popped = client.command_async(("BLPOP", "list", 0)).to::<(String, String)>();
    let thread = std::thread::spawn(move || block_on(popped));
    client.command_async(("RPUSH", "list", "x")).await?;
    let (name, element) = thread.join().expect("no panic")?;
    assert_eq!((&*name, &*element), ("list", "x"));
    let error = client.call_async(&multiply, "nothing", 5).await.unwrap_err();
    assert_eq!(error.status(), Status::Server);
    let error = client.command_async(("GET", "foo")).to::<Vec<u64>>().await.unwrap_err();
    assert_eq!(error.to_string(), "expected an array, got a string");
    assert!(error.status() == Status::Conversion && !error.is_not_executed() && !error.is_indeterminate());
    Ok(())
}

#[test]
fn every_kind_of_call_on_every_kind_of_executor() {
    let server = Server::start();
    let client = client(&server);
    for runtime in runtimes() {
        runtime.block_on(everything(client.clone())).unwrap();
        let spawned = runtime.spawn(everything(client.clone()));
        runtime.block_on(spawned).expect("no panic").unwrap();
    }
    block_on(everything(client.clone())).unwrap();
    let mut executor = Executor::new();
    let own = client.clone();
    executor.spawn(async move { everything(own).await.unwrap() });
    executor.run();
    drop(client);
}

#[test]
fn a_future_is_send_and_borrows_nothing() {
    fn is_free<T: Send + Unpin + 'static>(_: &T) {}
    let server = Server::start();
    let client = client(&server);
    let (keys, args) = (vec!["k".to_owned()], [5]);
    let future: CallFuture = client.call_async(&Script::new("return ARGV[1]"), &keys, args);
    drop(keys);
    is_free(&future);
    assert_eq!(block_on(future).unwrap().as_str(), Some("5"));
    is_free(&Client::open_async(&server.url(), &Options::default()));
}

#[test]
fn ten_thousand_at_once_each_get_their_own_reply() {
    const CALLS: u64 = 10_000;
    let server = Server::start();
    let client = client(&server);
    let echo = Script::new("return ARGV[1]");
    for runtime in runtimes() {
        let tasks: Vec<_> = (0..CALLS)
            .map(|number| {
                let call = echo.key("k").arg(number).call_async::<u64>(&client);
                runtime.spawn(async move { assert_eq!(call.await, Ok(number)) })
            })
            .collect();
        runtime.block_on(async {
            for task in tasks {
                task.await.expect("no panic");
            }
        });
    }
    let ended = Arc::new(AtomicUsize::new(0));
    let mut executor = Executor::new();
    for number in 0..CALLS {
        let (call, ended) = (echo.key("k").arg(number).call_async::<u64>(&client), Arc::clone(&ended));
        executor.spawn(async move {
            assert_eq!(call.await, Ok(number));
            ended.fetch_add(1, Ordering::Relaxed);
        });
    }
    executor.run();
    assert_eq!(ended.load(Ordering::Relaxed) as u64, CALLS);
    assert_eq!(client.stats().in_flight, 0);
}

/// Nothing is sent before the first poll, and calls go in the order of their first polls.
#[test]
fn a_future_does_nothing_until_it_is_polled() {
    let server = Server::start();
    let client = client(&server);
    let mut futures: Vec<_> =
        (0..1000).map(|number| client.command_async(("RPUSH", "list", number))).collect();
    drop(client.command_async(("RPUSH", "list", "dropped")));
    assert_eq!(client.command(("LLEN", "list")).unwrap().as_i64(), Some(0));
    server.pause();
    let counting = Arc::<Counting>::default();
    for future in futures.iter_mut().rev() {
        assert!(poll_once(future, &counting).is_pending());
    }
    server.resume();
    for (number, future) in futures.into_iter().enumerate() {
        assert_eq!(block_on(future.to::<usize>()), Ok(1000 - number));
    }
}

#[test]
fn a_future_is_woken_once_and_ends_once() {
    let server = Server::start();
    let client = client(&server);
    let (counting, before) = <(Arc<Counting>, Arc<Counting>)>::default();
    let mut future = client.command_async("PING");
    server.pause();
    for waker in [&before, &before, &counting, &counting] {
        assert!(poll_once(&mut future, waker).is_pending());
    }
    server.resume();
    wait_until("it is woken", || counting.count() > 0);
    assert_eq!(before.count(), 0, "the waker of the last poll is woken, and no other");
    let Poll::Ready(Ok(reply)) = poll_once(&mut future, &counting) else { panic!("it has ended") };
    assert_eq!(shown(&reply), r#"Status("PONG")"#);
    let Poll::Ready(Err(error)) = poll_once(&mut future, &counting) else { panic!("it is over") };
    assert_eq!(error.status(), Status::InvalidArgument);
    assert_eq!(counting.count(), 1);
}

#[test]
fn what_is_wrong_with_a_call_is_the_error_of_its_future() {
    let cluster = Cluster::start(3, 0);
    let client = cluster_client(&cluster);
    let script = Script::new("#!lua\nreturn 1");
    let status = |future: CallFuture| {
        let error = block_on(future).unwrap_err();
        assert!(error.is_not_executed(), "{error}");
        error.status()
    };
    assert_eq!(status(client.call_async(&script, ("a", "b"), ())), Status::CrossSlot);
    assert_eq!(status(client.call_read_only_async(&script, "a", ())), Status::NotReadOnly);
    assert_eq!(status(client.command_async("MULTI")), Status::CommandRefused);
    assert_eq!(status(client.command_async(())), Status::InvalidArgument);
    assert_eq!(status(client.command_async(("NOBODY.KNOWS", "a"))), Status::NoRoute);
    client.close();
    assert_eq!(status(client.command_async("PING")), Status::Closed);
    assert_eq!(block_on(client.pipeline().exec_async()).unwrap().kind(), Kind::Array);
}

#[test]
fn a_client_is_opened_without_waiting() {
    let server = Server::start();
    for is_lazy in [false, true] {
        let mut options = options(LONG);
        options.lazy_connect(is_lazy);
        let client = block_on(Client::open_async(&server.url(), &options)).unwrap();
        assert_eq!(client.stats().in_flight, 0);
        assert_eq!(block_on(client.command_async("PING")).unwrap().as_str(), Some("PONG"));
    }
    let error = block_on(Client::open_async("no://url", &Options::default())).unwrap_err();
    assert_eq!(error.status(), Status::InvalidUrl);
    let gone = server.url();
    drop(server);
    let error = block_on(Client::open_async(&gone, &options(SLACK))).unwrap_err();
    assert!(error.status() == Status::Connect && error.is_not_executed(), "{error:?}");
    // One that is given up in the middle: a server that takes the connection and says nothing.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let url = format!("redis://{}", silent.local_addr().expect("bound"));
    let mut opening = Client::open_async(&url, &options(LONG));
    assert!(poll_once(&mut opening, &Arc::default()).is_pending());
    drop(opening);
}

#[test]
fn scripts_are_administered_without_waiting() {
    let server = Server::start();
    let client = client(&server);
    let (one, two) = (Script::new("return 1"), Script::new("return 2"));
    block_on(async {
        client.script_load_async(&one).await?;
        let shas = [one.sha_hex(), two.sha_hex()];
        assert_eq!(client.script_exists_async(&shas).await?, [true, false]);
        assert_eq!(client.script_exists_async::<&str>(&[]).await?, []);
        client.script_flush_async(rs_script::FlushMode::Sync).await?;
        assert_eq!(client.script_exists_async(&shas).await?, [false, false]);
        assert_eq!(one.call_async::<u8>(&client).await?, 1);
        let error = client.script_kill_async().await.unwrap_err();
        assert_eq!(error.server_code(), Some("NOTBUSY"));
        Ok::<(), Error>(())
    })
    .unwrap();
}

#[test]
fn a_deadline_is_kept_without_a_timer_of_the_executors() {
    let server = Server::start();
    let client = client(&server);
    let count = Script::new(COUNT);
    server.pause();
    let call = count.key("n").timeout(Duration::from_millis(30)).call_async::<i64>(&client);
    let error = block_on(call).unwrap_err();
    assert!(error.is_timeout() && error.is_indeterminate(), "{error:?}");
    assert_eq!(error.reason(), Reason::Deadline);
    server.resume();
    // What is left of it is nobody's reply.
    assert_eq!(block_on(count.key("n").call_async::<i64>(&client)), Ok(2));
}

#[test]
fn calls_are_counted_where_there_is_a_limit() {
    let server = Server::start();
    let mut options = options(LONG);
    options.max_in_flight(2);
    let client = Client::open(&server.url(), &options).unwrap();
    let counting = Arc::<Counting>::default();
    let mut waiting: Vec<_> =
        (0..2).map(|number| client.command_async(("BLPOP", format!("list:{number}"), 0))).collect();
    for future in &mut waiting {
        assert!(poll_once(future, &counting).is_pending());
    }
    let error = block_on(client.command_async("PING")).unwrap_err();
    assert!(error.status() == Status::QueueFull && error.is_not_executed(), "{error}");
    assert_eq!(client.command("PING").unwrap_err().status(), Status::QueueFull);
    waiting.pop();
    block_on(client.command_async("PING")).unwrap();
    drop(waiting);
    client.command("PING").unwrap();
}

/// Were it refused, nobody could stop what all others wait for.
#[test]
fn administration_is_not_counted_where_there_is_a_limit() {
    let server = Server::builder().arg("lua-time-limit", "50").start();
    let mut raw = Raw::connect(&server);
    let mut options = options(LONG);
    options.max_in_flight(1);
    let client = Client::open(&server.url(), &options).unwrap();
    let mut stuck = Script::new("while true do end").call_async::<()>(&client);
    assert!(poll_once(&mut stuck, &Arc::default()).is_pending());
    assert_eq!(block_on(client.command_async("PING")).unwrap_err().status(), Status::QueueFull);
    wait_until("it runs", || matches!(raw.cmd(&["PING"]), Value::Error(text) if text.starts_with("BUSY")));
    block_on(client.script_kill_async()).unwrap();
    assert_eq!(block_on(stuck).unwrap_err().status(), Status::Server);
}

#[test]
fn in_a_cluster_calls_and_pipelines_go_where_their_keys_are() {
    let cluster = Cluster::start(3, 0);
    let client = cluster_client(&cluster);
    let count = Script::new(COUNT);
    for runtime in runtimes() {
        let keys: Vec<String> = (0..3000).map(|number| format!("k{number}")).collect();
        let tasks: Vec<_> =
            keys.iter().map(|key| runtime.spawn(count.key(key).call_async::<i64>(&client))).collect();
        runtime.block_on(async {
            for task in tasks {
                assert_eq!(task.await.expect("no panic"), Ok(1));
            }
            let mut pipeline = client.pipeline();
            for key in &keys {
                pipeline.add(&count.key(key)).unwrap();
            }
            assert_eq!(pipeline.exec_async().to::<Vec<i64>>().await.unwrap(), vec![2; 3000]);
            client.command_async("FLUSHALL").await.unwrap_err();
            let all = client.with_route(rs_script::Route::AllPrimaries).unwrap();
            all.command_async("FLUSHALL").await.unwrap();
        });
    }
    // A slot that has moved: the call follows it.
    let (from, key) = (cluster.primary_of(support::cluster::slot_of(b"k1")), "k1");
    cluster.move_slots([support::cluster::slot_of(b"k1")], from, (from + 1) % 3);
    assert_eq!(block_on(count.key(key).call_async::<i64>(&client)), Ok(1));
    assert!(client.stats().redirects > 0);
}

#[test]
fn a_command_reaches_the_server_once() {
    let server = Server::start();
    let client = client(&server);
    let before = calls_of(&server, "incr");
    for number in 1..=500 {
        assert_eq!(block_on(client.command_async(("INCR", "n")).to::<u64>()), Ok(number));
    }
    assert_eq!(calls_of(&server, "incr") - before, 500);
    assert_eq!(Raw::connect(&server).ok(&["GET", "n"]).text(), "500");
}
