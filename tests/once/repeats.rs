//! Calls that happen exactly once: what a repeat gets, whose token it is, and replies that are lost.

use crate::support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rs_script::{
    Client, Error, EventKind, Library, LogLevel, Once, Options, Protocol, Reply, Script, Status,
};
use support::calls::shown;
use support::kinds::KINDS;
use support::lossy::Lossy;
use support::proxy::{Proxy, Way};
use support::raw::{Raw, Value, calls_of};
use support::server::{Server, all_versions};
use support::wait_until;

/// What no call here comes near to.
const LONG: Duration = Duration::from_secs(120);

const COUNT: &str = "return redis.call('INCR', KEYS[1])";

fn once(source: &str) -> Script {
    Script::new(source).once(&Once::default()).expect("a script")
}

fn client(url: &str, protocol: Protocol) -> Client {
    let mut options = Options::default();
    options.protocol(protocol).call_timeout(LONG).unwrap();
    Client::open(url, &options).expect("a client")
}

/// A reply or an error, in words.
fn told(result: Result<Reply, Error>) -> String {
    match result {
        Ok(reply) => shown(&reply),
        Err(error) => format!("{:?} {error}", error.status()),
    }
}

/// Runs `test` on every version in both protocols.
fn everywhere(test: impl Fn(&Server, &Client, Protocol)) {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            println!("{binary:?} {protocol:?}");
            Raw::connect(&server).ok(&["FLUSHALL"]);
            test(&server, &client(&server.url(), protocol), protocol);
        }
    }
}

#[test]
fn a_repeat_gets_every_kind_of_reply_as_the_first_call_did() {
    everywhere(|server, client, _| {
        let mut raw = Raw::connect(server);
        raw.ok(&["SET", "ktext", "text"]);
        raw.ok(&["HSET", "khash", "a", "1", "b", "2"]);
        for (number, body) in KINDS.iter().enumerate() {
            let runs = format!("runs{number}");
            let body = format!("redis.call('INCR', '{runs}') {body}");
            let plain = told(client.call(&Script::new(&*body), "k", "a"));
            let script = once(&body);
            let call = script.key("k").arg("a").token(format!("token {number}"));
            let first = told(call.call(client));
            let again = [told(call.call(client)), told(call.call(client))];
            assert_eq!(raw.ok(&["GET", &runs]).text(), "2", "{body}");
            assert_eq!(again, [&*first, &*first], "{body}");
            // Pairs have no order, and what a script raises has no place in it.
            let has_order =
                !body.contains("name = ") && !body.contains("set = ") && !body.contains("KEYS, ARGV");
            if has_order {
                assert_eq!(first, plain, "{body}");
            }
        }
    });
}

#[test]
fn what_was_written_before_an_error_stays_and_is_not_written_again() {
    everywhere(|server, client, _| {
        let mut raw = Raw::connect(server);
        raw.ok(&["SET", "text", "text"]);
        for (number, (raised, told)) in [
            ("error('no more')", "no more"),
            ("error({err = 'STOCK empty'})", "STOCK empty script: once"),
            ("error({1, 2})", "ERR table script: once"),
            (
                "error(setmetatable({}, {__tostring = function() error('again') end}))",
                "ERR table script: once",
            ),
            ("error()", "ERR nil script: once"),
            ("redis.call('INCR', 'text')", "not an integer or out of range script: once"),
            ("local x = nil + 1", "user_script:3: attempt to perform arithmetic on a nil value script: once"),
            ("redis.call('NONSENSE')", "ommand called from"),
            ("redis.call('LPUSH', 'text', 'x')", "WRONGTYPE Operation against a key"),
        ]
        .into_iter()
        .enumerate()
        {
            let runs = format!("runs{number}");
            let script = once(&format!("redis.call('INCR', '{runs}')\n\n{raised}"));
            let call = script.prepare().token("a token");
            let [first, again] = [(); 2].map(|()| call.call::<Reply>(client).unwrap_err());
            assert!(first.message().contains(told), "{first}");
            if !raised.contains('{') {
                // A raised error has the code that it has where the script does not happen once.
                let plain = Script::new(raised).prepare().call::<Reply>(client).unwrap_err();
                let code = |error: &Error| error.server_code().map(str::to_owned);
                // Of Redis 6.2's the code is always ERR.
                let hides_codes = plain.message().starts_with("ERR Error running script");
                assert!(hides_codes || code(&first) == code(&plain), "{first}, {plain}");
            }
            assert_eq!((first.status(), first.message()), (Status::Server, again.message()));
            assert!(!first.is_not_executed() && !first.is_indeterminate());
            assert_eq!(raw.ok(&["GET", &runs]).text(), "1", "{raised}");
            raw.ok(&["DEL", &token_key(&mut Raw::connect(server))]);
        }
    });
}

