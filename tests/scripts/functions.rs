//! Functions of libraries: loaded with the call, side by side in versions, loaded again when the server has
//! lost them.

use crate::support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rs_script::{Client, Error, Library, Queue, Script, Status};
use support::OnDrop;
use support::calls::{LONG, NONE, client, options, round_trips, shown, take};
use support::fake::Fake;
use support::flushes::count_under_flushes;
use support::proxy::{Proxy, Way};
use support::raw::{Raw, calls_of};
use support::server::{Binary, Server, all_versions};

/// Counts, gives, forges, and tells which version it is.
fn source(version: u32) -> String {
    format!(
        "#!lua name=lib
redis.register_function('count', function(keys, args) return redis.call('INCR', keys[1]) end)
redis.register_function{{function_name='get', \
    callback=function(keys) return redis.call('GET', keys[1]) end, flags={{'no-writes'}}}}
redis.register_function('version', function() return {version} end)
redis.register_function('forge', function(keys, args) redis.call('INCR', keys[1]) return redis.error_reply(args[1]) end)
redis.register_function('fail', function(keys, args)
    return redis.call('NO-SUCH-COMMAND')
end)"
    )
}

fn pinned() -> Library {
    Library::pinned(source(1)).unwrap()
}

fn named() -> Library {
    Library::named(source(1)).unwrap()
}

fn function(library: &Library, name: &str) -> Script {
    library.function(name).unwrap()
}

fn count(server: &Server, key: &str) -> i64 {
    Raw::connect(server).ok(&["INCRBY", key, "0"]).integer()
}

fn flush(server: &Server) {
    Raw::connect(server).ok(&["FUNCTION", "FLUSH"]);
}

#[track_caller]
fn assert_not_executed(error: &Error, status: Status) {
    assert_eq!(error.status(), status, "{error}");
    assert!(error.is_not_executed() && !error.is_indeterminate(), "{error}");
}

#[test]
fn the_first_call_costs_one_write_and_later_calls_one_command() {
    let server = Server::start();
    let proxy = Proxy::start(("127.0.0.1", server.port()));
    let client = Client::open(&proxy.url(), &options(LONG)).unwrap();
    for library in [pinned(), named()] {
        let (counter, version) = (function(&library, "count"), function(&library, "version"));
        let before = (client.stats(), proxy.reads(Way::Requests), calls_of(&server, "fcall"));
        for (call, loads) in [(1, 1), (2, 0), (3, 0)] {
            let (stats, reads) = (client.stats(), proxy.reads(Way::Requests));
            let reply = client.call(&counter, &[library.name()], NONE).unwrap();
            assert_eq!(reply.as_i64(), Some(call));
            let after = client.stats();
            assert_eq!(after.round_trips - stats.round_trips, 1);
            assert_eq!(proxy.reads(Way::Requests) - reads, 1, "one piece reached the server's side");
            assert_eq!(after.script_loads - stats.script_loads, loads);
        }
        // Its other functions came with it.
        assert_eq!(client.call(&version, NONE, NONE).unwrap().as_i64(), Some(1));
        assert_eq!(client.stats().script_loads - before.0.script_loads, 1);
        assert_eq!(calls_of(&server, "fcall") - before.2, 4);
    }
    assert_eq!(client.stats().noscript_repairs, 0);
    // Another client finds it there.
    let other = support::calls::client(&server);
    let (reply, trips) =
        round_trips(&other, || other.call(&function(&pinned(), "version"), NONE, NONE).unwrap());
    assert_eq!((reply.as_i64(), trips), (Some(1), 1));
}

#[test]
fn a_library_is_parsed_where_it_is_made() {
    for (source, words) in [
        ("", "does not begin with #!"),
        ("return 1", "does not begin with #!"),
        ("#!\nx", "names no engine"),
        ("#!lua\nx", "has no name"),
        ("#!lua name=\nx", "letters, digits"),
        ("#!lua name=a-b\nx", "letters, digits"),
        ("#!lua name=a name=b\nx", "two names"),
        ("#!lua name=a flags=no-writes\nx", "more than a name"),
    ] {
        for error in [Library::pinned(source).unwrap_err(), Library::named(source).unwrap_err()] {
            assert_eq!(error.status(), Status::InvalidArgument, "{source}: {error}");
            assert!(error.message().contains(words), "{source}: {error}");
        }
    }
    let error = Library::pinned("#!js name=a\nx").unwrap_err();
    assert!(error.message().contains("only Lua"), "{error}");
    assert_eq!(Library::named("#!js name=a\nx").unwrap().name(), "a");
    for name in ["", "a b", "a-b", "a\0", "\u{e4}"] {
        assert_eq!(pinned().function(name).unwrap_err().status(), Status::InvalidArgument, "{name:?}");
    }
}

