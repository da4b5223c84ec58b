//! A broadcast to thousands of connections, beside a bare loop of writes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{ArgMatches, Command};
use diffyne_tests::load::{Audience, Socket, client_frame};

use crate::arguments::{against, get, number, programs};
use crate::deployment::{Builds, Setup, call, start_echo};
use crate::figures::median;

const SUBSCRIBE: &str = r#"{"event":"diffyne.subscribe","data":{"events":[{"name":"message-sent"}]}}"#;
/// How often the audiences are connected anew, all servers in turn.
const TURNS: usize = 3;
/// How long another connection's pings are watched during a broadcast.
const WATCH: Duration = Duration::from_millis(60);

/// Its arguments.
pub fn command() -> Command {
    Command::new("fanout")
        .about("A broadcast to many connections of one gateway, beside a bare loop of writes")
        .arg(number("audience", "5000", "Connections that hear the broadcast"))
        .arg(number("rounds", "20", "Broadcasts to each audience; there are three audiences"))
        .arg(programs())
        .arg(against())
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let setup = Setup::start(&Builds::of(matches)?)?;
    measure(&setup, get(matches, "audience") as usize, get(matches, "rounds"))
}

/// A server that writes to everybody.
struct Broadcaster {
    name: &'static str,
    address: SocketAddr,
    /// What makes it write.
    trigger: String,
    /// What each of the audience sends first.
    hello: Option<&'static str>,
    /// Messages that it sends by itself at first.
    greetings: usize,
    /// Deliveries a second, of each broadcast.
    rates: Vec<f64>,
    /// The longest ping during each broadcast, in milliseconds.
    longest_pings: Vec<f64>,
}

/// Measures the bare loop and each build in turn, and prints medians.
pub fn measure(setup: &Setup, connections: usize, rounds: u64) -> anyhow::Result<()> {
    println!("\nBroadcast to {connections} connections on one gateway, {rounds} rounds, beside a bare loop of writes");
    let (_bare, bare_address) = start_echo("bare-loop", setup.directory.path(), &["--fan-out"])?;
    let broadcaster = |name, address, trigger: &str, hello, greetings| Broadcaster {
        name,
        address,
        trigger: trigger.to_owned(),
        hello,
        greetings,
        rates: Vec::new(),
        longest_pings: Vec::new(),
    };
    let announce = call(r"App\\Tests\\Probe", "announce", "[1]", r#"{"runs":0}"#);
    let mut all = vec![broadcaster("bare loop", bare_address, "go", None, 0)];
    for deployment in &setup.deployments {
        all.push(broadcaster(deployment.name, deployment.address, &announce, Some(SUBSCRIBE), 1));
    }
    for _ in 0..TURNS {
        for broadcaster in &mut all {
            broadcast(broadcaster, connections, rounds)?;
        }
    }
    let medians: Vec<f64> = all.iter().map(|broadcaster| median(broadcaster.rates.clone())).collect();
    println!("bare loop {:>9.0}/s", medians[0]);
    for (broadcaster, rate) in all.iter().zip(&medians).skip(1) {
        println!(
            "{:<9} {rate:>9.0}/s   ratio to the bare loop {:.2}; longest ping of another connection meanwhile, median {:.1} ms",
            broadcaster.name,
            rate / medians[0],
            median(broadcaster.longest_pings.clone())
        );
    }
    if let [_, new, old] = medians[..] {
        println!("new/old   {:>9.3}", new / old);
    }
    Ok(())
}

/// Connects an audience and broadcasts to it.
fn broadcast(broadcaster: &mut Broadcaster, connections: usize, rounds: u64) -> anyhow::Result<()> {
    let (address, greetings) = (broadcaster.address, broadcaster.greetings);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let audience = Audience::connect(address, connections, "", greetings, broadcaster.hello)?;
    let mut sender = runtime.block_on(Socket::connect(address, ""))?;
    for round in 1..=rounds {
        let started = Instant::now();
        runtime.block_on(sender.send(&client_frame(&broadcaster.trigger)))?;
        let watcher = std::thread::spawn(move || longest_ping(address, greetings));
        audience.wait_for(round * connections as u64, Duration::from_secs(20))?;
        broadcaster.rates.push(connections as f64 / started.elapsed().as_secs_f64());
        broadcaster.longest_pings.push(watcher.join().ok().context("the watcher panicked")??);
    }
    Ok(())
}

/// Pings on a connection of its own; the longest round trip in milliseconds.
fn longest_ping(address: SocketAddr, greetings: usize) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut socket = Socket::connect(address, "").await?;
        for _ in 0..greetings {
            socket.receive().await?;
        }
        let frame = client_frame(r#"{"event":"diffyne.ping","data":{}}"#);
        let (until, mut longest) = (Instant::now() + WATCH, 0.0_f64);
        while Instant::now() < until {
            let sent = Instant::now();
            socket.send(&frame).await?;
            socket.receive().await?;
            longest = longest.max(sent.elapsed().as_secs_f64() * 1000.0);
        }
        Ok(longest)
    })
}
