//! Random histories of one connection against a model of the server: every cut of the stream, flushes, losses and
//! push messages at any moment.
//!
//! A failure names its seed; the same seed gives the same history.

mod asides;
mod functions;
mod learning;

use std::collections::HashMap;
use std::sync::Arc;

use fastrand::Rng;

use super::{Facts, Session};
use crate::base::sha::Sha;
use crate::error::{Error, Reason, Status};
use crate::request::script::Script;
use crate::request::{Flags, Request, Shape};
use crate::resp::{Kind, Limits, Pool, Refusal, Reply, ReplyRef};
use functions::Libraries;

/// What the model of a server refuses, and how it speaks.
#[derive(Clone, Copy, Debug, Default)]
struct Rights {
    no_load: bool,
    /// Comes and goes.
    no_multi: bool,
    no_eval: bool,
    no_evalsha: bool,
    /// It has no EVALSHA_RO and EVAL_RO, and does not say so beforehand.
    no_read_only: bool,
    /// It says NOSCRIPT in words of its own.
    own_words: bool,
    /// It loses scripts between any two commands, so often in 256.
    flushes: u8,
}

impl Rights {
    fn random(rng: &mut Rng) -> Self {
        Rights {
            no_multi: rng.u8(..) < 40,
            no_load: rng.u8(..) < 60,
            no_eval: rng.u8(..) < 40,
            no_evalsha: rng.u8(..) < 40,
            no_read_only: rng.u8(..) < 40,
            own_words: rng.u8(..) < 60,
            flushes: if rng.bool() { 0 } else { rng.u8(..100) },
        }
    }

    /// Whether every script can be brought to this server for certain.
    fn are_enough(self) -> bool {
        !self.no_eval
    }
}

/// The key whose slot the server does not own yet: it is served behind ASKING alone.
const COMING: &[u8] = b"coming";

/// Push messages of all shapes, as they may stand between any two replies.
pub(crate) const PUSHES: [&[u8]; 6] = [
    b">0\r\n",
    b">1\r\n+x\r\n",
    b">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n",
    b">2\r\n$10\r\ninvalidate\r\n_\r\n",
    b">3\r\n+message\r\n$2\r\nch\r\n$7\r\n:1\r\n*1\r\r\n",
    b">3\r\n%1\r\n+a\r\n~1\r\n:1\r\n|1\r\n+k\r\n*0\r\n*0\r\n-E\r\n",
];

/// An attribute, as it may stand in front of any value.
const ATTRIBUTE: &[u8] = b"|1\r\n+ttl\r\n*2\r\n:1\r\n$1\r\nx\r\n";

/// A server that knows just what the session speaks. Each script call is told apart by its one argument, a number.
struct Server {
    /// The command before was ASKING; within MULTI, the one before that.
    asking: bool,
    rights: Rights,
    rng: Rng,
    flushed: u32,
    /// The scripts that it has, and whether EVAL has brought each: such a script may go alone.
    scripts: HashMap<String, bool>,
    libraries: Libraries,
    executed: HashMap<u64, u32>,
    /// The order in which calls were executed.
    order: HashMap<u64, usize>,
    received: Vec<u8>,
    replies: Vec<u8>,
    multi: Option<Vec<Vec<Vec<u8>>>>,
    /// When it says what nobody has asked for.
    whims: Rng,
    /// The call that it has answered with more than the limit.
    oversized: Option<u64>,
    /// A command was refused when it was queued.
    aborted: bool,
    /// How often MULTI was allowed again; how often it had been when MULTI was refused last, and when a call ran behind
    /// that.
    allowances: u32,
    refused_at: u32,
    ran_at: HashMap<u64, u32>,
}

const NOSCRIPT: &str = "-NOSCRIPT No matching script. Please use EVAL.\r\n";
const BUSY: &str =
    "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n";
const OWN_NOSCRIPT: &str = "-NOSCRIPT there is no such script here\r\n";

impl Server {
    fn new(rights: Rights, rng: Rng, whims: Rng) -> Self {
        let (scripts, executed, order) = Default::default();
        Server {
            asking: false,
            rights,
            rng,
            flushed: 0,
            scripts,
            libraries: Libraries::default(),
            executed,
            order,
            received: Vec::new(),
            replies: Vec::new(),
            multi: None,
            whims,
            oversized: None,
            aborted: false,
            allowances: 0,
            refused_at: 0,
            ran_at: HashMap::new(),
        }
    }

