//! A client: calls from any thread, each to its end within its deadline.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::command::{self, Lane};
use crate::config::{Config, LONGEST_WAIT, Options};
use crate::error::{Error, Result, Status};
use crate::ffi::fork;
use crate::link::End;
use crate::node::{Node, closed};
use crate::request::{Request, Shape};
use crate::resp::Reply;
use crate::resp::encode::Arguments;
use crate::script::Script;
use crate::session::Finished;
use crate::session::handshake::Purpose;
use crate::stats::Stats;

/// A connection to a server, shared by all that clone it.
///
/// Any number of threads may call at once; their calls travel together. A call does its input and output on the thread that makes
/// it: there is no thread in the background. A clone is the same client; a client that is no longer referred to is closed.
#[derive(Clone)]
pub struct Client {
    core: Arc<Core>,
    timeout: Duration,
}

pub(crate) struct Core {
    node: Node,
    /// Requests between two calls: a call in a steady state allocates nothing.
    #[expect(clippy::vec_box, reason = "a request keeps its box from one call to the next")]
    requests: Mutex<Vec<Box<Request>>>,
    /// The process that opened the client, see [`fork::generation`].
    process: u32,
}

/// No deadline is shorter: a call that can never succeed helps nobody.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// Requests kept for the next calls.
const KEPT_REQUESTS: usize = 64;

/// Times that a call which may run twice is sent again after the connection was lost.
const REPEATS_MAX: u32 = 5;

impl Client {
    /// Opens a client and, unless [`Options::lazy_connect`] is set, its connection.
    ///
    /// The forms of `url` are listed at [`Options`].
    pub fn open(url: &str, options: &Options) -> Result<Client> {
        let config = Config::new(url, options)?;
        let (timeout, lazy) = (config.call_timeout, config.lazy_connect);
        let client = Client {
            core: Arc::new(Core {
                node: Node::new(config),
                requests: Mutex::default(),
                process: fork::generation(),
            }),
            timeout,
        };
        if !lazy {
            client.core.node.link(1, Instant::now() + timeout)?;
        }
        Ok(client)
    }

    /// The same client with another deadline for each call made through the result: from a millisecond to a year, whatever is asked for.
    pub fn with_timeout(&self, timeout: Duration) -> Client {
        Client { core: Arc::clone(&self.core), timeout: timeout.clamp(SHORTEST_WAIT, LONGEST_WAIT) }
    }

    /// Calls a script with these keys (`KEYS` in Lua) and arguments (`ARGV`).
    ///
    /// The script is loaded if need be, in the same write. An error says whether the script may have run: see
    /// [`Error::is_indeterminate`] and [`Error::is_not_executed`].
    ///
    /// [EVALSHA](https://redis.io/docs/latest/commands/evalsha/)
    pub fn call<K: AsRef<[u8]>, A: AsRef<[u8]>>(
        &self,
        script: &Script,
        keys: &[K],
        args: &[A],
    ) -> Result<Reply> {
        self.call_script(script, keys, args, false)
    }

    /// The same, read-only: the server stops the script at the first write. A lost connection does no harm, so such a call is
    /// sent again within its deadline. A server older than 7.0 cannot enforce it and runs a plain EVALSHA.
    ///
    /// [EVALSHA_RO](https://redis.io/docs/latest/commands/evalsha_ro/)
    pub fn call_read_only<K: AsRef<[u8]>, A: AsRef<[u8]>>(
        &self,
        script: &Script,
        keys: &[K],
        args: &[A],
    ) -> Result<Reply> {
        self.call_script(script, keys, args, true)
    }

    pub(crate) fn call_script(
        &self,
        script: &Script,
        keys: &(impl Arguments + ?Sized),
        args: &(impl Arguments + ?Sized),
        read_only: bool,
    ) -> Result<Reply> {
        let mut request = self.core.request(Shape::Single);
        if let Err(error) = request.script_call(script, keys, args, read_only) {
            self.core.keep(request);
            return Err(error);
        }
        self.run(request)
    }

    /// Sends a command as it is, for example `SET foo 2`.
    ///
    /// Commands that would change the connection under other callers (MULTI, SUBSCRIBE, SELECT, ...) are refused with
    /// [`Status::CommandRefused`]. Commands that wait (BLPOP, XREAD BLOCK, ...) get a connection of their own.
    pub fn command<A: AsRef<[u8]>>(&self, arguments: &[A]) -> Result<Reply> {
        let words: SmallVec<[&[u8]; 8]> = arguments.iter().map(AsRef::as_ref).collect();
        self.command_of(&words)
    }

