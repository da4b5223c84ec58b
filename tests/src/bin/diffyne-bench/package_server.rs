//! The package's own server (`php artisan diffyne:websocket`) beside gateway, worker and pool, with the same application.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Arg, ArgMatches, Command};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::laravel::Laravel;
use diffyne_tests::load::{self, Load, Measurement};
use diffyne_tests::ports::free_ports;
use diffyne_tests::process::{Process, wait_for_port};
use diffyne_tests::recorded::APP_KEY;
use diffyne_tests::report::Report;

use crate::arguments::{get, number, plots, programs, save};
use crate::components::{self, Component};
use crate::deployment::{Builds, find};
use crate::figures::medians;
use crate::php::{SHIPPED_SETTINGS, php_cpu_seconds};

const CONNECTIONS: usize = 32;
/// Calls of one connection are all alike: longer runs tell no more.
const ALONE_SECONDS: u64 = 3;
/// What a user takes at least between two clicks.
const PAUSE: Duration = Duration::from_millis(20);
/// Its arguments.
pub fn command() -> Command {
    Command::new("package")
        .about("The package's own WebSocket server beside gateway, worker and pool; as root, on a quiet machine")
        .after_help(
            "DIFFYNE_PACKAGE and DIFFYNE_SOCKEON name the directories of the package and of Sockeon, its server. Both servers \
             run the same Laravel application with the same settings of PHP, and are measured in turn. Calls are those of pages: \
             with the state, signature and fingerprint of the answer before.",
        )
        .arg(number("rounds", "3", "Alternating rounds"))
        .arg(number("seconds", "3", "Seconds a run"))
        .arg(Arg::new("only").long("only").value_name("COMPONENT").help("Only this component, for example Counter"))
        .arg(plots())
        .arg(programs())
}

/// Calls a second, p50, p99 and the longest in microseconds, p50 of one connection alone without and with pauses, CPU microseconds a call
/// of PHP, and of all processes.
type Figures = [f64; 8];

/// A server that takes part.
struct Contender<'a> {
    name: &'static str,
    address: SocketAddr,
    is_ours: bool,
    /// Its processes beside those in the application's directory.
    processes: Vec<&'a Process>,
}

impl<'a> Contender<'a> {
    fn pool(name: &'static str, cluster: &'a Cluster) -> Self {
        let (gateway, worker) = (&cluster.gateways[0], &cluster.workers[0]);
        let processes = vec![&gateway.process, &worker.process];
        Self { name, address: SocketAddr::from(([127, 0, 0, 1], gateway.port)), is_ours: true, processes }
    }

    /// CPU time so far, of PHP and of all. Whoever has no calls takes none.
    fn cpu_seconds(&self, laravel: &Laravel) -> anyhow::Result<[f64; 2]> {
        let sum = |of: fn(&Process) -> anyhow::Result<f64>| -> anyhow::Result<f64> {
            self.processes.iter().map(|process| of(process)).sum()
        };
        let own = sum(Process::cpu_seconds)?;
        // PHP processes that have been replaced are the worker's children.
        let php = php_cpu_seconds(laravel)? + sum(Process::ended_children_cpu_seconds)?;
        Ok(if self.is_ours { [php, php + own] } else { [php + own; 2] })
    }
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let only = matches.get_one::<String>("only");
    let components = [Component::counter(), Component::ten_rows(), Component::list(), Component::table()];
    let known = components.iter().map(|component| component.name).collect::<Vec<_>>();
    ensure!(only.is_none_or(|only| known.contains(&only.as_str())), "--only: one of {}", known.join(", "));
    let laravel = prepare()?;
    let builds = Builds::of(matches)?;
    let pool = |processes: usize| {
        let shape = laravel.shape(1, processes);
        Cluster::start(Shape { programs: builds.new.clone(), ..shape })
    };
    let (server, address) = serve(&laravel)?;
    let (one, two) = (pool(1)?, pool(2)?);
    let (own, own_address) = one_process(&laravel, builds.new.as_deref(), 1)?;
    let contenders = [
        Contender { name: "the package's server", address, is_ours: false, processes: vec![&server] },
        Contender::pool("pool of 1 process", &one),
        Contender::pool("pool of 2 processes", &two),
        Contender { name: "one program, pool of 1", address: own_address, is_ours: true, processes: vec![&own] },
    ];
    let mut report = Report::begin()?;
    for component in components.iter().filter(|component| only.is_none_or(|only| only == component.name)) {
        measure(&laravel, &contenders, component, matches, &mut report)?;
    }
    save(&report, matches, "package")
}

