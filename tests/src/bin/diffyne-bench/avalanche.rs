//! Clients that connect and subscribe all at once, as after a restart, while others make calls.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{ArgMatches, Command};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::crowd::process::Crowd;
use diffyne_tests::crowd::{Plan, now_us};
use diffyne_tests::faults::crowds::addresses;
use diffyne_tests::faults::deploys::Callers;

use crate::arguments::{against, get, get_against, get_programs, number, programs};

/// Pages that make calls, and how many they make a second together.
const CALLERS: (usize, u64) = (20, 400);
/// How long the calls are watched before the avalanche.
const QUIET: Duration = Duration::from_secs(5);
/// How long all clients may take.
const LIMIT: Duration = Duration::from_mins(2);
/// Clients of one process: it may have only so many descriptors.
const CLIENTS_PER_PROCESS: usize = 17_500;
/// When a refused client comes again, in milliseconds.
const RETRY_MS: (u64, u64) = (1_000, 3_000);

/// Its arguments.
pub fn command() -> Command {
    Command::new("avalanche")
        .about("Clients that connect and subscribe all at once at default limits, while others make calls")
        .arg(number("clients", "17500", "Clients, over all gateways"))
        .arg(number("gateways", "1", "Gateways; more than one share a Redis"))
        .arg(number("rounds", "3", "Rounds, each on fresh processes"))
        .arg(programs())
        .arg(against())
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let (clients, gateways) = (get(matches, "clients") as usize, get(matches, "gateways").max(1) as usize);
    let builds = [("new", get_programs(matches)?), ("old", get_against(matches)?)];
    println!(
        "\n{clients} clients connect and subscribe at once at {gateways} gateways with their default limits; refused ones \
         come again after 1 to 3 s. Others make {} calls a second.",
        CALLERS.1
    );
    println!("build    all after    tries  refused  gateway CPU/client    calls' p99: quiet  meanwhile  longest");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for _ in 0..get(matches, "rounds") {
        for (name, programs) in &builds {
            if *name == "new" || programs.is_some() {
                runtime.block_on(round(name, programs.as_deref(), clients, gateways))?;
            }
        }
    }
    Ok(())
}

fn start(programs: Option<&Path>, gateways: usize) -> anyhow::Result<Cluster> {
    let shape = Shape::new(gateways, 1).with_default_limits().gateway("--trusted-proxies", "127.0.0.0/8");
    let shape = if gateways > 1 { shape.with_redis() } else { shape };
    Cluster::start(Shape { programs: programs.map(PathBuf::from), ..shape })
}

fn cpu_seconds(cluster: &Cluster) -> anyhow::Result<f64> {
    cluster.gateways.iter().map(|node| node.process.cpu_seconds()).sum()
}

async fn round(name: &str, programs: Option<&Path>, clients: usize, gateways: usize) -> anyhow::Result<()> {
    let cluster = start(programs, gateways)?;
    let targets = addresses(&cluster);
    let urls: Vec<String> = (0..gateways).map(|index| cluster.url(index)).collect();
    let plan = Plan {
        targets,
        clients,
        headers: String::new(),
        many_addresses: true,
        subscribes: true,
        cut: None,
        retry_ms: RETRY_MS,
        seed: 1,
    };
    let mut crowd = Crowd::start(&plan, clients.div_ceil(CLIENTS_PER_PROCESS))?;
    // Answered, so every process of clients has started.
    crowd.status(0).await?;
    let callers = Callers::start(&urls, CALLERS.0, CALLERS.1);
    tokio::time::sleep(QUIET).await;
    let quiet = callers.quantiles();
    let cpu_before = cpu_seconds(&cluster)?;
    let started_us = now_us();
    crowd.connect().await?;
    let status = crowd.wait("all have subscribed", LIMIT, 0, |status| status.listening == clients).await?;
    let meanwhile = callers.quantiles();
    let cpu = cpu_seconds(&cluster)? - cpu_before;
    callers.stop().await?;
    let took = Duration::from_micros(status.complete_at_us.context("a client is missing")?.saturating_sub(started_us));
    println!(
        "{name:<5} {:>9.2} s {:>8} {:>8} {:>15.0} us {:>17.1?} {:>10.1?} {:>8.1?}",
        took.as_secs_f64(),
        status.tries,
        status.refused,
        cpu * 1e6 / clients as f64,
        quiet.p99,
        meanwhile.p99,
        meanwhile.longest,
    );
    Ok(())
}
