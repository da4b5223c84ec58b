//! Redis that comes back empty, freezes, or is voted out.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;

use super::fleet::{Cut, Fleet};
use super::{Report, Scale};
use crate::client::{Client, probe};
use crate::cluster::{Cluster, Shape};
use crate::process::{Signal, eventually};
use crate::redis::{Sentinels, cli};

/// Publishes numbers as components do, by calls; each answer is a promise. How long the slowest call took.
pub async fn publish_by_calls(url: &str, numbers: std::ops::Range<u64>, every: Duration) -> anyhow::Result<Duration> {
    let mut slowest = Duration::ZERO;
    let mut sender = Client::connect(url).await?;
    let mut tick = tokio::time::interval(every);
    for n in numbers {
        tick.tick().await;
        let started = Instant::now();
        sender.send("diffyne.call", probe("p", "announce", json!([n]), "r")).await?;
        let answer = sender.receive().await?;
        ensure!(answer.is_ok(), "{answer}");
        slowest = slowest.max(started.elapsed());
    }
    Ok(slowest)
}

fn urls(cluster: &Cluster) -> Vec<String> {
    (0..cluster.gateways.len()).map(|index| cluster.url(index)).collect()
}

/// "Redis was restarted and had lost everything."
pub async fn redis_comes_back_empty(scale: Scale, seed: u64) -> anyhow::Result<Report> {
    let mut cluster = Cluster::start(Shape::new(3, 1).with_redis())?;
    let clients = scale.pick(60, 300);
    // Some are connected when it happens, some away.
    let cut = Cut { every: Duration::from_secs(4), away: Duration::from_secs(1) };
    let fleet = Fleet::start(&urls(&cluster), clients, Some(cut), seed).await?;
    let (first, every) = (scale.pick(100, 500), Duration::from_millis(20));
    publish_by_calls(&cluster.url(0), 0..first, every).await?;
    cluster.kill_redis()?;
    std::fs::remove_dir_all(cluster.directory.path().join("appendonlydir"))?;
    eventually("all gateways notice it", || {
        cluster.gateways.iter().all(|node| node.health().is_ok_and(|health| health["redis"] == "down"))
    })?;
    cluster.start_redis()?;
    fleet.wait("everybody is told", Duration::from_secs(20), |fleet| fleet.informed() == clients).await?;
    publish_by_calls(&cluster.url(1), first..first * 2, every).await?;
    fleet.wait("everybody goes on", Duration::from_secs(20), |fleet| fleet.have(first * 2 - 1) == clients).await?;
    let told = fleet.informed();
    let mut report = fleet.finish("Redis restarted with an empty memory", first * 2).await?;
    report.more = format!("{told} of {clients} clients told to refresh; {}", report.more);
    Ok(report)
}

/// "Redis hung for some seconds."
pub async fn redis_is_paused(scale: Scale, seed: u64) -> anyhow::Result<Report> {
    let cluster = Cluster::start(Shape::new(3, 1).with_redis())?;
    let clients = scale.pick(60, 300);
    let fleet = Fleet::start(&urls(&cluster), clients, None, seed).await?;
    let count = scale.pick(200, 1000);
    let url = cluster.url(0);
    let sending = tokio::spawn(async move { publish_by_calls(&url, 0..count, Duration::from_millis(20)).await });
    let redis = cluster.redis.as_ref().ok_or_else(|| anyhow::anyhow!("no Redis"))?;
    let pause = scale.seconds(2, 5);
    for _ in 0..scale.pick(1, 2) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        redis.signal(Signal::Stop)?;
        tokio::time::sleep(pause).await;
        redis.signal(Signal::Cont)?;
    }
    let slowest = sending.await??;
    fleet.wait("everybody has the last one", Duration::from_secs(30), |fleet| fleet.have(count - 1) == clients).await?;
    let away = pause.as_secs();
    let mut report = fleet.finish(&format!("Redis paused for {away} s while broadcasts are published"), count).await?;
    report.more = format!("the slowest call meanwhile took {slowest:.1?}; {}", report.more);
    // The first call that waited for Redis would take the whole pause but for the 20 ms between two calls.
    ensure!(slowest + Duration::from_millis(100) < pause, "a call waited for Redis: {report}");
    Ok(report)
}

