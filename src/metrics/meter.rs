//! What each call has cost and what came of it, for whoever wants to know: the hook of the client's owner, and its
//! scripts' figures.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::figures::{Figures, Outcome};
use crate::base::defect::contain;
use crate::base::threads::{self, Place};
use crate::base::times::LONGEST_WAIT;
use crate::error::{Error, Result};
use crate::ffi::sys::lock::{Condvar, Mutex};
use crate::request::script::Script;
use crate::request::{Request, Shape};
use crate::resp::encode::arguments;
use crate::resp::{Kind, Payload, Reply};

/// What a call is, with the number that the C API gives it.
///
/// ```
/// # let mut options = rs_script::Options::default();
/// options.on_call(|call| {
///     if call.kind == rs_script::CallKind::Transaction {
///         println!("{} items in {:?}", call.items, call.duration);
///     }
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum CallKind {
    /// A command.
    Command = 1,
    /// A script's call.
    Script = 2,
    /// A pipeline.
    Pipeline = 3,
    /// A transaction.
    Transaction = 4,
    /// Script administration, or what stops a busy server.
    Administration = 5,
}

/// A call that has ended; see [`Options::on_call`](crate::Options::on_call).
///
/// ```
/// # let mut options = rs_script::Options::default();
/// options.on_call(|call| println!("{} {:?} {:?}", call.name, call.duration, call.error));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallEvent<'a> {
    /// What it was.
    pub kind: CallKind,
    /// Of a script its name, or its SHA1 where it has none; of a command its first word, as it was given; of
    /// administration the command. Empty for pipelines and transactions.
    pub name: &'a str,
    /// The script that was called.
    pub script: Option<&'a Script>,
    /// How many items it had; 1 where it was no pipeline or transaction.
    pub items: usize,
    /// The server that it was sent to last: `host:port` or a socket's path; `None` where it was sent to none.
    pub node: Option<&'a str>,
    /// How often it was put on a connection, its parts on several servers counted each; 0: nothing of it was sent.
    /// What a connection sends again by itself because a script was lost is no attempt of its own.
    pub attempts: u32,
    /// Bytes of it that were put on connections, scripts that were loaded for it among them.
    pub bytes_sent: u64,
    /// Bytes of the replies that came.
    pub bytes_received: u64,
    /// From its beginning to its end.
    pub duration: Duration,
    /// What it ended with. An error that is an element of a pipeline's reply is none of the pipeline's.
    pub error: Option<&'a Error>,
}

/// Who is told of calls. What a hook panics with goes no further.
trait Hook: Send + Sync {
    fn tell(&self, event: &CallEvent<'_>);

    /// The same of a call that went the plain way. Each hook has its own, so that what it makes of the event is made
    /// of the call itself, and the event need not be written down.
    fn tell_plain(&self, call: &PlainCall<'_>);
}

impl<F: Fn(&CallEvent<'_>) + Send + Sync> Hook for F {
    fn tell(&self, event: &CallEvent<'_>) {
        contain(|| self(event));
    }

    fn tell_plain(&self, call: &PlainCall<'_>) {
        contain(|| self(&call.event()));
    }
}

/// A call that went the plain way and was answered.
struct PlainCall<'a> {
    request: &'a Request,
    payload: &'a Payload,
    node: &'a str,
    duration: Duration,
}

impl<'a> PlainCall<'a> {
    #[inline(always)]
    fn event(&self) -> CallEvent<'a> {
        let request = self.request;
        let (kind, name, script) = match (request.shape, request.scripts.first()) {
            (Shape::Single, Some(script)) => (CallKind::Script, name_of(script), Some(script)),
            (Shape::Single, None) => {
                (CallKind::Command, std::str::from_utf8(command_of(request)).unwrap_or_default(), None)
            }
            (Shape::Pipeline, _) => (CallKind::Pipeline, "", None),
            (Shape::Transaction, _) => (CallKind::Transaction, "", None),
        };
        CallEvent {
            kind,
            name,
            script,
            items: request.items.len(),
            node: Some(self.node),
            attempts: 1,
            bytes_sent: (request.size_sent() as u64).saturating_add_signed(request.extra),
            bytes_received: self.payload.received as u64,
            duration: self.duration,
            error: None,
        }
    }
}

/// What a call's attempts have cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) attempts: u32,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

