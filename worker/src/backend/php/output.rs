//! What PHP processes print, in the worker's log.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use diffyne_shared::telemetry;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio_util::sync::CancellationToken;

/// The part of a line that is logged.
const LINE_BYTES_MAX: usize = 2_000;
/// Lines of one process that are logged in a second; the others are counted.
const LINES_PER_SECOND: u32 = 50;

/// Words by which PHP begins the error that ends it.
const FATAL: [&str; 2] = ["Fatal error:", "Parse error:"];

/// How long output is read after the end of its process: a program that the process has started may hold it open.
const TIME_AFTER_END: Duration = Duration::from_secs(1);

/// What a process says of its own end: a fatal error if it has printed one, else its last line.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    line: RefCell<String>,
    is_error: Cell<bool>,
}

impl LastWords {
    fn note(&self, line: &str) {
        if self.is_error.get() {
            return;
        }
        self.is_error.set(FATAL.iter().any(|word| line.contains(word)));
        line.clone_into(&mut self.line.borrow_mut());
    }

    /// The line; empty if the process has printed nothing.
    pub(super) fn get(&self) -> String {
        telemetry::error(&self.line.borrow()).to_string()
    }
}

/// Logs each line of a process's output until nobody can write to it, or the process has ended.
pub(super) async fn log_output(
    process: u32,
    output: impl AsyncRead + Unpin,
    last_words: Rc<LastWords>,
    ended: CancellationToken,
) {
    tokio::select! {
        () = log_lines(process, output, &last_words) => {}
        () = async {
            ended.cancelled().await;
            tokio::time::sleep(TIME_AFTER_END).await;
        } => {}
    }
}

async fn log_lines(process: u32, output: impl AsyncRead + Unpin, last_words: &LastWords) {
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    let (mut second, mut lines) = (Instant::now(), 0u32);
    loop {
        line.clear();
        let available = match reader.fill_buf().await {
            Ok([]) | Err(_) => return,
            Ok(bytes) => bytes,
        };
        let end = available.iter().position(|byte| *byte == b'\n').map_or(available.len(), |at| at + 1);
        line.extend_from_slice(&available[..end.min(LINE_BYTES_MAX)]);
        reader.consume(end);
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.is_empty() {
            continue;
        }
        if second.elapsed() >= Duration::from_secs(1) {
            if lines > LINES_PER_SECOND {
                tracing::warn!(process, lines = lines - LINES_PER_SECOND, "PHP printed more than is logged");
            }
            (second, lines) = (Instant::now(), 0);
        }
        last_words.note(text);
        lines += 1;
        if lines <= LINES_PER_SECOND {
            tracing::warn!(process, text, "PHP says");
        }
    }
}
