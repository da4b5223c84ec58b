//! The HTTP client of the exporter, on the hyper and the TLS that this program has anyway.

use std::error::Error;
use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};

use crate::listener::Stream;
use crate::rpc::Endpoint;
use crate::tls::ClientTls;

/// The most of an answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Makes a connection for each batch.
pub(super) struct Client {
    tls: Option<ClientTls>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// A client for this address. With `https`, the system's authorities count, or those of this file.
    pub(super) fn new(endpoint: &str, authority: Option<&str>) -> Result<Self, String> {
        let is_secure = endpoint.starts_with("https://");
        let tls = match authority {
            _ if !is_secure => None,
            Some(file) => Some(ClientTls::read(std::path::Path::new(file))?),
            None => Some(ClientTls::system()?),
        };
        Ok(Self { tls })
    }

    async fn connect(&self, uri: &Uri) -> Result<Stream, Box<dyn Error + Send + Sync>> {
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = Stream::connect(&Endpoint::tcp(host.trim_matches(['[', ']']), port)).await?;
        match &self.tls {
            Some(tls) => Ok(tls.connect(host, stream).await?),
            None => Ok(stream),
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let uri = request.uri().clone();
        let stream = self.connect(&uri).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        request.headers_mut().insert(HOST, authority.parse()?);
        request.headers_mut().insert(CONNECTION, "close".parse()?);
        *request.uri_mut() = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
        let response = sender.send_request(request.map(Full::new)).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
        connection.abort();
        Ok(Response::from_parts(head, body))
    }
}