    pub(crate) fn command_of(&self, arguments: &[&[u8]]) -> Result<Reply> {
        let lane = command::lane(arguments)?;
        let mut request = self.core.request(Shape::Single);
        request.command(arguments);
        match lane {
            Lane::Shared => self.run(request),
            Lane::Own => self.run_apart(request, Purpose::Calls),
        }
    }

    /// What the calls of this client have cost so far.
    pub fn stats(&self) -> Stats {
        self.core.node.stats()
    }

    /// Closes the client for all who share it. Calls in flight end with [`Status::Closed`] or, where bytes were sent,
    /// [`Status::Indeterminate`]; one that is connecting ends with that attempt. Later calls end with [`Status::Closed`].
    ///
    /// In a child of fork it does nothing: the connection is the parent's.
    pub fn close(&self) {
        if self.core.check_process().is_ok() {
            self.core.node.close();
        }
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// The same client, not kept open by the result.
    pub(crate) fn downgrade(&self) -> WeakClient {
        WeakClient { core: Arc::downgrade(&self.core), timeout: self.timeout }
    }

    pub(crate) fn forget_scripts(&self) {
        self.core.node.forget_scripts();
    }

    /// Carries a request to its end on the shared connection.
    fn run(&self, request: Box<Request>) -> Result<Reply> {
        self.run_collecting(request, &mut None)
    }

    /// The same; of a pipeline that breaks, the replies that did arrive are put into `arrived`.
    pub(crate) fn run_collecting(
        &self,
        mut request: Box<Request>,
        arrived: &mut Option<Reply>,
    ) -> Result<Reply> {
        self.core.check_process()?;
        let node = &self.core.node;
        let mut now = Instant::now();
        let deadline = now + self.timeout;
        let mut tries = 0;
        loop {
            let link = node.link(node.config().reconnect.attempts, deadline)?;
            let finished = match link.call(request, now, deadline) {
                End::Finished(finished) => finished,
                End::Unusable(unsent) => {
                    request = unsent;
                    continue;
                }
                End::Late(error, replies) => {
                    *arrived = replies.map(Reply::new);
                    return Err(error);
                }
            };
            let Finished { result, request: sent, .. } = finished;
            let error = match result {
                Ok(payload) => {
                    self.core.keep(sent);
                    return Ok(Reply::new(payload));
                }
                Err(error) => error,
            };
            let again = match error.status() {
                Status::Loading => node.pause(tries, deadline).is_some(),
                Status::Connect => true,
                Status::Indeterminate => node.may_repeat(&sent) && tries < REPEATS_MAX,
                _ => false,
            };
            now = Instant::now();
            if !again || now >= deadline {
                *arrived = finished.arrived.map(Reply::new);
                self.core.keep(sent);
                return Err(error);
            }
            tries += 1;
            request = sent;
        }
    }

    /// Carries a request to its end on a connection of its own, made for it.
    pub(crate) fn run_apart(&self, request: Box<Request>, purpose: Purpose) -> Result<Reply> {
        self.core.check_process()?;
        let now = Instant::now();
        let deadline = now + self.timeout;
        self.core.node.apart(purpose, deadline, |link| match link.call(request, now, deadline) {
            End::Finished(finished) => finished.result.map(Reply::new),
            End::Unusable(_) => Err(link.cause().unwrap_or_else(closed)),
            End::Late(error, _) => Err(error),
        })
    }

    pub(crate) fn run_command_apart(&self, arguments: &[&[u8]], purpose: Purpose) -> Result<Reply> {
        let mut request = self.core.request(Shape::Single);
        request.command(arguments);
        self.run_apart(request, purpose)
    }
}

/// A client that may have been closed meanwhile.
#[derive(Clone)]
pub(crate) struct WeakClient {
    core: Weak<Core>,
    timeout: Duration,
}

impl WeakClient {
    pub(crate) fn upgrade(&self) -> Option<Client> {
        Some(Client { core: self.core.upgrade()?, timeout: self.timeout })
    }
}

impl Core {
    pub(crate) fn request(&self, shape: Shape) -> Box<Request> {
        let mut request = self.requests.lock().pop().unwrap_or_default();
        request.reset(shape);
        request
    }

    fn keep(&self, request: Box<Request>) {
        if request.is_large() {
            return;
        }
        let mut requests = self.requests.lock();
        if requests.len() < KEPT_REQUESTS {
            requests.push(request);
        }
    }

    /// A child of fork shares the parent's socket: what it sent would tear the parent's stream.
    fn check_process(&self) -> Result<()> {
        if fork::generation() == self.process {
            return Ok(());
        }
        Err(Error::new(
            Status::Forked,
            "this client was opened before fork, by the parent process; open one in the child. Nothing was sent",
        ))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.core.node.config().address)
    }
}
