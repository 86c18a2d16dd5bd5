//! What a client is opened with: a URL and options, checked together.

mod options;
#[cfg(test)]
mod tests;
mod url;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use options::Reconnect;
use options::invalid;
pub use options::{Options, Protocol};
pub(crate) use url::Servers;

use crate::base::credentials::Provider;
use crate::base::log::Log;
use crate::base::secret::Secret;
use crate::error::Result;
use crate::metrics::meter::Meter;
use crate::net::address::Address;
use crate::net::tls::Tls;
use crate::request::route::ReadFrom;
use crate::resp::Limits;

/// Longer than packets are lost for in passing, and servers stop for on their own account, as a rule.
const DEFAULT_SILENCE_TIMEOUT: Duration = Duration::from_millis(500);

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
