//! Where the keys of a command are, for every command that a supported server has built in.
//!
//! Known by heart rather than asked for with COMMAND: a call is routed before any connection is there, and alike on
//! every version. `keys.samples` has an example of each command; `tests/calls/command_keys.rs` holds it against real
//! servers.

// What servers send is not to be cut short by a conversion.
#![deny(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

use std::iter::{Copied, StepBy};
use std::ops::Range;
use std::slice;

/// What a command's keys say about where it goes.
#[derive(Clone, Debug)]
pub(crate) enum Located<'a> {
    /// To the owner of these keys, of which there is at least one.
    Keys(Keys<'a>),
    /// It has no keys, and any primary answers it alike.
    Anywhere,
    /// It has no keys and concerns the one server that it reaches: the caller has to name that.
    OneServer,
    /// It is not among the commands that are built in: a module's, or newer than this file.
    Unknown,
    /// Its keys cannot be told, for the reason given. Every server refuses such a command.
    Malformed(&'static str),
}

/// The keys of a command, from left to right.
///
/// Besides what servers call keys, these are the other arguments that they derive a slot from, such as SPUBLISH's
/// channel.
#[derive(Clone, Debug)]
pub(crate) struct Keys<'a> {
    /// A key that stands apart from the others: the destination in front of numkeys, the source in front of STORE.
    first: Option<&'a [u8]>,
    rest: Copied<StepBy<slice::Iter<'a, &'a [u8]>>>,
}

impl<'a> Iterator for Keys<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.first.take().or_else(|| self.rest.next())
    }
}

