//! `diffyne-gateway doctor`: checks a set-up from its settings to a real call, and reports for each part that it is ok
//! or how to fix it.
//!
//! * [`page`]: the settings that pages depend on: key, origins, signing key
//! * [`redis`]: whether the bus's server is reachable and keeps its data
//! * [`workers`]: whether workers are reachable, and whether a call gets through
//! * [`application`]: what the application's own code needs
//! * [`uploads`]: whether file uploads reach the application
//! * [`front`], [`front_http`]: all of it as a page has it, through the real front (`--url`)

mod application;
mod front;
mod front_http;
mod page;
mod redis;
mod uploads;
mod workers;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use diffyne_shared::rpc::Endpoint;
use diffyne_shared::settings;
use diffyne_shared::settings::gateway::{self, GatewaySettings};
use diffyne_shared::tls::ClientTls;
use serde_json::{Value, json};

use crate::front_client::Front;
use crate::{process, server};

/// The state of a part of the set-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Ok,
    /// The part works, but somebody should know about a problem.
    Warn,
    /// The part does not work, or is not safe.
    Fail,
}

/// One line of the report.
#[derive(Debug)]
struct Finding {
    status: Status,
    part: &'static str,
    text: String,
}

impl Finding {
    fn json(&self) -> Value {
        let status = match self.status {
            Status::Ok => "ok",
            Status::Warn => "note",
            Status::Fail => "bad",
        };
        json!({"status": status, "part": self.part, "text": self.text})
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.status {
            Status::Ok => "ok  ",
            Status::Warn => "note",
            Status::Fail => "BAD ",
        };
        write!(f, "{mark}  {:<12} {}", self.part, self.text)
    }
}

/// The findings so far. Each is printed at once, because some checks take a while.
#[derive(Debug, Default)]
struct Report {
    findings: Vec<Finding>,
    /// Nothing is printed before the end.
    is_quiet: bool,
}

impl Report {
    fn add(&mut self, status: Status, part: &'static str, text: impl Into<String>) {
        let finding = Finding { status, part, text: text.into() };
        if !self.is_quiet {
            println!("{finding}");
        }
        self.findings.push(finding);
    }

    fn ok(&mut self, part: &'static str, text: impl Into<String>) {
        self.add(Status::Ok, part, text);
    }

    fn warn(&mut self, part: &'static str, text: impl Into<String>) {
        self.add(Status::Warn, part, text);
    }

    fn fail(&mut self, part: &'static str, text: impl Into<String>) {
        self.add(Status::Fail, part, text);
    }

    fn count(&self, status: Status) -> usize {
        self.findings.iter().filter(|finding| finding.status == status).count()
    }

    /// The problems that have a cause of their own, each with those that follow from it.
    fn problems(&self) -> Vec<(&Finding, Vec<&Finding>)> {
        let failed: Vec<&Finding> = self.findings.iter().filter(|finding| finding.status == Status::Fail).collect();
        let cause_of = |part: &str| {
            let causes = FOLLOWS.iter().find(|(other, _)| *other == part).map_or(&[][..], |(_, causes)| *causes);
            causes.iter().copied().find(|cause| failed.iter().any(|finding| finding.part == *cause))
        };
        // What follows from a problem that follows from another one: the first cause counts.
        let root_of = |part: &'static str| {
            let mut root = part;
            while let Some(cause) = cause_of(root) {
                root = cause;
            }
            root
        };
        let mut problems: Vec<(&Finding, Vec<&Finding>)> = failed
            .iter()
            .filter(|finding| root_of(finding.part) == finding.part)
            .map(|finding| (*finding, Vec::new()))
            .collect();
        for finding in failed.iter().filter(|finding| root_of(finding.part) != finding.part) {
            let root = root_of(finding.part);
            if let Some((_, follow)) = problems.iter_mut().find(|(cause, _)| cause.part == root) {
                follow.push(finding);
            }
        }
        problems
    }
}

/// Parts that cannot work without others, the first cause first. There is no circle in it.
const FOLLOWS: [(&str, &[&str]); 6] = [
    ("workers", &["redis"]),
    ("worker", &["workers"]),
    ("call", &["signing key", "worker", "workers"]),
    ("front call", &["worker", "workers", "redis"]),
    ("broadcast", &["redis"]),
    ("events", &["cookies"]),
];

