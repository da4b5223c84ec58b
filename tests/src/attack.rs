//! What tests with a hostile client share: connections of the attacker, and a bystander who must not notice it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::{Client, increment};
use crate::cluster::{Cluster, Node};
use crate::load::Socket;
use crate::message::ServerMessage;
use crate::process::{PATIENCE, Stopwatch};

/// The longest ping of a bystander, with a debug build and without the time for which a busy machine lets threads wait.
/// `bench hostile` measures it with a release build.
const LONGEST_PING: Duration = Duration::from_millis(150);
/// Pacing: the bystander is a user, not a load.
const BYSTANDER_PAUSE: Duration = Duration::from_millis(2);

/// The public address of a gateway.
pub fn address_of(node: &Node) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], node.port))
}

/// Connects from a loopback address that is no trusted proxy.
pub async fn connect_from(address: [u8; 4], node: &Node) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::from(address), 0).into())?;
    Ok(socket.connect(address_of(node)).await?)
}

/// Opens the attacker's WebSocket, and takes the greeting.
pub async fn connect_attacker(node: &Node) -> anyhow::Result<Socket> {
    let mut socket = Socket::connect(address_of(node), "").await?;
    socket.receive().await?;
    Ok(socket)
}

/// The next message of an attacker's WebSocket.
pub async fn receive_message(socket: &mut Socket) -> anyhow::Result<ServerMessage> {
    let bytes = tokio::time::timeout(PATIENCE, socket.receive()).await.context("nothing came")??;
    ServerMessage::parse(std::str::from_utf8(bytes)?)
}

/// What a bystander has seen.
#[derive(Debug, Default)]
struct Observed {
    calls: usize,
    failed: usize,
    longest_ping: Duration,
}

/// A healthy client that calls and pings until it is told to stop.
pub struct Bystander {
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<Observed>>,
}

impl Bystander {
    /// Connects to the first gateway of a cluster.
    pub async fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        let client = Client::connect(&cluster.url(0)).await?;
        let gateway = cluster.gateways[0].process.id();
        let (stop, stopped) = oneshot::channel();
        Ok(Self { stop, task: tokio::spawn(observe(client, gateway, stopped)) })
    }

    /// Stops it, and checks that no call of it failed and that its longest ping was short.
    pub async fn finish(self) -> anyhow::Result<()> {
        // It may have failed; its result tells why.
        let _ = self.stop.send(());
        let Observed { calls, failed, longest_ping } = self.task.await??;
        println!("{calls} calls of another client, {failed} failed, longest ping {longest_ping:?}");
        ensure!(calls > 0 && failed == 0, "{failed} of {calls} calls failed");
        ensure!(longest_ping < LONGEST_PING, "a ping took {longest_ping:?}");
        Ok(())
    }
}

async fn observe(mut client: Client, gateway: u32, mut stop: oneshot::Receiver<()>) -> anyhow::Result<Observed> {
    let mut observed = Observed::default();
    while stop.try_recv().is_err() {
        let reply = client.call(increment(&format!("c{}", observed.calls), 0, "r")).await?;
        observed.calls += 1;
        observed.failed += usize::from(!reply.is_ok());
        let stopwatch = Stopwatch::start(&[gateway]);
        client.barrier().await?;
        observed.longest_ping = observed.longest_ping.max(stopwatch.elapsed());
        tokio::time::sleep(BYSTANDER_PAUSE).await;
    }
    Ok(observed)
}

/// Checks that no gateway has lost a worker.
pub fn check_that_workers_are_connected(cluster: &Cluster) -> anyhow::Result<()> {
    for gateway in &cluster.gateways {
        let log = gateway.process.output();
        ensure!(!log.contains("worker disconnected"), "{log}");
        ensure!(gateway.health()?["workers"] == cluster.workers.len(), "{}", gateway.health()?);
    }
    Ok(())
}
