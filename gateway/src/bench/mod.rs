//! `diffyne-gateway bench`: load on a front, as pages make it: connections, calls and broadcasts.
//!
//! * `connection`: one client; `call`: what it calls
//! * `tally`: what is counted; `report` and `plot`: what is told of it

mod call;
mod connection;
mod plot;
mod report;
mod tally;

use std::io::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use diffyne_shared::admin;
use diffyne_shared::rpc::Endpoint;
use diffyne_shared::settings;
use diffyne_shared::settings::gateway::{self, GatewaySettings};
use diffyne_shared::task;
use diffyne_shared::tls::ClientTls;
use nix::time::{ClockId, clock_gettime};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::front_client::Front;
use crate::process;
use call::BenchCall;
use report::{Run, Summary};
use tally::{Tally, count};

/// The event that is broadcast.
const EVENT: &str = "diffyne-bench";
const SECOND: Duration = Duration::from_secs(1);
/// The longest bench.
const SECONDS_MAX: u64 = 3600;
/// The request ids of calls and of subscriptions.
const CALL_ID: &str = "bench";
const SUBSCRIPTION_ID: &str = "bench-s";
/// How long answers are waited for at the end, and how often that is looked at.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
const LAST_ANSWERS_STEP: Duration = Duration::from_millis(10);

/// Where the clients connect to, and as whom.
struct Target {
    front: Front,
    tls: Option<ClientTls>,
    origin: String,
    key: Option<String>,
}

/// A bench that runs.
struct Bench {
    target: Target,
    call: BenchCall,
    connections: u64,
    /// Between two calls of one client; `None`: there are none.
    interval: Option<Duration>,
    /// Clients hear broadcasts.
    hears: bool,
    subscription: String,
    tally: Tally,
    began: Instant,
    stop: CancellationToken,
}

/// Where broadcasts are published, and how often.
struct Publisher {
    admin: Endpoint,
    token: String,
    interval: Duration,
}

fn number(name: &'static str, default: &'static str, most: u64, help: &'static str) -> Arg {
    let range = value_parser!(u64).range(0..=most);
    Arg::new(name).long(name).value_name("N").default_value(default).value_parser(range).help(help)
}

fn time(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("SECONDS").default_value(default).value_parser(seconds).help(help)
}

/// A time in seconds, as a number or as settings are written: `90`, `90s`, `2m`.
fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    seconds
        .filter(|seconds| *seconds <= SECONDS_MAX)
        .ok_or_else(|| format!("it must be a number of seconds, such as 90, 90s or 2m, up to {SECONDS_MAX}"))
}

