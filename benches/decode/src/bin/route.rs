//! Routes alone: `route ROUNDS` looks up the servers of keys with and without a hash tag in a cluster of three
//! primaries, and prints nanoseconds per key.

use std::hint::black_box;
use std::time::Instant;

const KEYS: [&[u8]; 4] = [b"foo", b"user:1000:visits", b"{user:1000}:visits", b"cache:{tenant-17}:page:about"];

fn main() {
    let rounds: u32 = std::env::args().nth(1).and_then(|rounds| rounds.parse().ok()).expect("usage: route ROUNDS");
    let routes = rs_script::Routes::new(3);
    let start = Instant::now();
    for _ in 0..rounds {
        for key in KEYS {
            black_box(routes.node_of(black_box(key)));
        }
    }
    let keys = f64::from(rounds) * KEYS.len() as f64;
    println!("{:.2}", start.elapsed().as_nanos() as f64 / keys);
}
