//! Everything replaced while it is used, and the storm of reconnects when a gateway dies.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use super::drops::publish_by_redis;
use super::fleet::Fleet;
use super::{Report, Scale, quantile};
use crate::client::{Client, increment};
use crate::cluster::{Cluster, Shape};
use crate::http::handshake;
use crate::process::{Signal, eventually};

/// Calls that were made and how they ended.
#[derive(Debug, Default)]
pub struct Calls {
    /// Calls that were sent.
    pub sent: AtomicU64,
    /// Calls that succeeded.
    pub succeeded: AtomicU64,
    /// Calls whose answer says why they failed.
    pub failed: AtomicU64,
    /// Calls without an answer: the connection broke.
    pub unanswered: AtomicU64,
    stop: AtomicBool,
}

/// A page that calls at a steady pace. It obeys `diffyne.disconnect` as the page's scripts do: at the time that the
/// message names it waits for the answer of its call, and takes a new connection.
async fn caller(url: String, every: Duration, calls: Arc<Calls>, times: Arc<Mutex<Vec<Duration>>>, index: usize) {
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    let mut page = None;
    let mut n: i64 = 0;
    while !calls.stop.load(Ordering::Relaxed) {
        let Some(connected) = page.as_mut().filter(|page: &&mut Page| !page.has_to_leave()) else {
            page = Page::connect(&url).await;
            if page.is_none() {
                tokio::time::sleep(Duration::from_millis(50 + index as u64 % 50)).await;
            }
            continue;
        };
        n += 1;
        let (id, started) = (format!("c{index}-{n}"), Instant::now());
        count(&calls.sent);
        match connected.call(n, &id).await {
            Ok(message) if message["data"]["s"] == true => {
                count(&calls.succeeded);
                times.lock().unwrap_or_else(PoisonError::into_inner).push(started.elapsed());
            }
            Ok(_) => {
                count(&calls.failed);
            }
            Err(_) => {
                count(&calls.unanswered);
                page = None;
                continue;
            }
        }
        if connected.listen_until(started + every).await.is_err() {
            page = None;
        }
    }
}

/// A page's connection, and when the gateway has asked it to leave.
struct Page {
    client: Client,
    leave: Option<Instant>,
}

impl Page {
    async fn connect(url: &str) -> Option<Self> {
        Some(Self { client: Client::connect(url).await.ok()?, leave: None })
    }

    fn has_to_leave(&self) -> bool {
        self.leave.is_some_and(|at| Instant::now() >= at)
    }

    /// Notes a goodbye.
    fn note(&mut self, message: &Value) {
        if message["event"] == "diffyne.disconnect" {
            let after = message["data"]["retryAfter"].as_u64().unwrap_or(0);
            self.leave = Some(Instant::now() + Duration::from_millis(after));
        }
    }

    /// Makes a call and waits for its answer.
    async fn call(&mut self, n: i64, id: &str) -> anyhow::Result<Value> {
        // A component of its own: gateways have one worker that they prefer for each.
        let component = id.split('-').next().unwrap_or_default();
        self.client.send("diffyne.call", increment(component, n, id)).await?;
        loop {
            let message: Value = serde_json::from_str(&self.client.receive_text().await?)?;
            self.note(&message);
            if message["data"]["requestId"] == id {
                return Ok(message);
            }
        }
    }

    /// Listens for a while; an error when the connection has ended.
    async fn listen_until(&mut self, until: Instant) -> anyhow::Result<()> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.client.receive_text_forever()).await {
                Err(_elapsed) => return Ok(()),
                Ok(text) => self.note(&serde_json::from_str(&text?)?),
            }
        }
    }
}

/// How long calls took.
#[derive(Debug, Clone, Copy)]
pub struct Quantiles {
    /// One in a hundred took longer.
    pub p99: Duration,
    /// None took longer.
    pub longest: Duration,
}

