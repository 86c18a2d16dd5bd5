//! The URL of a server, a cluster or a service behind sentinels, taken apart.
//!
//! No error text repeats a piece of the URL, except the name of an unknown parameter: what looks like a port or a path
//! may be the rest of a password whose special characters were not percent-encoded.

use std::ffi::OsString;
use std::iter;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::{Host, form_urlencoded};

use super::options::Protocol;
use crate::base::secret::Secret;
use crate::base::times::LONGEST_WAIT;
use crate::error::{Error, Result, Status};
use crate::net::address::Address;

const DEFAULT_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

const FORMS: &str = "write redis://[[user]:password@]host[:port][/database], the same with rediss:// for TLS, \
                     redis+cluster://host[:port],host[:port]... , redis+sentinel://host[:port],.../service \
                     or unix:///path[?db=database]";
const ENCODING: &str = "in user and password write / ? # @ % as %2F %3F %23 %40 %25";
const DATABASE: &str = "the database must be a number from 0 to 2147483647, as in redis://host:6379/0";

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

/// What a URL says.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) servers: Servers,
    pub(super) tls: bool,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: u32,
    pub(super) protocol: Protocol,
    pub(super) silence_timeout: Option<Duration>,
    pub(super) client_info: Option<bool>,
    pub(super) probe_transactions: Option<bool>,
}

#[derive(Clone, Copy)]
enum Scheme {
    Tcp,
    Cluster,
    Sentinel,
    Unix,
}

/// Split here and not by `Url::parse`, which refuses a user without a host (`unix://user:password@/path`), drops tabs
/// and newlines in silence, and resolves `..` in paths.
pub(super) fn parse(url: &str) -> Result<Target> {
    if url.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(invalid("spaces and control characters must be percent-encoded, a space as %20"));
    }
    check_percent_encoding(url)?;
    let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid(FORMS))?;
    let (scheme, tls) = parse_scheme(scheme)?;

    if rest.contains('#') {
        return Err(invalid(format_args!("it has no place for a '#'; {ENCODING}")));
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if !authority.is_empty() && (path.contains('@') || query.contains('@')) {
        return Err(invalid(format_args!("there is an '@' behind the host; {ENCODING}")));
    }
    let (userinfo, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (username, password) = parse_userinfo(userinfo)?;
    let query = parse_query(query)?;

    let path = path.strip_prefix('/').filter(|path| !path.is_empty());
    let (servers, path_database) = match scheme {
        Scheme::Tcp => (Servers::One(parse_only_address(host)?), path),
        Scheme::Cluster => (Servers::Cluster(parse_addresses(host, DEFAULT_PORT)?), path),
        Scheme::Sentinel => {
            let (service, path) = match path.unwrap_or_default().split_once('/') {
                Some((service, database)) => (service, Some(database)),
                None => (path.unwrap_or_default(), None),
            };
            let sentinels = parse_addresses(host, SENTINEL_PORT)?;
            (Servers::Sentinel { sentinels, service: parse_service(service)? }, path)
        }
        Scheme::Unix => (Servers::One(parse_socket_path(host, path.unwrap_or_default())?), None),
    };
    let path_database = path_database.map(parse_database).transpose()?;
    let database = match (path_database, query.database) {
        (Some(a), Some(b)) if a != b => return Err(invalid("the path and db= name different databases")),
        (a, b) => a.or(b).unwrap_or(0),
    };
    let Query { protocol, silence_timeout, client_info, probe_transactions, .. } = query;
    Ok(Target {
        servers,
        tls,
        username,
        password,
        database,
        protocol,
        silence_timeout,
        client_info,
        probe_transactions,
    })
}

fn invalid(why: impl std::fmt::Display) -> Error {
    Error::new(Status::InvalidUrl, format!("invalid URL: {why}"))
}

/// The decoder lets a stray `%` through, and so would turn a password that was pasted as it is into another.
fn check_percent_encoding(url: &str) -> Result<()> {
    let valid = url.split('%').skip(1).all(|after| {
        let digits = after.as_bytes().get(..2).unwrap_or_default();
        digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit)
    });
    if valid {
        Ok(())
    } else {
        Err(invalid("a '%' must be followed by two hexadecimal digits; write % itself as %25"))
    }
}

