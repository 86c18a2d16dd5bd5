//! Pipelines and transactions on bad days: connections cut at every byte, deadlines, closed clients, users without
//! rights.

use crate::support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rs_script::{Args, Client, Error, Kind, Once, Options, Pipeline, Reply, Script, Status, ToArgs};
use support::fake::Fake;
use support::proxy::{Proxy, Way};
use support::raw::{Raw, calls_of};
use support::server::{Server, all_versions};
use support::wait_until;

const COUNT: &str = "return redis.call('INCR', KEYS[1])";
const NONE: [&str; 0] = [];
/// For what is large and not late: tests share their machine.
const LONG: Duration = Duration::from_secs(120);

fn client(url: &str) -> Client {
    // Silence has tests of its own; here connections are to be as they were after a missed deadline.
    Client::open(url, Options::default().silence_timeout(LONG).unwrap().call_timeout(LONG).unwrap())
        .expect("a client")
}

fn proxy(server: &Server) -> Proxy {
    Proxy::start(("127.0.0.1", server.port()))
}

fn shown(reply: &Reply) -> String {
    format!("{reply:?}")
}

/// The number at `key`, once the server has read all that was sent by clients whose connections are gone. `raw` is
/// its only other client.
fn settled(raw: &mut Raw, key: &str) -> i64 {
    wait_until("the server has noticed that its clients are gone", || {
        raw.info("clients", "connected_clients").as_deref() == Some("1")
    });
    number(raw, key)
}

fn number(raw: &mut Raw, key: &str) -> i64 {
    raw.ok(&["INCRBY", key, "0"]).integer()
}

#[test]
fn a_pipeline_that_waits_behind_another_when_the_connection_breaks_is_sent_again() {
    let server = Server::start();
    let proxy = proxy(&server);
    let client = client(&proxy.url()).with_timeout(LONG);
    let count = Script::new(COUNT);
    for shape in ["pipeline", "transaction"] {
        proxy.pause(Way::Requests);
        let large = "x".repeat(64 * 1024 * 1024);
        std::thread::scope(|scope| {
            let first = scope.spawn(|| client.command(&["ECHO", &large]));
            wait_until("the first call is under way", || client.stats().in_flight == 1);
            let second = scope.spawn(|| {
                let is_pipeline = shape == "pipeline";
                let mut pipeline = if is_pipeline { client.pipeline() } else { client.transaction() };
                pipeline.script(&count, &[shape], &NONE).unwrap().command(&["INCR", shape]).unwrap();
                pipeline.exec()
            });
            wait_until("the second call waits behind it", || client.stats().in_flight == 2);
            proxy.drop_connections();
            proxy.resume(Way::Requests);
            let error = first.join().unwrap().unwrap_err();
            assert_eq!((error.status(), error.is_indeterminate()), (Status::Indeterminate, true), "{error}");
            assert_eq!(shown(&second.join().unwrap().unwrap()), "Array[1, 2]");
        });
        assert_eq!(client.command(&["GET", shape]).unwrap().as_str(), Some("2"));
    }
}

#[test]
fn a_pipeline_after_the_server_was_restarted_is_sent_on_a_new_connection() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = client(&server.url());
        let count = Script::new(COUNT);
        for mut pipeline in [client.pipeline(), client.transaction()] {
            pipeline.script(&count, &["n"], &NONE).unwrap();
            assert_eq!(shown(&pipeline.exec().unwrap()), "Array[1]");
            server.restart();
            for expected in ["Array[1]", "Array[2]"] {
                pipeline.script(&count, &["n"], &NONE).unwrap();
                assert_eq!(shown(&pipeline.exec().unwrap()), expected, "{binary:?}");
            }
            client.command(&["DEL", "n"]).unwrap();
        }
    }
}

/// Fills a pipeline with five items, four of which count at `key`.
fn fill(pipeline: &mut Pipeline, count: &Script, key: &str) {
    pipeline.script(count, &[key], &NONE).unwrap().command(&["INCR", key]).unwrap();
    pipeline.command(&["LPUSH", key, "x"]).unwrap();
    pipeline.command(&["INCR", key]).unwrap().script(count, &[key], &NONE).unwrap();
}

/// What `exec` gives, as far as it came: the whole reply, or the replies that did arrive.
fn outcome(pipeline: &mut Pipeline) -> (Option<Error>, Vec<String>) {
    let result = pipeline.exec();
    let (error, replies) = match result {
        Ok(replies) => (None, Some(replies)),
        Err(error) => (Some(error), pipeline.arrived()),
    };
    let elements = replies.iter().flat_map(|replies| replies.root().elements());
    (error, elements.map(|reply| reply.as_error().map_or(format!("{reply:?}"), |e| e.to_string())).collect())
}

