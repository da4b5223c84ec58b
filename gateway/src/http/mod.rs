//! The public port: WebSocket handshakes, AJAX calls, file uploads, `/health`, and other pages.

pub mod ajax;
pub mod ajax_call;
mod ajax_response;
pub mod application_server;
mod cors;
pub mod health;
pub mod idle;
pub mod pages;
mod request_slot;
mod response;
mod stream;
mod upgrade;
mod upload;
mod upload_body;
mod upload_failure;
mod upload_headers;
mod upload_route;
mod upload_slot;

use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use diffyne_shared::listener::AcceptedStream;
use http_body_util::Either;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::auth::admission::asks_for_upgrade;
use crate::shard::state::Shard;

use idle::IdleConnection;
use pages::page_response;
use response::{JSON, not_found, respond};
use stream::{BodyFlag, HttpStream, UnflushedResponses};
use upload_body::HttpBody;

/// The number of connections of one process that may not be a WebSocket yet.
const HANDSHAKES_MAX: usize = 8192;
/// The limit of one request's headers, in bytes.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Serves one accepted connection.
pub fn serve(shard: &Rc<Shard>, accepted: AcceptedStream) {
    let ticket = match &accepted {
        AcceptedStream::Tcp(_, peer) if !shard.admission.is_trusted(peer.ip()) => {
            match shard.quota.enter_http(peer.ip()) {
                Ok(ticket) => ticket,
                Err(refusal) => return shard.metrics.handshake(refusal.label()),
            }
        }
        AcceptedStream::Tcp(..) | AcceptedStream::Unix(_) => None,
    };
    let Some(slot) = shard.idle.open(HANDSHAKES_MAX / shard.settings.threads) else {
        return shard.metrics.handshake("flood");
    };
    shard.handshakes.fetch_add(1, Ordering::Relaxed);
    let shard = Rc::clone(shard);
    tokio::task::spawn_local(async move {
        match accepted {
            AcceptedStream::Tcp(stream, peer) => {
                if let Ok(stream) = TcpStream::from_std(stream) {
                    serve_http(&shard, stream, Some(peer.ip()), &slot.connection).await;
                }
            }
            AcceptedStream::Unix(stream) => {
                if let Ok(stream) = UnixStream::from_std(stream) {
                    serve_http(&shard, stream, None, &slot.connection).await;
                }
            }
        }
        shard.handshakes.fetch_sub(1, Ordering::Relaxed);
        drop((slot, ticket));
    });
}

/// Serves HTTP on one connection until it ends or becomes a WebSocket.
async fn serve_http<S>(shard: &Rc<Shard>, stream: S, peer: Option<IpAddr>, idle: &Rc<IdleConnection>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (unflushed, body_flag) = (UnflushedResponses::default(), BodyFlag::default());
    let timeout = shard.settings.outbox_timeout;
    let stream = TokioIo::new(HttpStream::new(stream, timeout, unflushed.clone(), body_flag.clone()));
    let (handler, active) = (Rc::clone(shard), Rc::clone(idle));
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, unflushed) = (Rc::clone(&handler), unflushed.clone());
        active.set_active();
        body_flag.set(!request.body().is_end_stream());
        async move {
            let mut response = route(&handler, request, peer).await;
            if let Some(slot) = response.extensions_mut().remove::<Arc<request_slot::RequestSlot>>() {
                unflushed.keep(slot);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shard.settings.header_timeout)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(stream, service)
        .with_upgrades();
    let mut served = std::pin::pin!(served);
    let served = tokio::select! {
        served = &mut served => served,
        () = idle.evicted() => return shard.metrics.handshake("evicted"),
        () = shard.stopping.cancelled() => {
            // A request in progress is finished; a connection without one is closed.
            served.as_mut().graceful_shutdown();
            served.await
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
async fn route(shard: &Rc<Shard>, request: Request<Incoming>, peer: Option<IpAddr>) -> Response<HttpBody> {
    if asks_for_upgrade(request.headers()) {
        return upgrade::upgrade(shard, request, peer).map(Either::Left);
    }
    let (prefix, path) = (&shard.settings.route_prefix, request.uri().path());
    if let Some(route) = ajax::route(prefix, path) {
        return ajax::serve(shard, route, request, peer).await.map(Either::Left);
    }
    if let Some(route) = upload_route::route(prefix, path) {
        // Boxed, as other requests should not pay for its size.
        return Box::pin(upload::serve(shard, route, request, peer)).await;
    }
    if request.method() == Method::GET || request.method() == Method::HEAD {
        let path = request.uri().path();
        if path == "/health" {
            return respond(StatusCode::OK, JSON, shard.pages.health()).map(Either::Left);
        }
        let (parts, body) = request.into_parts();
        if shard.admission.check_origin(&parts).is_ok() && shard.admission.refuses_key(&parts) {
            return upgrade::refuse_key(shard, parts.headers.get(header::ORIGIN)).map(Either::Left);
        }
        let request = Request::from_parts(parts, body);
        if let Some(page) = shard.pages.page(request.uri().path()).await {
            return page_response(&request, &page).map(Either::Left);
        }
    }
    not_found().map(Either::Left)
}
