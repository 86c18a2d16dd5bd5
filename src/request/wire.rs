//! The bytes of a request: its own while they are written, shared once they are sent.

use std::ops::Deref;
use std::sync::Arc;

use super::KEPT_BYTES;
use crate::resp::NoMemory;
use crate::resp::encode::Buffer;

/// The wire form of a request: filled by one, then read by all who send it.
#[derive(Debug)]
pub(crate) enum Wire {
    Own(Buffer),
    Shared(Arc<Buffer>),
}

impl Wire {
    /// The bytes, to be appended to.
    #[inline(always)]
    pub(super) fn own(&mut self) -> &mut Buffer {
        if let Wire::Shared(_) = self {
            self.unshare();
        }
        match self {
            Wire::Own(buffer) => buffer,
            Wire::Shared(_) => unreachable!("made its own above"),
        }
    }

    #[cold]
    pub(super) fn unshare(&mut self) {
        if let Wire::Shared(shared) = std::mem::replace(self, Wire::Own(Buffer::default())) {
            *self = Wire::Own(Arc::unwrap_or_clone(shared));
        }
    }

    /// Empties it and keeps the memory, unless that is much or still being sent.
    pub(super) fn clear(&mut self) {
        let kept = match self {
            Wire::Own(buffer) => Some(buffer),
            Wire::Shared(shared) => Arc::get_mut(shared),
        };
        match kept {
            Some(buffer) if buffer.capacity() <= KEPT_BYTES => buffer.truncate(0),
            _ => *self = Wire::Own(Buffer::default()),
        }
    }

    /// Whether all is there that was written.
    #[inline]
    pub(super) fn check(&self) -> std::result::Result<(), NoMemory> {
        match self {
            Wire::Own(buffer) => buffer.check(),
            // Only what was whole is sent.
            Wire::Shared(_) => Ok(()),
        }
    }

    /// The memory that it holds.
    pub(super) fn capacity(&self) -> usize {
        match self {
            Wire::Own(buffer) => buffer.capacity(),
            Wire::Shared(buffer) => buffer.capacity(),
        }
    }

    /// The bytes, to be sent from where they lie.
    pub(crate) fn share(&mut self) -> Arc<Buffer> {
        if let Wire::Own(buffer) = self {
            *self = Wire::Shared(Arc::new(std::mem::take(buffer)));
        }
        match self {
            Wire::Shared(shared) => Arc::clone(shared),
            Wire::Own(_) => unreachable!("shared above"),
        }
    }
}

impl Deref for Wire {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Wire::Own(buffer) => buffer.as_slice(),
            Wire::Shared(shared) => shared.as_slice(),
        }
    }
}
