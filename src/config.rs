//! What a client is opened with: a URL and options, checked together.

mod url;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;

use crate::credentials::{Credentials, CredentialsRequest, Provider};
use crate::error::{Error, Result, Status};
use crate::log::{Event, Log};
use crate::meter::{CallEvent, Meter, OnCall};
use crate::net::address::Address;
use crate::net::pem::Source;
use crate::net::tls::{Tls, TlsOptions};
use crate::resp::Limits;
use crate::route::ReadFrom;
use crate::secret::Secret;
use crate::times::LONGEST_WAIT;

/// The version of the protocol spoken with the server.
///
/// ```
/// # let mut options = rs_script::Options::default();
/// options.protocol(rs_script::Protocol::Resp2);
/// # Ok::<(), rs_script::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// What the URL says; otherwise RESP3, and RESP2 with a server that refuses HELLO or closes the connection on it.
    #[default]
    Auto,
    /// RESP2, without HELLO: the login is AUTH.
    Resp2,
    /// RESP3; a server that does not know it is an error.
    Resp3,
}

/// How a client connects and behaves, beyond what its URL says.
///
/// # URLs
///
/// | URL | |
/// |---|---|
/// | `redis://[[user]:password@]host[:port][/database]` | TCP; `valkey://` is the same; port 6379 and database 0 unless given |
/// | `rediss://...` | the same over TLS; also `valkeys://` |
/// | `unix://[[user]:password@]/path[?db=database]` | Unix domain socket |
/// | `redis+cluster://[[user]:password@]host[:port],host[:port],...` | a cluster, found through any of these nodes; also `rediss+cluster`, `valkey+cluster`, `valkeys+cluster` |
/// | `redis+sentinel://[[user]:password@]host[:port],.../service[/database]` | the primary of a service, found through any of these sentinels (port 26379); also `rediss+sentinel` and so on, TLS then to the sentinels too |
///
/// User and password are those of every server. An IPv6 address stands in brackets. User, password and path are
/// percent-encoded. Every form takes the parameters `db`, `protocol` (2 or 3), `silence_timeout_ms` (see
/// [`Options::silence_timeout`]), `client_info` and `probe_transactions` (true or false; see the options of these
/// names), as in `?protocol=2&silence_timeout_ms=300`; any other is refused.
///
/// # Options
///
/// ```
/// # fn main() -> rs_script::Result<()> {
/// use std::time::Duration;
///
/// let mut options = rs_script::Options::default();
/// options.client_name("billing")?.call_timeout(Duration::from_secs(2))?.lazy_connect(true);
/// # Ok(())
/// # }
/// ```
///
/// A setter that refuses its value leaves the options as they were; its error is
/// [`Status::InvalidOption`] and names the option. What only makes sense together, such as the two files of a client
/// certificate, is checked when a client is opened.
#[derive(Clone, Debug)]
pub struct Options {
    connect_timeout: Duration,
    call_timeout: Duration,
    silence_timeout: Option<Duration>,
    username: Option<String>,
    password: Option<Secret>,
    credentials: Option<Provider>,
    client_name: Option<String>,
    protocol: Protocol,
    tls: TlsOptions,
    keepalive: Option<Duration>,
    reconnect: Reconnect,
    limits: Limits,
    max_waiting: usize,
    shared_connections: usize,
    max_in_flight: usize,
    lazy_connect: bool,
    read_from: ReadFrom,
    address_map: HashMap<Address, Address>,
    sentinel_username: Option<String>,
    sentinel_password: Option<Secret>,
    client_info: Option<bool>,
    probe_transactions: Option<bool>,
    on_call: OnCall,
    script_stats: usize,
    call_costs: bool,
    log: Log,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(10),
            silence_timeout: None,
            username: None,
            password: None,
            credentials: None,
            client_name: None,
            protocol: Protocol::Auto,
            tls: TlsOptions::default(),
            keepalive: Some(Duration::from_secs(60)),
            reconnect: Reconnect {
                backoff_min: Duration::from_millis(20),
                backoff_max: Duration::from_secs(1),
                attempts: 5,
            },
            limits: Limits { max_bytes: DEFAULT_MAX_REPLY_BYTES, max_depth: 128 },
            max_waiting: 1_000,
            shared_connections: 1,
            max_in_flight: 0,
            lazy_connect: false,
            read_from: ReadFrom::Primary,
            address_map: HashMap::new(),
            sentinel_username: None,
            sentinel_password: None,
            client_info: None,
            probe_transactions: None,
            on_call: OnCall::default(),
            script_stats: 0,
            call_costs: false,
            log: Log::default(),
        }
    }
}

/// Longer than packets are lost for in passing, and servers stop for on their own account, as a rule.
const DEFAULT_SILENCE_TIMEOUT: Duration = Duration::from_millis(500);

