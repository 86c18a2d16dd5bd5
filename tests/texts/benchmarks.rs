//! The page of benchmarks: the program that makes it is tested without measuring anything.

use std::path::Path;
use std::process::Command;

#[test]
fn the_page_is_made_of_figures_and_tells_what_is_missed() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/selftest.py");
    let run = Command::new("python3").arg(tests).output().expect("python3");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    assert!(said.contains("\nRan "), "{said}");
}
