//! Scripts and functions that run once per token: their options, the wrapper around their body, and the keys
//! under which what they answered is kept.
//!
//! The wrapper (`once.lua`) looks the token up, runs the body only if it is new, and stores the reply beside the body's effects, all in
//! one atomic execution. So a call can be sent again with its token as often as need be.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result, Status};
use crate::ffi::cancel::Held;
use crate::ffi::fork::Process;
use crate::request::Flags;
use crate::resp::encode::{Arguments, Buffer};
use crate::script::Script;
use crate::slots::{CRC, SLOTS, slot_of};

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

/// The replicas that must have a call before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) replicas: u32,
    pub(crate) timeout: Duration,
}

impl Wait {
    /// What serves both.
    pub(crate) fn join(self, other: Wait) -> Wait {
        Wait { replicas: self.replicas.max(other.replicas), timeout: self.timeout.max(other.timeout) }
    }
}

impl Default for Once {
    fn default() -> Self {
        Once { lifetime: LIFETIME, prefix: PREFIX.to_vec(), reply_limit: REPLY_LIMIT, wait: None }
    }
}

impl Once {
    /// How long a server remembers a token, from the last call with it on: a second to a year, 5 minutes if nothing is said. A repeat that comes later
    /// runs the script again. The library itself sends a call again only within the first half of that time.
    ///
    /// ```
    /// let once = rs_script::Once::default().lifetime(std::time::Duration::from_secs(3600));
    /// ```
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// What the keys begin with under which tokens are kept, `rs:once:` if nothing is said: up to 256 bytes, none of them a `{`. The user needs the right to
    /// GET, SET and PEXPIRE there. Behind it comes the tag `{....}`, of the call's slot, and the token.
    ///
    /// ```
    /// let once = rs_script::Once::default().prefix("billing:once:");
    /// ```
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Vec<u8>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The longest reply that is kept, in bytes: 64 to 64 MiB, 1 MiB if nothing is said. A longer one reaches the caller that it was made for; a repeat gets
    /// [`Status::ReplyNotKept`].
    ///
    /// ```
    /// let once = rs_script::Once::default().reply_limit(16 * 1024);
    /// ```
    #[must_use]
    pub fn reply_limit(mut self, bytes: usize) -> Self {
        self.reply_limit = bytes;
        self
    }

    /// How many replicas must have a call before it counts as done, 1 to 1000, and how long they are waited for at each attempt: a millisecond to a day. A
    /// failover to one of them then loses neither what the call did nor its token.
    ///
    /// Where they are too few, the call is sent again, with its token, until its deadline, and ends with [`Status::NotReplicated`] then. Such calls get a
    /// connection each, like commands that wait ([`Options::max_waiting`](crate::Options::max_waiting)): they cost more than others.
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

const LIFETIME: Duration = Duration::from_secs(5 * 60);
const LIFETIMES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 60 * 60);
const WAITS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);
const PREFIX: &[u8] = b"rs:once:";
const LONGEST_PREFIX: usize = 256;
const REPLY_LIMIT: usize = 1024 * 1024;
const REPLY_LIMITS: std::ops::RangeInclusive<usize> = 64..=64 * 1024 * 1024;

/// A token of the caller's own is so long at most.
pub(crate) const LONGEST_TOKEN: usize = 256;

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

const WRAPPER: &str = include_str!("once.lua");
const HEAD: &[u8] = b"local rs_once = function() ";

/// What a script of this kind has beside others.
#[derive(Clone, Debug)]
pub(crate) struct Wrapped {
    /// The body as a script of its own, for read-only calls.
    pub(crate) plain: Script,
    /// What token keys begin with, up to their tag.
    head: Vec<u8>,
    /// The same in wire form, for tokens that are made here: how long the key is stands in front.
    made_head: Vec<u8>,
    lifetime: Duration,
    pub(crate) wait: Option<Wait>,
}

impl Wrapped {
    /// `plain`: what read-only calls run.
    pub(crate) fn new(plain: Script, once: &Once) -> Self {
        let mut head = once.prefix.clone();
        head.push(b'{');
        let mut made_head = format!("${}\r\n", head.len() + TAG + 2 + 32).into_bytes();
        made_head.extend_from_slice(&head);
        Wrapped { plain, head, made_head, lifetime: once.lifetime, wait: once.wait }
    }

    /// How long after it was first sent a call may be sent again.
    pub(crate) fn repeats_for(&self) -> Duration {
        self.lifetime / 2
    }
}

