//! Scripts and functions that run once per token: their options, and the wrapper around their body.
//!
//! The wrapper (`once.lua`) looks the token up, runs the body only if it is new, and stores the reply beside the
//! body's effects, all in one atomic execution. So a call can be sent again with its token as often as need be.

use std::time::Duration;

use smallvec::SmallVec;

use super::script::{Script, Wait, Wrapped};
use super::token::{self, MADE, TAG};
use crate::error::{Error, Result, Status};

/// How calls of a script happen once, see [`Script::once`], or those of a library's functions,
/// [`Library::once`](crate::Library::once).
///
/// ```
/// use rs_script::{Once, Script};
/// use std::time::Duration;
///
/// let once = Once::default().lifetime(Duration::from_secs(24 * 60 * 60)).prefix("billing:once:");
/// let charge = Script::new("return redis.call('DECRBY', KEYS[1], ARGV[1])").once(&once)?;
/// # Ok::<(), rs_script::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    lifetime: Duration,
    prefix: Vec<u8>,
    reply_limit: usize,
    wait: Option<Wait>,
}

impl Default for Once {
    fn default() -> Self {
        Once { lifetime: LIFETIME, prefix: PREFIX.to_vec(), reply_limit: REPLY_LIMIT, wait: None }
    }
}

impl Once {
    /// How long a server remembers a token, from the last call with it on: a second to a year, 5 minutes if nothing
    /// is said. A repeat that comes later runs the script again. The library itself sends a call again only within
    /// the first half of that time.
    ///
    /// ```
    /// let once = rs_script::Once::default().lifetime(std::time::Duration::from_secs(3600));
    /// ```
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// What the keys begin with under which tokens are kept, `rs:once:` if nothing is said: up to 256 bytes, none of
    /// them a `{`. The user needs the right to GET, SET and PEXPIRE there. Behind it comes the tag `{....}`, of the
    /// call's slot, and the token.
    ///
    /// ```
    /// let once = rs_script::Once::default().prefix("billing:once:");
    /// ```
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Vec<u8>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The longest reply that is kept, in bytes: 64 to 64 MiB, 1 MiB if nothing is said. A longer one reaches the
    /// caller that it was made for; a repeat gets [`Status::ReplyNotKept`].
    ///
    /// ```
    /// let once = rs_script::Once::default().reply_limit(16 * 1024);
    /// ```
    #[must_use]
    pub fn reply_limit(mut self, bytes: usize) -> Self {
        self.reply_limit = bytes;
        self
    }

    /// How many replicas must have a call before it counts as done, 1 to 1000, and how long they are waited for at
    /// each attempt: a millisecond to a day. A failover to one of them then loses neither what the call did nor its
    /// token.
    ///
    /// Where they are too few, the call is sent again, with its token, until its deadline, and ends with
    /// [`Status::NotReplicated`] then. Such calls get a connection each, like commands that wait
    /// ([`Options::max_waiting`](crate::Options::max_waiting)); it is kept for the next one of them for ten seconds,
    /// up to eight to a server.
    ///
    /// [WAIT](https://redis.io/docs/latest/commands/wait/)
    ///
    /// ```
    /// let once = rs_script::Once::default().wait(1, std::time::Duration::from_millis(500));
    /// ```
    #[must_use]
    pub fn wait(mut self, replicas: u32, timeout: Duration) -> Self {
        self.wait = Some(Wait { replicas, timeout });
        self
    }

    /// By the numbers of the C API, where 0 and no prefix are what holds if nothing is said: `sizes` are the lifetime
    /// in milliseconds and the limit for replies. The error is the field that is wrong, and why; ranges are
    /// [checked](Once::check) later.
    pub(crate) fn numbered(
        sizes: [u64; 2],
        prefix: Option<&[u8]>,
        replicas: usize,
        wait_ms: u64,
    ) -> std::result::Result<Once, (&'static str, String)> {
        let mut once = Once::default();
        let [lifetime_ms, reply_limit] = sizes;
        if lifetime_ms != 0 {
            once.lifetime = Duration::from_millis(lifetime_ms);
        }
        if reply_limit != 0 {
            once.reply_limit = usize::try_from(reply_limit).unwrap_or(usize::MAX);
        }
        if let Some(prefix) = prefix {
            once.prefix = prefix.to_vec();
        }
        let replicas = u32::try_from(replicas).unwrap_or(u32::MAX);
        match (replicas, wait_ms) {
            (0, 0) => Ok(once),
            (0, _) => Err(("wait_timeout_ms", "is set, and wait_replicas is not".into())),
            (_, 0) => Ok(once.wait(replicas, WAIT)),
            _ => Ok(once.wait(replicas, Duration::from_millis(wait_ms))),
        }
    }

