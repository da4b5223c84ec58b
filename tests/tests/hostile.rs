//! One client does its worst; what others would report does not happen. Each test is a kind of harm, with the inputs by
//! which it was found.
#![allow(missing_docs)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use diffyne_shared::rpc::{self, CallKind, Frame, FrameReader, Hello, Outcome, Reply, Transport};
use diffyne_tests::client::{Client, increment, probe};
use diffyne_tests::cluster::{Cluster, Node, Shape, handshake, http_get, http_post};
use diffyne_tests::load::{Socket, client_frame};
use diffyne_tests::process::eventually;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// What a healthy client may have to wait while another does its worst, on a busy machine with a debug build; the
/// figure for a quiet one is `bench hostile`'s.
const PATIENCE_MS: u128 = 150;

fn at(node: &Node) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], node.port))
}

/// A stream from a loopback address that is no trusted proxy.
async fn stream_from(address: [u8; 4], node: &Node) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::from(address), 0).into())?;
    Ok(socket.connect(at(node)).await?)
}

/// A WebSocket from there, after the greeting.
async fn attacker(node: &Node) -> anyhow::Result<Socket> {
    let mut socket = Socket::connect(at(node), "").await?;
    socket.receive().await?;
    Ok(socket)
}

async fn answer(socket: &mut Socket) -> anyhow::Result<Value> {
    let bytes = tokio::time::timeout(Duration::from_secs(30), socket.receive()).await.context("no answer")??;
    Ok(serde_json::from_slice(bytes)?)
}

/// A healthy client's calls and pings, until told to stop: how many failed, and its longest ping in milliseconds.
struct Bystander {
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<anyhow::Result<(usize, usize, u128)>>,
}

impl Bystander {
    async fn start(url: &str) -> anyhow::Result<Self> {
        let mut client = Client::connect(url).await?;
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let (mut calls, mut failed, mut longest) = (0, 0, 0);
            while stopped.try_recv().is_err() {
                client.send("diffyne.call", increment(&format!("c{calls}"), 0, "r")).await?;
                let answer = client.receive().await?;
                calls += 1;
                failed += usize::from(answer["data"]["s"] != true);
                let asked = Instant::now();
                client.barrier().await?;
                longest = longest.max(asked.elapsed().as_millis());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok((calls, failed, longest))
        });
        Ok(Self { stop, task })
    }

    /// Stops it: nothing of it failed, and its longest ping was bearable.
    async fn finish(self) -> anyhow::Result<()> {
        let _ = self.stop.send(());
        let (calls, failed, longest) = self.task.await??;
        println!("{calls} calls of another client, {failed} failed, longest ping {longest} ms");
        ensure!(calls > 0 && failed == 0, "{failed} of {calls} calls failed");
        ensure!(longest < PATIENCE_MS, "a ping took {longest} ms");
        Ok(())
    }
}

fn workers_are_connected(cluster: &Cluster) -> anyhow::Result<()> {
    for gateway in &cluster.gateways {
        let log = gateway.process.output();
        ensure!(!log.contains("worker disconnected"), "{log}");
        ensure!(gateway.health()?["workers"] == cluster.workers.len(), "{}", gateway.health()?);
    }
    Ok(())
}

// --- A. What a gateway builds from client input is measured before it is sent.

