//! A server alone, in both protocols.

use std::thread;

use rs_script::{Client, Error, FlushMode, Kind, Library, Once, Protocol, Script, Status};

use crate::report::Found::{self, No, Otherwise, Yes};
use crate::report::{Scenario, Setting, names, run};
use crate::support::calls::{COUNT, LONG, MULTIPLY, NONE, options, round_trips, shown};
use crate::support::raw::{Raw, Value, calls_of};
use crate::support::server::Server;
use crate::support::wait_until;
use crate::version::Version;

pub const SETTING: Setting = Setting {
    name: "One server, RESP2 and RESP3",
    features: || names(SCENARIOS),
    run: |version, found| run(|| Ground::start(version), SCENARIOS, found),
};

const SCENARIOS: &[Scenario<Ground>] = &[
    ("Scripts, loaded again after SCRIPT FLUSH", scripts),
    ("Replies of every type", types),
    ("Pipelines in one round trip", pipelines),
    ("Transactions in one round trip", transactions),
    ("Read-only calls", read_only),
    ("Flags in a script's first line", flags),
    ("Functions of pinned libraries", pinned),
    ("Functions of named libraries", named),
    ("Scripts as Functions", as_functions),
    ("Scripts once per token", once),
    ("Functions once per token", once_functions),
    ("Stopping a script", kill_script),
    ("Stopping a Function", kill_function),
    ("A user without SCRIPT LOAD", without_load),
    ("Scripts: load, exists, flush", administration),
    ("Scripts: show", show),
    ("Libraries: load, deploy, check, list, prune", libraries),
];

pub const NO_FUNCTIONS: &str = "There are no Functions: `RS_ERR_NOT_SUPPORTED`, and nothing has run";
pub const FALLS_BACK: &str = "There is no EVALSHA_RO: EVALSHA on the primary, and a write is not stopped";

pub struct Ground {
    pub version: &'static Version,
    server: Server,
}

impl Ground {
    fn start(version: &'static Version) -> Ground {
        let server = Server::builder().binary(version.binary).arg("lua-time-limit", "50").start();
        Ground { version, server }
    }

    /// Runs `body` over RESP2 and RESP3, each time on an empty server.
    fn each(&self, body: impl Fn(&Server, &Client, Protocol)) {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let mut raw = Raw::connect(&self.server);
            raw.ok(&["FLUSHALL"]);
            raw.ok(&["SCRIPT", "FLUSH"]);
            if self.version.has_functions {
                raw.ok(&["FUNCTION", "FLUSH"]);
            }
            let mut options = options(LONG);
            options.protocol(protocol);
            body(&self.server, &Client::open(&self.server.url(), &options).expect("a client"), protocol);
        }
    }
}

#[track_caller]
pub fn assert_not_executed(error: &Error, status: Status) {
    assert_eq!(error.status(), status, "{error}");
    assert!(error.is_not_executed() && !error.is_indeterminate(), "{error}");
}

pub fn source(version: u32) -> String {
    format!(
        "#!lua name=lib
redis.register_function('count', function(keys) return redis.call('INCR', keys[1]) end)
redis.register_function('version', function() return {version} end)
redis.register_function{{
    function_name='get', callback=function(keys) return redis.call('GET', keys[1]) end, flags={{'no-writes'}}}}"
    )
}

fn scripts(ground: &Ground) -> Found {
    ground.each(|server, client, _| {
        let before = calls_of(server, "eval");
        let script = Script::new(COUNT);
        for expected in 1..=3 {
            let (reply, trips) = round_trips(client, || client.call(&script, "n", NONE).unwrap());
            assert_eq!((reply.as_i64(), trips), (Some(expected), 1));
        }
        assert_eq!(client.stats().script_loads, 1);
        Raw::connect(server).ok(&["SCRIPT", "FLUSH"]);
        assert_eq!(client.call(&script, "n", NONE).unwrap().as_i64(), Some(4));
        assert_eq!(client.stats().noscript_repairs, 1);
        assert_eq!(calls_of(server, "eval"), before);
        let error = client.call(&Script::new("return return"), NONE, NONE).unwrap_err();
        assert_not_executed(&error, Status::Compile);
        let forges = Script::new(
            "redis.call('INCR', KEYS[1])
            return redis.error_reply('NOSCRIPT No matching script')",
        );
        let error = client.call(&forges, "n", NONE).unwrap_err();
        assert!(!error.is_not_executed(), "{error}");
        assert_eq!(Raw::connect(server).ok(&["GET", "n"]).text(), "5");
    });
    Yes
}

