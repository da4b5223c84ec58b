//! Settings, layered: defaults < TOML file < `.env` file < environment < flags.
//!
//! A setting has one name (`DIFFYNE_WS_PORT`), from which its TOML key (`ws_port`) and its flag (`--ws-port`) follow.
//! [`Layers`] knows where each value came from, so that a wrong one can be told with its name, its place and what is
//! allowed. The tables are in [`gateway`] and [`worker`]; an empty value counts as not set.

pub mod application;
pub mod common;
pub mod gateway;
pub mod php;
pub mod value;
pub mod worker;

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches};
use thiserror::Error;

pub use value::FromSetting;

/// One setting, as `--help`, `check-config` and the README tell it.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// The name in the environment.
    pub name: &'static str,
    /// The default as one would write it; `None`: not set.
    pub default: Option<&'static str>,
    /// Masked wherever it is printed.
    pub secret: bool,
    /// One sentence for `--help`.
    pub help: &'static str,
}

impl Spec {
    /// A setting with a default.
    pub const fn new(name: &'static str, default: &'static str, help: &'static str) -> Self {
        Self { name, default: Some(default), secret: false, help }
    }

    /// A setting that may be absent.
    pub const fn optional(name: &'static str, help: &'static str) -> Self {
        Self { name, default: None, secret: false, help }
    }

    /// A secret that may be absent.
    pub const fn secret(name: &'static str, help: &'static str) -> Self {
        Self { name, default: None, secret: true, help }
    }

    /// The key in a TOML file.
    pub fn toml_key(&self) -> String {
        self.name.strip_prefix("DIFFYNE_").unwrap_or(self.name).to_ascii_lowercase()
    }

    /// The flag, without its dashes.
    pub fn flag(&self) -> String {
        self.toml_key().replace('_', "-")
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A TOML file.
    Toml(PathBuf),
    /// A `.env` file.
    EnvFile(PathBuf),
    /// The environment of the process.
    Environment,
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Toml(path) | Self::EnvFile(path) => write!(f, "{}", path.display()),
            Self::Environment => f.write_str("environment"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// Why the settings cannot be used; the words are for the operator.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// A value of the wrong form.
    #[error("{name} = `{value}` ({origin}) is not allowed: it must be {allowed}")]
    Invalid {
        /// The setting.
        name: &'static str,
        /// Its value, masked if secret.
        value: String,
        /// Where the value stands.
        origin: Origin,
        /// What would be accepted.
        allowed: String,
    },
    /// A value that is needed and not there.
    #[error("{name} is not set: {why}")]
    Missing {
        /// The setting.
        name: &'static str,
        /// Why it is needed, and how to set it.
        why: String,
    },
    /// A key in a TOML file that means nothing.
    #[error("{path}: `{key}` is no setting{hint}")]
    Unknown {
        /// The file.
        path: String,
        /// The key.
        key: String,
        /// The nearest real one.
        hint: String,
    },
    /// A file that cannot be read.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// What happened.
        error: String,
    },
}

/// The files to read, as the command line names them.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// `--config`: a TOML file.
    pub toml: Option<PathBuf>,
    /// `--env-file`: a `.env` file.
    pub env_file: Option<PathBuf>,
}

#[derive(Debug, Clone)]
struct Entry {
    spec: &'static Spec,
    text: Option<String>,
    origin: Origin,
}

/// Every setting of a table with its effective text and origin.
#[derive(Debug, Clone)]
pub struct Layers {
    entries: Vec<Entry>,
}

impl Layers {
    /// Reads the layers for a table of settings.
    pub fn read(
        specs: &[&'static Spec],
        files: &Files,
        environment: &HashMap<String, String>,
        flags: &HashMap<String, String>,
    ) -> Result<Self, SettingsError> {
        let toml = files.toml.as_deref().map(|path| read_toml(path, specs)).transpose()?.unwrap_or_default();
        let env_file = files.env_file.as_deref().map(read_env_file).transpose()?.unwrap_or_default();
        let entries = specs.iter().map(|&spec| {
            let layers = [
                (flags.get(spec.name), Origin::Flag),
                (environment.get(spec.name), Origin::Environment),
                (env_file.get(spec.name), Origin::EnvFile(files.env_file.clone().unwrap_or_default())),
                (toml.get(spec.name), Origin::Toml(files.toml.clone().unwrap_or_default())),
            ];
            let set = layers.into_iter().find_map(|(value, origin)| {
                value.filter(|text| !text.trim().is_empty()).map(|text| (text.trim().to_owned(), origin))
            });
            match set {
                Some((text, origin)) => Entry { spec, text: Some(text), origin },
                None => Entry { spec, text: spec.default.map(str::to_owned), origin: Origin::Default },
            }
        });
        Ok(Self { entries: entries.collect() })
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.spec.name == name)
    }

