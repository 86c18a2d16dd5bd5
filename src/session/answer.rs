//! What follows from the server's answers: to be handed over, to be sent again, or to be kept from the caller.

use std::sync::atomic::Ordering;

use super::call::{Call, Expected, Load, What};
use super::emit::learnt;
use super::verdict::{self, LoadVerdict, Refused, Verdict};
use super::{Facts, Session, TAPE_MAX};
use crate::base::sha::Sha;
use crate::error::{Error, Reason, Status, kept};
use crate::request::keys::Touched;
use crate::request::once;
use crate::request::{Form, Shape};
use crate::resp::{Kind, Note, Refusal};

impl<T> Session<T> {
    /// Takes the reply to SCRIPT LOAD or FUNCTION LOAD from the unseen tape.
    pub(super) fn loaded(&mut self, key: usize, load: Load) -> Result<(), Refusal> {
        self.expected.pop_front();
        let call = &mut self.calls[key];
        if load.is_library {
            return self.library_loaded(key, load.script);
        }
        let script = load.sent(&call.request.scripts);
        let sha = script.sha();
        let entry = self.unseen[0];
        let text = match entry.kind {
            Kind::Error | Kind::String | Kind::Status => self.inbox.text(entry.start(), entry.len as usize),
            _ => b"",
        };
        if entry.kind == Kind::Error {
            self.known.remove(sha);
            self.readiness.is_past_loading |= verdict::judge(text) == Verdict::Busy;
            match verdict::judge_load(text) {
                LoadVerdict::Never => {
                    self.facts.load_refused.store(true, Ordering::Relaxed);
                    (call.by_body, call.teaches) = (true, true);
                }
                LoadVerdict::NotNow => (call.by_body, call.teaches) = (true, true),
                LoadVerdict::NotReady => {
                    let text = kept(text).to_vec();
                    call.load_not_ready(sha, &text);
                }
                LoadVerdict::Failed => {
                    // Calls behind this one have relied on this LOAD.
                    let text = kept(text).to_vec();
                    self.calls.iter_mut().for_each(|(_, call)| call.load_failed(sha, &text));
                }
            }
        } else if text != script.sha_hex().as_bytes() {
            return Err(Refusal::Protocol("a reply to SCRIPT LOAD that is not the script's SHA1"));
        } else {
            self.facts.note_compiled(sha);
            self.readiness.is_past_loading = true;
        }
        self.load_taken(key);
        Ok(())
    }

    /// Goes on behind the reply to a LOAD.
    pub(super) fn load_taken(&mut self, key: usize) {
        self.discard_unseen();
        if self.calls[key].request.shape == Shape::Transaction {
            self.checked(key);
        }
    }

    /// Throws the answer to ASKING away.
    pub(super) fn asked(&mut self) {
        self.expected.pop_front();
        self.discard_unseen();
    }

    /// Takes the replies to a call's items that were just decoded: the last of them is an error, or completes the part.
    #[inline]
    pub(super) fn items_answered(&mut self, key: usize, at: u64) -> Result<(), Refusal> {
        let call = &mut self.calls[key];
        if call.request.shape != Shape::Single {
            return self.part_decoded(key, at);
        }
        let kind = call.payload.tape[call.payload.root].kind;
        if kind.is_plain() {
            self.inbox.discard();
        } else {
            self.inbox.hand_over(&mut call.payload.bytes)?;
        }
        self.expected.pop_front();
        if kind == Kind::Error {
            self.single_failed(key);
            return Ok(());
        }
        if !self.readiness.has_loaded {
            self.readiness.has_loaded = call.shows_that_it_has_loaded();
        }
        if call.teaches {
            self.learn_from_single(key);
        }
        if !(self.calls[key].rare.is_some() && self.is_held(key, Ok(()))) {
            self.succeed(key);
        }
        Ok(())
    }

    #[inline(never)]
    fn part_decoded(&mut self, key: usize, at: u64) -> Result<(), Refusal> {
        let call = &mut self.calls[key];
        if call.payload.tape[call.last].kind == Kind::Error {
            self.item_failed(key, at);
        }
        if let Some(Expected { what: What::Items { left: 0, .. }, .. }) = self.expected.front() {
            self.inbox.hand_over(&mut self.calls[key].payload.bytes)?;
            self.expected.pop_front();
            self.part_answered(key);
        }
        Ok(())
    }

    #[cold]
    fn learn_from_single(&mut self, key: usize) {
        let call = &self.calls[key];
        if let Some(script) = call.request.scripts.first() {
            let script = self.facts.served(script);
            // EVAL has cached it, or it was there: next time the SHA will do, for as long as the server keeps it.
            self.known.insert(script.place(), call.position, learnt(script));
            self.facts.note_compiled(script.place());
        }
    }

