//! How a worker runs a PHP application.

use std::time::Duration;

use super::common::{at_least_one, positive};
use super::value::{ByteSize, FromSetting, List};
use super::{Layers, SettingsError, Spec};

pub(super) static PHP: [Spec; 11] = [
    Spec::optional(
        "DIFFYNE_APP",
        "Directory of a Laravel application whose components are run; not set: components in Rust",
    ),
    Spec::new(
        "DIFFYNE_PHP_COMMAND",
        "php",
        "The program that runs PHP, with its first arguments, such as `chroot /srv/php php8.4`; DIFFYNE_APP is as it sees it",
    ),
    Spec::optional("DIFFYNE_PHP_PROCESSES", "PHP processes that run calls, at least; default: one per core"),
    Spec::optional("DIFFYNE_PHP_PROCESSES_MAX", "PHP processes at most, when calls wait; default: as many as at least"),
    Spec::new("DIFFYNE_PHP_MAX_CALLS", "1000", "Calls after which a PHP process is replaced, give or take a tenth"),
    Spec::new("DIFFYNE_PHP_MAX_MEMORY", "256MiB", "Memory above which a PHP process is replaced after its call"),
    Spec::new("DIFFYNE_PHP_START_TIMEOUT", "30s", "How long a PHP process may take to boot the application"),
    Spec::new(
        "DIFFYNE_PHP_INI",
        "opcache.enable_cli=1,memory_limit=512M",
        "PHP settings of the processes: a comma list of name=value",
    ),
    Spec::new(
        "DIFFYNE_BRIDGE_KERNEL",
        "auto",
        "auto: calls go past Laravel's HTTP kernel where its middleware group holds only the framework's own; always: through the kernel",
    ),
    Spec::new(
        "DIFFYNE_PHP_CPU_AFFINITY",
        "auto",
        "auto: while calls wait, and there are as many PHP processes as cores, each keeps to a core of its own (programs that it starts then, too); off: the system decides",
    ),
    Spec::optional("DIFFYNE_PHP_ENVIRONMENT", "More environment for the application: a comma list of NAME=value"),
];

/// How PHP processes are run.
#[derive(Debug, Clone)]
pub struct PhpSettings {
    /// The program and its first arguments: `php`, or `chroot DIR php8.4`.
    pub command: Vec<String>,
    /// The application's directory, as the program sees it.
    pub directory: String,
    /// `-d name=value` for the program.
    pub ini: Vec<(String, String)>,
    /// More environment for the application.
    pub environment: Vec<(String, String)>,
    /// Processes that run calls at least,
    pub processes_min: usize,
    /// and at most.
    pub processes_max: usize,
    /// Calls after which a process is replaced, give or take a tenth.
    pub calls_max: u32,
    /// Memory above which a process is replaced, in bytes.
    pub memory_max: u64,
    /// How long a process may take to boot the application.
    pub start_timeout: Duration,
    /// Which way calls go in it.
    pub kernel: Kernel,
    /// Where processes run.
    pub affinity: Affinity,
}

/// Who decides on which core a PHP process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affinity {
    /// The worker, while calls wait.
    Auto,
    /// The system.
    Off,
}

impl FromSetting for Affinity {
    fn allowed() -> String {
        "auto or off".to_owned()
    }
    fn from_setting(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "off" => Some(Self::Off),
            _ => None,
        }
    }
}

/// Which way calls go in an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernel {
    /// Past the HTTP kernel, where that makes no difference.
    Auto,
    /// Through the HTTP kernel.
    Always,
}

impl FromSetting for Kernel {
    fn allowed() -> String {
        "auto or always".to_owned()
    }
    fn from_setting(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "always" => Some(Self::Always),
            _ => None,
        }
    }
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

fn assignments(layers: &Layers, name: &'static str) -> Result<Vec<(String, String)>, SettingsError> {
    let list = layers.optional::<List<Assignment>>(name)?.map(|list| list.0).unwrap_or_default();
    Ok(list.into_iter().map(|Assignment(name, value)| (name, value)).collect())
}

impl PhpSettings {
    /// Checks the layers; `None` when there is no application.
    pub(super) fn read(layers: &Layers) -> Result<Option<Self>, SettingsError> {
        let Some(directory) = layers.optional::<String>("DIFFYNE_APP")? else { return Ok(None) };
        let command: Vec<String> =
            layers.get::<String>("DIFFYNE_PHP_COMMAND")?.split_whitespace().map(str::to_owned).collect();
        if command.is_empty() {
            return Err(layers.invalid("DIFFYNE_PHP_COMMAND", "a program and its first arguments"));
        }
        let processes_min = if layers.is_set("DIFFYNE_PHP_PROCESSES") {
            at_least_one(layers, "DIFFYNE_PHP_PROCESSES")?.min(1024)
        } else {
            std::thread::available_parallelism().map_or(1, usize::from)
        };
        let processes_max = if layers.is_set("DIFFYNE_PHP_PROCESSES_MAX") {
            at_least_one(layers, "DIFFYNE_PHP_PROCESSES_MAX")?.clamp(processes_min, 1024)
        } else {
            processes_min
        };
        // The application is told that it serves the web: packages behave otherwise on a console.
        let mut environment = vec![("APP_RUNNING_IN_CONSOLE".to_owned(), "false".to_owned())];
        environment.extend(assignments(layers, "DIFFYNE_PHP_ENVIRONMENT")?);
        Ok(Some(Self {
            command,
            directory,
            ini: assignments(layers, "DIFFYNE_PHP_INI")?,
            environment,
            processes_min,
            processes_max,
            calls_max: u32::try_from(at_least_one(layers, "DIFFYNE_PHP_MAX_CALLS")?).unwrap_or(u32::MAX),
            memory_max: layers.get::<ByteSize>("DIFFYNE_PHP_MAX_MEMORY")?.0 as u64,
            start_timeout: positive(layers, "DIFFYNE_PHP_START_TIMEOUT")?,
            kernel: layers.get("DIFFYNE_BRIDGE_KERNEL")?,
            affinity: layers.get("DIFFYNE_PHP_CPU_AFFINITY")?,
        }))
    }
}
