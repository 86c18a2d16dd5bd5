//! `rs_call_options` and `rs_script_options`: structs that can grow, and how they are read.

use std::borrow::Cow;
use std::ffi::c_char;
use std::mem::{MaybeUninit, offset_of};
use std::time::Duration;

use super::options::{LONGEST_MS, RS_READ_FROM_DEFAULT, read_from_of};
use super::{bytes, invalid};
use crate::api::client::{Client, Overrides};
use crate::error::{Error, Result};
use crate::ffi::sys::memory::copied;
use crate::request::Flags;
use crate::request::once::Once;
use crate::request::route::{self, Route};
use crate::request::script::Script;

/// The call only reads: a replica may run it, where read_from says so, and it is sent again when its reply was lost
/// with the connection.
///
/// A script is sent as EVALSHA_RO, and the server stops it at its first write. One whose first line is `#!lua` without
/// the flag `no-writes` is refused with RS_ERR_NOT_READ_ONLY before anything is sent. A server older than 7.0 cannot
/// enforce it: its primary runs a plain EVALSHA, which is not sent again. That a command only reads is your word:
/// nobody checks that, and a replica of a cluster refuses a write. A command that waits (XREAD BLOCK, ...) runs on a
/// primary all the same.
///
/// Redis: <https://redis.io/docs/latest/commands/evalsha_ro/>
pub const RS_CALL_READ_ONLY: u32 = 1;
/// The call may safely run twice: when its reply was lost with the connection it is sent again within its deadline, at
/// most 5 times, at once and then after longer and longer pauses. Of a script see also RS_SCRIPT_IDEMPOTENT.
pub const RS_CALL_IDEMPOTENT: u32 = 2;

/// The script may safely run twice: a call whose reply was lost with the connection is sent again within its deadline.
/// How often, and of a single call: see RS_CALL_IDEMPOTENT.
pub const RS_SCRIPT_IDEMPOTENT: u32 = 1;
/// The script's calls happen exactly once each. A call carries a token; its effects and its reply are stored together
/// under that by one atomic execution, and a call that comes again with the same token gets that reply and does
/// nothing. So a call is sent again after a lost reply, a lost connection or a failover, until its deadline, and its
/// caller gets the reply instead of RS_ERR_INDETERMINATE. The library makes a token for each call; see `token` of
/// rs_call_options.
///
/// What is sent, and what rs_script_sha tells the SHA1 of, is a wrapper around the source, with its line numbers.
/// Read-only calls need no token; they are those of the script as it is.
///
/// Limits: a server forgets a token after `token_lifetime_ms`, or when it evicts it: a maxmemory-policy other than
/// noeviction voids all this. A primary that dies before it has replicated a call has lost it and its token: see
/// `wait_replicas`. What a script has written before it raised an error stays, and is not done again: a repeat gets
/// the same error, without the place in the script that a server adds. While a slot of a cluster moves key by key,
/// calls with keys in it wait for the end of that, for their tokens are new keys. A source that selects another
/// database (SELECT), where a repeat would not find its token, is refused: RS_ERR_INVALID_ARGUMENT.
///
/// Errors of such calls: RS_ERR_TOKEN_MISMATCH, RS_ERR_REPLY_NOT_KEPT, RS_ERR_NOT_REPLICATED.
pub const RS_SCRIPT_ONCE: u32 = 4;

/// The script is called as a function: its body becomes the only one of a library that this client makes, which
/// servers replicate and persist. So it survives a failover, SCRIPT FLUSH, a restart and the eviction of scripts, and
/// replicas have it. On servers before 7.0 it is called as the script that it is.
///
/// What differs for its body: an error that it returns gets ` script: rs` behind it; without a first line of flags
/// (`#!lua`) the numbers of lines in errors are one higher, and where the server is out of memory a call that is not
/// read-only is refused before it begins.
pub const RS_SCRIPT_AS_FUNCTION: u32 = 2;

