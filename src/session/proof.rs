//! What the server itself has said where an error reply may have been a script's own, and what that proves.

use smallvec::SmallVec;

use super::verdict::{self, Doubt, FUNCTION_NOT_FOUND, Verdict};
use crate::base::sha::Sha;
use crate::request::Form;
use crate::request::script::Script;

/// What the server says to forms of script calls where no script can have made it up.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) awaited: usize,
    pub(super) texts: SmallVec<[(Form, Vec<u8>); 1]>,
    /// What it says of functions, by script and form.
    pub(super) functions: Vec<((usize, Form), WordOnFunction)>,
}

impl Answers {
    pub(super) fn on_function(&self, script: usize, form: Form) -> Option<&WordOnFunction> {
        self.functions.iter().find(|(asked, _)| *asked == (script, form)).map(|(_, word)| word)
    }

    /// What it proves of this error reply to a call of a function.
    pub(super) fn prove(&self, script: usize, form: Form, text: &[u8]) -> Proof {
        let Some(word) = self.on_function(script, form) else { return Proof::Nothing };
        // Its library was loaded for one of its functions that were asked about.
        let is_created = self.functions.iter().any(|(_, other)| other.has_created(word));
        let was_lost = self.functions.iter().any(|(_, other)| other.has_lost(word));
        word.proves(form, text, is_created, was_lost)
    }

    pub(super) fn confirm(&self, form: Form, text: &[u8]) -> bool {
        let answer = self.texts.iter().find(|(asked, _)| *asked == form);
        answer.is_some_and(|(_, answer)| verdict::confirms(answer, text, form.command()))
    }
}

/// What the server itself says of one function, asked when an error may have been the function's own.
#[derive(Debug)]
pub(super) struct WordOnFunction {
    /// Its library's place.
    place: Sha,
    /// Its library was not there, and now is.
    is_created: bool,
    /// Its library was not there any more behind the question: somebody had removed it meanwhile.
    was_lost: bool,
    /// The question is answered.
    is_answered: bool,
    /// The answer to a call that runs nothing, if that is an error.
    pub(super) text: Vec<u8>,
}

/// What follows from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The library was not there: the call cannot have run.
    WasMissing,
    /// The library is there, and does not have the function.
    HasNone,
    /// The server refuses the command itself.
    Refused(Doubt),
    /// The function is there now, and may have been.
    Nothing,
}

impl WordOnFunction {
    /// What it says of the function that this script is, not known yet.
    pub(super) fn of(script: &Script) -> Self {
        WordOnFunction {
            place: script.place(),
            is_created: false,
            was_lost: false,
            is_answered: false,
            text: Vec::new(),
        }
    }

    /// Takes an answer, to a load of its library or to a call that runs nothing.
    pub(super) fn take(&mut self, is_load: bool, error: Option<&[u8]>) {
        match is_load {
            // A server that is not ready does not say whether it is there.
            true if error.is_some_and(|text| verdict::judge(text) != Verdict::Other) => self.was_lost = true,
            true if self.is_answered => self.was_lost |= error.is_none(),
            true => self.is_created = error.is_none(),
            false => (self.text, self.is_answered) = (error.unwrap_or_default().to_vec(), true),
        }
    }

    /// Whether it is about a function of the same library.
    pub(super) fn is_of_library(&self, other: &WordOnFunction) -> bool {
        self.place == other.place
    }

    /// Whether its library, the same, was not there.
    pub(super) fn has_created(&self, other: &WordOnFunction) -> bool {
        self.is_created && self.is_of_library(other)
    }

    /// Whether its library, the same, was lost while the server was asked.
    pub(super) fn has_lost(&self, other: &WordOnFunction) -> bool {
        self.was_lost && self.is_of_library(other)
    }

    /// What it proves of this error reply to a call in this form. `is_created`: the library was not there.
    /// `was_lost`: it was there, and then not.
    pub(super) fn proves(&self, form: Form, text: &[u8], is_created: bool, was_lost: bool) -> Proof {
        match verdict::doubt(text, form.command()) {
            Some(Doubt::Missing) if is_created => Proof::WasMissing,
            // That a library which has gone lacks the function says nothing of what was there before.
            Some(Doubt::Missing) if self.text == FUNCTION_NOT_FOUND && !was_lost => Proof::HasNone,
            Some(doubt @ (Doubt::Unknown | Doubt::Forbidden))
                if verdict::confirms(&self.text, text, form.command()) =>
            {
                Proof::Refused(doubt)
            }
            _ => Proof::Nothing,
        }
    }
}

/// What is said where nobody knows.
pub(super) const UNKNOWN: &str = "the server has the function now: somebody may have loaded it meanwhile, or the \
     function may have said so itself, and may have been executed";
