//! A client: calls from any thread, each to its end within its deadline.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::command::{self, Lane};
use crate::config::{Config, LONGEST_WAIT, Options};
use crate::error::{Error, Result, Status};
use crate::ffi::fork;
use crate::journey::{Journey, Next, REPEATS_MAX, wait};
use crate::link::End;
use crate::net::address::Address;
use crate::node::{Node, closed};
use crate::request::{Request, Routing, Shape};
use crate::resp::Reply;
use crate::resp::encode::Arguments;
use crate::route::{ReadFrom, Route};
use crate::scatter::{Scatter, as_map, everywhere};
use crate::script::Script;
use crate::session::Finished;
use crate::session::handshake::Purpose;
use crate::stats::Stats;
use crate::topology::slots::{self, NO_SLOT};
use crate::topology::{Place, Topology, Witness};

/// A connection to a server, shared by all that clone it.
///
/// Any number of threads may call at once; their calls travel together. A call does its input and output on the thread that makes
/// it: there is no thread in the background. A clone is the same client; a client that is no longer referred to is closed.
#[derive(Clone)]
pub struct Client {
    core: Arc<Core>,
    view: View,
}

/// How calls are made through one handle of a client.
#[derive(Clone)]
struct View {
    timeout: Duration,
    read_from: ReadFrom,
    way: Way,
}

/// A [`Route`] that was found to make sense.
#[derive(Clone, PartialEq, Eq)]
enum Way {
    Random,
    Slot(u16),
    Node(Arc<Address>),
    AllPrimaries,
}

impl Way {
    fn place(&self) -> Place {
        match self {
            Way::Random | Way::AllPrimaries => Place::Anywhere,
            Way::Slot(slot) => Place::Slot(*slot),
            Way::Node(address) => Place::Node(Address::clone(address)),
        }
    }
}

pub(crate) struct Core {
    pub(crate) topology: Topology,
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

impl Client {
    /// Opens a client and, unless [`Options::lazy_connect`] is set, its connection.
    ///
    /// The forms of `url` are listed at [`Options`].
    pub fn open(url: &str, options: &Options) -> Result<Client> {
        let config = Config::new(url, options)?;
        let view = View { timeout: config.call_timeout, read_from: config.read_from, way: Way::Random };
        let lazy = config.lazy_connect;
        let client = Client {
            core: Arc::new(Core {
                topology: Topology::new(config),
                requests: Mutex::default(),
                process: fork::generation(),
            }),
            view,
        };
        if !lazy {
            client.core.topology.open(Instant::now() + client.view.timeout)?;
        }
        Ok(client)
    }

    /// The same client with another deadline for each call made through the result: from a millisecond to a year, whatever is asked for.
    pub fn with_timeout(&self, timeout: Duration) -> Client {
        self.viewed(View { timeout: timeout.clamp(SHORTEST_WAIT, LONGEST_WAIT), ..self.view.clone() })
    }

    /// The same client, with read-only calls made through the result run by other servers.
    pub fn with_read_from(&self, read_from: ReadFrom) -> Client {
        self.viewed(View { read_from, ..self.view.clone() })
    }

    /// The same client, with calls made through the result going to a server of the caller's choice, where keys do not decide.
    ///
    /// On a client of a single server every route leads there. [`Status::InvalidArgument`] for a slot above 16383, or a node that is
    /// no `host:port`; whether there is such a node shows when it is called.
    pub fn with_route(&self, route: Route<'_>) -> Result<Client> {
        let way = match route {
            Route::Random => Way::Random,
            Route::Key(key) => Way::Slot(slots::slot_of(key)),
            Route::Slot(slot) if slot < slots::SLOTS => Way::Slot(slot),
            Route::Slot(slot) => {
                let text = format!("there is no slot {slot}: they are numbered 0 to 16383");
                return Err(Error::new(Status::InvalidArgument, text));
            }
            Route::Node(address) => Way::Node(Arc::new(Address::parse(address).ok_or_else(|| {
                Error::new(Status::InvalidArgument, "a node is named host:port, as in 10.0.0.1:6379")
            })?)),
            Route::AllPrimaries => Way::AllPrimaries,
        };
        Ok(self.viewed(View { way, ..self.view.clone() }))
    }

    fn viewed(&self, view: View) -> Client {
        Client { core: Arc::clone(&self.core), view }
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
        let mut request = self.request(Shape::Single);
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
        let mut request = self.request(Shape::Single);
        if let Err(error) = request.command(arguments) {
            self.core.keep(request);
            return Err(error);
        }
        match lane {
            Lane::Shared => self.run(request),
            Lane::Own => self.run_apart(request),
        }
    }

    /// What the calls of this client have cost so far.
    pub fn stats(&self) -> Stats {
        self.core.topology.stats()
    }

