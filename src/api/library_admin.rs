//! Library administration: what is asked for by name, and never done by itself.

use super::client::Client;
use super::future::CallFuture;
use crate::core::{LibraryTask, Task, Work};
use crate::error::{Error, Result, Status};
use crate::request::library::Library;
use crate::resp::Reply;

impl Client {
    /// Loads a library into the server; in a cluster, into every primary. There is no need to: a call does it
    /// by itself. What is there of that name stays as it is.
    ///
    /// The reply is a map from each primary's address (`host:port`, or the path of its socket) to the string
    /// `loaded`, or `there` where a library of that name was there already, or the error by which it has not
    /// got it. Where none has, that is the error: [`Status::Compile`] for a library that does not compile,
    /// registers nothing, or registers a function that another library has registered.
    ///
    /// [FUNCTION LOAD](https://redis.io/docs/latest/commands/function-load/)
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use std::collections::BTreeMap;
    ///
    /// let library = rs_script::Library::pinned(
    ///     "#!lua name=a\nredis.register_function('f', function() return 1 end)",
    /// )?;
    /// let done: BTreeMap<String, String> = client.library_load(&library)?.to()?;
    /// assert!(done.values().all(|said| said == "loaded"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn library_load(&self, library: &Library) -> Result<Reply> {
        self.perform(Task::Library(LibraryTask::Load(library.clone())))
    }

    /// Puts a library in the place of the one of its name, on the server; in a cluster, on every primary, one
    /// by one: for a moment some have the old one and some the new one. This is the one place where a library
    /// is replaced. A function that the new one lacks is from then on an error for all who call it. A
    /// [pinned](Library::pinned) library replaces nothing, and there is no need to deploy it.
    ///
    /// The reply is a map from each primary's address to what it has, looked at behind the load: `same`, or
    /// `different` or `absent` if somebody else was at it; or to the error by which it has kept what it had.
    /// Where none has taken it, that is the error, [`Status::Compile`] as with [`Client::library_load`].
    ///
    /// [FUNCTION LOAD REPLACE](https://redis.io/docs/latest/commands/function-load/)
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::Library;
    ///
    /// let [old, new] = [1, 2].map(|version| {
    ///     Library::named(format!("#!lua name=a\nredis.register_function('f', function() return {version} end)"))
    /// });
    /// let (old, new) = (old?, new?);
    /// assert_eq!(old.function("f")?.call::<u8>(&client)?, 1);
    /// assert_eq!(new.function("f")?.call::<u8>(&client)?, 1, "what is there is not replaced by a call");
    /// client.library_deploy(&new)?;
    /// assert_eq!(old.function("f")?.call::<u8>(&client)?, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn library_deploy(&self, library: &Library) -> Result<Reply> {
        self.perform(Task::Library(LibraryTask::Deploy(library.clone())))
    }

    /// Compares a library with the one of its name on the server; in a cluster, on every primary. It changes
    /// nothing.
    ///
    /// The reply is a map from each primary's address to `same`, `different` or `absent`, or the error by
    /// which that is not known; where it is known of none, that is the error.
    ///
    /// [FUNCTION LIST](https://redis.io/docs/latest/commands/function-list/)
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use std::collections::BTreeMap;
    ///
    /// let library = rs_script::Library::named("#!lua name=a\nredis.register_function('f', function() return 1 end)")?;
    /// let found: BTreeMap<String, String> = client.library_check(&library)?.to()?;
    /// assert!(found.values().all(|said| said == "absent"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn library_check(&self, library: &Library) -> Result<Reply> {
        self.perform(Task::Library(LibraryTask::Check(library.clone())))
    }

    /// Which libraries the server has, whoever has loaded them; in a cluster, those of every primary.
    ///
    /// The reply is a map from each primary's address to its answer to FUNCTION LIST, an array with a map for
    /// each library (`library_name`, `engine`, `functions`; with RESP2 an array of names and values), or its
    /// error; where each gave one, that is the error.
    ///
    /// [FUNCTION LIST](https://redis.io/docs/latest/commands/function-list/)
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let libraries = client.library_list()?;
    /// assert_eq!(libraries.get(1).unwrap().len(), 0, "behind the server's address");
    /// # Ok(())
    /// # }
    /// ```
    pub fn library_list(&self) -> Result<Reply> {
        self.perform(listing())
    }

    /// Removes the other versions of these [pinned](Library::pinned) libraries from the server; in a cluster,
    /// from every primary. Libraries that are not pinned, or were not called like one of these, stay. Nothing
    /// is ever removed but by this: who still calls a version that is gone has it loaded again.
    ///
    /// The reply is a map from each primary's address to an array of the names that were removed there, or
    /// the error of the first one that was not, which names those that were; where each gave one, that is the error.
    /// [`Status::InvalidArgument`] for no libraries, and for one that is not pinned.
    ///
    /// [FUNCTION DELETE](https://redis.io/docs/latest/commands/function-delete/)
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::Library;
    /// use std::collections::BTreeMap;
    ///
    /// let old = Library::pinned("#!lua name=a\nredis.register_function('f', function() return 1 end)")?;
    /// let new = Library::pinned("#!lua name=a\nredis.register_function('f', function() return 2 end)")?;
    /// client.library_load(&old)?;
    /// client.library_load(&new)?;
    /// let removed: BTreeMap<String, Vec<String>> = client.library_prune(&[&new])?.to()?;
    /// assert!(removed.values().all(|names| names == &[old.name()]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn library_prune(&self, keep: &[&Library]) -> Result<Reply> {
        self.perform(pruning(keep)?)
    }

    /// The same as [`Client::library_load`], without waiting.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # block_on(async {
    /// let library = rs_script::Library::pinned(
    ///     "#!lua name=a\nredis.register_function('f', function() return 1 end)",
    /// )?;
    /// client.library_load_async(&library).await?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn library_load_async(&self, library: &Library) -> CallFuture {
        self.task_future(Task::Library(LibraryTask::Load(library.clone())))
    }

    /// The same as [`Client::library_deploy`], without waiting.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # block_on(async {
    /// let library = rs_script::Library::named("#!lua name=a\nredis.register_function('f', function() return 1 end)")?;
    /// client.library_deploy_async(&library).await?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn library_deploy_async(&self, library: &Library) -> CallFuture {
        self.task_future(Task::Library(LibraryTask::Deploy(library.clone())))
    }

    /// The same as [`Client::library_check`], without waiting.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # block_on(async {
    /// let library = rs_script::Library::named("#!lua name=a\nredis.register_function('f', function() return 1 end)")?;
    /// assert_eq!(client.library_check_async(&library).await?.get(1).unwrap().as_str(), Some("absent"));
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn library_check_async(&self, library: &Library) -> CallFuture {
        self.task_future(Task::Library(LibraryTask::Check(library.clone())))
    }

    /// The same as [`Client::library_list`], without waiting.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # block_on(async {
    /// let libraries = client.library_list_async().await?;
    /// # assert_eq!(libraries.get(1).unwrap().len(), 0);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn library_list_async(&self) -> CallFuture {
        self.task_future(listing())
    }

    /// The same as [`Client::library_prune`], without waiting.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// # block_on(async {
    /// let library = rs_script::Library::pinned(
    ///     "#!lua name=a\nredis.register_function('f', function() return 1 end)",
    /// )?;
    /// let removed = client.library_prune_async(&[&library]).await?;
    /// assert_eq!(removed.get(1).unwrap().len(), 0, "behind the server's address");
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn library_prune_async(&self, keep: &[&Library]) -> CallFuture {
        CallFuture::new(self, pruning(keep).map(Work::Administer))
    }
}

/// What removes the other versions of these libraries.
pub(crate) fn pruning(keep: &[&Library]) -> Result<Task> {
    if keep.is_empty() {
        let text = "no library is named whose other versions are to be removed; nothing was sent";
        return Err(Error::new(Status::InvalidArgument, text));
    }
    if let Some(named) = keep.iter().find(|library| !library.is_pinned()) {
        let text =
            format!("the library {} is not pinned, and has no versions; nothing was sent", named.name());
        return Err(Error::new(Status::InvalidArgument, text));
    }
    Ok(Task::Library(LibraryTask::Prune(keep.iter().map(|&library| library.clone()).collect())))
}

/// What asks for all libraries.
pub(crate) fn listing() -> Task {
    Task::Library(LibraryTask::List)
}