/// Where the client's own route leads.
pub const RS_ROUTE_DEFAULT: i32 = 0;
/// To any primary, taken at random.
pub const RS_ROUTE_ANY: i32 = 1;
/// To the primary that has the slot of the key in `route_to`.
pub const RS_ROUTE_KEY: i32 = 2;
/// To the primary that has the slot `route_slot`, 0 to 16383.
pub const RS_ROUTE_SLOT: i32 = 3;
/// To the server named in `route_to`, a replica's will do: `host:port` as the servers announce it or
/// rs_options_map_address maps it. Whether there is such a server shows when it is called: RS_ERR_NO_ROUTE.
pub const RS_ROUTE_NODE: i32 = 4;
/// To all primaries side by side. The reply is a map from each one's `host:port` to its reply; one that gave none has
/// an error there, which rs_reply_error tells more of. Pipelines and transactions cannot go there: RS_ERR_NO_ROUTE.
pub const RS_ROUTE_ALL: i32 = 5;

/// What a call has of its own instead of its client's. NULL in its place, and each field that is 0 or NULL, is the
/// client's.
///
/// It starts as RS_CALL_OPTIONS_INIT, or as RS_CALL_OPTIONS(...) where it is an argument; `size` is the size that your
/// program was compiled with, by which a later library, whose struct has more fields behind these, knows where yours
/// ends. It is read before the function returns, and copied. A struct and no object that has to be made: no memory is
/// allocated, nothing is to be freed, and one that stays as it is may be used by any number of threads at once.
///
/// Errors of each function that takes one: RS_ERR_INVALID_ARGUMENT for a `size` that no version has, flags and numbers
/// that are not known, fields that the route or the function has no use for, and where `size` is larger than this
/// library's, anything but zeros behind what it knows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rs_call_options {
    /// `sizeof(rs_call_options)`.
    pub size: u32,
    /// RS_CALL_ flags.
    pub flags: u32,
    /// How long the call may take, all its attempts together: milliseconds, up to a year.
    pub timeout_ms: u64,
    /// Which servers run the call if it is read-only: one of the RS_READ_FROM_ numbers.
    pub read_from: i32,
    /// Where the call goes if it has no keys, or is a command whose keys this library does not know: one of the
    /// RS_ROUTE_ numbers. Keys go before it. On a client of a single server every route leads there, and with
    /// RS_ROUTE_ALL the reply is a map all the same.
    pub route: i32,
    /// With RS_ROUTE_KEY a key, with RS_ROUTE_NODE a server: `route_len` bytes, NULL is an empty key.
    pub route_to: *const c_char,
    /// The length of `route_to`.
    pub route_len: usize,
    /// With RS_ROUTE_SLOT the slot.
    pub route_slot: u32,
    /// 0.
    pub reserved: u32,
    /// Of a call of a script that is RS_SCRIPT_ONCE: a token of your own, 1 to 256 bytes; a job's id, a request's.
    /// Whoever makes the same call with the same token, in whichever process, gets what the first one was answered.
    /// NULL: the library makes a new one for each call.
    pub token: *const c_char,
    /// The length of `token`.
    pub token_len: usize,
}

/// What a script has beside its source. NULL in its place, and each field that is 0 or NULL, is nothing. It starts as
/// RS_SCRIPT_OPTIONS_INIT, or as RS_SCRIPT_OPTIONS(...) where it is an argument; see rs_call_options, whose errors are
/// the same.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rs_script_options {
    /// `sizeof(rs_script_options)`.
    pub size: u32,
    /// RS_SCRIPT_ flags.
    pub flags: u32,
    /// What the script is called in figures and events: `name_len` bytes of UTF-8 without control characters, 256 at
    /// most. rs_script_name reads it.
    pub name: *const c_char,
    /// The length of `name`.
    pub name_len: usize,
    /// With RS_SCRIPT_ONCE: how long a server remembers a token, from the last call with it on: milliseconds, a
    /// second to a year; 0: 5 minutes. A repeat that comes later runs the script again. The library itself sends a
    /// call again only within the first half of that time.
    pub token_lifetime_ms: u64,
    /// With `wait_replicas`: how long they are waited for at each attempt: milliseconds, up to a day; 0: 1000.
    pub wait_timeout_ms: u64,
    /// With RS_SCRIPT_ONCE: the longest reply that is kept for repeats: 64 bytes to 64 MiB; 0: 1 MiB. A longer one
    /// reaches the caller that it was made for; a repeat gets RS_ERR_REPLY_NOT_KEPT.
    pub reply_limit: usize,
    /// With RS_SCRIPT_ONCE: what the keys begin with under which tokens are kept: `token_prefix_len` bytes, 256 at
    /// most, none of them a `{`; NULL: `rs:once:`. The user needs the right to GET, SET and PEXPIRE there.
    pub token_prefix: *const c_char,
    /// The length of `token_prefix`.
    pub token_prefix_len: usize,
    /// With RS_SCRIPT_ONCE: how many replicas must have a call before it counts as done, up to 1000; 0: none.
    pub wait_replicas: usize,
}

