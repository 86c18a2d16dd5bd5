//! A script: its exact bytes, its SHA1, and what its first line declares.

use std::ffi::CStr;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::function::Function;
use crate::base::sha::Sha;
use crate::error::{Error, Result, Status};

/// A name is a label, and no text.
const LONGEST_NAME: usize = 256;

/// What stands before the SHA in a call.
pub(crate) const EVALSHA_HEAD: &[u8] = b"$7\r\nEVALSHA\r\n$40\r\n";

const EVALSHA_LEN: usize = EVALSHA_HEAD.len() + 42;

/// A Lua script, ready to be called on any client, from any thread, on any server.
///
/// Making one does no I/O. A script is immutable; cloning it copies a pointer. Nothing about it is shared between two
/// scripts made apart, even of the same source.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// use rs_script::Script;
///
/// let greet = Script::new("return 'Hello, ' .. ARGV[1]");
/// let greeting: String = greet.arg("Ada").call(&client)?;
/// assert_eq!(greeting, "Hello, Ada");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Script(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    source: Vec<u8>,
    sha: Sha,
    /// The SHA in hexadecimal, and with a NUL, as C wants it.
    hex: Box<str>,
    /// `EVALSHA` and the SHA in wire form: what every call of it begins with.
    evalsha: [u8; EVALSHA_LEN],
    idempotent: bool,
    may_write: bool,
    /// With a NUL, likewise.
    name: Option<Box<str>>,
    /// Set where it is called as a function.
    function: Option<Function>,
    /// What it is told apart by from all others that are called otherwise.
    identity: Sha,
    /// Of one that is called as a function: the script that it is where servers have no functions.
    instead: Option<Script>,
    once: Option<Box<Wrapped>>,
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

/// What a script that runs once per token has beside others.
#[derive(Clone, Debug)]
pub(crate) struct Wrapped {
    /// The body as a script of its own, for read-only calls.
    pub(crate) plain: Script,
    /// What token keys begin with, up to their tag.
    pub(crate) head: Vec<u8>,
    /// The same in wire form, for tokens that are made here: how long the key is stands in front.
    pub(crate) made_head: Vec<u8>,
    pub(crate) lifetime: Duration,
    pub(crate) wait: Option<Wait>,
}

impl Wrapped {
    /// How long after it was first sent a call may be sent again.
    pub(crate) fn repeats_for(&self) -> Duration {
        self.lifetime / 2
    }
}

impl Script {
    /// Takes the source as it is: any bytes, an empty source included.
    ///
    /// ```
    /// use rs_script::Script;
    ///
    /// let script = Script::new("return redis.call('GET', KEYS[1])");
    /// let from_a_file = Script::new(&include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"))[..]);
    /// ```
    pub fn new(source: impl Into<Vec<u8>>) -> Self {
        Script::build(source.into(), false)
    }

    /// The same for a script that may safely run twice: its calls are sent again when a connection is lost and nobody
    /// can say whether the server had executed them.
    ///
    /// ```
    /// let set = rs_script::Script::idempotent("return redis.call('SET', KEYS[1], ARGV[1])");
    /// assert!(set.is_idempotent());
    /// ```
    pub fn idempotent(source: impl Into<Vec<u8>>) -> Self {
        Script::build(source.into(), true)
    }

    fn build(source: Vec<u8>, idempotent: bool) -> Self {
        let sha = Sha::of(&source);
        let hex = format!("{sha}\0").into_boxed_str();
        let mut evalsha = [0; EVALSHA_LEN];
        evalsha[..EVALSHA_HEAD.len()].copy_from_slice(EVALSHA_HEAD);
        evalsha[EVALSHA_HEAD.len()..EVALSHA_LEN - 2].copy_from_slice(&sha.hex());
        evalsha[EVALSHA_LEN - 2..].copy_from_slice(b"\r\n");
        let may_write = declares_writes(&source);
        Script(Arc::new(Inner {
            source,
            sha,
            hex,
            evalsha,
            idempotent,
            may_write,
            name: None,
            function: None,
            identity: sha,
            instead: None,
            once: None,
        }))
    }

    /// A function of a library. Whether it may be called read-only is the server's to say.
    pub(crate) fn of_library(function: Function) -> Self {
        let sha = function_sha(&function);
        let built = Arc::unwrap_or_clone(Script::build(Vec::new(), false).0);
        let hex = format!("{sha}\0").into_boxed_str();
        let function = Some(function);
        Script(Arc::new(Inner { sha, hex, may_write: false, identity: sha, function, ..built }))
    }

    /// A function of a library whose functions run once per token.
    pub(crate) fn once_of_library(function: Function, wrapped: Wrapped) -> Self {
        let Script(built) = Script::of_library(function).made_idempotent();
        Script(Arc::new(Inner { once: Some(Box::new(wrapped)), ..Arc::unwrap_or_clone(built) }))
    }

    /// The same script, called as this function where servers have functions.
    pub(crate) fn with_function(self, function: Function) -> Self {
        let identity = function_sha(&function);
        let inner = (*self.0).clone();
        Script(Arc::new(Inner { identity, function: Some(function), instead: Some(self), ..inner }))
    }