/// Pages that call until they are stopped.
pub struct Callers {
    /// What they counted.
    pub calls: Arc<Calls>,
    times: Arc<Mutex<Vec<Duration>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Callers {
    /// Starts pages, dealt out over the addresses, that make `per_second` calls together.
    pub fn start(urls: &[String], pages: usize, per_second: u64) -> Self {
        let (calls, times) = (Arc::new(Calls::default()), Arc::default());
        let every = Duration::from_secs(pages as u64).div_f64(per_second as f64);
        let tasks = (0..pages)
            .map(|index| {
                let url = urls[index % urls.len()].clone();
                tokio::spawn(caller(url, every, Arc::clone(&calls), Arc::clone(&times), index))
            })
            .collect();
        Self { calls, times, tasks }
    }

    /// The p99 of the answers since the last look, in a time.
    pub fn p99(&self) -> Duration {
        self.quantiles().p99
    }

    /// How long the answers since the last look took.
    pub fn quantiles(&self) -> Quantiles {
        let mut times = std::mem::take(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner));
        Quantiles { p99: quantile(&mut times, 0.99), longest: quantile(&mut times, 1.0) }
    }

    /// Waits for the last answers. A panic of a page is an error.
    pub async fn stop(self) -> anyhow::Result<Arc<Calls>> {
        self.calls.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.context("a calling page panicked")?;
        }
        Ok(self.calls)
    }
}

/// "We deployed, and clicks failed." Every worker and every gateway, one after the other.
pub async fn rolling_deploy(scale: Scale, seed: u64) -> anyhow::Result<Report> {
    let rate = scale.pick(40, 100);
    let shape = Shape::new(3, 2).with_redis().with_nginx().gateway("--drain-rate", &rate.to_string());
    let mut cluster = Cluster::start(shape)?;
    let url = cluster.nginx_url();
    let listeners = scale.pick(60, 300);
    let fleet = Fleet::start(std::slice::from_ref(&url), listeners, None, seed).await?;
    fleet.forget_opened();
    let callers = Callers::start(&[url], 40, 200);
    let stop = Arc::new(AtomicBool::new(false));
    let redis = cluster.redis_url();
    let count = scale.seconds(16, 50).as_secs() * 20;
    let sending = tokio::spawn(async move { publish_by_redis(&redis, count, 20).await });
    for index in 0..cluster.workers.len() {
        cluster.workers[index].process.signal(Signal::Term)?;
        let ended = cluster.workers[index].process.wait()?;
        ensure!(ended.success(), "a worker did not end well");
        cluster.restart_worker(index)?;
        let back = |cluster: &Cluster| {
            cluster.gateways.iter().all(|gateway| gateway.health().is_ok_and(|health| health["workers"] == 2))
        };
        tokio::task::block_in_place(|| eventually("the new worker is called", || back(&cluster)))?;
    }
    for index in 0..cluster.gateways.len() {
        cluster.gateways[index].process.signal(Signal::Term)?;
        let ended = tokio::task::block_in_place(|| cluster.gateways[index].process.wait())?;
        ensure!(ended.success(), "a gateway did not end well");
        cluster.restart_gateway(index)?;
        let node = &cluster.gateways[index];
        tokio::task::block_in_place(|| {
            eventually("the new gateway is ready", || node.ready().is_ok_and(|status| status == 200))
        })?;
    }
    sending.await??;
    stop.store(true, Ordering::Relaxed);
    let calls = callers.stop().await?;
    fleet
        .wait("everybody has the last one", Duration::from_secs(30), |fleet| fleet.have(count - 1) == listeners)
        .await?;
    let most = fleet.most_opened_a_second();
    let mut report = fleet.finish("2 workers and 3 gateways replaced one by one at 200 calls/s", count).await?;
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (sent, succeeded) = (get(&calls.sent), get(&calls.succeeded));
    report.more = format!(
        "{sent} calls, {} failed; at most {most} of {rate} reconnects in a second; {}",
        sent - succeeded,
        report.more
    );
    ensure!(sent == succeeded, "{report}; failed {}, unanswered {}", get(&calls.failed), get(&calls.unanswered));
    // A second holds one more at its edge.
    ensure!(most <= rate as usize + rate as usize / 10 + 1, "{report}");
    Ok(report)
}

