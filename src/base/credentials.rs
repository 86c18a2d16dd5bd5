//! What a client logs in with, where it asks its owner each time: user and password, and how long they are good for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::secret::Secret;
use super::times::LONGEST_WAIT;
use crate::error::{Error, Result, Status};

/// A user and a password, as [`Options::credentials`](crate::Options::credentials) gives them.
///
/// ```
/// use rs_script::Credentials;
/// use std::time::Duration;
///
/// let given = Credentials::new("a token").username("app").lifetime(Duration::from_secs(15 * 60));
/// assert!(!format!("{given:?}").contains("a token"));
/// ```
#[derive(Clone, Debug)]
pub struct Credentials {
    username: Option<String>,
    password: Secret,
    lifetime: Option<Duration>,
}

impl Credentials {
    /// The password of the user `default`, for as long as a connection lives; any bytes.
    ///
    /// ```
    /// rs_script::Credentials::new("a token");
    /// ```
    pub fn new(password: impl Into<Vec<u8>>) -> Self {
        Credentials { username: None, password: Secret::from(password.into()), lifetime: None }
    }

    /// The same for this user. An empty name is refused at the login.
    ///
    /// ```
    /// rs_script::Credentials::new("a token").username("app");
    /// ```
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// How long they are good for from now on: open connections ask again and log in anew when three quarters
    /// of it are over. A second at the least.
    ///
    /// ```
    /// rs_script::Credentials::new("a token").lifetime(std::time::Duration::from_secs(900));
    /// ```
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime.clamp(SHORTEST_LIFETIME, LONGEST_WAIT));
        self
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// The words of AUTH, or the end of HELLO's.
    pub(crate) fn password(&self) -> &Secret {
        &self.password
    }

    /// After what time they are renewed.
    pub(crate) fn renewed_after(&self) -> Option<Duration> {
        self.lifetime.map(|lifetime| lifetime * 3 / 4)
    }

    fn check(self) -> Result<Self> {
        if self.username.as_deref() == Some("") {
            return Err(none_given("it gave an empty user name"));
        }
        Ok(self)
    }
}

/// Whoever says less would be asked without end.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(1);

/// More characters of a text than this help nobody.
const LONGEST_TEXT: usize = 4 * 1024;

type Answer = Box<dyn FnOnce(Result<Arc<Credentials>>) + Send>;

/// A connection that waits for credentials. It is answered once, now or later, on any thread; dropped, it is refused.
///
/// ```
/// # let mut options = rs_script::Options::default();
/// options.credentials_later(|request| {
///     if request.node() == "10.0.0.1:6379" {
///         request.answer(rs_script::Credentials::new("its own"));
///     } else {
///         request.refuse("nobody knows its password");
///     }
/// });
/// # Ok::<(), rs_script::Error>(())
/// ```
pub struct CredentialsRequest {
    node: String,
    answer: Option<Answer>,
}

impl CredentialsRequest {
    pub(crate) fn new(node: String, answer: Answer) -> Self {
        CredentialsRequest { node, answer: Some(answer) }
    }

    /// The server that is to be logged in to: `host:port` or a socket's path.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.credentials_later(|request| println!("{} wants a password", request.node()));
    /// ```
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Gives them.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.credentials_later(|request| request.answer(rs_script::Credentials::new("a token")));
    /// ```
    pub fn answer(mut self, credentials: Credentials) {
        self.end(credentials.check().map(Arc::new));
    }

    /// Says that there are none, and why: the attempt to connect fails with [`Status::Auth`] and this text, which
    /// must hold no secret.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.credentials_later(|request| request.refuse("the vault is sealed"));
    /// ```
    pub fn refuse(mut self, why: impl fmt::Display) {
        self.end(Err(none_given(why.to_string().chars().take(LONGEST_TEXT).collect::<String>())));
    }

    fn end(&mut self, credentials: Result<Arc<Credentials>>) {
        if let Some(answer) = self.answer.take() {
            answer(credentials);
        }
    }
}

impl Drop for CredentialsRequest {
    fn drop(&mut self) {
        if self.answer.is_some() {
            self.end(Err(none_given("it ended without an answer")));
        }
    }
}

impl fmt::Debug for CredentialsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialsRequest({})", self.node)
    }
}

fn none_given(why: impl fmt::Display) -> Error {
    Error::new(Status::Auth, format!("no credentials from the callback: {why}"))
}

/// Who is asked for credentials.
#[derive(Clone)]
pub(crate) struct Provider(Arc<dyn Fn(CredentialsRequest) + Send + Sync>);

impl Provider {
    pub(crate) fn new(ask: impl Fn(CredentialsRequest) + Send + Sync + 'static) -> Self {
        Provider(Arc::new(ask))
    }

    pub(crate) fn ask(&self, request: CredentialsRequest) {
        (self.0)(request);
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Provider")
    }
}