    fn push(&mut self) {
        self.replies.extend_from_slice(PUSHES[self.whims.usize(..PUSHES.len())]);
    }

    /// Why a command is refused, whatever its arguments.
    fn refusal(&self, command: &[Vec<u8>]) -> Option<String> {
        let name = String::from_utf8_lossy(&command[0]).into_owned();
        if let Some(refusal) = self.libraries.refusal(&name) {
            return Some(refusal);
        }
        let (is_sha, is_eval) = (name.starts_with("EVALSHA"), name.starts_with("EVAL"));
        if self.rights.no_read_only && name.starts_with("EVAL") && name.ends_with("_RO") {
            return Some(format!("-ERR unknown command '{name}', with args beginning with: 'x' \r\n"));
        }
        let is_forbidden = is_sha && self.rights.no_evalsha
            || is_eval && !is_sha && self.rights.no_eval
            || name == "SCRIPT" && self.rights.no_load;
        let name = name.to_lowercase();
        is_forbidden.then(|| format!("-NOPERM User u has no permissions to run the '{name}' command\r\n"))
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
        while let Some((command, length)) = parse(&self.received) {
            self.received.drain(..length);
            let reply = self.answer(command);
            while self.whims.u8(..) < 40 {
                self.push();
            }
            if self.whims.u8(..) < 20 {
                self.replies.extend_from_slice(ATTRIBUTE);
            }
            self.replies.extend_from_slice(reply.as_bytes());
        }
    }

    fn flush(&mut self) {
        self.libraries.flush();
        self.scripts.clear();
        self.flushed += 1;
    }

    /// Somebody flushes the scripts, or those that EVAL has brought make room.
    fn lose_scripts(&mut self) {
        if self.rng.u8(..) < self.rights.flushes {
            if self.rng.bool() {
                self.flush();
            } else {
                self.scripts.retain(|_, evicted| !*evicted);
                self.flushed += 1;
            }
        }
    }

    fn answer(&mut self, command: Vec<Vec<u8>>) -> String {
        self.lose_scripts();
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
                self.refused_at = self.allowances;
                "-NOPERM this user has no permissions to run the 'multi' command\r\n".into()
            }
            (None, b"EXEC") => "-ERR EXEC without MULTI\r\n".into(),
            (None, b"MULTI") => {
                self.multi = Some(Vec::new());
                "+OK\r\n".into()
            }
            (Some(_), b"EXEC") => {
                let queued = self.multi.take().unwrap_or_default();
                if std::mem::take(&mut self.aborted) {
                    return "-EXECABORT Transaction discarded because of previous errors.\r\n".into();
                }
                let replies: Vec<String> = queued.into_iter().map(|command| self.run(command)).collect();
                format!("*{}\r\n{}", replies.len(), replies.concat())
            }
            (Some(queued), _) => {
                queued.push(command);
                let refusal =
                    self.refusal(self.multi.as_ref().and_then(|queued| queued.last()).expect("queued"));
                self.aborted |= refusal.is_some();
                refusal.unwrap_or_else(|| "+QUEUED\r\n".into())
            }
            // For a moment: the script that is called behind it is run again.
            (None, b"SCRIPT" | b"FUNCTION") if self.whims.u8(..) < 10 => BUSY.into(),
            (None, _) => self.run(command),
        }
    }

    fn run(&mut self, command: Vec<Vec<u8>>) -> String {
        let name = String::from_utf8_lossy(&command[0]).into_owned();
        if let Some(refusal) = self.refusal(&command) {
            return refusal;
        }
        match name.as_str() {
            "FUNCTION" => self.libraries.load(&command[2]),
            "SCRIPT" if command[2].starts_with(b"broken") => "-ERR Error compiling script\r\n".into(),
            "SCRIPT" => {
                let sha = Sha::of(&command[2]).to_string();
                self.scripts.insert(sha.clone(), false);
                format!("$40\r\n{sha}\r\n")
            }
            _ if command.get(3).is_some_and(|key| key == COMING) && !self.asking => {
                "-MOVED 1 127.0.0.1:1\r\n".into()
            }
            "FCALL" | "FCALL_RO" => match self.libraries.missing(&command) {
                Some(refusal) => refusal,
                None => self.execute(&command),
            },
            "EVALSHA" | "EVALSHA_RO" => {
                match self.scripts.contains_key(&*String::from_utf8_lossy(&command[1])) {
                    true => self.execute(&command),
                    false if self.rights.own_words => OWN_NOSCRIPT.into(),
                    false => NOSCRIPT.into(),
                }
            }
            "EVAL" | "EVAL_RO" if command[1].is_empty() => "$-1\r\n".into(),
            "EVAL" | "EVAL_RO" if command[1].starts_with(b"broken") => {
                "-ERR Error compiling script\r\n".into()
            }
            "EVAL" | "EVAL_RO" => {
                self.scripts.entry(Sha::of(&command[1]).to_string()).or_insert(true);
                self.execute(&command)
            }
            _ if self.whims.u8(..) < 10 => {
                "-OOM command not allowed when used memory > 'maxmemory'.\r\n".into()
            }
            _ => "+PONG\r\n".into(),
        }
    }

    /// Answers with the number, nested now and then, so that replies differ in shape.
    fn execute(&mut self, command: &[Vec<u8>]) -> String {
        let id: u64 =
            String::from_utf8_lossy(command.last().expect("an argument")).parse().expect("a number");
        *self.executed.entry(id).or_default() += 1;
        self.ran_at.insert(id, self.refused_at);
        self.order.insert(id, self.order.len());
        if self.oversized.is_none() && self.whims.u16(..) < 100 {
            self.oversized = Some(id);
            return format!("${}\r\n", LIMITS.max_bytes + 1);
        }
        if command[0].starts_with(b"FCALL") {
            let function = String::from_utf8_lossy(&command[1]);
            if let Some(forged) = functions::forged(&self.libraries, id, &function) {
                return forged;
            }
        }
        // Scripts make up what servers say.
        match id % 16 {
            _ if command[0].starts_with(b"FCALL") => {}
            1 => return "-NOSCRIPT of my own making\r\n".into(),
            2 => return "-NOPERM User u has no permissions to run the 'evalsha' command\r\n".into(),
            4 => return "-ERR unknown command 'EVALSHA_RO', with args beginning with: 'x' \r\n".into(),
            _ => {}
        }
        match id % 6 {
            0 => format!("*2\r\n:{id}\r\n*1\r\n$1\r\nx\r\n"),
            3 => {
                let attribute = String::from_utf8_lossy(ATTRIBUTE);
                format!("*2\r\n{attribute}:{id}\r\n*1\r\n{attribute}$1\r\nx\r\n")
            }
            _ => format!(":{id}\r\n"),
        }
    }
}

