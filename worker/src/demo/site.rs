//! The web server of the demo's page, beside a worker. It is for a cluster on one machine, and listens on loopback.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use diffyne_shared::http_server::{self, ServerLimits};
use diffyne_shared::listener::Listener;
use diffyne_shared::rpc::Endpoint;
use diffyne_shared::settings::worker::WorkerSettings;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::control::{self, Control};
use super::page;
use crate::component::engine::Engine;
use crate::page::Script;

const LIMITS: ServerLimits =
    ServerLimits { connections: 64, header_timeout: Duration::from_secs(5), connection_life: Duration::from_mins(1) };
/// The header by which the page's own script shows itself: other sites may not set it without being asked first.
const OWN_HEADER: &str = "x-diffyne-demo";
/// The longest name of a process.
const NAME_BYTES_MAX: usize = 64;
/// A worker that kills itself answers first.
const LAST_ANSWER: Duration = Duration::from_millis(100);

/// The site.
struct Site {
    engine: Arc<Engine>,
    control: Option<Control>,
}

/// Serves the page until the program ends, where the settings say so.
pub(crate) async fn serve(engine: Arc<Engine>, settings: WorkerSettings) -> anyhow::Result<()> {
    let Some(address) = &settings.demo_listen else { return std::future::pending().await };
    anyhow::ensure!(
        address.is_local(),
        "DIFFYNE_DEMO_LISTEN = `{address}` is not allowed: it must be on this machine alone"
    );
    let listener = listen(address)?;
    tracing::info!(%address, "serving the demo's page");
    let site = Arc::new(Site { engine, control: settings.demo_control.map(Control) });
    http_server::serve(listener, "demo page", LIMITS, move |request| {
        let site = Arc::clone(&site);
        async move { site.respond(request).await }
    })
    .await;
    Ok(())
}

fn listen(address: &Endpoint) -> anyhow::Result<Listener> {
    Listener::bind(address).with_context(|| format!("DIFFYNE_DEMO_LISTEN: cannot listen on {address}"))
}

impl Site {
    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/") => text(StatusCode::OK, "text/html; charset=utf-8", self.page().await),
            (&Method::POST, "/demo/kill") if self.control.is_some() => self.kill(request).await,
            _ => plain(StatusCode::NOT_FOUND, "There is no such page."),
        }
    }

    async fn page(&self) -> String {
        let script = Script { source: "/_diffyne/client.js", socket: Some("/diffyne"), ..Script::default() };
        match &self.control {
            Some(control) => page::html_with_control(&self.engine, &script, control).await,
            None => page::html(&self.engine, &script).await,
        }
    }

    async fn kill(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if !is_from_this_machine(&request) || !request.headers().contains_key(OWN_HEADER) {
            return plain(StatusCode::FORBIDDEN, "Only the page itself may do this, at an address of this machine.");
        }
        let body = Limited::new(request.into_body(), NAME_BYTES_MAX).collect().await;
        let name = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
        let Some(process) = self.control.as_ref().and_then(|control| control.process(&name)) else {
            return plain(StatusCode::NOT_FOUND, "There is no such process now: it is being started again, perhaps.");
        };
        tracing::warn!(name, "a visitor of the demo's page kills a process");
        tokio::spawn(async move {
            tokio::time::sleep(LAST_ANSWER).await;
            if let Err(error) = control::kill(process) {
                tracing::warn!(%error, "the process was not killed");
            }
        });
        plain(StatusCode::OK, &format!("{name} is killed; it is started again at once"))
    }
}

/// Whether the address bar names this machine: a name of somebody else's may lead here, too.
fn is_from_this_machine(request: &Request<Incoming>) -> bool {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
    matches!(name, "127.0.0.1" | "localhost" | "[::1]")
}

fn plain(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    text(status, "text/plain; charset=utf-8", words.to_owned())
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
