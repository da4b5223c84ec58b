//! Turns an HTTP request into a WebSocket connection, or into a response that refuses it.

use std::net::IpAddr;
use std::rc::Rc;

use bytes::Bytes;
use diffyne_shared::bus::random_bits;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

use super::cors;
use super::response::{not_found, respond, retry_later};
use super::stream::HttpStream;
use crate::auth::admission::{Identity, Refusal, key_of};
use crate::auth::cookie_store::CookieStore;
use crate::connection::{Connection, session};
use crate::quota::Ticket;
use crate::relay::Caller;
use crate::shard::state::Shard;
use crate::socket::io;

/// Builds the response to a refused handshake. It also closes the connection.
fn refuse(shard: &Shard, refusal: Refusal) -> Response<Full<Bytes>> {
    shard.metrics.handshake(refusal.label());
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
        Refusal::Full => retry_later(text(StatusCode::SERVICE_UNAVAILABLE, "Too many connections")),
        Refusal::Memory => retry_later(text(StatusCode::SERVICE_UNAVAILABLE, "The server is short of memory")),
        Refusal::Rate => retry_later(text(StatusCode::TOO_MANY_REQUESTS, "Too many new connections")),
        Refusal::Address => retry_later(text(StatusCode::TOO_MANY_REQUESTS, "Too many connections from this address")),
        Refusal::KeyFull => retry_later(text(StatusCode::TOO_MANY_REQUESTS, "Too many connections with this key")),
    };
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Answers a page that asks with its WebSocket's address why it was refused.
pub(super) fn refuse_key(shard: &Shard, origin: Option<&HeaderValue>) -> Response<Full<Bytes>> {
    let mut response = refuse(shard, Refusal::Key);
    // It does not act as its user here, so it may read the answer like any guest.
    cors::allow(response.headers_mut(), origin, true);
    response
}

/// Checks a handshake and, if it passes, starts the connection's session.
pub(super) fn upgrade(shard: &Rc<Shard>, request: Request<Incoming>, peer: Option<IpAddr>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    if let Err(refusal) = shard.admission.check(&parts) {
        return refuse(shard, refusal);
    }
    let identity = shard.admission.identify(&parts, peer);
    let origin = parts.headers.get(header::ORIGIN).cloned();
    let ticket = match shard.quota.enter(identity.ip, key_of(&parts).as_deref()) {
        Ok(ticket) => ticket,
        Err(refusal) => return refuse(shard, refusal),
    };
    let mut request = Request::from_parts(parts, body);
    let Ok((response, upgraded)) = fastwebsockets::upgrade::upgrade(&mut request) else {
        return refuse(shard, Refusal::Invalid);
    };
    if identity.guest {
        shard.metrics.guests.inc();
    }
    shard.metrics.handshake("accepted");
    tokio::task::spawn_local(start_session(Rc::clone(shard), upgraded, identity, ticket));

    let (mut head, _empty) = response.into_parts();
    if let Some(origin) = origin {
        head.headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    Response::from_parts(head, Full::default())
}

/// Takes the stream back from hyper, with the bytes that hyper has already read, and starts the session.
async fn start_session(
    shard: Rc<Shard>,
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
    let mut caller = Caller {
        id: format!("{:016x}{:016x}", random_bits(), random_bits()),
        ip: identity.ip.to_string(),
        headers: identity.headers,
        cookies: CookieStore::default(),
    };
    shard.ended_sessions.require(&mut caller, |caller| shard.grants.session(caller));
    let terms = shard.terms(ticket);
    let connection = Connection::new(writer, caller, terms, shard.hub.now());
    shard.hub.insert(&connection);
    // A separate task, so that the handshake's task ends here and releases everything that it holds.
    tokio::task::spawn_local(session::run(Rc::clone(&shard), connection, reader, early));
}
