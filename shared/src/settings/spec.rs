//! What is known of a setting without its value.

/// One setting, as `--help`, `check-config`, the documentation and the example file describe it.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// The name in the environment.
    pub name: &'static str,
    /// The default as an operator would write it; `None`: not set.
    pub default: Option<&'static str>,
    /// Masked wherever it is printed.
    pub secret: bool,
    /// One sentence for `--help`.
    pub help: &'static str,
    /// The heading under which the documentation lists it.
    pub section: &'static str,
    /// Whether SIGHUP applies a new value.
    pub reload: Reload,
}

/// Which programs apply a new value of a setting on SIGHUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// None: a new value needs a restart.
    Never,
    /// Workers only.
    Worker,
    /// Each program that has the setting.
    Everywhere,
}

impl Spec {
    /// The key in a TOML file.
    pub fn toml_key(&self) -> String {
        self.name.strip_prefix("DIFFYNE_").unwrap_or(self.name).to_ascii_lowercase()
    }

    /// Whether the value is `true` or `false`.
    pub(super) fn is_switch(&self) -> bool {
        matches!(self.default, Some("true" | "false"))
    }

    /// The flag, without its dashes.
    pub fn flag(&self) -> String {
        self.toml_key().replace('_', "-")
    }
}
