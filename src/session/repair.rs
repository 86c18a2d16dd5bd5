//! What follows when the server has not run script calls: they are sent again in a form that it runs, where order
//! allows.

use std::sync::atomic::Ordering;

use super::Session;
use super::answer::caller_has_left;
use super::call::{Call, Expected, What};
use super::emit::{PART, learnt, length};
use super::facts::Refused;
use super::order::NotExecuted;
use super::verdict;
use crate::error::{Error, Reason, Status};
use crate::request::{Form, Shape};

/// A script is sent again no oftener than this. EVAL does it at the second time; only where that is refused it
/// depends on luck.
pub(super) const REPEATS_MAX: u8 = 10;

/// What a user lacks who can only call what others have loaded.
const NO_LOADER: &str = "the script is not in the server's cache, and this user may neither load it (SCRIPT LOAD) nor \
                         send it along (EVAL)";

impl<T> Session<T> {
    /// The server lacks the script of a single call: it is loaded again, and if that does not help it travels as EVAL.
    pub(super) fn single_missed(&mut self, key: usize) {
        let call = &mut self.calls[key];
        self.known.missed(self.facts.served(&call.request.scripts[0]).place(), call.position);
        if let Some(text) = call.load_error(0) {
            let error = verdict::load_error(text);
            return self.refuse(key, error);
        }
        let may_load = !self.facts.load_refused.load(Ordering::Relaxed);
        call.repeats += 1;
        call.by_body |= call.repeats >= 2 || !may_load;
        let body = Form::new(true, call.form.is_read_only());
        if call.by_body && self.refused.has(body) {
            if may_load {
                call.by_body = false;
            } else if call.repeats == 1 {
                // It was refused to another call; by now it may be granted.
                self.refused.set(body, false);
            } else {
                return self.give_up(key);
            }
        }
        let call = &self.calls[key];
        if call.repeats > REPEATS_MAX {
            return self.give_up(key);
        }
        let is_repair = !call.teaches && call.tag.is_some();
        self.counters.noscript_repairs += u64::from(is_repair);
        if let Some(figures) = self.facts.figures().filter(|_| is_repair) {
            figures.note_repair(&call.request.scripts[0]);
        }
        self.send_again(key);
    }

    /// The server refuses the form in which a single call was sent.
    pub(super) fn single_refused(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let was_by_body = call.form.is_by_body();
        let read_only = call.request.items[0].read_only && self.facts.enforces_read_only();
        call.repeats += 1;
        // Where only the read-only commands are lacking, the others do.
        if call.form.is_read_only() == read_only {
            call.by_body = !was_by_body;
            let other = Form::new(call.by_body, read_only);
            let may_load = !self.facts.load_refused.load(Ordering::Relaxed);
            if self.refused.has(other) || was_by_body && !may_load {
                return self.give_up(key);
            }
        }
        if self.calls[key].repeats > REPEATS_MAX {
            return self.give_up(key);
        }
        self.send_again(key);
    }

    pub(super) fn send_again(&mut self, key: usize) {
        let call = &mut self.calls[key];
        if call.tag.is_some() {
            call.request.extra += i64::try_from(call.request.wire.len()).unwrap_or(i64::MAX);
            self.emit(key);
        } else {
            self.refuse(key, caller_has_left());
        }
    }

    /// Ends a single call that this user cannot have run.
    fn give_up(&mut self, key: usize) {
        let call = &self.calls[key];
        let text = call.payload.text(call.payload.root);
        let read_only = call.form.is_read_only();
        let [no_sha, no_body] = [false, true].map(|by_body| self.refused.has(Form::new(by_body, read_only)));
        let error = if no_sha && no_body {
            Error::server(Status::Server, text, true)
                .context("this user may neither call scripts nor send them")
        } else if no_body && self.facts.load_refused.load(Ordering::Relaxed) {
            Error::server(Status::NoScript, text, true).context(NO_LOADER)
        } else {
            let why = "the server has lost the script each time that it was loaded";
            Error::server(Status::NoScript, text, true).context(why)
        };
        self.forget_refusals();
        self.refuse(key, error);
    }

    /// The next call finds out anew: rights may have been given.
    pub(super) fn forget_refusals(&mut self) {
        self.refused = Refused::default();
        self.facts.load_refused.store(false, Ordering::Relaxed);
    }

