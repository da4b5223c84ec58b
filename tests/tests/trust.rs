//! Redis and the relay trust nobody by position: what strangers announce, order, pretend and repeat.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use deadpool_redis::redis;
use diffyne_shared::rpc::{Challenge, Frame, Hello, Proof, VersionRange};
use diffyne_shared::token::{MacPurpose, Tokens};
use diffyne_tests::client::{Client, increment};
use diffyne_tests::cluster::{Cluster, Node, Shape, http_post};
use diffyne_tests::process::{Signal, eventually, program};
use diffyne_tests::redis::cli;
use diffyne_tests::relay::{HandGateway, HandWorker, Recorder, a_call, a_reply, old_hello};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const TOKEN: &str = "a-long-random-text-that-only-gateways-and-workers-know";

fn shape(gateways: usize, workers: usize) -> Shape {
    Shape::new(gateways, workers).gateway("--worker-token", TOKEN).worker("--worker-token", TOKEN)
}

fn unproved(node: &Node, what: &str) -> f64 {
    node.metric(&format!("diffyne_gateway_unproved_total{{what=\"{what}\"}}")).unwrap()
}

async fn counts(client: &mut Client, n: i64) -> anyhow::Result<()> {
    client.send("diffyne.call", increment("diffyne-a", n, "r")).await?;
    let answer = client.receive().await?;
    anyhow::ensure!(answer["data"]["c"]["st"]["count"] == n + 1, "{answer}");
    Ok(())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Writes into the registry what a stranger would.
fn announce(cluster: &Cluster, name: &str, entry: &str) -> anyhow::Result<()> {
    cli(cluster.redis_port, &["HSET", "{diffyne}:workers", name, entry])?;
    cli(cluster.redis_port, &["ZADD", "{diffyne}:workers:until", "9999999999999", name])?;
    cli(cluster.redis_port, &["PUBLISH", "{diffyne}:status", &json!({"workers": name}).to_string()])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_announces_a_worker_in_redis_is_never_sent_a_byte() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape { reachable: Some(1), ..shape(2, 1).with_redis() })?;
    let stranger = Recorder::start(Vec::new()).await?;
    let address = format!("127.0.0.1:{}", stranger.port);
    // The registration of the real worker, as anybody can read it.
    let real = cli(cluster.redis_port, &["HVALS", "{diffyne}:workers"])?;
    let real: Value = serde_json::from_str(real.lines().next().unwrap())?;
    let mut moved = real.clone();
    moved["address"] = json!(address);
    let (id, until) = (real["id"].clone(), now() + 50);
    let theirs = Tokens::new(&["another".to_owned()]);
    let parts: [&[u8]; 5] = [b"", b"x", address.as_bytes(), b"", &until.to_be_bytes()];
    let stale = Tokens::new(&[TOKEN.to_owned()]);
    let past = now() - 100;
    let old_parts: [&[u8]; 5] = [b"", b"x", address.as_bytes(), b"", &past.to_be_bytes()];
    for (name, entry) in [
        ("unsigned", json!({"id": "x", "address": address})),
        ("unsigned-as-the-worker", json!({"id": id, "address": address})),
        ("of-another-address", moved),
        (
            "of-another-token",
            json!({"id": "x", "address": address, "until": until, "macs": theirs.sign(MacPurpose::Registration, &parts)}),
        ),
        (
            "of-long-ago",
            json!({"id": "x", "address": address, "until": past, "macs": stale.sign(MacPurpose::Registration, &old_parts)}),
        ),
        ("nonsense", json!({"id": "x", "address": address, "until": -1, "macs": 7})),
    ] {
        announce(&cluster, name, &entry.to_string())?;
    }
    for gateway in &cluster.gateways {
        eventually("it is counted", || unproved(gateway, "registration") >= 5.0)?;
        eventually("it is in the log", || gateway.process.output().contains("something in redis is not believed"))?;
        assert_eq!(gateway.health()?["workers"], 1);
    }
    for gateway in 0..2 {
        let mut client = Client::connect_with(&cluster.url(gateway), &[("Cookie", "session=secret")]).await?;
        for n in 0..20 {
            counts(&mut client, n).await?;
        }
    }
    assert_eq!(stranger.seen(), (0, Vec::new()), "nobody has called there");
    // Signed for its own address, the same listener is dialled: the test would have noticed.
    let signed = stale.sign(MacPurpose::Registration, &parts);
    announce(&cluster, "x", &json!({"id": "x", "address": address, "until": until, "macs": signed}).to_string())?;
    eventually("it is called", || stranger.seen().0 > 0)?;
    eventually("and greeted", || !stranger.seen().1.is_empty())?;
    let (_, bytes) = stranger.seen();
    assert!(!bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()), "never with the token");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nobody_beyond_this_machine_is_called() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape { reachable: Some(1), ..Shape::new(1, 1).with_redis() })?;
    // An address of this machine that is not loopback, if it has one, or one that nobody has.
    announce(&cluster, "far", &json!({"id": "far", "address": "192.0.2.7:7001"}).to_string())?;
    let gateway = &cluster.gateways[0];
    eventually("it is told and counted", || {
        unproved(gateway, "registration") > 0.0 && gateway.process.output().contains("DIFFYNE_WORKER_TOKEN is not set")
    })?;
    assert!(!gateway.process.output().contains("192.0.2.7:7001: "), "it is not tried");
    assert_eq!(gateway.health()?["workers"], 1);
    let run = |name: &str, flags: &[&str]| -> anyhow::Result<String> {
        let output = Command::new(program(name)?).arg("serve").args(flags).output()?;
        assert!(!output.status.success());
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (name, flags) in [
        ("diffyne-gateway", &["--workers", "192.0.2.7:7001"][..]),
        ("diffyne-gateway", &["--workers", "127.0.0.1:7001,worker.internal:7001"]),
        ("test-worker", &["--signing-key", "k", "--worker-listen", "0.0.0.0:0"]),
        (
            "test-worker",
            &["--signing-key", "k", "--worker-listen", "127.0.0.1:0", "--worker-advertise", "192.0.2.7:7001"],
        ),
    ] {
        let told = run(name, flags)?;
        assert!(told.contains("DIFFYNE_WORKER_TOKEN is not set"), "{name} {flags:?}: {told}");
    }
    Ok(())
}

