//! Why a script or a library could not be loaded.

use super::{Verdict, error, is_unknown_command, judge};
use crate::error::{Error, Status};

/// Why SCRIPT LOAD was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadVerdict {
    /// Not allowed or not there: nor will it be for the next script.
    Never,
    /// No memory for it now.
    NotNow,
    /// The server loads its data or runs another script: what is sent behind it may find it well again.
    NotReady,
    /// The script is at fault.
    Failed,
}

/// Judges the error reply to SCRIPT LOAD.
pub(crate) fn judge_load(text: &[u8]) -> LoadVerdict {
    if text.starts_with(b"NOPERM ")
        || is_unknown_command(text, b"SCRIPT")
        || is_unknown_command(text, b"script")
        || text.starts_with(b"ERR unknown subcommand")
        || text.starts_with(b"ERR Unknown subcommand")
    {
        LoadVerdict::Never
    } else if text.starts_with(b"OOM ") || text == b"ERR READONLY You can't write against a read only slave" {
        // The latter is a replica of Kvrocks, to which SCRIPT LOAD is a write.
        LoadVerdict::NotNow
    } else if judge(text) != Verdict::Other {
        LoadVerdict::NotReady
    } else {
        LoadVerdict::Failed
    }
}

/// What follows from the error reply to FUNCTION LOAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LibraryVerdict {
    /// A library of this name is there.
    There,
    /// The server has no functions.
    Unknown,
    /// Not allowed: nor will the next one be.
    Never,
    /// The server takes no writes now, or is a replica.
    NotNow,
    /// The server loads its data or runs another script: what is sent behind it may find it well again.
    NotReady,
    /// The library is at fault.
    Failed,
}

/// Judges the error reply to FUNCTION LOAD of the library of this name.
pub(crate) fn judge_library(text: &[u8], name: &[u8]) -> LibraryVerdict {
    let is_there = || {
        let rest = text.strip_prefix(b"ERR Library '").and_then(|rest| rest.strip_prefix(name));
        rest == Some(b"' already exists")
    };
    if is_there() {
        LibraryVerdict::There
    } else if is_unknown_command(text, b"FUNCTION") || is_unknown_command(text, b"function") {
        LibraryVerdict::Unknown
    } else if text.starts_with(b"NOPERM ") {
        LibraryVerdict::Never
    } else if [&b"OOM "[..], b"READONLY ", b"MISCONF ", b"NOREPLICAS "]
        .iter()
        .any(|word| text.starts_with(word))
    {
        LibraryVerdict::NotNow
    } else if judge(text) != Verdict::Other {
        LibraryVerdict::NotReady
    } else {
        LibraryVerdict::Failed
    }
}

/// The error of a script call that the server could not run because its SCRIPT LOAD failed with `text`.
pub(crate) fn load_error(text: &[u8]) -> Error {
    match judge(text) {
        verdict @ (Verdict::Loading | Verdict::Busy) => error(verdict, text),
        _ => Error::server(Status::Compile, text, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_there_is_as_good_as_loaded() {
        use LibraryVerdict::{Failed, Never, NotNow, NotReady, There, Unknown};
        for (text, expected) in [
            (&b"ERR Library 'a' already exists"[..], There),
            (b"ERR Library 'ab' already exists", Failed),
            (b"ERR Function a already exists", Failed),
            (b"ERR unknown command 'FUNCTION', with args beginning with: 'LOAD' ", Unknown),
            (b"ERR unknown command `FUNCTION`, with args beginning with: `LOAD`, ", Unknown),
            (b"NOPERM this user has no permissions to run the 'function|load' command", Never),
            (b"OOM command not allowed when used memory > 'maxmemory'.", NotNow),
            (b"READONLY You can't write against a read only replica.", NotNow),
            (
                b"BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
                NotReady,
            ),
            (b"LOADING Redis is loading the dataset in memory", NotReady),
            (b"ERR Error compiling function: @user_function:2: x", Failed),
            (b"ERR No functions registered", Failed),
        ] {
            assert_eq!(judge_library(text, b"a"), expected, "{}", text.escape_ascii());
        }
    }
}