/// A struct that begins with its size and may get more fields.
///
/// # Safety
/// It is `repr(C)`, begins with a `u32`, has no padding, and may be any bytes.
pub(super) unsafe trait Growing: Copy {
    /// The sizes that it has had in released versions, the last one its size of now.
    const SIZES: &'static [usize];
    /// All bytes 0.
    // SAFETY: any bytes may be in it.
    const NOTHING: Self = unsafe { MaybeUninit::zeroed().assume_init() };
}

// SAFETY: as demanded; the assertions below count its bytes.
unsafe impl Growing for rs_call_options {
    const SIZES: &'static [usize] = &[size_of::<Self>()];
}

// SAFETY: as demanded; the assertions below count its bytes.
unsafe impl Growing for rs_script_options {
    const SIZES: &'static [usize] = &[size_of::<Self>()];
}

// The header asserts the same. Padding would hold whatever was in memory, and a later field in its place would be that.
const _: () = {
    assert!(size_of::<rs_call_options>() == 32 + 4 * size_of::<usize>());
    assert!(offset_of!(rs_call_options, flags) == 4);
    assert!(offset_of!(rs_call_options, timeout_ms) == 8);
    assert!(offset_of!(rs_call_options, read_from) == 16);
    assert!(offset_of!(rs_call_options, route) == 20);
    assert!(offset_of!(rs_call_options, route_to) == 24);
    assert!(offset_of!(rs_call_options, route_len) == 24 + size_of::<usize>());
    assert!(offset_of!(rs_call_options, route_slot) == 24 + 2 * size_of::<usize>());
    assert!(offset_of!(rs_call_options, reserved) == 28 + 2 * size_of::<usize>());
    assert!(offset_of!(rs_call_options, token) == 32 + 2 * size_of::<usize>());
    assert!(offset_of!(rs_call_options, token_len) == 32 + 3 * size_of::<usize>());
    assert!(size_of::<rs_script_options>() == 24 + 6 * size_of::<usize>());
    assert!(offset_of!(rs_script_options, flags) == 4);
    assert!(offset_of!(rs_script_options, name) == 8);
    assert!(offset_of!(rs_script_options, name_len) == 8 + size_of::<usize>());
    assert!(offset_of!(rs_script_options, token_lifetime_ms) == 8 + 2 * size_of::<usize>());
    assert!(offset_of!(rs_script_options, wait_timeout_ms) == 16 + 2 * size_of::<usize>());
    assert!(offset_of!(rs_script_options, reply_limit) == 24 + 2 * size_of::<usize>());
    assert!(offset_of!(rs_script_options, token_prefix) == 24 + 3 * size_of::<usize>());
    assert!(offset_of!(rs_script_options, token_prefix_len) == 24 + 4 * size_of::<usize>());
    assert!(offset_of!(rs_script_options, wait_replicas) == 24 + 5 * size_of::<usize>());
};

/// No struct will ever be larger. A size above is what happened to lie there.
const LARGEST: usize = 1024;

