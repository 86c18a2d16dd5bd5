//! Random histories of one connection against a model of the server: every cut of the stream, flushes and losses at any moment.
//!
//! A failure names its seed; the same seed gives the same history.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fastrand::Rng;

use super::{Facts, Session};
use crate::error::Status;
use crate::request::{Request, Shape};
use crate::resp::{Kind, Limits, Pool, Reply, ReplyRef};
use crate::script::{Script, Sha};

/// What the model of a server refuses.
#[derive(Clone, Copy, Debug, Default)]
struct Rights {
    no_load: bool,
    /// Comes and goes.
    no_multi: bool,
}

/// The key whose slot the server does not own yet: it is served behind ASKING alone.
const COMING: &[u8] = b"coming";

/// A server that knows just what the session speaks. Each script call is told apart by its one argument, a number.
struct Server {
    /// The command before was ASKING; within MULTI, the one before that.
    asking: bool,
    rights: Rights,
    scripts: HashSet<String>,
    executed: HashMap<u64, u32>,
    received: Vec<u8>,
    replies: Vec<u8>,
    multi: Option<Vec<Vec<Vec<u8>>>>,
}

const NOSCRIPT: &str = "-NOSCRIPT No matching script. Please use EVAL.\r\n";

impl Server {
    fn new(rights: Rights) -> Self {
        let (scripts, executed) = Default::default();
        Server {
            asking: false,
            rights,
            scripts,
            executed,
            received: Vec::new(),
            replies: Vec::new(),
            multi: None,
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
        while let Some((command, length)) = parse(&self.received) {
            self.received.drain(..length);
            let reply = self.answer(command);
            self.replies.extend_from_slice(reply.as_bytes());
        }
    }

    fn answer(&mut self, command: Vec<Vec<u8>>) -> String {
        if command[0] == b"ASKING" {
            self.asking = true;
            return "+OK\r\n".into();
        }
        let reply = self.answer_other(command);
        self.asking &= self.multi.is_some();
        reply
    }

    fn answer_other(&mut self, command: Vec<Vec<u8>>) -> String {
        match (&mut self.multi, command[0].as_slice()) {
            (None, b"MULTI") if self.rights.no_multi => {
                "-NOPERM this user has no permissions to run the 'multi' command\r\n".into()
            }
            (None, b"EXEC") => "-ERR EXEC without MULTI\r\n".into(),
            (None, b"MULTI") => {
                self.multi = Some(Vec::new());
                "+OK\r\n".into()
            }
            (Some(_), b"EXEC") => {
                let queued = self.multi.take().unwrap_or_default();
                let replies: Vec<String> = queued.into_iter().map(|command| self.run(command)).collect();
                format!("*{}\r\n{}", replies.len(), replies.concat())
            }
            (Some(queued), _) => {
                queued.push(command);
                "+QUEUED\r\n".into()
            }
            (None, _) => self.run(command),
        }
    }

    fn run(&mut self, command: Vec<Vec<u8>>) -> String {
        let name = String::from_utf8_lossy(&command[0]).into_owned();
        match name.as_str() {
            "SCRIPT" if self.rights.no_load => "-NOPERM this user has no permissions\r\n".into(),
            "SCRIPT" if command[2].starts_with(b"broken") => "-ERR Error compiling script\r\n".into(),
            "SCRIPT" => {
                let sha = Sha::of(&command[2]).to_string();
                self.scripts.insert(sha.clone());
                format!("$40\r\n{sha}\r\n")
            }
            _ if command.get(3).is_some_and(|key| key == COMING) && !self.asking => {
                "-MOVED 1 127.0.0.1:1\r\n".into()
            }
            "EVALSHA" | "EVALSHA_RO" => match self.scripts.contains(&*String::from_utf8_lossy(&command[1])) {
                true => self.execute(&command),
                false => NOSCRIPT.into(),
            },
            "EVAL" | "EVAL_RO" if command[1].starts_with(b"broken") => {
                "-ERR Error compiling script\r\n".into()
            }
            "EVAL" | "EVAL_RO" => {
                self.scripts.insert(Sha::of(&command[1]).to_string());
                self.execute(&command)
            }
            _ => "+PONG\r\n".into(),
        }
    }

    /// Answers with the number, nested now and then, so that replies differ in shape.
    fn execute(&mut self, command: &[Vec<u8>]) -> String {
        let id: u64 = String::from_utf8_lossy(&command[4]).parse().expect("a number");
        *self.executed.entry(id).or_default() += 1;
        if id.is_multiple_of(3) { format!("*2\r\n:{id}\r\n*1\r\n$1\r\nx\r\n") } else { format!(":{id}\r\n") }
    }
}

/// The first whole command and its length.
fn parse(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let mut at = 0;
    let number = |at: &mut usize| {
        let end = *at + bytes.get(*at..)?.iter().position(|&byte| byte == b'\n')?;
        let number: usize = std::str::from_utf8(&bytes[*at + 1..end - 1]).ok()?.parse().ok()?;
        *at = end + 1;
        Some(number)
    };
    let count = number(&mut at)?;
    let mut command = Vec::new();
    for _ in 0..count {
        let length = number(&mut at)?;
        command.push(bytes.get(at..at + length)?.to_vec());
        at += length + 2;
    }
    (at <= bytes.len()).then_some((command, at))
}

/// What a call was made of: a script's number for each item, `None` for a PING.
struct Expectation {
    shape: Shape,
    items: Vec<Option<u64>>,
    has_broken: bool,
    /// Flushes before it was submitted.
    flushes: u32,
    /// Transactions before it that were told that they had run singly, since MULTI was allowed last.
    told: u32,
}

struct World {
    seed: u64,
    rng: Rng,
    session: Session<usize>,
    server: Server,
    scripts: Vec<Script>,
    expectations: Vec<Option<Expectation>>,
    next_id: u64,
    flushes: u32,
    told: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let rights = Rights { no_load: rng.u8(..) < 40, no_multi: rng.u8(..) < 40 };
        let limits = Limits { max_bytes: 1 << 20, max_depth: 8 };
        World {
            seed,
            rng,
            session: Session::new(
                limits,
                Arc::new(Facts::new(Arc::default(), 1, false)),
                Arc::new(Pool::default()),
            ),
            server: Server::new(rights),
            scripts: ["one", "two", "three", "broken"].map(Script::new).to_vec(),
            expectations: Vec::new(),
            next_id: 1,
            flushes: 0,
            told: 0,
        }
    }

