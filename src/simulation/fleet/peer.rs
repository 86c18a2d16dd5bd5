//! One connection as its server sees it, and which of its commands are items of calls.

use super::CODES;

/// What a server knows of one connection to it.
pub(in crate::simulation) struct Peer {
    pub(super) received: Vec<u8>,
    /// Where in the stream the next command starts.
    pub(super) position: u64,
    pub(super) multi: Option<Vec<Vec<Vec<u8>>>>,
    pub(super) is_aborted: bool,
    pub(super) is_in_exec: bool,
    pub(super) is_asking: bool,
    pub(super) reads: bool,
    pub(super) resp3: bool,
    /// The number that it has logged in with last.
    pub(in crate::simulation) logged_in: Option<u64>,
    /// It has carried a call, or one that waits on the server.
    pub(super) has_carried: Option<Call>,
    /// Whether it carries calls that wait for replicas; and which of them, until WAIT has come behind it.
    pub(super) is_reserved: Option<bool>,
    pub(super) group: Option<u64>,
    /// The last that it has written, and how often the server had been demoted then.
    pub(super) wrote: Option<(u64, u32)>,
    /// A command waits for what is not there yet; and how often the server had been demoted when it began.
    pub(in crate::simulation) waiting: Option<Vec<Vec<u8>>>,
    pub(super) waits_since: u32,
    /// SCRIPT LOADs of each script.
    pub(super) loads: [u32; CODES],
    /// The server's losses when it began.
    pub(super) losses: Option<u32>,
    /// Scripts that calls missed, and how often each had been lost then; since the client has read that: and from
    /// where in the stream on it knows.
    pub(super) missed: [Option<u32>; CODES],
    pub(super) told: [Option<(u32, u64)>; CODES],
}

impl Default for Peer {
    fn default() -> Self {
        Peer {
            received: Vec::new(),
            position: 0,
            multi: None,
            is_aborted: false,
            is_in_exec: false,
            is_asking: false,
            reads: false,
            resp3: false,
            logged_in: None,
            has_carried: None,
            is_reserved: None,
            group: None,
            wrote: None,
            waiting: None,
            waits_since: 0,
            loads: [0; CODES],
            losses: None,
            missed: [None; CODES],
            told: [None; CODES],
        }
    }
}

impl Peer {
    /// The client has read all that was said to it, and what it writes stands from here on in the stream.
    pub(in crate::simulation) fn tell(&mut self, from: u64) {
        for (missed, told) in self.missed.iter_mut().zip(&mut self.told) {
            if let Some(lost) = missed.take() {
                *told = Some((lost, from));
            }
        }
    }

    /// Logs in with a password that is right: a number. Whether it is.
    pub(super) fn log_in(&mut self, password: &[u8]) -> bool {
        let number = std::str::from_utf8(password).ok().and_then(|password| password.parse().ok());
        self.logged_in = number.or(self.logged_in);
        number.is_some()
    }

    pub(super) fn is_in_multi(&self) -> bool {
        self.multi.is_some()
    }

    pub(in crate::simulation) fn has_missed(&self) -> bool {
        self.missed.iter().any(Option::is_some)
    }
}

/// A command that clients do not send on their own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Waits,
    Other,
}

impl Call {
    /// `None`: the client's own.
    pub(super) fn of(command: &[Vec<u8>]) -> Option<Call> {
        match command[0].as_slice() {
            b"BLPOP" => Some(Call::Waits),
            b"APPEND" => Some(Call::Other),
            name => (name.starts_with(b"EVAL") || name.starts_with(b"FCALL")).then_some(Call::Other),
        }
    }
}

/// The number of an item, which is its command's last argument. `None`: the client's own command, or a question.
pub(in crate::simulation) fn item_of(command: &[Vec<u8>]) -> Option<u64> {
    Call::of(command)?;
    let number = std::str::from_utf8(&command[command.len() - 1]).ok()?.parse().ok()?;
    // A question about a form of calls ends with the number of its keys.
    (number != 0).then_some(number)
}
