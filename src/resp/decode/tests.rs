//! What the decoder takes, what it refuses, and that it says the same however its input is cut.

use super::super::{Payload, Reply, ReplyRef};
use super::*;

const LIMITS: Limits = Limits { max_bytes: 1 << 20, max_depth: 8 };

/// Decodes `input` given in pieces that end at each of `cuts`, as a connection would: one growing buffer.
fn decode(input: &[u8], cuts: &[usize]) -> Result<Option<Reply>, Refusal> {
    let mut payload = Box::<Payload>::default();
    payload.start();
    let mut decoder = Decoder::new(LIMITS);
    let mut bytes = Vec::new();
    let mut at = 0;
    for cut in cuts.iter().copied().chain([input.len()]) {
        bytes.extend_from_slice(&input[bytes.len()..cut]);
        loop {
            match decoder.decode(&mut bytes, &mut at, 0, &mut payload.tape)? {
                Decoded::Reply => {
                    assert_eq!(at, input.len(), "the reply ends before its bytes do");
                    payload.bytes = bytes;
                    return Ok(Some(Reply::new(payload)));
                }
                Decoded::Aside => continue,
                Decoded::Incomplete => break,
            }
        }
    }
    Ok(None)
}

fn shown(input: &[u8]) -> String {
    format!("{:?}", decode(input, &[]).unwrap().expect("a whole reply"))
}

const EVERY_TYPE: &[(&[u8], &str)] = &[
    (b"+OK\r\n", "Status(\"OK\")"),
    (b"+\r\n", "Status(\"\")"),
    (b"-ERR no\r\n", "Error(\"ERR no\")"),
    (b":0\r\n", "0"),
    (b":-9223372036854775808\r\n", "-9223372036854775808"),
    (b":9223372036854775807\r\n", "9223372036854775807"),
    (b":+7\r\n", "7"),
    (b"$-1\r\n", "Nil"),
    (b"*-1\r\n", "Nil"),
    (b"_\r\n", "Nil"),
    (b"$0\r\n\r\n", "String(\"\")"),
    (b"$6\r\na\r\n\0\xffb\r\n", "String(\"a\\r\\n\\x00\\xffb\")"),
    (b"*0\r\n", "Array[]"),
    (b"*3\r\n:1\r\n$1\r\nx\r\n*1\r\n-E\r\n", "Array[1, String(\"x\"), Array[Error(\"E\")]]"),
    (b"%1\r\n+k\r\n:1\r\n", "Map[Status(\"k\"), 1]"),
    (b"~2\r\n:1\r\n:2\r\n", "Set[1, 2]"),
    (b",1.5\r\n", "Double(\"1.5\")"),
    (b",-inf\r\n", "Double(\"-inf\")"),
    (b"#t\r\n", "true"),
    (b"#f\r\n", "false"),
    (b"(-123456789012345678901234567890\r\n", "BigNumber(\"-123456789012345678901234567890\")"),
    (b"=7\r\ntxt:abc\r\n", "Verbatim(\"abc\")"),
    (b"!5\r\nERR x\r\n", "Error(\"ERR x\")"),
    (b"|1\r\n+ttl\r\n:9\r\n:5\r\n", "5"),
    (b"*2\r\n|0\r\n:1\r\n*0\r\n", "Array[1, Array[]]"),
    (b">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n:5\r\n", "5"),
    (b"|1\r\n+k\r\n*1\r\n:1\r\n>1\r\n|0\r\n+x\r\n|0\r\n*1\r\n|1\r\n+k\r\n:1\r\n:5\r\n", "Array[5]"),
    // The edges of each type, as the specification has them.
    (b"+a b\r\n", "Status(\"a b\")"),
    (b"-\r\n", "Error(\"\")"),
    (b":-0\r\n", "0"),
    (b":+0\r\n", "0"),
    (b":007\r\n", "7"),
    (b":-007\r\n", "-7"),
    (b":0000000000000000001\r\n", "1"),
    (b"$01\r\nx\r\n", "String(\"x\")"),
    (b"*01\r\n:1\r\n", "Array[1]"),
    (b"%0\r\n", "Map[]"),
    (b"~0\r\n", "Set[]"),
    (b"!0\r\n\r\n", "Error(\"\")"),
    (b"!4\r\na\r\nb\r\n", "Error(\"a\\r\\nb\")"),
    (b"=4\r\ntxt:\r\n", "Verbatim(\"\")"),
    (b"=7\r\nmkd:\r\n:\r\n", "Verbatim(\"\\r\\n:\")"),
    (b",10\r\n", "Double(\"10\")"),
    (b",-0\r\n", "Double(\"-0\")"),
    (b",+1.50\r\n", "Double(\"+1.50\")"),
    (b",007.0\r\n", "Double(\"007.0\")"),
    (b",1e5\r\n", "Double(\"1e5\")"),
    (b",-1.5E-05\r\n", "Double(\"-1.5E-05\")"),
    (b",3.0000000000000001e+300\r\n", "Double(\"3.0000000000000001e+300\")"),
    (b",4.9406564584124654e-324\r\n", "Double(\"4.9406564584124654e-324\")"),
    (b",inf\r\n", "Double(\"inf\")"),
    (b",nan\r\n", "Double(\"nan\")"),
    (b",-nan\r\n", "Double(\"-nan\")"),
    (b"(0\r\n", "BigNumber(\"0\")"),
    (b"(-0\r\n", "BigNumber(\"-0\")"),
    (b"(007\r\n", "BigNumber(\"007\")"),
    (b"(+1\r\n", "BigNumber(\"1\")"),
    (b"*1\r\n(+12345678901234567890\r\n", "Array[BigNumber(\"12345678901234567890\")]"),
];

