//! The decoder: any bytes, cut anywhere.

use super::resp;
use super::source::Source;
use crate::resp::{Decoded, Decoder, Limits, Payload, Refusal, Reply};

/// What came of some bytes: the replies in words, how many bytes they and the asides took, and why it ended.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    replies: Vec<String>,
    used: usize,
    refusal: Option<Refusal>,
}

/// The shortest element: more cannot be in so many bytes.
const SHORTEST: usize = 3;

/// Decodes what `cuts` leaves of `input` at a time.
fn run(input: &[u8], limits: Limits, mut cuts: Source<'_>) -> Outcome {
    let mut decoder = Decoder::new(limits);
    let (mut bytes, mut at, mut start) = (Vec::new(), 0, 0);
    let mut outcome = Outcome { replies: Vec::new(), used: 0, refusal: None };
    let mut payload = Box::<Payload>::default();
    payload.start();
    while bytes.len() < input.len() {
        let count = match cuts.byte() {
            0 => input.len(),
            cut => usize::from(cut),
        };
        let until = bytes.len().saturating_add(count).min(input.len());
        bytes.extend_from_slice(&input[bytes.len()..until]);
        loop {
            let before = at;
            let decoded = match decoder.decode(&mut bytes, &mut at, 0, &mut payload.tape) {
                Ok(decoded) => decoded,
                Err(refusal) => {
                    outcome.refusal = Some(refusal);
                    return outcome;
                }
            };
            assert!(at >= before && at <= bytes.len(), "read outside of what there is");
            let most = 2 + (at - start) / SHORTEST;
            assert!(payload.tape.len() <= most, "{} entries of {} bytes", payload.tape.len(), at - start);
            match decoded {
                Decoded::Incomplete => break,
                Decoded::Aside => assert!(!decoder.is_aside()),
                Decoded::Reply => {
                    assert_eq!(payload.tape[payload.root].span as usize, payload.tape.len() - payload.root);
                    payload.bytes = bytes.clone();
                    let reply = Reply::new(payload);
                    let size = resp::look_at(reply.root());
                    assert!(size.depth <= limits.max_depth, "deeper than the limit");
                    assert!(size.string <= limits.max_bytes, "a string longer than the limit");
                    let shown = format!("{reply:?}");
                    let copy = reply.root().to_reply().unwrap_or_else(|_| unreachable!("there is memory"));
                    assert_eq!(shown, format!("{copy:?}"), "a copy differs");
                    outcome.replies.push(shown);
                    (outcome.used, start) = (at, at);
                    payload = reply.into_payload();
                    payload.start();
                }
            }
            if at == bytes.len() {
                break;
            }
        }
    }
    outcome
}

/// The first bytes are limits and cuts, the rest what a server sends.
pub fn decode(data: &[u8]) {
    let mut source = Source(data);
    let (depth, size, cuts) = (source.byte(), source.byte(), source.byte());
    let max_bytes = if size < 128 { 1 << 29 } else { usize::from(size - 127) };
    let limits = Limits { max_bytes, max_depth: usize::from(depth % 32) + 1 };
    let cuts = source.bytes(usize::from(cuts % 32));
    let input = source.0;

    let whole = run(input, limits, Source(&[]));
    let pieces = run(input, limits, Source(cuts));
    let bytes = run(input, limits, Source(&vec![1; input.len()]));
    // A line is counted against the limit as it comes, so there pieces may be refused where the whole is not.
    if max_bytes >= input.len() {
        assert_eq!(whole, pieces, "cut at {cuts:?}");
        assert_eq!(whole, bytes, "byte by byte");
    } else {
        for other in [pieces, bytes] {
            let count = other.replies.len();
            assert!(count <= whole.replies.len() && other.replies[..] == whole.replies[..count]);
        }
    }
}
