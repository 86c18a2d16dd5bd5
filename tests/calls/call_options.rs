//! Options of single calls where there are several servers, through the C API, which alone has them: commands that only
//! read go to replicas, whatever these are too old for.

use crate::support;

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use rs_script::ffi::call_options::{
    RS_CALL_IDEMPOTENT, RS_CALL_READ_ONLY, RS_ROUTE_DEFAULT, RS_ROUTE_KEY, rs_call_options,
};
use rs_script::ffi::client::{rs_client, rs_client_command, rs_client_free, rs_client_open};
use rs_script::ffi::error::{rs_error, rs_error_free, rs_error_message};
use rs_script::ffi::options::{RS_READ_FROM_PREFER_REPLICA, RS_READ_FROM_REPLICA};
use rs_script::ffi::pipeline::{
    rs_pipeline_command, rs_pipeline_exec, rs_pipeline_free, rs_pipeline_new, rs_pipeline_script,
};
use rs_script::ffi::reply::{rs_reply, rs_reply_element, rs_reply_free, rs_reply_string};
use rs_script::ffi::script::{self, rs_script_free, rs_script_register};
use support::cluster::Cluster;
use support::raw::calls_of;
use support::replication::Replicated;
use support::server::{Binary, Server};

const WHERE: &CStr = c"return string.match(redis.call('INFO', 'server'), 'tcp_port:(%d+)')";
const GET: [&CStr; 2] = [c"GET", c"a"];

fn options(flags: u32, read_from: i32) -> rs_call_options {
    rs_call_options {
        size: u32::try_from(size_of::<rs_call_options>()).unwrap(),
        flags,
        timeout_ms: 60_000,
        read_from,
        route: RS_ROUTE_DEFAULT,
        route_to: ptr::null(),
        route_len: 0,
        route_slot: 0,
        reserved: 0,
        token: ptr::null(),
        token_len: 0,
    }
}

/// Options of an item of a pipeline.
fn flags(flags: u32) -> rs_call_options {
    rs_call_options { timeout_ms: 0, ..options(flags, 0) }
}

/// A client as C has it.
struct Client(*mut rs_client);

impl Client {
    fn open(url: &str) -> Client {
        let url = CString::new(url).unwrap();
        let mut client = ptr::null_mut();
        // SAFETY: pointers to what the function takes.
        check(|err| unsafe { rs_client_open(url.as_ptr(), ptr::null(), &raw mut client, err) });
        Client(client)
    }

    fn command(&self, words: &[&CStr], options: &rs_call_options) -> Reply {
        let words: Vec<*const c_char> = words.iter().map(|word| word.as_ptr()).collect();
        let mut reply = ptr::null_mut();
        // SAFETY: pointers to what the function takes.
        check(|err| unsafe {
            let lengths = ptr::null();
            rs_client_command(self.0, words.len(), words.as_ptr(), lengths, options, &raw mut reply, err)
        });
        Reply(reply)
    }

    /// A read-only GET, a read-only script and a GET, in one pipeline that reads from replicas.
    fn mixed(&self, options: &rs_call_options) -> Reply {
        let (mut pipeline, mut replies) = (ptr::null_mut(), ptr::null_mut());
        let mut script: *mut script::rs_script = ptr::null_mut();
        let (words, key) = (GET.map(CStr::as_ptr), c"a".as_ptr());
        let (read_only, null) = (flags(RS_CALL_READ_ONLY), ptr::null());
        let len = WHERE.count_bytes();
        // SAFETY: pointers to what the functions take.
        unsafe {
            check(|err| rs_pipeline_new(self.0, 0, &raw mut pipeline, err));
            let nobody = ptr::null_mut();
            check(|err| rs_script_register(nobody, WHERE.as_ptr(), len, ptr::null(), &raw mut script, err));
            check(|err| rs_pipeline_command(pipeline, 2, words.as_ptr(), null, &raw const read_only, err));
            check(|err| {
                let (keys, args, options) = (&raw const key, ptr::null(), &raw const read_only);
                rs_pipeline_script(pipeline, script, 1, keys, null, 0, args, null, options, err)
            });
            check(|err| rs_pipeline_command(pipeline, 2, words.as_ptr(), null, ptr::null(), err));
            check(|err| rs_pipeline_exec(pipeline, options, &raw mut replies, err));
            rs_pipeline_free(pipeline);
            rs_script_free(script);
        }
        Reply(replies)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: made by `open`.
        unsafe { rs_client_free(self.0) };
    }
}