/// The only token key that there is.
fn token_key(raw: &mut Raw) -> String {
    let found = raw.ok(&["KEYS", "rs:once:*"]);
    assert_eq!(found.elements().len(), 1, "{found:?}");
    found.elements()[0].text()
}

#[test]
fn a_token_of_another_call_is_refused_and_nothing_runs() {
    everywhere(|server, client, _| {
        let mut raw = Raw::connect(server);
        let add = once("return redis.call('INCRBY', KEYS[1], ARGV[1])");
        let call = |key: &str, args: &[&str]| add.key(key).arg(args).token("t").call::<i64>(client);
        assert_eq!(call("n{n}", &["5"]), Ok(5));
        // Whatever differs; in one server all of them have the same slot.
        let other = once("return redis.call('INCRBY', KEYS[1], ARGV[1]) ");
        for refused in [
            call("n{n}", &["6"]),
            call("n{n}", &["5", ""]),
            call("m{n}", &["5"]),
            other.key("n{n}").arg("5").token("t").call(client),
        ] {
            let error = refused.unwrap_err();
            assert_eq!((error.status(), error.is_not_executed()), (Status::TokenMismatch, true), "{error}");
        }
        assert_eq!(call("n{n}", &["5"]), Ok(5));
        assert_eq!(raw.ok(&["GET", "n{n}"]).text(), "5");
        // A repeat writes, so that a WAIT behind it has something to wait for, and the token lives on.
        let key = token_key(&mut raw);
        raw.ok(&["PEXPIRE", &key, "100000"]);
        assert_eq!(call("n{n}", &["5"]), Ok(5));
        assert!(raw.ok(&["PTTL", &key]).integer() > 200_000);
    });
}

#[test]
fn bodies_see_their_keys_and_arguments_and_no_token() {
    everywhere(|_, client, _| {
        let script = once("return {#KEYS, KEYS[#KEYS] or 'none', KEYS[#KEYS + 1] or 'none', #ARGV}");
        for (keys, args, expected) in [
            (&[][..], &[][..], "Array[0, String(\"none\"), String(\"none\"), 0]"),
            (&["a"], &["x", "y"], "Array[1, String(\"a\"), String(\"none\"), 2]"),
            (&["{a}1", "{a}2", "{a}3"], &[], "Array[3, String(\"{a}3\"), String(\"none\"), 0]"),
        ] {
            assert_eq!(told(client.call(&script, keys, args)), expected);
            let token = format!("token {} {}", keys.len(), args.len());
            assert_eq!(told(script.key(keys).arg(args).token(token).call(client)), expected);
        }
    });
}

