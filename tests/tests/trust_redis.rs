//! Gateways do not believe what strangers write into Redis: registrations of workers, orders and answers of operators.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use deadpool_redis::redis;
use diffyne_shared::token::{MacPurpose, Tokens};
use diffyne_tests::client::Client;
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::http::http_post;
use diffyne_tests::process::{Signal, eventually, program};
use diffyne_tests::redis::cli;
use diffyne_tests::relay::{RecordingListener, WORKER_TOKEN, count_unproved, shape_with_token};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

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
async fn a_worker_that_a_stranger_registers_in_redis_is_never_contacted() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape { reachable: Some(1), ..shape_with_token(2, 1).with_redis() })?;
    let stranger = RecordingListener::start(Vec::new()).await?;
    let address = format!("127.0.0.1:{}", stranger.port);
    // The registration of the real worker, as anybody can read it.
    let real = cli(cluster.redis_port, &["HVALS", "{diffyne}:workers"])?;
    let real: Value = serde_json::from_str(real.lines().next().unwrap())?;
    let mut moved = real.clone();
    moved["address"] = json!(address);
    let (id, until) = (real["id"].clone(), now() + 50);
    let theirs = Tokens::new(&["another".to_owned()]);
    let parts: [&[u8]; 5] = [b"", b"x", address.as_bytes(), b"", &until.to_be_bytes()];
    let stale = Tokens::new(&[WORKER_TOKEN.to_owned()]);
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
        eventually("it is counted", || count_unproved(gateway, "registration").unwrap() >= 5.0)?;
        eventually("it is in the log", || gateway.process.output().contains("ignored an entry in Redis"))?;
        assert_eq!(gateway.health()?["workers"], 1);
    }
    for gateway in 0..2 {
        let mut client = Client::connect_with(&cluster.url(gateway), &[("Cookie", "session=secret")]).await?;
        for n in 0..20 {
            client.check_increment(n).await?;
        }
    }
    assert_eq!(stranger.seen(), (0, Vec::new()), "nobody has called there");
    // Signed for its own address, the same listener is dialled: the test would have noticed.
    let signed = stale.sign(MacPurpose::Registration, &parts);
    announce(&cluster, "x", &json!({"id": "x", "address": address, "until": until, "macs": signed}).to_string())?;
    eventually("it is called", || stranger.seen().0 > 0)?;
    eventually("and greeted", || !stranger.seen().1.is_empty())?;
    let (_, bytes) = stranger.seen();
    assert!(!bytes.windows(WORKER_TOKEN.len()).any(|window| window == WORKER_TOKEN.as_bytes()), "never with the token");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_no_worker_on_another_host_is_contacted() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape { reachable: Some(1), ..Shape::new(1, 1).with_redis() })?;
    // An address of this machine that is not loopback, if it has one, or one that nobody has.
    announce(&cluster, "far", &json!({"id": "far", "address": "192.0.2.7:7001"}).to_string())?;
    let gateway = &cluster.gateways[0];
    eventually("it is told and counted", || {
        count_unproved(gateway, "registration").unwrap() > 0.0
            && gateway.process.output().contains("DIFFYNE_WORKER_TOKEN is not set")
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

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_an_altered_an_old_and_a_repeated_order_disconnect_nobody() -> anyhow::Result<()> {
    let cluster = Cluster::start(shape_with_token(2, 1).with_redis().gateway("--admin-token", "admin"))?;
    let mut overheard = overhear(&cluster).await?;
    let mut victim = Client::connect(&cluster.url(1)).await?;
    let publish = |order: &Value| cli(cluster.redis_port, &["PUBLISH", "{diffyne}:status", &order.to_string()]);
    let by_id = json!({"disconnect": {"client": victim.id}}).to_string();
    let by_address = json!({"disconnect": {"address": "127.0.0.1"}}).to_string();
    let forged = |question: &str| json!({"ask": "1", "from": "stranger", "question": question});
    // An order that is meant for somebody else, as anybody can read it.
    let answer = cluster.gateways[0].disconnect("admin", "somebody-else")?;
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
        ("two minutes old", signed(WORKER_TOKEN, "3", now() - 120)),
        ("two minutes ahead", signed(WORKER_TOKEN, "4", now() + 120)),
    ];
    for (number, (how, order)) in bad.iter().enumerate() {
        publish(order)?;
        eventually("it is counted", || count_unproved(&cluster.gateways[1], "order").unwrap() > number as f64 + 0.5)?;
        assert!(victim.barrier().await?.is_empty(), "{how}");
    }
    // A good one works, once.
    let answer = cluster.gateways[0].disconnect("admin", &victim.id)?;
    assert_eq!((&answer["disconnected"], &answer["silent"]), (&json!(1), &json!([])), "{answer}");
    victim.closed().await?;
    let mut second = Client::connect(&cluster.url(1)).await?;
    let of_second = json!({"disconnect": {"client": second.id}}).to_string();
    let parts = |at: &[u8; 8]| {
        let parts: [&[u8]; 5] = [b"", b"6", b"g", of_second.as_bytes(), at];
        Tokens::new(&[WORKER_TOKEN.to_owned()]).sign(MacPurpose::Command, &parts)
    };
    let at = now();
    let order = json!({"ask": "6", "from": "g", "question": of_second, "at": at, "macs": parts(&at.to_be_bytes())});
    publish(&order)?;
    second.closed().await?;
    // By address the same words would reach whoever has come since.
    let by_all = json!({"ask": "7", "from": "g", "question": by_address, "at": at, "macs":
        Tokens::new(&[WORKER_TOKEN.to_owned()]).sign(MacPurpose::Command, &[b"", b"7", b"g", by_address.as_bytes(), &at.to_be_bytes()])});
    let mut third = Client::connect(&cluster.url(1)).await?;
    publish(&by_all)?;
    third.closed().await?;
    let before = count_unproved(&cluster.gateways[1], "order").unwrap();
    let mut fourth = Client::connect(&cluster.url(1)).await?;
    for _ in 0..3 {
        publish(&by_all)?;
    }
    eventually("they are counted", || count_unproved(&cluster.gateways[1], "order").unwrap() > before + 2.5)?;
    assert!(fourth.barrier().await?.is_empty(), "who came back stays");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_answers_to_an_operator_are_not_shown() -> anyhow::Result<()> {
    let cluster = Cluster::start(shape_with_token(2, 1).with_redis().gateway("--admin-token", "admin"))?;
    let mut overheard = overhear(&cluster).await?;
    // Open already: the gateway waits for answers for a short time.
    let mut redis = redis::Client::open(cluster.redis_url())?.get_multiplexed_async_connection().await?;
    let liar = tokio::spawn(async move {
        let order = overheard.recv().await.unwrap();
        let key = format!("{{diffyne}}:answers:{}", order["ask"].as_str().unwrap());
        let lie = json!({"gateway": "stranger", "connections": [], "closed": 1000}).to_string();
        let _: i64 = redis::cmd("RPUSH").arg(key).arg(&[lie.as_str(); 20]).query_async(&mut redis).await?;
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
    assert!(count_unproved(&cluster.gateways[0], "answer").unwrap() > 0.5);
    Ok(())
}
