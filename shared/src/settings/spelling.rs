//! Names that are almost those of settings.

use std::collections::HashMap;

use super::source::Source;
use super::spec::Spec;

/// What every name of ours in the environment begins with.
const PREFIX: &str = "DIFFYNE_";
/// Letters for each of which one may be wrong.
const LETTERS_PER_ERROR: usize = 4;
/// Wrong letters at most.
const ERRORS_MAX: usize = 3;

/// The setting that somebody has probably meant, as `spell` spells it.
pub(super) fn nearest(name: &str, specs: &[&'static Spec], spell: fn(&Spec) -> String) -> Option<String> {
    let distance = |spec: &&Spec| strsim::damerau_levenshtein(name, &spell(spec));
    let (distance, near) = specs.iter().map(|spec| (distance(spec), *spec)).min_by_key(|(distance, _)| *distance)?;
    let letters = name.strip_prefix(PREFIX).unwrap_or(name).chars().count();
    (distance <= (letters / LETTERS_PER_ERROR).min(ERRORS_MAX)).then(|| spell(near))
}

/// Warnings about names in the environment or in a `.env` file that are almost settings. Others may be the
/// application's own.
pub(super) fn mistyped(names: &HashMap<String, String>, source: &Source, specs: &[&'static Spec]) -> Vec<String> {
    let is_known = |name: &str| specs.iter().any(|spec| spec.name == name);
    let mut warnings: Vec<String> = names
        .keys()
        .filter(|name| name.starts_with(PREFIX) && !is_known(name))
        .filter_map(|name| {
            let near = nearest(name, specs, |spec| spec.name.to_owned())?;
            Some(format!("{name} ({source}) has no effect, because there is no such setting; did you mean {near}?"))
        })
        .collect();
    warnings.sort();
    warnings
}

#[cfg(test)]
mod tests {
    use super::super::{gateway, worker};
    use super::*;

    /// What the package reads of its own.
    const OF_THE_PACKAGE: [&str; 9] = [
        "DIFFYNE_CACHE_VIEWS",
        "DIFFYNE_FILE_CLEANUP_HOURS",
        "DIFFYNE_FILE_DISK",
        "DIFFYNE_FILE_MAX_SIZE",
        "DIFFYNE_FILE_MIMES",
        "DIFFYNE_FILE_TEMP_PATH",
        "DIFFYNE_MINIFY_PATCHES",
        "DIFFYNE_RATE_LIMIT",
        "DIFFYNE_TRANSPORT",
    ];

    #[test]
    fn mistyped_names_are_told_from_those_of_the_application() {
        let specs = [gateway::specs(), worker::specs()].concat();
        let near = |name: &str| nearest(name, &specs, |spec| spec.name.to_owned());
        for (mistyped, meant) in [
            ("DIFFYNE_WS_PROT", "DIFFYNE_WS_PORT"),
            ("DIFFYNE_REDIS_ULR", "DIFFYNE_REDIS_URL"),
            ("DIFFYNE_CORS_ORIGINS", "DIFFYNE_WS_CORS_ORIGINS"),
            ("DIFFYNE_WS_CORS_ORIGIN", "DIFFYNE_WS_CORS_ORIGINS"),
            ("DIFFYNE_WORKER_TOKENS", "DIFFYNE_WORKER_TOKEN"),
            ("DIFFYNE_MAX_CONECTIONS", "DIFFYNE_MAX_CONNECTIONS"),
        ] {
            assert_eq!(near(mistyped).as_deref(), Some(meant), "{mistyped}");
        }
        for name in OF_THE_PACKAGE.iter().chain(&["DIFFYNE_PROBE_FILE", "DIFFYNE_JS", "DIFFYNE_X"]) {
            assert_eq!(near(name), None, "{name}");
        }
    }
}
