//! The effective text of each setting, and where it came from.

use super::error::SettingsError;
use super::source::Source;
use super::spec::Spec;
use super::value::FromSetting;

/// A setting with its text.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) spec: &'static Spec,
    pub(super) text: Option<String>,
    pub(super) source: Source,
}

/// The settings of a program, each with its effective text and source.
#[derive(Debug, Clone)]
pub struct Layers {
    pub(super) entries: Vec<Entry>,
    pub(super) warnings: Vec<String>,
}

impl Layers {
    fn entry(&self, spec: &Spec) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.spec.name == spec.name)
    }

    /// Names in the environment and in the `.env` file that have no effect, and were probably meant to have one; secrets
    /// that are too short.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The text of a setting, by its name in the environment.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|entry| entry.spec.name == name)?.text.as_deref()
    }

    /// Whether an operator set it.
    pub fn is_set(&self, spec: &Spec) -> bool {
        self.entry(spec).is_some_and(|entry| entry.source != Source::Default)
    }

    /// The value. A setting without a value is an error, unless its type has a value for that.
    pub(super) fn get<T: FromSetting>(&self, spec: &'static Spec) -> Result<T, SettingsError> {
        match self.entry(spec).and_then(|entry| entry.text.as_ref()) {
            Some(text) => T::from_setting(text).ok_or_else(|| self.invalid(spec, &T::allowed())),
            None => T::absent()
                .ok_or_else(|| SettingsError::Missing { name: spec.name, why: format!("it must be {}", T::allowed()) }),
        }
    }

    /// The error for a wrong value; `allowed` ends the sentence "it must be ...".
    pub(super) fn invalid(&self, spec: &'static Spec, allowed: &str) -> SettingsError {
        let entry = self.entry(spec);
        let value = entry.and_then(|entry| entry.text.clone()).unwrap_or_default();
        SettingsError::Invalid {
            name: spec.name,
            value: if spec.secret { mask(&value) } else { value },
            found_in: entry.map_or(Source::Default, |entry| entry.source.clone()),
            allowed: allowed.to_owned(),
        }
    }

    /// The same layers with another default for one setting.
    pub(super) fn with_default(&self, spec: &'static Spec, text: String) -> Self {
        let mut layers = self.clone();
        for entry in layers.entries.iter_mut().filter(|entry| entry.spec.name == spec.name) {
            if entry.source == Source::Default {
                entry.text = Some(text.clone());
            }
        }
        layers
    }

    /// The same layers without what an operator set for some settings, by their names in the environment, and the names of
    /// those that were set.
    pub fn without(&self, names: &[&'static str]) -> (Self, Vec<&'static str>) {
        let mut layers = self.clone();
        let set = |entry: &&mut Entry| entry.source != Source::Default && names.contains(&entry.spec.name);
        let left_out = layers.entries.iter_mut().filter(set).map(|entry| {
            (entry.text, entry.source) = (entry.spec.default.map(str::to_owned), Source::Default);
            entry.spec.name
        });
        let left_out = left_out.collect();
        (layers, left_out)
    }

    /// The output of `check-config`: each setting, its value and its source; secrets are masked.
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
                (entry.spec.name, value, entry.source.to_string())
            })
            .collect();
        let width = |column: fn(&(&str, String, String)) -> usize| rows.iter().map(column).max().unwrap_or(0);
        let (names, values) = (width(|row| row.0.len()), width(|row| row.1.len()).min(60));
        let mut out = String::new();
        for (name, value, source) in rows {
            out.push_str(format!("{name:names$}  {value:values$}  {source}").trim_end());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_masked() {
        assert_eq!(mask_url("redis://me:secret@host:1/0"), "redis://me:********@host:1/0");
        assert_eq!(mask_url("redis://host:1/0"), "redis://host:1/0");
    }
}
