//! An application behind any HTTP/1.1 server: nginx with php-fpm, Octane, FrankenPHP, `php -S`.

use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use diffyne_shared::listener::Stream;
use diffyne_shared::rpc::Endpoint;
use diffyne_shared::settings::application::HttpSettings;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{HOST, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::part_lines::PartLines;
use super::transport::{CONNECT_TIMEOUT, UpstreamRequest, UpstreamResponse, UpstreamTransport};
use crate::call::{BoxFuture, Parts};

/// How long a connection stays open without a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Sends requests over a pool of connections.
pub(super) struct HttpTransport {
    url: String,
    client: Client<SocketConnector, Full<Bytes>>,
}

impl HttpTransport {
    pub(super) fn new(settings: &HttpSettings) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(settings.connections_max)
            .build(SocketConnector { socket: settings.socket.clone() });
        Self { url: settings.url.clone(), client }
    }

    async fn exchange(&self, request: UpstreamRequest, parts: &Parts) -> Result<UpstreamResponse, String> {
        let UpstreamRequest { path, headers: sent, body, address, secure } = request;
        let mut request = Request::builder().method(Method::POST).uri(format!("{}{path}", self.url));
        if let Some(headers) = request.headers_mut() {
            *headers = sent;
            // For an application without the bridge; whether it trusts them is its own setting.
            let mut set = |name: &'static str, value: &str| {
                if let Ok(value) = HeaderValue::from_str(value) {
                    headers.insert(name, value);
                }
            };
            set("x-forwarded-for", &address);
            set("x-forwarded-proto", if secure { "https" } else { "http" });
            if let Some(host) = headers.get(HOST).cloned() {
                headers.insert("x-forwarded-host", host);
            }
        }
        let request = request.body(Full::from(body)).map_err(|error| error.to_string())?;
        let response = self.client.request(request).await.map_err(|error| describe(&error))?;
        let (head, mut body) = response.into_parts();
        let mut lines = PartLines::new(parts);
        while let Some(frame) = body.frame().await {
            // Trailers have no meaning here.
            if let Ok(bytes) = frame.map_err(|error| error.to_string())?.into_data() {
                lines.push(&bytes).await?;
            }
        }
        let (body, printed) = (lines.into_reply().into(), String::new());
        Ok(UpstreamResponse { status: head.status, headers: head.headers, body, printed })
    }
}

impl UpstreamTransport for HttpTransport {
    fn name(&self) -> &'static str {
        "http"
    }

    fn address(&self) -> &str {
        &self.url
    }

    fn send<'a>(
        &'a self,
        request: UpstreamRequest,
        parts: &'a Parts,
    ) -> BoxFuture<'a, Result<UpstreamResponse, String>> {
        Box::pin(self.exchange(request, parts))
    }
}

/// An error with its whole chain of causes: the first alone is too general.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Connects over TCP, or to a Unix socket whatever the URL's host.
#[derive(Clone)]
struct SocketConnector {
    socket: Option<PathBuf>,
}

impl tower_service::Service<Uri> for SocketConnector {
    type Response = HttpConnection;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let address = match &self.socket {
            Some(path) => Endpoint::Unix(path.clone()),
            None => {
                Endpoint::tcp(uri.host().unwrap_or_default().trim_matches(['[', ']']), uri.port_u16().unwrap_or(80))
            }
        };
        Box::pin(async move {
            let timed_out = |_elapsed| std::io::Error::from(std::io::ErrorKind::TimedOut);
            let stream =
                tokio::time::timeout(CONNECT_TIMEOUT, Stream::connect(&address)).await.map_err(timed_out)??;
            Ok(HttpConnection(TokioIo::new(stream)))
        })
    }
}

/// A connection with the traits that hyper's pool needs.
struct HttpConnection(TokioIo<Stream>);

impl Connection for HttpConnection {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for HttpConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for HttpConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