/// What the scheme asks for, and whether over TLS.
fn parse_scheme(scheme: &str) -> Result<(Scheme, bool)> {
    let scheme = scheme.to_ascii_lowercase();
    if scheme == "unix" {
        return Ok((Scheme::Unix, false));
    }
    let (protocol, servers) = match scheme.split_once('+') {
        None => (scheme.as_str(), Scheme::Tcp),
        Some((protocol, "cluster")) => (protocol, Scheme::Cluster),
        Some((protocol, "sentinel")) => (protocol, Scheme::Sentinel),
        Some(_) => ("", Scheme::Tcp),
    };
    match protocol {
        "redis" | "valkey" => Ok((servers, false)),
        "rediss" | "valkeys" => Ok((servers, true)),
        _ => Err(invalid(format_args!("unknown scheme; {FORMS}"))),
    }
}

fn parse_userinfo(userinfo: &str) -> Result<(Option<String>, Option<Secret>)> {
    let (username, password) = match userinfo.split_once(':') {
        Some((username, password)) => (username, Some(password)),
        None => (userinfo, None),
    };
    let username = percent_decode_str(username)
        .decode_utf8()
        .map_err(|_| invalid("the user is not UTF-8 once percent-decoded"))?
        .into_owned();
    let username = Some(username).filter(|username| !username.is_empty());
    // `redis://:@host` is what a template with an empty password makes; an empty password only says something for a
    // user.
    let password = password
        .filter(|password| username.is_some() || !password.is_empty())
        .map(|password| Secret::from(percent_decode_str(password).collect::<Vec<u8>>()));
    Ok((username, password))
}

fn parse_only_address(text: &str) -> Result<Address> {
    if text.contains(',') {
        return Err(invalid(
            "there is more than one host; give one, or write redis+cluster:// or redis+sentinel://",
        ));
    }
    parse_address(text, DEFAULT_PORT)
}

fn parse_addresses(text: &str, default_port: u16) -> Result<Vec<Address>> {
    text.split(',').map(|host| parse_address(host, default_port)).collect()
}

fn parse_service(text: &str) -> Result<String> {
    let service = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| invalid("the service is not UTF-8 once percent-decoded"))?;
    if service.is_empty() {
        return Err(invalid("it names no service, as in redis+sentinel://host1,host2/service"));
    }
    Ok(service.into_owned())
}

