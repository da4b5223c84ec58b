//! What a component's HTML costs a worker: reading it before and after a call, and the diff of one changed cell.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use anyhow::Context as _;
use clap::{ArgMatches, Command};
use diffyne_worker::vdom::{diff, parse_as_browser, parse_plain};

use crate::figures::median;

/// Rows of the tables; 0 is a counter.
const ROWS: [usize; 4] = [0, 10, 100, 1_000];
/// Each figure is the median of so many runs.
const RUNS: usize = 41;
/// The bytes that are read in a run, at least.
const RUN_BYTES: usize = 400_000;

/// Its arguments.
pub fn command() -> Command {
    Command::new("html").about("Reads HTML of components and compares it, in microseconds")
}

/// Runs it.
pub fn run(_: &ArgMatches) -> anyhow::Result<()> {
    println!("Medians of {RUNS} runs, in us. Reading includes dropping the tree.");
    println!(
        "{:<12} {:>8} {:>10} {:>10} {:>8} {:>22}",
        "", "bytes", "html5ever", "plain", "diff", "twice plain and diff"
    );
    for rows in ROWS {
        let (old, new) = (page(rows, "old"), page(rows, "new"));
        let (before, after) = (parse_plain(&old).context("plain")?, parse_plain(&new).context("plain")?);
        let times = RUN_BYTES / old.len() + 1;
        let full = microseconds(times / 10 + 1, || drop(black_box(parse_as_browser(black_box(&old)))));
        let plain = microseconds(times, || drop(black_box(parse_plain(black_box(&old)))));
        let compare = microseconds(times, || drop(black_box(diff(black_box(&before), black_box(&after)))));
        let together = microseconds(times, || {
            let trees = (parse_plain(black_box(&old)), parse_plain(black_box(&new)));
            if let (Some(old), Some(new)) = &trees {
                drop(black_box(diff(old, new)));
            }
        });
        let name = if rows == 0 { "a counter".to_owned() } else { format!("{rows} rows") };
        println!("{name:<12} {:>8} {full:>10.2} {plain:>10.2} {compare:>8.2} {together:>22.2}", old.len());
    }
    Ok(())
}

/// A counter, or a table in which one cell has this text.
fn page(rows: usize, text: &str) -> String {
    if rows == 0 {
        return format!(
            "<div class=\"counter\">\n  <h2>Counter</h2>\n  <button diff:click=\"increment\">+</button>\n  <span class=\"count\">{text}</span>\n</div>\n"
        );
    }
    let mut html = String::from("<table class=\"w-full\">\n<tbody>\n");
    for row in 0..rows {
        let text = if row == rows / 2 { text } else { "open" };
        // Writing into a String cannot fail.
        let _ = writeln!(
            html,
            "<tr diff:key=\"row-{row}\"><td class=\"p-2\">{row}</td><td>Customer {row}</td><td>{text}</td><td><button diff:click=\"edit({row})\">Edit</button></td></tr>"
        );
    }
    html + "</tbody>\n</table>\n"
}

/// The time that something takes.
fn microseconds(times: usize, mut work: impl FnMut()) -> f64 {
    let mut run = || {
        let started = Instant::now();
        for _ in 0..times {
            work();
        }
        started.elapsed().as_secs_f64() * 1e6 / times as f64
    };
    median((0..RUNS).map(|_| run()).collect())
}
