//! How a call is written: which scripts are loaded in front of it, and in which form each script call travels.

use std::sync::atomic::Ordering;

use super::call::{Call, Expected, Load, What};
use super::known::Source;
use super::verdict::LibraryVerdict;
use super::{Session, verdict};
use crate::request::script::Script;
use crate::request::{Form, Shape};
use crate::resp::encode::Buffer;

/// A long pipeline is queued in parts of this many bytes, two of them ahead of the replies: so other callers' calls get
/// in between, and wait for no more than these two.
pub(super) const PART: usize = 128 * 1024;

impl<T> Session<T> {
    /// Queues a call, or its first part.
    #[inline(always)]
    pub(super) fn emit(&mut self, key: usize) {
        let call = &mut self.calls[key];
        if call.request.shape == Shape::Single {
            call.payload.start();
            self.emit_single(key);
        } else {
            self.emit_several(key);
        }
    }

    #[inline(never)]
    fn emit_several(&mut self, key: usize) {
        let call = &mut self.calls[key];
        if call.request.shape == Shape::Transaction {
            return self.check_transaction(key);
        }
        call.payload.start_array();
        call.whole = call.payload.tape.len();
        self.emit_part(key);
        self.emit_part(key);
    }

    #[inline(always)]
    fn emit_single(&mut self, key: usize) {
        let call = &self.calls[key];
        let item = call.request.items[0];
        let (form, is_plain) = match item.script {
            None => (Form::Sha, true),
            Some(place) => {
                let script = &call.request.scripts[place as usize];
                let served = self.facts.served(script);
                let form = self.form(served, call.by_body, item.read_only);
                (form, form == Form::of(script, item.read_only) && self.known.contains(served.place()))
            }
        };
        if !is_plain || call.request.asking || call.request.wait.is_some() {
            return self.emit_rare(key, form);
        }
        let at = self.outbox.position();
        let call = &mut self.calls[key];
        (call.form, call.teaches, call.position) = (form, false, at);
        let all = 0..call.request.wire.len();
        self.outbox.append_wire(&mut call.request.wire, all);
        self.expected.push_back(Expected { call: key, what: What::Items { left: 1, at } });
    }

    /// Queues a single call whose script the server lacks or wants in another form, or which needs ASKING.
    #[inline(never)]
    fn emit_rare(&mut self, key: usize, form: Form) {
        let item = self.calls[key].request.items[0];
        if let Some(script) = item.script
            && self.facts.cannot_serve(&self.calls[key].request.scripts[script as usize])
        {
            return self.refuse(key, verdict::no_functions(None));
        }
        let teaches = item.script.is_some_and(|script| form.is_by_body() || !self.load(key, script as usize));
        let before = self.outbox.position();
        self.announce(key);
        let at = self.outbox.position();
        let call = &mut self.calls[key];
        (call.form, call.teaches, call.position) = (form, teaches, at);
        let request = &mut *call.request;
        request.extra -= length(0, request.wire.len() as u64);
        if item.script.is_none() || form == request.encoded_form(0) {
            let all = 0..request.wire.len();
            self.outbox.append_wire(&mut request.wire, all);
        } else {
            if !form.is_read_only() {
                request.note_unenforced(0);
            }
            self.outbox.append(|out| request.rewrite(0, form, out));
        }
        call.request.extra += length(before, self.outbox.position());
        self.expected.push_back(Expected { call: key, what: What::Items { left: 1, at } });
        self.emit_wait(key);
    }

    /// The form in which a call of a script that the server can run travels: as wanted, or as the server lets this
    /// user have it.
    #[inline]
    pub(super) fn form(&self, script: &Script, by_body: bool, read_only: bool) -> Form {
        if script.function().is_some() {
            return Form::of(script, read_only);
        }
        let read_only = read_only && self.facts.enforces_read_only();
        if self.refused.is_empty() {
            Form::new(by_body, read_only)
        } else {
            self.allowed_form(by_body, read_only)
        }
    }

    #[cold]
    pub(super) fn allowed_form(&self, by_body: bool, read_only: bool) -> Form {
        let [wanted, other] = [by_body, !by_body].map(|by_body| Form::new(by_body, read_only));
        if self.refused.has(wanted) && !self.refused.has(other) { other } else { wanted }
    }

