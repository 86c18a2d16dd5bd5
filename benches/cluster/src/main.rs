//! redis-rs on a cluster: `cluster NODES KEYS call CALLERS CALLS` lets CALLERS tasks on one client make CALLS calls
//! of the multiply script, `call-threads` instead of `call` as many threads, `call-replica` read-only calls on
//! replicas, `call-pipelines` pipelines of 10; `cluster NODES KEYS pipeline SIZE CALLS` makes them in pipelines of
//! SIZE. Keys, all of them at 2, come from the file KEYS, a key a line. Prints calls per second and microseconds of
//! this process's CPU time per call.
//!
//! As each is fastest: tasks on a runtime of one thread (two take twice the CPU time for two thirds of the calls),
//! threads beside a runtime with one worker, and with TCP_NODELAY, which is not redis-rs's default.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_read_routing::RandomReplicaStrategy;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use redis::io::tcp::TcpSettings;
use redis::{Pipeline, Value, from_redis_value};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};

const MULTIPLY: &str = "return redis.call('GET', KEYS[1]) * ARGV[1]";
const PRODUCT: i64 = 10;
const IN_PIPELINE: usize = 10;

/// The client, with the script loaded on all primaries.
#[derive(Clone)]
struct Client {
    connection: ClusterConnection,
    sha: String,
    command: &'static str,
    keys: &'static [String],
}

impl Client {
    async fn open(nodes: &str, keys: &'static [String], reads_from_replicas: bool) -> Client {
        let nodes = nodes.split(',').map(|node| format!("redis://{node}"));
        let settings = TcpSettings::default().set_nodelay(true);
        let mut builder = ClusterClient::builder(nodes).tcp_settings(settings);
        if reads_from_replicas {
            builder = builder.read_routing_strategy(RandomReplicaStrategy);
        }
        let client = builder.build().expect("URLs");
        let mut connection = client.get_async_connection().await.expect("a connection");
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(MULTIPLY);
        let sha = load.query_async(&mut connection).await.expect("the script's SHA1");
        if reads_from_replicas {
            let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllNodes, None));
            connection.route_command(load, all).await.expect("the script on all nodes");
        }
        let command = if reads_from_replicas { "EVALSHA_RO" } else { "EVALSHA" };
        Client { connection, sha, command, keys }
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

    /// So many tasks make the calls in small pipelines.
    async fn pipelines_from(&self, tasks: usize, calls: usize) {
        let owners = Arc::new(owners(self.connection.clone()).await);
        let tasks: Vec<_> = (0..tasks)
            .map(|number| {
                let (client, owners, first) =
                    (self.clone(), Arc::clone(&owners), number * self.keys.len() / tasks);
                tokio::spawn(async move {
                    let mut upcoming = client.keys.iter().cycle().skip(first);
                    for _ in 0..calls / tasks / IN_PIPELINE {
                        client.call_in_pipeline(&owners, upcoming.by_ref().take(IN_PIPELINE)).await;
                    }
                })
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
            let mut call = redis::cmd(self.command);
            call.arg(&self.sha).arg(1).arg(key).arg("5");
            let product: i64 = call.query_async(&mut self.connection).await.expect("a product");
            assert_eq!(product, PRODUCT);
        }
    }

    /// Its asynchronous client refuses a pipeline with more than one slot, unless it is told the node. So its user
    /// finds the node of each key, and sends all nodes a pipeline of their own at once. Its blocking client splits
    /// pipelines by itself, one twentieth slower; one task a call makes two fifths of these calls.
    async fn call_in_pipelines(&self, size: usize, calls: usize) {
        let owners = owners(self.connection.clone()).await;
        let mut upcoming = self.keys.iter().cycle();
        for _ in 0..calls / size {
            self.call_in_pipeline(&owners, upcoming.by_ref().take(size)).await;
        }
    }

    async fn call_in_pipeline(&self, owners: &[Owner], keys: impl Iterator<Item = &String>) {
        let mut parts: Vec<_> = owners.iter().map(|_| (Pipeline::new(), Vec::new())).collect();
        let mut size = 0;
        for (place, key) in keys.enumerate() {
            let slot = crc16::State::<crc16::XMODEM>::calculate(key.as_bytes()) % 16384;
            let owner = owners.partition_point(|owner| owner.last_slot < slot);
            let (pipeline, places) = &mut parts[owner];
            pipeline.cmd("EVALSHA").arg(&self.sha).arg(1).arg(key).arg("5");
            places.push(place);
            size += 1;
        }
        let mut products = vec![0; size];
        let parts = parts.into_iter().zip(owners).filter(|((_, places), _)| !places.is_empty());
        let parts = parts.map(|((pipeline, places), owner)| async {
            (send(self.connection.clone(), pipeline, places.len(), owner.route()).await, places)
        });
        for (replies, places) in join_all(parts).await {
            assert_eq!(replies.len(), places.len());
            for (place, reply) in places.into_iter().zip(replies) {
                products[place] = from_redis_value(reply).expect("a product");
            }
        }
        assert!(products.iter().all(|&product| product == PRODUCT));
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
    fn of_range(range: Vec<Value>) -> Owner {
        let mut range = range.into_iter().skip(1);
        let (last_slot, primary) = (range.next().expect("a slot"), range.next().expect("a primary"));
        let (host, port, _, _): (String, u16, Value, Value) = from_redis_value(primary).expect("a server");
        Owner { last_slot: from_redis_value(last_slot).expect("a slot"), host, port }
    }

    fn route(&self) -> SingleNodeRoutingInfo {
        SingleNodeRoutingInfo::ByAddress { host: self.host.as_str().into(), port: self.port }
    }
}

/// The primaries in the order of their slots.
async fn owners(mut connection: ClusterConnection) -> Vec<Owner> {
    // The primary, and behind it the replicas, of a range.
    let slots: Vec<Vec<Value>> =
        redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await.expect("slots");
    let mut owners: Vec<_> = slots.into_iter().map(Owner::of_range).collect();
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
        panic!("usage: cluster NODES KEYS MODE CALLERS|SIZE CALLS")
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
    let client = runtime.block_on(Client::open(nodes, keys.leak(), mode == "call-replica"));
    let run = |calls| match mode.as_str() {
        "call" | "call-replica" => runtime.block_on(client.call_from(count, calls)),
        "call-pipelines" => runtime.block_on(client.pipelines_from(count, calls)),
        "call-threads" => client.call_from_threads(&runtime, count, calls),
        "pipeline" => runtime.block_on(client.call_in_pipelines(count, calls)),
        _ => panic!("no such mode: {mode}"),
    };
    // What only the first calls need is not measured.
    run(1000.max(10 * count));
    let (start, cpu) = (Instant::now(), cpu_seconds());
    run(calls);
    let cpu = cpu_seconds() - cpu;
    println!("{:.1} {:.3}", calls as f64 / start.elapsed().as_secs_f64(), cpu * 1e6 / calls as f64);
}
