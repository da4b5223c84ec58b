//! Redis that dies, comes back, or stands still.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use diffyne_tests::client::{Client, increment, probe};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::process::{Signal, eventually};
use serde_json::json;

async fn announce(client: &mut Client, n: i64) -> anyhow::Result<()> {
    let answer = client.call(probe("diffyne-a", "announce", json!([n]), "a")).await?;
    anyhow::ensure!(answer.is_ok(), "{answer}");
    Ok(())
}

/// Takes pushes until one with this number has come; how often each came.
async fn hear_until(client: &mut Client, last: i64, heard: &mut HashMap<i64, usize>) -> anyhow::Result<()> {
    while heard.get(&last).copied().unwrap_or(0) == 0 {
        let push = client.receive().await?;
        if push.event() == "diffyne.event" {
            *heard.entry(push.number().unwrap_or(-1)).or_insert(0) += 1;
        }
    }
    Ok(())
}

/// For how long Redis is away.
const AWAY: Duration = Duration::from_secs(5);
/// Pacing: so many broadcasts as fit into what gateways keep for Redis meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread")]
async fn redis_away_for_five_seconds_under_load_costs_no_call_and_no_broadcast() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::new(2, 2).with_redis())?;
    let mut here = Client::connect(&cluster.url(0)).await?;
    let mut there = Client::connect(&cluster.url(1)).await?;
    here.subscribe("message-sent").await?;
    there.subscribe("message-sent").await?;
    let mut sender = Client::connect(&cluster.url(0)).await?;

    // Calls all the while, on both gateways.
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = Vec::new();
    for index in 0..8 {
        let (url, stop) = (cluster.url(index % 2), Arc::clone(&stop));
        callers.push(tokio::spawn(async move {
            let mut client = Client::connect(&url).await?;
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                let answer = client.call(increment("diffyne-a", count, "r")).await?;
                count += 1;
                anyhow::ensure!(answer.state()["count"] == count, "{answer}");
            }
            anyhow::Ok(count)
        }));
    }
    let (mut heard_here, mut heard_there) = (HashMap::new(), HashMap::new());
    announce(&mut sender, 0).await?;
    hear_until(&mut here, 0, &mut heard_here).await?;
    hear_until(&mut there, 0, &mut heard_there).await?;

    cluster.kill_redis()?;
    let away = Instant::now();
    let mut n = 0;
    let mut degraded = false;
    while away.elapsed() < AWAY {
        n += 1;
        announce(&mut sender, n).await?;
        // Local connections hear at once.
        hear_until(&mut here, n, &mut heard_here).await?;
        let health = cluster.gateways[0].health()?;
        degraded |= health["status"] == "degraded" && health["redis"] == "down";
        tokio::time::sleep(PAUSE).await;
    }
    assert!(degraded, "health told of it");
    cluster.start_redis()?;
    for gateway in &cluster.gateways {
        eventually("health is ok again", || gateway.health().is_ok_and(|health| health["status"] == "ok"))?;
    }
    n += 1;
    announce(&mut sender, n).await?;
    hear_until(&mut there, n, &mut heard_there).await?;
    hear_until(&mut here, n, &mut heard_here).await?;
    stop.store(true, Ordering::Relaxed);
    let mut calls = 0;
    for caller in callers {
        calls += caller.await??;
    }
    for client in [&mut here, &mut there] {
        assert!(client.barrier().await?.iter().all(|message| message.event() != "diffyne.event"));
    }
    let doubled = |heard: &HashMap<i64, usize>| heard.values().filter(|times| **times > 1).count();
    let missed = |heard: &HashMap<i64, usize>| (0..=n).filter(|n| !heard.contains_key(n)).count();
    println!(
        "{calls} calls, none failed; {} broadcasts: missed {} here, {} there; doubled {} here, {} there",
        n + 1,
        missed(&heard_here),
        missed(&heard_there),
        doubled(&heard_here),
        doubled(&heard_there)
    );
    assert_eq!((missed(&heard_here), missed(&heard_there)), (0, 0));
    assert_eq!((doubled(&heard_here), doubled(&heard_there)), (0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_frozen_in_the_middle_of_a_publish_delivers_it_once() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(2, 1).with_redis().gateway("--redis-timeout", "1s"))?;
    let mut there = Client::connect(&cluster.url(1)).await?;
    let mut here = Client::connect(&cluster.url(0)).await?;
    there.subscribe("message-sent").await?;
    here.subscribe("message-sent").await?;
    let mut sender = Client::connect(&cluster.url(0)).await?;
    let redis = cluster.redis.as_ref().unwrap();
    for round in 0..3 {
        redis.signal(Signal::Stop)?;
        announce(&mut sender, round).await?;
        let mut heard = HashMap::new();
        // The publish times out; those who are on this gateway hear it all the same.
        hear_until(&mut here, round, &mut heard).await?;
        eventually("health tells", || cluster.gateways[0].health().is_ok_and(|health| health["redis"] == "down"))?;
        redis.signal(Signal::Cont)?;
        let mut heard = HashMap::new();
        hear_until(&mut there, round, &mut heard).await?;
        for gateway in &cluster.gateways {
            eventually("redis is up again", || gateway.health().is_ok_and(|health| health["redis"] == "up"))?;
        }
        // Retries that were under way would have arrived before a broadcast that follows them.
        announce(&mut sender, 1000 + round).await?;
        let mut heard_here = HashMap::new();
        hear_until(&mut there, 1000 + round, &mut heard).await?;
        hear_until(&mut here, 1000 + round, &mut heard_here).await?;
        assert_eq!(heard, HashMap::from([(round, 1), (1000 + round, 1)]), "once on the other gateway");
        assert_eq!(heard_here, HashMap::from([(1000 + round, 1)]), "and not again on this one");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_subscription_missed_is_read_from_the_stream() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(2, 1).with_redis())?;
    let mut there = Client::connect(&cluster.url(1)).await?;
    there.subscribe("message-sent").await?;
    let mut sender = Client::connect(&cluster.url(0)).await?;
    let client = deadpool_redis::redis::Client::open(cluster.redis_url())?;
    let mut redis = client.get_multiplexed_async_connection().await?;
    let mut heard = HashMap::new();
    for n in 0..200 {
        announce(&mut sender, n).await?;
        if n % 40 == 20 {
            let kill = deadpool_redis::redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").to_owned();
            kill.query_async::<i64>(&mut redis).await?;
        }
    }
    hear_until(&mut there, 199, &mut heard).await?;
    assert!(there.barrier().await?.is_empty());
    assert_eq!(heard.len(), 200);
    assert!(heard.values().all(|times| *times == 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_are_told_when_redis_was_emptied() -> anyhow::Result<()> {
    // One page a second may be fetched then, and there are three connections.
    let cluster = Cluster::start(Shape::new(2, 1).with_redis().gateway("--reaction-rate", "1"))?;
    let mut there = Client::connect(&cluster.url(1)).await?;
    let before = there.subscribe("message-sent").await?;
    let mut deaf = Client::connect(&cluster.url(1)).await?;
    let mut sender = Client::connect(&cluster.url(0)).await?;
    announce(&mut sender, 1).await?;
    there.receive().await?;
    let client = deadpool_redis::redis::Client::open(cluster.redis_url())?;
    let mut redis = client.get_multiplexed_async_connection().await?;
    deadpool_redis::redis::cmd("FLUSHALL").query_async::<()>(&mut redis).await?;
    let gap = there.receive().await?;
    assert_eq!(gap.event(), "diffyne.gap", "{gap}");
    assert_ne!(gap["epoch"], before["epoch"]);
    assert!((1000..=3000).contains(&gap["spread"].as_u64().unwrap_or(0)), "{gap}");
    announce(&mut sender, 2).await?;
    assert_eq!(there.receive().await?.number(), Some(2));
    assert!(deaf.barrier().await?.is_empty(), "who does not listen is told nothing");
    Ok(())
}

/// What is published after Redis was emptied, and before a gateway has seen that, is in the new history.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_emptied_redis_holds_by_then_is_delivered_after_the_gap() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(2, 1).with_redis())?;
    let mut clients = [Client::connect(&cluster.url(0)).await?, Client::connect(&cluster.url(1)).await?];
    for client in &mut clients {
        client.subscribe("message-sent").await?;
    }
    let mut sender = Client::connect(&cluster.url(0)).await?;
    announce(&mut sender, 1).await?;
    for client in &mut clients {
        assert_eq!(client.receive().await?.number(), Some(1));
    }
    let client = deadpool_redis::redis::Client::open(cluster.redis_url())?;
    let mut redis = client.get_multiplexed_async_connection().await?;
    let mut emptied = deadpool_redis::redis::pipe();
    emptied.atomic().cmd("FLUSHALL");
    for number in [2, 3] {
        let item = serde_json::json!({"name": "message-sent", "params": [{"n": number}]}).to_string();
        emptied.cmd("RPUSH").arg("{diffyne}:ingress").arg(item);
    }
    emptied.query_async::<()>(&mut redis).await?;
    for client in &mut clients {
        let gap = client.receive().await?;
        assert_eq!(gap.event(), "diffyne.gap", "{gap}");
        assert_eq!((client.receive().await?.number(), client.receive().await?.number()), (Some(2), Some(3)));
    }
    Ok(())
}

/// A gateway that starts while Redis is away serves its clients without a place in the history. What others broadcast
/// until it has one is nowhere delivered to them.
#[tokio::test(flavor = "multi_thread")]
async fn who_subscribed_before_their_gateway_reached_redis_is_told_what_may_be_missing() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::new(2, 1).with_redis())?;
    let mut sender = Client::connect(&cluster.url(0)).await?;
    let mut witness = Client::connect(&cluster.url(0)).await?;
    witness.subscribe("message-sent").await?;
    announce(&mut sender, 1).await?;
    // It is in the history, and does not come later.
    assert_eq!(witness.receive().await?.number(), Some(1));
    cluster.kill_redis()?;
    cluster.gateways[1].process.kill()?;
    cluster.restart_gateway(1)?;
    let mut early = Client::connect(&cluster.url(1)).await?;
    let without_place = early.subscribe("message-sent").await?;
    assert!(without_place.get("epoch").is_none_or(serde_json::Value::is_null), "{without_place}");
    let mut deaf = Client::connect(&cluster.url(1)).await?;
    cluster.start_redis()?;
    let gap = early.receive().await?;
    assert_eq!(gap.event(), "diffyne.gap", "{gap}");
    assert!(gap["epoch"].is_string() && gap["offset"].is_u64(), "{gap}");
    let mut late = Client::connect(&cluster.url(1)).await?;
    late.subscribe("message-sent").await?;
    assert!(late.barrier().await?.is_empty() && deaf.barrier().await?.is_empty(), "others are told nothing");
    announce(&mut sender, 2).await?;
    assert_eq!(early.receive().await?.number(), Some(2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_full_read_only_or_has_forgotten_its_scripts_counts_as_away() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(2, 1).with_redis())?;
    let cli = |arguments: &[&str]| diffyne_tests::redis::cli(cluster.redis_port, arguments);
    let mut sender = Client::connect(&cluster.url(0)).await?;
    let mut near = Client::connect(&cluster.url(0)).await?;
    let mut far = Client::connect(&cluster.url(1)).await?;
    near.subscribe("message-sent").await?;
    far.subscribe("message-sent").await?;
    let faults: [(&[&str], &[&str]); 3] = [
        (&["config", "set", "maxmemory", "1"], &["config", "set", "maxmemory", "0"]),
        (&["replicaof", "127.0.0.1", "1"], &["replicaof", "no", "one"]),
        (&["script", "flush"], &["ping"]),
    ];
    let mut n = 0;
    for (fault, cure) in faults {
        cli(fault)?;
        for _ in 0..5 {
            n += 1;
            announce(&mut sender, n).await?;
            assert_eq!(near.receive().await?.number(), Some(n), "{fault:?}: the gateway's own clients hear it at once");
        }
        cli(cure)?;
        for expected in n - 4..=n {
            let message = far.receive_event("diffyne.event").await?;
            assert_eq!(
                message.number(),
                Some(expected),
                "{fault:?}: the others hear it when it is over, once and in order"
            );
        }
        eventually("all is well", || {
            cluster.gateways.iter().all(|gateway| gateway.health().unwrap()["redis"] == "up")
        })?;
        assert_eq!(near.barrier().await?.len(), 0, "{fault:?}: and nobody twice");
        assert_eq!(far.barrier().await?.len(), 0, "{fault:?}");
    }
    Ok(())
}
