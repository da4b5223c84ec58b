//! Memory of connections that do nothing, beside a bare echo's.

use std::net::SocketAddr;

use clap::{Arg, ArgMatches, Command, value_parser};
use diffyne_tests::load::Audience;
use diffyne_tests::process::Process;

use crate::arguments::{against, get, programs};
use crate::deployment::{Builds, Setup};
use crate::idle_many;

/// What each connection has sent before it falls silent, in bytes.
const CASES: [(&str, usize); 3] =
    [("connected", 0), ("after a message of 400 bytes", 400), ("after a message of 6000 bytes", 6000)];

/// Its arguments.
pub fn command() -> Command {
    Command::new("idle")
        .about("Resident memory of idle connections, beside a bare echo's; of more than a process may have, their cost")
        .arg(
            Arg::new("connections")
                .value_name("N")
                .default_value("10000")
                .value_parser(value_parser!(u64))
                .help("Idle connections; more than 18200 go through several gateways"),
        )
        .arg(programs())
        .arg(against())
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    measure(&Builds::of(matches)?, get(matches, "connections") as usize)
}

/// Measures each case on fresh processes.
pub fn measure(builds: &Builds, connections: usize) -> anyhow::Result<()> {
    if connections > idle_many::PER_PROCESS {
        return idle_many::measure(builds, connections);
    }
    println!("\nIdle connections: {connections}, handshakes with 600 bytes of cookies and user agent; fresh processes");
    let old = if builds.old.is_some() { "     old" } else { "" };
    println!("{:<32}     echo gateway{old}   KiB resident a connection", "");
    for (name, message_bytes) in CASES {
        let setup = Setup::start(builds)?;
        print!("{name:<32} {:>8.1}", kib_each(&setup.echo, setup.echo_address, 0, connections, message_bytes)?);
        for deployment in &setup.deployments {
            let kib = kib_each(&deployment.gateway, deployment.address, 1, connections, message_bytes)?;
            print!(" {kib:>7.1}");
        }
        println!();
    }
    Ok(())
}

fn kib_each(
    server: &Process,
    address: SocketAddr,
    greetings: usize,
    connections: usize,
    message_bytes: usize,
) -> anyhow::Result<f64> {
    let headers = format!("Cookie: laravel_session={}\r\nUser-Agent: {}\r\n", "c".repeat(460), "u".repeat(110));
    let before = server.resident_kib()?;
    let message = (message_bytes > 0).then(|| ping_of(message_bytes));
    let audience = Audience::connect(address, connections, &headers, greetings, message.as_deref())?;
    let after = server.resident_kib()?;
    drop(audience);
    Ok(after.saturating_sub(before) as f64 / connections as f64)
}

fn ping_of(bytes: usize) -> String {
    let around = r#"{"event":"diffyne.ping","data":{"x":""}}"#.len();
    format!(r#"{{"event":"diffyne.ping","data":{{"x":"{}"}}}}"#, "x".repeat(bytes.saturating_sub(around)))
}
