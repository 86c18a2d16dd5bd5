//! The committed header is what cbindgen makes of src/ffi, and its version is that of Cargo.toml.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn generate(root: &Path) -> String {
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml");
    let prologue = fs::read_to_string(root.join("include/prologue.h.in")).expect("the prologue");
    let version = env!("CARGO_PKG_VERSION");
    let [major, minor, patch] =
        version.split('.').map(|part| part.parse().expect("a number")).collect::<Vec<u32>>()[..]
    else {
        panic!("a version is three numbers: {version}")
    };
    config.header = Some(prologue.replace("@VERSION@", version).trim_end().to_owned());
    let macros = fs::read_to_string(root.join("include/macros.h.in")).expect("the macros");
    let macros = [("MAJOR", major), ("MINOR", minor), ("PATCH", patch)]
        .into_iter()
        .chain([("NUMBER", major * 1_000_000 + minor * 1_000 + patch)])
        .fold(macros, |text, (name, number)| text.replace(&format!("@{name}@"), &number.to_string()));
    config.after_includes = Some(macros.replace("@VERSION@", version).trim_end().to_owned());
    let assertions = fs::read_to_string(root.join("include/assertions.h.in")).expect("the assertions");
    // The other files are its modules.
    let builder = cbindgen::Builder::new().with_config(config).with_src(root.join("src/ffi/mod.rs"));
    let mut bytes = Vec::new();
    builder.generate().expect("a header").write(&mut bytes);
    let header = readable(&String::from_utf8(bytes).expect("UTF-8"));
    let (declared, end) = header.rsplit_once("#endif  /* RS_SCRIPT_H */").expect("the include guard");
    format!("{declared}{assertions}\n#endif  /* RS_SCRIPT_H */{end}")
}

/// Drops what speaks to Rust callers only: the "Safety" sections restate in Rust's terms what C's declarations say.
fn readable(header: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    let mut in_safety = false;
    for line in header.lines() {
        in_safety = line.starts_with("//") && (in_safety || line.trim_end() == "// # Safety");
        if !in_safety {
            while !line.starts_with("//") && lines.last() == Some(&"//") {
                lines.pop();
            }
            // What is ignored leaves its empty lines.
            if !(line.is_empty() && lines.last().is_some_and(|last| last.is_empty())) {
                lines.push(line);
            }
        }
    }
    let attributes = lines.join("\n").replace("\nRS_NOT_NULL(", "\n    RS_NOT_NULL(");
    attributes + "\n"
}

#[test]
fn the_header_is_fresh() {
    let path = root().join("include/rs_script.h");
    let fresh = generate(&root());
    if std::env::var("RS_SCRIPT_HEADER").as_deref() == Ok("write") {
        fs::write(&path, &fresh).expect("write the header");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == fresh,
        "include/rs_script.h is stale; renew it with: RS_SCRIPT_HEADER=write cargo test --test header"
    );
}

#[test]
fn a_changed_export_makes_the_header_stale() {
    let copy = std::env::temp_dir().join(format!("rs_script-header-{}", std::process::id()));
    for folder in ["src/ffi", "src/ffi/sys", "include"] {
        fs::create_dir_all(copy.join(folder)).expect("a folder");
        for file in fs::read_dir(root().join(folder))
            .expect("the folder")
            .flatten()
            .filter(|file| file.path().is_file())
        {
            fs::copy(file.path(), copy.join(folder).join(file.file_name())).expect("copy");
        }
    }
    fs::copy(root().join("cbindgen.toml"), copy.join("cbindgen.toml")).expect("copy");
    let version = copy.join("src/ffi/version.rs");
    let source = fs::read_to_string(&version).expect("version.rs");
    fs::write(&version, source.replace("fn rs_version_number() -> u32", "fn rs_version_number() -> u64"))
        .expect("write");
    let changed = generate(&copy);
    fs::remove_dir_all(&copy).expect("remove");
    assert_ne!(changed, generate(&root()));
    assert!(changed.contains("uint64_t rs_version_number(void);"), "{changed}");
}

