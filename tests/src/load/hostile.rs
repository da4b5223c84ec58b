//! One client sends nothing but one kind of message, at its largest and as fast as the default limits permit: what a
//! byte of it costs the gateway, and how long the pings of another client on the same thread have to wait.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Socket, client_frame};
use crate::client::{increment, probe};
use crate::cluster::{Cluster, Shape};

/// The largest message, in bytes.
const MESSAGE_BYTES: usize = 1_048_576;
/// Broadcasts in the history that a resume goes through.
const HISTORY: usize = 10_000;
/// Filters of one event.
const FILTERS: usize = 100;
/// The default `DIFFYNE_MESSAGE_RATE`: a second, and at once.
const MESSAGES: (u32, u32) = (200, 1000);
/// The default `DIFFYNE_FRAME_RATE`.
const FRAMES: (u32, u32) = (1000, 5000);

/// A kind of message.
pub struct Kind {
    /// What it is.
    pub name: &'static str,
    /// Sent once before.
    before: Vec<u8>,
    /// Sent again and again.
    frame: Vec<u8>,
    /// A second, and at once.
    rate: (u32, u32),
}

/// What one kind did.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Frames sent.
    pub sent: u64,
    /// Bytes sent.
    pub up: u64,
    /// Bytes that came back.
    pub down: u64,
    /// CPU seconds of the gateway, those for the other client taken off.
    pub cpu: f64,
    /// The other client's round trips, in milliseconds: median and longest.
    pub median_ms: f64,
    /// The longest of them.
    pub longest_ms: f64,
}

fn message(event: &str, data: &Value) -> Vec<u8> {
    client_frame(&json!({"event": event, "data": data}).to_string())
}

fn filler(frame_of: impl Fn(&str) -> String) -> Vec<u8> {
    let room = MESSAGE_BYTES - frame_of("").len();
    client_frame(&frame_of(&"x".repeat(room)))
}

fn many(each: impl Fn(usize) -> String, separator: &str, bytes: usize) -> String {
    let mut out = String::new();
    for index in 0.. {
        let next = each(index);
        if out.len() + next.len() + separator.len() > bytes {
            break;
        }
        if index > 0 {
            out.push_str(separator);
        }
        out.push_str(&next);
    }
    out
}

