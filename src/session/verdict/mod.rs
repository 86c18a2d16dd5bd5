//! What an error reply proves.
//!
//! A script may return any text as an error, also after it has written. Only the server's own texts, whole, count as
//! the server's word; a script that forges one of them to the letter cannot be told from it.

mod doubt;
mod loads;

use crate::error::{Error, Reason, Status};
use crate::resp::Payload;

pub(crate) use doubt::{Doubt, FUNCTION_NOT_FOUND, confirms, doubt};
pub(crate) use loads::{LibraryVerdict, LoadVerdict, judge_library, judge_load, load_error};

/// What follows from the text of a call's error reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The server does not have the script.
    NoScript,
    /// The server is still loading its data set, or a replica waits for its primary.
    Loading,
    /// Another script runs.
    Busy,
    /// Anything else: the call's own error.
    Other,
}

/// Judges a top-level error of a call.
pub(crate) fn judge(text: &[u8]) -> Verdict {
    match text {
        // Redis, KeyDB and Dragonfly; Valkey since 8. What other servers say has to be confirmed: each text in this
        // list is one more that a script can make up.
        b"NOSCRIPT No matching script. Please use EVAL." | b"NOSCRIPT No matching script." => {
            Verdict::NoScript
        }
        b"LOADING Redis is loading the dataset in memory"
        | b"LOADING Valkey is loading the dataset in memory"
        | b"LOADING KeyDB is loading the dataset in memory"
        | b"LOADING Dragonfly is loading the dataset in memory"
        | b"LOADING kvrocks is restoring the db from backup"
        | b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."
        | b"MASTERDOWN Link with MASTER is down and slave-serve-stale-data is set to 'no'." => {
            Verdict::Loading
        }
        _ if is_busy(text) => Verdict::Busy,
        _ => Verdict::Other,
    }
}

/// Whether a server that is not ready says that it is still loading, and not that its primary is missing.
pub(crate) fn says_loading(text: &[u8]) -> bool {
    text.starts_with(b"LOADING ")
}

/// Why a server did not run a call that another would run, or the same a little later: by its own word, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotServed<'a> {
    /// The slot is another server's.
    Moved { slot: u16, to: &'a str },
    /// The slot is on its way to another server, and the keys are there already.
    Ask { slot: u16, to: &'a str },
    /// The slot is on its way, and some of the keys are here and some there.
    TryAgain,
    /// The cluster has lost its majority, or nobody has the slot.
    ClusterDown,
    /// A replica was asked to write.
    ReadOnly,
}

/// Judges a top-level error of a call that any of several servers might have run.
pub(crate) fn not_served(text: &[u8]) -> Option<NotServed<'_>> {
    match text {
        b"TRYAGAIN Multiple keys request during rehashing of slot"
        | b"TRYAGAIN Can't write to slot being migrated which is in write forbidden phase" => {
            Some(NotServed::TryAgain)
        }
        b"CLUSTERDOWN The cluster is down"
        | b"CLUSTERDOWN The cluster is down and only accepts read commands"
        | b"CLUSTERDOWN The cluster is not initialized"
        | b"CLUSTERDOWN Hash slot not served" => Some(NotServed::ClusterDown),
        b"READONLY You can't write against a read only replica."
        | b"READONLY You can't write against a read only slave." => Some(NotServed::ReadOnly),
        _ => {
            let moved = text.strip_prefix(b"MOVED ").and_then(redirection);
            let ask = || text.strip_prefix(b"ASK ").and_then(redirection);
            moved
                .map(|(slot, to)| NotServed::Moved { slot, to })
                .or_else(|| ask().map(|(slot, to)| NotServed::Ask { slot, to }))
        }
    }
}

/// Whether a server says that it is a replica, or says what one says that its primary has left or that loads what
/// that has sent; also through a script of which it stopped the first command.
pub(crate) fn may_be_replica(text: &[u8]) -> bool {
    const FLAGGED: [&[u8]; 2] = [
        b"READONLY Can not run script with write flag on readonly replica",
        b"MASTERDOWN Link with MASTER is down, replica-serve-stale-data is set to 'no' and 'allow-stale' flag is not \
          set on the script.",
    ];
    const WORDS: [&[u8]; 2] = [
        b"READONLY You can't write against a read only replica.",
        b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    ];
    let says = |words: &[u8]| {
        // Redis 6.2 puts its own words in front of a script's error.
        let in_script = || {
            text.starts_with(b"ERR Error running script ")
                && text.strip_suffix(words).is_some_and(|rest| rest.ends_with(b" -"))
        };
        text == words
            || text.strip_prefix(words).is_some_and(|rest| rest.starts_with(b" script: "))
            || in_script()
    };
    is_not_ready(text) || FLAGGED.contains(&text) || WORDS.iter().any(|words| says(words))
}

