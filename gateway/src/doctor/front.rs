//! Checks a set-up as pages have it: through the real front, from its certificate to a call and a broadcast.

use std::time::{Duration, Instant};

use bytes::Bytes;
use diffyne_shared::admin;
use diffyne_shared::listener::Stream;
use diffyne_shared::rpc::Endpoint;
use diffyne_shared::telemetry;
use diffyne_shared::tls::ClientTls;
use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONNECTION, HOST, LOCATION, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::workers::NOBODY;
use super::{Report, Target};

/// The time limit of one step: longer than a gateway waits for a worker by default (`DIFFYNE_WORKER_WAIT`).
const STEP_TIMEOUT: Duration = Duration::from_secs(8);
/// A slower call is reported.
const SLOW_CALL: Duration = Duration::from_secs(1);
/// The most of an answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// An event that no page subscribes to.
const EVENT: &str = "diffyne-doctor";
/// A page that nobody has.
const STRANGE_ORIGIN: &str = "https://diffyne-doctor.invalid";

type Socket = WebSocket<TokioIo<Upgraded>>;

/// Where pages connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Front {
    is_secure: bool,
    host: String,
    port: u16,
    path: String,
}

impl Front {
    /// Reads `wss://host[:port][/path]`. The error says what is wrong.
    pub(super) fn parse(url: &str, default_path: &str) -> Result<Self, String> {
        let wrong = || format!("--url {url}: write it as pages do, for example wss://shop.example/diffyne");
        let uri: hyper::Uri = url.parse().map_err(|_| wrong())?;
        let is_secure = match uri.scheme_str() {
            Some("wss" | "https") => true,
            Some("ws" | "http") => false,
            _ => return Err(wrong()),
        };
        let host = uri.host().ok_or_else(wrong)?.to_owned();
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let path = uri.path_and_query().map(hyper::http::uri::PathAndQuery::as_str).filter(|path| *path != "/");
        Ok(Self { is_secure, host, port, path: path.unwrap_or(default_path).to_owned() })
    }

