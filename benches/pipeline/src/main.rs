//! redis-rs on one server: `pipeline PORT call THREADS CALLS` lets each thread, with a connection of its own, make
//! CALLS calls of the multiply script, one by one; `pipeline PORT pipeline SIZE CALLS` makes CALLS of them on one
//! connection, SIZE in a pipeline. Prints calls per second and microseconds of this process's CPU time per call.

use std::thread;
use std::time::Instant;

use redis::io::tcp::TcpSettings;
use redis::{Client, Connection, IntoConnectionInfo};
use rustix::time::{ClockId, clock_gettime};

const MULTIPLY: &str = "return redis.call('GET', KEYS[1]) * ARGV[1]";

fn call(connection: &mut Connection, sha: &str) {
    let mut call = redis::cmd("EVALSHA");
    let product: i64 = call.arg(sha).arg(1).arg("foo").arg("5").query(connection).expect("the reply");
    assert_eq!(product, 10);
}

fn run(connection: &mut Connection, sha: &str, size: usize) {
    let mut pipeline = redis::Pipeline::with_capacity(size);
    for _ in 0..size {
        pipeline.cmd("EVALSHA").arg(sha).arg(1).arg("foo").arg("5");
    }
    let products: Vec<i64> = pipeline.query(connection).expect("the replies");
    assert!(products.len() == size && products.iter().all(|&product| product == 10));
}

/// As is fastest: with TCP_NODELAY, which is not redis-rs's default.
fn open(port: &str) -> Client {
    let info = format!("redis://127.0.0.1:{port}").into_connection_info().expect("a URL");
    Client::open(info.set_tcp_settings(TcpSettings::default().set_nodelay(true))).expect("a URL")
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, mode, count, calls] = &arguments[..] else {
        panic!("usage: pipeline PORT call|pipeline THREADS|SIZE CALLS")
    };
    let count: usize = count.parse().expect("a number of threads, or the size of a pipeline");
    let calls: usize = calls.parse().expect("a number of calls");
    let client = open(port);
    let mut connection = client.get_connection().expect("a connection");
    let () = redis::cmd("SET").arg("foo").arg("2").query(&mut connection).expect("OK");
    let sha: String =
        redis::cmd("SCRIPT").arg("LOAD").arg(MULTIPLY).query(&mut connection).expect("the script's SHA1");
    let mut connections = vec![connection];
    let made = match mode.as_str() {
        "call" => {
            connections.resize_with(count, || client.get_connection().expect("a connection"));
            count * calls
        }
        "pipeline" => calls / count * count,
        _ => panic!("no such mode: {mode}"),
    };
    run(&mut connections[0], &sha, if mode == "call" { 1 } else { count });
    let (start, cpu) = (Instant::now(), cpu_seconds());
    if mode == "pipeline" {
        for _ in 0..calls / count {
            run(&mut connections[0], &sha, count);
        }
    } else if let [connection] = &mut connections[..] {
        (0..calls).for_each(|_| call(connection, &sha));
    } else {
        thread::scope(|scope| {
            for connection in &mut connections {
                scope.spawn(|| (0..calls).for_each(|_| call(connection, &sha)));
            }
        });
    }
    let cpu = cpu_seconds() - cpu;
    println!("{:.1} {:.3}", made as f64 / start.elapsed().as_secs_f64(), cpu * 1e6 / made as f64);
}
