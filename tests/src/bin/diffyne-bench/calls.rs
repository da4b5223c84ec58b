//! A call's round trip through gateway and worker beside a bare echo of the same message.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use diffyne_tests::load::{self, Load};
use diffyne_tests::process::Process;
use diffyne_tests::report::Report;

use crate::arguments::{against, get, get_all, number, plots, programs, save};
use crate::deployment::{Builds, Deployment, Setup, call};
use crate::figures::{median_ratios, medians};

/// Rate, p50 and p99 in microseconds, CPU microseconds a call of server and worker, and of both together.
type Figures = [f64; 6];

/// What is called.
pub struct Workload {
    name: &'static str,
    description: &'static str,
    class: &'static str,
    method: &'static str,
    state: &'static str,
    /// Connections at once, a row each.
    connections: &'static [usize],
}

/// All workloads.
pub const WORKLOADS: [Workload; 2] = [
    Workload {
        name: "silent",
        description: "a component that renders nothing",
        class: r"App\\Tests\\Silent",
        method: "touch",
        state: r#"{"count":0,"label":"aaaaaaaaaaaaaaaaaaaaaaa"}"#,
        connections: &[1, 64, 512],
    },
    Workload {
        name: "counter",
        description: "Counter",
        class: r"App\\Diffyne\\Counter",
        method: "increment",
        state: r#"{"count":0}"#,
        connections: &[1, 64],
    },
];

/// The connections of the chart of CPU time.
const CPU_CONNECTIONS: usize = 64;

/// How often and how long.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Alternating pairs a row.
    pub pairs: u64,
    /// Seconds a run.
    pub seconds: u64,
}

/// Its arguments.
pub fn command() -> Command {
    Command::new("calls")
        .about("A call through gateway and worker beside a bare hyper + fastwebsockets echo of the same bytes")
        .after_help(
            "Echo and gateway are measured in turn, and each figure is the median of its pairs. /echo is the ratio to the \
             echo of the same pair. CPU is microseconds a call: srv of the echo or gateway, wrk of the worker.",
        )
        .arg(number("pairs", "5", "Alternating pairs a row"))
        .arg(number("seconds", "4", "Seconds a run"))
        .arg(
            Arg::new("only")
                .long("only")
                .value_name("WORKLOAD")
                .value_delimiter(',')
                .value_parser(WORKLOADS.map(|workload| workload.name))
                .help("Only these workloads"),
        )
        .arg(plots())
        .arg(programs())
        .arg(against())
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let setup = Setup::start(&Builds::of(matches)?)?;
    let only = get_all(matches, "only");
    let plan = Plan { pairs: get(matches, "pairs"), seconds: get(matches, "seconds") };
    let mut report = Report::begin()?;
    for workload in
        WORKLOADS.iter().filter(|workload| only.is_empty() || only.iter().any(|name| *name == workload.name))
    {
        measure(&setup, workload, plan, &mut report)?;
    }
    save(&report, matches, "calls")
}

/// Measures one workload and prints its table.
pub fn measure(setup: &Setup, workload: &Workload, plan: Plan, report: &mut Report) -> anyhow::Result<()> {
    let message = call(workload.class, workload.method, "[]", workload.state);
    println!(
        "\nCalls of {}: medians of {} alternating pairs of {} s with the echo ({} bytes up)",
        workload.description,
        plan.pairs,
        plan.seconds,
        message.len()
    );
    println!(
        "{:>5}  {:<7} {:>9} {:>6}  {:>8} {:>6}  {:>8} {:>6}  {:>7} {:>6}  {:>7}  {:>6}",
        "conns", "", "calls/s", "/echo", "p50", "/echo", "p99", "/echo", "srv CPU", "/echo", "wrk CPU", "both/e"
    );
    for &connections in workload.connections {
        let load = Load {
            target: setup.echo_address.into(),
            connections,
            duration: Duration::from_secs(plan.seconds),
            message: message.clone(),
            greetings: 0,
            hello: None,
            headers: String::new(),
            own_headers: Vec::new(),
            pause: Duration::ZERO,
            threads: 1,
        };
        let figures = measure_row(setup, &load, plan.pairs)?;
        add_to_report(report, workload, connections, figures);
    }
    Ok(())
}

