//! Scripts on a real cluster: where calls go, what is refused before it is sent, and what all servers say together.

mod support;

use rs_script::{Client, Options, Script, Status};
use support::calls::*;
use support::cluster::{Cluster, slot_of};

const NONE: [&str; 0] = [];

fn open(cluster: &Cluster) -> Client {
    let nodes: Vec<String> =
        cluster.nodes().iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
    Client::open(&format!("redis+cluster://{}", nodes.join(",")), &Options::default()).unwrap()
}

#[test]
fn scripts_run_where_their_keys_are() {
    let cluster = Cluster::start(3, 0);
    let client = open(&cluster);
    let script = Script::new("redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])");
    for number in 0..200 {
        let key = format!("key:{number}");
        let reply = client.call(&script, &[&key], &[&number.to_string()]).unwrap();
        assert_eq!(reply.as_str(), Some(number.to_string().as_str()));
    }
    let pipeline_start = client.stats();
    let mut pipeline = client.pipeline();
    for number in 0..200 {
        let key = format!("key:{number}");
        pipeline.command(&["SET", &key, "5"]).unwrap();
        pipeline.script(&script, &[&key], &["6"]).unwrap();
    }
    let replies = pipeline.exec().unwrap();
    assert_eq!(replies.root().len(), 400);
    for (index, reply) in replies.root().elements().enumerate() {
        assert_eq!(reply.as_str(), Some(if index % 2 == 0 { "OK" } else { "6" }), "{index}");
    }
    println!("{:?} {:?}", pipeline_start, client.stats());
    let mut transaction = client.transaction();
    transaction.command(&["SET", "{a}1", "5"]).unwrap();
    transaction.script(&script, &["{a}2"], &["6"]).unwrap();
    let error = transaction.script(&script, &["b"], &["6"]).err().expect("another slot");
    assert_eq!(error.status(), Status::CrossSlot);
    println!("{error}");
    println!("{:?}", transaction.exec().unwrap());
    println!("{}", client.call(&script, &["a", "b"], &NONE).unwrap_err());
    println!("{}", client.command(&["FLUSHALL"]).unwrap_err());
    println!(
        "{:?}",
        client.with_route(rs_script::Route::AllPrimaries).unwrap().command(&["DBSIZE"]).unwrap()
    );
    println!("{:?}", client.script_exists(&[script.sha_hex()]).unwrap());
    client.script_flush(rs_script::FlushMode::Sync).unwrap();
    println!("{:?}", client.script_exists(&[script.sha_hex()]).unwrap());
    client.script_load(&script).unwrap();
    println!("{:?}", client.script_exists(&[script.sha_hex()]).unwrap());
    println!("{}", client.script_kill().unwrap_err());
    println!("{}", slot_of(b"a"));
}
