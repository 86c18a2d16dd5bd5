//! This library in the memory of its process, which dlclose takes away.

use std::ffi::c_void;

/// Keeps the library loaded for good: a thread of it is left that nobody can wait for.
pub(crate) fn keep_loaded() {
    let mut found = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
    let here = keep_loaded as fn() as *const c_void;
    // SAFETY: a place for the answer, of which the name is looked at only where there is one. Opening by that name
    // what is loaded already runs nothing.
    unsafe {
        if libc::dladdr(here, found.as_mut_ptr()) == 0 {
            return;
        }
        let name = found.assume_init().dli_fname;
        if !name.is_null() {
            // The handle is given up on purpose. Part of a program's own file there is nothing to keep, and this
            // fails.
            libc::dlopen(name, libc::RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_NODELETE);
        }
    }
}
