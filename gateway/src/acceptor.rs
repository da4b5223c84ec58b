//! Accepts connections and distributes them to the shards in turn.

use std::os::fd::AsRawFd as _;
use std::time::Duration;

use diffyne_shared::listener::{AcceptedStream, Listener};
use diffyne_shared::rpc::Endpoint;
use tokio_util::sync::CancellationToken;

use crate::shard::command::ShardHandle;

/// At a stop, the accept queue counts as empty when no connection came for this long.
const QUEUE_QUIET: Duration = Duration::from_millis(20);
/// At a stop, accepting ends after this time even if connections keep coming.
const QUEUE_MAX: Duration = Duration::from_secs(1);

/// Listens on an address, or takes the listener that systemd hands over.
pub fn listen(address: &Endpoint) -> std::io::Result<Listener> {
    let mut inherited = listenfd::ListenFd::from_env();
    if inherited.len() > 0 {
        if let Ok(Some(listener)) = inherited.take_tcp_listener(0) {
            tracing::info!(fd = listener.as_raw_fd(), "listening on the TCP socket that was handed over");
            return Listener::from_tcp(listener);
        }
        if let Some(listener) = inherited.take_unix_listener(0)? {
            return Listener::from_unix(listener, None);
        }
    }
    Listener::bind(address)
}

/// Accepts connections until `stop`, then takes those that the accept queue still holds, and closes the listener.
pub async fn run(listener: Listener, shards: Vec<ShardHandle>, stop: CancellationToken) {
    let mut next = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => assign(&shards, &mut next, accepted).await,
                Err(error) => {
                    tracing::error!(%error, "the listener is broken");
                    return;
                }
            },
            () = stop.cancelled() => break,
        }
    }
    let until = tokio::time::Instant::now() + QUEUE_MAX;
    while tokio::time::Instant::now() < until {
        match tokio::time::timeout(QUEUE_QUIET, listener.accept()).await {
            Ok(Ok(accepted)) => assign(&shards, &mut next, accepted).await,
            Ok(Err(_)) | Err(_) => break,
        }
    }
}

/// Gives a connection to the next shard.
async fn assign(shards: &[ShardHandle], next: &mut usize, accepted: AcceptedStream) {
    *next = (*next + 1) % shards.len();
    if shards[*next].accept(accepted).await.is_err() {
        tracing::error!(thread = *next, "a serving thread has ended");
    }
}
