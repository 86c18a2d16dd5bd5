//! What a link has to tell, and whom.

use crate::core::{AttemptId, ConnId, Ended};

/// What has become of attempts on a link, or of the link itself.
pub(crate) enum News {
    Ended(AttemptId, Ended),
    /// Its server evicts keys by this policy.
    Evicts(ConnId, String),
    /// It takes no new calls.
    Lost(ConnId),
    /// Nobody needs it any more.
    Gone(ConnId),
}

/// Who is told where nobody is there to whom the news could be given back.
pub(crate) trait Listener: Send + Sync {
    /// Takes in what has happened. `epoch`: that of the link's engine.
    fn take_news(&self, epoch: u64, news: &mut Vec<News>);

    /// A defect has lost attempts: those of that engine are over.
    fn start_anew(&self, epoch: u64);
}
