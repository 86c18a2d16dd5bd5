//! The status of an error and the reason for it: the words that a program decides by.

/// The cause of an [`Error`](super::Error), with the number that the C API gives it.
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
    /// The command's keys are not known, or it concerns one server of several: name a route. Or no server has the
    /// address of the route. Nothing was sent.
    NoRoute = 108,
    /// The queue holds as many calls as it may, or as many blocking calls are in flight as may be. Nothing was sent.
    QueueFull = 109,
    /// No connection: no such host, refused, unreachable, lost in the handshake, or no descriptors left on this side
    /// ([`Reason::Resources`]). Nothing was executed.
    Connect = 200,
    /// The TLS handshake failed: certificate, host name, protocol. Nothing was executed.
    Tls = 201,
    /// The server did not accept user or password, or the database number. Nothing was executed.
    Auth = 202,
    /// The deadline passed before a byte of the call was sent. Nothing was executed.
    Timeout = 203,
    /// The caller has cancelled it before a byte of it was sent. Nothing was executed.
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
    /// The server lacks what was asked for, for example SCRIPT SHOW before Valkey 8, or is not what the URL says (no
    /// cluster, no sentinel). Nothing was executed.
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
    /// There is no memory for the call, and nothing of it was sent; or there is none for its reply, and the server may
    /// have executed it. [`Error::is_not_executed`](super::Error::is_not_executed) tells which. Where a reply was being
    /// received, or a call was half written, the connection was closed; other calls on it end with
    /// [`Status::Indeterminate`], or with this one if nothing of them was sent.
    NoMemory = 501,
    /// The system has no descriptors or threads left for a queue, or for the client's thread that submitted calls
    /// need. Nothing was sent.
    Resources = 502,
}

impl Status {
    /// Whether its token is another call's, or none that a call can have: then no attempt has run.
    pub(crate) fn is_anothers_token(self) -> bool {
        matches!(self, Status::TokenMismatch | Status::InvalidArgument)
    }

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
    /// Its caller has cancelled it.
    Cancelled = 3,
    /// The server sent something that is no reply.
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
