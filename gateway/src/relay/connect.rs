//! Opens a connection to a worker and exchanges hellos.

use std::sync::Arc;
use std::time::Duration;

use diffyne_shared::listener::Stream;
use diffyne_shared::rpc::handshake::{GatewayHandshake, GatewayStep, HELLO_BYTES_MAX, HandshakeError};
use diffyne_shared::rpc::{self, CodecError, Endpoint, ForeignProtocol, Frame, FrameReader, Hello};
use diffyne_shared::settings::gateway::GatewaySettings;
use diffyne_shared::token::Tokens;
use thiserror::Error;
use tokio::io::AsyncWriteExt as _;

use super::settings::RelaySettings;

/// The time limit for connecting and exchanging hellos.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// What may lie in each direction of a connection within the process, in bytes.
const IN_PROCESS_BYTES: usize = 256 * 1024;
/// How long bytes may stay unacknowledged before the worker's host counts as gone.
const UNACKED_MAX: Duration = Duration::from_secs(1);

/// A connection to a worker that has proved the token and said hello.
pub(super) struct WorkerConnection {
    pub(super) stream: Stream,
    pub(super) reader: FrameReader,
    pub(super) hello: Hello,
}

/// Why a worker cannot be called.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum ConnectError {
    /// The worker cannot be reached, or does not speak our protocol.
    #[error("{0}")]
    Unreachable(String),
    /// One side does not trust the other.
    #[error("{0}")]
    Untrusted(HandshakeError),
}

impl ConnectError {
    fn words(error: impl std::fmt::Display) -> Self {
        Self::Unreachable(error.to_string())
    }

    /// Whether the server at this address has not proved that it is one of our workers.
    pub fn is_unproved(&self) -> bool {
        matches!(self, Self::Untrusted(HandshakeError::Unproved(_)))
    }
}

impl From<HandshakeError> for ConnectError {
    fn from(error: HandshakeError) -> Self {
        Self::Untrusted(error)
    }
}

/// Connects, exchanges proofs of the token with the worker, and exchanges hellos.
pub(super) async fn connect(address: &Endpoint, settings: &RelaySettings) -> Result<WorkerConnection, ConnectError> {
    let tokens = settings.tokens.load_full();
    if tokens.is_empty() && !address.is_local() {
        let why = "it is beyond this machine, and DIFFYNE_WORKER_TOKEN is not set: it is not called";
        return Err(ConnectError::Unreachable(why.to_owned()));
    }
    let work = async {
        let mut stream = open(address, settings).await.map_err(ConnectError::words)?;
        if let Stream::Tcp(tcp) = &stream {
            // Not every kernel supports this. Without it, a vanished host is noticed later.
            let _ = socket2::SockRef::from(tcp).set_tcp_user_timeout(Some(UNACKED_MAX));
        }
        match (&settings.tls, address) {
            (Some(tls), Endpoint::Tcp { host, .. }) => {
                let secured = tls.connect(host, stream).await;
                stream = secured.map_err(|error| {
                    ConnectError::Unreachable(format!("no TLS with it (DIFFYNE_WORKER_TLS_CA): {error}"))
                })?;
            }
            (None, address) if !address.is_local() => {
                tracing::warn!(worker = %address, "calls go to another host in the clear: set DIFFYNE_WORKER_TLS_CA");
            }
            _ => {}
        }
        greet(stream, settings, tokens).await
    };
    let late = || Err(ConnectError::Unreachable("no answer in time".to_owned()));
    tokio::time::timeout(CONNECT_TIMEOUT, work).await.unwrap_or_else(|_| late())
}

/// Opens a connection. The worker of this process serves its end of it on this thread, so that a call needs no system call to
/// get there, and none to come back.
async fn open(address: &Endpoint, settings: &RelaySettings) -> std::io::Result<Stream> {
    let Some(worker) = settings.own_worker.as_ref().filter(|_| *address == Endpoint::InProcess) else {
        return Stream::connect(address).await;
    };
    let (ours, its) = tokio::io::duplex(IN_PROCESS_BYTES);
    (worker.0)(Stream::Memory(its));
    Ok(Stream::Memory(ours))
}

/// Why what a worker has sent is no frame.
fn no_frame(error: &CodecError) -> ConnectError {
    ConnectError::Unreachable(match error.foreign_protocol() {
        Some(ForeignProtocol::Tls) => "it speaks TLS, and DIFFYNE_WORKER_TLS_CA is not set here".to_owned(),
        Some(ForeignProtocol::Http) => {
            "it speaks HTTP, as at a worker's admin address: gateways need the other one (DIFFYNE_WORKER_LISTEN)"
                .to_owned()
        }
        None => error.to_string(),
    })
}

/// Exchanges hellos with a worker and hangs up. Returns the worker's hello, or why there is none.
pub async fn greet_once(address: &Endpoint, settings: &GatewaySettings) -> Result<Hello, ConnectError> {
    let tokens = Tokens::shared(&settings.worker_tokens);
    let settings = RelaySettings::new(settings, "doctor".to_owned(), tokens).map_err(ConnectError::Unreachable)?;
    connect(address, &settings).await.map(|connected| connected.hello)
}

async fn greet(
    mut stream: Stream,
    settings: &RelaySettings,
    tokens: Arc<Tokens>,
) -> Result<WorkerConnection, ConnectError> {
    let (mut greeting, first) = GatewayHandshake::new(tokens, &settings.gateway_id, settings.frame_bytes_max)?;
    send(&mut stream, &first).await?;
    let mut reader = FrameReader::new(HELLO_BYTES_MAX);
    loop {
        let Some(frame) = reader.next_frame().map_err(|error| no_frame(&error))? else {
            if reader.fill(&mut stream).await.map_err(ConnectError::words)? == 0 {
                return Err(ConnectError::words("the worker hung up during the hello"));
            }
            continue;
        };
        match greeting.receive(frame)? {
            GatewayStep::Send(frame) => send(&mut stream, &frame).await?,
            GatewayStep::Connected(hello) => {
                reader.set_frame_bytes_max(settings.frame_bytes_max);
                return Ok(WorkerConnection { stream, reader, hello });
            }
        }
    }
}

async fn send(stream: &mut Stream, frame: &Frame<'_>) -> Result<(), ConnectError> {
    let mut bytes = Vec::new();
    rpc::encode(frame, &mut bytes).map_err(ConnectError::words)?;
    stream.write_all(&bytes).await.map_err(ConnectError::words)
}
