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

/// Where its lines go.
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
    let report = Report::of(version, SETTINGS);
    let lines = std::env::var(LINES).expect("where the lines go");
    std::fs::write(lines, report.lines()).expect("a file for the lines");
    report.assert_whole();
}
