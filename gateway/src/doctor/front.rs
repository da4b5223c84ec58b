//! Checks a set-up as pages have it: through the real front, from its certificate to a call and a broadcast.

use std::time::{Duration, Instant};

use diffyne_shared::admin;
use diffyne_shared::telemetry;
use diffyne_shared::tls::ClientTls;
use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::workers::NOBODY;
use super::{Report, Target, front_http};
use crate::front_client::{Front, Handshake, Pipe, limited, shake};

type Socket = WebSocket<Pipe>;

/// A slower call is reported.
const SLOW_CALL: Duration = Duration::from_secs(1);
/// An event that no page subscribes to.
const EVENT: &str = "diffyne-doctor";
/// A page that nobody has.
const STRANGE_ORIGIN: &str = "https://diffyne-doctor.invalid";

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
        Handshake::Open(pipe) => {
            let mut socket = WebSocket::after_handshake(*pipe, Role::Client);
            socket.set_auto_pong(true);
            socket
        }
        Handshake::Refused(status, words) => {
            let words = if words.is_empty() { words } else { format!(" ({words})") };
            return report.fail("front", format!("{status} to a page of {origin}{words}: {}", remedy(status)));
        }
    };
    let secure = if front.is_secure() { "with TLS" } else { "without TLS: use wss:// in production" };
    report.ok("front", format!("{} takes pages of {origin}, {secure}", front.authority()));
    match limited(next(&mut socket, "diffyne.connected", None)).await {
        Ok(_) => report.ok("gateway", "greets through the front"),
        Err(error) => return report.fail("gateway", format!("no diffyne.connected through the front: {error}")),
    }
    strangers(front, tls, target, &origin, report).await;
    call(&mut socket, report).await;
    broadcast(&mut socket, target, report).await;
    front_http::check(front, tls, target, &origin, report).await;
    if let Some(idle) = target.idle {
        stay_idle(&mut socket, idle, report).await;
    }
}

/// Whether a connection lasts on which nobody says anything but the gateway, which pings.
async fn stay_idle(socket: &mut Socket, idle: Duration, report: &mut Report) {
    let began = Instant::now();
    match tokio::time::timeout(idle, next(socket, "", Some("nothing"))).await {
        Err(_elapsed) => report.ok("idle", format!("a connection lasts {} s without a call", idle.as_secs())),
        Ok(ended) => {
            let error = ended.err().unwrap_or_default();
            report.fail(
                "idle",
                format!(
                    "a connection without calls ended after {:.0} s ({error}): have every proxy on the way wait longer than \
                     DIFFYNE_PING_INTERVAL (25 s); in nginx, proxy_read_timeout 80s",
                    began.elapsed().as_secs_f64()
                ),
            );
        }
    }
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

trait OrReport<T> {
    fn report(self, part: &'static str, report: &mut Report) -> Option<T>;
}

impl<T> OrReport<T> for Result<T, String> {
    fn report(self, part: &'static str, report: &mut Report) -> Option<T> {
        self.map_err(|error| report.fail(part, error)).ok()
    }
}
