//! The last thing in some bytes, read by rules of its own: what a decoder was at when it refused.

/// A type's sign and what follows it, as far as it is there.
#[derive(Clone, Debug, Default)]
pub struct Token {
    pub sign: u8,
    /// Up to CR LF, or to the end of the bytes.
    pub line: Vec<u8>,
    pub is_line_complete: bool,
    /// Of `$`, `=` and `!`, as much as is there.
    pub body: Vec<u8>,
    /// Up to two bytes where a body's CR LF should be.
    pub tail: Vec<u8>,
    /// How many tokens are in front of it.
    pub index: usize,
    /// How many aggregates it is in.
    pub depth: usize,
    /// Whether one of those is a push message, or it is one.
    pub is_in_push: bool,
    /// Whether there has been an attribute inside another aggregate.
    pub has_inner_attribute: bool,
}

impl Token {
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.line).ok()
    }

    pub fn number(&self) -> Option<i128> {
        self.text()?.trim().parse().ok()
    }

    pub fn is_aggregate(&self) -> bool {
        b"*%~>|".contains(&self.sign)
    }

    pub fn is_bulk(&self) -> bool {
        b"$=!".contains(&self.sign)
    }
}

/// The last token of bytes that begin with a reply.
pub fn last(bytes: &[u8]) -> Token {
    nth(bytes, usize::MAX)
}

/// So many tokens behind the first one, or the last one.
pub fn nth(bytes: &[u8], wanted: usize) -> Token {
    let mut found = Token::default();
    let (mut at, mut index) = (0, 0);
    // What is left of each open aggregate; whether it is a push message, and whether it is an attribute.
    let mut open: Vec<(i128, bool, bool)> = Vec::new();
    while at < bytes.len() && index <= wanted {
        let is_in_push = bytes[at] == b'>' || open.iter().any(|(_, is_push, _)| *is_push);
        let mut token = Token {
            sign: bytes[at],
            index,
            depth: open.len(),
            is_in_push,
            has_inner_attribute: found.has_inner_attribute || (bytes[at] == b'|' && !open.is_empty()),
            ..Token::default()
        };
        index += 1;
        let rest = &bytes[at + 1..];
        let len = rest.windows(2).position(|pair| pair == b"\r\n");
        token.is_line_complete = len.is_some();
        token.line = rest[..len.unwrap_or(rest.len())].to_vec();
        at += 1 + token.line.len() + if len.is_some() { 2 } else { 0 };
        if !token.is_line_complete {
            return token;
        }
        let number = token.number().unwrap_or(0);
        if token.is_bulk() && number >= 0 {
            let end = at.saturating_add(usize::try_from(number).unwrap_or(usize::MAX)).min(bytes.len());
            token.body = bytes[at..end].to_vec();
            at = (end + 2).min(bytes.len());
            token.tail = bytes[end..at].to_vec();
        }
        let opens = token.is_aggregate() && number > 0;
        if opens {
            let pairs = if b"%|".contains(&token.sign) { 2 } else { 1 };
            open.push((number.saturating_mul(pairs), token.sign == b'>', token.sign == b'|'));
        } else if token.sign != b'|' {
            closes(&mut open);
        }
        found = token;
    }
    found
}

/// An element is complete, and what is complete with it.
fn closes(open: &mut Vec<(i128, bool, bool)>) {
    while let Some((left, _, is_attribute)) = open.last_mut() {
        *left -= 1;
        if *left > 0 {
            return;
        }
        let is_attribute = *is_attribute;
        open.pop();
        if is_attribute {
            // It stands in front of a value and is none.
            return;
        }
    }
}
