//! What can go wrong, and what a caller may conclude from it.

use std::fmt;
use std::sync::Arc;

/// The cause of an [`Error`], with the number that the C API gives it.
///
/// The numbers are fixed for good and lie in ranges by cause: 100s the caller's own mistake, 200s no connection,
/// 300s the outcome is unknown, 400s the server's answer, 500s this library.
///
/// ```
/// use rs_script::{Client, Options, Status};
///
/// let error = Client::open("http://example.com", &Options::default()).unwrap_err();
/// assert_eq!(error.status(), Status::InvalidUrl);
/// assert_eq!(error.status().code(), 101);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum Status {
    /// An argument is NULL, out of range or of the wrong length. Nothing was sent.
    InvalidArgument = 100,
    /// The URL cannot be used. Nothing was sent.
    InvalidUrl = 101,
    /// An option, or a combination of options, cannot be used. Nothing was sent.
    InvalidOption = 102,
    /// The command would break the shared connection. Nothing was sent.
    CommandRefused = 103,
    /// The keys lie in more than one hash slot. Nothing was sent.
    CrossSlot = 104,
    /// A read-only call of a script whose shebang lacks the flag `no-writes`. Nothing was sent.
    NotReadOnly = 105,
    /// The client or queue belongs to the parent of this process. Nothing was sent.
    Forked = 106,
    /// The client or the queue is closed. Nothing of the call was sent; where something was, it ends with
    /// [`Status::Indeterminate`].
    Closed = 107,
    /// The command's keys are not known, or it concerns one server of several: name a route. Nothing was sent.
    NoRoute = 108,
    /// The queue holds as many calls as it may, or as many blocking calls are in flight as may be. Nothing was sent.
    QueueFull = 109,
    /// No connection: no such host, refused, unreachable, lost in the handshake. Nothing was executed.
    Connect = 200,
    /// The TLS handshake failed: certificate, host name, protocol. Nothing was executed.
    Tls = 201,
    /// The server did not accept user or password, or the database number. Nothing was executed.
    Auth = 202,
    /// The deadline passed before a byte of the call was sent. Nothing was executed.
    Timeout = 203,
    /// The caller has called it off before a byte of it was sent. Nothing was executed.
    Cancelled = 204,
    /// Bytes were sent and no reply came: the server may have executed the call, or may yet do so.
    Indeterminate = 300,
    /// The reply went over a limit; the connection was closed. The server has executed the call or may yet do so.
    ReplyLimit = 301,
    /// The call was executed, but up to the deadline too few replicas had it: it is lost if the primary dies now. See
    /// [`Once::wait`](crate::Once::wait).
    NotReplicated = 302,
    /// The server or the script answered with an error.
    Server = 400,
    /// The server lacks the script, and it could not be sent along: in a pipeline it would come out of order, or the
    /// user may neither load scripts nor evaluate them. This call was not executed.
    NoScript = 401,
    /// The script or the library does not compile on that server, or a library does not load there for another fault
    /// of its own. It was not executed.
    Compile = 402,
    /// The server is still loading its data, for longer than the deadline. The call was not executed.
    Loading = 403,
    /// The server runs another script. The call was not executed.
    Busy = 404,
    /// The transaction was refused or aborted as a whole. Nothing in it was executed.
    TransactionAborted = 405,
    /// The server lacks what was asked for, for example SCRIPT SHOW before Valkey 8.
    NotSupported = 406,
    /// Up to the deadline no server of the cluster ran the call: slots without a server, slots on the move, no
    /// primary. It was not executed.
    NotServed = 407,
    /// The reply is not what it was to be converted into, see [`FromReply`](crate::FromReply). The server has
    /// executed the call, as far as the reply says nothing else. The C API never gives it.
    Conversion = 408,
    /// The server lacks the function, and its library did not bring it there: the library does not register it, this
    /// user may not load it, the server has no memory for it, or in a pipeline it would come out of order. This call
    /// was not executed.
    NoFunction = 409,
    /// Another script, or other keys or arguments, were called with the token before. This call was not executed; see
    /// [`Script::once`](crate::Script::once).
    TokenMismatch = 410,
    /// The call was executed, by an attempt before this one or by an earlier call with its token, and its reply was
    /// too long to be kept; see [`Once::reply_limit`](crate::Once::reply_limit).
    ReplyNotKept = 411,
    /// A defect of this library. Please report it; the handle refuses further work where its state is in doubt.
    Internal = 500,
    /// There is no memory for the call, of which nothing was sent then, or for its reply: then the server may have
    /// executed it. [`Error::is_not_executed`] tells. Where a reply was being received, or a call was half written, the
    /// connection was closed; other calls on it end with [`Status::Indeterminate`], or with this one if nothing of them
    /// was sent.
    NoMemory = 501,
    /// The system has no descriptors or threads left for a queue, or for the client's thread that submitted calls
    /// need. Nothing was sent.
    Resources = 502,
}

