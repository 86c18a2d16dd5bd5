//! What a call may take, where it goes and what it shares: these setters of the options.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Options, invalid, wait};
use crate::error::Result;
use crate::request::route::ReadFrom;

/// Below this the handshake's own replies (HELLO lists every module) might not fit.
const LEAST_MAX_REPLY_BYTES: usize = 64 << 10;

const SHARED_CONNECTIONS: RangeInclusive<usize> = 1..=64;

const MAX_REPLY_DEPTH: RangeInclusive<usize> = 8..=1024;

impl Options {
    /// The deadline of a call, all its attempts and any connecting together. Default: 10 seconds.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.call_timeout(std::time::Duration::from_secs(2))?;
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn call_timeout(&mut self, timeout: Duration) -> Result<&mut Self> {
        self.call_timeout = wait("call_timeout", timeout)?;
        Ok(self)
    }

    /// When a connection is taken for dead that nobody has ended: once a call has missed its deadline on it, and
    /// calls were waiting on it for so long without a single byte coming. New calls take a new connection from then
    /// on; those that wait on the old one go on waiting until their own deadlines, and get their replies if they come
    /// after all. Several calls that were lost on it, are not answered, and hold more than 16 MiB together have the same
    /// effect at once, also where others are answered. Default: the URL's `silence_timeout_ms`, or else 500 milliseconds.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.silence_timeout(std::time::Duration::from_millis(300))?;
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn silence_timeout(&mut self, timeout: Duration) -> Result<&mut Self> {
        self.silence_timeout = Some(wait("silence_timeout", timeout)?);
        Ok(self)
    }

    /// The largest reply to accept, in bytes as sent by the server; at least 64 KiB. Default: 513 MiB, which is the
    /// longest string that servers allow by default and 1 MiB of room around it.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.max_reply_bytes(16 << 20)?;
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn max_reply_bytes(&mut self, bytes: u64) -> Result<&mut Self> {
        self.limits.max_bytes =
            usize::try_from(bytes).ok().filter(|bytes| *bytes >= LEAST_MAX_REPLY_BYTES).ok_or_else(|| {
                invalid("max_reply_bytes", "must be at least 65536 and fit this machine's memory")
            })?;
        Ok(self)
    }

    /// The deepest nesting of arrays and maps to accept in a reply, 8 to 1024. Default: 128.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.max_reply_depth(16)?;
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn max_reply_depth(&mut self, depth: usize) -> Result<&mut Self> {
        if !MAX_REPLY_DEPTH.contains(&depth) {
            return Err(invalid("max_reply_depth", "must be 8 to 1024"));
        }
        self.limits.max_depth = depth;
        Ok(self)
    }

    /// How many commands may wait on servers at a time (BLPOP, XREAD BLOCK, ...), 1 at least: each has a connection
    /// of its own. More stand in line until one has ended, or their deadlines have passed; no other call stands
    /// behind them. Default: 1,000.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.max_waiting(50)?;
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn max_waiting(&mut self, count: usize) -> Result<&mut Self> {
        if count == 0 {
            return Err(invalid("max_waiting", "must be 1 at least"));
        }
        self.max_waiting = count;
        Ok(self)
    }

    /// How many connections to each server calls may share, 1 to 64. Default: 1, on which a reply of 64 MiB, or a
    /// pipeline of slow scripts, holds up all calls behind it.
    ///
    /// With more, a call takes the connection with the fewest calls under way, and another is made where all have
    /// some. Calls with a key in common keep their order: they take the same connection, and where such calls are
    /// under way on several, a call waits for them before it is sent. So does one that may touch anything, such as
    /// FLUSHALL or a script without keys, with all calls before and behind it. A blocking call costs a little more
    /// than on one connection.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.shared_connections(4)?;
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn shared_connections(&mut self, count: usize) -> Result<&mut Self> {
        if !SHARED_CONNECTIONS.contains(&count) {
            return Err(invalid("shared_connections", "must be 1 to 64"));
        }
        self.shared_connections = count;
        Ok(self)
    }

    /// How many blocking calls and futures may be in flight at a time, of all threads together; 0: any number. One
    /// more ends at once with [`Status::QueueFull`](crate::Status::QueueFull), and nothing of it is sent: so a server
    /// that is slow does not collect every thread of a program. Submitted calls are bounded by their queues.
    /// Administration of scripts and libraries is not counted, nor is what stops a script. Default: 0.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.max_in_flight(200);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn max_in_flight(&mut self, calls: usize) -> &mut Self {
        self.max_in_flight = calls;
        self
    }

    /// Which servers run read-only calls. Default: [`ReadFrom::Primary`].
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.read_from(rs_script::ReadFrom::PreferReplica);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn read_from(&mut self, read_from: ReadFrom) -> &mut Self {
        self.read_from = read_from;
        self
    }
}
