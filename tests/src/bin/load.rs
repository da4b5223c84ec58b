//! `load`: connections that send a message, wait for the answer and send the next, for some seconds.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Arg, Command};
use diffyne_tests::load::{self, Load};

const CALL: &str = r#"{"event":"diffyne.call","data":{"type":"call","componentId":"diffyne-ygkdSsR3Lxj8Asv7","componentClass":"App\\Diffyne\\Counter","method":"increment","params":[],"state":{"count":0},"requestId":"req-abcdefghi"}}"#;

fn main() -> anyhow::Result<()> {
    let arg = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).default_value(default).help(help)
    };
    let matches = Command::new("load")
        .about("Sends a message on each of many connections, waits for the answer, sends the next")
        .arg(arg("target", "127.0.0.1:6001", "Where to connect"))
        .arg(arg("connections", "64", "Connections"))
        .arg(arg("seconds", "4", "How long to measure"))
        .arg(arg("threads", "1", "Threads of the generator"))
        .arg(arg("greetings", "1", "Messages that the server sends first: 1 for a gateway, 0 for a bare echo"))
        .arg(arg("payload", CALL, "The message, or @FILE"))
        .get_matches();
    let text = |name| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let payload = text("payload");
    let message = match payload.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?,
        None => payload,
    };
    let load = Load {
        target: text("target").parse::<SocketAddr>().context("--target must be an address and a port")?,
        connections: text("connections").parse().context("--connections must be a number")?,
        duration: Duration::from_secs(text("seconds").parse().context("--seconds must be a whole number")?),
        message,
        greetings: text("greetings").parse().context("--greetings must be a number")?,
        headers: String::new(),
        own_headers: Vec::new(),
        threads: text("threads").parse().context("--threads must be a number")?,
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