    /// Whether it speaks TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// What a browser sends as `Host`.
    fn authority(&self) -> String {
        match (self.is_secure, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    /// The origin of a page that this host serves.
    fn origin(&self) -> String {
        format!("{}://{}", if self.is_secure { "https" } else { "http" }, self.authority())
    }

    async fn connect(&self, tls: Option<&ClientTls>) -> Result<Stream, String> {
        let address = Endpoint::tcp(self.host.trim_matches(['[', ']']), self.port);
        let stream =
            Stream::connect(&address).await.map_err(|error| format!("nothing answers at {address}: {error}"))?;
        match tls {
            Some(tls) => {
                tls.connect(&self.host, stream).await.map_err(|error| format!("TLS with {}: {error}", self.host))
            }
            None => Ok(stream),
        }
    }
}

/// How a handshake went.
enum Handshake {
    Open(Box<Socket>),
    Refused(StatusCode, String),
}

/// A handshake as a page of this origin makes it, with a key if there is one.
async fn shake(front: &Front, tls: Option<&ClientTls>, origin: &str, key: Option<&str>) -> Result<Handshake, String> {
    let stream = front.connect(tls).await?;
    let words = |error: hyper::Error| format!("the front ended the handshake: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(words)?;
    tokio::spawn(connection.with_upgrades());
    let sign = if front.path.contains('?') { '&' } else { '?' };
    let path = key.map_or_else(|| front.path.clone(), |key| format!("{}{sign}key={key}", front.path));
    let request = Request::get(path)
        .header(HOST, front.authority())
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, fastwebsockets::handshake::generate_key())
        .header(ORIGIN, origin)
        .body(Full::new(Bytes::new()))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(words)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(refused(response).await);
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(words)?;
    let mut socket = WebSocket::after_handshake(TokioIo::new(upgraded), Role::Client);
    socket.set_auto_pong(true);
    Ok(Handshake::Open(Box::new(socket)))
}

async fn refused(response: Response<hyper::body::Incoming>) -> Handshake {
    let status = response.status();
    let location = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let error = serde_json::from_slice::<Value>(&body).ok().and_then(|body| body["error"].as_str().map(str::to_owned));
    // Where it is sent on to has the key in its query.
    let location = location.as_deref().and_then(|to| to.split('?').next());
    let words = error.or(location.map(|to| format!("sent on to {to}"))).unwrap_or_default();
    Handshake::Refused(status, telemetry::error(&words).to_string())
}

/// What to do about a handshake that was refused.
fn remedy(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 | 426 => {
            "the front does not pass the upgrade on: in nginx, proxy_http_version 1.1 and the headers Upgrade and \
             Connection, as in nginx/diffyne.conf"
        }
        401 => "the key is missing or wrong: give it the page's as --ws-key, or compare DIFFYNE_WS_KEY",
        403 => {
            "the origin is not allowed, or the key is wrong: compare DIFFYNE_WS_CORS_ORIGINS with the page's address"
        }
        404 => {
            "the front does not pass this path on to a gateway: compare it with DIFFYNE_WS_PATH and the front's locations"
        }
        429 | 503 => "the gateway is full, or stops: its log and diffyne_gateway_handshakes_total say why",
        502 | 504 => "the front reaches no gateway: is one running, and does the front name its address?",
        200..400 => "something else answers there: compare the path with the front's locations",
        _ => "the logs of the front and of the gateway have more",
    }
}

/// Runs the checks.
pub(super) async fn check(front: &Front, tls: Option<&ClientTls>, target: &Target, report: &mut Report) {
    let origin = target.settings.app_url.clone().unwrap_or_else(|| front.origin());
    let key = target.settings.keys.first().map(String::as_str);
    let Some(opened) = limited(shake(front, tls, &origin, key)).await.report("front", report) else { return };
    let mut socket = match opened {
        Handshake::Open(socket) => *socket,
        Handshake::Refused(status, words) => {
            let words = if words.is_empty() { words } else { format!(" ({words})") };
            return report.fail("front", format!("{status} to a page of {origin}{words}: {}", remedy(status)));
        }
    };
    let secure = if front.is_secure { "with TLS" } else { "without TLS: use wss:// in production" };
    report.ok("front", format!("{} takes pages of {origin}, {secure}", front.authority()));
    match limited(next(&mut socket, "diffyne.connected", None)).await {
        Ok(_) => report.ok("gateway", "greets through the front"),
        Err(error) => return report.fail("gateway", format!("no diffyne.connected through the front: {error}")),
    }
    strangers(front, tls, target, &origin, report).await;
    call(&mut socket, report).await;
    broadcast(&mut socket, target, report).await;
}

/// Whether a handshake was refused for who asked, and not for want of room or of a gateway.
fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// Whether those who should be refused are.
async fn strangers(front: &Front, tls: Option<&ClientTls>, target: &Target, origin: &str, report: &mut Report) {
    let key = target.settings.keys.first().map(String::as_str);
    if key.is_some() {
        match limited(shake(front, tls, origin, Some("not-the-key"))).await {
            Ok(Handshake::Refused(status, _)) if is_refusal(status) => {
                report.ok("front key", "a page with another key is refused");
            }
            Ok(Handshake::Refused(status, _)) => report.warn("front key", format!("could not be tried: {status}")),
            Ok(Handshake::Open(_)) => {
                report.fail(
                    "front key",
                    "a page with any key may connect: the gateways behind the front have no DIFFYNE_WS_KEY",
                );
            }
            Err(error) => report.warn("front key", error),
        }
    }
    match limited(shake(front, tls, STRANGE_ORIGIN, key)).await {
        Ok(Handshake::Refused(status, _)) if is_refusal(status) => {
            report.ok("front origin", "pages of other sites are refused");
        }
        Ok(Handshake::Refused(status, _)) => report.warn("front origin", format!("could not be tried: {status}")),
        Ok(Handshake::Open(_)) => report.warn(
            "front origin",
            "pages of other sites may connect, as guests: list your own origins in DIFFYNE_WS_CORS_ORIGINS",
        ),
        Err(error) => report.warn("front origin", error),
    }
}

/// A call of a component that does not exist, through everything.
async fn call(socket: &mut Socket, report: &mut Report) {
    let data = json!({"componentId": "diffyne-doctor", "componentClass": NOBODY, "method": "go", "params": [], "state": {}, "requestId": "call"});
    let started = Instant::now();
    let answer = limited(async {
        send(socket, "diffyne.call", &data).await?;
        next(socket, "", Some("call")).await
    });
    match answer.await {
        Ok(answer) => {
            let (millis, error) = (started.elapsed().as_millis(), answer["error"].as_str().unwrap_or_default());
            // It is said of a class that is not there, and of no other.
            if !(error.contains(NOBODY) && error.ends_with("does not exist.")) {
                let error = telemetry::error(error);
                report.fail(
                    "front call",
                    format!("answered: {error}; diffyne-gateway doctor without --url looks at the workers"),
                );
            } else if started.elapsed() > SLOW_CALL {
                report.warn("front call", format!("to a worker and back in {millis} ms, which is slow"));
            } else {
                report.ok("front call", format!("to a worker and back in {millis} ms"));
            }
        }
        Err(error) => report.fail("front call", error),
    }
}

/// A broadcast that no page wants, published at the admin address and heard through the front.
async fn broadcast(socket: &mut Socket, target: &Target, report: &mut Report) {
    let (Some(admin), Some(token)) = (&target.settings.admin_listen, &target.settings.admin_token) else {
        return report.warn("broadcast", "not tried: it needs --admin-listen of a gateway, and DIFFYNE_ADMIN_TOKEN");
    };
    let data = json!({"events": [{"name": EVENT}], "requestId": "sub"});
    let event = json!({"name": EVENT, "params": []}).to_string();
    let started = Instant::now();
    let heard = limited(async {
        send(socket, "diffyne.subscribe", &data).await?;
        let answer = next(socket, "", Some("sub")).await?;
        if let Some(error) = answer["error"].as_str() {
            return Err(format!("the subscription was refused: {}", telemetry::error(error)));
        }
        admin::ask(admin, token, "/api/broadcast", &event).await?;
        next(socket, "diffyne.event", None).await
    });
    match heard.await {
        Ok(_) => {
            report.ok("broadcast", format!("from {admin} through the front in {} ms", started.elapsed().as_millis()));
        }
        Err(error) if target.settings.subscribe == diffyne_shared::settings::value::Subscribe::Granted => {
            report.warn("broadcast", format!("not tried: subscriptions need a grant ({error})"));
        }
        Err(error) => report.fail("broadcast", error),
    }
}

async fn send(socket: &mut Socket, event: &str, data: &Value) -> Result<(), String> {
    let text = json!({"event": event, "data": data}).to_string();
    let frame = Frame::text(Payload::Owned(text.into_bytes()));
    socket.write_frame(frame).await.map_err(|error| format!("the connection ended: {error}"))
}

/// The data of the next message of this name, or of the answer to this request.
async fn next(socket: &mut Socket, event: &str, request: Option<&str>) -> Result<Value, String> {
    loop {
        let frame = socket.read_frame().await.map_err(|error| format!("the connection ended: {error}"))?;
        match frame.opcode {
            OpCode::Text => {
                let mut message: Value = serde_json::from_slice(&frame.payload).unwrap_or_default();
                let is_it = match request {
                    Some(id) => message["data"]["requestId"] == id,
                    None => message["event"] == event,
                };
                if is_it {
                    return Ok(message["data"].take());
                }
            }
            OpCode::Close => return Err("the front or the gateway closed the connection".to_owned()),
            _ => {}
        }
    }
}

async fn limited<T>(step: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(STEP_TIMEOUT, step).await.unwrap_or_else(|_| Err(format!("no answer within {STEP_TIMEOUT:?}")))
}

trait OrReport<T> {
    fn report(self, part: &'static str, report: &mut Report) -> Option<T>;
}

impl<T> OrReport<T> for Result<T, String> {
    fn report(self, part: &'static str, report: &mut Report) -> Option<T> {
        self.map_err(|error| report.fail(part, error)).ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_pages_write_it() {
        let read = |url| Front::parse(url, "/diffyne").map(|front| (front.authority(), front.origin(), front.path));
        let texts = |host: &str, origin: &str, path: &str| Ok((host.to_owned(), origin.to_owned(), path.to_owned()));
        assert_eq!(read("wss://shop.example"), texts("shop.example", "https://shop.example", "/diffyne"));
        assert_eq!(read("ws://127.0.0.1:8080/ws?a=b"), texts("127.0.0.1:8080", "http://127.0.0.1:8080", "/ws?a=b"));
        for wrong in ["shop.example", "ftp://shop.example", "wss://", ""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
