//! Packed calls and completions: any bytes in; and what is written, read by a reader that knows the documented
//! layout alone.

use std::fmt::Write;
use std::sync::OnceLock;
use std::time::Duration;

use super::source::Source;
use crate::api::client::Client;
use crate::api::packed::{self, pack, read_calls};
use crate::config::Options;
use crate::core::Work;
use crate::error::{Error, Reason, Status};
use crate::ffi::sys::memory::Memory;
use crate::queue::Queue;
use crate::request::script::Script;
use crate::resp::{Decoded, Decoder, Kind, Limits, Payload, Reply, ReplyRef};

/// Clients that never connect, of one server and of a cluster.
fn clients() -> &'static [Client; 2] {
    static CLIENTS: OnceLock<[Client; 2]> = OnceLock::new();
    CLIENTS.get_or_init(|| {
        ["unix:///nowhere", "redis+cluster://127.0.0.1:1"].map(|url| {
            Client::open(url, Options::default().lazy_connect(true)).unwrap_or_else(|error| panic!("{error}"))
        })
    })
}

fn scripts() -> &'static [Script; 2] {
    static SCRIPTS: OnceLock<[Script; 2]> = OnceLock::new();
    SCRIPTS.get_or_init(|| [Script::new("return 1"), Script::idempotent("return KEYS[1]")])
}

/// The first byte says which way, and the client.
pub fn packed(data: &[u8]) {
    let mut source = Source(data);
    let choice = source.byte();
    let client = &clients()[usize::from(choice & 1)];
    match choice >> 1 & 3 {
        0 => drop(read_calls(client, &scripts().each_ref(), source.0).map_err(|error| malformed(&error))),
        1 => round_trip(client, source),
        _ => completions(source),
    }
}

fn malformed(error: &Error) {
    assert_eq!(error.status(), Status::InvalidArgument, "{error}");
    assert!(error.is_not_executed(), "{error}");
}

fn put(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend(u32::try_from(text.len()).unwrap_or(0).to_ne_bytes());
    bytes.extend(text);
}

/// Calls that are well-formed: what is read is what was written.
fn round_trip(client: &Client, mut source: Source<'_>) {
    let mut bytes = Vec::new();
    let mut wanted = Vec::new();
    while !source.0.is_empty() && wanted.len() < 16 {
        let (tag, timeout) = (u64::from(source.number()), source.number());
        bytes.extend(tag.to_ne_bytes());
        bytes.extend(timeout.to_ne_bytes());
        let mut wire = Vec::new();
        let choice = source.byte();
        let items = choice % 4;
        // Nowhere else than where it goes anyway.
        if choice & 4 != 0 {
            bytes.extend([packed::ROUTED, 0]);
            bytes.extend([0; 16]);
        }
        if items == 0 {
            item(&mut source, &mut bytes, &mut wire);
        } else {
            bytes.extend([packed::PIPELINE, 0]);
            bytes.extend(u32::from(items).to_ne_bytes());
            (0..items).for_each(|_| item(&mut source, &mut bytes, &mut wire));
        }
        wanted.push((tag, timeout, wire));
    }
    let scripts = scripts().each_ref();
    let calls = read_calls(client, &scripts, &bytes).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(calls.len(), wanted.len());
    for (call, (tag, timeout, wire)) in calls.into_iter().zip(&wanted) {
        assert_eq!(call.tag, *tag);
        let expected = (*timeout != 0).then(|| Duration::from_millis(u64::from(*timeout)));
        assert_eq!(call.timeout, expected);
        match call.work {
            Ok(Work::Send(request, _)) => assert_eq!(request.wire[..], wire[..], "other bytes"),
            Ok(_) => panic!("neither a command nor a script"),
            // Keys of two slots, commands that may not share a connection, and the like.
            Err(error) => assert!(error.is_not_executed(), "{error}"),
        }
    }
    // Cut anywhere it is no call, and is said to be none; at the end of a call those before are left.
    for cut in 1..bytes.len().min(64) {
        if let Err(error) = read_calls(client, &scripts, &bytes[..bytes.len() - cut]) {
            malformed(&error);
        }
    }
}

