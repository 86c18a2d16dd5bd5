//! Calls as futures, for any executor: the client's own thread looks after them, and wakes the task when a call
//! has ended.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::args::{Given, ToArgs};
use super::client::{Client, SHORTEST_WAIT};
use super::from_reply::{FromReply, from_owned};
use super::pipeline::{Pipeline, no_replies};
use crate::base::defect::contain;
use crate::base::purpose::Purpose;
use crate::base::threads;
use crate::base::times::LONGEST_WAIT;
use crate::config::Options;
use crate::core::{Task, Work};
use crate::error::{Error, Result, Status};
use crate::ffi::sys::cancel::Held;
use crate::io::{AdmittedFuture, Owner, Pending};
use crate::request::command;
use crate::request::script::Script;
use crate::request::{Flags, Request, Shape};
use crate::resp::Reply;
use crate::resp::encode::Arguments;

/// A call that is made when it is first polled, and ends with its reply.
///
/// Made by [`Client::call_async`], [`Client::command_async`], [`Pipeline::exec_async`],
/// [`ScriptCall::call_async`](crate::ScriptCall::call_async) and their like. It borrows nothing, and is `Send`
/// and `Unpin`. Any executor will do, tokio, smol or `block_on`: there is no runtime behind it, but the client's
/// own thread, which runs from the first such call until the client is closed.
///
/// - **Deadline**: that of the client ([`Client::with_timeout`]), or [`CallFuture::timeout`]; counted from the
///   first poll, and kept by the library. No timer of the executor's is needed.
/// - **Dropped** before its end, the call is cancelled at once. One that was not sent never is; one that
///   was sent may be executed, and its late reply is given to nobody else. The connection goes on, with all
///   other calls on it. A command that waits, such as BLPOP, is given up on the server too. What became of the
///   call is told by [`CallFuture::cancel`].
/// - **Order**: calls that one task makes reach a server in the order of their first polls, as far as they go
///   there over one connection.
/// - It keeps the client open, as a [`Client`] does, until it has ended or is dropped. [`Client::close`] ends
///   it, with [`Status::Closed`] where nothing was sent, with [`Status::Indeterminate`] where something was.
/// - Polled again after its end it is [`Status::InvalidArgument`], and [indeterminate](Error::is_indeterminate): what
///   became of its call was told before.
/// - The task is woken on the client's thread, seldom on one that makes a call: what a waker does there should
///   be quick, as that of every executor is.
/// - In a child of fork it ends with [`Status::Forked`], and is indeterminate where its call was under way.
/// - How many there are is the program's own affair, up to [`Options::max_in_flight`] where that is set.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// # use rs_script::Script;
/// # block_on(async {
/// let multiply = Script::new("return redis.call('GET', KEYS[1]) * ARGV[1]");
/// client.command_async(("SET", "foo", 2)).await?;
/// let product: i64 = multiply.key("foo").arg(5).call_async(&client).await?;
/// assert_eq!(product, 10);
/// # Ok(())
/// # })
/// # }
/// ```
#[must_use = "a future does nothing unless it is polled"]
pub struct CallFuture<T = Reply> {
    call: Call,
    value: PhantomData<fn() -> T>,
}

/// A call on its way to its end.
struct Call {
    state: State,
    timeout: Duration,
    arrived: Option<Reply>,
    /// The server's scripts are flushed by it.
    flushes: bool,
}

enum State {
    New(Client, Work),
    UnderWay(UnderWay),
    /// It has its end, and nobody was told.
    Ended(Result<Reply>),
    Over,
}

struct UnderWay {
    client: Client,
    pending: Arc<Pending>,
    _admitted: Option<AdmittedFuture>,
}

impl<T> CallFuture<T> {
    pub(crate) fn new(client: &Client, work: Result<Work>) -> Self {
        let flushes = matches!(work, Ok(Work::Administer(Task::Flush(_))));
        let state = match work {
            Ok(work) => State::New(client.clone(), work),
            Err(error) => State::Ended(Err(error)),
        };
        let call = Call { state, timeout: client.timeout(), arrived: None, flushes };
        CallFuture { call, value: PhantomData }
    }