/// The longest bulk string that servers allow by default (`proto-max-bulk-len`), and room for what surrounds it.
const DEFAULT_MAX_REPLY_BYTES: usize = (512 + 1) << 20;

/// Below this the handshake's own replies (HELLO lists every module) might not fit.
const LEAST_MAX_REPLY_BYTES: usize = 64 << 10;

const SHARED_CONNECTIONS: RangeInclusive<usize> = 1..=64;

const MAX_REPLY_DEPTH: RangeInclusive<usize> = 8..=1024;

/// What Linux accepts for TCP_KEEPIDLE, in seconds.
const KEEPALIVE_SECONDS: RangeInclusive<u64> = 1..=32767;

impl Options {
    /// How long one attempt to connect may take in all: name look-up, TCP, TLS and handshake. Default: 5 seconds.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.connect_timeout(std::time::Duration::from_secs(1))?;
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn connect_timeout(&mut self, timeout: Duration) -> Result<&mut Self> {
        self.connect_timeout = wait("connect_timeout", timeout)?;
        Ok(self)
    }

    /// The deadline of a call, all its attempts and any connecting together. Default: 10 seconds.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.call_timeout(std::time::Duration::from_secs(2))?;
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn call_timeout(&mut self, timeout: Duration) -> Result<&mut Self> {
        self.call_timeout = wait("call_timeout", timeout)?;
        Ok(self)
    }

    /// When a connection is taken for dead that nobody has ended: once a call has missed its deadline on it, and
    /// calls were waiting on it for so long without a single byte coming. New calls take a new connection from then
    /// on; those that wait on the old one go on waiting until their own deadlines, and get their replies if they come
    /// after all. Calls that are made and lost meanwhile and hold more than 16 MiB together have the same effect at
    /// once. Default: the URL's `silence_timeout_ms`, or else 500 milliseconds.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.silence_timeout(std::time::Duration::from_millis(300))?;
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn silence_timeout(&mut self, timeout: Duration) -> Result<&mut Self> {
        self.silence_timeout = Some(wait("silence_timeout", timeout)?);
        Ok(self)
    }

    /// The user to authenticate as, in place of the URL's. Needs a password, here or in the URL. Default: none.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.username("billing")?.password("from a vault");
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn username(&mut self, username: impl Into<String>) -> Result<&mut Self> {
        let username = username.into();
        if username.is_empty() {
            return Err(invalid("username", "must not be empty"));
        }
        self.username = Some(username);
        Ok(self)
    }

    /// The password to authenticate with, in place of the URL's; any bytes. Default: none.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.password("from a vault");
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn password(&mut self, password: impl Into<Vec<u8>>) -> &mut Self {
        self.password = Some(Secret::from(password.into()));
        self
    }

