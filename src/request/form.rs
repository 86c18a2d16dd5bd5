//! The forms in which a script can be called: by its SHA1, by its source, as a function.

use super::script::Script;

pub(super) use crate::request::script::EVALSHA_HEAD;

/// Forty digits, CR and LF.
pub(super) const SHA_LINE: usize = 42;

/// The same as [`EVALSHA_HEAD`] for a script that is called read-only.
pub(super) const EVALSHA_RO_HEAD: &[u8] = b"$10\r\nEVALSHA_RO\r\n$40\r\n";

/// How a script call is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Sha,
    ShaReadOnly,
    Body,
    BodyReadOnly,
    /// A function, by its name.
    Function,
    FunctionReadOnly,
}

impl Form {
    pub(crate) fn new(by_body: bool, read_only: bool) -> Self {
        match (by_body, read_only) {
            (false, false) => Form::Sha,
            (false, true) => Form::ShaReadOnly,
            (true, false) => Form::Body,
            (true, true) => Form::BodyReadOnly,
        }
    }

    /// The form in which a script is called that servers have.
    #[inline]
    pub(crate) fn of(script: &Script, read_only: bool) -> Self {
        match (script.function(), read_only) {
            (None, _) => Form::new(false, read_only),
            (Some(_), false) => Form::Function,
            (Some(_), true) => Form::FunctionReadOnly,
        }
    }

    /// What names the script in it; the script itself, where it is sent along.
    pub(super) fn named(self, script: &Script) -> &[u8] {
        match self {
            Form::Sha | Form::ShaReadOnly => script.sha_hex().as_bytes(),
            Form::Body | Form::BodyReadOnly => script.source(),
            Form::Function | Form::FunctionReadOnly => {
                script.function().map_or(b"", |function| function.name(self.is_read_only()).as_bytes())
            }
        }
    }

    pub(crate) fn is_function(self) -> bool {
        matches!(self, Form::Function | Form::FunctionReadOnly)
    }

    pub(crate) fn is_by_body(self) -> bool {
        matches!(self, Form::Body | Form::BodyReadOnly)
    }

    pub(crate) fn is_read_only(self) -> bool {
        matches!(self, Form::ShaReadOnly | Form::BodyReadOnly | Form::FunctionReadOnly)
    }

    /// The command that it is sent as.
    pub(crate) fn command(self) -> &'static [u8] {
        match self {
            Form::Sha => b"EVALSHA",
            Form::ShaReadOnly => b"EVALSHA_RO",
            Form::Body => b"EVAL",
            Form::BodyReadOnly => b"EVAL_RO",
            Form::Function => b"FCALL",
            Form::FunctionReadOnly => b"FCALL_RO",
        }
    }
}
