//! Libraries of functions, and ordinary scripts that become functions.

use std::ffi::{CStr, CString};
use std::fmt;
use std::sync::Arc;

use super::function::{Code, Function};
use super::once::{self, Once};
use super::script::{Script, Wrapped};
use crate::base::sha::Sha;
use crate::error::{Error, Result, Status};

/// So many digits of the digest are part of a pinned library's name, and of its functions'.
const DIGITS: usize = 12;

/// Longer names make no sense, and an error text repeats them.
const LONGEST_NAME: usize = 256;

/// What a pinned library begins with, on its first line of code, so that the numbers of lines stay. It gives
/// each function the digest in its name, and puts a mark behind every error that one returns, so that no text
/// of a function's is a text of the server's. `@` stands for the digest. While a library is loaded there are
/// neither `pairs` nor `type` nor `redis.call`; hence its form. A server ends an error at its first NUL, so none may
/// be in front of the mark.
const PRELUDE_HEAD: &str = "local G=function() return redis end local R=redis.register_function \
local redis={log=redis.log,LOG_DEBUG=redis.LOG_DEBUG,LOG_VERBOSE=redis.LOG_VERBOSE,LOG_NOTICE=redis.LOG_NOTICE,\
LOG_WARNING=redis.LOG_WARNING,REDIS_VERSION=redis.REDIS_VERSION,REDIS_VERSION_NUM=redis.REDIS_VERSION_NUM} \
local server=redis ";
const PRELUDE_MARK: &str = "local Z=('').gsub local function W(f) return function(k,a) \
if not redis.call then for n,v in pairs(G()) do redis[n]=v end end local r=f(k,a) \
if type(r)=='table' and type(r.err)=='string' then \
r={err=Z(r.err,'%z',' ')..' script: rs',ignore_error_stats_update=r.ignore_error_stats_update} end return r end end ";
const PRELUDE: &str = "redis.register_function=function(a,b) \
if b==nil then return R{function_name=a.function_name..'_@',callback=W(a.callback),flags=a.flags,\
description=a.description} end \
return R(a..'_@',W(b)) end ";

/// The same where functions run once per token: each is registered a second time as it is, for read-only calls.
const PRELUDE_ONCE: &str = "redis.register_function=function(n,f) local g,d,w=nil,nil,O \
if f==nil then n,f,g,d=n.function_name,n.callback,n.flags,n.description end \
if g then for i=1,#g do if g[i]:lower()=='no-writes' then w=N end end end \
R{function_name=n..'_@_ro',callback=W(f),flags=g,description=d} \
return R{function_name=n..'_@',callback=W(w(f,n)),flags=g,description=d} end ";

/// What stands around the body of a script that becomes a function, behind the first line. The body begins on
/// the second.
const BODY_HEAD: &str = "local function rs_body(KEYS, ARGV) ";
const BODY_TAIL: &str = "\nend local Z=('').gsub local function rs_marked(k,a) local r=rs_body(k,a) \
if type(r)=='table' and type(r.err)=='string' then r.err=Z(r.err,'%z',' ')..' script: rs' end return r end\n";

