//! The public port: handshakes, `/health`, and the pages that the program serves beside them.

mod cors;
mod health;
mod intake;
mod stream;
pub mod twin;

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use diffyne_shared::bus::random_bits;
use diffyne_shared::listener::AcceptedStream;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::connection::{Connection, session};
use crate::handshake::{Identity, Refusal, asks_for_upgrade, key_of};
use crate::jar::Jar;
use crate::quota::Ticket;
use crate::reactor::Reactor;
use crate::relay::Caller;
use crate::socket::io;

pub use health::{HealthSource, WorkerCounts};
pub use intake::Intake;

use intake::Silent;
use stream::{HttpStream, Unwritten};

/// Connections of one process that may be in their handshake.
const HANDSHAKES_MAX: usize = 8192;
/// Headers of one request.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// A page that is served as it is.
#[derive(Debug, Clone)]
pub struct Page {
    /// MIME type.
    pub content_type: &'static str,
    /// Content.
    pub body: Bytes,
    /// Names the content: its hash.
    pub etag: String,
    /// How long browsers may keep it.
    pub keep: Keep,
}

/// How long browsers may keep a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// They ask each time whether it is still the same.
    Ask,
    /// Its address names its content: for ever.
    Forever,
}

/// A page that may have to be made first.
pub type PageFuture<'a> = Pin<Box<dyn Future<Output = Option<Page>> + 'a>>;

/// What a program serves beside the WebSocket.
pub trait Pages: Send + Sync {
    /// The page at a path.
    fn page<'a>(&'a self, path: &'a str) -> PageFuture<'a>;
    /// The JSON of `/health`.
    fn health(&self) -> String;
}

/// Serves one accepted connection.
pub fn serve(reactor: &Rc<Reactor>, accepted: AcceptedStream) {
    let ticket = match &accepted {
        AcceptedStream::Tcp(_, peer) if !reactor.admission.is_trusted(peer.ip()) => {
            match reactor.quota.enter_http(peer.ip()) {
                Ok(ticket) => ticket,
                Err(refusal) => return reactor.metrics.handshake(refusal.label()),
            }
        }
        AcceptedStream::Tcp(..) | AcceptedStream::Unix(_) => None,
    };
    let Some(place) = reactor.intake.enter(HANDSHAKES_MAX / reactor.settings.threads) else {
        return reactor.metrics.handshake("flood");
    };
    reactor.handshakes().fetch_add(1, Ordering::Relaxed);
    let reactor = Rc::clone(reactor);
    tokio::task::spawn_local(async move {
        match accepted {
            AcceptedStream::Tcp(stream, peer) => {
                if let Ok(stream) = TcpStream::from_std(stream) {
                    serve_http(&reactor, stream, Some(peer.ip()), &place.silent).await;
                }
            }
            AcceptedStream::Unix(stream) => {
                if let Ok(stream) = UnixStream::from_std(stream) {
                    serve_http(&reactor, stream, None, &place.silent).await;
                }
            }
        }
        reactor.handshakes().fetch_sub(1, Ordering::Relaxed);
        drop((place, ticket));
    });
}