    /// Where in a token key the byte stands that tells whose the token is, the first one being 1.
    fn separator(&self) -> usize {
        self.prefix.len() + 1 + TAG + 2
    }

    pub(crate) fn check(&self) -> Result<()> {
        let refused = |what: &str| Err(Error::new(Status::InvalidArgument, format!("once: {what}")));
        if !LIFETIMES.contains(&self.lifetime) {
            return refused("a token's lifetime is a second at least, and a year at most");
        }
        if self.prefix.len() > LONGEST_PREFIX || self.prefix.contains(&b'{') {
            return refused("a prefix of token keys has up to 256 bytes, and no {");
        }
        if !REPLY_LIMITS.contains(&self.reply_limit) {
            return refused("a limit for replies is 64 bytes at least, and 64 MiB at most");
        }
        if let Some(Wait { replicas, timeout }) = &self.wait
            && !((1..=1000).contains(replicas) && WAITS.contains(timeout))
        {
            return refused(
                "1 to 1000 replicas are waited for, for a millisecond at least, and a day at most",
            );
        }
        Ok(())
    }
}

/// How long replicas are waited for, if nothing is said.
const WAIT: Duration = Duration::from_secs(1);
const LIFETIME: Duration = Duration::from_secs(5 * 60);
const LIFETIMES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 60 * 60);
const WAITS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);
const PREFIX: &[u8] = b"rs:once:";
const LONGEST_PREFIX: usize = 256;
const REPLY_LIMIT: usize = 1024 * 1024;
const REPLY_LIMITS: std::ops::RangeInclusive<usize> = 64..=64 * 1024 * 1024;

/// Replies that are nested deeper are not kept.
const DEPTH: usize = 500;

/// What the wrapper says of its own, whole.
const UNUSED: &str =
    "RSTOKEN the function has the flag no-writes: it has nothing that could happen twice, and takes no token";
const MISMATCH: &str = "RSTOKEN the token has been used for another script, or for other keys or arguments";
const NOT_KEPT: &str = "RSREPLY the call has run before, and its reply was too long to be kept";
const STRANGE: &str =
    "RSRECORD what is kept under the token was not written by this library, or by a later version of it";
const NOT_WRITTEN: &str = "RSRECORD the call has run, but that could not be written down under its token: ";

/// What the wrapper puts behind an error that the body has raised, or has given back in the server's words.
const RAISED: &str = " script: once";
const WRAPPER: &str = include_str!("once.lua");
const HEAD: &[u8] = b"local rs_once = function() ";

impl Wrapped {
    /// `plain`: what read-only calls run.
    pub(crate) fn new(plain: Script, once: &Once) -> Self {
        let [head, made_head] = token::heads(&once.prefix);
        Wrapped { plain, head, made_head, lifetime: once.lifetime, wait: once.wait }
    }
}

