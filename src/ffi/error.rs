//! `rs_error`: what went wrong, and what is known of the call. Also the numbers of all statuses.

use std::ffi::{CString, c_char};

use super::{free, guard_value, rs_status};
use crate::error::{Error, Reason, Status};

/// An argument is NULL, out of range or of the wrong length. Nothing was sent.
pub const RS_ERR_INVALID_ARGUMENT: rs_status = 100;
/// The URL cannot be used. Nothing was sent.
pub const RS_ERR_INVALID_URL: rs_status = 101;
/// An option, or a combination of options, cannot be used. Nothing was sent.
pub const RS_ERR_INVALID_OPTION: rs_status = 102;
/// The command would break the shared connection; the message says how to do it instead. Nothing was sent.
pub const RS_ERR_COMMAND_REFUSED: rs_status = 103;
/// The keys lie in more than one hash slot; the message names two of them. Nothing was sent.
pub const RS_ERR_CROSS_SLOT: rs_status = 104;
/// A read-only call of a script whose first line (`#!lua`) lacks the flag `no-writes`. Nothing was sent.
pub const RS_ERR_NOT_READ_ONLY: rs_status = 105;
/// The client or queue was made before fork(), by the parent process. Nothing was sent.
pub const RS_ERR_FORKED: rs_status = 106;
/// The client is closed or was freed, or the queue is closed. Nothing of the call was sent.
pub const RS_ERR_CLOSED: rs_status = 107;
/// In a cluster: the command's keys are not known to this library, or it concerns one server of several: name a route,
/// one of the RS_ROUTE_ numbers. Or no server has the address of the route. Nothing was sent.
pub const RS_ERR_NO_ROUTE: rs_status = 108;
/// The queue holds as many calls as it may, or as many blocking calls are in flight as rs_options_set_max_in_flight
/// allows. Nothing was sent.
pub const RS_ERR_QUEUE_FULL: rs_status = 109;
/// No connection: no such host, refused, unreachable, lost before anything was sent, or no descriptors left on this
/// side (RS_REASON_RESOURCES). Nothing was executed.
pub const RS_ERR_CONNECT: rs_status = 200;
/// The TLS handshake failed: certificate, host name, protocol. Nothing was executed.
pub const RS_ERR_TLS: rs_status = 201;
/// The server did not accept user, password or database number. Nothing was executed.
pub const RS_ERR_AUTH: rs_status = 202;
/// The deadline passed before anything was sent. Nothing was executed.
pub const RS_ERR_TIMEOUT: rs_status = 203;
/// The caller has cancelled it before anything was sent. Nothing was executed.
pub const RS_ERR_CANCELLED: rs_status = 204;
/// The call was sent and no reply came (deadline, lost connection, malformed reply): the server may have executed it,
/// or may yet.
pub const RS_ERR_INDETERMINATE: rs_status = 300;
/// The reply went over a limit of the options; the connection was closed. The server may have executed the call.
pub const RS_ERR_REPLY_LIMIT: rs_status = 301;
/// The call was executed, but up to the deadline too few replicas had it: it is lost if the primary dies now; see
/// `wait_replicas` of rs_script_options.
pub const RS_ERR_NOT_REPLICATED: rs_status = 302;
/// The server, or the script, answered with an error.
pub const RS_ERR_SERVER: rs_status = 400;
/// The server lacks the script, and it could not be sent along: in a pipeline it would come out of order, or the user
/// may neither load scripts nor evaluate them. The call was not executed.
pub const RS_ERR_NOSCRIPT: rs_status = 401;
/// The script or the library does not compile on that server, or a library does not load there for another fault of
/// its own. It was not executed.
pub const RS_ERR_COMPILE: rs_status = 402;
/// The server was still loading its data set when the deadline came. The call was not executed.
pub const RS_ERR_LOADING: rs_status = 403;
/// The server is busy with another script. The call was not executed.
pub const RS_ERR_BUSY: rs_status = 404;
/// The transaction was refused or aborted as a whole. Nothing in it was executed.
pub const RS_ERR_TRANSACTION_ABORTED: rs_status = 405;
/// The server lacks what was asked for, or is not what the URL says (no cluster, no sentinel). Nothing was executed.
pub const RS_ERR_NOT_SUPPORTED: rs_status = 406;
/// Up to the deadline no server of the cluster ran the call: slots without a server, slots on the move, no primary.
/// It was not executed.
pub const RS_ERR_NOT_SERVED: rs_status = 407;
/// The server lacks the function, and its library did not bring it there: the library does not register it, this user
/// may not load it, the server has no memory for it, or in a pipeline it would come out of order. The call was not
/// executed.
pub const RS_ERR_NO_FUNCTION: rs_status = 409;
/// Another script, or other keys or arguments, were called with the token before. This call was not executed; see
/// RS_SCRIPT_ONCE.
pub const RS_ERR_TOKEN_MISMATCH: rs_status = 410;
/// The call was executed, by an attempt before this one or by an earlier call with its token, and its reply was too
/// long to be kept; see RS_SCRIPT_ONCE.
pub const RS_ERR_REPLY_NOT_KEPT: rs_status = 411;
/// A defect of this library. Whether the call was executed is not known.
pub const RS_ERR_INTERNAL: rs_status = 500;
/// There is no memory for the call, and nothing of it was sent; or there is none for its reply, and the server may
/// have executed it. rs_error_is_not_executed tells which. Where a reply was being received, or a call was half
/// written, the connection was closed; other calls on it end with RS_ERR_INDETERMINATE, or with this one if nothing
/// of them was sent.
pub const RS_ERR_NO_MEMORY: rs_status = 501;
/// The system has no descriptors or threads left for a queue, or for the client's thread that submitted calls need.
/// Nothing was sent.
pub const RS_ERR_RESOURCES: rs_status = 502;

