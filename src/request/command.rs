//! Which commands may travel on a connection that many callers share.

use crate::base::purpose::Purpose;
use crate::error::{Error, Result, Status};

/// Where a command may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// On the connection that all calls share.
    Shared,
    /// On a connection of its own: it keeps the connection waiting.
    Own,
    /// On a connection of its own that is only logged in: it is for a server that answers nothing else, and must not
    /// stand behind the call that keeps it busy.
    Bare,
}

impl Lane {
    /// What the connection is for.
    pub(crate) fn purpose(self) -> Purpose {
        match self {
            Lane::Shared => Purpose::Calls,
            Lane::Own => Purpose::Waiting,
            Lane::Bare => Purpose::Bare,
        }
    }
}

/// Decides where a command may go, or says why it may go nowhere.
pub(crate) fn lane(arguments: &[&[u8]]) -> Result<Lane> {
    let [name, rest @ ..] = arguments else {
        return Err(Error::new(Status::InvalidArgument, "a command needs at least its name"));
    };
    let name = Word(name);
    if name.is_any(&["BLPOP", "BRPOP", "BRPOPLPUSH", "BLMOVE", "BLMPOP", "BZPOPMIN", "BZPOPMAX", "BZMPOP"]) {
        return Ok(Lane::Own);
    }
    if name.is_any(&["XREAD", "XREADGROUP"]) {
        return Ok(if has_block(rest) { Lane::Own } else { Lane::Shared });
    }
    let sub = Word(rest.first().copied().unwrap_or_default());
    if name.is("SCRIPT") && sub.is("KILL") || name.is("FUNCTION") && sub.is_any(&["KILL", "STATS"]) {
        return Ok(Lane::Bare);
    }
    match refusal(name, sub) {
        None => Ok(Lane::Shared),
        Some(reason) => {
            let has_sub = name.is_any(&["CLIENT", "SCRIPT", "CLUSTER"]);
            let shown = if has_sub { format!("{} {}", name.shown(), sub.shown()) } else { name.shown() };
            Err(Error::new(Status::CommandRefused, format!("{shown} is refused: {reason}")))
        }
    }
}

/// Whether XREAD or XREADGROUP waits. Its options stand in any order in front of STREAMS, behind which come only keys
/// and ids; the names of group and consumer may be any word.
fn has_block(options: &[&[u8]]) -> bool {
    let mut words = options.iter().map(|bytes| Word(bytes));
    while let Some(word) = words.next().filter(|word| !word.is("STREAMS")) {
        if word.is("BLOCK") {
            return true;
        }
        if word.is("GROUP") {
            words.nth(1);
        }
    }
    false
}

/// Why a command may not travel on a shared connection.
fn refusal(name: Word<'_>, sub: Word<'_>) -> Option<&'static str> {
    const TRANSACTION: &str = "a transaction on a shared connection would take in other callers' commands; use \
                               a transaction of this library's";
    const WATCH: &str = "WATCH would watch for every caller of the shared connection; use a script instead";
    const SUBSCRIBE: &str =
        "it would turn the shared connection into a subscriber's; this library does not subscribe";
    const STATE: &str = "it would change the shared connection under other callers, and be lost on reconnect; set it \
                         in the URL or the options";
    const SILENT: &str = "it would unsettle which reply belongs to which call";
    const WAIT: &str = "it waits for the writes of its own connection, which here are every caller's";
    const REPLICA: &str = "it would turn the connection into a replica's";
    const CLUSTER: &str = "redirection and replica reads are this library's work";
    const DEBUG: &str = "the debugger takes over the connection";
    const ATTACK: &str = "servers take it for an attack from a browser and close the connection";

    let of = |names: &[&str], reason| name.is_any(names).then_some(reason);
    of(&["MULTI", "EXEC", "DISCARD"], TRANSACTION)
        .or_else(|| of(&["WATCH", "UNWATCH"], WATCH))
        .or_else(|| {
            of(
                &[
                    "SUBSCRIBE",
                    "PSUBSCRIBE",
                    "SSUBSCRIBE",
                    "UNSUBSCRIBE",
                    "PUNSUBSCRIBE",
                    "SUNSUBSCRIBE",
                    "MONITOR",
                ],
                SUBSCRIBE,
            )
        })
        .or_else(|| of(&["SELECT", "AUTH", "HELLO", "RESET", "QUIT"], STATE))
        .or_else(|| of(&["WAIT", "WAITAOF"], WAIT))
        .or_else(|| of(&["SYNC", "PSYNC", "REPLCONF"], REPLICA))
        .or_else(|| (name.is("CLUSTER") && sub.is("SYNCSLOTS")).then_some(REPLICA))
        .or_else(|| of(&["POST", "HOST:"], ATTACK))
        .or_else(|| of(&["ASKING", "READONLY", "READWRITE"], CLUSTER))
        .or_else(|| (name.is("CLIENT") && sub.is_any(&["REPLY"])).then_some(SILENT))
        .or_else(|| {
            let sub_state = [
                "SETNAME",
                "SETINFO",
                "TRACKING",
                "CACHING",
                "NO-EVICT",
                "NO-TOUCH",
                "CAPA",
                "IMPORT-SOURCE",
            ];
            (name.is("CLIENT") && sub.is_any(&sub_state)).then_some(STATE)
        })
        .or_else(|| (name.is("SCRIPT") && sub.is("DEBUG")).then_some(DEBUG))
}

