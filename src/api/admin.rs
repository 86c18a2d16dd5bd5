//! Script administration: LOAD, EXISTS, FLUSH, KILL and SHOW.

use std::time::Instant;

use super::client::Client;
use super::future::CallFuture;
use crate::core::{FlushMode, Task, Work};
use crate::error::Result;
use crate::request::script::Script;
use crate::resp::{Kind, Reply};

impl Client {
    /// Loads a script into the server's cache; in a cluster, into every primary's. There is no need to: a call does
    /// it by itself.
    ///
    /// Where a primary of a cluster cannot be reached, that is an error that says which have the script. Later calls
    /// do not mind.
    ///
    /// [SCRIPT LOAD](https://redis.io/docs/latest/commands/script-load/)
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let script = rs_script::Script::new("return 1");
    /// client.script_load(&script)?;
    /// assert_eq!(client.script_exists(&[script.sha_hex()])?, [true]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn script_load(&self, script: &Script) -> Result<()> {
        self.perform(Task::Load(script.clone())).map(drop)
    }

    /// Which of these scripts, named by their SHA1 in hexadecimal, the server has in its cache; in a cluster, which
    /// of them every primary has. A primary that cannot be reached is an error: without it nobody knows.
    ///
    /// [SCRIPT EXISTS](https://redis.io/docs/latest/commands/script-exists/)
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let script = rs_script::Script::new("return 1");
    /// assert_eq!(client.script_exists(&[script.sha_hex()])?, [false]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn script_exists<S: AsRef<[u8]>>(&self, shas: &[S]) -> Result<Vec<bool>> {
        if shas.is_empty() {
            return Ok(Vec::new());
        }
        let shas = shas.iter().map(|sha| sha.as_ref().to_vec()).collect();
        let reply = self.perform(Task::Exists(shas))?;
        Ok(reply.root().elements().map(|exists| exists.as_bool() == Some(true)).collect())
    }

    /// Empties the server's script cache; in a cluster, every primary's. Calls go on working: they load what they need.
    ///
    /// Where a primary of a cluster cannot be reached, that is an error that says which are empty now.
    ///
    /// [SCRIPT FLUSH](https://redis.io/docs/latest/commands/script-flush/)
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::{FlushMode, Script};
    ///
    /// let one = Script::new("return 1");
    /// client.script_load(&one)?;
    /// client.script_flush(FlushMode::Sync)?;
    /// assert_eq!(client.script_exists(&[one.sha_hex()])?, [false]);
    /// assert_eq!(one.call::<u8>(&client)?, 1); // It is loaded again, in the same write.
    /// # Ok(())
    /// # }
    /// ```
    pub fn script_flush(&self, mode: FlushMode) -> Result<()> {
        self.io().check_process()?;
        self.io().forget_scripts();
        let flushed = self.perform(Task::Flush(mode));
        self.io().forget_scripts();
        flushed.map(drop)
    }

    /// Stops the script that the server is running, if it has not written yet; in a cluster, the scripts that the
    /// primaries are running. They need not be this client's.
    ///
    /// Opens a connection of its own, because the server answers nothing else meanwhile. The server's refusals are
    /// `NOTBUSY` (no script runs) and `UNKILLABLE` (it has written). In a cluster one script stopped is a success;
    /// otherwise `UNKILLABLE` outranks a primary that cannot be reached, and that outranks `NOTBUSY`.
    ///
    /// A function is not stopped so, and [`Status::Busy`](crate::Status::Busy) the error: see [`Client::kill`].
    ///
    /// [SCRIPT KILL](https://redis.io/docs/latest/commands/script-kill/)
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let error = client.script_kill().unwrap_err();
    /// assert_eq!(error.server_code(), Some("NOTBUSY"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn script_kill(&self) -> Result<()> {
        self.perform(Task::Kill).map(drop)
    }

    /// The source, a string, of the script with this SHA1 in hexadecimal; `None` when the server does not have it, in
    /// a cluster when no primary has it.
    ///
    /// Valkey 8 and newer; [`Status::NotSupported`](crate::Status::NotSupported) elsewhere.
    ///
    /// [SCRIPT SHOW](https://valkey.io/commands/script-show/)
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::{Script, Status};
    ///
    /// let script = Script::new("return 1");
    /// client.script_load(&script)?;
    /// match client.script_show(script.sha_hex()) {
    ///     Ok(source) => assert_eq!(source.unwrap().as_str(), Some("return 1")),
    ///     Err(error) => assert_eq!(error.status(), Status::NotSupported),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn script_show(&self, sha: impl AsRef<[u8]>) -> Result<Option<Reply>> {
        let reply = self.perform(Task::Show(sha.as_ref().to_vec()))?;
        Ok((reply.root().kind() != Kind::Nil).then_some(reply))
    }

    /// The same as [`Client::script_load`], without waiting.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # block_on(async {
    /// let script = rs_script::Script::new("return 1");
    /// client.script_load_async(&script).await?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn script_load_async(&self, script: &Script) -> CallFuture<()> {
        self.task_future(Task::Load(script.clone())).to()
    }

    /// The same as [`Client::script_exists`], without waiting.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # block_on(async {
    /// let script = rs_script::Script::new("return 1");
    /// assert_eq!(client.script_exists_async(&[script.sha_hex()]).await?, [false]);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn script_exists_async<S: AsRef<[u8]>>(&self, shas: &[S]) -> CallFuture<Vec<bool>> {
        self.task_future(Task::Exists(shas.iter().map(|sha| sha.as_ref().to_vec()).collect())).to()
    }

    /// The same as [`Client::script_flush`], without waiting.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # block_on(async {
    /// client.script_flush_async(rs_script::FlushMode::Async).await?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn script_flush_async(&self, mode: FlushMode) -> CallFuture<()> {
        self.task_future(Task::Flush(mode)).to()
    }

    /// The same as [`Client::script_kill`], without waiting.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # block_on(async {
    /// let error = client.script_kill_async().await.unwrap_err();
    /// assert_eq!(error.server_code(), Some("NOTBUSY"));
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn script_kill_async(&self) -> CallFuture<()> {
        self.task_future(Task::Kill).to()
    }

    /// The same as [`Client::script_show`], without waiting.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # block_on(async {
    /// let script = rs_script::Script::new("return 1");
    /// if let Ok(source) = client.script_show_async(script.sha_hex()).await {
    ///     assert!(source.is_none(), "nobody has loaded it");
    /// }
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn script_show_async(&self, sha: impl AsRef<[u8]>) -> CallFuture<Option<Reply>> {
        self.task_future(Task::Show(sha.as_ref().to_vec())).to()
    }

    pub(crate) fn task_future(&self, task: Task) -> CallFuture {
        CallFuture::new(self, Ok(Work::Administer(task)))
    }

    /// Does a task.
    pub(crate) fn perform(&self, task: Task) -> Result<Reply> {
        self.submit_and_wait(Work::Administer(task), Instant::now(), &mut None)
    }
}