/// What ended a call: the time was over, that of the call or, with RS_ERR_CONNECT, that of the attempt to connect.
pub const RS_REASON_DEADLINE: i32 = 1;
/// What ended a call: the connection was lost with the call on it.
pub const RS_REASON_CONNECTION_LOST: i32 = 2;
/// What ended a call: its caller has cancelled it.
pub const RS_REASON_CANCELLED: i32 = 3;
/// What ended a call: the server sent something that is no reply.
pub const RS_REASON_PROTOCOL: i32 = 4;
/// What ended a call: the client was closed.
pub const RS_REASON_CLOSED: i32 = 5;
/// What ended a call: the server said so; it refused the call, or ran it and answered with an error. With
/// RS_ERR_LOADING and RS_ERR_NOT_SERVED: up to the deadline.
pub const RS_REASON_SERVER: i32 = 6;
/// What ended a call: there was no connection; no such host, refused, unreachable, no TLS.
pub const RS_REASON_CONNECT: i32 = 7;
/// What ended a call: a limit of the options or of a queue.
pub const RS_REASON_LIMIT: i32 = 8;
/// What ended a call: the call itself, as it was made. Nothing was sent.
pub const RS_REASON_ARGUMENT: i32 = 9;
/// What ended a call: a defect of this library.
pub const RS_REASON_INTERNAL: i32 = 10;
/// What ended a call: this side has no memory, descriptors or threads left.
pub const RS_REASON_RESOURCES: i32 = 11;

/// Why a call failed. Made by the functions that take an `rs_error **`; caller frees with rs_error_free.
///
/// Threads: one at a time.
pub struct rs_error {
    error: Error,
    message: CString,
    code: CString,
    node: CString,
}

impl rs_error {
    pub(super) fn new(error: Error) -> *mut rs_error {
        let message = without_nul(error.message());
        let code = without_nul(error.server_code().unwrap_or_default());
        let node = without_nul(error.node().unwrap_or_default());
        Box::into_raw(Box::new(rs_error { error, message, code, node }))
    }
}

/// C texts end at the first NUL, so one inside is shown as a space.
fn without_nul(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}

