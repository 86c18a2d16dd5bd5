//! Sets foo to 5 and multiplies it by 5, as a pipeline and as a transaction.

use rs_script::{Client, Options, Pipeline, Script};

fn main() -> rs_script::Result<()> {
    let client = Client::open("redis://127.0.0.1:6379", &Options::default())?;
    let multiply = Script::new("return redis.call('GET', KEYS[1]) * ARGV[1]");
    println!("{:?}", set_and_multiply(client.pipeline(), &multiply)?); // ("OK", 25)
    println!("{:?}", set_and_multiply(client.transaction(), &multiply)?);
    Ok(())
}

pub fn set_and_multiply(mut pipeline: Pipeline, multiply: &Script) -> rs_script::Result<(String, i64)> {
    pipeline.command(("SET", "foo", 5))?.script(multiply, "foo", 5)?;
    // One value an item. An item's error is that of all, unless its type is a `Result`.
    pipeline.exec()?.to()
}
