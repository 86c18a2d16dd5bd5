//! Where our decoder and another differ, and why. `fuzz/DIFFERENCES.md` is made of this.

use rs_script::fuzzing::Seen;

use super::peer::Peer::{self, Hiredis, RedisRs};
use super::token::Token;
use super::{Difference, MAX_BYTES, MAX_DEPTH, MAX_ELEMENTS};

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// We refuse what the other takes.
    WeRefuse,
    /// The other refuses what we take.
    TheyRefuse,
    /// Both take it, as something else.
    Values,
    /// Behind it, the other's values are in other places.
    Shifted,
    /// Both refuse it; the other only when the line has ended.
    Early,
}

pub struct Rule {
    pub peer: Peer,
    pub way: Way,
    /// What the other decoder does.
    pub they: &'static str,
    /// Why we do not.
    pub reason: &'static str,
    /// Bytes that show it, and nothing else.
    pub example: &'static [u8],
    token: fn(&Token) -> bool,
    values: fn(&Seen, &Seen) -> bool,
}

impl Rule {
    pub fn explains(&self, difference: &Difference<'_>) -> bool {
        match difference {
            Difference::WeRefuse(token, _) => self.way == Way::WeRefuse && (self.token)(token),
            Difference::TheyRefuse(token, _) => self.way == Way::TheyRefuse && (self.token)(token),
            Difference::Values(ours, theirs) => self.way == Way::Values && (self.values)(ours, theirs),
            Difference::Shifted(token) => self.way == Way::Shifted && (self.token)(token),
        }
    }

    /// Of a token.
    const fn of(
        peer: Peer,
        way: Way,
        they: &'static str,
        reason: &'static str,
        example: &'static [u8],
        token: fn(&Token) -> bool,
    ) -> Rule {
        Rule { peer, way, they, reason, example, token, values: |_, _| false }
    }

    /// Of values.
    const fn between(
        peer: Peer,
        they: &'static str,
        reason: &'static str,
        example: &'static [u8],
        values: fn(&Seen, &Seen) -> bool,
    ) -> Rule {
        Rule { peer, way: Way::Values, they, reason, example, token: |_| false, values }
    }
}

const SPEC: &str = "the specification has no such form; a stream that has it is damaged, or not RESP";
const CAREFUL: &str =
    "what is no reply is not guessed at: the next reply would be looked for in the wrong place";
const LENIENT: &str = "its value is plain, and the specification does not forbid it";
const LIMIT: &str =
    "our limits hold for everything that a server sends; the other has none there, or counts otherwise";
const EARLY: &str = "nothing that could still come would make it a reply";
const BYTES: &str = "texts are bytes: a server does not promise UTF-8";

use Way::{Early, Shifted, TheyRefuse, WeRefuse};

