//! A web server that takes webhooks, or does not, as a test wants it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::ensure;
use diffyne_shared::listener::Stream;
use diffyne_shared::tls::ServerTls;
use hmac::{Hmac, Mac as _};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;

use crate::process::eventually;
use crate::redis::Certificates;
use crate::task::ConnectionTasks;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is taken.
    Take,
    /// It is taken, and the answer gets lost.
    TakeSilently,
    /// It is answered with this status.
    Status(u16),
    /// It is never answered.
    Hang,
    /// The connection ends at once.
    Refuse,
}

#[derive(Debug)]
struct State {
    answer: Answer,
    secret: String,
    /// What is refused for good: requests with this text in their body.
    refused: Option<String>,
    /// Requests since the answer was set.
    requests: usize,
    taken: Vec<Value>,
}

/// The server.
pub struct WebhookReceiver {
    url: String,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
    connections: Arc<ConnectionTasks>,
}

impl Drop for WebhookReceiver {
    fn drop(&mut self) {
        self.task.abort();
        self.connections.stop();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn status(status: u16) -> anyhow::Result<Response<Full<Bytes>>> {
    Ok(Response::builder().status(status).body(Full::default())?)
}

/// Whether a gateway has signed this with the secret.
fn is_signed(header: &str, body: &[u8], secret: &str) -> bool {
    let parts: Vec<(&str, &str)> = header.split(',').filter_map(|part| part.split_once('=')).collect();
    let time = parts.iter().find(|(name, _)| *name == "t").map_or("", |(_, value)| value);
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap_or_else(|_| panic!("any key will do"));
    mac.update([time.as_bytes(), b".", body].concat().as_slice());
    let expected = hex::encode(mac.finalize().into_bytes());
    parts.contains(&("v1", &expected))
}

async fn serve(request: Request<Incoming>, state: Arc<Mutex<State>>) -> anyhow::Result<Response<Full<Bytes>>> {
    let signature = request.headers()["x-diffyne-signature"].to_str()?.to_owned();
    assert_eq!(request.headers()["content-type"], "application/json");
    let body = request.into_body().collect().await?.to_bytes();
    if !is_signed(&signature, &body, &lock(&state).secret) {
        return status(403);
    }
    let events = serde_json::from_slice::<Value>(&body)?["events"].as_array().cloned().unwrap_or_default();
    let answer = {
        let mut state = lock(&state);
        state.requests += 1;
        if state.refused.as_ref().is_some_and(|text| body.windows(text.len()).any(|part| part == text.as_bytes())) {
            return status(422);
        }
        if matches!(state.answer, Answer::Take | Answer::TakeSilently) {
            state.taken.extend(events);
        }
        state.answer
    };
    match answer {
        Answer::Take => status(200),
        Answer::Status(code) => status(code),
        Answer::Hang => std::future::pending().await,
        Answer::TakeSilently | Answer::Refuse => anyhow::bail!("the connection ends"),
    }
}

impl WebhookReceiver {
    /// Starts a server that knows this secret.
    pub async fn start(answer: Answer, secret: &str) -> anyhow::Result<Self> {
        Self::serve(answer, secret, None).await
    }

    /// The same, behind TLS.
    pub async fn start_with_tls(answer: Answer, secret: &str, certificates: &Certificates) -> anyhow::Result<Self> {
        let tls = ServerTls::read(&certificates.certificate, &certificates.key).map_err(anyhow::Error::msg)?;
        Self::serve(answer, secret, Some(tls)).await
    }

    async fn serve(answer: Answer, secret: &str, tls: Option<ServerTls>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/hooks/diffyne?from=test", listener.local_addr()?);
        let state = State { answer, secret: secret.to_owned(), refused: None, requests: 0, taken: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let connections = Arc::new(ConnectionTasks::default());
        let (shared, tasks) = (Arc::clone(&state), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, tls) = (Arc::clone(&shared), tls.clone());
                tasks.spawn(async move {
                    let stream = match tls {
                        Some(tls) => tls.accept(Stream::Tcp(stream)).await?,
                        None => Stream::Tcp(stream),
                    };
                    let service = service_fn(move |request| serve(request, Arc::clone(&state)));
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?;
                    Ok(())
                });
            }
        });
        Ok(Self { url, state, task, connections })
    }

    /// The address for gateways.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Knows another secret from now on.
    pub fn set_secret(&self, secret: &str) {
        lock(&self.state).secret = secret.to_owned();
    }

    /// Refuses requests with this text in their body for good.
    pub fn refuse(&self, text: Option<&str>) {
        lock(&self.state).refused = text.map(str::to_owned);
    }

    /// Answers otherwise from now on.
    pub fn set(&self, answer: Answer) {
        let mut state = lock(&self.state);
        (state.answer, state.requests) = (answer, 0);
    }

    /// The same, and waits until a request has got that.
    pub fn answer(&self, answer: Answer) -> anyhow::Result<()> {
        self.set(answer);
        self.wait_until_asked(answer)
    }

    /// Waits until a request has come since the answer was set.
    pub fn wait_until_asked(&self, answer: Answer) -> anyhow::Result<()> {
        eventually(&format!("a request gets {answer:?}"), || lock(&self.state).requests > 0)
    }

    /// Everything that was taken, twice what came twice.
    pub fn taken(&self) -> Vec<Value> {
        lock(&self.state).taken.clone()
    }

    /// What was taken, each once.
    pub fn events(&self) -> Vec<Value> {
        let mut seen = std::collections::HashSet::new();
        self.taken().into_iter().filter(|event| seen.insert(event["id"].to_string())).collect()
    }

    /// Waits until there are so many events of a name.
    pub fn wait_for(&self, name: &str, count: usize) -> anyhow::Result<Vec<Value>> {
        let found = || self.events().into_iter().filter(|event| event["name"] == name).collect::<Vec<_>>();
        eventually(&format!("{count} events {name}"), || found().len() >= count)
            .map_err(|error| error.context(format!("{:#?}", self.events())))?;
        let found = found();
        ensure!(found.len() == count, "{count} events {name}: {found:#?}");
        Ok(found)
    }

    /// The numbers of the events of connections by gateway, as they were taken first.
    pub fn numbers(&self) -> BTreeMap<String, Vec<u64>> {
        let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for event in self.events().into_iter().filter(|event| event["connection"].is_string()) {
            let id = event["id"].as_str().unwrap_or_default().to_owned();
            let Some((gateway, number)) = id.rsplit_once('-') else { continue };
            assert_eq!(event["gateway"], gateway);
            numbers.entry(gateway.to_owned()).or_default().extend(number.parse::<u64>());
        }
        numbers
    }
}
