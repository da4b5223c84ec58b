//! More idle connections than a process may have descriptors: through as many gateways, and processes of clients, as
//! that asks.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::crowd::process::Crowd;
use diffyne_tests::crowd::{Plan, now_us};
use diffyne_tests::faults::crowds::{addresses, publish_one};
use diffyne_tests::load::Audience;

use crate::deployment::Builds;

/// Connections of one gateway, and of one process of clients.
pub const PER_PROCESS: usize = 18_200;
/// How long all clients may take to connect, to subscribe and to get a broadcast.
const LIMIT: Duration = Duration::from_mins(10);
/// How long the heartbeats are watched: two intervals of pings.
const WATCH: Duration = Duration::from_secs(50);
/// What a client says that wants to hear broadcasts.
const SUBSCRIBE: &str = r#"{"event":"diffyne.subscribe","data":{"events":[{"name":"message-sent"}]}}"#;
/// Broadcasts, one after the other.
const BROADCASTS: u64 = 5;

/// The figures of a build.
struct Figures {
    handshakes_per_second: f64,
    cpu_us_each: f64,
    resident: f64,
    resident_subscribed: f64,
    kernel: f64,
    heartbeat_cores: f64,
    broadcasts: Vec<Duration>,
}

/// Measures each build on fresh processes.
pub fn measure(builds: &Builds, connections: usize) -> anyhow::Result<()> {
    let processes = connections.div_ceil(PER_PROCESS);
    println!(
        "\nIdle connections: {connections} without headers of their own, through {processes} gateways and {processes} \
         processes of clients on this machine"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut all = vec![("new", builds.new.as_deref())];
    if let Some(old) = &builds.old {
        all.push(("old", Some(old.as_path())));
    }
    for (name, programs) in all {
        let figures = runtime.block_on(run(programs, connections, processes))?;
        println!("{name}");
        println!("  resident a connection           {:>8.0} bytes", figures.resident);
        println!("  the same, with a subscription   {:>8.0} bytes", figures.resident_subscribed);
        println!("  kernel memory a connection      {:>8.0} bytes, half of what both ends take", figures.kernel);
        println!(
            "  handshakes                      {:>8.0}/s, {:.0} us of the gateways' CPU each",
            figures.handshakes_per_second, figures.cpu_us_each
        );
        println!("  heartbeats                      {:>8.1} % of a core", figures.heartbeat_cores * 100.0);
        println!("  a broadcast has reached the last after {:.0?}", figures.broadcasts);
    }
    Ok(())
}

fn cpu_seconds(cluster: &Cluster) -> anyhow::Result<f64> {
    cluster.gateways.iter().map(|node| node.process.cpu_seconds()).sum()
}

fn resident_bytes(cluster: &Cluster) -> anyhow::Result<f64> {
    let kib = cluster.gateways.iter().map(|node| node.process.resident_kib()).sum::<anyhow::Result<u64>>()?;
    Ok(kib as f64 * 1024.0)
}

/// Lets each gateway serve a client, so that the part of its program that this takes is in memory: it is no connection's.
async fn warm_up(gateways: &[SocketAddr]) -> anyhow::Result<()> {
    for gateway in gateways.iter().copied() {
        // One for each of its threads.
        for _ in 0..2 {
            tokio::task::spawn_blocking(move || Audience::connect(gateway, 1, "", 1, Some(SUBSCRIBE)).map(drop))
                .await??;
        }
    }
    Ok(())
}

/// The kernel's memory: its caches of objects, and the buffers of sockets, in bytes.
fn kernel_bytes() -> anyhow::Result<f64> {
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let slab = memory.lines().find_map(|line| line.strip_prefix("Slab:")).context("no Slab in /proc/meminfo")?;
    let slab: f64 = slab.trim().trim_end_matches(" kB").parse()?;
    let sockets = std::fs::read_to_string("/proc/net/sockstat")?;
    let tcp = sockets.lines().find(|line| line.starts_with("TCP:")).context("no TCP in /proc/net/sockstat")?;
    let pages: f64 = tcp.rsplit(' ').next().context("no pages")?.parse()?;
    Ok(slab * 1024.0 + pages * 4096.0)
}

async fn run(programs: Option<&Path>, connections: usize, processes: usize) -> anyhow::Result<Figures> {
    let shape = Shape::new(processes, 0).with_redis();
    let cluster = Cluster::start(Shape { programs: programs.map(Path::to_owned), ..shape })?;
    let gateways = addresses(&cluster);
    let plan = Plan {
        targets: Vec::new(),
        clients: connections,
        headers: String::new(),
        many_addresses: true,
        subscribes: false,
        cut: None,
        retry_ms: (100, 1_000),
        seed: 1,
    };
    warm_up(&gateways).await?;
    let mut crowd = Crowd::start_at_each(&plan, &gateways)?;
    crowd.status(0).await?;
    let (resident_before, kernel_before, cpu_before) =
        (resident_bytes(&cluster)?, kernel_bytes()?, cpu_seconds(&cluster)?);
    let started_us = now_us();
    crowd.connect().await?;
    let status = crowd.wait("all are connected", LIMIT, 0, |status| status.connected == connections).await?;
    let seconds = status.complete_at_us.context("a client is missing")?.saturating_sub(started_us) as f64 / 1e6;
    let each = |bytes: f64| bytes / connections as f64;
    let cpu_us_each = each((cpu_seconds(&cluster)? - cpu_before) * 1e6);
    let cpu_idle = cpu_seconds(&cluster)?;
    tokio::time::sleep(WATCH).await;
    let heartbeat_cores = (cpu_seconds(&cluster)? - cpu_idle) / WATCH.as_secs_f64();
    let resident = each(resident_bytes(&cluster)? - resident_before);
    let kernel = each(kernel_bytes()? - kernel_before) / 2.0;
    crowd.subscribe().await?;
    crowd.wait("all have subscribed", LIMIT, 0, |status| status.listening == connections).await?;
    let resident_subscribed = each(resident_bytes(&cluster)? - resident_before);
    let mut broadcasts = Vec::new();
    for number in 0..BROADCASTS {
        let sent_us = now_us();
        publish_one(&cluster.redis_url(), number).await?;
        let status = crowd.wait("the last has it", LIMIT, number, |status| status.have == connections).await?;
        broadcasts.push(Duration::from_micros(status.last_at_us.saturating_sub(sent_us)));
    }
    let handshakes_per_second = connections as f64 / seconds;
    Ok(Figures {
        handshakes_per_second,
        cpu_us_each,
        resident,
        resident_subscribed,
        kernel,
        heartbeat_cores,
        broadcasts,
    })
}
