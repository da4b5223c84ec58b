//! `make fuzz`: every parser with mutated input, two minutes each.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, Command as Cli};
use diffyne_tests::fuzz::{TARGETS, fuzz};

fn main() -> ExitCode {
    let number = |name: &'static str, default: Option<&'static str>, help: &'static str| {
        let arg = Arg::new(name).long(name).value_parser(clap::value_parser!(u64)).help(help);
        default.map_or_else(|| arg.clone(), |default| arg.clone().default_value(default))
    };
    let matches = Cli::new("fuzz")
        .about("Feeds every parser with mutated input; a panic or a broken promise is a finding")
        .arg(number("seconds", Some("120"), "For each target"))
        .arg(number("seed", None, "Of a run that is to be repeated"))
        .arg(
            Arg::new("only")
                .long("only")
                .value_delimiter(',')
                .value_parser(TARGETS.map(diffyne_tests::fuzz::Target::name)),
        )
        .get_matches();
    let seed = matches.get_one::<u64>("seed").copied().unwrap_or_else(|| fastrand::u64(..1_000_000));
    let time = Duration::from_secs(matches.get_one::<u64>("seconds").copied().unwrap_or(120));
    let only: Vec<&String> = matches.get_many("only").map(Iterator::collect).unwrap_or_default();
    println!("seed {seed}, {time:?} each");
    let mut findings = 0;
    for target in TARGETS.into_iter().filter(|target| only.is_empty() || only.iter().any(|name| *name == target.name()))
    {
        match fuzz(target, time, seed) {
            Ok(count) => println!("{:<10} {count} inputs, no finding", target.name()),
            Err(error) => {
                println!("{error:#}");
                findings += 1;
            }
        }
    }
    if findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