/// A word of a command, compared as the server does: without regard to case.
#[derive(Clone, Copy)]
struct Word<'a>(&'a [u8]);

impl Word<'_> {
    fn is(self, name: &str) -> bool {
        self.0.eq_ignore_ascii_case(name.as_bytes())
    }

    fn is_any(self, names: &[&str]) -> bool {
        names.iter().any(|name| self.is(name))
    }

    fn shown(self) -> String {
        String::from_utf8_lossy(self.0).to_ascii_uppercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane_of(command: &str) -> Result<Lane> {
        lane(&command.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    #[test]
    fn blocking_commands_get_a_connection_of_their_own() {
        for command in [
            "BLPOP q 0",
            "blmove a b LEFT LEFT 0",
            "XREAD COUNT 1 BLOCK 5 STREAMS s 0",
            "XREADGROUP GROUP STREAMS c BLOCK 0 STREAMS k >",
            "XREADGROUP BLOCK 0 GROUP g c STREAMS k >",
            "xreadgroup count 1 noack block 0 group STREAMS streams streams k >",
        ] {
            assert_eq!(lane_of(command), Ok(Lane::Own), "{command}");
        }
        for command in [
            "SET k v",
            "XREAD STREAMS block 0",
            "XREADGROUP GROUP block c STREAMS block >",
            "XREADGROUP COUNT 1 GROUP g BLOCK STREAMS k >",
            "XREADGROUP GROUP g",
            "CLIENT LIST",
            "CLUSTER SLOTS",
            "SCRIPT LOAD x",
            "EVAL x 0",
            "",
        ] {
            assert_eq!(lane_of(command), Ok(Lane::Shared), "{command}");
        }
    }

    #[test]
    fn what_stops_a_busy_server_stands_behind_no_other_call() {
        for command in ["SCRIPT KILL", "function kill", "FUNCTION STATS"] {
            assert_eq!(lane_of(command), Ok(Lane::Bare), "{command}");
        }
        for command in ["SCRIPT FLUSH", "FUNCTION LIST", "FUNCTION", "KILL"] {
            assert_eq!(lane_of(command), Ok(Lane::Shared), "{command}");
        }
    }

    #[test]
    fn what_would_poison_the_connection_is_refused_with_a_reason() {
        for command in [
            "MULTI",
            "exec",
            "DISCARD",
            "WATCH k",
            "UNWATCH",
            "SUBSCRIBE c",
            "PSUBSCRIBE c",
            "SSUBSCRIBE c",
            "MONITOR",
            "SELECT 1",
            "AUTH secret",
            "HELLO 2",
            "RESET",
            "QUIT",
            "CLIENT REPLY OFF",
            "client setname x",
            "CLIENT TRACKING ON",
            "SCRIPT DEBUG YES",
            "WAIT 1 0",
            "PSYNC ? -1",
            "CLUSTER SYNCSLOTS ESTABLISH",
            "post /",
            "Host: localhost",
            "READONLY",
            "ASKING",
        ] {
            let error = lane_of(command).expect_err(command);
            assert_eq!(error.status(), Status::CommandRefused, "{command}");
            assert!(
                error.is_not_executed() && error.message().contains(" is refused: "),
                "{command}: {error}"
            );
            assert!(!error.message().contains("secret"), "{error}");
        }
        assert_eq!(lane(&[]).expect_err("no name").status(), Status::InvalidArgument);
    }
}
