//! What can go wrong, and what a caller may conclude from it.

mod status;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

pub use status::{Reason, Status};

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
    /// Of most a constant: a hundred thousand calls that end together do not copy it.
    message: Cow<'static, str>,
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
    pub(crate) fn new(status: Status, message: impl Into<Cow<'static, str>>) -> Self {
        debug_assert!(status != Status::Indeterminate, "give the reason: Error::indeterminate");
        Error::because(status, status.usual_reason(), message)
    }

    /// The same for another reason than the status's usual one.
    pub(crate) fn because(status: Status, reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
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
    pub(crate) fn indeterminate(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
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
            let text = "the call was cancelled after it was sent, so the server may have executed it or may yet do so";
            Error::indeterminate(Reason::Cancelled, text)
        } else {
            Error::new(Status::Cancelled, "the call was cancelled before anything was sent")
        }
    }

    /// An error reply of the server. `not_executed`: the text proves that the call did not run.
    pub(crate) fn server(status: Status, text: &[u8], not_executed: bool) -> Self {
        let text = kept(text);
        Error(Box::new(Detail {
            status,
            message: String::from_utf8_lossy(text).into_owned().into(),
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

    /// The same error of the server that `other` is of, if that is known.
    pub(crate) fn on_server_of(self, other: &Error) -> Self {
        match other.shared_node() {
            Some(node) => self.on(node),
            None => self,
        }
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

    /// The same error of a call of which another part has been executed, or may have been. Most statuses say by
    /// themselves that nothing was.
    pub(crate) fn of_a_part(mut self) -> Self {
        if self.0.not_executed {
            self.0.not_executed = false;
            self.0.indeterminate = self.0.status != Status::Server;
            if self.0.status.code() < 500 && self.0.indeterminate {
                self.0.status = Status::Indeterminate;
            }
        }
        self
    }

    /// Its words about one part of a call: the server's own where they are the answer; a refused login is not.
    pub(crate) fn words(&self) -> &[u8] {
        self.server_text().filter(|_| self.status().is_answer()).unwrap_or(self.message().as_bytes())
    }

    /// What this side says in front of the server's words where these are the answer.
    pub(crate) fn preface(&self) -> Option<&str> {
        let text = self.server_text().filter(|_| self.status().is_answer())?;
        self.message().strip_suffix(&*String::from_utf8_lossy(text))?.strip_suffix(": ")
    }

    /// The same error with `context` in front of its message.
    pub(crate) fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message).into();
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
            *message = format!("{what}, at {before}").into();
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

    /// What happened, in words. Never holds a password. It may hold the server's own text, and that may quote a piece
    /// of a script that does not compile, or what a script has put into its error.
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

    /// Whether the call may have been executed, or may yet be, without this side ever learning of it; also where it was
    /// executed and may be lost again ([`Status::NotReplicated`]).
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
