//! The figures of a benchmark's run: as JSON, and as plots.

mod chart;
pub mod plot;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

pub use chart::{Bar, Chart};

/// A run and what it has measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What was run.
    pub command: String,
    /// The day, as `2026-11-26`.
    pub date: String,
    /// The commit that was built.
    pub commit: String,
    /// Processor, cores and memory.
    pub machine: String,
    /// In the order in which they were measured.
    pub charts: Vec<Chart>,
}

/// The first line of a program's output.
fn output(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned())
}

fn machine() -> anyhow::Result<String> {
    let field = |file: &str, name: &str| -> anyhow::Result<String> {
        let text = std::fs::read_to_string(file)?;
        let line = text.lines().find(|line| line.starts_with(name)).with_context(|| format!("{file} has no {name}"))?;
        Ok(line.split(':').nth(1).unwrap_or_default().trim().to_owned())
    };
    let cores = std::thread::available_parallelism()?;
    let memory_kib: f64 = field("/proc/meminfo", "MemTotal")?.trim_end_matches(" kB").parse()?;
    let model = field("/proc/cpuinfo", "model name").unwrap_or_else(|_| std::env::consts::ARCH.to_owned());
    Ok(format!("{cores} cores of {model}, {:.0} GiB", memory_kib / 1024.0 / 1024.0))
}

impl Report {
    /// Begins the report of this process.
    pub fn begin() -> anyhow::Result<Self> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        Ok(Self {
            command: format!("diffyne-bench {}", arguments.join(" ")),
            date: output("date", &["+%F"])?,
            // Archives of the source have no history.
            commit: output("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_else(|_| "unknown".to_owned()),
            machine: machine()?,
            charts: Vec::new(),
        })
    }

    /// Whether a chart has been begun.
    pub fn has(&self, name: &str) -> bool {
        self.charts.iter().any(|chart| chart.name == name)
    }

    /// Adds a figure to a chart, which is begun with its first figure.
    pub fn add(&mut self, chart: (&str, &str, &str), label: &str, value: f64, is_ours: bool) {
        let (name, title, unit) = chart;
        let bar = Bar { label: label.to_owned(), value, is_ours };
        if let Some(chart) = self.charts.iter_mut().find(|chart| chart.name == name) {
            return chart.bars.push(bar);
        }
        let [name, title, unit] = [name, title, unit].map(str::to_owned);
        self.charts.push(Chart { name, title, unit, bars: vec![bar] });
    }

    /// Writes the figures to `NAME.json`, and draws each chart.
    pub fn save(&self, directory: &Path, name: &str) -> anyhow::Result<()> {
        std::fs::create_dir_all(directory)?;
        let json = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(directory.join(name).with_extension("json"), json)?;
        self.draw(directory)
    }

    /// Draws each chart.
    pub fn draw(&self, directory: &Path) -> anyhow::Result<()> {
        let note = format!("{}; {}; {}; {}", self.command, self.date, self.commit, self.machine);
        for chart in &self.charts {
            std::fs::write(directory.join(&chart.name).with_extension("svg"), plot::draw(chart, &note))?;
        }
        Ok(())
    }
}
