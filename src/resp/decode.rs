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
    /// The tape of an aside. It has one of its own, for it may begin before a call is made and end before that call's
    /// reply does.
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

    /// The same for one reply after the other, while `more` says so; it is given the tape and the place behind the
    /// reply.
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
        // Here and not behind `at`, where it would be written at each element.
        let mut place = *at;
        while let Some(&sign) = bytes.get(place) {
            let Some(index) = index_of_next(tape) else {
                return Err(Refusal::Limit("more than 2^32 elements"));
            };
            let (kind, value, len) = match sign {
                b':' => {
                    let Some((value, next)) = number::<false>(bytes, place + 1)? else { break };
                    place = next;
                    (Kind::Integer, value.cast_unsigned(), 0)
                }
                b'$' | b'=' | b'!' => {
                    let Some((announced, start)) = number::<true>(bytes, place + 1)? else { break };
                    match u32::try_from(announced) {
                        Ok(len) if len as usize <= self.limits.max_bytes => {
                            let end = start.saturating_add(len as usize);
                            match bytes.get(end..).and_then(<[u8]>::first_chunk) {
                                Some(b"\r\n") => {}
                                Some(_) => {
                                    return Err(Refusal::Protocol("a string that does not end in CR LF"));
                                }
                                None => break,
                            }
                            bytes[end] = 0;
                            place = end + 2;
                            let value = start.wrapping_add(shift) as u64;
                            match sign {
                                b'$' => (Kind::String, value, len),
                                b'!' => (Kind::Error, value, len),
                                _ => verbatim(&mut bytes[start..end], value, len)?,
                            }
                        }
                        Err(_) if announced == NIL => {
                            if sign != b'$' {
                                return Err(Refusal::Protocol("a negative length"));
                            }
                            place = start;
                            (Kind::Nil, 0, 0)
                        }
                        _ => return Err(Refusal::Limit("a string longer than the limit")),
                    }
                }
                b'*' | b'%' | b'~' | b'>' | b'|' => {
                    let Some((announced, next)) = number::<true>(bytes, place + 1)? else { break };
                    place = next;
                    if let Ok(count) = u64::try_from(announced) {
                        if matches!(sign, b'>' | b'|') && self.open.is_empty() {
                            *at = place;
                            return self.open_aside(sign, count, bytes, at);
                        }
                        match self.open(sign, count, tape)? {
                            Some(Decoded::Reply) if more(tape, place)? => {}
                            Some(done) => {
                                *at = place;
                                return Ok(done);
                            }
                            None => {}
                        }
                        continue;
                    }
                    if sign != b'*' {
                        return Err(Refusal::Protocol("a negative number of elements"));
                    }
                    (Kind::Nil, 0, 0)
                }
                b'+' | b'-' | b'_' | b'#' | b',' | b'(' => {
                    let Some((line, next)) = self.line(sign, bytes, place, shift)? else { break };
                    place = next;
                    line
                }
                _ => return Err(Refusal::Protocol("an unknown type")),
            };
            if tape.len() < tape.capacity() {
                tape.push(Entry { value, len, span: 1, index, kind });
            } else {
                push_grown(tape, value, len, index, kind)?;
            }
            match self.close(tape) {
                Some(Decoded::Reply) if more(tape, place)? => {}
                Some(done) => {
                    *at = place;
                    return Ok(done);
                }
                None if bytes.get(place) == Some(&b'$') => place = self.strings(bytes, place, shift, tape),
                None => {}
            }
        }
        *at = place;
        Ok(Decoded::Incomplete)
    }

    /// Enters the short strings that come next in an aggregate, as far as the tape has room for them, up to its last
    /// element and to what is something else or not all there; gives the place behind them. Strings seldom come alone,
    /// and in a row of them the decoder need not ask of each what else it might be.
    // Not seldom, but seldom enough: whoever calls it keeps its registers for what comes alone.
    #[cold]
    #[inline(never)]
    #[expect(clippy::cast_possible_truncation, reason = "a tape has no more than 2^32 entries")]
    fn strings(&mut self, bytes: &mut [u8], at: usize, shift: usize, tape: &mut Vec<Entry>) -> usize {
        let Some(open) = self.open.last_mut().filter(|_| self.limits.max_bytes >= SHORT_STRING) else {
            return at;
        };
        let room = (tape.capacity() - tape.len()).min((u32::MAX as usize).saturating_sub(tape.len()));
        let most = (open.left as usize - 1).min(room);
        let (before, full) = (tape.len(), tape.len() + most);
        let behind_all = bytes.len();
        let mut rest = &mut bytes[at..];
        while tape.len() < full
            && let Some(&[b'$', first, second, third, fourth]) = rest.first_chunk()
        {
            let (tens, ones) = (first.wrapping_sub(b'0'), second.wrapping_sub(b'0'));
            let (len, head) = if tens < 10 && ones < 10 && [third, fourth] == *b"\r\n" {
                (tens * 10 + ones, 5)
            } else if tens < 10 && [second, third] == *b"\r\n" {
                (tens, 4)
            } else {
                break;
            };
            let end = head + usize::from(len);
            if rest.get(end..end + 2) != Some(b"\r\n") || tape.len() == tape.capacity() {
                break;
            }
            let start = behind_all - rest.len() + head;
            let (value, index) = (start.wrapping_add(shift) as u64, tape.len() as u32);
            tape.push(Entry { value, len: len.into(), span: 1, index, kind: Kind::String });
            rest[end] = 0;
            rest = &mut rest[end + 2..];
        }
        open.left -= (tape.len() - before) as u32;
        behind_all - rest.len()
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
        let opened = self.open(sign, count, &mut tape);
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
    #[inline(never)]
    fn open(&mut self, sign: u8, count: u64, tape: &mut Vec<Entry>) -> Result<Option<Decoded>, Refusal> {
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
        let kind = match sign {
            b'%' | b'|' => Kind::Map,
            b'~' => Kind::Set,
            _ => Kind::Array,
        };
        let Some(index) = index_of_next(tape) else {
            return Err(Refusal::Limit("more than 2^32 elements"));
        };
        let fate = match sign {
            b'|' if is_inside => Fate::Attribute,
            b'|' | b'>' => Fate::Aside,
            _ => Fate::Keep,
        };
        push(&mut self.open, Open { entry: tape.len(), left: elements, fate })?;
        push(tape, Entry { value: 0, len: elements, span: 1, index, kind })?;
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
    #[inline(never)]
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

    /// Reads a type that is one line, and the place behind; `None` when the line is not complete.
    #[inline(never)]
    fn line(
        &mut self,
        sign: u8,
        bytes: &mut [u8],
        at: usize,
        shift: usize,
    ) -> Result<Option<(Read, usize)>, Refusal> {
        let mut start = at + 1;
        let from = start + self.searched;
        let Some(len) = line_end(&bytes[from..]) else {
            self.searched = bytes.len() - start;
            if self.searched > self.limits.max_bytes {
                return Err(Refusal::Limit("a line longer than the limit"));
            }
            return Ok(None);
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
                return Ok(None);
            }
        }
        let text = &bytes[start..end];
        let kind = match sign {
            b'+' => Kind::Status,
            b'-' => Kind::Error,
            b'_' if text.is_empty() => Kind::Nil,
            b'_' => return Err(Refusal::Protocol("a null that is not empty")),
            b'#' if matches!(text, b"t" | b"f") => Kind::Boolean,
            b'#' => return Err(Refusal::Protocol("a boolean that is neither t nor f")),
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
        let read = match kind {
            Kind::Nil => (kind, 0, 0),
            Kind::Boolean => (kind, u64::from(text == b"t"), 0),
            _ => {
                bytes[end] = 0;
                (kind, start.wrapping_add(shift) as u64, len)
            }
        };
        Ok(Some((read, end + 2)))
    }
}

/// What was read of a reply that is no aggregate: its kind, value and length as they are entered on the tape.
type Read = (Kind, u64, u32);

/// The place of the next entry on a tape, if that is not full.
#[inline(always)]
fn index_of_next(tape: &[Entry]) -> Option<u32> {
    u32::try_from(tape.len()).ok().filter(|&index| index < u32::MAX)
}

/// Appends an entry where there is no room for it yet. It comes in parts, which are in registers where there is room.
#[cold]
#[inline(never)]
fn push_grown(tape: &mut Vec<Entry>, value: u64, len: u32, index: u32, kind: Kind) -> Result<(), NoMemory> {
    push(tape, Entry { value, len, span: 1, index, kind })
}

/// A string of up to this many bytes has a length of one digit or two.
const SHORT_STRING: usize = 99;

/// A string that has a format in front.
#[cold]
fn verbatim(text: &mut [u8], value: u64, len: u32) -> Result<Read, Refusal> {
    let Some(colon) = text.get_mut(3).filter(|colon| **colon == b':') else {
        return Err(Refusal::Protocol("a verbatim string without a format"));
    };
    *colon = 0;
    Ok((Kind::Verbatim, value.wrapping_add(4), len - 4))
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
/// `[<+|->]<integral>[.<fractional>][<E|e>[sign]<exponent>]`. C libraries spell a NaN `-nan` as well, and servers
/// pass that on.
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

/// Reads a decimal number and its CR LF from `at` on: the number and the place behind, `None` when more is needed. A
/// length has no sign, but for that of [`NIL`].
#[inline(always)]
fn number<const IS_LENGTH: bool>(bytes: &[u8], at: usize) -> Result<Option<(i64, usize)>, Refusal> {
    let mut rest = bytes.get(at..).unwrap_or_default();
    // Nearly all have one digit or two.
    if let Some([first, second, third, fourth]) = rest.first_chunk() {
        let (tens, ones) = (first.wrapping_sub(b'0'), second.wrapping_sub(b'0'));
        if tens < 10 && ones < 10 && [*third, *fourth] == *b"\r\n" {
            return Ok(Some((i64::from(tens * 10 + ones), at + 4)));
        }
        if tens < 10 && [*second, *third] == *b"\r\n" {
            return Ok(Some((i64::from(tens), at + 3)));
        }
    }
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
