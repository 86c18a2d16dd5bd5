//! `rs_library`: libraries of functions; registering, calling and administering them.

use std::ffi::{CStr, c_char};
use std::mem::offset_of;

use super::call_options::{Growing, once_of, read, rs_script_options, script_with};
use super::client::{give, rs_client};
use super::error::rs_error;
use super::reply::{self, rs_reply};
use super::script::rs_script;
use super::{Out, bytes, free, guard_held, guard_value, handle, invalid, rs_status};
use crate::api::client::{Client, WeakClient};
use crate::error::Result;
use crate::request::library::Library;
use crate::request::once::Once;
use crate::resp::Reply;

/// The library has the names that are written in it, which others may call and replace. It is loaded where it
/// is missing, and what is there is never replaced but by rs_client_library_deploy.
///
/// Without this flag it is pinned: a digest of its source is put behind its name and behind those of its
/// functions, so that a name means one code, and any number of versions live side by side. An error that a
/// pinned library's function returns gets ` script: rs` behind it, so that it can never be taken for the
/// server's own words. Of a named library's functions, one that returns to the letter `ERR Function not
/// found` is not told apart from a server that lacks it by that text: the server is asked, and where that
/// shows nothing the call ends with RS_ERR_INDETERMINATE.
pub const RS_LIBRARY_NAMED: u32 = 1;
/// The library's functions happen exactly once for each call of them; see RS_SCRIPT_ONCE, whose limits and errors are
/// the same. On the server it is another library than the one without this flag, and has another name. A named library
/// cannot have it.
///
/// A function with the flag `no-writes` has nothing that could happen twice. It is called read-only, without a token;
/// otherwise it runs again when its call is sent again, and with a token of the caller's own it is refused:
/// RS_ERR_INVALID_ARGUMENT.
pub const RS_LIBRARY_ONCE: u32 = 2;

/// What a library has beside its source. NULL in its place, and each field that is 0, is nothing. It starts
/// as RS_LIBRARY_OPTIONS_INIT, or as RS_LIBRARY_OPTIONS(...) where it is an argument; see rs_call_options,
/// whose errors are the same.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rs_library_options {
    /// `sizeof(rs_library_options)`.
    pub size: u32,
    /// RS_LIBRARY_ flags.
    pub flags: u32,
    /// With RS_LIBRARY_ONCE, as all fields from here on: `token_lifetime_ms` of rs_script_options.
    pub token_lifetime_ms: u64,
    /// `wait_timeout_ms` of rs_script_options.
    pub wait_timeout_ms: u64,
    /// `reply_limit` of rs_script_options.
    pub reply_limit: usize,
    /// `token_prefix` of rs_script_options.
    pub token_prefix: *const c_char,
    /// The length of `token_prefix`.
    pub token_prefix_len: usize,
    /// `wait_replicas` of rs_script_options.
    pub wait_replicas: usize,
}

impl rs_library_options {
    /// How calls of its functions happen once, if they do.
    ///
    /// # Safety
    /// `token_prefix` points to as many bytes as `token_prefix_len` says, or is NULL.
    unsafe fn once(&self) -> Result<Option<Once>> {
        let is_once = self.flags & RS_LIBRARY_ONCE != 0;
        let fields = rs_script_options {
            token_lifetime_ms: self.token_lifetime_ms,
            reply_limit: self.reply_limit,
            token_prefix: self.token_prefix,
            token_prefix_len: self.token_prefix_len,
            wait_replicas: self.wait_replicas,
            wait_timeout_ms: self.wait_timeout_ms,
            ..rs_script_options::NOTHING
        };
        // SAFETY: as promised.
        let once = unsafe { once_of(&fields, is_once, "RS_LIBRARY_ONCE")? };
        Ok(is_once.then_some(once))
    }
}

// SAFETY: `repr(C)`, begins with a `u32`, and the assertions below count its bytes.
unsafe impl Growing for rs_library_options {
    const SIZES: &'static [usize] = &[size_of::<Self>()];
}

// The header asserts the same.
const _: () = {
    assert!(size_of::<rs_library_options>() == 24 + 4 * size_of::<usize>());
    assert!(offset_of!(rs_library_options, flags) == 4);
    assert!(offset_of!(rs_library_options, token_lifetime_ms) == 8);
    assert!(offset_of!(rs_library_options, wait_timeout_ms) == 16);
    assert!(offset_of!(rs_library_options, reply_limit) == 24);
    assert!(offset_of!(rs_library_options, token_prefix) == 24 + size_of::<usize>());
    assert!(offset_of!(rs_library_options, token_prefix_len) == 24 + 2 * size_of::<usize>());
    assert!(offset_of!(rs_library_options, wait_replicas) == 24 + 3 * size_of::<usize>());
};

