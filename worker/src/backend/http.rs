//! Components of an application behind any HTTP/1.1 server: nginx with php-fpm, Octane, FrankenPHP, `php -S`.
//!
//! With the bridge loaded, calls go to it and mean the same as in the php backend. Without it they go to the
//! package's own AJAX endpoint, which trims typed text, turns empty text into null, and refuses listeners and empty
//! states; the log says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use diffyne_shared::rpc::CallKind;
use diffyne_shared::settings::http::HttpSettings;
use diffyne_shared::signing::Signer;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::{Value, json};

use super::translation::{Asked, Told, from_endpoint};
use super::{Backend, Finished, FinishedFuture, Job, request};
use crate::component::message::{Data, Verified};

/// The largest answer that is taken.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a connection may stay open without a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// How often the application is asked for its bridge while it has none.
const ASK_EVERY: Duration = Duration::from_secs(30);
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Where the bridge listens, below the application's root.
const BRIDGE_PATH: &str = "/_diffyne-bridge";
const BRIDGE_VERB: &str = "DIFFYNE";

/// How calls reach the components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Way {
    /// Nobody has answered yet.
    Unknown,
    /// By the bridge.
    Bridge,
    /// By the package's own endpoint.
    Endpoint,
}

/// The backend over an HTTP server.
pub struct HttpBackend {
    settings: HttpSettings,
    client: Client<HttpConnector, Full<Bytes>>,
    way: AtomicU8,
    /// Signs and verifies; can be exchanged while calls run.
    pub signer: ArcSwap<Signer>,
    debug: bool,
}

