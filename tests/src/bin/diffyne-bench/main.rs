//! `diffyne-bench`: everything that measures, breaks or shows Diffyne Cluster, one subcommand each.

mod arguments;
mod avalanche;
mod browsers;
mod calls;
mod chaos;
mod components;
mod compression;
mod crowd;
mod deployment;
mod echo;
mod engine;
mod fanout;
mod figures;
mod fuzz;
mod hostile;
mod idle;
mod idle_many;
mod load;
mod package_server;
mod peers;
mod php;
mod plots;
mod pool;
mod publish;
mod screenshots;
mod stream;
mod suite;

use std::process::ExitCode;

use clap::{ArgMatches, Command};

/// A subcommand: its arguments, and what it does.
type Tool = (fn() -> Command, fn(&ArgMatches) -> anyhow::Result<()>);

const TOOLS: [Tool; 22] = [
    (suite::command, suite::run),
    (calls::command, calls::run),
    (fanout::command, fanout::run),
    (compression::command, compression::run),
    (publish::command, publish::run),
    (idle::command, idle::run),
    (peers::command, peers::run),
    (avalanche::command, avalanche::run),
    (hostile::command, hostile::run),
    (engine::command, engine::run),
    (php::command, php::run),
    (stream::command, stream::run),
    (package_server::command, package_server::run),
    (pool::command, pool::run),
    (load::command, load::run),
    (chaos::command, chaos::run),
    (fuzz::command, fuzz::run),
    (plots::command, plots::run),
    (screenshots::command, screenshots::run),
    (browsers::command, browsers::run),
    (echo::command, echo::run),
    (crowd::command, crowd::run),
];

const EXAMPLES: &str = "\
Examples:
  make bench                                  all figures of the gateway, beside a bare echo
  make bench BENCH=\"calls --pairs 9\"          one of them, with more pairs
  make bench-php BENCH=--kernel               PHP's figures, as root
  make chaos CHAOS=\"--only drops --seed 7\"    one fault, repeatable

  diffyne-bench calls --programs target/release --against ../old/target/release
      compares two builds in one run: read the row new/old

The programs that are started (diffyne-gateway, test-worker) are looked for beside this one, or where --programs or
DIFFYNE_PROGRAMS says. Absolute figures differ from machine to machine, and from hour to hour on a shared one: read ratios.";

fn main() -> ExitCode {
    let cli = Command::new("diffyne-bench")
        .about("Measures Diffyne Cluster, breaks it on purpose, and takes its pictures")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(TOOLS.map(|(command, _)| command()));
    let matches = cli.get_matches();
    let Some((name, arguments)) = matches.subcommand() else { return ExitCode::FAILURE };
    let Some((_, run)) = TOOLS.iter().find(|(command, _)| command().get_name() == name) else {
        return ExitCode::FAILURE;
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("diffyne-bench {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