fn text(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

/// Builds the command line of `bench`.
pub fn command() -> Command {
    Command::new("bench")
        .about("Put load on a gateway or its front: connections, calls and broadcasts; tells each second, and sums up")
        .after_help(
            "Example: diffyne-gateway bench --url ws://127.0.0.1:6001/diffyne --connections 500 --calls 1000\n\n\
             Calls go to a worker and back and run nothing, unless --component names a component: take a method that \
             changes nothing. A call's time counts from when it was due. Broadcasts need --admin-listen of a gateway, and \
             DIFFYNE_ADMIN_TOKEN. Ctrl-C ends a bench; what was measured until then is told.",
        )
        .arg(text("url", "URL", "The address that pages connect to, as for doctor: ws://127.0.0.1:6001/diffyne").required(true))
        .arg(text("ca", "FILE", "PEM file of the authority that signed the front's certificate; default: the system's"))
        .arg(number("connections", "100", 200_000, "Clients"))
        .arg(time("ramp", "2", "How long they take to connect, evenly"))
        .arg(time("duration", "10", "How long to measure after that"))
        .arg(number("calls", "100", 1_000_000, "Calls a second, of all clients together; each waits for its answer"))
        .arg(number("broadcasts", "0", 1000, "Broadcasts a second, which every client hears"))
        .arg(text("component", "CLASS", "A component to call, App\\Diffyne\\Counter for example"))
        .arg(text("method", "NAME", "The method that is called").default_value("increment").requires("component"))
        .arg(text("params", "JSON", "Its parameters").default_value("[]").requires("component"))
        .arg(text("state", "JSON", "The component's state").default_value("{}").requires("component"))
        .arg(text("plot", "FILE", "Draw the seconds into this SVG file"))
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print the summary and all seconds as JSON"))
        .arg(Arg::new("yes").long("yes").action(ArgAction::SetTrue).help("The front is on another machine, and it is mine to load"))
        .args(settings::client_arguments(&gateway::specs()))
}

/// Runs a bench to its end.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let settings = GatewaySettings::read(&process::layers(matches, &gateway::specs())?)?;
    let url = matches.get_one::<String>("url").cloned().unwrap_or_default();
    let get = |name: &str| matches.get_one::<u64>(name).copied().unwrap_or_default();
    let front = Front::parse(&url, &settings.path).map_err(anyhow::Error::msg)?;
    let url = front.shown();
    if !matches.get_flag("yes") {
        refuse_strangers("--url", front.host())?;
    }
    let publisher = match get("broadcasts") {
        0 => None,
        rate => Some(Publisher {
            admin: settings.admin_listen.clone().context("--broadcasts needs --admin-listen of a gateway")?,
            token: settings.admin_token.clone().context("--broadcasts needs DIFFYNE_ADMIN_TOKEN of that gateway")?,
            interval: SECOND / u32::try_from(rate).unwrap_or(1),
        }),
    };
    if let Some(Publisher { admin: Endpoint::Tcp { host, .. }, .. }) = &publisher
        && !matches.get_flag("yes")
    {
        refuse_strangers("--admin-listen", host)?;
    }
    let connections = get("connections");
    let interval = match get("calls") {
        0 => None,
        rate => Some(Duration::from_secs_f64(connections as f64 / rate as f64)),
    };
    let bench = Bench {
        target: Target {
            tls: tls(&front, matches.get_one::<String>("ca"))?,
            origin: settings.app_url.clone().unwrap_or_else(|| front.origin()),
            key: settings.keys.first().cloned(),
            front,
        },
        call: BenchCall::read(matches)?,
        connections,
        interval,
        hears: publisher.is_some(),
        subscription:
            json!({"event": "diffyne.subscribe", "data": {"events": [{"name": EVENT}], "requestId": SUBSCRIPTION_ID}})
                .to_string(),
        tally: Tally::default(),
        began: Instant::now(),
        stop: CancellationToken::new(),
    };
    diffyne_shared::descriptors::raise_limit();
    let (ramp, duration) = (Duration::from_secs(get("ramp")), Duration::from_secs(get("duration")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let summary = tokio::task::LocalSet::new()
        .block_on(&runtime, measure(Rc::new(bench), publisher, url.clone(), ramp, duration));
    if matches.get_flag("json") {
        println!("{:#}", serde_json::to_value(&summary)?);
    } else {
        println!("{}", summary.text());
    }
    if let Some(file) = matches.get_one::<String>("plot") {
        std::fs::write(file, plot::draw(&url, &summary.timeline))
            .with_context(|| format!("cannot write {file} (--plot)"))?;
    }
    ensure!(summary.has_connected(), "no client could connect; diffyne-gateway doctor --url {url} looks for the cause");
    Ok(())
}

fn tls(front: &Front, authority: Option<&String>) -> anyhow::Result<Option<ClientTls>> {
    let tls = front.is_secure().then(|| ClientTls::trusting(authority.map(Path::new)));
    tls.transpose().map_err(anyhow::Error::msg)
}

/// Load on somebody else's machine is an attack.
fn refuse_strangers(option: &str, host: &str) -> anyhow::Result<()> {
    let addresses = std::net::ToSocketAddrs::to_socket_addrs(&(host, 0));
    let addresses: Vec<_> = addresses.with_context(|| format!("{option}: {host} has no address"))?.collect();
    ensure!(
        !addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback()),
        "{host} is not this machine: this would put load on it. Add --yes if it is yours"
    );
    Ok(())
}

/// CPU time of this process, in seconds.
fn cpu_seconds() -> f64 {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(0.0, |time| Duration::from(time).as_secs_f64())
}

async fn measure(
    bench: Rc<Bench>,
    publisher: Option<Publisher>,
    url: String,
    ramp: Duration,
    duration: Duration,
) -> Summary {
    let began = Instant::now();
    task::spawn_local(connect(Rc::clone(&bench), ramp));
    if let Some(publisher) = publisher {
        task::spawn_local(publish(Rc::clone(&bench), publisher));
    }
    let (mut timeline, mut measured_from, mut cpu) = (Vec::new(), began, cpu_seconds());
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let mut is_interrupted = false;
    while !is_interrupted && began.elapsed() < ramp + duration {
        let next = began + SECOND * (timeline.len() as u32 + 1);
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            _ = &mut interrupted => is_interrupted = true,
        }
        let second = bench.tally.end_second(timeline.len() as u64 + 1);
        // A terminal that is gone ends no bench.
        let _ = writeln!(std::io::stderr(), "{}", report::progress(&second, bench.hears));
        timeline.push(second);
        if !ramp.is_zero() && measured_from == began && began.elapsed() >= ramp && !is_interrupted {
            bench.tally.begin_again();
            (measured_from, cpu) = (Instant::now(), cpu_seconds());
        }
    }
    let seconds = measured_from.elapsed().as_secs_f64();
    let generator_cores = (cpu_seconds() - cpu) / seconds.max(0.001);
    let until = Instant::now() + LAST_ANSWERS;
    while bench.tally.under_way.get() > 0 && Instant::now() < until {
        tokio::time::sleep(LAST_ANSWERS_STEP).await;
    }
    let run = Run {
        url,
        call: bench.call.name.clone(),
        seconds,
        all_seconds: began.elapsed().as_secs_f64(),
        is_interrupted,
        generator_cores,
        timeline,
    };
    let summary = Summary::new(run, &bench.tally);
    bench.stop.cancel();
    summary
}

/// Has the clients connect, one after the other.
async fn connect(bench: Rc<Bench>, ramp: Duration) {
    let began = Instant::now();
    for number in 0..bench.connections {
        tokio::time::sleep_until(began + ramp.mul_f64(number as f64 / bench.connections as f64)).await;
        task::spawn_local(connection::run(Rc::clone(&bench), number));
    }
}

/// Publishes at its rate, until the bench ends.
async fn publish(bench: Rc<Bench>, publisher: Publisher) {
    let mut ticks = tokio::time::interval(publisher.interval);
    while !bench.stop.is_cancelled() {
        ticks.tick().await;
        let sent = u64::try_from(bench.began.elapsed().as_micros()).unwrap_or_default();
        let event = json!({"name": EVENT, "params": [sent]}).to_string();
        match admin::ask(&publisher.admin, &publisher.token, "/api/broadcast", &event).await {
            Ok(_) => count(&bench.tally.broadcasts),
            Err(error) => bench.tally.error(&format!("a broadcast was not published: {error}")),
        }
    }
}
