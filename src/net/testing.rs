//! What the tests of connecting stand on: a real server, and certificates made for the occasion.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// A directory of its own, removed on drop.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rs_script-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        TempDir(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A certificate and its key, with the authority that vouches for them, in PEM files.
pub(crate) struct Identity {
    pub(crate) cert_file: PathBuf,
    pub(crate) key_file: PathBuf,
    ca_file: PathBuf,
}

/// A certificate authority.
pub(crate) struct Authority {
    pub(crate) name: String,
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// One whose name no other has.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        Self::named(&format!("authority {}", COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    pub(crate) fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Authority { name: name.to_owned(), dir: TempDir::new(), issuer };
        fs::write(authority.file(), authority.issuer.pem()).unwrap();
        authority
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    pub(crate) fn server(&self, names: &[&str]) -> Identity {
        self.sign("server", Self::params(names))
    }

    pub(crate) fn expired_server(&self, names: &[&str]) -> Identity {
        let mut params = Self::params(names);
        params.not_after = date_time_ymd(2020, 1, 1);
        self.sign("expired", params)
    }

    pub(crate) fn client(&self) -> Identity {
        self.sign("client", Self::params(&[]))
    }

    /// The authority's own certificate, as people use it who make a single self-signed one.
    pub(crate) fn itself(&self) -> Identity {
        self.write("itself", self.issuer.pem(), self.issuer.key())
    }

    fn params(names: &[&str]) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        CertificateParams::new(names).unwrap()
    }

    fn sign(&self, name: &str, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.write(name, certificate.pem(), &key)
    }

    fn write(&self, name: &str, certificate: String, key: &KeyPair) -> Identity {
        let cert_file = self.dir.path().join(format!("{name}.pem"));
        let key_file = self.dir.path().join(format!("{name}.key"));
        fs::write(&cert_file, certificate).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        Identity { cert_file, key_file, ca_file: self.file() }
    }
}

/// A redis-server, stopped on drop.
pub(crate) struct Server {
    pub(crate) port: u16,
    /// 0 without an identity.
    pub(crate) tls_port: u16,
    dir: TempDir,
    child: Child,
    /// Kept open, or the server could not write its log.
    _log: BufReader<ChildStdout>,
}

impl Server {
    /// With TLS, if given an identity, and asking no certificate of clients.
    pub(crate) fn start(identity: Option<&Identity>) -> Self {
        let arguments: &[&str] = if identity.is_some() { &["--tls-auth-clients", "no"] } else { &[] };
        Self::start_with(identity, arguments)
    }

    pub(crate) fn start_with(identity: Option<&Identity>, arguments: &[&str]) -> Self {
        // Between finding a free port and the server's taking it, somebody else may: then the server exits.
        (0..10).find_map(|_| Self::try_start(identity, arguments)).expect("redis-server does not start")
    }

    fn try_start(identity: Option<&Identity>, arguments: &[&str]) -> Option<Self> {
        let dir = TempDir::new();
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.current_dir(dir.path()).args(["--bind", "127.0.0.1", "--save", "", "--unixsocket", "s"]);
        command.arg("--port").arg(port.to_string()).args(arguments);
        let mut tls_port = 0;
        if let Some(identity) = identity {
            tls_port = free_port();
            command.arg("--tls-port").arg(tls_port.to_string());
            command.arg("--tls-cert-file").arg(&identity.cert_file);
            command.arg("--tls-key-file").arg(&identity.key_file);
            command.arg("--tls-ca-cert-file").arg(&identity.ca_file);
        }
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("redis-server is needed");
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        while log.read_line(&mut text).unwrap() > 0 {
            if text.contains("Ready to accept connections") {
                return Some(Server { port, tls_port, dir, child, _log: log });
            }
        }
        child.wait().unwrap();
        assert!(text.contains("Address already in use") || text.contains("bind"), "redis-server: {text}");
        None
    }

    pub(crate) fn unix_path(&self) -> PathBuf {
        self.dir.path().join("s")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