#[test]
fn every_double_has_a_value() {
    for (input, expected) in [
        (&b",1.5\r\n"[..], 1.5),
        (b",+1.50\r\n", 1.5),
        (b",-1.5E-05\r\n", -1.5e-5),
        (b",inf\r\n", f64::INFINITY),
        (b",-inf\r\n", f64::NEG_INFINITY),
    ] {
        assert_eq!(decode(input, &[]).unwrap().expect("a whole reply").root().as_f64(), Some(expected));
    }
    for input in [&b",nan\r\n"[..], b",-nan\r\n"] {
        let reply = decode(input, &[]).unwrap().expect("a whole reply");
        assert!(reply.root().as_f64().is_some_and(f64::is_nan));
    }
}

#[test]
fn every_type() {
    for (input, expected) in EVERY_TYPE {
        assert_eq!(shown(input), *expected, "{}", input.escape_ascii());
    }
}

#[test]
fn cut_at_every_byte() {
    for (input, expected) in EVERY_TYPE {
        for cut in 0..input.len() {
            assert!(decode(&input[..cut], &[]).unwrap().is_none(), "{} cut at {cut}", input.escape_ascii());
            let reply = decode(input, &[cut]).unwrap().expect("a whole reply");
            assert_eq!(format!("{reply:?}"), *expected, "{} cut at {cut}", input.escape_ascii());
        }
        let every: Vec<usize> = (0..input.len()).collect();
        assert_eq!(format!("{:?}", decode(input, &every).unwrap().expect("a whole reply")), *expected);
    }
}