#[test]
fn two_versions_live_side_by_side() {
    let server = Server::start();
    let client = client(&server);
    let libraries: Vec<_> = (1..=3).map(|version| Library::pinned(source(version)).unwrap()).collect();
    for _ in 0..2 {
        for (number, library) in libraries.iter().enumerate() {
            assert!(library.name().starts_with("lib_"), "{}", library.name());
            let version = client.call(&function(library, "version"), NONE, NONE).unwrap();
            assert_eq!(version.as_i64(), Some(number as i64 + 1));
        }
    }
    assert_eq!(calls_of(&server, "function|load"), 3);
}

#[test]
fn after_a_flush_from_outside_a_call_repairs_itself_once() {
    for library in [pinned(), named()] {
        let server = Server::start();
        let client = client(&server);
        let (counter, version) = (function(&library, "count"), function(&library, "version"));
        let script = Script::new("return 1");
        client.call(&script, NONE, NONE).unwrap();
        for expected in 1..=3 {
            let before = client.stats();
            assert_eq!(client.call(&counter, &["n"], NONE).unwrap().as_i64(), Some(expected));
            let after = client.stats();
            assert_eq!(after.noscript_repairs - before.noscript_repairs, u64::from(expected > 1));
            flush(&server);
        }
        client.call(&counter, &["n"], NONE).unwrap();
        let before = client.stats();
        client.call(&version, NONE, NONE).unwrap();
        client.call(&script, NONE, NONE).unwrap();
        let after = client.stats();
        assert_eq!(after.noscript_repairs, before.noscript_repairs);
        assert_eq!(after.script_loads, before.script_loads, "scripts stay when libraries go");
        Raw::connect(&server).ok(&["SCRIPT", "FLUSH"]);
        client.call(&script, NONE, NONE).unwrap();
        assert_eq!(client.stats().script_loads - after.script_loads, 1);
        client.call(&version, NONE, NONE).unwrap();
        assert_eq!(client.stats().script_loads - after.script_loads, 1, "libraries stay when scripts go");
        assert_eq!(count(&server, "n"), 4);
    }
}

/// A server that takes every library, and has none of their functions outside of a transaction.
#[test]
fn a_library_lost_again_right_after_it_was_loaded_comes_in_a_transaction_with_the_call() {
    let library = pinned();
    let name = library.name().to_owned();
    let fake = Fake::start(move |conn| {
        let mut next = conn.handshake();
        let mut words = Vec::new();
        let mut in_multi = false;
        while let Some(command) = next {
            let word = String::from_utf8_lossy(&command[0]).into_owned();
            words.push(word.clone());
            match word.as_str() {
                "MULTI" => {
                    in_multi = true;
                    conn.write(b"+OK\r\n");
                }
                "EXEC" => {
                    in_multi = false;
                    let said = words.join(" ");
                    let text = format!(
                        "*2\r\n-ERR Library '{name}' already exists\r\n${}\r\n{said}\r\n",
                        said.len()
                    );
                    conn.write(text.as_bytes());
                }
                _ if in_multi => conn.write(b"+QUEUED\r\n"),
                "FUNCTION" => conn.write(format!("${}\r\n{name}\r\n", name.len()).as_bytes()),
                "FCALL" => conn.write(b"-ERR Function not found\r\n"),
                other => panic!("{other}"),
            }
            next = conn.read_command();
        }
    });
    let client = Client::open(&fake.url(), &options(LONG)).unwrap();
    let (reply, trips) =
        round_trips(&client, || client.call(&function(&library, "count"), &["n"], NONE).unwrap());
    let twice = "FUNCTION FCALL FUNCTION FCALL MULTI FUNCTION FCALL EXEC";
    assert!(reply.as_str().unwrap().ends_with(twice), "{reply:?}");
    assert_eq!(trips, 3);
    // The library is known to be there by EXEC's own reply, and the first call that misses it loads it again.
    let reply = client.call(&function(&library, "count"), &["n"], NONE).unwrap();
    assert!(
        reply.as_str().unwrap().ends_with(&format!("{twice} FCALL FUNCTION FCALL MULTI FUNCTION FCALL EXEC")),
        "{reply:?}"
    );
}

