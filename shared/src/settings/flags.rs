//! Settings on the command line.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, ValueHint};

use super::files::Files;
use super::spec::Spec;

/// Settings that most operators set: `-h` shows these alone, and `--help` shows them first.
const COMMON: [&str; 15] = [
    "DIFFYNE_LISTEN",
    "DIFFYNE_WORKER_LISTEN",
    "DIFFYNE_APP",
    "DIFFYNE_PHP_PROCESSES",
    "DIFFYNE_WS_KEY",
    "DIFFYNE_WS_CORS_ORIGINS",
    "APP_URL",
    "DIFFYNE_REDIS_URL",
    "DIFFYNE_WORKERS",
    "DIFFYNE_WORKER_TOKEN",
    "DIFFYNE_ADMIN_LISTEN",
    "DIFFYNE_WORKER_ADMIN_LISTEN",
    "DIFFYNE_ADMIN_TOKEN",
    "DIFFYNE_LOG",
    "DIFFYNE_DEMO",
];
/// Settings by which a command finds a running program.
const OF_CLIENTS: [&str; 3] = ["DIFFYNE_ADMIN_LISTEN", "DIFFYNE_WORKER_ADMIN_LISTEN", "DIFFYNE_ADMIN_TOKEN"];

/// The flags of these settings, and the two for files: common ones first, the others by subject.
pub fn arguments(specs: &[&'static Spec]) -> Vec<Arg> {
    let place = |spec: &Spec| COMMON.iter().position(|name| *name == spec.name);
    let mut common: Vec<&Spec> = specs.iter().copied().filter(|spec| place(spec).is_some()).collect();
    common.sort_by_key(|spec| place(spec));
    let rest = specs.iter().copied().filter(|spec| place(spec).is_none());
    let rest = rest.map(|spec| flag(spec).help_heading(spec.section).hide_short_help(true));
    files().into_iter().chain(common.into_iter().map(flag)).chain(rest).collect()
}

/// The same flags for a command that asks a running program: it takes that program's settings, and help shows those that
/// it is found by.
pub fn client_arguments(specs: &[&'static Spec]) -> Vec<Arg> {
    let shown = |spec: &Spec| OF_CLIENTS.contains(&spec.name);
    files().into_iter().chain(specs.iter().map(|spec| flag(spec).hide(!shown(spec)))).collect()
}

fn files() -> [Arg; 2] {
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").value_hint(ValueHint::FilePath).help(help).action(ArgAction::Set)
    };
    [
        file("config", "TOML file with settings (keys as the flags, with underscores)"),
        file("env-file", "A .env file, for example the application's own; of several the first that has a value wins")
            .action(ArgAction::Append),
    ]
}

fn flag(spec: &'static Spec) -> Arg {
    let default = spec.default.map(|text| format!(" [default: {text}]")).unwrap_or_default();
    let argument = Arg::new(spec.name)
        .long(spec.flag())
        .value_name("VALUE")
        .help(format!("{}{default} [env: {}]", spec.help, spec.name))
        .action(ArgAction::Set);
    // `--demo` is short for `--demo true`.
    if spec.is_switch() { argument.num_args(0..=1).default_missing_value("true") } else { argument }
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

#[cfg(test)]
mod tests {
    use super::super::{gateway, worker};
    use super::*;

    #[test]
    fn common_settings_exist_and_stand_first_and_the_others_have_a_heading() {
        let all = [gateway::specs(), worker::specs()];
        for name in COMMON.iter().chain(&OF_CLIENTS) {
            assert!(all.iter().flatten().any(|spec| spec.name == *name), "{name}");
        }
        for specs in all {
            let arguments = arguments(&specs);
            assert_eq!(arguments.len(), specs.len() + 2);
            let first_of_rest = arguments.iter().position(|argument| argument.get_help_heading().is_some());
            let common = specs.iter().filter(|spec| COMMON.contains(&spec.name)).count();
            assert_eq!(first_of_rest, Some(common + 2));
            assert_eq!(
                arguments[2].get_id().as_str(),
                COMMON.iter().find(|name| specs.iter().any(|spec| spec.name == **name)).copied().unwrap_or_default()
            );
        }
    }
}
