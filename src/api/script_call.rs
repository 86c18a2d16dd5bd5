//! A script call that is put together bit by bit, and whose reply is a value of Rust's.

use std::fmt;
use std::time::Duration;

use super::args::{List, ToArgs};
use super::client::Client;
use super::from_reply::{FromReply, from_owned};
use super::future::CallFuture;
use super::pipeline::Pipeline;
use crate::error::Result;
use crate::queue::Queue;
use crate::request::Flags;
use crate::request::script::Script;
use crate::resp::Reply;
use crate::resp::encode::Arguments;

/// A call of a script, with its keys and arguments; made by [`Script::key`], [`Script::arg`] or [`Script::prepare`].
///
/// It belongs to no client, and can be made any number of times, on any client and in pipelines.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// use rs_script::Script;
///
/// let add = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
/// let twice = add.key("n").arg(2);
/// let n: i64 = twice.call(&client)?;
/// let text: String = twice.call(&client)?;
/// assert_eq!((n, &*text), (2, "4"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "it does nothing until it is called"]
pub struct ScriptCall {
    script: Script,
    keys: List,
    args: List,
    flags: Flags<'static>,
    token: Option<Vec<u8>>,
    timeout: Option<Duration>,
}

impl Script {
    /// A call of this script without keys and arguments.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # use rs_script::Script;
    /// let count = Script::new("return #KEYS");
    /// let mut call = count.prepare();
    /// for number in 1..=3 {
    ///     call = call.key(format!("{{user}}:{number}"));
    /// }
    /// assert_eq!(call.call::<usize>(&client)?, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn prepare(&self) -> ScriptCall {
        let (keys, args) = (List::default(), List::default());
        ScriptCall { script: self.clone(), keys, args, flags: Flags::NONE, token: None, timeout: None }
    }

    /// A call of this script with this key, or these; see [`ScriptCall::key`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # use rs_script::Script;
    /// let add = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    /// let n: i64 = add.key("n").arg(5).call(&client)?;
    /// assert_eq!(n, 5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn key(&self, key: impl ToArgs) -> ScriptCall {
        self.prepare().key(key)
    }

    /// A call of this script with this argument, or these, and no key as yet; see [`ScriptCall::arg`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # use rs_script::Script;
    /// let sum: f64 = Script::new("return tostring(ARGV[1] + ARGV[2])").arg((1, 0.5)).call(&client)?;
    /// assert_eq!(sum, 1.5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn arg(&self, arg: impl ToArgs) -> ScriptCall {
        self.prepare().arg(arg)
    }

    /// Calls this script without keys and arguments; see [`ScriptCall::call`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # use rs_script::Script;
    /// let keys: u64 = Script::new("return redis.call('DBSIZE')").call(&client)?;
    /// assert_eq!(keys, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn call<T: for<'a> FromReply<'a>>(&self, client: &Client) -> Result<T> {
        client.call(self, (), ()).and_then(from_owned)
    }

    /// The same without waiting; see [`ScriptCall::call_async`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # use rs_script::Script;
    /// # block_on(async {
    /// let keys: u64 = Script::new("return redis.call('DBSIZE')").call_async(&client).await?;
    /// # assert_eq!(keys, 0);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn call_async<T: for<'a> FromReply<'a>>(&self, client: &Client) -> CallFuture<T> {
        client.call_async(self, (), ()).to()
    }
}

