//! Packed calls, read.

use std::time::Duration;

use smallvec::SmallVec;

use super::{
    ATOMIC, COMMAND, IDEMPOTENT, KILL, LIBRARY_CHECK, LIBRARY_DEPLOY, LIBRARY_LIST, LIBRARY_LOAD,
    LIBRARY_PRUNE, NAMED, OF_PIPELINE, ONCE, PIPELINE, READ_ONLY, REAUTHENTICATE, REPAIR_UNORDERED, ROUTED,
    SCRIPT, SCRIPT_EXISTS, SCRIPT_FLUSH, SCRIPT_KILL, SCRIPT_LOAD, SCRIPT_SHOW, SCRIPT_STATS, TOKEN,
    TRUST_CACHE, TRUSTING,
};
use crate::api::client::{Client, Overrides};
use crate::api::library_admin;
use crate::api::pipeline::Pipeline;
use crate::api::submit::{Call, Calls, nothing_to_submit};
use crate::base::purpose::Purpose;
use crate::core::FlushMode;
use crate::core::{LibraryTask, Task, Work};
use crate::error::{Error, Result, Status};
use crate::ffi::sys::memory::copied;
use crate::request::command;
use crate::request::library::Library;
use crate::request::once::Once;
use crate::request::route::{ReadFrom, Route};
use crate::request::script::Script;
use crate::request::{Flags, Request, Shape};

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
            let given = reader.strings(count)?;
            let mut shas = Vec::new();
            shas.try_reserve_exact(given.len()).map_err(|_| no_memory())?;
            for sha in given {
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
    Ok(Once::numbered(sizes, prefix, replicas as usize, wait.into()).map_err(misfit))
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
