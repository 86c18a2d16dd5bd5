//! Functions of libraries: how their libraries come to the server, and what follows when it lacks one.
//!
//! A library is loaded in front of the first call on a connection, in the same write; that it is there
//! already is as good. A function that is missed all the same is called once more behind its library, and
//! then in a transaction with it, where nobody can take it away in between. What a marked function's error
//! says in the server's words is the server's. One that is not marked may have said so itself, after having
//! written: then the server is asked.

use std::sync::atomic::Ordering;

use super::Session;
use super::answer::caller_has_left;
use super::call::{Call, Expected, Load, Singly, What};
use super::emit::{append_load, is_there, learnt, length};
use super::proof::{Proof, UNKNOWN};
use super::transaction::ran_singly;
use super::verdict::{self, Doubt, FUNCTION_NOT_FOUND, LibraryVerdict, Verdict};
use crate::base::sha::Sha;
use crate::error::{Error, Reason, Status, kept};
use crate::request::Form;
use crate::request::script::Script;
use crate::resp::{Kind, Refusal};

/// A function is sent again no oftener than this. In a transaction with its library it cannot be missed; only
/// where there are none it depends on luck.
const REPEATS_MAX: u8 = 10;

fn no_function(why: &str) -> Error {
    Error::server(Status::NoFunction, FUNCTION_NOT_FOUND, true).context(why)
}

/// Why a function is not there whose library could not be loaded.
pub(super) fn unloaded(text: &[u8]) -> String {
    format!("its library was not loaded: {}", String::from_utf8_lossy(text))
}

pub(super) const ON_REPLICA: &str = "the library has not come to this replica";
const NOT_REGISTERED: &str = "the library is there, and does not register a function of this name";
const FLUSHED: &str = "the server has lost the library each time that it was loaded";

impl<T> Session<T> {
    /// Whether this call may bring a library to the server.
    pub(super) fn may_load_library(&self, call: &Call<T>) -> bool {
        !call.request.on_replica
            && call.unloaded().is_none()
            && !self.facts.library_load_refused.load(Ordering::Relaxed)
    }

    /// Takes the reply to FUNCTION LOAD from the unseen tape.
    pub(super) fn library_loaded(&mut self, key: usize, index: usize) -> Result<(), Refusal> {
        let call = &mut self.calls[key];
        let script = &call.request.scripts[index];
        let place = script.place();
        let name = script.library_name();
        let entry = self.unseen[0];
        let text = match entry.kind {
            Kind::Error | Kind::String | Kind::Status => self.inbox.text(entry.start(), entry.len as usize),
            _ => b"",
        };
        if entry.kind != Kind::Error {
            if text != name {
                return Err(Refusal::Protocol("a reply to FUNCTION LOAD that is not the library's name"));
            }
            self.note_library(place);
        } else {
            let verdict = verdict::judge_library(text, name);
            if verdict == LibraryVerdict::There {
                self.note_library(place);
            } else {
                let text = kept(text).to_vec();
                self.library_refused(key, index, verdict, text);
            }
        }
        self.load_taken(key);
        Ok(())
    }

    fn note_library(&mut self, place: Sha) {
        self.facts.note_compiled(place);
        self.readiness.is_past_loading = true;
    }

    /// The server has not taken a library, for which it gave this error.
    pub(super) fn library_refused(
        &mut self,
        key: usize,
        index: usize,
        verdict: LibraryVerdict,
        text: Vec<u8>,
    ) {
        let call = &mut self.calls[key];
        let place = call.request.scripts[index].place();
        self.known.remove(place);
        call.teaches = true;
        match verdict {
            LibraryVerdict::There => {}
            LibraryVerdict::Unknown => {
                self.facts.no_functions.store(true, Ordering::Relaxed);
                call.rare().recheck = true;
            }
            LibraryVerdict::Never => {
                self.facts.library_load_refused.store(true, Ordering::Relaxed);
                // Calls behind this one have relied on this LOAD.
                self.calls.iter_mut().for_each(|(_, call)| call.library_unloaded(place, &text));
            }
            LibraryVerdict::NotNow => {
                self.calls.iter_mut().for_each(|(_, call)| call.library_unloaded(place, &text));
            }
            LibraryVerdict::NotReady => call.load_not_ready(place, &text),
            LibraryVerdict::Failed => {
                self.calls.iter_mut().for_each(|(_, call)| call.load_failed(place, &text));
            }
        }
    }