/// What is behind the pointer, as far as its program knows it.
///
/// # Safety
/// `options` points to as many bytes as its first field says, or to that field and it says a size that cannot be.
pub(super) unsafe fn read<T: Growing>(options: *const T) -> Result<T> {
    // SAFETY: it begins with its size.
    let size = unsafe { options.cast::<u32>().read() } as usize;
    let ours = size_of::<T>();
    if !(T::SIZES.contains(&size) || (ours..=LARGEST).contains(&size)) {
        let why = format!("is {size}, which no version of the struct has: it starts as its _INIT macro");
        return Err(invalid("options.size", &why));
    }
    let mut found = T::NOTHING;
    let known = size.min(ours);
    // SAFETY: so many bytes are there, by their own word, and any of them may be in a `T`.
    unsafe { std::ptr::copy_nonoverlapping(options.cast::<u8>(), (&raw mut found).cast(), known) };
    // SAFETY: the same.
    let beyond = unsafe { std::slice::from_raw_parts(options.cast::<u8>().add(known), size - known) };
    if beyond.iter().any(|&byte| byte != 0) {
        let why = format!(
            "sets fields behind the first {ours} bytes, which this version of the library does not know"
        );
        return Err(invalid("options", &why));
    }
    Ok(found)
}

const _: () = {
    assert!(RS_ROUTE_ANY == route::ANY && RS_ROUTE_KEY == route::KEY && RS_ROUTE_SLOT == route::SLOT);
    assert!(RS_ROUTE_NODE == route::NODE && RS_ROUTE_ALL == route::ALL && RS_ROUTE_DEFAULT == 0);
};

/// What a call has of its own.
#[derive(Default)]
pub(super) struct CallOptions<'a> {
    pub(super) flags: Flags<'a>,
    others: Option<Overrides<'a>>,
}

impl<'a> CallOptions<'a> {
    /// # Safety
    /// `options` is NULL or points to as many bytes as its first field says, and `route_to` and `token` to as many as
    /// their lengths say.
    #[inline(always)]
    pub(super) unsafe fn new(options: *const rs_call_options) -> Result<CallOptions<'a>> {
        if options.is_null() {
            return Ok(CallOptions::default());
        }
        // SAFETY: as promised.
        unsafe { CallOptions::read(options) }
    }

    /// # Safety
    /// The same, and it is not NULL.
    #[inline(never)]
    unsafe fn read(options: *const rs_call_options) -> Result<CallOptions<'a>> {
        // SAFETY: as promised.
        let options = unsafe { read(options)? };
        if options.flags & !(RS_CALL_READ_ONLY | RS_CALL_IDEMPOTENT) != 0 {
            return Err(invalid("options.flags", "has bits that are no RS_CALL_ flag"));
        }
        if options.reserved != 0 {
            return Err(invalid("options.reserved", "is not 0"));
        }
        // SAFETY: as promised.
        let token = unsafe { bytes(options.token, options.token_len, "options.token")? };
        let flags = Flags {
            read_only: options.flags & RS_CALL_READ_ONLY != 0,
            idempotent: options.flags & RS_CALL_IDEMPOTENT != 0,
            token: (!options.token.is_null()).then_some(token),
        };
        let timeout = match options.timeout_ms {
            0 => None,
            milliseconds if milliseconds > LONGEST_MS => {
                return Err(invalid("options.timeout_ms", "is longer than a year"));
            }
            milliseconds => Some(Duration::from_millis(milliseconds)),
        };
        let read_from = match options.read_from {
            RS_READ_FROM_DEFAULT => None,
            number => Some(
                read_from_of(number)
                    .ok_or_else(|| invalid("options.read_from", "is none of the RS_READ_FROM_ numbers"))?,
            ),
        };
        // SAFETY: as promised.
        let route = unsafe { route_of(&options)? };
        let is_any = timeout.is_some() || read_from.is_some() || route.is_some();
        let others = is_any.then_some(Overrides { timeout, read_from, route });
        Ok(CallOptions { flags, others })
    }

    /// The client as the call has it: itself, or with what was asked for.
    pub(super) fn client<'b>(&self, client: &'b Client) -> Result<Cow<'b, Client>> {
        match &self.others {
            None => Ok(Cow::Borrowed(client)),
            Some(others) => client.with(others).map(Cow::Owned),
        }
    }

    /// Another handle of the client where something was asked for.
    pub(super) fn other_client(&self, client: &Client) -> Result<Option<Client>> {
        self.others.as_ref().map(|others| client.with(others)).transpose()
    }

    /// Whether all of a pipeline that is executed may run twice.
    pub(super) fn idempotent_pipeline(&self) -> Result<bool> {
        if self.flags.read_only {
            let why = "holds RS_CALL_READ_ONLY, which is for the items of a pipeline: how a script is sent is \
                       decided when it is appended";
            return Err(invalid("options.flags", why));
        }
        Ok(self.flags.idempotent)
    }
}

