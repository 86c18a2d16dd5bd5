//! No memory, for each allocation in turn whose size a caller or a server decides: the call says so, nothing is lost,
//! and the process goes on.
//!
//! Keys, arguments, scripts and replies are large here, and all that is as large as they are fails: the first such
//! allocation of an operation, then
//! the second alone, and so on until an operation meets none that fails. In a second round all fail from that one on.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::{CString, c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rs_script::{Client, Error, Queue, Reply, Route, Script, Status};
use support::calls::{LONG, client, cluster_client, options, take};
use support::cluster::Cluster;
use support::executor::block_on;
use support::server::Server;
use support::tls::{Certs, Identity};

/// What is as large as this fails when its turn has come.
const LARGE: usize = 150_000;

/// The system's allocator, but for what it is told to refuse.
struct Failing;

/// Large allocations are counted, and one of them, or all from it on, fails.
static COUNTS: AtomicBool = AtomicBool::new(false);
static SEEN: AtomicUsize = AtomicUsize::new(0);
static FIRST: AtomicUsize = AtomicUsize::new(0);
static FOR_GOOD: AtomicBool = AtomicBool::new(false);
static FAILED: AtomicUsize = AtomicUsize::new(0);

fn fails(size: usize) -> bool {
    if size < LARGE || !COUNTS.load(Ordering::Relaxed) {
        return false;
    }
    let number = SEEN.fetch_add(1, Ordering::Relaxed);
    let first = FIRST.load(Ordering::Relaxed);
    let fails = number == first || number > first && FOR_GOOD.load(Ordering::Relaxed);
    if fails {
        FAILED.fetch_add(1, Ordering::Relaxed);
    }
    fails
}

// SAFETY: all is the system's, and NULL is what an allocator without memory returns.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if fails(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if fails(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises; all memory is the system's.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > layout.size() && fails(size) {
            return ptr::null_mut();
        }
        // SAFETY: as the caller promises; all memory is the system's.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// One test at a time: the allocator is everybody's.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `operation` while its large allocation `first` fails, and with `for_good` all behind it; with what came of
/// it, how many failed.
fn without<T>(first: usize, for_good: bool, operation: impl FnOnce() -> T) -> (T, usize) {
    struct Stop;
    impl Drop for Stop {
        fn drop(&mut self) {
            COUNTS.store(false, Ordering::SeqCst);
        }
    }
    SEEN.store(0, Ordering::SeqCst);
    FAILED.store(0, Ordering::SeqCst);
    FIRST.store(first, Ordering::SeqCst);
    FOR_GOOD.store(for_good, Ordering::SeqCst);
    let _stop = Stop;
    COUNTS.store(true, Ordering::SeqCst);
    let result = operation();
    COUNTS.store(false, Ordering::SeqCst);
    (result, FAILED.load(Ordering::SeqCst))
}

/// More large allocations than any operation here makes.
const MANY: usize = 200;

/// Each large allocation of an operation fails in turn. `check` is asked each time what came of it, and counts on the
/// server.
fn sweep<T>(
    what: &str,
    mut operation: impl FnMut() -> Result<T, Error>,
    mut check: impl FnMut(Result<T, Error>),
) {
    for for_good in [false, true] {
        let mut failures = 0;
        for first in 0.. {
            assert!(first < MANY, "{what}: there is no end to it");
            let (result, failed) = without(first, for_good, &mut operation);
            if let Err(error) = &result {
                assert!(failed > 0, "{what}, allocation {first}: {error}");
                let is_known = matches!(error.status(), Status::NoMemory | Status::Indeterminate);
                assert!(is_known, "{what}, allocation {first}: {:?}: {error}", error.status());
                assert_ne!(error.is_not_executed(), error.is_indeterminate(), "{what}: {error}");
                failures += 1;
            }
            check(result);
            if failed == 0 {
                break;
            }
        }
        // What fails alone may be had in a smaller size.
        assert!(failures > 0 || !for_good, "{what}: nothing has failed");
    }
}

/// How often scripts have run, by the counter that each of them increments; and what callers were told.
struct Tally<'a> {
    client: &'a Client,
    keys: Vec<String>,
    ran: Vec<u64>,
}

#[derive(Clone, Copy)]
enum Told {
    Ran,
    DidNotRun,
    Unknown,
}

