//! Frames between the worker and a PHP process: the number of the call that they belong to, two lengths (32 bits each,
//! big endian), a JSON head and a body.

use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// The largest head or body that the worker accepts from a process.
const PART_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Size of the call's number and the two lengths.
const PREFIX_BYTES: usize = 12;

/// What a frame's head can be.
pub(super) trait FrameHead: Sized {
    /// Reads it from its JSON.
    fn read(json: &[u8]) -> serde_json::Result<Self>;
}

/// A frame from a process.
#[derive(Debug)]
pub(super) struct Frame<T> {
    /// The call that the process had read last; 0 before the first.
    pub(super) call: u32,
    pub(super) head: T,
    pub(super) body: Vec<u8>,
}

/// A frame's bytes.
pub(super) fn encode(call: u32, head: &impl Serialize, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let head = serde_json::to_vec(head)?;
    let [head_bytes, body_bytes] = [head.len(), body.len()].map(|length| u32::try_from(length).unwrap_or(u32::MAX));
    let [call, head_bytes, body_bytes] = [call, head_bytes, body_bytes].map(u32::to_be_bytes);
    Ok([call.as_slice(), &head_bytes, &body_bytes, &head, body].concat())
}

/// Makes a frame that of another call.
pub(super) fn renumber(frame: &mut [u8], call: u32) {
    frame[..4].copy_from_slice(&call.to_be_bytes());
}

/// Writes a frame.
pub(super) async fn write(
    stream: &mut UnixStream,
    call: u32,
    head: &impl Serialize,
    body: &[u8],
) -> std::io::Result<()> {
    stream.write_all(&encode(call, head, body)?).await
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
    pub(super) async fn next<T: FrameHead>(&mut self, stream: &mut UnixStream) -> std::io::Result<Frame<T>> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(frame);
            }
            self.bytes.reserve(READ_BYTES);
            if stream.read_buf(&mut self.bytes).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The next frame of what has arrived; an error when there is none.
    pub(super) fn next_now<T: FrameHead>(&mut self, stream: &mut impl std::io::Read) -> std::io::Result<Frame<T>> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(frame);
            }
            let filled = self.bytes.len();
            self.bytes.resize(filled + READ_BYTES, 0);
            let read = stream.read(&mut self.bytes[filled..]);
            self.bytes.truncate(filled + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Takes the first frame out of the buffer, once it is complete.
    fn take_frame<T: FrameHead>(&mut self) -> std::io::Result<Option<Frame<T>>> {
        let Some((call, head, end)) = self.complete_frame()? else { return Ok(None) };
        let body = self.bytes[head..end].to_vec();
        let head = T::read(&self.bytes[PREFIX_BYTES..head]);
        self.bytes.drain(..end);
        if self.bytes.capacity() > IDLE_BUFFER_BYTES_MAX {
            self.bytes.shrink_to(READ_BYTES);
        }
        Ok(Some(Frame { call, head: head?, body }))
    }

    /// The first frame's call, and the ends of its head and body, once it is complete.
    fn complete_frame(&self) -> std::io::Result<Option<(u32, usize, usize)>> {
        let Some((prefix, _)) = self.bytes.split_at_checked(PREFIX_BYTES) else { return Ok(None) };
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_be_bytes);
        let (call, head, body) = (number(&prefix[..4]), number(&prefix[4..8]) as usize, number(&prefix[8..]) as usize);
        if head > PART_BYTES_MAX || body > PART_BYTES_MAX {
            return Err(std::io::Error::other(format!("an answer of {} bytes is over the limit", head.max(body))));
        }
        let end = PREFIX_BYTES + head + body;
        Ok((self.bytes.len() >= end).then_some((call, PREFIX_BYTES + head, end)))
    }
}