    /// Decides on the error reply to a single call: send it again in another form, or hand it over.
    #[cold]
    fn single_failed(&mut self, key: usize) {
        let call = &mut self.calls[key];
        if call.form.is_function() {
            return self.function_failed(key);
        }
        let text = call.payload.text(call.payload.root);
        let verdict = match verdict::judge(text) {
            // Neither a command nor a script that came with its body can miss the cache: the text is the script's own.
            Verdict::NoScript if call.request.scripts.is_empty() || call.form.is_by_body() => Verdict::Other,
            // A script that forges LOADING would be sent again and again; a server that has loaded stays so.
            Verdict::Loading if call.may_forge(0, &self.facts) && self.readiness.rules_out(text) => {
                Verdict::Other
            }
            Verdict::Other if !call.request.scripts.is_empty() => {
                let by_body = call.form.is_by_body();
                if !by_body && self.noscript.as_deref() == Some(text) {
                    return self.single_missed(key);
                }
                let knows_words = by_body || self.noscript.is_some();
                let doubt = verdict::doubt(text, call.form.command());
                if doubt.is_some_and(|doubt| doubt.is_open(knows_words)) {
                    let doubtful = (0, call.form, call.position);
                    call.rare().doubtful.push(doubtful);
                    return self.ask_about_single(key);
                }
                Verdict::Other
            }
            verdict => verdict,
        };
        if verdict == Verdict::NoScript {
            return self.single_missed(key);
        }
        if verdict == Verdict::Other
            && call.tag.is_some()
            && let Some(status) = call.own_word(0, text)
        {
            let error = Error::server(status, text, status != Status::ReplyNotKept);
            return self.refuse(key, error);
        }
        let mut error = verdict::error(verdict, text);
        // A call that was left alone has given its wire form back, and nobody asks.
        if verdict == Verdict::Other && call.tag.is_some() && call.is_proved_not_executed(0, text) {
            error = error.certainly_not_executed();
        }
        self.refuse(key, error);
    }

    /// Notes what is known of the pipeline's item that was answered last, with an error.
    #[cold]
    fn item_failed(&mut self, key: usize, at_stream: u64) {
        let call = &mut self.calls[key];
        let at = call.last;
        let entry = call.payload.tape[at];
        let place = entry.start() - call.payload.bytes.len() + self.inbox.start();
        let text = self.inbox.text(place, entry.len as usize);
        let item = call.last_item();
        // Any answer but an error shows that the server has loaded its data; those to the handshake do not.
        self.readiness.has_loaded |=
            !call.request.scripts.is_empty() && call.answered - 1 > call.payload.notes.len();
        if let Some(script) = call.request.items[item].script.filter(|_| call.came_by_body(item)) {
            // It may have failed before it was cached.
            self.known.doubt(self.facts.served(&call.request.scripts[script as usize]).place());
        }
        if call.request.items[item].script.is_some() && call.form_of(item).is_function() {
            let text = text.to_vec();
            return self.function_item_failed(key, item, &text, at_stream);
        }
        let is_missing = match verdict::judge(text) {
            Verdict::NoScript => true,
            Verdict::Other => self.noscript.as_deref() == Some(text),
            _ => false,
        };
        let note = match verdict::judge(text) {
            _ if is_missing && !call.is_own_error(item) => {
                let script = call.request.items[item].script.map_or(0, |script| script as usize);
                self.known.missed(self.facts.served(&call.request.scripts[script]).place(), at_stream);
                match call.load_error(script) {
                    Some(_) => Status::Compile,
                    None => {
                        call.rare().missed.push(item);
                        Status::NoScript
                    }
                }
            }
            Verdict::Busy => Status::Busy,
            Verdict::Loading if !call.may_forge(item, &self.facts) || !self.readiness.rules_out(text) => {
                Status::Loading
            }
            _ => {
                if let Some(form) = call.doubtful_form(item, text, self.noscript.is_some()) {
                    call.rare().doubtful.push((item, form, at_stream));
                }
                call.own_word(item, text).unwrap_or(Status::Server)
            }
        };
        let not_executed = match note {
            Status::Server => call.is_proved_not_executed(item, text),
            Status::ReplyNotKept => false,
            _ => true,
        };
        call.note(item, at, note, not_executed);
    }

    /// A part of a pipeline is answered: queue the next one, or finish.
    fn part_answered(&mut self, key: usize) {
        let call = &mut self.calls[key];
        if call.answered < call.request.items.len() {
            if call.queued < call.request.items.len() && call.tag.is_some() {
                self.emit_part(key);
            } else if call.answered == call.queued {
                // The caller has left before the rest was queued.
                self.refuse(key, caller_has_left());
            }
            return;
        }
        match &call.rare {
            Some(rare) if rare.before_repair.is_some() => self.repair_answered(key),
            Some(_) => {
                let count = call.request.items.len();
                call.payload.end_array(count);
                self.settle(key);
            }
            None => {
                let count = call.request.items.len();
                call.payload.end_array(count);
                self.tape_len = call.payload.tape.len().min(TAPE_MAX);
                if call.teaches {
                    self.learn_from(key);
                }
                self.succeed(key);
            }
        }
    }
}