impl Status {
    /// The number that the C API returns.
    ///
    /// ```
    /// assert_eq!(rs_script::Status::Indeterminate.code(), 300);
    /// ```
    pub fn code(self) -> i32 {
        self as i32
    }

    /// Whether it stands for the answer of a server.
    pub(crate) fn is_answer(self) -> bool {
        self.code() / 100 == 4 && self != Status::Conversion
    }

    /// What ends a call with this status, where nothing else is said.
    pub(crate) fn usual_reason(self) -> Reason {
        match self {
            Status::InvalidArgument
            | Status::InvalidUrl
            | Status::InvalidOption
            | Status::CommandRefused
            | Status::CrossSlot
            | Status::NotReadOnly
            | Status::Forked
            | Status::NoRoute => Reason::Argument,
            Status::QueueFull | Status::ReplyLimit => Reason::Limit,
            Status::Closed => Reason::Closed,
            Status::Connect | Status::Tls => Reason::Connect,
            Status::Timeout => Reason::Deadline,
            Status::Cancelled => Reason::Cancelled,
            Status::Indeterminate => Reason::ConnectionLost,
            Status::Auth
            | Status::Server
            | Status::NoScript
            | Status::NoFunction
            | Status::Compile
            | Status::Loading
            | Status::Busy
            | Status::TransactionAborted
            | Status::NotSupported
            | Status::NotServed
            | Status::TokenMismatch
            | Status::ReplyNotKept
            | Status::NotReplicated => Reason::Server,
            Status::Conversion => Reason::Conversion,
            Status::Internal => Reason::Internal,
            Status::NoMemory | Status::Resources => Reason::Resources,
        }
    }
}

/// What ended a call, whatever is known of its execution: a [`Status`] says what may be concluded, this says why it
/// came to that. The numbers are fixed.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// use rs_script::{Reason, Status};
/// use std::time::Duration;
///
/// let hasty = client.with_timeout(Duration::from_millis(20));
/// let error = hasty.command(("BLPOP", "nothing", 0)).unwrap_err();
/// assert_eq!(error.reason(), Reason::Deadline);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum Reason {
    /// The time was over: the call's deadline, or with [`Status::Connect`] that of the attempt to connect.
    Deadline = 1,
    /// The connection was lost with the call on it.
    ConnectionLost = 2,
    /// Its caller has called it off.
    Cancelled = 3,
    /// The server sent what is no reply.
    Protocol = 4,
    /// The client was closed.
    Closed = 5,
    /// The server said so: it refused the call, or ran it and answered with an error. With [`Status::Loading`] and
    /// [`Status::NotServed`]: up to the deadline.
    Server = 6,
    /// There was no connection: no such host, refused, unreachable, no TLS.
    Connect = 7,
    /// A limit of the options or of a queue.
    Limit = 8,
    /// The call itself, as it was made: nothing was sent.
    Argument = 9,
    /// A defect of this library.
    Internal = 10,
    /// This side has no memory, descriptors or threads left.
    Resources = 11,
    /// The reply came, and is not what it was to be converted into. The C API never gives it.
    Conversion = 12,
}

impl Reason {
    /// The number that the C API gives.
    ///
    /// ```
    /// assert_eq!(rs_script::Reason::Deadline.code(), 1);
    /// ```
    pub fn code(self) -> i32 {
        self as i32
    }
}