/// A library of functions ([FUNCTION LOAD](https://redis.io/docs/latest/commands/function-load/)), whose
/// functions are called like scripts.
///
/// Making one does no I/O. It is loaded when the server does not have it, in the same write as the first call
/// of one of its functions; so nobody has to deploy it, and nothing has to be done after a failover, a moved slot,
/// FUNCTION FLUSH or a restart without persistence. Redis and Valkey from 7.0 on; elsewhere
/// [`Status::NotSupported`](crate::Status::NotSupported).
///
/// | | [`Library::pinned`] | [`Library::named`] |
/// |---|---|---|
/// | names on the server | with a digest of the source behind them | as written |
/// | two versions | live side by side: each program calls its own | the last one that was deployed serves all |
/// | deploy, rollback | nothing to do | [`Client::library_deploy`](crate::Client::library_deploy) |
/// | old versions | [`Client::library_prune`](crate::Client::library_prune) | none |
/// | who else may call them | who knows the name: [`Script::function_name`](crate::Script::function_name) | everybody |
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// use rs_script::Library;
///
/// let stock = Library::pinned("#!lua name=stock
///     local function take(keys, args)
///         local left = redis.call('DECRBY', keys[1], args[1])
///         return left
///     end
///     redis.register_function('take', take)
///     redis.register_function{
///         function_name = 'left',
///         callback = function(keys) return redis.call('GET', keys[1]) end,
///         flags = {'no-writes'},
///     }
/// ")?;
/// let (take, left) = (stock.function("take")?, stock.function("left")?);
/// client.command(("SET", "book", 5))?;
/// assert_eq!(take.key("book").arg(2).call::<i64>(&client)?, 3);
/// assert_eq!(left.key("book").read_only().call::<i64>(&client)?, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Library {
    code: Arc<Code>,
    /// What is behind each function's name: `_` and the digest.
    suffix: Option<Box<str>>,
    /// How calls of its functions happen once.
    once: Option<Box<Once>>,
}

impl Library {
    /// A library whose code is part of its name: a digest of the source is put behind the library's name and
    /// behind those of its functions, so a name always means the same code, on every server. Two versions
    /// live side by side, and each program calls its own.
    ///
    /// The source is Lua, and its first line `#!lua name=...`. An error that a function returns
    /// (`redis.error_reply`) gets ` script: rs` behind it, so that it can never be taken for the server's own
    /// words. All else is as it would be, the numbers of lines too.
    ///
    /// [`Status::InvalidArgument`] for a source without such a first line. What else is wrong with it, the
    /// server says at the first call: [`Status::Compile`](crate::Status::Compile).
    ///
    /// ```
    /// use rs_script::Library;
    ///
    /// let one = Library::pinned("#!lua name=a\nredis.register_function('f', function() return 1 end)")?;
    /// let two = Library::pinned("#!lua name=a\nredis.register_function('f', function() return 2 end)")?;
    /// assert!(one.name().starts_with("a_") && one.name() != two.name());
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn pinned(source: impl Into<Vec<u8>>) -> Result<Self> {
        Library::pinned_with(source.into(), None)
    }

    fn pinned_with(source: Vec<u8>, once: Option<&Once>) -> Result<Self> {
        let shebang = Shebang::of(&source)?;
        if !shebang.engine.eq_ignore_ascii_case("lua") {
            let text = format!("the library's engine is {:?}: only Lua can be pinned", shebang.engine);
            return Err(Error::new(Status::InvalidArgument, text));
        }
        let register = match once {
            None => PRELUDE.to_owned(),
            Some(once) => {
                let wrapper = once::of_library(once, &source, &Sha::of(&source).to_string());
                String::from_utf8_lossy(&wrapper).into_owned() + PRELUDE_ONCE
            }
        };
        let prelude = [PRELUDE_HEAD, PRELUDE_MARK, &register].concat();
        let mut digits = Sha::of_parts(&[prelude.as_bytes(), &source]).to_string();
        digits.truncate(DIGITS);
        let name = format!("{}_{digits}", shebang.name);
        let code = [
            format!("#!{} name={name}", shebang.engine).as_bytes(),
            // A line of its own where there is no other: then that is all there is.
            b"\n",
            prelude.replace('@', &digits).as_bytes(),
            shebang.rest,
        ]
        .concat();
        let suffix = Some(format!("_{digits}").into());
        let library = Library::build(&name, code, Some(source), suffix)?;
        Ok(Library { once: once.cloned().map(Box::new), ..library })
    }

