//! Arguments that several subcommands have.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::{Arg, ArgMatches, value_parser};
use diffyne_tests::process::PROGRAMS;
use diffyne_tests::report::Report;

/// An argument that is a number.
pub fn number(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("N").default_value(default).value_parser(value_parser!(u64)).help(help)
}

/// The value of a [`number`].
pub fn get(matches: &ArgMatches, name: &str) -> u64 {
    matches.get_one::<u64>(name).copied().unwrap_or_default()
}

/// The seed of a random run.
pub fn seed() -> Arg {
    Arg::new("seed")
        .long("seed")
        .value_name("N")
        .value_parser(value_parser!(u64))
        .help("Repeats the run with this seed")
}

/// The seed that was asked for, or a new one.
pub fn get_seed(matches: &ArgMatches) -> u64 {
    matches.get_one::<u64>("seed").copied().unwrap_or_else(|| fastrand::u64(..1_000_000))
}

/// The values of an argument that can be given more than once.
pub fn get_all<'m>(matches: &'m ArgMatches, name: &str) -> Vec<&'m String> {
    matches.get_many(name).map(Iterator::collect).unwrap_or_default()
}

/// `--programs`: the build that is measured.
pub fn programs() -> Arg {
    Arg::new("programs")
        .long("programs")
        .value_name("DIR")
        .value_parser(value_parser!(PathBuf))
        .help("Gateway and worker to measure, for example target/release; default: DIFFYNE_PROGRAMS, else those beside this program")
}

/// `--against`: the build that it is compared with.
pub fn against() -> Arg {
    Arg::new("against")
        .long("against")
        .value_name("DIR")
        .value_parser(value_parser!(PathBuf))
        .help("Measures the build in DIR too, in turn with the first, and prints the ratio new/old of each figure")
}

/// `--plots`: where figures and plots are kept.
pub fn plots() -> Arg {
    Arg::new("plots")
        .long("plots")
        .value_name("DIR")
        .default_value("target/plots")
        .value_parser(value_parser!(PathBuf))
        .help("Where the figures are saved as JSON, and drawn")
}

/// Saves and draws a report where `--plots` says.
pub fn save(report: &Report, matches: &ArgMatches, name: &str) -> anyhow::Result<()> {
    let directory = matches.get_one::<PathBuf>("plots").context("no folder for plots")?;
    report.save(directory, name)?;
    println!("\nPlots: {}", directory.display());
    Ok(())
}

/// What `--programs` says, or else the variable [`PROGRAMS`], in which `make` says what is measured.
pub fn get_programs(matches: &ArgMatches) -> anyhow::Result<Option<PathBuf>> {
    let directory = matches.get_one::<PathBuf>("programs").cloned();
    directory.or_else(|| std::env::var_os(PROGRAMS).map(PathBuf::from)).map(existing).transpose()
}

/// What `--against` says. Not every command has it.
pub fn get_against(matches: &ArgMatches) -> anyhow::Result<Option<PathBuf>> {
    let directory = matches.try_get_one::<PathBuf>("against").ok().flatten();
    directory.cloned().map(existing).transpose()
}

fn existing(directory: PathBuf) -> anyhow::Result<PathBuf> {
    ensure!(directory.is_dir(), "no directory with programs: {}", directory.display());
    Ok(directory)
}
