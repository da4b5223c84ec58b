//! The start of a gateway's connection: TLS if it is configured, the hellos, the proofs.

use std::time::Duration;

use diffyne_shared::listener::Stream;
use diffyne_shared::rpc::handshake::{AdmittedGateway, HELLO_BYTES_MAX, WorkerHandshake, WorkerStep};
use diffyne_shared::rpc::{self, CodecError, ForeignProtocol, Frame, FrameReader, Hello};
use tokio::io::AsyncWriteExt as _;

use super::state::WorkerState;

/// The time limit for a gateway's hello and proof.
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Accepts TLS if it is configured, and then a gateway that proves the token.
pub(super) async fn accept(
    worker: &WorkerState,
    mut stream: Stream,
) -> Result<(Stream, FrameReader, AdmittedGateway), String> {
    if let Some(tls) = worker.tls.load_full() {
        let hint = "DIFFYNE_WORKER_TLS_CA in the gateway's settings";
        stream = tls.accept(stream).await.map_err(|error| format!("no TLS ({hint}): {error}"))?;
    }
    let mut reader = FrameReader::new(HELLO_BYTES_MAX);
    let admitted = exchange_hellos(worker, &mut stream, &mut reader).await?;
    reader.set_frame_bytes_max(worker.frame_bytes_max);
    Ok((stream, reader, admitted))
}

/// Verifies that the gateway knows the token, and proves that this worker does.
async fn exchange_hellos(
    worker: &WorkerState,
    stream: &mut Stream,
    reader: &mut FrameReader,
) -> Result<AdmittedGateway, String> {
    fn text(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    let mut handshake = WorkerHandshake::new(worker.tokens.load_full(), **worker.legacy_token.load(), hello(worker));
    loop {
        let Some(frame) = reader.next_frame().map_err(|error| why_no_frame(&error))? else {
            if reader.fill(stream).await.map_err(text)? == 0 {
                return Err("it hung up during the hello".to_owned());
            }
            continue;
        };
        match handshake.receive(frame).map_err(text)? {
            WorkerStep::Send(frame) => send(stream, &frame).await.map_err(text)?,
            WorkerStep::Welcome(frame, admitted) => {
                send(stream, &frame).await.map_err(text)?;
                return Ok(admitted);
            }
            WorkerStep::Refuse(frame, error) => {
                send(stream, &frame).await.map_err(text)?;
                // Without a clean end, the gateway might lose the frame, and with it the reason that it logs.
                let _ = stream.shutdown().await;
                return Err(error.to_string());
            }
        }
    }
}

/// Why what has come is no frame.
fn why_no_frame(error: &CodecError) -> String {
    match error.foreign_protocol() {
        Some(ForeignProtocol::Tls) => "it speaks TLS, and DIFFYNE_WORKER_TLS_CERT is not set here".to_owned(),
        Some(ForeignProtocol::Http) => {
            "it speaks HTTP: this address is for gateways, /ready and /metrics are at DIFFYNE_WORKER_ADMIN_LISTEN"
                .to_owned()
        }
        None => error.to_string(),
    }
}

fn hello(worker: &WorkerState) -> Hello {
    Hello {
        features: worker.backend.features(),
        backend: worker.backend.name().to_owned(),
        draining: worker.drain.is_cancelled(),
        faulty: worker.backend.ready().is_err(),
        outdated: worker.backend.outdated().is_some(),
        release: worker.backend.release().as_deref().map(str::to_owned),
        queue: u32::try_from(worker.queue.least()).ok(),
        frame_bytes_max: u32::try_from(worker.frame_bytes_max).ok(),
        ..Hello::worker(&worker.id, worker.concurrency as u32)
    }
}

async fn send(stream: &mut Stream, frame: &Frame<'_>) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    rpc::encode(frame, &mut bytes).map_err(std::io::Error::other)?;
    stream.write_all(&bytes).await
}