impl Script {
    /// The same script, whose calls happen exactly once each: a call carries a token, its effects and its reply are
    /// stored together under that, and a call that comes again with the same token gets that reply and does nothing.
    ///
    /// So a call is sent again after a lost reply, a lost connection or a failover, until its deadline, and its
    /// caller gets the reply instead of [`Status::Indeterminate`]. The library makes a token for each call; with one
    /// of its own ([`ScriptCall::token`](crate::ScriptCall::token)), a job's or a request's id, a caller that has
    /// crashed asks again and gets what the first run answered.
    ///
    /// What is sent is a wrapper around the source, with its line numbers: [`Script::source`] and [`Script::sha`] are
    /// those of that. Read-only calls need no token; they are those of the script as it was. It may be one that is
    /// called as a function ([`Script::as_function`]); for functions of libraries there is
    /// [`Library::once`](crate::Library::once).
    ///
    /// # Limits
    ///
    /// - A server forgets a token after its [lifetime](Once::lifetime), or when it evicts it: a `maxmemory-policy`
    ///   other than `noeviction` voids all this.
    /// - A primary that dies before it has replicated a call has lost it and its token.
    /// - What a script has written before it raised an error stays, and is not done again: a repeat gets the same
    ///   error. It lacks the place in the script that a server adds to it (`script: ..., on @user_script:1.`).
    /// - In a cluster, while a slot moves key by key, calls with keys in it wait for the end of that (`TRYAGAIN`):
    ///   their tokens are new keys.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`]: an option is out of its range, the script's first line has the flag `no-writes`,
    /// its source says that it selects another database, or it is a library's function.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::{Once, Script, Status};
    ///
    /// let pay = Script::new("return redis.call('DECRBY', KEYS[1], ARGV[1])").once(&Once::default())?;
    /// client.command(("SET", "account", 100))?;
    /// let order = pay.key("account").arg(30).token("order 4711");
    /// let left: i64 = order.call(&client)?;
    /// let again: i64 = order.call(&client)?;
    /// assert_eq!((left, again), (70, 70));
    /// let error = pay.key("account").arg(31).token("order 4711").call::<i64>(&client).unwrap_err();
    /// assert_eq!(error.status(), Status::TokenMismatch);
    /// # Ok(())
    /// # }
    /// ```
    pub fn once(&self, once: &Once) -> Result<Script> {
        once.check()?;
        let plain = self.unwrapped().clone();
        let is_function = plain.function().is_some();
        if is_function && plain.instead().is_none() {
            let text =
                "once: it is a function of a library, which is registered so as a whole: Library::once";
            return Err(Error::new(Status::InvalidArgument, text));
        }
        if plain.has_flags() && !plain.is_refused_read_only() {
            let text = "once: the script's first line has the flag no-writes, so it has nothing that could happen \
                        twice";
            return Err(Error::new(Status::InvalidArgument, text));
        }
        check_source(plain.source())?;
        let script = plain.wrapped_by(wrapper(&plain, once), Wrapped::new(plain.clone(), once));
        Ok(if is_function { script.as_function() } else { script })
    }
}

/// Refuses a source that goes to another database: its token would be kept there, and a repeat would not find it.
pub(crate) fn check_source(source: &[u8]) -> Result<()> {
    let selects = memchr::memmem::find_iter(source, b"call").any(|at| {
        let bytes = source[at + b"call".len()..].iter().filter(|byte| !byte.is_ascii_whitespace());
        let next: SmallVec<[u8; 16]> = bytes.take(b"('select'".len()).map(u8::to_ascii_lowercase).collect();
        matches!(&next[..], b"('select'" | b"(\"select\"")
    });
    if selects {
        let text = "once: it selects another database (SELECT), where its token would be kept, and a repeat would \
                    not find it";
        return Err(Error::new(Status::InvalidArgument, text));
    }
    Ok(())
}

/// The source that is sent.
fn wrapper(plain: &Script, once: &Once) -> Vec<u8> {
    let body = plain.source();
    let first_line = match body.starts_with(b"#!") {
        true => memchr::memchr(b'\n', body).map_or(body.len(), |end| end + 1),
        false => 0,
    };
    let (shebang, body) = body.split_at(first_line);
    let mut source = shebang.to_vec();
    if shebang.last().is_some_and(|&last| last != b'\n') {
        source.push(b'\n');
    }
    source.extend_from_slice(HEAD);
    source.extend_from_slice(body);
    source.extend_from_slice(b"\nend\n");
    wrap(&mut source, once, body, plain.sha_hex(), b'\n');
    source
}

/// What a library of such functions has in its first line: `O`, which makes `f`, registered as `n`, one that
/// runs once per token, and `N`, which makes one without writes what a call with a token may go to. `sha`: of
/// the library's source. `G` gives what `redis` is while a function runs.
pub(crate) fn of_library(once: &Once, source: &[u8], sha: &str) -> Vec<u8> {
    let mut text = b"local function O(f,n) return function(KEYS,ARGV) local redis=G() \
        local function rs_once() return f(KEYS,ARGV) end "
        .to_vec();
    // The name is known where it is registered.
    wrap(&mut text, once, source, &format!("{sha}'..n..'"), b' ');
    let separator = once.separator();
    let no_writes = format!(
        "end end local function N(f) return function(k,a) \
         if string.byte(k[#k],{separator})~={MADE} then return {{err='{UNUSED}'}} end \
         k[#k]=nil return f(k,a) end end "
    );
    text.extend_from_slice(no_writes.as_bytes());
    text
}