#[test]
fn eight_threads_run_exactly_once_under_flushes_without_end() {
    let server = Server::start();
    let client = client(&server);
    count_under_flushes(&server, &client, (&["FUNCTION", "FLUSH"], 300), |thread| {
        let library = Library::pinned(source((thread % 2) as u32)).unwrap();
        let (counter, version) = (function(&library, "count"), function(&library, "version"));
        let client = &client;
        move || {
            let told = client.call(&version, NONE, NONE).unwrap();
            assert_eq!(told.as_i64(), Some(thread % 2));
            client.call(&counter, &["n"], NONE).unwrap().as_i64().unwrap()
        }
    });
}

#[test]
fn a_library_that_does_not_load_says_so_at_every_call() {
    let server = Server::start();
    let client = client(&server);
    Raw::connect(&server).ok(&[
        "FUNCTION",
        "LOAD",
        "#!lua name=other\nredis.register_function('taken', function() return 1 end)",
    ]);
    for (source, words) in [
        ("#!lua name=a\nreturn return", "compiling"),
        ("#!lua name=a\nlocal x = 1", "No functions registered"),
        ("#!lua name=a\nno_such_function()", "registering"),
        ("#!lua name=a\n", "No functions registered"),
    ] {
        for library in [Library::pinned(source).unwrap(), Library::named(source).unwrap()] {
            for _ in 0..2 {
                let error = client.call(&function(&library, "f"), NONE, NONE).unwrap_err();
                assert_not_executed(&error, Status::Compile);
                assert!(error.message().contains(words), "{error}");
            }
        }
    }
    let clash = "#!lua name=a\nredis.register_function('taken', function() return 2 end)\n\
                 redis.register_function('own', function() return 3 end)";
    let error = client.call(&function(&Library::named(clash).unwrap(), "own"), NONE, NONE).unwrap_err();
    assert_not_executed(&error, Status::Compile);
    assert!(error.message().contains("already exists"), "{error}");
    // A digest in each name: nothing to clash with.
    let library = Library::pinned(clash).unwrap();
    assert_eq!(client.call(&function(&library, "taken"), NONE, NONE).unwrap().as_i64(), Some(2));
}

#[test]
fn a_function_that_the_library_lacks_says_so_and_was_not_executed() {
    let server = Server::start();
    let client = client(&server);
    for library in [pinned(), named()] {
        for _ in 0..2 {
            let error = client.call(&function(&library, "nothing"), &["n"], NONE).unwrap_err();
            assert_not_executed(&error, Status::NoFunction);
            assert!(error.message().contains("does not register"), "{error}");
            assert_eq!(error.server_text(), Some(&b"ERR Function not found"[..]));
        }
        assert_eq!(client.call(&function(&library, "version"), NONE, NONE).unwrap().as_i64(), Some(1));
        // Another version of a named library is there.
        if !library.is_pinned() {
            let newer = source(1).replace("'version'", "'versio'");
            let newer = Library::named(newer).unwrap();
            let error = client.call(&function(&newer, "versio"), NONE, NONE).unwrap_err();
            assert_not_executed(&error, Status::NoFunction);
        }
    }
}

#[test]
fn a_forged_error_never_makes_a_function_run_twice() {
    let server = Server::start();
    let client = client(&server);
    let mut runs = 0;
    for library in [pinned(), named()] {
        let forge = function(&library, "forge");
        for forgery in [
            "ERR Function not found",
            "NOSCRIPT No matching script. Please use EVAL.",
            "ERR unknown command 'FCALL', with args beginning with: 'forge' ",
            "NOPERM this user has no permissions to run the 'fcall' command",
            "MOVED 1 127.0.0.1:1",
            "LOADING Redis is loading the dataset in memory",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "READONLY You can't write against a read only replica.",
        ] {
            let error = client.call(&forge, &["n"], &[forgery]).unwrap_err();
            runs += 1;
            assert_eq!(count(&server, "n"), runs, "{forgery}");
            let may_be_told = !library.is_pinned() && forgery.starts_with("OOM");
            assert!(!error.is_not_executed() || may_be_told, "{forgery}: {error}");
            if library.is_pinned() {
                assert_eq!(error.status(), Status::Server, "{error}");
                let text = String::from_utf8_lossy(error.server_text().unwrap());
                assert_eq!(text, format!("{forgery} script: rs"));
            } else if forgery == "ERR Function not found" {
                assert!(error.is_indeterminate(), "{error}");
            }
        }
    }
}

