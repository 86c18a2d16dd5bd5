//! `rs_event`: what a client tells of its connections.

use std::ffi::{c_char, c_void};

use super::{RS_OK, rs_status};
use crate::base::log::Event;

/// The first connection to a server was made.
pub const RS_EVENT_CONNECTED: i32 = 1;
/// Another connection to a server was made, in place of one before.
pub const RS_EVENT_RECONNECTED: i32 = 2;
/// An attempt to connect has failed.
pub const RS_EVENT_CONNECT_FAILED: i32 = 3;
/// The connection to a server was lost or given up: told when that is noticed, which a client that has no call under
/// way and no thread (see rs_queue) does with its next call.
pub const RS_EVENT_CONNECTION_LOST: i32 = 4;
/// A server did not accept user or password, or there was nothing to log in with: on a new connection, or on an open
/// one, which stays in use.
pub const RS_EVENT_AUTH_FAILED: i32 = 5;
/// An open connection has logged in again.
pub const RS_EVENT_REAUTHENTICATED: i32 = 6;
/// A connection is replaced because the user has changed.
pub const RS_EVENT_USER_CHANGED: i32 = 7;
/// A cluster has other primaries than before, or is known for the first time.
pub const RS_EVENT_PRIMARIES_CHANGED: i32 = 8;
/// Another server is the primary now, of one without a cluster.
pub const RS_EVENT_FAILOVER: i32 = 9;
/// A server of a cluster has said that a slot is another's now.
pub const RS_EVENT_SLOT_MOVED: i32 = 10;
/// A server evicts keys, so that calls of an RS_SCRIPT_ONCE may happen twice.
pub const RS_EVENT_EVICTS_TOKENS: i32 = 11;

/// Something that has happened to a client's connections. The library makes it, and later versions append to it: what
/// lies beyond its `size` is not there. Texts are borrowed until the callback returns.
#[repr(C)]
pub struct rs_event {
    /// The size of this structure, as the library knows it.
    size: u32,
    /// One of the RS_EVENT_ numbers; later versions have more.
    kind: i32,
    /// One of the RS_LOG_LEVEL_ numbers.
    level: i32,
    /// The status of the error behind it, or RS_OK.
    status: rs_status,
    /// One of the RS_REASON_ numbers, or 0.
    reason: i32,
    /// The server that it concerns: `host:port` or a socket's path, `node_len` bytes and a NUL. NULL where it is
    /// about no one.
    node: *const c_char,
    node_len: usize,
    /// The same in words, `message_len` bytes and a NUL; never with a password, a key, an argument or a script.
    message: *const c_char,
    message_len: usize,
}

/// Receives the events of a client. It is called on the thread on which the event happened, perhaps on several at
/// once, and must neither block nor call the client; it may free it. It is not called any more once the client's last
/// handle has been freed, and its last pipeline.
pub type rs_log_fn = Option<unsafe extern "C" fn(context: *mut c_void, event: *const rs_event)>;

impl rs_event {
    /// Hands an event over as C wants it.
    pub(super) fn tell(event: &Event<'_>, to: impl FnOnce(*const rs_event)) {
        let [node, message] = [event.node.unwrap_or_default(), event.message].map(|text| {
            let mut text = text.replace('\0', " ").into_bytes();
            text.push(0);
            text
        });
        let told = rs_event {
            size: size_of::<rs_event>() as u32,
            kind: event.kind as i32,
            level: event.level as i32,
            status: event.status.map_or(RS_OK, |status| status.code()),
            reason: event.reason.map_or(0, |reason| reason.code()),
            node: event.node.map_or(std::ptr::null(), |_| node.as_ptr().cast()),
            node_len: node.len() - 1,
            message: message.as_ptr().cast(),
            message_len: message.len() - 1,
        };
        to(&raw const told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::log::EventKind;

    #[test]
    fn the_numbers_are_those_of_the_safe_side_and_the_layout_is_fixed() {
        for (number, kind) in [
            (RS_EVENT_CONNECTED, EventKind::Connected),
            (RS_EVENT_RECONNECTED, EventKind::Reconnected),
            (RS_EVENT_CONNECT_FAILED, EventKind::ConnectFailed),
            (RS_EVENT_CONNECTION_LOST, EventKind::ConnectionLost),
            (RS_EVENT_AUTH_FAILED, EventKind::AuthFailed),
            (RS_EVENT_REAUTHENTICATED, EventKind::Reauthenticated),
            (RS_EVENT_USER_CHANGED, EventKind::UserChanged),
            (RS_EVENT_PRIMARIES_CHANGED, EventKind::PrimariesChanged),
            (RS_EVENT_FAILOVER, EventKind::Failover),
            (RS_EVENT_SLOT_MOVED, EventKind::SlotMoved),
            (RS_EVENT_EVICTS_TOKENS, EventKind::EvictsTokens),
        ] {
            assert_eq!(number, kind as i32);
        }
        #[cfg(target_pointer_width = "64")]
        {
            use std::mem::offset_of;
            assert_eq!(size_of::<rs_event>(), 56);
            assert_eq!(offset_of!(rs_event, node), 24);
            assert_eq!(offset_of!(rs_event, message_len), 48);
        }
    }
}
