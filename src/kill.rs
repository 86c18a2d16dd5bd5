//! Stops what a server is running, be it a script or a function.

use std::time::Instant;

use crate::client::Client;
use crate::error::{Error, Result, Status};
use crate::link::Link;
use crate::node::Node;
use crate::resp::{Kind, Payload, Reply, ReplyRef};
use crate::session::handshake::Purpose;

/// What [`Client::kill`] has stopped on one server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Killed {
    /// A function (FCALL); otherwise a script (EVAL, EVALSHA).
    pub is_function: bool,
    /// The function's name. The server does not tell which script it was, nor a function's name to a user who may not run FUNCTION STATS.
    pub name: Option<String>,
    /// The server, `host:port`, or its socket's path.
    pub node: String,
}

/// How often one server is asked: what it runs may end, and something else begin, in between.
const TURNS: usize = 3;

impl Client {
    /// Stops what the server is running, a script or a function, if it has not written yet, and tells what that was; in a cluster, what the
    /// primaries are running. It need not be this client's.
    ///
    /// Opens a connection of its own, because the server answers nothing else meanwhile. The server's refusals are
    /// `NOTBUSY` (nothing runs) and `UNKILLABLE` (it has written). In a cluster one success is a success; otherwise
    /// `UNKILLABLE` outranks a primary that cannot be reached, and that outranks `NOTBUSY`.
    ///
    /// [SCRIPT KILL](https://redis.io/docs/latest/commands/script-kill/),
    /// [FUNCTION KILL](https://redis.io/docs/latest/commands/function-kill/)
    pub fn kill(&self) -> Result<Vec<Killed>> {
        let ask = |node: &Node, deadline| {
            let (is_function, name) =
                node.apart(Purpose::Bare, deadline, |link| kill_over(link, deadline))?;
            Ok(Killed { is_function, name, node: node.address().to_string() })
        };
        let mut killed = Vec::new();
        let mut failed = Vec::new();
        for (_, answer) in self.ask_everywhere_apart(ask)? {
            match answer {
                Ok(what) => killed.push(what),
                Err(error) => failed.push(error),
            }
        }
        if killed.is_empty() {
            return Err(failed.into_iter().min_by_key(rank).unwrap_or_else(Error::closed));
        }
        Ok(killed)
    }

    /// The same as a reply: an array with an array for each that was stopped: `script` or `function`, the name or nil, the server.
    pub(crate) fn kill_to_reply(&self) -> Result<Reply> {
        let killed = self.kill()?;
        let mut payload = Box::<Payload>::default();
        payload.start_array();
        for what in &killed {
            payload.append_array(3, |payload| {
                let kind: &[u8] = if what.is_function { b"function" } else { b"script" };
                payload.append_text(Kind::String, kind)?;
                match &what.name {
                    Some(name) => payload.append_text(Kind::String, name.as_bytes())?,
                    None => payload.append_nil(),
                }
                payload.append_text(Kind::String, what.node.as_bytes())
            })?;
        }
        payload.end_array(killed.len());
        Ok(Reply::new(payload))
    }
}

/// Which of several refusals to kill says most.
pub(crate) fn rank(error: &Error) -> u8 {
    match error.server_code() {
        Some("UNKILLABLE") => 0,
        Some("NOTBUSY") => 2,
        _ => 1,
    }
}

/// Stops what runs at the other end; whether that was a function, and its name.
fn kill_over(link: &Link, deadline: Instant) -> Result<(bool, Option<String>)> {
    let mut turns = 1..=TURNS;
    loop {
        let refused = match link.ask(&[b"SCRIPT", b"KILL"], deadline) {
            Ok(_) => return Ok((false, None)),
            Err(error) => error,
        };
        // The server refuses to kill a function so.
        if refused.status() != Status::Busy {
            return Err(refused);
        }
        // In one write, so that what has the name is what is stopped.
        let replies = link.ask_all(&[&[b"FUNCTION", b"STATS"], &[b"FUNCTION", b"KILL"]], deadline)?;
        let error = match replies.get(1).map(|reply| (reply.kind(), reply.as_error())) {
            Some((Kind::Error, Some(error))) => error,
            _ => return Ok((true, replies.get(0).and_then(name_of_running))),
        };
        let is_script = error.status() == Status::Busy;
        if !is_script || turns.next().is_none() {
            let knows_no_functions = error.server_code() == Some("ERR");
            return Err(if knows_no_functions { refused } else { error });
        }
    }
}

/// The name in `running_script` of FUNCTION STATS.
fn name_of_running(stats: ReplyRef<'_>) -> Option<String> {
    let running = value_of(stats, b"running_script")?;
    value_of(running, b"name")?.as_str().map(str::to_owned)
}

/// The value of a name in a map, or in the array of names and values that stands for it in RESP2.
fn value_of<'a>(map: ReplyRef<'a>, name: &[u8]) -> Option<ReplyRef<'a>> {
    let mut elements = map.elements();
    while let (Some(key), value) = (elements.next(), elements.next()) {
        if key.as_bytes() == Some(name) {
            return value;
        }
    }
    None
}