impl Script {
    /// The same script, whose calls happen exactly once each: a call carries a token, its effects and its reply are stored together under that, and a
    /// call that comes again with the same token gets that reply and does nothing.
    ///
    /// So a call is sent again after a lost reply, a lost connection or a failover, until its deadline, and its caller gets the reply instead of
    /// [`Status::Indeterminate`]. The library makes a token for each call; with one of its own ([`ScriptCall::token`](crate::ScriptCall::token)), a job's or
    /// a request's id, a caller that has crashed asks again and gets what the first run answered.
    ///
    /// What is sent is a wrapper around the source, with its line numbers: [`Script::source`] and [`Script::sha`] are those of that. Read-only calls
    /// need no token; they are those of the script as it was. It may be one that is called as a function
    /// ([`Script::as_function`]); for functions of libraries there is [`Library::once`](crate::Library::once).
    ///
    /// # Limits
    ///
    /// - A server forgets a token after its [lifetime](Once::lifetime), or when it evicts it: a `maxmemory-policy` other than `noeviction` voids all this.
    /// - A primary that dies before it has replicated a call has lost it and its token.
    /// - What a script has written before it raised an error stays, and is not done again: a repeat gets the same error. It lacks the place in the script that
    ///   a server adds to it (`script: ..., on @user_script:1.`).
    /// - In a cluster, while a slot moves key by key, calls with keys in it wait for the end of that (`TRYAGAIN`): their tokens are new keys.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`]: an option is out of its range, the script's first line has the flag `no-writes`, or it is a library's function.
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
            let text = "once: the script's first line has the flag no-writes, so it has nothing that could happen twice";
            return Err(Error::new(Status::InvalidArgument, text));
        }
        let script = plain.wrapped_by(wrapper(&plain, once), Wrapped::new(plain.clone(), once));
        Ok(if is_function { script.as_function() } else { script })
    }
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
                _ => NOT_WRITTEN,
            };
            text.extend_from_slice(filled.as_bytes());
        }
        text.push(end);
    }
}

/// What an error says that a call of such a script was answered with, where the wrapper says it.
#[cold]
pub(crate) fn verdict(text: &[u8]) -> Option<Status> {
    // Of one that is called as a function, and of a library's, each error is marked.
    let text = text.strip_suffix(b" script: rs").unwrap_or(text);
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

/// The keys of a call, and the key of its token behind them.
pub(crate) struct WithToken<'a, K: ?Sized> {
    keys: &'a K,
    wrapped: &'a Wrapped,
    token: Option<&'a [u8]>,
}

impl<'a, K: ?Sized> WithToken<'a, K> {
    pub(crate) fn new(wrapped: &'a Wrapped, keys: &'a K, flags: Flags<'a>) -> Result<Self> {
        if let Some(token) = flags.token {
            check_token(token)?;
        }
        Ok(WithToken { keys, wrapped, token: flags.token })
    }
}

impl<K: Arguments + ?Sized> Arguments for WithToken<'_, K> {
    #[inline]
    fn count(&self) -> usize {
        self.keys.count() + 1
    }

    #[inline]
    fn write(&self, buffer: &mut Buffer) -> Result<()> {
        let start = buffer.len();
        self.keys.write(buffer)?;
        let slot = first_argument(buffer.part(start..buffer.len())).map(slot_of);
        match self.token {
            Some(token) => write_key(buffer, &self.wrapped.head, slot, OWN, token),
            None => {
                let token = made();
                let mut rest = [0; TAG + 2 + 32 + 2];
                rest[..TAG].copy_from_slice(&tag_of(slot.unwrap_or_else(|| slot_of_token(&token))));
                rest[TAG..TAG + 2].copy_from_slice(&[b'}', MADE]);
                rest[TAG + 2..TAG + 34].copy_from_slice(&token);
                rest[TAG + 34..].copy_from_slice(b"\r\n");
                buffer.raw(&self.wrapped.made_head);
                buffer.raw(&rest);
            }
        }
        Ok(())
    }
}

/// The first of the arguments that are in wire form.
#[inline]
fn first_argument(wire: &[u8]) -> Option<&[u8]> {
    let (mut at, mut length) = (1, 0);
    while let Some(digit) = wire.get(at).filter(|byte| byte.is_ascii_digit()) {
        length = 10 * length + usize::from(digit - b'0');
        at += 1;
    }
    wire.get(at + 2..at + 2 + length)
}

/// What stands between tag and token: of the caller's own, of those made here, and of all of a pipeline, in
/// front of whose token stands an item's number.
const OWN: u8 = b':';
const MADE: u8 = b'.';
const SHARED: u8 = b'#';

pub(crate) fn check_token(token: &[u8]) -> Result<()> {
    if token.is_empty() || token.len() > LONGEST_TOKEN {
        let text = format!("a token has 1 to {LONGEST_TOKEN} bytes, this one has {}", token.len());
        return Err(Error::new(Status::InvalidArgument, text));
    }
    Ok(())
}