/// The first whole command and its length.
pub(crate) fn parse(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    // Most of the time it is not whole yet: nothing is copied before that is known.
    let length = words(bytes, |_| ())?;
    let mut command = Vec::new();
    words(bytes, |word| command.push(word.to_vec()));
    Some((command, length))
}

/// Gives each word of the first command, if it is whole; its length.
fn words(bytes: &[u8], mut give: impl FnMut(&[u8])) -> Option<usize> {
    let mut at = 0;
    let number = |at: &mut usize| {
        let end = *at + memchr::memchr(b'\n', bytes.get(*at..)?)?;
        let number: usize = std::str::from_utf8(&bytes[*at + 1..end - 1]).ok()?.parse().ok()?;
        *at = end + 1;
        Some(number)
    };
    for _ in 0..number(&mut at)? {
        let length = number(&mut at)?;
        give(bytes.get(at..at + length)?);
        at += length + 2;
    }
    (at <= bytes.len()).then_some(at)
}

/// What a call was made of: a script's number for each item, `None` for a PING.
#[derive(Debug)]
struct Expectation {
    shape: Shape,
    items: Vec<Option<u64>>,
    /// The key of each item, if it names one.
    keys: Vec<Option<&'static [u8]>>,
    /// Items may be sent again out of order.
    is_unordered: bool,
    has_broken: bool,
    /// Transactions before it that were told that they had run singly, since MULTI was allowed last.
    told: u32,
    /// Whether each item's script is one that does not compile.
    broken: Vec<bool>,
    /// Which script each item calls.
    scripts: Vec<Option<usize>>,
    /// How often the server had been flushed before.
    flushed: u32,
}

impl Expectation {
    /// Whether two items must keep their order, as far as can be known.
    fn are_tied(&self, one: usize, other: usize) -> bool {
        let is_script = |item: usize| self.items[item].is_some();
        let (one_key, other_key) = (self.keys[one], self.keys[other]);
        is_script(one)
            && is_script(other)
            && (one_key.is_none() || other_key.is_none() || one_key == other_key)
    }
}

const LIMITS: Limits = Limits { max_bytes: 1 << 16, max_depth: 8 };

