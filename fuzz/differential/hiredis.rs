//! hiredis's reader, through hiredis.c.

use std::os::raw::{c_char, c_int, c_longlong};

use rs_script::fuzzing::Seen;

use super::theirs::Theirs;
use super::{MAX_DEPTH, MAX_ELEMENTS};

unsafe extern "C" {
    fn hiredis_replies(
        input: *const c_char,
        len: usize,
        max_elements: c_longlong,
        max_depth: c_int,
        size: *mut usize,
    ) -> *mut u8;
    fn free(memory: *mut u8);
}

pub fn replies(input: &[u8]) -> Theirs {
    let mut size = 0;
    // SAFETY: the input is there, and so is the place for the size; what comes back are so many bytes of malloc's.
    let written = unsafe {
        let bytes = hiredis_replies(
            input.as_ptr().cast(),
            input.len(),
            MAX_ELEMENTS as c_longlong,
            MAX_DEPTH as c_int,
            &mut size,
        );
        let written = std::slice::from_raw_parts(bytes, size).to_vec();
        free(bytes);
        written
    };
    let mut reader = Reader(&written);
    let mut theirs = Theirs { replies: Vec::new(), refusal: None };
    loop {
        match reader.byte() {
            0 => break,
            // PUSH and ATTR, with what is in them.
            kind @ (11 | 12) => drop(reader.reply(kind)),
            kind => theirs.replies.push(reader.reply(kind)),
        }
    }
    if !reader.0.is_empty() {
        theirs.refusal = Some(String::from_utf8_lossy(&reader.text()).into_owned());
    }
    theirs
}

/// Reads what hiredis.c has written.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_first_chunk::<N>().expect("what hiredis.c has written");
        self.0 = rest;
        *taken
    }

    fn byte(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn size(&mut self) -> usize {
        usize::from_ne_bytes(self.take())
    }

    fn text(&mut self) -> Vec<u8> {
        let size = self.size();
        let (text, rest) = self.0.split_at(size);
        self.0 = rest;
        text.to_vec()
    }

    fn elements(&mut self) -> Vec<Seen> {
        let count = self.size();
        (0..count)
            .map(|_| {
                let kind = self.byte();
                self.reply(kind)
            })
            .collect()
    }

    /// By the numbers of hiredis's read.h.
    fn reply(&mut self, kind: u8) -> Seen {
        match kind {
            1 => Seen::String(self.text()),
            2 | 12 => Seen::Array(self.elements()),
            3 => Seen::Integer(i64::from_ne_bytes(self.take())),
            4 => Seen::Nil,
            5 => Seen::Status(self.text()),
            6 => Seen::Error(self.text()),
            7 => {
                let text = self.text();
                Seen::Double(text, f64::from_ne_bytes(self.take()))
            }
            8 => Seen::Boolean(i64::from_ne_bytes(self.take()) != 0),
            9 | 11 => Seen::Map(self.elements()),
            10 => Seen::Set(self.elements()),
            13 => Seen::BigNumber(self.text()),
            14 => {
                let format = self.take::<3>().to_vec();
                Seen::Verbatim(format, self.text())
            }
            _ => unreachable!("a type that read.h does not have: {kind}"),
        }
    }
}
