//! `rs_client`: opening, commands, closing.

use std::ffi::c_char;

use super::call_options::{CallOptions, rs_call_options};
use super::error::rs_error;
use super::options::rs_options;
use super::reply::{self, rs_reply};
use super::{Out, Strings, free, guard, guard_held, guard_value, handle, invalid, rs_status, text};
use crate::api::client::Client;
use crate::base::threads::{self, Place};
use crate::config::Options;
use crate::request::Flags;

/// A connection to a server that any number of threads may share; their calls travel together. Caller frees with
/// rs_client_free.
///
/// A blocking call does its input and output on the thread that makes it; for submitted calls see rs_queue. A child of
/// fork() must open a client of its own: calls on its parent's end with RS_ERR_FORKED. A fork that runs no handlers
/// of pthread_atfork, as _Fork(), goes unnoticed.
pub struct rs_client {
    pub(super) client: Client,
}

impl rs_client {
    pub(super) fn new(client: Client) -> *mut rs_client {
        Box::into_raw(Box::new(rs_client { client }))
    }
}

/// Opens a client, and its connection unless the options say "lazy".
///
/// `url`: `redis://[[user]:password@]host[:port][/database]`, `rediss://...` for TLS, `unix:///path`, a cluster as
/// `redis+cluster://[[user]:password@]host[:port],host[:port],...`, or the primary of a service behind sentinels as
/// `redis+sentinel://[[user]:password@]host[:port],.../service[/database]`; copied. `options`: NULL for the defaults;
/// copied. `*client`: caller frees with rs_client_free; NULL on failure; `client` not NULL. `err` may be NULL.
///
/// Each server that the URL names is tried once, for no longer than the connect timeout; all of it takes no longer
/// than the call timeout.
///
/// Errors: RS_ERR_INVALID_ARGUMENT, RS_ERR_INVALID_URL, RS_ERR_INVALID_OPTION; RS_ERR_CONNECT, RS_ERR_TLS,
/// RS_ERR_AUTH, RS_ERR_TIMEOUT; RS_ERR_NOT_SUPPORTED where the server is not what the URL says (no cluster, no
/// sentinel) or does not speak the RESP3 that was asked for; RS_ERR_LOADING, RS_ERR_BUSY and RS_ERR_NOT_SERVED where
/// the servers answer so. Threads: any.
///
/// cbindgen:postfix=RS_NOT_NULL(url) RS_NOT_NULL(client)
///
/// # Safety
/// `url` is NULL or ends in a NUL; the other pointers are NULL or what they are declared as.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_open(
    url: *const c_char,
    options: *const rs_options,
    client: *mut *mut rs_client,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let out = unsafe { Out::new(client) };
    guard_held(err, || {
        out.required("client")?;
        // SAFETY: as documented.
        let (url, options) = unsafe { (text(url, "url")?, options.as_ref()) };
        let options = options.map_or_else(Options::default, |options| options.options.clone());
        out.set(rs_client::new(Client::open(url, &options)?));
        Ok(())
    })
}

/// Another handle of the same client, whose calls have these options unless they say otherwise themselves. It shares
/// the connections and is closed with the client.
///
/// `defaults`: `timeout_ms`, `read_from` and `route`, what is not set stays as `client` has it; `flags` and `token`
/// belong to a call and are 0 here; copied. `*view`: caller frees with rs_client_free; NULL on failure; `view` not
/// NULL. `err` may be NULL. Errors: RS_ERR_INVALID_ARGUMENT. Threads: any.
///
/// cbindgen:postfix=RS_NOT_NULL(client) RS_NOT_NULL(view)
///
/// # Safety
/// The pointers are NULL or what they are declared as.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_with(
    client: *mut rs_client,
    defaults: *const rs_call_options,
    view: *mut *mut rs_client,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let out = unsafe { Out::new(view) };
    guard_held(err, || {
        out.required("view")?;
        // SAFETY: as documented.
        let (client, options) = unsafe { (handle(client, "client")?, CallOptions::new(defaults)?) };
        if options.flags.token.is_some() {
            return Err(invalid("options.token", "is of a call, not of a client"));
        }
        if options.flags != Flags::NONE {
            return Err(invalid("options.flags", "are of a call, not of a client"));
        }
        out.set(rs_client::new(options.client(&client.client)?.into_owned()));
        Ok(())
    })
}

