//! Clients that never read, and frames and handshakes that are malformed, oversized, cut short or meant to harm.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::deploys::Callers;
use super::fleet::Fleet;
use super::{Report, Scale};
use crate::client::{Client, probe};
use crate::cluster::{Cluster, Shape};
use crate::http::handshake;
use crate::process::{Process, eventually, eventually_async};

/// Between two readings of a process's memory: closed connections take this long to end.
const BETWEEN_READINGS: Duration = Duration::from_secs(4);
/// A round that takes longer has failed.
const ROUND_MAX: Duration = Duration::from_mins(5);

/// Bytes of a masked frame.
fn frame(first: u8, length: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(0x80 | length as u8),
        126..=65_535 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    let mask = [1, 2, 3, 4];
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A text frame.
fn text(payload: &[u8]) -> Vec<u8> {
    frame(0x81, payload.len() as u64, payload)
}

/// Something that no browser would send.
fn hostile(random: &mut fastrand::Rng) -> Vec<u8> {
    let junk: Vec<u8> = (0..random.usize(..200)).map(|_| random.u8(..)).collect();
    match random.u8(..20) {
        0 => junk,
        1 => text(&junk),
        2 => frame(0x81, u64::MAX >> 1, b""),
        3 => frame(0x81, 2_000_000, &junk),
        4 => frame(0x01, junk.len() as u64, &junk),
        5 => frame(0x80, junk.len() as u64, &junk),
        6 => frame(0x89, 126, &[0; 126]),
        7 => frame(0x88, 1, b"x"),
        8 => frame(0x88, 2, &random.u16(..).to_be_bytes()),
        9 => frame(0xf1, 2, b"{}"),
        10 => vec![0x81, 0x05, b'h', b'e', b'l', b'l', b'o'],
        11 => text(b"{\"event\":\"diffyne.call\",\"data\":{\"componentId\":7}}"),
        12 => text(format!("{{\"event\":\"diffyne.call\",\"data\":{}1{}}}", "[".repeat(5000), "]".repeat(5000)).as_bytes()),
        13 => text(br#"{"event":"diffyne.subscribe","data":{"events":[{"name":""}]}}"#),
        14 => text(br#"{"event":"diffyne.resume","data":{"epoch":1,"offset":-1,"events":[]}}"#),
        15 => text(br#"{"event":"diffyne.resume","data":{"epoch":"e","offset":18446744073709551615,"events":[{"name":"message-sent"}],"grant":"x.y"}}"#),
        16 => text(format!("{{\"event\":\"diffyne.update\",\"data\":{{\"componentId\":\"a\",\"componentClass\":\"{}\",\"property\":\"x\",\"state\":{{}},\"requestId\":1}}}}", "A\\\\".repeat(random.usize(1..300))).as_bytes()),
        17 => text("\u{0}\u{1}{\"event\"".as_bytes()),
        18 => {
            let whole = text(br#"{"event":"diffyne.ping","data":{}}"#);
            whole[..random.usize(..whole.len())].to_vec()
        }
        _ => text(format!("{{\"event\":\"{}\",\"data\":{{}}}}", "x".repeat(random.usize(..2000))).as_bytes()),
    }
}

/// A handshake that is none, or none of ours.
fn bad_handshake(random: &mut fastrand::Rng) -> Vec<u8> {
    let long = "x".repeat(random.usize(1..80_000));
    match random.u8(..7) {
        0 => (0..random.usize(1..300)).map(|_| random.u8(..)).collect(),
        1 => format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {long}\r\n\r\n").into_bytes(),
        2 => handshake("/", &[("Sec-WebSocket-Version", "99")]).into_bytes(),
        3 => handshake("/nowhere", &[]).into_bytes(),
        4 => handshake("/", &[("Sec-WebSocket-Key", "short")]).into_bytes(),
        5 => format!(
            "POST /_diffyne/update HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{}",
            &long[..long.len().min(10)]
        )
        .into_bytes(),
        _ => b"GET / HTTP/1.1\r\nHo".to_vec(),
    }
}

/// Writes one piece of mischief and counts it, if the kernel took all of it.
async fn write_counted(stream: &mut TcpStream, bytes: &[u8], sent: &AtomicU64) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    sent.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// One connection's mischief. `sent` counts its frames and handshakes.
async fn attack(address: SocketAddr, random: &mut fastrand::Rng, sent: &AtomicU64) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let mut answer = [0; 2048];
    if random.u8(..4) == 0 {
        write_counted(&mut stream, &bad_handshake(random), sent).await?;
        stream.shutdown().await?;
        // What the gateway answers, if anything, does not matter.
        let _ = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut answer)).await;
        return Ok(());
    }
    write_counted(&mut stream, handshake("/", &[]).as_bytes(), sent).await?;
    // The head of the answer is enough: what follows is not an answer to it.
    let _ = stream.read(&mut answer).await?;
    for _ in 0..random.usize(1..30) {
        write_counted(&mut stream, &hostile(random), sent).await?;
    }
    // Answers are read now and then, so that they do not only fill buffers.
    let _ = tokio::time::timeout(Duration::from_millis(2), stream.read(&mut answer)).await;
    Ok(())
}

/// Attacks on 32 connections at a time until so many frames and handshakes are sent; how many there were.
async fn round(address: SocketAddr, count: u64, seed: u64) -> anyhow::Result<u64> {
    let sent = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + ROUND_MAX;
    let mut attackers = JoinSet::new();
    for index in 0..32 {
        let sent = Arc::clone(&sent);
        attackers.spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed + index);
            while sent.load(Ordering::Relaxed) < count && Instant::now() < until {
                // The gateway may hang up on such a client at any time.
                let _ = tokio::time::timeout(Duration::from_secs(5), attack(address, &mut random, &sent)).await;
            }
        });
    }
    while let Some(attacker) = attackers.join_next().await {
        attacker.context("an attacker panicked")?;
    }
    let sent = sent.load(Ordering::Relaxed);
    ensure!(sent >= count, "only {sent} of {count} hostile frames and handshakes were sent in {ROUND_MAX:?}");
    Ok(sent)
}

