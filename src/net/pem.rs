//! Certificates and keys in PEM form, from files or from memory: read, and read again.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::reason;
use crate::base::secret::Secret;
use crate::error::{Error, Result, Status};

/// A longer file is none of certificates: the authorities of a whole system are a few hundred kilobytes.
const LONGEST: u64 = 16 << 20;

/// Where certificates or a key come from.
#[derive(Clone, Debug)]
enum Pem {
    File(PathBuf),
    Memory(Secret),
}

/// The same, with the option that has named it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    option: &'static str,
    pem: Pem,
}

impl Source {
    pub(crate) fn file(option: &'static str, path: PathBuf) -> Self {
        Source { option, pem: Pem::File(path) }
    }

    pub(crate) fn memory(option: &'static str, pem: Vec<u8>) -> Self {
        Source { option, pem: Pem::Memory(pem.into()) }
    }

    pub(crate) fn option(&self) -> &'static str {
        self.option
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self.pem, Pem::File(_))
    }

    /// What it holds now. `before`: what it held last, which a pipe does not give twice.
    pub(crate) fn read(&self, before: Option<&Secret>) -> Result<Secret> {
        match &self.pem {
            Pem::Memory(bytes) => Ok(bytes.clone()),
            Pem::File(path) => {
                let read = || -> io::Result<Secret> {
                    let is_file = fs::metadata(path)?.is_file();
                    if let Some(before) = before.filter(|_| !is_file) {
                        return Ok(before.clone());
                    }
                    let file = File::open(path)?;
                    // Room for all of it from the start: growing would leave copies of a key behind.
                    let size = usize::try_from(file.metadata()?.len().min(LONGEST)).unwrap_or(0);
                    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
                    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
                    Ok(Secret::from(std::mem::take(&mut *bytes)))
                };
                let bytes =
                    read().map_err(|error| self.bad(format_args!("cannot read it: {}", reason(&error))))?;
                if bytes.expose().len() as u64 > LONGEST {
                    return Err(self.bad("is longer than any file of certificates"));
                }
                Ok(bytes)
            }
        }
    }

    /// The certificates in `bytes`, which it has held.
    pub(crate) fn certificates(&self, bytes: &Secret) -> Result<Vec<CertificateDer<'static>>> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(bytes.expose())
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| self.bad_pem(&error, "certificate"))?;
        if certificates.is_empty() {
            return Err(self.bad_pem(&pem::Error::NoItemsFound, "certificate"));
        }
        Ok(certificates)
    }

    /// The key in `bytes`.
    pub(crate) fn private_key(&self, bytes: &Secret) -> Result<Zeroizing<PrivateKeyDer<'static>>> {
        PrivateKeyDer::from_pem_slice(bytes.expose())
            .map(Zeroizing::new)
            .map_err(|error| self.bad_pem(&error, "unencrypted private key"))
    }

    /// Own words, because those of the parser quote the file.
    fn bad_pem(&self, error: &pem::Error, item: &str) -> Error {
        match error {
            pem::Error::NoItemsFound => self.bad(format_args!("holds no {item} in PEM form")),
            _ => self.bad("is damaged: not valid PEM"),
        }
    }

    /// The error of a source that cannot serve.
    pub(crate) fn bad(&self, why: impl fmt::Display) -> Error {
        let text = match &self.pem {
            Pem::File(path) => format!("option {}: {}: {why}", self.option, path.display()),
            Pem::Memory(_) => format!("option {}: {why}", self.option),
        };
        Error::new(Status::InvalidOption, text)
    }
}
