//! What the engine is told, and what it tells: calls, events and actions.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::libraries::LibraryTask;
use crate::base::log::Record;
use crate::base::purpose::Purpose;
use crate::error::{Error, Result};
use crate::metrics::meter::Spent;
use crate::net::address::Address;
use crate::request::Request;
use crate::request::route::ReadFrom;
use crate::request::script::Script;
use crate::resp::{Payload, Reply};
use crate::session::Facts;

/// A server that the client knows. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(pub(crate) usize);

/// A connection, from the first step of making it. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnId(pub(crate) u64);

/// One try of a call on one server. It stays that try's own, also when its place is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AttemptId {
    pub(crate) place: usize,
    pub(crate) serial: u64,
}

/// A call, likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CallId {
    pub(super) place: usize,
    pub(super) serial: u64,
}

/// Where a connection leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// How an attempt on a connection has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) request: Box<Request>,
    pub(crate) result: Result<Box<Payload>>,
    /// Of a pipeline that broke: the replies that did arrive.
    pub(crate) arrived: Option<Box<Payload>>,
}

impl Ended {
    /// A defect of this library has lost it.
    pub(crate) fn by_defect() -> Self {
        Ended { request: Box::default(), result: Err(Error::defect()), arrived: None }
    }
}

/// What an attempt leaves behind that was given up.
#[derive(Debug)]
pub(crate) struct Left {
    /// Of a pipeline: the replies that did arrive.
    pub(crate) arrived: Option<Box<Payload>>,
    /// Something is queued or sent that the server would execute.
    pub(crate) queued: bool,
    /// Of a pipeline: the first item without an answer.
    pub(crate) unanswered: Option<usize>,
}

/// How a connection stands that has ended or is being made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    /// Why it has ended, if it has.
    pub(crate) cause: Option<Error>,
    /// The TLS handshake is not over.
    pub(crate) in_tls_handshake: bool,
    /// Not a byte has come yet.
    pub(crate) is_mute: bool,
}

/// What there is to do, told to whoever does it. All of it is memory work or is put off: the engine is never called
/// back from within.
///
/// `T` tells the owner whose call is over.
pub(crate) trait Actions<T> {
    /// Look up the addresses of a host, then [`Engine::resolved`].
    fn resolve(&mut self, conn: ConnId, host: &str, port: u16);

    /// Ask the client's owner for the credentials of a server, then [`Engine::credentials`].
    fn ask_credentials(&mut self, conn: ConnId, address: &Address);

    /// See to it that [`Engine::tick`] is called at this time even where nobody waits for a call.
    fn remind(&mut self, at: Instant);

    /// Connect, then [`Engine::connected`] or [`Engine::refused`]. Called again for the same connection, it replaces
    /// the peer that did not answer. `address` is what the connection is named by in errors; its TLS name too.
    fn dial(&mut self, conn: ConnId, peer: Peer, address: &Address, facts: &Arc<Facts>);

    /// Give a request to a connection that [`Engine::connected`] has told of; what is queued is sent once the engine
    /// is left. The key is what the connection knows it by. An error: the connection takes no new calls, and the
    /// request is unsent.
    fn send(
        &mut self,
        conn: ConnId,
        attempt: AttemptId,
        request: Box<Request>,
        now: Instant,
    ) -> std::result::Result<usize, Box<Request>>;

    /// Leave an attempt alone: its reply will be thrown away. `None`: it is over already, and [`Engine::ended`]
    /// follows. `patience`: how long nothing must have come for this to speak against the connection.
    fn abandon(
        &mut self,
        conn: ConnId,
        attempt: AttemptId,
        key: usize,
        now: Instant,
        patience: Duration,
    ) -> Option<Left>;

    /// Whether nothing has come on a connection since the calls on it were over: neither its end nor anything else.
    fn is_quiet(&self, conn: ConnId, now: Instant) -> bool;

    /// Whether a deadline was missed on a connection and no byte came since.
    fn is_suspect(&self, conn: ConnId) -> bool;

    /// How a connection stands.
    fn health(&self, conn: ConnId) -> Health;

    /// Put no new calls on a connection; those on it go on, and it is closed when none is left.
    fn retire(&mut self, conn: ConnId);

    /// End a connection, whatever is on it or how far it is made: calls on it end with `cause`, by [`Engine::ended`]
    /// where they are the engine's.
    fn close(&mut self, conn: ConnId, cause: Error);

    /// The connection that plain calls to a server may take without asking the engine, from now on; `None`: there is
    /// none.
    fn serve(&mut self, node: NodeId, conn: Option<ConnId>);

    /// Which server has which slot, from now on, for plain calls that do not ask the engine. `None`: all ask.
    fn route(&mut self, routes: Option<Arc<Routes>>);

    /// Tell the owner of a call what it has cost, and where it was sent last; before its end.
    fn account(&mut self, _owner: &mut T, _spent: Spent, _node: Option<Arc<str>>) {}

