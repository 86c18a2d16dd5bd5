//! Several shared connections to a server: what takes long on one holds up no others, and calls with a key in common
//! keep their order.

use crate::support;

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rs_script::{Client, Options, Queue, Reason, Script};
use support::calls::{LONG, NONE, options, take};
use support::cluster::Cluster;
use support::fake::{Conn, Fake};
use support::raw::Raw;
use support::server::Server;
use support::wait_until;

fn sharing(connections: usize) -> Options {
    let mut options = options(LONG);
    options.shared_connections(connections).unwrap();
    options
}

/// What a server has been sent, as `connection: command`, and whether it answers "GET slow" and its like.
#[derive(Default)]
struct Heard {
    commands: Mutex<Vec<String>>,
    answers_all: Mutex<bool>,
    changed: Condvar,
}

impl Heard {
    fn serve(&self, conn: &mut Conn) {
        while let Some(command) = conn.handshake() {
            let words: Vec<_> = command.iter().map(|word| String::from_utf8_lossy(word)).collect();
            let text = words.join(" ");
            self.commands.lock().unwrap().push(format!("{}: {text}", conn.index()));
            if text.starts_with("GET slow") {
                let answers = self.answers_all.lock().unwrap();
                drop(self.changed.wait_while(answers, |answers| !*answers).unwrap());
            }
            conn.write(b"+OK\r\n");
        }
    }

