//! Networks and gateways that go away while broadcasts are sent.

use std::time::{Duration, Instant};

use deadpool_redis::redis;
use serde_json::json;

use super::fleet::{Cut, EVENTS, Fleet};
use super::{Report, Scale};
use crate::cluster::{Cluster, Shape};
use crate::process::Signal;

/// Broadcasts a second.
const RATE: u64 = 50;

/// Publishes numbers from 0 on as applications do, through the ingress list: whatever gateway dies, none is lost with it.
pub async fn publish_by_redis(url: &str, count: u64, rate: u64) -> anyhow::Result<()> {
    publish_while(url, rate, |n| n < count).await.map(drop)
}

/// The same, as long as something holds for the next number. Returns that number.
pub async fn publish_while(url: &str, rate: u64, mut goes_on: impl FnMut(u64) -> bool) -> anyhow::Result<u64> {
    // It waits for a Redis that hangs, rather than say a number twice.
    let long = Some(Duration::from_secs(30));
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(long).set_connection_timeout(long);
    let client = redis::Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await?;
    let mut tick = tokio::time::interval(Duration::from_secs(1) / u32::try_from(rate)?);
    let mut n = 0;
    while goes_on(n) {
        tick.tick().await;
        let item = json!({"name": "message-sent", "params": [{"n": n}]}).to_string();
        redis::cmd("RPUSH").arg("{diffyne}:ingress").arg(item).query_async::<()>(&mut connection).await?;
        n += 1;
    }
    Ok(n)
}

/// Clients whose TCP connections are cut again and again, behind nginx; with `kill`, gateways die as well.
async fn drops(scale: Scale, kill: bool, seed: u64) -> anyhow::Result<Report> {
    let mut cluster = Cluster::start(Shape::new(3, 1).with_redis().with_nginx())?;
    let (clients, time) = (scale.pick(100, 500), scale.seconds(9, 60));
    let cut = scale.pick(
        Cut { every: Duration::from_secs(3), away: Duration::from_secs(1) },
        Cut { every: Duration::from_secs(10), away: Duration::from_secs(2) },
    );
    let fleet = Fleet::start(&[cluster.nginx_url()], clients, Some(cut), seed).await?;
    let count = time.as_secs() * RATE;
    let url = cluster.redis_url();
    let sending = tokio::spawn(async move { publish_by_redis(&url, count, RATE).await });
    let (mut killed, mut next) = (0, Instant::now() + scale.seconds(3, 15));
    while !sending.is_finished() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if kill && Instant::now() >= next {
            let victim = killed % cluster.gateways.len();
            cluster.gateways[victim].process.signal(Signal::Kill)?;
            cluster.gateways[victim].process.wait()?;
            cluster.restart_gateway(victim)?;
            killed += 1;
            next = Instant::now() + scale.seconds(3, 15);
        }
    }
    sending.await??;
    fleet.wait("everybody has the last one", Duration::from_secs(30), |fleet| fleet.have(count - 1) == clients).await?;
    let what = if kill {
        format!("the same, and {killed} gateways killed and started again")
    } else {
        format!("each connection cut for {} s every {} s, behind nginx", cut.away.as_secs(), cut.every.as_secs())
    };
    fleet.finish(&what, count).await
}

/// "Our firewall lets no WebSocket through, the network is bad, and messages were missing." Clients that hear by
/// server-sent events, behind nginx as it is shipped.
pub async fn streams_drop(scale: Scale, seed: u64) -> anyhow::Result<Report> {
    let cluster = Cluster::start(Shape::new(3, 1).with_redis().with_nginx())?;
    let (clients, time) = (scale.pick(60, 500), scale.seconds(5, 60));
    let cut = scale.pick(
        Cut { every: Duration::from_secs(2), away: Duration::from_millis(500) },
        Cut { every: Duration::from_secs(10), away: Duration::from_secs(2) },
    );
    let fleet = Fleet::start(&[format!("{EVENTS}{}", cluster.nginx_port)], clients, Some(cut), seed).await?;
    let count = time.as_secs() * RATE;
    publish_by_redis(&cluster.redis_url(), count, RATE).await?;
    fleet.wait("everybody has the last one", Duration::from_secs(30), |fleet| fleet.have(count - 1) == clients).await?;
    let what = format!("no WebSockets; each stream cut for {:?} every {:?}, behind nginx", cut.away, cut.every);
    fleet.finish(&what, count).await
}

/// "I lost my network for two seconds, and messages were missing."
pub async fn networks_drop(scale: Scale, seed: u64) -> anyhow::Result<Report> {
    drops(scale, false, seed).await
}

/// "A server crashed, and messages were missing."
pub async fn networks_drop_and_gateways_die(scale: Scale, seed: u64) -> anyhow::Result<Report> {
    drops(scale, true, seed).await
}
