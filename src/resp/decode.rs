//! Bytes into the tape, in one pass that can stop and go on at any byte.

use super::{Entry, Kind, Limits, NoMemory, push};

/// How far [`Decoder::decode`] came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// One whole reply was appended to the tape.
    Reply,
    /// What is no part of a reply was read and left out: a push message, or an attribute in front of a reply.
    Aside,
    /// The bytes end inside a reply or an aside; call again with more.
    Incomplete,
}

/// Why the bytes cannot be a reply that this client takes. The connection is of no use any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The bytes are not RESP, or not what may come here.
    Protocol(&'static str),
    /// A reply passed a limit.
    Limit(&'static str),
    /// There is no memory for a reply.
    Memory,
}

impl From<NoMemory> for Refusal {
    fn from(NoMemory: NoMemory) -> Self {
        Refusal::Memory
    }
}

/// An aggregate whose elements are still coming.
#[derive(Debug)]
struct Open {
    entry: usize,
    left: u32,
    fate: Fate,
}

/// What becomes of an aggregate that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Keep,
    /// An attribute inside a reply: it leaves the tape again, and its value follows.
    Attribute,
    Aside,
}

/// The state between two pieces of a reply.
#[derive(Debug)]
pub(crate) struct Decoder {
    open: Vec<Open>,
    limits: Limits,
    /// Bytes of a line that is not complete in which its end was looked for.
    searched: usize,
    /// What is being decoded is an aside.
    is_aside: bool,
    /// The tape of an aside. It has one of its own, for it may begin before a call is made and end before that call's reply does.
    aside: Vec<Entry>,
}

/// The shortest reply is `_\r\n`, so more elements than this cannot be in so many bytes.
const SHORTEST: u64 = 3;

/// Entries for which the tape of asides keeps its memory.
const KEPT_ENTRIES: usize = 256;

/// What the server sent when an aside is refused for its size. No caller's reply is at fault.
pub(crate) const LONG_ASIDE: Refusal =
    Refusal::Protocol("a push message or attribute over the limit of replies");

impl Decoder {
    pub(crate) fn new(limits: Limits) -> Self {
        Decoder { open: Vec::new(), limits, searched: 0, is_aside: false, aside: Vec::new() }
    }

    /// Whether the bytes so far end inside an aside.
    pub(crate) fn is_aside(&self) -> bool {
        self.is_aside
    }

    /// Decodes from `bytes[*at..]` until one reply is complete, and moves `at` behind what was understood.
    ///
    /// Texts are entered on the tape with their place in `bytes` plus `shift` (wrapping). A NUL is written behind
    /// each text, over the CR that ends it.
    pub(crate) fn decode(
        &mut self,
        bytes: &mut [u8],
        at: &mut usize,
        shift: usize,
        tape: &mut Vec<Entry>,
    ) -> Result<Decoded, Refusal> {
        self.decode_while(bytes, at, shift, tape, |_, _| Ok(false))
    }

