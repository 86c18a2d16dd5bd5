//! A library of functions as code: nobody deploys it, and each program calls the version that it was built with.

use rs_script::{Client, Library, Options};

const STOCK: &str = "#!lua name=stock
redis.register_function('take', function(keys, args)
    local left = tonumber(redis.call('GET', keys[1]) or 0) - args[1]
    if left < 0 then return redis.error_reply('SOLDOUT') end
    redis.call('SET', keys[1], left)
    return left
end)
redis.register_function{
    function_name = 'left',
    callback = function(keys) return redis.call('GET', keys[1]) end,
    flags = {'no-writes'},
}";

fn main() -> rs_script::Result<()> {
    let client = Client::open("redis://127.0.0.1:6379", &Options::default())?;
    client.command(("SET", "book", 5))?;
    println!("{:?}", take_two(&client)?); // (3, 3)
    Ok(())
}

pub fn take_two(client: &Client) -> rs_script::Result<(i64, i64)> {
    let stock = Library::pinned(STOCK)?;
    let (take, left) = (stock.function("take")?, stock.function("left")?);
    Ok((take.key("book").arg(2).call(client)?, left.key("book").read_only().call(client)?))
}