const SHAPES: [Shape; 3] = [Shape::Single, Shape::Pipeline, Shape::Transaction];

struct World {
    seed: u64,
    rng: Rng,
    session: Session<usize>,
    server: Server,
    scripts: Vec<Script>,
    expectations: Vec<Option<Expectation>>,
    /// The session's key of each call.
    keys: Vec<usize>,
    next_id: u64,
    /// The call whose reply was refused as too long.
    refused: Option<u64>,
    told: u32,
    /// The scripts that other clients keep loaded.
    preloaded: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let rights = Rights::random(&mut rng);
        let preloaded = rng.bool();
        let own = rng.fork();
        World {
            seed,
            rng,
            session: Session::new(
                LIMITS,
                Arc::new(Facts::new(Arc::default(), 1, false)),
                Arc::new(Pool::default()),
            ),
            server: Server::new(rights, own, Rng::with_seed(seed.wrapping_mul(31))),
            scripts: ["one", "two", "three", "broken"].map(Script::new).to_vec(),
            expectations: Vec::new(),
            keys: Vec::new(),
            next_id: 1,
            refused: None,
            preloaded,
            told: 0,
        }
    }

    fn submit(&mut self) {
        let shape = SHAPES[self.rng.usize(..3)];
        self.submit_shaped(shape);
    }

    fn submit_shaped(&mut self, shape: Shape) {
        let mut request = Box::<Request>::default();
        request.reset(shape);
        request.repair = self.rng.bool();
        request.trust_cache = false;
        request.asking = self.rng.u8(..) < 60;
        let count = if shape == Shape::Single { 1 } else { self.rng.usize(1..6) };
        let mut expectation = Expectation {
            shape,
            items: Vec::new(),
            keys: Vec::new(),
            is_unordered: request.repair,
            has_broken: false,
            broken: Vec::new(),
            scripts: Vec::new(),
            flushed: self.server.flushed,
            told: self.told,
        };
        for _ in 0..count {
            if self.rng.u8(..) < 50 {
                request.say(&[b"PING"]);
                expectation.items.push(None);
                expectation.keys.push(None);
                expectation.broken.push(false);
                expectation.scripts.push(None);
                continue;
            }
            let key = if request.asking {
                Some(COMING)
            } else {
                [None, Some(&b"k"[..]), Some(b"l"), Some(b"m"), Some(b"n")][self.rng.usize(..5)]
            };
            let broken = self.rng.u8(..) < 12;
            let mut number = if broken { 3 } else { self.rng.usize(..3) };
            if self.scripts.len() > functions::FIRST && self.rng.bool() {
                number = if broken {
                    functions::BROKEN
                } else {
                    self.rng.usize(functions::FIRST..functions::BROKEN)
                };
            }
            let script = &self.scripts[number];
            let id = self.next_id.to_string();
            let keys: Vec<&[u8]> = key.into_iter().collect();
            let flags = Flags { read_only: self.rng.bool(), ..Flags::NONE };
            request.script_call(script, &keys[..], &[id.as_str()][..], flags).expect("accepted");
            expectation.items.push(Some(self.next_id));
            expectation.keys.push(key);
            expectation.broken.push(broken);
            expectation.scripts.push(Some(number));
            expectation.has_broken |= broken;
            self.next_id += 1;
        }
        self.expectations.push(Some(expectation));
        let key = self.session.submit(request, self.expectations.len() - 1);
        self.keys.push(key);
    }

    /// A caller leaves; what comes of its call is nobody's.
    fn abandon(&mut self) {
        let waiting = |number: &usize| self.expectations[*number].is_some();
        let waiting: Vec<usize> = (0..self.expectations.len()).filter(waiting).collect();
        if !waiting.is_empty() {
            let number = waiting[self.rng.usize(..waiting.len())];
            self.expectations[number] = None;
            self.session.abandon(self.keys[number]);
        }
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
        let room = inbox.room().expect("memory");
        let count = self.server.replies.len().min(most).min(room.len());
        room[..count].copy_from_slice(&self.server.replies[..count]);
        inbox.fill(count);
        self.server.replies.drain(..count);
        match self.session.receive(inbox, count) {
            Ok(()) => {}
            Err(Refusal::Limit(_)) if self.server.oversized.is_some() => {
                self.refused = self.server.oversized;
                let cause = Error::because(Status::Connect, Reason::ConnectionLost, "closed");
                self.session.end(&cause, Some(Status::ReplyLimit));
            }
            Err(refusal) => panic!("seed {}: {refusal:?}", self.seed),
        }
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
                        let is_helpless = !self.server.rights.are_enough();
                        assert!(expectation.shape == Shape::Single && is_helpless, "seed {seed}: {error}");
                    }
                    let is_owner = self.refused.is_some_and(|id| expectation.items.contains(&Some(id)));
                    assert_eq!(error.status() == Status::ReplyLimit, is_owner, "seed {seed}: {error}");
                    if error.message().contains("refused MULTI in the middle") {
                        assert_eq!(expectation.told, 0, "seed {seed}: {error}: once more");
                        // It may be allowed again by now, or may have been meanwhile.
                        let server = &self.server;
                        let ran_at = |id: &u64| server.ran_at.get(id) == Some(&server.allowances);
                        let is_recent = expectation.items.iter().flatten().any(ran_at);
                        self.told += u32::from(server.rights.no_multi && is_recent);
                    }
                    self.check_only_error(&expectation, &error);
                    if error.status() == Status::Compile {
                        assert!(expectation.has_broken, "seed {seed}: {error}");
                    }
                }
            }
        }
    }

    /// A call may only fail because it was lost, because it does not compile, by the script's own error, or for want
    /// of rights.
    fn check_only_error(&self, expectation: &Expectation, error: &Error) {
        let (seed, rights) = (self.seed, self.server.rights);
        let is_lost = error.is_indeterminate() || error.status() == Status::Connect;
        let is_forged = expectation.items.iter().flatten().any(|id| self.times(*id) == 1);
        // MULTI may be allowed again by now.
        let lacked_multi =
            error.message().contains("MULTI") || error.message().contains("refuses transactions");
        let lacks_functions = expectation.scripts.iter().any(|script| self.lacks(*script));
        let lacks_rights = lacks_functions
            || rights.no_eval
            || expectation.shape == Shape::Transaction && (rights.no_load || lacked_multi);
        let is_broken = expectation.has_broken && error.message().contains("compiling");
        let is_full = error.message().contains("OOM");
        let is_busy = expectation.shape == Shape::Transaction && error.status() == Status::Busy;
        assert!(
            is_lost || is_forged || lacks_rights || is_broken || is_full || is_busy,
            "seed {seed}: {rights:?}: {error}"
        );
        if is_forged && !is_lost {
            assert!(!error.is_not_executed(), "seed {seed}: {error}");
        }
    }

    /// Items that must keep their order have kept it, and what stays an error because of it has a reason.
    fn check_order(&self, expectation: &Expectation, missing: &[usize]) {
        let seed = self.seed;
        let place = |item: usize| self.server.order.get(&expectation.items[item]?).copied();
        let tied = |one: usize, other: usize| expectation.are_tied(one, other);
        let count = expectation.items.len();
        for later in 0..count {
            for earlier in 0..later {
                if let (Some(first), Some(second)) = (place(earlier), place(later))
                    && !expectation.is_unordered
                {
                    assert!(first < second || !tied(earlier, later), "seed {seed}: {earlier} and {later}");
                }
            }
        }
        for &item in missing {
            // An EVAL that does not compile answers with a text that a script could have made up, so it counts as
            // executed. Of a named function nobody may know.
            let is_unknown =
                |later: usize| expectation.broken[later] || functions::is_named(expectation.scripts[later]);
            let may_have_run = |later: usize| place(later).is_some() || is_unknown(later);
            let is_overtaken = (item + 1..count).any(|later| may_have_run(later) && tied(item, later));
            // Where SCRIPT LOAD is refused there is no way to know beforehand whether a transaction's scripts compile.
            let is_unchecked = expectation.shape == Shape::Transaction && self.server.rights.no_load;
            // Removed once more while the server was asked about it.
            let is_flushed = functions::is_named(expectation.scripts[item])
                && self.server.flushed > expectation.flushed + 1;
            let may_be_missing = self.lacks(expectation.scripts[item])
                || is_flushed
                || is_overtaken && !expectation.is_unordered
                || !self.server.rights.are_enough()
                || is_unchecked && expectation.broken[item];
            assert!(may_be_missing, "seed {seed}: item {item}: {:?} {expectation:?}", self.server.rights);
        }
    }

    /// Whether there is no way to be sure that a function is brought to the server.
    fn lacks(&self, script: Option<usize>) -> bool {
        let libraries = &self.server.libraries;
        let is_function = script.is_some_and(|script| script >= functions::FIRST);
        is_function && (libraries.no_load || libraries.no_functions || self.server.rights.flushes > 0)
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
        let is_missing = |reply: ReplyRef<'_>| {
            reply.as_error().is_some_and(|error| {
                let is_of_script = error.status() != Status::Compile && !error.message().contains("OOM");
                error.is_not_executed() && is_of_script
            })
        };
        let missing: Vec<usize> = root
            .elements()
            .enumerate()
            .filter(|(_, reply)| is_missing(*reply))
            .map(|(item, _)| item)
            .collect();
        self.check_order(expectation, &missing);
        assert!(
            expectation.shape == Shape::Pipeline
                || self.server.rights.no_load
                || missing.iter().all(|item| self.lacks(expectation.scripts[*item])),
            "seed {seed}: a transaction misses {missing:?}"
        );
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
            let is_refused = reply.as_error().is_some_and(|error| error.is_not_executed());
            return assert!(is_refused || reply.as_str() == Some("PONG"), "seed {seed}: {reply:?}");
        };
        if let Some(error) = reply.as_error() {
            assert!(!error.message().contains("MOVED"), "seed {seed}: {error}: without ASKING");
            if self.times(id) == 1 {
                // What a script makes up is its own error.
                let is_forged = [1, 2, 4].contains(&(id % 16));
                assert!(!error.is_not_executed() && is_forged, "seed {seed}: {error} {expectation:?}");
                let script = expectation.scripts[item].unwrap_or_default();
                if functions::is_marked(script) {
                    assert!(
                        error.message().ends_with(" script: rs"),
                        "seed {seed}: item {item}: {error} {expectation:?}"
                    );
                }
                return;
            }
            if error.is_indeterminate() && functions::is_named(expectation.scripts[item]) {
                // It was gone, and somebody has brought it back before the server was asked.
                assert!(error.message().contains("not found"), "seed {seed}: {error}");
                return;
            }
            let is_broken = expectation.broken[item] && error.message().contains("compiling");
            assert!(error.is_not_executed() || is_broken, "seed {seed}: item {item}: {error}");
            assert_eq!(self.times(id), 0, "seed {seed}: item {item}: {error}");
            return;
        }
        let number = if reply.kind() == Kind::Array {
            reply.get(0).and_then(ReplyRef::as_i64)
        } else {
            reply.as_i64()
        };
        assert_eq!((number, self.times(id)), (Some(id.cast_signed()), 1), "seed {seed}: item {item}");
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            let some = if self.rng.bool() { self.rng.usize(1..200) } else { self.rng.usize(1..10) };
            match self.rng.u8(..100) {
                0..17 => self.submit(),
                17..20 => self.server.push(),
                20..55 => self.send(some),
                55..90 => self.receive(some),
                90..95 => self.server.flush(),
                95..97 if self.preloaded => {
                    for script in &self.scripts[..3] {
                        self.server.scripts.insert(script.sha_hex().to_owned(), false);
                    }
                }
                95..97 => self.abandon(),
                97 => self.session.forget_scripts(),
                98 => {
                    self.server.rights.no_multi = !self.server.rights.no_multi;
                    if !self.server.rights.no_multi {
                        self.server.allowances += 1;
                        self.told = 0;
                        // What was told before says nothing of those that come when MULTI is taken away again.
                        self.expectations.iter_mut().flatten().for_each(|expectation| expectation.told = 0);
                    }
                }
                _ if self.rng.u8(..) < 100 => {
                    self.session.fail(Status::Connect, "lost");
                }
                _ => {}
            }
            self.check_finished();
            if self.session.failed {
                break;
            }
        }
        while !self.session.is_idle() {
            self.send(usize::MAX);
            self.receive(usize::MAX);
            self.check_finished();
        }
        assert!(self.expectations.iter().all(Option::is_none), "seed {}: a call has no end", self.seed);
    }
}

/// The histories to run: the first 3,000, or those of `RS_SCRIPT_HISTORIES`, as `39210` or `0..100000`.
fn seeds() -> std::ops::Range<u64> {
    let Ok(named) = std::env::var("RS_SCRIPT_HISTORIES") else { return 0..3_000 };
    let number = |text: &str| text.parse::<u64>().expect("a seed");
    match named.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(&named)..number(&named) + 1,
    }
}

#[test]
fn every_history_ends_each_call_once_with_the_truth() {
    for seed in seeds() {
        World::new(seed).run(150);
    }
}
