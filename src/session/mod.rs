//! One connection without its socket: requests go in and bytes come out, bytes go in and finished calls come out.
//!
//! No I/O, no clock, no lock: everything that DESIGN's semantics say about one connection is decided here, and can be
//! tested byte by byte.

#[cfg(feature = "bench-internals")]
pub(crate) mod bench;
pub(crate) mod handshake;
mod inbox;
mod known;
mod outbox;
mod verdict;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use slab::Slab;

use crate::error::{Error, Result, Status};
use crate::request::{Form, Request, Shape};
use crate::resp::{Decoded, Decoder, Entry, Kind, Limits, Payload, Pool, Refusal, encode};
use crate::script::Script;

pub(crate) use inbox::Inbox;
use known::Known;
pub(crate) use outbox::Chunk;
use outbox::Outbox;
use verdict::{LoadVerdict, Verdict};

/// What has been learnt of a server and outlives one connection to it.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// SCRIPT LOAD is refused for good: scripts travel as EVAL.
    load_refused: AtomicBool,
    /// The server is older than EVALSHA_RO.
    no_read_only: AtomicBool,
}

/// What a connection did since it was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) calls: u64,
    pub(crate) flushes: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) noscript_repairs: u64,
    pub(crate) script_loads: u64,
}

/// A call that is over, handed back with all that it was made of.
#[derive(Debug)]
pub(crate) struct Finished<T> {
    pub(crate) tag: T,
    pub(crate) request: Box<Request>,
    /// The reply when `result` is fine; for a pipeline that broke, the replies that did arrive.
    pub(crate) payload: Box<Payload>,
    pub(crate) result: Result<()>,
}

/// A call in flight.
#[derive(Debug)]
struct Call<T> {
    /// `None`: the caller has left; the reply is awaited all the same and thrown away.
    tag: Option<T>,
    request: Box<Request>,
    payload: Box<Payload>,
    /// Where in the stream the part starts that the server would execute.
    position: u64,
    /// Items answered so far.
    answered: usize,
    /// SCRIPT LOAD and EVALSHA were already sent a second time.
    repaired: bool,
    /// SCRIPT LOAD was refused: the script travels as EVAL from now on.
    by_body: bool,
    /// How the script was sent last.
    form: Form,
    /// The error reply to this call's SCRIPT LOAD.
    load_error: Option<Vec<u8>>,
}

/// Whose replies the server sends next.
#[derive(Clone, Copy, Debug)]
struct Expected {
    call: usize,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// The reply to SCRIPT LOAD of one of the call's scripts. The caller never sees it.
    Load { script: usize },
    /// The replies to this many of the call's items.
    Items { left: usize },
}

/// The state machine of one connection. `T` tells the owner whose call has finished.
#[derive(Debug)]
pub(crate) struct Session<T> {
    calls: Slab<Call<T>>,
    expected: VecDeque<Expected>,
    outbox: Outbox,
    inbox: Inbox,
    decoder: Decoder,
    /// Replies that no caller sees are decoded here.
    unseen: Vec<Entry>,
    known: Known,
    facts: Arc<Facts>,
    pool: Arc<Pool>,
    finished: VecDeque<Finished<T>>,
    limits: Limits,
    counters: Counters,
}

impl<T> Session<T> {
    pub(crate) fn new(limits: Limits, facts: Arc<Facts>, pool: Arc<Pool>) -> Self {
        Session {
            calls: Slab::new(),
            expected: VecDeque::new(),
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            decoder: Decoder::new(limits),
            unseen: Vec::new(),
            known: Known::default(),
            facts,
            pool,
            finished: VecDeque::new(),
            limits,
            counters: Counters::default(),
        }
    }

    /// Takes a request and queues its bytes. The key names the call for [`Session::abandon`].
    pub(crate) fn submit(&mut self, request: Box<Request>, tag: T) -> usize {
        let payload = self.pool.take();
        self.counters.calls += 1;
        let key = self.calls.insert(Call {
            tag: Some(tag),
            request,
            payload,
            position: 0,
            answered: 0,
            repaired: false,
            by_body: false,
            form: Form::Sha,
            load_error: None,
        });
        self.emit(key);
        key
    }

    /// Leaves a call alone: its reply, when it comes, is thrown away.
    pub(crate) fn abandon(&mut self, key: usize) {
        if let Some(call) = self.calls.get_mut(key) {
            call.tag = None;
        }
    }

    /// The next call that is over.
    #[inline]
    pub(crate) fn next_finished(&mut self) -> Option<Finished<T>> {
        self.finished.pop_front()
    }

    /// Whose reply is awaited next, among those who still wait.
    pub(crate) fn next_awaited(&self) -> Option<&T> {
        self.expected.iter().find_map(|expected| self.calls[expected.call].tag.as_ref())
    }

