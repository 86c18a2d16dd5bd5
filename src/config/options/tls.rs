//! TLS, and the certificates and keys for it: these setters of the options.

use std::path::PathBuf;

use rustls::pki_types::ServerName;

use super::{Options, invalid};
use crate::error::Result;
use crate::net::pem::Source;

impl Options {
    /// A PEM file with the certificate authorities to trust, in place of the system's. Needs a TLS URL.
    ///
    /// Like the other files of TLS it is read when the client is opened, and again for each connection, so that one
    /// that has been replaced counts from the next connection on. One that cannot be read or used then is the error
    /// of that attempt to connect; open connections go on.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.tls_ca_file("/etc/ssl/private-ca.pem");
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn tls_ca_file(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.tls.ca = Some(Source::file("tls_ca_file", path.into()));
        self
    }

    /// The same from memory, in PEM form; in place of [`Options::tls_ca_file`].
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.tls_ca_pem("-----BEGIN CERTIFICATE-----\n...");
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn tls_ca_pem(&mut self, pem: impl Into<Vec<u8>>) -> &mut Self {
        self.tls.ca = Some(Source::memory("tls_ca_pem", pem.into()));
        self
    }

    /// A PEM file with the certificate to show to the server, followed by any intermediate certificates. Needs a key
    /// ([`Options::tls_client_key_file`]) and a TLS URL. Read again for each connection, like its key; where one of
    /// the two has been replaced already and the other has not, they do not fit, and that attempt to connect fails.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.tls_client_cert_file("billing.pem").tls_client_key_file("billing.key");
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn tls_client_cert_file(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.tls.client_cert = Some(Source::file("tls_client_cert_file", path.into()));
        self
    }

    /// The same from memory, in PEM form; in place of [`Options::tls_client_cert_file`].
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// # let (certificate, key) = ("", "");
    /// options.tls_client_cert_pem(certificate).tls_client_key_pem(key);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn tls_client_cert_pem(&mut self, pem: impl Into<Vec<u8>>) -> &mut Self {
        self.tls.client_cert = Some(Source::memory("tls_client_cert_pem", pem.into()));
        self
    }

    /// A PEM file with the key of the client certificate (PKCS#8, PKCS#1 or SEC1; not encrypted). Needs
    /// [`Options::tls_client_cert_file`] and a TLS URL.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.tls_client_cert_file("billing.pem").tls_client_key_file("billing.key");
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn tls_client_key_file(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.tls.client_key = Some(Source::file("tls_client_key_file", path.into()));
        self
    }

    /// The same from memory, in PEM form; in place of [`Options::tls_client_key_file`]. The bytes are overwritten
    /// when the last options and client that hold them are freed.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// # let (certificate, key) = ("", "");
    /// options.tls_client_cert_pem(certificate).tls_client_key_pem(key);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn tls_client_key_pem(&mut self, pem: impl Into<Vec<u8>>) -> &mut Self {
        self.tls.client_key = Some(Source::memory("tls_client_key_pem", pem.into()));
        self
    }

    /// The host name or IP address that the server's certificate must be for, in place of the URL's host. Needs a TLS
    /// URL.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.tls_server_name("redis.example.com")?;
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn tls_server_name(&mut self, name: impl Into<String>) -> Result<&mut Self> {
        let name = ServerName::try_from(name.into())
            .map_err(|_| invalid("tls_server_name", "must be a host name or an IP address"))?;
        self.tls.server_name = Some(name);
        Ok(self)
    }

    /// Accept any certificate of the server. This leaves the connection open to whoever stands in between: for tests
    /// alone. [`Options::tls_ca_file`] has no effect then. Needs a TLS URL. Default: false.
    ///
    /// ```
    /// # let mut options = rs_script::Options::default();
    /// options.tls_insecure_skip_verify(true);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn tls_insecure_skip_verify(&mut self, skip: bool) -> &mut Self {
        self.tls.insecure_skip_verify = skip;
        self
    }
}
