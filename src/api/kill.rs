//! Stops what a server is running, be it a script or a function.

use super::client::Client;
use crate::core::Task;
use crate::error::Result;
use crate::resp::{Reply, ReplyRef};

/// What [`Client::kill`] has stopped on one server.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// use std::time::Duration;
///
/// let forever = rs_script::Script::new("while true do end");
/// let stuck = forever.prepare().timeout(Duration::from_millis(20)).call::<()>(&client);
/// assert!(stuck.unwrap_err().is_timeout());
/// let killed = client.kill()?;
/// assert!(!killed[0].is_function && killed[0].name.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Killed {
    /// A function (FCALL); otherwise a script (EVAL, EVALSHA).
    pub is_function: bool,
    /// The function's name. The server does not tell which script it was, nor a function's name to a user who may not
    /// run FUNCTION STATS.
    pub name: Option<String>,
    /// The server, `host:port`, or its socket's path.
    pub node: String,
}

impl Client {
    /// Stops what the server is running, a script or a function, if it has not written yet, and tells what that was;
    /// in a cluster, what the primaries are running. It need not be this client's.
    ///
    /// Opens a connection of its own, because the server answers nothing else meanwhile. The server's refusals are
    /// `NOTBUSY` (nothing runs) and `UNKILLABLE` (it has written). In a cluster one success is a success; otherwise
    /// `UNKILLABLE` outranks a primary that cannot be reached, and that outranks `NOTBUSY`.
    ///
    /// [SCRIPT KILL](https://redis.io/docs/latest/commands/script-kill/),
    /// [FUNCTION KILL](https://redis.io/docs/latest/commands/function-kill/)
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let error = client.kill().unwrap_err();
    /// assert_eq!(error.server_code(), Some("NOTBUSY"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn kill(&self) -> Result<Vec<Killed>> {
        let reply = self.kill_to_reply()?;
        Ok(reply.root().elements().map(killed_in).collect())
    }

    /// The same as a reply: an array with an array for each that was stopped: `script` or `function`, the name or
    /// nil, the server.
    pub(crate) fn kill_to_reply(&self) -> Result<Reply> {
        self.perform(Task::KillAny)
    }
}

fn killed_in(what: ReplyRef<'_>) -> Killed {
    let text = |index| what.get(index).and_then(|text| text.as_str()).map(str::to_owned);
    Killed {
        is_function: what.get(0).and_then(|kind| kind.as_bytes()) == Some(b"function"),
        name: text(1),
        node: text(2).unwrap_or_default(),
    }
}