/// For calls that can have no token.
#[cold]
pub(crate) fn no_token() -> Error {
    let text = "a token is for calls of a script that runs once per token, and not for read-only ones; nothing was sent";
    Error::new(Status::InvalidArgument, text)
}

/// `slot`: that of the other keys; `None`: there are none.
fn write_key(buffer: &mut Buffer, head: &[u8], slot: Option<u16>, separator: u8, token: &[u8]) {
    let slot = slot.unwrap_or_else(|| slot_of_token(token));
    buffer.argument_of(&[head, &tag_of(slot), &[b'}', separator], token]);
}

/// Appends the key of an item's token where all items have got one, instead of `made`, that of the token which was made for it. `None`: it has one of its
/// own, which stays.
pub(crate) fn write_shared(
    wrapped: &Wrapped,
    made: &[u8],
    (slot, token, index): (u16, &[u8], usize),
    buffer: &mut Buffer,
) -> Option<()> {
    let separator = *made.get(wrapped.head.len() + TAG + 1)?;
    if separator != MADE {
        return None;
    }
    let mut number = itoa::Buffer::new();
    let token = [number.format(index).as_bytes(), b":", token].concat();
    write_key(buffer, &wrapped.head, Some(slot), SHARED, &token);
    Some(())
}

/// A token key's place among the bytes of its item, and the place of its tag.
pub(crate) fn tag_in(wrapped: &Wrapped, key: Range<usize>) -> Range<usize> {
    let start = key.start + wrapped.head.len();
    start..start + TAG
}

/// The slot of a call without keys.
pub(crate) fn slot_of_token(token: &[u8]) -> u16 {
    CRC.checksum(token) % SLOTS
}

/// The length of a tag.
const TAG: usize = 4;

/// A tag of this slot, for each slot one: four bytes from `@` to `O`. CRC16 is linear, so each part of a slot has a tag's bits of its own.
#[inline]
pub(crate) fn tag_of(slot: u16) -> [u8; TAG] {
    let slot = slot ^ ZERO;
    let part = |part: usize| NIBBLES[part][usize::from(slot >> (4 * part) & 15)];
    let nibbles = u32::from(part(0) ^ part(1) ^ part(2) ^ part(3));
    // Each nibble into a byte of its own.
    let spread = (nibbles << 8 | nibbles) & 0x00ff_00ff;
    let spread = (spread << 4 | spread) & 0x0f0f_0f0f;
    (spread | 0x4040_4040).to_be_bytes()
}

/// For four bits of a slot at a time, what makes them of a tag.
const NIBBLES: [[u16; 16]; 4] = nibbles();

const fn nibbles() -> [[u16; 16]; 4] {
    let mut found = [[0; 16]; 4];
    let mut bit = 0;
    while bit < 14 {
        let mut number = 0;
        while number < 16 {
            if number >> (bit % 4) & 1 == 1 {
                found[bit / 4][number] ^= BASIS[bit];
            }
            number += 1;
        }
        bit += 1;
    }
    found
}

const fn nibble_byte(nibble: u8) -> u8 {
    b'@' | nibble
}

/// The slot of the tag without bits.
const ZERO: u16 = CRC.checksum(&[nibble_byte(0); TAG]) % SLOTS;

/// What a tag's bits do to its slot, turned round: for each bit of a slot the tag's bits that change it, and no other.
const BASIS: [u16; 14] = basis();

const fn basis() -> [u16; 14] {
    // Gauss, over the field of two elements: rows of what a slot gets, and which of the tag's bits make that.
    let mut rows = [(0_u16, 0_u16); 16];
    let mut bit = 0;
    while bit < 16 {
        let nibbles = 1_u16 << bit;
        let tag = [
            nibble_byte((nibbles >> 12) as u8),
            nibble_byte((nibbles >> 8 & 15) as u8),
            nibble_byte((nibbles >> 4 & 15) as u8),
            nibble_byte((nibbles & 15) as u8),
        ];
        rows[bit] = ((CRC.checksum(&tag) % SLOTS) ^ ZERO, nibbles);
        bit += 1;
    }
    let mut basis = [0; 14];
    let mut done = 0;
    while done < 14 {
        let mut pivot = done;
        while rows[pivot].0 >> done & 1 == 0 {
            pivot += 1;
        }
        let row = rows[pivot];
        rows[pivot] = rows[done];
        rows[done] = row;
        let mut other = 0;
        while other < 16 {
            if other != done && rows[other].0 >> done & 1 == 1 {
                rows[other] = (rows[other].0 ^ row.0, rows[other].1 ^ row.1);
            }
            other += 1;
        }
        done += 1;
    }
    while done > 0 {
        done -= 1;
        basis[done] = rows[done].1;
    }
    basis
}

