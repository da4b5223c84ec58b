//! A client that makes a gateway work holds nobody up: work is linear in bytes, and its client pays for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use diffyne_tests::attack::{Bystander, connect_attacker, connect_from, receive_message};
use diffyne_tests::client::{Client, probe};
use diffyne_tests::cluster::{Cluster, Node, Shape};
use diffyne_tests::http::handshake;
use diffyne_tests::load::client_frame;
use diffyne_tests::process::{PATIENCE, eventually};
use diffyne_tests::task::stop_task;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_a_hundred_thousand_unknown_fields_held_nobody_up() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--threads", "1"))?;
    let bystander = Bystander::start(&cluster).await?;
    let mut attacker = connect_attacker(&cluster.gateways[0]).await?;
    // Nearly 1 MiB of them.
    let fields: Vec<String> = (0..104_000).map(|i| format!("\"{i:x}\":1")).collect();
    let inputs = [format!("{{{}}}", fields.join(",")), format!("[{}]", vec!["1"; 500_000].join(","))];
    for input in &inputs {
        let before = cluster.gateways[0].process.cpu_seconds()?;
        attacker.send(&client_frame(input)).await?;
        let reply = receive_message(&mut attacker).await?;
        let text = reply["message"].as_str().unwrap_or_default();
        ensure!(text.contains("unsupported fields: 0, 1, 2, 3, 4, 5, 6, 7") && text.len() < 300, "{text}");
        let spent = cluster.gateways[0].process.cpu_seconds()? - before;
        ensure!(spent < 2.0, "{spent} s of CPU");
    }
    bystander.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_resumes_with_a_hundred_filters_held_nobody_up() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--threads", "1").gateway("--connection-rate", "4MiB/s:16MiB");
    let cluster = Cluster::start(shape.gateway("--history-length", "10000"))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut place = None;
    for n in 0..10_000 {
        client.send("diffyne.call", probe("p", "announce", json!([n]), "r")).await?;
        if n % 50 == 49 {
            for _ in 0..50 {
                client.receive().await?;
            }
        }
        if n == 99 {
            place = Some(client.request("diffyne.ping", json!({})).await?.place());
        }
    }
    let place = place.context("no place in the history")?;
    let filters: Vec<Value> = (0..100).map(|i| json!({"name": "message-sent", "match": {"nope": i}})).collect();
    let mut attacker = connect_attacker(&cluster.gateways[0]).await?;
    let subscribe = json!({"event": "diffyne.subscribe", "data": {"events": filters}}).to_string();
    attacker.send(&client_frame(&subscribe)).await?;
    ensure!(receive_message(&mut attacker).await?.event() == "diffyne.subscribed");

    let bystander = Bystander::start(&cluster).await?;
    let cpu = cluster.gateways[0].process.cpu_seconds()?;
    let resume = json!({"event": "diffyne.resume", "data": {
        "epoch": place["epoch"], "offset": place["offset"], "events": [filters[0]], "requestId": "r",
    }});
    let resume = client_frame(&resume.to_string());
    attacker.send(&resume.repeat(1000)).await?;
    let mut kinds = BTreeMap::new();
    // Each has one reply.
    for _ in 0..1000 {
        let reply = receive_message(&mut attacker).await?;
        *kinds.entry(format!("{} {}", reply.event(), reply.error_type())).or_insert(0) += 1;
    }
    let spent = cluster.gateways[0].process.cpu_seconds()? - cpu;
    println!("{kinds:?}, {spent:.2} s of CPU");
    ensure!(kinds.get("diffyne.error overloaded").is_some_and(|count| *count > 900), "one at a time: {kinds:?}");
    ensure!(spent < 3.0, "{spent} s of CPU");
    bystander.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn replayed_bytes_count_against_the_rate_of_their_client() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--threads", "1").gateway("--connection-rate", "1MiB/s:2MiB");
    let cluster = Cluster::start(shape.gateway("--history-length", "2000"))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    client.call(probe("p", "announce", json!([0]), "r")).await?;
    let place = client.request("diffyne.ping", json!({})).await?.place();
    for n in 0..1000 {
        client.call(probe("p", "blast", json!([n, 1000]), "r")).await?;
    }
    let mut attacker = connect_attacker(&cluster.gateways[0]).await?;
    let resume = json!({"event": "diffyne.resume", "data": {
        "epoch": place["epoch"], "offset": place["offset"], "events": [{"name": "message-sent"}], "requestId": "r",
    }});
    let resume = client_frame(&resume.to_string());
    let (started, mut bytes, mut replays) = (Instant::now(), 0, 0);
    while replays < 8 {
        attacker.send(&resume).await?;
        loop {
            let message = attacker.receive().await?;
            bytes += message.len();
            if message.starts_with(br#"{"event":"diffyne.resumed""#) {
                ensure!(message.windows(16).any(|part| part == br#""recovered":true"#), "it was there to be replayed");
                replays += 1;
                break;
            }
        }
    }
    let allowed = 2.0 * 1.3e6 + 1.05e6 * started.elapsed().as_secs_f64() + 2.1e6;
    println!("{replays} replays, {bytes} bytes in {:?}", started.elapsed());
    ensure!((bytes as f64) < allowed, "{bytes} bytes, {allowed} allowed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_misses_or_doubles_a_message_while_it_is_replayed_slowly() -> anyhow::Result<()> {
    /// Pacing: the live broadcasts last as long as the replay.
    const PAUSE: Duration = Duration::from_millis(5);
    let shape = Shape::new(1, 1).gateway("--threads", "1").gateway("--connection-rate", "256KiB/s:300KiB");
    let cluster = Cluster::start(shape.gateway("--history-length", "5000"))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    client.call(probe("p", "announce", json!([-1]), "r")).await?;
    let place = client.request("diffyne.ping", json!({})).await?.place();
    let publish = async |client: &mut Client, n: i64| client.call(probe("p", "blast", json!([n, 1000]), "r")).await;
    for n in 0..900 {
        publish(&mut client, n).await?;
    }
    let mut back = Client::connect(&cluster.url(0)).await?;
    let resume = json!({"epoch": place["epoch"], "offset": place["offset"], "events": [{"name": "message-sent"}]});
    back.send("diffyne.resume", resume).await?;
    let live = tokio::spawn(async move {
        for n in 900..1200 {
            publish(&mut client, n).await?;
            tokio::time::sleep(PAUSE).await;
        }
        anyhow::Ok(())
    });
    let (mut expected, mut resumed_at) = (0, None);
    while expected < 1200 || resumed_at.is_none() {
        let message = back.receive().await?;
        if message.event() == "diffyne.resumed" {
            ensure!(message["recovered"] == true, "{message}");
            resumed_at = Some(expected);
            continue;
        }
        let n = message.number().context("no number")?;
        // It may have been behind the place.
        if n == -1 {
            continue;
        }
        ensure!(n == expected, "{n} came, {expected} was expected");
        expected += 1;
    }
    live.await??;
    let resumed_at = resumed_at.context("it was told that it is there")?;
    ensure!(resumed_at > 900, "broadcasts came during the replay: it ended at {resumed_at}");
    Ok(())
}

/// Sends a frame, then another as often and fast as it goes, until the gateway hangs up; its close code.
async fn flood(node: &Node, first: &[u8], frame: &[u8]) -> anyhow::Result<u16> {
    let mut stream = connect_from([127, 0, 0, 7], node).await?;
    stream.write_all(handshake("/", &[]).as_bytes()).await?;
    stream.write_all(first).await?;
    let (mut read, mut write) = stream.into_split();
    let many = frame.repeat(20_000);
    let writing = tokio::spawn(async move {
        while write.write_all(&many).await.is_ok() {}
        anyhow::Ok(())
    });
    let mut all = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, read.read_to_end(&mut all)).await;
    stop_task(writing).await?;
    // A reset after the close frame is as good as an end.
    ended.context("the flood went on")?.ok();
    let at = all.windows(2).rposition(|pair| pair[0] == 0x88).context("no close frame")?;
    Ok(u16::from_be_bytes([all[at + 2], all[at + 3]]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_frames_held_nobody_up() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--threads", "1").gateway("--frame-rate", "1000/s:5000");
    let cluster = Cluster::start(shape)?;
    let bystander = Bystander::start(&cluster).await?;
    // Frames without a payload: a ping, a pong, and a continuation of a message that has begun.
    let (ping, pong) = ([0x89, 0x80, 0, 0, 0, 0], [0x8a, 0x80, 0, 0, 0, 0]);
    let (begin, go_on) = ([0x01, 0x80, 0, 0, 0, 0], [0x00, 0x80, 0, 0, 0, 0]);
    let floods: [(&str, &[u8], &[u8]); 3] =
        [("pings", &ping, &ping), ("pongs", &pong, &pong), ("empty fragments", &begin, &go_on)];
    for (name, first, frame) in floods {
        let code = flood(&cluster.gateways[0], first, frame).await?;
        ensure!(code == 1008, "{name}: {code}");
    }
    eventually("each flood is counted", || {
        let limited = cluster.gateways[0].metric(r#"diffyne_gateway_limited_total{what="frames"}"#);
        limited.is_ok_and(|limited| limited >= 3.0)
    })?;
    bystander.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_too_much_is_read_more_slowly_and_loses_nothing() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--connection-rate", "1MiB/s:1MiB");
    let cluster = Cluster::start(shape)?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let started = Instant::now();
    for _ in 0..4 {
        client.send("diffyne.ping", json!({"x": "x".repeat(1_000_000)})).await?;
    }
    for _ in 0..4 {
        ensure!(client.receive().await?.event() == "diffyne.pong");
    }
    let took = started.elapsed();
    ensure!(took > Duration::from_millis(2500) && took < PATIENCE, "{took:?}");
    Ok(())
}
