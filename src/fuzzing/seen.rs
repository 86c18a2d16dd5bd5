//! What the decoder makes of bytes, for comparison with other decoders.

use crate::resp::{Decoded, Decoder, Kind, Limits, Payload, Refusal, Reply, ReplyRef};

/// A reply, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    Nil,
    Integer(i64),
    Boolean(bool),
    /// The text, and its value.
    Double(Vec<u8>, f64),
    Status(Vec<u8>),
    Error(Vec<u8>),
    String(Vec<u8>),
    BigNumber(Vec<u8>),
    /// The format, and the text.
    Verbatim(Vec<u8>, Vec<u8>),
    Array(Vec<Seen>),
    Set(Vec<Seen>),
    /// Keys and values in turn.
    Map(Vec<Seen>),
}

/// All replies in some bytes.
#[derive(Clone, Debug, Default)]
pub struct Replies {
    pub replies: Vec<Seen>,
    /// Where each of them ends.
    pub ends: Vec<usize>,
    /// Why what follows is no reply. Without it, what follows is none yet.
    pub refusal: Option<String>,
}

/// Decodes everything there is, with these limits. Push messages and attributes are left out.
pub fn replies(input: &[u8], max_bytes: usize, max_depth: usize) -> Replies {
    let mut decoder = Decoder::new(Limits { max_bytes, max_depth });
    let (mut bytes, mut at) = (input.to_vec(), 0);
    let mut found = Replies::default();
    let mut payload = Box::<Payload>::default();
    payload.start();
    loop {
        match decoder.decode(&mut bytes, &mut at, 0, &mut payload.tape) {
            Ok(Decoded::Incomplete) => return found,
            Ok(Decoded::Aside) => {}
            Ok(Decoded::Reply) => {
                payload.bytes = bytes.clone();
                let reply = Reply::new(payload);
                found.replies.push(seen(reply.root()));
                found.ends.push(at);
                payload = reply.into_payload();
                payload.start();
            }
            Err(refusal) => {
                found.refusal = Some(match refusal {
                    Refusal::Protocol(what) | Refusal::Limit(what) => what.to_owned(),
                    Refusal::Memory => "no memory".to_owned(),
                });
                return found;
            }
        }
    }
}

fn seen(reply: ReplyRef<'_>) -> Seen {
    let text = || reply.as_bytes().unwrap_or_default().to_vec();
    let elements = || reply.elements().map(seen).collect();
    match reply.kind() {
        Kind::Nil | Kind::Header => Seen::Nil,
        Kind::Integer => Seen::Integer(reply.as_i64().unwrap_or_default()),
        Kind::Boolean => Seen::Boolean(reply.as_bool().unwrap_or_default()),
        Kind::Double => Seen::Double(text(), reply.as_f64().unwrap_or_default()),
        Kind::Status => Seen::Status(text()),
        Kind::Error => Seen::Error(text()),
        Kind::String => Seen::String(text()),
        Kind::BigNumber => Seen::BigNumber(text()),
        Kind::Verbatim => Seen::Verbatim(reply.verbatim_format().unwrap_or_default().to_vec(), text()),
        Kind::Array => Seen::Array(elements()),
        Kind::Set => Seen::Set(elements()),
        Kind::Map => Seen::Map(elements()),
    }
}