#[test]
fn a_body_cannot_fool_the_wrapper() {
    everywhere(|server, client, _| {
        for (number, trick) in [
            "KEYS[1] = 'other' KEYS[2] = 'another' ARGV[1] = 'x'",
            "table.remove(KEYS)",
            "pcall(function() pcall = function() return true, 'fooled' end end)",
            "pcall(function() redis.call = function() return 'fooled' end end)",
            "pcall(function() cmsgpack.pack = function() return 'fooled' end end)",
            "pcall(function() string.sub = nil end)",
            "pcall(redis.set_repl, redis.REPL_NONE)",
            "pcall(redis.setresp, 3)",
        ]
        .into_iter()
        .enumerate()
        {
            let count = format!("count{number}");
            let script = once(&format!("{trick} return {{redis.call('INCR', '{count}'), false}}"));
            let call = script.key("k").arg("a").token(format!("token {number}"));
            let replies = [(); 3].map(|()| told(call.call(client)));
            assert_eq!(replies[0], replies[2], "{trick}");
            assert_eq!(replies[0], replies[1], "{trick}");
            let runs = Raw::connect(server).ok(&["GET", &count]).text();
            // On 6.2 some of these break `redis.call` for good, for any script.
            assert_eq!(runs, "1", "{trick}");
        }
        // What 6.2 lets a script change outlives it.
        server.restart();
    });
}

#[test]
fn a_reply_over_the_limit_is_told_once_and_a_repeat_learns_that_it_ran() {
    everywhere(|server, client, _| {
        let limited = Once::default().reply_limit(64);
        for body in
            ["return string.rep('x', ARGV[1])", "local t = {} for i = 1, ARGV[1] do t[i] = 'x' end return t"]
        {
            Raw::connect(server).ok(&["FLUSHALL"]);
            let script = Script::new(format!("redis.call('INCR', KEYS[1]) {body}")).once(&limited).unwrap();
            let call =
                |length: usize| script.key("n").arg(length).token(length.to_string()).call::<Reply>(client);
            assert_eq!(told(call(8)), told(call(8)));
            let first = call(100).expect("the reply");
            assert_eq!(first.root().as_bytes().map_or(first.root().len(), <[u8]>::len), 100);
            let error = call(100).unwrap_err();
            assert_eq!(error.status(), Status::ReplyNotKept, "{error}");
            assert!(!error.is_not_executed() && !error.is_indeterminate());
            assert_eq!(Raw::connect(server).ok(&["GET", "n"]).text(), "2");
        }
        let deep = once("local t = 1 for _ = 1, 700 do t = {t} end return t");
        let mut options = Options::default();
        options.max_reply_depth(800).unwrap();
        let client = Client::open(&server.url(), &options).unwrap();
        let call = deep.prepare().token("deep");
        assert!(call.call::<Reply>(&client).is_ok());
        assert_eq!(call.call::<Reply>(&client).unwrap_err().status(), Status::ReplyNotKept);
    });
}

#[test]
fn what_the_wrapper_says_is_not_believed_of_a_body() {
    everywhere(|server, client, _| {
        let text = "RSTOKEN the token has been used for another script, or for other keys or arguments";
        let body = format!("redis.call('INCR', KEYS[1]) return redis.error_reply('{text}')");
        for script in [once(&body), once(&body).as_function()] {
            let call = script.key("n").token(script.function_name().unwrap_or("script"));
            for _ in 0..2 {
                let error = call.call::<i64>(client).unwrap_err();
                assert_eq!((error.status(), error.is_not_executed()), (Status::Server, false), "{error}");
                assert!(error.message().starts_with(text), "{error}");
            }
        }
        assert_eq!(Raw::connect(server).ok(&["GET", "n"]).text(), "2");
    });
}

