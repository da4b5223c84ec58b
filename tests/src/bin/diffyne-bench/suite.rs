//! What `make bench` runs: calls, fan-out and idle connections, one after the other.

use clap::{Arg, ArgMatches, Command};
use diffyne_tests::report::Report;

use crate::arguments::{against, get, get_all, number, plots, programs, save};
use crate::deployment::{Builds, Setup};
use crate::{calls, fanout, idle};

/// Broadcasts to each audience.
const ROUNDS: u64 = 20;

/// Its arguments.
pub fn command() -> Command {
    Command::new("all")
        .about("Calls, fan-out and idle connections, one after the other: what make bench runs")
        .arg(number("pairs", "5", "Alternating pairs a row of calls"))
        .arg(number("seconds", "4", "Seconds a run of calls"))
        .arg(number("idle", "10000", "Idle connections"))
        .arg(number("audience", "5000", "Connections that hear a broadcast"))
        .arg(
            Arg::new("only")
                .long("only")
                .value_name("PART")
                .value_delimiter(',')
                .value_parser(["calls", "counter", "idle", "fan-out"])
                .help("Only these parts"),
        )
        .arg(plots())
        .arg(programs())
        .arg(against())
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let only = get_all(matches, "only");
    let wanted = |part: &str| only.is_empty() || only.iter().any(|name| *name == part);
    let builds = Builds::of(matches)?;
    let setup = Setup::start(&builds)?;
    let plan = calls::Plan { pairs: get(matches, "pairs"), seconds: get(matches, "seconds") };
    let mut report = Report::begin()?;
    for (part, workload) in ["calls", "counter"].iter().zip(&calls::WORKLOADS) {
        if wanted(part) {
            calls::measure(&setup, workload, plan, &mut report)?;
        }
    }
    if wanted("fan-out") {
        fanout::measure(&setup, get(matches, "audience") as usize, ROUNDS)?;
    }
    drop(setup);
    if wanted("idle") {
        idle::measure(&builds, get(matches, "idle") as usize)?;
    }
    save(&report, matches, "all")
}
