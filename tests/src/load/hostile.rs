//! One client sends nothing but one kind of message, at its largest and as fast as the default limits permit: what a
//! byte of it costs the gateway, and how long the pings of another client on the same thread have to wait.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedWriteHalf;

use super::{Socket, client_frame};
use crate::client::{increment, probe};
use crate::cluster::{Cluster, Shape};

/// The largest message, in bytes.
const MESSAGE_BYTES: usize = 1_048_576;
/// Broadcasts in the history that a resume goes through.
const HISTORY: usize = 10_000;
/// Filters of one subscription.
const FILTERS: usize = 100;
/// The default `DIFFYNE_MESSAGE_RATE`: messages a second, and at once.
const MESSAGES: (u32, u32) = (200, 1000);
/// The default `DIFFYNE_FRAME_RATE`.
const FRAMES: (u32, u32) = (1000, 5000);

/// How long a write may wait for the gateway to read.
const WRITE_TIMEOUT: Duration = Duration::from_millis(500);

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
#[derive(Debug, Clone, Copy, Default)]
pub struct Row {
    /// Whole frames that the kernel took.
    pub sent: u64,
    /// Bytes that it took.
    pub up: u64,
    /// Bytes that came back.
    pub down: u64,
    /// CPU seconds of the gateway, those for the other client taken off.
    pub cpu: f64,
    /// The median of the other client's round trips, in milliseconds.
    pub median_ms: f64,
    /// The longest of them, in milliseconds.
    pub longest_ms: f64,
}

fn message(event: &str, data: &Value) -> Vec<u8> {
    client_frame(&json!({"event": event, "data": data}).to_string())
}

/// A message that a text fills up to the largest size.
fn filled(message_of: impl Fn(&str) -> String) -> Vec<u8> {
    let left = MESSAGE_BYTES - message_of("").len();
    client_frame(&message_of(&"x".repeat(left)))
}