async fn serve_http<S>(reactor: &Rc<Reactor>, stream: S, peer: Option<IpAddr>, silent: &Rc<Silent>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let unwritten = Unwritten::default();
    let stream = TokioIo::new(HttpStream::new(stream, reactor.settings.outbox_timeout, unwritten.clone()));
    let (handler, speaker) = (Rc::clone(reactor), Rc::clone(silent));
    let service = service_fn(move |request| {
        let (handler, unwritten) = (Rc::clone(&handler), unwritten.clone());
        speaker.speaks();
        async move {
            let mut response = answer(&handler, request, peer).await;
            if let Some(slot) = response.extensions_mut().remove::<Arc<twin::Slot>>() {
                unwritten.keep(slot);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(reactor.settings.header_timeout)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(stream, service)
        .with_upgrades();
    let mut served = std::pin::pin!(served);
    let served = tokio::select! {
        served = &mut served => served,
        () = silent.evicted() => return reactor.metrics.handshake("evicted"),
        () = reactor.stopping.cancelled() => {
            // What has begun is finished; a connection that only waits is closed.
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = served {
        if error.is_timeout() {
            reactor.metrics.handshake("timeout");
        }
        tracing::debug!(%error, "an HTTP connection ended");
    }
}

async fn answer(reactor: &Rc<Reactor>, request: Request<Incoming>, peer: Option<IpAddr>) -> Response<Full<Bytes>> {
    if asks_for_upgrade(request.headers()) {
        return upgrade(reactor, request, peer);
    }
    if let Some(route) = twin::route(&reactor.settings.route_prefix, request.uri().path()) {
        return twin::answer(reactor, route, request, peer).await;
    }
    if request.method() == Method::GET || request.method() == Method::HEAD {
        let path = request.uri().path();
        if path == "/health" {
            return respond(StatusCode::OK, JSON, reactor.pages.health());
        }
        if let Some(page) = reactor.pages.page(path).await {
            return page_response(&request, &page);
        }
    }
    not_found()
}

const JSON: &str = "application/json";

fn not_found() -> Response<Full<Bytes>> {
    respond(StatusCode::NOT_FOUND, JSON, r#"{"error":"Not Found"}"#)
}

fn page_response(request: &Request<Incoming>, page: &Page) -> Response<Full<Bytes>> {
    let known = request.headers().get(header::IF_NONE_MATCH).is_some_and(|tag| tag == page.etag.as_str());
    let mut response = if known {
        respond(StatusCode::NOT_MODIFIED, page.content_type, Bytes::new())
    } else {
        respond(StatusCode::OK, page.content_type, page.body.clone())
    };
    if let Ok(etag) = HeaderValue::from_str(&page.etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    let keep = match page.keep {
        Keep::Ask => "no-cache",
        Keep::Forever => "public, max-age=31536000, immutable",
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if page.content_type.starts_with("text/javascript") {
        // Modules are fetched with CORS, also by pages of other hosts.
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    response
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn later(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// A refusal ends the connection: whoever was refused has to begin anew.
fn refuse(reactor: &Reactor, refusal: Refusal) -> Response<Full<Bytes>> {
    reactor.metrics.handshake(refusal.label());
    let text = |status, words: &'static str| respond(status, "text/plain; charset=utf-8", words);
    let mut response = match refusal {
        Refusal::NotFound => not_found(),
        Refusal::Origin => text(StatusCode::FORBIDDEN, "Origin not allowed"),
        Refusal::Key => text(StatusCode::UNAUTHORIZED, "Invalid authentication key"),
        Refusal::Invalid => text(StatusCode::BAD_REQUEST, "Invalid WebSocket request"),
        Refusal::Version => {
            let mut response = text(StatusCode::UPGRADE_REQUIRED, "Invalid WebSocket request");
            response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            response
        }
        Refusal::Full => later(text(StatusCode::SERVICE_UNAVAILABLE, "Too many connections")),
        Refusal::Memory => later(text(StatusCode::SERVICE_UNAVAILABLE, "The server is short of memory")),
        Refusal::Rate => later(text(StatusCode::TOO_MANY_REQUESTS, "Too many new connections")),
        Refusal::Address => later(text(StatusCode::TOO_MANY_REQUESTS, "Too many connections from this address")),
        Refusal::KeyFull => later(text(StatusCode::TOO_MANY_REQUESTS, "Too many connections with this key")),
    };
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn upgrade(reactor: &Rc<Reactor>, request: Request<Incoming>, peer: Option<IpAddr>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    if let Err(refusal) = reactor.admission.check(&parts) {
        return refuse(reactor, refusal);
    }
    let identity = reactor.admission.identify(&parts, peer);
    let origin = parts.headers.get(header::ORIGIN).cloned();
    let ticket = match reactor.quota.enter(identity.ip, key_of(&parts).as_deref()) {
        Ok(ticket) => ticket,
        Err(refusal) => return refuse(reactor, refusal),
    };
    let mut request = Request::from_parts(parts, body);
    let Ok((response, upgraded)) = fastwebsockets::upgrade::upgrade(&mut request) else {
        return refuse(reactor, Refusal::Invalid);
    };
    if identity.guest {
        reactor.metrics.guests.inc();
    }
    reactor.metrics.handshake("accepted");
    tokio::task::spawn_local(start_session(Rc::clone(reactor), upgraded, identity, ticket));

    let (mut head, _empty) = response.into_parts();
    if let Some(origin) = origin {
        head.headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    Response::from_parts(head, Full::default())
}

/// Takes the stream back out of hyper, with what it has read already, and lets hyper's buffers go.
async fn start_session(
    reactor: Rc<Reactor>,
    upgraded: fastwebsockets::upgrade::UpgradeFut,
    identity: Identity,
    ticket: Ticket,
) {
    let socket = upgraded.await.ok().and_then(|socket| {
        let upgraded = socket.into_inner().into_inner();
        match upgraded.downcast::<TokioIo<HttpStream<TcpStream>>>() {
            Ok(parts) => Some((io::split_tcp(parts.io.into_inner().into_inner()), parts.read_buf)),
            Err(upgraded) => {
                let parts = upgraded.downcast::<TokioIo<HttpStream<UnixStream>>>().ok()?;
                Some((io::split_unix(parts.io.into_inner().into_inner()), parts.read_buf))
            }
        }
    });
    let Some(((reader, writer), early)) = socket else { return };
    let caller = Caller {
        id: format!("{:016x}{:016x}", random_bits(), random_bits()),
        ip: identity.ip.to_string(),
        headers: identity.headers,
        jar: Jar::default(),
    };
    let terms = reactor.terms(ticket);
    let connection = Connection::new(writer, caller, terms, reactor.hub.now());
    reactor.hub.insert(&connection);
    // A task of its own: the one that did the handshake, with all it held, ends here.
    tokio::task::spawn_local(session::run(Rc::clone(&reactor), connection, reader, early));
}
