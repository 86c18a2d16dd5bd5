//! A transaction: how it is written, and what follows from the answers to MULTI, to what is queued, and to EXEC.

mod checks;
mod singly;

use std::sync::atomic::Ordering;

pub(super) use checks::Probe;
pub(super) use singly::ran_singly;

use super::Session;
use super::answer::caller_has_left;
use super::call::{Call, Expected, Load, Singly, What};
use super::emit::{append_load, is_there, length, source_of};
use super::repair::REPEATS_MAX;
use super::verdict::{self, Doubt, LoadVerdict, Verdict};
use crate::error::{Error, Status, kept};
use crate::request::{Form, Shape};
use crate::resp::{Kind, Refusal};

impl<T> Session<T> {
    /// Queues MULTI, the scripts, the items and EXEC.
    pub(super) fn emit_transaction(&mut self, key: usize) {
        let before = self.outbox.position();
        // It holds from before MULTI up to EXEC.
        self.announce(key);
        let load_refused = self.facts.load_refused.load(Ordering::Relaxed);
        if (load_refused || self.calls[key].by_body) && self.refused.has(Form::Body) && !self.goes_by_sha(key)
        {
            self.retry_bodies();
        }
        let sends_bodies = load_refused || self.allowed_form(false, false).is_by_body();
        let may_load_library = self.may_load_library(&self.calls[key]);
        let call = &mut self.calls[key];
        call.payload.start();
        call.position = self.outbox.position();
        self.outbox.append(|out| out.command(&[b"MULTI"]));
        let by_sha = call.rare.as_ref().is_some_and(|rare| rare.by_sha);
        let scripts = &call.request.scripts;
        let (mut loads, mut by_body): (Vec<Load>, Vec<usize>) = (Vec::new(), Vec::new());
        for (index, script) in scripts.iter().enumerate() {
            let script = self.facts.served(script);
            let is_trusted = || call.request.trust_cache && self.known.contains(script.place());
            if script.function().is_some() {
                let is_there =
                    loads.iter().any(|other| other.sent(scripts).place() == script.place()) || is_trusted();
                if may_load_library && !is_there {
                    loads.push(Load::of(index, script));
                }
            } else if !by_sha && (call.by_body || sends_bodies) {
                by_body.push(index);
            } else if !by_sha && !is_trusted() {
                loads.push(Load::of(index, script));
            }
        }
        for load in &loads {
            if let Some(figures) = self.facts.figures() {
                figures.note_load(&scripts[load.script]);
            }
            self.outbox.append(|out| append_load(load.sent(scripts), out));
        }
        self.counters.script_loads += loads.len() as u64;
        let count = call.request.items.len();
        let left = loads.len() + count;
        let rare = call.rare();
        rare.loads = loads;
        rare.queued = 0;
        rare.queue_error = None;
        rare.singly.clear();
        rare.singly_texts.clear();
        rare.rewritten.clear();
        // All that is sent of it: see `Request::size_sent`.
        let extra = self.calls[key].request.extra;
        self.append_items(key, 0..count, by_body);
        self.outbox.append(|out| out.command(&[b"EXEC"]));
        self.calls[key].request.extra = extra + length(before, self.outbox.position());
        self.expected.push_back(Expected { call: key, what: What::Queued { left } });
        self.expected.push_back(Expected { call: key, what: What::Exec });
        self.emit_wait(key);
    }

    /// Takes the answer to MULTI or to a command behind it from the unseen tape.
    pub(super) fn queued(&mut self, key: usize, left: usize) {
        let entry = self.unseen[0];
        let call = &mut self.calls[key];
        let text = (entry.kind == Kind::Error).then(|| self.inbox.text(entry.start(), entry.len as usize));
        let (place, loads, is_multi_refused) = match &call.rare {
            Some(rare) => (rare.queued, rare.loads.len(), matches!(rare.queue_error, Some((0, _)))),
            None => (0, 0, false),
        };
        if is_multi_refused && place > loads {
            let item = place - loads - 1;
            let is_item = item < call.request.items.len();
            let is_script = is_item && call.request.items[item].script.is_some();
            let is_code = is_item && call.request.runs_code(item);
            // In the words that a single call would not be believed either.
            let may_be_own = |text| match verdict::judge(text) {
                Verdict::NoScript => call.is_own_error(item),
                Verdict::Loading => call.may_forge(item, &self.facts) && self.readiness.rules_out(text),
                Verdict::Busy => false,
                Verdict::Other => true,
            };
            let outcome = match text {
                None => Singly::Ran,
                // A script that has run can say that it was not allowed to.
                Some(text) if is_script && call.is_marked_function(item) => {
                    if call.is_refused_function(item, text) { Singly::Refused } else { Singly::Failed }
                }
                Some(text) if is_code && may_be_own(text) => {
                    if let Some(form) = call.doubtful_form(item, text, self.noscript.is_some()) {
                        let text = text.to_vec();
                        call.rare().doubtful.push((item, form, 0));
                        call.rare().singly_texts.push(text);
                    }
                    Singly::Failed
                }
                Some(text) if is_script || verdict::is_unexecuted(text) => Singly::Refused,
                Some(_) => Singly::Failed,
            };
            call.rare().singly.push(outcome);
        }
        if let Some(text) = text {
            if place == 0 {
                self.facts.note_multi_refusal();
            }
            let text = kept(text).to_vec();
            call.rare().queue_error.get_or_insert((place, text));
        }
        call.rare().queued += 1;
        self.discard_unseen();
        if left > 0 {
            if let Some(front) = self.expected.front_mut() {
                front.what = What::Queued { left: left - 1 };
            }
        } else {
            self.expected.pop_front();
        }
    }

