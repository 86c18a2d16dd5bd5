//! Functions of libraries whose calls happen exactly once.

use crate::support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rs_script::{Client, Error, Library, Once, Protocol, Reply, Script, Status};
use support::calls::{LONG, NONE, client, options, shown};
use support::kinds::KINDS;
use support::lossy::Lossy;
use support::raw::{Raw, calls_of};
use support::server::{Binary, Server, all_versions};
use support::{OnDrop, wait_until};

/// Functions and what they do.
fn source(functions: &[(&str, &str)]) -> String {
    let mut source = "#!lua name=lib\n".to_owned();
    for (name, body) in functions {
        source += &format!("redis.register_function('{name}', function(KEYS, ARGV) {body} end)\n");
    }
    source
}

fn library(source: &str) -> Library {
    Library::pinned(source).unwrap().once(&Once::default()).unwrap()
}

fn function(library: &Library, name: &str) -> Script {
    library.function(name).unwrap()
}

fn counter() -> Script {
    function(&library(&source(&[("count", "return redis.call('INCR', KEYS[1])")])), "count")
}

fn read(server: &Server, key: &str) -> String {
    Raw::connect(server).ok(&["GET", key]).text()
}

fn told(result: Result<Reply, Error>) -> String {
    match result {
        Ok(reply) => shown(&reply),
        Err(error) => format!("{:?} {error}", error.status()),
    }
}

/// Runs `test` on every version that has functions, in both protocols.
fn everywhere(test: impl Fn(&Server, &Client)) {
    for binary in all_versions().filter(|&binary| binary != Binary::Redis62) {
        let server = Server::builder().binary(binary).start();
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            println!("{binary:?} {protocol:?}");
            let mut raw = Raw::connect(&server);
            raw.ok(&["FLUSHALL"]);
            raw.ok(&["FUNCTION", "FLUSH"]);
            let mut options = options(LONG);
            options.protocol(protocol);
            test(&server, &Client::open(&server.url(), &options).expect("a client"));
        }
    }
}

#[test]
fn a_repeat_gets_every_kind_of_reply_as_the_first_call_did() {
    let names: Vec<String> = (0..KINDS.len()).map(|number| format!("k{number}")).collect();
    let bodies: Vec<String> =
        names.iter().zip(KINDS).map(|(name, body)| format!("redis.call('INCR', '{name}') {body}")).collect();
    let functions: Vec<_> = names.iter().zip(&bodies).map(|(name, body)| (&**name, &**body)).collect();
    let plain = Library::pinned(source(&functions)).unwrap();
    let once = plain.once(&Once::default()).unwrap();
    everywhere(|server, client| {
        let mut raw = Raw::connect(server);
        raw.ok(&["SET", "ktext", "text"]);
        raw.ok(&["HSET", "khash", "a", "1", "b", "2"]);
        for (name, body) in &functions {
            let as_it_is = told(function(&plain, name).key("k").arg("a").call(client));
            let call = function(&once, name).key("k").arg("a").token("token");
            let first = told(call.call(client));
            raw.ok(&["FUNCTION", "FLUSH"]);
            let again = [told(call.call(client)), told(call.call(client))];
            assert_eq!(raw.ok(&["GET", name]).text(), "2", "{body}");
            assert_eq!(again, [&*first, &*first], "{body}");
            // Pairs have no order, and what a function raises has no place in it.
            let has_order =
                !body.contains("name = ") && !body.contains("set = ") && !body.contains("KEYS, ARGV");
            if has_order {
                assert_eq!(first, as_it_is, "{body}");
            }
            raw.ok(&["DEL", &raw_token(&mut Raw::connect(server))]);
        }
    });
}

/// The only token key that there is.
fn raw_token(raw: &mut Raw) -> String {
    let found = raw.ok(&["KEYS", "rs:once:*"]);
    assert_eq!(found.elements().len(), 1, "{found:?}");
    found.elements()[0].text()
}

#[test]
fn what_was_written_before_an_error_stays_and_is_not_written_again() {
    everywhere(|server, client| {
        for (number, (raised, words)) in [
            ("error('no more')", "user_function:4: no more"),
            ("error({err = 'STOCK empty'})", "STOCK empty script: once"),
            ("error()", "ERR nil script: once"),
            ("redis.call('INCR', 'text')", "not an integer or out of range script: once"),
            (
                "local x = nil + 1",
                "user_function:4: attempt to perform arithmetic on a nil value script: once",
            ),
        ]
        .into_iter()
        .enumerate()
        {
            Raw::connect(server).ok(&["SET", "text", "text"]);
            let runs = format!("runs{number}");
            let body = format!("redis.call('INCR', '{runs}')\n\n{raised}");
            let script = function(&library(&source(&[("f", &body)])), "f");
            let call = script.prepare().token(raised);
            let [first, again] = [(); 2].map(|()| call.call::<Reply>(client).unwrap_err());
            assert!(first.message().contains(words), "{first}");
            assert_eq!((first.status(), first.message()), (Status::Server, again.message()));
            assert!(!first.is_not_executed() && !first.is_indeterminate());
            assert_eq!(read(server, &runs), "1", "{raised}");
        }
    });
}