/// A library of functions, immutable, usable with any client, server and thread. Caller frees with
/// rs_library_free; its functions go on without it.
pub struct rs_library {
    library: Library,
    client: Option<WeakClient>,
}

/// Makes a library of exactly these bytes. No input or output takes place; whether it compiles shows at the
/// first call of a function of it.
///
/// `client`: the one that calls use which name none; may be NULL; it is not kept open by the library.
/// `source`: `len` bytes, the first line `#!lua name=...`; copied. `options`: may be NULL; copied.
/// `*library`: caller frees with rs_library_free; NULL on failure; `library` not NULL. `err` may be NULL.
///
/// Errors: RS_ERR_INVALID_ARGUMENT, for a source without such a first line too. Threads: any.
///
/// Redis: <https://redis.io/docs/latest/develop/programmability/functions-intro/>
///
/// cbindgen:postfix=RS_NOT_NULL(library)
///
/// # Safety
/// `source` points to `len` bytes; `options` is NULL or points to as many bytes as its first field says, and
/// `token_prefix` to as many as its length says; the other pointers are NULL or what they are declared as.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_library_register(
    client: *mut rs_client,
    source: *const c_char,
    len: usize,
    options: *const rs_library_options,
    library: *mut *mut rs_library,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let out = unsafe { Out::new(library) };
    guard_held(err, || {
        out.required("library")?;
        // SAFETY: as documented.
        let (client, source) = unsafe { (client.as_ref(), bytes(source, len, "source")?) };
        let options = match options.is_null() {
            true => rs_library_options::NOTHING,
            // SAFETY: as documented.
            false => unsafe { read(options)? },
        };
        let library = match options.flags {
            0 | RS_LIBRARY_ONCE => Library::pinned(source)?,
            RS_LIBRARY_NAMED => Library::named(source)?,
            flags if flags == RS_LIBRARY_NAMED | RS_LIBRARY_ONCE => {
                let why = "are two of which a library has one: RS_LIBRARY_NAMED, RS_LIBRARY_ONCE";
                return Err(invalid("options.flags", why));
            }
            _ => return Err(invalid("options.flags", "has bits that are no RS_LIBRARY_ flag")),
        };
        // SAFETY: as documented.
        let library = match unsafe { options.once()? } {
            None => library,
            Some(once) => library.once(&once).map_err(|error| error.context("options"))?,
        };
        let client = client.map(|client| client.client.downgrade());
        out.set(Box::into_raw(Box::new(rs_library { library, client })));
        Ok(())
    })
}

/// Gives a function of a library, to be called as a script: rs_script_call and all else that takes one sends
/// it as FCALL, or FCALL_RO. The library is loaded in front of the first call on a connection, in the same
/// write, and again where a server has lost it.
///
/// `name`: as it is registered in the library's source, `name_len` letters, digits and underscores, 256 at
/// most; copied. `options`: NULL, or those of a script without RS_SCRIPT_AS_FUNCTION; copied. `*script`:
/// caller frees with rs_script_free; NULL on failure; `script` not NULL. Its rs_script_sha is of the
/// library's code and the function's name, and known to no server. `err` may be NULL.
///
/// Errors: RS_ERR_INVALID_ARGUMENT. Calls end with RS_ERR_NO_FUNCTION where the library does not register the
/// function or may not be loaded, with RS_ERR_COMPILE where it does not load, with RS_ERR_NOT_SUPPORTED where
/// the server has no functions; none of these was executed. Threads: any.
///
/// Redis: <https://redis.io/docs/latest/commands/fcall/>
///
/// cbindgen:postfix=RS_NOT_NULL(library) RS_NOT_NULL(script)
///
/// # Safety
/// `name` points to `name_len` bytes; `options` is NULL or points to as many bytes as its first field says;
/// the other pointers are NULL or what they are declared as.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_library_function(
    library: *const rs_library,
    name: *const c_char,
    name_len: usize,
    options: *const rs_script_options,
    script: *mut *mut rs_script,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let out = unsafe { Out::new(script) };
    guard_held(err, || {
        out.required("script")?;
        // SAFETY: as documented.
        let (library, name) = unsafe { (handle(library, "library")?, bytes(name, name_len, "name")?) };
        let name = str::from_utf8(name).map_err(|_| invalid("name", "is not UTF-8"))?;
        let function = library.library.function(name)?;
        // SAFETY: as documented.
        let function = unsafe { script_with(function, options)? };
        out.set(Box::into_raw(Box::new(rs_script::new(function, library.client.clone()))));
        Ok(())
    })
}