/// The status that the failed function returned.
///
/// NULL: RS_OK. Errors: none.
///
/// # Safety
/// `error` is NULL or a live rs_error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_error_status(error: *const rs_error) -> rs_status {
    // SAFETY: as documented.
    guard_value(0, || unsafe { error.as_ref() }.map_or(0, |error| error.error.status().code()))
}

/// What happened, as a sentence that ends in a NUL. Never holds a password. It may hold the server's own text, cut off
/// after 64 KiB, and that may quote a piece of a script that does not compile, or what a script has put into its
/// error.
///
/// Returns: borrowed until rs_error_free. NULL: an empty string. Errors: none.
///
/// # Safety
/// `error` is NULL or a live rs_error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_error_message(error: *const rs_error) -> *const c_char {
    // SAFETY: as documented.
    guard_value(c"".as_ptr(), || {
        unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.message.as_ptr())
    })
}

/// The first word of the server's error text, such as `WRONGTYPE`, `NOPERM` or `ERR`; empty when the server did not
/// answer.
///
/// Returns: borrowed until rs_error_free. NULL: an empty string. Errors: none.
///
/// # Safety
/// `error` is NULL or a live rs_error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_error_server_code(error: *const rs_error) -> *const c_char {
    // SAFETY: as documented.
    guard_value(c"".as_ptr(), || unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.code.as_ptr()))
}

/// Whether the call may have been executed, or may yet be, without this side ever learning of it; also where it was
/// executed and may be lost again (RS_ERR_NOT_REPLICATED).
///
/// NULL: false. Errors: none.
///
/// # Safety
/// `error` is NULL or a live rs_error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_error_is_indeterminate(error: *const rs_error) -> bool {
    // SAFETY: as documented.
    guard_value(false, || unsafe { error.as_ref() }.is_some_and(|error| error.error.is_indeterminate()))
}

/// Whether it is certain that the call was not executed and will not be, so that it may be made again. Neither this
/// nor rs_error_is_indeterminate holds for most errors of a script: it has done what it did before it failed.
///
/// NULL: false. Errors: none.
///
/// # Safety
/// `error` is NULL or a live rs_error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_error_is_not_executed(error: *const rs_error) -> bool {
    // SAFETY: as documented.
    guard_value(false, || unsafe { error.as_ref() }.is_some_and(|error| error.error.is_not_executed()))
}

/// What ended the call, one of the RS_REASON_ numbers, whatever is known of its execution: a deadline and a lost
/// connection may both be RS_ERR_INDETERMINATE. Later versions may have more of them.
///
/// NULL: 0. Errors: none.
///
/// # Safety
/// `error` is NULL or a live rs_error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_error_reason(error: *const rs_error) -> i32 {
    // SAFETY: as documented.
    guard_value(0, || unsafe { error.as_ref() }.map_or(0, |error| error.error.reason().code()))
}

/// No index: of rs_error_index. `SIZE_MAX`, which cbindgen does not know: it stands in `include/macros.h.in`.
///
/// cbindgen:ignore
pub const RS_NO_INDEX: usize = usize::MAX;

/// The item of a pipeline or transaction that the error is about, counted from 0; of several without an answer, the
/// first. RS_NO_INDEX: it is about no one item.
///
/// NULL: RS_NO_INDEX. Errors: none.
///
/// # Safety
/// `error` is NULL or a live rs_error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_error_index(error: *const rs_error) -> usize {
    guard_value(RS_NO_INDEX, || {
        // SAFETY: as documented.
        unsafe { error.as_ref() }.and_then(|error| error.error.index()).unwrap_or(RS_NO_INDEX)
    })
}

/// The server that the error is about, as `host:port` or the path of a socket; empty where no server is to blame, or
/// which one is not known.
///
/// Returns: borrowed until rs_error_free. NULL: an empty string. Errors: none.
///
/// # Safety
/// `error` is NULL or a live rs_error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_error_node(error: *const rs_error) -> *const c_char {
    // SAFETY: as documented.
    guard_value(c"".as_ptr(), || unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.node.as_ptr()))
}

