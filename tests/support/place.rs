//! Where a server lives: a directory of its own, and a free port.

use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::{fs, io};

/// Its Unix socket, in its directory.
pub const SOCKET: &str = "s";

/// So much above a node's port is the one of the cluster's bus.
pub const BUS: u16 = 10_000;

/// A temporary directory, removed with its contents.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn create() -> Directory {
        for number in 0.. {
            let dir = std::env::temp_dir().join(format!("rss-{}-{number}", std::process::id()));
            match fs::create_dir(&dir) {
                Ok(()) => {
                    // sun_path holds 104 bytes on macOS and 108 on Linux.
                    let len = dir.join(SOCKET).as_os_str().len();
                    assert!(len < 104, "{} is too long for a Unix socket: set TMPDIR", dir.display());
                    return Directory(dir);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", dir.display()),
            }
        }
        unreachable!("one number is free")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A port that nothing listens on, nor on the one 10,000 above, which a cluster node needs as well. Both lie below the
/// range that systems take outgoing connections' ports from, so that a restarted server finds its port free.
pub fn free_port(addresses: &[IpAddr]) -> u16 {
    const FIRST: u16 = 11_000;
    const COUNT: u16 = BUS;
    // Test processes that run at the same time begin at different places.
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU16::new(fastrand::u16(..COUNT)));
    let free = |port: u16| addresses.iter().all(|&address| TcpListener::bind((address, port)).is_ok());
    (0..COUNT)
        .map(|_| FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT)
        .find(|&port| free(port) && free(port + COUNT))
        .expect("one of ten thousand ports is free")
}