/// The library's name as the server knows it, ending in a NUL: of a pinned one with the digest behind it.
///
/// Returns: borrowed until rs_library_free. NULL: an empty string. Errors: none. Threads: any.
///
/// # Safety
/// `library` is NULL or a live library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_library_name(library: *const rs_library) -> *const c_char {
    guard_value(c"".as_ptr(), || {
        // SAFETY: as documented.
        unsafe { library.as_ref() }.map_or(c"", |library| library.library.name_nul()).as_ptr()
    })
}

/// Frees a library. Its functions and their calls in flight go on undisturbed.
///
/// NULL: does nothing. Errors: none. Threads: not while another thread enters a function with this handle.
///
/// # Safety
/// `library` is NULL or a live library; it is not live afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_library_free(library: *mut rs_library) {
    // SAFETY: as documented.
    unsafe { free(library) }
}

/// Loads a library into the server; in a cluster, into every primary. There is no need to: a call does it by
/// itself. What is there of that name stays as it is.
///
/// `*done`: a map from each primary's `host:port`, or the path of its socket, to the string `loaded`, or
/// `there` where a library of that name was there already, or the error by which it has not got it, which
/// rs_reply_error tells more of. Where none has, that is the function's error. Caller frees with
/// rs_reply_free; NULL on failure; `done` may be NULL. `err` may be NULL.
///
/// Errors: RS_ERR_COMPILE for a library that does not compile, registers nothing, or registers a function
/// that another library has registered; or any of RS_ERR_. Threads: any.
///
/// Redis: <https://redis.io/docs/latest/commands/function-load/>
///
/// cbindgen:postfix=RS_NOT_NULL(client) RS_NOT_NULL(library)
///
/// # Safety
/// The pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_library_load(
    client: *mut rs_client,
    library: *const rs_library,
    done: *mut *mut rs_reply,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe { administer(client, library, done, err, Client::library_load) }
}

/// Compares a library with the one of its name on the server; in a cluster, on every primary. It changes nothing.
///
/// `*found`: a map from each primary's `host:port`, or the path of its socket, to the string `same`,
/// `different` or `absent`, or the error by which that is not known. Where it is known of none, that is the
/// function's error. Caller frees with rs_reply_free; NULL on failure; `found` may be NULL. `err` may be
/// NULL.
///
/// Errors: any of RS_ERR_. Threads: any.
///
/// Redis: <https://redis.io/docs/latest/commands/function-list/>
///
/// cbindgen:postfix=RS_NOT_NULL(client) RS_NOT_NULL(library)
///
/// # Safety
/// The pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_library_check(
    client: *mut rs_client,
    library: *const rs_library,
    found: *mut *mut rs_reply,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe { administer(client, library, found, err, Client::library_check) }
}

/// Puts a library in the place of the one of its name, on the server; in a cluster, on every primary, one by
/// one. This is the one place where a library is replaced: a function that the new one lacks is from then on
/// an error for all who call it. A pinned library replaces nothing.
///
/// `*done`: a map from each primary's `host:port`, or the path of its socket, to what it has, looked at
/// behind the load: the string `same`, or `different` or `absent` if somebody else was at it; or to the error
/// by which it has kept what it had. Where none has taken it, that is the function's error. Caller frees with
/// rs_reply_free; NULL on failure; `done` may be NULL. `err` may be NULL.
///
/// Errors: as with rs_client_library_load. Threads: any.
///
/// Redis: <https://redis.io/docs/latest/commands/function-load/>
///
/// cbindgen:postfix=RS_NOT_NULL(client) RS_NOT_NULL(library)
///
/// # Safety
/// The pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_library_deploy(
    client: *mut rs_client,
    library: *const rs_library,
    done: *mut *mut rs_reply,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    unsafe { administer(client, library, done, err, Client::library_deploy) }
}

