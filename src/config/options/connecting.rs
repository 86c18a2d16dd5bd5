//! How connections are made, and made again: these setters of the options.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Options, Protocol, invalid, wait};
use crate::error::Result;
use crate::net::address::Address;

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

    /// How long to wait between attempts to connect: `min` after the first, doubling up to `max`, and shortened at
    /// random by up to half. Default: 20 milliseconds to 1 second.
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

    /// How often one call tries to connect before it gives up; 0: until its deadline. In a cluster, and behind
    /// sentinels, only an attempt in which no server could be reached counts: as long as one answers, a call waits for
    /// a primary until its deadline. Opening a client tries once. Default: 5.
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
}
