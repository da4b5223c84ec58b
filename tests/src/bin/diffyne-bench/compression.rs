//! What compression costs and saves: broadcasts to one gateway that compresses, and to one that does not.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{ArgMatches, Command};
use diffyne_tests::http::{http_get, http_post};
use diffyne_tests::load::Audience;
use diffyne_tests::process::Process;
use serde_json::{Value, json};

use crate::arguments::{get, get_programs, number, programs};
use crate::deployment;
use crate::figures::medians;

const SUBSCRIBE: &str = r#"{"event":"diffyne.subscribe","data":{"events":[{"name":"message-sent"}]}}"#;
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
const TOKEN: &str = "bench";
/// Sizes of the parameters, in bytes.
const SIZES: [usize; 3] = [300, 3_000, 30_000];
/// How long a broadcast may take to arrive everywhere.
const ARRIVAL: Duration = Duration::from_mins(1);

/// Its arguments.
pub fn command() -> Command {
    Command::new("compression")
        .about("Broadcasts of 300 B, 3 KB and 30 KB with DIFFYNE_COMPRESSION=auto and off: bytes, CPU and time")
        .after_help(
            "The two gateways take turns. Each broadcast is rows of JSON with names, words and numbers, no two alike. \
             Bytes are those of the WebSocket, for each delivery; CPU is the gateway's, for each broadcast.",
        )
        .arg(number("audience", "5000", "Connections that hear the broadcasts"))
        .arg(number("broadcasts", "10", "Broadcasts of each size a round"))
        .arg(number("rounds", "5", "Alternating rounds"))
        .arg(programs())
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let (programs, directory) = (get_programs(matches)?, tempfile::tempdir()?);
    let audience = get(matches, "audience") as usize;
    let [broadcasts, rounds] = ["broadcasts", "rounds"].map(|name| get(matches, name));
    println!("{broadcasts} broadcasts of each size to {audience} connections; medians of {rounds} rounds");
    println!("{:>7} {:<6} {:>12} {:>14} {:>12}", "size", "", "bytes each", "CPU/broadcast", "until all");
    let mut gateways = Vec::new();
    for mode in ["off", "auto"] {
        gateways.push(Gateway::start(mode, programs.as_deref(), directory.path(), audience)?);
    }
    let mut random = fastrand::Rng::with_seed(7);
    for size in SIZES {
        let mut figures = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            let events: Vec<Value> = (0..broadcasts).map(|_| event(&mut random, size)).collect();
            // Every second round the other way, so that a drift of the machine favours neither.
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for index in order {
                let measured = gateways[index].measure(&events, audience as u64);
                figures[index].push(measured.with_context(|| format!("{size} B, {}", gateways[index].mode))?);
            }
        }
        let [off, auto] = figures.map(|rows| medians(&rows));
        for (mode, [bytes, cpu, time]) in [("off", off), ("auto", auto)] {
            println!("{size:>7} {mode:<6} {bytes:>12.0} {:>11.2} ms {:>9.1} ms", cpu * 1e3, time * 1e3);
        }
        let [bytes, cpu, time] = [0, 1, 2].map(|figure| auto[figure] / off[figure]);
        println!("{size:>7} {:<6} {bytes:>12.2} {cpu:>14.2} {time:>12.2}", "ratio");
    }
    Ok(())
}

/// Rows of a table as applications broadcast them, about so many bytes of JSON.
fn event(random: &mut fastrand::Rng, bytes: usize) -> Value {
    const WORDS: [&str; 24] = [
        "order",
        "paid",
        "customer",
        "delivered",
        "street",
        "invoice",
        "open",
        "berlin",
        "paris",
        "returned",
        "monday",
        "payment",
        "by",
        "card",
        "the",
        "express",
        "pickup",
        "tomorrow",
        "and",
        "discount",
        "warehouse",
        "note",
        "gift",
        "standard",
    ];
    let mut rows = Vec::new();
    let mut length = 0;
    while length < bytes {
        let words: Vec<&str> = (0..random.usize(3..9)).map(|_| WORDS[random.usize(..WORDS.len())]).collect();
        let row = json!({
            "id": random.u32(..), "total": f64::from(random.u32(..100_000)) / 100.0, "text": words.join(" "),
            "email": format!("{}{}@example.com", WORDS[random.usize(..WORDS.len())], random.u16(..)),
        });
        length += row.to_string().len() + 1;
        rows.push(row);
    }
    json!({"name": "message-sent", "params": [{"rows": rows}]})
}

/// A gateway with its audience, which offers compression.
struct Gateway {
    mode: &'static str,
    process: Process,
    admin: u16,
    audience: Audience,
    expected: u64,
}

impl Gateway {
    fn start(mode: &'static str, programs: Option<&Path>, directory: &Path, audience: usize) -> anyhow::Result<Self> {
        let arguments = [
            "--admin-token",
            TOKEN,
            "--compression",
            mode,
            "--broadcast-rate",
            "off",
            "--handshake-rate",
            "off",
            "--max-connections",
            "50000",
        ];
        let gateway = deployment::Gateway::start(&format!("gateway-{mode}"), programs, directory, &arguments)?;
        let audience = Audience::connect(gateway.address, audience, OFFER, 1, Some(SUBSCRIBE))?;
        Ok(Self { mode, process: gateway.process, admin: gateway.admin.port(), audience, expected: 0 })
    }

    /// Publishes one event after another. Returns bytes of each delivery, CPU seconds and seconds of each broadcast.
    fn measure(&mut self, events: &[Value], audience: u64) -> anyhow::Result<[f64; 3]> {
        let (sent, cpu, started) = (self.sent_bytes()?, self.process.cpu_seconds()?, Instant::now());
        let bearer = format!("Bearer {TOKEN}");
        for event in events {
            let headers = [("Authorization", bearer.as_str())];
            let response = http_post(self.admin, "/api/broadcast", &headers, &event.to_string())?;
            ensure!(response.status == 202, "{}", response.body);
            self.expected += audience;
            self.audience.wait_for(self.expected, ARRIVAL)?;
        }
        let seconds = started.elapsed().as_secs_f64();
        let cpu = self.process.cpu_seconds()? - cpu;
        let (broadcasts, deliveries) = (events.len() as f64, events.len() as f64 * audience as f64);
        // Counters of threads are added up ten times a second.
        std::thread::sleep(Duration::from_millis(300));
        Ok([(self.sent_bytes()? - sent) / deliveries, cpu / broadcasts, seconds / broadcasts])
    }

    fn sent_bytes(&self) -> anyhow::Result<f64> {
        let metrics = http_get(self.admin, "/metrics")?.body;
        let line =
            metrics.lines().find_map(|line| line.strip_prefix(r#"diffyne_gateway_bytes_total{direction="out"} "#));
        Ok(line.context("no such metric")?.parse()?)
    }
}