impl Spent {
    /// What one attempt has cost whose request had `size` bytes.
    pub(crate) fn on(
        size: usize,
        request: Option<&Request>,
        result: &Result<Box<Payload>>,
        arrived: Option<&Payload>,
    ) -> Spent {
        let received = match result {
            Ok(payload) => payload.received,
            // A sign in front, CR and LF behind.
            Err(error) => {
                let text = error.server_text().map_or(0, |text| text.len() + 3);
                text + arrived.map_or(0, |arrived| arrived.received)
            }
        };
        let extra = request.map_or(0, |request| request.extra);
        Spent { attempts: 1, sent: (size as u64).saturating_add_signed(extra), received: received as u64 }
    }

    pub(crate) fn add(&mut self, other: &Spent) {
        self.attempts += other.attempts;
        self.sent += other.sent;
        self.received += other.received;
    }
}

/// Measures the calls of a client.
pub(crate) struct Meter {
    hook: Option<Arc<dyn Hook>>,
    pub(crate) figures: Option<Arc<Figures>>,
    /// Whether packed completions tell of costs.
    pub(crate) tells_costs: bool,
    gate: Mutex<Gate>,
    quiet: Condvar,
}

#[derive(Default)]
struct Gate {
    running: usize,
    is_ended: bool,
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meter")
    }
}

/// The hook of options, to be shared by the clients that are opened with them.
#[derive(Clone, Default)]
pub(crate) struct OnCall(Option<Arc<dyn Hook>>);

impl OnCall {
    pub(crate) fn new(hook: impl Fn(&CallEvent<'_>) + Send + Sync + 'static) -> Self {
        OnCall(Some(Arc::new(hook)))
    }
}

impl fmt::Debug for OnCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "OnCall(on)" } else { "OnCall(off)" })
    }
}

/// A call that is measured, from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Metered {
    started: Instant,
    /// From its beginning to its end, once that is known.
    took: Duration,
    kind: CallKind,
    items: usize,
    name: Name,
    /// The scripts of a pipeline or transaction, and which of them each item calls.
    scripts: Vec<Script>,
    places: Vec<Option<u32>>,
    pub(crate) spent: Spent,
    pub(crate) node: Option<Arc<str>>,
}

#[derive(Debug)]
enum Name {
    None,
    Script(Script),
    Command(SmallVec<[u8; 24]>),
    Own(&'static str),
}

/// A longer first word is no command's.
const LONGEST_NAME: usize = 64;

impl Metered {
    /// Of a call that is about to be made.
    pub(crate) fn of(meter: &Meter, request: &Request, started: Instant) -> Box<Self> {
        let kind = kind_of(request);
        let name = match (kind, request.scripts.first()) {
            (CallKind::Script, Some(script)) => Name::Script(script.clone()),
            (CallKind::Command, _) => Name::Command(SmallVec::from_slice(command_of(request))),
            _ => Name::None,
        };
        let has_parts = meter.figures.is_some() && request.shape != Shape::Single;
        Box::new(Metered {
            started,
            took: Duration::ZERO,
            kind,
            items: request.items.len(),
            name,
            scripts: if has_parts { request.scripts.clone() } else { Vec::new() },
            places: if has_parts {
                request.items.iter().map(|item| item.script).collect()
            } else {
                Vec::new()
            },
            spent: Spent::default(),
            node: None,
        })
    }

    /// Of script administration.
    pub(crate) fn of_task(name: &'static str, started: Instant) -> Box<Self> {
        Box::new(Metered {
            started,
            took: Duration::ZERO,
            kind: CallKind::Administration,
            items: 1,
            name: Name::Own(name),
            scripts: Vec::new(),
            places: Vec::new(),
            spent: Spent::default(),
            node: None,
        })
    }
}

impl Metered {
    /// It is over now.
    pub(crate) fn end(&mut self) {
        self.took = self.started.elapsed();
    }

    pub(crate) fn took(&self) -> Duration {
        self.took
    }
}

fn kind_of(request: &Request) -> CallKind {
    match request.shape {
        Shape::Single if request.scripts.is_empty() => CallKind::Command,
        Shape::Single => CallKind::Script,
        Shape::Pipeline => CallKind::Pipeline,
        Shape::Transaction => CallKind::Transaction,
    }
}

fn command_of(request: &Request) -> &[u8] {
    let name = arguments(&request.wire).next().unwrap_or_default();
    &name[..name.len().min(LONGEST_NAME)]
}

#[inline]
fn name_of(script: &Script) -> &str {
    script.name().unwrap_or_else(|| script.sha_hex())
}

impl Meter {
    /// `None`: nobody wants to know.
    pub(crate) fn new(hook: &OnCall, max_scripts: usize, tells_costs: bool) -> Option<Arc<Meter>> {
        let figures = (max_scripts > 0).then(|| Arc::new(Figures::new(max_scripts)));
        if hook.0.is_none() && figures.is_none() && !tells_costs {
            return None;
        }
        let gate = Mutex::default();
        Some(Arc::new(Meter { hook: hook.0.clone(), figures, tells_costs, gate, quiet: Condvar::default() }))
    }

