//! The outbox of one connection: frames in order, counted in bytes, and written together.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};

use bytes::{Buf as _, Bytes};

use super::IoWriter;

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
#[derive(Debug, Default)]
pub struct Outbox {
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl Outbox {
    /// Adds a frame.
    pub fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// Returns the bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Drops all waiting frames.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes as much as the socket accepts.
    pub fn flush(&mut self, io: &IoWriter) -> io::Result<FlushResult> {
        while !self.frames.is_empty() {
            match write_once(&self.frames, io) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(FlushResult::Blocked),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // An idle connection keeps no queue.
        if self.frames.capacity() > 4 {
            self.frames = VecDeque::new();
        }
        Ok(FlushResult::All)
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(first) = self.frames.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.frames.pop_front();
        }
    }
}

fn write_once(frames: &VecDeque<Bytes>, io: &IoWriter) -> io::Result<usize> {
    if let (1, Some(only)) = (frames.len(), frames.front()) {
        return io.try_write(&[IoSlice::new(only)]);
    }
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let count = frames.len().min(SLICES_MAX);
    for (slice, frame) in slices.iter_mut().zip(frames) {
        *slice = IoSlice::new(frame);
    }
    io.try_write(&slices[..count])
}