    /// Takes the reply to EXEC.
    pub(super) fn executed(&mut self, key: usize) -> Result<(), Refusal> {
        let call = &mut self.calls[key];
        self.inbox.hand_over(&mut call.payload.bytes)?;
        self.expected.pop_front();
        if call.request.shape == Shape::Single {
            self.whole_executed(key);
            return Ok(());
        }
        let root = call.payload.tape[call.payload.root];
        let rare = call.rare.get_or_insert_default();
        let count = call.request.items.len();
        if matches!(rare.queue_error, Some((0, _))) {
            self.settle(key);
            return Ok(());
        }
        match root.kind {
            Kind::Array if root.len as usize == rare.loads.len() + count => {}
            Kind::Array => {
                return Err(Refusal::Protocol("a reply to EXEC of another length than the transaction"));
            }
            Kind::Error => {
                self.transaction_refused(key);
                return Ok(());
            }
            _ => {
                let error =
                    Error::new(Status::TransactionAborted, "the server aborted the transaction; nothing ran");
                self.refuse(key, error.sent(false));
                return Ok(());
            }
        }
        self.transaction_done(key);
        Ok(())
    }

    fn transaction_done(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let loads = std::mem::take(&mut call.rare().loads);
        for (place, load) in loads.iter().enumerate() {
            let at = call.payload.root + 1 + place;
            let kind = call.payload.tape[at].kind;
            let script = load.sent(&call.request.scripts);
            let sha = script.place();
            if kind == Kind::String || kind == Kind::Error && is_there(script, call.payload.text(at)) {
                self.known.insert(sha, call.position, source_of(script));
                self.facts.note_compiled(sha);
                self.readiness.is_past_loading = true;
            } else if kind == Kind::Error {
                let text = kept(call.payload.text(at)).to_vec();
                self.known.remove(sha);
                call.load_failed(sha, &text);
            }
        }
        call.payload.skip_elements(loads.len());
        let mut at = call.payload.root + 1;
        let call_position = call.position;
        for item in 0..call.request.items.len() {
            let call = &mut self.calls[key];
            let entry = call.payload.tape[at];
            self.readiness.has_loaded |=
                entry.kind != Kind::Error && call.request.items[item].script.is_some();
            if entry.kind == Kind::Error
                && call.request.items[item].script.is_some()
                && call.form_of(item).is_function()
            {
                let text = call.payload.text(at).to_vec();
                self.note_function(key, item, at, &text, call_position);
            } else if entry.kind == Kind::Error {
                let text = call.payload.text(at);
                let own = self.noscript.as_deref();
                let script = call.request.items[item].script;
                let may_miss = !call.is_own_error(item) && !call.has_loaded(item, &loads);
                let is_missing = may_miss && (verdict::judge(text) == Verdict::NoScript || own == Some(text));
                if let Some(script) = script.filter(|_| is_missing) {
                    let script = self.facts.served(&call.request.scripts[script as usize]);
                    self.known.missed(script.place(), call.position);
                } else if let Some(form) = call.doubtful_form(item, text, own.is_some() || !may_miss) {
                    let at = call.position;
                    call.rare().doubtful.push((item, form, at));
                }
                let text = call.payload.text(at);
                let own = call.own_word(item, text).filter(|_| !is_missing);
                let not_executed = is_missing
                    || own.is_some_and(|own| own != Status::ReplyNotKept)
                    || call.is_proved_not_executed(item, text);
                let status = if is_missing { Status::NoScript } else { own.unwrap_or(Status::Server) };
                call.note(item, at, status, not_executed);
            }
            at += entry.span as usize;
        }
        self.calls[key].rare().loads = loads;
        self.settle(key);
    }

