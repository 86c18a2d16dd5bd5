//! Numbers, booleans and texts.

use std::borrow::Cow;
use std::num::{IntErrorKind, ParseIntError};
use std::str::{self, FromStr};

use super::{FromReply, collections};
use crate::error::Result;
use crate::resp::{Kind, ReplyRef};

const OUT_OF_RANGE: &str = "out of its range";

/// An integer that is spelt out.
fn integer<T: FromStr<Err = ParseIntError>>(reply: ReplyRef<'_>, expected: &str) -> Result<T> {
    let Some(bytes) = reply.as_bytes().filter(|_| reply.kind() != Kind::Error) else {
        return Err(reply.mismatch(expected));
    };
    // What is no UTF-8 is no number either.
    let text = str::from_utf8(bytes).unwrap_or_default();
    text.parse().map_err(|error: ParseIntError| {
        let is_number = matches!(error.kind(), IntErrorKind::PosOverflow | IntErrorKind::NegOverflow)
            || text.parse::<i128>().is_ok();
        let trouble = if is_number { OUT_OF_RANGE } else { "that is no integer" };
        reply.unfit(expected, trouble).with_source(error)
    })
}

macro_rules! integers {
    ($($type:ident),*) => {$(
        impl<'a> FromReply<'a> for $type {
            fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
                match reply.as_i64() {
                    Some(value) => {
                        value.try_into().map_err(|_| reply.unfit(stringify!($type), OUT_OF_RANGE))
                    }
                    None => integer(reply, stringify!($type)),
                }
            }
        }
    )*};
}

integers!(i8, i16, i32, i64, i128, isize, u16, u32, u64, u128, usize);

/// Alone it is a number; several are the bytes of a text, or numbers in an array.
impl<'a> FromReply<'a> for u8 {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        match reply.as_i64() {
            Some(value) => value.try_into().map_err(|_| reply.unfit("u8", OUT_OF_RANGE)),
            None => integer(reply, "u8"),
        }
    }

    fn list_from_reply(reply: ReplyRef<'a>) -> Result<Vec<Self>> {
        match reply.kind() {
            Kind::Array | Kind::Set => collections::each(reply),
            _ => text(reply, "bytes").map(<[u8]>::to_vec),
        }
    }
}

macro_rules! floats {
    ($($type:ident),*) => {$(
        impl<'a> FromReply<'a> for $type {
            fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
                match reply.kind() {
                    Kind::Integer | Kind::Boolean => Ok(reply.as_i64().unwrap_or_default() as $type),
                    _ => {
                        let text = str::from_utf8(text(reply, stringify!($type))?).unwrap_or_default();
                        text.parse().map_err(|error: std::num::ParseFloatError| {
                            reply.unfit(stringify!($type), "that is no number").with_source(error)
                        })
                    }
                }
            }
        }
    )*};
}

floats!(f32, f64);

impl<'a> FromReply<'a> for bool {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        let is_true = match reply.kind() {
            Kind::Nil => Some(false),
            Kind::Integer | Kind::Boolean => reply.as_bool(),
            _ => match text(reply, "bool")? {
                b"0" => Some(false),
                b"1" => Some(true),
                _ => None,
            },
        };
        is_true.ok_or_else(|| reply.unfit("bool", "that is neither 0 nor 1"))
    }
}

/// The bytes of what is text and no error.
fn text<'a>(reply: ReplyRef<'a>, expected: &str) -> Result<&'a [u8]> {
    match reply.as_bytes() {
        Some(bytes) if reply.kind() != Kind::Error => Ok(bytes),
        _ => Err(reply.mismatch(expected)),
    }
}

fn utf8<'a>(reply: ReplyRef<'a>, expected: &str) -> Result<&'a str> {
    str::from_utf8(text(reply, expected)?).map_err(|error| {
        let trouble = format!("that is not UTF-8 from byte {} on", error.valid_up_to());
        reply.unfit(expected, &trouble).with_source(error)
    })
}

impl<'a> FromReply<'a> for &'a [u8] {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        text(reply, "bytes")
    }
}

impl<'a> FromReply<'a> for Cow<'a, [u8]> {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        text(reply, "bytes").map(Cow::Borrowed)
    }
}

impl<'a> FromReply<'a> for &'a str {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        utf8(reply, "&str")
    }
}

impl<'a> FromReply<'a> for Cow<'a, str> {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        match reply.kind() {
            Kind::Integer => reply.to().map(Cow::Owned),
            _ => utf8(reply, "text").map(Cow::Borrowed),
        }
    }
}

impl<'a> FromReply<'a> for String {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        match reply.kind() {
            Kind::Integer => Ok(reply.as_i64().unwrap_or_default().to_string()),
            _ => utf8(reply, "String").map(str::to_owned),
        }
    }
}

impl<'a> FromReply<'a> for char {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        let mut all = utf8(reply, "char")?.chars();
        match (all.next(), all.next()) {
            (Some(one), None) => Ok(one),
            _ => Err(reply.unfit("char", "that is not one character")),
        }
    }
}
