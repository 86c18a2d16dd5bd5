//! What has come from the server, decoded: each reply to the call whose turn it is.

use super::Session;
use super::call::{Expected, What};
use crate::error::kept;
use crate::request::Shape;
use crate::resp::{Decoded, Inbox, Kind, LONG_ASIDE, Payload, Refusal, make_room};

const UNASKED: Refusal = Refusal::Protocol("a reply that no call waits for");

const TOO_LONG: Refusal = Refusal::Limit("a reply longer than the limit");

/// Hardly any reply has fewer bytes.
const LEAST_BYTES: usize = 4;

impl<T> Session<T> {
    /// Takes the inbox back, into which `count` bytes were filled, and decodes what is complete.
    ///
    /// On a refusal the connection is of no use any more: call [`Session::fail`].
    pub(crate) fn receive(&mut self, inbox: Box<Inbox>, count: usize) -> std::result::Result<(), Refusal> {
        self.idle_inbox = Some(std::mem::replace(&mut self.inbox, inbox));
        self.counters.bytes_received += count as u64;
        if self.failed {
            return Ok(());
        }
        let decoded = self.decode();
        if self.inbox.has_whole() { decoded.and(self.hand_over_whole()) } else { decoded }
    }

    /// Gives a pipeline the replies that are whole: they must be with it before the inbox is lent again, for whoever
    /// ends it meanwhile.
    #[inline(never)]
    pub(super) fn hand_over_whole(&mut self) -> std::result::Result<(), Refusal> {
        if self.inbox.has_whole()
            && let Some(Expected { call, what: What::Items { .. } }) = self.expected.front()
        {
            self.inbox.hand_over_whole(&mut self.calls[*call].payload.bytes)?;
        }
        Ok(())
    }

    #[inline]
    fn decode(&mut self) -> std::result::Result<(), Refusal> {
        while !self.inbox.is_decoded() {
            let goes_on = match self.expected.front() {
                Some(&Expected { call, what: What::Items { left, at } }) => self.decode_items(call, left, at),
                expected => {
                    let expected = expected.copied();
                    self.decode_other(expected)
                }
            };
            if !goes_on? {
                break;
            }
        }
        Ok(())
    }

    /// Decodes replies to items, of which `left` are awaited; `false` when more must be received.
    #[inline(always)]
    fn decode_items(&mut self, call: usize, left: u32, at: u64) -> std::result::Result<bool, Refusal> {
        let goes_on = match self.decode_replies(call, left) {
            Ok(Decoded::Reply) => self.items_answered(call, at).map(|()| true),
            Ok(decoded) => self.left_out(&decoded),
            Err(refusal) => Err(refusal),
        };
        if goes_on.is_err() {
            self.at_fault = Some(call);
        }
        goes_on
    }

    /// Decodes what comes next where it is not the replies to items, which belongs to the call `expected`: out of the
    /// way of those.
    #[inline(never)]
    fn decode_other(&mut self, expected: Option<Expected>) -> std::result::Result<bool, Refusal> {
        let goes_on = self.decode_one(expected);
        if goes_on.is_err() {
            self.at_fault = expected.map(|expected| expected.call);
        }
        goes_on
    }

    fn decode_one(&mut self, expected: Option<Expected>) -> std::result::Result<bool, Refusal> {
        let decoded = match expected {
            Some(Expected { call, what: What::Exec }) => self.decode_exec(call)?,
            Some(_) => self.decode_unseen()?,
            None => self.decode_unasked()?,
        };
        if decoded != Decoded::Reply {
            return self.left_out(&decoded);
        }
        let Some(Expected { call, what }) = expected else { return Err(UNASKED) };
        match what {
            // Not here.
            What::Items { .. } => {}
            What::Word { form } => self.answered(call, form),
            What::WordOnFunction { script, form, is_load } => {
                self.answered_on_function(call, (script, form), is_load);
            }
            What::Load(load) => self.loaded(call, load)?,
            What::Asking => self.asked(),
            What::Queued { left } => self.queued(call, left),
            What::Exec => self.executed(call)?,
            What::Wait => self.waited(call),
            What::Memory => self.told_of_memory(),
            What::Probe { left } => self.probed(left)?,
        }
        Ok(true)
    }

    /// Goes on where no reply was decoded; `false` when more must be received.
    #[cold]
    fn left_out(&mut self, decoded: &Decoded) -> std::result::Result<bool, Refusal> {
        if *decoded == Decoded::Aside {
            return self.discard_aside().map(|()| true);
        }
        if self.inbox.incomplete() > self.limits.max_bytes {
            return Err(if self.decoder.is_aside() { LONG_ASIDE } else { TOO_LONG });
        }
        Ok(false)
    }

