//! Where a call goes, beyond what its keys say: the public words for it, and their numbers in C.

use super::slots::SLOTS;

/// Which servers run read-only script calls. Everything else runs on primaries.
///
/// A replica is behind its primary by what is still on the way: a read-only call may not see what a call before it
/// wrote. A replica that is lost, loads its data or says that it has lost its primary is passed over.
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

impl ReadFrom {
    /// By its number in the C API.
    pub(crate) fn numbered(number: i32) -> Option<ReadFrom> {
        match number {
            PRIMARY => Some(ReadFrom::Primary),
            PREFER_REPLICA => Some(ReadFrom::PreferReplica),
            REPLICA => Some(ReadFrom::Replica),
            _ => None,
        }
    }
}

/// The numbers of the C API, in which 0 is what the client has.
pub(crate) const PRIMARY: i32 = 1;
pub(crate) const PREFER_REPLICA: i32 = 2;
pub(crate) const REPLICA: i32 = 3;
pub(crate) const ANY: i32 = 1;
pub(crate) const KEY: i32 = 2;
pub(crate) const SLOT: i32 = 3;
pub(crate) const NODE: i32 = 4;
pub(crate) const ALL: i32 = 5;

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

impl<'a> Route<'a> {
    /// By its number in the C API, and what goes with that; none where that is the client's own. The error is the field
    /// that is wrong, and why.
    pub(crate) fn numbered(
        number: i32,
        slot: u32,
        to: &'a [u8],
    ) -> Result<Option<Route<'a>>, (&'static str, String)> {
        if number != SLOT && slot != 0 {
            return Err(("route_slot", "is set, and the route is not RS_ROUTE_SLOT".into()));
        }
        if !matches!(number, KEY | NODE) && !to.is_empty() {
            return Err((
                "route_to",
                "is set, and the route is neither RS_ROUTE_KEY nor RS_ROUTE_NODE".into(),
            ));
        }
        Ok(Some(match number {
            0 => return Ok(None),
            ANY => Route::Random,
            KEY => Route::Key(to),
            SLOT => match u16::try_from(slot) {
                Ok(slot) if slot < SLOTS => Route::Slot(slot),
                _ => return Err(("route_slot", format!("is {slot}: slots are numbered 0 to 16383"))),
            },
            NODE => {
                let not_utf8 = |_| ("route_to", "is not UTF-8".into());
                Route::Node(str::from_utf8(to).map_err(not_utf8)?)
            }
            ALL => Route::AllPrimaries,
            _ => return Err(("route", "is none of the RS_ROUTE_ numbers".into())),
        }))
    }
}
