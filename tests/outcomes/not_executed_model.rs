//! Servers that run calls, refuse them, lose them and let scripts make things up, as a seed has it: whatever comes of
//! a call, what its error says is true. Once a call was sent, "not executed" needs a proof for each of its sends.

use crate::support;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rs_script::{Client, Completion, Error, Options, Pipeline, Queue, Script};
use support::calls::take;
use support::fake::{Conn, Fake};

/// The slot of the only key.
const SLOT: u16 = 12182;
const KEY: &str = "foo";

const WORLDS: u64 = 24;
const THREADS: u64 = 4;
const CALLS: u64 = 12;

/// What the servers of a world share: they tell the truth when they are asked who they are.
struct World {
    rng: Mutex<fastrand::Rng>,
    ports: Mutex<Vec<u16>>,
    /// Which of them has the slots.
    owner: usize,
    scripts: Mutex<HashSet<Vec<u8>>>,
    /// How often each call was executed.
    ran: Mutex<HashMap<u64, u32>>,
}

impl World {
    fn start(seed: u64, is_cluster: bool) -> (Arc<World>, Vec<Fake>) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let count = if is_cluster { 2 } else { 1 };
        let world = Arc::new(World {
            owner: rng.usize(..count),
            rng: Mutex::new(rng),
            ports: Mutex::default(),
            scripts: Mutex::default(),
            ran: Mutex::default(),
        });
        let servers: Vec<Fake> = (0..count)
            .map(|me| {
                let world = Arc::clone(&world);
                Fake::start(move |conn| world.serve(conn, me))
            })
            .collect();
        world.ports.lock().unwrap().extend(servers.iter().map(Fake::port));
        (world, servers)
    }

    fn chance(&self, of: usize) -> usize {
        self.rng.lock().unwrap().usize(..of)
    }

    fn serve(&self, conn: &mut Conn, me: usize) {
        if self.chance(20) == 0 {
            return;
        }
        while let Some(words) = conn.handshake() {
            match self.answer(me, &words) {
                Answer::Say(text) => conn.write(text.as_bytes()),
                Answer::Nothing => return conn.hang(),
                Answer::End => return conn.reset(),
            }
        }
    }

    fn answer(&self, me: usize, words: &[Vec<u8>]) -> Answer {
        let word = |at: usize| words.get(at).map(|word| word.to_ascii_uppercase()).unwrap_or_default();
        match (word(0).as_slice(), word(1).as_slice()) {
            (b"CLUSTER", b"SLOTS") => {
                // Some have not heard of the latest.
                let ports = self.ports.lock().unwrap();
                let told = ports[self.chance(ports.len())];
                Answer::Say(format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{told}\r\n"))
            }
            (b"CLUSTER", b"NODES") => Answer::Say(self.nodes(me)),
            (b"CLUSTER", _) => Answer::Say("$16\r\ncluster_state:ok\r\n".into()),
            (b"ASKING", _) => Answer::Say("+OK\r\n".into()),
            (b"ROLE", _) => Answer::Say("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n".into()),
            (b"SCRIPT", _) => match self.chance(12) {
                0 => Answer::Say("-LOADING Redis is loading the dataset in memory\r\n".into()),
                _ => {
                    let sha = Script::new(words[2].clone()).sha_hex().to_owned();
                    self.scripts.lock().unwrap().insert(sha.clone().into_bytes());
                    Answer::Say(format!("$40\r\n{sha}\r\n"))
                }
            },
            (name, _) => self.call(me, name, words),
        }
    }

    fn nodes(&self, me: usize) -> String {
        let ports = self.ports.lock().unwrap();
        let line = |(node, port): (usize, &u16)| {
            let myself = if node == me { "myself," } else { "" };
            let slots = if node == self.owner { " 0-16383" } else { "" };
            format!("{node:040} 127.0.0.1:{port}@1{port} {myself}master - 0 0 1 connected{slots}\n")
        };
        let text: String = ports.iter().enumerate().map(line).collect();
        format!("${}\r\n{text}\r\n", text.len())
    }

    fn call(&self, me: usize, name: &[u8], words: &[Vec<u8>]) -> Answer {
        let is_script = name.starts_with(b"EVAL");
        let id: u64 = String::from_utf8_lossy(&words[words.len() - 1]).parse().expect("a call's number");
        let ports = self.ports.lock().unwrap().clone();
        let other = ports[(me + 1) % ports.len()];
        if me != self.owner {
            return match self.chance(8) {
                0 => Answer::End,
                1 => Answer::Nothing,
                _ => Answer::Say(format!("-MOVED {SLOT} 127.0.0.1:{}\r\n", ports[self.owner])),
            };
        }
        if name.starts_with(b"EVALSHA") && !self.scripts.lock().unwrap().contains(&words[1]) {
            return Answer::Say("-NOSCRIPT No matching script. Please use EVAL.\r\n".into());
        }
        let refused = match self.chance(20) {
            0 => Some(Answer::End),
            1 => Some(Answer::Nothing),
            2 => Some(Answer::Say("-LOADING Redis is loading the dataset in memory\r\n".into())),
            3 => Some(Answer::Say(
                "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n"
                    .into(),
            )),
            4 => Some(Answer::Say("what is this\r\n".into())),
            _ => None,
        };
        if let Some(refused) = refused {
            return refused;
        }
        *self.ran.lock().unwrap().entry(id).or_default() += 1;
        let made_up = |text: String| Answer::Say(format!("-{text}\r\n"));
        match (self.chance(24), is_script) {
            (0, _) => Answer::End,
            (1, _) => Answer::Nothing,
            (2, _) => Answer::Say("?\r\n".into()),
            (3 | 4, true) => made_up(format!("MOVED {SLOT} 127.0.0.1:{other}")),
            (5, true) => made_up(format!("MOVED {SLOT} 127.0.0.1:{}", ports[me])),
            (6, true) => made_up(format!("MOVED {SLOT} 127.0.0.1:1")),
            (7, true) => made_up(format!("ASK {SLOT} 127.0.0.1:{other}")),
            (8, true) => made_up("TRYAGAIN Multiple keys request during rehashing of slot".into()),
            (9, true) => made_up("CLUSTERDOWN The cluster is down".into()),
            (10, true) => made_up("READONLY You can't write against a read only replica.".into()),
            (11, true) => made_up("LOADING Redis is loading the dataset in memory".into()),
            (12, true) => made_up("OOM command not allowed when used memory > 'maxmemory'.".into()),
            (13, true) => made_up("ERR mine".into()),
            _ => Answer::Say(":1\r\n".into()),
        }
    }
}