    /// Ask for user and password whenever a connection to a server is made, in place of a password that stays the
    /// same: for tokens that expire, and passwords that are rotated. With a password in the URL or the options
    /// besides, a client does not open. Sentinels keep their own ([`Options::sentinel_password`]). Default: nobody is
    /// asked.
    ///
    /// `ask` gets the server (`host:port` or a socket's path). It runs on a thread started for it, so it may block,
    /// on an HTTP request for instance: nothing but the connection that it is asked for waits, up to the connect
    /// time-out and the deadlines of its calls. It may be called for several servers at once, but not for a server
    /// whose question before it has not answered. An error ends that attempt to connect with [`Status::Auth`] and its
    /// text, which must hold no secret. Closing a client waits for an `ask` that is about to return, not for one that
    /// still thinks.
    ///
    /// Connections that stand log in again when their credentials are [due](Credentials::lifetime), and when
    /// [`Client::reauthenticate`](crate::Client::reauthenticate) says so. AUTH then goes between the calls of others;
    /// where it is refused, or `ask` fails, the connection serves on, the log is told, and it is tried again: after a
    /// second first, then more seldom, up to once a minute. An answer with another user has the connection replaced
    /// by a new one. A command that waits on a connection of its own (BLPOP) is left in peace.
    ///
    /// ```
    /// # fn main() -> rs_script::Result<()> {
    /// use std::time::Duration;
    ///
    /// fn token() -> std::io::Result<String> {
    ///     std::fs::read_to_string("/run/secrets/redis-token")
    /// }
    ///
    /// let mut options = rs_script::Options::default();
    /// options.credentials(|_server| {
    ///     let credentials = rs_script::Credentials::new(token()?).username("app");
    ///     Ok::<_, std::io::Error>(credentials.lifetime(Duration::from_secs(15 * 60)))
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [AUTH](https://redis.io/docs/latest/commands/auth/)
    pub fn credentials<E: std::fmt::Display>(
        &mut self,
        ask: impl Fn(&str) -> std::result::Result<Credentials, E> + Send + Sync + 'static,
    ) -> &mut Self {
        self.credentials_later(move |request| match ask(request.node()) {
            Ok(credentials) => request.answer(credentials),
            Err(error) => request.refuse(error),
        })
    }

    /// The same for whoever does not answer at once: the request may be kept, and answered on any thread. A server's
    /// next connection asks again then, though the one before has no answer yet.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// let (requests, vault) = std::sync::mpsc::channel();
    /// let requests = std::sync::Mutex::new(requests);
    /// options.credentials_later(move |request| {
    ///     // Where the other thread is gone the request is dropped, and so refused.
    ///     let _ = requests.lock().unwrap().send(request);
    /// });
    /// std::thread::spawn(move || {
    ///     for request in vault {
    ///         request.answer(rs_script::Credentials::new("a new token"));
    ///     }
    /// });
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn credentials_later(
        &mut self,
        ask: impl Fn(CredentialsRequest) + Send + Sync + 'static,
    ) -> &mut Self {
        self.credentials = Some(Provider::new(ask));
        self
    }

    /// The name that CLIENT LIST shows for the connections: printable ASCII without spaces. Default: none.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.client_name("billing")?;
    /// let error = options.client_name("my service").unwrap_err();
    /// assert_eq!(error.status(), rs_script::Status::InvalidOption);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn client_name(&mut self, name: impl Into<String>) -> Result<&mut Self> {
        let name = name.into();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid("client_name", "must be printable ASCII without spaces, and not empty"));
        }
        self.client_name = Some(name);
        Ok(self)
    }

    /// The protocol version. Default: [`Protocol::Auto`].
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.protocol(rs_script::Protocol::Resp3);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn protocol(&mut self, protocol: Protocol) -> &mut Self {
        self.protocol = protocol;
        self
    }

    /// A PEM file with the certificate authorities to trust, in place of the system's. Needs a TLS URL.
    ///
    /// Like the other files of TLS it is read when the client is opened, and again for each connection, so that one
    /// that has been replaced counts from the next connection on. One that cannot be read or used then is the error
    /// of that attempt to connect; connections that stand go on.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.tls_ca_file("/etc/ssl/private-ca.pem");
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn tls_ca_file(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.tls.ca = Some(Source::file("tls_ca_file", path.into()));
        self
    }

    /// The same from memory, in PEM form; in place of [`Options::tls_ca_file`].
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.tls_ca_pem("-----BEGIN CERTIFICATE-----\n...");
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn tls_ca_pem(&mut self, pem: impl Into<Vec<u8>>) -> &mut Self {
        self.tls.ca = Some(Source::memory("tls_ca_pem", pem.into()));
        self
    }

    /// A PEM file with the certificate to show to the server, followed by any intermediate certificates. Needs a key
    /// ([`Options::tls_client_key_file`]) and a TLS URL. Read again for each connection, like its key; where one of
    /// the two has been replaced already and the other has not, they do not fit, and that attempt to connect fails.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.tls_client_cert_file("billing.pem").tls_client_key_file("billing.key");
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn tls_client_cert_file(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.tls.client_cert = Some(Source::file("tls_client_cert_file", path.into()));
        self
    }

    /// The same from memory, in PEM form; in place of [`Options::tls_client_cert_file`].
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// # let (certificate, key) = ("", "");
    /// options.tls_client_cert_pem(certificate).tls_client_key_pem(key);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn tls_client_cert_pem(&mut self, pem: impl Into<Vec<u8>>) -> &mut Self {
        self.tls.client_cert = Some(Source::memory("tls_client_cert_pem", pem.into()));
        self
    }

    /// A PEM file with the key of the client certificate (PKCS#8, PKCS#1 or SEC1; not encrypted). Needs
    /// [`Options::tls_client_cert_file`] and a TLS URL.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.tls_client_cert_file("billing.pem").tls_client_key_file("billing.key");
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn tls_client_key_file(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.tls.client_key = Some(Source::file("tls_client_key_file", path.into()));
        self
    }

    /// The same from memory, in PEM form; in place of [`Options::tls_client_key_file`]. The bytes are overwritten
    /// when the last options and client that hold them are freed.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// # let (certificate, key) = ("", "");
    /// options.tls_client_cert_pem(certificate).tls_client_key_pem(key);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn tls_client_key_pem(&mut self, pem: impl Into<Vec<u8>>) -> &mut Self {
        self.tls.client_key = Some(Source::memory("tls_client_key_pem", pem.into()));
        self
    }

    /// The host name or IP address that the server's certificate must be for, in place of the URL's host. Needs a TLS
    /// URL.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.tls_server_name("redis.example.com")?;
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn tls_server_name(&mut self, name: impl Into<String>) -> Result<&mut Self> {
        let name = ServerName::try_from(name.into())
            .map_err(|_| invalid("tls_server_name", "must be a host name or an IP address"))?;
        self.tls.server_name = Some(name);
        Ok(self)
    }

    /// Accept any certificate of the server. This leaves the connection open to whoever stands in between: for tests
    /// alone. [`Options::tls_ca_file`] has no effect then. Needs a TLS URL. Default: false.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.tls_insecure_skip_verify(true);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn tls_insecure_skip_verify(&mut self, skip: bool) -> &mut Self {
        self.tls.insecure_skip_verify = skip;
        self
    }

    /// How long a TCP connection is silent before the system starts to probe it, 1 to 32767 seconds (parts of a
    /// second are cut off); `None` never probes. After as long again without an answer the connection is lost. On
    /// Linux the system also ends a connection whose sent bytes the other end has not acknowledged for that time
    /// (`TCP_USER_TIMEOUT`: twice this option); elsewhere it takes its own time for that, often a quarter of an
    /// hour. Default: 60 seconds.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.keepalive(Some(std::time::Duration::from_secs(20)))?;
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn keepalive(&mut self, idle: Option<Duration>) -> Result<&mut Self> {
        if idle.is_some_and(|idle| !KEEPALIVE_SECONDS.contains(&idle.as_secs())) {
            return Err(invalid("keepalive", "must be 1 to 32767 seconds, or none"));
        }
        self.keepalive = idle;
        Ok(self)
    }

    /// How long to wait between attempts to connect: `min` after the first, growing up to `max`. Default: 20
    /// milliseconds to 1 second.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// use std::time::Duration;
    ///
    /// options.reconnect_backoff(Duration::from_millis(50), Duration::from_secs(5))?;
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn reconnect_backoff(&mut self, min: Duration, max: Duration) -> Result<&mut Self> {
        let min = wait("reconnect_backoff", min)?;
        let max = wait("reconnect_backoff", max)?;
        if min > max {
            return Err(invalid("reconnect_backoff", "the shortest wait is above the longest"));
        }
        self.reconnect.backoff_min = min;
        self.reconnect.backoff_max = max;
        Ok(self)
    }

    /// How often one call tries to connect before it gives up; 0: until its deadline. Default: 5.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.reconnect_attempts(0);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn reconnect_attempts(&mut self, attempts: u32) -> &mut Self {
        self.reconnect.attempts = attempts;
        self
    }

    /// The largest reply to accept, in bytes as sent by the server; at least 64 KiB. Default: 513 MiB, which is the
    /// longest string that servers allow by default and 1 MiB of room around it.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.max_reply_bytes(16 << 20)?;
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn max_reply_bytes(&mut self, bytes: u64) -> Result<&mut Self> {
        self.limits.max_bytes =
            usize::try_from(bytes).ok().filter(|bytes| *bytes >= LEAST_MAX_REPLY_BYTES).ok_or_else(|| {
                invalid("max_reply_bytes", "must be at least 65536 and fit this machine's memory")
            })?;
        Ok(self)
    }

    /// The deepest nesting of arrays and maps to accept in a reply, 8 to 1024. Default: 128.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.max_reply_depth(16)?;
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn max_reply_depth(&mut self, depth: usize) -> Result<&mut Self> {
        if !MAX_REPLY_DEPTH.contains(&depth) {
            return Err(invalid("max_reply_depth", "must be 8 to 1024"));
        }
        self.limits.max_depth = depth;
        Ok(self)
    }

    /// How many commands may wait on servers at a time (BLPOP, XREAD BLOCK, ...), 1 at least: each has a connection
    /// of its own. More stand in line until one has ended, or their deadlines have passed; no other call stands
    /// behind them. Default: 1,000.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.max_waiting(50)?;
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn max_waiting(&mut self, count: usize) -> Result<&mut Self> {
        if count == 0 {
            return Err(invalid("max_waiting", "must be 1 at least"));
        }
        self.max_waiting = count;
        Ok(self)
    }

    /// How many connections to each server calls may share, 1 to 64. Default: 1, on which a reply of 64 MiB, or a
    /// pipeline of slow scripts, holds up all calls behind it.
    ///
    /// With more, a call takes the connection with the fewest calls under way, and another is made where all have
    /// some. Calls with a key in common keep their order: they take the same connection, and where such calls are
    /// under way on several, a call waits for them before it is sent. So does one that may touch anything, such as
    /// FLUSHALL or a script without keys, with all calls before and behind it. A blocking call costs a little more
    /// than on one connection.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.shared_connections(4)?;
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn shared_connections(&mut self, count: usize) -> Result<&mut Self> {
        if !SHARED_CONNECTIONS.contains(&count) {
            return Err(invalid("shared_connections", "must be 1 to 64"));
        }
        self.shared_connections = count;
        Ok(self)
    }

    /// How many blocking calls and futures may be in flight at a time, of all threads together; 0: any number. One
    /// more ends at once with [`Status::QueueFull`], and nothing of it is sent: so a server that is slow does not
    /// collect every thread of a program. Submitted calls are bounded by their queues. Default: 0.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.max_in_flight(200);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn max_in_flight(&mut self, calls: usize) -> &mut Self {
        self.max_in_flight = calls;
        self
    }

    /// Connect with the first call instead of when the client is opened. Default: false.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// use rs_script::Client;
    ///
    /// options.lazy_connect(true);
    /// // Nobody need be there.
    /// let client = Client::open("redis://127.0.0.1:1", &options)?;
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn lazy_connect(&mut self, lazy: bool) -> &mut Self {
        self.lazy_connect = lazy;
        self
    }

    /// Which servers run read-only calls. Default: [`ReadFrom::Primary`].
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.read_from(rs_script::ReadFrom::PreferReplica);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn read_from(&mut self, read_from: ReadFrom) -> &mut Self {
        self.read_from = read_from;
        self
    }

    /// Connect to `reachable` wherever the servers themselves speak of `announced`: for servers behind a NAT, a
    /// tunnel or a container's network. Each is `host:port`, an IPv6 address in brackets. It concerns the addresses
    /// that a cluster, a primary or a sentinel announces, not those of the URL. Call it once for each address.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.map_address("10.0.0.1:6379", "127.0.0.1:7001")?;
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn map_address(&mut self, announced: &str, reachable: &str) -> Result<&mut Self> {
        let parse = |text: &str| {
            Address::parse(text).ok_or_else(|| {
                invalid("map_address", "both must be host:port, with the port, as in 10.0.0.1:6379")
            })
        };
        self.address_map.insert(parse(announced)?, parse(reachable)?);
        Ok(self)
    }

    /// The user to authenticate as with the sentinels. Needs [`Options::sentinel_password`]. Default: none.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.sentinel_username("watcher")?.sentinel_password("from a vault");
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn sentinel_username(&mut self, username: impl Into<String>) -> Result<&mut Self> {
        let username = username.into();
        if username.is_empty() {
            return Err(invalid("sentinel_username", "must not be empty"));
        }
        self.sentinel_username = Some(username);
        Ok(self)
    }

    /// The password to authenticate with at the sentinels; any bytes. The one in the URL is for the servers alone.
    /// Default: none.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.sentinel_password("from a vault");
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn sentinel_password(&mut self, password: impl Into<Vec<u8>>) -> &mut Self {
        self.sentinel_password = Some(Secret::from(password.into()));
        self
    }

    /// Tell the server on each connection which library this is, in which version, by CLIENT SETINFO: CLIENT LIST
    /// shows it. Where the user lacks the right, each connection leaves an entry in ACL LOG. In place of the URL's.
    /// Default: true.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.client_info(false);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn client_info(&mut self, tell: bool) -> &mut Self {
        self.client_info = Some(tell);
        self
    }

    /// Run an empty transaction (MULTI, EXEC) on each new connection, with the login, to see whether this user may
    /// run any. Where the user lacks the right, each connection leaves an entry in ACL LOG. Without it the first
    /// transaction on each connection costs a round trip more. In place of the URL's. Default: true.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.probe_transactions(false);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn probe_transactions(&mut self, probe: bool) -> &mut Self {
        self.probe_transactions = Some(probe);
        self
    }

    /// Be told of each call that has ended: what it was, where it went, what it cost and what came of it. A pipeline
    /// or transaction is one call. Default: nobody is told.
    ///
    /// It runs on the thread that completes the call, without a lock held: that of the caller, or of whoever drives
    /// submitted calls; before the call returns or its completion can be taken out. So it must be quick, must not
    /// block, and must not call or drop the client. Calls that are refused before they begin (their arguments, a full
    /// queue) are not told of. It costs no more than a clock's reading and its own body; off, nothing.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let url = server.url();
    /// use rs_script::{Client, Options};
    /// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    ///
    /// let sent = Arc::new(AtomicU64::new(0));
    /// let counted = Arc::clone(&sent);
    /// let mut options = Options::default();
    /// options.on_call(move |call| {
    ///     counted.fetch_add(call.bytes_sent, Ordering::Relaxed);
    /// });
    /// Client::open(&url, &options)?.command("PING")?;
    /// assert_eq!(sent.load(Ordering::Relaxed), 14);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_call(&mut self, hook: impl Fn(&CallEvent<'_>) + Send + Sync + 'static) -> &mut Self {
        self.on_call = OnCall::new(hook);
        self
    }

    /// Keep figures of so many scripts ([`Client::script_stats`](crate::Client::script_stats)), and of all others
    /// together; 0: none. A script takes 21 KiB once it is called. Default: 0.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.script_stats(100);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn script_stats(&mut self, max_scripts: usize) -> &mut Self {
        self.script_stats = max_scripts;
        self
    }

    /// Be told of connections made, lost and refused. Default: nobody is told.
    ///
    /// The callback runs on the thread on which it happened and must not call back into the client. Messages hold
    /// addresses and the server's words, never a password, a key, an argument or a script.
    ///
    /// ```
    /// let mut options = rs_script::Options::default();
    /// options.log(|event| {
    ///     let node = event.node.unwrap_or("-");
    ///     eprintln!("{:?} {:?} {node}: {}", event.level, event.kind, event.message);
    /// });
    /// ```
    pub fn log(&mut self, callback: impl Fn(&Event<'_>) + Send + Sync + 'static) -> &mut Self {
        self.log = Log::new(callback);
        self
    }
}

