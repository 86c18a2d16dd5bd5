//! What a TLS connection is set up with, and what its failures mean.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, InconsistentKeys, RootCertStore,
    SignatureScheme,
};

use super::pem::Source;
use crate::base::secret::Secret;
use crate::error::{Error, Reason, Result, Status};
use crate::ffi::sys::lock::Mutex;
use crate::net::address::Address;

/// The TLS part of the options, unchecked but for the name.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsOptions {
    pub(crate) ca: Option<Source>,
    pub(crate) client_cert: Option<Source>,
    pub(crate) client_key: Option<Source>,
    pub(crate) server_name: Option<ServerName<'static>>,
    pub(crate) insecure_skip_verify: bool,
}

impl TlsOptions {
    /// The name of an option that differs from its default.
    pub(crate) fn first_set(&self) -> Option<&'static str> {
        let sources = [&self.ca, &self.client_cert, &self.client_key];
        sources
            .into_iter()
            .flatten()
            .map(Source::option)
            .next()
            .or(self.server_name.as_ref().map(|_| "tls_server_name"))
            .or(self.insecure_skip_verify.then_some("tls_insecure_skip_verify"))
    }
}

/// What every connection of a client shares: certificates, and the sessions to resume.
#[derive(Clone)]
pub(crate) struct Tls {
    sources: Arc<Sources>,
    /// What was read last, and what has become of it.
    current: Arc<Mutex<Current>>,
    server_name: Option<ServerName<'static>>,
}

/// Where certificates and keys are read from, again for each connection.
struct Sources {
    provider: Arc<CryptoProvider>,
    ca: Ca,
    client: Option<(Source, Source)>,
}

enum Ca {
    /// Whoever it is.
    Any,
    /// The system's, read once.
    System(Arc<RootCertStore>),
    From(Source),
}

#[derive(Clone)]
struct Current {
    material: Arc<Material>,
    config: Arc<ClientConfig>,
}

/// What the sources held.
#[derive(Default, PartialEq, Eq)]
struct Material {
    ca: Option<Secret>,
    client: Option<(Secret, Secret)>,
}

impl fmt::Debug for Tls {
    /// Without the configuration, which holds the client's key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl Sources {
    fn new(options: &TlsOptions) -> Result<Self> {
        let client = match (&options.client_cert, &options.client_key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            (Some(cert), None) => return Err(lone(cert.option(), "tls_client_key")),
            (None, Some(key)) => return Err(lone(key.option(), "tls_client_cert")),
        };
        let ca = match &options.ca {
            _ if options.insecure_skip_verify => Ca::Any,
            Some(source) => Ca::From(source.clone()),
            None => Ca::System(Arc::new(system_roots()?)),
        };
        // Given explicitly: a program may have installed another provider for the whole process, or two.
        Ok(Sources { provider: Arc::new(ring::default_provider()), ca, client })
    }

    /// Whether any of them may hold something else than before.
    fn may_change(&self) -> bool {
        let ca = matches!(&self.ca, Ca::From(source) if source.is_file());
        ca || self.client.as_ref().is_some_and(|(cert, key)| cert.is_file() || key.is_file())
    }

    fn read(&self, before: &Material) -> Result<Material> {
        let ca = match &self.ca {
            Ca::From(source) => Some(source.read(before.ca.as_ref())?),
            Ca::Any | Ca::System(_) => None,
        };
        let client = match &self.client {
            Some((cert, key)) => {
                let before = before.client.as_ref();
                Some((cert.read(before.map(|client| &client.0))?, key.read(before.map(|client| &client.1))?))
            }
            None => None,
        };
        Ok(Material { ca, client })
    }

    /// The configuration that follows from what they hold.
    fn config(&self, material: &Material) -> Result<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new(Status::Tls, format!("cannot set up TLS: {error}")))?;
        let builder = match (&self.ca, &material.ca) {
            (Ca::System(roots), _) => builder.with_root_certificates(Arc::clone(roots)),
            (Ca::From(source), Some(bytes)) => builder.with_root_certificates(roots(source, bytes)?),
            _ => {
                let provider = Arc::clone(&self.provider);
                builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            }
        };
        let (Some((cert, key)), Some((cert_bytes, key_bytes))) = (&self.client, &material.client) else {
            return Ok(builder.with_no_client_auth());
        };
        let (chain, private_key) = (cert.certificates(cert_bytes)?, key.private_key(key_bytes)?);
        let unusable = |error: rustls::Error| key.bad(format_args!("it cannot be used: {error}"));
        let signing_key = ring::sign::any_supported_type(&private_key).map_err(unusable)?;
        let certified = CertifiedKey::new(chain, signing_key);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(error) => return Err(unusable(error)),
        }
        Ok(builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified))))
    }
}

impl Tls {
    /// Reads the sources, and checks that `host` can be the name on a certificate.
    pub(crate) fn new(options: &TlsOptions, host: &str) -> Result<Self> {
        let sources = Sources::new(options)?;
        let material = sources.read(&Material::default())?;
        let config = Arc::new(sources.config(&material)?);
        let tls = Tls {
            sources: Arc::new(sources),
            current: Arc::new(Mutex::new(Current { material: Arc::new(material), config })),
            server_name: options.server_name.clone(),
        };
        tls.server_name(host)?;
        Ok(tls)
    }