/// `host`, `host:port`, or the same with an IPv6 address in brackets.
pub(super) fn parse_address(text: &str, default_port: u16) -> Result<Address> {
    let (host, port) = match text.rfind(']') {
        Some(bracket) => match text.split_at(bracket + 1) {
            (host, "") => (host, None),
            (host, rest) => match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None => return Err(invalid("after ']' only a port may follow, as in [::1]:6379")),
            },
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if port.is_some_and(|port| port.contains(':')) {
        return Err(invalid("an IPv6 address must stand in brackets, as in redis://[::1]:6379"));
    }
    if host.is_empty() {
        return Err(invalid(format_args!("it names no host; {FORMS}")));
    }
    let port = match port {
        None => default_port,
        Some(port) => parse_digits(port)
            .filter(|port| *port != 0)
            .ok_or_else(|| invalid(format_args!("the port must be a number from 1 to 65535; {ENCODING}")))?,
    };
    if !host.is_ascii() {
        return Err(invalid(
            "the host has letters outside ASCII: write it as DNS does, as in xn--bcher-kva.example",
        ));
    }
    let host = match Host::parse(host) {
        Ok(Host::Domain(name)) => name,
        Ok(Host::Ipv4(address)) => address.to_string(),
        Ok(Host::Ipv6(address)) => address.to_string(),
        Err(reason) => return Err(invalid(format_args!("the host cannot be used: {reason}"))),
    };
    Ok(Address::Tcp { host, port })
}

fn parse_socket_path(host: &str, path: &str) -> Result<Address> {
    if !host.is_empty() {
        return Err(invalid(
            "a unix URL names no host: write the whole path behind three slashes, unix:///run/redis.sock",
        ));
    }
    let path: Vec<u8> = iter::once(b'/').chain(percent_decode_str(path)).collect();
    if path.len() < 2 || path.contains(&0) {
        return Err(invalid("a unix URL needs the path of the socket, as in unix:///run/redis.sock"));
    }
    Ok(Address::Unix(PathBuf::from(OsString::from_vec(path))))
}

fn parse_database(text: &str) -> Result<u32> {
    parse_digits(text)
        .filter(|number| i32::try_from(*number).is_ok())
        .ok_or_else(|| invalid(format_args!("{DATABASE}; {ENCODING}")))
}

fn parse_milliseconds(name: &str, text: &str) -> Result<Duration> {
    parse_digits(text)
        .map(Duration::from_millis)
        .filter(|time| !time.is_zero() && *time <= LONGEST_WAIT)
        .ok_or_else(|| {
            invalid(format_args!(
                "the parameter {name} must be milliseconds, above zero and at most 365 days"
            ))
        })
}

/// `str::parse` without its `+5`.
fn parse_digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[derive(Default)]
struct Query {
    database: Option<u32>,
    protocol: Protocol,
    silence_timeout: Option<Duration>,
    client_info: Option<bool>,
    probe_transactions: Option<bool>,
}

fn parse_query(query: &str) -> Result<Query> {
    let mut parsed = Query::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "db" if parsed.database.is_none() => parsed.database = Some(parse_database(&value)?),
            "protocol" if parsed.protocol == Protocol::Auto => {
                parsed.protocol = match &*value {
                    "2" => Protocol::Resp2,
                    "3" => Protocol::Resp3,
                    _ => return Err(invalid("the parameter protocol must be 2 or 3")),
                }
            }
            "silence_timeout_ms" if parsed.silence_timeout.is_none() => {
                parsed.silence_timeout = Some(parse_milliseconds(&name, &value)?);
            }
            "client_info" if parsed.client_info.is_none() => {
                parsed.client_info = Some(parse_switch(&name, &value)?);
            }
            "probe_transactions" if parsed.probe_transactions.is_none() => {
                parsed.probe_transactions = Some(parse_switch(&name, &value)?);
            }
            "db" | "protocol" | "silence_timeout_ms" | "client_info" | "probe_transactions" => {
                return Err(invalid(format_args!("the parameter {name} occurs twice")));
            }
            name => {
                let plain = name.len() <= 32
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
                let name = if plain { name } else { "(not shown)" };
                return Err(invalid(format_args!(
                    "unknown parameter {name}; \
                     a URL takes db, protocol, silence_timeout_ms, client_info and probe_transactions, \
                     all else is an option of the client"
                )));
            }
        }
    }
    Ok(parsed)
}

