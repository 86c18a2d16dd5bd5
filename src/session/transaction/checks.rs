//! What must be known before a transaction is sent: that this user may run any, and that each script compiles.

use std::sync::atomic::Ordering;

use crate::resp::Refusal;
use crate::session::answer::caller_has_left;
use crate::session::call::{Expected, NOT_QUEUED, What};
use crate::session::{Session, verdict};

/// An empty transaction under way, to see whether this user may run any.
#[derive(Debug)]
pub(in crate::session) struct Probe {
    /// The client's [`Compiled::multi_refusals`] when it was sent.
    pub(in crate::session) multi_refusals: u64,
    /// What the server said to MULTI, if that was refused.
    pub(in crate::session) refused: Option<Vec<u8>>,
    /// The transactions that wait for it.
    pub(in crate::session) waiting: Vec<usize>,
}

impl<T> Session<T> {
    /// Starts a transaction, or first sends what must be known before: whether this user may run any, and whether
    /// each script compiles.
    pub(in crate::session) fn check_transaction(&mut self, key: usize) {
        if let Some(text) = self.facts.spoilt_by_exec.get() {
            let error = verdict::no_transactions(text);
            return self.refuse(key, error);
        }
        let call = &self.calls[key];
        if let Some(error) = self.unservable(call) {
            return self.refuse(key, error);
        }
        let mut unchecked: Vec<usize> = Vec::new();
        {
            let compiled = self.facts.compiled.scripts.lock();
            for (index, script) in call.request.scripts.iter().enumerate() {
                let script = self.facts.served(script);
                let may_load = match script.function() {
                    Some(_) => self.may_load_library(call),
                    None => !self.facts.load_refused.load(Ordering::Relaxed),
                };
                // Several functions have one library.
                let is_listed = || {
                    let listed =
                        unchecked.iter().map(|&other| self.facts.served(&call.request.scripts[other]));
                    script.function().is_some() && { listed }.any(|other| other.place() == script.place())
                };
                if may_load && !compiled.contains(script.place()) && !is_listed() {
                    unchecked.push(index);
                }
            }
        }
        let mut checks = 0;
        for &index in &unchecked {
            self.known.remove(self.facts.served(&self.calls[key].request.scripts[index]).place());
            // One whose LOAD the server refused this call already goes by its source.
            checks += usize::from(self.load(key, index));
        }
        let is_proven = self.facts.may_run_transactions();
        if checks == 0 && is_proven {
            return self.emit_transaction(key);
        }
        let call = &mut self.calls[key];
        call.position = NOT_QUEUED;
        call.rare().checks = checks + usize::from(!is_proven);
        if !is_proven {
            self.emit_probe(key);
        }
    }

    /// Has a transaction wait for an empty one. Were MULTI refused in a real one, its commands would run singly.
    pub(in crate::session) fn emit_probe(&mut self, key: usize) {
        let multi_refusals = self.facts.multi_refusals();
        if let Some(probe) = self.probes.back_mut()
            && probe.multi_refusals == multi_refusals
        {
            probe.waiting.push(key);
            return;
        }
        self.outbox.append(|out| {
            out.command(&[b"MULTI"]);
            out.command(&[b"EXEC"]);
        });
        self.expected.push_back(Expected { call: key, what: What::Probe { left: 1 } });
        self.probes.push_back(Probe { multi_refusals, refused: None, waiting: vec![key] });
    }

    /// One of a transaction's scripts is known to compile, or not to.
    pub(in crate::session) fn checked(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let has_left = call.tag.is_none();
        let rare = call.rare();
        rare.checks -= 1;
        if rare.checks > 0 {
            return;
        }
        if std::mem::take(&mut rare.recheck) && !has_left {
            self.check_transaction(key);
        } else if let Some((_, text)) = rare.load_errors.first() {
            let error = verdict::load_error(text).context("the transaction was not sent");
            self.refuse(key, error);
        } else if has_left {
            self.refuse(key, caller_has_left());
        } else if let Some(text) = rare.unproven.take() {
            self.refuse(key, verdict::no_transactions(&text));
        } else if let Some(error) = self.unservable(&self.calls[key]) {
            self.refuse(key, error);
        } else if !self.facts.may_run_transactions() {
            // Another transaction of the client was refused meanwhile.
            self.calls[key].rare().checks = 1;
            self.emit_probe(key);
        } else {
            self.emit_transaction(key);
        }
    }

    /// Takes the answer to MULTI or EXEC of an empty transaction from the unseen tape.
    pub(in crate::session) fn probed(&mut self, left: usize) -> Result<(), Refusal> {
        let refused = self.take_unseen_error();
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
}
