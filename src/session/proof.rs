//! What the server itself says of a function, asked where an error reply may have been the function's own.

use smallvec::{SmallVec, smallvec};

use super::Session;
use super::emit::append_load;
use super::outbox::Outbox;
use super::verdict::{self, Doubt, FUNCTION_NOT_FOUND, LibraryVerdict};
use crate::request::Form;
use crate::script::Script;
use crate::sha::Sha;

/// What is in the place of the number of keys in a call that runs nothing: whether the function is there, the
/// server says before.
const NO_NUMBER: &[u8] = b"?";

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

/// Asks for a function without running it: by its library, if that is not loaded for another one, by a call that no
/// server begins, and by its library again, which must have been there all the time. Gives what is asked, in order:
/// whether it is for the library.
pub(super) fn ask(
    outbox: &mut Outbox,
    script: &Script,
    form: Form,
    may_load: bool,
    is_loaded: bool,
) -> SmallVec<[bool; 3]> {
    let Some(function) = script.function() else { return SmallVec::new() };
    let asked = match (may_load, is_loaded) {
        (true, false) => smallvec![true, false, true],
        (true, true) => smallvec![false, true],
        (false, _) => smallvec![false],
    };
    outbox.append(|out| {
        for &is_load in &asked {
            match is_load {
                true => append_load(script, out),
                false => {
                    let name = function.name(form.is_read_only()).as_bytes();
                    out.command(&[form.command(), name, NO_NUMBER]);
                }
            }
        }
    });
    asked
}

/// What is said where nobody knows.
pub(super) const UNKNOWN: &str = "the server has the function now: somebody may have loaded it meanwhile, or the \
     function may have said so itself, and may have been executed";

impl<T> Session<T> {
    /// Takes the server's own word on a function from the unseen tape.
    pub(super) fn answered_on_function(&mut self, key: usize, asked: (usize, Form), is_load: bool) {
        self.expected.pop_front();
        let error = self.take_unseen_error();
        let answers = &mut self.calls[key].rare().answers;
        if let Some((_, word)) = answers.functions.iter_mut().find(|(other, _)| *other == asked) {
            match is_load {
                true if word.is_answered => word.was_lost = error.is_none(),
                true => word.is_created = error.is_none(),
                false => (word.text, word.is_answered) = (error.clone().unwrap_or_default(), true),
            }
        }
        if let (true, Some(text)) = (is_load, error) {
            let script = asked.0;
            let request = &self.calls[key].request;
            let name = request.scripts[script].function().map(|function| function.code.name.as_bytes());
            let verdict = verdict::judge_library(&text, name.unwrap_or_default());
            if verdict != LibraryVerdict::There {
                self.library_refused(key, script, verdict, text);
            }
        }
        self.word_taken(key);
    }
}