/// One number of connections: alternating runs of all servers. Returns the medians of the echo and of the new build.
fn measure_row(setup: &Setup, load: &Load, pairs: u64) -> anyhow::Result<[Figures; 2]> {
    let mut echo = Vec::new();
    let mut builds: Vec<Vec<Figures>> = setup.deployments.iter().map(|_| Vec::new()).collect();
    for pair in 0..pairs {
        echo.push(measure_one(load, setup.echo_address, &setup.echo, None)?);
        // Every second pair the other way round, so that a drift of the machine favours neither build.
        let mut order: Vec<usize> = (0..builds.len()).collect();
        if pair % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let Deployment { address, gateway, worker, .. } = &setup.deployments[index];
            builds[index].push(measure_one(load, *address, gateway, Some(worker))?);
        }
    }
    print_row(load.connections, "echo", medians(&echo), None);
    for (deployment, figures) in setup.deployments.iter().zip(&builds) {
        print_row(load.connections, deployment.name, medians(figures), Some(median_ratios(figures, &echo)));
    }
    if let [new, old] = &builds[..] {
        let [rate, p50, p99, server, worker, both] = median_ratios(new, old);
        println!(
            "{:>5}  new/old {rate:>9.3} {:>6}  {p50:>8.3} {:>6}  {p99:>8.3} {:>6}  {server:>7.3} {:>6}  {worker:>7.3}  {both:>6.3}",
            load.connections, "", "", "", ""
        );
    }
    Ok([medians(&echo), medians(&builds[0])])
}

/// Adds a row to the charts of its number of connections.
fn add_to_report(report: &mut Report, workload: &Workload, connections: usize, [echo, ours]: [Figures; 2]) {
    let units = ["calls/s, more is better", "us, less is better", "us, less is better"];
    for (figure, (what, unit)) in ["rate", "p50", "p99"].into_iter().zip(units).enumerate() {
        // One connection has no rate of interest.
        if connections == 1 && figure == 0 {
            continue;
        }
        let name = format!("calls-{what}-{connections}");
        let plural = if connections == 1 { "" } else { "s" };
        let title = format!("Calls through gateway and worker, {connections} connection{plural}: {what}");
        let chart = (name.as_str(), title.as_str(), unit);
        if !report.has(&name) {
            report.add(chart, "bare echo", echo[figure], false);
        }
        report.add(chart, workload.description, ours[figure], true);
    }
    if connections == CPU_CONNECTIONS {
        let title = format!("CPU of a call, {connections} connections");
        let chart = ("calls-cpu", title.as_str(), "us, less is better");
        if !report.has("calls-cpu") {
            report.add(chart, "bare echo", echo[3], false);
        }
        for (part, figure) in [("gateway", 3), ("worker", 4)] {
            report.add(chart, &format!("{}: {part}", workload.description), ours[figure], true);
        }
    }
}

fn print_row(connections: usize, name: &str, figures: Figures, ratios: Option<Figures>) {
    let [rate, p50, p99, server, worker, _] = figures;
    let ratio = |figure: usize| ratios.map_or_else(String::new, |ratios| format!("{:.2}", ratios[figure]));
    println!(
        "{connections:>5}  {name:<7} {rate:>9.0} {:>6}  {p50:>6.0}us {:>6}  {p99:>6.0}us {:>6}  {server:>5.1}us {:>6}  {worker:>5.1}us  {:>6}",
        ratio(0),
        ratio(1),
        ratio(2),
        ratio(3),
        ratio(5)
    );
}

fn measure_one(load: &Load, target: SocketAddr, server: &Process, worker: Option<&Process>) -> anyhow::Result<Figures> {
    let load = Load { target: target.into(), greetings: usize::from(worker.is_some()), ..load.clone() };
    let worker_cpu = || worker.map_or(Ok(0.0), Process::cpu_seconds);
    let (server_before, worker_before) = (server.cpu_seconds()?, worker_cpu()?);
    let measured = load::run(&load)?;
    let per_call = 1e6 / measured.answers.max(1) as f64;
    let server = (server.cpu_seconds()? - server_before) * per_call;
    let worker = (worker_cpu()? - worker_before) * per_call;
    Ok([measured.rate(), measured.quantile(0.5), measured.quantile(0.99), server, worker, server + worker])
}
