//! Publishing: full rate of three gateways, latency at fixed rates, publishers by HTTP, and a lone publish.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{ArgMatches, Command};
use diffyne_tests::load::publish::{Publisher, Subscribers};
use diffyne_tests::ports::free_ports;
use diffyne_tests::process::{Process, eventually, wait_for_port};

use crate::arguments::{against, get, number, programs};
use crate::deployment::{Builds, Gateway};
use crate::figures::{median_ratios, medians};

const GATEWAYS: usize = 3;
const TOKEN: &str = "bench";
/// How long the last broadcasts may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(20);
/// Lone publishes a round.
const LONE: usize = 1000;
/// Events in a request at full rate, where a build takes lists.
const LIST: usize = 100;

/// Its arguments.
pub fn command() -> Command {
    Command::new("publish")
        .about("Broadcasts of three gateways over one Redis to one subscriber each, and of one gateway by HTTP")
        .after_help(
            "Every subscriber checks that it gets each broadcast once, in the order of the offsets. CPU is microseconds a \
             broadcast, of the gateways and Redis together. Refused: answered with 503.",
        )
        .arg(number("rounds", "3", "Alternating rounds"))
        .arg(number("seconds", "4", "Seconds a run"))
        .arg(number("publishers", "32", "Connections that publish"))
        .arg(programs())
        .arg(against())
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let builds = Builds::of(matches)?;
    let directory = tempfile::tempdir()?;
    let (seconds, rounds) = (Duration::from_secs(get(matches, "seconds")), get(matches, "rounds"));
    let publishers = get(matches, "publishers") as usize;
    let load = |events, rate| Row::Load(Load { publishers, events, rate, duration: seconds });
    let of_several = [
        ("full rate, lists of 100", load(LIST, None)),
        ("full rate, single", load(1, None)),
        ("1 000/s", load(1, Some(1_000))),
        ("10 000/s", load(1, Some(10_000))),
    ];
    let of_one = [("one gateway by HTTP", load(1, None)), ("one gateway, lone", Row::Lone)];
    println!("Publishing with {publishers} connections; medians of {rounds} rounds of {seconds:?}");
    println!(
        "{:<24} {:<8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8}",
        "", "", "each/s", "p50", "p99", "answer", "CPU", "Redis", "refused"
    );
    for (gateways, rows) in [(GATEWAYS, &of_several[..]), (1, &of_one[..])] {
        let mut deployments = vec![Deployment::start("new", builds.new.as_deref(), directory.path(), gateways)?];
        if let Some(old) = &builds.old {
            deployments.push(Deployment::start("old", Some(old), directory.path(), gateways)?);
        }
        for (name, row) in rows {
            measure(name, row, &deployments, rounds)?;
        }
    }
    Ok(())
}

enum Row {
    Load(Load),
    Lone,
}

/// Publishers, spread over all gateways.
#[derive(Clone, Copy)]
struct Load {
    publishers: usize,
    /// Events in a request.
    events: usize,
    /// Broadcasts a second, over all publishers; none: as many as are taken.
    rate: Option<u32>,
    duration: Duration,
}

/// Broadcasts a second; p50 and p99 from publishing to arrival and the median time of an answer, in microseconds; CPU
/// microseconds a broadcast, and Redis's part of it; refused requests a round.
type Figures = [f64; 7];

fn measure(name: &str, row: &Row, deployments: &[Deployment], rounds: u64) -> anyhow::Result<()> {
    let mut figures: Vec<Vec<Figures>> = deployments.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..deployments.len()).collect();
        // Every second round the other way, so that a drift of the machine favours neither build.
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let deployment = &deployments[index];
            let measured = match row {
                Row::Load(load) if load.events > 1 && !deployment.takes_lists => continue,
                Row::Load(load) => deployment.load(*load),
                Row::Lone => deployment.lone(),
            };
            figures[index].push(measured.with_context(|| format!("{name}, {}", deployment.name))?);
        }
    }
    for (deployment, figures) in deployments.iter().zip(&figures).filter(|(_, figures)| !figures.is_empty()) {
        let [rate, p50, p99, answer, cpu, redis, refused] = medians(figures);
        println!(
            "{name:<24} {:<8} {rate:>9.0} {p50:>7.0}us {p99:>7.0}us {answer:>7.0}us {cpu:>7.1}us {redis:>6.1}us {refused:>8.0}",
            deployment.name
        );
    }
    if let [new, old] = &figures[..]
        && !old.is_empty()
    {
        let [rate, p50, p99, answer, cpu, redis, _] = median_ratios(new, old);
        println!("{name:<24} {:<8} {rate:>9.2} {p50:>9.2} {p99:>9.2} {answer:>9.2} {cpu:>9.2} {redis:>8.2}", "new/old");
    }
    Ok(())
}

/// Gateways of one build, and their Redis.
struct Deployment {
    name: &'static str,
    redis: Process,
    gateways: Vec<Gateway>,
    takes_lists: bool,
}

