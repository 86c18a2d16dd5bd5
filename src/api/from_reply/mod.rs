//! Replies into values of Rust's own types, with an error that says what was expected, what came, and where.

mod collections;
mod macros;
mod scalars;

pub use macros::Fields;

use crate::error::{Error, Result};
use crate::resp::{Kind, Reply, ReplyRef};

/// What a reply can be converted into, by [`Reply::to`], [`ReplyRef::to`] or a typed call
/// ([`Script::key`](crate::Script::key)).
///
/// | type | takes |
/// |---|---|
/// | integers | in range: an integer, a boolean, a text (string, status, double, ...) that is a decimal integer |
/// | `f32`, `f64` | a double, an integer (the nearest number), a text that is a number, `inf` or `nan` |
/// | `bool` | a boolean; 1 and 0 as integer or text; nil is `false`, because that is how Lua's `false` travels |
/// | `String`, `&str`, `Cow<str>` | a text in UTF-8; `String` also an integer, in decimal |
/// | `Vec<u8>`, `&[u8]`, `Cow<[u8]>` | a text, whatever bytes it has; `Vec<u8>` also an array of numbers |
/// | `Option<T>` | nil as `None`, all else as `T` |
/// | `Result<T, Error>` | an error inside the reply, or what is no `T`, as `Err`; all else as `Ok` |
/// | `Vec<T>`, `HashSet<T>`, `BTreeSet<T>` | an array or set, element by element |
/// | `[T; N]` | the same, of exactly so many elements |
/// | tuples up to 12 | an array of exactly so many elements, each as its own type |
/// | `HashMap<K, V>`, `BTreeMap<K, V>` | a map; an array of keys and values in turn, or of arrays of two |
/// | `Vec<(A, B)>` and of longer tuples | the same, in the reply's order; of longer ones so many elements in turn |
/// | `()` | anything |
/// | [`Reply`], [`ReplyRef`] | anything, as it is |
/// | a struct of the program's own | see [`from_reply!`](crate::from_reply!) |
///
/// Where there is no RESP3, servers send an array for a map: keys and values in turn, or arrays of two.
///
/// Nil is nothing but `None`, `false` and `()`: a list that may be missing is an `Option<Vec<T>>`. An error
/// inside the reply, as a pipeline's item has it, is the error of the conversion, unless a `Result` takes it.
///
/// Whatever is borrowed (`&str`, `&[u8]`) lives as long as the [`Reply`]. Such a type is converted into by `to`;
/// a typed call takes those that own what they have.
///
/// # Errors
///
/// [`Status::Conversion`](crate::Status::Conversion), with what was expected, the kind of what came (never its
/// value, which may be a secret), and where in the reply. The call was executed: such an error says neither that
/// it was not nor that it may not have been.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// use std::collections::HashMap;
///
/// client.command(("HSET", "prices", "tea", 3, "cake", "dear"))?;
/// let reply = client.command(("HGETALL", "prices"))?;
/// let prices: HashMap<String, String> = reply.to()?;
/// assert_eq!(prices["tea"], "3");
///
/// let error = reply.to::<HashMap<&str, u32>>().unwrap_err();
/// assert_eq!(error.to_string(), "expected u32, got a string that is no integer, at the value of pair 1");
/// # Ok(())
/// # }
/// ```
///
/// A type of the program's own:
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// use rs_script::{Error, FromReply, ReplyRef, Result, Script};
///
/// #[derive(Debug, PartialEq)]
/// enum State { Open, Done }
///
/// impl<'a> FromReply<'a> for State {
///     fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
///         match reply.to()? {
///             "open" => Ok(State::Open),
///             "done" => Ok(State::Done),
///             _ => Err(Error::conversion("open or done", "another string")),
///         }
///     }
/// }
///
/// let states: Vec<State> = Script::new("return {'open', 'done'}").call(&client)?;
/// assert_eq!(states, [State::Open, State::Done]);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "a reply cannot be converted into `{Self}`",
    note = "a struct of your own is made convertible by `rs_script::from_reply!`",
    note = "typed calls take types that own what they have; `&str` and the like are borrowed from a `Reply` by \
            `reply.to()`"
)]
pub trait FromReply<'a>: Sized {
    /// Converts it.
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self>;

    /// Takes a whole reply over, if it need not be converted; else gives it back.
    #[doc(hidden)]
    fn take(reply: Reply) -> std::result::Result<Self, Reply> {
        Err(reply)
    }

    /// Converts a list of these.
    #[doc(hidden)]
    fn list_from_reply(reply: ReplyRef<'a>) -> Result<Vec<Self>> {
        collections::each(reply)
    }

    /// The value of a struct's field that the reply does not have; `None`: it must be there.
    #[doc(hidden)]
    fn missing() -> Option<Self> {
        None
    }
}