/// Finds the keys of a command, given as its name and arguments.
///
/// What [`lane`](crate::request::command::lane) refuses whatever its keys (WATCH, SUBSCRIBE) is not looked up: ask that
/// first.
pub(crate) fn locate<'a>(arguments: &'a [&'a [u8]]) -> Located<'a> {
    let Some(name) = arguments.first() else {
        return Located::Malformed("the command's name is missing");
    };
    let line = Line(arguments);
    match upper(name, &mut [0; LONGEST]) {
        b"APPEND"
        | b"BITCOUNT"
        | b"BITFIELD"
        | b"BITFIELD_RO"
        | b"BITPOS"
        | b"DECR"
        | b"DECRBY"
        | b"DELIFEQ"
        | b"DUMP"
        | b"EXPIRE"
        | b"EXPIREAT"
        | b"EXPIRETIME"
        | b"GEOADD"
        | b"GEODIST"
        | b"GEOHASH"
        | b"GEOPOS"
        | b"GEORADIUSBYMEMBER_RO"
        | b"GEORADIUS_RO"
        | b"GEOSEARCH"
        | b"GET"
        | b"GETBIT"
        | b"GETDEL"
        | b"GETEX"
        | b"GETRANGE"
        | b"GETSET"
        | b"HDEL"
        | b"HEXISTS"
        | b"HEXPIRE"
        | b"HEXPIREAT"
        | b"HEXPIRETIME"
        | b"HGET"
        | b"HGETALL"
        | b"HGETDEL"
        | b"HGETEX"
        | b"HINCRBY"
        | b"HINCRBYFLOAT"
        | b"HKEYS"
        | b"HLEN"
        | b"HMGET"
        | b"HMSET"
        | b"HPERSIST"
        | b"HPEXPIRE"
        | b"HPEXPIREAT"
        | b"HPEXPIRETIME"
        | b"HPTTL"
        | b"HRANDFIELD"
        | b"HSCAN"
        | b"HSET"
        | b"HSETEX"
        | b"HSETNX"
        | b"HSTRLEN"
        | b"HTTL"
        | b"HVALS"
        | b"INCR"
        | b"INCRBY"
        | b"INCRBYFLOAT"
        | b"LINDEX"
        | b"LINSERT"
        | b"LLEN"
        | b"LPOP"
        | b"LPOS"
        | b"LPUSH"
        | b"LPUSHX"
        | b"LRANGE"
        | b"LREM"
        | b"LSET"
        | b"LTRIM"
        | b"MOVE"
        | b"PERSIST"
        | b"PEXPIRE"
        | b"PEXPIREAT"
        | b"PEXPIRETIME"
        | b"PFADD"
        | b"PSETEX"
        | b"PTTL"
        | b"RESTORE"
        | b"RESTORE-ASKING"
        | b"RPOP"
        | b"RPUSH"
        | b"RPUSHX"
        | b"SADD"
        | b"SCARD"
        | b"SET"
        | b"SETBIT"
        | b"SETEX"
        | b"SETNX"
        | b"SETRANGE"
        | b"SISMEMBER"
        | b"SMEMBERS"
        | b"SMISMEMBER"
        | b"SORT_RO"
        | b"SPOP"
        | b"SRANDMEMBER"
        | b"SREM"
        | b"SSCAN"
        | b"STRLEN"
        | b"SUBSTR"
        | b"TTL"
        | b"TYPE"
        | b"VADD"
        | b"VCARD"
        | b"VDIM"
        | b"VEMB"
        | b"VGETATTR"
        | b"VINFO"
        | b"VISMEMBER"
        | b"VLINKS"
        | b"VRANDMEMBER"
        | b"VREM"
        | b"VSETATTR"
        | b"VSIM"
        | b"XACK"
        | b"XACKDEL"
        | b"XADD"
        | b"XAUTOCLAIM"
        | b"XCLAIM"
        | b"XDEL"
        | b"XDELEX"
        | b"XLEN"
        | b"XPENDING"
        | b"XRANGE"
        | b"XREVRANGE"
        | b"XSETID"
        | b"XTRIM"
        | b"ZADD"
        | b"ZCARD"
        | b"ZCOUNT"
        | b"ZINCRBY"
        | b"ZLEXCOUNT"
        | b"ZMSCORE"
        | b"ZPOPMAX"
        | b"ZPOPMIN"
        | b"ZRANDMEMBER"
        | b"ZRANGE"
        | b"ZRANGEBYLEX"
        | b"ZRANGEBYSCORE"
        | b"ZRANK"
        | b"ZREM"
        | b"ZREMRANGEBYLEX"
        | b"ZREMRANGEBYRANK"
        | b"ZREMRANGEBYSCORE"
        | b"ZREVRANGE"
        | b"ZREVRANGEBYLEX"
        | b"ZREVRANGEBYSCORE"
        | b"ZREVRANK"
        | b"ZSCAN"
        | b"ZSCORE" => line.key(1),
        b"DEL" | b"EXISTS" | b"MGET" | b"PFCOUNT" | b"PFMERGE" | b"SDIFF" | b"SDIFFSTORE" | b"SINTER"
        | b"SINTERSTORE" | b"SUNION" | b"SUNIONSTORE" | b"TOUCH" | b"UNLINK" => line.keys_from(1),
        b"BLMOVE" | b"BRPOPLPUSH" | b"COPY" | b"GEOSEARCHSTORE" | b"LCS" | b"LMOVE" | b"RENAME"
        | b"RENAMENX" | b"RPOPLPUSH" | b"SMOVE" | b"ZRANGESTORE" => line.keys(1..3, 1),
        b"MSET" | b"MSETNX" => line.keys(1..arguments.len(), 2),
        // The last argument is the timeout.
        b"BLPOP" | b"BRPOP" | b"BZPOPMAX" | b"BZPOPMIN" => line.keys(1..arguments.len().max(3) - 1, 1),
        b"BITOP" => line.keys_from(2),
        b"PFDEBUG" => line.key(2),
        // A channel and a cursor, from which servers derive the slot as from a key.
        b"SPUBLISH" | b"CLUSTERSCAN" => line.key(1),

        b"LMPOP" | b"SINTERCARD" | b"ZDIFF" | b"ZINTER" | b"ZINTERCARD" | b"ZMPOP" | b"ZUNION" => {
            line.counted(1, 1)
        }
        b"BLMPOP" | b"BZMPOP" => line.counted(2, 1),
        b"MSETEX" => line.counted(1, 2),
        b"ZDIFFSTORE" | b"ZINTERSTORE" | b"ZUNIONSTORE" => line.counted(2, 1).behind(line.word(1)),
        b"EVAL" | b"EVALSHA" | b"EVALSHA_RO" | b"EVAL_RO" | b"FCALL" | b"FCALL_RO" => {
            match line.numkeys(2, 1) {
                Ok(0) => Located::Anywhere,
                _ => line.counted(2, 1),
            }
        }

        b"GEORADIUS" => line.key_and_store(6),
        b"GEORADIUSBYMEMBER" => line.key_and_store(5),
        b"SORT" => line.key_and_store(2),
        b"MIGRATE" => match line.behind_option(&["KEYS"], 6) {
            Some(keys) if line.word(3) == Some(b"") => line.keys_from(keys),
            _ => line.key(3),
        },
        b"STRALGO" => match line.behind_option(&["KEYS", "STRINGS"], 2) {
            Some(keys) if arguments[keys - 1].eq_ignore_ascii_case(b"KEYS") => line.keys(keys..keys + 2, 1),
            Some(_) => Located::Anywhere,
            None => Located::Malformed("KEYS or STRINGS is missing"),
        },
        b"XREAD" => line.streams(1),
        // The group and the consumer in front may have any name, STREAMS as well.
        b"XREADGROUP" => line.streams(4),

        b"COMMAND" | b"ECHO" | b"LOLWUT" | b"PING" | b"PUBLISH" | b"TIME" => Located::Anywhere,
        b"BGREWRITEAOF" | b"BGSAVE" | b"DBSIZE" | b"DEBUG" | b"FAILOVER" | b"FLUSHALL" | b"FLUSHDB"
        | b"INFO" | b"KEYS" | b"LASTSAVE" | b"PFSELFTEST" | b"RANDOMKEY" | b"REPLICAOF" | b"ROLE"
        | b"SAVE" | b"SCAN" | b"SHUTDOWN" | b"SLAVEOF" | b"SWAPDB" => Located::OneServer,
        container @ (b"ACL" | b"CLIENT" | b"CLUSTER" | b"COMMANDLOG" | b"CONFIG" | b"FUNCTION"
        | b"LATENCY" | b"MEMORY" | b"MODULE" | b"OBJECT" | b"PUBSUB" | b"SCRIPT"
        | b"SLOWLOG" | b"XGROUP" | b"XINFO") => line.subcommand(container),
        _ => Located::Unknown,
    }
}

/// What a command reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// No data.
    Nothing,
    /// The keys that it names.
    Keys,
    /// Nobody can tell: any key.
    Everything,
}