    /// The same for one reply after the other, while `more` says so; it is given the tape and the place behind the reply.
    #[inline]
    pub(crate) fn decode_while(
        &mut self,
        bytes: &mut [u8],
        at: &mut usize,
        shift: usize,
        tape: &mut Vec<Entry>,
        mut more: impl FnMut(&[Entry], usize) -> Result<bool, Refusal>,
    ) -> Result<Decoded, Refusal> {
        if self.is_aside {
            return self.decode_aside(bytes, at);
        }
        loop {
            let Some(&sign) = bytes.get(*at) else { return Ok(Decoded::Incomplete) };
            let index = tape.len();
            if index >= u32::MAX as usize {
                return Err(Refusal::Limit("more than 2^32 elements"));
            }
            #[expect(clippy::cast_possible_truncation, reason = "it is below 2^32")]
            let mut entry = Entry { value: 0, len: 0, span: 1, index: index as u32, kind: Kind::Nil };
            match sign {
                b':' => {
                    let Some((value, next)) = number::<false>(bytes, *at + 1)? else {
                        return Ok(Decoded::Incomplete);
                    };
                    entry.kind = Kind::Integer;
                    entry.value = value.cast_unsigned();
                    *at = next;
                }
                b'$' | b'=' | b'!' => {
                    let Some((announced, start)) = number::<true>(bytes, *at + 1)? else {
                        return Ok(Decoded::Incomplete);
                    };
                    match u32::try_from(announced) {
                        Ok(len) if len as usize <= self.limits.max_bytes => {
                            let end = start.saturating_add(len as usize);
                            match bytes.get(end..end.saturating_add(2)) {
                                Some(b"\r\n") => {}
                                Some(_) => {
                                    return Err(Refusal::Protocol("a string that does not end in CR LF"));
                                }
                                None => return Ok(Decoded::Incomplete),
                            }
                            bytes[end] = 0;
                            entry.kind = if sign == b'!' { Kind::Error } else { Kind::String };
                            entry.value = start.wrapping_add(shift) as u64;
                            entry.len = len;
                            if sign == b'=' {
                                if len < 4 || bytes[start + 3] != b':' {
                                    return Err(Refusal::Protocol("a verbatim string without a format"));
                                }
                                bytes[start + 3] = 0;
                                entry.kind = Kind::Verbatim;
                                entry.value = (start + 4).wrapping_add(shift) as u64;
                                entry.len -= 4;
                            }
                            *at = end + 2;
                        }
                        Err(_) if announced == NIL => {
                            if sign != b'$' {
                                return Err(Refusal::Protocol("a negative length"));
                            }
                            *at = start;
                        }
                        _ => return Err(Refusal::Limit("a string longer than the limit")),
                    }
                }
                b'*' | b'%' | b'~' | b'>' | b'|' => {
                    let Some((announced, next)) = number::<true>(bytes, *at + 1)? else {
                        return Ok(Decoded::Incomplete);
                    };
                    *at = next;
                    if let Ok(count) = u64::try_from(announced) {
                        if matches!(sign, b'>' | b'|') && self.open.is_empty() {
                            return self.open_aside(sign, count, bytes, at);
                        }
                        match self.open(sign, count, entry, tape)? {
                            Some(Decoded::Reply) if more(tape, *at)? => {}
                            Some(done) => return Ok(done),
                            None => {}
                        }
                        continue;
                    }
                    if sign != b'*' {
                        return Err(Refusal::Protocol("a negative number of elements"));
                    }
                }
                b'+' | b'-' | b'_' | b'#' | b',' | b'(' => {
                    if !self.line(sign, bytes, at, shift, &mut entry)? {
                        return Ok(Decoded::Incomplete);
                    }
                }
                _ => return Err(Refusal::Protocol("an unknown type")),
            }
            push(tape, entry)?;
            match self.close(tape) {
                Some(Decoded::Reply) if more(tape, *at)? => {}
                Some(done) => return Ok(done),
                None => {}
            }
        }
    }

    /// Begins a push message, or an attribute in front of a reply.
    #[cold]
    fn open_aside(
        &mut self,
        sign: u8,
        count: u64,
        bytes: &mut [u8],
        at: &mut usize,
    ) -> Result<Decoded, Refusal> {
        let mut tape = std::mem::take(&mut self.aside);
        let entry = Entry { value: 0, len: 0, span: 1, index: 0, kind: Kind::Nil };
        let opened = self.open(sign, count, entry, &mut tape);
        self.aside = tape;
        match opened.map_err(of_aside)? {
            Some(done) => Ok(done),
            None => self.decode_aside(bytes, at),
        }
    }

    /// Goes on with an aside, and leaves it out once it is complete.
    #[cold]
    fn decode_aside(&mut self, bytes: &mut [u8], at: &mut usize) -> Result<Decoded, Refusal> {
        let mut tape = std::mem::take(&mut self.aside);
        self.is_aside = false;
        let decoded = self.decode(bytes, at, 0, &mut tape).map_err(of_aside)?;
        self.is_aside = decoded == Decoded::Incomplete;
        if self.is_aside || tape.capacity() <= KEPT_ENTRIES {
            self.aside = tape;
        }
        Ok(decoded)
    }

