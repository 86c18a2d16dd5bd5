//! Library administration: what is asked of each primary, and what its answer says.

use crate::error::{Error, Result, Status};
use crate::request::library::{Library, is_version_of};
use crate::request::script::Script;
use crate::request::{Request, Shape};
use crate::resp::{Kind, Payload, Reply, ReplyRef};
use crate::session::verdict::{self, LibraryVerdict};

/// What every primary is to do with a library. The reply is a map from each one's address to what it said.
#[derive(Clone)]
pub(crate) enum LibraryTask {
    /// To have it, if nothing of its name is there.
    Load(Library),
    /// To have it, whatever of its name is there.
    Deploy(Library),
    /// To say whether it is there.
    Check(Library),
    /// To say which ones are there.
    List,
    /// To remove the other versions of these.
    Prune(Vec<Library>),
}

impl LibraryTask {
    /// The command that it is for the most part.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            LibraryTask::Load(_) | LibraryTask::Deploy(_) => "FUNCTION LOAD",
            LibraryTask::Check(_) | LibraryTask::List => "FUNCTION LIST",
            LibraryTask::Prune(_) => "FUNCTION DELETE",
        }
    }

    /// What one primary is asked.
    pub(super) fn ask(&self, request: &mut Request) {
        const LIST: &[u8] = b"LIBRARYNAME";
        request.reset(Shape::Single);
        match self {
            LibraryTask::Load(library) => request.say(&[b"FUNCTION", b"LOAD", &library.code().source]),
            LibraryTask::Deploy(library) => {
                // In one write, so that what is looked at is what was put there.
                request.reset(Shape::Pipeline);
                let source = &library.code().source[..];
                match library.is_pinned() {
                    true => request.say(&[b"FUNCTION", b"LOAD", source]),
                    false => request.say(&[b"FUNCTION", b"LOAD", b"REPLACE", source]),
                }
                request.say(&[b"FUNCTION", b"LIST", LIST, library.name().as_bytes(), b"WITHCODE"]);
            }
            LibraryTask::Check(library) => {
                request.say(&[b"FUNCTION", b"LIST", LIST, library.name().as_bytes(), b"WITHCODE"]);
            }
            LibraryTask::List => request.say(&[b"FUNCTION", b"LIST", LIST, b"*"]),
            LibraryTask::Prune(keep) => {
                request.reset(Shape::Pipeline);
                for base in bases(keep) {
                    let pattern = format!("{base}_*");
                    request.say(&[b"FUNCTION", b"LIST", LIST, pattern.as_bytes(), b"WITHCODE"]);
                }
            }
        }
    }

    /// Whether it is more than a question.
    pub(super) fn changes(&self) -> bool {
        matches!(self, LibraryTask::Load(_) | LibraryTask::Deploy(_) | LibraryTask::Prune(_))
    }

    /// Whether a primary's answer says that there was nothing to do, or that it has refused to.
    pub(super) fn left_alone(&self, answer: &Reply) -> bool {
        match self {
            LibraryTask::Deploy(_) => answer.get(0).is_some_and(|reply| reply.kind() == Kind::Error),
            LibraryTask::Prune(_) => answer.root().is_empty(),
            LibraryTask::Load(_) | LibraryTask::Check(_) | LibraryTask::List => false,
        }
    }

    /// What a primary's answer says.
    pub(super) fn judge(&self, answer: Result<Reply>) -> Result<Reply> {
        match self {
            LibraryTask::Load(library) => loaded(answer, library),
            LibraryTask::Deploy(library) => {
                let replies = answer.map_err(explained)?;
                if let Some(error) = replies.get(0).and_then(|reply| reply.as_error()) {
                    loaded(Err(error), library)?;
                }
                let unseen =
                    |error: Error| error.of_a_part().context("it was loaded, and could not be looked at");
                compared(replies.get(1), library).map_err(unseen)
            }
            LibraryTask::Check(library) => {
                let reply = answer.map_err(explained)?;
                compared(Some(reply.root()), library)
            }
            LibraryTask::List | LibraryTask::Prune(_) => answer.map_err(explained),
        }
    }
}

/// What the libraries were called before they were pinned, each once.
fn bases(libraries: &[Library]) -> Vec<&str> {
    let mut bases: Vec<&str> = libraries.iter().map(Library::base_name).collect();
    bases.sort_unstable();
    bases.dedup();
    bases
}

/// The names of the other versions of these libraries that a primary has.
pub(super) fn versions(keep: &[Library], answer: &Reply) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (base, list) in bases(keep).into_iter().zip(answer.root().elements()) {
        if let Some(error) = list.as_error() {
            return Err(explained(error));
        }
        let version = |entry: ReplyRef<'_>| {
            let name = value_of(entry, b"library_name")?.as_str()?.to_owned();
            let code = value_of(entry, b"library_code")?;
            is_version_of(base, &name, code.as_bytes()?).then_some(name)
        };
        let found = list.elements().filter_map(version);
        names.extend(found.filter(|name| !keep.iter().any(|library| library.name() == name)));
    }
    Ok(names)
}

