//! A pipeline or transaction: filled without I/O, executed in one write.

use super::args::{Given, ToArgs};
use super::client::Client;
use crate::error::{Error, Result, Status};
use crate::request::command::{self, Lane};
use crate::request::script::Script;
use crate::request::slots::NO_SLOT;
use crate::request::{Flags, Request, Shape, Unshared};
use crate::resp::encode::Arguments;
use crate::resp::{Payload, Reply};

/// Commands and script calls to be sent together and answered in order. Made by [`Client::pipeline`] and
/// [`Client::transaction`].
///
/// Filling it does no I/O and copies each argument once, into wire form. [`Pipeline::exec`] sends everything in one
/// write, whatever scripts the server lacks, and empties the pipeline whatever comes of it, so that nothing runs
/// twice by oversight; then it can be filled again.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// use rs_script::Script;
///
/// let add = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
/// let mut pipeline = client.pipeline();
/// for number in 1..=100 {
///     pipeline.script(&add, "sum", number)?;
/// }
/// let sums: Vec<u64> = pipeline.exec()?.to()?;
/// assert_eq!(sums.last(), Some(&5050));
/// # Ok(())
/// # }
/// ```
pub struct Pipeline {
    client: Client,
    request: Box<Request>,
    shape: Shape,
    repair: bool,
    trust_cache: bool,
    arrived: Option<Reply>,
}

impl Client {
    /// A pipeline: an item that fails does not stop the others. Other callers' calls may run in between.
    ///
    /// [Pipelining](https://redis.io/docs/latest/develop/using-commands/pipelining/)
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let mut pipeline = client.pipeline();
    /// pipeline.command(("SET", "n", 5))?.command(("INCR", "n"))?;
    /// assert_eq!(pipeline.exec()?.to::<(String, u32)>()?, ("OK".into(), 6));
    /// # Ok(())
    /// # }
    /// ```
    pub fn pipeline(&self) -> Pipeline {
        Pipeline::new(self, Shape::Pipeline)
    }

    /// A transaction: everything runs without anything in between (MULTI and EXEC), or nothing does.
    ///
    /// An item that fails while it runs does not undo the others: Redis has no rollback.
    ///
    /// [Transactions](https://redis.io/docs/latest/develop/using-commands/transactions/)
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let mut transaction = client.transaction();
    /// transaction.command(("INCR", "a"))?.command(("INCR", "b"))?;
    /// assert_eq!(transaction.exec()?.to::<[u32; 2]>()?, [1, 1]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn transaction(&self) -> Pipeline {
        Pipeline::new(self, Shape::Transaction)
    }
}

impl Pipeline {
    fn new(client: &Client, shape: Shape) -> Pipeline {
        let request = empty(client, shape);
        Pipeline { client: client.clone(), request, shape, repair: false, trust_cache: false, arrived: None }
    }