#[test]
fn cut_at_every_byte_of_its_replies_a_pipeline_gives_exactly_those_that_came() {
    let server = Server::start();
    let proxy = proxy(&server);
    let count = Script::new(COUNT);
    let mut raw = Raw::connect(&server);
    // The replies' bytes: SCRIPT LOAD's first, then the items'.
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n".len();
    for (round, load) in [("warm", 0), ("cold", "$40\r\n\r\n".len() + 40)] {
        let lengths = [4, 4, wrong, 4, 4];
        let total = load + lengths.iter().sum::<usize>();
        for cut in 0..=total {
            if round == "cold" {
                raw.ok(&["SCRIPT", "FLUSH"]);
            }
            let client = client(&proxy.url());
            if round == "warm" {
                client.call(&count, &["other"], &NONE).unwrap();
            }
            let key = format!("{round}{cut}");
            let mut pipeline = client.pipeline();
            fill(&mut pipeline, &count, &key);
            proxy.cut_after(Way::Replies, cut);
            let (error, replies) = outcome(&mut pipeline);
            let mut ends = lengths.iter().scan(load, |end, length| {
                *end += length;
                Some(*end)
            });
            let whole = ends.by_ref().take_while(|end| *end <= cut).count();
            let wrongtype =
                "item 2 (LPUSH): WRONGTYPE Operation against a key holding the wrong kind of value";
            let expected = ["1", "2", wrongtype, "3", "4"];
            assert_eq!(replies, expected[..whole], "{key}: {error:?}");
            match error {
                None => assert_eq!(cut, total),
                Some(error) => {
                    assert_eq!(error.status(), Status::Indeterminate, "{key}: {error}");
                    assert!(error.is_indeterminate() && !error.is_not_executed());
                    assert!(cut < total && pipeline.is_empty());
                }
            }
            assert!(pipeline.arrived().is_none(), "taken once");
            assert_eq!(number(&mut raw, &key), 4, "{key}: ran once");
        }
    }
}

#[test]
fn cut_at_every_byte_of_its_requests_a_pipeline_ran_as_far_as_it_came_and_never_twice() {
    let server = Server::start();
    let proxy = proxy(&server);
    let count = Script::new(COUNT);
    let len = {
        let client = client(&proxy.url());
        client.call(&count, &["other"], &NONE).unwrap();
        let before = proxy.bytes(Way::Requests);
        let mut pipeline = client.pipeline();
        fill(&mut pipeline, &count, "uncut0");
        pipeline.exec().unwrap();
        (proxy.bytes(Way::Requests) - before) as usize
    };
    let mut most = 0;
    for cut in 0..len {
        let client = client(&proxy.url());
        client.call(&count, &["other"], &NONE).unwrap();
        let key = format!("key{cut:03}");
        let mut pipeline = client.pipeline();
        fill(&mut pipeline, &count, &key);
        proxy.cut_after(Way::Requests, cut);
        let (error, replies) = outcome(&mut pipeline);
        let error = error.expect("the connection was cut");
        assert_eq!(error.status(), Status::Indeterminate, "{key}: {error}");
        let ran = settled(&mut Raw::connect(&server), &key);
        let counted = replies.iter().filter(|reply| !reply.starts_with("item 2")).count() as i64;
        assert!(counted <= ran && ran <= 4, "{key}: {ran} ran, {replies:?} arrived");
        assert!(ran >= most, "{key}: no less than with fewer bytes");
        most = ran;
    }
    assert_eq!(most, 3, "all but the last, which never was whole");
}

/// What the counter at `key` may be after a transaction of two counts that ended so.
fn assert_consistent(key: &str, result: &Result<Reply, Error>, ran: i64) {
    match result {
        Ok(_) => assert_eq!(ran, 2, "{key}: was reported done"),
        Err(error) if error.is_not_executed() => assert_eq!(ran, 0, "{key}: {error}"),
        Err(error) => {
            assert!(error.is_indeterminate(), "{key}: {error}");
            assert!(ran == 0 || ran == 2, "{key}: {ran} of 2 ran: {error}");
        }
    }
}

#[test]
fn cut_at_every_byte_of_its_requests_a_transaction_runs_all_or_nothing_as_reported() {
    let server = Server::start();
    let proxy = proxy(&server);
    let mut raw = Raw::connect(&server);
    for round in ["warm", "cold"] {
        let mut len = None;
        // First without a cut, to see how many bytes there are.
        for cut in std::iter::once(None).chain((0..).map(Some)) {
            if let (Some(cut), Some(len)) = (cut, len)
                && cut >= len
            {
                break;
            }
            let key = format!("{round}{:03}", cut.unwrap_or(999));
            raw.ok(&["SCRIPT", "FLUSH"]);
            let client = client(&proxy.url());
            let count = Script::new(COUNT);
            if round == "warm" {
                client.call(&count, &["other"], &NONE).unwrap();
            }
            let mut transaction = client.transaction();
            transaction.script(&count, &[&key], &NONE).unwrap().command(&["INCR", &key]).unwrap();
            let before = proxy.bytes(Way::Requests);
            if let Some(cut) = cut {
                proxy.cut_after(Way::Requests, cut);
            }
            let result = transaction.exec();
            len = len.or(Some((proxy.bytes(Way::Requests) - before) as usize));
            assert!(transaction.arrived().is_none());
            drop((transaction, client));
            let ran = settled(&mut raw, &key);
            assert_consistent(&key, &result, ran);
            match (cut, &result) {
                (None, result) => assert!(result.is_ok()),
                // A cut before MULTI has left is no reason not to go on.
                (Some(_), Ok(_)) => assert_eq!(round, "cold"),
                (Some(_), Err(_)) => assert_eq!(ran, 0, "{key}: EXEC never was whole"),
            }
        }
    }
}

