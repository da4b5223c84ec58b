//! The admin page's requests: signing in and out, the page itself, and what operators do on it.
//!
//! Nothing is changed by a link, by another site's form, or at once: an action is asked for again on a page of its own, whose
//! form has a proof for this viewer, and its request has to name this page as its origin.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, LOCATION, ORIGIN, SET_COOKIE};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

use super::api::Audit;
use super::history::History;
use super::page;
use super::session::{self, Viewer};
use super::source::{AdminSource, ApiRequest};
use crate::http_server::Peer;
use crate::telemetry::LogThrottle;

/// The largest form.
const FORM_BYTES_MAX: usize = 16 * 1024;
/// How often somebody may try a token.
static LOGINS: LogThrottle = LogThrottle::new(5, 20);
/// Nothing but what is served here, and no frame around it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const STYLE: &str = include_str!("admin.css");
const SCRIPT: &str = include_str!("admin.js");

type Page = Response<Full<Bytes>>;

/// Answers a request for the page or of it; `None` when it is for something else.
pub(super) async fn route(request: Request<Incoming>, source: &dyn AdminSource, history: &History) -> Option<Page> {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer::Local);
    let viewer = Viewer::of(request.headers(), peer, source.tokens());
    let page = match (request.method(), request.uri().path()) {
        (&Method::GET, "/admin.css") => file("text/css; charset=utf-8", STYLE),
        (&Method::GET, "/admin.js") => file("text/javascript; charset=utf-8", SCRIPT),
        (&Method::GET, "/") => match viewer {
            Some(viewer) => {
                source.refresh();
                html(StatusCode::OK, page::overview(&source.overview(history).await, &viewer))
            }
            None => html(StatusCode::UNAUTHORIZED, page::login(None)),
        },
        (&Method::GET, "/login") => html(StatusCode::OK, page::login(None)),
        (&Method::GET, "/ask") => ask(&request, source, history, viewer).await,
        (&Method::POST, "/login") => login(request, source).await,
        (&Method::POST, "/logout") => leave(&request),
        (&Method::POST, "/do") => act(request, source, history, viewer, peer).await,
        _ => return None,
    };
    Some(page)
}

fn html(status: StatusCode, text: String) -> Page {
    let mut page = Response::new(Full::new(Bytes::from(text)));
    *page.status_mut() = status;
    let headers = page.headers_mut();
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", POLICY),
        ("cache-control", "no-store"),
        ("referrer-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    page
}

fn file(kind: &'static str, text: &'static str) -> Page {
    let mut page = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    page.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    page
}

/// Sends the browser to the page, with a cookie.
fn to_page(cookie: &str) -> Page {
    let mut page = html(StatusCode::SEE_OTHER, String::new());
    page.headers_mut().insert(LOCATION, HeaderValue::from_static("/"));
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        page.headers_mut().insert(SET_COOKIE, cookie);
    }
    page
}

fn refuse(status: StatusCode, text: &str) -> Page {
    html(status, page::done("Nothing was changed", status.as_u16(), &json!({"error": text})))
}

/// The fields of a form; none when it is too large.
async fn form(request: Request<Incoming>) -> Option<Vec<(String, String)>> {
    let body = Limited::new(request.into_body(), FORM_BYTES_MAX).collect().await.ok()?.to_bytes();
    Some(form_urlencoded::parse(&body).into_owned().collect())
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

async fn login(request: Request<Incoming>, source: &dyn AdminSource) -> Page {
    if !is_own(request.headers()) {
        return refuse(StatusCode::FORBIDDEN, "The form came from another site.");
    }
    if LOGINS.allow().is_none() {
        return html(StatusCode::TOO_MANY_REQUESTS, page::login(Some("Too many tries: wait some seconds.")));
    }
    let name = session::cookie_name(request.headers());
    let fields = form(request).await.unwrap_or_default();
    let token = field(&fields, "token");
    let Some(operator) = source.tokens().find(token) else {
        tracing::warn!("a wrong token was tried on the admin page");
        return html(StatusCode::UNAUTHORIZED, page::login(Some("That is no admin token.")));
    };
    let (value, life) = (session::begin(operator, token), session::LIFE_SECONDS);
    to_page(&format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={life}"))
}

fn leave(request: &Request<Incoming>) -> Page {
    let name = session::cookie_name(request.headers());
    to_page(&format!("{name}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"))
}

/// Whether a form is this page's own, as the browser says.
fn is_own(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let origin = text(ORIGIN).and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    origin.is_some() && origin == text(HOST)
}

async fn ask(request: &Request<Incoming>, source: &dyn AdminSource, history: &History, viewer: Option<Viewer>) -> Page {
    let Some(viewer) = viewer.filter(Viewer::may_change) else {
        return refuse(StatusCode::FORBIDDEN, "Sign in with a token that may change things.");
    };
    let query = request.uri().query().unwrap_or_default();
    let fields: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let of = source.overview(history).await;
    let action = of.actions.iter().find(|action| action.name == field(&fields, "action"));
    match (action, viewer.form_proof(source.tokens())) {
        (Some(action), Some(proof)) => html(StatusCode::OK, page::ask(&of, action, field(&fields, "value"), &proof)),
        _ => refuse(StatusCode::NOT_FOUND, "There is no such action."),
    }
}

async fn act(
    request: Request<Incoming>,
    source: &dyn AdminSource,
    history: &History,
    viewer: Option<Viewer>,
    peer: Peer,
) -> Page {
    let is_own = is_own(request.headers());
    let Some(fields) = form(request).await else {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "The form is too large.");
    };
    let operator = match viewer {
        Some(Viewer::Operator(ref operator, _))
            if is_own
                && viewer.as_ref().is_some_and(Viewer::may_change)
                && viewer.as_ref().is_some_and(|viewer| viewer.proves(source.tokens(), field(&fields, "proof"))) =>
        {
            operator.clone()
        }
        _ => return refuse(StatusCode::FORBIDDEN, "The form is not this page's, or its time is over."),
    };
    let of = source.overview(history).await;
    let Some(action) = of.actions.iter().find(|action| action.name == field(&fields, "action")) else {
        return refuse(StatusCode::NOT_FOUND, "There is no such action.");
    };
    let path = format!("/api/{}", action.name);
    let body = action
        .field
        .as_ref()
        .map_or_else(|| json!({}), |name| json!({name.as_str(): field(&fields, "value")}))
        .to_string();
    let mut audit = Audit::begin(&operator, peer, &path, &body);
    let answer = source.api(ApiRequest { method: &Method::POST, path: &path, query: "", body: &body }).await;
    let (status, answer) = answer.unwrap_or((StatusCode::NOT_FOUND, json!({})));
    audit.end(status);
    html(status, page::done(&action.title, status.as_u16(), &answer))
}