    /// The same library, whose functions happen exactly once for each call of them: a call carries a token, its
    /// effects and its reply are stored together under that, and a call that comes again with the same token
    /// gets that reply and does nothing. All that is said at [`Script::once`] holds for them.
    ///
    /// On the server it is another library than the one it is made of: what makes that so is in its code, and
    /// part of the digest. A function with the flag `no-writes` has nothing that could happen twice: it is
    /// called read-only, without a token, or otherwise runs again when its call is sent again; with a token of
    /// the caller's own it is refused with [`Status::InvalidArgument`].
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`]: an option is out of its range, its source says that a function selects another
    /// database, or the library is a [named](Library::named) one, whose code is others' as well.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::{Library, Once};
    ///
    /// let stock = Library::pinned("#!lua name=stock
    ///     redis.register_function('take', function(keys, args)
    ///         return redis.call('DECRBY', keys[1], args[1])
    ///     end)
    /// ")?.once(&Once::default())?;
    /// let take = stock.function("take")?;
    /// client.command(("SET", "book", 5))?;
    /// let order = take.key("book").arg(2).token("order 4711");
    /// let left: [i64; 2] = [order.call(&client)?, order.call(&client)?];
    /// assert_eq!(left, [3, 3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn once(&self, once: &Once) -> Result<Self> {
        once.check()?;
        match &self.code.written {
            Some(source) => {
                once::check_source(source)?;
                Library::pinned_with(source.clone(), Some(once))
            }
            None => {
                let text = format!(
                    "once: the library {} is not pinned, so its code stays as it is written",
                    self.name()
                );
                Err(Error::new(Status::InvalidArgument, text))
            }
        }
    }

    /// A library under the names that are written in it, which others may call and replace. Where it is
    /// missing it is loaded; what is there is never replaced, whatever it is, but by
    /// [`Client::library_deploy`](crate::Client::library_deploy).
    ///
    /// Nothing marks the errors of its functions. One that returns, to the letter, `ERR Function not found`
    /// is not told apart from a server that lacks it by that text alone, so the server is asked, and a call
    /// is sent again only where it did lack the library; where it cannot be known, the call ends as
    /// [indeterminate](crate::Error::is_indeterminate). A function that answers in other words of the
    /// server's (`MOVED ...`) is judged as a script that does so.
    ///
    /// [`Status::InvalidArgument`] for a source without a first line such as `#!lua name=...`.
    ///
    /// ```
    /// use rs_script::Library;
    ///
    /// let shared = Library::named("#!lua name=shared\nredis.register_function('f', function() return 1 end)")?;
    /// assert_eq!((shared.name(), shared.function("f")?.function_name()), ("shared", Some("f")));
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn named(source: impl Into<Vec<u8>>) -> Result<Self> {
        let source: Vec<u8> = source.into();
        let name = Shebang::of(&source)?.name.to_owned();
        Library::build(&name, source, None, None)
    }

    fn build(name: &str, code: Vec<u8>, written: Option<Vec<u8>>, suffix: Option<Box<str>>) -> Result<Self> {
        // A checked name has no NUL.
        let name = CString::new(name).map_err(|_| invalid_name("library", name))?;
        let code = Code::new(name, code, written, suffix.is_some());
        Ok(Library { code, suffix, once: None })
    }

    /// A function of the library, by the name that it is registered with in the source: 1 to 256 letters,
    /// digits and underscores. It is called like any [`Script`](crate::Script). Nothing is sent; whether the
    /// library has it shows at the first call: [`Status::NoFunction`](crate::Status::NoFunction).
    ///
    /// [`Status::InvalidArgument`] for what can be no function's name.
    ///
    /// ```
    /// let library = rs_script::Library::pinned(
    ///     "#!lua name=a\nredis.register_function('f', function() return 1 end)",
    /// )?;
    /// assert!(library.function("f")?.function_name().unwrap().starts_with("f_"));
    /// assert!(library.function("f g").is_err());
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn function(&self, name: &str) -> Result<Script> {
        if !is_name(name) {
            return Err(invalid_name("function", name));
        }
        let name = format!("{name}{}", self.suffix.as_deref().unwrap_or_default());
        let function = |name: &str, read_only: &str| Function::new(Arc::clone(&self.code), name, read_only);
        let Some(once) = &self.once else { return Ok(Script::of_library(function(&name, &name))) };
        let read_only = format!("{name}_ro");
        let plain = Script::of_library(function(&read_only, &read_only));
        Ok(Script::once_of_library(function(&name, &read_only), Wrapped::new(plain, once)))
    }

