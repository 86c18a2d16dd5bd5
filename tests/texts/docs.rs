//! The documentation of the crate: each public item has an example, and examples run (`cargo test --doc`).

use std::fs;
use std::path::{Path, PathBuf};

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            // The C API is documented by its header; what fuzzers run is no API.
            if !["ffi", "simulation", "fuzzing"].iter().any(|other| path.ends_with(other)) {
                sources(&path, found);
            }
        } else if path.file_name().is_some_and(|name| name != "bench.rs" && name != "testing.rs") {
            found.push(path);
        }
    }
}

/// The public items of a source without an example in their documentation.
fn without_example(source: &str) -> Vec<String> {
    let kinds = ["pub fn ", "pub struct ", "pub enum ", "pub trait ", "pub type "];
    let (mut missing, mut has_example, mut is_hidden) = (Vec::new(), false, false);
    for line in source.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default().lines() {
        let line = line.trim();
        if line.starts_with("///") {
            has_example |= line.contains("```");
        } else if line == "#[doc(hidden)]" {
            is_hidden = true;
        } else if kinds.iter().any(|kind| line.starts_with(kind)) {
            if !has_example && !is_hidden {
                missing.push(line.to_owned());
            }
            (has_example, is_hidden) = (false, false);
        } else if line.is_empty() || line.ends_with('{') {
            (has_example, is_hidden) = (false, false);
        }
    }
    missing
}

#[test]
fn every_public_item_has_an_example() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut missing = Vec::new();
    for file in files {
        let source = fs::read_to_string(&file).expect("a source");
        missing
            .extend(without_example(&source).into_iter().map(|item| format!("{}: {item}", file.display())));
    }
    assert!(missing.is_empty(), "without an example:\n{}", missing.join("\n"));
}

#[test]
fn one_without_is_found() {
    let source = "/// Says so.\n///\n/// ```\n/// it();\n/// ```\n#[must_use]\npub fn it() {}\n\n\
                  /// Does not.\npub fn other() {}";
    assert_eq!(without_example(source), ["pub fn other() {}"]);
}
