//! The public port: WebSocket handshakes, `/health`, and other pages.

pub mod ajax;
pub mod ajax_call;
mod ajax_response;
mod cors;
pub mod health;
pub mod idle;
pub mod pages;
mod request_slot;
mod response;
mod stream;
mod upgrade;

use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use diffyne_shared::listener::AcceptedStream;
use http_body_util::Full;
use hyper::body::Incoming;
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
use stream::{HttpStream, UnflushedResponses};

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
    let unflushed = UnflushedResponses::default();
    let stream = TokioIo::new(HttpStream::new(stream, shard.settings.outbox_timeout, unflushed.clone()));
    let (handler, active) = (Rc::clone(shard), Rc::clone(idle));
    let service = service_fn(move |request| {
        let (handler, unflushed) = (Rc::clone(&handler), unflushed.clone());
        active.set_active();
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
async fn route(shard: &Rc<Shard>, request: Request<Incoming>, peer: Option<IpAddr>) -> Response<Full<Bytes>> {
    if asks_for_upgrade(request.headers()) {
        return upgrade::upgrade(shard, request, peer);
    }
    if let Some(route) = ajax::route(&shard.settings.route_prefix, request.uri().path()) {
        return ajax::serve(shard, route, request, peer).await;
    }
    if request.method() == Method::GET || request.method() == Method::HEAD {
        let path = request.uri().path();
        if path == "/health" {
            return respond(StatusCode::OK, JSON, shard.pages.health());
        }
        let (parts, body) = request.into_parts();
        if shard.admission.check_origin(&parts).is_ok() && shard.admission.refuses_key(&parts) {
            return upgrade::refuse_key(shard, parts.headers.get(header::ORIGIN));
        }
        let request = Request::from_parts(parts, body);
        if let Some(page) = shard.pages.page(request.uri().path()).await {
            return page_response(&request, &page);
        }
    }
    not_found()
}
