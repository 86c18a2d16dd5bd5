//! What the host is told of calls and connections: these setters of the options.

use super::Options;
use crate::base::log::{Event, OnEvent};
use crate::metrics::meter::{CallEvent, OnCall};

impl Options {
    /// Be told of each call that has ended: what it was, where it went, what it cost and what came of it. A pipeline
    /// or transaction is one call. Default: nobody is told.
    ///
    /// It runs on the thread that completes the call, without a lock held: that of the caller, or of whoever drives
    /// submitted calls; before the call returns or its completion can be taken out. So it must be quick, must not
    /// block, and must not call or drop the client. Calls that are refused before they begin (their arguments, a full
    /// queue) are not told of. It costs one more reading of the clock, putting together what is told, and its own
    /// body; off, nothing.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let url = server.url();
    /// use rs_script::{Client, Options};
    /// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    ///
    /// let sent = Arc::new(AtomicU64::new(0));
    /// let counted = Arc::clone(&sent);
    /// let mut options = Options::default();
    /// options.on_call(move |call| {
    ///     counted.fetch_add(call.bytes_sent, Ordering::Relaxed);
    /// });
    /// Client::open(&url, &options)?.command("PING")?;
    /// assert_eq!(sent.load(Ordering::Relaxed), 14);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_call(&mut self, hook: impl Fn(&CallEvent<'_>) + Send + Sync + 'static) -> &mut Self {
        self.on_call = OnCall::new(hook);
        self
    }

    /// Keep figures of so many scripts ([`Client::script_stats`](crate::Client::script_stats)), and of all others
    /// together; 0: none. A script takes 21 KiB once it is called. Default: 0.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.script_stats(100);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn script_stats(&mut self, max_scripts: usize) -> &mut Self {
        self.script_stats = max_scripts;
        self
    }

    /// Has packed completions tell what their calls have cost.
    pub(crate) fn call_costs(&mut self, tell: bool) -> &mut Self {
        self.call_costs = tell;
        self
    }

    /// Tells nobody of calls any more; see [`Options::on_call`].
    pub(crate) fn no_on_call(&mut self) -> &mut Self {
        self.on_call = OnCall::default();
        self
    }

    /// Be told of connections made, lost and refused. Default: nobody is told.
    ///
    /// The callback runs on the thread on which it happened and must not call back into the client. Messages hold
    /// addresses and the server's words, never a password, a key, an argument or a script.
    ///
    /// ```
    /// let mut options = rs_script::Options::default();
    /// options.log(|event| {
    ///     let node = event.node.unwrap_or("-");
    ///     eprintln!("{:?} {:?} {node}: {}", event.level, event.kind, event.message);
    /// });
    /// ```
    pub fn log(&mut self, callback: impl Fn(&Event<'_>) + Send + Sync + 'static) -> &mut Self {
        self.log = OnEvent::new(callback);
        self
    }
}
