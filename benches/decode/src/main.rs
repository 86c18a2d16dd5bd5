//! Decodes alone: `decode rs_script|redis FILE REPLIES` reads a reply from FILE, decodes and frees it so many times,
//! and prints nanoseconds per reply.

use std::hint::black_box;
use std::time::Instant;

fn measure(replies: u64, mut decode: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..replies {
        decode();
    }
    start.elapsed().as_nanos() as f64 / replies as f64
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [decoder, file, replies] = &arguments[..] else {
        panic!("usage: decode rs_script|redis FILE REPLIES")
    };
    let bytes = std::fs::read(file).expect("the file with the reply");
    let replies = replies.parse().expect("a number of replies");
    let nanoseconds = match decoder.as_str() {
        "rs_script" => {
            let mut codec = rs_script::Codec::default();
            measure(replies, || {
                let reply = codec.decode(black_box(&bytes)).expect("a reply");
                black_box(reply.len());
            })
        }
        "redis" => measure(replies, || {
            black_box(redis::parse_redis_value(black_box(&bytes)).expect("a reply"));
        }),
        _ => panic!("no such decoder: {decoder}"),
    };
    println!("{nanoseconds:.2}");
}
