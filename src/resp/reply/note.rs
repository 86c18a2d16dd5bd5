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
        };
        let error = error.of_item(self.item);
        match &self.node {
            Some(node) => error.on(node),
            None => error,
        }
    }
}
