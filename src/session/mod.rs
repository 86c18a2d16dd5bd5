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
mod emit;
mod eviction;
mod function_items;
mod functions;
pub(crate) mod handshake;
mod inbox;
mod known;
pub(crate) mod order;
mod outbox;
mod proof;
mod repair;
mod replicated;
#[cfg(any(test, feature = "fuzz-internals"))]
#[cfg_attr(not(test), allow(dead_code, unused_imports))]
pub(crate) mod simulation;
mod transaction;
pub(crate) mod verdict;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::ffi::lock::Mutex;
use slab::Slab;

use crate::error::{Error, Result, Status, kept};
use crate::figures::Figures;
use crate::request::{Form, Request, Shape};
use crate::resp::{Decoded, Decoder, Entry, Kind, LONG_ASIDE, Limits, Payload, Pool, Refusal, make_room};
use crate::script::Script;
use crate::sha::Sha;

pub(crate) use inbox::Inbox;
use known::{Cache, Known};
pub(crate) use outbox::Chunk;
use outbox::Outbox;
use repair::{Answers, Refused};
use replicated::Waits;
use transaction::{Probe, Singly};

/// What has been learnt of the server and of the user's rights on one connection. It ends with that: the next one may
/// lead to a newer server, and to other rights.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Which of its node's connections it is.
    number: u64,
    /// SCRIPT LOAD is refused: scripts travel as EVAL.
    load_refused: AtomicBool,
    /// The server is older than EVALSHA_RO.
    no_read_only: AtomicBool,
    /// FUNCTION LOAD is refused to this user: functions are called alone.
    library_load_refused: AtomicBool,
    /// The server has no functions.
    no_functions: AtomicBool,
    /// The server has answered HELLO, and does so for every user.
    has_hello: AtomicBool,
    /// The last connection has had HELLO: if this one ends on it, that is not HELLO's doing.
    expects_hello: bool,
    /// The server has closed a connection on HELLO: this one does without.
    shuns_hello: AtomicBool,
    /// EXEC was refused and may have left the connection in MULTI: transactions are not tried. The server's words.
    spoilt_by_exec: OnceLock<Vec<u8>>,
    /// One more than the client's [`Compiled::multi_refusals`] when the last empty transaction was sent that has
    /// worked; 0: none has.
    proven: AtomicU64,
    compiled: Arc<Compiled>,
    /// The server was asked whether it evicts keys, on whichever connection.
    memory_asked: Arc<AtomicBool>,
}

/// What a client has learnt on whichever of its connections.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    /// The scripts that have compiled: only those may enter a MULTI, where a failure would not stop the others.
    scripts: Mutex<Known>,
    /// The figures of the client's scripts, where they are wanted.
    figures: Option<Arc<Figures>>,
    /// How often MULTI was refused in a transaction, whose commands ran singly then. Proofs from before count no
    /// more, on any connection.
    multi_refusals: AtomicU64,
}

impl Compiled {
    pub(crate) fn new(figures: Option<Arc<Figures>>) -> Self {
        Compiled { figures, ..Compiled::default() }
    }

    pub(crate) fn figures(&self) -> Option<&Figures> {
        self.figures.as_deref()
    }
}

impl Facts {
    fn figures(&self) -> Option<&Figures> {
        self.compiled.figures()
    }

    pub(crate) fn new(compiled: Arc<Compiled>, number: u64, expects_hello: bool) -> Self {
        Facts {
            number,
            load_refused: AtomicBool::new(false),
            no_read_only: AtomicBool::new(false),
            library_load_refused: AtomicBool::new(false),
            no_functions: AtomicBool::new(false),
            has_hello: AtomicBool::new(false),
            expects_hello,
            shuns_hello: AtomicBool::new(false),
            spoilt_by_exec: OnceLock::new(),
            proven: AtomicU64::new(0),
            compiled,
            memory_asked: Arc::default(),
        }
    }

    /// The same of a server that this is known of.
    pub(crate) fn of_server(self, memory_asked: &Arc<AtomicBool>) -> Self {
        Facts { memory_asked: Arc::clone(memory_asked), ..self }
    }

