//! Replies into values: each type from each kind of reply, in both protocols, and errors that say what was wrong
//! where.

use crate::support;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::error::Error as _;
use std::fmt::Debug;

use rs_script::{Client, Error, FromReply, Kind, Protocol, Reason, Reply, ReplyRef, Result, Script, Status};
use support::calls::{LONG, options, shown};
use support::server::Server;

/// A client of each protocol.
fn clients(server: &Server) -> [Client; 2] {
    [Protocol::Resp2, Protocol::Resp3].map(|protocol| {
        let mut options = options(LONG);
        options.protocol(protocol);
        Client::open(&server.url(), &options).expect("a client")
    })
}

/// What a script returns.
struct Lua(Client);

impl Lua {
    fn reply(&self, code: &str) -> Reply {
        // Lua's `false` is nil to RESP2 alone.
        let of_resp3 = ["map=", "set=", "double=", "number=", "string=", "true"];
        let protocol = if of_resp3.iter().any(|word| code.contains(word)) { 3 } else { 2 };
        let source = format!("redis.setresp({protocol}); return {code}");
        self.0.call(&Script::new(source), (), ()).expect("a reply")
    }

    #[track_caller]
    fn is<T: for<'a> FromReply<'a> + PartialEq + Debug>(&self, code: &str, value: T) {
        assert_eq!(self.reply(code).to::<T>(), Ok(value), "{code}");
    }

    #[track_caller]
    fn is_no<T: for<'a> FromReply<'a> + Debug>(&self, code: &str, text: &str) {
        let error = self.reply(code).to::<T>().expect_err(code);
        assert_eq!(error.to_string(), text, "{code}");
        assert_eq!((error.status(), error.reason()), (Status::Conversion, Reason::Conversion));
        assert!(!error.is_not_executed() && !error.is_indeterminate() && !error.is_timeout());
    }
}

fn lua(server: &Server) -> Lua {
    let [_, resp3] = clients(server);
    Lua(resp3)
}

const DOUBLE: &str = "{double=2.5}";
const BIG: &str = "{big_number='123456789012345678901234567890'}";
const VERBATIM: &str = "{verbatim_string={format='txt', string='words'}}";

#[test]
fn integers_are_taken_in_their_range() {
    let server = Server::start();
    let lua = lua(&server);
    lua.is("-128", -128i8);
    lua.is("255", 255u8);
    lua.is("'-32768'", i16::MIN);
    lua.is("'9223372036854775807'", i64::MAX);
    lua.is("'18446744073709551615'", u64::MAX);
    lua.is("'170141183460469231731687303715884105727'", i128::MAX);
    lua.is("{big_number='18446744073709551616'}", u128::from(u64::MAX) + 1);
    lua.is("{ok='7'}", 7usize);
    lua.is("{double=3}", 3u32);
    lua.is("true", 1u16);
    lua.is_no::<u8>("256", "expected u8, got an integer out of its range");
    lua.is_no::<u64>("-1", "expected u64, got an integer out of its range");
    lua.is_no::<i8>("'-129'", "expected i8, got a string out of its range");
    lua.is_no::<u32>("'-1'", "expected u32, got a string out of its range");
    lua.is_no::<i64>(BIG, "expected i64, got a big number out of its range");
    lua.is_no::<i64>("'5 '", "expected i64, got a string that is no integer");
    lua.is_no::<i64>("''", "expected i64, got a string that is no integer");
    lua.is_no::<i64>("'\\255'", "expected i64, got a string that is no integer");
    lua.is_no::<i32>(DOUBLE, "expected i32, got a double that is no integer");
    lua.is_no::<i32>("false", "expected i32, got nil");
    lua.is_no::<i32>("{1}", "expected i32, got an array");
}

#[test]
fn floats_and_booleans() {
    let server = Server::start();
    let lua = lua(&server);
    lua.is(DOUBLE, 2.5f64);
    lua.is(DOUBLE, 2.5f32);
    lua.is("{double=1/0}", f64::INFINITY);
    lua.is("'-2.5e3'", -2500.0);
    lua.is("-7", -7.0f64);
    lua.is("'0.1'", 0.1f32);
    assert!(lua.reply("'nan'").to::<f64>().unwrap().is_nan());
    lua.is_no::<f64>("'2,5'", "expected f64, got a string that is no number");
    lua.is_no::<f64>("false", "expected f64, got nil");
    for (code, value) in
        [("1", true), ("0", false), ("true", true), ("'1'", true), ("'0'", false), ("false", false)]
    {
        lua.is(code, value);
    }
    lua.is_no::<bool>("2", "expected bool, got an integer that is neither 0 nor 1");
    lua.is_no::<bool>("'true'", "expected bool, got a string that is neither 0 nor 1");
    lua.is_no::<bool>("{}", "expected bool, got an array");
}