impl Options {
    /// Asks nobody any more; see [`Options::credentials`].
    pub(crate) fn no_credentials(&mut self) -> &mut Self {
        self.credentials = None;
        self
    }

    /// Has packed completions tell what their calls have cost.
    pub(crate) fn call_costs(&mut self, tell: bool) -> &mut Self {
        self.call_costs = tell;
        self
    }

    /// Tells nobody of calls any more; see [`Options::on_call`].
    pub(crate) fn no_on_call(&mut self) -> &mut Self {
        self.on_call = OnCall::default();
        self
    }
}

fn wait(option: &str, timeout: Duration) -> Result<Duration> {
    if timeout.is_zero() || timeout > LONGEST_WAIT {
        return Err(invalid(option, "must be above zero and at most 365 days"));
    }
    Ok(timeout)
}

fn invalid(option: &str, why: &str) -> Error {
    Error::new(Status::InvalidOption, format!("option {option}: {why}"))
}

/// A URL and options that fit together; files are read.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) servers: Servers,
    pub(crate) tls: Option<Tls>,
    /// Never without a password.
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    /// In place of both.
    pub(crate) credentials: Option<Provider>,
    pub(crate) database: u32,
    pub(crate) client_name: Option<String>,
    pub(crate) protocol: Protocol,
    pub(crate) connect_timeout: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) silence_timeout: Duration,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) reconnect: Reconnect,
    pub(crate) limits: Limits,
    /// Commands that wait on connections of their own, at a time.
    pub(crate) max_waiting: usize,
    pub(crate) shared_connections: usize,
    /// Blocking calls in flight; 0: any number.
    pub(crate) max_in_flight: usize,
    pub(crate) lazy_connect: bool,
    pub(crate) read_from: ReadFrom,
    /// Where to connect for an address that a server announces.
    pub(crate) address_map: HashMap<Address, Address>,
    sentinel_username: Option<String>,
    sentinel_password: Option<Secret>,
    /// CLIENT SETINFO on each connection.
    pub(crate) client_info: bool,
    /// An empty transaction on each connection.
    pub(crate) probe_transactions: bool,
    /// What measures calls, where somebody wants to know.
    pub(crate) meter: Option<Arc<Meter>>,
    pub(crate) log: Log,
}

