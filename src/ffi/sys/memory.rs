//! Memory of a caller's: written to, whatever may be in it before, and copied, however much there is.

use std::marker::PhantomData;

use crate::error::{Error, Result, Status};

/// So many bytes. They need not hold anything yet, so they are never read.
pub(crate) struct Memory<'a> {
    start: *mut u8,
    len: usize,
    borrowed: PhantomData<&'a mut [u8]>,
}

impl Memory<'_> {
    /// # Safety
    /// `start` points to `len` bytes that nobody else uses while this lives; it may be NULL where `len` is 0.
    pub(in crate::ffi) unsafe fn new(start: *mut u8, len: usize) -> Self {
        Memory { start, len, borrowed: PhantomData }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Writes `bytes` from place `at` on; nothing where they do not all fit.
    #[inline]
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        if at <= self.len && bytes.len() <= self.len - at && !bytes.is_empty() {
            // SAFETY: within the memory, which was promised, and which is borrowed by nobody else.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(at), bytes.len()) };
        }
    }
}

#[cfg(any(test, feature = "fuzz-internals"))]
impl<'a> From<&'a mut [u8]> for Memory<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Memory { start: bytes.as_mut_ptr(), len: bytes.len(), borrowed: PhantomData }
    }
}

/// A copy of a caller's bytes, however many they are.
pub(crate) fn copied(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len()).map_err(|_| {
        Error::new(Status::NoMemory, format!("there is no memory for a copy of {} bytes", bytes.len()))
    })?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_not_written() {
        let mut bytes = [0; 4];
        let mut memory = Memory::from(&mut bytes[..3]);
        for (at, text) in [(0, &b"abcd"[..]), (3, b"x"), (4, b"x"), (usize::MAX, b"xy"), (4, b""), (2, b"yz")]
        {
            memory.write(at, text);
        }
        memory.write(1, b"bc");
        assert_eq!((memory.len(), bytes), (3, *b"\0bc\0"));
        // SAFETY: no bytes.
        unsafe { Memory::new(std::ptr::null_mut(), 0) }.write(0, b"x");
    }
}
