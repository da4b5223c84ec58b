//! What a gateway does by itself (answer a message, hold idle connections, deliver a broadcast), beside a bare echo and
//! other WebSocket servers: Socket.IO on node, uWebSockets by socketify.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command as System;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Arg, ArgMatches, Command, value_parser};
use diffyne_tests::load::{self, Audience, Load, Socket, Target, client_frame};
use diffyne_tests::ports::free_ports;
use diffyne_tests::process::{Process, project, wait_for_port};
use diffyne_tests::report::Report;

use crate::arguments::{get, number, plots, programs};
use crate::deployment::{Builds, Deployment, Setup, call, start_echo};
use crate::figures::{median, medians};

/// Bytes of a broadcast, as `diffyne-bench fanout` has them.
const PAYLOAD_BYTES: usize = 306;
const CONNECTIONS: usize = 64;
/// How long all have to hear a broadcast.
const PATIENCE: Duration = Duration::from_mins(1);

/// Charts: the name of the file, what was measured, and the unit.
const RATE: (&str, &str, &str) = (
    "peers-rate",
    "A message and its answer, 64 connections, load generator on the same cores",
    "answers/s, more is better",
);
const CPU: (&str, &str, &str) = ("peers-cpu", "CPU of a message and its answer", "us, less is better");
const MEMORY: (&str, &str, &str) = (
    "peers-memory",
    "Memory of an idle connection (handshake with 600 bytes of headers)",
    "KiB resident, less is better",
);
const FAN_OUT: (&str, &str, &str) = ("peers-fan-out", "A broadcast to all connections", "deliveries/s, more is better");
const FAN_OUT_CPU: (&str, &str, &str) = ("peers-fan-out-cpu", "CPU of a delivery", "us, less is better");

/// Its arguments.
pub fn command() -> Command {
    Command::new("peers")
        .about("A message, idle connections and a broadcast, beside a bare echo, Socket.IO and uWebSockets")
        .after_help(
            "The gateway answers diffyne.ping by itself: no worker takes part, as in the others. Servers are measured in turn; \
             figures are medians of the rounds. Socket.IO and uWebSockets are installed into --peers by npm and pip.",
        )
        .arg(number("rounds", "3", "Alternating rounds"))
        .arg(number("seconds", "3", "Seconds a run"))
        .arg(number("idle", "10000", "Idle connections"))
        .arg(number("audience", "5000", "Connections that hear a broadcast"))
        .arg(
            Arg::new("peers")
                .long("peers")
                .value_name("DIR")
                .default_value("target/peers")
                .value_parser(value_parser!(PathBuf))
                .help("Where the others are installed"),
        )
        .arg(plots())
        .arg(programs())
}

/// A server that takes part.
struct Peer {
    name: &'static str,
    is_ours: bool,
    process: Process,
    target: Target,
    greetings: usize,
    hello: Option<&'static str>,
    message: String,
    /// Makes it write to everybody; what each of the audience says first.
    trigger: String,
    audience_hello: Option<&'static str>,
}

/// The servers, and what they need to run.
struct Peers {
    all: Vec<Peer>,
    _worker: Process,
    _directory: tempfile::TempDir,
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let folder = matches.get_one::<PathBuf>("peers").context("no folder")?;
    let installed = System::new(project().join("tests/peers/install.sh")).arg(folder).status()?;
    ensure!(installed.success(), "cannot install the peers into {}", folder.display());
    let (folder, builds) = (folder.canonicalize()?, Builds::of(matches)?);
    let (rounds, seconds) = (get(matches, "rounds"), get(matches, "seconds"));
    let mut report = Report::begin()?;
    let start = |echo: &[&str]| Peers::start(&builds, &folder, echo);
    measure_messages(&start(&[])?, rounds, seconds, &mut report)?;
    measure_broadcasts(&start(&["--fan-out"])?, get(matches, "audience") as usize, rounds, &mut report)?;
    measure_memory(&start(&[])?, get(matches, "idle") as usize, &mut report)?;
    crate::arguments::save(&report, matches, "peers")
}

