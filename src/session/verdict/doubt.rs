//! What an error reply may say about the server, where only the server can tell.

use super::is_unknown_command;

/// What the error reply to a script call may say about the server rather than about the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// It does not have the script, in words that are not among the known ones.
    Missing,
    /// It does not know the command.
    Unknown,
    /// It does not let this user use the command.
    Forbidden,
}

impl Doubt {
    /// Whether only the server can say. `knows_words`: its words for a missing script are known, and these are others.
    pub(crate) fn is_open(self, knows_words: bool) -> bool {
        !(knows_words && self == Doubt::Missing)
    }
}

/// What servers say to FCALL and FCALL_RO of a function that they lack.
pub(crate) const FUNCTION_NOT_FOUND: &[u8] = b"ERR Function not found";

/// Whether the error reply to a script call that was sent as `command` may be the server's word on that command. A
/// script can make all of these texts up, so the server has to be asked; see [`confirms`].
pub(crate) fn doubt(text: &[u8], command: &[u8]) -> Option<Doubt> {
    if text == FUNCTION_NOT_FOUND {
        command.starts_with(b"FCALL").then_some(Doubt::Missing)
    } else if text.starts_with(b"NOSCRIPT ") {
        (!command.starts_with(b"FCALL")).then_some(Doubt::Missing)
    } else if text.starts_with(b"ERR unknown command ") && is_unknown(text, command) {
        Some(Doubt::Unknown)
    } else if text.starts_with(b"NOPERM ") && is_about(text, command) {
        Some(Doubt::Forbidden)
    } else {
        None
    }
}

fn is_unknown(text: &[u8], command: &[u8]) -> bool {
    let lower = command.to_ascii_lowercase();
    [command, &lower].iter().any(|name| {
        is_unknown_command(text, name)
            && matches!(text.get(b"ERR unknown command '".len() + name.len()), Some(b'`' | b'\''))
    })
}

/// Whether these words stand in a text. Error texts are short; a search made for long ones would add tens of KiB to the
/// library.
fn holds(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}

/// Whether a NOPERM is about the command itself and not about its keys. Servers that put a name in quotes name it.
fn is_about(text: &[u8], command: &[u8]) -> bool {
    let lower = command.to_ascii_lowercase();
    let names = |name: &[u8]| holds(text, &[b"'", name, b"'"].concat());
    names(command) || names(&lower) || !text.contains(&b'\'') && !holds(text, b" access ")
}

/// Whether `answer`, the error reply to the same command without any script that could have written it, bears `text`
/// out.
pub(crate) fn confirms(answer: &[u8], text: &[u8], command: &[u8]) -> bool {
    match doubt(answer, command) {
        // The arguments differ, and who does not know a command cannot have run it.
        Some(Doubt::Unknown) => true,
        Some(_) => answer == text,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_may_have_made_up_needs_the_servers_own_word() {
        let unknown = &b"ERR unknown command 'EVALSHA_RO', with args beginning with: 'e0e1' '0' "[..];
        let unknown_too = b"ERR unknown command `evalsha_ro`, with args beginning with: `0000`, `0`, ";
        let forbidden = b"NOPERM User u has no permissions to run the 'evalsha_ro' command";
        let kvrocks = b"NOSCRIPT No matching script. Please use EVAL";
        for (text, doubtful) in [
            (unknown, Some(Doubt::Unknown)),
            (unknown_too, Some(Doubt::Unknown)),
            (b"ERR unknown command 'EVALSHA_ROOT'", None),
            (b"ERR unknown command 'EVALSHA_RO", None),
            (b"ERR unknown command 'GET'", None),
            (forbidden, Some(Doubt::Forbidden)),
            (
                b"NOPERM this user has no permissions to run the 'evalsha_ro' command or its subcommand",
                Some(Doubt::Forbidden),
            ),
            (b"NOPERM joe has no ACL permissions", Some(Doubt::Forbidden)),
            (b"NOPERM this user has no permissions to run the 'script|load' command", None),
            (b"NOPERM No permissions to access a key", None),
            (b"NOPERM this user has no permissions to access one of the keys used as arguments", None),
            (kvrocks, Some(Doubt::Missing)),
            (b"NOSCRIPT", None),
        ] {
            assert_eq!(doubt(text, b"EVALSHA_RO"), doubtful, "{}", text.escape_ascii());
        }
        assert!(confirms(unknown_too, unknown, b"EVALSHA_RO"), "the arguments may differ");
        assert!(confirms(kvrocks, kvrocks, b"EVALSHA_RO") && confirms(forbidden, forbidden, b"EVALSHA_RO"));
        for answer in [&b""[..], b"NOSCRIPT No matching script.", b"LOADING", forbidden] {
            assert!(!confirms(answer, kvrocks, b"EVALSHA_RO"), "{}", answer.escape_ascii());
        }
    }

    #[test]
    fn of_a_function_that_is_not_there_only_who_calls_functions_hears() {
        assert_eq!(doubt(FUNCTION_NOT_FOUND, b"FCALL_RO"), Some(Doubt::Missing));
        assert_eq!(doubt(FUNCTION_NOT_FOUND, b"EVALSHA"), None);
        assert_eq!(doubt(b"ERR Function not found script: f, on @user_function:1.", b"FCALL"), None);
        assert_eq!(doubt(b"NOSCRIPT No matching script.", b"FCALL"), None);
    }
}
