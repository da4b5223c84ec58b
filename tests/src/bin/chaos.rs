//! `make chaos`: the fault suite in full, with a seed that is printed, and the table for `tests/RESILIENCE.md`.

use std::process::ExitCode;
use std::time::Instant;

use clap::{Arg, ArgAction, Command as Cli};
use diffyne_tests::faults::{Report, Scale, TABLE_HEAD, deploys, drops, hostile, redis, soak, workers};

const NAMES: [&str; 15] = [
    "drops", "crashes", "empty", "paused", "failover", "cut-off", "old-name", "deploy", "storm", "deaf", "frozen",
    "nonsense", "echo", "hostile", "soak",
];

async fn run(name: &str, scale: Scale, seed: u64) -> anyhow::Result<Report> {
    match name {
        "drops" => drops::networks_drop(scale, seed).await,
        "crashes" => drops::networks_drop_and_gateways_die(scale, seed).await,
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

fn main() -> ExitCode {
    let matches = Cli::new("chaos")
        .about("Breaks things on purpose, in full, and prints a table; tests/RESILIENCE.md has the last one")
        .arg(
            Arg::new("seed")
                .long("seed")
                .value_parser(clap::value_parser!(u64))
                .help("Of a run that is to be repeated"),
        )
        .arg(Arg::new("only").long("only").value_delimiter(',').value_parser(NAMES).help("Only these"))
        .arg(Arg::new("short").long("short").action(ArgAction::SetTrue).help("As short as in make test"))
        .get_matches();
    let seed = matches.get_one::<u64>("seed").copied().unwrap_or_else(|| fastrand::u64(..1_000_000));
    let scale = if matches.get_flag("short") { Scale::Short } else { Scale::Full };
    let only: Vec<&String> = matches.get_many("only").map(Iterator::collect).unwrap_or_default();
    println!("seed {seed}: repeat with --seed {seed}\n\n{TABLE_HEAD}");
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("chaos: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut failed = 0;
    for name in NAMES.iter().filter(|name| only.is_empty() || only.iter().any(|wanted| wanted == *name)) {
        let started = Instant::now();
        match runtime.block_on(run(name, scale, seed)) {
            Ok(report) => {
                println!("{report}");
                // Calls that were told lost are no broadcasts: those scenarios judge themselves.
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
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