    /// Why a transaction cannot be run by this server, as far as that is known before.
    pub(super) fn unservable(&self, call: &Call<T>) -> Option<Error> {
        let scripts = &call.request.scripts;
        if scripts.iter().any(|script| self.facts.cannot_serve(script)) {
            return Some(verdict::no_functions(None).context("nothing of the transaction was sent"));
        }
        let is_refused = self.facts.library_load_refused.load(Ordering::Relaxed);
        let is_missing = |script: &Script| {
            let script = self.facts.served(script);
            script.function().is_some() && !self.known.contains(script.place())
        };
        if !is_refused || call.request.trust_cache || !scripts.iter().any(is_missing) {
            return None;
        }
        // The next one finds out anew: rights may have been given.
        self.facts.library_load_refused.store(false, Ordering::Relaxed);
        let why = "this user may not load libraries (FUNCTION LOAD), and in a transaction they have to be \
                   known to be there: call a function of each on its \
                   own before, or trust the cache; nothing of the transaction was sent";
        Some(Error::because(Status::NoFunction, Reason::Server, why).sent(false))
    }

    /// Decides on the error reply to a single call of a function.
    pub(super) fn function_failed(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let text = call.payload.text(call.payload.root);
        let is_certain = call.is_certain(0);
        match call.doubt_of_function(0, text, call.form) {
            Some(doubt) if is_certain => return self.function_refused(key, doubt),
            Some(_) if call.tag.is_none() => return self.refuse(key, caller_has_left()),
            Some(_) => {
                let doubtful = (0, call.form, call.position);
                call.rare().doubtful.push(doubtful);
                return self.ask_about_single(key);
            }
            None => {}
        }
        let verdict = match verdict::judge(text) {
            Verdict::NoScript => Verdict::Other,
            Verdict::Loading
                if !is_certain && call.may_forge(0, &self.facts) && self.readiness.rules_out(text) =>
            {
                Verdict::Other
            }
            verdict => verdict,
        };
        if verdict == Verdict::Other
            && call.tag.is_some()
            && let Some(status) = call.own_word(0, text)
        {
            let error = Error::server(status, text, status != Status::ReplyNotKept);
            return self.refuse(key, error);
        }
        let mut error = verdict::error(verdict, text);
        // A call that was left alone has given its wire form back, and nobody asks.
        if verdict == Verdict::Other && call.tag.is_some() && call.is_function_not_executed(0, text) {
            error = error.certainly_not_executed();
        }
        self.refuse(key, error);
    }

    /// The server has refused to begin with a single call of a function.
    fn function_refused(&mut self, key: usize, doubt: Doubt) {
        let call = &mut self.calls[key];
        let text = call.payload.text(call.payload.root);
        match doubt {
            Doubt::Missing => self.function_missed(key),
            Doubt::Forbidden => {
                let error = Error::server(Status::Server, text, true);
                self.refuse(key, error);
            }
            Doubt::Unknown => {
                self.facts.no_functions.store(true, Ordering::Relaxed);
                if call.request.scripts[0].instead().is_none() {
                    let error = verdict::no_functions(Some(text));
                    return self.refuse(key, error);
                }
                call.repeats += 1;
                self.send_again(key);
            }
        }
    }

    /// The server was asked about the error of a single call of a function.
    pub(super) fn function_doubted(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let rare = call.rare.get_or_insert_default();
        let answers = std::mem::take(&mut rare.answers);
        rare.doubtful.clear();
        let text = call.payload.text(call.payload.root);
        let proof = answers.prove(0, call.form, text);
        match proof {
            Proof::WasMissing => self.function_missed(key),
            Proof::Refused(doubt) => self.function_refused(key, doubt),
            Proof::HasNone => {
                let error = call.missing_function();
                self.refuse(key, error);
            }
            Proof::Nothing if verdict::doubt(text, call.form.command()) != Some(Doubt::Missing) => {
                let error = Error::server(Status::Server, text, false);
                self.refuse(key, error);
            }
            // The engine runs it once more where that does no harm.
            Proof::Nothing => {
                let error = Error::server(Status::Indeterminate, text, false).context(UNKNOWN);
                self.refuse(key, error);
            }
        }
    }