/// "Our Redis failed over." `cut_off`: the replica had not heard the last broadcasts, which are lost for good.
pub async fn sentinels_fail_over(scale: Scale, cut_off: bool, seed: u64) -> anyhow::Result<Report> {
    let directory = tempfile::tempdir()?;
    let mut redis = Sentinels::start(directory.path())?;
    let url = redis.url();
    let shape =
        Shape::new(3, 1).gateway("--redis-url", &url).gateway("--workers", "127.0.0.1:1").worker("--redis-url", &url);
    let cluster = Cluster::start_unready(shape)?;
    for gateway in &cluster.gateways {
        eventually("the gateway has Redis and the worker", || {
            gateway.health().is_ok_and(|health| health["redis"] == "up" && health["workers"] == 1)
        })?;
    }
    let clients = scale.pick(60, 300);
    let fleet = Fleet::start(&urls(&cluster), clients, None, seed).await?;
    let (first, every) = (scale.pick(100, 500), Duration::from_millis(10));
    publish_by_calls(&cluster.url(0), 0..first, every).await?;
    fleet.wait("everybody has them", Duration::from_secs(20), |fleet| fleet.have(first - 1) == clients).await?;
    let mut next = first;
    if cut_off {
        // Acknowledged and delivered, and never seen by the replica.
        redis.servers[1].0.signal(Signal::Stop)?;
        // Else the kernel would hold them for it.
        cli(redis.servers[0].1, &["client", "kill", "type", "replica"])?;
        publish_by_calls(&cluster.url(0), next..next + 20, every).await?;
        next += 20;
        fleet.wait("they are delivered", Duration::from_secs(20), |fleet| fleet.have(next - 1) == clients).await?;
        redis.servers[0].0.signal(Signal::Kill)?;
        redis.servers[1].0.signal(Signal::Cont)?;
    }
    let url = cluster.url(1);
    let total = next + scale.pick(200, 600);
    let sending = tokio::spawn(async move { publish_by_calls(&url, next..total, Duration::from_millis(20)).await });
    let redis = tokio::task::spawn_blocking(move || {
        let failed_over = if cut_off { redis.wait_for_other() } else { redis.fail_over() };
        failed_over.map(|()| redis)
    })
    .await??;
    sending.await??;
    fleet.wait("everybody goes on", Duration::from_secs(40), |fleet| fleet.have(total - 1) == clients).await?;
    let told = fleet.informed();
    if cut_off {
        ensure!(told == clients, "acknowledged broadcasts were lost, and only {told} of {clients} were told");
    }
    drop(redis);
    let what = if cut_off {
        "Sentinel failover to a replica that lacked 20 acknowledged broadcasts"
    } else {
        "Sentinel failover while broadcasts are published"
    };
    let mut report = fleet.finish(what, total).await?;
    report.more = format!("{told} of {clients} clients told to refresh; {}", report.more);
    Ok(report)
}

/// "We restarted a gateway, and its next messages were swallowed."
pub async fn a_gateway_comes_back_under_its_name(scale: Scale, seed: u64) -> anyhow::Result<Report> {
    let mut cluster = Cluster::start(Shape::new(2, 1).with_redis())?;
    let clients = scale.pick(40, 200);
    let others = vec![cluster.url(1)];
    let fleet = Fleet::start(&others, clients, None, seed).await?;
    let (rounds, each) = (scale.pick(3, 10), 50);
    for round in 0..rounds {
        publish_by_calls(&cluster.url(0), round * each..(round + 1) * each, Duration::from_millis(5)).await?;
        let last = (round + 1) * each - 1;
        fleet.wait("everybody has them", Duration::from_secs(20), |fleet| fleet.have(last) == clients).await?;
        cluster.gateways[0].process.signal(Signal::Kill)?;
        cluster.gateways[0].process.wait()?;
        cluster.restart_gateway(0)?;
        eventually("it is back", || {
            cluster.gateways[0].health().is_ok_and(|health| health["redis"] == "up" && health["workers"] == 1)
        })?;
    }
    let what = format!("a gateway killed and started under its old name {rounds} times, publishing at once");
    fleet.finish(&what, rounds * each).await
}