#[test]
fn a_token_of_another_call_is_refused_and_nothing_runs() {
    let add = "return redis.call('INCRBY', KEYS[1], ARGV[1])";
    let functions = source(&[("add", add), ("same", add)]);
    let [one, other] = [library(&functions), library(&(functions.clone() + " "))];
    everywhere(|server, client| {
        let call = |library: &Library, name: &str, key: &str, args: &[&str]| {
            function(library, name).key(key).arg(args).token("t").call::<i64>(client)
        };
        assert_eq!(call(&one, "add", "n{n}", &["5"]), Ok(5));
        // In one server all of them have the same slot.
        for refused in [
            call(&one, "add", "n{n}", &["6"]),
            call(&one, "add", "n{n}", &["5", ""]),
            call(&one, "add", "m{n}", &["5"]),
            call(&one, "same", "n{n}", &["5"]),
            call(&other, "add", "n{n}", &["5"]),
        ] {
            let error = refused.unwrap_err();
            assert_eq!((error.status(), error.is_not_executed()), (Status::TokenMismatch, true), "{error}");
        }
        // Other options make it another library, and no other call.
        let longer = Once::default().lifetime(std::time::Duration::from_secs(3600));
        assert_eq!(call(&one.once(&longer).unwrap(), "add", "n{n}", &["5"]), Ok(5));
        let add = function(&one, "add");
        let mut pipeline = client.pipeline();
        pipeline.add(&add.key("n{n}").arg(6).token("t")).unwrap().script(&add, "n{n}", 1).unwrap();
        let replies = pipeline.exec().unwrap();
        let error = replies.root().get(0).and_then(|reply| reply.as_error()).expect("an error");
        assert_eq!((error.status(), error.is_not_executed()), (Status::TokenMismatch, true), "{error}");
        let transaction = || {
            let mut transaction = client.transaction();
            transaction
                .script(&add, "n{n}", 1)
                .unwrap()
                .script(&add, "n{n}", 1)
                .unwrap()
                .token("all")
                .unwrap();
            shown(&transaction.exec().unwrap())
        };
        let first = transaction();
        Raw::connect(server).ok(&["FUNCTION", "FLUSH"]);
        assert_eq!(transaction(), first);
        assert_eq!(read(server, "n{n}"), "8");
    });
}

