//! Calls and completions as flat bytes without pointers, so that a binding crosses into this library once for many of
//! them.
//!
//! The layout is documented in `ffi/queue.rs`, where C sees it. Numbers are in the machine's own byte order and not
//! aligned.

// What servers send is not to be cut short by a conversion.
#![deny(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

use std::time::Duration;

use smallvec::SmallVec;

use crate::client::{Client, Overrides};
use crate::command;
use crate::core::FlushMode;
use crate::core::{LibraryTask, Task, Work};
use crate::defect::contain;
use crate::error::{Error, Result, Status};
use crate::ffi::copied;
use crate::ffi::memory::Memory;
use crate::library::Library;
use crate::library_admin;
use crate::meter::Metered;
use crate::once::Once;
use crate::pipeline::Pipeline;
use crate::purpose::Purpose;
use crate::queue::{Completion, Trial};
use crate::request::{Flags, Request, Shape};
use crate::resp::{Kind, ReplyRef};
use crate::route::{ReadFrom, Route};
use crate::script::Script;
use crate::submit::{Call, Calls, nothing_to_submit};

/// What a packed call is.
pub(crate) const COMMAND: u8 = 0;
pub(crate) const SCRIPT: u8 = 1;
pub(crate) const PIPELINE: u8 = 2;
pub(crate) const SCRIPT_LOAD: u8 = 3;
pub(crate) const SCRIPT_EXISTS: u8 = 4;
pub(crate) const SCRIPT_FLUSH: u8 = 5;
pub(crate) const SCRIPT_KILL: u8 = 6;
pub(crate) const SCRIPT_SHOW: u8 = 7;
pub(crate) const KILL: u8 = 8;
pub(crate) const SCRIPT_STATS: u8 = 9;
pub(crate) const REAUTHENTICATE: u8 = 10;
pub(crate) const LIBRARY_LOAD: u8 = 11;
pub(crate) const LIBRARY_CHECK: u8 = 12;
pub(crate) const LIBRARY_DEPLOY: u8 = 13;
pub(crate) const LIBRARY_LIST: u8 = 14;
pub(crate) const LIBRARY_PRUNE: u8 = 15;
/// Another call with what goes in front of it.
pub(crate) const ROUTED: u8 = 16;

/// Bits of a packed call's flags.
pub(crate) const READ_ONLY: u8 = 1;
pub(crate) const IDEMPOTENT: u8 = 2;
pub(crate) const ATOMIC: u8 = 1;
pub(crate) const REPAIR_UNORDERED: u8 = 2;
pub(crate) const TRUST_CACHE: u8 = 4;
pub(crate) const TOKEN: u8 = 8;
/// Of a library.
pub(crate) const NAMED: u8 = 1;
pub(crate) const ONCE: u8 = 2;
const TRUSTING: u8 = ATOMIC | TRUST_CACHE;
const OF_PIPELINE: u8 = ATOMIC | REPAIR_UNORDERED | TRUST_CACHE | TOKEN;

/// Bits of a packed completion's flags.
pub(crate) const INDETERMINATE: u8 = 1;
pub(crate) const NOT_EXECUTED: u8 = 2;
pub(crate) const ARRIVED: u8 = 4;
pub(crate) const COST: u8 = 8;

struct Reader<'a> {
    rest: &'a [u8],
    /// For error texts.
    length: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes, length: bytes.len() }
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.malformed("ends in the middle of a call"));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn long(&mut self) -> Result<u64> {
        Ok(u64::from_ne_bytes(self.array()?))
    }

    fn small(&mut self) -> Result<u32> {
        Ok(u32::from_ne_bytes(self.array()?))
    }

    fn signed(&mut self) -> Result<i32> {
        Ok(i32::from_ne_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<&'a [u8]> {
        let length = self.number()?;
        self.bytes(length)
    }

    fn number(&mut self) -> Result<usize> {
        Ok(u32::from_ne_bytes(self.array()?) as usize)
    }

    /// Strings, each behind its length.
    fn strings(&mut self, count: usize) -> Result<Strings<'a>> {
        // Each takes four bytes at least: a number that claims more is found out before anything is reserved for it.
        if count > self.rest.len() / 4 {
            return Err(self.malformed("holds fewer arguments than it says"));
        }
        let mut strings = Strings::new();
        strings.try_reserve_exact(count).map_err(|_| no_memory())?;
        for _ in 0..count {
            strings.push(self.number().and_then(|length| self.bytes(length))?);
        }
        Ok(strings)
    }

    #[cold]
    fn malformed(&self, why: &str) -> Error {
        let at = self.length - self.rest.len();
        Error::new(Status::InvalidArgument, format!("calls, at byte {at}: it {why}; nothing was accepted"))
    }
}

