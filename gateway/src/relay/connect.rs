//! Opening a connection to a worker, and the first words on it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use diffyne_shared::listener::Stream;
use diffyne_shared::rpc::{self, Frame, FrameReader, Hello, PeerAddress};
use diffyne_shared::settings::gateway::GatewaySettings;
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;

use super::RelaySettings;

/// How long connecting and the hello may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Unacknowledged bytes for so long: the worker's host is gone.
const UNACKED_MAX: Duration = Duration::from_secs(1);
/// Bytes on their way within the process.
const MEMORY_BYTES: usize = 256 * 1024;

/// Workers within this process, by name (`dev`).
#[derive(Clone, Default)]
pub struct MemoryConnector {
    workers: Arc<Mutex<HashMap<String, mpsc::Sender<Stream>>>>,
}

impl MemoryConnector {
    /// A place where a worker in this process takes connections.
    pub fn listen(&self, name: &str) -> mpsc::Receiver<Stream> {
        let (sender, receiver) = mpsc::channel(64);
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), sender);
        receiver
    }

    async fn connect(&self, name: &str) -> io::Result<Stream> {
        let worker = self.workers.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let (here, there): (DuplexStream, DuplexStream) = tokio::io::duplex(MEMORY_BYTES);
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        worker.ok_or_else(refused)?.send(Stream::Memory(there)).await.map_err(|_| refused())?;
        Ok(Stream::Memory(here))
    }
}

/// A worker that said hello.
pub(super) struct Connected {
    pub(super) stream: Stream,
    pub(super) reader: FrameReader,
    pub(super) hello: Hello,
}

/// Connects and exchanges hellos.
pub(super) async fn connect(
    address: &PeerAddress,
    settings: &RelaySettings,
    memory: Option<&MemoryConnector>,
) -> Result<Connected, String> {
    let work = async {
        let stream = match (address, memory) {
            (PeerAddress::Memory(name), Some(memory)) => memory.connect(name).await,
            _ => Stream::connect(address).await,
        };
        let mut stream = stream.map_err(|error| error.to_string())?;
        if let Stream::Tcp(tcp) = &stream {
            // Not every kernel knows it; without it a vanished host is noticed later.
            let _ = socket2::SockRef::from(tcp).set_tcp_user_timeout(Some(UNACKED_MAX));
        }
        match (&settings.tls, address) {
            (Some(tls), PeerAddress::Tcp { host, .. }) => {
                stream = tls.connect(host, stream).await.map_err(|error| format!("no TLS: {error}"))?;
            }
            (None, address) if !address.is_local() => {
                tracing::warn!(worker = %address, "calls and tokens go to another host in the clear: set DIFFYNE_WORKER_TLS_CA");
            }
            _ => {}
        }
        greet(stream, settings).await
    };
    tokio::time::timeout(CONNECT_TIMEOUT, work).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

/// Says hello to a worker and hangs up: what it is, or why it does not answer.
pub async fn greet_once(address: &PeerAddress, settings: &GatewaySettings) -> Result<Hello, String> {
    let token = Arc::new(ArcSwap::from_pointee(settings.worker_token.clone()));
    let settings = RelaySettings::new(settings, "doctor".to_owned(), token)?;
    connect(address, &settings, None).await.map(|connected| connected.hello)
}

async fn greet(mut stream: Stream, settings: &RelaySettings) -> Result<Connected, String> {
    let ours = Hello {
        versions: rpc::VERSIONS,
        features: Vec::new(),
        id: settings.gateway_id.clone(),
        token: Option::clone(&settings.token.load()),
        capacity: 0,
        backend: String::new(),
        draining: false,
        faulty: false,
        queue: None,
        frame_bytes_max: u32::try_from(settings.frame_bytes_max).ok(),
    };
    let mut bytes = Vec::new();
    rpc::encode(&Frame::Hello(ours), &mut bytes).map_err(|error| error.to_string())?;
    stream.write_all(&bytes).await.map_err(|error| error.to_string())?;
    let mut reader = FrameReader::new(settings.frame_bytes_max);
    loop {
        match reader.next_frame().map_err(|error| error.to_string())? {
            Some(Frame::Hello(hello)) => {
                let Some(_version) = rpc::VERSIONS.common(hello.versions) else {
                    return Err(format!(
                        "no common protocol version: this gateway speaks {} to {}, the worker {} to {}",
                        rpc::VERSIONS.min,
                        rpc::VERSIONS.max,
                        hello.versions.min,
                        hello.versions.max
                    ));
                };
                return Ok(Connected { stream, reader, hello });
            }
            Some(Frame::Refuse(refuse)) => return Err(format!("turned away: {}", refuse.reason)),
            Some(_) => return Err("the worker did not say hello first".to_owned()),
            None => {
                if reader.fill(&mut stream).await.map_err(|error| error.to_string())? == 0 {
                    return Err("the worker hung up during the hello".to_owned());
                }
            }
        }
    }
}
