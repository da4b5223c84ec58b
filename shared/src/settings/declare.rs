//! How a setting is declared: its name, default, help and type stand in one entry of [`settings!`].
//!
//! ```text
//! settings! {
//!     /// A gateway's settings, checked.
//!     pub struct GatewaySettings {
//!         "Limits" {
//!             /// How many connections this gateway takes.
//!             DIFFYNE_MAX_CONNECTIONS = "20000" => connections_max: usize, at_least_one;
//!             /// Shows details of failures to clients.
//!             DIFFYNE_DEBUG => debug: bool;
//!         }
//!     }
//!     computed {
//!         /// Where the gateway listens.
//!         listen: Endpoint = listen;
//!     }
//! }
//! ```
//!
//! * The doc comment is one line: the text of `--help`, and the field's documentation.
//! * The default is a text, `none` or `secret`. `none` and `secret` mean that the setting may be absent; a secret is
//!   masked wherever it is printed. An entry without a default refers to a setting that is declared elsewhere.
//! * `, reload` behind the default says that SIGHUP applies the setting in both programs, `, worker_reload` that it
//!   does so in workers.
//! * `=> field: Type` is the field that gets the value. A function behind it reads the value instead of
//!   [`Layers::get`](super::Layers::get). A setting without a field is read by such a function of another one.
//! * A computed field comes from a function of the layers.
//!
//! Each entry becomes a static [`Spec`](super::Spec) with the setting's name.

macro_rules! settings {
    (@spec $help:literal $section:literal [$($reload:ident)?] $name:ident) => {};
    (@spec $help:literal $section:literal [$($reload:ident)?] $name:ident $default:tt) => {
        // The text of `--help` is no Markdown: `[/db]` is not a link.
        #[allow(rustdoc::broken_intra_doc_links)]
        #[doc = $help]
        pub(in crate::settings) static $name: $crate::settings::Spec = $crate::settings::Spec {
            name: stringify!($name),
            default: $crate::settings::declare::settings!(@default $default),
            secret: $crate::settings::declare::settings!(@is_secret $default),
            help: $help.trim_ascii(),
            section: $section,
            reload: $crate::settings::declare::settings!(@reload $($reload)?),
        };
    };
    (@default none) => { None };
    (@default secret) => { None };
    (@default $text:literal) => { Some($text) };
    (@is_secret secret) => { true };
    (@is_secret $other:tt) => { false };
    (@reload) => { $crate::settings::Reload::Never };
    (@reload reload) => { $crate::settings::Reload::Everywhere };
    (@reload worker_reload) => { $crate::settings::Reload::Worker };
    (@read $layers:ident $name:ident) => { $layers.get(&$name) };
    (@read $layers:ident $name:ident $read:expr) => { $read($layers, &$name) };

    (
        $(#[$meta:meta])*
        $visibility:vis struct $struct:ident {
            $($section:literal {
                $(
                    #[doc = $help:literal]
                    $name:ident $(= $default:tt $(, $reload:ident)?)? $(=> $field:ident: $type:ty $(, $read:expr)?)?;
                )+
            })+
        }
        $(computed {
            $($(#[$computed_meta:meta])+ $computed:ident: $computed_type:ty = $compute:expr;)+
        })?
    ) => {
        $($(
            $crate::settings::declare::settings!(@spec $help $section [$($($reload)?)?] $name $($default)?);
        )+)+

        $(#[$meta])*
        // As above.
        #[allow(rustdoc::broken_intra_doc_links)]
        #[derive(Debug, Clone)]
        $visibility struct $struct {
            $($($(
                #[doc = $help]
                pub $field: $type,
            )?)+)+
            $($(
                $(#[$computed_meta])+
                pub $computed: $computed_type,
            )+)?
        }

        impl $struct {
            /// The settings in the order in which `--help` lists them.
            pub(in crate::settings) const SPECS: &[&'static $crate::settings::Spec] = &[$($(&$name),+),+];

            fn from_layers(layers: &$crate::settings::Layers) -> Result<Self, $crate::settings::SettingsError> {
                Ok(Self {
                    $($($(
                        $field: $crate::settings::declare::settings!(@read layers $name $($read)?)?,
                    )?)+)+
                    $($(
                        $computed: $compute(layers)?,
                    )+)?
                })
            }
        }
    };

    // Settings that several structs refer to, or that become no field.
    ($($section:literal { $(#[doc = $help:literal] $name:ident = $default:tt $(, $reload:ident)?;)+ })+) => {
        $($(
            $crate::settings::declare::settings!(@spec $help $section [$($reload)?] $name $default);
        )+)+
    };
}

pub(super) use settings;
