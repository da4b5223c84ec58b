//! `bench`: a call's round trip through gateway and worker beside a bare echo, memory of idle connections, and a
//! broadcast's fan-out beside a bare loop of writes. All on this machine, in alternating pairs; read the ratios.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Arg, ArgAction, Command};
use diffyne_tests::load::{self, Audience, Load, Measured, Socket, client_frame};
use diffyne_tests::process::{Process, free_ports, program, wait_for_port};

const LOAD_THREADS: usize = 1;

struct Setup {
    echo: Process,
    echo_at: SocketAddr,
    gateway: Process,
    gateway_at: SocketAddr,
    worker: Process,
    directory: tempfile::TempDir,
}

fn setup() -> anyhow::Result<Setup> {
    let directory = tempfile::tempdir()?;
    let [echo_port, gateway_port, admin, worker_port, worker_admin] = free_ports()?;
    let path = directory.path();
    let echo = Process::start("echo", path, &program("bare-echo")?, |command| {
        command.arg(format!("127.0.0.1:{echo_port}"));
    })?;
    let worker = Process::start("worker", path, &program("test-worker")?, |command| {
        command.args(["serve", "--worker-listen", &format!("127.0.0.1:{worker_port}")]);
        command.args(["--worker-admin-listen", &format!("127.0.0.1:{worker_admin}")]);
        command.args(["--signing-key", "bench", "--database"]).arg(path.join("demo.sqlite"));
    })?;
    let gateway = start_gateway(path, gateway_port, admin, worker_port)?;
    for port in [echo_port, worker_port, gateway_port] {
        wait_for_port(port)?;
    }
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    Ok(Setup { echo, echo_at: at(echo_port), gateway, gateway_at: at(gateway_port), worker, directory })
}

fn start_gateway(path: &Path, port: u16, admin: u16, worker: u16) -> anyhow::Result<Process> {
    Process::start("gateway", path, &program("diffyne-gateway")?, |command| {
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--admin-listen", &format!("127.0.0.1:{admin}"), "--max-connections", "50000"]);
        command.args(["--workers", &format!("127.0.0.1:{worker}")]);
        for rate in [
            "--handshake-rate",
            "--message-rate",
            "--call-rate",
            "--broadcast-rate",
            "--frame-rate",
            "--connection-rate",
        ] {
            command.args([rate, "off"]);
        }
    })
}