    /// All items of a pipeline or transaction are answered: what was not run is sent again, or the call is over.
    pub(super) fn settle(&mut self, key: usize) {
        if self.ask(key) {
            return;
        }
        if matches!(self.calls[key].rare().queue_error, Some((0, _))) {
            return self.end_singly(key);
        }
        self.resolve(key);
        let again = self.repairable(key);
        if !again.is_empty() {
            return self.start_repair(key, again);
        }
        self.calls[key].explain_missing_scripts();
        self.explain_missing_rights(key);
        self.explain_missing_functions(key);
        if self.calls[key].teaches {
            self.learn_from(key);
        }
        if !self.is_held(key, Ok(())) {
            self.succeed(key);
        }
    }

    /// The items of a pipeline that are to be sent again now.
    fn repairable(&mut self, key: usize) -> Vec<usize> {
        self.keep_repairable_functions(key);
        let call = &mut self.calls[key];
        let Some(rare) = call.rare.as_mut().filter(|rare| !rare.missed.is_empty()) else { return Vec::new() };
        if call.request.shape != Shape::Pipeline || call.tag.is_none() || call.repeats >= REPEATS_MAX {
            return Vec::new();
        }
        call.repeats += 1;
        let enforced = self.facts.enforces_read_only();
        let is_function = |item: usize| {
            let script = call.request.script_of(item);
            script.is_some_and(|script| self.facts.served(script).function().is_some())
        };
        let may_send = |by_body: bool, item: usize| {
            if is_function(item) {
                return true;
            }
            let read_only = call.request.items[item].read_only && enforced;
            !self.refused.has(Form::new(by_body, read_only))
        };
        if !rare.missed.iter().any(|&item| may_send(true, item)) {
            let may_load = !self.facts.load_refused.load(Ordering::Relaxed);
            // Without any means to bring it there, the script may have been there all the same.
            let is_over = !may_load && std::mem::replace(&mut rare.by_sha, true);
            if is_over || !rare.missed.iter().any(|&item| may_send(false, item)) {
                return Vec::new();
            }
        }
        if call.request.repair {
            return rare.missed.clone();
        }
        let mut lost = NotExecuted { missed: rare.missed.clone(), ..NotExecuted::default() };
        for note in &call.payload.notes {
            let is_plain = !call.request.runs_code(note.item);
            let is_refused = note.status == Status::Loading
                || note.status == Status::Server && verdict::not_served(call.payload.text(note.at)).is_some();
            if is_refused && call.request.goes_on {
                lost.refused.push(note.item);
            }
            if note.not_executed || is_refused && is_plain {
                lost.ended.push(note.item);
            }
        }
        lost.repairable(&call.request)
    }

    /// Sends items of a pipeline again, with their scripts.
    fn start_repair(&mut self, key: usize, again: Vec<usize>) {
        let mut fresh = self.pool.take();
        fresh.start_array();
        let call = &mut self.calls[key];
        call.whole = fresh.tape.len();
        call.answered = call.request.items.len();
        call.by_body = false;
        let before = std::mem::replace(&mut call.payload, fresh);
        let rare = call.rare();
        rare.rewritten.clear();
        rare.missed.retain(|item| again.binary_search(item).is_err());
        rare.before_repair = Some(before);
        rare.again = again;
        rare.again_queued = 0;
        self.counters.noscript_repairs += 1;
        if let Some(figures) = self.facts.figures() {
            let Call { request, rare, .. } = &self.calls[key];
            let again = rare.iter().flat_map(|rare| &rare.again);
            let scripts = again.filter_map(|&item| request.items[item].script);
            scripts.for_each(|script| figures.note_repair(&request.scripts[script as usize]));
        }
        self.emit_repair(key);
        self.emit_repair(key);
    }