/// A command or a script's call, as it is packed and as it is sent.
fn item(source: &mut Source<'_>, bytes: &mut Vec<u8>, wire: &mut Vec<u8>) {
    const COMMANDS: [&[u8]; 6] = [b"GET", b"SET", b"LPUSH", b"EVAL", b"NOSUCH", b"MULTI"];
    let choice = source.byte();
    let count = choice >> 5;
    let texts: Vec<&[u8]> = (0..count)
        .map(|_| {
            let length = usize::from(source.byte());
            source.bytes(length)
        })
        .collect();
    let mut sent: Vec<&[u8]> = Vec::new();
    let numkeys = choice >> 1 & 7;
    let digits = numkeys.min(count).to_string();
    let sha;
    if choice & 1 == 0 {
        sent.push(COMMANDS[usize::from(choice >> 1) % COMMANDS.len()]);
        sent.extend(&texts);
        bytes.extend([packed::COMMAND, choice >> 3 & 3]);
        bytes.extend(u32::try_from(sent.len()).unwrap_or(0).to_ne_bytes());
        sent.iter().for_each(|text| put(bytes, text));
    } else {
        let index = usize::from(choice >> 4 & 1);
        let is_read_only = choice & 8 != 0;
        sha = scripts()[index].sha().to_string();
        let (keys, args) = texts.split_at(usize::from(numkeys.min(count)));
        bytes.extend([packed::SCRIPT, if is_read_only { packed::READ_ONLY } else { 0 }]);
        for number in [index, keys.len(), args.len()] {
            bytes.extend(u32::try_from(number).unwrap_or(0).to_ne_bytes());
        }
        texts.iter().for_each(|text| put(bytes, text));
        sent.push(if is_read_only { b"EVALSHA_RO" } else { b"EVALSHA" });
        sent.push(sha.as_bytes());
        sent.push(digits.as_bytes());
        sent.extend(&texts);
    }
    wire.extend(format!("*{}\r\n", sent.len()).bytes());
    for text in sent {
        wire.extend(format!("${}\r\n", text.len()).bytes());
        wire.extend(text);
        wire.extend(b"\r\n");
    }
}

/// Replies as a server sends them, and errors, packed into as many bytes as the fuzzer says.
fn completions(mut source: Source<'_>) {
    let details = source.byte() & 1 == 1;
    let capacity = usize::from(source.byte()) * 16;
    let max = usize::from(source.byte() % 8) + 1;
    let mut wanted = Vec::new();
    let mut results = Vec::new();
    let mut decoder = Decoder::new(Limits { max_bytes: 1 << 20, max_depth: 32 });
    let (mut bytes, mut at) = (source.0.to_vec(), 0);
    while wanted.len() < 32 {
        let mut payload = Box::<Payload>::default();
        payload.start();
        match decoder.decode(&mut bytes, &mut at, 0, &mut payload.tape) {
            Ok(Decoded::Reply) => {
                payload.bytes = bytes.clone();
                let reply = Reply::new(payload);
                let mut text = String::new();
                tell(reply.root(), details, &mut text);
                wanted.push(format!("ok {text}"));
                results.push(Ok(reply));
            }
            Ok(Decoded::Aside) => {}
            Ok(Decoded::Incomplete) => break,
            Err(refusal) => {
                let error = Error::indeterminate(Reason::Protocol, format!("{refusal:?}"));
                wanted.push(format!("error {}", told(&error, details)));
                results.push(Err(error));
                break;
            }
        }
    }

    let queue = Queue::new(64).unwrap_or_else(|error| panic!("{error}"));
    let mut tickets = Vec::new();
    let tags: Vec<u64> = (0..wanted.len() as u64).collect();
    queue.accept(1, tags.into_iter(), &mut tickets).unwrap_or_else(|error| panic!("{error}"));
    queue.complete(tickets.into_iter().zip(results).map(|(ticket, result)| (ticket, result, None)));
    let mut next = 0;
    let mut room = capacity;
    while next < wanted.len() {
        let mut memory = vec![0xee; room + 8];
        let mut trial = queue.try_out();
        let packed = pack(&mut trial, details, Memory::from(&mut memory[..room]), max, Duration::ZERO);
        trial.keep(packed.count);
        assert!(packed.used <= room && packed.count <= max);
        assert!(memory[room..].iter().all(|byte| *byte == 0xee), "written behind the caller's memory");
        let mut reader = Reader(&memory[..packed.used]);
        for _ in 0..packed.count {
            let size = reader.number() as usize;
            let mut one = Reader(reader.take(size));
            assert_eq!(one.long(), next as u64, "out of order");
            let (status, flags) = (one.number(), one.byte());
            let text = if status == 0 {
                format!("ok {}", one.reply(details))
            } else {
                format!("error {status} {flags} {}", one.error(details))
            };
            assert!(one.0.is_empty(), "bytes behind a completion");
            assert_eq!(text, wanted[next]);
            next += 1;
        }
        assert!(reader.0.is_empty(), "bytes behind all completions");
        if packed.count == 0 {
            assert!(packed.needed > room, "nothing was packed into room enough");
            room = packed.needed;
        }
    }
    assert!(queue.is_empty());
}

