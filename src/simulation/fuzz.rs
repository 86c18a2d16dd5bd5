//! What a fuzzer drives: schedules that it chooses, and a client whose peers send what it likes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::network::{Network, News};
use super::{STEPS, Schedule, World};
use crate::base::purpose::Purpose;
use crate::config::{Config, Options};
use crate::core::{Call, Engine, FlushMode, Task, View, Way, Work};
use crate::error::{Error, Reason, Status};
use crate::request::route::ReadFrom;
use crate::request::script::Script;
use crate::request::{Flags, Request, Routing, Shape};
use crate::resp::Pool;

/// A schedule, two bytes its seed, four the traits it goes without, two each step: with models of servers, so
/// that all that
/// the simulator asks for is asked.
pub(crate) fn schedule(data: &[u8]) {
    let Some((head, steps)) = data.split_first_chunk::<6>() else { return };
    let [low, high, without @ ..] = *head;
    let schedule = Schedule {
        seed: u64::from(u16::from_le_bytes([low, high])),
        steps: steps
            .chunks_exact(2)
            .take(STEPS)
            .map(|two| usize::from(two[0]) | usize::from(two[1]) << 8)
            .collect(),
        without: u32::from_le_bytes(without),
    };
    World::new(&schedule).run(&schedule);
}

/// What servers say, for a fuzzer that need not find it out: it can send anything else too.
const SAID: [&[u8]; 32] = [
    b"+OK\r\n",
    b"*0\r\n",
    b"%1\r\n$5\r\nproto\r\n:3\r\n",
    b"*4\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n:3\r\n",
    b"-ERR unknown command 'HELLO'\r\n",
    b":1\r\n",
    b"$-1\r\n",
    b"$40\r\n3a4f1ab5e0a5cd2fa8b1a50f2d5a12a4a2c1a6c1\r\n",
    b"$40\r\ne0e1f9fabfc9d4800c877a703b823ac0578ff8db\r\n",
    b"$40\r\n7f923f79fe76194c868d7e1d0820de36700eb649\r\n",
    b"-NOSCRIPT No matching script. Please use EVAL.\r\n",
    b"-MOVED 15495 10.0.0.2:6379\r\n",
    b"-ASK 15495 10.0.0.2:6379\r\n",
    b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
    b"-CLUSTERDOWN Hash slot not served\r\n",
    b"-LOADING Redis is loading the dataset in memory\r\n",
    b"-READONLY You can't write against a read only replica.\r\n",
    b"-BUSY Redis is busy running a script.\r\n",
    b"-NOAUTH Authentication required.\r\n",
    b"-NOPERM this user has no permissions\r\n",
    b"-OOM command not allowed\r\n",
    b"-EXECABORT Transaction discarded because of previous errors.\r\n",
    b"+QUEUED\r\n",
    b"*2\r\n:1\r\n:2\r\n",
    b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$8\r\n10.0.0.1\r\n:6379\r\n",
    b"*2\r\n*4\r\n:0\r\n:8000\r\n*2\r\n$8\r\n10.0.0.1\r\n:6379\r\n*2\r\n$8\r\n10.0.0.3\r\n:6379\r\n\
      *3\r\n:8001\r\n:16383\r\n*2\r\n$8\r\n10.0.0.2\r\n:6379\r\n",
    b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n",
    b"*5\r\n$5\r\nslave\r\n$8\r\n10.0.0.2\r\n:6379\r\n$9\r\nconnected\r\n:0\r\n",
    b"*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n",
    b"$109\r\nid1 10.0.0.1:6379@1 myself,master - 0 0 1 connected 0-8000\n\
      id2 10.0.0.2:6379@1 master - 0 0 1 connected 8001-\r\n",
    b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n",
    b"|1\r\n+ttl\r\n:9\r\n:5\r\n",
];

struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn byte(&mut self) -> usize {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*byte)
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

struct Peers {
    engine: Engine<u64>,
    network: Network,
    now: Instant,
    is_cluster: bool,
    /// How often each call has been completed.
    ends: Vec<u32>,
    is_closed: bool,
}

/// A client whose peers send the fuzzer's bytes: the first byte says what they are, then events. Each call ends
/// once, and closing leaves nothing.
pub(crate) fn peers(data: &[u8]) {
    let mut source = Source(data);
    let kind = source.byte();
    let url = match kind % 3 {
        0 => "redis://10.0.0.1:6379",
        1 => "redis+cluster://10.0.0.1:6379",
        _ => "redis+sentinel://10.0.0.9:26379/service",
    };
    fastrand::seed(7);
    let mut options = Options::default();
    options.client_info(kind & 4 != 0).probe_transactions(kind & 8 != 0).reconnect_attempts(3);
    options.shared_connections(1 + (kind >> 4 & 1)).expect("valid");
    let config = Config::new(url, &options).expect("a URL");
    let (pool, now) = (Arc::new(Pool::default()), Instant::now());
    let network = Network::new(fastrand::Rng::with_seed(7), Arc::clone(&pool), now, Vec::new());
    let engine = Engine::new(Arc::new(config), pool);
    let is_cluster = kind % 3 == 1;
    let mut peers = Peers { engine, network, now, is_cluster, ends: Vec::new(), is_closed: false };
    for _ in 0..200 {
        if source.0.is_empty() {
            break;
        }
        peers.event(&mut source);
        peers.tell_all();
    }
    peers.close();
    assert!(peers.ends.iter().all(|ends| *ends == 1), "closing has left a call");
    let held = peers.engine.held();
    assert_eq!((held.calls, held.attempts, held.conns), (0, 0, 0), "closing has left this");
}

