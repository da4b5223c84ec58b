//! Logs refused handshakes: why, and what would have been allowed. Each reason has a line a second at most, so that one of
//! them cannot hide another.

use std::net::IpAddr;

use diffyne_shared::settings::gateway::GatewaySettings;
use diffyne_shared::telemetry::{self, LogThrottle};
use hyper::header;
use hyper::http::request::Parts;

use super::refusal::Refusal;

/// What is refused to a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedRequest {
    /// A WebSocket.
    Handshake,
    /// A call over AJAX, an upload, or the reason of a refused handshake.
    Ajax,
}

/// Whose request it is.
#[derive(Debug, Clone, Copy)]
pub struct RefusedClient {
    /// The browser's address.
    pub address: IpAddr,
    /// The request has a key, right or wrong.
    pub has_key: bool,
}

/// Writes the lines of one gateway.
#[derive(Debug)]
pub struct RefusalLog {
    paths: String,
    origins: String,
    not_found: LogThrottle,
    origin: LogThrottle,
    key: LogThrottle,
    invalid: LogThrottle,
}

impl RefusalLog {
    /// Creates a log that names what these settings allow.
    pub fn new(settings: &GatewaySettings) -> Self {
        Self {
            paths: format!("/, {}", settings.path),
            origins: settings.origins.join(", "),
            not_found: LogThrottle::default(),
            origin: LogThrottle::default(),
            key: LogThrottle::default(),
            invalid: LogThrottle::default(),
        }
    }

    /// Logs a request that was refused by its own contents. Refusals for want of room are logged where room is counted.
    pub fn log(&self, what: RefusedRequest, refusal: Refusal, request: &Parts, client: RefusedClient) {
        let RefusedClient { address, has_key } = client;
        let throttle = match refusal {
            Refusal::NotFound => &self.not_found,
            Refusal::Origin => &self.origin,
            Refusal::Key => &self.key,
            Refusal::Invalid | Refusal::Version => &self.invalid,
            _ => return,
        };
        let Some(left_out) = throttle.allow() else { return };
        let what = match what {
            RefusedRequest::Handshake => "handshake",
            RefusedRequest::Ajax => "request",
        };
        let text = |name| request.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        match refusal {
            Refusal::NotFound => {
                let path = telemetry::name(request.uri.path());
                let allowed = &self.paths;
                tracing::warn!(%path, allowed, %address, left_out, "refused a {what}: this is not the path of the WebSocket");
            }
            Refusal::Origin => {
                let (origin, allowed) = (text(header::ORIGIN).unwrap_or_default(), &self.origins);
                let origin = telemetry::name(&origin);
                tracing::warn!(
                    %origin,
                    allowed,
                    %address,
                    left_out,
                    "refused a {what}: the page's origin is not in DIFFYNE_WS_CORS_ORIGINS"
                );
            }
            Refusal::Key => {
                let given = if has_key { "another key" } else { "no key" };
                let allowed = "a key of DIFFYNE_WS_KEY, URL-encoded: ?key=...";
                tracing::warn!(given, allowed, %address, left_out, "refused a {what}: its key is missing or wrong");
            }
            _ => {
                let version = text(header::SEC_WEBSOCKET_VERSION).unwrap_or_default();
                let (version, allowed) = (telemetry::name(&version), "a WebSocket handshake of version 13");
                tracing::warn!(%version, allowed, %address, left_out, "refused a {what}: it is not a valid WebSocket handshake");
            }
        }
    }
}
