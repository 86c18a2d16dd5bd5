//! The script cache of one server: what SCRIPT LOAD has brought stays until a flush, what EVAL has brought makes room for others.

/// So many scripts there are in all.
pub(in crate::simulation) const SCRIPTS: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    No,
    Loaded,
    /// By EVAL, which was used at this time.
    Evaled(u64),
}

pub(in crate::simulation) struct ScriptCache {
    held: [Held; SCRIPTS],
    /// So many that EVAL has brought are kept.
    most: usize,
    uses: u64,
    /// How often each was lost, and any of them.
    lost: [u32; SCRIPTS],
    pub(super) losses: u32,
}

impl ScriptCache {
    pub(super) fn new(most: usize) -> Self {
        ScriptCache { held: [Held::No; SCRIPTS], most, uses: 0, lost: [0; SCRIPTS], losses: 0 }
    }

    pub(super) fn has(&mut self, script: usize) -> bool {
        if let Held::Evaled(used) = &mut self.held[script] {
            self.uses += 1;
            *used = self.uses;
        }
        self.held[script] != Held::No
    }

    pub(super) fn load(&mut self, script: usize) {
        self.held[script] = Held::Loaded;
    }

    pub(super) fn eval(&mut self, script: usize) {
        if self.has(script) {
            return;
        }
        self.uses += 1;
        self.held[script] = Held::Evaled(self.uses);
        let used = |held: &Held| if let Held::Evaled(used) = held { Some(*used) } else { None };
        if self.held.iter().filter_map(used).count() > self.most {
            let oldest = (0..SCRIPTS).filter_map(|script| Some((used(&self.held[script])?, script))).min();
            if let Some((_, oldest)) = oldest {
                self.lose(oldest);
            }
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

    /// How often it was lost.
    pub(super) fn lost(&self, script: usize) -> u32 {
        self.lost[script]
    }
}