impl<'a> Tally<'a> {
    fn new(client: &'a Client, keys: &[&str]) -> Tally<'a> {
        let keys: Vec<String> = keys.iter().map(|&key| key.to_owned()).collect();
        let ran = vec![0; keys.len()];
        Tally { client, keys, ran }
    }

    /// After a call that has each script run `times`: all have run so often, none has, or what an unknown outcome
    /// allows.
    fn check<T>(&mut self, result: &Result<T, Error>, times: u64) {
        let told = match result {
            Ok(_) => Told::Ran,
            Err(error) if error.is_not_executed() => Told::DidNotRun,
            Err(_) => Told::Unknown,
        };
        self.compare(told, times);
    }

    fn compare(&mut self, told: Told, times: u64) {
        for (key, ran) in self.keys.iter().zip(&mut self.ran) {
            let now: Option<u64> = self.client.command(("GET", key)).unwrap().to().unwrap();
            let grown = now.unwrap_or(0) - *ran;
            match told {
                Told::Ran => assert_eq!(grown, times, "{key}"),
                Told::DidNotRun => assert_eq!(grown, 0, "{key}"),
                Told::Unknown => assert!(grown <= times, "{key}: {grown}"),
            }
            *ran += grown;
        }
    }
}

const ECHO: &str = "redis.call('INCR', KEYS[1]) return ARGV[1]";

/// More than a request keeps for the next one.
fn big() -> String {
    "x".repeat(1_200_000)
}

#[test]
fn one_call_plain_and_encrypted() {
    let _turn = turn();
    let certs = Certs::generate();
    let server = Server::start();
    let encrypted = Server::builder().tls(&certs, Identity::Valid).start();
    let mut trusting = options(LONG);
    trusting.tls_ca_file(encrypted.dir().join("ca.crt"));
    let clients = [client(&server), Client::open(&encrypted.url(), &trusting).unwrap()];
    let argument = big();
    for client in &clients {
        let echo = Script::new(ECHO);
        let mut tally = Tally::new(client, &["n"]);
        sweep("a script", || client.call(&echo, "n", &argument), |result| tally.check(&result, 1));
        let set = || client.command(("SET", "k", &argument));
        sweep("a command", set, |result| {
            result.into_iter().for_each(|reply: Reply| assert_eq!(reply.as_str(), Some("OK")));
        });
        let get = || client.command(("GET", "k"));
        sweep("a reply", get, |result| {
            result.into_iter().for_each(|reply: Reply| assert_eq!(reply.root().len(), argument.len()));
        });
    }
}

/// The script itself is large: it is loaded, and sent whole where it was lost meanwhile.
#[test]
fn a_large_script_is_loaded_or_the_call_says_why_not() {
    let _turn = turn();
    let server = Server::start();
    let client = client(&server);
    let source = format!("{ECHO} -- {}", big());
    let mut tally = Tally::new(&client, &["n"]);
    let script = Script::new(source);
    let call = || {
        // It has to be loaded anew each time.
        client.script_flush(rs_script::FlushMode::Sync).unwrap();
        client.call(&script, "n", "a")
    };
    sweep("a large script", call, |result| tally.check(&result, 1));
}

#[test]
fn pipelines_and_transactions_of_large_and_of_many_items() {
    let _turn = turn();
    let server = Server::start();
    let client = client(&server);
    let (echo, argument) = (Script::new(ECHO), big());
    client.call(&echo, "warm", "a").unwrap();
    let mut tally = Tally::new(&client, &["n"]);
    for is_transaction in [false, true] {
        let whole = || {
            let mut pipeline = if is_transaction { client.transaction() } else { client.pipeline() };
            for _ in 0..3 {
                pipeline.script(&echo, "n", &argument)?;
            }
            pipeline.exec()
        };
        sweep("three large items", whole, |result| tally.check(&result, 3));
        let many = || {
            let mut pipeline = if is_transaction { client.transaction() } else { client.pipeline() };
            for _ in 0..20_000 {
                pipeline.script(&echo, "n", "a")?;
            }
            pipeline.exec()
        };
        sweep("many items", many, |result| tally.check(&result, 20_000));
    }
}

/// An item that finds no memory leaves the others as they are.
#[test]
fn an_item_without_memory_is_not_in_the_pipeline() {
    let _turn = turn();
    let server = Server::start();
    let client = client(&server);
    let (echo, argument) = (Script::new(ECHO), big());
    let mut pipeline = client.pipeline();
    pipeline.script(&echo, "n", "a").unwrap().command(("SET", "k", 1)).unwrap();
    let (refused, failed) =
        without(0, true, || pipeline.script(&echo, "n", &argument).map(drop).unwrap_err());
    assert_eq!((refused.status(), refused.is_not_executed()), (Status::NoMemory, true), "{failed}");
    assert_eq!(pipeline.len(), 2);
    pipeline.script(&echo, "n", "b").unwrap();
    let replies: (String, String, String) = pipeline.exec().unwrap().to().unwrap();
    assert_eq!(replies, ("a".into(), "OK".into(), "b".into()));
}

/// A call that is put together bit by bit, and lacks an argument, is sent in no way.
#[test]
fn a_call_that_lacks_an_argument_is_not_sent() {
    let _turn = turn();
    let server = Server::start();
    let client = client(&server);
    let (echo, argument) = (Script::new(ECHO), big());
    let (call, failed) = without(0, true, || echo.key("n").arg(&argument));
    assert!(failed > 0);
    let queue = Queue::new(1).unwrap();
    let refused = [
        call.call::<Reply>(&client).map(drop),
        call.submit(&client, &queue, 1),
        client.pipeline().add(&call).map(drop),
        block_on(call.call_async::<Reply>(&client)).map(drop),
    ];
    for result in refused {
        let error = result.unwrap_err();
        assert_eq!((error.status(), error.is_not_executed()), (Status::NoMemory, true), "{error}");
    }
    let text: String = echo.key("n").arg("a").call(&client).unwrap();
    assert_eq!((&*text, client.stats().reconnects), ("a", 0));
}

#[test]
fn submitted_calls_complete_once() {
    let _turn = turn();
    let server = Server::start();
    let client = client(&server);
    let (echo, argument) = (Script::new(ECHO), big());
    let mut tally = Tally::new(&client, &["n"]);
    for queue in [Queue::new(10).unwrap(), Queue::without_thread(10).unwrap()] {
        let submit = || {
            client.submit(&queue, 1, &echo, "n", &argument)?;
            take(&queue, 1).remove(0).result
        };
        sweep("a submitted call", submit, |result| tally.check(&result, 1));
        assert!(queue.is_empty());
    }
}

#[test]
fn a_cluster_splits_and_copies_and_joins() {
    let _turn = turn();
    let cluster = Cluster::start(3, 0);
    let client = cluster_client(&cluster);
    let (echo, argument) = (Script::new(ECHO), big());
    let keys: Vec<String> = (0..3).map(|node| cluster.tag_on(node, "k")).collect();
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut tally = Tally::new(&client, &names);
    let split = || {
        let mut pipeline = client.pipeline();
        for key in &keys {
            pipeline.script(&echo, key, &argument)?;
        }
        let replies = pipeline.exec()?;
        // Of a part that was not sent each item says so.
        match replies.root().elements().find_map(|element| element.as_error()) {
            Some(error) => Err(error),
            None => Ok(replies),
        }
    };
    // An error may be of one part, and say nothing of the others.
    sweep("a split pipeline", split, |result| {
        tally.compare(if result.is_ok() { Told::Ran } else { Told::Unknown }, 1);
    });
    let everywhere = client.with_route(Route::AllPrimaries).unwrap();
    let all = || everywhere.command(("ECHO", &argument));
    sweep("a command everywhere", all, |result| {
        result.into_iter().for_each(|reply: Reply| assert_eq!(reply.root().len(), 6));
    });
}

/// As a binding in another language calls it.
mod c {
    use super::{c_char, c_void};