/// Converts a reply of which nothing else remains.
pub(crate) fn from_owned<T: for<'a> FromReply<'a>>(reply: Reply) -> Result<T> {
    <T as FromReply<'static>>::take(reply).or_else(|reply| reply.to())
}

impl Reply {
    /// Converts it; see [`FromReply`] for what it can be converted into.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let reply = client.command(("ECHO", "41"))?;
    /// assert_eq!(reply.to::<u8>()?, 41);
    /// assert_eq!(reply.to::<&str>()?, "41");
    /// # Ok(())
    /// # }
    /// ```
    pub fn to<'a, T: FromReply<'a>>(&'a self) -> Result<T> {
        self.root().to()
    }
}

impl<'a> ReplyRef<'a> {
    /// Converts it; see [`FromReply`] for what it can be converted into.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let reply = client.command(("MGET", "here", "there"))?;
    /// for value in reply.root().elements() {
    ///     assert_eq!(value.to::<Option<String>>()?, None);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn to<T: FromReply<'a>>(self) -> Result<T> {
        T::from_reply(self)
    }

    /// The error of a conversion of this reply: what it is, if it is no error itself.
    fn mismatch(self, expected: &str) -> Error {
        self.as_error().unwrap_or_else(|| Error::conversion(expected, self.kind()))
    }

    /// The same where its kind would do.
    fn unfit(self, expected: &str, trouble: &str) -> Error {
        Error::conversion(expected, format_args!("{} {trouble}", self.kind()))
    }
}

/// As it is.
impl<'a> FromReply<'a> for ReplyRef<'a> {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        Ok(reply)
    }
}

/// As it is, in memory of its own.
impl<'a> FromReply<'a> for Reply {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        Ok(reply.to_reply()?)
    }

    fn take(reply: Reply) -> std::result::Result<Self, Reply> {
        Ok(reply)
    }
}

/// Anything but an error.
impl<'a> FromReply<'a> for () {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        reply.as_error().map_or(Ok(()), Err)
    }
}

impl<'a, T: FromReply<'a>> FromReply<'a> for Option<T> {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        if reply.is_nil() { Ok(None) } else { reply.to().map(Some) }
    }

    fn missing() -> Option<Self> {
        Some(None)
    }
}

/// What has become of one item of several: its value, or why it has none.
impl<'a, T: FromReply<'a>> FromReply<'a> for std::result::Result<T, Error> {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        Ok(match reply.as_error() {
            Some(error) => Err(error),
            None => reply.to(),
        })
    }
}

impl<'a, T: FromReply<'a>> FromReply<'a> for Box<T> {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        reply.to().map(Box::new)
    }

    fn missing() -> Option<Self> {
        T::missing().map(Box::new)
    }
}

impl std::fmt::Display for Kind {
    /// In words, for error texts: `an integer`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Nil => "nil",
            Kind::Status => "a status",
            Kind::Error => "an error",
            Kind::Integer => "an integer",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Map => "a map",
            Kind::Set => "a set",
            Kind::Double => "a double",
            Kind::Boolean => "a boolean",
            Kind::BigNumber => "a big number",
            Kind::Verbatim => "a verbatim text",
            Kind::Header => "no reply",
        })
    }
}
