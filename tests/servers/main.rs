//! What each supported server does, setting by setting. `scripts/test --servers` runs all of it and makes
//! docs/servers.md of what this writes; by itself it runs what needs one server, and compares that with the page.

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod page;
mod replicas;
mod report;
mod sentinel;
mod single;
mod tls;
mod version;

use report::{Report, Setting};
use version::{VERSIONS, Version};

/// Every setting, in the page's order.
const SETTINGS: [&Setting; 5] =
    [&single::SETTING, &replicas::SETTING, &cluster::SETTING, &sentinel::SETTING, &tls::SETTING];

/// The server to run on, by the name that scripts/servers has for it.
const SERVER: &str = "RS_SCRIPT_SERVER";

/// Where its lines go, if they are not to be compared with the page.
const LINES: &str = "RS_SCRIPT_SERVER_LINES";

#[test]
fn the_server_does_what_the_page_says() {
    let Ok(name) = std::env::var(SERVER) else {
        // The server on PATH may be one that the page does not have.
        let version = Version::on_path();
        let report = Report::of(version, [&single::SETTING]);
        report.assert_whole();
        if page::servers().contains(&(version.name.to_owned(), version.number())) {
            page::compare(&report);
        }
        return;
    };
    let version = VERSIONS.iter().find(|version| version.name == name);
    let version = version.unwrap_or_else(|| panic!("no such server: {name}"));
    let (_, minor) = name.rsplit_once('-').expect("a name and a version");
    let number = version.number();
    assert!(number.starts_with(&format!("{minor}.")), "{name} is asked for, and this is {number}");
    let report = Report::of(version, SETTINGS);
    report.assert_whole();
    match std::env::var(LINES) {
        Ok(lines) => std::fs::write(lines, report.lines()).expect("a file for the lines"),
        Err(_) => page::compare(&report),
    }
}
