//! A reply looked at by every view there is of it.

use crate::resp::{Kind, ReplyRef};

/// How deep aggregates are inside one another, and how long the longest string is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    pub(super) depth: usize,
    pub(super) string: usize,
}

/// Asks a reply, and all that is in it, for everything, and checks that the answers go together.
pub(super) fn look_at(reply: ReplyRef<'_>) -> Size {
    let kind = reply.kind();
    let text = reply.as_bytes();
    let is_text = matches!(
        kind,
        Kind::Status | Kind::Error | Kind::String | Kind::Double | Kind::BigNumber | Kind::Verbatim
    );
    assert_eq!(text.is_some(), is_text, "{kind:?} as bytes");
    if let Some(text) = text {
        assert_eq!(reply.as_str(), std::str::from_utf8(text).ok());
        // C reads up to a NUL.
        let payload = reply.payload();
        let (start, len) = (reply.entry().start(), reply.entry().len as usize);
        assert_eq!(&payload.bytes[start..start + len], text);
        assert_eq!(payload.bytes.get(start + len), Some(&0), "no NUL behind a text");
    }
    let is_integer = matches!(kind, Kind::Integer | Kind::Boolean);
    assert!(!is_integer || reply.as_i64().is_some(), "{kind:?} without a value");
    assert!(kind != Kind::Boolean || reply.as_bool().is_some());
    assert!(!is_text || reply.as_bool().is_none());
    assert_eq!(reply.is_nil(), kind == Kind::Nil);
    assert!(kind != Kind::Double || reply.as_f64().is_some(), "a double without a value");
    assert_eq!(reply.verbatim_format().map(<[u8]>::len), (kind == Kind::Verbatim).then_some(3));
    assert_eq!(reply.as_error().is_some(), kind == Kind::Error);

    let mut size = Size { depth: 0, string: 0 };
    if kind == Kind::String {
        size.string = reply.len();
    }
    let mut elements = 0;
    for element in reply.elements() {
        let inside = look_at(element);
        size = Size { depth: size.depth.max(inside.depth), string: size.string.max(inside.string) };
        elements += 1;
    }
    size.depth += usize::from(matches!(kind, Kind::Array | Kind::Map | Kind::Set));
    // Of a text it is its length.
    assert_eq!(reply.len(), text.map_or(elements, <[u8]>::len));
    assert_eq!(reply.is_empty(), matches!(reply.len(), 0));
    assert!(reply.get(elements).is_none() && reply.get(usize::MAX).is_none());
    if elements > 0 {
        assert!(reply.get(elements - 1).is_some());
    }
    assert!(kind != Kind::Map || elements % 2 == 0);
    size
}
