//! A client: calls from any thread, each to its end within its deadline.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::command::{self, Lane};
use crate::config::{Config, Options};
use crate::error::{Error, Result, Status};
use crate::link::End;
use crate::node::Node;
use crate::request::{Request, Shape};
use crate::resp::Reply;
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
    /// The process that opened the client.
    process: u32,
}

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
                process: std::process::id(),
            }),
            timeout,
        };
        if !lazy {
            client.core.node.link(1, Instant::now() + timeout)?;
        }
        Ok(client)
    }

    /// The same client with another deadline for each call made through the result.
    pub fn with_timeout(&self, timeout: Duration) -> Client {
        Client { core: Arc::clone(&self.core), timeout }
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
        self.call_script(script, keys.iter().map(AsRef::as_ref), args.iter().map(AsRef::as_ref), false)
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
        self.call_script(script, keys.iter().map(AsRef::as_ref), args.iter().map(AsRef::as_ref), true)
    }

    pub(crate) fn call_script<'a>(
        &self,
        script: &Script,
        keys: impl ExactSizeIterator<Item = &'a [u8]>,
        args: impl ExactSizeIterator<Item = &'a [u8]>,
        read_only: bool,
    ) -> Result<Reply> {
        if read_only && script.is_refused_read_only() {
            return Err(Error::new(
                Status::NotReadOnly,
                "the script's first line lacks the flag no-writes, so no server runs it read-only",
            ));
        }
        let mut request = self.core.request(Shape::Single);
        request.script(script, keys, args, read_only);
        request.repeatable = read_only || script.is_idempotent();
        self.run(request)
    }

    /// Sends a command as it is, for example `SET foo 2`.
    ///
    /// Commands that would change the connection under other callers (MULTI, SUBSCRIBE, SELECT, ...) are refused with
    /// [`Status::CommandRefused`]. Commands that wait (BLPOP, XREAD BLOCK, ...) get a connection of their own.
    pub fn command<A: AsRef<[u8]>>(&self, arguments: &[A]) -> Result<Reply> {
        self.command_of(arguments.iter().map(AsRef::as_ref))
    }

    pub(crate) fn command_of<'a>(
        &self,
        arguments: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) -> Result<Reply> {
        let lane = command::lane(arguments.clone())?;
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
    /// [`Status::Indeterminate`]; later calls end with [`Status::Closed`].
    ///
    /// In a child of fork it does nothing: the connection is the parent's.
    pub fn close(&self) {
        if self.core.check_process().is_ok() {
            self.core.node.close();
        }
    }

    /// The same client, not kept open by the result.
    pub(crate) fn downgrade(&self) -> WeakClient {
        WeakClient { core: Arc::downgrade(&self.core), timeout: self.timeout }
    }

    pub(crate) fn forget_scripts(&self) {
        self.core.node.forget_scripts();
    }

    /// Carries a request to its end on the shared connection.
    fn run(&self, mut request: Box<Request>) -> Result<Reply> {
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
                End::Late(error) => return Err(error),
            };
            let Finished { result, request: sent, payload, .. } = finished;
            let Err(error) = result else {
                self.core.keep(sent);
                return Ok(Reply::new(payload));
            };
            let again = match error.status() {
                Status::Loading => node.pause(tries, deadline).is_some(),
                Status::Connect => true,
                Status::Indeterminate => sent.repeatable && tries < REPEATS_MAX,
                _ => false,
            };
            if !again {
                self.core.keep(sent);
                return Err(error);
            }
            tries += 1;
            request = sent;
            now = Instant::now();
            if now >= deadline {
                return Err(error);
            }
        }
    }

    /// Carries a request to its end on a connection of its own, made for it.
    pub(crate) fn run_apart(&self, request: Box<Request>, purpose: Purpose) -> Result<Reply> {
        self.core.check_process()?;
        let now = Instant::now();
        let deadline = now + self.timeout;
        self.core.node.check_open()?;
        let link = self.core.node.open(purpose, deadline)?;
        match link.call(request, now, deadline) {
            End::Finished(finished) => finished.result.map(|()| Reply::new(finished.payload)),
            End::Unusable(_) => Err(Error::new(Status::Connect, "the server closed a new connection")),
            End::Late(error) => Err(error),
        }
    }

    pub(crate) fn run_command_apart(&self, arguments: &[&[u8]], purpose: Purpose) -> Result<Reply> {
        let mut request = self.core.request(Shape::Single);
        request.command(arguments.iter().copied());
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
    fn request(&self, shape: Shape) -> Box<Request> {
        let mut request = self.requests.lock().pop().unwrap_or_default();
        request.reset(shape);
        request
    }

    fn keep(&self, request: Box<Request>) {
        let mut requests = self.requests.lock();
        if requests.len() < KEPT_REQUESTS {
            requests.push(request);
        }
    }

    /// A child of fork shares the parent's socket: what it sent would tear the parent's stream.
    fn check_process(&self) -> Result<()> {
        if std::process::id() == self.process {
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