#[test]
fn texts_and_bytes() {
    let server = Server::start();
    let lua = lua(&server);
    lua.is("'\\195\\169'", "é".to_owned());
    lua.is("'\\195\\169'", 'é');
    lua.is("{ok='FINE'}", "FINE".to_owned());
    lua.is(VERBATIM, "words".to_owned());
    lua.is(BIG, "123456789012345678901234567890".to_owned());
    lua.is("-5", "-5".to_owned());
    lua.is("'\\255\\0'", vec![255u8, 0]);
    lua.is("{1, '2'}", vec![1u8, 2]);
    lua.is("'ab'", *b"ab");
    lua.is("'ab'", Box::<[u8]>::from(*b"ab"));
    let reply = lua.reply("'words'");
    assert_eq!(reply.to::<&str>(), Ok("words"));
    assert_eq!(reply.to::<&[u8]>(), Ok(&b"words"[..]));
    assert!(matches!(reply.to::<Cow<'_, str>>(), Ok(Cow::Borrowed("words"))));
    assert!(matches!(reply.to::<Cow<'_, [u8]>>(), Ok(Cow::Borrowed(b"words"))));
    assert_eq!(lua.reply("7").to::<Cow<'_, str>>(), Ok(Cow::from("7")));
    lua.is_no::<String>("'ab\\255'", "expected String, got a string that is not UTF-8 from byte 2 on");
    lua.is_no::<String>("{}", "expected String, got an array");
    lua.is_no::<String>("false", "expected String, got nil");
    lua.is_no::<char>("'ab'", "expected char, got a string that is not one character");
    lua.is_no::<Vec<u8>>("5", "expected bytes, got an integer");
    lua.is_no::<[u8; 3]>("'ab'", "expected 3 elements, got a string of 2");
    let reply = lua.reply("5");
    assert_eq!(reply.to::<&str>().unwrap_err().to_string(), "expected &str, got an integer");
}

#[test]
fn lists_tuples_sets_and_options() {
    let server = Server::start();
    let lua = lua(&server);
    lua.is("{1, '2', 3}", vec![1i64, 2, 3]);
    lua.is("{}", Vec::<i64>::new());
    lua.is("{1, 2}", [1u8, 2]);
    lua.is("{1, 2}", Box::<[i32]>::from([1, 2]));
    lua.is("{1, 'two', {3, 4}}", (1u8, "two".to_owned(), [3i64, 4]));
    lua.is("{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, '12'}", (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, "12".to_owned()));
    lua.is("{'b', 'a', 'b'}", BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    lua.is("{set={['a']=true}}", HashSet::from(["a".to_owned()]));
    lua.is("{set={['a']=true}}", vec!["a".to_owned()]);
    lua.is("{1, false, 3}", vec![Some(1), None, Some(3)]);
    lua.is("false", None::<Vec<i64>>);
    lua.is("{}", Some(Vec::<i64>::new()));
    lua.is("{{1, 2}, {}}", vec![vec![1u8, 2], vec![]]);
    lua.is("{1}", (1u8,));
    lua.is("{1, 2}", ());
    lua.is("false", ());
    lua.is_no::<Vec<i64>>("false", "expected an array, got nil");
    lua.is_no::<Vec<i64>>("'1'", "expected an array, got a string");
    lua.is_no::<Vec<u8>>("{1, 2, 300}", "expected u8, got an integer out of its range, at element 2");
    lua.is_no::<[i64; 3]>("{1, 2}", "expected 3 elements, got an array of 2");
    lua.is_no::<(i64, i64)>("{1, 2, 3}", "expected an array of 2, got an array of 3");
    lua.is_no::<(i64, i64)>("5", "expected an array of 2, got an integer");
    lua.is_no::<(u8, (u8, Vec<u8>))>(
        "{1, {2, {3, 'x'}}}",
        "expected u8, got a string that is no integer, at element 1, element 1, element 1",
    );
    lua.is_no::<HashSet<u8>>("{1, {}}", "expected u8, got an array, at element 1");
}

#[test]
fn maps_and_lists_of_pairs() {
    let server = Server::start();
    let lua = lua(&server);
    let expected = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
    for code in ["{map={a=1, b='2'}}", "{'a', 1, 'b', '2'}", "{{'a', 1}, {'b', 2}}"] {
        lua.is(code, expected.clone());
        lua.is(code, expected.clone().into_iter().collect::<HashMap<_, _>>());
    }
    lua.is("{'b', 2, 'a', 1}", vec![("b".to_owned(), 2), ("a".to_owned(), 1)]);
    lua.is("{{'b', 2}, {'a', 1}}", vec![("b".to_owned(), 2), ("a".to_owned(), 1)]);
    lua.is("{map={a=1}}", vec![("a".to_owned(), 1)]);
    lua.is("{1, 2, 3, 4, 5, 6}", vec![(1, 2, 3), (4, 5, 6)]);
    lua.is("{}", Vec::<(u8, u8)>::new());
    lua.is("{false, false}", vec![(None::<u8>, None::<u8>)]);
    lua.is("{}", HashMap::<String, u8>::new());
    lua.is("{'k', {1, 2}}", HashMap::from([("k".to_owned(), vec![1, 2])]));
    lua.is("{1, {map={x={double=0.5}}}}", (1, HashMap::from([("x".to_owned(), 0.5)])));
    lua.is_no::<HashMap<String, u8>>(
        "{'a', 1, 'b'}",
        "expected a map, got an array of 3 elements, which is no pairs",
    );
    lua.is_no::<HashMap<String, u8>>("'a'", "expected a map, got a string");
    lua.is_no::<HashMap<String, u8>>(
        "{'a', 1, 'b', -1}",
        "expected u8, got an integer out of its range, at the value of pair 1",
    );
    lua.is_no::<BTreeMap<u8, u8>>(
        "{map={a=1}}",
        "expected u8, got a string that is no integer, at the key of pair 0",
    );
    lua.is_no::<Vec<(u8, u8)>>(
        "{1, 2, 3}",
        "expected an array of arrays of 2, or of these one behind the other, got an array of 3",
    );
    lua.is_no::<Vec<(u8, u8)>>(
        "{1, 2, 3, 'x'}",
        "expected u8, got a string that is no integer, at element 3",
    );
}

/// What servers send for the same command differs between the protocols; the values do not.
#[test]
fn both_protocols_give_the_same_values() {
    let server = Server::start();
    for client in clients(&server) {
        client.command("FLUSHALL").unwrap();
        client.command(("ZADD", "scores", 1, "a", 2.5, "b")).unwrap();
        client.command(("HSET", "hash", "x", 1, "y", 2)).unwrap();
        client.command(("SADD", "set", 1, 2)).unwrap();
        let score: f64 = client.command(("ZSCORE", "scores", "b")).unwrap().to().unwrap();
        assert_eq!(score, 2.5);
        let whole: u8 = client.command(("ZSCORE", "scores", "a")).unwrap().to().unwrap();
        assert_eq!(whole, 1);
        let scores: Vec<(String, f64)> =
            client.command(("ZRANGE", "scores", 0, -1, "WITHSCORES")).unwrap().to().unwrap();
        assert_eq!(scores, [("a".to_owned(), 1.0), ("b".to_owned(), 2.5)]);
        let scores: HashMap<String, f64> =
            client.command(("ZRANGE", "scores", 0, -1, "WITHSCORES")).unwrap().to().unwrap();
        assert_eq!(scores["b"], 2.5);
        let hash: BTreeMap<String, u8> = client.command(("HGETALL", "hash")).unwrap().to().unwrap();
        assert_eq!(hash, BTreeMap::from([("x".to_owned(), 1), ("y".to_owned(), 2)]));
        let set: BTreeSet<u8> = client.command(("SMEMBERS", "set")).unwrap().to().unwrap();
        assert_eq!(set, BTreeSet::from([1, 2]));
        let is_member: bool = client.command(("SISMEMBER", "set", 2)).unwrap().to().unwrap();
        assert!(is_member);
        let nothing: Option<String> = client.command(("GET", "nothing")).unwrap().to().unwrap();
        assert_eq!(nothing, None);
        let is_equal: bool = Script::new("return ARGV[1] == ARGV[2]").arg((1, 2)).call(&client).unwrap();
        assert!(!is_equal);
        let (cursor, keys): (u64, Vec<String>) =
            client.command(("SCAN", 0, "COUNT", 100)).unwrap().to().unwrap();
        assert_eq!((cursor, keys.len()), (0, 3));
    }
}

#[test]
fn errors_inside_a_reply_are_the_errors_of_their_items() {
    let server = Server::start();
    let lua = lua(&server);
    let client = &lua.0;
    client.command(("SET", "text", "x")).unwrap();
    let mut pipeline = client.pipeline();
    let mut filled = || {
        pipeline
            .command(("SET", "n", 1))
            .unwrap()
            .command(("INCR", "text"))
            .unwrap()
            .command(("INCR", "n"))
            .unwrap();
        pipeline.exec().unwrap()
    };
    let error = filled().to::<(String, i64, i64)>().unwrap_err();
    assert_eq!((error.status(), error.index()), (Status::Server, Some(1)));
    assert_eq!(filled().to::<()>().map_err(|error| error.status()), Ok(()), "an array of any kind");
    let (set, failed, two): (String, Result<i64>, Result<i64>) = filled().to().unwrap();
    assert_eq!((&*set, two), ("OK", Ok(2)));
    let failed = failed.unwrap_err();
    assert_eq!((failed.server_code(), failed.index()), (Some("ERR"), Some(1)));
    // In memory of its own the error is what it was.
    let replies: Vec<Reply> = filled().to().unwrap();
    assert_eq!(replies[1].root().as_error(), filled().get(1).unwrap().as_error());
    let all: Vec<Result<i64>> = lua.reply("{1, redis.error_reply('MINE own'), 'x'}").to().unwrap();
    assert_eq!(all[0], Ok(1));
    assert_eq!(all[1].as_ref().unwrap_err().server_text(), Some(&b"MINE own"[..]));
    assert_eq!(all[2].as_ref().unwrap_err().status(), Status::Conversion);
    for code in ["{redis.error_reply('MINE own')}", "{{1, redis.error_reply('MINE own')}}"] {
        let reply = lua.reply(code);
        let errors = [
            reply.to::<Vec<String>>().map(drop),
            reply.to::<Vec<Vec<u8>>>().map(drop),
            reply.to::<Vec<Vec<f64>>>().map(drop),
            reply.to::<Vec<(bool, bool)>>().map(drop),
            reply.to::<Vec<(bool, Option<&str>)>>().map(drop),
            reply.to::<[Vec<i64>; 1]>().map(drop),
        ];
        let inner = errors.into_iter().filter_map(|result| {
            let error = result.unwrap_err();
            (error.status() != Status::Conversion).then_some(error)
        });
        let inner: Vec<Error> = inner.collect();
        assert!(
            !inner.is_empty() && inner.iter().all(|error| error.server_code() == Some("MINE")),
            "{code}: {inner:?}"
        );
    }
}

#[test]
fn replies_are_taken_as_they_are() {
    let server = Server::start();
    let lua = lua(&server);
    let code = format!("{{1, {{'a', {VERBATIM}, {{double=2.5}}}}, {{map={{k={{}}}}}}, false, {{ok='s'}}}}");
    let reply = lua.reply(&code);
    let parts: Vec<ReplyRef<'_>> = reply.to().unwrap();
    assert_eq!(parts[1].get(1).and_then(ReplyRef::verbatim_format), Some(&b"txt"[..]));
    let owned: Vec<Reply> = reply.to().unwrap();
    drop(reply);
    let shown_parts: Vec<String> = owned.iter().map(shown).collect();
    assert_eq!(
        shown_parts,
        [
            "1",
            r#"Array[String("a"), Verbatim("words"), Double("2.5")]"#,
            r#"Map[String("k"), Array[]]"#,
            "false",
            r#"Status("s")"#
        ]
    );
    assert_eq!(owned[1].get(1).and_then(ReplyRef::verbatim_format), Some(&b"txt"[..]));
    let typed: Reply = Script::new("return {1, {2}}").call(&lua.0).unwrap();
    assert_eq!(typed.get(1).and_then(|inner| inner.get(0)).and_then(ReplyRef::as_i64), Some(2));
}

rs_script::from_reply! {
    /// A struct with everything that one may have.
    #[derive(Clone, Debug, PartialEq)]
    pub struct User {
        pub name: String,
        /// In years.
        pub(crate) age: u32,
        mail: Option<String>,
        #[allow(dead_code)]
        r#type: u8,
        is_admin: bool as "is admin",
        friends: Vec<Id>,
        address: Option<Box<Address>>,
    }
}

rs_script::from_reply! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Id(pub u64);
}

rs_script::from_reply! {
    #[derive(Clone, Debug, PartialEq)]
    pub struct Address { city: String, zip: String }
}

rs_script::from_reply! {
    #[derive(Debug, PartialEq)]
    struct Borrowed<'a> { name: &'a str, rest: Tail<'a> as "tail" }
}

rs_script::from_reply! {
    #[derive(Debug, PartialEq)]
    struct Tail<'a>(&'a [u8]);
}

rs_script::from_reply! {
    #[derive(Debug, PartialEq)]
    struct Nothing {}
}

#[test]
fn structs_from_maps_and_pairs() {
    let server = Server::start();
    let lua = lua(&server);
    let ada = User {
        name: "Ada".into(),
        age: 36,
        mail: None,
        r#type: 2,
        is_admin: true,
        friends: vec![Id(7), Id(8)],
        address: Some(Box::new(Address { city: "London".into(), zip: "SW1".into() })),
    };
    for code in [
        "{map={name='Ada', age='36', type=2, ['is admin']=1, friends={7, '8'}, \
         address={map={city='London', zip='SW1'}}, other={}}}",
        "{'other', {}, 'name', 'Ada', 'age', 36, 'mail', false, 'type', '2', 'is admin', 1, 'friends', {7, 8}, \
         'address', {'city', 'London', 'zip', 'SW1'}}",
        "{{'name', 'Ada'}, {'age', 36}, {'type', 2}, {'is admin', true}, {'friends', {7, 8}}, \
         {'address', {map={zip='SW1', city='London'}}}}",
    ] {
        lua.is(code, ada.clone());
        lua.is(&format!("{{{code}, {code}}}"), vec![ada.clone(), ada.clone()]);
    }
    lua.is("'5'", Id(5));
    lua.is("{'x', 1}", Nothing {});
    let reply = lua.reply("{'name', 'Ada', 'tail', '\\255'}");
    assert_eq!(reply.to(), Ok(Borrowed { name: "Ada", rest: Tail(b"\xff") }));
    lua.is("false", None::<Address>);
    lua.is_no::<Address>("false", "expected Address, got nil");
    lua.is_no::<Address>("{'city'}", "expected Address, got an array of 1 elements, which is no pairs");
    lua.is_no::<Address>("{map={city='x'}}", r#"expected Address, got a map without the field "zip""#);
    lua.is_no::<Vec<Address>>(
        "{{'city', {}, 'zip', 'y'}}",
        r#"expected String, got an array, at element 0, field "city""#,
    );
    lua.is_no::<Vec<User>>(
        "{{'address', {'city', 'x', 'zip', '\\255'}}}",
        r#"expected String, got a string that is not UTF-8 from byte 0 on, at element 0, field "address", field "zip""#,
    );
}

rs_script::from_reply! {
    #[derive(Clone, Debug, PartialEq)]
    struct Score((String, f64));
}

rs_script::from_reply! {
    #[derive(Debug, PartialEq)]
    struct Byte(u8);
}

rs_script::from_reply! {
    #[derive(Debug, PartialEq)]
    struct Nickname(Option<String>);
}

rs_script::from_reply! {
    #[derive(Debug, PartialEq)]
    struct Player { name: String, nickname: Nickname, scores: Vec<Score> }
}

/// Whatever the field can be converted from, alone, in lists, and where it may be missing.
#[test]
fn a_struct_of_one_field_is_converted_as_that_field() {
    let server = Server::start();
    let lua = lua(&server);
    lua.is("'ab'", vec![Byte(b'a'), Byte(b'b')]);
    for client in clients(&server) {
        client.command(("ZADD", "scores", 1, "a", 2.5, "b")).unwrap();
        let scores: Vec<Score> =
            client.command(("ZRANGE", "scores", 0, -1, "WITHSCORES")).unwrap().to().unwrap();
        assert_eq!(scores, [Score(("a".into(), 1.0)), Score(("b".into(), 2.5))]);
    }
    let player =
        Player { name: "Ada".into(), nickname: Nickname(None), scores: vec![Score(("a".into(), 1.0))] };
    lua.is("{'name', 'Ada', 'scores', {'a', 1}}", player);
    lua.is_no::<Vec<Score>>(
        "{'a', 1, 'b'}",
        "expected an array of arrays of 2, or of these one behind the other, got an array of 3",
    );
}

#[test]
fn a_conversion_error_has_a_source_and_no_value() {
    let server = Server::start();
    let lua = lua(&server);
    let error = lua.reply("{'hunter2'}").to::<Vec<u8>>().map(drop).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    assert!(error.source().expect("a cause").is::<std::num::ParseIntError>());
    let error = lua.reply("'\\255'").to::<String>().unwrap_err();
    assert!(error.source().expect("a cause").is::<std::str::Utf8Error>());
    let boxed: Box<dyn std::error::Error + Send + Sync> = error.clone().into();
    assert_eq!(boxed.downcast::<Error>().map(|found| *found).ok(), Some(error));
    fn asked() -> std::result::Result<(), Box<dyn std::error::Error>> {
        Err(Error::conversion("a colour", Kind::Nil).with_source("because"))?;
        Ok(())
    }
    assert_eq!(asked().unwrap_err().to_string(), "expected a colour, got nil");
}