    /// The same for a function that may safely run twice; see [`Script::idempotent`](crate::Script::idempotent).
    ///
    /// ```
    /// let library = rs_script::Library::pinned(
    ///     "#!lua name=a\nredis.register_function('f', function() return 1 end)",
    /// )?;
    /// assert!(library.idempotent_function("f")?.is_idempotent());
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn idempotent_function(&self, name: &str) -> Result<Script> {
        self.function(name).map(Script::made_idempotent)
    }

    /// The library's name, as the server knows it.
    ///
    /// ```
    /// let library = rs_script::Library::named("#!lua name=a\nredis.register_function('f', function() return 1 end)")?;
    /// assert_eq!(library.name(), "a");
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn name(&self) -> &str {
        self.name_nul().to_str().unwrap_or_default()
    }

    pub(crate) fn name_nul(&self) -> &CStr {
        &self.code.name
    }

    /// Whether it was made by [`Library::once`].
    ///
    /// ```
    /// use rs_script::{Library, Once};
    ///
    /// let library = Library::pinned("#!lua name=a\nredis.register_function('f', function() return 1 end)")?;
    /// assert!(!library.is_once() && library.once(&Once::default())?.is_once());
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn is_once(&self) -> bool {
        self.once.is_some()
    }

    /// Whether it was made by [`Library::pinned`].
    ///
    /// ```
    /// let library = rs_script::Library::named("#!lua name=a\nredis.register_function('f', function() return 1 end)")?;
    /// assert!(!library.is_pinned());
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn is_pinned(&self) -> bool {
        self.suffix.is_some()
    }

    /// What is sent.
    pub(crate) fn code(&self) -> &Arc<Code> {
        &self.code
    }

    /// The name in the source, without the digest.
    pub(crate) fn base_name(&self) -> &str {
        self.name().strip_suffix(self.suffix.as_deref().unwrap_or_default()).unwrap_or_default()
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Library({})", self.name())
    }
}

/// Whether this is the name of a pinned library that was once called `base`, and this its code.
pub(crate) fn is_version_of(base: &str, name: &str, code: &[u8]) -> bool {
    let rest = name.strip_prefix(base).and_then(|rest| rest.strip_prefix('_'));
    let Some(digits) = rest.filter(|digits| digits.len() == DIGITS) else { return false };
    let is_digest = digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    // Whatever version of this library has written it: another's own library is never taken for one.
    let body = code.splitn(2, |&byte| byte == b'\n').nth(1).unwrap_or_default();
    is_digest && body.starts_with(b"local G=function() return redis end ")
}