/// The set-up that is checked.
struct Target {
    settings: GatewaySettings,
    /// What the settings themselves warn of.
    warnings: Vec<String>,
    /// The application's complete `.env`, including Laravel's own variables.
    environment: Vec<(String, String)>,
    /// The application's directory, if it is on this host.
    directory: Option<PathBuf>,
    /// A component and one of its methods to call.
    call: Option<(String, String)>,
    /// How long a connection is left alone, to see whether it lasts.
    idle: Option<Duration>,
}

impl Target {
    /// Whether an application is to be served: its directory or its `.env` was named.
    fn has_application(&self) -> bool {
        self.directory.is_some() || !self.environment.is_empty()
    }

    /// Returns a variable of the application's `.env`.
    fn env(&self, name: &str) -> Option<&str> {
        let found = self.environment.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }
}

/// Builds the command line of `doctor`.
pub fn command() -> Command {
    Command::new("doctor")
        .about("Check a set-up, from its settings to a real call; each line says that a part is ok, or what to do")
        .after_help(
            "Example: diffyne-gateway doctor --env-file /var/www/app/.env --redis-url redis://127.0.0.1\n\
             Give it the settings that the gateway has. It changes nothing: the call that it makes is one of a component\n\
             that does not exist, unless --component names one. Ends with 1 when something is BAD.",
        )
        .arg(
            Arg::new("url")
                .long("url")
                .value_name("URL")
                .help("The address that pages connect to (wss://shop.example/diffyne): look at it alone, through the real front"),
        )
        .arg(Arg::new("ca").long("ca").value_name("FILE").requires("url").help("PEM file of the authority that signed the front's certificate; default: the system's"))
        .arg(
            Arg::new("idle")
                .long("idle")
                .value_name("SECONDS")
                .requires("url")
                .value_parser(value_parser!(u64).range(1..=3600))
                .help("Also leave a connection alone for so long, to see whether proxies end it: 90 for example"),
        )
        .arg(Arg::new("all").long("all").requires("url").action(ArgAction::SetTrue).help("Look at the settings, Redis and the workers as well"))
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print the findings as JSON, at the end"))
        .arg(Arg::new("app").long("app").value_name("DIR").help(
            "The application's directory, to look for what its code needs; default: that of --env-file, if artisan is there",
        ))
        .arg(Arg::new("component").long("component").value_name("CLASS").help("A component to call, App\\Diffyne\\Counter for example"))
        .arg(
            Arg::new("method")
                .long("method")
                .value_name("NAME")
                .requires("component")
                .default_value("increment")
                .help("The method of it that is called, with an empty state"),
        )
        .args(settings::arguments(&gateway::specs()))
}

/// Runs all checks. The error tells how many failed.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let target = target(matches)?;
    let mut report = Report { is_quiet: matches.get_flag("json"), ..Report::default() };
    let url = matches.get_one::<String>("url");
    if let Some(url) = url {
        let authority = matches.get_one::<String>("ca").map(String::as_str);
        process::control_runtime()?.block_on(look_at_front(url, authority, &target, &mut report));
    }
    if url.is_some() && !matches.get_flag("all") {
        return conclude(&report);
    }
    for warning in &target.warnings {
        report.warn("settings", warning.as_str());
    }
    if let Err(error) = server::check(&target.settings) {
        report.fail("settings", error.to_string());
    }
    page::check(&target, &mut report);
    port(&target.settings, &mut report);
    if let Some(directory) = &target.directory {
        application::check(directory, &mut report);
    } else {
        report.warn("application", "its code was not looked at: name its directory with --app");
    }
    process::control_runtime()?.block_on(async {
        redis::check(&target, &mut report).await;
        workers::check(&target, &mut report).await;
        uploads::check(&target, &mut report).await;
    });
    conclude(&report)
}