/// Whether a server says, whole, that it is loading its data or misses its primary.
pub(crate) fn is_not_ready(text: &[u8]) -> bool {
    judge(text) == Verdict::Loading
}

/// Whether a server refuses to wait for replicas, or has ended that, because it is none any more that could, or none at
/// the moment: what waits is sent again.
pub(crate) fn will_not_wait_now(text: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 2] = [b"UNBLOCKED ", b"ERR WAIT cannot be used with replica instances"];
    BEGINNINGS.iter().any(|words| text.starts_with(words))
        || matches!(judge(text), Verdict::Busy | Verdict::Loading)
}

/// Whether a server has let go of a command that waited there, for it has become a replica. CLIENT UNBLOCK, which
/// somebody means, has other words. A module's command may have begun before.
pub(crate) fn was_unblocked(text: &[u8]) -> bool {
    text == b"UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
}

/// Whether an item of a pipeline or transaction was refused so.
pub(crate) fn has_replicas_word(payload: &Payload) -> bool {
    payload.notes.iter().any(|note| may_be_replica(payload.text(note.at)))
}

fn redirection(rest: &[u8]) -> Option<(u16, &str)> {
    let (slot, to) = std::str::from_utf8(rest).ok()?.split_once(' ')?;
    let (host, port) = to.rsplit_once(':')?;
    let is_address = !host.contains(' ') && port.parse::<u16>().is_ok_and(|port| port != 0);
    Some((slot.parse().ok()?, to)).filter(|_| is_address)
}

fn is_busy(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(b"BUSY ") else { return false };
    [&b"Redis"[..], b"Valkey", b"KeyDB"].iter().any(|name| {
        rest.strip_prefix(*name).is_some_and(|rest| {
            matches!(
                rest,
                b" is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
                    | b" is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
                    | b" is busy running a module command."
            )
        })
    })
}

/// Why a server refuses to begin with a call: nothing of it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is a replica. Whether that is so, it can be asked.
    ReadOnly,
    /// No memory, too few replicas, no disk to persist to, keys in several slots, a script with flags that do not
    /// allow it.
    Unfit,
}

/// Judges a top-level error of a call that the server checks before it begins: a command, a function, a script with a
/// first line of flags (`#!lua`).
///
/// A script without flags is stopped in the middle, at the command that the server will not run; where it catches
/// that error it may return the same text after having written.
pub(crate) fn refused_before_it_began(text: &[u8]) -> Option<Refused> {
    match text {
        b"READONLY You can't write against a read only replica."
        | b"READONLY Can not run script with write flag on readonly replica" => Some(Refused::ReadOnly),
        b"OOM command not allowed when used memory > 'maxmemory'."
        | b"OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'"
        | b"NOREPLICAS Not enough good replicas to write."
        | b"MASTERDOWN Link with MASTER is down, replica-serve-stale-data is set to 'no' and 'allow-stale' flag is \
            not set on the script."
        | b"CROSSSLOT Keys in request don't hash to the same slot"
        | b"ERR Can not execute a script with write flag using *_ro command."
        | b"ERR Can not run script on cluster, 'no-cluster' flag is set." => Some(Refused::Unfit),
        _ => cannot_persist(text).then_some(Refused::Unfit),
    }
}

fn cannot_persist(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(b"MISCONF ") else { return false };
    [("Redis", &b"Redis"[..]), ("Valkey", b"Valkey")].iter().any(|(name, word)| {
        let Some(rest) = rest.strip_prefix(*word) else { return false };
        let writes = format!(
            " is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may \
             modify the data set are \
             disabled, because this instance is configured to report errors during writes if RDB snapshotting fails \
             (stop-writes-on-bgsave-error option). Please check the {name} logs for details about the RDB error."
        );
        let script = b" is configured to save RDB snapshots, but it's currently unable to persist to disk. Writable \
                       scripts are blocked. Use 'no-writes' flag for read only scripts.";
        rest == writes.as_bytes() || rest == script
    })
}

/// Whether the server says that it does not know `name`.
pub(crate) fn is_unknown_command(text: &[u8], name: &[u8]) -> bool {
    text.strip_prefix(b"ERR unknown command ").is_some_and(|rest| {
        rest.len() > name.len() + 1 && matches!(rest[0], b'`' | b'\'') && rest[1..].starts_with(name)
    })
}