impl Script {
    /// The same script as a function: its body becomes the only one of a library that this client makes, and
    /// calls of it are FCALL. On servers before 7.0 it is called as the script that it is.
    ///
    /// Servers replicate and persist libraries: such a script survives a failover, SCRIPT FLUSH, a restart
    /// and the eviction of scripts, and replicas have it. What differs for its body: an error that it returns
    /// gets ` script: rs` behind it; without a first line of flags (`#!lua`) the numbers of lines in errors
    /// are one higher, and where the server is out of memory a call that is not read-only is refused before
    /// it begins.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::Script;
    ///
    /// let add = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])").as_function();
    /// assert_eq!(add.key("n").arg(5).call::<i64>(&client)?, 5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn as_function(self) -> Self {
        if self.function().is_some() {
            return self;
        }
        let source = self.source();
        let (engine, flags, body) = match source.strip_prefix(b"#!") {
            Some(_) => {
                let (line, rest) = first_line(source);
                let line = String::from_utf8_lossy(line);
                let mut words = line.trim_start_matches("#!").split_ascii_whitespace();
                let engine = words.next().unwrap_or_default().to_owned();
                let flags = words.find_map(|word| word.strip_prefix("flags=")).unwrap_or_default();
                let flags: Vec<String> = flags.split(',').filter(|it| !it.is_empty()).map(quoted).collect();
                (engine, Some(flags), rest)
            }
            None => ("lua".to_owned(), None, source),
        };
        let read_only = |flags: &mut Vec<String>| {
            if !flags.iter().any(|flag| flag == "'no-writes'") {
                flags.push("'no-writes'".to_owned());
            }
        };
        // What a script without flags may do. The server keeps the second one from writing.
        let flags = flags.unwrap_or_else(|| vec!["'allow-cross-slot-keys'".to_owned()]);
        let mut read_only_flags = flags.clone();
        read_only(&mut read_only_flags);
        let name = format!("rs_{}", Sha::of_parts(&[BODY_HEAD.as_bytes(), BODY_TAIL.as_bytes(), source]));
        let read_only_name = format!("{name}_ro");
        let register = |name: &str, flags: &[String]| {
            let flags = flags.join(",");
            format!(
                "redis.register_function{{function_name='{name}',callback=rs_marked,flags={{{flags}}}}}\n"
            )
        };
        let code = [
            format!("#!{engine} name={name}\n{BODY_HEAD}").as_bytes(),
            body,
            BODY_TAIL.as_bytes(),
            register(&name, &flags).as_bytes(),
            register(&read_only_name, &read_only_flags).as_bytes(),
        ]
        .concat();
        let Ok(library) = CString::new(name.as_str()) else { return self };
        let function = Function::new(Code::new(library, code, None, true), &name, &read_only_name);
        self.with_function(function)
    }
}

/// A flag as a text in Lua; what can be no flag's name stays wrong.
fn quoted(flag: &str) -> String {
    let word = flag.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte),
        _ => '?',
    });
    format!("'{}'", word.collect::<String>())
}

/// The first line of a library.
struct Shebang<'a> {
    engine: &'a str,
    name: &'a str,
    /// What is behind it.
    rest: &'a [u8],
}

impl<'a> Shebang<'a> {
    fn of(source: &'a [u8]) -> Result<Self> {
        let invalid = |why: &str| {
            let text = format!("{why}; the first line of a library is \"#!lua name=...\"");
            Error::new(Status::InvalidArgument, text)
        };
        let (line, rest) = first_line(source);
        let line =
            line.strip_prefix(b"#!").ok_or_else(|| invalid("the library's source does not begin with #!"))?;
        let line = str::from_utf8(line).map_err(|_| invalid("the library's first line is not UTF-8"))?;
        let mut words = line.split_ascii_whitespace();
        let engine = words.next().filter(|_| !line.starts_with([' ', '\t']));
        let engine = engine.ok_or_else(|| invalid("the library's first line names no engine"))?;
        let mut name = None;
        for word in words {
            let given = word
                .strip_prefix("name=")
                .ok_or_else(|| invalid("the library's first line has more than a name"))?;
            if name.replace(given).is_some() {
                return Err(invalid("the library's first line has two names"));
            }
        }
        let name = name.ok_or_else(|| invalid("the library's first line has no name"))?;
        if !is_name(name) {
            return Err(invalid_name("library", name));
        }
        Ok(Shebang { engine, name, rest })
    }
}

/// The first line, and what is behind it.
fn first_line(source: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'\n', source) {
        Some(end) => (&source[..end], &source[end + 1..]),
        None => (source, &[]),
    }
}

fn is_name(name: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_of_name)
}

fn invalid_name(whose: &str, name: &str) -> Error {
    let shown: String = name.chars().take(LONGEST_NAME).collect();
    let text = format!(
        "a {whose}'s name has 1 to {LONGEST_NAME} letters, digits and underscores, and {shown:?} has not"
    );
    Error::new(Status::InvalidArgument, text)
}