#[test]
fn what_is_no_reply_is_refused() {
    for input in [
        &b"?\r\n"[..],
        b":\r\n",
        b":1a\r\n",
        b":1\rx",
        b":9223372036854775808\r\n",
        b":-9223372036854775809\r\n",
        b":99999999999999999999\r\n",
        b":00000000000000000000000000",
        b"$-2\r\n",
        b"$1\r\nxyz",
        b"*-2\r\n",
        b"%-1\r\n",
        b"+a\rb",
        b"_x\r\n",
        b"#x\r\n",
        b",abc\r\n",
        b"(12a\r\n",
        b"(\r\n",
        b"=3\r\nabc\r\n",
        b"=5\r\nabcde\r\n",
        b"*1\r\n>0\r\n",
        b"\r\n",
        // A line ends in CR LF and holds neither.
        b"+a\nb\r\n",
        b"+a\n",
        b"-ERR a\nb\r\n",
        b"+a\r\r\n",
        b"_\n",
        b"#t\n",
        b"(1\n",
        b",1\n",
        b":1\n",
        b"$1\nx\r\n",
        b"*1\n",
        b"$1\r\nx\n\n",
        b":1\r\r\n",
        // Integers and big numbers have digits, and a sign at most.
        b":+\r\n",
        b":-\r\n",
        b":\r",
        b":-\r",
        b":+-1\r\n",
        b": 1\r\n",
        b":1 \r\n",
        b":1.0\r\n",
        b":1e3\r\n",
        b":0x10\r\n",
        b":00000000000000000001\r\n",
        b"(+\r\n",
        b"(-\r\n",
        b"(+-1\r\n",
        b"( 1\r\n",
        b"(1 \r\n",
        b"(1.0\r\n",
        // Lengths have digits and no sign, but for the two nils of RESP2.
        b"$\r\n\r\n",
        b"$+1\r\nx\r\n",
        b"$-0\r\n\r\n",
        b"$-01\r\n",
        b"$-1 \r\n",
        b"$ 1\r\nx\r\n",
        b"*+1\r\n:1\r\n",
        b"*-0\r\n",
        b"*-01\r\n",
        b"*\r\n",
        b"~-1\r\n",
        b">-1\r\n",
        b"|-1\r\n",
        b"=-1\r\n",
        b"!-1\r\n",
        b"=+7\r\ntxt:abc\r\n",
        b"=0\r\n\r\n",
        // Streamed and chunked types, which no server sends unless asked.
        b"$?\r\n;1\r\nx\r\n;0\r\n",
        b"*?\r\n:1\r\n.\r\n",
        b"%?\r\n.\r\n",
        b"~?\r\n.\r\n",
        b">?\r\n.\r\n",
        b";1\r\nx\r\n",
        b".\r\n",
        // Null and booleans.
        b"_ \r\n",
        b"#\r\n",
        b"#T\r\n",
        b"#true\r\n",
        // Doubles.
        b",\r\n",
        b",+\r\n",
        b",.5\r\n",
        b",5.\r\n",
        b",1e\r\n",
        b",1e+\r\n",
        b",e5\r\n",
        b",1e5.0\r\n",
        b",1.2.3\r\n",
        b", 1\r\n",
        b",1 \r\n",
        b",1e999\r\n",
        b",0x1p3\r\n",
        b",1_0\r\n",
        b",infinity\r\n",
        b",-infinity\r\n",
        b",+inf\r\n",
        b",Inf\r\n",
        b",INF\r\n",
        b",NaN\r\n",
        b",+nan\r\n",
        b",nan(0x1)\r\n",
    ] {
        for cut in 0..=input.len() {
            let refusal = decode(input, &[cut]).map(drop).expect_err(&input.escape_ascii().to_string());
            assert!(matches!(refusal, Refusal::Protocol(_)), "{}: {refusal:?}", input.escape_ascii());
        }
    }
}

#[test]
fn limits_hold_before_anything_is_allocated() {
    for input in [
        &b"$4611686018427387904\r\n"[..],
        b"*4611686018427387904\r\n",
        b"%4611686018427387904\r\n",
        b"*1048576\r\n",
        b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
    ] {
        let refusal = decode(input, &[]).expect_err("refused");
        assert!(matches!(refusal, Refusal::Limit(_)), "{}: {refusal:?}", input.escape_ascii());
    }
}

#[test]
fn every_element_is_found_by_its_index() {
    let mut input = b"*40\r\n".to_vec();
    for number in 0..40 {
        input.extend_from_slice(format!("*2\r\n:{number}\r\n*1\r\n:{}\r\n", number * 2).as_bytes());
    }
    let reply = decode(&input, &[]).unwrap().expect("a whole reply");
    assert_eq!(reply.root().elements().len(), 40);
    for (index, element) in reply.root().elements().enumerate() {
        for found in [element, reply.get(index).expect("present")] {
            assert_eq!(
                found.get(0).and_then(|number| number.as_i64()),
                Some(i64::try_from(index).expect("below forty"))
            );
            let inner = found.get(1).and_then(|inner| inner.get(0)).and_then(|number| number.as_i64());
            assert_eq!(inner, Some(i64::try_from(index * 2).expect("below eighty")));
        }
    }
    assert!(reply.get(40).is_none() && reply.get(0).expect("present").get(2).is_none());
}

/// Found by their index or in order, the elements of each aggregate are the same, whatever else lies in it.
#[test]
fn flat_and_nested_aggregates_lie_in_one_another() {
    fn check(reply: ReplyRef<'_>) {
        // From the end on: the index is there then before the first elements are asked for.
        let in_order: Vec<_> = reply.elements().collect();
        for (index, element) in in_order.iter().enumerate().rev() {
            let found = reply.get(index).expect("present");
            assert!(std::ptr::eq(found.entry(), element.entry()), "{index} of {reply:?}");
            check(*element);
        }
        assert!(reply.get(in_order.len()).is_none());
    }
    let flat = "*12\r\n:0\r\n:1\r\n:2\r\n:3\r\n:4\r\n:5\r\n:6\r\n:7\r\n:8\r\n:9\r\n:10\r\n:11\r\n";
    let nested =
        format!("*10\r\n{flat}*0\r\n:1\r\n{flat}$1\r\nx\r\n%1\r\n:1\r\n{flat}{flat}:2\r\n*-1\r\n*0\r\n");
    let input =
        format!("*11\r\n{nested}{flat}:1\r\n{nested}*0\r\n{flat}*1\r\n{nested}{nested}:2\r\n{flat}{nested}");
    let reply = decode(input.as_bytes(), &[]).unwrap().expect("a whole reply");
    assert_eq!(reply.root().len(), 11);
    check(reply.root());
}

