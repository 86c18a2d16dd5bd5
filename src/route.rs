//! Where a call goes, beyond what its keys say: the public words for it.

/// Which servers run read-only script calls. Everything else runs on primaries.
///
/// A replica is behind its primary by what is still on the way: a read-only call may not see what a call before it wrote. A replica
/// that is lost, loads its data or says that it has lost its primary is passed over.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// use rs_script::ReadFrom;
///
/// let near = client.with_read_from(ReadFrom::PreferReplica);
/// # drop(near);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum ReadFrom {
    /// The primary.
    #[default]
    Primary = 0,
    /// The replicas in turn; the primary where none can be reached.
    PreferReplica = 1,
    /// The replicas in turn, and never the primary.
    Replica = 2,
}

/// Where calls go that have no keys, and commands whose keys this library does not know. Keys go before it.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// use rs_script::{Route, Status};
///
/// // On a client of a single server every route leads there.
/// client.with_route(Route::Slot(12182))?.command("PING")?;
/// let error = client.with_route(Route::Slot(16384)).unwrap_err();
/// assert_eq!(error.status(), Status::InvalidArgument);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route<'a> {
    /// To any primary, taken at random.
    #[default]
    Random,
    /// To the primary of this key's slot.
    Key(&'a [u8]),
    /// To the primary of this slot, 0 to 16383.
    Slot(u16),
    /// To this server, `host:port` as the cluster announces it (behind the address map, if one is set).
    Node(&'a str),
    /// To all primaries, side by side. The reply is a map from each one's `host:port` to its reply; a primary that
    /// gave none has an error there. Not for pipelines and transactions.
    AllPrimaries,
}