/// A server ends an error at its first NUL, and would not send a mark that is behind that.
#[test]
fn a_nul_in_an_error_hides_no_mark() {
    everywhere(|server, client, protocol| {
        let mut raw = Raw::connect(server);
        for (number, end) in
            ["return {err = ARGV[1]}", "error({err = ARGV[1]})", "error(ARGV[1], 0)"].into_iter().enumerate()
        {
            let script = once(&format!("redis.call('INCR', KEYS[1]) {end}"));
            for forgery in [
                "READONLY You can't write against a read only replica.",
                "NOSCRIPT No matching script. Please use EVAL.",
                "RSTOKEN the token has been used for another script, or for other keys or arguments",
                "RSREPLY the call has run before, and its reply was too long to be kept",
            ] {
                raw.ok(&["DEL", "n"]);
                let token = format!("{number} {protocol:?} {forgery}");
                let call = script.key("n").arg(format!("{forgery}\0 or not")).token(token);
                for _ in 0..2 {
                    let error = call.call::<i64>(client).unwrap_err();
                    assert_eq!((error.status(), error.is_not_executed()), (Status::Server, false), "{error}");
                    assert!(error.message().contains(" script: once"), "{end}: {error}");
                }
                assert_eq!(raw.ok(&["GET", "n"]).text(), "1", "{end}: {forgery}");
            }
        }
    });
}

#[test]
fn a_script_that_is_called_as_a_function_happens_once_too() {
    everywhere(|server, client, _| {
        let body = "if ARGV[1] == 'fail' then return redis.error_reply('STOCK empty') end
            if ARGV[1] == 'raise' then error('no more') end
            return {redis.call('INCRBY', KEYS[1], ARGV[1]), #KEYS, false}";
        let scripts =
            [once(body).as_function(), Script::new(body).as_function().once(&Once::default()).unwrap()];
        assert_eq!(scripts[0].function_name(), scripts[1].function_name());
        let script = &scripts[1];
        let call = |arg: &str, token: &str| told(script.key("n").arg(arg).token(token).call(client));
        for (arg, part) in [("5", "Array[5, 1, "), ("fail", "STOCK empty"), ("raise", "no more")] {
            let [first, again] = [(); 2].map(|()| call(arg, arg));
            assert!(first == again && first.contains(part), "{first} {again}");
        }
        assert!(call("6", "5").starts_with("TokenMismatch "));
        let mut pipeline = client.pipeline();
        pipeline.add(&script.key("n").arg(6).token("5")).unwrap().script(script, "n", 1).unwrap();
        let replies = pipeline.exec().unwrap();
        let error = replies.root().get(0).and_then(|reply| reply.as_error()).expect("an error");
        assert_eq!((error.status(), error.is_not_executed()), (Status::TokenMismatch, true), "{error}");
        let mut transaction = client.transaction();
        transaction.script(script, "n", 1).unwrap().script(script, "n", 1).unwrap().token("all").unwrap();
        let first = shown(&transaction.exec().unwrap());
        transaction.script(script, "n", 1).unwrap().script(script, "n", 1).unwrap().token("all").unwrap();
        assert_eq!(shown(&transaction.exec().unwrap()), first);
        assert_eq!(Raw::connect(server).ok(&["GET", "n"]).text(), "8");
    });
    let library =
        Library::pinned("#!lua name=a\nredis.register_function('f', function() return 1 end)").unwrap();
    let function = library.function("f").unwrap();
    assert_eq!(function.once(&Once::default()).map(drop).unwrap_err().status(), Status::InvalidArgument);
}

#[test]
fn read_only_calls_are_those_of_the_body() {
    let server = Server::start();
    let client = client(&server.url(), Protocol::Resp3);
    let script = once("return redis.call('GET', KEYS[1])").named("get").unwrap();
    assert_eq!(told(client.call_read_only(&script, "k", ())), "Nil");
    assert_eq!(Raw::connect(&server).ok(&["DBSIZE"]).integer(), 0);
    let error = script.key("k").read_only().token("t").call::<Reply>(&client).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument);
    let writes = once(COUNT);
    assert_eq!(client.call_read_only(&writes, "k", ()).unwrap_err().status(), Status::Server);
    let flagged = once("#!lua\nreturn 1");
    assert_eq!(client.call_read_only(&flagged, (), ()).unwrap_err().status(), Status::NotReadOnly);
}

