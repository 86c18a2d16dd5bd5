//! `rs_reply`: borrowed looks into a reply, and its one free.
//!
//! An `rs_reply *` points at an entry of the tape. The entry knows its place on the tape, and the tape's first entry,
//! the header, knows the payload: so every element is a pointer, and nothing is allocated for it.

use std::ffi::c_char;
use std::ptr;

use super::error::rs_error;
use super::{guard, guard_value, rs_status};
use crate::resp::{Entry, Kind, Payload, Reply, ReplyRef};

/// A NULL reply has no type.
pub const RS_REPLY_NONE: i32 = 0;
/// No value: a nil of RESP2 or RESP3, Lua `false` and `nil`.
pub const RS_REPLY_NIL: i32 = 1;
/// A status such as `OK`; a string.
pub const RS_REPLY_STATUS: i32 = 2;
/// An error inside an array or a pipeline; a string.
pub const RS_REPLY_ERROR: i32 = 3;
/// A signed 64-bit integer.
pub const RS_REPLY_INTEGER: i32 = 4;
/// A string of bytes.
pub const RS_REPLY_STRING: i32 = 5;
/// A sequence of replies.
pub const RS_REPLY_ARRAY: i32 = 6;
/// RESP3: keys and values, elements in turn.
pub const RS_REPLY_MAP: i32 = 7;
/// RESP3: a sequence without order.
pub const RS_REPLY_SET: i32 = 8;
/// RESP3: a floating-point number, also readable as a string.
pub const RS_REPLY_DOUBLE: i32 = 9;
/// RESP3: true (1) or false (0), an integer.
pub const RS_REPLY_BOOLEAN: i32 = 10;
/// RESP3: an integer of any size, a string of decimal digits.
pub const RS_REPLY_BIG_NUMBER: i32 = 11;
/// RESP3: a string with a format of three letters.
pub const RS_REPLY_VERBATIM: i32 = 12;

/// A reply or an element of one. The root: caller frees with rs_reply_free; elements: borrowed until the root is freed.
///
/// Every function here takes NULL and any type of reply, in constant time, and never fails: it gives 0 or NULL where
/// the question does not fit. Threads: any number may read one reply at once; freeing excludes reading.
pub struct rs_reply {
    entry: Entry,
}

/// Hands a reply to C.
#[inline]
pub(super) fn into_raw(reply: Reply) -> *mut rs_reply {
    let payload = Box::into_raw(reply.into_payload());
    // SAFETY: just made from a box, and nobody else knows it yet. The tape holds a header and a root.
    unsafe {
        let tape = (*payload).tape.as_mut_ptr();
        (*tape).value = payload.expose_provenance() as u64;
        tape.add((*payload).root).cast()
    }
}

/// # Safety
/// `reply` points into a live reply.
#[inline]
unsafe fn payload_of(reply: *const rs_reply) -> *mut Payload {
    // SAFETY: as promised. `index` is the entry's own place, so the header lies as many entries before it.
    let header = unsafe { &*reply.cast::<Entry>().sub((*reply).entry.index as usize) };
    ptr::with_exposed_provenance_mut(header.value as usize)
}

/// # Safety
/// `reply` is NULL or points into a reply that lives as long as `'a`.
unsafe fn view<'a>(reply: *const rs_reply) -> Option<ReplyRef<'a>> {
    if reply.is_null() {
        return None;
    }
    // SAFETY: not NULL, so as promised; the header holds the payload's address since `into_raw`.
    unsafe { Some(ReplyRef::of(&*payload_of(reply), &(*reply).entry)) }
}

/// What a reply is: one of the RS_REPLY_ numbers; RS_REPLY_NONE for NULL.
///
/// # Safety
/// `reply` is NULL or points into a live reply.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_reply_type(reply: *const rs_reply) -> i32 {
    // SAFETY: as documented.
    guard_value(RS_REPLY_NONE, || {
        unsafe { reply.as_ref() }.map_or(RS_REPLY_NONE, |reply| reply.entry.kind as i32)
    })
}

/// The number of elements of an array, set or map (keys and values both count), the number of bytes of anything that
/// is a string; 0 for all else and for NULL.
///
/// # Safety
/// `reply` is NULL or points into a live reply.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_reply_len(reply: *const rs_reply) -> usize {
    // SAFETY: as documented.
    guard_value(0, || unsafe { reply.as_ref() }.map_or(0, |reply| reply.entry.len as usize))
}

/// The bytes of a string, status, error, double, big number or verbatim text; any byte may be among them. A NUL follows
/// them that `len` does not count. `len` may be NULL.
///
/// Returns: borrowed until the root is freed. NULL, or any other type: NULL, and `*len` is 0.
///
/// # Safety
/// `reply` is NULL or points into a live reply; `len` is NULL or a place for a size_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_reply_string(reply: *const rs_reply, len: *mut usize) -> *const c_char {
    // SAFETY: as documented.
    let bytes = guard_value(None, || unsafe { view(reply) }.and_then(ReplyRef::as_bytes));
    if !len.is_null() {
        // SAFETY: not NULL, and the caller promises a place for a size_t.
        unsafe { len.write(bytes.map_or(0, <[u8]>::len)) };
    }
    bytes.map_or(ptr::null(), |bytes| bytes.as_ptr().cast())
}

/// The value of an integer, or of a boolean as 1 or 0; 0 for all else and for NULL.
///
/// # Safety
/// `reply` is NULL or points into a live reply.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_reply_integer(reply: *const rs_reply) -> i64 {
    // SAFETY: as documented.
    guard_value(0, || match unsafe { reply.as_ref() } {
        Some(reply) if matches!(reply.entry.kind, Kind::Integer | Kind::Boolean) => reply.entry.value as i64,
        _ => 0,
    })
}