    fn submit(&mut self) {
        let shape = [Shape::Single, Shape::Pipeline, Shape::Transaction][self.rng.usize(..3)];
        let mut request = Box::<Request>::default();
        request.reset(shape);
        request.repair = self.rng.bool();
        request.trust_cache = false;
        request.asking = self.rng.u8(..) < 60;
        let key = if request.asking { COMING } else { b"k" };
        let count = if shape == Shape::Single { 1 } else { self.rng.usize(1..6) };
        let mut expectation = Expectation {
            shape,
            items: Vec::new(),
            has_broken: false,
            flushes: self.flushes,
            told: self.told,
        };
        for _ in 0..count {
            if self.rng.u8(..) < 50 {
                request.say(&[b"PING"]);
                expectation.items.push(None);
                continue;
            }
            let broken = self.rng.u8(..) < 12;
            let script = &self.scripts[if broken { 3 } else { self.rng.usize(..3) }];
            let id = self.next_id.to_string();
            request.script_call(script, &[key][..], &[id.as_str()][..], self.rng.bool()).expect("accepted");
            expectation.items.push(Some(self.next_id));
            expectation.has_broken |= broken;
            self.next_id += 1;
        }
        self.expectations.push(Some(expectation));
        self.session.submit(request, self.expectations.len() - 1);
    }

    fn send(&mut self, most: usize) {
        if let Some(mut chunk) = self.session.take_output() {
            let bytes = chunk.unsent()[..chunk.unsent().len().min(most)].to_vec();
            chunk.advance(bytes.len());
            self.session.put_back(chunk, bytes.len());
            self.server.receive(&bytes);
        }
    }

    fn receive(&mut self, most: usize) {
        let mut inbox = self.session.lend_inbox();
        let room = inbox.room();
        let count = self.server.replies.len().min(most).min(room.len());
        room[..count].copy_from_slice(&self.server.replies[..count]);
        inbox.fill(count);
        self.server.replies.drain(..count);
        self.session
            .receive(inbox, count)
            .unwrap_or_else(|refusal| panic!("seed {}: {refusal:?}", self.seed));
    }

