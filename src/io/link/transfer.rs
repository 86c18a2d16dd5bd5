//! How bytes get from a link's session to its socket and back, through TLS where there is one.

use std::io;
use std::time::{Duration, Instant};

use crate::ffi::sys::lock::MutexGuard;
use rustls::ClientConnection;

use super::{Link, Shared, Tag};
use crate::error::{Error, Reason, Status};
use crate::net::cipher::{Cipher, Peer, Undecrypted};
use crate::net::{PATIENCE, Readiness, reason, tls};
use crate::resp::Inbox;
use crate::resp::{NoMemory, Refusal};
use crate::session::{Chunk, Session};

/// How long a caller only waits to write before it looks whether there is still another that reads.
const WRITER_PATIENCE: Duration = Duration::from_millis(20);

/// So many writes, and one that waits for its own reply looks whether it has come. Others may put more in meanwhile,
/// and leave the sending to whoever is at it.
const WRITES_MAX: u32 = 64;

/// Room for one read of cipher bytes.
const CIPHER_ROOM: usize = 16 * 1024;

pub(super) struct Tls {
    cipher: Cipher,
    /// Cipher bytes to send.
    out: Chunk,
    /// Lent to the reader.
    received: Vec<u8>,
}

impl Tls {
    pub(super) fn new(connection: Box<ClientConnection>) -> Tls {
        Tls { cipher: Cipher::new(connection), out: Chunk::default(), received: vec![0; CIPHER_ROOM] }
    }

    /// Whether the two sides have not agreed yet.
    pub(super) fn is_handshaking(&self) -> bool {
        self.cipher.is_handshaking()
    }
}

/// Why received bytes end the connection.
enum Broken {
    Refusal(Refusal),
    Goodbye,
    Tls(Box<rustls::Error>),
}

/// What a read has brought: what the socket was ready for, and how many bytes were read from it.
type Read = io::Result<(Readiness, Option<usize>)>;

/// How a read comes by its bytes.
#[derive(Clone, Copy)]
pub(super) enum Wait {
    Until(Instant),
    /// They are there.
    Not,
}

