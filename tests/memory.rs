//! Replies for which there is no memory: the call says so, its connection goes, and the process goes on.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::{CString, c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rs_script::{Client, Error, Options, Queue, ReplyRef, Route, Script, Status};
use support::calls::{COUNT, LONG, NONE, client, cluster_client, options, shown, take};
use support::cluster::Cluster;
use support::fake::Fake;
use support::server::Server;
use support::tls::{Certs, Identity};
use support::wait_until;

/// The system's allocator, as long as nobody asks for more at once than there is.
struct Scarce;

/// The most that is given at once.
static MOST: AtomicUsize = AtomicUsize::new(usize::MAX);

// SAFETY: all is the system's, and NULL is what an allocator without memory returns.
unsafe impl GlobalAlloc for Scarce {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > MOST.load(Ordering::Relaxed) {
            return ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises; all memory is the system's.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > MOST.load(Ordering::Relaxed) {
            return ptr::null_mut();
        }
        // SAFETY: as the caller promises; all memory is the system's.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Scarce = Scarce;

/// No more than `most` bytes at once from now on, until it is dropped. One test at a time.
struct Scarcity(#[expect(dead_code, reason = "held")] MutexGuard<'static, ()>);

fn scarcity() -> Scarcity {
    static TURN: Mutex<()> = Mutex::new(());
    Scarcity(TURN.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Scarcity {
    fn at_most(&self, most: usize) -> &Self {
        MOST.store(most, Ordering::Relaxed);
        self
    }
}

impl Drop for Scarcity {
    fn drop(&mut self) {
        MOST.store(usize::MAX, Ordering::Relaxed);
    }
}

const MIB: usize = 1 << 20;

#[track_caller]
fn assert_no_memory(error: &Error) {
    assert_eq!(error.status(), Status::NoMemory, "{error}");
    assert!(error.is_indeterminate() && !error.is_not_executed(), "{error}");
}

/// Replies of which the bytes, or the tape, or both are larger than a mebibyte.
const LARGE: [&str; 4] = [
    "redis.call('INCR', 'n') return string.rep('x', 3000000)",
    "redis.call('INCR', 'n') local t = {} for i = 1, 80000 do t[i] = 1 end return t",
    "redis.call('INCR', 'n') local t = {} for i = 1, 300000 do t[i] = {i} end return t",
    "redis.call('INCR', 'n') return {1, {2, string.rep('x', 1500000)}, 3}",
];

#[test]
fn a_call_says_that_there_is_no_memory_and_the_client_goes_on() {
    let scarcity = scarcity();
    let certs = Certs::generate();
    let server = Server::start();
    let encrypted = Server::builder().tls(&certs, Identity::Valid).start();
    let mut trusting = options(LONG);
    trusting.tls_ca_file(encrypted.dir().join("ca.crt"));
    let clients = [client(&server), Client::open(&encrypted.url(), &trusting).unwrap()];
    for client in &clients {
        scarcity.at_most(MIB);
        let mut ran = 0;
        for (number, source) in LARGE.iter().enumerate() {
            assert_no_memory(&client.call(&Script::new(*source), &NONE, &NONE).unwrap_err());
            ran += 1;
            assert_eq!(client.command(&["GET", "n"]).unwrap().as_str(), Some(&*ran.to_string()));
            assert_eq!(client.stats().reconnects, number as u64 + 1);
        }
        scarcity.at_most(usize::MAX);
        assert_eq!(client.call(&Script::new(LARGE[0]), &NONE, &NONE).unwrap().root().len(), 3_000_000);
    }
}

#[test]
fn a_pipeline_has_what_came_before_and_a_transaction_has_run_or_not() {
    let scarcity = scarcity();
    let server = Server::start();
    let client = client(&server);
    let (count, large) = (Script::new(COUNT), Script::new(LARGE[0]));
    let mut pipeline = client.pipeline();
    pipeline.script(&count, &["a"], &NONE).unwrap().script(&count, &["a"], &NONE).unwrap();
    pipeline.script(&large, &NONE, &NONE).unwrap().script(&count, &["a"], &NONE).unwrap();
    scarcity.at_most(MIB);
    assert_no_memory(&pipeline.exec().unwrap_err());
    assert_eq!(pipeline.arrived().map(|replies| shown(&replies)).as_deref(), Some("Array[1, 2]"));

    let mut transaction = client.transaction();
    transaction.script(&count, &["b"], &NONE).unwrap().script(&large, &NONE, &NONE).unwrap();
    assert_no_memory(&transaction.exec().unwrap_err());
    assert_eq!(client.command(&["GET", "b"]).unwrap().as_str(), Some("1"));
    assert_eq!(client.command(&["GET", "n"]).unwrap().as_str(), Some("2"));
}

#[test]
fn others_on_the_connection_lose_it_and_no_more() {
    let scarcity = scarcity();
    let server = Server::start();
    let client = Client::open(&server.url(), &options(LONG)).unwrap();
    let queue = Queue::new(10).unwrap();
    let (large, harmless) = (Script::new(LARGE[0]), Script::new("return 5"));
    client.call_read_only(&harmless, &NONE, &NONE).unwrap();
    client.script_load(&large).unwrap();
    scarcity.at_most(MIB);
    server.pause();
    client.submit(&queue, 1, &large, &NONE, &NONE).unwrap();
    client.submit_command(&queue, 2, &["INCR", "m"]).unwrap();
    client.submit_read_only(&queue, 3, &harmless, &NONE, &NONE).unwrap();
    server.resume();
    let mut completions = take(&queue, 3);
    completions.sort_by_key(|completion| completion.tag);
    assert_no_memory(completions[0].result.as_ref().unwrap_err());
    assert_eq!(completions[1].result.as_ref().unwrap_err().status(), Status::Indeterminate);
    assert_eq!(completions[2].result.as_ref().unwrap().as_i64(), Some(5), "read-only, so it went again");
}

#[test]
fn an_index_without_memory_is_done_without() {
    let scarcity = scarcity();
    let server = Server::start();
    let client = client(&server);
    let nested = Script::new("local t = {} for i = 1, 10000 do t[i] = {i} end return t");
    let reply = client.call(&nested, &NONE, &NONE).unwrap();
    scarcity.at_most(1024);
    let found = |index| reply.get(index).and_then(|pair| pair.get(0)).and_then(ReplyRef::as_i64);
    assert_eq!((found(9_999), found(5_000), found(10_000)), (Some(10_000), Some(5_001), None));
    scarcity.at_most(usize::MAX);
    assert_eq!(found(9_999), Some(10_000));
}

#[test]
fn what_several_servers_say_is_put_together_only_where_there_is_memory() {
    let scarcity = scarcity();
    let cluster = Cluster::start(3, 0);
    let client = cluster_client(&cluster);
    let source = "redis.call('INCR', KEYS[1]) return string.rep('x', 400000)";
    let large = Script::new(source);
    let keys: Vec<String> = (0..3).map(|node| cluster.tag_on(node, "k")).collect();
    scarcity.at_most(MIB);
    let mut pipeline = client.pipeline();
    for key in &keys {
        pipeline.script(&large, &[key], &NONE).unwrap();
    }
    assert_no_memory(&pipeline.exec().unwrap_err());
    for key in &keys {
        assert_eq!(client.command(&["GET", key]).unwrap().as_str(), Some("1"));
    }
    let everywhere = client.with_route(Route::AllPrimaries).unwrap();
    let command = ["EVAL", "return string.rep('x', 400000)", "0"];
    assert_no_memory(&everywhere.command(&command).unwrap_err());
    scarcity.at_most(usize::MAX);
    assert_eq!(everywhere.command(&command).unwrap().root().len(), 6);
}

/// However long an error's text is, what is kept of it is bounded.
#[test]
fn a_servers_text_is_kept_up_to_a_bound() {
    let scarcity = scarcity();
    let fake = Fake::start(|conn| {
        let mut next = conn.handshake();
        while next.is_some() {
            conn.write(b"!700000\r\nERR ");
            conn.write(&[b'x'; 699_996]);
            conn.write(b"\r\n");
            next = conn.read_command();
        }
    });
    let client = Client::open(&fake.url(), &Options::default()).unwrap();
    scarcity.at_most(MIB);
    let error = client.command(&["GET", "k"]).unwrap_err();
    assert_eq!((error.status(), error.server_code()), (Status::Server, Some("ERR")));
    assert_eq!(error.server_text().map(<[u8]>::len), Some(64 * 1024));
    let mut pipeline = client.pipeline();
    pipeline.command(&["GET", "k"]).unwrap();
    let replies = pipeline.exec().unwrap();
    assert_eq!(replies.get(0).unwrap().len(), 700_000, "an element has it whole");
    assert!(replies.get(0).unwrap().as_error().unwrap().message().len() < 70_000);
}

/// As a binding in another language calls it.
mod c {
    use super::{c_char, c_void};

    unsafe extern "C" {
        pub fn rs_client_open(
            url: *const c_char,
            options: *const c_void,
            client: *mut *mut c_void,
            err: *mut *mut c_void,
        ) -> i32;
        pub fn rs_client_free(client: *mut c_void);
        pub fn rs_queue_new(
            capacity: usize,
            flags: u32,
            queue: *mut *mut c_void,
            err: *mut *mut c_void,
        ) -> i32;
        pub fn rs_queue_free(queue: *mut c_void);
        pub fn rs_queue_len(queue: *const c_void) -> usize;
        pub fn rs_client_submit(
            client: *mut c_void,
            argc: usize,
            argv: *const *const c_char,
            argvlen: *const usize,
            options: *const c_void,
            queue: *mut c_void,
            tag: u64,
            err: *mut *mut c_void,
        ) -> i32;
        pub fn rs_queue_poll_packed(
            queue: *mut c_void,
            buffer: *mut c_char,
            capacity: usize,
            max: usize,
            timeout_ms: u64,
            used: *mut usize,
            count: *mut usize,
            needed: *mut usize,
            err: *mut *mut c_void,
        ) -> i32;
    }
}

#[test]
fn a_completion_is_packed_without_memory_of_its_own() {
    const NO_ERROR: *mut *mut c_void = ptr::null_mut();
    let scarcity = scarcity();
    let server = Server::start();
    let url = CString::new(server.url()).unwrap();
    let words = [c"EVAL", c"return string.rep('x', 600000)", c"0"].map(|word| word.as_ptr());
    let mut buffer = vec![0; MIB];
    let (mut client, mut queue) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: all pointers are what the functions want, and live.
    unsafe {
        assert_eq!(c::rs_client_open(url.as_ptr(), ptr::null(), &raw mut client, NO_ERROR), 0);
        assert_eq!(c::rs_queue_new(10, 0, &raw mut queue, NO_ERROR), 0);
        for tag in 0..2 {
            let submitted = c::rs_client_submit(
                client,
                words.len(),
                words.as_ptr(),
                ptr::null(),
                ptr::null(),
                queue,
                tag,
                NO_ERROR,
            );
            assert_eq!(submitted, 0);
        }
        let (mut used, mut count, mut needed) = (0, 0, 0);
        let mut poll = |capacity, timeout_ms| {
            let (used, count, needed) = (&raw mut used, &raw mut count, &raw mut needed);
            let buffer = buffer.as_mut_ptr();
            let status = c::rs_queue_poll_packed(
                queue, buffer, capacity, 10, timeout_ms, used, count, needed, NO_ERROR,
            );
            (status, *used, *count, *needed)
        };
        // The first has come, and does not fit.
        wait_until("the first reply is there", || poll(0, 60_000).3 > 600_000 && c::rs_queue_len(queue) == 2);
        scarcity.at_most(64 * 1024);
        let (status, used, count, needed) = poll(1000, 0);
        assert!(
            (status, used, count) == (0, 0, 0) && needed > 600_000,
            "nothing is held for what does not fit"
        );
        assert_eq!(c::rs_queue_len(queue), 2);
        let (status, used, count, _) = poll(needed, 60_000);
        assert_eq!((status, used, count), (0, needed, 1));
        scarcity.at_most(usize::MAX);
        c::rs_queue_free(queue);
        c::rs_client_free(client);
    }
}