/// Prints what was found. The error tells how many problems there are.
fn conclude(report: &Report) -> anyhow::Result<()> {
    let problems = report.problems();
    if report.is_quiet {
        let findings: Vec<Value> = report.findings.iter().map(Finding::json).collect();
        let causes = problems.iter().map(|(cause, follow)| {
            let follow: Vec<&str> = follow.iter().map(|finding| finding.part).collect();
            json!({"part": cause.part, "text": cause.text, "followed_by": follow})
        });
        let causes: Vec<Value> = causes.collect();
        println!("{:#}", json!({"findings": findings, "problems": problems.len(), "causes": causes}));
    } else {
        let (ok, warnings) = (report.count(Status::Ok), report.count(Status::Warn));
        println!("\n{ok} ok, {warnings} to note, {}", counted(problems.len()));
        // Numbered at the end, where somebody looks first.
        for (number, (Finding { part, text, .. }, follow)) in problems.iter().enumerate() {
            println!("{}. {part}: {text}", number + 1);
            for Finding { part, text, .. } in follow {
                println!("   {part} follows from it: {text}");
            }
        }
    }
    anyhow::ensure!(problems.is_empty(), "{} found; see above", counted(problems.len()));
    Ok(())
}

fn counted(problems: usize) -> String {
    if problems == 1 { "1 problem".to_owned() } else { format!("{problems} problems") }
}

/// Looks at the front, from wherever this runs.
async fn look_at_front(url: &str, authority: Option<&str>, target: &Target, report: &mut Report) {
    let front = match Front::parse(url, &target.settings.path) {
        Ok(front) => front,
        Err(error) => return report.fail("front", error),
    };
    match ClientTls::trusting(authority.map(Path::new)) {
        Ok(tls) => front::check(&front, front.is_secure().then_some(&tls), target, report).await,
        Err(error) => report.fail("front", error),
    }
}

fn target(matches: &ArgMatches) -> anyhow::Result<Target> {
    let layers = process::layers(matches, &gateway::specs())?;
    let settings = GatewaySettings::read(&layers)?;
    let warnings = [layers.warnings(), &settings.warnings()].concat();
    let (files, _) = settings::from_matches(matches, &gateway::specs());
    let variables = settings::environment()?;
    let mut environment = Vec::new();
    for file in &files.env_files {
        environment.extend(settings::read_env_file(file, &variables)?);
    }
    let mut beside = files.env_files.iter().filter_map(|file| file.parent()).map(|folder| {
        // A plain `.env` is in the current directory.
        if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
    });
    let named = matches.get_one::<String>("app").map(PathBuf::from);
    let directory = named.or_else(|| beside.find(|folder| folder.join("artisan").is_file()));
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let call = text("component").zip(text("method"));
    let idle = matches.get_one::<u64>("idle").copied().map(Duration::from_secs);
    Ok(Target { settings, warnings, environment, directory, call, idle })
}

/// Checks whether the gateway can listen on its address. A running gateway of ours on it is fine.
fn port(settings: &GatewaySettings, report: &mut Report) {
    let address = &settings.listen;
    match address {
        Endpoint::Tcp { host, port } => match std::net::TcpListener::bind((host.as_str(), *port)) {
            Ok(_) => report.ok("port", format!("{address} is free")),
            Err(_) if workers::is_ours(address) => report.ok("port", format!("{address}: a gateway runs there")),
            Err(error) => report.fail(
                "port",
                format!("{address} cannot be had: {error}. Stop what listens there (the old diffyne:websocket?), or set DIFFYNE_LISTEN"),
            ),
        },
        Endpoint::Unix(path) => match path.parent().filter(|folder| folder.is_dir()) {
            Some(_) => report.ok("port", format!("{address}: its directory is there")),
            None => report.fail("port", format!("{address}: its directory does not exist")),
        },
        Endpoint::InProcess => report.fail("port", format!("{address} is no address for clients: set DIFFYNE_LISTEN")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_that_follow_from_another_one_are_told_with_it() {
        let mut report = Report { is_quiet: true, ..Report::default() };
        for part in ["front call", "redis", "workers", "origins", "broadcast"] {
            report.fail(part, "broken");
        }
        let parts = |findings: &[&Finding]| findings.iter().map(|finding| finding.part).collect::<Vec<_>>();
        let problems: Vec<_> = report.problems().iter().map(|(cause, follow)| (cause.part, parts(follow))).collect();
        assert_eq!(problems, [("redis", vec!["front call", "workers", "broadcast"]), ("origins", vec![])]);
        assert!(Report::default().problems().is_empty());
    }
}