#[tokio::test(flavor = "multi_thread")]
async fn somebody_sent_huge_names_and_nobody_elses_call_was_lost() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 2))?;
    let bystander = Bystander::start(&cluster.url(0)).await?;
    let mut attacker = attacker(&cluster.gateways[0]).await?;
    let long = "x".repeat(700_000);
    let usual = |field: &str, value: Value| {
        let mut data = increment("diffyne-a", 0, "r");
        data[field] = value;
        data
    };
    let inputs = [
        ("cause.id", usual("cause", json!({"id": long, "depth": 0}))),
        ("requestId", usual("requestId", json!(long))),
        ("componentId", usual("componentId", json!(long))),
        ("componentClass", usual("componentClass", json!(long))),
        ("method", usual("method", json!(long))),
    ];
    for round in 0..20 {
        for (name, data) in &inputs {
            let message = json!({"event": "diffyne.call", "data": data}).to_string();
            attacker.send(&client_frame(&message)).await?;
            let answer = answer(&mut attacker).await?;
            let data = &answer["data"];
            let told = data["error"].as_str().unwrap_or_default();
            ensure!(told.starts_with(name) && told.contains("longer than"), "{round} {name}: {answer}");
            ensure!(data["type"] == "validation_error" && answer.to_string().len() < 500, "{answer}");
        }
    }
    bystander.finish().await?;
    workers_are_connected(&cluster)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_subscription_fails_by_itself() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--subscribe", "granted").gateway("--signing-key", "test");
    let cluster = Cluster::start(shape)?;
    let bystander = Bystander::start(&cluster.url(0)).await?;
    let mut attacker = attacker(&cluster.gateways[0]).await?;
    // Numbers that print longer than they came.
    let numbers = vec!["1e15"; 120_000].join(",");
    for list in [numbers.as_str(), &numbers[..60_000 / 5 * 5 - 1]] {
        let message = format!(
            r#"{{"event":"diffyne.subscribe","data":{{"events":[{{"name":"message-sent","componentClass":"App\\Tests\\Listener","match":{{"a":[{list}]}}}}],"requestId":"r"}}}}"#
        );
        for _ in 0..20 {
            attacker.send(&client_frame(&message)).await?;
            let answer = answer(&mut attacker).await?;
            ensure!(answer["event"] == "diffyne.error" && answer["data"]["requestId"] == "r", "{answer}");
        }
    }
    bystander.finish().await?;
    workers_are_connected(&cluster)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_larger_than_the_worker_takes_is_refused_and_the_next_one_runs() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).worker("--ws-max-message-size", "64KiB"))?;
    let bystander = Bystander::start(&cluster.url(0)).await?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for round in 0..20 {
        let mut large = increment("diffyne-a", 0, "large");
        large["state"]["ballast"] = json!("x".repeat(800_000));
        client.send("diffyne.call", large.clone()).await?;
        let answer = client.receive().await?;
        ensure!(answer["data"]["type"] == "too_large" && answer["data"]["requestId"] == "large", "{answer}");
        client.send("diffyne.call", increment("diffyne-a", round, "small")).await?;
        ensure!(client.receive().await?["data"]["c"]["st"]["count"] == round + 1);
        let body = large.to_string().replace("800_000", "");
        let by_ajax = http_post(cluster.gateways[0].port, "/_diffyne/update", &[], &body[..])?;
        ensure!([400, 413].contains(&by_ajax.status), "{by_ajax:?}");
    }
    bystander.finish().await?;
    workers_are_connected(&cluster)
}

