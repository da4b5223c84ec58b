//! Answers that stream, of a Laravel application: many clients hear words from a pool of PHP processes, and what a part
//! costs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{ArgMatches, Command};
use diffyne_tests::client::{Client, call};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::laravel::Laravel;
use diffyne_tests::recorded::APP_KEY;
use serde_json::json;

use crate::arguments::{get, get_programs, number, programs};
use crate::figures::median;

/// As Linux counts them for programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Its arguments.
pub fn command() -> Command {
    Command::new("stream")
        .about("Answers that stream from PHP: words to many clients, in order, and the CPU time of each; as root")
        .arg(number("clients", "200", "Clients that hear an answer each"))
        .arg(number("words", "200", "Words of an answer"))
        .arg(number("rate", "50", "Words a second"))
        .arg(number("processes", "2", "PHP processes at the start"))
        .arg(number("processes-max", "40", "PHP processes when calls wait"))
        .arg(programs())
}

/// What one client has heard.
struct Heard {
    first: Duration,
    /// From the first word to the answer.
    streamed: Duration,
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let [clients, words, rate, least, most] =
        ["clients", "words", "rate", "processes", "processes-max"].map(|name| get(matches, name));
    let laravel = Laravel::new()?;
    let shape = Shape { signing_key: APP_KEY.to_owned(), programs: get_programs(matches)?, ..Shape::new(1, 1) };
    let shape = shape
        .worker("--app", &laravel.directory)
        .worker("--php-command", &laravel.command())
        .worker("--php-processes", &least.to_string())
        .worker("--php-processes-max", &most.to_string())
        .worker("--worker-concurrency", &clients.to_string())
        .gateway("--call-timeout", "5m");
    let cluster = Cluster::start(shape)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let pause = 1_000_000 / rate.max(1);
    println!("{clients} clients, {words} words each at {rate}/s, {least} to {most} PHP processes");
    let before = cpu(&cluster)?;
    let started = Instant::now();
    let heard = runtime.block_on(async {
        let listeners = (0..clients).map(|_| {
            let url = cluster.url(0);
            tokio::spawn(async move { listen(&url, words, pause).await })
        });
        let mut heard = Vec::new();
        for listener in listeners.collect::<Vec<_>>() {
            heard.push(listener.await??);
        }
        anyhow::Ok(heard)
    })?;
    let took = started.elapsed().as_secs_f64();
    let after = cpu(&cluster)?;
    let parts = (clients * words) as f64;
    let [gateway, worker, php] = std::array::from_fn(|part| (after[part] - before[part]) / parts * 1e6);
    let wanted = words as f64 / rate as f64;
    let streamed = median(heard.iter().map(|heard| heard.streamed.as_secs_f64()).collect());
    let first = median(heard.iter().map(|heard| heard.first.as_secs_f64()).collect());
    println!("every word came, in order; {took:.1} s in all, {:.0} words a second", parts / took);
    println!("an answer took {streamed:.2} s from its first word (words alone: {wanted:.2} s), median");
    println!("the first word came after {first:.2} s, median: calls wait for a process");
    println!(
        "CPU of a word: gateway {gateway:.0} us, worker {worker:.0} us, PHP {php:.0} us, starts of processes included"
    );
    Ok(())
}

/// Calls once, and hears the whole answer.
async fn listen(url: &str, words: u64, pause: u64) -> anyhow::Result<Heard> {
    let mut client = Client::connect(url).await?;
    let state = json!({"answer": "", "process": 0});
    let mut data = call("App\\Diffyne\\Speaker", "diffyne-a", "recite", json!([words, pause]), state, "r");
    data["accepts"] = json!(["parts"]);
    let sent = Instant::now();
    client.send("diffyne.call", data).await?;
    let mut first = None;
    for word in 0..words {
        let part = serde_json::from_str::<serde_json::Value>(&client.receive_text_forever().await?)?;
        first.get_or_insert_with(Instant::now);
        ensure!(part["data"]["content"] == format!("word{word} "), "word {word} is missing: {part:.300}");
    }
    let answer = client.receive().await?;
    ensure!(answer.is_ok(), "{answer:.300}");
    let first = first.context("no word")?;
    Ok(Heard { first: first.duration_since(sent), streamed: first.elapsed() })
}

/// The CPU time so far of the gateway, the worker, and all PHP processes, in seconds.
fn cpu(cluster: &Cluster) -> anyhow::Result<[f64; 3]> {
    let worker = &cluster.workers[0].process;
    Ok([cluster.gateways[0].process.cpu_seconds()?, worker.cpu_seconds()?, children_cpu(worker.id())])
}

/// The CPU time of a process's descendants, those included that have ended.
fn children_cpu(parent: u32) -> f64 {
    let number =
        |fields: &[String], at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let fields: Vec<String> = stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect();
        Some((entry.file_name().to_str()?.parse::<u32>().ok()?, fields))
    });
    let all: Vec<_> = processes.collect();
    let (mut ticks, mut parents) = (0.0, vec![parent]);
    while let Some(parent) = parents.pop() {
        for (id, fields) in &all {
            // Fields count from the state: parent 1, times 11 to 14.
            if number(fields, 1) as u32 == parent {
                parents.push(*id);
                ticks += number(fields, 11) + number(fields, 12);
            }
            if *id == parent {
                ticks += number(fields, 13) + number(fields, 14);
            }
        }
    }
    ticks / TICKS_PER_SECOND
}