/// The value of a double, or of an integer as a double; 0 for all else and for NULL.
///
/// # Safety
/// `reply` is NULL or points into a live reply.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_reply_double(reply: *const rs_reply) -> f64 {
    // SAFETY: as documented.
    guard_value(0.0, || unsafe { view(reply) }.and_then(ReplyRef::as_f64).unwrap_or(0.0))
}

/// The three letters of a verbatim text's format, such as `txt`, ending in a NUL.
///
/// Returns: borrowed until the root is freed. NULL, or any other type: NULL.
///
/// # Safety
/// `reply` is NULL or points into a live reply.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_reply_verbatim_format(reply: *const rs_reply) -> *const c_char {
    // SAFETY: as documented.
    guard_value(None, || unsafe { view(reply) }.and_then(ReplyRef::verbatim_format))
        .map_or(ptr::null(), |format| format.as_ptr().cast())
}

/// An element of an array, set or map; in a map the keys are the even elements, each followed by its value.
///
/// Returns: borrowed until the root is freed; never pass it to rs_reply_free. NULL, any other type, or an index
/// beyond the end: NULL.
///
/// # Safety
/// `reply` is NULL or points into a live reply.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_reply_element(reply: *const rs_reply, index: usize) -> *const rs_reply {
    guard_value(ptr::null(), || {
        // SAFETY: as documented.
        let Some(element) = (unsafe { view(reply) }).and_then(|reply| reply.get(index)) else {
            return ptr::null();
        };
        ptr::from_ref(element.entry()).cast()
    })
}

/// The bytes of many elements of an array, set or map at once: what rs_reply_string gives for each of them, for the
/// element `first` and those behind it. Of an element that is no string the pointer is NULL and the length 0.
///
/// `strings`, `lengths`: places for `count` of each; only those of elements that are there are written. Returns: how
/// many are there, at most `count`; 0 for NULL, any other type, a `first` beyond the end, and where `strings` or
/// `lengths` is NULL. The strings are borrowed until the root is freed; a NUL follows each that its length does not
/// count.
///
/// # Safety
/// `reply` is NULL or points into a live reply; `strings` and `lengths` are NULL or have room for `count`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_reply_strings(
    reply: *const rs_reply,
    first: usize,
    count: usize,
    strings: *mut *const c_char,
    lengths: *mut usize,
) -> usize {
    if strings.is_null() || lengths.is_null() {
        return 0;
    }
    guard_value(0, || {
        // SAFETY: as documented.
        let Some(reply) = (unsafe { view(reply) }) else { return 0 };
        let mut written = 0;
        let mut write = |element: ReplyRef<'_>| {
            let (start, len) = match element.as_bytes() {
                Some(bytes) => (bytes.as_ptr().cast(), bytes.len()),
                None => (ptr::null(), 0),
            };
            // SAFETY: both have room for `count`, and no more elements than that are written.
            unsafe {
                strings.add(written).write(start);
                lengths.add(written).write(len);
            }
            written += 1;
        };
        match reply.flat_elements_from(first) {
            Some(entries) => {
                let payload = reply.payload();
                entries.iter().take(count).for_each(|entry| write(ReplyRef::of(payload, entry)));
            }
            None => reply.elements_from(first).take(count).for_each(write),
        }
        written
    })
}

/// Reads an error reply as an error: its status, its message with the item's index and command where it is a
/// pipeline's element, and whether it is certain that the item was not executed.
///
/// `*err`: caller frees with rs_error_free; NULL where the reply is no error; `err` may be NULL. Returns: RS_OK where
/// the reply is no error or NULL.
///
/// # Safety
/// `reply` is NULL or points into a live reply; `err` is NULL or a place for one pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_reply_error(reply: *const rs_reply, err: *mut *mut rs_error) -> rs_status {
    // SAFETY: as documented.
    guard(err, || unsafe { view(reply) }.and_then(ReplyRef::as_error).map_or(Ok(()), Err))
}

/// Frees a reply with all its elements. With an element it does nothing.
///
/// NULL: does nothing. Errors: none.
///
/// # Safety
/// `reply` is NULL or points into a live reply; if it is the root, the reply is not live afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs_reply_free(reply: *mut rs_reply) {
    if reply.is_null() {
        return;
    }
    // SAFETY: as documented. Of a root the payload was a box until `into_raw`, and is one again.
    guard_value((), || unsafe {
        let payload = payload_of(reply);
        if (*payload).root == (*reply).entry.index as usize {
            drop(Reply::new(Box::from_raw(payload)));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_c_are_those_of_rust() {
        for (number, kind) in [
            (RS_REPLY_NIL, Kind::Nil),
            (RS_REPLY_STATUS, Kind::Status),
            (RS_REPLY_ERROR, Kind::Error),
            (RS_REPLY_INTEGER, Kind::Integer),
            (RS_REPLY_STRING, Kind::String),
            (RS_REPLY_ARRAY, Kind::Array),
            (RS_REPLY_MAP, Kind::Map),
            (RS_REPLY_SET, Kind::Set),
            (RS_REPLY_DOUBLE, Kind::Double),
            (RS_REPLY_BOOLEAN, Kind::Boolean),
            (RS_REPLY_BIG_NUMBER, Kind::BigNumber),
            (RS_REPLY_VERBATIM, Kind::Verbatim),
        ] {
            assert_eq!(number, kind as i32);
        }
    }
}
