//! Script administration: LOAD, EXISTS, FLUSH, KILL and SHOW.

use std::sync::Arc;

use crate::client::Client;
use crate::error::{Error, Result, Status};
use crate::kill;
use crate::node::Node;
use crate::resp::{Kind, Payload, Reply};
use crate::route::{ReadFrom, Route};
use crate::script::Script;
use crate::session::handshake::Purpose;

/// How SCRIPT FLUSH does its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i32)]
pub enum FlushMode {
    /// As the server is configured (`lazyfree-lazy-user-flush`).
    #[default]
    Default = 0,
    /// At once, before the reply.
    Sync = 1,
    /// In the background.
    Async = 2,
}

/// A task of administration that is submitted: nobody waits for it.
pub(crate) enum Task {
    Load(Script),
    Exists(Vec<Vec<u8>>),
    Flush(FlushMode),
    Kill,
    /// A script or a function.
    KillAny,
    Show(Vec<u8>),
}

/// Each primary's address and its answer.
type Answers = Vec<(Arc<Node>, Result<Reply>)>;

impl Client {
    /// Loads a script into the server's cache; in a cluster, into every primary's. There is no need to: a call does it by itself.
    ///
    /// Where a primary of a cluster cannot be reached, that is an error that says which have the script. Later calls do not mind.
    ///
    /// [SCRIPT LOAD](https://redis.io/docs/latest/commands/script-load/)
    pub fn script_load(&self, script: &Script) -> Result<()> {
        let loaded = self.administer(&[&b"SCRIPT"[..], b"LOAD", script.source()]).and_then(all);
        loaded.map(drop).map_err(|error| match error.server_text() {
            Some(text) if error.server_code() == Some("ERR") => Error::server(Status::Compile, text, true),
            _ => error,
        })
    }

    /// Which of these scripts, named by their SHA1 in hexadecimal, the server has in its cache; in a cluster, which of them every primary
    /// has. A primary that cannot be reached is an error: without it nobody knows.
    ///
    /// [SCRIPT EXISTS](https://redis.io/docs/latest/commands/script-exists/)
    pub fn script_exists<S: AsRef<[u8]>>(&self, shas: &[S]) -> Result<Vec<bool>> {
        if shas.is_empty() {
            return Ok(Vec::new());
        }
        let mut arguments: Vec<&[u8]> = vec![b"SCRIPT", b"EXISTS"];
        arguments.extend(shas.iter().map(AsRef::as_ref));
        let mut everywhere = vec![true; shas.len()];
        for reply in all(self.administer(&arguments)?)? {
            for (everywhere, exists) in everywhere.iter_mut().zip(reply.root().elements()) {
                *everywhere &= exists.as_i64() == Some(1);
            }
        }
        Ok(everywhere)
    }

    /// Empties the server's script cache; in a cluster, every primary's. Calls go on working: they load what they need.
    ///
    /// Where a primary of a cluster cannot be reached, that is an error that says which are empty now.
    ///
    /// [SCRIPT FLUSH](https://redis.io/docs/latest/commands/script-flush/)
    pub fn script_flush(&self, mode: FlushMode) -> Result<()> {
        let mut arguments: Vec<&[u8]> = vec![b"SCRIPT", b"FLUSH"];
        match mode {
            FlushMode::Default => {}
            FlushMode::Sync => arguments.push(b"SYNC"),
            FlushMode::Async => arguments.push(b"ASYNC"),
        }
        self.forget_scripts();
        let answers = self.administer(&arguments);
        self.forget_scripts();
        answers.and_then(all).map(drop)
    }