/// Appends what stands behind the body `rs_once`, which `body` tells from others. `source`: where that comes
/// from. `end`: what ends a line.
fn wrap(text: &mut Vec<u8>, once: &Once, source: &[u8], body: &str, end: u8) {
    let sets_repl = memchr::memmem::find(source, b"set_repl").is_some();
    for line in WRAPPER.lines().map(str::trim_start).filter(|line| !line.starts_with("--")) {
        for (index, part) in line.split('@').enumerate() {
            let filled = match part {
                _ if index % 2 == 0 => part,
                "SEPARATOR" => &once.separator().to_string(),
                "BODY" => body,
                "LIFETIME" => &once.lifetime.as_millis().to_string(),
                "LIMIT" => &once.reply_limit.to_string(),
                "DEPTH" => &DEPTH.to_string(),
                "SET_REPL" if sets_repl => "redis.set_repl",
                "SET_REPL" => "nil",
                "MISMATCH" => MISMATCH,
                "NOT_KEPT" => NOT_KEPT,
                "STRANGE" => STRANGE,
                "RAISED" => RAISED,
                _ => NOT_WRITTEN,
            };
            text.extend_from_slice(filled.as_bytes());
        }
        text.push(end);
    }
}

/// The words of an error. Of a script that is called as a function, and of a library's function, each error is marked.
fn words(text: &[u8]) -> &[u8] {
    text.strip_suffix(b" script: rs").unwrap_or(text)
}

/// What an error says that a call of such a script was answered with, where the wrapper says it.
#[cold]
pub(crate) fn verdict(text: &[u8]) -> Option<Status> {
    let text = words(text);
    if text == MISMATCH.as_bytes() {
        Some(Status::TokenMismatch)
    } else if text == NOT_KEPT.as_bytes() {
        Some(Status::ReplyNotKept)
    } else if text == UNUSED.as_bytes() {
        Some(Status::InvalidArgument)
    } else {
        None
    }
}

/// Whether the body of such a script has said so, though it may be in the server's words: it has run.
#[cold]
pub(crate) fn is_of_body(text: &[u8]) -> bool {
    words(text).ends_with(RAISED.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wrapper_keeps_the_lines_of_the_body() {
        for (body, line) in
            [("return 1", 0), ("\n\nreturn 1 -- the end", 2), ("#!lua flags=allow-oom\n\nreturn 1", 2)]
        {
            let script = Script::new(body).once(&Once::default()).unwrap();
            let source = String::from_utf8(script.source().to_vec()).unwrap();
            assert_eq!(source.lines().position(|line| line.contains("return 1")), Some(line), "{source}");
            assert_eq!(source.starts_with("#!"), body.starts_with("#!"));
            assert!(!source.contains('@') && !source.contains("\n--"), "{source}");
        }
        let empty = Script::new("#!lua").once(&Once::default()).unwrap();
        assert!(empty.source().starts_with(b"#!lua\nlocal "));
    }

    #[test]
    fn options_out_of_range_are_refused() {
        let script = Script::new("return 1");
        for once in [
            Once::default().lifetime(Duration::from_millis(999)),
            Once::default().lifetime(Duration::from_secs(366 * 24 * 60 * 60)),
            Once::default().prefix("a{b"),
            Once::default().prefix(vec![b'x'; 257]),
            Once::default().reply_limit(63),
            Once::default().reply_limit(64 * 1024 * 1024 + 1),
        ] {
            assert_eq!(
                script.once(&once).map(drop).unwrap_err().status(),
                Status::InvalidArgument,
                "{once:?}"
            );
        }
        assert!(Script::new("#!lua flags=no-writes\nreturn 1").once(&Once::default()).is_err());
        for (source, is_refused) in [
            ("redis.call('SELECT', 1)", true),
            ("redis.pcall( \"select\", ARGV[1])", true),
            ("local call = redis.call call(\n'Select', 1)", true),
            ("redis.call('HGET', KEYS[1], 'select')", false),
            ("redis.call('SELECTED')", false),
            ("redis.call('select", false),
        ] {
            assert_eq!(Script::new(source).once(&Once::default()).is_err(), is_refused, "{source}");
        }
        let library =
            "#!lua name=a\nredis.register_function('f', function() return redis.call('select', 1) end)";
        assert!(crate::Library::pinned(library).unwrap().once(&Once::default()).is_err());
        let twice = script.once(&Once::default()).unwrap().once(&Once::default()).unwrap();
        assert_eq!(twice.sha(), script.once(&Once::default()).unwrap().sha(), "wrapped once");
    }
}