    /// Script calls that meet NOSCRIPT, because someone flushed the scripts at the wrong moment, are sent again after
    /// all other items even where that changes the order of what is done to a key. Without this they are sent again
    /// only if no item behind them that was executed has a key in common with them (what names no keys is taken to
    /// touch any, unless it is known to touch none, as PING), and stay errors otherwise, marked as not executed. For
    /// pipelines that are no transactions.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let mut pipeline = client.pipeline();
    /// pipeline.repair_unordered(true);
    /// pipeline.command("PING")?.exec()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn repair_unordered(&mut self, repair: bool) -> &mut Self {
        self.repair = repair;
        self
    }

    /// A transaction does not load scripts again that the server is known to have. That saves their bytes, and leaves
    /// a gap: a flush by someone else lets such a script fail with NOSCRIPT while the others run.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let mut pipeline = client.pipeline();
    /// pipeline.trust_cache(true);
    /// pipeline.command("PING")?.exec()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn trust_cache(&mut self, trust: bool) -> &mut Self {
        self.trust_cache = trust;
        self
    }

    /// Appends a command.
    ///
    /// [`Status::CommandRefused`] for commands that would change the shared connection, and for commands that wait:
    /// in a pipeline these would keep everything behind them waiting.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let mut pipeline = client.pipeline();
    /// pipeline.command(("SET", "n", 5))?.command(&["GET", "n"])?;
    /// let error = pipeline.command(("BLPOP", "list", 0)).map(drop).unwrap_err();
    /// assert_eq!(error.status(), rs_script::Status::CommandRefused);
    /// assert_eq!(pipeline.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn command(&mut self, arguments: impl ToArgs) -> Result<&mut Self> {
        let shape = self.shape;
        let given = Given::new(arguments);
        self.request
            .appending(|request| request.command_given(&given, Flags::NONE, |words| check(words, shape)))?;
        Ok(self)
    }

    pub(crate) fn command_of(&mut self, arguments: &[&[u8]], flags: Flags<'_>) -> Result<&mut Self> {
        check(arguments, self.shape)?;
        self.request.command(arguments, flags)?;
        Ok(self)
    }

    /// Appends a script call. The script need not be loaded.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::Script;
    ///
    /// let add = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    /// let mut pipeline = client.pipeline();
    /// pipeline.script(&add, "n", 5)?.script(&add, ["n"], (6,))?;
    /// assert_eq!(pipeline.exec()?.to::<(i64, i64)>()?, (5, 11));
    /// # Ok(())
    /// # }
    /// ```
    pub fn script(&mut self, script: &Script, keys: impl ToArgs, args: impl ToArgs) -> Result<&mut Self> {
        self.script_given(script, keys, args, Flags::NONE)
    }

    /// Appends a read-only script call; see [`Client::call_read_only`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::Script;
    ///
    /// let get = Script::new("return redis.call('GET', KEYS[1])");
    /// let mut pipeline = client.pipeline();
    /// pipeline.script_read_only(&get, "nothing", ())?;
    /// assert_eq!(pipeline.exec()?.to::<[Option<String>; 1]>()?, [None]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn script_read_only(
        &mut self,
        script: &Script,
        keys: impl ToArgs,
        args: impl ToArgs,
    ) -> Result<&mut Self> {
        self.script_given(script, keys, args, Flags::READ_ONLY)
    }

    fn script_given(
        &mut self,
        script: &Script,
        keys: impl ToArgs,
        args: impl ToArgs,
        flags: Flags<'_>,
    ) -> Result<&mut Self> {
        let (keys, args) = (Given::new(keys), Given::new(args));
        self.request.appending(|request| request.script_call(script, &keys, &args, flags))?;
        Ok(self)
    }

    #[inline(always)]
    pub(crate) fn script_of(
        &mut self,
        script: &Script,
        keys: &(impl Arguments + ?Sized),
        args: &(impl Arguments + ?Sized),
        flags: Flags<'_>,
    ) -> Result<&mut Self> {
        self.request.script_call(script, keys, args, flags)?;
        Ok(self)
    }

    /// Gives the items so far tokens that come from this one, by their numbers: a job's id, for a job that is a
    /// pipeline or transaction. Whoever executes the same once more with the same token gets the same replies, and
    /// nothing happens. Items with a token of their own keep that.
    ///
    /// [`Status::InvalidArgument`], and then nothing has changed, for a token that is none, and where an item would
    /// happen again: each has to be read-only, idempotent, or a call of a script that runs [once](Script::once) per
    /// token, and one of those there has to be.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::{Once, Script};
    ///
    /// let add = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])").once(&Once::default())?;
    /// for _ in 0..2 {
    ///     let mut transfer = client.transaction();
    ///     transfer.script(&add, "{bank}ada", -30)?.script(&add, "{bank}grace", 30)?.token("transfer 17")?;
    ///     assert_eq!(transfer.exec()?.to::<(i64, i64)>()?, (-30, 30));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn token(&mut self, token: impl AsRef<[u8]>) -> Result<&mut Self> {
        self.request.share_token(token.as_ref())?;
        Ok(self)
    }

    /// The same where all of it may be executed twice if `idempotent`; without a token nothing.
    pub(crate) fn token_of(&mut self, token: Option<&[u8]>, idempotent: bool) -> Result<Option<Unshared>> {
        let Some(token) = token else { return Ok(None) };
        if idempotent {
            self.request.set_idempotent(true);
        }
        let shared = self.request.share_token(token);
        if idempotent {
            self.request.set_idempotent(false);
        }
        shared.map(Some)
    }

    /// Takes that token back.
    pub(crate) fn take_token_back(&mut self, before: Option<Unshared>) {
        if let Some(before) = before {
            self.request.unshare_token(before);
        }
    }

    /// The number of items.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let mut pipeline = client.pipeline();
    /// assert_eq!(pipeline.command("PING")?.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn len(&self) -> usize {
        self.request.items.len()
    }

    /// Whether there are no items.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// assert!(client.pipeline().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_empty(&self) -> bool {
        self.request.items.is_empty()
    }

    /// Takes all items out.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let mut pipeline = client.pipeline();
    /// pipeline.command(("DEL", "everything"))?.clear();
    /// assert!(pipeline.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn clear(&mut self) {
        self.request = empty(&self.client, self.shape);
    }

    /// Sends the items and waits for their replies: an array with one element an item, in order. An item's error is
    /// its element; see [`ReplyRef::as_error`](crate::ReplyRef::as_error). The pipeline is empty afterwards, also
    /// when this fails.
    ///
    /// Beyond what a server provably did not run, nothing is sent a second time once bytes of it were sent, unless
    /// every item is a script call that is read-only, idempotent or once per token. When the connection is lost
    /// half-way the error is [`Status::Indeterminate`], and [`Pipeline::arrived`] has the replies up to there;
    /// likewise [`Status::ReplyLimit`]. A transaction that the server refuses as a whole is
    /// [`Status::TransactionAborted`] or [`Status::Compile`], and nothing of it ran.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let mut pipeline = client.pipeline();
    /// pipeline.command(("SET", "text", "x"))?.command(("INCR", "text"))?.command(("GET", "text"))?;
    /// let replies = pipeline.exec()?;
    /// for reply in replies.root().elements() {
    ///     match reply.as_error() {
    ///         Some(error) => println!("failed: {error}"),
    ///         None => println!("{reply:?}"),
    ///     }
    /// }
    /// // Or into values, each by itself:
    /// let (_, failed, text): (String, rs_script::Result<i64>, String) = replies.to()?;
    /// assert!(failed.is_err() && text == "x");
    /// # Ok(())
    /// # }
    /// ```
    pub fn exec(&mut self) -> Result<Reply> {
        self.exec_by(None, false)
    }

    /// The same, by another handle of its client's. `idempotent`: all of it may be executed twice.
    pub(crate) fn exec_by(&mut self, client: Option<&Client>, idempotent: bool) -> Result<Reply> {
        let mut request = self.take_request();
        self.client.io().check_process()?;
        if request.items.is_empty() {
            return Ok(no_replies());
        }
        if idempotent {
            request.set_idempotent(true);
        }
        client.unwrap_or(&self.client).run_collecting(request, &mut self.arrived)
    }

    /// What was filled in, ready to be sent; the pipeline is empty then.
    pub(crate) fn take_request(&mut self) -> Box<Request> {
        self.arrived = None;
        let empty = empty(&self.client, self.shape);
        let mut request = std::mem::replace(&mut self.request, empty);
        request.repair = self.repair;
        request.trust_cache = self.trust_cache;
        request.settle_tokens();
        request
    }

    /// Whether an item has said which slot a transaction goes to.
    pub(crate) fn has_slot(&self) -> bool {
        self.request.slot != NO_SLOT
    }

    /// The other way round. `had_slot`: whether there was one when the request was taken.
    pub(crate) fn put_back(&mut self, request: Box<Request>, had_slot: bool) {
        self.request = request;
        if self.shape == Shape::Transaction && !had_slot {
            self.request.unsettle_tokens();
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The replies that did arrive of the last [`Pipeline::exec`], if it broke half-way: those of its first items.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let mut pipeline = client.pipeline();
    /// pipeline.command("PING")?;
    /// if let Err(error) = pipeline.exec() {
    ///     let arrived = pipeline.arrived().map_or(0, |replies| replies.root().len());
    ///     println!("{error}; {arrived} replies came before");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn arrived(&mut self) -> Option<Reply> {
        self.arrived.take()
    }
}

/// Whether a command may be an item.
fn check(words: &[&[u8]], shape: Shape) -> Result<()> {
    // Inside MULTI the server itself lets no command wait.
    if command::lane(words)? == Lane::Own && shape == Shape::Pipeline {
        let reason = "a command that waits is refused in a pipeline: it would keep all behind it waiting; send it \
                      alone";
        return Err(Error::new(Status::CommandRefused, reason));
    }
    Ok(())
}

/// The replies to a pipeline without items.
pub(crate) fn no_replies() -> Reply {
    let mut payload = Box::<Payload>::default();
    payload.start_array();
    payload.end_array(0);
    Reply::new(payload)
}

/// A request without items; in a child of fork one that its parent's client has no part in.
fn empty(client: &Client, shape: Shape) -> Box<Request> {
    if client.io().check_process().is_ok() {
        return client.request(shape);
    }
    let mut request = Box::<Request>::default();
    request.reset(shape);
    request
}