/// What an item of a pipeline has: flags, and a token.
///
/// # Safety
/// `options` is NULL or points to as many bytes as its first field says, and `route_to` and `token` to as many as their
/// lengths say.
pub(super) unsafe fn flags_of_item<'a>(options: *const rs_call_options) -> Result<Flags<'a>> {
    // SAFETY: as promised.
    let options = unsafe { CallOptions::new(options)? };
    if options.others.is_some() {
        let why = "of an item of a pipeline have flags and a token alone: timeout_ms, read_from and route are given \
                   when it is executed";
        return Err(invalid("options", why));
    }
    Ok(options.flags)
}

/// # Safety
/// `route_to` points to as many bytes as `route_len` says, or is NULL.
unsafe fn route_of<'a>(options: &rs_call_options) -> Result<Option<Route<'a>>> {
    // SAFETY: as promised.
    let to = unsafe { bytes(options.route_to, options.route_len, "options.route_to")? };
    // Of no length, but set.
    if !matches!(options.route, RS_ROUTE_KEY | RS_ROUTE_NODE) && !options.route_to.is_null() {
        let why = "is set, and options.route is neither RS_ROUTE_KEY nor RS_ROUTE_NODE";
        return Err(invalid("options.route_to", why));
    }
    Route::numbered(options.route, options.route_slot, to).map_err(of_options)
}

/// How calls of a script happen once. `flag`: what the flag is called that these fields belong to; `is_once`: it is
/// among the flags.
///
/// # Safety
/// `token_prefix` points to as many bytes as `token_prefix_len` says, or is NULL.
pub(super) unsafe fn once_of(options: &rs_script_options, is_once: bool, flag: &str) -> Result<Once> {
    // SAFETY: as promised.
    let prefix = unsafe { bytes(options.token_prefix, options.token_prefix_len, "options.token_prefix")? };
    let is_any = options.token_lifetime_ms != 0
        || options.reply_limit != 0
        || !options.token_prefix.is_null()
        || options.wait_replicas != 0
        || options.wait_timeout_ms != 0;
    if is_any && !is_once {
        let why = format!(
            "has fields for {flag} (token_lifetime_ms, wait_timeout_ms, reply_limit, token_prefix, wait_replicas), \
             which is not among its flags"
        );
        return Err(invalid("options", &why));
    }
    let prefix = (!options.token_prefix.is_null()).then_some(prefix);
    let sizes = [options.token_lifetime_ms, options.reply_limit as u64];
    Once::numbered(sizes, prefix, options.wait_replicas, options.wait_timeout_ms).map_err(of_options)
}

/// The error of a field of options, and why it is wrong.
fn of_options((field, why): (&str, String)) -> Error {
    invalid(&format!("options.{field}"), &why)
}

/// A script of these bytes.
///
/// # Safety
/// `options` is NULL or points to as many bytes as its first field says, and `name` and `token_prefix` to as many as
/// their lengths say.
pub(super) unsafe fn script_of(lua: &[u8], options: *const rs_script_options) -> Result<Script> {
    let script = Script::new(copied(lua)?);
    if options.is_null() {
        return Ok(script);
    }
    // SAFETY: as promised.
    let flags = unsafe { read(options)? }.flags;
    let script = match flags & RS_SCRIPT_AS_FUNCTION {
        0 => script,
        _ => script.as_function(),
    };
    // SAFETY: as promised.
    unsafe { with_options(script, options, RS_SCRIPT_IDEMPOTENT | RS_SCRIPT_AS_FUNCTION | RS_SCRIPT_ONCE) }
}

