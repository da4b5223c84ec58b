//! The web server that takes uploads and shows previews: the application's own as a rule (`DIFFYNE_UPLOAD_URL`).

use std::io;
use std::time::Duration;

use bytes::Bytes;
use diffyne_shared::listener::Stream;
use diffyne_shared::rpc::Endpoint;
use diffyne_shared::settings::upload::UploadSettings;
use diffyne_shared::telemetry::LogThrottle;
use diffyne_shared::tls::ClientTls;
use hyper::body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

/// The time limit for connecting, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The bytes of a request or response that may wait in one connection.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How the web server is reached.
#[derive(Debug)]
pub struct ApplicationServer {
    address: Endpoint,
    tls: Option<ClientTls>,
    base_path: String,
    failures: LogThrottle,
}

/// The task that moves the bytes of one connection. Dropping it closes the connection.
#[derive(Debug)]
pub struct ConnectionTask(JoinHandle<()>);

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ApplicationServer {
    /// Creates the server that the settings name. The error tells why its authority cannot be read.
    pub fn new(settings: &UploadSettings) -> Result<Option<Self>, String> {
        let Some(server) = &settings.server else { return Ok(None) };
        let authority = settings.ca.as_deref().filter(|_| server.tls);
        let tls = authority.map(ClientTls::read).transpose()?;
        Ok(Some(Self {
            address: server.address.clone(),
            tls,
            base_path: server.base_path.clone(),
            failures: LogThrottle::default(),
        }))
    }

    /// Returns the server's address.
    pub fn address(&self) -> &Endpoint {
        &self.address
    }

    /// Returns the path of a request to this server.
    pub fn path(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.base_path)
    }

    /// Opens a connection for one request. A failure is logged.
    pub async fn connect<B>(&self) -> io::Result<(SendRequest<B>, ConnectionTask)>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, self.open()).await;
        let stream = opened.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into())).inspect_err(|error| {
            if let Some(unsaid) = self.failures.allow() {
                tracing::warn!(address = %self.address, %error, unsaid, "DIFFYNE_UPLOAD_URL cannot be reached");
            }
        })?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(BUFFER_BYTES_MAX);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let task = tokio::spawn(async move {
            // The request or the response's body tells of the error.
            let _ = connection.await;
        });
        Ok((sender, ConnectionTask(task)))
    }

    async fn open(&self) -> io::Result<Stream> {
        let stream = Stream::connect(&self.address).await?;
        match (&self.tls, self.address.host_port()) {
            (Some(tls), Some((host, _))) => tls.connect(host, stream).await,
            _ => Ok(stream),
        }
    }
}