#[test]
fn cut_at_every_byte_of_its_replies_a_transaction_that_ran_is_never_reported_as_not_executed() {
    let server = Server::start();
    let proxy = proxy(&server);
    let mut raw = Raw::connect(&server);
    let count = Script::new(COUNT);
    let mut len = None;
    for cut in std::iter::once(None).chain((0..).map(Some)) {
        if let (Some(cut), Some(len)) = (cut, len)
            && cut >= len
        {
            break;
        }
        let key = format!("n{:03}", cut.unwrap_or(999));
        let client = client(&proxy.url());
        client.call(&count, &["other"], &NONE).unwrap();
        let mut transaction = client.transaction();
        transaction.script(&count, &[&key], &NONE).unwrap().command(&["INCR", &key]).unwrap();
        let before = proxy.bytes(Way::Replies);
        if let Some(cut) = cut {
            proxy.cut_after(Way::Replies, cut);
        }
        let result = transaction.exec();
        len = len.or(Some((proxy.bytes(Way::Replies) - before) as usize));
        let ran = number(&mut raw, &key);
        assert_eq!(ran, 2, "the server had all of it");
        assert_consistent(&key, &result, ran);
        assert_eq!(result.is_ok(), cut.is_none(), "{key}");
        // The caller may go on at once.
        assert_eq!(client.command(&["GET", &key]).unwrap().as_str(), Some("2"));
    }
}

#[test]
fn a_server_that_dies_under_a_pipeline_or_transaction_leaves_it_indeterminate() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = client(&server.url());
        let count = Script::new(COUNT);
        client.call(&count, &["n"], &NONE).unwrap();
        for mut pipeline in [client.pipeline(), client.transaction()] {
            pipeline.script(&count, &["n"], &NONE).unwrap().command(&["INCR", "n"]).unwrap();
            server.pause();
            let before = client.stats().bytes_sent;
            let error = std::thread::scope(|scope| {
                let exec = scope.spawn(|| pipeline.exec().unwrap_err());
                wait_until("the pipeline has left", || client.stats().bytes_sent > before);
                server.kill();
                exec.join().unwrap()
            });
            assert_eq!(error.status(), Status::Indeterminate, "{binary:?}: {error}");
            server.restart();
            assert!(pipeline.arrived().is_none());
            client.call(&count, &["n"], &NONE).unwrap();
        }
    }
}

