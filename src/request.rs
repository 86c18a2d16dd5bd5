//! What a caller asks for, in wire form: commands and script calls one behind the other.

use std::sync::Arc;

use crate::resp::encode;
use crate::script::Script;

/// How the replies of a request belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One item; its reply is the reply, its error the call's error.
    Single,
    /// Any number of items; the reply is an array, an error an element of it.
    Pipeline,
}

/// One command or script call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    /// Where its wire form ends.
    pub(crate) end: usize,
    /// The script it calls, as an index into [`Request::scripts`].
    pub(crate) script: Option<u32>,
    /// Whether the script is called read-only.
    pub(crate) read_only: bool,
}

/// Encoded once, where it is made; sent as it is, or with its scripts in another form.
#[derive(Debug)]
pub(crate) struct Request {
    /// Script calls stand here as EVALSHA or EVALSHA_RO.
    pub(crate) wire: Arc<Vec<u8>>,
    pub(crate) items: Vec<Item>,
    /// The distinct scripts of the items.
    pub(crate) scripts: Vec<Script>,
    pub(crate) shape: Shape,
    /// Whether executing it twice does no harm.
    pub(crate) repeatable: bool,
}

/// A request's memory above this is given back when it is used again.
const KEPT_BYTES: usize = 64 * 1024;

const SHA_FORM: &[u8] = b"$7\r\nEVALSHA\r\n$40\r\n";
const SHA_RO_FORM: &[u8] = b"$10\r\nEVALSHA_RO\r\n$40\r\n";

impl Default for Request {
    fn default() -> Self {
        Request {
            wire: Arc::default(),
            items: Vec::new(),
            scripts: Vec::new(),
            shape: Shape::Single,
            repeatable: false,
        }
    }
}

impl Request {
    /// Empties the request for another use.
    pub(crate) fn reset(&mut self, shape: Shape) {
        match Arc::get_mut(&mut self.wire) {
            Some(wire) if wire.capacity() <= KEPT_BYTES => wire.clear(),
            _ => self.wire = Arc::default(),
        }
        self.items.clear();
        self.scripts.clear();
        self.shape = shape;
        self.repeatable = false;
    }

    /// Appends a command.
    pub(crate) fn command<'a>(&mut self, arguments: impl ExactSizeIterator<Item = &'a [u8]>) {
        let wire = Arc::make_mut(&mut self.wire);
        encode::head(wire, arguments.len());
        for bytes in arguments {
            encode::argument(wire, bytes);
        }
        let end = wire.len();
        self.items.push(Item { end, script: None, read_only: false });
    }

    /// Appends a script call.
    pub(crate) fn script<'a>(
        &mut self,
        script: &Script,
        keys: impl ExactSizeIterator<Item = &'a [u8]>,
        args: impl ExactSizeIterator<Item = &'a [u8]>,
        read_only: bool,
    ) {
        let wire = Arc::make_mut(&mut self.wire);
        encode::head(wire, 3 + keys.len() + args.len());
        wire.extend_from_slice(if read_only { SHA_RO_FORM } else { SHA_FORM });
        wire.extend_from_slice(&script.sha_hex_nul()[..40]);
        wire.extend_from_slice(b"\r\n");
        encode::number(wire, keys.len());
        for bytes in keys.chain(args) {
            encode::argument(wire, bytes);
        }
        let end = wire.len();
        let index = match self.scripts.iter().position(|known| known.sha() == script.sha()) {
            Some(index) => index,
            None => {
                self.scripts.push(script.clone());
                self.scripts.len() - 1
            }
        };
        self.items.push(Item { end, script: Some(index as u32), read_only });
    }

    /// Where the wire form of item `index` starts.
    pub(crate) fn start_of(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.items[before].end)
    }

    /// The form in which item `index`, a script call, is encoded.
    pub(crate) fn encoded_form(&self, index: usize) -> Form {
        if self.items[index].read_only { Form::ShaReadOnly } else { Form::Sha }
    }

    /// Appends item `index`, a script call, to `out` in another form.
    pub(crate) fn rewrite(&self, index: usize, form: Form, out: &mut Vec<u8>) {
        let item = self.items[index];
        let Some(script) = item.script.map(|script| &self.scripts[script as usize]) else { return };
        let wire = &self.wire[self.start_of(index)..item.end];
        let head = memchr::memchr(b'\n', wire).map_or(0, |at| at + 1);
        let encoded = if item.read_only { SHA_RO_FORM } else { SHA_FORM };
        out.extend_from_slice(&wire[..head]);
        let (command, names): (&[u8], &[u8]) = match form {
            Form::Sha => (b"EVALSHA", script.sha_hex().as_bytes()),
            Form::ShaReadOnly => (b"EVALSHA_RO", script.sha_hex().as_bytes()),
            Form::Body => (b"EVAL", script.source()),
            Form::BodyReadOnly => (b"EVAL_RO", script.source()),
        };
        encode::argument(out, command);
        encode::argument(out, names);
        out.extend_from_slice(&wire[head + encoded.len() + SHA_LINE..]);
    }
}

/// Forty digits, CR and LF.
const SHA_LINE: usize = 42;

/// How a script call is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Sha,
    ShaReadOnly,
    Body,
    BodyReadOnly,
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

    pub(crate) fn is_by_body(self) -> bool {
        matches!(self, Form::Body | Form::BodyReadOnly)
    }

    pub(crate) fn is_read_only(self) -> bool {
        matches!(self, Form::ShaReadOnly | Form::BodyReadOnly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices<'a>(list: &'a [&'a [u8]]) -> impl ExactSizeIterator<Item = &'a [u8]> {
        list.iter().copied()
    }

    #[test]
    fn a_script_call_in_each_form() {
        let script = Script::new("return 1");
        let mut request = Request::default();
        request.command(slices(&[b"PING"]));
        request.script(&script, slices(&[b"k"]), slices(&[b"a\0", b""]), true);
        let tail = "$1\r\n1\r\n$1\r\nk\r\n$2\r\na\0\r\n$0\r\n\r\n";
        let sha = script.sha_hex();
        let wire = format!("*1\r\n$4\r\nPING\r\n*6\r\n$10\r\nEVALSHA_RO\r\n$40\r\n{sha}\r\n{tail}");
        assert_eq!(*request.wire, wire.into_bytes());
        for (form, expected) in [
            (Form::Sha, format!("*6\r\n$7\r\nEVALSHA\r\n$40\r\n{sha}\r\n{tail}")),
            (Form::Body, format!("*6\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n{tail}")),
            (Form::BodyReadOnly, format!("*6\r\n$7\r\nEVAL_RO\r\n$8\r\nreturn 1\r\n{tail}")),
        ] {
            let mut out = Vec::new();
            request.rewrite(1, form, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn a_script_called_twice_is_listed_once() {
        let (one, same, other) = (Script::new("return 1"), Script::new("return 1"), Script::new("return 2"));
        let mut request = Request::default();
        for script in [&one, &same, &other, &one] {
            request.script(script, slices(&[]), slices(&[]), false);
        }
        assert_eq!(request.scripts.len(), 2);
        assert_eq!(request.items.iter().map(|item| item.script).collect::<Vec<_>>(), [0, 0, 1, 0].map(Some));
    }
}
