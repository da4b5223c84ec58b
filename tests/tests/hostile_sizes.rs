//! Names, calls and replies that are too large cost their sender an error, and nobody else anything: what a gateway
//! builds from a client's input is measured before it is sent.

use std::sync::LazyLock;

use anyhow::ensure;
use diffyne_shared::rpc::{self, CallKind, Frame, FrameReader, Hello, Outcome, Reply, Transport};
use diffyne_tests::attack::{Bystander, check_that_workers_are_connected, connect_attacker, receive_message};
use diffyne_tests::client::{Client, increment, probe};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::http::http_post;
use diffyne_tests::load::client_frame;
use diffyne_tests::process::eventually;
use diffyne_tests::relay::FakeWorker;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn somebody_sent_huge_names_and_nobody_elses_call_was_lost() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 2))?;
    let bystander = Bystander::start(&cluster).await?;
    let mut attacker = connect_attacker(&cluster.gateways[0]).await?;
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
            let reply = receive_message(&mut attacker).await?;
            let error = reply.error();
            ensure!(error.starts_with(name) && error.contains("longer than"), "{round} {name}: {reply}");
            ensure!(reply.error_type() == "validation_error" && reply.to_string().len() < 500, "{reply}");
        }
    }
    bystander.finish().await?;
    check_that_workers_are_connected(&cluster)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_subscription_fails_by_itself() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--subscribe", "granted").gateway("--signing-key", "test");
    let cluster = Cluster::start(shape)?;
    let bystander = Bystander::start(&cluster).await?;
    let mut attacker = connect_attacker(&cluster.gateways[0]).await?;
    // Numbers that print longer than they came.
    let numbers = vec!["1e15"; 120_000].join(",");
    for list in [numbers.as_str(), &numbers[..60_000 / 5 * 5 - 1]] {
        let message = format!(
            r#"{{"event":"diffyne.subscribe","data":{{"events":[{{"name":"message-sent","componentClass":"App\\Tests\\Listener","match":{{"a":[{list}]}}}}],"requestId":"r"}}}}"#
        );
        for _ in 0..20 {
            attacker.send(&client_frame(&message)).await?;
            let reply = receive_message(&mut attacker).await?;
            ensure!(reply.event() == "diffyne.error" && reply.request_id() == "r", "{reply}");
        }
    }
    bystander.finish().await?;
    check_that_workers_are_connected(&cluster)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_larger_than_the_worker_takes_is_refused_and_the_next_one_runs() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).worker("--ws-max-message-size", "64KiB"))?;
    let bystander = Bystander::start(&cluster).await?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for round in 0..20 {
        let mut large = increment("diffyne-a", 0, "large");
        large["state"]["ballast"] = json!("x".repeat(800_000));
        let answer = client.call(large.clone()).await?;
        ensure!(answer.error_type() == "too_large" && answer.request_id() == "large", "{answer}");
        ensure!(client.call(increment("diffyne-a", round, "small")).await?.state()["count"] == round + 1);
        let by_ajax = http_post(cluster.gateways[0].port, "/_diffyne/update", &[], &large.to_string())?;
        ensure!([400, 413].contains(&by_ajax.status), "{by_ajax:?}");
    }
    bystander.finish().await?;
    check_that_workers_are_connected(&cluster)
}

/// More than a gateway takes.
static LARGE_REPLY: LazyLock<String> = LazyLock::new(|| format!(r#"{{"s":true,"x":"{}"}}"#, "x".repeat(3_000_000)));

/// Answers as a worker of an older release: it does not tell how long a frame it takes, and replies with more than the
/// gateway takes when the method is `large`.
fn answer_without_frame_limit(frame: &Frame<'_>) -> Vec<Frame<'static>> {
    let answer = match frame {
        Frame::Hello(_) => Frame::Hello(Hello {
            id: "old".to_owned(),
            capacity: 64,
            frame_bytes_max: None,
            nonce: None,
            ..Hello::default()
        }),
        Frame::Call(call) => {
            let is_large = String::from_utf8_lossy(call.payload).contains(r#""method":"large""#);
            let data = if is_large { LARGE_REPLY.as_bytes() } else { br#"{"s":true}"# };
            Frame::Reply(Reply::new(call.id, Outcome::Ok, 200, data))
        }
        _ => Frame::Pong(rpc::Pong::default()),
    };
    vec![answer]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_larger_than_the_gateway_takes_fails_by_itself() -> anyhow::Result<()> {
    let worker = FakeWorker::start(|| answer_without_frame_limit).await?;
    let shape = Shape::new(1, 0).gateway("--workers", &format!("127.0.0.1:{}", worker.port));
    let cluster = Cluster::start_unready(shape.gateway("--outbox-bytes", "1MiB").gateway("--threads", "1"))?;
    eventually("the worker is used", || cluster.gateways[0].ready().is_ok_and(|status| status == 200))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for _ in 0..10 {
        client.send("diffyne.call", probe("a", "large", json!([]), "large")).await?;
        client.send("diffyne.call", probe("b", "small", json!([]), "small")).await?;
        for _ in 0..2 {
            let answer = client.receive().await?;
            if answer.request_id() == "small" {
                ensure!(answer.is_ok(), "{answer}");
            } else {
                ensure!(!answer.is_ok() && answer.error_type() == "server_error", "{answer}");
                ensure!(answer.error().contains("was run"), "{answer}");
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
    let hello = Hello { id: "by hand".to_owned(), ..Hello::default() };
    rpc::encode(&Frame::Hello(hello), &mut out)?;
    let ballast = "x".repeat(2_000_000);
    for (id, ballast) in [(7_u64, ballast.as_str()), (8, "")] {
        let data = json!({
            "type": "call", "componentId": "a", "componentClass": "App\\Diffyne\\Counter", "method": "increment",
            "params": [], "state": {"count": 1, "ballast": ballast}, "signature": "", "fingerprint": "",
        });
        let payload = data.to_string();
        let client = rpc::Client { id: "c", ip: "127.0.0.1", transport: Transport::Ws, headers: b"", cookies: b"" };
        let call = rpc::Call {
            id,
            budget_ms: 5000,
            client,
            kind: CallKind::Call,
            cause: None,
            pushes: false,
            stream_ms: 0,
            wants_user: false,
            trace: None,
            payload: payload.as_bytes(),
        };
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
