//! All faults at random for a while. At the end the counters have to add up, and nothing has grown.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::deploys::Callers;
use super::drops::publish_by_redis;
use super::fleet::{Cut, Fleet};
use super::{Report, Scale};
use crate::cluster::{Cluster, Node, Shape};
use crate::process::{Signal, eventually};

/// Broadcasts a second.
const RATE: u64 = 20;

fn descriptors(node: &Node) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", node.process.id())).map_or(0, Iterator::count)
}

fn threads(node: &Node) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", node.process.id())).map_or(0, Iterator::count)
}

/// What a gateway holds of the system.
#[derive(Clone, Copy)]
struct Footprint {
    resident_kib: u64,
    descriptors: usize,
}

impl Footprint {
    fn of(node: &Node) -> anyhow::Result<Self> {
        Ok(Self { resident_kib: node.process.resident_kib()?, descriptors: descriptors(node) })
    }
}

/// "It runs for weeks." Faults hit everything at random but gateway 0, which must not grow.
pub async fn everything_at_random(scale: Scale, seed: u64) -> anyhow::Result<Report> {
    let mut cluster = Cluster::start(Shape::new(3, 2).with_redis().with_nginx().gateway("--call-timeout", "5s"))?;
    let clients = scale.pick(60, 200);
    let cut = Cut { every: Duration::from_secs(8), away: Duration::from_secs(1) };
    let fleet = Fleet::start(&[cluster.nginx_url()], clients, Some(cut), seed).await?;
    let callers = Callers::start(&[cluster.url(0)], 10, 50);
    let time = scale.seconds(20, 600);
    let count = time.as_secs() * RATE;
    let redis = cluster.redis_url();
    let sending = tokio::spawn(async move { publish_by_redis(&redis, count, RATE).await });
    let (faults, before) = inflict_faults(&mut cluster, time, seed).await?;
    sending.await??;
    eventually("everything is there again", || {
        cluster.gateways[0].health().is_ok_and(|health| health["status"] == "ok" && health["workers"] == 2)
    })?;
    fleet.wait("everybody has the last one", Duration::from_secs(40), |fleet| fleet.have(count - 1) == clients).await?;
    let calls = callers.stop().await?;
    let mut report =
        fleet.finish(&format!("{} s of faults at random ({faults} of them)", time.as_secs()), count).await?;
    let node = &cluster.gateways[0];
    eventually("all connections ended", || node.metric("diffyne_gateway_connections").is_ok_and(|now| now < 0.5))?;
    let after = Footprint::of(node)?;
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    report.more = format!(
        "{} calls: {} succeeded, {} failed; gateway 0: resident {} to {} KiB, descriptors {} to {}, {} threads; {}",
        get(&calls.sent),
        get(&calls.succeeded),
        get(&calls.failed),
        before.resident_kib,
        after.resident_kib,
        before.descriptors,
        after.descriptors,
        threads(node),
        report.more
    );
    let answered = get(&calls.succeeded) + get(&calls.failed);
    ensure!(get(&calls.unanswered) == 0, "calls without an answer: {report}");
    ensure!(get(&calls.sent) == answered, "calls do not add up: {report}");
    ensure!(report.lost == 0 && report.doubled == 0, "{report}");
    ensure!(report.delivered + report.reported == count * clients as u64, "broadcasts do not add up: {report}");
    let in_flight = node.metric("diffyne_gateway_calls_in_flight")?;
    ensure!(in_flight.abs() < 0.5, "{in_flight} calls are in flight that nobody waits for");
    let resident_max = before.resident_kib as f64 * 1.25 + 4096.0;
    ensure!(after.resident_kib as f64 <= resident_max, "memory has grown: {report}");
    ensure!(after.descriptors <= before.descriptors, "descriptors have grown: {report}");
    Ok(report)
}

/// Inflicts faults for a while; how many, and what gateway 0 held after a quarter of the time, when its memory has its
/// usual size.
async fn inflict_faults(cluster: &mut Cluster, time: Duration, seed: u64) -> anyhow::Result<(usize, Footprint)> {
    let mut random = fastrand::Rng::with_seed(seed);
    let (warm, until) = (Instant::now() + time / 4, Instant::now() + time);
    let (mut faults, mut before) = (0, None);
    while Instant::now() < until {
        if before.is_none() && Instant::now() >= warm {
            before = Some(Footprint::of(&cluster.gateways[0])?);
        }
        inflict(cluster, &mut random).await?;
        faults += 1;
        tokio::time::sleep(Duration::from_millis(random.u64(500..2000))).await;
    }
    Ok((faults, before.map_or_else(|| Footprint::of(&cluster.gateways[0]), Ok)?))
}

/// One fault: a gateway or a worker that is killed, told to stop or frozen, or a Redis that hangs.
async fn inflict(cluster: &mut Cluster, random: &mut fastrand::Rng) -> anyhow::Result<()> {
    match random.u8(..5) {
        fault @ (0 | 1) => {
            let victim = 1 + random.usize(..2);
            cluster.gateways[victim].process.signal(if fault == 0 { Signal::Kill } else { Signal::Term })?;
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
    Ok(())
}
