//! A function of a library: the library's code as it is sent, and what a call of the function begins with.

use std::ffi::{CStr, CString};
use std::sync::Arc;

use crate::base::sha::Sha;

/// A library as servers get it.
#[derive(Debug)]
pub(crate) struct Code {
    /// Its name, as servers know it.
    pub(crate) name: CString,
    /// What FUNCTION LOAD takes.
    pub(crate) source: Vec<u8>,
    /// What the caller wrote, if that is something else.
    pub(crate) written: Option<Vec<u8>>,
    /// Its place among all that a connection may know of: its digest, apart from those of scripts.
    pub(crate) place: Sha,
    /// Every error that a function of it returns has a mark of this library's behind it, so that none can be
    /// taken for the server's own words.
    pub(crate) is_marked: bool,
}

impl Code {
    pub(crate) fn new(
        name: CString,
        source: Vec<u8>,
        written: Option<Vec<u8>>,
        is_marked: bool,
    ) -> Arc<Self> {
        let place = Sha::of_parts(&[b"FUNCTION LOAD\0", &source]);
        Arc::new(Code { name, source, written, place, is_marked })
    }
}

/// One function of a library.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) code: Arc<Code>,
    /// Its name, as servers know it; and the one under which it is called read-only.
    names: [CString; 2],
    /// FCALL and the name in wire form, and FCALL_RO.
    heads: [Box<[u8]>; 2],
}

impl Function {
    pub(crate) fn new(code: Arc<Code>, name: &str, read_only_name: &str) -> Self {
        let head = |command: &str, name: &str| {
            format!("${}\r\n{command}\r\n${}\r\n{name}\r\n", command.len(), name.len()).into_bytes().into()
        };
        Function {
            code,
            // A checked name has no NUL.
            names: [name, read_only_name].map(|name| CString::new(name).unwrap_or_default()),
            heads: [head("FCALL", name), head("FCALL_RO", read_only_name)],
        }
    }

    pub(crate) fn name(&self, read_only: bool) -> &str {
        self.names[usize::from(read_only)].to_str().unwrap_or_default()
    }

    pub(crate) fn name_nul(&self) -> &CStr {
        &self.names[0]
    }

    /// What stands before the number of keys in a call.
    #[inline]
    pub(crate) fn head(&self, read_only: bool) -> &[u8] {
        &self.heads[usize::from(read_only)]
    }
}
