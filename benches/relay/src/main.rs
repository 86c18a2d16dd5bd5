//! A network that takes its time: `relay MICROSECONDS LISTEN:TARGET...` listens on ports of this machine, connects
//! each client to its target port, and passes on what either side sends half that time later, so that a round trip
//! takes so much longer. It is one thread. A line on standard input is answered with the CPU seconds that it has used
//! so far, and a number on it is the round trip from then on; its end ends the relay.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

/// Room for one read.
const ROOM: usize = 256 * 1024;

/// With so many bytes under way a side is not read from.
const MOST: usize = 64 * 1024 * 1024;

/// What goes from one side of a connection to the other.
#[derive(Default)]
struct Way {
    chunks: VecDeque<(Instant, Vec<u8>)>,
    /// How much of the first chunk has been passed on.
    passed: usize,
    bytes: usize,
    blocked: bool,
    /// The side that it comes from will send no more.
    ended: bool,
}

impl Way {
    /// Passes on what is due.
    fn pass(&mut self, to: &mut TcpStream, now: Instant) -> std::io::Result<()> {
        self.blocked = false;
        while let Some((due, chunk)) = self.chunks.front() {
            if *due > now {
                return Ok(());
            }
            match to.write(&chunk[self.passed..]) {
                Ok(count) => self.passed += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            if self.passed == chunk.len() {
                self.bytes -= chunk.len();
                self.passed = 0;
                self.chunks.pop_front();
            }
        }
        if self.ended { to.shutdown(std::net::Shutdown::Write) } else { Ok(()) }
    }

    fn take(&mut self, from: &mut TcpStream, room: &mut [u8], due: Instant) -> std::io::Result<()> {
        match from.read(room) {
            Ok(0) => self.ended = true,
            Ok(count) => {
                self.bytes += count;
                self.chunks.push_back((due, room[..count].to_vec()));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

struct Connection {
    sides: [TcpStream; 2],
    /// From each of the sides.
    ways: [Way; 2],
}

impl Connection {
    fn new(client: TcpStream, target: u16) -> std::io::Result<Connection> {
        let sides = [client, TcpStream::connect((Ipv4Addr::LOCALHOST, target))?];
        for side in &sides {
            side.set_nodelay(true)?;
            side.set_nonblocking(true)?;
        }
        Ok(Connection { sides, ways: Default::default() })
    }

    fn pass(&mut self, now: Instant) -> std::io::Result<()> {
        let [first, second] = &mut self.sides;
        self.ways[0].pass(second, now)?;
        self.ways[1].pass(first, now)
    }

    fn next(&self) -> Option<Instant> {
        let ways = self.ways.iter().filter(|way| !way.blocked);
        ways.filter_map(|way| way.chunks.front()).map(|(due, _)| *due).min()
    }

    /// What a side is to be watched for.
    fn wanted(&self, side: usize) -> PollFlags {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, !self.ways[side].ended && self.ways[side].bytes < MOST);
        wanted.set(PollFlags::OUT, self.ways[1 - side].blocked);
        wanted
    }

    fn is_over(&self) -> bool {
        self.ways.iter().all(|way| way.ended && way.chunks.is_empty())
    }
}

/// Of a round trip of so many microseconds.
fn one_way(microseconds: &str) -> Option<Duration> {
    Some(Duration::from_micros(microseconds.trim().parse().ok()?) / 2)
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut delay = arguments.next().and_then(|text| one_way(&text)).expect("microseconds");
    let listeners: Vec<(TcpListener, u16)> = arguments
        .map(|pair| {
            let (from, to) = pair.split_once(':').expect("LISTEN:TARGET");
            let [from, to]: [u16; 2] = [from, to].map(|port| port.parse().expect("a port"));
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, from)).expect("a free port");
            listener.set_nonblocking(true).expect("a socket");
            (listener, to)
        })
        .collect();
    println!("ready");
    let (mut connections, mut room) = (Vec::<Connection>::new(), vec![0; ROOM]);
    let mut stdin = std::io::stdin();
    loop {
        let now = Instant::now();
        connections.retain_mut(|connection| connection.pass(now).is_ok() && !connection.is_over());
        let next = connections.iter().filter_map(Connection::next).min();
        let mut fds = vec![PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
        fds.extend(listeners.iter().map(|(listener, _)| PollFd::new(listener, PollFlags::IN)));
        for connection in &connections {
            fds.extend((0..2).map(|side| PollFd::new(&connection.sides[side], connection.wanted(side))));
        }
        let sleep = next.map(|next| {
            Timespec::try_from(next.saturating_duration_since(Instant::now())).expect("a short time")
        });
        if poll(&mut fds, sleep.as_ref()).is_err() {
            continue;
        }
        let ready: Vec<bool> = fds
            .iter()
            .map(|fd| fd.revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR))
            .collect();
        drop(fds);
        let now = Instant::now();
        let (ready_connections, asked) = (&ready[1 + listeners.len()..], ready[0]);
        let mut place = 0;
        connections.retain_mut(|connection| {
            let both = [ready_connections[place], ready_connections[place + 1]];
            place += 2;
            let Connection { sides, ways } = connection;
            (0..2).all(|side| {
                !both[side]
                    || ways[side].ended
                    || ways[side].take(&mut sides[side], &mut room, now + delay).is_ok()
            })
        });
        for ((listener, target), _) in listeners.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            if let Ok((client, _)) = listener.accept() {
                connections.extend(Connection::new(client, *target));
            }
        }
        if asked {
            let mut line = [0; 64];
            let length = stdin.read(&mut line).expect("standard input");
            if length == 0 {
                return;
            }
            let text = std::str::from_utf8(&line[..length]).unwrap_or_default();
            delay = one_way(text).unwrap_or(delay);
            println!("{:.6}", cpu_seconds());
            std::io::stdout().flush().expect("standard output");
        }
    }
}
