//! `diffyne-gateway doctor`: looks at a set-up from its settings to a real call, and says of each part that it is well
//! or what to do.
//!
//! * [`page`]: what pages and their users depend on: key, origins, signing key
//! * [`redis`]: whether the bus's server is there and keeps what it is given
//! * [`workers`]: who runs calls, and whether a call gets there and back
//! * [`application`]: what the application's own code needs

mod application;
mod page;
mod redis;
mod workers;

use std::fmt;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};
use diffyne_shared::rpc::Endpoint;
use diffyne_shared::settings::gateway::{self, GatewaySettings};
use diffyne_shared::settings::{self, SettingsError};

use crate::cli;

/// How a part of the set-up is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Well,
    /// It works, and somebody should know.
    Note,
    /// It does not work, or it is not safe.
    Bad,
}

/// One line of the report.
#[derive(Debug)]
struct Finding {
    state: State,
    part: &'static str,
    text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.state {
            State::Well => "ok  ",
            State::Note => "note",
            State::Bad => "BAD ",
        };
        write!(f, "{mark}  {:<12} {}", self.part, self.text)
    }
}

/// What was found so far; each line is shown at once, as some take a while.
#[derive(Debug, Default)]
struct Report {
    findings: Vec<Finding>,
}

impl Report {
    fn add(&mut self, state: State, part: &'static str, text: impl Into<String>) {
        let finding = Finding { state, part, text: text.into() };
        println!("{finding}");
        self.findings.push(finding);
    }

    fn well(&mut self, part: &'static str, text: impl Into<String>) {
        self.add(State::Well, part, text);
    }

    fn note(&mut self, part: &'static str, text: impl Into<String>) {
        self.add(State::Note, part, text);
    }

    fn bad(&mut self, part: &'static str, text: impl Into<String>) {
        self.add(State::Bad, part, text);
    }

    fn count(&self, state: State) -> usize {
        self.findings.iter().filter(|finding| finding.state == state).count()
    }
}

/// What the checks look at.
struct Patient {
    settings: GatewaySettings,
    /// The application's `.env`, whole: Laravel's own names are in it.
    environment: Vec<(String, String)>,
    /// The application's directory, when this host has it.
    directory: Option<PathBuf>,
    /// A component to call, and a method of it.
    call: Option<(String, String)>,
}

impl Patient {
    /// A value of the application's `.env`.
    fn env(&self, name: &str) -> Option<&str> {
        let found = self.environment.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }
}

/// The command line of `doctor`.
pub fn command() -> Command {
    Command::new("doctor")
        .about("Check a set-up, from its settings to a real call; each line says what is well or what to do")
        .after_help(
            "Example: diffyne-gateway doctor --env-file /var/www/app/.env --redis-url redis://127.0.0.1\n\
             Give it the settings that the gateway has. It changes nothing: the call that it makes is one of a component\n\
             that does not exist, unless --component names one. Ends with 1 when something is BAD.",
        )
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

/// Runs all checks; an error when something is bad.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let patient = patient(matches)?;
    let mut report = Report::default();
    page::check(&patient, &mut report);
    port(&patient.settings, &mut report);
    if let Some(directory) = &patient.directory {
        application::check(directory, &mut report);
    } else {
        report.note("application", "its code was not looked at: name its directory with --app");
    }
    cli::control_runtime()?.block_on(async {
        redis::check(&patient, &mut report).await;
        workers::check(&patient, &mut report).await;
    });
    let (well, notes, bad) = (report.count(State::Well), report.count(State::Note), report.count(State::Bad));
    println!("\n{well} well, {notes} to note, {bad} bad");
    anyhow::ensure!(bad == 0, "{bad} of the lines above need something done");
    Ok(())
}

fn patient(matches: &ArgMatches) -> anyhow::Result<Patient> {
    let settings = GatewaySettings::read(&cli::layers(matches)?)?;
    let (files, _) = settings::from_matches(matches, &gateway::specs());
    let environment = match &files.env_file {
        Some(file) => read_env(file)?,
        None => Vec::new(),
    };
    let beside = files.env_file.as_deref().and_then(Path::parent).map(|folder| {
        // `.env` alone is in the current directory.
        if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
    });
    let named = matches.get_one::<String>("app").map(PathBuf::from);
    let directory = named.or_else(|| beside.filter(|folder| folder.join("artisan").is_file()));
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    Ok(Patient { settings, environment, directory, call: text("component").zip(text("method")) })
}

fn read_env(file: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let wrong =
        |error: dotenvy::Error| SettingsError::File { path: file.display().to_string(), error: error.to_string() };
    Ok(dotenvy::from_path_iter(file).map_err(wrong)?.collect::<Result<_, _>>().map_err(wrong)?)
}

/// Whether the gateway can have its address; a gateway of ours that is there already is fine.
fn port(settings: &GatewaySettings, report: &mut Report) {
    let address = &settings.listen;
    match address {
        Endpoint::Tcp { host, port } => match std::net::TcpListener::bind((host.as_str(), *port)) {
            Ok(_) => report.well("port", format!("{address} is free")),
            Err(_) if workers::is_ours(address) => report.well("port", format!("{address}: a gateway runs there")),
            Err(error) => report.bad(
                "port",
                format!("{address} cannot be had: {error}. Stop what listens there (the old diffyne:websocket?), or set DIFFYNE_LISTEN"),
            ),
        },
        Endpoint::Unix(path) => match path.parent().filter(|folder| folder.is_dir()) {
            Some(_) => report.well("port", format!("{address}: its directory is there")),
            None => report.bad("port", format!("{address}: its directory does not exist")),
        },
        Endpoint::Memory(_) => {}
    }
}
