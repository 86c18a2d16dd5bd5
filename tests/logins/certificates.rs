//! Certificates and keys: from files that are replaced while the client lives, and from memory.

use crate::support;

use std::fs;
use std::sync::{Arc, Mutex};

use rs_script::{Client, Error, Options, Script, Status};
use support::calls::{LONG, options};
use support::raw::Raw;
use support::server::Server;
use support::tls::{Certs, Identity};
use support::{wait_for, wait_until};

const NONE: &[&[u8]] = &[];

/// A server that asks for client certificates.
fn strict_server(certs: &Certs) -> Server {
    Server::builder().tls(certs, Identity::Valid).client_certs_required().start()
}

/// Options with the files in the server's directory.
fn files_of(server: &Server) -> Options {
    let mut options = options(LONG);
    options
        .tls_ca_file(server.dir().join("ca.crt"))
        .tls_client_cert_file(server.dir().join("client.crt"))
        .tls_client_key_file(server.dir().join("client.key"));
    options
}

fn call(client: &Client) -> Result<(), Error> {
    // A connection that ends this moment does it no harm.
    client.call(&Script::idempotent("return 7"), NONE, NONE).map(|reply| assert_eq!(reply.as_i64(), Some(7)))
}

/// Ends the client's connections, from the server's side.
fn disconnect(server: &Server) {
    let mut raw = Raw::unix(&server.unix_path()).unwrap();
    raw.ok(&["CLIENT", "KILL", "SKIPME", "yes", "TYPE", "normal"]);
    wait_until("the end of the client's connections", || {
        raw.ok(&["CLIENT", "LIST"]).text().lines().count() == 1
    });
}

/// The error of a call that finds no connection. One before may have been on a connection that was just ending.
fn error_without_connection(client: &Client) -> Error {
    wait_for("the call that finds no connection", || {
        call(client).err().filter(|error| !error.is_indeterminate())
    })
}

#[test]
fn certificates_and_keys_may_come_from_memory() {
    let certs = Certs::generate();
    let server = strict_server(&certs);
    let mut from_memory = options(LONG);
    from_memory.tls_ca_pem(certs.ca.clone());
    from_memory.tls_client_cert_pem(certs.client.cert.clone()).tls_client_key_pem(certs.client.key.clone());
    let client = Client::open(&server.url(), &from_memory).unwrap();
    call(&client).unwrap();
    // It needs no files.
    for file in ["ca.crt", "client.crt", "client.key"] {
        fs::remove_file(server.dir().join(file)).unwrap();
    }
    disconnect(&server);
    call(&client).unwrap();

    let other = Certs::generate();
    from_memory.tls_ca_pem(other.ca);
    let error = Client::open(&server.url(), &from_memory).expect_err("another authority");
    assert_eq!(error.status(), Status::Tls, "{error}");
}

#[test]
fn replaced_certificates_count_from_the_next_connection_on() {
    let (before, after) = (Certs::generate(), Certs::generate());
    let server = strict_server(&before);
    let client = Client::open(&server.url(), &files_of(&server)).unwrap();
    let mut of_before = options(LONG);
    of_before.tls_ca_pem(before.ca.clone());
    of_before.tls_client_cert_pem(before.client.cert.clone()).tls_client_key_pem(before.client.key.clone());
    let memory = Client::open(&server.url(), &of_before).unwrap();
    call(&client).unwrap();
    call(&memory).unwrap();

    after.write(server.dir(), Identity::Valid);
    call(&client).unwrap();
    server.restart();
    call(&client).unwrap();
    // What does not read files again knows the authority of before alone.
    let error = call(&memory).expect_err("another authority");
    assert_eq!(error.status(), Status::Tls, "{error}");
    assert!(error.is_not_executed());

    // And back again: neither is kept.
    before.write(server.dir(), Identity::Valid);
    server.restart();
    call(&client).unwrap();
    call(&memory).unwrap();
}

#[test]
fn a_file_that_cannot_serve_fails_the_attempt_to_connect_and_nothing_else() {
    let certs = Certs::generate();
    let server = strict_server(&certs);
    let log = Arc::<Mutex<Vec<String>>>::default();
    let heard = Arc::clone(&log);
    let mut options = files_of(&server);
    options.reconnect_attempts(2).log(move |event| heard.lock().unwrap().push(event.message.to_owned()));
    let client = Client::open(&server.url(), &options).unwrap();
    let whole = |file: &str| fs::read(server.dir().join(file)).unwrap();
    let other = Certs::generate();
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    // Half-written, emptied, of another pair: a key that has been replaced already, with the certificate of before.
    for (file, bad, words) in [
        ("ca.crt", half(&whole("ca.crt")), "option tls_ca_file"),
        ("client.crt", Vec::new(), "option tls_client_cert_file"),
        ("client.key", half(&whole("client.key")), "option tls_client_key_file"),
        ("client.key", other.client.key.clone().into_bytes(), "option tls_client_key_file"),
    ] {
        let good = whole(file);
        fs::write(server.dir().join(file), &bad).unwrap();
        // The connection stands.
        call(&client).unwrap();
        disconnect(&server);
        let error = error_without_connection(&client);
        assert_eq!(error.status(), Status::Connect, "{error}");
        assert!(error.is_not_executed() && error.message().contains(words), "{error}");
        assert!(error.message().contains(file), "{error}");
        fs::write(server.dir().join(file), &good).unwrap();
        call(&client).unwrap();
    }
    // Gone, as while a volume is mounted anew.
    let key = whole("client.key");
    fs::remove_file(server.dir().join("client.key")).unwrap();
    disconnect(&server);
    let error = error_without_connection(&client);
    assert!(error.message().contains("cannot read it: No such file"), "{error}");
    fs::write(server.dir().join("client.key"), &key).unwrap();
    call(&client).unwrap();

    let secret = String::from_utf8(key).unwrap();
    let secret: Vec<_> = secret.lines().filter(|line| !line.starts_with("-----")).collect();
    assert!(!secret.is_empty());
    for text in log.lock().unwrap().iter() {
        assert!(secret.iter().all(|line| !text.contains(line)), "{text}");
    }
}

#[test]
fn a_key_in_memory_needs_its_certificate() {
    let certs = Certs::generate();
    let server = strict_server(&certs);
    let mut lone = options(LONG);
    lone.tls_client_key_pem(certs.client.key.clone());
    let error = Client::open(&server.url(), &lone).expect_err("a lone key");
    assert_eq!(error.status(), Status::InvalidOption, "{error}");
    assert!(error.message().contains("tls_client_key_pem: needs tls_client_cert_pem"), "{error}");
    lone.tls_client_cert_pem(certs.client.key.clone());
    let error = Client::open(&server.url(), &lone).expect_err("a key in place of a certificate");
    assert!(error.message().contains("tls_client_cert_pem: holds no certificate"), "{error}");
    assert!(!error.message().contains(certs.client.key.lines().nth(1).unwrap()), "{error}");
}