    /// The server lacks the function of a single call: it is called again behind its library, and if that
    /// does not help in a transaction with it.
    fn function_missed(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let place = call.request.scripts[0].place();
        self.known.missed(place, call.position);
        if let Some(text) = call.load_error(0) {
            let error = verdict::load_error(text);
            return self.refuse(key, error);
        }
        let is_whole = call.rare.as_ref().is_some_and(|rare| rare.is_whole);
        call.repeats += 1;
        if call.request.on_replica || call.unloaded().is_some() || is_whole || call.repeats > REPEATS_MAX {
            let error = call.missing_function();
            return self.refuse(key, error);
        }
        // It was refused to another call; by now it may be granted.
        self.facts.library_load_refused.store(false, Ordering::Relaxed);
        let is_repair = !call.teaches && call.tag.is_some();
        self.counters.noscript_repairs += u64::from(is_repair);
        if let Some(figures) = self.facts.figures().filter(|_| is_repair) {
            figures.note_repair(&call.request.scripts[0]);
        }
        if call.repeats > 1 && call.tag.is_some() && self.facts.may_run_transactions() {
            self.emit_whole(key);
        } else {
            self.send_again(key);
        }
    }

    /// Queues a single call of a function in a transaction with its library.
    fn emit_whole(&mut self, key: usize) {
        let before = self.outbox.position();
        self.announce(key);
        let at = self.outbox.position();
        let call = &mut self.calls[key];
        call.payload.start();
        (call.position, call.teaches) = (at, false);
        let rare = call.rare.get_or_insert_default();
        rare.is_whole = true;
        rare.loads = vec![Load { script: 0, is_library: true }];
        rare.queued = 0;
        rare.queue_error = None;
        rare.singly.clear();
        rare.singly_texts.clear();
        let script = &call.request.scripts[0];
        if let Some(figures) = self.facts.figures() {
            figures.note_load(script);
        }
        self.counters.script_loads += 1;
        self.outbox.append(|out| {
            out.command(&[b"MULTI"]);
            append_load(script, out);
        });
        let all = 0..call.request.wire.len();
        self.outbox.append_wire(&mut call.request.wire, all);
        self.outbox.append(|out| out.command(&[b"EXEC"]));
        call.request.extra += length(before, self.outbox.position());
        self.expected.push_back(Expected { call: key, what: What::Queued { left: 2 } });
        self.expected.push_back(Expected { call: key, what: What::Exec });
        self.emit_wait(key);
    }

    /// Takes the reply to EXEC of a single call in a transaction with its library.
    pub(super) fn whole_executed(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let rare = call.rare.get_or_insert_default();
        let root = call.payload.root;
        let entry = call.payload.tape[root];
        if let Some((place, text)) = rare.queue_error.take() {
            return self.whole_refused(key, place, text);
        }
        if entry.kind != Kind::Array || entry.len != 2 || call.payload.tape[root + 1].span != 1 {
            let error = match entry.kind {
                Kind::Error => {
                    let text = call.payload.text(root);
                    verdict::error(verdict::judge(text), text).certainly_not_executed()
                }
                _ => Error::server(Status::Indeterminate, b"", false)
                    .context("an answer to EXEC that makes no sense"),
            };
            return self.refuse(key, error);
        }
        let load = call.payload.tape[root + 1];
        call.payload.root = root + 2;
        let script = &call.request.scripts[0];
        let place = script.place();
        if load.kind != Kind::Error || is_there(script, call.payload.text(root + 1)) {
            self.known.insert(place, call.position, learnt(script));
            self.facts.note_compiled(place);
        } else {
            let text = kept(call.payload.text(root + 1)).to_vec();
            call.load_failed(place, &text);
        }
        if call.payload.tape[call.payload.root].kind == Kind::Error {
            self.function_failed(key);
        } else if !self.is_held(key, Ok(())) {
            self.succeed(key);
        }
    }

