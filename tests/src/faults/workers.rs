//! Workers that freeze, come and go, answer garbage, answer twice or for calls that nobody made; and a listener that
//! dispatches the event that it hears.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use diffyne_shared::rpc::{self, Frame, FrameReader, Hello, Outcome, Pong, Reply};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::deploys::Callers;
use super::{Report, Scale};
use crate::client::{Client, call, probe};
use crate::cluster::{Cluster, Shape};
use crate::process::{Signal, eventually};

/// An answer that a gateway passes on.
const GOOD_ANSWER: &[u8] = br#"{"s":true,"c":{"i":"x","p":[],"st":{},"f":"","sig":""}}"#;

/// On a busy machine; how soon it is on a quiet one, `workers::a_frozen_worker_is_left_out_within_the_health_interval` says.
const LEFT_OUT_WITHIN: Duration = Duration::from_secs(5);
/// A wave of reactions has ended when none came in four of these.
const QUIET_STEP: Duration = Duration::from_millis(500);

/// What is wrong with a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Misbehaviour {
    /// It answers with what is no JSON.
    Garbage,
    /// It answers each call twice, and calls that nobody made.
    Twice,
    /// It sends what is no frame.
    Noise,
}

/// A worker that says hello and then misbehaves. `met` counts the calls that it got.
async fn misbehave(mut stream: TcpStream, misbehaviour: Misbehaviour, met: Arc<AtomicU64>) -> anyhow::Result<()> {
    let mut reader = FrameReader::new(4 << 20);
    loop {
        let mut out = Vec::new();
        while let Some(frame) = reader.next_frame()? {
            match frame {
                Frame::Hello(_) => rpc::encode(&Frame::Hello(hello()), &mut out)?,
                Frame::Ping(_) => rpc::encode(&Frame::Pong(Pong::default()), &mut out)?,
                Frame::Call(call) => {
                    met.fetch_add(1, Ordering::Relaxed);
                    out.extend(misbehaviour.replies(call.id)?);
                }
                _ => {}
            }
        }
        stream.write_all(&out).await?;
        if reader.fill(&mut stream).await? == 0 {
            return Ok(());
        }
    }
}

fn hello() -> Hello {
    Hello {
        versions: rpc::VERSIONS,
        features: Vec::new(),
        id: "mischief".to_owned(),
        capacity: 256,
        backend: "mischief".to_owned(),
        ..Hello::default()
    }
}

impl Misbehaviour {
    /// What the worker sends for a call.
    fn replies(self, id: u64) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut reply =
            |id, data: &[u8]| rpc::encode(&Frame::Reply(Reply::new(id, Outcome::Ok, 200, data)), &mut bytes);
        match self {
            Self::Garbage => reply(id, b"{\"s\":true, this is not JSON \xff")?,
            Self::Twice => {
                for id in [id, id, id ^ 0xffff_0000_0000, u64::MAX] {
                    reply(id, GOOD_ANSWER)?;
                }
            }
            Self::Noise => bytes.extend([0, 0, 0, 9, 0xc1, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5]),
        }
        Ok(bytes)
    }
}

fn start(misbehaviour: Misbehaviour, listener: TcpListener) -> (JoinHandle<()>, Arc<AtomicU64>) {
    let met = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&met);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // How it ends is the gateway's affair.
            tokio::spawn(misbehave(stream, misbehaviour, Arc::clone(&counted)));
        }
    });
    (task, met)
}

/// "One of our workers went mad." Beside a good one: its calls are answered, and the good one's are not harmed.
pub async fn workers_talk_nonsense(scale: Scale, _seed: u64) -> anyhow::Result<Report> {
    let mut words = Vec::new();
    let mut report = Report {
        what: "workers that answer garbage, twice, for nobody, or in no frames".to_owned(),
        ..Report::default()
    };
    for misbehaviour in [Misbehaviour::Garbage, Misbehaviour::Twice, Misbehaviour::Noise] {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mad = listener.local_addr()?;
        let (task, met) = start(misbehaviour, listener);
        let mut cluster = Cluster::start_unready(Shape { gateways: 0, ..Shape::new(1, 1) })?;
        let both = format!("127.0.0.1:{},{mad}", cluster.workers[0].port);
        cluster.shape.gateway_flags.extend([
            "--workers".to_owned(),
            both,
            "--call-timeout".to_owned(),
            "5s".to_owned(),
        ]);
        let gateway = cluster.start_gateway()?;
        eventually("both are reached", || gateway.health().is_ok_and(|health| health["workers"] == 2))?;
        cluster.gateways.push(gateway);
        let callers = Callers::start(&[cluster.url(0)], 10, 200);
        tokio::time::sleep(scale.seconds(3, 15)).await;
        let calls = callers.stop().await?;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        report.sent += get(&calls.sent);
        report.delivered += get(&calls.succeeded);
        report.reported += get(&calls.failed);
        report.lost += get(&calls.unanswered);
        let met = met.load(Ordering::Relaxed);
        words.push(format!("{misbehaviour:?}: {met} calls met it"));
        let node = &cluster.gateways[0];
        ensure!(met > 0 && get(&calls.unanswered) == 0, "{misbehaviour:?}: {met} met it, {calls:?}");
        if misbehaviour == Misbehaviour::Twice {
            ensure!(
                get(&calls.failed) == 0 && node.metric("diffyne_gateway_stray_replies_total")? >= met as f64,
                "{calls:?}"
            );
        } else {
            // The breaker lets a few through, and then one now and then.
            ensure!(
                get(&calls.failed) <= met && met < get(&calls.sent) / 4,
                "{misbehaviour:?}: {met} met it, {calls:?}"
            );
            ensure!(
                node.process.output().contains("it gets no calls for a while") || misbehaviour == Misbehaviour::Noise,
                "no breaker"
            );
        }
        task.abort();
    }
    report.clients = 10;
    report.more = words.join(", ");
    Ok(report)
}

