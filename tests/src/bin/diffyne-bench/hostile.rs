//! One client's worst at the default limits, and what another client's pings notice of it.

use clap::{Arg, ArgMatches, Command};
use diffyne_tests::load::hostile::{self, Row};

use crate::arguments::{get, get_programs, number, programs};

/// The longest that another client's ping may wait, in milliseconds.
const PING_MS_MAX: f64 = 20.0;

/// Its arguments.
pub fn command() -> Command {
    Command::new("hostile")
        .about("One client sends one kind of message, as large and fast as the default limits permit")
        .after_help("Fails when a ping of another client on the same gateway thread waits longer than 20 ms.")
        .arg(number("seconds", "4", "Seconds a kind"))
        .arg(Arg::new("only").long("only").value_name("TEXT").default_value("").help("Kinds whose name contains this"))
        .arg(programs())
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let seconds = get(matches, "seconds");
    let only = matches.get_one::<String>("only").map_or("", String::as_str);
    println!(
        "One client's worst at default limits, {seconds} s a kind, on one gateway thread; pings of another client"
    );
    println!(
        "{:<30} {:>7} {:>9} {:>9} {:>8} {:>8}  {:>8} {:>8}",
        "", "frames", "KiB up", "KiB down", "CPU ms", "ns/byte", "ping p50", "longest"
    );
    let mut longest_ms = 0.0_f64;
    hostile::run(get_programs(matches)?, seconds, only, |name, row| {
        print_row(name, row);
        longest_ms = longest_ms.max(row.longest_ms);
    })?;
    anyhow::ensure!(longest_ms <= PING_MS_MAX, "a ping waited {longest_ms:.1} ms, {PING_MS_MAX} are allowed");
    println!("longest wait {longest_ms:.2} ms; at most {PING_MS_MAX} ms are allowed");
    Ok(())
}

fn print_row(name: &str, row: &Row) {
    let nanos_a_byte = if row.up == 0 { 0.0 } else { row.cpu * 1e9 / row.up as f64 };
    println!(
        "{name:<30} {:>7} {:>9} {:>9} {:>8.0} {nanos_a_byte:>8.1}  {:>6.2}ms {:>6.2}ms",
        row.sent,
        row.up / 1024,
        row.down / 1024,
        row.cpu * 1000.0,
        row.median_ms,
        row.longest_ms
    );
}