/// As many items as fit.
fn repeated(each: impl Fn(usize) -> String, separator: &str, bytes: usize) -> String {
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

/// Every kind that is tried; a resume goes back to where the history begins.
fn kinds(history_start: &Value) -> Vec<Kind> {
    let kind = |name, frame, rate| Kind { name, before: Vec::new(), frame, rate };
    let control = |first: u8, length: usize| {
        let mut frame = vec![first, 0x80 | length as u8, 0, 0, 0, 0];
        frame.resize(6 + length, b'x');
        frame
    };
    let filters: Vec<Value> = (0..FILTERS).map(|i| json!({"name": "message-sent", "match": {"nope": i}})).collect();
    let wide: Vec<Value> =
        (0..FILTERS).map(|i| json!({"name": format!("e{i}"), "match": {"a": vec![1; 300]}})).collect();
    let resume = |events: &[Value]| {
        let (epoch, offset) = (&history_start["epoch"], &history_start["offset"]);
        json!({"epoch": epoch, "offset": offset, "events": events, "requestId": "r"})
    };
    let unknown = repeated(|i| format!("\"{i:x}\":1"), ",", MESSAGE_BYTES - 2);
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
            filled(|x| format!(r#"{{"event":"diffyne.ping","data":{{"x":"{x}"}}}}"#)),
            MESSAGES,
        ),
        kind("an unknown event", filled(|x| format!(r#"{{"event":"{x}","data":{{}}}}"#)), MESSAGES),
        kind("no JSON", client_frame(&"[1,".repeat(MESSAGE_BYTES / 3)), MESSAGES),
        kind("unknown fields", client_frame(&format!("{{{unknown}}}")), MESSAGES),
        kind("a list", client_frame(&format!("[{}]", repeated(|_| "1".to_owned(), ",", MESSAGE_BYTES - 2))), MESSAGES),
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
                repeated(|_| r#"{"name":"a"}"#.to_owned(), ",", MESSAGE_BYTES - 100)
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

/// Runs all kinds, or those whose name contains `only`, against the gateway in a folder of programs; a row each.
pub fn run(
    programs: Option<PathBuf>,
    seconds: u64,
    only: &str,
    mut report: impl FnMut(&str, &Row),
) -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape { programs, ..shape() })?;
    let target = SocketAddr::from(([127, 0, 0, 1], cluster.gateways[0].port));
    let history_start = fill_history(target)?;
    let process = &cluster.gateways[0].process;
    let time = Duration::from_secs(seconds);
    let before = process.cpu_seconds()?;
    let quiet = ping_for(target, time)?;
    let cpu_a_ping = (process.cpu_seconds()? - before) / quiet.count.max(1) as f64;
    report("nobody", &Row { median_ms: quiet.median_ms, longest_ms: quiet.longest_ms, ..Row::default() });
    for kind in kinds(&history_start).into_iter().filter(|kind| kind.name.contains(only)) {
        let before = process.cpu_seconds()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (until, name) = (Arc::clone(&stop), kind.name);
        let attacker = std::thread::spawn(move || attack(target, &kind, &until));
        let pings = ping_for(target, time);
        stop.store(true, Ordering::Relaxed);
        // The attacker's own failure is the cause where both failed.
        let traffic = attacker.join().map_err(|_| anyhow!("{name}: the attacker panicked"))??;
        let pings = pings?;
        ensure!(traffic.sent > 0, "{name}: not one frame was sent");
        let cpu = (process.cpu_seconds()? - before - cpu_a_ping * pings.count as f64).max(0.0);
        let Traffic { sent, up, down } = traffic;
        report(name, &Row { sent, up, down, cpu, median_ms: pings.median_ms, longest_ms: pings.longest_ms });
    }
    Ok(())
}

/// The default limits, and a history that a resume has to go through.
fn shape() -> Shape {
    Shape::new(1, 1)
        .gateway("--threads", "1")
        .gateway("--history-length", &HISTORY.to_string())
        .gateway("--message-rate", &format!("{}/s:{}", MESSAGES.0, MESSAGES.1))
        .gateway("--call-rate", "100/s:500")
        .gateway("--frame-rate", &format!("{}/s:{}", FRAMES.0, FRAMES.1))
        .gateway("--connection-rate", "4MiB/s:16MiB")
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Fills the history; the place at which it begins.
fn fill_history(target: SocketAddr) -> anyhow::Result<Value> {
    runtime()?.block_on(async {
        let mut start = Value::Null;
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
                    start = serde_json::from_slice::<Value>(socket.receive().await?)?["data"].clone();
                }
            }
        }
        Ok(start)
    })
}

/// The round trips of pings.
struct Pings {
    count: u64,
    median_ms: f64,
    longest_ms: f64,
}

/// Pings once a millisecond.
fn ping_for(target: SocketAddr, time: Duration) -> anyhow::Result<Pings> {
    runtime()?.block_on(async {
        let mut socket = connect(target).await?;
        let ping = message("diffyne.ping", &json!({}));
        let (until, mut trips) = (Instant::now() + time, Vec::new());
        while Instant::now() < until {
            // A connection may send 200 a second and 1000 at once: this one is replaced before it is limited.
            if trips.len() % 900 == 899 {
                socket = connect(target).await?;
            }
            let sent = Instant::now();
            socket.send(&ping).await?;
            socket.receive().await?;
            trips.push(sent.elapsed().as_secs_f64() * 1000.0);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        trips.sort_by(f64::total_cmp);
        Ok(Pings {
            count: trips.len() as u64,
            median_ms: trips.get(trips.len() / 2).copied().unwrap_or_default(),
            longest_ms: trips.last().copied().unwrap_or_default(),
        })
    })
}

/// Connects and reads the greeting.
async fn connect(target: SocketAddr) -> anyhow::Result<Socket> {
    let mut socket = Socket::connect(target, "").await?;
    socket.receive().await?;
    Ok(socket)
}

/// What an attacker sent and got.
struct Traffic {
    /// Whole frames.
    sent: u64,
    /// Bytes that the kernel took, those of a frame that was not finished as well.
    up: u64,
    /// Bytes that came back.
    down: u64,
}

/// Sends one kind at its rate until told to stop.
fn attack(target: SocketAddr, kind: &Kind, stop: &AtomicBool) -> anyhow::Result<Traffic> {
    runtime()?.block_on(async {
        let mut socket = connect(target).await?;
        if !kind.before.is_empty() {
            socket.send(&kind.before).await?;
        }
        let (mut read, mut write) = socket.stream.into_split();
        let down = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&down);
        let reader = tokio::spawn(async move {
            let mut buffer = vec![0; 256 * 1024];
            while let Ok(read @ 1..) = read.read(&mut buffer).await {
                counted.fetch_add(read as u64, Ordering::Relaxed);
            }
        });
        let sending = send_at_rate(&mut write, kind, stop, || reader.is_finished());
        let (sent, up) = sending.await.with_context(|| format!("{}: the gateway hung up", kind.name))?;
        while !stop.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        reader.abort();
        match reader.await {
            Err(error) if error.is_panic() => Err(error).context("the attacker's reader panicked"),
            _ => Ok(Traffic { sent, up, down: down.load(Ordering::Relaxed) }),
        }
    })
}

/// Writes a kind's frame as often as its rate permits; frames and bytes that the kernel took.
async fn send_at_rate(
    write: &mut OwnedWriteHalf,
    kind: &Kind,
    stop: &AtomicBool,
    closed: impl Fn() -> bool,
) -> anyhow::Result<(u64, u64)> {
    // A little below the limits: what is over them ends a connection.
    let (per_second, burst) = (f64::from(kind.rate.0) * 0.95, f64::from(kind.rate.1) * 0.9);
    let (started, mut sent, mut up) = (Instant::now(), 0_u64, 0_u64);
    while !stop.load(Ordering::Relaxed) && !closed() {
        if sent as f64 > burst + started.elapsed().as_secs_f64() * per_second {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let mut left = &kind.frame[..];
        while !left.is_empty() {
            match tokio::time::timeout(WRITE_TIMEOUT, write.write(left)).await {
                Ok(written) => {
                    let written = written?;
                    up += written as u64;
                    left = &left[written..];
                }
                // The gateway reads no more for now: the attack ends in the middle of this frame.
                Err(_elapsed) => return Ok((sent, up)),
            }
        }
        sent += 1;
    }
    Ok((sent, up))
}