/// Where a thread's tokens come from: a secret and a count, of which each token is the 128-bit SipHash-1-3.
struct Source {
    /// Where the secret was made; `None`: there is none yet.
    process: Cell<Option<Process>>,
    secret: Cell<[u64; 2]>,
    count: Cell<u64>,
}

thread_local! {
    static SOURCE: Source =
        const { Source { process: Cell::new(None), secret: Cell::new([0; 2]), count: Cell::new(0) } };
}

impl Source {
    /// The system's randomness is that of a thread, and a child of fork has the same as its parent: what tells these apart goes in as well.
    #[cold]
    fn renew(&self) {
        // The system is asked for randomness.
        let _held = Held::new();
        let mine = (std::process::id(), SystemTime::now());
        let [first, second, count] = [(); 3].map(|()| RandomState::new().hash_one(mine));
        self.secret.set([first, second]);
        self.count.set(count);
        self.process.set(Some(Process::this()));
    }

    #[inline]
    fn next(&self) -> [u64; 2] {
        if !self.process.get().is_some_and(Process::is_this) {
            self.renew();
        }
        let count = self.count.get().wrapping_add(1);
        self.count.set(count);
        siphash(self.secret.get(), count)
    }
}

/// A token of 128 bits, as 32 letters, that nobody can guess.
#[inline]
fn made() -> [u8; 32] {
    // It needs no destructor, so it is there up to a thread's end.
    let number = SOURCE.with(Source::next);
    let mut token = [0; 32];
    for (digits, half) in token.chunks_exact_mut(16).zip(number) {
        digits.copy_from_slice(&letters(half));
    }
    token
}

/// SipHash-1-3 with 128 bits of a message of eight bytes. The standard library's has 64 bits, and two of those cost four times as much.
///
/// [SipHash](https://www.aumasson.jp/siphash/siphash.pdf)
#[inline]
fn siphash([k0, k1]: [u64; 2], message: u64) -> [u64; 2] {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    // The last block has nothing but the message's length.
    for block in [message, 8 << 56] {
        v[3] ^= block;
        round(&mut v);
        v[0] ^= block;
    }
    v[2] ^= 0xee;
    (0..3).for_each(|_| round(&mut v));
    let first = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    (0..3).for_each(|_| round(&mut v));
    [first, v[0] ^ v[1] ^ v[2] ^ v[3]]
}

#[inline(always)]
fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32).wrapping_add(v[3]);
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

/// A number as sixteen bytes from `@` to `O`, each of which has four of its bits: digits without a branch, as in tags.
#[inline(always)]
fn letters(number: u64) -> [u8; 16] {
    let half = |number: u32| {
        // Each nibble into a byte of its own.
        let number = u64::from(number);
        let spread = (number << 16 | number) & 0x0000_ffff_0000_ffff;
        let spread = (spread << 8 | spread) & 0x00ff_00ff_00ff_00ff;
        let nibbles = (spread << 4 | spread) & 0x0f0f_0f0f_0f0f_0f0f;
        (nibbles | 0x4040_4040_4040_4040).to_be_bytes()
    };
    let mut letters = [0; 16];
    letters[..8].copy_from_slice(&half((number >> 32) as u32));
    letters[8..].copy_from_slice(&half(number as u32));
    letters
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_slot_has_a_tag() {
        for slot in 0..SLOTS {
            let tag = tag_of(slot);
            assert_eq!(slot_of(&tag), slot, "{}", tag.escape_ascii());
            assert!(tag.iter().all(|byte| (b'@'..=b'O').contains(byte)));
        }
    }

    #[test]
    fn letters_are_those_of_the_number() {
        for number in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, 0x9a0a_90f0_0f09_a99a] {
            let letter = |digit: char| b'@' + u8::try_from(digit.to_digit(16).unwrap()).unwrap();
            let expected: Vec<u8> = format!("{number:016x}").chars().map(letter).collect();
            assert_eq!(letters(number)[..], expected[..]);
        }
    }

    #[test]
    fn the_hash_is_siphash() {
        // Of the key 00 01 02 ... 0f and the message 00 01 ... 07, computed by another implementation.
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(siphash(key, 0x0706_0504_0302_0100), [0xb4da_e3d5_e1fe_12aa, 0x99c7_f935_ab16_4f72]);
    }

    #[test]
    fn tokens_are_all_different_on_all_threads() {
        let threads: Vec<_> =
            (0..8).map(|_| std::thread::spawn(|| (0..10_000).map(|_| made()).collect::<Vec<_>>())).collect();
        let all: Vec<[u8; 32]> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        assert!(all.iter().flatten().all(|byte| (b'@'..=b'O').contains(byte)));
    }

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
        let twice = script.once(&Once::default()).unwrap().once(&Once::default()).unwrap();
        assert_eq!(twice.sha(), script.once(&Once::default()).unwrap().sha(), "wrapped once");
    }
}
