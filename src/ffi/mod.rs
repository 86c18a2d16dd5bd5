//! The C API: one file per handle, and the boundary that every export passes.
//!
//! All `unsafe` of the crate is here. Exports take raw pointers and integers only; `guard` catches panics and sets
//! the error; the helpers below check every pointer before anything looks behind it.
#![allow(unsafe_code, non_camel_case_types)]

pub mod admin;
pub mod call_options;
pub mod client;
pub mod credentials;
pub mod error;
pub mod event;
pub mod events;
pub mod figures;
pub mod functions;
pub mod options;
pub mod packed;
pub mod pipeline;
pub mod queue;
pub mod reply;
pub mod script;
pub mod stats;
pub(crate) mod sys;
pub mod version;

use std::ffi::{CStr, c_char};

use crate::base::defect::contain;
use crate::error::{Error, Result, Status};

use smallvec::SmallVec;

use crate::resp::encode::{Arguments, Buffer};
use error::rs_error;
use sys::cancel::Held;

/// `RS_OK` or one of the `RS_ERR_` numbers.
pub type rs_status = i32;

/// The call succeeded.
pub const RS_OK: rs_status = 0;

/// Runs the body of an export: no panic passes, `*err` is set on every path.
///
/// For calls that have to be quick: what in them may be a cancellation point is done with a [`Held`] further down;
/// see `cancel`.
fn guard(err: *mut *mut rs_error, body: impl FnOnce() -> Result<()>) -> rs_status {
    #[cfg(not(target_os = "linux"))]
    let _held = Held::new();
    let result = contain(body).unwrap_or_else(|| Err(Error::defect()));
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

/// The same for all others.
fn guard_held(err: *mut *mut rs_error, body: impl FnOnce() -> Result<()>) -> rs_status {
    let _held = Held::new();
    guard(err, body)
}

/// Runs the body of an export that has no error to give; a panic becomes `otherwise`.
fn guard_value<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    contain(body).unwrap_or(otherwise)
}

/// The error for an argument that cannot be used.
#[cold]
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

/// More is far beyond what a server accepts; below it no size of a list can overflow.
const LONGEST_LIST: usize = {
    let fitting = isize::MAX as usize / size_of::<u64>();
    if fitting < i32::MAX as usize { fitting } else { i32::MAX as usize }
};

/// The error for a list that cannot be one.
#[cold]
fn no_list(name: &str) -> Error {
    invalid(name, &format!("is NULL and its number is not 0, or there are more than {LONGEST_LIST}"))
}

/// A list of byte strings as C hands it over: pointers, and lengths or NULs at the ends.
#[derive(Clone, Copy)]
struct Strings<'a> {
    pointers: &'a [*const c_char],
    lengths: Option<&'a [usize]>,
    name: &'static str,
}

impl<'a> Strings<'a> {
    /// # Safety
    /// `pointers` is NULL or points to `count` pointers; `lengths` is NULL or points to `count` lengths; each pointer
    /// is NULL or points to so many bytes, or with `lengths` NULL to bytes that end in a NUL.
    #[inline]
    unsafe fn new(
        count: usize,
        pointers: *const *const c_char,
        lengths: *const usize,
        name: &'static str,
    ) -> Result<Strings<'a>> {
        if count == 0 {
            return Ok(Strings { pointers: &[], lengths: None, name });
        }
        if pointers.is_null() || count > LONGEST_LIST {
            return Err(no_list(name));
        }
        // SAFETY: not NULL, and the caller promises `count` pointers.
        let pointers = unsafe { std::slice::from_raw_parts(pointers, count) };
        // SAFETY: not NULL here, and the caller promises `count` lengths.
        let lengths = (!lengths.is_null()).then(|| unsafe { std::slice::from_raw_parts(lengths, count) });
        Ok(Strings { pointers, lengths, name })
    }

    /// The string of that index, or the error that it cannot be one.
    // Called for each argument of each call: not inlined it costs as much as the rest of the argument.
    #[inline(always)]
    fn get(self, index: usize) -> Result<&'a [u8]> {
        let pointer = self.pointers[index];
        match self.lengths {
            Some(lengths) => match lengths[index] {
                0 => Ok(&[]),
                length if pointer.is_null() || length > isize::MAX as usize => Err(wrong(self.name, index)),
                // SAFETY: not NULL, and the caller of `new` promised so many bytes.
                length => Ok(unsafe { std::slice::from_raw_parts(pointer.cast(), length) }),
            },
            None if pointer.is_null() => Err(wrong(self.name, index)),
            // SAFETY: not NULL, and the caller of `new` promised a NUL at the end.
            None => Ok(unsafe { CStr::from_ptr(pointer) }.to_bytes()),
        }
    }

    /// All of them as slices, a few without allocating.
    fn slices(&self) -> Result<SmallVec<[&'a [u8]; 8]>> {
        let mut slices = SmallVec::new();
        slices.try_reserve_exact(self.count()).map_err(|_| Error::no_memory_to_send())?;
        for index in 0..self.count() {
            slices.push(self.get(index)?);
        }
        Ok(slices)
    }
}

impl Arguments for Strings<'_> {
    #[inline]
    fn count(&self) -> usize {
        self.pointers.len()
    }

    #[inline(always)]
    fn write(&self, buffer: &mut Buffer) -> Result<()> {
        for index in 0..self.count() {
            buffer.argument(self.get(index)?);
        }
        Ok(())
    }
}

/// The error for a string of a list that cannot be one.
#[cold]
fn wrong(list: &str, index: usize) -> Error {
    invalid(&format!("{list}[{index}]"), "is NULL, or longer than any memory")
}

/// Frees a handle; NULL is nothing to free.
///
/// # Safety
/// `handle` is NULL or was made by `Box::into_raw` and not yet freed.
unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: the caller promises a live handle, which is owned from here on.
        let owned = unsafe { Box::from_raw(handle) };
        let _held = Held::new();
        guard_value((), || drop(owned));
    }
}
