//! The fault suite in full, with a seed that is printed, and the table for `docs/resilience.md`.

use std::time::Instant;

use clap::{Arg, ArgAction, ArgMatches, Command};
use diffyne_tests::faults::{
    Report, Scale, TABLE_HEAD, crowds, deploys, drops, hostile, presence, redis, soak, workers,
};

use crate::arguments::{get_all, get_seed, seed};

const FAULTS: [&str; 19] = [
    "drops",
    "streams",
    "crashes",
    "drops-10000",
    "drops-50000",
    "presence",
    "empty",
    "paused",
    "failover",
    "cut-off",
    "old-name",
    "deploy",
    "storm",
    "deaf",
    "frozen",
    "nonsense",
    "echo",
    "hostile",
    "soak",
];

/// Its arguments.
pub fn command() -> Command {
    Command::new("chaos")
        .about("Breaks things on purpose, in full, and prints a table; docs/resilience.md has the last one")
        .after_help("It takes about 30 minutes. A row that lost or doubled a message makes it fail.")
        .arg(seed())
        .arg(
            Arg::new("only")
                .long("only")
                .value_name("FAULT")
                .value_delimiter(',')
                .value_parser(FAULTS)
                .help("Only these faults"),
        )
        .arg(Arg::new("short").long("short").action(ArgAction::SetTrue).help("As short as in make test"))
}

/// Runs the faults one after the other.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let seed = get_seed(matches);
    let scale = if matches.get_flag("short") { Scale::Short } else { Scale::Full };
    let only = get_all(matches, "only");
    println!("seed {seed}: repeat with --seed {seed}\n\n{TABLE_HEAD}");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut failed = 0;
    for name in FAULTS.iter().filter(|name| only.is_empty() || only.iter().any(|wanted| wanted == *name)) {
        let started = Instant::now();
        match runtime.block_on(run_fault(name, scale, seed)) {
            Ok(report) => {
                println!("{report}");
                failed += usize::from(report.lost > 0 || report.doubled > 0);
            }
            Err(error) => {
                println!("| {name} FAILED | | | | | | | {error:#} |");
                failed += 1;
            }
        }
        eprintln!("{name}: {:.0?}", started.elapsed());
    }
    println!("\n{failed} failed");
    anyhow::ensure!(failed == 0, "{failed} faults did harm; see the table");
    Ok(())
}

async fn run_fault(name: &str, scale: Scale, seed: u64) -> anyhow::Result<Report> {
    match name {
        "drops" => drops::networks_drop(scale, seed).await,
        "streams" => drops::streams_drop(scale, seed).await,
        "crashes" => drops::networks_drop_and_gateways_die(scale, seed).await,
        "presence" => presence::gateways_die_while_users_come_and_go(scale, seed).await,
        "drops-10000" => crowds::ten_thousand_drop(scale, seed).await,
        "drops-50000" => crowds::fifty_thousand_drop(scale, seed).await,
        "empty" => redis::redis_comes_back_empty(scale, seed).await,
        "paused" => redis::redis_is_paused(scale, seed).await,
        "failover" => redis::sentinels_fail_over(scale, false, seed).await,
        "cut-off" => redis::sentinels_fail_over(scale, true, seed).await,
        "old-name" => redis::a_gateway_comes_back_under_its_name(scale, seed).await,
        "deploy" => deploys::rolling_deploy(scale, seed).await,
        "storm" => deploys::a_reconnect_storm(scale, seed).await,
        "deaf" => hostile::connections_that_never_read(scale, seed).await,
        "frozen" => workers::workers_freeze_and_flap(scale, seed).await,
        "nonsense" => workers::workers_talk_nonsense(scale, seed).await,
        "echo" => workers::a_listener_dispatches_what_it_hears(scale, seed).await,
        "hostile" => hostile::half_a_million_hostile_frames(scale, seed).await,
        _ => soak::everything_at_random(scale, seed).await,
    }
}
