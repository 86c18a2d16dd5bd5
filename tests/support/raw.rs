//! A small blocking RESP2 client that shares no code with the library, to prepare and to inspect a server's state.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::PATIENCE;
use super::server::Server;

/// A reply as RESP2 has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Status(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Array(Vec<Value>),
    Nil,
}

impl Value {
    /// The text of a status or bulk string; panics on any other reply, an error included.
    #[track_caller]
    pub fn text(&self) -> String {
        match self {
            Value::Status(text) => text.clone(),
            Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("a string was expected, not {other:?}"),
        }
    }

    #[track_caller]
    pub fn integer(&self) -> i64 {
        match self {
            Value::Integer(number) => *number,
            other => panic!("an integer was expected, not {other:?}"),
        }
    }

    #[track_caller]
    pub fn elements(&self) -> &[Value] {
        match self {
            Value::Array(elements) => elements,
            other => panic!("an array was expected, not {other:?}"),
        }
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Value::Error(_))
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// One connection.
pub struct Raw {
    stream: BufReader<Box<dyn Stream>>,
}

impl Raw {
    /// Connects through the server's Unix socket, and authenticates if the server was started with a password.
    #[track_caller]
    pub fn connect(server: &Server) -> Raw {
        Raw::try_connect(server).expect("the server's Unix socket accepts")
    }

    /// [`Raw::connect`] to a server that may be gone, or may close its connections.
    #[track_caller]
    pub fn try_connect(server: &Server) -> io::Result<Raw> {
        let mut raw = Raw::unix(&server.unix_path())?;
        if let Some(password) = server.password() {
            let reply = raw.try_cmd(&["AUTH", password])?;
            assert!(!reply.is_error(), "AUTH: {reply:?}");
        }
        Ok(raw)
    }

    pub fn tcp(address: impl ToSocketAddrs) -> io::Result<Raw> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Raw::over(stream))
    }

    pub fn unix(path: &Path) -> io::Result<Raw> {
        Raw::unix_within(path, PATIENCE)
    }

    /// A Unix connection on which a reply may take as long as `patience`.
    pub fn unix_within(path: &Path, patience: Duration) -> io::Result<Raw> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(Raw::over(stream))
    }

    /// Any byte stream, such as a TLS session.
    pub fn over(stream: impl Read + Write + Send + 'static) -> Raw {
        Raw { stream: BufReader::new(Box::new(stream)) }
    }

    /// Sends one command and waits for its reply. For arguments of different kinds: `&[b"SET".as_slice(), key, value]`.
    #[track_caller]
    pub fn cmd<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.try_cmd(args).expect("the server replies")
    }

    /// [`Raw::cmd`] whose reply must be no error.
    #[track_caller]
    pub fn ok<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        let reply = self.cmd(args);
        let name = String::from_utf8_lossy(args[0].as_ref());
        assert!(!reply.is_error(), "{name}: {reply:?}");
        reply
    }

    /// [`Raw::cmd`] on a connection that may break.
    pub fn try_cmd<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Value> {
        self.write(&encode(args))?;
        self.read()
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// Reads one reply.
    pub fn read(&mut self) -> io::Result<Value> {
        let line = read_line(&mut self.stream)?;
        let number = || {
            let text = std::str::from_utf8(&line[1..]).ok();
            text.and_then(|text| text.parse::<i64>().ok()).ok_or_else(|| garbled(&line))
        };
        let text = || String::from_utf8_lossy(&line[1..]).into_owned();
        Ok(match line.first() {
            Some(b'+') => Value::Status(text()),
            Some(b'-') => Value::Error(text()),
            Some(b':') => Value::Integer(number()?),
            Some(b'$') => match usize::try_from(number()?) {
                Ok(len) => Value::Bulk(read_bulk(&mut self.stream, len)?),
                Err(_) => Value::Nil,
            },
            Some(b'*') => match usize::try_from(number()?) {
                Ok(len) => Value::Array((0..len).map(|_| self.read()).collect::<io::Result<_>>()?),
                Err(_) => Value::Nil,
            },
            _ => return Err(garbled(&line)),
        })
    }

    /// One field of `INFO`, such as `("server", "process_id")`.
    #[track_caller]
    pub fn info(&mut self, section: &str, field: &str) -> Option<String> {
        self.try_info(section, field).expect("the server replies")
    }

    /// [`Raw::info`] on a connection that may break.
    #[track_caller]
    pub fn try_info(&mut self, section: &str, field: &str) -> io::Result<Option<String>> {
        let text = self.try_cmd(&["INFO", section])?.text();
        Ok(text.lines().find_map(|line| Some(line.strip_prefix(field)?.strip_prefix(':')?.to_owned())))
    }
}

/// How often the server has run a command (`evalsha`, `script|load`), refused and failed calls not included.
#[track_caller]
pub fn calls_of(server: &Server, command: &str) -> u64 {
    let stats = Raw::connect(server).info("commandstats", &format!("cmdstat_{command}"));
    let Some(stats) = stats else { return 0 };
    let calls = stats.split(',').find_map(|field| field.strip_prefix("calls="));
    calls.and_then(|calls| calls.parse().ok()).expect("INFO commandstats counts calls")
}

/// How many clients wait on the server for what is not there yet.
#[track_caller]
pub fn blocked_clients(server: &Server) -> u64 {
    Raw::connect(server).info("clients", "blocked_clients").expect("INFO clients").parse().expect("a number")
}

/// A command as an array of bulk strings.
pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Reads up to CRLF, which is cut off; the stream's end in between is an error.
pub(super) fn read_line(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\r\n") {
        Some(text) => Ok(text.to_vec()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Reads `len` bytes and the CRLF behind them.
pub(super) fn read_bulk(stream: &mut impl Read, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len + 2];
    stream.read_exact(&mut bytes)?;
    bytes.truncate(len);
    Ok(bytes)
}

fn garbled(line: &[u8]) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no RESP2 reply: {}", line.escape_ascii()))
}
