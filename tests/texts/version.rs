//! The version is decided in Cargo.toml, and every other file that names it says the same.

use std::fs;
use std::path::Path;

/// What breaks programs: the minor version before 1.0, then the major one.
fn abi(version: &str) -> &str {
    let parts = if version.starts_with("0.") { 2 } else { 1 };
    version.match_indices('.').nth(parts - 1).map_or(version, |(end, _)| &version[..end])
}

/// The texts behind each `marker`, as far as they are digits and dots.
fn versions<'t>(text: &'t str, marker: &str) -> Vec<&'t str> {
    let numbers = |rest: &'t str| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        rest[..end].trim_end_matches('.')
    };
    text.split(marker).skip(1).map(numbers).collect()
}

#[test]
fn is_the_same_everywhere() {
    let version = env!("CARGO_PKG_VERSION");
    let abi = abi(version);
    let places = [
        ("include/rs_script.h", "define RS_VERSION \"", version, 1),
        ("bindings/node/package.json", "\n  \"version\": \"", version, 1),
        ("bindings/node/package-lock.json", "\"name\": \"rs_script\",\n  \"version\": \"", version, 1),
        ("bindings/node/package-lock.json", "\"name\": \"rs_script\",\n      \"version\": \"", version, 1),
        ("bindings/node/README.md", "librs_script.so.", abi, 1),
        ("bindings/go/README.md", "bindings/go@v", version, 1),
        ("bindings/go/native.go", "is for rs_script ", abi, 1),
        ("bindings/go/rsotel/go.mod", "rs_script/bindings/go v", version, 1),
        ("benches/go/go.mod", "rs_script/bindings/go v", version, 1),
        ("scripts/test", "bindings/go@v", version, 1),
        ("tests/package/go-versions", "the header of ", version, 1),
        ("README.md", "unpack `rs_script-", version, 1),
        ("docs/deployment.md", "librs_script.so.", abi, 1),
        ("docs/getting-started.md", "tar -xzf rs_script-", version, 1),
        ("docs/getting-started.md", "| `rs_script-", version, 2),
        ("docs/getting-started.md", "librs-script-dev_", version, 1),
        ("docs/getting-started.md", "npm/rs_script-", version, 1),
        ("CHANGELOG.md", "The first version, ", version, 1),
    ];
    for (file, marker, wanted, least) in places {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect(file);
        let found = versions(&text, marker);
        assert!(found.len() >= least, "{file}: nothing follows {marker:?}");
        assert!(found.iter().all(|found| *found == wanted), "{file}: {marker:?} {found:?}, not {wanted}");
    }
}

#[test]
fn of_the_abi_is_minor_before_major() {
    assert_eq!([abi("0.1.0"), abi("0.12.3"), abi("1.2.3"), abi("10.0.0")], ["0.1", "0.12", "1", "10"]);
}