#[rustfmt::skip]
pub static RULES: &[Rule] = &[
    Rule::of(Hiredis, WeRefuse, "takes any two bytes for the CR LF behind a string", CAREFUL, b"$1\r\naxy",
        |token| token.is_bulk() && token.tail.len() == 2 && token.tail != b"\r\n"),
    Rule::of(Hiredis, WeRefuse, "takes a map, set, push message or attribute of -1 elements for a nil", SPEC,
        b"%-1\r\n", |token| b"%~>|".contains(&token.sign) && token.line == b"-1"),
    Rule::of(Hiredis, WeRefuse, "takes a verbatim string of length -1 for a nil", SPEC, b"=-1\r\n",
        |token| token.sign == b'=' && token.line == b"-1"),
    Rule::of(Hiredis, WeRefuse, "takes `T` and `F` for booleans, and a NUL for false", SPEC, b"#T\r\n",
        |token| token.sign == b'#' && matches!(&*token.line, b"T" | b"F" | b"\0")),
    Rule::of(Hiredis, WeRefuse, "takes a big number without digits", SPEC, b"(-\r\n",
        |token| token.sign == b'(' && matches!(&*token.line, b"" | b"-")),
    Rule::of(Hiredis, WeRefuse, "takes a push message inside a reply", CAREFUL, b"*1\r\n>1\r\n+a\r\n",
        |token| token.sign == b'>' && token.depth > 0),
    Rule::of(Hiredis, WeRefuse, "takes doubles that begin or end with a point, and any case of `inf` and `nan`", SPEC,
        b",.5\r\n", |token| token.sign == b',' && !is_double(&token.line)),
    Rule::of(Hiredis, WeRefuse, "counts a map's pairs against its limit, and has none for strings", LIMIT,
        b"%4000\r\n", too_large),
    Rule::of(Hiredis, TheyRefuse, "knows no errors with a length (`!`)", "RESP3 has them", b"!1\r\na\r\n",
        |token| token.sign == b'!'),
    Rule::of(Hiredis, TheyRefuse, "refuses numbers with a plus, a zero in front, or `-0`", LENIENT, b":+1\r\n",
        |token| is_plain(token) && token.number().is_some_and(|number| number.to_string().as_bytes() != token.line)),
    Rule::of(Hiredis, TheyRefuse, "refuses a big number with a plus", LENIENT, b"(+1\r\n",
        |token| token.sign == b'(' && token.line.starts_with(b"+")),
    Rule::of(Hiredis, TheyRefuse, "refuses a double of more than 325 bytes", LENIENT, LONG_DOUBLE,
        |token| token.sign == b',' && token.line.len() > 325),
    Rule::of(Hiredis, TheyRefuse, "refuses a double that is nearer to 0 than it can hold", "its value is 0 then",
        b",1e-999\r\n", |token| token.sign == b',' && is_double(&token.line) && is_nearly_zero(token)),
    Rule::of(Hiredis, TheyRefuse, "refuses a double with a plus", "the specification has it", b",+1\r\n",
        |token| token.sign == b',' && token.line.starts_with(b"+")),
    Rule::of(Hiredis, TheyRefuse, "refuses an array at its limit of depth before it has seen that it is a nil", LIMIT,
        DEEP_NIL, |token| token.is_aggregate() && token.depth >= MAX_DEPTH
            && (token.line == b"-1" || !token.is_line_complete && b"-1".starts_with(&token.line))),
    Rule::of(Hiredis, Shifted, "counts an attribute inside a reply as an element of it",
        "the specification has it in front of a value, and not in the place of one",
        b"*1\r\n|1\r\n+k\r\n+v\r\n+a\r\n", |token| token.has_inner_attribute),
    Rule::of(Hiredis, Early, "refuses a line only when its end has come", EARLY, b":a", |_| true),

    Rule::of(RedisRs, WeRefuse, "takes a CR or LF inside a line for a part of its text", CAREFUL, b"+a\nb\r\n",
        |token| has_bare_end(token)),
    Rule::of(RedisRs, WeRefuse, "takes a null with a text", SPEC, b"_a\r\n",
        |token| token.sign == b'_' && !token.line.is_empty()),
    Rule::of(RedisRs, WeRefuse, "takes space around numbers, a plus in front of a length, and any number of zeros",
        SPEC, b": 1\r\n", |token| (is_plain(token) || token.sign == b',') && is_odd_number(token)),
    Rule::of(RedisRs, WeRefuse, "takes any negative length for a nil, or waits for ever", SPEC, b"$-2\r\n",
        |token| (token.is_bulk() || token.is_aggregate()) && token.line.starts_with(b"-")),
    Rule::of(RedisRs, WeRefuse, "takes any text for a big number", SPEC, b"(a\r\n",
        |token| token.sign == b'(' && !is_integer(&token.line)),
    Rule::of(RedisRs, WeRefuse, "takes whatever Rust takes for a double, `infinity` and 1e999 among it", SPEC,
        b",infinity\r\n", |token| token.sign == b',' && !is_double(&token.line)),
    Rule::of(RedisRs, WeRefuse, "takes a verbatim string whose format has not three letters", SPEC, b"=2\r\n:a\r\n",
        |token| token.sign == b'=' && token.body.get(3) != Some(&b':')),
    Rule::of(RedisRs, WeRefuse, "takes a push message inside a reply", CAREFUL, b"*1\r\n>1\r\n+a\r\n",
        |token| token.sign == b'>' && token.depth > 0),
    Rule::of(RedisRs, WeRefuse, "has no limits but 100 levels of depth", LIMIT, b"*9000\r\n",
        |token| too_large(token) || token.depth >= MAX_DEPTH),
    Rule::of(RedisRs, TheyRefuse, "refuses a line that is not UTF-8", BYTES, b"+\xff\r\n",
        |token| token.text().is_none()),
    Rule::of(RedisRs, TheyRefuse, "refuses a push message that begins with no text, or whose text is not UTF-8",
        "what a push message is about is of no interest to us; it is left out", b">1\r\n:1\r\n",
        |token| token.is_in_push),
    Rule::of(RedisRs, TheyRefuse, "refuses a string at the first byte that is not its CR; we wait for both bytes",
        "it is refused all the same", b"$1\r\nax",
        |token| token.is_bulk() && token.tail.len() == 1 && token.tail != b"\r"),
    Rule::of(RedisRs, Early, "refuses a line only when its end has come", EARLY, b":a", |_| true),
    Rule::between(RedisRs, "replaces what is not UTF-8 in verbatim strings and errors with a length", BYTES,
        b"!1\r\n\xff\r\n", |ours, theirs| match (ours, theirs) {
            (Seen::Error(ours), Seen::Error(theirs)) => is_replaced(ours, theirs),
            (Seen::Verbatim(format, ours), Seen::Verbatim(theirs, text)) =>
                is_replaced(&[format, &b":"[..], ours].concat(), &[theirs, &b":"[..], text].concat()),
            _ => false,
        }),
    Rule::between(RedisRs, "ends a verbatim string's format at the first colon", "it has three letters",
        b"=5\r\na:b:c\r\n", |ours, theirs| match (ours, theirs) {
            (Seen::Verbatim(format, ours), Seen::Verbatim(theirs, text)) =>
                format.contains(&b':')
                    && [format, &b":"[..], ours].concat() == [theirs, &b":"[..], text].concat(),
            _ => false,
        }),
    Rule::between(RedisRs, "leaves the plus in front of a big number", "as decimal text it needs none", b"(+1\r\n",
        |ours, theirs| match (ours, theirs) {
            (Seen::BigNumber(ours), Seen::BigNumber(theirs)) => [b"+", &**ours].concat() == *theirs,
            _ => false,
        }),
];

