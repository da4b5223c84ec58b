//! The words of a refused handshake, and connections that are refused before a thread has taken them.

use std::sync::Arc;
use std::time::Duration;

use diffyne_shared::listener::{AcceptedStream, Stream};
use hyper::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::admission::Refusal;

/// How long a connection may take to send its request and to read the response that refuses it.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(1);
/// Bytes that are read and thrown away at once.
const READ_BYTES: usize = 4096;

/// Returns the status and the text of the response to a refused handshake.
pub(super) fn status_and_text(refusal: Refusal) -> (StatusCode, &'static str) {
    match refusal {
        Refusal::NotFound => (StatusCode::NOT_FOUND, "Not Found"),
        Refusal::Origin => (StatusCode::FORBIDDEN, "Origin not allowed"),
        Refusal::Key => (StatusCode::UNAUTHORIZED, "Invalid authentication key"),
        Refusal::Invalid => (StatusCode::BAD_REQUEST, "Invalid WebSocket request"),
        Refusal::Version => (StatusCode::UPGRADE_REQUIRED, "Invalid WebSocket request"),
        Refusal::Full => (StatusCode::SERVICE_UNAVAILABLE, "Too many connections"),
        Refusal::Memory => (StatusCode::SERVICE_UNAVAILABLE, "The server is short of memory"),
        Refusal::Queue => (StatusCode::SERVICE_UNAVAILABLE, "Too many connections wait to be served"),
        Refusal::Descriptors => (StatusCode::SERVICE_UNAVAILABLE, "The server has no file descriptor left"),
        Refusal::Rate => (StatusCode::TOO_MANY_REQUESTS, "Too many new connections"),
        Refusal::Address => (StatusCode::TOO_MANY_REQUESTS, "Too many connections from this address"),
        Refusal::KeyFull => (StatusCode::TOO_MANY_REQUESTS, "Too many connections with this key"),
    }
}

/// Whether a client that is refused for this reason may be admitted later.
pub(super) fn is_temporary(refusal: Refusal) -> bool {
    let (status, _) = status_and_text(refusal);
    matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
}

/// Refuses connections without a thread of their own: each gets a response, a few at once.
#[derive(Debug)]
pub struct Refusals(Arc<Semaphore>);

impl Refusals {
    /// Creates it for so many connections at once; more are closed without a response.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most)))
    }

    /// Answers a connection's request with this refusal, in the background.
    pub fn refuse(&self, stream: AcceptedStream, refusal: Refusal, retry_seconds: u32) {
        if let Ok(slot) = Arc::clone(&self.0).try_acquire_owned() {
            tokio::spawn(answer_in_slot(stream, refusal, retry_seconds, slot));
        }
    }
}

async fn answer_in_slot(stream: AcceptedStream, refusal: Refusal, retry_seconds: u32, slot: OwnedSemaphorePermit) {
    answer(stream, refusal, retry_seconds).await;
    drop(slot);
}

/// Answers a connection's request with this refusal, and closes it.
pub async fn answer(stream: AcceptedStream, refusal: Refusal, retry_seconds: u32) {
    let (status, text) = status_and_text(refusal);
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Retry-After: {retry_seconds}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    let Ok(mut stream) = stream.into_stream() else { return };
    // A client that is slower than this, or has gone, gets no response.
    let _ = tokio::time::timeout(REFUSAL_TIME_MAX, exchange(&mut stream, response.as_bytes())).await;
}

/// Reads the request, writes the response, and waits until the client has closed: the system would answer what is still
/// to be read with a reset, which can overtake the response.
async fn exchange(stream: &mut Stream, response: &[u8]) -> std::io::Result<()> {
    let mut thrown_away = [0; READ_BYTES];
    if stream.read(&mut thrown_away).await? == 0 {
        return Ok(());
    }
    stream.write_all(response).await?;
    stream.shutdown().await?;
    while stream.read(&mut thrown_away).await? > 0 {}
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn pair() -> (AcceptedStream, tokio::net::UnixStream) {
        let (server, client) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        client.set_nonblocking(true).unwrap();
        (AcceptedStream::Unix(server), tokio::net::UnixStream::from_std(client).unwrap())
    }

    #[tokio::test]
    async fn a_refused_connection_gets_a_response_and_beyond_the_limit_it_is_closed() {
        let refusals = Refusals::new(1);
        let (server, mut client) = pair();
        refusals.refuse(server, Refusal::Queue, 7);
        let (server, mut other) = pair();
        refusals.refuse(server, Refusal::Queue, 7);
        let mut text = String::new();
        other.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "");
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        client.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{text}");
        assert!(text.contains("\r\nRetry-After: 7\r\n") && text.contains("wait to be served"), "{text}");
    }
}