    /// A script as this server can run it: without functions it may be another.
    #[inline]
    fn served<'a>(&self, script: &'a Script) -> &'a Script {
        if script.function().is_some() && self.no_functions.load(Ordering::Relaxed) {
            return script.instead().unwrap_or(script);
        }
        script
    }

    /// Whether the server can run nothing that stands for this script.
    fn cannot_serve(&self, script: &Script) -> bool {
        self.no_functions.load(Ordering::Relaxed) && self.served(script).function().is_some()
    }

    /// A script or library has compiled on this server.
    fn note_compiled(&self, sha: Sha) {
        self.compiled.scripts.lock().insert(sha);
    }

    /// Whether the server has shown that it lets this user run transactions, and no transaction of the client was
    /// refused since.
    fn may_run_transactions(&self) -> bool {
        self.proven.load(Ordering::Acquire) == self.multi_refusals() + 1
    }

    /// An empty transaction has worked that was sent when the client had met so many refusals.
    fn note_transactions(&self, multi_refusals: u64) {
        self.proven.store(multi_refusals + 1, Ordering::Release);
    }

    fn multi_refusals(&self) -> u64 {
        self.compiled.multi_refusals.load(Ordering::Acquire)
    }

    /// A transaction's MULTI was refused.
    fn note_multi_refusal(&self) {
        self.compiled.multi_refusals.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether HELLO can be sent on this connection.
    pub(crate) fn has_hello(&self) -> bool {
        self.has_hello.load(Ordering::Relaxed)
    }

    /// The server has closed the connection when HELLO came.
    pub(crate) fn note_shunned_hello(&self) {
        self.shuns_hello.store(true, Ordering::Relaxed);
    }

    fn shuns_hello(&self) -> bool {
        self.shuns_hello.load(Ordering::Relaxed)
    }

    /// Whether the server stops a read-only call at its first write.
    pub(crate) fn enforces_read_only(&self) -> bool {
        !self.no_read_only.load(Ordering::Relaxed)
    }
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
    pub(crate) result: Result<Box<Payload>>,
    /// Of a pipeline that broke: the replies that did arrive.
    pub(crate) arrived: Option<Box<Payload>>,
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
    /// Items queued for sending, and items answered, so far.
    queued: usize,
    answered: usize,
    /// The tape's length behind the last whole reply.
    whole: usize,
    /// Where on the tape the reply starts that was decoded last.
    last: usize,
    /// How often its script was sent again.
    repeats: u8,
    /// The script travels as EVAL from now on.
    by_body: bool,
    /// If it is answered, the server has the script, which this connection has not loaded.
    teaches: bool,
    /// How a single call's script was sent last.
    form: Form,
    /// What only few calls have.
    rare: Option<Box<Rare>>,
}

#[derive(Debug, Default)]
struct Rare {
    /// The error replies to this call's SCRIPT LOADs, by script.
    load_errors: Vec<(usize, Vec<u8>)>,
    /// Script calls of a pipeline or transaction that were sent in another form than they are encoded in, in
    /// ascending order.
    rewritten: Vec<(usize, Form)>,
    /// Script calls of a pipeline that the server has certainly not run, for it lacks the script or refuses the
    /// command.
    missed: Vec<usize>,
    /// Items whose error may say the same: the form that each was sent in, and where its part starts in the stream.
    doubtful: Vec<(usize, Form, u64)>,
    /// What the server itself says to a form, and how many such answers are awaited.
    answers: Answers,
    /// What of `missed` is sent again, how many of these are queued, and the pipeline's replies meanwhile.
    again: Vec<usize>,
    again_queued: usize,
    before_repair: Option<Box<Payload>>,
    /// Of WAIT behind it.
    waits: Waits,
    /// EVAL is refused: a transaction's scripts travel by their SHA, though they are not loaded in it.
    by_sha: bool,
    /// What must be answered before a transaction may start: SCRIPT LOADs, and an empty transaction.
    checks: usize,
    /// The server's words, when that empty transaction was refused.
    unproven: Option<Vec<u8>>,
    /// The scripts that are loaded inside MULTI.
    loads: Vec<usize>,
    /// Commands answered between MULTI and EXEC so far.
    queued: usize,
    /// The first error among those answers, and which it was.
    queue_error: Option<(usize, Vec<u8>)>,
    /// Functions: why the library was not loaded this time, in the server's words.
    unloaded: Option<Vec<u8>>,
    /// What a transaction is checked for has changed: once more.
    recheck: bool,
    /// The call stands in a transaction with its library, where it cannot miss that.
    is_whole: bool,
    /// Where MULTI was refused: what became of each item, run singly.
    singly: Vec<Singly>,
    /// The errors of those items that are `doubtful`.
    singly_texts: Vec<Vec<u8>>,
}