/// A function of a library, with its options.
///
/// # Safety
/// The same.
pub(super) unsafe fn script_with(function: Script, options: *const rs_script_options) -> Result<Script> {
    // SAFETY: as promised.
    unsafe { with_options(function, options, RS_SCRIPT_IDEMPOTENT) }
}

/// # Safety
/// The same.
unsafe fn with_options(script: Script, options: *const rs_script_options, allowed: u32) -> Result<Script> {
    if options.is_null() {
        return Ok(script);
    }
    // SAFETY: as promised.
    let options = unsafe { read(options)? };
    // SAFETY: as promised.
    let name = unsafe { bytes(options.name, options.name_len, "options.name")? };
    if options.flags & RS_SCRIPT_AS_FUNCTION & !allowed != 0 {
        return Err(invalid("options.flags", "has RS_SCRIPT_AS_FUNCTION, and it is a function already"));
    }
    if options.flags & RS_SCRIPT_ONCE & !allowed != 0 {
        return Err(invalid(
            "options.flags",
            "has RS_SCRIPT_ONCE, which is for scripts; a library is registered so as a whole, with RS_LIBRARY_ONCE",
        ));
    }
    if options.flags & !allowed != 0 {
        return Err(invalid("options.flags", "has bits that are no RS_SCRIPT_ flag"));
    }
    // SAFETY: as promised.
    let once = unsafe { once_of(&options, options.flags & RS_SCRIPT_ONCE != 0, "RS_SCRIPT_ONCE")? };
    let script = match options.flags & (RS_SCRIPT_IDEMPOTENT | RS_SCRIPT_ONCE) {
        0 => script,
        RS_SCRIPT_IDEMPOTENT => script.made_idempotent(),
        RS_SCRIPT_ONCE => script.once(&once).map_err(|error| error.context("options"))?,
        _ => {
            return Err(invalid(
                "options.flags",
                "are two of which a script has one: RS_SCRIPT_IDEMPOTENT, RS_SCRIPT_ONCE",
            ));
        }
    };
    if name.is_empty() {
        return Ok(script);
    }
    let name = str::from_utf8(name).map_err(|_| invalid("options.name", "is not UTF-8"))?;
    script.named(name).map_err(|error| error.context("options.name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    /// A struct of a later version: the fields of now, and more behind them.
    #[repr(C)]
    struct Later {
        now: rs_call_options,
        more: [u64; 2],
    }

    fn later(size: usize, more: [u64; 2]) -> Result<Flags<'static>> {
        let now = rs_call_options {
            size: u32::try_from(size).unwrap(),
            flags: RS_CALL_IDEMPOTENT,
            ..rs_call_options::NOTHING
        };
        let options = Later { now, more };
        // SAFETY: it holds as much as the sizes below say.
        unsafe { CallOptions::new((&raw const options).cast()) }.map(|options| options.flags)
    }

    #[test]
    fn a_size_is_of_this_version_or_of_a_later_one_that_sets_nothing_new() {
        let now = size_of::<rs_call_options>();
        let idempotent = Flags { idempotent: true, ..Flags::NONE };
        for size in [now, now + 1, now + 8, now + 16] {
            assert_eq!(later(size, [0; 2]).expect("it is accepted"), idempotent, "{size}");
        }
        // What is beyond the size is nobody's.
        assert_eq!(later(now, [1, 1]).expect("it is accepted"), idempotent);
        assert_eq!(later(now + 8, [0, 1]).expect("it is accepted"), idempotent);
        for (size, more) in [(now + 8, [1, 0]), (now + 16, [0, 1 << 63])] {
            let error = later(size, more).expect_err("nobody knows what it asks for");
            assert_eq!(error.status(), Status::InvalidArgument);
            assert!(error.message().contains(&format!("behind the first {now} bytes")), "{error}");
        }
        for size in [0, 1, 4, 8, now - 8, now - 1, LARGEST + 1, u32::MAX as usize] {
            let error = later(size, [0; 2]).expect_err("no version has it");
            assert_eq!(error.status(), Status::InvalidArgument);
            assert!(error.message().starts_with(&format!("options.size is {size}, ")), "{error}");
        }
    }
}
