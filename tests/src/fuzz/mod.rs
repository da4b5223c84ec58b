//! Poisoned input: mutated messages, frames, pages, settings and answers, on stable Rust. A target must turn each input
//! into a value or an error. A panic is a finding, and so is a broken promise: a patch list that does not lead to its page.
//! Parsers run on a small stack, since input that nests without end must not end the process.
//!
//! Seeds are the recorded conversation and `tests/data/fuzz/<target>/`, where findings go once they are mended.

mod html;
mod mutation;
mod runner;
mod seeds;
mod server;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use mutation::NESTED_MAX;
use runner::Runner;

/// What can be fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Messages of browsers.
    Envelope,
    /// WebSocket frames.
    Socket,
    /// Frames between gateways and workers.
    Relay,
    /// Two pages, and the patches from one to the other.
    Page,
    /// A page, by the parser of plain HTML and by html5ever.
    Html,
    /// TOML and `.env` files, and values of all settings.
    Settings,
    /// Answers of the package's own endpoint.
    Endpoint,
    /// Answers of an HTTP server, byte by byte.
    Http,
    /// Answers of php-fpm, byte by byte.
    FastCgi,
    /// A component's state: its canonical form, signature and fingerprint.
    State,
    /// Calls of components in Rust, from the message to the answer.
    Call,
}

/// All of them.
pub const TARGETS: [Target; 11] = [
    Target::Envelope,
    Target::Socket,
    Target::Relay,
    Target::Page,
    Target::Html,
    Target::Settings,
    Target::Endpoint,
    Target::Http,
    Target::FastCgi,
    Target::State,
    Target::Call,
];

/// The fewest inputs, however slow the machine is.
const INPUTS_MIN: u64 = 120;

/// The stack that parsers and the diff have to do with; threads have 2 MiB. Frames of unoptimised code are larger.
const STACK_BYTES: usize = if cfg!(debug_assertions) { 1024 * 1024 } else { 256 * 1024 };

impl Target {
    /// The folder of its seeds.
    pub fn name(self) -> &'static str {
        match self {
            Self::Envelope => "envelope",
            Self::Socket => "socket",
            Self::Relay => "relay",
            Self::Page => "page",
            Self::Html => "html",
            Self::Settings => "settings",
            Self::Endpoint => "endpoint",
            Self::Http => "http",
            Self::FastCgi => "fastcgi",
            Self::State => "state",
            Self::Call => "call",
        }
    }
}

/// Feeds a target for a while, on a small stack, and counts the inputs. A finding is kept in a file that the error
/// names. An overflow of the stack ends the process; `diffyne-fuzz-<target>-last` has its input.
pub fn fuzz(target: Target, time: Duration, seed: u64) -> anyhow::Result<u64> {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || feed(target, time, seed))?;
    thread.join().map_err(|_| anyhow::anyhow!("{}: the thread panicked", target.name()))?
}

fn feed(target: Target, time: Duration, seed: u64) -> anyhow::Result<u64> {
    let seeds = seeds::of(target)?;
    let runner = Runner::new(target)?;
    let mutate = if target == Target::Html { html::mutate } else { mutation::mutate };
    let mut random = fastrand::Rng::with_seed(seed);
    let (started, mut count) = (Instant::now(), 0);
    // Each seed as it is, and then changed.
    let mut inputs: Vec<Vec<u8>> = seeds.clone();
    while started.elapsed() < time || count < INPUTS_MIN {
        let input = inputs.pop().unwrap_or_else(|| mutate(&mut random, &seeds));
        if input.len() > NESTED_MAX / 2 {
            std::fs::write(std::env::temp_dir().join(format!("diffyne-fuzz-{}-last", target.name())), &input)?;
        }
        if catch_unwind(AssertUnwindSafe(|| runner.feed(&input))).is_err() {
            let file = std::env::temp_dir().join(format!("diffyne-fuzz-{}-{seed}-{count}", target.name()));
            std::fs::write(&file, &input)?;
            anyhow::bail!("{}: input {count} of seed {seed} is a finding: {}", target.name(), file.display());
        }
        count += 1;
    }
    Ok(count)
}