/// A server ends an error at its first NUL, and would not send a mark that is behind that.
#[test]
fn a_nul_in_an_error_hides_no_mark() {
    let body = "redis.call('INCR', keys[1]) return {err = args[1]}";
    let library =
        format!("#!lua name=lib\nredis.register_function('forge', function(keys, args) {body} end)");
    let forge = function(&Library::pinned(library).unwrap(), "forge");
    let script = Script::new(body.replace("keys", "KEYS").replace("args", "ARGV")).as_function();
    for binary in all_versions().filter(|&binary| binary != Binary::Redis62) {
        let server = Server::builder().binary(binary).start();
        let client = client(&server);
        let mut runs = 0;
        for script in [&forge, &script] {
            for forgery in ["ERR Function not found", "READONLY You can't write against a read only replica."]
            {
                let error = client.call(script, &["n"], &[format!("{forgery}\0 or not")]).unwrap_err();
                runs += 1;
                assert_eq!(count(&server, "n"), runs, "{binary:?}: {forgery}");
                assert!(!error.is_not_executed() && error.message().contains("script: rs"), "{error}");
            }
        }
    }
}

/// Why another call's library was not taken is no word on one that a transaction has brought and that somebody has
/// removed since: its function may have said so itself.
#[test]
fn what_another_call_could_not_load_proves_nothing_of_a_transaction_that_did() {
    const MISSING: &str = "-ERR Function not found\r\n";
    const NO_NUMBER: &str = "-ERR Bad number of keys provided\r\n";
    const REFUSED: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    let server = Fake::start(|conn| {
        let Some(mut command) = conn.handshake() else { return };
        for (names, replies) in [
            (&["FUNCTION", "FCALL"][..], "$3\r\nlib\r\n:1\r\n".to_owned()),
            (
                &["FCALL", "MULTI", "FUNCTION", "FCALL", "EXEC"],
                format!("{MISSING}+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n$3\r\nlib\r\n{MISSING}"),
            ),
            // Both are asked about, one behind the other.
            (
                &["FUNCTION", "FCALL", "FUNCTION", "FUNCTION", "FCALL", "FUNCTION"],
                format!(
                    "{REFUSED}{NO_NUMBER}{REFUSED}$3\r\nlib\r\n{NO_NUMBER}-ERR Library 'lib' already exists\r\n"
                ),
            ),
        ] {
            for (at, name) in names.iter().enumerate() {
                assert_eq!(String::from_utf8_lossy(&command[0]), *name, "{names:?}");
                if at + 1 == names.len() {
                    conn.write(replies.as_bytes());
                }
                match conn.read_command() {
                    Some(next) => command = next,
                    None => return,
                }
            }
        }
    });
    let client = Client::open(&server.url(), &options(LONG)).unwrap();
    let count = function(&named(), "count");
    client.call(&count, &["n"], NONE).unwrap();
    let queue = Queue::new(10).unwrap();
    let mut transaction = client.transaction();
    transaction.script(&count, &["n"], &NONE).unwrap();
    client.submit(&queue, 1, &count, &["n"], &NONE).unwrap();
    transaction.submit(&queue, 2).unwrap();
    for completion in take(&queue, 2) {
        let error = match completion.result {
            Ok(replies) => replies.get(0).and_then(|item| item.as_error()).expect("an error"),
            Err(error) => error,
        };
        assert!(error.is_indeterminate() && !error.is_not_executed(), "{}: {error}", completion.tag);
    }
}

#[test]
fn errors_tell_the_line_that_was_written() {
    let server = Server::start();
    let client = client(&server);
    let error = client.call(&function(&pinned(), "fail"), NONE, NONE).unwrap_err();
    assert!(error.message().contains("user_function:7") && !error.is_not_executed(), "{error}");
}

