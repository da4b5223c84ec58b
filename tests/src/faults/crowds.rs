//! Drops at the size of other projects' public figures, and beyond it: tens of thousands of clients whose connections
//! are cut, while gateways are killed and Redis is restarted.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use deadpool_redis::redis;
use serde_json::json;

use super::{Report, Scale};
use crate::cluster::{Cluster, Shape};
use crate::crowd::process::Crowd;
use crate::crowd::{Cut, Figures, Plan, Status};
use crate::process::Signal;

/// The longest p99 of a resume, in a run in full: a short one shares the machine with other tests.
const RESUME_P99_MAX: Duration = Duration::from_millis(250);
/// How long all clients may take to connect, and to get the last broadcast.
const PATIENCE: Duration = Duration::from_mins(1);

/// Publishes a number as applications do, through the ingress list: whatever gateway dies, it is not lost with it.
pub async fn publish_one(url: &str, number: u64) -> anyhow::Result<()> {
    let client = redis::Client::open(url)?;
    // A new connection, since Redis may have been restarted. Only connecting is tried again, so no number is said twice.
    let until = Instant::now() + PATIENCE;
    let mut connection = loop {
        match client.get_multiplexed_async_connection().await {
            Ok(connection) => break connection,
            Err(error) => ensure!(Instant::now() < until, "no Redis: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let item = json!({"name": "message-sent", "params": [{"n": number}]}).to_string();
    redis::cmd("RPUSH").arg("{diffyne}:ingress").arg(item).query_async::<()>(&mut connection).await?;
    Ok(())
}

/// The public addresses of a cluster's gateways.
pub fn addresses(cluster: &Cluster) -> Vec<SocketAddr> {
    cluster.gateways.iter().map(|node| SocketAddr::from(([127, 0, 0, 1], node.port))).collect()
}

fn shape(gateways: usize) -> Shape {
    Shape::new(gateways, 0).with_redis().gateway("--trusted-proxies", "127.0.0.0/8")
}

fn plan(cluster: &Cluster, clients: usize, cut: Cut, seed: u64) -> Plan {
    Plan {
        targets: addresses(cluster),
        clients,
        headers: String::new(),
        many_addresses: true,
        subscribes: true,
        cut: Some(cut),
        // As the page's scripts: the first try is soon, and at random.
        retry_ms: (0, 1_000),
        seed,
    }
}

fn report(what: String, sent: u64, clients: usize, found: &Figures, more: &str) -> Report {
    let (resumes, connects) = (&found.resumes, &found.connects);
    Report {
        what,
        sent,
        clients: clients as u64,
        delivered: found.delivered,
        lost: found.lost,
        reported: found.reported,
        doubled: found.doubled,
        more: format!(
            "{} resumes, p99 {:.0?}, longest {:.0?}; connecting: p99 {:.0?}; {} repeats left out by their id{more}",
            resumes.count(),
            resumes.quantile(0.99),
            resumes.quantile(1.0),
            connects.quantile(0.99),
            found.repeats,
        ),
    }
}

fn check(scale: Scale, report: &Report, found: &Figures) -> anyhow::Result<()> {
    ensure!(found.delivered + found.reported == report.sent * report.clients, "not all are accounted for: {report}");
    let is_quick = scale == Scale::Short || found.resumes.quantile(0.99) <= RESUME_P99_MAX;
    ensure!(is_quick, "resumes took too long: {report}");
    Ok(())
}

/// "Ten thousand users on trains, and messages were missing." The size and the rhythm of a public comparison of servers.
pub async fn ten_thousand_drop(scale: Scale, seed: u64) -> anyhow::Result<Report> {
    let cluster = Cluster::start(shape(1))?;
    let (clients, count) = scale.pick((300, 24), (10_000, 120));
    let every = Duration::from_millis(scale.pick(250, 500));
    let cut = scale.pick((3, 1), (15, 2));
    let cut = Cut { every: Duration::from_secs(cut.0), away: Duration::from_secs(cut.1) };
    let mut crowd = Crowd::start(&plan(&cluster, clients, cut, seed), 1)?;
    crowd.connect().await?;
    crowd.wait("all have subscribed", PATIENCE, 0, |status| status.complete_at_us.is_some()).await?;
    let mut tick = tokio::time::interval(every);
    for number in 0..count {
        tick.tick().await;
        publish_one(&cluster.redis_url(), number).await?;
    }
    crowd.wait("everybody has the last one", PATIENCE, count - 1, |status| status.have == clients).await?;
    let found = crowd.finish(count).await?;
    let what = format!("{clients} clients of one gateway, each cut for {:?} every {:?}", cut.away, cut.every);
    let report = report(what, count, clients, &found, "");
    check(scale, &report, &found)?;
    ensure!(found.reported == 0, "nobody had to be told of a gap: {report}");
    Ok(report)
}

/// What happens to a large fleet beside the cuts.
struct Schedule {
    count: u64,
    every: Duration,
    kill_every: Duration,
    /// The number after which Redis is restarted with its data.
    restart_at: u64,
    /// The number after which Redis is restarted without its data.
    empty_at: u64,
}

/// "Fifty thousand users, and everything failed that day."
pub async fn fifty_thousand_drop(scale: Scale, seed: u64) -> anyhow::Result<Report> {
    let mut cluster = Cluster::start(shape(3))?;
    let (clients, processes) = scale.pick((600, 2), (50_000, 3));
    let cut = scale.pick((3, 1), (15, 2));
    let cut = Cut { every: Duration::from_secs(cut.0), away: Duration::from_secs(cut.1) };
    let schedule = Schedule {
        count: scale.pick(24, 60),
        every: Duration::from_millis(scale.pick(500, 2_000)),
        kill_every: scale.seconds(4, 20),
        restart_at: scale.pick(8, 20),
        empty_at: scale.pick(16, 40),
    };
    let mut crowd = Crowd::start(&plan(&cluster, clients, cut, seed), processes)?;
    crowd.connect().await?;
    crowd.wait("all have subscribed", PATIENCE, 0, |status| status.complete_at_us.is_some()).await?;
    let killed = schedule.run(&mut cluster, &mut crowd).await?;
    let last = schedule.count - 1;
    // A gateway that was killed right after it cannot give it to those who come back, and says so.
    let have_or_know = |status: &Status| status.have + status.know_of_missing == clients;
    crowd.wait("everybody has the last one, or knows that it is missing", PATIENCE, last, have_or_know).await?;
    let informed = crowd.status(last).await?.informed;
    let found = crowd.finish(schedule.count).await?;
    let what = format!(
        "{clients} clients of 3 gateways, each cut for {:?} every {:?}; {killed} gateways killed, Redis restarted with its \
         data and without",
        cut.away, cut.every
    );
    let more =
        format!("; {informed} of {clients} clients told to refresh, all of them because Redis had lost its data");
    let report = report(what, schedule.count, clients, &found, &more);
    check(scale, &report, &found)?;
    ensure!(informed == clients, "Redis had lost its data, and not everybody was told: {report}");
    Ok(report)
}

impl Schedule {
    /// Publishes all numbers, and breaks things meanwhile. Returns how many gateways were killed.
    async fn run(&self, cluster: &mut Cluster, crowd: &mut Crowd) -> anyhow::Result<usize> {
        let (mut killed, mut next_kill) = (0, Instant::now() + self.kill_every);
        let mut tick = tokio::time::interval(self.every);
        for number in 0..self.count {
            tick.tick().await;
            publish_one(&cluster.redis_url(), number).await?;
            if number == self.restart_at || number == self.empty_at {
                // What waits in Redis goes with its data, and nobody can say so.
                crowd.wait("it has left Redis", PATIENCE, number, |status| status.have > 0).await?;
                let informed = crowd.status(number).await?.informed;
                ensure!(informed == 0, "{informed} were told of a gap, and nothing was missing");
                restart_redis(cluster, number == self.empty_at)?;
            } else if Instant::now() >= next_kill {
                let victim = killed % cluster.gateways.len();
                cluster.gateways[victim].process.signal(Signal::Kill)?;
                cluster.gateways[victim].process.wait()?;
                cluster.restart_gateway(victim)?;
                killed += 1;
                next_kill += self.kill_every;
            }
        }
        Ok(killed)
    }
}

fn restart_redis(cluster: &mut Cluster, empty: bool) -> anyhow::Result<()> {
    cluster.kill_redis()?;
    if empty {
        let data = cluster.directory.path().join("appendonlydir");
        std::fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))?;
    }
    cluster.start_redis()
}