/// Takes packed calls apart. An error is a malformed buffer; what is wrong with a single call is that call's own.
pub(crate) fn read_calls(client: &Client, scripts: &[&Script], bytes: &[u8]) -> Result<Calls> {
    let mut reader = Reader::new(bytes);
    let mut calls = Calls::new();
    while !reader.rest.is_empty() {
        let tag = u64::from_ne_bytes(reader.array()?);
        let timeout = match reader.number()? {
            0 => None,
            milliseconds => Some(Duration::from_millis(milliseconds as u64)),
        };
        let call = match read_route(&mut reader)? {
            None => Call {
                tag,
                timeout,
                by: None,
                work: work_of(client, scripts, read_item(&mut reader, false)?),
            },
            Some(route) => {
                let item = read_item(&mut reader, false)?;
                if !matches!(item, Item::Command { .. } | Item::Script { .. } | Item::Pipeline { .. }) {
                    return Err(reader.malformed("has a route, and is no command, script or pipeline"));
                }
                match route.and_then(|asked| client.with(&asked)) {
                    Ok(by) => {
                        let work = work_of(&by, scripts, item);
                        Call { tag, timeout, by: Some(Box::new(by)), work }
                    }
                    Err(error) => Call { tag, timeout, by: None, work: Err(error) },
                }
            }
        };
        calls.try_reserve(1).map_err(|_| no_memory())?;
        calls.push(call);
    }
    Ok(calls)
}

/// What a call has of its own instead of its client's, if that stands in front of it. What is wrong with it is the
/// call's own error.
fn read_route<'a>(reader: &mut Reader<'a>) -> Result<Option<Result<Overrides<'a>>>> {
    if reader.rest.first() != Some(&ROUTED) {
        return Ok(None);
    }
    if reader.array()? != [ROUTED, 0] {
        return Err(reader.malformed("has a flag that is not known"));
    }
    let (from, kind, slot, to) = (reader.signed()?, reader.signed()?, reader.small()?, reader.text()?);
    let read_from = match from {
        0 => Ok(None),
        _ => ReadFrom::numbered(from)
            .map(Some)
            .ok_or(("read_from", "is none of the RS_READ_FROM_ numbers".into())),
    };
    let asked = read_from.and_then(|read_from| {
        let route = Route::numbered(kind, slot, to)?;
        Ok(Overrides { timeout: None, read_from, route })
    });
    Ok(Some(asked.map_err(misfit)))
}

/// The error of a call with a field that is wrong.
fn misfit((field, why): (&str, String)) -> Error {
    Error::new(Status::InvalidArgument, format!("{field} {why}; nothing was sent"))
}

fn work_of(client: &Client, scripts: &[&Script], item: Item<'_>) -> Result<Work> {
    match item {
        Item::Pipeline { flags, token, items } => read_pipeline(client, scripts, (flags, token), items)
            .map(|(request, purpose)| Work::Send(request, purpose)),
        Item::Load { index } => {
            script_at(scripts, index).map(|script| Work::Administer(Task::Load(script.clone())))
        }
        Item::Task(task) => task.map(Work::Administer),
        Item::OfTheClient(work) => Ok(work),
        item => {
            let mut request = client.request(Shape::Single);
            fill(scripts, item, &mut request).map(|purpose| Work::Send(request, purpose))
        }
    }
}

/// The error of a buffer for whose calls there is no memory.
#[cold]
fn no_memory() -> Error {
    Error::new(Status::NoMemory, "there is no memory for the calls; nothing was accepted").sent(false)
}

type Strings<'a> = SmallVec<[&'a [u8]; 4]>;

enum Item<'a> {
    Command { arguments: Strings<'a>, flags: Flags<'a> },
    Script { index: usize, keys: Strings<'a>, args: Strings<'a>, flags: Flags<'a> },
    Pipeline { flags: u8, token: Option<&'a [u8]>, items: Vec<Item<'a>> },
    Load { index: usize },
    Task(Result<Task>),
    OfTheClient(Work),
}