/// The parameters and fields of a header, as types and names.
fn declared(header: &str) -> Vec<(String, &str)> {
    let lines =
        header.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.starts_with('#'));
    let names = lines.flat_map(|line| line.split(['(', ')', ',', ';', '{', '}']));
    names
        .filter_map(|declaration| {
            declaration.trim().rsplit_once([' ', '*']).map(|(_, name)| (declaration, name))
        })
        .map(|(declaration, name)| (declaration.replace([' ', '*'], "").replace("const", ""), name))
        .map(|(declaration, name)| (declaration[..declaration.len() - name.len()].to_owned(), name))
        .collect()
}

/// What is of another type than all that measure the same: times are uint64_t, counts, lengths and indices size_t.
fn of_another_type(header: &str) -> Vec<String> {
    const COUNTS: [&str; 22] = [
        "argc",
        "attempts",
        "bytes",
        "calls",
        "capacity",
        "count",
        "depth",
        "dropped",
        "first",
        "index",
        "items",
        "len",
        "lengths",
        "max",
        "max_scripts",
        "needed",
        "numargs",
        "numkeys",
        "numscripts",
        "reply_limit",
        "used",
        "wait_replicas",
    ];
    let mut others = Vec::new();
    let (mut times, mut counts) = (0, 0);
    for (kind, name) in declared(header) {
        // A function's own name, and packed calls, which are bytes.
        if name.starts_with("rs_") || kind == "char" {
            continue;
        }
        let wanted = if ["_ms", "_us", "_ns"].iter().any(|unit| name.ends_with(unit)) {
            times += 1;
            "uint64_t"
        } else if COUNTS.contains(&name) || name.ends_with("_len") || name.ends_with("lens") {
            counts += 1;
            "size_t"
        } else {
            continue;
        };
        if kind != wanted {
            others.push(format!("{kind} {name}, not {wanted}"));
        }
    }
    assert!(times >= 15 && counts >= 60, "{times} {counts}");
    others
}

#[test]
fn times_are_of_one_type_and_counts_lengths_and_indices_of_another() {
    let header = fs::read_to_string(root().join("include/rs_script.h")).expect("the header");
    assert_eq!(of_another_type(&header), [] as [&str; 0]);
    for (of_this, of_that) in [
        ("uint64_t wait_timeout_ms", "uint32_t wait_timeout_ms"),
        ("size_t wait_replicas", "uint32_t wait_replicas"),
        ("const size_t *arglens", "const uint32_t *arglens"),
    ] {
        let changed = header.replace(of_this, of_that);
        assert!(changed != header && !of_another_type(&changed).is_empty(), "{of_that}");
    }
}

#[test]
fn const_is_what_no_function_changes_or_hands_out_to_be_changed() {
    let header = fs::read_to_string(root().join("include/rs_script.h")).expect("the header");
    let text: Vec<_> = header.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let text = text.join(" ");
    let mut readers = Vec::new();
    for handle in ["client", "queue", "pipeline", "events", "credentials_request"] {
        for (at, _) in text.match_indices(&format!("const rs_{handle} *")) {
            let (before, name) = text[..at].rsplit_once("rs_").expect("a function's name");
            let name = if name.starts_with("status") { before } else { name };
            readers.push(name.split('(').next().expect("a name").to_owned());
        }
    }
    let wanted = [
        "client_script_stats",
        "client_stats",
        "queue_fd",
        "queue_is_closed",
        "queue_len",
        "pipeline_len",
        "credentials_node",
    ];
    assert_eq!(readers, wanted);
}

