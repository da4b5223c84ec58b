//! Takes connections and deals them out evenly among the threads.

use std::os::fd::AsRawFd as _;
use std::time::Duration;

use diffyne_shared::listener::{AcceptedStream, Listener};
use diffyne_shared::rpc::Endpoint;
use tokio_util::sync::CancellationToken;

use crate::reactor::ReactorHandle;

/// The accept queue counts as empty when nothing came for so long,
const QUEUE_QUIET: Duration = Duration::from_millis(20);
/// or after this, whatever still comes.
const QUEUE_MAX: Duration = Duration::from_secs(1);

/// The listener of the settings, or the one that systemd hands over.
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

/// Accepts until it is told to stop; then takes what the accept queue still holds, and closes the listener.
pub async fn run(listener: Listener, threads: Vec<ReactorHandle>, stop: CancellationToken) {
    let mut turn = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => deal(&threads, &mut turn, accepted).await,
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
            Ok(Ok(accepted)) => deal(&threads, &mut turn, accepted).await,
            Ok(Err(_)) | Err(_) => break,
        }
    }
}

async fn deal(threads: &[ReactorHandle], turn: &mut usize, accepted: AcceptedStream) {
    *turn = (*turn + 1) % threads.len();
    if threads[*turn].accepted.send(accepted).await.is_err() {
        tracing::error!(thread = *turn, "a serving thread has ended");
    }
}
