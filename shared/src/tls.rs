//! TLS between gateways and workers on different hosts: a worker presents its certificate, and a gateway knows the
//! authority that signed it. The token authenticates the gateway.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::listener::Stream;

fn wrong(path: &Path, error: impl std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|error| wrong(path, error))?.collect();
    let all = all.map_err(|error| wrong(path, error))?;
    if all.is_empty() { Err(wrong(path, "no certificate in it")) } else { Ok(all) }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A worker's side.
#[derive(Clone)]
pub struct ServerTls(TlsAcceptor);

impl ServerTls {
    /// Reads a certificate chain and its key, both PEM.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, String> {
        let chain = certificates(certificate)?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error))?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
            .map_err(|error| wrong(certificate, error))?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Accepts TLS on a TCP connection; one on a Unix socket or within the process stays as it is.
    pub async fn accept(&self, stream: Stream) -> io::Result<Stream> {
        match stream {
            Stream::Tcp(tcp) => Ok(Stream::Tls(Box::new(TlsStream::Server(self.0.accept(tcp).await?)))),
            other => Ok(other),
        }
    }
}

/// A gateway's side.
#[derive(Clone)]
pub struct ClientTls(TlsConnector);

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientTls")
    }
}

impl ClientTls {
    /// Trusts the authorities of this PEM file, or those that the system trusts.
    pub fn trusting(authority: Option<&Path>) -> Result<Self, String> {
        authority.map_or_else(Self::system, Self::read)
    }

    /// Reads the authorities that are trusted, PEM.
    pub fn read(authority: &Path) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(authority)? {
            roots.add(certificate).map_err(|error| wrong(authority, error))?;
        }
        Self::with_roots(roots).map_err(|error| wrong(authority, error))
    }

    fn system() -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(format!("the system has no authorities for certificates: {:?}", found.errors));
        }
        Self::with_roots(roots).map_err(|error| error.to_string())
    }

    fn with_roots(roots: RootCertStore) -> Result<Self, rustls::Error> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Asks the server for this protocol (ALPN).
    #[must_use]
    pub fn speaking(&self, protocol: &[u8]) -> Self {
        let mut config = ClientConfig::clone(self.0.config());
        config.alpn_protocols = vec![protocol.to_vec()];
        Self(TlsConnector::from(Arc::new(config)))
    }

    /// Starts TLS on a TCP connection to `host`; one on a Unix socket or within the process stays as it is.
    pub async fn connect(&self, host: &str, stream: Stream) -> io::Result<Stream> {
        let Stream::Tcp(tcp) = stream else { return Ok(stream) };
        // An IPv6 address comes from a URL in brackets.
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(TlsStream::Client(self.0.connect(name, tcp).await?))))
    }
}
