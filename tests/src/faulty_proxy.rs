//! A TCP proxy that can refuse and silence connections, as a firewall, a proxy or a tunnel does to a WebSocket, and that
//! can lose replies.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::ports::free_ports;

/// How long a connection lasts that is cut after a moment.
const BRIEF: Duration = Duration::from_millis(300);
const BIND_STEP: Duration = Duration::from_millis(5);

/// What the proxy does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyState {
    /// It passes them on.
    Open,
    /// It refuses new ones and has cut the others.
    Refusing,
    /// It accepts them, and no byte ever comes back.
    Silent,
    /// It passes them on, and cuts each after a moment.
    Brief,
}

/// A proxy in front of one port of this machine.
pub struct FaultyProxy {
    /// The proxy's own port.
    pub port: u16,
    state: Arc<watch::Sender<ProxyState>>,
    loses_replies: Arc<watch::Sender<bool>>,
    task: AbortHandle,
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FaultyProxy {
    /// Starts a proxy in front of `target`.
    pub fn start(target: u16, state: ProxyState) -> anyhow::Result<Self> {
        let [port] = free_ports()?;
        let (sender, receiver) = watch::channel(state);
        let (loses_replies, losing) = watch::channel(false);
        let task = tokio::spawn(run(port, target, receiver, losing)).abort_handle();
        Ok(Self { port, state: Arc::new(sender), loses_replies: Arc::new(loses_replies), task })
    }

    /// From now on, whatever is sent arrives, and no reply comes back. At its end, connections that lost one are cut.
    pub fn lose_replies(&self, loses: bool) {
        self.loses_replies.send_replace(loses);
    }

    /// Changes what the proxy does with connections. Each change cuts those that are open.
    pub fn set(&self, state: ProxyState) {
        self.state.send_replace(state);
    }
}

async fn run(port: u16, target: u16, mut state: watch::Receiver<ProxyState>, losing: watch::Receiver<bool>) {
    loop {
        let now = *state.borrow_and_update();
        if now == ProxyState::Refusing {
            if state.changed().await.is_err() {
                return;
            }
            continue;
        }
        let listener = bind(port).await;
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else { return };
                    open.spawn(forward(stream, target, now, losing.clone()));
                }
                changed = state.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
        }
    }
}

/// Listens on the proxy's own port again. A program that the test starts at this moment holds the former listener until it
/// has closed what it inherited.
async fn bind(port: u16) -> TcpListener {
    loop {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return listener;
        }
        tokio::time::sleep(BIND_STEP).await;
    }
}

async fn forward(mut stream: TcpStream, target: u16, state: ProxyState, losing: watch::Receiver<bool>) {
    if state == ProxyState::Silent {
        return std::future::pending().await;
    }
    if let Ok(mut to) = TcpStream::connect(("127.0.0.1", target)).await {
        let (mut from_client, mut to_client) = stream.split();
        let (mut from_server, mut to_server) = to.split();
        let requests = async {
            // Either side may end it.
            let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
            let _ = to_server.shutdown().await;
        };
        let replies = copy_replies(&mut from_server, &mut to_client, losing);
        let passing = async { tokio::join!(requests, replies) };
        let limit = if state == ProxyState::Brief { BRIEF } else { Duration::MAX };
        // Either it is over, or it is cut.
        let _ = tokio::time::timeout(limit, passing).await;
    }
}

async fn copy_replies(from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>, mut losing: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 * 1024];
    let mut lost = false;
    loop {
        let loses = *losing.borrow_and_update();
        if lost && !loses {
            break;
        }
        tokio::select! {
            read = from.read(&mut buffer) => match read {
                Ok(0) | Err(_) => break,
                Ok(_) if loses => lost = true,
                Ok(length) if to.write_all(&buffer[..length]).await.is_ok() => {}
                Ok(_) => return,
            },
            changed = losing.changed() => if changed.is_err() { return },
        }
    }
    // Either side may have ended it.
    let _ = to.shutdown().await;
}