    /// Notes the end of a call that went the plain way, on the thread that has made it.
    #[inline(always)]
    pub(crate) fn note_plain(&self, started: Instant, request: &Request, payload: &Payload, node: &str) {
        let duration = started.elapsed();
        if let Some(figures) = &self.figures {
            self.note_scripts(figures, request, payload, duration);
        }
        if let Some(hook) = &self.hook {
            hook.tell_plain(&PlainCall { request, payload, node, duration });
        }
    }

    #[inline(never)]
    fn note_scripts(&self, figures: &Figures, request: &Request, payload: &Payload, duration: Duration) {
        match request.shape {
            Shape::Single => {
                if let Some(script) = request.scripts.first() {
                    figures.note_call(script, Outcome::Well, Some(duration));
                }
            }
            Shape::Pipeline | Shape::Transaction => {
                for (item, at) in request.items.iter().zip(payload.elements_at()) {
                    let Some(script) = item.script else { continue };
                    let has_failed = payload.tape[at].kind == Kind::Error;
                    let outcome = if has_failed { Outcome::Failed } else { Outcome::Well };
                    figures.note_call(&request.scripts[script as usize], outcome, None);
                }
            }
        }
    }

    /// Notes the end of any other call. No lock is held.
    pub(crate) fn note(&self, metered: &Metered, result: &Result<Reply>, arrived: Option<&Reply>) {
        let duration = metered.started.elapsed();
        let error = result.as_ref().err();
        if let Some(figures) = &self.figures {
            metered.note_scripts(figures, result, arrived, duration);
        }
        let Some(hook) = &self.hook else { return };
        let (name, script) = match &metered.name {
            Name::None => ("", None),
            Name::Own(name) => (*name, None),
            Name::Script(script) => (name_of(script), Some(script)),
            Name::Command(name) => (std::str::from_utf8(name).unwrap_or_default(), None),
        };
        let event = CallEvent {
            kind: metered.kind,
            name,
            script,
            items: metered.items,
            node: metered.node.as_deref().or_else(|| error.and_then(Error::node)),
            attempts: metered.spent.attempts,
            bytes_sent: metered.spent.sent,
            bytes_received: metered.spent.received,
            duration,
            error,
        };
        hook.tell(&event);
    }

    /// While what is given lasts the hook may be called; `None`: the client is gone.
    pub(crate) fn pass(&self) -> Option<Pass<'_>> {
        let mut gate = self.gate.lock();
        if gate.is_ended {
            return None;
        }
        gate.running += 1;
        Some(Pass(self))
    }

    /// Ends it: when this returns the hook is not called any more, and on a thread of the host's it has returned on
    /// all others.
    pub(crate) fn end(&self) {
        let mut gate = self.gate.lock();
        gate.is_ended = true;
        while threads::place() == Place::Outside && gate.running > 0 {
            self.quiet.wait_for(&mut gate, LONGEST_WAIT);
        }
    }
}

/// Somebody is about to call the hook.
pub(crate) struct Pass<'a>(&'a Meter);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.gate.lock().running -= 1;
        self.0.quiet.notify_all();
    }
}

impl Metered {
    fn note_scripts(
        &self,
        figures: &Figures,
        result: &Result<Reply>,
        arrived: Option<&Reply>,
        duration: Duration,
    ) {
        let whole = match result {
            Ok(_) => Outcome::Well,
            Err(error) if error.is_indeterminate() => Outcome::Indeterminate,
            Err(_) => Outcome::Failed,
        };
        if let Name::Script(script) = &self.name {
            return figures.note_call(script, whole, Some(duration));
        }
        let replies = result.as_ref().ok().or(arrived);
        for (item, place) in self.places.iter().enumerate() {
            let Some(script) = place.and_then(|place| self.scripts.get(place as usize)) else { continue };
            let outcome = match replies.and_then(|reply| reply.get(item)) {
                Some(reply) => match reply.as_error() {
                    Some(error) if error.is_indeterminate() => Outcome::Indeterminate,
                    Some(_) => Outcome::Failed,
                    None => Outcome::Well,
                },
                None => whole,
            };
            figures.note_call(script, outcome, None);
        }
    }
}
