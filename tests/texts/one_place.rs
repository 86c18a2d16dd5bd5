//! What the library does in one place only, so that what is promised of it holds everywhere.

use std::fs;
use std::path::{Path, PathBuf};

/// Files that are compiled for tests alone.
const FOR_TESTS: &[&str] = &["tests.rs", "testing.rs", "simulation.rs", "simulated.rs"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() && ["src/simulation", "src/models"].iter().any(|tests| entry.ends_with(tests)) {
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

/// Lines outside of the tests that hold one of these words, but for those in `place`.
#[track_caller]
fn only_in(place: &[&str], words: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 30, "these are not the sources");
    let mut seen = false;
    for file in files {
        let name = file.strip_prefix(&root).expect("in it").to_string_lossy().replace('\\', "/");
        let text = fs::read_to_string(&file).expect("a source");
        let library = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let mut before = "";
        for line in library.lines().filter(|line| !line.trim_start().starts_with("//")) {
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
    only_in(&["threads.rs"], &words);
}

#[test]
fn locks_are_chosen() {
    // Where a child of fork is thought of.
    only_in(
        &["ffi/lock.rs"],
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
        "token.rs",
    ];
    only_in(&place, &["HashMap::new()", "HashSet::new()", "RandomState", "fastrand"]);
}