impl Deployment {
    fn start(name: &'static str, programs: Option<&Path>, directory: &Path, count: usize) -> anyhow::Result<Self> {
        let [redis_port] = free_ports()?;
        let redis =
            Process::start(&format!("redis-{name}-{count}"), directory, &PathBuf::from("redis-server"), |command| {
                command.args(["--port", &redis_port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
            })?;
        wait_for_port(redis_port)?;
        let redis_url = format!("redis://127.0.0.1:{redis_port}");
        let mut gateways = Vec::new();
        for index in 0..count {
            let name = format!("gateway-{name}-{count}-{index}");
            gateways.push(Gateway::start(
                &name,
                programs,
                directory,
                &["--redis-url", &redis_url, "--admin-token", TOKEN],
            )?);
        }
        for gateway in &gateways {
            let port = gateway.address.port();
            let is_up =
                || diffyne_tests::http::http_get(port, "/health").is_ok_and(|it| it.body.contains(r#""redis":"up""#));
            eventually("the gateway has Redis", is_up)?;
        }
        let bearer = format!("Bearer {TOKEN}");
        let headers = [("Authorization", bearer.as_str())];
        let probe = diffyne_tests::http::http_post(gateways[0].admin.port(), "/api/broadcast", &headers, "[]")?;
        Ok(Self { name, redis, gateways, takes_lists: probe.status == 202 })
    }

    /// CPU seconds of the gateways and Redis, and of Redis alone.
    fn cpu(&self) -> anyhow::Result<[f64; 2]> {
        let redis = self.redis.cpu_seconds()?;
        let gateways = self.gateways.iter().map(|gateway| gateway.process.cpu_seconds());
        Ok([redis + gateways.sum::<anyhow::Result<f64>>()?, redis])
    }

    fn subscribe(&self, start: Instant) -> anyhow::Result<Subscribers> {
        let addresses: Vec<SocketAddr> = self.gateways.iter().map(|gateway| gateway.address).collect();
        Subscribers::connect(&addresses, start)
    }

    fn load(&self, load: Load) -> anyhow::Result<Figures> {
        let start = Instant::now();
        let mut subscribers = self.subscribe(start)?;
        let (cpu, started) = (self.cpu()?, Instant::now());
        let admins: Vec<SocketAddr> = self.gateways.iter().map(|gateway| gateway.admin).collect();
        let published = publish(load, &admins, start)?;
        subscribers.wait_for(published.taken, ARRIVAL)?;
        let seconds = started.elapsed().as_secs_f64();
        let spent = self.cpu()?;
        let mut micros: Vec<u32> = subscribers.received.iter().flat_map(|received| received.take_micros()).collect();
        micros.sort_unstable();
        let taken = published.taken as f64;
        let [all, redis] = [0, 1].map(|part| (spent[part] - cpu[part]) / taken * 1e6);
        let answer = quantile(&published.micros, 0.5);
        Ok([
            taken / seconds,
            quantile(&micros, 0.5),
            quantile(&micros, 0.99),
            answer,
            all,
            redis,
            published.refused as f64,
        ])
    }

    /// One broadcast after another; each is published when the one before has arrived.
    fn lone(&self) -> anyhow::Result<Figures> {
        let start = Instant::now();
        let mut subscribers = self.subscribe(start)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut publisher = runtime.block_on(Publisher::connect(self.gateways[0].admin, TOKEN, 1, start))?;
        let (cpu, started, mut answers) = (self.cpu()?, Instant::now(), Vec::new());
        for n in 1..=LONE {
            let sent = Instant::now();
            anyhow::ensure!(runtime.block_on(publisher.publish())? == 202, "refused");
            answers.push(u32::try_from(sent.elapsed().as_micros())?);
            subscribers.wait_for(n as u64, ARRIVAL)?;
        }
        let (spent, seconds) = (self.cpu()?, started.elapsed().as_secs_f64());
        answers.sort_unstable();
        let micros = subscribers.received[0].take_micros();
        let [all, redis] = [0, 1].map(|part| (spent[part] - cpu[part]) / LONE as f64 * 1e6);
        let answer = quantile(&answers, 0.5);
        Ok([LONE as f64 / seconds, quantile(&micros, 0.5), quantile(&micros, 0.99), answer, all, redis, 0.0])
    }
}

fn quantile(sorted: &[u32], q: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1) as f64 * q) as usize;
    sorted.get(at).copied().map_or(f64::NAN, f64::from)
}

/// What publishers achieved.
#[derive(Default)]
struct Published {
    /// Broadcasts that were taken.
    taken: u64,
    /// Requests that were refused.
    refused: u64,
    /// The times of answers in microseconds, sorted.
    micros: Vec<u32>,
}

/// Publishes for the time of the load, from one thread.
fn publish(load: Load, admins: &[SocketAddr], start: Instant) -> anyhow::Result<Published> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut publishers = Vec::new();
        for index in 0..load.publishers {
            publishers.push(Publisher::connect(admins[index % admins.len()], TOKEN, load.events, start).await?);
        }
        let until = Instant::now() + load.duration;
        let mut tasks = tokio::task::JoinSet::new();
        for (index, publisher) in publishers.into_iter().enumerate() {
            tasks.spawn(publish_until(until, publisher, load, index));
        }
        let mut all = Published::default();
        while let Some(part) = tasks.join_next().await {
            let part = part??;
            all.taken += part.taken;
            all.refused += part.refused;
            all.micros.extend(part.micros);
        }
        all.micros.sort_unstable();
        Ok(all)
    })
}

async fn publish_until(
    until: Instant,
    mut publisher: Publisher,
    load: Load,
    index: usize,
) -> anyhow::Result<Published> {
    let mut published = Published::default();
    let every = load.rate.map(|rate| Duration::from_secs_f64(load.publishers as f64 / f64::from(rate)));
    let mut next =
        tokio::time::Instant::now() + every.unwrap_or_default().mul_f64(index as f64 / load.publishers as f64);
    while Instant::now() < until {
        if let Some(every) = every {
            tokio::time::sleep_until(next).await;
            next += every;
        }
        let sent = Instant::now();
        let status = publisher.publish().await?;
        published.micros.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
        match status {
            202 => published.taken += load.events as u64,
            503 => published.refused += 1,
            other => anyhow::bail!("the gateway answered {other}"),
        }
    }
    Ok(published)
}