fn told(error: &Error, details: bool) -> String {
    let flags = if error.is_indeterminate() { packed::INDETERMINATE } else { 0 }
        | if error.is_not_executed() { packed::NOT_EXECUTED } else { 0 };
    let code = error.server_code().unwrap_or_default();
    let mut text = format!("{} {flags} {:?} {:?}", error.status().code(), code, error.message());
    if details {
        let index = error.index().map_or(-1, |index| i64::try_from(index).unwrap_or(-1));
        let node = error.node().unwrap_or_default();
        let _ = write!(text, " {} {index} {node:?}", error.reason().code());
    }
    text
}

/// A reply in words, from its views.
fn tell(reply: ReplyRef<'_>, details: bool, out: &mut String) {
    let kind = reply.kind();
    let _ = write!(out, "{} ", kind as u8);
    match kind {
        Kind::Integer => _ = write!(out, "{} ", reply.as_i64().unwrap_or_default()),
        Kind::Boolean => _ = write!(out, "{} ", u8::from(reply.as_bool() == Some(true))),
        Kind::Array | Kind::Map | Kind::Set => {
            let _ = write!(out, "{} ", reply.len());
            reply.elements().for_each(|element| tell(element, details, out));
        }
        Kind::Error => {
            let error = reply.as_error().unwrap_or_else(|| panic!("an error, by its kind"));
            let _ = write!(out, "{} ", told(&error, details));
        }
        Kind::Verbatim => {
            let _ = write!(out, "{:?} {:?} ", reply.verbatim_format(), reply.as_bytes().unwrap_or_default());
        }
        Kind::Nil | Kind::Header => {}
        _ => _ = write!(out, "{:?} ", reply.as_bytes().unwrap_or_default()),
    }
}

/// Reads what `ffi/packed.rs` documents.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N));
        array
    }

    fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    fn number(&mut self) -> u32 {
        u32::from_ne_bytes(self.array())
    }

    fn signed(&mut self) -> i32 {
        i32::from_ne_bytes(self.array())
    }

    fn long(&mut self) -> u64 {
        u64::from_ne_bytes(self.array())
    }

    fn text(&mut self) -> &'a [u8] {
        let count = self.number() as usize;
        self.take(count)
    }

    fn words(&mut self) -> &'a str {
        std::str::from_utf8(self.text()).unwrap_or_else(|_| panic!("a text that is not UTF-8"))
    }

    fn error(&mut self, details: bool) -> String {
        let mut text = format!("{:?} {:?}", self.words(), self.words());
        if details {
            let _ = write!(text, " {} {} {:?}", self.signed(), self.signed(), self.words());
        }
        text
    }

    fn reply(&mut self, details: bool) -> String {
        let mut text = String::new();
        self.reply_into(details, &mut text);
        text
    }

    fn reply_into(&mut self, details: bool, out: &mut String) {
        let kind = self.byte();
        let _ = write!(out, "{kind} ");
        match kind {
            1 => {}
            3 => {
                let (status, flags) = (self.signed(), self.byte());
                let _ = write!(out, "{status} {flags} {} ", self.error(details));
            }
            4 => _ = write!(out, "{} ", self.long().cast_signed()),
            10 => _ = write!(out, "{} ", self.byte()),
            6..=8 => {
                let count = self.number();
                let _ = write!(out, "{count} ");
                (0..count).for_each(|_| self.reply_into(details, out));
            }
            12 => _ = write!(out, "{:?} {:?} ", Some(self.take(3)), self.text()),
            2 | 5 | 9 | 11 => _ = write!(out, "{:?} ", self.text()),
            _ => panic!("an unknown kind of reply: {kind}"),
        }
    }
}
