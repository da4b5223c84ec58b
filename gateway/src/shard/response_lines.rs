//! The lines of an HTTP response whose call still runs: from the call to the response's body.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::mpsc;

/// The bytes of lines that the body has not taken. What a worker may be ahead bounds them.
pub type WaitingBytes = Rc<Cell<usize>>;

/// The lines of an HTTP response whose call still runs.
#[derive(Debug)]
pub struct ResponseLines {
    lines: mpsc::UnboundedSender<Bytes>,
    waiting: WaitingBytes,
}

impl ResponseLines {
    /// Creates the lines of a response, and the end that its body reads.
    pub fn new() -> (Self, ReceivedLines) {
        let (sender, lines) = mpsc::unbounded_channel();
        let waiting = WaitingBytes::default();
        (Self { lines: sender, waiting: Rc::clone(&waiting) }, ReceivedLines { lines, waiting })
    }

    /// Adds a line, and returns the count of the bytes that wait. A response whose client has left takes none.
    pub fn send(&self, mut line: String) -> WaitingBytes {
        line.push('\n');
        let length = line.len();
        if self.lines.send(Bytes::from(line)).is_ok() {
            self.waiting.set(self.waiting.get() + length);
        }
        Rc::clone(&self.waiting)
    }
}

/// The lines of a response as its body reads them.
#[derive(Debug)]
pub struct ReceivedLines {
    lines: mpsc::UnboundedReceiver<Bytes>,
    waiting: WaitingBytes,
}

impl ReceivedLines {
    /// Takes the next line; `None` after the last one.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let line = self.lines.poll_recv(cx);
        if let Poll::Ready(Some(line)) = &line {
            self.waiting.set(self.waiting.get().saturating_sub(line.len()));
        }
        line
    }
}
