//! What is known of the error replies in a pipeline, beyond their texts.

use std::sync::Arc;

use crate::error::{Error, Reason, Status};

/// What is known of an error reply in a pipeline.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) at: usize,
    pub(crate) item: usize,
    pub(crate) command: String,
    pub(crate) status: Status,
    pub(crate) reason: Reason,
    pub(crate) not_executed: bool,
    /// The server that it is about.
    pub(crate) node: Option<Arc<str>>,
    /// What this side says of it, in front of the server's words.
    pub(crate) preface: Option<Box<str>>,
}

impl Note {
    /// What is known of an item by an error that it ended with.
    pub(crate) fn new(at: usize, item: usize, command: String, error: &Error) -> Note {
        Note {
            at,
            item,
            command,
            status: error.status(),
            reason: error.reason(),
            not_executed: error.is_not_executed(),
            node: error.shared_node().cloned(),
            preface: error.preface().map(Box::from),
        }
    }

    /// Whether an attempt before the one that ended so may have executed the item: not where its token is another
    /// call's, or none that it can have.
    pub(crate) fn may_be_of_earlier_try(&self) -> bool {
        self.not_executed && !self.status.is_anothers_token()
    }

    /// The error of the item, whose text this is.
    pub(crate) fn error(&self, text: &[u8]) -> Error {
        let error = if self.status.is_answer() {
            Error::server(self.status, text, self.not_executed)
        } else {
            Error::because(self.status, self.reason, String::from_utf8_lossy(text).into_owned())
                .sent(!self.not_executed)
        };
        let error = match &self.preface {
            Some(preface) => error.context(preface),
            None => error,
        };
        let error = error.of_item(self.item);
        match &self.node {
            Some(node) => error.on(node),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_items_error_says_what_the_error_that_it_ended_with_has_said() {
        let node = Arc::from("here:1");
        for error in [
            Error::no_memory(),
            Error::no_memory_to_send(),
            Error::defect(),
            Error::closed(),
            Error::called_off(true),
            Error::called_off(false),
            Error::server(Status::NotServed, b"MOVED 1 there:2", true).context("nobody has run it"),
            Error::server(Status::Server, b"ERR \xff", false).on(&node),
            Error::server(Status::Auth, b"WRONGPASS no", true).context("cannot log in"),
            Error::server(Status::Indeterminate, b"MOVED 1 there:2", false)
                .context("the script may have said so"),
        ] {
            let again = Note::new(1, 0, "GET".to_owned(), &error).error(error.words());
            let about = |error: &Error| {
                let (status, reason) = (error.status(), error.reason());
                let words = (error.message().to_owned(), error.node().map(str::to_owned));
                (status, reason, error.is_not_executed(), error.is_indeterminate(), words)
            };
            assert_eq!(about(&again), about(&error));
        }
    }
}
