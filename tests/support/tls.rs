//! Certificates made for a test run, good ones and bad ones.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

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

    /// Writes `ca.crt`, and `.crt` and `.key` of `server` and `client`.
    pub(super) fn write(&self, dir: &Path, identity: Identity) {
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
