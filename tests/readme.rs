//! The README says what is so: its examples compile and run, its tables are complete.

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use rs_script::{Client, Options, Script};
use support::server::Server;

#[path = "../examples/multiply.rs"]
#[allow(dead_code, reason = "its main connects to the port that a user's server has")]
mod multiply;

#[path = "../examples/pipeline.rs"]
#[allow(dead_code, reason = "its main connects to the port that a user's server has")]
mod pipeline;

#[path = "../examples/futures.rs"]
#[allow(dead_code, reason = "its main connects to the port that a user's server has")]
mod futures;

#[path = "../examples/functions.rs"]
#[allow(dead_code, reason = "its main connects to the port that a user's server has")]
mod functions;

const README: &str = include_str!("../README.md");
const HEADER: &str = include_str!("../include/rs_script.h");

/// The code blocks in this language: the quick start, then a pipeline and a transaction.
fn blocks(language: &str) -> [&'static str; 2] {
    let fence = format!("```{language}\n");
    let blocks = README.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    blocks.collect::<Vec<_>>().try_into().expect("two blocks")
}

/// The cells of the tables' rows that begin like this.
fn rows(start: &str) -> Vec<Vec<&'static str>> {
    let lines = README.lines().filter(|line| line.starts_with(start));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// The example in the opening comment of a header.
fn example_of(header: &str) -> String {
    const INDENT: &str = "//     ";
    let example = header.split("// EXAMPLE").nth(1).expect("an example in the header");
    let lines = example.lines().skip_while(|line| !line.starts_with(INDENT));
    let code: String = lines
        .take_while(|line| line.starts_with(INDENT) || *line == "//")
        .map(|line| line.strip_prefix(INDENT).unwrap_or_default().to_owned() + "\n")
        .collect();
    code.trim_end().to_owned() + "\n"
}

#[test]
fn the_examples_are_those_that_are_tested() {
    let wrapper = include_str!("../bindings/c/rs_script.hpp");
    assert_eq!(blocks("c"), [&*example_of(HEADER), include_str!("../examples/c/pipeline.c")]);
    assert_eq!(blocks("cpp"), [&*example_of(wrapper), include_str!("../examples/cpp/pipeline.cpp")]);
    let rust = [include_str!("../examples/multiply.rs"), include_str!("../examples/pipeline.rs")];
    assert_eq!(blocks("rust"), rust);
    let functions = concat!("```rust no_run\n", include_str!("../examples/functions.rs"), "```\n");
    assert!(README.contains(functions), "examples/functions.rs is another than the README's");
}

#[test]
fn the_c_examples_compile_as_printed() {
    for block in blocks("c") {
        let mut cc = Command::new("cc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-xc", "-"])
            .arg("-I")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"))
            .stdin(Stdio::piped())
            .spawn()
            .expect("cc starts");
        cc.stdin.take().expect("its input").write_all(block.as_bytes()).expect("cc reads");
        assert!(cc.wait().expect("cc ends").success());
    }
}

#[test]
fn the_rust_examples_run_as_printed() {
    let server = Server::builder().unix_only().start();
    assert_eq!(multiply::multiply(&server.unix_url()), Ok(10));
    let client = Client::open(&server.unix_url(), &Options::default()).expect("a client");
    let script = Script::new("return redis.call('GET', KEYS[1]) * ARGV[1]");
    for pipeline in [client.pipeline(), client.transaction()] {
        assert_eq!(pipeline::set_and_multiply(pipeline, &script), Ok(("OK".to_owned(), 25)));
    }
    client.command(("SET", "book", 5)).expect("a reply");
    assert_eq!(functions::take_two(&client), Ok((3, 3)));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().expect("a runtime");
    assert_eq!(runtime.block_on(futures::count(&server.unix_url())).expect("a count"), 1000);
}

#[test]
fn every_status_is_in_the_table_with_its_number() {
    let mut table: Vec<_> = rows("| ")
        .into_iter()
        .filter(|cells| cells[0].parse::<i32>().is_ok())
        .map(|cells| format!("{} {}", cells[1].trim_matches('`'), cells[0]))
        .collect();
    let mut header: Vec<_> = HEADER
        .lines()
        .filter_map(|line| line.strip_prefix("#define "))
        .filter(|define| define.starts_with("RS_OK ") || define.starts_with("RS_ERR_"))
        .map(str::to_owned)
        .collect();
    table.sort();
    header.sort();
    assert_eq!(table, header);
}

#[test]
fn every_option_is_in_the_table() {
    let section =
        README.split("## Options").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("Options");
    for declaration in HEADER.split("rs_options_set_").skip(1) {
        let Some((name, _)) = declaration.split_once('(').filter(|(name, _)| !name.contains(' ')) else {
            continue;
        };
        assert!(section.contains(&format!("\n| `{name}` |")), "{name} is missing");
    }
    let rust = include_str!("../src/config.rs");
    for method in rust.split("\n    pub fn ").skip(1).filter_map(|rest| rest.split_once("(&mut self")) {
        assert!(section.contains(&format!("`{}`", method.0)), "{} is missing", method.0);
    }
}

#[test]
fn the_tests_that_the_cluster_table_names_exist() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let files = std::fs::read_dir(directory).expect("the tests").map(|file| file.expect("a file").path());
    let tests: String = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| std::fs::read_to_string(path).expect("a test file"))
        .collect();
    let table =
        README.split("| shown by |").nth(1).expect("the table").split("\n\n").next().expect("its rows");
    let names: Vec<&str> = table
        .lines()
        .skip(2)
        .map(|row| row.rsplit('|').nth(1).unwrap_or_default().trim().trim_matches('`'))
        .collect();
    assert!(names.len() >= 9, "{names:?}");
    for name in names {
        assert!(tests.contains(&format!("#[test]\nfn {name}() {{")), "there is no test {name}");
    }
}