    /// Closes the client for all who share it. Calls in flight end with [`Status::Closed`] or, where bytes were sent,
    /// [`Status::Indeterminate`]; one that is connecting ends with that attempt. Later calls end with [`Status::Closed`].
    ///
    /// In a child of fork it does nothing: the connection is the parent's.
    pub fn close(&self) {
        if self.core.check_process().is_ok() {
            self.core.topology.close();
        }
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// The same client, not kept open by the result.
    pub(crate) fn downgrade(&self) -> WeakClient {
        WeakClient { core: Arc::downgrade(&self.core), view: self.view.clone() }
    }

    pub(crate) fn forget_scripts(&self) {
        self.core.topology.forget_scripts();
    }

    /// A request to be filled for this client.
    pub(crate) fn request(&self, shape: Shape) -> Box<Request> {
        let mut request = self.core.take_request(shape);
        if self.core.topology.is_cluster() {
            request.routing = match self.view.way {
                Way::Random => Routing::BySlot,
                _ => Routing::BySlotOrRoute,
            };
        }
        request
    }

    /// Carries a request to its end on the shared connection.
    fn run(&self, request: Box<Request>) -> Result<Reply> {
        self.run_collecting(request, &mut None)
    }

    /// The same; of a pipeline that breaks, the replies that did arrive are put into `arrived`.
    pub(crate) fn run_collecting(&self, request: Box<Request>, arrived: &mut Option<Reply>) -> Result<Reply> {
        self.core.check_process()?;
        match self.core.topology.only() {
            Some(node) if self.view.read_from == ReadFrom::Primary && self.view.way != Way::AllPrimaries => {
                self.run_on(node, request, arrived)
            }
            _ => self.run_routed(request, arrived),
        }
    }

    /// Carries a request to its end on the only server.
    fn run_on(&self, node: &Node, mut request: Box<Request>, arrived: &mut Option<Reply>) -> Result<Reply> {
        let mut now = Instant::now();
        let deadline = now + self.view.timeout;
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

    /// Carries a request to its end on whichever of several servers it belongs to.
    fn run_routed(&self, request: Box<Request>, arrived: &mut Option<Reply>) -> Result<Reply> {
        let topology = &self.core.topology;
        let deadline = Instant::now() + self.view.timeout;
        topology.prepare(deadline)?;
        let has_keys = request.slot != NO_SLOT;
        if self.view.way == Way::AllPrimaries && !has_keys {
            return self.run_everywhere(&request, deadline);
        }
        if request.shape == Shape::Pipeline {
            let place = self.view.way.place();
            let scatter = Scatter::new(&self.core, &request, place, self.view.read_from, deadline);
            let result = scatter.run(arrived);
            self.core.keep(request);
            return result;
        }
        self.travel(request, deadline, |node, request, now| {
            let link = match node.link_now(deadline) {
                Ok(link) => link,
                Err(error) => return Tried::Failed(error, Some(request)),
            };
            Tried::of(link.call(request, now, deadline))
        })
    }

    /// Takes a call or a transaction from server to server until one has run it.
    fn travel(
        &self,
        mut request: Box<Request>,
        deadline: Instant,
        attempt: impl Fn(&Node, Box<Request>, Instant) -> Tried,
    ) -> Result<Reply> {
        let topology = &self.core.topology;
        let place = if request.slot == NO_SLOT { self.view.way.place() } else { Place::Slot(request.slot) };
        let reads = request.shape == Shape::Single && request.items[0].read_only;
        let read_from = if reads { self.view.read_from } else { ReadFrom::Primary };
        // A transaction is refused as a whole by the server alone.
        let may_be_forged = request.shape == Shape::Single && request.items[0].script.is_some();
        let mut journey = Journey::new(place, read_from, may_be_forged);
        loop {
            let seen = topology.generation();
            let Next { node, asking } = journey.next(topology, request.repeatable, deadline)?;
            request.asking = asking;
            let (error, sent) = match attempt(&node, request, Instant::now()) {
                Tried::Unusable(unsent) => {
                    journey.hold(Next { node, asking });
                    request = unsent;
                    continue;
                }
                Tried::Answered(reply, sent) => {
                    self.core.keep(sent);
                    return Ok(reply);
                }
                Tried::Failed(error, Some(sent)) => (error, sent),
                Tried::Failed(error, None) => {
                    topology.doubt(&node);
                    return Err(error);
                }
            };
            let tries = journey.tries();
            let repeatable = node.may_repeat(&sent);
            let next = journey
                .failed(topology, &Witness::new(topology, &node, deadline), error, repeatable)
                .and_then(|again| wait(topology, again, tries, seen, deadline));
            let error = match next {
                Ok(()) if Instant::now() < deadline => {
                    request = sent;
                    continue;
                }
                Ok(()) => journey.out_of_time(),
                Err(error) if error.status() != Status::Closed && Instant::now() >= deadline => {
                    journey.out_of_time()
                }
                Err(error) => error,
            };
            self.core.keep(sent);
            return Err(error);
        }
    }

    /// Has every primary run a command or script without keys.
    fn run_everywhere(&self, request: &Request, deadline: Instant) -> Result<Reply> {
        if request.shape != Shape::Single {
            let text = "a pipeline or transaction has one reply an item, and cannot go to all primaries; nothing was sent";
            return Err(Error::new(Status::NoRoute, text));
        }
        let answers = everywhere(&self.core, || Ok(self.core.copy(request)), deadline)?;
        Ok(as_map(&self.core.topology, &answers, &request.name_of(0)))
    }

    /// What every primary says to a command.
    pub(crate) fn ask_everywhere(&self, arguments: &[&[u8]]) -> Result<Vec<(Arc<Node>, Result<Reply>)>> {
        self.core.check_process()?;
        let deadline = Instant::now() + self.view.timeout;
        self.core.topology.prepare(deadline)?;
        let make = || {
            let mut request = self.core.take_request(Shape::Single);
            request.command(arguments).map(|()| request)
        };
        everywhere(&self.core, make, deadline)
    }

    /// What every primary says to a command, each on a connection of its own, made for it, that is only logged in.
    pub(crate) fn ask_everywhere_apart(&self, arguments: &[&[u8]]) -> Result<Vec<Result<Reply>>> {
        self.core.check_process()?;
        let deadline = Instant::now() + self.view.timeout;
        let topology = &self.core.topology;
        let primaries = match topology.only() {
            Some(node) => vec![Arc::clone(node)],
            None => {
                topology.prepare(deadline)?;
                topology.primaries()
            }
        };
        let ask = |node: &Node| {
            let mut request = self.core.take_request(Shape::Single);
            request.command(arguments)?;
            call_apart(node, Purpose::Bare, request, deadline).into_result()
        };
        // A server that does not answer must not use up the others' time.
        Ok(thread::scope(|scope| {
            let (first, rest) =
                primaries.split_first().map_or((None, &[][..]), |(node, rest)| (Some(node), rest));
            let handles: Vec<_> = rest.iter().map(|node| scope.spawn(|| ask(node))).collect();
            let first = first.map(|node| ask(node));
            let defect = || Err(Error::new(Status::Internal, "a thread that asks a server panicked"));
            let rest = handles.into_iter().map(|handle| handle.join().unwrap_or_else(|_| defect()));
            first.into_iter().chain(rest).collect()
        }))
    }

    /// Carries a request to its end on a connection of its own, made for it.
    fn run_apart(&self, request: Box<Request>) -> Result<Reply> {
        self.core.check_process()?;
        let topology = &self.core.topology;
        let deadline = Instant::now() + self.view.timeout;
        if let Some(node) = topology.only() {
            return call_apart(node, Purpose::Calls, request, deadline).into_result();
        }
        topology.prepare(deadline)?;
        self.travel(request, deadline, |node, request, _| call_apart(node, Purpose::Calls, request, deadline))
    }
}

/// What came of one try on one server.
enum Tried {
    Answered(Reply, Box<Request>),
    /// Without the request where its time is over.
    Failed(Error, Option<Box<Request>>),
    /// The connection had ended before: nothing was tried.
    Unusable(Box<Request>),
}

impl Tried {
    fn of(end: End) -> Tried {
        match end {
            End::Finished(Finished { result: Ok(payload), request, .. }) => {
                Tried::Answered(Reply::new(payload), request)
            }
            End::Finished(Finished { result: Err(error), request, .. }) => {
                Tried::Failed(error, Some(request))
            }
            End::Late(error, _) => Tried::Failed(error, None),
            End::Unusable(unsent) => Tried::Unusable(unsent),
        }
    }

    fn into_result(self) -> Result<Reply> {
        match self {
            Tried::Answered(reply, _) => Ok(reply),
            Tried::Failed(error, _) => Err(error),
            Tried::Unusable(_) => Err(closed()),
        }
    }
}

fn call_apart(node: &Node, purpose: Purpose, request: Box<Request>, deadline: Instant) -> Tried {
    let mut unsent = Some(request);
    let tried = node.apart(purpose, deadline, |link| match unsent.take() {
        Some(request) => match link.call(request, Instant::now(), deadline) {
            End::Unusable(request) => Ok(Tried::Failed(link.cause().unwrap_or_else(closed), Some(request))),
            end => Ok(Tried::of(end)),
        },
        None => Err(closed()),
    });
    tried.unwrap_or_else(|error| Tried::Failed(error, unsent))
}

/// A client that may have been closed meanwhile.
#[derive(Clone)]
pub(crate) struct WeakClient {
    core: Weak<Core>,
    view: View,
}

impl WeakClient {
    pub(crate) fn upgrade(&self) -> Option<Client> {
        Some(Client { core: self.core.upgrade()?, view: self.view.clone() })
    }
}

impl Core {
    pub(crate) fn take_request(&self, shape: Shape) -> Box<Request> {
        let mut request = self.requests.lock().pop().unwrap_or_default();
        request.reset(shape);
        request
    }

    /// The same request once more, to be sent elsewhere as well.
    fn copy(&self, request: &Request) -> Box<Request> {
        let mut copy = self.take_request(request.shape);
        for index in 0..request.items.len() {
            copy.take(request, index);
        }
        copy
    }

    pub(crate) fn keep(&self, request: Box<Request>) {
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
        write!(f, "Client({})", self.core.topology.name())
    }
}
