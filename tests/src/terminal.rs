//! A terminal, in which a test runs a program that draws.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;

use crate::process::eventually;

/// A shell in a terminal of its own, made by `script` (util-linux).
pub struct Terminal {
    script: Child,
    keys: ChildStdin,
    output: Arc<Mutex<Vec<u8>>>,
    device: String,
}

fn bytes(output: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    output.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Terminal {
    /// Runs a line of shell in a terminal of this size. Its end, and how the terminal is set then, is written behind it.
    pub fn run(line: &str, columns: u16, rows: u16) -> anyhow::Result<Self> {
        let line = format!("tty; stty cols {columns} rows {rows}; {line}; echo \"ended with $?\"; stty -a");
        let mut script = Command::new("script")
            .args(["--quiet", "--flush", "--command", &line, "/dev/null"])
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("script (util-linux) is needed")?;
        let (keys, mut shown) = (script.stdin.take().context("no stdin")?, script.stdout.take().context("no stdout")?);
        let output = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&output);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = shown.read(&mut buffer) {
                bytes(&written).extend_from_slice(&buffer[..read]);
            }
        });
        let mut terminal = Self { script, keys, output, device: String::new() };
        eventually("the terminal is there", || terminal.since(0).contains('\n'))?;
        terminal.device = terminal.since(0).lines().next().context("no device")?.trim().to_owned();
        Ok(terminal)
    }

    /// How much has been written to it.
    pub fn written(&self) -> usize {
        bytes(&self.output).len()
    }

    /// What has been written to it since then.
    pub fn since(&self, place: usize) -> String {
        String::from_utf8_lossy(&bytes(&self.output)[place..]).into_owned()
    }

    /// Waits until all of these words have been written since then.
    pub fn wait_for(&self, place: usize, words: &[&str]) -> anyhow::Result<()> {
        eventually("the words are shown", || words.iter().all(|word| self.since(place).contains(word)))
            .with_context(|| format!("{words:?} in {:?}", self.since(place)))
    }

    /// Types. Returns how much had been written before.
    pub fn press(&mut self, keys: &str) -> anyhow::Result<usize> {
        let place = self.written();
        self.keys.write_all(keys.as_bytes())?;
        self.keys.flush()?;
        Ok(place)
    }

    /// Gives it another size, as a window that is dragged. Returns how much had been written before.
    pub fn resize(&self, columns: u16, rows: u16) -> anyhow::Result<usize> {
        let place = self.written();
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let resized = Command::new("stty").args(["-F", &self.device, "cols", &columns, "rows", &rows]).status()?;
        anyhow::ensure!(resized.success(), "{}: {resized}", self.device);
        Ok(place)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The shell and the program get SIGHUP.
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}