    /// Queues ASKING where the call comes to a server that does not own its slot yet. It holds for one command, so it
    /// stands behind SCRIPT LOAD.
    #[inline]
    pub(super) fn announce(&mut self, key: usize) {
        if self.calls[key].request.asking {
            self.ask_for_slot(key);
        }
    }

    #[cold]
    fn ask_for_slot(&mut self, key: usize) {
        self.outbox.append(|out| out.command(&[b"ASKING"]));
        self.expected.push_back(Expected { call: key, what: What::Asking });
    }

    /// Sees to it that the server has one of the call's scripts, or its library, with a SCRIPT LOAD or FUNCTION LOAD
    /// if need be; `false` when that is refused there.
    #[inline]
    pub(super) fn load(&mut self, key: usize, index: usize) -> bool {
        let script = self.facts.served(&self.calls[key].request.scripts[index]);
        self.known.contains(script.place()) || self.load_now(key, index)
    }

    #[cold]
    fn load_now(&mut self, key: usize, index: usize) -> bool {
        self.ask_about_memory(key, index);
        let call = &self.calls[key];
        let original = &call.request.scripts[index];
        let script = self.facts.served(original);
        let cannot_load = match script.function() {
            Some(_) => !self.may_load_library(call),
            None => call.by_body || self.facts.load_refused.load(Ordering::Relaxed),
        };
        if cannot_load {
            return false;
        }
        // Entered before the reply: what is queued later stands behind this LOAD in the stream.
        let at = self.outbox.position();
        self.known.insert(script.place(), at, source_of(script));
        self.counters.script_loads += 1;
        if let Some(figures) = self.facts.figures() {
            figures.note_load(original);
        }
        self.outbox.append(|out| append_load(script, out));
        let load = Load::of(index, script);
        let extra = length(at, self.outbox.position());
        self.calls[key].request.extra += extra;
        self.expected.push_back(Expected { call: key, what: What::Load(load) });
        true
    }

    /// Queues the next part of a pipeline, if there is one.
    pub(super) fn emit_part(&mut self, key: usize) {
        let call = &self.calls[key];
        let (from, items) = (call.queued, &call.request.items);
        if from == items.len() || call.tag.is_none() {
            return;
        }
        let start = call.request.start_of(from);
        let fitting = items[from..].partition_point(|item| item.end - start <= PART);
        let to = from + fitting.max(1);
        let is_first = from == 0;
        let unloadable = self.load_all(key);
        let call = &mut self.calls[key];
        if is_first {
            call.position = self.outbox.position();
        }
        call.queued = to;
        let is_last = to == call.request.items.len();
        if call.request.asking {
            self.append_asking(key, from..to, unloadable);
        } else {
            let at = self.outbox.position();
            self.append_items(key, from..to, unloadable);
            self.expected.push_back(Expected { call: key, what: What::items(to - from, at) });
        }
        if is_last {
            self.emit_wait(key);
        }
    }

    /// Queues items each with an ASKING of its own.
    fn append_asking(&mut self, key: usize, items: std::ops::Range<usize>, mut by_body: Vec<usize>) {
        for index in items {
            self.announce(key);
            let at = self.outbox.position();
            self.append_items(key, index..index + 1, by_body.clone());
            self.expected.push_back(Expected { call: key, what: What::Items { left: 1, at } });
            let script = self.calls[key].request.items[index].script.map(|script| script as usize);
            by_body.retain(|unloadable| Some(*unloadable) != script);
        }
    }

    /// Sees to it that the server has every script of a call; gives those for which SCRIPT LOAD is refused.
    fn load_all(&mut self, key: usize) -> Vec<usize> {
        let count = self.calls[key].request.scripts.len();
        let carries_scripts = self.refused.has(Form::Sha) && !self.refused.has(Form::Body);
        let is_carried = |session: &Self, script: usize| {
            let script = &session.calls[key].request.scripts[script];
            carries_scripts && session.facts.served(script).function().is_none()
        };
        let unloadable: Vec<usize> =
            (0..count).filter(|&script| !is_carried(self, script) && !self.load(key, script)).collect();
        self.calls[key].teaches |= !unloadable.is_empty();
        unloadable
    }