#[test]
fn what_a_call_has_of_its_own_is_no_function_of_its_own() {
    let header = fs::read_to_string(root().join("include/rs_script.h")).expect("the header");
    let lines = header.lines().filter(|line| !line.starts_with(['/', ' ', '#', '}']));
    let functions: Vec<_> = lines.filter_map(|line| line.split_once('(')).map(|(name, _)| name).collect();
    assert!(functions.len() > 90, "{functions:?}");
    let twins =
        |name: &&&str| name.ends_with("_ro") || name.contains("_with") || name.contains("_idempotent");
    assert_eq!(functions.iter().filter(twins).collect::<Vec<_>>(), [&"rs_status rs_client_with"]);
}

/// The names of this library in its comments that it does not have: renamed, or never there.
fn unknown_names(header: &str) -> Vec<&str> {
    // The project's own, and what functions say of a number that has no name.
    const OTHERS: [&str; 5] = ["rs_script", "RS_SCRIPT_HEADER", "RS_ERR_UNKNOWN", "RS_REASON_UNKNOWN", "RS_"];
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names = |text| {
        str::split(text, move |c| !is_name(c))
            .filter(|name| name.starts_with("rs_") || name.starts_with("RS_"))
    };
    let code: Vec<&str> = header.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let declared: Vec<&str> = code.iter().flat_map(|line| names(*line)).collect();
    let comments = header.lines().filter_map(|line| line.split_once("//").map(|(_, comment)| comment));
    let is_unknown = |name: &&str| {
        let is_beginning = name.ends_with('_') && declared.iter().any(|known| known.starts_with(*name));
        !OTHERS.contains(name) && !declared.contains(name) && !is_beginning
    };
    comments.flat_map(names).filter(is_unknown).collect()
}

#[test]
fn what_a_comment_names_is_there() {
    let header = fs::read_to_string(root().join("include/rs_script.h")).expect("the header");
    assert_eq!(unknown_names(&header), [] as [&str; 0]);
    let changed = header.replacen("see rs_queue.", "see rs_queues.", 1);
    assert_eq!(unknown_names(&changed), ["rs_queues"]);
}

#[test]
fn no_line_is_longer_than_120_columns() {
    let header = fs::read_to_string(root().join("include/rs_script.h")).expect("the header");
    let long: Vec<_> = header.lines().filter(|line| line.chars().count() > 120).collect();
    assert_eq!(long, [] as [&str; 0]);
}

/// The functions that refuse a handle that is NULL, and do not have Clang warn of it.
fn without_warning(header: &str) -> Vec<String> {
    // A script or library needs no client, and no reply or error is none that tells of a failure.
    const MAY_BE_NULL: [&str; 4] =
        ["rs_script_register", "rs_library_register", "rs_reply_error", "rs_error_status"];
    let code: Vec<&str> = header.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join(" ");
    let (mut missing, mut seen) = (Vec::new(), 0);
    for function in code.split("rs_status rs_").skip(1) {
        let Some((declaration, _)) = function.split_once(';') else { continue };
        let (name, rest) = declaration.split_once('(').unwrap_or((declaration, ""));
        let first = rest.split([',', ')']).next().unwrap_or_default();
        let Some((kind, parameter)) = first.rsplit_once('*') else { continue };
        if !kind.trim_start_matches("const ").starts_with("rs_")
            || MAY_BE_NULL.contains(&&*format!("rs_{name}"))
        {
            continue;
        }
        seen += 1;
        if !declaration.contains(&format!("RS_NOT_NULL({parameter})")) {
            missing.push(format!("{name}({parameter})"));
        }
    }
    assert!(seen > 60, "{seen}");
    missing
}

#[test]
fn clang_warns_where_a_handle_must_not_be_null() {
    let header = fs::read_to_string(root().join("include/rs_script.h")).expect("the header");
    assert_eq!(without_warning(&header), [] as [&str; 0]);
    let changed = header.replacen("RS_NOT_NULL(options)", "", 1);
    assert_eq!(without_warning(&changed).len(), 1);
}
