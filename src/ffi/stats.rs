//! `rs_client_stats`: what a client's calls have cost.

use super::client::rs_client;
use super::guard_value;

/// Calls sent: commands, scripts and pipelines, those sent a second time counted again, the handshakes, and what the
/// library asks servers for itself.
pub const RS_STAT_CALLS: usize = 0;
/// Round trips: bursts of writing to a socket. A burst is all that waits when sending begins; what is queued later
/// makes the next one. So calls that travel together share one, and a call made when all before it have ended adds
/// exactly one each time that something of it is sent: one for most, one more where a script is loaded again, is
/// first used in a transaction, or a server redirects. A pipeline of more than 256 KiB travels in several.
pub const RS_STAT_ROUND_TRIPS: usize = 1;
/// Bytes sent, before encryption.
pub const RS_STAT_BYTES_SENT: usize = 2;
/// Bytes received, after decryption.
pub const RS_STAT_BYTES_RECEIVED: usize = 3;
/// SCRIPT LOADs and FUNCTION LOADs sent of the library's own accord.
pub const RS_STAT_SCRIPT_LOADS: usize = 4;
/// Scripts and functions loaded and sent again because the server had lost them.
pub const RS_STAT_NOSCRIPT_REPAIRS: usize = 5;
/// Connections opened after the first one to each server, those of commands that wait not counted.
pub const RS_STAT_RECONNECTS: usize = 6;
/// MOVED and ASK redirections followed.
pub const RS_STAT_REDIRECTS: usize = 7;
/// Calls in flight now, those included whose callers have left.
pub const RS_STAT_IN_FLIGHT: usize = 8;
/// How many figures there are in this version; later versions append to them.
pub const RS_STAT_COUNT: usize = 9;

/// Writes the figures of a client since it was opened, over all its connections, to `values`: the first `count` of
/// them, in the order of the RS_STAT_ numbers; places beyond what the library knows become 0.
///
/// Returns: the number of figures that the library knows. NULL: 0, and zeros are written. In a child of fork() zeros
/// are written for its parent's client. A `count` above 2147483647 can be no array's, and nothing is written. Errors:
/// none. Threads: any.
///
/// # Safety
/// `client` is NULL or a live client; `values` is NULL or has places for `count` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_stats(client: *const rs_client, values: *mut u64, count: usize) -> usize {
    guard_value(0, || {
        // SAFETY: as documented.
        let stats = unsafe { client.as_ref() }.map(|client| client.client.stats());
        let stats = stats.unwrap_or_default();
        let mut figures = [0; RS_STAT_COUNT];
        figures[RS_STAT_CALLS] = stats.calls;
        figures[RS_STAT_ROUND_TRIPS] = stats.round_trips;
        figures[RS_STAT_BYTES_SENT] = stats.bytes_sent;
        figures[RS_STAT_BYTES_RECEIVED] = stats.bytes_received;
        figures[RS_STAT_SCRIPT_LOADS] = stats.script_loads;
        figures[RS_STAT_NOSCRIPT_REPAIRS] = stats.noscript_repairs;
        figures[RS_STAT_RECONNECTS] = stats.reconnects;
        figures[RS_STAT_REDIRECTS] = stats.redirects;
        figures[RS_STAT_IN_FLIGHT] = stats.in_flight;
        // More places than any memory has are none.
        if !values.is_null() && count <= super::LONGEST_LIST {
            for index in 0..count {
                // SAFETY: not NULL, and the caller promises `count` places.
                unsafe { values.add(index).write(figures.get(index).copied().unwrap_or(0)) };
            }
        }
        if client.is_null() { 0 } else { RS_STAT_COUNT }
    })
}