    /// Decodes the replies to a call's items until all `left` are there, or one of them is an error that must be
    /// looked at.
    #[inline]
    fn decode_replies(&mut self, key: usize, mut left: u32) -> std::result::Result<Decoded, Refusal> {
        let call = &mut self.calls[key];
        let Payload { tape, bytes, received, .. } = &mut *call.payload;
        let shift = bytes.len().wrapping_sub(self.inbox.start());
        let looks_at_errors = call.request.shape != Shape::Single;
        let (mut whole, mut last) = (call.whole, call.last);
        let before = left;
        if looks_at_errors {
            // As many as last time, where there are bytes for so many.
            let likely = self.tape_len.min(self.inbox.undecoded() / LEAST_BYTES);
            // Without memory for so many, there may be some for those that come.
            let _ = make_room(tape, likely.saturating_sub(tape.len()).max(left as usize));
        }
        let max_bytes = self.limits.max_bytes;
        let (bytes, at, reply) = self.inbox.decodable_replies();
        let mut reply_at = *reply;
        let decoded = self.decoder.decode_while(bytes, at, shift, tape, |tape, end| {
            if end - reply_at > max_bytes {
                return Err(TOO_LONG);
            }
            reply_at = end;
            last = std::mem::replace(&mut whole, tape.len());
            left -= 1;
            Ok(left > 0 && !(looks_at_errors && tape[last].kind == Kind::Error))
        });
        *received += reply_at - *reply;
        *reply = reply_at;
        (call.whole, call.last) = (whole, last);
        call.answered += (before - left) as usize;
        // A single call's line is over with its reply.
        if looks_at_errors
            && let Some(Expected { what: What::Items { left: waiting, .. }, .. }) = self.expected.front_mut()
        {
            *waiting = left;
        }
        decoded
    }

    fn decode_exec(&mut self, key: usize) -> std::result::Result<Decoded, Refusal> {
        let Payload { tape, bytes, received: whole, .. } = &mut *self.calls[key].payload;
        let shift = bytes.len().wrapping_sub(self.inbox.start());
        let (received, at) = self.inbox.decodable();
        let decoded = self.decoder.decode(received, at, shift, tape)?;
        if decoded == Decoded::Reply {
            let length = self.inbox.end_reply();
            *whole += length;
            if length > self.limits.max_bytes {
                return Err(TOO_LONG);
            }
        }
        Ok(decoded)
    }

    fn decode_unseen(&mut self) -> std::result::Result<Decoded, Refusal> {
        let (received, at) = self.inbox.decodable();
        let decoded = self.decoder.decode(received, at, 0, &mut self.unseen)?;
        self.end_whole(decoded)
    }

    /// Decodes what comes while no call waits: push messages. The beginning of anything else must not be taken for
    /// that of the next call's reply.
    fn decode_unasked(&mut self) -> std::result::Result<Decoded, Refusal> {
        let is_aside =
            self.decoder.is_aside() || self.inbox.next().is_some_and(|sign| matches!(sign, b'>' | b'|'));
        if is_aside { self.decode_unseen() } else { Err(UNASKED) }
    }

    /// Lets go of the aside that was decoded last, so that however many of them come no memory is held for them.
    fn discard_aside(&mut self) -> std::result::Result<(), Refusal> {
        // It may stand between the replies to a pipeline.
        self.hand_over_whole()?;
        if self.inbox.discard_aside() > self.limits.max_bytes { Err(LONG_ASIDE) } else { Ok(()) }
    }

    fn end_whole(&mut self, decoded: Decoded) -> std::result::Result<Decoded, Refusal> {
        if decoded == Decoded::Reply && self.inbox.end_reply() > self.limits.max_bytes {
            return Err(TOO_LONG);
        }
        Ok(decoded)
    }

    /// Throws the reply on the unseen tape away.
    pub(super) fn discard_unseen(&mut self) {
        self.unseen.clear();
        self.inbox.discard();
    }

    /// Takes the reply on the unseen tape away: its text, if it is an error.
    pub(super) fn take_unseen_error(&mut self) -> Option<Vec<u8>> {
        let entry = self.unseen[0];
        let text = (entry.kind == Kind::Error)
            .then(|| kept(self.inbox.text(entry.start(), entry.len as usize)).to_vec());
        self.discard_unseen();
        text
    }
}