    /// Whether somebody set it.
    pub fn is_set(&self, name: &str) -> bool {
        self.entry(name).is_some_and(|entry| entry.origin != Origin::Default)
    }

    /// The value, if there is one.
    pub fn optional<T: FromSetting>(&self, name: &'static str) -> Result<Option<T>, SettingsError> {
        let Some((entry, text)) = self.entry(name).and_then(|entry| Some((entry, entry.text.as_ref()?))) else {
            return Ok(None);
        };
        T::from_setting(text).map(Some).ok_or_else(|| self.invalid(entry.spec.name, &T::allowed()))
    }

    /// The value of a setting that has a default.
    pub fn get<T: FromSetting>(&self, name: &'static str) -> Result<T, SettingsError> {
        self.optional(name)?.ok_or_else(|| SettingsError::Missing { name, why: format!("it must be {}", T::allowed()) })
    }

    /// The error for a value that is well-formed and still wrong.
    pub fn invalid(&self, name: &'static str, allowed: &str) -> SettingsError {
        let entry = self.entry(name);
        let value = entry.and_then(|entry| entry.text.clone()).unwrap_or_default();
        let masked = if entry.is_some_and(|entry| entry.spec.secret) { mask(&value) } else { value };
        let origin = entry.map_or(Origin::Default, |entry| entry.origin.clone());
        SettingsError::Invalid { name, value: masked, origin, allowed: allowed.to_owned() }
    }

    /// `check-config`: each setting, its value and its origin; secrets masked.
    pub fn table(&self) -> String {
        let rows: Vec<(&str, String, String)> = self
            .entries
            .iter()
            .map(|entry| {
                let value = match &entry.text {
                    None => "(not set)".to_owned(),
                    Some(text) if entry.spec.secret => mask(text),
                    Some(text) => mask_url(text),
                };
                (entry.spec.name, value, entry.origin.to_string())
            })
            .collect();
        let width = |column: fn(&(&str, String, String)) -> usize| rows.iter().map(column).max().unwrap_or(0);
        let (names, values) = (width(|row| row.0.len()), width(|row| row.1.len()).min(60));
        let mut out = String::new();
        for (name, value, origin) in rows {
            out.push_str(format!("{name:names$}  {value:values$}  {origin}").trim_end());
            out.push('\n');
        }
        out
    }
}

/// A secret as it may be shown: that it is there, and how long.
fn mask(secret: &str) -> String {
    format!("******** ({} characters)", secret.chars().count())
}

/// A URL without its password.
pub fn mask_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    match rest.rsplit_once('@') {
        Some((credentials, host)) => {
            let user = credentials.split_once(':').map_or("", |(user, _)| user);
            format!("{scheme}://{user}:********@{host}")
        }
        None => text.to_owned(),
    }
}

fn read_toml(path: &Path, specs: &[&'static Spec]) -> Result<HashMap<String, String>, SettingsError> {
    let file_error =
        |error: &dyn fmt::Display| SettingsError::File { path: path.display().to_string(), error: error.to_string() };
    let text = std::fs::read_to_string(path).map_err(|error| file_error(&error))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| file_error(&error))?;
    let mut values = HashMap::new();
    for (key, value) in table {
        // One file may serve both programs: a setting of the other one is no mistake.
        if gateway::specs().iter().chain(&worker::specs()).all(|spec| spec.toml_key() != key) {
            let hint = nearest(&key, specs).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            return Err(SettingsError::Unknown { path: path.display().to_string(), key, hint });
        }
        let Some(spec) = specs.iter().find(|spec| spec.toml_key() == key) else { continue };
        let text = toml_text(&value)
            .ok_or_else(|| file_error(&format_args!("`{key}` must be a string, a number, a boolean or a list")))?;
        values.insert(spec.name.to_owned(), text);
    }
    Ok(values)
}

fn toml_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => Some(items.iter().map(toml_text).collect::<Option<Vec<_>>>()?.join(",")),
        _ => None,
    }
}

