//! A client: calls from any thread, each to its end within its deadline.

use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use crate::ffi::lock::Mutex;
use smallvec::SmallVec;

use crate::command::{self, Lane};
use crate::config::{Config, LONGEST_WAIT, Options};
use crate::driver::Driver;
use crate::error::{Error, Result, Status};
use crate::ffi::cancel::Held;
use crate::ffi::fork::Process;
use crate::net::address::Address;
use crate::request::{Request, Routing, Shape};
use crate::resp::Reply;
use crate::resp::encode::Arguments;
use crate::route::{ReadFrom, Route};
use crate::script::Script;
use crate::slots;
use crate::stats::Stats;
use crate::topology::{Place, Topology};

/// A connection to a server, shared by all that clone it.
///
/// Any number of threads may call at once; their calls travel together. A blocking call does its input and output on the thread
/// that makes it; there is a thread in the background only from the first submitted call on ([`Client::submit`]). A
/// clone is the same client; a client that is no longer referred to is closed, and whoever drops the last clone waits
/// for the end of its threads, unless it is one of them.
#[derive(Clone)]
pub struct Client {
    core: Arc<Core>,
    view: View,
    /// Absent where only a call under way needs the client: that does not keep it open.
    _user: Option<Arc<User>>,
}

/// Those who hold a client, all of its clones together.
struct User(Arc<Core>);

impl Drop for User {
    /// When this is over no thread of the client's is left, and its log callback is not called any more.
    fn drop(&mut self) {
        let _held = Held::new();
        self.0.close();
        if self.0.check_process().is_ok() {
            if let Some(driver) = self.0.driver_if_any() {
                driver.wait();
            }
            self.0.topology.config().log.end();
        }
    }
}

/// How calls are made through one handle of a client.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) timeout: Duration,
    pub(crate) read_from: ReadFrom,
    pub(crate) way: Way,
}

/// A [`Route`] that was found to make sense.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Way {
    Random,
    Slot(u16),
    Node(Arc<Address>),
    AllPrimaries,
}

impl Way {
    pub(crate) fn place(&self) -> Place {
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
    /// The one that opened the client.
    process: Process,
    /// Present from the first submitted call on.
    driver: OnceLock<Driver>,
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
        let _held = Held::new();
        let config = Config::new(url, options)?;
        let view = View { timeout: config.call_timeout, read_from: config.read_from, way: Way::Random };
        let lazy = config.lazy_connect;
        let core = Arc::new(Core {
            topology: Topology::new(config),
            requests: Mutex::default(),
            process: Process::this(),
            driver: OnceLock::new(),
        });
        let client = Client { _user: Some(Arc::new(User(Arc::clone(&core)))), core, view };
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
        Client { view, ..self.clone() }
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
        self.core.check_process()?;
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
        self.core.check_process()?;
        let lane = command::lane(arguments)?;
        let mut request = self.request(Shape::Single);
        if let Err(error) = request.command(arguments) {
            self.core.keep(request);
            return Err(error);
        }
        match lane {
            Lane::Shared => self.run(request),
            Lane::Own | Lane::Bare => self.run_apart(request, lane.purpose()),
        }
    }

    /// What the calls of this client have cost so far. In a child of fork nothing: the calls were the parent's.
    pub fn stats(&self) -> Stats {
        if self.core.check_process().is_err() {
            return Stats::default();
        }
        self.core.topology.stats()
    }

    /// Closes the client for all who share it. Calls in flight end with [`Status::Closed`] or, where bytes were sent,
    /// [`Status::Indeterminate`]; one that is connecting gives up. Later calls end with [`Status::Closed`].
    ///
    /// In a child of fork it does nothing: the connection is the parent's.
    pub fn close(&self) {
        let _held = Held::new();
        self.core.close();
    }

    /// Closes the client if this is the last handle of it.
    pub(crate) fn close_if_last(&self) {
        if self._user.as_ref().is_some_and(|user| Arc::strong_count(user) == 1) {
            self.close();
        }
    }

    #[inline]
    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    #[inline]
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// The same client, not kept open by the result.
    pub(crate) fn downgrade(&self) -> WeakClient {
        WeakClient { core: Arc::downgrade(&self.core), view: self.view.clone() }
    }

    pub(crate) fn forget_scripts(&self) {
        self.core.topology.forget_scripts();
    }

    /// A request to be filled for this client, in the process that opened it.
    #[inline(always)]
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
}

/// A client that may have been closed meanwhile.
#[derive(Clone)]
pub(crate) struct WeakClient {
    core: Weak<Core>,
    view: View,
}

impl WeakClient {
    pub(crate) fn upgrade(&self) -> Option<Client> {
        Some(Client { core: self.core.upgrade()?, view: self.view.clone(), _user: None })
    }
}

impl Core {
    fn close(&self) {
        if self.check_process().is_ok() {
            self.topology.close();
            if let Some(driver) = self.driver_if_any() {
                driver.stop();
            }
        }
    }

    /// Which client it is, among those that are open.
    pub(crate) fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// The thread for submitted calls, started if need be.
    pub(crate) fn driver(&self) -> Result<&Driver> {
        if let Some(driver) = self.driver.get() {
            return Ok(driver);
        }
        let driver = Driver::start()?;
        let driver = self.driver.get_or_init(|| driver);
        // Who closed the client meanwhile may have found none to stop.
        if self.topology.is_closed() {
            driver.stop();
        }
        Ok(driver)
    }

    pub(crate) fn driver_if_any(&self) -> Option<&Driver> {
        self.driver.get()
    }

    #[inline(always)]
    pub(crate) fn take_request(&self, shape: Shape) -> Box<Request> {
        let mut request = self.requests.lock().pop().unwrap_or_default();
        request.reset(shape);
        request
    }

    /// The same request once more, to be sent elsewhere as well.
    pub(crate) fn copy(&self, request: &Request) -> Box<Request> {
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
    #[inline]
    pub(crate) fn check_process(&self) -> Result<()> {
        self.process.check("client")
    }
}

impl Drop for Core {
    /// In a child of fork the driver's threads are missing, and its locks are as they happened to be.
    fn drop(&mut self) {
        if self.check_process().is_err() {
            std::mem::forget(self.driver.take());
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.core.topology.name())
    }
}
