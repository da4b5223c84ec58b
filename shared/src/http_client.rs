//! A request over an HTTP/1.1 connection of its own: what this program sends to collectors, webhooks and admin listeners. These
//! are few, and the other side may end a connection at any time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_util::task::AbortOnDropHandle;

use crate::listener::Stream;
use crate::rpc::Endpoint;
use crate::tls::ClientTls;

/// Why there is no answer.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// An answer whose body has not been read.
pub struct Answer {
    response: Response<Incoming>,
    /// The connection ends with the answer.
    _connection: AbortOnDropHandle<()>,
}

impl Answer {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// When the server wants to be asked again, if it says so in seconds.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(self.response.headers())
    }

    /// Reads the body. One of more bytes is an error.
    pub async fn body(self, bytes_max: usize) -> Result<Bytes, Error> {
        Ok(Limited::new(self.response.into_body(), bytes_max).collect().await?.to_bytes())
    }
}

/// When a server wants to be asked again, if it says so in seconds.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Connects to a server, with TLS if there is any.
pub async fn connect(address: &Endpoint, tls: Option<&ClientTls>) -> Result<Stream, Error> {
    let stream = Stream::connect(address).await?;
    match (tls, address.host_port()) {
        (Some(tls), Some((host, _))) => Ok(tls.connect(host, stream).await?),
        _ => Ok(stream),
    }
}

/// Sends a request, and waits for the head of its answer.
pub async fn send(stream: Stream, mut request: Request<Full<Bytes>>) -> Result<Answer, Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = AbortOnDropHandle::new(tokio::spawn(async { drop(connection.await) }));
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let response = sender.send_request(request).await?;
    Ok(Answer { response, _connection: connection })
}

/// Waits for an exchange, for so long at most.
pub async fn within<T, E: From<String>>(limit: Duration, exchange: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let elapsed = |_| Err(format!("no answer within {limit:?}").into());
    tokio::time::timeout(limit, exchange).await.unwrap_or_else(elapsed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_in_seconds_when_it_wants_to_be_asked_again() {
        for (text, expected) in [("7", Some(7)), (" 7 ", Some(7)), ("soon", None), ("-1", None)] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn who_does_not_answer_is_waited_for_no_longer_than_that() {
        let never = std::future::pending::<Result<(), String>>();
        assert_eq!(within(Duration::from_millis(1), never).await, Err("no answer within 1ms".to_owned()));
    }
}
