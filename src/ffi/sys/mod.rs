//! What the layers below the C API need of the system or of pointers, and cannot have without `unsafe`.

pub(crate) mod cancel;
pub(crate) mod fork;
pub(crate) mod library;
pub(crate) mod lock;
pub(crate) mod memory;
pub(crate) mod readiness;
pub(crate) mod signals;