/// Frees an error.
///
/// NULL: does nothing. Errors: none.
///
/// # Safety
/// `error` is NULL or a live rs_error; it is not live afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_error_free(error: *mut rs_error) {
    // SAFETY: as documented.
    unsafe { free(error) }
}

/// The name of a status, such as `RS_ERR_INDETERMINATE`.
///
/// Returns: a string that lives as long as the library. A number that is no status: `RS_ERR_UNKNOWN`. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn rs_status_name(status: rs_status) -> *const c_char {
    let name = match status {
        super::RS_OK => c"RS_OK",
        _ => STATUSES
            .iter()
            .find(|(known, _)| known.code() == status)
            .map_or(c"RS_ERR_UNKNOWN", |(_, name)| name),
    };
    name.as_ptr()
}

/// The name of a reason, such as `RS_REASON_DEADLINE`.
///
/// Returns: a string that lives as long as the library. A number that is no reason: `RS_REASON_UNKNOWN`. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn rs_reason_name(reason: i32) -> *const c_char {
    let named = REASONS.iter().find(|(known, _)| known.code() == reason);
    named.map_or(c"RS_REASON_UNKNOWN", |(_, name)| name).as_ptr()
}

const REASONS: &[(Reason, &std::ffi::CStr)] = &[
    (Reason::Deadline, c"RS_REASON_DEADLINE"),
    (Reason::ConnectionLost, c"RS_REASON_CONNECTION_LOST"),
    (Reason::Cancelled, c"RS_REASON_CANCELLED"),
    (Reason::Protocol, c"RS_REASON_PROTOCOL"),
    (Reason::Closed, c"RS_REASON_CLOSED"),
    (Reason::Server, c"RS_REASON_SERVER"),
    (Reason::Connect, c"RS_REASON_CONNECT"),
    (Reason::Limit, c"RS_REASON_LIMIT"),
    (Reason::Argument, c"RS_REASON_ARGUMENT"),
    (Reason::Internal, c"RS_REASON_INTERNAL"),
    (Reason::Resources, c"RS_REASON_RESOURCES"),
];

