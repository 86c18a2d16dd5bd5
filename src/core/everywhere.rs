//! One command on every primary, side by side; and the dialogues that stop what a server runs or remove libraries.

use std::time::Instant;

use super::administration::{self, Answer};
use super::interface::{Actions, AttemptId, CallId, ConnId, NodeId, Owner, Task};
use super::libraries::{self, LibraryTask, value_of};
use super::state::attempt::{Attempt, For, Tried, Via};
use super::state::engine::{Body, Engine};
use super::state::everywhere::{Dialogue, Everywhere, Part, Stage, Work, may_have_run};
use super::state::refresh::MapWait;
use super::state::room::{self, Again};
use crate::base::purpose::Purpose;
use crate::error::{Error, Result, Status};
use crate::request::library::Library;
use crate::request::{Request, Shape};
use crate::resp::{Kind, Note, Payload, Reply, ReplyRef};

/// How often one server is asked to stop what it runs: that may end, and something else begin, in between.
const TURNS: usize = 3;

impl Everywhere {
    /// The libraries whose other versions are to be removed.
    fn prunes(&self) -> Option<&[Library]> {
        match &self.work {
            Work::Administer(Task::Library(LibraryTask::Prune(keep))) => Some(keep),
            _ => None,
        }
    }

    /// What one server is asked first.
    fn request(&self, mut request: Box<Request>) -> Box<Request> {
        match &self.work {
            Work::Send(source) => request.copy_from(source),
            Work::Administer(Task::Library(task)) => task.ask(&mut request),
            Work::Administer(task) => {
                request.reset(Shape::Single);
                request.say(&administration::command(task));
            }
        }
        request
    }
}

impl<T: Owner> Engine<T> {
    pub(super) fn begin_everywhere(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        everywhere: Everywhere,
    ) {
        self.set_body(id, Body::Everywhere(Box::new(everywhere)));
        if self.servers.only.is_some() {
            self.send_everywhere(now, io, id);
        } else {
            self.prepare(now, io, id);
        }
    }

    fn send_everywhere(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        let primaries = self.servers.primaries();
        let seen = self.servers.map.generation;
        let replicas = self.servers.map.replicas().collect();
        let Some(call) = self.call_mut(id) else { return };
        let times = (call.deadline, call.timeout);
        let Body::Everywhere(everywhere) = &mut call.body else { return };
        everywhere.seen = seen;
        everywhere.replicas = replicas;
        everywhere.stage = Stage::Sent;
        // What a server has said of a command stands, whatever has become of the server; that it has a script, say,
        // matters only while it is a primary.
        let is_told = matches!(everywhere.work, Work::Send(_));
        everywhere.done.retain(|(node, answer)| primaries.contains(node) || is_told && may_have_run(answer));
        let missing: Vec<NodeId> = primaries
            .into_iter()
            .filter(|node| !everywhere.done.iter().any(|(other, _)| other == node))
            .collect();
        everywhere.outstanding = missing.len();
        let via = match everywhere.purpose {
            purpose if everywhere.is_dialogue() => Via::Kept(purpose),
            purpose => Via::of(purpose),
        };
        let part = |node: &NodeId| Part { node: *node, attempt: None, dialogue: Dialogue::First };
        everywhere.parts = missing.iter().map(part).collect();
        let requests: Vec<_> = missing.iter().map(|_| everywhere.request(io.take_request())).collect();
        if missing.is_empty() {
            return self.everywhere_answered(now, io, id);
        }
        for (place, (node, request)) in missing.into_iter().zip(requests).enumerate() {
            let mut attempt = Attempt::new(For::Part(id, place), node, Some(request), now, times);
            attempt.via = via;
            let attempt = self.start(now, io, attempt);
            self.set_part(id, place, attempt);
        }
    }

    fn set_part(&mut self, id: CallId, place: usize, attempt: AttemptId) {
        if let Some(part) = self.everywhere_mut(id).and_then(|everywhere| everywhere.parts.get_mut(place)) {
            part.attempt = Some(attempt);
        }
    }