/// Which servers a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Servers {
    /// One server.
    One(Address),
    /// A cluster, by some of its nodes.
    Cluster(Vec<Address>),
    /// A primary, by the sentinels that watch it and the name under which they do.
    Sentinel { sentinels: Vec<Address>, service: String },
}

impl Servers {
    /// Those named first.
    pub(crate) fn addresses(&self) -> &[Address] {
        match self {
            Servers::One(address) => std::slice::from_ref(address),
            Servers::Cluster(addresses) | Servers::Sentinel { sentinels: addresses, .. } => addresses,
        }
    }
}

/// How a lost connection is sought again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reconnect {
    pub(crate) backoff_min: Duration,
    pub(crate) backoff_max: Duration,
    /// Per call; 0: until its deadline.
    pub(crate) attempts: u32,
}

impl Config {
    pub(crate) fn new(url: &str, options: &Options) -> Result<Config> {
        let target = url::parse(url)?;
        let username = options.username.clone().or(target.username);
        let password = options.password.clone().or(target.password);
        if username.is_some() && password.is_none() {
            return Err(invalid(
                "username",
                "a user needs a password; for a user that the server asks none of, give an empty one",
            ));
        }
        if options.credentials.is_some() && (username.is_some() || password.is_some()) {
            return Err(invalid(
                "credentials",
                "the URL or the options name a user or a password besides: leave them out",
            ));
        }
        let tls = match (target.servers.addresses().first(), target.tls) {
            (Some(Address::Tcp { host, .. }), true) => Some(Tls::new(&options.tls, host)?),
            _ => match options.tls.first_set() {
                Some(option) => return Err(invalid(option, "needs a TLS URL (rediss:// or valkeys://)")),
                None => None,
            },
        };
        let sentinel_option = match (&options.sentinel_username, &options.sentinel_password) {
            (Some(_), None) => return Err(invalid("sentinel_username", "needs sentinel_password too")),
            (None, None) => None,
            _ => Some("sentinel_password"),
        };
        if let Some(option) = sentinel_option
            && !matches!(target.servers, Servers::Sentinel { .. })
        {
            return Err(invalid(option, "needs a URL of sentinels (redis+sentinel://)"));
        }
        Ok(Config {
            servers: target.servers,
            tls,
            username,
            password,
            credentials: options.credentials.clone(),
            database: target.database,
            client_name: options.client_name.clone(),
            protocol: match options.protocol {
                Protocol::Auto => target.protocol,
                protocol => protocol,
            },
            connect_timeout: options.connect_timeout,
            call_timeout: options.call_timeout,
            silence_timeout: options
                .silence_timeout
                .or(target.silence_timeout)
                .unwrap_or(DEFAULT_SILENCE_TIMEOUT),
            keepalive: options.keepalive,
            reconnect: options.reconnect,
            limits: options.limits,
            max_waiting: options.max_waiting,
            shared_connections: options.shared_connections,
            max_in_flight: options.max_in_flight,
            lazy_connect: options.lazy_connect,
            read_from: options.read_from,
            address_map: options.address_map.clone(),
            sentinel_username: options.sentinel_username.clone(),
            sentinel_password: options.sentinel_password.clone(),
            client_info: options.client_info.or(target.client_info).unwrap_or(true),
            probe_transactions: options.probe_transactions.or(target.probe_transactions).unwrap_or(true),
            meter: Meter::new(&options.on_call, options.script_stats, options.call_costs),
            log: options.log.of_a_client(),
        })
    }