#[test]
fn only_pipelines_of_idempotent_and_read_only_calls_are_sent_again() {
    let server = Server::start();
    let proxy = proxy(&server);
    let client = client(&proxy.url());
    let set = Script::idempotent("redis.call('INCR', 'runs') return redis.call('SET', KEYS[1], ARGV[1])");
    let get = Script::new("return redis.call('GET', KEYS[1])");
    for (runs, mut pipeline) in [(2, client.pipeline()), (4, client.transaction())] {
        client.call(&set, &["k"], &["0"]).unwrap();
        Raw::connect(&server).ok(&["SET", "runs", &(runs - 2).to_string()]);
        pipeline.script(&set, &["k"], &["1"]).unwrap().script_read_only(&get, &["k"], &NONE).unwrap();
        proxy.cut_after(Way::Replies, 3);
        assert_eq!(shown(&pipeline.exec().unwrap()), r#"Array[Status("OK"), String("1")]"#);
        assert_eq!(client.command(&["GET", "runs"]).unwrap().as_str(), Some(&*runs.to_string()));

        // One item that may not run twice keeps all from being sent again.
        pipeline.script(&set, &["k"], &["1"]).unwrap().command(&["INCR", "n"]).unwrap();
        proxy.cut_after(Way::Replies, 3);
        let error = pipeline.exec().unwrap_err();
        assert_eq!(error.status(), Status::Indeterminate, "{error}");
        assert_eq!(client.command(&["GET", "runs"]).unwrap().as_str(), Some(&*(runs + 1).to_string()));
    }
    assert_eq!(client.command(&["GET", "n"]).unwrap().as_str(), Some("2"));
}

#[test]
fn a_repair_that_breaks_off_reports_no_item_as_not_executed_that_may_have_run() {
    let server = Server::start();
    let proxy = proxy(&server);
    let count = Script::new(COUNT);
    let mut raw = Raw::connect(&server);
    let noscript = "-NOSCRIPT No matching script. Please use EVAL.\r\n".len();
    // Both items' NOSCRIPT, PING's reply, then those of the repair: 1, 2.
    let first = 2 * noscript + "+PONG\r\n".len();
    for cut in [0, noscript, first - 1, first, first + 3, first + 4, first + 7] {
        let client = client(&proxy.url());
        client.call(&count, &["other"], &NONE).unwrap();
        raw.ok(&["SCRIPT", "FLUSH"]);
        let key = format!("n{cut}");
        let mut pipeline = client.pipeline();
        pipeline.script(&count, &[&key], &NONE).unwrap().command(&["PING"]).unwrap();
        pipeline.script(&count, &[&key], &NONE).unwrap();
        proxy.cut_after(Way::Replies, cut);
        let error = pipeline.exec().unwrap_err();
        assert_eq!(error.status(), Status::Indeterminate, "{error}");
        let arrived = pipeline.arrived();
        let ran = number(&mut raw, &key);
        let items = arrived.iter().flat_map(|replies| replies.root().elements());
        let errors: Vec<Error> = items.filter_map(|item| item.as_error()).collect();
        let surely_not = errors.iter().filter(|error| error.is_not_executed()).count() as i64;
        assert!(
            surely_not <= 2 - ran,
            "cut after {cut}: {ran} of 2 ran, {surely_not} reported as not executed"
        );
        assert!(ran == 0 || errors.iter().all(|error| error.is_indeterminate()), "{errors:?}");
    }
}

#[test]
fn a_deadline_in_the_middle_of_a_long_pipeline_stops_the_rest_and_the_client_goes_on_at_once() {
    const ITEMS: usize = 1_000_000;
    let server = Server::start();
    let proxy = proxy(&server);
    let client = client(&proxy.url()).with_timeout(LONG);
    let hurried = client.with_timeout(Duration::from_secs(3));
    let mut pipeline = hurried.pipeline();
    for _ in 0..ITEMS {
        pipeline.command(&["INCR", "n"]).unwrap();
    }
    std::thread::scope(|scope| {
        let before = proxy.bytes(Way::Replies);
        let exec = scope.spawn(|| {
            let error = pipeline.exec().unwrap_err();
            (error, pipeline.arrived())
        });
        wait_until("replies have come", || proxy.bytes(Way::Replies) > before + 10_000);
        proxy.pause(Way::Replies);
        let (error, arrived) = exec.join().unwrap();
        assert_eq!((error.status(), error.is_indeterminate()), (Status::Indeterminate, true), "{error}");
        let arrived = arrived.expect("some replies");
        let arrived_count = arrived.root().len() as i64;
        assert!(arrived_count > 0 && arrived_count < ITEMS as i64);
        let numbers = arrived.root().elements().map(|reply| reply.as_i64());
        assert!(numbers.eq((1..=arrived_count).map(Some)), "the first items' replies in order");

        proxy.resume(Way::Replies);
        assert_eq!(client.command(&["ECHO", "mine"]).unwrap().as_str(), Some("mine"), "no late reply");
        let ran = client.command(&["GET", "n"]).unwrap();
        let ran: i64 = ran.as_str().unwrap().parse().unwrap();
        println!("{arrived_count} replies arrived, {ran} of {ITEMS} items ran");
        // Two parts of 128 KiB are under way at a time.
        assert!(ran >= arrived_count && ran <= arrived_count + 3 * 128 * 1024 / 24, "{ran} items ran");
        assert_eq!(
            client.command(&["GET", "n"]).unwrap().as_str(),
            Some(&*ran.to_string()),
            "nothing followed"
        );
        assert_eq!(client.stats().reconnects, 0);
    });
}

#[test]
fn a_late_reply_to_a_pipeline_or_transaction_goes_to_no_other_call() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let proxy = proxy(&server);
        let client = client(&proxy.url());
        let hurried = client.with_timeout(Duration::from_millis(50));
        let count = Script::new(COUNT);
        client.call(&count, &["n"], &NONE).unwrap();
        for mut pipeline in [hurried.pipeline(), hurried.transaction()] {
            pipeline.script(&count, &["n"], &NONE).unwrap().command(&["ECHO", "theirs"]).unwrap();
            proxy.pause(Way::Replies);
            let error = pipeline.exec().unwrap_err();
            assert_eq!((error.status(), error.is_not_executed()), (Status::Indeterminate, false), "{error}");
            assert!(pipeline.arrived().is_none() && pipeline.is_empty());
            proxy.resume(Way::Replies);
            assert_eq!(client.command(&["ECHO", "mine"]).unwrap().as_str(), Some("mine"), "{binary:?}");
        }
        assert_eq!(client.command(&["GET", "n"]).unwrap().as_str(), Some("3"));
    }
}

#[test]
fn with_deadlines_missed_on_all_sides_each_reply_finds_its_own_call_and_counts_stay_true() {
    const ROUNDS: i64 = 200;
    let server = Server::start();
    let client = client(&server.url());
    let count = Script::new(COUNT);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (client, count, server) = (&client, &count, &server);
            scope.spawn(move || {
                let key = format!("n{thread}");
                let (mut done, mut unknown) = (0, 0);
                for round in 0..ROUNDS {
                    // From far too short to long enough.
                    let hurried = client.with_timeout(Duration::from_micros(1 << (round % 16)));
                    let mut pipeline =
                        if round % 3 == 0 { hurried.transaction() } else { hurried.pipeline() };
                    let mine = format!("{thread}.{round}").repeat(1 << (round % 12));
                    pipeline.command(&["ECHO", &mine]).unwrap().script(count, &[&key], &NONE).unwrap();
                    pipeline.command(&["ECHO", &mine]).unwrap();
                    match pipeline.exec() {
                        Ok(replies) => {
                            done += 1;
                            for item in [0, 2] {
                                assert_eq!(replies.get(item).unwrap().as_str(), Some(&*mine));
                            }
                            let counted = replies.get(1).unwrap().as_i64().expect("a count");
                            assert!(counted >= done && counted <= done + unknown, "{counted}");
                        }
                        Err(error) if error.is_not_executed() => {
                            assert_eq!(error.status(), Status::Timeout, "{error}");
                        }
                        Err(error) => {
                            assert_eq!(error.status(), Status::Indeterminate, "{error}");
                            unknown += 1;
                        }
                    }
                }
                assert_eq!(client.command(&["ECHO", &key]).unwrap().as_str(), Some(&*key));
                let ran = number(&mut Raw::connect(server), &key);
                println!(
                    "{done} done, {unknown} unknown, {} not executed; {ran} ran",
                    ROUNDS - done - unknown
                );
                assert!(ran >= done && ran <= done + unknown, "{ran} ran, {done} done, {unknown} unknown");
            });
        }
    });
    assert_eq!(client.stats().reconnects, 0);
}

