//! Draws the plots of runs again, from the figures that they have saved.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Arg, ArgMatches, Command, value_parser};
use diffyne_tests::report::Report;

/// Its arguments.
pub fn command() -> Command {
    Command::new("plots").about("Draws the plots of saved figures again, beside them").arg(
        Arg::new("figures")
            .value_name("FILE")
            .required(true)
            .num_args(1..)
            .value_parser(value_parser!(PathBuf))
            .help("Figures that a measurement has saved, for example docs/plots/all.json"),
    )
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    for file in matches.get_many::<PathBuf>("figures").into_iter().flatten() {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let report: Report =
            serde_json::from_str(&text).with_context(|| format!("{} has no figures", file.display()))?;
        report.draw(file.parent().context("a file in no folder")?)?;
    }
    Ok(())
}