enum Answer {
    Say(String),
    Nothing,
    End,
}

/// What a call was said to have come to.
#[derive(Debug)]
struct Told {
    id: u64,
    is_idempotent: bool,
    result: Result<(), Error>,
}

/// Makes calls of every form; what each was said to have come to.
fn call(client: &Client, seed: u64, next: &AtomicU64) -> Vec<Told> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let scripts = [Script::new("return 1"), Script::idempotent("return 2")];
    let queue = Queue::new(64).unwrap();
    let mut told = Vec::new();
    for _ in 0..CALLS {
        let client = client.with_timeout(Duration::from_millis(rng.u64(40..160)));
        let is_idempotent = rng.bool();
        let script = &scripts[usize::from(is_idempotent)];
        let new_id = || next.fetch_add(1, Ordering::Relaxed);
        let id = new_id();
        let args = [id.to_string()];
        let command = ["HINCRBY", KEY, "field", &args[0]];
        let of_one =
            |is_idempotent, result: Result<_, Error>| Told { id, is_idempotent, result: result.map(drop) };
        let of_queue = || take(&queue, 1).remove(0);
        match rng.u8(..6) {
            0 => {
                let result = client.call(script, &[KEY], &args);
                told.push(of_one(is_idempotent, result.map(drop)));
            }
            1 => {
                client.submit(&queue, 1, script, &[KEY], &args).unwrap();
                told.push(of_one(is_idempotent, of_queue().result.map(drop)));
            }
            2 => told.push(of_one(false, client.command(&command).map(drop))),
            3 => {
                client.submit_command(&queue, 1, &command).unwrap();
                told.push(of_one(false, of_queue().result.map(drop)));
            }
            form => {
                let ids: Vec<u64> = [id].into_iter().chain((0..2).map(|_| new_id())).collect();
                let mut pipeline = client.pipeline();
                for id in &ids {
                    pipeline.script(script, &[KEY], &[id.to_string()]).unwrap();
                }
                let (result, arrived) = if form == 4 {
                    let result = pipeline.exec();
                    (result, Pipeline::arrived(&mut pipeline))
                } else {
                    pipeline.submit(&queue, 1).unwrap();
                    let Completion { result, arrived, .. } = of_queue();
                    (result, arrived)
                };
                let (replies, error) = match result {
                    Ok(replies) => (Some(replies), None),
                    Err(error) => (arrived, Some(error)),
                };
                for (index, &id) in ids.iter().enumerate() {
                    let reply = replies.as_ref().and_then(|replies| replies.get(index));
                    let result = match (reply, &error) {
                        (Some(reply), _) => reply.as_error().map_or(Ok(()), Err),
                        (None, Some(error)) => Err(error.clone()),
                        (None, None) => panic!("{id} has no reply and no error"),
                    };
                    told.push(Told { id, is_idempotent, result });
                }
            }
        }
    }
    told
}

fn check(seed: u64, is_cluster: bool) {
    let (world, servers) = World::start(seed, is_cluster);
    let mut options = Options::default();
    options.lazy_connect(true).reconnect_attempts(3);
    options.reconnect_backoff(Duration::from_millis(1), Duration::from_millis(10)).unwrap();
    options.connect_timeout(Duration::from_millis(500)).unwrap();
    let url = if is_cluster {
        let addresses: Vec<String> = servers.iter().map(|server| server.address().to_string()).collect();
        format!("redis+cluster://{}", addresses.join(","))
    } else {
        servers[0].url()
    };
    let client = Client::open(&url, &options).unwrap();
    let next = AtomicU64::new(0);
    let told: Vec<Told> = thread::scope(|scope| {
        let callers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (client, next) = (&client, &next);
                scope.spawn(move || call(client, seed * THREADS + thread, next))
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    drop(client);
    // Their threads have read all that was sent to them then.
    drop(servers);
    let ran = world.ran.lock().unwrap();
    for Told { id, is_idempotent, result } in told {
        let times = ran.get(&id).copied().unwrap_or(0);
        let what =
            format!("seed {seed}, cluster {is_cluster}, call {id} was executed {times} times: {result:?}");
        assert!(is_idempotent || times <= 1, "{what}");
        match result {
            Ok(()) => assert!(times > 0, "{what}"),
            Err(error) => {
                assert!(!(error.is_not_executed() && error.is_indeterminate()), "{what}");
                assert!(!error.is_not_executed() || times == 0, "{what}");
            }
        }
    }
}

#[test]
fn on_one_server() {
    (0..WORLDS).for_each(|seed| check(seed, false));
}

#[test]
fn in_a_cluster() {
    (0..WORLDS).for_each(|seed| check(1000 + seed, true));
}
