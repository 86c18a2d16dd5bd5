//! Functions in pipelines and transactions: what is known of an item that was answered with an error, and
//! whether it goes again.

use std::sync::atomic::Ordering;

use super::Session;
use super::answer::caller_has_left;
use super::call::{Call, Load};
use super::functions::{ON_REPLICA, unloaded};
use super::proof::{Answers, Proof, UNKNOWN};
use super::verdict::{self, Doubt, FUNCTION_NOT_FOUND, LibraryVerdict, Verdict};
use crate::base::sha::Sha;
use crate::error::Status;
use crate::request::{Form, Shape};
use crate::resp::Note;

/// A function of a pipeline that is missed so often stays an error.
const FUNCTION_ROUNDS: u8 = 6;

impl<T> Session<T> {
    /// Notes what is known of the pipeline's item that was answered last, a call of a function, with an error.
    pub(super) fn function_item_failed(&mut self, key: usize, item: usize, text: &[u8], at_stream: u64) {
        let at = self.calls[key].last;
        self.note_function(key, item, at, text, at_stream);
    }

    /// Notes what is known of a call of a function in a pipeline or transaction that was answered with an error.
    pub(super) fn note_function(&mut self, key: usize, item: usize, at: usize, text: &[u8], at_stream: u64) {
        let call = &mut self.calls[key];
        let form = call.form_of(item);
        let is_certain = call.is_certain(item);
        let index = call.request.items[item].script.map_or(0, |script| script as usize);
        let (status, not_executed) = match call.doubt_of_function(item, text, form) {
            Some(Doubt::Missing) if is_certain => {
                self.known.missed(call.request.scripts[index].place(), at_stream);
                if call.load_error(index).is_some() {
                    (Status::Compile, true)
                } else {
                    call.rare().missed.push(item);
                    (Status::NoFunction, true)
                }
            }
            Some(Doubt::Unknown) if is_certain => {
                self.facts.no_functions.store(true, Ordering::Relaxed);
                if call.request.scripts[index].instead().is_some() {
                    call.rare().missed.push(item);
                }
                (Status::NotSupported, true)
            }
            Some(Doubt::Forbidden) if is_certain => (Status::Server, true),
            Some(doubt) => {
                call.rare().doubtful.push((item, form, at_stream));
                // Until the server has said which, and where it cannot be asked.
                (if doubt == Doubt::Missing { Status::Indeterminate } else { Status::Server }, false)
            }
            None => match verdict::judge(text) {
                Verdict::Busy => (Status::Busy, true),
                Verdict::Loading
                    if is_certain
                        || !call.may_forge(item, &self.facts)
                        || !self.readiness.rules_out(text) =>
                {
                    (Status::Loading, true)
                }
                _ => match call.own_word(item, text) {
                    Some(status) => (status, status != Status::ReplyNotKept),
                    None => (Status::Server, call.is_function_not_executed(item, text)),
                },
            },
        };
        call.note(item, at, status, not_executed);
    }

    /// Takes functions that are not to be called again off what was missed: their libraries cannot be brought
    /// there, or were, and do not have them.
    pub(super) fn keep_repairable_functions(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let facts = &self.facts;
        let request = &call.request;
        let Some(rare) = &mut call.rare else { return };
        let cannot_load = request.on_replica || rare.unloaded.is_some();
        let has_given_up = call.repeats >= FUNCTION_ROUNDS;
        rare.missed.retain(|&item| {
            let script = request.script_of(item);
            let is_function = script.is_some_and(|script| facts.served(script).function().is_some());
            !(is_function && (cannot_load || has_given_up))
        });
        if rare.missed.iter().any(|&item| {
            let script = request.script_of(item);
            script.is_some_and(|script| script.function().is_some())
        }) {
            // It was refused to another call; by now it may be granted.
            facts.library_load_refused.store(false, Ordering::Relaxed);
        }
    }

    /// An item whose function is not there says why.
    pub(super) fn explain_missing_functions(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let why = match call.unloaded() {
            Some(text) if verdict::may_be_replica(text) => return self.explain_by_replica(key),
            Some(text) => unloaded(text),
            None if call.request.on_replica => ON_REPLICA.to_owned(),
            None => return,
        };
        for place in 0..call.payload.notes.len() {
            let note = &call.payload.notes[place];
            if note.status == Status::NoFunction {
                let at = note.at;
                let text = [call.payload.text(at), b" (", why.as_bytes(), b")"].concat();
                // Without memory for it, the server's words alone have to do.
                let _ = call.payload.replace_text(at, &text);
            }
        }
    }

