//! What PHP processes print, in the worker's log.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use diffyne_shared::telemetry;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The part of a line that is logged.
const LINE_BYTES_MAX: usize = 2_000;
/// Lines of one process that are logged in a second; the others are counted.
pub(super) const LINES_PER_SECOND: u32 = 50;
/// How long the rest of a line may take: programs print lines in pieces.
const REST_OF_LINE: Duration = Duration::from_millis(100);

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

/// Logs each line of a process's output, up to so many a second, until nobody can write to it, or the process has ended.
pub(super) async fn log_output(
    (process, lines_max): (u32, u32),
    output: impl AsyncRead + Unpin,
    last_words: Rc<LastWords>,
    ended: CancellationToken,
) {
    tokio::select! {
        () = log_lines(process, lines_max, output, &last_words) => {}
        () = async {
            ended.cancelled().await;
            tokio::time::sleep(TIME_AFTER_END).await;
        } => {}
    }
}

/// Reads a line, or the part of one that has come when nothing followed for a while; `false` at the end.
async fn read_line(reader: &mut BufReader<impl AsyncRead + Unpin>, line: &mut Vec<u8>) -> bool {
    loop {
        let pause = if line.is_empty() { Duration::MAX } else { REST_OF_LINE };
        let available = match timeout(pause, reader.fill_buf()).await {
            Ok(Ok([]) | Err(_)) => return false,
            Ok(Ok(bytes)) => bytes,
            Err(_elapsed) => return true,
        };
        let newline = available.iter().position(|byte| *byte == b'\n');
        let end = newline.map_or(available.len(), |at| at + 1);
        line.extend_from_slice(&available[..end.min(LINE_BYTES_MAX.saturating_sub(line.len()))]);
        reader.consume(end);
        if newline.is_some() || line.len() == LINE_BYTES_MAX {
            return true;
        }
    }
}

async fn log_lines(process: u32, lines_max: u32, output: impl AsyncRead + Unpin, last_words: &LastWords) {
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    let (mut second, mut lines) = (Instant::now(), 0u32);
    let mut is_open = true;
    while is_open {
        line.clear();
        is_open = read_line(&mut reader, &mut line).await;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.is_empty() {
            continue;
        }
        if second.elapsed() >= Duration::from_secs(1) {
            if lines > lines_max {
                tracing::warn!(process, lines = lines - lines_max, "PHP printed more than is logged");
            }
            (second, lines) = (Instant::now(), 0);
        }
        last_words.note(text);
        lines += 1;
        if lines <= lines_max {
            tracing::warn!(process, text, "PHP says");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn a_line_that_comes_in_pieces_is_one_and_one_without_an_end_does_not_wait_for_it() {
        let (mut writer, reader) = tokio::io::duplex(64);
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        writer.write_all(b"PHP Fatal error: ").await.unwrap();
        let rest = async {
            tokio::task::yield_now().await;
            writer.write_all(b"half\nGo on? ").await.unwrap();
        };
        assert!(tokio::join!(read_line(&mut reader, &mut line), rest).0);
        assert_eq!(line, b"PHP Fatal error: half\n");
        line.clear();
        assert!(read_line(&mut reader, &mut line).await);
        assert_eq!(line, b"Go on? ");
        drop(writer);
        line.clear();
        assert!(!read_line(&mut reader, &mut line).await && line.is_empty());
    }
}
