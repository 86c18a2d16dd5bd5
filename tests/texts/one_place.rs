//! What the sources keep to: some things are done in one place only, so that what is promised of them holds
//! everywhere; and imports go down.

use std::fs;
use std::path::{Path, PathBuf};

/// Files that are compiled for tests alone.
const FOR_TESTS: &[&str] = &["tests.rs", "testing.rs", "simulation.rs", "simulated.rs"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let is_apart =
            ["src/simulation", "src/models", "src/fuzzing"].iter().any(|tests| entry.ends_with(tests));
        if entry.is_dir() && is_apart {
            continue;
        }
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs")
            && !FOR_TESTS.iter().any(|name| entry.ends_with(name))
        {
            found.push(entry);
        }
    }
}

/// All files of the library but those of tests and fuzzers: the name below `src`, and the text in front of its own
/// tests.
fn library() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 30, "these are not the sources");
    let read = |file: PathBuf| {
        let name = file.strip_prefix(&root).expect("in it").to_string_lossy().replace('\\', "/");
        let text = fs::read_to_string(&file).expect("a source");
        (name, text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned())
    };
    files.into_iter().map(read).collect()
}

/// Lines outside of the tests that hold one of these words, but for those in `place`.
#[track_caller]
fn only_in(place: &[&str], words: &[&str]) {
    let mut seen = false;
    for (name, text) in library() {
        let mut before = "";
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let is_for_tests = std::mem::replace(&mut before, line).trim() == "#[cfg(test)]";
            if !is_for_tests && words.iter().any(|word| line.contains(word)) {
                assert!(place.contains(&name.as_str()), "{name}: {line}");
                seen = true;
            }
        }
    }
    assert!(seen, "none of {words:?} is used at all");
}

#[test]
fn threads_are_started() {
    // Where signals are blocked for them.
    let words =
        ["thread::spawn", "thread::Builder", ".spawn(", ".spawn_scoped(", "spawn_blocking", "lookup_host"];
    only_in(&["base/threads.rs"], &words);
}

#[test]
fn locks_are_chosen() {
    // Where a child of fork is thought of.
    only_in(
        &["ffi/sys/lock.rs"],
        &["parking_lot::", "std::sync::Mutex", "std::sync::Condvar", "std::sync::RwLock"],
    );
}

#[test]
fn numbers_are_drawn() {
    // The first one of a thread comes from getrandom, a cancellation point: where one is held off. A table with a
    // hasher of its own, or an ordered one, needs none.
    let place = [
        "config/options/mod.rs",
        "core/state/engine.rs",
        "core/state/fan_out.rs",
        "core/refresh.rs",
        "core/state/servers.rs",
        "core/state/sharing.rs",
        "core/state/slot_map.rs",
        "request/token.rs",
    ];
    only_in(&place, &["HashMap::new()", "HashSet::new()", "RandomState", "fastrand"]);
}

/// The folders of `src`, from the outside in.
const LAYERS: &[&str] = &[
    "ffi", "api", "io", "core", "session", "queue", "config", "metrics", "request", "net", "resp", "base",
    "ffi/sys", "error",
];

#[test]
fn imports_go_down() {
    let layer = |path: &str| {
        let folder =
            if path.starts_with("ffi/sys/") { "ffi/sys" } else { path.split('/').next().unwrap_or_default() };
        LAYERS.iter().position(|&name| name == folder)
    };
    let mut imports = 0;
    for (name, text) in library() {
        // The root says what is public.
        if name == "lib.rs" {
            continue;
        }
        let own = layer(&name).unwrap_or_else(|| panic!("{name} is in no layer"));
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            // Models and the simulation are there in tests alone; a macro's user knows the public names.
            for (_, path) in line.match_indices("crate::").map(|(at, word)| line.split_at(at + word.len())) {
                if ["models", "simulation"].iter().any(|tests| path.starts_with(tests))
                    || line.contains("$crate")
                {
                    continue;
                }
                let path =
                    path.split(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != ':');
                let path = path.into_iter().next().unwrap_or_default().replace("::", "/") + "/";
                let other =
                    layer(&path).unwrap_or_else(|| panic!("{name} imports {path}: which layer is that?"));
                let is_own = LAYERS[own] == "ffi/sys" && path == "ffi/";
                assert!(other >= own || is_own, "{name} imports {path}, which is above it");
                imports += 1;
            }
        }
    }
    assert!(imports > 500, "{imports} imports: these are not all");
}
