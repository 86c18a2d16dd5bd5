//! Sets foo to 5 and multiplies it by 5, as a pipeline and as a transaction. Prints OK 25, twice.

use rs_script::{Client, Options, Pipeline, Reply, Script};

fn main() -> rs_script::Result<()> {
    let client = Client::open("redis://127.0.0.1:6379", &Options::default())?;
    let multiply = Script::new("return redis.call('GET', KEYS[1]) * ARGV[1]");
    println!("{}", set_and_multiply(client.pipeline(), &multiply)?);
    println!("{}", set_and_multiply(client.transaction(), &multiply)?);
    Ok(())
}

pub fn set_and_multiply(mut pipeline: Pipeline, multiply: &Script) -> rs_script::Result<String> {
    pipeline.command(&["SET", "foo", "5"])?.script(multiply, &["foo"], &["5"])?;
    let replies: Reply = pipeline.exec()?;
    for reply in replies.root().elements() {
        reply.as_error().map_or(Ok(()), Err)?; // an item's error is its element
    }
    let reply = |item| replies.get(item).unwrap_or_default();
    Ok(format!("{} {}", reply(0).as_str().unwrap_or("?"), reply(1).as_i64().unwrap_or(0)))
}