    /// Queues items in the form that this server needs. The first call of each script in `by_body` carries its
    /// source, and EVAL caches it for those behind.
    pub(super) fn append_items(
        &mut self,
        key: usize,
        items: std::ops::Range<usize>,
        mut by_body: Vec<usize>,
    ) {
        let enforced = self.facts.enforces_read_only();
        let has_functions = !self.facts.no_functions.load(Ordering::Relaxed);
        let at = self.outbox.position();
        let call = &mut self.calls[key];
        let as_encoded = by_body.is_empty()
            && self.refused.is_empty()
            && (has_functions || !call.request.scripts.iter().any(|script| script.function().is_some()))
            && (enforced || !call.request.items[items.clone()].iter().any(|item| item.read_only));
        if as_encoded {
            let part = call.request.start_of(items.start)..call.request.items[items.end - 1].end;
            self.outbox.append_wire(&mut call.request.wire, part);
            return;
        }
        let by_sha = call.rare.as_ref().is_some_and(|rare| rare.by_sha);
        for index in items {
            let item = self.calls[key].request.items[index];
            let script = item.script.map(|script| script as usize);
            let carried = script.and_then(|script| by_body.iter().position(|body| *body == script));
            if let Some(place) = carried {
                by_body.swap_remove(place);
            }
            let mut form = Form::Sha;
            if let Some(script) = script {
                let script = self.facts.served(&self.calls[key].request.scripts[script]);
                form = self.form(script, carried.is_some(), item.read_only);
            }
            if by_sha && !form.is_function() {
                form = Form::new(false, form.is_read_only());
            }
            self.append_item(key, index, form, at);
        }
    }

    /// Queues one item; a script call in this form. `at`: where the part starts that it belongs to.
    pub(super) fn append_item(&mut self, key: usize, index: usize, form: Form, at: u64) {
        let call = &mut self.calls[key];
        let item = call.request.items[index];
        if let Some(script) = item.script.filter(|_| form.is_by_body()) {
            // A transaction that is aborted caches nothing.
            if call.request.shape == Shape::Pipeline {
                let place = self.facts.served(&call.request.scripts[script as usize]).place();
                if !self.known.contains(place) {
                    self.known.insert(place, at, Source::Other);
                }
            }
        }
        let request = &mut *call.request;
        if item.script.is_none() || form == request.encoded_form(index) {
            let part = request.start_of(index)..item.end;
            self.outbox.append_wire(&mut request.wire, part);
        } else {
            if !form.is_read_only() {
                request.note_unenforced(index);
            }
            let before = self.outbox.position();
            self.outbox.append(|out| request.rewrite(index, form, out));
            request.extra += length(before, self.outbox.position());
            request.extra -= length(request.start_of(index) as u64, item.end as u64);
            call.rare().rewritten.push((index, form));
        }
    }
}

/// Queues what brings a script, or a function's library, to the server.
pub(super) fn append_load(script: &Script, out: &mut Buffer) {
    match script.function() {
        Some(function) => out.command(&[b"FUNCTION", b"LOAD", &function.code.source]),
        None => out.command(&[b"SCRIPT", b"LOAD", script.source()]),
    }
}

/// How what [`append_load`] brings comes to be there.
pub(super) fn source_of(script: &Script) -> Source {
    if script.function().is_some() { Source::Library } else { Source::Load }
}

/// How a script that was answered for came to be there, as far as is known: somebody else may have brought it.
pub(super) fn learnt(script: &Script) -> Source {
    if script.function().is_some() { Source::Library } else { Source::Other }
}

/// Whether by this answer to its LOAD a library is there; never of a script.
pub(super) fn is_there(script: &Script, text: &[u8]) -> bool {
    script.function().is_some_and(|function| {
        verdict::judge_library(text, function.code.name.as_bytes()) == LibraryVerdict::There
    })
}

/// How many bytes there are between two places in the stream.
pub(super) fn length(from: u64, to: u64) -> i64 {
    i64::try_from(to - from).unwrap_or(i64::MAX)
}

impl<T> Call<T> {
    /// The item of a pipeline that was answered last.
    pub(super) fn last_item(&self) -> usize {
        let last = self.answered - 1;
        match &self.rare {
            Some(rare) if rare.before_repair.is_some() => rare.again[last - self.request.items.len()],
            _ => last,
        }
    }
}
