//! The script cache of one server: what SCRIPT LOAD has brought stays until a flush, what EVAL has brought makes
//! room for others. Behind the scripts stand the libraries of functions.

use crate::request::once::Once;
use crate::request::script::Script;

/// So many scripts there are in all.
pub(in crate::simulation) const SCRIPTS: usize = 8;

/// The places of the one that runs once per token, of the one that is called as a function, and of the one that is
/// both. As scripts the last two run on servers without functions alone.
pub(super) const ONCE: usize = 5;
pub(super) const FUNCTION: usize = 6;
pub(super) const ONCE_FUNCTION: usize = 7;

/// All that there are.
pub(in crate::simulation) fn scripts() -> Vec<Script> {
    let mut scripts: Vec<Script> = ["return 1", "return 2", "return 3", "return 4"].map(Script::new).to_vec();
    scripts.push(Script::idempotent("return 5"));
    let once = |source: &str| Script::new(source).once(&Once::default()).expect("a script");
    scripts.extend([once("return 6"), Script::new("return 7"), once("return 8")]);
    assert_eq!(scripts.len(), SCRIPTS);
    scripts
}

/// So many libraries there are in all. Their places are those behind the scripts'.
pub(super) const LIBRARIES: usize = 6;

/// The scripts and the libraries.
pub(super) const CODES: usize = SCRIPTS + LIBRARIES;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    No,
    Loaded,
    /// By EVAL: it makes room for others when a server likes.
    Evaled,
}

pub(in crate::simulation) struct ScriptCache {
    held: [Held; CODES],
    /// How often each was lost, and any of them.
    lost: [u32; CODES],
    pub(super) losses: u32,
    /// Whether it ever had each.
    had: [bool; CODES],
}

impl ScriptCache {
    pub(super) fn new() -> Self {
        ScriptCache { held: [Held::No; CODES], lost: [0; CODES], losses: 0, had: [false; CODES] }
    }

    pub(super) fn has(&self, script: usize) -> bool {
        self.held[script] != Held::No
    }

    pub(super) fn load(&mut self, script: usize) {
        self.held[script] = Held::Loaded;
        self.had[script] = true;
    }

    pub(super) fn eval(&mut self, script: usize) {
        if !self.has(script) {
            self.held[script] = Held::Evaled;
            self.had[script] = true;
        }
    }

    /// What EVAL has brought makes room for others.
    pub(super) fn evict(&mut self) {
        for script in (0..SCRIPTS).filter(|script| self.held[*script] == Held::Evaled).collect::<Vec<_>>() {
            self.lose(script);
        }
    }

    fn lose(&mut self, script: usize) {
        if std::mem::replace(&mut self.held[script], Held::No) != Held::No {
            self.lost[script] += 1;
            self.losses += 1;
        }
    }

    pub(super) fn flush(&mut self) {
        (0..SCRIPTS).for_each(|script| self.lose(script));
    }

    pub(super) fn flush_functions(&mut self) {
        (SCRIPTS..CODES).for_each(|library| self.lose(library));
    }

    /// Has the libraries of another, and no others.
    pub(super) fn take_functions(&mut self, other: &ScriptCache) {
        for library in SCRIPTS..CODES {
            match other.has(library) {
                true => self.load(library),
                false => self.lose(library),
            }
        }
    }

    pub(in crate::simulation) fn ever_had(&self, script: usize) -> bool {
        self.had[script]
    }

    /// How often it was lost.
    pub(super) fn lost(&self, script: usize) -> u32 {
        self.lost[script]
    }
}