/// The setting whose key shares the longest beginning with a mistyped one.
fn nearest(key: &str, specs: &[&'static Spec]) -> Option<String> {
    let shared = |other: &str| key.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    specs.iter().map(|spec| spec.toml_key()).max_by_key(|other| shared(other)).filter(|other| shared(other) >= 3)
}

fn read_env_file(path: &Path) -> Result<HashMap<String, String>, SettingsError> {
    let file_error =
        |error: &dyn fmt::Display| SettingsError::File { path: path.display().to_string(), error: error.to_string() };
    dotenvy::from_path_iter(path)
        .map_err(|error| file_error(&error))?
        .collect::<Result<_, _>>()
        .map_err(|error| file_error(&error))
}

/// The flags of a table, and the two for files.
pub fn arguments(specs: &[&'static Spec]) -> Vec<Arg> {
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").help(help).action(ArgAction::Set)
    };
    let mut arguments = vec![
        file("config", "TOML file with settings (keys as the flags, with underscores)"),
        file("env-file", "A .env file, for example the application's own"),
    ];
    arguments.extend(specs.iter().map(|spec| {
        let default = spec.default.map(|text| format!(" [default: {text}]")).unwrap_or_default();
        Arg::new(spec.name)
            .long(spec.flag())
            .value_name("VALUE")
            .help(format!("{}{default} [env: {}]", spec.help, spec.name))
            .help_heading("Settings")
            .action(ArgAction::Set)
    }));
    arguments
}

/// What the command line said: the files, and flags by setting name.
pub fn from_matches(matches: &ArgMatches, specs: &[&'static Spec]) -> (Files, HashMap<String, String>) {
    let path = |name: &str| matches.get_one::<String>(name).map(PathBuf::from);
    let flags = specs
        .iter()
        .filter_map(|spec| Some((spec.name.to_owned(), matches.get_one::<String>(spec.name)?.clone())))
        .collect();
    (Files { toml: path("config"), env_file: path("env-file") }, flags)
}

/// The table of settings as the README shows it.
pub fn markdown(specs: &[&'static Spec]) -> String {
    let mut out = String::from("| setting | default | |\n|---|---|---|\n");
    for spec in specs {
        let default = spec.default.map_or_else(String::new, |text| format!("`{text}`"));
        // Writing into a String cannot fail.
        let _ = writeln!(out, "| `{}` | {default} | {} |", spec.name, spec.help);
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    static PORT: Spec = Spec::new("DIFFYNE_WS_PORT", "6001", "the port");
    static KEY: Spec = Spec::secret("DIFFYNE_WS_KEY", "the key");

    fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn files(dir: &Path, toml: &str, env: &str) -> Files {
        let (a, b) = (dir.join("c.toml"), dir.join("app.env"));
        std::fs::write(&a, toml).unwrap();
        std::fs::write(&b, env).unwrap();
        Files { toml: Some(a), env_file: Some(b) }
    }

    #[test]
    fn a_later_layer_wins_and_its_place_is_known() {
        let dir = std::env::temp_dir().join(format!("diffyne-settings-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let files = files(&dir, "ws_port = 1\n", "DIFFYNE_WS_PORT=2\nDIFFYNE_WS_KEY=\"from the file\"\n");
        let (env, flag) = (map(&[("DIFFYNE_WS_PORT", "3")]), map(&[("DIFFYNE_WS_PORT", "4")]));
        let none = HashMap::new();
        let steps = [
            (Files::default(), &none, &none, "6001", Origin::Default),
            (Files { env_file: None, ..files.clone() }, &none, &none, "1", Origin::Toml(dir.join("c.toml"))),
            (files.clone(), &none, &none, "2", Origin::EnvFile(dir.join("app.env"))),
            (files.clone(), &env, &none, "3", Origin::Environment),
            (files, &env, &flag, "4", Origin::Flag),
        ];
        for (files, env, flags, text, origin) in steps {
            let layers = Layers::read(&[&PORT, &KEY], &files, env, flags).unwrap();
            let entry = layers.entry("DIFFYNE_WS_PORT").unwrap();
            assert_eq!((entry.text.as_deref(), &entry.origin), (Some(text), &origin));
            assert!(!layers.table().contains("from the file"));
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_wrong_value_is_told_with_name_place_and_what_is_allowed() {
        let flags = map(&[("DIFFYNE_WS_PORT", "many")]);
        let layers = Layers::read(&[&PORT], &Files::default(), &HashMap::new(), &flags).unwrap();
        let error = layers.get::<u16>("DIFFYNE_WS_PORT").unwrap_err().to_string();
        assert_eq!(error, "DIFFYNE_WS_PORT = `many` (flag) is not allowed: it must be a whole number from 0 to 65535");
    }

    #[test]
    fn an_unknown_toml_key_is_told_with_the_nearest_one() {
        let path = std::env::temp_dir().join(format!("diffyne-unknown-{}.toml", std::process::id()));
        std::fs::write(&path, "ws_prot = 1\n").unwrap();
        let files = Files { toml: Some(path.clone()), env_file: None };
        let error = Layers::read(&[&PORT], &files, &HashMap::new(), &HashMap::new()).unwrap_err().to_string();
        assert!(error.contains("`ws_prot` is no setting; did you mean `ws_port`?"), "{error}");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn an_empty_value_counts_as_not_set() {
        let env = map(&[("DIFFYNE_WS_KEY", " ")]);
        let layers = Layers::read(&[&KEY], &Files::default(), &env, &HashMap::new()).unwrap();
        assert_eq!(layers.optional::<String>("DIFFYNE_WS_KEY").unwrap(), None);
    }

    #[test]
    fn passwords_in_urls_are_masked() {
        assert_eq!(mask_url("redis://me:secret@host:1/0"), "redis://me:********@host:1/0");
        assert_eq!(mask_url("redis://host:1/0"), "redis://host:1/0");
    }
}
