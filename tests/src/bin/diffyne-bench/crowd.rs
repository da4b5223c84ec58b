//! Clients for other commands and for tests, see `diffyne_tests::crowd`.

use anyhow::Context as _;
use clap::{Arg, ArgMatches, Command};
use diffyne_tests::crowd::service;

/// Its arguments.
pub fn command() -> Command {
    Command::new("crowd")
        .hide(true)
        .about("Clients that obey orders in JSON on the standard input; other commands start it")
        .arg(Arg::new("plan").value_name("JSON").required(true).help("What the clients do"))
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let plan = matches.get_one::<String>("plan").context("no plan")?;
    service::run(serde_json::from_str(plan)?)
}