    /// Enters an aggregate of `count` elements (pairs for a map); says what is complete if it is empty.
    fn open(
        &mut self,
        sign: u8,
        count: u64,
        mut entry: Entry,
        tape: &mut Vec<Entry>,
    ) -> Result<Option<Decoded>, Refusal> {
        let pairs = matches!(sign, b'%' | b'|');
        let elements = if pairs { count.saturating_mul(2) } else { count };
        if elements > self.limits.max_bytes as u64 / SHORTEST || elements >= u64::from(u32::MAX) {
            return Err(Refusal::Limit("more elements than the limit leaves room for"));
        }
        #[expect(clippy::cast_possible_truncation, reason = "it is below 2^32")]
        let elements = elements as u32;
        if self.open.len() >= self.limits.max_depth {
            return Err(Refusal::Limit("aggregates nested deeper than the limit"));
        }
        let is_inside = !self.open.is_empty();
        if sign == b'>' && is_inside {
            return Err(Refusal::Protocol("a push message inside a reply"));
        }
        entry.kind = match sign {
            b'%' | b'|' => Kind::Map,
            b'~' => Kind::Set,
            _ => Kind::Array,
        };
        entry.len = elements;
        let fate = match sign {
            b'|' if is_inside => Fate::Attribute,
            b'|' | b'>' => Fate::Aside,
            _ => Fate::Keep,
        };
        push(&mut self.open, Open { entry: tape.len(), left: elements, fate })?;
        push(tape, entry)?;
        Ok(if elements == 0 { self.finish(tape) } else { None })
    }

    /// Counts the element just appended; says what is complete with it.
    #[inline]
    fn close(&mut self, tape: &mut Vec<Entry>) -> Option<Decoded> {
        let Some(open) = self.open.last_mut() else { return Some(Decoded::Reply) };
        open.left -= 1;
        if open.left > 0 { None } else { self.finish(tape) }
    }

    /// Closes every aggregate that is complete now.
    #[expect(clippy::cast_possible_truncation, reason = "a tape has no more than 2^32 entries")]
    fn finish(&mut self, tape: &mut Vec<Entry>) -> Option<Decoded> {
        while let Some(open) = self.open.last() {
            if open.left > 0 {
                return None;
            }
            let Open { entry, fate, .. } = *open;
            self.open.pop();
            match fate {
                Fate::Keep => tape[entry].span = (tape.len() - entry) as u32,
                // An attribute stands before a value and does not count as one.
                Fate::Attribute => {
                    tape.truncate(entry);
                    return None;
                }
                Fate::Aside => {
                    tape.truncate(entry);
                    return Some(Decoded::Aside);
                }
            }
            if let Some(outer) = self.open.last_mut() {
                outer.left -= 1;
            }
        }
        Some(Decoded::Reply)
    }

    /// Reads a type that is one line; `false` when the line is not complete.
    fn line(
        &mut self,
        sign: u8,
        bytes: &mut [u8],
        at: &mut usize,
        shift: usize,
        entry: &mut Entry,
    ) -> Result<bool, Refusal> {
        let mut start = *at + 1;
        let from = start + self.searched;
        let Some(len) = line_end(&bytes[from..]) else {
            self.searched = bytes.len() - start;
            if self.searched > self.limits.max_bytes {
                return Err(Refusal::Limit("a line longer than the limit"));
            }
            return Ok(false);
        };
        let end = from + len;
        if bytes[end] == b'\n' {
            return Err(Refusal::Protocol("a LF without CR"));
        }
        match bytes.get(end + 1) {
            Some(b'\n') => self.searched = 0,
            Some(_) => return Err(Refusal::Protocol("a CR without LF")),
            None => {
                self.searched = end - start;
                return Ok(false);
            }
        }
        let text = &bytes[start..end];
        entry.kind = match sign {
            b'+' => Kind::Status,
            b'-' => Kind::Error,
            b'_' if text.is_empty() => Kind::Nil,
            b'_' => return Err(Refusal::Protocol("a null that is not empty")),
            b'#' => {
                entry.value = match text {
                    b"t" => 1,
                    b"f" => 0,
                    _ => return Err(Refusal::Protocol("a boolean that is neither t nor f")),
                };
                Kind::Boolean
            }
            b',' if is_double(text) => Kind::Double,
            b',' => return Err(Refusal::Protocol("a double that is no number")),
            _ if is_integer(text) => {
                // As decimal text it does without.
                start += usize::from(text[0] == b'+');
                Kind::BigNumber
            }
            _ => return Err(Refusal::Protocol("a big number with something else than digits")),
        };
        let Ok(len) = u32::try_from(end - start) else {
            return Err(Refusal::Limit("a line longer than the limit"));
        };
        if !matches!(entry.kind, Kind::Nil | Kind::Boolean) {
            entry.value = start.wrapping_add(shift) as u64;
            entry.len = len;
            bytes[end] = 0;
        }
        *at = end + 2;
        Ok(true)
    }
}

