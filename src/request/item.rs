//! What an item of a request is, as far as that decides where it goes and whether it may go again; and its other forms.

use super::form::{EVALSHA_HEAD, EVALSHA_RO_HEAD, SHA_LINE};
use super::keys::{self, Touched};
use super::script::{Script, Wait};
use super::{Form, KEYS_START, Repeatable, Request, Shape};
use crate::resp::encode::{Buffer, arguments};

/// Commands that run a script, and those that run a function.
const EVALS: [&[u8]; 4] = [b"EVAL", b"EVALSHA", b"EVAL_RO", b"EVALSHA_RO"];
const FCALLS: [&[u8]; 4] = [b"FCALL", b"FCALL_RO", b"TFCALL", b"TFCALLASYNC"];

/// Characters of a command's name shown in an error text.
const NAME_SHOWN: usize = 32;

impl Request {
    /// What makes it harmless to execute an item twice.
    pub(crate) fn repeatable_item(&self, index: usize) -> Repeatable {
        let item = self.items[index];
        match (self.idempotent || item.idempotent, item.read_only) {
            _ if self.is_once(index) => Repeatable::Always,
            (true, _) => Repeatable::Yes,
            (false, true) => Repeatable::IfEnforced,
            (false, false) => Repeatable::No,
        }
    }

    /// The replicas that item `index` is to reach.
    pub(crate) fn wait_of(&self, index: usize) -> Option<Wait> {
        self.script_of(index)?.wrapped()?.wait
    }

    /// The script that item `index` calls, if it calls one.
    #[inline]
    pub(crate) fn script_of(&self, index: usize) -> Option<&Script> {
        self.items[index].script.map(|script| &self.scripts[script as usize])
    }

    /// Whether item `index` finds out by itself that it was executed before.
    pub(crate) fn is_once(&self, index: usize) -> bool {
        self.script_of(index).is_some_and(|script| script.wrapped().is_some())
    }

    /// What an item reads or writes, as far as its declared keys say; `each` gets these.
    pub(crate) fn touches(&self, index: usize, mut each: impl FnMut(&[u8])) -> Touched {
        let wire = &self.wire[self.start_of(index)..self.items[index].end];
        if self.items[index].script.is_none() {
            let Ok(words) = self.words(self.start_of(index), self.items[index].end) else {
                return Touched::Everything;
            };
            return keys::touched(&words, each);
        }
        let mut behind = arguments(wire).skip(KEYS_START - 1);
        let count = behind.next().and_then(|count| str::from_utf8(count).ok()?.parse().ok());
        let mut touched = Touched::Everything;
        for key in behind.take(count.unwrap_or(0)) {
            touched = Touched::Keys;
            each(key);
        }
        touched
    }

    /// Item `index` is sent in a form in which no server keeps it from writing.
    pub(crate) fn note_unenforced(&mut self, index: usize) {
        if self.items[index].read_only && self.repeatable == Repeatable::IfEnforced {
            self.repeatable = Repeatable::No;
        }
    }

    /// The name of item `index`'s command, for error texts.
    pub(crate) fn name_of(&self, index: usize) -> String {
        let wire = &self.wire[self.start_of(index)..self.items[index].end];
        let name = arguments(wire).next().unwrap_or_default();
        String::from_utf8_lossy(name).chars().take(NAME_SHOWN).collect()
    }

    /// Whether a server that will not have item `index` says so before it begins, or lets it run to its end. A script
    /// without flags is stopped in the middle.
    pub(crate) fn is_checked_first(&self, index: usize) -> bool {
        match self.items[index].script {
            Some(script) => self.scripts[script as usize].has_flags(),
            None => !self.is_command(index, &EVALS),
        }
    }

    /// Whether it is one command alone that runs no script and no function: its errors are the server's.
    pub(crate) fn is_plain_command(&self) -> bool {
        self.shape == Shape::Single && !self.runs_code(0)
    }

    /// Whether item `index` runs a script or a function that may answer in any words, also one that is sent as a
    /// command. A pinned library's function cannot: its errors are marked.
    pub(crate) fn runs_code(&self, index: usize) -> bool {
        match self.items[index].script {
            Some(script) => self.scripts[script as usize].may_forge(),
            None => self.is_command(index, &EVALS) || self.is_command(index, &FCALLS),
        }
    }

    /// Whether item `index` calls a function as a script is called.
    pub(crate) fn calls_function(&self, index: usize) -> bool {
        self.script_of(index).is_some_and(|script| script.function().is_some())
    }

    /// Whether item `index` is a command of one of these names.
    pub(crate) fn is_command(&self, index: usize, names: &[&[u8]]) -> bool {
        // One that has given its wire form back is nobody's.
        let wire = self.wire.get(self.start_of(index)..self.items[index].end).unwrap_or_default();
        arguments(wire).next().is_some_and(|name| names.iter().any(|other| name.eq_ignore_ascii_case(other)))
    }

    /// Where the wire form of item `index` starts.
    pub(crate) fn start_of(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.items[before].end)
    }

    /// The form in which item `index`, a script call, is encoded.
    pub(crate) fn encoded_form(&self, index: usize) -> Form {
        let item = self.items[index];
        match item.script {
            Some(script) => Form::of(&self.scripts[script as usize], item.read_only),
            None => Form::new(false, item.read_only),
        }
    }

    /// Appends item `index`, a script call, to `out` in another form.
    pub(crate) fn rewrite(&self, index: usize, form: Form, out: &mut Buffer) {
        let item = self.items[index];
        let Some(script) = self.script_of(index) else { return };
        let wire = &self.wire[self.start_of(index)..item.end];
        let head = memchr::memchr(b'\n', wire).map_or(0, |at| at + 1);
        let encoded = match script.function() {
            Some(function) => function.head(item.read_only).len(),
            None if item.read_only => EVALSHA_RO_HEAD.len() + SHA_LINE,
            None => EVALSHA_HEAD.len() + SHA_LINE,
        };
        out.raw(&wire[..head]);
        out.argument(form.command());
        out.argument(form.named(script));
        out.raw(&wire[head + encoded..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Flags;

    #[test]
    fn a_script_call_in_each_form() {
        let script = Script::new("return 1");
        let mut request = Request::default();
        request.command(&[b"PING"], Flags::NONE).unwrap();
        request.script_call(&script, &[b"k"][..], &[&b"a\0"[..], b""][..], Flags::READ_ONLY).unwrap();
        let tail = "$1\r\n1\r\n$1\r\nk\r\n$2\r\na\0\r\n$0\r\n\r\n";
        let sha = script.sha_hex();
        let wire = format!("*1\r\n$4\r\nPING\r\n*6\r\n$10\r\nEVALSHA_RO\r\n$40\r\n{sha}\r\n{tail}");
        assert_eq!(*request.wire, *wire.as_bytes());
        for (form, expected) in [
            (Form::Sha, format!("*6\r\n$7\r\nEVALSHA\r\n$40\r\n{sha}\r\n{tail}")),
            (Form::Body, format!("*6\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n{tail}")),
            (Form::BodyReadOnly, format!("*6\r\n$7\r\nEVAL_RO\r\n$8\r\nreturn 1\r\n{tail}")),
        ] {
            let mut out = Buffer::default();
            request.rewrite(1, form, &mut out);
            assert_eq!(String::from_utf8_lossy(out.as_slice()), expected);
        }
    }
}