    pub(crate) fn made_idempotent(self) -> Self {
        Script(Arc::new(Inner { idempotent: true, ..Arc::unwrap_or_clone(self.0) }))
    }

    #[inline]
    pub(crate) fn function(&self) -> Option<&Function> {
        self.0.function.as_ref()
    }

    /// The name of the library that it is a function of; empty for a script.
    pub(crate) fn library_name(&self) -> &[u8] {
        self.function().map_or(b"", |function| function.code.name.as_bytes())
    }

    /// The script that it is where servers have no functions.
    pub(crate) fn instead(&self) -> Option<&Script> {
        self.0.instead.as_ref()
    }

    /// What it is known by where one is told from another.
    #[inline]
    pub(crate) fn identity(&self) -> Sha {
        self.0.identity
    }

    /// What a connection knows it by once it is there: of a function, its library.
    #[inline]
    pub(crate) fn place(&self) -> Sha {
        match &self.0.function {
            None => self.0.sha,
            Some(function) => function.code.place,
        }
    }

    /// Whether an error reply to a call of it may be its own, in the server's words.
    pub(crate) fn may_forge(&self) -> bool {
        !self.0.function.as_ref().is_some_and(|function| function.code.is_marked) || self.0.instead.is_some()
    }

    /// The name by which the server knows the function, where this is one: of a pinned library's with a digest behind
    /// it. Of a script that was made a function, that name.
    ///
    /// ```
    /// use rs_script::{Library, Script};
    ///
    /// let library = Library::named("#!lua name=a\nredis.register_function('f', function() return 1 end)")?;
    /// assert_eq!(library.function("f")?.function_name(), Some("f"));
    /// assert_eq!(Script::new("return 1").function_name(), None);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn function_name(&self) -> Option<&str> {
        self.function().map(|function| function.name(false))
    }

    /// The same script with a name, by which figures and events speak of it: 1 to 256 bytes without control
    /// characters. Scripts may share one; it changes nothing about how they run.
    ///
    /// [`Status::InvalidArgument`] for another name.
    ///
    /// ```
    /// let tax = rs_script::Script::new("return 1").named("billing/tax")?;
    /// assert_eq!(tax.name(), Some("billing/tax"));
    /// assert!(rs_script::Script::new("return 1").named("").is_err());
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn named(self, name: &str) -> Result<Self> {
        let invalid = || {
            let text = format!("a script's name has 1 to {LONGEST_NAME} bytes, and no control characters");
            Error::new(Status::InvalidArgument, text)
        };
        if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            return Err(invalid());
        }
        let name = Some(format!("{name}\0").into_boxed_str());
        let mut inner = Inner { name, ..Arc::unwrap_or_clone(self.0) };
        if let Some(once) = &mut inner.once {
            once.plain = once.plain.clone().named_as(inner.name.clone());
        }
        Ok(Script(Arc::new(inner)))
    }

    fn named_as(self, name: Option<Box<str>>) -> Self {
        Script(Arc::new(Inner { name, ..Arc::unwrap_or_clone(self.0) }))
    }

    /// This script as `source` calls it, which makes it run once per token.
    pub(crate) fn wrapped_by(&self, source: Vec<u8>, wrapped: Wrapped) -> Script {
        let Script(built) = Script::build(source, true);
        let name = self.0.name.clone();
        Script(Arc::new(Inner { name, once: Some(Box::new(wrapped)), ..Arc::unwrap_or_clone(built) }))
    }

    /// What makes it run once per token, if it does.
    #[inline]
    pub(crate) fn wrapped(&self) -> Option<&Wrapped> {
        self.0.once.as_deref()
    }

    /// The script that a read-only call runs: itself, or the body of one that runs once per token.
    pub(crate) fn unwrapped(&self) -> &Script {
        self.wrapped().map_or(self, |wrapped| &wrapped.plain)
    }

    /// The name that [`Script::named`] has given it.
    ///
    /// ```
    /// assert_eq!(rs_script::Script::new("return 1").name(), None);
    /// ```
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()?.strip_suffix('\0')
    }

    pub(crate) fn name_nul(&self) -> Option<&CStr> {
        CStr::from_bytes_with_nul(self.0.name.as_deref()?.as_bytes()).ok()
    }

    pub(crate) fn function_name_nul(&self) -> Option<&CStr> {
        self.function().map(Function::name_nul)
    }

    /// The SHA1 of the source. Of a function of a [`Library`](crate::Library) one that stands for the library's code
    /// and the function's name, by which figures and events tell it from others; no server knows that.
    ///
    /// ```
    /// use rs_script::Script;
    ///
    /// assert_ne!(Script::new("return 1").sha(), Script::new("return 1 ").sha());
    /// ```
    pub fn sha(&self) -> Sha {
        self.0.sha
    }

    /// The SHA1 in 40 lower-case hexadecimal digits.
    ///
    /// ```
    /// let script = rs_script::Script::new("return 1");
    /// assert_eq!(script.sha_hex(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    /// ```
    pub fn sha_hex(&self) -> &str {
        self.0.hex.strip_suffix('\0').unwrap_or_default()
    }

    pub(crate) fn sha_hex_nul(&self) -> &[u8] {
        self.0.hex.as_bytes()
    }

    /// Whether this is a clone of `other`, or it of this.
    #[inline]
    pub(crate) fn is(&self, other: &Script) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn evalsha(&self) -> &[u8; EVALSHA_LEN] {
        &self.0.evalsha
    }

    /// The source, byte for byte; of a function of a [`Library`](crate::Library) the library's.
    ///
    /// ```
    /// assert_eq!(rs_script::Script::new("return 1").source(), b"return 1");
    /// ```
    pub fn source(&self) -> &[u8] {
        match &self.0.function {
            Some(Function { code, .. }) if self.0.instead.is_none() => {
                code.written.as_deref().unwrap_or(&code.source)
            }
            _ => &self.0.source,
        }
    }

    /// Whether the script was made by [`Script::idempotent`], or by [`Script::once`], or is a function of a
    /// [`Library::once`](crate::Library::once).
    ///
    /// ```
    /// assert!(!rs_script::Script::new("return 1").is_idempotent());
    /// ```
    pub fn is_idempotent(&self) -> bool {
        self.0.idempotent
    }

    /// Whether the script was made by [`Script::once`], or is a function of a [`Library::once`](crate::Library::once).
    ///
    /// ```
    /// use rs_script::{Once, Script};
    ///
    /// let script = Script::new("return 1");
    /// assert!(!script.is_once() && script.once(&Once::default())?.is_once());
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn is_once(&self) -> bool {
        self.wrapped().is_some()
    }

    /// Whether the script's first line (`#!lua flags=...`) lacks `no-writes`, so that the server refuses to run it
    /// read-only. A script without such a line may be called read-only; the server stops it at the first write.
    ///
    /// [Script flags](https://redis.io/docs/latest/develop/programmability/lua-api/#script_flags)
    ///
    /// ```
    /// use rs_script::Script;
    ///
    /// assert!(Script::new("#!lua\nreturn 1").is_refused_read_only());
    /// assert!(!Script::new("#!lua flags=no-writes\nreturn 1").is_refused_read_only());
    /// ```
    pub fn is_refused_read_only(&self) -> bool {
        self.0.may_write
    }
}

