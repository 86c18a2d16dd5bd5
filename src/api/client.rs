//! A client: calls from any thread, each to its end within its deadline.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::args::{Given, ToArgs};
use crate::base::purpose::Purpose;
use crate::base::times::LONGEST_WAIT;
use crate::config::{Config, Options, Servers};
use crate::core::{self, NodeId, Resumed, View, Way, Work};
use crate::error::{Error, Result, Status};
use crate::ffi::sys::cancel::Held;
use crate::io::stats::Stats;
use crate::io::{End, Io, Link, Waiter};
use crate::metrics::figures::{self, ScriptStats};
use crate::metrics::meter::{Metered, Spent};
use crate::net::address::Address;
use crate::request::command::{self, Lane};
use crate::request::route::{ReadFrom, Route};
use crate::request::script::Script;
use crate::request::slots::{self, NO_SLOT};
use crate::request::{Flags, Repeatable, Request, Routing, Shape};
use crate::resp::Reply;
use crate::resp::encode::Arguments;
use crate::session::verdict;

/// A connection to a server, shared by all that clone it.
///
/// Any number of threads may call at once; their calls travel together. A blocking call does its input and output on
/// the thread that makes it; there is a thread in the background only from the first submitted call on
/// ([`Client::submit`]). A clone is the same client; a client that is no longer referred to is closed, and whoever
/// drops the last clone waits for the end of its threads, unless it is one of them.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let url = server.url();
/// use rs_script::{Client, Options};
///
/// let client = Client::open(&url, &Options::default())?;
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| client.command(("INCR", "n")));
///     }
/// });
/// assert_eq!(client.command(("GET", "n"))?.to::<u32>()?, 4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    io: Arc<Io>,
    view: View,
    timeout: Duration,
    is_cluster: bool,
    /// Absent where only a script needs the client: that does not keep it open.
    user: Option<User>,
}

/// One of those who hold a client, all of whom together keep it open.
struct User(Arc<Users>);

struct Users {
    io: Arc<Io>,
    /// Not as many as there are references: a handle whose memory has to stay may have been given up.
    count: AtomicUsize,
}

impl User {
    fn first(io: &Arc<Io>) -> User {
        User(Arc::new(Users { io: Arc::clone(io), count: AtomicUsize::new(1) }))
    }
}

impl Clone for User {
    fn clone(&self) -> Self {
        self.0.count.fetch_add(1, Ordering::Relaxed);
        User(Arc::clone(&self.0))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.0.lose_one();
    }
}

impl Users {
    /// One lets go. When the last has, no thread of the client's is left, and its log callback is not called any more;
    /// in a child of fork, no connection of the parent's.
    fn lose_one(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let _held = Held::new();
        if self.io.check_process().is_ok() {
            self.io.close();
            self.io.wait_for_threads();
            let config = self.io.config();
            config.log.end();
            if let Some(meter) = &config.meter {
                meter.end();
            }
        } else {
            self.io.leave();
        }
    }
}

/// What a call, or a handle of a client, has of its own.
#[derive(Default)]
pub(crate) struct Overrides<'a> {
    pub(crate) timeout: Option<Duration>,
    pub(crate) read_from: Option<ReadFrom>,
    pub(crate) route: Option<Route<'a>>,
}

/// No deadline is shorter: a call that can never succeed helps nobody.
pub(crate) const SHORTEST_WAIT: Duration = Duration::from_millis(1);