    /// A primary has answered, or will not.
    pub(super) fn part_of_everywhere_tried(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        place: usize,
        mut tried: Tried,
    ) {
        tried.give_back(io);
        let Some(everywhere) = self.everywhere_mut(id) else { return };
        let is_dialogue = everywhere.is_dialogue();
        let node = everywhere.parts[place].node;
        everywhere.parts[place].attempt = None;
        let mut answer = tried.result.map(Reply::new);
        if is_dialogue {
            answer = match self.go_on_killing(now, io, id, place, tried.whence.conn, answer) {
                Some(answer) => answer,
                None => return,
            };
            if let Some(conn) = tried.whence.conn {
                self.drop_own(io, conn);
            }
        } else if self.everywhere_mut(id).is_some_and(|everywhere| everywhere.prunes().is_some()) {
            answer = match self.go_on_pruning(now, io, id, place, answer) {
                Some(answer) => answer,
                None => return,
            };
        }
        let Some(everywhere) = self.everywhere_mut(id) else { return };
        everywhere.was_sent |= everywhere.may_have_done(&answer);
        everywhere.done.push((node, answer));
        everywhere.outstanding -= 1;
        if everywhere.outstanding == 0 {
            self.everywhere_answered(now, io, id);
        }
    }

    /// Goes on with the dialogue that stops what a server runs; what has come of it at its end.
    fn go_on_killing(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        place: usize,
        conn: Option<ConnId>,
        answer: Result<Reply>,
    ) -> Option<Result<Reply>> {
        let everywhere = self.everywhere_mut(id)?;
        let part = &mut everywhere.parts[place];
        let node = part.node;
        let name = |engine: &Self| engine.servers.node(node).address.to_string();
        let (dialogue, words): (_, &[&[&[u8]]]) = match std::mem::replace(&mut part.dialogue, Dialogue::First)
        {
            Dialogue::First => match answer {
                Ok(_) => return Some(stopped(false, None, &name(self))),
                // The server refuses to kill a function so.
                Err(refused) if refused.status() == Status::Busy && conn.is_some() => {
                    (Dialogue::Functions { refused }, &[&[b"FUNCTION", b"STATS"], &[b"FUNCTION", b"KILL"]])
                }
                Err(error) => return Some(Err(error)),
            },
            Dialogue::Removal { .. } => return Some(Err(Error::defect())),
            Dialogue::Functions { refused } => {
                let replies = match answer {
                    Ok(replies) => replies,
                    Err(error) => return Some(Err(error)),
                };
                let killed = replies.get(1);
                let Some(error) =
                    killed.filter(|reply| reply.kind() == Kind::Error).and_then(|it| it.as_error())
                else {
                    let running = replies.get(0).and_then(name_of_running);
                    return Some(stopped(true, running.as_deref(), &name(self)));
                };
                everywhere.rounds += 1;
                let is_script = error.status() == Status::Busy;
                if !is_script || everywhere.rounds as usize > TURNS * everywhere.parts.len() {
                    let knows_no_functions = error.server_code() == Some("ERR");
                    return Some(Err(if knows_no_functions { refused } else { error }));
                }
                (Dialogue::First, &[&[b"SCRIPT", b"KILL"]])
            }
        };
        let conn = conn?;
        let everywhere = self.everywhere_mut(id)?;
        everywhere.parts[place].dialogue = dialogue;
        let mut request = io.take_request();
        request.reset(if words.len() > 1 { Shape::Pipeline } else { Shape::Single });
        words.iter().for_each(|words| request.say(words));
        let call = self.call(id)?;
        let times = (call.deadline, call.timeout);
        let mut attempt = Attempt::new(For::Part(id, place), node, Some(request), now, times);
        attempt.via = Via::This(conn);
        let attempt = self.start(now, io, attempt);
        self.set_part(id, place, attempt);
        None
    }