/// Whether an error reply to a command proves that it did not run: the server's refusal for want of a right, or one
/// that it gives to any command. From within a script the server's texts go on.
pub(crate) fn is_unexecuted(text: &[u8]) -> bool {
    const KEYS: [&[u8]; 2] = [
        b"NOPERM this user has no permissions to access one of the keys used as arguments",
        b"NOPERM No permissions to access a key",
    ];
    judge(text) != Verdict::Other || not_served(text).is_some() || KEYS.contains(&text) || is_forbidden(text)
}

/// Whether the server says, whole, that this user may not run a command.
fn is_forbidden(text: &[u8]) -> bool {
    let rest = std::str::from_utf8(text).ok().and_then(|text| text.strip_prefix("NOPERM "));
    let command = rest.and_then(|rest| rest.split_once(" has no permissions to run the '"));
    let Some((name, rest)) = command.and_then(|(_, command)| command.split_once('\'')) else { return false };
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_|.".contains(&byte));
    is_name && matches!(rest, " command" | " command or its subcommand")
}

/// Whether a refusal of EXEC says that the transaction is over. Otherwise the connection may still be in MULTI.
pub(crate) fn ends_transaction(text: &[u8]) -> bool {
    text.starts_with(b"EXECABORT ")
}

/// The error of a transaction that was not sent, because the server refused an empty one with `text`.
pub(crate) fn no_transactions(text: &[u8]) -> Error {
    match judge(text) {
        verdict @ (Verdict::Loading | Verdict::Busy) => error(verdict, text),
        _ => Error::server(Status::Server, text, true)
            .context("the server refuses transactions, nothing of this one was sent"),
    }
}

/// The error of a call for which the server would need functions.
pub(crate) fn no_functions(text: Option<&[u8]>) -> Error {
    const WHY: &str = "the server has no functions: Redis and Valkey have them from 7.0 on";
    match text {
        Some(text) => Error::server(Status::NotSupported, without_arguments(text), true).context(WHY),
        None => Error::because(Status::NotSupported, Reason::Server, WHY).sent(false),
    }
}

/// A server's text about a command that it does not know, without the arguments that it quotes: `ERR unknown command
/// 'AUTH', with args beginning with: 'hunter2'`.
pub(crate) fn without_arguments(text: &[u8]) -> &[u8] {
    let quotes: &[u8] = b", with args beginning with";
    &text[..memchr::memmem::find(text, quotes).unwrap_or(text.len())]
}