#[test]
fn read_only_calls_read_and_never_write() {
    let server = Server::start();
    let client = client(&server);
    Raw::connect(&server).ok(&["SET", "k", "v"]);
    for library in [pinned(), named()] {
        let reply = client.call_read_only(&function(&library, "get"), &["k"], NONE).unwrap();
        assert_eq!(reply.as_str(), Some("v"));
        // Whether one may be called so, the server says.
        let error = client.call_read_only(&function(&library, "count"), &["n"], NONE).unwrap_err();
        assert_not_executed(&error, Status::Server);
        assert!(error.message().contains("*_ro"), "{error}");
        flush(&server);
        let reply = client.call_read_only(&function(&library, "get"), &["k"], NONE).unwrap();
        assert_eq!(reply.as_str(), Some("v"));
    }
    assert_eq!(calls_of(&server, "fcall"), 0);
}

#[test]
fn where_loading_is_forbidden_functions_are_called_alone() {
    let server = Server::start();
    let mut admin = Raw::connect(&server);
    admin.ok(&["ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "-function"]);
    let limited = Client::open(&format!("redis://u:p@127.0.0.1:{}", server.port()), &options(LONG)).unwrap();
    let library = pinned();
    let counter = function(&library, "count");
    for _ in 0..2 {
        let error = limited.call(&counter, &["n"], NONE).unwrap_err();
        assert_not_executed(&error, Status::NoFunction);
        assert!(error.message().contains("NOPERM"), "{error}");
    }
    let mut transaction = limited.transaction();
    transaction.script(&counter, &["n"], &NONE).unwrap();
    let error = transaction.exec().unwrap_err();
    assert_not_executed(&error, Status::NoFunction);
    // Somebody else brings it.
    let full = client(&server);
    assert_eq!(full.call(&counter, &["n"], NONE).unwrap().as_i64(), Some(1));
    let loads = limited.stats().script_loads;
    for expected in 2..=4 {
        assert_eq!(limited.call(&counter, &["n"], NONE).unwrap().as_i64(), Some(expected));
    }
    assert!(limited.stats().script_loads <= loads + 1, "learnt for this connection");
    let mut transaction = limited.transaction();
    transaction.script(&counter, &["n"], &NONE).unwrap().command(&["INCR", "n"]).unwrap();
    assert_eq!(shown(&transaction.exec().unwrap()), "Array[5, 6]");
    // And once it is granted it is used.
    admin.ok(&["ACL", "SETUSER", "u", "+function"]);
    flush(&server);
    assert_eq!(limited.call(&counter, &["n"], NONE).unwrap().as_i64(), Some(7));
    admin.ok(&["ACL", "SETUSER", "u", "-fcall"]);
    let error = limited.call(&counter, &["n"], NONE).unwrap_err();
    assert_not_executed(&error, Status::Server);
    assert_eq!(error.server_code(), Some("NOPERM"));
    assert_eq!(count(&server, "n"), 7);
}

#[test]
fn a_server_without_memory_runs_what_is_there_and_loads_nothing() {
    let server = Server::start();
    let client = client(&server);
    let library = pinned();
    let (counter, get) = (function(&library, "count"), function(&library, "get"));
    let mut admin = Raw::connect(&server);
    admin.ok(&["SET", "k", "v"]);
    admin.ok(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = client.call(&get, &["k"], NONE).unwrap_err();
    assert_not_executed(&error, Status::NoFunction);
    assert!(error.message().contains("OOM"), "{error}");
    admin.ok(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(support::calls::client(&server).call(&get, &["k"], NONE).unwrap().as_str(), Some("v"));
    admin.ok(&["CONFIG", "SET", "maxmemory", "1"]);
    // It is there, and only reads.
    assert_eq!(client.call(&get, &["k"], NONE).unwrap().as_str(), Some("v"));
    // Whatever it is, it queues no more commands.
    let mut transaction = client.transaction();
    transaction.script(&get, &["k"], &NONE).unwrap();
    let error = transaction.exec().unwrap_err();
    assert_not_executed(&error, Status::TransactionAborted);
    assert_eq!(error.server_code(), Some("OOM"), "{error}");
    let error = client.call(&counter, &["n"], NONE).unwrap_err();
    assert_not_executed(&error, Status::Server);
    admin.ok(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(client.call(&counter, &["n"], NONE).unwrap().as_i64(), Some(1));
}

#[test]
fn a_pipeline_is_one_write_and_repairs_what_was_lost() {
    let server = Server::start();
    let proxy = Proxy::start(("127.0.0.1", server.port()));
    let client = Client::open(&proxy.url(), &options(LONG)).unwrap();
    client.command("PING").unwrap();
    let (one, two) = (pinned(), Library::pinned(source(2)).unwrap());
    let run = |expected: &str| {
        let mut pipeline = client.pipeline();
        pipeline.script(&function(&one, "count"), &["a"], &NONE).unwrap();
        pipeline.script(&function(&one, "version"), &["b"], &NONE).unwrap();
        pipeline.command(&["PING"]).unwrap();
        pipeline.script(&function(&two, "version"), &["c"], &NONE).unwrap();
        pipeline.script(&Script::new("return 'script'"), &["d"], &NONE).unwrap();
        let reply = pipeline.exec().unwrap();
        assert_eq!(shown(&reply), expected);
    };
    let (reads, loads) = (proxy.reads(Way::Requests), client.stats().script_loads);
    run("Array[1, 1, Status(\"PONG\"), 2, String(\"script\")]");
    assert_eq!(proxy.reads(Way::Requests) - reads, 1);
    assert_eq!(client.stats().script_loads - loads, 3);
    run("Array[2, 1, Status(\"PONG\"), 2, String(\"script\")]");
    assert_eq!(client.stats().script_loads - loads, 3);
    flush(&server);
    run("Array[3, 1, Status(\"PONG\"), 2, String(\"script\")]");
    assert_eq!(client.stats().noscript_repairs, 1);

    // Where order forbids it, it is that item's error.
    flush(&server);
    let mut pipeline = client.pipeline();
    pipeline.script(&function(&one, "count"), &["a"], &NONE).unwrap();
    pipeline.command(&["INCR", "a"]).unwrap();
    let replies = pipeline.exec().unwrap();
    assert_eq!(replies.get(1).unwrap().as_i64(), Some(4));
    assert_not_executed(&replies.get(0).unwrap().as_error().unwrap(), Status::NoFunction);
    assert_eq!(count(&server, "a"), 4);

    // One that no library has.
    let mut pipeline = client.pipeline();
    pipeline.script(&function(&one, "nothing"), &["a"], &NONE).unwrap();
    pipeline.script(&function(&one, "count"), &["e"], &NONE).unwrap();
    let replies = pipeline.exec().unwrap();
    assert_not_executed(&replies.get(0).unwrap().as_error().unwrap(), Status::NoFunction);
    assert_eq!(replies.get(1).unwrap().as_i64(), Some(1));
}

#[test]
fn a_long_pipeline_under_flushes_without_end_runs_each_item_once() {
    const ITEMS: i64 = 4000;
    let server = Server::start();
    let client = client(&server);
    let done = AtomicBool::new(false);
    let library = pinned();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut raw = Raw::connect(&server);
            while !done.load(Ordering::Relaxed) {
                raw.ok(&["FUNCTION", "FLUSH"]);
            }
        });
        let end = OnDrop(|| done.store(true, Ordering::Relaxed));
        let mut pipeline = client.pipeline();
        for item in 0..ITEMS {
            let key = format!("{{x}}:{item}");
            pipeline.script(&function(&library, "count"), &[&key], &NONE).unwrap();
        }
        let replies = pipeline.exec().unwrap();
        drop(end);
        let failed: Vec<_> = replies.root().elements().filter(|reply| reply.as_i64() != Some(1)).collect();
        assert!(failed.is_empty(), "{} of {ITEMS}: {:?}", failed.len(), failed[0]);
    });
    for item in 0..ITEMS {
        assert_eq!(client.command(("GET", format!("{{x}}:{item}"))).unwrap().as_str(), Some("1"));
    }
}

#[test]
fn a_transaction_brings_its_libraries_and_cannot_miss_them() {
    for library in [pinned(), named()] {
        let server = Server::start();
        let client = client(&server);
        let (counter, version) = (function(&library, "count"), function(&library, "version"));
        let run = |expected: &str| {
            let mut transaction = client.transaction();
            transaction.script(&counter, &["n"], &NONE).unwrap();
            transaction.script(&Script::new("return redis.call('INCR', KEYS[1])"), &["n"], &NONE).unwrap();
            transaction.script(&version, &NONE, &NONE).unwrap();
            transaction.command(&["INCR", "n"]).unwrap();
            let (reply, trips) = round_trips(&client, || transaction.exec().unwrap());
            assert_eq!(shown(&reply), expected);
            trips
        };
        assert_eq!(run("Array[1, 2, 1, 3]"), 2, "the very first one is seen to load before");
        assert_eq!(run("Array[4, 5, 1, 6]"), 1);
        flush(&server);
        assert_eq!(run("Array[7, 8, 1, 9]"), 1);
        assert_eq!(client.stats().noscript_repairs, 0);
        // What the library lacks is that item's error.
        let mut transaction = client.transaction();
        transaction.script(&function(&library, "nothing"), &["n"], &NONE).unwrap();
        transaction.command(&["INCR", "n"]).unwrap();
        let replies = transaction.exec().unwrap();
        assert_not_executed(&replies.get(0).unwrap().as_error().unwrap(), Status::NoFunction);
        assert_eq!(replies.get(1).unwrap().as_i64(), Some(10));
        let mut transaction = client.transaction();
        let broken = Library::named("#!lua name=broken\nreturn return").unwrap();
        transaction.command(&["INCR", "n"]).unwrap();
        transaction.script(&function(&broken, "f"), &NONE, &NONE).unwrap();
        assert_not_executed(&transaction.exec().unwrap_err(), Status::Compile);
        assert_eq!(count(&server, "n"), 10);
    }
}

#[test]
fn a_script_as_function_is_called_like_the_script() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = client(&server);
        let has_functions = binary != Binary::Redis62;
        let add = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])").as_function();
        assert_eq!(add.sha(), Script::new(add.source()).sha());
        let (reply, trips) = round_trips(&client, || client.call(&add, &["n"], &["5"]).unwrap());
        assert_eq!((reply.as_i64(), trips), (Some(5), 1), "{binary:?}");
        let mut raw = Raw::connect(&server);
        raw.ok(&["SCRIPT", "FLUSH"]);
        assert_eq!(client.call(&add, &["n"], &["5"]).unwrap().as_i64(), Some(10), "{binary:?}");
        assert_eq!(calls_of(&server, "fcall"), if has_functions { 2 } else { 0 }, "{binary:?}");
        assert_eq!(client.stats().noscript_repairs, u64::from(!has_functions), "{binary:?}");
        let get = Script::new("return redis.call('GET', KEYS[1])").as_function();
        assert_eq!(client.call_read_only(&get, &["n"], NONE).unwrap().as_str(), Some("10"), "{binary:?}");
        if has_functions {
            let error = client.call_read_only(&add, &["n"], &["5"]).unwrap_err();
            assert!(error.message().contains("Write commands are not allowed"), "{binary:?}: {error}");
        }
        // Beside the script itself, in pipelines and transactions.
        let plain = Script::new(add.source());
        for is_transaction in [false, true] {
            let mut both = if is_transaction { client.transaction() } else { client.pipeline() };
            both.script(&add, &["m"], &["1"]).unwrap();
            both.script(&plain, &["m"], &["1"]).unwrap();
            both.script(&get, &["m"], &NONE).unwrap();
            let expected =
                if is_transaction { "Array[3, 4, String(\"4\")]" } else { "Array[1, 2, String(\"2\")]" };
            assert_eq!(shown(&both.exec().unwrap()), expected, "{binary:?}");
        }
        // With flags of its own.
        let flagged = Script::new("#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])").as_function();
        if has_functions {
            assert_eq!(
                client.call_read_only(&flagged, &["m"], NONE).unwrap().as_str(),
                Some("4"),
                "{binary:?}"
            );
            assert_eq!(client.call(&flagged, &["m"], NONE).unwrap().as_str(), Some("4"), "{binary:?}");
            let bad = Script::new("#!lua flags=no-such'flag\nreturn 1").as_function();
            let error = client.call(&bad, NONE, NONE).unwrap_err();
            assert_not_executed(&error, Status::Compile);
        }
        assert!(Script::new("#!lua\nreturn 1").as_function().is_refused_read_only());
    }
}

