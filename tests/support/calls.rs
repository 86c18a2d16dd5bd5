//! What tests of calls share: scripts, a client with every default, and what a call cost.

use std::time::Duration;

use rs_script::{Client, Completion, Options, Queue, Reply};

use super::cluster::Cluster;
use super::server::Server;

pub const MULTIPLY: &str = "return redis.call('GET', KEYS[1]) * ARGV[1]";
pub const COUNT: &str = "return redis.call('INCR', KEYS[1])";
/// Needs no key, and says on which server it runs.
pub const WHERE: &str = "return string.match(redis.call('INFO', 'server'), 'tcp_port:(%d+)')";
pub const NONE: [&str; 0] = [];

/// A client with every default but time enough on a busy machine.
pub fn client(server: &Server) -> Client {
    Client::open(&server.url(), &options(LONG)).expect("a client")
}

/// The same of a cluster.
pub fn cluster_client(cluster: &Cluster) -> Client {
    Client::open(&cluster.cluster_url(), &options(LONG)).expect("a client")
}

/// A reply as its Debug output.
pub fn shown(reply: &Reply) -> String {
    format!("{reply:?}")
}

/// Runs `body` and says how many round trips it took.
pub fn round_trips<T>(client: &Client, body: impl FnOnce() -> T) -> (T, u64) {
    let before = client.stats().round_trips;
    let result = body();
    (result, client.stats().round_trips - before)
}

/// As good as for ever, in a test.
pub const LONG: Duration = Duration::from_secs(60);

/// Tries again with a longer deadline until `attempt` gives something: what hangs misses each of them, and what does
/// not may miss the first ones, on a busy machine.
#[track_caller]
pub fn with_longer_deadlines<T>(client: &Client, mut attempt: impl FnMut(&Client) -> Option<T>) -> T {
    let tried = [1, 4, 16, 64]
        .into_iter()
        .find_map(|seconds| attempt(&client.with_timeout(Duration::from_secs(seconds))));
    tried.expect("in 64 seconds, what does not hang answers")
}

/// Every default but the deadline of a call.
pub fn options(timeout: Duration) -> Options {
    let mut options = Options::default();
    options.call_timeout(timeout).unwrap();
    options
}

/// Takes out so many completions.
#[track_caller]
pub fn take(queue: &Queue, count: usize) -> Vec<Completion> {
    let mut taken = Vec::new();
    while taken.len() < count {
        assert!(queue.poll(&mut taken, count, LONG) > 0, "{} of {count} completions", taken.len());
    }
    assert_eq!(taken.len(), count);
    taken
}
