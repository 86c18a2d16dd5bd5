//! How a client connects and behaves, beyond what its URL says: the options and their defaults. Each file has the
//! setters of one subject.

mod calls;
mod connecting;
mod login;
mod telling;
mod tls;

use std::collections::HashMap;
use std::time::Duration;

use crate::base::credentials::Provider;
use crate::base::log::OnEvent;
use crate::base::secret::Secret;
use crate::base::times::LONGEST_WAIT;
use crate::error::{Error, Result, Status};
use crate::metrics::meter::OnCall;
use crate::net::address::Address;
use crate::net::tls::TlsOptions;
use crate::request::route::ReadFrom;
use crate::resp::Limits;

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
/// | `redis://[[user]:password@]host[:port][/database]` | TCP; also `valkey://`; port 6379, database 0 unless given |
/// | `rediss://...` | the same over TLS; also `valkeys://` |
/// | `unix://[[user]:password@]/path[?db=database]` | Unix domain socket |
/// | `redis+cluster://[[user]:password@]host[:port],host[:port],...` | a cluster, found through any of these nodes |
/// | `redis+sentinel://[[user]:password@]host[:port],.../service[/database]` | the primary of a service |
///
/// A cluster's scheme may also be `rediss+cluster`, `valkey+cluster` or `valkeys+cluster`; a service's
/// `rediss+sentinel` and so on, TLS then to the sentinels too. The service is found through any of the sentinels
/// that are listed (port 26379 unless given).
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
    pub(in crate::config) connect_timeout: Duration,
    pub(in crate::config) call_timeout: Duration,
    pub(in crate::config) silence_timeout: Option<Duration>,
    pub(in crate::config) username: Option<String>,
    pub(in crate::config) password: Option<Secret>,
    pub(in crate::config) credentials: Option<Provider>,
    pub(in crate::config) client_name: Option<String>,
    pub(in crate::config) protocol: Protocol,
    pub(in crate::config) tls: TlsOptions,
    pub(in crate::config) keepalive: Option<Duration>,
    pub(in crate::config) reconnect: Reconnect,
    pub(in crate::config) limits: Limits,
    pub(in crate::config) max_waiting: usize,
    pub(in crate::config) shared_connections: usize,
    pub(in crate::config) max_in_flight: usize,
    pub(in crate::config) lazy_connect: bool,
    pub(in crate::config) read_from: ReadFrom,
    pub(in crate::config) address_map: HashMap<Address, Address>,
    pub(in crate::config) sentinel_username: Option<String>,
    pub(in crate::config) sentinel_password: Option<Secret>,
    pub(in crate::config) client_info: Option<bool>,
    pub(in crate::config) probe_transactions: Option<bool>,
    pub(in crate::config) on_call: OnCall,
    pub(in crate::config) script_stats: usize,
    pub(in crate::config) call_costs: bool,
    pub(in crate::config) log: OnEvent,
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
            log: OnEvent::default(),
        }
    }
}

/// The longest bulk string that servers allow by default (`proto-max-bulk-len`), and room for what surrounds it.
const DEFAULT_MAX_REPLY_BYTES: usize = (512 + 1) << 20;

/// How a lost connection is sought again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reconnect {
    pub(crate) backoff_min: Duration,
    pub(crate) backoff_max: Duration,
    /// Per call; 0: until its deadline.
    pub(crate) attempts: u32,
}

pub(super) fn wait(option: &str, timeout: Duration) -> Result<Duration> {
    if timeout.is_zero() || timeout > LONGEST_WAIT {
        return Err(invalid(option, "must be above zero and at most 365 days"));
    }
    Ok(timeout)
}

pub(in crate::config) fn invalid(option: &str, why: &str) -> Error {
    Error::new(Status::InvalidOption, format!("option {option}: {why}"))
}