    /// The same for the connections to the sentinels: another login, and no database.
    pub(crate) fn for_sentinels(&self) -> Config {
        Config {
            username: self.sentinel_username.clone(),
            password: self.sentinel_password.clone(),
            credentials: None,
            database: 0,
            ..self.clone()
        }
    }

    /// Where to connect for an address that a server announces.
    pub(crate) fn reachable(&self, announced: Address) -> Address {
        self.address_map.get(&announced).cloned().unwrap_or(announced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T>(result: Result<T>, word: &str) {
        let error = result.err().unwrap_or_else(|| panic!("{word}: accepted"));
        assert_eq!(error.status(), Status::InvalidOption, "{error}");
        assert!(error.is_not_executed());
        assert!(error.message().contains(word), "{error}");
    }

    #[test]
    fn setters_refuse_what_cannot_work() {
        let mut options = Options::default();
        refused(options.connect_timeout(Duration::ZERO), "connect_timeout");
        refused(options.call_timeout(Duration::MAX), "call_timeout");
        refused(options.silence_timeout(Duration::ZERO), "silence_timeout");
        refused(options.username(""), "username");
        for name in ["", "two words", "new\nline", "naïve", "nul\0"] {
            refused(options.client_name(name), "client_name");
        }
        refused(options.tls_server_name("not a name"), "tls_server_name");
        refused(options.keepalive(Some(Duration::from_millis(999))), "keepalive");
        refused(options.keepalive(Some(Duration::from_secs(32768))), "keepalive");
        refused(options.reconnect_backoff(Duration::ZERO, Duration::from_secs(1)), "reconnect_backoff");
        refused(
            options.reconnect_backoff(Duration::from_secs(2), Duration::from_secs(1)),
            "reconnect_backoff",
        );
        refused(options.max_reply_bytes(65535), "max_reply_bytes");
        refused(options.max_reply_depth(7), "max_reply_depth");
        refused(options.max_reply_depth(1025), "max_reply_depth");
        assert_eq!(
            format!("{options:?}"),
            format!("{:?}", Options::default()),
            "a refused value left a trace"
        );
    }

    #[test]
    fn options_reach_the_config() {
        let mut options = Options::default();
        options
            .connect_timeout(Duration::from_millis(1))
            .and_then(|o| o.call_timeout(Duration::from_millis(2)))
            .and_then(|o| o.client_name("billing"))
            .and_then(|o| o.keepalive(None))
            .and_then(|o| o.reconnect_backoff(Duration::from_millis(3), Duration::from_millis(4)))
            .and_then(|o| o.max_reply_bytes(1 << 20))
            .and_then(|o| o.max_reply_depth(9))
            .and_then(|o| o.max_waiting(10))
            .and_then(|o| o.shared_connections(64))
            .unwrap()
            .reconnect_attempts(0)
            .max_in_flight(11)
            .lazy_connect(true);
        let config = Config::new("redis://h", &options).unwrap();
        assert_eq!(config.connect_timeout, Duration::from_millis(1));
        assert_eq!(config.call_timeout, Duration::from_millis(2));
        assert_eq!(config.client_name.as_deref(), Some("billing"));
        assert_eq!(config.keepalive, None);
        assert_eq!(config.reconnect.backoff_min, Duration::from_millis(3));
        assert_eq!(config.reconnect.backoff_max, Duration::from_millis(4));
        assert_eq!(config.reconnect.attempts, 0);
        assert_eq!((config.limits.max_bytes, config.limits.max_depth), (1 << 20, 9));
        assert_eq!((config.max_waiting, config.max_in_flight), (10, 11));
        assert_eq!(config.shared_connections, 64);
        assert!(options.max_waiting(0).is_err());
        assert!(options.shared_connections(0).is_err() && options.shared_connections(65).is_err());
        assert!(config.lazy_connect);
    }

    #[test]
    fn user_and_password_of_the_options_win() {
        let mut options = Options::default();
        options.username("ann").unwrap().password("from options");
        let config = Config::new("redis://bob:from-url@h", &options).unwrap();
        assert_eq!(config.username.as_deref(), Some("ann"));
        assert_eq!(config.password.as_ref().map(Secret::expose), Some(&b"from options"[..]));

        let mut options = Options::default();
        options.password(&b"\xff\0"[..]);
        let config = Config::new("redis://bob@h", &options).unwrap();
        assert_eq!(config.username.as_deref(), Some("bob"));
        assert_eq!(config.password.as_ref().map(Secret::expose), Some(&b"\xff\0"[..]));
    }

    #[test]
    fn a_user_needs_a_password() {
        refused(Config::new("redis://bob@h", &Options::default()), "username");
        let config = Config::new("redis://bob:@h", &Options::default()).unwrap();
        assert_eq!(config.password.as_ref().map(Secret::expose), Some(&b""[..]));
    }

    #[test]
    fn the_silence_timeout_is_the_option_or_the_urls_or_half_a_second() {
        let mut options = Options::default();
        let of = |url, options: &Options| Config::new(url, options).unwrap().silence_timeout;
        let url = "redis://h?silence_timeout_ms=70";
        assert_eq!(of("redis://h", &options), Duration::from_millis(500));
        assert_eq!(of(url, &options), Duration::from_millis(70));
        options.silence_timeout(Duration::from_millis(80)).unwrap();
        assert_eq!(of(url, &options), Duration::from_millis(80));
    }

    #[test]
    fn the_protocol_option_wins_unless_auto() {
        let mut options = Options::default();
        assert_eq!(Config::new("redis://h", &options).unwrap().protocol, Protocol::Auto);
        assert_eq!(Config::new("redis://h?protocol=2", &options).unwrap().protocol, Protocol::Resp2);
        options.protocol(Protocol::Resp3);
        assert_eq!(Config::new("redis://h?protocol=2", &options).unwrap().protocol, Protocol::Resp3);
    }

    #[test]
    fn tls_options_need_a_tls_url() {
        type Setter = fn(&mut Options);
        let setters: [(&str, Setter); 8] = [
            ("tls_ca_pem", |o| {
                o.tls_ca_pem("pem");
            }),
            ("tls_client_cert_pem", |o| {
                o.tls_client_cert_pem("pem");
            }),
            ("tls_client_key_pem", |o| {
                o.tls_client_key_pem("pem");
            }),
            ("tls_ca_file", |o| {
                o.tls_ca_file("ca.pem");
            }),
            ("tls_client_cert_file", |o| {
                o.tls_client_cert_file("cert.pem");
            }),
            ("tls_client_key_file", |o| {
                o.tls_client_key_file("key.pem");
            }),
            ("tls_server_name", |o| {
                o.tls_server_name("example.com").unwrap();
            }),
            ("tls_insecure_skip_verify", |o| {
                o.tls_insecure_skip_verify(true);
            }),
        ];
        for (option, set) in setters {
            for url in ["redis://h", "unix:///s"] {
                let mut options = Options::default();
                set(&mut options);
                refused(Config::new(url, &options), option);
            }
        }
    }

    #[test]
    fn no_secret_in_debug_output() {
        let mut options = Options::default();
        options.password("hunter2");
        let config = Config::new("redis://h", &options).unwrap();
        let mut key = Options::default();
        key.tls_client_key_pem("hunter2");
        let shown = format!(
            "{options:?} {config:?} {:?} {key:?}",
            Config::new("redis://:hunter2@h", &Options::default())
        );
        assert!(!shown.contains("hunter2"), "{shown}");
        // A derived Debug of the bytes would show them as numbers.
        assert!(!shown.contains("104, 117"), "{shown}");
        assert_eq!(shown.matches("***").count(), 4, "{shown}");
    }
}