impl Peers {
    fn event(&mut self, source: &mut Source<'_>) {
        let now = self.now;
        match source.byte() % 12 {
            0 | 1 if self.ends.len() < 40 => self.submit(source),
            2 => {
                if let Some(conn) = self.network.accept() {
                    self.engine.connected(now, &mut self.network, conn);
                }
            }
            3 => {
                if let Some(&conn) = self.network.dialing().first() {
                    let why = Error::new(Status::Connect, "Connection refused");
                    self.engine.refused(now, &mut self.network, conn, why);
                }
            }
            4..=7 => {
                let said = source.byte();
                self.hear(source, SAID[said % SAID.len()]);
            }
            8 => {
                let length = source.byte();
                let bytes = source.bytes(length);
                self.hear(source, bytes);
            }
            9 => self.advance(Duration::from_millis(1 << (source.byte() % 18))),
            10 => {
                if let Some(conn) = self.network.resolving() {
                    self.network.resolved(conn);
                    let found = Ok(vec!["10.0.0.1:6379".parse().expect("an address")]);
                    self.engine.resolved(now, &mut self.network, conn, found);
                }
            }
            _ => match source.byte() % 8 {
                0 => self.close(),
                1..4 => {
                    let open = self.network.open_conns();
                    if !open.is_empty() {
                        self.network.cut(open[source.byte() % open.len()]);
                    }
                }
                _ if !self.ends.is_empty() => {
                    let number = source.byte() % self.ends.len();
                    let key = number as u64;
                    self.engine.cancel(now, &mut self.network, key, &|owner| *owner == key);
                    self.tell_all();
                    assert_eq!(self.ends[number], 1, "called off, and goes on");
                }
                _ => {}
            },
        }
        self.collect();
    }

    fn hear(&mut self, source: &mut Source<'_>, bytes: &[u8]) {
        let open = self.network.open_conns();
        if !open.is_empty() {
            let conn = open[source.byte() % open.len()];
            self.network.hear(conn, bytes);
        }
    }

    fn submit(&mut self, source: &mut Source<'_>) {
        let owner = self.ends.len() as u64;
        let (kind, key) = (source.byte(), [b"foo", b"bar", b"baz"][source.byte() % 3]);
        let timeout = Duration::from_millis(1 << (source.byte() % 15));
        let way = if kind & 64 == 0 { Way::Random } else { Way::Slot(0) };
        let read_from = [ReadFrom::Primary, ReadFrom::PreferReplica, ReadFrom::Replica][kind / 8 % 3];
        let shape = [Shape::Single, Shape::Pipeline, Shape::Transaction, Shape::Single][kind % 4];
        let mut request = Box::<Request>::default();
        request.reset(shape);
        if self.is_cluster {
            request.routing = if way == Way::Random { Routing::BySlot } else { Routing::BySlotOrRoute };
        }
        let count = if shape == Shape::Single { 1 } else { 3 };
        for item in 0..count {
            let flags = Flags { read_only: kind & 32 != 0, idempotent: kind & 128 != 0, token: None };
            let made = if (kind + item) % 3 == 0 {
                request.command(&[b"APPEND" as &[u8], key, b"x"], flags)
            } else {
                let script = Script::new(if item == 0 { "return 1" } else { "return 2" });
                request.script_call(&script, &[&key[..]][..], &["x"][..], flags)
            };
            made.expect("accepted");
        }
        let work = match kind % 16 {
            3 => Work::Administer(Task::Flush(FlushMode::Default)),
            7 => Work::Administer(Task::KillAny),
            11 => Work::Administer(Task::Exists(vec![b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db".to_vec()])),
            15 => Work::Administer(Task::Load(Script::new("return 1"))),
            _ => Work::Send(request, Purpose::Calls),
        };
        let view = View { read_from, way };
        let call = Call { owner, work, view, timeout, deadline: self.now + timeout };
        self.ends.push(0);
        self.engine.submit(self.now, &mut self.network, call);
    }

    fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        for _ in 0..1_000 {
            let Some(at) = self.engine.next_tick().filter(|at| *at <= until) else { break };
            self.now = at.max(self.now);
            self.network.now = self.now;
            self.engine.tick(self.now, &mut self.network);
            self.tell_all();
        }
        assert!(self.engine.next_tick().is_none_or(|at| at > until), "what is due has no end");
        self.now = until;
        self.network.now = until;
    }

    fn tell_all(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "news without end");
            self.network.rest();
            let Some((conn, news)) = self.network.take_news() else { break };
            match news {
                News::Ended(attempt, ended) => self.engine.ended(self.now, &mut self.network, attempt, ended),
                News::Lost => self.engine.lost(self.now, &mut self.network, conn),
                News::PlainEnded(..) => unreachable!("there are no plain calls"),
            }
        }
        self.collect();
    }

    fn collect(&mut self) {
        self.network.rest();
        for (owner, result, _) in std::mem::take(&mut self.network.completed) {
            self.ends[usize::try_from(owner).expect("a number of a call")] += 1;
            if let Err(error) = result {
                assert!(!(error.is_not_executed() && error.is_indeterminate()), "{error}");
                assert_ne!(error.reason(), Reason::Internal, "{error}");
            }
        }
        assert!(self.ends.iter().all(|ends| *ends < 2), "completed twice");
    }

    fn close(&mut self) {
        if !self.is_closed {
            self.is_closed = true;
            self.engine.close(self.now, &mut self.network);
        }
        self.tell_all();
    }
}