fn measure(
    laravel: &Laravel,
    contenders: &[Contender<'_>],
    component: &Component,
    matches: &ArgMatches,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (rounds, seconds) = (get(matches, "rounds"), get(matches, "seconds"));
    let name = component.name;
    println!("\n{name}: medians of {rounds} rounds of {seconds} s, {CONNECTIONS} connections");
    println!(
        "{:<24} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "calls/s", "p50", "p99", "longest", "alone", "paused", "PHP's CPU", "all CPU"
    );
    let mut figures: Vec<Vec<Figures>> = contenders.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (contender, figures) in contenders.iter().zip(&mut figures) {
            let before = contender.cpu_seconds(laravel)?;
            let many = call(contender, component, CONNECTIONS, seconds, Duration::ZERO)?;
            let after = contender.cpu_seconds(laravel)?;
            let [php, all] = [0, 1].map(|at| (after[at] - before[at]) * 1e6 / many.answers.max(1) as f64);
            let [alone, paused] = [Duration::ZERO, PAUSE].map(|pause| {
                call(contender, component, 1, seconds.min(ALONE_SECONDS), pause).map(|calls| calls.quantile(0.5))
            });
            figures.push([
                many.rate(),
                many.quantile(0.5),
                many.quantile(0.99),
                many.quantile(1.0),
                alone?,
                paused?,
                php,
                all,
            ]);
        }
    }
    for (contender, figures) in contenders.iter().zip(&figures) {
        let [rate, p50, p99, longest, alone, paused, php, all] = medians(figures);
        println!(
            "{:<24} {rate:>8.0} {p50:>7.0}us {p99:>7.0}us {longest:>7.0}us {alone:>7.0}us {paused:>7.0}us {php:>7.0}us {all:>7.0}us",
            contender.name
        );
        let file = name.replace(' ', "-").to_lowercase();
        for (what, unit, value) in [
            ("rate", "calls/s, 32 connections, more is better", rate),
            ("p99", "us, 32 connections, less is better", p99),
            ("alone", "us, p50 of one connection alone, less is better", alone),
        ] {
            let (chart, title) = (format!("package-{file}-{what}"), format!("Laravel: {name}"));
            report.add((&chart, &title, unit), contender.name, value, contender.is_ours);
        }
    }
    Ok(())
}

fn call(
    contender: &Contender<'_>,
    component: &Component,
    connections: usize,
    seconds: u64,
    pause: Duration,
) -> anyhow::Result<Measurement> {
    // The package knows no signature over locked properties.
    let message = component.second_call(contender.address, contender.is_ours).with_context(|| contender.name)?;
    load::run(&Load {
        target: contender.address.into(),
        connections,
        duration: Duration::from_secs(seconds),
        message,
        greetings: 1,
        hello: None,
        headers: String::new(),
        own_headers: Vec::new(),
        pause,
        threads: 1,
    })
}

/// The application with the real package and its server.
fn prepare() -> anyhow::Result<Laravel> {
    ensure!(std::env::var_os("DIFFYNE_PACKAGE").is_some(), "DIFFYNE_PACKAGE does not name the package's directory");
    let sockeon = std::env::var_os("DIFFYNE_SOCKEON").context("DIFFYNE_SOCKEON does not name Sockeon's directory")?;
    let laravel = Laravel::new()?;
    components::install(&laravel)?;
    let copied = std::process::Command::new("cp").arg("-rT").arg(sockeon).arg(laravel.path("sockeon")).status()?;
    ensure!(copied.success(), "cannot copy Sockeon");
    laravel.change(
        "vendor/autoload.php",
        "'Diffyne\\\\' =>",
        "'Sockeon\\\\Sockeon\\\\' => __DIR__.'/../sockeon/src/', 'Diffyne\\\\' =>",
    )?;
    Ok(laravel)
}

/// Starts gateway and worker as one program.
fn one_process(laravel: &Laravel, programs: Option<&Path>, processes: usize) -> anyhow::Result<(Process, SocketAddr)> {
    let [port, admin] = free_ports()?;
    let process = Process::start("one", &laravel.path(""), &find(programs, "diffyne-dev")?, |command| {
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin}")]);
        command.args(["--app", &laravel.directory, "--php-command", &laravel.command(), "--signing-key", APP_KEY]);
        command.args(["--php-processes", &processes.to_string()]);
        for name in ["handshake", "message", "call", "broadcast", "frame", "connection"] {
            command.args([&format!("--{name}-rate"), "off"]);
        }
    })?;
    wait_for_port(port)?;
    Ok((process, SocketAddr::from(([127, 0, 0, 1], port))))
}

/// Starts the package's server.
fn serve(laravel: &Laravel) -> anyhow::Result<(Process, SocketAddr)> {
    let [port] = free_ports()?;
    let command = laravel.command();
    let mut words = command.split(' ');
    let program = PathBuf::from(words.next().context("no PHP command")?);
    let arguments: Vec<&str> = words.collect();
    let process = Process::start("package-server", &laravel.path(""), &program, |command| {
        command.args(arguments);
        for setting in SHIPPED_SETTINGS {
            command.args(["-d", setting]);
        }
        command.arg(Path::new(&laravel.directory).join("artisan")).arg("diffyne:websocket");
        command.env("DIFFYNE_WS_PORT", port.to_string()).env("DIFFYNE_WS_KEY", "null");
    })?;
    wait_for_port(port)?;
    Ok((process, SocketAddr::from(([127, 0, 0, 1], port))))
}