/// An HTTP answer, taken whole.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl HttpBackend {
    /// Calls this server, and asks it for its bridge. Must be called within a runtime, on which its task runs.
    pub fn start(settings: HttpSettings, signer: Signer, debug: bool) -> Arc<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(ASK_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(settings.connections_max)
            .build(connector);
        let backend = Arc::new(Self {
            settings,
            client,
            way: AtomicU8::new(Way::Unknown as u8),
            signer: ArcSwap::from_pointee(signer),
            debug,
        });
        let asking = Arc::downgrade(&backend);
        tokio::spawn(async move {
            while let Some(backend) = asking.upgrade() {
                if backend.way() == Way::Bridge {
                    return;
                }
                backend.ask().await;
                let pause = if backend.way() == Way::Unknown { Duration::from_secs(1) } else { ASK_EVERY };
                drop(backend);
                tokio::time::sleep(pause).await;
            }
        });
        backend
    }

    fn way(&self) -> Way {
        match self.way.load(Ordering::Relaxed) {
            1 => Way::Bridge,
            2 => Way::Endpoint,
            _ => Way::Unknown,
        }
    }

    /// Asks whether the application has loaded the bridge.
    async fn ask(&self) {
        let head = json!({"kind": "hello"});
        let way = match self.by_bridge(&head, b"", HeaderMap::new(), Instant::now() + ASK_TIMEOUT).await {
            Ok(answer) if answer.status == StatusCode::OK => Way::Bridge,
            Ok(_) => Way::Endpoint,
            Err(error) => {
                tracing::warn!(error, url = self.settings.url, "the application does not answer");
                return;
            }
        };
        let before = self.way.swap(way as u8, Ordering::Relaxed);
        if before == way as u8 {
            return;
        }
        if way == Way::Bridge {
            tracing::info!("the application has the bridge");
        } else {
            tracing::warn!(
                "the application has not loaded the bridge: typed text is trimmed, a cleared field may fail, listeners \
                 need #[Invokable] as well; see bridge.php"
            );
        }
    }

    async fn by_bridge(
        &self,
        head: &Value,
        payload: &[u8],
        headers: HeaderMap,
        deadline: Instant,
    ) -> Result<Answer, String> {
        let mut headers = headers;
        headers.insert("x-http-method-override", HeaderValue::from_static(BRIDGE_VERB));
        if let Ok(secret) = HeaderValue::from_str(&self.settings.bridge_secret) {
            headers.insert("x-diffyne-bridge", secret);
        }
        let body = [head.to_string().as_bytes(), b"\n", payload].concat();
        self.post(BRIDGE_PATH, headers, body, deadline).await
    }

    async fn post(&self, path: &str, headers: HeaderMap, body: Vec<u8>, deadline: Instant) -> Result<Answer, String> {
        let mut request = Request::builder().method(Method::POST).uri(format!("{}{path}", self.settings.url));
        if let Some(all) = request.headers_mut() {
            *all = headers;
            all.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            all.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
            all.insert("x-requested-with", HeaderValue::from_static("XMLHttpRequest"));
            // The gateway has checked where the page comes from.
            all.insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
        }
        let request = request.body(Full::from(body)).map_err(|error| error.to_string())?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| describe(&error))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
            Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
        };
        tokio::time::timeout_at(deadline.into(), exchange).await.unwrap_or_else(|_| Err("it took too long".to_owned()))
    }

    async fn attempt(&self, job: Job) -> Finished {
        let transport = job.client.transport;
        let verified = Data::read(&job.payload)
            .and_then(|data| Verified::of(&data, job.kind, transport, &self.signer.load()).map(Verified::into_owned));
        let verified = match verified {
            Ok(verified) => verified,
            Err(failure) => return Finished::refused(&failure, job.kind, transport),
        };
        let asked =
            Asked { kind: job.kind, transport, class: &verified.class, method: &verified.method, debug: self.debug };
        let headers = headers(&job);
        let is_bridge = self.way() == Way::Bridge;
        let answer = if is_bridge {
            self.by_bridge(&request::head(&job), &job.payload, headers, job.deadline).await
        } else {
            let path = if job.kind == CallKind::Mount { "/update/lazy" } else { "/update" };
            let path = format!("{}{path}", self.settings.prefix);
            self.post(&path, headers, job.payload, job.deadline).await
        };
        let (mut told, body) = match answer {
            Ok(answer) if is_bridge && answer.status == StatusCode::OK => {
                let told = from_bridge(&answer.body);
                with_cookies(told, &answer.headers)
            }
            Ok(answer) if is_bridge => {
                with_cookies((Told::refused(answer.status.as_u16()), Vec::new()), &answer.headers)
            }
            Ok(answer) => {
                let told = from_endpoint(answer.status.as_u16(), &answer.body);
                with_cookies(told, &answer.headers)
            }
            Err(error) if Instant::now() >= job.deadline => {
                tracing::error!(error, "a call took too long");
                (Told::late(), Vec::new())
            }
            Err(error) => (Told::broken(format!("the application cannot be reached: {error}")), Vec::new()),
        };
        told.about(&verified.class, &verified.member);
        told.finish(body, &asked)
    }
}

/// The whole chain of causes: the first alone says nothing.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Head and body of the bridge's answer.
fn from_bridge(bytes: &[u8]) -> (Told, Vec<u8>) {
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    match serde_json::from_slice(&bytes[..at]) {
        Ok(told) => (told, bytes.get(at + 1..).unwrap_or_default().to_vec()),
        Err(_) => (Told::broken("the bridge's answer cannot be read".to_owned()), Vec::new()),
    }
}

fn with_cookies((mut told, body): (Told, Vec<u8>), headers: &HeaderMap) -> (Told, Vec<u8>) {
    let lines = headers.get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    told.set_cookies(lines.map(str::to_owned).collect());
    (told, body)
}

/// The browser's headers, and ours about it.
fn headers(job: &Job) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    };
    let head = request::head(job);
    for pair in head["headers"].as_array().into_iter().flatten() {
        set(pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default());
    }
    set("host", head["host"].as_str().unwrap_or_default());
    set("x-forwarded-for", &job.client.ip);
    set("x-forwarded-proto", head["scheme"].as_str().unwrap_or_default());
    set("cookie", &request::cookie_header(&job.client.headers));
    headers
}

impl Backend for HttpBackend {
    fn name(&self) -> &'static str {
        "http"
    }

    fn run(&self, job: Job) -> FinishedFuture<'_> {
        Box::pin(self.attempt(job))
    }

    fn ready(&self) -> Result<(), String> {
        if self.way() == Way::Unknown { Err(format!("{} does not answer", self.settings.url)) } else { Ok(()) }
    }
}
