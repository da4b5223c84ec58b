//! How a worker runs a PHP application.

use std::time::Duration;

use super::checks::{self, at_least_one, at_least_one_u32, bytes, positive};
use super::declare::settings;
use super::error::SettingsError;
use super::layers::Layers;
use super::spec::Spec;
use super::value::{FromSetting, words};

/// PHP processes of one worker.
const PROCESSES_MAX: usize = 1024;

settings! {
    /// How PHP processes are run.
    pub struct PhpSettings {
        "Laravel application in PHP processes" {
            /// Directory of a Laravel application whose components are run; not set: components in Rust
            DIFFYNE_APP = none => directory: String;
            /// The program that runs PHP, with its first arguments, such as `chroot /srv/php php8.4`; DIFFYNE_APP is the path that this program sees
            DIFFYNE_PHP_COMMAND = "php" => command: Vec<String>, command;
            /// PHP processes that run calls, at least; default: one per core, but no more than DIFFYNE_PHP_PROCESSES_MAX
            DIFFYNE_PHP_PROCESSES = none => processes_min: usize, processes_min;
            /// PHP processes at most, when calls wait; default: DIFFYNE_PHP_PROCESSES
            DIFFYNE_PHP_PROCESSES_MAX = none => processes_max: usize, processes_max;
            /// Calls after which a PHP process is replaced, give or take a tenth
            DIFFYNE_PHP_MAX_CALLS = "20000" => calls_max: u32, at_least_one_u32;
            /// Memory above which a PHP process is replaced after its call
            DIFFYNE_PHP_MAX_MEMORY = "256MiB" => memory_max: u64, memory_max;
            /// How long a PHP process may take to boot the application
            DIFFYNE_PHP_START_TIMEOUT = "30s" => start_timeout: Duration, positive;
            /// Files and folders whose changes replace the PHP processes, for development: a comma list such as app,config,resources,routes, relative to DIFFYNE_APP, or absolute as the worker sees them
            DIFFYNE_PHP_WATCH = none => watch: Vec<String>;
            /// PHP settings of the processes: a comma list of name=value
            DIFFYNE_PHP_INI = "opcache.enable_cli=1,opcache.revalidate_freq=0,opcache.file_update_protection=0,opcache.jit=tracing,opcache.jit_buffer_size=32M,memory_limit=512M" => ini: Vec<(String, String)>, assignments;
            /// sandbox: after a call, everything that it changed in its PHP process is put back; process: each call runs in a process of its own, forked from one that has booted (needs the extension pcntl)
            DIFFYNE_PHP_ISOLATION = "sandbox" => isolation: Isolation;
            /// auto: PHP processes are forked from one that has booted the application, where PHP has the extensions pcntl, posix and sockets and the application has opened nothing by then that processes cannot share; reconnect: connections to databases and Redis that providers have opened are closed before, with what they have set on them, and opened anew; off: each process boots the application by itself
            DIFFYNE_PHP_FORK = "auto" => fork: Fork;
            /// auto: calls bypass Laravel's HTTP kernel if its middleware group holds only the framework's own; always: calls pass through the kernel
            DIFFYNE_BRIDGE_KERNEL = "auto" => kernel: Kernel;
            /// auto: while calls wait, and if there are as many PHP processes as cores, each process (and each program that it then starts) keeps to a core of its own; off: the system decides
            DIFFYNE_PHP_CPU_AFFINITY = "auto" => affinity: Affinity;
            /// More environment for the application: a comma list of NAME=value
            DIFFYNE_PHP_ENVIRONMENT = none => environment: Vec<(String, String)>, environment;
        }
    }
}

impl PhpSettings {
    /// Reads and checks the settings; `None` when there is no application.
    pub(super) fn read(layers: &Layers) -> Result<Option<Self>, SettingsError> {
        if layers.is_set(&DIFFYNE_APP) { Self::from_layers(layers).map(Some) } else { Ok(None) }
    }
}

/// The program and its first arguments: `php`, or `chroot DIR php8.4`.
fn command(layers: &Layers, spec: &'static Spec) -> Result<Vec<String>, SettingsError> {
    let command: Vec<String> = layers.get::<String>(spec)?.split_whitespace().map(str::to_owned).collect();
    if command.is_empty() { Err(layers.invalid(spec, "a program and its first arguments")) } else { Ok(command) }
}

fn processes_min(layers: &Layers, spec: &'static Spec) -> Result<usize, SettingsError> {
    let count = if layers.is_set(spec) {
        at_least_one(layers, spec)?
    } else if layers.is_set(&DIFFYNE_PHP_PROCESSES_MAX) {
        at_least_one(layers, &DIFFYNE_PHP_PROCESSES_MAX)?.min(checks::cores())
    } else {
        checks::cores()
    };
    Ok(count.min(PROCESSES_MAX))
}

fn processes_max(layers: &Layers, spec: &'static Spec) -> Result<usize, SettingsError> {
    let least = processes_min(layers, &DIFFYNE_PHP_PROCESSES)?;
    if !layers.is_set(spec) {
        return Ok(least);
    }
    let most = at_least_one(layers, spec)?;
    if most < least {
        return Err(layers.invalid(spec, "DIFFYNE_PHP_PROCESSES or more"));
    }
    Ok(most.clamp(least, PROCESSES_MAX))
}

fn memory_max(layers: &Layers, spec: &'static Spec) -> Result<u64, SettingsError> {
    bytes(layers, spec).map(|size| size as u64)
}

fn environment(layers: &Layers, spec: &'static Spec) -> Result<Vec<(String, String)>, SettingsError> {
    // Packages behave differently on a console, so the application is told that it serves the web.
    let mut environment = vec![("APP_RUNNING_IN_CONSOLE".to_owned(), "false".to_owned())];
    environment.extend(assignments(layers, spec)?);
    Ok(environment)
}

fn assignments(layers: &Layers, spec: &'static Spec) -> Result<Vec<(String, String)>, SettingsError> {
    let list: Vec<Assignment> = layers.get(spec)?;
    Ok(list.into_iter().map(|Assignment(name, value)| (name, value)).collect())
}

/// `name=value`.
#[derive(Debug, Clone)]
struct Assignment(String, String);

impl FromSetting for Assignment {
    fn allowed() -> String {
        "name=value".to_owned()
    }
    fn from_setting(text: &str) -> Option<Self> {
        let (name, value) = text.split_once('=')?;
        (!name.is_empty()).then(|| Self(name.trim().to_owned(), value.trim().to_owned()))
    }
}

/// Who decides on which core a PHP process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affinity {
    /// The worker, while calls wait.
    Auto,
    /// The system.
    Off,
}
words!(Affinity { "auto" => Auto, "off" => Off });

/// What keeps one call's changes from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// They are put back.
    Sandbox,
    /// The call's process ends with it.
    Process,
}
words!(Isolation { "sandbox" => Sandbox, "process" => Process });

/// Whether processes are forked from one that has booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// Where it is possible.
    Auto,
    /// The same, and connections that the application has opened do not stand in the way.
    Reconnect,
    /// Never.
    Off,
}
words!(Fork { "auto" => Auto, "reconnect" => Reconnect, "off" => Off });

/// Whether calls pass through the application's HTTP kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernel {
    /// They bypass it where that makes no difference.
    Auto,
    /// They always do.
    Always,
}
words!(Kernel { "auto" => Auto, "always" => Always });
