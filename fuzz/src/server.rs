//! A scripted server on a Unix socket: it answers handshakes as a server does, and all else as the input says.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Mutex, OnceLock};
use std::thread;

const SAID: [&[u8]; 20] = [
    b"+OK\r\n",
    b":1\r\n",
    b"$3\r\nfoo\r\n",
    b"$-1\r\n",
    b"*2\r\n:1\r\n$1\r\nx\r\n",
    b"*0\r\n",
    b"-ERR no\r\n",
    b"-NOSCRIPT No matching script. Please use EVAL.\r\n",
    b"$40\r\ne0e1f9fabfc9d4800c877a703b823ac0578ff8db\r\n",
    b"+QUEUED\r\n",
    b"-EXECABORT Transaction discarded\r\n",
    b"-MOVED 1 127.0.0.1:1\r\n",
    b"-BUSY Redis is busy running a script.\r\n",
    b"-LOADING Redis is loading\r\n",
    b"-READONLY You can't write against a read only replica.\r\n",
    b"%1\r\n+a\r\n,1.5\r\n",
    b"~1\r\n#t\r\n",
    b"(12345678901234567890\r\n",
    b"=7\r\ntxt:abc\r\n",
    b">1\r\n+x\r\n:5\r\n",
];

/// What is said next: an answer of the table for each byte, but for those from 240 on.
static SCRIPT: Mutex<VecDeque<u8>> = Mutex::new(VecDeque::new());

/// The server's URL; it starts with the first input, of which `script` is a part.
pub fn url(script: &[u8]) -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    SCRIPT.lock().unwrap().clone_from(&script.iter().copied().collect());
    URL.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("rs_script-fuzz-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || serve(stream));
            }
        });
        format!("unix://{}", path.display())
    })
}

fn serve(mut stream: UnixStream) {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let Ok(count @ 1..) = stream.read(&mut chunk) else { return };
        bytes.extend(&chunk[..count]);
        while let Some((length, name)) = command(&bytes) {
            bytes.drain(..length);
            let answer = match &name[..] {
                b"HELLO" => Some(b"-ERR unknown command\r\n".to_vec()),
                b"CLIENT" | b"AUTH" | b"SELECT" => Some(b"+OK\r\n".to_vec()),
                _ => next(),
            };
            let Some(answer) = answer else { return };
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    }
}

/// The answer to a command; `None`: the connection is closed.
fn next() -> Option<Vec<u8>> {
    let mut script = SCRIPT.lock().unwrap();
    match script.pop_front() {
        None => Some(b"+OK\r\n".to_vec()),
        Some(255) => None,
        // Nothing: the call's time runs out.
        Some(254) => Some(Vec::new()),
        // Bytes as they are.
        Some(count @ 240..) => Some((240..=count).filter_map(|_| script.pop_front()).collect()),
        Some(said) => Some(SAID[usize::from(said) % SAID.len()].to_vec()),
    }
}

/// How long the first command is, and its name.
fn command(bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
    let (count, mut at) = line(bytes, 0)?;
    let mut name = Vec::new();
    for number in 0..count {
        let (length, start) = line(bytes, at)?;
        at = start + length + 2;
        let text = bytes.get(start..at)?;
        if number == 0 {
            name = text[..length].to_ascii_uppercase();
        }
    }
    Some((at, name))
}

/// The number behind a sign, and where the next line starts.
fn line(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let rest = bytes.get(at + 1..)?;
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    let number = std::str::from_utf8(&rest[..end]).expect("digits").parse().expect("a number");
    Some((number, at + 1 + end + 2))
}
