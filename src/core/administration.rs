//! Script administration: what is asked of every primary, and what their answers amount to.

use super::interface::{FlushMode, Task};
use super::libraries;
use crate::error::{Error, Result, Status};
use crate::resp::{Kind, Payload, Reply};

/// A server's address, where there are several, and its answer.
pub(super) type Answer = (Option<String>, Result<Reply>);

/// The command of a task; nothing for those that are a dialogue.
pub(super) fn command(task: &Task) -> Vec<&[u8]> {
    let mut words: Vec<&[u8]> = vec![b"SCRIPT"];
    match task {
        Task::Load(script) if let Some(function) = script.function() => {
            words = vec![b"FUNCTION", b"LOAD", &function.code.source];
        }
        Task::Load(script) => words.extend([&b"LOAD"[..], script.source()]),
        Task::Exists(shas) => {
            words.push(b"EXISTS");
            words.extend(shas.iter().map(Vec::as_slice));
        }
        Task::Flush(mode) => {
            words.push(b"FLUSH");
            match mode {
                FlushMode::Default => {}
                FlushMode::Sync => words.push(b"SYNC"),
                FlushMode::Async => words.push(b"ASYNC"),
            }
        }
        Task::Show(sha) => words.extend([&b"SHOW"[..], sha]),
        Task::Kill | Task::KillAny => words.push(b"KILL"),
        // It is asked in other ways.
        Task::Library(_) => words.clear(),
    }
    words
}

/// What the answers of all primaries amount to.
pub(super) fn combine(task: &Task, answers: Vec<Answer>) -> Result<Reply> {
    match task {
        Task::Load(script) => {
            let brought = answers.into_iter().map(|(node, it)| (node, libraries::brought(it, script)));
            all(brought, true).and_then(|_| done())
        }
        Task::Flush(_) => all(answers.into_iter(), true).and_then(|_| done()),
        Task::Exists(shas) => {
            let mut everywhere = vec![true; shas.len()];
            for reply in all(answers.into_iter(), false)? {
                for (everywhere, exists) in everywhere.iter_mut().zip(reply.root().elements()) {
                    *everywhere &= exists.as_i64() == Some(1);
                }
            }
            let mut payload = Box::<Payload>::default();
            payload.start_array();
            everywhere.iter().for_each(|&exists| payload.append_boolean(exists));
            payload.end_array(everywhere.len());
            Ok(Reply::new(payload))
        }
        Task::Show(_) => show(answers),
        // Its answers are not put together.
        Task::Library(_) => Err(Error::defect()),
        Task::Kill | Task::KillAny => best(answers.into_iter().map(|(_, answer)| answer)),
    }
}

/// Of several answers to a kill the one that says most.
pub(super) fn best(answers: impl Iterator<Item = Result<Reply>>) -> Result<Reply> {
    let rank = |answer: &Result<Reply>| answer.as_ref().err().map(rank);
    answers.min_by_key(rank).unwrap_or_else(|| Err(Error::closed()))
}

/// Which of several refusals to kill says most.
fn rank(error: &Error) -> u8 {
    match error.server_code() {
        Some("UNKILLABLE") => 0,
        Some("NOTBUSY") => 3,
        _ if !error.is_not_executed() => 1,
        _ => 2,
    }
}

/// Of several primaries' errors the one that is told: the first by which it may have been done.
pub(super) fn first_in_doubt(failed: Vec<(Option<String>, Error)>) -> Option<(String, Error)> {
    let in_doubt = failed.iter().position(|(_, error)| !error.is_not_executed());
    failed.into_iter().nth(in_doubt.unwrap_or(0)).map(|(node, error)| (node.unwrap_or_default(), error))
}

fn done() -> Result<Reply> {
    let mut payload = Box::<Payload>::default();
    payload.start();
    payload.append_text(Kind::Status, b"OK")?;
    Ok(Reply::new(payload))
}

fn show(answers: Vec<Answer>) -> Result<Reply> {
    let mut failed = None;
    for (_, answer) in answers {
        match answer {
            Ok(reply) => return Ok(reply),
            Err(error) if error.server_code() == Some("NOSCRIPT") => {}
            Err(error) => failed = Some(error),
        }
    }
    let Some(error) = failed else {
        return Ok(Reply::nil(Box::default()));
    };
    Err(match (error.server_code(), error.server_text()) {
        (Some("ERR"), Some(text)) if is_unknown_subcommand(text) => {
            Error::server(Status::NotSupported, text, true).context("SCRIPT SHOW needs Valkey 8")
        }
        _ => error,
    })
}

/// The replies, if each primary has given one; else an error that says who has not, and why. `changes`: what was asked
/// for is more than a question.
fn all(answers: impl ExactSizeIterator<Item = Answer>, changes: bool) -> Result<Vec<Reply>> {
    let mut replies = Vec::new();
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    let count = answers.len();
    for (node, answer) in answers {
        match answer {
            Ok(reply) => {
                done.extend(node);
                replies.push(reply);
            }
            Err(error) => failed.push((node, error)),
        }
    }
    let Some((node, error)) = first_in_doubt(failed) else { return Ok(replies) };
    if count == 1 {
        return Err(error);
    }
    let rest = if done.is_empty() { "no other primary".to_owned() } else { done.join(", ") };
    let error = if changes && !done.is_empty() { error.of_a_part() } else { error };
    Err(error.context(format_args!("{} of {count} primaries have done it ({rest}); {node}", done.len())))
}

fn is_unknown_subcommand(text: &[u8]) -> bool {
    text.to_ascii_lowercase().starts_with(b"err unknown subcommand")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::interface::FlushMode;
    use crate::error::Reason;

    #[test]
    fn where_one_primary_was_not_reached_and_another_may_have_done_it_nobody_says_that_it_was_not_done() {
        let unreached = || Error::new(Status::Connect, "nobody is there");
        let lost = || Error::indeterminate(Reason::ConnectionLost, "it was lost");
        for tasks in [Task::Flush(FlushMode::Default), Task::Kill] {
            for errors in [[unreached(), lost()], [lost(), unreached()]] {
                let answers = errors.map(|error| (Some("node".to_owned()), Err(error))).into();
                let error = combine(&tasks, answers).unwrap_err();
                assert!(error.is_indeterminate() && !error.is_not_executed(), "{error}");
            }
        }
        let answers = [unreached(), unreached()].map(|error| (None, Err(error))).into();
        assert!(combine(&Task::Kill, answers).unwrap_err().is_not_executed());
    }

    #[test]
    fn of_the_answers_to_a_kill_the_one_that_says_most_is_told() {
        let refused = |text: &str| Err(Error::server(Status::Server, text.as_bytes(), true));
        let [idle, unkillable] = ["NOTBUSY No scripts", "UNKILLABLE It has written"];
        for texts in [[idle, unkillable], [unkillable, idle]] {
            let error = best(texts.into_iter().map(refused)).unwrap_err();
            assert_eq!(error.server_code(), Some("UNKILLABLE"));
        }
        for answers in [[refused(unkillable), done()], [done(), refused(unkillable)]] {
            assert!(best(answers.into_iter()).is_ok(), "one was stopped");
        }
    }
}
