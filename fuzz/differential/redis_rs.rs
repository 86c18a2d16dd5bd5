//! The parser of the crate `redis`.

use redis::{Parser, Value, VerbatimFormat};
use rs_script::fuzzing::Seen;

use super::theirs::Theirs;

pub fn replies(mut input: &[u8]) -> Theirs {
    let mut theirs = Theirs { replies: Vec::new(), refusal: None };
    let mut parser = Parser::new();
    loop {
        match parser.parse_value(&mut input) {
            Ok(value) => theirs.replies.extend(seen(value)),
            Err(error) if error.is_io_error() => return theirs,
            Err(error) => {
                theirs.refusal = Some(error.to_string());
                return theirs;
            }
        }
    }
}

/// Nothing for a push message; of what has an attribute, the value.
fn seen(value: Value) -> Option<Seen> {
    // Inside of a reply there is no leaving out: what stands for a push message differs from whatever we have there.
    let all = |values: Vec<Value>| {
        values
            .into_iter()
            .map(|value| seen(value).unwrap_or(Seen::Status(b"a push message".into())))
            .collect()
    };
    Some(match value {
        Value::Nil => Seen::Nil,
        Value::Int(number) => Seen::Integer(number),
        Value::BulkString(text) => Seen::String(text),
        Value::Array(values) => Seen::Array(all(values)),
        Value::SimpleString(text) => Seen::Status(text.into()),
        Value::Okay => Seen::Status(b"OK".into()),
        Value::Map(pairs) => {
            Seen::Map(all(pairs.into_iter().flat_map(|(key, value)| [key, value]).collect()))
        }
        Value::Attribute { data, .. } => return seen(*data),
        Value::Set(values) => Seen::Set(all(values)),
        // Their texts are not kept.
        Value::Double(number) => Seen::Double(Vec::new(), number),
        Value::Boolean(is_true) => Seen::Boolean(is_true),
        Value::VerbatimString { format, text } => {
            let format = match format {
                VerbatimFormat::Text => "txt".to_owned(),
                VerbatimFormat::Markdown => "mkd".to_owned(),
                VerbatimFormat::Unknown(format) => format,
                other => unreachable!("a format that there was not: {other:?}"),
            };
            Seen::Verbatim(format.into(), text.into())
        }
        Value::BigNumber(digits) => Seen::BigNumber(digits),
        Value::Push { .. } => return None,
        Value::ServerError(error) => {
            let details = error.details().map(|details| format!(" {details}"));
            Seen::Error((error.code().to_owned() + &details.unwrap_or_default()).into())
        }
        other => unreachable!("a kind of value that there was not: {other:?}"),
    })
}