    unsafe extern "C" {
        pub fn rs_script_register(
            client: *mut c_void,
            lua: *const c_char,
            len: usize,
            options: *const c_void,
            script: *mut *mut c_void,
            err: *mut *mut c_void,
        ) -> i32;
        pub fn rs_script_free(script: *mut c_void);
        pub fn rs_client_open(
            url: *const c_char,
            options: *const c_void,
            client: *mut *mut c_void,
            err: *mut *mut c_void,
        ) -> i32;
        pub fn rs_client_free(client: *mut c_void);
        pub fn rs_client_command(
            client: *mut c_void,
            argc: usize,
            argv: *const *const c_char,
            argvlen: *const usize,
            options: *const c_void,
            reply: *mut *mut c_void,
            err: *mut *mut c_void,
        ) -> i32;
    }
}

#[test]
fn what_c_hands_over_is_copied_or_refused() {
    const NO_ERROR: *mut *mut c_void = ptr::null_mut();
    let _turn = turn();
    let server = Server::start();
    let url = CString::new(server.url()).unwrap();
    let source = format!("return 1 -- {}", big());
    // So many words that their list is large.
    let words: Vec<*const c_char> =
        std::iter::once(c"DEL".as_ptr()).chain(std::iter::repeat_n(c"k".as_ptr(), 50_000)).collect();
    // SAFETY: all pointers are what the functions want, and live.
    unsafe {
        let mut client = ptr::null_mut();
        assert_eq!(c::rs_client_open(url.as_ptr(), ptr::null(), &raw mut client, NO_ERROR), 0);
        let mut script = ptr::dangling_mut();
        let register = |script| {
            c::rs_script_register(client, source.as_ptr().cast(), source.len(), ptr::null(), script, NO_ERROR)
        };
        let (status, failed) = without(0, false, || register(&raw mut script));
        assert_eq!((status, failed, script.is_null()), (Status::NoMemory.code(), 1, true));
        assert_eq!(register(&raw mut script), 0);
        c::rs_script_free(script);
        let send = || {
            c::rs_client_command(
                client,
                words.len(),
                words.as_ptr(),
                ptr::null(),
                ptr::null(),
                ptr::null_mut(),
                NO_ERROR,
            )
        };
        for first in 0.. {
            let (status, failed) = without(first, true, send);
            if failed == 0 {
                assert_eq!((status, first > 1), (0, true), "{first}");
                break;
            }
            assert!(status == 0 || status == Status::NoMemory.code(), "{first}: {status}");
        }
        c::rs_client_free(client);
    }
}
