//! Reading the layers: flags, the environment, a `.env` file and a TOML file.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};

use super::env_file;
use super::error::SettingsError;
use super::layers::{Entry, Layers};
use super::source::Source;
use super::spec::Spec;
use super::spelling::{mistyped, nearest};
use super::{gateway, weak_secrets, worker};

/// The files to read, as the command line names them.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// `--config`: a TOML file.
    pub toml: Option<PathBuf>,
    /// `--env-file`: `.env` files, of which the first that has a value wins.
    pub env_files: Vec<PathBuf>,
}

impl Layers {
    /// Reads the layers for a program's settings. An empty value counts as not set.
    pub fn read(
        specs: &[&'static Spec],
        files: &Files,
        environment: &HashMap<String, String>,
        flags: &HashMap<String, String>,
    ) -> Result<Self, SettingsError> {
        let toml = files.toml.as_deref().map(|path| read_toml(path, specs)).transpose()?.unwrap_or_default();
        let env_files: Vec<(Source, HashMap<String, String>)> = files
            .env_files
            .iter()
            .map(|path| Ok((Source::EnvFile(path.clone()), read_env_file(path, environment)?)))
            .collect::<Result<_, SettingsError>>()?;
        let all = [gateway::specs(), worker::specs()].concat();
        let mut warnings = mistyped(environment, &Source::Environment, &all);
        warnings.extend(env_files.iter().flat_map(|(source, values)| mistyped(values, source, &all)));
        let mut layers = vec![(Source::Flag, flags), (Source::Environment, environment)];
        layers.extend(env_files.iter().map(|(source, values)| (source.clone(), values)));
        layers.push((Source::Toml(files.toml.clone().unwrap_or_default()), &toml));
        let entries = specs.iter().map(|&spec| {
            let set = layers.iter().find_map(|(source, values)| {
                let text = values.get(spec.name).filter(|text| !text.trim().is_empty())?;
                Some((text.trim().to_owned(), source.clone()))
            });
            match set {
                Some((text, source)) => Entry { spec, text: Some(text), source },
                None => Entry { spec, text: spec.default.map(str::to_owned), source: Source::Default },
            }
        });
        let entries: Vec<Entry> = entries.collect();
        warnings.extend(weak_secrets::warnings(&entries));
        Ok(Self { entries, warnings })
    }
}

/// The variables of the environment. One that is no UTF-8 is an error if it is a setting; others are nobody's business.
pub fn environment() -> Result<HashMap<String, String>, SettingsError> {
    variables(std::env::vars_os())
}

fn variables(all: impl Iterator<Item = (OsString, OsString)>) -> Result<HashMap<String, String>, SettingsError> {
    let specs = [gateway::specs(), worker::specs()].concat();
    let mut variables = HashMap::new();
    for (name, value) in all {
        let Ok(name) = name.into_string() else { continue };
        if let Ok(value) = value.into_string() {
            variables.insert(name, value);
        } else if let Some(spec) = specs.iter().find(|spec| spec.name == name) {
            return Err(SettingsError::NotText { name: spec.name });
        }
    }
    Ok(variables)
}

/// The values of a `.env` file, as Laravel reads it.
pub fn read_env_file<S: BuildHasher>(
    path: &Path,
    environment: &HashMap<String, String, S>,
) -> Result<HashMap<String, String>, SettingsError> {
    let bytes = std::fs::read(path).map_err(|error| file_error(path, &error))?;
    env_file::parse(&env_file::text(&bytes), environment).map_err(|error| file_error(path, &error))
}

fn file_error(path: &Path, error: &dyn fmt::Display) -> SettingsError {
    SettingsError::File { path: path.display().to_string(), error: error.to_string() }
}

fn read_toml(path: &Path, specs: &[&'static Spec]) -> Result<HashMap<String, String>, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|error| file_error(path, &error))?;
    // The error's own text has the line in it, and maybe a secret.
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        file_error(path, &format_args!("line {line}: {}", error.message()))
    })?;
    let mut values = HashMap::new();
    for (key, value) in table {
        // One file may serve both programs: a setting of the other one is no mistake.
        if gateway::specs().iter().chain(&worker::specs()).all(|spec| spec.toml_key() != key) {
            let all = [gateway::specs(), worker::specs()].concat();
            let hint =
                nearest(&key, &all, Spec::toml_key).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            return Err(SettingsError::Unknown { path: path.display().to_string(), key, hint });
        }
        let Some(spec) = specs.iter().find(|spec| spec.toml_key() == key) else { continue };
        let text = toml_text(&value).ok_or_else(|| {
            file_error(path, &format_args!("`{key}` must be a string, a number, a boolean or a list"))
        })?;
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::gateway::{DIFFYNE_WS_KEY as KEY, DIFFYNE_WS_PORT as PORT, GatewaySettings};
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn files(dir: &Path, toml: &str, env: &str) -> Files {
        let (a, b) = (dir.join("c.toml"), dir.join("app.env"));
        std::fs::write(&a, toml).unwrap();
        std::fs::write(&b, env).unwrap();
        Files { toml: Some(a), env_files: vec![b] }
    }

    #[test]
    fn a_later_layer_wins_and_its_place_is_known() {
        let dir = std::env::temp_dir().join(format!("diffyne-settings-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let files = files(&dir, "ws_port = 1\n", "DIFFYNE_WS_PORT=2\nDIFFYNE_WS_KEY=\"from the file\"\n");
        let (env, flag) = (map(&[("DIFFYNE_WS_PORT", "3")]), map(&[("DIFFYNE_WS_PORT", "4")]));
        let none = HashMap::new();
        let steps = [
            (Files::default(), &none, &none, "6001", Source::Default),
            (Files { env_files: Vec::new(), ..files.clone() }, &none, &none, "1", Source::Toml(dir.join("c.toml"))),
            (files.clone(), &none, &none, "2", Source::EnvFile(dir.join("app.env"))),
            (files.clone(), &env, &none, "3", Source::Environment),
            (files, &env, &flag, "4", Source::Flag),
        ];
        for (files, env, flags, text, source) in steps {
            let layers = Layers::read(&[&PORT, &KEY], &files, env, flags).unwrap();
            let entry = &layers.entries[0];
            assert_eq!((entry.text.as_deref(), &entry.source), (Some(text), &source));
            assert!(!layers.table().contains("from the file"));
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_wrong_value_is_told_with_name_place_and_what_is_allowed() {
        let flags = map(&[("DIFFYNE_WS_PORT", "many")]);
        let layers = Layers::read(&[&PORT], &Files::default(), &HashMap::new(), &flags).unwrap();
        let error = layers.get::<u16>(&PORT).unwrap_err().to_string();
        assert_eq!(error, "DIFFYNE_WS_PORT = `many` (flag) is not allowed: it must be a whole number from 0 to 65535");
    }

    #[test]
    fn an_unknown_toml_key_is_told_with_the_nearest_one() {
        let path = std::env::temp_dir().join(format!("diffyne-unknown-{}.toml", std::process::id()));
        std::fs::write(&path, "ws_prot = 1\n").unwrap();
        let files = Files { toml: Some(path.clone()), env_files: Vec::new() };
        let error = Layers::read(&[&PORT], &files, &HashMap::new(), &HashMap::new()).unwrap_err().to_string();
        assert!(error.contains("there is no setting `ws_prot`; did you mean `ws_port`?"), "{error}");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn of_several_env_files_the_first_that_has_a_value_wins() {
        let dir = std::env::temp_dir().join(format!("diffyne-env-files-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (own, application) = (dir.join("own.env"), dir.join("app.env"));
        std::fs::write(&own, b"# \xff\nDIFFYNE_WS_PORT=1\nDIFFYNE_WS_KEY=null\n").unwrap();
        std::fs::write(&application, "DIFFYNE_WS_PORT=2\nDIFFYNE_WS_KEY=theirs\n").unwrap();
        let files = Files { toml: None, env_files: vec![own.clone(), application.clone()] };
        let layers = Layers::read(&[&PORT, &KEY], &files, &HashMap::new(), &HashMap::new()).unwrap();
        let found: Vec<_> = layers.entries.iter().map(|entry| (entry.text.as_deref(), entry.source.clone())).collect();
        assert_eq!(found, [(Some("1"), Source::EnvFile(own)), (Some("theirs"), Source::EnvFile(application))]);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_is_no_text_is_told_only_where_it_is_a_setting() {
        use std::os::unix::ffi::OsStringExt as _;
        let all = |name: &str| {
            let value = OsString::from_vec(vec![0xff]);
            variables([(name.into(), value), ("HOME".into(), "/root".into())].into_iter())
        };
        assert_eq!(all("LS_COLORS").unwrap(), map(&[("HOME", "/root")]));
        let error = all("DIFFYNE_WS_KEY").unwrap_err().to_string();
        assert_eq!(error, "DIFFYNE_WS_KEY (environment) is not allowed: it must be UTF-8");
    }

    #[test]
    fn an_error_in_a_toml_file_shows_no_secret() {
        let path = std::env::temp_dir().join(format!("diffyne-broken-{}.toml", std::process::id()));
        std::fs::write(&path, "ws_port = 1\nws_key = \"secret\n").unwrap();
        let files = Files { toml: Some(path.clone()), env_files: Vec::new() };
        let error = Layers::read(&[&PORT], &files, &HashMap::new(), &HashMap::new()).unwrap_err().to_string();
        assert!(error.contains(": line 2: ") && !error.contains("secret"), "{error}");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn an_empty_value_counts_as_not_set() {
        let env = map(&[("DIFFYNE_WS_KEY", " ")]);
        let layers = Layers::read(&[&KEY], &Files::default(), &env, &HashMap::new()).unwrap();
        assert_eq!(layers.get::<Option<String>>(&KEY).unwrap(), None);
    }

    #[test]
    fn the_example_files_are_accepted() {
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
        let files = Files {
            toml: Some(deploy.join("diffyne.toml.example")),
            env_files: vec![deploy.join("diffyne.env.example")],
        };
        let layers = Layers::read(&gateway::specs(), &files, &HashMap::new(), &HashMap::new()).unwrap();
        GatewaySettings::read(&layers).unwrap();
    }
}