    /// The server takes no library because it is a replica now: the same holds for the calls, and another server may
    /// take them.
    #[cold]
    fn explain_by_replica(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let Some(text) = call.unloaded().map(<[u8]>::to_vec) else { return };
        for place in 0..call.payload.notes.len() {
            let Note { at, status, .. } = call.payload.notes[place];
            if status == Status::NoFunction && call.payload.replace_text(at, &text).is_ok() {
                call.payload.notes[place].status = Status::Server;
            }
        }
    }

    /// FUNCTION LOAD was refused in a transaction, so nothing has run: once more without it, where that can help.
    pub(super) fn library_refused_in_transaction(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let Some(rare) = &call.rare else { return };
        let Some((place, text)) = &rare.queue_error else { return };
        let Some(load) = place.checked_sub(1).and_then(|place| rare.loads.get(place)) else { return };
        let index = load.script;
        let verdict = verdict::judge_library(text, call.request.scripts[index].library_name());
        let text = text.clone();
        if matches!(verdict, LibraryVerdict::NotReady | LibraryVerdict::Failed | LibraryVerdict::There) {
            return self.refuse_transaction(key);
        }
        if call.tag.is_none() {
            return self.refuse(key, caller_has_left());
        }
        self.library_refused(key, index, verdict, text);
        if let Some(error) = self.unservable(&self.calls[key]) {
            return self.refuse(key, error);
        }
        self.emit_transaction(key);
    }

    /// A call of a function was refused when it was queued in a transaction. Whether the transaction can go
    /// without functions.
    pub(super) fn adapt_to_no_functions(&mut self, key: usize, item: usize, form: Form) -> bool {
        let call = &mut self.calls[key];
        let Some((_, text)) = call.rare.as_ref().and_then(|rare| rare.queue_error.as_ref()) else {
            return false;
        };
        let is_unknown = verdict::doubt(text, form.command()) == Some(Doubt::Unknown);
        let script = call.request.script_of(item);
        let can_do_without = script.is_some_and(|script| script.instead().is_some());
        if is_unknown {
            self.facts.no_functions.store(true, Ordering::Relaxed);
        }
        is_unknown && can_do_without
    }

    /// Judges the doubtful error of an item by what the server itself says.
    pub(super) fn resolve_function(
        &mut self,
        key: usize,
        item: usize,
        form: Form,
        at_stream: u64,
        answers: &Answers,
    ) {
        let call = &mut self.calls[key];
        let Ok(place) = call.payload.notes.binary_search_by_key(&item, |note| note.item) else { return };
        let index = call.request.items[item].script.map_or(0, |script| script as usize);
        let at = call.payload.notes[place].at;
        let text = call.payload.text(at);
        let proof = answers.prove(index, form, text);
        let is_missing = verdict::doubt(text, form.command()) == Some(Doubt::Missing);
        let script = &call.request.scripts[index];
        // That it was not taken may have been said to another call meanwhile.
        let came_with_it = call.request.shape == Shape::Transaction
            && (call.unloaded().is_none() || call.has_brought(script.place()));
        let (status, goes_again) = match proof {
            // Its library was there, so somebody has removed it since. The function may have said so itself.
            Proof::WasMissing if came_with_it => match answers.on_function(index, form) {
                Some(word) if word.text == FUNCTION_NOT_FOUND => (Status::NoFunction, false),
                _ => return,
            },
            Proof::WasMissing => {
                self.known.missed(script.place(), at_stream);
                (Status::NoFunction, true)
            }
            Proof::HasNone if call.load_error(index).is_some() => (Status::Compile, false),
            Proof::HasNone => (Status::NoFunction, false),
            Proof::Refused(Doubt::Unknown) => {
                self.facts.no_functions.store(true, Ordering::Relaxed);
                (Status::NotSupported, script.instead().is_some())
            }
            Proof::Refused(_) => (Status::Server, false),
            Proof::Nothing if is_missing => {
                let text = [text, b" (", UNKNOWN.as_bytes(), b")"].concat();
                // Without memory for it, the server's words alone have to do.
                let _ = call.payload.replace_text(at, &text);
                call.payload.notes[place].status = Status::Indeterminate;
                return;
            }
            Proof::Nothing => return,
        };
        let note = &mut call.payload.notes[place];
        (note.status, note.not_executed) = (status, true);
        if goes_again {
            call.rare().missed.push(item);
        }
    }
}

impl<T> Call<T> {
    /// Whether a transaction has loaded this library itself.
    fn has_brought(&self, library: Sha) -> bool {
        let is_it = |load: &Load| self.request.scripts[load.script].place() == library;
        let is_there = |load: &Load| load.is_library && self.load_error(load.script).is_none();
        self.rare.as_ref().is_some_and(|rare| rare.loads.iter().any(|load| is_it(load) && is_there(load)))
    }
}