/// Where the first CR or LF is. Most lines are so short that a search in larger steps would cost more than it saves.
#[inline]
fn line_end(bytes: &[u8]) -> Option<usize> {
    const SHORT: usize = 16;
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    match bytes.iter().take(SHORT).position(is_end) {
        None if bytes.len() > SHORT => memchr::memchr2(b'\r', b'\n', &bytes[SHORT..]).map(|at| SHORT + at),
        found => found,
    }
}

/// What a refusal of an aside is for the connection: no call has passed a limit with it.
fn of_aside(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Protocol(what) => Refusal::Protocol(what),
        Refusal::Limit(_) => LONG_ASIDE,
        Refusal::Memory => Refusal::Protocol("a push message or attribute for which there is no memory"),
    }
}

fn is_integer(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// Whether a double is one as the specification has it: `inf`, `-inf`, `nan`, or
/// `[<+|->]<integral>[.<fractional>][<E|e>[sign]<exponent>]`. C libraries spell a NaN `-nan` as well, and servers pass that on.
fn is_double(text: &[u8]) -> bool {
    match text {
        b"inf" | b"-inf" | b"nan" | b"-nan" => true,
        [b'+' | b'-', digits @ ..] | digits => {
            let is_whole = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
            let (number, exponent) = match memchr::memchr2(b'e', b'E', digits) {
                Some(at) => (&digits[..at], Some(&digits[at + 1..])),
                None => (digits, None),
            };
            let (integral, fractional) = match memchr::memchr(b'.', number) {
                Some(at) => (&number[..at], Some(&number[at + 1..])),
                None => (number, None),
            };
            is_whole(integral)
                && fractional.is_none_or(is_whole)
                && exponent.is_none_or(is_integer)
                && std::str::from_utf8(text).is_ok_and(|text| text.parse().is_ok_and(f64::is_finite))
        }
    }
}

/// The length of a nil in RESP2.
const NIL: i64 = -1;

/// Reads a decimal number and its CR LF from `at` on: the number and the place behind, `None` when more is needed. A length has no sign, but for
/// that of [`NIL`].
#[inline(always)]
fn number<const IS_LENGTH: bool>(bytes: &[u8], at: usize) -> Result<Option<(i64, usize)>, Refusal> {
    let mut rest = bytes.get(at..).unwrap_or_default();
    let mut value: i64 = 0;
    while let [byte @ b'0'..=b'9', behind @ ..] = rest {
        value = value.wrapping_mul(10).wrapping_add(i64::from(byte - b'0'));
        rest = behind;
    }
    let end = bytes.len() - rest.len();
    // Up to eighteen digits fit whatever they are.
    if end.wrapping_sub(at + 1) < 18 && rest.starts_with(b"\r\n") {
        return Ok(Some((value, end + 2)));
    }
    rare_number(bytes, at, IS_LENGTH)
}

/// The same for signs, nineteen digits, and what is no number or not complete.
#[cold]
fn rare_number(bytes: &[u8], at: usize, is_length: bool) -> Result<Option<(i64, usize)>, Refusal> {
    let rest = bytes.get(at..).unwrap_or_default();
    if is_length {
        match rest {
            [b'-', b'1', b'\r', b'\n', ..] => return Ok(Some((NIL, at + 4))),
            [b'-', ..] if b"-1\r\n".starts_with(rest) => return Ok(None),
            [b'-', ..] => return Err(Refusal::Protocol("a negative length")),
            [b'+', ..] => return Err(Refusal::Protocol("a length with a sign")),
            [b'?', ..] => return Err(Refusal::Protocol("a streamed string or aggregate")),
            _ => {}
        }
    }
    let skip = usize::from(matches!(rest.first(), Some(b'-' | b'+')));
    let digits = rest[skip..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let end = skip + digits;
    if digits > 19 {
        return Err(Refusal::Protocol("a number out of range"));
    }
    match rest.get(end..).unwrap_or_default() {
        [] => Ok(None),
        [b'\r', ..] if digits == 0 => Err(Refusal::Protocol("a number without digits")),
        [b'\r'] => Ok(None),
        [b'\r', b'\n', ..] => {
            let text = std::str::from_utf8(&rest[..end]).unwrap_or_default();
            let value = text.parse().map_err(|_| Refusal::Protocol("a number out of range"))?;
            Ok(Some((value, at + end + 2)))
        }
        [b'\r', ..] => Err(Refusal::Protocol("a CR without LF")),
        _ => Err(Refusal::Protocol("a number with something else than digits")),
    }
}

#[cfg(test)]
mod tests;
