//! Logs: structured events to standard error, or to daily files; text, or JSON when asked. The level can change
//! while the program runs.

use std::io::IsTerminal as _;

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::settings::common::LogSettings;
use crate::settings::value::LogFormat;

/// Daily files that are kept.
const LOG_FILES_MAX: usize = 14;

/// Keeps the log writing; dropping it flushes what is left.
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
    _writer: Option<WorkerGuard>,
}

impl Logs {
    /// Starts logging for a program whose files are to be called `name`.
    pub fn start(settings: &LogSettings, name: &str) -> Result<Self, String> {
        let filter = EnvFilter::try_new(&settings.filter).map_err(|error| error.to_string())?;
        let (filter, handle) = reload::Layer::new(filter);
        let (layer, guard) = match &settings.directory {
            Some(directory) => {
                std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
                let files = tracing_appender::rolling::Builder::new()
                    .rotation(tracing_appender::rolling::Rotation::DAILY)
                    .filename_prefix(name)
                    .filename_suffix("log")
                    .max_log_files(LOG_FILES_MAX)
                    .build(directory)
                    .map_err(|error| format!("{}: {error}", directory.display()))?;
                let (writer, guard) = tracing_appender::non_blocking(files);
                (layer(settings.format, false, writer), Some(guard))
            }
            None => (layer(settings.format, std::io::stderr().is_terminal(), std::io::stderr), None),
        };
        tracing_subscriber::registry().with(filter).with(layer).try_init().map_err(|error| error.to_string())?;
        Ok(Self { filter: handle, _writer: guard })
    }

    /// Changes the level or directives.
    pub fn set_filter(&self, filter: &str) -> Result<(), String> {
        let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
        self.filter.reload(filter).map_err(|error| error.to_string())
    }
}

type Filtered = tracing_subscriber::layer::Layered<reload::Layer<EnvFilter, Registry>, Registry>;

fn layer<W>(format: LogFormat, ansi: bool, writer: W) -> Box<dyn Layer<Filtered> + Send + Sync>
where
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    match format {
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
        LogFormat::Text => fmt::layer().with_ansi(ansi).with_writer(writer).boxed(),
    }
}