    /// Removes what a server has told that it has; what has come of it at its end.
    fn go_on_pruning(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        place: usize,
        answer: Result<Reply>,
    ) -> Option<Result<Reply>> {
        let everywhere = self.everywhere_mut(id)?;
        let part = &mut everywhere.parts[place];
        let node = part.node;
        let dialogue = std::mem::replace(&mut part.dialogue, Dialogue::First);
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Some(Err(error)),
        };
        if let Dialogue::Removal { names } = dialogue {
            return Some(libraries::removed(names, Some(&answer)));
        }
        let names = match libraries::versions(everywhere.prunes()?, &answer) {
            Ok(names) if names.is_empty() => return Some(libraries::removed(names, None)),
            Ok(names) => names,
            Err(error) => return Some(Err(error)),
        };
        let mut request = io.take_request();
        libraries::removal(&names, &mut request);
        everywhere.parts[place].dialogue = Dialogue::Removal { names };
        let call = self.call(id)?;
        let times = (call.deadline, call.timeout);
        let attempt = Attempt::new(For::Part(id, place), node, Some(request), now, times);
        let attempt = self.start(now, io, attempt);
        self.set_part(id, place, attempt);
        None
    }

    fn everywhere_answered(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        let attempts = self.servers.config.reconnect.attempts;
        let (is_closed, is_only) = (self.is_closed, self.servers.only.is_some());
        let Some(call) = self.call_mut(id) else { return };
        let deadline = call.deadline;
        let Body::Everywhere(everywhere) = &mut call.body else { return };
        everywhere.rounds += 1;
        let failed = everywhere.done.iter().any(|(_, answer)| is_lost(answer));
        let goes_on = failed
            && !is_closed
            && !is_only
            && everywhere.purpose == Purpose::Calls
            && (attempts == 0 || everywhere.rounds < attempts)
            && now < deadline;
        if !goes_on {
            return self.finish_everywhere(io, id);
        }
        everywhere.stage = Stage::Pausing;
        let pause = room::pause(Again::AfterRefresh, everywhere.rounds);
        self.wake_at(id, deadline.min(now + pause));
    }

    fn may_reach_heirs(&self, now: Instant, id: CallId) -> bool {
        let Some(Body::Everywhere(everywhere)) = self.call(id).map(|call| &call.body) else { return false };
        let Work::Send(request) = &everywhere.work else { return false };
        let age = self.age(now, id);
        let may_repeat = |node| self.servers.node(node).may_repeat(request, age);
        everywhere.may_reach_heirs(&self.servers.primaries(), may_repeat)
    }

    pub(super) fn proceed_everywhere(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        let may_reach_heirs = self.may_reach_heirs(now, id);
        let Some(call) = self.call_mut(id) else { return };
        let deadline = call.deadline;
        let Body::Everywhere(everywhere) = &mut call.body else { return };
        match std::mem::replace(&mut everywhere.stage, Stage::Sent) {
            Stage::Sent => {}
            Stage::AwaitingMap if may_reach_heirs => self.finish_everywhere(io, id),
            Stage::AwaitingMap => {
                everywhere.done.retain(|(_, answer)| !is_lost(answer));
                self.send_everywhere(now, io, id);
            }
            Stage::Pausing => {
                everywhere.stage = Stage::AwaitingMap;
                let seen = everywhere.seen;
                self.await_map(now, io, id, seen, deadline, MapWait::NEW_MAP);
            }
        }
    }

    /// No map came, or none in time.
    pub(super) fn no_map_for_everywhere(&mut self, io: &mut dyn Actions<T>, id: CallId, error: Error) {
        let Some(everywhere) = self.everywhere_mut(id) else { return };
        if everywhere.done.is_empty() {
            let error = if everywhere.may_have_changed() { error.of_a_part() } else { error };
            self.finish(io, id, Err(error), None);
        } else {
            self.finish_everywhere(io, id);
        }
    }

    /// Ends it before its time. What has been sent goes on where it is.
    pub(super) fn cancel_everywhere(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        let Some(everywhere) = self.everywhere_mut(id) else { return };
        let is_dialogue = everywhere.is_dialogue();
        let parts: Vec<AttemptId> = everywhere.parts.iter().filter_map(|part| part.attempt).collect();
        let mut was_sent = everywhere.was_sent;
        for attempt in parts {
            let kept = self.attempt(attempt).and_then(Attempt::conn).filter(|_| is_dialogue);
            was_sent |= self.call_off(now, io, attempt).is_none_or(|(_, left)| left.queued);
            if let Some(conn) = kept {
                self.drop_own(io, conn);
            }
        }
        self.finish(io, id, Err(Error::called_off(was_sent)), None);
    }

    fn finish_everywhere(&mut self, io: &mut dyn Actions<T>, id: CallId) {
        let primaries = self.servers.primaries();
        let Some(everywhere) = self.everywhere_mut(id) else { return };
        let may_have_changed = everywhere.may_have_changed();
        let mut done = std::mem::take(&mut everywhere.done);
        done.sort_unstable_by_key(|(node, _)| (primaries.iter().position(|primary| primary == node), *node));
        let work = std::mem::replace(&mut everywhere.work, Work::Administer(Task::Kill));
        let servers = &self.servers;
        let answers: Vec<Answer> = done
            .into_iter()
            .map(|(node, answer)| (Some(servers.node(node).address.to_string()), answer))
            .collect();
        let result = match work {
            Work::Send(request) => {
                let command = request.name_of(0);
                io.keep(request);
                as_map(self.pool.take(), &answers, &command)
            }
            Work::Administer(Task::KillAny) => all_stopped(answers),
            Work::Administer(Task::Library(task)) => {
                let answers: Vec<Answer> =
                    answers.into_iter().map(|(node, answer)| (node, task.judge(answer))).collect();
                all_told(self.pool.take(), answers, task.name())
            }
            Work::Administer(task) => administration::combine(&task, answers),
        };
        let result = result.map_err(|error| if may_have_changed { error.of_a_part() } else { error });
        self.finish(io, id, result, None);
    }

    fn everywhere_mut(&mut self, id: CallId) -> Option<&mut Everywhere> {
        match &mut self.call_mut(id)?.body {
            Body::Everywhere(everywhere) => Some(everywhere),
            _ => None,
        }
    }
}