    /// The same call with another deadline than the client's, if it was not polled yet.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # block_on(async {
    /// use std::time::Duration;
    ///
    /// let call = client.command_async(("BLPOP", "empty", 0)).timeout(Duration::from_millis(20));
    /// assert!(call.await.unwrap_err().is_timeout());
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.call.timeout = timeout.clamp(SHORTEST_WAIT, LONGEST_WAIT);
        self
    }

    /// The same call, with its reply converted into something else; see [`FromReply`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # block_on(async {
    /// let n = client.command_async(("INCR", "n")).to::<u32>().await?;
    /// assert_eq!(n, 1);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn to<U: for<'a> FromReply<'a>>(self) -> CallFuture<U> {
        CallFuture { call: self.call, value: PhantomData }
    }

    /// Cancels it; whether it was still under way. The future has its end then: with [`Status::Cancelled`]
    /// where nothing was sent, with [`Status::Indeterminate`] where the server may have executed it or may yet
    /// do so. One that had ended before keeps that end.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # block_on(async {
    /// use rs_script::Status;
    ///
    /// let mut call = client.command_async(("INCR", "n"));
    /// call.cancel();
    /// assert_eq!(call.await.unwrap_err().status(), Status::Cancelled);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn cancel(&mut self) -> bool {
        match &mut self.call.state {
            State::New(..) => {
                self.call.leave();
                self.call.state = State::Ended(Err(Error::called_off(false)));
                true
            }
            State::UnderWay(UnderWay { client, pending, .. }) => {
                let _held = Held::new();
                pending.check_process().is_ok() && client.io().cancel_future(pending)
            }
            State::Ended(_) | State::Over => false,
        }
    }

    /// Of a pipeline that broke half-way, when the future has ended: the replies that did arrive, those of its
    /// first items; see [`Pipeline::arrived`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # block_on(async {
    /// let mut pipeline = client.pipeline();
    /// pipeline.command("PING")?;
    /// let mut call = pipeline.exec_async();
    /// (&mut call).await?;
    /// assert!(call.arrived().is_none());
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn arrived(&mut self) -> Option<Reply> {
        self.call.arrived.take()
    }
}

impl<T: for<'a> FromReply<'a>> Future for CallFuture<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        self.get_mut().call.poll(context.waker()).map(|result| result.and_then(from_owned))
    }
}

impl Call {
    fn poll(&mut self, waker: &Waker) -> Poll<Result<Reply>> {
        if let State::New(..) = self.state {
            self.begin();
        }
        let (result, arrived) = match &self.state {
            State::UnderWay(UnderWay { pending, .. }) => {
                match pending.check_process().map(|()| pending.poll(waker)) {
                    Ok(None) => return Poll::Pending,
                    Ok(Some(end)) => end,
                    Err(_) => (Err(under_way_in_the_parent()), None),
                }
            }
            _ => match std::mem::replace(&mut self.state, State::Over) {
                State::Ended(result) => (result, None),
                _ => (Err(polled_again()), None),
            },
        };
        if let State::UnderWay(UnderWay { client, .. }) = std::mem::replace(&mut self.state, State::Over) {
            if self.flushes && client.io().check_process().is_ok() {
                client.io().forget_scripts();
            }
            release(client);
        }
        self.arrived = arrived;
        Poll::Ready(result)
    }

    /// Makes the call.
    fn begin(&mut self) {
        let State::New(client, work) = std::mem::replace(&mut self.state, State::Over) else { return };
        let _held = Held::new();
        self.state = match self.submit(&client, work) {
            Ok((pending, _admitted)) => State::UnderWay(UnderWay { client, pending, _admitted }),
            Err(error) => {
                release(client);
                State::Ended(Err(error))
            }
        };
    }

