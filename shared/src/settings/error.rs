//! Why settings cannot be used.

use thiserror::Error;

use super::source::Source;

/// Why the settings cannot be used; the words are for the operator.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// A value of the wrong form.
    #[error("{name} = `{value}` ({found_in}) is not allowed: it must be {allowed}")]
    Invalid {
        /// The setting.
        name: &'static str,
        /// Its value, masked if secret.
        value: String,
        /// Where the value stands.
        found_in: Source,
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
    /// A value in the environment that is no text.
    #[error("{name} (environment) is not allowed: it must be UTF-8")]
    NotText {
        /// The setting.
        name: &'static str,
    },
    /// A key in a TOML file that is no setting.
    #[error("{path}: there is no setting `{key}`{hint}")]
    Unknown {
        /// The file.
        path: String,
        /// The key.
        key: String,
        /// The nearest real one.
        hint: String,
    },
    /// A file that cannot be read.
    #[error("cannot read the settings in {path}: {error}")]
    File {
        /// The file.
        path: String,
        /// What happened.
        error: String,
    },
}
