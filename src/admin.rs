//! Script administration: LOAD, EXISTS, FLUSH, KILL and SHOW.

use crate::client::Client;
use crate::error::{Error, Result, Status};
use crate::resp::Reply;
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

impl Client {
    /// Loads a script into the server's cache. There is no need to: a call does it by itself.
    ///
    /// [SCRIPT LOAD](https://redis.io/docs/latest/commands/script-load/)
    pub fn script_load(&self, script: &Script) -> Result<()> {
        self.command(&[&b"SCRIPT"[..], b"LOAD", script.source()]).map(drop).map_err(|error| {
            match error.server_text() {
                Some(text) if error.server_code() == Some("ERR") => {
                    Error::server(Status::Compile, text, true)
                }
                _ => error,
            }
        })
    }

    /// Which of these scripts, named by their SHA1 in hexadecimal, the server has in its cache.
    ///
    /// [SCRIPT EXISTS](https://redis.io/docs/latest/commands/script-exists/)
    pub fn script_exists<S: AsRef<[u8]>>(&self, shas: &[S]) -> Result<Vec<bool>> {
        if shas.is_empty() {
            return Ok(Vec::new());
        }
        let mut arguments: Vec<&[u8]> = vec![b"SCRIPT", b"EXISTS"];
        arguments.extend(shas.iter().map(AsRef::as_ref));
        let reply = self.command(&arguments)?;
        Ok(reply.root().elements().map(|exists| exists.as_i64() == Some(1)).collect())
    }

    /// Empties the server's script cache. Calls go on working: they load what they need.
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
        let reply = self.command(&arguments);
        self.forget_scripts();
        reply.map(drop)
    }

    /// Stops the script that the server is running, if it has not written yet. It need not be one of this client's.
    ///
    /// Opens a connection of its own, because the server answers nothing else meanwhile. The server's refusals are
    /// `NOTBUSY` (no script runs) and `UNKILLABLE` (it has written).
    ///
    /// [SCRIPT KILL](https://redis.io/docs/latest/commands/script-kill/)
    pub fn script_kill(&self) -> Result<()> {
        self.run_command_apart(&[b"SCRIPT", b"KILL"], Purpose::Kill).map(drop)
    }

    /// The source, a string, of the script with this SHA1 in hexadecimal; `None` when the server does not have it.
    ///
    /// Valkey 8 and newer; [`Status::NotSupported`] elsewhere.
    ///
    /// [SCRIPT SHOW](https://valkey.io/commands/script-show/)
    pub fn script_show(&self, sha: impl AsRef<[u8]>) -> Result<Option<Reply>> {
        match self.command(&[&b"SCRIPT"[..], b"SHOW", sha.as_ref()]) {
            Ok(reply) => Ok(Some(reply)),
            Err(error) => match (error.server_code(), error.server_text()) {
                (Some("NOSCRIPT"), _) => Ok(None),
                (Some("ERR"), Some(text)) if is_unknown_subcommand(text) => {
                    Err(Error::server(Status::NotSupported, text, true).context("SCRIPT SHOW needs Valkey 8"))
                }
                _ => Err(error),
            },
        }
    }
}

fn is_unknown_subcommand(text: &[u8]) -> bool {
    text.to_ascii_lowercase().starts_with(b"err unknown subcommand")
}