impl Script {
    /// Whether it has a first line of flags (`#!lua`), or flags as functions have them: what they do not allow, the
    /// server refuses before it begins.
    pub(crate) fn has_flags(&self) -> bool {
        self.source().starts_with(b"#!")
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Script({})", self.sha_hex())
    }
}

/// A digest that no script's is: of a library's code and a function's name.
fn function_sha(function: &Function) -> Sha {
    Sha::of_parts(&[function.code.place.as_bytes(), function.name(false).as_bytes()])
}

fn declares_writes(source: &[u8]) -> bool {
    let Some(rest) = source.strip_prefix(b"#!") else { return false };
    let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let flags = line.split(u8::is_ascii_whitespace).find_map(|word| word.strip_prefix(b"flags="));
    !flags.is_some_and(|flags| flags.split(|&byte| byte == b',').any(|flag| flag == b"no-writes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sha_is_over_the_exact_bytes() {
        assert_eq!(Script::new("return 1").sha_hex(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        assert_eq!(Script::new("").sha_hex(), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_ne!(Script::new("return 1\n").sha(), Script::new("return 1").sha());
        assert_eq!(Script::new(*b"\0\xff").source(), b"\0\xff");
    }

    #[test]
    fn a_name_is_kept_and_changes_nothing_else() {
        let script = Script::idempotent("return 1");
        let named = script.clone().named("tax/\u{fc}bersicht").unwrap();
        assert_eq!((script.name(), named.name()), (None, Some("tax/\u{fc}bersicht")));
        assert_eq!((named.sha(), named.source()), (script.sha(), script.source()));
        assert!(named.is_idempotent() && !named.is(&script));
        assert!(script.clone().named(&"x".repeat(LONGEST_NAME)).is_ok());
        for name in ["", "a\nb", "a\0b", "\u{7f}", &"x".repeat(LONGEST_NAME + 1)] {
            let refused = script.clone().named(name).expect_err("it is no name");
            assert_eq!(refused.status(), Status::InvalidArgument, "{name:?}");
        }
    }

    #[test]
    fn the_first_line_says_whether_read_only_calls_are_refused() {
        for (source, refused) in [
            ("return 1", false),
            ("#!lua\nreturn 1", true),
            ("#!lua flags=no-writes\nreturn 1", false),
            ("#!lua flags=allow-stale,no-writes\nreturn 1", false),
            ("#!lua flags=allow-stale\nreturn 'flags=no-writes'", true),
            ("#!lua flags=no-writes-at-all\nreturn 1", true),
            ("-- #!lua\nreturn 1", false),
        ] {
            assert_eq!(Script::new(source).is_refused_read_only(), refused, "{source}");
        }
    }
}