impl Client {
    /// Opens a client and, unless [`Options::lazy_connect`] is set, its connection.
    ///
    /// The forms of `url` are listed at [`Options`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let url = server.url();
    /// use rs_script::{Client, Options};
    /// use std::time::Duration;
    ///
    /// let mut options = Options::default();
    /// options.call_timeout(Duration::from_secs(2))?.client_name("billing")?;
    /// let client = Client::open(&url, &options)?;
    /// assert_eq!(client.command("PING")?.as_str(), Some("PONG"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(url: &str, options: &Options) -> Result<Client> {
        let _held = Held::new();
        let (client, is_to_connect) = Client::unconnected(url, options)?;
        if is_to_connect {
            client.submit_and_wait(Work::Open, Instant::now(), &mut None)?;
        }
        Ok(client)
    }

    /// A client without a connection, and whether it is to be given one before it is used.
    pub(crate) fn unconnected(url: &str, options: &Options) -> Result<(Client, bool)> {
        let config = Config::new(url, options)?;
        let view = View { read_from: config.read_from, way: Way::Random };
        let (timeout, is_lazy) = (config.call_timeout, config.lazy_connect);
        let is_cluster = matches!(config.servers, Servers::Cluster(_));
        let io = Io::new(config);
        let client = Client { user: Some(User::first(&io)), io, view, timeout, is_cluster };
        Ok((client, !is_lazy))
    }

    /// The same client with another deadline for each call made through the result: from a millisecond to a year,
    /// whatever is asked for.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use std::time::Duration;
    ///
    /// let hasty = client.with_timeout(Duration::from_millis(20));
    /// let error = hasty.command(("BLPOP", "nothing", 0)).unwrap_err();
    /// assert!(error.is_timeout());
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_timeout(&self, timeout: Duration) -> Client {
        Client { timeout: timeout.clamp(SHORTEST_WAIT, LONGEST_WAIT), ..self.clone() }
    }

    /// The same client, with read-only calls made through the result run by other servers.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::{ReadFrom, Script};
    ///
    /// let near = client.with_read_from(ReadFrom::PreferReplica);
    /// let get = Script::new("return redis.call('GET', KEYS[1])");
    /// let value: Option<String> = get.key("greeting").read_only().call(&near)?;
    /// # assert_eq!(value, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_read_from(&self, read_from: ReadFrom) -> Client {
        self.viewed(View { read_from, ..self.view.clone() })
    }

    /// The same client, with calls made through the result going to a server of the caller's choice, where keys do
    /// not decide.
    ///
    /// On a client of a single server every route leads there. [`Status::InvalidArgument`] for a slot above 16383, or
    /// a node that is no `host:port`; whether there is such a node shows when it is called.
    ///
    /// ```no_run
    /// # fn main() -> rs_script::Result<()> {
    /// # let cluster = rs_script::Client::open("redis+cluster://10.0.0.1:6379", &rs_script::Options::default())?;
    /// use rs_script::Route;
    /// use std::collections::HashMap;
    ///
    /// let everywhere = cluster.with_route(Route::AllPrimaries)?;
    /// let sizes: HashMap<String, u64> = everywhere.command("DBSIZE")?.to()?;
    /// let its_server = cluster.with_route(Route::Key(b"user:1"))?;
    /// let info = its_server.command(("INFO", "memory"))?;
    /// # Ok(())
    /// # }
    /// ```
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

    /// The same client with what is asked for here instead of its own.
    pub(crate) fn with(&self, asked: &Overrides<'_>) -> Result<Client> {
        let mut client = match asked.route {
            Some(route) => self.with_route(route)?,
            None => self.clone(),
        };
        client.view.read_from = asked.read_from.unwrap_or(client.view.read_from);
        client.timeout = asked.timeout.unwrap_or(client.timeout);
        Ok(client)
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
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::Script;
    ///
    /// let multiply = Script::new("return redis.call('GET', KEYS[1]) * ARGV[1]");
    /// client.command(("SET", "foo", 2))?;
    /// let reply = client.call(&multiply, "foo", 5)?;
    /// assert_eq!(reply.as_i64(), Some(10));
    /// let n: i64 = client.call(&multiply, ["foo"], (6,))?.to()?;
    /// assert_eq!(n, 12);
    /// # Ok(())
    /// # }
    /// ```
    pub fn call(&self, script: &Script, keys: impl ToArgs, args: impl ToArgs) -> Result<Reply> {
        self.call_script(script, &Given::new(keys), &Given::new(args), Flags::NONE)
    }

    /// The same, read-only: the server stops the script at the first write. A lost connection does no harm, so such a
    /// call is sent again within its deadline. A server older than 7.0 cannot enforce it and runs a plain EVALSHA.
    ///
    /// [EVALSHA_RO](https://redis.io/docs/latest/commands/evalsha_ro/)
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::{Script, Status};
    ///
    /// let get = Script::new("return redis.call('GET', KEYS[1])");
    /// assert_eq!(client.call_read_only(&get, "nothing", ())?.to::<Option<String>>()?, None);
    /// let set = Script::new("return redis.call('SET', KEYS[1], 1)");
    /// let error = client.call_read_only(&set, "k", ()).unwrap_err();
    /// assert_eq!(error.status(), Status::Server);
    /// # Ok(())
    /// # }
    /// ```
    pub fn call_read_only(&self, script: &Script, keys: impl ToArgs, args: impl ToArgs) -> Result<Reply> {
        self.call_script(script, &Given::new(keys), &Given::new(args), Flags::READ_ONLY)
    }

    pub(crate) fn call_script(
        &self,
        script: &Script,
        keys: &(impl Arguments + ?Sized),
        args: &(impl Arguments + ?Sized),
        flags: Flags<'_>,
    ) -> Result<Reply> {
        self.io.check_process()?;
        let mut request = self.request(Shape::Single);
        if let Err(error) = request.script_call(script, keys, args, flags) {
            self.io.keep(request);
            return Err(error);
        }
        self.run(request)
    }

    /// Sends a command as it is, for example `SET foo 2`.
    ///
    /// Commands that would change the connection under other callers (MULTI, SUBSCRIBE, SELECT, ...) are refused with
    /// [`Status::CommandRefused`]. Commands that wait (BLPOP, XREAD BLOCK, ...) get a connection of their own.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// client.command(("SET", "foo", 2, "EX", 60))?;
    /// client.command(&["APPEND", "foo", "5"])?;
    /// let n: u32 = client.command(("GET", "foo"))?.to()?;
    /// assert_eq!(n, 25);
    /// # Ok(())
    /// # }
    /// ```
    pub fn command(&self, arguments: impl ToArgs) -> Result<Reply> {
        self.send_command(|request| request.command_given(&Given::new(arguments), Flags::NONE, command::lane))
    }

    pub(crate) fn command_of(&self, arguments: &[&[u8]], flags: Flags<'_>) -> Result<Reply> {
        self.send_command(|request| {
            let lane = command::lane(arguments)?;
            request.command(arguments, flags)?;
            Ok(lane)
        })
    }

    /// Sends a command that `fill` puts into a request.
    #[inline]
    fn send_command(&self, fill: impl FnOnce(&mut Request) -> Result<Lane>) -> Result<Reply> {
        self.io.check_process()?;
        let mut request = self.request(Shape::Single);
        let purpose = match fill(&mut request) {
            Ok(lane) => lane.purpose(),
            Err(error) => {
                self.io.keep(request);
                return Err(error);
            }
        };
        match purpose {
            Purpose::Calls => self.run(request),
            purpose => {
                let _admitted = self.io.admit()?;
                self.submit_and_wait(Work::Send(request, purpose), Instant::now(), &mut None)
            }
        }
    }

    /// Asks for credentials again ([`Options::credentials`]) and has every open connection log in with them,
    /// between the calls of others; for when a password has been rotated, or is about to be. Returns when all have.
    ///
    /// Connections that are made meanwhile count too, those of commands that wait (BLPOP) do not. That one is lost
    /// meanwhile is no error: whatever takes its place asks anew. An error says that a login was refused, or that there
    /// was nothing to log in with: that connection stays in use, and tries again by itself.
    /// [`Status::InvalidArgument`]: the client has nobody to ask.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let url = server.url();
    /// # use rs_script::{Client, Credentials, Error, Options};
    /// let mut options = Options::default();
    /// options.credentials(|_server| Ok::<_, Error>(Credentials::new("whatever the vault holds by now")));
    /// let client = Client::open(&url, &options)?;
    /// client.reauthenticate()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn reauthenticate(&self) -> Result<()> {
        self.submit_and_wait(Work::LogIn, Instant::now(), &mut None).map(drop)
    }

    /// What became of the calls of each script, those called most first, since the client was opened; see
    /// [`Options::script_stats`], without which there is nothing. Behind them, without a SHA1, all others together,
    /// if there are any.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let url = server.url();
    /// # use rs_script::{Client, Options, Script};
    /// # let mut options = Options::default();
    /// # options.script_stats(10);
    /// let client = Client::open(&url, &options)?;
    /// let _: i64 = Script::new("return 1").named("one")?.call(&client)?;
    /// assert_eq!(client.script_stats()[0].calls, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn script_stats(&self) -> Vec<ScriptStats> {
        if self.io.check_process().is_err() {
            return Vec::new();
        }
        let figures = self.io.config().meter.as_ref().and_then(|meter| meter.figures.as_ref());
        figures.map(|figures| figures.all()).unwrap_or_default()
    }

    /// The same as a reply: an array with a map for each script.
    pub(crate) fn script_stats_reply(&self) -> Result<Reply> {
        self.io.check_process()?;
        let figures = self.io.config().meter.as_ref().and_then(|meter| meter.figures.as_ref());
        Ok(figures::reply(figures.map(|figures| &**figures))?)
    }

    /// What the calls of this client have cost so far. In a child of fork nothing: the calls were the parent's.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let before = client.stats();
    /// client.command("PING")?;
    /// let after = client.stats();
    /// assert_eq!((after.calls - before.calls, after.round_trips - before.round_trips), (1, 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> Stats {
        if self.io.check_process().is_err() {
            return Stats::default();
        }
        self.io.stats()
    }

    /// Closes the client for all who share it. Calls in flight end with [`Status::Closed`] or, where bytes were sent,
    /// [`Status::Indeterminate`]; one that is connecting gives up. Later calls end with [`Status::Closed`].
    ///
    /// In a child of fork it does nothing: the connection is the parent's.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let other = client.clone();
    /// client.close();
    /// let error = other.command("PING").unwrap_err();
    /// assert_eq!(error.status(), rs_script::Status::Closed);
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(&self) {
        let _held = Held::new();
        if self.io.check_process().is_ok() {
            self.io.close();
        }
    }

    /// Lets go of the client as if this were dropped, for a handle that never will be: once.
    pub(crate) fn give_up(&self) {
        if let Some(user) = &self.user {
            user.0.lose_one();
        }
    }

    #[inline]
    pub(crate) fn io(&self) -> &Arc<Io> {
        &self.io
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The same client, not kept open by the result.
    pub(crate) fn downgrade(&self) -> WeakClient {
        let Self { view, timeout, is_cluster, .. } = self.clone();
        WeakClient { io: Arc::downgrade(&self.io), view, timeout, is_cluster }
    }

    /// A request to be filled for this client, in the process that opened it.
    #[inline(always)]
    pub(crate) fn request(&self, shape: Shape) -> Box<Request> {
        let mut request = self.io.take_request(shape);
        if self.is_cluster {
            request.routing = match self.view.way {
                Way::Random => Routing::BySlot,
                _ => Routing::BySlotOrRoute,
            };
        }
        request
    }

    /// Carries a request to its end.
    #[inline]
    fn run(&self, request: Box<Request>) -> Result<Reply> {
        self.run_collecting(request, &mut None)
    }

    /// The same; of a pipeline that breaks, the replies that did arrive are put into `arrived`.
    pub(crate) fn run_collecting(&self, request: Box<Request>, arrived: &mut Option<Reply>) -> Result<Reply> {
        let _admitted = self.io.admit()?;
        let now = Instant::now();
        let Some((node, link)) = self.plain_link(&request, now) else {
            return self.submit_and_wait(Work::Send(request, Purpose::Calls), now, arrived);
        };
        let deadline = now + self.timeout;
        let ended = match link.call(request, now, deadline) {
            End::Finished(ended) => ended,
            End::Unusable(request) => {
                return self.submit_and_wait(Work::Send(request, Purpose::Calls), now, arrived);
            }
            End::Late(error, replies, metered) => {
                if self.io.only().is_none() {
                    self.io.missed(node);
                }
                *arrived = replies.map(Reply::new);
                return self.noted(metered, Err(error), arrived);
            }
        };
        match ended.result {
            Ok(payload) if !verdict::has_replicas_word(&payload) => {
                if let Some(meter) = &self.io.config().meter {
                    meter.note_plain(now, &ended.request, &payload, link.name());
                }
                self.io.keep(ended.request);
                Ok(Reply::new(payload))
            }
            Err(error) if self.io.is_closed() => {
                let mut metered = self.meter(&ended.request, now);
                if let Some(metered) = &mut metered {
                    let result = Err(error.clone());
                    let size = ended.request.size_sent();
                    metered.spent = Spent::on(size, Some(&ended.request), &result, ended.arrived.as_deref());
                }
                *arrived = ended.arrived.map(Reply::new);
                self.noted(metered, Err(error), arrived)
            }
            result => {
                let _held = Held::new();
                let waiter = Waiter::new();
                let work = Work::Send(Box::default(), Purpose::Calls);
                let owner = waiter.owner().measured(self.meter(&ended.request, now));
                self.io.stop_reading_within();
                self.io.resume(Resumed {
                    call: self.engine_call(owner, work, now, self.timeout),
                    node,
                    conn: link.conn(),
                    sent: now,
                    ended: core::Ended { result, ..ended },
                });
                self.wait(&waiter, arrived)
            }
        }
    }

    /// The connection that a call can take without asking the engine, and its server.
    #[inline]
    pub(crate) fn plain_link(&self, request: &Request, now: Instant) -> Option<(NodeId, Arc<Link>)> {
        if self.view.reads(request) || request.wait.is_some() {
            return None;
        }
        if let Some(only) = self.io.only() {
            let is_plain = self.view.way != Way::AllPrimaries;
            return Some((only, self.io.served().only().filter(|link| is_plain && link.is_usable())?));
        }
        let slot = match &self.view.way {
            _ if request.slot != NO_SLOT => request.slot,
            Way::Slot(slot) => *slot,
            Way::Random if !self.is_cluster => NO_SLOT,
            _ => return None,
        };
        // A cluster's pipeline is taken apart.
        let is_whole = request.shape == Shape::Pipeline;
        let found = self.io.served().of_slot(slot, is_whole, now).filter(|(_, link)| link.is_usable())?;
        // What has let others wait in vain may do so again: then another server is asked in time, where that does no
        // harm.
        (request.repeatable == Repeatable::No || !found.1.is_suspect()).then_some(found)
    }

    /// Hands a call to the engine and waits for its end.
    pub(crate) fn submit_and_wait(
        &self,
        work: Work,
        now: Instant,
        arrived: &mut Option<Reply>,
    ) -> Result<Reply> {
        let _held = Held::new();
        self.io.check_process()?;
        if self.io.is_closed() {
            return Err(Error::closed());
        }
        self.io.prepare_to_wait()?;
        self.io.stop_reading_within();
        self.io.look_around();
        let waiter = Waiter::new();
        let owner = waiter.owner().measured(self.meter_work(&work, now));
        self.io.submit(std::iter::once(self.engine_call(owner, work, now, self.timeout)));
        self.wait(&waiter, arrived)
    }

    /// Measures a call from here on, where somebody wants to know.
    pub(crate) fn meter(&self, request: &Request, now: Instant) -> Option<Box<Metered>> {
        self.io.config().meter.as_ref().map(|meter| Metered::of(meter, request, now))
    }

    pub(crate) fn meter_work(&self, work: &Work, now: Instant) -> Option<Box<Metered>> {
        self.io.config().meter.as_ref()?;
        match work {
            Work::Send(request, _) => self.meter(request, now),
            Work::Administer(task) => Some(Metered::of_task(task.name(), now)),
            Work::Open | Work::LogIn | Work::Figures => None,
        }
    }

    /// A result that the meter is told of.
    #[cold]
    fn noted(
        &self,
        metered: Option<Box<Metered>>,
        result: Result<Reply>,
        arrived: &Option<Reply>,
    ) -> Result<Reply> {
        if let (Some(meter), Some(metered)) = (&self.io.config().meter, metered) {
            meter.note(&metered, &result, arrived.as_ref());
        }
        result
    }

    fn wait(&self, waiter: &Arc<Waiter>, arrived: &mut Option<Reply>) -> Result<Reply> {
        let (result, replies) = self.io.wait(waiter);
        *arrived = replies;
        result
    }

    /// A call as the engine takes it.
    pub(crate) fn engine_call<T>(
        &self,
        owner: T,
        work: Work,
        now: Instant,
        timeout: Duration,
    ) -> core::Call<T> {
        core::Call { owner, work, view: self.view.clone(), timeout, deadline: now + timeout }
    }
}

/// A client that may have been closed meanwhile.
#[derive(Clone)]
pub(crate) struct WeakClient {
    io: Weak<Io>,
    view: View,
    timeout: Duration,
    is_cluster: bool,
}

impl WeakClient {
    pub(crate) fn upgrade(&self) -> Option<Client> {
        let Self { io, view, timeout, is_cluster } = self;
        let (view, timeout, is_cluster) = (view.clone(), *timeout, *is_cluster);
        Some(Client { io: io.upgrade()?, view, timeout, is_cluster, user: None })
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.io.config().servers {
            Servers::One(address) => write!(f, "Client(the server {address})"),
            Servers::Cluster(seeds) => write!(f, "Client(the cluster of {})", seeds[0]),
            Servers::Sentinel { service, .. } => write!(f, "Client(the service {service})"),
        }
    }
}
