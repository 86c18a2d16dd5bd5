//! What connections are made for.

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Commands and scripts.
    Calls,
    /// One command, which waits on the server.
    Waiting,
    /// Read-only scripts on a replica of a cluster, which answers them behind READONLY.
    Replica,
    /// Nothing but the login: a server that is busy with a script refuses SELECT and CLIENT SETINFO, and a sentinel
    /// knows neither.
    Bare,
}
