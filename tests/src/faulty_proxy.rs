//! A TCP proxy that can refuse and silence connections, as a firewall, a proxy or a tunnel does to a WebSocket.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::ports::free_ports;

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
}

/// A proxy in front of one port of this machine.
pub struct FaultyProxy {
    /// The proxy's own port.
    pub port: u16,
    state: Arc<watch::Sender<ProxyState>>,
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
        let task = tokio::spawn(run(port, target, receiver)).abort_handle();
        Ok(Self { port, state: Arc::new(sender), task })
    }

    /// Changes what the proxy does with connections. Each change cuts those that are open.
    pub fn set(&self, state: ProxyState) {
        self.state.send_replace(state);
    }
}

async fn run(port: u16, target: u16, mut state: watch::Receiver<ProxyState>) {
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
                    open.spawn(forward(stream, target, now));
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

async fn forward(mut stream: TcpStream, target: u16, state: ProxyState) {
    if state == ProxyState::Silent {
        return std::future::pending().await;
    }
    if let Ok(mut to) = TcpStream::connect(("127.0.0.1", target)).await {
        // Either side may end it.
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut to).await;
    }
}