struct Reply(*mut rs_reply);

impl Reply {
    fn element(&self, index: usize) -> String {
        // SAFETY: a live reply, and a string that ends in a NUL where it is none of another type.
        unsafe {
            let text = rs_reply_string(rs_reply_element(self.0, index), ptr::null_mut());
            assert!(!text.is_null(), "element {index} is no string");
            CStr::from_ptr(text).to_str().unwrap().to_owned()
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        // SAFETY: it is the root, or NULL.
        unsafe { rs_reply_free(self.0) };
    }
}

#[track_caller]
fn check(call: impl FnOnce(*mut *mut rs_error) -> i32) {
    let mut err = ptr::null_mut();
    let status = call(&raw mut err);
    // SAFETY: an error of the library's, or NULL.
    unsafe {
        assert_eq!(status, 0, "{:?}", CStr::from_ptr(rs_error_message(err)));
        rs_error_free(err);
    }
}

/// How often each has run a command.
fn counts(servers: [&Server; 2], command: &str) -> [u64; 2] {
    servers.map(|server| calls_of(server, command))
}

/// Runs a test on a primary with a replica, and on such a cluster.
fn with_a_replica(binary: Binary, test: impl Fn(&str, [&Server; 2])) {
    let servers = Replicated::builder(1).binary(binary).start();
    test(&servers.url(), [servers.primary(), servers.replica(0)]);
    let cluster = Cluster::builder(1).replicas(1).binary(binary).start();
    test(&cluster.cluster_url(), [cluster.node(0), cluster.node(1)]);
}

fn commands_that_only_read_go_to_replicas(binary: Binary, script_goes_to_the_replica: bool) {
    with_a_replica(binary, |url, servers @ [primary, replica]| {
        let client = Client::open(url);
        let from_replica = options(RS_CALL_READ_ONLY, RS_READ_FROM_REPLICA);
        let before = counts(servers, "get");
        let got = |times: [u64; 2]| {
            let now = counts(servers, "get");
            assert_eq!([now[0] - before[0], now[1] - before[1]], times);
        };
        for _ in 0..4 {
            client.command(&GET, &from_replica);
        }
        got([0, 4]);
        client.command(&GET, &options(RS_CALL_READ_ONLY, RS_READ_FROM_PREFER_REPLICA));
        got([0, 5]);
        client.command(&GET, &options(RS_CALL_READ_ONLY, 0));
        client.command(&GET, &options(RS_CALL_IDEMPOTENT, RS_READ_FROM_REPLICA));
        client.command(&GET, &options(0, RS_READ_FROM_REPLICA));
        got([3, 5]);
        // A route leads to the replica of a slot where it may be one's.
        let to_key =
            rs_call_options { route: RS_ROUTE_KEY, route_to: c"a".as_ptr(), route_len: 1, ..from_replica };
        assert_eq!(client.command(&[c"ROLE"], &to_key).element(0), "slave");
        let to_key = rs_call_options { flags: 0, ..to_key };
        assert_eq!(client.command(&[c"ROLE"], &to_key).element(0), "master");

        // Items of one pipeline, of which a server that is too old for one runs the others: it is known to be, or turns
        // out to be.
        let script_on = if script_goes_to_the_replica { replica } else { primary };
        for (client, times) in [(client, 1), (Client::open(url), 2)] {
            let replies = client.mixed(&options(0, RS_READ_FROM_PREFER_REPLICA));
            assert_eq!(replies.element(1), script_on.port().to_string());
            got([3 + times, 5 + times]);
        }
    });
}

#[test]
fn commands_that_only_read_go_to_replicas_with_their_scripts() {
    commands_that_only_read_go_to_replicas(Binary::default(), true);
}

#[test]
fn commands_that_only_read_go_to_replicas_that_are_too_old_for_scripts() {
    commands_that_only_read_go_to_replicas(Binary::Redis62, false);
}
