//! One connection without its socket: requests go in and bytes come out, bytes go in and finished calls come out.
//!
//! No I/O, no clock, no lock: everything that docs/guarantees.md says about one connection is decided here, and can be
//! tested byte by byte.

// What servers send is not to be cut short by a conversion.
#![deny(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod answer;
#[cfg(test)]
mod arrived;
#[cfg(feature = "bench-internals")]
pub(crate) mod bench;
mod call;
mod doubt;
mod emit;
mod end;
mod eviction;
mod facts;
mod function_items;
mod functions;
pub(crate) mod handshake;
mod known;
pub(crate) mod order;
mod outbox;
mod proof;
mod receive;
mod repair;
mod replicated;
#[cfg(any(test, feature = "fuzz-internals"))]
#[cfg_attr(not(test), allow(dead_code, unused_imports))]
pub(crate) mod simulation;
mod transaction;
pub(crate) mod verdict;

use std::collections::VecDeque;
use std::sync::Arc;

use slab::Slab;

use crate::error::Error;
use crate::request::{Form, Request, Shape};
use crate::resp::{Decoder, Entry, Inbox, Limits, Payload, Pool};

use call::{Call, Expected, NOT_QUEUED};
pub(crate) use end::Finished;
use facts::Refused;
pub(crate) use facts::{Compiled, Facts};
use known::Cache;
pub(crate) use outbox::Chunk;
use outbox::Outbox;
use transaction::Probe;

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

/// What shows that the server is not loading its data any more.
#[derive(Clone, Copy, Debug, Default)]
struct Readiness {
    /// It has answered a call with something else than LOADING.
    has_loaded: bool,
    /// It has taken a script, or refused one because it runs another: it does neither while it loads.
    is_past_loading: bool,
}

impl Readiness {
    /// Whether the server cannot have said that it is not ready: a script has.
    fn rules_out(self, text: &[u8]) -> bool {
        self.has_loaded || self.is_past_loading && verdict::says_loading(text)
    }
}

/// Calls that were left alone and are not answered.
#[derive(Debug, Default)]
struct Dead {
    count: usize,
    bytes: usize,
}

/// The state machine of one connection. `T` tells the owner whose call has finished.
#[derive(Debug)]
pub(crate) struct Session<T> {
    calls: Slab<Call<T>>,
    /// How many of them were left alone, and what these hold.
    dead: Dead,
    expected: VecDeque<Expected>,
    /// The empty transactions under way.
    probes: VecDeque<Probe>,
    outbox: Outbox,
    inbox: Box<Inbox>,
    /// An empty one, in place of one that is lent.
    idle_inbox: Option<Box<Inbox>>,
    decoder: Decoder,
    /// Replies that no caller sees are decoded here.
    unseen: Vec<Entry>,
    known: Cache,
    /// How this server says NOSCRIPT, where that is not among the known ways.
    noscript: Option<Box<[u8]>>,
    /// Forms of script calls that the server refuses to this user.
    refused: Refused,
    facts: Arc<Facts>,
    /// The policy by which the server evicts keys, which nobody was told of yet.
    evicts: Option<String>,
    pool: Arc<Pool>,
    finished: VecDeque<Finished<T>>,
    readiness: Readiness,
    limits: Limits,
    counters: Counters,
    /// The connection is gone; what may still be received belongs to no call.
    failed: bool,
    /// The call whose reply was refused.
    at_fault: Option<usize>,
    /// How long the tape of the last pipeline was.
    tape_len: usize,
}

/// A longer tape of a pipeline is no measure for that of the next one.
const TAPE_MAX: usize = 16 * 1024;

impl<T> Session<T> {
    pub(crate) fn new(limits: Limits, facts: Arc<Facts>, pool: Arc<Pool>) -> Self {
        Session {
            calls: Slab::new(),
            dead: Dead::default(),
            expected: VecDeque::new(),
            probes: VecDeque::new(),
            outbox: Outbox::default(),
            inbox: Box::new(Inbox::new(&pool)),
            idle_inbox: Some(Box::new(Inbox::new(&pool))),
            decoder: Decoder::new(limits),
            unseen: Vec::new(),
            known: Cache::default(),
            noscript: None,
            refused: Refused::default(),
            facts,
            evicts: None,
            pool,
            finished: VecDeque::new(),
            readiness: Readiness::default(),
            limits,
            counters: Counters::default(),
            failed: false,
            at_fault: None,
            tape_len: 0,
        }
    }

