//! Settings, layered: defaults < TOML file < `.env` file < environment < flags.
//!
//! A setting has one name (`DIFFYNE_WS_PORT`), from which its TOML key (`ws_port`) and its flag (`--ws-port`) follow.
//! It is declared once, with its default, help and type, in the `settings!` block of the struct that gets its value:
//! [`gateway`], [`upload`], [`lifecycle`], [`worker`], [`php`], [`application`], [`rendering`] and [`common`]. `--help`, `check-config`,
//! `docs/settings.md` and `deploy/diffyne.env.example` are made from these declarations.
//!
//! [`Layers`] knows where each value came from, so that an error names the setting, its source and what is allowed.

pub mod application;
mod checks;
pub mod common;
mod declare;
mod docs;
mod env_file;
mod error;
mod files;
mod flags;
pub mod gateway;
mod layers;
pub mod lifecycle;
pub(crate) mod log_filter;
mod origins;
pub mod php;
pub mod rendering;
mod source;
mod spec;
mod spelling;
pub mod upload;
pub mod value;
mod weak_secrets;
pub mod worker;

pub use docs::markdown;
pub use error::SettingsError;
pub use files::{Files, environment, read_env_file};
pub use flags::{arguments, client_arguments, from_matches};
pub use layers::{Layers, mask_url};
pub use source::Source;
pub use spec::{Reload, Spec};