/// 326 digits behind the point.
const LONG_DOUBLE: &[u8] = &{
    let mut bytes = [b'0'; 331];
    (bytes[0], bytes[2], bytes[329], bytes[330]) = (b',', b'.', b'\r', b'\n');
    bytes
};

/// A nil array in as many others as may be.
const DEEP_NIL: &[u8] = &{
    let mut bytes = [0; MAX_DEPTH * 4 + 5];
    let mut at = 0;
    while at < MAX_DEPTH * 4 {
        bytes[at] = b"*1\r\n"[at % 4];
        at += 1;
    }
    let nil = *b"*-1\r\n";
    while at < bytes.len() {
        bytes[at] = nil[at - MAX_DEPTH * 4];
        at += 1;
    }
    bytes
};

/// More than our limits allow.
fn too_large(token: &Token) -> bool {
    let limit = match token.sign {
        b'%' | b'|' => MAX_ELEMENTS / 2,
        _ if token.is_aggregate() => MAX_ELEMENTS,
        _ => MAX_BYTES,
    };
    (token.is_aggregate() || token.is_bulk()) && token.number().is_some_and(|number| number > limit as i128)
}

fn is_plain(token: &Token) -> bool {
    token.sign == b':' || token.is_bulk() || token.is_aggregate()
}

/// A number in other words than the specification's.
fn is_odd_number(token: &Token) -> bool {
    let Some(text) = token.text() else { return false };
    let number = text.trim();
    number != text
        || text.starts_with('+')
        || (text.len() > 19 && text.trim_start_matches('-').starts_with('0'))
}

fn has_bare_end(token: &Token) -> bool {
    b"+-_#,(".contains(&token.sign) && token.line.iter().any(|byte| b"\r\n".contains(byte))
}

fn is_integer(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// A double as the specification has it, by a reading of its own: letter by letter.
fn is_double(text: &[u8]) -> bool {
    if matches!(text, b"inf" | b"-inf" | b"nan" | b"-nan") {
        return true;
    }
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (number, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.chars().all(|letter| letter.is_ascii_digit());
    digits(whole)
        && digits(fraction)
        && is_integer(exponent.as_bytes())
        && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// Not 0 as it is written, but as a number.
fn is_nearly_zero(token: &Token) -> bool {
    let digits = token.line.iter().take_while(|byte| !b"eE".contains(byte));
    let is_zero = token.text().and_then(|text| text.parse::<f64>().ok()) == Some(0.0);
    is_zero && digits.into_iter().any(|byte| (b'1'..=b'9').contains(byte))
}

fn is_replaced(ours: &[u8], theirs: &[u8]) -> bool {
    std::str::from_utf8(ours).is_err() && String::from_utf8_lossy(ours).as_bytes() == theirs
}
