//! Gateways and workers prove to each other that they know the token: what strangers pretend and repeat on the relay.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use diffyne_shared::rpc::{Challenge, Frame, Hello, Proof, VersionRange};
use diffyne_shared::token::Tokens;
use diffyne_tests::client::{Client, increment};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::process::{Signal, eventually, program};
use diffyne_tests::relay::{
    FakeGateway, FakeWorker, RecordingListener, WORKER_TOKEN, call_frame, count_unproved, first_version_hello,
    reply_frame, shape_with_token,
};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn pretended(versions: VersionRange) -> Hello {
    Hello { versions, id: "w".to_owned(), capacity: 100, ..Hello::default() }
}

fn challenge() -> Frame<'static> {
    Frame::Challenge(Challenge { versions: VersionRange::default(), id: "w".to_owned(), nonce: vec![7; 32].into() })
}

/// What somebody at a worker's address answers who does not know the token: a table of how, and of what frame.
#[allow(clippy::match_same_arms)]
fn pretend(how: &str, frame: &Frame<'_>) -> Vec<Frame<'static>> {
    let with = |proof: Vec<u8>| Frame::Hello(Hello { proof: Some(proof.into()), ..pretended(VersionRange::default()) });
    match (how, frame) {
        (_, Frame::Call(call)) => vec![reply_frame(call.id)],
        ("as if no token were there", Frame::Hello(_)) => vec![Frame::Hello(pretended(VersionRange::default()))],
        ("of the first version", Frame::Hello(_)) => vec![Frame::Hello(pretended(VersionRange { min: 1, max: 1 }))],
        ("with a proof that nobody asked for", Frame::Hello(_)) => vec![with(vec![1; 32])],
        (_, Frame::Hello(_)) => vec![challenge()],
        ("with a made-up proof", Frame::Proof(_)) => vec![with(vec![1; 32])],
        ("with an empty proof", Frame::Proof(_)) => vec![with(Vec::new())],
        ("with no proof", Frame::Proof(_)) => vec![Frame::Hello(pretended(VersionRange::default()))],
        ("with the gateway's own proof", Frame::Proof(Proof { macs })) => vec![with(macs[0].to_vec())],
        ("asking for ever", Frame::Proof(_)) => vec![challenge()],
        _ => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_prove_the_token_gets_no_call_and_is_reported() -> anyhow::Result<()> {
    for how in [
        "as if no token were there",
        "of the first version",
        "with a proof that nobody asked for",
        "with a made-up proof",
        "with an empty proof",
        "with no proof",
        "with the gateway's own proof",
        "asking for ever",
    ] {
        let stranger = FakeWorker::start(move || move |frame: &Frame<'_>| pretend(how, frame)).await?;
        let shape = Shape::new(1, 0).gateway("--worker-token", WORKER_TOKEN).gateway("--worker-wait", "300ms");
        let cluster = Cluster::start_unready(shape.gateway("--workers", &format!("127.0.0.1:{}", stranger.port)))?;
        let gateway = &cluster.gateways[0];
        if how != "asking for ever" {
            eventually("it is counted", || count_unproved(gateway, "worker").is_ok_and(|count| count > 0.0))?;
        }
        eventually("it is told", || gateway.process.output().contains("cannot reach the worker"))?;
        let mut client = Client::connect_with(&cluster.url(0), &[("Cookie", "session=secret")]).await?;
        assert!(!client.call(increment("diffyne-a", 1, "r")).await?.is_ok(), "{how}");
        assert_eq!((gateway.ready()?, &gateway.health()?["workers"]), (503, &json!(0)), "{how}");
        let seen = stranger.seen();
        let harmless = |text: &String| text.starts_with("Hello(") || text.starts_with("Proof(");
        assert!(seen.iter().all(harmless) && !seen.is_empty(), "{how}: {seen:?}");
        assert!(!seen.iter().any(|text| text.contains(WORKER_TOKEN) || text.contains("secret")), "{how}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_cannot_prove_the_token_gets_no_reply() -> anyhow::Result<()> {
    let cluster = Cluster::start(shape_with_token(1, 1))?;
    let payload = increment("diffyne-a", 1, "r").to_string();
    let call = || call_frame(payload.as_bytes());
    let hello = |nonce: usize, token: Option<&str>| {
        let token = token.map(str::to_owned);
        Frame::Hello(Hello { id: "g".to_owned(), token, nonce: Some(vec![5; nonce].into()), ..Hello::default() })
    };
    let proof = |count: usize| Frame::Proof(Proof { macs: vec![vec![9; 32].into(); count] });
    let cases: [(&str, Vec<Frame<'_>>); 9] = [
        ("a call at once", vec![call()]),
        ("a call after the hello", vec![hello(32, None), call()]),
        ("no proof", vec![hello(32, None), proof(0), call()]),
        ("a made-up proof", vec![hello(32, None), proof(1), call()]),
        ("many proofs", vec![hello(32, None), proof(300), call()]),
        ("no nonce", vec![hello(0, None), call()]),
        ("two hellos", vec![hello(32, None), hello(32, None), call()]),
        ("the token itself, as before", vec![first_version_hello(Some(WORKER_TOKEN)), call()]),
        ("the token in a new hello", vec![hello(32, Some(WORKER_TOKEN)), proof(0), call()]),
    ];
    for (case, frames) in &cases {
        let mut stranger = FakeGateway::connect(cluster.workers[0].port).await?;
        for frame in frames {
            // It may have hung up by then.
            let _ = stranger.send(frame).await;
        }
        let seen = stranger.until_hang_up().await?;
        let harmless = |text: &String| text.starts_with("Challenge(") || text.starts_with("Refuse(");
        assert!(seen.iter().all(harmless), "{case}: {seen:?}");
    }
    // A hello is small, or it is none: nothing is kept for a stranger.
    let mut large = FakeGateway::connect(cluster.workers[0].port).await?;
    large.send_bytes(&(1u32 << 20).to_be_bytes()).await?;
    assert_eq!(large.until_hang_up().await?, Vec::<String>::new());
    let worker = &cluster.workers[0];
    eventually("each is counted", || {
        worker.metric("diffyne_worker_gateways_refused_total").is_ok_and(|count| count >= 10.0)
    })?;
    assert!(worker.process.output().contains("shows its token in the clear: update it"));
    assert!(
        worker.metric(
            r#"diffyne_worker_calls_total{component="App\\Diffyne\\Counter",method="increment",outcome="ok"}"#
        )? < 0.5
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_hello_cannot_be_replayed() -> anyhow::Result<()> {
    let cluster = Cluster::start(shape_with_token(1, 1))?;
    // Somebody in between writes down what both sides say.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let between = listener.local_addr()?.port();
    let through = Cluster::start_unready(
        Shape::new(1, 0).gateway("--worker-token", WORKER_TOKEN).gateway("--workers", &format!("127.0.0.1:{between}")),
    )?;
    let (mut from_gateway, _) = listener.accept().await?;
    let mut to_worker = tokio::net::TcpStream::connect(("127.0.0.1", cluster.workers[0].port)).await?;
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    let (mut a, mut b) = ([0; 4096], [0; 4096]);
    // Four frames of the hello, and the first ping.
    while answered.len() < 200 || asked.len() < 200 {
        tokio::select! {
            read = from_gateway.read(&mut a) => {
                let read = read?;
                asked.extend_from_slice(&a[..read]);
                to_worker.write_all(&a[..read]).await?;
            }
            read = to_worker.read(&mut b) => {
                let read = read?;
                answered.extend_from_slice(&b[..read]);
                from_gateway.write_all(&b[..read]).await?;
            }
        }
    }
    eventually("the worker had taken it", || {
        cluster.workers[0].process.output().matches("gateway connected").count() >= 2
    })?;
    assert!(
        ![&asked, &answered]
            .iter()
            .any(|bytes| bytes.windows(WORKER_TOKEN.len()).any(|part| part == WORKER_TOKEN.as_bytes()))
    );
    drop((from_gateway, to_worker, through, listener));
    // Said again to the worker: refused.
    let mut again = FakeGateway::connect(cluster.workers[0].port).await?;
    again.send_bytes(&asked).await?;
    let payload = increment("diffyne-a", 1, "r").to_string();
    let _ = again.send(&call_frame(payload.as_bytes())).await;
    let seen = again.until_hang_up().await?;
    assert!(seen.len() == 2 && seen[0].starts_with("Challenge(") && seen[1].contains("wrong worker token"), "{seen:?}");
    // Said again to a gateway: it takes it for nobody.
    let recorded = RecordingListener::start(answered).await?;
    let fooled = Shape::new(1, 0).gateway("--worker-token", WORKER_TOKEN);
    let fooled = Cluster::start_unready(fooled.gateway("--workers", &format!("127.0.0.1:{}", recorded.port)))?;
    eventually("it is counted", || count_unproved(&fooled.gateways[0], "worker").unwrap() > 0.0)?;
    assert_eq!(fooled.gateways[0].health()?["workers"], 0);
    Ok(())
}

fn with_token(cluster_directory: &Path, token: &str) -> anyhow::Result<String> {
    let file = cluster_directory.join("token.toml");
    std::fs::write(&file, format!("worker_token = \"{token}\"\n"))?;
    Ok(file.display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_rotated_by_sighup_while_calls_continue() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let config = with_token(directory.path(), "old")?;
    let shape = Shape::new(2, 2).with_redis().gateway("--admin-token", "admin");
    let mut cluster = Cluster::start(shape.gateway("--config", &config).worker("--config", &config))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut n = 0;
    for (round, token) in ["old,new", "new"].iter().enumerate() {
        with_token(directory.path(), token)?;
        // One after the other, in any order: two that have one token in common understand each other.
        for index in [3, 0, 2, 1] {
            let node = if index < 2 { &cluster.gateways[index] } else { &cluster.workers[index - 2] };
            node.process.signal(Signal::Hup)?;
            eventually("it has reloaded", || {
                node.process.output().matches("keys and log level reloaded").count() > round
            })?;
            client.check_increment(n).await?;
            n += 1;
            cluster.wait_until_ready()?;
        }
        // Connections that are made now prove the new one.
        for index in 0..2 {
            cluster.workers[index].process.kill()?;
            cluster.restart_worker(index)?;
            cluster.wait_until_ready()?;
            client.check_increment(n).await?;
            n += 1;
        }
        let answer = cluster.gateways[0].disconnect("admin", "nobody")?;
        assert_eq!(answer["silent"], json!([]), "gateways believe each other: {answer}");
    }
    // The old one opens nothing any more.
    let stale = FakeGateway::connect(cluster.workers[0].port).await;
    let mut stale = stale?;
    let (mut greeting, hello) = diffyne_shared::rpc::handshake::GatewayHandshake::new(
        Arc::new(Tokens::new(&["old".to_owned()])),
        "g",
        1 << 20,
    )?;
    stale.send(&hello).await?;
    let asked = stale.receive(|frame| match frame {
        Frame::Challenge(challenge) => Some(challenge.clone()),
        _ => None,
    });
    let challenge = asked.await?.flatten().unwrap();
    let Ok(diffyne_shared::rpc::handshake::GatewayStep::Send(proof)) = greeting.receive(Frame::Challenge(challenge))
    else {
        panic!("no proof")
    };
    stale.send(&proof).await?;
    assert!(stale.until_hang_up().await?[0].contains("wrong worker token"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_of_the_previous_release_are_accepted_while_the_setting_says_so() -> anyhow::Result<()> {
    let payload = increment("diffyne-a", 1, "r").to_string();
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("legacy.toml");
    std::fs::write(&file, "worker_token_legacy = \"accept\"\n")?;
    // Beside it a gateway of this release works as ever.
    let cluster = Cluster::start(shape_with_token(1, 1).worker("--config", &file.display().to_string()))?;
    let worker = &cluster.workers[0];
    let visit = async |token: Option<&'static str>| -> anyhow::Result<Vec<String>> {
        let mut old = FakeGateway::connect(worker.port).await?;
        old.send(&first_version_hello(token)).await?;
        let _ = old.send(&call_frame(payload.as_bytes())).await;
        old.until(|seen| seen.len() == 2).await
    };
    let seen = visit(Some(WORKER_TOKEN)).await?;
    assert!(seen.len() >= 2 && seen[0].starts_with("Hello(") && seen[1].starts_with("Reply("), "{seen:?}");
    assert!(!seen[0].contains(WORKER_TOKEN));
    assert!(worker.process.output().contains("DIFFYNE_WORKER_TOKEN_LEGACY=accept"), "each time it is told");
    for wrong in [None, Some("wrong"), Some("")] {
        let seen = visit(wrong).await?;
        assert!(seen.len() == 1 && seen[0].contains("wrong worker token"), "{seen:?}");
    }
    let mut client = Client::connect(&cluster.url(0)).await?;
    client.check_increment(1).await?;
    // The last step of the roll-out.
    std::fs::write(&file, "")?;
    worker.process.signal(Signal::Hup)?;
    eventually("it has reloaded", || worker.process.output().contains("keys and log level reloaded"))?;
    let seen = visit(Some(WORKER_TOKEN)).await?;
    assert!(seen.len() == 1 && seen[0].contains("update it"), "{seen:?}");
    client.check_increment(2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_a_wrong_token_from_a_stranger() -> anyhow::Result<()> {
    let cluster = Cluster::start(shape_with_token(1, 1).with_redis())?;
    let stranger = FakeWorker::start(|| |frame: &Frame<'_>| pretend("as if no token were there", frame)).await?;
    let redis = cluster.redis_url();
    let (worker, stranger) = (format!("127.0.0.1:{}", cluster.workers[0].port), format!("127.0.0.1:{}", stranger.port));
    let doctor = |token: &str, workers: &str| -> anyhow::Result<HashMap<bool, Vec<String>>> {
        let mut command = Command::new(program("diffyne-gateway")?);
        command.args(["doctor", "--workers", workers, "--redis-url", &redis, "--listen", "127.0.0.1:0"]);
        let output = command.args(["--signing-key", "test", "--worker-token", token]).env_clear().output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = HashMap::<bool, Vec<String>>::new();
        for line in text.lines().filter(|line| line.contains(" worker")) {
            lines.entry(line.starts_with("BAD")).or_default().push(line.to_owned());
        }
        Ok(lines)
    };
    let lines = doctor("wrong", &worker)?;
    let bad = lines[&true].join("\n");
    assert!(bad.contains("turned away: wrong worker token (DIFFYNE_WORKER_TOKEN)"), "{lines:?}");
    assert!(bad.contains("in Redis is ignored: it is not signed with DIFFYNE_WORKER_TOKEN"), "{lines:?}");
    let lines = doctor(WORKER_TOKEN, &stranger)?;
    assert!(lines[&true].join("\n").contains("did not prove that it knows DIFFYNE_WORKER_TOKEN"), "{lines:?}");
    assert!(lines[&false].join("\n").contains(&worker), "the registered one is well: {lines:?}");
    Ok(())
}
