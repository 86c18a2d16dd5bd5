//! A TCP relay between client and server that can cut, delay and count what passes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

/// One way of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Requests = 0,
    /// From the server to the client.
    Replies = 1,
}

use Way::{Replies, Requests};

/// What holds for one way, on all connections together.
#[derive(Default)]
struct Lane {
    /// After so many more bytes the connection that carries the last of them is cut, once.
    cut_after: Option<usize>,
    paused: bool,
    /// At most so many bytes in one write.
    max_write: Option<usize>,
    bytes: u64,
    reads: u64,
}

#[derive(Default)]
struct State {
    lanes: [Lane; 2],
    /// Both ends of each connection that still relays.
    open: Vec<(usize, TcpStream, TcpStream)>,
    accepted: usize,
    /// The connections accepted before that many are dead, and do not say so.
    swallowed: usize,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Where new connections lead.
    target: Mutex<SocketAddr>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A relay that ends, with its connections, when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and relays each connection to `target`.
    pub fn start(target: impl ToSocketAddrs) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let target = Mutex::new(resolve(target));
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::default(), target });
        thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        Proxy { address, shared }
    }

    /// Relays new connections to another target, as after a change of a name's address. Those that are open stay.
    pub fn lead_to(&self, target: impl ToSocketAddrs) {
        *self.shared.target.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = resolve(target);
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Lets `bytes` more pass that way, then closes the connection that carries them, both ways. With 0 the
    /// connection ends when the next byte arrives, which is not passed on. Happens once; later connections live.
    pub fn cut_after(&self, way: Way, bytes: usize) {
        self.shared.lock().lanes[way as usize].cut_after = Some(bytes);
    }

    /// Whether a cut that was asked for has yet to happen.
    pub fn cut_is_due(&self, way: Way) -> bool {
        self.shared.lock().lanes[way as usize].cut_after.is_some()
    }

    /// Lets nothing pass that way until [`Proxy::resume`].
    pub fn pause(&self, way: Way) {
        self.shared.lock().lanes[way as usize].paused = true;
    }

    pub fn resume(&self, way: Way) {
        self.shared.lock().lanes[way as usize].paused = false;
        self.shared.changed.notify_all();
    }

    /// From now on what comes on the connections that there are is taken and passed on to nobody, both ways. Later
    /// ones are well.
    pub fn swallow(&self) {
        let mut state = self.shared.lock();
        state.swallowed = state.accepted;
    }

    /// Passes on at most so many bytes at a time, each in a segment of its own.
    pub fn max_write(&self, way: Way, bytes: usize) {
        assert!(bytes > 0, "nothing would ever pass");
        self.shared.lock().lanes[way as usize].max_write = Some(bytes);
    }

    /// How many bytes have arrived that way, passed on or not.
    pub fn bytes(&self, way: Way) -> u64 {
        self.shared.lock().lanes[way as usize].bytes
    }

    /// In how many pieces they arrived: one per write of the sender, unless two came before the proxy had looked
    /// or one was too large for a segment.
    pub fn reads(&self, way: Way) -> u64 {
        self.shared.lock().lanes[way as usize].reads
    }

    /// How many connections have been accepted.
    pub fn connections(&self) -> usize {
        self.shared.lock().accepted
    }

    /// Closes every connection, both ways; new ones are welcome.
    pub fn drop_connections(&self) {
        for (_, client, server) in self.shared.lock().open.drain(..) {
            hang_up(&client, &server);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.drop_connections();
        self.shared.changed.notify_all();
        // Wakes the acceptor, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

fn resolve(target: impl ToSocketAddrs) -> SocketAddr {
    target.to_socket_addrs().ok().and_then(|mut all| all.next()).expect("an address to relay to")
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let Ok(client) = client else { continue };
        // A server that is down looks to the client like one that accepts and closes.
        let target = *shared.target.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let server = TcpStream::connect(target);
        let mut state = shared.lock();
        if state.closed {
            return;
        }
        let index = state.accepted;
        state.accepted += 1;
        let Ok(server) = server else { continue };
        for stream in [&client, &server] {
            stream.set_nodelay(true).expect("TCP_NODELAY");
        }
        state.open.push((index, handle(&client), handle(&server)));
        drop(state);
        for (way, from, to) in [(Requests, &client, &server), (Replies, &server, &client)] {
            let (from, to, shared) = (handle(from), handle(to), shared.clone());
            thread::spawn(move || {
                relay(way, index, &from, &to, &shared);
                hang_up(&from, &to);
                shared.lock().open.retain(|(open, ..)| *open != index);
            });
        }
    }
}

/// Passes bytes on until one end closes or the connection is to be cut.
fn relay(way: Way, index: usize, mut from: &TcpStream, mut to: &TcpStream, shared: &Shared) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let len = match from.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(len) => len,
        };
        let (passed, max_write, cut) = {
            let mut state = shared.lock();
            let lane = &mut state.lanes[way as usize];
            lane.bytes += len as u64;
            lane.reads += 1;
            while state.lanes[way as usize].paused && !state.closed {
                state = shared.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
            if index < state.swallowed {
                continue;
            }
            let lane = &mut state.lanes[way as usize];
            let cut = lane.cut_after.is_some_and(|left| left <= len);
            let passed = lane.cut_after.map_or(len, |left| left.min(len));
            lane.cut_after = if cut { None } else { lane.cut_after.map(|left| left - len) };
            (passed, lane.max_write.unwrap_or(len), cut)
        };
        for piece in buffer[..passed].chunks(max_write) {
            if to.write_all(piece).is_err() {
                return;
            }
        }
        if cut {
            return;
        }
    }
}

fn handle(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("one more handle of the connection")
}

fn hang_up(client: &TcpStream, server: &TcpStream) {
    for stream in [client, server] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}
