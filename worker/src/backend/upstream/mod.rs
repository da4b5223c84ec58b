//! Components of an application that runs elsewhere: behind an HTTP server (`http`) or in php-fpm (`fastcgi`).
//!
//! Where the application loads the bridge, calls go to the bridge and mean the same as in the php backend. Otherwise
//! they go to the package's own AJAX endpoint ([`endpoint`]), which trims typed text, turns empty text into null, and
//! refuses listeners and empty states; the log warns of that.

pub mod endpoint;
mod fastcgi;
mod http;
mod part_lines;
mod transport;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use diffyne_shared::rpc::{CallKind, LIFECYCLE_FEATURE};
use diffyne_shared::settings::application::{ApplicationSettings, ServerSettings};
use diffyne_shared::settings::rendering::RenderingSettings;
use diffyne_shared::signing::Signer;
use diffyne_shared::task;
use diffyne_shared::telemetry::{self, LogThrottle};
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use prometheus::Registry;
use serde::Serialize;
use serde_json::json;

use super::Backend;
use super::bridge_reply::{BridgeReply, CallInfo};
use super::bridge_request::{self, BridgeRequest};
use super::names::KnownNames;
use super::release::PageRelease;
use super::rendering::{RenderRequest, Rendering};
use super::verification::{locked_feature, verify};
use crate::call::verified::VerifiedCall;
use crate::call::{BoxFuture, CallResult, Job, Parts};
use fastcgi::FastCgiTransport;
use http::HttpTransport;
use transport::{UpstreamRequest, UpstreamResponse, UpstreamTransport};

/// Limits log lines about what PHP prints: pages can make it print.
static LINES: LogThrottle = LogThrottle::new(10, 50);
/// Time between two probes for the bridge while the application does not have it.
const PROBE_INTERVAL: Duration = Duration::from_secs(30);
/// Time between two probes while the application does not respond.
const PROBE_RETRY: Duration = Duration::from_secs(1);
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// The bridge's path below the application's root.
const BRIDGE_PATH: &str = "/_diffyne-bridge";
const BRIDGE_VERB: &str = "DIFFYNE";
/// The first bridge that accepts locked values only where a signature covers them.
const BRIDGE_VERSION: u32 = 2;

/// How the application runs calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum CallRoute {
    /// The application has not responded yet.
    Unknown,
    /// Through the bridge.
    Bridge,
    /// Through the package's own endpoint.
    Endpoint,
}

/// The backend over an application's own server.
pub struct UpstreamBackend {
    settings: ApplicationSettings,
    transport: Box<dyn UpstreamTransport>,
    route: AtomicU8,
    /// Can be replaced while calls run.
    signer: ArcSwap<Signer>,
    debug: bool,
    known_names: KnownNames,
    rendering: Arc<Rendering>,
    /// The operator's name of the release. What the application serves is not known here.
    release: Option<Arc<str>>,
}

impl UpstreamBackend {
    /// Connects to an application and probes it for the bridge. Must be called within a runtime, on which its task runs.
    pub fn start(
        settings: ApplicationSettings,
        rendering: &RenderingSettings,
        signer: Signer,
        debug: bool,
        release: Option<Arc<str>>,
    ) -> Arc<Self> {
        let transport: Box<dyn UpstreamTransport> = match &settings.server {
            ServerSettings::Http(http) => Box::new(HttpTransport::new(http)),
            ServerSettings::FastCgi(fast_cgi) => Box::new(FastCgiTransport::new(fast_cgi)),
        };
        let rendering = Rendering::new(rendering, &signer);
        task::spawn(Arc::clone(&rendering).sweep());
        let backend = Arc::new(Self {
            settings,
            transport,
            route: AtomicU8::new(CallRoute::Unknown as u8),
            signer: ArcSwap::from_pointee(signer),
            debug,
            known_names: KnownNames::default(),
            rendering,
            release,
        });
        let probed = Arc::downgrade(&backend);
        task::spawn(async move {
            while let Some(backend) = probed.upgrade() {
                if backend.route() != CallRoute::Bridge {
                    backend.probe().await;
                }
                let pause = if backend.route() == CallRoute::Unknown { PROBE_RETRY } else { PROBE_INTERVAL };
                drop(backend);
                tokio::time::sleep(pause).await;
            }
        });
        backend
    }

    fn route(&self) -> CallRoute {
        match self.route.load(Ordering::Relaxed) {
            1 => CallRoute::Bridge,
            2 => CallRoute::Endpoint,
            _ => CallRoute::Unknown,
        }
    }

