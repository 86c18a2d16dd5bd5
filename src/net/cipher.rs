//! TLS between session and socket: plain bytes in and cipher bytes out, and back.

use std::io::{Read, Write};

use rustls::ClientConnection;

use crate::resp::{Inbox, NoMemory};

/// Plain bytes encrypted at a time, so that a large request does not stand in memory twice.
const STEP: usize = 64 * 1024;

/// The TLS state of one connection.
#[derive(Debug)]
pub(crate) struct Cipher {
    connection: Box<ClientConnection>,
}

impl Cipher {
    pub(crate) fn new(mut connection: Box<ClientConnection>) -> Self {
        // What is encrypted is drained at once, so the buffer needs no bound of its own.
        connection.set_buffer_limit(None);
        Cipher { connection }
    }

    /// Whether the two sides have not agreed yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Encrypts the front of `plain` behind `out`; says how much of it.
    pub(crate) fn encrypt(&mut self, plain: &[u8], out: &mut Vec<u8>) -> std::io::Result<usize> {
        let step = plain.len().min(STEP);
        self.connection.writer().write_all(&plain[..step])?;
        self.drain(out)?;
        Ok(step)
    }

    /// Moves what TLS itself has to say behind `out`.
    pub(crate) fn drain(&mut self, out: &mut Vec<u8>) -> std::io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(out)?;
        }
        Ok(())
    }

    /// Decrypts `received` into the inbox. `plain` counts the bytes that came out, also when an error follows them.
    pub(crate) fn decrypt(
        &mut self,
        mut received: &[u8],
        inbox: &mut Inbox,
        plain: &mut usize,
    ) -> Result<Peer, Undecrypted> {
        loop {
            // From memory, this cannot fail; a full buffer is emptied below before more is read.
            let _ = self.connection.read_tls(&mut received);
            let state = self.connection.process_new_packets().map_err(Undecrypted::Tls)?;
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                let room = inbox.room().map_err(|NoMemory| Undecrypted::NoMemory)?;
                let Ok(count) = self.connection.reader().read(room) else { break };
                inbox.fill(count);
                *plain += count;
                left -= count;
            }
            if state.peer_has_closed() {
                return Ok(Peer::Closed);
            }
            if received.is_empty() {
                return Ok(Peer::Open);
            }
        }
    }
}

/// Why cipher bytes did not become plain ones.
pub(crate) enum Undecrypted {
    Tls(rustls::Error),
    NoMemory,
}

/// Whether the other side will send more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Open,
    /// It has said goodbye (close_notify).
    Closed,
}
