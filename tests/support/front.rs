//! TLS in front of a server that has none, as stunnel or a load balancer has it. Who speaks plainly is let through as
//! it is: the servers among themselves, which know each other by the same port.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::tls::Pair;

/// The first byte of a TLS client, which no command begins with.
const HANDSHAKE: u8 = 22;

/// A port that leads nowhere yet; see [`Front::lead_to`].
pub struct Bound {
    listener: TcpListener,
    config: Arc<ServerConfig>,
    port: u16,
}

/// Takes connections until it is dropped. Those that it has taken end with the server's end of them.
pub struct Front {
    port: u16,
    closed: Arc<AtomicBool>,
}

impl Front {
    /// A free port of 127.0.0.1, where this identity is shown.
    pub fn bind(identity: &Pair) -> Bound {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let cert = CertificateDer::from_pem_slice(identity.cert.as_bytes()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .expect("a key of its certificate");
        Bound { listener, config: Arc::new(config), port }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Bound {
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on connections lead to this server.
    pub fn lead_to(self, target: SocketAddr) -> Front {
        let front = Front { port: self.port, closed: Arc::default() };
        let closed = front.closed.clone();
        thread::spawn(move || {
            for client in self.listener.incoming() {
                if closed.load(Ordering::Acquire) {
                    return;
                }
                let config = self.config.clone();
                // Of no interest to anybody but the two ends, who see theirs close.
                thread::spawn(move || client.and_then(|client| serve(&client, target, config)));
            }
        });
        front
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        // Wakes the acceptor, which then sees that it is over.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// A server that is down looks like one that accepts and closes.
fn serve(client: &TcpStream, target: SocketAddr, config: Arc<ServerConfig>) -> io::Result<()> {
    let server = &TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut first = [0];
    let is_tls = client.peek(&mut first)? == 1 && first[0] == HANDSHAKE;
    let session = is_tls.then(|| {
        let mut session = ServerConnection::new(config).expect("a configuration of a server");
        session.set_buffer_limit(None);
        Mutex::new(session)
    });
    let session = &session;
    thread::scope(|scope| {
        scope.spawn(move || {
            let _ = match session {
                Some(session) => encrypted(client, server, session),
                None => relay(server, client),
            };
            hang_up(client, server);
        });
        let _ = match session {
            Some(session) => decrypted(client, server, session),
            None => relay(client, server),
        };
        hang_up(client, server);
    });
    Ok(())
}

fn relay(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            len => to.write_all(&buffer[..len])?,
        }
    }
}

/// What the client has encrypted goes to the server in plain.
fn decrypted(
    mut client: &TcpStream,
    mut server: &TcpStream,
    session: &Mutex<ServerConnection>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut plain = Vec::new();
    loop {
        let len = client.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..len];
        while !rest.is_empty() {
            let mut session = lock(session);
            session.read_tls(&mut rest)?;
            let state = session.process_new_packets();
            while session.wants_write() {
                session.write_tls(&mut client)?;
            }
            let state = state.map_err(io::Error::other)?;
            plain.resize(state.plaintext_bytes_to_read(), 0);
            session.reader().read_exact(&mut plain)?;
            drop(session);
            server.write_all(&plain)?;
        }
    }
}

/// What the server says goes to the client encrypted.
fn encrypted(
    mut client: &TcpStream,
    mut server: &TcpStream,
    session: &Mutex<ServerConnection>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let len = server.read(&mut buffer)?;
        let mut session = lock(session);
        if len == 0 {
            session.send_close_notify();
        }
        session.writer().write_all(&buffer[..len])?;
        while session.wants_write() {
            session.write_tls(&mut client)?;
        }
        if len == 0 {
            return Ok(());
        }
    }
}

fn lock(session: &Mutex<ServerConnection>) -> MutexGuard<'_, ServerConnection> {
    session.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn hang_up(client: &TcpStream, server: &TcpStream) {
    for stream in [client, server] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}
