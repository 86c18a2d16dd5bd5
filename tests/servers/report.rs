//! Runs scenarios on a server and keeps what each found.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::version::Version;

/// What a server does for a feature; whatever else it does is a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Yes,
    /// It works, in another way: which one.
    Otherwise(&'static str),
    /// The server has no such thing: what a caller gets.
    No(&'static str),
}

/// A feature's name on the page, and its test.
pub type Scenario<T> = (&'static str, fn(&T) -> Found);

/// Is told what came of each feature, in turn.
pub type Told<'a> = &'a mut dyn FnMut(&'static str, Result<Found, String>);

/// A part of the page: servers that are started once, and tests that run on them one after the other.
pub struct Setting {
    pub name: &'static str,
    pub features: fn() -> Vec<&'static str>,
    pub run: fn(&'static Version, Told<'_>),
}

/// One line.
pub struct Line {
    pub setting: &'static str,
    pub feature: &'static str,
    pub found: Result<Found, String>,
}

pub struct Report {
    pub version: &'static Version,
    pub lines: Vec<Line>,
}

impl Report {
    pub fn of<'a>(version: &'static Version, settings: impl IntoIterator<Item = &'a Setting>) -> Report {
        let mut lines = Vec::new();
        for setting in settings {
            let mut start = Instant::now();
            (setting.run)(version, &mut |feature, found| {
                println!(
                    "{} | {} | {feature} | {found:?} | {:?}",
                    version.name,
                    setting.name,
                    start.elapsed()
                );
                start = Instant::now();
                lines.push(Line { setting: setting.name, feature, found });
            });
        }
        Report { version, lines }
    }

    /// For docs/tools/servers.py: fields separated by tabs.
    pub fn lines(&self) -> String {
        let mut text = format!("server\t{}\t{}\n", self.version.name, self.version.number());
        for Line { setting, feature, found } in &self.lines {
            let (word, why) = cell(found);
            text += &format!("{setting}\t{feature}\t{word}\t{why}\n");
        }
        text
    }

    #[track_caller]
    pub fn assert_whole(&self) {
        let failed: Vec<String> = self
            .lines
            .iter()
            .filter_map(|line| {
                let error = line.found.as_ref().err()?;
                Some(format!("{} | {}: {error}", line.setting, line.feature))
            })
            .collect();
        assert!(failed.is_empty(), "{}:\n{}", self.version.name, failed.join("\n"));
        assert!(!self.lines.is_empty());
    }
}

/// A word for the table, and why where that is no plain yes.
pub fn cell(found: &Result<Found, String>) -> (&'static str, String) {
    match found {
        Ok(Found::Yes) => ("yes", String::new()),
        Ok(Found::Otherwise(how)) => ("yes", (*how).to_owned()),
        Ok(Found::No(why)) => ("no", (*why).to_owned()),
        Err(error) => ("FAILED", error.replace(['\t', '\n'], " ")),
    }
}

/// Runs all of them on what `start` has started, whatever becomes of one.
pub fn run<T>(start: impl FnOnce() -> T, scenarios: &[Scenario<T>], found: Told<'_>) {
    let ground = match caught(start) {
        Ok(ground) => ground,
        Err(error) => {
            for (feature, _) in scenarios {
                found(feature, Err(format!("nothing to run it on: {error}")));
            }
            return;
        }
    };
    for (feature, scenario) in scenarios {
        found(feature, caught(|| scenario(&ground)));
    }
}

pub fn names<T>(scenarios: &[Scenario<T>]) -> Vec<&'static str> {
    scenarios.iter().map(|(feature, _)| *feature).collect()
}

fn caught<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