/// Tells what a command reads or writes; `each` gets the keys that it names.
pub(crate) fn touched(arguments: &[&[u8]], each: impl FnMut(&[u8])) -> Touched {
    let name = arguments.first().copied().unwrap_or_default();
    match upper(name, &mut [0; LONGEST]) {
        b"PING" | b"ECHO" | b"TIME" | b"LOLWUT" | b"COMMAND" => return Touched::Nothing,
        // What locate() calls its key is none: a channel, a cursor.
        b"SPUBLISH" | b"CLUSTERSCAN" => return Touched::Everything,
        // Patterns of further keys.
        b"SORT" | b"SORT_RO"
            if arguments
                .iter()
                .skip(2)
                .any(|word| word.eq_ignore_ascii_case(b"BY") || word.eq_ignore_ascii_case(b"GET")) =>
        {
            return Touched::Everything;
        }
        _ => {}
    }
    match locate(arguments) {
        Located::Keys(keys) => {
            keys.for_each(each);
            Touched::Keys
        }
        _ => Touched::Everything,
    }
}

/// A command's name and arguments.
#[derive(Clone, Copy)]
struct Line<'a>(&'a [&'a [u8]]);

impl<'a> Line<'a> {
    fn word(self, index: usize) -> Option<&'a [u8]> {
        self.0.get(index).copied()
    }

    fn key(self, index: usize) -> Located<'a> {
        self.keys(index..index + 1, 1)
    }

    fn keys_from(self, first: usize) -> Located<'a> {
        self.keys(first..self.0.len(), 1)
    }

    fn keys(self, range: Range<usize>, step: usize) -> Located<'a> {
        match self.0.get(range) {
            None | Some([]) => Located::Malformed("a key is missing"),
            Some(keys) => Located::Keys(Keys { first: None, rest: keys.iter().step_by(step).copied() }),
        }
    }

    /// The keys behind their number at `index`, each followed by `step - 1` other arguments.
    fn counted(self, index: usize, step: usize) -> Located<'a> {
        match self.numkeys(index, step) {
            Ok(0) => Located::Malformed("numkeys is 0"),
            Ok(count) => self.keys(index + 1..index + 1 + count * step, step),
            Err(reason) => Located::Malformed(reason),
        }
    }

    /// The number at `index`, for which there are enough arguments.
    fn numkeys(self, index: usize, step: usize) -> Result<usize, &'static str> {
        let text = str::from_utf8(self.word(index).ok_or("numkeys is missing")?).unwrap_or_default();
        let count: i64 = text.parse().map_err(|_| "numkeys is not a number")?;
        let count = usize::try_from(count).map_err(|_| "numkeys is negative")?;
        let room = (self.0.len() - index - 1) / step;
        if count > room { Err("numkeys is more than there are arguments behind it") } else { Ok(count) }
    }

    /// A source at 1, and a destination behind STORE in the options from `options` on.
    fn key_and_store(self, options: usize) -> Located<'a> {
        let mut destination = None;
        let mut rest = options;
        // Of several the last counts.
        while let Some(store) = self.behind_option(&["STORE", "STOREDIST"], rest) {
            destination = Some(store);
            rest = store + 1;
        }
        match destination {
            Some(store) => self.key(store).behind(self.word(1)),
            None => self.key(1),
        }
    }

    /// The index behind the first of `options`, looked for from `start` on. What belongs to other options is passed
    /// over: a pattern or a password may look like one.
    fn behind_option(self, options: &[&str], start: usize) -> Option<usize> {
        let mut index = start;
        while let Some(word) = self.word(index) {
            index += 1;
            if options.iter().any(|option| word.eq_ignore_ascii_case(option.as_bytes())) {
                return (index < self.0.len()).then_some(index);
            }
            index += match upper(word, &mut [0; LONGEST]) {
                b"LIMIT" | b"AUTH2" => 2,
                b"AUTH" | b"BY" | b"GET" => 1,
                _ => 0,
            };
        }
        None
    }

    /// As many keys as ids behind STREAMS, which is looked for from `start` on.
    ///
    /// Servers take the first STREAMS there, be it another option's value.
    fn streams(self, start: usize) -> Located<'a> {
        let options = self.0.get(start..).unwrap_or_default();
        let Some(position) = options.iter().position(|word| word.eq_ignore_ascii_case(b"STREAMS")) else {
            return Located::Malformed("STREAMS is missing");
        };
        let first = start + position + 1;
        let count = self.0.len() - first;
        if count.is_multiple_of(2) {
            self.keys(first..first + count / 2, 1)
        } else {
            Located::Malformed("STREAMS wants an id for each key")
        }
    }

    /// A command of a container. One that is not known has no keys, unless others of its container do.
    fn subcommand(self, container: &[u8]) -> Located<'a> {
        let Some(name) = self.word(1) else {
            return Located::Malformed("the subcommand is missing");
        };
        match (container, upper(name, &mut [0; LONGEST])) {
            (_, b"HELP") => Located::Anywhere,
            (
                b"CLUSTER",
                b"INFO" | b"KEYSLOT" | b"NODES" | b"REPLICAS" | b"SHARDS" | b"SLAVES" | b"SLOTS",
            ) => Located::Anywhere,
            (b"MEMORY", b"USAGE") => self.key(2),
            (b"MEMORY", b"DOCTOR" | b"MALLOC-STATS" | b"PURGE" | b"STATS") => Located::OneServer,
            (b"OBJECT", b"ENCODING" | b"FREQ" | b"IDLETIME" | b"REFCOUNT") => self.key(2),
            (b"XGROUP", b"CREATE" | b"CREATECONSUMER" | b"DELCONSUMER" | b"DESTROY" | b"SETID") => {
                self.key(2)
            }
            (b"XINFO", b"CONSUMERS" | b"GROUPS" | b"STREAM") => self.key(2),
            (b"MEMORY" | b"OBJECT" | b"XGROUP" | b"XINFO", _) => Located::Unknown,
            _ => Located::OneServer,
        }
    }
}

