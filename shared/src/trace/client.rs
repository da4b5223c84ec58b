//! Sends a batch to the collector, by HTTP/1.1 or gRPC, on the hyper and the TLS that this program has anyway.

use std::path::Path;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, TE};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio_util::task::AbortOnDropHandle;

use super::collector::{Collector, Protocol};
use super::message;
use crate::http_client::{self, Answer, Error, connect};
use crate::rpc::Endpoint;
use crate::tls::ClientTls;

/// The most of an answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The method of gRPC.
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// The bytes before a message of gRPC: whether it is compressed, and its length.
const GRPC_PREFIX: usize = 5;
/// The states of gRPC that are worth another try: cancelled, deadline exceeded, aborted, out of range, unavailable, data loss.
const GRPC_RETRIED: [&str; 6] = ["1", "4", "10", "11", "14", "15"];

/// Why a batch was not taken.
pub(super) struct Refusal {
    pub(super) reason: String,
    /// Whether another try may help.
    pub(super) is_retried: bool,
    /// When, if the collector has said it.
    pub(super) after: Option<Duration>,
}

impl<E: Into<Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self { reason: error.into().to_string(), is_retried: true, after: None }
    }
}

/// Makes a connection for each batch.
pub(super) struct Client {
    collector: Collector,
    address: Endpoint,
    tls: Option<ClientTls>,
}

impl Client {
    pub(super) fn new(collector: Collector) -> Result<Self, String> {
        let is_secure = collector.endpoint.scheme_str() == Some("https");
        let tls = is_secure.then(|| ClientTls::trusting(collector.authority.as_deref().map(Path::new))).transpose()?;
        let tls = tls.map(|tls| if collector.protocol == Protocol::Grpc { tls.speaking(b"h2") } else { tls });
        let uri = &collector.endpoint;
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let address = Endpoint::tcp(uri.host().unwrap_or_default().trim_matches(['[', ']']), port);
        Ok(Self { collector, address, tls })
    }

    pub(super) fn timeout(&self) -> Duration {
        self.collector.timeout
    }

    /// The collector's address, without a query, which may have a key.
    pub(super) fn address(&self) -> String {
        let uri = &self.collector.endpoint;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        format!("{}://{authority}{}", uri.scheme_str().unwrap_or_default(), uri.path())
    }

    /// Sends a batch. The answer says what the collector did not take of it.
    pub(super) async fn send(&self, batch: Bytes) -> Result<message::Response, Refusal> {
        let stream = connect(&self.address, self.tls.as_ref()).await?;
        match self.collector.protocol {
            Protocol::Http => http_answer(http_client::send(stream, self.http_request(batch)?).await?).await,
            Protocol::Grpc => {
                let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
                let connection = AbortOnDropHandle::new(tokio::spawn(async { drop(connection.await) }));
                let answer = grpc_answer(sender.send_request(self.grpc_request(&batch)?).await?).await;
                drop(connection);
                answer
            }
        }
    }

    fn request(&self, uri: Uri, content_type: &'static str, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::post(uri).body(Full::new(body)).unwrap_or_default();
        let headers = request.headers_mut();
        headers.clone_from(&self.collector.headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        request
    }

    fn http_request(&self, batch: Bytes) -> Result<Request<Full<Bytes>>, Refusal> {
        let uri = &self.collector.endpoint;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
        let mut request = self.request(path, "application/x-protobuf", batch);
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        request.headers_mut().insert(HOST, HeaderValue::from_str(authority)?);
        Ok(request)
    }

    fn grpc_request(&self, batch: &[u8]) -> Result<Request<Full<Bytes>>, Refusal> {
        let mut uri = self.collector.endpoint.clone().into_parts();
        uri.path_and_query = Some(GRPC_PATH.parse()?);
        let mut body = BytesMut::with_capacity(GRPC_PREFIX + batch.len());
        body.put_u8(0);
        body.put_u32(u32::try_from(batch.len())?);
        body.put_slice(batch);
        let mut request = self.request(Uri::from_parts(uri)?, "application/grpc", body.freeze());
        request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        Ok(request)
    }
}

async fn http_answer(answer: Answer) -> Result<message::Response, Refusal> {
    let status = answer.status();
    if !status.is_success() {
        let (reason, after) = (format!("status {status}"), answer.retry_after());
        return Err(Refusal { reason, is_retried: may_pass(status), after });
    }
    // A batch that was taken is taken, whatever becomes of the answer; some collectors answer JSON.
    let body = answer.body(ANSWER_BYTES_MAX).await.unwrap_or_default();
    Ok(message::Response::decode(body).unwrap_or_default())
}

/// Whether another try may have another status.
fn may_pass(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

async fn grpc_answer(answer: hyper::Response<Incoming>) -> Result<message::Response, Refusal> {
    let (head, body) = answer.into_parts();
    if !head.status.is_success() {
        let reason = format!("status {}: does it speak gRPC?", head.status);
        return Err(Refusal { reason, is_retried: may_pass(head.status), after: None });
    }
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?;
    // An answer without a message has its state in the headers.
    let trailers = body.trailers().unwrap_or(&head.headers);
    let text = |headers: &HeaderMap, name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let state = text(trailers, "grpc-status");
    if state != "0" {
        let reason = format!("grpc-status {state}: {}", text(trailers, "grpc-message"));
        return Err(Refusal { reason, is_retried: GRPC_RETRIED.contains(&state.as_str()), after: None });
    }
    let body = body.to_bytes();
    Ok(body.get(GRPC_PREFIX..).and_then(|message| message::Response::decode(message).ok()).unwrap_or_default())
}
