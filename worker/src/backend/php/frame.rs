//! Frames between the worker and a PHP process: two lengths (32 bits, big endian), a JSON head and a body.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// The largest head or body that is taken from a process.
const PART_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Writes a frame.
pub(super) async fn write(stream: &mut UnixStream, head: &impl Serialize, body: &[u8]) -> std::io::Result<()> {
    let head = serde_json::to_vec(head)?;
    let lengths = [head.len(), body.len()].map(|length| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    let frame = [lengths[0].as_slice(), &lengths[1], &head, body].concat();
    stream.write_all(&frame).await
}

/// Reads a frame.
pub(super) async fn read<T: DeserializeOwned>(stream: &mut UnixStream) -> std::io::Result<(T, Vec<u8>)> {
    let mut lengths = [0; 8];
    stream.read_exact(&mut lengths).await?;
    let (head, body) = lengths.split_at(4);
    let length = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_be_bytes) as usize;
    let (head, body) = (length(head), length(body));
    if head > PART_BYTES_MAX || body > PART_BYTES_MAX {
        return Err(std::io::Error::other(format!("an answer of {} bytes is over the limit", head.max(body))));
    }
    let mut bytes = vec![0; head + body];
    stream.read_exact(&mut bytes).await?;
    let body = bytes.split_off(head);
    Ok((serde_json::from_slice(&bytes)?, body))
}
