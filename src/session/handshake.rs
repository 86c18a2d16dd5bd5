//! What is said first on a new connection, in one write, and what the server's answers mean.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::credentials::Credentials;
use crate::base::purpose::Purpose;
use crate::config::{Config, Protocol};
use crate::error::{Error, Result, Status, kept};
use crate::request::{Request, Shape};
use crate::resp::{Kind, ReplyRef};
use crate::session::Facts;
use crate::session::verdict::{self, Verdict};

/// What comes after a round of the handshake.
pub(crate) enum Next {
    /// Calls may come.
    Ready,
    /// The server is too old for HELLO: say this instead.
    Say(Box<Request>),
    /// The connection is spoilt; another one will do without what spoilt it.
    Reopen,
}

/// One command of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Hello,
    Auth,
    Select,
    /// Of no consequence when it fails: names for CLIENT LIST.
    Introduction,
    /// An empty transaction shows whether this user may run any. Were MULTI refused in a real one, its commands would
    /// run singly.
    Multi,
    Exec,
    ReadOnly,
    /// Where nothing else is to be said.
    Ping,
}

/// The handshake of one connection.
pub(crate) struct Handshake {
    config: Arc<Config>,
    facts: Arc<Facts>,
    purpose: Purpose,
    /// In place of the configuration's user and password.
    given: Option<Arc<Credentials>>,
    steps: Vec<Step>,
    /// The client's refusals of MULTI when the first round was made.
    multi_refusals: u64,
    /// What the server said to HELLO, if it refused it.
    refused_hello: Option<Vec<u8>>,
}

impl Handshake {
    pub(crate) fn new(
        config: Arc<Config>,
        facts: Arc<Facts>,
        purpose: Purpose,
        given: Option<Arc<Credentials>>,
    ) -> Self {
        let multi_refusals = facts.multi_refusals();
        Handshake { config, facts, purpose, given, steps: Vec::new(), multi_refusals, refused_hello: None }
    }

    fn login(&self) -> Option<(Option<&str>, &[u8])> {
        match &self.given {
            Some(given) => Some((given.user(), given.password().expose())),
            None => Some((self.config.username.as_deref(), self.config.password.as_ref()?.expose())),
        }
    }

    /// The first round. RESP2 is what a server speaks that is not told otherwise.
    pub(crate) fn start(&mut self) -> Box<Request> {
        self.say(self.config.protocol != Protocol::Resp2 && !self.facts.shuns_hello())
    }

    /// Whether the connection may have ended because of HELLO, which nobody insists on.
    pub(crate) fn may_be_shunned(&self) -> bool {
        self.config.protocol == Protocol::Auto
            && self.steps.first() == Some(&Step::Hello)
            && !self.facts.expects_hello
    }