impl<'a> Located<'a> {
    /// Puts a key in front of the others.
    fn behind(self, first: Option<&'a [u8]>) -> Located<'a> {
        match self {
            Located::Keys(keys) => Located::Keys(Keys { first, ..keys }),
            other => other,
        }
    }
}

/// As long as the longest name looked for, GEORADIUSBYMEMBER_RO.
const LONGEST: usize = 20;

/// A name in upper case; nothing if it is longer than any that is looked for.
fn upper<'r>(name: &[u8], room: &'r mut [u8; LONGEST]) -> &'r [u8] {
    let Some(room) = room.get_mut(..name.len()) else { return &[] };
    room.copy_from_slice(name);
    room.make_ascii_uppercase();
    room
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::command::lane;

    /// The samples: what is expected, and the command's words.
    fn samples() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
        let lines =
            include_str!("keys.samples").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(|line| {
            let (outcome, command) = line.split_once(' ').expect(line);
            (outcome, command.split(' ').collect())
        })
    }

    /// The word without its brackets, and whether it had any.
    fn unmarked(word: &str) -> (&str, bool) {
        match word.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(key) => (key, true),
            None => (if word == "\"\"" { "" } else { word }, false),
        }
    }

    fn outcome_of(located: &Located<'_>) -> &'static str {
        match located {
            Located::Keys(_) => "keys",
            Located::Anywhere => "anywhere",
            Located::OneServer => "one-server",
            Located::Unknown => "unknown",
            Located::Malformed(_) => "malformed",
        }
    }

    #[test]
    fn every_sample_is_located() {
        for (outcome, words) in samples() {
            let words: Vec<(&str, bool)> = words.into_iter().map(unmarked).collect();
            let lower = words[0].0.to_ascii_lowercase();
            for name in [words[0].0, &lower] {
                let mut arguments: Vec<&[u8]> = words.iter().map(|(word, _)| word.as_bytes()).collect();
                arguments[0] = name.as_bytes();
                if outcome == "refused" {
                    assert!(lane(&arguments).is_err(), "{words:?}");
                    continue;
                }
                let located = locate(&arguments);
                let expected = if outcome == "slot" { "keys" } else { outcome };
                assert_eq!(outcome_of(&located), expected, "{words:?}: {located:?}");
                let marked = words.iter().filter(|(_, is_key)| *is_key).map(|(word, _)| word.as_bytes());
                let found: Vec<&[u8]> = match located {
                    Located::Keys(keys) => keys.collect(),
                    _ => Vec::new(),
                };
                assert_eq!(found, marked.collect::<Vec<_>>(), "{words:?}");
            }
        }
    }

    #[test]
    fn what_a_command_touches_is_its_keys_or_anything() {
        for (command, expected, keys) in [
            ("GET a", Touched::Keys, "a"),
            ("mset a 1 b 2", Touched::Keys, "a b"),
            ("EVAL x 2 a b c", Touched::Keys, "a b"),
            ("EVAL x 0 a", Touched::Everything, ""),
            ("SORT a", Touched::Keys, "a"),
            ("SORT a by w_*", Touched::Everything, ""),
            ("ping", Touched::Nothing, ""),
            ("ECHO a", Touched::Nothing, ""),
            ("FLUSHALL", Touched::Everything, ""),
            ("PUBLISH a b", Touched::Everything, ""),
            ("SPUBLISH a b", Touched::Everything, ""),
            ("MY.COMMAND a", Touched::Everything, ""),
            ("GET", Touched::Everything, ""),
        ] {
            let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
            let mut found = Vec::new();
            let touched = touched(&words, |key| found.push(String::from_utf8_lossy(key).into_owned()));
            assert_eq!((touched, found.join(" ").as_str()), (expected, keys), "{command}");
        }
    }

    /// Not among the samples: Redis 7 finds the first here, and writes to the last all the same.
    #[test]
    fn of_several_destinations_of_a_geographic_search_the_last_counts() {
        for command in [
            "GEORADIUS k 1 2 3 km STORE x STORE d",
            "GEORADIUS k 1 2 3 km STOREDIST x COUNT 5 STORE d",
            "GEORADIUSBYMEMBER k m 3 km STORE STORE STOREDIST d",
        ] {
            let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
            let Located::Keys(keys) = locate(&words) else { panic!("{command}") };
            assert_eq!(keys.collect::<Vec<_>>(), [b"k", b"d"], "{command}");
        }
    }

    #[test]
    fn no_part_of_a_sample_is_too_short() {
        for (_, words) in samples() {
            let arguments: Vec<&[u8]> = words.iter().map(|word| unmarked(word).0.as_bytes()).collect();
            for end in 0..=arguments.len() {
                if let Located::Keys(mut keys) = locate(&arguments[..end]) {
                    assert!(keys.next().is_some(), "{:?}", &words[..end]);
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let reason = |command: &str| {
            let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
            match locate(&words) {
                Located::Malformed(reason) => reason,
                other => panic!("{command}: {other:?}"),
            }
        };
        assert_eq!(reason("GET"), "a key is missing");
        assert_eq!(reason("RENAME a"), "a key is missing");
        assert_eq!(reason("EVAL x"), "numkeys is missing");
        assert_eq!(reason("EVAL x k k"), "numkeys is not a number");
        assert_eq!(reason("EVAL x -1"), "numkeys is negative");
        assert_eq!(reason("EVAL x 2 k"), "numkeys is more than there are arguments behind it");
        assert_eq!(
            reason("ZUNION 9223372036854775807 k"),
            "numkeys is more than there are arguments behind it"
        );
        assert_eq!(reason("MSETEX 2 a 1 b"), "numkeys is more than there are arguments behind it");
        assert_eq!(reason("ZUNION 0 k"), "numkeys is 0");
        assert_eq!(reason("XREAD COUNT 1"), "STREAMS is missing");
        assert_eq!(reason("XREAD STREAMS a b 0"), "STREAMS wants an id for each key");
        assert_eq!(reason("OBJECT"), "the subcommand is missing");
        assert!(matches!(locate(&[]), Located::Malformed("the command's name is missing")));
    }
}
