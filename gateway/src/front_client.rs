//! A client of the public address, as a page is one: through the real front, with TLS, its origin and its key. For
//! `doctor` and `bench`.

use std::time::Duration;

use bytes::Bytes;
use diffyne_shared::listener::Stream;
use diffyne_shared::rpc::Endpoint;
use diffyne_shared::telemetry;
use diffyne_shared::tls::ClientTls;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONNECTION, HOST, LOCATION, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;

/// The most of an answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The time limit of one step: longer than a gateway waits for a worker by default (`DIFFYNE_WORKER_WAIT`).
const STEP_TIMEOUT: Duration = Duration::from_secs(8);

/// A connection, before it is used as a WebSocket.
pub type Pipe = TokioIo<Upgraded>;

/// Where pages connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Front {
    is_secure: bool,
    host: String,
    port: u16,
    path: String,
}

impl Front {
    /// Reads `wss://host[:port][/path]`. The error says what is wrong.
    pub fn parse(url: &str, default_path: &str) -> Result<Self, String> {
        // Without the key that a query may have.
        let shown = url.split('?').next().unwrap_or_default();
        let wrong = || format!("--url {shown}: write it as pages do, for example wss://shop.example/diffyne");
        let uri: hyper::Uri = url.parse().map_err(|_| wrong())?;
        let is_secure = match uri.scheme_str() {
            Some("wss" | "https") => true,
            Some("ws" | "http") => false,
            _ => return Err(wrong()),
        };
        let host = uri.host().ok_or_else(wrong)?.to_owned();
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let path = uri.path_and_query().map(hyper::http::uri::PathAndQuery::as_str).filter(|path| *path != "/");
        Ok(Self { is_secure, host, port, path: path.unwrap_or(default_path).to_owned() })
    }

    /// Returns the URL for people: without its query, which may have a key.
    pub fn shown(&self) -> String {
        let scheme = if self.is_secure { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.authority(), self.path.split('?').next().unwrap_or_default())
    }

    /// Whether it speaks TLS.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The name or address of the host, as a URL has it.
    pub fn host(&self) -> &str {
        self.host.trim_matches(['[', ']'])
    }

    /// What a browser sends as `Host`.
    pub fn authority(&self) -> String {
        match (self.is_secure, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    /// The origin of a page that this host serves.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.is_secure { "https" } else { "http" }, self.authority())
    }

    /// Connects, with TLS if there is one.
    pub async fn connect(&self, tls: Option<&ClientTls>) -> Result<Stream, String> {
        let address = Endpoint::tcp(self.host(), self.port);
        let stream =
            Stream::connect(&address).await.map_err(|error| format!("nothing answers at {address}: {error}"))?;
        match tls {
            Some(tls) => {
                tls.connect(&self.host, stream).await.map_err(|error| format!("TLS with {}: {error}", self.host))
            }
            None => Ok(stream),
        }
    }
}

/// How a handshake went.
pub enum Handshake {
    /// It is a WebSocket now.
    Open(Box<Pipe>),
    /// The status, and the words of the answer.
    Refused(StatusCode, String),
}

/// A handshake as a page of this origin makes it, with a key if there is one.
pub async fn shake(
    front: &Front,
    tls: Option<&ClientTls>,
    origin: &str,
    key: Option<&str>,
) -> Result<Handshake, String> {
    let stream = front.connect(tls).await?;
    let words = |error: hyper::Error| format!("the front ended the handshake: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(words)?;
    tokio::spawn(connection.with_upgrades());
    let sign = if front.path.contains('?') { '&' } else { '?' };
    let path = key.map_or_else(|| front.path.clone(), |key| format!("{}{sign}key={key}", front.path));
    let request = Request::get(path)
        .header(HOST, front.authority())
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, fastwebsockets::handshake::generate_key())
        .header(ORIGIN, origin)
        .body(Full::new(Bytes::new()))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(words)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(refused(response).await);
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(words)?;
    Ok(Handshake::Open(Box::new(TokioIo::new(upgraded))))
}

async fn refused(response: Response<hyper::body::Incoming>) -> Handshake {
    let status = response.status();
    let location = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let error = serde_json::from_slice::<Value>(&body).ok().and_then(|body| body["error"].as_str().map(str::to_owned));
    // Where it is sent on to has the key in its query.
    let location = location.as_deref().and_then(|to| to.split('?').next());
    let words = error.or(location.map(|to| format!("sent on to {to}"))).unwrap_or_default();
    Handshake::Refused(status, telemetry::error(&words).to_string())
}

/// Gives a step its time.
pub async fn limited<T>(step: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(STEP_TIMEOUT, step).await.unwrap_or_else(|_| Err(format!("no answer within {STEP_TIMEOUT:?}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_pages_write_it() {
        let read = |url| Front::parse(url, "/diffyne").map(|front| (front.authority(), front.origin(), front.path));
        let texts = |host: &str, origin: &str, path: &str| Ok((host.to_owned(), origin.to_owned(), path.to_owned()));
        assert_eq!(read("wss://shop.example"), texts("shop.example", "https://shop.example", "/diffyne"));
        assert_eq!(read("ws://127.0.0.1:8080/ws?a=b"), texts("127.0.0.1:8080", "http://127.0.0.1:8080", "/ws?a=b"));
        for wrong in ["shop.example", "ftp://shop.example", "wss://", ""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