/// Random damage to valid replies: no panic, no memory beyond the input's, and the same answer however the bytes are
/// cut.
#[test]
fn damaged_replies_are_judged_alike_however_they_are_cut() {
    for seed in 0..if cfg!(miri) { 20 } else { 20_000 } {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut input: Vec<u8> = (0..rng.usize(1..4))
            .flat_map(|_| rng.choice(EVERY_TYPE).map(|(bytes, _)| *bytes))
            .flatten()
            .copied()
            .collect();
        for _ in 0..rng.usize(0..4) {
            let at = rng.usize(..input.len());
            match rng.u8(..3) {
                0 => input[at] = *rng.choice(b"+-:$*%~>|=!,(_#0123456789\r\nx").unwrap_or(&0),
                1 => input.insert(at, rng.u8(..)),
                _ => drop(input.remove(at)),
            }
            if input.is_empty() {
                input.push(b':');
            }
        }
        let judge = |cuts: &[usize]| {
            let mut payload = Payload::default();
            payload.start();
            let mut decoder = Decoder::new(LIMITS);
            let (mut bytes, mut at, mut verdicts) = (Vec::new(), 0, Vec::new());
            for cut in cuts.iter().copied().chain([input.len()]) {
                bytes.extend_from_slice(&input[bytes.len()..cut]);
                loop {
                    match decoder.decode(&mut bytes, &mut at, 0, &mut payload.tape) {
                        Ok(Decoded::Incomplete) => break,
                        Ok(whole) => verdicts.push(format!("{whole:?} up to {at}")),
                        Err(refusal) => {
                            verdicts.push(format!("{refusal:?}"));
                            return verdicts;
                        }
                    }
                }
            }
            assert!(payload.tape.len() <= input.len() + 1, "seed {seed}: more entries than bytes");
            verdicts
        };
        let mut cuts: Vec<usize> = (0..rng.usize(0..6)).map(|_| rng.usize(..=input.len())).collect();
        cuts.sort_unstable();
        assert_eq!(judge(&cuts), judge(&[]), "seed {seed}: {}", input.escape_ascii());
    }
}

#[test]
fn strings_in_a_row_are_what_they_are_alone_however_they_are_cut() {
    let lengths = [0, 1, 9, 10, 11, 98, 99, 100, 101, 3, 4, 5, 300, 16, 16, 16];
    let mut elements: Vec<Vec<u8>> = lengths
        .iter()
        .map(|&length| [format!("${length}\r\n").as_bytes(), &vec![b'x'; length], b"\r\n"].concat())
        .collect();
    elements.insert(3, b"$-1\r\n".to_vec());
    elements.insert(7, b":5\r\n".to_vec());
    elements.insert(9, b"*2\r\n$1\r\na\r\n$1\r\nb\r\n".to_vec());
    let input = [format!("*{}\r\n", elements.len()).into_bytes(), elements.concat()].concat();
    let alone: Vec<String> = elements.iter().map(|element| shown(element)).collect();
    let expected = format!("Array[{}]", alone.join(", "));
    assert_eq!(shown(&input), expected);
    for cut in (0..input.len()).step_by(if cfg!(miri) { 50 } else { 1 }) {
        let reply = decode(&input, &[cut]).unwrap().expect("a whole reply");
        assert_eq!(format!("{reply:?}"), expected, "cut at {cut}");
    }
}

#[test]
fn a_malformed_string_in_a_row_is_refused_as_it_is_alone() {
    for bad in [
        &b"$1\r\nxy\r\n"[..],
        b"$1\r\nx\n\r",
        b"$1x\r\nx\r\n",
        b"$x1\r\nx\r\n",
        b"$+1\r\nx\r\n",
        b"$1\n\rx\r\n",
    ] {
        let alone = decode(bad, &[]).map(drop).unwrap_err();
        for before in 0..6 {
            let row = [&b"*9\r\n"[..], &b"$1\r\na\r\n".repeat(before), bad].concat();
            assert_eq!(decode(&row, &[]).map(drop).unwrap_err(), alone, "{}", row.escape_ascii());
        }
    }
}