fn read_item<'a>(reader: &mut Reader<'a>, is_inside: bool) -> Result<Item<'a>> {
    let (kind, flags) = (reader.byte()?, reader.byte()?);
    let known = match kind {
        COMMAND => READ_ONLY | IDEMPOTENT,
        SCRIPT => READ_ONLY | IDEMPOTENT | TOKEN,
        PIPELINE => OF_PIPELINE,
        LIBRARY_LOAD | LIBRARY_CHECK | LIBRARY_DEPLOY => NAMED | ONCE,
        // A number, which is looked at below.
        SCRIPT_FLUSH => u8::MAX,
        _ => 0,
    };
    // Nobody knows what else such a flag means, for what follows it as well.
    if flags & !known != 0 {
        return Err(reader.malformed("has a flag that is not known"));
    }
    let has_token = matches!(kind, SCRIPT | PIPELINE) && flags & TOKEN != 0;
    let token = if has_token { Some(reader.text()?) } else { None };
    match kind {
        COMMAND => {
            let count = reader.number()?;
            Ok(Item::Command { arguments: reader.strings(count)?, flags: flags_of_call(flags) })
        }
        SCRIPT => {
            let (index, numkeys, numargs) = (reader.number()?, reader.number()?, reader.number()?);
            let (keys, args) = (reader.strings(numkeys)?, reader.strings(numargs)?);
            Ok(Item::Script { index, keys, args, flags: Flags { token, ..flags_of_call(flags) } })
        }
        // Found out before what is in it is read: nobody says how deep it goes.
        PIPELINE if is_inside => Err(reader.malformed("has a pipeline inside a pipeline")),
        PIPELINE => {
            let count = reader.number()?;
            if count > reader.rest.len() / 2 {
                return Err(reader.malformed("holds fewer items than it says"));
            }
            let mut items = Vec::new();
            items.try_reserve_exact(count).map_err(|_| no_memory())?;
            for _ in 0..count {
                items.push(read_item(reader, true)?);
            }
            Ok(Item::Pipeline { flags: flags & !TOKEN, token, items })
        }
        _ if is_inside => {
            Err(reader.malformed("has something else than commands and scripts inside a pipeline"))
        }
        SCRIPT_LOAD => Ok(Item::Load { index: reader.number()? }),
        SCRIPT_EXISTS => {
            let count = reader.number()?;
            let mut shas = Vec::new();
            shas.try_reserve_exact(count).map_err(|_| no_memory())?;
            for sha in reader.strings(count)? {
                shas.push(copied(sha)?);
            }
            Ok(Item::Task(Ok(Task::Exists(shas))))
        }
        SCRIPT_FLUSH => Ok(Item::Task(flush_mode(flags).map(Task::Flush))),
        SCRIPT_KILL => Ok(Item::Task(Ok(Task::Kill))),
        KILL => Ok(Item::Task(Ok(Task::KillAny))),
        SCRIPT_STATS => Ok(Item::OfTheClient(Work::Figures)),
        REAUTHENTICATE => Ok(Item::OfTheClient(Work::LogIn)),
        SCRIPT_SHOW => Ok(Item::Task(Ok(Task::Show(copied(reader.text()?)?)))),
        LIBRARY_LOAD => {
            Ok(Item::Task(read_library(reader, flags)?.map(LibraryTask::Load).map(Task::Library)))
        }
        LIBRARY_CHECK => {
            Ok(Item::Task(read_library(reader, flags)?.map(LibraryTask::Check).map(Task::Library)))
        }
        LIBRARY_DEPLOY => {
            Ok(Item::Task(read_library(reader, flags)?.map(LibraryTask::Deploy).map(Task::Library)))
        }
        LIBRARY_LIST => Ok(Item::Task(Ok(library_admin::listing()))),
        LIBRARY_PRUNE => {
            let count = reader.number()?;
            if count > reader.rest.len() / 5 {
                return Err(reader.malformed("holds fewer libraries than it says"));
            }
            let mut keep = Vec::new();
            keep.try_reserve_exact(count).map_err(|_| no_memory())?;
            for _ in 0..count {
                let flags = reader.byte()?;
                if flags & !(NAMED | ONCE) != 0 {
                    return Err(reader.malformed("has a flag that is not known"));
                }
                keep.push(read_library(reader, flags)?);
            }
            let task = keep.into_iter().collect::<Result<Vec<_>>>().and_then(|keep| {
                let keep: Vec<&Library> = keep.iter().collect();
                library_admin::pruning(&keep)
            });
            Ok(Item::Task(task))
        }
        _ => Err(reader.malformed("has a kind of call that is not known")),
    }
}

/// A library by its source. What is wrong with that is the call's own error.
fn read_library(reader: &mut Reader<'_>, flags: u8) -> Result<Result<Library>> {
    let once = if flags & ONCE != 0 { Some(read_once(reader)?) } else { None };
    let source = reader.text()?;
    let library = if flags & NAMED != 0 { Library::named(source) } else { Library::pinned(source) };
    Ok(match once {
        None => library,
        Some(once) => once.and_then(|once| library?.once(&once)),
    })
}