impl<T> Call<T> {
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Why a function's library was not loaded for this call, in the server's words.
    fn unloaded(&self) -> Option<&[u8]> {
        self.rare.as_ref()?.unloaded.as_deref()
    }

    fn load_error(&self, script: usize) -> Option<&[u8]> {
        let errors = &self.rare.as_ref()?.load_errors;
        errors.iter().find(|(failed, _)| *failed == script).map(|(_, text)| text.as_slice())
    }
}

/// Out of the way of the calls that have none.
#[cold]
fn drop_rare(rare: Box<Rare>) {
    drop(rare);
}

const UNASKED: Refusal = Refusal::Protocol("a reply that no call waits for");

const TOO_LONG: Refusal = Refusal::Limit("a reply longer than the limit");

/// The position of a call of which the server has nothing to execute yet.
const NOT_QUEUED: u64 = u64::MAX;

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
    /// The reply to ASKING. It decides nothing: refused, the command behind it is redirected once more.
    Asking,
    /// The replies to this many of the call's items, which start at this place in the stream.
    Items { left: u32, at: u64 },
    /// The server's own word on a form of script calls. The caller never sees it.
    Word { form: Form },
    /// The same on a function: the answer to FUNCTION LOAD, or to a call that runs nothing.
    WordOnFunction { script: usize, form: Form, is_load: bool },
    /// The answers to MULTI and to this many commands behind it. The caller never sees them.
    Queued { left: usize },
    /// The reply to EXEC.
    Exec,
    /// The answer to WAIT behind the call.
    Wait,
    /// What the server says of its memory. It decides nothing about the call.
    Memory,
    /// The answers to an empty transaction: MULTI's if 1 is left behind it, then EXEC's.
    Probe { left: usize },
}