#[test]
fn tokens_are_refused_where_they_mean_nothing_and_where_they_are_none() {
    let server = Server::start();
    let client = client(&server.url(), Protocol::Resp3);
    let plain = Script::new("return 1");
    let script = once("return 1");
    for call in [
        plain.prepare().token("t"),
        plain.prepare().read_only().token("t"),
        script.prepare().token(""),
        script.prepare().token(vec![b'x'; 257]),
    ] {
        let error = call.call::<i64>(&client).unwrap_err();
        assert_eq!((error.status(), error.is_not_executed()), (Status::InvalidArgument, true), "{error}");
        let refused = client.pipeline().add(&call).map(drop).unwrap_err();
        assert_eq!(refused.status(), Status::InvalidArgument);
    }
    let binary: Vec<u8> = (0..=255).collect();
    for _ in 0..2 {
        assert_eq!(script.prepare().token(&*binary).call::<i64>(&client), Ok(1));
    }
}

#[test]
fn two_threads_and_another_client_with_one_token_get_one_run() {
    let server = Server::start();
    let script = once(COUNT);
    let clients = [client(&server.url(), Protocol::Resp2), client(&server.url(), Protocol::Resp3)];
    for round in 1..=100 {
        let replies: Vec<i64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let (script, client) = (&script, &clients[thread % 2]);
                    scope.spawn(move || script.key("n").token(format!("job {round}")).call::<i64>(client))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap().expect("a reply")).collect()
        });
        assert_eq!(replies, [round; 4]);
    }
}

#[test]
fn a_token_that_has_expired_runs_again() {
    let server = Server::start();
    let client = client(&server.url(), Protocol::Resp3);
    let script = once(COUNT);
    let call = script.key("n").token("t");
    assert_eq!(call.call::<i64>(&client), Ok(1));
    let mut raw = Raw::connect(&server);
    let key = token_key(&mut raw);
    assert!(key.starts_with("rs:once:{") && key.ends_with("}:t"), "{key}");
    assert!((1..=300_000).contains(&raw.ok(&["PTTL", &key]).integer()));
    raw.ok(&["DEL", &key]);
    assert_eq!(call.call::<i64>(&client), Ok(2));
}

#[test]
fn a_script_that_is_killed_has_not_run_and_keeps_nothing() {
    everywhere(|server, client, _| {
        let mut raw = Raw::connect(server);
        raw.ok(&["CONFIG", "SET", "lua-time-limit", "1"]);
        let script =
            once("while redis.call('EXISTS', 'stop') == 0 do pcall(function() end) end return 'done'");
        let call = script.prepare().token("t");
        std::thread::scope(|scope| {
            let caller = scope.spawn(|| call.call::<String>(client));
            wait_until("the script is killed", || !raw.cmd(&["SCRIPT", "KILL"]).is_error());
            let error = caller.join().unwrap().unwrap_err();
            assert!(error.message().contains("killed"), "{error}");
        });
        raw.ok(&["SET", "stop", "1"]);
        assert_eq!(call.call::<String>(client), Ok("done".into()));
    });
}

#[test]
fn without_memory_nothing_runs_and_nothing_is_kept() {
    everywhere(|server, client, _| {
        let mut raw = Raw::connect(server);
        let script = once(COUNT);
        let call = script.key("n").token("t");
        let wrapped = client.script_load(&script);
        wrapped.expect("it is loaded while there is memory");
        raw.ok(&["CONFIG", "SET", "maxmemory", "1"]);
        let error = call.call::<i64>(client).unwrap_err();
        assert!(error.message().starts_with("OOM "), "{error}");
        raw.ok(&["CONFIG", "SET", "maxmemory", "0"]);
        assert_eq!(call.call::<i64>(client), Ok(1));
        assert_eq!(call.call::<i64>(client), Ok(1));
    });
}

