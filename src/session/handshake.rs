//! What is said first on a new connection, in one write, and what the server's answers mean.

use crate::config::{Config, Protocol};
use crate::error::{Error, Result, Status};
use crate::request::{Request, Shape};
use crate::resp::{Kind, ReplyRef};
use crate::session::verdict::{self, Verdict};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Commands and scripts.
    Calls,
    /// SCRIPT KILL: only what a server says while it is busy with a script. It refuses SELECT and CLIENT SETINFO then.
    Kill,
}

/// One command of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Hello,
    Auth,
    Select,
    /// Of no consequence when it fails: names for CLIENT LIST.
    Introduction,
}

/// The handshake of one connection.
pub(crate) struct Handshake<'a> {
    config: &'a Config,
    purpose: Purpose,
    steps: Vec<Step>,
}

impl<'a> Handshake<'a> {
    /// A handshake and its first request; `None` when there is nothing to say.
    pub(crate) fn start(config: &'a Config, purpose: Purpose) -> (Self, Option<Box<Request>>) {
        let mut handshake = Handshake { config, purpose, steps: Vec::new() };
        let request = handshake.say(config.protocol != Protocol::Resp2);
        (handshake, request)
    }

    fn say(&mut self, hello: bool) -> Option<Box<Request>> {
        let mut request = Box::<Request>::default();
        request.reset(Shape::Pipeline);
        self.steps.clear();
        let mut step = |step: Step, words: &[&[u8]]| {
            self.steps.push(step);
            request.command(words.iter().copied());
        };
        let config = self.config;
        let password = config.password.as_ref().map(|password| password.expose());
        let user = config.username.as_deref().map(str::as_bytes);
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
        if self.purpose == Purpose::Calls {
            if config.database != 0 {
                step(Step::Select, &[b"SELECT", itoa::Buffer::new().format(config.database).as_bytes()]);
            }
            if let Some(name) = &config.client_name {
                step(Step::Introduction, &[b"CLIENT", b"SETNAME", name.as_bytes()]);
            }
            step(Step::Introduction, &[b"CLIENT", b"SETINFO", b"LIB-NAME", b"rs_script"]);
            let version = env!("CARGO_PKG_VERSION").as_bytes();
            step(Step::Introduction, &[b"CLIENT", b"SETINFO", b"LIB-VER", version]);
        }
        (!self.steps.is_empty()).then_some(request)
    }

    /// Judges the answers. `Some`: the server is too old for HELLO, say this instead.
    pub(crate) fn judge(&mut self, replies: ReplyRef<'_>) -> Result<Option<Box<Request>>> {
        for (step, reply) in self.steps.iter().zip(replies.elements()) {
            let text = match (reply.kind(), reply.as_bytes()) {
                (Kind::Error, Some(text)) if *step != Step::Introduction => text,
                _ => continue,
            };
            let lacks_hello = text.starts_with(b"NOPROTO") || verdict::is_unknown_command(text, b"HELLO");
            if *step == Step::Hello && lacks_hello {
                return match self.config.protocol {
                    Protocol::Resp3 => Err(Error::server(Status::NotSupported, text, true)
                        .context("the server does not speak RESP 3")),
                    _ => Ok(self.say(false)),
                };
            }
            return Err(refused(*step, text));
        }
        Ok(None)
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
