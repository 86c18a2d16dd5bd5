//! A scripted server, for what a real one cannot be made to do.

use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::raw::{read_bulk, read_line};

/// A TCP server that does with each connection what the test says. When it is dropped its connections close, and a
/// panic in a handler becomes the test's.
pub struct Fake {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    acceptor: Option<JoinHandle<thread::Result<()>>>,
}

impl Fake {
    /// Starts on a free port of 127.0.0.1. `handler` gets each connection on a thread of its own; the connection
    /// closes when it returns.
    pub fn start(handler: impl Fn(&mut Conn) + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let stopping = Arc::new(AtomicBool::new(false));
        let streams = Arc::new(Mutex::new(Vec::new()));
        let acceptor = thread::spawn({
            let (stopping, streams) = (stopping.clone(), streams.clone());
            move || accept(&listener, &stopping, &streams, &Arc::new(handler))
        });
        Fake { address, stopping, streams, acceptor: Some(acceptor) }
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

    /// How many connections have been accepted.
    pub fn connections(&self) -> usize {
        self.streams.lock().expect("no panic while locked").len()
    }
}

fn accept<H: Fn(&mut Conn) + Send + Sync + 'static>(
    listener: &TcpListener,
    stopping: &AtomicBool,
    streams: &Mutex<Vec<TcpStream>>,
    handler: &Arc<H>,
) -> thread::Result<()> {
    let mut handlers = Vec::new();
    for stream in listener.incoming() {
        if stopping.load(Ordering::SeqCst) {
            break;
        }
        let Ok(stream) = stream else { continue };
        let mut streams = streams.lock().expect("no panic while locked");
        let mut conn = Conn::new(&stream, streams.len());
        streams.push(stream);
        drop(streams);
        let handler = handler.clone();
        handlers.push(thread::spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| handler(&mut conn)));
            conn.close();
            outcome
        }));
    }
    for stream in streams.lock().expect("no panic while locked").iter() {
        let _ = stream.shutdown(Shutdown::Both);
    }
    handlers.into_iter().try_for_each(|handler| handler.join().and_then(|outcome| outcome))
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
        if thread::panicking() {
            // A handler may wait for what the failed test will never give it.
            return;
        }
        let outcome = self.acceptor.take().map(JoinHandle::join);
        if let Some(Err(panic) | Ok(Err(panic))) = outcome {
            resume_unwind(panic);
        }
    }
}

/// One connection that a client has opened. That the client hangs up is never an error here: it is what many tests
/// are about.
pub struct Conn {
    stream: BufReader<TcpStream>,
    index: usize,
    /// A command that was read to understand the one before it.
    read_ahead: Option<Vec<Vec<u8>>>,
}

impl Conn {
    fn new(stream: &TcpStream, index: usize) -> Conn {
        // Without it, bytes that are written one by one may leave together.
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let stream = BufReader::new(stream.try_clone().expect("one more handle of the connection"));
        Conn { stream, index, read_ahead: None }
    }

    /// 0 for the first connection, 1 for the second...
    pub fn index(&self) -> usize {
        self.index
    }

    /// Waits for one whole command; none when the client has hung up, be it in the middle of a command.
    pub fn read_command(&mut self) -> Option<Vec<Vec<u8>>> {
        if let Some(command) = self.read_ahead.take() {
            return Some(command);
        }
        match self.parse_command() {
            Ok(command) => Some(command),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                panic!("the client sent no command: {error}")
            }
            Err(_) => None,
        }
    }

    fn parse_command(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let count = self.read_length(b'*')?;
        (0..count)
            .map(|_| {
                let len = self.read_length(b'$')?;
                read_bulk(&mut self.stream, len)
            })
            .collect()
    }

    fn read_length(&mut self, kind: u8) -> io::Result<usize> {
        let line = read_line(&mut self.stream)?;
        let digits = line.strip_prefix(&[kind]).and_then(|digits| std::str::from_utf8(digits).ok());
        digits
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, line.escape_ascii().to_string()))
    }

    /// Answers what clients say first (HELLO, AUTH, CLIENT, SELECT, READONLY, an empty transaction) and returns the
    /// first other command.
    pub fn handshake(&mut self) -> Option<Vec<Vec<u8>>> {
        loop {
            let command = self.read_command()?;
            let name = command.first()?.to_ascii_uppercase();
            match name.as_slice() {
                b"HELLO" => {
                    let resp3 = command.get(1).is_some_and(|version| version == b"3");
                    self.write(&hello(resp3, self.index));
                }
                b"CLIENT" if command.get(1).is_some_and(|sub| sub.eq_ignore_ascii_case(b"ID")) => {
                    let id = format!(":{}\r\n", self.index + 1);
                    self.write(id.as_bytes());
                }
                b"AUTH" | b"CLIENT" | b"SELECT" | b"READONLY" => self.write(b"+OK\r\n"),
                b"MULTI" => match self.read_command()? {
                    // The empty transaction of a client's first handshake.
                    exec if exec == [b"EXEC"] => self.write(b"+OK\r\n*0\r\n"),
                    other => {
                        self.read_ahead = Some(other);
                        return Some(command);
                    }
                },
                _ => return Some(command),
            }
        }
    }

    /// Sends bytes as they are, in one write.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// Sends each byte in a segment of its own, `pause` apart.
    pub fn write_slowly(&mut self, bytes: &[u8], pause: Duration) {
        for byte in bytes {
            if self.stream.get_mut().write_all(&[*byte]).is_err() {
                return; // nobody is there any more
            }
            thread::sleep(pause);
        }
    }

    /// Says nothing, reads what comes, and returns when the client has hung up or the test is over.
    pub fn hang(&mut self) {
        let _ = io::copy(&mut self.stream, &mut io::sink());
    }

    /// Reads whatever has arrived, at least one byte, without looking at it; empty when the client has hung up.
    pub fn read_some(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 64 * 1024];
        let len = self.stream.read(&mut bytes).unwrap_or(0);
        bytes.truncate(len);
        bytes
    }

    /// Breaks the connection (RST): the client's next read or write fails, bytes on their way may be lost.
    pub fn reset(&mut self) {
        let _ = rustix::net::connect_unspec(self.stream.get_ref());
    }

    /// Ends the connection in an orderly way (FIN).
    pub fn close(&mut self) {
        let _ = self.stream.get_ref().shutdown(Shutdown::Both);
    }
}

/// What Redis 7 answers to HELLO, as a map in RESP3 and as an array in RESP2.
fn hello(resp3: bool, index: usize) -> Vec<u8> {
    let (head, proto) = if resp3 { ("%7", 3) } else { ("*14", 2) };
    format!(
        "{head}\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:{proto}\r\n\
         $2\r\nid\r\n:{}\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n",
        index + 1
    )
    .into_bytes()
}
