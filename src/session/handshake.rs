//! What is said first on a new connection, in one write, and what the server's answers mean.

use std::sync::atomic::Ordering;

use crate::config::{Config, Protocol};
use crate::error::{Error, Result, Status, kept};
use crate::request::{Request, Shape};
use crate::resp::{Kind, ReplyRef};
use crate::session::Facts;
use crate::session::verdict::{self, Verdict};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Commands and scripts.
    Calls,
    /// Read-only scripts on a replica of a cluster, which answers them behind READONLY.
    Replica,
    /// Nothing but the login: a server that is busy with a script refuses SELECT and CLIENT SETINFO, and a sentinel knows neither.
    Bare,
}

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
    /// An empty transaction shows whether this user may run any. Were MULTI refused in a real one, its commands would run singly.
    Multi,
    Exec,
    ReadOnly,
}

/// The handshake of one connection.
pub(crate) struct Handshake<'a> {
    config: &'a Config,
    facts: &'a Facts,
    purpose: Purpose,
    steps: Vec<Step>,
}

impl<'a> Handshake<'a> {
    pub(crate) fn new(config: &'a Config, facts: &'a Facts, purpose: Purpose) -> Self {
        Handshake { config, facts, purpose, steps: Vec::new() }
    }

    /// The first round.
    pub(crate) fn start(&mut self) -> Box<Request> {
        let version: &[u8] = if self.config.protocol == Protocol::Resp2 { b"2" } else { b"3" };
        self.say(Some(version))
    }

    /// A round that begins with HELLO for a version of the protocol, or without for servers that do not know it.
    fn say(&mut self, hello: Option<&[u8]>) -> Box<Request> {
        let mut request = Box::<Request>::default();
        request.reset(Shape::Pipeline);
        self.steps.clear();
        let mut step = |step: Step, words: &[&[u8]]| {
            self.steps.push(step);
            request.say(words);
        };
        let config = self.config;
        let password = config.password.as_ref().map(|password| password.expose());
        let user = config.username.as_deref().map(str::as_bytes);
        match (hello, password) {
            (Some(version), Some(password)) => {
                step(Step::Hello, &[b"HELLO", version, b"AUTH", user.unwrap_or(b"default"), password]);
            }
            (Some(version), None) => step(Step::Hello, &[b"HELLO", version]),
            (None, Some(password)) => match user {
                Some(user) => step(Step::Auth, &[b"AUTH", user, password]),
                None => step(Step::Auth, &[b"AUTH", password]),
            },
            (None, None) => {}
        }
        if self.purpose != Purpose::Bare {
            if config.database != 0 {
                step(Step::Select, &[b"SELECT", itoa::Buffer::new().format(config.database).as_bytes()]);
            }
            if let Some(name) = &config.client_name {
                step(Step::Introduction, &[b"CLIENT", b"SETNAME", name.as_bytes()]);
            }
            step(Step::Introduction, &[b"CLIENT", b"SETINFO", b"LIB-NAME", b"rs_script"]);
            let version = env!("CARGO_PKG_VERSION").as_bytes();
            step(Step::Introduction, &[b"CLIENT", b"SETINFO", b"LIB-VER", version]);
            if self.purpose == Purpose::Replica {
                step(Step::ReadOnly, &[b"READONLY"]);
            } else if self.facts.transactions.get().is_none() {
                step(Step::Multi, &[b"MULTI"]);
                step(Step::Exec, &[b"EXEC"]);
            }
        } else if hello.is_none() && password.is_none() {
            // A round needs something to be answered.
            step(Step::Introduction, &[b"PING"]);
        }
        request
    }

    /// Judges the answers to a round.
    pub(crate) fn judge(&mut self, replies: ReplyRef<'_>) -> Result<Next> {
        let mut in_multi = false;
        for (step, reply) in self.steps.iter().zip(replies.elements()) {
            let error = reply.as_bytes().filter(|_| reply.kind() == Kind::Error);
            match (*step, error) {
                (Step::Introduction, _) => {}
                (Step::Hello, None) => self.learn_version(reply),
                (Step::Hello, Some(text))
                    if text.starts_with(b"NOPROTO") || verdict::is_unknown_command(text, b"HELLO") =>
                {
                    // Older than HELLO is older than EVALSHA_RO.
                    self.facts.no_read_only.store(true, Ordering::Relaxed);
                    return match self.config.protocol {
                        Protocol::Resp3 => Err(Error::server(Status::NotSupported, text, true)
                            .context("the server does not speak RESP 3")),
                        _ => Ok(Next::Say(self.say(None))),
                    };
                }
                (Step::Multi, None) => in_multi = true,
                (Step::Exec, None) if in_multi => {
                    let _ = self.facts.transactions.set(Ok(()));
                }
                // The state of a server that is busy or loading says nothing of the user's rights.
                (Step::Multi | Step::Exec, Some(text)) if verdict::judge(text) == Verdict::Other => {
                    let _ = self.facts.transactions.set(Err(kept(text).to_vec()));
                    if in_multi {
                        return Ok(Next::Reopen);
                    }
                }
                (Step::Multi | Step::Exec, _) => {}
                (_, None) => {}
                (step, Some(text)) => return Err(refused(step, text)),
            }
        }
        Ok(Next::Ready)
    }

    /// EVALSHA_RO came with version 7.
    fn learn_version(&self, hello: ReplyRef<'_>) {
        let mut pairs = hello.elements();
        while let (Some(key), Some(value)) = (pairs.next(), pairs.next()) {
            if key.as_bytes() == Some(b"version") {
                let major = value.as_str().and_then(|version| version.split('.').next()?.parse::<u32>().ok());
                if major.is_some_and(|major| major < 7) {
                    self.facts.no_read_only.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}

fn refused(step: Step, text: &[u8]) -> Error {
    if let verdict @ (Verdict::Loading | Verdict::Busy) = verdict::judge(text) {
        return verdict::error(verdict, text);
    }
    let word = text.split(|&byte| byte == b' ').next().unwrap_or_default();
    let of_login = matches!(word, b"WRONGPASS" | b"NOAUTH" | b"NOPERM")
        || step == Step::Auth
        || text.starts_with(b"ERR AUTH ")
        || text.starts_with(b"ERR invalid password")
        || text.starts_with(b"ERR Client sent AUTH");
    if of_login {
        Error::server(Status::Auth, text, true).context("the server refused the login")
    } else if step == Step::Select {
        Error::server(Status::Auth, text, true).context("the server refused the database number")
    } else {
        Error::server(Status::Connect, text, true).context("the server refused the connection")
    }
}