#[test]
fn a_transaction_whose_caller_left_while_its_scripts_were_checked_never_runs() {
    let server = Server::start();
    let proxy = proxy(&server);
    let client = client(&proxy.url());
    let hurried = client.with_timeout(Duration::from_millis(50));
    let mut transaction = hurried.transaction();
    transaction.script(&Script::new(COUNT), &["n"], &NONE).unwrap();
    proxy.pause(Way::Replies);
    let error = transaction.exec().unwrap_err();
    assert_eq!((error.status(), error.is_not_executed()), (Status::Timeout, true), "{error}");
    proxy.resume(Way::Replies);
    assert_eq!(client.command(&["EXISTS", "n"]).unwrap().as_i64(), Some(0));
    assert_eq!(calls_of(&server, "multi"), 1, "only the handshake's");
}

#[test]
fn a_repair_whose_caller_has_left_is_not_sent() {
    let server = Server::start();
    let proxy = proxy(&server);
    let client = client(&proxy.url());
    let hurried = client.with_timeout(Duration::from_millis(50));
    let count = Script::new(COUNT);
    client.call(&count, &["other"], &NONE).unwrap();
    Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);
    let mut pipeline = hurried.pipeline();
    pipeline.repair_unordered(true).script(&count, &["n"], &NONE).unwrap();
    proxy.pause(Way::Replies);
    let error = pipeline.exec().unwrap_err();
    assert_eq!(error.status(), Status::Indeterminate, "{error}");
    proxy.resume(Way::Replies);
    assert_eq!(client.command(&["PING"]).unwrap().as_str(), Some("PONG"));
    assert_eq!(client.command(&["EXISTS", "n"]).unwrap().as_i64(), Some(0));
}

#[test]
fn a_closed_client_executes_no_pipeline_and_says_so() {
    let server = Server::start();
    let client = client(&server.url());
    let count = Script::new(COUNT);
    let mut all = [client.pipeline(), client.transaction()];
    for pipeline in &mut all {
        pipeline.script(&count, &["n"], &NONE).unwrap().command(&["INCR", "n"]).unwrap();
    }
    client.close();
    for mut pipeline in all {
        let error = pipeline.exec().unwrap_err();
        assert_eq!((error.status(), error.is_not_executed()), (Status::Closed, true), "{error}");
        assert!(pipeline.is_empty() && pipeline.arrived().is_none());
        pipeline.command(&["INCR", "n"]).unwrap();
        assert_eq!(pipeline.exec().unwrap_err().status(), Status::Closed);
    }
    assert_eq!(settled(&mut Raw::connect(&server), "n"), 0);
}

#[test]
fn closing_the_client_ends_a_pipeline_in_flight_with_the_replies_that_came() {
    const ITEMS: usize = 200_000;
    let server = Server::start();
    let proxy = proxy(&server);
    let client = client(&proxy.url()).with_timeout(LONG);
    let mut pipeline = client.pipeline();
    for _ in 0..ITEMS {
        pipeline.command(&["INCR", "n"]).unwrap();
    }
    let before = proxy.bytes(Way::Replies);
    let (error, arrived) = std::thread::scope(|scope| {
        let exec = scope.spawn(|| {
            let error = pipeline.exec().unwrap_err();
            (error, pipeline.arrived())
        });
        wait_until("replies have come", || proxy.bytes(Way::Replies) > before + 10_000);
        proxy.pause(Way::Replies);
        client.close();
        exec.join().unwrap()
    });
    proxy.resume(Way::Replies);
    assert_eq!((error.status(), error.is_indeterminate()), (Status::Indeterminate, true), "{error}");
    assert!(error.message().contains("closed"), "{error}");
    let arrived = arrived.map_or(0, |arrived| arrived.root().len() as i64);
    let ran = settled(&mut Raw::connect(&server), "n");
    assert!(arrived <= ran && ran < ITEMS as i64, "{arrived} arrived, {ran} ran");
}

#[test]
fn a_reply_over_the_limit_ends_the_pipeline_with_the_replies_before_it() {
    let server = Server::start();
    let mut options = Options::default();
    options.max_reply_bytes(1024 * 1024).unwrap();
    let client = Client::open(&server.url(), &options).unwrap();
    let mut pipeline = client.pipeline();
    let large = Script::new("return string.rep('x', ARGV[1])");
    // The limit is a reply's, not the pipeline's.
    for _ in 0..4 {
        pipeline.script(&large, &NONE, &["1000000"]).unwrap();
    }
    assert_eq!(pipeline.exec().unwrap().root().len(), 4);
    pipeline.command(&["INCR", "n"]).unwrap().script(&large, &NONE, &["1100000"]).unwrap();
    pipeline.command(&["INCR", "n"]).unwrap();
    let error = pipeline.exec().unwrap_err();
    assert_eq!((error.status(), error.is_indeterminate()), (Status::ReplyLimit, true), "{error}");
    assert_eq!(pipeline.arrived().map(|replies| shown(&replies)).as_deref(), Some("Array[1]"));
    assert!(client.command(&["GET", "n"]).unwrap().as_str().is_some());
}