fn types(ground: &Ground) -> Found {
    ground.each(|_, client, protocol| {
        let script = Script::new(
            "redis.setresp(3)
            return {1, 'two', {redis.status_reply('THREE')}, redis.error_reply('FOUR x'), false,
                {double=1.5}, {map={k='v'}}, {set={m=true}}, true}",
        );
        let reply = client.call(&script, NONE, NONE).unwrap();
        let kinds: Vec<Kind> = reply.root().elements().map(|element| element.kind()).collect();
        let same = [Kind::Integer, Kind::String, Kind::Array, Kind::Error];
        let rest = match protocol {
            Protocol::Resp3 => [Kind::Boolean, Kind::Double, Kind::Map, Kind::Set, Kind::Boolean],
            _ => [Kind::Integer, Kind::String, Kind::Array, Kind::Array, Kind::Integer],
        };
        assert_eq!(kinds, [&same[..], &rest].concat(), "{reply:?}");
    });
    Yes
}

fn pipelines(ground: &Ground) -> Found {
    ground.each(|server, client, _| {
        let (count, multiply) = (Script::new(COUNT), Script::new(MULTIPLY));
        for (round, value) in ["cold", "warm", "flushed"].into_iter().zip(1..) {
            if round == "flushed" {
                client.script_flush(FlushMode::Sync).unwrap();
            }
            let mut pipeline = client.pipeline();
            pipeline.script(&count, "n", NONE).unwrap().command(("GET", "n")).unwrap();
            pipeline.script(&multiply, "n", 10).unwrap();
            let (replies, trips) = round_trips(client, || pipeline.exec().unwrap());
            let expected = format!(r#"Array[{value}, String("{value}"), {}]"#, value * 10);
            assert_eq!((shown(&replies), trips), (expected, 1), "{round}");
        }
        Raw::connect(server).ok(&["SCRIPT", "FLUSH"]);
        let mut pipeline = client.pipeline();
        pipeline.script(&count, "n", NONE).unwrap().script(&count, "m", NONE).unwrap();
        assert_eq!(shown(&pipeline.exec().unwrap()), "Array[4, 1]");
    });
    Yes
}

fn transactions(ground: &Ground) -> Found {
    ground.each(|server, client, _| {
        let count = Script::new(COUNT);
        for (expected, value) in [(2, 1), (1, 3), (1, 5)] {
            let mut transaction = client.transaction();
            transaction.script(&count, "n", NONE).unwrap().command(("INCR", "n")).unwrap();
            let (replies, trips) = round_trips(client, || transaction.exec().unwrap());
            let replies_expected = format!("Array[{value}, {}]", value + 1);
            assert_eq!((shown(&replies), trips), (replies_expected, expected));
            Raw::connect(server).ok(&["SCRIPT", "FLUSH"]);
        }
        let mut transaction = client.transaction();
        transaction.command(("INCR", "n")).unwrap();
        transaction.script(&Script::new("return return"), NONE, NONE).unwrap();
        assert_not_executed(&transaction.exec().unwrap_err(), Status::Compile);
        assert_eq!(Raw::connect(server).ok(&["GET", "n"]).text(), "6");
    });
    Yes
}

fn read_only(ground: &Ground) -> Found {
    let has_read_only = ground.version.has_read_only;
    ground.each(|server, client, _| {
        let calls = || ["evalsha_ro", "evalsha"].map(|command| calls_of(server, command));
        let [before_ro, before] = calls();
        Raw::connect(server).ok(&["SET", "k", "v"]);
        let read = Script::new("return redis.call('GET', KEYS[1])");
        assert_eq!(client.call_read_only(&read, "k", NONE).unwrap().as_str(), Some("v"));
        let mut pipeline = client.pipeline();
        pipeline.script_read_only(&read, &["k"], &NONE).unwrap();
        assert_eq!(shown(&pipeline.exec().unwrap()), r#"Array[String("v")]"#);
        assert_eq!(calls(), if has_read_only { [before_ro + 2, before] } else { [before_ro, before + 2] });
        let write = Script::new("return redis.call('SET', KEYS[1], 'changed')");
        let written = client.call_read_only(&write, "k", NONE);
        if has_read_only {
            let error = written.unwrap_err();
            assert_eq!(error.status(), Status::Server, "{error}");
        } else {
            assert_eq!(written.unwrap().as_str(), Some("OK"));
        }
    });
    if has_read_only { Yes } else { Otherwise(FALLS_BACK) }
}

fn flags(ground: &Ground) -> Found {
    let knows = ground.version.has_read_only;
    ground.each(|server, client, _| {
        Raw::connect(server).ok(&["SET", "k", "v"]);
        let script = Script::new("#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])");
        let writes = Script::new("#!lua flags=no-writes\nreturn redis.call('SET', KEYS[1], 'w')");
        if knows {
            assert_eq!(client.call(&script, "k", NONE).unwrap().as_str(), Some("v"));
            assert_eq!(client.call_read_only(&script, "k", NONE).unwrap().as_str(), Some("v"));
            let error = client.call(&writes, "k", NONE).unwrap_err();
            assert_eq!(error.status(), Status::Server, "{error}");
        } else {
            let error = client.call(&script, "k", NONE).unwrap_err();
            assert_not_executed(&error, Status::Compile);
        }
        assert_eq!(Raw::connect(server).ok(&["GET", "k"]).text(), "v");
    });
    if knows { Yes } else { No("Such a script does not compile: `RS_ERR_COMPILE`, and nothing has run") }
}

/// What a caller gets where there are no Functions, in each form.
fn no_functions(server: &Server, client: &Client, function: &Script) {
    assert_not_executed(&client.call(function, "n", NONE).unwrap_err(), Status::NotSupported);
    let mut transaction = client.transaction();
    transaction.command(("INCR", "n")).unwrap().script(function, "n", NONE).unwrap();
    assert_not_executed(&transaction.exec().unwrap_err(), Status::NotSupported);
    let mut pipeline = client.pipeline();
    pipeline.command("PING").unwrap().script(function, "n", NONE).unwrap();
    let replies = pipeline.exec().unwrap();
    assert_eq!(replies.get(0).and_then(|reply| reply.as_str()), Some("PONG"));
    let error = replies.get(1).and_then(|reply| reply.as_error()).expect("an error");
    assert_not_executed(&error, Status::NotSupported);
    assert_eq!(Raw::connect(server).ok(&["EXISTS", "n"]).integer(), 0);
}

fn pinned(ground: &Ground) -> Found {
    functions(ground, &Library::pinned(source(1)).unwrap())
}

fn named(ground: &Ground) -> Found {
    functions(ground, &Library::named(source(1)).unwrap())
}

fn functions(ground: &Ground, library: &Library) -> Found {
    let has_functions = ground.version.has_functions;
    let [count, get] = ["count", "get"].map(|name| library.function(name).unwrap());
    ground.each(|server, client, _| {
        if !has_functions {
            no_functions(server, client, &count);
            return;
        }
        for expected in 1..=2 {
            assert_eq!(client.call(&count, "n", NONE).unwrap().as_i64(), Some(expected));
            Raw::connect(server).ok(&["FUNCTION", "FLUSH"]);
        }
        assert_eq!(client.call_read_only(&get, "n", NONE).unwrap().as_str(), Some("2"));
        let error = client.call_read_only(&count, "n", NONE).unwrap_err();
        assert!(error.message().to_lowercase().contains("write"), "{error}");
        for mut batch in [client.pipeline(), client.transaction()] {
            batch.script(&count, "n", NONE).unwrap().command(("DECR", "n")).unwrap();
            batch.script(&get, "n", NONE).unwrap();
            assert_eq!(shown(&batch.exec().unwrap()), r#"Array[3, 2, String("2")]"#);
        }
    });
    if has_functions { Yes } else { No(NO_FUNCTIONS) }
}

fn as_functions(ground: &Ground) -> Found {
    let has_functions = ground.version.has_functions;
    ground.each(|server, client, _| {
        let fcalls = calls_of(server, "fcall");
        let add = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])").as_function();
        for expected in [5, 10] {
            assert_eq!(client.call(&add, "n", 5).unwrap().as_i64(), Some(expected));
        }
        let mut transaction = client.transaction();
        transaction.script(&add, "n", 1).unwrap().command(("GET", "n")).unwrap();
        assert_eq!(shown(&transaction.exec().unwrap()), r#"Array[11, String("11")]"#);
        assert_eq!(calls_of(server, "fcall") - fcalls, if has_functions { 3 } else { 0 });
    });
    if has_functions { Yes } else { Otherwise("There are no Functions: called as the script that it is") }
}

fn once(ground: &Ground) -> Found {
    ground.each(|server, client, _| {
        let script = Script::new(COUNT).once(&Once::default()).unwrap();
        let call = script.key("n").token("job");
        for _ in 0..2 {
            assert_eq!(call.call::<u64>(client), Ok(1));
            Raw::connect(server).ok(&["SCRIPT", "FLUSH"]);
        }
        assert_eq!(script.key("n").call::<u64>(client), Ok(2));
        let error = script.key("n").arg("other").token("job").call::<u64>(client).unwrap_err();
        assert_not_executed(&error, Status::TokenMismatch);
        let mut transaction = client.transaction();
        transaction.script(&script, "n", NONE).unwrap().token("all").unwrap();
        assert_eq!(shown(&transaction.exec().unwrap()), "Array[3]");
        transaction.script(&script, "n", NONE).unwrap().token("all").unwrap();
        assert_eq!(shown(&transaction.exec().unwrap()), "Array[3]");
    });
    Yes
}

fn once_functions(ground: &Ground) -> Found {
    let has_functions = ground.version.has_functions;
    let library = Library::pinned(source(1)).unwrap().once(&Once::default()).unwrap();
    let count = library.function("count").unwrap();
    ground.each(|server, client, _| {
        if !has_functions {
            no_functions(server, client, &count);
            return;
        }
        for _ in 0..2 {
            assert_eq!(count.key("n").token("job").call::<u64>(client), Ok(1));
            Raw::connect(server).ok(&["FUNCTION", "FLUSH"]);
        }
        assert_eq!(count.key("n").call::<u64>(client), Ok(2));
    });
    if has_functions { Yes } else { No(NO_FUNCTIONS) }
}

/// Stops what `endless` runs, and says whether that was a Function.
fn kill(server: &Server, client: &Client, endless: impl FnOnce() -> Error + Send) -> bool {
    assert_eq!(client.kill().unwrap_err().server_code(), Some("NOTBUSY"));
    thread::scope(|scope| {
        let caller = scope.spawn(endless);
        let mut raw = Raw::connect(server);
        wait_until(
            "the server is busy",
            || matches!(raw.cmd(&["PING"]), Value::Error(text) if text.starts_with("BUSY")),
        );
        let killed = client.kill().unwrap();
        let error = caller.join().unwrap();
        assert!(error.message().to_lowercase().contains("killed"), "{error}");
        killed[0].is_function
    })
}

fn kill_script(ground: &Ground) -> Found {
    let endless = Script::new("while true do end");
    ground.each(|server, client, _| {
        let is_function = kill(server, client, || client.call(&endless, NONE, NONE).unwrap_err());
        assert!(!is_function);
    });
    Yes
}

fn kill_function(ground: &Ground) -> Found {
    let has_functions = ground.version.has_functions;
    let source = "#!lua name=lib\nredis.register_function('spin', function() while true do end end)";
    let endless = Library::pinned(source).unwrap().function("spin").unwrap();
    ground.each(|server, client, _| {
        if has_functions {
            assert!(kill(server, client, || client.call(&endless, NONE, NONE).unwrap_err()));
        } else {
            no_functions(server, client, &endless);
        }
    });
    if has_functions { Yes } else { No(NO_FUNCTIONS) }
}

fn without_load(ground: &Ground) -> Found {
    // 6.2 knows no rules for subcommands.
    let rule = if ground.version.has_read_only { "-script|load" } else { "-script" };
    ground.each(|server, _, protocol| {
        Raw::connect(server).ok(&["ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", rule]);
        let mut options = options(LONG);
        options.protocol(protocol);
        let client = Client::open(&format!("redis://u:p@{}", server.address()), &options).unwrap();
        for expected in 1..=2 {
            assert_eq!(client.call(&Script::new(COUNT), "n", NONE).unwrap().as_i64(), Some(expected));
        }
    });
    Otherwise("EVAL with the body")
}

fn administration(ground: &Ground) -> Found {
    ground.each(|_, client, _| {
        let script = Script::new("return 'administered'");
        client.script_load(&script).unwrap();
        let exists = || client.script_exists(&[script.sha_hex(), &"0".repeat(40)]).unwrap();
        assert_eq!(exists(), [true, false]);
        client.script_flush(FlushMode::Async).unwrap();
        assert_eq!(exists(), [false, false]);
        assert_eq!(client.script_kill().unwrap_err().server_code(), Some("NOTBUSY"));
    });
    Yes
}

fn show(ground: &Ground) -> Found {
    let has_show = ground.version.has_show;
    ground.each(|_, client, _| {
        let script = Script::new("return 'shown'");
        client.script_load(&script).unwrap();
        let shown = client.script_show(script.sha_hex());
        if has_show {
            assert_eq!(shown.unwrap().expect("a script").as_bytes(), Some(script.source()));
            assert!(client.script_show("0".repeat(40)).unwrap().is_none());
        } else {
            assert_not_executed(&shown.unwrap_err(), Status::NotSupported);
        }
    });
    if has_show { Yes } else { No("There is no SCRIPT SHOW: `RS_ERR_NOT_SUPPORTED`") }
}

fn libraries(ground: &Ground) -> Found {
    let has_functions = ground.version.has_functions;
    ground.each(|_, client, _| {
        let [old, new] = [1, 2].map(|version| Library::named(source(version)).unwrap());
        let [first, second] = [1, 2].map(|version| Library::pinned(source(version)).unwrap());
        let said = |reply: rs_script::Result<rs_script::Reply>| reply.map(|reply| shown(&reply));
        if !has_functions {
            for result in [
                client.library_load(&first),
                client.library_deploy(&new),
                client.library_check(&new),
                client.library_list(),
                client.library_prune(&[&second]),
            ] {
                let error = result.unwrap_err();
                assert!(error.is_not_executed(), "{error}");
                assert_eq!(error.status(), Status::NotSupported, "{error}");
            }
            return;
        }
        for library in [&old, &first, &second] {
            assert!(said(client.library_load(library)).unwrap().contains("loaded"));
        }
        assert!(said(client.library_check(&new)).unwrap().contains("different"));
        assert!(said(client.library_deploy(&new)).unwrap().contains("same"));
        assert_eq!(new.function("version").unwrap().call::<u64>(client), Ok(2));
        let removed = said(client.library_prune(&[&second])).unwrap();
        assert!(removed.contains(first.name()) && !removed.contains(second.name()), "{removed}");
        let listed = said(client.library_list()).unwrap();
        assert!(listed.contains(second.name()) && !listed.contains(first.name()), "{listed}");
    });
    if has_functions { Yes } else { No(NO_FUNCTIONS) }
}