fn call(class: &str, method: &str, state: &str) -> String {
    format!(
        r#"{{"event":"diffyne.call","data":{{"type":"call","componentId":"diffyne-ygkdSsR3Lxj8Asv7","componentClass":"{class}","method":"{method}","params":[],"state":{state},"fingerprint":"b35e951ba958819ccddb9224b2df2a55","signature":"ae42e7b1d7c1f9f5a6c3a4c9b0e1d2f3a4b5c6d7e8f90123456789abcdef0123","requestId":"req-abcdefghi"}}}}"#
    )
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

struct Run {
    measured: Measured,
    /// CPU microseconds a call: of the server, and of the worker.
    cpu: f64,
    cpu_worker: f64,
}

fn measure(setup: &Setup, load: &Load, echo: bool) -> anyhow::Result<Run> {
    let (server, target) = if echo { (&setup.echo, setup.echo_at) } else { (&setup.gateway, setup.gateway_at) };
    let load = Load { target, greetings: usize::from(!echo), ..load.clone() };
    let (before, worker_before) = (server.cpu_seconds()?, setup.worker.cpu_seconds()?);
    let measured = load::run(&load)?;
    let per_call = 1e6 / measured.answers.max(1) as f64;
    Ok(Run {
        cpu: (server.cpu_seconds()? - before) * per_call,
        cpu_worker: (setup.worker.cpu_seconds()? - worker_before) * per_call,
        measured,
    })
}

fn calls(setup: &Setup, pairs: usize, seconds: u64, name: &str, message: &str, counts: &[usize]) -> anyhow::Result<()> {
    println!(
        "\nCalls of {name}: medians of {pairs} alternating pairs of {seconds} s with the echo ({} bytes up)",
        message.len()
    );
    println!(
        "{:>5}  {:>9} {:>9} {:>6}  {:>8} {:>8} {:>6}  {:>8} {:>8}  {:>6} {:>6} {:>6}  {:>6} {:>6}",
        "conns",
        "echo/s",
        "calls/s",
        "ratio",
        "echo p50",
        "call p50",
        "ratio",
        "echo p99",
        "call p99",
        "echo",
        "gw",
        "worker",
        "gw/e",
        "all/e"
    );
    for &connections in counts {
        let load = Load {
            target: setup.echo_at,
            connections,
            duration: Duration::from_secs(seconds),
            message: message.to_owned(),
            greetings: 0,
            headers: String::new(),
            own_headers: Vec::new(),
            threads: LOAD_THREADS,
        };
        let mut rows: Vec<[f64; 14]> = Vec::new();
        for _ in 0..pairs {
            let (echo, gateway) = (measure(setup, &load, true)?, measure(setup, &load, false)?);
            let (e, g) = (&echo.measured, &gateway.measured);
            rows.push([
                0.0,
                e.rate(),
                g.rate(),
                g.rate() / e.rate(),
                e.quantile(0.5),
                g.quantile(0.5),
                g.quantile(0.5) / e.quantile(0.5),
                e.quantile(0.99),
                g.quantile(0.99),
                echo.cpu,
                gateway.cpu,
                gateway.cpu_worker,
                gateway.cpu / echo.cpu,
                (gateway.cpu + gateway.cpu_worker) / echo.cpu,
            ]);
        }
        let m = |column: usize| median(rows.iter().map(|row| row[column]).collect());
        println!(
            "{connections:>5}  {:>9.0} {:>9.0} {:>6.2}  {:>6.0}us {:>6.0}us {:>6.2}  {:>6.0}us {:>6.0}us  {:>4.1}us {:>4.1}us {:>4.1}us  {:>6.2} {:>6.2}",
            m(1),
            m(2),
            m(3),
            m(4),
            m(5),
            m(6),
            m(7),
            m(8),
            m(9),
            m(10),
            m(11),
            m(12),
            m(13)
        );
    }
    Ok(())
}

fn idle_headers() -> String {
    format!("Cookie: laravel_session={}\r\nUser-Agent: {}\r\n", "c".repeat(460), "u".repeat(110))
}

fn idle(connections: usize) -> anyhow::Result<()> {
    println!("\nIdle connections: {connections}, handshakes with 600 bytes of cookies and user agent; fresh processes");
    println!("{:<32} {:>8} {:>8}   KiB resident a connection", "", "echo", "gateway");
    let cases = [("connected", 0), ("after a message of 400 bytes", 400), ("after a message of 6000 bytes", 6000)];
    for (name, message) in cases {
        let setup = setup()?;
        let mut row = Vec::new();
        for (server, at, greetings) in [(&setup.echo, setup.echo_at, 0), (&setup.gateway, setup.gateway_at, 1)] {
            let before = server.resident_kib()?;
            let hello = (message > 0).then(|| {
                let ping = r#"{"event":"diffyne.ping","data":{"x":""}}"#;
                ping.replace(r#""x":"""#, &format!(r#""x":"{}""#, "x".repeat(message - ping.len())))
            });
            let audience = Audience::connect(at, connections, &idle_headers(), greetings, hello.as_deref())?;
            row.push((server.resident_kib()?.saturating_sub(before)) as f64 / connections as f64);
            drop(audience);
        }
        println!("{name:<32} {:>8.1} {:>8.1}", row[0], row[1]);
    }
    Ok(())
}

fn fan_out(setup: &Setup, connections: usize, rounds: usize) -> anyhow::Result<()> {
    println!("\nBroadcast to {connections} connections on one gateway, {rounds} rounds, beside a bare loop of writes");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let announce =
        call("App\\\\Tests\\\\Probe", "announce", r#"{"runs":0}"#).replace(r#""params":[]"#, r#""params":[1]"#);
    let subscribe = r#"{"event":"diffyne.subscribe","data":{"events":[{"name":"message-sent"}]}}"#;
    let [port] = free_ports()?;
    let _bare = Process::start("bare", setup.directory.path(), &program("bare-echo")?, |command| {
        command.args([&format!("127.0.0.1:{port}"), "--fan-out"]);
    })?;
    wait_for_port(port)?;
    let bare_at = SocketAddr::from(([127, 0, 0, 1], port));
    let mut rates = [Vec::new(), Vec::new()];
    let mut stall = Vec::new();
    for _ in 0..3 {
        for (which, at, greetings, hello, go) in
            [(0, bare_at, 0, None, "go"), (1, setup.gateway_at, 1, Some(subscribe), announce.as_str())]
        {
            let audience = Audience::connect(at, connections, "", greetings, hello)?;
            let mut sender = runtime.block_on(Socket::connect(at, ""))?;
            for round in 0..rounds {
                let started = Instant::now();
                let expected = (round as u64 + 1) * connections as u64;
                runtime.block_on(sender.send(&client_frame(go)))?;
                let watch = std::thread::spawn(move || worst_ping(at, which == 1));
                audience.wait_for(expected, Duration::from_secs(20))?;
                rates[which].push(connections as f64 / started.elapsed().as_secs_f64());
                let worst = watch.join().ok().context("the watcher panicked")??;
                if which == 1 {
                    stall.push(worst);
                }
            }
        }
    }
    let [bare, gateway] = rates.map(median);
    println!("bare loop {bare:>9.0}/s   gateway {gateway:>9.0}/s   ratio {:.2}", gateway / bare);
    println!("longest wait of another connection's ping meanwhile: median {:.1} ms", median(stall));
    Ok(())
}

/// Round trips of a ping on a connection of its own, for 60 ms; the longest in milliseconds.
fn worst_ping(at: SocketAddr, gateway: bool) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut socket = Socket::connect(at, "").await?;
        if gateway {
            socket.receive().await?;
        }
        let frame = client_frame(r#"{"event":"diffyne.ping","data":{}}"#);
        let (until, mut worst) = (Instant::now() + Duration::from_millis(60), 0.0_f64);
        while Instant::now() < until {
            let sent = Instant::now();
            socket.send(&frame).await?;
            socket.receive().await?;
            worst = worst.max(sent.elapsed().as_secs_f64() * 1000.0);
        }
        Ok(worst)
    })
}

/// The longest that another client's ping may wait, in milliseconds.
const WAIT_MS_MAX: f64 = 20.0;

fn hostile(seconds: u64, only: &str) -> anyhow::Result<()> {
    println!(
        "One client's worst at default limits, {seconds} s a kind, on one gateway thread; pings of another client"
    );
    println!(
        "{:<30} {:>7} {:>9} {:>9} {:>8} {:>8}  {:>8} {:>8}",
        "", "frames", "KiB up", "KiB down", "CPU ms", "ns/byte", "ping p50", "longest"
    );
    let mut worst = 0.0_f64;
    load::hostile::run(seconds, only, |name, row| {
        let each = if row.up == 0 { 0.0 } else { row.cpu * 1e9 / row.up as f64 };
        println!(
            "{name:<30} {:>7} {:>9} {:>9} {:>8.0} {each:>8.1}  {:>6.2}ms {:>6.2}ms",
            row.sent,
            row.up / 1024,
            row.down / 1024,
            row.cpu * 1000.0,
            row.median_ms,
            row.longest_ms
        );
        worst = worst.max(row.longest_ms);
    })?;
    anyhow::ensure!(worst <= WAIT_MS_MAX, "a ping waited {worst:.1} ms, {WAIT_MS_MAX} are allowed");
    println!("longest wait {worst:.2} ms; at most {WAIT_MS_MAX} ms are allowed");
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).default_value(default).value_parser(clap::value_parser!(usize)).help(help)
    };
    let matches = Command::new("bench")
        .about("Measures gateway and worker beside a bare hyper + fastwebsockets echo")
        .arg(number("pairs", "5", "Alternating pairs a row"))
        .arg(number("seconds", "4", "Seconds a run"))
        .arg(number("idle", "10000", "Idle connections"))
        .arg(number("audience", "5000", "Connections that hear a broadcast"))
        .arg(
            Arg::new("only")
                .long("only")
                .action(ArgAction::Append)
                .help("calls, counter, idle or fan-out; default: all"),
        )
        .subcommand(
            Command::new("hostile")
                .about("One client sends nothing but one kind of message, as large and fast as the default limits permit; fails when another one's ping waits longer than 20 ms")
                .arg(number("seconds", "4", "Seconds a kind"))
                .arg(Arg::new("only").long("only").default_value("").help("Kinds whose name contains this")),
        )
        .get_matches();
    if let Some(matches) = matches.subcommand_matches("hostile") {
        let seconds = matches.get_one::<usize>("seconds").copied().unwrap_or(4) as u64;
        return hostile(seconds, matches.get_one::<String>("only").map_or("", String::as_str));
    }
    let get = |name| matches.get_one::<usize>(name).copied().unwrap_or_default();
    let only: Vec<&String> = matches.get_many("only").map(Iterator::collect).unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|one| *one == name);
    let setup = setup()?;
    let silent = call("App\\\\Tests\\\\Silent", "touch", r#"{"count":0,"label":"aaaaaaaaaaaaaaaaaaaaaaa"}"#);
    let (pairs, seconds) = (get("pairs"), get("seconds") as u64);
    if wanted("calls") {
        calls(&setup, pairs, seconds, "a component that renders nothing", &silent, &[1, 64, 512])?;
    }
    if wanted("counter") {
        let counter = call("App\\\\Diffyne\\\\Counter", "increment", r#"{"count":0}"#);
        calls(&setup, pairs, seconds, "Counter", &counter, &[1, 64])?;
    }
    if wanted("fan-out") {
        fan_out(&setup, get("audience"), 20)?;
    }
    if wanted("idle") {
        idle(get("idle"))?;
    }
    Ok(())
}
