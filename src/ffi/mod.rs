//! The C API: one file per handle, and the boundary that every export passes.
//!
//! All `unsafe` of the crate is here. Exports take raw pointers and integers only; `guard` catches panics and sets
//! the error; the helpers below check every pointer before anything looks behind it.
#![allow(unsafe_code, non_camel_case_types)]

pub mod admin;
pub mod client;
pub mod error;
pub mod options;
pub mod reply;
pub mod script;
pub mod stats;
pub mod version;

use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result, Status};

use error::rs_error;

/// `RS_OK` or one of the `RS_ERR_` numbers.
pub type rs_status = i32;

/// The call succeeded.
pub const RS_OK: rs_status = 0;

/// Runs the body of an export: no panic passes, `*err` is set on every path.
fn guard(err: *mut *mut rs_error, body: impl FnOnce() -> Result<()>) -> rs_status {
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        Err(Error::new(Status::Internal, "a defect of rs_script: it panicked; please report it").sent(true))
    });
    let (status, error) = match result {
        Ok(()) => (RS_OK, std::ptr::null_mut()),
        Err(error) => {
            (error.status().code(), if err.is_null() { std::ptr::null_mut() } else { rs_error::new(error) })
        }
    };
    if !err.is_null() {
        // SAFETY: not NULL, and the caller promises a place for one pointer.
        unsafe { err.write(error) };
    }
    status
}

/// Runs the body of an export that has no error to give; a panic becomes `otherwise`.
fn guard_value<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(otherwise)
}

/// The error for an argument that cannot be used.
fn invalid(name: &str, why: &str) -> Error {
    Error::new(Status::InvalidArgument, format!("{name} {why}"))
}

/// An output that is NULL until it is set.
struct Out<T>(*mut *mut T);

impl<T> Out<T> {
    /// # Safety
    /// `place` is NULL or a place for one pointer.
    unsafe fn new(place: *mut *mut T) -> Self {
        if !place.is_null() {
            // SAFETY: not NULL, and the caller promises a place for one pointer.
            unsafe { place.write(std::ptr::null_mut()) };
        }
        Out(place)
    }

    /// Checks that there is a place for the output.
    fn required(&self, name: &str) -> Result<()> {
        if self.0.is_null() { Err(invalid(name, "is NULL")) } else { Ok(()) }
    }

    fn set(&self, value: *mut T) {
        if !self.0.is_null() {
            // SAFETY: as in `new`.
            unsafe { self.0.write(value) };
        }
    }
}

/// # Safety
/// `handle` is NULL or a handle made by this library and not yet freed.
unsafe fn handle<'a, T>(handle: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: the caller promises NULL or a live handle.
    unsafe { handle.as_ref() }.ok_or_else(|| invalid(name, "is NULL"))
}

/// # Safety
/// `text` is NULL or ends in a NUL.
unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str> {
    if text.is_null() {
        return Err(invalid(name, "is NULL"));
    }
    // SAFETY: not NULL, and the caller promises a NUL at the end.
    unsafe { CStr::from_ptr(text) }.to_str().map_err(|_| invalid(name, "is not UTF-8"))
}

/// # Safety
/// `bytes` is NULL or points to `len` bytes.
unsafe fn bytes<'a>(bytes: *const c_char, len: usize, name: &str) -> Result<&'a [u8]> {
    check_length(len, name)?;
    match (bytes.is_null(), len) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(invalid(name, "is NULL and its length is not 0")),
        // SAFETY: not NULL, and the caller promises `len` bytes.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(bytes.cast(), len) }),
    }
}

fn check_length(len: usize, name: &str) -> Result<()> {
    if len > isize::MAX as usize {
        return Err(invalid(name, "has a length that no memory can have"));
    }
    Ok(())
}

/// A list of byte strings as C hands it over: pointers, and lengths or NULs at the ends.
#[derive(Clone, Copy)]
struct Strings<'a> {
    pointers: &'a [*const c_char],
    lengths: Option<&'a [usize]>,
}

impl<'a> Strings<'a> {
    /// # Safety
    /// `pointers` is NULL or points to `count` pointers; `lengths` is NULL or points to `count` lengths; each pointer is
    /// NULL or points to so many bytes, or with `lengths` NULL to bytes that end in a NUL.
    unsafe fn new(
        count: usize,
        pointers: *const *const c_char,
        lengths: *const usize,
        name: &str,
    ) -> Result<Strings<'a>> {
        if count == 0 {
            return Ok(Strings { pointers: &[], lengths: None });
        }
        if pointers.is_null() {
            return Err(invalid(name, "is NULL and its number is not 0"));
        }
        // Far beyond what a server accepts, and a product that cannot overflow.
        if count > i32::MAX as usize {
            return Err(invalid(name, "are more than 2147483647"));
        }
        // SAFETY: not NULL, and the caller promises `count` pointers.
        let pointers = unsafe { std::slice::from_raw_parts(pointers, count) };
        // SAFETY: not NULL here, and the caller promises `count` lengths.
        let lengths = (!lengths.is_null()).then(|| unsafe { std::slice::from_raw_parts(lengths, count) });
        let strings = Strings { pointers, lengths };
        match (0..count).find(|&index| strings.is_wrong(index)) {
            None => Ok(strings),
            Some(index) => Err(invalid(&format!("{name}[{index}]"), "is NULL, or longer than any memory")),
        }
    }

    fn is_wrong(&self, index: usize) -> bool {
        match self.lengths {
            Some(lengths) => {
                lengths[index] > isize::MAX as usize
                    || (self.pointers[index].is_null() && lengths[index] != 0)
            }
            None => self.pointers[index].is_null(),
        }
    }

    fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone {
        (0..self.pointers.len()).map(move |index| match self.lengths {
            Some(lengths) if lengths[index] == 0 => &[][..],
            // SAFETY: `new` has checked that it is not NULL, and its caller promised so many bytes.
            Some(lengths) => unsafe {
                std::slice::from_raw_parts(self.pointers[index].cast(), lengths[index])
            },
            // SAFETY: `new` has checked that it is not NULL, and its caller promised a NUL at the end.
            None => unsafe { CStr::from_ptr(self.pointers[index]) }.to_bytes(),
        })
    }
}

/// Frees a handle; NULL is nothing to free.
///
/// # Safety
/// `handle` is NULL or was made by `Box::into_raw` and not yet freed.
unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: the caller promises a live handle, which is owned from here on.
        let owned = unsafe { Box::from_raw(handle) };
        guard_value((), || drop(owned));
    }
}
