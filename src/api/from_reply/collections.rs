//! Lists, tuples, sets and maps.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

use super::FromReply;
use crate::error::{Error, Result};
use crate::resp::{Elements, Kind, ReplyRef};

/// The elements of an array or set.
fn elements<'a>(reply: ReplyRef<'a>, expected: &str) -> Result<Elements<'a>> {
    match reply.kind() {
        Kind::Array | Kind::Set => Ok(reply.elements()),
        _ => Err(reply.mismatch(expected)),
    }
}

/// Each element by itself.
pub(super) fn each<'a, T: FromReply<'a>>(reply: ReplyRef<'a>) -> Result<Vec<T>> {
    numbered(elements(reply, "an array")?).collect()
}

/// The elements of a list, converted one after the other; an error says which it was.
fn numbered<'a, T: FromReply<'a>>(elements: Elements<'a>) -> impl Iterator<Item = Result<T>> {
    elements.enumerate().map(|(index, element)| element.to().map_err(|error| in_element(error, index)))
}

fn in_element(error: Error, index: usize) -> Error {
    error.at(format_args!("element {index}"))
}

impl<'a, T: FromReply<'a>> FromReply<'a> for Vec<T> {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        T::list_from_reply(reply)
    }
}

impl<'a, T: FromReply<'a>> FromReply<'a> for Box<[T]> {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        T::list_from_reply(reply).map(Vec::into_boxed_slice)
    }
}

impl<'a, T: FromReply<'a>, const N: usize> FromReply<'a> for [T; N] {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        T::list_from_reply(reply)?.try_into().map_err(|list: Vec<T>| {
            Error::conversion(
                format_args!("{N} elements"),
                format_args!("{} of {}", reply.kind(), list.len()),
            )
        })
    }
}

impl<'a, T: FromReply<'a> + Eq + Hash, S: BuildHasher + Default> FromReply<'a> for HashSet<T, S> {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        numbered(elements(reply, "a set")?).collect()
    }
}

impl<'a, T: FromReply<'a> + Ord> FromReply<'a> for BTreeSet<T> {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        numbered(elements(reply, "a set")?).collect()
    }
}

impl<'a, K: FromReply<'a> + Eq + Hash, V: FromReply<'a>, S: BuildHasher + Default> FromReply<'a>
    for HashMap<K, V, S>
{
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        converted(pairs(reply, "a map")?).collect()
    }
}

impl<'a, K: FromReply<'a> + Ord, V: FromReply<'a>> FromReply<'a> for BTreeMap<K, V> {
    fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
        converted(pairs(reply, "a map")?).collect()
    }
}

/// The pairs of a map, or of what stands for one: keys and values in turn, or arrays of two.
pub(super) fn pairs<'a>(reply: ReplyRef<'a>, expected: &str) -> Result<Pairs<'a>> {
    match reply.kind() {
        Kind::Map => Ok(Pairs { elements: reply.elements(), are_nested: false }),
        Kind::Array if is_of_lists(reply, 2) => Ok(Pairs { elements: reply.elements(), are_nested: true }),
        Kind::Array if reply.len().is_multiple_of(2) => {
            Ok(Pairs { elements: reply.elements(), are_nested: false })
        }
        Kind::Array => Err(reply.unfit(expected, &format!("of {} elements, which is no pairs", reply.len()))),
        _ => Err(reply.mismatch(expected)),
    }
}

/// Whether it has elements, and each of them is a list of so many.
fn is_of_lists(reply: ReplyRef<'_>, len: usize) -> bool {
    let is_list = |element: ReplyRef<'_>| element.kind() == Kind::Array && element.len() == len;
    !reply.is_empty() && reply.elements().all(is_list)
}

/// Keys with their values. Made by [`pairs`].
pub(super) struct Pairs<'a> {
    elements: Elements<'a>,
    are_nested: bool,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (ReplyRef<'a>, ReplyRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.are_nested {
            let mut pair = self.elements.next()?.elements();
            return Some((pair.next()?, pair.next()?));
        }
        Some((self.elements.next()?, self.elements.next()?))
    }
}

fn converted<'a, K: FromReply<'a>, V: FromReply<'a>>(
    pairs: Pairs<'a>,
) -> impl Iterator<Item = Result<(K, V)>> {
    pairs.enumerate().map(|(index, (key, value))| {
        let key = key.to().map_err(|error| error.at(format_args!("the key of pair {index}")))?;
        let value = value.to().map_err(|error| error.at(format_args!("the value of pair {index}")))?;
        Ok((key, value))
    })
}

/// A tuple is an array of so many elements. Several of them may also stand one behind the other, as servers send
/// them where there is no RESP3.
macro_rules! tuples {
    ($len:literal: $($part:ident $index:literal)*) => {
        impl<'a, $($part: FromReply<'a>),*> FromReply<'a> for ($($part,)*) {
            fn from_reply(reply: ReplyRef<'a>) -> Result<Self> {
                let expected = concat!("an array of ", $len);
                let mut elements = elements(reply, expected)?;
                if elements.len() != $len {
                    return Err(reply.unfit(expected, &format!("of {}", elements.len())));
                }
                tuples!(@from elements, reply, expected, 0; $($part $index)*)
            }

            fn list_from_reply(reply: ReplyRef<'a>) -> Result<Vec<Self>> {
                const LEN: usize = $len;
                let is_map = reply.kind() == Kind::Map && LEN == 2;
                let is_list = |kind| matches!(kind, Kind::Array | Kind::Set | Kind::Error);
                let is_flat = reply.kind() == Kind::Array && !reply.elements().all(|element| is_list(element.kind()));
                if !is_map && !is_flat {
                    return super::collections::each(reply);
                }
                let expected = concat!("an array of arrays of ", $len, ", or of these one behind the other");
                if !reply.len().is_multiple_of(LEN) {
                    return Err(reply.unfit(expected, &format!("of {}", reply.len())));
                }
                let mut elements = reply.elements();
                (0..reply.len() / LEN)
                    .map(|round| tuples!(@from elements, reply, expected, round * LEN; $($part $index)*))
                    .collect()
            }
        }
    };
    (@from $elements:ident, $reply:ident, $expected:ident, $first:expr; $($part:ident $index:literal)*) => {
        Ok(($(
            $elements
                .next()
                .ok_or_else(|| $reply.mismatch($expected))?
                .to::<$part>()
                .map_err(|error| in_element(error, $first + $index))?,
        )*))
    };
}

tuples!(1: A 0);
tuples!(2: A 0 B 1);
tuples!(3: A 0 B 1 C 2);
tuples!(4: A 0 B 1 C 2 D 3);
tuples!(5: A 0 B 1 C 2 D 3 E 4);
tuples!(6: A 0 B 1 C 2 D 3 E 4 F 5);
tuples!(7: A 0 B 1 C 2 D 3 E 4 F 5 G 6);
tuples!(8: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7);
tuples!(9: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8);
tuples!(10: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9);
tuples!(11: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10);
tuples!(12: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11);
