//! The outbox of one connection: frames in order, counted in bytes, and written together.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};

use bytes::{Buf as _, Bytes};

use super::SocketIo;

/// The most frames in one vectored write.
const SLICES_MAX: usize = 64;

/// The result of a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushResult {
    /// Nothing is left.
    All,
    /// The client has to read first.
    Blocked,
}

/// The frames that wait to be written.
///
/// Most often there is one, or none: the first has its place here, and only further ones need a queue.
#[derive(Debug, Default)]
pub struct Outbox {
    first: Option<Bytes>,
    /// Those behind it.
    #[expect(clippy::box_collection, reason = "idle connections have none, and there are many of these")]
    rest: Option<Box<VecDeque<Bytes>>>,
    /// Less than 4 GiB: `DIFFYNE_OUTBOX_BYTES` is 1 GiB at most, and one message may exceed it.
    bytes: u32,
}

impl Outbox {
    /// Adds a frame.
    pub fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len() as u32;
        if self.first.is_none() {
            self.first = Some(frame);
        } else {
            self.rest.get_or_insert_default().push_back(frame);
        }
    }

    /// Returns the bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Drops all waiting frames.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes as much as the socket accepts.
    pub fn flush(&mut self, io: &SocketIo) -> io::Result<FlushResult> {
        while let Some(first) = &self.first {
            match write_once(first, self.rest.as_deref(), io) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(FlushResult::Blocked),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.rest = None;
        Ok(FlushResult::All)
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written as u32;
        while let Some(first) = &mut self.first {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.first = self.rest.as_mut().and_then(|rest| rest.pop_front());
        }
    }
}

fn write_once(first: &Bytes, rest: Option<&VecDeque<Bytes>>, io: &SocketIo) -> io::Result<usize> {
    let Some(rest) = rest.filter(|rest| !rest.is_empty()) else {
        return io.try_write(&[IoSlice::new(first)]);
    };
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let mut count = 0;
    for (slice, frame) in slices.iter_mut().zip(std::iter::once(first).chain(rest)) {
        *slice = IoSlice::new(frame);
        count += 1;
    }
    io.try_write(&slices[..count])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    #[tokio::test]
    async fn frames_leave_in_order_however_little_the_socket_takes() {
        let (server, mut client) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        let io = SocketIo::from(tokio::net::UnixStream::from_std(server).unwrap());
        let mut outbox = Outbox::default();
        let frames: Vec<Bytes> = (0..200_u16).map(|n| vec![n as u8; 1 + usize::from(n) * 40].into()).collect();
        let expected = frames.concat();
        for frame in frames {
            outbox.push(frame);
        }
        assert_eq!(outbox.bytes(), expected.len());
        let reader = std::thread::spawn(move || {
            let mut all = vec![0; expected.len()];
            client.read_exact(&mut all).unwrap();
            assert!(all == expected, "in order");
        });
        while outbox.flush(&io).unwrap() == FlushResult::Blocked {
            io.writable().await.unwrap();
        }
        assert!(outbox.is_empty() && outbox.bytes() == 0 && outbox.rest.is_none());
        reader.join().unwrap();
    }
}