    fn answer_all(&self) {
        *self.answers_all.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn has(&self, command: &str) -> bool {
        self.commands.lock().unwrap().iter().any(|heard| heard.ends_with(&format!(": {command}")))
    }
}

#[test]
fn what_takes_long_holds_up_only_what_has_a_key_in_common() {
    let heard = Arc::new(Heard::default());
    let server = Fake::start({
        let heard = Arc::clone(&heard);
        move |conn| heard.serve(conn)
    });
    let client = Client::open(&server.url(), &sharing(3)).unwrap();
    let queue = Queue::new(100).unwrap();
    client.submit_command(&queue, 0, &["GET", "slow"]).unwrap();
    wait_until("the slow call is there", || heard.has("GET slow"));
    client.submit_command(&queue, 9, &["GET", "slow2"]).unwrap();
    wait_until("the other slow call is there", || heard.has("GET slow2"));
    // Others are answered meanwhile, submitted ones and blocking ones.
    client.submit_command(&queue, 1, &["GET", "other"]).unwrap();
    assert_eq!(take(&queue, 1)[0].tag, 1);
    client.command(&["GET", "another"]).unwrap();
    // With the key of one, behind it; with those of both, behind both.
    client.submit_command(&queue, 2, &["SET", "slow", "1"]).unwrap();
    client.submit_command(&queue, 3, &["MSET", "slow", "2", "slow2", "2"]).unwrap();
    // Anything: behind all, and all others behind it, one of which is called off and one of which has no time.
    client.submit_command(&queue, 4, &["FLUSHALL"]).unwrap();
    client.submit_command(&queue, 5, &["GET", "behind"]).unwrap();
    client.submit_command(&queue, 6, &["GET", "cancelled"]).unwrap();
    let hasty = client.with_timeout(Duration::from_millis(20));
    hasty.submit_command(&queue, 7, &["GET", "late"]).unwrap();
    assert_eq!(client.cancel(&queue, 6), 1);
    for completion in take(&queue, 2) {
        let error = completion.result.unwrap_err();
        let expected = if completion.tag == 6 { Reason::Cancelled } else { Reason::Deadline };
        assert_eq!((error.reason(), error.is_not_executed()), (expected, true), "{error}");
    }
    // What touches no data stands behind nothing.
    client.submit_command(&queue, 8, &["PING"]).unwrap();
    assert_eq!(take(&queue, 1)[0].tag, 8);
    assert!(!heard.has("GET behind"), "{:?}", heard.commands);
    heard.answer_all();
    let tags: Vec<u64> = take(&queue, 6).iter().map(|completion| completion.tag).collect();
    let place = |tag| tags.iter().position(|other| *other == tag);
    assert!(place(0) < place(2) && place(9) < place(3) && tags.ends_with(&[3, 4, 5]), "{tags:?}");
    let heard = heard.commands.lock().unwrap().clone();
    for text in ["1: GET slow2", "2: GET other", "0: SET slow 1"] {
        assert!(heard.contains(&text.to_owned()), "{heard:?}");
    }
    assert!(!heard.iter().any(|text| text.contains("cancelled") || text.contains("late")), "{heard:?}");
    assert_eq!(server.connections(), 3);
}

/// Appends numbers to lists, single calls and whole pipelines, and gives what is in each list then.
fn append(client: &Client, queue: &Queue, keys: &[String], pairs: bool) {
    let append = Script::new("for i = 1, #KEYS do redis.call('RPUSH', KEYS[i], ARGV[1]) end return #KEYS");
    let mut rng = fastrand::Rng::with_seed(7);
    let mut expected = vec![Vec::<String>::new(); keys.len()];
    let mut under_way = 0;
    for number in 0..3_000u64 {
        let mut pick = || rng.usize(..keys.len());
        let text = number.to_string();
        match number % 10 {
            0 => {
                let mut pipeline = client.pipeline();
                for _ in 0..4 {
                    let key = pick();
                    pipeline.script(&append, &[&keys[key]], &[&text]).unwrap();
                    expected[key].push(text.clone());
                }
                pipeline.submit(queue, number).unwrap();
            }
            1 if pairs => {
                let (one, other) = (pick(), pick());
                client.submit(queue, number, &append, &[&keys[one], &keys[other]], &[&text]).unwrap();
                expected[one].push(text.clone());
                expected[other].push(text.clone());
            }
            2 => client.submit_command(queue, number, &["PING"]).unwrap(),
            3 if pairs && number % 300 == 3 => client.submit_command(queue, number, &["DBSIZE"]).unwrap(),
            _ => {
                let key = pick();
                client.submit(queue, number, &append, &[&keys[key]], &[&text]).unwrap();
                expected[key].push(text.clone());
            }
        }
        under_way += 1;
        if under_way == 500 {
            under_way = 0;
            assert!(take(queue, 500).into_iter().all(|completion| completion.result.is_ok()));
        }
    }
    for (key, expected) in keys.iter().zip(expected) {
        let list = client.command(&["LRANGE", key, "0", "-1"]).unwrap();
        let list: Vec<_> =
            list.root().elements().map(|element| element.as_str().unwrap().to_owned()).collect();
        assert_eq!(list, expected, "{key}");
    }
}

#[test]
fn the_order_of_each_key_is_kept_whatever_connection_its_calls_take() {
    let (server, cluster) = (Server::start(), Cluster::start(3, 0));
    let keys: Vec<String> = (0..12).map(|number| format!("list{number}")).collect();
    for (url, pairs) in [(server.url(), true), (cluster.cluster_url(), false)] {
        for queue in [Queue::new(1_000).unwrap(), Queue::without_thread(1_000).unwrap()] {
            let mut options = sharing(4);
            options.client_name("sharing").unwrap();
            let client = Client::open(&url, &options).unwrap();
            append(&client, &queue, &keys, pairs);
            for key in &keys {
                client.command(&["DEL", key]).unwrap();
            }
            if pairs {
                let list = Raw::connect(&server).cmd(&["CLIENT", "LIST"]).text();
                let count = list.matches("name=sharing ").count();
                assert!((2..=4).contains(&count), "{list}");
            }
        }
    }
}

#[test]
fn all_connections_come_back_after_a_loss_and_end_with_the_client() {
    let server = Server::start();
    let mut options = sharing(3);
    options.client_name("several").unwrap();
    let client = Client::open(&server.url(), &options).unwrap();
    let queue = Queue::new(1_000).unwrap();
    let count = Script::new("return redis.call('INCR', KEYS[1])");
    let keys: Vec<String> = (0..100).map(|number| format!("key{number}")).collect();
    let mut raw = Raw::connect(&server);
    for round in 1..=3 {
        for (tag, key) in keys.iter().enumerate() {
            client.submit(&queue, tag as u64, &count, &[key], &NONE).unwrap();
        }
        for completion in take(&queue, keys.len()) {
            assert_eq!(completion.result.unwrap().as_i64(), Some(round));
        }
        raw.cmd(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        wait_until("the client has seen it", || client.command(&["PING"]).is_ok());
    }
    client.close();
    wait_until("nothing of it is left", || !raw.cmd(&["CLIENT", "LIST"]).text().contains("name=several "));
}