impl What {
    /// A part has no more items than bytes.
    fn items(left: usize, at: u64) -> What {
        What::Items { left: u32::try_from(left).unwrap_or(u32::MAX), at }
    }
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

/// The state machine of one connection. `T` tells the owner whose call has finished.
#[derive(Debug)]
pub(crate) struct Session<T> {
    calls: Slab<Call<T>>,
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

/// Hardly any reply has fewer bytes.
const LEAST_BYTES: usize = 4;

/// A longer tape of a pipeline is no measure for that of the next one.
const TAPE_MAX: usize = 16 * 1024;

impl<T> Session<T> {
    pub(crate) fn new(limits: Limits, facts: Arc<Facts>, pool: Arc<Pool>) -> Self {
        Session {
            calls: Slab::new(),
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
    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.outbox.position()
    }

    /// How much memory a call takes until it is answered, if it stands behind `from` in the stream.
    pub(crate) fn weight(&self, key: usize, from: u64) -> usize {
        let Call { position, request, .. } = &self.calls[key];
        if *position < from { 0 } else { size_of::<Call<T>>() + size_of::<Request>() + request.wire.len() }
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
    fn hand_over_whole(&mut self) -> std::result::Result<(), Refusal> {
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
            What::Load { script } => self.loaded(call, script)?,
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

    /// Forgets which scripts the server has: someone is about to flush them, or has.
    pub(crate) fn forget_scripts(&mut self) {
        self.known.clear_scripts();
    }

    /// Ends every call: the connection is gone. The status of the cause is for calls of which nothing was sent. Where
    /// the reply to one call is to blame, `owner` is that call's status; the others have lost the connection and no
    /// more.
    pub(crate) fn end(&mut self, cause: &Error, owner: Option<Status>) {
        let (status, why, reason) = (cause.status(), cause.reason(), cause.message());
        self.failed = true;
        let owner = owner.zip(self.at_fault.or(self.expected.front().map(|front| front.call)));
        let keys: Vec<usize> = self.calls.iter().map(|(key, _)| key).collect();
        for key in keys {
            let (arrived, index) = (self.arrived(key), self.unanswered(key));
            let mut call = self.calls.remove(key);
            let known = call.known_error();
            let Call { tag, request, position, .. } = call;
            let Some(tag) = tag else { continue };
            if let Some(error) = known {
                self.finished.push_back(Finished { tag, request, result: Err(error), arrived });
                continue;
            }
            let (own, whose) = match owner {
                Some((own, owner)) if owner == key => (Some(own), ""),
                Some(_) => (None, ", in reply to another call"),
                None => (None, ""),
            };
            let error = if self.outbox.has_sent(position) {
                let text = format!("{reason}{whose}; the call was sent, so the server may have executed it");
                let error = match own {
                    Some(own) => Error::new(own, text),
                    None if status == Status::Internal => Error::because(status, why, text),
                    None => Error::indeterminate(why, text),
                };
                error.sent(true)
            } else {
                Error::because(status, why, format!("{reason}{whose}; nothing of the call was sent"))
                    .sent(false)
            };
            let error = match index {
                Some(index) => error.of_item(index),
                None => error,
            };
            self.finished.push_back(Finished { tag, request, result: Err(error), arrived });
        }
        self.forget_questions();
        self.expected.clear();
        self.probes.clear();
    }

    #[cfg(any(test, feature = "fuzz-internals"))]
    pub(crate) fn fail(&mut self, status: Status, reason: &str) {
        self.end(&Error::because(status, crate::error::Reason::ConnectionLost, reason), None);
    }

    /// The first item of a pipeline that has no answer yet.
    pub(crate) fn unanswered(&self, key: usize) -> Option<usize> {
        let call = self.calls.get(key).filter(|call| call.request.shape == Shape::Pipeline)?;
        let repaired = call.rare.as_ref().filter(|rare| rare.before_repair.is_some());
        Some(repaired.and_then(|rare| rare.missed.first().copied()).unwrap_or(call.answered))
    }

    /// A copy of the replies of a pipeline that have arrived whole; `None` too where there is no memory for it.
    fn arrived(&mut self, key: usize) -> Option<Box<Payload>> {
        // Where this session was left in the middle of it.
        self.hand_over_whole().ok()?;
        let call = self.calls.get(key)?;
        if call.request.shape != Shape::Pipeline || call.answered == 0 {
            return None;
        }
        let mut copy = self.pool.take();
        if let Some(before) = call.rare.as_ref().and_then(|rare| rare.before_repair.as_ref()) {
            copy.copy(before, before.tape.len()).ok()?;
            copy.end_array(call.request.items.len());
            return Some(copy);
        }
        copy.copy(&call.payload, call.whole).ok()?;
        copy.end_array(call.answered);
        Some(copy)
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

    /// Ends a call with its reply.
    #[inline(always)]
    fn succeed(&mut self, key: usize) {
        let Call { tag, request, payload, rare, .. } = self.calls.remove(key);
        if let Some(rare) = rare {
            drop_rare(rare);
        }
        if let Some(tag) = tag {
            self.finished.push_back(Finished { tag, request, result: Ok(payload), arrived: None });
        }
    }

    /// Throws the reply on the unseen tape away.
    fn discard_unseen(&mut self) {
        self.unseen.clear();
        self.inbox.discard();
    }

    /// Takes the reply on the unseen tape away: its text, if it is an error.
    fn take_unseen_error(&mut self) -> Option<Vec<u8>> {
        let entry = self.unseen[0];
        let text = (entry.kind == Kind::Error)
            .then(|| kept(self.inbox.text(entry.start(), entry.len as usize)).to_vec());
        self.discard_unseen();
        text
    }

    /// Ends a call with an error of its own.
    fn refuse(&mut self, key: usize, error: Error) {
        if self.is_held(key, Err(&error)) {
            return;
        }
        let arrived = if error.status() == Status::NotReplicated { self.arrived(key) } else { None };
        let Call { tag, request, .. } = self.calls.remove(key);
        if let Some(tag) = tag {
            self.finished.push_back(Finished { tag, request, result: Err(error), arrived });
        }
    }
}