/// Asks a primary to remove libraries of these names.
pub(super) fn removal(names: &[String], request: &mut Request) {
    request.reset(Shape::Pipeline);
    names.iter().for_each(|name| request.say(&[b"FUNCTION", b"DELETE", name.as_bytes()]));
}

/// The names of those that were removed, by the answers to their removal. Where some were and others not, the error
/// names the former: it is all that its reader gets.
pub(super) fn removed(names: Vec<String>, answer: Option<&Reply>) -> Result<Reply> {
    let (mut removed, mut failed) = (Vec::new(), None);
    for (name, reply) in names.iter().zip(answer.iter().flat_map(|answer| answer.root().elements())) {
        match reply.as_error() {
            None => removed.push(name.as_str()),
            // Somebody else has removed it.
            Some(error) if error.server_text() == Some(b"ERR Library not found") => {}
            Some(error) => failed = failed.or(Some(error)),
        }
    }
    match failed {
        None => list(&removed),
        Some(error) if removed.is_empty() => Err(error),
        Some(error) => Err(in_part(&error, &removed)),
    }
}

/// The error of a removal of which some has happened.
#[cold]
fn in_part(error: &Error, removed: &[&str]) -> Error {
    let text = String::from_utf8_lossy(error.server_text().unwrap_or(error.message().as_bytes()));
    let text = format!("{text} (these are removed: {})", removed.join(", "));
    Error::server(error.status(), text.as_bytes(), false).on_server_of(error)
}

fn list(texts: &[&str]) -> Result<Reply> {
    let mut payload = Box::<Payload>::default();
    payload.start_array();
    for text in texts {
        payload.append_text(Kind::String, text.as_bytes())?;
    }
    payload.end_array(texts.len());
    Ok(Reply::new(payload))
}

/// What the answer to a LOAD of a function's library says.
pub(super) fn brought(answer: Result<Reply>, script: &Script) -> Result<Reply> {
    match script.function() {
        Some(function) => loaded_as(answer, function.code.name.as_bytes()),
        None => answer.map_err(|error| match error.server_code() {
            Some("ERR") => not_compiled(&error),
            _ => error,
        }),
    }
}

fn not_compiled(error: &Error) -> Error {
    Error::server(Status::Compile, error.server_text().unwrap_or_default(), true).on_server_of(error)
}

fn loaded(answer: Result<Reply>, library: &Library) -> Result<Reply> {
    loaded_as(answer, library.name().as_bytes())
}

/// `loaded`, or `there` where it was; an error where it is not there.
fn loaded_as(answer: Result<Reply>, name: &[u8]) -> Result<Reply> {
    let error = match answer {
        Ok(_) => return text("loaded"),
        Err(error) => error,
    };
    let Some(words) = error.server_text() else { return Err(error) };
    match verdict::judge_library(words, name) {
        LibraryVerdict::There => text("there"),
        LibraryVerdict::Failed if error.server_code() == Some("ERR") => Err(not_compiled(&error)),
        _ => Err(explained(error)),
    }
}

/// `same`, `different` or `absent`.
fn compared(list: Option<ReplyRef<'_>>, library: &Library) -> Result<Reply> {
    let Some(list) = list else { return Err(Error::defect()) };
    if let Some(error) = list.as_error() {
        return Err(explained(error));
    }
    let mut found = list.elements().filter(|entry| {
        let name = value_of(*entry, b"library_name").and_then(|name| name.as_bytes());
        name == Some(library.name().as_bytes())
    });
    text(match found.next() {
        None => "absent",
        Some(entry) => {
            let code = value_of(entry, b"library_code").and_then(|code| code.as_bytes());
            if code == Some(&library.code().source[..]) { "same" } else { "different" }
        }
    })
}

/// The value of a name in a map, or in the array of names and values that stands for it in RESP2.
pub(super) fn value_of<'a>(map: ReplyRef<'a>, name: &[u8]) -> Option<ReplyRef<'a>> {
    let mut elements = map.elements();
    while let (Some(key), value) = (elements.next(), elements.next()) {
        if key.as_bytes() == Some(name) {
            return value;
        }
    }
    None
}

fn text(text: &str) -> Result<Reply> {
    let mut payload = Box::<Payload>::default();
    payload.start();
    payload.append_text(Kind::String, text.as_bytes())?;
    Ok(Reply::new(payload))
}

/// A server without functions says so in other words.
fn explained(error: Error) -> Error {
    match error.server_text() {
        Some(text) if verdict::is_unknown_command(text, b"FUNCTION") => {
            let text = verdict::without_arguments(text).to_vec();
            let error = Error::server(Status::NotSupported, &text, true);
            error.context("the server has no functions: Redis and Valkey have them from 7.0 on")
        }
        _ => error,
    }
}