/// "A worker hung, and everything got slow." One is frozen, one comes and goes; a third works.
pub async fn workers_freeze_and_flap(scale: Scale, _seed: u64) -> anyhow::Result<Report> {
    let shape = Shape::new(1, 3).with_redis().gateway("--call-timeout", "3s").gateway("--worker-health", "500ms");
    let mut cluster = Cluster::start(shape)?;
    let callers = Callers::start(&[cluster.url(0)], 20, 200);
    let until = Instant::now() + scale.seconds(8, 40);
    let mut flaps = 0;
    cluster.workers[0].process.signal(Signal::Stop)?;
    let frozen = Instant::now();
    eventually("the frozen one is left out", || {
        cluster.gateways[0].health().is_ok_and(|health| health["workers"] != 3)
    })?;
    let left_out = frozen.elapsed();
    ensure!(left_out < LEFT_OUT_WITHIN, "left out after {left_out:?}");
    while Instant::now() < until {
        cluster.workers[1].process.signal(Signal::Kill)?;
        cluster.workers[1].process.wait()?;
        cluster.restart_worker(1)?;
        flaps += 1;
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    cluster.workers[0].process.signal(Signal::Cont)?;
    eventually("all three are called again", || {
        cluster.gateways[0].health().is_ok_and(|health| health["workers"] == 3)
    })?;
    let calls = callers.stop().await?;
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let report = Report {
        what: format!("three workers: one frozen, one killed and started {flaps} times"),
        sent: get(&calls.sent),
        clients: 20,
        delivered: get(&calls.succeeded),
        lost: get(&calls.unanswered),
        reported: get(&calls.failed),
        doubled: 0,
        more: format!("the frozen one left out after {left_out:.1?}"),
    };
    // What a worker had when it died or froze is told; nothing else fails.
    ensure!(get(&calls.unanswered) == 0 && get(&calls.failed) <= 20 * (flaps + 2), "{report}");
    Ok(report)
}

/// "A page reacts to a message by sending it again." On many pages at once.
pub async fn a_listener_dispatches_what_it_hears(scale: Scale, _seed: u64) -> anyhow::Result<Report> {
    let cluster = Cluster::start(Shape::new(2, 1).with_redis())?;
    let pages = scale.pick(30, 200);
    let reactions = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for index in 0..pages {
        let mut page = Client::connect(&cluster.url(index % 2)).await?;
        page.subscribe("message-sent").await?;
        let reactions = Arc::clone(&reactions);
        tasks.push(tokio::spawn(async move {
            while let Ok(text) = page.receive_text_forever().await {
                let message: Value = serde_json::from_str(&text).unwrap_or_default();
                if message["event"] != "diffyne.event" {
                    continue;
                }
                let cause = json!({"id": message["data"]["id"], "depth": message["data"]["depth"]});
                let mut again = call("App\\Tests\\Probe", "p", "announce", json!([0]), json!({"runs": 0}), "r");
                again["cause"] = cause;
                reactions.fetch_add(1, Ordering::Relaxed);
                if page.send("diffyne.call", again).await.is_err() {
                    return;
                }
            }
        }));
    }
    // Depth 2 is the deepest that leaves: with P pages one message makes P + P² broadcasts at most, and then it ends.
    let mut sender = Client::connect(&cluster.url(0)).await?;
    sender.send("diffyne.call", probe("p", "announce", json!([1]), "r")).await?;
    let (mut before, mut quiet, started) = (u64::MAX, 0, Instant::now());
    while quiet < 4 {
        ensure!(started.elapsed() < Duration::from_mins(2), "it goes on: {before} reactions");
        tokio::time::sleep(QUIET_STEP).await;
        let now = reactions.load(Ordering::Relaxed);
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
    }
    tasks.iter().for_each(JoinHandle::abort);
    let held: f64 = (0..2)
        .map(|index| cluster.gateways[index].metric("diffyne_gateway_broadcasts_held_total{reason=\"depth\"}"))
        .sum::<anyhow::Result<f64>>()?;
    let published: f64 = (0..2)
        .map(|index| cluster.gateways[index].metric("diffyne_gateway_broadcasts_published_total"))
        .sum::<anyhow::Result<f64>>()?;
    ensure!(held > 0.0, "nothing was held back");
    let bound = (1 + pages + pages * pages) as f64;
    ensure!(published <= bound, "{published} broadcasts, more than {bound}");
    sender.send("diffyne.call", probe("p", "announce", json!([2]), "r2")).await?;
    Ok(Report {
        what: format!("a listener dispatches its own event again, on {pages} pages"),
        sent: 1,
        clients: pages as u64,
        delivered: before,
        more: format!(
            "{published} broadcasts left, {held} stayed in their response, then it was quiet, after {:.1?}",
            started.elapsed()
        ),
        ..Report::default()
    })
}