    /// Why HELLO was refused, if it was: where the connection ends behind that, this is the reason.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.refused_hello.as_deref().map(|text| refused(Step::Hello, text))
    }

    /// A round that begins with HELLO, or without for servers that do not know it.
    fn say(&mut self, hello: bool) -> Box<Request> {
        let mut request = Box::<Request>::default();
        request.reset(Shape::Pipeline);
        let mut steps = std::mem::take(&mut self.steps);
        steps.clear();
        let mut step = |step: Step, words: &[&[u8]]| {
            steps.push(step);
            request.say(words);
        };
        let config = &*self.config;
        let (user, password) = self.login().unzip();
        let user = user.flatten().map(str::as_bytes);
        match (hello, password) {
            (true, Some(password)) => {
                step(Step::Hello, &[b"HELLO", b"3", b"AUTH", user.unwrap_or(b"default"), password]);
            }
            (true, None) => step(Step::Hello, &[b"HELLO", b"3"]),
            (false, Some(password)) => match user {
                Some(user) => step(Step::Auth, &[b"AUTH", user, password]),
                None => step(Step::Auth, &[b"AUTH", password]),
            },
            (false, None) => {}
        }
        if self.purpose != Purpose::Bare {
            if config.database != 0 {
                step(Step::Select, &[b"SELECT", itoa::Buffer::new().format(config.database).as_bytes()]);
            }
            if let Some(name) = &config.client_name {
                step(Step::Introduction, &[b"CLIENT", b"SETNAME", name.as_bytes()]);
            }
            if config.client_info {
                step(Step::Introduction, &[b"CLIENT", b"SETINFO", b"LIB-NAME", b"rs_script"]);
                let version = env!("CARGO_PKG_VERSION").as_bytes();
                step(Step::Introduction, &[b"CLIENT", b"SETINFO", b"LIB-VER", version]);
            }
            if self.purpose == Purpose::Replica {
                step(Step::ReadOnly, &[b"READONLY"]);
            } else if self.purpose == Purpose::Calls
                && config.probe_transactions
                && self.facts.spoilt_by_exec.get().is_none()
            {
                step(Step::Multi, &[b"MULTI"]);
                step(Step::Exec, &[b"EXEC"]);
            }
        }
        if request.items.is_empty() {
            // It has to be seen that there is a server, and that it asks for no password.
            steps.push(Step::Ping);
            request.say(&[b"PING"]);
        }
        self.steps = steps;
        request
    }

    /// Judges the answers to a round.
    pub(crate) fn judge(&mut self, replies: ReplyRef<'_>) -> Result<Next> {
        let mut in_multi = false;
        for (step, reply) in self.steps.iter().zip(replies.elements()) {
            let error = reply.as_bytes().filter(|_| reply.kind() == Kind::Error);
            match (*step, error) {
                (Step::Hello, None) => {
                    self.facts.has_hello.store(true, Ordering::Relaxed);
                    self.learn_version(reply);
                }
                (Step::Hello, Some(text)) if !is_about_login(text, self.login().is_some()) => {
                    if let Verdict::Loading | Verdict::Busy = verdict::judge(text) {
                        return Err(refused(Step::Hello, text));
                    }
                    if self.config.protocol == Protocol::Resp3 {
                        let text = verdict::without_arguments(text);
                        return Err(Error::server(Status::NotSupported, text, true)
                            .context("the server does not speak RESP 3"));
                    }
                    if verdict::is_unknown_command(text, b"HELLO") {
                        // Older than HELLO is older than EVALSHA_RO and functions.
                        self.facts.no_functions.store(true, Ordering::Relaxed);
                        self.facts.no_read_only.store(true, Ordering::Relaxed);
                    }
                    self.refused_hello = Some(kept(verdict::without_arguments(text)).to_vec());
                    return Ok(Next::Say(self.say(false)));
                }
                // Without HELLO it may be the first to say so.
                (step, Some(text)) if text.starts_with(b"NOAUTH ") => return Err(refused(step, text)),
                (Step::Introduction | Step::Ping, _) => {}
                (Step::Multi, None) => in_multi = true,
                (Step::Exec, None) if in_multi => self.facts.note_transactions(self.multi_refusals),
                (Step::Exec, Some(text)) if in_multi && !verdict::ends_transaction(text) => {
                    let _ = self.facts.spoilt_by_exec.set(kept(text).to_vec());
                    return Ok(Next::Reopen);
                }
                // The first transaction asks again: rights may change.
                (Step::Multi | Step::Exec, _) => {}
                (_, None) => {}
                (step, Some(text)) => return Err(refused(step, text)),
            }
        }
        Ok(Next::Ready)
    }

    /// EVALSHA_RO and functions came with version 7.
    fn learn_version(&self, hello: ReplyRef<'_>) {
        let mut pairs = hello.elements();
        while let (Some(key), Some(value)) = (pairs.next(), pairs.next()) {
            if key.as_bytes() == Some(b"version") {
                let major = value.as_str().and_then(|version| version.split('.').next()?.parse::<u32>().ok());
                if major.is_some_and(|major| major < 7) {
                    self.facts.no_functions.store(true, Ordering::Relaxed);
                    self.facts.no_read_only.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Whether a refusal of HELLO concerns user and password: then the same would be said to AUTH.
fn is_about_login(text: &[u8], has_password: bool) -> bool {
    let text = text.to_ascii_uppercase();
    match text.split(|&byte| byte == b' ').next() {
        Some(b"WRONGPASS") => true,
        // With a password given: the server does not take it from HELLO.
        Some(b"NOAUTH") => !has_password,
        _ => [&b"ERR AUTH "[..], b"ERR INVALID PASSWORD", b"ERR CLIENT SENT AUTH"]
            .iter()
            .any(|start| text.starts_with(start)),
    }
}

fn refused(step: Step, text: &[u8]) -> Error {
    // Those that the server quotes are the password, too.
    let text = verdict::without_arguments(text);
    if let verdict @ (Verdict::Loading | Verdict::Busy) = verdict::judge(text) {
        return verdict::error(verdict, text);
    }
    let word = text.split(|&byte| byte == b' ').next().unwrap_or_default().to_ascii_uppercase();
    let of_login = step == Step::Auth || word == b"NOPERM" || is_about_login(text, false);
    if of_login {
        Error::server(Status::Auth, text, true).context("the server refused the login")
    } else if step == Step::Select {
        Error::server(Status::Auth, text, true).context("the server refused the database number")
    } else {
        Error::server(Status::Connect, text, true).context("the server refused the connection")
    }
}