    /// Takes a request and queues its bytes. The key names the call for [`Session::abandon`].
    pub(crate) fn submit(&mut self, mut request: Box<Request>, tag: T) -> usize {
        let payload = self.pool.take();
        request.connection = self.facts.number;
        self.counters.calls += 1;
        let key = self.calls.insert(Call {
            tag: Some(tag),
            request,
            payload,
            position: NOT_QUEUED,
            queued: 0,
            answered: 0,
            whole: 0,
            last: 0,
            repeats: 0,
            by_body: false,
            teaches: false,
            form: Form::Sha,
            rare: None,
        });
        if self.calls[key].request.check().is_err() {
            self.refuse(key, Error::no_memory_to_send());
        } else {
            self.emit(key);
        }
        key
    }

    /// Leaves a call alone: what comes of its reply is thrown away, and what is not queued yet never will be. Gives
    /// the replies of a pipeline that did arrive, and whether anything of the call is queued that the server would
    /// execute.
    pub(crate) fn abandon(&mut self, key: usize) -> (Option<Box<Payload>>, bool) {
        let arrived = self.arrived(key);
        let call = &mut self.calls[key];
        if call.tag.is_some() {
            self.dead.count += 1;
            self.dead.bytes += Self::weight(&call.request);
        }
        call.tag = None;
        if call.request.shape == Shape::Single {
            // It is not sent again, and may wait long for a reply that never comes.
            call.request.give_back_wire();
        }
        (arrived, call.position != NOT_QUEUED)
    }

    /// The request of the call that is known by this key.
    pub(crate) fn request(&self, key: usize) -> Option<&Request> {
        self.calls.get(key).map(|call| &*call.request)
    }

    /// Whose call is known by this key, if anybody still wants it.
    pub(crate) fn tag(&self, key: usize) -> Option<&T> {
        self.calls.get(key)?.tag.as_ref()
    }

    /// Where in the stream the next call stands.
    #[cfg(any(test, feature = "fuzz-internals"))]
    pub(crate) fn position(&self) -> u64 {
        self.outbox.position()
    }

    /// What calls hold that were left alone and are not answered, in bytes; nothing where it is one alone, which may be
    /// as large as its caller wills.
    #[inline]
    pub(crate) fn dead(&self) -> usize {
        if self.dead.count > 1 { self.dead.bytes } else { 0 }
    }

    /// One of them is over.
    fn forget_dead(&mut self, request: &Request) {
        self.dead.count -= 1;
        self.dead.bytes -= Self::weight(request);
    }

    /// What a call holds until it is answered: itself, and what was to be sent of it, which may not have left yet.
    fn weight(request: &Request) -> usize {
        size_of::<Call<T>>() + size_of::<Request>() + request.items.last().map_or(0, |item| item.end)
    }

    /// The next call that is over.
    #[inline]
    pub(crate) fn next_finished(&mut self) -> Option<Finished<T>> {
        self.finished.pop_front()
    }

    /// Whether no call is over that has not been handed out.
    #[inline]
    pub(crate) fn is_handed_out(&self) -> bool {
        self.finished.is_empty()
    }

    /// Whose replies are awaited, the next one first, of so many those who still wait.
    pub(crate) fn awaited(&self, most: usize) -> impl Iterator<Item = &T> {
        self.expected.iter().take(most).filter_map(|expected| self.calls[expected.call].tag.as_ref())
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
        Counters { flushes: self.outbox.bursts(), ..self.counters }
    }

    /// Whether bytes wait to be sent.
    #[inline]
    pub(crate) fn has_output(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Whether there was no memory for what is to be sent next: the connection is of no use any more.
    pub(crate) fn is_short(&self) -> bool {
        self.outbox.is_short()
    }

    /// Takes the next bytes to send out of the session; [`Session::put_back`] must follow. `None` also where it
    /// [is short](Session::is_short).
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

    /// Lends the inbox to the thread that reads; [`Session::receive`] takes it back.
    #[inline]
    pub(crate) fn lend_inbox(&mut self) -> Box<Inbox> {
        let idle = self.idle_inbox.take().unwrap_or_else(|| Box::new(Inbox::new(&self.pool)));
        std::mem::replace(&mut self.inbox, idle)
    }

    /// Forgets which scripts the server has: someone is about to flush them, or has.
    pub(crate) fn forget_scripts(&mut self) {
        self.known.clear_scripts();
    }
}