impl ScriptCall {
    /// Appends a key (`KEYS` in Lua), or several: whatever [`ToArgs`] gives. In a cluster the keys decide where
    /// the script runs.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # use rs_script::Script;
    /// let keys: Vec<String> = Script::new("return KEYS").key("a").key(["b", "c"]).call(&client)?;
    /// assert_eq!(keys, ["a", "b", "c"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn key(mut self, key: impl ToArgs) -> Self {
        self.keys.push(key);
        self
    }

    /// Appends an argument (`ARGV` in Lua), or several: whatever [`ToArgs`] gives.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # use rs_script::Script;
    /// let args: Vec<String> = Script::new("return ARGV").arg(1).arg(("two", 2.5)).call(&client)?;
    /// assert_eq!(args, ["1", "two", "2.5"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn arg(mut self, arg: impl ToArgs) -> Self {
        self.args.push(arg);
        self
    }

    /// Makes it read-only; see [`Client::call_read_only`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # use rs_script::Script;
    /// let get = Script::new("return redis.call('GET', KEYS[1])");
    /// let value: Option<String> = get.key("nothing").read_only().call(&client)?;
    /// assert_eq!(value, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_only(mut self) -> Self {
        self.flags.read_only = true;
        self
    }

    /// Says that it may safely run twice: it is sent again when a connection is lost and nobody can say whether the
    /// server had executed it. [`Script::idempotent`] says so of all calls of a script.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # use rs_script::Script;
    /// let put = Script::new("return redis.call(ARGV[1], KEYS[1], ARGV[2])");
    /// let done: String = put.key("k").arg(("SET", 5)).idempotent().call(&client)?;
    /// let length: u64 = put.key("l").arg(("RPUSH", 5)).call(&client)?;
    /// assert_eq!((&*done, length), ("OK", 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn idempotent(mut self) -> Self {
        self.flags.idempotent = true;
        self
    }

    /// Gives it a token of the caller's own, 1 to 256 bytes: a job's id, a request's. Whoever makes the same call
    /// with the same token, in whichever process, gets what the first one was answered; see [`Script::once`]. Without
    /// one the library makes a new one for each call.
    ///
    /// The call ends with [`Status::InvalidArgument`](crate::Status::InvalidArgument) where the script is no such
    /// script, or the call is read-only, and with [`Status::TokenMismatch`](crate::Status::TokenMismatch) where the
    /// token is another call's.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # use rs_script::{Once, Script};
    /// let add = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])").once(&Once::default())?;
    /// for _ in 0..3 {
    ///     let n: i64 = add.key("n").arg(5).token("job 17").call(&client)?;
    ///     assert_eq!(n, 5);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn token(mut self, token: impl Into<Vec<u8>>) -> Self {
        self.token = Some(token.into());
        self
    }

    fn flags(&self) -> Flags<'_> {
        Flags { token: self.token.as_deref(), ..self.flags }
    }

    /// Gives it a deadline of its own, instead of the client's; see [`Client::with_timeout`]. In a pipeline it
    /// has none: a pipeline has one for all.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # use rs_script::Script;
    /// use std::time::Duration;
    ///
    /// let slow = Script::new("while true do end");
    /// let error = slow.prepare().timeout(Duration::from_millis(50)).call::<()>(&client).unwrap_err();
    /// assert!(error.is_timeout() && error.is_indeterminate());
    /// client.script_kill()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Calls the script, and converts the reply into what is asked for; as a [`Reply`](crate::Reply) it is given
    /// as it came.
    ///
    /// # Errors
    ///
    /// Those of [`Client::call`]. A reply that cannot be converted is
    /// [`Status::Conversion`](crate::Status::Conversion): the script has run.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # use rs_script::Script;
    /// let bounds = Script::new("
    ///     return {redis.call('ZCARD', KEYS[1]), redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')}
    /// ");
    /// client.command(("ZADD", "scores", 1, "Ada", 2.5, "Grace"))?;
    /// let (count, best): (usize, Vec<(String, f64)>) = bounds.key("scores").call(&client)?;
    /// assert_eq!((count, best), (2, vec![("Grace".into(), 2.5)]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn call<T: for<'a> FromReply<'a>>(&self, client: &Client) -> Result<T> {
        let reply = match self.timeout {
            None => self.call_on(client),
            Some(timeout) => self.call_on(&client.with_timeout(timeout)),
        };
        reply.and_then(from_owned)
    }

    fn call_on(&self, client: &Client) -> Result<Reply> {
        client.call_script(&self.script, &self.keys, &self.args, self.flags())
    }

    /// The same without waiting: a future of the value. It is sent when the future is first polled; see
    /// [`CallFuture`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # use rs_script::Script;
    /// # block_on(async {
    /// let add = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    /// let n: i64 = add.key("n").arg(5).call_async(&client).await?;
    /// # assert_eq!(n, 5);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn call_async<T: for<'a> FromReply<'a>>(&self, client: &Client) -> CallFuture<T> {
        let future = client.script_future(&self.script, &self.keys, &self.args, self.flags());
        match self.timeout {
            None => future.to(),
            Some(timeout) => future.timeout(timeout).to(),
        }
    }

    /// The same, to be completed in a queue; see [`Client::submit`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # use rs_script::{Queue, Script};
    /// use std::time::Duration;
    ///
    /// let queue = Queue::new(10)?;
    /// Script::new("return ARGV[1]").arg(5).submit(&client, &queue, 1)?;
    /// let mut done = Vec::new();
    /// while done.is_empty() {
    ///     queue.poll(&mut done, 10, Duration::from_secs(1));
    /// }
    /// assert_eq!(done.remove(0).result?.to::<u8>()?, 5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit(&self, client: &Client, queue: &Queue, tag: u64) -> Result<()> {
        let (keys, args, flags) = (&self.keys, &self.args, self.flags());
        match self.timeout {
            None => client.submit_script(queue, tag, &self.script, keys, args, flags),
            Some(timeout) => {
                client.with_timeout(timeout).submit_script(queue, tag, &self.script, keys, args, flags)
            }
        }
    }
}

impl Pipeline {
    /// Appends a script call that has been put together.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # use rs_script::Script;
    /// let add = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    /// let mut pipeline = client.pipeline();
    /// pipeline.add(&add.key("n").arg(5))?.add(&add.key("n").arg(6))?;
    /// assert_eq!(pipeline.exec()?.to::<(i64, i64)>()?, (5, 11));
    /// # Ok(())
    /// # }
    /// ```
    pub fn add(&mut self, call: &ScriptCall) -> Result<&mut Self> {
        self.script_of(&call.script, &call.keys, &call.args, call.flags())
    }
}

impl fmt::Debug for ScriptCall {
    /// Without keys and arguments, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (keys, args) = (self.keys.count(), self.args.count());
        write!(f, "ScriptCall({} with {keys} keys and {args} arguments)", self.script.sha_hex())
    }
}
