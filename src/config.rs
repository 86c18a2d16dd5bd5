//! What a client is opened with: a URL and options, checked together.

use std::path::PathBuf;
use std::time::Duration;

/// Where a server listens.
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
