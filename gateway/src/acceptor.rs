//! Accepts connections and distributes them to the shards in turn. What no shard has room for, or what would take the
//! last descriptors, is refused with a response.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use diffyne_shared::listener::{AcceptedStream, Listener, is_broken, lacks_descriptors};
use diffyne_shared::rpc::Endpoint;
use diffyne_shared::telemetry::LogThrottle;
use tokio_util::sync::CancellationToken;

use crate::auth::admission::Refusal;
use crate::http::refusal::{self, Refusals};
use crate::quota::HttpTicket;
use crate::shard::command::{AcceptedConnection, CountedHandshake, ShardHandle};
use crate::shard::state::GatewayContext;

/// At a stop, the accept queue counts as empty when no connection came for this long.
const QUEUE_QUIET: Duration = Duration::from_millis(20);
/// At a stop, accepting ends after this time even if connections keep coming.
const QUEUE_MAX: Duration = Duration::from_secs(1);
/// How long accepting pauses when the system has no descriptor or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that are being refused at a time because no shard has room; more are closed without a response.
const REFUSALS_MAX: usize = 1024;
/// Descriptors that clients do not get: for Redis, workers, admin pages, uploads, and connections that are being refused.
const RESERVED_DESCRIPTORS: usize = 64;
/// The part of all descriptors that is reserved at most.
const RESERVED_PART: usize = 4;

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

/// Accepts a gateway's connections.
pub struct Acceptor {
    listener: Listener,
    shards: Vec<ShardHandle>,
    context: Arc<GatewayContext>,
    next: usize,
    /// Answers those for which no shard has room.
    queue_refusals: Refusals,
    /// Answers those that would take the last descriptors.
    last_refusals: Refusals,
    /// The most descriptors of this process.
    descriptors_max: usize,
    /// Of these, the ones that clients do not get.
    reserved: usize,
    /// Closed to accept a connection when there is no other descriptor left.
    spare: Option<File>,
    no_descriptor: LogThrottle,
}

impl Acceptor {
    /// Creates an acceptor for a process that may have so many descriptors.
    pub fn new(
        listener: Listener,
        shards: Vec<ShardHandle>,
        context: Arc<GatewayContext>,
        descriptors_max: usize,
    ) -> Self {
        let reserved = RESERVED_DESCRIPTORS.min(descriptors_max / RESERVED_PART);
        let connections_max = context.settings.connections_max;
        if connections_max > descriptors_max - reserved {
            tracing::warn!(
                connections_max,
                descriptors_max,
                reserved,
                "DIFFYNE_MAX_CONNECTIONS is more than the descriptor limit of this process allows: connections beyond that are refused; raise the limit (LimitNOFILE, ulimit -n), or lower the setting"
            );
        }
        Self {
            listener,
            shards,
            context,
            next: 0,
            queue_refusals: Refusals::new(REFUSALS_MAX),
            // The other half is for the gateway itself.
            last_refusals: Refusals::new(reserved / 2),
            descriptors_max,
            reserved,
            spare: open_spare(),
            no_descriptor: LogThrottle::default(),
        }
    }

    /// Accepts connections until `stop`, then takes those that the accept queue still holds, and closes the listener.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                accepted = self.listener.accept_once() => match accepted {
                    Ok(accepted) => self.assign(accepted),
                    Err(error) if is_broken(&error) => {
                        tracing::error!(%error, "the listener is broken");
                        return;
                    }
                    Err(error) => self.make_room(&error).await,
                },
                () = stop.cancelled() => break,
            }
        }
        let until = tokio::time::Instant::now() + QUEUE_MAX;
        while tokio::time::Instant::now() < until {
            match tokio::time::timeout(QUEUE_QUIET, self.listener.accept_once()).await {
                Ok(Ok(accepted)) => self.assign(accepted),
                Ok(Err(_)) | Err(_) => break,
            }
        }
    }

    /// Gives a connection to the next shard.
    fn assign(&mut self, stream: AcceptedStream) {
        let descriptor = usize::try_from(stream.descriptor()).unwrap_or(0);
        if descriptor >= self.descriptors_max - self.reserved {
            return self.refuse(stream, Refusal::Descriptors);
        }
        let context = &self.context;
        let ticket = match ticket(context, &stream) {
            Ok(ticket) => ticket,
            // Abuse, most likely, so no work is done to answer it.
            Err(refusal) => return context.metrics.handshake(refusal.label()),
        };
        let counted = CountedHandshake::new(&context.handshakes, ticket, &context.metrics.handshakes_waiting);
        self.next = (self.next + 1) % self.shards.len();
        if let Err(connection) = self.shards[self.next].accept(AcceptedConnection { stream, counted }) {
            self.refuse(connection.stream, Refusal::Queue);
        }
    }

    fn refuse(&self, stream: AcceptedStream, refusal: Refusal) {
        self.count(refusal, peer_of(&stream));
        let refusals = if refusal == Refusal::Descriptors { &self.last_refusals } else { &self.queue_refusals };
        refusals.refuse(stream, refusal, self.context.quota.retry_after.next_seconds());
    }

    /// Counts and logs a refusal.
    fn count(&self, refusal: Refusal, address: Option<IpAddr>) {
        self.context.metrics.handshake(refusal.label());
        if refusal == Refusal::Descriptors
            && let Some(unsaid) = self.no_descriptor.allow()
        {
            tracing::warn!(
                descriptors_max = self.descriptors_max,
                reserved = self.reserved,
                unsaid,
                "new connections are refused: this process has as many descriptors as it may (LimitNOFILE, ulimit -n)"
            );
        }
        if refusal != Refusal::Descriptors {
            self.context.quota.log_refusal(refusal, address);
        }
    }

    /// Handles an error of accepting. Without a descriptor for the next connection, the spare one serves to refuse it.
    async fn make_room(&mut self, error: &std::io::Error) {
        if lacks_descriptors(error) && self.spare.take().is_some() {
            // The one that was to be accepted may have gone.
            if let Ok(Ok(stream)) = tokio::time::timeout(ACCEPT_PAUSE, self.listener.accept_once()).await {
                self.count(Refusal::Descriptors, peer_of(&stream));
                refusal::answer(stream, Refusal::Descriptors, self.context.quota.retry_after.next_seconds()).await;
            }
        } else {
            tracing::warn!(%error, "cannot accept a connection, waiting a moment");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
        self.spare = self.spare.take().or_else(open_spare);
    }
}

/// Opens a descriptor that is closed when there is no other left.
fn open_spare() -> Option<File> {
    File::open("/dev/null").ok()
}

fn peer_of(stream: &AcceptedStream) -> Option<IpAddr> {
    match stream {
        AcceptedStream::Tcp(_, peer) => Some(peer.ip()),
        AcceptedStream::Unix(_) => None,
    }
}

/// Counts a connection for its address. Trusted proxies are not counted.
fn ticket(context: &GatewayContext, stream: &AcceptedStream) -> Result<Option<HttpTicket>, Refusal> {
    match peer_of(stream) {
        Some(address) if !context.admission.is_trusted(address) => context.quota.enter_http(address),
        _ => Ok(None),
    }
}
