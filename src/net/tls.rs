//! What a TLS connection is set up with, and what its failures mean.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::reason;
use crate::error::{Error, Reason, Result, Status};
use crate::net::address::Address;

/// The TLS part of the options, unchecked but for the name.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsOptions {
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) client_cert_file: Option<PathBuf>,
    pub(crate) client_key_file: Option<PathBuf>,
    pub(crate) server_name: Option<ServerName<'static>>,
    pub(crate) insecure_skip_verify: bool,
}

impl TlsOptions {
    /// The name of an option that differs from its default.
    pub(crate) fn first_set(&self) -> Option<&'static str> {
        [
            ("tls_ca_file", self.ca_file.is_some()),
            ("tls_client_cert_file", self.client_cert_file.is_some()),
            ("tls_client_key_file", self.client_key_file.is_some()),
            ("tls_server_name", self.server_name.is_some()),
            ("tls_insecure_skip_verify", self.insecure_skip_verify),
        ]
        .into_iter()
        .find_map(|(name, set)| set.then_some(name))
    }
}

/// What every connection of a client shares: certificates, and the sessions to resume.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl fmt::Debug for Tls {
    /// Without the configuration, which holds the client's key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files, and checks that `host` can be the name on a certificate.
    pub(crate) fn new(options: &TlsOptions, host: &str) -> Result<Self> {
        // Given explicitly: a program may have installed another provider for the whole process, or two.
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new(Status::Tls, format!("cannot set up TLS: {error}")))?;
        let builder = if options.insecure_skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        } else {
            builder.with_root_certificates(match &options.ca_file {
                Some(path) => roots_from_file(path)?,
                None => system_roots()?,
            })
        };
        let config = match (&options.client_cert_file, &options.client_key_file) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => builder
                .with_client_auth_cert(certificates("tls_client_cert_file", cert)?, private_key(key)?)
                .map_err(|error| {
                    bad_file("tls_client_key_file", key, format_args!("it cannot be used: {error}"))
                })?,
            (Some(_), None) => return Err(lone("tls_client_cert_file", "tls_client_key_file")),
            (None, Some(_)) => return Err(lone("tls_client_key_file", "tls_client_cert_file")),
        };
        let tls = Tls { config: Arc::new(config), server_name: options.server_name.clone() };
        tls.server_name(host)?;
        Ok(tls)
    }

    /// The name that the certificate of `host` must be for.
    pub(super) fn server_name(&self, host: &str) -> Result<ServerName<'static>> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            None => ServerName::try_from(host.to_owned()).map_err(|_| {
                Error::new(
                    Status::Tls,
                    format!("{host} cannot be the name on a certificate; set the option tls_server_name"),
                )
            }),
        }
    }
}

fn lone(set: &str, missing: &str) -> Error {
    Error::new(Status::InvalidOption, format!("option {set}: needs {missing} too"))
}

fn bad_file(option: &str, path: &Path, why: impl fmt::Display) -> Error {
    Error::new(Status::InvalidOption, format!("option {option}: {}: {why}", path.display()))
}

fn roots_from_file(path: &Path) -> Result<RootCertStore> {
    const OPTION: &str = "tls_ca_file";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(OPTION, path)? {
        roots
            .add(certificate)
            .map_err(|error| bad_file(OPTION, path, format_args!("a certificate cannot be used: {error}")))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems ship the odd certificate that does not parse; the others still serve.
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
    Err(Error::new(
        Status::Tls,
        format!("this system has no certificate authorities to trust{why}; set the option tls_ca_file"),
    ))
}

fn certificates(option: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| bad_pem(option, path, &error, "certificate"))?;
    if certificates.is_empty() {
        return Err(bad_pem(option, path, &pem::Error::NoItemsFound, "certificate"));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| bad_pem("tls_client_key_file", path, &error, "unencrypted private key"))
}

/// Own words, because those of the parser quote the file.
fn bad_pem(option: &str, path: &Path, error: &pem::Error, item: &str) -> Error {
    match error {
        pem::Error::Io(error) => bad_file(option, path, format_args!("cannot read it: {}", reason(error))),
        pem::Error::NoItemsFound => bad_file(option, path, format_args!("holds no {item} in PEM form")),
        _ => bad_file(option, path, "is damaged: not valid PEM"),
    }
}

