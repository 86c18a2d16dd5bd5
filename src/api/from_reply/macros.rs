//! Structs of the program's own: what `from_reply!` makes of their definition.

use super::{FromReply, collections};
use crate::error::{Error, Result};
use crate::resp::ReplyRef;

/// Defines a struct that a reply can be converted into: a map, or what stands for one where there is no RESP3,
/// an array of names and values in turn.
///
/// The definition is an ordinary one, with attributes, documentation and visibility. Each field takes the value
/// with its name; `as` gives it another name in the reply. The types of fields are whatever is
/// [`FromReply`](crate::FromReply), other structs included. Names in the reply that no field has are ignored. A
/// field of type `Option` may be missing or nil; any other that is missing is an error. A struct with a lifetime
/// borrows from the reply.
///
/// A struct of one field without a name is converted as that field, in lists and as a field of another struct too.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// rs_script::from_reply! {
///     /// Somebody who has an account.
///     #[derive(Debug, PartialEq)]
///     pub struct User {
///         pub name: String,
///         /// In years.
///         pub age: u32,
///         pub mail: Option<String>,
///         pub is_admin: bool as "admin",
///     }
/// }
///
/// client.command(("HSET", "user:1", "name", "Ada", "age", 36, "admin", true, "city", "London"))?;
/// let user: User = client.command(("HGETALL", "user:1"))?.to()?;
/// assert_eq!(user, User { name: "Ada".into(), age: 36, mail: None, is_admin: true });
///
/// client.command(("HSET", "user:1", "age", "thirty-six"))?;
/// let error = client.command(("HGETALL", "user:1"))?.to::<User>().unwrap_err();
/// assert_eq!(error.to_string(), r#"expected u32, got a string that is no integer, at field "age""#);
///
/// client.command(("HDEL", "user:1", "age"))?;
/// let error = client.command(("HGETALL", "user:1"))?.to::<User>().unwrap_err();
/// assert_eq!(error.to_string(), r#"expected User, got a map without the field "age""#);
/// # Ok(())
/// # }
/// ```
///
/// Borrowed from the reply, and of one field:
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// rs_script::from_reply! {
///     struct Id(u64);
/// }
/// rs_script::from_reply! {
///     struct Row<'a> { id: Id, name: &'a str }
/// }
///
/// let reply = client.call(&rs_script::Script::new("return {'id', 7, 'name', 'Ada'}"), (), ())?;
/// let row: Row = reply.to()?;
/// assert_eq!((row.id.0, row.name), (7, "Ada"));
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! from_reply {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident $(<$life:lifetime>)? {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident : $type:ty $(as $wire:literal)?),* $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis struct $name $(<$life>)? {
            $($(#[$field_meta])* $field_vis $field: $type,)*
        }

        $crate::from_reply! { @impl [$($life)?] $name $(<$life>)?, reply => {
            $(let mut $field: ::core::option::Option<$type> = ::core::option::Option::None;)*
            for (name, value) in $crate::Fields::of(reply, ::core::stringify!($name))? {
                $(
                    if name == $crate::from_reply!(@name $field $($wire)?).as_bytes() {
                        $field = ::core::option::Option::Some(
                            $crate::Fields::value(value, $crate::from_reply!(@name $field $($wire)?))?
                        );
                        continue;
                    }
                )*
                // No field has this name.
                let _ = (name, value);
            }
            ::core::result::Result::Ok($name {
                $($field: $crate::Fields::required(
                    $field, reply, ::core::stringify!($name), $crate::from_reply!(@name $field $($wire)?),
                )?,)*
            })
        }}
    };
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident $(<$life:lifetime>)? ($(#[$field_meta:meta])* $field_vis:vis $type:ty $(,)?);
    ) => {
        $(#[$meta])*
        $vis struct $name $(<$life>)? ($(#[$field_meta])* $field_vis $type);

        $crate::from_reply! { @newtype [$($life)?] $name $(<$life>)?, $name, $type }
    };
    (@newtype [] $($rest:tt)*) => {
        $crate::from_reply! { @newtype ['reply] $($rest)* }
    };
    (@newtype [$life:lifetime] $name:ty, $new:ident, $type:ty) => {
        impl<$life> $crate::FromReply<$life> for $name {
            fn from_reply(reply: $crate::ReplyRef<$life>) -> $crate::Result<Self> {
                <$type as $crate::FromReply<$life>>::from_reply(reply).map($new)
            }

            fn list_from_reply(reply: $crate::ReplyRef<$life>) -> $crate::Result<::std::vec::Vec<Self>> {
                let list = <$type as $crate::FromReply<$life>>::list_from_reply(reply);
                list.map(|list| list.into_iter().map($new).collect())
            }

            fn missing() -> ::core::option::Option<Self> {
                <$type as $crate::FromReply<$life>>::missing().map($new)
            }
        }
    };
    (@impl [] $($rest:tt)*) => {
        $crate::from_reply! { @impl ['reply] $($rest)* }
    };
    (@impl [$life:lifetime] $name:ty, $reply:ident => $body:block) => {
        impl<$life> $crate::FromReply<$life> for $name {
            fn from_reply($reply: $crate::ReplyRef<$life>) -> $crate::Result<Self> $body
        }
    };
    (@name $field:ident) => {
        $crate::Fields::name(::core::stringify!($field))
    };
    (@name $field:ident $wire:literal) => {
        $wire
    };
}

/// What `from_reply!` writes calls of. Not for programs.
#[doc(hidden)]
#[derive(Debug)]
pub struct Fields;

impl Fields {
    /// The names in the reply with their values. What is no text names no field.
    #[doc(hidden)]
    pub fn of<'a>(
        reply: ReplyRef<'a>,
        expected: &str,
    ) -> Result<impl Iterator<Item = (&'a [u8], ReplyRef<'a>)> + use<'a>> {
        let pairs = collections::pairs(reply, expected)?;
        Ok(pairs.filter_map(|(name, value)| Some((name.as_bytes()?, value))))
    }

    /// The name of a field without an `as`.
    #[doc(hidden)]
    pub const fn name(field: &'static str) -> &'static str {
        match field.as_bytes() {
            [b'r', b'#', ..] => field.split_at(2).1,
            _ => field,
        }
    }

    #[doc(hidden)]
    pub fn value<'a, T: FromReply<'a>>(value: ReplyRef<'a>, name: &str) -> Result<T> {
        value.to().map_err(|error| error.at(format_args!("field {name:?}")))
    }

    #[doc(hidden)]
    pub fn required<'a, T: FromReply<'a>>(
        found: Option<T>,
        reply: ReplyRef<'a>,
        expected: &str,
        name: &str,
    ) -> Result<T> {
        let missing =
            || Error::conversion(expected, format_args!("{} without the field {name:?}", reply.kind()));
        found.or_else(T::missing).ok_or_else(missing)
    }
}
