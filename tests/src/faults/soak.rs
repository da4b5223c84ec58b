//! All of it at random for a while: at the end the counters have to add up, and nothing has grown.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::deploys::Callers;
use super::drops::publish_by_redis;
use super::fleet::{Cut, Fleet};
use super::{Report, Scale};
use crate::cluster::{Cluster, Node, Shape};
use crate::process::{Signal, eventually};

fn descriptors(node: &Node) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", node.process.id())).map_or(0, Iterator::count)
}

fn threads(node: &Node) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", node.process.id())).map_or(0, Iterator::count)
}

/// "It runs for weeks." Faults at random; gateway 0 lives through all of it, and is looked at.
pub async fn everything_at_random(scale: Scale, seed: u64) -> anyhow::Result<Report> {
    let mut cluster = Cluster::start(Shape::new(3, 2).with_redis().with_nginx().gateway("--call-timeout", "5s"))?;
    let clients = scale.pick(60, 200);
    let cut = Cut { every: Duration::from_secs(8), away: Duration::from_secs(1) };
    let url = cluster.nginx_url();
    let fleet = Fleet::start(&[url], clients, Some(cut), seed).await?;
    let callers = Callers::start(&[cluster.url(0)], 10, 50);
    let time = scale.seconds(20, 600);
    let rate = 20;
    let count = time.as_secs() * rate;
    let redis = cluster.redis_url();
    let sending = tokio::spawn(async move { publish_by_redis(&redis, count, rate).await });
    let mut random = fastrand::Rng::with_seed(seed);
    // Memory has its size after a while.
    let (warm, until) = (Instant::now() + time / 4, Instant::now() + time);
    let mut at_start = None;
    let mut faults = Vec::new();
    while Instant::now() < until {
        if at_start.is_none() && Instant::now() >= warm {
            at_start = Some((cluster.gateways[0].process.resident_kib()?, descriptors(&cluster.gateways[0])));
        }
        let fault = random.u8(..5);
        match fault {
            0 => {
                let victim = 1 + random.usize(..2);
                cluster.gateways[victim].process.signal(Signal::Kill)?;
                cluster.gateways[victim].process.wait()?;
                cluster.restart_gateway(victim)?;
            }
            1 => {
                let victim = 1 + random.usize(..2);
                cluster.gateways[victim].process.signal(Signal::Term)?;
                tokio::task::block_in_place(|| cluster.gateways[victim].process.wait())?;
                cluster.restart_gateway(victim)?;
            }
            2 => {
                let victim = random.usize(..2);
                cluster.workers[victim].process.signal(if random.bool() { Signal::Kill } else { Signal::Term })?;
                tokio::task::block_in_place(|| cluster.workers[victim].process.wait())?;
                cluster.restart_worker(victim)?;
            }
            3 => {
                let victim = random.usize(..2);
                cluster.workers[victim].process.signal(Signal::Stop)?;
                tokio::time::sleep(Duration::from_secs(1)).await;
                cluster.workers[victim].process.signal(Signal::Cont)?;
            }
            _ => {
                if let Some(redis) = &cluster.redis {
                    redis.signal(Signal::Stop)?;
                    tokio::time::sleep(Duration::from_millis(random.u64(100..1500))).await;
                    redis.signal(Signal::Cont)?;
                }
            }
        }
        faults.push(fault);
        tokio::time::sleep(Duration::from_millis(random.u64(500..2000))).await;
    }
    sending.await??;
    eventually("everything is there again", || {
        cluster.gateways[0].health().is_ok_and(|health| health["status"] == "ok" && health["workers"] == 2)
    })?;
    fleet.wait("everybody has the last one", Duration::from_secs(40), |fleet| fleet.have(count - 1) == clients).await?;
    let calls = callers.stop().await?;
    let mut report =
        fleet.finish(&format!("{} s of faults at random ({} of them)", time.as_secs(), faults.len()), count).await?;
    // Whoever listened is gone; what is left is the gateway's own.
    eventually("all connections ended", || {
        cluster.gateways[0].metric("diffyne_gateway_connections").is_ok_and(|now| now < 0.5)
    })?;
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let node = &cluster.gateways[0];
    let (resident, open) = (node.process.resident_kib()?, descriptors(node));
    let (resident_before, open_before) = at_start.unwrap_or((resident, open));
    let waiting = node.metric("diffyne_gateway_calls_in_flight")?;
    report.more = format!(
        "{} calls: {} succeeded, {} failed; gateway 0: resident {resident_before} to {resident} KiB, descriptors {open_before} to {open}, {} threads; {}",
        get(&calls.sent),
        get(&calls.succeeded),
        get(&calls.failed),
        threads(node),
        report.more
    );
    ensure!(
        get(&calls.sent) == get(&calls.succeeded) + get(&calls.failed) + get(&calls.unanswered),
        "calls do not add up: {report}"
    );
    ensure!(get(&calls.unanswered) == 0, "calls without an answer: {report}");
    ensure!(report.lost == 0 && report.doubled == 0, "{report}");
    ensure!(report.delivered + report.reported == count * clients as u64, "broadcasts do not add up: {report}");
    ensure!(waiting.abs() < 0.5, "{waiting} calls are in flight that nobody waits for");
    ensure!(resident as f64 <= resident_before as f64 * 1.25 + 4096.0, "memory has grown: {report}");
    ensure!(open <= open_before, "descriptors have grown: {report}");
    Ok(report)
}