#[test]
fn a_user_who_may_not_write_tokens_is_told_that_the_call_ran() {
    let server = Server::start();
    Raw::connect(&server).ok(&["ACL", "SETUSER", "clerk", "on", ">secret", "~*", "+@all", "-set"]);
    let url = server.url().replace("redis://", "redis://clerk:secret@");
    let client = client(&url, Protocol::Resp3);
    let error = client.call(&once(COUNT), "n", ()).unwrap_err();
    assert_eq!(error.server_code(), Some("RSRECORD"), "{error}");
    assert!(!error.is_not_executed() && error.message().contains("has run"), "{error}");
    assert_eq!(Raw::connect(&server).ok(&["GET", "n"]).text(), "1");
}

#[test]
fn a_server_that_evicts_tokens_is_told_of_once() {
    everywhere(|server, _, protocol| {
        let events = Arc::new(Mutex::new(Vec::new()));
        let open = || {
            let events = Arc::clone(&events);
            let mut options = Options::default();
            options.protocol(protocol).log(move |event| {
                if event.kind == EventKind::EvictsTokens {
                    events.lock().unwrap().push((event.level, event.message.to_owned()));
                }
            });
            Client::open(&server.url(), &options).expect("a client")
        };
        let mut raw = Raw::connect(server);
        raw.ok(&["CONFIG", "SET", "maxmemory", "1gb"]);
        for (policy, told) in [("noeviction", 0), ("volatile-lru", 1)] {
            raw.ok(&["CONFIG", "SET", "maxmemory-policy", policy]);
            let client = open();
            assert!(client.call(&Script::new(COUNT), "n", ()).is_ok());
            assert_eq!(events.lock().unwrap().len(), 0, "plain scripts have no tokens");
            let infos = calls_of(server, "info");
            for script in [once(COUNT), once("return 1"), once(COUNT)] {
                assert!(client.call(&script, "n", ()).is_ok());
            }
            assert_eq!(calls_of(server, "info"), infos + 2, "asked once, and once by the test itself");
            let found = std::mem::take(&mut *events.lock().unwrap());
            assert_eq!(found.len(), told, "{found:?}");
            assert!(found.iter().all(|(level, text)| *level == LogLevel::Warning && text.contains(policy)));
        }
        // Who may not know is not told, and is served all the same.
        raw.ok(&["ACL", "SETUSER", "clerk", "on", ">secret", "~*", "+@all", "-info"]);
        let url = server.url().replace("redis://", "redis://clerk:secret@");
        let clerk = client(&url, protocol);
        assert!(clerk.call(&once(COUNT), "n", ()).is_ok());
    });
}

#[test]
fn a_call_is_not_sent_again_when_its_token_may_be_forgotten_soon() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let client = client(&proxy.url(), Protocol::Resp3);
    let lifetime = Duration::from_secs(2);
    for (is_late, expected) in [(false, "1"), (true, "2")] {
        let script = Script::new(COUNT).once(&Once::default().lifetime(lifetime)).unwrap();
        client.command("PING").expect("a connection");
        proxy.pause(Way::Replies);
        std::thread::scope(|scope| {
            let caller = scope.spawn(|| script.key("n").call::<u64>(&client));
            let mut raw = Raw::connect(&server);
            wait_until("it has run", || raw.cmd(&["GET", "n"]) == Value::Bulk(expected.into()));
            if is_late {
                std::thread::sleep(lifetime / 2);
            }
            proxy.drop_connections();
            proxy.resume(Way::Replies);
            let end = caller.join().unwrap();
            if is_late {
                let error = end.unwrap_err();
                assert_eq!(error.status(), Status::Indeterminate, "{error}");
            } else if let Err(error) = end {
                // A machine that stood still for a second.
                assert_eq!(error.status(), Status::Indeterminate, "{error}");
            }
        });
        assert_eq!(Raw::connect(&server).ok(&["GET", "n"]).text(), expected);
    }
}

