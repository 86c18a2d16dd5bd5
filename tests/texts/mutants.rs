//! What the mutants in tests/mutants say catches them is there: a name that nobody has would be found by the long run
//! alone.

use std::fs;
use std::path::Path;

#[test]
fn the_tests_that_are_to_catch_a_mutant_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = 0;
    for patch in fs::read_dir(root.join("tests/mutants")).expect("the folder").flatten() {
        let text = fs::read_to_string(patch.path()).expect("a text");
        let Some(tests) = text.lines().next().and_then(|line| line.strip_prefix("Caught by: tests/")) else {
            continue;
        };
        let (program, tests) = tests.split_once(' ').expect("a program, and tests of it");
        for test in tests.split(' ') {
            let (module, name) = test.split_once("::").expect("a module, and a test in it");
            let file = root.join("tests").join(program).join(module).with_extension("rs");
            let source = fs::read_to_string(&file).unwrap_or_else(|_| {
                panic!("{:?} names {}, which there is not", patch.path(), file.display())
            });
            assert!(source.contains(&format!("\nfn {name}")), "{:?}: no {name} in {module}", patch.path());
            named += 1;
        }
    }
    assert!(named > 5, "{named}: these are not the mutants");
}
