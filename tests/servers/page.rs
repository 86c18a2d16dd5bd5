//! docs/servers.md, as a reader sees it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::report::{Report, cell};
use crate::version::VERSIONS;
use crate::{SETTINGS, report};

/// A table: its heading, the servers of its columns, its rows.
struct Table {
    setting: String,
    servers: Vec<(String, String)>,
    rows: Vec<(String, Vec<String>)>,
}

struct Page {
    tables: Vec<Table>,
    /// By number, from 1.
    notes: Vec<String>,
}

fn read() -> Page {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/servers.md");
    let text = fs::read_to_string(&file).expect("docs/servers.md");
    let (mut tables, mut notes, mut setting) = (Vec::<Table>::new(), Vec::new(), String::new());
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            setting = heading.to_owned();
        } else if let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) {
            let mut cells = row.split(" | ").map(|cell| cell.trim().to_owned());
            let first = cells.next().expect("a first cell");
            match tables.last_mut().filter(|table| table.setting == setting) {
                None => tables.push(Table {
                    setting: setting.clone(),
                    servers: cells.map(|head| server(&head)).collect(),
                    rows: Vec::new(),
                }),
                Some(table) => table.rows.push((first, cells.collect())),
            }
        } else if let Some((number, note)) = line.split_once(". ") {
            if number.parse() == Ok(notes.len() + 1) {
                notes.push(note.to_owned());
            }
        } else if let (Some(last), Some(more)) = (notes.last_mut(), line.strip_prefix("   ")) {
            *last += " ";
            *last += more;
        }
    }
    Page { tables, notes }
}

/// "Redis 7.4.1" is what scripts/servers calls redis-7.4.
fn server(head: &str) -> (String, String) {
    let (family, number) = head.split_once(' ').expect("a server and its version");
    let minor = number.rsplit_once('.').expect("a version of three numbers").0;
    (format!("{}-{minor}", family.to_lowercase()), number.to_owned())
}

/// Names and versions of the page's columns.
pub fn servers() -> Vec<(String, String)> {
    read().tables.into_iter().next().map(|table| table.servers).unwrap_or_default()
}

/// The page says of this server what was found.
pub fn compare(report: &Report) {
    let page = read();
    for line in &report.lines {
        let table = page.tables.iter().find(|table| table.setting == line.setting).expect("the setting");
        let column = table.servers.iter().position(|(name, _)| name == report.version.name);
        let (_, cells) = table.rows.iter().find(|(feature, _)| feature == line.feature).expect("the feature");
        let said = &cells[column.expect("the server")];
        let (word, note) = said.split_once(' ').unwrap_or((said, ""));
        let number = note.trim_matches(|byte| "()".contains(byte)).parse::<usize>();
        let why = number.map_or("", |number| page.notes[number - 1].as_str());
        let (expected, reason) = cell(&line.found);
        assert_eq!((word, why), (expected, &*reason), "{}: {}; {RENEW}", line.setting, line.feature);
    }
}

const RENEW: &str = "scripts/test --servers all makes docs/servers.md anew";

#[test]
fn the_page_has_every_server_and_every_feature() {
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers")).output();
    let output = String::from_utf8(output.expect("scripts/servers starts").stdout).expect("text");
    let fetched: BTreeSet<(String, String)> = output
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            (fields[0].to_owned(), fields[fields.len() - 1].to_owned())
        })
        .collect();
    let page = read();
    let known: Vec<&str> = VERSIONS.iter().map(|version| version.name).collect();
    assert_eq!(page.tables.len(), SETTINGS.len(), "{RENEW}");
    for (table, setting) in page.tables.iter().zip(SETTINGS) {
        assert_eq!(table.setting, setting.name, "{RENEW}");
        let names: Vec<&str> = table.servers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, known, "{RENEW}");
        let columns: BTreeSet<(String, String)> = table.servers.iter().cloned().collect();
        assert!(columns.is_superset(&fetched), "{columns:?} lacks one of {fetched:?}; {RENEW}");
        let rows: Vec<&str> = table.rows.iter().map(|(feature, _)| feature.as_str()).collect();
        assert_eq!(rows, (setting.features)(), "{}: {RENEW}", setting.name);
        for (feature, cells) in &table.rows {
            assert!(
                cells.len() == known.len()
                    && cells.iter().all(|cell| cell.starts_with("yes") || cell.starts_with("no")),
                "{feature}: {cells:?}"
            );
        }
    }
}

#[test]
fn features_have_a_name_of_their_own() {
    for setting in SETTINGS {
        let features: Vec<&str> = (setting.features)();
        let distinct: BTreeSet<&str> = features.iter().copied().collect();
        assert_eq!(distinct.len(), features.len(), "{}", setting.name);
        assert!(features.iter().all(|feature| !feature.contains(['|', '\t'])));
    }
    let failed = report::cell(&Err("a\tb".into()));
    assert_eq!(failed, ("FAILED", "a b".into()));
}
