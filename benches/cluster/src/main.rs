//! redis-rs on a cluster: `cluster NODES KEYS call CALLERS CALLS` lets CALLERS tasks on one client make CALLS calls of the
//! multiply script, `call-threads` instead of `call` as many threads, `cluster NODES KEYS pipeline SIZE CALLS` makes them in
//! pipelines of SIZE. Keys, all of them at 2, come from the file KEYS, a key a line. Prints calls per second and
//! microseconds of this process's CPU time per call.
//!
//! As each is fastest: tasks on a runtime of one thread (two take twice the CPU time for two thirds of the calls),
//! threads beside a runtime with one worker, and with TCP_NODELAY, which is not redis-rs's default.

use std::time::Instant;

use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::SingleNodeRoutingInfo;
use redis::io::tcp::TcpSettings;
use redis::{Pipeline, Value, from_redis_value};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};

const MULTIPLY: &str = "return redis.call('GET', KEYS[1]) * ARGV[1]";
const PRODUCT: i64 = 10;

/// The client, with the script loaded on all primaries.
#[derive(Clone)]
struct Client {
    connection: ClusterConnection,
    sha: String,
    keys: &'static [String],
}

impl Client {
    async fn open(nodes: &str, keys: &'static [String]) -> Client {
        let nodes = nodes.split(',').map(|node| format!("redis://{node}"));
        let settings = TcpSettings::default().set_nodelay(true);
        let client = ClusterClient::builder(nodes).tcp_settings(settings).build().expect("URLs");
        let mut connection = client.get_async_connection().await.expect("a connection");
        let load = redis::cmd("SCRIPT").arg("LOAD").arg(MULTIPLY).query_async(&mut connection).await;
        Client { connection, sha: load.expect("the script's SHA1"), keys }
    }

    async fn call_from(&self, tasks: usize, calls: usize) {
        let tasks: Vec<_> = (0..tasks)
            .map(|number| {
                let first = number * self.keys.len() / tasks;
                tokio::spawn(self.clone().call(first, calls / tasks))
            })
            .collect();
        for task in tasks {
            task.await.expect("products");
        }
    }

    /// As programs do that are not asynchronous.
    fn call_from_threads(&self, runtime: &Runtime, threads: usize, calls: usize) {
        std::thread::scope(|scope| {
            for number in 0..threads {
                let first = number * self.keys.len() / threads;
                scope.spawn(move || runtime.block_on(self.clone().call(first, calls / threads)));
            }
        });
    }

    async fn call(mut self, first: usize, calls: usize) {
        for key in self.keys.iter().cycle().skip(first).take(calls) {
            let mut call = redis::cmd("EVALSHA");
            call.arg(&self.sha).arg(1).arg(key).arg("5");
            let product: i64 = call.query_async(&mut self.connection).await.expect("a product");
            assert_eq!(product, PRODUCT);
        }
    }

    /// Its asynchronous client refuses a pipeline with more than one slot, unless it is told the node. So its user finds the
    /// node of each key, and sends all nodes a pipeline of their own at once. Its blocking client splits pipelines by
    /// itself, one twentieth slower; one task a call makes two fifths of these calls.
    async fn call_in_pipelines(&self, size: usize, calls: usize) {
        let owners = owners(self.connection.clone()).await;
        let mut upcoming = self.keys.iter().cycle();
        for _ in 0..calls / size {
            let mut parts: Vec<_> = owners.iter().map(|_| (Pipeline::new(), Vec::new())).collect();
            for (place, key) in upcoming.by_ref().take(size).enumerate() {
                let slot = crc16::State::<crc16::XMODEM>::calculate(key.as_bytes()) % 16384;
                let owner = owners.partition_point(|owner| owner.last_slot < slot);
                let (pipeline, places) = &mut parts[owner];
                pipeline.cmd("EVALSHA").arg(&self.sha).arg(1).arg(key).arg("5");
                places.push(place);
            }
            let mut products = vec![0; size];
            let parts: Vec<_> = parts
                .into_iter()
                .zip(&owners)
                .map(|((pipeline, places), owner)| {
                    (
                        tokio::spawn(send(self.connection.clone(), pipeline, places.len(), owner.route())),
                        places,
                    )
                })
                .collect();
            for (replies, places) in parts {
                let replies = replies.await.expect("replies");
                assert_eq!(replies.len(), places.len());
                for (place, reply) in places.into_iter().zip(replies) {
                    products[place] = from_redis_value(reply).expect("a product");
                }
            }
            assert!(products.iter().all(|&product| product == PRODUCT));
        }
    }
}

async fn send(
    mut connection: ClusterConnection,
    pipeline: Pipeline,
    replies: usize,
    route: SingleNodeRoutingInfo,
) -> Vec<Value> {
    connection.route_pipeline(pipeline, 0, replies, route).await.expect("replies")
}

/// A primary, of slots up to `last_slot`.
struct Owner {
    last_slot: u16,
    host: String,
    port: u16,
}

impl Owner {
    fn route(&self) -> SingleNodeRoutingInfo {
        SingleNodeRoutingInfo::ByAddress { host: self.host.as_str().into(), port: self.port }
    }
}

/// The primaries in the order of their slots.
async fn owners(mut connection: ClusterConnection) -> Vec<Owner> {
    type Range = (u16, u16, (String, u16, Value, Value));
    let slots: Vec<Range> =
        redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await.expect("slots");
    let mut owners: Vec<_> =
        slots.into_iter().map(|(_, last_slot, (host, port, ..))| Owner { last_slot, host, port }).collect();
    owners.sort_by_key(|owner| owner.last_slot);
    owners
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [nodes, file, mode, count, calls] = &arguments[..] else {
        panic!("usage: cluster NODES KEYS call|call-threads|pipeline CALLERS|SIZE CALLS")
    };
    let keys: Vec<String> =
        std::fs::read_to_string(file).expect("a file of keys").lines().map(String::from).collect();
    let count: usize = count.parse().expect("a number of callers, or the size of a pipeline");
    let calls: usize = calls.parse().expect("a number of calls");
    let mut builder = match mode.as_str() {
        "call-threads" => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
    let client = runtime.block_on(Client::open(nodes, keys.leak()));
    let run = |calls| match mode.as_str() {
        "call" => runtime.block_on(client.call_from(count, calls)),
        "call-threads" => client.call_from_threads(&runtime, count, calls),
        "pipeline" => runtime.block_on(client.call_in_pipelines(count, calls)),
        _ => panic!("no such mode: {mode}"),
    };
    // What only the first calls need is not measured.
    run(1000);
    let (start, cpu) = (Instant::now(), cpu_seconds());
    run(calls);
    let cpu = cpu_seconds() - cpu;
    println!("{:.1} {:.3}", calls as f64 / start.elapsed().as_secs_f64(), cpu * 1e6 / calls as f64);
}
