//! A TCP relay that loses replies: at each integer that comes the connection ends with a probability of a third,
//! before or within it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

struct Shared {
    target: SocketAddr,
    is_closed: AtomicBool,
    cuts: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

/// A relay that ends, with its connections, when it is dropped.
pub struct Lossy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Lossy {
    pub fn start(target: SocketAddr) -> Lossy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let (is_closed, cuts, open) = Default::default();
        let shared = Arc::new(Shared { target, is_closed, cuts, open });
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for client in listener.incoming().flatten() {
                    if shared.is_closed.load(Ordering::SeqCst) {
                        break;
                    }
                    relay(&shared, client);
                }
            }
        });
        Lossy { address, shared }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// How often replies were lost so far.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::SeqCst);
        // Wakes the one that accepts.
        let _ = TcpStream::connect(self.address);
        self.shared.open.lock().unwrap().iter().for_each(end);
    }
}

fn end(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Both);
}

fn relay(shared: &Arc<Shared>, client: TcpStream) {
    let Ok(server) = TcpStream::connect(shared.target) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let mut open = shared.open.lock().unwrap();
    // Those that have ended are of no use any more.
    open.retain(|stream| stream.take_error().is_ok() && stream.peer_addr().is_ok());
    open.extend([client.try_clone().expect("a descriptor"), server.try_clone().expect("a descriptor")]);
    drop(open);
    let (from, to) = (client.try_clone().expect("a descriptor"), server.try_clone().expect("a descriptor"));
    thread::spawn(move || pass(from, to, |_| None));
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        pass(server, client, |piece| {
            let cut = cut_in(piece)?;
            shared.cuts.fetch_add(1, Ordering::SeqCst);
            Some(cut)
        });
    });
}

/// Where a piece is cut, if it is. The answer to HELLO (a map) has integers too, and is let pass.
fn cut_in(piece: &[u8]) -> Option<usize> {
    let is_reply = |&at: &usize| piece[at] == b':' && (at == 0 || piece[at - 1] == b'\n');
    let mut replies = (0..piece.len()).filter(is_reply).filter(|_| piece[0] != b'%');
    let lost = replies.find(|_| fastrand::u8(..3) == 0)?;
    let len = piece[lost..].iter().position(|&byte| byte == b'\n').unwrap_or(piece.len() - lost);
    Some(lost + fastrand::usize(..len.max(1)))
}

/// Passes on what comes, up to where a piece is cut.
fn pass(mut from: TcpStream, mut to: TcpStream, cut: impl Fn(&[u8]) -> Option<usize>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let cut = cut(&buffer[..count]);
        if to.write_all(&buffer[..cut.unwrap_or(count)]).is_err() || cut.is_some() {
            break;
        }
    }
    end(&from);
    end(&to);
}
