//! Settings on the command line.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches};

use super::files::Files;
use super::spec::Spec;

/// The flags of these settings, and the two for files.
pub fn arguments(specs: &[&'static Spec]) -> Vec<Arg> {
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").help(help).action(ArgAction::Set)
    };
    let mut arguments = vec![
        file("config", "TOML file with settings (keys as the flags, with underscores)"),
        file("env-file", "A .env file, for example the application's own; of several the first that has a value wins")
            .action(ArgAction::Append),
    ];
    arguments.extend(specs.iter().map(|spec| {
        let default = spec.default.map(|text| format!(" [default: {text}]")).unwrap_or_default();
        let argument = Arg::new(spec.name)
            .long(spec.flag())
            .value_name("VALUE")
            .help(format!("{}{default} [env: {}]", spec.help, spec.name))
            .help_heading("Settings")
            .action(ArgAction::Set);
        // `--demo` is short for `--demo true`.
        if spec.is_switch() { argument.num_args(0..=1).default_missing_value("true") } else { argument }
    }));
    arguments
}

/// What the command line gives: the files, and flags by the name of their setting.
pub fn from_matches(matches: &ArgMatches, specs: &[&'static Spec]) -> (Files, HashMap<String, String>) {
    let toml = matches.get_one::<String>("config").map(PathBuf::from);
    let env_files = matches.get_many::<String>("env-file").into_iter().flatten().map(PathBuf::from).collect();
    let flags = specs
        .iter()
        .filter_map(|spec| Some((spec.name.to_owned(), matches.get_one::<String>(spec.name)?.clone())))
        .collect();
    (Files { toml, env_files }, flags)
}