    /// Finds out whether the application has loaded the bridge.
    async fn probe(&self) {
        let head = json!({"kind": "hello"});
        let request = bridge_post(&head, b"", HeaderMap::new(), "127.0.0.1", false);
        let address = self.transport.address();
        let route = match self.send(request, Instant::now() + PROBE_TIMEOUT, &Parts::default()).await {
            Ok(response) if response.status == StatusCode::OK => {
                if self.route() != CallRoute::Bridge {
                    warn_of_old_bridge(&response.body);
                }
                CallRoute::Bridge
            }
            Ok(response) if response.status.is_server_error() => {
                let says = telemetry::error(&response.printed);
                tracing::warn!(status = %response.status, application = address, %says, "the application fails");
                return;
            }
            Ok(_) => CallRoute::Endpoint,
            Err(error) => {
                tracing::warn!(
                    error,
                    application = address,
                    "the application does not answer (DIFFYNE_FASTCGI or DIFFYNE_BACKEND_URL)"
                );
                return;
            }
        };
        let before = self.route.swap(route as u8, Ordering::Relaxed);
        if before == route as u8 {
            return;
        }
        if route == CallRoute::Bridge {
            tracing::info!("the application has the bridge");
        } else {
            tracing::warn!(
                "the application has not loaded the bridge: typed text is trimmed, a cleared field may fail, listeners \
                 need #[Invokable] as well, clients can change locked properties; install the Composer package diffyne/cluster there"
            );
        }
    }

    async fn send(
        &self,
        mut request: UpstreamRequest,
        deadline: Instant,
        parts: &Parts,
    ) -> Result<UpstreamResponse, String> {
        let headers = &mut request.headers;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // The gateway has checked the page's origin.
        headers.insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
        // Authenticates the worker to the bridge, which then leaves the call's events to the worker.
        if let Ok(secret) = HeaderValue::from_str(&self.settings.bridge_secret) {
            headers.insert("x-diffyne-bridge", secret);
        }
        let response = self.transport.send(request, parts);
        parts.within(deadline, response).await.unwrap_or_else(|| Err("it took too long".to_owned()))
    }

    async fn run_call(&self, job: Job) -> CallResult {
        let signer = self.signer.load_full();
        let verified = match verify(&job, &signer) {
            Ok(verified) => verified,
            Err(refused) => return *refused,
        };
        let (render, shown) = self.rendering.request(job.kind, &verified);
        let request_id = job.request_id.clone();
        let call = CallInfo {
            kind: job.kind,
            transport: job.client.transport,
            class: &verified.class,
            method: &verified.method,
            request_id: &request_id,
            debug: self.debug,
            known_names: &self.known_names,
            rendering: &self.rendering,
            signer: &signer,
            component_id: &verified.id,
            is_exact: verified.is_exact,
            shown: shown.as_ref(),
        };
        let (first_deadline, parts, began) = (job.deadline, job.parts.clone(), Instant::now());
        let result = match (self.route(), job.kind) {
            (CallRoute::Bridge, _) => self.call_bridge(&job, &verified, render).await,
            (_, CallKind::Grant | CallKind::Lifecycle) => {
                tracing::warn!("grants and lifecycle listeners need the bridge, which the application has not loaded");
                Ok((BridgeReply::broken("the application has not loaded the bridge".to_owned()), Vec::new()))
            }
            _ => self.call_endpoint(job, &verified).await,
        };
        let (mut reply, body) = match result {
            Ok(reply) => reply,
            Err(_left) if parts.is_cancelled() => (BridgeReply::client_left(), Vec::new()),
            Err(error) if Instant::now() >= parts.deadline(first_deadline) => {
                tracing::debug!(error, request = call.request_id, "a call is out of time");
                (BridgeReply::timed_out(), Vec::new())
            }
            Err(error) => (BridgeReply::broken(format!("the application cannot be reached: {error}")), Vec::new()),
        };
        reply.default_name(&verified.class, &verified.member);
        let answered = began.elapsed();
        let mut result = reply.into_result(body, &call);
        result.phases.split_queue_and_run(Duration::ZERO, answered);
        result
    }

    async fn call_bridge(
        &self,
        job: &Job,
        verified: &VerifiedCall<'_>,
        render: RenderRequest,
    ) -> Result<(BridgeReply, Vec<u8>), String> {
        let none = Parts::default();
        let parts = if verified.takes_parts { &job.parts } else { &none };
        let mut head = bridge_request::head(job, &verified.coverage, render, parts);
        let (headers, secure) = (headers(&mut head, job.kind), head.scheme == "https");
        let request = bridge_post(&head, &job.payload, headers, &job.client.ip, secure);
        let response = self.send(request, job.deadline, parts).await?;
        let (mut reply, body) = if response.status == StatusCode::OK {
            read_bridge_reply(&response.body)
        } else {
            if response.status == StatusCode::NOT_FOUND {
                // A new release of the application may come without the bridge: probe again.
                self.route.store(CallRoute::Endpoint as u8, Ordering::Relaxed);
            }
            (BridgeReply::refused(response.status.as_u16()), Vec::new())
        };
        log_printed(reply.explain(response.printed));
        reply.add_cookies(set_cookie_lines(&response.headers));
        Ok((reply, body))
    }

