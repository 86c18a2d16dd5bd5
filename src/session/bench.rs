//! The way from received bytes to a reply, alone: what `benches/decode` measures. Not an API.

use super::Inbox;
use crate::resp::{Decoded, Decoder, Limits, Payload, ReplyRef};

/// What a connection decodes with, and one reply.
#[derive(Debug)]
pub struct Codec {
    inbox: Inbox,
    decoder: Decoder,
    payload: Payload,
}

impl Default for Codec {
    fn default() -> Self {
        let limits = Limits { max_bytes: 1 << 30, max_depth: 128 };
        Codec { inbox: Inbox::default(), decoder: Decoder::new(limits), payload: Payload::default() }
    }
}

impl Codec {
    /// Receives `bytes` and decodes the one reply in them, by the steps that a call takes: into the inbox, onto the
    /// tape, out into the reply's own buffer. The reply before is freed by it.
    #[inline]
    pub fn decode(&mut self, bytes: &[u8]) -> Option<ReplyRef<'_>> {
        let mut left = bytes;
        while !left.is_empty() {
            let room = self.inbox.room().ok()?;
            let count = left.len().min(room.len());
            room[..count].copy_from_slice(&left[..count]);
            self.inbox.fill(count);
            left = &left[count..];
        }
        self.payload.start();
        let shift = self.payload.bytes.len().wrapping_sub(self.inbox.start());
        let (received, at) = self.inbox.decodable();
        let decoded = self.decoder.decode(received, at, shift, &mut self.payload.tape).ok()?;
        self.inbox.end_reply();
        self.inbox.hand_over(&mut self.payload.bytes).ok()?;
        (decoded == Decoded::Reply).then(|| ReplyRef::at(&self.payload, self.payload.root))
    }
}