/// Why a call has no reply, in words, with what is known about its execution.
///
/// Boxed, so that the success path carries one pointer.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// use rs_script::{Client, Script, Status};
///
/// fn spend(client: &Client, account: &str, amount: u32) -> Result<(), Box<dyn std::error::Error>> {
///     let spend = Script::new("return redis.call('DECRBY', KEYS[1], ARGV[1])");
///     match spend.key(account).arg(amount).call::<i64>(client) {
///         Ok(_) => Ok(()),
///         // Nothing has happened and nothing will: it may be tried again.
///         Err(error) if error.is_not_executed() => Err(format!("later, please: {error}").into()),
///         // The amount may be gone: look before it is tried again.
///         Err(error) if error.is_indeterminate() => Err(format!("unknown: {error}").into()),
///         // The script's own error.
///         Err(error) => Err(error.into()),
///     }
/// }
/// client.command(("SET", "account", "not a number"))?;
/// assert!(spend(&client, "account", 5).unwrap_err().is::<rs_script::Error>());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Detail>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Detail {
    status: Status,
    message: String,
    /// The error reply as it came, without the leading `-`, up to [`TEXT_MAX`].
    server_text: Option<Vec<u8>>,
    indeterminate: bool,
    not_executed: bool,
    reason: Reason,
    /// Of a pipeline: the item that it is about.
    index: Option<usize>,
    /// The server that it is about.
    node: Option<Arc<str>>,
    /// Of a conversion: what is the matter, and where in the reply; the message has both.
    conversion: Option<Conversion>,
    source: Option<Source>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Conversion {
    what: String,
    place: String,
}

/// The error behind an error.
#[derive(Clone, Debug)]
struct Source(Arc<dyn std::error::Error + Send + Sync>);

impl PartialEq for Source {
    /// What there is to compare is in the message.
    fn eq(&self, _: &Source) -> bool {
        true
    }
}

impl Eq for Source {}

