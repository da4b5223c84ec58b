//! Turns an HTTP request into a WebSocket connection, or into a response that refuses it.

use std::net::IpAddr;
use std::rc::Rc;

use bytes::Bytes;
use diffyne_shared::bus::random_bits;
use diffyne_shared::settings::value::CompressionMode;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

use super::cors;
use super::refusal::{is_temporary, status_and_text};
use super::response::{not_found, respond, retry_in};
use super::stream::HttpStream;
use crate::auth::admission::{Identity, Refusal, key_of};
use crate::auth::cookie_store::CookieStore;
use crate::auth::refusal_log::RefusedRequest;
use crate::connection::transport::ClientTransport;
use crate::connection::{Connection, session};
use crate::quota::Ticket;
use crate::relay::Caller;
use crate::shard::state::Shard;
use crate::socket::{Deflate, SocketIo, extensions};
use crate::traces;

const TEXT: &str = "text/plain; charset=utf-8";

/// Builds the response to a refused handshake. It also closes the connection.
pub(super) fn refuse(shard: &Shard, refusal: Refusal) -> Response<Full<Bytes>> {
    shard.metrics.handshake(refusal.label());
    let (status, text) = status_and_text(refusal);
    let mut response = match refusal {
        Refusal::NotFound => not_found(),
        refusal if is_temporary(refusal) => {
            retry_in(respond(status, TEXT, text), shard.quota.retry_after.next_seconds())
        }
        _ => respond(status, TEXT, text),
    };
    let headers = response.headers_mut();
    if refusal == Refusal::Version {
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Answers a page that asks with its WebSocket's address why it was refused.
pub(super) fn refuse_key(shard: &Shard, request: &Parts, peer: Option<IpAddr>) -> Response<Full<Bytes>> {
    shard.admission.log_refusal(RefusedRequest::Ajax, Refusal::Key, request, peer);
    let mut response = refuse(shard, Refusal::Key);
    // It does not act as its user here, so it may read the answer like any guest.
    cors::allow(response.headers_mut(), request.headers.get(header::ORIGIN), true);
    response
}

/// A client that was admitted.
pub(super) struct NewConnection {
    /// Who it is.
    pub(super) identity: Identity,
    /// Where it is counted.
    pub(super) ticket: Ticket,
    /// The id that it has had before; otherwise it gets a new one.
    pub(super) client_id: Option<String>,
}

impl NewConnection {
    /// Counts it.
    pub(super) fn count(&self, shard: &Shard) {
        if self.identity.guest {
            shard.metrics.guests.inc();
        }
        shard.metrics.handshake("accepted");
        traces::handshake(&shard.tracer, &self.identity.headers);
    }

    /// Adds the client's connection to this thread.
    pub(super) fn open(self, shard: &Rc<Shard>, io: SocketIo, transport: ClientTransport) -> Rc<Connection> {
        let Self { identity, ticket, client_id } = self;
        let id = client_id.unwrap_or_else(|| format!("{:016x}{:016x}", random_bits(), random_bits()));
        let mut caller = Caller::new(&id, &identity.ip.to_string(), &identity.headers, CookieStore::default());
        shard.ended_sessions.require(&mut caller, |caller| shard.grants.session(caller));
        let connection = Connection::new(io, caller, transport, shard.terms(ticket), shard.hub.now());
        shard.hub.insert(&connection);
        connection
    }
}

/// Checks a handshake and, if it passes, starts the connection's session.
pub(super) fn upgrade(shard: &Rc<Shard>, request: Request<Incoming>, peer: Option<IpAddr>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    if let Err(refusal) = shard.admission.check(&parts) {
        shard.admission.log_refusal(RefusedRequest::Handshake, refusal, &parts, peer);
        return refuse(shard, refusal);
    }
    let identity = shard.admission.identify(&parts, peer);
    let origin = parts.headers.get(header::ORIGIN).cloned();
    let ticket = match shard.quota.enter(identity.ip, key_of(&parts).as_deref()) {
        Ok(ticket) => ticket,
        Err(refusal) => return refuse(shard, refusal),
    };
    let Ok(deflate) = negotiate(shard, &parts) else { return refuse(shard, Refusal::Invalid) };
    let (deflate, extensions) = deflate.unzip();
    let mut request = Request::from_parts(parts, body);
    let Ok((response, upgraded)) = fastwebsockets::upgrade::upgrade(&mut request) else {
        return refuse(shard, Refusal::Invalid);
    };
    let connection = NewConnection { identity, ticket, client_id: None };
    connection.count(shard);
    tokio::task::spawn_local(start_session(Rc::clone(shard), upgraded, connection, deflate));

    let (mut head, _empty) = response.into_parts();
    if let Some(origin) = origin {
        head.headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    if let Some(extensions) = extensions {
        head.headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, extensions);
    }
    Response::from_parts(head, Full::default())
}

/// Negotiates compression, unless it is off: then what a client offers is not even read.
fn negotiate(shard: &Shard, request: &Parts) -> Result<Option<(Deflate, HeaderValue)>, extensions::Malformed> {
    match shard.settings.compression {
        CompressionMode::Off => Ok(None),
        CompressionMode::Auto => extensions::negotiate(&request.headers),
    }
}

/// Takes the stream back from hyper, with the bytes that hyper has already read, and starts the session.
async fn start_session(
    shard: Rc<Shard>,
    upgraded: fastwebsockets::upgrade::UpgradeFut,
    connection: NewConnection,
    deflate: Option<Deflate>,
) {
    let socket = upgraded.await.ok().and_then(|socket| {
        let upgraded = socket.into_inner().into_inner();
        match upgraded.downcast::<TokioIo<HttpStream<TcpStream>>>() {
            Ok(parts) => Some((SocketIo::from(parts.io.into_inner().into_inner()), parts.read_buf)),
            Err(upgraded) => {
                let parts = upgraded.downcast::<TokioIo<HttpStream<UnixStream>>>().ok()?;
                Some((SocketIo::from(parts.io.into_inner().into_inner()), parts.read_buf))
            }
        }
    });
    let Some((io, early)) = socket else { return };
    let connection = connection.open(&shard, io, ClientTransport::WebSocket(deflate));
    session::start(shard, connection, &early);
}
