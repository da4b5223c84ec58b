//! More new connections than a gateway can take at once: they wait, and what it has no room for is refused in words.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use diffyne_tests::client::{Client, increment};
use diffyne_tests::cluster::{Cluster, Node, Shape};
use diffyne_tests::crowd::Plan;
use diffyne_tests::crowd::process::Crowd;
use diffyne_tests::faults::crowds::addresses;
use diffyne_tests::http::handshake;
use diffyne_tests::ports::free_ports;
use diffyne_tests::process::{PATIENCE, Process, Signal, eventually, program};

fn handshakes(node: &Node, result: &str) -> f64 {
    node.metric(&format!("diffyne_gateway_handshakes_total{{result=\"{result}\"}}")).unwrap()
}

/// A connection that has sent its handshake.
fn knock(port: u16) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(handshake("/", &[]).as_bytes())?;
    Ok(stream)
}

/// The head of the response; empty when the connection ends without one.
fn head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).to_lowercase()
}

/// Whether a response refuses for now, and says when to come again.
fn is_polite(head: &str) -> bool {
    let seconds = head.lines().find_map(|line| line.strip_prefix("retry-after: ")?.trim().parse::<u32>().ok());
    head.starts_with("http/1.1 503") && seconds.is_some_and(|seconds| (1..=30).contains(&seconds))
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_all_connect_at_once_wait_and_none_is_refused() -> anyhow::Result<()> {
    /// More than the default of a fixed rate let in at once.
    const CLIENTS: usize = 3_000;
    let cluster = Cluster::start(Shape::new(1, 1).with_default_limits())?;
    let plan = Plan {
        targets: addresses(&cluster),
        clients: CLIENTS,
        headers: String::new(),
        many_addresses: false,
        subscribes: true,
        cut: None,
        retry_ms: (1_000, 3_000),
        seed: 1,
    };
    let mut caller = Client::connect(&cluster.url(0)).await?;
    let mut crowd = Crowd::start(&plan, 1)?;
    crowd.connect().await?;
    let mut calls = 0;
    loop {
        ensure!(caller.call(increment("c", 1, "r")).await?.is_ok(), "a call failed during the avalanche");
        calls += 1;
        let status = crowd.status(0).await?;
        if status.listening == CLIENTS {
            println!("{calls} calls meanwhile, {status:?}");
            ensure!((status.tries, status.refused) == (CLIENTS as u64, 0), "{status:?}");
            break;
        }
        ensure!(status.refused == 0, "{status:?}");
    }
    let node = &cluster.gateways[0];
    eventually("nobody waits any more", || node.metric("diffyne_gateway_handshakes_waiting").unwrap() == 0.0)?;
    crowd.finish(0).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_queue_are_told_when_to_come_again() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--threads", "1").gateway("--handshake-queue", "1"))?;
    let node = &cluster.gateways[0];
    // What comes while the gateway sleeps is there all at once when it wakes up.
    node.process.signal(Signal::Stop)?;
    let mut streams = (0..300).map(|_| knock(node.port)).collect::<anyhow::Result<Vec<_>>>()?;
    node.process.signal(Signal::Cont)?;
    let heads: Vec<String> = streams.iter_mut().map(head).collect();
    let admitted = heads.iter().filter(|head| head.starts_with("http/1.1 101")).count();
    let polite = heads.iter().filter(|head| is_polite(head)).count();
    let closed = heads.iter().filter(|head| head.is_empty()).count();
    println!("{admitted} admitted, {polite} told, {closed} closed");
    ensure!(admitted + polite + closed == heads.len(), "{heads:?}");
    ensure!(admitted > 0 && polite > 0, "{admitted} admitted, {polite} told, {closed} closed");
    // One that only tried whether somebody listens may have been among them.
    ensure!(handshakes(node, "queue_full") as usize >= polite + closed, "{}", node.metrics()?);
    drop(streams);
    let mut client = Client::connect(&cluster.url(0)).await?;
    ensure!(client.call(increment("c", 1, "r")).await?.is_ok());
    Ok(())
}

/// Starts a gateway that may have so many descriptors.
fn start_limited(directory: &Path, descriptors: usize) -> anyhow::Result<Node> {
    let [port, admin] = free_ports()?;
    let gateway = program("diffyne-gateway")?;
    let process = Process::start("gateway", directory, Path::new("prlimit"), |command| {
        command.arg(format!("--nofile={descriptors}:{descriptors}")).arg(gateway);
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--admin-listen", &format!("127.0.0.1:{admin}")]);
    })?;
    Node::listening(process, port, admin)
}

#[test]
fn a_gateway_at_its_descriptor_limit_says_so_and_refuses_politely() -> anyhow::Result<()> {
    const DESCRIPTORS: usize = 200;
    let directory = tempfile::tempdir()?;
    let node = start_limited(directory.path(), DESCRIPTORS)?;
    eventually("it says so at its start", || node.process.output().contains("more than the descriptor limit"))?;
    let mut admitted = Vec::new();
    let refused = loop {
        let mut stream = knock(node.port)?;
        let head = head(&mut stream);
        if !head.starts_with("http/1.1 101") {
            break head;
        }
        admitted.push(stream);
        ensure!(admitted.len() < DESCRIPTORS, "more than it may have");
    };
    ensure!(is_polite(&refused), "{refused}");
    println!("{} of {DESCRIPTORS} are connections", admitted.len());
    ensure!(admitted.len() > DESCRIPTORS / 2, "only {}", admitted.len());
    ensure!(handshakes(&node, "descriptors") >= 1.0, "and its admin pages can still be reached");
    let log = node.process.output();
    ensure!(log.contains("new connections are refused: this process has as many descriptors as it may"), "{log}");
    admitted.truncate(10);
    eventually("there is room again", || head(&mut knock(node.port).unwrap()).starts_with("http/1.1 101"))
}

#[test]
fn a_gateway_without_any_descriptor_still_answers() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let node = start_limited(directory.path(), 500)?;
    let mut held: Vec<TcpStream> = (0..20).map(|_| knock(node.port)).collect::<anyhow::Result<_>>()?;
    eventually("they are connected", || handshakes(&node, "accepted") as usize == held.len())?;
    let mut highest = 0;
    for entry in std::fs::read_dir(format!("/proc/{}/fd", node.process.id()))? {
        highest = highest.max(entry?.file_name().to_string_lossy().parse::<usize>()?);
    }
    let limit = format!("--nofile={}:500", highest + 1);
    let status = Command::new("prlimit").args(["--pid", &node.process.id().to_string(), &limit]).status()?;
    ensure!(status.success(), "cannot lower the limit");
    // There may be room for some below the highest.
    eventually("there is no descriptor left", || {
        let mut stream = knock(node.port).unwrap();
        let is_refused = is_polite(&head(&mut stream));
        held.push(stream);
        is_refused
    })?;
    for _ in 0..3 {
        let answer = head(&mut knock(node.port)?);
        ensure!(is_polite(&answer), "{answer:?}");
    }
    let limit = "--nofile=500:500";
    Command::new("prlimit").args(["--pid", &node.process.id().to_string(), limit]).status()?;
    eventually("there is room again", || head(&mut knock(node.port).unwrap()).starts_with("http/1.1 101"))?;
    ensure!(handshakes(&node, "descriptors") >= 3.0, "{}", node.metrics()?);
    drop(held);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_do_not_hold_up_those_that_speak() -> anyhow::Result<()> {
    /// More than may be without a request at a time.
    const SILENT: usize = 9_000;
    let cluster = Cluster::start(Shape::new(1, 1).with_default_limits())?;
    let node = &cluster.gateways[0];
    let address = SocketAddr::from(([127, 0, 0, 1], node.port));
    diffyne_shared::descriptors::raise_limit();
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(TcpStream::connect(address).context("cannot connect")?);
    }
    let mut client = tokio::time::timeout(PATIENCE, Client::connect(&cluster.url(0))).await??;
    ensure!(client.call(increment("c", 1, "r")).await?.is_ok());
    eventually("the oldest have made room", || handshakes(node, "evicted") > 0.0)?;
    Ok(())
}