    fn check_finished(&mut self) {
        while let Some(finished) = self.session.next_finished() {
            let expectation = self.expectations[finished.tag].take().expect("finished once");
            match finished.result {
                Ok(payload) => self.check_reply(&expectation, Reply::new(payload).root()),
                Err(error) => {
                    let times: Vec<u32> =
                        expectation.items.iter().flatten().map(|id| self.times(*id)).collect();
                    let seed = self.seed;
                    assert!(!error.message().contains("MOVED"), "seed {seed}: {error}: without ASKING");
                    assert!(times.iter().all(|&times| times <= 1), "seed {seed}: {error}: ran {times:?}");
                    if error.is_not_executed() {
                        assert!(times.iter().all(|&times| times == 0), "seed {seed}: {error}: ran {times:?}");
                    }
                    if error.status() == Status::NoScript {
                        // Loaded and called at once: only a flush in between can have that outcome.
                        let flushed = self.flushes > expectation.flushes;
                        assert!(expectation.shape == Shape::Single && flushed, "seed {seed}: {error}");
                    }
                    if error.message().contains("refused MULTI in the middle") {
                        assert_eq!(expectation.told, 0, "seed {seed}: {error}: once more");
                        // It may be allowed again by now.
                        self.told += u32::from(self.server.rights.no_multi);
                    }
                    if error.status() == Status::Compile {
                        assert!(expectation.has_broken, "seed {seed}: {error}");
                    }
                }
            }
        }
    }

    fn times(&self, id: u64) -> u32 {
        self.server.executed.get(&id).copied().unwrap_or(0)
    }

    fn check_reply(&self, expectation: &Expectation, root: ReplyRef<'_>) {
        let seed = self.seed;
        if expectation.shape == Shape::Single {
            return self.check_item(expectation, 0, root);
        }
        assert_eq!(root.len(), expectation.items.len(), "seed {seed}");
        for (item, reply) in root.elements().enumerate() {
            self.check_item(expectation, item, reply);
            assert_eq!(
                format!("{reply:?}"),
                format!("{:?}", root.get(item).expect("an element")),
                "seed {seed}"
            );
        }
    }

    fn check_item(&self, expectation: &Expectation, item: usize, reply: ReplyRef<'_>) {
        let seed = self.seed;
        let Some(id) = expectation.items[item] else {
            return assert_eq!(reply.as_str(), Some("PONG"), "seed {seed}");
        };
        if let Some(error) = reply.as_error() {
            assert!(!error.message().contains("MOVED"), "seed {seed}: {error}: without ASKING");
            assert!(error.is_not_executed() || error.message().contains("compiling"), "seed {seed}: {error}");
            assert_eq!(self.times(id), 0, "seed {seed}: item {item}: {error}");
            let is_missing = error.status() == Status::NoScript;
            // Where SCRIPT LOAD is refused there is no way to know beforehand whether a script compiles.
            let may_miss = expectation.shape == Shape::Pipeline || self.server.rights.no_load;
            assert!(!is_missing || may_miss, "seed {seed}: {error}");
            return;
        }
        let number = if reply.kind() == Kind::Array {
            reply.get(0).and_then(ReplyRef::as_i64)
        } else {
            reply.as_i64()
        };
        assert_eq!((number, self.times(id)), (Some(id as i64), 1), "seed {seed}: item {item}");
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            let some = self.rng.usize(1..200);
            match self.rng.u8(..100) {
                0..20 => self.submit(),
                20..55 => self.send(some),
                55..90 => self.receive(some),
                90..97 => {
                    self.server.scripts.clear();
                    self.flushes += 1;
                }
                97 => self.session.forget_scripts(),
                98 => {
                    self.server.rights.no_multi = !self.server.rights.no_multi;
                    if !self.server.rights.no_multi {
                        self.told = 0;
                        // What was told before says nothing of those that come when MULTI is taken away again.
                        self.expectations.iter_mut().flatten().for_each(|expectation| expectation.told = 0);
                    }
                }
                _ if self.rng.u8(..) < 100 => {
                    self.session.fail(Status::Connect, "lost");
                    self.check_finished();
                    return;
                }
                _ => {}
            }
            self.check_finished();
        }
        while !self.session.is_idle() {
            self.send(usize::MAX);
            self.receive(usize::MAX);
            self.check_finished();
        }
        assert!(self.expectations.iter().all(Option::is_none), "seed {}: a call has no end", self.seed);
    }
}

#[test]
fn every_history_ends_each_call_once_with_the_truth() {
    for seed in 0..3_000 {
        World::new(seed).run(150);
    }
}