    /// Tell the owner of a call what has become of it. Exactly once for each.
    fn complete(&mut self, owner: T, result: Result<Reply>, arrived: Option<Reply>);

    /// Keep a request for the next call.
    fn keep(&mut self, request: Box<Request>);

    /// A request to be filled.
    fn take_request(&mut self) -> Box<Request>;

    /// Tell the log.
    fn log(&mut self, record: Record);
}

/// Where plain calls go by their slots.
#[derive(Debug)]
pub(crate) struct Routes {
    /// By slot: an index into `nodes`, or [`Routes::NOBODY`]. Empty where a single server has all keys.
    pub(crate) slots: Vec<u16>,
    /// The primaries.
    pub(crate) nodes: Vec<NodeId>,
    /// After this time the engine is asked again.
    pub(crate) until: Option<Instant>,
}

impl Routes {
    pub(crate) const NOBODY: u16 = u16::MAX;

    /// The place in `nodes` of the primary that has a slot, as far as that is known now.
    #[inline]
    pub(crate) fn place_of(&self, slot: u16, now: Instant) -> Option<usize> {
        if self.until.is_some_and(|until| now > until) {
            return None;
        }
        match self.slots.get(usize::from(slot)) {
            Some(&place) => Some(usize::from(place)),
            None if self.slots.is_empty() => Some(0),
            None => None,
        }
    }
}

#[cfg(any(test, feature = "bench-internals", feature = "fuzz-internals"))]
impl Routes {
    /// The primary that has a slot, as far as that is known now.
    #[inline]
    pub(crate) fn node_of(&self, slot: u16, now: Instant) -> Option<NodeId> {
        self.nodes.get(self.place_of(slot, now)?).copied()
    }
}

/// Who is told of a call's end.
pub(crate) trait Owner {
    /// A number to find the call by; several calls may share one.
    fn key(&self) -> u64;
}

/// A call as its caller wants it.
pub(crate) struct Call<T> {
    pub(crate) owner: T,
    pub(crate) work: Work,
    pub(crate) view: View,
    /// The time that the caller gave it in all.
    pub(crate) timeout: Duration,
    pub(crate) deadline: Instant,
}

/// What a call is to do.
pub(crate) enum Work {
    /// See that there is a connection, or that the servers are known.
    Open,
    /// Have a server run this, on a connection for this purpose: [`Purpose::Calls`] is the one that all calls share,
    /// for others the call gets one of its own.
    Send(Box<Request>, Purpose),
    /// Administer scripts.
    Administer(Task),
    /// Have every connection log in again.
    LogIn,
    /// Tell the figures of the client's scripts.
    Figures,
}

/// How SCRIPT FLUSH does its work.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// client.script_flush(rs_script::FlushMode::Async)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i32)]
pub enum FlushMode {
    /// As the server is configured (`lazyfree-lazy-user-flush`).
    #[default]
    Default = 0,
    /// At once, before the reply.
    Sync = 1,
    /// In the background.
    Async = 2,
}

/// A task of script administration.
#[derive(Clone)]
pub(crate) enum Task {
    Load(Script),
    /// The reply: an array of booleans.
    Exists(Vec<Vec<u8>>),
    Flush(FlushMode),
    /// SCRIPT KILL.
    Kill,
    /// A script or a function: whichever runs. The reply: an array with an array for each that was stopped.
    KillAny,
    /// The reply: a string or nil.
    Show(Vec<u8>),
    /// Administer a library.
    Library(LibraryTask),
}

impl Task {
    /// The command that it is for the most part.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Task::Load(_) => "SCRIPT LOAD",
            Task::Exists(_) => "SCRIPT EXISTS",
            Task::Flush(_) => "SCRIPT FLUSH",
            Task::Kill | Task::KillAny => "SCRIPT KILL",
            Task::Show(_) => "SCRIPT SHOW",
            Task::Library(task) => task.name(),
        }
    }
}

/// How calls are made through one handle of a client.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) read_from: ReadFrom,
    pub(crate) way: Way,
}

impl View {
    /// Whether anything of a request may be run by another server than a primary.
    #[inline]
    pub(crate) fn reads(&self, request: &Request) -> bool {
        self.read_from != ReadFrom::Primary && request.items.iter().any(|item| item.reads)
    }
}

/// Where a call goes that has no keys.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Way {
    Random,
    Slot(u16),
    Node(Arc<Address>),
    AllPrimaries,
}

/// A plain blocking call that has not ended well on a connection, to go on from there.
pub(crate) struct Resumed<T> {
    pub(crate) call: Call<T>,
    pub(crate) node: NodeId,
    pub(crate) conn: ConnId,
    /// When it was sent.
    pub(crate) sent: Instant,
    /// With the request in it; that of `call` is empty.
    pub(crate) ended: Ended,
}