    /// The server has refused a command of a transaction that holds a single call and its library.
    fn whole_refused(&mut self, key: usize, place: usize, text: Vec<u8>) {
        let call = &mut self.calls[key];
        let rare = call.rare.get_or_insert_default();
        rare.is_whole = false;
        match place {
            // MULTI: so its commands were taken one by one, and there will be no more of it.
            0 if rare.singly.iter().all(|&outcome| outcome == Singly::Refused) => self.function_missed(key),
            0 => {
                let error = ran_singly(&text, &rare.singly);
                self.refuse(key, error);
            }
            1 => {
                let verdict = verdict::judge_library(&text, call.request.scripts[0].library_name());
                if verdict == LibraryVerdict::NotReady {
                    let error = verdict::load_error(&text);
                    return self.refuse(key, error);
                }
                self.library_refused(key, 0, verdict, text);
                // Once more without it; that nothing ran, EXEC has said.
                let call = &mut self.calls[key];
                if call.unloaded().is_some() {
                    return self.send_again(key);
                }
                let error = call.missing_function();
                self.refuse(key, error);
            }
            _ => {
                let error = verdict::error(verdict::judge(&text), &text).certainly_not_executed();
                self.refuse(key, error);
            }
        }
    }
}

impl<T> Call<T> {
    /// Whether what a call of a function says in the server's words is the server's.
    pub(super) fn is_certain(&self, item: usize) -> bool {
        let script = self.request.script_of(item);
        script.and_then(Script::function).is_some_and(|function| function.code.is_marked)
    }

    /// What an error reply to a call of a function may say about the server rather than about the function.
    pub(super) fn doubt_of_function(&self, item: usize, text: &[u8], form: Form) -> Option<Doubt> {
        // What a function returns is marked, and what it raises has the server's mark; the arguments that the
        // server quotes may look like that.
        let is_own = self.is_certain(item) && memchr::memmem::find(text, b" script: ").is_some();
        verdict::doubt(text, form.command()).filter(|_| !is_own)
    }

    /// The same, of a call that was sent as one of a function.
    pub(super) fn is_marked_function(&self, item: usize) -> bool {
        self.form_of(item).is_function() && self.is_certain(item)
    }

    /// Whether this error to a call of a marked function is a refusal of the server's.
    pub(super) fn is_refused_function(&self, item: usize, text: &[u8]) -> bool {
        let is_doubtful = self.doubt_of_function(item, text, self.form_of(item)).is_some();
        is_doubtful || verdict::is_unexecuted(text) || self.is_proved_not_executed(item, text)
    }

    /// Whether by this error text the server has refused to begin with a call of a function. Where a slot is,
    /// it is asked all the same.
    pub(super) fn is_function_not_executed(&self, item: usize, text: &[u8]) -> bool {
        let is_refused = self.is_certain(item) && verdict::is_unexecuted(text);
        is_refused && verdict::not_served(text).is_none() || self.is_proved_not_executed(item, text)
    }

    /// A library was not taken for now; noted where the call uses it.
    fn library_unloaded(&mut self, place: Sha, text: &[u8]) {
        if self.request.scripts.iter().any(|script| script.place() == place) {
            self.rare().unloaded.get_or_insert_with(|| text.to_vec());
        }
    }

    /// The error of a single call whose function is not there.
    fn missing_function(&self) -> Error {
        let rare = self.rare.as_ref();
        if let Some(text) = self.load_error(0) {
            return verdict::load_error(text);
        }
        match self.unloaded() {
            _ if self.request.on_replica => no_function(ON_REPLICA),
            // It was a primary when the call set out: another server has the function, or takes the library.
            Some(text) if verdict::may_be_replica(text) => Error::server(Status::Server, text, true),
            Some(text) => no_function(&unloaded(text)),
            None if rare.is_some_and(|rare| rare.is_whole) => no_function(NOT_REGISTERED),
            None if self.repeats > REPEATS_MAX => no_function(FLUSHED),
            None => no_function(NOT_REGISTERED),
        }
    }
}
