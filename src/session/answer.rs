//! What follows from the server's answers: to be handed over, to be sent again, or to be kept from the caller.

use std::sync::atomic::Ordering;

use super::verdict::{self, LoadVerdict, Verdict};
use super::{Expected, Facts, Session, Singly, What};
use crate::error::{Error, Status, kept};
use crate::request::{Form, Shape};
use crate::resp::{Kind, Note, Refusal};
use crate::script::Sha;

impl<T> Session<T> {
    /// Takes the reply to SCRIPT LOAD from the unseen tape.
    pub(super) fn loaded(&mut self, key: usize, index: usize) -> Result<(), Refusal> {
        self.expected.pop_front();
        let call = &mut self.calls[key];
        let script = &call.request.scripts[index];
        let sha = script.sha();
        let entry = self.unseen[0];
        let text = match entry.kind {
            Kind::Error | Kind::String | Kind::Status => self.inbox.text(entry.start(), entry.len as usize),
            _ => b"",
        };
        if entry.kind == Kind::Error {
            self.known.remove(sha);
            match verdict::judge_load(text) {
                LoadVerdict::Never => {
                    self.facts.load_refused.store(true, Ordering::Relaxed);
                    call.by_body = true;
                }
                LoadVerdict::NotNow => call.by_body = true,
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
        }
        self.unseen.clear();
        self.inbox.discard();
        if self.calls[key].request.shape == Shape::Transaction {
            self.checked(key);
        }
        Ok(())
    }

    /// Throws the answer to ASKING away.
    pub(super) fn asked(&mut self) {
        self.expected.pop_front();
        self.unseen.clear();
        self.inbox.discard();
    }

    /// One of a transaction's scripts is known to compile, or not to.
    fn checked(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let has_left = call.tag.is_none();
        let rare = call.rare();
        rare.checks -= 1;
        if rare.checks > 0 {
            return;
        }
        if let Some((_, text)) = rare.load_errors.first() {
            let error = verdict::load_error(text).context("the transaction was not sent");
            self.refuse(key, error);
        } else if has_left {
            self.refuse(key, caller_has_left());
        } else if let Some(text) = rare.unproven.take() {
            self.refuse(key, verdict::no_transactions(&text));
        } else if !self.facts.may_run_transactions() {
            // Another transaction of the client was refused meanwhile.
            rare.checks = 1;
            self.emit_probe(key);
        } else {
            self.emit_transaction(key);
        }
    }

    /// Takes the answer to MULTI or EXEC of an empty transaction from the unseen tape.
    pub(super) fn probed(&mut self, left: usize) -> Result<(), Refusal> {
        let entry = self.unseen[0];
        let refused = (entry.kind == Kind::Error)
            .then(|| kept(self.inbox.text(entry.start(), entry.len as usize)).to_vec());
        self.unseen.clear();
        self.inbox.discard();
        if left > 0 {
            if let (Some(front), Some(probe)) = (self.expected.front_mut(), self.probes.front_mut()) {
                front.what = What::Probe { left: left - 1 };
                probe.refused = refused;
            }
            return Ok(());
        }
        self.expected.pop_front();
        let Some(mut probe) = self.probes.pop_front() else { return Ok(()) };
        match refused {
            // MULTI was refused, and EXEC therefore.
            _ if probe.refused.is_some() => {}
            None => self.facts.note_transactions(probe.multi_refusals),
            Some(text) if verdict::ends_transaction(&text) => probe.refused = Some(text),
            Some(_) => {
                return Err(Refusal::Protocol("a refusal of EXEC that may leave the connection in MULTI"));
            }
        }
        for key in probe.waiting {
            self.calls[key].rare().unproven.clone_from(&probe.refused);
            self.checked(key);
        }
        Ok(())
    }

    /// Takes the replies to a call's items that were just decoded: the last of them is an error, or completes the part.
    #[inline]
    pub(super) fn items_answered(&mut self, key: usize) -> Result<(), Refusal> {
        let call = &mut self.calls[key];
        if call.request.shape == Shape::Single {
            self.inbox.hand_over(&mut call.payload.bytes)?;
            self.expected.pop_front();
            self.single_answered(key);
            return Ok(());
        }
        if call.payload.tape[call.last].kind == Kind::Error {
            self.item_failed(key);
        }
        if let Some(Expected { what: What::Items { left: 0 }, .. }) = self.expected.front() {
            self.inbox.hand_over(&mut self.calls[key].payload.bytes)?;
            self.expected.pop_front();
            self.part_answered(key);
        }
        Ok(())
    }

    fn single_answered(&mut self, key: usize) {
        let call = &mut self.calls[key];
        if call.payload.tape[call.payload.root].kind == Kind::Error {
            return self.single_failed(key);
        }
        self.has_loaded = true;
        if (call.form.is_by_body() || call.by_body)
            && let Some(script) = call.request.scripts.first()
        {
            // EVAL has cached it, or it was there: next time the SHA will do, for as long as the server keeps it.
            self.known.insert(script.sha());
            self.facts.note_compiled(script.sha());
        }
        self.succeed(key);
    }

    /// Decides on the error reply to a single call: send it again in another form, or hand it over.
    fn single_failed(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let text = call.payload.text(call.payload.root);
        let lacks_read_only = match call.form {
            Form::ShaReadOnly => verdict::is_unknown_command(text, b"EVALSHA_RO"),
            Form::BodyReadOnly => verdict::is_unknown_command(text, b"EVAL_RO"),
            Form::Sha | Form::Body => false,
        };
        if lacks_read_only {
            self.facts.no_read_only.store(true, Ordering::Relaxed);
            return self.emit(key);
        }
        let verdict = match verdict::judge(text) {
            // Neither a command nor a script that came with its body can miss the cache: the text is the script's own.
            Verdict::NoScript if call.request.scripts.is_empty() || call.form.is_by_body() => Verdict::Other,
            // A script that forges LOADING would be sent again and again; a server that has loaded stays so.
            Verdict::Loading if self.has_loaded && call.may_forge(0, &self.facts) => Verdict::Other,
            verdict => verdict,
        };
        let again = match verdict {
            Verdict::NoScript => {
                self.known.clear();
                if let Some(text) = call.load_error(0) {
                    let error = verdict::load_error(text);
                    return self.refuse(key, error);
                }
                let again = call.tag.is_some() && (call.by_body || !call.repaired);
                self.counters.noscript_repairs += u64::from(!call.by_body && again);
                call.repaired = true;
                again
            }
            _ => false,
        };
        if again {
            self.emit(key);
        } else {
            let error = verdict::error(verdict, text);
            self.refuse(key, error);
        }
    }

    /// Notes what is known of the pipeline's item that was answered last, with an error.
    #[cold]
    fn item_failed(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let at = call.last;
        let entry = call.payload.tape[at];
        let place = entry.start() - call.payload.bytes.len() + self.inbox.start();
        let text = self.inbox.text(place, entry.len as usize);
        let item = call.last_item();
        // Any answer but an error shows that the server has loaded its data; those to the handshake do not.
        self.has_loaded |= !call.request.scripts.is_empty() && call.answered - 1 > call.payload.notes.len();
        if let Some(script) = call.request.items[item].script.filter(|_| call.came_by_body(item)) {
            // It may have failed before it was cached.
            self.known.remove(call.request.scripts[script as usize].sha());
        }
        let note = match verdict::judge(text) {
            Verdict::NoScript if !call.is_own_error(item) => {
                self.known.clear();
                let script = call.request.items[item].script.map_or(0, |script| script as usize);
                match call.load_error(script) {
                    Some(_) => Status::Compile,
                    None => {
                        let rare = call.rare();
                        if rare.before_repair.is_none() {
                            rare.missed.push(item);
                        }
                        Status::NoScript
                    }
                }
            }
            Verdict::Busy => Status::Busy,
            Verdict::Loading if !(self.has_loaded && call.may_forge(item, &self.facts)) => Status::Loading,
            _ => Status::Server,
        };
        call.note(item, at, note);
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
        let count = call.request.items.len();
        if let Some(rare) = &call.rare
            && rare.before_repair.is_some()
            && call.answered < count + rare.missed.len()
        {
            return;
        }
        let repair = call.request.repair && !call.repaired && call.tag.is_some();
        match &mut call.rare {
            Some(rare) if repair && !rare.missed.is_empty() => {
                call.payload.end_array(count);
                call.repaired = true;
                return self.emit_repair(key);
            }
            Some(rare) if rare.before_repair.is_some() => {
                call.payload.end_array(rare.missed.len());
                if let Some(mut before) = rare.before_repair.take() {
                    if let Err(no_memory) = before.replace_elements(&rare.missed, &call.payload) {
                        return self.refuse(key, no_memory.into());
                    }
                    call.payload = before;
                }
            }
            _ => call.payload.end_array(count),
        }
        call.explain_missing_scripts();
        self.succeed(key);
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
            let outcome = match text {
                None => Singly::Ran,
                Some(text) if verdict::is_unexecuted(text) => Singly::Refused,
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
        self.unseen.clear();
        self.inbox.discard();
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
        let root = call.payload.tape[call.payload.root];
        let rare = call.rare.get_or_insert_default();
        let count = call.request.items.len();
        if let Some((0, text)) = &rare.queue_error {
            // Without MULTI the server has taken the commands one by one.
            let error = ran_singly(text, &rare.singly);
            self.refuse(key, error);
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
        for (place, &index) in loads.iter().enumerate() {
            let at = call.payload.root + 1 + place;
            let kind = call.payload.tape[at].kind;
            let sha = call.request.scripts[index].sha();
            if kind == Kind::String {
                self.known.insert(sha);
                self.facts.note_compiled(sha);
            } else if kind == Kind::Error {
                let text = kept(call.payload.text(at)).to_vec();
                self.known.remove(sha);
                call.rare().load_errors.push((index, text));
            }
        }
        call.payload.skip_elements(loads.len());
        let mut at = call.payload.root + 1;
        for item in 0..call.request.items.len() {
            let entry = call.payload.tape[at];
            if entry.kind == Kind::Error {
                let is_missing =
                    verdict::judge(call.payload.text(at)) == Verdict::NoScript && !call.is_own_error(item);
                if is_missing {
                    self.known.clear();
                }
                call.note(item, at, if is_missing { Status::NoScript } else { Status::Server });
            }
            at += entry.span as usize;
        }
        call.explain_missing_scripts();
        self.succeed(key);
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
        if *place <= loads && !call.by_body {
            match verdict::judge_load(text) {
                LoadVerdict::Never => self.facts.load_refused.store(true, Ordering::Relaxed),
                LoadVerdict::NotNow => {}
                LoadVerdict::Failed => return self.refuse_transaction(key),
            }
            if call.tag.is_none() {
                return self.refuse(key, caller_has_left());
            }
            call.by_body = true;
            return self.emit_transaction(key);
        }
        self.refuse_transaction(key);
    }

    fn refuse_transaction(&mut self, key: usize) {
        let call = &self.calls[key];
        let Some(rare) = &call.rare else { return };
        let Some((place, text)) = &rare.queue_error else { return };
        let error = match verdict::judge(text) {
            verdict @ (Verdict::Loading | Verdict::Busy) => verdict::error(verdict, text),
            _ => Error::server(Status::TransactionAborted, text, true),
        };
        let error = match place.checked_sub(1 + rare.loads.len()) {
            Some(item) => error.context(format_args!(
                "the transaction was refused, nothing ran: item {item} ({})",
                call.request.name_of(item)
            )),
            None => error.context("the transaction was refused, nothing ran: SCRIPT LOAD"),
        };
        self.refuse(key, error);
    }
}

/// The error of a transaction whose MULTI was refused with `text`.
fn ran_singly(text: &[u8], items: &[Singly]) -> Error {
    if items.iter().all(|&item| item == Singly::Refused) {
        return Error::server(Status::TransactionAborted, text, true)
            .context("the server refused MULTI and each command behind it; nothing ran");
    }
    let told = |outcome, what| {
        let found = places(items, outcome);
        (!found.is_empty()).then(|| format!("{found} {what}"))
    };
    let told: Vec<String> = [
        told(Singly::Ran, "ran"),
        told(Singly::Failed, "answered with an error, and may have run up to it"),
        told(Singly::Refused, "did not run"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let context = format!(
        "the server refused MULTI in the middle of the transaction, so that its commands were taken singly, not as a whole ({})",
        told.join("; ")
    );
    Error::server(Status::Indeterminate, text, false).context(context)
}

/// The numbers of the items with this outcome, in ranges: `items 0-2, 7`.
fn places(items: &[Singly], outcome: Singly) -> String {
    /// A text must not grow with the transaction.
    const SHOWN: usize = 8;
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    let mut count = 0;
    for item in (0..items.len()).filter(|&item| items[item] == outcome) {
        count += 1;
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == item => *last = item,
            _ => ranges.push((item, item)),
        }
    }
    let shown: Vec<String> = ranges
        .iter()
        .take(SHOWN)
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect();
    match (count, ranges.len() > SHOWN) {
        (0, _) => String::new(),
        (1, _) => format!("item {}", shown[0]),
        (_, false) => format!("items {}", shown.join(", ")),
        (_, true) => format!("items {}, ... ({count} in all)", shown.join(", ")),
    }
}

/// Ends a call that nobody waits for.
fn caller_has_left() -> Error {
    Error::new(Status::Indeterminate, "the caller has left")
}

impl<T> super::Call<T> {
    /// Whether NOSCRIPT from this item can only be its own text: it is no script call, or came with the script's body.
    fn is_own_error(&self, item: usize) -> bool {
        self.came_by_body(item) || self.request.items[item].script.is_none()
    }

    /// Whether an item may have written, and may answer in the server's words all the same.
    fn may_forge(&self, item: usize, facts: &Facts) -> bool {
        let item = self.request.items[item];
        item.script.is_some() && !(item.read_only && facts.enforces_read_only())
    }

    fn came_by_body(&self, item: usize) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.by_body.contains(&item))
    }

    /// Notes why a script is not there, if the call is one that uses it.
    fn load_failed(&mut self, sha: Sha, text: &[u8]) {
        let index = self.request.scripts.iter().position(|script| script.sha() == sha);
        if let Some(index) = index.filter(|&index| self.load_error(index).is_none()) {
            self.rare().load_errors.push((index, text.to_vec()));
        }
    }

    fn note(&mut self, item: usize, at: usize, status: Status) {
        let not_executed = status != Status::Server;
        let command = self.request.name_of(item);
        self.payload.notes.push(Note { at, item, command, status, not_executed });
    }

    /// An item whose script did not load shows why, instead of NOSCRIPT.
    fn explain_missing_scripts(&mut self) {
        let Some(rare) = self.rare.as_deref().filter(|rare| !rare.load_errors.is_empty()) else { return };
        for place in 0..self.payload.notes.len() {
            let Note { at, item, status, .. } = self.payload.notes[place];
            let script = self.request.items[item].script.map(|script| script as usize);
            let load_error = rare.load_errors.iter().find(|(failed, _)| Some(*failed) == script);
            if let (Status::NoScript | Status::Compile, Some((_, text))) = (status, load_error)
                && self.payload.replace_text(at, text).is_ok()
            {
                self.payload.notes[place].status = Status::Compile;
            }
        }
    }
}
