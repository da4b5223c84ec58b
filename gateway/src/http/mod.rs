//! The public port: WebSocket handshakes, events without one, AJAX calls, file uploads, `/health`, and other pages.

pub mod ajax;
pub mod ajax_call;
mod ajax_response;
pub mod application_server;
mod call_guard;
mod cors;
mod events;
pub mod health;
pub mod idle;
mod line_body;
pub mod pace;
pub mod pages;
pub mod refusal;
mod request_slot;
mod response;
mod stream;
mod takeover;
mod upgrade;
mod upload;
mod upload_body;
mod upload_failure;
mod upload_headers;
mod upload_route;
mod upload_slot;

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use diffyne_shared::listener::AcceptedStream;
use http_body_util::Either;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::auth::admission::asks_for_upgrade;
use crate::http::health::Audience;
use crate::shard::command::AcceptedConnection;
use crate::shard::state::Shard;
use crate::socket::SocketIo;

use idle::IdleConnection;
use pages::page_response;
use response::{JSON, not_found, respond};
use stream::{BodyFlag, HttpStream, UnflushedResponses};
use takeover::Takeover;
use upload_body::HttpBody;

/// The number of connections of one process that may not be a WebSocket yet.
const HANDSHAKES_MAX: usize = 8192;
/// The limit of one request's headers, in bytes.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Serves one accepted connection. Returns when its turn has come and a task of its own has it.
pub async fn serve(shard: &Rc<Shard>, accepted: AcceptedConnection) {
    let slot = shard.idle.open(HANDSHAKES_MAX / shard.settings.threads).await;
    shard.pace.turn().await;
    let AcceptedConnection { stream, mut counted } = accepted;
    counted.end_wait();
    let shard = Rc::clone(shard);
    tokio::task::spawn_local(async move {
        match stream {
            AcceptedStream::Tcp(stream, peer) => {
                if let Ok(stream) = TcpStream::from_std(stream)
                    && has_request(&shard, &slot.connection, stream.readable()).await
                {
                    Box::pin(serve_http(&shard, stream, Some(peer.ip()), &slot.connection)).await;
                }
            }
            AcceptedStream::Unix(stream) => {
                if let Ok(stream) = UnixStream::from_std(stream)
                    && has_request(&shard, &slot.connection, stream.readable()).await
                {
                    Box::pin(serve_http(&shard, stream, None, &slot.connection)).await;
                }
            }
        }
        drop((slot, counted));
    });
}

/// Waits until a request begins to arrive, and until the thread has time for it. A connection has no buffers before that.
/// Returns `false` if it is to be closed.
async fn has_request(shard: &Shard, idle: &IdleConnection, readable: impl Future<Output = io::Result<()>>) -> bool {
    let mut readable = std::pin::pin!(tokio::time::timeout(shard.settings.header_timeout, readable));
    let arrived = tokio::select! {
        biased;
        arrived = &mut readable => arrived,
        () = idle.evicted() => {
            shard.metrics.handshake("evicted");
            return false;
        }
        () = shard.stopping.cancelled() => {
            // What has arrived meanwhile is still served.
            tokio::task::yield_now().await;
            tokio::select! {
                biased;
                arrived = &mut readable => arrived,
                () = std::future::ready(()) => return false,
            }
        }
    };
    match arrived {
        Ok(Ok(())) => {
            shard.pace.turn().await;
            true
        }
        Ok(Err(_broken)) => false,
        Err(_elapsed) => {
            shard.metrics.handshake("timeout");
            false
        }
    }
}

/// How HTTP on a connection ends.
enum End {
    /// The connection was closed, or has become a WebSocket.
    Served(hyper::Result<()>),
    /// A request wants the stream.
    Taken,
}

/// Serves HTTP on one connection until it ends, becomes a WebSocket, or is one client's to hear events.
async fn serve_http<S>(shard: &Rc<Shard>, stream: S, peer: Option<IpAddr>, idle: &Rc<IdleConnection>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    SocketIo: From<S>,
{
    let takeover = Takeover::default();
    let (unflushed, body_flag) = (UnflushedResponses::default(), BodyFlag::default());
    let timeout = shard.settings.outbox_timeout;
    let stream = TokioIo::new(HttpStream::new(stream, timeout, unflushed.clone(), body_flag.clone()));
    let (handler, active, stream_owner) = (Rc::clone(shard), Rc::clone(idle), takeover.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, unflushed, takeover) = (Rc::clone(&handler), unflushed.clone(), stream_owner.clone());
        active.set_active();
        body_flag.set(!request.body().is_end_stream());
        async move {
            let mut response = route(&handler, request, peer, &takeover).await;
            if let Some(slot) = response.extensions_mut().remove::<Arc<request_slot::RequestSlot>>() {
                unflushed.keep(slot);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shard.settings.header_timeout)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(stream, service)
        .with_upgrades();
    let mut stops = false;
    let end = loop {
        tokio::select! {
            // A request that has arrived is read, even if the server stops.
            biased;
            served = &mut served => break End::Served(served),
            () = takeover.asked() => break End::Taken,
            () = idle.evicted(), if !stops => return shard.metrics.handshake("evicted"),
            () = shard.stopping.cancelled(), if !stops => {
                // A request in progress is finished; a connection without one is closed.
                stops = true;
                std::pin::Pin::new(&mut served).graceful_shutdown();
            }
        }
    };
    let served = match end {
        End::Served(served) => served,
        End::Taken => {
            if let Some(parts) = served.into_parts() {
                takeover.go_on(SocketIo::from(parts.io.into_inner().into_inner()));
            }
            return;
        }
    };
    if let Err(error) = served {
        if error.is_timeout() {
            shard.metrics.handshake("timeout");
        }
        tracing::debug!(%error, "an HTTP connection ended");
    }
}

/// Answers one request.
async fn route(
    shard: &Rc<Shard>,
    request: Request<Incoming>,
    peer: Option<IpAddr>,
    takeover: &Takeover,
) -> Response<HttpBody> {
    if asks_for_upgrade(request.headers()) {
        return upgrade::upgrade(shard, request, peer).map(Either::Left);
    }
    let (prefix, path) = (&shard.settings.route_prefix, request.uri().path());
    if events::is_path(prefix, path) {
        return Box::pin(events::serve(shard, request, peer, takeover)).await.map(Either::Left);
    }
    if let Some(route) = ajax::route(prefix, path) {
        return ajax::serve(shard, route, request, peer).await;
    }
    if let Some(route) = upload_route::route(prefix, path) {
        // Boxed, as other requests should not pay for its size.
        return Box::pin(upload::serve(shard, route, request, peer)).await;
    }
    if request.method() == Method::GET || request.method() == Method::HEAD {
        let path = request.uri().path();
        if path == "/health" {
            let is_trusted = shard.admission.is_from_trusted(request.headers(), peer);
            let audience = if is_trusted { Audience::Operators } else { Audience::Anyone };
            return respond(StatusCode::OK, JSON, shard.pages.health(audience)).map(Either::Left);
        }
        let (parts, body) = request.into_parts();
        if shard.admission.check_origin(&parts).is_ok() && shard.admission.refuses_key(&parts) {
            return upgrade::refuse_key(shard, &parts, peer).map(Either::Left);
        }
        let request = Request::from_parts(parts, body);
        if let Some(page) = shard.pages.page(request.uri().path()).await {
            return page_response(&request, &page).map(Either::Left);
        }
    }
    not_found().map(Either::Left)
}