/// Whether a server could not be reached.
fn is_lost(answer: &Result<Reply>) -> bool {
    answer.as_ref().is_err_and(|error| error.status() == Status::Connect)
}

/// What servers have said of a library, as one reply; the first error, where there is nothing else.
fn all_told(payload: Box<Payload>, answers: Vec<Answer>, command: &str) -> Result<Reply> {
    if answers.iter().any(|(_, answer)| answer.is_ok()) {
        return as_map(payload, &answers, command);
    }
    let count = answers.len();
    let failed = answers.into_iter().filter_map(|(node, answer)| Some((node, answer.err()?))).collect();
    Err(match administration::first_in_doubt(failed) {
        Some((node, error)) if count > 1 => {
            error.context(format_args!("none of {count} primaries has done it; {node}"))
        }
        Some((_, error)) => error,
        None => Error::closed(),
    })
}

/// The answers of several servers as one reply: a map from each one's address to what it said.
fn as_map(mut whole: Box<Payload>, answers: &[Answer], command: &str) -> Result<Reply> {
    whole.start_array();
    for (item, (node, answer)) in answers.iter().enumerate() {
        whole.append_text(Kind::String, node.as_deref().unwrap_or_default().as_bytes())?;
        let at = whole.tape.len();
        match answer {
            Ok(reply) => {
                let root: ReplyRef<'_> = reply.root();
                let shift = whole.adopt_texts(root.payload())?;
                whole.append(root.entries(), shift)?;
            }
            Err(error) => {
                whole.append_text(Kind::Error, error.words())?;
                whole.notes.push(Note::new(at, item, command.to_owned(), error));
            }
        }
    }
    whole.end_array(2 * answers.len());
    whole.make_map();
    Ok(Reply::new(whole))
}

/// What was stopped on one server: `script` or `function`, the name or nil, the server.
fn stopped(is_function: bool, name: Option<&str>, node: &str) -> Result<Reply> {
    let mut payload = Box::<Payload>::default();
    payload.start_array();
    let kind: &[u8] = if is_function { b"function" } else { b"script" };
    payload.append_text(Kind::String, kind)?;
    match name {
        Some(name) => payload.append_text(Kind::String, name.as_bytes())?,
        None => payload.append_nil(),
    }
    payload.append_text(Kind::String, node.as_bytes())?;
    payload.end_array(3);
    Ok(Reply::new(payload))
}

/// What was stopped on all servers, as an array; or why nothing was.
fn all_stopped(answers: Vec<Answer>) -> Result<Reply> {
    let (stopped, failed): (Vec<_>, Vec<_>) =
        answers.into_iter().map(|(_, answer)| answer).partition(Result::is_ok);
    if stopped.is_empty() {
        return administration::best(failed.into_iter());
    }
    let mut whole = Box::<Payload>::default();
    whole.start_array();
    let mut count = 0;
    for reply in stopped.iter().flatten() {
        let root = reply.root();
        let shift = whole.adopt_texts(root.payload())?;
        whole.append(root.entries(), shift)?;
        count += 1;
    }
    whole.end_array(count);
    Ok(Reply::new(whole))
}

/// The name in `running_script` of FUNCTION STATS.
fn name_of_running(stats: ReplyRef<'_>) -> Option<String> {
    let running = value_of(stats, b"running_script")?;
    value_of(running, b"name")?.as_str().map(str::to_owned)
}