/// The error of a call whose top-level reply is the error `text`. Only in a script call can it be the script's own.
pub(crate) fn error(verdict: Verdict, text: &[u8]) -> Error {
    match verdict {
        Verdict::NoScript => Error::server(Status::NoScript, text, true),
        Verdict::Loading => Error::server(Status::Loading, text, true),
        Verdict::Busy => Error::server(Status::Busy, text, true),
        Verdict::Other => Error::server(Status::Server, text, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_command_is_named_whole_and_its_arguments_are_not() {
        for (text, is_unknown) in [
            (&b"ERR unknown command 'FCALL', with args beginning with: 's3cret' "[..], true),
            (b"ERR unknown command `FCALL`, with args beginning with: `s3cret`, ", true),
            (b"ERR unknown command 'FCALL'", true),
            (b"ERR unknown command 'FCALL", false),
            (b"ERR unknown command 'FCAL'", false),
            (b"ERR unknown command '", false),
            (b"ERR unknown command ", false),
            (b"ERR unknown command FCALL", false),
        ] {
            assert_eq!(is_unknown_command(text, b"FCALL"), is_unknown, "{}", text.escape_ascii());
            let shown = without_arguments(text);
            assert!(
                text.starts_with(shown) && (!is_unknown || shown.len() == 27),
                "{}",
                shown.escape_ascii()
            );
        }
    }

    #[test]
    fn only_the_whole_text_counts() {
        for (text, verdict) in [
            (&b"NOSCRIPT No matching script. Please use EVAL."[..], Verdict::NoScript),
            (b"NOSCRIPT No matching script.", Verdict::NoScript),
            (
                b"NOSCRIPT No matching script. Please use EVAL. script: abc, on @user_script:1.",
                Verdict::Other,
            ),
            (b"NOSCRIPT", Verdict::Other),
            (b"LOADING Redis is loading the dataset in memory", Verdict::Loading),
            (b"LOADING the rest", Verdict::Other),
            (b"LOADING KeyDB is loading the dataset in memory", Verdict::Loading),
            (b"LOADING Dragonfly is loading the dataset in memory", Verdict::Loading),
            (b"LOADING kvrocks is restoring the db from backup", Verdict::Loading),
            (
                b"MASTERDOWN Link with MASTER is down and slave-serve-stale-data is set to 'no'.",
                Verdict::Loading,
            ),
            (
                b"BUSY KeyDB is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
                Verdict::Busy,
            ),
            (b"BUSY Valkey is busy running a module command.", Verdict::Busy),
            (
                b"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
                Verdict::Busy,
            ),
            (b"BUSY bee", Verdict::Other),
        ] {
            assert_eq!(judge(text), verdict, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn refusals_to_begin_are_taken_whole() {
        for (text, expected) in [
            (&b"OOM command not allowed when used memory > 'maxmemory'."[..], Some(Refused::Unfit)),
            // A script without flags, stopped in the middle.
            (
                b"OOM command not allowed when used memory > 'maxmemory'. script: 62e6, on @user_script:1.",
                None,
            ),
            (b"OOM", None),
            (b"NOREPLICAS Not enough good replicas to write.", Some(Refused::Unfit)),
            (b"NOREPLICAS Not enough good replicas to write. script: on @user_script:1.", None),
            (b"READONLY You can't write against a read only replica.", Some(Refused::ReadOnly)),
            (b"READONLY Can not run script with write flag on readonly replica", Some(Refused::ReadOnly)),
            (b"READONLY no", None),
            (b"MISCONF no", None),
            (b"ERR Write commands are not allowed from read-only scripts. script: on @user_script:2.", None),
        ] {
            assert_eq!(refused_before_it_began(text), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_replica_is_recognized_by_its_words_also_through_a_script() {
        for (text, expected) in [
            (&b"READONLY You can't write against a read only replica."[..], true),
            (b"READONLY Can not run script with write flag on readonly replica", true),
            (b"READONLY You can't write against a read only replica. script: 1c, on @user_script:1.", true),
            (
                b"ERR Error running script (call to f_1c): @user_script:1: @user_script: 1: -READONLY You can't write \
                  against a read only replica.",
                true,
            ),
            (b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", true),
            (b"LOADING Redis is loading the dataset in memory", true),
            (b"LOADING Redis is loading the dataset in memory script: 1c, on @user_script:1.", false),
            (b"READONLY You can't write against a read only replica. Or can you?", false),
            (b"READONLY", false),
            (b"ERR READONLY You can't write against a read only replica.", false),
        ] {
            assert_eq!(may_be_replica(text), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn what_was_not_allowed_did_not_run_unless_a_script_says_so() {
        for (text, expected) in [
            (&b"NOPERM this user has no permissions to run the 'incr' command"[..], true),
            (b"NOPERM this user has no permissions to run the 'incr' command or its subcommand", true),
            (b"NOPERM User ann has no permissions to run the 'script|load' command", true),
            (b"NOPERM No permissions to access a key", true),
            (b"NOPERM this user has no permissions to access one of the keys used as arguments", true),
            (b"NOSCRIPT No matching script.", true),
            (
                b"NOPERM User ann has no permissions to run the 'set' command script: 1c, on @user_script:1.",
                false,
            ),
            (b"NOPERM No permissions to access a key script: 1c, on @user_script:1.", false),
            (b"NOPERM", false),
            (b"WRONGTYPE Operation against a key holding the wrong kind of value", false),
        ] {
            assert_eq!(is_unexecuted(text), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn refusals_of_a_cluster_are_taken_whole() {
        let moved = |slot, to| Some(NotServed::Moved { slot, to });
        for (text, expected) in [
            (&b"MOVED 866 127.0.0.1:7001"[..], moved(866, "127.0.0.1:7001")),
            (b"MOVED 866 ::1:7001", moved(866, "::1:7001")),
            (b"MOVED 866 :7001", moved(866, ":7001")),
            (b"MOVED 866 host.example:7001", moved(866, "host.example:7001")),
            (b"ASK 5 h:1", Some(NotServed::Ask { slot: 5, to: "h:1" })),
            (b"TRYAGAIN Multiple keys request during rehashing of slot", Some(NotServed::TryAgain)),
            (b"CLUSTERDOWN Hash slot not served", Some(NotServed::ClusterDown)),
            (b"READONLY You can't write against a read only replica.", Some(NotServed::ReadOnly)),
            (b"READONLY You can't write against a read only replica. script: 1c, on @user_script:1.", None),
            (b"MOVED 866 127.0.0.1:7001 script: 1c, on @user_script:1.", None),
            (b"MOVED 866 127.0.0.1", None),
            (b"MOVED 866 h:0", None),
            (b"MOVED x h:1", None),
            (b"MOVED", None),
            (b"TRYAGAIN later", None),
            (b"CLUSTERDOWN", None),
            (b"MOVED 1 \xff:1", None),
        ] {
            assert_eq!(not_served(text), expected, "{}", text.escape_ascii());
        }
    }
}
