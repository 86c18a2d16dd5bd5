//! A thousand calls at once as futures, on tokio; any other executor will do as well.

use std::time::Duration;

use rs_script::{Client, Options, Script};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
    println!("{}", runtime.block_on(count("redis://127.0.0.1:6379"))?);
    Ok(())
}

pub async fn count(url: &str) -> Result<u64, Box<dyn std::error::Error>> {
    let client = Client::open_async(url, &Options::default()).await?;
    let count = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    let tasks: Vec<_> =
        (0..1000).map(|_| tokio::spawn(count.key("count").arg(1).call_async::<u64>(&client))).collect();
    for task in tasks {
        if let Err(error) = task.await? {
            // Whether it may be tried again is known.
            eprintln!("{error} (not executed: {})", error.is_not_executed());
        }
    }

    // A call that nobody wants any more is dropped: it is called off, on the server too where it waits there.
    let message = client.command_async(("BLPOP", "messages", 0));
    if tokio::time::timeout(Duration::from_millis(100), message).await.is_err() {
        println!("no message");
    }
    Ok(client.command_async(("GET", "count")).to().await?)
}