/// How calls of a library's functions happen once. What is wrong with that is the call's own error.
fn read_once(reader: &mut Reader<'_>) -> Result<Result<Once>> {
    let sizes = [reader.long()?, reader.long()?];
    let (replicas, wait, prefix) = (reader.small()?, reader.small()?, reader.text()?);
    let prefix = (!prefix.is_empty()).then_some(prefix);
    Ok(Once::numbered(sizes, prefix, replicas, wait).map_err(misfit))
}

fn flags_of_call(flags: u8) -> Flags<'static> {
    Flags { read_only: flags & READ_ONLY != 0, idempotent: flags & IDEMPOTENT != 0, token: None }
}

fn flush_mode(number: u8) -> Result<FlushMode> {
    match number {
        0 => Ok(FlushMode::Default),
        1 => Ok(FlushMode::Sync),
        2 => Ok(FlushMode::Async),
        _ => Err(Error::new(
            Status::InvalidArgument,
            format!("{number} is no mode of SCRIPT FLUSH; nothing was sent"),
        )),
    }
}

fn script_at<'a>(scripts: &[&'a Script], index: usize) -> Result<&'a Script> {
    let unknown = || {
        Error::new(Status::InvalidArgument, format!("there is no script number {index}; nothing was sent"))
    };
    scripts.get(index).copied().ok_or_else(unknown)
}

fn fill(scripts: &[&Script], item: Item<'_>, request: &mut Request) -> Result<Purpose> {
    match item {
        Item::Command { arguments, flags } => {
            let purpose = command::lane(&arguments)?.purpose();
            request.command(&arguments, flags)?;
            Ok(purpose)
        }
        Item::Script { index, keys, args, flags } => {
            request.script_call(script_at(scripts, index)?, &keys[..], &args[..], flags)?;
            Ok(Purpose::Calls)
        }
        _ => unreachable!("no item of a pipeline, and handled by the caller"),
    }
}

fn read_pipeline(
    client: &Client,
    scripts: &[&Script],
    (flags, token): (u8, Option<&[u8]>),
    items: Vec<Item<'_>>,
) -> Result<(Box<Request>, Purpose)> {
    if items.is_empty() {
        return Err(nothing_to_submit());
    }
    if !matches!(flags, 0 | ATOMIC | REPAIR_UNORDERED | TRUSTING) {
        let text = "flags are no RS_PACKED_ flags of a pipeline, or do not go together; nothing was sent";
        return Err(Error::new(Status::InvalidArgument, text));
    }
    let mut pipeline: Pipeline = if flags & ATOMIC != 0 { client.transaction() } else { client.pipeline() };
    pipeline.repair_unordered(flags & REPAIR_UNORDERED != 0).trust_cache(flags & TRUST_CACHE != 0);
    for (number, item) in items.into_iter().enumerate() {
        let appended = match item {
            Item::Command { arguments, flags } => pipeline.command_of(&arguments, flags).map(drop),
            Item::Script { index, keys, args, flags } => script_at(scripts, index)
                .and_then(|script| pipeline.script_of(script, &keys[..], &args[..], flags).map(drop)),
            _ => unreachable!("checked when it was read"),
        };
        appended.map_err(|error| error.of_item(number).context(format_args!("item {number}")))?;
    }
    pipeline.token_of(token, false)?;
    Ok((pipeline.take_request(), Purpose::Calls))
}

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
struct Output<'a> {
    memory: Memory<'a>,
    size: usize,
}

