//! Completions, packed.

use std::time::Duration;

use super::{ARRIVED, COST, INDETERMINATE, NOT_EXECUTED};
use crate::base::defect::contain;
use crate::error::{Error, Status};
use crate::ffi::sys::memory::Memory;
use crate::metrics::meter::Metered;
use crate::queue::{Completion, Trial};
use crate::resp::{Kind, ReplyRef};

/// So many completions are taken out at a time to see whether they fit.
const AT_A_TIME: usize = 64;

/// What was packed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Packed {
    /// Bytes written.
    pub(crate) used: usize,
    /// How many completions they are.
    pub(crate) count: usize,
    /// What the next one takes, which did not fit.
    pub(crate) needed: usize,
}

/// The caller's memory, and how many bytes there would be if it were endless. How long a reply is the server decides:
/// what does not fit is counted, so that the caller can come again with more.
pub(super) struct Output<'a> {
    pub(super) memory: Memory<'a>,
    pub(super) size: usize,
}

impl Output<'_> {
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.memory.write(self.size, bytes);
        self.size = self.size.saturating_add(bytes.len());
    }

    fn is_over(&self) -> bool {
        self.size > self.memory.len()
    }
}

/// Packs as many completions as fit into `memory`; waits for the first one. Each byte is written once, to where the
/// caller wants it. `details`: each error with what ended the call, the item and the server.
pub(crate) fn pack(
    trial: &mut Trial<'_>,
    details: bool,
    memory: Memory<'_>,
    max: usize,
    mut timeout: Duration,
) -> Packed {
    let mut out = Output { memory, size: 0 };
    let mut packed = Packed::default();
    while packed.count < max {
        let wanted = (max - packed.count).min(AT_A_TIME);
        let taken = trial.take(wanted, std::mem::take(&mut timeout));
        let is_empty = taken.len() < wanted;
        for completion in taken {
            append(completion, details, &mut out, u32::MAX as usize);
            if out.is_over() {
                packed.needed = out.size - packed.used;
                return packed;
            }
            packed.used = out.size;
            packed.count += 1;
        }
        if is_empty {
            break;
        }
    }
    packed
}

/// Appends a completion. One that cannot be written becomes an error: otherwise it would stand in the way of all
/// behind it for ever.
pub(super) fn append(completion: &mut Completion, details: bool, out: &mut Output<'_>, longest: usize) {
    let start = out.size;
    let written = contain(|| write_completion(completion, details, out));
    let error = match written {
        Some(()) if out.size - start <= longest => return,
        Some(()) => {
            let text =
                "the reply is longer than 4 GiB, which no packed completion can say; the call was executed";
            Error::new(Status::ReplyLimit, text)
        }
        None => Error::defect(),
    };
    out.size = start;
    (completion.result, completion.arrived, completion.cost) = (Err(error), None, None);
    write_completion(completion, details, out);
}

fn write_completion(completion: &Completion, details: bool, out: &mut Output<'_>) {
    let start = out.size;
    #[cfg(test)]
    crate::base::defect::provoked("pack", &completion.tag);
    out.put(&[0; 4]);
    out.put(&completion.tag.to_ne_bytes());
    let cost = if completion.cost.is_some() { COST } else { 0 };
    match &completion.result {
        Ok(reply) => {
            out.put(&0_i32.to_ne_bytes());
            out.put(&[cost]);
            write_reply(reply.root(), details, out);
        }
        Err(error) => {
            out.put(&error.status().code().to_ne_bytes());
            out.put(&[cost | flags_of(error) | if completion.arrived.is_some() { ARRIVED } else { 0 }]);
            write_error(error, details, out);
            if let Some(arrived) = &completion.arrived {
                write_reply(arrived.root(), details, out);
            }
        }
    }
    if let Some(metered) = &completion.cost {
        write_cost(metered, completion.result.as_ref().err(), out);
    }
    // One that is longer has no size that could be said; it will not be handed out.
    let size = u32::try_from(out.size - start - 4).unwrap_or(u32::MAX);
    out.memory.write(start, &size.to_ne_bytes());
}

fn flags_of(error: &Error) -> u8 {
    let indeterminate = if error.is_indeterminate() { INDETERMINATE } else { 0 };
    indeterminate | if error.is_not_executed() { NOT_EXECUTED } else { 0 }
}

/// A length or number of elements, which the tape has as 32 bits.
fn length(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn write_text(text: &[u8], out: &mut Output<'_>) {
    out.put(&length(text.len()).to_ne_bytes());
    out.put(text);
}

fn write_error(error: &Error, details: bool, out: &mut Output<'_>) {
    write_text(error.server_code().unwrap_or_default().as_bytes(), out);
    write_text(error.message().as_bytes(), out);
    if details {
        out.put(&error.reason().code().to_ne_bytes());
        let index = error.index().and_then(|index| i32::try_from(index).ok()).unwrap_or(-1);
        out.put(&index.to_ne_bytes());
        write_text(error.node().unwrap_or_default().as_bytes(), out);
    }
}

fn write_cost(metered: &Metered, error: Option<&Error>, out: &mut Output<'_>) {
    let spent = &metered.spent;
    out.put(&spent.attempts.to_ne_bytes());
    let duration = u64::try_from(metered.took().as_nanos()).unwrap_or(u64::MAX);
    for number in [spent.sent, spent.received, duration] {
        out.put(&number.to_ne_bytes());
    }
    let node = metered.node.as_deref().or_else(|| error.and_then(Error::node));
    write_text(node.unwrap_or_default().as_bytes(), out);
}

/// Appends a reply with all that is in it. The tape has that in this very order, so it takes no stack, however deep it
/// is: whoever polls may be on a thread with a small one.
fn write_reply(reply: ReplyRef<'_>, details: bool, out: &mut Output<'_>) {
    for entry in reply.entries() {
        write_one(ReplyRef::of(reply.payload(), entry), details, out);
    }
}

/// Appends a reply without its elements, which follow.
fn write_one(reply: ReplyRef<'_>, details: bool, out: &mut Output<'_>) {
    out.put(&[reply.kind() as u8]);
    match reply.kind() {
        Kind::Nil | Kind::Header => {}
        Kind::Integer => out.put(&reply.as_i64().unwrap_or_default().to_ne_bytes()),
        Kind::Boolean => out.put(&[u8::from(reply.as_bool() == Some(true))]),
        Kind::Array | Kind::Map | Kind::Set => out.put(&length(reply.len()).to_ne_bytes()),
        Kind::Error => {
            let Some(error) = reply.as_error() else { unreachable!("an error, by its kind") };
            out.put(&error.status().code().to_ne_bytes());
            out.put(&[flags_of(&error)]);
            write_error(&error, details, out);
        }
        Kind::Verbatim => {
            out.put(reply.verbatim_format().unwrap_or(b"txt"));
            write_text(reply.as_bytes().unwrap_or_default(), out);
        }
        Kind::Status | Kind::String | Kind::Double | Kind::BigNumber => {
            write_text(reply.as_bytes().unwrap_or_default(), out);
        }
    }
}