    fn submit(&self, client: &Client, work: Work) -> Result<(Arc<Pending>, Option<AdmittedFuture>)> {
        let io = client.io();
        io.check_process()?;
        if io.is_closed() {
            return Err(Error::closed());
        }
        let admitted = match &work {
            Work::Send(..) => io.admit_future()?,
            // Whoever is to stop a script cannot wait until others' calls have ended.
            _ => None,
        };
        io.drive_futures()?;
        let (pending, now) = (Pending::new(), Instant::now());
        let owner = Owner::of(&pending).measured(client.meter_work(&work, now));
        // What is lost in a panic has its end by that.
        contain(|| {
            client.look_at_idle_for(&work, now);
            if self.flushes {
                io.forget_scripts();
            }
            io.submit(std::iter::once(client.engine_call(owner, work, now, self.timeout)));
        });
        Ok((pending, admitted))
    }

    /// Ends it before its time: from now on it holds nothing.
    fn leave(&mut self) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::New(client, work) => {
                if let Work::Send(request, _) = work
                    && client.io().check_process().is_ok()
                {
                    client.io().keep(request);
                }
                release(client);
            }
            State::UnderWay(UnderWay { client, pending, .. }) => {
                if pending.check_process().is_ok() {
                    let _held = Held::new();
                    // A panic that leaves the drop of another one ends the process.
                    contain(|| pending.forget());
                    contain(|| {
                        client.io().cancel_future(&pending);
                        if self.flushes {
                            client.io().forget_scripts();
                        }
                    });
                }
                release(client);
            }
            State::Ended(_) | State::Over => {}
        }
    }
}

/// Whoever polls again may have missed the end, which may have been a reply.
fn polled_again() -> Error {
    let text = "this future was polled again after its end, which has said what became of the call";
    Error::new(Status::InvalidArgument, text).sent(true)
}

fn under_way_in_the_parent() -> Error {
    let text = "this future's call was made before fork, by the parent process: it is that one's, which may have it \
                executed";
    Error::new(Status::Forked, text).sent(true)
}

/// Lets go of a client. Whoever drops a future may hold locks of an executor's that the client's thread needs to
/// wake another task: so if this was the client's last handle, its thread is not waited for.
fn release(client: Client) {
    threads::call_back(|| drop(client));
}

impl Drop for Call {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<T> fmt::Debug for CallFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.call.state {
            State::New(..) => "CallFuture(not polled yet)",
            State::UnderWay(..) => "CallFuture(under way)",
            State::Ended(_) | State::Over => "CallFuture(over)",
        })
    }
}

