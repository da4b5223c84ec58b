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

    /// Returns the count of the bytes that wait.
    pub fn waiting(&self) -> WaitingBytes {
        Rc::clone(&self.waiting)
    }

    /// Adds a line. A response whose client has left takes none.
    pub fn send(&self, mut line: String) {
        line.push('\n');
        let length = line.len();
        if self.lines.send(Bytes::from(line)).is_ok() {
            self.waiting.set(self.waiting.get() + length);
        }
    }
}

impl Drop for ReceivedLines {
    /// Lines that nobody reads any more do not wait.
    fn drop(&mut self) {
        self.waiting.set(0);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_nobody_reads_any_more_do_not_wait() {
        let (lines, received) = ResponseLines::new();
        lines.send("a part".to_owned());
        assert_eq!(lines.waiting().get(), "a part\n".len());
        drop(received);
        lines.send("another part".to_owned());
        assert_eq!(lines.waiting().get(), 0);
    }
}