#[test]
fn every_server_runs_pinned_libraries_or_says_that_it_has_no_functions() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        for (protocol, library) in [(3, pinned()), (2, pinned()), (3, named())] {
            let mut options = options(LONG);
            if protocol == 2 {
                options.protocol(rs_script::Protocol::Resp2);
            }
            let client = Client::open(&server.url(), &options).unwrap();
            let counter = function(&library, "count");
            if binary == Binary::Redis62 {
                for _ in 0..2 {
                    let error = client.call(&counter, &["n"], NONE).unwrap_err();
                    assert_not_executed(&error, Status::NotSupported);
                }
                let mut transaction = client.transaction();
                transaction.command(&["INCR", "n"]).unwrap().script(&counter, &["n"], &NONE).unwrap();
                assert_not_executed(&transaction.exec().unwrap_err(), Status::NotSupported);
                let mut pipeline = client.pipeline();
                pipeline.command(&["PING"]).unwrap().script(&counter, &["n"], &NONE).unwrap();
                let replies = pipeline.exec().unwrap();
                assert_not_executed(&replies.get(1).unwrap().as_error().unwrap(), Status::NotSupported);
                assert_eq!(Raw::connect(&server).ok(&["EXISTS", "n"]).integer(), 0);
                // What is a script elsewhere, is called so, also where only the answer to FCALL tells.
                let script = Script::new("return redis.call('INCR', KEYS[1])").as_function();
                let mut transaction = client.transaction();
                transaction.script(&script, &["m"], &NONE).unwrap();
                assert!(transaction.exec().unwrap().get(0).unwrap().as_i64().is_some());
                continue;
            }
            let before = Raw::connect(&server).ok(&["INCRBY", "n", "0"]).integer();
            assert_eq!(client.call(&counter, &["n"], NONE).unwrap().as_i64(), Some(before + 1), "{binary:?}");
            flush(&server);
            assert_eq!(client.call(&counter, &["n"], NONE).unwrap().as_i64(), Some(before + 2), "{binary:?}");
            let error = client.call(&function(&library, "fail"), NONE, NONE).unwrap_err();
            assert!(error.message().contains("user_function:7"), "{binary:?}: {error}");
            if library.is_pinned() {
                let error = client
                    .call(&function(&library, "forge"), &["f"], &["ERR Function not found"])
                    .unwrap_err();
                assert!(
                    error.message().ends_with("script: rs") && !error.is_not_executed(),
                    "{binary:?}: {error}"
                );
            }
        }
    }
}