/// A worker of an older release: it does not tell how long a frame it takes, and answers with more than the gateway
/// takes when the method is `large`.
async fn worker_without_measure(listener: tokio::net::TcpListener) -> anyhow::Result<()> {
    let (mut stream, _) = listener.accept().await?;
    let mut reader = FrameReader::new(1 << 20);
    let large = format!(r#"{{"s":true,"x":"{}"}}"#, "x".repeat(3_000_000));
    loop {
        let mut out = Vec::new();
        while let Some(frame) = reader.next_frame()? {
            let frame = match frame {
                Frame::Hello(hello) => Frame::Hello(Hello {
                    id: "old".to_owned(),
                    capacity: 64,
                    frame_bytes_max: None,
                    nonce: None,
                    ..hello
                }),
                Frame::Call(call) => {
                    let is_large = String::from_utf8_lossy(call.payload).contains(r#""method":"large""#);
                    let data = if is_large { large.as_bytes() } else { br#"{"s":true}"# };
                    Frame::Reply(Reply::new(call.id, Outcome::Ok, 200, data))
                }
                _ => Frame::Pong(rpc::Pong::default()),
            };
            rpc::encode(&frame, &mut out)?;
        }
        stream.write_all(&out).await?;
        if reader.fill(&mut stream).await? == 0 {
            return Ok(());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_larger_than_the_gateway_takes_fails_by_itself() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let shape = Shape::new(1, 0).gateway("--workers", &listener.local_addr()?.to_string());
    let cluster = Cluster::start(shape.gateway("--outbox-bytes", "1MiB").gateway("--threads", "1"))?;
    tokio::spawn(worker_without_measure(listener));
    eventually("the worker is used", || cluster.gateways[0].ready().is_ok_and(|status| status == 200))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for _ in 0..10 {
        client.send("diffyne.call", probe("a", "large", json!([]), "large")).await?;
        client.send("diffyne.call", probe("b", "small", json!([]), "small")).await?;
        for _ in 0..2 {
            let answer = client.receive().await?;
            let data = &answer["data"];
            if data["requestId"] == "small" {
                ensure!(data["s"] == true, "{answer}");
            } else {
                ensure!(data["s"] == false && data["type"] == "server_error", "{answer}");
                ensure!(data["error"].as_str().is_some_and(|text| text.contains("was run")), "{answer}");
            }
        }
    }
    let log = cluster.gateways[0].process.output();
    ensure!(!log.contains("worker disconnected") && log.contains("DIFFYNE_WORKER_MAX_ANSWER"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_sends_too_large_a_frame_keeps_its_connection() -> anyhow::Result<()> {
    let cluster =
        Cluster::start(Shape { reachable: Some(0), ..Shape::new(0, 1).worker("--ws-max-message-size", "64KiB") })?;
    let mut stream = TcpStream::connect(("127.0.0.1", cluster.workers[0].port)).await?;
    let mut out = Vec::new();
    let hello = Hello::worker("by hand", 0);
    rpc::encode(&Frame::Hello(hello), &mut out)?;
    let ballast = "x".repeat(2_000_000);
    for (id, ballast) in [(7_u64, ballast.as_str()), (8, "")] {
        let data = json!({
            "type": "call", "componentId": "a", "componentClass": "App\\Diffyne\\Counter", "method": "increment",
            "params": [], "state": {"count": 1, "ballast": ballast}, "signature": "", "fingerprint": "",
        });
        let payload = data.to_string();
        let client = rpc::Client { id: "c", ip: "127.0.0.1", transport: Transport::Ws, headers: b"", jar: b"" };
        let call =
            rpc::Call { id, budget_ms: 5000, client, kind: CallKind::Call, cause: None, payload: payload.as_bytes() };
        rpc::encode(&Frame::Call(call), &mut out)?;
    }
    stream.write_all(&out).await?;
    let mut reader = FrameReader::new(1 << 20);
    let mut answers = Vec::new();
    while answers.len() < 2 {
        ensure!(reader.fill(&mut stream).await? > 0, "the worker hung up after {answers:?}");
        while let Some(frame) = reader.next_frame()? {
            if let Frame::Reply(reply) = frame {
                answers.push((reply.id, reply.status, reply.outcome));
            }
        }
    }
    answers.sort_by_key(|(id, ..)| *id);
    ensure!(answers == [(7, 413, Outcome::ValidationError), (8, 200, Outcome::Ok)], "{answers:?}");
    Ok(())
}

// --- B. Work is linear in bytes, and charged.

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_a_hundred_thousand_unknown_fields_held_nobody_up() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--threads", "1"))?;
    let bystander = Bystander::start(&cluster.url(0)).await?;
    let mut attacker = attacker(&cluster.gateways[0]).await?;
    // Nearly 1 MiB of them.
    let fields: Vec<String> = (0..104_000).map(|i| format!("\"{i:x}\":1")).collect();
    let inputs = [format!("{{{}}}", fields.join(",")), format!("[{}]", vec!["1"; 500_000].join(","))];
    for input in &inputs {
        let started = Instant::now();
        attacker.send(&client_frame(input)).await?;
        let answer = answer(&mut attacker).await?;
        let text = answer["data"]["message"].as_str().unwrap_or_default();
        ensure!(text.contains("unsupported fields: 0, 1, 2, 3, 4, 5, 6, 7") && text.len() < 300, "{text}");
        ensure!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    bystander.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_resumes_with_a_hundred_filters_held_nobody_up() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--threads", "1").gateway("--connection-rate", "4MiB/s:16MiB");
    let cluster = Cluster::start(shape.gateway("--history-length", "10000"))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut place = Value::Null;
    for n in 0..10_000 {
        client.send("diffyne.call", probe("p", "announce", json!([n]), "r")).await?;
        if n % 50 == 49 {
            for _ in 0..50 {
                client.receive().await?;
            }
        }
        if n == 99 {
            client.send("diffyne.ping", json!({})).await?;
            place = client.receive().await?["data"].clone();
        }
    }
    let filters: Vec<Value> = (0..100).map(|i| json!({"name": "message-sent", "match": {"nope": i}})).collect();
    let mut attacker = attacker(&cluster.gateways[0]).await?;
    let subscribe = json!({"event": "diffyne.subscribe", "data": {"events": filters}}).to_string();
    attacker.send(&client_frame(&subscribe)).await?;
    ensure!(answer(&mut attacker).await?["event"] == "diffyne.subscribed");

    let bystander = Bystander::start(&cluster.url(0)).await?;
    let cpu = cluster.gateways[0].process.cpu_seconds()?;
    let resume = json!({"event": "diffyne.resume", "data": {
        "epoch": place["epoch"], "offset": place["offset"], "events": [filters[0]], "requestId": "r",
    }});
    let resume = client_frame(&resume.to_string());
    let burst = resume.repeat(1000);
    attacker.send(&burst).await?;
    let mut kinds = std::collections::BTreeMap::new();
    let until = Instant::now() + Duration::from_secs(5);
    while let Ok(Ok(bytes)) = tokio::time::timeout_at(until.into(), attacker.receive()).await {
        let answer: Value = serde_json::from_slice(bytes)?;
        *kinds.entry(answer["event"].to_string() + &answer["data"]["type"].to_string()).or_insert(0) += 1;
    }
    let spent = cluster.gateways[0].process.cpu_seconds()? - cpu;
    println!("{kinds:?}, {spent:.2} s of CPU");
    ensure!(kinds.get(r#""diffyne.error""overloaded""#).is_some_and(|count| *count > 900), "one at a time: {kinds:?}");
    ensure!(spent < 3.0, "{spent} s of CPU");
    bystander.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_cost_their_client_what_they_send() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--threads", "1").gateway("--connection-rate", "1MiB/s:2MiB");
    let cluster = Cluster::start(shape.gateway("--history-length", "2000"))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    client.send("diffyne.call", probe("p", "announce", json!([0]), "r")).await?;
    client.receive().await?;
    client.send("diffyne.ping", json!({})).await?;
    let place = client.receive().await?["data"].clone();
    for n in 0..1000 {
        client.send("diffyne.call", probe("p", "blast", json!([n, 1000]), "r")).await?;
        client.receive().await?;
    }
    let mut attacker = attacker(&cluster.gateways[0]).await?;
    let resume = json!({"event": "diffyne.resume", "data": {
        "epoch": place["epoch"], "offset": place["offset"], "events": [{"name": "message-sent"}], "requestId": "r",
    }});
    let resume = client_frame(&resume.to_string());
    let (started, mut bytes, mut replays) = (Instant::now(), 0, 0);
    while started.elapsed() < Duration::from_secs(4) {
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
    ensure!(replays > 2, "they are slowed, not refused");
    ensure!((bytes as f64) < allowed, "{bytes} bytes, {allowed} allowed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_misses_or_doubles_a_message_while_it_is_replayed_slowly() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--threads", "1").gateway("--connection-rate", "256KiB/s:300KiB");
    let cluster = Cluster::start(shape.gateway("--history-length", "5000"))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    client.send("diffyne.call", probe("p", "announce", json!([-1]), "r")).await?;
    client.receive().await?;
    client.send("diffyne.ping", json!({})).await?;
    let place = client.receive().await?["data"].clone();
    let publish = async |client: &mut Client, n: i64| {
        client.send("diffyne.call", probe("p", "blast", json!([n, 1000]), "r")).await?;
        client.receive().await
    };
    for n in 0..900 {
        publish(&mut client, n).await?;
    }
    let mut back = Client::connect(&cluster.url(0)).await?;
    let resume = json!({"epoch": place["epoch"], "offset": place["offset"], "events": [{"name": "message-sent"}]});
    back.send("diffyne.resume", resume).await?;
    let live = tokio::spawn(async move {
        for n in 900..1200 {
            publish(&mut client, n).await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        anyhow::Ok(())
    });
    let (mut expected, mut resumed_at) = (0, None);
    while expected < 1200 || resumed_at.is_none() {
        let message = back.receive().await?;
        if message["event"] == "diffyne.resumed" {
            ensure!(message["data"]["recovered"] == true, "{message}");
            resumed_at = Some(expected);
            continue;
        }
        let n = message["data"]["events"][0]["params"][0]["n"].as_i64().context("no number")?;
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
    let mut stream = stream_from([127, 0, 0, 7], node).await?;
    stream.write_all(handshake("/", &[]).as_bytes()).await?;
    stream.write_all(first).await?;
    let (mut read, mut write) = stream.into_split();
    let many = frame.repeat(20_000);
    let writing = tokio::spawn(async move { while write.write_all(&many).await.is_ok() {} });
    let mut all = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), read.read_to_end(&mut all)).await;
    writing.abort();
    // A reset after the close frame is as good as an end.
    ended.context("the flood went on")?.ok();
    let at = all.windows(2).rposition(|pair| pair[0] == 0x88).context("no close frame")?;
    Ok(u16::from_be_bytes([all[at + 2], all[at + 3]]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_frames_held_nobody_up() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--threads", "1").gateway("--frame-rate", "1000/s:5000");
    let cluster = Cluster::start(shape)?;
    let bystander = Bystander::start(&cluster.url(0)).await?;
    // Frames without a payload: a ping, a pong, and a continuation of a message that has begun.
    let (ping, pong) = ([0x89, 0x80, 0, 0, 0, 0], [0x8a, 0x80, 0, 0, 0, 0]);
    let (begin, go_on) = ([0x01, 0x80, 0, 0, 0, 0], [0x00, 0x80, 0, 0, 0, 0]);
    let floods: [(&str, &[u8], &[u8]); 3] =
        [("pings", &ping, &ping), ("pongs", &pong, &pong), ("empty fragments", &begin, &go_on)];
    for (name, first, frame) in floods {
        let code = flood(&cluster.gateways[0], first, frame).await?;
        ensure!(code == 1008, "{name}: {code}");
    }
    let limited = cluster.gateways[0].metric(r#"diffyne_gateway_limited_total{what="frames"}"#)?;
    ensure!(limited >= 3.0, "{limited}");
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
        ensure!(client.receive().await?["event"] == "diffyne.pong");
    }
    let took = started.elapsed();
    ensure!(took > Duration::from_millis(2500) && took < Duration::from_secs(6), "{took:?}");
    Ok(())
}

// --- C. A connection's memory is all that it holds.

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_large_filters_of_one_client_took_no_more_than_its_share() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--connection-bytes", "4MiB");
    let cluster = Cluster::start(shape)?;
    let node = &cluster.gateways[0];
    let before = node.process.resident_kib()?;
    let mut attacker = attacker(node).await?;
    let mut refused = 0;
    for name in 0..100 {
        for part in 0..2 {
            let filters: Vec<Value> = (0..50)
                .map(|i| json!({"name": format!("e{name}"), "match": {"a": vec![i + part * 50; 400]}}))
                .collect();
            let message = json!({"event": "diffyne.subscribe", "data": {"events": filters}}).to_string();
            attacker.send(&client_frame(&message)).await?;
            refused += usize::from(answer(&mut attacker).await?["event"] == "diffyne.error");
        }
    }
    let grown = node.process.resident_kib()? - before;
    println!("{refused} of 200 messages refused, resident {grown} KiB more");
    ensure!(refused > 100 && grown < 24 * 1024, "{refused} refused, {grown} KiB");
    // What it has still works, and what it gives back can be used again.
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_count_as_what_their_connection_holds() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).worker("--worker-concurrency", "1").gateway("--outbox-bytes", "1MiB");
    let cluster = Cluster::start(shape.gateway("--connection-bytes", "3MiB"))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for n in 0..6 {
        let mut call = probe("p", "slow", json!([format!("t{n}"), 200]), &format!("r{n}"));
        call["state"]["ballast"] = json!("x".repeat(900_000));
        client.send("diffyne.call", call).await?;
    }
    // They are more than it may hold: it is read from as room comes.
    for _ in 0..6 {
        let answer = client.receive().await?;
        ensure!(answer["data"]["s"] == true, "{answer}");
    }
    for n in 0..60 {
        let mut call = probe("p", "slow", json!([format!("u{n}"), 10]), &format!("s{n}"));
        call["state"]["ballast"] = json!("x".repeat(60_000));
        client.send("diffyne.call", call).await?;
    }
    let mut refused = 0;
    for _ in 0..60 {
        let answer = client.receive().await?;
        refused += usize::from(answer["data"]["type"] == "overloaded");
    }
    println!("{refused} of 60 refused");
    ensure!((1..30).contains(&refused), "{refused} of 60 refused");
    client.send("diffyne.call", increment("diffyne-a", 1, "again")).await?;
    ensure!(client.receive().await?["data"]["s"] == true, "what was held is given back");
    Ok(())
}

fn says_memory(node: &Node) -> bool {
    node.health().is_ok_and(|health| health["reasons"].to_string().contains("memory: above DIFFYNE_MEMORY_MAX"))
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_messages_are_shed_when_memory_is_short_and_new_clients_come_in() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--memory-max", "200MiB").gateway("--handshake-rate", "off");
    let cluster = Cluster::start(shape)?;
    let node = &cluster.gateways[0];
    let begin = {
        let mut bytes = vec![0x81, 0x80 | 127];
        bytes.extend(1_048_000_u64.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(vec![b' '; 1_000_000]);
        bytes
    };
    let mut streams = Vec::new();
    let mut told = false;
    for n in 0..600_u32 {
        let Ok(mut stream) = stream_from([127, 0, 1, (n % 200) as u8 + 1], node).await else { continue };
        stream.write_all(handshake("/", &[]).as_bytes()).await?;
        // It may be refused, or end while it writes.
        let _ = tokio::time::timeout(Duration::from_secs(2), stream.write_all(&begin)).await;
        streams.push(stream);
        told |= says_memory(node);
    }
    // What was sent may still lie in socket buffers.
    eventually("/health says that memory is short", || told || says_memory(node))?;
    eventually("the largest are ended", || node.metric("diffyne_gateway_shed_total").is_ok_and(|shed| shed > 0.0))?;
    eventually("new clients come in again", || node.health().is_ok() && !says_memory(node))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    client.send("diffyne.call", increment("diffyne-a", 1, "r")).await?;
    ensure!(client.receive().await?["data"]["s"] == true);
    let resident = node.process.resident_kib()?;
    ensure!(resident < 215 * 1024, "{resident} KiB");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_does_not_come_to_its_end_ends_its_connection() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--message-timeout", "2s"))?;
    let node = &cluster.gateways[0];
    // Half a head, half a payload, fragments without an end.
    let beginnings: [&[u8]; 3] = [&[0x81], &[0x81, 0x85, 0, 0, 0, 0, b'x'], &[0x01, 0x81, 0, 0, 0, 0, b'x']];
    for beginning in beginnings {
        let mut stream = TcpStream::connect(at(node)).await?;
        stream.write_all(handshake("/", &[]).as_bytes()).await?;
        stream.write_all(beginning).await?;
        let mut all = Vec::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut all)).await.context("it stayed")??;
        ensure!(String::from_utf8_lossy(&all).contains("did not arrive in time"), "{beginning:?}");
    }
    // Whoever sends whole messages stays.
    let mut client = Client::connect(&cluster.url(0)).await?;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(600)).await;
        client.barrier().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_sockets_locked_nobody_out() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--header-timeout", "60s"))?;
    let node = &cluster.gateways[0];
    let mut silent = Vec::new();
    // One address alone has its limit.
    for _ in 0..700 {
        silent.push(stream_from([127, 0, 2, 1], node).await?);
    }
    eventually("the address is told apart", || {
        node.metric(r#"diffyne_gateway_handshakes_total{result="address"}"#).is_ok_and(|refused| refused >= 188.0)
    })?;
    // Many together fill the house: the oldest silent ones make room.
    for n in 0..8400_u32 {
        silent.push(stream_from([127, 0, 3, (n % 40) as u8 + 1], node).await?);
    }
    let started = Instant::now();
    let mut client = Client::connect(&cluster.url(0)).await?;
    client.send("diffyne.call", increment("diffyne-a", 1, "r")).await?;
    ensure!(client.receive().await?["data"]["s"] == true);
    ensure!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let evicted = node.metric(r#"diffyne_gateway_handshakes_total{result="evicted"}"#)?;
    ensure!(evicted > 0.0, "{evicted}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_ajax_bodies_of_one_address_refuse_nobody_else() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--header-timeout", "30s").gateway("--max-http-connections-per-address", "0");
    let cluster = Cluster::start(shape)?;
    let node = &cluster.gateways[0];
    let mut held = Vec::new();
    for _ in 0..1024 {
        let mut stream = stream_from([127, 0, 4, 1], node).await?;
        let head = "POST /_diffyne/update HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{";
        stream.write_all(head.as_bytes()).await?;
        held.push(stream);
    }
    eventually("the address is refused more", || {
        node.metric(r#"diffyne_gateway_http_calls_total{result="address"}"#).is_ok_and(|refused| refused >= 768.0)
    })?;
    let mut refused = held.pop().context("one")?;
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(Duration::from_secs(5), refused.read(&mut answer)).await??;
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    ensure!(answer.starts_with("HTTP/1.1 429") && answer.contains("rate_limited"), "{answer}");
    let body = increment("diffyne-a", 1, "r").to_string();
    let other = http_post(node.port, "/_diffyne/update", &[], &body)?;
    ensure!(other.status == 200, "{other:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_its_ajax_answer_is_ended() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--outbox-timeout", "1s").gateway("--max-requests", "1");
    let cluster = Cluster::start(shape)?;
    let node = &cluster.gateways[0];
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let mut deaf = socket.connect(at(node)).await?;
    let body = probe("p", "blast", json!([1, 1_900_000]), "r").to_string();
    let head = format!("POST /_diffyne/update HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    // Enough answers that no socket buffer holds them; none is read.
    let many = format!("{head}{body}").repeat(8);
    tokio::spawn(async move {
        let _ = deaf.write_all(many.as_bytes()).await;
        tokio::time::sleep(Duration::from_mins(1)).await;
        drop(deaf);
    });
    let call = increment("diffyne-a", 1, "r").to_string();
    // Its place is taken while its answer is not read, and given back when it is ended.
    eventually("the only place is taken", || {
        http_post(node.port, "/_diffyne/update", &[], &call).is_ok_and(|answer| answer.status == 503)
    })?;
    eventually("it is given back", || {
        http_post(node.port, "/_diffyne/update", &[], &call).is_ok_and(|answer| answer.status == 200)
    })?;
    ensure!(http_get(node.port, "/health")?.status == 200);
    Ok(())
}
