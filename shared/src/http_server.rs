//! A small HTTP server beside a program's own work: the admin pages, and uploads of a worker.

use std::convert::Infallible;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;

use crate::listener::{AcceptedStream, Listener};

/// How long the last request of a connection may take.
const LAST_REQUEST: Duration = Duration::from_secs(10);

/// What clients may take of a server.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// How long the headers of a request may take.
    pub header_timeout: Duration,
    /// How long a connection may live. A request that is under way then is still answered.
    pub connection_life: Duration,
}

/// Who sends a request: an extension of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A program on this machine, by a Unix socket.
    Local,
    /// Somebody at this address.
    Address(IpAddr),
}

impl Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local => f.write_str("unix"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Serves until the future is dropped. The name is for the log: an error of the listener ends this server, and not the
/// program.
pub async fn serve<R, F, B>(listener: Listener, name: &'static str, limits: ServerLimits, respond: R)
where
    R: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: std::error::Error + Send + Sync + Display + 'static,
{
    let permits = Arc::new(Semaphore::new(limits.connections));
    loop {
        // The semaphore is never closed.
        let (Ok(permit), Ok(accepted)) = (Arc::clone(&permits).acquire_owned().await, listener.accept().await) else {
            tracing::error!(server = name, "the listener ended");
            return;
        };
        let peer = match &accepted {
            AcceptedStream::Tcp(_, address) => Peer::Address(address.ip().to_canonical()),
            AcceptedStream::Unix(_) => Peer::Local,
        };
        let Ok(stream) = accepted.into_stream() else { continue };
        let respond = respond.clone();
        tokio::spawn(async move {
            let service = service_fn(move |mut request| {
                request.extensions_mut().insert(peer);
                let response = respond(request);
                async move { Ok::<_, Infallible>(response.await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.header_timeout)
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            // A client that goes away is no event.
            if tokio::time::timeout(limits.connection_life, connection.as_mut()).await.is_err() {
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(LAST_REQUEST, connection).await;
            }
            drop(permit);
        });
    }
}