#[test]
fn a_call_whose_token_is_forgotten_while_its_server_is_gone_is_not_sent_again() {
    let server = Server::builder().arg("appendonly", "yes").arg("appendfsync", "no").start();
    let proxy = Proxy::start(server.address());
    let client = client(&proxy.url(), Protocol::Resp3);
    let lifetime = Duration::from_secs(2);
    let script = Script::new(COUNT).once(&Once::default().lifetime(lifetime)).unwrap();
    client.call(&script, "n", ()).expect("a connection");
    proxy.pause(Way::Replies);
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| script.key("n").call::<u64>(&client));
        let mut raw = Raw::connect(&server);
        wait_until("it has run", || raw.cmd(&["GET", "n"]).text() == "2");
        server.kill();
        proxy.drop_connections();
        proxy.resume(Way::Replies);
        std::thread::sleep(lifetime);
        server.restart();
        let error = caller.join().unwrap().unwrap_err();
        assert_eq!(error.status(), Status::Indeterminate, "{error}");
    });
    assert_eq!(Raw::connect(&server).ok(&["GET", "n"]).text(), "2");
}

#[test]
fn a_call_is_sent_again_for_as_long_as_its_server_is_gone() {
    let server = Server::builder().arg("appendonly", "yes").arg("appendfsync", "no").start();
    let proxy = Proxy::start(server.address());
    let client = client(&proxy.url(), Protocol::Resp3);
    let script = once(COUNT);
    client.call(&script, "n", ()).expect("a connection");
    proxy.pause(Way::Replies);
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| script.key("n").call::<u64>(&client));
        let mut raw = Raw::connect(&server);
        wait_until("it has run", || raw.cmd(&["GET", "n"]).text() == "2");
        server.kill();
        let tried = proxy.connections();
        proxy.drop_connections();
        proxy.resume(Way::Replies);
        // Oftener than a call that was never sent.
        wait_until("it tries to connect", || proxy.connections() > tried + 6);
        assert!(!caller.is_finished());
        server.restart();
        assert_eq!(caller.join().unwrap(), Ok(2));
    });
}

/// How many calls a test with lost replies makes in all.
fn calls() -> u64 {
    // RS_SCRIPT_LONG=1: the whole million.
    if std::env::var_os("RS_SCRIPT_LONG").is_some_and(|value| value == "1") { 1_000_000 } else { 3_000 }
}

#[test]
fn a_million_calls_of_which_a_third_lose_their_replies_run_once_each() {
    let server = Server::start();
    let lossy = Lossy::start(server.address());
    // Several, because a client whose connection is lost again and again pauses in between.
    let clients: Vec<Client> = (0..4).map(|_| client(&lossy.url(), Protocol::Resp3)).collect();
    let script = once(COUNT);
    let (all, next) = (calls(), AtomicU64::new(0));
    let values: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|thread| {
                let (client, script, next) = (&clients[thread % 4], &script, &next);
                scope.spawn(move || {
                    let mut values = Vec::new();
                    while next.fetch_add(1, Ordering::SeqCst) < all {
                        let value = script.key("n").call::<u64>(client);
                        values.push(value.expect("a reply, and never a question"));
                    }
                    assert!(values.is_sorted(), "in order");
                    values
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(Raw::connect(&server).ok(&["GET", "n"]).text(), all.to_string());
    let distinct: HashSet<u64> = values.iter().copied().collect();
    assert_eq!((values.len() as u64, distinct.len() as u64), (all, all), "every value once");
    // What ran and what was a repeat look the same to the server: each is a call of the script.
    let repeats = calls_of(&server, "evalsha") + calls_of(&server, "eval") - all;
    println!("{all} calls, {} connections cut, {repeats} of {} replies lost", lossy.cuts(), all + repeats);
    assert!(repeats > (all + repeats) / 4, "about a third of the replies is lost: {repeats}");
}
