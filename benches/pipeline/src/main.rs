//! redis-rs: `pipeline PORT SIZE CALLS` makes CALLS calls of the multiply script, SIZE of them a pipeline, and prints
//! calls per second.

use std::time::Instant;

use redis::Connection;

const MULTIPLY: &str = "return redis.call('GET', KEYS[1]) * ARGV[1]";

fn run(connection: &mut Connection, sha: &str, size: usize) {
    let mut pipeline = redis::Pipeline::with_capacity(size);
    for _ in 0..size {
        pipeline.cmd("EVALSHA").arg(sha).arg(1).arg("foo").arg("5");
    }
    let products: Vec<i64> = pipeline.query(connection).expect("the replies");
    assert!(products.len() == size && products.iter().all(|&product| product == 10));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, size, calls] = &arguments[..] else { panic!("usage: pipeline PORT SIZE CALLS") };
    let size: usize = size.parse().expect("the size of a pipeline");
    let calls: usize = calls.parse().expect("a number of calls");
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).expect("a URL");
    let mut connection = client.get_connection().expect("a connection");
    let () = redis::cmd("SET").arg("foo").arg("2").query(&mut connection).expect("OK");
    let sha: String =
        redis::cmd("SCRIPT").arg("LOAD").arg(MULTIPLY).query(&mut connection).expect("the script's SHA1");
    run(&mut connection, &sha, size);
    let start = Instant::now();
    for _ in 0..calls / size {
        run(&mut connection, &sha, size);
    }
    println!("{:.1}", calls as f64 / start.elapsed().as_secs_f64());
}
