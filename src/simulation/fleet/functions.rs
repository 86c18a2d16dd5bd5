//! Libraries of functions: two versions of a pinned one, a named one, a script that is called as a function, and of
//! those that run once per token a pinned one and such a script. A replica gets its primary's, sooner or later; a new
//! primary has what it had as a replica, and where a slot moves they do not go along.

use super::peer::{Peer, item_of};
use super::scripts::{FUNCTION, LIBRARIES, ONCE_FUNCTION, SCRIPTS, scripts};
use super::words::bulk;
use super::{Fleet, trace};
use crate::request::function::Function;
use crate::request::library::Library;
use crate::request::once::Once;
use crate::request::script::Script;

/// The place of the one that is not pinned, among the libraries.
pub(in crate::simulation) const NAMED: usize = 2;

/// So many of them run as often as they are called; behind these are those that run once per token.
pub(in crate::simulation) const ORDINARY: usize = 4;

/// The place of the script that is called as a function, and those of what runs once per token.
pub(super) const AS_FUNCTION: usize = 3;
pub(super) const ONCE_LIBRARY: usize = 4;
pub(super) const ONCE_AS_FUNCTION: usize = 5;

const MISSING: &str = "-ERR Function not found\r\n";

/// A function of each library.
pub(in crate::simulation) fn functions() -> Vec<Script> {
    let pinned = |version: u8| Library::pinned(format!("#!lua name=p\n{version}"));
    let libraries = [pinned(1), pinned(2), Library::named("#!lua name=n\n")];
    let of_libraries = libraries.map(|library| library.and_then(|it| it.function("f")).expect("a function"));
    let scripts = scripts();
    let mut functions = of_libraries.to_vec();
    functions.push(scripts[FUNCTION].clone().as_function());
    functions.push(once_function(&Once::default()));
    functions.push(scripts[ONCE_FUNCTION].clone().as_function());
    assert_eq!(functions.len(), LIBRARIES);
    functions
}

/// The function of a library whose functions run once per token.
pub(super) fn once_function(once: &Once) -> Script {
    let library = Library::pinned("#!lua name=o\n").and_then(|library| library.once(once));
    library.and_then(|library| library.function("f")).expect("a function")
}

/// The place of the library that a script stands for where there are no functions.
pub(super) fn stands_for(script: usize) -> Option<usize> {
    match script {
        FUNCTION => Some(AS_FUNCTION),
        ONCE_FUNCTION => Some(ONCE_AS_FUNCTION),
        _ => None,
    }
}

impl Fleet {
    /// The library of a function that is called, by the function's name.
    pub(super) fn library_of(&self, name: &[u8]) -> Option<usize> {
        let is_name = |function: &Function, reads: bool| function.name(reads).as_bytes() == name;
        let is_it = |function: &Function| is_name(function, false) || is_name(function, true);
        self.functions.iter().position(|script| script.function().is_some_and(is_it))
    }

    /// What a server answers to FUNCTION LOAD that it does not refuse.
    pub(super) fn load_library(&mut self, place: usize, peer: &mut Peer, words: &[Vec<u8>]) -> String {
        let source = &words[words.len() - 1];
        let code = |function: &Script| function.function().map(|function| function.code.clone());
        let is_it = |library: &usize| code(&self.functions[*library]).is_some_and(|it| it.source == *source);
        let Some(library) = (0..LIBRARIES).find(is_it) else {
            self.witness.fault(format!("an unknown library: {}", source.escape_ascii()));
            return "-ERR Error compiling function: user_function:1\r\n".into();
        };
        if words.len() != 3 {
            self.witness.fault("a library is replaced that nobody deploys".into());
        }
        let code = code(&self.functions[library]).expect("it is one");
        let name = code.name.to_string_lossy().into_owned();
        if self.servers[place].scripts.has(SCRIPTS + library) {
            return format!("-ERR Library '{name}' already exists\r\n");
        }
        self.servers[place].scripts.load(SCRIPTS + library);
        self.note_load(place, peer, SCRIPTS + library);
        for replica in 0..self.servers.len() {
            if self.servers[replica].follows == Some(place) && self.rng.bool() {
                self.servers[replica].scripts.load(SCRIPTS + library);
            }
        }
        bulk(&name)
    }

    /// Calls a function, if it is there.
    pub(super) fn call_function(&mut self, place: usize, peer: &mut Peer, command: &[Vec<u8>]) -> String {
        let library = self.library_of(&command[1]);
        match library {
            Some(library) if self.servers[place].scripts.has(SCRIPTS + library) => {
                let item = item_of(command);
                let Some(item) = item else { return "-ERR Bad number of keys provided\r\n".into() };
                self.witness.note(item).library = Some(library);
                self.execute(place, peer, command)
            }
            // A question: there is nothing that it could run.
            _ if item_of(command).is_none() => MISSING.into(),
            Some(library) => {
                self.miss(place, peer, Some(SCRIPTS + library), command);
                MISSING.into()
            }
            None => {
                let name = command[1].escape_ascii();
                self.witness.fault(format!("an unknown function: {name}"));
                MISSING.into()
            }
        }
    }

    /// What a function makes up, as far as it can: behind what a pinned one returns there is a mark.
    pub(super) fn marked(&self, command: &[Vec<u8>], text: String) -> String {
        match self.library_of(&command[1]) {
            Some(NAMED) if self.keeps_libraries() && text.starts_with("-NOSCRIPT") => MISSING.into(),
            Some(NAMED) => text,
            _ => text.replace("\r\n", " script: rs\r\n"),
        }
    }

    /// Whether no library that was there is ever gone: what a named one's function says of that is not told apart
    /// otherwise.
    fn keeps_libraries(&self) -> bool {
        !self.traits.flushes && !self.traits.faults && !self.traits.rights
    }

    /// A primary loses its libraries; its replicas hear of that.
    pub(super) fn flush_functions(&mut self, place: usize) {
        trace::note(|| format!("{} loses its functions", self.name(place)));
        self.servers[place].scripts.flush_functions();
    }

    /// Scripts or functions are lost on a server.
    pub(in crate::simulation) fn lose(&mut self, place: usize) {
        if self.traits.functions && self.servers[place].follows.is_none() && self.rng.bool() {
            self.flush_functions(place);
        } else {
            self.flush(place);
        }
    }

    /// A replica gets what its primary has.
    pub(super) fn replicate(&mut self, place: usize) {
        let Some(primary) = self.servers[place].follows else { return };
        let [primary, replica] = self.servers.get_disjoint_mut([primary, place]).expect("two servers");
        replica.scripts.take_functions(&primary.scripts);
    }

    /// The same, now and then.
    pub(super) fn may_replicate(&mut self, place: usize) {
        if self.traits.functions && self.servers[place].follows.is_some() && self.rng.u8(..) < 60 {
            self.replicate(place);
        }
    }
}