/// Tells which libraries the server has, whoever has loaded them; in a cluster, those of every primary.
///
/// `*libraries`: a map from each primary's `host:port`, or the path of its socket, to its answer to FUNCTION
/// LIST, an array with a map for each library (`library_name`, `engine`, `functions`; with RESP2 an array of
/// names and values), or its error. Where each gave one, that is the function's error. Caller frees with
/// rs_reply_free; NULL on failure; `libraries` not NULL. `err` may be NULL.
///
/// Errors: any of RS_ERR_. Threads: any.
///
/// Redis: <https://redis.io/docs/latest/commands/function-list/>
///
/// cbindgen:postfix=RS_NOT_NULL(client) RS_NOT_NULL(libraries)
///
/// # Safety
/// The pointers are NULL or what they are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_library_list(
    client: *mut rs_client,
    libraries: *mut *mut rs_reply,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let out = unsafe { Out::new(libraries) };
    guard_held(err, || {
        out.required("libraries")?;
        // SAFETY: as documented.
        let client = unsafe { handle(client, "client")? };
        out.set(reply::into_raw(client.client.library_list()?));
        Ok(())
    })
}

/// Removes the other versions of these pinned libraries from the server; in a cluster, from every primary.
/// Libraries that are not pinned, or were not called like one of these, stay. Nothing is ever removed but by
/// this: who still calls a version that is gone has it loaded again.
///
/// `keep`: `count` libraries, at least one. `*removed`: a map from each primary's `host:port`, or the path of
/// its socket, to an array of the names that were removed there, or the error of the first one that was not,
/// which names those that were. Where each gave one, that is the function's error. Caller frees with
/// rs_reply_free; NULL on failure; `removed` may be NULL. `err` may be NULL.
///
/// Errors: RS_ERR_INVALID_ARGUMENT for no library, and for one that is RS_LIBRARY_NAMED; or any of RS_ERR_.
/// Threads: any.
///
/// Redis: <https://redis.io/docs/latest/commands/function-delete/>
///
/// cbindgen:postfix=RS_NOT_NULL(client) RS_NOT_NULL(keep)
///
/// # Safety
/// `keep` points to `count` pointers, each NULL or a live library; the other pointers are NULL or what they
/// are declared as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_client_library_prune(
    client: *mut rs_client,
    count: usize,
    keep: *const *const rs_library,
    removed: *mut *mut rs_reply,
    err: *mut *mut rs_error,
) -> rs_status {
    // SAFETY: as documented.
    let out = unsafe { Out::new(removed) };
    guard_held(err, || {
        // SAFETY: as documented.
        let client = unsafe { handle(client, "client")? };
        if keep.is_null() && count > 0 || count > super::LONGEST_LIST {
            return Err(super::no_list("keep"));
        }
        let mut libraries = Vec::new();
        for index in 0..count {
            // SAFETY: not NULL, and the caller promises `count` pointers.
            let library = unsafe { handle(keep.add(index).read(), &format!("keep[{index}]"))? };
            libraries.push(library.library.clone());
        }
        let libraries: Vec<&Library> = libraries.iter().collect();
        give(&out, client.client.library_prune(&libraries)?);
        Ok(())
    })
}

/// # Safety
/// The pointers are NULL or what they are declared as.
unsafe fn administer(
    client: *mut rs_client,
    library: *const rs_library,
    told: *mut *mut rs_reply,
    err: *mut *mut rs_error,
    what: impl FnOnce(&Client, &Library) -> Result<Reply>,
) -> rs_status {
    // SAFETY: as promised.
    let out = unsafe { Out::new(told) };
    guard_held(err, || {
        // SAFETY: as promised.
        let (client, library) = unsafe { (handle(client, "client")?, handle(library, "library")?) };
        // The handle may be freed meanwhile.
        let library = library.library.clone();
        give(&out, what(&client.client, &library)?);
        Ok(())
    })
}

/// The server's name for a function, ending in a NUL: of a pinned library's with the digest behind it. Of a
/// script that is RS_SCRIPT_AS_FUNCTION, the name by which it is called.
///
/// Returns: borrowed until rs_script_free. NULL, and a script that is no function: an empty string. Errors: none.
/// Threads: any.
///
/// # Safety
/// `script` is NULL or a live script.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_script_function_name(script: *const rs_script) -> *const c_char {
    guard_value(c"".as_ptr(), || {
        // SAFETY: as documented.
        let script = unsafe { script.as_ref() };
        script.and_then(|script| script.script().function_name_nul()).map_or(c"".as_ptr(), CStr::as_ptr)
    })
}
