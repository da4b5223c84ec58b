//! A way to a port that can be shut, and opened again: what a firewall, a proxy or a tunnel does to a WebSocket.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::process::free_ports;

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// They go through.
    Open,
    /// They are refused, and those that are open are cut.
    Shut,
    /// They are taken, and nothing ever comes back.
    Silent,
}

/// The door.
pub struct Door {
    /// Its own port.
    pub port: u16,
    state: Arc<watch::Sender<State>>,
    task: AbortHandle,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Door {
    /// A door to this port.
    pub fn to(target: u16, state: State) -> anyhow::Result<Self> {
        let [port] = free_ports()?;
        let (sender, receiver) = watch::channel(state);
        let task = tokio::spawn(run(port, target, receiver)).abort_handle();
        Ok(Self { port, state: Arc::new(sender), task })
    }

    /// Changes what becomes of connections.
    pub fn set(&self, state: State) {
        self.state.send_replace(state);
    }
}

async fn run(port: u16, target: u16, mut state: watch::Receiver<State>) {
    loop {
        let now = *state.borrow_and_update();
        if now == State::Shut {
            if state.changed().await.is_err() {
                return;
            }
            continue;
        }
        let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await else { return };
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((mut stream, _)) = accepted else { return };
                    open.spawn(async move {
                        if now == State::Silent {
                            return std::future::pending().await;
                        }
                        if let Ok(mut to) = TcpStream::connect(("127.0.0.1", target)).await {
                            // Either side may end it.
                            let _ = tokio::io::copy_bidirectional(&mut stream, &mut to).await;
                        }
                    });
                }
                changed = state.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
        }
    }
}
