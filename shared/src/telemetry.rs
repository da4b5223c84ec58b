//! Logs: structured events to standard error or to daily files, as text or as JSON. The level can change while the
//! program runs.

use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::json;
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

use crate::rate::{Bucket, Rate};
use crate::settings::common::LogSettings;
use crate::settings::log_filter;
use crate::settings::value::LogFormat;

/// Daily files that are kept.
const LOG_FILES_MAX: usize = 14;

/// Characters of a name that a client has chosen, in log lines and in answers.
const NAME_CHARS_MAX: usize = 128;
/// Characters of an error's text in log lines: an application may put into it what a client sent.
const ERROR_CHARS_MAX: usize = 2_048;

/// The beginning of a text from outside, safe for a log line: control characters are escaped, and a mark shows where
/// the text was cut.
#[derive(Debug, Clone, Copy)]
pub struct Excerpt<'a> {
    text: &'a str,
    chars_max: usize,
}

/// A name from outside: of a class, an event, a host.
pub fn name(text: &str) -> Excerpt<'_> {
    Excerpt { text, chars_max: NAME_CHARS_MAX }
}

/// The text of an error.
pub fn error(text: &str) -> Excerpt<'_> {
    Excerpt { text, chars_max: ERROR_CHARS_MAX }
}

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.text.chars();
        for c in chars.by_ref().take(self.chars_max) {
            if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        if chars.next().is_some() { f.write_char('…') } else { Ok(()) }
    }
}

/// Bounds the log lines about one kind of event that strangers can cause.
#[derive(Debug)]
pub struct LogThrottle {
    rate: Rate,
    bucket: Bucket,
    left_out: AtomicU64,
}

impl LogThrottle {
    /// Allows `per_second` lines a second, and `burst` at once.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { rate: Rate { per_second, burst }, bucket: Bucket::new(), left_out: AtomicU64::new(0) }
    }

    /// Allows or refuses a line. An allowed one gets the number of lines that were left out before it.
    pub fn allow(&self) -> Option<u64> {
        if self.bucket.take(self.rate, Instant::now()) {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

impl Default for LogThrottle {
    /// One line a second.
    fn default() -> Self {
        Self::new(1, 1)
    }
}

/// Keeps the log writing; dropping it flushes what is left.
pub struct Logs {
    filter: reload::Handle<Targets, Registry>,
    _writer: Option<WorkerGuard>,
}

impl Logs {
    /// Starts logging for a program. Several of one kind may share a directory, each with files of its own: `instance`
    /// tells them apart there, and in each line of JSON.
    pub fn start(settings: &LogSettings, program: &str, instance: &str) -> Result<Self, String> {
        let filter = filter_of(&settings.filter)?;
        let (filter, handle) = reload::Layer::new(filter);
        let (layer, guard) = match &settings.directory {
            Some(directory) => {
                let wrong = |error: &dyn fmt::Display| format!("DIFFYNE_LOG_DIR = `{}`: {error}", directory.display());
                std::fs::create_dir_all(directory).map_err(|error| wrong(&error))?;
                let files = tracing_appender::rolling::Builder::new()
                    .rotation(tracing_appender::rolling::Rotation::DAILY)
                    .filename_prefix(program)
                    .filename_suffix(format!("{instance}.log"))
                    .max_log_files(LOG_FILES_MAX)
                    .build(directory)
                    .map_err(|error| wrong(&error))?;
                let (writer, guard) = tracing_appender::non_blocking(files);
                (layer(settings.format, instance, false, writer), Some(guard))
            }
            None => (layer(settings.format, instance, std::io::stderr().is_terminal(), std::io::stderr), None),
        };
        tracing_subscriber::registry().with(filter).with(layer).try_init().map_err(|error| error.to_string())?;
        Ok(Self { filter: handle, _writer: guard })
    }

    /// Checks the directory, without making it.
    pub fn check(settings: &LogSettings) -> Result<(), String> {
        match &settings.directory {
            Some(directory) if directory.exists() && !directory.is_dir() => {
                Err(format!("DIFFYNE_LOG_DIR = `{}`: it is no directory", directory.display()))
            }
            _ => Ok(()),
        }
    }

    /// Changes the level or directives.
    pub fn set_filter(&self, filter: &str) -> Result<(), String> {
        let filter = filter_of(filter)?;
        self.filter.reload(filter).map_err(|error| error.to_string())
    }
}

/// Lines of JSON that name the process which has written them.
struct JsonOf<F> {
    /// As JSON.
    instance: String,
    json: F,
}

impl<S, N, F> FormatEvent<S, N> for JsonOf<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut line = String::new();
        self.json.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            Some(rest) => write!(writer, "{{\"instance\":{},{rest}", self.instance),
            None => writer.write_str(&line),
        }
    }
}

/// The filter of a setting.
fn filter_of(setting: &str) -> Result<Targets, String> {
    log_filter::parse(setting).ok_or_else(|| format!("`{setting}` is not {}", log_filter::EXPECTED))
}

type Filtered = tracing_subscriber::layer::Layered<reload::Layer<Targets, Registry>, Registry>;

fn layer<W>(format: LogFormat, instance: &str, ansi: bool, writer: W) -> Box<dyn Layer<Filtered> + Send + Sync>
where
    W: for<'w> tracing_subscriber::fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    match format {
        LogFormat::Json => {
            let format = JsonOf {
                instance: json!(instance).to_string(),
                json: tracing_subscriber::fmt::format().json().flatten_event(true),
            };
            let fields = tracing_subscriber::fmt::format::JsonFields::new();
            tracing_subscriber::fmt::layer().event_format(format).fmt_fields(fields).with_writer(writer).boxed()
        }
        LogFormat::Text => tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(writer).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_write_is_cut_and_makes_no_lines_of_its_own() {
        assert_eq!(name("App\\Counter").to_string(), "App\\Counter");
        assert_eq!(name("a\nINFO b\u{1b}[31m\u{202e}").to_string(), "a\\u{a}INFO b\\u{1b}[31m\\u{202e}");
        let long = name(&"ü".repeat(400_000)).to_string();
        assert_eq!((long.chars().count(), long.chars().last()), (NAME_CHARS_MAX + 1, Some('…')));
        assert_eq!(name(&"x".repeat(NAME_CHARS_MAX)).to_string().len(), NAME_CHARS_MAX);
    }

    #[test]
    fn lines_beyond_the_rate_are_counted() {
        let throttle = LogThrottle::new(1, 3);
        let written = (0..100).filter(|_| throttle.allow().is_some()).count();
        assert!((3..=4).contains(&written), "{written}");
        assert!(throttle.left_out.load(Ordering::Relaxed) >= 96);
    }
}