    /// Queues the next part of what is sent again.
    fn emit_repair(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let asking = call.request.asking;
        // Functions whose library is gone again: each with it in front, for between the two hardly anything comes.
        let pairs = call.repeats > 1;
        let rare = call.rare.get_or_insert_default();
        let from = rare.again_queued;
        if from == rare.again.len() || call.tag.is_none() {
            return;
        }
        let mut size = 0;
        let fitting = rare.again[from..].iter().take_while(|&&item| {
            let Some(script) = call.request.items[item].script else { return true };
            let script = self.facts.served(&call.request.scripts[script as usize]);
            let source = script.function().map_or(script.source(), |function| &function.code.source).len();
            size += call.request.items[item].end - call.request.start_of(item) + source;
            size <= PART
        });
        let to = from + fitting.count().max(1);
        let part: Vec<usize> = rare.again[from..to].to_vec();
        rare.again_queued = to;
        // Shown only if the connection is lost now: by then they may have run.
        let notes = rare.before_repair.iter_mut().flat_map(|before| &mut before.notes);
        for note in notes.filter(|note| part.binary_search(&note.item).is_ok()) {
            (note.status, note.reason) = (Status::Indeterminate, Reason::ConnectionLost);
            note.not_executed = false;
        }
        let forms: Vec<Form> = part
            .iter()
            .map(|&item| {
                let request = &self.calls[key].request;
                let script = request.script_of(item);
                let read_only = request.items[item].read_only;
                script.map_or(Form::Sha, |script| self.form(self.facts.served(script), true, read_only))
            })
            .collect();
        let request = &mut self.calls[key].request;
        for &item in &part {
            request.extra += length(request.start_of(item) as u64, request.items[item].end as u64);
        }
        for (&item, form) in part.iter().zip(&forms) {
            let is_paired = pairs && form.is_function();
            let script = self.calls[key].request.items[item].script;
            if let Some(script) = script.filter(|_| !form.is_by_body() && !is_paired) {
                self.load(key, script as usize);
            }
        }
        let mut at = self.outbox.position();
        // Items that stand one behind the other in the stream, and whose replies are not expected yet.
        let mut left = 0;
        for (&item, &form) in part.iter().zip(&forms) {
            let is_paired = pairs && form.is_function();
            if (is_paired || asking) && left > 0 {
                self.expected.push_back(Expected { call: key, what: What::items(left, at) });
                left = 0;
            }
            if is_paired && let Some(script) = self.calls[key].request.items[item].script {
                self.known
                    .remove(self.facts.served(&self.calls[key].request.scripts[script as usize]).place());
                self.load(key, script as usize);
            }
            if asking {
                self.announce(key);
            }
            if left == 0 {
                at = self.outbox.position();
            }
            self.append_item(key, item, form, at);
            left += 1;
        }
        if left > 0 {
            self.expected.push_back(Expected { call: key, what: What::items(left, at) });
        }
        let rare = self.calls[key].rare();
        if rare.again_queued == rare.again.len() {
            self.emit_wait(key);
        }
    }

    /// A part of what was sent again is answered: queue the next one, or put the replies in their places.
    pub(super) fn repair_answered(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let count = call.request.items.len();
        let rare = call.rare.get_or_insert_default();
        let answered = call.answered - count;
        if answered < rare.again.len() {
            if rare.again_queued < rare.again.len() && call.tag.is_some() {
                self.emit_repair(key);
            } else if answered == rare.again_queued {
                self.refuse(key, caller_has_left());
            }
            return;
        }
        call.payload.end_array(rare.again.len());
        if let Some(mut before) = rare.before_repair.take() {
            if let Err(no_memory) = before.replace_elements(&rare.again, &call.payload) {
                return self.refuse(key, no_memory.into());
            }
            call.payload = before;
        }
        rare.again.clear();
        call.whole = call.payload.tape.len();
        call.answered = count;
        self.settle(key);
    }

    /// An item whose script this user cannot bring to the server says so.
    fn explain_missing_rights(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let is_helpless = self.refused.has(Form::Body) && self.facts.load_refused.load(Ordering::Relaxed);
        let Some(rare) = call.rare.as_ref().filter(|rare| is_helpless && !rare.missed.is_empty()) else {
            return;
        };
        for &item in &rare.missed {
            let Ok(place) = call.payload.notes.binary_search_by_key(&item, |note| note.item) else {
                continue;
            };
            let note = &call.payload.notes[place];
            if note.status == Status::NoScript {
                let at = note.at;
                let text = [call.payload.text(at), b" (", NO_LOADER.as_bytes(), b")"].concat();
                // Without memory for it, the server's words alone have to do.
                let _ = call.payload.replace_text(at, &text);
            }
        }
        self.forget_refusals();
    }

    /// Scripts of a pipeline were not loaded by it: those whose calls were answered are there.
    pub(super) fn learn_from(&mut self, key: usize) {
        let call = &self.calls[key];
        let mut failed = call.payload.notes.iter().map(|note| note.item).peekable();
        for (index, item) in call.request.items.iter().enumerate() {
            let has_failed = failed.next_if_eq(&index).is_some();
            let Some(script) = item.script.filter(|_| !has_failed) else { continue };
            let script = self.facts.served(&call.request.scripts[script as usize]);
            if !self.known.contains(script.place()) {
                self.known.insert(script.place(), call.position, learnt(script));
                self.facts.note_compiled(script.place());
            }
        }
    }
}
