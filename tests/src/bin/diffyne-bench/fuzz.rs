//! Every parser with mutated input, for some minutes each.

use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use diffyne_tests::fuzz::{TARGETS, Target, fuzz};

use crate::arguments::{get, get_all, get_seed, number, seed};

/// Its arguments.
pub fn command() -> Command {
    Command::new("fuzz")
        .about("Feeds every parser with mutated input; a panic or a broken promise is a finding")
        .after_help("A finding is kept in a file; put it into tests/data/fuzz/TARGET once it is mended.")
        .arg(number("seconds", "120", "Seconds for each target"))
        .arg(seed())
        .arg(
            Arg::new("only")
                .long("only")
                .value_name("TARGET")
                .value_delimiter(',')
                .value_parser(TARGETS.map(Target::name))
                .help("Only these targets"),
        )
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let seed = get_seed(matches);
    let time = Duration::from_secs(get(matches, "seconds"));
    let only = get_all(matches, "only");
    println!("seed {seed}, {time:?} each");
    let mut findings = 0;
    for target in TARGETS {
        if !only.is_empty() && !only.iter().any(|name| *name == target.name()) {
            continue;
        }
        match fuzz(target, time, seed) {
            Ok(count) => println!("{:<10} {count} inputs, no finding", target.name()),
            Err(error) => {
                println!("{error:#}");
                findings += 1;
            }
        }
    }
    anyhow::ensure!(findings == 0, "{findings} findings; see above");
    Ok(())
}
