//! The reference of the C API: every function, type and constant is in it, and it is what the header says today.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const HEADER: &str = include_str!("../../include/rs_script.h");

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All pages of the reference, one behind the other.
fn reference() -> String {
    let pages = fs::read_dir(root().join("docs/reference")).expect("the reference");
    let pages = pages.map(|page| page.expect("a page").path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.map(|path| fs::read_to_string(path).expect("a page")).collect()
}

/// What `is_declared` finds in the lines of a header that are no comments.
fn names<'h>(header: &'h str, is_declared: impl Fn(&'h str) -> Option<&'h str>) -> Vec<&'h str> {
    header.lines().filter(|line| !line.starts_with("//")).filter_map(is_declared).collect()
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The name in front of the first parenthesis, where it is one of ours: a function's, not a callback's or a macro's.
fn function(line: &str) -> Option<&str> {
    let before = line.split_once('(').filter(|_| !line.starts_with([' ', '#', '}']))?.0;
    let name = &before[before.rfind(|c| !is_name(c)).map_or(0, |at| at + 1)..];
    name.starts_with("rs_").then_some(name)
}

#[test]
fn every_function_has_its_place_errors_threads_version_and_an_example() {
    let reference = reference();
    let functions = names(HEADER, function);
    assert!(functions.len() > 90, "{functions:?}");
    for name in functions {
        let (_, entry) =
            reference.split_once(&format!("\n## {name}\n")).unwrap_or_else(|| panic!("{name} is missing"));
        let entry = entry.split("\n## ").next().unwrap_or_default();
        for part in ["```c\n", "\n- Errors: ", "\n- Threads: ", "\n- Since: 0."] {
            assert!(entry.contains(part), "{name}: there is no {part:?}");
        }
        assert!(entry.contains(&format!("{name}(")), "{name}: there is no signature");
        let has_example = entry.contains("\n- Examples: ");
        assert!(
            has_example,
            "{name}: no example in C calls it, in docs/*.md or examples/c; then: scripts/docs reference"
        );
    }
}

#[test]
fn every_constant_is_there_with_its_number() {
    let reference = reference();
    let constants = names(HEADER, |line| line.strip_prefix("#define RS_"));
    let mut count = 0;
    for constant in constants {
        let Some((name, value)) = constant.split_once(' ').filter(|(name, _)| name.chars().all(is_name))
        else {
            continue;
        };
        if value.parse::<i64>().is_ok() {
            count += 1;
            let item = format!("\n- `RS_{name}` = {value}");
            assert!(reference.contains(&item), "{item} is missing");
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn every_type_is_there() {
    let reference = reference();
    let opaque = names(HEADER, |line| line.strip_prefix("typedef struct rs_"));
    let complete = names(HEADER, |line| line.strip_prefix("} rs_"));
    assert!(opaque.len() >= 9 && complete.len() >= 4, "{opaque:?} {complete:?}");
    for name in opaque.into_iter().chain(complete) {
        let name = name.split([' ', ';']).next().unwrap_or_default();
        assert!(reference.contains(&format!("\n## rs_{name}\n")), "rs_{name} is missing");
    }
}

/// Whether the reference in `docs` is that of this header.
fn check(header: &Path, docs: &Path) -> Output {
    let script = root().join("docs/tools/reference.py");
    Command::new("python3").arg(script).arg("check").args([header, docs]).output().expect("python3 runs")
}

#[test]
fn it_is_fresh() {
    let checked = check(&root().join("include/rs_script.h"), &root().join("docs"));
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn another_word_function_or_number_makes_it_stale() {
    let docs = root().join("docs");
    let changes = [
        ("Frees an error.", "Frees one error.", "error.md"),
        ("void rs_error_free(", "void rs_error_release(", "error.md"),
        ("#define RS_REASON_CLOSED 5", "#define RS_REASON_CLOSED 6", "constants.md"),
    ];
    for (number, (before, after, page)) in changes.into_iter().enumerate() {
        assert!(HEADER.contains(before), "{before}");
        let name = format!("rs_script-reference-{}-{number}.h", std::process::id());
        let changed = std::env::temp_dir().join(name);
        fs::write(&changed, HEADER.replace(before, after)).expect("a header");
        let checked = check(&changed, &docs);
        fs::remove_file(&changed).expect("it goes");
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(
            !checked.status.success() && said.contains(&format!("docs/reference/{page} is stale")),
            "{said}"
        );
    }
}