impl Peers {
    /// Starts all; the bare echo with these arguments.
    fn start(builds: &Builds, folder: &Path, echo: &[&str]) -> anyhow::Result<Self> {
        let Setup { mut deployments, directory, .. } = Setup::start(builds)?;
        let Deployment { gateway, address, worker, .. } = deployments.swap_remove(0);
        let (echo, echo_address) = start_echo("bare-loop", directory.path(), echo)?;
        let text = "x".repeat(64);
        let all = vec![
            Peer {
                name: "bare echo (hyper, fastwebsockets)",
                is_ours: false,
                process: echo,
                target: echo_address.into(),
                greetings: 0,
                hello: None,
                message: text.clone(),
                trigger: "go".to_owned(),
                audience_hello: None,
            },
            Peer {
                name: "Diffyne gateway",
                is_ours: true,
                process: gateway,
                target: address.into(),
                greetings: 1,
                hello: None,
                message: r#"{"event":"diffyne.ping","data":{}}"#.to_owned(),
                trigger: call(r"App\\Tests\\Probe", "announce", "[1]", r#"{"runs":0}"#),
                audience_hello: Some(r#"{"event":"diffyne.subscribe","data":{"events":[{"name":"message-sent"}]}}"#),
            },
            Self::uwebsockets(folder, directory.path(), &text)?,
            Self::socket_io(folder, directory.path(), &text)?,
        ];
        Ok(Self { all, _worker: worker, _directory: directory })
    }

    fn uwebsockets(folder: &Path, directory: &Path, text: &str) -> anyhow::Result<Peer> {
        let [port] = free_ports()?;
        let python = folder.join("venv/bin/python");
        let process = Process::start("uwebsockets", directory, &python, |command| {
            command.env("LD_LIBRARY_PATH", folder.join("lib")).arg(project().join("tests/peers/uwebsockets.py"));
            command.args([port.to_string(), PAYLOAD_BYTES.to_string()]);
        })?;
        wait_for_port(port)?;
        Ok(Peer {
            name: "uWebSockets (Python, socketify)",
            is_ours: false,
            process,
            target: SocketAddr::from(([127, 0, 0, 1], port)).into(),
            greetings: 0,
            hello: None,
            message: text.to_owned(),
            trigger: "go".to_owned(),
            audience_hello: None,
        })
    }

    fn socket_io(folder: &Path, directory: &Path, text: &str) -> anyhow::Result<Peer> {
        let [port] = free_ports()?;
        let process = Process::start("socket-io", directory, Path::new("node"), |command| {
            command.env("NODE_PATH", folder.join("node_modules")).arg(project().join("tests/peers/socket-io.js"));
            command.args([port.to_string(), PAYLOAD_BYTES.to_string()]);
        })?;
        wait_for_port(port)?;
        // Engine.IO greets, `40` joins the namespace, `42` is an event.
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Ok(Peer {
            name: "Socket.IO (node)",
            is_ours: false,
            process,
            target: Target { address, path: "/socket.io/?EIO=4&transport=websocket" },
            greetings: 1,
            hello: Some("40"),
            message: format!(r#"42["echo","{text}"]"#),
            trigger: r#"42["go"]"#.to_owned(),
            audience_hello: Some("40"),
        })
    }
}

/// Messages and answers: rate, p50 and p99 in microseconds, CPU microseconds a message.
fn measure_messages(peers: &Peers, rounds: u64, seconds: u64, report: &mut Report) -> anyhow::Result<()> {
    println!("\nA message and its answer, {CONNECTIONS} connections: medians of {rounds} rounds of {seconds} s");
    println!("{:<34} {:>9} {:>8} {:>8} {:>8}", "", "answers/s", "p50", "p99", "CPU");
    let mut figures: Vec<Vec<[f64; 4]>> = peers.all.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (peer, figures) in peers.all.iter().zip(&mut figures) {
            let before = peer.process.cpu_seconds()?;
            let measured = load::run(&Load {
                target: peer.target,
                connections: CONNECTIONS,
                duration: Duration::from_secs(seconds),
                message: peer.message.clone(),
                greetings: peer.greetings,
                hello: peer.hello,
                headers: String::new(),
                own_headers: Vec::new(),
                pause: Duration::ZERO,
                threads: 1,
            })?;
            let cpu = (peer.process.cpu_seconds()? - before) * 1e6 / measured.answers.max(1) as f64;
            figures.push([measured.rate(), measured.quantile(0.5), measured.quantile(0.99), cpu]);
        }
    }
    for (peer, figures) in peers.all.iter().zip(&figures) {
        let [rate, p50, p99, cpu] = medians(figures);
        println!("{:<34} {rate:>9.0} {p50:>6.0}us {p99:>6.0}us {cpu:>6.1}us", peer.name);
        report.add(RATE, peer.name, rate, peer.is_ours);
        report.add(CPU, peer.name, cpu, peer.is_ours);
    }
    Ok(())
}

/// Broadcasts to an audience: deliveries a second, and CPU microseconds a delivery.
fn measure_broadcasts(peers: &Peers, audience: usize, rounds: u64, report: &mut Report) -> anyhow::Result<()> {
    const BROADCASTS: u64 = 10;
    println!("\nA broadcast of {PAYLOAD_BYTES} bytes to {audience} connections: medians of {rounds} x {BROADCASTS}");
    println!("{:<34} {:>12} {:>8}", "", "deliveries/s", "CPU");
    let mut figures: Vec<(Vec<f64>, Vec<f64>)> = peers.all.iter().map(|_| Default::default()).collect();
    for _ in 0..rounds {
        for (peer, (rates, cpus)) in peers.all.iter().zip(&mut figures) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let listeners = Audience::connect(peer.target, audience, "", peer.greetings, peer.audience_hello)?;
            let mut sender = runtime.block_on(Socket::connect(peer.target, ""))?;
            runtime.block_on(sender.begin(peer.greetings, peer.hello))?;
            let before = peer.process.cpu_seconds()?;
            for round in 1..=BROADCASTS {
                let started = Instant::now();
                runtime.block_on(sender.send(&client_frame(&peer.trigger)))?;
                listeners.wait_for(round * audience as u64, PATIENCE)?;
                rates.push(audience as f64 / started.elapsed().as_secs_f64());
            }
            let deliveries = (BROADCASTS * audience as u64) as f64;
            cpus.push((peer.process.cpu_seconds()? - before) * 1e6 / deliveries);
        }
    }
    for (peer, (rates, cpus)) in peers.all.iter().zip(figures) {
        let (rate, cpu) = (median(rates), median(cpus));
        println!("{:<34} {rate:>12.0} {cpu:>6.2}us", peer.name);
        report.add(FAN_OUT, peer.name, rate, peer.is_ours);
        report.add(FAN_OUT_CPU, peer.name, cpu, peer.is_ours);
    }
    Ok(())
}

/// Idle connections on fresh processes.
fn measure_memory(peers: &Peers, connections: usize, report: &mut Report) -> anyhow::Result<()> {
    println!("\nResident memory of {connections} idle connections, KiB each");
    let headers = format!("Cookie: laravel_session={}\r\nUser-Agent: {}\r\n", "c".repeat(460), "u".repeat(110));
    for peer in &peers.all {
        let before = peer.process.resident_kib()?;
        let audience = Audience::connect(peer.target, connections, &headers, peer.greetings, peer.hello)?;
        let kib = peer.process.resident_kib()?.saturating_sub(before) as f64 / connections as f64;
        drop(audience);
        println!("{:<34} {kib:>9.1}", peer.name);
        report.add(MEMORY, peer.name, kib, peer.is_ours);
    }
    Ok(())
}