/// Sends a command as it is, for example `SET foo 2`, and waits for its reply.
///
/// `argv`: `argc` arguments, the command's name first; `argvlen`: their lengths, or NULL when each ends in a NUL;
/// copied. `options`: NULL for the client's; copied. `err` may be NULL. `*reply`: caller frees with rs_reply_free;
/// NULL on failure; `reply` may be NULL when it is of no interest.
///
/// Commands that would change the connection under other callers (MULTI, WATCH, SUBSCRIBE, MONITOR, SELECT, AUTH,
/// HELLO, CLIENT REPLY, ...) are refused with RS_ERR_COMMAND_REFUSED. Commands that wait (BLPOP, XREAD BLOCK, ...)
/// get a connection of their own, opened for them. In a cluster a command goes to the primary that has its keys. One
/// without keys goes to any primary if they all answer it alike (PING, PUBLISH, ...); any other needs a route, such
/// as RS_ROUTE_ALL: RS_ERR_NO_ROUTE.
///
/// Errors: any of RS_ERR_. A command is sent again only when the server provably did not run it, as after a
/// redirection: when its reply is lost the status is RS_ERR_INDETERMINATE, unless the flags allow it to run twice.
/// Threads: any.
///
/// cbindgen:postfix=RS_NOT_NULL(client) RS_NOT_NULL(argv)
///
/// # Safety
/// `argv` and `argvlen` hold `argc` elements each; the other pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_command(
    client: *mut rs_client,
    argc: usize,
    argv: *const *const c_char,
    argvlen: *const usize,
    options: *const rs_call_options,
    reply: *mut *mut rs_reply,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let out = unsafe { Out::new(reply) };
    guard(err, || {
        // SAFETY: as documented.
        let (client, arguments, options) = unsafe {
            (
                handle(client, "client")?,
                Strings::new(argc, argv, argvlen, "argv")?,
                CallOptions::new(options)?,
            )
        };
        let client = options.client(&client.client)?;
        give(&out, client.command_of(&arguments.slices()?, options.flags)?);
        Ok(())
    })
}

/// Hands a reply over, or drops it when the caller has no interest in it.
#[inline]
pub(super) fn give(out: &Out<rs_reply>, reply: crate::resp::Reply) {
    if out.required("reply").is_ok() {
        out.set(reply::into_raw(reply));
    }
}

/// Closes the client under all its handles. Calls in flight on other threads end at once: with RS_ERR_CLOSED, or with
/// RS_ERR_INDETERMINATE where bytes were sent; one that is connecting gives up. Later calls end with RS_ERR_CLOSED.
/// The handles are still to be freed. In a child of fork() it does nothing: the connection is the parent's.
///
/// NULL: does nothing. Errors: none. Threads: any.
///
/// # Safety
/// `client` is NULL or a live client.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_close(client: *mut rs_client) {
    // SAFETY: as documented.
    guard_value((), || {
        if let Some(client) = unsafe { client.as_ref() } {
            client.client.close();
        }
    });
}

/// Frees a handle of a client; the last one closes it, and waits until its threads have ended: a moment, unless one
/// of them is in the log callback. Then every call that was submitted is completed, and the log callback is not
/// called any more. A pipeline keeps a client open as a handle does: where one is left, all this happens when that is
/// freed. Scripts do not keep it open: calling one that was registered with it ends with RS_ERR_CLOSED then.
///
/// Called in the callback for the log or for credentials, of whichever client, it does not wait: the client's threads
/// end by themselves, and the library stays loaded. Where a call of the same thread has led to the log callback, the
/// handle's memory is not given back either, because the call still uses it, and the contexts of the client's call
/// hook and credentials are not freed. In a callback of rs_queue_dispatch it works as everywhere else.
///
/// NULL: does nothing. Errors: none. Threads: not while another thread uses this handle.
///
/// # Safety
/// `client` is NULL or a live client; it is not live afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_free(client: *mut rs_client) {
    if threads::place() == Place::Callback {
        // A call of this thread waits for the callback, perhaps through this very handle: its memory stays where it
        // is. SAFETY: as documented.
        return guard_value((), || unsafe { client.as_ref() }.map_or((), |client| client.client.give_up()));
    }
    // SAFETY: as documented.
    unsafe { free(client) }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::ptr::{null, null_mut};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicPtr, Ordering};

    use super::*;
    use crate::net::testing::Server;

    #[test]
    fn handles_that_are_freed_in_the_log_callback_do_not_keep_the_client_open() {
        let server = Server::start(None);
        let url = CString::new(format!("redis://127.0.0.1:{}", server.port)).unwrap();
        let (view, told) = (Arc::new(AtomicPtr::<rs_client>::default()), Arc::new(()));
        let (to_free, context) = (Arc::clone(&view), Arc::clone(&told));
        let mut options = Options::default();
        options.lazy_connect(true).log(move |_| {
            let _context = &context;
            // SAFETY: a handle that nobody uses, and NULL from then on.
            unsafe { rs_client_free(to_free.swap(null_mut(), Ordering::AcqRel)) };
        });
        let client = rs_client::new(Client::open(url.to_str().unwrap(), &options).unwrap());
        drop(options);
        let mut other = null_mut();
        let ping = c"PING".as_ptr();
        // SAFETY: live handles, one argument, and places for what is given back.
        unsafe {
            assert_eq!(rs_client_with(client, null(), &raw mut other, null_mut()), super::super::RS_OK);
            view.store(other, Ordering::Release);
            rs_client_command(client, 1, &raw const ping, null(), null(), null_mut(), null_mut());
            assert!(view.load(Ordering::Acquire).is_null(), "the log has told of the connection");
            assert!(!(*client).client.io().is_closed());
            rs_client_free(client);
            assert!((*other).client.io().is_closed());
        }
        assert_eq!(Arc::strong_count(&told), 1, "the log ends with the last handle");
    }
}