/// The resident memory of a process once it no longer shrinks, in KiB.
async fn settled_kib(process: &Process) -> anyhow::Result<u64> {
    let mut last = u64::MAX;
    eventually_async("the memory no longer shrinks", async || {
        let now = process.resident_kib()?;
        let is_settled = now >= last;
        last = now;
        if !is_settled {
            tokio::time::sleep(BETWEEN_READINGS).await;
        }
        Ok(is_settled)
    })
    .await?;
    Ok(last)
}

/// "Somebody attacks us." The same round twice: the second one must not need more memory.
pub async fn half_a_million_hostile_frames(scale: Scale, seed: u64) -> anyhow::Result<Report> {
    let cluster = Cluster::start(Shape::new(1, 1))?;
    let node = &cluster.gateways[0];
    let address = SocketAddr::from(([127, 0, 0, 1], node.port));
    let fleet = Fleet::start(&[cluster.url(0)], 20, None, seed).await?;
    let callers = Callers::start(&[cluster.url(0)], 10, 50);
    let each = scale.pick(15_000, 250_000);
    let mut resident = Vec::new();
    let mut sent = 0;
    for _ in 0..2 {
        sent += round(address, each, seed).await?;
        eventually("the attackers' connections have ended", || {
            node.metric("diffyne_gateway_connections").is_ok_and(|open| open <= 40.0)
        })?;
        resident.push(settled_kib(&node.process).await?);
    }
    let mut sender = Client::connect(&cluster.url(0)).await?;
    for n in 0..50 {
        sender.send("diffyne.call", probe("p", "announce", json!([n]), "r")).await?;
        sender.receive().await?;
    }
    fleet.wait("healthy clients hear", Duration::from_secs(10), |fleet| fleet.have(49) == 20).await?;
    let calls = callers.stop().await?;
    let report = fleet.finish("hostile frames and handshakes, two equal rounds", 50).await?;
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let growth = resident[1] as f64 / resident[0] as f64;
    let report = Report {
        more: format!(
            "{sent} hostile frames and handshakes; resident {} KiB after the first round, {} after the second; {} of {} calls of others answered",
            resident[0],
            resident[1],
            get(&calls.succeeded),
            get(&calls.sent)
        ),
        ..report
    };
    let log = node.process.output();
    ensure!(!log.contains("panicked"), "a panic: {log}");
    ensure!(get(&calls.succeeded) == get(&calls.sent), "{report}");
    ensure!(growth < 1.05, "{report}");
    Ok(report)
}

/// "Some clients are stuck, and the server's memory grows." They never read; 10 KiB broadcasts go out.
pub async fn connections_that_never_read(scale: Scale, seed: u64) -> anyhow::Result<Report> {
    let deaf = scale.pick(200, 1000);
    let (outbox, history) = (1 << 20, 8 << 20);
    let shape = Shape::new(1, 1)
        .gateway("--outbox-bytes", "1MiB")
        .gateway("--history-bytes", "8MiB")
        .gateway("--outbox-timeout", "60s");
    let cluster = Cluster::start(shape)?;
    let node = &cluster.gateways[0];
    let fleet = Fleet::start(&[cluster.url(0)], 20, None, seed).await?;
    let mut silent = Vec::new();
    for _ in 0..deaf {
        let mut stream = TcpStream::connect(("127.0.0.1", node.port)).await?;
        socket2::SockRef::from(&stream).set_recv_buffer_size(4096)?;
        stream.write_all(handshake("/", &[]).as_bytes()).await?;
        stream
            .write_all(&text(br#"{"event":"diffyne.subscribe","data":{"events":[{"name":"message-sent"}]}}"#))
            .await?;
        silent.push(stream);
    }
    let before = node.process.resident_kib()?;
    let count = scale.pick(300, 1500);
    let mut sender = Client::connect(&cluster.url(0)).await?;
    let mut most = before;
    for n in 0..count {
        sender.send("diffyne.call", probe("p", "blast", json!([n, 10_240]), "r")).await?;
        sender.receive().await?;
        if n % 20 == 0 {
            most = most.max(node.process.resident_kib()?);
        }
    }
    fleet.wait("healthy clients have all", Duration::from_secs(30), |fleet| fleet.have(count - 1) == 20).await?;
    let closed = node.metric("diffyne_gateway_slow_consumers_total")?;
    drop(silent);
    // Frames are shared: what waits for all of them is one outbox's worth of frames, a list of them for each
    // connection, and the history.
    let frames = outbox as u64 / 10_240 + 1;
    let bound = (outbox as u64 + history as u64 + deaf as u64 * (frames * 64 + 16_384)) / 1024 + 24 * 1024;
    let mut report = fleet.finish(&format!("{deaf} connections that never read, broadcasts of 10 KiB"), count).await?;
    report.more = format!(
        "resident {before} KiB before, {most} KiB at most (bound {} KiB); {closed} closed as slow",
        before + bound
    );
    ensure!(most < before + bound, "{report}");
    ensure!(report.lost == 0 && report.doubled == 0, "{report}");
    Ok(report)
}