fn pretended(versions: VersionRange) -> Hello {
    Hello { versions, ..Hello::worker("w", 100) }
}

fn challenge() -> Frame<'static> {
    Frame::Challenge(Challenge { versions: VersionRange::default(), id: "w".to_owned(), nonce: vec![7; 32].into() })
}

/// What somebody at a worker's address answers who does not know the token: a table of ways and frames.
#[allow(clippy::match_same_arms)]
fn pretend(how: &str, frame: &Frame<'_>) -> Vec<Frame<'static>> {
    let with = |proof: Vec<u8>| Frame::Hello(Hello { proof: Some(proof.into()), ..pretended(VersionRange::default()) });
    match (how, frame) {
        (_, Frame::Call(call)) => vec![a_reply(call.id)],
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
async fn somebody_at_a_workers_address_who_does_not_know_the_token_gets_no_call_and_is_reported() -> anyhow::Result<()>
{
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
        let stranger = HandWorker::start(move || move |frame: &Frame<'_>| pretend(how, frame)).await?;
        let shape = Shape::new(1, 0).gateway("--worker-token", TOKEN).gateway("--worker-wait", "300ms");
        let cluster = Cluster::start_unready(shape.gateway("--workers", &format!("127.0.0.1:{}", stranger.port)))?;
        let gateway = &cluster.gateways[0];
        if how != "asking for ever" {
            eventually("it is counted", || unproved(gateway, "worker") > 0.0)?;
        }
        eventually("it is told", || gateway.process.output().contains("cannot reach the worker"))?;
        let mut client = Client::connect_with(&cluster.url(0), &[("Cookie", "session=secret")]).await?;
        client.send("diffyne.call", increment("diffyne-a", 1, "r")).await?;
        assert_eq!(client.receive().await?["data"]["s"], false, "{how}");
        assert_eq!((gateway.ready()?, &gateway.health()?["workers"]), (503, &json!(0)), "{how}");
        let seen = stranger.seen();
        let harmless = |text: &String| text.starts_with("Hello(") || text.starts_with("Proof(");
        assert!(seen.iter().all(harmless) && !seen.is_empty(), "{how}: {seen:?}");
        assert!(!seen.iter().any(|text| text.contains(TOKEN) || text.contains("secret")), "{how}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_pretends_to_be_a_gateway_gets_no_answer_of_a_worker() -> anyhow::Result<()> {
    let cluster = Cluster::start(shape(1, 1))?;
    let payload = increment("diffyne-a", 1, "r").to_string();
    let call = || a_call(payload.as_bytes());
    let hello = |nonce: usize, token: Option<&str>| {
        let token = token.map(str::to_owned);
        Frame::Hello(Hello { id: "g".to_owned(), token, nonce: Some(vec![5; nonce].into()), ..Hello::default() })
    };
    let proof = |count: usize| Frame::Proof(Proof { macs: vec![vec![9; 32].into(); count] });
    let ways: [(&str, Vec<Frame<'_>>); 9] = [
        ("a call at once", vec![call()]),
        ("a call after the hello", vec![hello(32, None), call()]),
        ("no proof", vec![hello(32, None), proof(0), call()]),
        ("a made-up proof", vec![hello(32, None), proof(1), call()]),
        ("many proofs", vec![hello(32, None), proof(300), call()]),
        ("no nonce", vec![hello(0, None), call()]),
        ("two hellos", vec![hello(32, None), hello(32, None), call()]),
        ("the token itself, as before", vec![old_hello(Some(TOKEN)), call()]),
        ("the token in a new hello", vec![hello(32, Some(TOKEN)), proof(0), call()]),
    ];
    for (way, frames) in &ways {
        let mut stranger = HandGateway::connect(cluster.workers[0].port).await?;
        for frame in frames {
            // It may have hung up by then.
            let _ = stranger.send(frame).await;
        }
        let seen = stranger.rest(Duration::from_secs(8)).await?;
        let harmless = |text: &String| text.starts_with("Challenge(") || text.starts_with("Refuse(");
        assert!(seen.iter().all(harmless), "{way}: {seen:?}");
    }
    // A hello is small, or it is none: nothing is kept for a stranger.
    let mut large = HandGateway::connect(cluster.workers[0].port).await?;
    large.send_bytes(&(1u32 << 20).to_be_bytes()).await?;
    assert_eq!(large.rest(Duration::from_secs(2)).await?, Vec::<String>::new());
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
async fn a_recorded_hello_is_worth_nothing_later() -> anyhow::Result<()> {
    let cluster = Cluster::start(shape(1, 1))?;
    // Somebody in between writes down what both sides say.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let between = listener.local_addr()?.port();
    let through = Cluster::start_unready(
        Shape::new(1, 0).gateway("--worker-token", TOKEN).gateway("--workers", &format!("127.0.0.1:{between}")),
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
    assert!(![&asked, &answered].iter().any(|bytes| bytes.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes())));
    drop((from_gateway, to_worker, through, listener));
    // Said again to the worker: refused.
    let mut again = HandGateway::connect(cluster.workers[0].port).await?;
    again.send_bytes(&asked).await?;
    let payload = increment("diffyne-a", 1, "r").to_string();
    let _ = again.send(&a_call(payload.as_bytes())).await;
    let seen = again.rest(Duration::from_secs(3)).await?;
    assert!(seen.len() == 2 && seen[0].starts_with("Challenge(") && seen[1].contains("wrong worker token"), "{seen:?}");
    // Said again to a gateway: it takes it for nobody.
    let recorded = Recorder::start(answered).await?;
    let fooled = Shape::new(1, 0).gateway("--worker-token", TOKEN);
    let fooled = Cluster::start_unready(fooled.gateway("--workers", &format!("127.0.0.1:{}", recorded.port)))?;
    eventually("it is counted", || unproved(&fooled.gateways[0], "worker") > 0.0)?;
    assert_eq!(fooled.gateways[0].health()?["workers"], 0);
    Ok(())
}

/// What is published on the status channel from now on: orders only.
async fn overhear(cluster: &Cluster) -> anyhow::Result<tokio::sync::mpsc::UnboundedReceiver<Value>> {
    let client = redis::Client::open(cluster.redis_url())?;
    let mut pubsub = client.get_async_pubsub().await?;
    pubsub.subscribe("{diffyne}:status").await?;
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = pubsub.into_on_message();
        while let Some(message) = messages.next().await {
            let value = message.get_payload::<String>().ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
            if let Some(value) = value.filter(|value| value["ask"].is_string()) {
                let _ = sender.send(value);
            }
        }
    });
    Ok(receiver)
}

fn disconnect(cluster: &Cluster, client: &str) -> anyhow::Result<Value> {
    let body = json!({"client": client}).to_string();
    let answer = http_post(cluster.gateways[0].admin, "/api/disconnect", &[("Authorization", "Bearer admin")], &body)?;
    Ok(serde_json::from_str(&answer.body)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_an_altered_an_old_and_a_repeated_order_disconnect_nobody() -> anyhow::Result<()> {
    let cluster = Cluster::start(shape(2, 1).with_redis().gateway("--admin-token", "admin"))?;
    let mut overheard = overhear(&cluster).await?;
    let mut victim = Client::connect(&cluster.url(1)).await?;
    let publish = |order: &Value| cli(cluster.redis_port, &["PUBLISH", "{diffyne}:status", &order.to_string()]);
    let by_id = json!({"disconnect": {"client": victim.id}}).to_string();
    let by_address = json!({"disconnect": {"address": "127.0.0.1"}}).to_string();
    let forged = |question: &str| json!({"ask": "1", "from": "stranger", "question": question});
    // An order that is meant for somebody else, as anybody can read it.
    let answer = disconnect(&cluster, "somebody-else")?;
    assert_eq!((&answer["disconnected"], &answer["silent"]), (&json!(0), &json!([])), "all answer: {answer}");
    let genuine = overheard.recv().await.unwrap();
    let altered = |name: &str, value: Value| {
        let mut order = genuine.clone();
        order[name] = value;
        order
    };
    let signed = |token: &str, ask: &str, at: u64| {
        let parts: [&[u8]; 5] = [b"", ask.as_bytes(), b"g", by_id.as_bytes(), &at.to_be_bytes()];
        let macs = Tokens::new(&[token.to_owned()]).sign(MacPurpose::Command, &parts);
        json!({"ask": ask, "from": "g", "question": by_id, "at": at, "macs": macs})
    };
    let bad = [
        ("without a proof", forged(&by_id)),
        ("without a proof, all of an address", forged(&by_address)),
        (
            "with a made-up proof",
            json!({"ask": "1", "from": "x", "question": by_id, "at": now(), "macs": [URL_SAFE_NO_PAD.encode([1; 32])]}),
        ),
        ("with the proof of another order", altered("question", json!(by_id))),
        ("the same, of an address", altered("question", json!(by_address))),
        ("by another token", signed("another", "2", now())),
        ("two minutes old", signed(TOKEN, "3", now() - 120)),
        ("two minutes ahead", signed(TOKEN, "4", now() + 120)),
    ];
    for (number, (how, order)) in bad.iter().enumerate() {
        publish(order)?;
        eventually("it is counted", || unproved(&cluster.gateways[1], "order") > number as f64 + 0.5)?;
        assert!(victim.barrier().await?.is_empty(), "{how}");
    }
    // A good one works, once.
    let answer = disconnect(&cluster, &victim.id)?;
    assert_eq!((&answer["disconnected"], &answer["silent"]), (&json!(1), &json!([])), "{answer}");
    victim.closed().await?;
    let mut second = Client::connect(&cluster.url(1)).await?;
    let of_second = json!({"disconnect": {"client": second.id}}).to_string();
    let parts = |at: &[u8; 8]| {
        let parts: [&[u8]; 5] = [b"", b"6", b"g", of_second.as_bytes(), at];
        Tokens::new(&[TOKEN.to_owned()]).sign(MacPurpose::Command, &parts)
    };
    let at = now();
    let order = json!({"ask": "6", "from": "g", "question": of_second, "at": at, "macs": parts(&at.to_be_bytes())});
    publish(&order)?;
    second.closed().await?;
    // By address the same words would reach whoever has come since.
    let by_all = json!({"ask": "7", "from": "g", "question": by_address, "at": at, "macs":
        Tokens::new(&[TOKEN.to_owned()]).sign(MacPurpose::Command, &[b"", b"7", b"g", by_address.as_bytes(), &at.to_be_bytes()])});
    let mut third = Client::connect(&cluster.url(1)).await?;
    publish(&by_all)?;
    third.closed().await?;
    let before = unproved(&cluster.gateways[1], "order");
    let mut fourth = Client::connect(&cluster.url(1)).await?;
    for _ in 0..3 {
        publish(&by_all)?;
    }
    eventually("they are counted", || unproved(&cluster.gateways[1], "order") > before + 2.5)?;
    assert!(fourth.barrier().await?.is_empty(), "who came back stays");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_answer_an_operator_is_not_shown() -> anyhow::Result<()> {
    let cluster = Cluster::start(shape(2, 1).with_redis().gateway("--admin-token", "admin"))?;
    let mut overheard = overhear(&cluster).await?;
    let port = cluster.redis_port;
    let liar = tokio::spawn(async move {
        let order = overheard.recv().await.unwrap();
        let key = format!("{{diffyne}}:answers:{}", order["ask"].as_str().unwrap());
        let lie = json!({"gateway": "stranger", "connections": [], "closed": 1000}).to_string();
        for _ in 0..20 {
            cli(port, &["RPUSH", &key, &lie])?;
        }
        anyhow::Ok(())
    });
    // The other gateway takes its time, so that the lies are there first.
    cluster.gateways[1].process.signal(Signal::Stop)?;
    let asked = tokio::task::spawn_blocking({
        let (admin, body) = (cluster.gateways[0].admin, json!({"address": "127.0.0.1"}).to_string());
        move || http_post(admin, "/api/disconnect", &[("Authorization", "Bearer admin")], &body)
    });
    liar.await??;
    cluster.gateways[1].process.signal(Signal::Cont)?;
    let answer: Value = serde_json::from_str(&asked.await??.body)?;
    assert_eq!((&answer["disconnected"], &answer["silent"]), (&json!(0), &json!([])), "{answer}");
    assert!(unproved(&cluster.gateways[0], "answer") > 0.5);
    Ok(())
}

fn with_token(cluster_directory: &std::path::Path, token: &str) -> anyhow::Result<String> {
    let file = cluster_directory.join("token.toml");
    std::fs::write(&file, format!("worker_token = \"{token}\"\n"))?;
    Ok(file.display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_exchanged_by_sighup_while_calls_go_on() -> anyhow::Result<()> {
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
            counts(&mut client, n).await?;
            n += 1;
            cluster.wait_until_ready()?;
        }
        // Connections that are made now prove the new one.
        for index in 0..2 {
            cluster.workers[index].process.signal(Signal::Kill)?;
            cluster.workers[index].process.wait()?;
            cluster.restart_worker(index)?;
            cluster.wait_until_ready()?;
            counts(&mut client, n).await?;
            n += 1;
        }
        let answer = disconnect(&cluster, "nobody")?;
        assert_eq!(answer["silent"], json!([]), "gateways believe each other: {answer}");
    }
    // The old one opens nothing any more.
    let stale = HandGateway::connect(cluster.workers[0].port).await;
    let mut stale = stale?;
    let (mut greeting, hello) = diffyne_shared::rpc::handshake::GatewayHandshake::new(
        std::sync::Arc::new(Tokens::new(&["old".to_owned()])),
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
    assert!(stale.rest(Duration::from_secs(3)).await?[0].contains("wrong worker token"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_of_the_release_before_are_let_in_while_that_is_set() -> anyhow::Result<()> {
    let payload = increment("diffyne-a", 1, "r").to_string();
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("legacy.toml");
    std::fs::write(&file, "worker_token_legacy = \"accept\"\n")?;
    // Beside it a gateway of this release works as ever.
    let cluster = Cluster::start(shape(1, 1).worker("--config", &file.display().to_string()))?;
    let worker = &cluster.workers[0];
    let visit = async |token: Option<&'static str>| -> anyhow::Result<Vec<String>> {
        let mut old = HandGateway::connect(worker.port).await?;
        old.send(&old_hello(token)).await?;
        let _ = old.send(&a_call(payload.as_bytes())).await;
        old.rest(Duration::from_secs(1)).await
    };
    let seen = visit(Some(TOKEN)).await?;
    assert!(seen.len() >= 2 && seen[0].starts_with("Hello(") && seen[1].starts_with("Reply("), "{seen:?}");
    assert!(!seen[0].contains(TOKEN));
    assert!(worker.process.output().contains("DIFFYNE_WORKER_TOKEN_LEGACY=accept"), "each time it is told");
    for wrong in [None, Some("wrong"), Some("")] {
        let seen = visit(wrong).await?;
        assert!(seen.len() == 1 && seen[0].contains("wrong worker token"), "{seen:?}");
    }
    let mut client = Client::connect(&cluster.url(0)).await?;
    counts(&mut client, 1).await?;
    // The last step of the roll-out.
    std::fs::write(&file, "")?;
    worker.process.signal(Signal::Hup)?;
    eventually("it has reloaded", || worker.process.output().contains("keys and log level reloaded"))?;
    let seen = visit(Some(TOKEN)).await?;
    assert!(seen.len() == 1 && seen[0].contains("update it"), "{seen:?}");
    counts(&mut client, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_a_wrong_token_from_a_stranger() -> anyhow::Result<()> {
    let cluster = Cluster::start(shape(1, 1).with_redis())?;
    let stranger = HandWorker::start(|| |frame: &Frame<'_>| pretend("as if no token were there", frame)).await?;
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
    let lines = doctor(TOKEN, &stranger)?;
    assert!(lines[&true].join("\n").contains("did not prove that it knows DIFFYNE_WORKER_TOKEN"), "{lines:?}");
    assert!(lines[&false].join("\n").contains(&worker), "the registered one is well: {lines:?}");
    Ok(())
}
