//! What the model of a server knows of functions, and histories with them: libraries are flushed, refused,
//! and named by others.

use std::collections::HashSet;

use super::World;
use crate::request::library::Library;
use crate::request::script::Script;

/// Where the calls of functions stand among a world's scripts, and how many they are.
pub(super) const FIRST: usize = 4;
const COUNT: usize = 6;
/// Those of the named library, and the one that does not compile.
const NAMED: [usize; 2] = [FIRST + 3, FIRST + 4];
pub(super) const BROKEN: usize = FIRST + 5;

/// Whether what a script answers in the server's words has a mark.
pub(super) fn is_marked(script: usize) -> bool {
    script >= FIRST && !NAMED.contains(&script)
}

/// Whether it is a function of a library that is not pinned.
pub(super) fn is_named(script: Option<usize>) -> bool {
    script.is_some_and(|script| NAMED.contains(&script))
}

/// The libraries that a server has, and what it refuses of them.
#[derive(Debug, Default)]
pub(super) struct Libraries {
    names: HashSet<String>,
    pub(super) no_load: bool,
    pub(super) no_functions: bool,
    /// Functions make up that they are missing. Then no library is removed: to be told from one that was
    /// there a moment ago they cannot be.
    pub(super) forges_missing: bool,
}

impl Libraries {
    pub(super) fn flush(&mut self) {
        if !self.forges_missing {
            self.names.clear();
        }
    }

    /// Why a command is refused, whatever its arguments.
    pub(super) fn refusal(&self, name: &str) -> Option<String> {
        if self.no_functions && matches!(name, "FUNCTION" | "FCALL" | "FCALL_RO") {
            return Some(format!("-ERR unknown command '{name}', with args beginning with: 'x' \r\n"));
        }
        let is_forbidden = self.no_load && name == "FUNCTION";
        is_forbidden
            .then(|| "-NOPERM this user has no permissions to run the 'function|load' command\r\n".to_owned())
    }

    pub(super) fn load(&mut self, source: &[u8]) -> String {
        let source = String::from_utf8_lossy(source);
        let name = source.lines().next().and_then(|line| line.split("name=").nth(1)).expect("a name");
        if self.names.contains(name) {
            return format!("-ERR Library '{name}' already exists\r\n");
        }
        if source.contains("broken") {
            return "-ERR Error compiling function: broken\r\n".to_owned();
        }
        self.names.insert(name.to_owned());
        format!("${}\r\n{name}\r\n", name.len())
    }

    /// Why a function is not called: its name is its library's, with a letter in front.
    pub(super) fn missing(&self, command: &[Vec<u8>]) -> Option<String> {
        let function = String::from_utf8_lossy(&command[1]);
        let is_there = |name: &String| {
            let base = name.split('_').next().unwrap_or_default();
            function.starts_with(&format!("f{base}")) && function.ends_with(name.trim_start_matches(base))
        };
        if !self.names.iter().any(is_there) {
            return Some("-ERR Function not found\r\n".to_owned());
        }
        (command[2] == b"?").then(|| "-ERR Bad number of keys provided\r\n".to_owned())
    }
}

/// Errors that a function makes up, as far as it can.
pub(super) fn forged(libraries: &Libraries, id: u64, function: &str) -> Option<String> {
    let is_marked = function.contains('_');
    let text = match id % 16 {
        1 if is_marked || libraries.forges_missing => "ERR Function not found",
        1 => "ERR function not found",
        2 => "NOPERM User u has no permissions to run the 'fcall' command",
        4 => "ERR unknown command 'FCALL', with args beginning with: 'x' ",
        _ => return None,
    };
    let mark = if is_marked { " script: rs" } else { "" };
    Some(format!("-{text}{mark}\r\n"))
}

impl World {
    /// A history with functions, on a server that may refuse them.
    fn with_functions(seed: u64) -> Self {
        let mut world = World::new(seed);
        let source = |name: &str| format!("#!lua name={name}\n{name}");
        let pinned = |name: &str| Library::pinned(source(name)).expect("a library");
        let (a, b, broken) = (pinned("a"), pinned("b"), pinned("broken"));
        let named = Library::named(source("n")).expect("a library");
        let functions =
            [(&a, "fa1"), (&a, "fa2"), (&b, "fb"), (&named, "fn1"), (&named, "fn2"), (&broken, "fbroken")];
        let functions: Vec<Script> =
            functions.iter().map(|(library, name)| library.function(name).expect("a name")).collect();
        assert_eq!(functions.len(), COUNT);
        world.scripts.extend(functions);
        world.server.libraries.forges_missing = world.rng.bool();
        world.server.libraries.no_load = world.rng.u8(..) < 40;
        world.server.libraries.no_functions = world.rng.u8(..) < 20;
        world
    }
}

#[test]
fn every_history_with_functions_ends_each_call_once_with_the_truth() {
    for seed in super::seeds() {
        World::with_functions(seed).run(150);
    }
}
