//! The README says what is so: its examples compile and run, its tables are complete.

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use support::server::Server;

#[path = "../examples/multiply.rs"]
#[allow(dead_code, reason = "its main connects to the port that a user's server has")]
mod multiply;

const README: &str = include_str!("../README.md");
const HEADER: &str = include_str!("../include/rs_script.h");

/// The code block in this language; there is one.
fn block(language: &str) -> &'static str {
    let fence = format!("```{language}\n");
    let mut blocks = README.split(&fence).skip(1);
    let (Some(block), None) = (blocks.next(), blocks.next()) else {
        panic!("one block in {language} is wanted");
    };
    block.split("```").next().unwrap_or_default()
}

/// The cells of the tables' rows that begin like this.
fn rows(start: &str) -> Vec<Vec<&'static str>> {
    let lines = README.lines().filter(|line| line.starts_with(start));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn the_c_example_is_the_header_s() {
    const INDENT: &str = "//     ";
    let example = HEADER.split("// EXAMPLE").nth(1).expect("an example in the header");
    let lines = example.lines().skip_while(|line| !line.starts_with(INDENT));
    let code: String = lines
        .take_while(|line| line.starts_with(INDENT) || *line == "//")
        .map(|line| line.strip_prefix(INDENT).unwrap_or_default().to_owned() + "\n")
        .collect();
    assert_eq!(block("c"), code.trim_end().to_owned() + "\n");
}

#[test]
fn the_c_example_compiles_as_printed() {
    let mut cc = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-xc", "-"])
        .arg("-I")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"))
        .stdin(Stdio::piped())
        .spawn()
        .expect("cc starts");
    cc.stdin.take().expect("its input").write_all(block("c").as_bytes()).expect("cc reads");
    assert!(cc.wait().expect("cc ends").success());
}

#[test]
fn the_rust_example_runs_as_printed() {
    assert_eq!(block("rust"), include_str!("../examples/multiply.rs"));
    let server = Server::builder().unix_only().start();
    assert_eq!(multiply::multiply(&server.unix_url()), Ok(Some(10)));
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
