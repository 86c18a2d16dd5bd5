//! Where a server listens.

use std::fmt;
use std::path::PathBuf;

/// Where a server listens.
///
/// ```
/// use rs_script::Address;
///
/// let address = Address::Tcp { host: "::1".into(), port: 6379 };
/// assert_eq!(address.to_string(), "[::1]:6379");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host name or IP address (IPv6 without brackets) and a port.
    Tcp {
        /// Name or address.
        host: String,
        /// Port, 1 to 65535.
        port: u16,
    },
    /// The path of a Unix domain socket.
    Unix(PathBuf),
}

impl Address {
    /// Takes `host:port` apart, an IPv6 address with brackets or, as servers write it, without.
    pub(crate) fn parse(text: &str) -> Option<Address> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().ok().filter(|port| *port != 0)?;
        // A URL, or brackets that do not match, would otherwise pass for a host that nobody ever finds.
        let is_host = !host.is_empty() && !host.contains(['/', '@', '[', ']', ' ']);
        is_host.then(|| Address::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    /// `host:port` (IPv6 in brackets), or the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_and_what_is_no_address() {
        for (text, shown) in
            [("a.example:1", "a.example:1"), ("[::1]:6379", "[::1]:6379"), ("fe80::1:6379", "[fe80::1]:6379")]
        {
            assert_eq!(Address::parse(text).map(|address| address.to_string()), Some(shown.to_owned()));
        }
        for text in
            ["", "a", ":1", "a:", "a:0", "a:65536", "[::1]", "[::1:6379", "[]:1", "redis://a:1", "u@a:1"]
        {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }
}