impl Link {
    /// One wait and one read; `false` when the deadline passed.
    pub(super) fn receive(&self, shared: &mut MutexGuard<'_, Shared>, now: Instant, wait: Wait) -> bool {
        let mut inbox = shared.session.lend_inbox();
        let mut received = shared.tls.as_mut().map(|tls| std::mem::take(&mut tls.received));
        let write = shared.blocked && !shared.writing;
        shared.parked = true;
        debug_assert!(shared.session.is_handed_out(), "somebody may give up a call that is over");
        let outcome = MutexGuard::unlocked(shared, || {
            // A patient read spares the wait before it, but minds neither the deadline nor room to write.
            let patient = matches!(wait, Wait::Until(deadline)
                if !write && deadline > now + PATIENCE);
            let ready = match wait {
                Wait::Until(deadline) if !patient => self.socket.wait(true, write, deadline)?,
                _ => Readiness::READABLE,
            };
            if !ready.readable {
                return Ok((ready, None));
            }
            let room = match received.as_deref_mut() {
                Some(room) => room,
                None => inbox.room().map_err(|NoMemory| io::Error::from(io::ErrorKind::OutOfMemory))?,
            };
            match if patient { self.socket.recv_patiently(room) } else { self.socket.recv(room) } {
                Ok(count) => Ok((ready, Some(count))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok((ready, None)),
                Err(error) => Err(error),
            }
        });
        shared.parked = false;
        let taken = self.take_in(shared, inbox, received, now, &outcome);
        // Before the lock is let go of to write: who gives a call up meanwhile must find it over.
        self.deliver(shared);
        match (&outcome, &taken) {
            (Ok((Readiness { writable: false, .. }, Some(1..))), Ok(())) => true,
            _ => self.received_otherwise(shared, outcome, taken),
        }
    }

    /// What follows from a read that did not simply bring bytes; `false` when the deadline passed.
    #[cold]
    fn received_otherwise(
        &self,
        shared: &mut MutexGuard<'_, Shared>,
        outcome: Read,
        taken: std::result::Result<(), Broken>,
    ) -> bool {
        match (outcome, taken) {
            (Err(error), _) if error.kind() == io::ErrorKind::OutOfMemory => {
                self.refuse(shared, &Broken::Refusal(Refusal::Memory));
            }
            (Err(error), _) => self.lost(shared, Reason::ConnectionLost, &reason(&error)),
            (Ok((_, Some(0))), _) => self.lost(shared, Reason::ConnectionLost, "the server closed it"),
            (Ok(_), Err(error)) => self.refuse(shared, &error),
            (Ok((Readiness { writable: true, .. }, _)), _) if !shared.writing => self.flush(shared),
            (Ok((ready, None)), _) if ready.is_timeout() => return false,
            _ => {}
        }
        true
    }

    /// Gives what was read to the session.
    fn take_in(
        &self,
        shared: &mut Shared,
        mut inbox: Box<Inbox>,
        received: Option<Vec<u8>>,
        now: Instant,
        outcome: &Read,
    ) -> std::result::Result<(), Broken> {
        let count = match outcome {
            Ok((_, Some(count))) => *count,
            _ => 0,
        };
        if count > 0 {
            shared.hear(now);
        }
        #[cfg(test)]
        if count > 0 {
            crate::base::defect::provoked("read", &self.address);
        }
        let Shared { session, tls, .. } = shared;
        let (Some(tls), Some(received)) = (tls, received) else {
            inbox.fill(count);
            return session.receive(inbox, count).map_err(Broken::Refusal);
        };
        let mut plain = 0;
        let peer = if count > 0 {
            tls.cipher.decrypt(&received[..count], &mut inbox, &mut plain)
        } else {
            Ok(Peer::Open)
        };
        tls.received = received;
        session.receive(inbox, plain).map_err(Broken::Refusal)?;
        match peer {
            Ok(Peer::Open) => Ok(()),
            Ok(Peer::Closed) => Err(Broken::Goodbye),
            Err(Undecrypted::Tls(error)) => Err(Broken::Tls(Box::new(error))),
            Err(Undecrypted::NoMemory) => Err(Broken::Refusal(Refusal::Memory)),
        }
    }

    /// Sends until nothing is left, the socket takes no more, or it was enough for once.
    #[inline]
    pub(super) fn flush(&self, shared: &mut MutexGuard<'_, Shared>) {
        if shared.has_output() {
            self.send_all(shared);
        }
    }

    fn send_all(&self, shared: &mut MutexGuard<'_, Shared>) {
        let mut writes = 0;
        loop {
            let mut chunk = match shared.take_output() {
                Ok(Some(chunk)) => chunk,
                Ok(None) if shared.session.is_short() => {
                    self.out_of_memory(shared);
                    break;
                }
                Ok(None) => break,
                Err(error) => {
                    self.lost(shared, Reason::ConnectionLost, &reason(&error));
                    break;
                }
            };
            shared.writing = true;
            shared.blocked = false;
            debug_assert!(shared.session.is_handed_out(), "somebody may give up a call that is over");
            let mut sent = 0;
            let result = MutexGuard::unlocked(shared, || {
                let bytes = chunk.unsent();
                while sent < bytes.len() {
                    sent += self.socket.send(&bytes[sent..])?;
                }
                Ok(())
            });
            chunk.advance(sent);
            shared.put_back(chunk, sent);
            if let Err(error) = result {
                self.not_sent(shared, &error);
                break;
            }
            writes += 1;
            if writes == WRITES_MAX && shared.session.has_output() {
                shared.blocked = true;
                break;
            }
        }
        shared.writing = false;
    }

    /// What is to be sent is not whole.
    #[cold]
    fn out_of_memory(&self, shared: &mut Shared) {
        let text = format!(
            "the connection to {} was closed: there is no memory for what is to be sent",
            self.address
        );
        self.fail(shared, &Error::because(Status::NoMemory, Reason::ConnectionLost, text));
    }

    #[cold]
    fn not_sent(&self, shared: &mut Shared, error: &io::Error) {
        if error.kind() == io::ErrorKind::WouldBlock {
            shared.blocked = true;
        } else {
            self.lost(shared, Reason::ConnectionLost, &reason(error));
        }
    }

    /// Waits a while for the socket to take bytes again while another thread reads; `false` when the deadline passed.
    pub(super) fn unblock(&self, shared: &mut MutexGuard<'_, Shared>, deadline: Instant) -> bool {
        shared.writing = true;
        let until = deadline.min(Instant::now() + WRITER_PATIENCE);
        let ready = MutexGuard::unlocked(shared, || self.socket.wait(false, true, until));
        shared.writing = false;
        match ready {
            Ok(ready) if ready.is_timeout() => {}
            Ok(_) => self.flush(shared),
            Err(error) => self.lost(shared, Reason::ConnectionLost, &reason(&error)),
        }
        !shared.blocked || Instant::now() < deadline
    }

    fn refuse(&self, shared: &mut Shared, broken: &Broken) {
        match broken {
            Broken::Refusal(Refusal::Limit(what)) => {
                self.close_for_reply(shared, Status::ReplyLimit, &format!("the server sent {what}"));
            }
            Broken::Refusal(Refusal::Memory) => {
                self.close_for_reply(shared, Status::NoMemory, "there is no memory for what the server sent");
            }
            Broken::Refusal(Refusal::Protocol(what)) => {
                self.lost(shared, Reason::Protocol, &format!("the server sent {what}"));
            }
            Broken::Goodbye => self.lost(shared, Reason::ConnectionLost, "the server closed it"),
            Broken::Tls(error) => {
                let is_handshaking = shared.tls.as_ref().is_some_and(Tls::is_handshaking);
                let why = if is_handshaking { Reason::Connect } else { Reason::ConnectionLost };
                self.fail(shared, &tls::failure(&self.address, why, error));
            }
        }
    }

    /// Ends the connection because of the reply to one call: that call ends with `owner`, the others as with any lost
    /// connection.
    fn close_for_reply(&self, shared: &mut Shared, owner: Status, reason: &str) {
        let reason = format!("the connection to {} was closed: {reason}", self.address);
        let cause = Error::because(Status::Connect, Reason::ConnectionLost, reason);
        self.fail_for_reply(shared, &cause, Some(owner));
    }
}

impl Shared {
    /// Whether there may be bytes to send.
    #[inline]
    fn has_output(&self) -> bool {
        self.session.has_output() || self.tls.is_some()
    }