impl Client {
    /// The same as [`Client::open`], without waiting.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let url = server.url();
    /// # block_on(async {
    /// use rs_script::{Client, Options};
    ///
    /// let client = Client::open_async(&url, &Options::default()).await?;
    /// client.command_async("PING").await?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn open_async(url: &str, options: &Options) -> OpenFuture {
        let opened = Client::unconnected(url, options);
        let call = match &opened {
            Ok((client, true)) => Some(CallFuture::new(client, Ok(Work::Open))),
            _ => None,
        };
        OpenFuture { client: Some(opened.map(|(client, _)| client)), call }
    }

    /// The same as [`Client::call`], without waiting: a future of the reply, see [`CallFuture`]. Keys and
    /// arguments are copied now; what is wrong with them is the future's error.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # use rs_script::Script;
    /// # block_on(async {
    /// let add = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    /// let reply = client.call_async(&add, "n", 5).await?;
    /// assert_eq!(reply.as_i64(), Some(5));
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn call_async(&self, script: &Script, keys: impl ToArgs, args: impl ToArgs) -> CallFuture {
        self.script_future(script, &Given::new(keys), &Given::new(args), Flags::NONE)
    }

    /// The same as [`Client::call_read_only`], without waiting.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # use rs_script::{Kind, Script};
    /// # block_on(async {
    /// let get = Script::new("return redis.call('GET', KEYS[1])");
    /// let reply = client.call_read_only_async(&get, "nothing", ()).await?;
    /// assert_eq!(reply.kind(), Kind::Nil);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn call_read_only_async(&self, script: &Script, keys: impl ToArgs, args: impl ToArgs) -> CallFuture {
        self.script_future(script, &Given::new(keys), &Given::new(args), Flags::READ_ONLY)
    }

    pub(crate) fn script_future(
        &self,
        script: &Script,
        keys: &impl Arguments,
        args: &impl Arguments,
        flags: Flags<'_>,
    ) -> CallFuture {
        self.future(|request| {
            request.script_call(script, keys, args, flags)?;
            Ok(Purpose::Calls)
        })
    }

    /// The same as [`Client::command`], without waiting.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # block_on(async {
    /// client.command_async(("RPUSH", "list", "x")).await?;
    /// // One that waits has a connection of its own, and hinders no other call.
    /// let (list, element): (String, String) = client.command_async(("BLPOP", "list", 0)).to().await?;
    /// assert_eq!((&*list, &*element), ("list", "x"));
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn command_async(&self, arguments: impl ToArgs) -> CallFuture {
        self.future(|request| {
            Ok(request.command_given(&Given::new(arguments), Flags::NONE, command::lane)?.purpose())
        })
    }

    /// A future of one call; `fill` puts it into the request, and says what the connection is for.
    fn future(&self, fill: impl FnOnce(&mut Request) -> Result<Purpose>) -> CallFuture {
        if let Err(error) = self.io().check_process() {
            return CallFuture::new(self, Err(error));
        }
        let mut request = self.request(Shape::Single);
        let work = match fill(&mut request) {
            Ok(purpose) => Ok(Work::Send(request, purpose)),
            Err(error) => {
                self.io().keep(request);
                Err(error)
            }
        };
        CallFuture::new(self, work)
    }
}

impl Pipeline {
    /// The same as [`Pipeline::exec`], without waiting. The pipeline is empty from now on, whether or not the
    /// future is polled, and can be filled again.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # block_on(async {
    /// let mut transaction = client.transaction();
    /// transaction.command(("SET", "n", 5))?.command(("INCR", "n"))?;
    /// let (_, n): (String, u32) = transaction.exec_async().to().await?;
    /// assert_eq!(n, 6);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn exec_async(&mut self) -> CallFuture {
        let request = self.take_request();
        if request.items.is_empty() {
            let mut future = CallFuture::new(self.client(), Ok(Work::Open));
            future.call.state = State::Ended(self.client().io().check_process().map(|()| no_replies()));
            return future;
        }
        CallFuture::new(self.client(), Ok(Work::Send(request, Purpose::Calls)))
    }
}

/// A client that is being opened; see [`Client::open_async`]. Dropped before its end, it is given up.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let url = server.url();
/// # block_on(async {
/// let client = rs_script::Client::open_async(&url, &rs_script::Options::default()).await?;
/// # drop(client);
/// # Ok::<(), rs_script::Error>(())
/// # })?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct OpenFuture {
    client: Option<Result<Client>>,
    /// Absent where there is nothing to wait for.
    call: Option<CallFuture<()>>,
}

impl Future for OpenFuture {
    type Output = Result<Client>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Client>> {
        let opened = match &mut self.call {
            Some(call) => match Pin::new(call).poll(context) {
                Poll::Ready(opened) => opened,
                Poll::Pending => return Poll::Pending,
            },
            None => Ok(()),
        };
        let client = self.client.take().unwrap_or_else(|| Err(polled_again()));
        match opened {
            Ok(()) => Poll::Ready(client),
            Err(error) => {
                client.into_iter().for_each(release);
                Poll::Ready(Err(error))
            }
        }
    }
}

impl Drop for OpenFuture {
    fn drop(&mut self) {
        self.call = None;
        self.client.take().into_iter().flatten().for_each(release);
    }
}
