//! What has been learnt of the server and of the user's rights, on one connection or on any of a client's.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::known::Known;
use crate::base::sha::Sha;
use crate::ffi::sys::lock::Mutex;
use crate::metrics::figures::Figures;
use crate::request::Form;
use crate::request::script::Script;

/// What has been learnt of the server and of the user's rights on one connection. It ends with that: the next one may
/// lead to a newer server, and to other rights.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Which of its node's connections it is.
    pub(super) number: u64,
    /// SCRIPT LOAD is refused: scripts travel as EVAL.
    pub(super) load_refused: AtomicBool,
    /// The server is older than EVALSHA_RO.
    pub(super) no_read_only: AtomicBool,
    /// FUNCTION LOAD is refused to this user: functions are called alone.
    pub(super) library_load_refused: AtomicBool,
    /// The server has no functions.
    pub(super) no_functions: AtomicBool,
    /// The server has answered HELLO, and does so for every user.
    pub(super) has_hello: AtomicBool,
    /// The last connection has had HELLO: if this one ends on it, that is not HELLO's doing.
    pub(super) expects_hello: bool,
    /// The server has closed a connection on HELLO: this one does without.
    pub(super) shuns_hello: AtomicBool,
    /// EXEC was refused and may have left the connection in MULTI: transactions are not tried. The server's words.
    pub(super) spoilt_by_exec: OnceLock<Vec<u8>>,
    /// One more than the client's [`Compiled::multi_refusals`] when the last empty transaction was sent that has
    /// worked; 0: none has.
    pub(super) proven: AtomicU64,
    pub(super) compiled: Arc<Compiled>,
    /// The server was asked whether it evicts keys, on whichever connection.
    pub(super) memory_asked: Arc<AtomicBool>,
}

/// What a client has learnt on whichever of its connections.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    /// The scripts that have compiled: only those may enter a MULTI, where a failure would not stop the others.
    pub(super) scripts: Mutex<Known>,
    /// The figures of the client's scripts, where they are wanted.
    pub(super) figures: Option<Arc<Figures>>,
    /// How often MULTI was refused in a transaction, whose commands ran singly then. Proofs from before count no
    /// more, on any connection.
    pub(super) multi_refusals: AtomicU64,
}

impl Compiled {
    pub(crate) fn new(figures: Option<Arc<Figures>>) -> Self {
        Compiled { figures, ..Compiled::default() }
    }

    pub(crate) fn figures(&self) -> Option<&Figures> {
        self.figures.as_deref()
    }
}

impl Facts {
    pub(super) fn figures(&self) -> Option<&Figures> {
        self.compiled.figures()
    }

    pub(crate) fn new(compiled: Arc<Compiled>, number: u64, expects_hello: bool) -> Self {
        Facts {
            number,
            load_refused: AtomicBool::new(false),
            no_read_only: AtomicBool::new(false),
            library_load_refused: AtomicBool::new(false),
            no_functions: AtomicBool::new(false),
            has_hello: AtomicBool::new(false),
            expects_hello,
            shuns_hello: AtomicBool::new(false),
            spoilt_by_exec: OnceLock::new(),
            proven: AtomicU64::new(0),
            compiled,
            memory_asked: Arc::default(),
        }
    }

    /// The same of a server that this is known of.
    pub(crate) fn of_server(self, memory_asked: &Arc<AtomicBool>) -> Self {
        Facts { memory_asked: Arc::clone(memory_asked), ..self }
    }

    /// A script as this server can run it: without functions it may be another.
    #[inline]
    pub(super) fn served<'a>(&self, script: &'a Script) -> &'a Script {
        if script.function().is_some() && self.no_functions.load(Ordering::Relaxed) {
            return script.instead().unwrap_or(script);
        }
        script
    }

    /// Whether the server can run nothing that stands for this script.
    pub(super) fn cannot_serve(&self, script: &Script) -> bool {
        self.no_functions.load(Ordering::Relaxed) && self.served(script).function().is_some()
    }

    /// A script or library has compiled on this server.
    pub(super) fn note_compiled(&self, sha: Sha) {
        self.compiled.scripts.lock().insert(sha);
    }

    /// Whether the server has shown that it lets this user run transactions, and no transaction of the client was
    /// refused since.
    pub(super) fn may_run_transactions(&self) -> bool {
        self.proven.load(Ordering::Acquire) == self.multi_refusals() + 1
    }

    /// An empty transaction has worked that was sent when the client had met so many refusals.
    pub(super) fn note_transactions(&self, multi_refusals: u64) {
        self.proven.store(multi_refusals + 1, Ordering::Release);
    }

    pub(super) fn multi_refusals(&self) -> u64 {
        self.compiled.multi_refusals.load(Ordering::Acquire)
    }

    /// A transaction's MULTI was refused.
    pub(super) fn note_multi_refusal(&self) {
        self.compiled.multi_refusals.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether HELLO can be sent on this connection.
    pub(crate) fn has_hello(&self) -> bool {
        self.has_hello.load(Ordering::Relaxed)
    }

    /// The server has closed the connection when HELLO came.
    pub(crate) fn note_shunned_hello(&self) {
        self.shuns_hello.store(true, Ordering::Relaxed);
    }

    pub(super) fn shuns_hello(&self) -> bool {
        self.shuns_hello.load(Ordering::Relaxed)
    }

    /// Whether the server stops a read-only call at its first write.
    pub(crate) fn enforces_read_only(&self) -> bool {
        !self.no_read_only.load(Ordering::Relaxed)
    }
}

/// Forms of script calls that the server refuses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refused(u8);

impl Refused {
    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(super) fn has(self, form: Form) -> bool {
        self.0 & 1 << form as u8 != 0
    }

    pub(super) fn set(&mut self, form: Form, is_refused: bool) {
        self.0 &= !(1 << form as u8);
        self.0 |= u8::from(is_refused) << form as u8;
    }
}
