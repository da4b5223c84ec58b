//! Components of an application that somebody else runs: behind an HTTP server ([`super::http`]) or in php-fpm
//! ([`super::fastcgi`]).
//!
//! With the bridge loaded, calls go to it and mean the same as in the php backend. Without it they go to the
//! package's own AJAX endpoint, which trims typed text, turns empty text into null, and refuses listeners and empty
//! states; the log says so.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use diffyne_shared::rpc::CallKind;
use diffyne_shared::settings::application::{ApplicationSettings, ServerSettings};
use diffyne_shared::signing::Signer;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::json;

use super::fastcgi::FastCgi;
use super::http::Http;
use super::names::KnownNames;
use super::translation::{Asked, Told, from_endpoint};
use super::{Backend, Finished, FinishedFuture, Job, request};

/// The largest answer that is taken.
pub(super) const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long connecting may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the application is asked for its bridge while it has none.
const ASK_EVERY: Duration = Duration::from_secs(30);
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Where the bridge listens, below the application's root.
const BRIDGE_PATH: &str = "/_diffyne-bridge";
const BRIDGE_VERB: &str = "DIFFYNE";
/// The first bridge that takes locked values only where a signature covers them.
const BRIDGE_VERSION: u32 = 2;

/// One request to the application.
pub(super) struct Post {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// The browser's address.
    pub(super) address: String,
    /// Whether the page came by https. The host is among the headers.
    pub(super) secure: bool,
}

/// Its answer, taken whole.
pub(crate) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

pub(super) type Exchange<'a> = Pin<Box<dyn Future<Output = Result<Answer, String>> + Send + 'a>>;

/// How requests reach the application.
pub(super) trait Carrier: Send + Sync {
    /// For people and the hello.
    fn name(&self) -> &'static str;
    /// Where the application is.
    fn place(&self) -> &str;
    /// Sends a request and takes the whole answer.
    fn post(&self, post: Post) -> Exchange<'_>;
}

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

/// The backend over an application's own server.
pub struct ApplicationBackend {
    settings: ApplicationSettings,
    carrier: Box<dyn Carrier>,
    way: AtomicU8,
    /// Signs and verifies; can be exchanged while calls run.
    signer: ArcSwap<Signer>,
    debug: bool,
    known: KnownNames,
}

