//! The servers, and what each of them lacks.

use std::process::Command;

use crate::support::server::Binary;

/// A server that is supported.
pub struct Version {
    /// The name that scripts/servers has for it; that on PATH is none of those.
    pub name: &'static str,
    pub binary: Binary,
    /// EVALSHA_RO, and flags in a script's first line.
    pub has_read_only: bool,
    /// FUNCTION and FCALL.
    pub has_functions: bool,
    /// SCRIPT SHOW.
    pub has_show: bool,
    /// CLUSTER MIGRATESLOTS.
    pub moves_slots: bool,
    /// A build with TLS; for the others something stands in front.
    pub has_tls: bool,
}

const REDIS: Version = Version {
    name: "redis-7.0",
    binary: Binary::Default,
    has_read_only: true,
    has_functions: true,
    has_show: false,
    moves_slots: false,
    has_tls: true,
};

/// In the order of the page's columns.
pub const VERSIONS: [Version; 6] = [
    Version {
        name: "redis-6.2",
        binary: Binary::Redis62,
        has_read_only: false,
        has_functions: false,
        has_tls: false,
        ..REDIS
    },
    REDIS,
    Version { name: "redis-7.4", binary: Binary::Redis74, ..REDIS },
    Version { name: "redis-8.2", binary: Binary::Redis82, has_tls: false, ..REDIS },
    Version { name: "valkey-8.1", binary: Binary::Valkey81, has_show: true, has_tls: false, ..REDIS },
    Version {
        name: "valkey-9.1",
        binary: Binary::Valkey91,
        has_show: true,
        moves_slots: true,
        has_tls: false,
        ..REDIS
    },
];

impl Version {
    /// What the server on PATH is taken for.
    pub fn on_path() -> &'static Version {
        const { &REDIS }
    }

    /// Its full number, by its own word.
    pub fn number(&self) -> String {
        let output = Command::new(self.binary.path()).arg("--version").output().expect("the server starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = text.split_whitespace().find_map(|word| word.strip_prefix("v=").map(str::to_owned));
        number.unwrap_or_else(|| panic!("no version in {text:?}"))
    }
}