#[test]
fn while_another_script_runs_the_server_turns_all_away_and_nothing_is_remembered_of_it() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).arg("lua-time-limit", "5").start();
        let client = client(&server.url());
        let (count, first) = (Script::new(COUNT), Script::new("return 7"));
        client.call(&count, &["other"], &NONE).unwrap();
        std::thread::scope(|scope| {
            let mut raw = Raw::connect(&server);
            let endless = scope.spawn(|| Raw::connect(&server).cmd(&["EVAL", "while true do end", "0"]));
            wait_until("the server is busy", || raw.cmd(&["PING"]).is_error());
            let mut pipeline = client.pipeline();
            pipeline.script(&count, &["n"], &NONE).unwrap().script(&first, &NONE, &NONE).unwrap();
            pipeline.command(&["INCR", "n"]).unwrap();
            let replies = pipeline.exec().unwrap();
            for reply in replies.root().elements() {
                let error = reply.as_error().expect("BUSY");
                assert_eq!(
                    (error.status(), error.is_not_executed()),
                    (Status::Busy, true),
                    "{binary:?}: {error}"
                );
            }
            for script in [&count, &first] {
                let mut transaction = client.transaction();
                transaction.script(script, &["n"], &NONE).unwrap().command(&["INCR", "n"]).unwrap();
                let error = transaction.exec().unwrap_err();
                assert_eq!(
                    (error.status(), error.is_not_executed()),
                    (Status::Busy, true),
                    "{binary:?}: {error}"
                );
            }
            raw.ok(&["SCRIPT", "KILL"]);
            assert!(endless.join().unwrap().is_error());
            assert_eq!(raw.ok(&["EXISTS", "n"]).integer(), 0);
        });
        for mut pipeline in [client.pipeline(), client.transaction()] {
            pipeline.script(&count, &["n"], &NONE).unwrap().script(&first, &NONE, &NONE).unwrap();
            assert!(shown(&pipeline.exec().unwrap()).ends_with(", 7]"), "{binary:?}");
        }
    }
}

/// A server with a user who may do `rights`, and that user's URL.
fn with_user(binary: support::server::Binary, rights: &[&str]) -> (Server, String) {
    let server = Server::builder().binary(binary).start();
    let mut raw = Raw::connect(&server);
    raw.ok(&[&["ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all"], rights].concat());
    let url = format!("redis://limited:secret@127.0.0.1:{}", server.port());
    (server, url)
}

#[test]
fn where_script_load_is_forbidden_pipelines_carry_the_source_from_the_second_on() {
    for binary in all_versions() {
        let (_server, url) = with_user(binary, &["-script"]);
        let client = client(&url);
        let (count, other) = (Script::new(COUNT), Script::new("return 7"));
        let mut pipeline = client.pipeline();
        for _ in 0..2 {
            pipeline.script(&count, &["n"], &NONE).unwrap();
        }
        pipeline.command(&["GET", "n"]).unwrap();
        // The first learns of it: its scripts are not there, nothing of them ran, and the rest did.
        let replies = pipeline.exec().unwrap();
        for item in [0, 1] {
            let error = replies.get(item).unwrap().as_error().expect("NOSCRIPT");
            assert_eq!((error.status(), error.is_not_executed()), (Status::NoScript, true), "{error}");
        }
        assert_eq!(replies.get(2).unwrap().kind(), Kind::Nil);
        for round in 1..4 {
            pipeline.script(&count, &["n"], &NONE).unwrap().script(&other, &NONE, &NONE).unwrap();
            pipeline.script(&count, &["m"], &NONE).unwrap();
            let before = client.stats().round_trips;
            assert_eq!(shown(&pipeline.exec().unwrap()), format!("Array[{round}, 7, {round}]"), "{binary:?}");
            assert_eq!(client.stats().round_trips - before, 1);
        }
    }
}

#[test]
fn where_script_load_is_forbidden_a_repairing_pipeline_works_from_the_first_on() {
    for binary in all_versions() {
        let (_server, url) = with_user(binary, &["-script"]);
        let client = client(&url);
        let (count, other) = (Script::new(COUNT), Script::new("return {7, 8}"));
        let mut pipeline = client.pipeline();
        pipeline.repair_unordered(true);
        pipeline.script(&count, &["n"], &NONE).unwrap().script(&other, &NONE, &NONE).unwrap();
        pipeline.command(&["PING"]).unwrap().script(&count, &["n"], &NONE).unwrap();
        let expected = r#"Array[1, Array[7, 8], Status("PONG"), 2]"#;
        assert_eq!(shown(&pipeline.exec().unwrap()), expected, "{binary:?}");
    }
}

#[test]
fn where_script_load_is_forbidden_transactions_carry_the_source() {
    for binary in all_versions() {
        let (server, url) = with_user(binary, &["-script"]);
        let client = client(&url);
        let count = Script::new(COUNT);
        let mut transaction = client.transaction();
        for (round, trips) in [(1, 2), (3, 1), (5, 1)] {
            if round == 5 {
                Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);
            }
            transaction.script(&count, &["n"], &NONE).unwrap().script(&count, &["n"], &NONE).unwrap();
            let before = client.stats().round_trips;
            assert_eq!(
                shown(&transaction.exec().unwrap()),
                format!("Array[{round}, {}]", round + 1),
                "{binary:?}"
            );
            assert_eq!(client.stats().round_trips - before, trips, "{binary:?}");
        }
    }
}