    /// Whether nothing is in flight.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.expected.is_empty()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.calls.len()
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes the next bytes to send out of the session; [`Session::put_back`] must follow.
    #[inline]
    pub(crate) fn take_output(&mut self) -> Option<Chunk> {
        self.outbox.take()
    }

    /// Takes a chunk back, of which `sent` bytes have left.
    #[inline]
    pub(crate) fn put_back(&mut self, chunk: Chunk, sent: usize) {
        self.counters.bytes_sent += sent as u64;
        self.outbox.put_back(chunk, sent);
    }

    /// Counts one burst of sending.
    #[inline]
    pub(crate) fn count_flush(&mut self) {
        self.counters.flushes += 1;
    }

    /// Lends the inbox to the thread that reads; [`Session::receive`] takes it back.
    #[inline]
    pub(crate) fn lend_inbox(&mut self) -> Inbox {
        std::mem::take(&mut self.inbox)
    }

    /// Takes the inbox back, into which `count` bytes were filled, and decodes what is complete.
    ///
    /// On a refusal the connection is of no use any more: call [`Session::fail`].
    pub(crate) fn receive(&mut self, inbox: Inbox, count: usize) -> std::result::Result<(), Refusal> {
        self.inbox = inbox;
        self.counters.bytes_received += count as u64;
        while !self.inbox.is_decoded() {
            let decoded = match self.expected.front() {
                Some(&Expected { call, what: What::Items { .. } }) => self.decode_item(call)?,
                _ => self.decode_unseen()?,
            };
            let length = match &decoded {
                Decoded::Reply | Decoded::Push => self.inbox.end_reply(),
                Decoded::Incomplete => self.inbox.incomplete(),
            };
            if length > self.limits.max_bytes {
                return Err(Refusal::Limit("a reply longer than the limit"));
            }
            match decoded {
                Decoded::Reply => {}
                Decoded::Push => continue,
                Decoded::Incomplete => break,
            }
            match self.expected.front().copied() {
                None => return Err(Refusal::Protocol("a reply that no call waits for")),
                Some(Expected { call, what: What::Load { script } }) => {
                    self.expected.pop_front();
                    self.loaded(call, script)?;
                }
                Some(Expected { call, what: What::Items { .. } }) => self.answered(call),
            }
        }
        Ok(())
    }

    /// Forgets which scripts the server has: someone is about to flush them, or has.
    pub(crate) fn forget_scripts(&mut self) {
        self.known.clear();
    }

    /// Ends every call: the connection is gone. `status` is for calls of which nothing was sent.
    pub(crate) fn fail(&mut self, status: Status, reason: &str) {
        self.expected.clear();
        for mut call in self.calls.drain() {
            let Some(tag) = call.tag.take() else { continue };
            let error = if self.outbox.has_sent(call.position) {
                let status = if status == Status::ReplyLimit { status } else { Status::Indeterminate };
                Error::new(status, format!("{reason}; the call was sent, so the server may have executed it"))
                    .sent(true)
            } else {
                let status = if status == Status::ReplyLimit { Status::Connect } else { status };
                Error::new(status, format!("{reason}; nothing of the call was sent")).sent(false)
            };
            let Call { request, payload, .. } = call;
            self.finished.push_back(Finished { tag, request, payload, result: Err(error) });
        }
    }

    /// Queues the bytes of a call in the form that this server needs now.
    fn emit(&mut self, key: usize) {
        let call = &mut self.calls[key];
        match call.request.shape {
            Shape::Single => call.payload.start(),
            Shape::Pipeline => call.payload.start_array(),
        }
        if let (Shape::Single, Some(script)) = (call.request.shape, call.request.items[0].script) {
            self.emit_script(key, script as usize);
        } else {
            call.position = self.outbox.position();
            self.outbox.append_wire(&call.request.wire, 0..call.request.wire.len());
        }
        let left = self.calls[key].request.items.len();
        self.expected.push_back(Expected { call: key, what: What::Items { left } });
    }

    fn emit_script(&mut self, key: usize, index: usize) {
        let call = &mut self.calls[key];
        let request = &call.request;
        let script = &request.scripts[index];
        let known = self.known.contains(script.sha());
        let by_body = call.by_body || (!known && self.facts.load_refused.load(Ordering::Relaxed));
        if !known && !by_body {
            // Entered before the reply: a call behind this one stands behind this LOAD, too.
            self.known.insert(script.sha());
            self.counters.script_loads += 1;
            self.outbox.append(|out| encode::command(out, &[b"SCRIPT", b"LOAD", script.source()]));
            self.expected.push_back(Expected { call: key, what: What::Load { script: index } });
        }
        let read_only = request.items[0].read_only && !self.facts.no_read_only.load(Ordering::Relaxed);
        call.form = Form::new(by_body, read_only);
        call.position = self.outbox.position();
        if call.form == request.encoded_form(0) {
            self.outbox.append_wire(&request.wire, 0..request.wire.len());
        } else {
            self.outbox.append(|out| request.rewrite(0, call.form, out));
        }
    }

