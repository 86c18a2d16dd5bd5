//! Multiplies the number at a key.

use rs_script::{Client, Options, Script};

fn main() -> rs_script::Result<()> {
    println!("{}", multiply("redis://127.0.0.1:6379")?); // 10
    Ok(())
}

pub fn multiply(url: &str) -> rs_script::Result<i64> {
    let multiply = Script::new("return redis.call('GET', KEYS[1]) * ARGV[1]");
    let client = Client::open(url, &Options::default())?;
    client.command(("SET", "foo", 2))?;
    multiply.key("foo").arg(5).call(&client)
}
