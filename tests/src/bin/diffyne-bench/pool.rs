//! What gateway, worker and PHP each take of a call of Laravel's components, by one build or by two.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{ArgMatches, Command};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::laravel::Laravel;
use diffyne_tests::load::{self, Load};
use diffyne_tests::process::Process;

use crate::arguments::{against, get, number, programs};
use crate::components::{self, Component};
use crate::deployment::Builds;
use crate::figures::{median_ratios, medians};
use crate::php::php_cpu_seconds;

/// Connections that call, each one call after the other.
const CONNECTIONS: [usize; 2] = [32, 1];

/// Its arguments.
pub fn command() -> Command {
    Command::new("pool")
        .about("CPU of gateway, worker and PHP for a call of Laravel's components, with one PHP process; as root")
        .after_help(
            "Calls bring the fingerprint of the answer before, as pages do, so the worker has the HTML that they show. CPU is \
             microseconds a call; switches are those of gateway and worker together, from one thread to another.",
        )
        .arg(number("rounds", "3", "Alternating rounds"))
        .arg(number("seconds", "3", "Seconds a run"))
        .arg(programs())
        .arg(against())
}

/// Calls a second; their p50 and p99 in microseconds; CPU microseconds a call of gateway, worker and PHP; switches a call.
type Figures = [f64; 7];

/// Runs it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    components::install(&laravel)?;
    let components = [Component::counter(), Component::table()];
    let (builds, rounds, seconds) = (Builds::of(matches)?, get(matches, "rounds"), get(matches, "seconds"));
    let start = |programs| Cluster::start(Shape { programs, ..laravel.shape(1, 1) });
    let mut clusters = vec![("new", start(builds.new.clone())?)];
    if builds.old.is_some() {
        clusters.push(("old", start(builds.old.clone())?));
    }
    println!("Medians of {rounds} rounds of {seconds} s, one PHP process; CPU in us a call");
    println!(
        "{:<20} {:>11} {:<8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9}",
        "", "connections", "", "calls/s", "p50", "p99", "gateway", "worker", "PHP", "switches"
    );
    for (component, connections) in components.iter().flat_map(|one| CONNECTIONS.map(|connections| (one, connections)))
    {
        let mut figures: Vec<Vec<Figures>> = clusters.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds {
            let mut order: Vec<usize> = (0..clusters.len()).collect();
            // Every second round the other way round, so that a drift of the machine favours neither.
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                figures[index].push(measure(&laravel, &clusters[index].1, component, connections, seconds)?);
            }
        }
        print(component.name, connections, &clusters, &figures);
    }
    Ok(())
}

fn print(component: &str, connections: usize, clusters: &[(&str, Cluster)], figures: &[Vec<Figures>]) {
    for ((name, _), figures) in clusters.iter().zip(figures) {
        let [rate, p50, p99, gateway, worker, php, switches] = medians(figures);
        println!(
            "{component:<20} {connections:>11} {name:<8} {rate:>8.0} {p50:>8.0} {p99:>8.0} {gateway:>8.1} {worker:>8.1} {php:>8.1} {switches:>9.2}"
        );
    }
    if let [new, old] = figures {
        let [rate, p50, p99, gateway, worker, php, switches] = median_ratios(new, old);
        println!(
            "{component:<20} {connections:>11} {:<8} {rate:>8.3} {p50:>8.3} {p99:>8.3} {gateway:>8.3} {worker:>8.3} {php:>8.3} {switches:>9.3}",
            "new/old"
        );
    }
}

fn measure(
    laravel: &Laravel,
    cluster: &Cluster,
    component: &Component,
    connections: usize,
    seconds: u64,
) -> anyhow::Result<Figures> {
    let target = SocketAddr::from(([127, 0, 0, 1], cluster.gateways[0].port));
    let load = Load {
        target: target.into(),
        connections,
        duration: Duration::from_secs(seconds),
        message: component.second_call(target, true)?,
        greetings: 1,
        hello: None,
        headers: String::new(),
        own_headers: Vec::new(),
        pause: Duration::ZERO,
        threads: 1,
    };
    let processes = [&cluster.gateways[0].process, &cluster.workers[0].process];
    let before = (processes.map(Process::cpu_seconds), php_cpu_seconds(laravel)?, switches(processes)?);
    let measured = load::run(&load)?;
    let after = (processes.map(Process::cpu_seconds), php_cpu_seconds(laravel)?, switches(processes)?);
    let ([gateway, worker], [gateway_before, worker_before]) = (after.0, before.0);
    let a_call = |spent: f64| spent / measured.answers.max(1) as f64;
    Ok([
        measured.rate(),
        measured.quantile(0.5),
        measured.quantile(0.99),
        a_call((gateway? - gateway_before?) * 1e6),
        a_call((worker? - worker_before?) * 1e6),
        a_call((after.1 - before.1) * 1e6),
        a_call((after.2 - before.2) as f64),
    ])
}

/// How often threads of these processes have left a CPU so far.
fn switches(processes: [&Process; 2]) -> anyhow::Result<u64> {
    let mut switches = 0;
    for process in processes {
        for thread in std::fs::read_dir(format!("/proc/{}/task", process.id()))? {
            let text = std::fs::read_to_string(thread?.path().join("status"))?;
            let counts =
                text.lines().filter_map(|line| line.split_once("ctxt_switches:")?.1.trim().parse::<u64>().ok());
            switches += counts.sum::<u64>();
        }
    }
    Ok(switches)
}