/// Every kind that is tried; `place` is where the history began.
fn kinds(place: &Value) -> Vec<Kind> {
    let kind = |name, frame, rate| Kind { name, before: Vec::new(), frame, rate };
    let control = |first: u8, length: usize| {
        let mut frame = vec![first, 0x80 | length as u8, 0, 0, 0, 0];
        frame.resize(6 + length, b'x');
        frame
    };
    let filters: Vec<Value> = (0..FILTERS).map(|i| json!({"name": "message-sent", "match": {"nope": i}})).collect();
    let wide: Vec<Value> =
        (0..FILTERS).map(|i| json!({"name": format!("e{i}"), "match": {"a": vec![1; 300]}})).collect();
    let resume = |events: &[Value]| json!({"epoch": place["epoch"], "offset": place["offset"], "events": events, "requestId": "r"});
    let unknown = many(|i| format!("\"{i:x}\":1"), ",", MESSAGE_BYTES - 2);
    let deep = (MESSAGE_BYTES - 60) / 2;
    let mut large = increment("diffyne-a", 0, "r");
    large["state"]["ballast"] = json!("x".repeat(MESSAGE_BYTES - 1000));
    vec![
        kind("pings (control frames)", control(0x89, 125), FRAMES),
        kind("pongs", control(0x8a, 0), FRAMES),
        Kind { before: control(0x01, 0), ..kind("empty fragments", control(0x00, 0), FRAMES) },
        kind("diffyne.ping", message("diffyne.ping", &json!({})), MESSAGES),
        kind(
            "diffyne.ping of 1 MiB",
            filler(|x| format!(r#"{{"event":"diffyne.ping","data":{{"x":"{x}"}}}}"#)),
            MESSAGES,
        ),
        kind("an event that is not there", filler(|x| format!(r#"{{"event":"{x}","data":{{}}}}"#)), MESSAGES),
        kind("no JSON", client_frame(&"[1,".repeat(MESSAGE_BYTES / 3)), MESSAGES),
        kind("unknown fields", client_frame(&format!("{{{unknown}}}")), MESSAGES),
        kind("a list", client_frame(&format!("[{}]", many(|_| "1".to_owned(), ",", MESSAGE_BYTES - 2))), MESSAGES),
        kind(
            "deep nesting",
            client_frame(&format!(
                r#"{{"event":"diffyne.call","data":{{"state":{}1{}}}}}"#,
                "[".repeat(deep),
                "]".repeat(deep)
            )),
            MESSAGES,
        ),
        kind("call, small", message("diffyne.call", &increment("diffyne-a", 0, "r")), MESSAGES),
        kind("call of 1 MiB", message("diffyne.call", &large), MESSAGES),
        kind(
            "call, a long cause",
            {
                let mut data = increment("diffyne-a", 0, "r");
                data["cause"] = json!({"id": "x".repeat(MESSAGE_BYTES - 1000), "depth": 0});
                message("diffyne.call", &data)
            },
            MESSAGES,
        ),
        kind("subscribe, 100 wide filters", message("diffyne.subscribe", &json!({"events": wide})), MESSAGES),
        kind(
            "subscribe, too many",
            client_frame(&format!(
                r#"{{"event":"diffyne.subscribe","data":{{"events":[{}]}}}}"#,
                many(|_| r#"{"name":"a"}"#.to_owned(), ",", MESSAGE_BYTES - 100)
            )),
            MESSAGES,
        ),
        kind("unsubscribe", message("diffyne.unsubscribe", &json!({"events": wide})), MESSAGES),
        Kind {
            before: message("diffyne.subscribe", &json!({"events": filters})),
            ..kind("resume, 100 filters", message("diffyne.resume", &resume(&filters[..1])), MESSAGES)
        },
        kind("resume, everything", message("diffyne.resume", &resume(&[json!({"name": "message-sent"})])), MESSAGES),
    ]
}

/// Runs all kinds, or those whose name contains `only`; a row each.
pub fn run(seconds: u64, only: &str, mut tell: impl FnMut(&str, &Row)) -> anyhow::Result<()> {
    let shape = Shape::new(1, 1)
        .gateway("--threads", "1")
        .gateway("--history-length", &HISTORY.to_string())
        .gateway("--handshake-rate", "1000/s:2000")
        .gateway("--message-rate", &format!("{}/s:{}", MESSAGES.0, MESSAGES.1))
        .gateway("--call-rate", "100/s:500")
        .gateway("--frame-rate", &format!("{}/s:{}", FRAMES.0, FRAMES.1))
        .gateway("--connection-rate", "4MiB/s:16MiB");
    let cluster = Cluster::start(shape)?;
    let target = SocketAddr::from(([127, 0, 0, 1], cluster.gateways[0].port));
    let place = fill_history(target)?;
    let process = &cluster.gateways[0].process;
    let quiet = {
        let before = process.cpu_seconds()?;
        let watched = watch(target, Duration::from_secs(seconds), &AtomicBool::new(false))?;
        tell("nobody", &Row { sent: 0, up: 0, down: 0, cpu: 0.0, median_ms: watched.0, longest_ms: watched.1 });
        (process.cpu_seconds()? - before) / watched.2 as f64
    };
    for kind in kinds(&place).into_iter().filter(|kind| kind.name.contains(only)) {
        let before = process.cpu_seconds()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (until, name) = (Arc::clone(&stop), kind.name);
        let attack = std::thread::spawn(move || attack(target, &kind, &until));
        let (median_ms, longest_ms, pings) = watch(target, Duration::from_secs(seconds), &stop)?;
        stop.store(true, Ordering::Relaxed);
        let (sent, up, down) = attack.join().ok().context("the attacker panicked")??;
        let cpu = (process.cpu_seconds()? - before - quiet * pings as f64).max(0.0);
        tell(name, &Row { sent, up, down, cpu, median_ms, longest_ms });
    }
    Ok(())
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Fills the history; where it began.
fn fill_history(target: SocketAddr) -> anyhow::Result<Value> {
    runtime()?.block_on(async {
        let mut place = Value::Null;
        let mut sent = 0;
        // As many calls a connection as its rate lets through at once.
        while sent < HISTORY + 1 {
            let mut socket = Socket::connect(target, "").await?;
            socket.receive().await?;
            for _ in 0..400 {
                socket.send(&message("diffyne.call", &probe("p", "announce", json!([sent]), "r"))).await?;
                socket.receive().await?;
                sent += 1;
                // From here on there are as many as the history holds.
                if sent == 401 {
                    socket.send(&message("diffyne.ping", &json!({}))).await?;
                    place = serde_json::from_slice::<Value>(socket.receive().await?)?["data"].clone();
                }
            }
        }
        Ok(place)
    })
}

/// Pings once a millisecond: median and longest round trip in milliseconds, and how many there were.
fn watch(target: SocketAddr, time: Duration, stop: &AtomicBool) -> anyhow::Result<(f64, f64, u64)> {
    runtime()?.block_on(async {
        let mut socket = Socket::connect(target, "").await?;
        socket.receive().await?;
        let ping = message("diffyne.ping", &json!({}));
        let (until, mut trips) = (Instant::now() + time, Vec::new());
        while Instant::now() < until && !stop.load(Ordering::Relaxed) {
            // Its own rate is 200 a second: a connection of its own after as many as come at once.
            if trips.len() % 900 == 899 {
                socket = Socket::connect(target, "").await?;
                socket.receive().await?;
            }
            let sent = Instant::now();
            socket.send(&ping).await?;
            socket.receive().await?;
            trips.push(sent.elapsed().as_secs_f64() * 1000.0);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        trips.sort_by(f64::total_cmp);
        let median = trips.get(trips.len() / 2).copied().unwrap_or_default();
        Ok((median, trips.last().copied().unwrap_or_default(), trips.len() as u64))
    })
}

/// Sends one kind at its rate until told to stop: frames, bytes up, bytes down.
fn attack(target: SocketAddr, kind: &Kind, stop: &AtomicBool) -> anyhow::Result<(u64, u64, u64)> {
    runtime()?.block_on(async {
        let mut socket = Socket::connect(target, "").await?;
        socket.receive().await?;
        if !kind.before.is_empty() {
            socket.send(&kind.before).await?;
        }
        let (mut read, mut write) = socket.stream.into_split();
        let down = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&down);
        let reading = tokio::spawn(async move {
            let mut buffer = vec![0; 256 * 1024];
            while let Ok(read) = read.read(&mut buffer).await {
                if read == 0 {
                    break;
                }
                counted.fetch_add(read as u64, Ordering::Relaxed);
            }
        });
        let (started, mut sent, mut up) = (Instant::now(), 0_u64, 0_u64);
        let (per_second, burst) = (f64::from(kind.rate.0) * 0.95, f64::from(kind.rate.1) * 0.9);
        while !stop.load(Ordering::Relaxed) && !reading.is_finished() {
            if sent as f64 > burst + started.elapsed().as_secs_f64() * per_second {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            let writing = tokio::time::timeout(Duration::from_millis(500), write.write_all(&kind.frame));
            match writing.await {
                Ok(Ok(())) => {
                    sent += 1;
                    up += kind.frame.len() as u64;
                }
                // Slowed down in the middle of a frame: that was the last one.
                Err(_elapsed) => break,
                Ok(Err(error)) => anyhow::bail!("{}: the gateway hung up: {error}", kind.name),
            }
        }
        while !stop.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        reading.abort();
        Ok((sent, up, down.load(Ordering::Relaxed)))
    })
}