    /// Stops the script that the server is running, if it has not written yet; in a cluster, the scripts that the primaries are
    /// running. They need not be this client's.
    ///
    /// Opens a connection of its own, because the server answers nothing else meanwhile. The server's refusals are
    /// `NOTBUSY` (no script runs) and `UNKILLABLE` (it has written). In a cluster one script stopped is a success; otherwise
    /// `UNKILLABLE` outranks a primary that cannot be reached, and that outranks `NOTBUSY`.
    ///
    /// A function is not stopped so, and [`Status::Busy`] the error: see [`Client::kill`].
    ///
    /// [SCRIPT KILL](https://redis.io/docs/latest/commands/script-kill/)
    pub fn script_kill(&self) -> Result<()> {
        let answers = self.ask_everywhere_apart(|node, deadline| {
            node.apart(Purpose::Bare, deadline, |link| link.ask(&[b"SCRIPT", b"KILL"], deadline))
        })?;
        let rank = |answer: &Result<Reply>| answer.as_ref().err().map(kill::rank);
        answers
            .into_iter()
            .map(|(_, answer)| answer)
            .min_by_key(rank)
            .unwrap_or_else(|| Err(Error::closed()))
            .map(drop)
    }

    /// The source, a string, of the script with this SHA1 in hexadecimal; `None` when the server does not have it, in a cluster when no
    /// primary has it.
    ///
    /// Valkey 8 and newer; [`Status::NotSupported`] elsewhere.
    ///
    /// [SCRIPT SHOW](https://valkey.io/commands/script-show/)
    pub fn script_show(&self, sha: impl AsRef<[u8]>) -> Result<Option<Reply>> {
        let mut failed = None;
        for (_, answer) in self.administer(&[&b"SCRIPT"[..], b"SHOW", sha.as_ref()])? {
            match answer {
                Ok(reply) => return Ok(Some(reply)),
                Err(error) if error.server_code() == Some("NOSCRIPT") => {}
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), |error| match (error.server_code(), error.server_text()) {
            (Some("ERR"), Some(text)) if is_unknown_subcommand(text) => {
                Err(Error::server(Status::NotSupported, text, true).context("SCRIPT SHOW needs Valkey 8"))
            }
            _ => Err(error),
        })
    }

    /// Does a task that was submitted: the reply is an array of booleans for [`Task::Exists`], a string or nil for [`Task::Show`], what was
    /// stopped for [`Task::KillAny`], and the status `OK` for all others.
    pub(crate) fn perform(&self, task: Task) -> Result<Reply> {
        let mut payload = Box::<Payload>::default();
        match task {
            Task::Exists(shas) => {
                let exists = self.script_exists(&shas)?;
                payload.start_array();
                exists.iter().for_each(|&exists| payload.append_boolean(exists));
                payload.end_array(exists.len());
                return Ok(Reply::new(payload));
            }
            Task::Load(script) => self.script_load(&script)?,
            Task::Flush(mode) => self.script_flush(mode)?,
            Task::Kill => self.script_kill()?,
            Task::KillAny => return self.kill_to_reply(),
            Task::Show(sha) => {
                return Ok(self.script_show(sha)?.unwrap_or_else(|| {
                    payload.start();
                    payload.append_nil();
                    Reply::new(payload)
                }));
            }
        }
        payload.start();
        payload.append_text(Kind::Status, b"OK")?;
        Ok(Reply::new(payload))
    }

    /// Has every primary run a command. With a single server that is an ordinary call.
    fn administer(&self, arguments: &[&[u8]]) -> Result<Answers> {
        match self.core().topology.only() {
            Some(node) => {
                let reply =
                    self.with_read_from(ReadFrom::Primary).with_route(Route::Random)?.command_of(arguments);
                Ok(vec![(Arc::clone(node), reply)])
            }
            None => self.ask_everywhere(arguments),
        }
    }
}

/// The replies, if each primary has given one; else an error that says who has not, and why.
fn all(answers: Answers) -> Result<Vec<Reply>> {
    let mut replies = Vec::new();
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    let count = answers.len();
    for (node, answer) in answers {
        match answer {
            Ok(reply) => {
                done.push(node.address().to_string());
                replies.push(reply);
            }
            Err(error) => failed.push((node, error)),
        }
    }
    let Some((node, error)) = failed.into_iter().next() else { return Ok(replies) };
    if count == 1 {
        return Err(error);
    }
    let rest = if done.is_empty() { "no other primary".to_owned() } else { done.join(", ") };
    Err(error.context(format_args!(
        "{} of {count} primaries have done it ({rest}); {}",
        done.len(),
        node.address()
    )))
}

fn is_unknown_subcommand(text: &[u8]) -> bool {
    text.to_ascii_lowercase().starts_with(b"err unknown subcommand")
}
