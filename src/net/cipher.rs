//! TLS between session and socket: plain bytes in and cipher bytes out, and back.

use std::io::{Read, Write};

use rustls::ClientConnection;

use crate::session::Inbox;

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

    /// Decrypts `received` into the inbox; says how many plain bytes came out, and whether the peer has said goodbye.
    pub(crate) fn decrypt(&mut self, mut received: &[u8], inbox: &mut Inbox) -> std::io::Result<(usize, bool)> {
        let mut plain = 0;
        loop {
            if !received.is_empty() {
                self.connection.read_tls(&mut received)?;
            }
            let state = self.connection.process_new_packets().map_err(std::io::Error::other)?;
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                let count = self.connection.reader().read(inbox.room())?;
                inbox.fill(count);
                plain += count;
                left = left.saturating_sub(count);
            }
            if received.is_empty() || state.peer_has_closed() {
                return Ok((plain, state.peer_has_closed()));
            }
        }
    }
}