    /// EXEC was answered with an error: nothing has run.
    fn transaction_refused(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let exec_text = call.payload.text(call.payload.root);
        let Some((place, text)) = call.rare.as_ref().and_then(|rare| rare.queue_error.as_ref()) else {
            let error = Error::server(Status::TransactionAborted, exec_text, true)
                .context("the transaction was refused, nothing ran");
            return self.refuse(key, error);
        };
        // The first answer is MULTI's, then come those of the SCRIPT LOADs.
        let loads = call.rare.as_ref().map_or(0, |rare| rare.loads.len());
        let refused_load = call.rare.as_ref().and_then(|rare| rare.loads.get(place.checked_sub(1)?));
        if refused_load.is_some_and(|load| load.is_library) {
            return self.library_refused_in_transaction(key);
        }
        if *place <= loads && !call.by_body {
            match verdict::judge_load(text) {
                LoadVerdict::Never => self.facts.load_refused.store(true, Ordering::Relaxed),
                LoadVerdict::NotNow => {}
                LoadVerdict::NotReady | LoadVerdict::Failed => return self.refuse_transaction(key),
            }
            if call.tag.is_none() {
                return self.refuse(key, caller_has_left());
            }
            call.by_body = true;
            return self.emit_transaction(key);
        }
        if let Some(item) = place.checked_sub(1 + loads)
            && self.adapt_transaction(key, item)
        {
            return self.emit_transaction(key);
        }
        self.refuse_transaction(key);
    }

    pub(super) fn refuse_transaction(&mut self, key: usize) {
        let call = &self.calls[key];
        let Some(rare) = &call.rare else { return };
        let Some((place, text)) = &rare.queue_error else { return };
        let error = match verdict::judge(text) {
            verdict @ (Verdict::Loading | Verdict::Busy) => verdict::error(verdict, text),
            _ => Error::server(Status::TransactionAborted, text, true),
        };
        let is_helpless = self.refused.has(Form::Body) && self.facts.load_refused.load(Ordering::Relaxed);
        let error = match place.checked_sub(1 + rare.loads.len()) {
            Some(item) if is_helpless => error.of_item(item).context(format_args!(
                "the transaction was refused, nothing ran: item {item} ({}): this user may neither load scripts nor \
                 send them along, and in a transaction they have to be known to be there: call each on its own \
                 before, or trust the cache",
                call.request.name_of(item)
            )),
            Some(item) => error.of_item(item).context(format_args!(
                "the transaction was refused, nothing ran: item {item} ({})",
                call.request.name_of(item)
            )),
            None => error.context("the transaction was refused, nothing ran: SCRIPT LOAD or FUNCTION LOAD"),
        };
        self.refuse(key, error);
    }

    /// A command of a transaction was refused when it was queued, so nothing has run. Whether the transaction can go
    /// in another form.
    pub(super) fn adapt_transaction(&mut self, key: usize, item: usize) -> bool {
        let call = &mut self.calls[key];
        let form = call.form_of(item);
        let (by_body, read_only) = (form.is_by_body(), form.is_read_only());
        let Some(rare) = call.rare.as_mut() else { return false };
        let Some((_, text)) = rare.queue_error.as_ref().filter(|_| call.tag.is_some()) else { return false };
        call.repeats += 1;
        if call.request.items[item].script.is_none() || call.repeats > REPEATS_MAX {
            return false;
        }
        if form.is_function() {
            return self.adapt_to_no_functions(key, item, form);
        }
        match verdict::doubt(text, form.command()) {
            Some(Doubt::Unknown) if read_only => {
                self.facts.no_read_only.store(true, Ordering::Relaxed);
                return true;
            }
            Some(Doubt::Unknown | Doubt::Forbidden) => self.refused.set(form, true),
            _ => return false,
        }
        if self.refused.has(Form::new(!by_body, read_only)) {
            self.forget_refusals();
            return false;
        }
        !by_body || self.goes_by_sha(key)
    }

    /// Whether a transaction may go by the SHA of its scripts though nothing can bring them to the server: an item
    /// that meets NOSCRIPT would not stop the others, so they have to be known to be there, or the caller has to
    /// trust that.
    pub(super) fn goes_by_sha(&mut self, key: usize) -> bool {
        let call = &mut self.calls[key];
        let mut scripts = call.request.scripts.iter().map(|script| self.facts.served(script));
        let by_sha = call.request.trust_cache
            || scripts.all(|script| script.function().is_some() || self.known.contains(script.sha()));
        call.rare().by_sha = by_sha;
        by_sha
    }

    /// EVAL is tried again: it may be granted by now.
    pub(super) fn retry_bodies(&mut self) {
        self.refused.set(Form::Body, false);
        self.refused.set(Form::BodyReadOnly, false);
    }
}

impl<T> Call<T> {
    /// Whether a transaction has itself loaded the script of an item, and does not empty the cache: it cannot be
    /// missing.
    fn has_loaded(&self, item: usize, loads: &[Load]) -> bool {
        let script = self.request.items[item].script.map(|script| script as usize);
        let is_loaded = script
            .is_some_and(|it| loads.iter().any(|load| load.script == it) && self.load_error(it).is_none());
        is_loaded && !(0..self.request.items.len()).any(|item| self.request.is_command(item, &[b"SCRIPT"]))
    }
}
