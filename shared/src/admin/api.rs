//! Requests below `/api/`, which need a token, and the log of what operators change.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

use super::history::History;
use super::overview::OVERVIEW_PATH;
use super::response::json_response;
use super::session::Viewer;
use super::source::{AdminSource, ApiRequest};
use crate::admin_tokens::{Access, AdminTokens, Operator};
use crate::http_server::Peer;
use crate::telemetry::{self, LogThrottle};

/// The largest body of a change.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Limits log lines about requests with a wrong token.
static REFUSALS: LogThrottle = LogThrottle::new(1, 10);

/// Answers a request below `/api/`.
pub(super) async fn answer(
    request: Request<Incoming>,
    source: &dyn AdminSource,
    history: &History,
) -> Response<Full<Bytes>> {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer::Local);
    let is_overview = request.method() == Method::GET && request.uri().path() == OVERVIEW_PATH;
    // Whoever may see the page.
    if is_overview && Viewer::of(request.headers(), peer, source.tokens()).is_some() {
        return overview(source, history).await;
    }
    let operator = match authorize(&request, source.tokens()) {
        Ok(operator) => operator.clone(),
        Err((status, text)) => {
            if let Some(left_out) = REFUSALS.allow() {
                let path = telemetry::name(request.uri().path());
                tracing::warn!(%path, %peer, %status, left_out, "refused a request to the admin listener");
            }
            return json_response(status, &json!({"error": text}));
        }
    };
    if is_overview {
        return overview(source, history).await;
    }
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return json_response(StatusCode::PAYLOAD_TOO_LARGE, &json!({"error": "The body is too large."})),
    };
    let (method, path) = (&parts.method, parts.uri.path());
    let is_audited = method == Method::POST && source.is_audited(path);
    let mut audit = is_audited.then(|| Audit::begin(&operator, peer, path, &String::from_utf8_lossy(&body)));
    let answer = match std::str::from_utf8(&body) {
        Ok(body) => source.api(ApiRequest { method, path, query: parts.uri.query().unwrap_or_default(), body }).await,
        Err(_) => None,
    };
    let (status, answer) = answer.unwrap_or((StatusCode::NOT_FOUND, json!({"error": "Not Found"})));
    if let Some(audit) = &mut audit {
        audit.end(status);
    }
    json_response(status, &answer)
}

async fn overview(source: &dyn AdminSource, history: &History) -> Response<Full<Bytes>> {
    source.refresh();
    json_response(StatusCode::OK, &json!(source.overview(history).await))
}

/// The operator that a request is from. A token that may only read opens no request that changes something.
fn authorize<'a>(
    request: &Request<Incoming>,
    tokens: &'a AdminTokens,
) -> Result<&'a Operator, (StatusCode, &'static str)> {
    if tokens.is_empty() {
        return Err((StatusCode::UNAUTHORIZED, "Requests to /api/ are refused: DIFFYNE_ADMIN_TOKEN is not set."));
    }
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let operator = given.strip_prefix("Bearer ").and_then(|token| tokens.find(token));
    match operator {
        None => Err((StatusCode::UNAUTHORIZED, "The token is missing or wrong.")),
        Some(operator) if request.method() == Method::POST && operator.access == Access::Read => {
            Err((StatusCode::FORBIDDEN, "This token may look and change nothing."))
        }
        Some(operator) => Ok(operator),
    }
}

/// One line for every change that an operator makes, or tries to make. It is written as well when the operator hangs up
/// before the answer is there, since the change may have been made.
pub(super) struct Audit {
    operator: String,
    peer: Peer,
    action: String,
    what: String,
    status: Option<StatusCode>,
}

impl Audit {
    /// Begins with what is asked for.
    pub(super) fn begin(operator: &Operator, peer: Peer, action: &str, what: &str) -> Self {
        let what = telemetry::name(what).to_string();
        Self { operator: operator.name.clone(), peer, action: action.to_owned(), what, status: None }
    }

    /// Notes how it is answered.
    pub(super) fn end(&mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        let Self { operator, peer, action, what, status } = self;
        // Without a status, the operator had hung up.
        let status = status.map(|status| status.as_u16());
        tracing::info!(operator, %action, %what, %peer, status, "an operator asked for a change");
    }
}
