//! Scripted servers that answer like a small cluster.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rs_script::Script;

use super::fake::Conn;

/// What answers like a node of a cluster of two that has or has not all slots.
pub struct Nodes {
    pub ports: Mutex<Vec<u16>>,
    pub owner: AtomicUsize,
}

impl Nodes {
    pub fn new() -> Arc<Nodes> {
        Arc::new(Nodes { ports: Mutex::default(), owner: AtomicUsize::new(0) })
    }

    pub fn port(&self, node: usize) -> u16 {
        self.ports.lock().unwrap()[node]
    }

    /// CLUSTER SLOTS; the slots are those of `owner`.
    fn slots(&self, owner: usize) -> String {
        let port = self.port(owner);
        format!("*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$40\r\n{owner:040}\r\n")
    }

    /// CLUSTER NODES as node `me` says it.
    fn nodes(&self, me: usize) -> String {
        let owner = self.owner.load(Ordering::SeqCst);
        let line = |node: usize| {
            let port = self.port(node);
            let (myself, slots) =
                (["", "myself,"][usize::from(node == me)], ["", " 0-16383"][usize::from(node == owner)]);
            format!("{node:040} 127.0.0.1:{port}@1{port} {myself}master - 0 0 1 connected{slots}\n")
        };
        let text: String = (0..2).map(line).collect();
        format!("${}\r\n{text}\r\n", text.len())
    }

    pub fn answer(&self, me: usize, told: usize, command: &[Vec<u8>]) -> Option<String> {
        let word = |at: usize| command.get(at).map(|word| word.to_ascii_uppercase()).unwrap_or_default();
        match (word(0).as_slice(), word(1).as_slice()) {
            (b"CLUSTER", b"SLOTS") => Some(self.slots(told)),
            (b"CLUSTER", b"NODES") => Some(self.nodes(me)),
            (b"CLUSTER", _) => Some("$16\r\ncluster_state:ok\r\n".into()),
            (b"SCRIPT", _) => Some(format!("$40\r\n{}\r\n", Script::new(command[2].clone()).sha_hex())),
            _ => None,
        }
    }
}

/// Answers commands behind the handshake until `answer` says that it is enough.
pub fn converse(conn: &mut Conn, mut answer: impl FnMut(&mut Conn, &[Vec<u8>]) -> bool) {
    let mut command = conn.handshake();
    while let Some(words) = command {
        if !answer(conn, &words) {
            return;
        }
        command = conn.handshake();
    }
}
