//! What PHP processes print, in the worker's log.

use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio_util::sync::CancellationToken;

/// The part of a line that is logged.
const LINE_BYTES_MAX: usize = 2_000;
/// Lines of one process that are logged in a second; the others are counted.
const LINES_PER_SECOND: u32 = 50;

/// How long output is read after the end of its process: a program that the process has started may hold it open.
const TIME_AFTER_END: Duration = Duration::from_secs(1);

/// Logs each line of a process's output until nobody can write to it, or the process has ended.
pub(super) async fn log_output(process: u32, output: impl AsyncRead + Unpin, ended: CancellationToken) {
    tokio::select! {
        () = log_lines(process, output) => {}
        () = async {
            ended.cancelled().await;
            tokio::time::sleep(TIME_AFTER_END).await;
        } => {}
    }
}

async fn log_lines(process: u32, output: impl AsyncRead + Unpin) {
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
                tracing::warn!(process, lines = lines - LINES_PER_SECOND, "PHP said more than is logged");
            }
            (second, lines) = (Instant::now(), 0);
        }
        lines += 1;
        if lines <= LINES_PER_SECOND {
            tracing::warn!(process, text, "PHP says");
        }
    }
}