#[test]
fn a_transaction_whose_script_load_is_forbidden_meanwhile_runs_once_with_the_source() {
    for binary in all_versions() {
        let (server, url) = with_user(binary, &[]);
        let client = client(&url);
        let count = Script::new(COUNT);
        let mut transaction = client.transaction();
        transaction.script(&count, &["n"], &NONE).unwrap();
        assert_eq!(shown(&transaction.exec().unwrap()), "Array[1]");
        let mut raw = Raw::connect(&server);
        raw.ok(&["ACL", "SETUSER", "limited", "-script"]);
        raw.ok(&["SCRIPT", "FLUSH"]);
        for expected in ["Array[2, 3]", "Array[4, 5]"] {
            transaction.script(&count, &["n"], &NONE).unwrap().script(&count, &["n"], &NONE).unwrap();
            assert_eq!(shown(&transaction.exec().unwrap()), expected, "{binary:?}");
        }
    }
}

#[test]
fn after_an_aborted_transaction_a_script_that_travels_by_source_is_not_taken_for_known() {
    let (_server, url) = with_user(support::server::Binary::Default, &["-script"]);
    let client = client(&url);
    let count = Script::new(COUNT);
    let (mut transaction, mut pipeline) = (client.transaction(), client.pipeline());
    transaction.script(&count, &["n"], &NONE).unwrap().command(&["GET"]).unwrap();
    assert_eq!(transaction.exec().unwrap_err().status(), Status::TransactionAborted);
    pipeline.script(&count, &["n"], &NONE).unwrap();
    assert_eq!(shown(&pipeline.exec().unwrap()), "Array[1]");
}

#[test]
fn a_script_that_travels_by_source_and_does_not_compile_fails_alike_every_time() {
    let (_server, url) = with_user(support::server::Binary::Default, &["-script"]);
    let client = client(&url);
    let mut pipeline = client.pipeline();
    pipeline.script(&Script::new("return 1"), &NONE, &NONE).unwrap();
    pipeline.exec().unwrap();
    let broken = Script::new("return (");
    for _ in 0..4 {
        pipeline.script(&broken, &NONE, &NONE).unwrap();
        let replies = pipeline.exec().unwrap();
        let error = replies.get(0).unwrap().as_error().expect("a compile error");
        assert!(error.message().contains("compiling script"), "{error}");
    }
}

#[test]
fn where_scripts_are_forbidden_altogether_their_items_say_so_and_a_transaction_of_them_runs_nothing() {
    for binary in all_versions() {
        for rights in [&["-script", "-eval", "-evalsha"][..], &["-script", "-eval"]] {
            let (server, url) = with_user(binary, rights);
            let client = client(&url);
            let count = Script::new(COUNT);
            let (mut pipeline, mut transaction) = (client.pipeline(), client.transaction());
            for _ in 0..3 {
                pipeline.script(&count, &["n"], &NONE).unwrap().command(&["INCR", "m"]).unwrap();
                let replies = pipeline.exec().unwrap();
                assert_eq!(replies.get(0).unwrap().kind(), Kind::Error, "{binary:?} {rights:?}: {replies:?}");
                assert_eq!(replies.get(1).unwrap().kind(), Kind::Integer, "{binary:?} {rights:?}");
                transaction.command(&["INCR", "n"]).unwrap().script(&count, &["n"], &NONE).unwrap();
                let error = transaction.exec().unwrap_err();
                let proof = (error.status(), error.is_not_executed(), error.server_code());
                assert_eq!(proof, (Status::TransactionAborted, true, Some("NOPERM")), "{binary:?}: {error}");
                assert!(error.message().contains("item 1 (EVALSHA)"), "{error}");
            }
            assert_eq!(Raw::connect(&server).ok(&["EXISTS", "n"]).integer(), 0);
            assert_eq!(client.command(&["GET", "m"]).unwrap().as_str(), Some("3"));
        }
    }
}

