//! The README and the guide say what is so: their examples are those of `examples/`, their lists are complete. All
//! other examples are compiled and run by `scripts/docs examples`.

use crate::support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use rs_script::{Client, Options, Script};
use support::server::Server;

#[path = "../../examples/multiply.rs"]
#[allow(dead_code, reason = "its main connects to the port that a user's server has")]
mod multiply;

#[path = "../../examples/pipeline.rs"]
#[allow(dead_code, reason = "its main connects to the port that a user's server has")]
mod pipeline;

#[path = "../../examples/futures.rs"]
#[allow(dead_code, reason = "its main connects to the port that a user's server has")]
mod futures;

#[path = "../../examples/functions.rs"]
#[allow(dead_code, reason = "its main connects to the port that a user's server has")]
mod functions;

const README: &str = include_str!("../../README.md");
const GETTING_STARTED: &str = include_str!("../../docs/getting-started.md");
const PIPELINES: &str = include_str!("../../docs/pipelines.md");
const FUNCTIONS: &str = include_str!("../../docs/functions.md");
const OPTIONS: &str = include_str!("../../docs/options.md");
const ERRORS: &str = include_str!("../../docs/errors.md");
const CLUSTERS: &str = include_str!("../../docs/clusters.md");
const HEADER: &str = include_str!("../../include/rs_script.h");

/// The only code block in this language.
fn block<'t>(page: &'t str, language: &str) -> &'t str {
    let fence = format!("```{language}\n");
    let blocks = page.split(&fence).skip(1);
    let [block] = blocks.map(|rest| rest.split("```").next().unwrap_or_default()).collect::<Vec<_>>()[..]
    else {
        panic!("there is not one block of {language}")
    };
    block
}

/// The first code block in this language.
fn first<'t>(page: &'t str, language: &str) -> &'t str {
    let rest = page.split_once(&format!("```{language}\n")).expect("a block").1;
    rest.split("```").next().unwrap_or_default()
}

/// What the items of a list in this page are about: the name in front of each.
fn items(page: &str) -> Vec<&str> {
    page.split("\n- **`").skip(1).filter_map(|item| item.split_once("`**").map(|(name, _)| name)).collect()
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
    let wrapper = include_str!("../../bindings/c/rs_script.hpp");
    for page in [README, GETTING_STARTED] {
        assert_eq!(block(page, "c"), example_of(HEADER));
        assert_eq!(block(page, "cpp"), example_of(wrapper));
        assert_eq!(block(page, "rust"), include_str!("../../examples/multiply.rs"));
        assert_eq!(block(page, "go"), first(include_str!("../../bindings/go/README.md"), "go"));
        assert_eq!(block(page, "js"), first(include_str!("../../bindings/node/README.md"), "js"));
    }
    assert_eq!(block(PIPELINES, "c"), include_str!("../../examples/c/pipeline.c"));
    assert_eq!(block(PIPELINES, "cpp"), include_str!("../../examples/cpp/pipeline.cpp"));
    assert_eq!(block(PIPELINES, "rust"), include_str!("../../examples/pipeline.rs"));
    assert_eq!(block(FUNCTIONS, "rust"), include_str!("../../examples/functions.rs"));
}

#[test]
fn the_c_examples_compile_as_printed() {
    for block in [block(README, "c"), block(PIPELINES, "c")] {
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
fn every_status_is_in_the_guide_with_its_number() {
    let mut listed: Vec<_> = ERRORS
        .split("\n- **`RS_")
        .skip(1)
        .filter_map(|item| item.split_once("`** ("))
        .filter_map(|(name, rest)| rest.split_once(')').map(|(number, _)| format!("RS_{name} {number}")))
        .collect();
    let mut header: Vec<_> = HEADER
        .lines()
        .filter_map(|line| line.strip_prefix("#define "))
        .filter(|define| define.starts_with("RS_OK ") || define.starts_with("RS_ERR_"))
        .map(str::to_owned)
        .collect();
    listed.sort();
    header.sort();
    assert_eq!(listed, header);
}

#[test]
fn every_reason_is_in_the_guide() {
    for define in HEADER.split("#define ").filter(|define| define.starts_with("RS_REASON_")) {
        let name = define.split(' ').next().expect("a name");
        assert!(ERRORS.contains(&format!("\n| `{name}` |")), "{name} is missing");
    }
}

#[test]
fn every_option_is_in_the_guide() {
    let options = items(OPTIONS);
    for declaration in HEADER.split("rs_options_set_").skip(1) {
        let Some((name, _)) = declaration.split_once('(').filter(|(name, _)| !name.contains(' ')) else {
            continue;
        };
        assert!(options.contains(&name), "{name} is missing");
    }
    let setters = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/options");
    let files = std::fs::read_dir(setters).expect("the options").map(|file| file.expect("a file").path());
    let rust: String = files.map(|file| std::fs::read_to_string(file).expect("a source")).collect();
    assert!(rust.matches("\n    pub fn ").count() >= 30, "these are not the setters");
    for method in rust.split("\n    pub fn ").skip(1).filter_map(|rest| rest.split_once("(&mut self")) {
        assert!(OPTIONS.contains(&format!("`{}`", method.0)), "{} is missing", method.0);
    }
}

#[test]
fn every_option_of_a_url_is_in_the_guide() {
    let url = include_str!("../../src/config/url.rs");
    let (_, names) = url.split_once("a URL takes ").expect("the sentence that names them");
    let names = names.split(", \\").next().expect("its end").replace(" and ", ", ");
    assert!(names.split(", ").count() >= 5, "{names}");
    for name in names.split(", ") {
        assert!(OPTIONS.contains(&format!("\n| `{name}` |")), "{name} is missing");
    }
}

#[test]
fn the_tests_that_the_guide_names_exist() {
    let entries = |folder: &Path| -> Vec<_> {
        std::fs::read_dir(folder).expect("the tests").map(|file| file.expect("a file").path()).collect()
    };
    let programs = entries(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"));
    let tests: String = programs
        .into_iter()
        .flat_map(|program| if program.is_dir() { entries(&program) } else { vec![program] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| std::fs::read_to_string(path).expect("a test file"))
        .collect();
    // A sentence may go over the end of a line.
    let page = CLUSTERS.replace("\n  ", " ");
    let names: Vec<&str> =
        page.split("Shown by `").skip(1).map(|rest| rest.split('`').next().unwrap_or_default()).collect();
    assert!(names.len() >= 9, "{names:?}");
    for name in names {
        assert!(tests.contains(&format!("#[test]\nfn {name}() {{")), "there is no test {name}");
    }
}