    /// What a new connection is set up with: files are read again. Where they hold what they held before, sessions
    /// can be resumed.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>> {
        let current = self.current.lock().clone();
        if !self.sources.may_change() {
            return Ok(current.config);
        }
        let material = self.sources.read(&current.material)?;
        if material == *current.material {
            return Ok(current.config);
        }
        let config = Arc::new(self.sources.config(&material)?);
        let now = Current { material: Arc::new(material), config: Arc::clone(&config) };
        let before = std::mem::replace(&mut *self.current.lock(), now);
        drop(before);
        Ok(config)
    }

    /// The name that the certificate of `host` must be for.
    pub(crate) fn server_name(&self, host: &str) -> Result<ServerName<'static>> {
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

/// The error of a certificate without its key, or the other way round.
fn lone(set: &str, missing: &str) -> Error {
    let kind = if set.ends_with("_pem") { "pem" } else { "file" };
    Error::new(Status::InvalidOption, format!("option {set}: needs {missing}_{kind} too"))
}

fn roots(source: &Source, bytes: &Secret) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in source.certificates(bytes)? {
        roots
            .add(certificate)
            .map_err(|error| source.bad(format_args!("a certificate cannot be used: {error}")))?;
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

pub(crate) const NOT_TLS: &str = "does the server speak TLS on this port?";

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
    use std::path::Path;

    use super::super::testing::{Authority, TempDir};
    use super::*;

    fn ca(path: &Path) -> Option<Source> {
        Some(Source::file("tls_ca_file", path.to_owned()))
    }

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
            let options = TlsOptions { ca: ca(path), ..TlsOptions::default() };
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
                ca: ca(&authority.file()),
                client_cert: Some(Source::file("tls_client_cert_file", cert.clone())),
                client_key: Some(Source::file("tls_client_key_file", key.clone())),
                ..TlsOptions::default()
            };
            refused(&options, &[option, culprit.to_str().unwrap()]);
        }
    }

    #[test]
    fn a_client_certificate_needs_its_key_and_the_other_way_round() {
        let authority = Authority::new();
        let client = authority.client();
        let mut options = TlsOptions { ca: ca(&authority.file()), ..TlsOptions::default() };
        options.client_cert = Some(Source::file("tls_client_cert_file", client.cert_file.clone()));
        refused(&options, &["tls_client_cert_file: needs tls_client_key_file"]);
        options.client_cert = None;
        options.client_key = Some(Source::file("tls_client_key_file", client.key_file.clone()));
        refused(&options, &["tls_client_key_file: needs tls_client_cert_file"]);
    }

    /// What is in memory serves as the file does, and no error quotes it.
    #[test]
    fn certificates_and_keys_may_come_from_memory() {
        let authority = Authority::new();
        let client = authority.client();
        let read = |path: &Path| fs::read(path).unwrap();
        let of = |ca: Vec<u8>, cert: Vec<u8>, key: Vec<u8>| TlsOptions {
            ca: Some(Source::memory("tls_ca_pem", ca)),
            client_cert: Some(Source::memory("tls_client_cert_pem", cert)),
            client_key: Some(Source::memory("tls_client_key_pem", key)),
            ..TlsOptions::default()
        };
        let (ca, cert, key) = (read(&authority.file()), read(&client.cert_file), read(&client.key_file));
        let tls = Tls::new(&of(ca.clone(), cert.clone(), key.clone()), "h").unwrap();
        assert!(Arc::ptr_eq(&tls.config().unwrap(), &tls.config().unwrap()));

        let damaged = b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n!\n-----END PRIVATE KEY-----\n".to_vec();
        refused(&of(ca.clone(), cert.clone(), damaged.clone()), &["option tls_client_key_pem: is damaged"]);
        let error = Tls::new(&of(ca.clone(), cert.clone(), damaged), "h").unwrap_err();
        assert!(!error.message().contains("c2Vj"), "{error}");
        refused(&of(ca.clone(), cert, Vec::new()), &["option tls_client_key_pem: holds no"]);
        refused(&of(ca, Vec::new(), key.clone()), &["option tls_client_cert_pem: holds no"]);
        refused(&of(key.clone(), Vec::new(), key), &["option tls_ca_pem: holds no certificate"]);
    }

    #[test]
    fn files_are_read_again_and_a_bad_one_is_an_error_of_that_time() {
        let (before, after) = (Authority::new(), Authority::new());
        let dir = TempDir::new();
        let file = dir.path().join("ca.pem");
        fs::copy(before.file(), &file).unwrap();
        let tls = Tls::new(&TlsOptions { ca: ca(&file), ..TlsOptions::default() }, "h").unwrap();
        let first = tls.config().unwrap();
        assert!(Arc::ptr_eq(&first, &tls.config().unwrap()), "nothing has changed: sessions are kept");

        let pem = fs::read(after.file()).unwrap();
        fs::write(&file, &pem[..pem.len() / 2]).unwrap();
        let error = tls.config().unwrap_err();
        assert!(error.message().contains("tls_ca_file") && error.message().contains("ca.pem"), "{error}");
        fs::remove_file(&file).unwrap();
        assert!(tls.config().unwrap_err().message().contains("cannot read it"));
        fs::write(&file, &pem).unwrap();
        let second = tls.config().unwrap();
        assert!(!Arc::ptr_eq(&first, &second), "a session of before would be resumed unchecked");
        assert!(Arc::ptr_eq(&second, &tls.config().unwrap()));
    }

    #[test]
    fn debug_output_holds_no_key() {
        let authority = Authority::new();
        let options = TlsOptions { ca: ca(&authority.file()), ..TlsOptions::default() };
        assert_eq!(format!("{:?}", Tls::new(&options, "h").unwrap()), "Tls { server_name: None, .. }");
    }
}