/// No real server refuses one removal of several.
#[test]
fn a_library_that_was_loaded_and_cannot_be_looked_at_is_not_said_to_be_unloaded() {
    let server = Server::start();
    let mut raw = Raw::connect(&server);
    raw.ok(&["ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "-function|list"]);
    let url = format!("redis://u:p@127.0.0.1:{}", server.port());
    let client = Client::open(&url, &options(LONG)).unwrap();
    for library in [named(), pinned()] {
        let error = client.library_deploy(&library).unwrap_err();
        assert_eq!((error.server_code(), error.is_not_executed()), (Some("NOPERM"), false), "{error}");
        assert!(error.message().contains("it was loaded, and could not be looked at"), "{error}");
        let loaded = raw.ok(&["FUNCTION", "LIST", "LIBRARYNAME", library.name()]);
        assert_eq!(loaded.elements().len(), 1, "{}", library.name());
    }
}

#[test]
fn a_prune_that_fails_names_what_it_has_removed() {
    let versions = [2, 3, 4].map(|version| Library::pinned(source(version)).unwrap().name().to_owned());
    let text = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let entries = versions.iter().map(|name| {
        let code = format!("#!lua name={name}\nlocal G=function() return redis end ");
        format!("*4\r\n{}{}{}{}", text("library_name"), text(name), text("library_code"), text(&code))
    });
    let list = format!("*3\r\n{}", entries.collect::<String>());
    let fake = Fake::start(move |conn| {
        let mut next = conn.handshake();
        let mut removals = 0;
        while let Some(command) = next {
            match command.get(1).map(Vec::as_slice) {
                Some(b"LIST") => conn.write(list.as_bytes()),
                Some(b"DELETE") => {
                    removals += 1;
                    let refusal = &b"-MISCONF Errors writing to the AOF file\r\n"[..];
                    conn.write(if removals == 2 { refusal } else { b"+OK\r\n" });
                }
                _ => conn.write(b"+OK\r\n"),
            }
            next = conn.read_command();
        }
    });
    let client = Client::open(&fake.url(), &options(LONG)).unwrap();
    let error = client.library_prune(&[&pinned()]).unwrap_err();
    assert_eq!((error.server_code(), error.is_not_executed()), (Some("MISCONF"), false), "{error}");
    let is_named = [0, 1, 2].map(|version| error.message().contains(&versions[version]));
    assert_eq!(is_named, [true, false, true], "{error}");
}
