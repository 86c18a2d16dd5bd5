//! A connection that several callers share: who reads, who writes, and how they hand it over.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use shuttle::sync::Mutex;
use shuttle::thread;

use super::{LONG, changed, check, sleep_at};
use crate::config::{Config, Options};
use crate::core::{AttemptId, ConnId};
use crate::error::{Error, Status};
use crate::ffi::sys::readiness::Poller;
use crate::io::link::{End, Link, Listener, News, Parts};
use crate::net::address::Address;
use crate::request::{Flags, Request, Shape};
use crate::resp::Pool;
use crate::session::Facts;

/// Who is told of attempts; the number of those that are over.
#[derive(Default)]
struct Engine {
    ended: Mutex<usize>,
}

impl Listener for Engine {
    fn take_news(&self, _: u64, news: &mut Vec<News>) {
        let ended = news.drain(..).filter(|news| matches!(news, News::Ended(..))).count();
        *self.ended.lock().expect("no panic while locked") += ended;
    }

    fn start_anew(&self, _: u64) {
        unreachable!("there is no defect");
    }
}

fn connected() -> (Arc<Link>, UnixStream, Arc<Engine>) {
    let (ours, theirs) = UnixStream::pair().expect("descriptors");
    theirs.set_nonblocking(true).expect("a socket");
    let engine = Arc::new(Engine::default());
    let owner = Arc::downgrade(&engine) as Weak<dyn Listener>;
    let config = Config::new("redis://127.0.0.1:1", &Options::default()).expect("a URL");
    let parts = Parts {
        config: &config,
        conn: ConnId(1),
        epoch: 1,
        address: &Address::parse("127.0.0.1:1").expect("an address"),
        facts: Arc::new(Facts::new(Arc::default(), 1, false)),
        pool: Arc::new(Pool::default()),
        poller: &Arc::new(Poller::new().expect("descriptors")),
        owner,
    };
    let link = Link::new(parts, ours.into(), None, Instant::now()).expect("a socket");
    (Arc::new(link), theirs, engine)
}

/// A call whose reply is its own number.
fn request(number: usize) -> Box<Request> {
    let mut request = Box::<Request>::default();
    request.reset(Shape::Single);
    request.command(&[b"ECHO", number.to_string().as_bytes()], Flags::NONE).expect("memory");
    request
}

/// Answers so many calls, now and then in two pieces, or ends when the other side has.
fn serve(mut socket: UnixStream, count: usize) -> UnixStream {
    let mut got = Vec::new();
    for _ in 0..count {
        let end = loop {
            let lines = got.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            if let Some((at, _)) = lines.clone().nth(4) {
                break at + 1;
            }
            sleep_at(std::os::fd::AsFd::as_fd(&socket), true, false, LONG);
            let mut room = [0; 256];
            match socket.read(&mut room) {
                Ok(0) => return socket,
                Ok(size) => got.extend_from_slice(&room[..size]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        };
        let command: Vec<u8> = got.drain(..end).collect();
        // From the length of the last argument on it is the reply.
        let from = command.iter().rposition(|byte| *byte == b'$').expect("an argument");
        let (front, back) = command[from..].split_at(3);
        for piece in [front, back] {
            // The other side may have ended.
            if socket.write_all(piece).is_err() {
                return socket;
            }
            changed();
            thread::yield_now();
        }
    }
    socket
}

fn call(link: &Link, number: usize, time: Duration) -> End {
    let now = Instant::now();
    link.call(request(number), now, now + time)
}

/// Each caller gets its own reply, whoever reads it.
#[test]
fn callers_hand_over_reading_and_writing() {
    check(|| {
        let (link, socket, _engine) = connected();
        let server = thread::spawn(move || serve(socket, 6));
        let callers: Vec<_> = (0..3)
            .map(|caller| {
                let link = Arc::clone(&link);
                thread::spawn(move || {
                    for number in [caller, caller + 10] {
                        let End::Finished(ended) = call(&link, number, LONG) else { panic!("not in time") };
                        let payload = ended.result.expect("a reply");
                        assert_eq!(crate::resp::Reply::new(payload).to(), Ok(number.to_string()));
                    }
                })
            })
            .collect();
        callers.into_iter().for_each(|caller| caller.join().expect("no panic"));
        server.join().expect("no panic");
    });
}

/// One who gives up, while reading or asleep, leaves nobody waiting, and its reply is nobody else's.
#[test]
fn who_gives_up_hands_its_role_over() {
    check(|| {
        let (link, socket, _engine) = connected();
        let server = thread::spawn(move || serve(socket, 3));
        let callers: Vec<_> = [Duration::from_secs(60), LONG, LONG]
            .into_iter()
            .enumerate()
            .map(|(number, time)| {
                let link = Arc::clone(&link);
                thread::spawn(move || match call(&link, number, time) {
                    End::Finished(ended) => {
                        let payload = ended.result.expect("a reply");
                        assert_eq!(crate::resp::Reply::new(payload).to(), Ok(number.to_string()));
                    }
                    End::Late(..) => assert!(time < LONG),
                    End::Unusable(_) => panic!("it has not ended"),
                })
            })
            .collect();
        callers.into_iter().for_each(|caller| caller.join().expect("no panic"));
        link.close(&Error::closed());
        changed();
        server.join().expect("no panic");
    });
}

/// Attempts that nobody waits for end too: by a caller that reads, or by what stands in where none does.
#[test]
fn callers_and_attempts_share_it() {
    check(|| {
        let (link, socket, engine) = connected();
        let server = thread::spawn(move || serve(socket, 3));
        let caller = {
            let link = Arc::clone(&link);
            thread::spawn(move || assert!(matches!(call(&link, 1, LONG), End::Finished(_))))
        };
        for number in 2..4 {
            let attempt = AttemptId { place: number, serial: number as u64 };
            assert!(link.send(attempt, request(number), Instant::now()).is_ok());
            let mut news = Vec::new();
            link.push::<News>(&mut news);
            engine.take_news(1, &mut news);
        }
        caller.join().expect("no panic");
        server.join().expect("no panic");
        // All has come: the reactor finds what no caller has read, because somebody has it watched.
        while *engine.ended.lock().expect("no panic while locked") < 2 {
            assert!(link.is_watched(), "nobody would read it");
            let mut news = Vec::new();
            link.pump::<News>(Instant::now(), &mut news);
            engine.take_news(1, &mut news);
        }
    });
}

/// However it ends, each of its callers is told.
#[test]
fn the_end_reaches_everybody() {
    check(|| {
        let (link, socket, _engine) = connected();
        let server = thread::spawn(move || {
            let socket = serve(socket, 1);
            drop(socket);
            changed();
        });
        let callers: Vec<_> = (0..3)
            .map(|number| {
                let link = Arc::clone(&link);
                thread::spawn(move || match call(&link, number, LONG) {
                    End::Finished(ended) => ended.result.map(drop).map_err(|error| error.status()),
                    End::Unusable(_) => Err(Status::Connect),
                    End::Late(..) => panic!("there was time"),
                })
            })
            .collect();
        let ends: Vec<_> = callers.into_iter().map(|caller| caller.join().expect("no panic")).collect();
        assert!(ends.iter().filter(|end| end.is_ok()).count() <= 1, "{ends:?}");
        server.join().expect("no panic");
    });
}