/// Ends a call that nobody waits for.
pub(super) fn caller_has_left() -> Error {
    Error::indeterminate(Reason::Cancelled, "the caller has left")
}

impl<T> Call<T> {
    /// Whether NOSCRIPT from this item can only be its own text: it is no script call, or came with the script's body.
    pub(super) fn is_own_error(&self, item: usize) -> bool {
        self.came_by_body(item) || self.request.items[item].script.is_none()
    }

    /// What the wrapper of a script that runs once per token says by this error.
    #[cold]
    pub(super) fn own_word(&self, item: usize, text: &[u8]) -> Option<Status> {
        if self.request.is_once(item) { once::verdict(text) } else { None }
    }

    /// Whether an item may have written, and may answer in the server's words all the same.
    pub(super) fn may_forge(&self, item: usize, facts: &Facts) -> bool {
        let is_kept_from_writing = self.request.items[item].read_only && facts.enforces_read_only();
        !is_kept_from_writing && !self.cannot_forge(item)
    }

    /// Whether an error in the server's words is the server's: a call that happens once marks what it gives back.
    fn cannot_forge(&self, item: usize) -> bool {
        !self.request.runs_code(item) || self.request.is_once(item)
    }

    fn came_by_body(&self, item: usize) -> bool {
        self.form_of(item).is_by_body()
    }

    /// The form in which a script call of a pipeline or transaction was sent last.
    pub(super) fn form_of(&self, item: usize) -> Form {
        let rewritten = self.rare.as_ref().map_or(&[][..], |rare| &rare.rewritten);
        match rewritten.binary_search_by_key(&item, |(index, _)| *index) {
            Ok(place) => rewritten[place].1,
            Err(_) => self.request.encoded_form(item),
        }
    }

    /// The form that a script call was sent in, if this error reply may be the server's word on that form.
    pub(super) fn doubtful_form(&self, item: usize, text: &[u8], knows_words: bool) -> Option<Form> {
        self.request.items[item].script?;
        let form = self.form_of(item);
        let doubt = verdict::doubt(text, form.command())?;
        let knows_words = (knows_words || form.is_by_body()) && !form.is_function();
        doubt.is_open(knows_words).then_some(form)
    }

    /// Notes why a script is not there, if the call is one that uses it.
    pub(super) fn load_failed(&mut self, sha: Sha, text: &[u8]) {
        for index in 0..self.request.scripts.len() {
            let script = &self.request.scripts[index];
            let is_it = script.place() == sha || script.instead().is_some_and(|script| script.sha() == sha);
            if is_it && self.load_error(index).is_none() {
                self.rare().load_errors.push((index, text.to_vec()));
            }
        }
    }

    /// A script or library was not taken by a server that was not ready. A call that misses it is sent again; a
    /// transaction may not miss it, so the one that waits for this is over.
    pub(super) fn load_not_ready(&mut self, sha: Sha, text: &[u8]) {
        if self.rare.as_ref().is_some_and(|rare| rare.checks > 0) {
            self.load_failed(sha, text);
        }
    }

    pub(super) fn note(&mut self, item: usize, at: usize, status: Status, not_executed: bool) {
        let error = Error::server(status, b"", not_executed);
        self.payload.notes.push(Note::new(at, item, self.request.name_of(item), &error));
    }

    /// Whether a server that is still loading its data would not have answered this: some commands it answers, as
    /// ROLE, but none about keys.
    #[cold]
    fn shows_that_it_has_loaded(&self) -> bool {
        let touches_keys = || self.request.touches(0, |_| {}) == Touched::Keys;
        !self.request.scripts.is_empty() || self.tag.is_some() && touches_keys()
    }

    /// Whether by this error text the server has refused to begin with an item. That it is a replica a script or
    /// function can make up: then it has to be asked first.
    pub(super) fn is_proved_not_executed(&self, item: usize, text: &[u8]) -> bool {
        match verdict::refused_before_it_began(text) {
            None => self.cannot_forge(item) && verdict::not_served(text).is_some(),
            Some(Refused::Unfit) => self.request.is_checked_first(item),
            Some(Refused::ReadOnly) => !self.request.runs_code(item) && self.request.is_checked_first(item),
        }
    }

    /// An item whose script did not load shows why, instead of NOSCRIPT.
    pub(super) fn explain_missing_scripts(&mut self) {
        let Some(rare) = self.rare.as_deref().filter(|rare| !rare.load_errors.is_empty()) else { return };
        for place in 0..self.payload.notes.len() {
            let Note { at, item, status, .. } = self.payload.notes[place];
            let script = self.request.items[item].script.map(|script| script as usize);
            let load_error = rare.load_errors.iter().find(|(failed, _)| Some(*failed) == script);
            if let (Status::NoScript | Status::NoFunction | Status::Compile, Some((_, text))) =
                (status, load_error)
                && self.payload.replace_text(at, text).is_ok()
            {
                self.payload.notes[place].status = Status::Compile;
            }
        }
    }
}