    fn decode_item(&mut self, key: usize) -> std::result::Result<Decoded, Refusal> {
        let Payload { tape, bytes, .. } = &mut *self.calls[key].payload;
        let shift = bytes.len().wrapping_sub(self.inbox.start());
        let (received, at) = self.inbox.decodable();
        self.decoder.decode(received, at, shift, tape)
    }

    fn decode_unseen(&mut self) -> std::result::Result<Decoded, Refusal> {
        let (received, at) = self.inbox.decodable();
        let decoded = self.decoder.decode(received, at, 0, &mut self.unseen)?;
        if decoded == Decoded::Push {
            self.inbox.discard();
        }
        Ok(decoded)
    }

    /// Takes the reply to SCRIPT LOAD from the unseen tape.
    fn loaded(&mut self, key: usize, index: usize) -> std::result::Result<(), Refusal> {
        let call = &mut self.calls[key];
        let script: &Script = &call.request.scripts[index];
        let entry = self.unseen[0];
        let text = self.inbox.text(entry.value as usize, entry.len as usize);
        if entry.kind == Kind::Error {
            self.known.remove(script.sha());
            match verdict::judge_load(text) {
                LoadVerdict::Never => {
                    self.facts.load_refused.store(true, Ordering::Relaxed);
                    call.by_body = true;
                }
                LoadVerdict::NotNow => call.by_body = true,
                LoadVerdict::Failed => call.load_error = Some(text.to_vec()),
            }
        } else if text != script.sha_hex().as_bytes() {
            return Err(Refusal::Protocol("a reply to SCRIPT LOAD that is not the script's SHA1"));
        }
        self.unseen.clear();
        self.inbox.discard();
        Ok(())
    }

    /// Takes the reply to a call's next item, just decoded.
    fn answered(&mut self, key: usize) {
        let call = &mut self.calls[key];
        call.answered += 1;
        if let Some(Expected { what: What::Items { left }, .. }) = self.expected.front_mut()
            && *left > 1
        {
            *left -= 1;
            return;
        }
        self.expected.pop_front();
        self.inbox.hand_over(&mut call.payload.bytes);
        match call.request.shape {
            Shape::Single if call.payload.tape[1].kind == Kind::Error => self.failed(key),
            Shape::Single => {
                if call.form.is_by_body()
                    && let Some(script) = call.request.scripts.first()
                {
                    // EVAL has cached it: next time the SHA will do, for as long as the server keeps it.
                    self.known.insert(script.sha());
                }
                self.finish(key, Ok(()));
            }
            Shape::Pipeline => {
                call.payload.end_array(call.request.items.len());
                self.finish(key, Ok(()));
            }
        }
    }

    /// Decides on the error reply to a single call: send it again in another form, or hand it over.
    fn failed(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let entry = call.payload.tape[1];
        let text = &call.payload.bytes[entry.value as usize..entry.value as usize + entry.len as usize];
        let verdict = match verdict::judge(text) {
            // Neither a command nor a script that came with its body can miss the cache: the text is the script's own.
            Verdict::NoScript if call.request.scripts.is_empty() || call.form.is_by_body() => Verdict::Other,
            Verdict::NoReadOnlyCommand if !call.form.is_read_only() => Verdict::Other,
            verdict => verdict,
        };
        let again = match verdict {
            Verdict::NoScript => {
                self.known.clear();
                if let Some(load_error) = call.load_error.take() {
                    let error = verdict::load_error(&load_error);
                    return self.finish(key, Err(error));
                }
                let again = call.by_body || !call.repaired;
                self.counters.noscript_repairs += u64::from(!call.by_body && again);
                call.repaired = true;
                again
            }
            Verdict::NoReadOnlyCommand => {
                self.facts.no_read_only.store(true, Ordering::Relaxed);
                true
            }
            _ => false,
        };
        if again {
            call.answered = 0;
            self.emit(key);
        } else {
            let error = verdict::error(verdict, text);
            self.finish(key, Err(error));
        }
    }

    fn finish(&mut self, key: usize, result: Result<()>) {
        let Call { tag, request, payload, .. } = self.calls.remove(key);
        if let Some(tag) = tag {
            self.finished.push_back(Finished { tag, request, payload, result });
        }
    }
}