    #[inline]
    fn take_output(&mut self) -> io::Result<Option<Chunk>> {
        match &mut self.tls {
            None => Ok(self.session.take_output()),
            Some(tls) => tls.take_output(&mut self.session),
        }
    }

    #[inline]
    fn put_back(&mut self, chunk: Chunk, sent: usize) {
        match &mut self.tls {
            None => self.session.put_back(chunk, sent),
            Some(tls) => tls.out = chunk,
        }
    }
}

impl Tls {
    /// The next cipher bytes to send: those that are left, or what becomes of the session's next bytes.
    fn take_output(&mut self, session: &mut Session<Tag>) -> io::Result<Option<Chunk>> {
        let left = std::mem::take(&mut self.out);
        if !left.is_sent() {
            return Ok(Some(left));
        }
        let mut out = Vec::from(left.into_buffer().unwrap_or_default());
        out.clear();
        self.cipher.drain(&mut out)?;
        // Until the handshake is over nothing of a request leaves: so it is known that the server has none of it.
        if !self.is_handshaking()
            && let Some(mut plain) = session.take_output()
        {
            let count = self.cipher.encrypt(plain.unsent(), &mut out)?;
            plain.advance(count);
            session.put_back(plain, count);
        }
        if out.is_empty() {
            self.out = Chunk::own(out.into());
            return Ok(None);
        }
        Ok(Some(Chunk::own(out.into())))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::{End, Place, Tag};
    use crate::net::testing::Server;
    use crate::request::{Flags, Request, Shape};
    use crate::{Client, Options};

    #[test]
    fn nobody_writes_for_others_without_end() {
        let server = Server::start(None);
        let url = format!("redis://127.0.0.1:{}", server.port);
        let client = Client::open(&url, &Options::default()).unwrap();
        let link = client.io().core.lock().table.links().next().cloned().unwrap();
        // Each too large to be copied, so that it is a write of its own.
        let text = [b'x'; 3 * 1024];
        let (now, deadline) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let mut shared = link.shared.lock();
        let calls: Vec<_> = (0..3 * super::WRITES_MAX)
            .map(|_| {
                let mut request = Box::<Request>::default();
                request.reset(Shape::Single);
                request.command(&[b"ECHO", &text[..]], Flags::NONE).unwrap();
                let place = shared.places.insert(Place::default());
                (place, shared.session.submit(request, Tag::Caller(place)))
            })
            .collect();
        link.flush(&mut shared);
        assert!(shared.blocked && !shared.writing && shared.session.has_output(), "it has written all");
        for call in calls {
            let end = link.end(&mut shared, call, (now, deadline));
            assert!(matches!(end, End::Finished(ended) if ended.result.is_ok()), "what was left is sent");
        }
        assert!(!shared.blocked && !shared.session.has_output());
    }
}