fn parse_switch(name: &str, value: &str) -> Result<bool> {
    value.parse().map_err(|_| invalid(format_args!("the parameter {name} must be true or false")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.into(), port }
    }

    fn unix(path: &str) -> Address {
        Address::Unix(path.into())
    }

    /// URL, address, TLS, user, password, database.
    type Row = (&'static str, Address, bool, Option<&'static str>, Option<&'static [u8]>, u32);

    #[test]
    fn valid_urls() {
        let rows: Vec<Row> = vec![
            ("redis://localhost", tcp("localhost", 6379), false, None, None, 0),
            ("REDIS://LocalHost/", tcp("localhost", 6379), false, None, None, 0),
            ("valkey://h:1/2", tcp("h", 1), false, None, None, 2),
            ("rediss://h", tcp("h", 6379), true, None, None, 0),
            ("valkeys://h:6380", tcp("h", 6380), true, None, None, 0),
            ("redis://:pw@h", tcp("h", 6379), false, None, Some(b"pw"), 0),
            ("redis://u:pw@h:7/3", tcp("h", 7), false, Some("u"), Some(b"pw"), 3),
            ("redis://u:@h", tcp("h", 6379), false, Some("u"), Some(b""), 0),
            ("redis://u@h", tcp("h", 6379), false, Some("u"), None, 0),
            ("redis://:@h", tcp("h", 6379), false, None, None, 0),
            ("redis://@h", tcp("h", 6379), false, None, None, 0),
            ("redis://u:a:b@c@h", tcp("h", 6379), false, Some("u"), Some(b"a:b@c"), 0),
            ("redis://%75%40:%2F%3f%23%ff+@h", tcp("h", 6379), false, Some("u@"), Some(b"/?#\xff+"), 0),
            ("redis://[::1]", tcp("::1", 6379), false, None, None, 0),
            ("redis://u:p@[2001:DB8::1]:7/1", tcp("2001:db8::1", 7), false, Some("u"), Some(b"p"), 1),
            ("redis://127.0.0.1:65535", tcp("127.0.0.1", 65535), false, None, None, 0),
            ("redis://my_redis-1", tcp("my_redis-1", 6379), false, None, None, 0),
            ("redis://xn--bcher-kva.example", tcp("xn--bcher-kva.example", 6379), false, None, None, 0),
            ("redis://h?db=4", tcp("h", 6379), false, None, None, 4),
            ("redis://h/4?db=4", tcp("h", 6379), false, None, None, 4),
            ("redis://h/2147483647?", tcp("h", 6379), false, None, None, 2147483647),
            ("unix:///run/redis.sock", unix("/run/redis.sock"), false, None, None, 0),
            ("unix:///a/../b%20c@d?db=5", unix("/a/../b c@d"), false, None, None, 5),
            ("unix://u:p%40w@/s", unix("/s"), false, Some("u"), Some(b"p@w"), 0),
            ("unix://:pw@/s?db=1", unix("/s"), false, None, Some(b"pw"), 1),
        ];
        for (url, address, tls, username, password, database) in rows {
            let target = parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(target.servers, Servers::One(address), "{url}");
            assert_eq!(target.tls, tls, "{url}");
            assert_eq!(target.username.as_deref(), username, "{url}");
            assert_eq!(target.password.as_ref().map(Secret::expose), password, "{url}");
            assert_eq!(target.database, database, "{url}");
        }
        let cluster = |url| parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        let target = cluster("rediss+cluster://u:p@h1,[::1]:7,h3:8/1?protocol=3");
        assert_eq!(target.servers, Servers::Cluster(vec![tcp("h1", 6379), tcp("::1", 7), tcp("h3", 8)]));
        assert_eq!((target.tls, target.database, target.protocol), (true, 1, Protocol::Resp3));
        assert_eq!(cluster("valkey+cluster://h").servers, Servers::Cluster(vec![tcp("h", 6379)]));
        let sentinels = vec![tcp("h1", 26379), tcp("h2", 5)];
        for (url, database) in
            [("redis+sentinel://h1,h2:5/my%2fname", 0), ("valkeys+sentinel://h1,h2:5/my%2fname/3", 3)]
        {
            let target = cluster(url);
            let service = "my/name".to_owned();
            assert_eq!(target.servers, Servers::Sentinel { sentinels: sentinels.clone(), service });
            assert_eq!(target.database, database);
        }
        assert_eq!(parse("redis://h?protocol=3").unwrap().protocol, Protocol::Resp3);
        assert_eq!(parse("unix:///s?db=1&protocol=2").unwrap().protocol, Protocol::Resp2);
        let silence = parse("unix:///s?silence_timeout_ms=31536000000").unwrap().silence_timeout;
        assert_eq!(silence, Some(LONGEST_WAIT));
    }

    #[test]
    fn invalid_urls_say_why_and_keep_the_password() {
        // Each holds the password `s3cret`, whole, or cut in two by a character that ought to have been encoded.
        let rows = [
            ("", "redis://"),
            (":s3cret@h", "redis://"),
            ("h:6379", "redis://"),
            ("redis:u:s3cret@h", "redis://"),
            ("http://u:s3cret@h", "unknown scheme"),
            ("s3cret://h", "unknown scheme"),
            ("redis+s3cret://h", "unknown scheme"),
            ("redis+cluster://:s3cret@", "no host"),
            ("redis+cluster://:s3cret@h1,,h2", "no host"),
            ("redis+cluster://:s3cret@h1:1,h2:0", "port"),
            ("redis+cluster://:s3cret@h1/x", "database"),
            ("redis+sentinel://:s3cret@h1,h2", "no service"),
            ("redis+sentinel://:s3cret@h1,h2/", "no service"),
            ("redis+sentinel://:s3cret@h1,h2/%ff", "UTF-8"),
            ("redis+sentinel://:s3cret@h1,h2/name/x", "database"),
            ("redis://", "no host"),
            ("redis://u:s3cret@", "no host"),
            ("redis://u:s3cret@/0", "no host"),
            ("redis://u:s3cret@:6379", "no host"),
            ("redis://u:s3cret", "port"),
            ("redis://u:s3cret@h:", "port"),
            ("redis://u:s3cret@h:0", "port"),
            ("redis://u:s3cret@h:65536", "port"),
            ("redis://u:s3cret@h:+80", "port"),
            ("redis://u:s3cret@h:port", "port"),
            ("redis://u:s3cret@::1", "brackets"),
            ("redis://u:s3cret@[::1]x", "only a port"),
            ("redis://u:s3cret@[::1", "brackets"),
            ("redis://u:s3cret@[nonsense]", "host cannot be used"),
            ("redis://u:s3cret@256.0.0.1", "host cannot be used"),
            ("redis://u:s3cret@h<>", "host cannot be used"),
            ("redis://u:s3cret@bücher.example", "as DNS does"),
            ("redis://u:s3cret@b%C3%BCcher.example", "host cannot be used"),
            ("redis://u:s3cret@h1,h2", "more than one host"),
            ("redis://u:s3cret@h/x", "database"),
            ("redis://u:s3cret@h/-1", "database"),
            ("redis://u:s3cret@h/+1", "database"),
            ("redis://u:s3cret@h/0/1", "database"),
            ("redis://u:s3cret@h/2147483648", "database"),
            ("redis://u:s3cret@h?db=", "database"),
            ("redis://u:s3cret@h?db=x", "database"),
            ("redis://u:s3cret@h/1?db=2", "different databases"),
            ("redis://u:s3cret@h?db=1&db=1", "db occurs twice"),
            ("redis://u:s3cret@h?protocol=4", "protocol must be"),
            ("redis://u:s3cret@h?silence_timeout_ms=0", "silence_timeout_ms must be"),
            ("redis://u:s3cret@h?silence_timeout_ms=1s", "silence_timeout_ms must be"),
            ("redis://u:s3cret@h?silence_timeout_ms=31536000001", "silence_timeout_ms must be"),
            ("redis://u:s3cret@h?silence_timeout_ms=18446744073709551616", "silence_timeout_ms must be"),
            (
                "redis://u:s3cret@h?silence_timeout_ms=1&silence_timeout_ms=2",
                "silence_timeout_ms occurs twice",
            ),
            ("redis://u:s3cret@h?timeout=5", "unknown parameter timeout"),
            ("redis://h?password=s3cret", "unknown parameter password"),
            ("redis://u:s3cret@h?a%20b=1", "unknown parameter (not shown)"),
            ("redis://u:s3cret@h#0", "'#'"),
            ("redis://u:1/s3cret@h", "'@' behind"),
            ("redis://u:1?s3cret@h", "'@' behind"),
            ("redis://u:1#s3cret@h", "'#'"),
            ("redis://u:%s3cret@h", "two hexadecimal"),
            ("redis://u:s3cret%@h", "two hexadecimal"),
            ("redis://u:s3cret%4@h", "two hexadecimal"),
            ("redis://u: s3cret@h", "%20"),
            ("redis://u:s3cret@h\n", "%20"),
            ("redis://%ff:s3cret@h", "UTF-8"),
            ("unix://u:s3cret@", "path of the socket"),
            ("unix://u:s3cret@/", "path of the socket"),
            ("unix://u:s3cret@/a%00b", "path of the socket"),
            ("unix://run/redis.sock", "three slashes"),
            ("unix://u:s3cret@h/s", "three slashes"),
            ("unix://u:1/s3cret@/s", "'@' behind"),
        ];
        for (url, words) in rows {
            let error = parse(url).err().unwrap_or_else(|| panic!("{url}: accepted"));
            assert_eq!(error.status(), Status::InvalidUrl, "{url}: {error}");
            assert!(error.message().contains(words), "{url}: {error}");
            assert!(!error.message().contains("s3cret"), "{url}: {error}");
            assert!(url.len() <= "redis://".len() || !error.message().contains(url), "{url}: {error}");
        }
    }
}
