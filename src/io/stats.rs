//! What a client's calls have cost so far.

use crate::session::Counters;

/// Figures of one client since it was opened, over all its connections.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// let one = rs_script::Script::new("return 1");
/// one.call::<u8>(&client)?;
/// assert_eq!(client.stats().script_loads, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls sent: commands, scripts and pipelines, those sent a second time counted again, the handshakes, and what
    /// the library asks servers for itself.
    pub calls: u64,
    /// Round trips: bursts of writing to a socket. A burst is all that waits when sending begins; what is queued
    /// later makes the next one. So calls that travel together share one, and a call made when all before it have
    /// ended adds exactly one each time that something of it is sent; a pipeline of more than 256 KiB travels in
    /// several.
    pub round_trips: u64,
    /// Bytes sent, before encryption.
    pub bytes_sent: u64,
    /// Bytes received, after decryption.
    pub bytes_received: u64,
    /// SCRIPT LOADs and FUNCTION LOADs sent of the library's own accord.
    pub script_loads: u64,
    /// Scripts and functions loaded and sent again because the server had lost them.
    pub noscript_repairs: u64,
    /// Connections opened after the first one to each server, those of commands that wait not counted.
    pub reconnects: u64,
    /// MOVED and ASK redirections followed.
    pub redirects: u64,
    /// Calls in flight now, those included whose callers have left.
    pub in_flight: u64,
}

impl Stats {
    pub(crate) fn add(&mut self, counters: Counters, in_flight: usize) {
        self.calls += counters.calls;
        self.round_trips += counters.flushes;
        self.bytes_sent += counters.bytes_sent;
        self.bytes_received += counters.bytes_received;
        self.script_loads += counters.script_loads;
        self.noscript_repairs += counters.noscript_repairs;
        self.in_flight += in_flight as u64;
    }
}
