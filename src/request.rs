//! What a caller asks for, in wire form: commands and script calls one behind the other.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use crate::error::{Error, Result, Status};
use crate::resp::encode;
use crate::script::{DigestHasher, Script, Sha};

/// How the replies of a request belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One item; its reply is the reply, its error the call's error.
    Single,
    /// Any number of items; the reply is an array, an error an element of it.
    Pipeline,
    /// The same between MULTI and EXEC.
    Transaction,
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
    /// Pipelines: items that met NOSCRIPT are sent again afterwards, out of order.
    pub(crate) repair: bool,
    /// Transactions: scripts that the server is known to have are not loaded again inside MULTI.
    pub(crate) trust_cache: bool,
    /// Where a script stands in `scripts`, once they are too many to look through.
    places: HashMap<Sha, u32, BuildHasherDefault<DigestHasher>>,
}

/// A request's memory above this is given back instead of being kept for another use.
const KEPT_BYTES: usize = 1024 * 1024;

/// Up to so many scripts are looked through one by one.
const FEW_SCRIPTS: usize = 8;

const SHA_FORM: &[u8] = b"$7\r\nEVALSHA\r\n$40\r\n";
const SHA_RO_FORM: &[u8] = b"$10\r\nEVALSHA_RO\r\n$40\r\n";

impl Default for Request {
    fn default() -> Self {
        Request {
            wire: Arc::default(),
            items: Vec::new(),
            scripts: Vec::new(),
            shape: Shape::Single,
            repeatable: true,
            repair: false,
            trust_cache: false,
            places: HashMap::default(),
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
        self.places.clear();
        self.shape = shape;
        self.repeatable = true;
        self.repair = false;
        self.trust_cache = false;
    }

    /// Whether it holds more memory than one that waits for another use should.
    pub(crate) fn is_large(&self) -> bool {
        self.wire.capacity() + self.items.capacity() * size_of::<Item>() > KEPT_BYTES
    }

    /// Appends a script call, unless it is one that no server would run.
    pub(crate) fn script_call<'a>(
        &mut self,
        script: &Script,
        keys: impl ExactSizeIterator<Item = &'a [u8]>,
        args: impl ExactSizeIterator<Item = &'a [u8]>,
        read_only: bool,
    ) -> Result<()> {
        if read_only && script.is_refused_read_only() {
            return Err(Error::new(
                Status::NotReadOnly,
                "the script's first line lacks the flag no-writes, so no server runs it read-only",
            ));
        }
        self.script(script, keys, args, read_only);
        self.repeatable &= read_only || script.is_idempotent();
        Ok(())
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
        self.repeatable = false;
    }

    /// Appends a script call.
    fn script<'a>(
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
        let index = self.place_of(script);
        self.items.push(Item { end, script: Some(index), read_only });
    }

    fn place_of(&mut self, script: &Script) -> u32 {
        let sha = script.sha();
        let known = if self.scripts.len() <= FEW_SCRIPTS {
            self.scripts.iter().position(|known| known.sha() == sha).map(|place| place as u32)
        } else {
            if self.places.is_empty() {
                self.places.extend((0..).zip(&self.scripts).map(|(place, script)| (script.sha(), place)));
            }
            self.places.get(&sha).copied()
        };
        known.unwrap_or_else(|| {
            let place = self.scripts.len() as u32;
            self.scripts.push(script.clone());
            if !self.places.is_empty() {
                self.places.insert(sha, place);
            }
            place
        })
    }

    /// The name of item `index`'s command, for error texts.
    pub(crate) fn name_of(&self, index: usize) -> String {
        let wire = &self.wire[self.start_of(index)..self.items[index].end];
        // Head, length, name: the name is the third line.
        let name = wire.split(|&byte| byte == b'\n').nth(2).unwrap_or_default();
        String::from_utf8_lossy(name).trim_end().chars().take(NAME_SHOWN).collect()
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

/// Characters of a command's name shown in an error text.
const NAME_SHOWN: usize = 32;

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
    fn many_scripts_are_each_listed_once() {
        let scripts: Vec<Script> = (0..50).map(|number| Script::new(format!("return {number}"))).collect();
        let mut request = Request::default();
        for script in scripts.iter().chain(&scripts) {
            request.script(script, slices(&[]), slices(&[]), false);
        }
        assert_eq!(request.scripts.len(), 50);
        assert!((0..100).all(|item| request.items[item].script == Some(item as u32 % 50)));
        assert_eq!(request.name_of(7), "EVALSHA");
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