impl ApplicationBackend {
    /// Calls this application, and asks it for its bridge. Must be called within a runtime, on which its task runs.
    pub fn start(settings: ApplicationSettings, signer: Signer, debug: bool) -> Arc<Self> {
        let carrier: Box<dyn Carrier> = match &settings.server {
            ServerSettings::Http(http) => Box::new(Http::new(http)),
            ServerSettings::FastCgi(fast_cgi) => Box::new(FastCgi::new(fast_cgi)),
        };
        let backend = Arc::new(Self {
            settings,
            carrier,
            way: AtomicU8::new(Way::Unknown as u8),
            signer: ArcSwap::from_pointee(signer),
            debug,
            known: KnownNames::default(),
        });
        let asking = Arc::downgrade(&backend);
        tokio::spawn(async move {
            while let Some(backend) = asking.upgrade() {
                if backend.way() != Way::Bridge {
                    backend.ask().await;
                }
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
        let post = to_bridge(&head, b"", HeaderMap::new(), "127.0.0.1", false);
        let way = match self.post(post, Instant::now() + ASK_TIMEOUT).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                let version = std::str::from_utf8(&answer.body).ok().and_then(|text| text.trim().parse().ok());
                if version.is_none_or(|version: u32| version < BRIDGE_VERSION) && self.way() != Way::Bridge {
                    tracing::warn!(
                        "the application's bridge is older than this worker and does not protect locked properties: copy the newest bridge.php"
                    );
                }
                Way::Bridge
            }
            Ok(answer) if answer.status.is_server_error() => {
                tracing::warn!(status = %answer.status, application = self.carrier.place(), "the application fails");
                return;
            }
            Ok(_) => Way::Endpoint,
            Err(error) => {
                tracing::warn!(error, application = self.carrier.place(), "the application does not answer");
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
                 need #[Invokable] as well, locked properties are the client's to choose; see bridge.php"
            );
        }
    }

    async fn post(&self, mut post: Post, deadline: Instant) -> Result<Answer, String> {
        let headers = &mut post.headers;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert("x-requested-with", HeaderValue::from_static("XMLHttpRequest"));
        // The gateway has checked where the page comes from.
        headers.insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
        // By it the bridge knows us; it leaves the events of our own requests to us.
        if let Ok(secret) = HeaderValue::from_str(&self.settings.bridge_secret) {
            headers.insert("x-diffyne-bridge", secret);
        }
        let exchange = self.carrier.post(post);
        tokio::time::timeout_at(deadline.into(), exchange).await.unwrap_or_else(|_| Err("it took too long".to_owned()))
    }

    async fn attempt(&self, job: Job) -> Finished {
        let verified = match job.verify(&self.signer.load()) {
            Ok(verified) => verified,
            Err(refused) => return *refused,
        };
        let (kind, transport) = (job.kind, job.client.transport);
        let request_id = job.request_id.clone();
        let asked = Asked {
            kind,
            transport,
            class: &verified.class,
            method: &verified.method,
            request_id: &request_id,
            debug: self.debug,
            known: &self.known,
        };
        let is_bridge = self.way() == Way::Bridge;
        let mut head = request::head(&job, &verified.trust);
        let (headers, secure) = (headers(&mut head), head.scheme == "https");
        let post = if is_bridge {
            to_bridge(&head, &job.payload, headers, &job.client.ip, secure)
        } else if kind == CallKind::Grant {
            tracing::warn!("who may hear an event is asked of the bridge, which the application has not loaded");
            return Told::broken("the application has not loaded the bridge".to_owned()).finish(Vec::new(), &asked);
        } else {
            let path = if kind == CallKind::Mount { "/update/lazy" } else { "/update" };
            let path = format!("{}{path}", self.settings.prefix);
            let body = request::for_endpoint(job.payload);
            Post { path, headers, body, address: job.client.ip, secure }
        };
        let (mut told, body) = match self.post(post, job.deadline).await {
            Ok(answer) if is_bridge && answer.status == StatusCode::OK => {
                let told = from_bridge(&answer.body);
                with_cookies(told, &answer.headers)
            }
            Ok(answer) if is_bridge => {
                if answer.status == StatusCode::NOT_FOUND {
                    // Another release of the application, without it? It is asked again.
                    self.way.store(Way::Endpoint as u8, Ordering::Relaxed);
                }
                with_cookies((Told::refused(answer.status.as_u16()), Vec::new()), &answer.headers)
            }
            Ok(answer) => {
                let (mut told, body) = from_endpoint(answer.status.as_u16(), &answer.body);
                told.ran(&verified.class, &verified.method);
                with_cookies((told, body), &answer.headers)
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

fn to_bridge(head: &impl Serialize, payload: &[u8], mut headers: HeaderMap, address: &str, secure: bool) -> Post {
    headers.insert("x-http-method-override", HeaderValue::from_static(BRIDGE_VERB));
    // Maps with text for keys, and no more.
    let head = serde_json::to_vec(head).unwrap_or_default();
    let body = [head.as_slice(), b"\n", payload].concat();
    Post { path: BRIDGE_PATH.to_owned(), headers, body, address: address.to_owned(), secure }
}

/// Head and body of the bridge's answer.
fn from_bridge(bytes: &[u8]) -> (Told, Vec<u8>) {
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let body = bytes.get(at + 1..).unwrap_or_default();
    match serde_json::from_slice::<Told>(&bytes[..at]) {
        // A program that died while it was printing is no answer.
        Ok(told) if told.is_whole(body) => (told, body.to_vec()),
        _ => (Told::broken("the application ended in the middle of its answer".to_owned()), Vec::new()),
    }
}

fn with_cookies((mut told, body): (Told, Vec<u8>), headers: &HeaderMap) -> (Told, Vec<u8>) {
    let lines = headers.get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    told.set_cookies(lines.map(str::to_owned).collect());
    (told, body)
}

/// The browser's headers, and ours about it. The cookies move from the head into them.
fn headers(head: &mut request::Head<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set = |name: &str, value: &str| {
        // From bytes: text may hold more than ASCII.
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

impl Backend for ApplicationBackend {
    fn name(&self) -> &'static str {
        self.carrier.name()
    }

    fn run(&self, job: Job) -> FinishedFuture<'_> {
        Box::pin(self.attempt(job))
    }

    fn features(&self) -> Vec<String> {
        let way = match self.way() {
            Way::Unknown => None,
            Way::Bridge => Some("bridge".to_owned()),
            Way::Endpoint => Some("endpoint".to_owned()),
        };
        way.into_iter().chain(super::locked_feature(&self.signer.load())).collect()
    }

    fn set_signer(&self, signer: &Signer) {
        self.signer.store(Arc::new(signer.clone()));
    }

    fn ready(&self) -> Result<(), String> {
        if self.way() == Way::Unknown { Err(format!("{} does not answer", self.carrier.place())) } else { Ok(()) }
    }
}
