//! What an error reply proves.
//!
//! A script may return any text as an error, also after it has written. Only the server's own texts, whole, count as
//! the server's word; a script that forges one of them to the letter cannot be told from it.

use crate::error::{Error, Status};

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
        b"NOSCRIPT No matching script. Please use EVAL." | b"NOSCRIPT No matching script." => {
            Verdict::NoScript
        }
        b"LOADING Redis is loading the dataset in memory"
        | b"LOADING Valkey is loading the dataset in memory"
        | b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'." => {
            Verdict::Loading
        }
        _ if is_busy(text) => Verdict::Busy,
        _ => Verdict::Other,
    }
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
        b"TRYAGAIN Multiple keys request during rehashing of slot" => Some(NotServed::TryAgain),
        b"CLUSTERDOWN The cluster is down"
        | b"CLUSTERDOWN The cluster is down and only accepts read commands"
        | b"CLUSTERDOWN Hash slot not served" => Some(NotServed::ClusterDown),
        b"READONLY You can't write against a read only replica." => Some(NotServed::ReadOnly),
        _ => {
            let moved = text.strip_prefix(b"MOVED ").and_then(redirection);
            let ask = || text.strip_prefix(b"ASK ").and_then(redirection);
            moved
                .map(|(slot, to)| NotServed::Moved { slot, to })
                .or_else(|| ask().map(|(slot, to)| NotServed::Ask { slot, to }))
        }
    }
}

/// Whether a server says, or says through a script of which it stopped the first write, that it is a replica.
pub(crate) fn is_read_only(text: &[u8]) -> bool {
    const WORDS: &[u8] = b"READONLY You can't write against a read only replica.";
    const FLAGGED: &[u8] = b"READONLY Can not run script with write flag on readonly replica";
    // Redis 6.2 puts its own words in front of a script's error.
    let in_script = |text: &[u8]| {
        text.starts_with(b"ERR Error running script ")
            && text.strip_suffix(WORDS).is_some_and(|rest| rest.ends_with(b" -"))
    };
    text.strip_prefix(WORDS).is_some_and(|rest| rest.is_empty() || rest.starts_with(b" script: "))
        || text == FLAGGED
        || in_script(text)
}

fn redirection(rest: &[u8]) -> Option<(u16, &str)> {
    let (slot, to) = std::str::from_utf8(rest).ok()?.split_once(' ')?;
    let (host, port) = to.rsplit_once(':')?;
    let is_address = !host.contains(' ') && port.parse::<u16>().is_ok_and(|port| port != 0);
    Some((slot.parse().ok()?, to)).filter(|_| is_address)
}

fn is_busy(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(b"BUSY ") else { return false };
    [&b"Redis"[..], b"Valkey"].iter().any(|name| {
        rest.strip_prefix(*name).is_some_and(|rest| {
            matches!(
                rest,
                b" is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
                    | b" is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
            )
        })
    })
}

/// Whether the server says that it does not know `name`.
pub(crate) fn is_unknown_command(text: &[u8], name: &[u8]) -> bool {
    text.strip_prefix(b"ERR unknown command ").is_some_and(|rest| {
        rest.len() > name.len() + 1 && matches!(rest[0], b'`' | b'\'') && rest[1..].starts_with(name)
    })
}

/// Whether an error reply to a command proves that it did not run: the server's refusal for want of a right, or one that it gives to any command.
/// From within a script the server's texts go on.
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

/// Why SCRIPT LOAD was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadVerdict {
    /// Not allowed or not there: nor will it be for the next script.
    Never,
    /// No memory for it now.
    NotNow,
    /// The script is at fault, or the server is in a state that the call itself meets as well.
    Failed,
}

/// Judges the error reply to SCRIPT LOAD.
pub(crate) fn judge_load(text: &[u8]) -> LoadVerdict {
    if text.starts_with(b"NOPERM ")
        || is_unknown_command(text, b"SCRIPT")
        || is_unknown_command(text, b"script")
        || text.starts_with(b"ERR unknown subcommand")
        || text.starts_with(b"ERR Unknown subcommand")
    {
        LoadVerdict::Never
    } else if text.starts_with(b"OOM ") {
        LoadVerdict::NotNow
    } else {
        LoadVerdict::Failed
    }
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

/// The error of a script call that the server could not run because its SCRIPT LOAD failed with `text`.
pub(crate) fn load_error(text: &[u8]) -> Error {
    match judge(text) {
        verdict @ (Verdict::Loading | Verdict::Busy) => error(verdict, text),
        _ => Error::server(Status::Compile, text, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_replica_is_recognized_by_its_words_also_through_a_script() {
        for (text, expected) in [
            (&b"READONLY You can't write against a read only replica."[..], true),
            (b"READONLY Can not run script with write flag on readonly replica", true),
            (b"READONLY You can't write against a read only replica. script: 1c, on @user_script:1.", true),
            (
                b"ERR Error running script (call to f_1c): @user_script:1: @user_script: 1: -READONLY You can't write against a \
                  read only replica.",
                true,
            ),
            (b"READONLY You can't write against a read only replica. Or can you?", false),
            (b"READONLY", false),
            (b"ERR READONLY You can't write against a read only replica.", false),
        ] {
            assert_eq!(is_read_only(text), expected, "{}", text.escape_ascii());
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