const STATUSES: &[(Status, &std::ffi::CStr)] = &[
    (Status::InvalidArgument, c"RS_ERR_INVALID_ARGUMENT"),
    (Status::InvalidUrl, c"RS_ERR_INVALID_URL"),
    (Status::InvalidOption, c"RS_ERR_INVALID_OPTION"),
    (Status::CommandRefused, c"RS_ERR_COMMAND_REFUSED"),
    (Status::CrossSlot, c"RS_ERR_CROSS_SLOT"),
    (Status::NotReadOnly, c"RS_ERR_NOT_READ_ONLY"),
    (Status::Forked, c"RS_ERR_FORKED"),
    (Status::Closed, c"RS_ERR_CLOSED"),
    (Status::NoRoute, c"RS_ERR_NO_ROUTE"),
    (Status::QueueFull, c"RS_ERR_QUEUE_FULL"),
    (Status::Connect, c"RS_ERR_CONNECT"),
    (Status::Tls, c"RS_ERR_TLS"),
    (Status::Auth, c"RS_ERR_AUTH"),
    (Status::Timeout, c"RS_ERR_TIMEOUT"),
    (Status::Cancelled, c"RS_ERR_CANCELLED"),
    (Status::Indeterminate, c"RS_ERR_INDETERMINATE"),
    (Status::ReplyLimit, c"RS_ERR_REPLY_LIMIT"),
    (Status::NotReplicated, c"RS_ERR_NOT_REPLICATED"),
    (Status::Server, c"RS_ERR_SERVER"),
    (Status::NoScript, c"RS_ERR_NOSCRIPT"),
    (Status::Compile, c"RS_ERR_COMPILE"),
    (Status::Loading, c"RS_ERR_LOADING"),
    (Status::Busy, c"RS_ERR_BUSY"),
    (Status::TransactionAborted, c"RS_ERR_TRANSACTION_ABORTED"),
    (Status::NotSupported, c"RS_ERR_NOT_SUPPORTED"),
    (Status::NotServed, c"RS_ERR_NOT_SERVED"),
    (Status::NoFunction, c"RS_ERR_NO_FUNCTION"),
    (Status::TokenMismatch, c"RS_ERR_TOKEN_MISMATCH"),
    (Status::ReplyNotKept, c"RS_ERR_REPLY_NOT_KEPT"),
    (Status::Internal, c"RS_ERR_INTERNAL"),
    (Status::NoMemory, c"RS_ERR_NO_MEMORY"),
    (Status::Resources, c"RS_ERR_RESOURCES"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_c_are_those_of_rust() {
        for (number, status) in [
            (RS_ERR_INVALID_ARGUMENT, Status::InvalidArgument),
            (RS_ERR_INVALID_URL, Status::InvalidUrl),
            (RS_ERR_INVALID_OPTION, Status::InvalidOption),
            (RS_ERR_COMMAND_REFUSED, Status::CommandRefused),
            (RS_ERR_CROSS_SLOT, Status::CrossSlot),
            (RS_ERR_NOT_READ_ONLY, Status::NotReadOnly),
            (RS_ERR_FORKED, Status::Forked),
            (RS_ERR_CLOSED, Status::Closed),
            (RS_ERR_NO_ROUTE, Status::NoRoute),
            (RS_ERR_QUEUE_FULL, Status::QueueFull),
            (RS_ERR_CONNECT, Status::Connect),
            (RS_ERR_TLS, Status::Tls),
            (RS_ERR_AUTH, Status::Auth),
            (RS_ERR_TIMEOUT, Status::Timeout),
            (RS_ERR_CANCELLED, Status::Cancelled),
            (RS_ERR_INDETERMINATE, Status::Indeterminate),
            (RS_ERR_REPLY_LIMIT, Status::ReplyLimit),
            (RS_ERR_SERVER, Status::Server),
            (RS_ERR_NOSCRIPT, Status::NoScript),
            (RS_ERR_COMPILE, Status::Compile),
            (RS_ERR_LOADING, Status::Loading),
            (RS_ERR_BUSY, Status::Busy),
            (RS_ERR_TRANSACTION_ABORTED, Status::TransactionAborted),
            (RS_ERR_NOT_SUPPORTED, Status::NotSupported),
            (RS_ERR_NOT_SERVED, Status::NotServed),
            (RS_ERR_NO_FUNCTION, Status::NoFunction),
            (RS_ERR_TOKEN_MISMATCH, Status::TokenMismatch),
            (RS_ERR_REPLY_NOT_KEPT, Status::ReplyNotKept),
            (RS_ERR_NOT_REPLICATED, Status::NotReplicated),
            (RS_ERR_INTERNAL, Status::Internal),
            (RS_ERR_NO_MEMORY, Status::NoMemory),
            (RS_ERR_RESOURCES, Status::Resources),
        ] {
            assert_eq!(number, status.code());
        }
        for (number, reason) in [
            (RS_REASON_DEADLINE, Reason::Deadline),
            (RS_REASON_CONNECTION_LOST, Reason::ConnectionLost),
            (RS_REASON_CANCELLED, Reason::Cancelled),
            (RS_REASON_PROTOCOL, Reason::Protocol),
            (RS_REASON_CLOSED, Reason::Closed),
            (RS_REASON_SERVER, Reason::Server),
            (RS_REASON_CONNECT, Reason::Connect),
            (RS_REASON_LIMIT, Reason::Limit),
            (RS_REASON_ARGUMENT, Reason::Argument),
            (RS_REASON_INTERNAL, Reason::Internal),
            (RS_REASON_RESOURCES, Reason::Resources),
        ] {
            assert_eq!(number, reason.code());
            assert!(REASONS.iter().any(|(known, _)| *known == reason));
        }
    }
}