/// How the page's scripts wait before they come back: a random part of this, and twice as much the next time.
const STORM_FIRST_MS: u64 = 1_000;
/// A test does not wait as long as a page would.
const STORM_LAST_MS: u64 = 10_000;

/// A connection that does nothing but come back, with as little memory as that needs.
async fn idle(urls: Arc<Vec<String>>, mut turn: usize, connected: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let request = handshake("/", &[]);
    let mut ceiling = STORM_FIRST_MS;
    while !stop.load(Ordering::Relaxed) {
        let address = urls[turn % urls.len()].trim_start_matches("ws://").trim_end_matches('/').to_owned();
        turn += 1;
        let opened = async {
            let mut stream = tokio::net::TcpStream::connect(&address).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut buffer = [0; 512];
            let read = stream.read(&mut buffer).await?;
            let accepted = buffer[..read].starts_with(b"HTTP/1.1 101");
            if accepted { Ok(stream) } else { Err(std::io::Error::other("refused")) }
        };
        if let Ok(Ok(mut stream)) = tokio::time::timeout(Duration::from_secs(5), opened).await {
            connected.fetch_add(1, Ordering::Relaxed);
            ceiling = STORM_FIRST_MS;
            let mut buffer = [0; 256];
            while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {}
            connected.fetch_sub(1, Ordering::Relaxed);
        }
        // Full jitter, as the scripts do.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..ceiling))).await;
        ceiling = (ceiling * 2).min(STORM_LAST_MS);
    }
}

/// "A server died, and the others were overrun."
pub async fn a_reconnect_storm(scale: Scale, _seed: u64) -> anyhow::Result<Report> {
    let total: u64 = scale.pick(1_500, 10_000);
    let mut cluster = Cluster::start(Shape::new(3, 1).with_redis().with_default_limits())?;
    let urls = Arc::new((0..3).map(|index| cluster.url(index)).collect::<Vec<_>>());
    let (connected, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut tasks = Vec::new();
    for index in 0..total {
        tasks.push(tokio::spawn(idle(Arc::clone(&urls), index as usize, Arc::clone(&connected), Arc::clone(&stop))));
        if index % 120 == 119 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let wait = async |limit: Duration| -> anyhow::Result<Duration> {
        let started = Instant::now();
        while connected.load(Ordering::Relaxed) < total {
            ensure!(started.elapsed() < limit, "{} of {total} are connected", connected.load(Ordering::Relaxed));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(started.elapsed())
    };
    wait(Duration::from_mins(1)).await?;
    let callers = Callers::start(&urls[..2], 20, 100);
    tokio::time::sleep(scale.seconds(3, 10)).await;
    let quiet = callers.p99();
    cluster.gateways[2].process.signal(Signal::Kill)?;
    cluster.gateways[2].process.wait()?;
    // Its connections end as the kernel tells of it.
    let before = Instant::now();
    while connected.load(Ordering::Relaxed) == total && before.elapsed() < Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = wait(Duration::from_secs(15)).await.context("not all are back within 15 s")?;
    let storm = callers.p99();
    let calls = callers.stop().await?;
    stop.store(true, Ordering::Relaxed);
    tasks.iter().for_each(JoinHandle::abort);
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let report = Report {
        what: format!("{total} idle connections and one of three gateways killed"),
        sent: get(&calls.sent),
        clients: total,
        delivered: get(&calls.succeeded),
        lost: get(&calls.unanswered),
        reported: get(&calls.failed),
        doubled: 0,
        more: format!(
            "all back after {took:.1?}; p99 of 100 calls/s on the others {quiet:.1?} before, {storm:.1?} meanwhile"
        ),
    };
    ensure!(get(&calls.sent) == get(&calls.succeeded), "{report}");
    // A quiet p99 of a millisecond is noise beside other tests.
    ensure!(storm < quiet.max(Duration::from_millis(scale.pick(50, 3))) * 3, "{report}");
    Ok(report)
}