    async fn call_endpoint(&self, job: Job, verified: &VerifiedCall<'_>) -> Result<(BridgeReply, Vec<u8>), String> {
        let mut head = bridge_request::head(&job, &verified.coverage, RenderRequest::default(), &Parts::default());
        let (headers, secure) = (headers(&mut head, job.kind), head.scheme == "https");
        let path = if job.kind == CallKind::Mount { "/update/lazy" } else { "/update" };
        let path = format!("{}{path}", self.settings.prefix);
        let body = endpoint::request(job.payload);
        let request = UpstreamRequest { path, headers, body, address: job.client.ip, secure };
        let response = self.send(request, job.deadline, &Parts::default()).await?;
        let (mut reply, body) = endpoint::read_response(response.status.as_u16(), &response.body);
        reply.default_spelling(&verified.class, &verified.method);
        log_printed(reply.explain(response.printed));
        reply.set_cookies(set_cookie_lines(&response.headers));
        Ok((reply, body))
    }
}

/// Logs what PHP has printed, where it is not part of a failure that is logged with its component.
fn log_printed(printed: Option<String>) {
    if let Some(text) = printed
        && let Some(left_out) = LINES.allow()
    {
        tracing::warn!(text = %telemetry::error(&text), left_out, "PHP says");
    }
}

fn warn_of_old_bridge(version: &[u8]) {
    let version = std::str::from_utf8(version).ok().and_then(|text| text.trim().parse().ok());
    if version.is_none_or(|version: u32| version < BRIDGE_VERSION) {
        tracing::warn!(
            "the application's bridge is older than this worker and does not protect locked properties: install the \
             newest package diffyne/cluster"
        );
    }
}

fn bridge_post(
    head: &impl Serialize,
    payload: &[u8],
    mut headers: HeaderMap,
    address: &str,
    secure: bool,
) -> UpstreamRequest {
    headers.insert("x-http-method-override", HeaderValue::from_static(BRIDGE_VERB));
    // Serializing cannot fail: the head consists of text and of maps with text keys.
    let head = serde_json::to_vec(head).unwrap_or_default();
    let body = [head.as_slice(), b"\n", payload].concat();
    UpstreamRequest { path: BRIDGE_PATH.to_owned(), headers, body, address: address.to_owned(), secure }
}

/// Head and body of the bridge's reply.
fn read_bridge_reply(bytes: &[u8]) -> (BridgeReply, Vec<u8>) {
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let body = bytes.get(at + 1..).unwrap_or_default();
    match serde_json::from_slice::<BridgeReply>(&bytes[..at]) {
        Ok(reply) if reply.has_length_of(body) => (reply, body.to_vec()),
        // PHP died while it was printing.
        _ => (BridgeReply::broken("the application ended in the middle of its answer".to_owned()), Vec::new()),
    }
}

fn set_cookie_lines(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    lines.map(str::to_owned).collect()
}

/// The browser's headers and those that the gateway added, and what diffyne.js asks for. Moves the cookies from the head
/// into the headers.
fn headers(head: &mut BridgeRequest<'_>, kind: CallKind) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if kind == CallKind::Mount {
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    } else {
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert("x-requested-with", HeaderValue::from_static("XMLHttpRequest"));
    }
    let mut set = |name: &str, value: &str| {
        // From bytes: the value may contain more than ASCII.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes())) {
            headers.insert(name, value);
        }
    };
    for (name, value) in &head.headers {
        set(name, value);
    }
    set("host", head.host);
    let cookie = std::mem::take(&mut head.cookie);
    if !cookie.is_empty() {
        set("cookie", &cookie);
    }
    headers
}

impl Backend for UpstreamBackend {
    fn name(&self) -> &'static str {
        self.transport.name()
    }

    fn run(&self, job: Job) -> BoxFuture<'_, CallResult> {
        Box::pin(async move {
            if self.release.is_none() {
                return self.run_call(job).await;
            }
            let page = PageRelease::of(&job);
            let result = self.run_call(job).await;
            page.compare(self.release(), result)
        })
    }

    fn features(&self) -> Vec<String> {
        let route = match self.route() {
            CallRoute::Unknown => None,
            CallRoute::Bridge => Some("bridge".to_owned()),
            CallRoute::Endpoint => Some("endpoint".to_owned()),
        };
        let lifecycle = (self.route() != CallRoute::Endpoint).then(|| LIFECYCLE_FEATURE.to_owned());
        route.into_iter().chain(lifecycle).chain(locked_feature(&self.signer.load())).collect()
    }

    fn release(&self) -> Option<Arc<str>> {
        self.release.clone()
    }

    fn register_metrics(&self, registry: &Registry) {
        self.rendering.register_metrics(registry);
    }

    fn set_signer(&self, signer: &Signer) {
        self.signer.store(Arc::new(signer.clone()));
    }

    fn ready(&self) -> Result<(), String> {
        if self.route() == CallRoute::Unknown {
            return Err(format!("{} does not answer", self.transport.address()));
        }
        Ok(())
    }
}