#[test]
fn a_user_without_multi_or_exec_is_refused_transactions_of_which_nothing_is_sent() {
    for binary in all_versions() {
        for right in ["-multi", "-exec"] {
            let (server, url) = with_user(binary, &[right]);
            let client = client(&url);
            let count = Script::new(COUNT);
            let mut transaction = client.transaction();
            for _ in 0..2 {
                transaction.script(&count, &["n"], &NONE).unwrap().command(&["INCR", "n"]).unwrap();
                let error = transaction.exec().unwrap_err();
                assert!(error.message().contains("NOPERM") && error.is_not_executed(), "{error}");
                assert_eq!(calls_of(&server, "incr"), 0, "{binary:?} {right}");
            }
            // All else works, on a connection that is in no MULTI.
            let mut pipeline = client.pipeline();
            pipeline.script(&count, &["m"], &NONE).unwrap().command(&["GET", "m"]).unwrap();
            assert_eq!(shown(&pipeline.exec().unwrap()), r#"Array[1, String("1")]"#, "{binary:?} {right}");
            assert_eq!(Raw::connect(&server).ok(&["EXISTS", "n"]).integer(), 0);
        }
    }
}

#[test]
fn a_right_taken_away_while_connected_is_told_truly_and_hurts_no_later_call() {
    for binary in all_versions() {
        for right in ["-multi", "-exec"] {
            let (server, url) = with_user(binary, &[]);
            let client = client(&url);
            let count = Script::new(COUNT);
            let mut transaction = client.transaction();
            transaction.script(&count, &["n"], &NONE).unwrap();
            transaction.exec().unwrap();
            let mut raw = Raw::connect(&server);
            raw.ok(&["ACL", "SETUSER", "limited", right]);
            transaction.script(&count, &["n"], &NONE).unwrap().command(&["INCR", "n"]).unwrap();
            let error = transaction.exec().unwrap_err();
            // Without MULTI its commands run singly, and no one could say that they did not.
            let ran = number(&mut raw, "n") - 1;
            assert_eq!(ran, if right == "-multi" { 2 } else { 0 });
            assert_eq!(error.is_not_executed(), ran == 0, "{binary:?} {right}: {error}");
            assert_eq!(error.is_indeterminate(), ran > 0, "{binary:?} {right}: {error}");
            assert!(error.message().contains("NOPERM"), "{error}");
            assert_eq!(
                client.command(&["ECHO", "mine"]).unwrap().as_str(),
                Some("mine"),
                "{binary:?} {right}"
            );
            assert_eq!(client.call(&count, &["m"], &NONE).unwrap().as_i64(), Some(1), "{binary:?} {right}");
        }
    }
}

#[test]
fn a_load_refused_for_lack_of_memory_is_tried_again_next_time() {
    // No server refuses SCRIPT LOAD so today; some denied it memory before.
    let server = Fake::start(|conn| {
        let mut command = conn.handshake();
        let mut loads = 0;
        while let Some(words) = command {
            match (words[0].as_slice(), loads) {
                (b"MULTI", _) => conn.write(b"+OK\r\n"),
                (b"EXEC", _) => conn.write(b"*0\r\n"),
                (b"SCRIPT", 0) => {
                    loads += 1;
                    conn.write(b"-OOM command not allowed when used memory > 'maxmemory'.\r\n");
                }
                (b"SCRIPT", _) => {
                    conn.write(format!("$40\r\n{}\r\n", Script::new(words[2].clone()).sha_hex()).as_bytes());
                    loads += 1;
                }
                (b"EVALSHA", 0 | 1) => conn.write(b"-NOSCRIPT No matching script.\r\n"),
                (b"EVALSHA", _) => conn.write(b"$7\r\nby name\r\n"),
                (b"EVAL", _) => conn.write(b"$7\r\nby body\r\n"),
                (other, _) => panic!("{}", other.escape_ascii()),
            }
            command = conn.read_command();
        }
    });
    let client = client(&server.url());
    let script = Script::new("return 1");
    let mut pipeline = client.pipeline();
    pipeline.repair_unordered(true).script(&script, &NONE, &NONE).unwrap();
    assert_eq!(shown(&pipeline.exec().unwrap()), r#"Array[String("by body")]"#);
    let other = Script::new("return 2");
    pipeline.script(&other, &NONE, &NONE).unwrap();
    assert_eq!(shown(&pipeline.exec().unwrap()), r#"Array[String("by name")]"#);
}

/// Half of it would have the server take the next item for the rest, and end the connection that all share.
#[test]
fn an_argument_that_panics_is_in_no_pipeline() {
    struct Panicking;
    impl ToArgs for Panicking {
        fn write_args(&self, args: &mut Args<'_>) {
            args.push("first");
            panic!("a panic that a test wants: it is shown, and ends nothing");
        }

        fn count_args(&self) -> usize {
            2
        }
    }
    let server = Server::start();
    let client = client(&server.url());
    let count = Script::new(COUNT);
    let once = count.once(&Once::default()).unwrap();
    let mut expected = 0;
    for mut pipeline in [client.pipeline(), client.transaction()] {
        let panics = |append: &mut dyn FnMut()| assert!(catch_unwind(AssertUnwindSafe(append)).is_err());
        for round in 0..2 {
            panics(&mut || drop(pipeline.command(("SET", "k", Panicking)).map(drop)));
            for script in [&count, &once] {
                panics(&mut || drop(pipeline.script(script, "n", Panicking).map(drop)));
                panics(&mut || drop(pipeline.script(script, Panicking, ()).map(drop)));
                panics(&mut || drop(pipeline.script(script, (), Panicking).map(drop)));
            }
            assert_eq!(pipeline.len(), 2 * round);
            pipeline.script(&count, "n", ()).unwrap().script(&once, "n", ()).unwrap();
        }
        panics(&mut || drop(pipeline.script(&once, "n", Panicking).map(drop)));
        let counts: [i64; 4] = pipeline.exec().unwrap().to().unwrap();
        assert_eq!(counts, [1, 2, 3, 4].map(|number| expected + number));
        expected += 4;
    }
    // A call that is not made, likewise.
    assert!(catch_unwind(AssertUnwindSafe(|| client.call(&count, "n", Panicking))).is_err());
    assert_eq!(client.call(&count, "n", ()).unwrap().as_i64(), Some(expected + 1));
    assert_eq!(client.stats().reconnects, 0);
}