impl Output<'_> {
    fn put(&mut self, bytes: &[u8]) {
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
fn append(completion: &mut Completion, details: bool, out: &mut Output<'_>, longest: usize) {
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
    crate::defect::provoked("pack", &completion.tag);
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

/// Appends a reply; its depth is bounded by the option `max_reply_depth`.
fn write_reply(reply: ReplyRef<'_>, details: bool, out: &mut Output<'_>) {
    out.put(&[reply.kind() as u8]);
    match reply.kind() {
        Kind::Nil | Kind::Header => {}
        Kind::Integer => out.put(&reply.as_i64().unwrap_or_default().to_ne_bytes()),
        Kind::Boolean => out.put(&[u8::from(reply.as_bool() == Some(true))]),
        Kind::Array | Kind::Map | Kind::Set => {
            out.put(&length(reply.len()).to_ne_bytes());
            reply.elements().for_each(|element| write_reply(element, details, out));
        }
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;
    use crate::config::Options;
    use crate::defect;
    use crate::meter::Spent;
    use crate::queue::Queue;
    use crate::request::Repeatable;
    use crate::resp::{Payload, Reply};

    fn queue_of(tags: std::ops::Range<u64>) -> Queue {
        let queue = Queue::new(10_000).expect("descriptors");
        let mut tickets = Vec::new();
        queue.accept(1, tags.collect::<Vec<_>>().into_iter(), &mut tickets).expect("room");
        let reply = || {
            let mut payload = Box::<Payload>::default();
            payload.start();
            payload.append_text(Kind::Status, b"PONG").expect("memory");
            Ok(Reply::new(payload))
        };
        queue.complete(tickets.into_iter().map(|ticket| (ticket, reply(), None)));
        queue
    }

    fn is_readable(queue: &Queue) -> bool {
        let fd = queue.as_fd();
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&Timespec::default())).expect("a poll") > 0
    }

    /// Packs what fits, as the C function does.
    fn take(queue: &Queue, capacity: usize, max: usize) -> (Packed, Vec<u8>) {
        let mut trial = queue.try_out();
        let (packed, bytes) = tried(&mut trial, capacity, max);
        trial.keep(packed.count);
        (packed, bytes)
    }

    /// What is packed into so many bytes, and these; nothing behind them is touched.
    fn tried(trial: &mut Trial<'_>, capacity: usize, max: usize) -> (Packed, Vec<u8>) {
        let mut bytes = vec![0xee; capacity + 1];
        let packed = pack(trial, false, Memory::from(&mut bytes[..capacity]), max, Duration::ZERO);
        assert_eq!(bytes[capacity], 0xee);
        bytes.truncate(packed.used);
        (packed, bytes)
    }

    fn tags((packed, bytes): &(Packed, Vec<u8>)) -> Vec<u64> {
        let mut rest = &bytes[..];
        let mut tags = Vec::new();
        while let Some((size, behind)) = rest.split_first_chunk() {
            let (one, others) = behind.split_at(u32::from_ne_bytes(*size) as usize);
            tags.push(u64::from_ne_bytes(one[..8].try_into().expect("a tag")));
            rest = others;
        }
        assert_eq!(tags.len(), packed.count);
        tags
    }

    /// A call with this tag in front of an item, which is made of these parts.
    fn packed_call(item: &[&[u8]]) -> Vec<u8> {
        [&7_u64.to_ne_bytes()[..], &0_u32.to_ne_bytes(), &item.concat()].concat()
    }

    #[test]
    fn a_flag_that_is_not_known_is_refused_wherever_it_stands() {
        let client =
            Client::open("unix:///nowhere", Options::default().lazy_connect(true)).expect("it is lazy");
        let script = Script::new("return 1");
        let read =
            |bytes: &[u8]| read_calls(&client, &[&script], bytes).map(|mut calls| calls.remove(0).work);
        let (none, one, four) = (0_u32.to_ne_bytes(), 1_u32.to_ne_bytes(), 4_u32.to_ne_bytes());
        let ping = [&one[..], &four, b"PING"].concat();
        let piped = [&one[..], &[COMMAND, 0], &ping].concat();
        let known = READ_ONLY | IDEMPOTENT;
        for (kind, rest, known) in [
            (COMMAND, &ping, known),
            (SCRIPT, &[none, none, none].concat(), known | TOKEN),
            (PIPELINE, &piped, OF_PIPELINE),
            (SCRIPT_LOAD, &none.to_vec(), 0),
            (SCRIPT_EXISTS, &none.to_vec(), 0),
            (SCRIPT_KILL, &Vec::new(), 0),
            (SCRIPT_SHOW, &none.to_vec(), 0),
            (KILL, &Vec::new(), 0),
            (LIBRARY_LOAD, &none.to_vec(), NAMED | ONCE),
            (LIBRARY_CHECK, &none.to_vec(), NAMED | ONCE),
            (LIBRARY_DEPLOY, &none.to_vec(), NAMED | ONCE),
            (LIBRARY_LIST, &Vec::new(), 0),
            (LIBRARY_PRUNE, &none.to_vec(), 0),
        ] {
            for flags in (0..8).map(|bit| 1 << bit).chain([0]) {
                let has_token = matches!(kind, SCRIPT | PIPELINE) && flags & TOKEN != 0;
                let is_once =
                    matches!(kind, LIBRARY_LOAD | LIBRARY_CHECK | LIBRARY_DEPLOY) && flags & ONCE != 0;
                let token = match (has_token, is_once) {
                    (true, _) => [&one[..], b"t"].concat(),
                    (_, true) => vec![0; 28],
                    _ => Vec::new(),
                };
                let bytes = packed_call(&[&[kind, flags], &token, rest]);
                let in_pipeline = packed_call(&[&[PIPELINE, 0], &one, &[kind, flags], &token, rest]);
                // Read to its end all the same: a token that means nothing is the call's own error.
                assert!(!has_token || read(&bytes).is_ok_and(|work| work.is_err()));
                assert_eq!(read(&bytes).is_ok(), flags & !known == 0, "{flags:#x} of {kind}");
                let may_be_in = matches!(kind, COMMAND | SCRIPT) && flags & !known == 0;
                assert_eq!(read(&in_pipeline).is_ok(), may_be_in, "{flags:#x} of {kind} in a pipeline");
            }
        }
        for flags in 0..=known {
            let Ok(Ok(Work::Send(request, _))) = read(&packed_call(&[&[COMMAND, flags], &ping])) else {
                panic!("it is a command")
            };
            assert_eq!(request.items[0].reads, flags & READ_ONLY != 0);
            assert_eq!(request.repeatable == Repeatable::Yes, flags != 0);
        }
    }

    #[test]
    fn libraries_are_named_by_their_sources() {
        let client =
            Client::open("unix:///nowhere", Options::default().lazy_connect(true)).expect("it is lazy");
        let read = |bytes: &[u8]| read_calls(&client, &[], bytes).map(|mut calls| calls.remove(0).work);
        let source = b"#!lua name=a\nredis.register_function('f', function() return 1 end)";
        let length = u32::try_from(source.len()).expect("it is short").to_ne_bytes();
        let one = 1_u32.to_ne_bytes();
        for (flags, name) in [(0, "a_"), (NAMED, "a")] {
            let Ok(Ok(Work::Administer(Task::Library(LibraryTask::Deploy(library))))) =
                read(&packed_call(&[&[LIBRARY_DEPLOY, flags], &length, source]))
            else {
                panic!("a library is deployed")
            };
            assert!(library.name().starts_with(name) && library.is_pinned() == (flags == 0));
            let pruned = read(&packed_call(&[&[LIBRARY_PRUNE, 0], &one, &[flags], &length, source]));
            assert_eq!(pruned.expect("it is well-formed").is_ok(), flags == 0);
        }
        // Of another form, and what is wrong with a library that is of the right one.
        for bytes in [
            &[&[LIBRARY_LOAD, 0][..], &length, &source[1..]][..],
            &[&[LIBRARY_PRUNE, 0], &one, &[2], &[0; 4]],
        ] {
            assert!(read(&packed_call(bytes)).is_err());
        }
        assert!(read(&packed_call(&[&[LIBRARY_PRUNE, 0], &[255; 4], &[0; 5]])).is_err());
        assert!(read(&packed_call(&[&[LIBRARY_LOAD, 0], &[0; 4]])).is_ok_and(|work| work.is_err()));
        assert!(read(&packed_call(&[&[LIBRARY_PRUNE, 0], &[0; 4]])).is_ok_and(|work| work.is_err()));
    }

    #[test]
    fn libraries_whose_calls_happen_once_have_the_name_that_they_are_registered_with() {
        let client =
            Client::open("unix:///nowhere", Options::default().lazy_connect(true)).expect("it is lazy");
        let read = |bytes: &[u8]| read_calls(&client, &[], bytes).map(|mut calls| calls.remove(0).work);
        let source = b"#!lua name=a\nredis.register_function('f', function() return 1 end)";
        let text =
            |text: &[u8]| [&u32::try_from(text.len()).expect("it is short").to_ne_bytes(), text].concat();
        let once = |lifetime: u64, limit: u64, replicas: u32, wait: u32, prefix: &[u8]| {
            let sizes = [lifetime, limit].map(u64::to_ne_bytes).concat();
            [sizes, [replicas, wait].map(u32::to_ne_bytes).concat(), text(prefix)].concat()
        };
        let pinned = Library::pinned(&source[..]).expect("it is one");
        let of = |once: &Once| pinned.once(once).expect("it is in its ranges").name().to_owned();
        let an_hour = Once::default().lifetime(Duration::from_secs(3600)).reply_limit(100).prefix("p:");
        for (fields, name) in [
            (once(0, 0, 0, 0, b""), of(&Once::default())),
            (once(3_600_000, 100, 0, 0, b"p:"), of(&an_hour)),
            (once(0, 0, 2, 5, b""), of(&Once::default().wait(2, Duration::from_millis(5)))),
        ] {
            let Ok(Ok(Work::Administer(Task::Library(LibraryTask::Check(library))))) =
                read(&packed_call(&[&[LIBRARY_CHECK, ONCE], &fields, &text(source)]))
            else {
                panic!("a library is compared")
            };
            assert!(library.is_once() && library.name() == name && name != pinned.name());
            let one = 1_u32.to_ne_bytes();
            let pruned = read(&packed_call(&[&[LIBRARY_PRUNE, 0], &one, &[ONCE], &fields, &text(source)]));
            assert!(pruned.expect("it is well-formed").is_ok());
        }
        // What is wrong with it is its own error, and what is behind it is read.
        for (flags, fields) in [
            (ONCE, once(1, 0, 0, 0, b"")),
            (ONCE, once(0, 1, 0, 0, b"")),
            (ONCE, once(0, 0, 1001, 0, b"")),
            (ONCE, once(0, 0, 0, 1, b"")),
            (ONCE, once(0, 0, 0, 0, b"{")),
            (ONCE | NAMED, once(0, 0, 0, 0, b"")),
        ] {
            let one = packed_call(&[&[LIBRARY_LOAD, flags], &fields, &text(source)]);
            let calls = read_calls(&client, &[], &[&one[..], &one].concat()).expect("it is well-formed");
            assert_eq!(calls.len(), 2);
            for call in calls {
                assert_eq!(call.work.err().expect("it is refused").status(), Status::InvalidArgument);
            }
        }
        assert!(read(&packed_call(&[&[LIBRARY_LOAD, ONCE], &[0; 20]])).is_err());
    }

    #[test]
    fn a_call_goes_where_what_stands_in_front_of_it_says() {
        let client = Client::open("redis+cluster://127.0.0.1:1", Options::default().lazy_connect(true))
            .expect("it is lazy");
        let read = |bytes: &[u8]| read_calls(&client, &[], bytes).map(|mut calls| calls.remove(0));
        let one = 1_u32.to_ne_bytes();
        let ping = [&[COMMAND, 0], &one[..], &4_u32.to_ne_bytes(), b"PING"].concat();
        let routed = |from: i32, route: i32, slot: u32, to: &[u8]| {
            let numbers = [[ROUTED, 0].to_vec(), from.to_ne_bytes().to_vec(), route.to_ne_bytes().to_vec()];
            let length = u32::try_from(to.len()).expect("it is short").to_ne_bytes();
            [&numbers.concat()[..], &slot.to_ne_bytes(), &length, to].concat()
        };
        let piped = [&[PIPELINE, 0], &one[..], &ping].concat();
        for item in [&ping, &piped] {
            for front in [
                routed(1, 0, 0, b""),
                routed(3, 1, 0, b""),
                routed(0, 2, 0, b"key"),
                routed(2, 3, 16383, b""),
                routed(0, 4, 0, b"127.0.0.1:1"),
                routed(0, 5, 0, b""),
            ] {
                let call = read(&packed_call(&[&front, item])).expect("it is well-formed");
                assert!(call.by.is_some() && call.work.is_ok());
            }
            for front in [
                routed(-1, 0, 0, b""),
                routed(4, 0, 0, b""),
                routed(0, 6, 0, b""),
                routed(0, -1, 0, b""),
                routed(0, 3, 16384, b""),
                routed(0, 2, 1, b"key"),
                routed(0, 1, 0, b"key"),
                routed(0, 4, 0, b"nowhere"),
                routed(0, 4, 0, b"\xff:1"),
            ] {
                let call = read(&packed_call(&[&front, item])).expect("it is well-formed");
                assert!(call.by.is_none());
                assert_eq!(call.work.err().expect("it is refused").status(), Status::InvalidArgument);
            }
        }
        assert!(read(&packed_call(&[&ping])).expect("it is well-formed").by.is_none());
        // Of nothing else, not of an item of a pipeline, nor twice.
        let front = routed(3, 1, 0, b"");
        for bytes in [
            packed_call(&[&front, &[SCRIPT_KILL, 0]]),
            packed_call(&[&[PIPELINE, 0], &one, &front, &ping]),
            packed_call(&[&front, &front, &ping]),
            packed_call(&[&[ROUTED, 1], &front[2..], &ping]),
            packed_call(&[&front]),
            packed_call(&[&front[..9]]),
        ] {
            assert!(read(&bytes).is_err());
        }
    }

    #[test]
    fn what_does_not_fit_stays_in_order_and_the_descriptor_tells_of_it_alone() {
        for (capacity, max) in [(40, 2), (40, 1_000), (300, 7), (300, usize::MAX), (1 << 20, 130)] {
            let queue = queue_of(0..1_000);
            let mut next = 0;
            while next < 1_000 {
                assert!(is_readable(&queue));
                let taken = take(&queue, capacity, max);
                let Packed { used, count, needed } = taken.0;
                assert!(used <= capacity && count <= max && count > 0);
                assert_eq!(tags(&taken), (next..next + count as u64).collect::<Vec<_>>());
                next += count as u64;
                assert_eq!(queue.len() as u64, 1_000 - next);
                assert!(needed == 0 || needed > capacity - used);
            }
            assert!(!is_readable(&queue), "{capacity} bytes, {max} at a time");
            assert_eq!(take(&queue, capacity, max).0, Packed::default());
            assert!(!is_readable(&queue));
        }
    }

    #[test]
    fn a_completion_that_cannot_be_written_is_an_error_and_in_nobodys_way() {
        let queue = queue_of(2_000_000..2_000_003);
        defect::provoke("pack", &2_000_001);
        let taken = take(&queue, 1 << 20, 10);
        assert_eq!(tags(&taken), [2_000_000, 2_000_001, 2_000_002]);
        assert!(taken.0.used > 3 * 25 && taken.1.windows(6).any(|text| text == b"defect"));
        assert!(queue.is_empty() && !is_readable(&queue));
    }

    #[test]
    fn a_completion_that_is_too_long_to_be_told_is_an_error() {
        let queue = queue_of(0..1);
        let mut trial = queue.try_out();
        let completion = &mut trial.take(1, Duration::ZERO)[0];
        let mut bytes = vec![0; 1 << 10];
        let mut out = Output { memory: Memory::from(&mut bytes[..]), size: 0 };
        out.put(b"before");
        append(completion, false, &mut out, 20);
        let error = completion.result.as_ref().expect_err("it is too long");
        assert_eq!(error.status(), Status::ReplyLimit);
        assert!(bytes.starts_with(b"before") && bytes.windows(5).any(|text| text == b"4 GiB"));
    }

    #[test]
    fn what_a_call_has_cost_stands_behind_its_reply_or_error() {
        for is_error in [false, true] {
            let queue = queue_of(0..1);
            let mut trial = queue.try_out();
            let completion = &mut trial.take(1, Duration::ZERO)[0];
            let mut metered = Metered::of_task("SCRIPT KILL", Instant::now());
            metered.spent = Spent { attempts: 3, sent: 1 << 33, received: 5 };
            if is_error {
                completion.result = Err(Error::new(Status::Server, "NO").on(&"an error's:1".into()));
            } else {
                metered.node = Some("a:1".into());
            }
            metered.end();
            let duration = u64::try_from(metered.took().as_nanos()).expect("a moment");
            completion.cost = Some(metered);
            let mut bytes = vec![0; 1 << 10];
            let mut out = Output { memory: Memory::from(&mut bytes[..]), size: 0 };
            append(completion, true, &mut out, u32::MAX as usize);
            let size = out.size;
            let node: &[u8] = if is_error { b"an error's:1" } else { b"a:1" };
            let mut cost = 3_u32.to_ne_bytes().to_vec();
            [1 << 33, 5, duration].iter().for_each(|number: &u64| cost.extend(number.to_ne_bytes()));
            cost.extend(u32::try_from(node.len()).expect("it is short").to_ne_bytes());
            cost.extend(node);
            assert!(bytes[..size].ends_with(&cost), "{:?}", &bytes[..size]);
            assert_eq!(bytes[16], COST);
            assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().expect("a size")) as usize, size - 4);
        }
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let queue = queue_of(0..2);
        let size_of = |count| take(&queue_of(0..count), 100, 2).0.used;
        let (one, both) = (size_of(1), size_of(2));
        assert_eq!(both, 2 * one);
        for capacity in 0..one {
            assert_eq!(take(&queue, capacity, 2).0, Packed { used: 0, count: 0, needed: one }, "{capacity}");
        }
        for capacity in [one, both - 1] {
            let (packed, bytes) = tried(&mut queue.try_out(), capacity, 2);
            assert_eq!(packed, Packed { used: one, count: 1, needed: one }, "{capacity}");
            assert_eq!(tags(&(packed, bytes)), [0]);
        }
        assert_eq!(take(&queue, both, 2).0.count, 2);
    }

    #[test]
    fn what_is_out_on_trial_comes_back_whatever_happens() {
        let queue = queue_of(0..200);
        let panicked = defect::contain(|| {
            let mut trial = queue.try_out();
            assert_eq!(trial.take(130, Duration::ZERO).len(), 130);
            assert_eq!((trial.take(60, Duration::ZERO).len(), queue.len()), (60, 200));
            panic!("in the middle of it");
        });
        assert!(panicked.is_none() && is_readable(&queue));
        assert_eq!(tags(&take(&queue, 1 << 20, 1_000)), (0..200).collect::<Vec<_>>());
        assert!(queue.is_empty() && !is_readable(&queue));
    }
}
