//! A call in flight on one connection, and whose replies the server sends next.

use super::proof::Answers;
use crate::error::Error;
use crate::request::script::Script;
use crate::request::{Form, Request};
use crate::resp::Payload;

/// A call in flight.
#[derive(Debug)]
pub(super) struct Call<T> {
    /// `None`: the caller has left; the reply is awaited all the same and thrown away.
    pub(super) tag: Option<T>,
    pub(super) request: Box<Request>,
    pub(super) payload: Box<Payload>,
    /// Where in the stream the part starts that the server would execute.
    pub(super) position: u64,
    /// Items queued for sending, and items answered, so far.
    pub(super) queued: usize,
    pub(super) answered: usize,
    /// The tape's length behind the last whole reply.
    pub(super) whole: usize,
    /// Where on the tape the reply starts that was decoded last.
    pub(super) last: usize,
    /// How often its script was sent again.
    pub(super) repeats: u8,
    /// The script travels as EVAL from now on.
    pub(super) by_body: bool,
    /// If it is answered, the server has the script, which this connection has not loaded.
    pub(super) teaches: bool,
    /// How a single call's script was sent last.
    pub(super) form: Form,
    /// What only few calls have.
    pub(super) rare: Option<Box<Rare>>,
}

#[derive(Debug, Default)]
pub(super) struct Rare {
    /// The error replies to this call's SCRIPT LOADs, by script.
    pub(super) load_errors: Vec<(usize, Vec<u8>)>,
    /// Script calls of a pipeline or transaction that were sent in another form than they are encoded in, in
    /// ascending order.
    pub(super) rewritten: Vec<(usize, Form)>,
    /// Script calls of a pipeline that the server has certainly not run, for it lacks the script or refuses the
    /// command.
    pub(super) missed: Vec<usize>,
    /// Items whose error may say the same: the form that each was sent in, and where its part starts in the stream.
    pub(super) doubtful: Vec<(usize, Form, u64)>,
    /// What the server itself says to a form, and how many such answers are awaited.
    pub(super) answers: Answers,
    /// What of `missed` is sent again, how many of these are queued, and the pipeline's replies meanwhile.
    pub(super) again: Vec<usize>,
    pub(super) again_queued: usize,
    pub(super) before_repair: Option<Box<Payload>>,
    /// Of WAIT behind it.
    pub(super) waits: Waits,
    /// EVAL is refused: a transaction's scripts travel by their SHA, though they are not loaded in it.
    pub(super) by_sha: bool,
    /// What must be answered before a transaction may start: SCRIPT LOADs, and an empty transaction.
    pub(super) checks: usize,
    /// The server's words, when that empty transaction was refused.
    pub(super) unproven: Option<Vec<u8>>,
    /// The scripts that are loaded inside MULTI.
    pub(super) loads: Vec<Load>,
    /// Commands answered between MULTI and EXEC so far.
    pub(super) queued: usize,
    /// The first error among those answers, and which it was.
    pub(super) queue_error: Option<(usize, Vec<u8>)>,
    /// Functions: why the library was not loaded this time, in the server's words.
    pub(super) unloaded: Option<Vec<u8>>,
    /// What a transaction is checked for has changed: once more.
    pub(super) recheck: bool,
    /// The call stands in a transaction with its library, where it cannot miss that.
    pub(super) is_whole: bool,
    /// Where MULTI was refused: what became of each item, run singly.
    pub(super) singly: Vec<Singly>,
    /// The errors of those items that are `doubtful`.
    pub(super) singly_texts: Vec<Vec<u8>>,
}

/// How a call stands that a WAIT is sent behind.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// So many answers to WAIT are awaited.
    pub(super) left: u32,
    /// What has become of the call itself.
    pub(super) outcome: Option<Result<(), Error>>,
    /// The last answer, where it came before that: the server is still asked about an error.
    pub(super) answer: Option<Answer>,
}

/// How many replicas have it, or what the server says instead.
pub(super) type Answer = Result<i64, Vec<u8>>;

/// What a server has done with a command that was meant to be part of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Singly {
    Ran,
    /// It has answered with an error, which may be the command's own.
    Failed,
    /// It has refused the command without running it.
    Refused,
}

impl<T> Call<T> {
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Why a function's library was not loaded for this call, in the server's words.
    pub(super) fn unloaded(&self) -> Option<&[u8]> {
        self.rare.as_ref()?.unloaded.as_deref()
    }

    pub(super) fn load_error(&self, script: usize) -> Option<&[u8]> {
        let errors = &self.rare.as_ref()?.load_errors;
        errors.iter().find(|(failed, _)| *failed == script).map(|(_, text)| text.as_slice())
    }
}

/// Out of the way of the calls that have none.
#[cold]
pub(super) fn drop_rare(rare: Box<Rare>) {
    drop(rare);
}

/// The position of a call of which the server has nothing to execute yet.
pub(super) const NOT_QUEUED: u64 = u64::MAX;

/// Whose replies the server sends next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) call: usize,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// The reply to SCRIPT LOAD or FUNCTION LOAD of one of the call's scripts. The caller never sees it.
    Load(Load),
    /// The reply to ASKING. It decides nothing: refused, the command behind it is redirected once more.
    Asking,
    /// The replies to this many of the call's items, which start at this place in the stream.
    Items { left: u32, at: u64 },
    /// The server's own word on a form of script calls. The caller never sees it.
    Word { form: Form },
    /// The same on a function: the answer to FUNCTION LOAD, or to a call that runs nothing.
    WordOnFunction { script: usize, form: Form, is_load: bool },
    /// The answers to MULTI and to this many commands behind it. The caller never sees them.
    Queued { left: usize },
    /// The reply to EXEC.
    Exec,
    /// The answer to WAIT behind the call.
    Wait,
    /// What the server says of its memory. It decides nothing about the call.
    Memory,
    /// The answers to an empty transaction: MULTI's if 1 is left behind it, then EXEC's.
    Probe { left: usize },
}

/// How one of a call's scripts was sent to be loaded. That the server has no functions may be known before it answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) script: usize,
    pub(super) is_library: bool,
}

impl Load {
    /// As `script`, the way in which it is served now.
    pub(super) fn of(script: usize, served: &Script) -> Load {
        Load { script, is_library: served.function().is_some() }
    }

    /// What was sent.
    pub(super) fn sent(self, scripts: &[Script]) -> &Script {
        let script = &scripts[self.script];
        match self.is_library {
            true => script,
            false => script.instead().unwrap_or(script),
        }
    }
}

impl What {
    /// A part has no more items than bytes.
    pub(super) fn items(left: usize, at: u64) -> What {
        What::Items { left: u32::try_from(left).unwrap_or(u32::MAX), at }
    }
}
