//! Frames between the worker and a PHP process: two lengths (32 bits, big endian), a JSON head and a body.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// The largest head or body that the worker accepts from a process.
const PART_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Size of the two lengths.
const LENGTHS_BYTES: usize = 8;

/// Writes a frame.
pub(super) async fn write(stream: &mut UnixStream, head: &impl Serialize, body: &[u8]) -> std::io::Result<()> {
    let head = serde_json::to_vec(head)?;
    let lengths = [head.len(), body.len()].map(|length| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    let frame = [lengths[0].as_slice(), &lengths[1], &head, body].concat();
    stream.write_all(&frame).await
}

/// A larger read buffer is shrunk after use.
const IDLE_BUFFER_BYTES_MAX: usize = 256 * 1024;
/// Buffer space for one read; most frames fit.
const READ_BYTES: usize = 16 * 1024;

/// Reads frames, and buffers what arrived after the last one.
#[derive(Default)]
pub(super) struct Reader {
    bytes: Vec<u8>,
}

impl Reader {
    /// Waits for the next frame.
    pub(super) async fn next<T: DeserializeOwned>(&mut self, stream: &mut UnixStream) -> std::io::Result<(T, Vec<u8>)> {
        loop {
            if let Some((head, end)) = self.complete_frame()? {
                let body = self.bytes[head..end].to_vec();
                let head = serde_json::from_slice(&self.bytes[LENGTHS_BYTES..head]);
                self.bytes.drain(..end);
                if self.bytes.capacity() > IDLE_BUFFER_BYTES_MAX {
                    self.bytes.shrink_to(READ_BYTES);
                }
                return Ok((head?, body));
            }
            self.bytes.reserve(READ_BYTES);
            if stream.read_buf(&mut self.bytes).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The ends of the first frame's head and body, once it is complete.
    fn complete_frame(&self) -> std::io::Result<Option<(usize, usize)>> {
        let Some((lengths, _)) = self.bytes.split_at_checked(LENGTHS_BYTES) else { return Ok(None) };
        let length = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_be_bytes) as usize;
        let (head, body) = (length(&lengths[..4]), length(&lengths[4..]));
        if head > PART_BYTES_MAX || body > PART_BYTES_MAX {
            return Err(std::io::Error::other(format!("an answer of {} bytes is over the limit", head.max(body))));
        }
        let end = LENGTHS_BYTES + head + body;
        Ok((self.bytes.len() >= end).then_some((LENGTHS_BYTES + head, end)))
    }
}