#[test]
fn functions_without_writes_need_no_token_and_others_are_not_called_read_only() {
    let library = library(
        "#!lua name=lib
redis.register_function{function_name='get', callback=function(keys) \
            return {#keys, redis.call('GET', keys[1])} end, flags={'allow-stale', 'NO-Writes'}, description='reads'}
redis.register_function{function_name='set', callback=function(keys, args) \
            return redis.call('SET', keys[1], args[1]) end, flags={'allow-oom'}}
redis.register_function('count', function(keys) return redis.call('INCR', 'count') end)",
    );
    let [get, set, count] = ["get", "set", "count"].map(|name| function(&library, name));
    assert!(get.is_once() && get.is_idempotent() && library.is_once());
    everywhere(|server, client| {
        let mut raw = Raw::connect(server);
        assert_eq!(told(set.key("k").arg("v").call(client)), "Status(\"OK\")");
        raw.ok(&["DEL", &raw_token(&mut Raw::connect(server))]);
        let reads = "Array[1, String(\"v\")]";
        assert_eq!(told(get.key("k").read_only().call(client)), reads);
        assert_eq!(told(get.key("k").call(client)), reads);
        assert_eq!(raw.ok(&["DBSIZE"]).integer(), 1, "nothing is kept of them");
        let error = get.key("k").token("t").call::<Reply>(client).unwrap_err();
        assert_eq!((error.status(), error.is_not_executed()), (Status::InvalidArgument, true), "{error}");
        assert!(error.message().contains("no-writes"), "{error}");
        let mut pipeline = client.pipeline();
        pipeline.add(&get.key("k").read_only()).unwrap().add(&get.key("k").token("t")).unwrap();
        pipeline.script(&count, NONE, NONE).unwrap().add(&get.key("k")).unwrap();
        let replies = pipeline.exec().unwrap();
        let error = replies.root().get(1).and_then(|reply| reply.as_error()).expect("an error");
        assert_eq!((error.status(), error.is_not_executed()), (Status::InvalidArgument, true), "{error}");
        assert_eq!(replies.root().get(2).and_then(|reply| reply.as_i64()), Some(1));
        let [first, last] = [0, 3].map(|item| format!("{:?}", replies.root().get(item).unwrap()));
        assert_eq!(first, last);
        let error = count.prepare().read_only().call::<Reply>(client).unwrap_err();
        assert!(error.is_not_executed() && error.message().contains("*_ro"), "{error}");
        assert_eq!(read(server, "count"), "1");
        let missing = function(&library, "missing").prepare().call::<Reply>(client).unwrap_err();
        assert_eq!((missing.status(), missing.is_not_executed()), (Status::NoFunction, true), "{missing}");
    });
}

#[test]
fn a_function_cannot_fool_the_wrapper() {
    let text = "RSTOKEN the token has been used for another script, or for other keys or arguments";
    let made_up = format!("redis.call('INCR', 'count') return redis.error_reply('{text}')");
    let tricks = [
        "KEYS[1] = 'other' KEYS[2] = 'another' ARGV[1] = 'x' return {redis.call('INCR', 'count'), #KEYS}",
        "table.remove(KEYS) return redis.call('INCR', 'count')",
        "local n = redis.call('INCR', 'count') redis.call = function() return 'fooled' end return n",
        "local n = redis.call('INCR', 'count') redis.pcall, redis.sha1hex = nil, nil return n",
        "pcall(function() pcall = function() return true, 'fooled' end end) return redis.call('INCR', 'count')",
        "pcall(function() string.sub = nil end) return redis.call('INCR', 'count')",
        "pcall(redis.set_repl, redis.REPL_NONE) return redis.call('INCR', 'count')",
        &made_up,
    ];
    everywhere(|server, client| {
        for trick in tricks {
            Raw::connect(server).ok(&["DEL", "count"]);
            let script = function(&library(&source(&[("f", trick)])), "f");
            let replies = [(); 3].map(|()| told(script.key("k").arg("a").token(trick).call(client)));
            assert_eq!(replies, [(); 3].map(|()| replies[0].clone()), "{trick}");
            assert!(!replies[0].contains("TokenMismatch"), "{}", replies[0]);
            assert_eq!(read(server, "count"), "1", "{trick}");
        }
    });
}

#[test]
fn an_error_that_a_library_keeps_stays_as_it_is() {
    let server = Server::start();
    let client = client(&server);
    let source = "#!lua name=lib\nlocal empty = {err = 'STOCK empty'}
redis.register_function('f', function() return empty end)";
    for library in [Library::pinned(source).unwrap(), library(source)] {
        let script = function(&library, "f");
        for _ in 0..3 {
            let error = client.call(&script, NONE, NONE).unwrap_err();
            assert_eq!(error.message(), "STOCK empty script: rs");
        }
    }
}

#[test]
fn libraries_of_both_kinds_and_of_other_options_live_side_by_side() {
    let plain = Library::pinned(source(&[("count", "return redis.call('INCR', KEYS[1])")])).unwrap();
    let with = |once: Once| plain.once(&once).unwrap();
    let libraries = [
        plain.clone(),
        with(Once::default()),
        with(Once::default().lifetime(std::time::Duration::from_secs(10))),
        with(Once::default().reply_limit(100)),
        with(Once::default().prefix("another:")),
    ];
    let names: HashSet<&str> = libraries.iter().map(Library::name).collect();
    // How long the prefix is stands in the code, and nothing else of it.
    assert_eq!((names.len(), libraries[4].name()), (4, libraries[1].name()));
    assert_ne!(with(Once::default().prefix("longer prefix:")).name(), libraries[1].name());
    assert_eq!(libraries[1].once(&Once::default()).unwrap().name(), libraries[1].name());
    assert!(!plain.is_once() && !function(&plain, "count").is_once());
    let server = Server::start();
    let client = client(&server);
    for (number, library) in libraries.iter().enumerate() {
        let reply = client.call(&function(library, "count"), "n", NONE).unwrap();
        assert_eq!(reply.as_i64(), Some(number as i64 + 1));
        assert_eq!(client.library_check(library).unwrap().root().get(1).unwrap().as_str(), Some("same"));
    }
    let mut raw = Raw::connect(&server);
    for (prefix, kept) in [("rs:once:*", 3), ("another:*", 1)] {
        assert_eq!(raw.ok(&["KEYS", prefix]).elements().len(), kept);
    }
    client.library_prune(&[&libraries[0], &libraries[1]]).unwrap();
    assert_eq!(raw.ok(&["FUNCTION", "LIST"]).elements().len(), 2);

    let named = Library::named(source(&[("f", "")])).unwrap();
    let refused = named.once(&Once::default()).unwrap_err();
    assert_eq!(refused.status(), Status::InvalidArgument);
    let refused = plain.once(&Once::default().prefix("{")).unwrap_err();
    assert_eq!(refused.status(), Status::InvalidArgument);
}

#[test]
fn a_function_that_is_killed_has_not_run_and_keeps_nothing() {
    let body = "while redis.call('EXISTS', 'stop') == 0 do pcall(function() end) end return 'done'";
    let script = function(&library(&source(&[("f", body)])), "f");
    everywhere(|server, client| {
        let mut raw = Raw::connect(server);
        raw.ok(&["CONFIG", "SET", "lua-time-limit", "1"]);
        let call = script.prepare().token("t");
        std::thread::scope(|scope| {
            let caller = scope.spawn(|| call.call::<String>(client));
            wait_until("the function is killed", || !raw.cmd(&["FUNCTION", "KILL"]).is_error());
            let error = caller.join().unwrap().unwrap_err();
            assert!(error.message().contains("killed"), "{error}");
        });
        assert_eq!(raw.ok(&["DBSIZE"]).integer(), 0);
        raw.ok(&["SET", "stop", "1"]);
        assert_eq!(call.call::<String>(client), Ok("done".into()));
    });
}

#[test]
fn without_memory_nothing_runs_and_nothing_is_kept() {
    let script = counter();
    everywhere(|server, client| {
        let mut raw = Raw::connect(server);
        let call = script.key("n").token("t");
        assert_eq!(script.key("n").call::<i64>(client), Ok(1));
        raw.ok(&["CONFIG", "SET", "maxmemory", "1"]);
        let error = call.call::<i64>(client).unwrap_err();
        assert!(error.is_not_executed() && error.message().starts_with("OOM "), "{error}");
        raw.ok(&["CONFIG", "SET", "maxmemory", "0"]);
        assert_eq!((call.call::<i64>(client), call.call::<i64>(client)), (Ok(2), Ok(2)));
    });
}

#[test]
fn where_there_are_no_functions_that_is_said() {
    let server = Server::builder().binary(Binary::Redis62).start();
    let error = counter().key("n").call::<i64>(&client(&server)).unwrap_err();
    assert_eq!((error.status(), error.is_not_executed()), (Status::NotSupported, true), "{error}");
}

#[test]
fn calls_that_lose_replies_and_libraries_run_once_each() {
    const CALLS: u64 = 2_000;
    for binary in [Binary::Default, Binary::Redis82, Binary::Valkey91] {
        let server = Server::builder().binary(binary).start();
        let lossy = Lossy::start(server.address());
        let client = Client::open(&lossy.url(), &options(2 * LONG)).unwrap();
        let script = counter();
        let (next, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        let values: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let (client, script, next) = (&client, &script, &next);
                    scope.spawn(move || {
                        let mut values = Vec::new();
                        while next.fetch_add(1, Ordering::SeqCst) < CALLS {
                            if thread < 2 {
                                let value = script.key("n").call::<u64>(client);
                                values.push(value.expect("a reply, and never a question"));
                                continue;
                            }
                            let mut batch =
                                if thread == 2 { client.pipeline() } else { client.transaction() };
                            batch.script(script, "n", NONE).unwrap().script(script, "n", NONE).unwrap();
                            let replies = batch.exec().expect("replies, and never a question");
                            values.extend(replies.to::<[u64; 2]>().unwrap());
                        }
                        values
                    })
                })
                .collect();
            let is_over = &is_over;
            let next = &next;
            let flushes = scope.spawn(|| {
                let mut raw = Raw::connect(&server);
                let mut flushes = 0;
                while !is_over.load(Ordering::SeqCst) {
                    raw.ok(&["FUNCTION", "FLUSH"]);
                    flushes += 1;
                    let seen = next.load(Ordering::SeqCst);
                    wait_until("calls are made", || {
                        is_over.load(Ordering::SeqCst) || next.load(Ordering::SeqCst) > seen + 20
                    });
                }
                flushes
            });
            let end = OnDrop(|| is_over.store(true, Ordering::SeqCst));
            let values = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
            drop(end);
            let flushes = flushes.join().unwrap();
            assert!(flushes > 10, "{flushes}");
            values
        });
        assert_eq!(read(&server, "n"), values.len().to_string());
        let distinct: HashSet<u64> = values.iter().copied().collect();
        assert_eq!(distinct.len(), values.len(), "every value once");
        assert!(calls_of(&server, "function|load") > 10);
        assert!(lossy.cuts() > CALLS / 100, "{} replies lost", lossy.cuts());
        println!("{binary:?}: {} calls, {} times replies were lost", values.len(), lossy.cuts());
    }
}