impl Error {
    /// An error of this side; nothing was executed for the 100s and 200s, unknown for the 300s. Its reason is the
    /// usual one of the status; [`Status::Indeterminate`] has none: see [`Error::indeterminate`].
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        debug_assert!(status != Status::Indeterminate, "give the reason: Error::indeterminate");
        Error::because(status, status.usual_reason(), message)
    }

    /// The same for another reason than the status's usual one.
    pub(crate) fn because(status: Status, reason: Reason, message: impl Into<String>) -> Self {
        let range = status.code() / 100;
        Error(Box::new(Detail {
            status,
            message: message.into(),
            server_text: None,
            indeterminate: range == 3,
            not_executed: range == 1 || range == 2,
            reason,
            index: None,
            node: None,
            conversion: None,
            source: None,
        }))
    }

    /// For a call that was sent and whose reply cannot be held.
    pub(crate) fn no_memory() -> Self {
        let text = "there is no memory for the reply; the call was sent, so the server may have executed it";
        Error::new(Status::NoMemory, text).sent(true)
    }

    /// For a call that cannot be held to be sent.
    #[cold]
    pub(crate) fn no_memory_to_send() -> Self {
        Error::new(Status::NoMemory, "there is no memory for the call; nothing was sent").sent(false)
    }

    /// A call that the server may have executed, or may yet execute.
    pub(crate) fn indeterminate(reason: Reason, message: impl Into<String>) -> Self {
        Error::because(Status::Indeterminate, reason, message)
    }

    pub(crate) fn closed() -> Self {
        Error::new(Status::Closed, "the client is closed")
    }

    /// For a call that has met a panic of this library: nobody knows how far it came.
    pub(crate) fn defect() -> Self {
        Error::new(Status::Internal, "a defect of rs_script: it panicked; please report it").sent(true)
    }

    /// For a call that its caller has called off.
    pub(crate) fn called_off(sent: bool) -> Self {
        if sent {
            let text = "the call was called off after it was sent, so the server may have executed it or may yet do so";
            Error::indeterminate(Reason::Cancelled, text)
        } else {
            Error::new(Status::Cancelled, "the call was called off before anything was sent")
        }
    }

    /// An error reply of the server. `not_executed`: the text proves that the call did not run.
    pub(crate) fn server(status: Status, text: &[u8], not_executed: bool) -> Self {
        let text = kept(text);
        Error(Box::new(Detail {
            status,
            message: String::from_utf8_lossy(text).into_owned(),
            server_text: Some(text.to_vec()),
            indeterminate: status == Status::Indeterminate,
            not_executed,
            reason: Reason::Server,
            index: None,
            node: None,
            conversion: None,
            source: None,
        }))
    }

    /// The same error of a server at this address, unless it is known to be another's.
    pub(crate) fn on(mut self, node: &Arc<str>) -> Self {
        self.set_node(node);
        self
    }

    pub(crate) fn set_node(&mut self, node: &Arc<str>) {
        self.0.node.get_or_insert_with(|| Arc::clone(node));
    }

    /// The same error about one item of a pipeline.
    pub(crate) fn of_item(mut self, index: usize) -> Self {
        self.0.index = Some(index);
        self
    }

    /// The same error where it is certain that the call was not executed.
    pub(crate) fn certainly_not_executed(mut self) -> Self {
        self.0.not_executed = true;
        self
    }

    /// The same error with `context` in front of its message.
    pub(crate) fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// The same error for a call of which bytes were `sent`, or not.
    pub(crate) fn sent(mut self, sent: bool) -> Self {
        self.0.indeterminate = sent;
        self.0.not_executed = !sent;
        self
    }

    /// An error for a [`FromReply`](crate::FromReply) of the program's own: the reply is not what was `expected`, but
    /// what was `got`. Of a reply name the [kind](crate::Kind) and not the value, which may be a secret.
    ///
    /// ```
    /// use rs_script::{Error, Kind, Status};
    ///
    /// let error = Error::conversion("a colour", Kind::Integer).at("element 3");
    /// assert_eq!(error.to_string(), "expected a colour, got an integer, at element 3");
    /// assert_eq!(error.status(), Status::Conversion);
    /// assert!(!error.is_not_executed() && !error.is_indeterminate());
    /// ```
    pub fn conversion(expected: impl fmt::Display, got: impl fmt::Display) -> Self {
        let what = format!("expected {expected}, got {got}");
        let mut error = Error::new(Status::Conversion, what.clone());
        error.0.conversion = Some(Conversion { what, place: String::new() });
        error
    }

    /// The same error of a conversion for something inside the reply, such as `element 3`; further in than what is
    /// said of it already. Any other error as it is.
    ///
    /// ```
    /// # use rs_script::{Error, Kind};
    /// let error = Error::conversion("u8", Kind::Nil).at("field age").at("element 3");
    /// assert_eq!(error.message(), "expected u8, got nil, at element 3, field age");
    /// ```
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        let Detail { conversion, message, .. } = &mut *self.0;
        if let Some(Conversion { what, place: before }) = conversion {
            *before = if before.is_empty() { place.to_string() } else { format!("{place}, {before}") };
            *message = format!("{what}, at {before}");
        }
        self
    }

    /// The same error with another one behind it; see [`source`](std::error::Error::source).
    ///
    /// ```
    /// # use rs_script::{Error, Kind};
    /// use std::error::Error as _;
    ///
    /// let cause = "x".parse::<u8>().unwrap_err();
    /// let error = Error::conversion("a port", "a string that is no number").with_source(cause);
    /// assert!(error.source().is_some_and(|source| source.is::<std::num::ParseIntError>()));
    /// ```
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(Source(Arc::from(source.into())));
        self
    }

    /// The cause.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let error = client.command("NONSENSE").unwrap_err();
    /// assert_eq!(error.status(), rs_script::Status::Server);
    /// # Ok(())
    /// # }
    /// ```
    pub fn status(&self) -> Status {
        self.0.status
    }

    /// What happened, in words. Never holds a password or the text of a script.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let error = client.command(("SELECT", 1)).unwrap_err();
    /// assert!(error.message().starts_with("SELECT is refused: "));
    /// assert_eq!(error.to_string(), error.message());
    /// # Ok(())
    /// # }
    /// ```
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The server's error text as it came, without the leading `-`, cut off after 64 KiB; `None` when the server did
    /// not answer.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let fail = rs_script::Script::new("return redis.error_reply('STOCK empty')");
    /// let error = fail.call::<()>(&client).unwrap_err();
    /// assert_eq!(error.server_text(), Some(&b"STOCK empty"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn server_text(&self) -> Option<&[u8]> {
        self.0.server_text.as_deref()
    }

    /// The first word of the server's error text (`NOSCRIPT`, `WRONGTYPE`, `ERR`, ...); `None` when the server did
    /// not answer or the word is not plain ASCII.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// client.command(("SET", "text", "x"))?;
    /// let error = client.command(("LPUSH", "text", "y")).unwrap_err();
    /// assert_eq!(error.server_code(), Some("WRONGTYPE"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn server_code(&self) -> Option<&str> {
        let word = self.server_text()?.split(|byte| byte.is_ascii_whitespace()).next()?;
        std::str::from_utf8(word).ok().filter(|word| word.is_ascii() && !word.is_empty())
    }

    /// What ended the call.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let error = client.command("MULTI").unwrap_err();
    /// assert_eq!(error.reason(), rs_script::Reason::Argument);
    /// # Ok(())
    /// # }
    /// ```
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// The item of a pipeline or transaction that it is about, counted from 0; of several without an answer, the
    /// first. `None` where it is about no one item.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let mut pipeline = client.pipeline();
    /// pipeline.command(("SET", "text", "x"))?.command(("INCR", "text"))?;
    /// let error = pipeline.exec()?.to::<(String, i64)>().unwrap_err();
    /// assert_eq!(error.index(), Some(1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn index(&self) -> Option<usize> {
        self.0.index
    }

    /// The server that it is about, as `host:port` or a socket's path; `None` where no server is to blame, or which
    /// one is not known.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let url = server.url();
    /// use rs_script::{Client, Options};
    ///
    /// drop(server);
    /// let error = Client::open(&url, &Options::default()).unwrap_err();
    /// assert!(error.node().is_some_and(|path| path.ends_with("/socket")));
    /// # Ok(())
    /// # }
    /// ```
    pub fn node(&self) -> Option<&str> {
        self.0.node.as_deref()
    }

    pub(crate) fn shared_node(&self) -> Option<&Arc<str>> {
        self.0.node.as_ref()
    }

    /// Whether a deadline passed: the call's, or that of an attempt to connect for it. What is known of its execution
    /// is another question: [`Error::is_not_executed`], [`Error::is_indeterminate`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use std::time::Duration;
    ///
    /// let hasty = client.with_timeout(Duration::from_millis(20));
    /// assert!(hasty.command(("BLPOP", "nothing", 0)).unwrap_err().is_timeout());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_timeout(&self) -> bool {
        self.0.reason == Reason::Deadline
    }

    /// Whether the call may have been executed, or may yet be, without this side ever learning of it.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use std::time::Duration;
    ///
    /// let hasty = client.with_timeout(Duration::from_millis(20));
    /// // It was sent: who knows whether an element came at the last moment, and is lost?
    /// assert!(hasty.command(("BLPOP", "list", 0)).unwrap_err().is_indeterminate());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_indeterminate(&self) -> bool {
        self.0.indeterminate
    }

    /// Whether it is certain that the call was not executed and will not be.
    ///
    /// Neither this nor [`Error::is_indeterminate`] holds for most error replies: a script that fails half-way has
    /// done what it did before.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// client.close();
    /// let error = client.command(("INCR", "n")).unwrap_err();
    /// assert!(error.is_not_executed());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_not_executed(&self) -> bool {
        self.0.not_executed
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    /// What a `main` that returns an error prints, so in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.status, self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|Source(source)| &**source as _)
    }
}

/// An error keeps so much of a server's text; how long that is the server decides.
const TEXT_MAX: usize = 64 * 1024;

/// What an error keeps of a server's text.
pub(crate) fn kept(text: &[u8]) -> &[u8] {
    &text[..text.len().min(TEXT_MAX)]
}

/// The result of everything that can fail here.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// fn visits(client: &rs_script::Client) -> rs_script::Result<u64> {
///     client.command(("INCR", "visits"))?.to()
/// }
/// assert_eq!(visits(&client)?, 1);
/// # Ok(())
/// # }
/// ```
pub type Result<T> = std::result::Result<T, Error>;
