//! The way from received bytes to a reply and back to the pool, alone: what `benches/decode` measures. Not an API.

use std::sync::Arc;

use super::Inbox;
use crate::resp::{Decoded, Decoder, Limits, Pool, Reply};

/// What a connection decodes with.
#[derive(Debug)]
pub struct Codec {
    inbox: Inbox,
    decoder: Decoder,
    pool: Arc<Pool>,
}

impl Default for Codec {
    fn default() -> Self {
        let limits = Limits { max_bytes: 1 << 30, max_depth: 128 };
        Codec { inbox: Inbox::default(), decoder: Decoder::new(limits), pool: Arc::default() }
    }
}

impl Codec {
    /// Receives `bytes` and decodes the one reply in them, by the steps that a call takes: into the inbox, onto the
    /// tape, out into the reply's own buffer.
    #[inline]
    pub fn decode(&mut self, bytes: &[u8]) -> Option<Reply> {
        let mut left = bytes;
        while !left.is_empty() {
            let room = self.inbox.room();
            let count = left.len().min(room.len());
            room[..count].copy_from_slice(&left[..count]);
            self.inbox.fill(count);
            left = &left[count..];
        }
        let mut payload = self.pool.take();
        payload.start();
        let shift = payload.bytes.len().wrapping_sub(self.inbox.start());
        let (received, at) = self.inbox.decodable();
        let decoded = self.decoder.decode(received, at, shift, &mut payload.tape).ok()?;
        self.inbox.end_reply();
        self.inbox.hand_over(&mut payload.bytes);
        (decoded == Decoded::Reply).then(|| Reply::new(payload))
    }
}
