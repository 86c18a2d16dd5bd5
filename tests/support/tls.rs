//! Certificates made for a test run, good ones and bad ones, and a client that is strict about them.

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::raw::Raw;
use super::server::Server;

/// What a server shows its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Valid for 127.0.0.1, `::1` and `localhost`.
    Valid,
    /// Valid, but for another host.
    WrongHost,
    /// For the right host, but no longer valid.
    Expired,
}

/// A certificate and its private key, in PEM.
#[derive(Clone)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

/// A certificate authority and what it has signed.
#[derive(Clone)]
pub struct Certs {
    /// The authority's certificate, in PEM: what a client has to trust.
    pub ca: String,
    /// A client's certificate.
    pub client: Pair,
    valid: Pair,
    wrong_host: Pair,
    expired: Pair,
}

impl Certs {
    /// A new authority: two of them don't trust each other.
    pub fn generate() -> Certs {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "rs_script test authority");
        let key = generate_key();
        let ca = params.self_signed(&key).expect("an authority signs itself");
        let issuer = Issuer::new(params, key);

        let usage = ExtendedKeyUsagePurpose::ServerAuth;
        let local = || leaf(&["127.0.0.1", "::1", "localhost"], usage.clone());
        let mut expired = local();
        expired.not_before = date_time_ymd(2020, 1, 1);
        expired.not_after = date_time_ymd(2020, 12, 31);
        Certs {
            ca: ca.pem(),
            client: sign(&leaf(&["client"], ExtendedKeyUsagePurpose::ClientAuth), &issuer),
            valid: sign(&local(), &issuer),
            wrong_host: sign(&leaf(&["elsewhere.example"], usage.clone()), &issuer),
            expired: sign(&expired, &issuer),
        }
    }

    pub fn identity(&self, identity: Identity) -> &Pair {
        match identity {
            Identity::Valid => &self.valid,
            Identity::WrongHost => &self.wrong_host,
            Identity::Expired => &self.expired,
        }
    }

    /// Writes `ca.crt`, and `.crt` and `.key` of `server` and `client`: into a server's directory they count from its
    /// next start on.
    pub fn write(&self, dir: &Path, identity: Identity) {
        let server = self.identity(identity);
        for (file, pem) in [
            ("ca.crt", &self.ca),
            ("server.crt", &server.cert),
            ("server.key", &server.key),
            ("client.crt", &self.client.cert),
            ("client.key", &self.client.key),
        ] {
            fs::write(dir.join(file), pem).expect("a certificate in the server's directory");
        }
    }
}

fn generate_key() -> KeyPair {
    KeyPair::generate().expect("a P-256 key")
}

fn leaf(names: &[&str], usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("host names");
    params.distinguished_name.push(DnType::CommonName, "rs_script test");
    params.extended_key_usages = vec![usage];
    params
}

fn sign(params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Pair {
    let key = generate_key();
    let cert: Certificate = params.signed_by(&key, issuer).expect("the authority signs");
    Pair { cert: cert.pem(), key: key.serialize_pem() }
}

/// Connects to the server's TLS port as a strict client does: it must show itself valid by this authority. Whether it
/// does comes out at the first command. Does not authenticate.
pub fn connect_tls(server: &Server, ca: &str, client: Option<&Pair>) -> io::Result<Raw> {
    let cert = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(cert(ca)).expect("an authority's certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_root_certificates(roots);
    let config = match client {
        None => config.with_no_client_auth(),
        Some(pair) => {
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
            config.with_client_auth_cert(vec![cert(&pair.cert)], key).expect("a key of its certificate")
        }
    };
    let session = ClientConnection::new(Arc::new(config), ServerName::from(server.address().ip()));
    let stream = TcpStream::connect(server.address())?;
    Ok(Raw::over(StreamOwned::new(session.expect("a TLS session"), stream)))
}
