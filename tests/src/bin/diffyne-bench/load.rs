//! Load on a gateway or an echo that runs already.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Arg, ArgMatches, Command, value_parser};
use diffyne_tests::load::{self, Load};

use crate::arguments::{get, number};

const CALL: &str = r#"{"event":"diffyne.call","data":{"type":"call","componentId":"diffyne-ygkdSsR3Lxj8Asv7","componentClass":"App\\Diffyne\\Counter","method":"increment","params":[],"state":{"count":0},"requestId":"req-abcdefghi"}}"#;

/// Its arguments.
pub fn command() -> Command {
    Command::new("load")
        .about(
            "Sends a message on each of many connections to a server that runs, waits for the answer, sends the next",
        )
        .arg(
            Arg::new("target")
                .long("target")
                .value_name("HOST:PORT")
                .default_value("127.0.0.1:6001")
                .value_parser(value_parser!(SocketAddr))
                .help("Where to connect"),
        )
        .arg(number("connections", "64", "Connections"))
        .arg(number("seconds", "4", "How long to measure"))
        .arg(number("threads", "1", "Threads of the generator"))
        .arg(number("greetings", "1", "Messages that the server sends first: 1 for a gateway, 0 for a bare echo"))
        .arg(
            Arg::new("payload")
                .long("payload")
                .value_name("TEXT")
                .help("The message, or @FILE; default: a call of the demo's Counter"),
        )
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let payload = matches.get_one::<String>("payload").map_or(CALL, String::as_str);
    let message = match payload.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?,
        None => payload.to_owned(),
    };
    let load = Load {
        target: (*matches.get_one::<SocketAddr>("target").context("no target")?).into(),
        connections: get(matches, "connections") as usize,
        duration: Duration::from_secs(get(matches, "seconds")),
        message,
        greetings: get(matches, "greetings") as usize,
        hello: None,
        headers: String::new(),
        own_headers: Vec::new(),
        pause: Duration::ZERO,
        threads: get(matches, "threads").max(1) as usize,
    };
    let measured = load::run(&load)?;
    println!(
        "{} answers in {:.1} s: {:.0}/s, p50 {:.0} us, p99 {:.0} us, longest {:.0} us",
        measured.answers,
        measured.seconds,
        measured.rate(),
        measured.quantile(0.5),
        measured.quantile(0.99),
        measured.quantile(1.0)
    );
    Ok(())
}
