//! Who a client is to its servers and sentinels: these setters of the options.

use super::{Options, invalid};
use crate::base::credentials::{Credentials, CredentialsRequest, Provider};
use crate::base::secret::Secret;
use crate::error::Result;

impl Options {
    /// The user to authenticate as, in place of the URL's. Needs a password, here or in the URL. Default: none.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.username("billing")?.password("from a vault");
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn username(&mut self, username: impl Into<String>) -> Result<&mut Self> {
        let username = username.into();
        if username.is_empty() {
            return Err(invalid("username", "must not be empty"));
        }
        self.username = Some(username);
        Ok(self)
    }

    /// The password to authenticate with, in place of the URL's; any bytes. Default: none.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.password("from a vault");
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn password(&mut self, password: impl Into<Vec<u8>>) -> &mut Self {
        self.password = Some(Secret::from(password.into()));
        self
    }

    /// Ask for user and password whenever a connection to a server is made, in place of a password that stays the
    /// same: for tokens that expire, and passwords that are rotated. With a password in the URL or the options
    /// besides, a client does not open. Sentinels keep their own ([`Options::sentinel_password`]). Default: nobody is
    /// asked.
    ///
    /// `ask` gets the server (`host:port` or a socket's path). It runs on a thread started for it, so it may block,
    /// on an HTTP request for instance: nothing but the connection that it is asked for waits, up to the connect
    /// timeout and the deadlines of its calls. It may be called for several servers at once, but not for a server
    /// whose question before it has not answered. An error ends that attempt to connect with
    /// [`Status::Auth`](crate::Status::Auth) and its text, which must hold no secret. Closing a client waits for an
    /// `ask` that is about to return, not for one that still thinks.
    ///
    /// Open connections log in again when their credentials are [due](Credentials::lifetime), and when
    /// [`Client::reauthenticate`](crate::Client::reauthenticate) says so. AUTH then goes between the calls of others;
    /// where it is refused, or `ask` fails, the connection stays in use, the log is told, and it is tried again: after
    /// a second first, then more seldom, up to once a minute. An answer with another user has the connection replaced
    /// by a new one. A command that waits on a connection of its own (BLPOP) is left as it is.
    ///
    /// ```
    /// # fn main() -> rs_script::Result<()> {
    /// use std::time::Duration;
    ///
    /// fn token() -> std::io::Result<String> {
    ///     std::fs::read_to_string("/run/secrets/redis-token")
    /// }
    ///
    /// let mut options = rs_script::Options::default();
    /// options.credentials(|_server| {
    ///     let credentials = rs_script::Credentials::new(token()?).username("app");
    ///     Ok::<_, std::io::Error>(credentials.lifetime(Duration::from_secs(15 * 60)))
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [AUTH](https://redis.io/docs/latest/commands/auth/)
    pub fn credentials<E: std::fmt::Display>(
        &mut self,
        ask: impl Fn(&str) -> std::result::Result<Credentials, E> + Send + Sync + 'static,
    ) -> &mut Self {
        self.credentials_later(move |request| match ask(request.node()) {
            Ok(credentials) => request.answer(credentials),
            Err(error) => request.refuse(error),
        })
    }

    /// The same for whoever does not answer at once: the request may be kept, and answered on any thread. A server's
    /// next connection asks again then, though the one before has no answer yet.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// let (requests, vault) = std::sync::mpsc::channel();
    /// let requests = std::sync::Mutex::new(requests);
    /// options.credentials_later(move |request| {
    ///     // Where the other thread is gone the request is dropped, and so refused.
    ///     let _ = requests.lock().unwrap().send(request);
    /// });
    /// std::thread::spawn(move || {
    ///     for request in vault {
    ///         request.answer(rs_script::Credentials::new("a new token"));
    ///     }
    /// });
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn credentials_later(
        &mut self,
        ask: impl Fn(CredentialsRequest) + Send + Sync + 'static,
    ) -> &mut Self {
        self.credentials = Some(Provider::new(ask));
        self
    }

    /// The user to authenticate as with the sentinels. Needs [`Options::sentinel_password`]. Default: none.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.sentinel_username("watcher")?.sentinel_password("from a vault");
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn sentinel_username(&mut self, username: impl Into<String>) -> Result<&mut Self> {
        let username = username.into();
        if username.is_empty() {
            return Err(invalid("sentinel_username", "must not be empty"));
        }
        self.sentinel_username = Some(username);
        Ok(self)
    }

    /// The password to authenticate with at the sentinels; any bytes. The one in the URL is for the servers alone.
    /// Default: none.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.sentinel_password("from a vault");
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn sentinel_password(&mut self, password: impl Into<Vec<u8>>) -> &mut Self {
        self.sentinel_password = Some(Secret::from(password.into()));
        self
    }

    /// Asks nobody any more; see [`Options::credentials`].
    pub(crate) fn no_credentials(&mut self) -> &mut Self {
        self.credentials = None;
        self
    }
}
