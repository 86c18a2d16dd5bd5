//! What a server says in words that a script might have made up is checked with the server itself: it is asked by
//! calls that run nothing.

use std::sync::atomic::Ordering;

use smallvec::{SmallVec, smallvec};

use super::Session;
use super::answer::caller_has_left;
use super::call::{Expected, What};
use super::emit::append_load;
use super::facts::Refused;
use super::outbox::Outbox;
use super::proof::WordOnFunction;
use super::verdict::{self, Doubt, LibraryVerdict};
use crate::error::{Error, Status};
use crate::request::script::Script;
use crate::request::{Form, Shape};

/// A SHA1 that no script has.
const NO_SHA: &[u8] = b"0000000000000000000000000000000000000000";

/// What is in the place of the number of keys in a call that runs nothing: whether the function is there, the
/// server says before.
const NO_NUMBER: &[u8] = b"?";

/// Asks for a function without running it: by its library, if that is not loaded for another one, by a call that no
/// server begins, and by its library again, which must have been there all the time. Gives what is asked, in order:
/// whether it is for the library.
fn ask_for_function(
    outbox: &mut Outbox,
    script: &Script,
    form: Form,
    may_load: bool,
    is_loaded: bool,
) -> SmallVec<[bool; 3]> {
    let Some(function) = script.function() else { return SmallVec::new() };
    let asked = match (may_load, is_loaded) {
        (true, false) => smallvec![true, false, true],
        (true, true) => smallvec![false, true],
        (false, _) => smallvec![false],
    };
    outbox.append(|out| {
        for &is_load in &asked {
            match is_load {
                true => append_load(script, out),
                false => {
                    let name = function.name(form.is_read_only()).as_bytes();
                    out.command(&[form.command(), name, NO_NUMBER]);
                }
            }
        }
    });
    asked
}

impl<T> Session<T> {
    /// Asks the server what it says to each form in which items met a doubtful error: by a call that runs nothing.
    /// Whether answers are awaited.
    pub(super) fn ask(&mut self, key: usize) -> bool {
        let call = &mut self.calls[key];
        let Some(rare) = call.rare.as_mut().filter(|_| call.tag.is_some()) else { return false };
        let mut asked = Refused::default();
        for (form, _) in &rare.answers.texts {
            asked.set(*form, true);
        }
        for &(item, form, _) in &rare.doubtful {
            if form.is_function() {
                let Some(script) = call.request.items[item].script.map(|script| script as usize) else {
                    continue;
                };
                if rare.answers.on_function(script, form).is_none() {
                    let word = WordOnFunction::of(&call.request.scripts[script]);
                    let is_loaded =
                        rare.answers.functions.iter().any(|(_, other)| other.is_of_library(&word));
                    let may_load = !call.request.on_replica;
                    let function = &call.request.scripts[script];
                    let asked = ask_for_function(&mut self.outbox, function, form, may_load, is_loaded);
                    for is_load in asked {
                        let what = What::WordOnFunction { script, form, is_load };
                        self.expected.push_back(Expected { call: key, what });
                        rare.answers.awaited += 1;
                    }
                    rare.answers.functions.push(((script, form), word));
                }
            } else if !asked.has(form) {
                asked.set(form, true);
                let script = if form.is_by_body() { b"" } else { NO_SHA };
                self.outbox.append(|out| out.command(&[form.command(), script, b"0"]));
                self.expected.push_back(Expected { call: key, what: What::Word { form } });
                rare.answers.awaited += 1;
            }
        }
        rare.answers.awaited > 0
    }

    /// The same for a single call.
    pub(super) fn ask_about_single(&mut self, key: usize) {
        if !self.ask(key) {
            self.refuse(key, caller_has_left());
        }
    }

    /// Takes the server's own word on a form from the unseen tape.
    pub(super) fn answered(&mut self, key: usize, form: Form) {
        self.expected.pop_front();
        let text = self.take_unseen_error().unwrap_or_default();
        let doubt = verdict::doubt(&text, form.command());
        self.refused.set(form, matches!(doubt, Some(Doubt::Unknown | Doubt::Forbidden)));
        match doubt {
            Some(Doubt::Missing) if !form.is_by_body() => self.noscript = Some(text.as_slice().into()),
            Some(Doubt::Unknown) if form.is_read_only() => {
                self.facts.no_read_only.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
        let call = &mut self.calls[key];
        let answers = &mut call.rare().answers;
        answers.texts.push((form, text));
        self.word_taken(key);
    }

    /// Takes the server's own word on a function from the unseen tape.
    pub(super) fn answered_on_function(&mut self, key: usize, asked: (usize, Form), is_load: bool) {
        self.expected.pop_front();
        let error = self.take_unseen_error();
        let answers = &mut self.calls[key].rare().answers;
        if let Some((_, word)) = answers.functions.iter_mut().find(|(other, _)| *other == asked) {
            word.take(is_load, error.as_deref());
        }
        if let (true, Some(text)) = (is_load, error) {
            let script = asked.0;
            let library = self.calls[key].request.scripts[script].library_name();
            let verdict = verdict::judge_library(&text, library);
            if verdict != LibraryVerdict::There {
                self.library_refused(key, script, verdict, text);
            }
        }
        self.word_taken(key);
    }

    /// Goes on when the server has said all that it was asked.
    pub(super) fn word_taken(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let answers = &mut call.rare().answers;
        answers.awaited -= 1;
        if answers.awaited == 0 {
            match call.request.shape {
                Shape::Single if call.form.is_function() => self.function_doubted(key),
                Shape::Single => self.single_doubted(key),
                _ => self.settle(key),
            }
        }
    }

    /// The server was asked about the error of a single call.
    fn single_doubted(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let rare = call.rare.get_or_insert_default();
        let answers = std::mem::take(&mut rare.answers);
        rare.doubtful.clear();
        let text = call.payload.text(call.payload.root);
        if !answers.confirm(call.form, text) {
            let error = Error::server(Status::Server, text, false);
            return self.refuse(key, error);
        }
        if verdict::doubt(text, call.form.command()) == Some(Doubt::Missing) {
            self.single_missed(key);
        } else {
            self.single_refused(key);
        }
    }

    /// Judges doubtful errors by what the server itself says.
    pub(super) fn resolve(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let rare = call.rare.get_or_insert_default();
        let answers = std::mem::take(&mut rare.answers);
        for (item, form, at_stream) in std::mem::take(&mut rare.doubtful) {
            if form.is_function() {
                self.resolve_function(key, item, form, at_stream, &answers);
                continue;
            }
            let call = &mut self.calls[key];
            let rare = call.rare.get_or_insert_default();
            let notes = &mut call.payload.notes;
            let Ok(place) = notes.binary_search_by_key(&item, |note| note.item) else { continue };
            let text = call.payload.text(call.payload.notes[place].at);
            if !answers.confirm(form, text) {
                continue;
            }
            let is_missing = verdict::doubt(text, form.command()) == Some(Doubt::Missing);
            let note = &mut call.payload.notes[place];
            note.not_executed = true;
            if is_missing {
                note.status = Status::NoScript;
                if let Some(script) = call.request.items[item].script {
                    let script = self.facts.served(&call.request.scripts[script as usize]);
                    self.known.missed(script.place(), at_stream);
                }
            }
            rare.missed.push(item);
        }
        self.calls[key].rare().missed.sort_unstable();
    }
}