/// Checks that the server has the key of the certificate it shows, but not whose certificate that is.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A TLS failure in the handshake, with what to do about it.
///
/// With TLS 1.3 a server's refusal of the client's certificate arrives after the handshake, with the first bytes read:
/// whoever reads them reports it by this.
pub(crate) fn failure(address: &Address, why: Reason, error: &rustls::Error) -> Error {
    let hint = hint(error).map(|hint| format!("; {hint}")).unwrap_or_default();
    Error::because(Status::Tls, why, format!("TLS with {address} failed: {error}{hint}"))
}

pub(super) const NOT_TLS: &str = "does the server speak TLS on this port?";

fn hint(error: &rustls::Error) -> Option<&'static str> {
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            // A bad signature: the authority has the right name and another key, as after it was made anew.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Some(
                "if its authority is your own, name the authority's certificate in the option tls_ca_file",
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Some("the option tls_server_name sets the name to check")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Some("renew the server's certificate, or set this machine's clock")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Some("check this machine's clock")
            }
            // rustls has no variant of its own for it.
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => Some(
                "the server shows the certificate of an authority; give it one that the authority has signed",
            ),
            _ => None,
        },
        rustls::Error::InvalidMessage(_) => Some(NOT_TLS),
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => Some(
                "the server wants a client certificate: set the options tls_client_cert_file and tls_client_key_file",
            ),
            AlertDescription::HandshakeFailure => Some(
                "the server shares no TLS version or cipher, or wants a client certificate (options \
                 tls_client_cert_file and tls_client_key_file)",
            ),
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate => {
                Some("the server does not accept the certificate in tls_client_cert_file")
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::{Authority, TempDir};
    use super::*;

    #[track_caller]
    fn refused(options: &TlsOptions, words: &[&str]) {
        let error = Tls::new(options, "h").expect_err("accepted");
        assert_eq!(error.status(), Status::InvalidOption, "{error}");
        for word in words {
            assert!(error.message().contains(word), "`{word}` is missing: {error}");
        }
    }

    #[test]
    fn files_that_cannot_serve_are_named() {
        let authority = Authority::new();
        let client = authority.client();
        let dir = TempDir::new();
        let missing = dir.path().join("missing.pem");
        let empty = dir.path().join("empty.pem");
        fs::write(&empty, "").unwrap();
        let damaged = dir.path().join("damaged.pem");
        fs::write(&damaged, "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n").unwrap();
        let nonsense = dir.path().join("nonsense.pem");
        fs::write(&nonsense, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();

        let ca_files = [
            (&missing, "No such file or directory"),
            (&empty, "holds no certificate"),
            (&client.key_file, "holds no certificate"),
            (&damaged, "not valid PEM"),
            (&nonsense, "cannot be used"),
        ];
        for (path, why) in ca_files {
            let options = TlsOptions { ca_file: Some(path.clone()), ..TlsOptions::default() };
            refused(&options, &["tls_ca_file", path.to_str().unwrap(), why]);
        }

        let pairs = [
            (&missing, &client.key_file, "tls_client_cert_file", &missing),
            (&client.key_file, &client.key_file, "tls_client_cert_file", &client.key_file),
            (&client.cert_file, &missing, "tls_client_key_file", &missing),
            (&client.cert_file, &client.cert_file, "tls_client_key_file", &client.cert_file),
            // The key of another certificate.
            (
                &client.cert_file,
                &authority.itself().key_file,
                "tls_client_key_file",
                &authority.itself().key_file,
            ),
        ];
        for (cert, key, option, culprit) in pairs {
            let options = TlsOptions {
                ca_file: Some(authority.file()),
                client_cert_file: Some(cert.clone()),
                client_key_file: Some(key.clone()),
                ..TlsOptions::default()
            };
            refused(&options, &[option, culprit.to_str().unwrap()]);
        }
    }

    #[test]
    fn a_client_certificate_needs_its_key_and_the_other_way_round() {
        let authority = Authority::new();
        let client = authority.client();
        let mut options = TlsOptions { ca_file: Some(authority.file()), ..TlsOptions::default() };
        options.client_cert_file = Some(client.cert_file.clone());
        refused(&options, &["tls_client_cert_file: needs tls_client_key_file"]);
        options.client_cert_file = None;
        options.client_key_file = Some(client.key_file.clone());
        refused(&options, &["tls_client_key_file: needs tls_client_cert_file"]);
    }

    #[test]
    fn debug_output_holds_no_key() {
        let authority = Authority::new();
        let options = TlsOptions { ca_file: Some(authority.file()), ..TlsOptions::default() };
        assert_eq!(format!("{:?}", Tls::new(&options, "h").unwrap()), "Tls { server_name: None, .. }");
    }
}
